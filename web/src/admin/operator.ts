/** Who works here, as far as their token says. It decides what is shown; what may be done, the server decides. */

export interface Operator {
  isAdmin: boolean;
  /** Their own shop's id, if the server has signed the token. */
  sub: string;
}

export function operatorOf(token: string): Operator {
  try {
    const payload = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const { role, sub } = JSON.parse(new TextDecoder().decode(bytes)) as { role?: unknown; sub?: unknown };
    return { isAdmin: role === "admin", sub: typeof sub === "string" ? sub : "" };
  } catch {
    return { isAdmin: false, sub: "" };
  }
}

/** Whether the element's own attributes can be worked with. */

export type SetupCode = "api_missing" | "sale_missing" | "sale_invalid" | "api_invalid";

/** Null: they can. */
export function setupProblem(sale: string, api: string, isSale: (text: string) => boolean): SetupCode | null {
  if (api !== "" && !isOrigin(api)) return "api_invalid";
  if (sale === "") return "sale_missing";
  if (!isSale(sale)) return "sale_invalid";
  return api === "" ? "api_missing" : null;
}

function isOrigin(api: string): boolean {
  try {
    const url = new URL(api);
    return /^https?:$/.test(url.protocol) && url.search === "" && url.hash === "";
  } catch {
    return false;
  }
}

/** Operators: who has signed in on this page, and who else may. The session itself is in a cookie that no script reads. */

import { Problem, operate } from "./rest";

export type OperatorRole = "admin" | "owner" | "staff" | "viewer";

/** The operator who has signed in. What they may do, the server decides; this decides what is shown. */
export interface Operator {
  operator: string;
  email: string;
  role: OperatorRole;
  /** The id of their shop; null: an admin of the platform. */
  merchant: string | null;
  /** They sign in with the code of an authenticator app as well. */
  has_codes: boolean;
  /** The shop's pages are at this origin too. */
  has_shop_pages: boolean;
  expires_at: string;
}

export interface Colleague {
  operator: string;
  email: string;
  role: OperatorRole;
  merchant: string | null;
  has_password: boolean;
  has_codes: boolean;
  /** Until when their link works, if one is open. */
  invited_until: string | null;
  created_at: string;
}

/** What an authenticator app is set up with. */
export interface NewCodes {
  seed: string;
  secret: string;
  uri: string;
}

export interface Invitation {
  email: string;
  role: OperatorRole;
  merchant?: string;
}

export const operators = {
  /** `code`: what an authenticator app shows; a refusal says if one is needed. */
  signIn: (email: string, password: string, code?: string) =>
    operate<Operator>("/admin/session", { body: { email, password, ...(code ? { code } : {}) } }),
  /** By a link, which works once. */
  setPassword: (invite: string, password: string) => operate<Operator>("/admin/password", { body: { invite, password } }),
  signOut: () => operate<null>("/admin/session", { method: "DELETE" }),
  signOutEverywhere: () => operate<null>("/admin/sessions", { method: "DELETE" }),
  prepareCodes: () => operate<NewCodes>("/admin/codes", { method: "POST" }),
  /** The other sessions end, as with `endCodes`. */
  beginCodes: (seed: string, password: string, code: string) => operate<null>("/admin/codes/begin", { body: { seed, password, code } }),
  endCodes: (password: string, code: string) => operate<null>("/admin/codes/end", { body: { password, code } }),
  list: async () => (await operate<{ operators: Colleague[] }>("/admin/operators")).operators,
  /** The path of the page that sets their password: it is told this once. */
  invite: async (body: Invitation) => (await operate<{ link: string }>("/admin/operators", { body })).link,
  remove: (operator: string) => operate<null>(`/admin/operators/${encodeURIComponent(operator)}`, { method: "DELETE" }),
};

/** Who has signed in here; null: nobody. */
export const whoIsHere = () => operate<Operator | null>("/admin/session");

/** What opens one socket in this operator's name; null: the session has ended. */
export async function ticket(): Promise<string | null> {
  try {
    return (await operate<{ ticket: string }>("/admin/ticket", { method: "POST" })).ticket;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return null;
    throw error;
  }
}

export const isAdmin = (who: Operator | null) => who?.role === "admin";
export const changes = (who: Operator | null) => who?.role !== "viewer";
export const managesAccess = (who: Operator | null) => who?.role === "admin" || who?.role === "owner";

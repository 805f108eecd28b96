/** The place of a guest, taken along to another browser by a link that is good once. */

import { call } from "./rest";
import { forgetGuest, guestSession } from "./session";

/** In the part of the address that is sent to no server. */
const MARK = "#take=";

export interface PlaceLink {
  expires_at: string;
  /** When another browser took it; null: none has. */
  taken_at: string | null;
}

export interface MadeLink {
  code: string;
  expires_at: string;
}

export async function makeLink(api: string): Promise<MadeLink> {
  return call<MadeLink>(api, "/session/link", { ...(await guestSession(api, null)), method: "POST" });
}

export async function linkState(api: string): Promise<PlaceLink> {
  return call<PlaceLink>(api, "/session/link", { ...(await guestSession(api, null)) });
}

/** Becomes the guest of another browser, on the platform's own page: its cookie proves that from now on. What this browser was is left behind. */
export async function becomeGuest(code: string): Promise<void> {
  await call(location.origin, "/session", { body: { link: code } });
  forgetGuest(location.origin);
}

export function linkTo(sale: string, code: string): string {
  return `${location.origin}/sale/${sale}${MARK}${code}`;
}

/** The code with which this page was opened. */
export function codeHere(): string | null {
  return location.hash.startsWith(MARK) ? location.hash.slice(MARK.length) : null;
}

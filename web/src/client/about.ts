/** What a sale's card shows that never comes over the socket: its picture, and its description as HTML. In the page already, or asked for once. */

import type { Sale } from "./bodies";
import { firstRead } from "./first-read";
import { getSale } from "./rest";

export type About = Pick<Sale, "picture" | "description_html" | "payments">;

const known = new Map<string, About>();

const keyOf = (api: string, sale: string) => `${api}\n${sale.toUpperCase()}`;

export function aboutSale(api: string, sale: string): About | undefined {
  return known.get(keyOf(api, sale));
}

export async function learnAbout(api: string, sale: string): Promise<void> {
  const key = keyOf(api, sale);
  // At once, so that the first drawing has it.
  const here = api === location.origin ? document.querySelector(`script[data-sale="${sale.toUpperCase()}"]`) : null;
  if (here?.textContent) known.set(key, JSON.parse(here.textContent) as About);
  if (known.has(key)) return;
  const about = (await firstRead(api, sale))?.sale ?? (await getSale(api, sale).catch(() => null));
  if (about) known.set(key, about);
}

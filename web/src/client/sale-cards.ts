/** What pages ask of a single sale to name it: once for each, whoever needs it. */

import { aboutSale } from "./about";
import type { Sale } from "./listed";
import { getSale } from "./rest";

const asked = new Map<string, Promise<Sale | null>>();

/** The sale; null if it cannot be had. What fails is asked again the next time. */
export function saleCard(api: string, sale: string): Promise<Sale | null> {
  const key = `${api}\n${sale}`;
  const known = asked.get(key);
  if (known) return known;
  // The page may have been written with it, by a server of this release.
  const here = (api === "" ? aboutSale(location.origin, sale) : undefined) as Partial<Sale> | undefined;
  if (here?.merchant_name !== undefined) return Promise.resolve(here as Sale);
  const answer = getSale(api, sale).catch(() => {
    asked.delete(key);
    return null;
  });
  asked.set(key, answer);
  return answer;
}

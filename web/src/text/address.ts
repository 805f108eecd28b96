/** Addresses of the platform's own pages, and what they are made of. */

import type { Order } from "../client/view";

/** Where an order is shown. */
export function orderPage({ sale, order }: Pick<Order, "sale" | "order">): string {
  return `/sale/${sale}?order=${order}`;
}

/** A part of an address as text; as it is, if it is not written as addresses are. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

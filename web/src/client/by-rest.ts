/**
 * A sale by REST, for pages to which nothing comes live: WebAssembly or WebSocket may be forbidden or blocked, or the address has
 * too many sockets. Only what everybody may see: price, times, and what is available.
 */

import type { Sale } from "./bodies";
import type { Connection, Journey, View } from "./view";

/** A view that was not pushed but asked for; it offers nothing to do. */
export type Shown = View & { by_rest?: true };

/** When a sale was read, by a clock that does not jump. */
export interface Read {
  sale: Sale;
  at_ms: number;
}

/** The view of a sale that was read `read.at_ms`, at the time `now_ms` of the same clock. */
export function viewOf({ sale, at_ms }: Read, now_ms: number, connection: Connection): Shown {
  const [room_opens_at, starts_at, ends_at] = [Date.parse(sale.room_opens_at), Date.parse(sale.start_time), Date.parse(sale.end_time)];
  const isBefore = sale.status === "scheduled" || sale.status === "waiting";
  const isOn = sale.status === "live" || sale.status === "paused";
  const next = isBefore ? starts_at : ends_at;
  // The server tells how long it is until then; its clock is the one that counts. Without that, this device's has to do.
  const then = isBefore || isOn ? next - sale.remaining_time * 1_000 : Date.now();
  const now = then + Math.max(0, now_ms - at_ms);
  const { product_id, product_name, description, currency, currency_exponent, original_price, sale_price, total_stock } = sale;
  const { per_shopper_limit, hold_ms, claim_ms, payment_ms, allocation, draw_weight, opening } = sale;
  return {
    by_rest: true,
    sale: sale.sale_id,
    journey: JOURNEYS[sale.status],
    now,
    connection,
    info: {
      ...{ sale: sale.sale_id, product_id, product_name, description, currency, currency_exponent, original_price, sale_price, total_stock },
      ...{ room_opens_at, starts_at, ends_at, per_shopper_limit, hold_ms, claim_ms, payment_ms, allocation, draw_weight, opening },
    },
    phase: sale.status,
    outlook: sale.stock > 0 ? "free" : "may_come_back",
    countdown: isBefore || isOn ? { to: isBefore ? "start" : "end", at: next, left_ms: Math.max(0, next - now) } : null,
    stock: {
      ...{ supply: total_stock, free: sale.stock, waiting: sale.queue_length },
      ...{ in_carts: 0, mine: 0, sold: 0, admitted: 0, pace: null, newcomers_chance: null },
    },
    ...{ stale_ms: null, line: null, draw: null, turn: null, hold: null, order: null, may_take: 0, note: null, refusal: null, trouble: null },
    under_way: [],
    unsent: [],
  };
}

const JOURNEYS: Readonly<Record<Sale["status"], Journey>> = {
  scheduled: "countdown",
  waiting: "lobby",
  live: "open",
  paused: "paused",
  drawing: "drawing",
  ended: "ended",
  cancelled: "cancelled",
};

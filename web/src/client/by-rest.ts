/**
 * A sale by REST, for pages to which nothing comes live: WebAssembly or WebSocket may be forbidden or blocked, or the address has
 * too many sockets. What everybody may see is known by one question; what the shopper has, by three more. Pure.
 */

import type { Sale } from "./bodies";
import type { Connection, Journey, View } from "./view";

/** A view that was not pushed but asked for. `own`: what this shopper has is known too, and commands can be given. */
export type Shown = View & {
  by_rest?: true;
  own?: true;
  /** While it is not known what this shopper has: what somebody will see who has nothing. */
  later?: Shown;
};

/** When a sale was read, by a clock that does not jump. */
export interface Read {
  sale: Sale;
  at_ms: number;
  /** The server's time minus that clock, if more than this reading has told it. */
  offset_ms?: number;
}

/** A reading that is older than this is said to be old. */
const OLD_MS = 40_000;

/** What is counted down to. */
const NEXT: Partial<Record<Sale["status"], "room" | "start" | "end">> = { scheduled: "room", waiting: "start", live: "end", paused: "end" };

/** The view of a sale that was read `read.at_ms`, at the time `now_ms` of the same clock. */
export function viewOf(read: Read, now_ms: number, connection: Connection): Shown {
  const { sale, at_ms } = read;
  const [room_opens_at, starts_at, ends_at] = [Date.parse(sale.room_opens_at), Date.parse(sale.start_time), Date.parse(sale.end_time)];
  const to = NEXT[sale.status] ?? null;
  const at = { room: room_opens_at, start: starts_at, end: ends_at };
  const now = read.offset_ms === undefined ? serverTime(sale) + Math.max(0, now_ms - at_ms) : now_ms + read.offset_ms;
  const { product_id, product_name, description, currency, currency_exponent, original_price, sale_price, total_stock } = sale;
  const { per_shopper_limit, hold_ms, claim_ms, payment_ms, allocation, draw_weight, opening } = sale;
  const isOld = now_ms - at_ms > OLD_MS;
  return {
    by_rest: true,
    sale: sale.sale_id,
    journey: JOURNEYS[sale.status],
    now,
    connection,
    info: {
      ...{ sale: sale.sale_id, product_id, product_name, description, currency, currency_exponent, original_price, sale_price, total_stock },
      ...{ room_opens_at, starts_at, ends_at, per_shopper_limit, hold_ms, claim_ms, payment_ms, allocation, draw_weight, opening },
      ...(sale.payments ? { payments: sale.payments } : {}),
      ...(sale.terms_url ? { terms_url: sale.terms_url, terms_version: sale.terms_version ?? "" } : {}),
    },
    phase: sale.status,
    outlook: sale.stock > 0 ? "free" : "may_come_back",
    countdown: to ? { to, at: at[to], left_ms: Math.max(0, at[to] - now) } : null,
    stock: {
      ...{ supply: total_stock, free: sale.stock, waiting: sale.queue_length },
      ...{ in_carts: 0, mine: 0, sold: 0, admitted: 0, pace: null, newcomers_chance: null },
    },
    stale_ms: isOld ? now_ms - at_ms : null,
    ...{ line: null, draw: null, turn: null, hold: null, order: null, may_take: 0, note: null, refusal: null, trouble: null },
    under_way: [],
    unsent: [],
  };
}

/** The server's time when it answered. It tells whole seconds until the next step; its clock is the one that counts. */
export function serverTime(sale: Sale): number {
  switch (sale.status) {
    case "scheduled":
    case "waiting":
      return Date.parse(sale.start_time) - sale.remaining_time * 1_000;
    case "live":
    case "paused":
      return Date.parse(sale.end_time) - sale.remaining_time * 1_000;
    default:
      // Nothing is counted down any more, so this device's clock has to do.
      return Date.now();
  }
}

export const JOURNEYS: Readonly<Record<Sale["status"], Journey>> = {
  scheduled: "countdown",
  waiting: "lobby",
  live: "open",
  paused: "paused",
  drawing: "drawing",
  ended: "ended",
  cancelled: "cancelled",
};

/** Whether it is a sale as this release knows them. What is at the address may be of another one, or nothing of ours. */
export function isReadable({ status, sale_price, room_opens_at, start_time, end_time }: Sale): boolean {
  return status in JOURNEYS && Number.isFinite(sale_price) && [room_opens_at, start_time, end_time].every((time) => !Number.isNaN(Date.parse(time)));
}

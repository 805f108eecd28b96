/**
 * A sale by REST, for pages to which nothing comes live: WebAssembly or WebSocket may be forbidden or blocked, or the address has
 * too many sockets. What everybody may see is known by one question; what the shopper has, by three more. Pure.
 */

import type { Sale } from "./bodies";
import type { Own, Position, RestOrder } from "./own-by-rest";
import type { Connection, Journey, Line, Order, PaymentsBy, View } from "./view";

/** A view that was not pushed but asked for. `own`: what this shopper has is known too, and commands can be given. */
export type Shown = View & { by_rest?: true; own?: true };

/** When a sale was read, by a clock that does not jump. */
export interface Read {
  sale: Sale;
  at_ms: number;
  /** The server's time minus that clock, if more than this reading has told it. */
  offset_ms?: number;
  payments?: PaymentsBy | undefined;
  /** What the shopper has; absent: nobody has asked. */
  own?: Own;
}

/** From this chance on it is called good, below the other one slim: as the live client says it. */
const GOOD = 0.9;
const SLIM = 0.25;
/** A reading that is older than this is said to be old. */
const OLD_MS = 40_000;

/** What is counted down to. */
const NEXT: Partial<Record<Sale["status"], "room" | "start" | "end">> = { scheduled: "room", waiting: "start", live: "end", paused: "end" };

/** The view of a sale that was read `read.at_ms`, at the time `now_ms` of the same clock. */
export function viewOf(read: Read, now_ms: number, connection: Connection): Shown {
  const { sale, at_ms, own } = read;
  const [room_opens_at, starts_at, ends_at] = [Date.parse(sale.room_opens_at), Date.parse(sale.start_time), Date.parse(sale.end_time)];
  const to = NEXT[sale.status] ?? null;
  const at = { room: room_opens_at, start: starts_at, end: ends_at };
  const now = read.offset_ms === undefined ? serverTime(sale) + Math.max(0, now_ms - at_ms) : now_ms + read.offset_ms;
  const { product_id, product_name, description, currency, currency_exponent, original_price, sale_price, total_stock } = sale;
  const { per_shopper_limit, hold_ms, claim_ms, payment_ms, allocation, draw_weight, opening } = sale;
  const clocked = (quantity: number, end: string, total_ms: number) => {
    const until = Date.parse(end);
    return { quantity, until, left_ms: Math.max(0, until - now), total_ms };
  };
  const { place, cart } = own ?? { place: null, cart: null };
  const order = own ? (own.orders.find(({ order_status }) => order_status === "pending") ?? own.orders[0]) : undefined;
  const taken = (own?.orders ?? []).filter(({ order_status }) => order_status !== "cancelled").reduce((sum, { quantity }) => sum + quantity, cart?.quantity ?? 0);
  const isTurn = place?.status === "admitted" && place.claim_until !== undefined;
  const isOld = now_ms - at_ms > OLD_MS;
  return {
    by_rest: true,
    ...(own ? { own: true } : {}),
    sale: sale.sale_id,
    journey: journeyOf(sale, own),
    now,
    connection,
    info: {
      ...{ sale: sale.sale_id, product_id, product_name, description, currency, currency_exponent, original_price, sale_price, total_stock },
      ...{ room_opens_at, starts_at, ends_at, per_shopper_limit, hold_ms, claim_ms, payment_ms, allocation, draw_weight, opening },
      ...(read.payments ? { payments: read.payments } : {}),
    },
    phase: sale.status,
    outlook: sale.stock > 0 ? "free" : "may_come_back",
    countdown: to ? { to, at: at[to], left_ms: Math.max(0, at[to] - now) } : null,
    stock: {
      ...{ supply: total_stock, free: sale.stock, waiting: sale.queue_length },
      ...{ in_carts: 0, mine: 0, sold: 0, admitted: 0, pace: null, newcomers_chance: null },
    },
    stale_ms: isOld ? now_ms - at_ms : null,
    line: place?.status === "waiting" ? lineOf(place, own?.wanted ?? 1, sale, now) : null,
    draw: null,
    turn: isTurn ? clocked(own?.wanted ?? 1, place.claim_until ?? "", claim_ms) : null,
    hold: cart ? clocked(cart.quantity, cart.expires_at, hold_ms) : null,
    order: order ? orderOf(order, sale, now) : null,
    may_take: own ? Math.max(0, per_shopper_limit - taken) : 0,
    note: own?.note ?? null,
    refusal: own?.refusal ?? null,
    trouble: null,
    under_way: [...(own?.under_way ?? [])],
    unsent: [...(own?.unsent ?? [])],
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

const JOURNEYS: Readonly<Record<Sale["status"], Journey>> = {
  scheduled: "countdown",
  waiting: "lobby",
  live: "open",
  paused: "paused",
  drawing: "drawing",
  ended: "ended",
  cancelled: "cancelled",
};

/** The same steps as those of the live client (client-wasm/src/view.rs). */
function journeyOf({ status }: Sale, own: Own | undefined): Journey {
  if (!own) return JOURNEYS[status];
  const { cart, place, orders } = own;
  if (cart) return cart.status === "ordering" || own.under_way.includes("checkout") ? "checking_out" : "holding";
  const pending = orders.find(({ order_status }) => order_status === "pending");
  if (pending) return pending.paying ? "paying" : "pay";
  const isOver = status === "ended" || status === "cancelled";
  if (place?.status === "admitted") return "admitted";
  if (place?.status === "not_drawn" || (place?.status === "entered" && status === "ended")) return "not_drawn";
  if (place?.status === "entered" && !isOver) return "entered";
  if (place?.status === "waiting" && status === "live") return "waiting";
  if (orders[0]?.order_status === "confirmed" && (place?.status !== "waiting" || isOver)) return "confirmed";
  return JOURNEYS[status];
}

function lineOf(place: Position, quantity: number, sale: Sale, now: number): Line {
  const { position, chance } = place;
  const waiting = Math.max(sale.queue_length, position, 1);
  const ms = (seconds: number | null) => (seconds === null ? null : seconds * 1_000);
  return {
    quantity,
    position,
    priority: place.priority ?? false,
    waiting,
    behind: Math.max(0, waiting - position),
    moves: null,
    drawn_at: position === 0 ? Date.parse(sale.start_time) : null,
    soonest_ms: ms(place.wait_time_seconds_least),
    latest_ms: ms(place.wait_time_seconds),
    chance: chance === null ? null : chance >= GOOD ? "good" : chance < SLIM ? "slim" : "possible",
    chance_percent: chance === null ? null : Math.round(chance * 100),
    reason: place.reason ?? null,
    in_carts: place.units_in_carts,
    next_lapse_ms: place.next_lapse_time === undefined ? null : Math.max(0, Date.parse(place.next_lapse_time) - now),
  };
}

function orderOf(order: RestOrder, sale: Sale, now: number): Order {
  const [created_at, until] = [Date.parse(order.created_at), Date.parse(order.expires_at)];
  return {
    ...{ order: order.order_id, sale: order.sale_id, quantity: order.quantity, unit_price: order.unit_price, amount: order.amount },
    ...{ currency: order.currency, status: order.order_status, reason: order.reason ?? null, paying: order.paying ?? false },
    ...{ refunded: order.refunded ?? 0, refunded_at: order.refunded_at ? Date.parse(order.refunded_at) : null },
    ...{ declined: order.declined?.reason ?? null, handoff: order.handoff?.url ?? null },
    ...{ created_at, until, left_ms: Math.max(0, until - now), total_ms: until - created_at },
    ...{ product_name: sale.product_name, currency_exponent: sale.currency_exponent },
  };
}

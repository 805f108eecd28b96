/** What a shopper has in a sale, as it was asked for by REST, added to what everybody may see of it. Pure. */

import type { Sale } from "./bodies";
import { JOURNEYS, type Shown } from "./by-rest";
import type { Own, Position, PublishedDraw, RestOrder } from "./own-by-rest";
import type { Draw, Journey, Line, Order } from "./view";

/** From this chance on it is called good, below the other one slim: as the live client says it. */
const GOOD = 0.9;
const SLIM = 0.25;

/** The view of a sale with what its shopper has. */
export function withOwn(shown: Shown, sale: Sale, own: Own): Shown {
  const { now } = shown;
  const { place, cart, wanted } = own;
  const isQuiet = sale.extend_once && sale.status === "live" && sale.queue_length === 0;
  const clocked = (quantity: number, end: string, total_ms: number, extended = false) => {
    const until = Date.parse(end);
    return { may_extend: isQuiet && !extended, extended, quantity, until, left_ms: Math.max(0, until - now), total_ms };
  };
  const order = own.orders.find(({ order_status }) => order_status === "pending") ?? own.orders[0];
  const taken = own.orders.filter(({ order_status }) => order_status !== "cancelled").reduce((sum, { quantity }) => sum + quantity, cart?.quantity ?? 0);
  return {
    ...shown,
    own: true,
    journey: journeyOf(sale, own),
    line: place?.status === "waiting" ? lineOf(place, wanted, sale, now) : null,
    draw: own.draw ? drawOf(own.draw, own) : null,
    turn: place?.status === "admitted" && place.claim_until !== undefined ? clocked(wanted, place.claim_until, sale.claim_ms, place.extended) : null,
    hold: cart ? clocked(cart.quantity, cart.expires_at, sale.hold_ms, cart.extended) : null,
    order: order ? orderOf(order, sale, now) : null,
    may_take: Math.max(0, sale.per_shopper_limit - taken),
    note: own.note,
    refusal: own.refusal,
    under_way: [...own.under_way],
    unsent: [...own.unsent],
  };
}

/** The same steps as those of the live client (client-wasm/src/view.rs). */
function journeyOf({ status }: Sale, own: Own): Journey {
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

function drawOf({ commitment, awaits, count, root, units, winners, seed }: PublishedDraw, { place, wanted }: Own): Draw {
  const stage = seed !== undefined ? "drawn" : root !== undefined ? "closed" : "open";
  const isIn = place !== null && ["entered", "not_drawn", "admitted"].includes(place.status);
  const published = { awaits: awaits ?? null, count: count ?? null, root: root ?? null, units: units ?? null, winners: winners ?? null };
  return { stage, commitment, ...published, entered: isIn ? wanted : 0, reason: place?.reason ?? null };
}

/** `sale`: null where it is not known here. */
export function orderOf(order: RestOrder, sale: Sale | null, now: number): Order {
  const [created_at, until] = [Date.parse(order.created_at), Date.parse(order.expires_at)];
  return {
    ...{ order: order.order_id, sale: order.sale_id, quantity: order.quantity, unit_price: order.unit_price, amount: order.amount },
    ...{ currency: order.currency, status: order.order_status, reason: order.reason ?? null, paying: order.paying ?? false },
    ...{ refunded: order.refunded ?? 0, refunded_at: order.refunded_at ? Date.parse(order.refunded_at) : null },
    ...{ declined: order.declined?.reason ?? null, handoff: order.handoff?.url ?? null },
    ...{ created_at, until, left_ms: Math.max(0, until - now), total_ms: until - created_at },
    ...{ product_name: sale?.product_name ?? null, currency_exponent: sale?.currency_exponent ?? null },
  };
}

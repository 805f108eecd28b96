/** Views of a sale for tests: whole, so that each test names only its own subject. */

import type { Line, Order, View } from "../src/client/view";

export const MINUTE = 60_000;

/** Five minutes past noon on the day of the sale. */
export const NOW = Date.parse("2026-12-03T12:05:00Z");

export const INFO: NonNullable<View["info"]> = {
  sale: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
  product_id: "p1",
  product_name: "Aurora Runner",
  description: "",
  currency: "EUR",
  currency_exponent: 2,
  original_price: 24_900,
  sale_price: 9_900,
  total_stock: 10,
  room_opens_at: NOW - 30 * MINUTE,
  starts_at: NOW - 5 * MINUTE,
  ends_at: NOW + 60 * MINUTE,
  per_shopper_limit: 3,
  hold_ms: 5 * MINUTE,
  claim_ms: 2 * MINUTE,
  payment_ms: 5 * MINUTE,
  allocation: "queue",
};

export const STOCK: NonNullable<View["stock"]> = {
  supply: 10,
  free: 2,
  in_carts: 3,
  mine: 0,
  sold: 5,
  waiting: 0,
  admitted: 0,
  pace: 0,
  newcomers_chance: null,
};

export const BARE: View = {
  sale: INFO.sale,
  journey: "open",
  now: NOW,
  connection: { state: "online" },
  info: null,
  phase: "live",
  outlook: "free",
  countdown: null,
  stale_ms: null,
  stock: STOCK,
  line: null,
  draw: null,
  turn: null,
  hold: null,
  order: null,
  may_take: 1,
  note: null,
  refusal: null,
  trouble: null,
  under_way: [],
  unsent: [],
};

/** The same sale with what is known of it. */
export const SALE: View = { ...BARE, info: INFO };

export const LINE: Line = {
  quantity: 1,
  position: 40,
  priority: false,
  waiting: 90,
  behind: 50,
  moves: null,
  drawn_at: null,
  soonest_ms: null,
  latest_ms: null,
  chance: "good",
  chance_percent: 95,
  reason: null,
  in_carts: 3,
  next_lapse_ms: 5_000,
};

export const ORDER: Order = {
  order: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
  sale: INFO.sale,
  quantity: 1,
  unit_price: 9_900,
  amount: 9_900,
  currency: "EUR",
  status: "pending",
  reason: null,
  paying: false,
  refunded: 0,
  refunded_at: null,
  declined: null,
  handoff: null,
  created_at: NOW - MINUTE,
  until: NOW + 4 * MINUTE,
  left_ms: 4 * MINUTE,
  total_ms: 5 * MINUTE,
  product_name: "Aurora Runner",
  currency_exponent: 2,
};

export function clocked(left_ms: number, quantity = 1): NonNullable<View["hold"]> {
  return { may_extend: false, extended: false, quantity, until: NOW + left_ms, left_ms, total_ms: 5 * MINUTE };
}

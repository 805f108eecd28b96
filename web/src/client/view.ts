/**
 * What the client says of one sale (client-wasm/src/view.rs writes it; a test there holds this file to it).
 * Times are milliseconds since 1970 by the server's clock, money is in minor units.
 */

export type Journey =
  | "loading"
  | "unknown"
  | "countdown"
  | "lobby"
  | "open"
  | "waiting"
  | "entered"
  | "not_drawn"
  | "drawing"
  | "admitted"
  | "holding"
  | "checking_out"
  | "pay"
  | "paying"
  | "confirmed"
  | "sold_out"
  | "paused"
  | "ended"
  | "cancelled";

export type Phase = "scheduled" | "waiting" | "live" | "paused" | "drawing" | "ended" | "cancelled";
export type Outlook = "free" | "may_come_back" | "sold_out";
export type Chance = "good" | "possible" | "slim";

export interface View {
  sale: string;
  journey: Journey;
  now: number;
  connection: Connection;
  info: SaleInfo | null;
  phase: Phase | null;
  outlook: Outlook | null;
  countdown: Countdown | null;
  stock: Stock | null;
  /** The numbers are the last known ones, so old. */
  stale_ms: number | null;
  line: Line | null;
  draw: Draw | null;
  turn: Clocked | null;
  hold: Clocked | null;
  order: Order | null;
  may_take: number;
  note: Note | null;
  refusal: Refusal | null;
  trouble: Refusal | null;
  under_way: Verb[];
}

export type Verb = "join" | "leave" | "reserve" | "release" | "checkout" | "pay" | "cancel" | "orders" | "watch";

export interface Connection {
  state: "idle" | "connecting" | "online" | "waiting" | "stopped";
  retry_in_ms?: number;
  code?: string;
  shopper?: string;
  role?: "shopper" | "merchant" | "admin";
}

export interface SaleInfo {
  sale: string;
  product_id: string;
  product_name: string;
  description: string;
  currency: string;
  currency_exponent: number;
  original_price: number;
  sale_price: number;
  total_stock: number;
  room_opens_at: number;
  starts_at: number;
  ends_at: number;
  per_shopper_limit: number;
  hold_ms: number;
  claim_ms: number;
  payment_ms: number;
  allocation: "queue" | "draw";
  /** Where it is absent, all entries weigh the same. */
  draw_weight?: "waiting_time";
}

export interface Countdown {
  to: "room" | "start" | "end";
  at: number;
  left_ms: number;
}

export interface Stock {
  supply: number;
  free: number;
  in_carts: number;
  sold: number;
  waiting: number;
  admitted: number;
  /** Called a second; null while it has not been measured. */
  pace: number | null;
}

export interface Line {
  quantity: number;
  /** 0: places are not drawn yet. */
  position: number;
  /** In the shop's priority line. */
  priority: boolean;
  waiting: number;
  /** When places are drawn, before that. */
  drawn_at: number | null;
  /** Null while the line does not move. */
  soonest_ms: number | null;
  latest_ms: number | null;
  chance: Chance | null;
  chance_percent: number | null;
  /** Why it takes longer: a word of the protocol's table. */
  reason: string | null;
  /** Units that others have set aside or in carts, and when the next of them comes back at the latest. */
  in_carts: number;
  next_lapse_ms: number | null;
}

/** A sale's draw. */
export interface Draw {
  stage: "open" | "closed" | "drawn";
  commitment: string;
  awaits: string | null;
  entered: number;
  count: number | null;
  root: string | null;
  units: number | null;
  winners: number | null;
  reason: string | null;
}

/** What came of checking a proof (client-wasm/src/check.rs). */
export interface Checked {
  ok: boolean;
  part: string | null;
  wrong: string | null;
  won: boolean;
  called: boolean;
  entry: string | null;
  key: string | null;
  count: number;
  units: number;
  winners: number;
  turns: number;
  over: boolean;
  knew_commitment: boolean;
  knew_root: boolean;
}

/** Units that are the shopper's until a time: a turn, or a hold. */
export interface Clocked {
  quantity: number;
  until: number;
  left_ms: number;
  total_ms: number;
}

export interface Order {
  order: string;
  sale: string;
  quantity: number;
  amount: number;
  currency: string;
  status: "pending" | "confirmed" | "cancelled";
  reason: string | null;
  /** A payment is under way; its outcome comes by itself. */
  paying: boolean;
  /** What of `amount` has gone back. */
  refunded: number;
  /** Why the last payment was refused, in the provider's words; another one may be tried. */
  declined: string | null;
  created_at: number;
  until: number;
  left_ms: number;
  total_ms: number;
  product_name: string | null;
  currency_exponent: number | null;
}

export interface Note {
  kind: "hold_expired" | "hold_released" | "hold_revoked" | "hold_restored" | "turn_lapsed" | "left" | "removed" | "order_cancelled";
  reason: string | null;
  at: number;
}

export interface Refusal {
  verb: Verb;
  code: string;
  message: string;
  retry: boolean;
  retry_after_ms?: number;
  order?: string;
}

/** A command's end. What it has changed is in the view already. */
export interface Outcome {
  verb: Verb;
  sale: string | null;
  ok: boolean;
  error?: Refusal;
}

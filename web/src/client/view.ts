/**
 * What the client says of one sale. Times are milliseconds since 1970 by the server's clock, money is in minor units.
 * Made from the types in client-wasm/src by client-wasm/src/types.rs: do not edit. UPDATE_DOCS=1 writes it anew.
 */

export type View = { sale: SaleId, journey: Journey,
/**
 * The server's time of this view.
 */
now: number, connection: Connection, info: SaleInfo | null, phase: Phase | null, outlook: Outlook | null, countdown: Countdown | null, stock: Stock | null,
/**
 * The numbers are the last known ones, so old: none have come for too long.
 */
stale_ms: number | null, line: Line | null, draw: Draw | null, turn: Clocked | null, hold: Clocked | null, order: Order | null,
/**
 * Units this shopper may still take, by the limit per person.
 */
may_take: number,
/**
 * How the last thing ended, where that is the newest there is to say.
 */
note: Note | null,
/**
 * Why the last command was refused.
 */
refusal: Refusal | null, trouble: Refusal | null,
/**
 * The verbs under way.
 */
under_way: Verb[], };

/**
 * Where the shopper is.
 */
export type Journey = "loading" | "unknown" | "countdown" | "lobby" | "open" | "waiting" | "entered" | "not_drawn" | "drawing" | "admitted" | "holding" | "checking_out" | "pay" | "paying" | "confirmed" | "sold_out" | "paused" | "ended" | "cancelled";

/**
 * The connection, as pages show it.
 */
export type Connection = { state: "idle" | "connecting" | "online" | "waiting" | "stopped",
/**
 * Until the next attempt.
 */
retry_in_ms?: number,
/**
 * Why the server does not want this client back.
 */
code?: string, shopper?: string, role?: Role, };

/**
 * What does not change from second to second.
 */
export type SaleInfo = { sale: SaleId, product_id: string, product_name: string, description: string,
/**
 * ISO 4217.
 */
currency: string,
/**
 * How many digits of an amount are behind the decimal point (2 for EUR, 0 for JPY).
 */
currency_exponent: number, original_price: number, sale_price: number, total_stock: number, room_opens_at: number, starts_at: number, ends_at: number, per_shopper_limit: number, hold_ms: number, claim_ms: number, payment_ms: number, allocation: Allocation, draw_weight?: DrawWeight, opening?: OpeningOrder,
/**
 * Where the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
 */
opening_seed_hash?: string | null,
/**
 * The seed itself, after the start: each shopper can compute their place again ([`crate::draw::opening_place`]).
 */
opening_seed?: string | null, };

/**
 * The next hour that matters, and how long until then.
 */
export type Countdown = { to: "room" | "start" | "end", at: number, left_ms: number, };

export type Stock = { supply: number, free: number,
/**
 * Claimed, held, in a checkout or unpaid: not free, and not gone either.
 */
in_carts: number,
/**
 * Paid.
 */
sold: number, waiting: number, admitted: number,
/**
 * Called a second; null while it has not been measured.
 */
pace: number | null, };

export type Line = { quantity: number,
/**
 * 1 is next. Never worse than shown before. 0: places are not drawn yet.
 */
position: number,
/**
 * In the shop's priority line: `position` is the place in that one.
 */
priority: boolean,
/**
 * Everybody in line.
 */
waiting: number,
/**
 * When places are drawn, in a sale that opens in shuffled order, before its start.
 */
drawn_at: number | null,
/**
 * The wait at the soonest and at the latest, by the measured pace; null when the line does not move.
 */
soonest_ms: number | null, latest_ms: number | null,
/**
 * Null while there is no place yet.
 */
chance: Chance | null,
/**
 * In percent.
 */
chance_percent: number | null,
/**
 * Why it takes longer than it did, or may come to nothing.
 */
reason: Reason | null,
/**
 * Units that others have set aside or in carts, and when the next of them comes back at the latest.
 */
in_carts: number, next_lapse_ms: number | null, };

/**
 * What the numbers say about somebody at this place.
 */
export type Chance = "good" | "possible" | "slim";

/**
 * A sale's draw.
 */
export type Draw = { stage: Stage, commitment: Hash,
/**
 * Where the beacon's value comes from, if there is one.
 */
awaits: string | null,
/**
 * Units of the shopper's entry; 0 without one.
 */
entered: number, count: number | null, root: Hash | null, units: number | null, winners: number | null,
/**
 * Why it is this shopper's turn: drawn, or passed on.
 */
reason: Reason | null, };

/**
 * How far a draw is. The later the greater.
 */
export type Stage = "open" | "closed" | "drawn";

/**
 * Units that are the shopper's until a time: a turn, or a hold.
 */
export type Clocked = { quantity: number, until: number, left_ms: number, total_ms: number, };

export type Order = { order: OrderId, sale: SaleId, quantity: number, amount: number, currency: string, status: OrderStatus, reason: Reason | null,
/**
 * A payment is under way: no other is taken until its outcome is known.
 */
paying: boolean,
/**
 * What of `amount` has gone back.
 */
refunded: number,
/**
 * Why the last payment was refused, in the provider's words; another one may be tried.
 */
declined: string | null, created_at: number, until: number, left_ms: number, total_ms: number,
/**
 * As far as this page knows the sale.
 */
product_name: string | null, currency_exponent: number | null, };

export type Note = { kind: "hold_expired" | "hold_released" | "hold_revoked" | "hold_restored" | "turn_lapsed" | "left" | "removed" | "order_cancelled", reason: Reason | null, at: number, };

/**
 * The server's word, or one of the client's own (`no_answer`, `too_many_pending`).
 */
export type Refusal = { verb: Verb, code: string, message: string, retry: boolean, retry_after_ms?: number, order?: OrderId, };

/**
 * A command's end. What it has changed is in the view already.
 */
export type Outcome = { verb: Verb, sale: SaleId | null, ok: boolean, error?: Refusal, };

/**
 * What came of checking a proof.
 */
export type Checked = { ok: boolean,
/**
 * The part that is wrong, in one word, and what is wrong with it.
 */
part: string | null, wrong: string | null, won: boolean,
/**
 * Whether its turn has come, by what the proof says.
 */
called: boolean, entry: string | null, key: Key | null, count: number, units: number, winners: number,
/**
 * How many have had their turn, by what the proof says: the winners, and those to whom units passed on.
 */
turns: number,
/**
 * Nobody else will have one.
 */
over: boolean,
/**
 * Whether commitment and root are those that this page had heard before the draw.
 */
knew_commitment: boolean, knew_root: boolean, };

export type Phase = "scheduled" | "waiting" | "live" | "paused" | "drawing" | "ended" | "cancelled";

/**
 * What a sale's numbers mean for somebody who has nothing yet.
 */
export type Outlook = "free" | "may_come_back" | "sold_out";

/**
 * How a sale's units come to people.
 */
export type Allocation = "queue" | "draw";

/**
 * What an entry weighs in a sale's draw.
 */
export type DrawWeight = "equal" | "waiting_time";

/**
 * In which order those stand who have joined before the start.
 */
export type OpeningOrder = "fifo" | "shuffle";

export type OrderStatus = "pending" | "confirmed" | "cancelled";

export type Role = "shopper" | "merchant" | "admin";

/**
 * A flash sale.
 */
export type SaleId = string;

/**
 * An order. Made from the shopper and the command id, so that a repeated checkout names the same order.
 */
export type OrderId = string;

/**
 * Why an entry, a hold or an order is as it is, where its state alone does not say it.
 */
export type Reason = string;

/**
 * A SHA-256, written as 64 hex digits.
 */
export type Hash = string;

/**
 * −ln(u) / weight in units of 2^-96, written as 26 hex digits: texts sort as numbers do.
 */
export type Key = string;

/** A command's word. */
export type Verb = "join" | "leave" | "reserve" | "release" | "checkout" | "pay" | "cancel" | "orders" | "state";

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
 * Age of the numbers, if it is too high: no tick has come for too long.
 */
stale_ms: number | null, line: Line | null, draw: Draw | null, turn: Clocked | null, hold: Clocked | null, order: Order | null,
/**
 * Units this shopper may still take, by the limit per person.
 */
may_take: number,
/**
 * The last thing that ended, if nothing newer is to be told.
 */
note: Note | null,
/**
 * The refusal of the last command.
 */
refusal: Refusal | null, trouble: Refusal | null,
/**
 * The verbs under way.
 */
under_way: Verb[],
/**
 * Those of them that have certainly not left this device. Of the others nobody knows until they are answered.
 */
unsent: Verb[], };

/**
 * The shopper's position in their journey.
 */
export type Journey = "loading" | "unknown" | "countdown" | "lobby" | "open" | "waiting" | "entered" | "not_drawn" | "drawing" | "admitted" | "holding" | "checking_out" | "pay" | "paying" | "confirmed" | "sold_out" | "paused" | "ended" | "cancelled";

/**
 * The connection, as pages show it.
 */
export type Connection = { state: "idle" | "connecting" | "online" | "waiting" | "stopped",
/**
 * Time until the next attempt.
 */
retry_in_ms?: number,
/**
 * Time since the server's last message. Absent: there was none.
 */
silent_ms?: number,
/**
 * The reason why the server does not want this client back.
 */
code?: string, shopper?: string, role?: Role, };

/**
 * The part of a sale that does not change from second to second.
 */
export type SaleInfo = { sale: SaleId, product_id: string, product_name: string, description: string,
/**
 * ISO 4217.
 */
currency: string,
/**
 * Digits of an amount after the decimal point (2 for EUR, 0 for JPY).
 */
currency_exponent: number, original_price: number, sale_price: number, total_stock: number, room_opens_at: number, starts_at: number, ends_at: number, per_shopper_limit: number, hold_ms: number, claim_ms: number, payment_ms: number, allocation: Allocation, draw_weight?: DrawWeight, opening?: OpeningOrder,
/**
 * If the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
 */
opening_seed_hash?: string | null,
/**
 * The seed itself, after the start: each shopper can recompute their place ([`crate::draw::opening_place`]).
 */
opening_seed?: string | null,
/**
 * From 2 on, `join` takes a nonce, and names in a draw are made with it.
 */
format?: number,
/**
 * How orders of this sale are paid. Absent: the server is older and does not say.
 */
payments?: PaymentsBy,
/**
 * `extend` gives a turn or a cart its time once more while nobody waits.
 */
extend_once?: boolean,
/**
 * Where the terms are that an order of this sale is under, and their version; both, or neither. The order button links them.
 */
terms_url?: string | null, terms_version?: string | null, };

/**
 * The next important time, and how long until then.
 */
export type Countdown = { to: "room" | "start" | "end", at: number, left_ms: number, };

export type Stock = { supply: number, free: number,
/**
 * Claimed, held, in a checkout or unpaid: not free, but not gone either.
 */
in_carts: number,
/**
 * The part of `in_carts` that is this shopper's own.
 */
mine: number,
/**
 * Paid.
 */
sold: number, waiting: number, admitted: number,
/**
 * Entries called in a second; null until it is measured.
 */
pace: number | null,
/**
 * The chance of somebody who joins the line now; null where there is none to join.
 */
newcomers_chance: Chance | null, };

export type Line = { quantity: number,
/**
 * 1 is next. Never worse than the one shown before. 0: places are not drawn yet.
 */
position: number,
/**
 * In the shop's priority line: `position` is the place in that line.
 */
priority: boolean,
/**
 * Everybody in line.
 */
waiting: number,
/**
 * People behind this place, in the same line.
 */
behind: number,
/**
 * What this page has seen of the line's calls; null before the first tick.
 */
moves: Moves | null,
/**
 * The time when places are drawn, before the start of a sale that opens in shuffled order.
 */
drawn_at: number | null,
/**
 * The shortest and the longest wait, by the measured pace; null when the line does not move.
 */
soonest_ms: number | null, latest_ms: number | null,
/**
 * Null while there is no place yet. A word that does not flicker: it follows the numbers within seconds.
 */
chance: Chance | null,
/**
 * In percent, by the average of the last seconds.
 */
chance_percent: number | null,
/**
 * The reason why it takes longer than before, or may lead to nothing.
 */
reason: Reason | null,
/**
 * Units that others have set aside or in carts, and the latest time at which the next one comes back.
 */
in_carts: number, next_lapse_ms: number | null, };

/**
 * What was seen of a line's calls.
 */
export type Moves = {
/**
 * Entries called in the last minute, or since this page watches, if that is shorter.
 */
called: number,
/**
 * The time in which they were called: a minute at most.
 */
watched_ms: number,
/**
 * Entries called a second, over the last ten seconds.
 */
per_second: number,
/**
 * Time since the last call that this page has seen; null: it has seen none.
 */
last_ms: number | null, };

/**
 * The chance of a shopper at this place, by the numbers.
 */
export type Chance = "good" | "possible" | "slim";

/**
 * A sale's draw.
 */
export type Draw = { stage: Stage, commitment: Hash,
/**
 * The source of the beacon's value, if there is one.
 */
awaits: string | null,
/**
 * Units of the shopper's entry; 0 without one.
 */
entered: number, count: number | null, root: Hash | null, units: number | null, winners: number | null,
/**
 * The reason for this shopper's turn: drawn, or passed on.
 */
reason: Reason | null, };

/**
 * The stage of a draw; later stages are greater.
 */
export type Stage = "open" | "closed" | "drawn";

/**
 * Units that are the shopper's until a time: a turn, or a hold.
 */
export type Clocked = {
/**
 * It can have its time once more: nobody waits, and it has not had that yet.
 */
may_extend: boolean, extended: boolean, quantity: number, until: number, left_ms: number, total_ms: number, };

export type Order = { order: OrderId, sale: SaleId, quantity: number, unit_price: number, amount: number, currency: string, status: OrderStatus, reason: Reason | null,
/**
 * A payment is under way: no other payment is accepted until its outcome is known.
 */
paying: boolean,
/**
 * The part of `amount` that has gone back.
 */
refunded: number,
/**
 * When money last went back.
 */
refunded_at: number | null,
/**
 * The refusal of the last payment, in the provider's words; another one may be tried.
 */
declined: string | null,
/**
 * The shop's own checkout, after a payment that goes on there.
 */
handoff: string | null, created_at: number, until: number, left_ms: number, total_ms: number,
/**
 * Set if this page knows the sale.
 */
product_name: string | null, currency_exponent: number | null, };

export type Note = { kind: "hold_expired" | "hold_released" | "hold_revoked" | "hold_restored" | "turn_lapsed" | "left" | "removed" | "order_cancelled", reason: Reason | null, at: number, };

/**
 * The server's word, or one of the client's own (`no_answer`, `not_sent`, `too_many_pending`).
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
 * The wrong part, in one word, and the fault.
 */
part: string | null, wrong: string | null, won: boolean,
/**
 * Whether its turn has come, according to the proof.
 */
called: boolean, entry: string | null, key: Key | null, count: number, units: number, winners: number,
/**
 * How many entries have had their turn, according to the proof: the winners, and those to whom units passed on.
 */
turns: number,
/**
 * Nobody else will have a turn.
 */
over: boolean,
/**
 * Whether commitment and root equal those that this page heard before the draw.
 */
knew_commitment: boolean, knew_root: boolean,
/**
 * The entry's name was made with a random number of this page, so nobody could choose it.
 */
made_here: boolean, };

export type Phase = "scheduled" | "waiting" | "live" | "paused" | "drawing" | "ended" | "cancelled";

/**
 * What a sale's numbers mean for a shopper who has nothing yet.
 */
export type Outlook = "free" | "may_come_back" | "sold_out";

/**
 * How a sale's units are given to people.
 */
export type Allocation = "queue" | "draw";

/**
 * The weight of an entry in a sale's draw.
 */
export type DrawWeight = "equal" | "waiting_time";

/**
 * The order of those who join before the start.
 */
export type OpeningOrder = "fifo" | "shuffle";

/**
 * How a server takes money.
 */
export type PaymentsBy = "none" | "sandbox" | "merchant" | "unknown";

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
 * Why an entry, a hold or an order is as it is, if its state alone does not tell.
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
export type Verb = "join" | "leave" | "reserve" | "release" | "extend" | "checkout" | "pay" | "cancel" | "orders" | "state";

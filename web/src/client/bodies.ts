/**
 * What the pages read over REST (docs: /openapi.json).
 * Made from the types in server/src by server/src/types.rs: do not edit. UPDATE_DOCS=1 writes it anew.
 */

import type { Allocation, DrawWeight, OpeningOrder, Phase, SaleId } from "./view";

/**
 * A sale, with the brief's fields first.
 */
export type Sale = { sale_id: SaleId, product_name: string,
/**
 * Units that are free, as of a second ago at most.
 */
stock: number,
/**
 * Seconds to the start, or once started to the end; 0 when over.
 */
remaining_time: number,
/**
 * Minor units of `currency`.
 */
sale_price: number, original_price: number, product_id: string, description: string, currency: string, currency_exponent: number, total_stock: number, status: Phase, room_opens_at: string, start_time: string, end_time: string, per_shopper_limit: number, per_device_limit: number, hold_ms: number, claim_ms: number, payment_ms: number, inflow: number, allocation: Allocation, opening: OpeningOrder,
/**
 * Where the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
 */
opening_seed_hash?: string,
/**
 * The seed itself, after the start.
 */
opening_seed?: string, draw_weight: DrawWeight, priority_share: number, absence_ms: number, cancel_limit: number, lanes: number,
/**
 * People in line, in both lines; in a draw, entries whose turn has not come.
 */
queue_length: number, created_at: string,
/**
 * Only when true: the server cannot look at its stores now, and this is what it knew last, five minutes ago at most.
 */
stale?: boolean, };

/**
 * What is told of a sale, or of something in it, with the version of the sale's settings. The same as the `ETag`.
 */
export type Versioned<T> = {
/**
 * Raised by each change that an operator makes; `If-Match` names it.
 */
version: number, } & T;

export type Metrics = { sale_id: SaleId, status: Phase, stock_remaining: number,
/**
 * Pending and confirmed.
 */
orders_count: number, queue_length: number,
/**
 * Confirmed orders ÷ reservations; 0 before the first.
 */
conversion_rate: number, supply: number, available: number, claimed: number, held: number, ordering: number, sold: number, orders_pending: number, orders_confirmed: number, orders_cancelled: number,
/**
 * Minor units of `currency`, from confirmed orders.
 */
revenue: number, currency: string, reservations: number, expired_reservations: number,
/**
 * Distinct shoppers with the sale open in the last one to two minutes.
 */
active_users: number,
/**
 * Entries served, of everybody's line and of the priority line; and how many wait in the latter.
 */
admitted: number, priority_admitted: number, priority_waiting: number,
/**
 * Absent at their turn: their place is kept.
 */
parked: number,
/**
 * Away from the line, parked or not.
 */
absent: number,
/**
 * Entries called a second; null while it has not been measured.
 */
pace: number | null, priority_pace: number | null,
/**
 * Entries per 100 ms, as set.
 */
inflow: number,
/**
 * Of what operators have set, the inflow among it: for `If-Match`.
 */
version: number,
/**
 * Units in orders by Postgres; differs from `sold + ordering` only while a checkout runs.
 */
allocated: number, fairness: Fairness,
/**
 * The last time that Postgres was found to have lost something of this sale. Selling is stopped while it has no `opened_at`.
 */
disaster: Disaster | null, };

/**
 * A time at which Postgres knew less of the sale than Redis did.
 */
export type Disaster = { disaster: string, noticed_at: string,
/**
 * The row of the audit log that was known to have been committed.
 */
known_number: number,
/**
 * The last row that was there.
 */
found_number: number, confirmed_at: string | null, confirmed_by: string | null,
/**
 * Since when it is sold again.
 */
opened_at: string | null,
/**
 * Since when all that the payment provider holds is accounted for.
 */
settled_at: string | null,
/**
 * Orders that were gone: they are cancelled, with the reason `order_lost`.
 */
orders_lost: number,
/**
 * Payments that were gone and that the provider still knew.
 */
payments_found: number, };

/**
 * How fair a sale is. What it has no line, no draw, or not enough numbers for is null.
 */
export type Fairness = {
/**
 * Entries served after somebody whose place was behind theirs; those apart who were absent at their turn. 0 in a line
 * that is first come, first served.
 */
order_inversions: number | null,
/**
 * Of the turns given since the sale began (in line, by the draw, passed on), the share that was not used.
 */
no_show_rate: number | null,
/**
 * Entries called a second, now.
 */
queue_move_rate: number | null, entries_served: number,
/**
 * Those in line, and those absent at their turn: they have had none yet, and may have one.
 */
entries_waiting: number, entries_left: number,
/**
 * Had all that one person may have.
 */
entries_removed: number,
/**
 * Away for too long.
 */
entries_expired: number, entries_not_served: number,
/**
 * How long those waited who were served, from the start of the sale on; at most a tenth more than it was.
 */
wait_seconds_p50: number | null, wait_seconds_p90: number | null, wait_seconds_p99: number | null,
/**
 * Of all units in orders, the share of the ten devices with most of them.
 */
top_devices_share: number | null,
/**
 * The draw, by weight. Empty before it is held.
 */
weights: Array<Weight>,
/**
 * Winners by weight against the expected ones. Null with one weight only, or with too few winners to tell.
 */
chi_square: ChiSquare | null,
/**
 * Gini's coefficient of the entries' chances in the draw: 0 where all had the same.
 */
win_chance_gini: number | null, };

/**
 * All entries of one weight in the draw.
 */
export type Weight = { weight: number, entries: number, winners: number,
/**
 * So many winners the weight promised.
 */
expected_winners: number, };

/**
 * Pearson's test: small p says that chance alone would rarely deviate so much.
 */
export type ChiSquare = { statistic: number, degrees_of_freedom: number, p: number, };

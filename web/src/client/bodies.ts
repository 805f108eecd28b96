/**
 * What the pages read over REST (docs: /openapi.json).
 * Made from the types in server/src by server/src/types.rs: do not edit. UPDATE_DOCS=1 writes it anew.
 */

import type { Allocation, DrawWeight, OpeningOrder, PaymentsBy, Phase, SaleId } from "./view";

/**
 * A sale, with the brief's fields first.
 */
export type Sale = { sale_id: SaleId, product_name: string,
/**
 * Free units, at most a second old.
 */
stock: number,
/**
 * Seconds to the start, or once started to the end; 0 after the end.
 */
remaining_time: number,
/**
 * Minor units of `currency`.
 */
sale_price: number, original_price: number, product_id: string,
/**
 * Markdown (CommonMark); HTML in it is text.
 */
description: string,
/**
 * The same as HTML that can be put into a page as it is. Lists leave it out.
 */
description_html?: string, currency: string, currency_exponent: number, total_stock: number, status: Phase, room_opens_at: string, start_time: string, end_time: string, per_shopper_limit: number, per_device_limit: number, hold_ms: number, claim_ms: number, payment_ms: number, inflow: number, allocation: Allocation, opening: OpeningOrder,
/**
 * If the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
 */
opening_seed_hash?: string,
/**
 * The seed itself, after the start.
 */
opening_seed?: string, draw_weight: DrawWeight, priority_share: number, absence_ms: number, cancel_limit: number,
/**
 * Whether shoppers may extend their turn or their cart, once, while nobody waits.
 */
extend_once: boolean, lanes: number,
/**
 * The shop's name in addresses: its page is `/m/{merchant}`.
 */
merchant: string,
/**
 * The shop's name for people.
 */
merchant_name: string,
/**
 * People in both lines; in a draw, entries whose turn has not come.
 */
queue_length: number, created_at: string,
/**
 * How orders of it are paid; in the answer about a single sale.
 */
payments?: PaymentsBy,
/**
 * If an operator has uploaded one.
 */
picture?: Picture,
/**
 * Where the terms are that an order is under, and their version; both, or neither.
 */
terms_url?: string, terms_version?: string,
/**
 * Only when true: the server cannot read its stores now, and this is its last knowledge, at most five minutes old.
 */
stale?: boolean, };

/**
 * A picture of the product. Addresses are of this server.
 */
export type Picture = {
/**
 * The largest file.
 */
url: string, width: number, height: number,
/**
 * What it shows.
 */
alt: string,
/**
 * All files, from the smallest on. Of the same proportions, as good as rounding allows.
 */
files: Array<PictureFile>, };

export type PictureFile = { url: string, width: number, };

/**
 * An answer about a sale, or about something in it, with the version of the sale's settings. The same as the `ETag`.
 */
export type Versioned<T> = {
/**
 * Raised by each change of an operator; used in `If-Match`.
 */
version: number, } & T;

export type Metrics = { sale_id: SaleId, status: Phase, stock_remaining: number,
/**
 * Pending and confirmed orders.
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
 * Distinct shoppers who had the sale open in the last one to two minutes.
 */
active_users: number,
/**
 * Entries served from everybody's line and from the priority line, and people waiting in the latter.
 */
admitted: number, priority_admitted: number, priority_waiting: number,
/**
 * People absent at their turn; they keep their place.
 */
parked: number,
/**
 * People away from the line, parked or not.
 */
absent: number,
/**
 * Entries called in a second; null until it is measured.
 */
pace: number | null, priority_pace: number | null,
/**
 * Entries per 100 ms, as set.
 */
inflow: number,
/**
 * How slow the slowest step of a purchase may be on average before fewer people are let in, in ms, as set.
 */
target_delay_ms: number,
/**
 * What the shop can carry; null while nobody measures it, before the start for example.
 */
carried: CarriedView | null,
/**
 * The version of the settings that operators have made, including the inflow: for `If-Match`.
 */
version: number,
/**
 * Units in orders, from Postgres; differs from `sold + ordering` only while a checkout runs.
 */
allocated: number, fairness: Fairness,
/**
 * The latest time that Postgres had lost something of this sale. Selling is stopped while it has no `opened_at`.
 */
disaster: Disaster | null, };

/**
 * What the shop can carry now.
 */
export type CarriedView = {
/**
 * People a second at most.
 */
per_second: number,
/**
 * Mean time of the slowest step of a purchase, in ms; a reservation's counts five times.
 */
delay_ms: number,
/**
 * It is less than the inflow.
 */
is_limiting: boolean, };

/**
 * A moment when Postgres knew less of the sale than Redis did.
 */
export type Disaster = { disaster: string, noticed_at: string,
/**
 * The lane whose audit chain has lost most; null: the sale's own chain.
 */
lane: number | null,
/**
 * The chain's last row known to be committed.
 */
known_number: number,
/**
 * The last row that was found.
 */
found_number: number, confirmed_at: string | null, confirmed_by: string | null,
/**
 * Since when the sale sells again.
 */
opened_at: string | null,
/**
 * Since when all payments at the provider are accounted for.
 */
settled_at: string | null,
/**
 * Lost orders; they are cancelled with the reason `order_lost`.
 */
orders_lost: number,
/**
 * Lost payments that the provider still knew.
 */
payments_found: number, };

/**
 * A sale's fairness in numbers. A number is null if the sale has no line, no draw, or too little data for it.
 */
export type Fairness = {
/**
 * Entries served after somebody from behind them, not counting people who were absent at their turn. 0 in a first-come line.
 */
order_inversions: number | null,
/**
 * The share of unused turns, of all turns since the sale began (in line, by the draw, passed on).
 */
no_show_rate: number | null,
/**
 * Entries called in a second, now.
 */
queue_move_rate: number | null, entries_served: number,
/**
 * Entries in line, and those absent at their turn: they may still have one.
 */
entries_waiting: number, entries_left: number,
/**
 * Entries of people who already had as many units as one person may have.
 */
entries_removed: number,
/**
 * Entries of people who were away too long.
 */
entries_expired: number, entries_not_served: number,
/**
 * Waiting times of served entries, from the start of the sale on; at most a tenth too much.
 */
wait_seconds_p50: number | null, wait_seconds_p90: number | null, wait_seconds_p99: number | null,
/**
 * The share of all units in orders that went to the ten devices with the most units.
 */
top_devices_share: number | null,
/**
 * The draw by weight. Empty before the draw.
 */
weights: Array<Weight>,
/**
 * Winners by weight against the expected ones. Null with only one weight, or with too few winners.
 */
chi_square: ChiSquare | null,
/**
 * Gini's coefficient of the entries' chances in the draw; 0 if all are equal.
 */
win_chance_gini: number | null, };

/**
 * All entries of one weight in the draw.
 */
export type Weight = { weight: number, entries: number, winners: number,
/**
 * The number of winners that the weight promised.
 */
expected_winners: number, };

/**
 * Pearson's test: with a small p, chance alone would rarely deviate this much.
 */
export type ChiSquare = { statistic: number, degrees_of_freedom: number, p: number, };

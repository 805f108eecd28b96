//! Metrics: their names, in one place.

use flashsale_protocol::SaleId;

/// Metric names.
pub mod name {
    pub const SOCKETS: &str = "flashsale_sockets";
    pub const SOCKETS_CLOSED: &str = "flashsale_sockets_closed_total";
    pub const SOCKETS_REFUSED: &str = "flashsale_sockets_refused_total";
    /// Requests whose forwarding header names no address that can be read.
    pub const FORWARDED_UNREADABLE: &str = "flashsale_forwarded_unreadable_total";
    /// When the TLS certificate ends, in Unix seconds.
    pub const CERTIFICATE_ENDS: &str = "flashsale_tls_certificate_ends_seconds";
    /// Requests refused for the sake of others, by limit and how wide it is: address, network, process.
    pub const THROTTLED: &str = "flashsale_throttled_total";
    pub const COMMANDS: &str = "flashsale_commands_total";
    pub const COMMAND_SECONDS: &str = "flashsale_command_seconds";
    pub(crate) const TICKS: &str = "flashsale_ticks_published_total";
    pub const FRAMES: &str = "flashsale_frames_sent_total";
    /// Ticks not sent to a socket that was still busy; it gets a newer one.
    pub const TICKS_SKIPPED: &str = "flashsale_ticks_skipped_total";
    /// The prefix of the names of ticks' times.
    pub const OF_TICKS: &str = "flashsale_tick_";
    /// Time of ticks from their number in Redis to a gateway, in seconds.
    pub const TICK_RECEIVED: &str = "flashsale_tick_received_seconds";
    /// Duration of a shard's rounds of ticks, in seconds.
    pub const TICK_ROUND: &str = "flashsale_tick_round_seconds";
    /// Time from a tick's arrival in the process to the last of its watchers, in seconds.
    pub const TICK_LAG: &str = "flashsale_tick_lag_seconds";
    pub const BATCH_ITEMS: &str = "flashsale_batch_items";
    /// Failed batches that were tried again in halves, because one item may have been at fault.
    pub(crate) const BATCHES_HALVED: &str = "flashsale_batches_halved_total";
    pub const STOCK: &str = "flashsale_stock_units";
    pub(crate) const QUEUE_LENGTH: &str = "flashsale_queue_length";
    /// People a second that the shop can carry, and the mean time of the slowest step of a purchase, in seconds.
    pub(crate) const CARRIED: &str = "flashsale_carried_per_second";
    pub(crate) const PURCHASE_DELAY: &str = "flashsale_purchase_delay_seconds";
    pub(crate) const ADMITTED: &str = "flashsale_admitted_total";
    pub(crate) const EXPIRED: &str = "flashsale_expired_total";
    pub(crate) const DIVERGENCE: &str = "flashsale_stock_divergence_units";
    pub(crate) const OVERSOLD: &str = "flashsale_oversold_units";
    pub(crate) const REBUILDS: &str = "flashsale_lane_rebuilds_total";
    /// Number of times that a lost part of a line was filled again.
    pub(crate) const LINE_REPAIRS: &str = "flashsale_line_repairs_total";
    /// Units that a lane's counters have lost or gained: supply minus the sum of the others.
    pub(crate) const UNBALANCED: &str = "flashsale_unbalanced_units";
    pub(crate) const RESERVATIONS: &str = "flashsale_reservations";
    pub(crate) const RESERVATIONS_EXPIRED: &str = "flashsale_reservations_expired";
    /// Orders of devices that have made more orders than the units allowed for one device.
    pub(crate) const SAME_DEVICE_ORDERS: &str = "flashsale_same_device_orders";
    pub(crate) const SETTLED: &str = "flashsale_checkouts_settled_total";
    /// Sales shown over REST, by source; and looks that this process took in Postgres or found in Redis.
    pub(crate) const SALE_READS: &str = "flashsale_sale_reads_total";
    /// Payments and refunds with something left to do, by task; and those that many tries have not settled.
    pub(crate) const PAYMENTS_UNSETTLED: &str = "flashsale_payments_unsettled";
    pub(crate) const PAYMENTS_STUCK: &str = "flashsale_payments_stuck";
    /// Refunds that the provider refuses and that wait for an operator.
    pub(crate) const REFUNDS_REFUSED: &str = "flashsale_refunds_refused";
    /// Events of the payment provider, by result: taken, repeated, ignored (unknown type), refused.
    pub const PAYMENT_EVENTS: &str = "flashsale_payment_events_total";
    pub(crate) const PAYMENT_CALLS: &str = "flashsale_payment_calls_total";
    /// Duration of a draw's passes over its entries; and turns given by draws.
    pub(crate) const DRAW_SECONDS: &str = "flashsale_draw_seconds";
    pub(crate) const DRAW_TURNS: &str = "flashsale_draw_turns_total";
    /// 1 while Postgres takes no changes: a standby, or one that was set so.
    pub(crate) const POSTGRES_READ_ONLY: &str = "flashsale_postgres_read_only";
    /// 1 while a sale is stopped because Postgres knows less of it than Redis does.
    pub(crate) const STOPPED: &str = "flashsale_sale_stopped";
    /// Orders that Postgres had lost, and payments of such orders that the provider held.
    pub(crate) const ORDERS_LOST: &str = "flashsale_orders_lost_total";
    pub(crate) const PAYMENTS_FOUND: &str = "flashsale_payments_found_total";
    pub(crate) const LEADING: &str = "flashsale_sales_led";
}

/// Clears a sale's gauges, which only its leader sets. Otherwise the last numbers of an earlier leader would stand next to the
/// new leader's forever.
pub fn forget_sale(sale: SaleId) {
    let gauges = [
        name::QUEUE_LENGTH,
        name::CARRIED,
        name::PURCHASE_DELAY,
        name::DIVERGENCE,
        name::OVERSOLD,
        name::UNBALANCED,
        name::RESERVATIONS,
        name::RESERVATIONS_EXPIRED,
        name::SAME_DEVICE_ORDERS,
        name::STOPPED,
    ];
    for gauge in gauges {
        metrics::gauge!(gauge, "sale" => sale.to_string()).set(0.0);
    }
    for state in ["available", "claimed", "held", "ordering", "sold"] {
        metrics::gauge!(name::STOCK, "sale" => sale.to_string(), "state" => state).set(0.0);
    }
}

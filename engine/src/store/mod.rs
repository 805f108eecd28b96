//! The only place with SQL. Postgres is the authority on supply and orders.

pub mod accounts;
pub mod api_keys;
pub mod audit;
mod commands;
pub mod devices;
pub mod disasters;
pub mod draws;
pub mod entries;
pub mod events;
pub mod links;
pub mod listing;
pub mod merchants;
pub mod operators;
pub mod orders;
pub mod payments;
mod phase;
pub mod pictures;
mod pools;
pub mod privacy;
pub mod sales;
pub mod schema;
mod session;
pub mod supply;
mod words;

use crate::{
    batcher::{BatchLimits, Batchers},
    boxed,
    chain::Chains,
    error::Result,
    kept::Kept,
    limits::COMMAND_DEADLINE,
    payment::sandbox::books::Books,
    sale::{LaneInfo, LaneRef},
};
use devices::{DeviceHash, DeviceRow};
use draws::{DrawRow, Entered, MyEntry, NewEntry};
use entries::Waits;
use flashsale_protocol::{OrderId, SaleId, ShopperId, draw};
use std::{sync::Arc, time::Duration};

pub use sqlx::PgConnection as Connection;

pub use entries::{EntryRow, Outcomes, PAGE};
pub use orders::{
    Cancel, Cancelled, Cancelling, ListedOrder, NewOrder, ORDERS_PAGE_MOST, OrderRow, OrdersPage, Placed,
    WantedOrders,
};
use payments::{NewPayment, PaymentBegun, Report, Reported};
use pools::Pools;
pub use schema::MigrateAtStart;
use session::Sessions;

/// The least time between two transactions of a kind, and between two queries of a kind. A step of a purchase is two or three of them,
/// one after the other: far less than the half second that it may take. `loadtest purchases` shows what it saves.
const COMMITS_SPACING: Duration = Duration::from_millis(12);
const LOOKS_SPACING: Duration = Duration::from_millis(3);

/// Orders, payments and cancellations settled in one transaction.
const COMMIT: BatchLimits = BatchLimits {
    items: 500,
    waiting: 20_000,
    deadline: COMMAND_DEADLINE,
    spacing: COMMITS_SPACING,
};
/// Requests answered by one query.
const LOOK: BatchLimits = BatchLimits {
    items: 256,
    waiting: 50_000,
    deadline: COMMAND_DEADLINE,
    spacing: LOOKS_SPACING,
};
/// Draws whose upper tree nodes are kept for proofs: 10 thousand hashes for ten million entries.
const DRAWS_KEPT: u64 = 64;
/// A draw that is over does not change.
const TOPS_IDLE: Duration = Duration::from_secs(600);
/// Sales whose units by device are kept, and for how long: each look reads all orders.
const SHARES_KEPT: u64 = 1_000;
const SHARE_LIFE: Duration = Duration::from_secs(5);
const DRAW_LIFE: Duration = Duration::from_secs(1);

pub struct Store {
    pub(crate) pools: Pools,
    sessions: Arc<Sessions>,
    /// How far this process' commits have come in the audit logs.
    pub chains: Arc<Chains>,
    lanes: Batchers<SaleId, (), Vec<LaneInfo>>,
    orders: Batchers<Option<SaleId>, ShopperId, Vec<OrderRow>>,
    place: Batchers<LaneRef, NewOrder, Placed>,
    cancel: Batchers<(), Cancel, Cancelling>,
    returned: Batchers<(), OrderId, ()>,
    begin_payment: Batchers<(), NewPayment, PaymentBegun>,
    report: Batchers<LaneRef, Report, Reported>,
    enter: Batchers<SaleId, NewEntry, Entered>,
    draw_entry: Batchers<SaleId, ShopperId, Option<MyEntry>>,
    waits_for: Batchers<SaleId, ShopperId, Option<Waits>>,
    devices: Batchers<(), DeviceHash, Option<DeviceRow>>,
    draw_tops: Kept<SaleId, Arc<Vec<draw::Hash>>>,
    recent_draws: Kept<SaleId, Option<Arc<DrawRow>>>,
    draw_parts: draws::pass::Parts,
    device_shares: Kept<(SaleId, i64), Option<f64>>,
}

impl Store {
    /// Connects, and brings an older schema up to date.
    #[boxed]
    pub async fn connect(url: &str, connections: u32) -> anyhow::Result<Self> {
        Self::open(url, connections, MigrateAtStart::Auto).await
    }

    #[boxed]
    pub async fn open(url: &str, connections: u32, migrate: MigrateAtStart) -> anyhow::Result<Self> {
        let options = schema::prepare(url, migrate).await?;
        let sessions = Arc::<Sessions>::default();
        let pools = Pools::open(options, connections, &sessions).await?;
        Ok(Self {
            pools,
            sessions,
            chains: Arc::default(),
            lanes: Batchers::default(),
            orders: Batchers::default(),
            place: Batchers::default(),
            cancel: Batchers::default(),
            returned: Batchers::default(),
            begin_payment: Batchers::default(),
            report: Batchers::default(),
            enter: Batchers::default(),
            draw_entry: Batchers::default(),
            waits_for: Batchers::default(),
            devices: Batchers::default(),
            draw_tops: Kept::while_used(DRAWS_KEPT, TOPS_IDLE),
            recent_draws: Kept::new(DRAWS_KEPT, DRAW_LIFE),
            draw_parts: draws::pass::parts(),
            device_shares: Kept::new(SHARES_KEPT, SHARE_LIFE),
        })
    }

    #[boxed]
    pub async fn ping(&self) -> Result<()> {
        sqlx::query_scalar!("SELECT 1")
            .fetch_one(&self.pools.operations)
            .await?;
        Ok(())
    }

    /// Whether Postgres takes no changes at the moment: a standby, or one that was set so. Purchases are refused meanwhile;
    /// reading goes on.
    pub fn is_read_only(&self) -> bool {
        self.sessions.are_read_only()
    }

    /// The sandbox provider's books, which are kept in the same database.
    pub fn sandbox_books(&self) -> Books {
        Books::new(self.pools.purchases.clone())
    }

    #[boxed]
    pub async fn close(&self) {
        self.pools.close().await;
    }

    /// Forgets the batchers of sales that have ended.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.chains.retain(&keep);
        self.lanes.retain(|sale| keep(*sale));
        self.orders.retain(|sale| sale.is_none_or(&keep));
        self.place.retain(|at| keep(at.sale));
        self.report.retain(|at| keep(at.sale));
        self.enter.retain(|sale| keep(*sale));
        self.draw_entry.retain(|sale| keep(*sale));
        self.waits_for.retain(|sale| keep(*sale));
    }
}

//! The only place with SQL. Postgres is the authority on supply and orders.

pub mod audit;
pub mod draws;
pub mod entries;
pub mod orders;
pub mod payments;
pub mod sales;
pub mod sandbox;

use crate::{
    batcher::{BatchLimits, Batchers},
    config::COMMAND_DEADLINE,
    error::Result,
    sale::{LaneInfo, LaneRef},
};
use draws::{DrawRow, Entered, MyEntry, NewEntry};
use flashsale_protocol::{SaleId, ShopperId, draw};
use moka::future::Cache;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, sync::Arc, time::Duration};

pub use entries::{EntryRow, Outcomes, PAGE};
pub use orders::{NewOrder, OrderRow, Placed};
use payments::{Begun, NewPayment, Report, Reported};

/// Orders, payments and cancellations that one transaction settles.
const COMMIT: BatchLimits = BatchLimits {
    items: 500,
    waiting: 20_000,
    deadline: COMMAND_DEADLINE,
};
/// Askers that one query answers.
const LOOK: BatchLimits = BatchLimits {
    items: 256,
    waiting: 50_000,
    deadline: COMMAND_DEADLINE,
};
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// No statement of ours runs longer, unless something is wrong.
const STATEMENT_TIMEOUT_MS: &str = "5000";
/// A process that stands still within a transaction holds its lanes' and its sale's locks: Postgres ends it for the others.
const IDLE_IN_TRANSACTION_MS: &str = "2000";

/// Draws whose upper nodes are kept for proofs: 10 thousand hashes for ten million entries.
const DRAWS_KEPT: u64 = 64;
const DRAW_LIFE: Duration = Duration::from_secs(1);

pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

pub struct Store {
    pub(crate) pool: PgPool,
    lanes: Batchers<SaleId, (), Vec<LaneInfo>>,
    orders: Batchers<Option<SaleId>, ShopperId, Vec<OrderRow>>,
    place: Batchers<LaneRef, NewOrder, Placed>,
    begin_payment: Batchers<(), NewPayment, Begun>,
    report: Batchers<LaneRef, Report, Reported>,
    enter: Batchers<SaleId, NewEntry, Entered>,
    draw_entry: Batchers<SaleId, ShopperId, Option<MyEntry>>,
    waits_for: Batchers<SaleId, ShopperId, Option<u32>>,
    draw_tops: Cache<SaleId, Arc<Vec<draw::Hash>>>,
    recent_draws: Cache<SaleId, Option<Arc<DrawRow>>>,
}

impl Store {
    /// Connects and brings the schema up to date.
    pub async fn connect(url: &str, connections: u32) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("flashsale")
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT_MS),
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await?;
        MIGRATOR.run(&pool).await?;
        Ok(Self {
            pool,
            lanes: Batchers::default(),
            orders: Batchers::default(),
            place: Batchers::default(),
            begin_payment: Batchers::default(),
            report: Batchers::default(),
            enter: Batchers::default(),
            draw_entry: Batchers::default(),
            waits_for: Batchers::default(),
            draw_tops: Cache::new(DRAWS_KEPT),
            recent_draws: Cache::builder()
                .max_capacity(DRAWS_KEPT)
                .time_to_live(DRAW_LIFE)
                .build(),
        })
    }

    pub async fn ping(&self) -> Result<()> {
        sqlx::query_scalar!("SELECT 1").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// The sandbox provider's books, which happen to be in the same database.
    pub fn sandbox_books(&self) -> sandbox::Books {
        sandbox::Books::new(self.pool.clone())
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Forgets the batchers of sales that are over.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.lanes.retain(|sale| keep(*sale));
        self.orders.retain(|sale| sale.is_none_or(&keep));
        self.place.retain(|at| keep(at.sale));
        self.report.retain(|at| keep(at.sale));
        self.enter.retain(|sale| keep(*sale));
        self.draw_entry.retain(|sale| keep(*sale));
        self.waits_for.retain(|sale| keep(*sale));
    }
}

//! The only place with SQL. Postgres is the authority on supply and orders.

pub mod audit;
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
use flashsale_protocol::{SaleId, ShopperId};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};

pub use entries::{EntryRow, PAGE};
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

pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

pub struct Store {
    pub(crate) pool: PgPool,
    lanes: Batchers<SaleId, (), Vec<LaneInfo>>,
    orders: Batchers<Option<SaleId>, ShopperId, Vec<OrderRow>>,
    place: Batchers<LaneRef, NewOrder, Placed>,
    begin_payment: Batchers<(), NewPayment, Begun>,
    report: Batchers<LaneRef, Report, Reported>,
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
    }
}

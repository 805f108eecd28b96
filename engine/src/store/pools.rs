//! This process' connections to Postgres, apart by what they are for: nobody who asks for much can take those of another purpose.

use super::session::{self, Sessions};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{sync::Arc, time::Duration};

/// How long a request may wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// With fewer connections than this, all purposes share them.
const APART_FROM: u32 = 4;
/// With fewer than this, workers share those of purchases.
const WORKERS_FROM: u32 = 8;

pub(crate) struct Pools {
    /// Orders, payments and stock, and the workers who settle them. Statements name their rows by key: no other plan is made.
    pub purchases: PgPool,
    /// The line's history and draws: many rows at once.
    pub workers: PgPool,
    /// What shoppers who have signed in look at.
    pub shoppers: PgPool,
    /// What anybody may ask.
    pub public: PgPool,
    /// Operators, API keys, exports, load balancers.
    pub operations: PgPool,
}

/// How many connections each purpose gets.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    purchases: u32,
    /// 0: they share those of purchases.
    workers: u32,
    shoppers: u32,
    public: u32,
    operations: u32,
}

impl Shares {
    fn of(connections: u32) -> Self {
        let shoppers = (connections / 4).max(1);
        let public = (connections / 8).max(1);
        let workers = if connections < WORKERS_FROM { 0 } else { public };
        Self {
            purchases: connections - shoppers - 2 * public - workers,
            workers,
            shoppers,
            public,
            operations: public,
        }
    }
}

impl Pools {
    pub(super) async fn open(
        options: PgConnectOptions,
        connections: u32,
        sessions: &Arc<Sessions>,
    ) -> sqlx::Result<Self> {
        let of = |connections| pool(connections, sessions, session::SET_UP);
        if connections < APART_FROM {
            let shared = of(connections).connect_with(options).await?;
            return Ok(Self {
                purchases: shared.clone(),
                workers: shared.clone(),
                shoppers: shared.clone(),
                public: shared.clone(),
                operations: shared,
            });
        }
        let shares = Shares::of(connections);
        let purchases = match shares.workers {
            0 => of(shares.purchases),
            _ => pool(shares.purchases, sessions, session::SET_UP_BY_KEY),
        };
        // One connection shows at the start that Postgres can be used.
        let purchases = purchases.connect_with(options.clone()).await?;
        Ok(Self {
            workers: match shares.workers {
                0 => purchases.clone(),
                workers => of(workers).connect_lazy_with(options.clone()),
            },
            purchases,
            shoppers: of(shares.shoppers).connect_lazy_with(options.clone()),
            public: of(shares.public).connect_lazy_with(options.clone()),
            operations: of(shares.operations).connect_lazy_with(options),
        })
    }

    pub(super) async fn close(&self) {
        tokio::join!(
            self.purchases.close(),
            self.workers.close(),
            self.shoppers.close(),
            self.public.close(),
            self.operations.close()
        );
    }
}

fn pool(connections: u32, sessions: &Arc<Sessions>, set_up: &'static str) -> PgPoolOptions {
    let (at_first, later) = (sessions.clone(), sessions.clone());
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The question below tests the connection too.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let sessions = at_first.clone();
            Box::pin(async move {
                let set_up = sessions.ask(connection, set_up, Duration::ZERO);
                set_up.await.map(drop)
            })
        })
        .before_acquire(move |connection, known| {
            let sessions = later.clone();
            Box::pin(async move { sessions.ask(connection, session::QUESTION, known.age).await })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_connections_and_purchases_have_the_most() {
        for connections in APART_FROM..200 {
            let shares = Shares::of(connections);
            let Shares {
                purchases,
                workers,
                shoppers,
                public,
                operations,
            } = shares;
            assert_eq!(purchases + workers + shoppers + public + operations, connections);
            assert_eq!(workers > 0, connections >= WORKERS_FROM);
            assert!(public > 0 && operations > 0 && shoppers > 0, "{shares:?}");
            assert!(purchases >= shoppers, "{shares:?}");
        }
        let of_16 = Shares {
            purchases: 6,
            workers: 2,
            shoppers: 4,
            public: 2,
            operations: 2,
        };
        assert_eq!(Shares::of(16), of_16);
    }
}

//! Whether the stores answer, as load balancers are told.

use flashsale_engine::shop::Shop;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How long an answer of the stores is good: load balancers ask each process once a second or more often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A store that takes longer counts as away.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    Ok,
    /// It takes no changes: purchases wait, reading goes on.
    ReadOnly,
    /// It does not answer: what is known here is still shown, and everything else is refused with `unavailable`.
    Away,
}

/// The stores, as seen a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stores {
    redis: StoreState,
    postgres: StoreState,
}

/// The last look at the stores.
#[derive(Default)]
pub struct Looked(Mutex<Option<(Instant, Stores)>>);

impl Looked {
    /// Many askers at once cause one look.
    pub(super) async fn at(&self, shop: &Shop) -> Stores {
        let mut last = self.0.lock().await;
        if let Some((at, stores)) = *last
            && at.elapsed() < LOOK_EVERY
        {
            return stores;
        }
        let (redis, postgres) = tokio::join!(
            tokio::time::timeout(LOOK_TIMEOUT, shop.stock.ping()),
            tokio::time::timeout(LOOK_TIMEOUT, shop.store.ping()),
        );
        let stores = Stores {
            redis: match redis {
                Ok(Ok(())) => StoreState::Ok,
                _ => StoreState::Away,
            },
            postgres: match postgres {
                Ok(Ok(())) if shop.store.is_read_only() => StoreState::ReadOnly,
                Ok(Ok(())) => StoreState::Ok,
                _ => StoreState::Away,
            },
        };
        *last = Some((Instant::now(), stores));
        stores
    }
}

//! People in line who ask over REST instead of holding a socket. Whoever has not asked for a while is absent, like somebody whose last
//! socket has closed: the place is kept, and a turn waits until they ask again.

use dashmap::DashMap;
use flashsale_engine::{caller::Caller, shop::Shop};
use flashsale_protocol::{SaleId, ShopperId};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often it is looked who has stopped asking.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub struct Polling {
    lease: Duration,
    /// By person and sale: their account, and when they last asked.
    asked: DashMap<(ShopperId, SaleId), (ShopperId, Instant)>,
}

impl Polling {
    pub fn new(lease: Duration) -> Self {
        Self {
            lease,
            asked: DashMap::new(),
        }
    }

    /// Somebody with a place has asked for it.
    pub(super) fn note(&self, caller: &Caller, sale: SaleId) {
        let asker = (caller.shopper.clone(), sale);
        self.asked.insert(asker, (caller.account.clone(), Instant::now()));
    }

    /// Marks those as absent who have stopped asking, until the server stops. Sockets say of themselves when they close.
    pub(crate) async fn watch(self: Arc<Self>, shop: Arc<Shop>, stopping: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = look.tick() => {}
            }
            let mut gone = Vec::new();
            self.asked.retain(|(shopper, sale), (account, at)| {
                let asks = at.elapsed() < self.lease;
                if !asks && !shop.here.has_shopper(account.as_str()) {
                    gone.push((shopper.clone(), *sale));
                }
                asks
            });
            for (shopper, sale) in gone {
                if let Err(error) = shop.stock.go_away(sale, shopper) {
                    tracing::debug!(%sale, %error, "an absent shopper is not marked");
                }
            }
        }
    }
}

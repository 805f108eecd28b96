//! Shoppers come and go with their first and their last socket at this gateway.

use crate::{boxed, caller::Caller, elsewhere::Gateways, error::Result, here::SocketRef, shop::Shop};
use flashsale_protocol::{SaleId, ShopperId};
use std::sync::Arc;

/// A socket's registration with its shopper; it ends when dropped.
pub struct Registration {
    shop: Arc<Shop>,
    caller: Arc<Caller>,
    socket: SocketRef,
}

impl Registration {
    /// For a socket that was added to its shopper (see [`crate::here::Here::enter`]).
    pub fn new(shop: Arc<Shop>, caller: Arc<Caller>, socket: SocketRef) -> Self {
        Self { shop, caller, socket }
    }

    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let stakes = self.shop.here.leave(&self.caller.account, self.socket);
        // A shopper in line is now away, unless another gateway has a socket of theirs (see `LiveMessage::Parked`).
        for (sale, shopper, _) in stakes.into_iter().filter(|(.., stake)| stake.place.is_some()) {
            if let Err(error) = self.shop.stock.go_away(sale, shopper) {
                tracing::debug!(%sale, %error, "an absent shopper is not marked");
            }
        }
    }
}

/// Notes that an account is here, and tells its other gateways.
#[boxed]
pub async fn arrive(shop: &Shop, shopper: &ShopperId) {
    let elsewhere = &shop.here.elsewhere;
    let doubts = elsewhere.doubts();
    let (gateways, is_sure) = tell_arrival(shop, shopper).await.unwrap_or_else(|error| {
        tracing::debug!(%shopper, %error, "where else a shopper is cannot be known");
        (Gateways::new(), false)
    });
    elsewhere.note(shopper, gateways, is_sure.then_some(doubts));
}

/// The shopper's other gateways, and whether the list is complete.
async fn tell_arrival(shop: &Shop, shopper: &ShopperId) -> Result<(Gateways, bool)> {
    let here = shop.here.id;
    let (mut gateways, mut is_sure) = (Gateways::new(), true);
    for other in shop.stock.arrive(shopper, here).await? {
        if shop.live.also_here(other, here, shopper).await? {
            gateways.push(other);
        } else if shop.stock.is_alive(other).await? {
            // That gateway listens to nothing at the moment, so it does not know of this one.
            is_sure = false;
        } else {
            shop.stock.forget_arrival(shopper, other).await?;
        }
    }
    Ok((gateways, is_sure))
}

/// Tells Redis how many people look at a sale through one shard of this gateway; operators see the sum.
pub async fn mark_active(shop: &Shop, sale: SaleId, shard: usize, people: usize) {
    let part = format!("{:x}.{shard}", shop.here.id.0);
    let marked = async {
        let minute = shop.stock.now().await? / 60_000;
        shop.stock.mark_active(sale, minute, part, people as u64).await
    };
    if let Err(error) = marked.await {
        tracing::debug!(%error, "cannot count people looking");
    }
}

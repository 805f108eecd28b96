//! The nonces in the names of a sale's draw: which one an entry has, and when the server may make one.

use crate::{
    error::Result,
    sale::{Named, Sale},
    shop::Shop,
};
use flashsale_protocol::{Nonce, ShopperId, draw::Format};

/// What the name of a place in line is made with. None: it cannot be told at the moment; the line's history is a second late.
pub(super) async fn of_place(shop: &Shop, sale: &Sale, shopper: &ShopperId, place: u64) -> Option<Named> {
    if sale.names() == Format::One {
        return None;
    }
    if let Some(known) = shop.here.nonce_of(shopper, sale.id, place) {
        return Some(known);
    }
    match shop.store.waits_for(sale.id, shopper).await {
        Ok(waits) => waits
            .filter(|waits| waits.place == place)
            .map(|waits| waits.nonce),
        // A place in line does not wait for Postgres.
        Err(error) => {
            tracing::debug!(sale = %sale.id, %error, "a nonce cannot be looked up");
            None
        }
    }
}

/// Whether the server may make a nonce. It knows the seed, so without a beacon it could choose one that wins.
pub(super) async fn may_be_made(shop: &Shop, sale: &Sale) -> Result<bool> {
    let draw = shop.store.recent_draw(sale.id).await?;
    Ok(draw.is_some_and(|draw| draw.public.awaits.is_some()))
}

pub(super) fn make() -> Nonce {
    Nonce(rand::random())
}

//! Forgets people whose time is up, sale by sale and in parts, takes sales that are over out of Redis, and hides what older releases stored openly. Every step may be repeated,
//! and taken by several processes at once.

use crate::{error::Result, shop::Shop};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often a process looks for such a sale.
const LOOK: Duration = Duration::from_secs(60);
/// Pause between two parts, in which others use the store.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(shop: Arc<Shop>, stopping: CancellationToken) {
    loop {
        if let Err(error) = shop.store.join_order_counts().await {
            tracing::debug!(%error, "counts of orders are not joined yet");
        }
        let wait = match step(&shop).await {
            Ok(true) => PAUSE,
            Ok(false) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "people whose time is up are not forgotten yet");
                LOOK
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// True: there is more to do.
pub async fn step(shop: &Shop) -> Result<bool> {
    if let Some(sale) = shop.store.sale_to_hide().await? {
        shop.store.hide_devices(sale).await?;
        return Ok(true);
    }
    if let Some((sale, lanes)) = shop.store.sale_to_clear().await? {
        shop.stock.forget_sale(sale, lanes).await?;
        shop.store.note_cleared(sale).await?;
        return Ok(true);
    }
    let Some(sale) = shop.store.sale_to_forget().await? else {
        return Ok(false);
    };
    if shop.store.forget_people(sale).await? {
        tracing::info!(%sale, "the people of a sale are forgotten");
    }
    Ok(true)
}

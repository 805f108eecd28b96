//! Tells Redis once a second that this process is alive, which formats it knows, and how long the stores take for its purchases. If a gateway dies without signing off, this
//! stops, and workers ask which of its shoppers are still here (`worker/roll.rs`).

use flashsale_engine::shop::Shop;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const BEAT: Duration = Duration::from_secs(1);

/// `gateway`: this process has sockets of shoppers.
pub async fn run(shop: Arc<Shop>, gateway: bool, stopping: CancellationToken) {
    let (stock, id) = (&shop.stock, shop.here.id);
    let mut beat = tokio::time::interval(BEAT);
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            _ = beat.tick() => {}
        }
        // The report comes first: a gateway that only beats counts as one of an older release.
        let told = async {
            stock.report(id).await?;
            if gateway {
                stock.beat(id).await?;
                let (seen, within) = (shop.load.take(), looked.elapsed());
                looked = Instant::now();
                stock.report_load(id, seen, within).await?;
            }
            Ok::<_, flashsale_engine::error::Error>(())
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "cannot say that this process is alive");
        }
    }
    if gateway {
        // Its sockets were closed one by one, so nobody is missed.
        let _ = stock.sign_off(id).await;
    }
    let _ = stock.end_report(id).await;
}

//! Tells Redis that this process is alive and which formats it knows, and how long the stores take for its purchases. If a gateway
//! dies without signing off, this stops, and workers ask which of its shoppers are still here (`worker/roll.rs`).

use flashsale_engine::{load::REPORTED_EVERY, shop::Shop};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

const BEAT: Duration = Duration::from_secs(1);

/// `gateway`: this process has sockets of shoppers.
pub async fn run(shop: Arc<Shop>, gateway: bool, stopping: CancellationToken) {
    let (stock, id) = (&shop.stock, shop.here.id);
    let mut beat = tokio::time::interval(BEAT);
    if gateway {
        tokio::spawn(report_load(shop.clone(), stopping.clone()));
    }
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

/// Tells the governor how the stores do. A report that is lost is one look without news.
async fn report_load(shop: Arc<Shop>, stopping: CancellationToken) {
    let (mut every, mut looked) = (tokio::time::interval(REPORTED_EVERY), Instant::now());
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = every.tick() => {}
        }
        let (seen, within) = (shop.load.take(), looked.elapsed());
        looked = Instant::now();
        if let Err(error) = shop.stock.report_load(shop.here.id, seen, within).await {
            tracing::debug!(%error, "cannot say how the stores do");
        }
    }
}

//! Tells Redis once a second that this gateway is alive. Whoever dies without signing off is missed, and workers ask who of its
//! shoppers are still here (`worker/roll.rs`).

use crate::app::App;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const BEAT: Duration = Duration::from_secs(1);

pub async fn run(app: Arc<App>, stopping: CancellationToken) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            _ = beat.tick() => {}
        }
        if let Err(error) = app.stock.beat(app.hub.id).await {
            tracing::debug!(%error, "cannot say that this gateway is alive");
        }
    }
    // Its sockets were closed one by one: nobody is missed.
    let _ = app.stock.sign_off(app.hub.id).await;
}

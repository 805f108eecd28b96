//! Shared by all doors: the shop, the sockets, who may sign in, and the limits.

use crate::{
    auth::Authority,
    config::Limits,
    gateway::{hub::Hub, shard::Shards, stores::Looked, throttle::Throttle},
    markdown::Described,
    origin::Origin,
    pictures::Pictures,
    rest::polling::Polling,
    sharing,
};
use dashmap::DashMap;
use flashsale_engine::shop::Shop;
use std::sync::Arc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub struct App {
    pub shop: Arc<Shop>,
    pub hub: Arc<Hub>,
    pub shards: Arc<Shards>,
    pub throttle: Arc<Throttle>,
    pub authority: Arc<Authority>,
    pub limits: Limits,
    /// Who waits in line without a socket.
    pub polling: Arc<Polling>,
    pub pictures: Pictures,
    pub described: Described,
    /// Exports that are being sent, by merchant.
    pub exports: DashMap<String, i32>,
    /// What is known of the stores.
    pub looked: Looked,
    /// The admin page's own origin, if it has one.
    pub admin_origin: Option<Origin>,
    pub dev: bool,
    /// Cancelled when the server begins to stop: no new connections, sockets are told to move.
    pub draining: CancellationToken,
}

impl App {
    /// Shares the limits that hold over processes, again and again.
    pub async fn share_limits(self: Arc<Self>, stopping: CancellationToken) {
        let mut tick = tokio::time::interval(sharing::EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stopping.run_until_cancelled(tick.tick()).await.is_some() {
            let stock = &self.shop.stock;
            self.throttle.share(stock).await;
            self.authority.accounts.share(stock).await;
        }
    }
}

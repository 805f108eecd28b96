//! Shared by all doors: the shop, the sockets, who may sign in, and the limits.

use crate::{
    auth::Authority,
    config::Limits,
    gateway::{hub::Hub, shard::Shards, throttle::Throttle},
};
use crate::rest::sales::SaleList;
use flashsale_engine::{shop::Shop, store::listing::Wanted};
use moka::future::Cache;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Number of kept pages of lists, and their largest age.
const LISTS_KEPT: u64 = 1_000;
const LIST_LIFE: Duration = Duration::from_secs(1);

/// An empty store of such pages.
pub(crate) fn lists() -> Cache<Wanted, Arc<SaleList>> {
    Cache::builder().max_capacity(LISTS_KEPT).time_to_live(LIST_LIFE).build()
}

pub struct App {
    pub shop: Arc<Shop>,
    pub hub: Arc<Hub>,
    pub shards: Arc<Shards>,
    pub throttle: Arc<Throttle>,
    pub authority: Arc<Authority>,
    pub limits: Limits,
    /// Pages of lists of sales that somebody has asked for lately.
    pub lists: Cache<Wanted, Arc<SaleList>>,
    pub dev: bool,
    /// Cancelled when the server begins to stop: no new connections, sockets are told to move.
    pub draining: CancellationToken,
}

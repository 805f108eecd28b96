//! Detects that Postgres has lost something, by what the lanes know of its audit log, and stops selling.

use super::{Stock, scripts::*};
use crate::{
    chain::ChainEnd,
    error::{Error, Result},
    sale::{LaneRef, Sale},
};
use fred::prelude::*;
use futures_util::future::try_join_all;

/// The field of the sale that names its disaster.
const DISASTER: &str = "disaster";

/// A lane's knowledge of Postgres.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneChain {
    pub lane: u16,
    /// The highest epoch in which it has lived or is being rebuilt; 0: the lane is missing.
    pub epoch: u32,
    /// Ends of the audit log that were certainly committed: of the lane's chain, or in format 1 of the sale's only one.
    pub ends: Vec<ChainEnd>,
    /// Ends of the sale's own chain. The first lane keeps them, because a lane is fenced and begins anew after a loss.
    pub sale_ends: Vec<ChainEnd>,
    pub is_stopped: bool,
}

/// The evidence in Redis about a sale, to hold against Postgres.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// The disaster for which selling was stopped.
    pub disaster: Option<String>,
    pub lanes: Vec<LaneChain>,
}

impl Stock {
    pub async fn witness(&self, sale: &Sale) -> Result<Witness> {
        const FIELDS: [&str; 7] = [
            "epoch",
            "rebuilding",
            "stopped",
            "chain",
            "chain_before",
            "sale_chain",
            "sale_chain_before",
        ];
        let (client, keys) = (self.runner.client(), &self.runner.keys);
        let disaster = client.hget(keys.sale("sale", sale.id), DISASTER);
        let lanes = sale.lane_refs().map(async |at| {
            let values: Vec<Option<String>> = client.hmget(keys.lane("stock", at), FIELDS.to_vec()).await?;
            let text = |i: usize| values.get(i).and_then(Option::as_deref);
            let epoch = |i: usize| text(i).and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
            // A script writes 0 for no end.
            let ends = |fields: [usize; 2]| -> Result<Vec<ChainEnd>> {
                let known = fields
                    .into_iter()
                    .filter_map(|i| text(i).filter(|end| *end != "0"));
                known.map(str::parse).collect()
            };
            Ok::<_, Error>(LaneChain {
                lane: at.lane,
                epoch: epoch(0).max(epoch(1)),
                ends: ends([3, 4])?,
                sale_ends: ends([5, 6])?,
                is_stopped: text(2) == Some("1"),
            })
        });
        // All at once, because the leader looks several times a second.
        let (disaster, lanes) = tokio::join!(disaster, try_join_all(lanes));
        let (disaster, lanes) = (disaster?, lanes?);
        Ok(Witness { disaster, lanes })
    }

    /// Nothing is sold from these lanes from now on; the line stays.
    pub(crate) async fn stop_selling(&self, sale: &Sale, disaster: &str) -> Result<()> {
        let (client, keys) = (self.runner.client(), &self.runner.keys);
        let _: u64 = client
            .hset(keys.sale("sale", sale.id), (DISASTER, disaster))
            .await?;
        for at in sale.lane_refs() {
            let _: u64 = client.hset(keys.lane("stock", at), ("stopped", 1)).await?;
        }
        Ok(())
    }

    /// A disaster is over: removes the rest of its stop.
    pub(crate) async fn end_stop(&self, sale: &Sale) -> Result<()> {
        let (client, keys) = (self.runner.client(), &self.runner.keys);
        for at in sale.lane_refs() {
            let _: u64 = client.hdel(keys.lane("stock", at), "stopped").await?;
        }
        let _: u64 = client.hdel(keys.sale("sale", sale.id), DISASTER).await?;
        Ok(())
    }

    /// A locked lane forgets an audit log that no longer exists.
    pub(crate) async fn forget_chain(&self, at: LaneRef) -> Result<()> {
        let key = self.runner.keys.lane("stock", at);
        let fields = vec![
            "chain",
            "chain_before",
            "sale_chain",
            "sale_chain_before",
            "stopped",
        ];
        let _: u64 = self.runner.client().hdel(key, fields).await?;
        Ok(())
    }

    /// Notes how far a lane's audit chain has come, and forgets an end found there from another life of Postgres.
    pub async fn note_chain(&self, at: LaneRef, end: ChainEnd, found: Option<ChainEnd>) -> Result<()> {
        self.note_chain_of("lane", at, end, found).await
    }

    /// The same for the sale's own chain. `at` is its first lane.
    pub async fn note_sale_chain(&self, at: LaneRef, end: ChainEnd, found: Option<ChainEnd>) -> Result<()> {
        self.note_chain_of("sale", at, end, found).await
    }

    async fn note_chain_of(
        &self,
        of: &str,
        at: LaneRef,
        end: ChainEnd,
        found: Option<ChainEnd>,
    ) -> Result<()> {
        let found = found.map_or_else(|| "-".into(), |found| found.to_string());
        let args = vec![at.epoch.to_string(), end.to_string(), found, of.to_owned()];
        self.runner.on_lane(&NOTE_CHAIN, at, args).await?;
        Ok(())
    }
}

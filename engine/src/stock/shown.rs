//! Shared looks at sales: one process looks, and the others show the result.

use super::Stock;
use crate::{
    error::{Error, Result},
    sale::{Sale, Shown},
};
use flashsale_protocol::{Phase, SaleId, Tick};
use fred::{
    prelude::*,
    types::{ClusterHash, CustomCommand, Expiration, SetOptions},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The sales that one look shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Showing {
    Sale(SaleId),
    All,
}

/// A look at sales, as Redis keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Look {
    /// The time when it was taken, by Redis' clock.
    pub at: u64,
    /// How long it took: a slow look is repeated a little earlier.
    pub took_ms: u64,
    pub sales: Vec<Shown>,
    /// Where the list goes on, if it does.
    #[serde(default)]
    pub next: Option<String>,
}

/// A sale's numbers in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleNumbers {
    /// Units that are free.
    pub free: u64,
    /// People in both lines; in a draw, entries whose turn has not come.
    pub waiting: u64,
    /// From the leader, if it was there lately.
    pub phase: Option<Phase>,
}

impl Stock {
    fn shown_key(&self, name: &str, what: Showing) -> String {
        match what {
            Showing::Sale(sale) => self.runner.keys.sale(name, sale),
            Showing::All => self.runner.keys.all_sales(name),
        }
    }

    /// The last look of any process, and Redis' clock. A look that another release wrote in another form counts as none.
    pub(crate) async fn last_look(&self, what: Showing) -> Result<(u64, Option<Look>)> {
        let pipeline = self.runner.client().pipeline();
        let time = CustomCommand::new_static("TIME", ClusterHash::Random, false);
        let _: () = pipeline.custom(time, Vec::<String>::new()).await?;
        let _: () = pipeline.get(self.shown_key("shown", what)).await?;
        let ((seconds, micros), text): ((u64, u64), Option<String>) = pipeline.all().await?;
        let look = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok((seconds * 1000 + micros / 1000, look))
    }

    /// Whether this process takes the next look: only one may, until the lease has run out.
    pub(crate) async fn may_look(&self, what: Showing, lease: Duration) -> Result<bool> {
        let key = self.shown_key("looking", what);
        let lease = Some(Expiration::PX(lease.as_millis() as i64));
        let taken: Option<String> = self
            .runner
            .client()
            .set(key, "1", lease, Some(SetOptions::NX), false)
            .await?;
        Ok(taken.is_some())
    }

    /// The numbers of several sales, in one call, and Redis' clock. None: Redis does not know the sale's lanes.
    pub async fn numbers(&self, sales: &[Sale]) -> Result<(u64, Vec<Option<SaleNumbers>>)> {
        let pipeline = self.runner.client().pipeline();
        let time = CustomCommand::new_static("TIME", ClusterHash::Random, false);
        let _: () = pipeline.custom(time, Vec::<String>::new()).await?;
        for sale in sales {
            let keys = &self.runner.keys;
            let _: () = pipeline.get(keys.sale("last_tick", sale.id)).await?;
            let _: () = pipeline.zcard(keys.sale("queue", sale.id)).await?;
            let _: () = pipeline.zcard(keys.sale("priority", sale.id)).await?;
            for at in sale.lane_refs() {
                let _: () = pipeline
                    .hget(self.runner.keys.lane("stock", at), "available")
                    .await?;
            }
        }
        let mut answers = pipeline.all::<Vec<Value>>().await?.into_iter();
        let mut next = || answers.next().ok_or_else(|| Error::unexpected("a short answer"));
        let (seconds, micros): (u64, u64) = next()?.convert()?;
        let mut found = Vec::with_capacity(sales.len());
        for sale in sales {
            let tick: Option<String> = next()?.convert()?;
            let tick: Option<Tick> = tick.and_then(|json| serde_json::from_str(&json).ok());
            let (queue, priority): (u64, u64) = (next()?.convert()?, next()?.convert()?);
            let mut free = Some(0);
            for _ in sale.lane_refs() {
                let available: Option<i64> = next()?.convert()?;
                free = free.zip(available).map(|(sum, n)| sum + n.max(0) as u64);
            }
            found.push(free.map(|free| SaleNumbers {
                free,
                // The leader's number, which sockets show too: it knows who waits for a draw.
                waiting: tick.as_ref().map_or(queue + priority, |tick| tick.waiting),
                phase: tick.map(|tick| tick.phase),
            }));
        }
        Ok((seconds * 1000 + micros / 1000, found))
    }

    /// Keeps a look for all processes.
    pub(crate) async fn keep_look(&self, what: Showing, look: &Look, life: Duration) -> Result<()> {
        let text = serde_json::to_string(look).map_err(|error| Error::unexpected(error.to_string()))?;
        let life = Some(Expiration::PX(life.as_millis() as i64));
        let key = self.shown_key("shown", what);
        let _: () = self.runner.client().set(key, text, life, None, false).await?;
        Ok(())
    }

    /// The sale has changed: the next request takes a new look.
    pub(crate) async fn forget_looks(&self, sale: SaleId) -> Result<()> {
        for what in [Showing::Sale(sale), Showing::All] {
            let keys = ["shown", "looking"].map(|name| self.shown_key(name, what));
            let _: () = self.runner.client().del(keys.to_vec()).await?;
        }
        Ok(())
    }
}

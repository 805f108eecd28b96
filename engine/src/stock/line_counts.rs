//! Counts of a line: its length, who stands where in it, and its totals.

use super::{Stock, line::Served, turns::Turns};
use crate::{
    boxed,
    error::{Error, Result},
    sale::LineName,
};
use flashsale_protocol::{SaleId, ShopperId};
use fred::prelude::*;

/// A line's totals since the sale began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub served: Served,
    /// People in both lines; then those of them in the priority line.
    pub waiting: u64,
    pub priority_waiting: u64,
    /// Absent at their turn.
    pub parked: u64,
    /// Marked as away, in line or parked.
    pub absent: u64,
    pub inversions: u64,
    pub turns: Turns,
}

impl LineCounts {
    /// The share of granted turns that were not used. None: none was granted yet.
    pub fn no_show_rate(&self) -> Option<f64> {
        let granted = self.turns.granted;
        (granted > 0).then(|| self.turns.lapsed as f64 / granted as f64)
    }
}

impl Stock {
    /// How many people wait.
    pub async fn queue_length(&self, sale: SaleId) -> Result<u64> {
        let (client, keys) = (self.runner.client(), &self.runner.keys);
        let (all, first): (u64, u64) = tokio::try_join!(
            client.zcard(keys.sale("queue", sale)),
            client.zcard(keys.sale("priority", sale))
        )?;
        Ok(all + first)
    }

    /// Everybody who stands in line: waiting, being called, or absent at their turn.
    pub async fn standing(&self, sale: SaleId) -> Result<u64> {
        let (client, keys) = (self.runner.client(), &self.runner.keys);
        let mut standing = 0;
        for place in ["queue", "priority", "admitting", "parked"] {
            let people: u64 = client.zcard(keys.sale(place, sale)).await?;
            standing += people;
        }
        Ok(standing)
    }

    /// Number of people in a line up to this place.
    pub(crate) async fn standing_up_to(&self, sale: SaleId, line: LineName, place: u64) -> Result<u64> {
        let key = self.runner.keys.sale(line.word(), sale);
        Ok(self.runner.client().zcount(key, 0.0, place as f64).await?)
    }

    /// The first people in a line behind one place and before another, with their places.
    pub async fn behind(
        &self,
        sale: SaleId,
        line: LineName,
        place: u64,
        before: u64,
        most: usize,
    ) -> Result<Vec<(ShopperId, u64)>> {
        let key = self.runner.keys.sale(line.word(), sale);
        let limit = Some((0, most as i64));
        let found: Vec<(String, f64)> = self
            .runner
            .client()
            .zrangebyscore(
                key,
                (place + 1) as f64,
                before.saturating_sub(1) as f64,
                true,
                limit,
            )
            .await?;
        found
            .into_iter()
            .map(|(name, place)| {
                let shopper = name
                    .parse()
                    .map_err(|_| Error::unexpected("a bad shopper in line"))?;
                Ok((shopper, place as u64))
            })
            .collect()
    }

    /// The line's totals.
    #[boxed]
    pub async fn line_counts(&self, sale: SaleId) -> Result<LineCounts> {
        const FIELDS: [&str; 7] = [
            "admitted",
            "priority_admitted",
            "inversions",
            "granted",
            "granted_units",
            "lapsed",
            "lapsed_units",
        ];
        let (pipeline, keys) = (self.runner.client().pipeline(), &self.runner.keys);
        let _: () = pipeline.hmget(keys.sale("sale", sale), FIELDS.to_vec()).await?;
        for place in ["queue", "priority", "parked", "absent"] {
            let _: () = pipeline.zcard(keys.sale(place, sale)).await?;
        }
        let (values, queue, priority_waiting, parked, absent): (Vec<Option<u64>>, u64, u64, u64, u64) =
            pipeline.all().await?;
        let at = |i: usize| values.get(i).copied().flatten().unwrap_or(0);
        Ok(LineCounts {
            served: Served {
                queue: at(0),
                priority: at(1),
            },
            waiting: queue + priority_waiting,
            priority_waiting,
            parked,
            absent,
            inversions: at(2),
            turns: Turns {
                granted: at(3),
                granted_units: at(4),
                lapsed: at(5),
                lapsed_units: at(6),
            },
        })
    }
}

//! A lane's gate: open for everybody, or only for shoppers with a claim.

use super::{
    BATCH, Stock,
    scripts::{Runner, SET_GATE},
};
use crate::{
    batcher::{Batch, Batcher, nobody_s},
    error::Result,
    sale::LaneRef,
};

impl Stock {
    /// From now on nobody reserves past this place without a claim. Many joiners share one call: the last of their places closes
    /// the gate for all.
    pub async fn close_gate(&self, at: LaneRef, place: u64) -> Result<()> {
        self.close_gate
            .submit(&at, place, || {
                let runner = self.runner.clone();
                Batcher::new("close_gate", BATCH, nobody_s, move |places: Batch<u64>| {
                    let runner = runner.clone();
                    async move {
                        set_gate(&runner, at, "line", places.iter().copied().max().unwrap_or(0)).await?;
                        Ok(vec![(); places.len()])
                    }
                })
            })
            .await
    }

    /// Lets everybody reserve, unless somebody joined after `place`, the last place given when the line was seen empty.
    pub async fn open_gate(&self, at: LaneRef, place: u64) -> Result<()> {
        set_gate(&self.runner, at, "open", place).await
    }
}

async fn set_gate(runner: &Runner, at: LaneRef, gate: &str, place: u64) -> Result<()> {
    runner
        .on_lane(
            &SET_GATE,
            at,
            vec![at.epoch.to_string(), gate.into(), place.to_string()],
        )
        .await?;
    Ok(())
}

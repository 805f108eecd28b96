//! A lane's supply: the version committed in Postgres, and the units set aside for moves.

use super::{
    Stock,
    answer::{ScriptAnswer, first_number},
    scripts::{APPLY_SUPPLY, TAKE_SUPPLY, UNTAKE_SUPPLY},
};
use crate::{
    error::{Error, Result},
    sale::{LaneRef, MoveId, SupplyNews},
};
use fred::prelude::*;
use std::collections::HashMap;

impl Stock {
    /// Sets free units aside for a move, up to `units` in all. Returns how many are set aside.
    pub async fn take_supply(&self, at: LaneRef, id: MoveId, units: u64) -> Result<u64> {
        let args = vec![at.epoch.to_string(), id.to_string(), units.to_string()];
        first_number(&self.runner.on_lane(&TAKE_SUPPLY, at, args).await?)
    }

    /// Gives back the units set aside for a move. Returns how many.
    pub async fn untake_supply(&self, at: LaneRef, id: MoveId) -> Result<u64> {
        let args = vec![at.epoch.to_string(), id.to_string()];
        first_number(&self.runner.on_lane(&UNTAKE_SUPPLY, at, args).await?)
    }

    /// Tells a lane what Postgres has committed. Returns the version of its supply; below `news.after` it has missed a change.
    pub async fn apply_supply(&self, at: LaneRef, news: &SupplyNews) -> Result<u64> {
        let SupplyNews { after, now, left } = news;
        let mut args = vec![
            at.epoch.to_string(),
            after.to_string(),
            now.version.to_string(),
            now.supply.to_string(),
        ];
        args.extend(left.iter().map(MoveId::to_string));
        first_number(&self.runner.on_lane(&APPLY_SUPPLY, at, args).await?)
    }

    /// The moves for which a lane has set units aside, and since when.
    pub async fn leaving(&self, at: LaneRef) -> Result<Vec<(MoveId, u64)>> {
        let key = self.runner.keys.lane("stock", at);
        let fields: HashMap<String, String> = self.runner.client().hgetall(key).await?;
        fields
            .iter()
            .filter_map(|(field, value)| Some((field.strip_prefix("leaving:")?, value)))
            .map(|(id, value)| {
                let id = id.parse().map_err(|_| Error::unexpected("a bad move"))?;
                Ok((id, ScriptAnswer::of(value).number(1)?))
            })
            .collect()
    }
}

//! Moves that take units out of the lane: each of their steps, in any order.

use super::{Books, Checked, LANE, Run, pick, sound, told};
use flashsale_engine::sale::{LaneRef, LaneSupply, MoveId, SupplyNews};
use proptest::prelude::prop_assert_eq;

fn move_id(n: u8) -> MoveId {
    format!("{n:032x}").parse().expect("an id")
}

impl Books {
    /// What Redis is told, if it knows of `after`.
    pub(super) fn news(&self, after: usize, version: usize) -> SupplyNews {
        let supply = version.checked_sub(1).and_then(|last| self.facts.get(last));
        SupplyNews {
            after: after as u64,
            now: LaneSupply {
                lane: LANE,
                version: version as u64,
                supply: supply.map_or(0, |(supply, _)| *supply),
            },
            left: self.facts[after..version]
                .iter()
                .filter_map(|(_, id)| *id)
                .collect(),
        }
    }
}

impl Run<'_> {
    pub(super) async fn take_supply(&mut self, at: LaneRef, n: u8, units: u32) -> Checked {
        let refusal = self.lane.refuses(at.epoch);
        let taken = self.stock.take_supply(at, move_id(n), units.into()).await;
        if let Some(taken) = told(taken, refusal)? {
            prop_assert_eq!(taken, u64::from(self.lane.take_supply(move_id(n), units)));
            self.seen
                .answer("take_supply", &if taken > 0 { "some" } else { "none" });
            if let Some(known) = self.books.moves.entry(n).or_insert(Some((0, 0))) {
                *known = (at.epoch, taken as u32);
            }
        }
        Ok(())
    }

    /// As Postgres does it: once, in the life of the lane in which the units were set aside.
    pub(super) fn commit_move(&mut self, n: u8) {
        let begun = self.books.moves.iter();
        let begun: Vec<(u8, (u32, u32))> = begun.filter_map(|(n, begun)| Some((*n, (*begun)?))).collect();
        let Some((n, (epoch, units))) = pick(&begun, n).copied() else {
            return;
        };
        let allowed = epoch == self.books.epoch && units > 0;
        self.seen
            .answer("commit_move", &if allowed { "ok" } else { "refused" });
        if allowed {
            self.books.moves.insert(n, None);
            self.books.supply -= units;
            self.books.facts.push((self.books.supply, Some(move_id(n))));
        }
    }

    pub(super) async fn follow(&mut self, at: LaneRef, news: SupplyNews) -> Checked {
        let refusal = self.lane.refuses(at.epoch);
        if let Some(version) = told(self.stock.apply_supply(at, &news).await, refusal)? {
            let known = self.lane.supply_version;
            prop_assert_eq!(version, self.lane.apply_supply(&news));
            let word = match version {
                _ if version > known => "applied",
                _ if version < news.after => "missed some",
                _ => "known",
            };
            self.seen.answer("apply_supply", &word);
        }
        Ok(())
    }

    pub(super) async fn catch_up(&mut self, at: LaneRef) -> Checked {
        let (known, now) = (self.lane.supply_version as usize, self.books.facts.len());
        if known < now && self.lane.refuses(at.epoch).is_none() {
            self.follow(at, self.books.news(known, now)).await?;
        }
        Ok(())
    }

    /// Decided in Postgres, then told, then given back what is left.
    pub(super) async fn end_move(&mut self, at: LaneRef, n: u8) -> Checked {
        let refusal = self.lane.refuses(at.epoch);
        if refusal.is_none() && self.lane.leaving.contains_key(&move_id(n).to_string()) {
            self.books.moves.insert(n, None);
            self.catch_up(at).await?;
            let back = sound(self.stock.untake_supply(at, move_id(n)).await)?;
            prop_assert_eq!(back, u64::from(self.lane.untake_supply(move_id(n))));
            self.seen
                .answer("untake_supply", &if back > 0 { "some" } else { "none" });
        }
        Ok(())
    }
}

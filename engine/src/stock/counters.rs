//! Counts a lane's units in each place where they can be.

use super::Stock;
use crate::{
    boxed,
    error::{Error, Result},
    sale::{LaneRef, Sale},
};
use fred::prelude::*;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub supply: u64,
    pub available: u64,
    pub claimed: u64,
    pub held: u64,
    pub ordering: u64,
    pub sold: u64,
    pub reservations: u64,
    pub expired: u64,
    /// Set aside for a move that takes them out of the lane.
    pub leaving: u64,
    /// The version of the supply in Postgres; 0 for several lanes together.
    pub supply_version: u64,
}

impl Counters {
    pub fn add(&mut self, other: Counters) {
        self.supply += other.supply;
        self.available += other.available;
        self.claimed += other.claimed;
        self.held += other.held;
        self.ordering += other.ordering;
        self.sold += other.sold;
        self.reservations += other.reservations;
        self.expired += other.expired;
        self.leaving += other.leaving;
        self.supply_version = 0;
    }

    /// Units that nobody has: for sale, or on their way from one lane to another.
    pub fn free(&self) -> u64 {
        self.available + self.leaving
    }

    /// I1: every unit is in exactly one place.
    pub fn balanced(&self) -> bool {
        self.unbalanced() == 0
    }

    /// Number of units that are in no place, or in two.
    pub(crate) fn unbalanced(&self) -> u64 {
        let placed = self.free() + self.claimed + self.held + self.ordering + self.sold;
        self.supply.abs_diff(placed)
    }
}

impl Stock {
    pub async fn counters(&self, at: LaneRef) -> Result<Counters> {
        const FIELDS: [&str; 10] = [
            "supply",
            "available",
            "claimed",
            "held",
            "ordering",
            "sold",
            "reservations",
            "expired",
            "leaving",
            "supply_version",
        ];
        let key = self.runner.keys.lane("stock", at);
        let values: Vec<Option<i64>> = self.runner.client().hmget(key, FIELDS.to_vec()).await?;
        let [
            supply,
            available,
            claimed,
            held,
            ordering,
            sold,
            reservations,
            expired,
            leaving,
            supply_version,
        ] = values.as_slice()
        else {
            return Err(Error::unexpected("HMGET has lost a field"));
        };
        if supply.is_none() {
            return Err(Error::LaneMissing);
        }
        let count = |value: &Option<i64>| u64::try_from(value.unwrap_or(0)).unwrap_or(0);
        Ok(Counters {
            supply: count(supply),
            available: count(available),
            claimed: count(claimed),
            held: count(held),
            ordering: count(ordering),
            sold: count(sold),
            reservations: count(reservations),
            expired: count(expired),
            leaving: count(leaving),
            supply_version: count(supply_version),
        })
    }

    /// The sum of all lanes.
    #[boxed]
    pub async fn sale_counters(&self, sale: &Sale) -> Result<Counters> {
        let mut sum = Counters::default();
        for at in sale.lane_refs() {
            sum.add(self.counters(at).await?);
        }
        Ok(sum)
    }
}

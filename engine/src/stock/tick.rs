//! A sale's ticks: their numbers, their content, and the leader's last one.

use super::{
    Stock, answer::ScriptAnswer, counters::Counters, line::Served, scripts::NUMBER_TICK, turns::Turns,
};
use crate::{
    error::{Error, Result},
    sale::{Sale, ms},
};
use flashsale_protocol::{SaleId, Tick};
use fred::prelude::*;

/// Longer than a leader's silence (it ticks every second) and than the time until another one leads.
const TICK_KEPT_MS: i64 = 15_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickNumber {
    pub now: u64,
    pub seq: u64,
    pub waiting: u64,
    pub priority_waiting: u64,
    pub parked: u64,
    pub admitted: Served,
    pub turns: Turns,
}

impl Counters {
    /// The shared state of a sale with these counters.
    pub fn tick(&self, sale: &Sale, number: TickNumber, unpaid: u64) -> Tick {
        Tick {
            sale: sale.id,
            seq: number.seq,
            now: number.now,
            phase: sale.phase_at(number.now),
            starts_at: ms(sale.start_time),
            ends_at: ms(sale.end_time),
            supply: self.supply,
            available: self.free(),
            claimed: self.claimed,
            held: self.held,
            ordering: self.ordering,
            sold: self.sold,
            unpaid: unpaid.min(self.sold),
            waiting: number.waiting + number.priority_waiting,
            admitted: number.admitted.queue,
            priority_waiting: number.priority_waiting,
            priority_admitted: number.admitted.priority,
            // The worker measures these over time.
            pace: None,
            pace_low: 0.0,
            pace_high: 0.0,
            priority_pace: 0.0,
            take: 1.0,
            lapse: 0.0,
            next_lapse_at: None,
            slowed: None,
        }
    }
}

impl Stock {
    pub async fn number_tick(&self, sale: SaleId, token: &str) -> Result<TickNumber> {
        let answer = self
            .runner
            .on_sale(&NUMBER_TICK, sale, vec![token.to_owned()])
            .await?;
        let at = |i: usize| {
            answer
                .get(i)
                .map_or(Err(Error::unexpected("a short answer")), |t| {
                    ScriptAnswer::of(t).number(0)
                })
        };
        Ok(TickNumber {
            now: at(0)?,
            seq: at(1)?,
            waiting: at(2)?,
            priority_waiting: at(4)?,
            parked: at(6)?,
            admitted: Served {
                queue: at(3)?,
                priority: at(5)?,
            },
            turns: Turns {
                granted: at(7)?,
                granted_units: at(8)?,
                lapsed: at(9)?,
                lapsed_units: at(10)?,
            },
        })
    }

    /// Keeps the leader's last tick for processes that have none of their own.
    pub(crate) async fn keep_tick(&self, tick: &Tick) -> Result<()> {
        let json = serde_json::to_string(tick).map_err(|error| Error::unexpected(error.to_string()))?;
        let key = self.runner.keys.sale("last_tick", tick.sale);
        let kept_for = Some(Expiration::PX(TICK_KEPT_MS));
        let () = self.runner.client().set(key, json, kept_for, None, false).await?;
        Ok(())
    }

    /// The leader's last tick, if it is recent.
    pub(crate) async fn kept_tick(&self, sale: SaleId) -> Result<Option<Tick>> {
        let key = self.runner.keys.sale("last_tick", sale);
        let json: Option<String> = self.runner.client().get(key).await?;
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }
}

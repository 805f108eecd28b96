//! Guards a line against losing a part in Redis, and refills it from its history: the leader's side. See `lua/lib/line.lua`.

use super::{
    Stock,
    answer::{ScriptAnswer, timed},
    line::device_mark,
    scripts::*,
};
use crate::{
    boxed,
    error::{Error, Result},
    sale::LineName,
};
use flashsale_protocol::{DeviceId, SaleId, ShopperId};
use fred::prelude::*;
use std::time::Duration;

/// How long a line stays guarded without its leader, until there is another one.
const GUARD: Duration = Duration::from_secs(10);
/// People looked for in one call.
const CHUNK: usize = 250;

/// The state of a line in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineLife {
    /// These parts are gone, by the names of their keys; "sale" stands for the notes about all parts.
    Guarded(Vec<String>),
    /// No leader guards it.
    NotYet,
    /// It has ended.
    Over,
}

/// What a look at a line has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    pub life: LineLife,
    /// False: Redis has lost it, and whoever was to fill it from its history may have died since.
    pub is_filled: bool,
}

/// Somebody in line, from its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiter {
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub quantity: u32,
    pub place: u64,
    /// None: they no longer wait, and only their device is still theirs.
    pub line: Option<LineName>,
}

/// Somebody in line, from Redis.
#[derive(Debug, Clone, PartialEq)]
pub struct LineStanding {
    pub shopper: ShopperId,
    pub quantity: u32,
    pub place: u64,
    pub line: LineName,
}

impl Stock {
    /// Looks for lost parts, and guards the line for some more seconds. `is_guarded`: this leader has guarded it before.
    pub(crate) async fn probe_line(&self, sale: SaleId, is_guarded: bool) -> Result<Probed> {
        let args = vec![GUARD.as_millis().to_string(), u8::from(is_guarded).to_string()];
        let answers = self.runner.on_sale(&PROBE_LINE, sale, args).await?;
        let (_, answers) = timed(&answers)?;
        let [word, filled, lost @ ..] = answers else {
            return Err(Error::unexpected("a short answer"));
        };
        let life = match word.as_str() {
            "guarded" => LineLife::Guarded(lost.to_vec()),
            "not_yet" => LineLife::NotYet,
            "over" => LineLife::Over,
            _ => return Err(Error::unexpected("an answer about a line that is none")),
        };
        Ok(Probed {
            life,
            is_filled: filled == "filled",
        })
    }

    /// Begins to guard a line as it is now. If the sale has lost its counts, `counts` are added to them.
    pub(crate) async fn trust_line(&self, sale: SaleId, counts: &[(&str, u64)]) -> Result<()> {
        self.trust(sale, false, counts).await
    }

    /// Notes that a new sale's line has no history from which it must be filled. Nobody guards it yet.
    #[boxed]
    pub async fn begin_line(&self, sale: SaleId) -> Result<()> {
        let key = self.runner.keys.sale("sale", sale);
        let _: () = self.runner.client().hset(key, ("filled", "1")).await?;
        Ok(())
    }

    /// Notes that everybody of the line's history who waits has a place.
    pub(crate) async fn note_filled(&self, sale: SaleId) -> Result<()> {
        self.trust(sale, true, &[]).await
    }

    async fn trust(&self, sale: SaleId, is_filled: bool, counts: &[(&str, u64)]) -> Result<()> {
        let mut args = vec![GUARD.as_millis().to_string(), u8::from(is_filled).to_string()];
        args.extend(
            counts
                .iter()
                .flat_map(|(field, count)| [(*field).to_owned(), count.to_string()]),
        );
        self.runner.on_sale(&TRUST_LINE, sale, args).await?;
        Ok(())
    }

    /// Gives a place back to those who have none. Returns for each whether they stood in line before.
    pub(crate) async fn refill_line(&self, sale: SaleId, waiters: &[Waiter]) -> Result<Vec<bool>> {
        self.find_in_line("fill", sale, waiters).await
    }

    /// Returns for each whether they stand in line.
    pub(crate) async fn stand_in_line(&self, sale: SaleId, waiters: &[Waiter]) -> Result<Vec<bool>> {
        self.find_in_line("look", sale, waiters).await
    }

    async fn find_in_line(&self, verb: &str, sale: SaleId, waiters: &[Waiter]) -> Result<Vec<bool>> {
        let mut stand = Vec::with_capacity(waiters.len());
        for chunk in waiters.chunks(CHUNK) {
            let mut args = vec![verb.to_owned()];
            args.extend(chunk.iter().flat_map(|waiter| {
                [
                    waiter.shopper.to_string(),
                    device_mark(&waiter.device),
                    waiter.quantity.to_string(),
                    waiter.place.to_string(),
                    waiter.line.map_or("none", LineName::word).to_owned(),
                ]
            }));
            let answers = self.runner.on_sale(&REFILL_LINE, sale, args).await?;
            stand.extend(timed(&answers)?.1.iter().map(|word| word == "stands"));
        }
        Ok(stand)
    }

    /// A page of the people in one part of the line, after the first `after`.
    pub(crate) async fn standing_in(
        &self,
        sale: SaleId,
        part: &str,
        after: usize,
    ) -> Result<Vec<LineStanding>> {
        let (client, keys) = (self.runner.client(), &self.runner.keys);
        let (from, to) = (after as i64, (after + CHUNK) as i64 - 1);
        let people: Vec<(String, f64)> = client
            .zrange(keys.sale(part, sale), from, to, None, false, None, true)
            .await?;
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = people.iter().map(|(name, _)| name.as_str()).collect();
        let wants: Vec<Option<String>> = client.hmget(keys.sale("wants", sale), names).await?;
        people
            .iter()
            .zip(wants)
            .map(|((name, place), want)| {
                let want = want.unwrap_or_else(|| "1".into());
                let digits = want.trim_end_matches(|letter: char| !letter.is_ascii_digit());
                Ok(LineStanding {
                    shopper: ScriptAnswer::of(name).parse(0)?,
                    quantity: digits.parse().unwrap_or(1),
                    place: *place as u64,
                    line: if want.contains('p') || part == "priority" {
                        LineName::Priority
                    } else {
                        LineName::Queue
                    },
                })
            })
            .collect()
    }
}

//! Turns: people are called from the line or the draw, get claims on a lane, and are then settled in the line.

use super::{
    Stock,
    answer::{At, ScriptAnswer, timed},
    line::{Served, served},
    scripts::{ADMIT, CLAIM, SETTLE_ADMISSION},
};
use crate::{error::Result, sale::LaneRef};
use flashsale_protocol::{SaleId, ShopperId};
use fred::prelude::*;

/// Most entries that one round of an admission step calls: few enough that no other script waits long.
pub const ADMIT_BATCH: usize = 250;

/// The answer to the first half of an admission step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Called {
    /// The last stamp given.
    pub last_stamp: u64,
    /// People in line behind those called.
    pub waiting: u64,
    pub called: Vec<(ShopperId, u32)>,
    /// Absent at their turn; they keep their place.
    pub parked: Vec<ShopperId>,
}

/// The caller of people's turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalledBy {
    /// The line: a shopper who joins again has another turn.
    Line,
    /// A draw: each shopper has one turn.
    Draw,
}

impl CalledBy {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Draw => "draw",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    Ok {
        quantity: u32,
        until: u64,
    },
    HasHold,
    /// The draw has called them before, and that turn is over.
    HadTurn,
    Limit,
    Short,
    Shut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnVerdict {
    Served,
    /// The shopper already has as many units as one person may have.
    Removed,
    Back,
}

impl TurnVerdict {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Removed => "removed",
            Self::Back => "back",
        }
    }
}

/// Totals of turns since the sale began: claims granted, and those that lapsed or were given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    pub granted: u64,
    pub granted_units: u64,
    pub lapsed: u64,
    pub lapsed_units: u64,
}

impl Stock {
    /// Calls the front of the line. `share`: percent of the step for the priority line.
    pub async fn admit(&self, sale: SaleId, most: usize, share: u32) -> Result<Called> {
        let args = vec![most.min(ADMIT_BATCH).to_string(), share.to_string()];
        let answers = self.runner.on_sale(&ADMIT, sale, args).await?;
        let (last_stamp, answers) = timed(&answers)?;
        let (waiting, answers) = timed(answers)?;
        let mut all = Called {
            last_stamp,
            waiting,
            ..Called::default()
        };
        for text in answers {
            let answer = ScriptAnswer::of(text);
            match answer.number(1)? {
                0 => all.parked.push(answer.parse(0)?),
                quantity => all.called.push((answer.parse(0)?, quantity)),
            }
        }
        Ok(all)
    }

    pub async fn claim(
        &self,
        at: LaneRef,
        by: CalledBy,
        wanted: &[(ShopperId, u32)],
    ) -> Result<At<Vec<Claimed>>> {
        let mut args = vec![at.epoch.to_string(), by.word().to_owned()];
        args.extend(
            wanted
                .iter()
                .flat_map(|(shopper, quantity)| [shopper.to_string(), quantity.to_string()]),
        );
        let answers = self.runner.on_lane(&CLAIM, at, args).await?;
        let (now, answers) = timed(&answers)?;
        let value = answers
            .iter()
            .map(|text| {
                let answer = ScriptAnswer::of(text);
                Ok(match answer.word() {
                    "ok" => Claimed::Ok {
                        quantity: answer.number(1)?,
                        until: answer.number(2)?,
                    },
                    "has_hold" => Claimed::HasHold,
                    "had_turn" => Claimed::HadTurn,
                    "limit" => Claimed::Limit,
                    "short" => Claimed::Short,
                    "shut" => Claimed::Shut,
                    _ => return Err(answer.unexpected()),
                })
            })
            .collect::<Result<_>>()?;
        Ok(At { now, value })
    }

    /// Settles called entries in the line. Returns the numbers admitted so far.
    pub async fn settle_admission(
        &self,
        sale: SaleId,
        verdicts: &[(ShopperId, TurnVerdict)],
    ) -> Result<Served> {
        let args = verdicts
            .iter()
            .flat_map(|(shopper, verdict)| [shopper.to_string(), verdict.word().to_owned()])
            .collect();
        Ok(served(&self.runner.on_sale(&SETTLE_ADMISSION, sale, args).await?)?.0)
    }

    /// Counts claims that were granted or not used.
    pub(crate) async fn count_turns(&self, sale: SaleId, more: Turns) -> Result<()> {
        if more == Turns::default() {
            return Ok(());
        }
        let key = self.runner.keys.sale("sale", sale);
        let pipeline = self.runner.client().pipeline();
        for (field, by) in [
            ("granted", more.granted),
            ("granted_units", more.granted_units),
            ("lapsed", more.lapsed),
            ("lapsed_units", more.lapsed_units),
        ] {
            if by > 0 {
                let _: () = pipeline.hincrby(&key, field, by as i64).await?;
            }
        }
        let _: Vec<u64> = pipeline.all().await?;
        Ok(())
    }
}

//! Ends claims, holds and checkouts whose time is up.

use super::{
    Stock,
    answer::{At, ScriptAnswer, timed},
    scripts::{EXPIRE, NEXT_LAPSE},
};
use crate::{
    error::{Error, Result},
    limits::CHECKOUT_LEASE,
    sale::LaneRef,
};
use flashsale_protocol::{DeviceId, OrderId, ShopperId};

/// Overdue claims and holds that one call ends; the last bucket may add a few.
pub(crate) const EXPIRE_BATCH: usize = 500;
/// Buckets of deadlines that one search for the next deadline reads.
const LAPSE_BUCKETS: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub enum Overdue {
    Lapsed {
        shopper: ShopperId,
        quantity: u32,
    },
    Expired {
        shopper: ShopperId,
        quantity: u32,
    },
    /// A checkout whose lease ran out; Postgres knows how it ended.
    Checkout {
        shopper: ShopperId,
        quantity: u32,
        device: DeviceId,
        order: OrderId,
    },
}

impl Overdue {
    pub fn shopper(&self) -> &ShopperId {
        match self {
            Self::Lapsed { shopper, .. } | Self::Expired { shopper, .. } | Self::Checkout { shopper, .. } => {
                shopper
            }
        }
    }
}

impl Stock {
    /// Ends what is overdue, at most some hundreds of items. True: there may be more.
    pub async fn expire(&self, at: LaneRef) -> Result<At<(Vec<Overdue>, bool)>> {
        let args = vec![
            at.epoch.to_string(),
            EXPIRE_BATCH.to_string(),
            CHECKOUT_LEASE.as_millis().to_string(),
        ];
        let answers = self.runner.on_lane(&EXPIRE, at, args).await?;
        let (now, answers) = timed(&answers)?;
        let (more, answers) = answers
            .split_first()
            .ok_or_else(|| Error::unexpected("a short answer"))?;
        let ended = answers
            .iter()
            .map(|text| {
                let answer = ScriptAnswer::of(text);
                let (shopper, quantity) = (answer.parse(1)?, answer.number(2)?);
                Ok(match answer.word() {
                    "lapsed" => Overdue::Lapsed { shopper, quantity },
                    "expired" => Overdue::Expired { shopper, quantity },
                    "overdue" => Overdue::Checkout {
                        shopper,
                        quantity,
                        device: answer.parse(3)?,
                        order: answer.parse(4)?,
                    },
                    _ => return Err(answer.unexpected()),
                })
            })
            .collect::<Result<_>>()?;
        Ok(At {
            now,
            value: (ended, more == "more"),
        })
    }

    /// The next time at which a claim, hold or checkout of a lane ends by itself.
    pub(crate) async fn next_deadline(&self, at: LaneRef) -> Result<Option<u64>> {
        let args = vec![at.epoch.to_string(), LAPSE_BUCKETS.to_string()];
        let answers = self.runner.on_lane(&NEXT_LAPSE, at, args).await?;
        let (_, answers) = timed(&answers)?;
        let till = answers.first().and_then(|till| till.parse().ok()).unwrap_or(0);
        Ok((till > 0).then_some(till))
    }
}

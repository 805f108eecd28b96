//! A lane's record of a shopper: their latest claim or hold, the units they bought, and the units of their device.

use super::{BATCH, Stock, answer::At, scripts::PERSON};
use crate::{
    batcher::{Batch, Batcher, nobody_s, of_shopper},
    boxed,
    error::{Error, Result},
    sale::LaneRef,
};
use flashsale_protocol::{CommandId, DeviceId, OrderId, ShopperId};
use fred::prelude::*;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    Claim,
    Lapsed,
    Left,
    Held,
    Released,
    Expired,
    Ordering,
    Ordered,
    Cancelled,
    /// The lane knows no claim or hold; there may be units in orders.
    None,
}

impl RecordState {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Lapsed => "lapsed",
            Self::Left => "left",
            Self::Held => "held",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Ordering => "ordering",
            Self::Ordered => "ordered",
            Self::Cancelled => "cancelled",
            Self::None => "none",
        }
    }

    /// Whether units are set aside, in a claim, a cart or a checkout.
    pub const fn runs(self) -> bool {
        matches!(self, Self::Claim | Self::Held | Self::Ordering)
    }
}

impl FromStr for RecordState {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Ok(match word {
            "claim" => Self::Claim,
            "lapsed" => Self::Lapsed,
            "left" => Self::Left,
            "held" => Self::Held,
            "released" => Self::Released,
            "expired" => Self::Expired,
            "ordering" => Self::Ordering,
            "ordered" => Self::Ordered,
            "cancelled" => Self::Cancelled,
            "none" => Self::None,
            other => return Err(Error::unexpected(format!("a record in the state {other:?}"))),
        })
    }
}

/// A shopper's latest claim or hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub state: RecordState,
    pub quantity: u32,
    pub until: u64,
    /// The command that made it. None for a claim.
    pub command: Option<CommandId>,
    pub order: Option<OrderId>,
    /// It has had its extension.
    pub extended: bool,
}

/// In a record of a claim or a hold, in the place of an order: it was extended. The same as in `lua/lib/lane.lua`.
pub const EXTENDED: &str = "+";

/// A shopper's standing on a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub bought: u32,
    pub limit: u32,
    pub record: Option<Record>,
}

impl Stock {
    #[boxed]
    pub async fn person(&self, at: LaneRef, shopper: ShopperId) -> Result<At<Person>> {
        self.person
            .submit(&at, shopper, || {
                self.lane_batcher(
                    &PERSON,
                    at,
                    Vec::new,
                    of_shopper,
                    |shopper: &ShopperId, args| args.push(shopper.to_string()),
                    |answer| {
                        let record = match answer.text(1)? {
                            "none" => None,
                            state => Some(Record {
                                state: state.parse()?,
                                quantity: answer.number(2)?,
                                until: answer.number(3)?,
                                order: answer.text(5)?.parse().ok(),
                                extended: answer.text(5)? == EXTENDED,
                                command: answer.text(6)?.parse().ok(),
                            }),
                        };
                        Ok(Person {
                            bought: answer.number(4)?,
                            limit: answer.number(0)?,
                            record,
                        })
                    },
                )
            })
            .await
    }

    /// Whether a shopper has had their turn in the draw, as far as the lane remembers.
    pub(crate) async fn had_turn_of_draw(&self, at: LaneRef, shopper: &ShopperId) -> Result<bool> {
        let key = self.runner.keys.lane("drawn", at);
        Ok(self.runner.client().sismember(key, shopper.as_str()).await?)
    }

    /// Units in carts and orders of a device, on its shopper's lane.
    pub async fn device_units(&self, at: LaneRef, device: DeviceId) -> Result<u32> {
        self.device_units
            .submit(&at, device, || {
                let (link, key) = (self.link().clone(), self.runner.keys.lane("device_units", at));
                Batcher::new(
                    "device_units",
                    BATCH,
                    nobody_s,
                    move |devices: Batch<DeviceId>| {
                        let (client, key) = (link.now(), key.clone());
                        async move {
                            let devices: Vec<String> = devices.iter().map(DeviceId::to_string).collect();
                            let units: Vec<Option<u32>> = client.hmget(key, devices).await?;
                            Ok(units.into_iter().map(Option::unwrap_or_default).collect())
                        }
                    },
                )
            })
            .await
    }

    /// Whether these shoppers have units in a cart or checkout, each on their lane, in one call. Use it only to know where to ask;
    /// the answer that counts is [`Stock::person`]'s.
    #[boxed]
    pub async fn have_carts(&self, asked: &[(LaneRef, ShopperId)]) -> Result<Vec<bool>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.runner.client().pipeline();
        for (at, shopper) in asked {
            let key = self.runner.keys.lane("holds", *at);
            let _: () = pipeline.hget(key, shopper.as_str()).await?;
        }
        let records: Vec<Option<String>> = pipeline.all().await?;
        let is_cart = |record: &Option<String>| {
            let state = record.as_deref().and_then(|record| record.split(' ').next());
            state == Some(RecordState::Held.word()) || state == Some(RecordState::Ordering.word())
        };
        Ok(records.iter().map(is_cart).collect())
    }
}

//! A sale's shared state, and the meaning of its numbers.

use super::sale::Phase;
#[cfg(doc)]
use crate::Entry;
use crate::{Reason, SaleId};
use serde::{Deserialize, Serialize};

/// A sale's shared state. `seq` only grows: a client drops a tick that is not newer than its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tick {
    pub sale: SaleId,
    pub seq: u64,
    pub now: u64,
    pub phase: Phase,
    pub starts_at: u64,
    pub ends_at: u64,
    /// Units that may be sold; always available + claimed + held + ordering + sold.
    pub supply: u64,
    /// Free to take.
    #[serde(default, skip_serializing_if = "is_none")]
    pub available: u64,
    /// Set aside for shoppers whose turn it is.
    #[serde(default, skip_serializing_if = "is_none")]
    pub claimed: u64,
    /// In carts.
    #[serde(default, skip_serializing_if = "is_none")]
    pub held: u64,
    /// In a checkout that is running.
    #[serde(default, skip_serializing_if = "is_none")]
    pub ordering: u64,
    /// In orders, paid or not.
    #[serde(default, skip_serializing_if = "is_none")]
    pub sold: u64,
    /// The part of `sold` in orders that wait for payment.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unpaid: u64,
    /// People in line.
    #[serde(default, skip_serializing_if = "is_none")]
    pub waiting: u64,
    /// Entries called since the sale began; subtract to follow a place (see [`Entry::position_at`]).
    #[serde(default, skip_serializing_if = "is_none")]
    pub admitted: u64,
    /// Entries called a second, measured over the last seconds; absent while it has not been measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<f64>,
    /// The range of the pace; until it is measured, a range around what the inflow allows.
    #[serde(default, skip_serializing_if = "is_still")]
    pub pace_low: f64,
    #[serde(default, skip_serializing_if = "is_still")]
    pub pace_high: f64,
    /// Units taken per turn, measured; below one if some people do not come at their turn.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub take: f64,
    /// The share of holds that come back, measured.
    #[serde(default, skip_serializing_if = "is_still")]
    pub lapse: f64,
    /// The latest time at which the next unit comes back from a turn or a cart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_lapse_at: Option<u64>,
    /// The reason why the line moves more slowly than before, or stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowed: Option<Reason>,
    /// The people in line who are on the merchant's priority list; they have their own line and their own share of the turns.
    #[serde(default, skip_serializing_if = "is_none")]
    pub priority_waiting: u64,
    /// Like `admitted`, for the priority line.
    #[serde(default, skip_serializing_if = "is_none")]
    pub priority_admitted: u64,
    /// Entries of the priority line called a second; until it is measured, what the inflow allows.
    #[serde(default, skip_serializing_if = "is_still")]
    pub priority_pace: f64,
}

fn one() -> f64 {
    1.0
}

fn is_one(share: &f64) -> bool {
    *share == 1.0
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

fn is_still(pace: &f64) -> bool {
    *pace == 0.0
}

/// What a sale's numbers mean for a shopper who has nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// Units are free.
    Free,
    /// None is free, but some are in carts, in checkouts or unpaid, and may come back.
    MayComeBack,
    /// Every unit is sold and paid.
    SoldOut,
}

impl Tick {
    pub fn outlook(&self) -> Outlook {
        if self.available > 0 {
            Outlook::Free
        } else if self.claimed + self.held + self.ordering + self.unpaid > 0 {
            Outlook::MayComeBack
        } else {
            Outlook::SoldOut
        }
    }
}

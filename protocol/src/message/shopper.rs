//! One shopper's things in a sale: a place in line, units in the cart, orders.

use super::tick::Tick;
use crate::{Nonce, OrderId, Reason, SaleId};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// In line.
    Waiting,
    /// It is your turn: units are set aside until `claim_until`.
    Admitted,
    /// The turn was used.
    Served,
    /// The turn was not used in time.
    Lapsed,
    /// The shopper gave it up.
    Left,
    /// Taken out by the system; `reason` says why.
    Removed,
    /// In the draw, which is held when the entries have closed.
    Entered,
    /// Not drawn. While the phase is `drawing`, units that others leave may still come.
    NotDrawn,
}

/// A shopper's place in line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entry {
    pub sale: SaleId,
    pub state: EntryState,
    pub quantity: u32,
    /// Exact position when this was written; 1 is next; 0 when not waiting, and while places are not drawn yet.
    pub position: u64,
    /// [`Tick::admitted`] (or [`Tick::priority_admitted`]) when `position` was written.
    pub admitted: u64,
    /// In the priority line: `position` is the place in that line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub priority: bool,
    /// The end of the turn, if it is this shopper's turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_until: Option<u64>,
    /// The turn has had its extension.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The nonce in this entry's name in a draw. Only its shopper is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
    /// The time of this state. Of two entries the later is true.
    pub at: u64,
}

impl Entry {
    /// An entry that does not wait: no position, no reason, no nonce.
    pub fn settled(sale: SaleId, state: EntryState, quantity: u32, at: u64) -> Self {
        Self {
            sale,
            state,
            quantity,
            position: 0,
            admitted: 0,
            priority: false,
            claim_until: None,
            extended: false,
            reason: None,
            nonce: None,
            at,
        }
    }

    /// The position now, computed from the shared tick, so that nobody needs their own frame for it. Never worse than before. 0:
    /// the entry does not wait, or places are not drawn yet.
    pub fn position_at(&self, tick: &Tick) -> u64 {
        if self.state != EntryState::Waiting || self.position == 0 {
            return 0;
        }
        let admitted = if self.priority {
            tick.priority_admitted
        } else {
            tick.admitted
        };
        self.position
            .saturating_sub(admitted.saturating_sub(self.admitted))
            .max(1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    Held,
    /// A checkout is running; the hold cannot expire now.
    Ordering,
    Ordered,
    Released,
    Expired,
    Revoked,
}

/// Units in a shopper's cart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hold {
    pub sale: SaleId,
    pub state: HoldState,
    pub quantity: u32,
    /// The time when it ends by itself.
    pub expires_at: u64,
    /// The hold has had its extension.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The time of this state. Of two holds the later is true.
    pub at: u64,
}

impl Hold {
    /// A hold that ended at `at`, without order or reason.
    pub fn ended(sale: SaleId, state: HoldState, quantity: u32, at: u64) -> Self {
        Self {
            sale,
            state,
            quantity,
            expires_at: at,
            extended: false,
            order: None,
            reason: None,
            at,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Waits for payment until `expires_at`.
    Pending,
    Confirmed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Order {
    pub order: OrderId,
    pub sale: SaleId,
    pub quantity: u32,
    pub unit_price: i64,
    pub amount: i64,
    pub currency: String,
    pub status: OrderStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    pub created_at: u64,
    /// The time when the order is cancelled if it is unpaid.
    pub expires_at: u64,
    /// The outcome of a payment is not known yet; it arrives as the next `order` event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paying: bool,
    /// The part of `amount` that has gone back to the shopper.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refunded: i64,
    /// When money last went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded_at: Option<u64>,
    /// The refusal of a pending order's last payment; another one may be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declined: Option<Declined>,
    /// Where it is paid: only in the answer to `pay`, if the shop takes the money itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff: Option<Box<Handoff>>,
    /// The time of this state. Of two views of one order the later is true.
    pub at: u64,
}

/// A payment that was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Declined {
    /// The payment provider's words, for a person.
    pub reason: String,
    pub at: u64,
}

/// The shop's own checkout, which goes on from here.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Handoff {
    /// The checkout's address with the token: the browser goes there.
    pub url: String,
    /// The same token alone. The shop's backend redeems it once.
    pub token: String,
    /// Until then it can be redeemed. `pay` gives a new one.
    pub expires_at: u64,
}

/// Its token must not reach a log.
impl fmt::Debug for Handoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handoff(…)")
    }
}

fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

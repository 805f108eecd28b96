//! From server to client: replies and events.

use super::{
    sale::SaleInfo,
    shopper::{Entry, Hold, Order},
    tick::Tick,
};
use crate::{Change, Code, CommandId, OrderId, Reason, SaleId, ShopperId, draw::Draw};
use serde::{Deserialize, Serialize};

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to one command. `id` is null only if the frame's own id could not be read.
    Reply {
        id: Option<CommandId>,
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A sale's shared state, the same for every watcher.
    Tick(Tick),
    /// A tick as its changed fields, for clients that said `changes` and have seen the tick before.
    Change(Change),
    /// Your place in line has changed its state.
    Entry(Entry),
    /// Your hold has changed its state.
    Hold(Hold),
    /// Your order has changed its state.
    Order(Order),
    /// A draw has moved on: its entries have closed, or it is over and can be checked. The same for every watcher.
    Draw(Draw),
    /// Something a person should read.
    Notice {
        code: Reason,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sale: Option<SaleId>,
    },
    /// Move to another gateway: wait `after_ms` plus a random part of `window_ms`, then reconnect.
    Bye {
        code: u16,
        text: String,
        after_ms: u64,
        window_ms: u64,
    },
}

impl ServerMessage {
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A command's answer: exactly one of `ok` and `error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    #[serde(rename = "ok")]
    Ok(Done),
    #[serde(rename = "error")]
    Error(Reject),
}

/// A command's result. One key names the kind: `{"hold":{…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// `hello`
    Welcome(Welcome),
    /// `watch`, `state`
    State(Box<SaleState>),
    /// `unwatch`
    Unwatched { sale: SaleId },
    /// `join`: the place, and a signed proof of it. `extend`: the turn, with its new end.
    Joined { entry: Entry, queue_token: String },
    /// `leave`
    Left { sale: SaleId },
    /// `reserve`, `release`, `extend`
    Hold(Hold),
    /// `checkout`, `pay`, `cancel`
    Order(Order),
    /// `orders`
    Orders(Vec<Order>),
    /// `ping`
    Pong { t: u64, now: u64 },
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reject {
    pub code: Code,
    pub message: String,
    pub retry: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The order that the refusal is about: a declined payment leaves its order pending, for another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
}

impl Reject {
    pub fn new(code: Code) -> Self {
        Self::because(code, code.text())
    }

    /// A refusal with a more exact text than the table's.
    pub fn because(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry: code.retry(),
            retry_after_ms: None,
            order: None,
        }
    }

    pub fn after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }

    pub fn about(mut self, order: OrderId) -> Self {
        self.order = Some(order);
        self
    }
}

impl From<Code> for Reject {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Shopper,
    Merchant,
    Admin,
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Welcome {
    pub shopper: ShopperId,
    pub role: Role,
    pub now: u64,
    /// When the token ends, and this connection with it.
    pub token_expires_at: u64,
    /// A healthy client is heard at least this often; clients `ping` when they have nothing else to send.
    pub ping_every_ms: u64,
    /// One for each sale of `resume` that may be watched, in that order; these are now watched.
    pub states: Vec<SaleState>,
    /// The others, with the reason: one sale's refusal says nothing about the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedSale>,
}

/// A sale that cannot be watched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedSale {
    pub sale: SaleId,
    pub code: Code,
}

/// Everything that a page needs to show one sale to one shopper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaleState {
    pub sale: SaleInfo,
    pub tick: Tick,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    pub orders: Vec<Order>,
    /// The published data of the sale's draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<Draw>,
    /// Who you are in this sale, as in your name in its draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopper: Option<ShopperId>,
}

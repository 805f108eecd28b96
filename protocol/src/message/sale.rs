//! A sale as everybody sees it: its fixed part, and its phases.

use crate::SaleId;
use serde::{Deserialize, Deserializer, Serialize};

/// How a sale's units are given to people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// First come, first served. The units left at the end are drawn among those who still wait.
    #[default]
    Queue,
    /// Everybody who enters before the end takes part in the draw.
    Draw,
}

/// The weight of an entry in a sale's draw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DrawWeight {
    /// All entries have the same weight.
    #[default]
    Equal,
    /// The weight grows with the time waited: 1 to 10.
    WaitingTime,
}

impl DrawWeight {
    pub(crate) fn is_equal(&self) -> bool {
        *self == Self::Equal
    }
}

/// The part of a sale that does not change from second to second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaleInfo {
    pub sale: SaleId,
    pub product_id: String,
    pub product_name: String,
    pub description: String,
    /// ISO 4217.
    pub currency: String,
    /// Digits of an amount after the decimal point (2 for EUR, 0 for JPY).
    pub currency_exponent: u32,
    pub original_price: i64,
    pub sale_price: i64,
    pub total_stock: u32,
    pub room_opens_at: u64,
    pub starts_at: u64,
    pub ends_at: u64,
    pub per_shopper_limit: u32,
    pub hold_ms: u64,
    pub claim_ms: u64,
    pub payment_ms: u64,
    #[serde(default)]
    pub allocation: Allocation,
    #[serde(default, skip_serializing_if = "DrawWeight::is_equal")]
    pub draw_weight: DrawWeight,
    #[serde(default, skip_serializing_if = "OpeningOrder::is_fifo")]
    pub opening: OpeningOrder,
    /// If the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening_seed_hash: Option<String>,
    /// The seed itself, after the start: each shopper can recompute their place ([`crate::draw::opening_place`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening_seed: Option<String>,
    /// From 2 on, `join` takes a nonce, and names in a draw are made with it.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub format: u16,
    /// How orders of this sale are paid. Absent: the server is older and does not say.
    #[serde(default, skip_serializing_if = "PaymentsBy::is_unknown")]
    pub payments: PaymentsBy,
    /// `extend` gives a turn or a cart its time once more while nobody waits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "ts", ts(optional, as = "Option<bool>"))]
    pub extend_once: bool,
    /// Where the terms are that an order of this sale is under, and their version; both, or neither. The order button links them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_version: Option<String>,
}

/// How a server takes money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PaymentsBy {
    /// It does not: what has a price cannot be bought.
    None,
    /// By test cards: no money is taken.
    Sandbox,
    /// At the shop's own checkout: `pay` is answered with a hand-off.
    Merchant,
    /// It does not say, or by a way that is newer than this client.
    #[default]
    Unknown,
}

/// A word of a newer server is no error: it must not make a message unreadable.
impl<'de> Deserialize<'de> for PaymentsBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = [Self::None, Self::Sandbox, Self::Merchant];
        Ok(known.into_iter().find(|by| by.word() == word).unwrap_or_default())
    }
}

impl PaymentsBy {
    /// The word, as on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sandbox => "sandbox",
            Self::Merchant => "merchant",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// The format of sales whose server does not name one.
fn first() -> u16 {
    1
}

fn is_first(format: &u16) -> bool {
    *format == 1
}

/// The order of those who join before the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OpeningOrder {
    /// In the order of joining.
    #[default]
    Fifo,
    /// In an order from the sale's seed: coming early to the waiting room is no advantage. Nobody has a place before the start.
    Shuffle,
}

impl OpeningOrder {
    pub(crate) fn is_fifo(&self) -> bool {
        *self == Self::Fifo
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Published; the waiting room is not open yet.
    Scheduled,
    /// The waiting room is open, before the start.
    Waiting,
    Live,
    Paused,
    /// The entries of a draw have closed: units go to those drawn, and untaken ones to the next. At the end of a first-come sale:
    /// units are left or may come back, and people wait.
    Drawing,
    Ended,
    Cancelled,
}

//! A sale as everybody sees it: what does not change from second to second, and its phases.

use crate::SaleId;
use serde::{Deserialize, Serialize};

/// How a sale's units come to people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// First come, first served. What is left at the end is drawn among those who still wait.
    #[default]
    Queue,
    /// Everybody who enters until the end has the same chance; then it is drawn.
    Draw,
}

/// What an entry weighs in a sale's draw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DrawWeight {
    /// All the same.
    #[default]
    Equal,
    /// More the longer it has waited: 1 to 10.
    WaitingTime,
}

impl DrawWeight {
    pub(crate) fn is_equal(&self) -> bool {
        *self == Self::Equal
    }
}

/// What does not change from second to second.
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
    /// How many digits of an amount are behind the decimal point (2 for EUR, 0 for JPY).
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
    /// Where the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening_seed_hash: Option<String>,
    /// The seed itself, after the start: each shopper can compute their place again ([`crate::draw::opening_place`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening_seed: Option<String>,
}

/// In which order those stand who have joined before the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OpeningOrder {
    /// As they have come.
    #[default]
    Fifo,
    /// As the sale's seed has it: coming early to the waiting room is no advantage. Nobody has a place before the start.
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
    /// The entries of a draw have closed: units go to those drawn, and what they leave to the next ones. At the end of a
    /// first-come sale: units are left or may come back, and people wait.
    Drawing,
    Ended,
    Cancelled,
}

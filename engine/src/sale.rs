//! A sale as the server knows it: its row in Postgres, and what follows from it by the clock. Pure.

use crate::error::{Error, Result};
use chrono::{DateTime, Utc};
use flashsale_protocol::{
    Allocation, CommandId, DeviceId, DrawWeight, Nonce, OpeningOrder, OrderId, OrderStatus, PaymentsBy,
    Phase, SaleId, SaleInfo, ShopperId,
    draw::{self, Format, Seed},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sale {
    pub id: SaleId,
    /// The merchant who created it; merchants see and steer only their own sales.
    pub merchant: String,
    pub product_id: String,
    pub product_name: String,
    pub description: String,
    pub currency: String,
    pub original_price: i64,
    pub sale_price: i64,
    pub total_stock: u32,
    pub room_opens_at: DateTime<Utc>,
    pub start_time: DateTime<Utc>,
    pub end_time: DateTime<Utc>,
    pub per_shopper_limit: u32,
    pub per_device_limit: u32,
    pub hold_ms: u64,
    pub claim_ms: u64,
    pub payment_ms: u64,
    pub inflow: u32,
    pub allocation: Allocation,
    #[serde(default)]
    pub draw_weight: DrawWeight,
    /// The time of the last change of the inflow, if that was a cut.
    #[serde(default)]
    pub inflow_cut_at: Option<DateTime<Utc>>,
    /// The mean time of the slowest step of a purchase beyond which fewer people are let in.
    #[serde(default = "usual_delay_ms")]
    pub target_delay_ms: u64,
    /// The secret seed of the places of those who join before the start, if these are shuffled.
    pub opening_seed: Option<Seed>,
    /// Percent of the turns for the priority list while somebody on it waits.
    pub priority_share: u32,
    /// A shopper who is away from the line for this long loses their place.
    pub absence_ms: u64,
    /// A shopper who cancelled or did not pay this many orders gets no more.
    #[serde(default = "twenty")]
    pub cancel_limit: u32,
    /// Whether shoppers may extend their turn or their cart, once, while nobody waits.
    #[serde(default)]
    pub extend_once: bool,
    /// The status last written to Postgres. The clock may be past it: see [`Sale::phase_at`].
    pub status: Phase,
    pub created_at: DateTime<Utc>,
    /// Raised by each change of an operator, never by a worker.
    #[serde(default)]
    pub settings_version: i64,
    /// The format of its identities, names and audit rows ([`FORMATS`] is the newest).
    #[serde(default = "one")]
    pub format: u16,
    #[serde(default)]
    pub picture: Option<Picture>,
    #[serde(default)]
    pub terms: Option<Terms>,
    /// Its shop is suspended: nobody gets a place, a turn or units. Who has a cart or an order may finish.
    #[serde(default)]
    pub is_suspended: bool,
    pub lanes: Vec<LaneInfo>,
}

/// The newest format of identities, devices, names and audit rows. A release with new ones raises it. A sale keeps its format to
/// the end, and only sales that are created once every process knows a format use it.
///
/// 1: shoppers by the words of their tokens. 2: shoppers by opaque ids that belong to one merchant; names in a draw with nonces.
/// 3: nothing of a client's own ids in those of orders and payments, in hand-offs and in the audit log.
pub const FORMATS: u16 = 3;
const OPAQUE_IDS: u16 = 2;
const CLOSED_NAMES: u16 = 3;

/// The format of a sale written down by a process of an earlier version.
fn one() -> u16 {
    1
}

/// The limit for a sale written down by a process of an earlier version.
fn twenty() -> u32 {
    20
}

/// A quarter of the brief's 500 ms, which 99 of 100 checkouts are to keep.
pub const TARGET_DELAY_MS: u64 = 125;

fn usual_delay_ms() -> u64 {
    TARGET_DELAY_MS
}

/// A picture of the product, as pages need to know it; its files are in `store/pictures.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    pub id: String,
    /// The size of its largest file.
    pub width: u32,
    pub height: u32,
    /// Of each file, from the smallest on.
    pub widths: Vec<u32>,
    /// What it shows, for those who do not see it.
    pub alt: String,
}

/// What the shopper agrees to with an order. A sale's stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub url: String,
    pub version: String,
}

/// An independent share of a sale's stock, as in Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneInfo {
    pub lane: u16,
    pub epoch: u32,
    pub supply: u32,
    /// Number of changes of the supply.
    #[serde(default)]
    pub supply_version: u64,
    pub allocated: u32,
    pub confirmed: u32,
}

impl LaneInfo {
    /// Units in orders that nobody has paid for yet.
    pub fn unpaid(&self) -> u64 {
        self.allocated.saturating_sub(self.confirmed).into()
    }
}

/// A lane's supply in Postgres, in one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSupply {
    pub lane: u16,
    pub version: u64,
    pub supply: u32,
}

/// A lane's supply now, and the moves that took units away since a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupplyNews {
    pub after: u64,
    pub now: LaneSupply,
    pub left: Vec<MoveId>,
}

/// The name of one change of lanes' supply, in both stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MoveId(u128);

impl MoveId {
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for MoveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for MoveId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| "the id of a move is 32 hex digits")
    }
}

/// Everybody's line, or the merchant's priority list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineName {
    #[default]
    Queue,
    Priority,
}

impl LineName {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Priority => "priority",
        }
    }
}

impl FromStr for LineName {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "queue" => Ok(Self::Queue),
            "priority" => Ok(Self::Priority),
            other => Err(Error::unexpected(format!("a line called {other:?}"))),
        }
    }
}

/// One event of an entry, as the line's scripts note it. Times are in µs since 1970.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    Joined {
        shopper: String,
        device: String,
        quantity: u32,
        place: u64,
        at_us: u64,
        line: LineName,
        nonce: Option<Nonce>,
        /// The place was given back after Redis had lost it. It is a new entry only if the old one is unknown.
        restored: bool,
    },
    /// served | removed | left | expired
    Ended {
        shopper: String,
        status: String,
        at_us: u64,
    },
}

/// A sale with its numbers in Redis, for people who only look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub sale: Sale,
    /// Units that are free.
    pub free: u64,
    /// People in line.
    pub waiting: u64,
    /// From the leader, if it was there lately.
    #[serde(default)]
    pub phase: Option<Phase>,
}

/// The name of one life of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneRef {
    pub sale: SaleId,
    pub lane: u16,
    pub epoch: u32,
}

/// An order of the lane, as in Postgres at the moment of the new epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneOrder {
    pub order: OrderId,
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub quantity: u32,
    pub status: OrderStatus,
    /// The command of the hold from which it was made.
    pub hold_command: String,
}

/// A lane in Postgres at the moment of its new epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneSnapshot {
    pub info: LaneInfo,
    /// Pending and confirmed orders, and cancelled ones that records of the lane may belong to.
    pub orders: Vec<LaneOrder>,
    /// Cancelled orders whose units were on their way back: these are free in the lane's new life.
    pub returned: Vec<String>,
}

/// A record of a lost lane whose outcome its orders tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsettled {
    pub shopper: String,
    /// The command that made the hold.
    pub hold: String,
    /// The order that its checkout was to make; "-": none.
    pub order: String,
}

/// What a shopper has in a sale, as far as this gateway has seen it. If Redis loses it, it is restored from here (`restore.rs`).
/// Only shoppers with a socket here have one.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Stake {
    pub place: Option<PlaceStake>,
    /// Boxed, because few of the many people in line have a hold.
    pub hold: Option<Box<HeldStake>>,
}

/// A place in line; the least is the first in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlaceStake {
    pub place: u64,
    pub quantity: u32,
    /// The time of this knowledge: earlier news is about an earlier place.
    pub at: u64,
    pub line: LineName,
    /// None: not known yet. If Redis loses the note of this place before it is in Postgres, only this process knows the nonce.
    pub nonce: Option<Named>,
}

/// What an entry's name is made with, besides sale and shopper. None: an empty nonce.
pub type Named = Option<Nonce>;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldStake {
    /// The command that made the hold.
    pub command: CommandId,
    pub quantity: u32,
    pub until: u64,
}

impl Sale {
    /// The sale's phase at a time (ms since 1970).
    pub fn phase_at(&self, now: u64) -> Phase {
        match self.status {
            Phase::Drawing | Phase::Ended | Phase::Cancelled => self.status,
            // The remaining units of a first-come sale may be drawn then: see `ending.rs`.
            _ if now >= ms(self.end_time) => match self.allocation {
                Allocation::Queue => Phase::Ended,
                Allocation::Draw => Phase::Drawing,
            },
            _ if self.is_paused() => Phase::Paused,
            _ if now >= ms(self.start_time) => Phase::Live,
            _ if now >= ms(self.room_opens_at) => Phase::Waiting,
            _ => Phase::Scheduled,
        }
    }

    /// Whether nobody may take units: its operator has paused it, or its shop is suspended.
    pub(crate) fn is_paused(&self) -> bool {
        self.status == Phase::Paused || self.is_suspended
    }

    /// Whether units may be reserved without a turn while nobody waits. With several lanes everybody goes through the line, which counts
    /// devices across lanes; in a draw everybody waits for it.
    pub fn may_open_gate(&self) -> bool {
        self.lanes.len() == 1 && self.allocation == Allocation::Queue
    }

    /// The phase, with the leader's knowledge: the clock alone cannot tell whether the remaining units will be drawn.
    pub fn phase_by(&self, now: u64, leader: Option<Phase>) -> Phase {
        match (self.phase_at(now), leader) {
            (Phase::Ended, Some(Phase::Drawing)) if self.status != Phase::Ended => Phase::Drawing,
            (phase, _) => phase,
        }
    }

    /// All of a shopper's units are on one lane, so that one script can see them.
    pub fn lane_of(&self, shopper: &ShopperId) -> LaneRef {
        let lanes = self.lanes.len().max(1);
        let lane = self.lanes.get((fnv1a(shopper.as_str()) % lanes as u64) as usize);
        LaneRef {
            sale: self.id,
            lane: lane.map_or(0, |l| l.lane),
            epoch: lane.map_or(0, |l| l.epoch),
        }
    }

    pub fn lane_refs(&self) -> impl Iterator<Item = LaneRef> + '_ {
        self.lanes.iter().map(|l| LaneRef {
            sale: self.id,
            lane: l.lane,
            epoch: l.epoch,
        })
    }

    /// Whether its shoppers are known by ids that belong to its merchant, and not by the words of their tokens.
    pub fn has_opaque_ids(&self) -> bool {
        self.format >= OPAQUE_IDS
    }

    /// Whether nothing of a command's id shows in the names of what the command makes.
    pub(crate) fn has_closed_names(&self) -> bool {
        self.format >= CLOSED_NAMES
    }

    /// Rises whenever a lane begins a new life.
    pub fn life(&self) -> u64 {
        self.lanes.iter().map(|lane| u64::from(lane.epoch)).sum()
    }

    /// Whether a lane is past its first life: Redis has lost something since the sale was made.
    pub(crate) fn has_lost_a_lane(&self) -> bool {
        self.lanes.iter().any(|lane| lane.epoch > 1)
    }

    /// The price of this many units, in minor units. None: it is too large to be counted.
    pub fn line_total(&self, quantity: u32) -> Option<i64> {
        self.sale_price.checked_mul(i64::from(quantity))
    }

    /// How names in its draw are made.
    pub const fn names(&self) -> Format {
        Format::of_sale(self.format)
    }

    /// The name of a shopper's entry in the sale's draw.
    pub fn entry_name(&self, shopper: &ShopperId, nonce: Option<Nonce>) -> String {
        self.names().entry_name(self.id, shopper, nonce)
    }

    /// The place from the sale's seed, for shoppers who join before the start.
    pub fn opening_place(&self, shopper: &ShopperId, nonce: Option<Nonce>) -> Option<u64> {
        let seed = self.opening_seed?;
        Some(draw::opening_place(&seed, &self.entry_name(shopper, nonce)))
    }

    /// Whether places are still undrawn at this time: nobody is told theirs before the start.
    pub fn hides_places_at(&self, now: u64) -> bool {
        self.opening_seed.is_some() && now < ms(self.start_time)
    }

    /// The commitment that binds us to the seed before it is published.
    pub fn opening_seed_hash(&self) -> Option<String> {
        Some(self.opening_seed?.commitment().to_string())
    }

    /// The part of a sale that a page may know at this time.
    pub fn info(&self, now: u64) -> SaleInfo {
        let revealed = self.opening_seed.filter(|_| !self.hides_places_at(now));
        SaleInfo {
            opening: if self.opening_seed.is_some() {
                OpeningOrder::Shuffle
            } else {
                OpeningOrder::Fifo
            },
            opening_seed_hash: self.opening_seed_hash(),
            opening_seed: revealed.map(|seed| seed.reveal()),
            sale: self.id,
            product_id: self.product_id.clone(),
            product_name: self.product_name.clone(),
            description: self.description.clone(),
            currency: self.currency.clone(),
            currency_exponent: currency_exponent(&self.currency).unwrap_or(2),
            original_price: self.original_price,
            sale_price: self.sale_price,
            total_stock: self.total_stock,
            room_opens_at: ms(self.room_opens_at),
            starts_at: ms(self.start_time),
            ends_at: ms(self.end_time),
            per_shopper_limit: self.per_shopper_limit,
            hold_ms: self.hold_ms,
            claim_ms: self.claim_ms,
            payment_ms: self.payment_ms,
            allocation: self.allocation,
            draw_weight: self.draw_weight,
            format: self.format,
            payments: PaymentsBy::Unknown,
            extend_once: self.extend_once && self.allocation == Allocation::Queue,
            terms_url: self.terms.as_ref().map(|terms| terms.url.clone()),
            terms_version: self.terms.as_ref().map(|terms| terms.version.clone()),
        }
    }
}

/// Milliseconds since 1970; 0 for earlier times.
pub fn ms(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}

/// The word in Postgres and on the wire.
pub const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Scheduled => "scheduled",
        Phase::Waiting => "waiting",
        Phase::Live => "live",
        Phase::Paused => "paused",
        Phase::Drawing => "drawing",
        Phase::Ended => "ended",
        Phase::Cancelled => "cancelled",
    }
}

pub(crate) const fn draw_weight_word(weight: DrawWeight) -> &'static str {
    match weight {
        DrawWeight::Equal => "equal",
        DrawWeight::WaitingTime => "waiting_time",
    }
}

pub(crate) const fn allocation_word(allocation: Allocation) -> &'static str {
    match allocation {
        Allocation::Queue => "queue",
        Allocation::Draw => "draw",
    }
}

/// Digits after the decimal point, by ISO 4217's list one of 2026-01-01 (SIX, the standard's maintenance agency). None for any
/// other code, and for codes without a minor unit (gold, test codes, drawing rights), which no price may use.
pub fn currency_exponent(currency: &str) -> Option<u32> {
    const NONE: &[&str] = &[
        "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV",
        "XAF", "XOF", "XPF",
    ];
    const TWO: &[&str] = &[
        "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BMD", "BND",
        "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CNY",
        "COP", "COU", "CRC", "CUP", "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD",
        "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS",
        "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL",
        "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV", "MYR",
        "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "QAR",
        "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP",
        "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD",
        "USN", "UYU", "UZS", "VED", "VES", "WST", "XAD", "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
    ];
    const THREE: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
    const FOUR: &[&str] = &["CLF", "UYW"];
    [(0, NONE), (2, TWO), (3, THREE), (4, FOUR)]
        .into_iter()
        .find(|(_, codes)| codes.contains(&currency))
        .map(|(exponent, _)| exponent)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same on every gateway and in every release, unlike std's hashers.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;

//! What the scripts are asked and what they answer, as types; and the reading of their words.

use crate::{
    error::{Error, Result},
    sale::{LineName, Note, Sale, ms},
};
use flashsale_protocol::{CommandId, DeviceId, OrderId, ShopperId, Tick};
use std::str::FromStr;

/// An answer with the time (ms, Redis' clock) at which it was true.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    pub now: u64,
    pub value: T,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reserved {
    /// `state` is the record's: "held", or how the same command's hold has ended since.
    Ok {
        quantity: u32,
        until: u64,
        state: RecordState,
    },
    CommandReused,
    AlreadyHeld {
        quantity: u32,
    },
    CheckoutRunning,
    Paused,
    NotOpen {
        opens_at: u64,
    },
    Ended,
    JoinFirst,
    Limit {
        left: u32,
    },
    DeviceLimit {
        left: u32,
    },
    Short {
        available: u32,
        in_carts: u32,
    },
}

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
    /// No claim or hold that the lane knows of; units in orders perhaps.
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

    /// Units are set aside, in the cart or in a checkout.
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
    /// The command that made it; None for a claim.
    pub command: Option<CommandId>,
    pub order: Option<OrderId>,
}

/// What a shopper has on a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub bought: u32,
    pub limit: u32,
    pub record: Option<Record>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Released {
    Ok {
        quantity: u32,
    },
    /// The record is in another state.
    Is(RecordState),
    None,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// The units are the order's now; may be repeated with the same order. `hold` is the command that made the hold.
    Ok {
        quantity: u32,
        device: DeviceId,
        hold: String,
    },
    /// This very order is finished already.
    Ordered {
        quantity: u32,
        device: DeviceId,
        hold: String,
    },
    /// Another order of this shopper is running.
    CheckoutRunning,
    Is(RecordState),
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    Ok {
        quantity: u32,
        until: u64,
    },
    HasHold,
    /// The draw has called them before, and that turn has ended.
    HadTurn,
    Limit,
    Short,
    Shut,
}

/// Who calls people's turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalledBy {
    /// The line: whoever joins again has another turn.
    Line,
    /// A draw: each has one.
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

#[derive(Debug, Clone, PartialEq)]
pub enum Joined {
    /// `place` is the key that the line is ordered by; `stamp` counts joins (0: not known, in line before).
    Waiting {
        position: u64,
        place: u64,
        line: LineName,
        stamp: u64,
    },
    Admitting,
    OtherQuantity {
        quantity: u32,
    },
    DeviceInLine,
    /// Postgres is behind with what it is told of the line.
    Busy,
    Ended,
    RoomClosed {
        room_opens_at: u64,
    },
    SaleMissing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Ok,
    Admitting,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// `place` is the key that the line is ordered by.
    Waiting {
        position: u64,
        quantity: u32,
        place: u64,
        line: LineName,
    },
    Admitting {
        quantity: u32,
    },
    Nowhere,
}

/// How many entries of each line have been served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    pub queue: u64,
    pub priority: u64,
}

impl Served {
    pub fn of(self, line: LineName) -> u64 {
        match line {
            LineName::Queue => self.queue,
            LineName::Priority => self.priority,
        }
    }
}

/// A queue answer, with the numbers admitted at the same moment.
#[derive(Debug, Clone, PartialEq)]
pub struct InLine<T> {
    pub admitted: Served,
    pub value: T,
}

/// An admission step's first half.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Called {
    /// The last stamp given.
    pub last_stamp: u64,
    /// People in line behind those called.
    pub waiting: u64,
    pub called: Vec<(ShopperId, u32)>,
    /// Absent at their turn: their place is kept.
    pub parked: Vec<ShopperId>,
}

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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub supply: u64,
    pub available: u64,
    pub claimed: u64,
    pub held: u64,
    pub ordering: u64,
    pub sold: u64,
    pub reservations: u64,
    pub expired: u64,
}

impl Counters {
    pub fn add(&mut self, other: Counters) {
        self.supply += other.supply;
        self.available += other.available;
        self.claimed += other.claimed;
        self.held += other.held;
        self.ordering += other.ordering;
        self.sold += other.sold;
        self.reservations += other.reservations;
        self.expired += other.expired;
    }

    /// The shared state of a sale with these counters.
    pub fn tick(&self, sale: &Sale, number: TickNumber, unpaid: u64) -> Tick {
        Tick {
            sale: sale.id,
            seq: number.seq,
            now: number.now,
            phase: sale.phase_at(number.now),
            starts_at: ms(sale.start_time),
            ends_at: ms(sale.end_time),
            supply: self.supply,
            available: self.available,
            claimed: self.claimed,
            held: self.held,
            ordering: self.ordering,
            sold: self.sold,
            unpaid: unpaid.min(self.sold),
            waiting: number.waiting + number.priority_waiting,
            admitted: number.admitted.queue,
            priority_waiting: number.priority_waiting,
            priority_admitted: number.admitted.priority,
            // Measured over time, by the worker.
            pace: 0.0,
            pace_low: 0.0,
            pace_high: 0.0,
            priority_pace: 0.0,
            take: 1.0,
            lapse: 0.0,
            next_lapse_at: None,
            slowed: None,
        }
    }

    /// I1: every unit is in exactly one place.
    pub fn balanced(&self) -> bool {
        self.unbalanced() == 0
    }

    /// Units that are in no place, or in two.
    pub fn unbalanced(&self) -> u64 {
        let placed = self.available + self.claimed + self.held + self.ordering + self.sold;
        self.supply.abs_diff(placed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickNumber {
    pub now: u64,
    pub seq: u64,
    pub waiting: u64,
    pub priority_waiting: u64,
    pub parked: u64,
    pub admitted: Served,
    pub turns: Turns,
}

/// What a line has counted since the sale began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub served: Served,
    pub priority_waiting: u64,
    /// Absent at their turn.
    pub parked: u64,
    /// Marked as away, in line or parked.
    pub absent: u64,
    pub inversions: u64,
    pub turns: Turns,
}

impl LineCounts {
    /// The share of turns that were not used, of all that were given. None: none was given yet.
    pub fn no_show_rate(&self) -> Option<f64> {
        let granted = self.turns.granted;
        (granted > 0).then(|| self.turns.lapsed as f64 / granted as f64)
    }
}

/// What became of turns since the sale began: claims granted, and those that lapsed or were given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    pub granted: u64,
    pub granted_units: u64,
    pub lapsed: u64,
    pub lapsed_units: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Served,
    /// The shopper has all that one person may have.
    Removed,
    Back,
}

impl Verdict {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Removed => "removed",
            Self::Back => "back",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Reserve {
    pub shopper: ShopperId,
    pub quantity: u32,
    pub how: How,
    pub command: CommandId,
    pub device: DeviceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// All units, or none.
    All,
    /// Fewer, when fewer are free.
    Partial,
    /// A hold that was lost with its lane: the gate does not count, its shopper has had their turn.
    Regain,
}

#[derive(Debug, Clone)]
pub struct Join {
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub quantity: u32,
    /// A place that was given before and that Redis has lost.
    pub old_place: Option<u64>,
    /// The place by the sale's seed, for whoever joins before the start of a sale that opens in shuffled order.
    pub opening_place: Option<u64>,
    pub line: LineName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Held,
    Claim,
}

/// Units of a cancelled order whose money came late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revive {
    Take,
    /// What was taken in vain.
    Give,
}

/// How a checkout ends in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// Postgres has the order, made from the hold of this command. A checkout of any other hold is undone.
    Committed { hold: String },
    /// Postgres has no units for it: they are free again.
    Refused,
    /// The command was no checkout: the hold is as it was before.
    Undone,
}

/// Splits "admitted priority_admitted" off a script's answer.
pub(super) fn served(answers: &[String]) -> Result<(Served, &[String])> {
    let (first, rest) = answers
        .split_first()
        .ok_or_else(|| Error::unexpected("a short answer"))?;
    let answer = Answer::of(first);
    let served = Served {
        queue: answer.number(0)?,
        priority: answer.number(1)?,
    };
    Ok((served, rest))
}

pub(super) fn first_number(answers: &[String]) -> Result<u64> {
    timed(answers).map(|(number, _)| number)
}

/// Splits the leading number off a script's answer.
pub(super) fn timed(answers: &[String]) -> Result<(u64, &[String])> {
    let (first, rest) = answers
        .split_first()
        .ok_or_else(|| Error::unexpected("an empty answer"))?;
    Ok((Answer::of(first).number(0)?, rest))
}

/// One item's answer: words separated by spaces.
pub(super) struct Answer<'a> {
    words: Vec<&'a str>,
}

impl<'a> Answer<'a> {
    pub fn of(text: &'a str) -> Self {
        Self {
            words: text.split(' ').collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn word(&self) -> &'a str {
        self.words.first().copied().unwrap_or_default()
    }

    pub fn text(&self, at: usize) -> Result<&'a str> {
        self.words.get(at).copied().ok_or_else(|| self.unexpected())
    }

    pub fn number<T: FromStr>(&self, at: usize) -> Result<T> {
        self.parse(at)
    }

    pub fn parse<T: FromStr>(&self, at: usize) -> Result<T> {
        self.text(at)?.parse().map_err(|_| self.unexpected())
    }

    pub fn unexpected(&self) -> Error {
        Error::unexpected(format!("a script answered {:?}", self.words.join(" ")))
    }
}

pub(super) fn read_reserved(answer: &Answer<'_>) -> Result<Reserved> {
    Ok(match answer.word() {
        "ok" => Reserved::Ok {
            quantity: answer.number(1)?,
            until: answer.number(2)?,
            state: answer.text(3)?.parse()?,
        },
        "reused" => Reserved::CommandReused,
        "already_held" => Reserved::AlreadyHeld {
            quantity: answer.number(1)?,
        },
        "checkout_running" => Reserved::CheckoutRunning,
        "paused" => Reserved::Paused,
        "not_open" => Reserved::NotOpen {
            opens_at: answer.number(1)?,
        },
        "ended" => Reserved::Ended,
        "join_first" => Reserved::JoinFirst,
        "limit" => Reserved::Limit {
            left: answer.number(1)?,
        },
        "device_limit" => Reserved::DeviceLimit {
            left: answer.number(1)?,
        },
        "short" => Reserved::Short {
            available: answer.number(1)?,
            in_carts: answer.number(2)?,
        },
        _ => return Err(answer.unexpected()),
    })
}

/// The oldest notes of the line's history.
#[derive(Debug)]
pub struct Journal {
    pub notes: Vec<Note>,
    /// The first and the last one as they stood there.
    pub(super) ends: Option<(String, String)>,
}

pub(super) fn read_note(answer: &Answer<'_>) -> Result<Note> {
    Ok(match answer.word() {
        word @ ("joined" | "restored") => Note::Joined {
            shopper: answer.parse(1)?,
            device: answer.parse(2)?,
            quantity: answer.number(3)?,
            place: answer.number(4)?,
            at_us: answer.number(5)?,
            line: answer.text(6)?.parse()?,
            restored: word == "restored",
        },
        status => Note::Ended {
            shopper: answer.parse(1)?,
            status: status.to_owned(),
            at_us: answer.number(2)?,
        },
    })
}

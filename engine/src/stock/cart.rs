//! The cart: units are reserved into it and released from it.

use super::{
    Stock,
    answer::{At, Repeat, ScriptAnswer},
    record::RecordState,
    scripts::{EXTEND, RELEASE, RESERVE},
    seen, trace,
};
use crate::{batcher::of_shopper, error::Result, sale::LaneRef};
use flashsale_protocol::{CommandId, DeviceId, ShopperId};

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
    /// Restores a hold that was lost with its lane. The gate does not count: its shopper has had their turn.
    Regain,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reserved {
    /// `state` is the record's: "held", or how this command's hold has ended since.
    Ok {
        quantity: u32,
        until: u64,
        state: RecordState,
    },
    CommandReused,
    /// An old command came again; nothing was done.
    Superseded,
    TooManyChanges,
    AlreadyHeld {
        quantity: u32,
    },
    CheckoutRunning,
    /// Postgres is behind Redis.
    Stopped,
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
pub enum What {
    Held,
    Claim,
    /// Nothing; only repeats an earlier answer.
    Nothing,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Released {
    Ok {
        quantity: u32,
        done: Repeat,
    },
    /// The record is in another state, or was when the command first came.
    Is(RecordState),
    None,
    CommandReused,
    /// An old command came again; nothing was done.
    Superseded,
}

/// What became of a claim or a hold that was to get its time once more.
#[derive(Debug, Clone, PartialEq)]
pub enum Extended {
    /// As it is now. `command` made the hold; None for a claim.
    Ok {
        state: RecordState,
        quantity: u32,
        until: u64,
        command: Option<CommandId>,
    },
    /// It was extended before, by another command.
    Before,
    OthersWait,
    Stopped,
    Paused,
    Ended,
    /// There is no claim and no hold: the record is in another state, or was when the command first came.
    Is(RecordState),
    CommandReused,
    /// An old command came again; nothing was done.
    Superseded,
    TooManyChanges,
}

impl Stock {
    pub async fn reserve(&self, at: LaneRef, item: Reserve) -> Result<At<Reserved>> {
        self.reserve
            .submit(&at, item, || {
                self.lane_batcher(
                    &RESERVE,
                    at,
                    Vec::new,
                    |item| of_shopper(&item.shopper),
                    |item: &Reserve, args| {
                        args.extend([
                            item.shopper.to_string(),
                            item.quantity.to_string(),
                            match item.how {
                                How::All => "all",
                                How::Partial => "partial",
                                How::Regain => "regain",
                            }
                            .to_owned(),
                            item.command.to_string(),
                            item.device.to_string(),
                            match item.how {
                                // This is not the shopper's own command.
                                How::Regain => String::new(),
                                How::All | How::Partial => seen::trace(
                                    &item.shopper,
                                    item.command,
                                    seen::Request::Reserve {
                                        quantity: item.quantity,
                                        partial: item.how == How::Partial,
                                    },
                                ),
                            },
                        ]);
                    },
                    read_reserved,
                )
            })
            .await
    }

    /// Gives a claim or a hold its time once more, unless others wait.
    pub async fn extend(
        &self,
        at: LaneRef,
        shopper: ShopperId,
        others_wait: bool,
        command: CommandId,
    ) -> Result<At<Extended>> {
        self.extend
            .submit(&at, (shopper, others_wait, command), || {
                self.lane_batcher(
                    &EXTEND,
                    at,
                    Vec::new,
                    |(shopper, ..)| of_shopper(shopper),
                    |(shopper, others_wait, command): &(ShopperId, bool, CommandId), args| {
                        let wait = if *others_wait { "others" } else { "nobody" };
                        let trace = seen::trace(shopper, *command, seen::Request::Extend);
                        args.extend([shopper.to_string(), wait.to_owned(), trace]);
                    },
                    read_extended,
                )
            })
            .await
    }

    /// Without a command, nothing is remembered of this release.
    pub async fn release(
        &self,
        at: LaneRef,
        shopper: ShopperId,
        what: What,
        command: Option<CommandId>,
    ) -> Result<At<Released>> {
        self.release
            .submit(&at, (shopper, what, command), || {
                self.lane_batcher(
                    &RELEASE,
                    at,
                    Vec::new,
                    |(shopper, ..)| of_shopper(shopper),
                    |(shopper, what, command): &(ShopperId, What, Option<CommandId>), args| {
                        let (what, request) = match what {
                            What::Held => ("held", seen::Request::Release),
                            What::Claim => ("claim", seen::Request::Leave),
                            What::Nothing => ("nothing", seen::Request::Leave),
                        };
                        args.extend([
                            shopper.to_string(),
                            what.to_owned(),
                            trace(shopper, *command, request),
                        ]);
                    },
                    read_released,
                )
            })
            .await
    }
}

fn read_extended(answer: &ScriptAnswer<'_>) -> Result<Extended> {
    Ok(match answer.word() {
        "ok" => Extended::Ok {
            state: answer.text(1)?.parse()?,
            quantity: answer.number(2)?,
            until: answer.number(3)?,
            command: answer.text(4)?.parse().ok(),
        },
        "extended" => Extended::Before,
        "others" => Extended::OthersWait,
        "stopped" => Extended::Stopped,
        "paused" => Extended::Paused,
        "ended" => Extended::Ended,
        "reused" => Extended::CommandReused,
        "superseded" => Extended::Superseded,
        "too_many" => Extended::TooManyChanges,
        state => Extended::Is(state.parse()?),
    })
}

fn read_reserved(answer: &ScriptAnswer<'_>) -> Result<Reserved> {
    Ok(match answer.word() {
        "ok" => Reserved::Ok {
            quantity: answer.number(1)?,
            until: answer.number(2)?,
            state: answer.text(3)?.parse()?,
        },
        "reused" => Reserved::CommandReused,
        "superseded" => Reserved::Superseded,
        "too_many" => Reserved::TooManyChanges,
        "already_held" => Reserved::AlreadyHeld {
            quantity: answer.number(1)?,
        },
        "checkout_running" => Reserved::CheckoutRunning,
        "stopped" => Reserved::Stopped,
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

fn read_released(answer: &ScriptAnswer<'_>) -> Result<Released> {
    Ok(match answer.word() {
        "ok" => Released::Ok {
            quantity: answer.number(1)?,
            done: Repeat::of(answer.text(2).ok()),
        },
        "none" => Released::None,
        "reused" => Released::CommandReused,
        "superseded" => Released::Superseded,
        state => Released::Is(state.parse()?),
    })
}

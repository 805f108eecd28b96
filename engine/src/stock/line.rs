//! The line: joining it, having a place in it, and leaving it.

use super::{
    BATCH, Stock,
    answer::{At, Repeat, ScriptAnswer, timed},
    scripts::{JOIN, LEAVE, PLACE, SCRIPTS},
    seen, trace,
};
use crate::{
    batcher::{Batch, Batcher, of_shopper},
    error::{Error, Result},
    sale::{LaneRef, LineName},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_protocol::{CommandId, DeviceId, Nonce, SaleId, ShopperId};
use fred::prelude::*;
use sha2::{Digest, Sha256};

#[derive(Debug, Clone)]
pub struct Join {
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub quantity: u32,
    /// A place given before, which Redis has lost.
    pub old_place: Option<u64>,
    /// The place from the sale's seed, for joins before the start of a sale that opens in shuffled order.
    pub opening_place: Option<u64>,
    pub line: LineName,
    /// For the line's history: the units left at the end may be drawn among those who wait.
    pub nonce: Option<Nonce>,
}

/// What a join does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinHow {
    /// A place in line.
    Line,
    /// Gives an entry in a draw, which Postgres keeps.
    Draw,
    /// Does nothing but look for an earlier answer.
    Ask,
    /// Does nothing but keep this answer.
    Keep(Kept),
}

impl JoinHow {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Draw => "draw",
            Self::Ask => "ask",
            Self::Keep(kept) => kept.code(),
        }
    }
}

/// Answers to a join that come from the shopper's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Their turn has come already.
    Admitted,
    AlreadyHeld,
    Limit,
    DeviceLimit,
}

impl Kept {
    const ALL: [Self; 4] = [Self::Admitted, Self::AlreadyHeld, Self::Limit, Self::DeviceLimit];

    const fn code(self) -> &'static str {
        match self {
            // Noted like a join of somebody in line: it gives no new place.
            Self::Admitted => "a",
            Self::AlreadyHeld => "H",
            Self::Limit => "L",
            Self::DeviceLimit => "D",
        }
    }

    fn read(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kept| kept.code() == code)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Joined {
    /// `place` is the key by which the line is ordered; `stamp` counts joins (0: unknown, was in line before). `is_new`: this
    /// join has given the place.
    Waiting {
        position: u64,
        place: u64,
        line: LineName,
        stamp: u64,
        is_new: bool,
    },
    Admitting,
    OtherQuantity {
        quantity: u32,
    },
    DeviceInLine,
    /// Too many notes of the line wait for Postgres.
    Busy,
    Ended,
    RoomClosed {
        room_opens_at: u64,
    },
    SaleMissing,
    Kept(Kept),
    /// In a draw: the shopper's latest wish is to be in it.
    Go,
    /// Carried out before; the place is gone. `left`: the shopper gave it up.
    Over {
        left: bool,
    },
    /// There is no earlier answer.
    New,
    CommandReused,
    /// An old command came again; nothing was done.
    Superseded,
    TooManyChanges,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Ok(Repeat),
    Admitting,
    None(Repeat),
    CommandReused,
    Superseded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// `place` is the key by which the line is ordered.
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

impl Stock {
    /// Gives a place that no shopper's command asks for: one that was lost, or one of a demonstration.
    pub async fn join(&self, sale: SaleId, item: Join) -> Result<At<InLine<Joined>>> {
        self.join_as(sale, item, JoinHow::Line, None).await
    }

    pub async fn join_as(
        &self,
        sale: SaleId,
        item: Join,
        how: JoinHow,
        command: Option<CommandId>,
    ) -> Result<At<InLine<Joined>>> {
        self.join
            .submit(&sale, (item, how, command), || {
                self.sale_batcher(
                    &JOIN,
                    sale,
                    |(item, ..)| of_shopper(&item.shopper),
                    |(item, how, command): &(Join, JoinHow, Option<CommandId>), args| {
                        let request = seen::Request::Join {
                            quantity: item.quantity,
                        };
                        args.extend([
                            item.shopper.to_string(),
                            noted_device(item),
                            device_mark(&item.device),
                            item.quantity.to_string(),
                            item.old_place.unwrap_or(0).to_string(),
                            item.opening_place.unwrap_or(0).to_string(),
                            item.line.word().to_owned(),
                            how.word().to_owned(),
                            trace(&item.shopper, *command, request),
                        ]);
                    },
                    read_joined,
                )
            })
            .await
    }

    pub async fn place(&self, sale: SaleId, shopper: ShopperId) -> Result<At<InLine<Stands>>> {
        self.place
            .submit(&sale, shopper, || {
                self.sale_batcher(
                    &PLACE,
                    sale,
                    of_shopper,
                    |shopper: &ShopperId, args| args.push(shopper.to_string()),
                    |answer| {
                        Ok(match answer.word() {
                            "waiting" => Stands::Waiting {
                                position: answer.number(1)?,
                                quantity: answer.number(2)?,
                                place: answer.number(3)?,
                                line: answer.text(4)?.parse()?,
                            },
                            "admitting" => Stands::Admitting {
                                quantity: answer.number(2)?,
                            },
                            "none" => Stands::Nowhere,
                            _ => return Err(answer.unexpected()),
                        })
                    },
                )
            })
            .await
    }

    pub async fn leave(
        &self,
        sale: SaleId,
        shopper: ShopperId,
        command: Option<CommandId>,
    ) -> Result<At<Left>> {
        self.leave
            .submit(&sale, (shopper, command), || {
                let runner = self.runner.clone();
                Batcher::new(
                    "leave",
                    BATCH,
                    |(shopper, _): &(ShopperId, Option<CommandId>)| of_shopper(shopper),
                    move |items: Batch<(ShopperId, Option<CommandId>)>| {
                        let runner = runner.clone();
                        async move {
                            let args = items.iter().flat_map(|(shopper, command)| {
                                [
                                    shopper.to_string(),
                                    trace(shopper, *command, seen::Request::Leave),
                                ]
                            });
                            let answers = runner.on_sale(&LEAVE, sale, args.collect()).await?;
                            let (now, answers) = timed(&answers)?;
                            let read = |text: &String| {
                                Ok(At {
                                    now,
                                    value: read_left(&ScriptAnswer::of(text))?,
                                })
                            };
                            answers.iter().map(read).collect()
                        }
                    },
                )
            })
            .await
    }

    /// Takes a sale that is over out of Redis, with everybody in it. If something is still to be done for it, its lanes begin anew
    /// from Postgres.
    pub(crate) async fn forget_sale(&self, sale: SaleId, lanes: u16) -> Result<()> {
        let keys = &self.runner.keys;
        let mut names: Vec<&str> = SCRIPTS.iter().flat_map(|script| script.keys).copied().collect();
        names.push("last_tick");
        names.sort_unstable();
        names.dedup();
        let of_sale = names.iter().map(|name| keys.sale(name, sale)).collect();
        let of_lanes = (0..lanes).map(|lane| {
            let at = LaneRef { sale, lane, epoch: 0 };
            names.iter().map(|name| keys.lane(name, at)).collect()
        });
        // One call for each slot.
        let all: Vec<Vec<String>> = std::iter::once(of_sale).chain(of_lanes).collect();
        for keys in all {
            let _: u64 = self.runner.client().unlink(keys).await?;
        }
        Ok(())
    }

    /// Ends a line that nobody may join any more. Its history stays.
    pub async fn drop_line(&self, sale: SaleId) -> Result<()> {
        const LINE: [&str; 7] = [
            "queue",
            "priority",
            "admitting",
            "parked",
            "absent",
            "wants",
            "devices",
        ];
        let keys: Vec<String> = LINE.map(|name| self.runner.keys.sale(name, sale)).into();
        // Another thread of Redis frees the memory: ten million places take seconds.
        let _: u64 = self.runner.client().unlink(keys).await?;
        Ok(())
    }
}

/// Splits "admitted priority_admitted" off a script's answer.
pub(super) fn served(answers: &[String]) -> Result<(Served, &[String])> {
    let (first, rest) = answers
        .split_first()
        .ok_or_else(|| Error::unexpected("a short answer"))?;
    let answer = ScriptAnswer::of(first);
    let served = Served {
        queue: answer.number(0)?,
        priority: answer.number(1)?,
    };
    Ok((served, rest))
}

fn read_joined(answer: &ScriptAnswer<'_>) -> Result<Joined> {
    Ok(match answer.word() {
        "ok" => Joined::Waiting {
            position: answer.number(1)?,
            place: answer.number(2)?,
            line: answer.text(3)?.parse()?,
            stamp: answer.number(4)?,
            is_new: answer.text(5).is_ok(),
        },
        "admitting" => Joined::Admitting,
        "other_quantity" => Joined::OtherQuantity {
            quantity: answer.number(1)?,
        },
        "device_in_line" => Joined::DeviceInLine,
        "busy" => Joined::Busy,
        "ended" => Joined::Ended,
        "room_closed" => Joined::RoomClosed {
            room_opens_at: answer.number(1)?,
        },
        "missing" => Joined::SaleMissing,
        "kept" => Joined::Kept(Kept::read(answer.text(1)?).ok_or_else(|| answer.unexpected())?),
        "go" => Joined::Go,
        "over" => Joined::Over { left: false },
        "left" => Joined::Over { left: true },
        "new" => Joined::New,
        "reused" => Joined::CommandReused,
        "superseded" => Joined::Superseded,
        "too_many" => Joined::TooManyChanges,
        _ => return Err(answer.unexpected()),
    })
}

fn read_left(answer: &ScriptAnswer<'_>) -> Result<Left> {
    let repeat = Repeat::of(answer.text(1).ok());
    Ok(match answer.word() {
        "ok" => Left::Ok(repeat),
        "admitting" => Left::Admitting,
        "none" => Left::None(repeat),
        "reused" => Left::CommandReused,
        "superseded" => Left::Superseded,
        _ => return Err(answer.unexpected()),
    })
}

/// A join's device and nonce as the line's journal has them. They are one short text, because each argument and each byte costs every
/// join a part of its time in Redis. No device's name contains the character between them.
fn noted_device(item: &Join) -> String {
    match item.nonce {
        Some(nonce) => format!("{}/{}", item.device, BASE64.encode(nonce.0)),
        None => item.device.to_string(),
    }
}

/// Reads what [`noted_device`] has written. None: it is not in that form.
pub(super) fn read_device(noted: &str) -> Option<(&str, Option<Nonce>)> {
    let Some((device, nonce)) = noted.split_once('/') else {
        return Some((noted, None));
    };
    let nonce = BASE64.decode(nonce).ok()?.try_into().ok()?;
    Some((device, Some(Nonce(nonce))))
}

/// The line's short name of a device: 72 bits of SHA-256, because a name of 50 letters would take a quarter of a long line's
/// memory. Among ten million devices, two get the same mark with a chance of 1 : 10^8.
pub fn device_mark(device: &DeviceId) -> String {
    const BYTES: usize = 9;
    BASE64.encode(&Sha256::digest(device.as_str().as_bytes())[..BYTES])
}

//! What Redis knows of the last commands, in the model: by their whole ids, in lists that nobody has packed. A command whose hold
//! or place is the latest is known by that, and is noted when another follows it.

use super::{
    lane::{Lane, as_extended, running},
    line::Line,
};
use flashsale_engine::stock::{
    CalledBy, Claimed, Extended, How, Join, Joined, Left, RecordState, Released, Repeat, Reserve, Reserved,
    What, device_mark, rebuild::KeptRecord,
};
use flashsale_protocol::{CommandId, ShopperId};
use std::collections::BTreeMap;

/// Commands whose answers are kept.
const KEPT: usize = 8;

/// Of one slot: shopper → command, what it asked for, and its answer; the newest first.
#[derive(Debug, Clone)]
struct Lists<A>(BTreeMap<String, Vec<(CommandId, String, A)>>);

enum Found<'a, A> {
    New,
    Reused,
    Superseded,
    /// With those that have come later.
    Same(A, &'a [(CommandId, String, A)]),
}

impl<A: Clone> Lists<A> {
    fn find(&self, shopper: &str, command: CommandId, what: &str) -> Found<'_, A> {
        let list = self.0.get(shopper).map_or(&[][..], Vec::as_slice);
        match list.iter().position(|(known, ..)| *known == command) {
            None => Found::New,
            Some(at) if at >= KEPT => Found::Superseded,
            Some(at) if list[at].1 != what => Found::Reused,
            Some(at) => Found::Same(list[at].2.clone(), &list[..at]),
        }
    }

    fn note(&mut self, shopper: &str, command: CommandId, what: String, answer: A) {
        let list = self.0.entry(shopper.to_owned()).or_default();
        list.insert(0, (command, what, answer));
    }
}

#[derive(Debug, Clone)]
enum LaneAnswer {
    Taken {
        quantity: u32,
        until: u64,
        /// How that hold has ended, where another has come since.
        end: Option<RecordState>,
    },
    Reserve(Reserved),
    Release(Released),
    Extend(Extended),
}

#[derive(Debug, Clone)]
enum LineAnswer {
    NewPlace,
    SamePlace,
    Join(Joined),
    /// Had ended, or was left, when another stood for its device.
    EndedPlace {
        left: bool,
    },
    Left,
    NotThere,
}

/// Who stands for a device, and the join that they stand by.
#[derive(Debug, Clone)]
struct LastJoin {
    shopper: String,
    command: CommandId,
    what: String,
}

/// Both slots.
#[derive(Debug, Clone)]
pub struct Remembered {
    lane: Lists<LaneAnswer>,
    line: Lists<LineAnswer>,
    /// By the device's mark.
    last_joins: BTreeMap<String, LastJoin>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            lane: Lists(BTreeMap::new()),
            line: Lists(BTreeMap::new()),
            last_joins: BTreeMap::new(),
        }
    }
}

impl Remembered {
    pub fn reserve(&mut self, lane: &mut Lane, now: u64, item: &Reserve) -> Reserved {
        let command = item.command;
        let shopper = item.shopper.as_str();
        let before = lane.records.get(shopper).cloned();
        let made = before.as_ref().filter(|record| record.command != "-");
        let is_its_own = made.is_some_and(|record| record.command == item.command.to_string());
        if is_its_own {
            return lane.reserve(now, item);
        }
        if item.how == How::Regain {
            let answer = lane.reserve(now, item);
            self.note_if_ended(lane, before.as_ref(), shopper);
            return answer;
        }
        let what = asked_for(item.quantity, item.how == How::Partial);
        match self.lane.find(shopper, command, &what) {
            Found::New => {}
            Found::Reused => return Reserved::CommandReused,
            Found::Superseded => return Reserved::Superseded,
            Found::Same(LaneAnswer::Reserve(refusal), _) => return refusal,
            Found::Same(LaneAnswer::Release(_) | LaneAnswer::Extend(_), _) => {
                unreachable!("another verb's")
            }
            Found::Same(LaneAnswer::Taken { quantity, until, end }, _) => {
                if let (None, Some(record)) = (end, made) {
                    return Reserved::Ok {
                        quantity: record.quantity,
                        until: record.until,
                        state: record.state,
                    };
                }
                let is_ordered = lane.bought().contains_key(shopper) && until > now;
                let lost = if is_ordered {
                    RecordState::Ordered
                } else {
                    RecordState::Expired
                };
                return Reserved::Ok {
                    quantity,
                    until,
                    state: end.unwrap_or(lost),
                };
            }
        }
        let answer = lane.reserve(now, item);
        match &answer {
            // The hold that is there already, under one more id.
            Reserved::Ok { quantity, until, .. }
                if made.is_some_and(|made| made.state == RecordState::Held) =>
            {
                let taken = LaneAnswer::Taken {
                    quantity: *quantity,
                    until: *until,
                    end: None,
                };
                self.lane.note(shopper, command, what, taken);
            }
            Reserved::Ok { .. } => self.note_if_ended(lane, before.as_ref(), shopper),
            Reserved::AlreadyHeld { .. } | Reserved::Limit { .. } | Reserved::DeviceLimit { .. } => {
                self.lane
                    .note(shopper, command, what, LaneAnswer::Reserve(answer.clone()));
            }
            _ => {}
        }
        answer
    }

    /// A record that another has followed: its hold is known by it no more.
    fn note_if_ended(&mut self, lane: &Lane, before: Option<&KeptRecord>, shopper: &str) {
        let Some(before) = before.filter(|record| record.command != "-") else {
            return;
        };
        if lane
            .records
            .get(shopper)
            .is_some_and(|now| now.command == before.command)
        {
            return;
        }
        let (Ok(command), digits) = (before.command.parse(), before.asked.trim_end_matches('p')) else {
            return;
        };
        let what = asked_for(digits.parse().expect("a number"), digits != before.asked);
        self.end_holds(shopper, before.state);
        let taken = LaneAnswer::Taken {
            quantity: before.quantity,
            until: before.held_until,
            end: Some(before.state),
        };
        self.lane.note(shopper, command, what, taken);
    }

    pub fn claim(
        &mut self,
        lane: &mut Lane,
        now: u64,
        by: CalledBy,
        shopper: &ShopperId,
        wanted: u32,
    ) -> Claimed {
        let before = lane.records.get(shopper.as_str()).cloned();
        let answer = lane.claim(now, by, shopper, wanted);
        if !before.as_ref().is_some_and(running) {
            self.note_if_ended(lane, before.as_ref(), shopper.as_str());
        }
        answer
    }

    fn end_holds(&mut self, shopper: &str, ended: RecordState) {
        let list = self.lane.0.get_mut(shopper);
        for (_, _, answer) in list.into_iter().flatten().take(KEPT) {
            if let LaneAnswer::Taken { end: end @ None, .. } = answer {
                *end = Some(ended);
            }
        }
    }

    pub fn release(
        &mut self,
        lane: &mut Lane,
        command: CommandId,
        shopper: &ShopperId,
        what: What,
    ) -> Released {
        let state = lane.records.get(shopper.as_str()).map(|record| record.state);
        let ended = state.filter(|state| matches!(state, RecordState::Released | RecordState::Left));
        let asked = match what {
            What::Held => "release",
            What::Claim | What::Nothing => "leave",
        };
        match self.lane.find(shopper.as_str(), command, asked) {
            Found::New => {}
            Found::Reused => return Released::CommandReused,
            Found::Superseded => return Released::Superseded,
            Found::Same(LaneAnswer::Release(Released::Ok { quantity, .. }), _) => {
                return Released::Ok {
                    quantity,
                    done: if ended.is_some() {
                        Repeat::Again
                    } else {
                        Repeat::Over
                    },
                };
            }
            Found::Same(LaneAnswer::Release(refusal), _) => return refusal,
            Found::Same(..) => unreachable!("another verb's"),
        }
        if what == What::Nothing {
            return Released::Superseded;
        }
        let answer = lane.release(shopper, what);
        if state == Some(RecordState::Held) && what == What::Held {
            self.end_holds(shopper.as_str(), RecordState::Released);
        }
        if answer != Released::Is(RecordState::Ordering) {
            let kept = LaneAnswer::Release(answer.clone());
            self.lane.note(shopper.as_str(), command, asked.to_owned(), kept);
        }
        answer
    }

    pub fn extend(
        &mut self,
        lane: &mut Lane,
        now: u64,
        command: CommandId,
        shopper: &ShopperId,
        others_wait: bool,
    ) -> Extended {
        let record = lane.records.get(shopper.as_str());
        match self.lane.find(shopper.as_str(), command, "extend") {
            Found::New => {}
            Found::Reused => return Extended::CommandReused,
            Found::Superseded => return Extended::Superseded,
            Found::Same(LaneAnswer::Extend(Extended::Ok { until, .. }), _) => {
                let own_until = |record: &&KeptRecord| match record.command.as_str() {
                    "-" => record.until,
                    _ => record.held_until,
                };
                let stands = record.filter(|record| own_until(record) == until);
                return stands.map_or(Extended::Superseded, as_extended);
            }
            Found::Same(LaneAnswer::Extend(refusal), _) => return refusal,
            Found::Same(..) => unreachable!("another verb's"),
        }
        let was_running = record.is_some_and(running);
        let answer = lane.extend(now, shopper, others_wait);
        let is_kept = match answer {
            Extended::Ok { .. } | Extended::Before => true,
            Extended::Is(_) => !was_running,
            _ => false,
        };
        if is_kept {
            let kept = LaneAnswer::Extend(answer.clone());
            self.lane
                .note(shopper.as_str(), command, "extend".to_owned(), kept);
        }
        answer
    }

    /// `command`: None for a place that was lost. `told`: the stamp that was given, where one was.
    pub fn join(
        &mut self,
        line: &mut Line,
        now: u64,
        command: Option<CommandId>,
        item: &Join,
        told: Option<u64>,
    ) -> Joined {
        let shopper = item.shopper.as_str();
        let stood = line.stands(shopper);
        let Some(command) = command.filter(|_| line.settings.is_some()) else {
            let answer = line.join(now, item, told);
            if !stood && matches!(answer, Joined::Waiting { .. }) {
                self.stands_now(item, None);
            }
            return answer;
        };
        let what = format!("join {}", item.quantity);
        let mut found = self.line.find(shopper, command, &what);
        let last = self.last_joins.get(&device_mark(&item.device));
        if let (Found::New, Some(last)) = (
            &found,
            last.filter(|last| last.shopper == shopper && last.command == command),
        ) {
            found = if last.what == what {
                let known = self.line.0.get(shopper).map_or(&[][..], Vec::as_slice);
                Found::Same(LineAnswer::NewPlace, &known[..known.len().min(KEPT)])
            } else {
                Found::Reused
            };
        }
        match found {
            Found::New => {}
            Found::Reused => return Joined::CommandReused,
            Found::Superseded => return Joined::Superseded,
            Found::Same(LineAnswer::Join(refusal), _) => return refusal,
            Found::Same(LineAnswer::EndedPlace { left }, _) => return Joined::Over { left },
            Found::Same(_, later) => {
                return match was_left(later) {
                    Some(left) => Joined::Over { left },
                    None => line.same_place(shopper).unwrap_or(Joined::Over { left: false }),
                };
            }
        }
        let answer = line.join(now, item, told);
        let kept = match &answer {
            Joined::Waiting { .. } if !stood => {
                let last = LastJoin {
                    shopper: shopper.to_owned(),
                    command,
                    what: what.clone(),
                };
                self.stands_now(item, Some(last));
                if !self.line.0.contains_key(shopper) {
                    return answer;
                }
                LineAnswer::NewPlace
            }
            Joined::Waiting { .. } | Joined::Admitting => LineAnswer::SamePlace,
            Joined::OtherQuantity { .. } | Joined::DeviceInLine => LineAnswer::Join(answer.clone()),
            _ => return answer,
        };
        self.line.note(shopper, command, what, kept);
        answer
    }

    /// Another join takes over the device: the last one is noted.
    fn stands_now(&mut self, item: &Join, join: Option<LastJoin>) {
        let mark = device_mark(&item.device);
        let last = match join {
            Some(join) => self.last_joins.insert(mark, join),
            None => self.last_joins.remove(&mark),
        };
        let Some(last) = last else { return };
        if matches!(
            self.line.find(&last.shopper, last.command, &last.what),
            Found::New
        ) {
            let known = self.line.0.get(&last.shopper).map_or(&[][..], Vec::as_slice);
            let left = was_left(&known[..known.len().min(KEPT)]).unwrap_or(false);
            let ended = LineAnswer::EndedPlace { left };
            self.line.note(&last.shopper, last.command, last.what, ended);
        }
    }

    pub fn leave(&mut self, line: &mut Line, command: CommandId, shopper: &str) -> Left {
        match self.line.find(shopper, command, "leave") {
            Found::New => {}
            Found::Reused => return Left::CommandReused,
            Found::Superseded => return Left::Superseded,
            Found::Same(answer, later) => {
                let repeat = if later.is_empty() {
                    Repeat::Again
                } else {
                    Repeat::Over
                };
                return match answer {
                    LineAnswer::Left => Left::Ok(repeat),
                    _ => Left::None(repeat),
                };
            }
        }
        let answer = line.leave(shopper);
        let kept = match answer {
            Left::Ok(_) => LineAnswer::Left,
            Left::None(_) => LineAnswer::NotThere,
            _ => return answer,
        };
        self.line.note(shopper, command, "leave".to_owned(), kept);
        answer
    }
}

/// What a reserve asks for, however it is known.
fn asked_for(quantity: u32, partial: bool) -> String {
    format!("reserve {quantity}{}", if partial { " or fewer" } else { "" })
}

/// Of a place, by what came after it: left; or over; None: nothing has ended it.
fn was_left(later: &[(CommandId, String, LineAnswer)]) -> Option<bool> {
    later.iter().rev().find_map(|(_, _, answer)| match answer {
        LineAnswer::Left => Some(true),
        LineAnswer::NewPlace => Some(false),
        _ => None,
    })
}

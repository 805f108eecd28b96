//! What a sale's line is: who stands where, who is away, who is being called, and who leads.

use flashsale_engine::{
    sale::{LineName, Sale, ms, phase_word},
    stock::{Called, Join, Joined, Left, Repeat, Served, Stands, Stock, TurnVerdict, device_mark},
};
use flashsale_protocol::{Phase, ShopperId};
use fred::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

pub const KEYS: [&str; 9] = [
    "sale",
    "queue",
    "admitting",
    "devices",
    "wants",
    "leader",
    "priority",
    "parked",
    "absent",
];
/// Looks at the front of a line that one admission takes.
const ROUNDS: usize = 3;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub phase: String,
    pub room_opens_at: u64,
    pub starts_at: u64,
    pub ends_at: u64,
    pub lanes: usize,
}

/// What somebody in line wants, where it is not one unit in everybody's line.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Want {
    quantity: u32,
    priority: bool,
    /// Was parked, and has come back.
    returned: bool,
}

const ONE: Want = Want {
    quantity: 1,
    priority: false,
    returned: false,
};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// None: Redis does not know the sale.
    pub settings: Option<Settings>,
    pub queue: BTreeSet<(u64, String)>,
    pub priority: BTreeSet<(u64, String)>,
    pub admitting: BTreeMap<String, u64>,
    pub parked: BTreeMap<String, u64>,
    pub absent: BTreeSet<String>,
    /// Device's mark → the shopper who has joined with it last.
    pub devices: BTreeMap<String, String>,
    wants: BTreeMap<String, Want>,
    pub last_place: u64,
    pub admitted: u64,
    pub priority_admitted: u64,
    pub inversions: u64,
    farthest: u64,
    pub tick: u64,
    pub leader: Option<String>,
}

/// As far as a sale has gone in this phase: it never goes back.
pub fn stage(phase: &str) -> u8 {
    match phase {
        "drawing" => 1,
        "ended" | "cancelled" => 2,
        _ => 0,
    }
}

/// Behind the shopper's name stands as what their join is known; the model knows that by itself.
fn owner(text: String) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

impl Line {
    /// As it stands in Redis.
    pub async fn read(stock: &Stock, sale: &Sale) -> Result<Line, Error> {
        type Map = BTreeMap<String, String>;
        type Places = Vec<(String, f64)>;
        let client = stock.client();
        let keys = KEYS.map(|name| stock.keys().sale(name, sale.id));
        let [
            sale,
            queue,
            admitting,
            devices,
            wants,
            leader,
            priority,
            parked,
            absent,
        ] = keys;
        let places = |key: String| client.zrange::<Places, _, _, _>(key, 0, -1, None, false, None, true);
        let (sale, queue, admitting, devices, wants, leader, priority, parked, absent) = tokio::try_join!(
            client.hgetall::<Map, _>(sale),
            places(queue),
            places(admitting),
            client.hgetall::<Map, _>(devices),
            client.hgetall::<Map, _>(wants),
            client.get::<Option<String>, _>(leader),
            places(priority),
            places(parked),
            places(absent),
        )?;
        let number = |field: &str| sale.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
        let in_order = |places: Places| {
            places
                .into_iter()
                .map(|(who, place)| (place as u64, who))
                .collect()
        };
        let by_name = |places: Places| {
            places
                .into_iter()
                .map(|(who, place)| (who, place as u64))
                .collect()
        };
        Ok(Line {
            settings: sale.get("phase").map(|phase| Settings {
                phase: phase.clone(),
                room_opens_at: number("room_opens_at"),
                starts_at: number("starts_at"),
                ends_at: number("ends_at"),
                lanes: number("lanes") as usize,
            }),
            queue: in_order(queue),
            priority: in_order(priority),
            admitting: by_name(admitting),
            parked: by_name(parked),
            absent: absent.into_iter().map(|(who, _)| who).collect(),
            devices: devices
                .into_iter()
                .map(|(mark, text)| (mark, owner(text)))
                .collect(),
            wants: wants
                .into_iter()
                .map(|(who, text)| (who, Want::parse(&text)))
                .collect(),
            last_place: number("last_place"),
            admitted: number("admitted"),
            priority_admitted: number("priority_admitted"),
            inversions: number("inversions"),
            farthest: number("farthest"),
            tick: number("tick"),
            leader,
        })
    }

    pub fn open(&mut self, sale: &Sale) {
        let phase = match sale.status {
            Phase::Scheduled | Phase::Waiting => "open",
            other => phase_word(other),
        };
        let known = self.settings.as_ref().map(|settings| stage(&settings.phase));
        if known.is_some_and(|known| known > stage(phase)) {
            return;
        }
        self.settings = Some(Settings {
            phase: phase.to_owned(),
            room_opens_at: ms(sale.room_opens_at),
            starts_at: ms(sale.start_time),
            ends_at: ms(sale.end_time),
            lanes: sale.lanes.len(),
        });
    }

    fn line(&self, name: LineName) -> &BTreeSet<(u64, String)> {
        match name {
            LineName::Queue => &self.queue,
            LineName::Priority => &self.priority,
        }
    }

    fn line_mut(&mut self, name: LineName) -> &mut BTreeSet<(u64, String)> {
        match name {
            LineName::Queue => &mut self.queue,
            LineName::Priority => &mut self.priority,
        }
    }

    /// How many of a line are being called: they are ahead of all who wait in it.
    fn being_called(&self, name: LineName) -> u64 {
        let called = self.admitting.keys();
        called.filter(|who| self.line_of(who) == name).count() as u64
    }

    /// The line, the place and the position of somebody who waits.
    fn waits(&self, shopper: &str) -> Option<(LineName, u64, u64)> {
        [LineName::Queue, LineName::Priority]
            .into_iter()
            .find_map(|name| {
                let mut line = self.line(name).iter().enumerate();
                let (rank, (place, _)) = line.find(|(_, (_, who))| who == shopper)?;
                Some((name, *place, self.being_called(name) + rank as u64 + 1))
            })
    }

    /// Everybody's place, and whether it is in the priority line.
    pub fn places(&self) -> Vec<(String, u64, LineName)> {
        let all = self
            .queue
            .iter()
            .chain(&self.priority)
            .map(|(place, who)| (who, *place));
        let aside = self
            .admitting
            .iter()
            .chain(&self.parked)
            .map(|(who, place)| (who, *place));
        all.chain(aside)
            .map(|(who, place)| (who.clone(), place, self.line_of(who)))
            .collect()
    }

    pub fn stands(&self, shopper: &str) -> bool {
        self.admitting.contains_key(shopper)
            || self.parked.contains_key(shopper)
            || self.waits(shopper).is_some()
    }

    fn want(&self, shopper: &str) -> Want {
        self.wants.get(shopper).copied().unwrap_or(ONE)
    }

    /// Has been parked, and is back in line.
    pub fn was_parked(&self, shopper: &str) -> bool {
        self.want(shopper).returned
    }

    fn line_of(&self, shopper: &str) -> LineName {
        if self.want(shopper).priority {
            LineName::Priority
        } else {
            LineName::Queue
        }
    }

    /// These are here: whoever was parked is back at their place.
    pub fn welcome(&mut self, shoppers: &[&str]) {
        for shopper in shoppers {
            self.absent.remove(*shopper);
            if let Some(place) = self.parked.remove(*shopper) {
                let line = self.line_of(shopper);
                self.line_mut(line).insert((place, (*shopper).to_owned()));
                let want = Want {
                    returned: true,
                    ..self.want(shopper)
                };
                self.wants.insert((*shopper).to_owned(), want);
            }
        }
    }

    /// `told`: the stamp that was given, where one was: only Redis' clock knows it.
    pub fn join(&mut self, now: u64, item: &Join, told: Option<u64>) -> Joined {
        let shopper = item.shopper.to_string();
        let Some(settings) = &self.settings else {
            return Joined::SaleMissing;
        };
        if matches!(settings.phase.as_str(), "drawing" | "ended" | "cancelled") || now >= settings.ends_at {
            return Joined::Ended;
        }
        if let Some(same) = self.same_place(&shopper) {
            let quantity = self.want(&shopper).quantity;
            return match same {
                Joined::Waiting { .. } if quantity != item.quantity => Joined::OtherQuantity { quantity },
                same => same,
            };
        }
        if now < settings.room_opens_at {
            return Joined::RoomClosed {
                room_opens_at: settings.room_opens_at,
            };
        }
        let owner = self.devices.get(&device_mark(&item.device));
        if owner.is_some_and(|owner| *owner != shopper && (settings.lanes > 1 || self.stands(owner))) {
            return Joined::DeviceInLine;
        }
        let stamp = told.unwrap_or(0);
        let place = match (item.old_place, item.opening_place) {
            (Some(old), _) => old,
            (None, Some(opening)) if now < settings.starts_at => opening,
            (None, _) => stamp,
        };
        if told.is_some() {
            self.last_place = stamp;
        }
        let line = item.line;
        self.line_mut(line).insert((place, shopper.clone()));
        self.devices.insert(device_mark(&item.device), shopper.clone());
        if item.quantity != 1 || line == LineName::Priority {
            let want = Want {
                quantity: item.quantity,
                priority: line == LineName::Priority,
                returned: false,
            };
            self.wants.insert(shopper, want);
        }
        Joined::Waiting {
            position: self.being_called(line) + self.line(line).len() as u64,
            place,
            line,
            stamp,
            is_new: true,
        }
    }

    /// The place that is there already.
    pub fn same_place(&self, shopper: &str) -> Option<Joined> {
        if self.admitting.contains_key(shopper) {
            return Some(Joined::Admitting);
        }
        let (line, place, position) = self.waits(shopper)?;
        Some(Joined::Waiting {
            position,
            place,
            line,
            stamp: 0,
            is_new: false,
        })
    }

    pub fn leave(&mut self, shopper: &str) -> Left {
        if self.admitting.contains_key(shopper) {
            return Left::Admitting;
        }
        if !self.stands(shopper) {
            return Left::None(Repeat::First);
        }
        self.forget(shopper);
        Left::Ok(Repeat::First)
    }

    fn forget(&mut self, shopper: &str) {
        self.queue.retain(|(_, who)| who != shopper);
        self.priority.retain(|(_, who)| who != shopper);
        self.parked.remove(shopper);
        self.absent.remove(shopper);
        self.wants.remove(shopper);
    }

    pub fn stands_where(&self, shopper: &str) -> Stands {
        let quantity = self.want(shopper).quantity;
        if self.admitting.contains_key(shopper) {
            return Stands::Admitting { quantity };
        }
        match self.waits(shopper) {
            None => Stands::Nowhere,
            Some((line, place, position)) => Stands::Waiting {
                position,
                quantity,
                place,
                line,
            },
        }
    }

    /// Their last socket has closed.
    pub fn go_away(&mut self, shopper: &str) {
        if self.waits(shopper).is_some() || self.parked.contains_key(shopper) {
            self.absent.insert(shopper.to_owned());
        }
    }

    /// Everybody who is away loses their place.
    pub fn expire_absent(&mut self) -> BTreeSet<ShopperId> {
        let gone = self.absent.clone();
        gone.iter().for_each(|who| self.forget(who));
        gone.iter().map(|who| who.parse().expect("a shopper")).collect()
    }

    pub fn admit(&mut self, most: usize, share: u32) -> Called {
        let mut called: Vec<(u64, String)> = self
            .admitting
            .iter()
            .map(|(who, place)| (*place, who.clone()))
            .collect();
        called.sort();
        let mut called: Vec<String> = called.into_iter().map(|(_, who)| who).collect();
        let mut parked = Vec::new();
        if called.is_empty() {
            let first = self.take(
                LineName::Priority,
                (most * share as usize).div_ceil(100),
                &mut called,
                &mut parked,
            );
            let then = self.take(LineName::Queue, most - first, &mut called, &mut parked);
            if share > 0 {
                self.take(LineName::Priority, most - first - then, &mut called, &mut parked);
            }
        }
        let called = called
            .into_iter()
            .map(|who| (who.parse().expect("a shopper"), self.want(&who).quantity))
            .collect();
        Called {
            last_stamp: self.last_place,
            waiting: (self.queue.len() + self.priority.len()) as u64,
            called,
            parked,
        }
    }

    /// Calls up to `wanted` of those at a line's front who are here.
    fn take(
        &mut self,
        line: LineName,
        wanted: usize,
        called: &mut Vec<String>,
        parked: &mut Vec<ShopperId>,
    ) -> usize {
        let mut taken = 0;
        for _ in 0..ROUNDS {
            let left = wanted - taken;
            for _ in 0..left {
                let Some((place, who)) = self.line_mut(line).pop_first() else {
                    return taken;
                };
                if self.absent.contains(&who) {
                    parked.push(who.parse().expect("a shopper"));
                    self.parked.insert(who, place);
                } else {
                    self.admitting.insert(who.clone(), place);
                    called.push(who);
                    taken += 1;
                }
            }
        }
        taken
    }

    pub fn served(&self) -> Served {
        Served {
            queue: self.admitted,
            priority: self.priority_admitted,
        }
    }

    /// Those called together are served together.
    pub fn settle(&mut self, verdicts: &[(ShopperId, TurnVerdict)]) {
        let before = self.farthest;
        for (shopper, verdict) in verdicts {
            let Some(place) = self.admitting.remove(shopper.as_str()) else {
                continue;
            };
            let (who, want) = (shopper.to_string(), self.want(shopper.as_str()));
            let line = self.line_of(&who);
            if *verdict == TurnVerdict::Back {
                self.line_mut(line).insert((place, who));
                continue;
            }
            self.wants.remove(&who);
            match line {
                LineName::Queue => self.admitted += 1,
                LineName::Priority => self.priority_admitted += 1,
            }
            if line == LineName::Queue && !want.returned {
                self.inversions += u64::from(place < before);
                self.farthest = self.farthest.max(place);
            }
        }
    }

    /// Whether this token leads then.
    pub fn lead(&mut self, token: &str, lease_ms: u64) -> bool {
        if self.leader.as_ref().is_some_and(|leader| leader != token) {
            return false;
        }
        self.leader = (lease_ms > 0).then(|| token.to_owned());
        lease_ms > 0
    }
}

impl Want {
    /// The quantity, then p and r.
    fn parse(text: &str) -> Want {
        let digits = text.trim_end_matches(['p', 'r']);
        Want {
            quantity: digits.parse().expect("a quantity"),
            priority: text.contains('p'),
            returned: text.contains('r'),
        }
    }
}

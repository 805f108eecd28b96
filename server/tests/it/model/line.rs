//! What a sale's line is: who stands where, who is being called, and who leads.

use flashsale::{
    sale::{LineName, Sale, ms, phase_word},
    stock::{Called, Join, Joined, Left, Served, Stands, Verdict, device_mark},
};
use flashsale_protocol::Phase;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub phase: &'static str,
    pub room_opens_at: u64,
    pub ends_at: u64,
    pub lanes: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// None: Redis does not know the sale.
    pub settings: Option<Settings>,
    pub queue: BTreeSet<(u64, String)>,
    pub admitting: BTreeMap<String, u64>,
    /// Device's mark → the shopper who has joined with it last.
    pub devices: BTreeMap<String, String>,
    /// Quantities other than 1.
    pub wants: BTreeMap<String, u32>,
    pub last_place: u64,
    pub admitted: u64,
    pub tick: u64,
    pub leader: Option<String>,
}

impl Line {
    pub fn open(&mut self, sale: &Sale) {
        self.settings = Some(Settings {
            phase: match sale.status {
                Phase::Scheduled | Phase::Waiting => "open",
                other => phase_word(other),
            },
            room_opens_at: ms(sale.room_opens_at),
            ends_at: ms(sale.end_time),
            lanes: sale.lanes.len(),
        });
    }

    pub fn place_of(&self, shopper: &str) -> Option<u64> {
        let entry = self.queue.iter().find(|(_, who)| who == shopper);
        entry.map(|(place, _)| *place)
    }

    pub fn stands(&self, shopper: &str) -> bool {
        self.admitting.contains_key(shopper) || self.place_of(shopper).is_some()
    }

    fn wanted(&self, shopper: &str) -> u32 {
        self.wants.get(shopper).copied().unwrap_or(1)
    }

    /// `place` is the one that was given, where one was given: only Redis' clock knows it.
    pub fn join(&mut self, now: u64, item: &Join, place: Option<u64>) -> Joined {
        let shopper = item.shopper.to_string();
        let Some(settings) = &self.settings else {
            return Joined::SaleMissing;
        };
        if matches!(settings.phase, "drawing" | "ended" | "cancelled") || now >= settings.ends_at {
            return Joined::Ended;
        }
        if self.admitting.contains_key(&shopper) {
            return Joined::Admitting;
        }
        if let Some(place) = self.place_of(&shopper) {
            let quantity = self.wanted(&shopper);
            let position = self.queue.iter().take_while(|(_, who)| *who != shopper).count() as u64 + 1;
            return if quantity == item.quantity {
                Joined::Waiting {
                    position,
                    place,
                    line: LineName::Queue,
                    stamp: 0,
                }
            } else {
                Joined::OtherQuantity { quantity }
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
        let place = item.old_place.or(place).unwrap_or(0);
        if item.old_place.is_none() {
            self.last_place = place;
        }
        self.queue.insert((place, shopper.clone()));
        self.devices.insert(device_mark(&item.device), shopper.clone());
        if item.quantity != 1 {
            self.wants.insert(shopper, item.quantity);
        }
        Joined::Waiting {
            position: self.queue.len() as u64,
            place,
            line: LineName::Queue,
            stamp: place,
        }
    }

    pub fn leave(&mut self, shopper: &str) -> Left {
        if self.admitting.contains_key(shopper) {
            return Left::Admitting;
        }
        let Some(place) = self.place_of(shopper) else {
            return Left::None;
        };
        self.queue.remove(&(place, shopper.to_owned()));
        self.wants.remove(shopper);
        Left::Ok
    }

    pub fn stands_where(&self, shopper: &str) -> Stands {
        let quantity = self.wanted(shopper);
        if self.admitting.contains_key(shopper) {
            return Stands::Admitting { quantity };
        }
        match self.queue.iter().position(|(_, who)| who == shopper) {
            None => Stands::Nowhere,
            Some(before) => Stands::Waiting {
                position: before as u64 + 1,
                quantity,
                place: self.place_of(shopper).unwrap_or(0),
                line: LineName::Queue,
            },
        }
    }

    pub fn admit(&mut self, most: usize) -> Called {
        if self.admitting.is_empty() {
            for _ in 0..most {
                if let Some((place, shopper)) = self.queue.pop_first() {
                    self.admitting.insert(shopper, place);
                }
            }
        }
        let mut called: Vec<(u64, &String)> =
            self.admitting.iter().map(|(who, place)| (*place, who)).collect();
        called.sort();
        let called = called
            .into_iter()
            .map(|(_, who)| (who.parse().expect("a shopper"), self.wanted(who)))
            .collect();
        Called {
            last_stamp: self.last_place,
            waiting: self.queue.len() as u64,
            called,
            parked: Vec::new(),
        }
    }

    pub fn served(&self) -> Served {
        Served {
            queue: self.admitted,
            priority: 0,
        }
    }

    pub fn settle(&mut self, shopper: &str, verdict: Verdict) {
        let Some(place) = self.admitting.remove(shopper) else {
            return;
        };
        match verdict {
            Verdict::Back => {
                self.queue.insert((place, shopper.to_owned()));
            }
            Verdict::Served | Verdict::Removed => {
                self.wants.remove(shopper);
                self.admitted += 1;
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

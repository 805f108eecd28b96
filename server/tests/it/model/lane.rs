//! What a lane is: its supply, one record per shopper, and the orders that it knows. Everything else follows from these,
//! the counters too, so that a unit cannot be in two places here.

use super::line::stage;
use flashsale_engine::limits::CHECKOUT_LEASE;
use flashsale_engine::{
    sale::{LaneOrder, LaneSnapshot, MoveId, Sale, SupplyNews, ms, phase_word},
    stock::{
        CalledBy, CheckoutBegun, Claimed, Counters, EXTENDED, Extended, Finish, How, Overdue, Person, Record,
        RecordState, Released, Repeat, Reserve, Reserved, What,
        rebuild::{KeptRecord, LaneLife, Settled},
    },
};
use flashsale_protocol::{DeviceId, OrderId, OrderStatus, Phase, ShopperId};
use std::collections::{BTreeMap, BTreeSet};

/// Why a lane takes no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Missing,
    Fenced,
    Lost,
}

/// An order whose units this lane counts as sold.
#[derive(Debug, Clone, PartialEq)]
pub struct Sold {
    pub shopper: String,
    pub device: String,
    pub quantity: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Settings {
    pub phase: &'static str,
    pub opens_at: u64,
    pub closes_at: u64,
    pub paused: bool,
    pub shopper_limit: u32,
    pub device_limit: u32,
    pub hold_ms: u64,
    pub claim_ms: u64,
    /// None: not known since the lane was locked.
    pub version: Option<i64>,
}

impl Settings {
    fn of(sale: &Sale) -> Self {
        let over = matches!(sale.status, Phase::Ended | Phase::Cancelled);
        Self {
            phase: phase_word(sale.status),
            opens_at: ms(sale.start_time),
            closes_at: if over { 0 } else { ms(sale.end_time) },
            paused: sale.status == Phase::Paused,
            shopper_limit: sale.per_shopper_limit,
            device_limit: sale.per_device_limit,
            hold_ms: sale.hold_ms,
            claim_ms: sale.claim_ms,
            version: Some(sale.settings_version),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lane {
    /// None: missing, or locked for its rebuild.
    pub epoch: Option<u32>,
    pub rebuilding: Option<u32>,
    /// Opened, or locked, in another life of Redis.
    pub other_life: bool,
    pub supply: u32,
    pub supply_version: u64,
    /// Units set aside, by move.
    pub leaving: BTreeMap<String, u32>,
    pub settings: Settings,
    pub records: BTreeMap<String, KeptRecord>,
    pub sold: BTreeMap<String, Sold>,
    pub returned: BTreeSet<String>,
    /// Whom a draw has called in this life.
    pub drawn: BTreeSet<String>,
    /// Cancelled orders whose units were taken again, with the epoch of that.
    pub revived: BTreeSet<(String, u32)>,
    pub gate_open: bool,
    pub gate_place: u64,
    pub reservations: u64,
    pub expired: u64,
}

pub fn running(record: &KeptRecord) -> bool {
    matches!(
        record.state,
        RecordState::Claim | RecordState::Held | RecordState::Ordering
    )
}

/// The claim or hold, as it is now, for whoever has extended it.
pub fn as_extended(record: &KeptRecord) -> Extended {
    Extended::Ok {
        state: record.state,
        quantity: record.quantity,
        until: record.until,
        command: record.command.parse().ok(),
    }
}

/// The hold is as it was before its checkout.
fn undo(record: &mut KeptRecord) {
    record.state = RecordState::Held;
    record.order = "-".into();
    record.until = record.held_until;
}

impl Lane {
    // ------------------------------------------------------------------------------------------------- what follows

    fn units(&self, state: RecordState) -> u32 {
        let records = self.records.values().filter(|record| record.state == state);
        records.map(|record| record.quantity).sum()
    }

    /// Units that are not sold, and may be for sale again.
    fn in_carts(&self) -> u32 {
        self.units_leaving()
            + self.units(RecordState::Claim)
            + self.units(RecordState::Held)
            + self.units(RecordState::Ordering)
    }

    fn units_leaving(&self) -> u32 {
        self.leaving.values().sum()
    }

    fn units_sold(&self) -> u32 {
        self.sold.values().map(|order| order.quantity).sum()
    }

    /// Below 0 it has oversold.
    pub fn balance(&self) -> i64 {
        i64::from(self.supply) - i64::from(self.in_carts()) - i64::from(self.units_sold())
    }

    pub fn available(&self) -> u32 {
        self.balance().max(0) as u32
    }

    pub fn counters(&self) -> Counters {
        Counters {
            supply: self.supply.into(),
            available: self.available().into(),
            claimed: self.units(RecordState::Claim).into(),
            held: self.units(RecordState::Held).into(),
            ordering: self.units(RecordState::Ordering).into(),
            sold: self.units_sold().into(),
            reservations: self.reservations,
            expired: self.expired,
            leaving: self.units_leaving().into(),
            supply_version: self.supply_version,
        }
    }

    pub fn deadlines(&self) -> BTreeMap<String, u64> {
        let running = self.records.iter().filter(|(_, record)| running(record));
        running
            .map(|(shopper, record)| (shopper.clone(), record.until))
            .collect()
    }

    pub fn bought(&self) -> BTreeMap<String, u32> {
        let mut bought = BTreeMap::new();
        for order in self.sold.values() {
            *bought.entry(order.shopper.clone()).or_default() += order.quantity;
        }
        bought
    }

    /// Units in carts and in orders, by device.
    pub fn devices(&self) -> BTreeMap<String, u32> {
        let mut devices = BTreeMap::new();
        for order in self.sold.values() {
            *devices.entry(order.device.clone()).or_default() += order.quantity;
        }
        for record in self.records.values() {
            if matches!(record.state, RecordState::Held | RecordState::Ordering) {
                *devices.entry(record.device.clone()).or_default() += record.quantity;
            }
        }
        devices
    }

    pub fn refuses(&self, epoch: u32) -> Option<Refusal> {
        match self.epoch {
            None => Some(Refusal::Missing),
            Some(own) if own != epoch => Some(Refusal::Fenced),
            Some(_) if self.other_life => Some(Refusal::Lost),
            Some(_) => None,
        }
    }

    /// Units in the shopper's cart. A claim is none yet: its reserve looks at the limit again.
    pub fn in_cart(&self, shopper: &str) -> u32 {
        let record = self.records.get(shopper);
        let held = record.filter(|record| matches!(record.state, RecordState::Held | RecordState::Ordering));
        held.map_or(0, |record| record.quantity)
    }

    fn device_left(&self, device: &str) -> u32 {
        let used = self.devices().get(device).copied().unwrap_or(0);
        self.settings.device_limit.saturating_sub(used)
    }

    fn shopper_left(&self, shopper: &str) -> u32 {
        let bought = self.bought().get(shopper).copied().unwrap_or(0);
        self.settings.shopper_limit.saturating_sub(bought)
    }

    // ------------------------------------------------------------------------------------------------------ shoppers

    pub fn reserve(&mut self, now: u64, item: &Reserve) -> Reserved {
        let shopper = item.shopper.as_str();
        let partial = item.how == How::Partial;
        let asked = format!("{}{}", item.quantity, if partial { "p" } else { "" });
        let command = item.command.to_string();
        let record = self.records.get(shopper);
        let same = |record: &KeptRecord| Reserved::Ok {
            quantity: record.quantity,
            until: record.until,
            state: record.state,
        };
        match record {
            Some(record) if record.command == command && record.asked == asked => return same(record),
            Some(record) if record.command == command => return Reserved::CommandReused,
            Some(record) if record.state == RecordState::Ordering => return Reserved::CheckoutRunning,
            Some(record) if record.state == RecordState::Held && record.until <= now => {
                return Reserved::Short {
                    available: self.available(),
                    in_carts: 1,
                };
            }
            Some(record) if record.state == RecordState::Held && record.asked == asked => {
                return same(record);
            }
            Some(record) if record.state == RecordState::Held => {
                return Reserved::AlreadyHeld {
                    quantity: record.quantity,
                };
            }
            _ => {}
        }
        if now < self.settings.opens_at {
            return Reserved::NotOpen {
                opens_at: self.settings.opens_at,
            };
        }
        if now >= self.settings.closes_at {
            return Reserved::Ended;
        }
        if self.settings.paused {
            return Reserved::Paused;
        }
        let claim = record.filter(|record| record.state == RecordState::Claim && record.until > now);
        let (available, in_carts) = (self.available(), self.in_carts());
        if claim.is_none() && item.how != How::Regain && !self.gate_open {
            return if available + in_carts == 0 {
                Reserved::Short { available, in_carts }
            } else {
                Reserved::JoinFirst
            };
        }
        let free = claim.map_or(available, |claim| claim.quantity);
        let (left, device_left) = (self.shopper_left(shopper), self.device_left(item.device.as_str()));
        let quantity = if partial {
            item.quantity.min(left).min(device_left).min(free)
        } else {
            item.quantity
        };
        if left == 0 || quantity > left {
            return Reserved::Limit { left };
        }
        if device_left == 0 || quantity > device_left {
            return Reserved::DeviceLimit { left: device_left };
        }
        if free == 0 || quantity > free {
            return Reserved::Short {
                available: free,
                in_carts,
            };
        }
        let until = now + self.settings.hold_ms;
        self.records.insert(
            shopper.to_owned(),
            KeptRecord {
                shopper: item.shopper.clone(),
                state: RecordState::Held,
                quantity,
                until,
                bought: 0,
                order: "-".into(),
                command,
                device: item.device.to_string(),
                asked,
                held_until: until,
            },
        );
        self.reservations += 1;
        Reserved::Ok {
            quantity,
            until,
            state: RecordState::Held,
        }
    }

    pub fn release(&mut self, shopper: &ShopperId, what: What) -> Released {
        let Some(record) = self.records.get_mut(shopper.as_str()) else {
            return Released::None;
        };
        let (from, to) = match what {
            What::Held => (RecordState::Held, RecordState::Released),
            What::Claim | What::Nothing => (RecordState::Claim, RecordState::Left),
        };
        let quantity = record.quantity;
        let done = match record.state {
            state if state == from => Repeat::First,
            state if state == to => Repeat::Again,
            state => return Released::Is(state),
        };
        record.state = to;
        Released::Ok { quantity, done }
    }

    pub fn extend(&mut self, now: u64, shopper: &ShopperId, others_wait: bool) -> Extended {
        let settings = self.settings;
        let Some(record) = self.records.get_mut(shopper.as_str()) else {
            return Extended::Is(RecordState::None);
        };
        let (length_ms, overdue) = match record.state {
            RecordState::Claim => (settings.claim_ms, RecordState::Lapsed),
            RecordState::Held => (settings.hold_ms, RecordState::Expired),
            other => return Extended::Is(other),
        };
        if record.until <= now {
            return Extended::Is(overdue);
        }
        if record.order == EXTENDED {
            return Extended::Before;
        }
        if others_wait {
            return Extended::OthersWait;
        }
        if now >= settings.closes_at {
            return Extended::Ended;
        }
        if settings.paused {
            return Extended::Paused;
        }
        record.until += length_ms;
        record.order = EXTENDED.into();
        if record.state == RecordState::Held {
            record.held_until = record.until;
        }
        as_extended(record)
    }

    pub fn begin_checkout(&mut self, now: u64, shopper: &ShopperId, order: OrderId) -> CheckoutBegun {
        let Some(record) = self.records.get_mut(shopper.as_str()) else {
            return CheckoutBegun::None;
        };
        let mine = record.order == order.to_string();
        let (quantity, hold) = (record.quantity, record.command.clone());
        let device = || record.device.parse().expect("a device");
        match record.state {
            RecordState::Ordered if mine => CheckoutBegun::Ordered {
                quantity,
                device: device(),
                hold,
            },
            RecordState::Ordering if mine => CheckoutBegun::Ok {
                quantity,
                device: device(),
                hold,
            },
            RecordState::Ordering => CheckoutBegun::CheckoutRunning,
            RecordState::Held if record.until <= now => CheckoutBegun::Is(RecordState::Expired),
            RecordState::Held => {
                let device = device();
                record.state = RecordState::Ordering;
                record.order = order.to_string();
                record.until = now + CHECKOUT_LEASE.as_millis() as u64;
                CheckoutBegun::Ok {
                    quantity,
                    device,
                    hold,
                }
            }
            other => CheckoutBegun::Is(other),
        }
    }

    pub fn finish_checkout(&mut self, shopper: &ShopperId, order: OrderId, outcome: Finish) -> bool {
        let order = order.to_string();
        let record = self.records.get_mut(shopper.as_str());
        let Some(record) = record.filter(|record| record.order == order) else {
            return false;
        };
        if record.state != RecordState::Ordering {
            return true;
        }
        match outcome {
            Finish::Committed { hold } if record.command == hold => {
                record.state = RecordState::Ordered;
                let sold = Sold {
                    shopper: shopper.to_string(),
                    device: record.device.clone(),
                    quantity: record.quantity,
                };
                self.sold.insert(order, sold);
            }
            Finish::Refused => record.state = RecordState::Released,
            // Or the order was made from another hold.
            Finish::Undone | Finish::Committed { .. } => undo(record),
        }
        true
    }

    pub fn person(&self, shopper: &ShopperId) -> Person {
        let record = self.records.get(shopper.as_str()).map(|record| Record {
            state: record.state,
            quantity: record.quantity,
            until: record.until,
            command: record.command.parse().ok(),
            order: record.order.parse().ok(),
            extended: record.order == EXTENDED,
        });
        Person {
            bought: self.bought().get(shopper.as_str()).copied().unwrap_or(0),
            limit: self.settings.shopper_limit,
            record,
        }
    }

    // ------------------------------------------------------------------------------------------------------- workers

    pub fn claim(&mut self, now: u64, by: CalledBy, shopper: &ShopperId, wanted: u32) -> Claimed {
        match self.records.get(shopper.as_str()) {
            Some(record) if record.state == RecordState::Ordering => return Claimed::HasHold,
            Some(record) if running(record) && record.until <= now => return Claimed::Short,
            Some(record) if record.state == RecordState::Claim => {
                return Claimed::Ok {
                    quantity: record.quantity,
                    until: record.until,
                };
            }
            Some(record) if record.state == RecordState::Held => return Claimed::HasHold,
            _ => {}
        }
        if by == CalledBy::Draw && self.drawn.contains(shopper.as_str()) {
            return Claimed::HadTurn;
        }
        if self.settings.paused || now < self.settings.opens_at || now >= self.settings.closes_at {
            return Claimed::Shut;
        }
        let left = self.shopper_left(shopper.as_str());
        if left == 0 {
            return Claimed::Limit;
        }
        let quantity = wanted.min(left).min(self.available());
        if quantity == 0 {
            return Claimed::Short;
        }
        if by == CalledBy::Draw {
            self.drawn.insert(shopper.to_string());
        }
        let until = now + self.settings.claim_ms;
        self.records.insert(
            shopper.to_string(),
            KeptRecord {
                shopper: shopper.clone(),
                state: RecordState::Claim,
                quantity,
                until,
                bought: 0,
                order: "-".into(),
                command: "-".into(),
                device: "-".into(),
                asked: "-".into(),
                held_until: 0,
            },
        );
        Claimed::Ok { quantity, until }
    }

    /// In the order of their names.
    pub fn expire(&mut self, now: u64) -> Vec<Overdue> {
        let mut ended = Vec::new();
        for (shopper, until) in self.deadlines() {
            if until > now {
                continue;
            }
            let Some(record) = self.records.get_mut(&shopper) else {
                continue;
            };
            let (shopper, quantity) = (record.shopper.clone(), record.quantity);
            ended.push(match record.state {
                RecordState::Ordering => {
                    record.until = now + CHECKOUT_LEASE.as_millis() as u64;
                    Overdue::Checkout {
                        shopper,
                        quantity,
                        device: record.device.parse().expect("a device"),
                        order: record.order.parse().expect("an order"),
                    }
                }
                RecordState::Claim => {
                    record.state = RecordState::Lapsed;
                    Overdue::Lapsed { shopper, quantity }
                }
                _ => {
                    record.state = RecordState::Expired;
                    self.expired += 1;
                    Overdue::Expired { shopper, quantity }
                }
            });
        }
        ended
    }

    pub fn return_units(&mut self, order: &LaneOrder) {
        let id = order.order.to_string();
        let record = self.records.get_mut(order.shopper.as_str());
        let mut record = record.filter(|record| record.order == id);
        if let Some(other) = record
            .take_if(|record| record.state == RecordState::Ordering && record.command != order.hold_command)
        {
            undo(other);
        }
        if !self.returned.insert(id.clone()) {
            return;
        }
        self.sold.remove(&id);
        if let Some(record) = record {
            record.state = RecordState::Cancelled;
        }
    }

    /// Whether its units are the order's now.
    pub fn take_again(&mut self, order: &LaneOrder) -> bool {
        let id = order.order.to_string();
        let note = (id.clone(), self.epoch.unwrap_or(0));
        if self.revived.contains(&note) {
            return true;
        }
        let (shopper, device) = (order.shopper.as_str(), order.device.as_str());
        let left = self.shopper_left(shopper).saturating_sub(self.in_cart(shopper));
        if order.quantity > self.available().min(left).min(self.device_left(device)) {
            return false;
        }
        self.returned.remove(&id);
        self.revived.insert(note);
        self.sold.insert(id, Sold::of(order));
        true
    }

    pub fn give_back(&mut self, order: &LaneOrder) {
        let id = order.order.to_string();
        if self.revived.remove(&(id.clone(), self.epoch.unwrap_or(0))) {
            self.sold.remove(&id);
            self.returned.insert(id);
        }
    }

    pub fn take_supply(&mut self, id: MoveId, units: u32) -> u32 {
        let free = self.available();
        let aside = self.leaving.get(&id.to_string()).copied().unwrap_or(0);
        let now = units.clamp(aside, aside + free);
        if now > 0 {
            self.leaving.insert(id.to_string(), now);
        }
        now
    }

    pub fn untake_supply(&mut self, id: MoveId) -> u32 {
        self.leaving.remove(&id.to_string()).unwrap_or(0)
    }

    pub fn apply_supply(&mut self, news: &SupplyNews) -> u64 {
        if (news.after..news.now.version).contains(&self.supply_version) {
            for id in &news.left {
                self.untake_supply(*id);
            }
            (self.supply, self.supply_version) = (news.now.supply, news.now.version);
        }
        self.supply_version
    }

    pub fn close_gate(&mut self, place: u64) {
        self.gate_open = false;
        self.gate_place = self.gate_place.max(place);
    }

    pub fn open_gate(&mut self, place: u64) {
        self.gate_open |= self.gate_place <= place;
    }

    // -------------------------------------------------------------------------------------------------------- its life

    pub fn probe(&self, epoch: u32) -> LaneLife {
        match (self.epoch, self.refuses(epoch)) {
            (_, None) => LaneLife::Open,
            (Some(own), Some(Refusal::Fenced)) => LaneLife::OtherEpoch(own),
            (_, Some(_)) => LaneLife::Lost,
        }
    }

    /// For a lane that lives under this epoch already, or is there for the first time.
    pub fn update(&mut self, sale: &Sale) {
        let new = Settings::of(sale);
        if stage(new.phase) >= stage(self.settings.phase) && new.version >= self.settings.version {
            self.settings = new;
        }
    }

    pub fn lock(&mut self, epoch: u32) -> Result<(), Refusal> {
        let newest = self.epoch.max(self.rebuilding).unwrap_or(0);
        if newest >= epoch && self.rebuilding != Some(epoch) {
            return Err(Refusal::Fenced);
        }
        (self.rebuilding, self.epoch, self.other_life) = (Some(epoch), None, false);
        self.settings.version = None;
        // What comes of them is Postgres' to say.
        self.returned.clear();
        self.drawn.clear();
        self.revived.clear();
        self.leaving.clear();
        Ok(())
    }

    pub fn refill(&mut self, epoch: u32, settled: &Settled, snapshot: &LaneSnapshot) -> Result<(), Refusal> {
        if self.rebuilding != Some(epoch) {
            return Err(Refusal::Fenced);
        }
        if self.other_life {
            return Err(Refusal::Lost);
        }
        for record in settled.records.iter().filter_map(as_in_model) {
            self.records.insert(record.shopper.to_string(), record);
        }
        self.returned.extend(snapshot.returned.iter().cloned());
        Ok(())
    }

    /// A rebuilt lane's first moment, or a new lane's.
    pub fn open(&mut self, sale: &Sale, snapshot: &LaneSnapshot) -> Result<(), Refusal> {
        let epoch = snapshot.info.epoch;
        match self.epoch.or(self.rebuilding) {
            None => return Err(Refusal::Missing),
            Some(own) if own != epoch => return Err(Refusal::Fenced),
            Some(_) if self.other_life => return Err(Refusal::Lost),
            Some(_) => {}
        }
        self.update(sale);
        if self.epoch.is_some() {
            return Ok(());
        }
        (self.epoch, self.rebuilding) = (Some(epoch), None);
        self.supply = snapshot.info.supply;
        self.supply_version = snapshot.info.supply_version;
        self.gate_open = false;
        self.sold = snapshot
            .orders
            .iter()
            .filter(|order| order.status != OrderStatus::Cancelled)
            .map(|order| (order.order.to_string(), Sold::of(order)))
            .collect();
        Ok(())
    }
}

/// Units in orders are counted by the orders here, and who has nothing else has no record.
pub fn as_in_model(record: &KeptRecord) -> Option<KeptRecord> {
    (record.state != RecordState::None).then(|| KeptRecord {
        bought: 0,
        ..record.clone()
    })
}

impl Sold {
    fn of(order: &LaneOrder) -> Self {
        Self {
            shopper: order.shopper.to_string(),
            device: DeviceId::to_string(&order.device),
            quantity: order.quantity,
        }
    }
}

//! Runs a case: each step against Redis and against the model, then all that must hold.

mod carts;
mod moves;

use super::{
    lane::{Lane, Refusal, as_in_model, running},
    line::Line,
    seen::Remembered,
    step::{JoinItem, Loss, NewSettings, ReserveItem, SHOPPERS, Step, Terms, Turn, in_batches},
    tally::Seen,
};
use chrono::{TimeDelta, Utc};
use flashsale_engine::{
    error::{Error, Result as Answered},
    sale::{FORMATS, LaneInfo, LaneOrder, LaneRef, LaneSnapshot, LineName, MoveId, Sale, TARGET_DELAY_MS},
    stock::{
        Called, CalledBy, CheckoutBegun, Claimed, Finish, Join, JoinHow, Joined, KEPT, RecordState, Reserve,
        Reserved, Revive, Stock, TurnVerdict, What,
        rebuild::{KeptRecord, LaneLife, Settled, settle},
    },
};
use flashsale_protocol::{CommandId, DeviceId, DrawWeight, OrderId, OrderStatus, Phase, SaleId, ShopperId};
use fred::{prelude::*, types::ClusterHash, types::CustomCommand};
use futures_util::future::join_all;
use proptest::prelude::{TestCaseError, prop_assert, prop_assert_eq};
use proptest::test_runner::TestCaseResult;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

const LANE: u16 = 0;
const LONG_MS: u64 = 3_600_000;
/// Deadlines that are nearer than this are waited for after the step, so that the next one finds them overdue.
const SHORT_MS: u64 = 100;
const LONG_AGO: u64 = 1_000_000_000_000;
const OTHER_RUN: &str = "0000feed";
const LANE_KEYS: [&str; 5] = ["stock", "holds", "deadlines", "device_units", "returned"];
const LOOKS: usize = 3;

type Checked<T = ()> = Result<T, TestCaseError>;
type Map = BTreeMap<String, String>;

/// What Postgres would have.
struct Books {
    epoch: u32,
    supply: u32,
    /// What each version of the supply was, and which move took units away with it.
    facts: Vec<(u32, Option<MoveId>)>,
    /// Moves, with what their mover has heard: the epoch and how many units stand aside. None: decided.
    moves: BTreeMap<u8, Option<(u32, u32)>>,
    /// Without units: abandoned, and never to be.
    orders: BTreeMap<String, LaneOrder>,
    /// Cancelled orders whose units are known to be back.
    returned: BTreeSet<String>,
}

impl Books {
    fn allocated(&self) -> u32 {
        let is_alive = |order: &&LaneOrder| order.status != OrderStatus::Cancelled;
        let alive = self.orders.values().filter(is_alive);
        alive.map(|order| order.quantity).sum()
    }

    fn info(&self) -> LaneInfo {
        LaneInfo {
            lane: LANE,
            epoch: self.epoch,
            supply: self.supply,
            supply_version: self.facts.len() as u64,
            allocated: self.allocated(),
            confirmed: 0,
        }
    }

    /// Cancelled units are free with the new life.
    fn snapshot(&mut self, epoch: u32) -> LaneSnapshot {
        let orders: Vec<LaneOrder> = self.orders.values().filter(|o| o.quantity > 0).cloned().collect();
        let returned: Vec<String> = self
            .to_return()
            .iter()
            .map(|order| order.order.to_string())
            .collect();
        self.returned.extend(returned.iter().cloned());
        LaneSnapshot {
            info: LaneInfo { epoch, ..self.info() },
            orders,
            returned,
        }
    }

    /// Cancelled orders whose units are not back as far as is known.
    fn to_return(&self) -> Vec<LaneOrder> {
        let waiting = self
            .cancelled()
            .filter(|order| !self.returned.contains(&order.order.to_string()));
        waiting.cloned().collect()
    }

    fn cancelled(&self) -> impl Iterator<Item = &LaneOrder> {
        let orders = self.orders.values();
        orders.filter(|order| order.status == OrderStatus::Cancelled && order.quantity > 0)
    }
}

/// A checkout that some gateway knows to have begun.
#[derive(Clone)]
struct Beginning {
    order: LaneOrder,
    epoch: u32,
}

/// A rebuild that has come so far.
struct Rebuild {
    epoch: u32,
    locked: Option<Vec<KeptRecord>>,
    refilled: Option<(Settled, LaneSnapshot)>,
}

#[derive(Clone)]
struct Saved {
    lane: Lane,
    line: Line,
    remembered: Remembered,
    promised: BTreeSet<String>,
}

pub struct Run<'a> {
    stock: &'a Stock,
    sale: Sale,
    books: Books,
    lane: Lane,
    line: Line,
    remembered: Remembered,
    saved: Option<Saved>,
    begun: BTreeMap<String, Beginning>,
    stopped: Vec<Rebuild>,
    /// Epoch and last place at looks that found the line empty.
    looks: Vec<(u32, u64)>,
    /// Shoppers whose place has closed the gate.
    promised: BTreeSet<String>,
    lost_places: BTreeMap<String, (u64, LineName)>,
    shuffles: bool,
    greatest_place: u64,
    /// Device → its shopper, with several lanes.
    bound: BTreeMap<String, String>,
    seen: Seen,
}

fn shopper(n: u8) -> ShopperId {
    format!("s{n}").parse().expect("an id")
}

fn device(n: u8) -> DeviceId {
    format!("d{n}").parse().expect("an id")
}

fn id(shopper: u8, n: u8) -> u128 {
    u128::from(shopper) * 100 + u128::from(n)
}

fn command_id(shopper: u8, n: u8) -> CommandId {
    CommandId::from_parts(1, id(shopper, n))
}

fn order_id(shopper: u8, n: u8) -> OrderId {
    OrderId::from_parts(2, id(shopper, n))
}

fn order_number(order: OrderId) -> u8 {
    (order.0.random() % 100) as u8
}

fn pick<T>(from: &[T], n: u8) -> Option<&T> {
    from.get(usize::from(n) % from.len().max(1))
}

/// Redis' own failure is the test's.
fn sound<T>(result: Answered<T>) -> Checked<T> {
    result.map_err(|error| TestCaseError::fail(format!("Redis: {error}")))
}

fn raw<T>(result: Result<T, fred::error::Error>) -> Checked<T> {
    sound(result.map_err(Error::from))
}

/// Refused for the reason that the model gives (then there is nothing more to say), or not at all.
fn told<T: fmt::Debug>(result: Answered<T>, refusal: Option<Refusal>) -> Checked<Option<T>> {
    let as_said = matches!(
        (&result, refusal),
        (Ok(_), None)
            | (Err(Error::LaneMissing), Some(Refusal::Missing))
            | (Err(Error::LaneFenced(_)), Some(Refusal::Fenced))
            | (Err(Error::LaneLost), Some(Refusal::Lost))
    );
    prop_assert!(as_said, "refusal: {refusal:?}, answer: {result:?}");
    Ok(result.ok())
}

fn all_told<T: fmt::Debug>(results: Vec<Answered<T>>, refusal: Option<Refusal>) -> Checked<Option<Vec<T>>> {
    let mut answers = Vec::new();
    for result in results {
        match told(result, refusal)? {
            Some(answer) => answers.push(answer),
            None => return Ok(None),
        }
    }
    Ok(Some(answers))
}

impl<'a> Run<'a> {
    pub async fn start(stock: &'a Stock, terms: &Terms) -> Checked<Run<'a>> {
        let now = Utc::now();
        let hours = TimeDelta::hours;
        let books = Books {
            epoch: 1,
            supply: terms.supply,
            facts: Vec::new(),
            moves: BTreeMap::new(),
            orders: BTreeMap::new(),
            returned: BTreeSet::new(),
        };
        let sale = Sale {
            id: SaleId::from_parts(1, rand::random()),
            merchant: "m".into(),
            product_id: "p".into(),
            product_name: "Thing".into(),
            description: String::new(),
            currency: "EUR".into(),
            original_price: 2,
            sale_price: 1,
            total_stock: terms.supply,
            room_opens_at: now - hours(2),
            start_time: now - hours(1),
            end_time: now + hours(1),
            per_shopper_limit: terms.shopper_limit,
            per_device_limit: terms.device_limit,
            hold_ms: if terms.short_holds { 1 } else { LONG_MS },
            claim_ms: if terms.short_claims { 1 } else { LONG_MS },
            payment_ms: LONG_MS,
            inflow: 10,
            allocation: flashsale_protocol::Allocation::Queue,
            opening_seed: None,
            draw_weight: DrawWeight::Equal,
            inflow_cut_at: None,
            target_delay_ms: TARGET_DELAY_MS,
            priority_share: 50,
            absence_ms: 3_600_000,
            cancel_limit: 1_000_000,
            extend_once: true,
            status: Phase::Live,
            created_at: now,
            settings_version: 1,
            format: FORMATS,
            picture: None,
            terms: None,
            is_suspended: false,
            lanes: (0..terms.lanes)
                .map(|lane| LaneInfo { lane, ..books.info() })
                .collect(),
        };
        let mut run = Self {
            stock,
            sale,
            books,
            lane: Lane::default(),
            line: Line::default(),
            remembered: Remembered::default(),
            saved: None,
            begun: BTreeMap::new(),
            stopped: Vec::new(),
            looks: vec![(1, 0)],
            promised: BTreeSet::new(),
            lost_places: BTreeMap::new(),
            shuffles: terms.shuffles,
            greatest_place: 0,
            bound: BTreeMap::new(),
            seen: Seen::default(),
        };
        run.open_sale().await?;
        sound(stock.new_lane(&run.sale, run.books.info()).await)?;
        prop_assert_eq!(run.lane.lock(run.books.epoch), Ok(()));
        let opened = run.lane.open(&run.sale, &run.books.snapshot(1));
        prop_assert_eq!(opened, Ok(()));
        run.lane.gate_open = run.sale.lanes.len() == 1;
        if terms.gate_open {
            run.open_gate(run.at(false), 0).await?;
        }
        run.check().await?;
        Ok(run)
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// All turns; at last everything ends, and every unit is for sale.
    pub async fn all(&mut self, turns: &[Turn]) -> TestCaseResult {
        for (i, turn) in turns.iter().enumerate() {
            let turned = self.turn(turn).await;
            turned.map_err(|error| TestCaseError::fail(format!("step {}, {turn:?}: {error}", i + 1)))?;
        }
        self.finish_all()
            .await
            .map_err(|error| TestCaseError::fail(format!("at the end: {error}")))
    }

    pub async fn clean_up(&self) {
        let _: Result<(), _> = self.stock.client().unlink(self.keys()).await;
        self.stock.retain(|_| false);
    }

    async fn turn(&mut self, turn: &Turn) -> Checked {
        self.seen.steps += 1;
        let at = self.at(turn.old_epoch);
        let step = self.resolve(&turn.step);
        let waiting = self.books.to_return();
        let mut before = None;
        for _ in 0..=turn.repeats {
            self.seen.calls += 1;
            let complete = self.step(&step, at, &waiting).await?;
            self.check().await?;
            // A call that has done all it was asked for does nothing when it is repeated.
            let counters = self.lane.counters();
            if let Some(before) = before {
                prop_assert_eq!(counters, before, "the second of two calls has had an effect");
            }
            before = complete.then_some(counters);
            self.wait().await?;
        }
        Ok(())
    }

    fn at(&self, old_epoch: bool) -> LaneRef {
        LaneRef {
            sale: self.sale.id,
            lane: LANE,
            epoch: self.books.epoch - u32::from(old_epoch),
        }
    }

    fn keys(&self) -> Vec<String> {
        let (keys, at) = (self.stock.keys(), self.at(false));
        let lane = LANE_KEYS.iter().map(|name| keys.lane(name, at));
        let line = super::line::KEYS.iter().map(|name| keys.sale(name, at.sale));
        let seen = [keys.lane("seen", at), keys.sale("seen", at.sale)];
        lane.chain(line).chain(seen).collect()
    }

    /// Until Redis' clock has passed every short deadline: whatever ends soon is overdue in the next step.
    async fn wait(&self) -> Checked {
        let now = sound(self.stock.now().await)?;
        let deadlines = self.lane.deadlines();
        let short = deadlines.values().filter(|until| **until < now + SHORT_MS).max();
        let until = short.copied().unwrap_or(0);
        while sound(self.stock.now().await)? < until {}
        Ok(())
    }

    // ---------------------------------------------------------------------------------------------------------- steps

    /// The step with those whom its numbers aim at: a repetition must mean the same.
    fn resolve(&self, step: &Step) -> Step {
        let aim = |n: u8, fits: &dyn Fn(&str) -> bool| {
            let fitting: Vec<u8> = (0..SHOPPERS).filter(|n| fits(shopper(*n).as_str())).collect();
            let aimed = pick(&fitting, n).filter(|_| n >= SHOPPERS);
            aimed.copied().unwrap_or(n % SHOPPERS)
        };
        let record = |who: &str| self.lane.records.get(who);
        let with = |n, state| aim(n, &|who| record(who).is_some_and(|record| record.state == state));
        match step {
            Step::Reserve(items) => {
                let items = items.iter().map(|item| ReserveItem {
                    shopper: with(item.shopper, RecordState::Claim),
                    ..item.clone()
                });
                Step::Reserve(items.collect())
            }
            Step::Release(items) => {
                let state = |what| {
                    if what == What::Held {
                        RecordState::Held
                    } else {
                        RecordState::Claim
                    }
                };
                Step::Release(
                    items
                        .iter()
                        .map(|(n, what, command)| (with(*n, state(*what)), *what, *command))
                        .collect(),
                )
            }
            Step::Extend(items) => {
                let aimed = |n| aim(n, &|who| record(who).is_some_and(running));
                Step::Extend(
                    items
                        .iter()
                        .map(|(n, others, command)| (aimed(*n), *others, *command))
                        .collect(),
                )
            }
            Step::Begin(items) => Step::Begin(
                items
                    .iter()
                    .map(|(n, order)| (with(*n, RecordState::Held), *order))
                    .collect(),
            ),
            Step::Finish(items) => {
                let items = items.iter().map(|(aimed, order, undone)| {
                    let n = with(*aimed, RecordState::Ordering);
                    let own = record(shopper(n).as_str()).filter(|_| *aimed >= SHOPPERS);
                    let own = own.and_then(|record| record.order.parse().ok()).map(order_number);
                    (n, own.unwrap_or(*order), *undone)
                });
                Step::Finish(items.collect())
            }
            Step::Leave(n, command) => Step::Leave(aim(*n, &|who| self.line.stands(who)), *command),
            Step::Settle(items) => {
                let called = |n| aim(n, &|who| self.line.admitting.contains_key(who));
                Step::Settle(items.iter().map(|(n, verdict)| (called(*n), *verdict)).collect())
            }
            other => other.clone(),
        }
    }

    /// True: all that was asked for is done, and a repetition must change no counter.
    async fn step(&mut self, step: &Step, at: LaneRef, waiting: &[LaneOrder]) -> Checked<bool> {
        let refusal = self.lane.refuses(at.epoch);
        match step {
            Step::Reserve(items) => {
                let items: Vec<Reserve> = in_batches(items, |item| item.shopper)
                    .iter()
                    .map(|item| Reserve {
                        shopper: shopper(item.shopper),
                        quantity: item.quantity,
                        how: item.how,
                        command: command_id(item.shopper, item.command),
                        device: device(item.device),
                    })
                    .collect();
                let calls = items.iter().map(|item| self.stock.reserve(at, item.clone()));
                let answers = join_all(calls).await;
                let Some(answers) = all_told(answers, refusal)? else {
                    return Ok(true);
                };
                let mut complete = true;
                for (item, answer) in items.iter().zip(answers) {
                    let expected = self.remembered.reserve(&mut self.lane, answer.now, item);
                    prop_assert_eq!(&answer.value, &expected, "{:?}", item);
                    self.seen.answer("reserve", &answer.value);
                    complete &= matches!(answer.value, Reserved::Ok { .. });
                }
                return Ok(complete);
            }
            Step::Release(items) => self.release(at, items).await?,
            Step::Extend(items) => self.extend(at, items).await?,
            Step::Begin(items) => {
                let items = in_batches(items, |(n, _)| *n);
                let calls = items
                    .iter()
                    .map(|(n, order)| self.stock.begin_checkout(at, shopper(*n), order_id(*n, *order)));
                for ((n, order), answer) in items
                    .iter()
                    .zip(all_told(join_all(calls).await, refusal)?.unwrap_or_default())
                {
                    let (who, order) = (shopper(*n), order_id(*n, *order));
                    let expected = self.lane.begin_checkout(answer.now, &who, order);
                    prop_assert_eq!(&answer.value, &expected, "{} {}", who, order);
                    self.seen.answer("begin_checkout", &answer.value);
                    if let CheckoutBegun::Ok {
                        quantity,
                        device,
                        hold,
                    } = answer.value
                    {
                        let order = LaneOrder {
                            order,
                            shopper: who,
                            device,
                            quantity,
                            status: OrderStatus::Pending,
                            hold_command: hold,
                        };
                        let epoch = at.epoch;
                        self.begun
                            .insert(order.order.to_string(), Beginning { order, epoch });
                    }
                }
            }
            Step::Finish(items) => {
                let items: Vec<_> = in_batches(items, |(n, ..)| *n)
                    .iter()
                    .map(|(n, order, undone)| self.outcome(*n, order_id(*n, *order), *undone))
                    .collect();
                let calls = items.iter().map(|(who, order, outcome)| {
                    self.stock
                        .finish_checkout(at, who.clone(), *order, outcome.clone())
                });
                let answers = join_all(calls).await;
                for ((who, order, outcome), answer) in
                    items.iter().zip(all_told(answers, refusal)?.unwrap_or_default())
                {
                    let expected = self.lane.finish_checkout(who, *order, outcome.clone());
                    prop_assert_eq!(answer, expected, "{} {} {:?}", who, order, outcome);
                    self.seen.answer("finish_checkout", outcome);
                }
            }
            Step::Person(items) => {
                let items = in_batches(items, |n| *n);
                let calls = items.iter().map(|n| self.stock.person(at, shopper(*n)));
                for (n, answer) in items
                    .iter()
                    .zip(all_told(join_all(calls).await, refusal)?.unwrap_or_default())
                {
                    prop_assert_eq!(answer.value, self.lane.person(&shopper(*n)));
                    self.seen.answer("person", &"ok");
                }
            }
            Step::Join { items, close } => self.join(items, *close, at).await?,
            Step::Place(items) => {
                let items = in_batches(items, |n| *n);
                let calls = items.iter().map(|n| self.stock.place(self.sale.id, shopper(*n)));
                let answers = join_all(calls).await;
                let here: Vec<ShopperId> = items.iter().map(|n| shopper(*n)).collect();
                self.line
                    .welcome(&here.iter().map(ShopperId::as_str).collect::<Vec<_>>());
                for (n, answer) in items.iter().zip(answers) {
                    let answer = sound(answer)?.value;
                    prop_assert_eq!(answer.admitted, self.line.served());
                    prop_assert_eq!(answer.value, self.line.stands_where(shopper(*n).as_str()));
                    self.seen.answer("place", &answer.value);
                }
            }
            Step::Leave(n, command) => {
                let who = shopper(*n);
                let id = command_id(*n, *command);
                let left = sound(self.stock.leave(self.sale.id, who.clone(), Some(id)).await)?.value;
                let expected = self.remembered.leave(&mut self.line, id, who.as_str());
                prop_assert_eq!(left, expected);
                self.promised.retain(|who| self.line.stands(who));
                self.lost_places.remove(who.as_str());
                self.seen.answer("leave", &left);
            }
            Step::GoAway(items) => {
                let shoppers: Vec<ShopperId> = items.iter().map(|n| shopper(*n)).collect();
                sound(self.stock.mark_away(self.sale.id, &shoppers).await)?;
                for who in &shoppers {
                    self.line.go_away(who.as_str());
                }
                self.seen.answer("go_away", &"ok");
            }
            Step::ExpireAbsent => {
                let gone = sound(self.stock.expire_absent(self.sale.id, 0).await)?.value;
                let expected = self.line.expire_absent();
                prop_assert_eq!(gone.into_iter().collect::<BTreeSet<_>>(), expected.clone());
                for who in &expected {
                    self.lost_places.remove(who.as_str());
                    self.seen.answer("expire_absent", &"ok");
                }
                self.promised.retain(|who| self.line.stands(who));
            }
            Step::Commit(n) => self.commit(*n)?,
            Step::Cancel(n) => {
                let mut pending: Vec<_> = self
                    .books
                    .orders
                    .values_mut()
                    .filter(|order| order.status == OrderStatus::Pending)
                    .collect();
                let among = pending.len().max(1);
                if let Some(order) = pending.get_mut(usize::from(*n) % among) {
                    order.status = OrderStatus::Cancelled;
                    self.books.returned.remove(&order.order.to_string());
                    self.seen.answer("cancel", &"Ok");
                }
                return Ok(false);
            }
            Step::Claim(items) => {
                let wanted: Vec<_> = items
                    .iter()
                    .map(|(n, quantity)| (shopper(*n), *quantity))
                    .collect();
                self.claim(at, CalledBy::Draw, &wanted).await?;
            }
            Step::Expire => self.expire(at).await?,
            Step::Return(items) => {
                let orders: Vec<LaneOrder> =
                    items.iter().filter_map(|n| pick(waiting, *n).cloned()).collect();
                self.return_units(at, &orders).await?;
            }
            Step::Revive(n, dies) => {
                self.revive(at, *n, *dies).await?;
                return Ok(false);
            }
            Step::Take(n, units) => self.take_supply(at, *n, *units).await?,
            Step::CommitMove(n) => {
                self.commit_move(*n);
                return Ok(false);
            }
            Step::MoreSupply(units) => {
                self.books.supply += units;
                self.books.facts.push((self.books.supply, None));
                return Ok(false);
            }
            Step::Follow(n) => {
                let versions: Vec<usize> = (1..=self.books.facts.len()).collect();
                if let Some(version) = pick(&versions, *n) {
                    self.follow(at, self.books.news(version - 1, *version)).await?;
                }
            }
            Step::CatchUp => self.catch_up(at).await?,
            Step::EndMove(n) => self.end_move(at, *n).await?,
            Step::Admit(most, share) => {
                self.admit(*most, *share).await?;
            }
            Step::Admission(most, share) => {
                let called = self.admit(*most, *share).await?;
                let served = if called.is_empty() {
                    Vec::new()
                } else {
                    self.claim(at, CalledBy::Line, &called).await?
                };
                let verdicts: Vec<_> = called
                    .into_iter()
                    .zip(served)
                    .map(|((who, _), served)| match served {
                        true => (who, TurnVerdict::Served),
                        false => (who, TurnVerdict::Back),
                    })
                    .collect();
                if !verdicts.is_empty() {
                    self.settle(&verdicts).await?;
                }
                return Ok(false);
            }
            Step::Settle(items) => {
                let verdicts: Vec<_> = items.iter().map(|(n, verdict)| (shopper(*n), *verdict)).collect();
                self.settle(&verdicts).await?;
            }
            Step::OpenGate(n) => {
                if let Some((epoch, place)) = pick(&self.looks, *n).copied()
                    // With several lanes everybody goes through the line.
                    && self.sale.lanes.len() == 1
                {
                    self.open_gate(LaneRef { epoch, ..at }, place).await?;
                }
            }
            Step::Lead { token, lease_ms } => self.lead(&token.to_string(), *lease_ms).await?,
            Step::Tick(token) => self.tick(&token.to_string()).await?,
            Step::Settings(settings) => self.change(settings).await?,
            Step::Pass { shopper, lease, hold } => self.pass(*shopper, *lease, *hold).await?,
            Step::Save => self.save().await?,
            Step::Lose(loss) => {
                self.lose(*loss).await?;
                return Ok(false);
            }
            Step::Rebuild(stages) => {
                self.rebuild(*stages).await?;
                return Ok(false);
            }
            Step::Resume(n) => {
                if !self.stopped.is_empty() {
                    let rebuild = self.stopped.remove(usize::from(*n) % self.stopped.len());
                    self.carry_on(rebuild, 3).await?;
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Postgres has the order: committed. It has not: it never will, or the command was no checkout.
    fn outcome(&mut self, n: u8, order: OrderId, undone: bool) -> (ShopperId, OrderId, Finish) {
        let (who, key) = (shopper(n), order.to_string());
        let outcome = match self.books.orders.get(&key) {
            Some(order) if order.quantity > 0 => Finish::Committed {
                hold: order.hold_command.clone(),
            },
            Some(_) => Finish::Refused,
            None if undone || !self.begun.contains_key(&key) => Finish::Undone,
            None => {
                let abandoned = LaneOrder {
                    order,
                    shopper: who.clone(),
                    device: device(0),
                    quantity: 0,
                    status: OrderStatus::Cancelled,
                    hold_command: "-".into(),
                };
                self.books.orders.insert(key.clone(), abandoned);
                Finish::Refused
            }
        };
        if !matches!(outcome, Finish::Committed { .. }) {
            self.begun.remove(&key);
        }
        (who, order, outcome)
    }

    /// As Postgres does it: once, in this epoch only, and never more than there is.
    fn commit(&mut self, n: u8) -> Checked {
        let begun: Vec<&Beginning> = self.begun.values().collect();
        let Some(beginning) = pick(&begun, n).copied().cloned() else {
            return Ok(());
        };
        let Beginning { order, epoch } = beginning;
        let key = order.order.to_string();
        self.begun.remove(&key);
        if epoch != self.books.epoch || self.books.orders.contains_key(&key) {
            self.seen.answer("commit", &"Refused");
            return Ok(());
        }
        self.seen.answer("commit", &"Ok");
        self.books.orders.insert(key, order);
        prop_assert!(
            self.books.allocated() <= self.books.supply,
            "Redis has let more into a checkout than Postgres has"
        );
        Ok(())
    }

    async fn admit(&mut self, most: usize, share: u32) -> Checked<Vec<(ShopperId, u32)>> {
        let answer = sound(self.stock.admit(self.sale.id, most, share).await)?;
        prop_assert_eq!(&answer, &self.line.admit(most, share));
        for who in &answer.parked {
            // Away at their turn: others may go first until they are back.
            self.promised.remove(who.as_str());
            self.seen.answer("park", &"ok");
        }
        let Called {
            last_stamp,
            waiting,
            called,
            ..
        } = answer;
        if waiting == 0 && called.is_empty() {
            self.looks.push((self.books.epoch, last_stamp));
            let old = self.looks.len().saturating_sub(LOOKS);
            self.looks.drain(..old);
        }
        self.seen.answer("admit", &called.len());
        Ok(called)
    }

    /// Whom that serves.
    async fn claim(&mut self, at: LaneRef, by: CalledBy, wanted: &[(ShopperId, u32)]) -> Checked<Vec<bool>> {
        let refusal = self.lane.refuses(at.epoch);
        let Some(answers) = told(self.stock.claim(at, by, wanted).await, refusal)? else {
            return Ok(Vec::new());
        };
        prop_assert_eq!(answers.value.len(), wanted.len());
        for ((who, quantity), answer) in wanted.iter().zip(&answers.value) {
            prop_assert_eq!(
                *answer,
                self.remembered
                    .claim(&mut self.lane, answers.now, by, who, *quantity),
                "{}",
                who
            );
            self.seen.answer("claim", &answer);
        }
        let served = |answer: &Claimed| !matches!(answer, Claimed::Short | Claimed::Shut);
        Ok(answers.value.iter().map(served).collect())
    }

    async fn settle(&mut self, verdicts: &[(ShopperId, TurnVerdict)]) -> Checked {
        let admitted = sound(self.stock.settle_admission(self.sale.id, verdicts).await)?;
        for (who, verdict) in verdicts {
            if self.line.admitting.contains_key(who.as_str()) {
                self.seen.answer("settle_admission", verdict);
            }
        }
        self.line.settle(verdicts);
        prop_assert_eq!(admitted, self.line.served());
        self.promised.retain(|who| self.line.stands(who));
        Ok(())
    }

    async fn expire(&mut self, at: LaneRef) -> Checked {
        let refusal = self.lane.refuses(at.epoch);
        if let Some(answer) = told(self.stock.expire(at).await, refusal)? {
            let (mut ended, more) = answer.value;
            // Those of one bucket come in no order.
            ended.sort_by_key(|overdue| overdue.shopper().to_string());
            prop_assert_eq!(&ended, &self.lane.expire(answer.now));
            prop_assert!(!more, "a few buckets are one call's");
            for overdue in &ended {
                self.seen.answer("expire", overdue);
            }
        }
        Ok(())
    }

    async fn return_units(&mut self, at: LaneRef, orders: &[LaneOrder]) -> Checked {
        if orders.is_empty() {
            return Ok(());
        }
        let refusal = self.lane.refuses(at.epoch);
        for order in orders {
            if told(self.stock.return_units(at, order.clone()).await, refusal)?.is_some() {
                let known = self.lane.returned.contains(&order.order.to_string());
                self.seen
                    .answer("return_units", &if known { "again" } else { "ok" });
                self.lane.return_units(order);
                self.books.returned.insert(order.order.to_string());
            }
        }
        Ok(())
    }

    /// Redis first, then Postgres, both under one epoch; what was taken in vain is given back.
    async fn revive(&mut self, at: LaneRef, n: u8, dies: bool) -> Checked {
        let back: Vec<LaneOrder> = self
            .books
            .cancelled()
            .filter(|order| self.books.returned.contains(&order.order.to_string()))
            .cloned()
            .collect();
        let Some(order) = pick(&back, n) else {
            return Ok(());
        };
        let units = (
            order.shopper.clone(),
            order.order,
            order.quantity,
            order.device.clone(),
        );
        let refusal = self.lane.refuses(at.epoch);
        let Some(taken) = told(self.stock.revive(at, Revive::Take, &units).await, refusal)? else {
            return Ok(());
        };
        prop_assert_eq!(taken, self.lane.take_again(order));
        self.seen.answer("revive", &taken);
        if !taken || dies {
            return Ok(());
        }
        if at.epoch == self.books.epoch {
            let order = self
                .books
                .orders
                .get_mut(&order.order.to_string())
                .expect("picked from them");
            order.status = OrderStatus::Confirmed;
            prop_assert!(
                self.books.allocated() <= self.books.supply,
                "revived beyond the supply"
            );
            return Ok(());
        }
        prop_assert!(sound(self.stock.revive(at, Revive::Give, &units).await)?);
        self.lane.give_back(order);
        Ok(())
    }

    async fn join(&mut self, items: &[JoinItem], close: bool, at: LaneRef) -> Checked {
        let items: Vec<(Option<CommandId>, Join)> = in_batches(items, |item| item.shopper)
            .iter()
            .map(|item| {
                let lost = self.lost_places.get(shopper(item.shopper).as_str());
                let line = if item.priority {
                    LineName::Priority
                } else {
                    LineName::Queue
                };
                let join = Join {
                    shopper: shopper(item.shopper),
                    device: device(item.device),
                    quantity: item.quantity,
                    old_place: lost.map(|(place, _)| *place),
                    // As everybody has one in a sale that opens so.
                    opening_place: self.shuffles.then(|| 1 + u64::from(item.shopper) * 7 % 5),
                    line: lost.map_or(line, |(_, line)| *line),
                    nonce: None,
                };
                // A place is given back by the gateway, not by a command of theirs.
                (
                    lost.is_none().then(|| command_id(item.shopper, item.command)),
                    join,
                )
            })
            .collect();
        let here: Vec<&str> = items.iter().map(|(_, item)| item.shopper.as_str()).collect();
        self.line.welcome(&here);
        // They move others of their batch, who were counted before.
        let moves_others = items
            .iter()
            .any(|(_, item)| item.old_place.is_some() || item.opening_place.is_some());
        let calls = items.iter().map(|(command, item)| {
            self.stock
                .join_as(self.sale.id, item.clone(), JoinHow::Line, *command)
        });
        let answers = join_all(calls).await;
        for ((command, item), answer) in items.iter().zip(answers) {
            let answer = sound(answer)?;
            let (now, answer) = (answer.now, answer.value);
            prop_assert_eq!(answer.admitted, self.line.served());
            let who = item.shopper.as_str();
            let told = match answer.value {
                Joined::Waiting { place, stamp, .. } => Some((place, stamp)),
                _ => None,
            };
            let stood = self.line.stands(who);
            let stamp = told.map(|(_, stamp)| stamp);
            let mut expected = self.remembered.join(&mut self.line, now, *command, item, stamp);
            self.seen.answer("join", &answer.value);
            if let (Joined::Waiting { position, .. }, Joined::Waiting { position: about, .. }) =
                (&mut expected, &answer.value)
                && moves_others
            {
                *position = *about;
            }
            let is_back = self.line.was_parked(who);
            if let (true, Joined::Waiting { stamp, .. }, Some((_, told))) = (is_back, &mut expected, told) {
                (*stamp, self.line.last_place) = (told, told);
            }
            prop_assert_eq!(&answer.value, &expected, "{:?}", item);
            let Some((place, stamp)) = told else { continue };
            if !stood || is_back {
                prop_assert!(
                    stamp > self.greatest_place,
                    "{} is given after {}",
                    stamp,
                    self.greatest_place
                );
                prop_assert!(
                    stamp / 1000 == now || stamp == self.greatest_place + 1,
                    "{stamp} is given at {now}"
                );
                self.greatest_place = stamp;
            }
            if self.sale.lanes.len() > 1 && !stood {
                let owner = self
                    .bound
                    .entry(item.device.to_string())
                    .or_insert_with(|| who.to_owned());
                prop_assert_eq!(owner, who, "a device has changed hands");
            }
            if close {
                let refusal = self.lane.refuses(at.epoch);
                let place = place.max(stamp);
                if self::told(self.stock.close_gate(at, place).await, refusal)?.is_some() {
                    self.lane.close_gate(place);
                    self.promised.insert(who.to_owned());
                }
            }
        }
        self.lost_places.retain(|who, _| !self.line.stands(who));
        Ok(())
    }

    async fn open_gate(&mut self, at: LaneRef, place: u64) -> Checked {
        let refusal = self.lane.refuses(at.epoch);
        if told(self.stock.open_gate(at, place).await, refusal)?.is_some() {
            self.lane.open_gate(place);
            self.seen
                .answer("set_gate", &if self.lane.gate_open { "open" } else { "line" });
        }
        Ok(())
    }

    async fn lead(&mut self, token: &str, lease_ms: u64) -> Checked {
        let lease = Duration::from_millis(lease_ms);
        let leads = sound(self.stock.lead(self.sale.id, token, lease).await)?;
        prop_assert_eq!(leads, self.line.lead(token, lease_ms));
        self.seen.answer("lead", &leads);
        if leads && lease_ms < LONG_MS {
            let key = self.stock.keys().sale("leader", self.sale.id);
            while raw(self.stock.client().exists::<u64, _>(&key).await)? > 0 {}
            self.line.leader = None;
        }
        Ok(())
    }

    async fn tick(&mut self, token: &str) -> Checked {
        let leads = self.line.leader.as_deref() == Some(token);
        match self.stock.number_tick(self.sale.id, token).await {
            Err(Error::NotLeader) => prop_assert!(!leads),
            answer => {
                let number = sound(answer)?;
                prop_assert!(leads);
                self.line.tick = number.now.max(self.line.tick + 1);
                let line = &self.line;
                let told = (number.seq, number.waiting, number.priority_waiting, number.parked);
                let lengths = [line.queue.len(), line.priority.len(), line.parked.len()].map(|n| n as u64);
                prop_assert_eq!(told, (line.tick, lengths[0], lengths[1], lengths[2]));
                prop_assert_eq!(number.admitted, line.served());
                self.seen.answer("number_tick", &"Ok");
            }
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- settings, and time

    async fn open_sale(&mut self) -> Checked {
        sound(self.stock.open_sale(&self.sale).await)?;
        self.line.open(&self.sale);
        Ok(())
    }

    /// As the reconciler brings a living lane up to date.
    async fn change(&mut self, new: &NewSettings) -> Checked {
        let now = Utc::now();
        let ms = |short| if short { 1 } else { LONG_MS };
        (self.sale.hold_ms, self.sale.claim_ms) = (ms(new.short_holds), ms(new.short_claims));
        self.sale.status = new.status;
        self.sale.start_time = now + TimeDelta::hours(new.starts);
        self.sale.end_time = now + TimeDelta::hours(new.ends);
        self.sale.room_opens_at = now + TimeDelta::hours(new.room_opens);
        let version = self.sale.settings_version;
        self.sale.settings_version = if new.are_old {
            (version - 1).max(1)
        } else {
            version + 2
        };
        self.open_sale().await?;
        if self.probe().await? == LaneLife::Open {
            sound(self.stock.open_lane(&self.sale, self.books.info(), 0, 0).await)?;
            self.lane.update(&self.sale);
        }
        Ok(())
    }

    async fn probe(&mut self) -> Checked<LaneLife> {
        let at = self.at(false);
        let life = sound(self.stock.probe_lane(at).await)?;
        prop_assert_eq!(life, self.lane.probe(at.epoch));
        self.seen.answer("probe_lane", &life);
        Ok(life)
    }

    /// Time passes for one shopper: of a checkout its lease, its hold, or both; of the rest the deadline.
    async fn pass(&mut self, n: u8, lease: bool, hold: bool) -> Checked {
        let who = shopper(n);
        let Some(record) = self.lane.records.get_mut(who.as_str()) else {
            return Ok(());
        };
        if self.lane.epoch.is_none() || !running(record) {
            return Ok(());
        }
        let ordering = record.state == RecordState::Ordering;
        if lease || !ordering {
            record.until = LONG_AGO;
        }
        if record.state == RecordState::Held || hold && ordering {
            record.held_until = LONG_AGO;
        }
        let until = record.until;
        let bought = self.lane.bought().get(who.as_str()).copied().unwrap_or(0);
        let text = KeptRecord {
            bought: bought.into(),
            ..self.lane.records[who.as_str()].clone()
        }
        .text();
        let (keys, at, client) = (self.stock.keys(), self.at(false), self.stock.client());
        raw(client
            .hset::<(), _, _>(keys.lane("holds", at), (who.as_str(), text))
            .await)?;
        let deadline = (until as f64, who.as_str());
        raw(client
            .zadd::<(), _, _>(keys.lane("deadlines", at), None, None, false, false, deadline)
            .await)
    }

    // ----------------------------------------------------------------------------------------------- loss and rebuild

    async fn copy(&self, from: &str, to: &str) -> Checked {
        for key in self.keys() {
            let copy = CustomCommand::new_static("COPY", ClusterHash::FirstKey, false);
            let args = vec![format!("{key}{from}"), format!("{key}{to}"), "REPLACE".into()];
            raw(self.stock.client().unlink::<(), _>(&args[1]).await)?;
            raw(self.stock.client().custom::<u64, _>(copy, args).await)?;
        }
        Ok(())
    }

    async fn save(&mut self) -> Checked {
        self.copy("", ":saved").await?;
        self.saved = Some(Saved {
            lane: self.lane.clone(),
            line: self.line.clone(),
            remembered: self.remembered.clone(),
            promised: self.promised.clone(),
        });
        Ok(())
    }

    async fn lose(&mut self, loss: Loss) -> Checked {
        let (at, client) = (self.at(false), self.stock.client().clone());
        let key = |name| self.stock.keys().lane(name, at);
        let runs = self.lane.refuses(at.epoch).is_none() && !self.lane.deadlines().is_empty();
        match loss {
            Loss::Restart => {}
            Loss::OlderFile => {
                let Some(saved) = self.saved.clone() else {
                    return Ok(());
                };
                self.copy(":saved", "").await?;
                self.lose_places(&saved.line);
                (self.lane, self.line, self.promised) = (saved.lane, saved.line, saved.promised);
                self.remembered = saved.remembered;
            }
            Loss::Everything => {
                raw(client.unlink::<(), _>(self.keys()).await)?;
                self.lose_places(&Line::default());
                (self.lane, self.line) = (Lane::default(), Line::default());
                self.remembered = Remembered::default();
                self.promised.clear();
            }
            Loss::Records | Loss::Deadlines if !runs => return Ok(()),
            Loss::Records => {
                raw(client.unlink::<(), _>(key("holds")).await)?;
                self.lane.records.clear();
            }
            Loss::Deadlines => raw(client.unlink::<(), _>(key("deadlines")).await)?,
        }
        self.seen.answer("lose", &loss);
        if matches!(loss, Loss::Records | Loss::Deadlines) {
            let life = sound(self.stock.probe_lane(at).await)?;
            prop_assert_eq!(life, LaneLife::Lost);
            return self.rebuild(3).await;
        }
        if self.lane.epoch.or(self.lane.rebuilding).is_some() {
            raw(client.hset::<(), _, _>(key("stock"), ("run", OTHER_RUN)).await)?;
            self.lane.other_life = true;
        }
        Ok(())
    }

    /// Who stands in the line now, and not in the one that is left, may ask for the old place.
    fn lose_places(&mut self, left: &Line) {
        let places = self.line.places().into_iter();
        self.lost_places
            .extend(places.map(|(who, place, line)| (who, (place, line))));
        self.lost_places.retain(|who, _| !left.stands(who));
        // In a line from before, devices are bound as they were then.
        self.bound.clear();
    }

    async fn rebuild(&mut self, stages: u8) -> Checked {
        self.open_sale().await?;
        let above = match self.stock.probe_lane(self.at(false)).await {
            Ok(LaneLife::OtherEpoch(epoch)) => epoch,
            other => sound(other).map(|_| 0)?,
        };
        self.books.epoch = self.books.epoch.max(above) + 1;
        let rebuild = Rebuild {
            epoch: self.books.epoch,
            locked: None,
            refilled: None,
        };
        self.carry_on(rebuild, stages).await
    }

    async fn carry_on(&mut self, mut rebuild: Rebuild, stages: u8) -> Checked {
        let epoch = rebuild.epoch;
        let at = LaneRef {
            epoch,
            ..self.at(false)
        };
        for _ in 0..stages {
            let told = match rebuild {
                Rebuild { locked: None, .. } => {
                    let expected = self.lane.lock(epoch);
                    let records = told(self.stock.lock_lane(at).await, expected.err())?;
                    rebuild.locked = records.map(|mut records| {
                        records.sort_by_key(|record| record.shopper.to_string());
                        records
                    });
                    if let Some(records) = &rebuild.locked {
                        let known: Vec<_> = self.lane.records.values().cloned().collect();
                        let records = records.iter().filter_map(as_in_model);
                        prop_assert_eq!(records.collect::<Vec<_>>(), known);
                    }
                    rebuild.locked.is_some()
                }
                // Postgres refuses one that was overtaken.
                Rebuild { refilled: None, .. } if epoch != self.books.epoch => false,
                Rebuild {
                    locked: Some(ref records),
                    refilled: None,
                    ..
                } => {
                    let snapshot = self.books.snapshot(epoch);
                    let settled = settle(records.clone(), &snapshot, &self.sale);
                    let answer = self.stock.refill_lane(at, &settled, &snapshot).await;
                    // With nothing to write there is nothing to be refused.
                    let idle = settled.records.is_empty() && snapshot.orders.is_empty();
                    let expected = if idle {
                        Ok(())
                    } else {
                        self.lane.refill(epoch, &settled, &snapshot)
                    };
                    rebuild.refilled = Some((settled, snapshot));
                    told(answer, expected.err())?.is_some()
                }
                Rebuild {
                    refilled: Some((settled, snapshot)),
                    ..
                } => {
                    let expected = self.lane.open(&self.sale, &snapshot);
                    let (claimed, held) = (settled.claimed, settled.held);
                    let answer = self
                        .stock
                        .open_lane(&self.sale, snapshot.info, claimed, held)
                        .await;
                    if told(answer, expected.err())?.is_some() {
                        self.seen.answer("rebuild", &"ok");
                        for revoked in &settled.revoked {
                            self.seen.answer("revoked", &revoked.state);
                        }
                    }
                    return Ok(());
                }
            };
            if !told {
                self.seen.answer("rebuild", &"overtaken");
                return Ok(());
            }
        }
        self.stopped.push(rebuild);
        Ok(())
    }

    // ---------------------------------------------------------------------------------------------- what must hold

    async fn check(&self) -> Checked {
        let (redis, model) = (self.lane_in_redis().await?, self.lane_in_model());
        prop_assert_eq!(redis, model, "the lane in Redis, and in the model");
        let redis = raw(Line::read(self.stock, &self.sale).await)?;
        prop_assert_eq!(&redis, &self.line, "the line in Redis, and in the model");
        prop_assert!(self.books.allocated() <= self.books.supply, "I2: oversold");
        if self.lane.epoch.is_none() {
            return Ok(());
        }

        let counters = sound(self.stock.counters(self.at(false)).await)?;
        prop_assert!(counters.balanced(), "I1: {:?}", counters);
        prop_assert_eq!(counters, self.lane.counters());
        prop_assert!(self.lane.balance() >= 0, "I1: oversold");
        let settings = &self.lane.settings;
        for (device, units) in self.lane.devices() {
            prop_assert!(
                units <= settings.device_limit,
                "I7: {} units of {}",
                units,
                device
            );
        }
        let bought = self.lane.bought();
        for n in 0..SHOPPERS {
            let who = shopper(n);
            let units = bought.get(who.as_str()).copied().unwrap_or(0) + self.lane.in_cart(who.as_str());
            prop_assert!(units <= settings.shopper_limit, "I7: {} units of {}", units, who);
        }
        prop_assert!(
            !self.lane.gate_open || self.promised.is_empty(),
            "I8: the gate is open, and {:?} wait",
            self.promised
        );
        if self.lane.refuses(self.books.epoch).is_none() {
            self.agree()?;
        }
        Ok(())
    }

    /// Every order in Postgres has its units in Redis, and none has them that is not there.
    fn agree(&self) -> Checked {
        let ordering: HashMap<&str, u32> = self
            .lane
            .records
            .values()
            .filter(|record| record.state == RecordState::Ordering)
            .map(|record| (record.order.as_str(), record.quantity))
            .collect();
        for (id, order) in &self.books.orders {
            if order.status != OrderStatus::Cancelled {
                let sold = self.lane.sold.get(id).map(|sold| sold.quantity);
                let units = sold.or(ordering.get(id.as_str()).copied());
                prop_assert_eq!(units, Some(order.quantity), "the units of {}", id);
            }
        }
        for id in self.lane.sold.keys() {
            prop_assert!(self.books.orders.contains_key(id), "{} is sold to nobody", id);
        }
        Ok(())
    }

    async fn lane_in_redis(&self) -> Checked<BTreeMap<&'static str, Map>> {
        let (client, at) = (self.stock.client(), self.at(false));
        let [stock, holds, deadlines, devices, returned] =
            LANE_KEYS.map(|name| self.stock.keys().lane(name, at));
        let (stock, texts, buckets, devices, returned) = raw(tokio::try_join!(
            client.hgetall::<Map, _>(stock),
            client.hgetall::<Map, _>(holds),
            client.zrange::<Vec<(String, f64)>, _, _, _>(deadlines, 0, -1, None, false, None, true),
            client.hgetall::<Map, _>(devices),
            client.smembers::<BTreeSet<String>, _>(returned),
        ))?;
        let open = stock.contains_key("epoch");
        let mut stock = stock;
        stock.retain(|field, _| {
            !["fetched_at", "version", "kept"].contains(&field.as_str())
                && (open || field == "rebuilding" || field == "run")
        });
        for (field, value) in &mut stock {
            if field.starts_with("leaving:") {
                *value = value.split(' ').next().unwrap_or_default().to_owned();
            }
        }
        if let Some(run) = stock.get_mut("run") {
            *run = (run == OTHER_RUN).to_string();
        }
        for counted in ["reservations", "expired", "gate_place"] {
            if open {
                stock.entry(counted.into()).or_insert_with(|| "0".into());
            }
        }
        let (mut holds, mut bought, mut deadlines) = (Map::new(), Map::new(), Map::new());
        let (mut devices, mut returned) = (devices, returned);
        devices.remove(KEPT);
        returned.remove(KEPT);
        for (who, text) in texts.into_iter().filter(|(who, _)| who != KEPT) {
            let record = sound(KeptRecord::parse(&who, &text))?;
            if record.bought > 0 {
                bought.insert(who.clone(), record.bought.to_string());
            }
            // A record that runs must stand in a bucket of its deadline; in which others it stands does not count.
            let mut due = buckets.iter().filter(|(_, until)| *until as u64 == record.until);
            if running(&record) && due.any(|(names, _)| names.split(' ').any(|name| name == who)) {
                deadlines.insert(who.clone(), record.until.to_string());
            }
            if let Some(record) = as_in_model(&record) {
                holds.insert(who, format!("{record:?}"));
            }
        }
        let returned = returned.into_iter().map(|order| (order, String::new()));
        let mut lane = BTreeMap::from([
            ("stock", stock),
            ("holds", holds),
            ("returned", returned.collect()),
        ]);
        if open {
            lane.extend([("deadlines", deadlines), ("bought", bought), ("devices", devices)]);
        }
        Ok(lane)
    }

    fn lane_in_model(&self) -> BTreeMap<&'static str, Map> {
        let lane = &self.lane;
        let words = |units: BTreeMap<String, u32>| -> Map {
            units
                .into_iter()
                .map(|(name, units)| (name, units.to_string()))
                .collect()
        };
        let mut stock = Map::new();
        let mut field = |name: &str, value: String| stock.insert(name.into(), value);
        if let Some(rebuilding) = lane.rebuilding {
            field("rebuilding", rebuilding.to_string());
        }
        if lane.epoch.or(lane.rebuilding).is_some() {
            field("run", lane.other_life.to_string());
        }
        let mut view = BTreeMap::new();
        if let Some(epoch) = lane.epoch {
            let (counters, settings) = (lane.counters(), &lane.settings);
            for (name, value) in [
                ("epoch", u64::from(epoch)),
                ("supply", counters.supply),
                ("available", counters.available),
                ("claimed", counters.claimed),
                ("held", counters.held),
                ("ordering", counters.ordering),
                ("sold", counters.sold),
                ("reservations", counters.reservations),
                ("expired", counters.expired),
                ("leaving", counters.leaving),
                ("supply_version", counters.supply_version),
                ("gate_place", lane.gate_place),
                ("opens_at", settings.opens_at),
                ("closes_at", settings.closes_at),
                ("paused", settings.paused.into()),
                ("shopper_limit", settings.shopper_limit.into()),
                ("device_limit", settings.device_limit.into()),
                ("hold_ms", settings.hold_ms),
                ("claim_ms", settings.claim_ms),
            ] {
                field(name, value.to_string());
            }
            field("phase", settings.phase.to_owned());
            if let Some(version) = settings.version {
                field("settings_version", version.to_string());
            }
            for (id, units) in &lane.leaving {
                field(&format!("leaving:{id}"), units.to_string());
            }
            field("gate", if lane.gate_open { "open" } else { "line" }.into());
            let deadlines = lane.deadlines().into_iter();
            view.insert(
                "deadlines",
                deadlines.map(|(who, until)| (who, until.to_string())).collect(),
            );
            view.insert("bought", words(lane.bought()));
            view.insert("devices", words(lane.devices()));
        }
        let records = lane
            .records
            .iter()
            .map(|(who, record)| (who.clone(), format!("{record:?}")));
        view.insert("holds", records.collect());
        let notes = lane
            .revived
            .iter()
            .map(|(order, epoch)| format!("{order}:revived:{epoch}"));
        let returned = lane.returned.iter().cloned().chain(notes);
        view.insert("returned", returned.map(|note| (note, String::new())).collect());
        view.insert("stock", stock);
        view
    }

    /// Everything ends, and every unit is for sale again: none has leaked (I12).
    async fn finish_all(&mut self) -> Checked {
        if self.lane.refuses(self.books.epoch).is_some() {
            self.rebuild(3).await?;
        }
        let at = self.at(false);
        for n in 0..SHOPPERS {
            self.pass(n, true, true).await?;
        }
        self.expire(at).await?;
        let ordering: Vec<KeptRecord> = self
            .lane
            .records
            .values()
            .filter(|record| record.state == RecordState::Ordering)
            .cloned()
            .collect();
        for record in ordering {
            let order: OrderId = record.order.parse().expect("an order");
            let n = record.shopper.as_str()[1..].parse().expect("a number");
            let (who, order, outcome) = self.outcome(n, order, false);
            let answer = sound(
                self.stock
                    .finish_checkout(at, who.clone(), order, outcome.clone())
                    .await,
            )?;
            prop_assert_eq!(answer, self.lane.finish_checkout(&who, order, outcome));
        }
        // Of holds whose checkout was none.
        self.expire(at).await?;
        for order in self.books.orders.values_mut() {
            let taken = self
                .lane
                .revived
                .iter()
                .any(|(id, _)| *id == order.order.to_string());
            if taken && order.status == OrderStatus::Cancelled {
                let units = (
                    order.shopper.clone(),
                    order.order,
                    order.quantity,
                    order.device.clone(),
                );
                sound(self.stock.revive(at, Revive::Give, &units).await)?;
                self.lane.give_back(order);
            }
            if order.status != OrderStatus::Cancelled {
                order.status = OrderStatus::Cancelled;
                self.books.returned.remove(&order.order.to_string());
            }
        }
        let orders = self.books.to_return();
        self.return_units(at, &orders).await?;
        for (n, _) in self.books.moves.clone() {
            self.end_move(at, n).await?;
        }
        self.catch_up(at).await?;
        self.check().await?;
        let counters = sound(self.stock.counters(at).await)?;
        let supply = u64::from(self.books.supply);
        prop_assert_eq!(
            (counters.available, counters.supply),
            (supply, supply),
            "I12: {:?}",
            counters
        );
        prop_assert!(self.lane.devices().is_empty() && self.lane.bought().is_empty());
        Ok(())
    }
}

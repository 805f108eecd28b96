//! What lanes may sell: units move between them and operators change them, while people buy. Redis never believes in more than
//! Postgres has, so that no cart is refused (I13), whoever stops between which two steps.
//!
//! In [`a_move_cut_off_anywhere_refuses_no_cart_and_loses_no_unit`] there is no worker: the test takes each step by itself.
//! `PROPTEST_CASES` says how many cases, beyond the few that every test run has time for.

use crate::harness::{DEADLINE, World, command_id};
use crate::purchase::{checkout, join_and_reserve};
use flashsale_engine::{
    command,
    error::{Error, Result},
    sale::{LaneRef, LaneSupply, MoveId, Sale, SupplyNews},
    settle::{checkout::return_units, lanes, supply},
    shop::Shop,
    stock::{CheckoutBegun, Counters, Finish, How, Reserve, Reserved},
    store::{Cancel, Cancelling, NewOrder, OrderRow, Placed, audit::Actor},
    worker::reconcile,
};
use flashsale_protocol::{DeviceId, OrderId, Role, SaleId, ShopperId};
use fred::interfaces::{HashesInterface, LuaInterface};
use futures_util::future::join_all;
use proptest::{
    collection::vec,
    prelude::{Strategy, TestCaseError, any, prop_assert, prop_assert_eq, prop_oneof},
    test_runner::{Config, TestRunner},
};
use reqwest::Method;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    time::{Duration, Instant},
};

const CASES: u32 = 30;
const STEPS: usize = 60;
const SHRINKING_MS: u32 = 60_000;
const SHOPPERS: u8 = 9;
const MOST_LANES: u16 = 4;
const MOST_UNITS: u32 = 24;

type Checked<T = ()> = std::result::Result<T, TestCaseError>;

// ----------------------------------------------------------------------------------------------------- through the doors

async fn set_supply(world: &World, sale: SaleId, total: u32) -> u16 {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/supply");
    let body = json!({ "total_stock": total }).to_string();
    world
        .rest(Method::POST, &path, Some(&boss), &[], body)
        .await
        .status
}

async fn sale_now(world: &World, sale: SaleId) -> Sale {
    let sale = world.server.app.shop.store.sale(sale).await.expect("Postgres");
    sale.expect("the sale")
}

/// Until both stores say the same of each lane; what they say.
async fn agreed(world: &World, sale: SaleId) -> Vec<Counters> {
    let started = Instant::now();
    loop {
        let sale = sale_now(world, sale).await;
        let mut counters = Vec::new();
        for at in sale.lane_refs() {
            counters.push(world.server.app.shop.stock.counters(at).await.expect("Redis"));
        }
        let same = sale.lanes.iter().zip(&counters).all(|(info, counters)| {
            counters.leaving == 0
                && counters.balanced()
                && (counters.supply, counters.supply_version) == (info.supply.into(), info.supply_version)
        });
        if same {
            return counters;
        }
        assert!(started.elapsed() < DEADLINE, "{:?}, {counters:?}", sale.lanes);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_total_that_is_set_many_times_at_once_is_what_one_of_them_said() {
    let world = World::start().await;
    for lanes in [1, 3] {
        let sale = world.sale(json!({ "total_stock": 5, "lanes": lanes })).await;
        let answers = join_all((0..8).map(|_| set_supply(&world, sale, 200))).await;
        assert_eq!(answers, [200; 8]);
        assert_eq!(sale_now(&world, sale).await.total_stock, 200);
        let totals = [7, 300, 20, 150];
        let answers = join_all(totals.map(|total| set_supply(&world, sale, total))).await;
        assert_eq!(answers, [200; 4]);
        let total = sale_now(&world, sale).await.total_stock;
        assert!(totals.contains(&total), "{total}");
        let in_redis: u64 = agreed(&world, sale).await.iter().map(|lane| lane.supply).sum();
        assert_eq!(in_redis, u64::from(total));
    }
    world.server.stop().await;
}

/// A total may be lowered as soon as it was raised: units that are not in their lanes yet are free.
#[tokio::test]
async fn a_total_is_lowered_again_before_the_lanes_have_heard_of_more() {
    let world = World::with(&["--roles", "gateway"]).await;
    let shop = &world.server.app.shop;
    for lanes in [1, 3] {
        let id = world.sale(json!({ "total_stock": 6, "lanes": lanes })).await;
        let sale = shop.sale(id).await.expect("a sale");
        let mut tx = shop.store.lock_sale(id).await.expect("Postgres");
        let raised = supply::prepare(shop, &mut tx, &sale, 300, Actor::Worker)
            .await
            .expect("both stores");
        assert_eq!(raised.changed, supply::Changed::Ok);
        tx.commit().await.expect("Postgres");
        // Whoever has raised it has not told the lanes, and never will.
        assert_eq!(set_supply(&world, id, 20).await, 200, "{lanes} lanes");
        let in_redis: u64 = agreed(&world, id).await.iter().map(|lane| lane.supply).sum();
        assert_eq!(in_redis, 20);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn no_cart_is_refused_while_the_supply_is_lowered_and_raised() {
    const BUYERS: usize = 24;
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 40, "lanes": 4 })).await;
    let buyers = join_all((0..BUYERS).map(|i| {
        let world = &world;
        async move {
            let mut shopper = world.shopper(&format!("buyer-{i}")).await;
            join_and_reserve(&mut shopper, sale).await;
            checkout(&mut shopper, sale).await
        }
    }));
    let operators = join_all((0..2u32).map(|i| {
        let world = &world;
        async move {
            for round in 0..8 {
                let total = if round % 2 == 0 { 24 + i } else { 40 + i };
                let status = set_supply(world, sale, total).await;
                assert!([200, 409].contains(&status), "{status}");
            }
        }
    }));
    let (orders, _) = tokio::join!(buyers, operators);
    assert_eq!(orders.len(), BUYERS);
    let lanes = agreed(&world, sale).await;
    let total = sale_now(&world, sale).await.total_stock;
    assert_eq!(
        lanes.iter().map(|lane| lane.supply).sum::<u64>(),
        u64::from(total)
    );
    assert_eq!(lanes.iter().map(|lane| lane.sold).sum::<u64>(), BUYERS as u64);
    world.server.stop().await;
}

/// Two lanes of one sale with these units.
async fn two_lanes(world: &World, stock: u32) -> (SaleId, LaneRef, LaneRef) {
    let sale = world.sale(json!({ "total_stock": stock, "lanes": 2 })).await;
    let lanes: Vec<LaneRef> = sale_now(world, sale).await.lane_refs().collect();
    (sale, lanes[0], lanes[1])
}

#[tokio::test]
async fn a_mover_that_comes_too_late_is_refused_and_its_units_are_for_sale() {
    let world = World::start().await;
    let app = &world.server.app;
    let (sale, from, to) = two_lanes(&world, 4).await;
    let id = MoveId::random();
    for _ in 0..2 {
        assert_eq!(app.shop.stock.take_supply(from, id, 2).await.expect("Redis"), 2);
    }
    // The reconciler does not wait for it for ever.
    let lanes = agreed(&world, sale).await;
    assert_eq!((lanes[0].available, lanes[1].available), (2, 2));
    let late = app.shop.store.move_supply(id, from, to, 2).await;
    assert_eq!(late.expect("Postgres"), None, "its units may be sold by now");
    let lanes = agreed(&world, sale).await;
    assert_eq!((lanes[0].supply, lanes[1].supply), (2, 2));
    world.server.stop().await;
}

#[tokio::test]
async fn a_move_that_redis_has_not_heard_of_is_finished() {
    let world = World::start().await;
    let app = &world.server.app;
    let (sale, from, to) = two_lanes(&world, 4).await;
    let id = MoveId::random();
    assert_eq!(app.shop.stock.take_supply(from, id, 5).await.expect("Redis"), 2);
    let moved = app
        .shop
        .store
        .move_supply(id, from, to, 2)
        .await
        .expect("Postgres");
    assert_eq!(moved.map(|lanes| lanes.len()), Some(2));
    let again = app
        .shop
        .store
        .move_supply(id, from, to, 2)
        .await
        .expect("Postgres");
    assert_eq!(again, None, "it is committed once");
    let lanes = agreed(&world, sale).await;
    assert_eq!((lanes[0].supply, lanes[0].available), (0, 0));
    assert_eq!((lanes[1].supply, lanes[1].available), (4, 4));
    world.server.stop().await;
}

// ------------------------------------------------------------------------------------------------------- step by step

/// What a process of before does (`set_supply`, without its checks).
const OLD_SET_SUPPLY: &str = "
    local supply, available = unpack(redis.call('HMGET', KEYS[1], 'supply', 'available'))
    local change = math.max(ARGV[1] - supply, -available)
    change = string.format('%d', change) -- not -0
    redis.call('HINCRBY', KEYS[1], 'supply', change)
    return redis.call('HINCRBY', KEYS[1], 'available', change)";

/// Which of the moves is meant: counted back from the latest.
type Which = u8;

#[derive(Debug, Clone)]
enum Step {
    Reserve(u8),
    Checkout(u8),
    Cancel(u8),
    /// A worker begins a move: it takes units in Redis.
    Take {
        from: u16,
        to: u16,
        units: u32,
    },
    /// … or the call comes again, late.
    TakeAgain(Which),
    Commit(Which),
    /// It tells one of the lanes, with what Postgres had answered.
    Follow(Which, bool),
    /// It gives up, if Postgres has refused.
    Untake(Which),
    /// An operator's whole command.
    Change(u32),
    /// Another worker's whole move.
    Move(u16, u64),
    /// The leader compares a lane, with the sale as it has read it at the last `Look`.
    Look,
    Compare(u16),
    /// … for which the mover's time is up.
    EndMoves(u16),
    /// A leader of before this had versions, beside new processes, writes what Postgres says as it is.
    OldLeader(u16),
    /// Redis begins another life, and the lane with it.
    Lose(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || 0..MOST_LANES;
    let who = || 0..SHOPPERS;
    prop_oneof![
        6 => who().prop_map(Step::Reserve),
        5 => who().prop_map(Step::Checkout),
        2 => who().prop_map(Step::Cancel),
        8 => (lane(), lane(), 1..6u32).prop_map(|(from, to, units)| Step::Take { from, to, units }),
        1 => any::<Which>().prop_map(Step::TakeAgain),
        8 => (0..3u8).prop_map(Step::Commit),
        8 => (0..3u8, any::<bool>()).prop_map(|(which, giver)| Step::Follow(which, giver)),
        2 => (0..3u8).prop_map(Step::Untake),
        3 => (1..=MOST_UNITS).prop_map(Step::Change),
        2 => (lane(), 1..6u64).prop_map(|(to, units)| Step::Move(to, units)),
        4 => proptest::strategy::Just(Step::Look),
        5 => lane().prop_map(Step::Compare),
        3 => lane().prop_map(Step::EndMoves),
        1 => lane().prop_map(Step::OldLeader),
        1 => lane().prop_map(Step::Lose),
    ]
}

/// A move as its worker knows it.
#[derive(Debug, Clone)]
struct Moving {
    id: MoveId,
    from: LaneRef,
    to: LaneRef,
    units: u32,
    /// What Postgres has answered.
    committed: Option<Vec<LaneSupply>>,
    refused: bool,
}

struct Run<'a> {
    world: &'a World,
    id: SaleId,
    /// As the leader has last read it.
    known: Sale,
    moves: Vec<Moving>,
    orders: BTreeMap<u8, OrderRow>,
    has_old_leader: bool,
    seen: BTreeSet<&'static str>,
}

fn failed(error: impl Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// A lane that has begun another life refuses those who do not know of it.
fn unless_refused<T>(result: Result<T>) -> Checked<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::LaneFenced(_) | Error::LaneLost | Error::LaneMissing) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn shopper(who: u8) -> ShopperId {
    format!("s{who}").parse().expect("an id")
}

fn device(who: u8) -> DeviceId {
    format!("d{who}").parse().expect("an id")
}

impl<'a> Run<'a> {
    async fn start(world: &'a World, lanes: u16, units: u32) -> Self {
        let units = units.max(lanes.into());
        let id = world
            .sale(json!({ "total_stock": units, "lanes": lanes, "hold_ms": 600_000 }))
            .await;
        Self {
            world,
            id,
            known: sale_now(world, id).await,
            moves: Vec::new(),
            orders: BTreeMap::new(),
            has_old_leader: false,
            seen: BTreeSet::new(),
        }
    }

    fn shop(&self) -> &'a Shop {
        &self.world.server.app.shop
    }

    fn lane_of(&self, sale: &Sale, lane: u16) -> LaneRef {
        let lane = usize::from(lane) % sale.lanes.len();
        sale.lane_refs().nth(lane).expect("one of them")
    }

    fn moving(&mut self, which: Which) -> Option<&mut Moving> {
        let among = self.moves.len().max(1);
        self.moves.iter_mut().rev().nth(usize::from(which) % among)
    }

    async fn step(&mut self, step: &Step) -> Checked {
        let shop = self.shop();
        let sale = sale_now(self.world, self.id).await;
        match *step {
            Step::Reserve(who) => self.reserve(&sale, who).await?,
            Step::Checkout(who) => self.checkout(&sale, who).await?,
            Step::Cancel(who) => self.cancel(who).await?,
            Step::Take { from, to, units } => {
                let (from, to) = (self.lane_of(&sale, from), self.lane_of(&sale, to));
                if from == to {
                    return Ok(());
                }
                let id = MoveId::random();
                let units = shop
                    .stock
                    .take_supply(from, id, units.into())
                    .await
                    .map_err(failed)? as u32;
                self.moves.push(Moving {
                    id,
                    from,
                    to,
                    units,
                    committed: None,
                    refused: units == 0,
                });
            }
            Step::TakeAgain(which) => {
                if let Some(Moving { id, from, units, .. }) = self.moving(which).cloned() {
                    unless_refused(shop.stock.take_supply(from, id, units.into()).await)?;
                    self.seen.insert("a call that came late");
                }
            }
            Step::Commit(which) => {
                if let Some(moving) = self
                    .moving(which)
                    .filter(|moving| moving.units > 0 && !moving.refused)
                {
                    let Moving {
                        id, from, to, units, ..
                    } = *moving;
                    match shop
                        .store
                        .move_supply(id, from, to, units)
                        .await
                        .map_err(failed)?
                    {
                        Some(lanes) => {
                            moving.committed = Some(lanes);
                            self.seen.insert("a move committed");
                        }
                        None if moving.committed.is_none() => {
                            moving.refused = true;
                            self.seen.insert("a move refused");
                        }
                        None => {
                            self.seen.insert("a move committed again");
                        }
                    }
                }
            }
            Step::Follow(which, giver) => {
                if let Some(Moving {
                    id,
                    from,
                    to,
                    committed: Some(lanes),
                    ..
                }) = self.moving(which).cloned()
                {
                    let at = if giver { from } else { to };
                    let now = *lanes
                        .iter()
                        .find(|lane| lane.lane == at.lane)
                        .expect("both lanes");
                    let news = SupplyNews {
                        after: now.version - 1,
                        now,
                        left: vec![id],
                    };
                    if let Some(version) = unless_refused(shop.stock.apply_supply(at, &news).await)? {
                        let missed = version < news.after;
                        self.seen
                            .insert(if missed { "a version missed" } else { "a version" });
                    }
                }
            }
            Step::Untake(which) => {
                if let Some(Moving {
                    id,
                    from,
                    refused: true,
                    ..
                }) = self.moving(which).cloned()
                {
                    unless_refused(shop.stock.untake_supply(from, id).await)?;
                }
            }
            Step::Change(total) => {
                let changed = supply::change(shop, &sale, total, Actor::Worker)
                    .await
                    .map_err(failed)?;
                let now = sale_now(self.world, self.id).await.total_stock;
                match changed {
                    supply::Changed::Ok => {
                        self.seen.insert("a total changed");
                        prop_assert_eq!(now, total);
                    }
                    supply::Changed::InUse { least } => {
                        self.seen.insert("a total in use");
                        prop_assert!(
                            least > total.into() && least <= sale.total_stock.into(),
                            "{}",
                            least
                        );
                        prop_assert_eq!(now, sale.total_stock);
                    }
                }
            }
            Step::Move(to, units) => {
                let to = self.lane_of(&sale, to);
                supply::move_units(shop, &sale, to, units).await.map_err(failed)?;
            }
            Step::Look => self.known = sale,
            Step::Compare(lane) => self.compare(lane).await?,
            Step::EndMoves(lane) => {
                let at = self.lane_of(&sale, lane);
                prop_assert!(
                    supply::end_left_moves(shop, at, Duration::ZERO)
                        .await
                        .map_err(failed)?
                );
            }
            Step::OldLeader(lane) => {
                let at = self.lane_of(&sale, lane);
                let supply = sale.lanes[usize::from(at.lane)].supply.to_string();
                let key = shop.stock.keys().lane("stock", at);
                let client = shop.stock.client();
                let written = client.eval(OLD_SET_SUPPLY, vec![key], vec![supply]);
                let _: i64 = written.await.map_err(failed)?;
                self.has_old_leader = true;
            }
            Step::Lose(lane) => {
                let at = self.lane_of(&sale, lane);
                let key = shop.stock.keys().lane("stock", at);
                let _: i64 = shop
                    .stock
                    .client()
                    .hset(key, ("run", "another"))
                    .await
                    .map_err(failed)?;
                prop_assert!(lanes::open(shop, &sale).await.map_err(failed)?);
                self.seen.insert("a lane lost");
            }
        }
        self.check().await
    }

    /// What the leader does with a sale that it has read a while ago.
    async fn compare(&mut self, lane: u16) -> Checked {
        let at = self.lane_of(&self.known, lane);
        let before = self.known.lanes[usize::from(at.lane)];
        let Some(counters) = unless_refused(reconcile::end_moves(self.shop(), &before, at).await)? else {
            return Ok(());
        };
        let after = sale_now(self.world, self.id).await.lanes[usize::from(at.lane)];
        let apart = reconcile::units_apart(&counters, &before, &after);
        // An old leader writes a later version's supply under an earlier version.
        prop_assert!(
            apart == 0 || self.has_old_leader,
            "{:?}: {:?}, {:?}",
            counters,
            before,
            after
        );
        Ok(())
    }

    async fn reserve(&mut self, sale: &Sale, who: u8) -> Checked {
        let item = Reserve {
            shopper: shopper(who),
            quantity: 1,
            how: How::Regain,
            command: command_id(),
            device: device(who),
        };
        let at = sale.lane_of(&item.shopper);
        let answer = self.shop().stock.reserve(at, item).await.map_err(failed)?;
        match answer.value {
            Reserved::Ok { .. } => self.seen.insert("a hold"),
            Reserved::Short { .. } => self.seen.insert("no units"),
            _ => false,
        };
        Ok(())
    }

    /// Whoever has a cart gets an order.
    async fn checkout(&mut self, sale: &Sale, who: u8) -> Checked {
        let (shopper, command) = (shopper(who), command_id());
        let at = sale.lane_of(&shopper);
        let order = OrderId::from_parts(command.ulid().timestamp_ms(), command.ulid().random());
        let begun = self.shop().stock.begin_checkout(at, shopper.clone(), order).await;
        let CheckoutBegun::Ok {
            quantity,
            device,
            hold,
        } = begun.map_err(failed)?.value
        else {
            return Ok(());
        };
        let new = NewOrder {
            at,
            order,
            shopper: shopper.clone(),
            operator: None,
            device,
            command,
            hold_command: hold.clone(),
            hold_name: "h".into(),
            digest: command::digest("checkout", &[&sale.id.to_string(), ""]),
            quantity,
            unit_price: sale.sale_price,
            amount: sale.sale_price,
            currency: sale.currency.clone(),
            payment_ms: sale.payment_ms,
            cancel_limit: 1_000_000,
            terms: None,
            person: None,
        };
        match self.shop().store.place(new).await.map_err(failed)? {
            Placed::Ok(row) => self.orders.insert(who, *row),
            other => return Err(failed(format!("I13: a cart was refused: {other:?}"))),
        };
        let committed = Finish::Committed { hold };
        let finished = self
            .shop()
            .stock
            .finish_checkout(at, shopper, order, committed)
            .await;
        prop_assert!(finished.map_err(failed)?);
        self.seen.insert("an order");
        Ok(())
    }

    /// Whoever has an order, counted from this shopper.
    async fn cancel(&mut self, who: u8) -> Checked {
        let mut buyers = (who..SHOPPERS).chain(0..who);
        let Some(who) = buyers.find(|who| self.orders.contains_key(who)) else {
            return Ok(());
        };
        let order = self.orders.remove(&who).expect("just found").order;
        let cancel = Cancel {
            order,
            shopper: shopper(who),
            operator: None,
            command: command_id(),
            digest: command::digest("cancel", &[&order.to_string()]),
        };
        if let Cancelling::Now(cancelled) = self.shop().store.cancel(cancel).await.map_err(failed)? {
            return_units(self.shop(), &[*cancelled]).await.map_err(failed)?;
            self.seen.insert("an order cancelled");
        }
        Ok(())
    }

    /// What must hold after every step: all that Redis has, sold or for sale, Postgres has as well.
    async fn check(&mut self) -> Checked {
        let sale = sale_now(self.world, self.id).await;
        for (info, at) in sale.lanes.iter().zip(sale.lane_refs()) {
            let counters = self.shop().stock.counters(at).await.map_err(failed)?;
            prop_assert!(counters.balanced(), "I1: {:?}", counters);
            prop_assert!(
                counters.supply - counters.leaving <= u64::from(info.supply),
                "I13: Redis may sell {:?}, Postgres {:?}",
                counters,
                info
            );
        }
        let supply: u32 = sale.lanes.iter().map(|lane| lane.supply).sum();
        prop_assert_eq!(supply, sale.total_stock, "a move makes no units and loses none");
        Ok(())
    }

    /// The world heals: whoever has a cart buys, and the leader ends what is under way.
    async fn end(&mut self) -> Checked {
        let sale = sale_now(self.world, self.id).await;
        for who in 0..SHOPPERS {
            self.checkout(&sale, who).await?;
        }
        self.known = sale_now(self.world, self.id).await;
        for (i, at) in self.known.lane_refs().enumerate() {
            prop_assert!(
                supply::end_left_moves(self.shop(), at, Duration::ZERO)
                    .await
                    .map_err(failed)?
            );
            let counters = reconcile::end_moves(self.shop(), &self.known.lanes[i], at)
                .await
                .map_err(failed)?;
            let info = self.known.lanes[i];
            let (supply, allocated) = (u64::from(info.supply), u64::from(info.allocated));
            prop_assert_eq!(
                [
                    counters.supply,
                    counters.available,
                    counters.sold,
                    counters.leaving
                ],
                [supply, supply - allocated, allocated, 0],
                "I12: {:?}",
                info
            );
        }
        crate::audit::verify(self.world, self.id)
            .await
            .map(drop)
            .map_err(|bad| failed(format!("the audit log: {bad:?}")))
    }
}

/// What the cases must have shown. Where a round of them has not, there is another.
const ALL: [&str; 13] = [
    "a hold",
    "no units",
    "an order",
    "an order cancelled",
    "a call that came late",
    "a move committed",
    "a move committed again",
    "a move refused",
    "a version",
    "a version missed",
    "a total changed",
    "a total in use",
    "a lane lost",
];
const MOST_ROUNDS: u32 = 6;

#[test]
fn a_move_cut_off_anywhere_refuses_no_cart_and_loses_no_unit() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::with(&["--roles", "gateway"]));
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: u32::MAX,
        max_shrink_time: SHRINKING_MS,
        ..Config::default()
    };
    if std::env::var("PROPTEST_CASES").is_err() {
        config.cases = CASES;
    }
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let cases = (1..=MOST_LANES, 1..=MOST_UNITS, vec(step(), STEPS / 4..STEPS));
    let missing = || {
        let seen = seen.lock().expect("not poisoned");
        let missing: Vec<_> = ALL.iter().filter(|what| !seen.contains(*what)).collect();
        missing
    };
    for round in 0..MOST_ROUNDS {
        let result = TestRunner::new(config.clone()).run(&cases, |(lanes, units, steps)| {
            runtime.block_on(async {
                let mut run = Run::start(&world, lanes, units).await;
                for step in &steps {
                    run.step(step).await?;
                }
                run.end().await?;
                seen.lock().expect("not poisoned").extend(run.seen);
                Ok(())
            })
        });
        if let Err(failure) = result {
            panic!("{failure}");
        }
        if missing().is_empty() {
            break;
        }
        println!("after {} rounds chance has not shown {:?}", round + 1, missing());
    }
    runtime.block_on(world.server.stop());
    assert!(missing().is_empty(), "never seen: {:?}", missing());
}

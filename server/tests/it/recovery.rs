//! Redis loses what it has: nothing sold is lost, nothing is sold twice, and everybody is told where they stand. The fault
//! harness (`loadtest chaos`) does this to whole processes; here it is done to one sale, step by step.

use crate::harness::{Client, NONCE, World};
use crate::purchase::{checkout, join_and_reserve, reserve};
use flashsale_engine::stock::rebuild::LaneLife;
use flashsale_protocol::{
    Code, Done, EntryState, Hold, HoldState, Quantity, Reason, Role, SaleId, ServerMessage, ShopCommand,
};
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface};
use fred::types::{ClusterHash, CustomCommand};
use reqwest::Method;
use serde_json::json;

/// Everything that this world has in Redis.
pub async fn forget_everything(world: &World) {
    let stock = &world.server.app.shop.stock;
    let prefix = stock.keys().live(SaleId::from_parts(0, 0));
    let (prefix, _) = prefix.split_once("live:").expect("a prefix");
    assert!(prefix.starts_with("t_"), "only our own keys");
    let keys = CustomCommand::new_static("KEYS", ClusterHash::Random, false);
    let keys: Vec<String> = stock
        .client()
        .custom(keys, vec![format!("{prefix}*")])
        .await
        .expect("Redis");
    let _: () = stock.client().del(keys).await.expect("Redis");
}

/// A key of the sale's only lane.
fn lane_key(world: &World, kind: &str, sale: SaleId) -> String {
    let key = world.server.app.shop.stock.keys().live(sale);
    key.replace("live:{", &format!("{kind}:{{")).replace('}', ".0}")
}

/// What Redis knows of a shopper's hold.
async fn record(world: &World, sale: SaleId, who: &str) -> String {
    let client = world.server.app.shop.stock.client();
    let person = world.person(sale, who).await;
    client
        .hget(lane_key(world, "holds", sale), person.as_str())
        .await
        .expect("Redis")
}

/// A replica that has not got the last moment takes over: the shopper's record is an earlier one.
async fn roll_back(world: &World, sale: SaleId, who: &str, record: String) {
    let client = world.server.app.shop.stock.client();
    let set: i64 = client
        .hset(
            lane_key(world, "holds", sale),
            (world.person(sale, who).await.as_str(), record),
        )
        .await
        .expect("Redis");
    assert_eq!(set, 0, "there was a record");
}

/// The lane is from another life of Redis.
async fn another_life(world: &World, sale: SaleId) {
    let client = world.server.app.shop.stock.client();
    let set: i64 = client
        .hset(lane_key(world, "stock", sale), ("run", "another"))
        .await
        .expect("Redis");
    assert_eq!(set, 0, "the field was there");
}

async fn hold(client: &mut Client, find: impl Fn(&Hold) -> bool) -> Hold {
    client
        .until(|message| match message {
            ServerMessage::Hold(hold) if find(hold) => Some(hold.clone()),
            _ => None,
        })
        .await
}

async fn join(client: &mut Client, sale: SaleId) {
    client.watch(sale).await;
    client
        .ok(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;
}

#[tokio::test]
async fn a_redis_that_has_forgotten_everything_is_rebuilt_and_shoppers_have_again_what_they_had() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 2 })).await;
    let mut holder = world.shopper("holder").await;
    join_and_reserve(&mut holder, sale).await;
    let mut buyer = world.shopper("buyer").await;
    join_and_reserve(&mut buyer, sale).await;
    let order = checkout(&mut buyer, sale).await;
    let mut waiters = Vec::new();
    for name in ["first", "second"] {
        let mut waiter = world.shopper(name).await;
        join(&mut waiter, sale).await;
        waiters.push(waiter);
    }

    forget_everything(&world).await;

    let lost = hold(&mut holder, |hold| hold.state == HoldState::Revoked).await;
    assert_eq!(lost.reason, Some(Reason::StockLost));
    let again = hold(&mut holder, |hold| hold.reason == Some(Reason::Restored)).await;
    assert_eq!(again.state, HoldState::Held);
    assert!(again.at > lost.at, "whoever hears both knows which was last");
    for (position, waiter) in (1..).zip(&mut waiters) {
        let entry = waiter
            .until(|message| match message {
                ServerMessage::Entry(entry) if entry.reason == Some(Reason::Restored) => Some(entry.clone()),
                _ => None,
            })
            .await;
        assert_eq!(entry.state, EntryState::Waiting);
        // The first may be told before the second stands behind them, never the other way round.
        assert!(entry.position <= position, "{entry:?}");
    }
    let facts = world.facts(sale).await;
    assert_eq!(
        (&facts["sold"], &facts["held"], &facts["available"]),
        (&json!(1), &json!(1), &json!(0))
    );

    // What was sold stays sold, what is held can be bought, and what comes back goes to the first in line.
    checkout(&mut holder, sale).await;
    buyer.ok(ShopCommand::Cancel { order: order.order }).await;
    waiters[0]
        .until(|message| {
            matches!(message, ServerMessage::Entry(e) if e.state == EntryState::Admitted).then_some(())
        })
        .await;
    assert!(
        world
            .server
            .app
            .shop
            .store
            .rebuilds(sale)
            .await
            .expect("Postgres")
            >= 1
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_lane_of_another_life_of_redis_is_refused_at_once_and_comes_back_with_its_holds() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 2 })).await;
    let mut holder = world.shopper("holder").await;
    join_and_reserve(&mut holder, sale).await;
    let app = &world.server.app;
    let before = app.shop.sale(sale).await.expect("the sale");
    let at = before.lane_refs().next().expect("a lane");
    another_life(&world, sale).await;
    assert_eq!(
        app.shop.stock.probe_lane(at).await.expect("Redis"),
        LaneLife::Lost
    );
    let refused = app.shop.stock.expire(at).await.expect_err("lost");
    assert!(
        matches!(refused, flashsale_engine::error::Error::LaneLost),
        "{refused}"
    );

    // The very checkout that is refused meanwhile goes through with the same id: the hold was kept.
    let order = holder.insist(ShopCommand::Checkout { sale, payment: None }).await;
    assert!(matches!(order, Done::Order(_)), "{order:?}");
    let after = app
        .shop
        .store
        .sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    assert!(after.lanes[0].epoch > at.epoch);
    let old = app.shop.stock.expire(at).await.expect_err("fenced");
    assert!(
        matches!(old, flashsale_engine::error::Error::LaneFenced(_)),
        "{old}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_end_of_an_earlier_hold_is_not_told_as_the_end_of_a_hold_that_was_lost() {
    let world = World::start().await;
    let sale = world.sale(json!({ "hold_ms": 1_000 })).await;
    let mut holder = world.shopper("holder").await;
    holder.watch(sale).await;
    holder.insist(reserve(sale)).await;
    hold(&mut holder, |hold| hold.state == HoldState::Expired).await;
    let earlier = record(&world, sale, "holder").await;
    assert!(earlier.starts_with("expired "), "{earlier}");
    assert_eq!(
        holder
            .ask(ShopCommand::Release { sale })
            .await
            .expect_err("over")
            .code,
        Code::HoldExpired
    );

    holder.insist(reserve(sale)).await;
    roll_back(&world, sale, "holder", earlier).await;
    for command in [
        ShopCommand::Release { sale },
        ShopCommand::Checkout { sale, payment: None },
    ] {
        assert_eq!(holder.ask(command).await.expect_err("lost").code, Code::NoHold);
    }
    world.server.stop().await;
}

/// News of an end that Redis has just noticed, as the worker publishes it.
#[tokio::test]
async fn a_lost_hold_is_revoked_where_an_earlier_one_ends_instead_of_it() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let mut holder = world.shopper("holder").await;
    join_and_reserve(&mut holder, sale).await;
    let client = world.server.app.shop.stock.client();
    let _: i64 = client
        .hdel(
            lane_key(&world, "holds", sale),
            world.person(sale, "holder").await.as_str(),
        )
        .await
        .expect("Redis");
    let now = world.server.app.shop.stock.now().await.expect("Redis");
    world.server.app.shop.live.tell(
        sale,
        world.person(sale, "holder").await,
        ServerMessage::Hold(Hold::ended(sale, HoldState::Expired, 1, now)),
    );
    let told = hold(&mut holder, |_| true).await;
    assert_eq!(
        (told.state, told.reason),
        (HoldState::Revoked, Some(Reason::StockLost))
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_tick_tells_of_a_new_life_that_no_message_told_of() {
    let world = World::start().await;
    // The lost unit is still counted.
    let sale = world
        .sale(json!({ "total_stock": 2, "per_device_limit": 2 }))
        .await;
    let mut holder = world.shopper("holder").await;
    join_and_reserve(&mut holder, sale).await;
    let app = &world.server.app;
    let tick = holder
        .until(|message| match message {
            ServerMessage::Tick(tick) => Some(tick.clone()),
            _ => None,
        })
        .await;
    // Not the one kept in memory: what is kept may be from before the lane was opened.
    let stored = app
        .shop
        .store
        .sale(sale)
        .await
        .expect("Postgres")
        .expect("a sale");
    let life = stored.life();
    // Last, and nothing is passed over after it: the worker may notice by itself.
    let _: i64 = app
        .shop
        .stock
        .client()
        .hdel(lane_key(&world, "holds", sale), world.who("holder").as_str())
        .await
        .expect("Redis");
    app.shop.live.tick(tick, life + 1).await.expect("Redis");
    let told = hold(&mut holder, |_| true).await;
    assert_eq!(
        (told.state, told.reason),
        (HoldState::Revoked, Some(Reason::StockLost))
    );
    let again = hold(&mut holder, |hold| hold.reason == Some(Reason::Restored)).await;
    assert!(again.at > told.at, "whoever hears both knows which was last");
    world.server.stop().await;
}

#[tokio::test]
async fn a_lost_hold_is_had_again_from_the_claim_that_it_was_made_of() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let mut holder = world.shopper("holder").await;
    join(&mut holder, sale).await;
    holder
        .until(|m| matches!(m, ServerMessage::Entry(e) if e.state == EntryState::Admitted).then_some(()))
        .await;
    let claim = record(&world, sale, "holder").await;
    assert!(claim.starts_with("claim "), "{claim}");
    holder.ok(reserve(sale)).await;
    roll_back(&world, sale, "holder", claim).await;
    another_life(&world, sale).await;
    let told = hold(&mut holder, |_| true).await;
    assert_eq!(
        (told.state, told.reason),
        (HoldState::Revoked, Some(Reason::StockLost))
    );
    let again = hold(&mut holder, |hold| hold.reason == Some(Reason::Restored)).await;
    assert!(again.at > told.at, "whoever hears both knows which was last");
    let facts = world.facts(sale).await;
    assert_eq!(
        (&facts["claimed"], &facts["held"], &facts["available"]),
        (&json!(0), &json!(1), &json!(0))
    );
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_has_bought_before_has_their_place_in_line_again_too() {
    let world = World::start().await;
    let sale = world.sale(json!({ "per_shopper_limit": 2 })).await;
    let mut buyer = world.shopper("buyer").await;
    buyer.watch(sale).await;
    buyer.insist(reserve(sale)).await;
    checkout(&mut buyer, sale).await;
    join(&mut buyer, sale).await;
    forget_everything(&world).await;
    buyer
        .until(|message| match message {
            ServerMessage::Entry(entry) if entry.reason == Some(Reason::Restored) => Some(()),
            _ => None,
        })
        .await;
    world.server.stop().await;
}

/// Those who are here have their places again first, and for that moment stand ahead of everybody who is away.
#[tokio::test]
async fn whoever_is_here_when_a_line_is_made_anew_is_told_the_place_behind_those_who_are_away() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 2 })).await;
    for name in ["one", "two"] {
        let mut buyer = world.shopper(name).await;
        join_and_reserve(&mut buyer, sale).await;
        checkout(&mut buyer, sale).await;
    }
    for name in ["away", "away_too"] {
        let mut away = world.shopper(name).await;
        join(&mut away, sale).await;
    }
    let (mut first, mut second) = (world.shopper("first").await, world.shopper("second").await);
    join(&mut first, sale).await;
    join(&mut second, sale).await;
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres");
    crate::line::until(async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM queue_entries WHERE sale_id = $1 AND status = 'waiting'",
        )
        .bind(sale.to_string())
        .fetch_one(&pool)
        .await
        .expect("Postgres");
        (waiting == 4).then_some(())
    })
    .await;
    pool.close().await;

    forget_everything(&world).await;

    for (position, waiter) in [(3, &mut first), (4, &mut second)] {
        let told = waiter.until(|message| match message {
            ServerMessage::Entry(entry) if entry.position == position => Some(entry.clone()),
            _ => None,
        });
        let entry = told.await;
        assert_eq!(
            (entry.state, entry.reason),
            (EntryState::Waiting, Some(Reason::Restored)),
            "a page that shows a better place takes a worse one only with a reason"
        );
        let now = waiter.until(|message| match message {
            ServerMessage::Tick(tick) if tick.waiting == 4 && tick.now >= entry.at => Some(tick.admitted),
            _ => None,
        });
        assert_eq!(entry.admitted, now.await, "what the next places are counted from");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_waits_after_a_hold_of_theirs_has_ended_has_their_place_again() {
    let world = World::start().await;
    let sale = world.sale(json!({ "hold_ms": 1_000 })).await;
    let mut waiter = world.shopper("waiter").await;
    waiter.watch(sale).await;
    waiter.insist(reserve(sale)).await;
    hold(&mut waiter, |hold| hold.state == HoldState::Expired).await;
    let mut buyer = world.shopper("buyer").await;
    buyer.watch(sale).await;
    buyer.insist(reserve(sale)).await;
    checkout(&mut buyer, sale).await;
    join(&mut waiter, sale).await;
    forget_everything(&world).await;
    waiter
        .until(|message| match message {
            ServerMessage::Entry(entry) if entry.reason == Some(Reason::Restored) => Some(()),
            _ => None,
        })
        .await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_hold_that_comes_back_is_revoked_where_its_shopper_has_bought_up_to_the_limit() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "total_stock": 3, "per_shopper_limit": 1 }))
        .await;
    let mut holder = world.shopper("holder").await;
    holder.watch(sale).await;
    holder.insist(reserve(sale)).await;
    let earlier = record(&world, sale, "holder").await;
    holder.ok(ShopCommand::Release { sale }).await;
    holder.insist(reserve(sale)).await;
    checkout(&mut holder, sale).await;

    roll_back(&world, sale, "holder", earlier).await;
    another_life(&world, sale).await;
    let revoked = hold(&mut holder, |hold| hold.state == HoldState::Revoked).await;
    assert_eq!(revoked.reason, Some(Reason::StockLost));
    let facts = world.facts(sale).await;
    assert_eq!(
        (&facts["sold"], &facts["held"], &facts["available"]),
        (&json!(1), &json!(0), &json!(2))
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_supply_can_be_raised_for_those_who_wait_and_lowered_as_far_as_units_are_free() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 1 })).await;
    let mut first = world.shopper("first").await;
    join_and_reserve(&mut first, sale).await;
    let mut second = world.shopper("second").await;
    join(&mut second, sale).await;
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/supply");
    let set = async |total: i64| {
        let body = json!({ "total_stock": total }).to_string();
        world.rest(Method::POST, &path, Some(&boss), &[], body).await
    };
    let answer = set(5).await;
    assert_eq!(
        (answer.status, &answer.body["total_stock"]),
        (200, &json!(5)),
        "{answer:?}"
    );
    second
        .until(|message| {
            matches!(message, ServerMessage::Entry(e) if e.state == EntryState::Admitted).then_some(())
        })
        .await;
    // One in a cart, one set aside: two is the least.
    let before = world.facts(sale).await;
    let refusal = set(1).await;
    assert_eq!(refusal.refusal(), Code::SupplyInUse);
    assert!(refusal.detail().contains("less than 2"), "{refusal:?}");
    assert_eq!(world.facts(sale).await, before);
    assert_eq!(set(2).await.status, 200);
    let facts = world.facts(sale).await;
    assert_eq!((&facts["supply"], &facts["available"]), (&json!(2), &json!(0)));
    for wrong in [0, -1, 2_147_483_648] {
        assert_eq!(set(wrong).await.refusal(), Code::InvalidField);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn units_move_to_the_lane_whose_shoppers_wait() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 2, "lanes": 2 })).await;
    let info = world.server.app.shop.sale(sale).await.expect("the sale");
    // Two shoppers of one lane: the other lane's unit is for them too.
    let mut names = Vec::new();
    for name in (0..100).map(|i| format!("u{i}")) {
        if info.lane_of(&world.person(sale, &name).await).lane == 0 {
            names.push(name);
        }
    }
    for name in names.into_iter().take(2) {
        let mut shopper = world.shopper(&name).await;
        join_and_reserve(&mut shopper, sale).await;
        checkout(&mut shopper, sale).await;
    }
    let lanes = world.server.app.shop.store.lanes(sale).await.expect("Postgres");
    assert_eq!(
        lanes
            .iter()
            .map(|lane| (lane.supply, lane.allocated))
            .collect::<Vec<_>>(),
        [(2, 2), (0, 0)]
    );
    world.server.stop().await;
}

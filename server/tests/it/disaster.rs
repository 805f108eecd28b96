//! Postgres comes back with less than it had: promoted without its tail, or restored to an earlier moment. Nothing is sold until an
//! operator has confirmed it; then nobody is oversold, no money stays without an order, and whoever has lost an order is told. The
//! restored database is made here by putting the rows of an earlier moment back; `scripts/restore-drill` restores a real one.

use crate::{
    audit::verify,
    harness::{Answer, Client, DEADLINE, NONCE, QUICK, World, command_id},
    purchase::{approve, checkout, join_and_reserve, reserve},
    recovery::forget_everything,
};
use flashsale::server::Server;
use flashsale_engine::{
    chain::ChainEnd, sale::LaneRef, settle::disaster, stock::rebuild::LaneLife, store::OrderRow,
};
use flashsale_protocol::{
    Code, Command, ConnectionCommand, Done, Order, OrderId, OrderStatus, Quantity, Reason, Role, SaleId,
    ServerMessage, ShopCommand,
};
use fred::interfaces::HashesInterface;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use std::time::{Duration, Instant};

const AT_ONCE: usize = 8;
const RESTORE_TRIES: usize = 20;
/// Everything but the migrations, what is older than the chain, and the books of the provider, which it keeps elsewhere.
const OURS: &str = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'
    AND tablename NOT LIKE 'sandbox%' AND tablename NOT IN ('_sqlx_migrations', 'audit_log_unchained')";

/// A world whose Postgres can be put back to an earlier moment.
struct Fragile {
    world: World,
    pool: PgPool,
}

impl Fragile {
    async fn start() -> Self {
        let world = World::with(QUICK).await;
        // One connection, so that what a broken transaction leaves is rolled back where it was begun.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect(&world.database_url);
        let pool = pool.await.expect("Postgres");
        Self { world, pool }
    }

    async fn stop(self) {
        self.pool.close().await;
        self.world.server.stop().await;
    }

    async fn tables(&self) -> Vec<String> {
        sqlx::query_scalar(OURS)
            .fetch_all(&self.pool)
            .await
            .expect("Postgres")
    }

    async fn execute(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn back_up(&self) {
        self.back_up_as("saved").await;
    }

    async fn restore(&self) {
        self.restore_from("saved").await;
    }

    async fn back_up_as(&self, saved: &str) {
        let copies = self
            .tables()
            .await
            .into_iter()
            .map(|table| format!("CREATE TABLE {saved}.{table} AS TABLE public.{table};"));
        let copies: String = copies.collect();
        self.execute(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; DROP SCHEMA IF EXISTS {saved} CASCADE; CREATE SCHEMA {saved}; {copies} COMMIT"
        ))
        .await;
    }

    /// As of the last backup, at one moment.
    async fn restore_from(&self, saved: &str) {
        let back = self.tables().await.into_iter().map(|table| {
            format!("DELETE FROM public.{table}; INSERT INTO public.{table} TABLE {saved}.{table};")
        });
        let back: String = back.collect();
        let sql = format!(
            "BEGIN; SET LOCAL session_replication_role = replica;
             ALTER TABLE audit_log DISABLE TRIGGER append_only; ALTER TABLE audit_rows DISABLE TRIGGER append_only; {back}
             ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only; ALTER TABLE audit_rows ENABLE ALWAYS TRIGGER append_only; COMMIT"
        );
        // Commits that are under way lock rows in another order.
        for _ in 0..RESTORE_TRIES {
            match sqlx::raw_sql(AssertSqlSafe(sql.clone()))
                .execute(&self.pool)
                .await
            {
                Ok(_) => return,
                Err(error) if error.to_string().contains("deadlock") => {
                    self.execute("ROLLBACK".into()).await;
                }
                Err(error) => panic!("cannot restore: {error}"),
            }
        }
        panic!("cannot restore: deadlocks");
    }

    async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Until the provider has taken what so many have paid.
    async fn captured(&self, payments: i64) {
        let until = Instant::now() + DEADLINE;
        while self
            .count("SELECT count(*) FROM sandbox_payments WHERE status = 'captured'")
            .await
            < payments
        {
            assert!(Instant::now() < until, "the money is not taken");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The order, once this holds.
    async fn order_until(&self, order: OrderId, holds: impl Fn(&OrderRow) -> bool) -> OrderRow {
        let until = Instant::now() + DEADLINE;
        loop {
            let row = self
                .world
                .server
                .app
                .shop
                .store
                .order(order)
                .await
                .expect("Postgres");
            match row {
                Some(row) if holds(&row) => return row,
                row => assert!(Instant::now() < until, "not in time: {row:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn disaster(&self, sale: SaleId) -> Value {
        let (path, boss) = (
            format!("/admin/sales/{sale}/metrics"),
            self.world.token("boss", Role::Admin),
        );
        let answer = self.world.rest(Method::GET, &path, Some(&boss), &[], "").await;
        answer.body["disaster"].clone()
    }

    async fn disaster_until(&self, sale: SaleId, what: &str) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let disaster = self.disaster(sale).await;
            if !disaster[what].is_null() {
                return disaster;
            }
            assert!(Instant::now() < until, "no {what}: {disaster}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn recover(&self, sale: SaleId) -> Answer {
        let (path, boss) = (
            format!("/admin/sales/{sale}/recover"),
            self.world.token("boss", Role::Admin),
        );
        self.world.rest(Method::POST, &path, Some(&boss), &[], "").await
    }

    /// All that must hold when it is over.
    async fn check(&self, sale: SaleId) {
        verify(&self.world, sale).await.expect("a sound log");
        let app = &self.world.server.app;
        let until = Instant::now() + DEADLINE;
        // Refunds are under way for a moment.
        while self
            .count("SELECT count(*) FROM payments WHERE todo IS NOT NULL")
            .await
            + self
                .count("SELECT count(*) FROM refunds WHERE status = 'wanted'")
                .await
            > 0
        {
            assert!(Instant::now() < until, "payments are not settled");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let odd = app.shop.store.money_without_units(sale).await.expect("Postgres");
        assert!(odd.is_empty(), "{odd:?}");
        // At the provider: what is kept is what confirmed orders have paid.
        let kept = self
            .count("SELECT coalesce(sum(amount - refunded), 0)::bigint FROM sandbox_payments WHERE status = 'captured'")
            .await;
        let paid = self
            .count("SELECT coalesce(sum(amount - refunded), 0)::bigint FROM flash_sale_orders WHERE status = 'confirmed'")
            .await;
        assert_eq!(kept, paid);
        let facts = self.world.facts(sale).await;
        let sum: u64 = ["available", "claimed", "held", "ordering", "sold"]
            .iter()
            .map(|place| facts[place].as_u64().expect("a number"))
            .sum();
        assert_eq!(facts["supply"], sum, "{facts}");
        assert_eq!(facts["sold"], facts["allocated"], "{facts}");
    }
}

async fn pay(client: &mut Client, order: OrderId) -> Order {
    let payment = approve();
    match client.ok(ShopCommand::Pay { order, payment }).await {
        Done::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

/// Somebody who has paid for one unit.
async fn buyer(world: &World, sale: SaleId, who: &str) -> (Client, Order) {
    let mut client = world.shopper(who).await;
    client.watch(sale).await;
    client.insist(reserve(sale)).await;
    let order = checkout(&mut client, sale).await;
    let paid = pay(&mut client, order.order).await;
    (client, paid)
}

async fn order_until(client: &mut Client, order: OrderId, holds: impl Fn(&Order) -> bool) -> Order {
    let found = client.until(|message| match message {
        ServerMessage::Order(seen) if seen.order == order && holds(seen) => Some(seen.clone()),
        _ => None,
    });
    tokio::time::timeout(DEADLINE, found).await.expect("news in time")
}

async fn refused(client: &mut Client, command: impl Into<Command>) -> Code {
    let command = command.into();
    let verb = command.verb();
    match client.ask(command).await {
        Err(reject) => reject.code,
        Ok(done) => panic!("{verb}: {done:?}"),
    }
}

#[tokio::test]
async fn selling_stops_when_postgres_is_behind_and_goes_on_without_what_is_lost_when_an_operator_confirms() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let (_before, kept) = buyer(world, sale, "before").await;
    fragile.back_up().await;
    let (mut paid, lost) = buyer(world, sale, "paid").await;
    let mut unpaid = world.shopper("unpaid").await;
    unpaid.watch(sale).await;
    unpaid.insist(reserve(sale)).await;
    let owed = checkout(&mut unpaid, sale).await;
    let mut holder = world.shopper("holder").await;
    holder.watch(sale).await;
    holder.insist(reserve(sale)).await;
    let mut late = world.shopper("late").await;
    late.watch(sale).await;

    fragile.captured(2).await;
    fragile.restore().await;
    let restored = Instant::now();
    let disaster = fragile.disaster_until(sale, "noticed_at").await;
    let noticed = restored.elapsed();
    assert!(noticed < Duration::from_secs(2), "{noticed:?}");
    assert!(
        disaster["known_number"].as_i64() > disaster["found_number"].as_i64(),
        "{disaster}"
    );

    // Nothing is sold, whoever asks; what is known goes on.
    let reject = late.ask(reserve(sale)).await.expect_err("stopped");
    assert_eq!((reject.code, reject.retry), (Code::SaleStopped, true));
    assert!(reject.retry_after_ms.is_some(), "{reject:?}");
    assert_eq!(
        refused(&mut holder, ShopCommand::Checkout { sale, payment: None }).await,
        Code::SaleStopped
    );
    let body = json!({ "sale_id": sale, "quantity_requested": 1 }).to_string();
    let token = world.token("rest", Role::Shopper);
    let answer = world
        .rest(Method::POST, "/carts/rest/items", Some(&token), &[], body)
        .await;
    assert_eq!(answer.refusal(), Code::SaleStopped);
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    // An order that is lost is not said to be unknown, while nobody has looked.
    let payment = approve();
    assert_eq!(
        refused(
            &mut unpaid,
            ShopCommand::Pay {
                order: owed.order,
                payment: payment.clone()
            }
        )
        .await,
        Code::SaleStopped
    );
    let path = format!("/orders/{}", owed.order);
    let token = world.token("unpaid", Role::Shopper);
    let answer = world.rest(Method::GET, &path, Some(&token), &[], "").await;
    assert_eq!(answer.refusal(), Code::SaleStopped);
    let mut in_line = world.shopper("waiter").await;
    in_line.watch(sale).await;
    in_line
        .ok(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;

    let confirmed = Instant::now();
    let answer = fragile.recover(sale).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    fragile.disaster_until(sale, "opened_at").await;
    assert!(
        confirmed.elapsed() < Duration::from_secs(5),
        "{:?}",
        confirmed.elapsed()
    );
    let disaster = fragile.disaster_until(sale, "settled_at").await;
    assert_eq!(
        (&disaster["orders_lost"], &disaster["payments_found"]),
        (&json!(2), &json!(1))
    );

    // Those who have lost an order are told, and the money of it goes back.
    let told = order_until(&mut paid, lost.order, |order| order.refunded == 100).await;
    assert_eq!(
        (told.status, told.reason),
        (OrderStatus::Cancelled, Some(Reason::OrderLost))
    );
    let told = order_until(&mut unpaid, owed.order, |order| {
        order.status == OrderStatus::Cancelled
    })
    .await;
    assert_eq!(told.reason, Some(Reason::OrderLost));
    for command in [
        ShopCommand::Pay {
            order: owed.order,
            payment,
        },
        ShopCommand::Cancel { order: owed.order },
    ] {
        assert_eq!(refused(&mut unpaid, command).await, Code::OrderLost);
    }
    let answer = world.rest(Method::GET, &path, Some(&token), &[], "").await;
    assert_eq!(
        (answer.status, &answer.body["reason"]),
        (200, &json!("order_lost"))
    );
    let state = unpaid.watch(sale).await;
    assert!(
        state
            .orders
            .iter()
            .any(|order| order.reason == Some(Reason::OrderLost)),
        "{state:?}"
    );
    // What was in a cart still is; what was there before still is; who waited is called.
    checkout(&mut holder, sale).await;
    let row = world
        .server
        .app
        .shop
        .store
        .order(kept.order)
        .await
        .expect("Postgres")
        .expect("there");
    assert_eq!(row.status, OrderStatus::Confirmed);
    in_line
        .until(|message| match message {
            ServerMessage::Entry(entry) if entry.claim_until.is_some() => Some(()),
            _ => None,
        })
        .await;
    in_line.ok(reserve(sale)).await;
    checkout(&mut in_line, sale).await;
    late.insist(reserve(sale)).await;
    checkout(&mut late, sale).await;
    // Five units: one from before, and four sold since, the lost ones among them.
    let (_last, _) = buyer(world, sale, "last").await;
    assert_eq!(fragile.recover(sale).await.refusal(), Code::NothingToRecover);
    let mut none = world.shopper("none").await;
    none.watch(sale).await;
    let code = refused(&mut none, reserve(sale)).await;
    assert!(
        matches!(code, Code::SoldOut | Code::NoneFree | Code::JoinFirst),
        "{code:?}"
    );
    let rows = world
        .server
        .app
        .shop
        .store
        .audit_rows(sale, 0, 1_000)
        .await
        .expect("Postgres");
    let recovered: Vec<_> = rows.iter().filter(|row| row.kind == "recovered").collect();
    let [row] = recovered.as_slice() else {
        panic!("{recovered:?}")
    };
    assert_eq!(row.actor, json!({ "kind": "operator", "id": "boss" }));
    assert!(row.data["known"].as_i64() > row.data["found"].as_i64(), "{row:?}");
    fragile.check(sale).await;
    fragile.stop().await;
}

#[tokio::test]
async fn a_recovery_that_is_asked_for_eight_times_at_once_and_again_refunds_each_lost_payment_once() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 8, "lanes": 2 })).await;
    let mut before = world.shopper("before").await;
    join_and_reserve(&mut before, sale).await;
    fragile.back_up().await;
    let mut lost = Vec::new();
    for who in ["u1", "u2", "u3"] {
        let mut client = world.shopper(who).await;
        join_and_reserve(&mut client, sale).await;
        let order = checkout(&mut client, sale).await;
        pay(&mut client, order.order).await;
        lost.push((client, order.order));
    }
    let other = world.another("127.0.0.1:0").await;
    fragile.captured(3).await;
    fragile.restore().await;
    fragile.disaster_until(sale, "noticed_at").await;
    let answers = join_all((0..AT_ONCE).map(|_| fragile.recover(sale))).await;
    assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.refusal(), Code::NothingToRecover);
    }
    fragile.disaster_until(sale, "settled_at").await;
    assert_eq!(fragile.recover(sale).await.refusal(), Code::NothingToRecover);
    for (_, order) in &lost {
        fragile.order_until(*order, |order| order.refunded == 100).await;
    }
    fragile.check(sale).await;
    assert_eq!(fragile.count("SELECT count(*) FROM sandbox_refunds").await, 3);
    assert_eq!(
        fragile
            .count("SELECT sum(refunded)::bigint FROM sandbox_payments")
            .await,
        300
    );
    checkout(&mut before, sale).await;
    other.stop().await;
    fragile.stop().await;
}

#[tokio::test]
async fn an_order_that_redis_has_forgotten_is_found_by_its_money_and_one_that_lost_only_its_payment_is_paid_again()
 {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world
        .sale(json!({ "total_stock": 5, "per_shopper_limit": 3 }))
        .await;
    let mut early = world.shopper("early").await;
    early.watch(sale).await;
    early.insist(reserve(sale)).await;
    let kept = checkout(&mut early, sale).await;
    fragile.back_up().await;
    pay(&mut early, kept.order).await;
    // A lane remembers a shopper's latest order only.
    let (mut twice, first) = buyer(world, sale, "twice").await;
    twice.insist(reserve(sale)).await;
    let second = checkout(&mut twice, sale).await;
    pay(&mut twice, second.order).await;

    fragile.captured(3).await;
    fragile.restore().await;
    fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(fragile.recover(sale).await.status, 200);
    let disaster = fragile.disaster_until(sale, "settled_at").await;
    assert_eq!(
        (&disaster["orders_lost"], &disaster["payments_found"]),
        (&json!(2), &json!(3))
    );
    for order in [first.order, second.order] {
        let row = fragile.order_until(order, |order| order.refunded == 100).await;
        assert_eq!(row.reason, Some(Reason::OrderLost));
    }
    let paid = fragile
        .order_until(kept.order, |order| order.status == OrderStatus::Confirmed)
        .await;
    assert_eq!(paid.refunded, 0);
    fragile.check(sale).await;
    fragile.stop().await;
}

#[tokio::test]
async fn an_order_that_was_lost_without_a_trace_is_not_said_to_be_unknown() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world
        .sale(json!({ "total_stock": 5, "per_shopper_limit": 3 }))
        .await;
    fragile.back_up().await;
    let mut shopper = world.shopper("u1").await;
    shopper.watch(sale).await;
    // Nobody has paid for the first, and the lane remembers the second.
    let mut made = Vec::new();
    for _ in 0..2 {
        shopper.insist(reserve(sale)).await;
        made.push(checkout(&mut shopper, sale).await.order);
    }
    fragile.restore().await;
    fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(fragile.recover(sale).await.status, 200);
    let disaster = fragile.disaster_until(sale, "settled_at").await;
    assert_eq!(disaster["orders_lost"], 1);
    let token = world.token("u1", Role::Shopper);
    for order in made {
        let payment = approve();
        assert_eq!(
            refused(&mut shopper, ShopCommand::Pay { order, payment }).await,
            Code::OrderLost
        );
        assert_eq!(
            refused(&mut shopper, ShopCommand::Cancel { order }).await,
            Code::OrderLost
        );
    }
    // Of another time.
    let order = OrderId::from_parts(1, rand::random());
    assert_eq!(
        refused(&mut shopper, ShopCommand::Cancel { order }).await,
        Code::OrderUnknown
    );
    let answer = world
        .rest(Method::GET, &format!("/orders/{order}"), Some(&token), &[], "")
        .await;
    assert_eq!(answer.refusal(), Code::OrderUnknown);
    fragile.check(sale).await;
    fragile.stop().await;
}

#[tokio::test]
async fn the_checkout_of_a_lost_order_that_comes_again_makes_no_second_order_of_it_and_takes_no_refunded_money()
 {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world
        .sale(json!({ "total_stock": 5, "per_shopper_limit": 3 }))
        .await;
    let mut shopper = world.shopper("u1").await;
    shopper.watch(sale).await;
    fragile.back_up().await;
    shopper.insist(reserve(sale)).await;
    let (checking, paying) = (command_id(), command_id());
    let made = shopper
        .ask_as(checking, ShopCommand::Checkout { sale, payment: None })
        .await;
    let Ok(Done::Order(made)) = made else {
        panic!("{made:?}")
    };
    let pay = ShopCommand::Pay {
        order: made.order,
        payment: approve(),
    };
    shopper.ask_as(paying, pay.clone()).await.expect("paid");
    fragile.captured(1).await;
    fragile.restore().await;
    fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(fragile.recover(sale).await.status, 200);
    fragile.disaster_until(sale, "settled_at").await;
    fragile
        .order_until(made.order, |order| order.refunded == 100)
        .await;
    let checkout = ShopCommand::Checkout { sale, payment: None };
    for hold in [false, true] {
        if hold {
            shopper.insist(reserve(sale)).await;
        }
        let again = shopper
            .ask_as(checking, checkout.clone())
            .await
            .expect_err("lost");
        assert_eq!(again.code, Code::OrderLost, "with a later hold: {hold}");
        let again = shopper.ask_as(paying, pay.clone()).await.expect_err("lost");
        assert_eq!(again.code, Code::OrderLost);
    }
    // The later hold is untouched by it.
    shopper.ok(checkout).await;
    fragile.check(sale).await;
    fragile.stop().await;
}

#[tokio::test]
async fn a_lane_that_lives_in_a_later_epoch_than_postgres_knows_stops_the_sale() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    let app = &world.server.app;
    fragile.back_up().await;
    // A new life of the lane, and nothing else that Postgres could lose.
    forget_everything(world).await;
    let until = Instant::now() + DEADLINE;
    loop {
        let lanes = app.shop.store.lanes(sale).await.expect("Postgres");
        let at = LaneRef {
            sale,
            lane: 0,
            epoch: lanes[0].epoch,
        };
        if at.epoch > 1 && app.shop.stock.probe_lane(at).await.ok() == Some(LaneLife::Open) {
            break;
        }
        assert!(Instant::now() < until, "the lane is not rebuilt");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fragile.restore().await;
    fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(fragile.recover(sale).await.status, 200);
    fragile.disaster_until(sale, "settled_at").await;
    let lanes = app.shop.store.lanes(sale).await.expect("Postgres");
    assert!(lanes[0].epoch > 2, "above the one in Redis: {lanes:?}");
    let (_buyer, _) = buyer(world, sale, "u1").await;
    fragile.check(sale).await;
    fragile.stop().await;
}

/// Another life of Postgres has written other rows under the numbers of the lost ones, and more.
#[tokio::test]
async fn a_lost_row_is_missed_although_another_life_of_postgres_has_come_further_since() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    let (_buyer, _) = buyer(world, sale, "u1").await;
    let app = &world.server.app;
    let found = app
        .shop
        .store
        .testify(sale, &[])
        .await
        .expect("Postgres")
        .expect("the sale");
    let at = LaneRef {
        sale,
        lane: 0,
        epoch: 1,
    };
    let (_, end) = found.end_of(0);
    let lost = ChainEnd {
        life: 1,
        number: end.number,
        hash: !end.hash,
    };
    app.shop.stock.note_chain(at, lost, None).await.expect("Redis");
    app.shop.stock.note_chain(at, end, None).await.expect("Redis");
    fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(fragile.recover(sale).await.status, 200);
    fragile.disaster_until(sale, "settled_at").await;
    // Nobody was lost in it.
    let (_another, _) = buyer(world, sale, "u2").await;
    fragile.check(sale).await;
    fragile.stop().await;
}

/// Until Redis knows the ends of all of the sale's audit chains.
async fn told(world: &World, sale: SaleId) {
    let shop = &world.server.app.shop;
    let row = shop.store.sale(sale).await.expect("Postgres").expect("the sale");
    let until = Instant::now() + DEADLINE;
    loop {
        let witness = shop.stock.witness(&row).await.expect("Redis");
        let now = shop
            .store
            .testify(sale, &[])
            .await
            .expect("Postgres")
            .expect("there");
        let lanes = witness.lanes.iter();
        let of_lanes = lanes.map(|lane| (lane.ends.clone(), now.end_of(lane.lane).1));
        let all: Vec<_> = of_lanes
            .chain([(witness.lanes[0].sale_ends.clone(), now.end)])
            .collect();
        if all
            .iter()
            .all(|(known, end)| end.number == 0 || known.contains(end))
        {
            return;
        }
        assert!(Instant::now() < until, "the leader has not told it: {witness:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_loss_in_one_lane_is_noticed_by_that_lane_s_chain() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 4, "lanes": 2 })).await;
    let row = world
        .server
        .app
        .shop
        .store
        .sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    let of_lane = |lane: u16| {
        let mut names = (0..).map(|number| format!("u{number}"));
        let here = names.find(|name| row.lane_of(&world.who(name)).lane == lane);
        here.expect("some name")
    };
    let (mut first, mut second) = (world.shopper(&of_lane(0)).await, world.shopper(&of_lane(1)).await);
    join_and_reserve(&mut first, sale).await;
    checkout(&mut first, sale).await;
    told(world, sale).await;
    fragile.back_up().await;
    join_and_reserve(&mut second, sale).await;
    let order = checkout(&mut second, sale).await;
    pay(&mut second, order.order).await;
    fragile.captured(1).await;
    told(world, sale).await;
    fragile.restore().await;
    let disaster = fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(
        (
            &disaster["lane"],
            &disaster["known_number"],
            &disaster["found_number"]
        ),
        (&json!(1), &json!(2), &json!(0)),
        "{disaster}"
    );
    assert_eq!(fragile.recover(sale).await.status, 200);
    order_until(&mut second, order.order, |order| {
        order.reason == Some(Reason::OrderLost)
    })
    .await;
    fragile.disaster_until(sale, "settled_at").await;
    fragile.check(sale).await;
    fragile.stop().await;
}

#[tokio::test]
async fn a_lost_command_of_an_operator_is_noticed_by_the_sale_s_own_chain() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 4, "lanes": 2 })).await;
    told(world, sale).await;
    fragile.back_up().await;
    let (path, boss) = (
        format!("/admin/sales/{sale}/pause"),
        world.token("boss", Role::Admin),
    );
    let answer = world.rest(Method::POST, &path, Some(&boss), &[], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    told(world, sale).await;
    fragile.restore().await;
    let disaster = fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(disaster["lane"], Value::Null, "{disaster}");
    assert!(
        disaster["known_number"].as_i64() > disaster["found_number"].as_i64(),
        "{disaster}"
    );
    assert_eq!(fragile.recover(sale).await.status, 200);
    fragile.disaster_until(sale, "settled_at").await;
    // It sells as it did before the command.
    let mut buyer = world.shopper("u1").await;
    join_and_reserve(&mut buyer, sale).await;
    checkout(&mut buyer, sale).await;
    fragile.check(sale).await;
    fragile.stop().await;
}

#[tokio::test]
async fn a_standby_that_is_behind_is_waited_for() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    let (_buyer, _) = buyer(world, sale, "u1").await;
    let app = &world.server.app;
    let row = app
        .shop
        .store
        .sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    // It answers, and takes no changes.
    let name: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&fragile.pool)
        .await
        .expect("Postgres");
    let read_only =
        |word: &str| format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {word}");
    fragile.execute(read_only("on")).await;
    fragile
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flashsale' AND datname = current_database()".into())
        .await;
    let until = Instant::now() + DEADLINE;
    while !app
        .shop
        .store
        .testify(sale, &[])
        .await
        .is_ok_and(|found| found.is_some_and(|found| found.is_read_only))
    {
        assert!(Instant::now() < until, "it takes changes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let at = row.lane_refs().next().expect("a lane");
    let ahead = ChainEnd {
        life: 1,
        number: 1_000,
        hash: 1,
    };
    app.shop.stock.note_chain(at, ahead, None).await.expect("Redis");
    assert_eq!(disaster::look(&app.shop, &row).await.expect("a look"), None);
    // When it takes changes and still has not got it, it is lost.
    fragile
        .execute(format!(
            "SET default_transaction_read_only = off; {}",
            read_only("off")
        ))
        .await;
    fragile.disaster_until(sale, "noticed_at").await;
    fragile.stop().await;
}

#[tokio::test]
async fn money_of_a_lost_order_that_the_provider_has_only_set_apart_is_never_taken() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    fragile.back_up().await;
    let (mut paid, lost) = buyer(world, sale, "u1").await;
    // As it is before the worker has captured it.
    fragile.restore().await;
    fragile
        .execute("UPDATE sandbox_payments SET status = 'authorized', capture_calls = 0".into())
        .await;
    fragile.disaster_until(sale, "noticed_at").await;
    assert_eq!(fragile.recover(sale).await.status, 200);
    order_until(&mut paid, lost.order, |order| {
        order.reason == Some(Reason::OrderLost)
    })
    .await;
    fragile.disaster_until(sale, "settled_at").await;
    fragile.check(sale).await;
    assert_eq!(
        fragile
            .count("SELECT count(*) FROM sandbox_payments WHERE status = 'voided'")
            .await,
        1
    );
    assert_eq!(fragile.count("SELECT count(*) FROM sandbox_refunds").await, 0);
    fragile.stop().await;
}

#[tokio::test]
async fn selling_goes_on_by_itself_when_a_newer_copy_has_all_that_was_missing() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    fragile.back_up().await;
    let (_buyer, order) = buyer(world, sale, "u1").await;
    fragile.captured(1).await;
    // A row that ties the lanes' heads after the copy would be missing in it.
    let tied = world.server.app.shop.store.tie_heads(sale).await;
    tied.expect("Postgres");
    fragile.back_up_as("newer").await;
    fragile.restore().await;
    fragile.disaster_until(sale, "noticed_at").await;
    fragile.restore_from("newer").await;
    let (_another, _) = buyer(world, sale, "u2").await;
    assert_eq!(fragile.disaster(sale).await, Value::Null);
    fragile
        .order_until(order.order, |order| order.status == OrderStatus::Confirmed)
        .await;
    fragile.check(sale).await;
    fragile.stop().await;
}

/// The payment was written down, and asked for, when the copy was made; its outcome was not known yet.
#[tokio::test]
async fn an_order_that_was_being_paid_at_the_moment_of_the_copy_is_confirmed_though_its_time_is_over_since() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({ "total_stock": 3, "payment_ms": 600 })).await;
    let (_buyer, order) = buyer(world, sale, "u1").await;
    fragile.captured(1).await;
    let forget = "BEGIN; UPDATE payments SET status = 'created', pays = FALSE, answer = NULL, answered_at = NULL, todo = 'ask',
            todo_at = now() + interval '1 hour';
        UPDATE flash_sale_orders SET status = 'pending'; UPDATE sale_lanes SET confirmed = 0;";
    // The last row, of the confirmation, with it.
    let cut = "SET LOCAL session_replication_role = replica; ALTER TABLE audit_rows DISABLE TRIGGER append_only;
        DELETE FROM audit_rows WHERE kind = 'order_confirmed';
        UPDATE audit_chains c SET number = r.number, hash = r.hash
            FROM (SELECT * FROM audit_rows WHERE lane = 0 ORDER BY number DESC LIMIT 1) r WHERE c.sale_id = r.sale_id AND c.lane = 0;
        ALTER TABLE audit_rows ENABLE ALWAYS TRIGGER append_only; COMMIT";
    // Redis has heard of it by the leader.
    let row = world
        .server
        .app
        .shop
        .store
        .sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    let end = world
        .server
        .app
        .shop
        .store
        .testify(sale, &[])
        .await
        .expect("Postgres")
        .expect("there")
        .end_of(0)
        .1;
    let until = Instant::now() + DEADLINE;
    while !world
        .server
        .app
        .shop
        .stock
        .witness(&row)
        .await
        .expect("Redis")
        .lanes[0]
        .ends
        .contains(&end)
    {
        assert!(Instant::now() < until, "the leader has not told it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fragile.execute(format!("{forget} {cut}")).await;
    fragile.disaster_until(sale, "noticed_at").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(fragile.recover(sale).await.status, 200);
    fragile
        .order_until(order.order, |order| order.status == OrderStatus::Confirmed)
        .await;
    fragile.disaster_until(sale, "settled_at").await;
    fragile.check(sale).await;
    fragile.stop().await;
}

#[tokio::test]
async fn there_is_nothing_to_recover_where_nothing_is_lost() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let sale = world.sale(json!({})).await;
    let (_buyer, _) = buyer(world, sale, "u1").await;
    let answer = fragile.recover(sale).await;
    assert_eq!((answer.status, answer.refusal()), (409, Code::NothingToRecover));
    assert_eq!(fragile.disaster(sale).await, Value::Null);
    let token = world.token("u1", Role::Shopper);
    let path = format!("/admin/sales/{sale}/recover");
    let answer = world.rest(Method::POST, &path, Some(&token), &[], "").await;
    assert_eq!(answer.refusal(), Code::Forbidden);
    fragile.stop().await;
}

/// One shopper's afternoon: buys, and pays or cancels.
async fn shop(server: &Server, world: &World, sale: SaleId, number: usize) {
    let mut client = Client::connect(server.address).await;
    let token = world.token(&format!("s{number}"), Role::Shopper);
    let device = Some(format!("d{number}").parse().expect("an id"));
    let hello = ConnectionCommand::Hello {
        token,
        device,
        resume: vec![],
        changes: false,
    };
    client.ok(hello).await;
    client.watch(sale).await;
    client
        .insist(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;
    let until = Instant::now() + DEADLINE;
    // A lane that begins another life while they reserve may cost them their turn, as ever.
    while client.ask(reserve(sale)).await.is_err() {
        if Instant::now() > until {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let Done::Order(order) = client.insist(ShopCommand::Checkout { sale, payment: None }).await else {
        panic!("an order")
    };
    let then = if number.is_multiple_of(2) {
        ShopCommand::Pay {
            order: order.order,
            payment: approve(),
        }
    } else {
        ShopCommand::Cancel { order: order.order }
    };
    client.insist(then).await;
}

#[tokio::test]
async fn two_servers_under_load_raise_no_false_alarm() {
    let fragile = Fragile::start().await;
    let world = &fragile.world;
    let other = world.another("127.0.0.1:0").await;
    let sale = world.sale(json!({ "total_stock": 60, "lanes": 4 })).await;
    let app = &world.server.app;
    let looks = async {
        let servers = [app, &other.app];
        for number in 0..200 {
            let app = servers[number % 2];
            let row = app
                .shop
                .store
                .sale(sale)
                .await
                .expect("Postgres")
                .expect("the sale");
            assert_eq!(disaster::look(&app.shop, &row).await.expect("a look"), None);
            if number == 80 {
                // A lane begins another life meanwhile.
                let at = row.lane_refs().next().expect("a lane");
                let key = app.shop.stock.keys().lane("stock", at);
                let _: i64 = app
                    .shop
                    .stock
                    .client()
                    .hset(key, ("run", "another"))
                    .await
                    .expect("Redis");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let boss = world.token("boss", Role::Admin);
    let pauses = async {
        for verb in ["pause", "resume"] {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let path = format!("/admin/sales/{sale}/{verb}");
            world.rest(Method::POST, &path, Some(&boss), &[], "").await;
        }
    };
    let shoppers = join_all((0..40).map(|number| {
        let server = if number % 3 == 0 { &other } else { &world.server };
        shop(server, world, sale, number)
    }));
    tokio::join!(looks, pauses, shoppers);
    assert_eq!(fragile.count("SELECT count(*) FROM disasters").await, 0);
    let row = app
        .shop
        .store
        .sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    let witness = app.shop.stock.witness(&row).await.expect("Redis");
    assert!(
        witness.lanes.iter().any(|lane| !lane.ends.is_empty()),
        "nothing was told: {witness:?}"
    );
    other.stop().await;
    fragile.check(sale).await;
    fragile.stop().await;
}

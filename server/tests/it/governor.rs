//! The governor: fewer people are let in while purchases are slow, and as many as before when they are quick again.

use crate::{
    harness::{Answer, DEADLINE, World},
    purchase::{checkout, join_and_reserve, reserve},
};
use flashsale_protocol::{Code, Quantity, Reason, Role, SaleId, ServerMessage, ShopCommand};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

/// Until then an operator sees that the stores are slow, or quick again.
const NOTICED: Duration = Duration::from_secs(2);

async fn metrics(world: &World, sale: SaleId) -> Value {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/metrics");
    world.rest(Method::GET, &path, Some(&boss), &[], "").await.body
}

async fn set(world: &World, sale: SaleId, body: Value) -> Answer {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/inflow");
    world
        .rest(Method::POST, &path, Some(&boss), &[], body.to_string())
        .await
}

/// Waits until what the shop can carry is so; returns how long that took.
async fn until(world: &World, sale: SaleId, what: impl Fn(&Value) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let numbers = metrics(world, sale).await;
        if what(&numbers["carried"]) {
            return began.elapsed();
        }
        assert!(began.elapsed() < DEADLINE, "{}", numbers["carried"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn while_orders_are_slow_fewer_people_are_let_in_and_then_as_many_as_before() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 50, "inflow": 10 })).await;
    let mut first = world.shopper("u1").await;
    join_and_reserve(&mut first, sale).await;
    checkout(&mut first, sale).await;
    until(&world, sale, |carried| carried["is_limiting"] == false).await;

    // Nobody else writes orders meanwhile: an order waits.
    let mut slow = PgConnection::connect(&world.database_url)
        .await
        .expect("Postgres");
    let mut held = slow.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE sale_lanes IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .expect("locked");
    let mut second = world.shopper("u2").await;
    join_and_reserve(&mut second, sale).await;
    let began = Instant::now();
    let ordering = tokio::spawn(async move {
        second.insist(ShopCommand::Checkout { sale, payment: None }).await;
    });
    until(&world, sale, |carried| carried["is_limiting"] == true).await;
    assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
    let carried = metrics(&world, sale).await["carried"].clone();
    assert!(
        carried["per_second"]
            .as_f64()
            .is_some_and(|n| (5.0..100.0).contains(&n)),
        "{carried}"
    );
    assert!(
        carried["delay_ms"].as_f64().is_some_and(|ms| ms > 125.0),
        "{carried}"
    );

    // The gate is shut as soon as the delay lasts: whoever has no turn joins the line, where people are told why it is slow.
    let mut third = world.shopper("u3").await;
    let began = Instant::now();
    let refused = loop {
        match third.ask(reserve(sale)).await {
            Err(refused) => break refused,
            Ok(_) => third.ok(ShopCommand::Release { sale }).await,
        };
        assert!(began.elapsed() < NOTICED, "the gate stays open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(refused.code, Code::JoinFirst);
    let mut crowd = Vec::new();
    for n in 0..30 {
        let mut client = world.shopper(&format!("c{n}")).await;
        client
            .ok(ShopCommand::Join {
                sale,
                quantity: Quantity::ONE,
                nonce: None,
            })
            .await;
        crowd.push(client);
    }
    third.watch(sale).await;
    third
        .until(|message| match message {
            ServerMessage::Tick(tick) => (tick.slowed == Some(Reason::Capacity)).then_some(()),
            _ => None,
        })
        .await;

    held.rollback().await.expect("unlocked");
    let began = Instant::now();
    ordering.await.expect("the order is placed");
    until(&world, sale, |carried| carried["is_limiting"] == false).await;
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
    // Nobody waits, and the gate is open again.
    let began = Instant::now();
    while third.ask(reserve(sale)).await.is_err() {
        assert!(began.elapsed() < DEADLINE, "the gate stays shut");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn an_operator_sets_how_slow_purchases_may_become() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    assert_eq!(metrics(&world, sale).await["target_delay_ms"], 125);
    for bad in [-1, 0, 9, 10_001] {
        let refused = set(&world, sale, json!({ "inflow": 7, "target_delay_ms": bad })).await;
        assert_eq!(refused.refusal(), Code::InvalidField, "{bad}");
        assert!(
            refused.detail().starts_with("target_delay_ms: must be"),
            "{}",
            refused.detail()
        );
        let made = world.create_sale(json!({ "target_delay_ms": bad })).await;
        assert_eq!(made.refusal(), Code::InvalidField, "{bad}");
    }
    let numbers = metrics(&world, sale).await;
    assert_eq!(numbers["target_delay_ms"], 125, "nothing has changed");
    assert_ne!(numbers["inflow"], 7, "nothing has changed");
    let done = set(&world, sale, json!({ "inflow": 7, "target_delay_ms": 300 })).await;
    assert_eq!(done.status, 200, "{done:?}");
    // An inflow alone leaves the target as it is.
    set(&world, sale, json!({ "inflow": 8 })).await;
    let numbers = metrics(&world, sale).await;
    assert_eq!(
        (&numbers["inflow"], &numbers["target_delay_ms"]),
        (&json!(8), &json!(300))
    );
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/audit");
    let audit = world.rest(Method::GET, &path, Some(&boss), &[], "").await.body;
    let rows = audit["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["kind"] == "target_delay_changed");
    assert_eq!(
        row.expect("a row")["data"],
        json!({ "from_ms": 125, "to_ms": 300 })
    );
    world.server.stop().await;
}

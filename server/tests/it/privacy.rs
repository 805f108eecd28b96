//! What is left of people when their time is up.

use crate::{
    harness::{Client, NONCE, QUICK, World},
    line::until,
    purchase::{checkout, join_and_reserve},
};
use flashsale_engine::{stock::Stands, worker::forget};
use flashsale_protocol::{Code, ConnectionCommand, Quantity, Role, SaleId, ShopCommand};
use fred::interfaces::KeysInterface;
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use std::time::Duration;

async fn set(pool: &PgPool, sql: String) {
    sqlx::query(AssertSqlSafe(sql))
        .execute(pool)
        .await
        .expect("Postgres");
}

/// Every text in every table that may say who somebody is.
async fn everything(pool: &PgPool) -> String {
    let tables = [
        "flash_sale_orders",
        "payments",
        "commands",
        "queue_entries",
        "draw_entries",
        "draw_turns",
        "cancelled_orders",
        "people",
        "payment_events",
        "audit_rows",
        "operator_commands",
    ];
    let mut all = String::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM {table} t")))
            .fetch_all(pool)
            .await
            .expect("Postgres");
        all += &rows.join("\n");
    }
    all
}

async fn end(world: &World, sale: SaleId) {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/end");
    let ended = world.rest(Method::POST, &path, Some(&boss), &[], "").await;
    assert_eq!(ended.status, 200, "{ended:?}");
    let store = &world.server.app.shop.store;
    until(async || {
        let sale = store.sale(sale).await.expect("Postgres").expect("a sale");
        (sale.status == flashsale_protocol::Phase::Ended).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_sale_whose_time_is_up_leaves_redis_and_then_says_nobodys_name() {
    let world = World::start().await;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let sale = world.sale(json!({ "total_stock": 5, "cancel_limit": 3 })).await;
    let mut people = Vec::new();
    for who in ["buys", "cancels"] {
        let mut client = world.shopper(who).await;
        join_and_reserve(&mut client, sale).await;
        let order = checkout(&mut client, sale).await;
        if who == "cancels" {
            client.ok(ShopCommand::Cancel { order: order.order }).await;
        } else {
            let payment = crate::purchase::approve();
            client
                .ok(ShopCommand::Pay {
                    order: order.order,
                    payment,
                })
                .await;
        }
        people.push(world.who(who));
    }
    let shop = &world.server.app.shop;
    until(async || {
        let rows = shop.store.entries_page(sale, "").await.expect("Postgres");
        (rows.len() == 2 && rows.iter().all(|row| row.ended_at.is_some())).then_some(())
    })
    .await;
    end(&world, sale).await;
    let has = async || -> u64 {
        let key = shop.stock.keys().sale("sale", sale);
        shop.stock.client().exists(key).await.expect("Redis")
    };
    assert_eq!(has().await, 1);
    while forget::step(shop).await.expect("a step") {}
    let before = everything(&pool).await;
    for person in &people {
        assert!(before.contains(person.as_str()), "{person}: it is too early");
    }
    assert_eq!(has().await, 1, "it is too early");

    set(&pool, format!("UPDATE flash_sales SET start_time = now() - interval '3 days', end_time = now() - interval '2 days', room_opens_at = now() - interval '4 days' WHERE sale_id = '{sale}'")).await;
    while forget::step(shop).await.expect("a step") {}
    assert_eq!(has().await, 0, "a day is over");
    assert!(
        everything(&pool).await.contains(people[0].as_str()),
        "retention is longer"
    );

    set(&pool, "UPDATE merchants SET retention_days = 1".into()).await;
    while forget::step(shop).await.expect("a step") {}
    let after = everything(&pool).await;
    for person in &people {
        assert!(!after.contains(person.as_str()), "{person}: {after}");
    }
    // What counts is still there, and the log is still right.
    let rows = shop.store.orders_of_sale(sale).await.expect("Postgres");
    assert_eq!(rows.len(), 2);
    let salts: i64 = sqlx::query_scalar("SELECT count(*) FROM sale_salts")
        .fetch_one(&pool)
        .await
        .expect("Postgres");
    assert_eq!(salts, 0);
    crate::audit::verify_all(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn credentials_that_older_releases_stored_are_hashed() {
    let world = World::start().await;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let mut client = world.shopper("u1").await;
    join_and_reserve(&mut client, sale).await;
    let order = checkout(&mut client, sale).await;
    client.ok(ShopCommand::Cancel { order: order.order }).await;
    let secret = "d_AAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBB";
    end(&world, sale).await;
    // As a release of before has left it.
    for (table, column) in [("flash_sale_orders", "device_id"), ("queue_entries", "device_id")] {
        set(
            &pool,
            format!("UPDATE {table} SET {column} = '{secret}' WHERE sale_id = '{sale}'"),
        )
        .await;
    }
    set(&pool, format!("UPDATE flash_sales SET format = 1, devices_hidden_at = NULL, start_time = now() - interval '3 hours', end_time = now() - interval '2 hours', room_opens_at = now() - interval '4 hours' WHERE sale_id = '{sale}'")).await;
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/entries.csv");
    let export = async || {
        let answer = world
            .http
            .get(world.url(&path))
            .bearer_auth(&boss)
            .send()
            .await
            .expect("answers");
        answer.text().await.expect("text")
    };
    let csv = export().await;
    assert!(!csv.contains(secret), "no export shows one: {csv}");
    while forget::step(&world.server.app.shop).await.expect("a step") {}
    let all = everything(&pool).await;
    assert!(!all.contains(secret), "{all}");
    assert!(all.contains("h_"), "the same device is still the same text");
    world.server.stop().await;
}

const ROUNDS: u64 = 24;
const ROUNDS_AT_ONCE: usize = 6;

/// Two processes, four requests to be forgotten and four joins, all at once and a little apart.
#[tokio::test]
async fn whoever_joins_while_they_are_forgotten_has_their_place_or_is_forgotten_and_never_half_of_each() {
    let world = World::with(QUICK).await;
    let elsewhere = world.another("127.0.0.1:0").await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let sale = world
        .sale(json!({
            "total_stock": 50, "start_time": soon.to_rfc3339(),
            "end_time": (soon + chrono::TimeDelta::hours(1)).to_rfc3339(),
            "room_opens_at": (chrono::Utc::now() - chrono::TimeDelta::seconds(1)).to_rfc3339(),
        }))
        .await;
    let servers = [&world.server, &elsewhere];
    let rounds = (0..ROUNDS).map(|round| {
        let world = &world;
        async move {
            let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
            let text = |name: &str| session[name].as_str().expect("a text").to_owned();
            let person = world.person(sale, &text("shopper")).await;
            let mut sockets = Vec::new();
            for n in 0..4 {
                let mut socket = Client::connect(servers[n % 2].address).await;
                let hello = ConnectionCommand::Hello {
                    token: text("token"),
                    device: Some(text("device").parse().expect("an id")),
                    resume: vec![],
                    changes: false,
                };
                socket.ok(hello).await;
                sockets.push(socket);
            }
            let token = text("token");
            let forgetting = join_all((0..4).map(|n| {
                let request = world.http.delete(format!("{}/me", servers[n % 2].origin));
                let request = request.bearer_auth(&token).send();
                async move { request.await.expect("an answer").status().as_u16() }
            }));
            let joining = join_all(sockets.iter_mut().enumerate().map(|(n, socket)| async move {
                // From before the first look until after it, and about the second one.
                let late_ms = if round % 4 == 3 { 1_450 } else { 0 };
                tokio::time::sleep(Duration::from_millis(late_ms + round * 3 + n as u64)).await;
                let join = ShopCommand::Join {
                    sale,
                    quantity: Quantity::ONE,
                    nonce: Some(NONCE),
                };
                socket.ask(join).await.map_err(|reject| reject.code)
            }));
            let (forgotten, joined) = tokio::join!(forgetting, joining);
            let told = format!("round {round}: {forgotten:?} {joined:?}");
            assert!(
                forgotten.iter().all(|status| [204, 401, 409].contains(status)),
                "{told}"
            );
            let stock = &world.server.app.shop.stock;
            let place = stock.place(sale, person.clone()).await.expect("Redis");
            let has_place = place.value.value != Stands::Nowhere;
            if forgotten.contains(&204) {
                assert!(joined.iter().all(Result::is_err) && !has_place, "{told}");
            } else {
                assert!(joined.iter().any(Result::is_ok) && has_place, "{told}");
            }
        }
    });
    stream::iter(rounds)
        .buffer_unordered(ROUNDS_AT_ONCE)
        .collect::<()>()
        .await;
    elsewhere.stop().await;
    world.server.stop().await;
}

/// A process that died between its two looks locks nobody out for long.
#[tokio::test]
async fn a_request_to_be_forgotten_that_was_left_behind_counts_for_some_seconds_only() {
    let world = World::with(QUICK).await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let mut client = world.shopper("u1").await;
    let join = || ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: Some(NONCE),
    };
    for (age, outcome) in [("1 second", Err(Code::Busy)), ("31 seconds", Ok(()))] {
        let sql = format!(
            "INSERT INTO leaving_people (person_id, request, since) VALUES ('u1', 'x', now() - interval '{age}')
             ON CONFLICT (person_id) DO UPDATE SET since = excluded.since"
        );
        set(&pool, sql).await;
        world.server.app.shop.merchants.refresh().await.expect("Postgres");
        let got = client.ask(join()).await.map(|_| ()).map_err(|reject| reject.code);
        assert_eq!(got, outcome, "{age}");
    }
    pool.close().await;
    world.server.stop().await;
}

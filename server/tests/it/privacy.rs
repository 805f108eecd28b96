//! What is left of people when their time is up.

use crate::{
    harness::World,
    line::until,
    purchase::{checkout, join_and_reserve},
};
use flashsale_engine::worker::forget;
use flashsale_protocol::{Role, SaleId, ShopCommand};
use fred::interfaces::KeysInterface;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

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

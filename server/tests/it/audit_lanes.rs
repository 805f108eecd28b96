//! The audit log of format 2: one chain for each lane and the sale's own, which ties them; actors with kinds, and shoppers by
//! pseudonyms. Each bad log is found out by its row.

use crate::{
    audit::{command_line, execute, lane, order, rows, sale_of_format, verify, verify_all},
    draw::enter,
    harness::{DEADLINE, World, command_id},
    purchase::{approve, checkout, join_and_reserve},
};
use flashsale_engine::{
    sale::MoveId,
    store::{
        Cancel, Cancelling,
        audit::{self, Actor, AuditRow, Kind, pseudonym},
    },
};
use flashsale_protocol::{Done, EntryState, OrderId, Phase, Role, SaleId, ServerMessage, ShopCommand};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
const TABLES: [&str; 2] = ["audit_log", "audit_rows"];

/// The first statement of a list that says what a chain's head is now.
fn head(lane: i64, number: i64) -> String {
    format!(
        "UPDATE audit_chains SET number = {number}, hash = coalesce(
             (SELECT hash FROM audit_rows WHERE sale_id = 'SALE' AND lane = {lane} AND number = {number}),
             decode(repeat('00', 32), 'hex')) WHERE sale_id = 'SALE' AND lane = {lane};"
    )
}

/// A row as a forger would make it, whose hash fits, at the end of its chain. It takes the place of one that is there.
fn forge(lane: i64, number: i64, kind: &str, data: &str) -> String {
    let (before, name) = (
        number - 1,
        if lane < 0 {
            "null".to_owned()
        } else {
            lane.to_string()
        },
    );
    format!(
        "DELETE FROM audit_rows WHERE sale_id = 'SALE' AND lane = {lane} AND number = {number};
         INSERT INTO audit_rows
         SELECT 'SALE', {lane}, {number}, at, '{{\"kind\":\"worker\"}}', '{kind}', '{data}', last,
             sha256(convert_to(format('[2,\"SALE\",{name},{number},%s,{{\"kind\":\"worker\"}},\"{kind}\",{data},\"%s\"]',
                 (extract(epoch FROM at) * 1000000)::bigint, encode(last, 'hex')), 'UTF8'))
         FROM (SELECT clock_timestamp() AS at, coalesce(
             (SELECT hash FROM audit_rows WHERE sale_id = 'SALE' AND lane = {lane} AND number = {before}),
             decode(repeat('00', 32), 'hex')) AS last) AS before;"
    ) + &head(lane, number)
}

async fn tie(world: &World, sale: SaleId) -> bool {
    let tied = world.server.app.shop.store.tie_heads(sale).await;
    tied.expect("Postgres")
}

async fn move_one(world: &World, sale: SaleId) {
    let (from, to) = (lane(world, sale, 0).await, lane(world, sale, 1).await);
    let moved = world
        .server
        .app
        .shop
        .store
        .move_supply(MoveId::random(), from, to, 1)
        .await;
    assert!(moved.expect("Postgres").is_some());
}

/// A sale of two lanes. Lane 0: three orders placed, the first one cancelled, a unit moved to lane 1. Lane 1: the same move. The
/// sale's own chain: created, heads tied.
async fn eight_rows(world: &World) -> (SaleId, Vec<OrderId>) {
    let sale = sale_of_format(world, json!({ "total_stock": 8, "lanes": 2 }), 2).await;
    let (at, store) = (lane(world, sale, 0).await, &world.server.app.shop.store);
    let mut orders = Vec::new();
    for who in ["u1", "u2", "u3"] {
        let order = order(at, who);
        orders.push(order.order);
        store.place(order).await.expect("Postgres");
    }
    let cancel = Cancel {
        order: orders[0],
        shopper: "u1".parse().expect("an id"),
        operator: None,
        command: command_id(),
        digest: vec![0; 32],
    };
    let cancelled = store.cancel(cancel).await.expect("Postgres");
    assert!(matches!(cancelled, Cancelling::Now(_)), "{cancelled:?}");
    move_one(world, sale).await;
    assert!(tie(world, sale).await);
    (sale, orders)
}

#[tokio::test]
async fn each_bad_log_of_lanes_is_found_out_by_its_row() {
    // No worker: nobody else writes.
    let world = World::with(&["--roles", "gateway"]).await;
    execute(&world, "ALTER TABLE audit_rows DISABLE TRIGGER append_only").await;
    let log = |what: &str| {
        format!("UPDATE audit_rows SET {what} WHERE sale_id = 'SALE' AND lane = 0 AND number = 3")
    };
    let cut = |lane: i64, number: i64| {
        format!("DELETE FROM audit_rows WHERE sale_id = 'SALE' AND lane = {lane} AND number >= {number};")
            + &head(lane, number - 1)
    };
    let supply = |lane: i64, units: i64| {
        format!("UPDATE sale_lanes SET supply = {units} WHERE sale_id = 'SALE' AND lane = {lane};")
    };
    let gift = r#"{"amount":0,"lane":0,"order":"01ARZ3NDEKTSV4RRFFQ69G5FAV","units":1}"#;
    let heads = |first: &str, second: &str| {
        format!(
            r#"{{"lanes":[{{"hash":"{first}","lane":0,"number":5}},{{"hash":"{second}","lane":1,"number":1}}]}}"#
        )
    };
    let zeros = "0".repeat(64);
    let order = |what: &str| format!("UPDATE flash_sale_orders SET {what} WHERE order_id = 'ORDER'");
    let cases = [
        (log("data = jsonb_set(data, '{units}', '2')"), "lane=0 row=3", "not that of what it says"),
        (log("actor = '{\"kind\":\"worker\"}'"), "lane=0 row=3", "not that of what it says"),
        (log("kind = 'order_confirmed'"), "lane=0 row=3", "not that of what it says"),
        (log("at = at + interval '1 microsecond'"), "lane=0 row=3", "not that of what it says"),
        (log("hash = sha256('x')"), "lane=0 row=3", "not that of what it says"),
        (log("previous = sha256('x')"), "lane=0 row=3", "`previous`"),
        (log("lane = 1, number = 2"), "lane=0 row=3", "missing"),
        ("DELETE FROM audit_rows WHERE sale_id = 'SALE' AND lane = 0 AND number = 3".into(), "lane=0 row=3", "missing"),
        ("DELETE FROM audit_rows WHERE sale_id = 'SALE' AND lane = 0 AND number = 5".into(), "lane=0 row=5", "missing"),
        ("DELETE FROM audit_rows WHERE sale_id = 'SALE' AND lane = 1".into(), "lane=1 row=1", "missing"),
        ("DELETE FROM audit_rows WHERE sale_id = 'SALE' AND lane = -1 AND number = 2".into(), "row=2", "missing"),
        ("DELETE FROM audit_rows WHERE sale_id = 'SALE'".into(), "row=1", "missing"),
        // Two lanes in each other's place, heads and all.
        (
            "UPDATE audit_rows SET lane = lane + 10 WHERE sale_id = 'SALE' AND lane >= 0;
             UPDATE audit_rows SET lane = 11 - lane WHERE sale_id = 'SALE' AND lane >= 0;
             UPDATE audit_chains SET lane = lane + 10 WHERE sale_id = 'SALE' AND lane >= 0;
             UPDATE audit_chains SET lane = 11 - lane WHERE sale_id = 'SALE' AND lane >= 0"
                .into(),
            "lane=0 row=1",
            "not that of what it says",
        ),
        ("UPDATE audit_rows SET lane = 2 WHERE sale_id = 'SALE' AND lane = 1".into(), "lane=1 row=1", "missing"),
        (
            "INSERT INTO audit_rows SELECT sale_id, 2, number, at, actor, kind, data, previous, hash FROM audit_rows
             WHERE sale_id = 'SALE' AND lane = 1"
                .into(),
            "lane=2 row=1",
            "no such lane",
        ),
        ("INSERT INTO audit_chains VALUES ('SALE', 2)".into(), "lane=2 row=1", "no such lane"),
        (
            "INSERT INTO audit_log SELECT sale_id, number, at, 'worker', kind, data, previous, hash FROM audit_rows
             WHERE sale_id = 'SALE' AND lane = 1"
                .into(),
            "audit_log=SALE/1",
            "no chain of format 1",
        ),
        ("UPDATE flash_sales SET format = 1 WHERE sale_id = 'SALE'".into(), "row=0", "no head in audit_heads"),
        (
            forge(0, 6, "order_placed", gift) + "UPDATE audit_chains SET number = 5 WHERE sale_id = 'SALE' AND lane = 0",
            "lane=0 row=6",
            "behind the head",
        ),
        (forge(0, 6, "order_placed", gift), "sale_lanes=SALE/0", "the log comes to"),
        (forge(0, 6, "gift", "{}"), "lane=0 row=6", "cannot be replayed"),
        (forge(0, 6, "sale_status", r#"{"to":"ended"}"#), "lane=0 row=6", "do not stand in this chain"),
        (forge(-1, 3, "order_placed", gift), "row=3", "do not stand in this chain"),
        (forge(1, 2, "order_placed", gift), "lane=1 row=2", "stands in the chain of lane 1"),
        ("UPDATE audit_chains SET hash = sha256('x') WHERE sale_id = 'SALE' AND lane = 1".into(), "lane=1 row=1", "head"),
        ("DELETE FROM audit_chains WHERE sale_id = 'SALE' AND lane = 0".into(), "lane=0 row=5", "no head"),
        ("DELETE FROM audit_chains WHERE sale_id = 'SALE' AND lane = -1".into(), "row=2", "no head"),
        // A move in one chain only, or with other units in each.
        (cut(1, 1) + &supply(1, 4), "lane=0 row=5", "the chain of lane 1 has no row of this move"),
        (cut(0, 5) + &supply(0, 4), "lane=1 row=1", "the chain of lane 0 has no row of this move"),
        (
            forge(1, 1, "supply_moved", r#"{"from":0,"move":"x","to":1,"units":2}"#) + &supply(1, 6),
            "lane=0 row=5",
            "the chain of lane 1 has no row of this move",
        ),
        (
            forge(1, 2, "supply_changed", r#"{"lanes":[1],"move":"x","units":[1]}"#) + &supply(1, 6),
            "lane=1 row=2",
            "the sale's own chain has no row of this change",
        ),
        (forge(1, 1, "supply_moved", r#"{"from":0,"to":1,"units":1}"#), "lane=1 row=1", "\"move\""),
        // Both lanes lose the move, and all tables with them: only the tie knows.
        (
            cut(0, 5) + &cut(1, 1) + &supply(0, 4) + &supply(1, 4),
            "row=2",
            "the row 5 of lane 0 that it ties is not there",
        ),
        (forge(-1, 2, "heads_tied", &heads(&zeros, &zeros)), "row=2", "lane 0"),
        (
            forge(-1, 3, "heads_tied", r#"{"lanes":[{"hash":"0","lane":0,"number":4},{"hash":"0","lane":1,"number":1}]}"#),
            "row=3",
            "at row 5 by an earlier one",
        ),
        (forge(-1, 3, "heads_tied", r#"{"lanes":[{"hash":"0","lane":0,"number":5}]}"#), "row=3", "every lane"),
        (forge(-1, 3, "heads_tied", "{}"), "row=3", "no list of heads"),
        ("UPDATE sale_lanes SET allocated = 1 WHERE sale_id = 'SALE' AND lane = 0".into(), "sale_lanes=SALE/0", "allocated: 1"),
        (supply(1, 6), "sale_lanes=SALE/1", "supply: 6"),
        ("UPDATE flash_sales SET total_stock = 9 WHERE sale_id = 'SALE'".into(), "flash_sales=SALE", "total_stock"),
        (order("status = 'confirmed'"), "flash_sale_orders=ORDER", "row 2 of lane 0's chain"),
        (order("amount = 1"), "flash_sale_orders=ORDER", "row 2 of lane 0's chain"),
        (order("lane = 1"), "flash_sale_orders=ORDER", "row 2 of lane 0's chain"),
        ("DELETE FROM flash_sale_orders WHERE order_id = 'ORDER'".into(), "flash_sale_orders=ORDER", "not there"),
        (
            "INSERT INTO flash_sale_orders SELECT (json_populate_record(o, '{\"order_id\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}')).*
             FROM flash_sale_orders o WHERE order_id = 'ORDER'"
                .into(),
            "flash_sale_orders=01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "no row",
        ),
    ];
    for (sql, at, what) in cases {
        let (sale, orders) = eight_rows(&world).await;
        let sound = verify(&world, sale).await.expect("a sound log");
        assert_eq!((sound.rows, sound.untied), (8, 0));
        let named = |text: &str| {
            text.replace("SALE", &sale.to_string())
                .replace("ORDER", &orders[1].to_string())
        };
        execute(&world, &named(&sql)).await;
        let bad = verify(&world, sale).await.expect_err(&sql);
        assert_eq!(bad.at, named(at), "{sql}: {bad:?}");
        assert!(bad.what.contains(what), "{sql}: {bad:?}");
        // A copied order has an id that is there once only.
        execute(
            &world,
            "DELETE FROM flash_sale_orders WHERE order_id = '01ARZ3NDEKTSV4RRFFQ69G5FAV'",
        )
        .await;
    }
    let (sale, _) = eight_rows(&world).await;
    let (code, text) = command_line(&world, &[]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("ok sale={sale} rows=8 head=")), "{text}");
    let named = |line: &str| line.starts_with("bad sale=") && line.contains(" lane=0 row=3: ");
    assert!(text.lines().any(named), "{text}");
    world.server.stop().await;
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_rows_of_either_format() {
    let world = World::with(&["--roles", "gateway"]).await;
    let (sale, _) = eight_rows(&world).await;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    for sql in [
        "UPDATE audit_rows SET kind = 'x'",
        "DELETE FROM audit_rows",
        "TRUNCATE audit_rows",
        "SET session_replication_role = replica; DELETE FROM audit_rows",
    ] {
        let refusal = sqlx::raw_sql(sql)
            .execute(&pool)
            .await
            .expect_err(sql)
            .to_string();
        assert!(refusal.contains("append-only"), "{sql}: {refusal}");
    }
    assert_eq!(verify(&world, sale).await.expect("a sound log").rows, 8);
    world.server.stop().await;
}

#[tokio::test]
async fn sales_of_both_formats_stand_beside_each_other_and_each_keeps_its_own() {
    let world = World::with(&["--roles", "gateway"]).await;
    let fields = json!({ "total_stock": 4, "lanes": 2 });
    let old = sale_of_format(&world, fields.clone(), 1).await;
    let new = sale_of_format(&world, fields, 2).await;
    for sale in [old, new] {
        let at = lane(&world, sale, 1).await;
        let placed = world.server.app.shop.store.place(order(at, "worker")).await;
        placed.expect("Postgres");
        move_one(&world, sale).await;
        assert_eq!(tie(&world, sale).await, sale == new);
    }
    verify_all(&world).await;
    let found = rows(&world, old).await;
    let actors: Vec<&Value> = found.iter().map(|row| &row.actor).collect();
    assert_eq!(
        actors,
        [&json!("boss"), &json!("person:worker"), &json!("worker")]
    );
    assert!(found.iter().all(|row| row.lane.is_none()));
    assert_eq!(verify(&world, old).await.map(|sound| sound.untied), Ok(0));
    let found = rows(&world, new).await;
    let places: Vec<(Option<i16>, &str)> = found.iter().map(|row| (row.lane, row.kind.as_str())).collect();
    let expected = [
        (None, "sale_created"),
        (Some(1), "order_placed"),
        (Some(0), "supply_moved"),
        (Some(1), "supply_moved"),
        (None, "heads_tied"),
    ];
    assert!(expected.iter().all(|place| places.contains(place)), "{places:?}");
    assert_eq!(places.len(), expected.len());
    world.server.stop().await;
}

#[tokio::test]
async fn a_shopper_stands_as_a_pseudonym_until_the_salt_is_deleted_and_the_log_is_sound_without_it() {
    let world = World::with(&["--roles", "gateway"]).await;
    let (sale, _) = eight_rows(&world).await;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let salt: Vec<u8> = sqlx::query_scalar("SELECT salt FROM sale_salts WHERE sale_id = $1")
        .bind(sale.to_string())
        .fetch_one(&pool)
        .await
        .expect("a salt");
    let name = pseudonym(&salt, &"u1".parse().expect("an id"));
    let actor = json!({ "kind": "shopper", "id": name });
    let of_u1 = |rows: &[audit::Row]| rows.iter().filter(|row| row.actor == actor).count();
    assert_eq!(of_u1(&rows(&world, sale).await), 2, "placed and cancelled");
    // Another sale has another salt.
    let (other, _) = eight_rows(&world).await;
    assert_eq!(of_u1(&rows(&world, other).await), 0);

    let store = &world.server.app.shop.store;
    assert!(store.delete_salt(sale).await.expect("Postgres"));
    assert!(!store.delete_salt(sale).await.expect("Postgres"));
    verify(&world, sale).await.expect("a sound log");
    store
        .place(order(lane(&world, sale, 0).await, "u4"))
        .await
        .expect("Postgres");
    let sound = verify(&world, sale).await.expect("a sound log");
    assert_eq!((sound.rows, sound.untied), (9, 1));
    let found = rows(&world, sale).await;
    assert_eq!(found.last().expect("a row").actor, json!({ "kind": "shopper" }));
    let (_, text) = command_line(&world, &["--sale", &sale.to_string()]).await;
    assert!(text.trim_end().ends_with(" untied=1"), "{text}");
    world.server.stop().await;
}

#[tokio::test]
async fn nobody_can_be_mistaken_for_the_server_and_an_operator_is_seen_to_act_for_a_shopper() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 4 })).await;
    for who in ["worker", "provider", "migration"] {
        let mut client = world.shopper(who).await;
        join_and_reserve(&mut client, sale).await;
        checkout(&mut client, sale).await;
    }
    let admin = world.token("boss", Role::Admin);
    let headers = ["idempotency-key"; 2].map(|name| (name, command_id().to_string()));
    let [first, second] = headers
        .each_ref()
        .map(|(name, id)| [(*name, id.as_str()), ("x-device-id", "desk")]);
    let body = json!({ "sale_id": sale, "quantity_requested": 1 }).to_string();
    let answer = world
        .rest(Method::POST, "/carts/ann/items", Some(&admin), &first, body)
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = json!({ "user_id": "ann", "cart_items": [{ "sale_id": sale }] }).to_string();
    let answer = world
        .rest(Method::POST, "/orders", Some(&admin), &second, body)
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");

    let found = rows(&world, sale).await;
    let placed: Vec<&Value> = found
        .iter()
        .filter(|row| row.kind == "order_placed")
        .map(|row| &row.actor)
        .collect();
    assert_eq!(placed.len(), 4);
    assert!(
        placed[..3].iter().all(|actor| actor["kind"] == "shopper"),
        "{placed:?}"
    );
    assert_eq!(
        (&placed[3]["kind"], &placed[3]["id"]),
        (&json!("operator"), &json!("boss"))
    );
    assert!(
        placed[3]["on_behalf_of"]
            .as_str()
            .is_some_and(|name| name.len() == 32),
        "{placed:?}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn no_shopper_or_device_is_named_in_any_row_of_a_purchase_a_refund_and_a_draw() {
    let world = World::start().await;
    let people = ["mallory-buys", "mallory-leaves", "mallory-draws"];
    let sale = world.sale(json!({ "total_stock": 4, "lanes": 2 })).await;
    for who in &people[..2] {
        let mut client = world.shopper(who).await;
        join_and_reserve(&mut client, sale).await;
        let order = checkout(&mut client, sale).await.order;
        if *who == people[1] {
            client.ok(ShopCommand::Cancel { order }).await;
            continue;
        }
        let payment = approve();
        client.ok(ShopCommand::Pay { order, payment }).await;
        let path = format!("/admin/orders/{order}/refund");
        let boss = world.token("boss", Role::Admin);
        let key = command_id().to_string();
        let headers = [("idempotency-key", key.as_str())];
        let answer = world.rest(Method::POST, &path, Some(&boss), &headers, "{}").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        client
            .until(|m| matches!(m, ServerMessage::Order(o) if o.refunded > 0).then_some(()))
            .await;
    }
    let drawn = world
        .sale(json!({ "allocation": "draw", "total_stock": 1 }))
        .await;
    let mut client = world.shopper(people[2]).await;
    client.watch(drawn).await;
    enter(&mut client, drawn, 1).await.expect("enters");
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{drawn}/end");
    let answer = world.rest(Method::POST, &path, Some(&boss), &[], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    client
        .until(|m| matches!(m, ServerMessage::Entry(e) if e.state == EntryState::Admitted).then_some(()))
        .await;
    let reserve = crate::purchase::reserve(drawn);
    client.ok(reserve).await;
    let order = checkout(&mut client, drawn).await.order;
    let paid = client
        .ok(ShopCommand::Pay {
            order,
            payment: approve(),
        })
        .await;
    assert!(matches!(paid, Done::Order(_)), "{paid:?}");
    crate::draw::phase(&world, drawn, Phase::Ended).await;

    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let mut kinds = Vec::new();
    for table in TABLES {
        let rows: Vec<(String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT kind, t::text FROM {table} AS t"
        )))
        .fetch_all(&pool)
        .await
        .expect("Postgres");
        for (kind, text) in rows {
            assert!(!text.contains("mallory") && !text.contains("device"), "{text}");
            for who in people {
                assert!(!text.contains(world.who(who).as_str()), "{who}: {text}");
            }
            kinds.push(kind);
        }
    }
    for kind in [
        "order_placed",
        "order_confirmed",
        "order_cancelled",
        "refund_asked",
        "refund_done",
        "draw_closed",
        "draw_held",
        "draw_over",
    ] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
    verify_all(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_lane_does_not_wait_for_another_lane_s_commit() {
    let world = World::with(&["--roles", "gateway"]).await;
    let sale = sale_of_format(&world, json!({ "total_stock": 4, "lanes": 2 }), 2).await;
    let store = &world.server.app.shop.store;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let mut tx = pool.begin().await.expect("Postgres");
    let held = AuditRow {
        sale,
        actor: Actor::Worker,
        kind: Kind::PaymentMismatch,
        data: json!({ "lane": 0 }),
    };
    audit::write(&mut tx, &[held]).await.expect("Postgres");
    let placed = store.place(order(lane(&world, sale, 1).await, "u1"));
    let placed = tokio::time::timeout(DEADLINE / 2, placed).await;
    placed.expect("does not wait").expect("Postgres");
    // A tie tells of what is committed, and waits for nobody either.
    let tied = tokio::time::timeout(DEADLINE / 2, store.tie_heads(sale)).await;
    assert!(tied.expect("does not wait").expect("Postgres"));
    tx.commit().await.expect("Postgres");
    assert_eq!(verify(&world, sale).await.map(|sound| sound.untied), Ok(1));
    assert!(tie(&world, sale).await && !tie(&world, sale).await);
    assert_eq!(verify(&world, sale).await.map(|sound| sound.untied), Ok(0));
    world.server.stop().await;
}

#[tokio::test]
async fn orders_moves_ties_and_operators_at_once_wait_for_each_other_in_one_order() {
    const EACH: usize = 25;
    let world = World::with(&["--roles", "gateway"]).await;
    let sale = sale_of_format(&world, json!({ "total_stock": 1000, "lanes": 2 }), 2).await;
    let store = &world.server.app.shop.store;
    let lanes = [lane(&world, sale, 0).await, lane(&world, sale, 1).await];
    let writers = (0..7).map(|writer| async move {
        for i in 0..EACH {
            match writer {
                0 | 1 => {
                    let placed = store.place(order(lanes[writer], &format!("u{writer}-{i}"))).await;
                    placed.expect("Postgres");
                }
                2 | 3 => {
                    let (from, to) = (lanes[writer - 2], lanes[3 - writer]);
                    let moved = store.move_supply(MoveId::random(), from, to, 1).await;
                    assert!(moved.expect("no deadlock").is_some());
                }
                4 | 5 => drop(store.tie_heads(sale).await.expect("no deadlock")),
                _ => {
                    let (from, to) = [
                        (Phase::Scheduled, Phase::Paused),
                        (Phase::Paused, Phase::Scheduled),
                    ][i % 2];
                    let boss = Actor::Operator("boss".into());
                    let set = store.set_status(sale, &[from], to, boss).await;
                    assert!(set.expect("no deadlock"));
                }
            }
        }
    });
    futures_util::future::join_all(writers).await;
    tie(&world, sale).await;
    let sound = verify(&world, sale).await.expect("a sound log");
    assert_eq!(sound.untied, 0);
    let ties = rows(&world, sale).await;
    let ties = ties.iter().filter(|row| row.kind == "heads_tied").count();
    // Two writers of orders, two of moves, each in both chains, and one of states.
    assert_eq!(sound.rows as usize, 1 + 7 * EACH + ties);
    world.server.stop().await;
}

/// Until the worker has tied every row, with so many rows at least.
async fn tied(world: &World, sale: SaleId, least: i64) {
    let until = Instant::now() + DEADLINE;
    loop {
        let sound = verify(world, sale).await.expect("a sound log");
        if sound.untied == 0 && sound.rows >= least {
            return;
        }
        assert!(Instant::now() < until, "{sound:?}");
        tokio::time::sleep(POLL).await;
    }
}

async fn metrics(world: &World) -> String {
    let answer = world
        .http
        .get(world.url("/metrics"))
        .send()
        .await
        .expect("an answer");
    answer.text().await.expect("a body")
}

#[tokio::test]
async fn the_last_change_of_a_sale_is_tied_also_when_it_comes_long_after_the_end() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 2, "lanes": 2 })).await;
    let mut client = world.shopper("u1").await;
    join_and_reserve(&mut client, sale).await;
    let order = checkout(&mut client, sale).await.order;
    let payment = approve();
    client.ok(ShopCommand::Pay { order, payment }).await;
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/end");
    let answer = world.rest(Method::POST, &path, Some(&boss), &[], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    crate::draw::phase(&world, sale, Phase::Ended).await;
    tied(&world, sale, 5).await;
    // Nobody leads it any more until something is left of it.
    execute(&world, &format!("UPDATE flash_sales SET end_time = now() - interval '1 day', start_time = now() - interval '2 days', room_opens_at = now() - interval '2 days' WHERE sale_id = '{sale}'")).await;
    let until = Instant::now() + DEADLINE;
    while !metrics(&world)
        .await
        .lines()
        .any(|line| line == "flashsale_sales_led 0")
    {
        assert!(Instant::now() < until, "somebody leads it");
        tokio::time::sleep(POLL).await;
    }
    let path = format!("/admin/orders/{order}/refund");
    let key = command_id().to_string();
    let headers = [("idempotency-key", key.as_str())];
    let answer = world.rest(Method::POST, &path, Some(&boss), &headers, "{}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    client
        .until(|m| matches!(m, ServerMessage::Order(o) if o.refunded > 0).then_some(()))
        .await;
    tied(&world, sale, 8).await;
    let found = rows(&world, sale).await;
    assert_eq!(found.last().expect("a row").kind, "heads_tied");
    world.server.stop().await;
}

#[tokio::test]
async fn each_chain_of_a_sale_is_read_page_by_page() {
    let world = World::with(&["--roles", "gateway"]).await;
    let (sale, _) = eight_rows(&world).await;
    let admin = world.token("boss", Role::Admin);
    let get = async |sale: SaleId, query: &str| -> Value {
        let path = format!("/admin/sales/{sale}/audit{query}");
        world.rest(Method::GET, &path, Some(&admin), &[], "").await.body
    };
    let page = get(sale, "").await;
    assert_eq!((&page["format"], &page["lanes"]), (&json!(2), &json!(2)));
    let kinds = |page: &Value| -> Vec<String> {
        let rows = page["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["kind"].as_str().expect("a kind").to_owned())
            .collect()
    };
    assert_eq!(kinds(&page), ["sale_created", "heads_tied"]);
    assert!(page["rows"][0]["lane"].is_null());
    let mut all = Vec::new();
    loop {
        let page = get(sale, &format!("?lane=0&limit=2&after={}", all.len())).await;
        if kinds(&page).is_empty() {
            break;
        }
        assert!(
            page["rows"]
                .as_array()
                .expect("rows")
                .iter()
                .all(|row| row["lane"] == 0)
        );
        all.extend(kinds(&page));
    }
    assert_eq!(
        all,
        [
            "order_placed",
            "order_placed",
            "order_placed",
            "order_cancelled",
            "supply_moved"
        ]
    );
    assert_eq!(kinds(&get(sale, "?lane=1").await), ["supply_moved"]);
    for query in ["?lane=2", "?lane=-1", "?lane=x", "?lane=65536"] {
        assert_eq!(get(sale, query).await["code"], "invalid_field", "{query}");
    }
    let old = sale_of_format(&world, json!({ "total_stock": 4, "lanes": 2 }), 1).await;
    let page = get(old, "").await;
    assert_eq!((&page["format"], &page["lanes"]), (&json!(1), &json!(0)));
    assert_eq!(page["rows"][0]["actor"], "boss");
    assert_eq!(get(old, "?lane=0").await["code"], "invalid_field");
    world.server.stop().await;
}

/// The page's Python program, with these arguments. True: it ended well.
async fn python(world: &World, sale: SaleId) -> (bool, String) {
    let page = crate::tidy::read("docs/audit.md");
    let (_, program) = page.split_once("```python\n").expect("a program");
    let (program, _) = program.split_once("```").expect("an end");
    let token = world.token("boss", Role::Admin);
    let output = tokio::process::Command::new("python3")
        .args(["-c", program, &world.url(""), &sale.to_string(), &token])
        .output()
        .await
        .expect("runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).expect("UTF-8"))
}

#[tokio::test]
async fn the_program_of_the_page_agrees_with_ours_about_both_formats() {
    let world = World::with(&["--roles", "gateway"]).await;
    let (new, _) = eight_rows(&world).await;
    let old = sale_of_format(&world, json!({ "total_stock": 4, "lanes": 2 }), 1).await;
    let at = lane(&world, old, 0).await;
    let placed = world.server.app.shop.store.place(order(at, "u1")).await;
    placed.expect("Postgres");
    for sale in [new, old] {
        let sound = verify(&world, sale).await.expect("a sound log");
        let said = format!("ok sale={sale} rows={} head={}\n", sound.rows, sound.head);
        assert_eq!(python(&world, sale).await, (true, said));
    }
    execute(&world, "ALTER TABLE audit_rows DISABLE TRIGGER append_only").await;
    let sql = format!("UPDATE audit_rows SET kind = 'x' WHERE sale_id = '{new}' AND lane = 0 AND number = 3");
    execute(&world, &sql).await;
    assert_eq!(python(&world, new).await, (false, "bad lane=0 row=3\n".into()));
    world.server.stop().await;
}

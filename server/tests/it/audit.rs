//! The audit log: a whole sale can be replayed from it, it cannot be changed, and whoever does so is found out. Bad logs of format 1
//! are here, those of format 2 in `audit_lanes.rs`.

use crate::{
    harness::{World, command_id},
    purchase::{approve, checkout, join_and_reserve},
};
use flashsale_engine::{
    sale::{LaneRef, MoveId},
    store::{
        Cancel, Cancelling, NewOrder,
        audit::{self, Actor, AuditRow, Bad, Kind, Row, Verified},
    },
};
use flashsale_protocol::{OrderId, OrderStatus, Phase, Role, SaleId, ServerMessage, ShopCommand};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::process::Stdio;

pub async fn verify(world: &World, sale: SaleId) -> Result<Verified, Bad> {
    let mut found = None;
    audit::verify(&world.database_url, Some(sale), |_, result| found = Some(result))
        .await
        .expect("Postgres");
    found.expect("one sale")
}

/// All rows of a sale, those of lanes' chains among the others, in the order of their times.
pub async fn rows(world: &World, sale: SaleId) -> Vec<Row> {
    let store = &world.server.app.shop.store;
    let mut rows = store.audit_rows(sale, 0, 10_000).await.expect("Postgres");
    let lanes = store.lanes(sale).await.expect("Postgres");
    for lane in lanes {
        let more = store.audit_rows_of_lane(sale, lane.lane, 0, 10_000).await;
        rows.extend(more.expect("Postgres"));
    }
    rows.sort_by_key(|row| (row.at, row.lane, row.number));
    rows
}

/// A copy of a sale in another format, without a worker's or an operator's doing.
pub async fn sale_of_format(world: &World, fields: Value, format: u16) -> SaleId {
    let like = world.sale(fields).await;
    let store = &world.server.app.shop.store;
    let mut sale = store.sale(like).await.expect("Postgres").expect("the sale");
    sale.id = SaleId::from_parts(1, rand::random());
    sale.format = format;
    store.create_sale(&sale, None).await.expect("Postgres");
    sale.id
}

pub async fn verify_all(world: &World) {
    let result = audit::verify(&world.database_url, None, |sale, result| {
        if let Err(bad) = result {
            panic!("{sale}: {bad:?}");
        }
    });
    result.await.expect("Postgres");
}

/// The exit code, and what was printed.
pub async fn command_line(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_flashsale"))
        .args(["audit", "verify", "--database-url", &world.database_url])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code(), text)
}

pub async fn execute(world: &World, sql: &str) {
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&pool)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    pool.close().await;
}

pub async fn lane(world: &World, sale: SaleId, lane: usize) -> LaneRef {
    let sale = world.server.app.shop.store.sale(sale).await.expect("Postgres");
    sale.expect("the sale").lane_refs().nth(lane).expect("the lane")
}

pub fn order(at: LaneRef, shopper: &str) -> NewOrder {
    NewOrder {
        at,
        order: OrderId::from_parts(1, rand::random()),
        shopper: shopper.parse().expect("an id"),
        operator: None,
        device: "dev".parse().expect("an id"),
        command: command_id(),
        hold_command: command_id().to_string(),
        hold_name: "h".into(),
        digest: vec![0; 32],
        quantity: 1,
        unit_price: 100,
        amount: 100,
        currency: "EUR".into(),
        payment_ms: 300_000,
        cancel_limit: 1_000_000,
        terms: None,
        person: None,
    }
}

#[tokio::test]
async fn a_whole_sale_is_replayed_from_its_log_to_what_is_in_the_tables() {
    let world = World::start().await;
    let store = &world.server.app.shop.store;
    let sale = world
        .sale(json!({ "total_stock": 8, "lanes": 2, "payment_ms": 1500 }))
        .await;
    let (from, to) = (lane(&world, sale, 0).await, lane(&world, sale, 1).await);
    let moved = store.move_supply(MoveId::random(), from, to, 1).await;
    assert!(moved.expect("Postgres").is_some());
    for who in ["pays", "cancels", "forgets"] {
        let mut shopper = world.shopper(who).await;
        join_and_reserve(&mut shopper, sale).await;
        let order = checkout(&mut shopper, sale).await.order;
        match who {
            "pays" => {
                shopper
                    .ok(ShopCommand::Pay {
                        order,
                        payment: approve(),
                    })
                    .await
            }
            "cancels" => shopper.ok(ShopCommand::Cancel { order }).await,
            _ => {
                let unpaid = |m: &ServerMessage| matches!(m, ServerMessage::Order(o) if o.status == OrderStatus::Cancelled);
                shopper.until(|m| unpaid(m).then_some(())).await;
                continue;
            }
        };
    }
    let (never, who) = (OrderId::from_parts(1, 7), "u1".parse().expect("an id"));
    for _ in 0..2 {
        let (at, device) = (lane(&world, sale, 1).await, "dev".parse().expect("an id"));
        store
            .settle_abandoned(at, never, &who, &device)
            .await
            .expect("Postgres");
    }
    store.raise_epoch(sale, 0, 5).await.expect("Postgres");
    let admin = world.token("boss", Role::Admin);
    for (action, body) in [
        ("pause", ""),
        ("resume", ""),
        ("supply", r#"{"total_stock":9}"#),
        ("end", ""),
    ] {
        let path = format!("/admin/sales/{sale}/{action}");
        let answer = world.rest(Method::POST, &path, Some(&admin), &[], body).await;
        assert_eq!(answer.status, 200, "{action}: {answer:?}");
    }

    let rows = rows(&world, sale).await;
    let count = |kind: &str| rows.iter().filter(|row| row.kind == kind).count();
    for (kind, times) in [
        ("sale_created", 1),
        // In both lanes' chains; in those of both lanes and in the sale's own.
        ("supply_moved", 2),
        ("supply_changed", 2),
        ("order_placed", 3),
        ("order_confirmed", 1),
        ("order_cancelled", 2),
        ("order_abandoned", 1),
    ] {
        assert_eq!(count(kind), times, "{kind}");
    }
    assert!(count("lane_reopened") >= 1 && count("sale_status") >= 3);
    let (code, text) = command_line(&world, &["--sale", &sale.to_string()]).await;
    assert!(
        code == Some(0) && text.starts_with(&format!("ok sale={sale} rows=")),
        "{text}"
    );
    world.server.stop().await;
}

/// A sale of format 1 with five rows in its log: created, three orders placed, the first one cancelled.
async fn five_rows(world: &World) -> (SaleId, Vec<OrderId>) {
    let sale = sale_of_format(world, json!({ "total_stock": 5 }), 1).await;
    let (at, store) = (lane(world, sale, 0).await, &world.server.app.shop.store);
    let mut orders = Vec::new();
    for who in ["u1", "u2", "u3"] {
        let order = order(at, who);
        orders.push(order.order);
        store.place(order).await.expect("Postgres");
    }
    let who = "u1".parse().expect("an id");
    let cancel = Cancel {
        order: orders[0],
        shopper: who,
        operator: None,
        command: command_id(),
        digest: vec![0; 32],
    };
    let cancelled = store.cancel(cancel).await.expect("Postgres");
    assert!(matches!(cancelled, Cancelling::Now(_)), "{cancelled:?}");
    (sale, orders)
}

#[tokio::test]
async fn whoever_changes_the_log_or_what_it_tells_of_is_found_out_by_the_row() {
    // No worker: nobody else writes.
    let world = World::with(&["--roles", "gateway"]).await;
    execute(&world, "ALTER TABLE audit_log DISABLE TRIGGER append_only").await;
    // A row as a forger would make it, whose hash fits: number, kind and data follow.
    let forge = |number: i64, kind: &str, data: &str| {
        format!(
            "INSERT INTO audit_log
             SELECT sale_id, {number}, at, actor, '{kind}', '{data}', hash,
                sha256(convert_to(format('[\"%s\",{number},%s,\"%s\",\"{kind}\",{data},\"%s\"]', sale_id,
                    (extract(epoch FROM at) * 1000000)::bigint, actor, encode(hash, 'hex')), 'UTF8'))
             FROM audit_log WHERE sale_id = 'SALE' AND number = {number} - 1;"
        )
    };
    let head = "UPDATE audit_heads h SET number = l.number, hash = l.hash FROM audit_log l
                WHERE h.sale_id = 'SALE' AND l.sale_id = 'SALE' AND l.number = 6;";
    let gift = r#"{"amount":0,"lane":0,"order":"01ARZ3NDEKTSV4RRFFQ69G5FAV","units":1}"#;
    let log = |what: &str| format!("UPDATE audit_log SET {what} WHERE sale_id = 'SALE' AND number = 3");
    let cases = [
        (log("data = jsonb_set(data, '{units}', '2')"), "row=3", "not that of what it says"),
        (log("actor = 'nobody'"), "row=3", "not that of what it says"),
        (log("kind = 'order_confirmed'"), "row=3", "not that of what it says"),
        (log("at = at + interval '1 microsecond'"), "row=3", "not that of what it says"),
        (log("hash = sha256('x')"), "row=3", "not that of what it says"),
        (log("previous = sha256('x')"), "row=3", "`previous`"),
        ("DELETE FROM audit_log WHERE sale_id = 'SALE' AND number = 3".into(), "row=3", "missing"),
        ("DELETE FROM audit_log WHERE sale_id = 'SALE' AND number = 5".into(), "row=5", "missing"),
        ("DELETE FROM audit_log WHERE sale_id = 'SALE'".into(), "row=1", "missing"),
        (
            "UPDATE audit_log SET number = 10 - number WHERE sale_id = 'SALE' AND number IN (3, 4);
             UPDATE audit_log SET number = number - 3 WHERE sale_id = 'SALE' AND number IN (6, 7)"
                .into(),
            "row=3",
            "`previous`",
        ),
        (
            "INSERT INTO audit_log SELECT sale_id, 6, at, actor, kind, data, hash, sha256('x') FROM audit_log
             WHERE sale_id = 'SALE' AND number = 5"
                .into(),
            "row=6",
            "not that of what it says",
        ),
        (forge(6, "sale_status", r#"{"to":"scheduled"}"#), "row=6", "behind the head"),
        (forge(6, "order_placed", gift) + head, "sale_lanes=SALE/0", "the log comes to"),
        (forge(6, "gift", "{}") + head, "row=6", "cannot be replayed"),
        (
            "UPDATE audit_heads SET hash = sha256('x') WHERE sale_id = 'SALE'".into(),
            "row=5",
            "head",
        ),
        ("DELETE FROM audit_heads WHERE sale_id = 'SALE'".into(), "row=5", "head"),
        (
            "UPDATE sale_lanes SET allocated = 1 WHERE sale_id = 'SALE'".into(),
            "sale_lanes=SALE/0",
            "allocated: 1",
        ),
        (
            "UPDATE sale_lanes SET supply = 6 WHERE sale_id = 'SALE'".into(),
            "sale_lanes=SALE/0",
            "supply: 6",
        ),
        (
            "UPDATE flash_sales SET sale_price = 1 WHERE sale_id = 'SALE'".into(),
            "flash_sales=SALE",
            "sale_price",
        ),
        (
            "UPDATE flash_sale_orders SET status = 'confirmed' WHERE order_id = 'ORDER'".into(),
            "flash_sale_orders=ORDER",
            "row 3 of the log",
        ),
        (
            "UPDATE flash_sale_orders SET amount = 1 WHERE order_id = 'ORDER'".into(),
            "flash_sale_orders=ORDER",
            "row 3 of the log",
        ),
        (
            "DELETE FROM flash_sale_orders WHERE order_id = 'ORDER'".into(),
            "flash_sale_orders=ORDER",
            "not there",
        ),
        (
            "INSERT INTO flash_sale_orders SELECT (json_populate_record(o, '{\"order_id\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}')).*
             FROM flash_sale_orders o WHERE order_id = 'ORDER'"
                .into(),
            "flash_sale_orders=01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "no row",
        ),
    ];
    for (sql, at, what) in cases {
        let (sale, orders) = five_rows(&world).await;
        assert_eq!(verify(&world, sale).await.expect("a sound log").rows, 5);
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
    let (sale, _) = five_rows(&world).await;
    let (code, text) = command_line(&world, &[]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("ok sale={sale} rows=5 head=")), "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("bad sale=") && line.contains(" row=3: ")),
        "{text}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_the_log() {
    let world = World::with(&["--roles", "gateway"]).await;
    let (sale, _) = five_rows(&world).await;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    for sql in [
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "SET session_replication_role = replica; DELETE FROM audit_log",
    ] {
        let refusal = sqlx::raw_sql(sql)
            .execute(&pool)
            .await
            .expect_err(sql)
            .to_string();
        assert!(refusal.contains("append-only"), "{sql}: {refusal}");
    }
    assert_eq!(verify(&world, sale).await.expect("a sound log").rows, 5);
    world.server.stop().await;
}

#[tokio::test]
async fn eight_writers_at_once_make_sound_chains_of_both_formats() {
    const EACH: usize = 25;
    let world = World::with(&["--roles", "gateway"]).await;
    let store = &world.server.app.shop.store;
    let fields = json!({ "total_stock": 1000, "lanes": 2 });
    let sales = [
        sale_of_format(&world, fields.clone(), 1).await,
        sale_of_format(&world, fields, 2).await,
    ];
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let writers = (0..8).map(|writer| {
        let (world, pool) = (&world, &pool);
        async move {
            let at = lane(world, sales[writer / 4], writer % 2).await;
            for i in 0..EACH {
                match writer % 4 {
                    0 | 1 => {
                        let placed = store.place(order(at, &format!("u{writer}-{i}"))).await;
                        placed.expect("Postgres");
                    }
                    2 => {
                        let (from, to) = [
                            (Phase::Scheduled, Phase::Paused),
                            (Phase::Paused, Phase::Scheduled),
                        ][i % 2];
                        assert!(
                            store
                                .set_status(at.sale, &[from], to, Actor::Operator("boss".into()))
                                .await
                                .expect("Postgres")
                        );
                    }
                    // Both sales in one transaction, in either order.
                    _ => {
                        let mut both = sales.map(|sale| AuditRow {
                            sale,
                            actor: Actor::Operator("boss".into()),
                            kind: Kind::RefundAsked,
                            data: json!({ "lane": i % 2 }),
                        });
                        both.rotate_left(i % 2);
                        let mut tx = pool.begin().await.expect("Postgres");
                        audit::write(&mut tx, &both).await.expect("no deadlock");
                        tx.commit().await.expect("Postgres");
                    }
                }
            }
        }
    });
    futures_util::future::join_all(writers).await;
    for sale in sales {
        // One for the sale, two writers of orders and one of states, and both writers of both sales.
        let verified = verify(&world, sale).await.expect("a sound log");
        assert_eq!(verified.rows as usize, 1 + 5 * EACH);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_merchant_reads_the_log_of_their_own_sales_page_by_page() {
    let world = World::with(&["--roles", "gateway"]).await;
    let (sale, _) = five_rows(&world).await;
    let get = async |query: &str, token: &str| -> Value {
        let url = world.url(&format!("/admin/sales/{sale}/audit{query}"));
        let response = world
            .http
            .get(url)
            .bearer_auth(token)
            .send()
            .await
            .expect("an answer");
        response.json().await.expect("JSON")
    };
    let admin = world.token("boss", Role::Admin);
    let (mut after, mut rows) = (0, Vec::new());
    loop {
        let page = get(&format!("?after={after}&limit=2"), &admin).await;
        let page = page["rows"].as_array().expect("rows").clone();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last["number"].as_i64().expect("a number");
        rows.extend(page);
    }
    assert_eq!(rows.len(), 5);
    for pair in rows.windows(2) {
        assert_eq!(pair[0]["hash"], pair[1]["previous"]);
    }
    assert_eq!(
        rows[4]["hash"],
        verify(&world, sale).await.expect("a sound log").head
    );
    for (query, token, code) in [
        ("", world.token("else", Role::Merchant), "sale_unknown"),
        ("", world.token("u1", Role::Shopper), "forbidden"),
        ("?limit=0", admin.clone(), "invalid_field"),
        ("?limit=1001", admin.clone(), "invalid_field"),
        ("?after=-1", admin.clone(), "invalid_field"),
        ("?after=x", admin.clone(), "invalid_field"),
        ("?last=1", admin, "invalid_field"),
    ] {
        assert_eq!(get(query, &token).await["code"], code, "{query}");
    }
    assert_eq!(
        get("", &world.token("boss", Role::Merchant)).await["rows"][0]["number"],
        1
    );
    world.server.stop().await;
}

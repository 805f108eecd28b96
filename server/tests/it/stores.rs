//! Stores that are not as they were, or not as they should be: a schema of another release, a Postgres that takes no changes, a Redis
//! that may forget, a part of Redis that is gone.

use crate::{
    harness::{Client, DEADLINE, NONCE, QUICK, World, command_id},
    purchase::{checkout, join_and_reserve, reserve},
};
use flashsale_engine::{
    sale::{FORMATS, MoveId},
    stock::Process,
    store::{Store, schema},
};
use flashsale_protocol::{Code, Done, HoldState, PaymentId, Quantity, Role, SaleId, ShopCommand};
use fred::{
    interfaces::{ClientLike, HashesInterface, KeysInterface},
    types::{ClusterHash, CustomCommand},
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::{
    future::{Future, poll_fn},
    task::Poll,
    time::{Duration, Instant},
};

const LANE_KEYS: [&str; 6] = ["stock", "holds", "deadlines", "device_units", "returned", "drawn"];

/// Those that are there in the test below: `admitting`, `priority` and `parked` come and go in the same way.
const LINE_KEYS: [&str; 7] = [
    "sale",
    "queue",
    "wants",
    "devices",
    "absent",
    "leader",
    "last_tick",
];

/// Purchases work again so soon after the primary is back.
const BACK: Duration = Duration::from_secs(3);

async fn sql(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres");
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    connection.close().await.expect("closes");
}

/// The name of a world's database.
fn database(world: &World) -> &str {
    let (_, rest) = world.database_url.split_once("localhost/").expect("a database");
    rest.split('?').next().expect("a name")
}

/// Another database of the same server, with nothing in it.
async fn empty_database(world: &World) -> String {
    let name = database(world);
    let empty = format!("{name}_empty");
    sql(&world.database_url, &format!("CREATE DATABASE {empty}")).await;
    world.database_url.replacen(name, &empty, 1)
}

/// Why a server does not start with these settings.
async fn refused(world: &World, settings: &[(&str, &str)]) -> String {
    match world.try_another(settings).await {
        Ok(_) => panic!("it starts with {settings:?}"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn a_server_starts_on_the_schema_of_a_newer_release() {
    let world = World::start().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of a newer release', true, '\\x00', 0)";
    sql(&world.database_url, newer).await;
    for migrate in ["auto", "never"] {
        let another = world
            .try_another(&[("--migrate", migrate)])
            .await
            .expect("starts");
        another.stop().await;
    }
    assert_eq!(
        schema::migrate(&world.database_url)
            .await
            .expect("migrates")
            .version,
        9999
    );
    world.server.stop().await;
}

#[tokio::test]
async fn two_servers_start_at_once_on_an_empty_database() {
    let world = World::start().await;
    let empty = empty_database(&world).await;
    let settings = [("--database-url", empty.as_str())];
    let (one, other) = tokio::join!(world.try_another(&settings), world.try_another(&settings));
    one.expect("starts").stop().await;
    other.expect("starts").stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_migrate_says_who_does() {
    let world = World::start().await;
    let empty = empty_database(&world).await;
    let settings = [("--database-url", empty.as_str()), ("--migrate", "never")];
    let why = refused(&world, &settings).await;
    assert!(
        why.contains("at version 0") && why.contains("run `flashsale migrate`"),
        "{why}"
    );
    let migrate = || async {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_flashsale"))
            .arg("migrate")
            .env("DATABASE_URL", &empty)
            .output()
            .await
            .expect("runs");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success() && out.starts_with("ok version="),
            "{out}{err}"
        );
    };
    // Twice at once: one works, the other waits.
    tokio::join!(migrate(), migrate());
    world.try_another(&settings).await.expect("starts").stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_role_gets_what_servers_need_and_no_more() {
    let world = World::start().await;
    let role = format!("{}_app", database(&world));
    let grant = async || {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_flashsale"))
            .args(["migrate", "--grant-to", &role])
            .env("DATABASE_URL", &world.database_url)
            .output()
            .await
            .expect("runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (is_done, why) = grant().await;
    assert!(
        !is_done && why.contains("cannot grant") && why.contains("does not exist"),
        "{why}"
    );
    sql(&world.database_url, &format!("CREATE ROLE {role} LOGIN")).await;
    for _ in 0..2 {
        let (is_done, why) = grant().await;
        assert!(is_done, "{why}");
    }
    let url = world.database_url.replacen("flashsale@", &format!("{role}@"), 1);
    world
        .try_another(&[("--database-url", &url)])
        .await
        .expect("starts")
        .stop()
        .await;
    let mut theirs = PgConnection::connect(&url).await.expect("Postgres");
    for statement in [
        "UPDATE audit_rows SET kind = 'x'",
        "DELETE FROM audit_rows",
        "ALTER TABLE audit_rows DISABLE TRIGGER ALL",
        "DROP TABLE audit_rows",
        "DELETE FROM flash_sale_orders",
        "CREATE TABLE of_mine ()",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut theirs).await;
        let why = refused.expect_err(statement).to_string();
        assert!(
            why.contains("permission denied") || why.contains("must be owner"),
            "{statement}: {why}"
        );
    }
    theirs.close().await.expect("closes");
    sql(
        &world.database_url,
        &format!("REVOKE DELETE ON draw_entries FROM {role}"),
    )
    .await;
    let why = refused(&world, &[("--database-url", &url)]).await;
    assert!(why.contains("may not DELETE in the table draw_entries"), "{why}");
    sql(
        &world.database_url,
        &format!("DROP OWNED BY {role}; DROP ROLE {role}"),
    )
    .await;
    world.server.stop().await;
}

/// From now on new sessions take no changes, and there are no others: as with a pool whose connections have found a standby.
async fn fail_over(world: &World) {
    let name = database(world);
    // One after the other: whoever connects anew must find the setting.
    for statement in [
        format!("ALTER DATABASE {name} SET default_transaction_read_only = on"),
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        ),
    ] {
        sql(&world.database_url, &statement).await;
    }
}

/// New sessions take changes again; those that are there still do not.
async fn primary_is_back(world: &World) {
    let name = database(world);
    let statement =
        format!("SET transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only");
    let url = world.database_url.replacen(name, "postgres", 1);
    sql(&url, &statement).await;
}

#[tokio::test]
async fn purchases_wait_while_postgres_takes_no_changes_and_work_soon_after_it_does() {
    let world = World::with(QUICK).await;
    let sale = world.sale(json!({ "total_stock": 2 })).await;
    let mut buyer = world.shopper("buyer").await;
    join_and_reserve(&mut buyer, sale).await;
    fail_over(&world).await;

    // More often than there are connections, and for longer than one of them lives.
    let refused_for = Duration::from_millis(1_500);
    let began = Instant::now();
    let (id, mut refusals) = (command_id(), 0);
    while began.elapsed() < refused_for {
        let reject = buyer
            .ask_as(id, ShopCommand::Checkout { sale, payment: None })
            .await
            .expect_err("read-only");
        assert_eq!((reject.code, reject.retry), (Code::Unavailable, true));
        refusals += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(
        refusals > 4,
        "every connection of the pool has met it: {refusals}"
    );
    let body = async |path: &str| {
        let answer = world.http.get(world.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.expect("a text")
    };
    assert!(body("/readyz").await.contains(r#""postgres":"read_only""#));
    assert!(body("/metrics").await.contains("flashsale_postgres_read_only 1"));
    // What only reads goes on.
    let path = format!("/flash-sales/{sale}");
    assert_eq!(world.rest(Method::GET, &path, None, &[], "").await.status, 200);

    primary_is_back(&world).await;
    let back = Instant::now();
    loop {
        match buyer
            .ask_as(id, ShopCommand::Checkout { sale, payment: None })
            .await
        {
            Ok(order) => break assert!(matches!(order, Done::Order(_)), "{order:?}"),
            Err(reject) => assert_eq!(reject.code, Code::Unavailable, "{reject:?}"),
        }
        assert!(back.elapsed() < BACK, "{:?}", back.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A look at the stores is good for a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(body("/readyz").await.contains(r#""postgres":"ok""#));
    world.server.stop().await;
}

/// The pool's one connection meets a caller that goes away, as a browser does, at each point at which it waits.
#[tokio::test]
async fn a_caller_that_goes_away_in_mid_transaction_takes_no_later_write_along() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let store = Store::connect(&world.database_url, 1).await.expect("Postgres");
    let books = store.sandbox_books();
    let mut others = PgConnection::connect(&world.database_url)
        .await
        .expect("Postgres");
    // How far a call gets by each look depends on how fast Postgres answers.
    for looks in (1..8).cycle().take(140) {
        let mut looked = 0;
        let mut call = Box::pin(books.refund(PaymentId::from_parts(0, 1), "re_1", 1));
        poll_fn(|context| {
            looked += 1;
            match call.as_mut().poll(context) {
                Poll::Pending if looked < looks => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        drop(call);
        let written = MoveId::random();
        store.decide_move(sale, written).await.expect("a write");
        let seen: Option<bool> = sqlx::query_scalar("SELECT committed FROM supply_moves WHERE move_id = $1")
            .bind(written.to_string())
            .fetch_optional(&mut others)
            .await
            .expect("Postgres");
        assert_eq!(seen, Some(false), "after {looks} looks");
    }
    world.server.stop().await;
}

/// Slow questions of anybody, of operators, and of shoppers each have connections of their own.
#[tokio::test]
async fn whoever_asks_for_much_takes_no_connection_of_purchases() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let mut buyer = world.shopper("u1").await;
    let mut others = PgConnection::connect(&world.database_url)
        .await
        .expect("Postgres");
    let mut held = others.begin().await.expect("a transaction");
    // What is asked for below reads these; a purchase does not.
    sqlx::query("LOCK TABLE draws, merchant_keys IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .expect("locked");
    let admin = world.token("boss", Role::Admin);
    let merchant = world
        .rest(Method::GET, "/admin/merchants", Some(&admin), &[], "")
        .await;
    let merchant = merchant.body["merchants"][0]["merchant_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let paths = [
        format!("/flash-sales/{sale}/draw/file"),
        format!("/admin/merchants/{merchant}/keys"),
    ];
    let asked = paths.iter().flat_map(|path| std::iter::repeat_n(path, 10));
    let slow = join_all(asked.map(|path| world.rest(Method::GET, path, Some(&admin), &[], "")));
    let purchase = async {
        // All of them are under way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        buyer
            .ok(ShopCommand::Reserve {
                sale,
                quantity: Quantity::ONE,
                partial: false,
            })
            .await;
        buyer.ok(ShopCommand::Checkout { sale, payment: None }).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    };
    let mut slow = Box::pin(slow);
    tokio::select! {
        answers = &mut slow => panic!("they are not slow: {answers:?}"),
        () = purchase => {}
    }
    held.rollback().await.expect("Postgres");
    slow.await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_server_does_not_start_with_a_postgres_that_takes_no_changes() {
    let world = World::start().await;
    fail_over(&world).await;
    let why = refused(&world, &[]).await;
    assert!(why.contains("must lead to the primary"), "{why}");
    primary_is_back(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_redis_that_may_forget_or_hides_its_life_is_refused() {
    let world = World::start().await;
    let scratch = tempfile::tempdir().expect("a folder");
    let (mut child, url) = flashsale::embedded::start_redis_alone(scratch.path())
        .await
        .expect("Redis");
    let client = flashsale_engine::stock::builder(&url)
        .expect("a URL")
        .build()
        .expect("a client");
    client.init().await.expect("Redis");
    let command = async |words: &str| {
        let mut words = words.split(' ').map(str::to_owned);
        let name = words.next().expect("a command");
        let command = CustomCommand::new(name, ClusterHash::Random, false);
        let _: fred::types::Value = client.custom(command, words.collect()).await.expect("Redis");
    };
    let settings = [("--redis-url", url.as_str())];

    command("CONFIG SET maxmemory-policy allkeys-lru").await;
    let why = refused(&world, &settings).await;
    assert!(
        why.contains("maxmemory-policy allkeys-lru") && why.contains("noeviction"),
        "{why}"
    );
    command("CONFIG SET maxmemory-policy noeviction").await;
    // It cannot be read: that is only warned of.
    command("ACL SETUSER default -config").await;
    world.try_another(&settings).await.expect("starts").stop().await;
    command("ACL SETUSER default -info").await;
    let why = refused(&world, &settings).await;
    assert!(why.contains("does not let scripts call INFO"), "{why}");
    world.server.stop().await;
    child.kill().expect("ends");
    child.wait().expect("ends");
}

#[tokio::test]
async fn processes_say_which_formats_they_know() {
    let world = World::start().await;
    let worker = world.try_another(&[("--roles", "worker")]).await.expect("starts");
    let stock = &world.server.app.shop.stock;
    let known = async |count: usize| {
        let began = Instant::now();
        loop {
            let processes = stock.processes().await.expect("Redis");
            if processes.len() == count {
                return processes;
            }
            assert!(began.elapsed() < DEADLINE, "{processes:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let all = known(2).await;
    assert!(all.iter().all(|process| process.formats == FORMATS), "{all:?}");
    assert_eq!(stock.common_formats().await.expect("Redis"), FORMATS);
    worker.stop().await;
    known(1).await;

    // A gateway of a release that only beats.
    let older = flashsale_engine::stock::GatewayId(1);
    stock.beat(older).await.expect("Redis");
    let all = known(2).await;
    let expected = Process {
        id: older,
        formats: 0,
        release: String::new(),
    };
    assert!(all.contains(&expected), "{all:?}");
    assert_eq!(stock.common_formats().await.expect("Redis"), 0);
    world.server.stop().await;
}

/// Everybody has what they had, or is told otherwise. How soon, the fault harness says.
const MENDED: Duration = DEADLINE;

async fn lose(world: &World, key: &str) {
    let lost: u64 = world
        .server
        .app
        .shop
        .stock
        .client()
        .unlink(key)
        .await
        .expect("Redis");
    assert_eq!(lost, 1, "{key} was there");
}

/// A second try of the same hold is answered as the first, or the hold was revoked and is had again.
async fn still_holds(holder: &mut Client, sale: SaleId, since: Instant, what: &str) {
    loop {
        match holder.ask(ShopCommand::State { sale }).await {
            Ok(Done::State(state)) => {
                let held = state
                    .hold
                    .as_ref()
                    .is_some_and(|hold| hold.state == HoldState::Held);
                if held {
                    return;
                }
            }
            Ok(other) => panic!("{other:?}"),
            Err(reject) => assert!(reject.retry, "{what}: {reject:?}"),
        }
        assert!(since.elapsed() < MENDED, "{what} is not mended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn any_key_of_a_lane_that_is_gone_is_noticed_and_the_lane_is_as_it_was() {
    let world = World::with(QUICK).await;
    let stock = &world.server.app.shop.stock;
    for name in LANE_KEYS {
        let sale = world
            .sale(json!({ "total_stock": 3, "per_device_limit": 1 }))
            .await;
        let mut holder = world.shopper(&format!("holder-{name}")).await;
        join_and_reserve(&mut holder, sale).await;
        let mut buyer = world.shopper(&format!("buyer-{name}")).await;
        join_and_reserve(&mut buyer, sale).await;
        checkout(&mut buyer, sale).await;
        let before = world
            .server
            .app
            .shop
            .store
            .sale(sale)
            .await
            .expect("Postgres")
            .expect("a sale");
        let at = before.lane_refs().next().expect("a lane");

        lose(&world, &stock.keys().lane(name, at)).await;
        let lost = Instant::now();
        // Nobody gets more than the limit meanwhile, on whatever the lane has forgotten.
        buyer.ask(reserve(sale)).await.expect_err("one is the limit");
        while world
            .server
            .app
            .shop
            .store
            .sale(sale)
            .await
            .expect("Postgres")
            .expect("a sale")
            .life()
            == before.life()
        {
            assert!(lost.elapsed() < MENDED, "the loss of {name} is not noticed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        still_holds(&mut holder, sale, lost, name).await;
        let facts = world.facts(sale).await;
        assert_eq!(
            (&facts["sold"], &facts["held"], &facts["available"]),
            (&json!(1), &json!(1), &json!(1)),
            "{name}"
        );
        buyer.ask(reserve(sale)).await.expect_err("one is the limit");
        checkout(&mut holder, sale).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn any_key_of_a_line_that_is_gone_is_there_again_with_everybody_in_their_place() {
    let world = World::with(QUICK).await;
    let stock = &world.server.app.shop.stock;
    for name in LINE_KEYS {
        let sale = world.sale(json!({ "per_shopper_limit": 2 })).await;
        let mut buyer = world.shopper(&format!("buyer-{name}")).await;
        join_and_reserve(&mut buyer, sale).await;
        // One with a socket, one without, and one who is away.
        let mut first = world.shopper(&format!("first-{name}")).await;
        let two = Quantity::new(2).expect("two");
        first.watch(sale).await;
        first
            .ok(ShopCommand::Join {
                sale,
                quantity: two,
                nonce: Some(NONCE),
            })
            .await;
        let second = world.token(&format!("second-{name}"), Role::Shopper);
        let body = json!({ "user_id": format!("second-{name}") }).to_string();
        let path = format!("/flash-sales/{sale}/join-queue");
        let joined = world.rest(Method::POST, &path, Some(&second), &[], body).await;
        assert_eq!(joined.status, 200, "{joined:?}");
        let mut third = world.shopper(&format!("third-{name}")).await;
        third.watch(sale).await;
        third
            .ok(ShopCommand::Join {
                sale,
                quantity: Quantity::ONE,
                nonce: Some(NONCE),
            })
            .await;
        drop(third);
        until_there(&world, sale, &["queue", "absent", "wants", "guarded"]).await;
        // Noted just now, and perhaps not written yet.
        let mut last = world.shopper(&format!("last-{name}")).await;
        last.watch(sale).await;
        last.ok(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;

        lose(&world, &stock.keys().sale(name, sale)).await;
        let lost = Instant::now();
        let mut newcomer = world.shopper(&format!("new-{name}")).await;
        let mut position = 0;
        while position == 0 {
            match newcomer
                .ask(ShopCommand::Join {
                    sale,
                    quantity: Quantity::ONE,
                    nonce: Some(NONCE),
                })
                .await
            {
                Ok(Done::Joined { entry, .. }) => position = entry.position,
                Ok(other) => panic!("{other:?}"),
                Err(reject) => assert!(reject.retry, "{name}: {reject:?}"),
            }
            assert!(lost.elapsed() < MENDED, "the loss of {name} is not mended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(position, 5, "{name}: nobody was overtaken");
        let path = format!("/flash-sales/{sale}/queue-position");
        let place = world.rest(Method::GET, &path, Some(&second), &[], "").await;
        assert_eq!(place.body["position"], 2, "{name}: {place:?}");
        match first.ok(ShopCommand::State { sale }).await {
            Done::State(state) => {
                let entry = state.entry.expect("a place");
                assert_eq!((entry.position, entry.quantity), (1, 2), "{name}");
            }
            other => panic!("{other:?}"),
        }
        let history = async || {
            let rows = world
                .server
                .app
                .shop
                .store
                .entries_page(sale, "")
                .await
                .expect("Postgres");
            rows.iter().filter(|row| row.status == "waiting").count()
        };
        while history().await != 5 {
            assert!(lost.elapsed() < DEADLINE, "{name}: the history misses somebody");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    world.server.stop().await;
}

/// Waits until the sale notes that it has these parts.
async fn until_there(world: &World, sale: SaleId, parts: &[&str]) {
    let (stock, began) = (&world.server.app.shop.stock, Instant::now());
    let fields: Vec<String> = parts
        .iter()
        .map(|part| match *part {
            "guarded" => "guarded_until".to_owned(),
            part => format!("has_{part}"),
        })
        .collect();
    loop {
        let noted: Vec<Option<u64>> = stock
            .client()
            .hmget(stock.keys().sale("sale", sale), fields.clone())
            .await
            .expect("Redis");
        if noted.iter().all(|noted| noted.is_some_and(|noted| noted > 0)) {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{parts:?}: {noted:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn notes_of_the_line_that_are_gone_before_they_are_written_are_written_from_the_line() {
    let world = World::start().await;
    let stock = &world.server.app.shop.stock;
    let sale = world.sale(json!({})).await;
    let mut buyer = world.shopper("buyer").await;
    join_and_reserve(&mut buyer, sale).await;
    let key = stock.keys().sale("journal", sale);
    let mut waiters = Vec::new();
    loop {
        let mut waiter = world.shopper(&format!("w{}", waiters.len())).await;
        waiter.watch(sale).await;
        waiter
            .ok(ShopCommand::Join {
                sale,
                quantity: Quantity::ONE,
                nonce: Some(NONCE),
            })
            .await;
        waiters.push(waiter);
        if waiters.len() < 3 {
            continue;
        }
        // Unless the worker has just written and dropped them.
        let lost: u64 = stock.client().unlink(&key).await.expect("Redis");
        if lost == 1 {
            break;
        }
    }
    let lost = Instant::now();
    loop {
        let rows = world
            .server
            .app
            .shop
            .store
            .entries_page(sale, "")
            .await
            .expect("Postgres");
        let waiting = rows.iter().filter(|row| row.status == "waiting").count();
        if waiting == waiters.len() {
            break;
        }
        assert!(lost.elapsed() < MENDED, "{waiting} of {}", waiters.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Their gateway knows the nonces, and adds them.
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres");
    crate::line::until(async || {
        let with_nonce: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM queue_entries WHERE sale_id = $1 AND status = 'waiting' AND nonce = $2",
        )
        .bind(sale.to_string())
        .bind(NONCE.0.to_vec())
        .fetch_one(&pool)
        .await
        .expect("Postgres");
        (with_nonce == waiters.len() as i64).then_some(())
    })
    .await;
    pool.close().await;
    // Nobody is kept out any more.
    let mut newcomer = world.shopper("newcomer").await;
    newcomer
        .insist(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;
    world.server.stop().await;
}

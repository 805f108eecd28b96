//! A sale whose units are drawn: from the entry to the answer that everybody gets, and what anybody can check afterwards.

use crate::{
    harness::{Answer, Client, DEADLINE, NONCE, World},
    purchase::{approve, checkout},
    recovery::forget_everything,
};
use flashsale::draw_file::{self, Checked, Noted};
use flashsale_engine::store::{
    audit,
    draws::{DrawTurn, Entered, MyEntry, NewEntry},
};
use flashsale_protocol::{
    Allocation, Code, Done, Entry, EntryState, Phase, Quantity, Reason, Role, SaleId, SaleState,
    ServerMessage, ShopCommand, ShopperId,
    draw::{Draw, Drum, Format, Proof, Seed},
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(20);

pub async fn enter(client: &mut Client, sale: SaleId, quantity: u32) -> Result<Entry, Code> {
    let quantity = Quantity::new(quantity).expect("a quantity");
    match client
        .ask(ShopCommand::Join {
            sale,
            quantity,
            nonce: Some(NONCE),
        })
        .await
    {
        Ok(Done::Joined { entry, .. }) => Ok(entry),
        Ok(other) => panic!("{other:?}"),
        Err(reject) => Err(reject.code),
    }
}

pub async fn state(client: &mut Client, sale: SaleId) -> SaleState {
    match client.ok(ShopCommand::State { sale }).await {
        Done::State(state) => *state,
        other => panic!("{other:?}"),
    }
}

fn reserve(sale: SaleId) -> ShopCommand {
    ShopCommand::Reserve {
        sale,
        quantity: Quantity::ONE,
        partial: false,
    }
}

pub async fn get(world: &World, path: &str, who: Option<&str>) -> Answer {
    let token = who.map(|who| world.token(who, Role::Shopper));
    world.rest(Method::GET, path, token.as_deref(), &[], "").await
}

async fn act(world: &World, sale: SaleId, action: &str, body: Value) -> Answer {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/{action}");
    world
        .rest(Method::POST, &path, Some(&boss), &[], body.to_string())
        .await
}

/// Waits for an event. The others are kept: which of two comes first is not fixed.
async fn until<T>(client: &mut Client, find: impl Fn(&ServerMessage) -> Option<T>) -> T {
    if let Some(found) = client.events.iter().find_map(&find) {
        return found;
    }
    loop {
        let message = client.next().await;
        if let Some(found) = find(&message) {
            return found;
        }
        client.events.push(message);
    }
}

async fn draw_where(client: &mut Client, is: impl Fn(&Draw) -> bool) -> Draw {
    until(client, |message| match message {
        ServerMessage::Draw(draw) if is(draw) => Some(draw.clone()),
        _ => None,
    })
    .await
}

async fn admitted(client: &mut Client) -> Entry {
    until(client, |message| match message {
        ServerMessage::Entry(entry) if entry.state == EntryState::Admitted => Some(entry.clone()),
        _ => None,
    })
    .await
}

/// Waits until the sale's published draw is so far.
pub async fn published(world: &World, sale: SaleId, is: impl Fn(&Draw) -> bool) -> Draw {
    let started = Instant::now();
    loop {
        let row = world
            .server
            .app
            .shop
            .store
            .draw(sale)
            .await
            .expect("Postgres")
            .expect("a draw");
        if is(&row.public) {
            return row.public;
        }
        assert!(started.elapsed() < DEADLINE, "{row:?}");
        tokio::time::sleep(POLL).await;
    }
}

pub async fn phase(world: &World, sale: SaleId, phase: Phase) {
    let started = Instant::now();
    loop {
        let found = world
            .server
            .app
            .shop
            .store
            .sale(sale)
            .await
            .expect("Postgres")
            .expect("the sale")
            .status;
        if found == phase {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "{found:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Who stands where in the order of the draw.
pub fn order_of(world: &World, sale: SaleId, draw: &Draw, people: &[String]) -> Vec<String> {
    let drum = Drum::new(&draw.seed.expect("drawn"), draw.beacon.as_deref());
    let mut order: Vec<_> = people
        .iter()
        .map(|who| (drum.key(&name(world, sale, who), 1), who.clone()))
        .collect();
    order.sort();
    order.into_iter().map(|(_, who)| who).collect()
}

pub fn name(world: &World, sale: SaleId, who: &str) -> String {
    Format::Two.entry_name(sale, &world.who(who), Some(NONCE))
}

#[tokio::test]
async fn units_are_drawn_among_all_entries_and_everybody_gets_an_answer_that_can_be_checked() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "allocation": "draw", "total_stock": 2 }))
        .await;
    let people: Vec<String> = (0..6).map(|i| format!("u{i}")).collect();
    let mut clients = Vec::new();
    for who in &people {
        let mut client = world.shopper(who).await;
        let before = client.watch(sale).await;
        assert_eq!(before.sale.allocation, Allocation::Draw);
        let commitment = before.draw.expect("published with the sale");
        assert_eq!((commitment.seed, commitment.root), (None, None));
        let entry = enter(&mut client, sale, 1).await.expect("enters");
        assert_eq!((entry.state, entry.position), (EntryState::Entered, 0));
        assert_eq!(
            client
                .ask(reserve(sale))
                .await
                .expect_err("not before the draw")
                .code,
            Code::JoinFirst
        );
        clients.push(client);
    }
    let commitment = state(&mut clients[0], sale)
        .await
        .draw
        .expect("a draw")
        .commitment;
    clients[0]
        .until(|m| matches!(m, ServerMessage::Tick(tick) if tick.waiting == 6).then_some(()))
        .await;

    assert_eq!(act(&world, sale, "end", json!({})).await.status, 200);
    let closed = draw_where(&mut clients[0], |draw| draw.root.is_some()).await;
    assert_eq!(
        (closed.count, closed.units, closed.seed),
        (Some(6), Some(2), None)
    );
    let draw = draw_where(&mut clients[0], |draw| draw.seed.is_some()).await;
    assert_eq!(
        (draw.commitment, draw.root, draw.winners),
        (commitment, closed.root, Some(2))
    );
    let order = order_of(&world, sale, &draw, &people);
    assert_eq!(
        draw.cut_off.as_ref().map(|last| &last.entry),
        Some(&name(&world, sale, &order[1]))
    );

    // Two have won, and nobody else.
    let at = |who: &str| people.iter().position(|other| other == who).expect("one of them");
    for who in &order[..2] {
        assert_eq!(admitted(&mut clients[at(who)]).await.reason, Some(Reason::Drawn));
    }
    for who in &order[2..] {
        let mine = state(&mut clients[at(who)], sale).await.entry.expect("an entry");
        assert_eq!(mine.state, EntryState::NotDrawn, "{who}");
        assert_eq!(
            clients[at(who)]
                .ask(reserve(sale))
                .await
                .expect_err("not drawn")
                .code,
            Code::EntriesClosed
        );
    }
    // The others' entries stay, and nobody is let in.
    let stays = clients[at(&order[5])].ask(ShopCommand::Leave { sale }).await;
    assert_eq!(stays.expect_err("closed").code, Code::EntriesClosed);
    assert_eq!(
        act(&world, sale, "inflow", json!({ "inflow": 5 }))
            .await
            .refusal(),
        Code::SaleWrongState
    );

    // One takes it; the other's unit passes to the next key.
    let first = &mut clients[at(&order[0])];
    first.ok(reserve(sale)).await;
    let placed = checkout(first, sale).await.order;
    first
        .ok(ShopCommand::Pay {
            order: placed,
            payment: approve(),
        })
        .await;
    clients[at(&order[1])].ok(ShopCommand::Leave { sale }).await;
    let third = &mut clients[at(&order[2])];
    assert_eq!(admitted(third).await.reason, Some(Reason::PassedOn));
    third.ok(reserve(sale)).await;
    let placed = checkout(third, sale).await.order;
    third
        .ok(ShopCommand::Pay {
            order: placed,
            payment: approve(),
        })
        .await;
    phase(&world, sale, Phase::Ended).await;
    let last = state(&mut clients[at(&order[5])], sale).await;
    assert_eq!(last.entry.map(|entry| entry.state), Some(EntryState::NotDrawn));

    // To whom units have passed on is published as well.
    let over = draw_where(&mut clients[at(&order[5])], |draw| draw.called == Some(3)).await;
    assert_eq!(
        (over.called, over.last_called.as_ref().map(|last| &last.entry)),
        (Some(3), Some(&name(&world, sale, &order[2])))
    );
    assert_eq!(
        (over.root, over.seed, &over.cut_off),
        (draw.root, draw.seed, &draw.cut_off)
    );

    // Everybody's proof is right, and so is the whole file.
    for (rank, who) in order.iter().enumerate() {
        let answer = get(&world, &format!("/flash-sales/{sale}/draw/proof"), Some(who)).await;
        let proof: Proof = serde_json::from_value(answer.body).expect("a proof");
        assert_eq!((proof.won, proof.called), (rank < 2, rank < 3));
        assert_eq!(proof.draw, over);
        assert_eq!(proof.entry.name, name(&world, sale, who));
        proof.verify().expect("right");
    }
    let file = world
        .http
        .get(world.url(&format!("/flash-sales/{sale}/draw/file")));
    let file = file
        .send()
        .await
        .expect("an answer")
        .bytes()
        .await
        .expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("draw.txt");
    std::fs::write(&path, file).expect("writes");
    let noted = Noted {
        commitment: Some(commitment),
        root: closed.root,
        shopper: None,
    };
    match draw_file::check(&path, &noted).expect("a draw's file") {
        Checked::Draw(published, Ok(verdict)) => {
            assert_eq!(*published, over);
            assert_eq!(verdict.called, Some(3));
            let winners: Vec<String> = verdict
                .winners
                .into_iter()
                .map(|winner| winner.rank.entry)
                .collect();
            assert_eq!(
                winners,
                [name(&world, sale, &order[0]), name(&world, sale, &order[1])]
            );
        }
        other => panic!("{other:?}"),
    }

    // So can the operator, with what came of each entry.
    let boss = world.token("boss", Role::Admin);
    let csv = world.url(&format!("/admin/sales/{sale}/entries.csv"));
    let csv = world
        .http
        .get(csv)
        .bearer_auth(&boss)
        .send()
        .await
        .expect("answers");
    let csv = csv.text().await.expect("a text");
    let mut rows: Vec<(&str, &str, &str, bool)> = csv
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split(',').collect();
            (columns[1], columns[4], columns[7], columns[8].is_empty())
        })
        .collect();
    let people: Vec<ShopperId> = order.iter().map(|who| world.who(who)).collect();
    rows.sort_by_key(|row| people.iter().position(|who| who.as_str() == row.0));
    let served = |n: usize, place| (people[n].as_str(), place, "served", false);
    assert_eq!(rows.len(), 6, "{csv}");
    assert_eq!(
        rows[..3],
        [served(0, "1"), served(1, "2"), served(2, "3")],
        "{csv}"
    );
    let not_served = rows[3..]
        .iter()
        .all(|row| (row.2, row.3) == ("not_served", false));
    assert!(not_served, "{csv}");

    // Nobody waits any more, at whatever door one asks.
    let mut late = world.shopper("late").await;
    late.watch(sale).await;
    let started = Instant::now();
    let last = loop {
        let tick = state(&mut late, sale).await.tick;
        if tick.phase == Phase::Ended {
            break tick;
        }
        assert!(started.elapsed() < DEADLINE, "not in time");
        tokio::time::sleep(POLL).await;
    };
    assert_eq!(last.waiting, 0, "{last:?}");
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/metrics");
    let metrics = world.rest(Method::GET, &path, Some(&boss), &[], "").await.body;
    let fairness = &metrics["fairness"];
    assert_eq!(
        (&metrics["queue_length"], &fairness["entries_waiting"]),
        (&json!(0), &json!(0)),
        "{metrics}"
    );
    assert_eq!(fairness["entries_served"], 3, "{metrics}");
    let started = Instant::now();
    while get(&world, &format!("/flash-sales/{sale}"), None).await.body["queue_length"] != 0 {
        assert!(started.elapsed() < DEADLINE, "not in time");
        tokio::time::sleep(POLL).await;
    }

    // The log says it as well, in the order in which it happened.
    let store = &world.server.app.shop.store;
    let rows = store.audit_rows(sale, 0, 1000).await.expect("Postgres");
    assert_eq!(rows[0].data["draw_commitment"], commitment.to_string());
    let of_draw: Vec<_> = rows.iter().filter(|row| row.kind.starts_with("draw_")).collect();
    assert_eq!(
        of_draw.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(),
        ["draw_closed", "draw_held", "draw_over"]
    );
    assert_eq!(of_draw[2].data["called"], 3);
    assert_eq!(of_draw[0].data["root"], closed.root.expect("closed").to_string());
    assert_eq!(of_draw[1].data["seed"], draw.seed.expect("drawn").reveal());
    let mut found = None;
    audit::verify(&world.database_url, Some(sale), |_, result| found = Some(result))
        .await
        .expect("Postgres");
    assert!(matches!(found, Some(Ok(_))), "{found:?}");
    world.server.stop().await;
}

#[tokio::test]
async fn the_seed_is_nowhere_to_be_seen_before_the_draw() {
    let world = World::start().await;
    let answer = world.create_sale(json!({ "allocation": "draw" })).await;
    let sale: SaleId = answer.body["sale_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a ULID");
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    let seed: Vec<u8> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "SELECT seed FROM draws WHERE sale_id = '{sale}'"
    )))
    .fetch_one(&pool)
    .await
    .expect("a seed");
    pool.close().await;
    let seed = Seed(seed.try_into().expect("32 bytes"));
    let mut client = world.shopper("u1").await;
    let mut seen = vec![answer.body.to_string(), format!("{:?}", client.watch(sale).await)];
    enter(&mut client, sale, 1).await.expect("enters");
    let boss = world.token("boss", Role::Admin);
    for path in [
        format!("/flash-sales/{sale}"),
        format!("/flash-sales/{sale}/draw"),
        format!("/flash-sales/{sale}/draw/file"),
        format!("/flash-sales/{sale}/draw/proof"),
        format!("/admin/sales/{sale}"),
        format!("/admin/sales/{sale}/audit"),
        format!("/admin/sales/{sale}/metrics"),
    ] {
        let answer = world.rest(Method::GET, &path, Some(&boss), &[], "").await;
        seen.push(answer.body.to_string());
    }
    let commitment = seed.commitment().to_string();
    assert!(
        seen.iter().any(|text| text.contains(&commitment)),
        "the commitment is published"
    );
    for text in seen {
        assert!(!text.contains(&seed.reveal()), "{text}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn an_entry_is_given_once_and_can_be_changed_until_the_entries_close() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "allocation": "draw", "total_stock": 3, "per_shopper_limit": 2 }))
        .await;
    let mut client = world.shopper("u1").await;
    client.watch(sale).await;
    assert_eq!(enter(&mut client, sale, 3).await, Err(Code::LimitReached));
    assert_eq!(
        enter(&mut client, sale, 1).await.map(|entry| entry.quantity),
        Ok(1)
    );
    assert_eq!(
        enter(&mut client, sale, 1).await.map(|entry| entry.quantity),
        Ok(1)
    );
    assert_eq!(enter(&mut client, sale, 2).await, Err(Code::AlreadyInLine));
    // Another person on the same device.
    let join = |who: &str| {
        let (token, who) = (world.token_on(who, "dev"), who.to_owned());
        let path = format!("/flash-sales/{sale}/join-queue");
        let world = &world;
        async move {
            let body = json!({ "user_id": who, "nonce": NONCE }).to_string();
            world.rest(Method::POST, &path, Some(&token), &[], body).await
        }
    };
    assert_eq!(join("r1").await.body["status"], "entered");
    assert_eq!(join("r2").await.refusal(), Code::DeviceInLine);
    client.ok(ShopCommand::Leave { sale }).await;
    assert_eq!(state(&mut client, sale).await.entry, None);
    assert_eq!(
        client
            .ask(ShopCommand::Leave { sale })
            .await
            .expect_err("left")
            .code,
        Code::NotInLine
    );
    assert_eq!(
        enter(&mut client, sale, 2).await.map(|entry| entry.quantity),
        Ok(2)
    );

    act(&world, sale, "end", json!({})).await;
    published(&world, sale, |draw| draw.seed.is_some()).await;
    let mut late = world.shopper("late").await;
    assert_eq!(enter(&mut late, sale, 1).await, Err(Code::EntriesClosed));
    assert_eq!(join("r3").await.refusal(), Code::EntriesClosed);
    // Three units for entries of two and one: everybody wins.
    assert_eq!(admitted(&mut client).await.quantity, 2);
    world.server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_of_a_draw_is_refused_by_name() {
    let world = World::start().await;
    let sale = world.sale(json!({ "allocation": "draw" })).await;
    let queue = world.sale(json!({})).await;
    let mut client = world.shopper("u1").await;
    enter(&mut client, sale, 1).await.expect("enters");
    let code = |path: String, who: Option<&'static str>| {
        let world = &world;
        async move { get(world, &path, who).await.refusal() }
    };
    assert_eq!(
        code(format!("/flash-sales/{queue}/draw/file"), None).await,
        Code::NotDrawnYet
    );
    assert_eq!(
        code(format!("/flash-sales/{queue}/draw/proof"), Some("u1")).await,
        Code::NotDrawnYet
    );
    assert_eq!(
        code(format!("/flash-sales/{sale}/draw/file"), None).await,
        Code::NotDrawnYet
    );
    assert_eq!(
        code(format!("/flash-sales/{sale}/draw/proof"), Some("u1")).await,
        Code::NotDrawnYet
    );
    assert_eq!(
        code(format!("/flash-sales/{sale}/draw/proof"), None).await,
        Code::TokenMissing
    );
    assert_eq!(
        code("/flash-sales/nothing/draw".into(), None).await,
        Code::SaleUnknown
    );
    let unknown = SaleId::from_parts(1, 1);
    assert_eq!(
        code(format!("/flash-sales/{unknown}/draw"), None).await,
        Code::SaleUnknown
    );
    let beacon = |sale| act(&world, sale, "beacon", json!({ "value": "7" }));
    assert_eq!(beacon(queue).await.refusal(), Code::SaleWrongState);
    assert_eq!(beacon(sale).await.refusal(), Code::SaleWrongState);
    for fields in [
        json!({ "allocation": "lottery" }),
        json!({ "beacon": "drand" }),
        json!({ "allocation": "draw", "beacon": " " }),
    ] {
        let answer = world.create_sale(fields.clone()).await;
        assert_eq!(answer.refusal(), Code::InvalidField, "{fields}");
        let field = if fields["allocation"] == "lottery" {
            "allocation"
        } else {
            "beacon"
        };
        assert!(answer.detail().starts_with(field), "{answer:?}");
    }

    act(&world, sale, "end", json!({})).await;
    published(&world, sale, |draw| draw.seed.is_some()).await;
    assert_eq!(
        code(format!("/flash-sales/{sale}/draw/proof"), Some("stranger")).await,
        Code::NotInDraw
    );
    for (action, body) in [
        ("supply", json!({ "total_stock": 5 })),
        ("pause", json!({})),
        ("resume", json!({})),
    ] {
        assert_eq!(
            act(&world, sale, action, body).await.refusal(),
            Code::SaleWrongState,
            "{action}"
        );
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_draw_with_a_beacon_waits_for_its_value_and_takes_one() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "allocation": "draw", "beacon": "drand round 7" }))
        .await;
    let mut client = world.shopper("u1").await;
    let awaits = client.watch(sale).await.draw.expect("a draw").awaits;
    assert_eq!(awaits.as_deref(), Some("drand round 7"));
    enter(&mut client, sale, 1).await.expect("enters");
    act(&world, sale, "end", json!({})).await;
    draw_where(&mut client, |draw| draw.root.is_some()).await;
    for bad in ["", "line\nbreak", "ü", &"x".repeat(1025)] {
        assert_eq!(
            act(&world, sale, "beacon", json!({ "value": bad }))
                .await
                .refusal(),
            Code::InvalidField
        );
    }
    let row = world
        .server
        .app
        .shop
        .store
        .draw(sale)
        .await
        .expect("Postgres")
        .expect("a draw");
    assert!(row.awaits_beacon && !row.is_drawn);
    for _ in 0..2 {
        assert_eq!(
            act(&world, sale, "beacon", json!({ "value": "f00d" }))
                .await
                .status,
            200
        );
    }
    assert_eq!(
        act(&world, sale, "beacon", json!({ "value": "other" }))
            .await
            .refusal(),
        Code::SaleWrongState
    );
    let draw = draw_where(&mut client, |draw| draw.seed.is_some()).await;
    assert_eq!(draw.beacon.as_deref(), Some("f00d"));
    let answer = get(&world, &format!("/flash-sales/{sale}/draw/proof"), Some("u1")).await;
    let proof: Proof = serde_json::from_value(answer.body).expect("a proof");
    proof.verify().expect("right");
    world.server.stop().await;
}

/// As much as a leader's death can leave behind: every step at once by two, and again.
#[tokio::test]
async fn a_draw_comes_out_once_however_often_its_steps_are_repeated() {
    let world = World::with(&["--roles", "gateway"]).await;
    let sale = world
        .sale(json!({ "allocation": "draw", "total_stock": 40, "per_shopper_limit": 2 }))
        .await;
    let store = &world.server.app.shop.store;
    let people: Vec<String> = (0..3000).map(|i| format!("u{i}")).collect();
    let entries = people.iter().map(|who| NewEntry {
        shopper: world.who(who),
        device: format!("d-{who}").parse().expect("an id"),
        quantity: 1 + u32::from(who.ends_with('7')),
        nonce: Some(NONCE),
        name: name(&world, sale, who),
    });
    let entered = join_all(entries.map(|entry| store.enter_draw(sale, entry))).await;
    assert!(
        entered
            .iter()
            .all(|entered| matches!(entered, Ok(Entered::Ok { .. }))),
        "{entered:?}"
    );
    let device = NewEntry {
        shopper: world.who("other"),
        device: "d-u1".parse().expect("an id"),
        quantity: 1,
        nonce: Some(NONCE),
        name: name(&world, sale, "other"),
    };
    assert_eq!(
        store.enter_draw(sale, device.clone()).await.expect("Postgres"),
        Entered::DeviceInDraw
    );

    let (one, two) = tokio::join!(store.close_entries(sale), store.close_entries(sale));
    one.and(two).expect("Postgres");
    assert_eq!(
        store.enter_draw(sale, device).await.expect("Postgres"),
        Entered::Closed
    );
    assert!(!store.leave_draw(sale, &world.who("u1")).await.expect("Postgres"));
    let (one, two) = tokio::join!(store.publish_root(sale, None), store.publish_root(sale, None));
    one.and(two).expect("Postgres");
    let row = store.draw(sale).await.expect("Postgres").expect("a draw");
    let (one, two) = tokio::join!(store.hold_draw(sale, &row), store.hold_draw(sale, &row));
    one.and(two).expect("Postgres");
    let drawn = store.draw(sale).await.expect("Postgres").expect("a draw");
    let turns = store.turns_to_call(sale, 1000).await.expect("Postgres");
    assert_eq!(turns.len() as u64, drawn.public.winners.expect("drawn"));
    let distinct: HashSet<&ShopperId> = turns.iter().map(|turn| &turn.shopper).collect();
    assert_eq!(distinct.len(), turns.len());
    assert_eq!(turns.iter().map(|turn| turn.units).sum::<u32>(), 40);
    let order = order_of(&world, sale, &drawn.public, &people);
    assert!(
        turns
            .iter()
            .zip(&order)
            .all(|(turn, who)| turn.shopper == world.who(who))
    );
    let kinds = |rows: Vec<audit::Row>| rows.iter().filter(|row| row.kind.starts_with("draw_")).count();
    assert_eq!(kinds(store.audit_rows(sale, 0, 1000).await.expect("Postgres")), 2);

    // Broken off in the middle of writing the turns down: held again, it comes out the same.
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    for sql in [
        format!("DELETE FROM draw_turns WHERE sale_id = '{sale}' AND rank > 10"),
        format!(
            "UPDATE draws SET drawn_at = NULL, winners = NULL, cut_off_key = NULL, cut_off_entry = NULL WHERE sale_id = '{sale}'"
        ),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&pool)
            .await
            .expect("Postgres");
    }
    pool.close().await;
    store.hold_draw(sale, &row).await.expect("Postgres");
    assert_eq!(
        store.draw(sale).await.expect("Postgres").expect("a draw").public,
        drawn.public
    );
    assert_eq!(store.turns_to_call(sale, 1000).await.expect("Postgres"), turns);

    // Those behind follow in the order of the draw, until there is nobody.
    let mut behind: Vec<DrawTurn> = Vec::new();
    while store.more_turns(sale, &drawn, 900).await.expect("Postgres") {
        behind = store.turns_to_call(sale, 5000).await.expect("Postgres");
    }
    assert!(
        behind
            .iter()
            .zip(&order)
            .all(|(turn, who)| turn.shopper == world.who(who))
    );
    assert_eq!((behind.len(), order.len()), (3000, 3000));
    assert!(behind.iter().skip(turns.len()).all(|turn| !turn.drawn));

    // Published is how far turns have come without a gap.
    for (marked, called) in [(vec![1, 2, 4], 2), (vec![3], 4), (vec![1], 4)] {
        store.mark_called(sale, &marked).await.expect("Postgres");
        let public = store.draw(sale).await.expect("Postgres").expect("a draw").public;
        assert_eq!(public.called, Some(called));
        assert_eq!(
            public.last_called.map(|last| last.entry),
            Some(name(&world, sale, &order[called as usize - 1]))
        );
    }
    assert!(
        !store.end_draw(sale).await.expect("Postgres"),
        "the sale is not in its draw"
    );

    // A proof out of every part of the tree: the first, the last, and around the chunks' ends.
    let mut names: Vec<(String, &String)> = people.iter().map(|who| (name(&world, sale, who), who)).collect();
    names.sort();
    for index in [0, 1, 1023, 1024, 2047, 2048, 2999] {
        let who = world.who(names[index].1);
        let flashsale_engine::store::draws::ProofOf::Entry(proof) =
            store.draw_proof(sale, &who).await.expect("Postgres")
        else {
            panic!("{who} was in")
        };
        assert_eq!(proof.index, index as u64);
        proof.verify().expect("right");
    }
    let mine = store.draw_entry(sale, &world.who("u1")).await.expect("Postgres");
    assert_eq!(
        mine,
        Some(MyEntry {
            quantity: 1,
            nonce: Some(NONCE),
            called: order[..4].contains(&"u1".to_owned()),
            told: false
        })
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_winner_whose_claim_was_lost_with_redis_has_it_again_and_it_passes_to_nobody() {
    let world = World::start().await;
    let sale = world.sale(json!({ "allocation": "draw" })).await;
    let (mut one, mut two) = (world.shopper("u1").await, world.shopper("u2").await);
    for client in [&mut one, &mut two] {
        client.watch(sale).await;
        enter(client, sale, 1).await.expect("enters");
    }
    act(&world, sale, "end", json!({})).await;
    let draw = draw_where(&mut one, |draw| draw.seed.is_some()).await;
    let order = order_of(&world, sale, &draw, &["u1".into(), "u2".into()]);
    let (winner, other) = if order[0] == "u1" {
        (&mut one, &mut two)
    } else {
        (&mut two, &mut one)
    };
    admitted(winner).await;

    forget_everything(&world).await;

    let started = Instant::now();
    loop {
        match winner.ask(reserve(sale)).await {
            Ok(_) => break,
            Err(reject) => assert!(started.elapsed() < DEADLINE, "{reject:?}"),
        }
        tokio::time::sleep(POLL * 5).await;
    }
    assert_eq!(
        state(other, sale).await.entry.map(|entry| entry.state),
        Some(EntryState::NotDrawn)
    );
    let placed = checkout(winner, sale).await.order;
    winner
        .ok(ShopCommand::Pay {
            order: placed,
            payment: approve(),
        })
        .await;
    phase(&world, sale, Phase::Ended).await;
    world.server.stop().await;
}

/// A draw of one unit that has passed on to the second of three, who has it in the cart.
async fn passed_on(world: &World) -> (SaleId, Vec<String>, HashMap<String, Client>) {
    let sale = world
        .sale(json!({ "allocation": "draw", "total_stock": 1, "payment_ms": 60_000 }))
        .await;
    let people: Vec<String> = (0..3).map(|n| format!("p{n}")).collect();
    let mut clients = HashMap::new();
    for who in &people {
        let mut client = world.shopper(who).await;
        client.watch(sale).await;
        enter(&mut client, sale, 1).await.expect("enters");
        clients.insert(who.clone(), client);
    }
    act(world, sale, "end", json!({})).await;
    let first = clients.get_mut(&people[0]).expect("one");
    let draw = draw_where(first, |draw| draw.seed.is_some()).await;
    let order = order_of(world, sale, &draw, &people);
    let winner = clients.get_mut(&order[0]).expect("one");
    admitted(winner).await;
    winner.ok(ShopCommand::Leave { sale }).await;
    let second = clients.get_mut(&order[1]).expect("one");
    assert_eq!(admitted(second).await.reason, Some(Reason::PassedOn));
    second.ok(reserve(sale)).await;
    (sale, order, clients)
}

#[tokio::test]
async fn whoever_was_called_by_a_step_that_broke_off_is_published_as_called() {
    let world = World::start().await;
    let (sale, order, mut clients) = passed_on(&world).await;
    // Its claim was given, and then nothing of it was written down.
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    for sql in [
        format!("UPDATE draw_turns SET called_at = NULL WHERE sale_id = '{sale}' AND rank = 2"),
        format!(
            "UPDATE draws SET called = 1, last_called_key = NULL, last_called_entry = NULL WHERE sale_id = '{sale}'"
        ),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&pool)
            .await
            .expect("Postgres");
    }
    pool.close().await;
    forget_everything(&world).await;
    let second = clients.get_mut(&order[1]).expect("one");
    let started = Instant::now();
    let placed = loop {
        match second.ask(ShopCommand::Checkout { sale, payment: None }).await {
            Ok(Done::Order(order)) => break order.order,
            other => assert!(started.elapsed() < DEADLINE, "{other:?}"),
        }
        tokio::time::sleep(POLL * 5).await;
    };
    second
        .ok(ShopCommand::Pay {
            order: placed,
            payment: approve(),
        })
        .await;
    phase(&world, sale, Phase::Ended).await;
    let over = published(&world, sale, |draw| draw.over).await;
    assert_eq!(
        (over.over, over.called, over.last_called.map(|last| last.entry)),
        (true, Some(2), Some(name(&world, sale, &order[1])))
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_draw_is_not_over_before_its_last_order_is_paid() {
    let world = World::start().await;
    let (sale, order, mut clients) = passed_on(&world).await;
    let second = clients.get_mut(&order[1]).expect("one");
    let placed = checkout(second, sale).await.order;
    // Longer than any worker rests.
    let looks = Instant::now();
    while looks.elapsed() < Duration::from_secs(1) {
        let shown = get(&world, &format!("/flash-sales/{sale}"), None).await.body;
        assert_eq!(shown["status"], "drawing", "an order is not paid yet: {shown}");
        tokio::time::sleep(POLL).await;
    }
    let second = clients.get_mut(&order[1]).expect("one");
    second.ok(ShopCommand::Cancel { order: placed }).await;
    let third = clients.get_mut(&order[2]).expect("one");
    assert_eq!(admitted(third).await.reason, Some(Reason::PassedOn));
    world.server.stop().await;
}

#[tokio::test]
async fn a_draw_without_entries_ends_and_one_with_several_lanes_gives_out_every_unit() {
    let world = World::start().await;
    let empty = world.sale(json!({ "allocation": "draw" })).await;
    act(&world, empty, "end", json!({})).await;
    phase(&world, empty, Phase::Ended).await;
    let draw = published(&world, empty, |draw| draw.seed.is_some()).await;
    assert_eq!((draw.count, draw.winners, draw.cut_off), (Some(0), Some(0), None));

    let sale = world
        .sale(json!({ "allocation": "draw", "total_stock": 6, "lanes": 3, "claim_ms": 60_000 }))
        .await;
    let mut clients = Vec::new();
    for i in 0..6 {
        let mut client = world.shopper(&format!("u{i}")).await;
        client.watch(sale).await;
        enter(&mut client, sale, 1).await.expect("enters");
        clients.push(client);
    }
    act(&world, sale, "end", json!({})).await;
    for client in &mut clients {
        assert_eq!(admitted(client).await.reason, Some(Reason::Drawn));
    }

    // More than any lane has by itself.
    let sale = world
        .sale(json!({
            "allocation": "draw", "total_stock": 2, "lanes": 2, "per_shopper_limit": 2, "claim_ms": 60_000,
        }))
        .await;
    let mut client = world.shopper("both").await;
    client.watch(sale).await;
    enter(&mut client, sale, 2).await.expect("enters");
    act(&world, sale, "end", json!({})).await;
    assert_eq!(admitted(&mut client).await.quantity, 2);
    world.server.stop().await;
}

#[tokio::test]
async fn the_operator_sees_how_fair_a_draw_was_and_how_many_winners_did_not_come() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "allocation": "draw", "total_stock": 2, "claim_ms": 300 }))
        .await;
    for n in 0..6 {
        let mut client = world.shopper(&format!("n{n}")).await;
        enter(&mut client, sale, 1).await.expect("enters");
    }
    let path = format!("/admin/sales/{sale}/metrics");
    let boss = world.token("boss", Role::Admin);
    let fairness = async || {
        let answer = world.rest(Method::GET, &path, Some(&boss), &[], "").await;
        answer.body["fairness"].clone()
    };
    let before = fairness().await;
    assert_eq!(
        (&before["weights"], &before["no_show_rate"]),
        (&json!([]), &Value::Null),
        "nothing is said before it is held: {before}"
    );
    act(&world, sale, "end", json!({})).await;
    // Nobody comes, so it passes on and on.
    phase(&world, sale, Phase::Ended).await;
    let told = fairness().await;
    assert_eq!(told["no_show_rate"], 1.0, "{told}");
    let by_weight = told["weights"].as_array().expect("a list");
    let [one] = by_weight.as_slice() else {
        panic!("one weight: {told}")
    };
    assert_eq!(
        (&one["weight"], &one["entries"], &one["winners"]),
        (&json!(1), &json!(6), &json!(2))
    );
    assert!(
        (one["expected_winners"].as_f64().expect("a number") - 2.0).abs() < 1e-9,
        "{one}"
    );
    assert_eq!(
        (&told["win_chance_gini"], &told["chi_square"]),
        (&json!(0.0), &Value::Null)
    );
    assert_eq!(
        (&told["order_inversions"], &told["queue_move_rate"]),
        (&Value::Null, &Value::Null),
        "a draw has no line"
    );
    assert_eq!(
        (
            &told["entries_served"],
            &told["entries_not_served"],
            &told["entries_waiting"]
        ),
        (&json!(6), &json!(0), &json!(0)),
        "everybody had a turn: {told}"
    );
    world.server.stop().await;
}

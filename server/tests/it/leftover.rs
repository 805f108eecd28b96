//! The end of a first-come sale with units left and people in line: the rest is drawn among those, and everybody is answered.

use crate::{
    draw::{enter as join, get, name, order_of, phase, published, state},
    harness::{Client, NONCE, World},
    purchase::{approve, checkout, reserve},
};
use flashsale::draw_file::{self, Checked, Noted};
use flashsale_engine::{
    restore,
    sale::{LineName, Note, Sale},
    settle::history,
    store::audit::Actor,
};
use flashsale_protocol::{
    Code, ConnectionCommand, Entry, EntryState, Phase, Reason, Role, SaleId, ServerMessage, ShopCommand,
    draw::{Draw, Proof},
};
use fred::prelude::HashesInterface;
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::HashMap, path::Path, process::Command as Program};

async fn act(world: &World, sale: SaleId, action: &str) {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/{action}");
    let answer = world.rest(Method::POST, &path, Some(&boss), &[], "{}").await;
    assert_eq!(answer.status, 200, "{action}: {answer:?}");
}

async fn watcher(world: &World, sale: SaleId, who: &str) -> Client {
    let mut client = world.shopper(who).await;
    client.watch(sale).await;
    client
}

async fn told(client: &mut Client, state: EntryState) -> Entry {
    client
        .until(|message| match message {
            ServerMessage::Entry(entry) if entry.state == state => Some(entry.clone()),
            _ => None,
        })
        .await
}

async fn drawn(client: &mut Client) -> Draw {
    client
        .until(|message| match message {
            ServerMessage::Draw(draw) if draw.seed.is_some() => Some(draw.clone()),
            _ => None,
        })
        .await
}

async fn buy(client: &mut Client, sale: SaleId) {
    client.ok(reserve(sale)).await;
    let order = checkout(client, sale).await.order;
    client
        .ok(ShopCommand::Pay {
            order,
            payment: approve(),
        })
        .await;
}

/// The whole file, checked by both programs.
async fn verify(world: &World, sale: SaleId, noted: &Noted) -> Draw {
    let url = world.url(&format!("/flash-sales/{sale}/draw/file"));
    let file = world.http.get(url).send().await.expect("answers");
    let file = file.bytes().await.expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("draw.txt");
    std::fs::write(&path, file).expect("writes");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify_draw.py");
    let python = Program::new("python3")
        .arg(script)
        .arg(&path)
        .output()
        .expect("python3");
    assert!(python.status.success(), "{python:?}");
    match draw_file::check(&path, noted).expect("a draw's file") {
        Checked::Draw(draw, Ok(_)) => *draw,
        _ => panic!("the draw is wrong"),
    }
}

/// What the line's history says of each.
async fn outcomes(world: &World, sale: SaleId) -> HashMap<String, String> {
    let rows = world
        .server
        .app
        .shop
        .store
        .entries_page(sale, "")
        .await
        .expect("Postgres");
    rows.into_iter().map(|row| (row.user_id, row.status)).collect()
}

#[tokio::test]
async fn units_left_at_the_end_are_drawn_among_all_in_line_and_everybody_is_answered() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 2, "claim_ms": 60_000 })).await;
    let people: Vec<String> = (0..6).map(|n| format!("r{n}")).collect();
    // Paused, so that nobody is called: that is how units are left.
    let mut clients = Vec::new();
    let mut first = watcher(&world, sale, &people[0]).await;
    let commitment = state(&mut first, sale)
        .await
        .draw
        .expect("from the beginning")
        .commitment;
    act(&world, sale, "pause").await;
    clients.push(first);
    for who in &people[1..] {
        clients.push(watcher(&world, sale, who).await);
    }
    for client in &mut clients {
        let entry = join(client, sale, 1).await.expect("in line");
        assert_eq!(entry.state, EntryState::Waiting);
    }
    let mut stranger = watcher(&world, sale, "stranger").await;

    act(&world, sale, "end").await;
    let draw = drawn(&mut stranger).await;
    assert_eq!(
        (draw.commitment, draw.count, draw.units, draw.winners),
        (commitment, Some(6), Some(2), Some(2))
    );
    let root = draw.root;
    let order = order_of(&world, sale, &draw, &people);
    let at = |who: &str| people.iter().position(|other| other == who).expect("one of them");
    for who in &order[..2] {
        let turn = told(&mut clients[at(who)], EntryState::Admitted).await;
        assert_eq!((turn.quantity, turn.reason), (1, Some(Reason::Drawn)), "{who}");
    }
    for who in &order[2..] {
        let mine = state(&mut clients[at(who)], sale).await.entry.expect("an entry");
        assert_eq!(mine.state, EntryState::NotDrawn, "{who}");
        let place = get(&world, &format!("/flash-sales/{sale}/queue-position"), Some(who))
            .await
            .body;
        assert_eq!(
            (&place["status"], &place["wait_time_seconds"]),
            (&json!("not_drawn"), &Value::Null),
            "no turn is near: {place}"
        );
    }
    // It is too late for all others.
    assert_eq!(
        join(&mut stranger, sale, 1).await.expect_err("too late"),
        Code::EntriesClosed
    );
    assert_eq!(
        stranger.ask(reserve(sale)).await.expect_err("not drawn").code,
        Code::EntriesClosed
    );
    let loser = &mut clients[at(&order[5])];
    assert_eq!(
        loser
            .ask(ShopCommand::Leave { sale })
            .await
            .expect_err("closed")
            .code,
        Code::EntriesClosed
    );

    buy(&mut clients[at(&order[0])], sale).await;
    clients[at(&order[1])].ok(ShopCommand::Leave { sale }).await;
    let third = &mut clients[at(&order[2])];
    assert_eq!(
        told(third, EntryState::Admitted).await.reason,
        Some(Reason::PassedOn)
    );
    buy(third, sale).await;
    phase(&world, sale, Phase::Ended).await;

    for (rank, who) in order.iter().enumerate() {
        let answer = get(&world, &format!("/flash-sales/{sale}/draw/proof"), Some(who)).await;
        let proof: Proof = serde_json::from_value(answer.body).expect("a proof");
        assert_eq!((proof.won, proof.called), (rank < 2, rank < 3));
        assert_eq!((proof.draw.root, proof.draw.called), (root, Some(3)));
        proof.verify().expect("right");
    }
    let noted = Noted {
        commitment: Some(commitment),
        root,
        shopper: None,
    };
    let over = verify(&world, sale, &noted).await;
    assert_eq!(
        (over.seed, &over.cut_off, over.called),
        (draw.seed, &draw.cut_off, Some(3))
    );
    let answer = get(
        &world,
        &format!("/flash-sales/{sale}/draw/proof"),
        Some("stranger"),
    )
    .await;
    assert_eq!(answer.refusal(), Code::NotInDraw);
    let expected: HashMap<String, String> = order
        .iter()
        .enumerate()
        .map(|(rank, who)| {
            (
                world.who(who).to_string(),
                if rank < 3 { "served" } else { "not_served" }.to_owned(),
            )
        })
        .collect();
    crate::line::until(async || (outcomes(&world, sale).await == expected).then_some(())).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_turn_of_before_the_end_stays_good_and_what_comes_back_later_passes_on_by_the_draw() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 2, "claim_ms": 60_000 })).await;
    let mut holder = watcher(&world, sale, "holder").await;
    join(&mut holder, sale, 1).await.expect("in line");
    told(&mut holder, EntryState::Admitted).await;
    holder.ok(reserve(sale)).await;
    let mut called = watcher(&world, sale, "called").await;
    join(&mut called, sale, 1).await.expect("in line");
    told(&mut called, EntryState::Admitted).await;
    let people: Vec<String> = (0..4).map(|n| format!("w{n}")).collect();
    let mut clients = Vec::new();
    for who in &people {
        let mut client = watcher(&world, sale, who).await;
        join(&mut client, sale, 1).await.expect("in line");
        clients.push(client);
    }
    // One of them is away: in the draw as well.
    let away = clients.pop();
    drop(away);

    act(&world, sale, "end").await;
    let draw = drawn(&mut called).await;
    assert_eq!(
        (draw.count, draw.units, draw.winners),
        (Some(4), Some(0), Some(0)),
        "nothing is free yet"
    );
    let order = order_of(&world, sale, &draw, &people);
    buy(&mut called, sale).await;
    holder.ok(ShopCommand::Release { sale }).await;
    // Passed on by key; to whoever is away it is passed as well, and from there on to the next.
    let next = order.iter().find(|who| *who != "w3").expect("three are here");
    if order[0] == "w3" {
        crate::line::until(async || (world.facts(sale).await["claimed"] == 1).then_some(())).await;
        let token = world.token("w3", Role::Shopper);
        let path = format!("/flash-sales/{sale}/queue-position");
        let turn = world.rest(Method::GET, &path, Some(&token), &[], "").await;
        assert_eq!(turn.body["status"], "admitted", "{turn:?}");
        let mut back = watcher(&world, sale, "w3").await;
        back.ok(ShopCommand::Leave { sale }).await;
    }
    let at = people.iter().position(|who| who == next).expect("one of them");
    assert_eq!(
        told(&mut clients[at], EntryState::Admitted).await.reason,
        Some(Reason::PassedOn)
    );
    buy(&mut clients[at], sale).await;
    phase(&world, sale, Phase::Ended).await;
    let over = verify(&world, sale, &Noted::default()).await;
    let turns = order.iter().position(|who| who == next).expect("in the draw") + 1;
    assert_eq!(
        (over.called, over.last_called.map(|last| last.entry)),
        (Some(turns as u64), Some(name(&world, sale, next)))
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_sale_ends_without_a_draw_where_nothing_is_left_or_nobody_waits() {
    let world = World::start().await;
    let nobody = world.sale(json!({ "total_stock": 3 })).await;
    let sold_out = world.sale(json!({ "total_stock": 1 })).await;
    let mut buyer = watcher(&world, sold_out, "buyer").await;
    join(&mut buyer, sold_out, 1).await.expect("in line");
    told(&mut buyer, EntryState::Admitted).await;
    let mut late = watcher(&world, sold_out, "late").await;
    join(&mut late, sold_out, 1).await.expect("in line");
    buy(&mut buyer, sold_out).await;
    // Called off before its start.
    let now = chrono::Utc::now();
    let called_off = world
        .sale(json!({
            "room_opens_at": (now - chrono::TimeDelta::seconds(1)).to_rfc3339(),
            "start_time": (now + chrono::TimeDelta::minutes(1)).to_rfc3339(),
        }))
        .await;
    let mut early = watcher(&world, called_off, "early").await;
    join(&mut early, called_off, 1).await.expect("in line");
    for sale in [nobody, sold_out, called_off] {
        let path = format!("/flash-sales/{sale}/draw");
        let before: Draw = serde_json::from_value(get(&world, &path, None).await.body).expect("a draw");
        assert_eq!((before.root, before.seed), (None, None), "only the commitment");
        assert_eq!(
            get(&world, &format!("{path}/file"), None).await.refusal(),
            Code::NotDrawnYet
        );
        act(&world, sale, "end").await;
        phase(&world, sale, Phase::Ended).await;
        assert_eq!(
            get(&world, &format!("{path}/file"), None).await.refusal(),
            Code::NoDraw
        );
        assert_eq!(
            get(&world, &format!("{path}/proof"), Some("late"))
                .await
                .refusal(),
            Code::NoDraw
        );
    }
    world.server.stop().await;
}

#[tokio::test]
async fn the_clock_ends_a_sale_with_a_draw_of_the_rest_and_no_page_sees_it_ended_before() {
    let world = World::start().await;
    let now = chrono::Utc::now();
    let sale = world
        .sale(json!({
            "total_stock": 1, "claim_ms": 60_000, "end_time": (now + chrono::TimeDelta::milliseconds(2_500)).to_rfc3339(),
        }))
        .await;
    act(&world, sale, "pause").await;
    let mut client = watcher(&world, sale, "only").await;
    join(&mut client, sale, 1).await.expect("in line");
    // Until both are seen, whichever comes first.
    let (mut phases, mut is_called) = (Vec::new(), false);
    while !is_called || phases.last() == Some(&Phase::Paused) {
        match client.next().await {
            ServerMessage::Tick(tick) => phases.push(tick.phase),
            ServerMessage::Entry(entry) => is_called |= entry.state == EntryState::Admitted,
            _ => {}
        }
    }
    phases.dedup();
    assert_eq!(phases, [Phase::Paused, Phase::Drawing]);
    buy(&mut client, sale).await;
    phase(&world, sale, Phase::Ended).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_line_that_redis_has_lost_just_before_the_end_is_drawn_among_as_any_other() {
    let world = World::start().await;
    for by_operator in [true, false] {
        let ends_in = chrono::TimeDelta::seconds(if by_operator { 600 } else { 5 });
        let end = (chrono::Utc::now() + ends_in).to_rfc3339();
        let sale = world.sale(json!({ "claim_ms": 60_000, "end_time": end })).await;
        act(&world, sale, "pause").await;
        let mut client = watcher(&world, sale, "only").await;
        join(&mut client, sale, 1).await.expect("in line");
        let waits = HashMap::from([(world.who("only").to_string(), "waiting".to_owned())]);
        crate::line::until(async || (outcomes(&world, sale).await == waits).then_some(())).await;
        // Nothing tells the gateways, or it is too late to give the place back.
        world.server.app.shop.stock.drop_line(sale).await.expect("Redis");
        if by_operator {
            act(&world, sale, "end").await;
        }
        let (mut phases, mut is_called) = (Vec::new(), false);
        while !is_called {
            match client.next().await {
                ServerMessage::Tick(tick) => phases.push(tick.phase),
                ServerMessage::Entry(entry) => is_called |= entry.state == EntryState::Admitted,
                _ => {}
            }
        }
        assert!(!phases.contains(&Phase::Ended), "{phases:?}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn nobody_is_told_that_the_line_was_lost_who_is_drawn_among_at_its_end() {
    let world = World::with(&["--roles", "gateway"]).await;
    let sale = world.sale(json!({})).await;
    let app = &world.server.app;
    let mut client = watcher(&world, sale, "only").await;
    join(&mut client, sale, 1).await.expect("in line");
    // Ended by now, which this gateway has not heard of yet, and the line is lost.
    let known = app.shop.sale(sale).await.expect("the sale");
    let drawing = Sale {
        status: Phase::Drawing,
        ..(*known).clone()
    };
    app.shop.stock.open_sale(&drawing).await.expect("Redis");
    app.shop.stock.drop_line(sale).await.expect("Redis");
    restore::of_shopper(&app.shop, sale, &world.who("only")).await;
    let turn = Entry::settled(sale, EntryState::Admitted, 1, u64::MAX >> 12);
    app.shop
        .live
        .tell(sale, world.who("only"), ServerMessage::Entry(turn));
    let told = client
        .until(|message| match message {
            ServerMessage::Entry(entry) => Some(entry.state),
            _ => None,
        })
        .await;
    assert_eq!(told, EntryState::Admitted, "nothing before it");
    world.server.stop().await;
}

#[tokio::test]
async fn while_a_line_is_being_taken_as_entries_its_people_are_told_that_they_have_entered() {
    let world = World::with(&["--roles", "gateway"]).await;
    let sale = world.sale(json!({ "per_shopper_limit": 2 })).await;
    let app = &world.server.app;
    let mut here = watcher(&world, sale, "here").await;
    join(&mut here, sale, 2).await.expect("in line");
    drop({
        let mut elsewhere = watcher(&world, sale, "elsewhere").await;
        join(&mut elsewhere, sale, 1).await.expect("in line");
        elsewhere
    });
    let mut stranger = watcher(&world, sale, "stranger").await;
    // As the end begins; entries are taken by a worker, which is not there.
    assert!(
        app.shop
            .store
            .set_status(
                sale,
                &[Phase::Scheduled, Phase::Waiting, Phase::Live],
                Phase::Drawing,
                Actor::Worker,
            )
            .await
            .expect("Postgres")
    );
    app.shop.forget_sale(sale).await;
    let known = app.shop.sale(sale).await.expect("the sale");
    app.shop.stock.open_sale(&known).await.expect("Redis");
    app.shop.stock.drop_line(sale).await.expect("Redis");
    // By the place that was given here, before its note is read; and by the history, for whoever comes anew.
    let entered = state(&mut here, sale).await.entry.expect("an entry");
    assert_eq!((entered.state, entered.quantity), (EntryState::Entered, 2));
    history::write_all(&app.shop, &known).await.expect("both stores");
    let mut again = watcher(&world, sale, "elsewhere").await;
    let entered = state(&mut again, sale).await.entry.expect("an entry");
    assert_eq!((entered.state, entered.quantity), (EntryState::Entered, 1));
    for who in ["here", "elsewhere"] {
        let place = get(&world, &format!("/flash-sales/{sale}/queue-position"), Some(who)).await;
        assert_eq!(place.body["status"], "entered", "{who}: {place:?}");
    }
    assert_eq!(state(&mut stranger, sale).await.entry, None);
    world.server.stop().await;
}

#[tokio::test]
async fn the_entries_of_a_line_are_taken_once_however_often_a_leader_begins_anew() {
    let world = World::with(&["--roles", "gateway"]).await;
    let id = world.sale(json!({ "total_stock": 1 })).await;
    let store = &world.server.app.shop.store;
    let sale = store.sale(id).await.expect("Postgres").expect("there");
    let note = |who: &str, at_us| Note::Joined {
        shopper: world.who(who).to_string(),
        device: format!("device-of-{who}"),
        quantity: 1,
        place: at_us,
        at_us,
        line: LineName::Queue,
        nonce: Some(NONCE),
        restored: false,
    };
    let left = Note::Ended {
        shopper: world.who("left").to_string(),
        status: "left".into(),
        at_us: 30,
    };
    let notes = [
        note("a", 10),
        note("b", 11),
        note("left", 12),
        left,
        note("b", 40),
    ];
    store.write_entries(&sale, &notes).await.expect("Postgres");
    for _ in 0..2 {
        let mut after = String::new();
        while let Some(last) = store.enter_waiting(&sale, &after).await.expect("Postgres") {
            after = last;
        }
    }
    let mut names: Vec<String> = ["a", "b"].map(|who| name(&world, id, who)).into();
    names.sort();
    let lines = store.draw_lines(id, "").await.expect("Postgres");
    let found: Vec<String> = lines.into_iter().map(|entry| entry.name).collect();
    assert_eq!(found, names, "each once, without the one who has left");
    world.server.stop().await;
}

#[tokio::test]
async fn who_waits_longer_weighs_more_where_the_sale_says_so_and_the_weights_are_published() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "allocation": "draw", "draw_weight": "waiting_time", "total_stock": 1 }))
        .await;
    let shown = get(&world, &format!("/flash-sales/{sale}"), None).await.body;
    assert_eq!(shown["draw_weight"], "waiting_time", "{shown}");
    let mut client = watcher(&world, sale, "x0").await;
    for n in 0..3 {
        let mut other = watcher(&world, sale, &format!("x{n}")).await;
        join(&mut other, sale, 1).await.expect("enters");
    }
    // The room opened a quarter of an hour ago: one was there before, one half of the time, one came now.
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres");
    for (who, minutes) in [("x0", 60.0), ("x1", 7.6), ("x2", 0.0)] {
        sqlx::query("UPDATE draw_entries SET entered_at = now() - make_interval(secs => $3 * 60) WHERE sale_id = $1 AND entry = $2")
            .bind(sale.to_string())
            .bind(name(&world, sale, who))
            .bind(minutes)
            .execute(&pool)
            .await
            .expect("Postgres");
    }
    act(&world, sale, "end").await;
    published(&world, sale, |draw| draw.seed.is_some()).await;
    drawn(&mut client).await;
    for (who, weight) in [("x0", 10), ("x1", 5), ("x2", 1)] {
        let answer = get(&world, &format!("/flash-sales/{sale}/draw/proof"), Some(who)).await;
        let proof: Proof = serde_json::from_value(answer.body).expect("a proof");
        proof.verify().expect("right");
        assert_eq!(proof.entry.weight, weight, "{who}");
    }
    verify(&world, sale, &Noted::default()).await;
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/metrics");
    let fairness = world.rest(Method::GET, &path, Some(&boss), &[], "").await.body["fairness"].take();
    let weights: Vec<&Value> = fairness["weights"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|class| &class["weight"])
        .collect();
    assert_eq!(weights, [&json!(1), &json!(5), &json!(10)]);
    assert!(
        fairness["win_chance_gini"].as_f64().expect("a number") > 0.2,
        "{fairness}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_new_leader_gives_nobody_a_second_turn() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "total_stock": 4, "per_shopper_limit": 2, "claim_ms": 60_000 }))
        .await;
    act(&world, sale, "pause").await;
    let mut clients = Vec::new();
    for who in ["buys", "leaves", "holds", "waits"] {
        let mut client = watcher(&world, sale, who).await;
        join(&mut client, sale, 1).await.expect("in line");
        clients.push(client);
    }
    act(&world, sale, "end").await;
    for client in &mut clients {
        told(client, EntryState::Admitted).await;
    }
    buy(&mut clients[0], sale).await;
    clients[1].ok(ShopCommand::Leave { sale }).await;
    clients[2].ok(reserve(sale)).await;

    let other = world.another("127.0.0.1:0").await;
    let token = world.token("waits", Role::Shopper);
    // As if their leader had died before it noted whom it had called.
    sqlx::query("UPDATE draw_turns SET called_at = NULL WHERE sale_id = $1")
        .bind(sale.to_string())
        .execute(
            &sqlx::PgPool::connect(&world.database_url)
                .await
                .expect("Postgres"),
        )
        .await
        .expect("Postgres");
    world.server.stop().await;
    let mut last = Client::connect(other.address).await;
    let hello = ConnectionCommand::Hello {
        token,
        device: Some("device-of-waits".parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    last.ok(hello).await;
    last.ok(ShopCommand::Leave { sale }).await;
    // Over only when nobody has a turn any more.
    let known = crate::line::until(async || {
        let known = other
            .app
            .shop
            .store
            .sale(sale)
            .await
            .expect("Postgres")
            .expect("there");
        (known.status == Phase::Ended).then_some(known)
    })
    .await;
    let counters = other.app.shop.stock.sale_counters(&known).await.expect("Redis");
    assert_eq!(
        (counters.sold, counters.held, counters.claimed, counters.available),
        (1, 1, 0, 2)
    );
    other.stop().await;
}

#[tokio::test]
async fn a_sale_that_was_read_before_its_end_does_not_take_it_back() {
    let world = World::with(&["--roles", "gateway"]).await;
    let id = world.sale(json!({})).await;
    let stock = &world.server.app.shop.stock;
    let live = world.server.app.shop.sale(id).await.expect("the sale");
    let at = live.lane_refs().next().expect("a lane");
    let stands = async || {
        let client = stock.client();
        let phase: String = client
            .hget(stock.keys().sale("sale", id), "phase")
            .await
            .expect("Redis");
        let closes_at: u64 = client
            .hget(stock.keys().lane("stock", at), "closes_at")
            .await
            .expect("Redis");
        (phase, closes_at)
    };
    let mut before = stands().await;
    for status in [Phase::Paused, Phase::Live, Phase::Drawing, Phase::Ended] {
        let next = Sale {
            status,
            ..(*live).clone()
        };
        for sale in [&next, &live] {
            stock.open_sale(sale).await.expect("Redis");
            stock.open_lane(sale, sale.lanes[0], 0, 0).await.expect("Redis");
            let now = stands().await;
            let is_late = matches!(status, Phase::Drawing | Phase::Ended);
            if is_late && sale.status != status {
                assert_eq!(now, before, "not back from {status:?}");
            } else if is_late {
                assert!(now != before, "{status:?} after {before:?}");
            }
            before = now;
        }
    }
    world.server.stop().await;
}

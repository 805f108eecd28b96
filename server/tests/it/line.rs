//! The waiting line, through its doors: who stands where, who is called when, and what everybody is told of it.

use crate::{
    draw::name,
    harness::{Client, DEADLINE, NONCE, World},
    purchase::{approve, checkout, join_and_reserve, reserve},
};
use chrono::{TimeDelta, Utc};
use flashsale::auth::GUEST_LIFE;
use flashsale_engine::{
    sale::{LaneRef, LineName, Note, Sale},
    stock::{CalledBy, Claimed, Join, Joined, Stands, TurnVerdict},
};
use flashsale_protocol::{
    Code, ConnectionCommand, Done, Entry, EntryState, OpeningOrder, Phase, Quantity, Reason, Role, SaleId,
    ServerMessage, ShopCommand, ShopperId, Tick,
    draw::{Seed, opening_place},
};
use fred::prelude::{HashesInterface, LuaInterface, SortedSetsInterface};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A sale whose room is open, and which starts so much later.
async fn room(world: &World, starts_in_ms: i64, fields: Value) -> SaleId {
    let now = Utc::now();
    let mut all = json!({
        "room_opens_at": (now - TimeDelta::seconds(1)).to_rfc3339(),
        "start_time": (now + TimeDelta::milliseconds(starts_in_ms)).to_rfc3339(),
    });
    all.as_object_mut()
        .expect("an object")
        .extend(fields.as_object().expect("an object").clone());
    world.sale(all).await
}

async fn join(client: &mut Client, sale: SaleId) -> Entry {
    match client
        .ok(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await
    {
        Done::Joined { entry, .. } => entry,
        other => panic!("{other:?}"),
    }
}

async fn admin(world: &World, path: &str, body: Value) -> crate::harness::Answer {
    let boss = world.token("boss", Role::Admin);
    world
        .rest(Method::POST, path, Some(&boss), &[], body.to_string())
        .await
}

async fn look(world: &World, path: String) -> Value {
    let boss = world.token("boss", Role::Admin);
    world.rest(Method::GET, &path, Some(&boss), &[], "").await.body
}

async fn fairness(world: &World, sale: SaleId) -> Value {
    look(world, format!("/admin/sales/{sale}/metrics")).await["fairness"].take()
}

fn entry_of(message: &ServerMessage, state: EntryState) -> Option<Entry> {
    match message {
        ServerMessage::Entry(entry) if entry.state == state => Some(entry.clone()),
        _ => None,
    }
}

fn tick_where(is: impl Fn(&Tick) -> bool) -> impl Fn(&ServerMessage) -> Option<Tick> {
    move |message| match message {
        ServerMessage::Tick(tick) if is(tick) => Some(tick.clone()),
        _ => None,
    }
}

/// Asks until the answer is as wanted.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_shuffled_opening_shows_no_place_before_the_start_and_the_published_order_after_it() {
    const PEOPLE: usize = 12;
    let world = World::start().await;
    let sale = room(
        &world,
        2_500,
        json!({ "opening": "shuffle", "total_stock": 1, "claim_ms": 60_000 }),
    )
    .await;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        let who = format!("s{n}");
        let mut client = world.shopper(&who).await;
        let state = client.watch(sale).await;
        assert_eq!(state.sale.opening, OpeningOrder::Shuffle);
        assert_eq!(state.sale.opening_seed, None, "secret before the start");
        let entry = join(&mut client, sale).await;
        assert_eq!((entry.position, entry.admitted), (0, 0), "{entry:?}");
        people.push((who, client));
    }
    // No door tells a place: not the state, not a second socket's hello, not REST.
    let (who, client) = &mut people[3];
    let state = client.watch(sale).await;
    assert_eq!(state.entry.map(|entry| entry.position), Some(0));
    assert_eq!(state.tick.phase, Phase::Waiting, "this must be before the start");
    let hash = state.sale.opening_seed_hash.expect("published");
    let mut again = world.stranger().await;
    let hello = ConnectionCommand::Hello {
        token: world.token(who, Role::Shopper),
        device: Some("a-phone".parse().expect("an id")),
        resume: vec![sale],
        changes: false,
    };
    let Done::Welcome(welcome) = again.ok(hello).await else {
        panic!("no welcome")
    };
    assert_eq!(
        welcome.states[0].entry.as_ref().map(|entry| entry.position),
        Some(0)
    );
    let token = world.token(who, Role::Shopper);
    let path = format!("/flash-sales/{sale}/queue-position");
    let rest = world.rest(Method::GET, &path, Some(&token), &[], "").await.body;
    assert_eq!(
        (&rest["position"], &rest["chance"]),
        (&json!(0), &Value::Null),
        "{rest}"
    );
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/entries.csv");
    let rows = until(async || {
        let export = flashsale::tls::client()
            .get(world.url(&path))
            .bearer_auth(&boss)
            .send()
            .await;
        let text = export.expect("an answer").text().await.expect("a text");
        let rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        (rows.len() == PEOPLE).then_some(rows)
    })
    .await;
    for row in rows {
        assert_eq!(row.split(',').nth(4), Some(""), "no place in the export: {row}");
    }
    let here = again
        .until(tick_where(|tick| {
            tick.phase == Phase::Waiting && tick.waiting == PEOPLE as u64
        }))
        .await;
    assert!(
        here.starts_at > here.now,
        "how many are here, and when places are drawn"
    );

    // After it, the seed is what was published, and the places are what it says.
    again.until(tick_where(|tick| tick.admitted == 1)).await;
    let state = again.watch(sale).await;
    let seed: Seed = state
        .sale
        .opening_seed
        .expect("revealed")
        .parse()
        .expect("a seed");
    assert_eq!(seed.commitment().to_string(), hash);
    let mut order: Vec<(u64, String)> = Vec::new();
    for (who, _) in &people {
        let name = name(&world, sale, who);
        order.push((opening_place(&seed, &name), who.clone()));
    }
    order.sort();
    for (rank, (_, who)) in order.iter().enumerate() {
        let client = &mut people.iter_mut().find(|(name, _)| name == who).expect("here").1;
        let entry = client.watch(sale).await.entry.expect("in line");
        if rank == 0 {
            assert_eq!(entry.state, EntryState::Admitted, "{who} is first");
        } else {
            assert_eq!(
                (entry.state, entry.position),
                (EntryState::Waiting, rank as u64),
                "{who}"
            );
        }
    }
    // Whoever joins now stands behind them all.
    let late = join(&mut world.shopper("late").await, sale).await;
    assert_eq!(late.position, PEOPLE as u64);
    world.server.stop().await;
}

#[tokio::test]
async fn absent_at_their_turn_keeps_the_place_and_is_first_on_return() {
    let world = World::start().await;
    let sale = room(
        &world,
        1_500,
        json!({ "total_stock": 3, "claim_ms": 60_000, "inflow": 1 }),
    )
    .await;
    let mut first = world.shopper("first").await;
    first.watch(sale).await;
    join(&mut first, sale).await;
    let mut second = world.shopper("second").await;
    second.watch(sale).await;
    join(&mut second, sale).await;
    drop(first);
    let path = format!("/admin/sales/{sale}/metrics");
    until(async || (look(&world, path.clone()).await["absent"] == 1).then_some(())).await;
    let admitted = second
        .until(|message| entry_of(message, EntryState::Admitted))
        .await;
    assert_eq!(admitted.quantity, 1, "nobody waits for an absent one");
    until(async || (look(&world, path.clone()).await["parked"] == 1).then_some(())).await;

    let mut third = world.shopper("third").await;
    let mut first = world.shopper("first").await;
    // Coming back is enough, and joining again does no harm.
    let state = first.watch(sale).await;
    let entry = state.entry.expect("the place was kept");
    assert!(
        matches!(entry.state, EntryState::Admitted) || entry.position == 1,
        "back in front: {entry:?}"
    );
    join(&mut third, sale).await;
    first
        .until(|message| entry_of(message, EntryState::Admitted))
        .await;
    let numbers = fairness(&world, sale).await;
    assert_eq!(
        numbers["order_inversions"], 0,
        "an absent one was not overtaken: {numbers}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_is_away_for_too_long_loses_the_place() {
    let world = World::start().await;
    let sale = room(&world, 60_000, json!({ "absence_ms": 300 })).await;
    let mut gone = world.shopper("gone").await;
    gone.watch(sale).await;
    join(&mut gone, sale).await;
    let mut stays = world.shopper("stays").await;
    stays.watch(sale).await;
    join(&mut stays, sale).await;
    // Or a tick from before they joined would do.
    stays.until(tick_where(|tick| tick.waiting == 2)).await;
    stays.events.clear();
    drop(gone);
    stays.until(tick_where(|tick| tick.waiting == 1)).await;
    let token = world.token("gone", Role::Shopper);
    let path = format!("/flash-sales/{sale}/queue-position");
    // Not in line at once; what became of the place is told when the line's history has it.
    until(async || {
        let answer = world.rest(Method::GET, &path, Some(&token), &[], "").await;
        if answer.status != 200 {
            assert_eq!(answer.refusal(), Code::NotInLine);
            return None;
        }
        assert_eq!(answer.body["status"], "removed", "{answer:?}");
        Some(())
    })
    .await;
    let csv = until(async || {
        let rows = world
            .server
            .app
            .shop
            .store
            .entries_page(sale, "")
            .await
            .expect("Postgres");
        rows.iter().any(|row| row.status == "expired").then_some(rows)
    })
    .await;
    let told: Vec<_> = csv
        .iter()
        .map(|row| (row.user_id.as_str(), row.status.as_str()))
        .collect();
    let (gone, stays) = (
        world.person(sale, "gone").await,
        world.person(sale, "stays").await,
    );
    assert_eq!(told, [(gone.as_str(), "expired"), (stays.as_str(), "waiting")]);
    world.server.stop().await;
}

#[tokio::test]
async fn two_sockets_of_one_person_share_the_place_and_one_of_them_may_go() {
    let world = World::start().await;
    let sale = room(&world, 60_000, json!({})).await;
    join(&mut world.shopper("before").await, sale).await;
    let mut tab = world.shopper("u").await;
    let mut phone = world.shopper_on("u", "phone-of-u").await;
    let entry = join(&mut tab, sale).await;
    assert_eq!(join(&mut phone, sale).await.position, entry.position);
    drop(tab);
    let state = phone.watch(sale).await;
    assert_eq!(state.entry.map(|entry| entry.position), Some(entry.position));
    let numbers = look(&world, format!("/admin/sales/{sale}/metrics")).await;
    assert_eq!(
        (&numbers["queue_length"], &numbers["absent"]),
        (&json!(2), &json!(1)),
        "{numbers}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_priority_list_has_a_line_of_its_own_and_the_token_says_who_is_on_it() {
    let world = World::start().await;
    let sale = room(
        &world,
        4_000,
        json!({ "total_stock": 2, "inflow": 2, "priority_share": 50, "claim_ms": 60_000 }),
    )
    .await;
    let mut others = Vec::new();
    for n in 0..4 {
        let mut client = world.shopper(&format!("o{n}")).await;
        client.watch(sale).await;
        assert_eq!(join(&mut client, sale).await.position, n + 1);
        others.push(client);
    }
    let on_list = |of: String| {
        let authority = &world.server.app.authority.signer;
        authority
            .issue_on_lists(
                "vip".parse().expect("an id"),
                Role::Shopper,
                None,
                GUEST_LIFE,
                &[of],
            )
            .expect("signs")
    };
    let mut vip = world.stranger().await;
    vip.ok(ConnectionCommand::Hello {
        token: on_list(sale.to_string()),
        device: Some("d-vip".parse().expect("an id")),
        resume: vec![sale],
        changes: false,
    })
    .await;
    let entry = join(&mut vip, sale).await;
    assert_eq!((entry.position, entry.priority), (1, true));
    let state = others[3].watch(sale).await;
    assert_eq!(
        state.entry.map(|entry| entry.position),
        Some(4),
        "I8: nobody's place gets worse"
    );
    // Whoever asks over REST hears of both lines, as those on a socket do.
    let waiting = vip
        .until(tick_where(|tick| tick.priority_waiting == 1))
        .await
        .waiting;
    assert_eq!(waiting, 5);
    until(async || {
        let shown = look(&world, format!("/flash-sales/{sale}")).await;
        (shown["queue_length"] == waiting).then_some(())
    })
    .await;
    let numbers = look(&world, format!("/admin/sales/{sale}/metrics")).await;
    assert_eq!(
        (&numbers["queue_length"], &numbers["priority_waiting"]),
        (&json!(5), &json!(1)),
        "{numbers}"
    );
    assert_eq!(
        numbers["fairness"]["entries_waiting"], 5,
        "one answer says one thing"
    );
    // Half of the first two turns is theirs.
    vip.until(|message| entry_of(message, EntryState::Admitted)).await;
    others[0]
        .until(|message| entry_of(message, EntryState::Admitted))
        .await;
    let numbers = look(&world, format!("/admin/sales/{sale}/metrics")).await;
    assert_eq!(
        (&numbers["priority_admitted"], &numbers["admitted"]),
        (&json!(1), &json!(1)),
        "{numbers}"
    );
    // A list of another sale does not count here.
    let mut stranger = world.stranger().await;
    stranger
        .ok(ConnectionCommand::Hello {
            token: on_list("another-merchant".into()),
            device: Some("d-other".parse().expect("an id")),
            resume: vec![],
            changes: false,
        })
        .await;
    world.server.stop().await;
}

#[tokio::test]
async fn the_inflow_can_be_changed_while_the_line_moves_and_everybody_is_told_why() {
    let world = World::start().await;
    let sale = room(
        &world,
        0,
        json!({ "total_stock": 500, "inflow": 50, "claim_ms": 60_000 }),
    )
    .await;
    let mut watcher = world.shopper("w").await;
    watcher.watch(sale).await;
    // A worker leads the sale: it knows the inflow from before.
    watcher.until(tick_where(|tick| tick.seq > 0)).await;
    let path = format!("/admin/sales/{sale}/inflow");
    for bad in [-1, 0, 1_000_000_000] {
        let answer = admin(&world, &path, json!({ "inflow": bad })).await;
        assert_eq!(answer.refusal(), Code::InvalidField, "{bad}");
        assert!(
            answer
                .detail()
                .starts_with("inflow: must be a whole number from 1 to"),
            "{}",
            answer.detail()
        );
    }
    let shopper = world.token("u", Role::Shopper);
    let answer = world
        .rest(
            Method::POST,
            &path,
            Some(&shopper),
            &[],
            json!({ "inflow": 5 }).to_string(),
        )
        .await;
    assert_eq!(answer.refusal(), Code::Forbidden);

    let cut = Instant::now();
    let answer = admin(&world, &path, json!({ "inflow": 1 })).await;
    assert_eq!((answer.status, &answer.body["inflow"]), (200, &json!(1)));
    watcher
        .until(tick_where(|tick| tick.slowed == Some(Reason::InflowCut)))
        .await;
    assert!(cut.elapsed() < Duration::from_secs(1), "{:?}", cut.elapsed());
    admin(&world, &format!("/admin/sales/{sale}/pause"), json!({})).await;
    watcher
        .until(tick_where(|tick| tick.slowed == Some(Reason::SalePaused)))
        .await;
    let audit = look(&world, format!("/admin/sales/{sale}/audit")).await;
    let kinds: Vec<&str> = audit["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["kind"].as_str())
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "inflow_changed").count(),
        1,
        "{kinds:?}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_lapsed_turn_is_the_next_one_s_within_a_quarter_of_a_second() {
    let world = World::start().await;
    let sale = room(&world, 800, json!({ "total_stock": 1, "claim_ms": 700 })).await;
    let mut sleeper = world.shopper("sleeper").await;
    sleeper.watch(sale).await;
    join(&mut sleeper, sale).await;
    let mut next = world.shopper("next").await;
    next.watch(sale).await;
    join(&mut next, sale).await;
    let turn = sleeper
        .until(|message| entry_of(message, EntryState::Admitted))
        .await;
    let until_ms = turn.claim_until.expect("a deadline");
    let taken = next
        .until(|message| entry_of(message, EntryState::Admitted))
        .await;
    assert!(
        (until_ms..until_ms + 250).contains(&taken.at),
        "{} ms late",
        taken.at as i64 - until_ms as i64
    );
    let numbers = fairness(&world, sale).await;
    assert_eq!(numbers["order_inversions"], 0);
    assert!(
        numbers["no_show_rate"].as_f64().expect("a number") >= 0.5,
        "{numbers}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_wait_is_a_range_with_a_chance_and_says_early_that_there_will_be_none() {
    const PEOPLE: u64 = 60;
    let world = World::start().await;
    let sale = room(
        &world,
        3_000,
        json!({ "total_stock": 40, "inflow": 1, "claim_ms": 60_000 }),
    )
    .await;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        let mut client = world.shopper(&format!("p{n}")).await;
        client.watch(sale).await;
        join(&mut client, sale).await;
        people.push(client);
    }
    let last = people.last_mut().expect("one");
    last.until(tick_where(|tick| {
        tick.admitted >= 5 && tick.pace.is_some_and(|pace| pace > 0.0)
    }))
    .await;
    let position = async |who: u64| {
        let token = world.token(&format!("p{who}"), Role::Shopper);
        let path = format!("/flash-sales/{sale}/queue-position");
        world.rest(Method::GET, &path, Some(&token), &[], "").await.body
    };
    let (near, far) = (position(35).await, position(PEOPLE - 1).await);
    assert!(
        far["chance"].as_f64().expect("a chance") < 0.1,
        "forty units, sixty people: {far}"
    );
    assert!(
        far["wait_time_seconds"].is_null() && far["wait_time_seconds_least"].is_u64(),
        "{far}"
    );
    assert!(
        near["chance"].as_f64().expect("a chance") > 0.5,
        "the 36th of forty: {near}"
    );
    let (least, most) = (&near["wait_time_seconds_least"], &near["wait_time_seconds"]);
    assert!(
        least.as_u64().expect("a range") <= most.as_u64().expect("a range"),
        "{near}"
    );
    assert!(far["units_in_carts"].as_u64().expect("a number") >= 5 && far["next_lapse_time"].is_string());
    // All units are set aside: the reason is said, and nobody ahead is forgotten.
    last.until(tick_where(|tick| tick.slowed == Some(Reason::StockLow)))
        .await;
    assert_eq!(position(PEOPLE - 1).await["reason"], "stock_low");
    world.server.stop().await;
}

#[tokio::test]
async fn a_device_that_has_all_it_may_have_is_told_before_it_waits() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "total_stock": 5, "per_shopper_limit": 2, "per_device_limit": 2 }))
        .await;
    let mut first = world.shopper("u").await;
    first.ok(reserve(sale)).await;
    let mut other = world.shopper_on("another", "device-of-u").await;
    let wants = |quantity| ShopCommand::Join {
        sale,
        quantity: Quantity::new(quantity).expect("a quantity"),
        nonce: Some(NONCE),
    };
    let refused = other.ask(wants(2)).await.expect_err("one is in a cart");
    assert_eq!(refused.code, Code::DeviceLimitReached);
    other.ok(wants(1)).await;
    other.ok(ShopCommand::Leave { sale }).await;
    // What goes back counts no more.
    first.ok(ShopCommand::Release { sale }).await;
    other.ok(wants(2)).await;
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_asks_without_a_socket_hears_what_was_measured() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 1, "claim_ms": 60_000 })).await;
    let token = |who: &str| {
        let device = format!("device-of-{who}").parse().expect("an id");
        let authority = &world.server.app.authority.signer;
        let life = Duration::from_secs(60);
        authority
            .issue(who.parse().expect("an id"), Role::Shopper, Some(device), life)
            .expect("signs")
    };
    for who in ["a", "b", "c"] {
        let joined = world
            .http
            .post(world.url(&format!("/flash-sales/{sale}/join-queue")))
            .bearer_auth(token(who))
            .body(json!({ "user_id": who }).to_string())
            .send()
            .await
            .expect("an answer");
        assert_eq!(joined.status(), 200, "{joined:?}");
    }
    let path = format!("/flash-sales/{sale}/queue-position");
    let told = until(async || {
        let told = world
            .rest(
                Method::GET,
                &path,
                Some(&world.token("c", Role::Shopper)),
                &[],
                "",
            )
            .await
            .body;
        (told["reason"] == "stock_low").then_some(told)
    })
    .await;
    assert_eq!(
        (&told["position"], &told["units_in_carts"]),
        (&json!(2), &json!(1)),
        "{told}"
    );
    assert!(told["next_lapse_time"].is_string(), "{told}");
    world.server.stop().await;
}

#[tokio::test]
async fn bad_input_around_the_line_is_named_and_changes_nothing() {
    let world = World::start().await;
    let sale = room(&world, 60_000, json!({ "per_shopper_limit": 2 })).await;
    let closed = room(
        &world,
        3_600_000,
        json!({ "room_opens_at": (Utc::now() + TimeDelta::minutes(30)).to_rfc3339() }),
    )
    .await;
    let over = room(&world, 60_000, json!({})).await;
    admin(&world, &format!("/admin/sales/{over}/end"), json!({})).await;
    let mut client = world.shopper("u").await;
    let join = |sale| ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: Some(NONCE),
    };
    let early = client.ask(join(closed)).await.expect_err("the room is closed");
    assert_eq!(early.code, Code::RoomClosed);
    assert!(early.retry_after_ms.is_some_and(|ms| ms > 1_000_000), "{early:?}");
    let late = client.ask(join(over)).await.expect_err("over");
    assert_eq!(late.code, Code::SaleEnded);
    let not_there = client
        .ask(ShopCommand::Leave { sale })
        .await
        .expect_err("not in line");
    assert_eq!(not_there.code, Code::NotInLine);
    let facts = world.facts(sale).await;
    client.ok(join(sale)).await;
    client.ok(ShopCommand::Leave { sale }).await;
    let twice = client
        .ask(ShopCommand::Leave { sale })
        .await
        .expect_err("left already");
    assert_eq!(twice.code, Code::NotInLine);
    client.ok(join(sale)).await;
    // Again is the same place; for another quantity, or for more than one may have, it is none.
    client.ok(join(sale)).await;
    for (quantity, code) in [(2, Code::AlreadyInLine), (3, Code::LimitReached)] {
        let quantity = Quantity::new(quantity).expect("a quantity");
        let other = client
            .ask(ShopCommand::Join {
                sale,
                quantity,
                nonce: Some(NONCE),
            })
            .await;
        assert_eq!(other.expect_err("in line for one").code, code);
    }

    // The device stands in line: under no other name as well.
    let mut other = world.shopper_on("another", "device-of-u").await;
    let shared = other.ask(join(sale)).await.expect_err("one device, one entry");
    assert_eq!(shared.code, Code::DeviceInLine);

    // A borrowed and a forged proof of place.
    let path = format!("/flash-sales/{sale}/queue-position");
    let (mine, others) = (
        world.token("u", Role::Shopper),
        world.token("another", Role::Shopper),
    );
    let seal = &world.server.app.shop.seal;
    let proof = seal
        .queue_token(sale, &world.person(sale, "u").await)
        .expect("signs");
    let ask = async |token: &str, proof: &str| {
        let headers = [("queue-token", proof)];
        world.rest(Method::GET, &path, Some(token), &headers, "").await
    };
    assert_eq!(ask(&mine, &proof).await.status, 200);
    assert_eq!(ask(&others, &proof).await.refusal(), Code::Forbidden);
    let forged = format!("{}x", &proof[..proof.len() - 1]);
    assert_eq!(ask(&mine, &forged).await.refusal(), Code::TokenInvalid);
    // It is no ticket to sign in with either.
    assert_eq!(ask(&proof, &proof).await.refusal(), Code::TokenInvalid);

    let after = world.facts(sale).await;
    assert_eq!(
        after["queue_length"],
        facts["queue_length"].as_u64().expect("a number") + 1
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_history_of_the_line_reaches_postgres_and_can_be_exported() {
    let world = World::start().await;
    let sale = room(&world, 1_000, json!({ "total_stock": 1, "claim_ms": 60_000 })).await;
    let mut people = Vec::new();
    for who in ["served", "leaver", "@waiter"] {
        let mut client = world.shopper(who).await;
        client.watch(sale).await;
        join(&mut client, sale).await;
        people.push(client);
    }
    people[1].ok(ShopCommand::Leave { sale }).await;
    let first = &mut people[0];
    first
        .until(|message| entry_of(message, EntryState::Admitted))
        .await;
    first.ok(reserve(sale)).await;
    let order = checkout(first, sale).await.order;
    let payment = approve();
    first.ok(ShopCommand::Pay { order, payment }).await;
    // Nothing is left to draw.
    admin(&world, &format!("/admin/sales/{sale}/end"), json!({})).await;
    let boss = world.token("boss", Role::Admin);
    let url = world.url(&format!("/admin/sales/{sale}/entries.csv"));
    let export = async || {
        let answer = world
            .http
            .get(&url)
            .bearer_auth(&boss)
            .send()
            .await
            .expect("answers");
        assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
        answer.text().await.expect("text")
    };
    let csv = until(async || {
        let csv = export().await;
        csv.contains(",not_served,").then_some(csv)
    })
    .await;
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0].len(), 9);
    let told: Vec<(&str, &str)> = rows[1..].iter().map(|row| (row[1], row[7])).collect();
    let mut people = Vec::new();
    for who in ["served", "leaver", "@waiter"] {
        people.push(world.person(sale, who).await);
    }
    assert_eq!(
        told,
        [
            (people[0].as_str(), "served"),
            (people[1].as_str(), "left"),
            (people[2].as_str(), "not_served")
        ],
        "in the order of joining, and no formula"
    );
    let device = rows[1][2];
    assert!(device.starts_with("d_") && !device.contains("served"), "{device}");
    let numbers = fairness(&world, sale).await;
    assert_eq!(
        (
            &numbers["entries_served"],
            &numbers["entries_left"],
            &numbers["entries_not_served"]
        ),
        (&json!(1), &json!(1), &json!(1)),
        "{numbers}"
    );
    assert!(
        numbers["wait_seconds_p50"].as_f64().is_some_and(|s| s >= 0.0),
        "{numbers}"
    );
    // Nobody else's business.
    let shopper = world.token("served", Role::Shopper);
    let answer = world
        .rest(
            Method::GET,
            &format!("/admin/sales/{sale}/entries.csv"),
            Some(&shopper),
            &[],
            "",
        )
        .await;
    assert_eq!(answer.refusal(), Code::Forbidden);
    world.server.stop().await;
}

/// A sale that no worker knows of: what happens to its line is this test's doing.
async fn own_line(world: &World, stock: u32) -> (Sale, LaneRef) {
    let made = world.sale(json!({ "total_stock": stock })).await;
    let app = &world.server.app;
    let known = app.shop.store.sale(made).await.expect("Postgres").expect("there");
    let sale = Sale {
        id: SaleId::from_parts(Utc::now().timestamp_millis() as u64, rand::random()),
        ..known
    };
    app.shop.stock.open_sale(&sale).await.expect("Redis");
    app.shop
        .stock
        .new_lane(&sale, sale.lanes[0])
        .await
        .expect("Redis");
    let at = sale.lane_refs().next().expect("a lane");
    (sale, at)
}

async fn stand(world: &World, sale: &Sale, who: &str, line: LineName, opening_place: Option<u64>) -> Joined {
    let item = Join {
        shopper: who.parse().expect("an id"),
        device: format!("device-of-{who}").parse().expect("an id"),
        quantity: 1,
        old_place: None,
        opening_place,
        line,
        nonce: Some(NONCE),
    };
    world
        .server
        .app
        .shop
        .stock
        .join(sale.id, item)
        .await
        .expect("Redis")
        .value
        .value
}

/// One leader's step, which may end after any of its parts.
async fn admission(world: &World, sale: &Sale, at: LaneRef, parts: usize) -> Vec<String> {
    let stock = &world.server.app.shop.stock;
    let called = stock.admit(sale.id, 3, 50).await.expect("Redis").called;
    if parts < 2 || called.is_empty() {
        return Vec::new();
    }
    let claims = stock
        .claim(at, CalledBy::Line, &called)
        .await
        .expect("Redis")
        .value;
    if parts < 3 {
        return Vec::new();
    }
    let verdicts: Vec<(ShopperId, TurnVerdict)> = called
        .into_iter()
        .zip(claims)
        .map(|((who, _), claim)| {
            let served = matches!(claim, Claimed::Ok { .. });
            (
                who,
                if served {
                    TurnVerdict::Served
                } else {
                    TurnVerdict::Back
                },
            )
        })
        .collect();
    stock.settle_admission(sale.id, &verdicts).await.expect("Redis");
    verdicts
        .into_iter()
        .filter(|(_, verdict)| *verdict == TurnVerdict::Served)
        .map(|(who, _)| who.to_string())
        .collect()
}

#[tokio::test]
async fn a_leader_that_dies_at_any_step_and_a_second_one_at_the_same_time_serve_everybody_once() {
    const PEOPLE: u64 = 12;
    let world = World::start().await;
    let (sale, at) = own_line(&world, 100).await;
    for n in 0..PEOPLE {
        let line = if n % 4 == 3 {
            LineName::Priority
        } else {
            LineName::Queue
        };
        stand(&world, &sale, &format!("l{n}"), line, None).await;
    }
    let mut order: Vec<String> = Vec::new();
    for parts in [1, 2, 3, 1, 2, 3, 3, 3, 3, 3, 3] {
        // The same step by two at once: one that may die, and one that goes on.
        let both = tokio::join!(
            admission(&world, &sale, at, parts),
            admission(&world, &sale, at, parts)
        );
        for who in both.0.into_iter().chain(both.1) {
            if !order.contains(&who) {
                order.push(who);
            }
        }
    }
    let stock = &world.server.app.shop.stock;
    let counters = stock.counters(at).await.expect("Redis");
    assert_eq!(
        (counters.claimed, counters.available),
        (PEOPLE, 100 - PEOPLE),
        "one unit each"
    );
    assert!(counters.balanced());
    let line = stock.line_counts(sale.id).await.expect("Redis");
    assert_eq!(
        (line.served.queue, line.served.priority),
        (9, 3),
        "counted once each"
    );
    assert_eq!(line.inversions, 0);
    assert_eq!(stock.queue_length(sale.id).await.expect("Redis"), 0);
    let ordinary: Vec<u64> = order
        .iter()
        .map(|who| who[1..].parse::<u64>().expect("a number"))
        .filter(|n| n % 4 != 3)
        .collect();
    assert_eq!(ordinary.len(), 9);
    assert!(ordinary.is_sorted(), "in the order of joining: {order:?}");
    world.server.stop().await;
}

#[tokio::test]
async fn more_people_than_units_get_no_more_claims_than_units_and_the_rest_keep_their_places() {
    let world = World::start().await;
    let (sale, at) = own_line(&world, 2).await;
    let mut places = Vec::new();
    for n in 0..4 {
        match stand(&world, &sale, &format!("m{n}"), LineName::Queue, None).await {
            Joined::Waiting { place, .. } => places.push(place),
            other => panic!("{other:?}"),
        }
    }
    assert!(places.is_sorted_by(|a, b| a < b), "strictly: {places:?}");
    // One call of all of them, as if the free units had been counted wrongly.
    for _ in 0..3 {
        admission(&world, &sale, at, 3).await;
    }
    let stock = &world.server.app.shop.stock;
    assert_eq!(stock.counters(at).await.expect("Redis").claimed, 2);
    for (n, place) in [(2, places[2]), (3, places[3])] {
        let who = format!("m{n}").parse().expect("an id");
        let stands = stock.place(sale.id, who).await.expect("Redis").value.value;
        assert!(
            matches!(stands, Stands::Waiting { place: kept, position, .. } if kept == place && position == n - 1),
            "{stands:?}"
        );
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_line_of_absent_people_does_not_hold_up_those_who_are_here() {
    let world = World::start().await;
    let (sale, at) = own_line(&world, 10).await;
    let stock = &world.server.app.shop.stock;
    for n in 0..7 {
        stand(&world, &sale, &format!("a{n}"), LineName::Queue, None).await;
    }
    for n in 0..5 {
        stock
            .go_away(sale.id, format!("a{n}").parse().expect("an id"))
            .expect("posted");
    }
    until(async || (stock.line_counts(sale.id).await.expect("Redis").absent == 5).then_some(())).await;
    assert_eq!(admission(&world, &sale, at, 3).await, ["a5", "a6"]);
    assert_eq!(stock.line_counts(sale.id).await.expect("Redis").parked, 5);
    // Back in the order of their places, whoever comes back first.
    for n in [4, 1] {
        stock
            .place(sale.id, format!("a{n}").parse().expect("an id"))
            .await
            .expect("Redis");
    }
    stand(&world, &sale, "new", LineName::Queue, None).await;
    assert_eq!(admission(&world, &sale, at, 3).await, ["a1", "a4", "new"]);
    assert_eq!(stock.line_counts(sale.id).await.expect("Redis").inversions, 0);
    world.server.stop().await;
}

#[tokio::test]
async fn waits_are_counted_once_and_told_within_a_tenth_however_often_they_are_written() {
    const PEOPLE: u64 = 1_000;
    const SECOND_US: u64 = 1_000_000;
    let world = World::start().await;
    let (sale, _) = own_line(&world, 1).await;
    let store = &world.server.app.shop.store;
    let start_us = sale.start_time.timestamp_micros() as u64;
    let mut notes = Vec::new();
    for n in 0..PEOPLE {
        let shopper = format!("w{n}");
        notes.push(Note::Joined {
            shopper: shopper.clone(),
            device: format!("device-of-{shopper}"),
            quantity: 1,
            place: n + 1,
            // Waiting before the start is no wait.
            at_us: start_us - SECOND_US + n,
            line: LineName::Queue,
            nonce: None,
            restored: false,
        });
        if n % 10 < 9 {
            notes.push(Note::Ended {
                shopper,
                status: "served".into(),
                at_us: start_us + (n + 1) * SECOND_US,
            });
        }
    }
    for _ in 0..2 {
        store.write_entries(&sale, &notes).await.expect("Postgres");
    }
    let outcomes = store.outcomes(sale.id).await.expect("Postgres");
    assert_eq!((outcomes.served, outcomes.waiting), (900, 100));
    for (told, wait) in [
        (outcomes.p50_s, 500.0),
        (outcomes.p90_s, 900.0),
        (outcomes.p99_s, 990.0),
    ] {
        let told = told.expect("a wait");
        assert!((wait..wait * 1.1).contains(&told), "{told} instead of {wait}");
    }
    while store.end_entries(&sale, Utc::now()).await.expect("Postgres") {}
    let outcomes = store.outcomes(sale.id).await.expect("Postgres");
    assert_eq!((outcomes.not_served, outcomes.waiting), (100, 0));
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_a_dead_gateway_has_left_behind_is_parked_at_their_turn_and_those_here_are_called() {
    let world = World::start().await;
    let sale = room(&world, 1_500, json!({ "total_stock": 1, "claim_ms": 60_000 })).await;
    let stock = &world.server.app.shop.stock;
    let mut here = world.shopper("here").await;
    here.watch(sale).await;
    // Both joined through a gateway that died, after its last beat six seconds ago; one of them has a socket at another one by now.
    let now = stock.now().await.expect("Redis");
    for (n, who) in ["gone", "here"].into_iter().enumerate() {
        let item = Join {
            shopper: world.person(sale, who).await,
            device: format!("device-of-{who}").parse().expect("an id"),
            quantity: 1,
            old_place: Some((now - 4_000) * 1000 + n as u64),
            opening_place: None,
            line: LineName::Queue,
            nonce: Some(NONCE),
        };
        stock.join(sale, item).await.expect("Redis");
    }
    let gateways = stock.keys().all_sales("gateways");
    let dead: u64 = stock
        .client()
        .zadd(gateways, None, None, false, false, ((now - 6_000) as f64, "dead"))
        .await
        .expect("Redis");
    assert_eq!(dead, 1);
    // Through another door, so nobody has told this socket.
    here.watch(sale).await;
    here.until(|message| entry_of(message, EntryState::Admitted))
        .await;
    let numbers = look(&world, format!("/admin/sales/{sale}/metrics")).await;
    assert_eq!(
        (&numbers["parked"], &numbers["absent"]),
        (&json!(1), &json!(1)),
        "{numbers}"
    );
    // Their place is kept.
    let back = world.shopper("gone").await.watch(sale).await;
    assert_eq!(
        back.entry.map(|entry| (entry.state, entry.position)),
        Some((EntryState::Waiting, 1))
    );
    world.server.stop().await;
}

#[tokio::test]
async fn while_postgres_is_far_behind_with_the_line_nobody_new_joins_and_those_in_line_keep_their_place() {
    /// As many lines as the journal holds (`lua/lib/line.lua`), and what a worker writes while we look.
    const FILL: &str = "local lines = {}
        for i = 1, 5000 do lines[i] = 'left nobody 1' end
        for i = 1, 230 do redis.call('RPUSH', KEYS[1], unpack(lines)) end
        return redis.call('LLEN', KEYS[1])";
    let world = World::start().await;
    let sale = room(&world, 60_000, json!({})).await;
    let (mut early, mut late) = (world.shopper("early").await, world.shopper("late").await);
    let place = join(&mut early, sale).await;
    let stock = &world.server.app.shop.stock;
    let journal = vec![stock.keys().sale("journal", sale)];
    let length: u64 = stock
        .client()
        .eval(FILL, journal, Vec::<String>::new())
        .await
        .expect("Redis");
    assert!(length > 1_000_000);

    let ask = ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: Some(NONCE),
    };
    let refusal = late.ask(ask.clone()).await.expect_err("the journal is full");
    assert_eq!(refusal.code, Code::Busy);
    let pause = Duration::from_millis(refusal.retry_after_ms.expect("a pause"));
    assert_eq!(
        join(&mut early, sale).await.position,
        place.position,
        "the same place again"
    );
    let deadline = Instant::now() + DEADLINE;
    loop {
        match late.ask(ask.clone()).await {
            Ok(_) => break,
            Err(refusal) => assert_eq!(refusal.code, Code::Busy),
        }
        assert!(Instant::now() < deadline, "the journal is written away");
        tokio::time::sleep(pause).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_new_leader_shuts_a_gate_that_stood_open_over_somebody_in_line() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 1 })).await;
    let mut holder = world.shopper("holder").await;
    until(async || holder.ask(reserve(sale)).await.ok()).await;
    let other = world.another("127.0.0.1:0").await;
    let stock = &other.app.shop.stock;
    world.server.stop().await;
    // Back from being away, while nobody leads: that alone does not shut the gate.
    let now = stock.now().await.expect("Redis");
    let _: u64 = stock
        .client()
        .zadd(
            stock.keys().sale("queue", sale),
            None,
            None,
            false,
            false,
            (now as f64 * 1000.0, "back"),
        )
        .await
        .expect("Redis");
    let at = other
        .app
        .shop
        .sale(sale)
        .await
        .expect("there")
        .lane_refs()
        .next()
        .expect("a lane");
    let gate = until(async || {
        let gate: String = stock
            .client()
            .hget(stock.keys().lane("stock", at), "gate")
            .await
            .expect("Redis");
        (gate == "line").then_some(gate)
    })
    .await;
    assert_eq!(gate, "line");
    other.stop().await;
}

#[tokio::test]
async fn a_note_of_the_line_is_taken_away_only_by_whoever_has_read_it() {
    let world = World::with(&["--roles", "gateway"]).await;
    let id = world.sale(json!({})).await;
    let stock = &world.server.app.shop.stock;
    let join = async |who: &str| {
        let item = Join {
            shopper: who.parse().expect("an id"),
            device: format!("device-of-{who}").parse().expect("an id"),
            quantity: 1,
            old_place: None,
            opening_place: None,
            line: LineName::Queue,
            nonce: Some(NONCE),
        };
        stock.join(id, item).await.expect("Redis");
    };
    let read = async || stock.journal(id).await.expect("Redis");
    for who in ["a", "b"] {
        join(who).await;
    }
    // Two leaders have read the same: one of them was frozen before it has taken them away, or repeats that.
    let (late, leader) = (read().await, read().await);
    assert_eq!(leader.notes.len(), 2);
    for who in ["c", "d", "e"] {
        join(who).await;
    }
    stock.drop_journal(id, leader).await.expect("Redis");
    stock.drop_journal(id, late).await.expect("Redis");
    let left = read().await;
    let who = |note: &Note| match note {
        Note::Joined { shopper, .. } | Note::Ended { shopper, .. } => shopper.clone(),
    };
    assert_eq!(left.notes.iter().map(who).collect::<Vec<_>>(), ["c", "d", "e"]);
    stock.drop_journal(id, left).await.expect("Redis");
    assert!(read().await.notes.is_empty());
    world.server.stop().await;
}

#[tokio::test]
async fn a_place_that_was_given_back_is_in_the_history_once_also_where_it_was_never_noted_before() {
    let world = World::with(&["--roles", "gateway"]).await;
    let id = world.sale(json!({})).await;
    let app = &world.server.app;
    let sale = app.shop.sale(id).await.expect("the sale");
    let now_us = app.shop.stock.now().await.expect("Redis") * 1000;
    let earlier = |who: &str| Note::Joined {
        shopper: who.into(),
        device: format!("device-of-{who}"),
        quantity: 1,
        place: now_us - 10,
        at_us: now_us - 10,
        line: LineName::Queue,
        nonce: None,
        restored: false,
    };
    let served = Note::Ended {
        shopper: "served".into(),
        status: "served".into(),
        at_us: now_us - 5,
    };
    let known = [earlier("known"), earlier("shuffled")];
    app.shop
        .store
        .write_entries(&sale, &known)
        .await
        .expect("Postgres");
    for (who, place) in [
        ("unknown", now_us - 20),
        ("known", now_us - 10),
        ("shuffled", 7),
        ("served", now_us - 10),
    ] {
        let item = Join {
            shopper: who.parse().expect("an id"),
            device: format!("device-of-{who}").parse().expect("an id"),
            quantity: 1,
            old_place: Some(place),
            opening_place: None,
            line: LineName::Queue,
            nonce: Some(NONCE),
        };
        app.shop.stock.join(id, item).await.expect("Redis");
    }
    // Their turn was lost with a lane, and their place came back within the same second.
    let mut notes = vec![earlier("served"), served];
    notes.extend(app.shop.stock.journal(id).await.expect("Redis").notes);
    // A leader that dies before it has taken them away leaves them to the next one.
    for _ in 0..2 {
        app.shop
            .store
            .write_entries(&sale, &notes)
            .await
            .expect("Postgres");
        let rows = app.shop.store.entries_page(id, "").await.expect("Postgres");
        let mut told: Vec<_> = rows
            .iter()
            .map(|row| (row.user_id.as_str(), row.status.as_str()))
            .collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                ("known", "waiting"),
                ("served", "served"),
                ("served", "waiting"),
                ("shuffled", "waiting"),
                ("unknown", "waiting"),
            ]
        );
        let outcomes = app.shop.store.outcomes(id).await.expect("Postgres");
        assert_eq!((outcomes.waiting, outcomes.served), (4, 1));
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_place_in_line_that_is_gone_is_told_over_rest_with_what_became_of_it() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "total_stock": 2, "claim_ms": 300, "hold_ms": 60_000 }))
        .await;
    let path = format!("/flash-sales/{sale}/queue-position");
    let position = async |who: &str| {
        let token = world.token(who, Role::Shopper);
        world.rest(Method::GET, &path, Some(&token), &[], "").await
    };
    let told = async |who: &str, status: &str| {
        until(async || (position(who).await.body["status"] == status).then_some(())).await;
        let answer = position(who).await;
        assert_eq!(
            (answer.status, &answer.body["position"]),
            (200, &json!(0)),
            "{answer:?}"
        );
    };
    assert_eq!(position("nobody").await.refusal(), Code::NotInLine);

    let mut buyer = world.shopper("buyer").await;
    join_and_reserve(&mut buyer, sale).await;
    let mut lazy = world.shopper("lazy").await;
    lazy.watch(sale).await;
    join(&mut lazy, sale).await;
    told("buyer", "served").await;
    told("lazy", "lapsed").await;

    let closed = room(&world, 60_000, json!({})).await;
    let path = format!("/flash-sales/{closed}/queue-position");
    let mut goes = world.shopper("goes").await;
    join(&mut goes, closed).await;
    goes.ok(ShopCommand::Leave { sale: closed }).await;
    let token = world.token("goes", Role::Shopper);
    until(async || {
        let answer = world.rest(Method::GET, &path, Some(&token), &[], "").await;
        (answer.body["status"] == "left").then_some(())
    })
    .await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_state_s_place_and_tick_are_of_one_moment_and_its_number_goes_on_at_another_gateway() {
    let world = World::start().await;
    let sale = room(&world, 60_000, json!({})).await;
    let mut shopper = world.shopper("u1").await;
    shopper.watch(sale).await;
    join(&mut shopper, sale).await;
    shopper.until(tick_where(|tick| tick.waiting == 1)).await;
    // The line goes on between two ticks.
    let stock = &world.server.app.shop.stock;
    for _ in 0..20 {
        let key = stock.keys().sale("sale", sale);
        let _: i64 = stock.client().hincrby(key, "admitted", 1).await.expect("Redis");
        let Done::State(state) = shopper.ok(ShopCommand::State { sale }).await else {
            panic!("not a state");
        };
        let entry = state.entry.expect("a place");
        assert!(
            state.tick.admitted >= entry.admitted,
            "{:?} {entry:?}",
            state.tick
        );
    }

    // A client that follows the numbers takes what another gateway says first, and what it says next.
    let last = shopper.until(tick_where(|_| true)).await;
    let other = world.another("127.0.0.1:0").await;
    let mut again = Client::connect(other.address).await;
    let hello = ConnectionCommand::Hello {
        token: world.token("u1", Role::Shopper),
        device: Some("device-of-u1".parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    again.ok(hello).await;
    let Done::State(state) = again.ok(ShopCommand::State { sale }).await else {
        panic!("not a state");
    };
    assert!(state.tick.seq > last.seq, "{} after {}", state.tick.seq, last.seq);
    again.watch(sale).await;
    again.until(tick_where(|tick| tick.seq > state.tick.seq)).await;
    other.stop().await;
    world.server.stop().await;
}

/// Over REST nobody closes a socket: whoever stops asking is absent, and back when they ask again.
#[tokio::test]
async fn who_waits_over_rest_is_absent_when_they_stop_asking_and_back_when_they_ask() {
    let world = World::with(&["--poll-lease-ms", "600"]).await;
    let now = Utc::now();
    let sale = world
        .sale(json!({
            "total_stock": 5, "inflow": 1,
            "room_opens_at": (now - TimeDelta::seconds(1)).to_rfc3339(),
            "start_time": (now + TimeDelta::seconds(3)).to_rfc3339(),
        }))
        .await;
    let token = world.token("poller", Role::Shopper);
    let path = |what: &str| format!("/flash-sales/{sale}/{what}");
    let body = json!({ "user_id": "poller" }).to_string();
    let joined = world
        .rest(Method::POST, &path("join-queue"), Some(&token), &[], body)
        .await;
    assert_eq!(
        (joined.status, &joined.body["position"]),
        (200, &json!(1)),
        "{joined:?}"
    );
    let mut second = world.shopper("second").await;
    second.watch(sale).await;
    join(&mut second, sale).await;
    let position = async || {
        world
            .rest(Method::GET, &path("queue-position"), Some(&token), &[], "")
            .await
            .body
    };
    assert_eq!(position().await["status"], "waiting");
    // The one behind is called; the one in front has stopped asking, and has no turn that would lapse.
    second
        .until(|message| match message {
            ServerMessage::Entry(entry) if entry.state == EntryState::Admitted => Some(()),
            _ => None,
        })
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let back = position().await;
    assert!(
        back["status"] == "waiting" || back["status"] == "admitted",
        "{back}"
    );
    let deadline = Instant::now() + DEADLINE;
    while position().await["status"] != "admitted" {
        assert!(Instant::now() < deadline, "the place is gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.server.stop().await;
}

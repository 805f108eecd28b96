//! An old command again, through both doors: it has had its effect, gets its answer, and touches nothing that came later.

use crate::{
    draw::{enter, state},
    harness::{Answer, Client, NONCE, World, command_id},
};
use flashsale_engine::stock::CalledBy;
use flashsale_protocol::{
    Code, CommandId, ConnectionCommand, Done, Entry, EntryState, Hold, HoldState, Quantity, Reject, Role,
    SaleId, ServerMessage, ShopCommand,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// Nobody here is too fast.
const PATIENT: &[&str] = &["--command-burst", "10000", "--max-offences", "10000"];
/// Ids whose answers are kept, and ids that are known at all.
const KEPT: usize = 8;
const KNOWN: usize = KEPT + 256;

fn units(quantity: u32) -> Quantity {
    Quantity::new(quantity).expect("in range")
}

fn reserve(sale: SaleId, quantity: u32) -> ShopCommand {
    ShopCommand::Reserve {
        sale,
        quantity: units(quantity),
        partial: false,
    }
}

fn join(sale: SaleId, quantity: u32) -> ShopCommand {
    ShopCommand::Join {
        sale,
        quantity: units(quantity),
        nonce: Some(NONCE),
    }
}

/// A live sale in which nobody waits.
async fn free_sale(world: &World, fields: Value) -> SaleId {
    let sale = world.sale(fields).await;
    let mut opener = world.shopper("opener").await;
    opener.insist(reserve(sale, 1)).await;
    opener.ok(ShopCommand::Release { sale }).await;
    sale
}

/// A sale that starts in an hour, and whose line is open.
async fn early_sale(world: &World, fields: Value) -> SaleId {
    let now = chrono::Utc::now();
    let mut all = json!({
        "room_opens_at": (now - chrono::TimeDelta::seconds(1)).to_rfc3339(),
        "start_time": (now + chrono::TimeDelta::hours(1)).to_rfc3339(),
        "end_time": (now + chrono::TimeDelta::hours(2)).to_rfc3339(),
        "total_stock": 9, "per_shopper_limit": 4, "per_device_limit": 4,
    });
    let all_fields = all.as_object_mut().expect("an object");
    all_fields.extend(fields.as_object().expect("an object").clone());
    world.sale(all).await
}

async fn hold(client: &mut Client, sale: SaleId) -> Option<HoldState> {
    state(client, sale).await.hold.map(|hold| hold.state)
}

async fn entry(client: &mut Client, sale: SaleId) -> Option<EntryState> {
    state(client, sale).await.entry.map(|entry| entry.state)
}

fn code(answer: Result<Done, Reject>) -> Code {
    answer.expect_err("refused").code
}

fn hold_of(answer: Result<Done, Reject>) -> Hold {
    match answer {
        Ok(Done::Hold(hold)) => hold,
        other => panic!("{other:?}"),
    }
}

fn held(answer: Result<Done, Reject>) -> (HoldState, u32) {
    let hold = hold_of(answer);
    (hold.state, hold.quantity)
}

fn entry_of(answer: Result<Done, Reject>) -> Entry {
    match answer {
        Ok(Done::Joined { entry, .. }) => entry,
        other => panic!("{other:?}"),
    }
}

fn joined(answer: Result<Done, Reject>) -> EntryState {
    entry_of(answer).state
}

/// On the device that a socket of theirs has.
async fn rest(world: &World, method: Method, path: &str, who: &str, key: &str, body: Value) -> Answer {
    let token = world.token(who, Role::Shopper);
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let headers = [("idempotency-key", key)];
    world.rest(method, path, Some(&token), &headers, body).await
}

async fn release_by_rest(world: &World, sale: SaleId, who: &str, key: &str) -> Answer {
    let path = format!("/carts/{who}/items/{sale}");
    rest(world, Method::DELETE, &path, who, key, Value::Null).await
}

#[tokio::test]
async fn a_release_that_comes_again_leaves_the_next_hold_alone() {
    let world = World::start().await;
    let sale = free_sale(&world, json!({ "total_stock": 5, "per_shopper_limit": 3 })).await;
    for key in [command_id().to_string(), "give it back".to_owned()] {
        let mut client = world.shopper("u").await;
        let first = command_id();
        client.ask_as(first, reserve(sale, 2)).await.expect("held");
        assert_eq!(release_by_rest(&world, sale, "u", &key).await.status, 204);
        let newer = hold_of(client.ask(reserve(sale, 3)).await);
        assert_eq!(
            release_by_rest(&world, sale, "u", &key).await.status,
            204,
            "the same answer"
        );
        if let Ok(id) = key.parse::<CommandId>() {
            let mut other = world.shopper("u").await;
            let again = hold_of(other.ask_as(id, ShopCommand::Release { sale }).await);
            assert_eq!(
                (again.state, again.quantity),
                (HoldState::Released, 2),
                "by the other door"
            );
            assert!(
                again.at < newer.at,
                "who goes by the later time keeps the newer hold"
            );
        }
        assert_eq!(hold(&mut client, sale).await, Some(HoldState::Held));
        // The reserve before it as well: its hold was released.
        let mut other = world.shopper("u").await;
        let again = hold_of(other.ask_as(first, reserve(sale, 2)).await);
        assert_eq!((again.state, again.quantity), (HoldState::Released, 2));
        assert!(
            again.at < newer.at,
            "who goes by the later time keeps the newer hold"
        );
        assert_eq!(hold(&mut client, sale).await, Some(HoldState::Held));
        client.ok(ShopCommand::Release { sale }).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_release_that_found_nothing_finds_nothing_when_it_comes_again() {
    let world = World::start().await;
    let sale = free_sale(&world, json!({ "total_stock": 5 })).await;
    let mut client = world.shopper("u").await;
    let id = command_id();
    assert_eq!(
        code(client.ask_as(id, ShopCommand::Release { sale }).await),
        Code::NoHold
    );
    client.ok(reserve(sale, 1)).await;
    let mut other = world.shopper("u").await;
    assert_eq!(
        code(other.ask_as(id, ShopCommand::Release { sale }).await),
        Code::NoHold
    );
    assert_eq!(hold(&mut client, sale).await, Some(HoldState::Held));
    world.server.stop().await;
}

#[tokio::test]
async fn a_leave_that_comes_again_leaves_the_next_place_alone() {
    let world = World::start().await;
    for fields in [json!({}), json!({ "allocation": "draw" })] {
        let sale = early_sale(&world, fields.clone()).await;
        let mut client = world.shopper("u").await;
        let stands = match fields.get("allocation") {
            None => EntryState::Waiting,
            Some(_) => EntryState::Entered,
        };
        let (first, leave) = (command_id(), command_id());
        client.insist(join(sale, 4)).await;
        client.ok(ShopCommand::Leave { sale }).await;
        assert_eq!(joined(client.ask_as(first, join(sale, 1)).await), stands);
        client
            .ask_as(leave, ShopCommand::Leave { sale })
            .await
            .expect("left");
        client.ok(join(sale, 2)).await;
        for _ in 0..2 {
            let mut other = world.shopper("u").await;
            let again = other.ask_as(leave, ShopCommand::Leave { sale }).await;
            assert_eq!(again, Ok(Done::Left { sale }), "the same answer");
            assert_eq!(entry(&mut client, sale).await, Some(stands), "{fields}");
        }
        // The join before it as well: its place was left.
        let mut other = world.shopper("u").await;
        assert_eq!(joined(other.ask_as(first, join(sale, 1)).await), EntryState::Left);
        client.ok(ShopCommand::Leave { sale }).await;
        let again = other.ask_as(leave, ShopCommand::Leave { sale }).await;
        assert_eq!(again, Ok(Done::Left { sale }));
        assert_eq!(joined(other.ask_as(first, join(sale, 1)).await), EntryState::Left);
        assert_eq!(entry(&mut client, sale).await, None);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_leave_over_rest_is_the_command_of_the_socket() {
    let world = World::start().await;
    for (fields, stands) in [
        (json!({}), EntryState::Waiting),
        (json!({ "allocation": "draw" }), EntryState::Entered),
    ] {
        let sale = early_sale(&world, fields).await;
        let path = format!("/flash-sales/{sale}/queue-position");
        let leave = async |key: &str| rest(&world, Method::DELETE, &path, "u", key, Value::Null).await;
        assert_eq!(leave("too early").await.refusal(), Code::NotInLine);
        let mut client = world.shopper("u").await;
        let first = command_id();
        assert_eq!(joined(client.ask_as(first, join(sale, 1)).await), stands);
        let taken = leave(&first.to_string()).await;
        assert_eq!(taken.refusal(), Code::CommandIdReused, "it was a join");
        let id = command_id();
        let key = id.to_string();
        let once = join_all((0..8).map(|_| leave(&key))).await;
        assert!(once.iter().all(|answer| answer.status == 204), "{once:?}");
        assert_eq!(entry(&mut client, sale).await, None);
        client.ok(join(sale, 2)).await;
        assert_eq!(leave(&key).await.status, 204, "the same answer");
        let again = client.ask_as(id, ShopCommand::Leave { sale }).await;
        assert_eq!(again, Ok(Done::Left { sale }));
        assert_eq!(entry(&mut client, sale).await, Some(stands));
    }
    // A turn as well: its units are for sale again, once.
    let sale = world.sale(json!({ "total_stock": 2, "claim_ms": 60_000 })).await;
    let path = format!("/flash-sales/{sale}/queue-position");
    let mut client = world.shopper("u").await;
    client.watch(sale).await;
    client.ok(join(sale, 1)).await;
    client
        .until(|m| matches!(m, ServerMessage::Entry(e) if e.state == EntryState::Admitted).then_some(()))
        .await;
    for _ in 0..2 {
        let left = rest(&world, Method::DELETE, &path, "u", "skip", Value::Null).await;
        assert_eq!(left.status, 204, "{left:?}");
    }
    let told = client
        .until(|m| matches!(m, ServerMessage::Entry(e) if e.state == EntryState::Left).then_some(()))
        .await;
    assert_eq!(told, (), "the socket hears of it");
    let facts = world.facts(sale).await;
    assert_eq!(
        (&facts["claimed"], &facts["available"]),
        (&json!(0), &json!(2)),
        "{facts}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_join_that_comes_again_gets_no_place_when_another_stands_for_its_device() {
    let world = World::start().await;
    let sale = early_sale(&world, json!({})).await;
    let first = command_id();
    let mut one = world.shopper_on("u", "shared").await;
    one.ask_as(first, join(sale, 1)).await.expect("joined");
    one.ok(ShopCommand::Leave { sale }).await;
    let mut other = world.shopper_on("v", "shared").await;
    other.ok(join(sale, 1)).await;
    other.ok(ShopCommand::Leave { sale }).await;
    let again = one.ask_as(first, join(sale, 1)).await;
    assert_eq!(joined(again), EntryState::Left);
    assert_eq!(entry(&mut one, sale).await, None);
    // With other contents it is another command under the same id, wherever the first is known from.
    assert_eq!(
        code(one.ask_as(first, join(sale, 2)).await),
        Code::CommandIdReused
    );
    let newer = entry_of(one.ask(join(sale, 1)).await);
    let again = entry_of(one.ask_as(first, join(sale, 1)).await);
    assert!(
        again.state == EntryState::Left && again.at < newer.at,
        "{again:?}, {newer:?}"
    );
    let reused = other.ask_as(first, join(sale, 1)).await;
    assert_eq!(code(reused), Code::DeviceInLine, "an id is a shopper's own");
    world.server.stop().await;
}

#[tokio::test]
async fn a_reserve_that_comes_again_takes_nothing_when_a_turn_has_come_since() {
    let world = World::start().await;
    let id = free_sale(&world, json!({ "total_stock": 5, "per_shopper_limit": 3 })).await;
    let mut client = world.shopper("u").await;
    let first = command_id();
    client.ask_as(first, reserve(id, 1)).await.expect("held");
    client.ok(ShopCommand::Release { sale: id }).await;
    let app = &world.server.app;
    let sale = app.shop.sale(id).await.expect("the sale");
    let at = sale.lane_refs().next().expect("a lane");
    let turn = [(world.who("u"), 2)];
    app.shop
        .stock
        .claim(at, CalledBy::Line, &turn)
        .await
        .expect("Redis");
    let before = world.facts(id).await;
    let again = client.ask_as(first, reserve(id, 1)).await;
    assert_eq!(held(again), (HoldState::Released, 1));
    assert_eq!(
        code(client.ask_as(first, reserve(id, 2)).await),
        Code::CommandIdReused
    );
    assert_eq!(world.facts(id).await, before, "the turn is still theirs");
    world.server.stop().await;
}

#[tokio::test]
async fn an_id_again_with_other_contents_or_another_verb_is_refused_over_both_doors() {
    let world = World::start().await;
    for fields in [json!({}), json!({ "allocation": "draw" })] {
        let sale = early_sale(&world, fields).await;
        let (mut client, mut other) = (world.shopper("u").await, world.shopper("u").await);
        let path = format!("/flash-sales/{sale}/join-queue");
        let body = |quantity| json!({ "user_id": "u", "quantity": quantity });
        client.insist(join(sale, 1)).await;
        client.ok(ShopCommand::Leave { sale }).await;
        let id = command_id();
        client.ask_as(id, join(sale, 1)).await.expect("in line");
        assert_eq!(code(other.ask_as(id, join(sale, 2)).await), Code::CommandIdReused);
        let mut third = world.shopper("u").await;
        assert_eq!(
            code(third.ask_as(id, ShopCommand::Leave { sale }).await),
            Code::CommandIdReused
        );
        let again = rest(&world, Method::POST, &path, "u", &id.to_string(), body(2)).await;
        assert_eq!(again.refusal(), Code::CommandIdReused);
        let key = "my place";
        let path_again = || {
            rest(
                &world,
                Method::POST,
                &path,
                "w",
                key,
                json!({ "user_id": "w", "quantity": 2, "nonce": NONCE }),
            )
        };
        assert_eq!(path_again().await.status, 200);
        assert_eq!(path_again().await.status, 200);
        let less = json!({ "user_id": "w", "quantity": 1 });
        let less = rest(&world, Method::POST, &path, "w", key, less).await;
        assert_eq!(less.refusal(), Code::CommandIdReused);
        world
            .shopper_on("w", "dev")
            .await
            .ok(ShopCommand::Leave { sale })
            .await;
    }

    let sale = free_sale(&world, json!({ "total_stock": 5, "per_shopper_limit": 2 })).await;
    let mut client = world.shopper("v").await;
    let (id, refused) = (command_id(), command_id());
    assert_eq!(
        code(client.ask_as(refused, reserve(sale, 3)).await),
        Code::LimitReached
    );
    client.ask_as(id, reserve(sale, 1)).await.expect("held");
    client.ok(ShopCommand::Release { sale }).await;
    client.ok(reserve(sale, 2)).await;
    let mut other = world.shopper("v").await;
    assert_eq!(
        code(other.ask_as(id, reserve(sale, 2)).await),
        Code::CommandIdReused
    );
    assert_eq!(
        code(other.ask_as(refused, reserve(sale, 1)).await),
        Code::CommandIdReused
    );
    let by_rest = release_by_rest(&world, sale, "v", &id.to_string()).await;
    assert_eq!(by_rest.refusal(), Code::CommandIdReused);
    assert_eq!(hold(&mut client, sale).await, Some(HoldState::Held));
    world.server.stop().await;
}

#[tokio::test]
async fn an_id_that_is_older_than_eight_others_does_nothing_over_both_doors() {
    let world = World::with(PATIENT).await;
    let free = free_sale(&world, json!({ "total_stock": 5 })).await;
    let early = early_sale(&world, json!({})).await;
    world.shopper("u").await.insist(join(early, 4)).await;
    for (sale, take, give) in [
        (free, reserve(free, 1), ShopCommand::Release { sale: free }),
        (early, join(early, 1), ShopCommand::Leave { sale: early }),
    ] {
        let mut client = world.shopper("u").await;
        if sale == early {
            client.ok(give.clone()).await;
        }
        let mut ids = Vec::new();
        for _ in 0..=KEPT / 2 {
            for command in [&take, &give] {
                ids.push((command_id(), command.clone()));
                let (id, command) = ids.last().expect("one").clone();
                client.ask_as(id, command).await.expect("done");
            }
        }
        client.ok(take.clone()).await;
        let facts = world.facts(sale).await;
        let mut other = world.shopper("u").await;
        for (at, (id, command)) in ids.iter().enumerate() {
            let again = other.ask_as(*id, command.clone()).await;
            // The last one, which no id here names, is one of the eight for a place, and beside them for a hold.
            let kept = if sale == early { KEPT - 1 } else { KEPT };
            if at + kept < ids.len() {
                assert_eq!(code(again), Code::CommandSuperseded, "{at} of {}", ids.len());
            } else {
                again.expect("kept");
            }
        }
        let (id, command) = &ids[1];
        if matches!(command, ShopCommand::Release { .. }) {
            let answer = release_by_rest(&world, sale, "u", &id.to_string()).await;
            assert_eq!(answer.refusal(), Code::CommandSuperseded);
        }
        assert_eq!(world.facts(sale).await, facts);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn one_id_from_many_sockets_and_two_gateways_at_once_has_one_effect() {
    const SOCKETS: usize = 8;
    let world = World::start().await;
    let other = world.another("127.0.0.1:0").await;
    let sale = free_sale(&world, json!({ "total_stock": 5 })).await;
    let early = early_sale(&world, json!({})).await;
    world.shopper("u").await.insist(join(early, 4)).await;
    world
        .shopper("u")
        .await
        .ok(ShopCommand::Leave { sale: early })
        .await;
    let mut sockets = Vec::new();
    for n in 0..SOCKETS {
        let mut client = if n % 2 == 0 {
            world.stranger().await
        } else {
            Client::connect(other.address).await
        };
        let hello = ConnectionCommand::Hello {
            token: world.token("u", Role::Shopper),
            device: Some("device-of-u".parse().expect("an id")),
            resume: vec![],
            changes: false,
        };
        client.ok(hello).await;
        sockets.push(client);
    }
    let before = world.facts(sale).await;
    for (sale, take, give) in [
        (sale, reserve(sale, 1), ShopCommand::Release { sale }),
        (early, join(early, 1), ShopCommand::Leave { sale: early }),
    ] {
        let mut old = Vec::new();
        for _ in 0..2 {
            for command in [&take, &give] {
                let id = command_id();
                let all = sockets
                    .iter_mut()
                    .map(|socket| socket.ask_as(id, command.clone()));
                for answer in join_all(all).await {
                    answer.expect("one answer for all");
                }
                old.push((id, command.clone()));
            }
        }
        sockets[0].ok(take.clone()).await;
        let held = state(&mut sockets[0], sale).await;
        for (id, command) in &old {
            let all = sockets
                .iter_mut()
                .map(|socket| socket.ask_as(*id, command.clone()));
            for answer in join_all(all).await {
                answer.expect("the same answer");
            }
        }
        let after = state(&mut sockets[0], sale).await;
        assert_eq!(
            after.hold.map(|hold| hold.state),
            held.hold.map(|hold| hold.state)
        );
        assert_eq!(
            after.entry.map(|entry| (entry.state, entry.position)),
            held.entry.map(|entry| (entry.state, entry.position))
        );
        sockets[0].ok(give.clone()).await;
    }
    assert_eq!(world.facts(sale).await["available"], before["available"]);
    other.stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_changes_their_mind_without_end_may_leave_but_not_come_again() {
    let world = World::with(PATIENT).await;
    let free = free_sale(&world, json!({ "total_stock": 5 })).await;
    let early = early_sale(&world, json!({})).await;
    let mut client = world.shopper("u").await;
    client.insist(join(early, 4)).await;
    for (take, give) in [
        (join(early, 1), ShopCommand::Leave { sale: early }),
        (reserve(free, 1), ShopCommand::Release { sale: free }),
    ] {
        let first = command_id();
        let _ = client.ask_as(first, give.clone()).await;
        let mut taken = 1;
        let refusal = loop {
            match client.ask(take.clone()).await {
                Ok(_) => taken += 1,
                Err(reject) => break reject,
            }
            if taken < KNOWN / 2 {
                client.ok(give.clone()).await;
            }
            assert!(taken <= KNOWN, "it is refused at last");
        };
        assert_eq!(refusal.code, Code::TooManyChanges);
        assert_eq!(
            code(world.shopper("u").await.ask_as(first, give.clone()).await),
            Code::CommandSuperseded
        );
        client.ok(give).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn an_order_s_key_again_is_its_first_answer_whatever_the_cart_holds() {
    let world = World::start().await;
    let sale = free_sale(&world, json!({ "total_stock": 9, "per_shopper_limit": 9 })).await;
    let mut client = world.shopper("u").await;
    client.ok(reserve(sale, 2)).await;
    let order =
        |quantity| json!({ "user_id": "u", "cart_items": [{ "sale_id": sale, "quantity": quantity }] });
    let post = |quantity| rest(&world, Method::POST, "/orders", "u", "my order", order(quantity));
    let first = post(2).await;
    assert_eq!(first.status, 201, "{first:?}");
    client.ok(reserve(sale, 3)).await;
    let again = post(2).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(post(3).await.refusal(), Code::CommandIdReused);
    assert_eq!(hold(&mut client, sale).await, Some(HoldState::Held));
    world.server.stop().await;
}

#[tokio::test]
async fn an_answer_carries_the_id_as_it_was_sent() {
    let world = World::start().await;
    let sale = free_sale(&world, json!({ "total_stock": 5 })).await;
    let mut client = world.shopper("u").await;
    let id = command_id().to_string();
    for sent in [id.to_lowercase(), id.clone()] {
        client
            .send(&json!({ "type": "reserve", "id": sent, "sale": sale }).to_string())
            .await;
        let (replied, answer) = client.reply().await;
        assert_eq!(serde_json::to_value(replied).expect("JSON"), json!(sent));
        assert_eq!(held(answer), (HoldState::Held, 1));
    }
    // In small letters it is the same key.
    let item = json!({ "sale_id": sale });
    let again = rest(
        &world,
        Method::POST,
        "/carts/u/items",
        "u",
        &id.to_lowercase(),
        item,
    )
    .await;
    assert_eq!(again.status, 201, "{again:?}");
    client
        .send(&json!({ "type": "ping", "id": id.to_lowercase() }).to_string())
        .await;
    let (replied, answer) = client.reply().await;
    assert_eq!(
        serde_json::to_value(replied).expect("JSON"),
        json!(id.to_lowercase())
    );
    assert_eq!(code(answer), Code::InvalidField);
    world.server.stop().await;
}

#[tokio::test]
async fn a_draw_is_entered_for_the_last_wish() {
    let world = World::start().await;
    let sale = early_sale(&world, json!({ "allocation": "draw" })).await;
    let mut client = world.shopper("u").await;
    client.insist(join(sale, 2)).await;
    assert_eq!(enter(&mut client, sale, 1).await, Err(Code::AlreadyInLine));
    client.ok(ShopCommand::Leave { sale }).await;
    assert_eq!(
        code(client.ask(ShopCommand::Leave { sale }).await),
        Code::NotInLine,
        "there is nothing to leave"
    );
    world.server.stop().await;
}

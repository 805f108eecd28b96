//! A suspended shop: its sales stand still for everybody, whoever has a cart or an order may finish, and all goes on afterwards.

use crate::{
    audit::verify_all,
    harness::{Client, DEADLINE, NONCE, QUICK, World, command_id},
    purchase::{approve, checkout, join_and_reserve, reserve},
};
use flashsale::server::Server;
use flashsale_protocol::{
    Code, ConnectionCommand, Done, EntryState, OrderStatus, Phase, Quantity, Role, SaleId, ServerMessage,
    ShopCommand,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// By then every process has heard of it.
const HEARD: Duration = Duration::from_secs(1);

async fn shop(world: &World) {
    let body = json!({ "name": "Lamps", "slug": "lamps" });
    let made = world.admin(Method::POST, "/admin/merchants", body).await;
    assert_eq!(made.status, 201, "{made:?}");
}

async fn set_active(world: &World, active: bool) {
    let set = world
        .admin(
            Method::PATCH,
            "/admin/merchants/lamps",
            json!({ "active": active }),
        )
        .await;
    assert_eq!(set.status, 200, "{set:?}");
}

fn join(sale: SaleId) -> ShopCommand {
    ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: Some(NONCE),
    }
}

async fn enter(server: &Server, world: &World, who: &str) -> Client {
    let mut client = Client::connect(server.address).await;
    let hello = ConnectionCommand::Hello {
        token: world.token_on(who, &format!("device-of-{who}")),
        device: None,
        resume: vec![],
        changes: false,
    };
    client.ok(hello).await;
    client
}

async fn code(client: &mut Client, command: ShopCommand) -> Code {
    client.ask(command).await.expect_err("refused").code
}

#[tokio::test]
async fn nobody_gets_a_place_or_a_unit_of_a_suspended_shop_and_who_has_one_may_finish() {
    let world = World::with(QUICK).await;
    shop(&world).await;
    let sale = world.sale(json!({ "merchant": "lamps", "total_stock": 9 })).await;
    let elsewhere = world.another("127.0.0.1:0").await;
    let (mut holder, mut buyer) = (world.shopper("holder").await, world.shopper("buyer").await);
    for client in [&mut holder, &mut buyer] {
        client.watch(sale).await;
        client.insist(reserve(sale)).await;
    }
    let order = checkout(&mut buyer, sale).await;
    let kept = command_id();
    let Ok(Done::Hold(before)) = holder.ask_as(kept, reserve(sale)).await else {
        panic!("the same units")
    };

    set_active(&world, false).await;
    // A unit is refused at once in every process; a place, once it has heard.
    let began = Instant::now();
    for server in [&world.server, &elsewhere] {
        let mut other = enter(server, &world, &format!("other{}", server.address.port())).await;
        assert_eq!(code(&mut other, reserve(sale)).await, Code::MerchantSuspended);
        while other.ask(join(sale)).await.err().map(|reject| reject.code) != Some(Code::MerchantSuspended) {
            assert!(began.elapsed() < HEARD, "a place");
        }
        let token = world.token("by-rest", Role::Shopper);
        let ask = async |path: String, body: Value| {
            let request = world
                .http
                .post(format!("{}{path}", server.origin))
                .bearer_auth(&token);
            let request = request.header("x-device-id", "dev").body(body.to_string());
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            (
                status,
                answer.json::<Value>().await.expect("JSON")["code"].clone(),
            )
        };
        let refused = (Code::MerchantSuspended.http_status(), json!("merchant_suspended"));
        let body = json!({ "sale_id": sale });
        assert_eq!(ask("/carts/by-rest/items".into(), body).await, refused);
        let body = json!({ "user_id": "by-rest" });
        assert_eq!(
            ask(format!("/flash-sales/{sale}/join-queue"), body).await,
            refused
        );
    }
    // The page says that it stands still, without saying who has paused it.
    let paused = |message: &ServerMessage| match message {
        ServerMessage::Tick(tick) if tick.phase == Phase::Paused => Some(tick.slowed),
        _ => None,
    };
    assert_eq!(holder.until(paused).await, None);
    let shown = world
        .rest(Method::GET, &format!("/flash-sales/{sale}"), None, &[], "")
        .await;
    assert_eq!(shown.body["status"], "paused", "{shown:?}");
    // The command of before has its answer; carts and orders may be finished or given back.
    let Ok(Done::Hold(again)) = holder.ask_as(kept, reserve(sale)).await else {
        panic!("the first answer")
    };
    assert_eq!(again.expires_at, before.expires_at);
    let finished = checkout(&mut holder, sale).await;
    for (client, order) in [(&mut holder, &finished), (&mut buyer, &order)] {
        let pay = ShopCommand::Pay {
            order: order.order,
            payment: approve(),
        };
        let Done::Order(paid) = client.ok(pay).await else {
            panic!("an order")
        };
        assert_eq!(paid.status, OrderStatus::Confirmed);
    }
    // Its operators cannot go on with it.
    let resume = world
        .admin(Method::POST, &format!("/admin/sales/{sale}/resume"), json!({}))
        .await;
    assert_eq!(resume.refusal(), Code::MerchantSuspended);

    set_active(&world, true).await;
    for server in [&elsewhere, &world.server] {
        let mut other = enter(server, &world, &format!("back{}", server.address.port())).await;
        other.watch(sale).await;
        other.insist(reserve(sale)).await;
    }
    elsewhere.stop().await;
    verify_all(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn who_waits_keeps_their_place_nobody_is_called_and_the_line_goes_on_afterwards() {
    let world = World::with(QUICK).await;
    shop(&world).await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1_500);
    let fields = json!({
        "merchant": "lamps", "total_stock": 5, "start_time": soon.to_rfc3339(),
        "room_opens_at": (soon - chrono::TimeDelta::seconds(60)).to_rfc3339(),
    });
    let sale = world.sale(fields).await;
    let mut first = world.shopper("first").await;
    first.watch(sale).await;
    let again = command_id();
    first.ask_as(again, join(sale)).await.expect("a place");
    set_active(&world, false).await;
    // The start passes.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let Done::State(state) = first.ok(ShopCommand::State { sale }).await else {
            panic!("a state")
        };
        let entry = state.entry.expect("their place");
        assert_eq!(entry.state, EntryState::Waiting);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(
        first.ask_as(again, join(sale)).await.is_ok(),
        "the command of before"
    );
    let mut late = world.shopper("late").await;
    assert_eq!(code(&mut late, join(sale)).await, Code::MerchantSuspended);

    set_active(&world, true).await;
    let called = |message: &ServerMessage| match message {
        ServerMessage::Entry(entry) if entry.state == EntryState::Admitted => Some(()),
        _ => None,
    };
    tokio::time::timeout(DEADLINE, first.until(called))
        .await
        .expect("their turn");
    first.ok(reserve(sale)).await;
    join_and_reserve(&mut late, sale).await;
    verify_all(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_draw_of_a_suspended_shop_gives_no_turns_until_it_goes_on() {
    let world = World::with(QUICK).await;
    shop(&world).await;
    let fields = json!({ "merchant": "lamps", "total_stock": 2, "allocation": "draw" });
    let sale = world.sale(fields).await;
    let mut client = world.shopper("u1").await;
    client.watch(sale).await;
    client.ok(join(sale)).await;
    set_active(&world, false).await;
    let end = world
        .admin(Method::POST, &format!("/admin/sales/{sale}/end"), json!({}))
        .await;
    assert_eq!(end.status, 200, "{end:?}");
    let admitted = |message: &ServerMessage| match message {
        ServerMessage::Entry(entry) if entry.state == EntryState::Admitted => Some(()),
        _ => None,
    };
    let early = tokio::time::timeout(Duration::from_secs(3), client.until(admitted)).await;
    assert!(early.is_err(), "a turn that nobody can use");
    set_active(&world, true).await;
    client.until(admitted).await;
    client.ok(reserve(sale)).await;
    world.server.stop().await;
}

/// Eight changes at once from two processes: whatever is the last, all processes and Redis end with it.
#[tokio::test]
async fn a_suspension_and_its_end_at_once_leave_all_with_the_last() {
    let world = World::with(QUICK).await;
    shop(&world).await;
    let sale = world.sale(json!({ "merchant": "lamps", "total_stock": 9 })).await;
    let elsewhere = world.another("127.0.0.1:0").await;
    let boss = world.token("boss", Role::Admin);
    let origins = [world.server.origin.clone(), elsewhere.origin.clone()];
    let changes = (0..8).map(|n| {
        let body = json!({ "active": n % 3 == 0 }).to_string();
        let url = format!("{}/admin/merchants/lamps", origins[n % 2]);
        world.http.patch(url).bearer_auth(&boss).body(body).send()
    });
    for answer in futures_util::future::join_all(changes).await {
        let status = answer.expect("an answer").status().as_u16();
        // One of two that have read the same version is told so.
        assert!([200, 412].contains(&status), "{status}");
    }
    let shown = world
        .admin(Method::GET, "/admin/merchants/lamps", Value::Null)
        .await;
    let is_active = shown.body["active"].as_bool().expect("yes or no");
    let began = Instant::now();
    for (n, server) in [&world.server, &elsewhere].into_iter().enumerate() {
        loop {
            let mut client = enter(server, &world, &format!("u{n}-{}", began.elapsed().as_millis())).await;
            let answer = client
                .ask(reserve(sale))
                .await
                .map(|_| ())
                .map_err(|reject| reject.code);
            if answer
                == if is_active {
                    Ok(())
                } else {
                    Err(Code::MerchantSuspended)
                }
            {
                break;
            }
            assert!(began.elapsed() < DEADLINE, "{answer:?}, active: {is_active}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    elsewhere.stop().await;
    world.server.stop().await;
}

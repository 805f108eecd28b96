//! People: a guest at several merchants, devices, what is told of somebody, and being forgotten.

use crate::harness::{World, command_id};
use crate::merchants::{PROVIDER_PUBLIC, rsa, token};
use crate::purchase::{checkout, join_and_reserve};
use flashsale_protocol::{Code, CommandId, ConnectionCommand, Done, Quantity, Role, ShopCommand};
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_guest_is_another_person_at_each_merchant_and_sees_their_orders_of_both() {
    let world = World::start().await;
    for merchant in ["a", "b"] {
        world.merchant(merchant).await;
    }
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let text = |name: &str| session[name].as_str().expect("a text").to_owned();
    let mut guest = world.stranger().await;
    let hello = ConnectionCommand::Hello {
        token: text("token"),
        device: Some(text("device").parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    guest.ok(hello).await;
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut made = Vec::new();
    for merchant in ["a", "b"] {
        let sale = world
            .sale(json!({ "merchant": merchant, "total_stock": 5 }))
            .await;
        join_and_reserve(&mut guest, sale).await;
        let order = checkout(&mut guest, sale).await;
        made.push(order.order);
        let rows = world
            .server
            .app
            .shop
            .store
            .orders_of_sale(sale)
            .await
            .expect("Postgres");
        let [row] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        seen.push((row.shopper.to_string(), row.device.to_string()));
        assert_eq!(world.person(sale, &text("shopper")).await, row.shopper);
        for secret in [text("shopper"), text("device"), text("device_id")] {
            assert!(!format!("{row:?}").contains(&secret), "{row:?}");
        }
    }
    assert_ne!(seen[0].0, seen[1].0, "shopper");
    assert_ne!(seen[0].1, seen[1].1, "device");
    let Done::Orders(orders) = guest.ok(ShopCommand::Orders {}).await else {
        panic!("orders")
    };
    let mut all: Vec<_> = orders.iter().map(|order| order.order).collect();
    all.sort_unstable();
    made.sort_unstable();
    assert_eq!(all, made);
    for order in made {
        let headers = [("x-device-id", text("device"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let response = world
            .http
            .get(world.url(&format!("/orders/{order}")))
            .bearer_auth(text("token"))
            .header(headers[0].0, headers[0].1)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_device_is_known_by_its_credential_and_a_made_up_name_counts_for_its_session_only() {
    let world = World::start().await;
    let begin = async |body: Value| {
        world
            .rest(Method::POST, "/session", None, &[], body.to_string())
            .await
    };
    let first = begin(json!({})).await.body;
    let credential = first["device"].as_str().expect("a credential").to_owned();
    let again = begin(json!({ "device": credential })).await.body;
    assert_eq!(
        [&again["shopper"], &again["device_id"]],
        [&first["shopper"], &first["device_id"]]
    );
    let id = first["device_id"].as_str().expect("an id");
    let (_, tag) = credential.rsplit_once('.').expect("a tag");
    for wrong in [
        "a b".into(),
        id.to_owned(),
        format!("{id}.{tag}"),
        format!("{id}.0.20000.{tag}"),
        credential.replacen(".0.", ".1.", 1),
        format!("d_AAAAAAAAAAAAAAAAAAAAAA{}", &credential[id.len()..]),
    ] {
        let answer = begin(json!({ "device": wrong })).await;
        assert_eq!(answer.refusal(), Code::DeviceUnknown, "{wrong}");
    }
    // The cookie proves the device, so its secret need not be in the body for scripts to read.
    let cookie = format!("flashsale_device={credential}");
    let by_cookie = world
        .rest(Method::POST, "/session", None, &[("cookie", &cookie)], "")
        .await;
    assert_eq!(by_cookie.body["shopper"], first["shopper"]);
    assert_eq!(by_cookie.body["device"], first["device_id"]);
    let bad = world
        .rest(
            Method::POST,
            "/session",
            None,
            &[("cookie", "flashsale_device=d_x.y")],
            "",
        )
        .await;
    assert_eq!(bad.status, 200);
    assert_ne!(bad.body["shopper"], first["shopper"], "somebody new");

    // Two customers who call their device the same are on two devices.
    world.merchant("a").await;
    assert_eq!(
        world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await.status,
        201
    );
    let sale = world
        .sale(json!({ "merchant": "a", "total_stock": 5, "per_device_limit": 1 }))
        .await;
    let join = async |sub: &str, device: &str| {
        let mut socket = world.stranger().await;
        let hello = ConnectionCommand::Hello {
            token: token(Algorithm::RS256, &rsa(), "a", sub, json!({})),
            device: Some(device.parse().expect("an id")),
            resume: vec![],
            changes: false,
        };
        socket.ok(hello).await;
        socket
            .ask(ShopCommand::Join {
                sale,
                quantity: Quantity::ONE,
                nonce: None,
            })
            .await
    };
    assert!(join("one", "phone").await.is_ok());
    assert!(join("two", "phone").await.is_ok(), "a name of their own");
    assert!(join("three", &credential).await.is_ok());
    assert_eq!(
        join("four", &credential).await.expect_err("proven").code,
        Code::DeviceInLine
    );
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_asks_is_told_everything_and_whoever_is_forgotten_comes_back_as_somebody_new() {
    let world = World::start().await;
    world.merchant("a").await;
    assert_eq!(
        world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await.status,
        201
    );
    let id = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let me = token(Algorithm::RS256, &rsa(), "a", "jane+shop@example.com", json!({}));
    let who = world.hello(&me).await.expect("in");
    let mut socket = world.stranger().await;
    let hello = ConnectionCommand::Hello {
        token: me.clone(),
        device: Some("phone".parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    socket.ok(hello).await;
    join_and_reserve(&mut socket, id).await;
    let order = checkout(&mut socket, id).await;
    let about = async |method: Method, query: &str| {
        let boss = world.token("boss", Role::Admin);
        let path = format!("/admin/merchants/a/person?{query}");
        world.rest(method, &path, Some(&boss), &[], "").await
    };
    let told = about(Method::GET, "subject=jane%2Bshop%40example.com").await;
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.body["subject"], "jane+shop@example.com");
    assert_eq!(told.body["orders"][0]["order_id"], order.order.to_string());
    let path = format!("/admin/orders/{}", order.order);
    let shown = world.admin(Method::GET, &path, Value::Null).await;
    assert_eq!(
        (&shown.body["customer"], &shown.body["person"]),
        (&json!("jane+shop@example.com"), &json!(who)),
        "the shop knows whose order it is"
    );
    let own = world.rest(Method::GET, "/me", Some(&me), &[], "").await;
    assert_eq!(own.body["people"][0], told.body);
    assert_eq!(about(Method::GET, &format!("person={who}")).await.body, told.body);
    assert_eq!(
        about(Method::GET, "subject=nobody").await.refusal(),
        Code::PersonUnknown
    );
    assert_eq!(about(Method::GET, "").await.refusal(), Code::InvalidField);
    for (method, path) in [(Method::DELETE, "/me"), (Method::GET, "/me")] {
        let refused = world.rest(method.clone(), path, None, &[], "").await;
        assert_eq!(refused.refusal(), Code::TokenMissing, "{method}");
    }
    assert_eq!(
        about(Method::DELETE, &format!("person={who}")).await.refusal(),
        Code::PersonBusy
    );
    assert_eq!(
        world
            .rest(Method::DELETE, "/me", Some(&me), &[], "")
            .await
            .refusal(),
        Code::PersonBusy
    );

    socket.ok(ShopCommand::Cancel { order: order.order }).await;
    let end = format!("/admin/sales/{id}/end");
    assert_eq!(world.admin(Method::POST, &end, Value::Null).await.status, 200);
    let began = std::time::Instant::now();
    let forgotten = loop {
        let answer = world.rest(Method::DELETE, "/me", Some(&me), &[], "").await;
        if answer.status == 204 || began.elapsed() > Duration::from_secs(10) {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(forgotten.status, 204, "{forgotten:?}");
    assert_eq!(
        about(Method::GET, &format!("person={who}")).await.refusal(),
        Code::PersonUnknown
    );
    let rows = world
        .server
        .app
        .shop
        .store
        .orders_of_sale(id)
        .await
        .expect("Postgres");
    assert!(!format!("{rows:?}").contains(who.as_str()), "{rows:?}");
    assert_eq!(rows.len(), 1, "the number stays");
    let back = world.hello(&me).await.expect("in");
    assert_ne!(back, who, "a new person");
    assert_eq!(world.hello(&me).await, Ok(back));
    assert_eq!(
        world.rest(Method::GET, "/me", Some(&me), &[], "").await.body["people"],
        json!([])
    );

    // A guest's device is forgotten with them.
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let guest = session["token"].as_str().expect("a token");
    let device = session["device"].as_str().expect("a credential");
    let gone = world
        .http
        .delete(world.url("/me"))
        .bearer_auth(guest)
        .send()
        .await
        .expect("an answer");
    assert_eq!(gone.status(), 204);
    assert_eq!(world.refused(guest).await, Code::TokenInvalid);
    let again = world
        .rest(
            Method::POST,
            "/session",
            None,
            &[],
            json!({ "device": device }).to_string(),
        )
        .await;
    assert_eq!(again.refusal(), Code::DeviceUnknown);
    world.server.stop().await;
}

#[tokio::test]
async fn a_command_repeated_after_a_secret_was_rotated_names_the_same_order() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let mut before = world.shopper("u1").await;
    join_and_reserve(&mut before, sale).await;
    let id: CommandId = command_id();
    let buy = ShopCommand::Checkout { sale, payment: None };
    let Ok(Done::Order(order)) = before.ask_as(id, buy.clone()).await else {
        panic!("an order")
    };
    let rotated = world
        .try_another(&[("--orders-secret", "a-new-secret-of-orders-that-is-long-enough")])
        .await
        .expect("starts");
    let mut after = crate::harness::Client::connect(rotated.address).await;
    let hello = ConnectionCommand::Hello {
        token: world.token_on("u1", "device-of-u1"),
        device: None,
        resume: vec![sale],
        changes: false,
    };
    after.ok(hello).await;
    let Ok(Done::Order(again)) = after.ask_as(id, buy).await else {
        panic!("the same order")
    };
    assert_eq!(again.order, order.order);
    rotated.stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_has_a_cart_or_a_place_of_a_moment_ago_is_not_forgotten() {
    let world = World::start().await;
    world.merchant("a").await;
    let made = world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let customer = token(Algorithm::RS256, &rsa(), "a", "jane", json!({}));
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let guest = session["token"].as_str().expect("a token").to_owned();
    for (token, device) in [(customer, json!("phone")), (guest, session["device"].clone())] {
        let mut socket = world.stranger().await;
        let hello = ConnectionCommand::Hello {
            token: token.clone(),
            device: serde_json::from_value(device).expect("an id"),
            resume: vec![],
            changes: false,
        };
        socket.ok(hello).await;
        join_and_reserve(&mut socket, id).await;
        let refused = world
            .http
            .delete(world.url("/me"))
            .bearer_auth(&token)
            .send()
            .await;
        assert_eq!(refused.expect("an answer").status(), 409);
        checkout(&mut socket, id).await;
    }
    world.server.stop().await;
}

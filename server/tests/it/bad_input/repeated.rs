//! A command id again: with the same contents it gets the same answer, with others a refusal; and what is no id.

use super::{PATIENT, free_sale};
use crate::harness::{Answer, World, command_id};
use flashsale_protocol::{
    Code, Done, Hold, OrderId, OrderStatus, Payment, Quantity, Role, SaleId, ShopCommand,
};
use reqwest::Method;
use serde_json::{Value, json};

/// Posts under a key, as `u1`.
async fn post(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    let token = world.token("u1", Role::Shopper);
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    world
        .rest(
            Method::POST,
            path,
            Some(&token),
            &[("idempotency-key", key)],
            body,
        )
        .await
}

fn order_path(answer: &Answer, verb: &str) -> String {
    format!(
        "/orders/{}/{verb}",
        answer.body["order_id"].as_str().expect("an order")
    )
}

/// The same again is answered the same; each of `others` is refused; and neither changes anything.
async fn check(
    world: &World,
    sale: SaleId,
    key: &str,
    path: &str,
    body: &Value,
    others: &[(&str, Value)],
) -> Answer {
    let first = post(world, path, key, body).await;
    assert!(first.status < 300, "{path}: {first:?}");
    let before = world.facts(sale).await;
    for _ in 0..2 {
        let again = post(world, path, key, body).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body), "{path}");
        for (path, other) in others {
            let refused = post(world, path, key, other).await;
            assert_eq!(
                refused.refusal(),
                Code::CommandIdReused,
                "{path} {other}: {refused:?}"
            );
        }
    }
    assert_eq!(world.facts(sale).await, before);
    first
}

#[tokio::test]
async fn over_rest_a_key_again_is_the_same_answer_or_with_another_payload_a_refusal() {
    let world = World::with(PATIENT).await;
    let sale = free_sale(&world, json!({ "total_stock": 9, "per_shopper_limit": 9 })).await;
    let other = world.sale(json!({ "total_stock": 9 })).await;
    let cart = "/carts/u1/items";
    // A ULID is a command id as it is; any other key is one by its digest.
    for key in [
        command_id().to_string(),
        "order 4711, first try".to_owned(),
        "x".repeat(255),
    ] {
        let item = json!({ "sale_id": sale, "quantity_requested": 2 });
        let more = json!({ "sale_id": sale, "quantity_requested": 3 });
        let part = json!({ "sale_id": sale, "quantity_requested": 2, "partial": true });
        check(
            &world,
            sale,
            &format!("r{}", &key[1..]),
            cart,
            &item,
            &[(cart, more), (cart, part)],
        )
        .await;

        let order = json!({ "user_id": "u1", "cart_items": [{ "sale_id": sale, "quantity": 2 }] });
        let paid = json!({ "user_id": "u1", "cart_items": [{ "sale_id": sale, "quantity": 2 }], "payment": { "token": "sandbox_approve" } });
        let elsewhere = json!({ "user_id": "u1", "cart_items": [{ "sale_id": other }] });
        let wrong = [("/orders", paid), ("/orders", elsewhere)];
        let placed = check(
            &world,
            sale,
            &format!("o{}", &key[1..]),
            "/orders",
            &order,
            &wrong,
        )
        .await;

        let pay = order_path(&placed, "pay");
        let declined = json!({ "payment": { "token": "sandbox_decline" } });
        let approved = json!({ "payment": { "token": "sandbox_approve" } });
        let refused = post(&world, &pay, &format!("d{}", &key[1..]), &declined).await;
        assert_eq!(refused.refusal(), Code::PaymentDeclined);
        let again = post(&world, &pay, &format!("d{}", &key[1..]), &declined).await;
        assert_eq!(again.body, refused.body, "a refusal is an answer");
        let changed = post(&world, &pay, &format!("d{}", &key[1..]), &approved).await;
        assert_eq!(changed.refusal(), Code::CommandIdReused);
        let cancel = order_path(&placed, "cancel");
        let wrong = [(pay.as_str(), declined), (cancel.as_str(), Value::Null)];
        check(&world, sale, &format!("p{}", &key[1..]), &pay, &approved, &wrong).await;

        let again = post(&world, cart, &format!("s{}", &key[1..]), &item).await;
        assert!(again.status < 300, "{again:?}");
        let second = post(&world, "/orders", &format!("t{}", &key[1..]), &order).await;
        let (cancel, pay) = (order_path(&second, "cancel"), order_path(&second, "pay"));
        let wrong = [(order_path(&placed, "cancel"), Value::Null), (pay, approved)];
        let wrong = wrong.each_ref().map(|(path, body)| (path.as_str(), body.clone()));
        check(
            &world,
            sale,
            &format!("c{}", &key[1..]),
            &cancel,
            &Value::Null,
            &wrong,
        )
        .await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn over_sockets_an_id_again_is_the_same_answer_or_with_another_payload_a_refusal() {
    let world = World::start().await;
    let sale = free_sale(&world, json!({ "total_stock": 9, "per_shopper_limit": 9 })).await;
    let quantity = Quantity::new(2).expect("in range");
    let reserve = |quantity, partial| ShopCommand::Reserve {
        sale,
        quantity,
        partial,
    };
    let checkout = |payment| ShopCommand::Checkout { sale, payment };
    let payment = |token: &str| Payment { token: token.into() };
    let pay = |order, token| ShopCommand::Pay {
        order,
        payment: payment(token),
    };
    let nothing: OrderId = super::NOTHING.parse().expect("a ULID");

    let same = async |command: ShopCommand, others: Vec<ShopCommand>| -> Done {
        let id = command_id();
        let first = world
            .shopper("u1")
            .await
            .ask_as(id, command.clone())
            .await
            .expect("done");
        let before = world.facts(sale).await;
        for other in others {
            // On this socket and on another one: the first remembers by itself.
            let mut socket = world.shopper("u1").await;
            assert_eq!(
                socket.ask_as(id, other.clone()).await.expect_err("reused").code,
                Code::CommandIdReused
            );
            let again = world.shopper("u1").await.ask_as(id, command.clone()).await;
            assert_eq!(again.map(timeless), Ok(timeless(first.clone())));
            assert_eq!(
                socket.ask_as(id, command.clone()).await.expect_err("reused").code,
                Code::CommandIdReused
            );
        }
        assert_eq!(world.facts(sale).await, before);
        first
    };
    same(
        reserve(quantity, false),
        vec![reserve(Quantity::ONE, false), reserve(quantity, true)],
    )
    .await;
    let Done::Order(order) = same(checkout(None), vec![checkout(Some(payment("sandbox_approve")))]).await
    else {
        panic!("an order")
    };
    let others = vec![
        pay(order.order, "sandbox_decline"),
        ShopCommand::Cancel { order: order.order },
    ];
    let Done::Order(paid) = same(pay(order.order, "sandbox_approve"), others).await else {
        panic!("an order")
    };
    assert_eq!(paid.status, OrderStatus::Confirmed);
    world.shopper("u1").await.ok(reserve(quantity, false)).await;
    let Done::Order(order) = world.shopper("u1").await.ok(checkout(None)).await else {
        panic!("an order")
    };
    let others = vec![
        ShopCommand::Cancel { order: paid.order },
        ShopCommand::Cancel { order: nothing },
    ];
    same(ShopCommand::Cancel { order: order.order }, others).await;
    world.server.stop().await;
}

/// A hold is told as it is at the moment of telling; all else of it is the same.
fn timeless(done: Done) -> Done {
    match done {
        Done::Hold(hold) => Done::Hold(Hold { at: 0, ..hold }),
        other => other,
    }
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let before = world.facts(sale).await;
    let item = json!({ "sale_id": sale });
    for key in ["", &"x".repeat(256), "é"] {
        let answer = post(&world, "/carts/u1/items", key, &item).await;
        assert_eq!(answer.refusal(), Code::InvalidField, "{key}");
        assert!(answer.detail().starts_with("Idempotency-Key: "), "{answer:?}");
    }
    let token = world.token("u1", Role::Shopper);
    let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let answer = world
        .rest(
            Method::POST,
            "/carts/u1/items",
            Some(&token),
            &two,
            item.to_string(),
        )
        .await;
    assert_eq!(answer.refusal(), Code::InvalidField, "which of the two?");
    assert_eq!(world.facts(sale).await, before);
    world.server.stop().await;
}

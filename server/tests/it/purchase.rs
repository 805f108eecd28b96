//! A sale from the line to the paid order, and what must hold on the way.

use crate::harness::{Client, DEADLINE, NONCE, World, command_id};
use flashsale_protocol::{
    Code, Done, EntryState, HoldState, Order, OrderStatus, Payment, Quantity, Role, SaleId, ServerMessage,
    ShopCommand,
};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

pub fn reserve(sale: SaleId) -> ShopCommand {
    ShopCommand::Reserve {
        sale,
        quantity: Quantity::ONE,
        partial: false,
    }
}

pub fn approve() -> Payment {
    Payment {
        token: "sandbox_approve".into(),
    }
}

pub async fn join_and_reserve(client: &mut Client, sale: SaleId) {
    client.watch(sale).await;
    client
        .ok(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;
    client
        .until(|m| matches!(m, ServerMessage::Entry(e) if e.state == EntryState::Admitted).then_some(()))
        .await;
    client.ok(reserve(sale)).await;
}

pub async fn checkout(client: &mut Client, sale: SaleId) -> Order {
    match client.ok(ShopCommand::Checkout { sale, payment: None }).await {
        Done::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_shopper_joins_is_called_reserves_checks_out_and_pays_and_the_order_is_in_postgres() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    join_and_reserve(&mut shopper, sale).await;
    let order = checkout(&mut shopper, sale).await;
    assert_eq!(order.status, OrderStatus::Pending);
    let Done::Order(paid) = shopper
        .ok(ShopCommand::Pay {
            order: order.order,
            payment: approve(),
        })
        .await
    else {
        panic!("an order")
    };
    assert_eq!((paid.status, paid.amount), (OrderStatus::Confirmed, 100));
    let row = world
        .server
        .app
        .shop
        .store
        .order(order.order)
        .await
        .expect("Postgres")
        .expect("the order");
    assert_eq!((row.status, row.quantity), (OrderStatus::Confirmed, 1));
    world.server.stop().await;
}

#[tokio::test]
async fn a_sale_made_a_moment_ago_sells_without_a_line_until_somebody_waits() {
    // No worker: whatever the gate is, it was so from the beginning.
    let world = World::with(&["--roles", "gateway"]).await;
    let join = |sale| ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: Some(NONCE),
    };
    let (mut first, mut second) = (world.shopper("u1").await, world.shopper("u2").await);
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    first.ok(reserve(sale)).await;
    second.ok(join(sale)).await;
    let mut third = world.shopper("u3").await;
    assert_eq!(
        third.ask(reserve(sale)).await.expect_err("second waits").code,
        Code::JoinFirst
    );
    // With several lanes a device is counted in the line: nobody goes past it.
    let lanes = world.sale(json!({ "total_stock": 3, "lanes": 2 })).await;
    assert_eq!(
        third.ask(reserve(lanes)).await.expect_err("no line yet").code,
        Code::JoinFirst
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_last_unit_goes_to_one_and_the_other_is_told_sold_out() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let (mut first, mut second) = (world.shopper("u1").await, world.shopper("u2").await);
    second.watch(sale).await;
    join_and_reserve(&mut first, sale).await;
    second
        .ok(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;
    assert_eq!(
        second.ask(reserve(sale)).await.expect_err("no unit").code,
        Code::JoinFirst
    );
    let order = checkout(&mut first, sale).await;
    first
        .ok(ShopCommand::Pay {
            order: order.order,
            payment: approve(),
        })
        .await;
    let sold_out =
        |m: &ServerMessage| matches!(m, ServerMessage::Tick(t) if t.sold == 1 && t.unpaid == 0).then_some(());
    second.until(sold_out).await;
    assert_eq!(
        second.ask(reserve(sale)).await.expect_err("no unit").code,
        Code::SoldOut
    );
    world.server.stop().await;
}

/// An unpaid order may still be cancelled, also where nobody watches the sale.
#[tokio::test]
async fn a_unit_in_an_unpaid_order_is_not_sold_out() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 1 })).await;
    let (mut buyer, mut other) = (world.shopper("u1").await, world.shopper("u2").await);
    buyer.insist(reserve(sale)).await;
    let order = checkout(&mut buyer, sale).await;
    let refused = other.ask(reserve(sale)).await.expect_err("no unit is free");
    assert_eq!((refused.code, refused.retry), (Code::NoneFree, true));
    let payment = approve();
    buyer
        .ok(ShopCommand::Pay {
            order: order.order,
            payment,
        })
        .await;
    // Known to everybody a second later.
    let started = Instant::now();
    loop {
        let refused = other.ask(reserve(sale)).await.expect_err("it is sold");
        if (refused.code, refused.retry) == (Code::SoldOut, false) {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "{refused:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_repeated_command_has_one_effect_and_one_answer_on_any_socket() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let mut shopper = world.shopper("u1").await;
    join_and_reserve(&mut shopper, sale).await;
    let id = command_id();
    let command = ShopCommand::Checkout { sale, payment: None };
    let first = shopper.ask_as(id, command.clone()).await.expect("an order");
    let mut again = world.shopper("u1").await;
    assert_eq!(again.ask_as(id, command).await.expect("the same order"), first);
    let other = ShopCommand::Checkout {
        sale,
        payment: Some(approve()),
    };
    let refusal = world
        .shopper("u1")
        .await
        .ask_as(id, other)
        .await
        .expect_err("another payload");
    assert_eq!(refusal.code, Code::CommandIdReused);
    assert_eq!(
        world
            .server
            .app
            .shop
            .store
            .orders_of_sale(sale)
            .await
            .expect("Postgres")
            .len(),
        1
    );
    world.server.stop().await;
}

#[tokio::test]
async fn an_expired_hold_and_an_unpaid_order_are_for_sale_again_and_the_next_in_line_is_called() {
    let world = World::start().await;
    let sale = world.sale(json!({ "hold_ms": 400, "payment_ms": 400 })).await;
    let (mut first, mut second) = (world.shopper("u1").await, world.shopper("u2").await);
    join_and_reserve(&mut first, sale).await;
    first
        .until(|m| matches!(m, ServerMessage::Hold(h) if h.state == HoldState::Expired).then_some(()))
        .await;
    let late = first
        .ask(ShopCommand::Checkout { sale, payment: None })
        .await
        .expect_err("too late");
    assert_eq!(late.code, Code::HoldExpired);
    join_and_reserve(&mut second, sale).await;
    let order = checkout(&mut second, sale).await;
    second
        .until(|m| matches!(m, ServerMessage::Order(o) if o.status == OrderStatus::Cancelled).then_some(()))
        .await;
    let refusal = second
        .ask(ShopCommand::Pay {
            order: order.order,
            payment: approve(),
        })
        .await
        .expect_err("too late");
    assert_eq!(refusal.code, Code::OrderCancelled);
    let mut third = world.shopper("u3").await;
    join_and_reserve(&mut third, sale).await;
    let sold = world
        .server
        .app
        .shop
        .find_sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    assert!(
        world
            .server
            .app
            .shop
            .stock
            .sale_counters(&sold)
            .await
            .expect("Redis")
            .balanced()
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_checkout_under_a_used_command_id_is_refused_and_the_hold_stays() {
    let world = World::start().await;
    let first_sale = world.sale(json!({})).await;
    let sale = world.sale(json!({})).await;
    let id = command_id();
    let mut shopper = world.shopper("u1").await;
    join_and_reserve(&mut shopper, first_sale).await;
    shopper
        .ask_as(
            id,
            ShopCommand::Checkout {
                sale: first_sale,
                payment: None,
            },
        )
        .await
        .expect("an order");
    join_and_reserve(&mut shopper, sale).await;
    // Another socket: the first one remembers the id by itself.
    let mut again = world.shopper("u1").await;
    let before = again.watch(sale).await.hold.expect("a hold");
    let refusal = again
        .ask_as(id, ShopCommand::Checkout { sale, payment: None })
        .await
        .expect_err("a used id");
    assert_eq!(refusal.code, Code::CommandIdReused);
    let after = again.watch(sale).await.hold.expect("a hold");
    assert_eq!(
        (after.state, after.expires_at, after.order),
        (HoldState::Held, before.expires_at, None)
    );
    checkout(&mut again, sale).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_cart_of_several_currencies_has_a_total_for_each_and_none_for_all() {
    let world = World::start().await;
    let token = world.token("u1", Role::Shopper);
    let cart = async || {
        let answer = world.rest(Method::GET, "/carts/u1", Some(&token), &[], "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let empty = cart().await;
    assert_eq!(
        (
            &empty["items"],
            &empty["totals"],
            &empty["total"],
            &empty["currency"]
        ),
        (&json!([]), &json!([]), &json!(0), &json!(null))
    );
    let mut client = world.shopper("u1").await;
    let mut take = async |currency: &str, price: i64, quantity: u32| {
        let fields = json!({
            "currency": currency, "sale_price": price, "original_price": price, "total_stock": 5, "per_shopper_limit": 5,
            "per_device_limit": 5,
        });
        let sale = world.sale(fields).await;
        let quantity = Quantity::new(quantity).expect("in range");
        let reserve = ShopCommand::Reserve {
            sale,
            quantity,
            partial: false,
        };
        client.insist(reserve).await;
    };
    take("EUR", 100, 2).await;
    take("EUR", 7, 1).await;
    let euros = cart().await;
    assert_eq!(
        (&euros["totals"], &euros["total"], &euros["currency"]),
        (
            &json!([{ "currency": "EUR", "amount": 207 }]),
            &json!(207),
            &json!("EUR")
        )
    );
    take("JPY", 1_000, 3).await;
    let both = cart().await;
    assert_eq!(
        both["totals"],
        json!([{ "currency": "EUR", "amount": 207 }, { "currency": "JPY", "amount": 3_000 }])
    );
    assert!(both["total"].is_null() && both["currency"].is_null(), "{both}");
    assert_eq!(both["items"].as_array().map(Vec::len), Some(3));
    assert!(both["expires_in_seconds"].as_u64().is_some_and(|left| left > 0));
    world.server.stop().await;
}

//! A server without a payment provider: what costs money is refused openly, and nothing of before is lost.

use super::{buy, order, pay};
use crate::{
    harness::{Client, DEADLINE, World, command_id},
    purchase::reserve,
};
use flashsale_protocol::{
    Code, Done, HoldState, OrderStatus, PaymentsBy, Phase, Quantity, Role, SaleId, ShopCommand,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const OFF: &[&str] = &["--payments", "none"];

impl World {
    /// Another server in place of this one, with this provider.
    pub(super) async fn restart_with(&mut self, payments: &str) {
        let next = self.try_another(&[("--payments", payments)]).await;
        let before = std::mem::replace(&mut self.server, next.expect("the server starts"));
        before.stop().await;
    }

    async fn steer(&self, sale: SaleId, verb: &str) -> crate::harness::Answer {
        let path = format!("/admin/sales/{sale}/{verb}");
        let boss = self.token("boss", Role::Admin);
        self.rest(Method::POST, &path, Some(&boss), &[], "{}").await
    }

    async fn json(&self, path: &str) -> Value {
        self.rest(Method::GET, path, None, &[], "").await.body
    }
}

fn checkout(sale: SaleId) -> ShopCommand {
    ShopCommand::Checkout { sale, payment: None }
}

async fn hold(shopper: &mut Client, sale: SaleId) {
    let until = Instant::now() + DEADLINE;
    shopper.watch(sale).await;
    while let Err(reject) = shopper.ask(reserve(sale)).await {
        assert!(Instant::now() < until, "{reject:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn without_a_provider_a_sale_with_a_price_cannot_be_made_and_a_free_one_sells() {
    let world = World::with(OFF).await;
    let refused = world.create_sale(json!({})).await;
    assert_eq!(refused.refusal(), Code::PaymentsOff);
    assert!(refused.detail().contains("--payments sandbox"), "{refused:?}");
    // A refused sale leaves no empty shop behind.
    for wrong in [
        json!({ "sale_price": 0, "product_name": "" }),
        json!({ "sale_price": 0, "start_time": "2020-01-01T00:00:00Z", "end_time": "2020-01-02T00:00:00Z" }),
    ] {
        assert_eq!(world.create_sale(wrong).await.refusal(), Code::InvalidField);
    }
    let token = world.token("boss", Role::Admin);
    let shops = world
        .rest(Method::GET, "/admin/merchants", Some(&token), &[], "")
        .await;
    assert_eq!(shops.body["merchants"], json!([]));

    let free = world.sale(json!({ "sale_price": 0, "total_stock": 2 })).await;
    let mut shopper = world.shopper("u1").await;
    assert_eq!(shopper.watch(free).await.sale.payments, PaymentsBy::None);
    assert_eq!(buy(&mut shopper, free, 1).await.status, OrderStatus::Confirmed);

    let (status, body) = world.webhook(&json!({ "type": "payment.captured" })).await;
    assert_eq!((status, &body["code"]), (404, &json!("not_found")));
    assert_eq!(world.json("/readyz").await["payments"], "none");
    assert_eq!(world.json("/flash-sales").await["payments"], "none");
    world.server.stop().await;
}

#[tokio::test]
async fn a_server_says_that_its_money_is_test_money() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    assert_eq!(shopper.watch(sale).await.sale.payments, PaymentsBy::Sandbox);
    assert_eq!(world.json("/readyz").await["payments"], "sandbox");
    assert_eq!(world.json("/flash-sales").await["payments"], "sandbox");
    world.server.stop().await;
}

#[tokio::test]
async fn what_was_there_before_the_provider_went_is_refused_openly_and_goes_on_when_it_is_back() {
    let mut world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    let names = ["u1", "u2", "u3"];
    let mut before = Vec::new();
    for name in names {
        before.push(world.shopper(name).await);
    }
    let [paying, ordering, holding] = before.as_mut_slice() else {
        panic!("three")
    };
    let paid = buy(paying, sale, 1).await;
    let pay_id = command_id();
    order(paying.ask_as(pay_id, pay(&paid, "approve")).await.expect("paid"));
    world.payment_until(&paid, "captured").await;
    hold(ordering, sale).await;
    let order_id = command_id();
    let ordered = order(ordering.ask_as(order_id, checkout(sale)).await.expect("an order"));
    hold(holding, sale).await;
    drop(before);

    world.restart_with("none").await;
    // Answers of before stay the answers.
    let mut paying = world.shopper("u1").await;
    let again = order(
        paying
            .ask_as(pay_id, pay(&paid, "approve"))
            .await
            .expect("the same"),
    );
    assert_eq!(again.status, OrderStatus::Confirmed);
    let other = paying.ask(pay(&paid, "decline")).await.expect_err("it is paid");
    assert_eq!(other.code, Code::OrderConfirmed);
    let mut ordering = world.shopper("u2").await;
    let again = order(ordering.ask_as(order_id, checkout(sale)).await.expect("the same"));
    assert_eq!(again.order, ordered.order);
    // What would cost money is refused, and the order and the cart stay.
    let late_pay = command_id();
    let refused = ordering.ask_as(late_pay, pay(&ordered, "approve")).await;
    let refused = refused.expect_err("no provider");
    assert_eq!(
        (refused.code, refused.order),
        (Code::PaymentsOff, Some(ordered.order))
    );
    let foreign = paying
        .ask(pay(&ordered, "approve"))
        .await
        .expect_err("not theirs");
    assert_eq!(foreign.code, Code::OrderUnknown);
    let mut holding = world.shopper("u3").await;
    let late_checkout = command_id();
    let refused = holding.ask_as(late_checkout, checkout(sale)).await;
    assert_eq!(refused.expect_err("no provider").code, Code::PaymentsOff);
    let state = holding.watch(sale).await;
    assert_eq!(state.hold.map(|hold| hold.state), Some(HoldState::Held));
    // Paused, the sale cannot be opened again.
    assert_eq!(world.steer(sale, "pause").await.status, 200);
    assert_eq!(world.steer(sale, "resume").await.refusal(), Code::PaymentsOff);
    assert_eq!(
        (world.json(&format!("/flash-sales/{sale}")).await)["status"],
        json!(Phase::Paused)
    );
    // Money that an operator gives back waits for a provider.
    assert_eq!(world.refund(&paid, json!({ "amount": 40 })).await.0, 200);
    let tried = |seen: &Value| seen["payments"][0]["refunds"][0]["status"] == "wanted";
    world.seen_until(&paid, tried).await;

    world.restart_with("sandbox").await;
    assert_eq!(world.steer(sale, "resume").await.status, 200);
    let done = |seen: &Value| seen["payments"][0]["refunds"][0]["status"] == "done";
    world.seen_until(&paid, done).await;
    let mut ordering = world.shopper("u2").await;
    let now = ordering.ask_as(late_pay, pay(&ordered, "approve")).await;
    assert_eq!(
        order(now.expect("the same command")).status,
        OrderStatus::Confirmed
    );
    let mut holding = world.shopper("u3").await;
    let now = holding.ask_as(late_checkout, checkout(sale)).await;
    let bought = order(now.expect("the same command"));
    assert_eq!(bought.quantity, Quantity::ONE.get());
    match holding.ok(pay(&bought, "approve")).await {
        Done::Order(paid) => assert_eq!(paid.status, OrderStatus::Confirmed),
        other => panic!("{other:?}"),
    }
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

//! Payments: every test card, every bad webhook, money that comes late, refunds, and races. Whatever happens: no money without
//! a unit (I6).

mod at_provider;
mod handoff;
mod off;

use crate::harness::{Client, DEADLINE, World, command_id};
use flashsale_engine::payment::{
    Charge, DisputeOutcome, Provider, Standing,
    sandbox::Sandbox,
    signature::{HEADER, TOLERANCE_S, sign},
};
use flashsale_protocol::{
    Code, Done, Order, OrderStatus, Payment, PaymentId, Quantity, Reason, Role, SaleId, ServerMessage,
    ShopCommand,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A world that looks often, with a provider that is given up on after 200 ms and whose slow cards take so long.
async fn world(slow_ms: &str) -> World {
    World::with(&[
        "--commands-per-s",
        "1000",
        "--payment-timeout-ms",
        "200",
        "--sandbox-slow-ms",
        slow_ms,
    ])
    .await
}

const SLOW: &str = "500";
/// Slower than any test.
const NEVER: &str = "600000";

fn card(token: &str) -> Payment {
    Payment {
        token: format!("sandbox_{token}"),
    }
}

fn pay(order: &Order, token: &str) -> ShopCommand {
    ShopCommand::Pay {
        order: order.order,
        payment: card(token),
    }
}

fn order(done: Done) -> Order {
    match done {
        Done::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

async fn buy(shopper: &mut Client, sale: SaleId, units: u32) -> Order {
    shopper.watch(sale).await;
    let reserve = ShopCommand::Reserve {
        sale,
        quantity: Quantity::new(units).expect("in range"),
        partial: false,
    };
    // Units that come back are for sale again a moment later.
    let until = Instant::now() + DEADLINE;
    while let Err(reject) = shopper.ask(reserve.clone()).await {
        assert!(Instant::now() < until, "{reject:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    order(shopper.ok(ShopCommand::Checkout { sale, payment: None }).await)
}

/// The next view of the order for which this holds.
async fn order_until(shopper: &mut Client, which: &Order, holds: impl Fn(&Order) -> bool) -> Order {
    shopper
        .until(|message| match message {
            ServerMessage::Order(order) if order.order == which.order && holds(order) => Some(order.clone()),
            _ => None,
        })
        .await
}

fn is(status: OrderStatus) -> impl Fn(&Order) -> bool {
    move |order| order.status == status
}

impl World {
    async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        key: Option<&str>,
        body: Value,
    ) -> (u16, Value) {
        let request = match method {
            "GET" => self.http.get(self.url(path)),
            _ => self.http.post(self.url(path)).body(body.to_string()),
        };
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let response = request.bearer_auth(token).send().await.expect("an answer");
        (
            response.status().as_u16(),
            response.json().await.unwrap_or_default(),
        )
    }

    /// What an operator sees of an order.
    async fn seen(&self, order: &Order) -> Value {
        let path = format!("/admin/orders/{}", order.order);
        let (status, body) = self
            .call("GET", &path, &self.token("boss", Role::Admin), None, json!({}))
            .await;
        assert_eq!(status, 200, "{body}");
        agrees_with_itself(&body);
        body
    }

    async fn refund(&self, order: &Order, body: Value) -> (u16, Value) {
        let path = format!("/admin/orders/{}/refund", order.order);
        self.call("POST", &path, &self.token("boss", Role::Admin), None, body)
            .await
    }

    /// Waits until what an operator sees of the order is so.
    async fn seen_until(&self, order: &Order, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let seen = self.seen(order).await;
            if holds(&seen) {
                return seen;
            }
            assert!(Instant::now() < until, "not in time: {seen}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the order's last payment has this state and nothing left to do.
    async fn payment_until(&self, order: &Order, status: &str) -> Value {
        let seen = self
            .seen_until(order, |seen| {
                let last = seen["payments"].as_array().and_then(|payments| payments.last());
                last.is_some_and(|payment| payment["status"] == status && payment["todo"].is_null())
            })
            .await;
        seen["payments"]
            .as_array()
            .and_then(|p| p.last())
            .cloned()
            .expect("a payment")
    }

    fn now_s(&self) -> u64 {
        chrono::Utc::now().timestamp() as u64
    }

    async fn webhook_as(&self, signature: Option<&str>, body: &str) -> (u16, Value) {
        let request = self
            .http
            .post(self.url("/payments/webhook"))
            .body(body.to_owned());
        let request = match signature {
            Some(signature) => request.header(HEADER, signature),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        (
            response.status().as_u16(),
            response.json().await.unwrap_or_default(),
        )
    }

    /// A webhook as the provider would send it.
    async fn webhook(&self, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let signature = sign(
            &self.server.app.shop.payments.webhook_secret,
            body.as_bytes(),
            self.now_s(),
        );
        self.webhook_as(Some(&signature), &body).await
    }

    /// I6 on everything in these sales, when nothing is left to do.
    async fn check_money(&self, sales: &[SaleId]) {
        let store = &self.server.app.shop.store;
        let until = Instant::now() + DEADLINE;
        while !store.unsettled().await.expect("Postgres").is_empty() {
            assert!(Instant::now() < until, "{:?}", store.unsettled().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for sale in sales {
            assert_eq!(
                store.money_without_units(*sale).await.expect("Postgres"),
                Vec::<String>::new()
            );
            let mut confirmed = 0;
            for row in store.orders_of_sale(*sale).await.expect("Postgres") {
                let money = store
                    .order_money(row.order)
                    .await
                    .expect("Postgres")
                    .expect("an order");
                let payments = money.payments;
                let kept: i64 = payments
                    .iter()
                    .filter(|(payment, _)| payment.state.status.taken())
                    .map(|(payment, _)| payment.state.amount - payment.state.refunded)
                    .sum();
                let is_confirmed = row.status == OrderStatus::Confirmed;
                let back = row.refunded;
                assert_eq!(
                    kept,
                    if is_confirmed { row.amount - back } else { 0 },
                    "{row:?} {payments:?}"
                );
                let taken = payments
                    .iter()
                    .filter(|(p, _)| p.state.status.taken() && p.state.refunded < p.state.amount);
                assert_eq!(taken.count(), usize::from(is_confirmed), "{payments:?}");
                confirmed += u32::from(is_confirmed) * row.quantity;
            }
            let lanes = store.lanes(*sale).await.expect("Postgres");
            assert_eq!(lanes.iter().map(|lane| lane.confirmed).sum::<u32>(), confirmed);
        }
    }
}

/// What one answer says of the money back is of one moment.
fn agrees_with_itself(seen: &Value) {
    let payments = seen["payments"].as_array().expect("payments");
    for payment in payments {
        let refunds = payment["refunds"].as_array().expect("refunds").iter();
        let done = refunds.filter(|refund| refund["status"] == "done");
        let back: i64 = done.filter_map(|refund| refund["amount"].as_i64()).sum();
        assert_eq!(payment["refunded"], back, "{seen}");
    }
    if let [only] = payments.as_slice() {
        let back = &seen["order"]["refunded"];
        assert_eq!(back.as_i64().unwrap_or(0), only["refunded"], "{seen}");
    }
}

fn event(id: &str, kind: &str, order: &Order, payment: &Value) -> Value {
    json!({
        "id": id, "type": kind, "payment": payment["payment_id"], "order": order.order.to_string(),
        "amount": order.amount, "currency": order.currency, "reference": "r",
    })
}

// ------------------------------------------------------------------------------------------------------------ test cards

#[tokio::test]
async fn an_approved_card_confirms_at_once_and_is_captured_after_the_order_is_committed() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let paid = order(shopper.ok(pay(&bought, "approve")).await);
    assert_eq!((paid.status, paid.paying), (OrderStatus::Confirmed, false));
    let payment = world.payment_until(&bought, "captured").await;
    assert_eq!(
        (payment["pays"].as_bool(), payment["answer"].as_str()),
        (Some(true), Some("ok"))
    );
    let metrics = world
        .http
        .get(world.url("/metrics"))
        .send()
        .await
        .expect("an answer");
    let metrics = metrics.text().await.expect("a text");
    assert!(metrics.contains("flashsale_payments_unsettled{todo=\"refund\"}"));
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_declined_card_says_why_and_leaves_the_order_for_another() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    for (token, why) in [
        ("decline", "the card was declined"),
        ("insufficient_funds", "insufficient funds"),
        ("of_nobody", "unknown test card"),
    ] {
        let (id, command) = (command_id(), pay(&bought, token));
        let refusal = shopper.ask_as(id, command.clone()).await.expect_err(token);
        assert_eq!(
            (refusal.code, refusal.order),
            (Code::PaymentDeclined, Some(bought.order))
        );
        assert!(refusal.message.contains(why), "{}", refusal.message);
        let mut again = world.shopper("u1").await;
        assert_eq!(
            again.ask_as(id, command).await,
            Err(refusal),
            "the same command, the same answer"
        );
        let other = again
            .ask_as(id, pay(&bought, "approve"))
            .await
            .expect_err("another payload");
        assert_eq!(other.code, Code::CommandIdReused);
    }
    shopper.ok(pay(&bought, "approve")).await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_slow_card_is_pending_until_its_webhook_and_then_every_repetition_has_one_answer() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let (id, command) = (command_id(), pay(&bought, "slow"));
    let pending = order(shopper.ask_as(id, command.clone()).await.expect("an order"));
    assert_eq!((pending.status, pending.paying), (OrderStatus::Pending, true));
    assert!(pending.at > bought.at, "newer than what was known");
    let second = shopper
        .ask(pay(&bought, "approve"))
        .await
        .expect_err("one at a time");
    assert_eq!((second.code, second.retry), (Code::PaymentPending, true));
    order_until(&mut shopper, &bought, is(OrderStatus::Confirmed)).await;
    let answer = world
        .shopper("u1")
        .await
        .ask_as(id, command.clone())
        .await
        .expect("known now");
    assert_eq!(
        world.shopper("u1").await.ask_as(id, command).await,
        Ok(answer.clone())
    );
    assert_eq!(order(answer).status, OrderStatus::Confirmed);
    let seen = world
        .seen_until(&bought, |seen| {
            seen["events"].as_array().is_some_and(|e| e.len() == 2)
        })
        .await;
    assert_eq!(seen["events"][0]["type"], "payment.authorized");
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_slow_refusal_leaves_the_order_for_another_card() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let (id, command) = (command_id(), pay(&bought, "slow_decline"));
    let pending = order(shopper.ask_as(id, command.clone()).await.expect("an order"));
    assert!(pending.paying);
    let after = order_until(&mut shopper, &bought, |order| {
        !order.paying && order.at > pending.at
    })
    .await;
    assert_eq!(after.status, OrderStatus::Pending);
    let mut again = world.shopper("u1").await;
    assert_eq!(
        again.ask_as(id, command).await.expect_err("declined").code,
        Code::PaymentDeclined
    );
    shopper.ok(pay(&bought, "approve")).await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_webhook_that_comes_twice_has_one_effect() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "webhook_twice")).await;
    world.payment_until(&bought, "captured").await;
    let books = world.server.app.shop.store.sandbox_books();
    let payment = world.seen(&bought).await["payments"][0]["payment_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a ULID");
    let until = Instant::now() + DEADLINE;
    while !books.all_told(payment).await.expect("the books") {
        assert!(Instant::now() < until, "each event is delivered twice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = world.seen(&bought).await;
    assert_eq!(
        seen["events"].as_array().map(Vec::len),
        Some(2),
        "authorized and captured, once each: {seen}"
    );
    let log = crate::audit::rows(&world, sale).await;
    assert_eq!(log.iter().filter(|row| row.kind == "order_confirmed").count(), 1);
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_webhook_may_come_before_the_reply() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let paid = order(shopper.ok(pay(&bought, "webhook_first")).await);
    // A slow machine answers before either is there.
    assert!(paid.status == OrderStatus::Confirmed || paid.paying, "{paid:?}");
    let seen = world
        .seen_until(&bought, |seen| seen["order"]["order_status"] == "confirmed")
        .await;
    assert_eq!(
        seen["events"][0]["type"], "payment.authorized",
        "it was there before the reply: {seen}"
    );
    world.payment_until(&bought, "captured").await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn when_the_provider_is_down_nothing_is_guessed_and_it_is_asked_until_it_answers() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let pending = order(shopper.ok(pay(&bought, "down")).await);
    assert_eq!((pending.status, pending.paying), (OrderStatus::Pending, true));
    order_until(&mut shopper, &bought, is(OrderStatus::Confirmed)).await;
    let seen = world.seen(&bought).await;
    assert_eq!(seen["events"], json!([]), "no webhook told: it was asked");
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_payment_that_never_reached_the_provider_is_given_up_there_before_another_is_taken() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let pending = order(shopper.ok(pay(&bought, "not_received")).await);
    assert!(pending.paying);
    order_until(&mut shopper, &bought, |order| {
        !order.paying && order.at > pending.at
    })
    .await;
    let payment = world.payment_until(&bought, "voided").await;
    assert_eq!(payment["answer"], "payment_declined");
    // The lost call gets there after all.
    let charge = Charge {
        payment: payment["payment_id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("a ULID"),
        order: bought.order,
        sale,
        shopper: "u1".parse().expect("an id"),
        amount: bought.amount,
        currency: bought.currency.clone(),
        token: card("approve").token,
    };
    let standing = world.server.app.shop.payments.authorize(charge).await;
    assert_eq!(standing.expect("an answer"), Standing::Voided);
    shopper.ok(pay(&bought, "approve")).await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_capture_that_fails_ends_the_order_and_its_unit_is_for_sale_again() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let paid = order(shopper.ok(pay(&bought, "capture_fails")).await);
    assert_eq!(paid.status, OrderStatus::Confirmed);
    let ended = order_until(&mut shopper, &bought, is(OrderStatus::Cancelled)).await;
    assert_eq!(ended.reason, Some(Reason::PaymentFailed));
    world.payment_until(&bought, "declined").await;
    let mut other = world.shopper("u2").await;
    let bought = buy(&mut other, sale, 1).await;
    other.ok(pay(&bought, "approve")).await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn captures_and_refunds_without_an_answer_are_tried_again() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "capture_retry")).await;
    world.payment_until(&bought, "captured").await;
    assert_eq!(world.refund(&bought, json!({})).await.0, 200);
    world.payment_until(&bought, "refunded").await;
    let back = order_until(&mut shopper, &bought, |order| order.refunded > 0).await;
    assert_eq!((back.status, back.refunded), (OrderStatus::Cancelled, 100));
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_refund_that_is_refused_for_good_waits_for_an_operator_who_lets_it_be_tried_again() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "refund_refused")).await;
    world.payment_until(&bought, "captured").await;
    assert_eq!(world.refund(&bought, json!({})).await.0, 200);
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres");
    let refund_of = |seen: &Value| seen["payments"][0]["refunds"][0].clone();
    let refused = |seen: &Value| refund_of(seen)["status"] == "refused";
    // The tries that back-off spreads over minutes.
    let hurry = async {
        loop {
            sqlx::query("UPDATE refunds SET todo_at = now() WHERE status = 'wanted'")
                .execute(&pool)
                .await
                .expect("Postgres");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = tokio::select! {
        seen = world.seen_until(&bought, refused) => seen,
        () = hurry => unreachable!("it has no end"),
    };
    let refund = refund_of(&seen);
    assert_eq!(refund["refusal"], "the card's account is closed");
    let tries: i32 = sqlx::query_scalar("SELECT tries FROM refunds")
        .fetch_one(&pool)
        .await
        .expect("Postgres");
    assert_eq!(tries, 8, "and no more");
    assert_eq!(
        world
            .server
            .app
            .shop
            .store
            .refused_refunds()
            .await
            .expect("Postgres"),
        1
    );

    let retry = async |id: &str, who: &str, role: Role| {
        let path = format!("/admin/orders/{}/refunds/{id}/retry", bought.order);
        let token = world.token(who, role);
        world.rest(Method::POST, &path, Some(&token), &[], "").await
    };
    let id = refund["refund_id"].as_str().expect("an id").to_owned();
    assert_eq!(
        retry("nobody's", "boss", Role::Admin).await.refusal(),
        Code::PaymentUnknown
    );
    assert_eq!(retry(&id, "u1", Role::Shopper).await.status, 403);
    // The account is open again.
    sqlx::query("UPDATE sandbox_payments SET refund_at = 1")
        .execute(&pool)
        .await
        .expect("Postgres");
    assert_eq!(retry(&id, "boss", Role::Admin).await.body["status"], "wanted");
    world.payment_until(&bought, "refunded").await;
    // Once more changes nothing.
    assert_eq!(retry(&id, "boss", Role::Admin).await.body["status"], "done");
    let kinds: Vec<String> =
        sqlx::query_scalar("SELECT kind FROM audit_rows WHERE kind LIKE 'refund%' ORDER BY number")
            .fetch_all(&pool)
            .await
            .expect("Postgres");
    assert_eq!(
        kinds,
        ["refund_asked", "refund_refused", "refund_retried", "refund_done"]
    );
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

// -------------------------------------------------------------------------------------------------------- money that is late

#[tokio::test]
async fn late_money_revives_its_order_while_units_are_free() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({ "payment_ms": 200, "total_stock": 2 })).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let (id, command) = (command_id(), pay(&bought, "late"));
    let pending = order(shopper.ask_as(id, command.clone()).await.expect("an order"));
    assert!(pending.paying);
    let ended = order_until(&mut shopper, &bought, is(OrderStatus::Cancelled)).await;
    assert_eq!(ended.reason, Some(Reason::Unpaid));
    let revived = order_until(&mut shopper, &bought, is(OrderStatus::Confirmed)).await;
    assert_eq!(revived.reason, None);
    let answer = world
        .shopper("u1")
        .await
        .ask_as(id, command)
        .await
        .expect("it is paid");
    assert_eq!(order(answer).status, OrderStatus::Confirmed);
    let sold = world
        .server
        .app
        .shop
        .find_sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    let counters = world
        .server
        .app
        .shop
        .stock
        .sale_counters(&sold)
        .await
        .expect("Redis");
    assert!(counters.balanced());
    assert_eq!((counters.sold, counters.available), (1, 1));
    // A later end of the order gives its unit back once more.
    world.payment_until(&bought, "captured").await;
    assert_eq!(world.refund(&bought, json!({})).await.0, 200);
    let counters = world
        .server
        .app
        .shop
        .stock
        .sale_counters(&sold)
        .await
        .expect("Redis");
    assert_eq!((counters.sold, counters.available), (0, 2));
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn late_money_goes_back_when_its_unit_is_sold_to_another() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({ "payment_ms": 200 })).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let (id, command) = (command_id(), pay(&bought, "late"));
    shopper.ask_as(id, command.clone()).await.expect("an order");
    order_until(&mut shopper, &bought, is(OrderStatus::Cancelled)).await;
    let mut other = world.shopper("u2").await;
    let others = buy(&mut other, sale, 1).await;
    other.ok(pay(&others, "approve")).await;
    let payment = world.payment_until(&bought, "refunded").await;
    assert_eq!(
        (
            payment["refunded"].as_i64(),
            payment["refunds"][0]["reason"].as_str()
        ),
        (Some(100), Some("no_unit"))
    );
    let back = order_until(&mut shopper, &bought, |order| order.refunded == 100).await;
    assert_eq!(back.status, OrderStatus::Cancelled);
    let refusal = world
        .shopper("u1")
        .await
        .ask_as(id, command)
        .await
        .expect_err("too late");
    assert_eq!(refusal.code, Code::PaymentTooLate);
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn late_money_goes_back_when_the_shopper_has_cancelled_meanwhile() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "late")).await;
    shopper.ok(ShopCommand::Cancel { order: bought.order }).await;
    world.payment_until(&bought, "refunded").await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_late_authorization_is_given_up() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({ "payment_ms": 300 })).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "slow")).await;
    order_until(&mut shopper, &bought, is(OrderStatus::Cancelled)).await;
    let payment = world.payment_until(&bought, "voided").await;
    assert_eq!(payment["answer"], "order_cancelled");
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

// ------------------------------------------------------------------------------------------------------------- the webhook

#[tokio::test]
async fn a_bad_webhook_gets_a_clear_refusal_and_changes_nothing() {
    let world = world(NEVER).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "slow")).await;
    let before = world.seen(&bought).await;
    let good = event("evt_1", "payment.captured", &bought, &before["payments"][0]);
    let body = good.to_string();
    let secret = &world.server.app.shop.payments.webhook_secret;
    let now = world.now_s();

    let with = |field: &str, value: Value| {
        let mut event = good.clone();
        event[field] = value;
        event
    };
    let signed = |time: u64| sign(secret, body.as_bytes(), time);
    for (signature, code) in [
        (None, "signature_invalid"),
        (Some("nonsense".to_owned()), "signature_invalid"),
        (
            Some(sign(b"somebody else's secret", body.as_bytes(), now)),
            "signature_invalid",
        ),
        (Some(sign(secret, b"{}", now)), "signature_invalid"),
        (Some(signed(now - TOLERANCE_S - 5)), "signature_expired"),
        (Some(signed(now + TOLERANCE_S + 60)), "signature_expired"),
    ] {
        let (status, answer) = world.webhook_as(signature.as_deref(), &body).await;
        assert_eq!(
            (status, answer["code"].as_str()),
            (401, Some(code)),
            "{signature:?}"
        );
    }
    let text = "{";
    let (status, answer) = world
        .webhook_as(Some(&sign(secret, text.as_bytes(), now)), text)
        .await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("bad_json")));
    let nobody = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (event, status, code) in [
        (with("type", json!(null)), 422, "invalid_field"),
        (with("id", json!("")), 422, "invalid_field"),
        (with("id", json!(null)), 422, "invalid_field"),
        (with("amount", json!("100")), 422, "invalid_field"),
        (with("type", json!("refund.done")), 422, "invalid_field"),
        (with("payment", json!(nobody)), 404, "payment_unknown"),
        (with("order", json!(nobody)), 404, "order_unknown"),
    ] {
        let (got, answer) = world.webhook(&event).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{event}");
    }
    assert_eq!(world.seen(&bought).await, before);

    // Signed, about a payment of ours, but not what was to be paid: refused, and written into the audit log, once.
    for (id, field, value) in [("evt_2", "amount", json!(1)), ("evt_3", "currency", json!("USD"))] {
        let mut event = with(field, value);
        event["id"] = json!(id);
        for _ in 0..2 {
            let (status, answer) = world.webhook(&event).await;
            assert_eq!((status, answer["code"].as_str()), (422, Some("payment_mismatch")));
        }
    }
    let mut event = with("type", json!("refund.done"));
    (event["id"], event["refund"], event["amount"]) = (json!("evt_4"), json!("nobody's"), json!(101));
    assert_eq!(world.webhook(&event).await.1["code"], "payment_mismatch");
    let after = world.seen(&bought).await;
    assert_eq!(
        (&after["order"], &after["payments"]),
        (&before["order"], &before["payments"])
    );
    let log = crate::audit::rows(&world, sale).await;
    assert_eq!(log.iter().filter(|row| row.kind == "payment_mismatch").count(), 3);

    let (status, answer) = world.webhook(&good).await;
    assert_eq!(
        (status, answer["taken"].as_bool()),
        (200, Some(true)),
        "the true one is taken"
    );
    assert_eq!(world.seen(&bought).await["order"]["order_status"], "confirmed");
    let (status, answer) = world.webhook(&good).await;
    assert_eq!(
        (status, answer["taken"].as_bool()),
        (200, Some(false)),
        "and replayed it has no effect"
    );
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_ignored_and_more_fields_change_nothing() {
    let world = world(NEVER).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "slow")).await;
    let before = world.seen(&bought).await;
    let good = event("evt_1", "payment.captured", &bought, &before["payments"][0]);
    let ignored = |answer: &Value| answer["ignored"].as_bool();
    for unknown in [
        json!({ "id": "evt_9", "type": "charge.dispute.created", "data": { "object": { "id": "ch_1" } } }),
        json!({ "type": "ping" }),
        json!({ "id": "x".repeat(1_000), "type": "", "payment": 1, "amount": null }),
    ] {
        for _ in 0..2 {
            let (status, answer) = world.webhook(&unknown).await;
            assert_eq!(
                (status, ignored(&answer)),
                (200, Some(true)),
                "{unknown}: {answer}"
            );
        }
    }
    let unsigned = json!({ "type": "ping" }).to_string();
    assert_eq!(
        world.webhook_as(None, &unsigned).await.0,
        401,
        "the signature comes first"
    );
    assert_eq!(world.seen(&bought).await, before);
    let metrics = world
        .http
        .get(world.url("/metrics"))
        .send()
        .await
        .expect("an answer");
    let metrics = metrics.text().await.expect("a text");
    assert!(
        metrics.contains(r#"flashsale_payment_events_total{outcome="ignored"}"#),
        "{metrics}"
    );

    let mut more = good;
    more["livemode"] = json!(true);
    more["reference"] = json!(null);
    more["amount"] = json!(more["amount"].as_f64());
    more["data"] = json!({ "object": { "text": "é".repeat(100 * 1024) } });
    let (status, answer) = world.webhook(&more).await;
    assert_eq!((status, answer["taken"].as_bool()), (200, Some(true)), "{answer}");
    assert_eq!(world.seen(&bought).await["order"]["order_status"], "confirmed");
    more["data"] = json!("é".repeat(128 * 1024));
    let (status, answer) = world.webhook(&more).await;
    assert_eq!((status, answer["code"].as_str()), (413, Some("frame_too_large")));
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn events_may_come_in_any_order_and_days_late() {
    let world = world(NEVER).await;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "slow")).await;
    let payment = world.seen(&bought).await["payments"][0].clone();
    for (id, kind) in [
        ("c", "payment.captured"),
        ("a", "payment.authorized"),
        ("d", "payment.declined"),
        ("v", "payment.voided"),
    ] {
        assert_eq!(
            world.webhook(&event(id, kind, &bought, &payment)).await.0,
            200,
            "{kind}"
        );
        let seen = world.seen(&bought).await;
        assert_eq!(
            (&seen["order"]["order_status"], &seen["payments"][0]["status"]),
            (&json!("confirmed"), &json!("captured")),
            "{kind}"
        );
    }
    // A capture that the provider has refused and, days later, made after all: the order is gone, so the money goes back. The
    // sandbox has no such money; its own answer to the refund stands in for the bank's.
    let mut other = world.shopper("u2").await;
    let lost = buy(&mut other, sale, 1).await;
    other.ok(pay(&lost, "slow")).await;
    let payment = world.seen(&lost).await["payments"][0].clone();
    assert_eq!(
        world
            .webhook(&event("a2", "payment.authorized", &lost, &payment))
            .await
            .0,
        200
    );
    assert_eq!(
        world
            .webhook(&event("d2", "payment.declined", &lost, &payment))
            .await
            .0,
        200
    );
    assert_eq!(world.seen(&lost).await["order"]["reason"], "payment_failed");
    assert_eq!(
        world
            .webhook(&event("c2", "payment.captured", &lost, &payment))
            .await
            .0,
        200
    );
    let seen = world.seen(&lost).await;
    assert_eq!(
        (
            &seen["payments"][0]["status"],
            &seen["payments"][0]["refund_asked"]
        ),
        (&json!("refunding"), &json!(100))
    );
    let mut done = event("r2", "refund.done", &lost, &payment);
    done["refund"] = seen["payments"][0]["refunds"][0]["refund_id"].clone();
    assert_eq!(world.webhook(&done).await.1["taken"], true);
    done["id"] = json!("r3");
    assert_eq!(world.webhook(&done).await.0, 200, "told twice under two ids");
    let seen = world.seen(&lost).await;
    assert_eq!(
        (&seen["payments"][0]["status"], &seen["payments"][0]["refunded"]),
        (&json!("refunded"), &json!(100))
    );
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

// --------------------------------------------------------------------------------------------------------------- refunds

impl World {
    fn sandbox(&self) -> &Sandbox {
        match &self.server.app.shop.payments.provider {
            Provider::Sandbox(sandbox) => sandbox,
            Provider::None | Provider::Merchant => panic!("the harness says --payments sandbox"),
        }
    }

    /// Rows of this kind in the sale's audit log that the provider has written.
    async fn told(&self, sale: SaleId, kind: &str) -> usize {
        let rows = crate::audit::rows(self, sale).await;
        let told = rows
            .iter()
            .filter(|row| row.kind == kind && row.actor["kind"] == "provider");
        told.count()
    }
}

fn id_of(payment: &Value) -> PaymentId {
    let id = payment["payment_id"].as_str().expect("an id");
    id.parse().expect("a ULID")
}

#[tokio::test]
async fn partial_refunds_add_up_exactly_and_not_one_unit_more_goes_back() {
    let world = world(SLOW).await;
    let sale = world
        .sale(json!({ "sale_price": 333, "original_price": 333, "total_stock": 3, "per_shopper_limit": 3 }))
        .await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 3).await;
    assert_eq!(bought.amount, 999);
    assert_eq!(world.refund(&bought, json!({})).await.1["code"], "not_paid");
    shopper.ok(pay(&bought, "approve")).await;
    for (body, status, code) in [
        (json!({ "amount": 0 }), 422, "invalid_field"),
        (json!({ "amount": -1 }), 422, "invalid_field"),
        (json!({ "amount": 1.5 }), 422, "invalid_field"),
        (json!({ "amount": 1e30 }), 422, "invalid_field"),
        (json!({ "amount": 1000 }), 422, "refund_too_much"),
    ] {
        let (got, answer) = world.refund(&bought, body.clone()).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{body}");
    }
    let theirs = (404, Some("order_unknown"));
    for (who, role, refused) in [
        ("u1", Role::Shopper, (403, Some("forbidden"))),
        ("another", Role::Merchant, theirs),
    ] {
        let path = format!("/admin/orders/{}/refund", bought.order);
        let (status, answer) = world
            .call("POST", &path, &world.token(who, role), None, json!({}))
            .await;
        assert_eq!((status, answer["code"].as_str()), refused, "{who}");
    }
    for part in [1, 332, 333] {
        let (status, answer) = world
            .refund(&bought, json!({ "amount": part, "reason": "a scratch" }))
            .await;
        assert_eq!(
            (status, answer["order"]["order_status"].as_str()),
            (200, Some("confirmed")),
            "{answer}"
        );
    }
    assert_eq!(
        world.refund(&bought, json!({ "amount": 334 })).await.1["code"],
        "refund_too_much"
    );
    let (status, answer) = world.refund(&bought, json!({})).await;
    assert_eq!(
        (status, answer["refund"]["amount"].as_i64()),
        (200, Some(333)),
        "the rest"
    );
    assert_eq!(answer["order"]["reason"], "refunded");
    assert_eq!(
        world.refund(&bought, json!({})).await.1["code"],
        "already_refunded"
    );
    let payment = world.payment_until(&bought, "refunded").await;
    let parts: Vec<i64> = payment["refunds"]
        .as_array()
        .expect("refunds")
        .iter()
        .filter_map(|r| r["amount"].as_i64())
        .collect();
    assert_eq!(parts, [1, 332, 333, 333]);
    let back = order_until(&mut shopper, &bought, |order| order.refunded == 999).await;
    assert_eq!(
        (back.status, back.reason),
        (OrderStatus::Cancelled, Some(Reason::Refunded))
    );
    let mut other = world.shopper("u2").await;
    buy(&mut other, sale, 3).await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_refund_under_one_key_happens_once() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "approve")).await;
    let path = format!("/admin/orders/{}/refund", bought.order);
    let boss = world.token("boss", Role::Admin);
    let ask = |amount: i64| {
        world.call(
            "POST",
            &path,
            &boss,
            Some("refund-1"),
            json!({ "amount": amount }),
        )
    };
    let both = tokio::join!(ask(30), ask(30));
    assert_eq!((both.0.0, both.1.0), (200, 200), "{both:?}");
    assert_eq!(both.0.1["refund"]["refund_id"], both.1.1["refund"]["refund_id"]);
    assert_eq!(ask(40).await.1["code"], "command_id_reused");
    let seen = world.seen(&bought).await;
    assert_eq!(seen["payments"][0]["refund_asked"], 30);
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

// ----------------------------------------------------------------------------------------------------- one id, one answer

#[tokio::test]
async fn a_pay_that_comes_twice_at_once_is_one_payment_and_another_payload_is_refused() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let (mut one, mut two) = (world.shopper("u1").await, world.shopper("u1").await);
    let (id, command) = (command_id(), pay(&bought, "approve"));
    let (first, second) = tokio::join!(one.ask_as(id, command.clone()), two.ask_as(id, command.clone()));
    assert_eq!(first, second);
    assert_eq!(order(first.expect("paid")).status, OrderStatus::Confirmed);
    let other = world
        .shopper("u1")
        .await
        .ask_as(id, pay(&bought, "decline"))
        .await
        .expect_err("another payload");
    assert_eq!(other.code, Code::CommandIdReused);
    let thief = world
        .shopper("u2")
        .await
        .ask(pay(&bought, "approve"))
        .await
        .expect_err("not theirs");
    assert_eq!(thief.code, Code::OrderUnknown);
    let again = shopper
        .ask(pay(&bought, "approve"))
        .await
        .expect_err("paid before");
    assert_eq!(again.code, Code::OrderConfirmed);
    assert_eq!(
        world.seen(&bought).await["payments"].as_array().map(Vec::len),
        Some(1)
    );
    // Even when the order has come to an end since.
    let before = world.shopper("u1").await.ask_as(id, command.clone()).await;
    assert_eq!(world.refund(&bought, json!({})).await.0, 200);
    assert_eq!(world.shopper("u1").await.ask_as(id, command).await, before);
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_cancel_has_one_answer_for_ever_also_when_it_was_refused() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "approve")).await;
    let (id, command) = (command_id(), ShopCommand::Cancel { order: bought.order });
    let refusal = shopper.ask_as(id, command.clone()).await.expect_err("it is paid");
    assert_eq!(refusal.code, Code::OrderConfirmed);
    assert_eq!(world.refund(&bought, json!({})).await.0, 200);
    let again = world
        .shopper("u1")
        .await
        .ask_as(id, command)
        .await
        .expect_err("as before");
    assert_eq!(again, refusal);
    let reused = world
        .shopper("u1")
        .await
        .ask_as(id, pay(&bought, "approve"))
        .await
        .expect_err("a used id");
    assert_eq!(reused.code, Code::CommandIdReused);
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

// ----------------------------------------------------------------------------------------------------------------- races

#[tokio::test]
async fn pay_cancel_and_expiry_at_once_leave_no_money_without_a_unit_and_no_unit_without_money() {
    const SHOPPERS: usize = 24;
    let world = world("400").await;
    let sale = world
        .sale(json!({ "payment_ms": 400, "total_stock": SHOPPERS }))
        .await;
    let cards = [
        "approve",
        "slow",
        "late",
        "down",
        "capture_fails",
        "webhook_first",
    ];
    let shoppers = (0..SHOPPERS).map(|i| {
        let (world, card) = (&world, cards[i % cards.len()]);
        async move {
            let who = format!("u{i}");
            let mut shopper = world.shopper(&who).await;
            let bought = buy(&mut shopper, sale, 1).await;
            let mut canceller = world.shopper(&who).await;
            let paying = shopper.ask(pay(&bought, card));
            let cancelling = async {
                // Some cancel while they pay; the others pay, or their time runs out.
                if i % 3 == 0 {
                    let _ = canceller.ask(ShopCommand::Cancel { order: bought.order }).await;
                }
            };
            let _ = tokio::join!(paying, cancelling);
            bought
        }
    });
    futures_util::future::join_all(shoppers).await;
    // Until every order is decided and every payment settled.
    let until = Instant::now() + DEADLINE;
    let store = &world.server.app.shop.store;
    while store
        .orders_of_sale(sale)
        .await
        .expect("Postgres")
        .iter()
        .any(|row| row.status == OrderStatus::Pending)
    {
        assert!(Instant::now() < until, "an order stays pending");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.check_money(&[sale]).await;
    let mut ends: HashMap<(OrderStatus, Option<Reason>), usize> = HashMap::new();
    for row in store.orders_of_sale(sale).await.expect("Postgres") {
        *ends.entry((row.status, row.reason)).or_default() += 1;
    }
    assert!(ends.len() >= 3, "the race has several ends: {ends:?}");
    let sold = world
        .server
        .app
        .shop
        .find_sale(sale)
        .await
        .expect("Postgres")
        .expect("the sale");
    loop {
        let counters = world
            .server
            .app
            .shop
            .stock
            .sale_counters(&sold)
            .await
            .expect("Redis");
        let allocated: u32 = store
            .lanes(sale)
            .await
            .expect("Postgres")
            .iter()
            .map(|lane| lane.allocated)
            .sum();
        assert!(counters.balanced(), "{counters:?}");
        if counters.sold == u64::from(allocated) && counters.available == SHOPPERS as u64 - counters.sold {
            break;
        }
        assert!(
            Instant::now() < until,
            "units do not come back: {counters:?}, allocated {allocated}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_sale_whose_money_cannot_be_counted_is_refused() {
    let world = world(SLOW).await;
    let answer = world
        .create_sale(json!({ "sale_price": 1_000_000_000_000_i64, "original_price": 1_000_000_000_000_i64, "total_stock": 100_000_000 }))
        .await;
    assert_eq!(
        (answer.status, answer.body["code"].as_str()),
        (422, Some("invalid_field")),
        "{}",
        answer.body
    );
    for (currency, status) in [
        ("KWD", 201),
        ("CLF", 201),
        ("XAU", 422),
        ("XXX", 422),
        ("eur", 422),
    ] {
        assert_eq!(
            world.create_sale(json!({ "currency": currency })).await.status,
            status,
            "{currency}"
        );
    }
    world.server.stop().await;
}

//! The hand-off: the shop's own checkout takes the money. Its backend redeems, confirms before it captures, fails, extends, and gives
//! money back; twice, eight times at once, too late, with another's key.

use super::*;
use crate::harness::{Answer, QUICK};
use chrono::{DateTime, TimeDelta, Utc};
use flashsale_engine::seal::HandedOver;
use flashsale_protocol::Handoff;

const CHECKOUT: &str = "https://lamps.example/checkout?lang=en";

/// A shop with its own checkout, and its backend's key.
struct Shop {
    world: World,
    id: String,
    key: String,
}

impl Shop {
    async fn open() -> Self {
        Self::with(&[]).await
    }

    async fn with(flags: &[&str]) -> Self {
        let world = World::with(&[QUICK, &["--payments", "merchant"], flags].concat()).await;
        let id = merchant(&world, "Lamps").await;
        let key = key(&world, &id, &["orders:read", "orders:write"]).await;
        let shop = Self { world, id, key };
        shop.set(json!({ "checkout_url": CHECKOUT })).await;
        shop
    }

    async fn set(&self, body: Value) {
        let path = format!("/admin/merchants/{}", self.id);
        let boss = self.world.token("boss", Role::Admin);
        let set = self
            .world
            .rest(Method::PATCH, &path, Some(&boss), &[], body.to_string());
        let set = set.await;
        assert_eq!(set.status, 200, "{set:?}");
    }

    async fn sale(&self, mut fields: Value) -> SaleId {
        fields["merchant"] = json!(self.id);
        self.world.sale(fields).await
    }

    /// A request of its backend.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        self.ask_as(&self.key, method, path, body, None).await
    }

    async fn ask_as(&self, key: &str, method: Method, path: &str, body: Value, once: Option<&str>) -> Answer {
        let once = once.map(|once| ("idempotency-key", once));
        let headers: Vec<(&str, &str)> = once.into_iter().collect();
        self.world
            .rest(
                method,
                &format!("/admin{path}"),
                Some(key),
                &headers,
                body.to_string(),
            )
            .await
    }

    async fn redeem(&self, token: &str, once: Option<&str>) -> Answer {
        let body = json!({ "token": token });
        self.ask_as(&self.key, Method::POST, "/handoffs/redeem", body, once)
            .await
    }

    async fn confirm(&self, handed: &Handed) -> Answer {
        let body = json!({ "amount": handed.amount, "currency": "EUR", "reference": "ch_1" });
        self.step(handed, "confirm", body).await
    }

    async fn step(&self, handed: &Handed, step: &str, body: Value) -> Answer {
        let path = format!("/handoffs/{}/{step}", handed.payment);
        self.ask(Method::POST, &path, body).await
    }

    /// A shopper buys, and comes to the checkout.
    async fn hand_over(&self, shopper: &mut Client, sale: SaleId) -> (Order, Handed) {
        let bought = buy(shopper, sale, 1).await;
        let handed = self.come(shopper, &bought).await;
        (bought, handed)
    }

    async fn come(&self, shopper: &mut Client, bought: &Order) -> Handed {
        let token = handoff_of(shopper.ok(pay(bought, "handoff")).await).token;
        let redeemed = self.redeem(&token, None).await;
        assert_eq!(redeemed.status, 200, "{redeemed:?}");
        Handed {
            payment: text(&redeemed.body, "payment_id"),
            amount: redeemed.body["amount"].as_i64().expect("a number"),
        }
    }

    async fn check(self, sales: &[SaleId]) {
        self.world.check_money(sales).await;
        crate::audit::verify_all(&self.world).await;
        self.world.server.stop().await;
    }
}

/// A payment that the shop has.
struct Handed {
    payment: String,
    amount: i64,
}

fn text(body: &Value, name: &str) -> String {
    let text = body[name].as_str();
    text.unwrap_or_else(|| panic!("no {name}: {body}")).to_owned()
}

fn handoff_of(done: Done) -> Handoff {
    let order = order(done);
    assert!(order.paying, "{order:?}");
    *order.handoff.expect("a hand-off")
}

async fn merchant(world: &World, name: &str) -> String {
    let boss = world.token("boss", Role::Admin);
    let body = json!({ "name": name }).to_string();
    let made = world
        .rest(Method::POST, "/admin/merchants", Some(&boss), &[], body)
        .await;
    text(&made.body, "merchant_id")
}

async fn key(world: &World, shop: &str, scopes: &[&str]) -> String {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/merchants/{shop}/api-keys");
    let body = json!({ "name": "the checkout", "scopes": scopes }).to_string();
    let made = world.rest(Method::POST, &path, Some(&boss), &[], body).await;
    text(&made.body, "secret")
}

fn time(body: &Value, name: &str) -> DateTime<Utc> {
    text(body, name).parse().expect("a time")
}

/// How often each kind stands in the log, with the kind of who did it.
async fn count(world: &World, sale: SaleId, kind: &str, actor: &str) -> usize {
    let rows = crate::audit::rows(world, sale).await;
    let those = rows
        .iter()
        .filter(|row| row.kind == kind && row.actor["kind"] == actor);
    those.count()
}

#[tokio::test]
async fn a_shopper_is_handed_over_and_the_shop_confirms_before_it_captures() {
    let shop = Shop::open().await;
    let sale = shop.sale(json!({ "product_id": "lamp-1" })).await;
    let mut shopper = shop.world.shopper("u1").await;
    let mut other_tab = shop.world.shopper("u1").await;
    other_tab.watch(sale).await;
    let bought = buy(&mut shopper, sale, 1).await;
    let handoff = handoff_of(shopper.ok(pay(&bought, "handoff")).await);
    assert_eq!(handoff.url, format!("{CHECKOUT}&handoff={}", handoff.token));
    assert_eq!(handoff.expires_at, bought.expires_at);
    let told = order_until(&mut other_tab, &bought, |order| order.paying).await;
    assert_eq!(told.handoff, None, "only who asked is told");

    let redeemed = shop.redeem(&handoff.token, None).await;
    assert_eq!(redeemed.status, 200, "{redeemed:?}");
    let body = &redeemed.body;
    assert_eq!(
        (&body["state"], &body["order_status"], &body["product_id"]),
        (&json!("open"), &json!("pending"), &json!("lamp-1"))
    );
    assert_eq!((&body["amount"], &body["currency"]), (&json!(100), &json!("EUR")));
    assert_eq!(text(body, "order_id"), bought.order.to_string());
    let handed = Handed {
        payment: text(body, "payment_id"),
        amount: 100,
    };
    let confirmed = shop.confirm(&handed).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let state = (&confirmed.body["state"], &confirmed.body["order_status"]);
    assert_eq!(state, (&json!("confirmed"), &json!("confirmed")));
    order_until(&mut shopper, &bought, is(OrderStatus::Confirmed)).await;
    order_until(&mut other_tab, &bought, is(OrderStatus::Confirmed)).await;
    let shown = shop
        .ask(Method::GET, &format!("/handoffs/{}", handed.payment), json!({}))
        .await;
    assert_eq!(shown.body, confirmed.body);
    let payment = shop.world.payment_until(&bought, "captured").await;
    assert_eq!(
        (&payment["answer"], &payment["reference"]),
        (&json!("ok"), &json!("ch_1"))
    );
    let again = shopper
        .ask(pay(&bought, "handoff"))
        .await
        .expect_err("it is paid");
    assert_eq!(again.code, Code::OrderConfirmed);
    for kind in ["handoff_redeemed", "order_confirmed"] {
        assert_eq!(count(&shop.world, sale, kind, "api_key").await, 1, "{kind}");
    }
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn a_handoff_is_redeemed_once_by_its_own_shop_and_in_time() {
    let shop = Shop::open().await;
    let world = &shop.world;
    let sale = shop.sale(json!({ "total_stock": 2 })).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let (id, command) = (command_id(), pay(&bought, "handoff"));
    let first = handoff_of(shopper.ask_as(id, command.clone()).await.expect("an order")).token;
    // The same command gets the same hand-off, another one a new one.
    let same = handoff_of(shopper.ask_as(id, command.clone()).await.expect("an order")).token;
    assert_eq!(first, same);
    let second = handoff_of(shopper.ok(command).await).token;
    assert_ne!(first, second);

    let others = merchant(world, "Chairs").await;
    let others = key(world, &others, &["orders:write"]).await;
    let reader = key(world, &shop.id, &["orders:read"]).await;
    let body = json!({ "token": first });
    let redeem = async |key: &str, body: &Value| {
        shop.ask_as(key, Method::POST, "/handoffs/redeem", body.clone(), None)
            .await
            .refusal()
    };
    assert_eq!(redeem(&others, &body).await, Code::PaymentUnknown);
    assert_eq!(redeem(&reader, &body).await, Code::ScopeMissing);
    assert_eq!(redeem("fsk_nothing", &body).await, Code::TokenInvalid);
    assert_eq!(
        redeem(&world.token("u1", Role::Shopper), &body).await,
        Code::Forbidden
    );
    let claims = flashsale_protocol::PaymentId::from_parts(1, 1);
    let made = |expires_at_ms| {
        let handed_over = HandedOver {
            name: command_id(),
            payment: claims,
            order: bought.order,
            sale,
            merchant: &shop.id,
            amount: 100,
            currency: "EUR",
            expires_at_ms,
        };
        world.server.app.shop.seal.handoff(handed_over).expect("signs")
    };
    let parts: Vec<&str> = first.split('.').collect();
    let fresh = made(u64::MAX);
    let payload = fresh.split('.').nth(1).expect("a payload");
    let forged = format!("{}.{payload}.{}", parts[0], parts[2]);
    for (token, code) in [
        (String::new(), Code::InvalidField),
        ("nonsense".into(), Code::HandoffInvalid),
        // Another payment under the signature of this one.
        (forged, Code::HandoffInvalid),
        (made(1_000), Code::HandoffExpired),
        (fresh.clone(), Code::PaymentUnknown),
    ] {
        assert_eq!(
            redeem(&shop.key, &json!({ "token": token })).await,
            code,
            "{token}"
        );
    }
    assert_eq!(redeem(&shop.key, &json!({})).await, Code::InvalidField);

    // Eight at once: one has it. Its own request may come again, because its answer may have been lost.
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    let all = join_all(keys.iter().map(|key| shop.redeem(&first, Some(key)))).await;
    let taken: Vec<usize> = (0..8).filter(|n| all[*n].status == 200).collect();
    let [winner] = taken.as_slice() else {
        panic!("{all:?}")
    };
    for (n, answer) in all.iter().enumerate().filter(|(n, _)| n != winner) {
        assert_eq!(answer.refusal(), Code::HandoffUsed, "{n}");
    }
    let again = shop.redeem(&first, Some(&keys[*winner])).await;
    assert_eq!((again.status, &again.body), (200, &all[*winner].body));
    assert_eq!(shop.redeem(&first, None).await.refusal(), Code::HandoffUsed);
    // The shopper has come back with the other one.
    assert_eq!(shop.redeem(&second, None).await.status, 200);
    assert_eq!(count(world, sale, "handoff_redeemed", "api_key").await, 2);

    // Of an order that cannot be paid there is nothing to take over.
    let third = handoff_of(shopper.ok(pay(&bought, "handoff")).await).token;
    shopper.ok(ShopCommand::Cancel { order: bought.order }).await;
    assert_eq!(shop.redeem(&third, None).await.refusal(), Code::OrderCancelled);
    // What was answered is answered again.
    assert_eq!(shop.redeem(&first, Some(&keys[*winner])).await.status, 200);
    let payment = text(&again.body, "payment_id");
    for (key, code) in [(&others, Code::PaymentUnknown), (&reader, Code::ScopeMissing)] {
        for step in ["confirm", "fail", "extend"] {
            let path = format!("/handoffs/{payment}/{step}");
            let body = json!({ "amount": 100, "currency": "EUR" });
            let body = match step {
                "confirm" => body,
                "fail" => json!({}),
                _ => json!({ "expires_at": Utc::now().to_rfc3339() }),
            };
            let answer = shop.ask_as(key, Method::POST, &path, body, None).await;
            assert_eq!(answer.refusal(), code, "{step}");
        }
    }
    shop.step(&Handed { payment, amount: 100 }, "fail", json!({}))
        .await;
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn eight_confirmations_at_once_have_one_effect_and_one_answer_for_good() {
    let shop = Shop::open().await;
    // Before there is a process of which it is not known yet what it can read: the sale would be of an older format.
    let sale = shop.sale(json!({})).await;
    let other = shop.world.another("127.0.0.1:0").await;
    let mut shopper = shop.world.shopper("u1").await;
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    let elsewhere = async || {
        let url = format!(
            "http://{}/admin/handoffs/{}/confirm",
            other.address, handed.payment
        );
        let body = json!({ "amount": 100, "currency": "EUR", "reference": "ch_1" });
        let sent = shop
            .world
            .http
            .post(url)
            .bearer_auth(&shop.key)
            .json(&body)
            .send();
        sent.await.expect("an answer").status().as_u16()
    };
    let here = join_all((0..4).map(|_| shop.confirm(&handed)));
    let there = join_all((0..4).map(|_| elsewhere()));
    let (here, there) = tokio::join!(here, there);
    assert!(here.iter().all(|answer| answer.status == 200), "{here:?}");
    assert!(there.iter().all(|status| *status == 200), "{there:?}");
    let rows = crate::audit::rows(&shop.world, sale).await;
    let confirmed: Vec<_> = rows.iter().filter(|row| row.kind == "order_confirmed").collect();
    assert!(
        confirmed.len() == 1 && confirmed[0].actor["kind"] == "api_key",
        "{rows:#?}"
    );
    // Also when the answer was lost, and much has happened since.
    let (status, body) = shop.world.refund(&bought, json!({})).await;
    assert_eq!(status, 200, "{body}");
    let late = shop.confirm(&handed).await;
    assert_eq!(
        (late.status, &late.body["refund_asked"]),
        (200, &json!(100)),
        "{late:?}"
    );
    let refund = format!("/refunds/{}-1/done", handed.payment);
    assert_eq!(shop.ask(Method::POST, &refund, json!({})).await.status, 200);
    // Once all of it has gone back, there is nothing to capture.
    assert_eq!(shop.confirm(&handed).await.refusal(), Code::AlreadyRefunded);
    other.stop().await;
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn another_amount_or_currency_is_not_confirmed() {
    let shop = Shop::open().await;
    let sale = shop.sale(json!({})).await;
    let mut shopper = shop.world.shopper("u1").await;
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    for body in [
        json!({ "amount": 99, "currency": "EUR" }),
        json!({ "amount": 100, "currency": "USD" }),
    ] {
        let answer = shop.step(&handed, "confirm", body).await;
        assert_eq!(answer.refusal(), Code::PaymentMismatch);
    }
    for body in [
        json!({ "amount": 100 }),
        json!({ "amount": "100", "currency": "EUR" }),
        json!({ "amount": 100, "currency": "EUR", "refrence": "typed wrongly" }),
        json!({ "amount": 100, "currency": "EUR", "reference": "x".repeat(256) }),
    ] {
        assert_eq!(
            shop.step(&handed, "confirm", body).await.refusal(),
            Code::InvalidField
        );
    }
    assert_eq!(shop.world.seen(&bought).await["order"]["order_status"], "pending");
    assert_eq!(count(&shop.world, sale, "payment_mismatch", "api_key").await, 2);
    assert_eq!(shop.confirm(&handed).await.status, 200);
    // Two tabs have got to the end of the checkout: the second charge is another one.
    let second = json!({ "amount": 100, "currency": "EUR", "reference": "ch_2" });
    assert_eq!(
        shop.step(&handed, "confirm", second).await.refusal(),
        Code::PaymentMismatch
    );
    assert_eq!(shop.confirm(&handed).await.status, 200);
    for of_nobody in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense"] {
        let handed = Handed {
            payment: of_nobody.into(),
            amount: 100,
        };
        assert_eq!(shop.confirm(&handed).await.refusal(), Code::PaymentUnknown);
    }
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn of_a_confirmation_and_a_cancellation_at_once_one_wins_and_both_know() {
    const SHOPPERS: usize = 12;
    let shop = Shop::open().await;
    let sale = shop.sale(json!({ "total_stock": SHOPPERS })).await;
    let mut won = 0;
    for n in 0..SHOPPERS {
        let mut shopper = shop.world.shopper(&format!("u{n}")).await;
        let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
        let cancel = async {
            // Both are first now and then.
            tokio::time::sleep(Duration::from_millis(n as u64 % 4)).await;
            shopper.ask(ShopCommand::Cancel { order: bought.order }).await
        };
        let (confirmed, cancelled) = tokio::join!(shop.confirm(&handed), cancel);
        match confirmed.status {
            200 => {
                won += 1;
                assert_eq!(cancelled.expect_err("paid").code, Code::OrderConfirmed);
            }
            _ => {
                assert_eq!(confirmed.refusal(), Code::OrderCancelled);
                assert_eq!(
                    order(cancelled.expect("cancelled")).status,
                    OrderStatus::Cancelled
                );
                // The answer stays, so that nothing is captured later.
                assert_eq!(shop.confirm(&handed).await.refusal(), Code::OrderCancelled);
            }
        }
    }
    let refused = count(&shop.world, sale, "handoff_refused", "api_key").await;
    assert_eq!(won + refused, SHOPPERS);
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn a_confirmation_around_the_end_of_the_time_to_pay_gets_one_answer_that_is_true() {
    const SHOPPERS: usize = 8;
    let shop = Shop::open().await;
    let sale = shop
        .sale(json!({ "payment_ms": 1_500, "total_stock": SHOPPERS }))
        .await;
    let mut all = Vec::new();
    for n in 0..SHOPPERS {
        let mut shopper = shop.world.shopper(&format!("u{n}")).await;
        let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
        all.push((n, bought, handed));
    }
    let shop = &shop;
    let asked = all.into_iter().map(|(n, bought, handed)| async move {
        let now = Utc::now().timestamp_millis();
        // From a little before the end to a little after it.
        let wait = bought.expires_at as i64 - now - 40 + 10 * n as i64;
        tokio::time::sleep(Duration::from_millis(wait.max(0) as u64)).await;
        let first = shop.confirm(&handed).await;
        let again = shop.confirm(&handed).await;
        assert_eq!(first.status, again.status, "{first:?} {again:?}");
        let is_paid = first.status == 200;
        if !is_paid {
            let code = first.refusal();
            assert!(
                [Code::PaymentTooLate, Code::OrderCancelled].contains(&code),
                "{first:?}"
            );
            assert_eq!(again.refusal(), code, "one answer for good");
        }
        let status = if is_paid { "confirmed" } else { "cancelled" };
        let seen = shop
            .world
            .seen_until(&bought, |seen| seen["order"]["order_status"] == status);
        seen.await;
    });
    join_all(asked).await;
    shop.world.check_money(&[sale]).await;
    crate::audit::verify_all(&shop.world).await;
}

#[tokio::test]
async fn nothing_is_confirmed_after_the_time_and_an_open_payment_ends_with_it() {
    let shop = Shop::open().await;
    let sale = shop.sale(json!({ "payment_ms": 300, "total_stock": 2 })).await;
    let mut shopper = shop.world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    let token = handoff_of(shopper.ok(pay(&bought, "handoff")).await).token;
    let gone = order_until(&mut shopper, &bought, is(OrderStatus::Cancelled)).await;
    assert_eq!(gone.reason, Some(Reason::Unpaid));
    let payment = shop.world.payment_until(&bought, "voided").await;
    assert_eq!(payment["answer"], "order_cancelled");
    // Its signature says a whole second.
    let refused = shop.redeem(&token, None).await.refusal();
    assert!(
        [Code::OrderCancelled, Code::HandoffExpired].contains(&refused),
        "{refused:?}"
    );
    let handed = Handed {
        payment: text(&payment, "payment_id"),
        amount: 100,
    };
    assert_eq!(shop.confirm(&handed).await.refusal(), Code::OrderCancelled);
    let until = json!({ "expires_at": (Utc::now() + TimeDelta::seconds(60)).to_rfc3339() });
    let extended = shop.step(&handed, "extend", until).await;
    assert_eq!(extended.refusal(), Code::OrderCancelled);
    assert_eq!(
        shop.step(&handed, "fail", json!({})).await.status,
        200,
        "it is over anyway"
    );
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn an_order_waits_longer_when_the_shop_asks_up_to_the_most() {
    let shop = Shop::open().await;
    shop.set(json!({ "checkout_max_s": 600 })).await;
    let sale = shop.sale(json!({ "payment_ms": 2_000, "total_stock": 2 })).await;
    let mut shopper = shop.world.shopper("u1").await;
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    let shown = async || {
        shop.ask(Method::GET, &format!("/handoffs/{}", handed.payment), json!({}))
            .await
            .body
    };
    let latest = time(&shown().await, "extendable_until");
    let made = DateTime::from_timestamp_millis(bought.created_at as i64).expect("a time");
    assert_eq!((latest - made).num_seconds(), 600);
    let ask = async |until: DateTime<Utc>| {
        let body = json!({ "expires_at": until.to_rfc3339() });
        shop.step(&handed, "extend", body).await
    };
    let refused = ask(latest + TimeDelta::seconds(1)).await;
    assert_eq!(refused.refusal(), Code::ExtensionTooLong);
    assert!(
        refused
            .detail()
            .contains(&text(&shown().await, "extendable_until")),
        "{refused:?}"
    );
    let minute = made + TimeDelta::seconds(60);
    let all = join_all((0..8).map(|_| ask(minute))).await;
    for answer in &all {
        assert_eq!(
            (answer.status, time(&answer.body, "expires_at")),
            (200, minute),
            "{answer:?}"
        );
    }
    order_until(&mut shopper, &bought, |order| {
        order.expires_at == minute.timestamp_millis() as u64
    })
    .await;
    // An old request makes it no shorter.
    let old = ask(made + TimeDelta::seconds(30)).await;
    assert_eq!((old.status, time(&old.body, "expires_at")), (200, minute));
    assert_eq!(count(&shop.world, sale, "order_extended", "api_key").await, 1);
    // Beyond its first time the order is still there. Another one, which nobody extends, says when that is over.
    let mut second = shop.world.shopper("u2").await;
    let other = buy(&mut second, sale, 1).await;
    order_until(&mut second, &other, is(OrderStatus::Cancelled)).await;
    assert_eq!(shop.confirm(&handed).await.status, 200);
    assert_eq!(ask(latest).await.refusal(), Code::OrderConfirmed);
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn a_payment_that_fails_leaves_the_order_for_another_try() {
    let shop = Shop::open().await;
    let sale = shop.sale(json!({})).await;
    let mut shopper = shop.world.shopper("u1").await;
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    let body = json!({ "reason": "the card has expired" });
    for _ in 0..2 {
        let failed = shop.step(&handed, "fail", body.clone()).await;
        assert_eq!(
            (failed.status, &failed.body["state"]),
            (200, &json!("over")),
            "{failed:?}"
        );
    }
    let declined = order_until(&mut shopper, &bought, |order| order.declined.is_some()).await;
    assert_eq!(
        declined.declined.expect("a refusal").reason,
        "the card has expired"
    );
    assert_eq!(count(&shop.world, sale, "handoff_failed", "api_key").await, 1);
    let next = shop.come(&mut shopper, &bought).await;
    assert_ne!(next.payment, handed.payment);
    // A late request about the first one takes nothing.
    assert_eq!(shop.confirm(&handed).await.refusal(), Code::HandoffOver);
    assert_eq!(shop.confirm(&next).await.status, 200);
    assert_eq!(shop.confirm(&handed).await.refusal(), Code::HandoffOver);
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn a_capture_that_fails_after_the_confirmation_gives_the_units_back() {
    let shop = Shop::open().await;
    let sale = shop.sale(json!({})).await;
    let mut shopper = shop.world.shopper("u1").await;
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    assert_eq!(shop.confirm(&handed).await.status, 200);
    let all = join_all((0..8).map(|_| shop.step(&handed, "fail", json!({ "reason": "no money" })))).await;
    assert!(all.iter().all(|answer| answer.status == 200), "{all:?}");
    let gone = order_until(&mut shopper, &bought, is(OrderStatus::Cancelled)).await;
    assert_eq!(gone.reason, Some(Reason::PaymentFailed));
    assert_eq!(count(&shop.world, sale, "order_cancelled", "api_key").await, 1);
    // An old request for the same money.
    assert_eq!(shop.confirm(&handed).await.refusal(), Code::HandoffOver);
    let mut next = shop.world.shopper("u2").await;
    let (_, handed) = shop.hand_over(&mut next, sale).await;
    assert_eq!(shop.confirm(&handed).await.status, 200);
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn refunds_are_asked_of_the_shop_and_acknowledged_by_it() {
    let shop = Shop::open().await;
    let world = &shop.world;
    let sale = shop.sale(json!({ "total_stock": 2 })).await;
    let mut shopper = world.shopper("u1").await;
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    assert_eq!(shop.confirm(&handed).await.status, 200);
    let part = json!({ "amount": 40, "reason": "scratched" });
    assert_eq!(world.refund(&bought, part).await.0, 200);
    assert_eq!(world.refund(&bought, json!({})).await.0, 200);
    let asked = async |key: &str, query: &str| {
        let path = format!("/refunds{query}");
        shop.ask_as(key, Method::GET, &path, json!({}), None).await
    };
    let list = asked(&shop.key, "").await.body;
    let amounts: Vec<i64> = list["refunds"]
        .as_array()
        .expect("refunds")
        .iter()
        .filter_map(|refund| refund["amount"].as_i64())
        .collect();
    assert_eq!((amounts, &list["next"]), (vec![40, 60], &Value::Null), "{list}");
    let first = &list["refunds"][0];
    assert_eq!(
        (&first["reason"], &first["reference"]),
        (&json!("scratched"), &json!("ch_1"))
    );
    let page = asked(&shop.key, "?limit=1").await.body;
    assert_eq!(page["refunds"].as_array().map(Vec::len), Some(1));
    let page = asked(&shop.key, &format!("?limit=1&after={}", text(&page, "next")))
        .await
        .body;
    assert_eq!(page["refunds"][0]["amount"], 60);
    for wrong in ["?limit=0", "?limit=501", "?page=2"] {
        assert_eq!(
            asked(&shop.key, wrong).await.refusal(),
            Code::InvalidField,
            "{wrong}"
        );
    }
    let others = merchant(world, "Chairs").await;
    let others = key(world, &others, &["orders:read", "orders:write"]).await;
    assert_eq!(asked(&others, "").await.body["refunds"], json!([]));

    let ids: Vec<String> = list["refunds"]
        .as_array()
        .expect("refunds")
        .iter()
        .map(|refund| text(refund, "refund_id"))
        .collect();
    let done = async |key: &str, id: &str| {
        let path = format!("/refunds/{id}/done");
        shop.ask_as(key, Method::POST, &path, json!({}), None).await
    };
    assert_eq!(done(&others, &ids[0]).await.refusal(), Code::PaymentUnknown);
    assert_eq!(done(&shop.key, "nothing").await.refusal(), Code::PaymentUnknown);
    // The shop has it in its hands: nobody else does it.
    assert_eq!(world.seen(&bought).await["payments"][0]["refunded"], 0);
    let all = join_all((0..8).map(|_| done(&shop.key, &ids[0]))).await;
    for answer in &all {
        assert_eq!(
            (answer.status, &answer.body["status"]),
            (200, &json!("done")),
            "{answer:?}"
        );
    }
    assert_eq!(done(&shop.key, &ids[1]).await.status, 200);
    assert_eq!(done(&shop.key, &ids[1]).await.status, 200, "again");
    assert_eq!(count(world, sale, "refund_done", "api_key").await, 2);
    let back = order_until(&mut shopper, &bought, |order| order.refunded == 100).await;
    assert_eq!(
        (back.status, back.reason),
        (OrderStatus::Cancelled, Some(Reason::Refunded))
    );
    assert_eq!(asked(&shop.key, "").await.body["refunds"], json!([]));
    // Money that went back was there.
    let failed = shop.step(&handed, "fail", json!({})).await;
    assert_eq!(failed.refusal(), Code::AlreadyRefunded);

    // A refund of money that never came is dropped, when the shop says so.
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    assert_eq!(shop.confirm(&handed).await.status, 200);
    assert_eq!(world.refund(&bought, json!({})).await.0, 200);
    assert_eq!(shop.step(&handed, "fail", json!({})).await.status, 200);
    assert_eq!(asked(&shop.key, "").await.body["refunds"], json!([]));
    let late = done(&shop.key, &format!("{}-1", handed.payment)).await;
    assert_eq!((late.status, &late.body["status"]), (200, &json!("dropped")));
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn without_a_checkout_a_shop_sells_only_what_costs_nothing() {
    let shop = Shop::open().await;
    let world = &shop.world;
    let sale = shop.sale(json!({ "total_stock": 2 })).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shop.set(json!({ "checkout_url": "" })).await;
    let refused = shopper
        .ask(pay(&bought, "handoff"))
        .await
        .expect_err("no checkout");
    assert_eq!(
        (refused.code, refused.order),
        (Code::PaymentsOff, Some(bought.order))
    );
    let refused = world.create_sale(json!({ "merchant": shop.id })).await;
    assert_eq!(refused.refusal(), Code::PaymentsOff);
    assert!(refused.detail().contains("checkout_url"), "{refused:?}");
    let free = shop.sale(json!({ "sale_price": 0 })).await;
    let free_order = buy(&mut shopper, free, 1).await;
    assert_eq!(free_order.status, OrderStatus::Confirmed);
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/merchants/{}", shop.id);
    for (body, code) in [
        (
            json!({ "checkout_url": "http://lamps.example" }),
            Code::InvalidField,
        ),
        (
            json!({ "checkout_url": "http://127.0.0.1:9000" }),
            Code::InvalidField,
        ),
        (json!({ "checkout_max_s": -1 }), Code::InvalidField),
        (json!({ "checkout_max_s": 604_801 }), Code::InvalidField),
    ] {
        let answer = world
            .rest(Method::PATCH, &path, Some(&boss), &[], body.to_string())
            .await;
        assert_eq!(answer.refusal(), code, "{body}");
    }
    shop.set(json!({ "checkout_url": CHECKOUT })).await;
    let handed = shop.come(&mut shopper, &bought).await;
    assert_eq!(shop.confirm(&handed).await.status, 200);
    shop.check(&[sale]).await;
}

#[tokio::test]
async fn a_payment_stays_with_the_provider_that_it_was_begun_with() {
    let mut shop = Shop::open().await;
    let sale = shop.sale(json!({ "total_stock": 3 })).await;
    let mut shopper = shop.world.shopper("u1").await;
    let (bought, handed) = shop.hand_over(&mut shopper, sale).await;
    let mut second = shop.world.shopper("u2").await;
    let (refunded, of_second) = shop.hand_over(&mut second, sale).await;
    assert_eq!(shop.confirm(&of_second).await.status, 200);
    assert_eq!(shop.world.refund(&refunded, json!({})).await.0, 200);

    shop.world.restart_with("sandbox").await;
    // The sandbox is asked of none of this: it would say that it knows of no such payment.
    let mut third = shop.world.shopper("u3").await;
    let paid = buy(&mut third, sale, 1).await;
    third.ok(pay(&paid, "approve")).await;
    shop.world.payment_until(&paid, "captured").await;
    assert_eq!(shop.world.refund(&paid, json!({ "amount": 10 })).await.0, 200);
    let is_back = |seen: &Value| seen["payments"][0]["refunds"][0]["status"] == "done";
    shop.world.seen_until(&paid, is_back).await;
    let seen = shop.world.seen(&refunded).await;
    assert_eq!(seen["payments"][0]["refunds"][0]["status"], "wanted", "{seen}");
    let seen = shop.world.seen(&bought).await;
    assert_eq!(seen["payments"][0]["status"], "created", "{seen}");
    let (status, body) = shop
        .world
        .webhook(&event("evt_1", "payment.captured", &bought, &seen["payments"][0]))
        .await;
    assert_eq!((status, &body["code"]), (404, &json!("payment_unknown")));
    // Nor the shop of what the sandbox has.
    let of_sandbox = Handed {
        payment: text(&shop.world.seen(&paid).await["payments"][0], "payment_id"),
        amount: 100,
    };
    assert_eq!(shop.confirm(&of_sandbox).await.refusal(), Code::PaymentUnknown);
    assert_eq!(shop.confirm(&handed).await.status, 200);

    assert_eq!(shop.world.refund(&paid, json!({ "amount": 20 })).await.0, 200);
    shop.world
        .seen_until(&paid, |seen| {
            seen["payments"][0]["refunds"][1]["status"] == "done"
        })
        .await;
    shop.world.restart_with("merchant").await;
    assert_eq!(shop.world.refund(&paid, json!({ "amount": 30 })).await.0, 200);
    let refund = format!("/refunds/{}-1/done", of_second.payment);
    assert_eq!(shop.ask(Method::POST, &refund, json!({})).await.status, 200);
    let seen = shop.world.seen(&paid).await;
    assert_eq!(
        seen["payments"][0]["refunds"][2]["status"], "wanted",
        "it waits: {seen}"
    );
    shop.world.restart_with("sandbox").await;
    shop.check(&[sale]).await;
}

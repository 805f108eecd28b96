//! What happens at the provider without us: refunds made there, disputes, and why a payment was declined.

use super::*;

#[tokio::test]
async fn money_given_back_at_the_provider_is_noted_once_and_all_of_it_ends_the_order() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "approve")).await;
    let payment = world.payment_until(&bought, "captured").await;
    let sandbox = world.sandbox();
    assert!(
        sandbox
            .refund_there(id_of(&payment), "re_1", 40)
            .await
            .expect("Postgres")
    );
    let told = order_until(&mut shopper, &bought, |order| order.refunded == 40).await;
    assert_eq!(
        told.status,
        OrderStatus::Confirmed,
        "a part of it: the order stands"
    );

    // The same refund again: under its event's id and under others, one after the other and at once.
    let mut again = event("evt_re_1_refund.done", "refund.done", &bought, &payment);
    (again["amount"], again["refund"]) = (json!(40), json!("re_1"));
    assert_eq!(world.webhook(&again).await, (200, json!({ "taken": false })));
    let others = (0..8).map(|n| {
        let mut other = again.clone();
        other["id"] = json!(format!("again_{n}"));
        let world = &world;
        async move { world.webhook(&other).await.0 }
    });
    assert_eq!(join_all(others).await, [200; 8]);
    let mut lie = again.clone();
    (lie["id"], lie["amount"]) = (json!("lie"), json!(41));
    assert_eq!(world.webhook(&lie).await.1["code"], "payment_mismatch");
    let seen = world.seen(&bought).await;
    assert_eq!(
        (&seen["order"]["refunded"], &seen["payments"][0]["refunded"]),
        (&json!(40), &json!(40))
    );
    assert_eq!(world.told(sale, "refund_done").await, 1);

    assert!(
        !sandbox
            .refund_there(id_of(&payment), "re_2", 61)
            .await
            .expect("Postgres")
    );
    assert!(
        sandbox
            .refund_there(id_of(&payment), "re_3", 60)
            .await
            .expect("Postgres")
    );
    let told = order_until(&mut shopper, &bought, is(OrderStatus::Cancelled)).await;
    assert_eq!((told.reason, told.refunded), (Some(Reason::Refunded), 100));
    let payment = world.payment_until(&bought, "refunded").await;
    assert_eq!(payment["refunds"].as_array().map(Vec::len), Some(2), "{payment}");
    let mut more = again;
    (more["id"], more["refund"], more["amount"]) = (json!("more"), json!("re_4"), json!(1));
    for _ in 0..2 {
        assert_eq!(
            world.webhook(&more).await.1["code"],
            "payment_mismatch",
            "more than was paid"
        );
    }
    assert_eq!(
        world.told(sale, "payment_mismatch").await,
        2,
        "the lie, and more than was paid"
    );
    assert_eq!(
        world.refund(&bought, json!({})).await.1["code"],
        "already_refunded"
    );

    let mut next = world.shopper("u2").await;
    let theirs = buy(&mut next, sale, 1).await;
    next.ok(pay(&theirs, "approve")).await;
    world.payment_until(&theirs, "captured").await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn refunds_of_ours_and_at_the_provider_never_give_back_more_than_was_paid() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({ "total_stock": 2 })).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    // The provider refuses ours: meanwhile somebody gives the money back there.
    shopper.ok(pay(&bought, "refund_refused")).await;
    let payment = world.payment_until(&bought, "captured").await;
    let (status, answer) = world.refund(&bought, json!({})).await;
    assert_eq!(
        (status, answer["order"]["reason"].as_str()),
        (200, Some("refunded"))
    );
    let sandbox = world.sandbox();
    assert!(
        sandbox
            .refund_there(id_of(&payment), "re_1", 40)
            .await
            .expect("Postgres")
    );
    let refunds = |seen: &Value| -> Vec<(i64, String)> {
        let all = seen["payments"][0]["refunds"].as_array().expect("refunds").iter();
        let mut all: Vec<_> = all
            .map(|refund| {
                let status = refund["status"].as_str().expect("a word").to_owned();
                (refund["amount"].as_i64().expect("a number"), status)
            })
            .collect();
        all.sort();
        all
    };
    let of = |amount: i64, status: &str| (amount, status.to_owned());
    let seen = world
        .seen_until(&bought, |seen| seen["payments"][0]["refunded"] == 40)
        .await;
    assert_eq!(
        refunds(&seen),
        [of(40, "done"), of(60, "wanted"), of(100, "dropped")],
        "what is left goes back under a new id"
    );
    assert!(
        sandbox
            .refund_there(id_of(&payment), "re_2", 60)
            .await
            .expect("Postgres")
    );
    let seen = world
        .seen_until(&bought, |seen| seen["payments"][0]["status"] == "refunded")
        .await;
    assert_eq!(
        refunds(&seen),
        [
            of(40, "done"),
            of(60, "done"),
            of(60, "dropped"),
            of(100, "dropped")
        ]
    );

    // Ours and theirs at once: whichever comes first, all of the money goes back and none twice.
    let mut other = world.shopper("u2").await;
    let theirs = buy(&mut other, sale, 1).await;
    other.ok(pay(&theirs, "approve")).await;
    let payment = world.payment_until(&theirs, "captured").await;
    let (ours, there) = tokio::join!(
        world.refund(&theirs, json!({ "amount": 70 })),
        sandbox.refund_there(id_of(&payment), "re_9", 50),
    );
    let there = there.expect("Postgres");
    let back = match (ours.0, there) {
        (200, true) => 100,
        (200, false) => 70,
        // Theirs was known when ours was asked for.
        _ => 50,
    };
    let seen = world
        .seen_until(&theirs, |seen| {
            let open = refunds(seen).iter().any(|(_, status)| status == "wanted");
            let is_heard = seen["events"].as_array().is_some_and(|events| !events.is_empty());
            !open && (is_heard || !there)
        })
        .await;
    assert_eq!(seen["payments"][0]["refunded"], back, "{seen}");
    assert_eq!(seen["order"]["refunded"], back, "{seen}");
    let status = if back == 100 { "cancelled" } else { "confirmed" };
    assert_eq!(seen["order"]["order_status"], status, "{seen}");
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_refund_at_the_provider_may_be_heard_of_before_its_payment() {
    let world = world(NEVER).await;
    let sale = world.sale(json!({ "total_stock": 2 })).await;
    for (who, part) in [("u1", 100), ("u2", 30)] {
        let mut shopper = world.shopper(who).await;
        let bought = buy(&mut shopper, sale, 1).await;
        shopper.ok(pay(&bought, "slow")).await;
        let payment = world.seen(&bought).await["payments"][0].clone();
        let named = |name: &str| format!("{name}_{who}");
        let mut back = event(&named("r"), "refund.done", &bought, &payment);
        (back["refund"], back["amount"]) = (json!(named("re")), json!(part));
        let captured = event(&named("c"), "payment.captured", &bought, &payment);
        let authorized = event(&named("a"), "payment.authorized", &bought, &payment);
        for event in [&back, &captured, &authorized, &back] {
            assert_eq!(world.webhook(event).await.0, 200, "{event}");
            let seen = world.seen(&bought).await;
            let status = if part == 100 { "cancelled" } else { "confirmed" };
            assert_eq!(
                (&seen["order"]["order_status"], &seen["order"]["refunded"]),
                (&json!(status), &json!(part)),
                "{seen}"
            );
        }
    }
    world.check_money(&[sale]).await;
    crate::audit::verify(&world, sale)
        .await
        .expect("the log can be replayed");
    world.server.stop().await;
}

#[tokio::test]
async fn a_dispute_is_kept_with_its_order_whatever_the_order_of_its_events_and_moves_no_unit() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    shopper.ok(pay(&bought, "approve")).await;
    let payment = world.payment_until(&bought, "captured").await;
    let before = world.facts(sale).await;
    let sandbox = world.sandbox();
    sandbox
        .dispute(id_of(&payment), "dp_1", None)
        .await
        .expect("Postgres");
    let of = |seen: &Value, at: usize| {
        let dispute = &seen["disputes"][at];
        (dispute["dispute_id"].clone(), dispute["status"].clone())
    };
    let seen = world
        .seen_until(&bought, |seen| of(seen, 0) == (json!("dp_1"), json!("open")))
        .await;
    assert_eq!(seen["disputes"][0]["amount"], 100, "{seen}");
    let lost = Some(DisputeOutcome::Lost);
    sandbox
        .dispute(id_of(&payment), "dp_1", lost)
        .await
        .expect("Postgres");
    world
        .seen_until(&bought, |seen| of(seen, 0) == (json!("dp_1"), json!("lost")))
        .await;

    // Closed before it was opened, each twice.
    let mut closed = event("e1", "dispute.closed", &bought, &payment);
    (closed["dispute"], closed["outcome"]) = (json!("dp_2"), json!("won"));
    let mut opened = event("e2", "dispute.created", &bought, &payment);
    opened["dispute"] = json!("dp_2");
    for event in [&closed, &opened, &closed, &opened] {
        assert_eq!(world.webhook(event).await.0, 200, "{event}");
        assert_eq!(of(&world.seen(&bought).await, 1), (json!("dp_2"), json!("won")));
    }
    for (field, value, code) in [
        ("outcome", json!("maybe"), "invalid_field"),
        ("outcome", json!(null), "invalid_field"),
        ("dispute", json!(null), "invalid_field"),
        ("dispute", json!(""), "invalid_field"),
        ("amount", json!(101), "payment_mismatch"),
        ("currency", json!("USD"), "payment_mismatch"),
    ] {
        let mut bad = closed.clone();
        (bad["id"], bad["dispute"]) = (json!(format!("bad_{field}_{value}")), json!("dp_3"));
        bad[field] = value;
        assert_eq!(world.webhook(&bad).await.1["code"], code, "{bad}");
    }
    let seen = world.seen(&bought).await;
    assert_eq!(seen["disputes"].as_array().map(Vec::len), Some(2), "{seen}");
    assert_eq!(seen["order"]["order_status"], "confirmed");
    assert_eq!(world.told(sale, "dispute_opened").await, 1);
    assert_eq!(world.told(sale, "dispute_closed").await, 2);
    assert_eq!(world.facts(sale).await, before, "no unit moves");
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

#[tokio::test]
async fn an_order_says_why_its_last_payment_was_declined_until_another_is_tried() {
    let world = world(SLOW).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let bought = buy(&mut shopper, sale, 1).await;
    assert_eq!(bought.declined, None);
    let paying = order(shopper.ok(pay(&bought, "slow_decline")).await);
    assert!(paying.paying && paying.declined.is_none(), "{paying:?}");
    let told = order_until(&mut shopper, &bought, |order| order.declined.is_some()).await;
    let declined = told.declined.clone().expect("a reason");
    assert_eq!(declined.reason, "the card was declined");
    assert!(!told.paying && told.status == OrderStatus::Pending, "{told:?}");
    assert!(
        declined.at > bought.created_at && declined.at <= told.at,
        "{told:?}"
    );

    // Also to whoever comes back, by every door.
    let mut again = world.shopper_on("u1", "device-of-u1").await;
    let state = again.watch(sale).await;
    assert_eq!(state.orders[0].declined, Some(declined.clone()));
    let Done::Orders(orders) = again.ok(ShopCommand::Orders {}).await else {
        panic!("not orders");
    };
    assert_eq!(orders[0].declined, Some(declined));
    let (_, shown) = world
        .call(
            "GET",
            &format!("/orders/{}", bought.order),
            &world.token("u1", Role::Shopper),
            None,
            json!({}),
        )
        .await;
    assert_eq!(shown["declined"]["reason"], "the card was declined", "{shown}");
    assert!(shown["declined"]["at"].is_string(), "{shown}");

    // A second card: while it is under way there is nothing to say, and then the last word counts.
    shopper.events.clear();
    let paying = order(shopper.ok(pay(&bought, "slow")).await);
    assert!(paying.paying && paying.declined.is_none(), "{paying:?}");
    let paid = order_until(&mut shopper, &bought, is(OrderStatus::Confirmed)).await;
    assert_eq!(paid.declined, None);
    world.payment_until(&bought, "captured").await;
    world.check_money(&[sale]).await;
    world.server.stop().await;
}

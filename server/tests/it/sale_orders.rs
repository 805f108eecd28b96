//! A sale's orders for its shop: listed page by page, found by what a customer knows, given back in part, and cancelled.

use crate::{
    audit::{execute, verify_all},
    harness::{Answer, Client, DEADLINE, QUICK, World, command_id},
    purchase::{approve, checkout, reserve},
};
use flashsale_protocol::{Code, Order, OrderStatus, Reason, Role, SaleId, ServerMessage, ShopCommand};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn ask(world: &World, method: Method, path: &str, token: &str, body: Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    world.rest(method, path, Some(token), &[], body).await
}

async fn merchant(world: &World, name: &str) -> String {
    let boss = world.token("boss", Role::Admin);
    let body = json!({ "name": name, "slug": name });
    let made = ask(world, Method::POST, "/admin/merchants", &boss, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["merchant_id"].as_str().expect("an id").to_owned()
}

async fn key(world: &World, shop: &str, scopes: &[&str]) -> String {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/merchants/{shop}/api-keys");
    let body = json!({ "name": "desk", "scopes": scopes });
    let made = ask(world, Method::POST, &path, &boss, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["secret"].as_str().expect("a key").to_owned()
}

/// Somebody buys one unit, and pays or not.
async fn buy(world: &World, sale: SaleId, who: &str, pays: bool) -> (Client, Order) {
    let mut client = world.shopper(who).await;
    client.watch(sale).await;
    client.insist(reserve(sale)).await;
    let order = checkout(&mut client, sale).await;
    if pays {
        let pay = ShopCommand::Pay {
            order: order.order,
            payment: approve(),
        };
        client.ok(pay).await;
    }
    (client, order)
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let orders = answer.body["orders"].as_array().expect("orders");
    let id = |order: &Value| order["order_id"].as_str().expect("an id").to_owned();
    orders.iter().map(id).collect()
}

#[tokio::test]
async fn a_shop_lists_its_orders_and_finds_one_by_its_state_its_code_or_its_buyer() {
    let world = World::with(QUICK).await;
    let shop = merchant(&world, "lamps").await;
    let other = merchant(&world, "chairs").await;
    let sale = world.sale(json!({ "merchant": shop, "total_stock": 9 })).await;
    let mut made = Vec::new();
    for n in 0..5 {
        let (mut client, order) = buy(&world, sale, &format!("u{n}"), n < 2).await;
        if n == 4 {
            client.ok(ShopCommand::Cancel { order: order.order }).await;
        }
        made.insert(0, order.order.to_string());
    }
    let reader = key(&world, &shop, &["orders:read"]).await;
    let list = async |query: &str| {
        let path = format!("/admin/sales/{sale}/orders{query}");
        ask(&world, Method::GET, &path, &reader, Value::Null).await
    };
    let all = list("").await;
    assert_eq!(ids(&all), made, "newest first");
    assert!(all.body["next"].is_null());
    assert_eq!(all.body["orders"][0]["customer"], Value::Null, "a guest");
    assert_eq!(
        all.body["orders"][4]["person"],
        world.person(sale, "u0").await.to_string()
    );
    // Page by page, while somebody else buys: nothing twice, nothing left out.
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = list(&query).await;
        seen.extend(ids(&page));
        buy(&world, sale, &format!("late{}", seen.len()), false).await;
        match page.body["next"].as_str() {
            Some(next) => query = format!("?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    for (status, wanted) in [
        ("confirmed", &made[3..]),
        ("cancelled", &made[..1]),
        ("refunded", &[]),
    ] {
        assert_eq!(ids(&list(&format!("?status={status}")).await), wanted, "{status}");
    }
    assert_eq!(ids(&list("?status=pending").await).len(), 2 + 3);
    let code = &made[2][18..];
    for typed in [
        code.to_owned(),
        format!("{}-{}", &code[..4], &code[4..]).to_lowercase(),
    ] {
        assert_eq!(ids(&list(&format!("?code={typed}")).await), made[2..3], "{typed}");
    }
    assert!(ids(&list(&format!("?status=confirmed&code={code}")).await).is_empty());
    let who = world.person(sale, "u1").await;
    assert_eq!(ids(&list(&format!("?person={who}")).await), made[3..4]);
    assert!(ids(&list(&format!("?person={who}&status=pending")).await).is_empty());
    assert!(ids(&list("?customer=nobody").await).is_empty());

    for bad in [
        "?status=paid",
        "?limit=0",
        "?limit=201",
        "?after=x",
        "?code=1234567",
        "?code=%00aaaaaaa",
        "?customer=",
        "?customer=a%00",
        "?person=a%20b",
        "?person=a&customer=b",
        "?order=1",
        "?status=pending&status=cancelled",
    ] {
        let answer = list(bad).await;
        assert_eq!(answer.refusal(), Code::InvalidField, "{bad}: {answer:?}");
    }
    // Not without the scope, not another shop's, not a shopper's.
    let path = format!("/admin/sales/{sale}/orders");
    let sales_only = key(
        &world,
        &shop,
        &["sales:read", "sales:write", "orders:write", "exports"],
    )
    .await;
    let theirs = key(&world, &other, &["orders:read"]).await;
    let shopper = world.token("u1", Role::Shopper);
    for (token, code) in [
        (&sales_only, Code::ScopeMissing),
        (&theirs, Code::SaleUnknown),
        (&shopper, Code::Forbidden),
    ] {
        let refused = ask(&world, Method::GET, &path, token, Value::Null).await;
        assert_eq!(refused.refusal(), code);
    }
    world.server.stop().await;
}

/// A search among very many orders goes on behind the end of a page.
#[tokio::test]
async fn a_search_among_very_many_orders_looks_at_a_part_at_a_time_and_finds_the_oldest() {
    let world = World::with(QUICK).await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let (_client, order) = buy(&world, sale, "u1", true).await;
    execute(
        &world,
        &format!(
            "INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested, quantity_allocated,
                unit_price, amount, currency, status, reason, expires_at, units_returned, created_at)
             SELECT lpad(n::text, 26, '0'), '{sale}', 0, 'x_' || n, 'x', 1, 1, 100, 100, 'EUR', 'cancelled', 'unpaid', now(), TRUE,
                now() + interval '1 second' FROM generate_series(1, 45000) n",
        ),
    )
    .await;
    let boss = world.token("boss", Role::Admin);
    let (mut pages, mut query) = (0, "?status=confirmed".to_owned());
    let found = loop {
        pages += 1;
        let path = format!("/admin/sales/{sale}/orders{query}");
        let page = ask(&world, Method::GET, &path, &boss, Value::Null).await;
        if let Some(found) = ids(&page).first() {
            break found.clone();
        }
        let next = page.body["next"].as_str().expect("more");
        query = format!("?status=confirmed&after={next}");
    };
    assert_eq!((found, pages), (order.order.to_string(), 3));
    world.server.stop().await;
}

#[tokio::test]
async fn a_part_of_the_money_goes_back_and_the_shopper_sees_how_much_and_when() {
    let world = World::with(QUICK).await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let (mut client, order) = buy(&world, sale, "u1", true).await;
    let boss = world.token("boss", Role::Admin);
    let before = flashsale_engine::clock::now_ms();
    let path = format!("/admin/orders/{}/refund", order.order);
    let asked = ask(
        &world,
        Method::POST,
        &path,
        &boss,
        json!({ "amount": 30, "reason": "a scratch" }),
    )
    .await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let back = |message: &ServerMessage| match message {
        ServerMessage::Order(told) if told.refunded == 30 => Some(told.clone()),
        _ => None,
    };
    let told = client.until(back).await;
    assert_eq!(told.status, OrderStatus::Confirmed);
    let at = told.refunded_at.expect("when");
    assert!((before..before + 60_000).contains(&at), "{at}");
    let shopper = world.token("u1", Role::Shopper);
    let own = ask(
        &world,
        Method::GET,
        &format!("/orders/{}", order.order),
        &shopper,
        Value::Null,
    )
    .await;
    assert_eq!(own.body["refunded"], 30);
    let shown: chrono::DateTime<chrono::Utc> = own.body["refunded_at"]
        .as_str()
        .expect("when")
        .parse()
        .expect("a time");
    assert_eq!(shown.timestamp_millis() as u64, at);
    let listed = ask(
        &world,
        Method::GET,
        &format!("/admin/sales/{sale}/orders?status=refunded"),
        &boss,
        Value::Null,
    )
    .await;
    assert_eq!(ids(&listed), [order.order.to_string()]);
    let whole = ask(
        &world,
        Method::GET,
        &format!("/admin/orders/{}", order.order),
        &boss,
        Value::Null,
    )
    .await;
    let refund = &whole.body["payments"][0]["refunds"][0];
    assert_eq!(
        (&refund["amount"], &refund["status"]),
        (&json!(30), &json!("done"))
    );
    assert!(refund["done_at"].is_string() && whole.body["payments"][0]["answered_at"].is_string());
    verify_all(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_shop_cancels_an_order_that_is_not_paid_once_and_its_unit_is_for_sale_again() {
    let world = World::with(QUICK).await;
    let shop = merchant(&world, "lamps").await;
    let other = merchant(&world, "chairs").await;
    let sale = world.sale(json!({ "merchant": shop, "total_stock": 1 })).await;
    let (mut client, order) = buy(&world, sale, "u1", false).await;
    let path = format!("/admin/orders/{}/cancel", order.order);
    let writer = key(&world, &shop, &["orders:write"]).await;
    for (token, code) in [
        (key(&world, &shop, &["orders:read"]).await, Code::ScopeMissing),
        (key(&world, &other, &["orders:write"]).await, Code::OrderUnknown),
    ] {
        assert_eq!(
            ask(&world, Method::POST, &path, &token, Value::Null)
                .await
                .refusal(),
            code
        );
    }
    // Eight at once, here and in another process: one cancels, the others are told that it is.
    let elsewhere = world.another("127.0.0.1:0").await;
    let origins = [world.server.origin.clone(), elsewhere.origin.clone()];
    let answers = join_all((0..8).map(|n| {
        let url = format!("{}{path}", origins[n % 2]);
        let request = world.http.post(url).bearer_auth(&writer).send();
        async move { request.await.expect("an answer").status().as_u16() }
    }))
    .await;
    assert_eq!(
        answers.iter().filter(|status| **status == 200).count(),
        1,
        "{answers:?}"
    );
    assert_eq!(
        answers.iter().filter(|status| **status == 409).count(),
        7,
        "{answers:?}"
    );
    elsewhere.stop().await;
    let told = client
        .until(|message| match message {
            ServerMessage::Order(told) if told.status == OrderStatus::Cancelled => Some(told.clone()),
            _ => None,
        })
        .await;
    assert_eq!(told.reason, Some(Reason::ByShop));
    let refused = client
        .ask(ShopCommand::Cancel { order: order.order })
        .await
        .expect_err("it is cancelled");
    assert_eq!(refused.code, Code::OrderCancelled);
    let pay = ShopCommand::Pay {
        order: order.order,
        payment: approve(),
    };
    assert_eq!(
        client.ask(pay).await.expect_err("it is cancelled").code,
        Code::OrderCancelled
    );

    // The same key again gets the same answer, and a paid order is refused.
    let started = Instant::now();
    let (_client, paid) = loop {
        let mut next = world.shopper("u2").await;
        next.watch(sale).await;
        if next.ask(reserve(sale)).await.is_ok() {
            let order = checkout(&mut next, sale).await;
            break (next, order);
        }
        assert!(started.elapsed() < DEADLINE, "the unit does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let path = format!("/admin/orders/{}/cancel", paid.order);
    let once = command_id().to_string();
    let keyed = [("idempotency-key", once.as_str())];
    let first = world.rest(Method::POST, &path, Some(&writer), &keyed, "").await;
    let again = world.rest(Method::POST, &path, Some(&writer), &keyed, "").await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(first.body["reason"], "by_shop");
    verify_all(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_paid_order_is_not_cancelled_but_refunded_and_money_that_comes_too_late_goes_back() {
    let world = World::with(
        &[
            QUICK,
            &["--payment-timeout-ms", "200", "--sandbox-slow-ms", "1500"],
        ]
        .concat(),
    )
    .await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let boss = world.token("boss", Role::Admin);
    let (_client, paid) = buy(&world, sale, "u1", true).await;
    let path = format!("/admin/orders/{}/cancel", paid.order);
    let refused = ask(&world, Method::POST, &path, &boss, Value::Null).await;
    assert_eq!(refused.refusal(), Code::OrderConfirmed);

    let (mut client, slow) = buy(&world, sale, "u2", false).await;
    let pay = ShopCommand::Pay {
        order: slow.order,
        payment: flashsale_protocol::Payment {
            token: "sandbox_slow".into(),
        },
    };
    client.ok(pay).await;
    let path = format!("/admin/orders/{}/cancel", slow.order);
    assert_eq!(
        ask(&world, Method::POST, &path, &boss, Value::Null).await.status,
        200
    );
    let whole = format!("/admin/orders/{}", slow.order);
    let started = Instant::now();
    loop {
        let shown = ask(&world, Method::GET, &whole, &boss, Value::Null).await.body;
        let payment = &shown["payments"][0];
        if payment["todo"].is_null() && !payment["answer"].is_null() {
            assert_eq!(shown["order"]["order_status"], "cancelled", "{shown}");
            assert_eq!(payment["pays"], false, "{shown}");
            break;
        }
        assert!(started.elapsed() < DEADLINE, "{shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    verify_all(&world).await;
    world.server.stop().await;
}

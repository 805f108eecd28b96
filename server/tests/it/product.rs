//! What a shop says of its sale: a description in Markdown, and the terms that orders are under. And the people of the demo.

use crate::{
    harness::{DEADLINE, QUICK, World},
    purchase::{checkout, join_and_reserve},
};
use flashsale::demo::people::Crowd;
use flashsale_protocol::{Code, OrderStatus, Role};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_description_is_markdown_and_html_in_it_is_text_wherever_it_is_read() {
    let world = World::with(QUICK).await;
    let text = "**Oak**\n\n<script>alert(1)</script>\n\n[us](javascript:alert(1)) [you](https://a.example)";
    let sale = world.sale(json!({ "description": text })).await;
    let path = format!("/flash-sales/{sale}");
    let read = world.rest(Method::GET, &path, None, &[], "").await.body;
    assert_eq!(read["description"], text);
    assert_eq!(
        read["description_html"],
        "<p><strong>Oak</strong></p>\n<p>&lt;script&gt;alert(1)&lt;/script&gt;\n</p>\n<p>us <a href=\"https://a.example\" \
         target=\"_blank\" rel=\"nofollow noopener noreferrer\">you</a></p>\n"
    );
    let list = world.rest(Method::GET, "/flash-sales", None, &[], "").await.body;
    assert!(list["sales"][0].get("description_html").is_none(), "{list}");
    let mut shopper = world.shopper("u1").await;
    assert_eq!(shopper.watch(sale).await.sale.description, text);
    world.server.stop().await;
}

#[tokio::test]
async fn the_terms_that_were_shown_are_stored_with_the_order_and_stand_in_what_is_told_of_it() {
    let world = World::with(QUICK).await;
    let terms = json!({ "terms_url": "https://shop.example/terms", "terms_version": "2026-11-01" });
    let sale = world.sale(terms).await;
    let plain = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let shown = shopper.watch(sale).await.sale;
    assert_eq!(shown.terms_url.as_deref(), Some("https://shop.example/terms"));
    assert_eq!(shown.terms_version.as_deref(), Some("2026-11-01"));
    join_and_reserve(&mut shopper, sale).await;
    let with = checkout(&mut shopper, sale).await;
    join_and_reserve(&mut shopper, plain).await;
    let without = checkout(&mut shopper, plain).await;

    let (token, boss) = (
        world.token_on("u1", "device-of-u1"),
        world.token("boss", Role::Admin),
    );
    let device = [("x-device-id", "device-of-u1")];
    for (order, version) in [(with.order, json!("2026-11-01")), (without.order, json!(null))] {
        let path = format!("/orders/{order}");
        let request = world
            .http
            .get(world.url(&path))
            .bearer_auth(&token)
            .header(device[0].0, device[0].1);
        let own: serde_json::Value = request
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        assert_eq!(own["terms_version"], version, "{own}");
        let path = format!("/admin/orders/{order}");
        let operators = world.rest(Method::GET, &path, Some(&boss), &[], "").await.body;
        assert_eq!(operators["order"]["terms_version"], version, "{operators}");
    }
    let request = world
        .http
        .get(world.url("/me"))
        .bearer_auth(&token)
        .header(device[0].0, device[0].1);
    let mine: serde_json::Value = request
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let orders = mine["people"][0]["orders"].as_array().expect("orders");
    let stored = orders
        .iter()
        .find(|order| order["order_id"] == with.order.to_string())
        .expect("the order");
    assert_eq!(stored["terms_url"], "https://shop.example/terms");
    world.server.stop().await;
}

#[tokio::test]
async fn terms_are_an_address_and_a_version_or_nothing() {
    let world = World::with(QUICK).await;
    for (url, version, named) in [
        (json!("https://a.example"), json!(null), "terms_version"),
        (json!(null), json!("1"), "terms_url"),
        (json!("http://a.example"), json!("1"), "terms_url"),
        (json!("javascript:alert(1)"), json!("1"), "terms_url"),
        (json!("/terms"), json!("1"), "terms_url"),
        (json!("https://me:secret@a.example"), json!("1"), "terms_url"),
        (
            json!("https://a.example"),
            json!("x".repeat(101)),
            "terms_version",
        ),
        (json!("https://a.example"), json!("a\nb"), "terms_version"),
    ] {
        let made = world
            .create_sale(json!({ "terms_url": url, "terms_version": version }))
            .await;
        assert_eq!(made.refusal(), Code::InvalidField);
        assert!(made.detail().starts_with(named), "{}", made.detail());
    }
    let made = world
        .create_sale(json!({ "terms_url": " ", "terms_version": "" }))
        .await;
    assert_eq!(made.status, 201, "an empty field of a form is none");
    world.server.stop().await;
}

#[tokio::test]
async fn most_of_the_demo_s_people_buy_and_some_do_not() {
    let world = World::with(QUICK).await;
    let sale = world
        .sale(json!({ "total_stock": 30, "inflow": 1, "claim_ms": 3_000 }))
        .await;
    let mut crowd = Crowd::new(sale, 40);
    crowd.second_ms = 20;
    crowd.join(&world.server.app).await.expect("all join");
    let stopping = CancellationToken::new();
    let staying = tokio::spawn(crowd.stay(world.server.app.clone(), stopping.clone()));
    let started = Instant::now();
    let bought = loop {
        let orders = world
            .server
            .app
            .shop
            .store
            .orders_of_sale(sale)
            .await
            .expect("Postgres");
        let bought = orders
            .iter()
            .filter(|order| order.status == OrderStatus::Confirmed)
            .count();
        if bought >= 15 || started.elapsed() > 3 * DEADLINE {
            break bought;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(bought >= 15, "{bought}");
    stopping.cancel();
    staying.await.expect("ends");
    world.server.stop().await;
}

//! Requests over REST.

use super::{NOTHING, PATIENT, busy_sale};
use crate::harness::World;
use flashsale_protocol::{Code, MAX_FRAME_BYTES, Role};
use reqwest::Method;

/// A path, a body, the code of the refusal, and how its text begins. `SALE` stands for a sale in which `holder` holds
/// units, `ORDER` for another's order, `NONE` for an id of nothing.
const BAD: &[(&str, &str, Code, &str)] = &[
    ("/carts/holder/items", "", Code::BadJson, ""),
    ("/carts/holder/items", "{", Code::BadJson, ""),
    ("/carts/holder/items", "\u{1}\u{2}\u{3}", Code::BadJson, ""),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","sale_id":"NONE"}"#,
        Code::BadJson,
        "",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","quantity_requested":1e999}"#,
        Code::BadJson,
        "",
    ),
    (
        "/carts/holder/items",
        "[]",
        Code::InvalidField,
        "A message is a JSON object",
    ),
    (
        "/carts/holder/items",
        r#"["SALE",1,false]"#,
        Code::InvalidField,
        "A message is a JSON object",
    ),
    (
        "/carts/holder/items",
        "{}",
        Code::InvalidField,
        "missing field `sale_id`",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","price":1}"#,
        Code::InvalidField,
        "price: unknown field",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":7}"#,
        Code::InvalidField,
        "sale_id: ",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","quantity_requested":0}"#,
        Code::InvalidField,
        "quantity_requested: ",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","quantity_requested":-1}"#,
        Code::InvalidField,
        "quantity_requested: ",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","quantity_requested":2147483648}"#,
        Code::InvalidField,
        "quantity_requested: ",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","quantity_requested":1.5}"#,
        Code::InvalidField,
        "quantity_requested: ",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","quantity_requested":"1"}"#,
        Code::InvalidField,
        "quantity_requested: ",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"SALE","partial":1}"#,
        Code::InvalidField,
        "partial: ",
    ),
    (
        "/carts/holder/items",
        r#"{"sale_id":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    ("/carts/buyer/items", r#"{"sale_id":"SALE"}"#, Code::Forbidden, ""),
    ("/carts/a%20b/items", r#"{"sale_id":"SALE"}"#, Code::Forbidden, ""),
    ("/carts/%ff/items", r#"{"sale_id":"SALE"}"#, Code::NotFound, ""),
    (
        "/flash-sales/SALE/join-queue",
        r#"{"user_id":"buyer"}"#,
        Code::Forbidden,
        "",
    ),
    (
        "/flash-sales/SALE/join-queue",
        r#"{"user_id":"holder","quantity":0}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        "/flash-sales/SALE/join-queue",
        r#"{"user_id":"holder","quantity":-1}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        "/flash-sales/SALE/join-queue",
        r#"{"user_id":"holder","quantity":2147483648}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        "/flash-sales/SALE/join-queue",
        r#"{"user_id":"holder","quantity":1.5}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        "/flash-sales/SALE/join-queue",
        r#"{"user_id":"holder","device_id":"other"}"#,
        Code::DeviceMismatch,
        "",
    ),
    (
        "/flash-sales/SALE/join-queue",
        r#"{"user_id":"holder","place":1}"#,
        Code::InvalidField,
        "place: unknown field",
    ),
    (
        "/flash-sales/NONE/join-queue",
        r#"{"user_id":"holder"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        "/flash-sales/x/join-queue",
        r#"{"user_id":"holder"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        "/orders",
        r#"{"user_id":"buyer","cart_items":[{"sale_id":"SALE"}]}"#,
        Code::Forbidden,
        "",
    ),
    (
        "/orders",
        r#"{"user_id":"holder"}"#,
        Code::InvalidField,
        "missing field `cart_items`",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[]}"#,
        Code::InvalidField,
        "cart_items: ",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[{"sale_id":"SALE"},{"sale_id":"SALE"}]}"#,
        Code::InvalidField,
        "cart_items: ",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[["SALE"]]}"#,
        Code::InvalidField,
        "cart_items[0]: ",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[{"sale_id":"SALE","price":1}]}"#,
        Code::InvalidField,
        "cart_items[0]: unknown field `price`",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[{"sale_id":"SALE","quantity":1.5}]}"#,
        Code::InvalidField,
        "cart_items[0]: ",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[{"sale_id":"SALE","quantity":3}]}"#,
        Code::InvalidField,
        "cart_items[0].quantity: ",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[{"sale_id":"SALE"}],"payment":{"token":"x","card":"4"}}"#,
        Code::InvalidField,
        "payment: unknown field `card`",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[{"sale_id":"SALE"}],"payment":["x"]}"#,
        Code::InvalidField,
        "payment: ",
    ),
    (
        "/orders",
        r#"{"user_id":"holder","cart_items":[{"sale_id":"NONE"}]}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        "/orders/NONE/pay",
        r#"{"payment":{"token":"sandbox_approve"}}"#,
        Code::OrderUnknown,
        "",
    ),
    (
        "/orders/ORDER/pay",
        r#"{"payment":{"token":"sandbox_approve"}}"#,
        Code::OrderUnknown,
        "",
    ),
    (
        "/orders/ORDER/pay",
        r#"{"payment":"sandbox_approve"}"#,
        Code::InvalidField,
        "payment: ",
    ),
    (
        "/orders/ORDER/pay",
        "{}",
        Code::InvalidField,
        "missing field `payment`",
    ),
    (
        "/orders/x/pay",
        r#"{"payment":{"token":"sandbox_approve"}}"#,
        Code::OrderUnknown,
        "",
    ),
    ("/orders/NONE/cancel", "", Code::OrderUnknown, ""),
    ("/orders/ORDER/cancel", "", Code::OrderUnknown, ""),
    ("/orders/%ff/cancel", "", Code::NotFound, ""),
    ("/session", "{", Code::BadJson, ""),
    ("/session", r#"{"device":7}"#, Code::InvalidField, "device: "),
    (
        "/session",
        r#"{"shopper":"buyer"}"#,
        Code::InvalidField,
        "shopper: unknown field",
    ),
];

#[tokio::test]
async fn a_bad_request_gets_its_code_and_changes_nothing() {
    let world = World::with(PATIENT).await;
    let sale = busy_sale(&world).await;
    let before = world.facts(sale).await;
    let order = world
        .server
        .app
        .shop
        .store
        .orders_of_sale(sale)
        .await
        .expect("Postgres")[0]
        .order;
    let holder = world.token("holder", Role::Shopper);
    let fill = |text: &str| {
        text.replace("SALE", &sale.to_string())
            .replace("ORDER", &order.to_string())
            .replace("NONE", NOTHING)
    };
    for (path, body, code, text) in BAD {
        let answer = world
            .rest(Method::POST, &fill(path), Some(&holder), &[], fill(body))
            .await;
        assert_eq!(answer.refusal(), *code, "{path} {body}: {answer:?}");
        assert!(
            answer.detail().starts_with(text),
            "{path} {body}: {}",
            answer.detail()
        );
    }
    for path in ["/carts/holder/items", "/orders", "/session", "/admin/sales"] {
        for body in ["x".repeat(MAX_FRAME_BYTES + 1), " ".repeat(MAX_FRAME_BYTES + 1)] {
            let boss = world.token("boss", Role::Admin);
            let answer = world.rest(Method::POST, path, Some(&boss), &[], body).await;
            assert_eq!(
                (answer.refusal(), answer.status),
                (Code::FrameTooLarge, 413),
                "{path}"
            );
        }
    }
    for (path, code) in [
        ("/carts/buyer", Code::Forbidden),
        ("/carts/%ff", Code::NotFound),
        (&fill("/orders/ORDER"), Code::OrderUnknown),
        ("/orders/x", Code::OrderUnknown),
        ("/flash-sales/x", Code::SaleUnknown),
        ("/flash-sales/%ff", Code::NotFound),
        (&fill("/flash-sales/NONE"), Code::SaleUnknown),
        (&fill("/flash-sales/NONE/queue-position"), Code::SaleUnknown),
    ] {
        let answer = world.rest(Method::GET, path, Some(&holder), &[], "").await;
        assert_eq!(answer.refusal(), code, "{path}");
    }
    let nobody = world.token("nobody", Role::Shopper);
    let path = fill("/flash-sales/SALE/queue-position");
    let answer = world.rest(Method::GET, &path, Some(&nobody), &[], "").await;
    assert_eq!(answer.refusal(), Code::NotInLine);
    for (path, code) in [
        (fill("/carts/buyer/items/SALE"), Code::Forbidden),
        (fill("/carts/holder/items/NONE"), Code::SaleUnknown),
        (fill("/carts/holder/items/x"), Code::SaleUnknown),
    ] {
        let answer = world.rest(Method::DELETE, &path, Some(&holder), &[], "").await;
        assert_eq!(answer.refusal(), code, "{path}");
    }
    assert_eq!(world.facts(sale).await, before);
    world.server.stop().await;
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems_that_no_cache_keeps() {
    let world = World::start().await;
    for (method, path, code) in [
        (Method::GET, "/nothing", Code::NotFound),
        (Method::POST, "/nothing", Code::NotFound),
        (Method::DELETE, "/flash-sales/x/y/z", Code::NotFound),
        (Method::GET, "/assets/nothing.js", Code::NotFound),
        (Method::POST, "/assets/nothing.js", Code::NotFound),
        (Method::GET, "/dev/sign-in", Code::NotFound),
        (Method::POST, "/dev/sign-in", Code::NotFound),
        (Method::PUT, "/flash-sales", Code::MethodNotAllowed),
        (Method::GET, "/orders", Code::MethodNotAllowed),
        (Method::PATCH, "/carts/u1", Code::MethodNotAllowed),
        (Method::TRACE, "/session", Code::MethodNotAllowed),
        (Method::POST, "/", Code::MethodNotAllowed),
        (Method::POST, "/sale/x", Code::MethodNotAllowed),
        (Method::DELETE, "/widget.js", Code::MethodNotAllowed),
        (Method::POST, "/healthz", Code::MethodNotAllowed),
        (Method::GET, "/metrics/", Code::NotFound),
        (Method::POST, "/ws", Code::MethodNotAllowed),
        (Method::GET, "/ws", Code::BadHandshake),
    ] {
        let answer = world.rest(method.clone(), path, None, &[], "").await;
        assert_eq!(answer.refusal(), code, "{method} {path}");
        let kept = answer
            .headers
            .get("cache-control")
            .is_some_and(|value| value != "no-cache" && value != "no-store");
        assert!(!kept, "{method} {path}: {answer:?}");
    }
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "flashsale.v1"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (at, wrong) in [(0, "close"), (1, "h2c"), (2, "8"), (3, "flashsale.v9")] {
        let mut headers = handshake;
        headers[at].1 = wrong;
        let answer = world.rest(Method::GET, "/ws", None, &headers, "").await;
        assert_eq!(answer.refusal(), Code::BadHandshake, "{headers:?}");
    }
    world.server.stop().await;
}

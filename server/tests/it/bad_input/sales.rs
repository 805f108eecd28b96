//! Sales that cannot be.

use super::PATIENT;
use crate::harness::World;
use flashsale_protocol::{Code, Role};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_sale_is_refused_by_field_and_nothing_is_created() {
    let world = World::with(PATIENT).await;
    world.sale(json!({})).await;
    let boss = world.token("boss", Role::Admin);
    let list = async || {
        world
            .rest(Method::GET, "/admin/sales", Some(&boss), &[], "")
            .await
            .body
    };
    let ids = |list: &Value| {
        let sales = list["sales"].as_array().expect("a list");
        sales
            .iter()
            .map(|sale| sale["sale_id"].clone())
            .collect::<Vec<_>>()
    };
    let before = ids(&list().await);
    let long = "x".repeat(5_001);
    let far = "2999-12-31T00:00:00Z";
    for (fields, field) in [
        (json!({ "end_time": "2020-01-01T00:00:00Z" }), "end_time"),
        (
            json!({ "start_time": "2020-01-01T00:00:00Z", "end_time": "2020-01-02T00:00:00Z" }),
            "end_time",
        ),
        (json!({ "start_time": far, "end_time": far }), "end_time"),
        (json!({ "start_time": "-262143-01-01T00:00:00Z" }), "start_time"),
        (json!({ "start_time": "1999-12-31T23:59:59Z" }), "start_time"),
        (json!({ "end_time": "+262142-12-31T00:00:00Z" }), "end_time"),
        (json!({ "end_time": "3000-01-01T00:00:00Z" }), "end_time"),
        (json!({ "end_time": "soon" }), "end_time"),
        (json!({ "end_time": 7 }), "end_time"),
        (
            json!({ "room_opens_at": "-262143-01-01T00:00:00Z" }),
            "room_opens_at",
        ),
        (json!({ "room_opens_at": far }), "room_opens_at"),
        (json!({ "sale_price": -1 }), "sale_price"),
        (json!({ "sale_price": 201 }), "sale_price"),
        (json!({ "sale_price": 1.5 }), "sale_price"),
        (json!({ "original_price": -1 }), "original_price"),
        (
            json!({ "original_price": 9_007_199_254_740_993_u64 }),
            "original_price",
        ),
        (
            json!({ "original_price": 18_446_744_073_709_551_615_u64 }),
            "original_price",
        ),
        (json!({ "total_stock": 0 }), "total_stock"),
        (json!({ "total_stock": -1 }), "total_stock"),
        (json!({ "total_stock": 1.5 }), "total_stock"),
        (json!({ "total_stock": 2_147_483_648_u32 }), "total_stock"),
        (json!({ "total_stock": "1" }), "total_stock"),
        (json!({ "total_stock": null }), "missing field `total_stock`"),
        (json!({ "end_time": null }), "missing field `end_time`"),
        (json!({ "per_shopper_limit": 0 }), "per_shopper_limit"),
        (json!({ "per_shopper_limit": -1 }), "per_shopper_limit"),
        (json!({ "per_shopper_limit": 101 }), "per_shopper_limit"),
        (json!({ "per_device_limit": 0 }), "per_device_limit"),
        (json!({ "hold_ms": 199 }), "hold_ms"),
        (json!({ "hold_ms": -1 }), "hold_ms"),
        (json!({ "hold_ms": 86_400_001 }), "hold_ms"),
        (json!({ "claim_ms": 0 }), "claim_ms"),
        (
            json!({ "payment_ms": 9_223_372_036_854_775_807_i64 }),
            "payment_ms",
        ),
        (json!({ "inflow": 0 }), "inflow"),
        (json!({ "inflow": 100_001 }), "inflow"),
        (json!({ "lanes": 0 }), "lanes"),
        (json!({ "lanes": 65, "total_stock": 100 }), "lanes"),
        (json!({ "lanes": 2, "total_stock": 1 }), "lanes"),
        (json!({ "currency": "XXX" }), "currency"),
        (json!({ "currency": "eur" }), "currency"),
        (json!({ "currency": "" }), "currency"),
        (json!({ "product_name": "  " }), "product_name"),
        (json!({ "product_name": "a\0b" }), "product_name"),
        (json!({ "product_name": ["a"] }), "product_name"),
        (json!({ "product_name": long }), "product_name"),
        (json!({ "product_id": "" }), "product_id"),
        (json!({ "product_id": "\0" }), "product_id"),
        (json!({ "description": "\0" }), "description"),
        (json!({ "shop": "somebody" }), "shop: unknown field"),
    ] {
        let text = fields.to_string();
        let answer = world.create_sale(fields).await;
        assert_eq!(answer.refusal(), Code::InvalidField, "{text}: {answer:?}");
        assert!(answer.detail().starts_with(field), "{text}: {}", answer.detail());
    }
    assert_eq!(ids(&list().await), before);
    world.server.stop().await;
}

#[tokio::test]
async fn only_operators_steer_sales_and_merchants_only_their_own() {
    let world = World::start().await;
    let sale = world.sale(json!({})).await;
    let before = world.facts(sale).await;
    let (shopper, other) = (
        world.token("u1", Role::Shopper),
        world.token("m2", Role::Merchant),
    );
    let own = |rest: &str| format!("/admin/sales/{sale}{rest}");
    for (method, path) in [
        (Method::POST, own("/pause")),
        (Method::POST, own("/resume")),
        (Method::POST, own("/end")),
        (Method::POST, own("/supply")),
        (Method::GET, own("/metrics")),
        (Method::GET, own("")),
    ] {
        for (token, code) in [
            (None, Code::TokenMissing),
            (Some(shopper.as_str()), Code::Forbidden),
            (Some(other.as_str()), Code::SaleUnknown),
        ] {
            // Read by `supply` only.
            let body = r#"{"total_stock":5}"#;
            let answer = world.rest(method.clone(), &path, token, &[], body).await;
            assert_eq!(answer.refusal(), code, "{method} {path}");
        }
    }
    for token in [None, Some(shopper.as_str())] {
        let answer = world.rest(Method::GET, "/admin/sales", token, &[], "").await;
        assert_eq!(
            answer.refusal(),
            if token.is_none() {
                Code::TokenMissing
            } else {
                Code::Forbidden
            }
        );
    }
    assert_eq!(world.facts(sale).await, before);
    world.server.stop().await;
}

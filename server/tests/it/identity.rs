//! Who is who: merchants' keys, and tokens as providers make them.

use crate::harness::{QUICK, World};
use crate::merchants::{OTHER_PUBLIC, PROVIDER, PROVIDER_PUBLIC, SHAPES, ed, rsa, soon, token};
use crate::purchase::{checkout, join_and_reserve};
use flashsale_protocol::{Code, ConnectionCommand, Quantity, ShopCommand};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_token_of_every_provider_signs_its_shopper_in() {
    let world = World::start().await;
    let shapes: Vec<Value> = serde_json::from_str(SHAPES).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut accepted = 0;
    for (number, shape) in shapes.iter().enumerate() {
        let merchant = format!("shop-{number}");
        world.merchant(&merchant).await;
        let added = world
            .key(
                &merchant,
                json!({
                    "issuer": shape["issuer"], "audience": shape["audience"],
                    "subject_claim": shape["subject_claim"], "keys": PROVIDER_PUBLIC,
                }),
            )
            .await;
        if shape["issuer"].is_null() {
            assert_eq!(
                added.refusal(),
                Code::InvalidField,
                "a token without an issuer is no sign-in: {shape}"
            );
            continue;
        }
        assert_eq!(added.status, 201, "{added:?}");
        let mut claims = shape["claims"].clone();
        claims["exp"] = soon().into();
        let signed = encode(&Header::new(Algorithm::RS256), &claims, &rsa()).expect("signs");
        let subject = text(&claims[text(&shape["subject_claim"])]);
        let shopper = world
            .hello(&signed)
            .await
            .unwrap_or_else(|code| panic!("{code:?}: {shape}"));
        assert!(shopper.as_str().starts_with("p_"), "{shopper}");
        for user in [subject.as_str(), shopper.as_str()] {
            assert_eq!(world.carts(user, &signed).await.status, 200, "{shape}");
        }
        // Some providers have several shapes with one issuer: the next shop may use it.
        let key = format!("/admin/merchants/{merchant}/keys/{}", text(&added.body["key_id"]));
        assert_eq!(world.admin(Method::DELETE, &key, Value::Null).await.status, 204);
        accepted += 1;
    }
    assert!(accepted >= 7, "{accepted}");
    world.server.stop().await;
}

#[tokio::test]
async fn a_key_is_good_for_its_merchants_shoppers_alone() {
    let world = World::start().await;
    for merchant in ["a", "b"] {
        world.merchant(merchant).await;
    }
    assert_eq!(
        world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await.status,
        201
    );
    assert_eq!(world.key("b", json!({ "keys": OTHER_PUBLIC })).await.status, 201);
    let of_a = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let of_b = world.sale(json!({ "merchant": "b", "total_stock": 5 })).await;
    let good = token(Algorithm::RS256, &rsa(), "a", "42", json!({}));
    let at_b = token(Algorithm::EdDSA, &ed(), "b", "42", json!({}));
    let (who_a, who_b) = (
        world.hello(&good).await.expect("in"),
        world.hello(&at_b).await.expect("in"),
    );
    assert_ne!(who_a, who_b, "customer 42 of two shops is two people");

    // Who only looks the same is somebody else: Latin and Cyrillic, composed or not, with a space.
    let mut alike = Vec::new();
    for sub in [
        "jane@shop",
        "j\u{0430}ne@shop",
        "jan\u{e9}@shop",
        "jane\u{301}@shop",
        "jane@shop ",
        "Jane@shop",
    ] {
        let looking = token(Algorithm::RS256, &rsa(), "a", sub, json!({}));
        alike.push(world.hello(&looking).await.expect("in"));
        assert_eq!(world.carts(sub, &looking).await.status, 200, "{sub}");
    }
    let people: std::collections::HashSet<_> = alike.iter().collect();
    assert_eq!(people.len(), alike.len(), "{alike:?}");

    // The key of one shop says nothing for the other, and nobody becomes an operator by it.
    for forged in [
        token(Algorithm::RS256, &rsa(), "b", "42", json!({})),
        token(Algorithm::EdDSA, &ed(), "a", "42", json!({})),
        token(Algorithm::RS256, &rsa(), "a", "42", json!({ "aud": "another" })),
        token(Algorithm::RS256, &rsa(), "a", "42", json!({ "aud": null })),
        token(
            Algorithm::HS256,
            &EncodingKey::from_secret(PROVIDER_PUBLIC.as_bytes()),
            "a",
            "42",
            json!({}),
        ),
        token(Algorithm::RS256, &rsa(), "a", "", json!({})),
        token(Algorithm::RS256, &rsa(), "a", &"x".repeat(256), json!({})),
        token(Algorithm::RS256, &rsa(), "a", "a\0b", json!({})),
        token(Algorithm::RS256, &rsa(), "a", "42", json!({ "type": "refresh" })),
        token(Algorithm::RS256, &rsa(), "a", "42", json!({ "nbf": soon() })),
    ] {
        assert_eq!(world.refused(&forged).await, Code::TokenInvalid, "{forged}");
    }
    let old = token(
        Algorithm::RS256,
        &rsa(),
        "a",
        "42",
        json!({ "exp": soon() - 661 }),
    );
    assert_eq!(world.refused(&old).await, Code::TokenExpired);
    for late in [json!({ "exp": soon() - 630 }), json!({ "nbf": soon() - 599 })] {
        let leeway = token(Algorithm::RS256, &rsa(), "a", "42", late);
        assert_eq!(
            world.hello(&leeway).await,
            Ok(who_a.clone()),
            "another clock may be a minute off"
        );
    }
    for role in [
        json!("admin"),
        json!("merchant"),
        json!("authenticated"),
        json!(["admin"]),
        json!(null),
        json!(7),
    ] {
        let ambitious = token(Algorithm::RS256, &rsa(), "a", "42", json!({ "role": role }));
        assert_eq!(world.hello(&ambitious).await, Ok(who_a.clone()), "{role}");
        let answer = world
            .rest(Method::GET, "/admin/sales", Some(&ambitious), &[], "")
            .await;
        assert_eq!(answer.refusal(), Code::Forbidden, "{role}");
    }

    // At the other's sale: one clear answer at both doors.
    let join = json!({ "user_id": "42", "quantity": 1 }).to_string();
    let path = format!("/flash-sales/{of_b}/join-queue");
    let answer = world
        .rest(Method::POST, &path, Some(&good), &[], join.clone())
        .await;
    assert_eq!(answer.refusal(), Code::WrongMerchant);
    let mut socket = world.stranger().await;
    let hello = |token: &str| ConnectionCommand::Hello {
        token: token.into(),
        device: Some("phone".parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    socket.ok(hello(&good)).await;
    let join_b = ShopCommand::Join {
        sale: of_b,
        quantity: Quantity::ONE,
        nonce: None,
    };
    assert_eq!(
        socket.ask(join_b).await.expect_err("elsewhere").code,
        Code::WrongMerchant
    );
    // Priority counts at the own shop only: there is no way to name another's list.
    let path = format!("/flash-sales/{of_a}/join-queue");
    let first = token(
        Algorithm::RS256,
        &rsa(),
        "a",
        "vip",
        json!({ "priority": [of_a.to_string(), of_b.to_string()] }),
    );
    let answer = world
        .rest(
            Method::POST,
            &path,
            Some(&first),
            &[],
            json!({ "user_id": "vip" }).to_string(),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // Orders: customer 42 of the one does not see those of the other.
    let mut buyer = world.stranger().await;
    buyer.ok(hello(&good)).await;
    join_and_reserve(&mut buyer, of_a).await;
    let order = checkout(&mut buyer, of_a).await;
    let path = format!("/orders/{}", order.order);
    assert_eq!(
        world.rest(Method::GET, &path, Some(&good), &[], "").await.status,
        200
    );
    assert_eq!(
        world
            .rest(Method::GET, &path, Some(&at_b), &[], "")
            .await
            .refusal(),
        Code::OrderUnknown
    );
    let cancel = format!("/orders/{}/cancel", order.order);
    assert_eq!(
        world
            .rest(Method::POST, &cancel, Some(&at_b), &[], "")
            .await
            .refusal(),
        Code::OrderUnknown
    );
    world.server.stop().await;
}

#[tokio::test]
async fn keys_come_and_go_without_a_restart_and_a_secret_is_shown_once() {
    let world = World::with(QUICK).await;
    world.merchant("a").await;
    let made = world.key("a", json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (id, secret) = (
        made.body["key_id"].as_str().expect("an id"),
        made.body["secret"].as_str().expect("a secret"),
    );
    let signed = |secret: &str| {
        token(
            Algorithm::HS256,
            &EncodingKey::from_secret(secret.as_bytes()),
            "a",
            "42",
            json!({}),
        )
    };
    assert!(world.hello(&signed(secret)).await.is_ok());
    assert_eq!(
        world
            .refused(&signed("another secret of more than thirty-two"))
            .await,
        Code::TokenInvalid
    );
    let critical = Header {
        crit: Some(vec!["foo".into()]),
        ..Header::new(Algorithm::HS256)
    };
    let claims = json!({ "iss": "a", "aud": "sale", "sub": "42", "exp": soon() });
    let critical = encode(&critical, &claims, &EncodingKey::from_secret(secret.as_bytes())).expect("signs");
    assert_eq!(world.refused(&critical).await, Code::TokenInvalid);
    // A second key beside the first, another process that hears of it, and the first one's end.
    assert_eq!(
        world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await.status,
        201
    );
    let by_new = token(Algorithm::RS256, &rsa(), "a", "42", json!({}));
    assert_eq!(
        world.hello(&by_new).await,
        world.hello(&signed(secret)).await,
        "the same person by either key"
    );
    let listed = world
        .admin(Method::GET, "/admin/merchants/a/keys", Value::Null)
        .await;
    assert_eq!(listed.body["keys"].as_array().expect("keys").len(), 2);
    assert!(!listed.body.to_string().contains(secret), "it is shown once");
    let other = world.another("127.0.0.1:0").await;
    let path = format!("/admin/merchants/a/keys/{id}");
    assert_eq!(world.admin(Method::DELETE, &path, Value::Null).await.status, 204);
    assert_eq!(
        world.admin(Method::DELETE, &path, Value::Null).await.status,
        204,
        "again"
    );
    assert_eq!(world.refused(&signed(secret)).await, Code::TokenInvalid);
    assert!(world.hello(&by_new).await.is_ok());
    let url = format!("http://{}/carts/42", other.address);
    let ask = || async {
        let answer = world
            .http
            .get(&url)
            .bearer_auth(signed(secret))
            .send()
            .await
            .expect("an answer");
        answer.status().as_u16()
    };
    let began = std::time::Instant::now();
    while ask().await != 401 {
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "another process has not heard of it"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (wrong, why) in [
        (json!({ "keys": "x" }), "keys"),
        (json!({ "keys": PROVIDER }), "private"),
        (
            json!({ "keys": r#"{"keys":[{"kty":"OKP","crv":"X25519","x":"oZDHmp9TVACY5sbG5zR3tnTG2eHiO_17_TBD4MHSeGE","kid":"odd"}]}"# }),
            "odd",
        ),
        (json!({ "jwks_uri": "http://10.0.0.1/keys" }), "jwks_uri"),
        (json!({ "jwks_uri": "https://localhost/keys" }), "public internet"),
        (
            json!({ "jwks_uri": "https://shop.example/keys", "keys": PROVIDER_PUBLIC }),
            "together",
        ),
        (json!({ "issuer": "" }), "issuer"),
        (json!({ "issuer": "a\nb" }), "control"),
        (json!({ "audience": "x".repeat(501) }), "audience"),
    ] {
        let answer = world.key("a", wrong).await;
        assert_eq!(answer.refusal(), Code::InvalidField);
        assert!(answer.detail().contains(why), "{}", answer.detail());
    }
    // Eight at once do not pass the limit of twenty.
    let many = futures_util::future::join_all((0..30).map(|_| world.key("a", json!({})))).await;
    let made = many.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 19);
    assert!(
        many.iter()
            .filter(|answer| answer.status != 201)
            .all(|answer| answer.refusal() == Code::QuotaReached)
    );
    other.stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_shop_cannot_claim_the_customers_of_another_by_their_public_keys() {
    let world = World::with(QUICK).await;
    for shop in ["a", "b"] {
        world.merchant(shop).await;
    }
    let keys = json!({ "issuer": "b", "keys": PROVIDER_PUBLIC });
    let made = world.key("b", keys.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let theirs = token(Algorithm::RS256, &rsa(), "b", "42", json!({}));
    let who = world.hello(&theirs).await.expect("in");
    assert_eq!(world.key("a", keys.clone()).await.refusal(), Code::IssuerTaken);
    assert_eq!(world.hello(&theirs).await, Ok(who), "still at their own shop");
    // Another audience is another application; a secret of ours signs nothing that the other shop's provider signs.
    for mine in [
        json!({ "issuer": "b", "audience": "mine", "keys": PROVIDER_PUBLIC }),
        json!({ "issuer": "b" }),
    ] {
        let answer = world.key("a", mine).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(
        world.key("b", keys.clone()).await.status,
        201,
        "a second of its own"
    );
    // Eight at once from both: one shop gets it.
    let both = (0..8).map(|n| {
        let shop = if n % 2 == 0 { "a" } else { "b" };
        world.key(shop, json!({ "issuer": "new", "keys": PROVIDER_PUBLIC }))
    });
    let answers = futures_util::future::join_all(both).await;
    let made = |shop: usize| {
        answers
            .iter()
            .skip(shop)
            .step_by(2)
            .filter(|answer| answer.status == 201)
            .count()
    };
    assert_eq!(made(0).max(made(1)), 4, "{answers:?}");
    assert_eq!(made(0).min(made(1)), 0, "{answers:?}");
    world.server.stop().await;
}

#[tokio::test]
async fn a_revoked_key_and_a_suspended_shop_end_what_open_sockets_may_do() {
    let world = World::with(QUICK).await;
    world.merchant("a").await;
    let id = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let enter = async |sub: &str| {
        let made = world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let mut socket = world.stranger().await;
        let hello = ConnectionCommand::Hello {
            token: token(Algorithm::RS256, &rsa(), "a", sub, json!({})),
            device: Some(format!("phone-{sub}").parse().expect("an id")),
            resume: vec![],
            changes: false,
        };
        socket.ok(hello).await;
        join_and_reserve(&mut socket, id).await;
        (socket, made.body["key_id"].as_str().expect("an id").to_owned())
    };
    let pay = || ShopCommand::Checkout {
        sale: id,
        payment: None,
    };
    let (mut socket, key) = enter("1").await;
    let path = format!("/admin/merchants/a/keys/{key}");
    assert_eq!(world.admin(Method::DELETE, &path, Value::Null).await.status, 204);
    let refused = socket.ask(pay()).await.expect_err("the key is revoked");
    assert_eq!(refused.code, Code::TokenInvalid);
    let (mut socket, _) = enter("2").await;
    let suspend =
        |active: bool| world.admin(Method::PATCH, "/admin/merchants/a", json!({ "active": active }));
    assert_eq!(suspend(false).await.status, 200);
    let refused = socket.ask(pay()).await.expect_err("the shop is suspended");
    assert_eq!(refused.code, Code::MerchantSuspended);
    assert_eq!(suspend(true).await.status, 200);
    socket.ok(pay()).await;
    world.server.stop().await;
}

//! Tokens, at both doors.

use crate::harness::World;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale_protocol::{CloseCode, Code, ConnectionCommand, Role};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SECRET: &str = "the shared secret of these tests, which is long";
/// An identity provider's keys, made for these tests.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEID8Rh8pd91mSth+lNpLA8yOf0G96fxTSiP1zVkCetwYg
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAgrumIomjMDQVt1l84IbAr0yq7dy+vJlQeX2Kr+5tZaY=
-----END PUBLIC KEY-----
";

fn shared(secret: &str, claims: &Value) -> String {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .expect("signs")
}

fn provider(claims: &Value) -> String {
    let key = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).expect("a key");
    encode(&Header::new(Algorithm::EdDSA), claims, &key).expect("signs")
}

fn unsigned(algorithm: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.",
        part(&json!({ "alg": algorithm, "typ": "JWT" })),
        part(claims)
    )
}

/// Claims that are accepted, with changes; null leaves one out.
fn claims(changes: Value) -> Value {
    let exp = chrono::Utc::now().timestamp() + 600;
    let mut claims = json!({ "sub": "u1", "exp": exp, "iss": "shop", "aud": "sale" });
    let fields = claims.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    fields.retain(|_, value| !value.is_null());
    claims
}

#[tokio::test]
async fn a_token_that_proves_nothing_signs_nobody_in_at_either_door() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    std::fs::write(&file, PUBLIC).expect("written");
    let file = file.display().to_string();
    let world = World::with(&[
        "--jwt-secret",
        SECRET,
        "--jwt-public-key-file",
        &file,
        "--jwt-merchant",
        "the-shop",
        "--jwt-issuer",
        "shop",
        "--jwt-audience",
        "sale",
    ])
    .await;
    let good = claims(json!({}));
    let invalid = [
        shared("another secret, which is as long as it must be", &good),
        shared(PUBLIC, &good),
        shared(PUBLIC.trim(), &good),
        unsigned("none", &good),
        unsigned("None", &good),
        unsigned("HS256", &good),
        unsigned("EdDSA", &good),
        provider(&claims(json!({ "iss": "elsewhere" }))),
        provider(&claims(json!({ "iss": null }))),
        provider(&claims(json!({ "aud": "elsewhere" }))),
        provider(&claims(json!({ "aud": null }))),
        shared(SECRET, &claims(json!({ "iss": "elsewhere" }))),
        shared(SECRET, &claims(json!({ "aud": "elsewhere" }))),
        // The platform's own secret signs no merchant's customers.
        shared(SECRET, &good),
        shared(SECRET, &claims(json!({ "iss": null }))),
        shared(
            SECRET,
            &claims(json!({ "iss": null, "aud": null, "role": "root" })),
        ),
        shared(SECRET, &claims(json!({ "iss": null, "aud": null, "sub": "a b" }))),
        provider(&claims(json!({ "sub": null }))),
        provider(&claims(json!({ "sub": "" }))),
        provider(&claims(json!({ "sub": "x".repeat(256) }))),
        provider(&claims(json!({ "sub": "a\0b" }))),
        provider(&claims(json!({ "exp": null }))),
        provider(&claims(json!({ "exp": "tomorrow" }))),
        provider(&claims(json!({ "nbf": 32_503_680_000_u64 }))),
        provider(&good).replace('.', "."[..0].as_ref()),
        format!("{}A", provider(&good)),
        "x".into(),
        "..".into(),
    ];
    let expired = [
        provider(&claims(json!({ "exp": 1 }))),
        shared(
            SECRET,
            &claims(json!({ "iss": null, "aud": null, "exp": chrono::Utc::now().timestamp() - 1 })),
        ),
    ];
    let refusals = invalid
        .iter()
        .map(|token| (token, Code::TokenInvalid, CloseCode::TokenInvalid));
    let refusals = refusals.chain(
        expired
            .iter()
            .map(|token| (token, Code::TokenExpired, CloseCode::TokenExpired)),
    );
    for (token, code, close) in refusals {
        let answer = world.rest(Method::GET, "/carts/u1", Some(token), &[], "").await;
        assert_eq!(answer.refusal(), code, "{token}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let mut socket = world.stranger().await;
        let hello = ConnectionCommand::Hello {
            token: token.clone(),
            device: None,
            resume: vec![],
            changes: false,
        };
        assert_eq!(socket.ask(hello).await.expect_err(token).code, code, "{token}");
        assert_eq!(socket.closed().await, close);
    }
    for headers in [
        vec![],
        vec![("authorization", "Basic dTE6")],
        vec![("authorization", "Bearer ")],
    ] {
        let answer = world.rest(Method::GET, "/carts/u1", None, &headers, "").await;
        assert_eq!(answer.refusal(), Code::TokenMissing, "{headers:?}");
    }
    let hello = |token: String| ConnectionCommand::Hello {
        token,
        device: None,
        resume: vec![],
        changes: false,
    };
    let mut socket = world.stranger().await;
    assert_eq!(
        socket.ask(hello(String::new())).await.expect_err("absent").code,
        Code::TokenMissing
    );
    // The same socket may still say it right; and this is what the refused ones lack.
    socket.ok(hello(provider(&good))).await;
    for token in [
        provider(&good),
        provider(&claims(json!({ "role": "root" }))),
        shared(SECRET, &claims(json!({ "iss": null, "aud": null }))),
    ] {
        for scheme in ["Bearer", "bearer"] {
            let headers = [("authorization", format!("{scheme} {token}"))];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            let answer = world.rest(Method::GET, "/carts/u1", None, &headers, "").await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_guests_token_is_good_on_its_device_only_at_either_door() {
    let world = World::start().await;
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let text = |name: &str| session[name].as_str().expect("a text").to_owned();
    let cart = format!("/carts/{}", text("shopper"));
    let answer = world
        .rest(Method::GET, &cart, Some(&text("token")), &[], "")
        .await;
    assert_eq!(answer.refusal(), Code::DeviceMismatch, "the device is `dev` here");
    let mut socket = world.stranger().await;
    let hello = |device: &str| ConnectionCommand::Hello {
        token: text("token"),
        device: Some(device.parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    assert_eq!(
        socket.ask(hello("dev")).await.expect_err("another device").code,
        Code::DeviceMismatch
    );
    socket.ok(hello(&text("device"))).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_live_socket_is_closed_with_4100_when_its_token_expires() {
    let world = World::start().await;
    let token = world
        .server
        .app
        .authority
        .signer
        .issue(
            "u1".parse().expect("an id"),
            Role::Shopper,
            None,
            Duration::from_secs(2),
        )
        .expect("signs");
    let mut socket = world.stranger().await;
    let hello = ConnectionCommand::Hello {
        token: token.clone(),
        device: None,
        resume: vec![],
        changes: false,
    };
    let flashsale_protocol::Done::Welcome(welcome) = socket.ok(hello).await else {
        panic!("a welcome")
    };
    assert_eq!(socket.closed().await, CloseCode::TokenExpired);
    let late_ms = chrono::Utc::now().timestamp_millis() - welcome.token_expires_at as i64;
    assert!((0..500).contains(&late_ms), "{late_ms} ms after its end");
    let answer = world.rest(Method::GET, "/carts/u1", Some(&token), &[], "").await;
    assert_eq!(answer.refusal(), Code::TokenExpired);
    world.server.stop().await;
}

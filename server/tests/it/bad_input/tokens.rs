//! Tokens, at both doors.

use crate::harness::World;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale_protocol::{CloseCode, Code, ConnectionCommand, Role};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

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
    let in_days = |days: i64| json!(chrono::Utc::now().timestamp() + days * 24 * 3600);
    let invalid = [
        provider(&claims(json!({ "exp": in_days(401) }))),
        provider(&claims(json!({ "exp": 1e300 }))),
        shared(
            SECRET,
            &claims(json!({ "iss": null, "aud": null, "exp": in_days(401) })),
        ),
        shared(
            SECRET,
            &claims(json!({ "iss": null, "aud": null, "exp": u64::MAX })),
        ),
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
        provider(&claims(json!({ "exp": in_days(399) }))),
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

#[tokio::test]
async fn the_longest_time_of_a_token_is_a_setting_and_its_refusal_says_what_to_do() {
    let world = World::with(&["--jwt-secret", SECRET, "--token-days", "2"]).await;
    let ends_in = |days: i64| {
        let exp = chrono::Utc::now().timestamp() + days * 24 * 3600;
        shared(SECRET, &json!({ "sub": "u1", "exp": exp }))
    };
    let ask = async |days| {
        world
            .rest(Method::GET, "/carts/u1", Some(&ends_in(days)), &[], "")
            .await
    };
    assert_eq!(ask(1).await.status, 200);
    let refused = ask(3).await;
    assert_eq!(refused.refusal(), Code::TokenInvalid);
    assert!(refused.detail().contains("more than 2 days"), "{refused:?}");
    world.server.stop().await;
}

#[tokio::test]
async fn who_asks_is_said_once_or_not_at_all() {
    let world = World::start().await;
    let (one, other) = (world.token("u1", Role::Shopper), world.token("u2", Role::Shopper));
    let boss = world.token("boss", Role::Admin);
    let bearer = |token: &str| format!("Bearer {token}");
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = world.http.get(world.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.expect("JSON"))
    };
    let (one, other, boss) = (bearer(&one), bearer(&other), bearer(&boss));
    for (path, headers) in [
        ("/carts/u1", [("authorization", &one), ("authorization", &other)]),
        ("/carts/u1", [("authorization", &one), ("authorization", &one)]),
        (
            "/admin/sales",
            [("authorization", &boss), ("authorization", &one)],
        ),
        (
            "/admin/sales",
            [("authorization", &one), ("authorization", &boss)],
        ),
    ] {
        let headers = headers.map(|(name, value)| (name, value.as_str()));
        let (status, body) = ask(path, &headers).await;
        assert_eq!(
            (status, &body["code"]),
            (Code::InvalidField.http_status(), &json!("invalid_field"))
        );
        assert!(
            body["detail"]
                .as_str()
                .is_some_and(|told| told.starts_with("Authorization: ")),
            "{body}"
        );
    }
    let two_devices = [
        ("authorization", one.as_str()),
        ("x-device-id", "a"),
        ("x-device-id", "b"),
    ];
    let (_, body) = ask("/carts/u1", &two_devices).await;
    assert_eq!(body["code"], "invalid_field", "{body}");
    // Two pages are nobody's: no sale of a shop with a list is shown there.
    let (status, _) = ask("/carts/u1", &[("authorization", &one)]).await;
    assert_eq!(status, 200);

    // Of two devices in cookies of one name neither counts; twice the same one does.
    let session = async |cookies: &[String]| {
        let mut request = world.http.post(world.url("/session"));
        for cookie in cookies {
            request = request.header("cookie", cookie);
        }
        request
            .send()
            .await
            .expect("an answer")
            .json::<Value>()
            .await
            .expect("JSON")
    };
    let (mine, theirs) = (session(&[]).await, session(&[]).await);
    let cookie = |of: &Value| {
        format!(
            "flashsale_device={}",
            of["device"].as_str().expect("a credential")
        )
    };
    assert_eq!(
        session(&[cookie(&mine), cookie(&mine)]).await["shopper"],
        mine["shopper"]
    );
    for both in [
        vec![cookie(&theirs), cookie(&mine)],
        vec![format!("{}; {}", cookie(&mine), cookie(&theirs))],
    ] {
        let got = session(&both).await;
        assert!(
            got["shopper"] != mine["shopper"] && got["shopper"] != theirs["shopper"],
            "{got}"
        );
    }
    // One that is no credential is nothing.
    let with_noise = format!("flashsale_device=x; {}", cookie(&mine));
    assert_eq!(session(&[with_noise]).await["shopper"], mine["shopper"]);
    world.server.stop().await;
}

/// A provider whose documents are wrong, by path.
async fn provider_of_nonsense() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 2_048];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let (status, more, body) = match path {
                    "/huge" => ("200 OK", "", format!("{{\"keys\":[{}]}}", "1,".repeat(50_000))),
                    "/html" => ("200 OK", "", "<html>sign in first</html>".to_owned()),
                    "/unknown" => (
                        "200 OK",
                        "",
                        json!({ "keys": [{ "kty": "lattice", "kid": "1" }, { "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }] })
                            .to_string(),
                    ),
                    "/private" => ("302 Found", "location: http://10.0.0.1/keys\r\n", String::new()),
                    "/slow" => return tokio::time::sleep(Duration::from_secs(60)).await,
                    _ => ("404 Not Found", "", String::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_provider_s_document_that_cannot_be_used_makes_no_key_and_is_named() {
    let world = World::with(&["--jwks-reach", "loopback"]).await;
    let boss = world.token("boss", Role::Admin);
    let made = json!({ "name": "a", "slug": "a" }).to_string();
    let made = world
        .rest(Method::POST, "/admin/merchants", Some(&boss), &[], made)
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let origin = provider_of_nonsense().await;
    let add = async |path: &str| {
        let body = json!({ "issuer": "a", "audience": "sale", "jwks_uri": format!("{origin}{path}") });
        let body = body.to_string();
        world
            .rest(Method::POST, "/admin/merchants/a/keys", Some(&boss), &[], body)
            .await
    };
    let paths = ["/huge", "/html", "/unknown", "/private", "/slow", "/none"];
    let answers = futures_util::future::join_all(paths.map(&add)).await;
    for (path, answer) in paths.iter().zip(&answers) {
        assert_eq!(answer.refusal(), Code::InvalidField, "{path}: {answer:?}");
        assert!(answer.detail().starts_with("jwks_uri: "), "{path}: {answer:?}");
    }
    let keys = world
        .rest(Method::GET, "/admin/merchants/a/keys", Some(&boss), &[], "")
        .await;
    assert_eq!(keys.body["keys"], json!([]));
    world.server.stop().await;
}

#[tokio::test]
async fn a_token_that_is_too_long_is_refused_at_either_door() {
    let world = World::with(&["--jwt-secret", SECRET]).await;
    let long = |length: usize| {
        let exp = chrono::Utc::now().timestamp() + 600;
        shared(
            SECRET,
            &json!({ "sub": "u1", "exp": exp, "fill": "x".repeat(length) }),
        )
    };
    // The socket takes no message as long as 16 KiB, and neither door a token of 20.
    let (good, bad) = (long(9_000), long(15_000));
    assert!(bad.len() > 20_000 - 500, "{}", bad.len());
    for (token, code) in [(&good, None), (&bad, Some(Code::TokenInvalid))] {
        let answer = world.rest(Method::GET, "/carts/u1", Some(token), &[], "").await;
        match code {
            Some(code) => assert_eq!(answer.refusal(), code),
            None => assert_eq!(answer.status, 200, "{answer:?}"),
        }
    }
    let hello = |token: &str| ConnectionCommand::Hello {
        token: token.to_owned(),
        device: None,
        resume: vec![],
        changes: false,
    };
    world.stranger().await.ok(hello(&good)).await;
    let mut socket = world.stranger().await;
    let refused = flashsale_protocol::Request::new(crate::harness::command_id(), hello(&bad));
    socket.send(&refused.to_json()).await;
    assert_eq!(socket.closed().await, CloseCode::FrameTooLarge);
    world.server.stop().await;
}

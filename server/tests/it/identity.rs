//! Who is who: merchants' keys, tokens as providers make them, people at several merchants, devices, pages.

use crate::harness::{Answer, Client, QUICK, World, command_id};
use crate::purchase::{checkout, join_and_reserve};
use flashsale_protocol::{
    Code, Command, CommandId, ConnectionCommand, Done, Quantity, RefusedSale, Role, SaleId, ShopCommand,
    ShopperId,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::{connect_async, tungstenite::client::IntoClientRequest};

const PROVIDER: &str = include_str!("identity/rsa.pem");
const PROVIDER_PUBLIC: &str = include_str!("identity/rsa.pub.pem");
const OTHER: &str = include_str!("identity/ed.pem");
const OTHER_PUBLIC: &str = include_str!("identity/ed.pub.pem");
/// Tokens as identity providers make them.
const SHAPES: &str = include_str!("../../src/auth/keys/shapes.json");

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(PROVIDER.as_bytes()).expect("a key")
}

fn ed() -> EncodingKey {
    EncodingKey::from_ed_pem(OTHER.as_bytes()).expect("a key")
}

fn soon() -> i64 {
    chrono::Utc::now().timestamp() + 600
}

/// A token of a customer, for the audience `sale`.
fn token(algorithm: Algorithm, key: &EncodingKey, issuer: &str, sub: &str, more: Value) -> String {
    let mut claims = json!({ "iss": issuer, "aud": "sale", "sub": sub, "exp": soon() });
    let fields = claims.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    encode(&Header::new(algorithm), &claims, key).expect("signs")
}

impl World {
    async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        let boss = self.token("boss", Role::Admin);
        self.rest(method, path, Some(&boss), &[], body.to_string()).await
    }

    /// A merchant, with its name in addresses as its issuer's name too.
    async fn merchant(&self, slug: &str) {
        let answer = self
            .admin(
                Method::POST,
                "/admin/merchants",
                json!({ "name": slug, "slug": slug }),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    async fn key(&self, merchant: &str, fields: Value) -> Answer {
        let mut body = json!({ "issuer": merchant, "audience": "sale" });
        let all = body.as_object_mut().expect("an object");
        all.extend(fields.as_object().expect("an object").clone());
        self.admin(Method::POST, &format!("/admin/merchants/{merchant}/keys"), body)
            .await
    }

    async fn carts(&self, user: &str, token: &str) -> Answer {
        let user: String = user.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.rest(Method::GET, &format!("/carts/{user}"), Some(token), &[], "")
            .await
    }

    async fn hello(&self, token: &str) -> Result<ShopperId, Code> {
        let mut socket = self.stranger().await;
        let hello = ConnectionCommand::Hello {
            token: token.to_owned(),
            device: None,
            resume: vec![],
            changes: false,
        };
        match socket.ask(hello).await {
            Ok(Done::Welcome(welcome)) => Ok(welcome.shopper),
            Ok(other) => panic!("{other:?}"),
            Err(reject) => Err(reject.code),
        }
    }

    /// The same answer at both doors.
    async fn refused(&self, token: &str) -> Code {
        let code = self.carts("x", token).await.refusal();
        assert_eq!(self.hello(token).await, Err(code), "the other door");
        code
    }
}

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
async fn a_guest_is_another_person_at_each_merchant_and_sees_their_orders_of_both() {
    let world = World::start().await;
    for merchant in ["a", "b"] {
        world.merchant(merchant).await;
    }
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let text = |name: &str| session[name].as_str().expect("a text").to_owned();
    let mut guest = world.stranger().await;
    let hello = ConnectionCommand::Hello {
        token: text("token"),
        device: Some(text("device").parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    guest.ok(hello).await;
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut made = Vec::new();
    for merchant in ["a", "b"] {
        let sale = world
            .sale(json!({ "merchant": merchant, "total_stock": 5 }))
            .await;
        join_and_reserve(&mut guest, sale).await;
        let order = checkout(&mut guest, sale).await;
        made.push(order.order);
        let rows = world
            .server
            .app
            .shop
            .store
            .orders_of_sale(sale)
            .await
            .expect("Postgres");
        let [row] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        seen.push((row.shopper.to_string(), row.device.to_string()));
        assert_eq!(world.person(sale, &text("shopper")).await, row.shopper);
        for secret in [text("shopper"), text("device"), text("device_id")] {
            assert!(!format!("{row:?}").contains(&secret), "{row:?}");
        }
    }
    assert_ne!(seen[0].0, seen[1].0, "shopper");
    assert_ne!(seen[0].1, seen[1].1, "device");
    let Done::Orders(orders) = guest.ok(ShopCommand::Orders {}).await else {
        panic!("orders")
    };
    let mut all: Vec<_> = orders.iter().map(|order| order.order).collect();
    all.sort_unstable();
    made.sort_unstable();
    assert_eq!(all, made);
    for order in made {
        let headers = [("x-device-id", text("device"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let response = world
            .http
            .get(world.url(&format!("/orders/{order}")))
            .bearer_auth(text("token"))
            .header(headers[0].0, headers[0].1)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_device_is_known_by_its_credential_and_a_made_up_name_counts_for_its_session_only() {
    let world = World::start().await;
    let begin = async |body: Value| {
        world
            .rest(Method::POST, "/session", None, &[], body.to_string())
            .await
    };
    let first = begin(json!({})).await.body;
    let credential = first["device"].as_str().expect("a credential").to_owned();
    let again = begin(json!({ "device": credential })).await.body;
    assert_eq!(
        [&again["shopper"], &again["device_id"]],
        [&first["shopper"], &first["device_id"]]
    );
    let id = first["device_id"].as_str().expect("an id");
    let (_, tag) = credential.rsplit_once('.').expect("a tag");
    for wrong in [
        "a b".into(),
        id.to_owned(),
        format!("{id}.{tag}"),
        format!("{id}.0.20000.{tag}"),
        credential.replacen(".0.", ".1.", 1),
        format!("d_AAAAAAAAAAAAAAAAAAAAAA{}", &credential[id.len()..]),
    ] {
        let answer = begin(json!({ "device": wrong })).await;
        assert_eq!(answer.refusal(), Code::DeviceUnknown, "{wrong}");
    }
    // The cookie proves the device, so its secret need not be in the body for scripts to read.
    let cookie = format!("flashsale_device={credential}");
    let by_cookie = world
        .rest(Method::POST, "/session", None, &[("cookie", &cookie)], "")
        .await;
    assert_eq!(by_cookie.body["shopper"], first["shopper"]);
    assert_eq!(by_cookie.body["device"], first["device_id"]);
    let bad = world
        .rest(
            Method::POST,
            "/session",
            None,
            &[("cookie", "flashsale_device=d_x.y")],
            "",
        )
        .await;
    assert_eq!(bad.status, 200);
    assert_ne!(bad.body["shopper"], first["shopper"], "somebody new");

    // Two customers who call their device the same are on two devices.
    world.merchant("a").await;
    assert_eq!(
        world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await.status,
        201
    );
    let sale = world
        .sale(json!({ "merchant": "a", "total_stock": 5, "per_device_limit": 1 }))
        .await;
    let join = async |sub: &str, device: &str| {
        let mut socket = world.stranger().await;
        let hello = ConnectionCommand::Hello {
            token: token(Algorithm::RS256, &rsa(), "a", sub, json!({})),
            device: Some(device.parse().expect("an id")),
            resume: vec![],
            changes: false,
        };
        socket.ok(hello).await;
        socket
            .ask(ShopCommand::Join {
                sale,
                quantity: Quantity::ONE,
                nonce: None,
            })
            .await
    };
    assert!(join("one", "phone").await.is_ok());
    assert!(join("two", "phone").await.is_ok(), "a name of their own");
    assert!(join("three", &credential).await.is_ok());
    assert_eq!(
        join("four", &credential).await.expect_err("proven").code,
        Code::DeviceInLine
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_page_that_the_merchant_does_not_allow_shows_no_sale() {
    let world = World::start().await;
    world.merchant("a").await;
    let sale = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let token = world.token_on("u1", "d1");
    let path = format!("/flash-sales/{sale}/join-queue");
    let join = async |origin: &str| {
        let headers = [("origin", origin), ("x-device-id", "d1")];
        let body = json!({ "user_id": "u1" }).to_string();
        let client = flashsale::tls::client();
        let request = client.post(world.url(&path)).bearer_auth(&token).body(body);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.expect("an answer");
        let allowed = answer.headers().get("access-control-allow-origin").cloned();
        assert_eq!(
            allowed.as_ref().and_then(|any| any.to_str().ok()),
            Some("*"),
            "it may read the refusal"
        );
        answer.status().as_u16()
    };
    assert_eq!(join("https://anywhere.example").await, 200, "no list: every page");
    let set = async |fields: Value| {
        let answer = world.admin(Method::PATCH, "/admin/merchants/a", fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    set(json!({ "widget_origins": ["https://Shop.example/"] })).await;
    assert_eq!(join("https://shop.example").await, 200);
    assert_eq!(join("https://shop.example.evil.example").await, 403);
    assert_eq!(join("null").await, 403);
    assert_eq!(join(&world.url("")).await, 200, "our own pages");
    // A socket of such a page: the refused sale keeps no other from it.
    world.merchant("b").await;
    let other = world.sale(json!({ "merchant": "b", "total_stock": 5 })).await;
    let refused: SaleId = sale.to_string().parse().expect("an id");
    let mut request = format!("ws://{}/ws", world.server.address)
        .into_client_request()
        .expect("a request");
    let origin = "https://evil.example".parse().expect("a header");
    request.headers_mut().insert("origin", origin);
    let (stream, _) = connect_async(request).await.expect("connects");
    let mut page = Client {
        stream,
        events: Vec::new(),
    };
    let hello = ConnectionCommand::Hello {
        token: token.clone(),
        device: None,
        resume: vec![refused, other],
        changes: false,
    };
    let Done::Welcome(welcome) = page.ok(hello).await else {
        panic!("a welcome")
    };
    assert_eq!(welcome.states.len(), 1);
    assert_eq!(
        welcome.refused,
        [RefusedSale {
            sale: refused,
            code: Code::OriginRefused
        }]
    );
    for command in [
        Command::from(ConnectionCommand::Watch { sale: refused }),
        Command::from(ShopCommand::Join {
            sale: refused,
            quantity: Quantity::ONE,
            nonce: None,
        }),
    ] {
        assert_eq!(
            page.ask(command).await.expect_err("refused").code,
            Code::OriginRefused
        );
    }
    set(json!({ "null_origin": true })).await;
    assert_eq!(join("null").await, 200);
    // A page's tracing adds headers of its own.
    let preflight = flashsale::tls::client()
        .request(Method::OPTIONS, world.url("/session"))
        .header("origin", "null")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "sentry-trace, baggage, traceparent",
        )
        .send()
        .await
        .expect("an answer");
    let allowed = preflight.headers()["access-control-allow-headers"]
        .to_str()
        .expect("text");
    for header in ["sentry-trace", "baggage", "traceparent"] {
        assert!(allowed.contains(header), "{allowed}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn whoever_asks_is_told_everything_and_whoever_is_forgotten_comes_back_as_somebody_new() {
    let world = World::start().await;
    world.merchant("a").await;
    assert_eq!(
        world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await.status,
        201
    );
    let id = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let me = token(Algorithm::RS256, &rsa(), "a", "jane+shop@example.com", json!({}));
    let who = world.hello(&me).await.expect("in");
    let mut socket = world.stranger().await;
    let hello = ConnectionCommand::Hello {
        token: me.clone(),
        device: Some("phone".parse().expect("an id")),
        resume: vec![],
        changes: false,
    };
    socket.ok(hello).await;
    join_and_reserve(&mut socket, id).await;
    let order = checkout(&mut socket, id).await;
    let about = async |method: Method, query: &str| {
        let boss = world.token("boss", Role::Admin);
        let path = format!("/admin/merchants/a/person?{query}");
        world.rest(method, &path, Some(&boss), &[], "").await
    };
    let told = about(Method::GET, "subject=jane%2Bshop%40example.com").await;
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.body["subject"], "jane+shop@example.com");
    assert_eq!(told.body["orders"][0]["order_id"], order.order.to_string());
    let path = format!("/admin/orders/{}", order.order);
    let shown = world.admin(Method::GET, &path, Value::Null).await;
    assert_eq!(
        (&shown.body["customer"], &shown.body["person"]),
        (&json!("jane+shop@example.com"), &json!(who)),
        "the shop knows whose order it is"
    );
    let own = world.rest(Method::GET, "/me", Some(&me), &[], "").await;
    assert_eq!(own.body["people"][0], told.body);
    assert_eq!(about(Method::GET, &format!("person={who}")).await.body, told.body);
    assert_eq!(
        about(Method::GET, "subject=nobody").await.refusal(),
        Code::PersonUnknown
    );
    assert_eq!(about(Method::GET, "").await.refusal(), Code::InvalidField);
    for (method, path) in [(Method::DELETE, "/me"), (Method::GET, "/me")] {
        let refused = world.rest(method.clone(), path, None, &[], "").await;
        assert_eq!(refused.refusal(), Code::TokenMissing, "{method}");
    }
    assert_eq!(
        about(Method::DELETE, &format!("person={who}")).await.refusal(),
        Code::PersonBusy
    );
    assert_eq!(
        world
            .rest(Method::DELETE, "/me", Some(&me), &[], "")
            .await
            .refusal(),
        Code::PersonBusy
    );

    socket.ok(ShopCommand::Cancel { order: order.order }).await;
    let end = format!("/admin/sales/{id}/end");
    assert_eq!(world.admin(Method::POST, &end, Value::Null).await.status, 200);
    let began = std::time::Instant::now();
    let forgotten = loop {
        let answer = world.rest(Method::DELETE, "/me", Some(&me), &[], "").await;
        if answer.status == 204 || began.elapsed() > Duration::from_secs(10) {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(forgotten.status, 204, "{forgotten:?}");
    assert_eq!(
        about(Method::GET, &format!("person={who}")).await.refusal(),
        Code::PersonUnknown
    );
    let rows = world
        .server
        .app
        .shop
        .store
        .orders_of_sale(id)
        .await
        .expect("Postgres");
    assert!(!format!("{rows:?}").contains(who.as_str()), "{rows:?}");
    assert_eq!(rows.len(), 1, "the number stays");
    let back = world.hello(&me).await.expect("in");
    assert_ne!(back, who, "a new person");
    assert_eq!(world.hello(&me).await, Ok(back));
    assert_eq!(
        world.rest(Method::GET, "/me", Some(&me), &[], "").await.body["people"],
        json!([])
    );

    // A guest's device is forgotten with them.
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let guest = session["token"].as_str().expect("a token");
    let device = session["device"].as_str().expect("a credential");
    let gone = world
        .http
        .delete(world.url("/me"))
        .bearer_auth(guest)
        .send()
        .await
        .expect("an answer");
    assert_eq!(gone.status(), 204);
    assert_eq!(world.refused(guest).await, Code::TokenInvalid);
    let again = world
        .rest(
            Method::POST,
            "/session",
            None,
            &[],
            json!({ "device": device }).to_string(),
        )
        .await;
    assert_eq!(again.refusal(), Code::DeviceUnknown);
    world.server.stop().await;
}

#[tokio::test]
async fn nobody_hides_another_s_sale_and_the_list_goes_on_behind_its_cursor() {
    let world = World::with(QUICK).await;
    for merchant in ["loud", "quiet"] {
        world.merchant(merchant).await;
    }
    let in_days = |days: i64| (chrono::Utc::now() + chrono::TimeDelta::days(days)).to_rfc3339();
    let made = async |merchant: &str, fields: Value| {
        let mut body = json!({ "merchant": merchant, "total_stock": 1 });
        body.as_object_mut()
            .expect("an object")
            .extend(fields.as_object().expect("an object").clone());
        let answer = world.create_sale(body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["sale_id"].as_str().expect("an id").to_owned()
    };
    let later = json!({ "start_time": in_days(500), "end_time": in_days(501) });
    let mut all = Vec::new();
    for _ in 0..12 {
        all.push(made("loud", later.clone()).await);
        all.push(made("loud", json!({})).await);
    }
    let quiet = made("quiet", json!({})).await;
    all.push(quiet.clone());
    let list = async |query: &str| {
        world
            .rest(Method::GET, &format!("/flash-sales?{query}"), None, &[], "")
            .await
    };
    let ids = |answer: &Answer| -> Vec<String> {
        let sales = answer.body["sales"].as_array().expect("a list");
        sales
            .iter()
            .map(|sale| sale["sale_id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let first = list("limit=2").await;
    assert!(
        ids(&first).contains(&quiet),
        "each shop's first sale comes before anybody's second"
    );
    let (mut found, mut next) = (ids(&first), first.body["next"].clone());
    while let Some(after) = next.as_str() {
        let page = list(&format!("limit=7&after={after}")).await;
        found.extend(ids(&page));
        next = page.body["next"].clone();
    }
    assert_eq!(found.len(), all.len(), "each once");
    found.sort();
    all.sort();
    assert_eq!(found, all);
    assert_eq!(ids(&list("merchant=quiet").await), [quiet.as_str()]);
    assert_eq!(
        ids(&list("group=coming&merchant=quiet").await),
        Vec::<String>::new()
    );
    assert_eq!(ids(&list("group=coming").await).len(), 12);
    assert_eq!(list("merchant=nobody").await.refusal(), Code::MerchantUnknown);
    for wrong in ["group=dead", "limit=0", "limit=101", "after=x", "page=2"] {
        assert_eq!(list(wrong).await.refusal(), Code::InvalidField, "{wrong}");
    }
    // Quotas: none of eight at once passes them.
    let set = world
        .admin(
            Method::PATCH,
            "/admin/merchants/quiet",
            json!({ "open_sales": 3, "days_ahead": 30, "text_chars": 10 }),
        )
        .await;
    assert_eq!(set.status, 200, "{set:?}");
    let body = || json!({ "merchant": "quiet" });
    let many = futures_util::future::join_all((0..8).map(|_| world.create_sale(body()))).await;
    assert_eq!(many.iter().filter(|answer| answer.status == 201).count(), 2);
    assert!(
        many.iter()
            .filter(|answer| answer.status != 201)
            .all(|answer| answer.refusal() == Code::QuotaReached)
    );
    for wrong in [
        json!({ "merchant": "quiet", "start_time": in_days(31), "end_time": in_days(32) }),
        json!({ "merchant": "quiet", "description": "x".repeat(11) }),
    ] {
        assert_eq!(world.create_sale(wrong).await.refusal(), Code::InvalidField);
    }
    assert_eq!(
        world.create_sale(json!({ "merchant": "nobody" })).await.refusal(),
        Code::MerchantUnknown
    );
    // An operator of one shop knows nothing of the other.
    let operator = world.token("m1", Role::Merchant);
    for path in [
        "/admin/merchants/quiet",
        "/admin/merchants/quiet/keys",
        "/admin/sales?merchant=quiet",
    ] {
        let answer = world.rest(Method::GET, path, Some(&operator), &[], "").await;
        assert_eq!(answer.refusal(), Code::MerchantUnknown, "{path}");
    }
    // Two operators whose names make one name for addresses are two shops.
    for name in ["Two", "two", "TWO"] {
        let token = world.token(name, Role::Merchant);
        let now = chrono::Utc::now();
        let body = json!({
            "product_name": name, "currency": "EUR", "original_price": 1, "sale_price": 1, "total_stock": 1,
            "start_time": now.to_rfc3339(), "end_time": in_days(1),
        });
        let made = world
            .rest(Method::POST, "/admin/sales", Some(&token), &[], body.to_string())
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let own = world
            .rest(Method::GET, "/admin/sales", Some(&token), &[], "")
            .await;
        let names: Vec<&str> = own.body["sales"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|sale| sale["product_name"].as_str().expect("a name"))
            .collect();
        assert_eq!(names, [name]);
        let shop = world
            .rest(
                Method::GET,
                &format!("/admin/merchants/{name}"),
                Some(&token),
                &[],
                "",
            )
            .await;
        assert_eq!(shop.body["merchant_id"], name);
    }
    let twice = world
        .admin(
            Method::POST,
            "/admin/merchants",
            json!({ "name": "Quiet", "slug": "quiet" }),
        )
        .await;
    assert_eq!(twice.refusal(), Code::MerchantTaken);
    world.server.stop().await;
}

#[tokio::test]
async fn a_command_repeated_after_a_secret_was_rotated_names_the_same_order() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let mut before = world.shopper("u1").await;
    join_and_reserve(&mut before, sale).await;
    let id: CommandId = command_id();
    let buy = ShopCommand::Checkout { sale, payment: None };
    let Ok(Done::Order(order)) = before.ask_as(id, buy.clone()).await else {
        panic!("an order")
    };
    let rotated = world
        .try_another(&[("--orders-secret", "a-new-secret-of-orders-that-is-long-enough")])
        .await
        .expect("starts");
    let mut after = crate::harness::Client::connect(rotated.address).await;
    let hello = ConnectionCommand::Hello {
        token: world.token_on("u1", "device-of-u1"),
        device: None,
        resume: vec![sale],
        changes: false,
    };
    after.ok(hello).await;
    let Ok(Done::Order(again)) = after.ask_as(id, buy).await else {
        panic!("the same order")
    };
    assert_eq!(again.order, order.order);
    rotated.stop().await;
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

#[tokio::test]
async fn whoever_has_a_cart_or_a_place_of_a_moment_ago_is_not_forgotten() {
    let world = World::start().await;
    world.merchant("a").await;
    let made = world.key("a", json!({ "keys": PROVIDER_PUBLIC })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let customer = token(Algorithm::RS256, &rsa(), "a", "jane", json!({}));
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let guest = session["token"].as_str().expect("a token").to_owned();
    for (token, device) in [(customer, json!("phone")), (guest, session["device"].clone())] {
        let mut socket = world.stranger().await;
        let hello = ConnectionCommand::Hello {
            token: token.clone(),
            device: serde_json::from_value(device).expect("an id"),
            resume: vec![],
            changes: false,
        };
        socket.ok(hello).await;
        join_and_reserve(&mut socket, id).await;
        let refused = world
            .http
            .delete(world.url("/me"))
            .bearer_auth(&token)
            .send()
            .await;
        assert_eq!(refused.expect("an answer").status(), 409);
        checkout(&mut socket, id).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn an_operator_s_sale_never_bears_the_name_of_another_shop() {
    let world = World::with(QUICK).await;
    world.merchant("nordlicht").await;
    // The id that this operator's token names is the other shop's name in addresses.
    let operator = world.token("nordlicht", Role::Merchant);
    let own = json!({ "currency": "USD" }).to_string();
    let changed = world
        .rest(
            Method::PATCH,
            "/admin/merchants/nordlicht",
            Some(&operator),
            &[],
            own,
        )
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let (start, end) = (
        chrono::Utc::now(),
        chrono::Utc::now() + chrono::TimeDelta::hours(1),
    );
    let body = json!({
        "product_name": "Fake", "original_price": 200, "sale_price": 100, "total_stock": 1,
        "start_time": start.to_rfc3339(), "end_time": end.to_rfc3339(),
    });
    let made = world
        .rest(
            Method::POST,
            "/admin/sales",
            Some(&operator),
            &[],
            body.to_string(),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let fake = made.body["sale_id"].as_str().expect("an id");
    let seen = world
        .rest(Method::GET, &format!("/flash-sales/{fake}"), None, &[], "")
        .await;
    assert_ne!(seen.body["merchant"], "nordlicht", "{seen:?}");
    assert_eq!(seen.body["currency"], "USD", "the shop's own by default");
    world.server.stop().await;
}

//! Keys of merchants' own programs: what they open, and what ends them.

use crate::harness::{Answer, QUICK, World};
use flashsale_engine::store::audit;
use flashsale_protocol::{Code, Role};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// As long as another process may believe what it has read of a key.
const FELT: Duration = Duration::from_secs(1);

async fn ask(world: &World, method: Method, path: &str, token: &str, body: Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    world.rest(method, path, Some(token), &[], body).await
}

async fn shop(world: &World, name: &str) -> String {
    let boss = world.token("boss", Role::Admin);
    let made = ask(
        world,
        Method::POST,
        "/admin/merchants",
        &boss,
        json!({ "name": name }),
    )
    .await;
    made.body["merchant_id"].as_str().expect("an id").to_owned()
}

/// A key's id and the key.
async fn key(world: &World, shop: &str, scopes: &[&str]) -> (String, String) {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/merchants/{shop}/api-keys");
    let wish = json!({ "name": "the warehouse", "scopes": scopes });
    let made = ask(world, Method::POST, &path, &boss, wish).await;
    assert_eq!(made.status, 201, "{made:?}");
    let text = |name: &str| made.body[name].as_str().expect("a text").to_owned();
    (text("key_id"), text("secret"))
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say_in_its_own_shop_and_says_which_one_it_lacks() {
    let world = World::with(QUICK).await;
    let (lamps, chairs) = (shop(&world, "Lamps").await, shop(&world, "Chairs").await);
    let own = world.sale(json!({ "merchant": lamps })).await;
    let others = world.sale(json!({ "merchant": chairs })).await;
    let (get, post) = (Method::GET, Method::POST);
    let (_, reader) = key(&world, &lamps, &["sales:read"]).await;
    let (id, writer) = key(&world, &lamps, &["sales:write", "orders:read"]).await;
    assert!(reader.starts_with("fsk_"), "{reader}");
    let sale = format!("/admin/sales/{own}");
    let pause = format!("{sale}/pause");
    let order = "/admin/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let before = world.facts(own).await;
    for (method, path, key, lacks) in [
        (post.clone(), pause.clone(), &reader, "sales:write"),
        (get.clone(), format!("{sale}/entries.csv"), &reader, "exports"),
        (get.clone(), order.into(), &reader, "orders:read"),
        (get.clone(), sale.clone(), &writer, "sales:read"),
        (post.clone(), format!("{order}/refund"), &writer, "orders:write"),
    ] {
        let answer = ask(&world, method.clone(), &path, key, Value::Null).await;
        assert_eq!(answer.refusal(), Code::ScopeMissing, "{method} {path}");
        assert!(answer.detail().contains(lacks), "{}", answer.detail());
    }
    // No key decides who gets in, or speaks for a shopper.
    for (method, path) in [
        (get.clone(), format!("/admin/merchants/{lamps}/api-keys")),
        (post.clone(), format!("/admin/merchants/{lamps}/api-keys")),
        (get.clone(), "/admin/operators".into()),
        (get.clone(), format!("/admin/merchants/{lamps}")),
    ] {
        let answer = ask(&world, method.clone(), &path, &writer, json!({})).await;
        assert_eq!(answer.refusal(), Code::RoleRefused, "{method} {path}");
    }
    let cart = ask(&world, get.clone(), "/carts/u1", &writer, Value::Null).await;
    assert_eq!(cart.refusal(), Code::TokenInvalid);
    assert_eq!(world.facts(own).await, before);

    assert_eq!(
        ask(&world, get.clone(), &sale, &reader, Value::Null).await.status,
        200
    );
    let theirs = ask(
        &world,
        get.clone(),
        &format!("/admin/sales/{others}"),
        &reader,
        Value::Null,
    )
    .await;
    assert_eq!(theirs.refusal(), Code::SaleUnknown);
    assert_eq!(
        ask(&world, get.clone(), order, &writer, Value::Null)
            .await
            .refusal(),
        Code::OrderUnknown
    );
    let paused = ask(&world, post, &pause, &writer, json!({})).await;
    assert_eq!(paused.body["status"], "paused", "{paused:?}");
    // The key stands in the log, as what it is.
    let log = ask(&world, get, &format!("{sale}/audit"), &reader, Value::Null).await;
    let rows = log.body["rows"].to_string();
    assert!(rows.contains(&id) && rows.contains("api_key"), "{rows}");
    let sound = audit::verify(&world.database_url, Some(own), |_, found| assert!(found.is_ok())).await;
    sound.expect("a sound log");
    world.server.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_everywhere_within_a_second_and_one_in_an_address_at_once() {
    let world = World::with(QUICK).await;
    let other = world.another("127.0.0.1:0").await;
    let lamps = shop(&world, "Lamps").await;
    let (id, secret) = key(&world, &lamps, &["sales:read"]).await;
    let boss = world.token("boss", Role::Admin);
    let keys = format!("/admin/merchants/{lamps}/api-keys");
    let listed = async || ask(&world, Method::GET, &keys, &boss, Value::Null).await.body;
    assert_eq!(listed().await["keys"][0]["used_at"], Value::Null);
    let elsewhere = async || {
        let url = format!("http://{}/admin/sales", other.address);
        let answer = world.http.get(url).bearer_auth(&secret).send().await;
        answer.expect("an answer").status().as_u16()
    };
    assert_eq!(elsewhere().await, 200);
    let list = listed().await;
    assert!(list["keys"][0]["used_at"].is_string(), "{list}");
    assert!(!list.to_string().contains(&secret), "it is shown once");
    for path in [
        format!("/flash-sales?key={secret}"),
        format!("/admin/sales/{secret}"),
    ] {
        let answer = ask(&world, Method::GET, &path, &secret, Value::Null).await;
        assert_eq!(answer.refusal(), Code::KeyInAddress);
        assert!(!answer.body.to_string().contains(&secret));
    }
    let path = format!("{keys}/{id}");
    for _ in 0..2 {
        let gone = ask(&world, Method::DELETE, &path, &boss, Value::Null).await;
        assert_eq!(gone.status, 204, "again it stays revoked");
    }
    let refused = ask(&world, Method::GET, "/admin/sales", &secret, Value::Null).await;
    assert_eq!(refused.refusal(), Code::TokenInvalid, "here at once");
    let began = Instant::now();
    while elsewhere().await != 401 {
        assert!(
            began.elapsed() < FELT + Duration::from_millis(500),
            "still good at another gateway"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The secret is stored nowhere, a repetition gets it again, and there is an end to how many there are.
    let wish = json!({ "name": "twice", "scopes": ["exports", "exports"] }).to_string();
    let headers = [("idempotency-key", "k1")];
    let first = world
        .rest(Method::POST, &keys, Some(&boss), &headers, wish.clone())
        .await;
    let again = world.rest(Method::POST, &keys, Some(&boss), &headers, wish).await;
    assert_eq!(first.body, again.body);
    assert_eq!(first.body["scopes"], json!(["exports"]));
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres");
    let stored: String = sqlx::query_scalar(
        "SELECT concat((SELECT string_agg(k::text, ' ') FROM api_keys k), (SELECT string_agg(c::text, ' ') FROM operator_commands c))",
    )
    .fetch_one(&pool)
    .await
    .expect("a text");
    assert!(stored.contains("twice") && !stored.contains("fsk_"), "{stored}");
    pool.close().await;
    for (body, code) in [
        (json!({ "name": "", "scopes": ["exports"] }), Code::InvalidField),
        (json!({ "name": "x", "scopes": [] }), Code::InvalidField),
        (
            json!({ "name": "x", "scopes": ["everything"] }),
            Code::InvalidField,
        ),
    ] {
        assert_eq!(
            ask(&world, Method::POST, &keys, &boss, body).await.refusal(),
            code
        );
    }
    let many = (0..22).map(|n| json!({ "name": format!("n{n}"), "scopes": ["exports"] }));
    let many = many.map(|wish| ask(&world, Method::POST, &keys, &boss, wish));
    let many = futures_util::future::join_all(many).await;
    assert_eq!(many.iter().filter(|answer| answer.status == 201).count(), 19);
    other.stop().await;
    world.server.stop().await;
}

/// A shop's backend asks from one address for all its customers; whoever has no good key goes by the address.
#[tokio::test]
async fn a_good_key_has_a_budget_of_its_own_and_a_wrong_one_its_address_s() {
    let world = World::with(&[
        "--requests-per-s",
        "1",
        "--request-burst",
        "20",
        "--key-burst",
        "100",
    ])
    .await;
    let lamps = shop(&world, "Lamps").await;
    let (_, reader) = key(&world, &lamps, &["sales:read"]).await;
    let list = async |token: &str| ask(&world, Method::GET, "/admin/sales", token, Value::Null).await;
    for _ in 0..50 {
        let answer = list(&reader).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let left = list(&reader).await.headers["ratelimit"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(left.starts_with("\"caller\";r="), "{left}");
    let wrong = format!("{}x", &reader[..reader.len() - 1]);
    let mut refusals = Vec::new();
    for _ in 0..30 {
        refusals.push(list(&wrong).await.refusal());
    }
    assert_eq!(refusals[0], Code::TokenInvalid);
    // The budget fills again while refusals wait: which of the last ones it meets, the machine decides.
    assert!(refusals.contains(&Code::TooManyFromAddress), "{refusals:?}");
    // What was read of it is too old by now.
    tokio::time::sleep(FELT).await;
    assert_eq!(list(&reader).await.status, 200, "the good one goes on");
    world.server.stop().await;
}

/// Guesses from an address take nothing from a good key that is used there.
#[tokio::test]
async fn guesses_do_not_lock_a_good_key_out_of_its_address() {
    let world = World::with(QUICK).await;
    let lamps = shop(&world, "Lamps").await;
    let (_, reader) = key(&world, &lamps, &["sales:read"]).await;
    let list = async |token: &str| ask(&world, Method::GET, "/admin/sales", token, Value::Null).await;
    assert_eq!(list(&reader).await.status, 200);
    let guesses: Vec<String> = (0..250).map(|n| format!("fsk_{n:043}")).collect();
    let answers = futures_util::future::join_all(guesses.iter().map(|guess| list(guess))).await;
    assert!(
        answers
            .iter()
            .any(|answer| answer.refusal() == Code::TooManyFromAddress)
    );
    // It is read anew by now.
    tokio::time::sleep(FELT).await;
    futures_util::future::join_all(guesses.iter().map(|guess| list(guess))).await;
    assert_eq!(list(&reader).await.status, 200);
    world.server.stop().await;
}

//! A guest takes their place along to another browser: by a link that is good once.

use crate::harness::{Answer, NONCE, QUICK, World};
use flashsale_protocol::{Code, ConnectionCommand, Quantity, Role, SaleState, ShopCommand};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

struct Guest {
    token: String,
    body: Value,
}

async fn begin(world: &World, body: Value) -> Guest {
    let body = world
        .rest(Method::POST, "/session", None, &[], body.to_string())
        .await
        .body;
    let token = body["token"].as_str().expect("a token").to_owned();
    Guest { token, body }
}

impl Guest {
    async fn ask(&self, world: &World, method: Method, path: &str) -> Answer {
        let device = self.body["device"].as_str().expect("a device");
        let mut request = world
            .http
            .request(method, world.url(path))
            .bearer_auth(&self.token);
        request = request.header("x-device-id", device);
        let response = request.send().await.expect("an answer");
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.json().await.unwrap_or(Value::Null),
        }
    }

    async fn link(&self, world: &World) -> String {
        let made = self.ask(world, Method::POST, "/session/link").await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body["code"].as_str().expect("a code").to_owned()
    }
}

async fn take(world: &World, code: &str) -> Answer {
    let body = json!({ "link": code }).to_string();
    world.rest(Method::POST, "/session", None, &[], body).await
}

#[tokio::test]
async fn a_place_comes_along_to_another_browser_and_the_old_one_goes_on() {
    let world = World::with(QUICK).await;
    let sale = world
        .sale(json!({ "start_time": "2099-01-01T00:00:00Z", "end_time": "2099-01-02T00:00:00Z", "room_opens_at": "2020-01-01T00:00:00Z" }))
        .await;
    let old = begin(&world, json!({})).await;
    let hello = |guest: &Guest| ConnectionCommand::Hello {
        token: guest.token.clone(),
        device: Some(
            guest.body["device"]
                .as_str()
                .expect("a device")
                .parse()
                .expect("an id"),
        ),
        resume: vec![],
        changes: false,
    };
    let mut first = world.stranger().await;
    first.ok(hello(&old)).await;
    first
        .ok(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(NONCE),
        })
        .await;
    assert_eq!(
        old.ask(&world, Method::GET, "/session/link").await.refusal(),
        Code::LinkUnknown
    );
    let code = old.link(&world).await;
    let pending = old.ask(&world, Method::GET, "/session/link").await.body;
    assert_eq!(pending["taken_at"], Value::Null);
    assert!(pending.get("code").is_none(), "nobody is told it twice");

    let taken = take(&world, &code).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    assert!(
        taken.headers["set-cookie"]
            .to_str()
            .expect("text")
            .starts_with("flashsale_device=")
    );
    assert_eq!(taken.body["shopper"], old.body["shopper"]);
    let new = Guest {
        token: taken.body["token"].as_str().expect("a token").to_owned(),
        body: taken.body,
    };
    let mut second = world.stranger().await;
    second.ok(hello(&new)).await;
    let place = |state: SaleState| {
        state
            .entry
            .map(|entry| (entry.state, entry.position, entry.nonce))
    };
    let (there, here) = (place(second.watch(sale).await), place(first.watch(sale).await));
    assert!(there.is_some());
    assert_eq!(there, here, "both browsers have the place");
    assert!(old.ask(&world, Method::GET, "/session/link").await.body["taken_at"].is_string());
    // The new browser's credential proves the same guest the next time.
    let again = begin(&world, json!({ "device": new.body["device"] })).await;
    assert_eq!(again.body["shopper"], old.body["shopper"]);
    world.server.stop().await;
}

#[tokio::test]
async fn a_link_is_good_once_and_guessed_used_and_old_ones_get_one_answer() {
    let world = World::with(QUICK).await;
    let guest = begin(&world, json!({})).await;
    // A form of another site makes nobody somebody else: its answer has no cookie.
    let elsewhere = json!({ "link": guest.link(&world).await }).to_string();
    let site = [("origin", "https://evil.example")];
    let answer = world.rest(Method::POST, "/session", None, &site, elsewhere).await;
    assert_eq!(answer.status, 200, "widgets in other pages keep what it says");
    assert!(!answer.headers.contains_key("set-cookie"));
    let code = guest.link(&world).await;
    // Eight browsers at once: one gets it.
    let taken = join_all((0..8).map(|_| take(&world, &code))).await;
    assert_eq!(taken.iter().filter(|answer| answer.status == 200).count(), 1);
    let replayed = take(&world, &code).await;
    let replaced = guest.link(&world).await;
    let newest = guest.link(&world).await;
    let old = guest.link(&world).await;
    let pool = PgPool::connect(&world.database_url).await.expect("Postgres");
    sqlx::query("UPDATE place_links SET expires_at = now()")
        .execute(&pool)
        .await
        .expect("changes");
    let stored: Vec<u8> = sqlx::query_scalar("SELECT code FROM place_links")
        .fetch_one(&pool)
        .await
        .expect("one a guest");
    assert!(!String::from_utf8_lossy(&stored).contains(&old), "only its hash");
    let mut answers = vec![replayed];
    for wrong in [
        replaced.as_str(),
        &newest,
        &old,
        "AAAAAAAAAAAAAAAAAAAAAA",
        "x",
        "",
    ] {
        answers.push(take(&world, wrong).await);
    }
    for answer in &answers {
        assert_eq!(answer.refusal(), Code::LinkUnknown);
        assert_eq!(answer.body, answers[0].body);
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    // Whoever signs in at a shop has no use for it.
    let customer = world.token("u1", Role::Shopper);
    let refused = world
        .rest(Method::POST, "/session/link", Some(&customer), &[], "")
        .await;
    assert_eq!(refused.refusal(), Code::Forbidden);
    // A guest who is forgotten leaves no link behind.
    let code = guest.link(&world).await;
    assert_eq!(guest.ask(&world, Method::DELETE, "/me").await.status, 204);
    assert_eq!(take(&world, &code).await.refusal(), Code::LinkUnknown);
    world.server.stop().await;
}

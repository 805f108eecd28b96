//! What reaches the log: ids of ours, and nothing that people or their shops call them.

use crate::{
    harness::World,
    purchase::{checkout, join_and_reserve},
};
use flashsale_protocol::{ConnectionCommand, Role, ShopCommand};
use reqwest::Method;
use serde_json::json;
use std::{
    io::Write,
    sync::{Arc, Mutex},
};
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// Runs in a process of its own with nextest; in one process with others it hears them too, which does no harm.
#[tokio::test]
async fn no_subject_token_or_credential_reaches_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_env_filter("trace,hyper=off,h2=off,rustls=off,fred=off,sqlx=off")
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    let world = World::start().await;
    let boss = world.token("boss", Role::Admin);
    let post = async |path: &str, body: serde_json::Value| {
        world
            .rest(Method::POST, path, Some(&boss), &[], body.to_string())
            .await
    };
    assert_eq!(
        post("/admin/merchants", json!({ "name": "a", "slug": "a" }))
            .await
            .status,
        201
    );
    let made = post(
        "/admin/merchants/a/keys",
        json!({ "issuer": "a", "audience": "sale" }),
    )
    .await;
    let secret = made.body["secret"].as_str().expect("a secret").to_owned();
    let subject = "mallory+secretly@example.com";
    let claims = json!({
        "iss": "a", "aud": "sale", "sub": subject, "exp": chrono::Utc::now().timestamp() + 600,
    });
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256),
        &claims,
        &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes()),
    )
    .expect("signs");
    let sale = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let device = session["device"].as_str().expect("a credential").to_owned();
    let guest = session["token"].as_str().expect("a token").to_owned();
    let mut client = world.stranger().await;
    let hello = ConnectionCommand::Hello {
        token: token.clone(),
        device: Some(device.parse().expect("an id")),
        resume: vec![sale],
        changes: false,
    };
    client.ok(hello).await;
    join_and_reserve(&mut client, sale).await;
    let order = checkout(&mut client, sale).await;
    client.ok(ShopCommand::Cancel { order: order.order }).await;
    let named = subject.replace('@', "%40").replace('+', "%2B");
    for path in [
        format!("/carts/{named}"),
        format!("/admin/merchants/a/person?subject={named}"),
    ] {
        let token = if path.starts_with("/admin") { &boss } else { &token };
        world.rest(Method::GET, &path, Some(token), &[], "").await;
    }
    for bad in [format!("{token}x"), format!("{guest}x")] {
        world.rest(Method::GET, "/me", Some(&bad), &[], "").await;
    }
    world
        .rest(
            Method::POST,
            "/session",
            None,
            &[],
            json!({ "device": device }).to_string(),
        )
        .await;
    world.server.stop().await;

    let logged = String::from_utf8_lossy(&log.0.lock().expect("the log")).into_owned();
    assert!(
        logged.contains("/carts/{user_id}"),
        "requests are logged: {logged:.500}"
    );
    let (_, device_secret) = device.rsplit_once('.').expect("a tag");
    for secret in [subject, &named, "mallory", &secret, &token, &guest, device_secret] {
        assert!(!logged.contains(secret), "{secret}");
    }
}

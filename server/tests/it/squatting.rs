//! An issuer that another shop has registered first: whoever proves that it is theirs has it.

use crate::harness::{Answer, QUICK, World};
use flashsale_protocol::Code;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEID8Rh8pd91mSth+lNpLA8yOf0G96fxTSiP1zVkCetwYg
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAgrumIomjMDQVt1l84IbAr0yq7dy+vJlQeX2Kr+5tZaY=
-----END PUBLIC KEY-----
";
/// The same key in a key set.
const X: &str = "grumIomjMDQVt1l84IbAr0yq7dy-vJlQeX2Kr-5tZaY";

/// An identity provider with two tenants: its keys are below the one, and the discovery document of the other names them.
async fn provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let own = origin.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let own = own.clone();
            tokio::spawn(async move {
                let mut request = [0; 2_048];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": X, "kid": "1" }] });
                let (status, body) = match text.split(' ').nth(1).unwrap_or_default() {
                    "/shop/keys" | "/keys" => ("200 OK", keys.to_string()),
                    "/far/.well-known/openid-configuration" => (
                        "200 OK",
                        json!({ "issuer": format!("{own}/far"), "jwks_uri": format!("{own}/keys") })
                            .to_string(),
                    ),
                    _ => ("404 Not Found", String::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            });
        }
    });
    origin
}

fn token(issuer: &str, more: Value) -> String {
    let exp = chrono::Utc::now().timestamp() + 600;
    let mut claims = json!({ "iss": issuer, "aud": "sale", "sub": "42", "exp": exp });
    let all = claims.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    let key = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).expect("a key");
    encode(&Header::new(Algorithm::EdDSA), &claims, &key).expect("signs")
}

/// A shop, and its id.
async fn shop(world: &World, slug: &str) -> String {
    let made = world
        .admin(
            Method::POST,
            "/admin/merchants",
            json!({ "name": slug, "slug": slug }),
        )
        .await;
    made.body["merchant_id"].as_str().expect("an id").to_owned()
}

async fn add(world: &World, shop: &str, fields: Value) -> Answer {
    let mut body = json!({ "audience": "sale" });
    let all = body.as_object_mut().expect("an object");
    all.extend(fields.as_object().expect("an object").clone());
    world
        .admin(Method::POST, &format!("/admin/merchants/{shop}/keys"), body)
        .await
}

#[tokio::test]
async fn who_proves_an_issuer_has_it_and_gives_it_to_nobody() {
    let world = World::with(&[QUICK, &["--jwks-reach", "loopback"]].concat()).await;
    let (squatter, owner) = (shop(&world, "squatter").await, shop(&world, "owner").await);
    let origin = provider().await;
    for (issuer, uri) in [
        (format!("{origin}/shop"), format!("{origin}/shop/keys")),
        (format!("{origin}/far"), format!("{origin}/keys")),
    ] {
        // Keys of its own making, and the provider's.
        for keys in [json!({ "keys": PUBLIC }), json!({ "jwks_uri": uri })] {
            let mut fields = keys;
            fields["issuer"] = json!(issuer);
            assert_eq!(add(&world, &squatter, fields).await.status, 201);
        }
        let customer = token(&issuer, json!({}));
        let before = world.hello(&customer).await.expect("in");
        let claim = json!({ "issuer": issuer, "jwks_uri": uri });
        assert_eq!(
            add(&world, &owner, claim.clone()).await.refusal(),
            Code::IssuerTaken
        );
        let with = |proof: &str| {
            let mut fields = claim.clone();
            fields["proof"] = json!(proof);
            fields
        };
        // A customer's token, one for the other shop, one of another issuer, none.
        for wrong in [
            customer.clone(),
            token(&issuer, json!({ "flashsale_shop": squatter })),
            token("https://elsewhere.example", json!({ "flashsale_shop": owner })),
            token(&issuer, json!({ "flashsale_shop": owner, "aud": "another" })),
            token(&issuer, json!({ "flashsale_shop": owner, "exp": 1 })),
            "x".into(),
        ] {
            let answer = add(&world, &owner, with(&wrong)).await;
            assert_eq!(answer.refusal(), Code::InvalidField, "{answer:?}");
            assert!(answer.detail().starts_with("proof: "), "{answer:?}");
        }
        let proof = token(&issuer, json!({ "https://owner.example/flashsale_shop": owner }));
        let mut pasted = with(&proof);
        let fields = pasted.as_object_mut().expect("an object");
        fields.remove("jwks_uri");
        fields.insert("keys".into(), json!(PUBLIC));
        assert_eq!(add(&world, &owner, pasted).await.refusal(), Code::InvalidField);
        assert_eq!(
            world.hello(&customer).await,
            Ok(before.clone()),
            "nothing has changed"
        );

        // Eight at once.
        let all = join_all((0..8).map(|_| add(&world, &owner, with(&proof)))).await;
        for answer in &all {
            assert_eq!(answer.status, 201, "{answer:?}");
            assert!(answer.body["proven_at"].is_string(), "{answer:?}");
        }
        let keys = world
            .admin(Method::GET, "/admin/merchants/squatter/keys", Value::Null)
            .await;
        let of_issuer = keys.body["keys"].as_array().expect("keys").iter();
        let left: Vec<_> = of_issuer
            .filter(|key| key["issuer"] == json!(issuer) && key["revoked_at"].is_null())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let began = Instant::now();
        let now = loop {
            let now = world.hello(&customer).await.expect("in");
            if now != before {
                break now;
            }
            assert!(began.elapsed() < Duration::from_secs(3));
        };
        // It is the owner's customer now, and stays so: the squatter cannot come back, proof or not.
        let again = add(&world, &squatter, claim.clone()).await;
        assert_eq!(again.refusal(), Code::IssuerTaken);
        let proven = with(&token(&issuer, json!({ "flashsale_shop": squatter })));
        assert_eq!(add(&world, &squatter, proven).await.refusal(), Code::IssuerTaken);
        assert_eq!(world.hello(&customer).await, Ok(now));
    }
    // Keys beside the issuer's address may be another tenant's.
    let beside = json!({
        "issuer": format!("{origin}/tenant"), "jwks_uri": format!("{origin}/shop/keys"),
        "proof": token(&format!("{origin}/tenant"), json!({ "flashsale_shop": owner })),
    });
    let answer = add(&world, &owner, beside).await;
    assert_eq!(answer.refusal(), Code::InvalidField);
    assert!(answer.detail().contains("discovery document"), "{answer:?}");
    world.server.stop().await;
}

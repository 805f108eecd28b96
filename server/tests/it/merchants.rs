//! Merchants, keys and tokens, as tests make them.

use crate::harness::{Answer, World};
use flashsale_protocol::{Code, ConnectionCommand, Done, Role, ShopperId};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

pub const PROVIDER: &str = include_str!("identity/rsa.pem");
pub const PROVIDER_PUBLIC: &str = include_str!("identity/rsa.pub.pem");
pub const OTHER: &str = include_str!("identity/ed.pem");
pub const OTHER_PUBLIC: &str = include_str!("identity/ed.pub.pem");
/// Tokens as identity providers make them.
pub const SHAPES: &str = include_str!("../../src/auth/keys/shapes.json");

pub fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(PROVIDER.as_bytes()).expect("a key")
}

pub fn ed() -> EncodingKey {
    EncodingKey::from_ed_pem(OTHER.as_bytes()).expect("a key")
}

pub fn soon() -> i64 {
    chrono::Utc::now().timestamp() + 600
}

/// A token of a customer, for the audience `sale`.
pub fn token(algorithm: Algorithm, key: &EncodingKey, issuer: &str, sub: &str, more: Value) -> String {
    let mut claims = json!({ "iss": issuer, "aud": "sale", "sub": sub, "exp": soon() });
    let fields = claims.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    encode(&Header::new(algorithm), &claims, key).expect("signs")
}

impl World {
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        let boss = self.token("boss", Role::Admin);
        self.rest(method, path, Some(&boss), &[], body.to_string()).await
    }

    /// A merchant, with its name in addresses as its issuer's name too.
    pub async fn merchant(&self, slug: &str) {
        let answer = self
            .admin(
                Method::POST,
                "/admin/merchants",
                json!({ "name": slug, "slug": slug }),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    pub async fn key(&self, merchant: &str, fields: Value) -> Answer {
        let mut body = json!({ "issuer": merchant, "audience": "sale" });
        let all = body.as_object_mut().expect("an object");
        all.extend(fields.as_object().expect("an object").clone());
        self.admin(Method::POST, &format!("/admin/merchants/{merchant}/keys"), body)
            .await
    }

    pub async fn carts(&self, user: &str, token: &str) -> Answer {
        let user: String = user.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.rest(Method::GET, &format!("/carts/{user}"), Some(token), &[], "")
            .await
    }

    pub async fn hello(&self, token: &str) -> Result<ShopperId, Code> {
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
    pub async fn refused(&self, token: &str) -> Code {
        let code = self.carts("x", token).await.refusal();
        assert_eq!(self.hello(token).await, Err(code), "the other door");
        code
    }
}

//! The proof that an issuer and an audience are a shop's: a token that the issuer itself has signed for that audience, and that names
//! the shop. Only who administers the application at the issuer can put that in.

use super::{
    LEEWAY_S, MAX_TOKEN_BYTES, invalid,
    keys::{Fetcher, KeyError, KeySet},
    outside::{Named, open},
    within_its_time,
};
use flashsale_engine::clock;
use flashsale_protocol::Reject;
use reqwest::Url;
use serde_json::Value;

/// The claim that names the shop, alone or at the end of an address: some providers want claims of one's own to be such.
pub const CLAIM: &str = "flashsale_shop";
const DISCOVERY: &str = ".well-known/openid-configuration";

/// What a shop claims.
pub struct Claim<'a> {
    /// The merchant's id.
    pub merchant: &'a str,
    pub issuer: &'a str,
    pub audience: &'a str,
    pub jwks_uri: &'a str,
}

/// Why a proof does not hold.
pub enum Unproven {
    /// The keys are not known to be the issuer's.
    Keys(String),
    Token(Reject),
}

/// Checks that a claim holds.
pub async fn check(fetcher: &Fetcher, claim: &Claim<'_>, token: &str) -> Result<(), Unproven> {
    check_address(fetcher, claim).await?;
    let unread = |error: KeyError| Unproven::Keys(error.to_string());
    // No redirect is followed: the issuer's host may send anybody anywhere.
    let keys = fetcher.exact(claim.jwks_uri).await.map_err(unread)?;
    let set = KeySet::from_jwks(&keys).map_err(unread)?;
    check_token(claim, &set, token).map_err(Unproven::Token)
}

/// The keys are the issuer's if they are below its own address, or if its discovery document says so. The same host is not enough: it
/// may have other tenants.
async fn check_address(fetcher: &Fetcher, claim: &Claim<'_>) -> Result<(), Unproven> {
    let not = |why: &str| Unproven::Keys(why.to_owned());
    let issuer = Url::parse(claim.issuer)
        .map_err(|_| not("The issuer is no address, so nothing can be asked there."))?;
    let uri = Url::parse(claim.jwks_uri).map_err(|_| not("The address of the keys is none."))?;
    if is_below(&issuer, &uri) {
        return Ok(());
    }
    let at = format!("{}/{DISCOVERY}", claim.issuer.trim_end_matches('/'));
    let unread = |error: KeyError| Unproven::Keys(format!("The issuer's discovery document: {error}"));
    let document = fetcher.exact(&at).await.map_err(unread)?;
    let document: Value =
        serde_json::from_slice(&document).map_err(|_| not("The issuer's discovery document is not JSON."))?;
    match document["issuer"] == claim.issuer && document["jwks_uri"] == claim.jwks_uri {
        true => Ok(()),
        false => Err(not(
            "The issuer's discovery document names another issuer or another address of its keys.",
        )),
    }
}

fn is_below(issuer: &Url, uri: &Url) -> bool {
    let path = format!("{}/", issuer.path().trim_end_matches('/'));
    let is_whole = issuer.query().is_none() && issuer.fragment().is_none();
    is_whole && issuer.origin().is_tuple() && issuer.origin() == uri.origin() && uri.path().starts_with(&path)
}

fn check_token(claim: &Claim<'_>, set: &KeySet, token: &str) -> Result<(), Reject> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(invalid("It is longer than 16 KiB."));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("It is no token."))?;
    if header.crit.is_some() {
        return Err(invalid("Its header names critical extensions."));
    }
    if !Named::read(token).is_some_and(|named| named.is_for(claim.issuer, claim.audience)) {
        return Err(invalid("Its iss or aud is another one than the key's."));
    }
    let claims = set
        .candidates(header.alg, header.kid.as_deref())
        .find_map(|key| open(token, header.alg, &key.key))
        .ok_or_else(|| invalid("None of the issuer's keys has signed it."))?;
    within_its_time(&claims, clock::now_ms(), LEEWAY_S)
        .map_err(|_| invalid("Its time is over, or to come."))?;
    let names = claims.as_object().into_iter().flatten();
    let mut shops = names.filter(|(name, _)| {
        let end = name.rsplit('/').next().unwrap_or_default();
        end == CLAIM
    });
    match shops.next() {
        Some((_, Value::String(shop))) if shop == claim.merchant => Ok(()),
        Some(_) => Err(invalid(format!(
            "Its claim {CLAIM} names another shop than {}.",
            claim.merchant
        ))),
        None => Err(invalid(format!(
            "It has no claim {CLAIM}, which must be {}.",
            claim.merchant
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::samples;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::json;

    fn signed(claims: &Value) -> String {
        let key = EncodingKey::from_ed_pem(samples::ED25519_PRIVATE.as_bytes()).expect("a key");
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &key).expect("signs")
    }

    #[test]
    fn keys_below_an_issuer_are_its_own_and_those_of_another_tenant_are_not() {
        let below = |issuer: &str, uri: &str| {
            let read = |text| Url::parse(text).expect("an address");
            is_below(&read(issuer), &read(uri))
        };
        assert!(below(
            "https://a.example/",
            "https://a.example/.well-known/jwks.json"
        ));
        assert!(below(
            "https://a.example/realms/shop",
            "https://a.example/realms/shop/certs"
        ));
        for other in [
            "https://a.example/realms/other/certs",
            "https://a.example/realms/shop2/certs",
            "https://a.example/realms/shop/../other/certs",
            "https://a.example/realms/shop/%2e%2e/other/certs",
            "https://a.example.evil.example/realms/shop/certs",
            "https://a.example:8443/realms/shop/certs",
            "http://a.example/realms/shop/certs",
        ] {
            assert!(!below("https://a.example/realms/shop", other), "{other}");
        }
        assert!(!below("urn:shop", "urn:shop/keys"));
        assert!(!below("https://a.example/?tenant=shop", "https://a.example/keys"));
    }

    #[test]
    fn only_a_token_of_the_issuer_for_this_application_that_names_the_shop_proves_it() {
        let set = KeySet::read(samples::ED25519_PUBLIC.as_bytes()).expect("keys");
        let claim = Claim {
            merchant: "lamps",
            issuer: "https://login.example/",
            audience: "sale",
            jwks_uri: "https://login.example/keys",
        };
        let claims = |more: Value| {
            let mut claims = json!({
                "iss": "https://login.example/", "aud": "sale", "exp": clock::now_ms() / 1000 + 60, "flashsale_shop": "lamps",
            });
            let all = claims.as_object_mut().expect("an object");
            all.extend(more.as_object().expect("an object").clone());
            all.retain(|_, value| !value.is_null());
            claims
        };
        let holds = |claims: &Value| check_token(&claim, &set, &signed(claims)).is_ok();
        assert!(holds(&claims(json!({}))));
        assert!(holds(&claims(
            json!({ "flashsale_shop": null, "https://lamps.example/flashsale_shop": "lamps" })
        )));
        for other in [
            json!({ "flashsale_shop": null }),
            json!({ "flashsale_shop": "chairs" }),
            json!({ "flashsale_shop": ["lamps"] }),
            json!({ "flashsale_shop": null, "custom:flashsale_shop": "lamps" }),
            json!({ "flashsale_shop": null, "user_metadata": { "flashsale_shop": "lamps" } }),
            json!({ "iss": "https://login.example" }),
            json!({ "aud": "another" }),
            json!({ "exp": 1 }),
            json!({ "exp": null }),
        ] {
            assert!(!holds(&claims(other.clone())), "{other}");
        }
        let foreign = KeySet::read(samples::P256_PUBLIC.as_bytes()).expect("keys");
        assert!(check_token(&claim, &foreign, &signed(&claims(json!({})))).is_err());
        for garbled in ["", "a.b.c", &"x".repeat(20_000)] {
            assert!(check_token(&claim, &set, garbled).is_err());
        }
    }
}

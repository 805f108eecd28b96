//! Tokens that merchants' keys sign: good for customers of that merchant, at its sales.

use super::{
    LEEWAY_S, invalid,
    keys::{Fetcher, FileKeys, KeyError, KeySet, Reach, RemoteKeys},
    secrets::{Ring, mac},
    validation, within_its_time,
};
use crate::config::Identity;
use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_engine::{
    caller::{Caller, Customer},
    clock,
    kept::Kept,
    merchants::{Merchant, Merchants},
    store::merchants::KeyRow,
};
use flashsale_protocol::{Code, Reject, Role, ShopperId};
use hmac::Mac;
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// What OpenID Connect allows for a subject.
const MAX_SUBJECT_CHARS: usize = 255;
/// Sources of keys that are kept, and for how long after their last use.
const SOURCES_KEPT: u64 = 10_000;
const SOURCE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Most priority lists that a token may name.
const MAX_LISTS: usize = 100;

/// Where the keys of one `merchant_keys` row come from.
enum Source {
    Secrets(Vec<DecodingKey>),
    Set(Arc<KeySet>),
    Remote(RemoteKeys),
}

/// A merchant's keys from files of the settings.
struct FromFiles {
    merchant: String,
    issuer: String,
    audience: String,
    subject_claim: String,
    files: Vec<FileKeys>,
}

pub(super) struct Outside {
    merchants: Arc<Merchants>,
    ring: Ring,
    fetcher: Fetcher,
    from_files: Option<FromFiles>,
    sources: Kept<String, Arc<Source>>,
}

/// The secret that belongs to the id of a merchant's key.
pub(super) fn secret_of(secret: &[u8], key: &str) -> String {
    format!(
        "fss_{}",
        BASE64.encode(mac(secret, "merchant key", key).finalize().into_bytes())
    )
}

impl Outside {
    pub(super) async fn open(
        identity: &Identity,
        merchants: Arc<Merchants>,
        ring: Ring,
        reach: Reach,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            from_files: from_files(identity, &merchants).await?,
            merchants,
            ring,
            fetcher: Fetcher::new(reach)?,
            sources: Kept::while_used(SOURCES_KEPT, SOURCE_LIFE),
        })
    }

    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// The customer whose merchant has signed this token. None: no merchant has a key for its issuer and audience.
    pub(super) async fn verify(&self, token: &str, header: &Header) -> Result<Option<Caller>, Reject> {
        match Named::read(token) {
            None => Ok(None),
            // Boxed: every hello would carry the room for fetching keys.
            Some(named) => Box::pin(self.verify_named(token, header, named)).await.map(Some),
        }
    }

    async fn verify_named(&self, token: &str, header: &Header, named: Named) -> Result<Caller, Reject> {
        let mut is_known = false;
        if let Some(from) = self
            .from_files
            .as_ref()
            .filter(|from| named.is_for(&from.issuer, &from.audience))
        {
            is_known = true;
            for file in &from.files {
                let claims = file
                    .keys()
                    .candidates(header.alg, header.kid.as_deref())
                    .find_map(|key| open(token, header.alg, &key.key));
                if let Some(claims) = claims {
                    return self
                        .customer(&from.merchant, None, &from.subject_claim, claims)
                        .await;
                }
            }
        }
        for key in self.merchants.keys_of(&named.issuer) {
            if !named.is_for(&key.issuer, &key.audience) {
                continue;
            }
            is_known = true;
            let claims = match self.claims(token, header, &key).await {
                Ok(claims) => claims,
                Err(error) => {
                    tracing::warn!(merchant = key.merchant, key = key.id, %error, "a merchant's keys cannot be had");
                    return Err(Code::Unavailable.into());
                }
            };
            if let Some(claims) = claims {
                return self
                    .customer(&key.merchant, Some(&key.id), &key.subject_claim, claims)
                    .await;
            }
        }
        // The platform's own tokens name no issuer.
        Err(invalid(match is_known {
            true => {
                "No key of the shop with this issuer and audience has signed this token, or it has no exp, or its nbf is to come."
            }
            false => {
                "No shop has a key for the iss and aud of this token. Both are compared letter by letter."
            }
        }))
    }

    /// The claims of a token that this key has signed.
    async fn claims(&self, token: &str, header: &Header, key: &KeyRow) -> Result<Option<Value>, KeyError> {
        let (algorithm, kid) = (header.alg, header.kid.as_deref());
        let source = match self.sources.get(&key.id).await {
            Some(source) => source,
            None => {
                let source = Arc::new(self.source(key)?);
                self.sources.insert(&key.id, source.clone()).await;
                source
            }
        };
        let set = match &*source {
            Source::Secrets(keys) => {
                let is_shared = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
                let mut keys = keys.iter().filter(|_| is_shared);
                return Ok(keys.find_map(|key| open(token, algorithm, key)));
            }
            Source::Set(set) => set.clone(),
            Source::Remote(remote) => match kid {
                Some(kid) => remote.keys_with(kid).await?,
                None => remote.keys().await?,
            },
        };
        Ok(set
            .candidates(algorithm, kid)
            .find_map(|key| open(token, algorithm, &key.key)))
    }

    fn source(&self, key: &KeyRow) -> Result<Source, KeyError> {
        if let Some(uri) = &key.jwks_uri {
            return Ok(Source::Remote(RemoteKeys::new(self.fetcher.clone(), uri.clone())));
        }
        if let Some(keys) = &key.keys {
            let set = KeySet::read(keys.as_bytes())?;
            for skipped in set.skipped() {
                tracing::warn!(
                    merchant = key.merchant,
                    key = key.id,
                    skipped,
                    "a public key is not used"
                );
            }
            return Ok(Source::Set(Arc::new(set)));
        }
        let secrets = self
            .ring
            .all()
            .map(|secret| DecodingKey::from_secret(secret_of(secret, &key.id).as_bytes()));
        Ok(Source::Secrets(secrets.collect()))
    }

    async fn customer(
        &self,
        merchant: &str,
        key: Option<&str>,
        subject_claim: &str,
        claims: Value,
    ) -> Result<Caller, Reject> {
        within_its_time(&claims, clock::now_ms(), LEEWAY_S)?;
        let merchant = self.merchants.get(merchant).await?;
        if !merchant.row.is_active {
            return Err(Code::MerchantSuspended.into());
        }
        // A refresh token lives for months, and is for the provider alone.
        if claims.get("type").is_some_and(|kind| kind == "refresh") {
            return Err(invalid("This is a refresh token; send the access token."));
        }
        let subject = claims
            .get(subject_claim)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !(1..=MAX_SUBJECT_CHARS).contains(&subject.chars().count()) || subject.contains('\0') {
            return Err(invalid(format!(
                "The token's {subject_claim} must be a text of 1 to 255 characters, none of them NUL."
            )));
        }
        let shopper: ShopperId = self.merchants.customer(&merchant, subject)?;
        let ends_s = claims.get("exp").and_then(Value::as_f64).unwrap_or_default() + LEEWAY_S;
        let device = claims
            .get("device")
            .and_then(Value::as_str)
            .and_then(|device| device.parse().ok());
        let mut caller = Caller::new(shopper, role(&merchant, &claims), (ends_s * 1000.0) as u64);
        caller.device_is_proven = device.is_some();
        caller.device = device;
        caller.set(|rare| {
            rare.priority = lists(&claims);
            rare.customer = Some(Customer {
                merchant: merchant.row.id.clone(),
                key: key.map(str::to_owned),
                subject: subject.to_owned(),
            });
        });
        Ok(caller)
    }
}

/// Whom a token names as its issuer and audience, before its signature is checked.
pub(super) struct Named {
    issuer: String,
    audience: Vec<String>,
}

impl Named {
    /// None: it names no issuer, as the platform's own tokens.
    pub(super) fn read(token: &str) -> Option<Self> {
        let claims: Value = serde_json::from_slice(&BASE64.decode(token.split('.').nth(1)?).ok()?).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let audience = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().filter_map(text).collect(),
            Some(one) => text(one).into_iter().collect(),
            // Access tokens of some providers (Cognito) name the client instead.
            None => claims.get("client_id").and_then(text).into_iter().collect(),
        };
        Some(Self {
            issuer: claims.get("iss").and_then(text)?,
            audience,
        })
    }

    pub(super) fn is_for(&self, issuer: &str, audience: &str) -> bool {
        self.issuer == issuer && self.audience.iter().any(|named| named == audience)
    }
}

pub(super) fn open(token: &str, algorithm: Algorithm, key: &DecodingKey) -> Option<Value> {
    let data = jsonwebtoken::decode::<Value>(token, key, &validation(algorithm));
    data.ok().map(|data| data.claims)
}

/// A shopper, whatever claims of other systems say; an operator of this merchant if its settings name a claim that says so.
fn role(merchant: &Merchant, claims: &Value) -> Role {
    let said = merchant
        .row
        .role_claim
        .as_ref()
        .and_then(|claim| claims.get(claim));
    let says_merchant = match said {
        Some(Value::Array(roles)) => roles.iter().any(|role| role == "merchant"),
        Some(role) => role == "merchant",
        None => false,
    };
    match says_merchant {
        true => Role::Merchant,
        false => Role::Shopper,
    }
}

fn lists(claims: &Value) -> Box<[String]> {
    let lists = claims.get("priority").and_then(Value::as_array);
    let names = lists.into_iter().flatten().filter_map(Value::as_str);
    names.take(MAX_LISTS).map(str::to_owned).collect()
}

/// The keys of `--jwt-public-key-file`, for `--jwt-merchant`.
async fn from_files(identity: &Identity, merchants: &Merchants) -> anyhow::Result<Option<FromFiles>> {
    if identity.jwt_public_key_file.is_empty() {
        return Ok(None);
    }
    let (Some(merchant), Some(issuer), Some(audience)) = (
        &identity.jwt_merchant,
        &identity.jwt_issuer,
        &identity.jwt_audience,
    ) else {
        bail!(
            "--jwt-public-key-file needs --jwt-merchant, --jwt-issuer and --jwt-audience: a key signs in the customers of one \
             merchant, with tokens that are meant for this platform"
        );
    };
    let files = identity.jwt_public_key_file.iter().map(|path| {
        let keys = FileKeys::open(path)
            .with_context(|| format!("cannot use the public keys in {}", path.display()))?;
        for skipped in keys.keys().skipped() {
            tracing::warn!(file = %path.display(), skipped, "a public key is not used");
        }
        Ok(keys)
    });
    Ok(Some(FromFiles {
        files: files.collect::<anyhow::Result<_>>()?,
        merchant: merchants.named(merchant).await?.row.id.clone(),
        issuer: issuer.clone(),
        audience: audience.clone(),
        subject_claim: identity.jwt_subject_claim.clone(),
    }))
}

//! Who a caller is. The platform signs tokens of its own (guests, operators); a merchant's keys sign in that merchant's customers, and
//! nobody else.

pub mod devices;
pub mod keys;
mod outside;
pub mod proof;
mod secrets;
mod verifier;

use crate::{
    accounts::{
        Accounts,
        api_keys::{self, ApiKeys},
        codes::Codes,
    },
    config::Identity,
    embedded::prepare_data_dir,
};
use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use devices::Devices;
use flashsale_engine::{
    caller::Caller,
    clock,
    merchants::{Merchants, public_part},
    seal::Seal,
    store::Store,
};
use flashsale_protocol::{Code, DeviceId, Reject, Role, ShopperId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use keys::Reach;
use outside::Outside;
use secrets::{MIN_SECRET_CHARS, Secrets};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fs, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

/// How long a guest session is valid.
pub const GUEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long the token of `flashsale token` is valid.
pub const ISSUED_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How far another clock may be from ours.
const LEEWAY_S: f64 = 60.0;
const DAY_S: u64 = 24 * 3600;
/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The claims of a token of our own.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: ShopperId,
    exp: u64,
    #[serde(default = "shopper")]
    role: Role,
    /// Set in guest tokens, which are valid only on this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    /// Priority lists that the shopper is on: a sale's id, or a merchant's for all their sales.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    priority: Box<[String]>,
}

fn shopper() -> Role {
    Role::Shopper
}

/// Signs the platform's own tokens.
pub struct Signer {
    secrets: Secrets,
    key: EncodingKey,
}

impl Signer {
    /// From the settings; without a secret there, from `{data}/secret`, which is made on first use.
    pub fn open(identity: &Identity, data_dir: &Path) -> anyhow::Result<Self> {
        let root = match identity.jwt_secret.as_deref().filter(|secret| !secret.is_empty()) {
            Some(secret) => secret.to_owned(),
            None => stored_secret(data_dir, "secret")?,
        };
        if root.chars().count() < MIN_SECRET_CHARS {
            bail!("the JWT secret is too short: at least {MIN_SECRET_CHARS} characters");
        }
        let secrets = Secrets::open(&identity.secrets, &root)?;
        let key = EncodingKey::from_secret(secrets.tokens.current());
        Ok(Self { secrets, key })
    }

    pub fn issue(
        &self,
        sub: ShopperId,
        role: Role,
        device: Option<DeviceId>,
        life: Duration,
    ) -> anyhow::Result<String> {
        self.issue_on_lists(sub, role, device, life, &[])
    }

    /// A token for a shopper on priority lists (of a sale or of a merchant).
    pub fn issue_on_lists(
        &self,
        sub: ShopperId,
        role: Role,
        device: Option<DeviceId>,
        life: Duration,
        priority: &[String],
    ) -> anyhow::Result<String> {
        let claims = Claims {
            sub,
            exp: clock::now_ms() / 1000 + life.as_secs(),
            role,
            device,
            priority: priority.into(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .context("cannot sign a token")
    }

    /// Makes the ids of orders and payments, and proofs of a place in line.
    pub fn seal(&self) -> Seal {
        let Secrets { orders, proofs, .. } = &self.secrets;
        Seal::new(orders.clone().into_secrets(), proofs.clone().into_secrets())
    }

    pub fn devices(&self) -> Devices {
        Devices {
            ring: self.secrets.devices.clone(),
            old: self.secrets.old_devices.clone(),
        }
    }

    /// Checks a token of our own.
    fn verify(&self, token: &str, header: &Header) -> Result<Caller, Reject> {
        if header.alg != Algorithm::HS256 {
            return Err(Code::TokenInvalid.into());
        }
        let mut tries = self.secrets.tokens.all().filter_map(|secret| {
            jsonwebtoken::decode::<Value>(token, &DecodingKey::from_secret(secret), &validation(header.alg))
                .ok()
        });
        let claims = tries.next().ok_or(Code::TokenInvalid)?.claims;
        // A proof of place may be signed with the same secret, but does not sign anybody in. Our own tokens name nobody.
        if claims.get("aud").is_some() || claims.get("iss").is_some() {
            return Err(invalid(
                "Tokens of the platform name no issuer and no audience; no key is known for these.",
            ));
        }
        within_its_time(&claims, clock::now_ms(), 0.0)?;
        let claims: Claims = serde_json::from_value(claims)
            .map_err(|_| invalid("The token's sub, role, device or priority has a wrong form."))?;
        let mut caller = Caller::new(claims.sub, claims.role, claims.exp.saturating_mul(1000));
        caller.device_is_proven = claims.device.is_some();
        caller.device = claims.device;
        caller.set(|rare| rare.priority = claims.priority);
        Ok(caller)
    }

    /// The secret of a merchant's key. It follows from the key's id, so it is stored nowhere.
    pub fn merchant_secret(&self, key: &str) -> String {
        outside::secret_of(self.secrets.merchant_keys.current(), key)
    }

    /// A new API key, by its id. Its hash is stored, so it stays good when our own secret is rotated.
    pub fn api_key(&self, id: &str) -> String {
        let secret = outside::secret_of(self.secrets.merchant_keys.current(), id);
        format!("{}{}", api_keys::PREFIX, secret.trim_start_matches("fss_"))
    }
}

/// Verifies tokens.
pub struct Authority {
    pub signer: Signer,
    pub devices: Devices,
    /// Operators, who sign in with a password.
    pub accounts: Accounts,
    /// Merchants' own programs, which have keys.
    pub api_keys: ApiKeys,
    merchants: Arc<Merchants>,
    outside: Outside,
    /// The longest time to a token's end.
    token_days: u32,
}

impl Authority {
    pub async fn open(
        identity: &Identity,
        signer: Signer,
        store: Arc<Store>,
        merchants: Arc<Merchants>,
        reach: Reach,
    ) -> anyhow::Result<Self> {
        verifier::provide();
        let outside = Outside::open(
            identity,
            merchants.clone(),
            signer.secrets.merchant_keys.clone(),
            reach,
        )
        .await?;
        Ok(Self {
            devices: signer.devices(),
            api_keys: ApiKeys::open(store.clone()),
            accounts: Accounts::open(
                store,
                Codes::new(signer.secrets.operator_codes.clone().into_secrets()),
            )?,
            merchants,
            outside,
            signer,
            token_days: identity.token_days,
        })
    }

    /// Fetches keys from an address, to see whether it can be used.
    pub async fn try_keys(&self, uri: &str) -> Result<keys::KeySet, keys::KeyError> {
        self.outside.fetcher().fetch(uri).await
    }

    /// Checks that an issuer and an audience are a shop's.
    pub async fn prove(&self, claim: &proof::Claim<'_>, token: &str) -> Result<(), proof::Unproven> {
        proof::check(self.outside.fetcher(), claim, token).await
    }

    /// Checks signature and lifetime. A token bound to a device is refused with any other device.
    pub async fn verify(&self, token: &str, device: Option<&DeviceId>) -> Result<Caller, Reject> {
        if token.is_empty() {
            return Err(Code::TokenMissing.into());
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid("The token is longer than 16 KiB."));
        }
        // `alg: none` and unknown algorithms already fail here, because the header does not parse.
        let header = jsonwebtoken::decode_header(token).map_err(|_| Reject::new(Code::TokenInvalid))?;
        // RFC 7515, 4.1.11: whoever does not know what is critical must refuse.
        if header.crit.is_some() {
            return Err(invalid(
                "The token's header names extensions as critical (crit) that are not known here.",
            ));
        }
        let mut caller = match self.outside.verify(token, &header).await? {
            Some(caller) => caller,
            None => self.signer.verify(token, &header)?,
        };
        let latest_s = clock::now_ms() / 1000 + u64::from(self.token_days) * DAY_S + LEEWAY_S as u64;
        if caller.expires_at / 1000 > latest_s {
            return Err(invalid(format!(
                "The token is good for more than {} days: give it an earlier exp.",
                self.token_days
            )));
        }
        if self.merchants.is_erased(&caller.account) {
            return Err(invalid("Its owner was forgotten."));
        }
        match (&caller.device, device) {
            (Some(bound), Some(named)) if public_part(bound) != public_part(named) => {
                return Err(Code::DeviceMismatch.into());
            }
            (None, Some(named)) => {
                // A credential proves the device. Any other name counts for this session only.
                let shown = self.devices.check(named.as_str());
                caller.device_is_proven = shown.is_some();
                caller.device = Some(match shown {
                    Some(shown) => shown.id().parse().map_err(|_| Reject::new(Code::Internal))?,
                    None => named.clone(),
                });
            }
            _ => {}
        }
        Ok(caller)
    }
}

fn invalid(why: impl Into<String>) -> Reject {
    Reject::because(Code::TokenInvalid, why.into())
}

/// The library's checks of a token: the signature alone. We check its times ourselves, because the library uses a clock of its own,
/// and its issuer and audience with the key that they belong to.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    (
        validation.validate_exp,
        validation.validate_nbf,
        validation.validate_aud,
    ) = (false, false, false);
    validation.required_spec_claims.clear();
    validation
}

/// Checks that a token is valid at this time: from `nbf`, if it has one, until before `exp`. The clock of whoever signed it may be
/// ahead of ours, and, if that is not ourselves, behind (`leeway_s`).
fn within_its_time(claims: &Value, now_ms: u64, leeway_s: f64) -> Result<(), Reject> {
    let now = now_ms as f64 / 1000.0;
    let time = |name: &str| {
        claims
            .get(name)
            .map(|time| time.as_f64().ok_or(Code::TokenInvalid))
            .transpose()
    };
    match (time("exp")?, time("nbf")?) {
        (None, _) => Err(Code::TokenInvalid.into()),
        (Some(exp), _) if exp + leeway_s <= now => Err(Code::TokenExpired.into()),
        (_, Some(nbf)) if nbf > now + LEEWAY_S => Err(Code::TokenInvalid.into()),
        _ => Ok(()),
    }
}

/// The secret of the payment provider's webhooks: the given one, or `{data}/webhook_secret`, made on first use.
pub fn webhook_secret(given: Option<&str>, data_dir: &Path) -> anyhow::Result<String> {
    let secret = match given {
        Some(secret) if !secret.is_empty() => secret.to_owned(),
        _ => stored_secret(data_dir, "webhook_secret")?,
    };
    if secret.chars().count() < MIN_SECRET_CHARS {
        bail!("the webhook secret is too short: at least {MIN_SECRET_CHARS} characters");
    }
    Ok(secret)
}

fn stored_secret(data_dir: &Path, name: &str) -> anyhow::Result<String> {
    let path = prepare_data_dir(data_dir)?.join(name);
    if let Ok(secret) = fs::read_to_string(&path) {
        return Ok(secret.trim().to_owned());
    }
    let secret = BASE64.encode(rand::random::<[u8; 32]>());
    // Two processes may start at once: the file appears whole or not at all, and the first one wins.
    let draft = path.with_extension(format!("{:08x}", rand::random::<u32>()));
    let file = fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    std::io::Write::write_all(&mut &file, secret.as_bytes())?;
    let linked = fs::hard_link(&draft, &path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(_) => Ok(fs::read_to_string(&path)
            .context("cannot read the stored secret")?
            .trim()
            .to_owned()),
    }
}

#[cfg(test)]
mod tests;

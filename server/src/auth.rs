//! Identity of callers: tokens (JWT), and guest sessions bound to a device.

use crate::{config::Identity, embedded::prepare_data_dir};
use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_engine::{
    caller::Caller,
    clock,
    seal::{PLACE_AUDIENCE, Seal},
};
use flashsale_protocol::{Code, DeviceId, Reject, Role, ShopperId};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, jwk::JwkSet};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::Sha256;
use std::{fs, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

/// How long a guest session is valid.
pub const GUEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long the token of `flashsale token` and of the development sign-in is valid.
pub const ISSUED_LIFE: Duration = Duration::from_secs(12 * 3600);
const MIN_SECRET_CHARS: usize = 32;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: ShopperId,
    exp: u64,
    #[serde(default = "shopper")]
    role: Role,
    /// Set in guest tokens, which are valid only on this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// Priority lists that the shopper is on: a sale's id, or a merchant's for all their sales.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    priority: Box<[String]>,
}

fn shopper() -> Role {
    Role::Shopper
}

struct Key {
    algorithms: Vec<Algorithm>,
    id: Option<String>,
    key: DecodingKey,
    /// The server's own secret signs guest tokens, which carry no outside issuer.
    own: bool,
}

/// Verifies tokens, and signs the server's own.
pub struct Authority {
    keys: Vec<Key>,
    signing: EncodingKey,
    secret: Vec<u8>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Authority {
    /// From the settings; without a secret there, from `{data}/secret`, which is made on first use.
    pub fn open(identity: &Identity, data_dir: &Path) -> anyhow::Result<Self> {
        let secret = match &identity.jwt_secret {
            Some(secret) => secret.clone(),
            None => stored_secret(data_dir, "secret")?,
        };
        if secret.chars().count() < MIN_SECRET_CHARS {
            bail!("the JWT secret is too short: at least {MIN_SECRET_CHARS} characters");
        }
        let secret = secret.into_bytes();
        let mut keys = vec![Key {
            algorithms: vec![Algorithm::HS256],
            id: None,
            key: DecodingKey::from_secret(&secret),
            own: true,
        }];
        for path in &identity.jwt_public_key_file {
            keys.extend(public_keys(path)?);
        }
        Ok(Self {
            keys,
            signing: EncodingKey::from_secret(&secret),
            secret,
            issuer: identity.jwt_issuer.clone(),
            audience: identity.jwt_audience.clone(),
        })
    }

    /// Checks signature and lifetime. A token bound to a device is refused with any other device.
    pub fn verify(&self, token: &str, device: Option<DeviceId>) -> Result<Caller, Reject> {
        let claims: Claims = self.decode(token)?;
        let device = match (claims.device, device) {
            (Some(bound), Some(named)) if bound != named => return Err(Code::DeviceMismatch.into()),
            (Some(bound), _) => Some(bound),
            (None, named) => named,
        };
        Ok(Caller {
            shopper: claims.sub,
            operator: None,
            role: claims.role,
            device,
            expires_at: claims.exp.saturating_mul(1000),
            socket: None,
            priority: claims.priority,
        })
    }

    fn decode<T: DeserializeOwned>(&self, token: &str) -> Result<T, Reject> {
        if token.is_empty() {
            return Err(Code::TokenMissing.into());
        }
        // `alg: none` and unknown algorithms already fail here, because the header does not parse.
        let header = jsonwebtoken::decode_header(token).map_err(|_| Reject::new(Code::TokenInvalid))?;
        let candidates = self.keys.iter().filter(|key| {
            key.algorithms.contains(&header.alg)
                && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        });
        for key in candidates {
            let mut validation = validation(header.alg);
            validation.set_required_spec_claims(&["exp", "sub"]);
            // The server's own tokens name neither; a token that names one must name ours.
            validation.validate_aud = self.audience.is_some();
            if let Some(audience) = &self.audience {
                validation.set_audience(&[audience]);
            }
            if let Some(issuer) = &self.issuer {
                validation.set_issuer(&[issuer]);
            }
            if !key.own {
                let named = [(&self.audience, "aud"), (&self.issuer, "iss")];
                let required = named.iter().filter(|(wanted, _)| wanted.is_some());
                validation
                    .required_spec_claims
                    .extend(required.map(|(_, claim)| (*claim).to_owned()));
            }
            match jsonwebtoken::decode::<Value>(token, &key.key, &validation) {
                // A proof of place is signed with the same secret, but does not sign anybody in.
                Ok(data) if data.claims.get("aud").is_some_and(|aud| aud == PLACE_AUDIENCE) => {}
                Ok(data) => {
                    within_its_time(&data.claims, clock::now_ms())?;
                    return serde_json::from_value(data.claims).map_err(|_| {
                        Reject::because(
                            Code::TokenInvalid,
                            "The token's sub, role, device or priority has a wrong form.",
                        )
                    });
                }
                Err(_) => {}
            }
        }
        Err(Code::TokenInvalid.into())
    }

    /// Signs a token of this server.
    pub fn issue(
        &self,
        sub: ShopperId,
        role: Role,
        device: Option<DeviceId>,
        life: Duration,
    ) -> anyhow::Result<String> {
        self.issue_on_lists(sub, role, device, life, &[])
    }

    /// Signs a token for a shopper on priority lists (of a sale or of a merchant).
    pub fn issue_on_lists(
        &self,
        sub: ShopperId,
        role: Role,
        device: Option<DeviceId>,
        life: Duration,
        priority: &[String],
    ) -> anyhow::Result<String> {
        let exp = seconds_now() + life.as_secs();
        let claims = Claims {
            sub,
            exp,
            role,
            device,
            iss: None,
            priority: priority.into(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
            .context("cannot sign a token")
    }

    /// The guest of a device: the same device is always the same shopper.
    pub fn guest(&self, device: &DeviceId) -> anyhow::Result<ShopperId> {
        let tag = self.tag("guest", device.as_str());
        format!("g_{}", &tag[..22])
            .parse()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// A new device id: random, and signed, so that nobody can invent one.
    pub(crate) fn new_device(&self) -> anyhow::Result<DeviceId> {
        let id = format!("d_{}", BASE64.encode(rand::random::<[u8; 16]>()));
        let tag = self.device_tag(&id);
        format!("{id}.{tag}")
            .parse()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Checks that this server made a device id.
    pub(crate) fn known_device(&self, text: &str) -> Option<DeviceId> {
        let (id, tag) = text.rsplit_once('.')?;
        let signature = BASE64.decode(tag).ok()?;
        self.mac("device", id)
            .verify_truncated_left(&signature)
            .ok()
            .filter(|()| signature.len() == 16)?;
        text.parse().ok()
    }

    fn device_tag(&self, id: &str) -> String {
        BASE64.encode(&self.mac("device", id).finalize().into_bytes()[..16])
    }

    fn mac(&self, purpose: &str, text: &str) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("any key length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        mac
    }

    fn tag(&self, purpose: &str, text: &str) -> String {
        BASE64.encode(self.mac(purpose, text).finalize().into_bytes())
    }

    /// Makes the ids of orders and payments, and proofs of a place in line.
    pub fn seal(&self) -> Seal {
        Seal::new(self.secret.clone())
    }
}

fn seconds_now() -> u64 {
    clock::now_ms() / 1000
}

/// The library's checks of a token. We check its times ourselves, because the library uses a clock of its own.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    validation
}

/// Checks that a token is valid at this time: from `nbf`, if it has one, until before `exp`.
fn within_its_time(claims: &Value, now_ms: u64) -> Result<(), Reject> {
    let now = now_ms as f64 / 1000.0;
    let time = |name: &str| {
        claims
            .get(name)
            .map(|time| time.as_f64().ok_or(Code::TokenInvalid))
            .transpose()
    };
    match (time("exp")?, time("nbf")?) {
        (None, _) => Err(Code::TokenInvalid.into()),
        (Some(exp), _) if exp <= now => Err(Code::TokenExpired.into()),
        (_, Some(nbf)) if nbf > now => Err(Code::TokenInvalid.into()),
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

fn public_keys(path: &Path) -> anyhow::Result<Vec<Key>> {
    use Algorithm::*;
    let bytes = fs::read(path).with_context(|| format!("cannot read the public key {}", path.display()))?;
    if let Ok(set) = serde_json::from_slice::<JwkSet>(&bytes) {
        return set
            .keys
            .iter()
            .map(|jwk| {
                let algorithm = jwk
                    .common
                    .key_algorithm
                    .and_then(|a| a.to_string().parse::<Algorithm>().ok());
                let algorithms = match algorithm {
                    Some(HS256 | HS384 | HS512) => {
                        bail!("{}: a JWKS file holds public keys only", path.display())
                    }
                    Some(algorithm) => vec![algorithm],
                    None => vec![RS256, ES256, EdDSA],
                };
                Ok(Key {
                    algorithms,
                    id: jwk.common.key_id.clone(),
                    key: DecodingKey::from_jwk(jwk)?,
                    own: false,
                })
            })
            .collect();
    }
    let attempts = [
        (
            DecodingKey::from_rsa_pem(&bytes),
            vec![RS256, RS384, RS512, PS256, PS384, PS512],
        ),
        (DecodingKey::from_ec_pem(&bytes), vec![ES256, ES384]),
        (DecodingKey::from_ed_pem(&bytes), vec![EdDSA]),
    ];
    for (key, algorithms) in attempts {
        if let Ok(key) = key {
            return Ok(vec![Key {
                algorithms,
                id: None,
                key,
                own: false,
            }]);
        }
    }
    bail!(
        "{} is neither a PEM public key (RSA, EC, Ed25519) nor a JWKS file",
        path.display()
    )
}

#[cfg(test)]
mod tests;

//! The platform's own secrets: one for each purpose, each with those of before. They never leave the server.
//!
//! What is made with a secret is made with the first of its ring; what is checked may be made with any. So a secret is rotated by
//! putting a new one in front, and dropped when what it made has ended. No id of a person, and no place, depends on one.

use crate::config::Secrets as Given;
use anyhow::bail;
use flashsale_engine::seal::derived;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub(super) const MIN_SECRET_CHARS: usize = 32;

/// The secrets of one purpose, the present one first.
#[derive(Clone)]
pub struct Ring(Vec<Vec<u8>>);

impl Ring {
    /// From a setting, which lists the present secret and those of before; without it, these.
    fn read(name: &str, given: Option<&str>, otherwise: Vec<Vec<u8>>) -> anyhow::Result<Self> {
        let Some(given) = given.filter(|given| !given.is_empty()) else {
            return Ok(Self(otherwise));
        };
        let secrets: Vec<Vec<u8>> = given.split(',').map(|secret| secret.trim().into()).collect();
        if secrets.iter().any(|secret| secret.len() < MIN_SECRET_CHARS) {
            bail!("{name}: each secret has at least {MIN_SECRET_CHARS} characters, with a comma between two");
        }
        Ok(Self(secrets))
    }

    pub fn current(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    pub fn into_secrets(self) -> Vec<Vec<u8>> {
        self.0
    }
}

pub struct Secrets {
    /// Sign guests' and operators' tokens.
    pub tokens: Ring,
    /// Sign the credentials of devices.
    pub devices: Ring,
    /// Made the credentials of devices in older releases.
    pub old_devices: Ring,
    /// Make the ids of orders and payments from their commands.
    pub orders: Ring,
    /// Sign proofs of a place in line.
    pub proofs: Ring,
    /// Make the secrets of merchants from their keys' ids.
    pub merchant_keys: Ring,
    /// Make the codes that operators sign in with.
    pub operator_codes: Ring,
}

impl Secrets {
    /// `root` is the one secret that older releases had for everything. What they must be able to check is made with it, unless
    /// its purpose has a secret of its own; what is new has one that is derived from it.
    pub fn open(given: &Given, root: &str) -> anyhow::Result<Self> {
        let root = root.as_bytes().to_vec();
        let derived = |purpose: &str| vec![derived(&root, purpose)];
        Ok(Self {
            tokens: Ring::read(
                "the secret of tokens",
                given.tokens_secret.as_deref(),
                vec![root.clone()],
            )?,
            devices: Ring::read(
                "the secret of devices",
                given.devices_secret.as_deref(),
                derived("devices"),
            )?,
            old_devices: Ring(vec![root.clone()]),
            orders: Ring::read(
                "the secret of orders",
                given.orders_secret.as_deref(),
                vec![root.clone()],
            )?,
            proofs: Ring::read(
                "the secret of proofs",
                given.proofs_secret.as_deref(),
                vec![root.clone()],
            )?,
            merchant_keys: Ring::read(
                "the secret of merchants' keys",
                given.merchant_keys_secret.as_deref(),
                derived("merchant keys"),
            )?,
            operator_codes: Ring::read(
                "the secret of operators' codes",
                given.operator_codes_secret.as_deref(),
                derived("operator codes"),
            )?,
        })
    }
}

/// A MAC over a text, under a purpose that keeps it apart from the MACs of others.
pub(super) fn mac(secret: &[u8], purpose: &str, text: &str) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length");
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(text.as_bytes());
    mac
}

//! The keys of merchants' own programs, as this process knows them.

use super::{LOOKS_OF_ADDRESS, allow, good};
use crate::budget::Budget;
use flashsale_engine::{
    caller::Caller,
    error::Error,
    kept::Kept,
    operator::{OperatorRole, Seat, SecretHash},
    store::{Store, api_keys::ApiKeyRow},
};
use flashsale_protocol::{Code, Reject, Role};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// How long a process believes what it has read of a key: one that is revoked is refused everywhere after that.
const KEY_KNOWN: Duration = Duration::from_millis(800);
const KEYS_KNOWN: u64 = 10_000;
/// How a key begins, so that scanners of code find one that has got out.
pub const PREFIX: &str = "fsk_";
/// With 32 random bytes in base64 behind it.
const SECRET_CHARS: usize = PREFIX.len() + 43;

pub struct ApiKeys {
    store: Arc<Store>,
    known: Kept<SecretHash, Option<Arc<ApiKeyRow>>>,
    /// Keys that were good a moment ago: they do not share a budget with those who guess.
    good: Kept<SecretHash, ()>,
    looks: Budget<IpAddr>,
}

impl ApiKeys {
    pub fn open(store: Arc<Store>) -> Self {
        Self {
            store,
            known: Kept::new(KEYS_KNOWN, KEY_KNOWN),
            good: good(),
            looks: Budget::new(LOOKS_OF_ADDRESS),
        }
    }

    /// Who asks with this key.
    pub async fn caller(&self, secret: &str, from: IpAddr) -> Result<Caller, Reject> {
        let hash = hash_of(secret);
        let is_known = self.known.contains(&hash);
        if !is_known && !self.good.contains(&hash) {
            allow(&self.looks, &from, Code::TooManyFromAddress)?;
        }
        let read = async { Ok(self.store.api_key(&hash).await?.map(Arc::new)) };
        let Some(key) = self.known.get_or_read(&hash, read).await? else {
            self.good.forget(&hash).await;
            return Err(Reject::because(
                Code::TokenInvalid,
                "The key is unknown or revoked.",
            ));
        };
        if !is_known {
            self.good.insert(&hash, ()).await;
        }
        let id = key.id.parse();
        let id = id.map_err(|_| Error::unexpected("a key's id that is none"))?;
        let mut caller = Caller::new(id, Role::Merchant, u64::MAX);
        caller.set(|rare| {
            rare.seat = Some(Seat {
                merchant: Some(key.merchant.clone()),
                role: OperatorRole::Staff,
                session: None,
                scopes: Some(key.scopes.as_slice().into()),
            });
        });
        Ok(caller)
    }

    /// Whether it is a key that was good when it was last used here: nobody is asked.
    pub fn was_good(&self, secret: &str) -> bool {
        secret.len() == SECRET_CHARS && self.good.contains(&hash_of(secret))
    }

    /// Reads all keys anew: one was revoked here. Other processes do so a second later.
    pub fn forget(&self) {
        self.known.forget_all();
    }
}

/// What is stored of a key.
pub fn hash_of(secret: &str) -> SecretHash {
    Sha256::digest(secret).into()
}

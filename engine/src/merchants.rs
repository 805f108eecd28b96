//! Merchants as this process knows them: who they are, their keys, and the ids that their shoppers have there.
//!
//! The same person is somebody else at each merchant. An id is made from what identifies them and a key of the merchant, so it needs
//! no table and no credential, says nothing to others, and stays when secrets are rotated.

use crate::{
    boxed, clock,
    error::{Error, Result},
    sale::Sale,
    store::{
        Store,
        merchants::{KeyRow, MerchantRow, Register, key_bytes},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, Utc};
use flashsale_protocol::{DeviceId, ShopperId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How often a process looks whether merchants have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two looks for a merchant that is not known here.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long somebody may be about to be forgotten. A process that died in the middle locks nobody out.
pub(crate) const LEAVING_MOST: Duration = Duration::from_secs(30);
/// How often one person can be erased and come back.
const LIVES_MOST: u32 = 1_000;
/// How an id of a shopper begins that belongs to one merchant.
const PERSON: &str = "p_";
const DEVICE: &str = "d_";
/// A device that a client has named for itself.
const NAMED: &str = "n_";

pub struct Merchant {
    pub row: MerchantRow,
    key: [u8; 32],
}

impl Merchant {
    fn id_of(&self, prefix: &str, what: &str, parts: &[&str], life: u32) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key length");
        for part in [what].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&life.to_le_bytes());
        format!("{prefix}{}", BASE64.encode(&mac.finalize().into_bytes()[..16]))
    }

    /// 80 bits that only this platform can make of these parts, for this merchant.
    pub fn bits(&self, parts: &[&[u8]]) -> u128 {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key length");
        for part in [b"name".as_slice()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let tag = mac.finalize().into_bytes();
        tag.iter()
            .take(10)
            .fold(0, |bits, byte| (bits << 8) | u128::from(*byte))
    }

    /// A device's id at this merchant. `proven`: its credential was checked; the names of others count for their session only.
    pub fn device(&self, device: &DeviceId, proven: bool, account: &ShopperId) -> Result<DeviceId> {
        let id = match proven {
            true => self.id_of(DEVICE, "device", &[public_part(device)], 0),
            false => self.id_of(NAMED, "named", &[account.as_str(), device.as_str()], 0),
        };
        id.parse()
            .map_err(|_| Error::unexpected("a device's id that is none"))
    }
}

/// A device without its secret: what stands before the first dot.
pub fn public_part(device: &DeviceId) -> &str {
    device.as_str().split('.').next().unwrap_or_default()
}

/// A stored device as it may be shown: older releases stored the credential, which is hashed here as in `hidden_device` of Postgres.
pub fn shown_device(device: &str) -> Cow<'_, str> {
    match device.starts_with(DEVICE) && device.contains('.') {
        true => format!("h_{}", &hex::encode(Sha256::digest(device))[..32]).into(),
        false => device.into(),
    }
}

/// Whether an id is that of a person at one merchant.
pub fn is_person(id: &ShopperId) -> bool {
    id.as_str().starts_with(PERSON)
}

struct Known {
    changes: i64,
    since: DateTime<Utc>,
    by_id: HashMap<String, Arc<Merchant>>,
    by_slug: HashMap<String, Arc<Merchant>>,
    keys: HashMap<String, Vec<Arc<KeyRow>>>,
    key_ids: HashSet<String>,
    erased: HashSet<String>,
    leaving: HashMap<String, DateTime<Utc>>,
}

impl Known {
    fn of(register: Register) -> Result<Self> {
        let key_ids = register.keys.iter().map(|key| key.id.clone()).collect();
        let mut keys: HashMap<String, Vec<Arc<KeyRow>>> = HashMap::new();
        for key in register.keys {
            keys.entry(key.issuer.clone()).or_default().push(Arc::new(key));
        }
        let merchants = register.merchants.into_iter().map(|(row, key)| {
            Ok(Arc::new(Merchant {
                row,
                key: key_bytes(&key)?,
            }))
        });
        let merchants: Vec<Arc<Merchant>> = merchants.collect::<Result<_>>()?;
        let by = |name: fn(&Merchant) -> &String| {
            merchants
                .iter()
                .map(|merchant| (name(merchant).clone(), merchant.clone()))
                .collect()
        };
        Ok(Self {
            changes: register.changes,
            since: register.since,
            by_id: by(|merchant| &merchant.row.id),
            by_slug: by(|merchant| &merchant.row.slug),
            keys,
            key_ids,
            erased: register.erased.into_iter().collect(),
            leaving: register.leaving.into_iter().collect(),
        })
    }
}

pub struct Merchants {
    store: Arc<Store>,
    known: RwLock<Arc<Known>>,
    /// When somebody last asked for what is not known here.
    looked: Mutex<Instant>,
}

impl Merchants {
    #[boxed]
    pub async fn open(store: Arc<Store>) -> Result<Self> {
        let known = Known::of(store.register().await?)?;
        Ok(Self {
            store,
            known: RwLock::new(Arc::new(known)),
            looked: Mutex::new(Instant::now()),
        })
    }

    fn now(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads merchants anew if they have changed. While Postgres is away, what is known stays.
    #[boxed]
    pub async fn refresh(&self) -> Result<()> {
        if self.store.register_changes().await? != self.now().changes {
            let known = Known::of(self.store.register().await?)?;
            *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        }
        Ok(())
    }

    /// Follows changes until the process stops.
    pub async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = look.tick() => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "whether merchants have changed is not known");
            }
        }
    }

    /// The merchant of a sale, which may have been made a moment ago.
    #[boxed]
    pub async fn get(&self, id: &str) -> Result<Arc<Merchant>> {
        match self.by_id(id) {
            Some(merchant) => Ok(merchant),
            None => Box::pin(self.look_for(id)).await,
        }
    }

    async fn look_for(&self, id: &str) -> Result<Arc<Merchant>> {
        let found = || self.by_id(id);
        let mut looked = self.looked.lock().await;
        if let Some(merchant) = found() {
            return Ok(merchant);
        }
        tokio::time::sleep(LOOK_AGAIN.saturating_sub(looked.elapsed())).await;
        self.refresh().await?;
        *looked = Instant::now();
        found().ok_or_else(|| Error::unexpected("a sale of a merchant that is not there"))
    }

    /// The merchant with this id, made if it is not there. An address is no id: it may be another merchant's.
    #[boxed]
    pub async fn of_operator(&self, id: &str) -> Result<Arc<Merchant>> {
        if !self.now().by_id.contains_key(id) {
            self.store.make_merchant(id).await?;
        }
        self.get(id).await
    }

    /// The merchant with this id or name in addresses, made if there is none.
    #[boxed]
    pub async fn named(&self, name: &str) -> Result<Arc<Merchant>> {
        self.refresh().await?;
        match self.find(name) {
            Some(merchant) => Ok(merchant),
            None => self.of_operator(name).await,
        }
    }

    /// A merchant by its id or slug, as far as known here.
    pub fn find(&self, name: &str) -> Option<Arc<Merchant>> {
        let known = self.now();
        known.by_slug.get(name).or_else(|| known.by_id.get(name)).cloned()
    }

    /// The merchant of a sale, as far as known here.
    pub fn by_id(&self, id: &str) -> Option<Arc<Merchant>> {
        self.now().by_id.get(id).cloned()
    }

    pub fn by_slug(&self, slug: &str) -> Option<Arc<Merchant>> {
        self.now().by_slug.get(slug).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Merchant>> {
        self.now().by_id.values().cloned().collect()
    }

    /// The keys whose tokens name this issuer.
    pub fn keys_of(&self, issuer: &str) -> Vec<Arc<KeyRow>> {
        self.now().keys.get(issuer).cloned().unwrap_or_default()
    }

    /// Whether a key signs customers in: it is not revoked.
    pub fn has_key(&self, key: &str) -> bool {
        self.now().key_ids.contains(key)
    }

    /// Since when devices have credentials that are rotated.
    pub fn since(&self) -> DateTime<Utc> {
        self.now().since
    }

    /// Whether an id is given to nobody any more.
    pub fn is_erased(&self, id: &ShopperId) -> bool {
        self.now().erased.contains(id.as_str())
    }

    /// Whether somebody is being forgotten at this moment: an account, or a person.
    pub(crate) fn is_leaving(&self, id: &ShopperId) -> bool {
        let known = self.now();
        let since = known.leaving.get(id.as_str());
        since.is_some_and(|since| (clock::now() - *since).to_std().unwrap_or_default() < LEAVING_MOST)
    }

    /// The person that a customer of a merchant is there. Whoever was erased is somebody new.
    pub fn customer(&self, merchant: &Merchant, subject: &str) -> Result<ShopperId> {
        self.person(merchant, "customer", subject)
    }

    /// The person that a session of the whole platform (a guest's) is at a merchant.
    pub fn visitor(&self, merchant: &Merchant, account: &ShopperId) -> Result<ShopperId> {
        self.person(merchant, "account", account.as_str())
    }

    /// Who a session of the whole platform is in a sale.
    pub async fn visitor_of(&self, sale: &Sale, account: &ShopperId) -> Result<ShopperId> {
        match sale.has_opaque_ids() {
            true => self.visitor(&*self.get(&sale.merchant).await?, account),
            false => Ok(account.clone()),
        }
    }

    fn person(&self, merchant: &Merchant, what: &str, who: &str) -> Result<ShopperId> {
        let known = self.now();
        let mut lives = (0..LIVES_MOST).map(|life| merchant.id_of(PERSON, what, &[who], life));
        let id = lives.find(|id| !known.erased.contains(id));
        id.and_then(|id| id.parse().ok())
            .ok_or_else(|| Error::unexpected("somebody was erased too often"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merchant(id: &str, key: u8) -> Merchant {
        Merchant {
            row: MerchantRow {
                id: id.into(),
                slug: id.into(),
                name: id.into(),
                time_zone: "UTC".into(),
                currency: "EUR".into(),
                widget_origins: Vec::new(),
                null_origin: false,
                open_sales: 1,
                days_ahead: 1,
                text_chars: 1,
                exports: 1,
                picture_mb: 1,
                retention_days: 1,
                is_active: true,
                role_claim: None,
                checkout_url: None,
                checkout_max_s: 1,
                version: 1,
                created_at: DateTime::default(),
            },
            key: [key; 32],
        }
    }

    #[test]
    fn ids_are_of_one_merchant_and_of_one_kind() {
        let (a, b) = (merchant("a", 1), merchant("b", 2));
        let id =
            |merchant: &Merchant, what: &str, who: &str, life| merchant.id_of(PERSON, what, &[who], life);
        let one = id(&a, "customer", "42", 0);
        assert_eq!(one, id(&a, "customer", "42", 0));
        assert_eq!(one.len(), 24);
        for other in [
            id(&b, "customer", "42", 0),
            id(&a, "account", "42", 0),
            id(&a, "customer", "43", 0),
            id(&a, "customer", "42", 1),
            // A Cyrillic letter that looks like a Latin one.
            id(&a, "customer", "4\u{0437}", 0),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_device_counts_by_its_public_part_and_a_name_for_its_own_session_only() {
        let a = merchant("a", 1);
        let [old, new, named]: [DeviceId; 3] =
            ["d_1.secret", "d_1.2.3.other", "phone"].map(|id| id.parse().expect("an id"));
        let [me, you]: [ShopperId; 2] = ["me", "you"].map(|id| id.parse().expect("an id"));
        let device = |device, proven, who| a.device(device, proven, who).expect("an id");
        assert_eq!(device(&old, true, &me), device(&new, true, &you));
        assert_eq!(device(&named, false, &me), device(&named, false, &me));
        assert_ne!(device(&named, false, &me), device(&named, false, &you));
        assert_ne!(device(&old, false, &me), device(&old, true, &me));
    }
}

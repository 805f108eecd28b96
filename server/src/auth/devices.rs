//! Credentials of devices. A device has an id, which stays, and a secret, which changes: the credential is both, and what it proves
//! is the id alone. Nothing that is stored, counted or exported follows the secret.
//!
//! `d_{id}.{generation}.{day}.{tag}`: the day (since 1970) on which this generation began, and a MAC over all before it. In older
//! releases it was `d_{id}.{tag}`, for ever.

use super::secrets::{Ring, mac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_engine::{
    clock,
    error::{Error, Result},
    store::{Store, devices::DeviceRow},
};
use flashsale_protocol::{DeviceId, ShopperId};
use hmac::Mac;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// A credential that is older than this is replaced when it is shown.
const ROTATE_AFTER_DAYS: u64 = 7;
/// How long a replaced credential is still good: other tabs, and answers that were lost.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// A credential that was not shown for so long is forgotten.
const FORGET_AFTER_DAYS: u64 = 400;
/// How long credentials of older releases are good after the upgrade.
const OLD_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
const DAY_MS: u64 = 24 * 3600 * 1000;
const TAG_BYTES: usize = 16;

/// A device whose credential was checked, as far as that needs no store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `d_{id}`
    id: String,
    generation: u32,
    /// None: a credential of an older release.
    day: Option<u64>,
}

/// A device with its present credential.
#[derive(Debug, Clone)]
pub struct Device {
    pub id: DeviceId,
    /// Its owner's secret: it goes to nobody else, and is not stored.
    pub credential: String,
    /// The guest that this device is.
    pub guest: ShopperId,
}

/// Makes and checks credentials.
pub struct Devices {
    pub(super) ring: Ring,
    pub(super) old: Ring,
}

impl Devices {
    /// A new device.
    pub fn make(&self) -> Result<Device> {
        let id = format!("d_{}", BASE64.encode(rand::random::<[u8; 16]>()));
        self.device(&id, 0, today(), None)
    }

    /// Checks a credential, without the store: a replaced one passes.
    pub fn check(&self, credential: &str) -> Option<Shown> {
        let (signed, tag) = credential.rsplit_once('.')?;
        let tag = BASE64.decode(tag).ok().filter(|tag| tag.len() == TAG_BYTES)?;
        let is_by = |ring: &Ring, purpose: &str| {
            ring.all()
                .any(|secret| mac(secret, purpose, signed).verify_truncated_left(&tag).is_ok())
        };
        let mut parts = signed.split('.');
        let id = parts.next().filter(|id| id.starts_with("d_"))?.to_owned();
        match (parts.next(), parts.next(), parts.next()) {
            (None, ..) if is_by(&self.old, "device") => Some(Shown {
                id,
                generation: 0,
                day: None,
            }),
            (Some(generation), Some(day), None) if is_by(&self.ring, "device 2") => Some(Shown {
                id,
                generation: generation.parse().ok()?,
                day: Some(day.parse().ok()?),
            }),
            _ => None,
        }
    }

    /// The device with its present credential, which may be another one than was shown. None: what was shown was replaced more
    /// than a day ago, or is too old.
    pub async fn present(&self, store: &Store, since_ms: u64, shown: Shown) -> Result<Option<Device>> {
        let Shown { id, generation, day } = &shown;
        let age = day.map(|day| today().saturating_sub(day));
        if age.is_some_and(|age| age > FORGET_AFTER_DAYS)
            || (age.is_none() && clock::now_ms() > since_ms + OLD_LIFE.as_millis() as u64)
        {
            return Ok(None);
        }
        if let (Some(day), Some(0..=ROTATE_AFTER_DAYS)) = (*day, age) {
            // A generation is this young only while it is the present one.
            return Ok(Some(self.device(id, *generation, day, None)?));
        }
        let hash = Sha256::digest(id).into();
        let row = match store.device(hash).await? {
            None if *generation == 0 => {
                let account = day.is_none().then(|| self.old_guest(id)).transpose()?;
                store.rotate_device(hash, 0, account.as_ref()).await?
            }
            Some(row) if row.generation == *generation && age_of(&row) > ROTATE_AFTER_DAYS => {
                store.rotate_device(hash, *generation, None).await?
            }
            Some(row) => row,
            // Postgres has lost the row, with what it said of the generation.
            None => {
                return Ok(Some(self.device(
                    id,
                    *generation,
                    day.unwrap_or_default(),
                    None,
                )?));
            }
        };
        let replaced_ms = clock::now_ms().saturating_sub(row.rotated_at.timestamp_millis().max(0) as u64);
        let is_good = row.generation == *generation
            || (row.generation == generation + 1 && replaced_ms < OVERLAP.as_millis() as u64);
        if !is_good {
            return Ok(None);
        }
        let day = row.rotated_at.timestamp_millis().max(0) as u64 / DAY_MS;
        Ok(Some(self.device(id, row.generation, day, row.account)?))
    }

    /// A credential of a known device for another browser of its owner's.
    pub async fn again(&self, store: &Store, id: &str, guest: ShopperId) -> Result<Device> {
        let hash = Sha256::digest(id).into();
        let plain = self.device(id, 0, today(), None)?;
        let row = match store.device(hash).await? {
            // Of an older release: with a row, it is known which guest it is.
            None if plain.guest != guest => store.rotate_device(hash, 0, Some(&guest)).await?,
            None => return Ok(plain),
            Some(row) => row,
        };
        let day = row.rotated_at.timestamp_millis().max(0) as u64 / DAY_MS;
        self.device(id, row.generation, day, Some(guest))
    }

    /// The device of an older release, for as long as processes of that release run beside this one.
    pub fn old_style(&self, id: &str) -> Result<Device> {
        let tag = BASE64.encode(&mac(self.old.current(), "device", id).finalize().into_bytes()[..TAG_BYTES]);
        let credential = format!("{id}.{tag}");
        Ok(Device {
            id: parse(&credential)?,
            guest: self.old_guest(id)?,
            credential,
        })
    }

    /// The guest that older releases made of a device.
    fn old_guest(&self, id: &str) -> Result<ShopperId> {
        let tag = BASE64.encode(&mac(self.old.current(), "device", id).finalize().into_bytes()[..TAG_BYTES]);
        let name = mac(self.old.current(), "guest", &format!("{id}.{tag}"));
        parse(&format!(
            "g_{}",
            &BASE64.encode(name.finalize().into_bytes())[..22]
        ))
    }

    fn device(&self, id: &str, generation: u32, day: u64, guest: Option<ShopperId>) -> Result<Device> {
        let signed = format!("{id}.{generation}.{day}");
        let tag = mac(self.ring.current(), "device 2", &signed)
            .finalize()
            .into_bytes();
        let of_id = Sha256::new()
            .chain_update("flashsale guest\0")
            .chain_update(id)
            .finalize();
        let guest = match guest {
            Some(guest) => guest,
            None => parse(&format!("g_{}", &BASE64.encode(of_id)[..22]))?,
        };
        Ok(Device {
            id: parse(id)?,
            credential: format!("{signed}.{}", BASE64.encode(&tag[..TAG_BYTES])),
            guest,
        })
    }
}

impl Shown {
    /// Of an older release.
    pub fn is_old(&self) -> bool {
        self.day.is_none()
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

fn age_of(row: &DeviceRow) -> u64 {
    let began = row.rotated_at.timestamp_millis().max(0) as u64 / DAY_MS;
    today().saturating_sub(began)
}

fn today() -> u64 {
    clock::now_ms() / DAY_MS
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| Error::unexpected("an id of ours that is none"))
}

//! Public keys of identity providers: how they are read, fetched, kept and renewed.
//!
//! It knows keys, not tokens: which issuer, audience and claims a key is good for is the caller's. It holds public keys only;
//! a shared secret never gets in here.

mod address;
mod error;
mod fetch;
mod file;
mod jwk;
mod pem;
mod public_key;
mod remote;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use error::KeyError;
pub use fetch::{Fetcher, Reach};
pub use file::FileKeys;
pub use public_key::PublicKey;
pub use remote::RemoteKeys;

use jsonwebtoken::Algorithm;

/// Largest document that is read, from a file or from a provider. A key with its certificate takes about 3 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Most keys in one document, usable or not.
pub const MAX_KEYS: usize = 100;

/// The keys of one provider: at least one.
#[derive(Debug, Clone)]
pub struct KeySet {
    keys: Vec<PublicKey>,
    skipped: Vec<String>,
}

impl KeySet {
    /// Reads a set in either form: JWKS if the text is JSON, else PEM.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyError> {
        match Self::from_jwks(bytes) {
            Err(KeyError::NotJson(json)) => match std::str::from_utf8(bytes) {
                Ok(text) if text.contains(pem::BEGIN) => Self::from_pem(text),
                _ => Err(KeyError::NeitherForm(json)),
            },
            read => read,
        }
    }

    /// Reads a JWKS document. A key that we cannot use is skipped, and named in [`KeySet::skipped`].
    pub fn from_jwks(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(KeyError::TooLarge);
        }
        let (keys, skipped) = jwk::read(bytes)?;
        if keys.is_empty() {
            return Err(KeyError::no_usable(&skipped));
        }
        Ok(Self { keys, skipped })
    }

    /// Reads one or more blocks of PEM: public keys and certificates. Somebody gave exactly these, so one that we cannot use
    /// is an error. A certificate is read for its key alone: its dates and its issuer are not checked.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(KeyError::TooLarge);
        }
        let keys = pem::read(text)?;
        if keys.is_empty() {
            return Err(KeyError::no_usable(&[]));
        }
        Ok(Self {
            keys,
            skipped: Vec::new(),
        })
    }

    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// One text for each key that was left out: its name, and why. Worth a warning in the log.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The keys that may have signed a token with this algorithm and key id. A key or a token without an id fits any.
    pub fn candidates(&self, algorithm: Algorithm, kid: Option<&str>) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().filter(move |key| {
            let same = match (&key.id, kid) {
                (Some(id), Some(kid)) => id == kid,
                _ => true,
            };
            same && key.algorithms.contains(&algorithm)
        })
    }

    /// Says whether a key has this id. Where none has, the set may be older than the token.
    pub fn has_id(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(kid))
    }
}

//! Hashes of passwords. One costs a core some milliseconds and much memory, so few are made at a time, on threads of their own.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use flashsale_engine::error::Error;
use flashsale_protocol::{Code, Reject};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hashes made at once, at most: half of the cores stays for shoppers.
const AT_ONCE_MOST: usize = 2;
/// Sign-ins that wait for one, at most.
const WAITING_MOST: usize = 32;
const BUSY_MS: u64 = 1_000;
/// What one hash costs: RFC 9106 has the words, OWASP the figures. About 50 ms of one core.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Fewest characters of a password, and most bytes.
pub const MIN_CHARS: usize = 12;
pub const MAX_BYTES: usize = 256;

pub struct Passwords {
    argon: Argon2<'static>,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// Checked for an address that nobody has. It costs the same as any other, and no password fits.
    nobody: Arc<str>,
}

impl Passwords {
    pub fn open() -> Result<Self, Error> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
        let params = params.map_err(|error| Error::unexpected(error.to_string()))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let [salt, hash] = [random(16), random(32)];
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let at_once = (cores / 2).clamp(1, AT_ONCE_MOST);
        Ok(Self {
            argon,
            running: Arc::new(Semaphore::new(at_once)),
            waiting: Semaphore::new(at_once + WAITING_MOST),
            nobody: format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}").into(),
        })
    }

    /// The hash of a new password, with its salt and costs.
    pub async fn hash(&self, password: String) -> Result<String, Reject> {
        let argon = self.argon.clone();
        let salt: [u8; 16] = rand::random();
        let hashed = self.run(move || {
            let hashed: Result<PasswordHash, _> = argon.hash_password_with_salt(password.as_bytes(), &salt);
            hashed.map(|hash| hash.to_string())
        });
        let hashed = hashed.await?;
        hashed.map_err(|error| Error::unexpected(format!("a password's hash: {error}")).into())
    }

    /// Whether a password fits a hash. Without one it takes as long, and the answer is no.
    pub async fn fits(&self, password: String, hash: Option<&str>) -> Result<bool, Reject> {
        let argon = self.argon.clone();
        let hash: Arc<str> = hash.map_or_else(|| self.nobody.clone(), Into::into);
        let is_right = self.run(move || {
            let known = PasswordHash::new(&hash);
            known.is_ok_and(|known| argon.verify_password(password.as_bytes(), &known).is_ok())
        });
        is_right.await
    }

    /// Runs away from the threads of requests. Whoever stops waiting does not let another one begin before this one is done.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Reject> {
        let busy = || Reject::new(Code::Busy).after_ms(BUSY_MS);
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let permit: OwnedSemaphorePermit = self.running.clone().acquire_owned().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await
            .map_err(|error| Error::unexpected(format!("a password's thread: {error}")).into())
    }
}

/// Random bytes as in a hash's text.
fn random(bytes: usize) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
    let random: [u8; 32] = rand::random();
    BASE64.encode(&random[..bytes.min(random.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only_and_nobody_s_hash_fits_none() {
        let passwords = Passwords::open().expect("costs that are allowed");
        let hash = passwords
            .hash("correct horse battery".into())
            .await
            .expect("a hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let fits =
            async |password: &str, hash| passwords.fits(password.into(), hash).await.expect("an answer");
        assert!(fits("correct horse battery", Some(&hash)).await);
        assert!(!fits("correct horse batterz", Some(&hash)).await);
        assert!(!fits("correct horse battery", None).await);
        assert!(
            PasswordHash::new(&passwords.nobody).is_ok(),
            "it is read as far as any other"
        );
    }

    #[tokio::test]
    async fn more_than_may_wait_are_told_to_come_back() {
        let passwords = Passwords::open().expect("costs that are allowed");
        let at_once = passwords.running.available_permits();
        let _all = passwords
            .running
            .acquire_many(at_once as u32)
            .await
            .expect("permits");
        let mut waiting = Vec::new();
        for _ in 0..at_once + WAITING_MOST {
            let mut one = Box::pin(passwords.fits("x".into(), None));
            assert!(futures_util::poll!(&mut one).is_pending());
            waiting.push(one);
        }
        let refused = passwords.fits("x".into(), None).await.expect_err("too many");
        assert_eq!(refused.code, Code::Busy);
    }
}

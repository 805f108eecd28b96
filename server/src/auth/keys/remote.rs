//! Keys at an address (`jwks_uri`): kept, renewed behind the callers' backs, and at once when a token names an unknown key.

use super::{Fetcher, KeyError, KeySet};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// Keys older than this are renewed, while the old ones stay in use.
pub const KEEP: Duration = Duration::from_secs(10 * 60);
/// A token with an unknown key id makes us fetch no more often than this: anybody can send such tokens.
pub const RENEW_AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// Keys older than this are not used any more, even when the provider is away.
pub const STALE_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// A failure answers every caller for this long before the provider is asked again.
pub const FAILED_FOR: Duration = Duration::from_secs(10);
/// The log tells of a provider that is away no more often than this.
pub const WARN_AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// The keys at one address.
#[derive(Debug)]
pub struct RemoteKeys {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    fetcher: Fetcher,
    known: Mutex<Known>,
    /// Held while a fetch is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Known {
    set: Option<(Arc<KeySet>, Instant)>,
    failed: Option<(KeyError, Instant)>,
    /// The last fetch because of an unknown key id.
    renewed_at: Option<Instant>,
    warned_at: Option<Instant>,
}

impl RemoteKeys {
    /// Nothing is fetched before the first caller.
    pub fn new(fetcher: Fetcher, url: impl Into<String>) -> Self {
        Self {
            shared: Arc::new(Shared {
                url: url.into(),
                fetcher,
                known: Mutex::default(),
                turn: Arc::default(),
            }),
        }
    }

    /// The keys. Only the very first callers wait for the provider, all for the same fetch.
    pub async fn keys(&self) -> Result<Arc<KeySet>, KeyError> {
        if let Some(answer) = self.at_hand() {
            return answer;
        }
        let turn = self.turn().await;
        // Somebody else may have fetched while we waited.
        match self.at_hand() {
            Some(answer) => answer,
            None => self.shared.clone().fetch(turn).await,
        }
    }

    /// The keys, for a token that names this key: they are renewed if they lack it, at most once in [`RENEW_AT_MOST_EVERY`].
    /// They may lack it still.
    pub async fn keys_with(&self, kid: &str) -> Result<Arc<KeySet>, KeyError> {
        let keys = self.keys().await?;
        if keys.has_id(kid) {
            return Ok(keys);
        }
        // While a fetch is under way it may bring the key: we wait for it.
        let turn = self.turn().await;
        let keys = match self.at_hand() {
            Some(Ok(keys)) => keys,
            _ => keys,
        };
        if keys.has_id(kid) || !self.shared.may_renew() {
            return Ok(keys);
        }
        // A provider that is away does not take the old keys from us.
        Ok(self.shared.clone().fetch(turn).await.unwrap_or(keys))
    }

    /// The answer that needs no fetch. Starts one behind the caller's back when the keys are old.
    fn at_hand(&self) -> Option<Result<Arc<KeySet>, KeyError>> {
        let (answer, is_old) = self.shared.known().answer(Instant::now());
        if is_old && let Ok(turn) = self.shared.turn.clone().try_lock_owned() {
            tokio::spawn(self.shared.clone().fetch(turn));
        }
        answer
    }

    /// Waits until no fetch is under way, and keeps it so.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        self.shared.turn.clone().lock_owned().await
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the one renewal of this minute.
    fn may_renew(&self) -> bool {
        let now = Instant::now();
        let mut known = self.known();
        let may = known.renewed_at.is_none_or(|at| now - at >= RENEW_AT_MOST_EVERY);
        if may {
            known.renewed_at = Some(now);
        }
        may
    }

    /// Fetches in a task of its own: a caller who goes away in the middle takes nothing from the others.
    async fn fetch(self: Arc<Self>, turn: OwnedMutexGuard<()>) -> Result<Arc<KeySet>, KeyError> {
        let task = tokio::spawn(async move {
            let fetched = self.fetcher.fetch(&self.url).await;
            let answer = self.note(fetched);
            drop(turn);
            answer
        });
        task.await
            .unwrap_or_else(|error| Err(KeyError::Unreachable(error.to_string())))
    }

    fn note(&self, fetched: Result<KeySet, KeyError>) -> Result<Arc<KeySet>, KeyError> {
        let now = Instant::now();
        let mut known = self.known();
        match fetched {
            Ok(set) => {
                let before = known.set.as_ref().map(|(set, _)| set.skipped());
                if !set.skipped().is_empty() && before != Some(set.skipped()) {
                    tracing::warn!(url = self.url, skipped = ?set.skipped(), "some keys of a provider are not used");
                }
                let set = Arc::new(set);
                known.set = Some((set.clone(), now));
                known.failed = None;
                Ok(set)
            }
            Err(error) => {
                if known.warned_at.is_none_or(|at| now - at >= WARN_AT_MOST_EVERY) {
                    known.warned_at = Some(now);
                    let age_s = known.set.as_ref().map(|(_, at)| (now - *at).as_secs());
                    tracing::warn!(url = self.url, %error, age_s, "cannot fetch a provider's keys");
                }
                known.failed = Some((error.clone(), now));
                Err(error)
            }
        }
    }
}

impl Known {
    /// What we can answer without a fetch, and whether the keys should be renewed.
    fn answer(&self, now: Instant) -> (Option<Result<Arc<KeySet>, KeyError>>, bool) {
        let failed = self.failed.as_ref().filter(|(_, at)| now - *at < FAILED_FOR);
        match &self.set {
            // A failure does not bring the next attempt forward, nor does every caller make one.
            Some((set, at)) if now - *at < STALE_AT_MOST => {
                (Some(Ok(set.clone())), now - *at >= KEEP && failed.is_none())
            }
            _ => (failed.map(|(error, _)| Err(error.clone())), false),
        }
    }
}

//! Our own failures. Outcomes such as "sold out" are not errors but [`flashsale_protocol::Reject`]s.

use flashsale_protocol::{Code, Reject};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::{
    num::NonZeroU32,
    sync::{Arc, LazyLock},
};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of *our* failure. Its text is for logs; a client sees a code and a request id.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("redis: {0}")]
    Redis(fred::error::Error),
    #[error("postgres: {0}")]
    Postgres(Arc<sqlx::Error>),
    #[error("the lane is not open in Redis")]
    LaneMissing,
    #[error("the lane was opened in another life of Redis")]
    LaneLost,
    #[error("the lane lives in another epoch: {0}")]
    LaneFenced(String),
    #[error("a part of the line is gone")]
    LineLost,
    #[error("another worker leads this sale")]
    NotLeader,
    #[error("no answer within {0} ms")]
    Deadline(u64),
    #[error("the queue of {0} is full")]
    QueueFull(&'static str),
    #[error("others kept coming in the way of an item of {0}")]
    Contended(&'static str),
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    pub fn unexpected(what: impl Into<String>) -> Self {
        Self::Unexpected(what.into())
    }

    /// Whether one item of a batch may be to blame, so that the others should be tried without it. A store that is away, slow or
    /// read-only fails them all alike.
    pub(crate) fn may_be_one_items(&self) -> bool {
        match self {
            Error::Unexpected(_) => true,
            // A script failed on its input, or on the data of one shopper.
            Error::Redis(error) => {
                error.details().starts_with("ERR ") && error.details().contains("user_script")
            }
            Error::Postgres(error) => match &**error {
                sqlx::Error::Database(error) => {
                    let class = error.code().map(|code| code.chars().take(2).collect::<String>());
                    class.is_some_and(|class| ITEM_FAULTS.contains(&class.as_str()))
                }
                sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => true,
                _ => false,
            },
            Error::LaneMissing
            | Error::LaneLost
            | Error::LaneFenced(_)
            | Error::LineLost
            | Error::NotLeader
            | Error::Deadline(_)
            | Error::QueueFull(_)
            | Error::Contended(_) => false,
        }
    }

    /// The one table from failures to codes.
    pub fn code(&self) -> Code {
        match self {
            Error::QueueFull(_) | Error::Contended(_) => Code::Busy,
            Error::Unexpected(_) => Code::Internal,
            Error::Redis(_)
            | Error::Postgres(_)
            | Error::LaneMissing
            | Error::LaneLost
            | Error::LaneFenced(_)
            | Error::LineLost
            | Error::NotLeader
            | Error::Deadline(_) => Code::Unavailable,
        }
    }
}

/// SQLSTATE classes that written data can cause: bad data, a broken constraint, a deadlock, a function's own refusal.
const ITEM_FAULTS: [&str; 5] = ["21", "22", "23", "40", "P0"];
/// Average waiting time that a client is told before it tries again.
const RETRY_AFTER_MS: u64 = 500;
/// Most failed commands logged as errors in a second.
const LOGGED_PER_S: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
static LOGGED: LazyLock<DefaultDirectRateLimiter> =
    LazyLock::new(|| RateLimiter::direct(Quota::per_second(LOGGED_PER_S)));

impl From<Error> for Reject {
    /// Logs the failure once, here, under an id, and tells the client only the id.
    fn from(error: Error) -> Self {
        let code = error.code();
        let request: u32 = rand::random();
        // Spread out, so that clients do not all come back at once.
        let after_ms = RETRY_AFTER_MS / 2 + u64::from(request) % RETRY_AFTER_MS;
        if code == Code::Busy {
            return Reject::new(code).after_ms(after_ms);
        }
        // While a store is away every command fails; the log needs only some of them.
        if LOGGED.check().is_ok() {
            tracing::error!(request = format_args!("{request:08x}"), %error, "a command failed");
        } else {
            tracing::debug!(request = format_args!("{request:08x}"), %error, "a command failed");
        }
        let reject = Reject::because(code, format!("{} (request {request:08x})", code.text()));
        if code.retry() {
            reject.after_ms(after_ms)
        } else {
            reject
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::Postgres(Arc::new(error))
    }
}

impl From<fred::error::Error> for Error {
    /// Scripts name their refusals in the first word of an error reply.
    fn from(error: fred::error::Error) -> Self {
        let details = error.details();
        if details.starts_with("LANE_MISSING") {
            Error::LaneMissing
        } else if details.starts_with("LANE_LOST") {
            Error::LaneLost
        } else if let Some(rest) = details.strip_prefix("LANE_FENCED ") {
            Error::LaneFenced(rest.to_owned())
        } else if details.starts_with("LINE_LOST") {
            Error::LineLost
        } else if details.starts_with("NOT_LEADER") {
            Error::NotLeader
        } else {
            Error::Redis(error)
        }
    }
}

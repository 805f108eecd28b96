//! Checks every session before it is used: whether Postgres takes changes (a standby does not), and whether the session is free.
//! A caller that leaves while its `BEGIN` is on its way leaves an open transaction (sqlx 0.9, its issue 4393); the next caller's
//! writes would never be committed.

use crate::telemetry::name;
use sqlx::{PgConnection, Row};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Sets a session up. The time-outs are longer than any of our statements takes normally. A process that stands still within a
/// transaction holds its lanes' and its sale's locks, so Postgres ends it for the others.
pub(crate) const SET_UP: &str = "SET statement_timeout = 5000; SET idle_in_transaction_session_timeout = 2000; SELECT current_setting('transaction_read_only'), false";
/// As [`SET_UP`], for statements that name their rows by key. Their plans do not depend on what Postgres knows of a table: of a new one
/// it knows nothing, and a plan that was made then is kept. So no table is read from end to end, and each row is looked up by its key,
/// as for any number of rows; and no statement is planned, or compiled, anew for each batch.
pub(crate) const SET_UP_BY_KEY: &str = "SET statement_timeout = 5000; SET idle_in_transaction_session_timeout = 2000;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
    SET plan_cache_mode = force_generic_plan; SET jit = off;
    SELECT current_setting('transaction_read_only'), false";
/// Whether changes are refused, and whether a transaction is open: its `now()` is the time of its first statement.
pub(crate) const QUESTION: &str =
    "SELECT current_setting('transaction_read_only'), now() <> statement_timestamp()";
/// Longest life of a connection that takes no changes: it is good for reading, but a new one may reach the new primary.
const READ_ONLY_LIFE: Duration = Duration::from_secs(1);

/// The answers of a pool's connections. Old ones may know less: after a failover, connections opened before it lead to a Postgres
/// that takes no changes, and later ones to the primary.
#[derive(Default)]
pub struct Sessions(Mutex<Known>);

#[derive(Default)]
struct Known {
    read_only: bool,
    /// The opening time of the newest connection that took changes.
    taken_by: Option<Instant>,
}

/// A connection's answer, and whether it is worth keeping.
#[derive(Debug, PartialEq, Eq)]
enum Worth {
    Use,
    Replace,
}

impl Sessions {
    /// Whether Postgres takes no changes at the moment.
    pub(crate) fn are_read_only(&self) -> bool {
        self.known().read_only
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks by the simple protocol, as cheaply as a ping. `false`: replace this connection by a new one.
    pub async fn ask(
        &self,
        connection: &mut PgConnection,
        question: &'static str,
        age: Duration,
    ) -> Result<bool, sqlx::Error> {
        let opened = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let row = sqlx::raw_sql(question).fetch_one(connection).await?;
        let read_only = row.try_get::<String, _>(0)? == "on";
        if row.try_get::<bool, _>(1)? {
            return Ok(false);
        }
        Ok(self.heard(opened, read_only, age) == Worth::Use)
    }

    fn heard(&self, opened: Instant, read_only: bool, age: Duration) -> Worth {
        let mut known = self.known();
        if read_only && known.taken_by.is_some_and(|newer| opened < newer) {
            return Worth::Replace;
        }
        if !read_only {
            known.taken_by = known.taken_by.max(Some(opened));
        }
        if known.read_only != read_only {
            known.read_only = read_only;
            metrics::gauge!(name::POSTGRES_READ_ONLY).set(f64::from(u8::from(read_only)));
            if read_only {
                tracing::warn!("Postgres takes no changes: purchases wait until it does");
            } else {
                tracing::info!("Postgres takes changes again");
            }
        }
        if read_only && age >= READ_ONLY_LIFE {
            Worth::Replace
        } else {
            Worth::Use
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOUNG: Duration = Duration::from_millis(300);

    #[test]
    fn an_older_connection_is_not_believed_once_a_newer_one_takes_changes() {
        let sessions = Sessions::default();
        let old = Instant::now();
        let new = old + YOUNG;
        assert_eq!(sessions.heard(old, true, YOUNG), Worth::Use);
        assert!(sessions.are_read_only());
        assert_eq!(sessions.heard(new, false, Duration::ZERO), Worth::Use);
        assert!(!sessions.are_read_only());
        assert_eq!(sessions.heard(old, true, YOUNG), Worth::Replace);
        assert!(!sessions.are_read_only(), "the old one knows less");
    }

    #[test]
    fn a_newer_connection_that_takes_no_changes_is_believed_and_lives_a_second() {
        let sessions = Sessions::default();
        let old = Instant::now();
        assert_eq!(sessions.heard(old, false, Duration::ZERO), Worth::Use);
        let new = old + YOUNG;
        assert_eq!(sessions.heard(new, true, Duration::ZERO), Worth::Use);
        assert!(sessions.are_read_only());
        assert_eq!(sessions.heard(new, true, READ_ONLY_LIFE), Worth::Replace);
        assert!(
            sessions.are_read_only(),
            "its answer counts until another is there"
        );
    }
}

//! The accounts of operators: their links, passwords, sessions and tickets, and the log of who signed in from where. It knows
//! hashes only, and decides by Postgres' clock.

use super::Store;
use crate::{
    error::{Error, Result},
    operator::{OperatorRole, SecretHash},
};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Sessions that one operator may have; one more ends the oldest.
const SESSIONS_MOST: i64 = 20;
/// How long it is known who signed in from where.
const EVENTS_KEPT_S: f64 = 180.0 * 24.0 * 3600.0;
/// Operators in one list.
const LIST_MOST: i64 = 500;
/// A session's last use is written this often at most.
const TOUCH_EVERY_S: f64 = 60.0;

/// An operator, without what proves them.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub id: String,
    pub email: String,
    /// None: an admin of the platform.
    pub merchant: Option<String>,
    pub role: OperatorRole,
    pub has_password: bool,
    /// Until when their link sets a password, if one is open.
    pub invited_until: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// The columns of an account.
struct Row {
    operator_id: String,
    email: String,
    merchant_id: Option<String>,
    role: String,
    has_password: bool,
    invited_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for Account {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let role = row.role.parse();
        Ok(Self {
            id: row.operator_id,
            email: row.email,
            merchant: row.merchant_id,
            role: role.map_err(|_| Error::unexpected(format!("an operator's role is {:?}", row.role)))?,
            has_password: row.has_password,
            invited_until: row.invited_until,
            created_at: row.created_at,
        })
    }
}

/// Who does something to an account, and from where.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub actor: &'a str,
    /// None: the command line.
    pub address: Option<&'a str>,
}

/// An invitation, or a new link for somebody who is there already.
pub struct Invitation<'a> {
    /// The id, if they are new.
    pub id: &'a str,
    pub email: &'a str,
    pub merchant: Option<&'a str>,
    pub role: OperatorRole,
    pub link: SecretHash,
    pub life_s: f64,
    /// Only operators of this merchant may be changed; None: all.
    pub within: Option<&'a str>,
}

/// A session that goes on.
#[derive(Debug)]
pub struct SessionRow {
    pub account: Account,
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// Invites somebody. None: the address belongs to an operator of another merchant.
    pub async fn invite_operator(&self, new: &Invitation<'_>, by: By<'_>) -> Result<Option<Account>> {
        let mut tx = self.pool.begin().await?;
        // Another role begins with another session.
        sqlx::query!(
            "DELETE FROM operator_sessions WHERE operator_id IN (
                SELECT operator_id FROM operators
                WHERE email = $1 AND removed_at IS NULL AND (role <> $2 OR merchant_id IS DISTINCT FROM $3)
                    AND ($4::text IS NULL OR merchant_id = $4))",
            new.email,
            new.role.word(),
            new.merchant,
            new.within,
        )
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query_as!(
            Row,
            r#"INSERT INTO operators (operator_id, email, merchant_id, role, invite, invite_expires_at, created_by)
               VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), $7)
               ON CONFLICT (email) WHERE removed_at IS NULL DO UPDATE
               SET merchant_id = $3, role = $4, invite = $5, invite_expires_at = now() + make_interval(secs => $6)
               WHERE $8::text IS NULL OR operators.merchant_id = $8
               RETURNING operator_id, email, merchant_id, role, password IS NOT NULL AS "has_password!",
                   invite_expires_at AS invited_until, created_at"#,
            new.id,
            new.email,
            new.merchant,
            new.role.word(),
            &new.link[..],
            new.life_s,
            by.actor,
            new.within,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        note(
            &mut tx,
            "invited",
            Some(&row.operator_id),
            Some(by.actor),
            by.address,
        )
        .await?;
        tx.commit().await?;
        row.try_into().map(Some)
    }

    /// Whether a link still sets a password. Hashing one is dear, so this is asked first.
    pub async fn invite_is_open(&self, link: &SecretHash) -> Result<bool> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM operators
               WHERE invite = $1 AND invite_expires_at > now() AND removed_at IS NULL) AS "is_open!""#,
            &link[..],
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Sets the password of a link's owner, once, and ends the sessions of before. None: the link is good no more.
    pub async fn set_password(
        &self,
        link: &SecretHash,
        password: &str,
        address: &str,
    ) -> Result<Option<Account>> {
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query_as!(
            Row,
            r#"UPDATE operators SET password = $2, invite = NULL, invite_expires_at = NULL
               WHERE invite = $1 AND invite_expires_at > now() AND removed_at IS NULL
               RETURNING operator_id, email, merchant_id, role, true AS "has_password!",
                   invite_expires_at AS invited_until, created_at"#,
            &link[..],
            password,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        end_all(&mut tx, &row.operator_id).await?;
        note(
            &mut tx,
            "password_set",
            Some(&row.operator_id),
            None,
            Some(address),
        )
        .await?;
        tx.commit().await?;
        row.try_into().map(Some)
    }

    /// The operator of an address, and their password's hash.
    pub async fn operator_by_email(&self, email: &str) -> Result<Option<(Account, Option<String>)>> {
        let row = sqlx::query!(
            r#"SELECT operator_id, email, merchant_id, role, password, invite_expires_at, created_at
               FROM operators WHERE email = $1 AND removed_at IS NULL"#,
            email,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let account = Row {
            operator_id: row.operator_id,
            email: row.email,
            merchant_id: row.merchant_id,
            role: row.role,
            has_password: row.password.is_some(),
            invited_until: row.invite_expires_at,
            created_at: row.created_at,
        };
        Ok(Some((account.try_into()?, row.password)))
    }

    /// Begins a session, if the operator is still there with the password that was checked. Returns its end.
    pub async fn begin_operator_session(
        &self,
        operator: &str,
        password: &str,
        session: &SecretHash,
        life_s: f64,
        address: &str,
    ) -> Result<Option<DateTime<Utc>>> {
        let mut tx = self.pool.begin().await?;
        let expires_at = sqlx::query_scalar!(
            "INSERT INTO operator_sessions (session, operator_id, expires_at)
             SELECT $3, operator_id, now() + make_interval(secs => $4) FROM operators
             WHERE operator_id = $1 AND password = $2 AND removed_at IS NULL FOR SHARE
             RETURNING expires_at",
            operator,
            password,
            &session[..],
            life_s,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(expires_at) = expires_at else {
            return Ok(None);
        };
        sqlx::query!(
            "DELETE FROM operator_sessions WHERE expires_at <= now() OR session IN (
                SELECT session FROM operator_sessions WHERE operator_id = $1 ORDER BY created_at DESC, session OFFSET $2)",
            operator,
            SESSIONS_MOST,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "DELETE FROM operator_events WHERE at < now() - make_interval(secs => $1)",
            EVENTS_KEPT_S,
        )
        .execute(&mut *tx)
        .await?;
        note(&mut tx, "signed_in", Some(operator), None, Some(address)).await?;
        tx.commit().await?;
        Ok(Some(expires_at))
    }

    /// Notes a try to sign in that was refused; None: nobody has the address.
    pub async fn note_refused_sign_in(&self, operator: Option<&str>, address: &str) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        note(&mut connection, "refused", operator, None, Some(address)).await
    }

    /// A session that has not ended, whether by its own time or because nobody has used it for `idle_s`.
    pub async fn operator_session(&self, session: &SecretHash, idle_s: f64) -> Result<Option<SessionRow>> {
        let row = sqlx::query!(
            r#"SELECT o.operator_id, o.email, o.merchant_id, o.role, o.password IS NOT NULL AS "has_password!",
                   o.invite_expires_at, o.created_at, s.expires_at,
                   s.used_at < now() - make_interval(secs => $3) AS "is_to_touch!"
               FROM operator_sessions s JOIN operators o USING (operator_id)
               WHERE s.session = $1 AND s.expires_at > now() AND s.used_at > now() - make_interval(secs => $2)
                   AND o.removed_at IS NULL"#,
            &session[..],
            idle_s,
            TOUCH_EVERY_S,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.is_to_touch {
            sqlx::query!(
                "UPDATE operator_sessions SET used_at = now() WHERE session = $1",
                &session[..],
            )
            .execute(&self.pool)
            .await?;
        }
        let account = Row {
            operator_id: row.operator_id,
            email: row.email,
            merchant_id: row.merchant_id,
            role: row.role,
            has_password: row.has_password,
            invited_until: row.invite_expires_at,
            created_at: row.created_at,
        };
        Ok(Some(SessionRow {
            account: account.try_into()?,
            expires_at: row.expires_at,
        }))
    }

    /// Ends one session.
    pub async fn end_operator_session(
        &self,
        session: &SecretHash,
        operator: &str,
        address: &str,
    ) -> Result<()> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("DELETE FROM operator_sessions WHERE session = $1", &session[..])
            .execute(&mut *tx)
            .await?;
        note(&mut tx, "signed_out", Some(operator), None, Some(address)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends all sessions of an operator.
    pub async fn end_operator_sessions(&self, operator: &str, address: &str) -> Result<()> {
        let mut tx = self.pool.begin().await?;
        end_all(&mut tx, operator).await?;
        note(
            &mut tx,
            "signed_out_everywhere",
            Some(operator),
            None,
            Some(address),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps a ticket for a session. False: the session has ended.
    pub async fn keep_ticket(&self, ticket: &SecretHash, session: &SecretHash, life_s: f64) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "DELETE FROM operator_tickets WHERE session = $1 AND expires_at <= now()",
            &session[..],
        )
        .execute(&mut *tx)
        .await?;
        let kept = sqlx::query!(
            "INSERT INTO operator_tickets (ticket, session, expires_at)
             SELECT $1, session, now() + make_interval(secs => $3) FROM operator_sessions WHERE session = $2 FOR KEY SHARE",
            &ticket[..],
            &session[..],
            life_s,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(kept == 1)
    }

    /// Takes a ticket, whose second use finds nothing, and returns its session.
    pub async fn take_ticket(&self, ticket: &SecretHash) -> Result<Option<SecretHash>> {
        let taken = sqlx::query!(
            r#"DELETE FROM operator_tickets WHERE ticket = $1 RETURNING session, expires_at > now() AS "is_good!""#,
            &ticket[..],
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(taken) = taken.filter(|taken| taken.is_good) else {
            return Ok(None);
        };
        let session = taken.session.try_into();
        session
            .map(Some)
            .map_err(|_| Error::unexpected("a session's hash that is none"))
    }

    /// Removes an operator, by id or address, and ends their sessions. None: nobody is called so (at this merchant).
    pub async fn remove_operator(
        &self,
        name: &str,
        within: Option<&str>,
        by: By<'_>,
    ) -> Result<Option<String>> {
        let mut tx = self.pool.begin().await?;
        let id = sqlx::query_scalar!(
            "UPDATE operators SET removed_at = now(), password = NULL, invite = NULL, invite_expires_at = NULL
             WHERE (operator_id = $1 OR email = $1) AND removed_at IS NULL AND ($2::text IS NULL OR merchant_id = $2)
             RETURNING operator_id",
            name,
            within,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(id) = id else { return Ok(None) };
        end_all(&mut tx, &id).await?;
        note(&mut tx, "removed", Some(&id), Some(by.actor), by.address).await?;
        tx.commit().await?;
        Ok(Some(id))
    }

    /// The operators who are there, by address; with `within` only those of this merchant.
    pub async fn operator_accounts(&self, within: Option<&str>) -> Result<Vec<Account>> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT operator_id, email, merchant_id, role, password IS NOT NULL AS "has_password!",
                   CASE WHEN invite_expires_at > now() THEN invite_expires_at END AS invited_until, created_at
               FROM operators WHERE removed_at IS NULL AND ($1::text IS NULL OR merchant_id = $1)
               ORDER BY email LIMIT $2"#,
            within,
            LIST_MOST,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Account::try_from).collect()
    }
}

async fn end_all(connection: &mut PgConnection, operator: &str) -> Result<()> {
    sqlx::query!("DELETE FROM operator_sessions WHERE operator_id = $1", operator)
        .execute(connection)
        .await?;
    Ok(())
}

async fn note(
    connection: &mut PgConnection,
    kind: &str,
    operator: Option<&str>,
    actor: Option<&str>,
    address: Option<&str>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO operator_events (kind, operator_id, actor, address) VALUES ($1, $2, $3, $4)",
        kind,
        operator,
        actor,
        address,
    )
    .execute(connection)
    .await?;
    Ok(())
}

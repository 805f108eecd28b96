//! The accounts of operators: their links, passwords, sessions and tickets, and the log of who signed in from where. It knows
//! hashes only, and decides by Postgres' clock.

use super::{
    Store,
    events::{self, By, Kind},
};
use crate::{
    boxed,
    error::{Error, Result},
    operator::{OperatorRole, SecretHash},
};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Sessions that one operator may have; one more ends the oldest.
const SESSIONS_MOST: i64 = 20;
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
    /// They sign in with a code as well.
    pub has_codes: bool,
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
    has_codes: bool,
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
            has_codes: row.has_codes,
            invited_until: row.invited_until,
            created_at: row.created_at,
        })
    }
}

/// What the secret of an operator's codes is made from.
pub type CodeSeed = [u8; 16];

/// What somebody has to prove to be this operator.
#[derive(Default)]
pub struct Proofs {
    /// The password's hash; None: they have not set one.
    pub password: Option<String>,
    /// None: no code is asked for.
    pub codes: Option<CodeSeed>,
}

/// The proofs as they were when somebody had them checked.
pub struct Proven<'a> {
    /// The password's hash.
    pub password: &'a str,
    /// What the code was made from, and its time step.
    pub code: Option<(CodeSeed, i64)>,
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
        let mut tx = self.pools.operations.begin().await?;
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
                   code_seed IS NOT NULL AS "has_codes!", invite_expires_at AS invited_until, created_at"#,
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
        events::of_account(
            &mut tx,
            Kind::Invited,
            Some(&row.operator_id),
            Some(by.actor),
            by.address,
        )
        .await?;
        tx.commit().await?;
        row.try_into().map(Some)
    }

    /// Whether a link still sets a password. Hashing one is dear, so this is asked first.
    #[boxed]
    pub async fn invite_is_open(&self, link: &SecretHash) -> Result<bool> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM operators
               WHERE invite = $1 AND invite_expires_at > now() AND removed_at IS NULL) AS "is_open!""#,
            &link[..],
        )
        .fetch_one(&self.pools.operations)
        .await?)
    }

    /// Sets the password of a link's owner, once, asks for no code any more, and ends the sessions of before. None: the link is good
    /// no more.
    #[boxed]
    pub async fn set_password(
        &self,
        link: &SecretHash,
        password: &str,
        address: &str,
    ) -> Result<Option<Account>> {
        let mut tx = self.pools.operations.begin().await?;
        let row = sqlx::query_as!(
            Row,
            r#"UPDATE operators SET password = $2, code_seed = NULL, invite = NULL, invite_expires_at = NULL
               WHERE invite = $1 AND invite_expires_at > now() AND removed_at IS NULL
               RETURNING operator_id, email, merchant_id, role, true AS "has_password!",
                   false AS "has_codes!", invite_expires_at AS invited_until, created_at"#,
            &link[..],
            password,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        end_all(&mut tx, &row.operator_id).await?;
        events::of_account(
            &mut tx,
            Kind::PasswordSet,
            Some(&row.operator_id),
            None,
            Some(address),
        )
        .await?;
        tx.commit().await?;
        row.try_into().map(Some)
    }

    /// The operator of an address, and what proves them.
    #[boxed]
    pub async fn operator_by_email(&self, email: &str) -> Result<Option<(Account, Proofs)>> {
        let row = sqlx::query!(
            r#"SELECT operator_id, email, merchant_id, role, password, code_seed, invite_expires_at, created_at
               FROM operators WHERE email = $1 AND removed_at IS NULL"#,
            email,
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let account = Row {
            operator_id: row.operator_id,
            email: row.email,
            merchant_id: row.merchant_id,
            role: row.role,
            has_password: row.password.is_some(),
            has_codes: row.code_seed.is_some(),
            invited_until: row.invite_expires_at,
            created_at: row.created_at,
        };
        let proofs = Proofs {
            password: row.password,
            codes: row.code_seed.map(seed).transpose()?,
        };
        Ok(Some((account.try_into()?, proofs)))
    }

    /// Begins a session, if the operator is still there with the proofs that were checked. Returns its end. None: they are not, or
    /// the code was used before.
    #[boxed]
    pub async fn begin_operator_session(
        &self,
        operator: &str,
        proven: &Proven<'_>,
        session: &SecretHash,
        life_s: f64,
        address: &str,
    ) -> Result<Option<DateTime<Utc>>> {
        let mut tx = self.pools.operations.begin().await?;
        if let Some((codes, step)) = &proven.code
            && !take_code(&mut tx, operator, codes, *step).await?
        {
            return Ok(None);
        }
        let codes = proven.code.map(|(codes, _)| codes.to_vec());
        let expires_at = sqlx::query_scalar!(
            "INSERT INTO operator_sessions (session, operator_id, expires_at)
             SELECT $3, operator_id, now() + make_interval(secs => $4) FROM operators
             WHERE operator_id = $1 AND password = $2 AND code_seed IS NOT DISTINCT FROM $5 AND removed_at IS NULL FOR SHARE
             RETURNING expires_at",
            operator,
            proven.password,
            &session[..],
            life_s,
            codes,
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
        events::forget_old(&mut tx).await?;
        events::of_account(&mut tx, Kind::SignedIn, Some(operator), None, Some(address)).await?;
        tx.commit().await?;
        Ok(Some(expires_at))
    }

    /// A session that has not ended, whether by its own time or because nobody has used it for `idle_s`.
    #[boxed]
    pub async fn operator_session(&self, session: &SecretHash, idle_s: f64) -> Result<Option<SessionRow>> {
        let row = sqlx::query!(
            r#"SELECT o.operator_id, o.email, o.merchant_id, o.role, o.password IS NOT NULL AS "has_password!",
                   o.code_seed IS NOT NULL AS "has_codes!", o.invite_expires_at, o.created_at, s.expires_at,
                   s.used_at < now() - make_interval(secs => $3) AS "is_to_touch!"
               FROM operator_sessions s JOIN operators o USING (operator_id)
               WHERE s.session = $1 AND s.expires_at > now() AND s.used_at > now() - make_interval(secs => $2)
                   AND o.removed_at IS NULL"#,
            &session[..],
            idle_s,
            TOUCH_EVERY_S,
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.is_to_touch {
            sqlx::query!(
                "UPDATE operator_sessions SET used_at = now() WHERE session = $1",
                &session[..],
            )
            .execute(&self.pools.operations)
            .await?;
        }
        let account = Row {
            operator_id: row.operator_id,
            email: row.email,
            merchant_id: row.merchant_id,
            role: row.role,
            has_password: row.has_password,
            has_codes: row.has_codes,
            invited_until: row.invite_expires_at,
            created_at: row.created_at,
        };
        Ok(Some(SessionRow {
            account: account.try_into()?,
            expires_at: row.expires_at,
        }))
    }

    /// Asks an operator for codes of `seed` from now on, and ends their other sessions. The code that was checked is one of those.
    /// False: it was used before, or the password is another one now, or codes are asked for already.
    #[boxed]
    pub async fn begin_codes(
        &self,
        operator: &str,
        password: &str,
        (seed, step): (CodeSeed, i64),
        session: &SecretHash,
        address: &str,
    ) -> Result<bool> {
        let mut tx = self.pools.operations.begin().await?;
        let changed = sqlx::query!(
            "UPDATE operators SET code_seed = $3, code_step = $4
             WHERE operator_id = $1 AND password = $2 AND removed_at IS NULL
                AND code_seed IS NULL AND (code_step IS NULL OR code_step < $4)",
            operator,
            password,
            &seed[..],
            step,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed == 0 {
            return Ok(false);
        }
        end_others(&mut tx, operator, session).await?;
        events::of_account(&mut tx, Kind::CodesOn, Some(operator), None, Some(address)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Asks an operator for no code any more, and ends their other sessions. False: the code that was checked was used before, or
    /// the password is another one now.
    #[boxed]
    pub async fn end_codes(
        &self,
        operator: &str,
        password: &str,
        (seed, step): (CodeSeed, i64),
        session: &SecretHash,
        address: &str,
    ) -> Result<bool> {
        let mut tx = self.pools.operations.begin().await?;
        if !take_code(&mut tx, operator, &seed, step).await? {
            return Ok(false);
        }
        let changed = sqlx::query!(
            "UPDATE operators SET code_seed = NULL WHERE operator_id = $1 AND password = $2 AND removed_at IS NULL",
            operator,
            password,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed == 0 {
            return Ok(false);
        }
        end_others(&mut tx, operator, session).await?;
        events::of_account(&mut tx, Kind::CodesOff, Some(operator), None, Some(address)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends one session.
    #[boxed]
    pub async fn end_operator_session(
        &self,
        session: &SecretHash,
        operator: &str,
        address: &str,
    ) -> Result<()> {
        let mut tx = self.pools.operations.begin().await?;
        sqlx::query!("DELETE FROM operator_sessions WHERE session = $1", &session[..])
            .execute(&mut *tx)
            .await?;
        events::of_account(&mut tx, Kind::SignedOut, Some(operator), None, Some(address)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends all sessions of an operator.
    #[boxed]
    pub async fn end_operator_sessions(&self, operator: &str, address: &str) -> Result<()> {
        let mut tx = self.pools.operations.begin().await?;
        end_all(&mut tx, operator).await?;
        events::of_account(
            &mut tx,
            Kind::SignedOutEverywhere,
            Some(operator),
            None,
            Some(address),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps a ticket for a session. False: the session has ended.
    #[boxed]
    pub async fn keep_ticket(&self, ticket: &SecretHash, session: &SecretHash, life_s: f64) -> Result<bool> {
        let mut tx = self.pools.operations.begin().await?;
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
    #[boxed]
    pub async fn take_ticket(&self, ticket: &SecretHash) -> Result<Option<SecretHash>> {
        let taken = sqlx::query!(
            r#"DELETE FROM operator_tickets WHERE ticket = $1 RETURNING session, expires_at > now() AS "is_good!""#,
            &ticket[..],
        )
        .fetch_optional(&self.pools.operations)
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
        let mut tx = self.pools.operations.begin().await?;
        let id = sqlx::query_scalar!(
            "UPDATE operators SET removed_at = now(), password = NULL, code_seed = NULL, invite = NULL, invite_expires_at = NULL
             WHERE (operator_id = $1 OR email = $1) AND removed_at IS NULL AND ($2::text IS NULL OR merchant_id = $2)
             RETURNING operator_id",
            name,
            within,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(id) = id else { return Ok(None) };
        end_all(&mut tx, &id).await?;
        events::of_account(&mut tx, Kind::Removed, Some(&id), Some(by.actor), by.address).await?;
        tx.commit().await?;
        Ok(Some(id))
    }

    /// The operators who are there, by address; with `within` only those of this merchant.
    #[boxed]
    pub async fn operator_accounts(&self, within: Option<&str>) -> Result<Vec<Account>> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT operator_id, email, merchant_id, role, password IS NOT NULL AS "has_password!",
                   code_seed IS NOT NULL AS "has_codes!", CASE WHEN invite_expires_at > now() THEN invite_expires_at END AS invited_until, created_at
               FROM operators WHERE removed_at IS NULL AND ($1::text IS NULL OR merchant_id = $1)
               ORDER BY email LIMIT $2"#,
            within,
            LIST_MOST,
        )
        .fetch_all(&self.pools.operations)
        .await?;
        rows.into_iter().map(Account::try_from).collect()
    }
}

/// Takes a code, which is good once. False: it was used before, or codes are made from another seed now.
async fn take_code(
    connection: &mut PgConnection,
    operator: &str,
    codes: &CodeSeed,
    step: i64,
) -> Result<bool> {
    let taken = sqlx::query!(
        "UPDATE operators SET code_step = $3
         WHERE operator_id = $1 AND code_seed = $2 AND (code_step IS NULL OR code_step < $3)",
        operator,
        &codes[..],
        step,
    )
    .execute(connection)
    .await?
    .rows_affected();
    Ok(taken == 1)
}

fn seed(bytes: Vec<u8>) -> Result<CodeSeed> {
    let seed = bytes.try_into();
    seed.map_err(|_| Error::unexpected("a seed of codes that is none"))
}

async fn end_others(connection: &mut PgConnection, operator: &str, session: &SecretHash) -> Result<()> {
    sqlx::query!(
        "DELETE FROM operator_sessions WHERE operator_id = $1 AND session <> $2",
        operator,
        &session[..],
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn end_all(connection: &mut PgConnection, operator: &str) -> Result<()> {
    sqlx::query!("DELETE FROM operator_sessions WHERE operator_id = $1", operator)
        .execute(connection)
        .await?;
    Ok(())
}

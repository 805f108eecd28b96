//! The keys of merchants' own programs. It knows hashes only.

use super::{
    Store,
    events::{self, By, Kind},
};
use crate::{
    boxed,
    error::{Error, Result},
    operator::{Scope, SecretHash},
};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A key's last use is written this often at most.
const TOUCH_EVERY_S: f64 = 60.0;

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeyRow {
    pub id: String,
    pub merchant: String,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

struct Row {
    key_id: String,
    merchant_id: String,
    name: String,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    created_by: String,
    used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for ApiKeyRow {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let scopes = row.scopes.iter().map(|scope| scope.parse());
        let scopes = scopes.collect::<Result<Vec<Scope>, _>>();
        Ok(Self {
            id: row.key_id,
            merchant: row.merchant_id,
            name: row.name,
            scopes: scopes.map_err(|_| Error::unexpected(format!("scopes are {:?}", row.scopes)))?,
            created_at: row.created_at,
            created_by: row.created_by,
            used_at: row.used_at,
            revoked_at: row.revoked_at,
        })
    }
}

impl Store {
    /// The key with this secret, unless it is revoked. Its use is noted.
    #[boxed]
    pub async fn api_key(&self, secret: &SecretHash) -> Result<Option<ApiKeyRow>> {
        let row = sqlx::query_as!(
            Row,
            "SELECT key_id, merchant_id, name, scopes, created_at, created_by, used_at, revoked_at
             FROM api_keys WHERE secret = $1 AND revoked_at IS NULL",
            &secret[..],
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        let Some(row) = row else { return Ok(None) };
        sqlx::query!(
            "UPDATE api_keys SET used_at = now()
             WHERE key_id = $1 AND (used_at IS NULL OR used_at < now() - make_interval(secs => $2))",
            row.key_id,
            TOUCH_EVERY_S,
        )
        .execute(&self.pools.operations)
        .await?;
        row.try_into().map(Some)
    }

    /// A merchant's keys, newest first, with those that are revoked.
    #[boxed]
    pub async fn api_keys(&self, merchant: &str, limit: i64) -> Result<Vec<ApiKeyRow>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT key_id, merchant_id, name, scopes, created_at, created_by, used_at, revoked_at
             FROM api_keys WHERE merchant_id = $1 ORDER BY created_at DESC, key_id LIMIT $2",
            merchant,
            limit,
        )
        .fetch_all(&self.pools.operations)
        .await?;
        rows.into_iter().map(ApiKeyRow::try_from).collect()
    }

    /// Revokes a key of a merchant. False: there is no such key.
    pub async fn revoke_api_key(&self, merchant: &str, key: &str, by: By<'_>) -> Result<bool> {
        let mut tx = self.pools.operations.begin().await?;
        let revoked = sqlx::query!(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE merchant_id = $1 AND key_id = $2",
            merchant,
            key,
        )
        .execute(&mut *tx)
        .await?;
        let is_there = revoked.rows_affected() == 1;
        if is_there {
            events::of_shop(&mut tx, Kind::ApiKeyRevoked, merchant, Some(key), None, by).await?;
            tx.commit().await?;
        }
        Ok(is_there)
    }
}

/// Adds a key. False: the merchant has `most` already that are not revoked.
pub async fn add(
    connection: &mut PgConnection,
    key: &ApiKeyRow,
    secret: &SecretHash,
    most: i64,
    by: By<'_>,
) -> Result<bool> {
    // One at a time, so that eight at once do not pass the limit.
    sqlx::query!(
        "SELECT merchant_id FROM merchants WHERE merchant_id = $1 FOR NO KEY UPDATE",
        key.merchant
    )
    .fetch_optional(&mut *connection)
    .await?;
    let scopes: Vec<String> = key.scopes.iter().map(|scope| scope.word().to_owned()).collect();
    let added = sqlx::query!(
        "INSERT INTO api_keys (key_id, merchant_id, name, secret, scopes, created_at, created_by)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE (SELECT count(*) FROM api_keys WHERE merchant_id = $2 AND revoked_at IS NULL) < $8",
        key.id,
        key.merchant,
        key.name,
        &secret[..],
        &scopes,
        key.created_at,
        key.created_by,
        most,
    )
    .execute(&mut *connection)
    .await?;
    let is_added = added.rows_affected() == 1;
    if is_added {
        events::of_shop(
            connection,
            Kind::ApiKeyMade,
            &key.merchant,
            Some(&key.id),
            None,
            by,
        )
        .await?;
    }
    Ok(is_added)
}

//! Merchants and their keys, and the people who are erased: small tables that every process knows whole ([`crate::merchants`]).

use super::{
    Store,
    events::{self, By, Kind},
};
use crate::{
    boxed, clock,
    error::{Error, Result},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{SaleId, ShopperId};
use sqlx::PgConnection;

/// Raises the version of the settings of a merchant's sales, which it was suspended with or goes on with: Redis takes no older ones.
async fn note_to_sales(connection: &mut PgConnection, merchant: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE flash_sales SET settings_version = settings_version + 1 WHERE sale_id IN (
             SELECT sale_id FROM flash_sales WHERE merchant_id = $1 AND status NOT IN ('ended', 'cancelled')
             ORDER BY sale_id FOR NO KEY UPDATE)",
        merchant,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A merchant, without what its ids are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct MerchantRow {
    pub id: String,
    pub slug: String,
    pub name: String,
    pub time_zone: String,
    pub currency: String,
    pub widget_origins: Vec<String>,
    pub null_origin: bool,
    pub open_sales: i32,
    pub days_ahead: i32,
    pub text_chars: i32,
    pub exports: i32,
    /// Megabytes of pictures.
    pub picture_mb: i32,
    pub retention_days: i32,
    pub is_active: bool,
    pub role_claim: Option<String>,
    /// The shop's own checkout, for hand-offs.
    pub checkout_url: Option<String>,
    /// Longest time for which an order may wait for its payment there, since it was made.
    pub checkout_max_s: i32,
    pub version: i64,
    pub created_at: DateTime<Utc>,
}

impl MerchantRow {
    /// A merchant of whom nothing has been set, as the database makes one too.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            slug: id.to_owned(),
            name: id.to_owned(),
            time_zone: "UTC".into(),
            currency: "EUR".into(),
            widget_origins: Vec::new(),
            null_origin: false,
            open_sales: 200,
            days_ahead: 36_500,
            text_chars: 5_000,
            exports: 2,
            picture_mb: 200,
            retention_days: 1_095,
            is_active: true,
            role_claim: None,
            checkout_url: None,
            checkout_max_s: 3_600,
            version: 1,
            created_at: clock::now(),
        }
    }
}

/// A key that signs in a merchant's customers.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRow {
    pub id: String,
    pub merchant: String,
    pub kind: String,
    pub issuer: String,
    pub audience: String,
    pub subject_claim: String,
    pub keys: Option<String>,
    pub jwks_uri: Option<String>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// Since when it is proven that issuer and audience are the merchant's.
    pub proven_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// All that a process knows of merchants, as of one moment.
pub struct Register {
    pub changes: i64,
    /// When this register was made: credentials of devices from before end some time after it.
    pub since: DateTime<Utc>,
    pub merchants: Vec<(MerchantRow, Vec<u8>)>,
    /// Keys that are not revoked.
    pub keys: Vec<KeyRow>,
    pub erased: Vec<String>,
    /// People who are being forgotten, and since when.
    pub leaving: Vec<(String, DateTime<Utc>)>,
}

/// What became of a change to a merchant.
#[derive(Debug, PartialEq)]
pub enum Written {
    Ok(Box<MerchantRow>),
    /// Another merchant has the id or the slug.
    Taken,
    Unknown,
    /// Somebody else changed it first.
    Changed,
}

impl Store {
    /// A merchant's sales that are not over.
    #[boxed]
    pub async fn running_sales(&self, merchant: &str) -> Result<Vec<SaleId>> {
        let ids = sqlx::query_scalar!(
            "SELECT sale_id FROM flash_sales WHERE merchant_id = $1 AND status NOT IN ('ended', 'cancelled')",
            merchant,
        )
        .fetch_all(&self.pools.operations)
        .await?;
        Ok(ids.into_iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// How often merchants have changed.
    pub(crate) async fn register_changes(&self) -> Result<i64> {
        Ok(sqlx::query_scalar!("SELECT changes FROM platform")
            .fetch_one(&self.pools.purchases)
            .await?)
    }

    pub(crate) async fn register(&self) -> Result<Register> {
        let mut tx = self.pools.purchases.begin().await?;
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut *tx)
            .await?;
        let platform = sqlx::query!("SELECT changes, since FROM platform")
            .fetch_one(&mut *tx)
            .await?;
        let merchants = sqlx::query!(
            "SELECT merchant_id, slug, name, time_zone, currency, widget_origins, null_origin, open_sales, days_ahead,
                text_chars, exports, picture_mb, retention_days, status, role_claim, checkout_url, checkout_max_s, version,
                created_at, person_key
             FROM merchants"
        )
        .fetch_all(&mut *tx)
        .await?
        .into_iter()
        .map(|row| {
            let merchant = MerchantRow {
                id: row.merchant_id,
                slug: row.slug,
                name: row.name,
                time_zone: row.time_zone,
                currency: row.currency,
                widget_origins: row.widget_origins,
                null_origin: row.null_origin,
                open_sales: row.open_sales,
                days_ahead: row.days_ahead,
                text_chars: row.text_chars,
                exports: row.exports,
                picture_mb: row.picture_mb,
                retention_days: row.retention_days,
                is_active: row.status == "active",
                role_claim: row.role_claim,
                checkout_url: row.checkout_url,
                checkout_max_s: row.checkout_max_s,
                version: row.version,
                created_at: row.created_at,
            };
            (merchant, row.person_key)
        })
        .collect();
        let keys = sqlx::query_as!(
            KeyRow,
            "SELECT key_id AS id, merchant_id AS merchant, kind, issuer, audience, subject_claim, keys,
                jwks_uri, created_at, created_by,
                proven_at, revoked_at
             FROM merchant_keys WHERE revoked_at IS NULL ORDER BY created_at DESC"
        )
        .fetch_all(&mut *tx)
        .await?;
        let erased = sqlx::query_scalar!("SELECT person_id FROM erased_people")
            .fetch_all(&mut *tx)
            .await?;
        let leaving = sqlx::query!("SELECT person_id, since FROM leaving_people")
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Register {
            changes: platform.changes,
            since: platform.since,
            merchants,
            keys,
            erased,
            leaving: leaving
                .into_iter()
                .map(|row| (row.person_id, row.since))
                .collect(),
        })
    }

    /// Makes a merchant that is known by its id only, unless it is there already.
    pub async fn make_merchant(&self, id: &str) -> Result<()> {
        sqlx::query!("SELECT make_merchant($1)", id)
            .fetch_one(&self.pools.operations)
            .await?;
        Ok(())
    }

    /// Changes a merchant if it still has the version that the caller has read.
    pub async fn change_merchant(
        &self,
        new: &MerchantRow,
        changed: serde_json::Value,
        by: By<'_>,
    ) -> Result<Written> {
        let mut tx = self.pools.operations.begin().await?;
        let written = sqlx::query!(
            r#"UPDATE merchants SET slug = $2, name = $3, time_zone = $4, currency = $5, widget_origins = $6, null_origin = $7,
                open_sales = $8, days_ahead = $9, text_chars = $10, exports = $11, retention_days = $12, status = $13,
                role_claim = $14, checkout_url = $15, checkout_max_s = $16, picture_mb = $17, version = version + 1
             WHERE merchant_id = $1 AND version = $18
             RETURNING version,
                (SELECT was.status <> merchants.status FROM merchants was WHERE was.merchant_id = $1) AS "has_moved!""#,
            new.id,
            new.slug,
            new.name,
            new.time_zone,
            new.currency,
            &new.widget_origins,
            new.null_origin,
            new.open_sales,
            new.days_ahead,
            new.text_chars,
            new.exports,
            new.retention_days,
            if new.is_active { "active" } else { "suspended" },
            new.role_claim,
            new.checkout_url,
            new.checkout_max_s,
            new.picture_mb,
            new.version,
        )
        .fetch_optional(&mut *tx)
        .await;
        match written {
            Ok(Some(row)) => {
                if row.has_moved {
                    note_to_sales(&mut tx, &new.id).await?;
                }
                let version = row.version;
                events::of_shop(&mut tx, Kind::ShopChanged, &new.id, None, Some(changed), by).await?;
                tx.commit().await?;
                Ok(Written::Ok(Box::new(MerchantRow {
                    version,
                    ..new.clone()
                })))
            }
            Ok(None) => {
                let known = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT 1 FROM merchants WHERE merchant_id = $1) AS "known!""#,
                    new.id
                )
                .fetch_one(&mut *tx)
                .await?;
                Ok(if known { Written::Changed } else { Written::Unknown })
            }
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Written::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// A merchant's keys, newest first, with those that are revoked.
    #[boxed]
    pub async fn merchant_keys(&self, merchant: &str, limit: i64) -> Result<Vec<KeyRow>> {
        Ok(sqlx::query_as!(
            KeyRow,
            "SELECT key_id AS id, merchant_id AS merchant, kind, issuer, audience, subject_claim, keys,
                jwks_uri, created_at, created_by,
                proven_at, revoked_at
             FROM merchant_keys WHERE merchant_id = $1 ORDER BY created_at DESC LIMIT $2",
            merchant,
            limit,
        )
        .fetch_all(&self.pools.operations)
        .await?)
    }

    /// Revokes a key. False: the merchant has none of this id. A key that is revoked stays so.
    pub async fn revoke_merchant_key(&self, merchant: &str, key: &str, by: By<'_>) -> Result<bool> {
        let mut tx = self.pools.operations.begin().await?;
        let found = sqlx::query!(
            "UPDATE merchant_keys SET revoked_at = coalesce(revoked_at, now()) WHERE merchant_id = $1 AND key_id = $2",
            merchant,
            key,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if found > 0 {
            events::of_shop(&mut tx, Kind::KeyRevoked, merchant, Some(key), None, by).await?;
            tx.commit().await?;
        }
        Ok(found > 0)
    }

    /// Whether a time zone has this name.
    #[boxed]
    pub async fn knows_time_zone(&self, name: &str) -> Result<bool> {
        if name.contains('\0') {
            return Ok(false);
        }
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM pg_timezone_names WHERE name = $1) AS "known!""#,
            name
        )
        .fetch_one(&self.pools.operations)
        .await?)
    }
}

/// Who made an order: what the merchant's token calls them, or the session of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub id: ShopperId,
    pub merchant: String,
    pub subject: Option<String>,
    pub account: Option<ShopperId>,
}

/// Writes down who these people are, unless that is known.
pub(super) async fn note_people(connection: &mut PgConnection, people: &[&Person]) -> Result<()> {
    if people.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = people.iter().map(|person| person.id.to_string()).collect();
    let merchants: Vec<String> = people.iter().map(|person| person.merchant.clone()).collect();
    let subjects: Vec<Option<String>> = people.iter().map(|person| person.subject.clone()).collect();
    let accounts: Vec<Option<String>> = people
        .iter()
        .map(|person| person.account.as_ref().map(ToString::to_string))
        .collect();
    sqlx::query!(
        "INSERT INTO people (person_id, merchant_id, subject, account_id)
         SELECT DISTINCT ON (person_id) person_id, merchant_id, subject, account_id
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS i (person_id, merchant_id, subject, account_id)
         WHERE NOT EXISTS (SELECT 1 FROM erased_people e WHERE e.person_id = i.person_id)
         ORDER BY person_id
         ON CONFLICT DO NOTHING",
        &ids,
        &merchants,
        &subjects as &[Option<String>],
        &accounts as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// What a merchant's tokens call a person who has ordered.
    #[boxed]
    pub async fn subject_of(&self, merchant: &str, person: &ShopperId) -> Result<Option<String>> {
        let row = sqlx::query_scalar!(
            "SELECT subject FROM people WHERE person_id = $1 AND merchant_id = $2",
            person.as_str(),
            merchant,
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        Ok(row.flatten())
    }
}

/// A key of 32 bytes, as Postgres has it.
pub(crate) fn key_bytes(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes
        .try_into()
        .map_err(|_| Error::unexpected("a merchant's key that is not 32 bytes"))
}

/// Creates a merchant in an operator's command.
pub async fn create(connection: &mut PgConnection, new: &MerchantRow, by: By<'_>) -> Result<Written> {
    let made = sqlx::query!(
        "INSERT INTO merchants (merchant_id, slug, name, time_zone, currency, widget_origins, null_origin, open_sales,
            days_ahead, text_chars, exports, retention_days, status, role_claim, checkout_url, checkout_max_s, picture_mb)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT DO NOTHING",
        new.id,
        new.slug,
        new.name,
        new.time_zone,
        new.currency,
        &new.widget_origins,
        new.null_origin,
        new.open_sales,
        new.days_ahead,
        new.text_chars,
        new.exports,
        new.retention_days,
        if new.is_active { "active" } else { "suspended" },
        new.role_claim,
        new.checkout_url,
        new.checkout_max_s,
        new.picture_mb,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if made == 0 {
        return Ok(Written::Taken);
    }
    events::of_shop(connection, Kind::ShopMade, &new.id, None, None, by).await?;
    Ok(Written::Ok(Box::new(new.clone())))
}

/// What became of a key to add.
#[derive(Debug, PartialEq)]
pub enum KeyAdded {
    Ok,
    /// The merchant has as many keys as it may have.
    TooMany,
    /// Another merchant has public keys for this issuer and audience.
    IssuerTaken,
}

/// Adds a key unless the merchant has `most` that are not revoked.
pub async fn add_key(connection: &mut PgConnection, key: &KeyRow, most: i64, by: By<'_>) -> Result<KeyAdded> {
    // One at a time, so that eight at once do not pass the limit, and two merchants not get the same issuer.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        key.issuer
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!(
        "SELECT merchant_id FROM merchants WHERE merchant_id = $1 FOR UPDATE",
        key.merchant
    )
    .fetch_optional(&mut *connection)
    .await?;
    // A secret is known to nobody else: it can claim no other shop's customers.
    let others = sqlx::query!(
        r#"SELECT key_id, merchant_id, proven_at IS NOT NULL AS "is_proven!" FROM merchant_keys
           WHERE issuer = $1 AND audience = $2 AND merchant_id <> $3 AND kind <> 'secret' AND revoked_at IS NULL
           ORDER BY key_id FOR UPDATE"#,
        key.issuer,
        key.audience,
        key.merchant,
    )
    .fetch_all(&mut *connection)
    .await?;
    let is_stronger = key.proven_at.is_some() && others.iter().all(|other| !other.is_proven);
    if !others.is_empty() && key.kind != "secret" && !is_stronger {
        return Ok(KeyAdded::IssuerTaken);
    }
    let added = sqlx::query!(
        "INSERT INTO merchant_keys (key_id, merchant_id, kind, issuer, audience, subject_claim, keys, jwks_uri, created_by, proven_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $11
         WHERE (SELECT count(*) FROM merchant_keys WHERE merchant_id = $2 AND revoked_at IS NULL) < $10",
        key.id,
        key.merchant,
        key.kind,
        key.issuer,
        key.audience,
        key.subject_claim,
        key.keys,
        key.jwks_uri,
        key.created_by,
        most,
        key.proven_at,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if added == 0 {
        return Ok(KeyAdded::TooMany);
    }
    if is_stronger {
        for other in others {
            sqlx::query!(
                "UPDATE merchant_keys SET revoked_at = now() WHERE key_id = $1",
                other.key_id
            )
            .execute(&mut *connection)
            .await?;
            let (shop, id) = (&other.merchant_id, Some(other.key_id.as_str()));
            events::of_shop(connection, Kind::KeyRevoked, shop, id, None, by).await?;
        }
    }
    events::of_shop(connection, Kind::KeyAdded, &key.merchant, Some(&key.id), None, by).await?;
    Ok(KeyAdded::Ok)
}

//! Links with which a guest takes their place along to another browser: short-lived, good once, one a guest.

use super::Store;
use crate::{
    boxed,
    error::{Error, Result},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{DeviceId, ShopperId};
use std::time::Duration;

/// How long a link is good.
const LIFE: Duration = Duration::from_secs(300);
/// How long it is known afterwards what became of one.
const KNOWN_S: f64 = 3_600.0;

/// A guest's link, as far as it may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLink {
    pub expires_at: DateTime<Utc>,
    pub taken_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Makes a guest's link, by the hash of its code; the one before ends.
    #[boxed]
    pub async fn make_place_link(
        &self,
        account: &ShopperId,
        device: &DeviceId,
        code: [u8; 32],
    ) -> Result<PlaceLink> {
        let mut tx = self.pools.shoppers.begin().await?;
        sqlx::query!(
            "DELETE FROM place_links WHERE expires_at < now() - $1 * interval '1 second'",
            KNOWN_S
        )
        .execute(&mut *tx)
        .await?;
        let expires_at = sqlx::query_scalar!(
            "INSERT INTO place_links (account_id, code, device_id, expires_at)
             VALUES ($1, $2, $3, now() + $4 * interval '1 second')
             ON CONFLICT (account_id) DO UPDATE
                SET code = excluded.code, device_id = excluded.device_id, expires_at = excluded.expires_at, taken_at = NULL
             RETURNING expires_at",
            account.as_str(),
            code.as_slice(),
            device.as_str(),
            LIFE.as_secs_f64(),
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(PlaceLink {
            expires_at,
            taken_at: None,
        })
    }

    /// What became of a guest's last link.
    #[boxed]
    pub async fn place_link(&self, account: &ShopperId) -> Result<Option<PlaceLink>> {
        Ok(sqlx::query_as!(
            PlaceLink,
            "SELECT expires_at, taken_at FROM place_links WHERE account_id = $1",
            account.as_str(),
        )
        .fetch_optional(&self.pools.shoppers)
        .await?)
    }

    /// Takes a link, once: the guest and the device that the browser becomes. None: there is none of this code, or it was taken, or
    /// is too old.
    #[boxed]
    pub async fn take_place_link(&self, code: [u8; 32]) -> Result<Option<(ShopperId, String)>> {
        let row = sqlx::query!(
            "UPDATE place_links SET taken_at = now() WHERE code = $1 AND taken_at IS NULL AND expires_at > now()
             RETURNING account_id, device_id",
            code.as_slice(),
        )
        .fetch_optional(&self.pools.shoppers)
        .await?;
        let account = |id: String| {
            id.parse()
                .map_err(|_| Error::unexpected("a guest with an id that is none"))
        };
        row.map(|row| Ok((account(row.account_id)?, row.device_id)))
            .transpose()
    }
}

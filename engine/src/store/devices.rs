//! Devices whose credential has been changed since they were made.

use super::{LOOK, Store};
use crate::{
    batcher::{Batch, Batcher, nobody_s},
    boxed,
    error::Result,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::ShopperId;
use std::collections::HashMap;

pub type DeviceHash = [u8; 32];

/// The present credential of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    pub generation: u32,
    pub rotated_at: DateTime<Utc>,
    /// The guest that an older release had made of it.
    pub account: Option<ShopperId>,
}

impl Store {
    /// The present credential, if it was ever changed. One query answers all who ask at once.
    #[boxed]
    pub async fn device(&self, device: DeviceHash) -> Result<Option<DeviceRow>> {
        self.devices
            .submit(&(), device, || {
                let pool = self.pools.public.clone();
                Batcher::new("devices", LOOK, nobody_s, move |askers: Batch<DeviceHash>| {
                    let pool = pool.clone();
                    async move {
                        let asked: Vec<Vec<u8>> = askers.iter().map(|device| device.to_vec()).collect();
                        let rows = sqlx::query!(
                            "SELECT device, generation, rotated_at, account_id FROM devices WHERE device = ANY($1)",
                            &asked,
                        )
                        .fetch_all(&pool)
                        .await?;
                        let known: HashMap<Vec<u8>, DeviceRow> = rows
                            .into_iter()
                            .map(|row| {
                                let found = DeviceRow {
                                    generation: row.generation as u32,
                                    rotated_at: row.rotated_at,
                                    account: row.account_id.and_then(|id| id.parse().ok()),
                                };
                                (row.device, found)
                            })
                            .collect();
                        Ok(asked.iter().map(|device| known.get(device).cloned()).collect())
                    }
                })
            })
            .await
    }

    /// Forgets a guest: no token or credential of theirs is good any more.
    pub async fn forget_guest(&self, account: &ShopperId) -> Result<()> {
        sqlx::query!(
            "WITH link AS (DELETE FROM place_links WHERE account_id = $1)
             INSERT INTO erased_people (person_id) VALUES ($1) ON CONFLICT DO NOTHING",
            account.as_str()
        )
        .execute(&self.pools.shoppers)
        .await?;
        Ok(())
    }

    /// Changes a device's credential from one generation to the next. Of several who try at once one does it; all get the result.
    #[boxed]
    pub async fn rotate_device(
        &self,
        device: DeviceHash,
        from: u32,
        account: Option<&ShopperId>,
    ) -> Result<DeviceRow> {
        sqlx::query!(
            "INSERT INTO devices (device, generation, account_id) VALUES ($1, $2, $3)
             ON CONFLICT (device) DO UPDATE SET generation = $2, rotated_at = now() WHERE devices.generation = $2 - 1",
            &device,
            from as i32 + 1,
            account.map(ShopperId::as_str),
        )
        .execute(&self.pools.public)
        .await?;
        let row = sqlx::query!(
            "SELECT generation, rotated_at, account_id FROM devices WHERE device = $1",
            &device
        )
        .fetch_one(&self.pools.public)
        .await?;
        Ok(DeviceRow {
            generation: row.generation as u32,
            rotated_at: row.rotated_at,
            account: row.account_id.and_then(|id| id.parse().ok()),
        })
    }
}

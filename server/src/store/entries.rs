//! The line's history: who stood in it, and what became of them. Written in bulk by a worker; the line itself is in Redis.

use super::Store;
use crate::{
    error::Result,
    sale::{LineName, Note, Sale},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::SaleId;
use sha2::{Digest, Sha256};
use ulid::Ulid;

/// Entries in one page of an export.
pub const PAGE: i64 = 5_000;
/// Entries that one call closes at the end of a sale.
const CLOSE_AT_ONCE: i64 = 20_000;

/// A row of the export.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryRow {
    pub queue_id: String,
    pub user_id: String,
    pub device_id: String,
    pub quantity: i32,
    pub place: i64,
    pub priority: bool,
    pub joined_at: DateTime<Utc>,
    pub status: String,
    pub ended_at: Option<DateTime<Utc>>,
}

/// How long those waited who were served, from the start on, in seconds; and how the entries ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Waits {
    pub served: i64,
    pub waiting: i64,
    pub left: i64,
    pub expired: i64,
    pub not_served: i64,
    pub p50_s: Option<f64>,
    pub p90_s: Option<f64>,
    pub p99_s: Option<f64>,
}

impl Store {
    /// Writes what happened. May be repeated: the same note changes nothing the second time.
    pub async fn write_entries(&self, sale: SaleId, notes: &[Note]) -> Result<()> {
        let sale_id = sale.to_string();
        let (mut ids, mut users, mut devices, mut quantities) = (vec![], vec![], vec![], vec![]);
        let (mut places, mut priorities, mut joined) = (vec![], vec![], vec![]);
        let (mut gone, mut statuses, mut ended) = (vec![], vec![], vec![]);
        for note in notes {
            match note {
                Note::Joined {
                    shopper,
                    device,
                    quantity,
                    place,
                    at_us,
                    line,
                } => {
                    ids.push(queue_id(&sale_id, shopper, *at_us));
                    users.push(shopper.clone());
                    devices.push(device.clone());
                    quantities.push(*quantity as i32);
                    places.push(*place as i64);
                    priorities.push(*line == LineName::Priority);
                    joined.push(time(*at_us));
                }
                Note::Ended {
                    shopper,
                    status,
                    at_us,
                } => {
                    gone.push(shopper.clone());
                    statuses.push(status.clone());
                    ended.push(time(*at_us));
                }
            }
        }
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "INSERT INTO queue_entries (sale_id, queue_id, user_id, device_id, quantity, place, priority, joined_at)
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[], $7::bool[],
                $8::timestamptz[])
             ON CONFLICT DO NOTHING",
            sale_id,
            &ids,
            &users,
            &devices,
            &quantities,
            &places,
            &priorities,
            &joined,
        )
        .execute(&mut *tx)
        .await?;
        // An end is that of the entry which stood then; somebody may have joined again since.
        sqlx::query!(
            "UPDATE queue_entries e SET status = n.status, ended_at = n.at
             FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS n (user_id, status, at)
             WHERE e.sale_id = $1 AND e.user_id = n.user_id AND e.status = 'waiting' AND e.joined_at <= n.at",
            sale_id,
            &gone,
            &statuses,
            &ended,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Closes entries of a sale that is over: they were not served. True: there are more.
    pub async fn end_entries(&self, sale: SaleId, at: DateTime<Utc>) -> Result<bool> {
        let closed = sqlx::query!(
            "UPDATE queue_entries SET status = 'not_served', ended_at = greatest(joined_at, $2)
             WHERE sale_id = $1 AND queue_id IN (SELECT queue_id FROM queue_entries
                WHERE sale_id = $1 AND status = 'waiting' LIMIT $3)",
            sale.to_string(),
            at,
            CLOSE_AT_ONCE,
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        Ok(closed == CLOSE_AT_ONCE as u64)
    }

    /// One page of a sale's entries in the order of joining, behind the entry `after` ("": from the first).
    pub async fn entries_page(&self, sale: SaleId, after: &str) -> Result<Vec<EntryRow>> {
        Ok(sqlx::query_as!(
            EntryRow,
            "SELECT queue_id, user_id, device_id, quantity, place, priority, joined_at, status, ended_at
             FROM queue_entries WHERE sale_id = $1 AND queue_id > $2 ORDER BY queue_id LIMIT $3",
            sale.to_string(),
            after,
            PAGE,
        )
        .fetch_all(&self.pool)
        .await?)
    }

    pub async fn waits(&self, sale: &Sale) -> Result<Waits> {
        Ok(sqlx::query_as!(
            Waits,
            r#"SELECT count(*) FILTER (WHERE status = 'served') AS "served!",
                count(*) FILTER (WHERE status = 'waiting') AS "waiting!",
                count(*) FILTER (WHERE status = 'left') AS "left!",
                count(*) FILTER (WHERE status = 'expired') AS "expired!",
                count(*) FILTER (WHERE status = 'not_served') AS "not_served!",
                percentile_cont(0.5) WITHIN GROUP (ORDER BY wait) FILTER (WHERE status = 'served') AS p50_s,
                percentile_cont(0.9) WITHIN GROUP (ORDER BY wait) FILTER (WHERE status = 'served') AS p90_s,
                percentile_cont(0.99) WITHIN GROUP (ORDER BY wait) FILTER (WHERE status = 'served') AS p99_s
             FROM (SELECT status,
                    extract(epoch FROM ended_at - greatest(joined_at, $2))::float8 AS wait
                   FROM queue_entries WHERE sale_id = $1) e"#,
            sale.id.to_string(),
            sale.start_time,
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// The share of a sale's units that went to the devices with most of them, 0 to 1.
    pub async fn top_devices_share(&self, sale: SaleId, devices: i64) -> Result<f64> {
        Ok(sqlx::query_scalar!(
            r#"WITH by_device AS (
                SELECT device_id, sum(quantity_allocated) AS units FROM flash_sale_orders
                WHERE sale_id = $1 AND status <> 'cancelled' GROUP BY device_id)
             SELECT coalesce((SELECT sum(units) FROM (SELECT units FROM by_device ORDER BY units DESC LIMIT $2) top)
                / nullif((SELECT sum(units) FROM by_device), 0), 0)::float8 AS "share!""#,
            sale.to_string(),
            devices,
        )
        .fetch_one(&self.pool)
        .await?)
    }
}

/// An entry's id: its time first, then bits that only this entry has.
fn queue_id(sale: &str, shopper: &str, at_us: u64) -> String {
    let digest = Sha256::digest(format!("{sale} {shopper} {at_us}"));
    let bits = digest
        .iter()
        .take(10)
        .fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
    Ulid::from_parts(at_us / 1000, bits).to_string()
}

fn time(us: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us as i64).unwrap_or_default()
}

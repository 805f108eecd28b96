//! The line's history: who stood in it, and how that ended. A worker writes it in bulk; the line itself is in Redis.

use super::{LOOK, Store};
use crate::{
    batcher::{Batch, Batcher, of_shopper},
    boxed,
    error::{Error, Result},
    sale::{LineName, Note, Sale},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{EntryState, Nonce, SaleId, ShopperId};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use std::collections::{HashMap, HashSet};
use ulid::Ulid;

/// Entries in one page of an export.
pub const PAGE: i64 = 5_000;
/// Entries closed by one call at the end of a sale.
const CLOSE_AT_ONCE: i64 = 20_000;

/// A row of the export.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryRow {
    pub queue_id: String,
    pub user_id: String,
    pub device_id: String,
    pub quantity: i32,
    /// The place in line; in a draw, the rank by key, as far as it is known.
    pub place: Option<i64>,
    pub priority: bool,
    pub joined_at: DateTime<Utc>,
    pub status: String,
    pub ended_at: Option<DateTime<Utc>>,
}

/// A shopper who waits, by the line's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    pub quantity: u32,
    pub place: u64,
    pub nonce: Option<Nonce>,
}

/// How a line's entries ended, and how long the served ones waited, from the start on, in seconds: at most a tenth too much.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcomes {
    pub served: u64,
    pub waiting: u64,
    pub left: u64,
    pub removed: u64,
    pub expired: u64,
    pub not_served: u64,
    pub p50_s: Option<f64>,
    pub p90_s: Option<f64>,
    pub p99_s: Option<f64>,
}

impl Store {
    /// Writes notes. May be repeated: the same note changes nothing the second time.
    pub async fn write_entries(&self, sale: &Sale, notes: &[Note]) -> Result<()> {
        for notes in until_restored(notes) {
            self.write_notes(sale, notes).await?;
        }
        Ok(())
    }

    async fn write_notes(&self, sale: &Sale, notes: &[Note]) -> Result<()> {
        let sale_id = sale.id.to_string();
        let (mut ids, mut users, mut devices, mut quantities) = (vec![], vec![], vec![], vec![]);
        let (mut places, mut priorities, mut joined, mut restored) = (vec![], vec![], vec![], vec![]);
        let mut nonces: Vec<Option<Vec<u8>>> = vec![];
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
                    nonce,
                    restored: is_restored,
                } => {
                    ids.push(queue_id(&sale_id, shopper, *at_us));
                    users.push(shopper.clone());
                    devices.push(device.clone());
                    quantities.push(*quantity as i32);
                    places.push(*place as i64);
                    priorities.push(*line == LineName::Priority);
                    joined.push(time(*at_us));
                    nonces.push(nonce.map(|nonce| nonce.0.to_vec()));
                    restored.push(*is_restored);
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
        let mut tx = self.pools.workers.begin().await?;
        // Counted in the same statement: a repeated note changes no row and counts nothing.
        sqlx::query!(
            "WITH joined AS (
                INSERT INTO queue_entries
                    (sale_id, queue_id, user_id, device_id, quantity, place, priority, joined_at, nonce)
                SELECT $1, n.queue_id, n.user_id, n.device_id, n.quantity, n.place, n.priority, n.joined_at, n.nonce
                FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[], $7::bool[], $8::timestamptz[],
                    $9::bool[], $10::bytea[])
                    AS n (queue_id, user_id, device_id, quantity, place, priority, joined_at, restored, nonce)
                WHERE NOT (n.restored AND EXISTS (SELECT FROM queue_entries e
                    WHERE e.sale_id = $1 AND e.user_id = n.user_id AND e.status = 'waiting'))
                ON CONFLICT DO NOTHING RETURNING 1)
             INSERT INTO queue_outcomes AS o SELECT $1, 'joined', 0, count(*) FROM joined HAVING count(*) > 0
             ON CONFLICT (sale_id, outcome, bucket) DO UPDATE SET entries = o.entries + excluded.entries",
            sale_id,
            &ids,
            &users,
            &devices,
            &quantities,
            &places,
            &priorities,
            &joined,
            &restored,
            nonces.as_slice() as &[Option<Vec<u8>>],
        )
        .execute(&mut *tx)
        .await?;
        // A note of an end is about the entry of that time; the shopper may have joined again since.
        sqlx::query!(
            "WITH ended AS (
                UPDATE queue_entries e SET status = n.status, ended_at = n.at
                FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS n (user_id, status, at)
                WHERE e.sale_id = $1 AND e.user_id = n.user_id AND e.status = 'waiting' AND e.joined_at <= n.at
                RETURNING e.status, queue_wait_bucket(e.joined_at, n.at, $5) AS bucket)
             INSERT INTO queue_outcomes AS o
             SELECT $1, status, bucket, count(*) FROM ended GROUP BY status, bucket ORDER BY status, bucket
             ON CONFLICT (sale_id, outcome, bucket) DO UPDATE SET entries = o.entries + excluded.entries",
            sale_id,
            &gone,
            &statuses,
            &ended,
            sale.start_time,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Adds nonces to entries in line, by shopper and place, whose own notes were lost.
    pub(crate) async fn note_nonces(&self, sale: SaleId, known: &[(ShopperId, u64, Nonce)]) -> Result<()> {
        let users: Vec<String> = known.iter().map(|(shopper, ..)| shopper.to_string()).collect();
        let places: Vec<i64> = known.iter().map(|(_, place, _)| *place as i64).collect();
        let nonces: Vec<Vec<u8>> = known.iter().map(|(.., nonce)| nonce.0.to_vec()).collect();
        sqlx::query!(
            "UPDATE queue_entries e SET nonce = n.nonce
             FROM unnest($2::text[], $3::bigint[], $4::bytea[]) AS n (user_id, place, nonce)
             WHERE e.sale_id = $1 AND e.user_id = n.user_id AND e.place = n.place AND e.status = 'waiting'
                AND e.nonce IS NULL",
            sale.to_string(),
            &users,
            &places,
            &nonces,
        )
        .execute(&self.pools.workers)
        .await?;
        Ok(())
    }

    /// Closes the unserved entries of a sale that has ended. True: there are more.
    pub async fn end_entries(&self, sale: &Sale, at: DateTime<Utc>) -> Result<bool> {
        let closed = sqlx::query_scalar!(
            r#"WITH ended AS (
                UPDATE queue_entries SET status = 'not_served', ended_at = greatest(joined_at, $2)
                WHERE sale_id = $1 AND queue_id IN (SELECT queue_id FROM queue_entries
                    WHERE sale_id = $1 AND status = 'waiting' LIMIT $3)
                RETURNING queue_wait_bucket(joined_at, ended_at, $4) AS bucket),
             counted AS (
                INSERT INTO queue_outcomes AS o
                SELECT $1, 'not_served', bucket, count(*) FROM ended GROUP BY bucket ORDER BY bucket
                ON CONFLICT (sale_id, outcome, bucket) DO UPDATE SET entries = o.entries + excluded.entries)
             SELECT count(*) AS "closed!" FROM ended"#,
            sale.id.to_string(),
            at,
            CLOSE_AT_ONCE,
            sale.start_time,
        )
        .fetch_one(&self.pools.workers)
        .await?;
        Ok(closed == CLOSE_AT_ONCE)
    }

    /// What a shopper waits for, from the line's history, about a second late; one query answers all who ask at once.
    pub(crate) async fn waits_for(&self, sale: SaleId, shopper: &ShopperId) -> Result<Option<Waits>> {
        self.waits_for
            .submit(&sale, shopper.clone(), || {
                let pool = self.pools.shoppers.clone();
                Batcher::new("waits_for", LOOK, of_shopper, move |askers: Batch<ShopperId>| {
                    let pool = pool.clone();
                    async move { waiting_among(&pool, sale, &askers).await }
                })
            })
            .await
    }

    /// The outcome of a shopper's last entry in the line, with its units, about a second late. None: it still waits, or there was
    /// none.
    #[boxed]
    pub async fn outcome_of(&self, sale: SaleId, shopper: &ShopperId) -> Result<Option<(EntryState, u32)>> {
        let last = sqlx::query!(
            "SELECT status, quantity FROM queue_entries WHERE sale_id = $1 AND user_id = $2
             ORDER BY joined_at DESC LIMIT 1",
            sale.to_string(),
            shopper.as_str(),
        )
        .fetch_optional(&self.pools.shoppers)
        .await?;
        Ok(last.and_then(|last| {
            let state = match last.status.as_str() {
                "served" => EntryState::Served,
                "left" => EntryState::Left,
                "removed" | "expired" => EntryState::Removed,
                _ => return None,
            };
            Some((state, last.quantity as u32))
        }))
    }

    /// A page of a sale's entries in the order of joining, behind the entry `after` ("": the first page).
    #[boxed]
    pub async fn entries_page(&self, sale: SaleId, after: &str) -> Result<Vec<EntryRow>> {
        Ok(sqlx::query_as!(
            EntryRow,
            "SELECT queue_id, user_id, device_id, quantity, place AS \"place?\", priority, joined_at, status, ended_at
             FROM queue_entries WHERE sale_id = $1 AND queue_id > $2 ORDER BY queue_id LIMIT $3",
            sale.to_string(),
            after,
            PAGE,
        )
        .fetch_all(&self.pools.operations)
        .await?)
    }

    /// A page of the entries of a drawn sale, in the order of their published names.
    #[boxed]
    pub async fn draw_entries_page(&self, sale: SaleId, after: &str) -> Result<Vec<EntryRow>> {
        Ok(sqlx::query_as!(
            EntryRow,
            r#"SELECT e.entry AS queue_id, e.shopper_id AS user_id, e.device_id, e.quantity, t.rank AS "place?",
                false AS "priority!", e.entered_at AS joined_at,
                CASE WHEN t.called_at IS NOT NULL THEN 'served'
                    WHEN s.status IN ('ended', 'cancelled') THEN 'not_served' ELSE 'waiting' END AS "status!",
                CASE WHEN t.called_at IS NOT NULL THEN t.called_at
                    WHEN s.status IN ('ended', 'cancelled') THEN coalesce(d.over_at, d.closed_at) END AS "ended_at?"
             FROM draw_entries e JOIN draws d USING (sale_id) JOIN flash_sales s USING (sale_id)
             LEFT JOIN draw_turns t ON t.sale_id = e.sale_id AND t.entry = e.entry AND d.drawn_at IS NOT NULL
             WHERE e.sale_id = $1 AND e.entry > $2 ORDER BY e.entry LIMIT $3"#,
            sale.to_string(),
            after,
            PAGE,
        )
        .fetch_all(&self.pools.operations)
        .await?)
    }

    /// Computed from counts by outcome and wait: some hundred rows, however long the line was.
    #[boxed]
    pub async fn outcomes(&self, sale: SaleId) -> Result<Outcomes> {
        let rows = sqlx::query!(
            "SELECT outcome, bucket, entries FROM queue_outcomes WHERE sale_id = $1 ORDER BY bucket",
            sale.to_string(),
        )
        .fetch_all(&self.pools.operations)
        .await?;
        let count = |outcome: &str| -> u64 {
            let of = rows.iter().filter(|row| row.outcome == outcome);
            of.map(|row| row.entries as u64).sum()
        };
        let served = count("served");
        let percentile = |share: f64| {
            let (rank, mut passed) = ((served as f64 * share).ceil() as u64, 0);
            let bucket = rows.iter().filter(|row| row.outcome == "served").find(|row| {
                passed += row.entries as u64;
                passed >= rank
            })?;
            Some((f64::from(bucket.bucket) / 8.0).exp2() / 1000.0)
        };
        let (left, removed) = (count("left"), count("removed"));
        let (expired, not_served) = (count("expired"), count("not_served"));
        Ok(Outcomes {
            served,
            waiting: count("joined").saturating_sub(served + left + removed + expired + not_served),
            left,
            removed,
            expired,
            not_served,
            p50_s: percentile(0.5),
            p90_s: percentile(0.9),
            p99_s: percentile(0.99),
        })
    }

    /// The share of a sale's units that went to the devices with the most units, 0 to 1. None: no unit is in an order.
    #[boxed]
    pub async fn top_devices_share(&self, sale: SaleId, devices: i64) -> Result<Option<f64>> {
        let read = device_share(&self.pools.operations, sale, devices);
        self.device_shares.get_or_read(&(sale, devices), read).await
    }
}

/// Reads all orders of a sale, so it is kept for a while.
async fn device_share(pool: &PgPool, sale: SaleId, devices: i64) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar!(
        r#"WITH by_device AS (
                SELECT device_id, sum(quantity_allocated) AS units FROM flash_sale_orders
                WHERE sale_id = $1 AND status <> 'cancelled' GROUP BY device_id)
             SELECT ((SELECT sum(units) FROM (SELECT units FROM by_device ORDER BY units DESC LIMIT $2) top)
                / nullif((SELECT sum(units) FROM by_device), 0))::float8 AS share"#,
        sale.to_string(),
        devices,
    )
    .fetch_one(pool)
    .await?)
}

async fn waiting_among(pool: &PgPool, sale: SaleId, shoppers: &[ShopperId]) -> Result<Vec<Option<Waits>>> {
    let names: Vec<String> = shoppers.iter().map(ShopperId::to_string).collect();
    let rows = sqlx::query!(
        "SELECT user_id, quantity, place, nonce FROM queue_entries
         WHERE sale_id = $1 AND user_id = ANY($2) AND status = 'waiting'",
        sale.to_string(),
        &names,
    )
    .fetch_all(pool)
    .await?;
    let mut waiting = HashMap::with_capacity(rows.len());
    for row in rows {
        let waits = Waits {
            quantity: row.quantity as u32,
            place: row.place as u64,
            nonce: nonce_of(row.nonce)?,
        };
        waiting.insert(row.user_id, waits);
    }
    Ok(names.iter().map(|name| waiting.get(name).copied()).collect())
}

pub(super) fn nonce_of(stored: Option<Vec<u8>>) -> Result<Option<Nonce>> {
    let nonce = stored.map(|bytes| bytes.try_into().map(Nonce)).transpose();
    nonce.map_err(|_| Error::unexpected("a nonce that is not of 16 bytes"))
}

/// Splits notes into parts, each to be written before the next: whether a restored place is a new entry depends on all earlier
/// notes about its shopper.
fn until_restored(notes: &[Note]) -> Vec<&[Note]> {
    let (mut parts, mut begin, mut seen) = (vec![], 0, HashSet::new());
    for (at, note) in notes.iter().enumerate() {
        let (Note::Joined { shopper, .. } | Note::Ended { shopper, .. }) = note;
        let is_restored = matches!(note, Note::Joined { restored: true, .. });
        if is_restored && seen.contains(shopper) {
            parts.push(&notes[begin..at]);
            begin = at;
            seen.clear();
        }
        seen.insert(shopper);
    }
    parts.push(&notes[begin..]);
    parts
}

/// An entry's id: first its time, then bits of its own.
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

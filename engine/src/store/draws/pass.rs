//! Reads a draw's entries in their order: one page, or all of them.

use crate::{boxed, error::Result, kept::Kept, store::Store};
use bytes::Bytes;
use flashsale_protocol::{SaleId, draw};
use sqlx::PgPool;
use std::{sync::Arc, time::Duration};

/// Entries below one stored node of the tree; a power of two.
pub(super) const CHUNK: usize = 1024;
/// Entries that one query reads, in whole chunks.
const PAGE: usize = 8 * CHUNK;

/// A part of a draw's file.
pub struct Part {
    pub text: Bytes,
    /// The name of its last entry.
    pub last: String,
}

/// The parts that were read a moment ago.
pub(in crate::store) type Parts = Kept<(SaleId, String), Option<Arc<Part>>>;

/// Most bytes of parts that are kept, and for how long.
const PARTS_KEPT_BYTES: u64 = 64 * 1024 * 1024;
const PART_LIFE: Duration = Duration::from_secs(60);

pub(in crate::store) fn parts() -> Parts {
    Kept::weighed(PARTS_KEPT_BYTES, PART_LIFE, |part| {
        part.as_ref().map_or(1, |part| part.text.len() as u32)
    })
}

impl Store {
    /// The part of a held draw's file behind one entry. None: there are no more lines. Held draws do not change, so many who read a
    /// file read it in Postgres once.
    #[boxed]
    pub async fn draw_part(&self, sale: SaleId, after: &str) -> Result<Option<Arc<Part>>> {
        let key = (sale, after.to_owned());
        let part = self.draw_parts.get_or_read(&key, async {
            let entries = self.draw_lines(sale, after).await?;
            Ok(entries.last().map(|last| {
                let text: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
                Arc::new(Part {
                    text: text.into(),
                    last: last.name.clone(),
                })
            }))
        });
        part.await
    }

    /// A page of entries behind one entry, in order. Empty: there are no more.
    pub async fn draw_lines(&self, sale: SaleId, after: &str) -> Result<Vec<draw::Entry>> {
        entries_after(&self.pools.public, sale, after, PAGE).await
    }

    /// One pass over all entries, in their order.
    pub(super) async fn each_entry(&self, sale: SaleId, mut take: impl FnMut(draw::Entry)) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = entries_after(&self.pools.workers, sale, &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.name);
            page.into_iter().for_each(&mut take);
            // A page's hashing takes some milliseconds, so other tasks get a turn in between.
            tokio::task::yield_now().await;
        }
    }
}

async fn entries_after(pool: &PgPool, sale: SaleId, after: &str, most: usize) -> Result<Vec<draw::Entry>> {
    let rows = sqlx::query!(
        "SELECT entry, weight, quantity FROM draw_entries WHERE sale_id = $1 AND entry > $2 ORDER BY entry LIMIT $3",
        sale.to_string(),
        after,
        most as i64,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| draw::Entry {
            name: row.entry,
            weight: row.weight as u32,
            quantity: row.quantity as u32,
        })
        .collect())
}

pub(super) async fn entries_from(
    pool: &PgPool,
    sale: SaleId,
    first: &str,
    most: usize,
) -> Result<Vec<draw::Entry>> {
    let rows = sqlx::query!(
        "SELECT entry, weight, quantity FROM draw_entries WHERE sale_id = $1 AND entry >= $2 ORDER BY entry LIMIT $3",
        sale.to_string(),
        first,
        most as i64,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| draw::Entry {
            name: row.entry,
            weight: row.weight as u32,
            quantity: row.quantity as u32,
        })
        .collect())
}

//! Reads a draw's entries in their order: one page, or all of them.

use crate::{error::Result, store::Store};
use flashsale_protocol::{SaleId, draw};
use sqlx::PgPool;

/// Entries below one stored node of the tree; a power of two.
pub(super) const CHUNK: usize = 1024;
/// Entries that one query reads, in whole chunks.
const PAGE: usize = 8 * CHUNK;

impl Store {
    /// A page of the draw's file behind one entry, in order. Empty: there are no more lines.
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

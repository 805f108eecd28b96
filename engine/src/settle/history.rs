//! Writes the line's history to Postgres, from the notes that scripts keep in Redis.

use crate::{error::Result, sale::Sale, shop::Shop, stock::JOURNAL_BATCH};

/// Writes all notes of until now.
pub async fn write_all(shop: &Shop, sale: &Sale) -> Result<()> {
    while write(shop, sale).await? == JOURNAL_BATCH {}
    Ok(())
}

/// Writes the oldest notes. Returns how many.
pub async fn write(shop: &Shop, sale: &Sale) -> Result<usize> {
    let journal = shop.stock.journal(sale.id).await?;
    let count = journal.notes.len();
    if count > 0 {
        shop.store.write_entries(sale, &journal.notes).await?;
        // Dropped only now: if a worker dies in between, the next one writes the same notes again.
        shop.stock.drop_journal(sale.id, journal).await?;
    }
    Ok(count)
}

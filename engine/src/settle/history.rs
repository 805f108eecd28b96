//! Writes the line's history to Postgres: what the scripts have noted down in Redis.

use crate::{error::Result, sale::Sale, shop::Shop, stock::JOURNAL_BATCH};

/// All that is noted down by now.
pub async fn write_all(shop: &Shop, sale: &Sale) -> Result<()> {
    while write(shop, sale).await? == JOURNAL_BATCH {}
    Ok(())
}

/// The oldest notes. How many there were.
pub async fn write(shop: &Shop, sale: &Sale) -> Result<usize> {
    let journal = shop.stock.journal(sale.id).await?;
    let count = journal.notes.len();
    if count > 0 {
        shop.store.write_entries(sale, &journal.notes).await?;
        // Only now: a worker that dies in between leaves them to the next one, who writes them again.
        shop.stock.drop_journal(sale.id, journal).await?;
    }
    Ok(count)
}

//! The draw in Postgres. Every step may be repeated, and two workers at once do no harm: the result is computed from fixed inputs
//! and written down once.

mod entries;
mod hold;
pub(super) mod pass;
mod tree;
mod turns;

pub use entries::{Entered, MyEntry, NewEntry};
pub use tree::ProofOf;
pub use turns::DrawTurn;

use super::Store;
use crate::{
    boxed,
    error::{Error, Result},
};
use flashsale_protocol::{
    SaleId,
    draw::{Draw, Format, Hash, Rank, Seed},
};
use sqlx::{PgConnection, PgExecutor};
use std::sync::Arc;

/// A draw's row in Postgres.
#[derive(Debug, Clone)]
pub struct DrawRow {
    seed: Seed,
    /// The part that is public by now.
    pub public: Draw,
    pub awaits_beacon: bool,
    pub is_closed: bool,
    pub is_drawn: bool,
    pub is_told: bool,
}

/// The first content of a new sale's draw.
pub struct NewDraw {
    pub seed: Seed,
    pub beacon_source: Option<String>,
}

pub(super) async fn create(connection: &mut PgConnection, sale: SaleId, new: &NewDraw) -> Result<()> {
    sqlx::query!(
        "INSERT INTO draws (sale_id, seed, commitment, beacon_source) VALUES ($1, $2, $3, $4)",
        sale.to_string(),
        &new.seed.0,
        &new.seed.commitment().0,
        new.beacon_source,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// At most one second old: everybody who looks at the sale asks for it.
    #[boxed]
    pub async fn recent_draw(&self, sale: SaleId) -> Result<Option<Arc<DrawRow>>> {
        let read = async { Ok(self.draw(sale).await?.map(Arc::new)) };
        self.recent_draws.get_or_read(&sale, read).await
    }

    /// The draw has moved on: the next look reads it anew.
    #[boxed]
    pub async fn forget_draw(&self, sale: SaleId) {
        self.recent_draws.forget(&sale).await;
    }

    /// None: the sale has no draw.
    #[boxed]
    pub async fn draw(&self, sale: SaleId) -> Result<Option<DrawRow>> {
        draw_row(&self.pools.public, sale).await
    }
}

pub(super) async fn draw_row(executor: impl PgExecutor<'_>, sale: SaleId) -> Result<Option<DrawRow>> {
    let row = sqlx::query!(
        "SELECT d.seed, d.commitment, d.beacon_source, d.beacon, d.units, d.entries, d.root, d.drawn_at, d.winners,
            d.cut_off_key, d.cut_off_entry, d.told_at, d.called, d.last_called_key, d.last_called_entry, d.over_at, s.format
         FROM draws d JOIN flash_sales s USING (sale_id) WHERE d.sale_id = $1",
        sale.to_string(),
    )
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let seed = Seed(bytes(row.seed)?);
    let is_drawn = row.drawn_at.is_some();
    let root = row.root.map(bytes).transpose()?.map(Hash);
    let number = |number: Option<i64>| number.map(|number| number as u64);
    let cut_off = maybe_rank(row.cut_off_key, row.cut_off_entry)?;
    let last_called = maybe_rank(row.last_called_key, row.last_called_entry)?;
    let public = Draw {
        awaits: row.beacon_source.clone(),
        beacon: row.beacon,
        units: number(row.units),
        count: number(row.entries),
        root,
        seed: is_drawn.then_some(seed),
        winners: number(row.winners),
        cut_off,
        called: number(row.called),
        last_called,
        over: row.over_at.is_some(),
        ..Draw::committed(
            Format::of_sale(row.format as u16),
            sale,
            Hash(bytes(row.commitment)?),
        )
    };
    Ok(Some(DrawRow {
        seed,
        awaits_beacon: row.beacon_source.is_some() && public.beacon.is_none(),
        is_closed: root.is_some(),
        is_drawn,
        is_told: row.told_at.is_some(),
        public,
    }))
}

fn maybe_rank(key: Option<String>, entry: Option<String>) -> Result<Option<Rank>> {
    key.zip(entry).map(|(key, entry)| rank_of(key, entry)).transpose()
}

fn rank_of(key: String, entry: String) -> Result<Rank> {
    let key = key
        .parse()
        .map_err(|_| Error::unexpected("a turn with a bad key"))?;
    Ok(Rank { key, entry })
}

fn bytes(stored: Vec<u8>) -> Result<[u8; 32]> {
    stored
        .try_into()
        .map_err(|_| Error::unexpected("a hash that is not of 32 bytes"))
}

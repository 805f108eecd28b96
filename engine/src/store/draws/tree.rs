//! The tree of a draw's entries: its root is published, and shoppers' proofs are made from it.

use super::{
    bytes,
    pass::{CHUNK, entries_from},
};
use crate::{
    boxed,
    error::{Error, Result},
    store::{
        Store,
        audit::{self, Actor, AuditRow, Kind},
        entries::nonce_of,
    },
};
use flashsale_protocol::{
    SaleId, ShopperId,
    draw::{self, Drum, Format, Hash, Proof, Rank, merkle},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug, Clone, PartialEq)]
pub enum ProofOf {
    Entry(Box<Proof>),
    NoDraw,
    NotDrawnYet,
    NotInDraw,
}

impl Store {
    /// Counts the closed entries and publishes the root of their tree and the number of units to be drawn for: `units`, or all
    /// unsold ones.
    pub async fn publish_root(&self, sale: SaleId, units: Option<u64>) -> Result<()> {
        let (mut tree, mut chunk) = (merkle::Tree::default(), merkle::Tree::default());
        let (mut firsts, mut roots) = (Vec::new(), Vec::new());
        let mut by_weight: BTreeMap<i32, i64> = BTreeMap::new();
        self.each_entry(sale, |entry| {
            let leaf = entry.leaf();
            *by_weight.entry(entry.weight as i32).or_default() += 1;
            tree.push(leaf);
            if chunk.count() == 0 {
                firsts.push(entry.name.clone());
            }
            chunk.push(leaf);
            if chunk.count() == CHUNK as u64 {
                roots.push(std::mem::take(&mut chunk).root().0.to_vec());
            }
        })
        .await?;
        if chunk.count() > 0 {
            roots.push(chunk.root().0.to_vec());
        }

        let id = sale.to_string();
        let mut tx = self.pools.workers.begin().await?;
        let is_first = sqlx::query!(
            "UPDATE draws SET entries = $2, root = $3,
                units = coalesce($4, (SELECT sum(supply - allocated) FROM sale_lanes WHERE sale_id = $1))
             WHERE sale_id = $1 AND closed_at IS NOT NULL AND root IS NULL RETURNING units",
            id,
            tree.count() as i64,
            &tree.root().0,
            units.map(|units| units as i64),
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = is_first else { return Ok(()) };
        sqlx::query!(
            "INSERT INTO draw_chunks (sale_id, chunk, first_entry, root)
             SELECT $1, (c.number - 1)::int, c.first_entry, c.root
             FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS c (first_entry, root, number)",
            id,
            &firsts,
            &roots,
        )
        .execute(&mut *tx)
        .await?;
        let (weights, counts): (Vec<i32>, Vec<i64>) = by_weight.into_iter().unzip();
        sqlx::query!(
            "INSERT INTO draw_classes (sale_id, weight, entries) SELECT $1, * FROM unnest($2::int[], $3::bigint[])",
            id,
            &weights,
            &counts,
        )
        .execute(&mut *tx)
        .await?;
        let data = json!({ "root": tree.root(), "entries": tree.count(), "units": row.units });
        let written = AuditRow {
            sale,
            actor: Actor::Worker,
            kind: Kind::DrawClosed,
            data,
        };
        audit::write(&mut tx, &[written]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A shopper's proof.
    #[boxed]
    pub async fn draw_proof(&self, sale: SaleId, shopper: &ShopperId) -> Result<ProofOf> {
        let mut row = self.recent_draw(sale).await?;
        // Until the draw is over it moves on: a shopper who was just called must not read an older state.
        if row.as_ref().is_some_and(|row| !row.public.over) {
            self.forget_draw(sale).await;
            row = self.recent_draw(sale).await?;
        }
        let Some(row) = row else {
            return Ok(ProofOf::NoDraw);
        };
        if !row.is_drawn {
            return Ok(ProofOf::NotDrawnYet);
        }
        let id = sale.to_string();
        let mine = sqlx::query!(
            "SELECT entry, nonce FROM draw_entries WHERE sale_id = $1 AND shopper_id = $2",
            id,
            shopper.as_str(),
        )
        .fetch_optional(&self.pools.public)
        .await?;
        let Some(mine) = mine else {
            return Ok(ProofOf::NotInDraw);
        };
        let chunk = sqlx::query!(
            "SELECT chunk, first_entry FROM draw_chunks WHERE sale_id = $1 AND first_entry <= $2
             ORDER BY first_entry DESC LIMIT 1",
            id,
            mine.entry,
        )
        .fetch_optional(&self.pools.public)
        .await?;
        let Some(chunk) = chunk else {
            return Ok(ProofOf::NotInDraw);
        };
        let entries = entries_from(&self.pools.public, sale, &chunk.first_entry, CHUNK).await?;
        let Some(at) = entries.iter().position(|entry| entry.name == mine.entry) else {
            return Ok(ProofOf::NotInDraw);
        };
        let leaves: Vec<Hash> = entries.iter().map(draw::Entry::leaf).collect();
        let tops = self.draw_tops(sale).await?;
        let path = merkle::path(&leaves, at)
            .zip(merkle::path(&tops, chunk.chunk as usize))
            .map(|(low, high)| [low, high].concat())
            .ok_or_else(|| Error::unexpected("a draw without the nodes of its tree"))?;
        let entry = entries
            .into_iter()
            .nth(at)
            .ok_or_else(|| Error::unexpected("an entry is gone"))?;
        let is_private = row.public.format == Format::Two.word();
        let rank = Drum::new(&row.seed, row.public.beacon.as_deref()).rank(&entry);
        let is_within = |last: &Option<Rank>| last.as_ref().is_some_and(|last| rank <= *last);
        Ok(ProofOf::Entry(Box::new(Proof {
            won: is_within(&row.public.cut_off),
            called: is_within(&row.public.last_called),
            draw: row.public.clone(),
            entry,
            shopper: is_private.then(|| shopper.clone()),
            nonce: nonce_of(mine.nonce)?,
            index: (chunk.chunk as usize * CHUNK + at) as u64,
            path,
            key: rank.key,
        })))
    }

    /// The nodes above the chunks. They no longer change, and everybody asks for them.
    async fn draw_tops(&self, sale: SaleId) -> Result<Arc<Vec<Hash>>> {
        let load = async {
            let rows = sqlx::query_scalar!(
                "SELECT root FROM draw_chunks WHERE sale_id = $1 ORDER BY chunk",
                sale.to_string(),
            )
            .fetch_all(&self.pools.public)
            .await?;
            let tops = rows.into_iter().map(|root| Ok(Hash(bytes(root)?)));
            Ok(Arc::new(tops.collect::<Result<Vec<_>>>()?))
        };
        self.draw_tops.get_or_read(&sale, load).await
    }
}

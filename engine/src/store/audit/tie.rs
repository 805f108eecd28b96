//! Ties the lanes' chains together: a row in the sale's own chain tells the last row of each.

use super::{Actor, AuditRow, Kind, OF_SALE, write};
use crate::{error::Result, store::Store};
use flashsale_protocol::SaleId;
use serde_json::{Value, json};

impl Store {
    /// Ties the heads of a sale's lanes, if rows were added to them since the last time. Returns whether it wrote a row; false also
    /// for a sale of format 1.
    pub async fn tie_heads(&self, sale: SaleId) -> Result<bool> {
        let id = sale.to_string();
        let mut tx = self.pools.purchases.begin().await?;
        // The sale's own chain is locked first, so that a later row never tells of earlier heads. Lanes' heads are only read: what
        // is on its way to them is tied the next time, and nobody waits.
        let tied = sqlx::query_scalar!(
            "SELECT tied FROM audit_chains WHERE sale_id = $1 AND lane = $2 FOR UPDATE",
            id,
            OF_SALE,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(tied) = tied else { return Ok(false) };
        let heads = sqlx::query!(
            "SELECT lane, number, hash FROM audit_chains WHERE sale_id = $1 AND lane >= 0 ORDER BY lane",
            id
        )
        .fetch_all(&mut *tx)
        .await?;
        let rows: i64 = heads.iter().map(|head| head.number).sum();
        if rows == tied {
            return Ok(false);
        }
        let lanes: Vec<Value> = heads
            .iter()
            .map(|head| json!({ "lane": head.lane, "number": head.number, "hash": hex::encode(&head.hash) }))
            .collect();
        let entry = AuditRow {
            sale,
            actor: Actor::Worker,
            kind: Kind::HeadsTied,
            data: json!({ "lanes": lanes }),
        };
        write(&mut tx, &[entry]).await?;
        sqlx::query!(
            "UPDATE audit_chains SET tied = $3 WHERE sale_id = $1 AND lane = $2",
            id,
            OF_SALE,
            rows,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

//! The audit log: rows are added in the transaction of what they tell of, never changed.

use crate::error::Result;
use serde_json::Value;
use sqlx::PgConnection;

/// One thing that happened in a sale.
pub struct Entry {
    pub sale: String,
    /// A token's subject, or the worker's name.
    pub actor: String,
    pub kind: &'static str,
    pub data: Value,
}

pub async fn write(connection: &mut PgConnection, entries: &[Entry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let sales: Vec<String> = entries.iter().map(|e| e.sale.clone()).collect();
    let actors: Vec<String> = entries.iter().map(|e| e.actor.clone()).collect();
    let kinds: Vec<String> = entries.iter().map(|e| e.kind.to_owned()).collect();
    let data: Vec<Value> = entries.iter().map(|e| e.data.clone()).collect();
    sqlx::query!(
        "INSERT INTO audit_log (sale_id, actor, kind, data)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[])",
        &sales,
        &actors,
        &kinds,
        &data,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl super::Store {
    /// What happened in a sale, in order: (actor, kind, data). For checks.
    pub async fn audit_log_of(
        &self,
        sale: flashsale_protocol::SaleId,
    ) -> Result<Vec<(String, String, Value)>> {
        let rows = sqlx::query!(
            "SELECT actor, kind, data FROM audit_log WHERE sale_id = $1 ORDER BY seq",
            sale.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.actor, row.kind, row.data))
            .collect())
    }
}

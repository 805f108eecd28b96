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

//! The audit log: one chain of rows per sale, never changed, each row written in the transaction that it reports. The only place
//! that makes its hashes; `docs/audit.md` explains them for other languages.

mod replay;
mod row;
mod verify;

use super::Store;
use crate::{
    chain::ChainEnd,
    error::{Error, Result},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::SaleId;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use std::collections::BTreeMap;

pub use row::{Actor, AuditRow, Kind};
pub use verify::{Bad, Verified, verify};

pub type Hash = [u8; 32];

/// The ends of the sales' logs.
pub type Ends = BTreeMap<SaleId, ChainEnd>;

/// A row of the log, as it is in Postgres.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub number: i64,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub kind: String,
    pub data: Value,
    pub previous: Vec<u8>,
    pub hash: Vec<u8>,
}

/// A row's hash: SHA-256 of this JSON array, in UTF-8, without spaces and with the keys of objects in order:
/// `[sale, number, at in µs since 1970, actor, kind, data, previous in hex]`.
fn hash(sale: &str, number: i64, at_us: i64, actor: &str, kind: &str, data: &str, previous: &[u8]) -> Hash {
    let text = format!(
        "[{},{number},{at_us},{},{},{data},\"{}\"]",
        Value::from(sale),
        Value::from(actor),
        Value::from(kind),
        hex::encode(previous)
    );
    Sha256::digest(text).into()
}

/// JSON without spaces and with sorted keys. Our keys are ASCII and our numbers are whole.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields: Vec<String> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        plain => plain.to_string(),
    }
}

/// Begins a new sale's chain, before its first row.
pub async fn begin(connection: &mut PgConnection, sale: SaleId) -> Result<()> {
    sqlx::query!("INSERT INTO audit_heads (sale_id) VALUES ($1)", sale.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds rows. Only the commit may follow: this locks the chains, which come after orders and lanes in the order of locks, and in
/// the order of the sales. Returns where each sale's log ends once this is committed.
pub async fn write(connection: &mut PgConnection, entries: &[AuditRow]) -> Result<Ends> {
    if entries.is_empty() {
        return Ok(Ends::new());
    }
    let of: Vec<String> = entries.iter().map(|entry| entry.sale.to_string()).collect();
    let mut sales = of.clone();
    sales.sort_unstable();
    sales.dedup();
    // The clock is read outside, after the lock: so the rows of a chain are in the order of their times.
    let heads = sqlx::query!(
        r#"SELECT sale_id, number, hash, clock_timestamp() AS "at!",
               (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS "life!" FROM (
               SELECT sale_id, number, hash FROM audit_heads WHERE sale_id = ANY($1) ORDER BY sale_id FOR UPDATE
           ) AS locked"#,
        &sales,
    )
    .fetch_all(&mut *connection)
    .await?;
    let life = heads.first().map_or(0, |head| head.life);
    let mut heads: BTreeMap<String, (i64, Vec<u8>, DateTime<Utc>)> = heads
        .into_iter()
        .map(|head| (head.sale_id, (head.number, head.hash, head.at)))
        .collect();

    let mut numbers = Vec::with_capacity(entries.len());
    let mut times = Vec::with_capacity(entries.len());
    let mut data = Vec::with_capacity(entries.len());
    let mut previous = Vec::with_capacity(entries.len());
    let mut hashes = Vec::with_capacity(entries.len());
    let mut actors = Vec::with_capacity(entries.len());
    let mut kinds = Vec::with_capacity(entries.len());
    for (entry, sale) in entries.iter().zip(&of) {
        let (number, last, at) = heads
            .get_mut(sale)
            .ok_or_else(|| Error::unexpected("a sale without an audit log"))?;
        *number += 1;
        let text = canonical(&entry.data);
        let us = at.timestamp_micros();
        let (actor, kind) = (entry.actor.word(), <&str>::from(entry.kind));
        let hash = hash(sale, *number, us, &actor, kind, &text, last).to_vec();
        numbers.push(*number);
        times.push(*at);
        actors.push(actor.into_owned());
        kinds.push(kind.to_owned());
        data.push(text);
        previous.push(std::mem::replace(last, hash.clone()));
        hashes.push(hash);
    }
    let (mut ends, mut last) = (Vec::new(), Vec::new());
    for (number, hash, _) in heads.values() {
        ends.push(*number);
        last.push(hash.clone());
    }
    sqlx::query!(
        "WITH heads AS (
             UPDATE audit_heads h SET number = n.number, hash = n.hash
             FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS n (sale_id, number, hash)
             WHERE h.sale_id = n.sale_id
         )
         INSERT INTO audit_log (sale_id, number, at, actor, kind, data, previous, hash)
         SELECT sale_id, number, at, actor, kind, data::jsonb, previous, hash
         FROM unnest($4::text[], $5::bigint[], $6::timestamptz[], $7::text[], $8::text[], $9::text[], $10::bytea[],
            $11::bytea[]) AS r (sale_id, number, at, actor, kind, data, previous, hash)",
        &sales,
        &ends,
        &last,
        &of,
        &numbers,
        &times,
        &actors,
        &kinds,
        &data,
        &previous,
        &hashes,
    )
    .execute(connection)
    .await?;
    let ended = entries.iter().zip(&of).filter_map(|(entry, sale)| {
        let (number, hash, _) = heads.get(sale)?;
        Some((entry.sale, ChainEnd::new(life, *number, hash)))
    });
    Ok(ended.collect())
}

impl Store {
    /// Rows of a sale after a number, in order.
    pub async fn audit_rows(&self, sale: SaleId, after: i64, limit: i64) -> Result<Vec<Row>> {
        Ok(sqlx::query_as!(
            Row,
            "SELECT number, at, actor, kind, data, previous, hash FROM audit_log
             WHERE sale_id = $1 AND number > $2 ORDER BY number LIMIT $3",
            sale.to_string(),
            after,
            limit,
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_page_s_example_and_keys_are_in_order() {
        let data: Value =
            serde_json::from_str(r#"{ "b": [1, {"z": "é\n", "a": true}], "a": null }"#).expect("JSON");
        let text = canonical(&data);
        assert_eq!(text, r#"{"a":null,"b":[1,{"a":true,"z":"é\n"}]}"#);
        // Computed by the Python program in docs/audit.md.
        let hash = hash("S", 1, 2, "u\"1", "k", &text, &[0; 32]);
        assert_eq!(
            hex::encode(hash),
            "849891d8bbdf59776a50cd5f3cca334f1c5409d6b6250f4e61448400e26daa52"
        );
    }
}

//! The audit log: chains of rows, never changed, each row written in the transaction that it reports. A sale of format 1 has one
//! chain; a sale of format 2 has one for each lane and one of its own, which ties the lanes'. The only place that makes their
//! hashes; `docs/audit.md` explains them for other languages.

mod replay;
mod row;
mod tie;
mod verify;
mod write;

use super::Store;
use crate::{boxed, chain::ChainEnd, error::Result};
use chrono::{DateTime, Utc};
use flashsale_protocol::SaleId;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

pub use row::{Actor, AuditRow, Kind, pseudonym};
pub use verify::{Bad, Verified, verify};
pub use write::{begin, write};

/// The first format with typed actors, pseudonyms and one chain per lane.
pub const FORMAT_WITH_LANES: u16 = 2;
/// The lane in Postgres of a sale's own chain.
const OF_SALE: i16 = -1;

pub type Hash = [u8; 32];

/// The ends of chains after one commit.
#[derive(Debug, Default)]
pub struct Ends {
    /// Sales of format 1.
    sales: BTreeMap<SaleId, ChainEnd>,
    lanes: BTreeMap<(SaleId, u16), ChainEnd>,
}

impl Ends {
    /// The end of the chain in which a lane's orders stand.
    pub fn of(&self, sale: SaleId, lane: u16) -> Option<ChainEnd> {
        let end = self.lanes.get(&(sale, lane)).or_else(|| self.sales.get(&sale));
        end.copied()
    }
}

/// A row of the log, as it is in Postgres.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// None: the sale's own chain, or the only one.
    pub lane: Option<i16>,
    pub number: i64,
    pub at: DateTime<Utc>,
    /// A word in format 1, an object since.
    pub actor: Value,
    pub kind: String,
    pub data: Value,
    pub previous: Vec<u8>,
    pub hash: Vec<u8>,
}

/// What a row says, for its hash. Actor and data are JSON texts.
struct Content<'a> {
    sale: &'a str,
    /// None: the sale's own chain. Not in format 1.
    lane: Option<i16>,
    number: i64,
    at_us: i64,
    actor: &'a str,
    kind: &'a str,
    data: &'a str,
    previous: &'a [u8],
}

/// A row's hash in format 1: SHA-256 of this JSON array, in UTF-8, without spaces and with the keys of objects in order:
/// `[sale, number, at in µs since 1970, actor, kind, data, previous in hex]`.
fn hash(row: &Content) -> Hash {
    let mut text = String::from("[");
    write_text(row.sale, &mut text);
    hash_rest(row, text)
}

/// The same in format 2: `[2, sale, lane or null, number, at in µs since 1970, actor, kind, data, previous in hex]`.
fn hash_in_lane(row: &Content) -> Hash {
    let mut text = String::from("[2,");
    write_text(row.sale, &mut text);
    match row.lane {
        Some(lane) => push(&mut text, format_args!(",{lane}")),
        None => text.push_str(",null"),
    }
    hash_rest(row, text)
}

/// What both formats have in common, after the beginning of the array.
fn hash_rest(row: &Content, mut text: String) -> Hash {
    push(
        &mut text,
        format_args!(",{},{},{},", row.number, row.at_us, row.actor),
    );
    write_text(row.kind, &mut text);
    push(
        &mut text,
        format_args!(",{},\"{}\"]", row.data, hex::encode(row.previous)),
    );
    Sha256::digest(text).into()
}

/// JSON without spaces and with sorted keys. Our keys are ASCII and our numbers are whole.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (i, (name, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_text(name, text);
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::String(word) => write_text(word, text),
        plain => push(text, format_args!("{plain}")),
    }
}

/// A JSON string. Most are words and ids, in which nothing is escaped.
fn write_text(word: &str, text: &mut String) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if word.bytes().all(is_plain) {
        text.push('"');
        text.push_str(word);
        text.push('"');
    } else {
        push(text, format_args!("{}", Value::from(word)));
    }
}

fn push(text: &mut String, more: fmt::Arguments) {
    // Writing to a text does not fail.
    let _ = text.write_fmt(more);
}

impl Store {
    /// Rows of a sale after a number, in order: of its own chain, which is the only one in format 1. A sale has rows in one of the
    /// two tables.
    #[boxed]
    pub async fn audit_rows(&self, sale: SaleId, after: i64, limit: i64) -> Result<Vec<Row>> {
        Ok(sqlx::query_as!(
            Row,
            r#"(SELECT NULL::smallint AS lane, number AS "number!", at AS "at!", to_jsonb(actor) AS "actor!", kind AS "kind!",
                data AS "data!", previous AS "previous!", hash AS "hash!"
             FROM audit_log WHERE sale_id = $1 AND number > $2 ORDER BY number LIMIT $3)
             UNION ALL
             (SELECT NULL, number, at, actor, kind, data, previous, hash
             FROM audit_rows WHERE sale_id = $1 AND lane = $4 AND number > $2 ORDER BY number LIMIT $3)"#,
            sale.to_string(),
            after,
            limit,
            OF_SALE,
        )
        .fetch_all(&self.pools.operations)
        .await?)
    }

    /// Rows of one lane's chain after a number, in order.
    #[boxed]
    pub async fn audit_rows_of_lane(
        &self,
        sale: SaleId,
        lane: u16,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Row>> {
        // No sale has a lane of such a number.
        let Ok(lane) = i16::try_from(lane) else {
            return Ok(Vec::new());
        };
        Ok(sqlx::query_as!(
            Row,
            "SELECT lane, number, at, actor, kind, data, previous, hash FROM audit_rows
             WHERE sale_id = $1 AND lane = $2 AND number > $3 ORDER BY number LIMIT $4",
            sale.to_string(),
            lane,
            after,
            limit,
        )
        .fetch_all(&self.pools.operations)
        .await?)
    }

    /// Deletes the key of a sale's pseudonyms: from now on nobody can tell whose they are. False: it was gone.
    pub async fn delete_salt(&self, sale: SaleId) -> Result<bool> {
        let deleted = sqlx::query!("DELETE FROM sale_salts WHERE sale_id = $1", sale.to_string())
            .execute(&self.pools.operations)
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_those_of_the_page_s_example_and_keys_are_in_order() {
        let data: Value =
            serde_json::from_str(r#"{ "b": [1, {"z": "é\n", "a": true}], "a": null }"#).expect("JSON");
        let text = canonical(&data);
        assert_eq!(text, r#"{"a":null,"b":[1,{"a":true,"z":"é\n"}]}"#);
        // Letters that are escaped, in a name and in a word.
        let odd: Value = serde_json::from_str(r#"{"a b\"": "\u0001\\ x", "n": [-1, 2]}"#).expect("JSON");
        assert_eq!(canonical(&odd), r#"{"a b\"":"\u0001\\ x","n":[-1,2]}"#);
        let content = |lane, actor| Content {
            sale: "S",
            lane,
            number: 1,
            at_us: 2,
            actor,
            kind: "k",
            data: &text,
            previous: &[0; 32],
        };
        // Computed by the Python program in docs/audit.md.
        assert_eq!(
            hex::encode(hash(&content(None, r#""u\"1""#))),
            "849891d8bbdf59776a50cd5f3cca334f1c5409d6b6250f4e61448400e26daa52"
        );
        let actor = r#"{"id":"u\"1","kind":"operator"}"#;
        for (lane, digest) in [
            (
                None,
                "a718639cc258a4924ef1b5028a7ac66073565950179ab90cc8157292d5cd3edc",
            ),
            (
                Some(3),
                "97a542be4d4c3bdd8a99067055728331b40917e240ea2796a96ace1b1b536832",
            ),
        ] {
            assert_eq!(hex::encode(hash_in_lane(&content(lane, actor))), digest);
        }
    }
}

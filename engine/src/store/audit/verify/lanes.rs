//! Follows the chains of a sale of format 2: its own first, then each lane's. Then a change of supply must stand in all chains that it
//! changes, and each row that ties the lanes' heads must tell of rows that are there.

use super::{Bad, Found, Row, Totals, Verified, canonical, check_head, check_row};
use crate::{
    error::{Error, Result},
    store::audit::{Kind, OF_SALE, hash_in_lane, row::Place},
};
use futures_util::TryStreamExt;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashMap};

fn bad(lane: Option<i64>, number: i64, what: impl Into<String>) -> Bad {
    let at = match lane {
        Some(lane) => format!("lane={lane} row={number}"),
        None => format!("row={number}"),
    };
    Bad {
        at,
        what: what.into(),
    }
}

/// What is carried from chain to chain: nothing that grows with the log.
#[derive(Default)]
struct Walk {
    totals: Totals,
    parts: Parts,
    ties: Ties,
}

pub(super) async fn follow(connection: &mut PgConnection, sale: &str) -> Found<(Verified, Totals)> {
    let mut heads: HashMap<i16, (i64, Vec<u8>)> = sqlx::query!(
        "SELECT lane, number, hash FROM audit_chains WHERE sale_id = $1",
        sale
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .map(|row| (row.lane, (row.number, row.hash)))
    .collect();
    let mut walk = Walk::default();
    let head = heads.remove(&OF_SALE);
    let (mut rows, last) = match follow_chain(connection, sale, None, head, &mut walk).await? {
        Ok(end) => end,
        Err(bad) => return Ok(Err(bad)),
    };
    let own = rows;
    let lanes: Vec<i64> = walk.totals.lanes.keys().copied().collect();
    for lane in &lanes {
        let head = i16::try_from(*lane).ok().and_then(|lane| heads.remove(&lane));
        match follow_chain(connection, sale, Some(*lane), head, &mut walk).await? {
            Ok((of_lane, _)) => rows += of_lane,
            Err(bad) => return Ok(Err(bad)),
        }
    }
    if let Some(lane) = heads.into_keys().min() {
        return Ok(Err(bad(Some(lane.into()), 1, "the sale has no such lane")));
    }
    let mut fault = stray_row(connection, sale, lanes.last().copied()).await?;
    if fault.is_none() && walk.parts.0 != 0 {
        fault = Some(unpaired(connection, sale).await?);
    }
    if fault.is_none() {
        fault = wrong_tie(connection, sale).await?;
    }
    if let Some(bad) = fault {
        return Ok(Err(bad));
    }
    let tied: i64 = walk.ties.last.values().sum();
    let verified = Verified {
        rows,
        head: hex::encode(last),
        untied: rows - own - tied,
    };
    Ok(Ok((verified, walk.totals)))
}

/// Follows one chain to its head, row by row. Returns its rows and its last hash.
async fn follow_chain(
    connection: &mut PgConnection,
    sale: &str,
    lane: Option<i64>,
    head: Option<(i64, Vec<u8>)>,
    walk: &mut Walk,
) -> Found<(i64, Vec<u8>)> {
    let mut rows = sqlx::query_as!(
        Row,
        r#"SELECT nullif(lane, $3) AS lane, number, at, actor, kind, data, previous, hash FROM audit_rows
         WHERE sale_id = $1 AND lane = $2 ORDER BY number"#,
        sale,
        lane.map_or(OF_SALE, |lane| lane as i16),
        OF_SALE,
    )
    .fetch(&mut *connection);
    let (mut number, mut last) = (0, vec![0; 32]);
    while let Some(row) = rows.try_next().await? {
        number += 1;
        let mut fault = check_row(sale, number, &last, &row, hash_in_lane);
        if fault.is_ok() {
            fault = walk.take(lane, &row);
        }
        if let Err(what) = fault {
            // For a gap, the missing row is named.
            return Ok(Err(bad(lane, number.min(row.number), what)));
        }
        last = row.hash;
    }
    Ok(match check_head(head, number, &last, "audit_chains") {
        Ok(()) => Ok((number, last)),
        Err((number, what)) => Err(bad(lane, number, what)),
    })
}

impl Walk {
    fn take(&mut self, lane: Option<i64>, row: &Row) -> Result<(), String> {
        let kind = self.totals.apply_in(lane, &row.kind, &row.data)?;
        match kind.place() {
            Place::BothLanes | Place::LanesAndSale => self.parts.take(lane, kind, &row.data),
            _ if kind == Kind::HeadsTied => self.ties.take(&self.totals, &row.data),
            _ => Ok(()),
        }
    }
}

/// Whether each change of supply stands in all chains that it changes, in the same words. A sum of keyed hashes to which a change adds
/// nothing if all its rows are there: so it takes no memory per change, and rows of different changes cannot make up for each other.
struct Parts(u128, [u8; 32]);

impl Default for Parts {
    fn default() -> Self {
        Self(0, rand::random())
    }
}

impl Parts {
    fn take(&mut self, lane: Option<i64>, kind: Kind, data: &Value) -> Result<(), String> {
        if data["move"].as_str().is_none() {
            return Err("\"move\" is missing or no text".into());
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.1).expect("any key length");
        mac.update(<&str>::from(kind).as_bytes());
        mac.update(canonical(data).as_bytes());
        let tag = mac.finalize().into_bytes();
        let mark = tag
            .iter()
            .take(16)
            .fold(0, |mark: u128, byte| mark << 8 | u128::from(*byte));
        // The first row of a change adds the mark as often as the others take it away.
        let (is_first, others) = match kind.place() {
            Place::BothLanes => (data["from"].as_i64() == lane, 1),
            _ => (lane.is_none(), data["lanes"].as_array().map_or(0, Vec::len)),
        };
        self.0 = if is_first {
            self.0.wrapping_add(mark.wrapping_mul(others as u128))
        } else {
            self.0.wrapping_sub(mark)
        };
        Ok(())
    }
}

/// The heads of the lanes as the last row told of them.
#[derive(Default)]
struct Ties {
    last: BTreeMap<i64, i64>,
}

impl Ties {
    fn take(&mut self, totals: &Totals, data: &Value) -> Result<(), String> {
        let heads: Option<BTreeMap<i64, i64>> = data["lanes"].as_array().and_then(|heads| {
            let head = |head: &Value| Some((head["lane"].as_i64()?, head["number"].as_i64()?));
            heads.iter().map(head).collect()
        });
        let heads = heads.ok_or("\"lanes\" is no list of heads")?;
        if !heads.keys().eq(totals.lanes.keys()) {
            return Err("it does not tell of every lane".into());
        }
        for (lane, number) in &heads {
            let before = self.last.get(lane).copied().unwrap_or(0);
            if *number < before {
                return Err(format!(
                    "lane {lane} ends at row {number} by it, at row {before} by an earlier one"
                ));
            }
        }
        self.last = heads;
        Ok(())
    }
}

/// A row of this sale that no chain has.
async fn stray_row(connection: &mut PgConnection, sale: &str, last_lane: Option<i64>) -> Result<Option<Bad>> {
    let stray = sqlx::query!(
        "SELECT lane, number FROM audit_rows WHERE sale_id = $1 AND lane > $2 ORDER BY lane, number LIMIT 1",
        sale,
        last_lane.map_or(OF_SALE, |lane| lane as i16),
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = stray {
        return Ok(Some(bad(
            Some(row.lane.into()),
            row.number,
            "the sale has no such lane",
        )));
    }
    let old = sqlx::query_scalar!(
        r#"SELECT number FROM audit_log WHERE sale_id = $1 ORDER BY number LIMIT 1"#,
        sale
    )
    .fetch_optional(connection)
    .await?;
    Ok(old.map(|number| Bad {
        at: format!("audit_log={sale}/{number}"),
        what: "the sale has no chain of format 1".into(),
    }))
}

/// The first row of a change of supply that is missing in another of its chains, or stands in its own twice.
async fn unpaired(connection: &mut PgConnection, sale: &str) -> Result<Bad> {
    let row = sqlx::query!(
        r#"WITH parts AS (
               SELECT lane, number, kind, data, count(*) OVER (PARTITION BY lane, kind, data) AS times
               FROM audit_rows WHERE sale_id = $1 AND kind IN ('supply_moved', 'supply_changed')
           ), expected AS (
               SELECT p.*, e.lane AS other FROM parts p CROSS JOIN LATERAL (
                   SELECT (p.data->>'from')::smallint WHERE p.kind = 'supply_moved'
                   UNION ALL SELECT (p.data->>'to')::smallint WHERE p.kind = 'supply_moved'
                   UNION ALL SELECT $2 WHERE p.kind = 'supply_changed'
                   UNION ALL SELECT l.lane::smallint
                       FROM jsonb_array_elements_text(CASE p.kind WHEN 'supply_changed' THEN p.data->'lanes' END) AS l (lane)
               ) AS e (lane)
           )
           SELECT lane AS "lane!", number AS "number!", other AS "other!", times AS "times!" FROM expected e
           WHERE times > 1
              OR NOT EXISTS (SELECT 1 FROM parts p WHERE p.lane = e.other AND p.kind = e.kind AND p.data = e.data)
           ORDER BY lane, number, other LIMIT 1"#,
        sale,
        OF_SALE,
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Error::unexpected("changes of supply that do not add up, though each is in all its chains"))?;
    let what = if row.times > 1 {
        "it stands in its chain twice".to_owned()
    } else if row.other == OF_SALE {
        "the sale's own chain has no row of this change, or one that says otherwise".to_owned()
    } else {
        format!(
            "the chain of lane {} has no row of this move, or one that says otherwise",
            row.other
        )
    };
    let lane = (row.lane != OF_SALE).then_some(row.lane.into());
    Ok(bad(lane, row.number, what))
}

/// The first row that ties another head than its lane's chain has.
async fn wrong_tie(connection: &mut PgConnection, sale: &str) -> Result<Option<Bad>> {
    let row = sqlx::query!(
        r#"SELECT t.number, h.lane AS "lane!", h.number AS "head!"
           FROM audit_rows t
           CROSS JOIN LATERAL jsonb_to_recordset(t.data->'lanes') AS h (lane smallint, number bigint, hash text)
           LEFT JOIN audit_rows r ON r.sale_id = t.sale_id AND r.lane = h.lane AND r.number = h.number
           WHERE t.sale_id = $1 AND t.lane = $2 AND t.kind = 'heads_tied'
              AND h.hash IS DISTINCT FROM encode(CASE h.number WHEN 0 THEN decode(repeat('00', 32), 'hex') ELSE r.hash END, 'hex')
           ORDER BY t.number, h.lane LIMIT 1"#,
        sale,
        OF_SALE,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| {
        let what = format!(
            "the row {} of lane {} that it ties is not there, or is another one",
            row.head, row.lane
        );
        bad(None, row.number, what)
    }))
}

/// Compares every order with the last row about it.
pub(super) async fn compare_orders(connection: &mut PgConnection, sale: &str) -> Result<Option<Bad>> {
    let odd = sqlx::query!(
        r#"WITH told AS (
               SELECT DISTINCT ON (data->>'order', lane) data->>'order' AS order_id, lane, number, kind, data FROM audit_rows
               WHERE sale_id = $1 AND lane >= 0 AND kind LIKE 'order\_%'
               ORDER BY data->>'order', lane, number DESC
           )
           SELECT coalesce(o.order_id, t.order_id) AS "order!", o.status AS "status?", t.lane AS "lane?", t.number AS "number?",
               t.kind AS "kind?"
           FROM (SELECT * FROM flash_sale_orders WHERE sale_id = $1) o FULL JOIN told t USING (order_id)
           WHERE o.order_id IS NULL OR t.order_id IS NULL
              OR o.status <> CASE t.kind WHEN 'order_placed' THEN 'pending' WHEN 'order_confirmed' THEN 'confirmed'
                     WHEN 'order_revived' THEN 'confirmed' ELSE 'cancelled' END
              OR t.lane <> o.lane OR (t.data->>'units')::bigint <> o.quantity_allocated
              OR (t.data->>'amount')::bigint <> o.amount
           ORDER BY t.lane, t.number LIMIT 1"#,
        sale
    )
    .fetch_optional(connection)
    .await?;
    Ok(odd.map(|odd| {
        let table = odd.status.unwrap_or_else(|| "not there".into());
        let log = match (odd.lane, odd.number, odd.kind) {
            (Some(lane), Some(number), Some(kind)) => {
                format!("row {number} of lane {lane}'s chain ({kind}) says otherwise")
            }
            _ => "no row of the log tells of it".into(),
        };
        Bad {
            at: format!("flash_sale_orders={}", odd.order),
            what: format!("the order is {table}; {log}"),
        }
    }))
}

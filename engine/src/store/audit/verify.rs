//! `flashsale audit verify`: follows the chains and compares their totals with Postgres' tables. A sale's one chain of format 1 is
//! followed here, the chains of format 2 in `lanes`.

mod lanes;

use super::{
    Content, FORMAT_WITH_LANES, Hash, Row, canonical, hash,
    replay::{Lane, Totals},
};
use crate::error::{Error, Result};
use flashsale_protocol::SaleId;
use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use std::{collections::BTreeMap, fmt::Debug};

/// A sale whose log is whole and agrees with the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// In all chains.
    pub rows: i64,
    /// The hash of the last row of the sale's own chain, in hex. If you keep it elsewhere, nobody can rewrite the log up to it
    /// unnoticed.
    pub head: String,
    /// Rows of lanes' chains that the sale's own chain does not tie yet; none in format 1.
    pub untied: i64,
}

/// The first fault: where it is, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// `row=7`, `lane=2 row=7`, or the row of another table.
    pub at: String,
    pub what: String,
}

impl Bad {
    fn row(number: i64, what: impl Into<String>) -> Self {
        Self {
            at: format!("row={number}"),
            what: what.into(),
        }
    }
}

type Found<T> = Result<Result<T, Bad>>;

/// Verifies one sale, or all in turn; `tell` hears of each. It changes nothing, so it does not check the schema first.
pub async fn verify(
    url: &str,
    sale: Option<SaleId>,
    mut tell: impl FnMut(&str, Result<Verified, Bad>),
) -> Result<()> {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
    let sales: Vec<String> = sqlx::query_scalar!(
        r#"SELECT sale_id AS "sale_id!" FROM (
               SELECT sale_id FROM flash_sales UNION SELECT sale_id FROM audit_log UNION SELECT sale_id FROM audit_rows
           ) AS all_sales WHERE $1::text IS NULL OR sale_id = $1 ORDER BY 1"#,
        sale.map(|sale| sale.to_string()),
    )
    .fetch_all(&pool)
    .await?;
    if let (Some(sale), true) = (sale, sales.is_empty()) {
        return Err(Error::unexpected(format!("there is no sale {sale}")));
    }
    for sale in sales {
        let found = verify_sale(&pool, &sale).await?;
        tell(&sale, found);
    }
    pool.close().await;
    Ok(())
}

/// Verifies one sale as of one moment: later rows are left to the next run.
pub(crate) async fn verify_sale(pool: &PgPool, sale: &str) -> Found<Verified> {
    let mut tx = pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let format = sqlx::query_scalar!(
        r#"SELECT coalesce((SELECT format FROM flash_sales WHERE sale_id = $1),
               CASE WHEN EXISTS (SELECT 1 FROM audit_rows WHERE sale_id = $1) THEN $2 ELSE 1 END)::smallint AS "format!""#,
        sale,
        i32::from(FORMAT_WITH_LANES),
    )
    .fetch_one(&mut *tx)
    .await?;
    let has_lanes = i32::from(format) >= i32::from(FORMAT_WITH_LANES);
    let followed = match has_lanes {
        true => lanes::follow(&mut tx, sale).await?,
        false => follow(&mut tx, sale).await?,
    };
    let (verified, totals) = match followed {
        Ok(found) => found,
        Err(bad) => return Ok(Err(bad)),
    };
    let mut bad = compare_sale(&mut tx, sale, &totals).await?;
    if bad.is_none() {
        bad = match has_lanes {
            true => lanes::compare_orders(&mut tx, sale).await?,
            false => compare_orders(&mut tx, sale).await?,
        };
    }
    if bad.is_none() {
        bad = count_orders(&mut tx, sale, &totals).await?;
    }
    Ok(bad.map_or(Ok(verified), Err))
}

/// Follows the chain to its head, row by row, so that a long log takes no more memory than a short one.
async fn follow(connection: &mut PgConnection, sale: &str) -> Found<(Verified, Totals)> {
    let head = sqlx::query!("SELECT number, hash FROM audit_heads WHERE sale_id = $1", sale)
        .fetch_optional(&mut *connection)
        .await?
        .map(|head| (head.number, head.hash));
    let mut rows = sqlx::query_as!(
        Row,
        r#"SELECT NULL::smallint AS lane, number, at, to_jsonb(actor) AS "actor!", kind, data, previous, hash FROM audit_log
         WHERE sale_id = $1 ORDER BY number"#,
        sale,
    )
    .fetch(&mut *connection);
    let (mut number, mut last, mut totals) = (0, vec![0; 32], Totals::default());
    while let Some(row) = rows.try_next().await? {
        number += 1;
        let fault = check_row(sale, number, &last, &row, hash);
        if let Err(what) = fault.and_then(|()| totals.apply(&row.kind, &row.data)) {
            // For a gap, the missing row is named.
            return Ok(Err(Bad::row(number.min(row.number), what)));
        }
        last = row.hash;
    }
    if let Err((number, what)) = check_head(head, number, &last, "audit_heads") {
        return Ok(Err(Bad::row(number, what)));
    }
    let verified = Verified {
        rows: number,
        head: hex::encode(&last),
        untied: 0,
    };
    Ok(Ok((verified, totals)))
}

/// Compares a chain's last row with its head. An error names a row and its fault.
fn check_head(
    head: Option<(i64, Vec<u8>)>,
    number: i64,
    last: &[u8],
    table: &str,
) -> Result<(), (i64, String)> {
    let Some((head, hash)) = head else {
        return Err((number, format!("the chain has no head in {table}")));
    };
    if head > number {
        return Err((number + 1, format!("it is missing: the head is row {head}")));
    }
    if head < number {
        return Err((
            head + 1,
            format!("it stands behind the head, which is row {head}"),
        ));
    }
    if hash != last {
        return Err((number, format!("its hash is not the head's in {table}")));
    }
    Ok(())
}

fn check_row(
    sale: &str,
    number: i64,
    last: &[u8],
    row: &Row,
    hash: fn(&Content) -> Hash,
) -> Result<(), String> {
    if row.number != number {
        return Err(format!("it is missing: row {} comes next", row.number));
    }
    if row.previous != last {
        return Err("its `previous` is not the hash of the row before it".into());
    }
    let (actor, data) = (canonical(&row.actor), canonical(&row.data));
    let content = Content {
        sale,
        lane: row.lane,
        number,
        at_us: row.at.timestamp_micros(),
        actor: &actor,
        kind: &row.kind,
        data: &data,
        previous: last,
    };
    if row.hash != hash(&content) {
        return Err("its hash is not that of what it says".into());
    }
    Ok(())
}

fn differs(at: String, what: &str, table: impl Debug, log: impl Debug) -> Option<Bad> {
    let what = format!("{what} is {table:?}, the log comes to {log:?}");
    Some(Bad { at, what })
}

/// Compares the sale and its lanes with the log's totals.
async fn compare_sale(connection: &mut PgConnection, sale: &str, totals: &Totals) -> Result<Option<Bad>> {
    let Some(row) = sqlx::query!(
        "SELECT status, total_stock, sale_price FROM flash_sales WHERE sale_id = $1",
        sale
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(differs(
            format!("flash_sales={sale}"),
            "the sale",
            "not there",
            "one",
        ));
    };
    let table = (row.status, i64::from(row.total_stock), row.sale_price);
    let log = (totals.status.clone(), totals.stock, totals.price);
    if table != log {
        let what = "(status, total_stock, sale_price)";
        return Ok(differs(format!("flash_sales={sale}"), what, table, log));
    }

    let mut lanes: BTreeMap<i64, Lane> = BTreeMap::new();
    let rows = sqlx::query!(
        "SELECT lane, epoch, supply, allocated, confirmed FROM sale_lanes WHERE sale_id = $1",
        sale
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        let lane = Lane {
            epoch: row.epoch.into(),
            supply: row.supply.into(),
            allocated: row.allocated.into(),
            confirmed: row.confirmed.into(),
        };
        lanes.insert(row.lane.into(), lane);
    }
    for number in totals.lanes.keys().chain(lanes.keys()) {
        let (table, log) = (lanes.get(number), totals.lanes.get(number));
        if table != log {
            return Ok(differs(
                format!("sale_lanes={sale}/{number}"),
                "the lane",
                table,
                log,
            ));
        }
    }
    Ok(None)
}

/// This includes orders for which the log's first row has only numbers.
async fn count_orders(connection: &mut PgConnection, sale: &str, totals: &Totals) -> Result<Option<Bad>> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE status = 'pending') AS "pending!",
            count(*) FILTER (WHERE status = 'confirmed') AS "confirmed!",
            count(*) FILTER (WHERE status = 'cancelled' AND quantity_allocated > 0) AS "cancelled!",
            count(*) FILTER (WHERE quantity_allocated = 0) AS "abandoned!",
            coalesce(sum(amount) FILTER (WHERE status = 'confirmed'), 0)::bigint AS "revenue!"
         FROM flash_sale_orders WHERE sale_id = $1"#,
        sale
    )
    .fetch_one(&mut *connection)
    .await?;
    let table = [
        row.pending,
        row.confirmed,
        row.cancelled,
        row.abandoned,
        row.revenue,
    ];
    let log = [
        totals.pending,
        totals.confirmed,
        totals.cancelled,
        totals.abandoned,
        totals.revenue,
    ];
    let what = "[pending, confirmed, cancelled, abandoned, revenue]";
    Ok((table != log)
        .then(|| differs(format!("flash_sale_orders={sale}"), what, table, log))
        .flatten())
}

/// Compares every order with the last row about it. Orders older than the log may have none.
async fn compare_orders(connection: &mut PgConnection, sale: &str) -> Result<Option<Bad>> {
    let odd = sqlx::query!(
        r#"WITH told AS (
               SELECT DISTINCT ON (data->>'order') data->>'order' AS order_id, number, kind, data FROM audit_log
               WHERE sale_id = $1 AND kind LIKE 'order\_%'
               ORDER BY data->>'order', number DESC
           )
           SELECT coalesce(o.order_id, t.order_id) AS "order!", o.status AS "status?", t.number AS "number?",
               t.kind AS "kind?"
           FROM (SELECT * FROM flash_sale_orders WHERE sale_id = $1) o FULL JOIN told t USING (order_id)
           WHERE o.order_id IS NULL
              OR t.order_id IS NULL AND o.created_at >= (SELECT at FROM audit_log WHERE sale_id = $1 AND number = 1)
              OR o.status <> CASE t.kind WHEN 'order_placed' THEN 'pending' WHEN 'order_confirmed' THEN 'confirmed'
                     WHEN 'order_revived' THEN 'confirmed' ELSE 'cancelled' END
              OR (t.data->>'lane')::bigint <> o.lane OR (t.data->>'units')::bigint <> o.quantity_allocated
              OR (t.data->>'amount')::bigint <> o.amount
           ORDER BY t.number LIMIT 1"#,
        sale
    )
    .fetch_optional(connection)
    .await?;
    Ok(odd.map(|odd| {
        let table = odd.status.unwrap_or_else(|| "not there".into());
        let log = match (odd.number, odd.kind) {
            (Some(number), Some(kind)) => format!("row {number} of the log ({kind}) says otherwise"),
            _ => "no row of the log tells of it".into(),
        };
        Bad {
            at: format!("flash_sale_orders={}", odd.order),
            what: format!("the order is {table}; {log}"),
        }
    }))
}

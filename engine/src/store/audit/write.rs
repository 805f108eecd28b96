//! Adds rows to chains, and begins a new sale's chains.

use super::{AuditRow, Content, Ends, FORMAT_WITH_LANES, Hash, OF_SALE, canonical, hash, hash_in_lane};
use crate::{
    chain::ChainEnd,
    error::{Error, Result},
    sale::Sale,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::SaleId;
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashMap};

const SALT_BYTES: usize = 32;

/// Begins a new sale's chains, before its first row. The lanes are there already.
pub async fn begin(connection: &mut PgConnection, sale: &Sale) -> Result<()> {
    let id = sale.id.to_string();
    if sale.format < FORMAT_WITH_LANES {
        sqlx::query!("INSERT INTO audit_heads (sale_id) VALUES ($1)", id)
            .execute(connection)
            .await?;
        return Ok(());
    }
    let salt: [u8; SALT_BYTES] = rand::random();
    sqlx::query!(
        "WITH salt AS (INSERT INTO sale_salts (sale_id, salt) VALUES ($1, $2))
         INSERT INTO audit_chains (sale_id, lane)
         SELECT $1, $3::smallint UNION ALL SELECT $1, lane FROM sale_lanes WHERE sale_id = $1",
        id,
        &salt,
        OF_SALE,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The end of a chain while rows are added to it.
struct Head {
    number: i64,
    hash: Vec<u8>,
    at: DateTime<Utc>,
}

/// A chain of format 2: sale and lane.
type Chain = (String, i16);

/// New rows, column by column.
#[derive(Default)]
struct Columns {
    sales: Vec<String>,
    lanes: Vec<i16>,
    numbers: Vec<i64>,
    times: Vec<DateTime<Utc>>,
    actors: Vec<String>,
    kinds: Vec<String>,
    data: Vec<String>,
    previous: Vec<Vec<u8>>,
    hashes: Vec<Vec<u8>>,
}

impl Columns {
    /// Adds a row to a chain. The actor comes as JSON for the hash, and as it is stored.
    fn push(
        &mut self,
        (sale, lane): (&str, i16),
        head: &mut Head,
        row: &AuditRow,
        (actor, stored): (&str, String),
        hash: fn(&Content) -> Hash,
    ) {
        let (data, kind) = (canonical(&row.data), <&str>::from(row.kind));
        head.number += 1;
        let content = Content {
            sale,
            lane: (lane != OF_SALE).then_some(lane),
            number: head.number,
            at_us: head.at.timestamp_micros(),
            actor,
            kind,
            data: &data,
            previous: &head.hash,
        };
        let hash = hash(&content).to_vec();
        self.sales.push(sale.to_owned());
        self.lanes.push(lane);
        self.numbers.push(head.number);
        self.times.push(head.at);
        self.actors.push(stored);
        self.kinds.push(kind.to_owned());
        self.data.push(data);
        self.previous
            .push(std::mem::replace(&mut head.hash, hash.clone()));
        self.hashes.push(hash);
    }
}

/// Adds rows. Only the commit may follow, or rows of the same sale: this locks the chains, which come after orders and lanes in the
/// order of locks. Chains of format 1 come in the order of the sales; then lanes' chains by sale and lane; then sales' own. Returns
/// where the chains end once this is committed.
pub async fn write(connection: &mut PgConnection, entries: &[AuditRow]) -> Result<Ends> {
    let mut ends = Ends::default();
    if entries.is_empty() {
        return Ok(ends);
    }
    let mut wanted: Vec<Chain> = Vec::with_capacity(entries.len());
    let mut places: Vec<(String, Vec<i16>)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let sale = entry.sale.to_string();
        let lanes: Vec<i16> = entry
            .chains()?
            .into_iter()
            .map(number_of)
            .collect::<Result<_>>()?;
        wanted.extend(lanes.iter().map(|lane| (sale.clone(), *lane)));
        places.push((sale, lanes));
    }
    wanted.sort_unstable();
    wanted.dedup();
    let (mut whole, mut chains, salts, life) = lock(connection, wanted).await?;

    let (mut ones, mut twos) = (Columns::default(), Columns::default());
    for (entry, (sale, lanes)) in entries.iter().zip(&places) {
        if let Some(head) = whole.get_mut(sale) {
            let word = entry.actor.word().into_owned();
            let actor = Value::from(word.as_str()).to_string();
            ones.push((sale, OF_SALE), head, entry, (&actor, word), hash);
            continue;
        }
        let salt = salts.get(sale).map(Vec::as_slice);
        for lane in lanes {
            let head = chains
                .get_mut(&(sale.clone(), *lane))
                .ok_or_else(|| Error::unexpected("a sale without an audit log"))?;
            let actor = entry.actor.text(salt);
            twos.push((sale, *lane), head, entry, (&actor, actor.clone()), hash_in_lane);
        }
    }
    if !whole.is_empty() {
        add_to_whole(connection, &whole, &ones).await?;
    }
    if !chains.is_empty() {
        add_to_chains(connection, &chains, &twos).await?;
    }

    let sales: HashMap<&str, SaleId> = entries
        .iter()
        .zip(&places)
        .map(|(entry, (sale, _))| (sale.as_str(), entry.sale))
        .collect();
    for (sale, head) in &whole {
        if let Some(id) = sales.get(sale.as_str()) {
            ends.sales
                .insert(*id, ChainEnd::new(life, head.number, &head.hash));
        }
    }
    for ((sale, lane), head) in &chains {
        if let (Some(id), Ok(lane)) = (sales.get(sale.as_str()), u16::try_from(*lane)) {
            let end = ChainEnd::new(life, head.number, &head.hash);
            ends.lanes.insert((*id, lane), end);
        }
    }
    Ok(ends)
}

fn number_of(lane: Option<u16>) -> Result<i16> {
    lane.map_or(Ok(OF_SALE), |lane| {
        i16::try_from(lane).map_err(|_| Error::unexpected("a lane with too high a number"))
    })
}

type Locked = (
    BTreeMap<String, Head>,
    BTreeMap<Chain, Head>,
    HashMap<String, Vec<u8>>,
    i64,
);

/// Locks the chains of either format, in one statement: a sale has heads of one format only. Also returns the sales' salts and the
/// life of Postgres.
async fn lock(connection: &mut PgConnection, wanted: Vec<Chain>) -> Result<Locked> {
    let (sales, lanes): (Vec<String>, Vec<i16>) = wanted.into_iter().unzip();
    // The clock is read outside, after the lock: so the rows of a chain are in the order of their times.
    let rows = sqlx::query!(
        r#"WITH whole AS (
               SELECT sale_id, number, hash FROM audit_heads WHERE sale_id = ANY($1) ORDER BY sale_id FOR UPDATE
           ), chains AS (
               SELECT c.sale_id, c.lane, c.number, c.hash
               FROM unnest($1::text[], $2::smallint[]) AS w (sale_id, lane) JOIN audit_chains c USING (sale_id, lane)
               ORDER BY c.lane < 0, c.sale_id, c.lane FOR UPDATE OF c
           )
           SELECT sale_id AS "sale_id!", lane, number AS "number!", hash AS "hash!", salt, clock_timestamp() AS "at!",
               (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS "life!" FROM (
               SELECT sale_id, NULL::smallint AS lane, number, hash, NULL::bytea AS salt FROM whole
               UNION ALL
               SELECT sale_id, lane, number, hash, (SELECT salt FROM sale_salts s WHERE s.sale_id = chains.sale_id) FROM chains
           ) AS locked"#,
        &sales,
        &lanes,
    )
    .fetch_all(connection)
    .await?;
    let life = rows.first().map_or(0, |row| row.life);
    let (mut whole, mut chains, mut salts) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
    for row in rows {
        let head = Head {
            number: row.number,
            hash: row.hash,
            at: row.at,
        };
        if let Some(salt) = row.salt {
            salts.insert(row.sale_id.clone(), salt);
        }
        match row.lane {
            None => whole.insert(row.sale_id, head),
            Some(lane) => chains.insert((row.sale_id, lane), head),
        };
    }
    Ok((whole, chains, salts, life))
}

async fn add_to_whole(
    connection: &mut PgConnection,
    heads: &BTreeMap<String, Head>,
    rows: &Columns,
) -> Result<()> {
    let sales: Vec<String> = heads.keys().cloned().collect();
    let ends: Vec<i64> = heads.values().map(|head| head.number).collect();
    let last: Vec<Vec<u8>> = heads.values().map(|head| head.hash.clone()).collect();
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
        &rows.sales,
        &rows.numbers,
        &rows.times,
        &rows.actors,
        &rows.kinds,
        &rows.data,
        &rows.previous,
        &rows.hashes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_to_chains(
    connection: &mut PgConnection,
    heads: &BTreeMap<Chain, Head>,
    rows: &Columns,
) -> Result<()> {
    let (sales, lanes): (Vec<String>, Vec<i16>) = heads.keys().cloned().unzip();
    let ends: Vec<i64> = heads.values().map(|head| head.number).collect();
    let last: Vec<Vec<u8>> = heads.values().map(|head| head.hash.clone()).collect();
    sqlx::query!(
        "WITH heads AS (
             UPDATE audit_chains c SET number = n.number, hash = n.hash
             FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bytea[]) AS n (sale_id, lane, number, hash)
             WHERE c.sale_id = n.sale_id AND c.lane = n.lane
         )
         INSERT INTO audit_rows (sale_id, lane, number, at, actor, kind, data, previous, hash)
         SELECT sale_id, lane, number, at, actor::jsonb, kind, data::jsonb, previous, hash
         FROM unnest($5::text[], $6::smallint[], $7::bigint[], $8::timestamptz[], $9::text[], $10::text[], $11::text[],
            $12::bytea[], $13::bytea[]) AS r (sale_id, lane, number, at, actor, kind, data, previous, hash)",
        &sales,
        &lanes,
        &ends,
        &last,
        &rows.sales,
        &rows.lanes,
        &rows.numbers,
        &rows.times,
        &rows.actors,
        &rows.kinds,
        &rows.data,
        &rows.previous,
        &rows.hashes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

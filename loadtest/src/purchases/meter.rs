//! What a run has used: CPU by process, commands of Redis, statements, rows and log of Postgres, sizes of batches. Read before and
//! after; the difference counts.

use super::site::Site;
use crate::bench::cpu;
use anyhow::{Context, Result};
use serde::Serialize;
use sqlx::{Connection, PgConnection, Row};
use std::{collections::BTreeMap, time::Duration};

/// How often it is looked whether something is over, and how long sessions of stopped servers may take to end.
const LOOK: Duration = Duration::from_millis(200);
const SESSIONS_DEADLINE: Duration = Duration::from_secs(10);
/// Statements that are named in the report, the most expensive first.
const STATEMENTS_NAMED: i64 = 16;
/// Characters of a statement's text in the report.
const STATEMENT_CHARS: i32 = 110;

/// CPU time of each part so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub gateway: Duration,
    pub worker: Duration,
    pub redis: Duration,
    /// Replicas of a cluster's masters.
    pub replicas: Duration,
    pub postgres: Postgres,
    /// The Postgres of the sandbox provider's books, who stands for somebody else's machine.
    pub provider: Duration,
    /// The shoppers, and whoever measures.
    pub generator: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres {
    pub backends: Duration,
    pub wal_writer: Duration,
    pub checkpointer: Duration,
    pub others: Duration,
}

impl Postgres {
    /// The processes of a postmaster, by their titles.
    fn of(postmaster: u32) -> Result<Self> {
        let mut used = Self::default();
        for (title, time) in cpu::by_name(postmaster)? {
            let part = match title.strip_prefix("postgres: ").unwrap_or("") {
                title if title.starts_with("walwriter") => &mut used.wal_writer,
                title if title.starts_with("checkpointer") => &mut used.checkpointer,
                title
                    if title.is_empty()
                        || title.starts_with("background writer")
                        || title.starts_with("autovacuum")
                        || title.starts_with("logical replication") =>
                {
                    &mut used.others
                }
                _ => &mut used.backends,
            };
            *part += time;
        }
        Ok(used)
    }

    fn all(self) -> Duration {
        self.backends + self.wal_writer + self.checkpointer + self.others
    }

    fn since(self, before: Self) -> Self {
        Self {
            backends: self.backends.saturating_sub(before.backends),
            wal_writer: self.wal_writer.saturating_sub(before.wal_writer),
            checkpointer: self.checkpointer.saturating_sub(before.checkpointer),
            others: self.others.saturating_sub(before.others),
        }
    }
}

impl Cpu {
    fn read(site: &Site, postmaster: u32, provider: u32) -> Result<Self> {
        let sum = |pids: &[u32]| -> Result<Duration> { pids.iter().map(|pid| cpu::of_process(*pid)).sum() };
        let (masters, replicas) = site.redis.pids.split_at(site.redis.masters);
        Ok(Self {
            gateway: cpu::of_process(site.gateway.pid()?)?,
            worker: cpu::of_process(site.worker.pid()?)?,
            redis: sum(masters)?,
            replicas: sum(replicas)?,
            postgres: Postgres::of(postmaster)?,
            provider: Postgres::of(provider)?.all(),
            generator: cpu::of_this_process()?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            gateway: self.gateway.saturating_sub(before.gateway),
            worker: self.worker.saturating_sub(before.worker),
            redis: self.redis.saturating_sub(before.redis),
            replicas: self.replicas.saturating_sub(before.replicas),
            postgres: self.postgres.since(before.postgres),
            provider: self.provider.saturating_sub(before.provider),
            generator: self.generator.saturating_sub(before.generator),
        }
    }

    pub fn server(&self) -> Duration {
        self.gateway + self.worker
    }

    pub fn postgres(&self) -> Duration {
        self.postgres.all()
    }

    /// What the platform itself needs: without the provider and the shoppers.
    pub fn platform(&self) -> Duration {
        self.server() + self.redis + self.replicas + self.postgres()
    }
}

/// Redis' counters by name, over all nodes.
type Counters = BTreeMap<String, f64>;

/// The state of everything at one moment.
struct Look {
    cpu: Cpu,
    redis: Counters,
    /// Items and calls of each batcher.
    batches: Counters,
    /// The end of Postgres' log, in bytes.
    log_end: f64,
}

/// What a run has used.
pub struct Used {
    pub cpu: Cpu,
    /// By command, those of scripts included.
    pub redis_calls: Counters,
    /// Times that Redis has read from a socket: a round trip each, of one command or of several.
    pub redis_reads: f64,
    /// Mean items of a call, by the batcher's name.
    pub batches: BTreeMap<String, f64>,
    pub wal_bytes: f64,
    pub statements: Option<Statements>,
    pub tables: Vec<Table>,
    /// Records, and whole pages among them.
    pub wal_records: f64,
    pub wal_pages: f64,
}

/// What Postgres was asked, if it can tell.
#[derive(Debug, Serialize)]
pub struct Statements {
    /// Each is a round trip; BEGIN and COMMIT, and the question before each use of a connection, are among them.
    pub calls: f64,
    pub rows: f64,
    pub transactions: f64,
    /// The most expensive ones.
    pub named: Vec<Statement>,
}

#[derive(Debug, Serialize)]
pub struct Statement {
    pub calls: i64,
    pub rows: i64,
    pub ms: f64,
    pub wal_bytes: f64,
    pub text: String,
}

/// Rows of a table, written and read.
#[derive(Debug, Serialize)]
pub struct Table {
    pub name: String,
    pub inserted: i64,
    pub updated: i64,
    /// Updates that touch no index.
    pub updated_hot: i64,
    pub deleted: i64,
    pub scans: i64,
    pub scanned_rows: i64,
    pub fetched_by_index: i64,
}

/// Measures one run, from its creation on.
pub struct Meter {
    postgres: PgConnection,
    postmaster: u32,
    provider: u32,
    before: Look,
    tables: Vec<Table>,
    wal: (f64, f64),
}

impl Meter {
    pub async fn start(site: &mut Site) -> Result<Self> {
        let mut postgres = PgConnection::connect(&site.database_url).await?;
        // What is asked here is no scan of a purchase's.
        sqlx::query("SET enable_seqscan = off")
            .execute(&mut postgres)
            .await?;
        let mut books = PgConnection::connect(&site.provider_url).await?;
        let (postmaster, provider) = (postmaster(&mut postgres).await?, postmaster(&mut books).await?);
        books.close().await?;
        if site.counts_statements {
            sqlx::query("SELECT pg_stat_statements_reset()")
                .execute(&mut postgres)
                .await?;
        }
        let (tables, wal) = (tables(&mut postgres).await?, wal(&mut postgres).await?);
        Ok(Self {
            before: look(site, &mut postgres, postmaster, provider).await?,
            postgres,
            postmaster,
            provider,
            tables,
            wal,
        })
    }

    /// Waits until nothing is left to do about any payment: what follows a purchase is a part of its price. False: not in time.
    pub async fn settled(&mut self, deadline: Duration) -> Result<bool> {
        let settled = async {
            loop {
                let open: bool =
                    sqlx::query_scalar("SELECT EXISTS (SELECT FROM payments WHERE todo IS NOT NULL)")
                        .fetch_one(&mut self.postgres)
                        .await?;
                if !open {
                    return Ok::<_, anyhow::Error>(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        Ok(match tokio::time::timeout(deadline, settled).await {
            Ok(settled) => settled.map(|()| true)?,
            Err(_) => false,
        })
    }

    /// What was used until now. What sessions of Postgres tell only at their end is added by [`Self::finish`].
    pub async fn read(&mut self, site: &mut Site) -> Result<Used> {
        let now = look(site, &mut self.postgres, self.postmaster, self.provider).await?;
        let redis = difference(&now.redis, &self.before.redis);
        let batches = difference(&now.batches, &self.before.batches);
        let statements = match site.counts_statements {
            true => Some(statements(&mut self.postgres).await?),
            false => None,
        };
        Ok(Used {
            cpu: now.cpu.since(self.before.cpu),
            redis_reads: redis.get("total_reads_processed").copied().unwrap_or(0.0),
            redis_calls: redis
                .into_iter()
                .filter_map(|(name, count)| Some((name.strip_prefix("cmdstat_")?.to_owned(), count)))
                .filter(|(_, count)| *count > 0.0)
                .collect(),
            batches: mean_sizes(&batches),
            wal_bytes: now.log_end - self.before.log_end,
            statements,
            tables: Vec::new(),
            wal_records: 0.0,
            wal_pages: 0.0,
        })
    }

    /// Postgres' own setting: without it nothing is durable, and no figure counts.
    pub async fn fsync(&mut self) -> Result<String> {
        let setting = sqlx::query_scalar("SELECT current_setting('fsync')");
        Ok(setting.fetch_one(&mut self.postgres).await?)
    }

    /// Sessions tell their last counts when they end, a moment after their servers have.
    async fn await_last_session(&mut self) -> Result<()> {
        let ended = async {
            loop {
                let others: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
                )
                .fetch_one(&mut self.postgres)
                .await?;
                if others == 0 {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(SESSIONS_DEADLINE, ended)
            .await
            .context("sessions of stopped servers go on")?
    }

    /// After the servers have stopped.
    pub async fn finish(mut self, used: &mut Used) -> Result<()> {
        self.await_last_session().await?;
        let before: BTreeMap<&str, &Table> = self
            .tables
            .iter()
            .map(|table| (table.name.as_str(), table))
            .collect();
        let after = tables(&mut self.postgres).await?;
        used.tables = after
            .into_iter()
            .map(|table| match before.get(table.name.as_str()) {
                Some(before) => table.since(before),
                None => table,
            })
            .filter(|table| table.inserted + table.updated + table.deleted > 0)
            .collect();
        let (records, pages) = wal(&mut self.postgres).await?;
        (used.wal_records, used.wal_pages) = (records - self.wal.0, pages - self.wal.1);
        self.postgres.close().await?;
        Ok(())
    }
}

impl Table {
    fn since(self, before: &Self) -> Self {
        Self {
            inserted: self.inserted - before.inserted,
            updated: self.updated - before.updated,
            updated_hot: self.updated_hot - before.updated_hot,
            deleted: self.deleted - before.deleted,
            scans: self.scans - before.scans,
            scanned_rows: self.scanned_rows - before.scanned_rows,
            fetched_by_index: self.fetched_by_index - before.fetched_by_index,
            name: self.name,
        }
    }
}

async fn look(site: &mut Site, postgres: &mut PgConnection, postmaster: u32, provider: u32) -> Result<Look> {
    let cpu = Cpu::read(site, postmaster, provider)?;
    let log_end = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8")
        .fetch_one(postgres)
        .await?;
    let mut redis = Counters::new();
    for info in site.redis.infos().await? {
        for (name, count) in counters_of(&info) {
            *redis.entry(name).or_default() += count;
        }
    }
    let mut batches = Counters::new();
    for text in site.metrics().await? {
        for line in text.lines().filter(|line| line.starts_with(BATCHES)) {
            if let Some((name, count)) = line.rsplit_once(' ')
                && let Ok(count) = count.parse::<f64>()
            {
                *batches.entry(name.to_owned()).or_default() += count;
            }
        }
    }
    Ok(Look {
        cpu,
        redis,
        batches,
        log_end,
    })
}

async fn postmaster(connection: &mut PgConnection) -> Result<u32> {
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    cpu::parent_of(backend as u32)
}

/// The calls of each command, and how often Redis has read from sockets.
fn counters_of(info: &str) -> Counters {
    let mut counters = Counters::new();
    for line in info.lines() {
        let Some((name, value)) = line.trim().split_once(':') else {
            continue;
        };
        let calls = value.split(',').find_map(|field| field.strip_prefix("calls="));
        if name.starts_with("cmdstat_")
            && let Some(calls) = calls.and_then(|calls| calls.parse().ok())
        {
            counters.insert(name.to_owned(), calls);
        } else if name == "total_reads_processed"
            && let Ok(reads) = value.parse()
        {
            counters.insert(name.to_owned(), reads);
        }
    }
    counters
}

fn difference(after: &Counters, before: &Counters) -> Counters {
    let since = |(name, count): (&String, &f64)| (name.clone(), count - before.get(name).unwrap_or(&0.0));
    after.iter().map(since).collect()
}

const BATCHES: &str = "flashsale_batch_items_";

/// Items per call, from the sums and counts of a histogram's lines.
fn mean_sizes(lines: &Counters) -> BTreeMap<String, f64> {
    let of = |line: &str, kind: &str| -> Option<String> {
        let labels = line.strip_prefix(BATCHES)?.strip_prefix(kind)?;
        Some(labels.split('"').nth(1)?.to_owned())
    };
    let counts: BTreeMap<String, f64> = lines
        .iter()
        .filter_map(|(line, count)| Some((of(line, "count{")?, *count)))
        .collect();
    lines
        .iter()
        .filter_map(|(line, sum)| Some((of(line, "sum{")?, *sum)))
        .filter_map(|(name, sum)| {
            let calls = counts.get(&name).copied().filter(|calls| *calls > 0.0)?;
            Some((name, sum / calls))
        })
        .collect()
}

async fn statements(connection: &mut PgConnection) -> Result<Statements> {
    let all = sqlx::query(
        "SELECT coalesce(sum(calls), 0)::float8 AS calls, coalesce(sum(rows), 0)::float8 AS rows,
            coalesce(sum(calls) FILTER (WHERE query = 'COMMIT'), 0)::float8 AS transactions
         FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_one(&mut *connection)
    .await?;
    let named = sqlx::query(
        "SELECT calls, rows, total_exec_time AS ms, wal_bytes::float8 AS wal_bytes,
            left(regexp_replace(query, '\\s+', ' ', 'g'), $2) AS text
         FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
         ORDER BY total_exec_time DESC LIMIT $1",
    )
    .bind(STATEMENTS_NAMED)
    .bind(STATEMENT_CHARS)
    .fetch_all(connection)
    .await?;
    let named = named.iter().map(|row| {
        Ok(Statement {
            calls: row.try_get("calls")?,
            rows: row.try_get("rows")?,
            ms: row.try_get("ms")?,
            wal_bytes: row.try_get("wal_bytes")?,
            text: row.try_get("text")?,
        })
    });
    Ok(Statements {
        calls: all.try_get("calls")?,
        rows: all.try_get("rows")?,
        transactions: all.try_get("transactions")?,
        named: named.collect::<Result<_, sqlx::Error>>()?,
    })
}

async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>> {
    let rows = sqlx::query(
        "SELECT relname::text AS name, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del, seq_scan, seq_tup_read,
            coalesce(idx_tup_fetch, 0) AS idx_tup_fetch
         FROM pg_stat_user_tables ORDER BY relname",
    )
    .fetch_all(connection)
    .await?;
    let tables = rows.iter().map(|row| {
        Ok(Table {
            name: row.try_get("name")?,
            inserted: row.try_get("n_tup_ins")?,
            updated: row.try_get("n_tup_upd")?,
            updated_hot: row.try_get("n_tup_hot_upd")?,
            deleted: row.try_get("n_tup_del")?,
            scans: row.try_get("seq_scan")?,
            scanned_rows: row.try_get("seq_tup_read")?,
            fetched_by_index: row.try_get("idx_tup_fetch")?,
        })
    });
    let tables: Result<_, sqlx::Error> = tables.collect();
    tables.context("Postgres' counts of rows")
}

/// Records of the log, and whole pages among them.
async fn wal(connection: &mut PgConnection) -> Result<(f64, f64)> {
    Ok(
        sqlx::query_as("SELECT wal_records::float8, wal_fpi::float8 FROM pg_stat_wal")
            .fetch_one(connection)
            .await?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_what_redis_tells() {
        let info = "# Commandstats\r\ncmdstat_evalsha:calls=12,usec=340,usec_per_call=28.3\r\ntotal_reads_processed:99\r\nother:1\r\n";
        let counters = counters_of(info);
        assert_eq!(counters.get("cmdstat_evalsha"), Some(&12.0));
        assert_eq!(counters.get("total_reads_processed"), Some(&99.0));
        assert_eq!(counters.len(), 2);
    }

    #[test]
    fn a_batchers_mean_size_is_its_items_by_its_calls() {
        let lines = Counters::from([
            (format!("{BATCHES}sum{{batch=\"reserve\"}}"), 300.0),
            (format!("{BATCHES}count{{batch=\"reserve\"}}"), 4.0),
            (format!("{BATCHES}bucket{{batch=\"reserve\",le=\"1\"}}"), 2.0),
            (format!("{BATCHES}sum{{batch=\"idle\"}}"), 0.0),
            (format!("{BATCHES}count{{batch=\"idle\"}}"), 0.0),
        ]);
        assert_eq!(mean_sizes(&lines), BTreeMap::from([("reserve".to_owned(), 75.0)]));
    }
}

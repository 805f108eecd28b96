//! Brings the schema up to date, and says in one sentence why a Postgres cannot be used. Uses its own connections, without the
//! pool's timeouts.

use crate::boxed;
use anyhow::{Context, Result, bail};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgSslMode},
};
use std::{
    collections::HashMap,
    str::FromStr,
    time::{Duration, Instant},
};

/// The oldest Postgres known to work, written as in `server_version_num`.
const OLDEST_POSTGRES: i64 = 140_000;
/// How long to retry a Postgres that is starting or has no connection left.
const PATIENCE: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// Looks for a pooler in transaction mode: one may miss it, if another client takes the connection in between.
const POOLER_LOOKS: usize = 3;
/// Time after which waiting for another process' migrations is logged.
const SAY_WAITING: Duration = Duration::from_secs(3);

/// SQLSTATEs of a Postgres that is starting or stopping, or has no connection left.
const FOR_NOW: [&str; 5] = ["57P01", "57P02", "57P03", "53300", "08006"];

/// The only tables from which the server deletes rows.
const DELETES: [&str; 13] = [
    "commands",
    "draw_entries",
    "leaving_people",
    "operator_events",
    "operator_sessions",
    "operator_tickets",
    "order_counts",
    "payments",
    "people",
    "picture_files",
    "pictures",
    "place_links",
    "sale_salts",
];
/// The tables to which the server only adds rows.
const APPEND_ONLY: [&str; 2] = ["audit_log", "audit_rows"];

/// Unknown migrations belong to a newer release that has run beside this one.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.set_ignore_missing(true);
    migrator
}

/// The result of `flashsale migrate`.
pub struct Migrated {
    /// Migrations applied now, by this process or by one that it waited for.
    pub applied: usize,
    /// The newest migration in the database.
    pub version: i64,
}

/// Brings the schema up to date. Several processes may do so at once: one works, the others wait for it.
#[boxed]
pub async fn migrate(url: &str) -> Result<Migrated> {
    let (mut connection, _) = connect(url).await?;
    let before = applied(&mut connection).await?.len();
    run(&mut connection).await?;
    let after = applied(&mut connection).await?;
    connection.close().await?;
    Ok(Migrated {
        applied: after.len() - before,
        version: after.keys().copied().max().unwrap_or(0),
    })
}

/// Lets another role do what servers do, and no more: it cannot change the schema or the audit log.
#[boxed]
pub async fn grant(url: &str, role: &str) -> Result<()> {
    let (mut connection, _) = connect(url).await?;
    let role = quoted(role);
    let mut statements =
        format!("GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON _sqlx_migrations TO {role};");
    for (table, verb) in needed() {
        statements += &format!("GRANT {verb} ON {} TO {role};", quoted(&table));
    }
    let granted = sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&mut connection)
        .await;
    granted.with_context(|| format!("cannot grant the server's rights to the Postgres role {role}"))?;
    connection.close().await?;
    Ok(())
}

/// A name as it stands in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a starting server may bring the schema up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrateAtStart {
    /// Yes, if the schema is older than this release.
    Auto,
    /// No, only `flashsale migrate` may: with an older schema the server does not start.
    Never,
}

/// Checks a Postgres before it is used, and brings its schema up to date unless that is left to `flashsale migrate`. Returns how
/// the pool must connect.
pub(super) async fn prepare(url: &str, migrate: MigrateAtStart) -> Result<PgConnectOptions> {
    let (mut connection, options) = connect(url).await?;
    let applied = applied(&mut connection).await?;
    let newest = |versions: &mut dyn Iterator<Item = i64>| versions.max().unwrap_or(0);
    let is_behind = migrator().iter().any(|ours| !applied.contains_key(&ours.version));
    if is_behind && migrate == MigrateAtStart::Never {
        bail!(
            "the schema is at version {}, and this release needs version {}: run `flashsale migrate` with the same DATABASE_URL first",
            newest(&mut applied.keys().copied()),
            newest(&mut migrator().iter().map(|ours| ours.version)),
        );
    }
    if is_behind {
        run(&mut connection).await?;
    }
    check_privileges(&mut connection).await?;
    connection.close().await?;
    Ok(options)
}

/// A connection to a usable Postgres, and the options that made it.
async fn connect(url: &str) -> Result<(PgConnection, PgConnectOptions)> {
    // Some poolers drop settings made at the start of a connection, so sessions are set up by statements.
    let mut options = PgConnectOptions::from_str(url)
        .context("DATABASE_URL cannot be read")?
        .application_name("flashsale")
        .extra_float_digits(None);
    let mut connection = match open(&options).await {
        // Like other clients that only prefer TLS, we go on without it; a user who requires TLS says so.
        Err(error) if is_about_tls(&error) && matches!(options.get_ssl_mode(), PgSslMode::Prefer) => {
            options = options.ssl_mode(PgSslMode::Disable);
            let connection = options.connect().await.map_err(|_| {
                anyhow::Error::new(error).context(
                    "TLS with Postgres fails (add sslmode=require to DATABASE_URL to insist on it, or give it another certificate)",
                )
            })?;
            tracing::warn!(
                "TLS with Postgres fails: going on without; add sslmode=require to DATABASE_URL to insist on it"
            );
            connection
        }
        connection => connection?,
    };
    check_server(&mut connection, &options).await?;
    // A migration may take long.
    sqlx::raw_sql(
        "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    )
    .execute(&mut connection)
    .await?;
    Ok((connection, options))
}

async fn open(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let began = Instant::now();
    loop {
        match options.connect().await {
            Err(error) if is_for_now(&error) && began.elapsed() < PATIENCE => {
                tokio::time::sleep(TRY_AGAIN).await
            }
            connection => return connection,
        }
    }
}

fn is_for_now(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| FOR_NOW.contains(&code.as_ref())),
        _ => false,
    }
}

fn is_about_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Uses the simple protocol: it prepares nothing, which a pooler in transaction mode would mix up.
async fn check_server(connection: &mut PgConnection, options: &PgConnectOptions) -> Result<()> {
    let row = sqlx::raw_sql(
        "SELECT current_setting('server_version_num'), current_setting('server_version'), current_setting('transaction_read_only')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (number, version, read_only): (String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if number.parse::<i64>().unwrap_or(0) < OLDEST_POSTGRES {
        bail!("this is Postgres {version}, and version 14 or a later one is needed");
    }
    if read_only == "on" {
        bail!(
            "Postgres takes no changes here (it is a standby, or default_transaction_read_only is on): DATABASE_URL must lead to the primary"
        );
    }
    let mut other = open(options).await?;
    for _ in 0..POOLER_LOOKS {
        // Both connections are open: with their own sessions they cannot share one Postgres process.
        if backend(connection).await? == backend(&mut other).await? {
            bail!(
                "DATABASE_URL leads through a pooler in transaction mode (PgBouncer's, for example), which mixes sessions up: give the URL of a direct connection, or of a pooler in session mode"
            );
        }
    }
    other.close().await?;
    Ok(())
}

async fn backend(connection: &mut PgConnection) -> Result<String> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()::text")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}

/// The migrations in the database, with their checksums.
async fn applied(connection: &mut PgConnection) -> Result<HashMap<i64, Vec<u8>>> {
    let is_there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !is_there {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
            .fetch_all(connection)
            .await
            .map_err(readable)?;
    let applied: HashMap<_, _> = rows.into_iter().collect();
    for ours in migrator().iter() {
        if applied
            .get(&ours.version)
            .is_some_and(|checksum| checksum[..] != ours.checksum[..])
        {
            bail!(
                "migration {} of this database is another one than this release's: the two do not belong together",
                ours.version
            );
        }
    }
    Ok(applied)
}

/// SQLSTATE of a missing right.
const NO_RIGHT: &str = "42501";

/// An error in reading which migrations there are, with what cures it.
fn readable(error: sqlx::Error) -> anyhow::Error {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some(NO_RIGHT) => anyhow::anyhow!(
            "this Postgres role may not read the table _sqlx_migrations: grant it (`flashsale migrate --grant-to ROLE` as the owner), or use another role"
        ),
        _ => error.into(),
    }
}

async fn run(connection: &mut PgConnection) -> Result<()> {
    let migrator = migrator();
    let mut running = std::pin::pin!(migrator.run_direct(None, connection, false));
    let done = match tokio::time::timeout(SAY_WAITING, &mut running).await {
        Ok(done) => done,
        Err(_) => {
            tracing::info!(
                "the schema is being brought up to date, here or by another process that is waited for"
            );
            running.await
        }
    };
    done.map_err(|error| match error {
        MigrateError::Dirty(version) => anyhow::anyhow!(
            "migration {version} was broken off half-way: look at the database, then take its row out of _sqlx_migrations"
        ),
        error => anyhow::Error::new(error).context("cannot bring the schema up to date"),
    })
}

/// What the server does with each table.
fn needed() -> Vec<(String, &'static str)> {
    let mut needed: Vec<(String, &str)> = Vec::new();
    for table in tables() {
        let is_append_only = APPEND_ONLY.contains(&table.as_str());
        let verbs = ["SELECT", "INSERT", "UPDATE"];
        needed.extend(
            verbs
                .iter()
                .filter(|verb| !(is_append_only && **verb == "UPDATE"))
                .map(|verb| (table.clone(), *verb)),
        );
    }
    needed.extend(DELETES.map(|table| (table.to_owned(), "DELETE")));
    needed
}

/// Checks that the role may do all that the server does.
async fn check_privileges(connection: &mut PgConnection) -> Result<()> {
    let (tables, verbs): (Vec<String>, Vec<&str>) = needed().into_iter().unzip();
    let missing: Option<(String, String, String)> = sqlx::query_as(
        "SELECT current_user::text, n.verb, n.name FROM unnest($1::text[], $2::text[]) AS n (name, verb)
         WHERE NOT has_table_privilege(to_regclass(n.name), n.verb) LIMIT 1",
    )
    .bind(&tables)
    .bind(&verbs)
    .fetch_optional(connection)
    .await?;
    if let Some((role, verb, table)) = missing {
        bail!(
            "the Postgres role {role:?} may not {verb} in the table {table}: grant it (`flashsale migrate --grant-to {role}` as the owner), or use another role"
        );
    }
    Ok(())
}

/// The tables that the migrations create.
fn tables() -> Vec<String> {
    let mut tables: Vec<String> = Vec::new();
    for migration in migrator().iter() {
        let names = migration.sql.as_str().lines().filter_map(|line| {
            let (name, _) = line.strip_prefix("CREATE TABLE ")?.split_once(' ')?;
            Some(name.to_owned())
        });
        tables.extend(names);
    }
    tables.sort();
    tables.dedup();
    tables
}

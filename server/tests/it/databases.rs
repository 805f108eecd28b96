//! A database for each test, copied from one that has the schema already, and gone with the test: hundreds of them would fill a disk.

use flashsale_engine::store::schema;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use std::thread;

/// Has the schema of this release. Made by the first test of a run.
const TEMPLATE: &str = "template_of_tests";
/// Held while the template is made.
const LOCK: i64 = 0x7e57;

/// A database of one test.
pub struct OwnDatabase {
    name: String,
    pub url: String,
    server: String,
}

impl OwnDatabase {
    /// `server`: the address of any database of the same Postgres.
    pub async fn make(server: &str, name: &str) -> Self {
        let pool = PgPool::connect(server).await.expect("Postgres answers");
        make_template(&pool, server).await;
        let create = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
        sqlx::query(AssertSqlSafe(create))
            .execute(&pool)
            .await
            .expect("a database");
        Self {
            name: name.to_owned(),
            url: of(server, name),
            server: server.to_owned(),
        }
    }
}

/// The address of another database of a Postgres.
fn of(server: &str, name: &str) -> String {
    server.replacen("/flashsale?", &format!("/{name}?"), 1)
}

async fn make_template(pool: &PgPool, server: &str) {
    let mut connection = pool.acquire().await.expect("Postgres answers");
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await
        .expect("the lock");
    let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(TEMPLATE)
        .fetch_optional(&mut *connection)
        .await
        .expect("a list of databases");
    if known.is_none() {
        let half = format!("{TEMPLATE}_begun");
        for statement in [
            format!("DROP DATABASE IF EXISTS {half}"),
            format!("CREATE DATABASE {half}"),
        ] {
            let made = sqlx::query(AssertSqlSafe(statement))
                .execute(&mut *connection)
                .await;
            made.expect("a template");
        }
        schema::migrate(&of(server, &half)).await.expect("the schema");
        let rename = format!("ALTER DATABASE {half} RENAME TO {TEMPLATE}");
        let renamed = sqlx::query(AssertSqlSafe(rename)).execute(&mut *connection).await;
        renamed.expect("a name for the template");
    }
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await
        .expect("unlocked");
}

impl Drop for OwnDatabase {
    /// On a thread of its own, because the test's runtime is the one that waits. Who is still connected is thrown out.
    fn drop(&mut self) {
        let (server, statement) = (
            self.server.clone(),
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await?;
                sqlx::query(AssertSqlSafe(statement))
                    .execute(&mut connection)
                    .await?;
                connection.close().await
            })?;
            Ok::<_, anyhow::Error>(())
        });
        // A test may have stopped Postgres; then its databases go with the whole run.
        if let Ok(Err(error)) = dropping.join() {
            tracing::warn!(%error, "a test's database stays");
        }
    }
}

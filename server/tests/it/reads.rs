//! Everybody asks for the same sale at once: real processes, which share one Redis and one Postgres.

use chrono::{TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const DEADLINE: Duration = Duration::from_secs(30);
/// `LIFE` of showcase.rs.
const LIFE_S: f64 = 1.0;

struct Process {
    child: Child,
    url: String,
    operations: String,
    http: reqwest::Client,
    data_dir: PathBuf,
}

/// A folder that Postgres' own user can reach: its cluster is in it then, and goes with it.
fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    folder
}

impl Process {
    async fn start(data_dir: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flashsale"))
            .args([
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--storefront-listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(data_dir)
            .args(flags)
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut address_of = async |word: &str| {
            let line = tokio::time::timeout(DEADLINE, lines.next_line())
                .await
                .expect("in time");
            let line = line.expect("a line").expect("a line");
            line.strip_prefix(word).expect("its word").to_owned()
        };
        let url = address_of("ready ").await;
        let operations = address_of("operations ").await;
        let http = flashsale::tls::client();
        let data_dir = data_dir.to_owned();
        Self {
            child,
            url,
            operations,
            http,
            data_dir,
        }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self
            .http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .expect("an answer");
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or(Value::Null),
        )
    }

    async fn create_sale(&self) -> String {
        let post = async |path: &str, token: &str, body: Value| -> Value {
            let url = format!("{}{path}", self.url);
            let request = self.http.post(url).bearer_auth(token).json(&body);
            request
                .send()
                .await
                .expect("an answer")
                .json()
                .await
                .expect("JSON")
        };
        let operator = Command::new(env!("CARGO_BIN_EXE_flashsale"))
            .args(["token", "--sub", "boss", "--role", "admin", "--data-dir"])
            .arg(&self.data_dir)
            .output()
            .await
            .expect("runs");
        let operator = String::from_utf8(operator.stdout).expect("a token");
        let now = Utc::now();
        let body = json!({
            "product_name": "Thing", "currency": "EUR", "original_price": 200, "sale_price": 100, "total_stock": 5, "lanes": 4,
            "start_time": (now - TimeDelta::seconds(1)).to_rfc3339(), "end_time": (now + TimeDelta::hours(1)).to_rfc3339(),
        });
        let sale = post("/admin/sales", operator.trim(), body).await;
        sale["sale_id"].as_str().expect("an id").to_owned()
    }

    /// How often this process has asked Postgres for sales to show, by its own count.
    async fn looks(&self) -> u64 {
        let answer = self
            .http
            .get(format!("{}/metrics", self.operations))
            .send()
            .await
            .expect("an answer");
        let text = answer.text().await.expect("text");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("flashsale_sale_reads_total{from=\"postgres\"} "));
        line.map_or(0, |count| count.parse().expect("a number"))
    }

    async fn stop(mut self) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(pid as i32), Signal::SIGTERM).expect("ours");
        tokio::time::timeout(DEADLINE, self.child.wait())
            .await
            .expect("in time")
            .expect("ends");
    }
}

/// How often Postgres has read the table of sales, by its own count: sessions tell of it when they end.
async fn scans(database: &str) -> i64 {
    let pool = PgPool::connect(database).await.expect("Postgres");
    // New ones may come at once: the sandbox looks into its books. They do not read sales.
    let pids: Vec<i32> =
        sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE application_name = 'flashsale'")
            .fetch_all(&pool)
            .await
            .expect("Postgres");
    sqlx::query("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid")
        .bind(&pids)
        .execute(&pool)
        .await
        .expect("Postgres");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)";
    let ended = async {
        while sqlx::query_scalar::<_, i64>(left)
            .bind(&pids)
            .fetch_one(&pool)
            .await
            .expect("Postgres")
            > 0
        {}
    };
    tokio::time::timeout(DEADLINE, ended).await.expect("in time");
    let scans = "SELECT (seq_scan + idx_scan)::bigint FROM pg_stat_user_tables WHERE relname = 'sale_lanes'";
    let scans = sqlx::query_scalar(scans)
        .fetch_one(&pool)
        .await
        .expect("Postgres");
    pool.close().await;
    scans
}

/// Reads a path from both processes, 500 at a time, so often and for so long at least. How long it took.
async fn crowd(processes: &[Process; 2], path: &str, reads: usize, least: Duration) -> Duration {
    let began = Instant::now();
    let more = |i: &usize| std::future::ready(*i < reads || began.elapsed() < least);
    stream::iter(0..)
        .take_while(more)
        .for_each_concurrent(500, async |i| {
            let (status, body) = processes[i % 2].get(path).await;
            assert_eq!((status, &body["stale"]), (200, &Value::Null), "{body}");
        })
        .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_readers_of_two_processes_at_expiry_reach_postgres_a_handful_of_times() {
    let (scratch, other) = (scratch(), scratch());
    let first = Process::start(
        scratch.path(),
        &["--roles", "gateway", "--request-burst", "100000"],
    )
    .await;
    let (database, redis) = flashsale::embedded::urls(scratch.path()).expect("a folder");
    let flags = [
        "--roles",
        "gateway",
        "--request-burst",
        "100000",
        "--database-url",
        &database,
        "--redis-url",
        &redis,
    ];
    let processes = [first, Process::start(other.path(), &flags).await];
    let sale = processes[0].create_sale().await;
    let looks = async || processes[0].looks().await + processes[1].looks().await;
    let (scans_before, looks_before) = (scans(&database).await, looks().await);

    // Nobody has looked yet: one does, and all others get what it finds.
    let path = format!("/flash-sales/{sale}");
    let took = crowd(&processes, &path, 200, Duration::ZERO).await;
    let cold = looks().await - looks_before;
    let lives = |took: Duration| (took.as_secs_f64() / LIFE_S * 1.3) as u64;
    assert!(cold == 1 || cold <= 1 + lives(took), "{cold} looks in {took:?}");

    // And again while what was found expires, several times.
    for (path, reads) in [(path.as_str(), 10_000), ("/flash-sales", 1_000)] {
        let before = looks().await;
        let took = crowd(&processes, path, reads, Duration::from_secs(3)).await;
        let reached = looks().await - before;
        println!("{reads} reads or more of {path} in {took:?}: {reached} of them reached Postgres");
        assert!(
            (2..=2 + lives(took)).contains(&reached),
            "{reached} looks in {took:?}"
        );
    }
    let (all_scans, all_looks) = (
        scans(&database).await - scans_before,
        looks().await - looks_before,
    );
    assert_eq!(all_scans as u64, all_looks, "Postgres counts the same");
    let [first, second] = processes;
    second.stop().await;
    first.stop().await;
}

/// Reads a sale until its answer is marked as stale, or no longer; every answer comes soon.
async fn until_stale(process: &Process, path: &str, stale: bool) {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let (status, body) = process.get(path).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert_eq!((status, &body["stock"]), (200, &json!(5)), "{body}");
        if (body["stale"] == true) == stale {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{body}");
    }
}

#[tokio::test]
async fn while_redis_or_postgres_is_away_the_last_known_sale_is_shown_and_marked() {
    let scratch = scratch();
    let process = Process::start(scratch.path(), &["--request-burst", "100000"]).await;
    let (database, _) = flashsale::embedded::urls(scratch.path()).expect("a folder");
    let path = format!("/flash-sales/{}", process.create_sale().await);
    until_stale(&process, &path, false).await;

    let pid = std::fs::read_to_string(scratch.path().join("redis/redis.pid")).expect("a pid");
    let redis = Pid::from_raw(pid.trim().parse().expect("a number"));
    kill(redis, Signal::SIGSTOP).expect("ours");
    until_stale(&process, &path, true).await;
    let (status, body) = process.get("/flash-sales/01ARZ3NDEKTSV4RRFFQ69G5FAV").await;
    assert_eq!((status, &body["code"]), (404, &json!("sale_unknown")), "{body}");
    kill(redis, Signal::SIGCONT).expect("ours");
    until_stale(&process, &path, false).await;

    let elsewhere = database.replacen("/flashsale?", "/postgres?", 1);
    let pool = PgPool::connect(&elsewhere).await.expect("Postgres");
    let allow = async |allowed: bool| {
        // One after the other: who is cut off before the change is committed would be let in again.
        for sql in [
            format!("ALTER DATABASE flashsale ALLOW_CONNECTIONS {allowed}"),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'flashsale'".to_owned(),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(&pool)
                .await
                .expect("Postgres");
        }
    };
    allow(false).await;
    until_stale(&process, &path, true).await;
    // It may be a sale that another process has just made.
    let (status, body) = process.get("/flash-sales/01ARZ3NDEKTSV4RRFFQ69G5FAW").await;
    assert_eq!((status, &body["code"]), (503, &json!("unavailable")), "{body}");
    assert!(body["retry_after_ms"].is_u64(), "{body}");
    allow(true).await;
    until_stale(&process, &path, false).await;
    process.stop().await;
}

//! Where and when the figures were made; without that they mean nothing.

use anyhow::Result;
use chrono::{SecondsFormat, Utc};
use flashsale_engine::stock::Stock;
use fred::interfaces::ClientLike;
use fred::types::InfoKind;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use std::{fs, process::Command};

#[derive(Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub redis: String,
    /// The version, with the settings that decide what "durable" means.
    pub postgres: String,
    /// Load averages over one minute, at the start and at the end. Above the number of cores, other programs were busy too.
    pub load_at_start: f64,
    pub load_at_end: f64,
    pub date: String,
    pub commit: String,
    pub build: String,
}

impl Machine {
    pub async fn look(database_url: &str, redis_url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(database_url).await?;
        let mut setting = async |name: &str| -> Result<String> {
            Ok(sqlx::query_scalar::<_, String>("SELECT current_setting($1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await?)
        };
        let postgres = format!(
            "{}, fsync {}, synchronous_commit {}",
            setting("server_version").await?,
            setting("fsync").await?,
            setting("synchronous_commit").await?
        );
        let stock = Stock::connect(redis_url, "").await?;
        let info: String = stock.client().info(Some(InfoKind::Server)).await?;
        stock.quit().await;
        let redis = after(&info, "redis_version:");
        Ok(Self {
            cpu: after(&text("/proc/cpuinfo"), "model name\t:"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kib(&after(&text("/proc/meminfo"), "MemTotal:")).div_ceil(1 << 20),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            redis: format!("{redis}, append-only file, fsync every second"),
            postgres,
            load_at_start: load(),
            load_at_end: 0.0,
            date: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
            commit: commit(),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .into(),
        })
    }

    pub fn finished(&mut self) {
        self.load_at_end = load();
    }

    pub fn line(&self) -> String {
        format!(
            "{} × {}, load {}, {} build, Redis {}, Postgres {}",
            self.cores, self.cpu, self.load_at_start, self.build, self.redis, self.postgres
        )
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The text after a label, up to the end of its line.
fn after(text: &str, label: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.unwrap_or("unknown").trim().to_owned()
}

fn kib(size: &str) -> u64 {
    size.trim_end_matches(" kB").parse().unwrap_or(0)
}

fn load() -> f64 {
    let text = text("/proc/loadavg");
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or(0.0)
}

/// The commit checked out here, marked if there are changes on top.
fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".into(),
    }
}

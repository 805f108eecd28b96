//! Where a run happens: a private Postgres and Redis (or a cluster), one gateway and one worker, each a process of its own. The
//! sandbox provider's books have a Postgres for themselves: they stand for somebody else's machine.

use crate::{
    cluster::Cluster,
    resp,
    target::{TEST_MONEY, Target},
    watch::crowd::RemoteEnd,
};
use anyhow::{Context, Result};
use flashsale::embedded::{Private, Services};
use flashsale_engine::stock::Stock;
use fred::{interfaces::ClientLike, types::InfoKind};
use sqlx::{Connection, PgConnection};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

/// A shopper who waits sends nothing for a long time.
const IDLE: Duration = Duration::from_secs(3_600);
/// Longest time for the disk's own figure.
const FSYNC_DEADLINE: Duration = Duration::from_secs(20);
const BOTH_HALVES: Private = Private {
    postgres: true,
    redis: true,
};

pub struct Site {
    pub target: Target,
    pub gateway: RemoteEnd,
    pub worker: RemoteEnd,
    pub redis: Redis,
    pub database_url: String,
    pub provider_url: String,
    /// Whether Postgres tells what it was asked.
    pub counts_statements: bool,
    operations: [String; 2],
    http: reqwest::Client,
    provider: Services,
    _provider_scratch: TempDir,
}

/// The nodes of Redis.
pub struct Redis {
    /// The masters first.
    pub pids: Vec<u32>,
    pub masters: usize,
    at: At,
}

enum At {
    Alone(Box<Stock>),
    Nodes(Vec<SocketAddr>),
}

impl Redis {
    async fn alone(url: &str) -> Result<Self> {
        let stock = Stock::connect(url, "").await?;
        let info: String = stock.client().info(Some(InfoKind::Server)).await?;
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:"));
        Ok(Self {
            pids: vec![pid.context("Redis tells no process id")?.trim().parse()?],
            masters: 1,
            at: At::Alone(Box::new(stock)),
        })
    }

    fn nodes(cluster: &Cluster, masters: usize) -> Self {
        let (addresses, pids) = cluster.processes().unzip();
        Self {
            pids,
            masters,
            at: At::Nodes(addresses),
        }
    }

    /// What each node tells of its commands.
    pub async fn infos(&self) -> Result<Vec<String>> {
        match &self.at {
            At::Alone(stock) => {
                let client = stock.client();
                let mut info: String = client.info(Some(InfoKind::CommandStats)).await?;
                info += &client.info::<String>(Some(InfoKind::Stats)).await?;
                Ok(vec![info])
            }
            At::Nodes(addresses) => {
                let mut infos = Vec::new();
                for address in addresses {
                    infos.push(resp::ask(*address, &["INFO", "all"]).await?.text());
                }
                Ok(infos)
            }
        }
    }
}

impl Site {
    /// Starts everything, with this server. `masters`: more than one are a cluster.
    pub async fn start(binary: &Path, masters: usize) -> Result<Self> {
        let (scratch, provider_scratch) = (scratch()?, scratch()?);
        let counts_statements = count_statements(scratch.path()).await?;
        let cluster = match masters {
            1 => None,
            _ => {
                let dir = scratch.path().join("cluster");
                Some(Cluster::of_masters(masters, &dir, false).await?)
            }
        };
        let private = Private {
            redis: cluster.is_none(),
            ..BOTH_HALVES
        };
        let services = Services::start_only(scratch.path(), private).await?;
        let books = Private {
            redis: false,
            ..BOTH_HALVES
        };
        let provider = Services::start_only(provider_scratch.path(), books).await?;
        let provider_url = provider.database_url.clone();
        let redis = match &cluster {
            Some(cluster) => Redis::nodes(cluster, masters),
            None => Redis::alone(&services.redis_url).await?,
        };
        let database_url = services.database_url.clone();
        let mut target = Target::of_stores(services, cluster, scratch);
        let start = async |role| RemoteEnd::start(server(binary, &target, &provider_url, role)?, None).await;
        // The first one brings the schema.
        let mut worker = start("worker").await?;
        let mut gateway = start("gateway").await?;
        target.url = format!("http://{}", gateway.address);
        Ok(Self {
            operations: [gateway.operations().await?, worker.operations().await?],
            target,
            gateway,
            worker,
            redis,
            database_url,
            provider_url,
            counts_statements,
            http: flashsale::tls::client(),
            provider,
            _provider_scratch: provider_scratch,
        })
    }

    /// The metrics of the gateway and of the worker.
    pub async fn metrics(&self) -> Result<[String; 2]> {
        let ask = async |url: &str| -> Result<String> {
            let answer = self.http.get(format!("{url}/metrics")).send().await?;
            Ok(answer.error_for_status()?.text().await?)
        };
        Ok([ask(&self.operations[0]).await?, ask(&self.operations[1]).await?])
    }

    /// Stops the servers; the stores stay.
    pub async fn stop_servers(&mut self) -> Result<()> {
        self.gateway.terminate().await?;
        self.worker.terminate().await?;
        Ok(())
    }

    pub async fn stop(self) -> Result<()> {
        if let At::Alone(stock) = &self.redis.at {
            stock.quit().await;
        }
        self.target.stop().await?;
        self.provider.stop().await;
        Ok(())
    }
}

fn server(binary: &Path, target: &Target, provider_url: &str, role: &str) -> Result<Command> {
    let (database, redis) = target.stores()?;
    let mut command = Command::new(binary);
    command
        .args(["serve", "--roles", role, "--listen", "127.0.0.1:0"])
        .args(["--idle-timeout-ms", &IDLE.as_millis().to_string(), "--data-dir"])
        .arg(&target.data_dir)
        .env(TEST_MONEY.0, TEST_MONEY.1)
        .env("FLASHSALE_SANDBOX_DATABASE_URL", provider_url)
        .env("DATABASE_URL", database)
        .env("REDIS_URL", redis);
    Ok(command)
}

/// A folder that Postgres' own user can enter.
fn scratch() -> Result<TempDir> {
    let scratch = tempfile::tempdir()?;
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
    Ok(scratch)
}

/// Has the Postgres of this folder count its statements from its next start on. False: it cannot.
async fn count_statements(folder: &Path) -> Result<bool> {
    let postgres = Private {
        redis: false,
        ..BOTH_HALVES
    };
    let services = Services::start_only(folder, postgres).await?;
    let mut connection = PgConnection::connect(&services.database_url).await?;
    let can: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')",
    )
    .fetch_one(&mut connection)
    .await?;
    if can {
        for statement in [
            "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'",
            "CREATE EXTENSION pg_stat_statements",
        ] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
    }
    connection.close().await?;
    services.stop().await;
    Ok(can)
}

/// Writes to the disk that are safe, a second, one after the other: as Postgres' own program says for fdatasync of one page. None:
/// there is no such program.
pub async fn fsyncs_per_s() -> Option<f64> {
    let folder = tempfile::tempdir().ok()?;
    let mut child = Command::new(pg_test_fsync()?)
        .args(["--secs-per-test", "1", "--filename"])
        .arg(folder.path().join("fsync"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let read = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(rate) = fdatasync_of(&line) {
                return Some(rate);
            }
        }
        None
    };
    let rate = tokio::time::timeout(FSYNC_DEADLINE, read).await.ok().flatten();
    let _ = child.kill().await;
    rate
}

fn fdatasync_of(line: &str) -> Option<f64> {
    let mut words = line.split_whitespace();
    (words.next()? == "fdatasync").then(|| words.next()?.parse().ok())?
}

/// Beside the server's other programs, which Debian keeps out of PATH.
fn pg_test_fsync() -> Option<PathBuf> {
    let name = Path::new("bin/pg_test_fsync");
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&in_path)
        .map(|folder| folder.join("pg_test_fsync"))
        .collect();
    versions
        .map(|version| version.path().join(name))
        .chain(in_path)
        .find(|program| program.exists())
}

#[cfg(test)]
mod tests {
    use super::fdatasync_of;

    #[test]
    fn the_disks_figure_is_read_from_its_line() {
        let line = "        fdatasync                          1520.395 ops/sec     658 usecs/op";
        assert_eq!(fdatasync_of(line), Some(1520.395));
        assert_eq!(
            fdatasync_of("        fsync      1391.2 ops/sec     719 usecs/op"),
            None
        );
        assert_eq!(fdatasync_of(""), None);
    }
}

//! The server under load: a running one, or our own on a scratch folder.

use crate::{cluster::Cluster, patience};
use anyhow::{Context, Result, bail};
use flashsale::embedded::{Private, Services};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const START_DEADLINE: Duration = Duration::from_secs(90);

/// The server's address, and access to manage it.
pub struct Target {
    pub url: String,
    pub data_dir: PathBuf,
    pub database_url: Option<String>,
    pub redis_url: Option<String>,
    server: Option<Own>,
    /// Without our own server: the stores of its processes.
    services: Option<(Services, Option<Cluster>, TempDir)>,
    http: reqwest::Client,
}

/// A server of our own.
struct Own {
    child: Child,
    binary: PathBuf,
    cluster: Option<Cluster>,
    scratch: TempDir,
}

impl Target {
    /// A running server; its data folder gives the tokens.
    pub fn running(url: String, data_dir: PathBuf) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            data_dir,
            database_url: std::env::var("DATABASE_URL").ok(),
            redis_url: std::env::var("REDIS_URL").ok(),
            server: None,
            services: None,
            http: flashsale::tls::client(),
        }
    }

    /// Starts `flashsale serve` with its defaults on a scratch folder; `cluster`: with its own Redis Cluster.
    pub async fn start(cluster: bool) -> Result<Self> {
        let binary = server_binary().await?;
        let scratch = tempfile::tempdir()?;
        let cluster = match cluster {
            true => Some(Cluster::start(&scratch.path().join("cluster"), false).await?),
            false => None,
        };
        let redis_url = cluster.as_ref().map(Cluster::url);
        let (child, url) = spawn(&binary, scratch.path(), redis_url.as_deref(), "127.0.0.1:0").await?;
        let mut target = Self::running(url, scratch.path().to_owned());
        (target.database_url, target.redis_url) = (None, redis_url);
        target.server = Some(Own {
            child,
            binary,
            cluster,
            scratch,
        });
        Ok(target)
    }

    /// A private Postgres and Redis (or a cluster) on a scratch folder, for processes that are started separately.
    pub async fn stores_only(cluster: bool) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let private = Private {
            postgres: true,
            redis: !cluster,
        };
        let services = Services::start_only(scratch.path(), private).await?;
        let cluster = match cluster {
            true => Some(Cluster::start(&scratch.path().join("cluster"), false).await?),
            false => None,
        };
        Ok(Self::of_stores(services, cluster, scratch))
    }

    /// These stores, for processes that are started separately; with a cluster, its Redis instead of the services'.
    pub fn of_stores(services: Services, cluster: Option<Cluster>, scratch: TempDir) -> Self {
        let mut target = Self::running(String::new(), scratch.path().to_owned());
        target.database_url = None;
        target.redis_url = cluster.as_ref().map(Cluster::url);
        target.services = Some((services, cluster, scratch));
        target
    }

    /// Kills our own server without warning, and starts it again on the same folder and address. Returns the time until it was
    /// ready again.
    pub async fn crash(&mut self) -> Result<Duration> {
        let own = self
            .server
            .as_mut()
            .context("only a server of our own is killed")?;
        own.child.kill().await?;
        let killed = Instant::now();
        let address = self.url.trim_start_matches("http://");
        let redis_url = self.redis_url.as_deref();
        (own.child, _) = spawn(&own.binary, own.scratch.path(), redis_url, address).await?;
        Ok(killed.elapsed())
    }

    /// The process id of our own server.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().and_then(|own| own.child.id())
    }

    /// The addresses of the stores: the given ones, or the data folder's private ones, as for the server itself.
    pub fn stores(&self) -> Result<(String, String)> {
        let (database, redis) = flashsale::embedded::urls(&self.data_dir)?;
        Ok((
            self.database_url.clone().unwrap_or(database),
            self.redis_url.clone().unwrap_or(redis),
        ))
    }

    /// Creates a sale and returns its id.
    pub async fn create_sale(&self, token: &str, sale: &Value) -> Result<String> {
        let request = self
            .http
            .post(format!("{}/admin/sales", self.url))
            .bearer_auth(token)
            .json(sale);
        let response = patience::send(request).await?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or(json!({}));
        body["sale_id"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no sale was created ({status}): {body}"))
    }

    /// Ends our own server in order.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(mut own) = self.server.take() {
            if let Some(pid) = own.child.id() {
                Command::new("kill")
                    .args(["-TERM", &pid.to_string()])
                    .status()
                    .await?;
            }
            own.child.wait().await?;
            if let Some(cluster) = &mut own.cluster {
                cluster.stop().await?;
            }
        }
        if let Some((services, cluster, _scratch)) = self.services.take() {
            services.stop().await;
            if let Some(mut cluster) = cluster {
                cluster.stop().await?;
            }
        }
        Ok(())
    }
}

/// What servers are told by the environment, so that those of earlier releases start as well: orders are paid with test cards.
pub const TEST_MONEY: (&str, &str) = ("FLASHSALE_PAYMENTS", "sandbox");

/// A ready server process, and its address.
async fn spawn(
    binary: &Path,
    data_dir: &Path,
    redis_url: Option<&str>,
    listen: &str,
) -> Result<(Child, String)> {
    let mut command = Command::new(binary);
    command
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir);
    if let Some(url) = redis_url {
        command.args(["--redis-url", url]);
    }
    let mut child = command
        .env(TEST_MONEY.0, TEST_MONEY.1)
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let stdout = child.stdout.take().context("the server has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let url = tokio::time::timeout(START_DEADLINE, async {
        while let Some(line) = lines.next_line().await? {
            if let Some(url) = line.strip_prefix("ready ") {
                return Ok(url.to_owned());
            }
        }
        bail!("the server ended before it was ready")
    })
    .await
    .context("the server was not ready in time")??;
    Ok((child, url))
}

/// The server binary named by FLASHSALE_BIN; without it, the one next to this program, built if it is missing.
pub async fn server_binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("FLASHSALE_BIN") {
        return Ok(binary.into());
    }
    let here = std::env::current_exe()?;
    let binary = here.parent().unwrap_or(Path::new(".")).join("flashsale");
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--package", "flashsale"]);
    if here.components().any(|part| part.as_os_str() == "release") {
        build.arg("--release");
    }
    build.env("SQLX_OFFLINE", "true");
    // In a checkout the server is built first; elsewhere the existing one is used.
    let built =
        Path::new("server/Cargo.toml").exists() && build.status().await.is_ok_and(|status| status.success());
    if !built && !binary.exists() {
        bail!(
            "there is no server at {}: run this from the project's folder",
            binary.display()
        );
    }
    Ok(binary)
}

/// Tokens are signed with the data folder's secret, or with the server's given one.
pub fn identity() -> flashsale::config::Identity {
    flashsale::config::Identity::of_secret(std::env::var("FLASHSALE_JWT_SECRET").ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_is_the_given_one_or_the_folders() {
        let data = tempfile::tempdir().expect("a folder");
        let (private_database, private_redis) = flashsale::embedded::urls(data.path()).expect("a folder");
        let mut target = Target::running("http://127.0.0.1:1".into(), data.path().to_owned());
        let (database, redis) = ("postgres://given".to_owned(), "redis://given".to_owned());
        for (given_database, given_redis) in [
            (None, None),
            (Some(&database), None),
            (None, Some(&redis)),
            (Some(&database), Some(&redis)),
        ] {
            (target.database_url, target.redis_url) = (given_database.cloned(), given_redis.cloned());
            let expected = (
                given_database.unwrap_or(&private_database).clone(),
                given_redis.unwrap_or(&private_redis).clone(),
            );
            assert_eq!(target.stores().expect("a folder"), expected);
        }
    }
}

//! The server under load: one that is there, or one of our own on a scratch folder.

use anyhow::{Context, Result, bail};
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

/// Where the server is, and who may steer it.
pub struct Target {
    pub url: String,
    pub data_dir: PathBuf,
    pub database_url: Option<String>,
    pub redis_url: Option<String>,
    server: Option<Own>,
    http: reqwest::Client,
}

/// A server of our own.
struct Own {
    child: Child,
    binary: PathBuf,
    scratch: TempDir,
}

impl Target {
    /// A server that runs already; its data folder gives the tokens.
    pub fn running(url: String, data_dir: PathBuf) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            data_dir,
            database_url: std::env::var("DATABASE_URL").ok(),
            redis_url: std::env::var("REDIS_URL").ok(),
            server: None,
            http: reqwest::Client::new(),
        }
    }

    /// Starts `flashsale serve` with its defaults on a scratch folder.
    pub async fn start() -> Result<Self> {
        let binary = server_binary().await?;
        let scratch = tempfile::tempdir()?;
        let (child, url) = spawn(&binary, scratch.path(), "127.0.0.1:0").await?;
        let mut target = Self::running(url, scratch.path().to_owned());
        (target.database_url, target.redis_url) = (None, None);
        target.server = Some(Own {
            child,
            binary,
            scratch,
        });
        Ok(target)
    }

    /// Kills a server of our own with no chance to say anything, and starts it again on the same folder and address.
    /// How long until it was ready again.
    pub async fn crash(&mut self) -> Result<Duration> {
        let own = self
            .server
            .as_mut()
            .context("only a server of our own is killed")?;
        own.child.kill().await?;
        let killed = Instant::now();
        let address = self.url.trim_start_matches("http://");
        (own.child, _) = spawn(&own.binary, own.scratch.path(), address).await?;
        Ok(killed.elapsed())
    }

    /// The address of the stores: given, or the private ones of the data folder.
    pub fn stores(&self) -> Result<(String, String)> {
        match (&self.database_url, &self.redis_url) {
            (Some(database), Some(redis)) => Ok((database.clone(), redis.clone())),
            _ => Ok(flashsale::embedded::urls(&self.data_dir)?),
        }
    }

    /// Creates a sale and returns its id.
    pub async fn create_sale(&self, token: &str, sale: &Value) -> Result<String> {
        let response = self
            .http
            .post(format!("{}/admin/sales", self.url))
            .bearer_auth(token)
            .json(sale)
            .send()
            .await?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or(json!({}));
        body["sale_id"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no sale was created ({status}): {body}"))
    }

    /// Ends a server of our own in order.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(mut own) = self.server.take() {
            if let Some(pid) = own.child.id() {
                Command::new("kill")
                    .args(["-TERM", &pid.to_string()])
                    .status()
                    .await?;
            }
            own.child.wait().await?;
        }
        Ok(())
    }
}

/// A server process that is ready, and its address.
async fn spawn(binary: &Path, data_dir: &Path, listen: &str) -> Result<(Child, String)> {
    let mut child = Command::new(binary)
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir)
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

/// The server that FLASHSALE_BIN names; without it the one beside this program, built if it is not there.
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
    // In a checkout the server is brought up to date; elsewhere the one beside us is used.
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

//! The processes under test: two gateways, a worker, Redis with a replica, Postgres, and the links between them.

use crate::{
    cluster::Cluster,
    proxy::{Proxy, Target, Upstream},
    target::TEST_MONEY,
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
pub const SECRET: &str = "chaos-chaos-chaos-chaos-chaos-chaos";

/// One server process and its own links to the stores.
pub struct Server {
    pub name: &'static str,
    role: &'static str,
    pub listen: SocketAddr,
    pub to_redis: Proxy,
    pub to_postgres: Proxy,
    child: Option<Child>,
    /// The error of its host's clock, in ms.
    pub clock_offset_ms: i64,
}

pub struct Redis {
    pub address: SocketAddr,
    dir: PathBuf,
    child: Option<Child>,
}

pub struct World {
    scratch: TempDir,
    binary: PathBuf,
    pub servers: Vec<Server>,
    /// Shoppers reach the gateways through these.
    pub doors: Vec<Proxy>,
    pub redis: [Redis; 2],
    /// Used instead of the two.
    pub cluster: Option<Cluster>,
    /// Which of the two is the primary.
    pub primary: usize,
    redis_target: Target,
    postgres: std::process::Child,
    postgres_target: Target,
    pub database_url: String,
    /// The payment provider's own Postgres, which keeps what ours loses.
    provider: Option<std::process::Child>,
    pub provider_url: Option<String>,
    /// A deliberate defect of the servers (debug builds only).
    mutation: Option<&'static str>,
    /// `--payments`.
    payments: &'static str,
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl World {
    /// `forgetful`: Postgres will be put back to earlier moments, so the payment provider gets its own.
    pub async fn start(
        binary: PathBuf,
        mutation: Option<&'static str>,
        cluster: bool,
        forgetful: bool,
        payments: &'static str,
    ) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let dir = scratch.path();
        // Postgres' own user must be able to enter.
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let (postgres, socket) = flashsale::embedded::start_postgres_alone(&dir.join("pg")).await?;
        let database_url = url(&socket);
        let (mut provider, mut provider_url) = (None, None);
        if forgetful {
            let (child, socket) = flashsale::embedded::start_postgres_alone(&dir.join("provider")).await?;
            (provider, provider_url) = (Some(child), Some(url(&socket)));
        }
        let postgres_target = Arc::new(Mutex::new(Upstream::Unix(socket)));
        let redis = [Redis::new(dir.join("redis-a"))?, Redis::new(dir.join("redis-b"))?];
        let redis_target = Arc::new(Mutex::new(Upstream::Tcp(redis[0].address)));
        let cluster = match cluster {
            true => Some(Cluster::start(&dir.join("cluster"), true).await?),
            false => None,
        };
        let mut servers = Vec::new();
        for (name, role) in [
            ("gateway 1", "gateway"),
            ("gateway 2", "gateway"),
            ("worker", "worker"),
        ] {
            servers.push(Server {
                name,
                role,
                listen: free_port()?,
                to_redis: Proxy::start(redis_target.clone()).await?,
                to_postgres: Proxy::start(postgres_target.clone()).await?,
                child: None,
                clock_offset_ms: 0,
            });
        }
        let mut doors = Vec::new();
        for server in servers.iter().filter(|server| server.role == "gateway") {
            doors.push(Proxy::start(Arc::new(Mutex::new(Upstream::Tcp(server.listen)))).await?);
        }
        let mut world = Self {
            scratch,
            binary,
            servers,
            doors,
            redis,
            cluster,
            primary: 0,
            redis_target,
            postgres,
            postgres_target,
            database_url,
            provider,
            provider_url,
            mutation,
            payments,
        };
        if world.cluster.is_none() {
            world.redis[0].start(None).await?;
            let primary = world.redis[0].address;
            world.redis[1].start(Some(primary)).await?;
        }
        for i in 0..world.servers.len() {
            world.start_server(i).await?;
        }
        Ok(world)
    }

    pub fn redis_url(&self) -> String {
        let one = || format!("redis://{}", self.redis[self.primary].address);
        self.cluster.as_ref().map_or_else(one, Cluster::url)
    }

    /// The address of a gateway itself, for operators.
    pub fn gateway(&self, i: usize) -> String {
        format!("http://{}", self.servers[i].listen)
    }

    /// Starts a server that is not running, and waits until it is ready.
    pub async fn start_server(&mut self, i: usize) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.scratch.path().join("servers.log"))?;
        let server = &mut self.servers[i];
        let one = || format!("redis://{}", server.to_redis.address);
        let redis_url = self.cluster.as_ref().map_or_else(one, Cluster::url);
        let mut child = Command::new(&self.binary)
            .args([
                "serve",
                "--roles",
                server.role,
                "--listen",
                &server.listen.to_string(),
            ])
            .arg("--data-dir")
            .arg(self.scratch.path().join("data"))
            .arg("--clock-offset-ms")
            .arg(server.clock_offset_ms.to_string())
            .args(["--payment-timeout-ms", "500", "--sandbox-slow-ms", "1500"])
            .env(
                "DATABASE_URL",
                format!(
                    "postgres://flashsale@{}/flashsale?sslmode=disable",
                    server.to_postgres.address
                ),
            )
            .env(TEST_MONEY.0, self.payments)
            .env("REDIS_URL", redis_url)
            .envs(
                self.provider_url
                    .iter()
                    .map(|url| ("FLASHSALE_SANDBOX_DATABASE_URL", url)),
            )
            .env("FLASHSALE_JWT_SECRET", SECRET)
            .env("FLASHSALE_MUTATION", self.mutation.unwrap_or_default())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        server.child = Some(child);
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with("ready ") {
                    return Ok(());
                }
            }
            bail!("it ended before it was ready")
        };
        tokio::time::timeout(START_DEADLINE, ready)
            .await
            .context("not ready in time")?
            .with_context(|| format!("{} did not start", server.name))
    }

    pub async fn kill_server(&mut self, i: usize) -> Result<()> {
        if let Some(mut child) = self.servers[i].child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    pub fn server_pid(&self, i: usize) -> Option<u32> {
        self.servers[i].child.as_ref().and_then(Child::id)
    }

    pub fn postgres_pids(&self) -> Vec<u32> {
        let pid = self.postgres.id();
        let mut pids = vec![pid];
        // Its backends are its children.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        pids.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        pids
    }

    /// Kills Postgres with all its backends, and starts it again.
    pub async fn restart_postgres(&mut self, away: Duration) -> Result<()> {
        self.kill_postgres().await;
        tokio::time::sleep(away).await;
        self.start_postgres().await
    }

    /// Kills Postgres, copies its files and starts it again. After it has run for a while, replaces its files by the copy.
    pub async fn restore_postgres(&mut self, tail: Duration) -> Result<()> {
        let (own, older) = (
            self.scratch.path().join("pg"),
            self.scratch.path().join("pg-older"),
        );
        let _ = fs::remove_dir_all(&older);
        self.kill_postgres().await;
        // The copy keeps the owner, who is not us.
        let copied = Command::new("cp")
            .arg("--archive")
            .args([&own, &older])
            .status()
            .await?;
        if !copied.success() {
            bail!("the files of Postgres cannot be copied");
        }
        self.start_postgres().await?;
        tokio::time::sleep(tail).await;
        self.kill_postgres().await;
        fs::remove_dir_all(&own)?;
        fs::rename(&older, &own)?;
        self.start_postgres().await
    }

    async fn kill_postgres(&mut self) {
        for pid in self.postgres_pids() {
            signal(pid, "KILL").await;
        }
        let _ = self.postgres.wait();
    }

    async fn start_postgres(&mut self) -> Result<()> {
        let (postgres, socket) =
            flashsale::embedded::start_postgres_alone(&self.scratch.path().join("pg")).await?;
        self.postgres = postgres;
        set(&self.postgres_target, Upstream::Unix(socket));
        Ok(())
    }

    /// A copy of the primary's files, to go back to.
    pub fn save_redis_files(&self) -> Result<()> {
        let to = self.scratch.path().join("redis-older");
        let _ = fs::remove_dir_all(&to);
        copy_dir(&self.redis[self.primary].dir, &to)
    }

    pub async fn kill_redis(&mut self) -> Result<()> {
        if let Some(mut child) = self.redis[self.primary].child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Starts the primary again: with its files, without files, or with the saved ones.
    pub async fn start_redis(&mut self, files: Files) -> Result<()> {
        let dir = self.redis[self.primary].dir.clone();
        match files {
            Files::Own => {}
            Files::None => fs::remove_dir_all(&dir)?,
            Files::Older => {
                let older = self.scratch.path().join("redis-older");
                if older.exists() {
                    fs::remove_dir_all(&dir)?;
                    copy_dir(&older, &dir)?;
                }
            }
        }
        self.redis[self.primary].start(None).await
    }

    /// The replica stops following; the primary goes on for a while and dies; the replica takes over without that tail. The old
    /// primary comes back as its replica.
    pub async fn promote(&mut self, tail: Duration) -> Result<()> {
        let (old, new) = (self.primary, 1 - self.primary);
        self.redis[new].command("REPLICAOF NO ONE").await?;
        tokio::time::sleep(tail).await;
        self.kill_redis().await?;
        self.primary = new;
        set(&self.redis_target, Upstream::Tcp(self.redis[new].address));
        let primary = self.redis[new].address;
        fs::remove_dir_all(&self.redis[old].dir)?;
        self.redis[old].start(Some(primary)).await
    }

    /// In a cluster it goes to every master.
    pub async fn primary_command(&self, command: &str) -> Result<String> {
        if let Some(cluster) = &self.cluster {
            let parts: Vec<&str> = command.split_whitespace().collect();
            cluster.masters_command(&parts).await?;
            return Ok("every master".into());
        }
        self.redis[self.primary].command(command).await
    }

    pub fn redis_pid(&self) -> Option<u32> {
        self.redis[self.primary].child.as_ref().and_then(Child::id)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("servers.log")).unwrap_or_default()
    }

    pub async fn stop(mut self) -> Result<()> {
        for i in 0..self.servers.len() {
            self.kill_server(i).await?;
        }
        for redis in &mut self.redis {
            if let Some(mut child) = redis.child.take() {
                child.kill().await?;
            }
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.stop().await?;
        }
        signal(self.postgres.id(), "INT").await;
        let _ = self.postgres.wait();
        if let Some(mut provider) = self.provider.take() {
            signal(provider.id(), "INT").await;
            let _ = provider.wait();
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Files {
    Own,
    None,
    Older,
}

impl Redis {
    fn new(dir: PathBuf) -> Result<Self> {
        Ok(Self {
            address: free_port()?,
            dir,
            child: None,
        })
    }

    async fn start(&mut self, primary: Option<SocketAddr>) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut command = Command::new("redis-server");
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.address.port().to_string(),
                "--dir",
            ])
            .arg(&self.dir)
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args([
                "--maxmemory-policy",
                "noeviction",
                "--repl-diskless-sync-delay",
                "0",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Some(primary) = primary {
            command.args(["--replicaof", "127.0.0.1", &primary.port().to_string()]);
        }
        self.child = Some(command.spawn().context("cannot start redis-server")?);
        let since = Instant::now();
        while !self
            .command("PING")
            .await
            .is_ok_and(|answer| answer.contains("PONG"))
        {
            if since.elapsed() > START_DEADLINE {
                bail!("Redis does not answer");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// One inline command and the beginning of its answer.
    pub async fn command(&self, command: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut line = String::new();
        let mut answer = BufReader::new(&mut stream);
        let read = answer.read_line(&mut line);
        tokio::time::timeout(Duration::from_secs(5), read).await??;
        Ok(line)
    }
}

/// The address of a Postgres behind this socket.
fn url(socket: &Path) -> String {
    format!(
        "postgres://flashsale@localhost/flashsale?host={}",
        socket.parent().unwrap_or(Path::new("/")).display()
    )
}

fn set(target: &Target, upstream: Upstream) {
    if let Ok(mut target) = target.lock() {
        *target = upstream;
    }
}

pub async fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .await;
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

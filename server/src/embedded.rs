//! A private Postgres and Redis for development and tests. They start under the data folder, on sockets that only this user can
//! reach, and stop with the process that started them, however that process ends.
//!
//! Layout: `{data}/postgres` (the cluster), `{data}/redis` (append-only file), `{data}/log/*.log`, `{data}/lock`.

use anyhow::{Context, Result, anyhow, bail};
use fred::prelude::*;
use futures_util::future::BoxFuture;
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::{fs::PermissionsExt, fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

/// How long a service may take to answer after its start, and to end after it is told to.
const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The database of the sandbox's books, beside the platform's own.
pub const SANDBOX_DATABASE: &str = "flashsale_sandbox";

/// The services to be private: those without a given address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Private {
    pub postgres: bool,
    pub redis: bool,
}

impl Private {
    pub(crate) const BOTH: Self = Self {
        postgres: true,
        redis: true,
    };
}

/// Running private services. Call [`Services::stop`]; if the process dies instead, the kernel tells them to stop.
pub struct Services {
    /// Their addresses, whether they were started or not.
    pub database_url: String,
    pub redis_url: String,
    postgres: Option<Child>,
    redis: Option<Child>,
    _lock: Flock<File>,
}

/// Makes the folder if it is missing. Only its owner can read the places of secrets.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot create the data folder {}", data_dir.display()))?;
    data_dir
        .canonicalize()
        .with_context(|| format!("cannot open the data folder {}", data_dir.display()))
}

/// The addresses of a data folder's private services: (Postgres, Redis).
pub fn urls(data_dir: &Path) -> Result<(String, String)> {
    let sockets = socket_dir(&prepare_data_dir(data_dir)?, postgres_owner()?.as_ref())?;
    Ok((
        database_url(&sockets, "flashsale"),
        format!("redis+unix://{}", sockets.join("redis.sock").display()),
    ))
}

/// The private Postgres of a data folder: the running server's, or one that is started for the caller, who then stops it.
pub async fn database(data_dir: &Path) -> Result<(String, Option<Services>)> {
    if !data_dir.join("lock").exists() {
        bail!(
            "there is no server's data in {}: choose another --data-dir, or give a --database-url",
            data_dir.display()
        );
    }
    if lock(data_dir).is_err() {
        return Ok((urls(data_dir)?.0, None));
    }
    let postgres = Private {
        redis: false,
        ..Private::BOTH
    };
    let services = Services::start_only(data_dir, postgres).await?;
    Ok((services.database_url.clone(), Some(services)))
}

fn database_url(sockets: &Path, database: &str) -> String {
    format!(
        "postgres://flashsale@localhost/{database}?host={}",
        sockets.display()
    )
}

impl Services {
    /// Starts both services under `data_dir` and waits until they answer.
    pub async fn start(data_dir: &Path) -> Result<Self> {
        Self::start_only(data_dir, Private::BOTH).await
    }

    /// Like [`Self::start`], but only for services that are to be private.
    pub fn start_only(data_dir: &Path, private: Private) -> BoxFuture<'_, Result<Self>> {
        Box::pin(Self::begin(data_dir, private))
    }

    async fn begin(data_dir: &Path, private: Private) -> Result<Self> {
        let data_dir = prepare_data_dir(data_dir)?;
        let lock = lock(&data_dir)?;
        fs::create_dir_all(data_dir.join("log"))?;
        let owner = postgres_owner()?;
        let sockets = socket_dir(&data_dir, owner.as_ref())?;
        let (database_url, redis_url) = urls(&data_dir)?;

        let mut redis = Guard(match private.redis {
            true => Some(start_redis(&data_dir, &sockets.join("redis.sock"))?),
            false => None,
        });
        let mut postgres = Guard(match private.postgres {
            true => Some(start_postgres(&data_dir, &sockets, owner.as_ref())?),
            false => None,
        });
        if let Some(redis) = &mut redis.0 {
            wait_for_redis(&redis_url, redis)
                .await
                .with_context(|| log_hint(&data_dir, "redis"))?;
        }
        if let Some(postgres) = &mut postgres.0 {
            wait_for_postgres(&sockets, postgres)
                .await
                .with_context(|| log_hint(&data_dir, "postgres"))?;
        }
        Ok(Self {
            database_url,
            redis_url,
            postgres: postgres.0.take(),
            redis: redis.0.take(),
            _lock: lock,
        })
    }

    /// The address of another database of the private Postgres, which is made if it is missing.
    pub async fn database(&self, name: &'static str) -> Result<String> {
        let options = sqlx::postgres::PgConnectOptions::from_str(&self.database_url)?;
        let mut connection = options.connect().await?;
        make_database(&mut connection, name).await?;
        connection.close().await?;
        Ok(self.database_url.replacen("/flashsale?", &format!("/{name}?"), 1))
    }

    /// Stops them and waits for their end: Postgres writes a checkpoint, Redis flushes its append-only file.
    pub async fn stop(mut self) {
        let services = [
            ("postgres", &mut self.postgres, Signal::SIGINT),
            ("redis", &mut self.redis, Signal::SIGTERM),
        ];
        let mut running = Vec::new();
        for (name, child, with) in services {
            if let Some(child) = child {
                signal(child, with);
                running.push((name, child));
            }
        }
        for (name, child) in running {
            if !ended(child).await {
                tracing::warn!(service = name, "did not stop in time, killing it");
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Postgres alone, for a harness that breaks it: its process and its socket. It ends with the process that started it.
pub async fn start_postgres_alone(data_dir: &Path) -> Result<(Child, PathBuf)> {
    let data_dir = prepare_data_dir(data_dir)?;
    fs::create_dir_all(data_dir.join("log"))?;
    let owner = postgres_owner()?;
    let sockets = socket_dir(&data_dir, owner.as_ref())?;
    let mut postgres = Guard(Some(start_postgres(&data_dir, &sockets, owner.as_ref())?));
    wait_for_postgres(&sockets, postgres.child()?)
        .await
        .with_context(|| log_hint(&data_dir, "postgres"))?;
    Ok((postgres.take()?, sockets.join(".s.PGSQL.5432")))
}

/// Redis alone, for a measurement that fills it: its process and its address. It ends with the process that started it.
pub async fn start_redis_alone(data_dir: &Path) -> Result<(Child, String)> {
    let data_dir = prepare_data_dir(data_dir)?;
    fs::create_dir_all(data_dir.join("log"))?;
    let sockets = socket_dir(&data_dir, None)?;
    let socket = sockets.join("redis.sock");
    let mut redis = Guard(Some(start_redis(&data_dir, &socket)?));
    let url = format!("redis+unix://{}", socket.display());
    wait_for_redis(&url, redis.child()?)
        .await
        .with_context(|| log_hint(&data_dir, "redis"))?;
    Ok((redis.take()?, url))
}

/// Ends a service whose start failed half-way.
struct Guard(Option<Child>);

impl Guard {
    fn child(&mut self) -> Result<&mut Child> {
        self.0.as_mut().ok_or_else(|| anyhow!("the service was taken"))
    }

    fn take(mut self) -> Result<Child> {
        self.0.take().ok_or_else(|| anyhow!("the service was taken"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            signal(child, Signal::SIGINT);
            let _ = child.wait();
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let _ = kill(Pid::from_raw(child.id() as i32), signal);
}

async fn ended(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < STOP_DEADLINE {
        if let Ok(Some(_)) = child.try_wait() {
            return true;
        }
        tokio::time::sleep(POLL).await;
    }
    false
}

fn log_hint(data_dir: &Path, service: &str) -> String {
    format!(
        "the private {service} did not start; its log is {}/log/{service}.log",
        data_dir.display()
    )
}

/// Prevents two servers on one data folder, which would share a database by accident.
fn lock(data_dir: &Path) -> Result<Flock<File>> {
    let path = data_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        anyhow!(
            "another server uses the data folder {}: stop it, or choose another --data-dir",
            data_dir.display()
        )
    })
}

/// Postgres refuses to run as root; then it runs as Debian's `postgres`, or as `nobody`.
fn postgres_owner() -> Result<Option<User>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    bail!("Postgres does not run as root, and there is neither a user `postgres` nor `nobody` to run it as")
}

/// The folder of the Unix sockets. Their paths must be short (107 bytes), so they are in the temporary folder, under a name
/// derived from the data folder; nobody else may enter.
fn socket_dir(data_dir: &Path, owner: Option<&User>) -> Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("flashsale-{}", short_digest(data_dir)));
    private_dir(&dir, owner)?;
    Ok(dir)
}

fn short_digest(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let user = nix::unistd::geteuid();
    format!(
        "{user}-{}",
        digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    )
}

/// A folder that only `owner` (or this user) can enter. Refuses one made by somebody else.
fn private_dir(dir: &Path, owner: Option<&User>) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    if let Err(error) = fs::create_dir(dir)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error).with_context(|| format!("cannot create {}", dir.display()));
    }
    let found = fs::symlink_metadata(dir)?;
    let mine = [
        Some(nix::unistd::geteuid().as_raw()),
        owner.map(|user| user.uid.as_raw()),
    ];
    if !found.is_dir() || !mine.contains(&Some(found.uid())) {
        bail!("{} is not ours: remove it", dir.display());
    }
    if let Some(user) = owner {
        chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    Ok(())
}

fn start_redis(data_dir: &Path, socket: &Path) -> Result<Child> {
    let dir = data_dir.join("redis");
    fs::create_dir_all(&dir)?;
    let pid_file = dir.join("redis.pid");
    stop_left_over(&pid_file, "redis-server", Signal::SIGTERM)?;
    let log = log_file(data_dir, "redis")?;
    let mut command = Command::new("redis-server");
    command
        .args(["--port", "0", "--unixsocket"])
        .arg(socket)
        .args(["--unixsocketperm", "700", "--dir"])
        .arg(&dir)
        .args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
            "--maxmemory-policy",
            "noeviction",
        ])
        .args(["--daemonize", "no", "--pidfile"])
        .arg(&pid_file)
        .stdout(log.try_clone()?)
        .stderr(log);
    spawn(command, Signal::SIGTERM).map_err(|error| missing(error, "redis-server", "redis-server"))
}

fn start_postgres(data_dir: &Path, sockets: &Path, owner: Option<&User>) -> Result<Child> {
    let bin = postgres_bin()?;
    let cluster = cluster_dir(data_dir, owner)?;
    stop_left_over(&cluster.join("postmaster.pid"), "postgres", Signal::SIGINT)?;
    if !cluster.join("PG_VERSION").exists() {
        tracing::info!("creating the private Postgres cluster");
        let mut initdb = Command::new(bin.join("initdb"));
        initdb
            .args([
                "--auth=trust",
                "--username=flashsale",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
                "-D",
            ])
            .arg(&cluster)
            .current_dir("/")
            .stdin(Stdio::null());
        run_as(&mut initdb, owner);
        let output = initdb.output().context("cannot run initdb")?;
        if !output.status.success() {
            bail!(
                "initdb failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    check_version(&bin, &cluster)?;
    let log = log_file(data_dir, "postgres")?;
    let mut command = Command::new(bin.join("postgres"));
    command
        .arg("-D")
        .arg(&cluster)
        .args([
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=100",
            "-c",
            "port=5432",
            "-c",
            "unix_socket_permissions=0700",
        ])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", sockets.display()))
        .current_dir("/")
        .stdout(log.try_clone()?)
        .stderr(log);
    run_as(&mut command, owner);
    spawn(command, Signal::SIGINT).map_err(|error| missing(error, "postgres", "postgresql"))
}

/// The folder of the cluster. Postgres' own user must reach it, and cannot reach a project under a private home.
fn cluster_dir(data_dir: &Path, owner: Option<&User>) -> Result<PathBuf> {
    let dir = data_dir.join("postgres");
    let Some(user) = owner else {
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        return Ok(dir);
    };
    let mut probe = Command::new("test");
    probe.arg("-x").arg(data_dir).current_dir("/");
    run_as(&mut probe, owner);
    let reachable = probe.status().is_ok_and(|status| status.success());
    let dir = if reachable {
        dir
    } else {
        let elsewhere = PathBuf::from("/var/tmp").join(format!("flashsale-{}", short_digest(data_dir)));
        tracing::info!(
            folder = %elsewhere.display(), user = user.name,
            "Postgres' user cannot reach the data folder, so its cluster lives elsewhere"
        );
        elsewhere
    };
    private_dir(&dir, owner)?;
    Ok(dir)
}

/// The newest installed server binaries; Debian keeps them out of PATH.
fn postgres_bin() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin): &(u32, PathBuf)| bin.join("postgres").exists())
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists())
        .ok_or_else(|| {
            anyhow!("no Postgres server found: install the package `postgresql`, or set DATABASE_URL")
        })
}

/// A cluster belongs to one major version.
fn check_version(bin: &Path, cluster: &Path) -> Result<()> {
    let made_by = fs::read_to_string(cluster.join("PG_VERSION"))?;
    let output = Command::new(bin.join("postgres")).arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    let is = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or("?");
    if is.split('.').next() != Some(made_by.trim()) {
        bail!(
            "the cluster {} was made by Postgres {}, but {} is installed: move it away, or install that version",
            cluster.display(),
            made_by.trim(),
            is
        );
    }
    Ok(())
}

fn run_as(command: &mut Command, owner: Option<&User>) {
    if let Some(user) = owner {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}

fn log_file(data_dir: &Path, service: &str) -> Result<File> {
    Ok(OpenOptions::new()
        .create(true)
        .append(true)
        .open(data_dir.join("log").join(format!("{service}.log")))?)
}

/// Starts a service that is stopped when this process dies, and that a terminal's Ctrl-C does not reach directly.
fn spawn(mut command: Command, at_our_death: Signal) -> std::io::Result<Child> {
    command.stdin(Stdio::null()).process_group(0);
    // SAFETY: prctl is async-signal-safe and touches no memory of the parent. It comes after the change of user, which
    // would clear it.
    unsafe {
        command.pre_exec(move || nix::sys::prctl::set_pdeathsig(at_our_death).map_err(std::io::Error::from));
    }
    command.spawn()
}

fn missing(error: std::io::Error, program: &str, package: &str) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        anyhow!("{program} is not installed: install the package `{package}` (or run `make run`, which does)")
    } else {
        anyhow::Error::new(error).context(format!("cannot start {program}"))
    }
}

/// A killed server's services may still be ending: wait for them, or end them.
fn stop_left_over(pid_file: &Path, program: &str, with: Signal) -> Result<()> {
    let Some(pid) = fs::read_to_string(pid_file)
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse::<i32>().ok())
    else {
        return Ok(());
    };
    let runs = || {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            String::from_utf8_lossy(&line)
                .split('\0')
                .next()
                .is_some_and(|p| p.contains(program))
        })
    };
    if !runs() {
        return Ok(());
    }
    tracing::info!(pid, program, "ending the service that an earlier server has left");
    let _ = kill(Pid::from_raw(pid), with);
    let start = Instant::now();
    while runs() {
        if start.elapsed() > STOP_DEADLINE {
            bail!("{program} (process {pid}) of an earlier server does not end");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

async fn wait_for_redis(url: &str, child: &mut Child) -> Result<()> {
    let start = Instant::now();
    loop {
        let client = Builder::from_config(Config::from_url(url)?).build()?;
        if client.init().await.is_ok() {
            let answer: Result<String, _> = client.ping(None).await;
            let _ = client.quit().await;
            // While it loads its append-only file, Redis answers with an error.
            if answer.is_ok() {
                return Ok(());
            }
        }
        still_starting(child, start)?;
        tokio::time::sleep(POLL).await;
    }
}

async fn wait_for_postgres(sockets: &Path, child: &mut Child) -> Result<()> {
    let start = Instant::now();
    let url = database_url(sockets, "postgres");
    let options = sqlx::postgres::PgConnectOptions::from_str(&url)?;
    let mut connection = loop {
        match options.connect().await {
            Ok(connection) => break connection,
            Err(_) => still_starting(child, start)?,
        }
        tokio::time::sleep(POLL).await;
    };
    make_database(&mut connection, "flashsale").await
}

/// Makes a database of ours, if it is missing.
async fn make_database(connection: &mut PgConnection, name: &'static str) -> Result<()> {
    let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
    if known.is_none() {
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(create))
            .execute(connection)
            .await?;
    }
    Ok(())
}

fn still_starting(child: &mut Child, since: Instant) -> Result<()> {
    if let Some(status) = child.try_wait()? {
        bail!("it ended with {status}");
    }
    if since.elapsed() > START_DEADLINE {
        bail!("no answer within {} s", START_DEADLINE.as_secs());
    }
    Ok(())
}

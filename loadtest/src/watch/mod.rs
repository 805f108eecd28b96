//! Many shoppers who only watch: what a delivered tick and an idle socket cost the gateway, and how late ticks are; beside
//! it, over the same sockets in the same run, a bare loop that does nothing but write, and axum's plain broadcast.

pub mod client;
pub mod floor;

use crate::target::{Target, server_binary};
use anyhow::{Context, Result};
use chrono::{TimeDelta, Utc};
use clap::Args;
use flashsale::{auth::Authority, stock::Stock};
use flashsale_protocol::{Phase, Role, SaleId, ServerMessage, Tick};
use fred::prelude::*;
use hdrhistogram::Histogram;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

/// Sockets of one process: it may open 20,000 files, and needs some for itself.
const SOCKETS_A_PROCESS: usize = 19_000;
/// After connecting, before anything is measured.
const SETTLE: Duration = Duration::from_secs(3);
const ANSWER_DEADLINE: Duration = Duration::from_secs(240);

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 10_000)]
    sockets: usize,
    /// Ticks a second, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "10,1")]
    rates: Vec<f64>,
    /// How long each rate is measured.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Only the gateway, without those that it is held against.
    #[arg(long)]
    alone: bool,
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What one server did at one rate.
struct Measured {
    kind: &'static str,
    rate: f64,
    open: usize,
    lost: usize,
    connect_s: f64,
    connect_cpu_us: f64,
    rss_per_socket: f64,
    kernel_per_socket: f64,
    us_per_frame: f64,
    frames: u64,
    expected: u64,
    bytes_per_socket_s: f64,
    personal: u64,
    went_back: u64,
    delays: Histogram<u64>,
}

/// True: no socket was lost, and no ticks went back.
pub async fn run(options: Options) -> Result<bool> {
    let target = Target::start().await?;
    let measured = measure(&options, &target).await;
    target.stop().await?;
    let measured = measured?;
    print(&measured);
    if let Some(path) = &options.json {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(&report(&options, &measured))?)?;
    }
    Ok(measured.iter().all(|one| one.lost == 0 && one.went_back == 0))
}

async fn measure(options: &Options, target: &Target) -> Result<Vec<Measured>> {
    let sale = create_sale(target).await?;
    let (database, redis) = target.stores()?;
    let mut measured = Vec::new();
    // Connected once, measured at each rate.
    let mut gateways = Vec::new();
    for _ in 0..options.sockets.div_ceil(SOCKETS_A_PROCESS) {
        let mut command = Command::new(server_binary().await?);
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--roles",
                "gateway",
                "--data-dir",
            ])
            .arg(&target.data_dir)
            .env("DATABASE_URL", &database)
            .env("REDIS_URL", &redis);
        gateways.push(RemoteEnd::start(command, 0).await?);
    }
    let crowd = Crowd::enter(options.sockets, &gateways, Some(sale), &target.data_dir).await?;
    let stock = Stock::connect(&redis, "").await?;
    let (publisher, channel) = (stock.client(), stock.keys().live(sale));
    measured.extend(
        crowd
            .measure("gateway", options, &gateways, Some((publisher, &channel, sale)))
            .await?,
    );
    end(gateways).await?;
    if options.alone {
        return Ok(measured);
    }
    for kind in ["floor", "axum"] {
        for rate in &options.rates {
            let mut servers = Vec::new();
            for _ in 0..options.sockets.div_ceil(SOCKETS_A_PROCESS) {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["watch-server", "--kind", kind, "--rate", &rate.to_string()]);
                servers.push(RemoteEnd::start(command, 0).await?);
            }
            let crowd = Crowd::enter(options.sockets, &servers, None, &target.data_dir).await?;
            let one = Options {
                rates: vec![*rate],
                json: None,
                ..*options
            };
            measured.extend(crowd.measure(kind, &one, &servers, None).await?);
            end(servers).await?;
        }
    }
    Ok(measured)
}

/// A sale whose room is open, and which does not start while we watch.
async fn create_sale(target: &Target) -> Result<SaleId> {
    let authority = Authority::open(&crate::rush::identity(), &target.data_dir)?;
    let who = "loadtest".parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let token = authority.issue(who, Role::Admin, None, Duration::from_secs(3600))?;
    let stamp = |time: chrono::DateTime<Utc>| time.to_rfc3339();
    let now = Utc::now();
    let body = json!({
        "product_name": "watch", "currency": "EUR", "original_price": 10_000, "sale_price": 5_000, "total_stock": 100,
        "room_opens_at": stamp(now), "start_time": stamp(now + TimeDelta::hours(2)),
        "end_time": stamp(now + TimeDelta::hours(3)),
    });
    let sale = target.create_sale(&token, &body).await?.parse()?;
    // Until its worker has opened it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(sale)
}

/// A server process.
pub struct RemoteEnd {
    child: Child,
    address: SocketAddrV4,
    rss_before: u64,
}

impl RemoteEnd {
    /// Numbers of ticks above this are times in µs since 1970.
    pub const FIRST_TIME_US: u64 = 1_000_000_000_000_000;

    async fn start(mut command: Command, core: usize) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let address = loop {
            let line = tokio::time::timeout(ANSWER_DEADLINE, lines.next_line()).await??;
            let line = line.context("a server ended before it was ready")?;
            if let Some(url) = line.strip_prefix("ready http://") {
                break url.parse()?;
            }
        };
        let pid = child.id().context("a server has ended")?;
        pin(pid, core)?;
        Ok(Self {
            address,
            rss_before: rss_of(pid)?,
            child,
        })
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("a server has ended")
    }
}

async fn end(servers: Vec<RemoteEnd>) -> Result<()> {
    for mut server in servers {
        server.child.kill().await?;
    }
    Ok(())
}

/// All client processes.
struct Crowd {
    clients: Vec<(Child, Lines<BufReader<ChildStdout>>)>,
    entered: Vec<client::Report>,
    kernel_per_socket: f64,
    connect_cpu_us: f64,
}

impl Crowd {
    async fn enter(
        sockets: usize,
        servers: &[RemoteEnd],
        sale: Option<SaleId>,
        data_dir: &Path,
    ) -> Result<Self> {
        let (kernel, cpu) = (kernel_bytes()?, cpu_of_all(servers)?);
        let mut clients = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            let first = index * SOCKETS_A_PROCESS;
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["watch-client", "--address", &server.address.to_string()])
                .args(["--sockets", &(sockets - first).min(SOCKETS_A_PROCESS).to_string()])
                .args(["--first", &first.to_string(), "--data-dir"])
                .arg(data_dir);
            if let Some(sale) = sale {
                command.args(["--join", "--sale", &sale.to_string()]);
            }
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            pin(child.id().context("a client has ended")?, 1)?;
            let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
            clients.push((child, lines));
        }
        let mut crowd = Self {
            clients,
            entered: Vec::new(),
            kernel_per_socket: 0.0,
            connect_cpu_us: 0.0,
        };
        crowd.entered = crowd.answers().await?;
        crowd.connect_cpu_us = (cpu_of_all(servers)? - cpu).as_micros() as f64 / sockets as f64;
        tokio::time::sleep(SETTLE).await;
        // Both ends are here.
        crowd.kernel_per_socket = kernel_bytes()?.saturating_sub(kernel) as f64 / (2 * sockets) as f64;
        Ok(crowd)
    }

    async fn answers(&mut self) -> Result<Vec<client::Report>> {
        let mut reports = Vec::new();
        for (_, lines) in &mut self.clients {
            loop {
                let line = tokio::time::timeout(ANSWER_DEADLINE, lines.next_line()).await??;
                let line = line.context("a client process has ended")?;
                match serde_json::from_str(&line) {
                    Ok(report) => break reports.push(report),
                    Err(_) => println!("{line}"),
                }
            }
        }
        Ok(reports)
    }

    async fn say(&mut self, word: &str) -> Result<()> {
        for (child, _) in &mut self.clients {
            let stdin = child.stdin.as_mut().context("no input")?;
            stdin.write_all(format!("{word}\n").as_bytes()).await?;
        }
        Ok(())
    }

    async fn measure(
        mut self,
        kind: &'static str,
        options: &Options,
        servers: &[RemoteEnd],
        publish: Option<(&Client, &str, SaleId)>,
    ) -> Result<Vec<Measured>> {
        let open: usize = self.entered.iter().map(|report| report.open).sum();
        let rss: u64 = servers
            .iter()
            .map(|server| Ok(rss_of(server.pid()?)?.saturating_sub(server.rss_before)))
            .sum::<Result<u64>>()?;
        let connect_s = self
            .entered
            .iter()
            .map(|report| report.connect_s)
            .fold(0.0, f64::max);
        let mut measured = Vec::new();
        for rate in &options.rates {
            let every = Duration::from_secs_f64(1.0 / rate);
            let time = Duration::from_secs(options.seconds);
            self.say("begin").await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (cpu, began) = (cpu_of_all(servers)?, Instant::now());
            match publish {
                None => tokio::time::sleep(time).await,
                Some((publisher, channel, sale)) => {
                    let mut clock = tokio::time::interval(every);
                    while began.elapsed() < time {
                        clock.tick().await;
                        let _: u64 = publisher
                            .publish(channel, format!("T0 {}", tick_for(sale, now_us())))
                            .await?;
                    }
                }
            }
            let took = began.elapsed();
            let cpu = cpu_of_all(servers)? - cpu;
            // Whatever is still on its way belongs to it.
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.say("end").await?;
            let reports = self.answers().await?;
            let mut delays = Histogram::new_with_bounds(1, 120_000_000, 3)?;
            for (value, count) in reports.iter().flat_map(|report| &report.delays) {
                delays.record_n(*value, *count)?;
            }
            let frames: u64 = reports.iter().map(|report| report.frames).sum();
            let bytes: u64 = reports.iter().map(|report| report.bytes).sum();
            measured.push(Measured {
                kind,
                rate: *rate,
                open,
                lost: reports.iter().map(|report| report.lost).sum(),
                connect_s,
                connect_cpu_us: self.connect_cpu_us,
                rss_per_socket: rss as f64 / open.max(1) as f64,
                kernel_per_socket: self.kernel_per_socket,
                us_per_frame: cpu.as_micros() as f64 / frames.max(1) as f64,
                frames,
                expected: (took.as_secs_f64() * rate * open as f64) as u64,
                bytes_per_socket_s: bytes as f64 / open.max(1) as f64 / took.as_secs_f64(),
                personal: reports.iter().map(|report| report.personal).sum(),
                went_back: reports.iter().map(|report| report.went_back).sum(),
                delays,
            });
        }
        for (child, _) in &mut self.clients {
            child.kill().await?;
        }
        Ok(measured)
    }
}

fn print(measured: &[Measured]) {
    println!(
        "{:<8} {:>5} {:>8} {:>9} {:>10} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "server",
        "rate",
        "sockets",
        "connect/s",
        "µs/connect",
        "RSS B",
        "kernel B",
        "µs/frame",
        "of all",
        "p50 ms",
        "p99 ms",
        "max ms"
    );
    for one in measured {
        let ms = |us: u64| us as f64 / 1000.0;
        println!(
            "{:<8} {:>5} {:>8} {:>9.0} {:>10.1} {:>8.0} {:>9.0} {:>9.2} {:>7.1}% {:>8.1} {:>8.1} {:>8.1}",
            one.kind,
            one.rate,
            one.open,
            one.open as f64 / one.connect_s,
            one.connect_cpu_us,
            one.rss_per_socket,
            one.kernel_per_socket,
            one.us_per_frame,
            100.0 * one.frames as f64 / one.expected.max(1) as f64,
            ms(one.delays.value_at_quantile(0.5)),
            ms(one.delays.value_at_quantile(0.99)),
            ms(one.delays.max()),
        );
    }
}

fn report(options: &Options, measured: &[Measured]) -> Value {
    let floor = |rate: f64| {
        let floor = measured
            .iter()
            .find(|one| one.kind == "floor" && one.rate == rate);
        floor.map(|floor| floor.us_per_frame)
    };
    let rows: Vec<Value> = measured
        .iter()
        .map(|one| {
            let ms = |quantile| one.delays.value_at_quantile(quantile) as f64 / 1000.0;
            json!({
                "server": one.kind, "rate": one.rate, "sockets": one.open, "lost": one.lost,
                "connects_per_s": one.open as f64 / one.connect_s, "connect_cpu_us": one.connect_cpu_us,
                "rss_bytes_per_socket": one.rss_per_socket, "kernel_bytes_per_socket": one.kernel_per_socket,
                "us_per_frame": one.us_per_frame, "floor_us_per_frame": floor(one.rate),
                "frames": one.frames, "ticks_skipped": one.expected.saturating_sub(one.frames),
                "wire_bytes_per_socket_s": one.bytes_per_socket_s, "personal_frames": one.personal,
                "went_back": one.went_back,
                "delivery_p50_ms": ms(0.5), "delivery_p99_ms": ms(0.99), "delivery_p999_ms": ms(0.999),
                "delivery_max_ms": one.delays.max() as f64 / 1000.0,
            })
        })
        .collect();
    let mut report = rows.first().cloned().unwrap_or_default();
    report["seconds"] = options.seconds.into();
    report["rows"] = rows.into();
    report
}

pub fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as u64
}

/// A tick as a sale with a long line has it, with this number.
pub fn tick_of(seq: u64) -> String {
    tick_for(SaleId::from_parts(1, 1), seq)
}

fn tick_for(sale: SaleId, seq: u64) -> String {
    ServerMessage::Tick(Tick {
        sale,
        seq,
        now: seq / 1000,
        phase: Phase::Waiting,
        starts_at: 1_800_000_000_000,
        ends_at: 1_800_003_600_000,
        supply: 100,
        available: 100,
        claimed: 0,
        held: 0,
        ordering: 0,
        sold: 0,
        unpaid: 0,
        waiting: 10_000,
        admitted: 0,
        pace: 0.0,
        pace_low: 0.0,
        pace_high: 0.0,
        take: 1.0,
        lapse: 0.1,
        next_lapse_at: None,
        slowed: None,
        priority_waiting: 0,
        priority_admitted: 0,
        priority_pace: 0.0,
    })
    .to_json()
}

pub fn framed(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Memory takes everything.
    let _ = Frame::message(text.to_owned(), OpCode::Data(Data::Text), true).format(&mut bytes);
    bytes
}

fn cpu_of_all(servers: &[RemoteEnd]) -> Result<Duration> {
    servers.iter().map(|server| cpu_of(server.pid()?)).sum()
}

/// CPU that a process has used so far. From its scheduler's own count where there is one: /proc/*/stat has steps of 10 ms.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns = text
            .split_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok())
            .unwrap_or(0);
        total += Duration::from_nanos(ns);
    }
    Ok(total)
}

fn rss_of(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kb = field(&text, "VmRSS:").context("no VmRSS")?;
    Ok(kb * 1024)
}

/// What the kernel has for sockets: its slabs, and TCP's own pages.
fn kernel_bytes() -> Result<u64> {
    let slab = field(&fs::read_to_string("/proc/meminfo")?, "Slab:").context("no Slab")? * 1024;
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let pages = sockets
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .and_then(|line| line.split("mem ").nth(1)?.trim().parse::<u64>().ok());
    Ok(slab + pages.unwrap_or(0) * 4096)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Servers on the first core, clients on the second, where there are two.
fn pin(pid: u32, core: usize) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(core.min(cores - 1))?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        if let Some(id) = task.file_name().to_str().and_then(|name| name.parse().ok()) {
            // A thread may have ended meanwhile.
            let _ = sched_setaffinity(Pid::from_raw(id), &set);
        }
    }
    Ok(())
}

//! Many shoppers who only watch: the gateway's cost of a delivered tick and of an idle socket, and the lateness of ticks. For
//! comparison, over the same sockets in the same run: a bare loop that only writes, and axum's plain broadcast.

pub mod bad;
pub mod client;
pub mod crowd;
pub mod floor;
mod kernel;
mod link;
pub mod million;
pub mod reading;

use crate::target::{TEST_MONEY, Target, server_binary};
use anyhow::{Result, bail};
use bad::Neighbours;
use chrono::{TimeDelta, Utc};
use clap::Args;
use crowd::{Crowd, Entered, Entering, RemoteEnd, SOCKETS_A_PROCESS, end, rss_of_all};
use flashsale::auth::Signer;
use flashsale_engine::stock::Stock;
use flashsale_protocol::{Phase, Role, SaleId, ServerMessage, Tick};
use fred::prelude::*;
use hdrhistogram::Histogram;
use link::Certificate;
use reading::kernel_bytes;
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

/// Pause after connecting, before anything is measured.
const SETTLE: Duration = Duration::from_secs(3);
/// Time for ticks before those that are measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// Memory per shopper is measured as the difference that this many make in a process that has already served some.
const WARM_SOCKETS: usize = 2_000;
const WEIGHED_SOCKETS: usize = 15_500;
/// One shopper must watch, or no ticks come.
const ALONE: usize = 1;
/// A process that has served this many has the buffers that its first shoppers need.
const FIRST_SOCKETS: usize = 500;
/// Numbers of ticks above this are times in µs since 1970.
pub const FIRST_TIME_US: u64 = 1_000_000_000_000_000;
/// Longer than any measurement.
const IDLE: Duration = Duration::from_secs(3600);
/// Handshakes under way at the same time.
const CONNECTS_AT_ONCE: usize = 400;
const TOKEN_LIFE: Duration = Duration::from_secs(2 * 3600);
/// The gateway while neighbours misbehave.
pub const BESIDE_BAD: &str = "beside bad";
/// The gateway with a few shoppers, with many, and with as many as one process takes.
pub const GROWING: &str = "growing";
/// The cores of servers and of shoppers, if these are kept apart.
const SERVER_CORE: usize = 0;
const SHOPPERS_CORE: usize = 1;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 10_000)]
    sockets: usize,
    /// Ticks per second; these rates are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "10,1")]
    rates: Vec<f64>,
    /// Rates (ticks per second) for the gateway alone, which sends what it can, the newest state first.
    #[arg(long, value_delimiter = ',', default_value = "50")]
    beyond: Vec<f64>,
    /// Numbers of sockets at one gateway to which more and more people come, at the lowest rate: the cost of each must not depend
    /// on them.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,18000")]
    sizes: Vec<usize>,
    /// Duration of each rate's measurement.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Only the gateway, without the comparisons.
    #[arg(long)]
    alone: bool,
    /// The gateway over TLS, alone; without the neighbours that misbehave.
    #[arg(long)]
    tls: bool,
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One server's measurements at one rate.
struct Measured {
    kind: &'static str,
    rate: f64,
    open: usize,
    lost: usize,
    connect_s: f64,
    connect_cpu_us: f64,
    weight: Weight,
    us_per_frame: f64,
    /// The same without the process' own needs, if these were measured.
    marginal_us_per_frame: Option<f64>,
    frames: u64,
    expected: u64,
    bytes_per_socket_s: f64,
    personal: u64,
    went_back: u64,
    delays: Histogram<u64>,
    ages: Histogram<u64>,
}

/// Bytes for one shopper's socket.
#[derive(Clone, Copy)]
struct Weight {
    user: f64,
    /// Bytes at this end.
    kernel: f64,
}

/// True: no socket was lost, and no tick went back.
pub async fn run(options: Options) -> Result<bool> {
    let target = Target::start(false).await?;
    let measured = measure(&options, &target).await;
    target.stop().await?;
    let measured = measured?;
    print(&measured);
    if let Some(path) = &options.json {
        write_json(path, &report(&options, &measured))?;
    }
    Ok(measured.iter().all(|one| one.lost == 0 && one.went_back == 0))
}

pub fn write_json(path: &PathBuf, report: &Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(path, serde_json::to_string_pretty(report)?)?)
}

async fn measure(options: &Options, target: &Target) -> Result<Vec<Measured>> {
    let sale = create_sale(target).await?;
    let (_, redis) = target.stores()?;
    let stock = Stock::connect(&redis, "").await?;
    let (publisher, channel) = (stock.client(), stock.keys().live(sale));
    let mut measured = Vec::new();

    let tls = match options.tls {
        true => Some(Certificate::make(&target.data_dir)?),
        false => None,
    };
    let entering = Entering {
        sale: Some(sale),
        join: true,
        data_dir: &target.data_dir,
        core: Some(SHOPPERS_CORE),
        at_once: CONNECTS_AT_ONCE,
        tls_cert: tls.as_ref().map(|tls| tls.cert.as_path()),
    };
    let start = async || RemoteEnd::start(gateway(target, tls.as_ref()).await?, Some(SERVER_CORE)).await;
    let weight = weigh(start().await?, entering).await?;
    // Connected once, measured at each rate.
    let mut gateways = Vec::new();
    for _ in 0..options.sockets.div_ceil(SOCKETS_A_PROCESS) {
        gateways.push(start().await?);
    }
    let mut crowd = Crowd::default();
    let entered = crowd.enter(options.sockets, &gateways, entering).await?;
    tokio::time::sleep(SETTLE).await;
    for rate in options.rates.iter().chain(&options.beyond) {
        let ticks = Ticks::start(publisher.clone(), channel.clone(), sale, *rate);
        measured.push(one(&mut crowd, "gateway", *rate, options, &gateways, &entered, weight).await?);
        drop(ticks);
    }
    if let Some(rate) = options.rates.first().filter(|_| !options.tls) {
        let ticks = Ticks::start(publisher.clone(), channel.clone(), sale, *rate);
        let neighbours =
            Neighbours::start(gateways[0].address.into(), sale, &target.data_dir, SHOPPERS_CORE)?;
        tokio::time::sleep(SETTLE).await;
        measured.push(
            one(
                &mut crowd, BESIDE_BAD, *rate, options, &gateways, &entered, weight,
            )
            .await?,
        );
        drop((ticks, neighbours));
    }
    crowd.leave().await?;
    end(gateways).await?;
    measured.extend(grow(options, start().await?, &stock, sale, entering).await?);
    if options.alone || options.tls {
        return Ok(measured);
    }
    let entering = Entering {
        sale: None,
        join: false,
        ..entering
    };
    for kind in ["floor", "short", "axum"] {
        // Its memory does not depend on the rate, so a slow one is used.
        let quiet = RemoteEnd::start(plain_server(kind, 0.1)?, Some(SERVER_CORE)).await?;
        let weight = weigh(quiet, entering).await?;
        for rate in &options.rates {
            let mut servers = Vec::new();
            for _ in 0..options.sockets.div_ceil(SOCKETS_A_PROCESS) {
                servers.push(RemoteEnd::start(plain_server(kind, *rate)?, Some(SERVER_CORE)).await?);
            }
            let mut crowd = Crowd::default();
            let entered = crowd.enter(options.sockets, &servers, entering).await?;
            tokio::time::sleep(SETTLE).await;
            measured.push(one(&mut crowd, kind, *rate, options, &servers, &entered, weight).await?);
            crowd.leave().await?;
            end(servers).await?;
        }
    }
    Ok(measured)
}

/// One gateway to which more and more people come.
async fn grow(
    options: &Options,
    server: RemoteEnd,
    stock: &Stock,
    sale: SaleId,
    entering: Entering<'_>,
) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    let Some(rate) = options.rates.iter().copied().reduce(f64::min) else {
        return Ok(measured);
    };
    if options.sizes.iter().any(|size| *size > SOCKETS_A_PROCESS) || !options.sizes.is_sorted() {
        bail!("--sizes grow up to {SOCKETS_A_PROCESS}");
    }
    let servers = [server];
    let mut crowd = Crowd::default();
    let mut there = 0;
    // The process' own needs, in µs of CPU during one measurement.
    let mut own_us = 0.0;
    let sizes = options.sizes.iter().copied().filter(|size| *size > FIRST_SOCKETS);
    for size in [ALONE, FIRST_SOCKETS].into_iter().chain(sizes) {
        let (user, kernel) = (rss_of_all(&servers)?, kernel_bytes()?);
        let more = size - there;
        let mut entered = crowd.enter(more, &servers, entering).await?;
        tokio::time::sleep(SETTLE).await;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / more as f64;
        let weight = Weight {
            user: each(rss_of_all(&servers)?, user),
            kernel: each(kernel_bytes()?, kernel) / 2.0,
        };
        let ticks = Ticks::start(stock.client().clone(), stock.keys().live(sale), sale, rate);
        // Connects per second are those of this step.
        entered.connect_s *= size as f64 / more as f64;
        entered.open += there;
        let mut one = one(&mut crowd, GROWING, rate, options, &servers, &entered, weight).await?;
        drop(ticks);
        if size == ALONE {
            own_us = one.us_per_frame * one.frames as f64;
        } else if size > FIRST_SOCKETS {
            one.marginal_us_per_frame = Some(one.us_per_frame - own_us / one.frames.max(1) as f64);
            measured.push(one);
        }
        there = size;
    }
    crowd.leave().await?;
    end(servers.into()).await?;
    Ok(measured)
}

/// A gateway next to the target's server, on the same stores.
async fn gateway(target: &Target, tls: Option<&Certificate>) -> Result<Command> {
    let (database, redis) = target.stores()?;
    let mut command = Command::new(server_binary().await?);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--roles", "gateway"])
        // This measures what the core can do, not the limit that protects it.
        .args(["--handshakes-per-s", "100000"])
        // A shopper who only watches sends nothing during the whole bench.
        .args(["--idle-timeout-ms", &IDLE.as_millis().to_string(), "--data-dir"])
        .arg(&target.data_dir)
        .env(TEST_MONEY.0, TEST_MONEY.1)
        .env("DATABASE_URL", database)
        .env("REDIS_URL", redis);
    if let Some(Certificate { cert, key }) = tls {
        command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
    }
    Ok(command)
}

fn plain_server(kind: &str, rate: f64) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["watch-server", "--kind", kind, "--rate", &rate.to_string()]);
    Ok(command)
}

/// The cost of a shopper for a server that has served some before, so that the first buffers exist already.
async fn weigh(server: RemoteEnd, entering: Entering<'_>) -> Result<Weight> {
    let servers = [server];
    let mut crowd = Crowd::default();
    crowd.enter(WARM_SOCKETS, &servers, entering).await?;
    tokio::time::sleep(SETTLE).await;
    let (user, kernel) = (rss_of_all(&servers)?, kernel_bytes()?);
    crowd.enter(WEIGHED_SOCKETS, &servers, entering).await?;
    tokio::time::sleep(SETTLE).await;
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / WEIGHED_SOCKETS as f64;
    let weight = Weight {
        user: each(rss_of_all(&servers)?, user),
        // Both ends are on this machine.
        kernel: each(kernel_bytes()?, kernel) / 2.0,
    };
    crowd.leave().await?;
    end(servers.into()).await?;
    Ok(weight)
}

/// Publishes ticks until it is dropped.
struct Ticks(tokio::task::JoinHandle<()>);

impl Ticks {
    fn start(publisher: Client, channel: String, sale: SaleId, rate: f64) -> Self {
        Self(tokio::spawn(async move {
            let mut clock = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
            loop {
                clock.tick().await;
                let tick = format!("T0 {}", tick_for(sale, now_us()));
                if publisher.publish::<u64, _, _>(&channel, tick).await.is_err() {
                    return;
                }
            }
        }))
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Measures a connected crowd at one rate.
async fn one(
    crowd: &mut Crowd,
    kind: &'static str,
    rate: f64,
    options: &Options,
    servers: &[RemoteEnd],
    entered: &Entered,
    weight: Weight,
) -> Result<Measured> {
    // Waits for the end of the first rounds.
    tokio::time::sleep(WARM_UP).await;
    let time = tokio::time::sleep(Duration::from_secs(options.seconds));
    let (window, ()) = crowd
        .during(servers, async {
            time.await;
            Ok(())
        })
        .await?;
    let (frames, seconds) = (window.sum(|report| report.frames), window.took.as_secs_f64());
    for (why, count) in window.reports.iter().flat_map(|report| &report.lost_by) {
        println!("{kind}: {count} lost: {why}");
    }
    let open = entered.open.max(1) as f64;
    Ok(Measured {
        kind,
        rate,
        open: entered.open,
        lost: window.sum(|report| report.lost),
        connect_s: entered.connect_s,
        connect_cpu_us: entered.cpu_us,
        weight,
        us_per_frame: window.server_cpu.as_micros() as f64 / frames.max(1) as f64,
        marginal_us_per_frame: None,
        frames,
        expected: (seconds * rate * open) as u64,
        bytes_per_socket_s: window.sum(|report| report.bytes) as f64 / open / seconds,
        personal: window.sum(|report| report.personal),
        went_back: window.sum(|report| report.went_back),
        delays: window.times(|report| &report.delays)?,
        ages: window.times(|report| &report.ages)?,
    })
}

/// A sale whose room is open and which does not start during the run.
async fn create_sale(target: &Target) -> Result<SaleId> {
    let stamp = |time: chrono::DateTime<Utc>| time.to_rfc3339();
    let now = Utc::now();
    let body = json!({
        "product_name": "watch", "currency": "EUR", "original_price": 10_000, "sale_price": 5_000, "total_stock": 100,
        "room_opens_at": stamp(now), "start_time": stamp(now + TimeDelta::hours(2)),
        "end_time": stamp(now + TimeDelta::hours(3)),
    });
    let boss = token(target, "loadtest", Role::Admin)?;
    let sale = target.create_sale(&boss, &body).await?.parse()?;
    // Waits until its worker has opened it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(sale)
}

fn print(measured: &[Measured]) {
    println!(
        "{:<8} {:>5} {:>8} {:>9} {:>10} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
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
        "max ms",
        "age p99"
    );
    for one in measured {
        let ms = |us: u64| us as f64 / 1000.0;
        println!(
            "{:<8} {:>5} {:>8} {:>9.0} {:>10.1} {:>8.0} {:>9.0} {:>9.2} {:>7.1}% {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            one.kind,
            one.rate,
            one.open,
            one.open as f64 / one.connect_s,
            one.connect_cpu_us,
            one.weight.user,
            one.weight.kernel,
            one.us_per_frame,
            100.0 * one.frames as f64 / one.expected.max(1) as f64,
            ms(one.delays.value_at_quantile(0.5)),
            ms(one.delays.value_at_quantile(0.99)),
            ms(one.delays.max()),
            ms(one.ages.value_at_quantile(0.99)),
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
                "rss_bytes_per_socket": one.weight.user, "kernel_bytes_per_socket": one.weight.kernel,
                "us_per_frame": one.us_per_frame, "marginal_us_per_frame": one.marginal_us_per_frame, "floor_us_per_frame": floor(one.rate),
                "of_floor": floor(one.rate).map(|floor| one.us_per_frame / floor),
                "frames": one.frames, "ticks_skipped": one.expected.saturating_sub(one.frames),
                "wire_bytes_per_socket_s": one.bytes_per_socket_s, "personal_frames": one.personal,
                "went_back": one.went_back,
                "delivery_p50_ms": ms(0.5), "delivery_p99_ms": ms(0.99), "delivery_p999_ms": ms(0.999),
                "delivery_max_ms": one.delays.max() as f64 / 1000.0,
                "age_p99_ms": one.ages.value_at_quantile(0.99) as f64 / 1000.0,
            })
        })
        .collect();
    let mut report = rows.first().cloned().unwrap_or_default();
    report["seconds"] = options.seconds.into();
    report["tls"] = options.tls.into();
    report["rows"] = rows.into();
    report
}

/// A token made with the target's secret.
fn token(target: &Target, who: &str, role: Role) -> Result<String> {
    let signer = Signer::open(&crate::target::identity(), &target.data_dir)?;
    let who = who.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    signer.issue(who, role, None, TOKEN_LIFE)
}

pub fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as u64
}

/// A tick with this number, as in a sale with a long line.
pub fn tick_of(seq: u64) -> String {
    tick_for(SaleId::from_parts(1, 1), seq)
}

pub fn tick_for(sale: SaleId, seq: u64) -> String {
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
        pace: None,
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
    // Writing to memory cannot fail.
    let _ = Frame::message(text.to_owned(), OpCode::Data(Data::Text), true).format(&mut bytes);
    bytes
}

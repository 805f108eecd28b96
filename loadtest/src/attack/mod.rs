//! One address floods the server as fast as it can. What does an honest one get meanwhile, and how much of the loss is the machine's?
//! The same flood goes to a bare loop that answers 503 to everything: nothing can be cheaper than that.
//!
//! The server and its stores have one core, the flood and the honest client the other.

mod asking;
mod flood;

pub use flood::{FloodOptions, flood};

use crate::target::Target;
use anyhow::{Context, Result, bail};
use asking::{ask, connect};
use chrono::{TimeDelta, Utc};
use clap::{Args, ValueEnum};
use flashsale::auth::Signer;
use flashsale_engine::store::{Store, draws::NewEntry};
use flashsale_protocol::{Nonce, Role, SaleId};
use flood::Flood;
use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Child,
    task::JoinSet,
};

const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Pause between two of the honest client's requests.
const HONEST_EVERY: Duration = Duration::from_millis(5);
/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(5);
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const HIGHEST_US: u64 = 10_000_000;
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// Entries of the draw whose file is read: some 2 MB, more than the kernel takes from the server for a slow reader.
const DRAW_ENTRIES: usize = 40_000;
const ENTERING: usize = 2_000;
/// How long the draw may take.
const DRAW_DEADLINE: Duration = Duration::from_secs(60);
const DRAW_LOOK: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct Options {
    /// Length of each flood.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Connections of each flood.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=2_000))]
    connections: u64,
    /// File for the figures, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What the honest client got.
#[derive(Debug, Serialize)]
struct Got {
    to: &'static str,
    flood: Option<String>,
    asked: u64,
    answered: u64,
    p50_ms: f64,
    p99_ms: f64,
    flood_answers: u64,
}

pub async fn run(options: Options) -> Result<bool> {
    // The flood of sign-ins comes as if through a proxy.
    let target = Target::start_with(false, &[("FLASHSALE_TRUSTED_PROXY_HOPS", "1")]).await?;
    let passed = attack(&options, &target).await;
    target.stop().await?;
    passed
}

async fn attack(options: &Options, target: &Target) -> Result<bool> {
    let server: SocketAddr = target.url.trim_start_matches("http://").parse()?;
    let signer = Signer::open(&crate::target::identity(), &target.data_dir)?;
    let who = "loadtest".parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let token = signer.issue(who, Role::Admin, None, TOKEN_LIFE)?;
    let stamp = |hours| (Utc::now() + TimeDelta::hours(hours)).to_rfc3339();
    let sale = target
        .create_sale(
            &token,
            &json!({
                "product_name": "attacked", "currency": "EUR", "original_price": 200, "sale_price": 100, "total_stock": 10,
                "room_opens_at": stamp(0), "start_time": stamp(1), "end_time": stamp(2),
            }),
        )
        .await?;
    pin_all(target.pid().context("a server of our own")?, SERVER_CORE)?;
    pin(std::process::id(), CLIENT_CORE)?;
    let (mut floor, floor_address) = start_floor().await?;
    pin(floor.id().context("it runs")?, SERVER_CORE)?;

    let drawn = drawn_sale(target, &token).await?;
    let at = |server| At {
        server,
        sale: &sale,
        drawn: &drawn,
        seconds: options.seconds,
    };
    let mut all = vec![honest("server", at(server), None).await?];
    println!(
        "{:<8} {:<11} {:>6} {:>9} {:>9} {:>9} {:>14}",
        "to", "flood", "asked", "answered", "p50 ms", "p99 ms", "flood answers"
    );
    print(&all[0]);
    for kind in Flood::value_variants() {
        for (to, address) in [("floor", floor_address), ("server", server)] {
            let got = honest(to, at(address), Some((*kind, options.connections))).await?;
            print(&got);
            all.push(got);
        }
    }
    floor.kill().await?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&all)?)?;
    }
    Ok(true)
}

fn print(got: &Got) {
    let flood = got.flood.as_deref().unwrap_or("none");
    println!(
        "{:<8} {flood:<11} {:>6} {:>9} {:>9.1} {:>9.1} {:>14}",
        got.to, got.asked, got.answered, got.p50_ms, got.p99_ms, got.flood_answers
    );
}

/// A draw with many entries, which is held.
async fn drawn_sale(target: &Target, token: &str) -> Result<String> {
    let stamp = |hours| (Utc::now() + TimeDelta::hours(hours)).to_rfc3339();
    let body = json!({
        "product_name": "drawn", "currency": "EUR", "original_price": 200, "sale_price": 100, "total_stock": 10,
        "allocation": "draw", "start_time": stamp(0), "end_time": stamp(1),
    });
    let id = target.create_sale(token, &body).await?;
    let sale: SaleId = id.parse()?;
    let store = Store::connect(&target.stores()?.0, 2).await?;
    stream::iter(0..DRAW_ENTRIES)
        .map(|i| {
            let name = format!("{:032x}", rand::random::<u128>());
            let store = &store;
            async move {
                let new = NewEntry {
                    shopper: format!("p_{i}")
                        .parse()
                        .map_err(|error| anyhow::anyhow!("{error}"))?,
                    device: format!("d_{i}")
                        .parse()
                        .map_err(|error| anyhow::anyhow!("{error}"))?,
                    quantity: 1,
                    nonce: Some(Nonce(rand::random())),
                    name,
                };
                store.enter_draw(sale, new).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(ENTERING)
        .try_collect::<()>()
        .await?;
    store.close().await;
    let http = flashsale::tls::client();
    let ended = http
        .post(format!("{}/admin/sales/{id}/end", target.url))
        .bearer_auth(token);
    ended.send().await?.error_for_status()?;
    let until = Instant::now() + DRAW_DEADLINE;
    loop {
        let draw = http.get(format!("{}/flash-sales/{id}/draw", target.url));
        let draw: Value = draw.send().await?.json().await?;
        if draw["seed"].is_string() {
            return Ok(id);
        }
        if Instant::now() > until {
            bail!("the draw was not held: {draw}");
        }
        tokio::time::sleep(DRAW_LOOK).await;
    }
}

/// What is asked, and where.
#[derive(Clone, Copy)]
struct At<'a> {
    server: SocketAddr,
    sale: &'a str,
    drawn: &'a str,
    seconds: u64,
}

/// The honest client's answers while the flood lasts.
async fn honest(to: &'static str, at: At<'_>, flood: Option<(Flood, u64)>) -> Result<Got> {
    let flooding = flood
        .map(|(kind, connections)| start_flood(kind, at, connections))
        .transpose()?;
    let At {
        server,
        sale,
        seconds,
        ..
    } = at;
    let until = Instant::now() + Duration::from_secs(seconds);
    let took = Arc::new(Mutex::new(Histogram::<u64>::new_with_bounds(1, HIGHEST_US, 3)?));
    let request: Arc<str> =
        format!("GET /flash-sales/{sale} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into();
    let (mut asking, mut asked) = (JoinSet::new(), 0);
    let mut every = tokio::time::interval(HONEST_EVERY);
    while Instant::now() < until {
        every.tick().await;
        asked += 1;
        let (took, request) = (took.clone(), request.clone());
        asking.spawn(async move {
            let began = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, ask_once(server, &request)).await;
            let is_answer = matches!(answer, Ok(Ok(status)) if status == 200 || to == "floor");
            if let (true, Ok(mut took)) = (is_answer, took.lock()) {
                took.saturating_record(began.elapsed().as_micros() as u64);
            }
        });
    }
    asking.join_all().await;
    let flood_answers = match flooding {
        Some(child) => {
            let output = child.wait_with_output().await?;
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .context("the flood ended early")?
        }
        None => 0,
    };
    let took = took.lock().map_err(|_| anyhow::anyhow!("a task failed"))?;
    let ms = |quantile| took.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Got {
        to,
        flood: flood.map(|(kind, _)| format!("{kind:?}").to_lowercase()),
        asked,
        answered: took.len(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        flood_answers,
    })
}

async fn ask_once(server: SocketAddr, request: &str) -> Result<u16> {
    let mut stream = connect(server, HONEST, None).await?;
    Ok(ask(&mut stream, request).await?.status)
}

fn start_flood(kind: Flood, at: At<'_>, connections: u64) -> Result<Child> {
    let kind = kind.to_possible_value().context("a kind")?;
    let child = tokio::process::Command::new("taskset")
        .args(["-c", CLIENT_CORE])
        .arg(std::env::current_exe()?)
        .args(["attack-flood", kind.get_name(), &at.server.to_string()])
        .args(["--sale", at.sale, "--drawn", at.drawn])
        .args([
            "--seconds",
            &at.seconds.to_string(),
            "--connections",
            &connections.to_string(),
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("taskset (util-linux) is needed")?;
    Ok(child)
}

async fn start_floor() -> Result<(Child, SocketAddr)> {
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .arg("attack-floor")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().context("a pipe")?;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    let address = lines.next_line().await?.context("the floor ended")?.parse()?;
    Ok((child, address))
}

/// Answers 503 to whatever comes; for as long as its parent lives.
pub async fn floor() -> Result<bool> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                if stream.write_all(BUSY).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Keeps a process, with all its threads, on one core.
fn pin(pid: u32, core: &str) -> Result<()> {
    let pinned = Command::new("taskset")
        .args(["-a", "-p", "-c", core, &pid.to_string()])
        .stdout(Stdio::null())
        .status()
        .context("taskset (util-linux) is needed")?;
    if !pinned.success() {
        bail!("cannot keep process {pid} on core {core}");
    }
    Ok(())
}

/// The same for a process and its children: the stores.
fn pin_all(pid: u32, core: &str) -> Result<()> {
    pin(pid, core)?;
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        // It may have ended meanwhile.
        let _ = pin_all(child.parse()?, core);
    }
    Ok(())
}

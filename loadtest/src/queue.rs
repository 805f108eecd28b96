//! A line of millions in one Redis, filled through the same `Stock` functions as gateways and workers use: the cost of an entry
//! in memory and time, and of an admission step while all of them wait.

use crate::bench::scripts::{Used, field, open};
use crate::figure::{Figure, Target};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use flashsale::embedded;
use flashsale_engine::{
    sale::{LaneRef, LineName},
    stock::{ADMIT_BATCH, Called, CalledBy, Claimed, Join, JoinHow, Joined, Stands, Stock, TurnVerdict},
};
use flashsale_protocol::{DeviceId, SaleId, ShopperId};
use fred::{
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, InfoKind},
};
use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Joins in one script call, as gateways batch them.
const BATCH: u64 = 256;
/// Calls under way at once; items collected meanwhile go with the next call.
const AT_ONCE: u64 = 16;
/// The history is taken away after this many joins; the worker does it once a second.
const DRAIN_EVERY: u64 = 4 * 4_096;
/// Length of the line for comparison.
const SHORT_LINE: u64 = 10_000;
/// Entries called by one step.
const STEP: usize = 1_000;
const STEPS: u64 = 30;
const RANKS: u64 = 16_384;
/// How often another script asks during the steps.
const PROBE_EVERY: Duration = Duration::from_millis(2);
/// The prober names itself like a leader.
const PROBE: &str = "probe";

#[derive(Args)]
pub struct Options {
    /// People in line.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(SHORT_LINE..=20_000_000))]
    entries: u64,
    /// File for the figures.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Gives up after this many minutes.
    #[arg(long, default_value_t = 15)]
    minutes: u64,
}

#[derive(Serialize)]
struct Report {
    entries: u64,
    /// Redis' used_memory with all of them in line, minus its use when empty.
    redis_bytes: u64,
    bytes_per_entry: f64,
    /// Per entry, for the whole Redis process: with parsing, the append-only file and the history that a worker takes away.
    join_us_cpu: f64,
    /// For the script alone.
    join_us_script: f64,
    joins_per_s: f64,
    rank_us_cpu: f64,
    /// A step is the scripts admit, claim and settle_admission for 1,000 entries, in rounds: CPU of the whole Redis process.
    admit_step_ms_p50: f64,
    admit_step_ms_p99: f64,
    /// The same by wall clock, within the scripts; on a busy machine it includes the time in which others had the core.
    admit_step_wall_ms_p50: f64,
    admit_step_wall_ms_p99: f64,
    /// The longest single script of all steps, by wall clock.
    longest_script_ms: f64,
    short_line: u64,
    short_line_step_ms_p50: f64,
    short_line_step_ms_p99: f64,
    /// p50 with all in line, divided by p50 with 10,000.
    step_ratio: f64,
    /// The longest wait of another script for its answer: while nothing else ran, and during the steps.
    other_script_idle_ms: f64,
    other_script_ms_p99: f64,
    other_script_ms_max: f64,
    took_s: f64,
    figures: Vec<Figure>,
}

pub async fn run(options: Options) -> Result<bool> {
    let scratch = tempfile::tempdir()?;
    let (mut redis, url) = embedded::start_redis_alone(scratch.path()).await?;
    let limit = Duration::from_secs(60 * options.minutes);
    let measured = tokio::time::timeout(limit, measure(&options, &url)).await;
    redis.kill()?;
    redis.wait()?;
    let report = measured.context("the time was up before the measurement was done")??;
    if let Some(json) = &options.json {
        fs::write(json, serde_json::to_string_pretty(&report)?)?;
    }
    println!("{}", table(&report));
    Ok(true)
}

async fn measure(options: &Options, url: &str) -> Result<Report> {
    let began = Instant::now();
    let stock = Stock::connect(url, "").await?;
    let empty = used_memory(&stock).await?;
    let short = Line::open(&stock).await?;
    short.fill(0, SHORT_LINE, None).await?;
    let short_steps = short.steps(SHORT_LINE).await?;

    let line = Line::open(&stock).await?;
    let bar = ProgressBar::new(options.entries);
    bar.set_style(ProgressStyle::with_template(
        "{msg} {human_pos}/{human_len} {bar:30} {per_sec} {eta}",
    )?);
    bar.set_message("joining");
    let before_memory = used_memory(&stock).await?;
    let (before, since) = (Used::by(&stock.client()).await?, Instant::now());
    line.fill(0, options.entries, Some(&bar)).await?;
    let (after, took) = (Used::by(&stock.client()).await?, since.elapsed());
    bar.finish();
    let entries = options.entries as f64;
    let redis_bytes = used_memory(&stock).await? - before_memory;
    println!(
        "{} entries in line, {} bytes each",
        options.entries,
        redis_bytes / options.entries
    );
    // A rewrite of the append-only file forks, which is not part of a step's cost.
    let config = CustomCommand::new_static("CONFIG", ClusterHash::Random, false);
    let setting = vec!["SET", "auto-aof-rewrite-percentage", "0"];
    let _: () = stock.client().custom(config, setting).await?;
    while rewrites(&stock).await? {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let rank_us_cpu = line.ranks(options.entries).await?;
    let idle = Probe::start(url, line.at.sale).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = idle.stop().await?;
    let probe = Probe::start(url, line.at.sale).await?;
    let steps = line.steps(options.entries).await?;
    let other = probe.stop().await?;

    let [step_p50, step_p99] = [0.5, 0.99].map(|share| quantile(&steps.cpu_ms, share));
    let [short_p50, short_p99] = [0.5, 0.99].map(|share| quantile(&short_steps.cpu_ms, share));
    let ratio = step_p50 / short_p50;
    let mut report = Report {
        entries: options.entries,
        redis_bytes,
        bytes_per_entry: redis_bytes as f64 / entries,
        join_us_cpu: (after.cpu_us - before.cpu_us) / entries,
        join_us_script: (after.script_us - before.script_us) / entries,
        joins_per_s: entries / took.as_secs_f64(),
        rank_us_cpu,
        admit_step_ms_p50: step_p50,
        admit_step_ms_p99: step_p99,
        admit_step_wall_ms_p50: quantile(&steps.wall_ms, 0.5),
        admit_step_wall_ms_p99: quantile(&steps.wall_ms, 0.99),
        longest_script_ms: steps.longest_ms,
        short_line: SHORT_LINE,
        short_line_step_ms_p50: short_p50,
        short_line_step_ms_p99: short_p99,
        step_ratio: ratio,
        other_script_idle_ms: quantile(&idle, 1.0),
        other_script_ms_p99: quantile(&other, 0.99),
        other_script_ms_max: quantile(&other, 1.0),
        took_s: began.elapsed().as_secs_f64(),
        figures: Vec::new(),
    };
    let value = serde_json::to_value(&report)?;
    report.figures = figures(&|key| value[key].as_f64().unwrap_or(f64::NAN));
    ensure!(empty > 0, "Redis uses no memory");
    stock.quit().await;
    Ok(report)
}

/// A report's numbers with their targets.
pub fn figures(of: &dyn Fn(&str) -> f64) -> Vec<Figure> {
    [
        (
            "bytes per entry, with device uniqueness",
            "bytes_per_entry",
            "B",
            260.0,
        ),
        ("Redis CPU per join, 256 in a batch", "join_us_cpu", "µs", 10.0),
        ("Redis CPU per rank, 256 in a batch", "rank_us_cpu", "µs", 10.0),
        ("an admission step of 1,000, p99", "admit_step_ms_p99", "ms", 20.0),
        (
            "that step by the same with 10,000 in line",
            "step_ratio",
            "x",
            2.0,
        ),
        (
            "the longest that another script waited",
            "other_script_ms_max",
            "ms",
            20.0,
        ),
    ]
    .map(|(name, key, unit, most)| Figure::new(format!("Line: {name}"), of(key), unit, Target::AtMost(most)))
    .into()
}

fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} entries, {:.2} GB, joined at {:.0} a second; a step {:.2} ms (p50) and {:.2} ms (p99) of Redis CPU, {:.2} and {:.2} by \
         the clock, with {} in line {:.2} and {:.2} ms; the longest script {:.2} ms; another script waited {:.2} ms at p99, {:.2} ms while nothing ran",
        report.entries,
        report.redis_bytes as f64 / 1e9,
        report.joins_per_s,
        report.admit_step_ms_p50,
        report.admit_step_ms_p99,
        report.admit_step_wall_ms_p50,
        report.admit_step_wall_ms_p99,
        report.short_line,
        report.short_line_step_ms_p50,
        report.short_line_step_ms_p99,
        report.longest_script_ms,
        report.other_script_ms_p99,
        report.other_script_idle_ms,
    )];
    lines.extend(report.figures.iter().map(Figure::line));
    lines.join("\n")
}

/// A sale's line, and the lane that its claims are for.
struct Line<'a> {
    stock: &'a Stock,
    at: LaneRef,
}

struct Steps {
    /// CPU of the whole Redis process, and the scripts' wall time; on a busy machine the latter includes the time of others.
    cpu_ms: Vec<f64>,
    wall_ms: Vec<f64>,
    longest_ms: f64,
}

impl<'a> Line<'a> {
    async fn open(stock: &'a Stock) -> Result<Self> {
        let (_, at) = open(stock, 100_000_000).await?;
        Ok(Self { stock, at })
    }

    /// Lets the people with these numbers join.
    async fn fill(&self, from: u64, to: u64, bar: Option<&ProgressBar>) -> Result<()> {
        let sale = self.at.sale;
        let mut drained = from;
        for first in (from..to).step_by((BATCH * AT_ONCE) as usize) {
            let last = (first + BATCH * AT_ONCE).min(to);
            let joins = (first..last).map(|n| async move {
                let join = Join {
                    shopper: shopper(n)?,
                    device: device(n)?,
                    quantity: 1,
                    old_place: None,
                    opening_place: None,
                    line: LineName::Queue,
                    nonce: None,
                };
                let command = Some(crate::shopper::command_id());
                match self
                    .stock
                    .join_as(sale, join, JoinHow::Line, command)
                    .await?
                    .value
                    .value
                {
                    Joined::Waiting { .. } => Ok(()),
                    other => bail!("{n} is not in line: {other:?}"),
                }
            });
            for joined in join_all(joins).await {
                joined?;
            }
            if last - drained >= DRAIN_EVERY || last == to {
                drain(self.stock, sale).await?;
                drained = last;
            }
            if let Some(bar) = bar {
                bar.set_position(last - from);
                // Without a terminal there is no bar, but a line for each tenth.
                let tenth = (to - from).div_ceil(10);
                if bar.is_hidden() && (last - from) / tenth > (first - from) / tenth {
                    println!("joining: {} of {}", last - from, to - from);
                }
            }
        }
        Ok(())
    }

    /// Redis' CPU for one rank.
    async fn ranks(&self, entries: u64) -> Result<f64> {
        let before = Used::by(&self.stock.client()).await?;
        for first in (0..RANKS).step_by(BATCH as usize) {
            let looks = (first..first + BATCH).map(|n| async move {
                // Spread over the whole line, from front to back.
                let n = n * 0x9E37_79B9 % entries;
                match self.stock.place(self.at.sale, shopper(n)?).await?.value.value {
                    Stands::Waiting { position, .. } => {
                        ensure!(position == n + 1, "{n} stands at {position}");
                        Ok(())
                    }
                    other => bail!("{n} is not in line: {other:?}"),
                }
            });
            for looked in join_all(looks).await {
                looked?;
            }
        }
        let after = Used::by(&self.stock.client()).await?;
        Ok((after.cpu_us - before.cpu_us) / RANKS as f64)
    }

    /// Admission steps; after each one as many people join as were called, so that the line keeps its length.
    async fn steps(&self, entries: u64) -> Result<Steps> {
        let (stock, sale) = (self.stock, self.at.sale);
        let mut steps = Steps {
            cpu_ms: Vec::new(),
            wall_ms: Vec::new(),
            longest_ms: 0.0,
        };
        for n in 0..STEPS {
            let began = Used::by(&stock.client()).await?;
            let mut since = began.script_us;
            let mut left = STEP;
            while left > 0 {
                let mut lap = async || {
                    let now = Used::by(&stock.client()).await?.script_us;
                    steps.longest_ms = steps.longest_ms.max((now - since) / 1000.0);
                    since = now;
                    anyhow::Ok(())
                };
                let Called { called, .. } = stock.admit(sale, left, 50).await?;
                lap().await?;
                ensure!(
                    called.len() == left.min(ADMIT_BATCH),
                    "{} were called",
                    called.len()
                );
                left -= called.len();
                let claimed = stock.claim(self.at, CalledBy::Line, &called).await?.value;
                lap().await?;
                let verdicts: Vec<(ShopperId, TurnVerdict)> = called
                    .into_iter()
                    .zip(claimed)
                    .map(|((shopper, _), claimed)| match claimed {
                        Claimed::Ok { .. } => Ok((shopper, TurnVerdict::Served)),
                        other => bail!("a claim was not granted: {other:?}"),
                    })
                    .collect::<Result<_>>()?;
                stock.settle_admission(sale, &verdicts).await?;
                lap().await?;
            }
            let ended = Used::by(&stock.client()).await?;
            steps.wall_ms.push((ended.script_us - began.script_us) / 1000.0);
            steps.cpu_ms.push((ended.cpu_us - began.cpu_us) / 1000.0);
            let next = entries + n * STEP as u64;
            self.fill(next, next + STEP as u64, None).await?;
        }
        Ok(steps)
    }
}

/// The work of the worker that writes the history, without Postgres.
async fn drain(stock: &Stock, sale: SaleId) -> Result<()> {
    loop {
        let journal = stock.journal(sale).await?;
        let notes = journal.notes.len();
        if notes == 0 {
            return Ok(());
        }
        stock.drop_journal(sale, journal).await?;
    }
}

/// Another script, called all the time over its own connection.
struct Probe {
    stop: CancellationToken,
    asking: tokio::task::JoinHandle<Result<Vec<f64>>>,
}

impl Probe {
    async fn start(url: &str, sale: SaleId) -> Result<Self> {
        let stock = Stock::connect(url, "").await?;
        ensure!(
            stock.lead(sale, PROBE, Duration::from_secs(3_600)).await?,
            "somebody else leads"
        );
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let asking = tokio::spawn(async move {
            let mut waited_ms = Vec::new();
            while !stopped.is_cancelled() {
                let asked = Instant::now();
                stock.number_tick(sale, PROBE).await?;
                waited_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
                tokio::time::sleep(PROBE_EVERY).await;
            }
            stock.quit().await;
            Ok(waited_ms)
        });
        Ok(Self { stop, asking })
    }

    async fn stop(self) -> Result<Vec<f64>> {
        self.stop.cancel();
        self.asking.await?
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(at - 1).copied().unwrap_or(f64::NAN)
}

async fn used_memory(stock: &Stock) -> Result<u64> {
    let memory: String = stock.client().info(Some(InfoKind::Memory)).await?;
    Ok(field(&memory, '\n', "used_memory:")? as u64)
}

async fn rewrites(stock: &Stock) -> Result<bool> {
    let persistence: String = stock.client().info(Some(InfoKind::Persistence)).await?;
    Ok(field(&persistence, '\n', "aof_rewrite_in_progress:")? > 0.0)
}

/// Names as long as real guests' and their devices'.
fn shopper(n: u64) -> Result<ShopperId> {
    format!("g_{n:022}")
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn device(n: u64) -> Result<DeviceId> {
    format!("d_{n:022}.{n:022}")
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

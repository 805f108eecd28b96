//! The figures that we stand for, measured on a private Redis and Postgres, as JSON and as one page with plots. A missed target
//! is shown but does not fail the run: a machine's speed is no property of the code.

pub mod cpu;
mod machine;
mod orders;
mod page;
pub mod scripts;

use crate::figure::{Figure, Target, number};
use anyhow::{Context, Result};
use chrono::{TimeDelta, Utc};
use clap::Args;
use flashsale::embedded::Services;
use flashsale_engine::sale::{FORMATS, LaneInfo, Sale, TARGET_DELAY_MS};
use flashsale_protocol::{CommandId, DeviceId, OrderId, Phase, SaleId, ShopperId};
use machine::Machine;
use serde::Serialize;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, path::PathBuf, time::Duration};

/// Holds, claims and orders last longer than any measurement.
const LONG_MS: u64 = 86_400_000;

#[derive(Args)]
pub struct Options {
    /// Folder for the figures (orders.json, scripts.json, figures.json, index.html), and for those of other scenarios (rush.json,
    /// purchases.json, line.json, watch.json, million.json, chaos-*.json).
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Rounds of each measurement; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Duration of one round of orders.
    #[arg(long, default_value_t = 3_000)]
    round_ms: u64,
    /// Measures nothing: makes the page anew from the existing JSON files.
    #[arg(long)]
    page_only: bool,
}

/// True: everything was measured.
pub async fn run(options: Options) -> Result<bool> {
    let out = &options.out;
    fs::create_dir_all(out)?;
    if !options.page_only {
        measure(&options).await?;
    }
    let machine = read(&out.join("machine.json")).context("nothing was measured yet")?;
    let parts = Parts {
        machine: serde_json::from_value(machine)?,
        orders: read(&out.join("orders.json")).and_then(|v| serde_json::from_value(v).ok()),
        scripts: read(&out.join("scripts.json")).and_then(|v| serde_json::from_value(v).ok()),
        rush: read(&out.join("rush.json")),
        purchases: read(&out.join("purchases.json")),
        purchases_by_rate: read(&out.join("purchases-by-rate.json")),
        line: read(&out.join("line.json")),
        watch: read(&out.join("watch.json")),
        million: read(&out.join("million.json")),
        draw: read(&out.join("draw.json")),
        queue: read(&out.join("queue.json")),
        chaos: chaos_runs(out)?,
    };
    let figures = figures(&parts);
    figures.iter().for_each(|figure| println!("{}", figure.line()));
    write(&out.join("figures.json"), &figures)?;
    let page = out.join("index.html");
    fs::write(&page, page::page(&parts, &figures))?;
    println!("the page: {}", page.display());
    Ok(true)
}

async fn measure(options: &Options) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    // Postgres' own user must be able to enter.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
    let services = Services::start(scratch.path()).await?;
    let measured = async {
        let out = &options.out;
        let mut machine = Machine::look(&services.database_url, &services.redis_url).await?;
        println!("{}", machine.line());
        let round = Duration::from_millis(options.round_ms);
        let orders = orders::measure(&services.database_url, options.rounds, round).await?;
        write(&out.join("orders.json"), &orders)?;
        // On a runtime with one thread, a batch is exactly the items sent at once.
        let (redis_url, rounds) = (services.redis_url.clone(), options.rounds);
        let scripts = tokio::task::spawn_blocking(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(scripts::measure(&redis_url, rounds))
        })
        .await??;
        write(&out.join("scripts.json"), &scripts)?;
        machine.finished();
        write(&out.join("machine.json"), &machine)
    };
    let measured = measured.await;
    services.stop().await;
    measured
}

/// The content of the page.
pub struct Parts {
    machine: Machine,
    orders: Option<orders::Orders>,
    scripts: Option<scripts::Scripts>,
    rush: Option<Value>,
    /// What a purchase costs with more and more lanes, and at one arrival rate after the other.
    purchases: Option<Value>,
    purchases_by_rate: Option<Value>,
    /// A rush whose line moves for some time.
    line: Option<Value>,
    watch: Option<Value>,
    million: Option<Value>,
    draw: Option<Value>,
    queue: Option<Value>,
    /// The file's name and its content.
    chaos: Vec<(String, Value)>,
}

fn figures(parts: &Parts) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(orders) = &parts.orders {
        figures.extend(orders.figures());
    }
    if let Some(scripts) = &parts.scripts {
        figures.extend(scripts.figures());
    }
    if let Some(rush) = &parts.rush {
        for (key, name) in [
            ("oversold", "Rush: units oversold"),
            ("lost_orders", "Rush: orders lost"),
        ] {
            if let Some(count) = rush[key].as_f64() {
                figures.push(Figure::new(name, count, "", Target::AtMost(0.0)));
            }
        }
    }
    figures.extend(parts.purchases.iter().flat_map(crate::purchases::figures));
    if let Some(mean) = parts
        .line
        .as_ref()
        .and_then(|line| line["wire_bytes_per_s"]["change_mean"].as_f64())
    {
        let name = "Line: bytes to each who waits, at one tick a second";
        figures.push(Figure::new(name, mean, "B/s", Target::AtMost(200.0)));
    }
    figures.extend(parts.watch.iter().flat_map(watch_figures));
    figures.extend(parts.million.iter().flat_map(million_figures));
    if let Some(queue) = &parts.queue {
        figures.extend(crate::queue::figures(&|key| {
            queue[key].as_f64().unwrap_or(f64::NAN)
        }));
    }
    if let Some(draw) = &parts.draw {
        let of = |key: &str| draw[key].as_f64().unwrap_or(f64::NAN);
        let entries = number(of("entries"));
        let most = Target::AtMost;
        figures.extend([
            Figure::new(
                format!("Draw: one pass over {entries} entries"),
                of("seconds"),
                "s",
                most(30.0),
            ),
            Figure::new("Draw: peak memory", of("peak_rss_bytes") / 1e6, "MB", most(500.0)),
            Figure::new(
                "Draw: chi-square p, 20 seeds",
                of("chi_square_p"),
                "",
                Target::AtLeast(0.001),
            ),
        ]);
    }
    if !parts.chaos.is_empty() {
        let violations: usize = parts
            .chaos
            .iter()
            .map(|(_, run)| run["violations"].as_array().map_or(0, Vec::len))
            .sum();
        let name = format!("Faults: violations in {} runs", parts.chaos.len());
        figures.push(Figure::new(name, violations as f64, "", Target::AtMost(0.0)));
    }
    for (fault, took) in recovery_ms(&parts.chaos) {
        if let Some(most) = recovery_target_ms(&fault) {
            let name = format!("Faults: selling again after {}", fault.replace('_', " "));
            figures.push(Figure::new(name, took, "ms", Target::AtMost(most)));
        }
    }
    let reconnected = parts
        .chaos
        .iter()
        .filter_map(|(_, run)| run["reconnected_max_ms"].as_f64());
    if let Some(slowest) = reconnected.reduce(f64::max) {
        let name = "Faults: shoppers of a killed gateway are back with place and hold";
        figures.push(Figure::new(name, slowest, "ms", Target::AtMost(RECONNECTED_MS)));
    }
    figures
}

fn watch_figures(watch: &Value) -> Vec<Figure> {
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or(0.0);
    let rows = || watch["rows"].as_array().into_iter().flatten();
    let mut figures = Vec::new();
    for row in rows().filter(|row| row["server"] == "gateway") {
        let rate = number(row, "rate");
        if let Some(floor) = row["floor_us_per_frame"].as_f64() {
            let name = format!("Watching: CPU per frame against a bare loop's, {rate}/s");
            let ratio = number(row, "us_per_frame") / floor;
            figures.push(Figure::new(name, ratio, "×", Target::AtMost(1.15)));
        }
        let name = format!("Watching: delivery p99, {rate}/s");
        figures.push(Figure::new(
            name,
            number(row, "delivery_p99_ms"),
            "ms",
            Target::AtMost(100.0),
        ));
        // A rate without a target is beyond what a core can send.
        if row["floor_us_per_frame"].is_null() {
            let name = format!("Watching: age of what shoppers see p99, {rate}/s");
            let age = number(row, "age_p99_ms");
            figures.push(Figure::new(name, age, "ms", Target::AtMost(200.0)));
        }
    }
    if let Some(row) = rows().find(|row| row["server"] == crate::watch::BESIDE_BAD) {
        let name = "Watching: delivery p99 beside bad neighbours against without";
        let ratio = number(row, "delivery_p99_ms") / number(watch, "delivery_p99_ms");
        figures.push(Figure::new(name, ratio, "×", Target::AtMost(1.1)));
    }
    for (what, key) in [
        ("CPU per frame", "marginal_us_per_frame"),
        ("CPU per arrival", "connect_cpu_us"),
        ("user memory per shopper", "rss_bytes_per_socket"),
    ] {
        let costs = || {
            rows()
                .filter(|row| row["server"] == crate::watch::GROWING)
                .map(|row| number(row, key))
        };
        if let (Some(most), Some(least)) = (costs().reduce(f64::max), costs().reduce(f64::min)) {
            let name = format!("Watching: {what}, from few to all, the most against the least");
            figures.push(Figure::new(name, most / least, "×", Target::AtMost(SAME)));
        }
    }
    let memory = number(watch, "rss_bytes_per_socket");
    figures.push(Figure::new(
        "Watching: user memory per shopper",
        memory,
        "B",
        Target::AtMost(2_000.0),
    ));
    let handshakes = 1e6 / number(watch, "connect_cpu_us");
    figures.push(Figure::new(
        "Watching: signed-in arrivals per s of CPU",
        handshakes,
        "/s",
        Target::AtLeast(6_000.0),
    ));
    figures
}

fn million_figures(million: &Value) -> Vec<Figure> {
    let number = |key: &str| million[key].as_f64().unwrap_or(0.0);
    let (least, most) = (Target::AtLeast, Target::AtMost);
    let of = |what: &str| format!("A million: {what}");
    vec![
        Figure::new(of("shoppers there to the end"), number("told"), "", least(1e6)),
        Figure::new(
            of("longest without a tick"),
            number("tick_gap_max_ms") / 1e3,
            "s",
            most(15.0),
        ),
        Figure::new(
            of("sold out, told to the last"),
            number("sold_out_last_ms") / 1e3,
            "s",
            most(10.0),
        ),
        Figure::new(
            of("user memory per shopper"),
            number("rss_bytes_per_socket"),
            "B",
            most(2_000.0),
        ),
    ]
}

/// The slowest recovery from each kind of fault, over all runs.
fn recovery_ms(chaos: &[(String, Value)]) -> Vec<(String, f64)> {
    let mut worst = std::collections::BTreeMap::<String, f64>::new();
    for (_, run) in chaos {
        for (fault, took) in run["recovery_ms"].as_object().into_iter().flatten() {
            let slowest = worst.entry(fault.clone()).or_default();
            *slowest = slowest.max(took.as_f64().unwrap_or(0.0));
        }
    }
    worst.into_iter().collect()
}

/// From kill -9 of a gateway until its last shopper is back, including the client's jitter.
const RECONNECTED_MS: f64 = 5_000.0;
/// The limit for values that should not depend on the number of shoppers: 15 % above or below the middle, 1.15 / 0.85.
const SAME: f64 = 1.35;

fn recovery_target_ms(fault: &str) -> Option<f64> {
    match fault {
        "postgres_killed" => Some(3_000.0),
        fault if fault.starts_with("redis_restarted") => Some(3_000.0),
        _ => None,
    }
}

fn chaos_runs(out: &Path) -> Result<Vec<(String, Value)>> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("chaos-")
            && name.ends_with(".json")
            && let Some(run) = read(&entry.path())
        {
            runs.push((name, run));
        }
    }
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(runs)
}

/// None: the file is missing, or not JSON.
fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, what: &impl Serialize) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(what)?).with_context(|| format!("{}", path.display()))
}

/// The median; of an even number of values the higher one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

// ------------------------------------------------------------------------------------------------ sales and their people

/// A sale with one lane that is live now.
fn sale(stock: u32) -> Sale {
    let now = Utc::now();
    Sale {
        id: ulid(SaleId::from_parts),
        merchant: "bench".into(),
        product_id: "bench".into(),
        product_name: "bench".into(),
        description: String::new(),
        currency: "EUR".into(),
        original_price: 10_000,
        sale_price: 5_000,
        total_stock: stock,
        room_opens_at: now - TimeDelta::hours(2),
        start_time: now - TimeDelta::hours(1),
        end_time: now + TimeDelta::hours(24),
        per_shopper_limit: 1,
        per_device_limit: 1,
        hold_ms: LONG_MS,
        claim_ms: LONG_MS,
        payment_ms: LONG_MS,
        inflow: 1_000,
        allocation: flashsale_protocol::Allocation::Queue,
        draw_weight: flashsale_protocol::DrawWeight::Equal,
        inflow_cut_at: None,
        target_delay_ms: TARGET_DELAY_MS,
        opening_seed: None,
        priority_share: 50,
        absence_ms: 3_600_000,
        cancel_limit: 1_000_000,
        extend_once: false,
        status: Phase::Live,
        created_at: now,
        settings_version: 1,
        format: FORMATS,
        picture: None,
        terms: None,
        is_suspended: false,
        lanes: vec![LaneInfo {
            lane: 0,
            epoch: 1,
            supply: stock,
            supply_version: 0,
            allocated: 0,
            confirmed: 0,
        }],
    }
}

/// A buyer, with names as long as real guests'.
#[derive(Clone)]
struct Buyer {
    shopper: ShopperId,
    device: DeviceId,
    command: CommandId,
    order: OrderId,
}

fn buyer() -> Result<Buyer> {
    let random: u64 = rand::random();
    let name = |text: String| text.parse().map_err(|error| anyhow::anyhow!("{error}"));
    Ok(Buyer {
        shopper: name(format!("g_{random:022}"))?,
        device: format!("d_{random:022}.{random:022}")
            .parse()
            .map_err(|error| anyhow::anyhow!("{error}"))?,
        command: ulid(CommandId::from_parts),
        order: ulid(OrderId::from_parts),
    })
}

fn ulid<T>(from_parts: fn(u64, u128) -> T) -> T {
    from_parts(Utc::now().timestamp_millis() as u64, rand::random())
}

//! A million shoppers on one machine, including their own end: dozens of gateways, and processes full of shoppers who are signed
//! in, watch one sale and stand in its line until its last unit is sold.

use super::{
    crowd::{Crowd, Entering, RemoteEnd, SOCKETS_A_PROCESS, Window, cpu_of_all, end, rss_of_all},
    kernel::Settings,
    now_us,
    reading::{available_bytes, kernel_bytes},
    token, write_json,
};
use crate::{
    report::Timings,
    shopper::{Ending, Identity, Shopper},
    target::{TEST_MONEY, Target, server_binary},
};
use anyhow::{Result, bail};
use chrono::{TimeDelta, Utc};
use clap::Args;
use flashsale_protocol::{Role, SaleId};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, path::PathBuf, time::Duration};
use tokio::process::Command;

/// Handshakes of one process under way at the same time.
const AT_ONCE: usize = 400;
/// Gateways that start at the same time.
const STARTS_AT_ONCE: usize = 4;
/// Pause after everybody has come, before anything is measured.
const SETTLE: Duration = Duration::from_secs(15);
/// Longest time for the last shopper to hear of the end.
const TOLD_DEADLINE: Duration = Duration::from_secs(20);
/// With less free memory than this the run ends.
const MIN_AVAILABLE_BYTES: u64 = 1_500 << 20;
const LOOK: Duration = Duration::from_millis(500);
/// Percent of a gateway's time for ticks, because dozens of gateways share two cores.
const TICK_PERCENT: u32 = 1;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 1_000_000)]
    sockets: usize,
    /// They only watch, and do not join the line.
    #[arg(long)]
    no_line: bool,
    /// How long everybody watches before the last unit is sold.
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    #[arg(long)]
    json: Option<PathBuf>,
}

/// True: everybody was there to the end, had a tick at least every 15 s, and heard of the end within 10 s.
pub async fn run(options: Options) -> Result<bool> {
    const GAP_MS: f64 = 15_000.0;
    const TOLD_MS: f64 = 10_000.0;
    let _settings = Settings::raise();
    let target = Target::start(false).await?;
    let report = tokio::select! {
        report = hold(&options, &target) => report,
        short = memory_is_short() => short,
    };
    target.stop().await?;
    let report = report?;
    println!("{report:#}");
    if let Some(path) = &options.json {
        write_json(path, &report)?;
    }
    let at_most = |key: &str, most: f64| report[key].as_f64().is_some_and(|value| value <= most);
    Ok(report["told"] == report["sockets"]
        && at_most("lost", 0.0)
        && at_most("tick_gap_max_ms", GAP_MS)
        && at_most("sold_out_last_ms", TOLD_MS))
}

async fn memory_is_short() -> Result<Value> {
    loop {
        tokio::time::sleep(LOOK).await;
        let available = available_bytes()?;
        if available < MIN_AVAILABLE_BYTES {
            bail!("the machine has only {} MiB left", available >> 20);
        }
    }
}

async fn hold(options: &Options, target: &Target) -> Result<Value> {
    let sale = create_sale(target).await?;
    let count = options.sockets.div_ceil(SOCKETS_A_PROCESS);
    let gateways = start_gateways(target, count).await?;
    println!("{count} gateways are ready");
    let (free, kernel, user) = (available_bytes()?, kernel_bytes()?, rss_of_all(&gateways)?);

    let mut crowd = Crowd::default();
    let entering = Entering {
        sale: Some(sale),
        join: !options.no_line,
        data_dir: &target.data_dir,
        core: None,
        at_once: AT_ONCE,
        tls_cert: None,
    };
    let entered = crowd.enter(options.sockets, &gateways, entering).await?;
    println!(
        "{} sockets are open after {:.1} s",
        entered.open, entered.connect_s
    );
    tokio::time::sleep(SETTLE).await;
    let sockets = options.sockets as f64;
    let user_after = rss_of_all(&gateways)?;
    let kernel_after = kernel_bytes()?;

    let watching = async {
        tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        Ok(())
    };
    let (watched, ()) = crowd.during(&gateways, watching).await?;
    let least_free = available_bytes()?;
    let selling = async {
        // The buyer was away meanwhile, as people are.
        let mut buyer = enter_buyer(target, sale).await?;
        let began = now_us();
        match buyer.check_out(&Timings::default()).await? {
            Ending::Bought => {}
            other => bail!("the last unit is not sold: {other:?}"),
        }
        // The event of which everybody must hear.
        let sold = now_us();
        tokio::time::sleep(TOLD_DEADLINE).await;
        Ok((began, sold))
    };
    let (end_of_sale, (began, sold)) = crowd.during(&gateways, selling).await?;
    let clients = crowd.rss()?;
    let cpu = cpu_of_all(&gateways)?;
    crowd.leave().await?;
    end(gateways).await?;

    let gaps = watched.times(|report| &report.gaps)?;
    let told = told_after(&end_of_sale, sold)?;
    let ms = |us: u64| us as f64 / 1000.0;
    let frames = watched.sum(|report| report.frames);
    Ok(json!({
        "sockets": entered.open, "in_line": !options.no_line, "gateways": count,
        "lost": end_of_sale.sum(|report| report.lost), "went_back": end_of_sale.sum(|report| report.went_back),
        "connect_s": entered.connect_s, "connects_per_s": sockets / entered.connect_s,
        "connect_cpu_us": entered.cpu_us,
        "rss_bytes_per_socket": user_after.saturating_sub(user) as f64 / sockets,
        "gateway_rss_mib": user_after >> 20, "gateway_rss_before_mib": user >> 20,
        "client_rss_bytes_per_socket": clients as f64 / sockets,
        // Both ends are on this machine.
        "kernel_bytes_per_socket": kernel_after.saturating_sub(kernel) as f64 / sockets / 2.0,
        "machine_mib": free.saturating_sub(least_free) >> 20, "machine_mib_left": least_free >> 20,
        "ticks_per_s": frames as f64 / watched.took.as_secs_f64(),
        "us_per_frame": watched.server_cpu.as_micros() as f64 / frames.max(1) as f64,
        "gateway_cpu_s": cpu.as_secs_f64(),
        "tick_gap_p50_ms": ms(gaps.value_at_quantile(0.5)), "tick_gap_p99_ms": ms(gaps.value_at_quantile(0.99)),
        "tick_gap_max_ms": ms(gaps.max()),
        "told": told.len(), "sale_took_ms": ms(sold - began),
        "sold_out_p50_ms": ms(told.value_at_quantile(0.5)), "sold_out_p99_ms": ms(told.value_at_quantile(0.99)),
        "sold_out_last_ms": ms(told.max()),
    }))
}

/// Time from an event until shoppers were told, in µs.
fn told_after(window: &Window, event_us: u64) -> Result<Histogram<u64>> {
    let mut told = Histogram::new_with_bounds(1, crate::report::HIGHEST_US, 3)?;
    for report in &window.reports {
        // Counting began before the event.
        let early = event_us.saturating_sub(report.began_us);
        for (after, count) in &report.told {
            told.saturating_record_n(after.saturating_sub(early).max(1), *count);
        }
    }
    Ok(told)
}

/// A sale of one unit, which its buyer holds while all others arrive.
async fn create_sale(target: &Target) -> Result<SaleId> {
    let now = Utc::now();
    let body = json!({
        "product_name": "million", "currency": "EUR", "original_price": 10_000, "sale_price": 5_000, "total_stock": 1,
        "hold_ms": HOUR.as_millis() as u64, "absence_ms": HOUR.as_millis() as u64,
        "start_time": now.to_rfc3339(), "end_time": (now + TimeDelta::hours(3)).to_rfc3339(),
    });
    let sale = target
        .create_sale(&token(target, "loadtest", Role::Admin)?, &body)
        .await?
        .parse()?;
    enter_buyer(target, sale).await?.hold().await?;
    Ok(sale)
}

async fn enter_buyer(target: &Target, sale: SaleId) -> Result<Shopper> {
    let identity = Identity {
        name: "buyer".into(),
        device: "device-of-buyer".into(),
        token: token(target, "buyer", Role::Shopper)?,
        from: Ipv4Addr::LOCALHOST,
    };
    let address = target.url.trim_start_matches("http://").parse()?;
    Shopper::enter(address, sale, identity).await
}

async fn start_gateways(target: &Target, count: usize) -> Result<Vec<RemoteEnd>> {
    let mut gateways = Vec::new();
    while gateways.len() < count {
        let more = (count - gateways.len()).min(STARTS_AT_ONCE);
        let starts = (0..more).map(async |_| RemoteEnd::start(gateway(target).await?, None).await);
        for started in futures_util::future::join_all(starts).await {
            gateways.push(started?);
        }
    }
    Ok(gateways)
}

/// A small gateway, with one thread for each of its parts.
async fn gateway(target: &Target) -> Result<Command> {
    let (database, redis) = target.stores()?;
    let hour = HOUR.as_millis().to_string();
    let percent = TICK_PERCENT.to_string();
    let mut command = Command::new(server_binary().await?);
    command
        .args(["serve", "--roles", "gateway", "--listen", "127.0.0.1:0"])
        .args(["--threads", "1", "--shards", "1", "--database-connections", "1"])
        .args(["--tick-percent", &percent, "--handshakes-per-s", "100000"])
        // A shopper who only watches sends nothing: ticks and TCP show whether they are there.
        .args([
            "--idle-timeout-ms",
            &hour,
            "--head-timeout-ms",
            "60000",
            "--hello-timeout-ms",
            "60000",
        ])
        .arg("--data-dir")
        .arg(&target.data_dir)
        .env(TEST_MONEY.0, TEST_MONEY.1)
        .env("DATABASE_URL", database)
        .env("REDIS_URL", redis);
    Ok(command)
}

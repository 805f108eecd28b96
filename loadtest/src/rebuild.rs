//! A lane that Redis has lost, in a sale with very many cancellations: the time until it sells again, and the memory it needs.
//! The orders are written directly into Postgres, as after a long sale.

use crate::target::Target;
use anyhow::{Context, Result, bail};
use chrono::{TimeDelta, Utc};
use clap::Args;
use flashsale::auth::Signer;
use flashsale_engine::{sale::LaneRef, stock::Stock};
use flashsale_protocol::{Role, SaleId};
use fred::interfaces::KeysInterface;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// Cancelled orders of one shopper.
const OF_ONE: i64 = 10;

#[derive(Args)]
pub struct Options {
    /// Cancelled orders in the lane.
    #[arg(long, default_value_t = 1_000_000)]
    cancelled: i64,
    /// Confirmed orders in the lane.
    #[arg(long, default_value_t = 100_000)]
    orders: i64,
    /// Rounds; the slowest counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// File for the figures, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// True: the lane came back each time, with the right numbers.
pub async fn run(options: Options) -> Result<bool> {
    let target = Target::start(false).await?;
    let measured = measure(&options, &target).await;
    target.stop().await?;
    measured
}

async fn measure(options: &Options, target: &Target) -> Result<bool> {
    let signer = Signer::open(&crate::target::identity(), &target.data_dir)?;
    let who = "loadtest".parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let token = signer.issue(who, Role::Admin, None, Duration::from_secs(3_600))?;
    let now = Utc::now();
    let body = json!({
        "product_name": "rebuild", "currency": "EUR", "original_price": 2, "sale_price": 1,
        "total_stock": options.orders + 1_000, "start_time": now, "end_time": now + TimeDelta::hours(1),
    });
    let sale: SaleId = target.create_sale(&token, &body).await?.parse()?;
    let (database_url, redis_url) = target.stores()?;
    let mut database = PgConnection::connect(&database_url).await?;
    fill(&mut database, sale, options).await?;

    let stock = Stock::connect(&redis_url, "").await?;
    let before = peak_bytes(target)?;
    let (mut slowest, mut epoch) = (Duration::ZERO, 1);
    for round in 1..=options.rounds {
        let lost = LaneRef { sale, lane: 0, epoch };
        let _: u64 = stock.client().del(stock.keys().lane("stock", lost)).await?;
        let began = Instant::now();
        epoch = loop {
            if began.elapsed() > DEADLINE {
                bail!("the lane did not open again within {} s", DEADLINE.as_secs());
            }
            tokio::time::sleep(LOOK).await;
            let open: Option<u32> = fred::interfaces::HashesInterface::hget(
                &stock.client(),
                stock.keys().lane("stock", lost),
                "epoch",
            )
            .await?;
            if let Some(open) = open {
                break open;
            }
        };
        let took = began.elapsed();
        slowest = slowest.max(took);
        let counters = stock.counters(LaneRef { epoch, ..lost }).await?;
        println!(
            "round {round}: open again after {:.2} s; {counters:?}",
            took.as_secs_f64()
        );
        if (counters.sold, counters.available) != (options.orders as u64, 1_000) {
            bail!("the lane came back with wrong numbers");
        }
    }
    let memory = peak_bytes(target)?.saturating_sub(before);
    println!(
        "{} cancelled and {} live orders: selling again after {:.2} s at worst (a look every second is in it), {:.0} MB more at the peak",
        options.cancelled,
        options.orders,
        slowest.as_secs_f64(),
        memory as f64 / 1e6
    );
    if let Some(path) = &options.json {
        let report = json!({
            "cancelled": options.cancelled, "orders": options.orders, "slowest_s": slowest.as_secs_f64(),
            "peak_bytes": memory,
        });
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    stock.quit().await;
    Ok(true)
}

async fn fill(database: &mut PgConnection, sale: SaleId, options: &Options) -> Result<()> {
    // A ULID's letters, made from a number.
    let insert = "INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested,
            quantity_allocated, unit_price, amount, currency, status, reason, expires_at, hold_command)
         SELECT $2 || lpad(n::text, 25, '0'), $1, 0, $3 || (n / $4), 'd-' || (n / $4), 1, 1, 1, 1, 'EUR', $5, $6, now(), 'h' || n
         FROM generate_series(1, $7::bigint) n";
    let rows = [
        (
            "0",
            "c-",
            OF_ONE,
            "cancelled",
            Some("by_shopper"),
            options.cancelled,
        ),
        ("1", "u-", 1, "confirmed", None, options.orders),
    ];
    for (prefix, who, of_one, status, reason, count) in rows {
        sqlx::query(insert)
            .bind(sale.to_string())
            .bind(prefix)
            .bind(who)
            .bind(of_one)
            .bind(status)
            .bind(reason)
            .bind(count)
            .execute(&mut *database)
            .await?;
    }
    sqlx::query("UPDATE sale_lanes SET allocated = $2, confirmed = $2 WHERE sale_id = $1")
        .bind(sale.to_string())
        .bind(options.orders as i32)
        .execute(&mut *database)
        .await?;
    sqlx::query("ANALYZE flash_sale_orders").execute(database).await?;
    Ok(())
}

/// The server's peak memory.
fn peak_bytes(target: &Target) -> Result<u64> {
    let pid = target.pid().context("the server has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmHWM")?
        .trim()
        .parse()?;
    Ok(kib * 1024)
}

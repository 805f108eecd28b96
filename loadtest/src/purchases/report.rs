//! One run's figures: printed, and as JSON. Pure.

use super::{
    crowd::{Ended, VERBS},
    meter::{Table, Used},
};
use crate::{figure::number, report::Timings};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The purchases a second that the platform is made for.
const GOAL_PER_S: f64 = 100_000.0;

/// What was measured, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    pub lanes: u32,
    pub masters: usize,
    /// Everybody goes through the line.
    pub has_line: bool,
    /// Arrivals a second; None: as fast as it goes.
    pub rate: Option<f64>,
}

impl Case {
    pub fn name(&self) -> String {
        let lanes = match (self.lanes, self.has_line) {
            (1, true) => "1 lane".to_owned(),
            (1, false) => "1 lane, no line".to_owned(),
            (lanes, _) => format!("{lanes} lanes"),
        };
        let masters = match self.masters {
            1 => String::new(),
            masters => format!(", {masters} masters"),
        };
        let rate = self
            .rate
            .map_or(String::new(), |rate| format!(", {} a second", number(rate)));
        format!("{lanes}{masters}{rate}")
    }
}

/// A run, as JSON: the keys that stay, and everything by name.
pub fn row(case: Case, server: &str, ended: &Ended, timings: &Timings, used: &Used) -> Map<String, Value> {
    let bought = ended.bought.max(1) as f64;
    let us = |time: Duration| time.as_secs_f64() * 1e6 / bought;
    let each = |count: f64| count / bought;
    let cpu = &used.cpu;
    let mut latency = Map::new();
    for verb in VERBS {
        let of = |quantile| timings.ms(verb, quantile);
        latency.insert(
            verb.into(),
            json!({ "p50": of(0.5), "p99": of(0.99), "p999": of(0.999), "max": of(1.0) }),
        );
    }
    let calls = |name: &str| used.redis_calls.get(name).copied().unwrap_or(0.0);
    let scripts = calls("evalsha") + calls("eval");
    let redis_calls: Map<String, Value> = used
        .redis_calls
        .iter()
        .map(|(name, count)| (name.clone(), each(*count).into()))
        .collect();
    let sum = |of: fn(&Table) -> i64| used.tables.iter().map(of).sum::<i64>() as f64;
    let statements = used.statements.as_ref();
    let price = json!({
        "case": case.name(), "server": server,
        "lanes": case.lanes, "masters": case.masters, "line": case.has_line, "rate": case.rate,
        "bought": ended.bought, "sold_out": ended.sold_out,
        "purchases_per_s": ended.bought as f64 / ended.last_purchase.as_secs_f64().max(0.001),
        "server_us": us(cpu.server()), "gateway_us": us(cpu.gateway), "worker_us": us(cpu.worker),
        "redis_us": us(cpu.redis + cpu.replicas), "redis_replicas_us": us(cpu.replicas),
        "postgres_us": us(cpu.postgres()),
        "postgres_parts_us": {
            "backends": us(cpu.postgres.backends), "wal_writer": us(cpu.postgres.wal_writer),
            "checkpointer": us(cpu.postgres.checkpointer), "others": us(cpu.postgres.others),
        },
        "cpu_us_per_purchase": us(cpu.platform()),
        "provider_us": us(cpu.provider), "generator_us": us(cpu.generator),
        "wal_bytes_per_purchase": each(used.wal_bytes), "wal_records_per_purchase": each(used.wal_records),
        "wal_pages_per_purchase": each(used.wal_pages),
    });
    let times = json!({
        "join_p99_ms": timings.ms("join", 0.99), "reserve_p99_ms": timings.ms("reserve", 0.99),
        "checkout_p99_ms": timings.ms("checkout", 0.99), "pay_p99_ms": timings.ms("pay", 0.99),
        "latency_ms": latency,
        "refused": ended.refused.values().sum::<u64>(), "refused_by": ended.refused,
        "unserved": ended.unserved.values().sum::<u64>(), "unserved_by": ended.unserved,
    });
    let calls = json!({
        "redis_scripts_per_purchase": each(scripts), "redis_round_trips_per_purchase": each(used.redis_reads),
        "redis_calls_per_purchase": redis_calls,
        "postgres_round_trips_per_purchase": statements.map(|all| each(all.calls)),
        "postgres_transactions_per_purchase": statements.map(|all| each(all.transactions)),
        "postgres_rows_per_purchase": statements.map(|all| each(all.rows)),
    });
    let rows = json!({
        "rows_inserted_per_purchase": each(sum(|table| table.inserted)),
        "rows_updated_per_purchase": each(sum(|table| table.updated)),
        "rows_updated_hot_per_purchase": each(sum(|table| table.updated_hot)),
        "rows_fetched_by_index_per_purchase": each(sum(|table| table.fetched_by_index)),
        "rows_scanned_per_purchase": each(sum(|table| table.scanned_rows)),
        "tables": used.tables, "statements": statements.map(|all| &all.named),
        "items_per_batch": used.batches,
        "bytes_sent_per_purchase": each(ended.traffic.received as f64),
        "bytes_received_per_purchase": each(ended.traffic.sent as f64),
        "bytes_of_ticks_per_purchase": each(ended.traffic.ticks as f64),
        "at_the_goal": at_the_goal(&us, &each, used, ended),
    });
    [price, times, calls, rows]
        .into_iter()
        .filter_map(|part| match part {
            Value::Object(part) => Some(part),
            _ => None,
        })
        .flatten()
        .collect()
}

/// What so many purchases a second would take at this run's price. No machine has done it.
fn at_the_goal(us: &dyn Fn(Duration) -> f64, each: &dyn Fn(f64) -> f64, used: &Used, ended: &Ended) -> Value {
    let cores = |time| us(time) * GOAL_PER_S / 1e6;
    let mb = |bytes| each(bytes) * GOAL_PER_S / 1e6;
    let cpu = &used.cpu;
    json!({
        "extrapolated": true, "purchases_per_s": GOAL_PER_S,
        "cores": cores(cpu.platform()), "server_cores": cores(cpu.server()),
        "redis_cores": cores(cpu.redis + cpu.replicas), "postgres_cores": cores(cpu.postgres()),
        "wal_mb_per_s": mb(used.wal_bytes),
        "network_out_mb_per_s": mb((ended.traffic.received + ended.traffic.ticks) as f64),
        "network_in_mb_per_s": mb(ended.traffic.sent as f64),
        "redis_round_trips_per_s": each(used.redis_reads) * GOAL_PER_S,
        "postgres_round_trips_per_s": used.statements.as_ref().map(|all| each(all.calls) * GOAL_PER_S),
    })
}

pub fn print(row: &Map<String, Value>) {
    let of = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    println!("\n{} ({})", text("case"), text("server"));
    println!(
        "  {} purchases/s, {} bought; {} commands refused, {} shoppers unserved",
        number(of("purchases_per_s")),
        of("bought"),
        of("refused"),
        of("unserved")
    );
    println!(
        "  CPU per purchase: {} µs = server {} (gateway {}, worker {}) + Redis {} + Postgres {}; provider {} and shoppers {} apart",
        number(of("cpu_us_per_purchase")),
        number(of("server_us")),
        number(of("gateway_us")),
        number(of("worker_us")),
        number(of("redis_us")),
        number(of("postgres_us")),
        number(of("provider_us")),
        number(of("generator_us"))
    );
    println!(
        "  Postgres: {} bytes of log in {} records, {} round trips, {} transactions; rows: {} in, {} updated ({} HOT), {} by index, {} scanned",
        number(of("wal_bytes_per_purchase")),
        number(of("wal_records_per_purchase")),
        number(of("postgres_round_trips_per_purchase")),
        number(of("postgres_transactions_per_purchase")),
        number(of("rows_inserted_per_purchase")),
        number(of("rows_updated_per_purchase")),
        number(of("rows_updated_hot_per_purchase")),
        number(of("rows_fetched_by_index_per_purchase")),
        number(of("rows_scanned_per_purchase"))
    );
    println!(
        "  Redis: {} scripts, {} round trips; network: {} bytes out, {} in, {} of ticks",
        number(of("redis_scripts_per_purchase")),
        number(of("redis_round_trips_per_purchase")),
        number(of("bytes_sent_per_purchase")),
        number(of("bytes_received_per_purchase")),
        number(of("bytes_of_ticks_per_purchase"))
    );
    println!(
        "  {:<10} {:>9} {:>9} {:>9} {:>9}",
        "ms", "p50", "p99", "p99.9", "max"
    );
    for verb in VERBS {
        let times = row.get("latency_ms").map(|all| &all[verb]);
        let at = |key: &str| times.and_then(|times| times[key].as_f64()).unwrap_or(0.0);
        let cells = ["p50", "p99", "p999", "max"].map(|key| format!("{:>9.1}", at(key)));
        println!("  {verb:<10} {}", cells.join(" "));
    }
    if let Some(batches) = row.get("items_per_batch").and_then(Value::as_object) {
        let sizes: Vec<String> = batches
            .iter()
            .map(|(name, size)| format!("{name} {}", number(size.as_f64().unwrap_or(0.0))))
            .collect();
        println!("  items per batch: {}", sizes.join(", "));
    }
    for statement in row
        .get("statements")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        println!(
            "  {:>8.0} ms {:>7} calls {:>8} rows  {}",
            statement["ms"].as_f64().unwrap_or(0.0),
            statement["calls"],
            statement["rows"],
            statement["text"].as_str().unwrap_or("")
        );
    }
    for table in row.get("tables").and_then(Value::as_array).into_iter().flatten() {
        println!(
            "  {:<22} {:>7} in, {:>7} updated, {:>7} HOT, {:>8} by index, {:>8} scanned in {} scans",
            table["name"].as_str().unwrap_or(""),
            table["inserted"],
            table["updated"],
            table["updated_hot"],
            table["fetched_by_index"],
            table["scanned_rows"],
            table["scans"]
        );
    }
}

/// The table of what the goal takes, for the last row.
pub fn print_goal(row: &Map<String, Value>) {
    let Some(goal) = row.get("at_the_goal") else {
        return;
    };
    let of = |key: &str| number(goal[key].as_f64().unwrap_or(f64::NAN));
    println!("\nwhat {} a second takes (extrapolated)", number(GOAL_PER_S));
    for (what, key, unit) in [
        ("servers", "server_cores", "cores"),
        ("Redis", "redis_cores", "cores"),
        ("Postgres", "postgres_cores", "cores"),
        ("all of them", "cores", "cores"),
        ("Postgres' log", "wal_mb_per_s", "MB/s"),
        ("network to shoppers", "network_out_mb_per_s", "MB/s"),
        ("network from shoppers", "network_in_mb_per_s", "MB/s"),
        ("round trips to Redis", "redis_round_trips_per_s", "/s"),
        ("round trips to Postgres", "postgres_round_trips_per_s", "/s"),
    ] {
        println!("  {what:<24} {:>10} {unit}", of(key));
    }
}

/// The row in the middle, by the cost of a purchase.
pub fn median<'a>(rows: impl Iterator<Item = &'a Map<String, Value>>) -> Option<&'a Map<String, Value>> {
    let cost = |row: &Map<String, Value>| row["cpu_us_per_purchase"].as_f64().unwrap_or(f64::NAN);
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    rows.get(rows.len() / 2).copied()
}

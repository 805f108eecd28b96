//! What a purchase costs, and how long it takes: join, reserve, checkout and pay over real sockets, with gateway, worker, Redis and
//! Postgres as processes of their own. Shoppers connect before the clock starts. In a closed loop they buy as fast as it goes, in an
//! open one they come at a rate, and what they wait counts from their arrival.

mod crowd;
mod meter;
mod report;
mod site;

use crate::{
    check::check,
    figure::{Figure, Target},
    report::Timings,
    shopper::{MOST_IN_A_PROCESS, enter_all},
    target::server_binary,
    watch::write_json,
};
use anyhow::{Context, Result, bail};
use chrono::{SecondsFormat, TimeDelta, Utc};
use clap::Args;
use crowd::{Crowd, Load};
use flashsale::auth::Signer;
use flashsale_protocol::{Role, SaleId};
use meter::Meter;
use report::Case;
use serde_json::{Map, Value, json};
use site::Site;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Longest time for what follows a purchase: money is captured.
const SETTLED_DEADLINE: Duration = Duration::from_secs(60);
/// Most masters of a cluster: each brings a replica, and all are on this machine.
const MOST_MASTERS: usize = 6;
/// Calls of the line in a step: more than any server can serve.
const INFLOW: u32 = 100_000;
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// The goals: CPU by purchase, in µs, of all and of each kind; bytes of Postgres' log; purchases a second, with the shoppers on the
/// same machine; and by how much the most expensive number of lanes may exceed the cheapest.
pub const CPU_US_MOST: f64 = 220.0;
const PARTS_US_MOST: [(&str, &str, f64); 3] = [
    ("server", "server_us", 130.0),
    ("Postgres", "postgres_us", 65.0),
    ("Redis", "redis_us", 25.0),
];
const WAL_BYTES_MOST: f64 = 2_200.0;
const PURCHASES_PER_S: f64 = 4_000.0;
const FLAT: f64 = 1.15;
/// The tables whose rows are looked up by key, however many they are: none is ever scanned by a purchase. Workers look at a few rows
/// now and then.
const BY_KEY: [&str; 3] = ["flash_sale_orders", "payments", "commands"];
const SCANNED_ROWS_MOST: f64 = 1.0;
/// The names of the servers that are compared.
const THIS: &str = "this server";
const OTHER: &str = "the other server";

#[derive(Args)]
pub struct Options {
    /// Number of people who want a unit.
    #[arg(long, default_value_t = 4_000)]
    shoppers: usize,
    /// Number of units.
    #[arg(long, default_value_t = 4_000)]
    stock: u32,
    /// Lanes of the sale; several numbers are measured one after the other. Everybody goes through the line.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    lanes: Vec<u32>,
    /// Also one lane without a line beside them: nobody joins.
    #[arg(long)]
    direct: bool,
    /// Redis alone (1), or a cluster of this many masters with a replica each.
    #[arg(long, default_value_t = 1)]
    masters: usize,
    /// Arrivals a second, by chance; several rates are measured one after the other. Without it: as fast as it goes.
    #[arg(long, value_delimiter = ',')]
    rate: Vec<f64>,
    /// Without --rate: shoppers under way at once. Without it all of them.
    #[arg(long, conflicts_with = "rate")]
    at_once: Option<usize>,
    /// Another server binary, measured in turns with this one.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Rounds of all measurements.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// File for the figures, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    fn check(&self) -> Result<()> {
        if self.shoppers == 0 || self.shoppers > MOST_IN_A_PROCESS {
            bail!("--shoppers must be 1 to {MOST_IN_A_PROCESS}");
        }
        if !(1..=MOST_MASTERS).contains(&self.masters) {
            bail!("--masters must be 1 to {MOST_MASTERS}");
        }
        if self.lanes.iter().any(|lanes| *lanes == 0 || *lanes > self.stock) {
            bail!("--lanes must be 1 to the number of units");
        }
        if self.rate.iter().any(|rate| !rate.is_finite() || *rate <= 0.0) {
            bail!("--rate must be above 0");
        }
        if self.at_once == Some(0) || self.rounds == 0 {
            bail!("--at-once and --rounds must be above 0");
        }
        Ok(())
    }

    fn cases(&self) -> Vec<Case> {
        let rates: Vec<Option<f64>> = match self.rate.is_empty() {
            true => vec![None],
            false => self.rate.iter().copied().map(Some).collect(),
        };
        let direct = self.direct.then_some((1, false));
        let lanes = self.lanes.iter().map(|lanes| (*lanes, true));
        direct
            .into_iter()
            .chain(lanes)
            .flat_map(|(lanes, has_line)| {
                rates.iter().map(move |rate| Case {
                    lanes,
                    masters: self.masters,
                    has_line,
                    rate: *rate,
                })
            })
            .collect()
    }

    fn load(&self, case: Case) -> Load {
        match case.rate {
            Some(per_s) => Load::Open { per_s },
            None => Load::Closed {
                at_once: self.at_once.unwrap_or(self.shoppers),
            },
        }
    }
}

/// True: every invariant held, and every unit that somebody was served with was sold once.
pub async fn run(options: Options) -> Result<bool> {
    options.check()?;
    let fsyncs = site::fsyncs_per_s().await;
    let mut servers = vec![(THIS, server_binary().await?)];
    servers.extend(options.beside.clone().map(|binary| (OTHER, binary)));
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for _ in 0..options.rounds {
        for case in options.cases() {
            for (server, binary) in &servers {
                let row = measure(&options, case, server, binary).await?;
                report::print(&row);
                rows.push(row);
            }
        }
    }
    let of = |case: Case, server: &str| {
        let name = case.name();
        report::median(
            rows.iter()
                .filter(|row| row["case"] == name && row["server"] == server),
        )
    };
    if options.rounds > 1 || servers.len() > 1 {
        compare(&options, &servers, &of);
    }
    // The figures that stand for all: through the line, with the fewest lanes asked for.
    let first = options.cases().into_iter().find(|case| case.has_line);
    let first = first.and_then(|case| of(case, THIS));
    let mut report = first.cloned().context("nothing was measured")?;
    report::print_goal(&report);
    let disk = fsyncs.map_or("unknown (no pg_test_fsync)".to_owned(), |rate| {
        format!("{rate:.0}/s")
    });
    println!("\nthe disk: {disk} writes that are safe, one after the other");
    let violations: Vec<Value> = rows
        .iter()
        .flat_map(|row| row["violations"].as_array().cloned().unwrap_or_default())
        .collect();
    violations.iter().for_each(|broken| println!("BROKEN {broken}"));
    report.insert(
        "fsync".into(),
        json!({ "setting": report["fsync_setting"], "fdatasync_per_s": fsyncs }),
    );
    report.insert("violations".into(), violations.clone().into());
    report.insert("shoppers".into(), options.shoppers.into());
    report.insert("stock".into(), options.stock.into());
    report.insert("build".into(), build().into());
    report.insert("rows".into(), rows.into());
    if let Some(path) = &options.json {
        write_json(path, &report.into())?;
    }
    Ok(violations.is_empty())
}

fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}

/// The medians, one line each.
fn compare<'a>(
    options: &Options,
    servers: &[(&str, PathBuf)],
    of: &impl Fn(Case, &str) -> Option<&'a Map<String, Value>>,
) {
    println!(
        "\n{:<28} {:<17} {:>11} {:>7} {:>7} {:>7} {:>8} {:>8} {:>10} {:>11} {:>8}",
        "medians",
        "",
        "purchases/s",
        "µs",
        "server",
        "Redis",
        "Postgres",
        "WAL B",
        "reserve ms",
        "checkout ms",
        "pay ms"
    );
    for case in options.cases() {
        for (server, _) in servers {
            let Some(row) = of(case, server) else { continue };
            let at = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            println!(
                "{:<28} {server:<17} {:>11.0} {:>7.0} {:>7.0} {:>7.0} {:>8.0} {:>8.0} {:>10.0} {:>11.0} {:>8.0}",
                case.name(),
                at("purchases_per_s"),
                at("cpu_us_per_purchase"),
                at("server_us"),
                at("redis_us"),
                at("postgres_us"),
                at("wal_bytes_per_purchase"),
                at("reserve_p99_ms"),
                at("checkout_p99_ms"),
                at("pay_p99_ms")
            );
        }
    }
}

/// One case, on stores of its own.
async fn measure(options: &Options, case: Case, server: &str, binary: &Path) -> Result<Map<String, Value>> {
    let mut site = Site::start(binary, case.masters).await?;
    let row = measure_at(&mut site, options, case, server).await;
    site.stop().await?;
    row
}

async fn measure_at(
    site: &mut Site,
    options: &Options,
    case: Case,
    server: &str,
) -> Result<Map<String, Value>> {
    let signer = Signer::open(&crate::target::identity(), &site.target.data_dir)?;
    // Time for everybody to connect before the start.
    let start = Utc::now() + TimeDelta::milliseconds(3_000 + options.shoppers as i64);
    let sale = create_sale(site, &signer, options, case, start).await?;
    let address = site.gateway.address.into();
    let ready = enter_all(address, sale, &signer, "buyer", options.shoppers).await?;
    // A slow machine needs longer: then the sale is open already, and nobody has begun.
    if let Ok(wait) = (start - Utc::now()).to_std() {
        tokio::time::sleep(wait).await;
    }

    let timings = Arc::new(Timings::default());
    let mut meter = Meter::start(site).await?;
    let (crowd, ended) = Crowd::buy(ready, options.load(case), case.has_line, &timings).await?;
    let settled = meter.settled(SETTLED_DEADLINE).await?;
    let mut used = meter.read(site).await?;
    crowd.leave().await;
    let fsync = meter.fsync().await?;
    site.stop_servers().await?;
    meter.finish(&mut used).await?;

    let (database_url, redis_url) = site.target.stores()?;
    let found = check(&database_url, &redis_url, sale, &ended.acknowledged).await?;
    let mut violations = found.violations;
    violations.extend(ended.broken.iter().cloned());
    violations.extend(scanned(&used, ended.bought));
    if !settled {
        violations.push("payments were not settled in time".into());
    }
    if found.allocated != ended.bought && ended.unserved.is_empty() {
        violations.push(format!(
            "{} units are sold, {} were bought",
            found.allocated, ended.bought
        ));
    }
    // In a closed loop everybody comes again, so nothing is left while somebody wants it.
    let wanted = u64::from(options.stock).min(options.shoppers as u64);
    if case.rate.is_none() && found.allocated != wanted {
        violations.push(format!(
            "{} units sold, {wanted} could have been: {:?}",
            found.allocated, ended.unserved
        ));
    }
    let mut row = report::row(case, server, &ended, &timings, &used);
    row.insert("fsync_setting".into(), fsync.into());
    row.insert("units_sold".into(), found.allocated.into());
    row.insert("oversold".into(), found.oversold.into());
    row.insert("violations".into(), violations.into());
    Ok(row)
}

/// Tables that were scanned, a line each.
fn scanned(used: &meter::Used, bought: u64) -> Vec<String> {
    let by_key = used
        .tables
        .iter()
        .filter(|table| BY_KEY.contains(&table.name.as_str()));
    by_key
        .filter(|table| table.scanned_rows as f64 > SCANNED_ROWS_MOST * bought.max(1) as f64)
        .map(|table| {
            format!(
                "{}: {} rows were scanned for {bought} purchases",
                table.name, table.scanned_rows
            )
        })
        .collect()
}

/// The figures of a report, beside their goals.
pub fn figures(report: &Value) -> Vec<Figure> {
    let of = |row: &Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    let most = Target::AtMost;
    let named = |what: &str| format!("Purchase: {what}");
    let mut figures = vec![
        Figure::new(
            "Purchases a second, shoppers on the same machine",
            of(report, "purchases_per_s"),
            "/s",
            Target::AtLeast(PURCHASES_PER_S),
        ),
        Figure::new(
            named("CPU of server, Redis and Postgres"),
            of(report, "cpu_us_per_purchase"),
            "µs",
            most(CPU_US_MOST),
        ),
    ];
    for (part, key, goal) in PARTS_US_MOST {
        figures.push(Figure::new(
            named(&format!("CPU of {part}")),
            of(report, key),
            "µs",
            most(goal),
        ));
    }
    figures.push(Figure::new(
        named("Postgres' log"),
        of(report, "wal_bytes_per_purchase"),
        "B",
        most(WAL_BYTES_MOST),
    ));
    let rows = report["rows"].as_array().into_iter().flatten();
    let through_line: Vec<f64> = rows
        .filter(|row| row["line"] == true)
        .map(|row| of(row, "cpu_us_per_purchase"))
        .collect();
    let dearest = through_line.iter().copied().reduce(f64::max);
    let cheapest = through_line.iter().copied().reduce(f64::min);
    if let (Some(dearest), Some(cheapest)) = (dearest, cheapest)
        && through_line.len() > 1
    {
        let name = named("CPU with the worst number of lanes against the best");
        figures.push(Figure::new(name, dearest / cheapest, "×", most(FLAT)));
    }
    figures
}

async fn create_sale(
    site: &Site,
    signer: &Signer,
    options: &Options,
    case: Case,
    start: chrono::DateTime<Utc>,
) -> Result<SaleId> {
    let stamp = |time: chrono::DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let body = json!({
        "product_name": "purchases", "currency": "EUR", "original_price": 10_000, "sale_price": 5_000,
        "total_stock": options.stock, "lanes": case.lanes, "inflow": INFLOW,
        "start_time": stamp(start), "end_time": stamp(start + TimeDelta::hours(2)),
    });
    let who = "loadtest".parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let token = signer.issue(who, Role::Admin, None, TOKEN_LIFE)?;
    Ok(site.target.create_sale(&token, &body).await?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn options(flags: &[&str]) -> Options {
        Cli::parse_from(["purchases"].iter().chain(flags)).options
    }

    #[test]
    fn each_number_of_lanes_is_measured_at_each_rate() {
        let cases = options(&["--lanes", "1,4", "--direct", "--rate", "100,200"]).cases();
        let names: Vec<String> = cases.iter().map(Case::name).collect();
        assert_eq!(
            names,
            [
                "1 lane, no line, 100 a second",
                "1 lane, no line, 200 a second",
                "1 lane, 100 a second",
                "1 lane, 200 a second",
                "4 lanes, 100 a second",
                "4 lanes, 200 a second"
            ]
        );
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for flags in [
            ["--shoppers", "0"],
            ["--shoppers", "20000"],
            ["--lanes", "0"],
            ["--lanes", "5000"],
            ["--masters", "0"],
            ["--masters", "7"],
            ["--rate", "0"],
            ["--rounds", "0"],
            ["--at-once", "0"],
        ] {
            assert!(options(&flags).check().is_err(), "{flags:?}");
        }
        assert!(options(&[]).check().is_ok());
    }
}

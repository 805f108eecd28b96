//! The rush: N shoppers are ready before the start, and each wants one unit.

use crate::{
    check::check,
    report::{Timings, progress},
    rolling::{Fleet, Rolled},
    shopper::{CALLED_AT_ONCE, Ending, Identity, MOST_IN_A_PROCESS, Shopper, enter_all},
    target::Target,
    wire::{self, Wire},
};
use anyhow::{Context, Result, bail};
use chrono::{SecondsFormat, TimeDelta, Utc};
use clap::Args;
use flashsale::auth::Signer;
use flashsale_protocol::{Order, Role, SaleId};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::JoinSet};

const RUSH_DEADLINE: Duration = Duration::from_secs(300);
/// Steps of the line in a second.
const STEPS_PER_S: u32 = 10;
/// Duration of the line, in seconds, while gateways are restarted.
const ROLLING_LINE_S: u32 = 12;
/// The same while versions are replaced, which takes more than twice as long.
const VERSIONS_LINE_S: u32 = 35;
/// How long people have shopped before the first gateway is restarted.
const ROLLING_AFTER: Duration = Duration::from_secs(1);
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

#[derive(Args)]
pub struct Options {
    /// Number of people who want a unit.
    #[arg(long, default_value_t = 5_000)]
    shoppers: usize,
    /// Number of units.
    #[arg(long, default_value_t = 500)]
    stock: u32,
    /// Lanes of the sale.
    #[arg(long, default_value_t = 1)]
    lanes: u32,
    /// A running server on this machine; without it, one is started on a scratch folder.
    #[arg(long)]
    url: Option<String>,
    /// With --url: that server's data folder, for tokens and (without DATABASE_URL and REDIS_URL) its stores.
    #[arg(long, default_value = ".data")]
    data_dir: PathBuf,
    /// Kills the server (SIGKILL) this many ms after the start, and starts it again; not with --url.
    #[arg(long, conflicts_with = "url")]
    crash_after_ms: Option<u64>,
    /// Two gateways share a port, and are restarted one after the other during the rush; not with --url.
    #[arg(long, conflicts_with_all = ["url", "crash_after_ms"])]
    rolling: bool,
    /// Two gateways and a worker run this earlier server binary, and are replaced by today's one after the other, some of them
    /// back and forth; not with --url.
    #[arg(long, conflicts_with_all = ["url", "crash_after_ms", "rolling"])]
    before: Option<PathBuf>,
    /// With --before: an earlier version that does not start on today's schema is reported, but is no failure.
    #[arg(long, requires = "before")]
    may_not_go_back: bool,
    /// Runs a Redis Cluster with three masters and three replicas; not with --url.
    #[arg(long, conflicts_with = "url")]
    cluster: bool,
    /// Lets people in so slowly that the line takes about this many seconds.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=120))]
    line_s: Option<u32>,
    /// File for the figures, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    fn line_of_deploy_s(&self) -> Option<u32> {
        match (self.rolling, &self.before) {
            (true, _) => Some(ROLLING_LINE_S),
            (false, Some(_)) => Some(VERSIONS_LINE_S),
            (false, None) => None,
        }
    }
}

/// True: every invariant held, and all units that could be sold were sold.
pub async fn run(options: Options) -> Result<bool> {
    if options.shoppers == 0 || options.shoppers > MOST_IN_A_PROCESS {
        bail!("--shoppers must be 1 to {MOST_IN_A_PROCESS}");
    }
    let mut target = match (&options.url, &options.before) {
        (Some(url), _) => Target::running(url.clone(), options.data_dir.clone()),
        (None, Some(_)) => Target::stores_only(options.cluster).await?,
        (None, None) => Target::start(options.cluster).await?,
    };
    let mut fleet = match (options.rolling, &options.before) {
        (true, _) => Some(Fleet::restarting(&target).await?),
        (false, Some(before)) => Some(Fleet::of_versions(&target, before).await?),
        (false, None) => None,
    };
    if let Some(fleet) = &fleet {
        target.url = format!("http://{}", fleet.address());
    }
    let passed = rush(&options, &mut target, fleet.as_mut()).await;
    if let Some(fleet) = fleet {
        fleet.stop().await?;
    }
    target.stop().await?;
    passed
}

async fn rush(options: &Options, target: &mut Target, fleet: Option<&mut Fleet>) -> Result<bool> {
    let address: SocketAddr = target
        .url
        .trim_start_matches("http://")
        .parse()
        .context("--url must be http://ADDRESS:PORT")?;
    if !address.ip().is_loopback() {
        bail!("load goes to this machine only: {address} is not a loopback address");
    }
    let signer = Signer::open(&crate::target::identity(), &target.data_dir)?;
    let token = |who: &str, role| -> Result<String> {
        let who = who.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        signer.issue(who, role, None, TOKEN_LIFE)
    };
    // Time for everybody to connect before the start.
    let lead = TimeDelta::milliseconds(3_000 + options.shoppers as i64);
    let start = Utc::now() + lead;
    let stamp = |time: chrono::DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut body = json!({
        "product_name": "rush", "currency": "EUR", "original_price": 10_000, "sale_price": 5_000,
        "total_stock": options.stock, "lanes": options.lanes,
        "start_time": stamp(start), "end_time": stamp(start + TimeDelta::hours(1)),
    });
    // Slow enough to last longer than the restarts.
    if let Some(seconds) = options.line_s.or(options.line_of_deploy_s()) {
        let step = u64::from(options.stock.div_ceil(seconds * STEPS_PER_S));
        body["inflow"] = step.min(CALLED_AT_ONCE).into();
    }
    let sale: SaleId = target
        .create_sale(&token("loadtest", Role::Admin)?, &body)
        .await?
        .parse()?;

    let ready = enter_all(address, sale, &signer, "rush", options.shoppers).await?;
    let listener = Identity {
        name: "listener".into(),
        device: "device-listener".into(),
        token: token("listener", Role::Shopper)?,
        from: Ipv4Addr::new(127, 0, 0, 1),
    };
    let (tell_over, over) = oneshot::channel();
    let listening = tokio::spawn(wire::listen(address, sale, listener, over));
    if let Ok(wait) = (start - Utc::now()).to_std() {
        tokio::time::sleep(wait).await;
    }

    let timings = Arc::new(Timings::default());
    let bar = progress(options.shoppers as u64, "rushing");
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut shopper in ready {
        let timings = timings.clone();
        tasks.spawn(async move {
            let ending = shopper
                .buy(&timings)
                .await
                .unwrap_or_else(|error| Ending::GaveUp(format!("{error:#}")));
            (shopper, ending, began.elapsed())
        });
    }
    let mut tally = Tally::default();
    let collect = tokio::time::timeout(RUSH_DEADLINE, async {
        while let Some(task) = tasks.join_next().await {
            bar.inc(1);
            let (shopper, ending, at) = task?;
            tally.count(shopper, ending, at);
        }
        Ok::<_, anyhow::Error>(())
    });
    let disturb = async {
        let disturbed = match (fleet, options.crash_after_ms) {
            (Some(fleet), _) => {
                tokio::time::sleep(ROLLING_AFTER).await;
                Disturbed::Restarted(fleet.roll(target, options.may_not_go_back).await?)
            }
            (None, Some(after_ms)) => {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                Disturbed::Crashed(target.crash().await?)
            }
            (None, None) => Disturbed::Not,
        };
        Ok::<_, anyhow::Error>((disturbed, began.elapsed()))
    };
    let (finished, disturbed) = tokio::join!(collect, disturb);
    bar.finish_and_clear();
    let (disturbed, quiet_after) = disturbed?;
    match finished {
        Ok(result) => result?,
        Err(_) => {
            *tally
                .gave_up
                .entry("no end within the deadline".into())
                .or_default() += tasks.len() as u64
        }
    }

    let _ = tell_over.send(());
    // A server that is stopped on purpose ends its listener too.
    let wire = match (listening.await?, &disturbed) {
        (Ok(wire), _) => wire,
        (Err(_), Disturbed::Crashed(_) | Disturbed::Restarted(_)) => Wire::default(),
        (Err(error), Disturbed::Not) => return Err(error.context("whoever only listens")),
    };

    let (database_url, redis_url) = target.stores()?;
    let mut found = check(&database_url, &redis_url, sale, &tally.acknowledged).await?;
    let expected = u64::from(options.stock).min(options.shoppers as u64);
    if found.allocated != expected {
        found.violations.push(format!(
            "{} units sold, {expected} could have been",
            found.allocated
        ));
    }
    if let Disturbed::Restarted(_) = disturbed {
        found.violations.extend(tally.broken.iter().cloned());
        if tally.last_end < quiet_after {
            found
                .violations
                .push("everybody was done before the deploy was: this shows nothing".into());
        }
    }
    for (why, count) in &tally.gave_up {
        // No store has failed, so a hold that was checked out in time must be an order.
        let broken = matches!(disturbed, Disturbed::Not) && why.starts_with("checkout: ");
        let which = if broken { "I13: " } else { "" };
        found
            .violations
            .push(format!("{which}{count} shoppers gave up: {why}"));
    }
    let purchases_per_s = tally.bought as f64 / tally.last_purchase.as_secs_f64().max(0.001);

    timings.print()?;
    println!(
        "{} bought, {} were told sold out; {:.0} purchases/s; available {} held {} sold {}",
        tally.bought,
        tally.sold_out,
        purchases_per_s,
        found.counters.available,
        found.counters.held,
        found.counters.sold
    );
    wire.print();
    let seconds = |took: &Duration| format!("{:.1}", took.as_secs_f64());
    match &disturbed {
        Disturbed::Not => {}
        Disturbed::Crashed(back_after) => println!(
            "the server was killed and ready again after {} s; {} reconnects, {} orders were acknowledged",
            seconds(back_after),
            tally.reconnects,
            tally.acknowledged_orders()
        ),
        Disturbed::Restarted(rolled) => {
            rolled.steps.iter().for_each(|step| println!("{step}"));
            println!(
                "{} processes were exchanged one after the other (stopped after {} s); {} reconnects, {} orders were acknowledged",
                rolled.stopped_in.len(),
                rolled
                    .stopped_in
                    .iter()
                    .map(seconds)
                    .collect::<Vec<_>>()
                    .join(", "),
                tally.reconnects,
                tally.acknowledged_orders()
            );
        }
    }
    if found.violations.is_empty() {
        println!("I1, I2, I4, I5, I7, I13 hold");
    }
    found
        .violations
        .iter()
        .for_each(|violation| println!("BROKEN {violation}"));
    if let Some(path) = &options.json {
        let report = json!({
            "shoppers": options.shoppers, "stock": options.stock, "lanes": options.lanes,
            "units_sold": found.allocated, "oversold": found.oversold, "lost_orders": found.lost_orders,
            "reserve_p50_ms": timings.ms("reserve", 0.5), "reserve_p99_ms": timings.ms("reserve", 0.99),
            "checkout_p50_ms": timings.ms("checkout", 0.5), "checkout_p99_ms": timings.ms("checkout", 0.99),
            "join_p99_ms": timings.ms("join", 0.99), "pay_p99_ms": timings.ms("pay", 0.99),
            "purchases_per_s": purchases_per_s, "violations": found.violations,
            "wire_bytes_per_s": wire,
            "crash_after_ms": options.crash_after_ms, "reconnects": tally.reconnects,
            "back_after_ms": match &disturbed {
                Disturbed::Crashed(back) => Some(back.as_millis() as u64),
                _ => None,
            },
            "stopped_after_ms": match &disturbed {
                Disturbed::Restarted(rolled) => {
                    rolled.stopped_in.iter().map(|took| took.as_millis() as u64).collect()
                }
                _ => vec![],
            },
        });
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(found.violations.is_empty())
}

/// What happened to servers during the rush.
enum Disturbed {
    Not,
    /// Time until it was back.
    Crashed(Duration),
    Restarted(Rolled),
}

/// The shoppers' observations.
#[derive(Default)]
struct Tally {
    /// Broken promises, a line each.
    broken: Vec<String>,
    /// When the last shopper was done.
    last_end: Duration,
    /// Each acknowledged order with its shopper; an order may appear twice, pending and confirmed.
    acknowledged: Vec<(String, Order)>,
    bought: u64,
    sold_out: u64,
    gave_up: BTreeMap<String, u64>,
    reconnects: u64,
    last_purchase: Duration,
}

impl Tally {
    fn count(&mut self, shopper: Shopper, ending: Ending, at: Duration) {
        self.reconnects += u64::from(shopper.reconnects);
        let name = shopper.identity.name;
        self.last_end = self.last_end.max(at);
        self.broken
            .extend(shopper.broken.into_iter().map(|what| format!("{name}: {what}")));
        self.acknowledged.extend(
            shopper
                .acknowledged
                .into_iter()
                .map(|order| (name.clone(), order)),
        );
        match ending {
            Ending::Bought => {
                self.bought += 1;
                self.last_purchase = self.last_purchase.max(at);
            }
            Ending::SoldOut => self.sold_out += 1,
            Ending::GaveUp(why) => *self.gave_up.entry(why).or_default() += 1,
        }
    }

    fn acknowledged_orders(&self) -> usize {
        self.acknowledged
            .iter()
            .map(|(_, order)| order.order)
            .collect::<HashSet<_>>()
            .len()
    }
}

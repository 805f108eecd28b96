//! The fault harness: real processes, shoppers, and all kinds of faults, from a seed. Afterwards every invariant is checked on
//! the shoppers' observations and on Redis and Postgres.

mod fault;
mod faults;
mod history;
pub mod mutants;
mod nodes;
mod people;
mod shop;
mod ticks;
mod verify;
mod world;

use crate::target;
use anyhow::{Context, Result, bail};
use chrono::{SecondsFormat, TimeDelta, Utc};
use clap::Args;
use fault::{Bag, Fault, Operator};
use flashsale::auth::Signer;
use flashsale_engine::store::Store;
use flashsale_protocol::{Role, SaleId};
use history::{History, Reconnected};
use people::{Person, Street};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use shop::Shop;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};
use world::{SECRET, World};

/// Time after the last fault until every unit must be sold or for sale (I12), in addition to the time in which holds and unpaid
/// orders end by themselves.
const SETTLE: Duration = Duration::from_secs(10);
const HOLD_MS: u64 = 2_500;
const CLAIM_MS: u64 = 2_000;
const PAYMENT_MS: u64 = 4_000;
/// A recovery that takes longer counts as this time.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(30);
/// The promises for kill -9 of a gateway, and of a store.
const RECONNECT_TARGET: Duration = Duration::from_secs(5);
const STORE_TARGET: Duration = Duration::from_secs(3);
/// The promises for a master's death in a cluster with a node timeout of 2 s, and for ticks after a slot has moved.
const MASTER_TARGET: Duration = Duration::from_secs(5);
const TICKS_TARGET: Duration = Duration::from_secs(1);
const GATEWAYS: usize = 2;
/// The admin, and the merchant whose sale it is.
const OPERATOR: &str = "chaos";
/// With more lanes, each has too few shoppers to be observed separately.
const LANES_TOLD_APART: u32 = 4;
const POLL: Duration = Duration::from_millis(10);
const SELL_OUT_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const TOKEN_LIFE: Duration = Duration::from_secs(7200);
/// Violations of each invariant for which a trace is printed.
const TRACES: usize = 3;

#[derive(Args, Clone)]
pub struct Options {
    /// The same seed makes the same faults in the same order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    #[arg(long, default_value_t = 120)]
    shoppers: usize,
    #[arg(long, default_value_t = 2_500)]
    stock: u32,
    #[arg(long, default_value_t = 1)]
    lanes: u32,
    /// Runs a Redis Cluster with three masters and three replicas, and the faults of a cluster.
    #[arg(long)]
    cluster: bool,
    /// Orders are paid at a stand-in shop's own checkout, instead of the sandbox.
    #[arg(long)]
    shop: bool,
    /// No faults: everything must be sold.
    #[arg(long)]
    calm: bool,
    /// Only these kinds of faults, by their words.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// File for the figures, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// File for the servers' logs.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Ends as soon as something is broken.
    #[arg(long)]
    until_broken: bool,
}

/// True: no invariant was broken.
pub async fn run(options: Options) -> Result<bool> {
    println!("seed {}", options.seed);
    let history = Arc::new(History::new());
    let figures = world(&options, None, &history).await?;
    report(&options, &history, &figures)
}

/// One run in its own world; the history has the observations.
async fn world(options: &Options, mutation: Option<&'static str>, history: &Arc<History>) -> Result<Figures> {
    let forgetful = Bag::new(options.cluster, &options.only)?.loses_orders();
    if forgetful && options.shop {
        bail!("a shop compares its own books after a disaster (docs/payments.md): no such fault with --shop");
    }
    let mut world = World::start(
        target::server_binary().await?,
        mutation,
        options.cluster,
        forgetful,
        if options.shop { "merchant" } else { "sandbox" },
    )
    .await?;
    let outcome = chaos(options, &mut world, history).await;
    if let Some(path) = &options.log {
        std::fs::write(path, world.log())?;
    }
    world.stop().await?;
    outcome
}

/// The measurements of a run.
#[derive(Default)]
struct Figures {
    faults: BTreeMap<&'static str, u64>,
    recovery: BTreeMap<&'static str, Duration>,
    /// For a master's death: until the cluster had another one, and until units were taken.
    elections: BTreeMap<&'static str, Duration>,
    since_death: BTreeMap<&'static str, Duration>,
    ticks_again: BTreeMap<&'static str, Duration>,
    leaked: u64,
    sold: u64,
    total: u64,
    settled_after: Duration,
    /// Acknowledged orders that Postgres has lost and that are reported as lost.
    lost: u64,
}

/// A figure with a target: its key in the JSON, its description, the worst value (none: no such fault), and the target.
type Limit = (&'static str, String, Option<Duration>, Duration);

impl Figures {
    fn limits(&self, reconnected: Reconnected) -> [Limit; 6] {
        let worst = |of: fn(Fault) -> bool| {
            let faults = Fault::ALL.iter().filter(|fault| of(**fault));
            faults
                .filter_map(|fault| self.recovery.get(fault.word()))
                .max()
                .copied()
        };
        let Reconnected {
            shoppers, compared, ..
        } = reconnected;
        [
            (
                "reconnected_max_ms",
                format!(
                    "a gateway: its shoppers are back ({shoppers}), with their place or hold ({compared})"
                ),
                (shoppers > 0).then_some(reconnected.within),
                RECONNECT_TARGET,
            ),
            (
                "redis_killed_recovery_max_ms",
                "Redis: units are taken again, after it answers".into(),
                worst(Fault::kills_redis),
                STORE_TARGET,
            ),
            (
                "postgres_killed_recovery_max_ms",
                "Postgres: units are taken again, after it answers".into(),
                worst(|fault| fault == Fault::PostgresKill),
                STORE_TARGET,
            ),
            (
                "master_gone_selling_max_ms",
                "a cluster's master: units are taken again, after its death".into(),
                self.since_death.values().max().copied(),
                MASTER_TARGET,
            ),
            (
                "master_gone_after_election_max_ms",
                "a cluster's master: units are taken again, after the election".into(),
                worst(Fault::elects),
                STORE_TARGET,
            ),
            (
                "ticks_again_max_ms",
                "a cluster's slot or master changes: ticks come again".into(),
                self.ticks_again.values().max().copied(),
                TICKS_TARGET,
            ),
        ]
    }
}

async fn chaos(options: &Options, world: &mut World, history: &Arc<History>) -> Result<Figures> {
    let admin = OPERATOR.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let token = signer()?.issue(admin, Role::Admin, None, TOKEN_LIFE)?;
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(8))
        .build()?;
    let doors: Vec<_> = world.doors.iter().map(|door| door.address).collect();
    let shop = match options.shop {
        true => {
            let gateway = world.gateway(0);
            let shop = Shop::open(&http, &gateway, &token, OPERATOR, doors.clone(), history.clone());
            Some(shop.await?)
        }
        false => None,
    };
    let giving_back = shop.as_ref().map(|shop| shop.give_back(options.seed));
    let sale = create_sale(options, world, &http, &token).await?;
    let operator = Operator {
        token,
        sale: sale.to_string(),
        lanes: options.lanes,
        http,
        disasters: Default::default(),
    };
    let store = Store::connect(&world.database_url, 1).await?;
    let row = Arc::new(store.sale(sale).await?.context("the sale has vanished")?);
    store.close().await;
    let street = |stop: watch::Receiver<bool>, sell_out: bool| -> Result<Arc<Street>> {
        Ok(Arc::new(Street {
            sale,
            row: row.clone(),
            doors: doors.clone(),
            shop: shop.clone(),
            signer: signer()?,
            history: history.clone(),
            stop,
            sell_out,
        }))
    };

    let (stop, stopped) = watch::channel(false);
    let crowd = street(stopped, false)?;
    let (last_stop, last_stopped) = watch::channel(false);
    let last_crowd = street(last_stopped, true)?;
    let mut people = JoinSet::new();
    for number in 0..options.shoppers {
        people.spawn(Person::new(crowd.clone(), options.seed, number).live());
    }
    let mut watchers = JoinSet::new();
    for gateway in 0..GATEWAYS {
        let who = format!("watcher-{gateway}");
        let who = who.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let token = signer()?.issue(who, Role::Shopper, None, TOKEN_LIFE)?;
        let address = world.servers[gateway].listen;
        watchers.spawn(ticks::watch(gateway, address, sale, token, history.clone()));
    }
    let mut figures = Figures::default();
    let mut lost_lanes = false;
    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut bag = Bag::new(options.cluster, &options.only)?;
    let broken = || options.until_broken && !history.violations().is_empty();
    while Instant::now() < until && !broken() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(300..1_500))).await;
        if options.calm || Instant::now() >= until {
            continue;
        }
        if let Some(answer) = faults::restock(world, &operator).await {
            history.note("fault", format!("more units are put on sale: {answer}"));
        }
        let fault = bag.next(&mut rng);
        history.note("fault", format!("{} begins", fault.word()));
        if fault.loses_orders() {
            history.orders_may_be_lost();
        }
        if fault.loses_lanes() {
            history.lanes_lost();
        }
        let done = faults::inject(fault, world, &operator, history, &mut rng)
            .await
            .with_context(|| format!("the harness itself failed at {}", fault.word()))?;
        history.note("fault", format!("{} healed: {}", fault.word(), done.what));
        if fault.loses_lanes() {
            history.lanes_lost();
        }
        lost_lanes |= fault.loses_lanes();
        *figures.faults.entry(fault.word()).or_default() += 1;
        // With few lanes, each has enough shoppers to show its recovery.
        let lane = done.lane.filter(|_| options.lanes <= LANES_TOLD_APART);
        let (took, ticks_again) = tokio::join!(recovered(history, lane), ticks_come(history));
        if !options.until_broken {
            println!(
                "{:6.1} s  {:<38} {:<60} selling again after {:.2} s, ticks {:.2} s",
                history.now().as_secs_f64(),
                fault.word(),
                done.what.trim(),
                took.as_secs_f64(),
                ticks_again.as_secs_f64()
            );
        }
        let most = |of: &mut BTreeMap<&'static str, Duration>, took: Duration| {
            let worst = of.entry(fault.word()).or_default();
            *worst = took.max(*worst);
        };
        if fault.is_of_cluster() {
            most(&mut figures.ticks_again, ticks_again);
        }
        if let Some(election) = done.election {
            most(&mut figures.elections, election);
            most(&mut figures.since_death, election + took);
        }
        if let Some(cluster) = &mut world.cluster {
            let began = Instant::now();
            cluster
                .heal()
                .await
                .context("the cluster itself does not recover")?;
            history.note(
                "fault",
                format!("the cluster is whole after {:?}", began.elapsed()),
            );
            if fault.loses_lanes() {
                history.lanes_lost();
            }
        }
        let worst = figures.recovery.entry(fault.word()).or_default();
        *worst = took.max(*worst);
        if took >= RECOVERY_DEADLINE && fault != Fault::SupplyChange {
            history.violation(
                "fault",
                format!("nothing was sold for {took:?} after {}", fault.word()),
            );
        }
    }

    stop.send_replace(true);
    finish(&mut people, STOP_DEADLINE, history).await;
    if let Some(shop) = &shop {
        shop.finish().await;
    }
    if broken() {
        return Ok(figures);
    }
    let rest = SETTLE + Duration::from_millis(HOLD_MS.max(CLAIM_MS) + PAYMENT_MS);
    let settled = verify::settle(&world.database_url, &world.redis_url(), sale, rest).await?;
    if !options.until_broken {
        println!(
            "at rest after {:.1} s: {} units, {} for sale, {} sold, {} leaked",
            settled.took.as_secs_f64(),
            settled.total,
            settled.counters.available,
            settled.allocated,
            settled.leaked
        );
    }
    if settled.took > rest {
        let text = format!(
            "I12: not at rest: {:?}, {} in orders",
            settled.counters, settled.allocated
        );
        history.violation("redis", text);
    }
    figures.leaked = settled.leaked;
    figures.settled_after = settled.took;
    verify::check(world, sale, lost_lanes, history, shop.as_deref()).await?;
    if broken() {
        return Ok(figures);
    }

    // The strictest check that no unit is lost: all remaining units can be bought.
    for number in 0..options.shoppers {
        people.spawn(Person::new(last_crowd.clone(), options.seed, number).live());
    }
    verify::sold_out(&world.database_url, sale, SELL_OUT_DEADLINE).await?;
    last_stop.send_replace(true);
    finish(&mut people, STOP_DEADLINE, history).await;
    if let Some(shop) = &shop {
        shop.finish().await;
    }
    let end = verify::settle(&world.database_url, &world.redis_url(), sale, rest).await?;
    (figures.sold, figures.total) = (end.allocated, end.total);
    if end.allocated != end.total {
        let text = format!(
            "I12: {} of {} units could be sold: {:?}",
            end.allocated, end.total, end.counters
        );
        history.violation("redis", text);
    }
    figures.lost = verify::check(world, sale, lost_lanes, history, shop.as_deref()).await?;
    if let Some(giving_back) = giving_back {
        giving_back.abort();
    }
    Ok(figures)
}

/// The signer of the servers under test.
fn signer() -> Result<Signer> {
    let identity = flashsale::config::Identity::of_secret(Some(SECRET.into()));
    Signer::open(&identity, std::path::Path::new("."))
}

async fn create_sale(
    options: &Options,
    world: &World,
    http: &reqwest::Client,
    token: &str,
) -> Result<SaleId> {
    let start = Utc::now() + TimeDelta::seconds(1);
    let stamp = |time: chrono::DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let body = json!({
        "product_name": "chaos", "currency": "EUR", "original_price": 10_000, "sale_price": 5_000,
        "total_stock": options.stock, "lanes": options.lanes, "per_shopper_limit": 2, "per_device_limit": 4,
        "hold_ms": HOLD_MS, "claim_ms": CLAIM_MS, "payment_ms": PAYMENT_MS,
        // The crowd is to push while stores fail, so nobody holds it back.
        "target_delay_ms": 10_000,
        "start_time": stamp(start), "end_time": stamp(start + TimeDelta::hours(2)),
    });
    let answer = http
        .post(format!("{}/admin/sales", world.gateway(0)))
        .bearer_auth(token)
        .json(&body)
        .send()
        .await?;
    let sale: Value = answer.json().await?;
    sale["sale_id"]
        .as_str()
        .with_context(|| format!("no sale: {sale}"))?
        .parse()
        .context("a sale id")
}

/// The time from now until units are taken again.
async fn recovered(history: &History, lane: Option<u16>) -> Duration {
    let healed = history.now();
    while history.last_reserve(lane) <= healed && history.now() - healed < RECOVERY_DEADLINE {
        tokio::time::sleep(POLL).await;
    }
    history.now() - healed
}

/// The time from now until every gateway sends ticks of now or later.
async fn ticks_come(history: &History) -> Duration {
    let (healed, now_ms) = (history.now(), people::now_ms());
    while !history.ticks_since(GATEWAYS, now_ms) && history.now() - healed < RECOVERY_DEADLINE {
        tokio::time::sleep(POLL).await;
    }
    history.now() - healed
}

async fn finish(people: &mut JoinSet<()>, within: Duration, history: &History) {
    let all = async { while people.join_next().await.is_some() {} };
    if tokio::time::timeout(within, all).await.is_err() {
        history.violation("people", format!("{} shoppers hang", people.len()));
        people.abort_all();
        while people.join_next().await.is_some() {}
    }
}

fn report(options: &Options, history: &History, figures: &Figures) -> Result<bool> {
    let mut violations = history.violations();
    violations.dedup();
    let worst = figures.recovery.values().max().copied().unwrap_or_default();
    let reconnected = history.reconnected();
    let limits = figures.limits(reconnected);
    println!(
        "{} commands acknowledged, {} orders seen, {} of {} units sold, {} faults, recovered within {:.2} s",
        history.commands(),
        history.latest().len(),
        figures.sold,
        figures.total,
        figures.faults.values().sum::<u64>(),
        worst.as_secs_f64()
    );
    if figures
        .faults
        .keys()
        .any(|word| *word == Fault::PostgresRestored.word())
    {
        println!(
            "{} acknowledged orders were lost with Postgres: each is said to be lost, and nothing of its money is kept",
            figures.lost
        );
    }
    println!(
        "after kill -9 of                                                                     at worst    target"
    );
    for (_, what, worst, target) in &limits {
        let worst = worst.map_or("not done".into(), |worst| format!("{:.2} s", worst.as_secs_f64()));
        println!("  {what:<78} {worst:>9} {:>7} s", target.as_secs());
    }
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    for (who, what) in &violations {
        let invariant = what.split(':').next().unwrap_or_default();
        let traces = shown.entry(invariant).or_default();
        *traces += 1;
        if *traces > TRACES {
            continue;
        }
        println!("\nBROKEN {what}\n  seed {}; what {who} saw:", options.seed);
        history.trace(who).iter().for_each(|line| println!("  {line}"));
    }
    if violations.is_empty() {
        println!("I1, I2, I3, I4, I5, I6, I7, I11, I12 hold");
    } else {
        println!("{} violations, seed {}", violations.len(), options.seed);
    }
    if let Some(path) = &options.json {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let millis = |duration: &Duration| duration.as_millis() as u64;
        let by_fault = |of: &BTreeMap<&'static str, Duration>| -> BTreeMap<_, _> {
            of.iter().map(|(word, took)| (*word, millis(took))).collect()
        };
        let mut report = json!({
            "seed": options.seed, "minutes": options.minutes, "faults_injected": figures.faults,
            "commands_acknowledged": history.commands(),
            "violations": violations.iter().map(|(_, what)| what).collect::<Vec<_>>(),
            "leaked_units": figures.leaked, "units_sold": figures.sold, "supply": figures.total,
            "recovery_max_ms": millis(&worst), "recovery_ms": by_fault(&figures.recovery),
            "lanes": options.lanes, "cluster": options.cluster, "elections_ms": by_fault(&figures.elections),
            "selling_since_death_ms": by_fault(&figures.since_death), "ticks_again_ms": by_fault(&figures.ticks_again),
            "orders_lost": figures.lost, "settled_after_ms": millis(&figures.settled_after), "shoppers_reconnected": reconnected.shoppers,
        });
        for (key, _, worst, _) in &limits {
            report[*key] = worst.as_ref().map(millis).into();
        }
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(violations.is_empty())
}

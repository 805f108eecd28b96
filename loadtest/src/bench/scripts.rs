//! The cost of each hot script in Redis, per item, in batches of several sizes, called through `Stock` as by a gateway.

use super::{Buyer, buyer, median, sale, ulid};
use crate::figure::{Figure, Target};
use anyhow::{Context, Result, bail, ensure};
use flashsale_engine::{
    sale::{LaneRef, LineName, Sale},
    stock::{
        CalledBy, CheckoutBegun, Claimed, Finish, How, Join, JoinHow, Joined, Released, Reserve, Reserved,
        SCRIPTS, Stock, What,
    },
};
use flashsale_protocol::{CommandId, Nonce, ShopperId};
use fred::{
    interfaces::{ClientLike, LuaInterface},
    prelude::Client,
    types::{InfoKind, scripts::Script},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const BATCHES: [usize; 4] = [1, 16, 64, 256];
/// The batch sizes of the targets.
const RUSH_BATCHES: [usize; 2] = [64, 256];
/// The scripts of a purchase.
const PURCHASE: [&str; 3] = ["reserve", "begin_checkout", "finish_checkout"];
/// Items of one measurement, and of one in small batches: the calls of a batcher are milliseconds apart.
const ITEMS: usize = 16_384;
const ITEMS_OF_SMALL: usize = 4_096;
const ITEMS_ALONE: usize = 512;
/// The fence that every lane script checks, and the same line without it.
const FENCE: (&str, &str) = ("if values[2] ~= this_run() then", "if false then");
const RUN_SOURCE: &str = include_str!("../../../lua/lib/run.lua");
const CHECKS: u32 = 20_000;

#[derive(Serialize, Deserialize)]
pub struct Scripts {
    /// Medians over the rounds.
    pub costs: Vec<Cost>,
    /// reserve with and without the check that Redis is still in the life in which the lane was opened.
    pub fence: Vec<Fence>,
    /// That check alone, called many times in one script.
    pub fence_us: f64,
}

#[derive(Serialize, Deserialize, Clone)]
pub struct Cost {
    pub script: String,
    pub batch: usize,
    /// CPU of the whole Redis process (used_cpu_user + used_cpu_sys), including parsing, answering and the append-only file.
    pub redis_cpu_us_per_item: f64,
    /// Wall time within the script (commandstats); on a busy machine it includes the time in which others had the core.
    pub script_us_per_item: f64,
    pub script_us_per_call: f64,
}

#[derive(Serialize, Deserialize)]
pub struct Fence {
    pub batch: usize,
    pub with_us_per_item: f64,
    pub without_us_per_item: f64,
}

impl Scripts {
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for batch in RUSH_BATCHES {
            let name = format!("Redis CPU per reservation, {batch} in a batch");
            let cost = self.cpu("reserve", batch);
            figures.push(Figure::new(name, cost, "µs", Target::AtMost(5.0)));
        }
        for batch in RUSH_BATCHES {
            let name = format!("Redis CPU per purchase (reserve, begin, finish), {batch} in a batch");
            let cost = PURCHASE.iter().map(|script| self.cpu(script, batch)).sum();
            figures.push(Figure::new(name, cost, "µs", Target::AtMost(12.0)));
        }
        figures
    }

    pub fn cpu(&self, script: &str, batch: usize) -> f64 {
        self.costs
            .iter()
            .find(|cost| cost.script == script && cost.batch == batch)
            .map_or(f64::NAN, |cost| cost.redis_cpu_us_per_item)
    }

    /// Each script once, in the order in which they were measured.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for cost in &self.costs {
            if !names.contains(&cost.script.as_str()) {
                names.push(&cost.script);
            }
        }
        names
    }
}

pub async fn measure(redis_url: &str, rounds: usize) -> Result<Scripts> {
    let stock = Stock::connect(redis_url, "").await?;
    // Loads every script.
    scripts(&stock, 16, ITEMS_OF_SMALL).await?;
    let mut costs = Vec::new();
    for batch in BATCHES {
        let mut measured = Vec::new();
        for _ in 0..rounds {
            measured.push(scripts(&stock, batch, items(batch)).await?);
        }
        costs.extend(medians(measured));
        println!("scripts in batches of {batch}: measured");
    }
    let fence = fence(&stock, rounds).await?;
    let fence_us = fence_alone(&stock.client()).await?;
    stock.quit().await;
    Ok(Scripts {
        costs,
        fence,
        fence_us,
    })
}

const fn items(batch: usize) -> usize {
    match batch {
        1 => ITEMS_ALONE,
        2..=16 => ITEMS_OF_SMALL,
        _ => ITEMS,
    }
}

/// Every script once, on its own lane.
async fn scripts(stock: &Stock, batch: usize, items: usize) -> Result<Vec<Cost>> {
    let meter = Meter {
        client: &stock.client(),
        batch,
        items,
    };
    let (sale, at) = open(stock, (3 * items) as u32).await?;
    let (buyers, returners, claimers) = (people(items)?, people(items)?, people(items)?);
    let reserve =
        async |buyers: &[Buyer]| all_are(buyers, "held", |b| stock.reserve(at, wants(b)), is_held).await;

    let mut costs = Vec::new();
    costs.push(meter.cost("reserve", &buyers, reserve).await?);
    let begin = async |buyers: &[Buyer]| {
        let call = |b: &Buyer| stock.begin_checkout(at, b.shopper.clone(), b.order);
        all_are(buyers, "begun", call, |a| {
            matches!(a.value, CheckoutBegun::Ok { .. })
        })
        .await
    };
    costs.push(meter.cost("begin_checkout", &buyers, begin).await?);
    let finish = async |buyers: &[Buyer]| {
        let call = |b: &Buyer| {
            stock.finish_checkout(
                at,
                b.shopper.clone(),
                b.order,
                Finish::Committed {
                    hold: b.command.to_string(),
                },
            )
        };
        all_are(buyers, "finished", call, |done| *done).await
    };
    costs.push(meter.cost("finish_checkout", &buyers, finish).await?);
    let person = async |buyers: &[Buyer]| {
        let call = |b: &Buyer| stock.person(at, b.shopper.clone());
        all_are(buyers, "known", call, |a| a.value.bought == 1).await
    };
    costs.push(meter.cost("person", &buyers, person).await?);

    meter.cost("reserve", &returners, reserve).await?;
    let release = async |buyers: &[Buyer]| {
        let call = |b: &Buyer| {
            stock.release(
                at,
                b.shopper.clone(),
                What::Held,
                Some(ulid(CommandId::from_parts)),
            )
        };
        all_are(buyers, "released", call, |a| {
            matches!(a.value, Released::Ok { .. })
        })
        .await
    };
    costs.push(meter.cost("release", &returners, release).await?);

    let claim = async |buyers: &[Buyer]| {
        let wanted: Vec<(ShopperId, u32)> = buyers.iter().map(|b| (b.shopper.clone(), 1)).collect();
        let claimed = stock.claim(at, CalledBy::Line, &wanted).await?.value;
        let all = claimed.iter().all(|claim| matches!(claim, Claimed::Ok { .. }));
        ensure!(all, "not every claim was granted");
        Ok(())
    };
    costs.push(meter.cost("claim", &claimers, claim).await?);
    let join = async |buyers: &[Buyer]| {
        let call = |b: &Buyer| stock.join_as(sale.id, joins(b), JoinHow::Line, Some(b.command));
        all_are(buyers, "in line", call, |a| {
            matches!(a.value.value, Joined::Waiting { .. })
        })
        .await
    };
    costs.push(meter.cost("join", &claimers, join).await?);

    let counters = stock.counters(at).await?;
    let items = items as u64;
    ensure!(
        counters.balanced() && [counters.sold, counters.claimed, counters.available] == [items; 3],
        "after the measurement the lane has {counters:?}"
    );
    stock.retain(|known| known != sale.id);
    Ok(costs)
}

/// A sale from whose lane everybody may reserve.
pub async fn open(stock: &Stock, supply: u32) -> Result<(Sale, LaneRef)> {
    let sale = sale(supply);
    let lane = sale.lanes[0];
    let at = LaneRef {
        sale: sale.id,
        lane: lane.lane,
        epoch: lane.epoch,
    };
    stock.open_sale(&sale).await?;
    stock.new_lane(&sale, lane).await?;
    stock.open_gate(at, 0).await?;
    Ok((sale, at))
}

fn people(items: usize) -> Result<Vec<Buyer>> {
    (0..items).map(|_| buyer()).collect()
}

fn wants(buyer: &Buyer) -> Reserve {
    Reserve {
        shopper: buyer.shopper.clone(),
        quantity: 1,
        how: How::All,
        command: buyer.command,
        device: buyer.device.clone(),
    }
}

fn joins(buyer: &Buyer) -> Join {
    Join {
        shopper: buyer.shopper.clone(),
        device: buyer.device.clone(),
        quantity: 1,
        old_place: None,
        opening_place: None,
        line: LineName::Queue,
        nonce: Some(Nonce(rand::random())),
    }
}

fn is_held(answer: &flashsale_engine::stock::At<Reserved>) -> bool {
    matches!(answer.value, Reserved::Ok { .. })
}

/// Asks for all of them at once, and checks every answer.
async fn all_are<'a, T, Fut>(
    buyers: &'a [Buyer],
    what: &str,
    ask: impl Fn(&'a Buyer) -> Fut,
    is: impl Fn(&T) -> bool,
) -> Result<()>
where
    Fut: Future<Output = flashsale_engine::error::Result<T>>,
{
    for answer in join_all(buyers.iter().map(ask)).await {
        ensure!(is(&answer?), "somebody is not {what}");
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------------------- measuring

struct Meter<'a> {
    client: &'a Client,
    batch: usize,
    items: usize,
}

impl Meter<'_> {
    async fn cost(
        &self,
        script: &str,
        buyers: &[Buyer],
        call: impl AsyncFn(&[Buyer]) -> Result<()>,
    ) -> Result<Cost> {
        let before = Used::by(self.client).await?;
        for batch in buyers.chunks(self.batch) {
            call(batch).await?;
        }
        let after = Used::by(self.client).await?;
        let calls = after.calls - before.calls;
        if calls as usize != self.items / self.batch {
            bail!(
                "{script}: {calls} calls for {} items in batches of {}",
                self.items,
                self.batch
            );
        }
        let script_us = after.script_us - before.script_us;
        Ok(Cost {
            script: script.into(),
            batch: self.batch,
            redis_cpu_us_per_item: (after.cpu_us - before.cpu_us) / self.items as f64,
            script_us_per_item: script_us / self.items as f64,
            script_us_per_call: script_us / calls as f64,
        })
    }
}

/// Redis' consumption since its start.
pub struct Used {
    pub cpu_us: f64,
    pub calls: u64,
    pub script_us: f64,
}

impl Used {
    pub async fn by(client: &Client) -> Result<Self> {
        let cpu: String = client.info(Some(InfoKind::Cpu)).await?;
        let commands: String = client.info(Some(InfoKind::CommandStats)).await?;
        let seconds = |name: &str| field(&cpu, '\n', name);
        // By its name, or with its text if it is not loaded yet; then it was first called in vain.
        let (mut calls, mut script_us) = (0.0, 0.0);
        for command in ["cmdstat_evalsha:", "cmdstat_eval:"] {
            if let Some(used) = commands.lines().find_map(|line| line.strip_prefix(command)) {
                calls += field(used, ',', "calls=")? - field(used, ',', "failed_calls=")?;
                script_us += field(used, ',', "usec=")?;
            }
        }
        Ok(Self {
            cpu_us: (seconds("used_cpu_sys:")? + seconds("used_cpu_user:")?) * 1e6,
            calls: calls as u64,
            script_us,
        })
    }
}

pub fn field(text: &str, separator: char, name: &str) -> Result<f64> {
    text.split(separator)
        .find_map(|field| field.strip_prefix(name))
        .with_context(|| format!("INFO has no {name}"))?
        .trim()
        .parse()
        .with_context(|| format!("INFO's {name} is no number"))
}

/// Per script, over rounds of the same size.
fn medians(rounds: Vec<Vec<Cost>>) -> Vec<Cost> {
    let mut by_script: BTreeMap<usize, Vec<Cost>> = BTreeMap::new();
    for costs in rounds {
        for (at, cost) in costs.into_iter().enumerate() {
            by_script.entry(at).or_default().push(cost);
        }
    }
    by_script
        .into_values()
        .map(|costs| {
            let of = |value: fn(&Cost) -> f64| median(costs.iter().map(value).collect());
            Cost {
                script: costs[0].script.clone(),
                batch: costs[0].batch,
                redis_cpu_us_per_item: of(|cost| cost.redis_cpu_us_per_item),
                script_us_per_item: of(|cost| cost.script_us_per_item),
                script_us_per_call: of(|cost| cost.script_us_per_call),
            }
        })
        .collect()
}

// ------------------------------------------------------------------------------------------------------------- the fence

async fn fence(stock: &Stock, rounds: usize) -> Result<Vec<Fence>> {
    let file = SCRIPTS
        .iter()
        .find(|file| file.name == "reserve")
        .context("there is no script reserve")?;
    ensure!(
        file.source.contains(FENCE.0),
        "the fence is written otherwise now"
    );
    let with = Script::from_lua(file.source);
    let without = Script::from_lua(file.source.replace(FENCE.0, FENCE.1));
    let mut fences = Vec::new();
    for batch in BATCHES {
        let meter = Meter {
            client: &stock.client(),
            batch,
            items: items(batch),
        };
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (script, costs) in [&with, &without].into_iter().zip(&mut costs) {
                // Each on an empty lane, and loaded before the measurement.
                let (_, at) = open(stock, meter.items as u32 + 1).await?;
                let call = async |buyers: &[Buyer]| reserve_by(stock, script, file.keys, at, buyers).await;
                call(&people(1)?).await?;
                costs.push(meter.cost("reserve", &people(meter.items)?, call).await?);
            }
        }
        let [with_us_per_item, without_us_per_item] =
            costs.map(|costs| median(costs.iter().map(|cost| cost.redis_cpu_us_per_item).collect()));
        fences.push(Fence {
            batch,
            with_us_per_item,
            without_us_per_item,
        });
    }
    Ok(fences)
}

/// As `Stock::reserve` does, with a script of our own.
async fn reserve_by(
    stock: &Stock,
    script: &Script,
    keys: &[&str],
    at: LaneRef,
    buyers: &[Buyer],
) -> Result<()> {
    let keys: Vec<String> = keys.iter().map(|name| stock.keys().lane(name, at)).collect();
    let mut args = vec![at.epoch.to_string()];
    for buyer in buyers {
        args.extend([buyer.shopper.to_string(), "1".into(), "all".into()]);
        // Without a trace: this compares the fence, not the memory of commands.
        args.extend([buyer.command.to_string(), buyer.device.to_string(), String::new()]);
    }
    let answers: Vec<String> = script.evalsha_with_reload(&stock.client(), keys, args).await?;
    let held = answers
        .iter()
        .skip(1)
        .filter(|answer| answer.starts_with("ok 1 "))
        .count();
    ensure!(
        held == buyers.len(),
        "{held} of {} were held: {answers:?}",
        buyers.len()
    );
    Ok(())
}

async fn fence_alone(client: &Client) -> Result<f64> {
    let source = format!("{RUN_SOURCE}\nlocal run for _ = 1, {CHECKS} do run = this_run() end return run");
    let before = Used::by(client).await?;
    let run: String = client
        .eval(source, Vec::<String>::new(), Vec::<String>::new())
        .await?;
    let after = Used::by(client).await?;
    ensure!(run.len() == 40, "a run id is 40 digits long, not {run:?}");
    Ok((after.cpu_us - before.cpu_us) / f64::from(CHECKS))
}

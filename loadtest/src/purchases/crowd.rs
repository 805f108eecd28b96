//! The shoppers of a measured run: each buys one unit by the shortest way, and watches the sale before and after, as people do.

use crate::{
    report::{Timings, progress},
    shopper::{Shopper, Traffic, Turn, command_id, pause, pay},
};
use anyhow::Result;
use flashsale_protocol::{Code, Done, EntryState, Order, OrderStatus, Reject, ShopCommand};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Longest time for the last shopper to be done.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often a refused command is sent again.
const MAX_TRIES: usize = 40;
/// A payment without an answer yet is asked for again after this.
const STILL_PAYING: Duration = Duration::from_millis(500);
/// Arrivals of an open loop are the same in every run.
const SEED: u64 = 17;
/// The verbs, in the order of a purchase; the last is all of it, from the arrival to the paid order.
pub const VERBS: [&str; 6] = ["join", "turn", "reserve", "checkout", "pay", "purchase"];

/// When shoppers come.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// This many are under way at once: when one is done, the next begins. Whoever is refused comes again.
    Closed { at_once: usize },
    /// They come by chance, this many a second, whatever the server does. Whoever is refused goes away.
    Open { per_s: f64 },
}

/// How a run ended for everybody.
#[derive(Default)]
pub struct Ended {
    pub bought: u64,
    pub sold_out: u64,
    /// Refused commands by verb and code, also of those who came again.
    pub refused: BTreeMap<String, u64>,
    /// Shoppers who left without a unit while there were some, by what they were told.
    pub unserved: BTreeMap<String, u64>,
    /// From the start to the last purchase.
    pub last_purchase: Duration,
    pub traffic: Traffic,
    /// Each acknowledged order with its shopper, pending and confirmed.
    pub acknowledged: Vec<(String, Order)>,
    /// Broken promises, a line each.
    pub broken: Vec<String>,
}

impl Ended {
    fn count(&mut self, end: End) {
        match end.outcome {
            Outcome::Bought => {
                self.bought += 1;
                self.last_purchase = self.last_purchase.max(end.at);
            }
            Outcome::SoldOut => self.sold_out += 1,
            Outcome::Unserved(why) => *self.unserved.entry(why).or_default() += 1,
        }
        for (what, count) in end.refused {
            *self.refused.entry(what).or_default() += count;
        }
        self.traffic.sent += end.traffic.sent;
        self.traffic.received += end.traffic.received;
        self.traffic.ticks += end.traffic.ticks;
        let name = &end.name;
        self.acknowledged
            .extend(end.acknowledged.into_iter().map(|order| (name.clone(), order)));
        self.broken
            .extend(end.broken.into_iter().map(|what| format!("{name}: {what}")));
    }
}

/// One shopper's end, told when it comes: they go on watching.
struct End {
    name: String,
    outcome: Outcome,
    at: Duration,
    refused: BTreeMap<String, u64>,
    acknowledged: Vec<Order>,
    broken: Vec<String>,
    traffic: Traffic,
}

enum Outcome {
    Bought,
    SoldOut,
    Unserved(String),
}

/// Everybody who is connected.
pub struct Crowd {
    watching: JoinSet<()>,
    over: CancellationToken,
}

impl Crowd {
    /// Lets them buy from now on. Returns when everybody is done; they are still connected then.
    pub async fn buy(
        ready: Vec<Shopper>,
        load: Load,
        has_line: bool,
        timings: &Arc<Timings>,
    ) -> Result<(Self, Ended)> {
        let began = Instant::now();
        let bar = progress(ready.len() as u64, "buying");
        let (tell, mut told) = mpsc::channel(ready.len().max(1));
        let turns = Arc::new(Semaphore::new(match load {
            Load::Closed { at_once } => at_once,
            Load::Open { .. } => 0,
        }));
        let mut crowd = Self {
            watching: JoinSet::new(),
            over: CancellationToken::new(),
        };
        let mut arrivals = Arrivals::new(load);
        for mut shopper in ready {
            shopper.traffic = Traffic::default();
            let buyer = Buyer {
                shopper,
                has_line,
                comes_again: matches!(load, Load::Closed { .. }),
                timings: timings.clone(),
                refused: BTreeMap::new(),
                acknowledged: Vec::new(),
            };
            let comes_at = arrivals.next().map(|after| began + after);
            let (turns, tell, over) = (turns.clone(), tell.clone(), crowd.over.clone());
            crowd.watching.spawn(async move {
                tokio::select! {
                    () = live(buyer, comes_at, turns, began, tell) => {}
                    () = over.cancelled() => {}
                }
            });
        }
        drop(tell);
        let mut ended = Ended::default();
        let mut missing = crowd.watching.len() as u64;
        let collecting = async {
            while let Some(end) = told.recv().await {
                ended.count(end);
                bar.inc(1);
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, collecting).await.is_ok();
        if missing > 0 {
            let why = if in_time {
                "lost"
            } else {
                "no end within the deadline"
            };
            ended.unserved.insert(why.into(), missing);
        }
        bar.finish_and_clear();
        Ok((crowd, ended))
    }

    /// Everybody leaves.
    pub async fn leave(mut self) {
        self.over.cancel();
        while self.watching.join_next().await.is_some() {}
    }
}

/// Watches, buys, tells how it ended, and goes on watching.
async fn live(
    mut buyer: Buyer,
    comes_at: Option<Instant>,
    turns: Arc<Semaphore>,
    began: Instant,
    tell: mpsc::Sender<End>,
) {
    let arrives = async {
        match comes_at {
            Some(at) => {
                tokio::time::sleep_until(at.into()).await;
                (at, None)
            }
            None => {
                // The semaphore is never closed.
                let turn = turns.acquire_owned().await.ok();
                (Instant::now(), turn)
            }
        }
    };
    let outcome = match buyer.shopper.watch_until(arrives).await {
        Ok((arrived, _turn)) => buyer.buy(arrived).await,
        Err(error) => Err(error),
    };
    let end = End {
        name: buyer.shopper.identity.name.clone(),
        outcome: outcome.unwrap_or_else(|error| Outcome::Unserved(format!("{error:#}"))),
        at: began.elapsed(),
        refused: buyer.refused,
        acknowledged: buyer.acknowledged,
        broken: std::mem::take(&mut buyer.shopper.broken),
        traffic: buyer.shopper.traffic,
    };
    let _ = tell.send(end).await;
    // Until the run is over or the server closes.
    let _ = buyer.shopper.watch_until(std::future::pending::<()>()).await;
}

struct Buyer {
    shopper: Shopper,
    has_line: bool,
    comes_again: bool,
    timings: Arc<Timings>,
    refused: BTreeMap<String, u64>,
    acknowledged: Vec<Order>,
}

impl Buyer {
    /// join → (the turn) → reserve → checkout → pay. The first answer counts from the arrival, whenever it could be sent.
    async fn buy(&mut self, arrived: Instant) -> Result<Outcome> {
        let mut since = arrived;
        if self.has_line {
            let join = self.shopper.join();
            match self.ask("join", since, join).await? {
                Ok(Done::Joined { entry, .. }) if entry.state == EntryState::Admitted => {}
                Ok(Done::Joined { .. }) => {
                    let joined = Instant::now();
                    match self.shopper.my_turn().await? {
                        Turn::Mine => self.timings.record("turn", joined.elapsed()),
                        Turn::Over => return Ok(Outcome::SoldOut),
                        Turn::Unknown => {
                            return Ok(Outcome::Unserved("the connection was lost in line".into()));
                        }
                    }
                }
                other => return Ok(left("join", other)),
            }
            since = Instant::now();
        }
        let reserve = self.shopper.reserve();
        match self.ask("reserve", since, reserve).await? {
            Ok(Done::Hold(_)) => {}
            other => return Ok(left("reserve", other)),
        }
        let checkout = self.shopper.checkout();
        let order = match self.ask("checkout", Instant::now(), checkout).await? {
            Ok(Done::Order(order)) => order,
            other => return Ok(left("checkout", other)),
        };
        self.acknowledged.push(order.clone());
        match self.ask("pay", Instant::now(), pay(order.order)).await? {
            Ok(Done::Order(order)) if order.status == OrderStatus::Confirmed => {
                self.acknowledged.push(order);
                self.timings.record("purchase", arrived.elapsed());
                Ok(Outcome::Bought)
            }
            other => Ok(left("pay", other)),
        }
    }

    /// A command with its last answer. A refused one comes again under the same id, in a closed loop.
    async fn ask(
        &mut self,
        verb: &'static str,
        since: Instant,
        command: ShopCommand,
    ) -> Result<Result<Done, Reject>> {
        let id = command_id();
        for _ in 0..MAX_TRIES {
            match self.shopper.ask_once(id, command.clone()).await? {
                Ok(Done::Order(order)) if order.paying => tokio::time::sleep(STILL_PAYING).await,
                Err(reject) if reject.code != Code::SoldOut => {
                    let what = format!("{verb}: {}", reject.code.word());
                    *self.refused.entry(what).or_default() += 1;
                    if !reject.retry || !self.comes_again {
                        return Ok(Err(reject));
                    }
                    pause(&reject).await;
                }
                answer => {
                    self.timings.record(verb, since.elapsed());
                    return Ok(answer);
                }
            }
        }
        anyhow::bail!("{verb}: no answer after {MAX_TRIES} tries")
    }
}

fn left(verb: &str, answer: Result<Done, Reject>) -> Outcome {
    match answer {
        Err(reject) if reject.code == Code::SoldOut => Outcome::SoldOut,
        Err(reject) => Outcome::Unserved(format!("{verb}: {}", reject.code.word())),
        Ok(done) => Outcome::Unserved(format!("{verb}: {done:?}")),
    }
}

/// Times after the start; in a closed loop there are none.
struct Arrivals {
    per_s: Option<f64>,
    last: f64,
    chance: StdRng,
}

impl Arrivals {
    fn new(load: Load) -> Self {
        Self {
            per_s: match load {
                Load::Closed { .. } => None,
                Load::Open { per_s } => Some(per_s),
            },
            last: 0.0,
            chance: StdRng::seed_from_u64(SEED),
        }
    }

    fn next(&mut self) -> Option<Duration> {
        let per_s = self.per_s?;
        let chance: f64 = self.chance.random();
        self.last -= (1.0 - chance).ln() / per_s;
        Some(Duration::from_secs_f64(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_the_rate_and_by_chance() {
        let mut arrivals = Arrivals::new(Load::Open { per_s: 500.0 });
        let times: Vec<Duration> = (0..10_000).filter_map(|_| arrivals.next()).collect();
        assert!(times.is_sorted());
        let took = times.last().map_or(0.0, Duration::as_secs_f64);
        assert!(
            (18.0..22.0).contains(&took),
            "10,000 at 500 a second took {took} s"
        );
        let gaps = times.windows(2).map(|two| (two[1] - two[0]).as_secs_f64());
        let short = gaps.filter(|gap| *gap < 0.002).count();
        // By chance: 63 % of the gaps are shorter than their mean.
        assert!((6_000..6_600).contains(&short), "{short}");
        assert!(Arrivals::new(Load::Closed { at_once: 1 }).next().is_none());
    }
}

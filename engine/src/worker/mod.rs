//! The work that no shopper's command causes. One worker process leads each sale, by a lease in Redis; two at once do no harm,
//! because every step may be repeated. [`lead`] lists a sale's workers. Payments have no leader: every worker process takes due
//! ones ([`pay`]).

pub mod admit;
pub mod disaster;
pub mod draw;
pub mod expire;
pub mod forget;
mod governor;
pub mod history;
pub mod life;
pub mod mend;
pub mod pace;
pub mod pay;
pub mod reconcile;
pub mod roll;
pub mod tick;
pub mod tie;
mod turns;

use crate::{
    error::{Error, Result},
    sale::{LaneRef, Sale},
    shop::Shop,
    stock::{Measured, TickNumber},
    telemetry::{self, name},
};
use flashsale_protocol::SaleId;
use governor::{Governor, Verdict};
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How often this process looks for sales to lead, how long a lease lasts, and how often it is renewed.
const LOOK: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(3);
const RENEW: Duration = Duration::from_millis(700);
/// Pause in calling and expiring after a lane's rebuild, so that gateways can first restore places and holds that only they know.
const HOLD_OFF: Duration = Duration::from_millis(700);
/// Number of looks, one a second, after which a lane that disagrees with Postgres is rebuilt.
const APART_TIMES: u32 = 4;
/// After a failed step: time for Redis or Postgres to come back.
const AFTER_FAILURE: Duration = Duration::from_millis(250);

/// One sale under this process' lead.
pub struct Led {
    pub shop: Arc<Shop>,
    pub id: SaleId,
    /// Names this leader in Redis.
    pub token: String,
    /// Units in unpaid orders, from the last look at Postgres.
    unpaid: AtomicU64,
    /// Entries in the sale's draw.
    entries: AtomicU64,
    /// The lanes' epochs at the last look, and the end of the pause after a new life.
    held_off: Mutex<(Vec<u32>, Option<Instant>)>,
    /// Signals that units came back, so that the next in line need not wait for the next step.
    pub freed: Notify,
    /// The recent share of unused turns, in millionths.
    no_show: AtomicU64,
    /// How many people the shop can carry.
    governor: Mutex<Governor>,
    /// Held while the line's history is written and taken out of Redis.
    journal: tokio::sync::Mutex<()>,
    /// Knowledge of the line, in case Redis loses a part of it.
    line: LineGuard,
    /// Nothing is sold, ended or settled: Postgres is behind Redis, or was not looked at yet.
    stopped: AtomicBool,
    /// The provider may know payments that Postgres has lost, so an order without a payment may still be paid.
    unsettled: AtomicBool,
    /// How many times in a row each lane disagreed with Postgres.
    apart: Mutex<HashMap<u16, u32>>,
}

/// What a leader remembers of the line for `mend`.
#[derive(Default)]
struct LineGuard {
    is_guarded: AtomicBool,
    /// Time at which the line may be filled from its history.
    fill_from: Mutex<Option<Instant>>,
    calls_roll: AtomicBool,
    counted: Mutex<Vec<(&'static str, u64)>>,
}

impl LineGuard {
    fn is_guarded(&self) -> bool {
        self.is_guarded.load(Ordering::Relaxed)
    }

    fn set_guarded(&self) {
        self.is_guarded.store(true, Ordering::Relaxed);
    }

    /// Redis may have lost places with a lane: nobody is called until the line matches its history. The pause lets gateways first
    /// restore what was not written yet.
    fn set_to_fill(&self) {
        if let Ok(mut from) = self.fill_from.lock() {
            *from = Some(Instant::now() + HOLD_OFF);
        }
    }

    fn is_to_fill(&self) -> bool {
        self.fill_from.lock().is_ok_and(|from| from.is_some())
    }

    fn is_time_to_fill(&self) -> bool {
        let from = self.fill_from.lock().ok().and_then(|from| *from);
        from.is_some_and(|from| from <= Instant::now())
    }

    fn set_filled(&self) {
        if let Ok(mut from) = self.fill_from.lock() {
            *from = None;
        }
    }

    /// Redis no longer knows who is away.
    fn call_roll(&self) {
        self.calls_roll.store(true, Ordering::Relaxed);
    }

    /// Whether the roll is to be called. Asking clears the request.
    fn is_roll_to_call(&self) -> bool {
        self.calls_roll.swap(false, Ordering::Relaxed)
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counted
            .lock()
            .map(|counted| counted.clone())
            .unwrap_or_default()
    }

    /// Keeps the sale's counts. If one is lower than before, the sale has lost its counts, and the earlier ones stay.
    fn note(&self, number: &TickNumber) {
        let now = vec![
            ("admitted", number.admitted.queue),
            ("priority_admitted", number.admitted.priority),
            ("granted", number.turns.granted),
            ("granted_units", number.turns.granted_units),
            ("lapsed", number.turns.lapsed),
            ("lapsed_units", number.turns.lapsed_units),
        ];
        if let Ok(mut counted) = self.counted.lock()
            && counted
                .iter()
                .zip(&now)
                .all(|((_, before), (_, now))| before <= now)
        {
            *counted = now;
        }
    }
}

impl Led {
    pub async fn sale(&self) -> Result<Arc<Sale>> {
        self.shop
            .find_sale(self.id)
            .await?
            .ok_or_else(|| Error::unexpected("a sale has vanished"))
    }

    /// Whether Postgres was behind Redis at the last look.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether the provider's payments must still be searched after a disaster.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Relaxed)
    }

    fn set_unsettled(&self, unsettled: bool) {
        self.unsettled.store(unsettled, Ordering::Relaxed);
    }

    fn set_stopped(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Relaxed);
    }

    pub fn unpaid(&self) -> u64 {
        self.unpaid.load(Ordering::Relaxed)
    }

    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    fn set_entries(&self, entries: u64) {
        self.entries.store(entries, Ordering::Relaxed);
    }

    /// Whether a lane of this sale has just begun a new life, whichever process opened it.
    pub(crate) fn is_held_off(&self, sale: &Sale) -> bool {
        let Ok(mut held_off) = self.held_off.lock() else {
            return false;
        };
        let (known, until) = &mut *held_off;
        let epochs: Vec<u32> = sale.lane_refs().map(|at| at.epoch).collect();
        if *known != epochs {
            *until = (!known.is_empty()).then(|| Instant::now() + HOLD_OFF);
            *known = epochs;
        }
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether a lane has disagreed with Postgres too long for anything in flight to explain it.
    fn stays_apart(&self, at: LaneRef, apart: bool) -> bool {
        let Ok(mut times) = self.apart.lock() else {
            return false;
        };
        let times = times.entry(at.lane).or_default();
        *times = if apart { *times + 1 } else { 0 };
        let stays = *times >= APART_TIMES;
        if stays {
            *times = 0;
        }
        stays
    }

    /// The recent share of unused turns, from 0 to 1.
    pub(crate) fn no_show(&self) -> f64 {
        self.no_show.load(Ordering::Relaxed) as f64 / 1e6
    }

    pub(crate) fn set_no_show(&self, share: f64) {
        self.no_show.store((share * 1e6) as u64, Ordering::Relaxed);
    }

    /// Takes in how the stores do for purchases.
    fn govern(&self, measured: Measured, target: Duration) {
        if let Ok(mut governor) = self.governor.lock() {
            governor.look(measured, target, Instant::now());
        }
    }

    /// What the shop can carry; None: nothing is measured yet.
    fn verdict(&self) -> Option<Verdict> {
        self.governor.lock().ok().and_then(|governor| governor.verdict())
    }

    /// People a second that the shop can carry, if the sale's inflow is more.
    fn carried(&self, sale: &Sale) -> Option<f64> {
        let limit = self.verdict()?.limit;
        (limit < f64::from(sale.inflow) * admit::STEPS_A_SECOND).then_some(limit)
    }

    pub(crate) fn set_unpaid(&self, units: u64) {
        self.unpaid.store(units, Ordering::Relaxed);
    }
}

/// Starts all workers. They are spawned here so that they are compiled with this crate, and not in each that starts a server.
pub fn spawn(shop: &Arc<Shop>, stopping: &CancellationToken) -> [JoinHandle<()>; 3] {
    [
        tokio::spawn(run(shop.clone(), stopping.clone())),
        tokio::spawn(pay::run(shop.clone(), stopping.clone())),
        tokio::spawn(forget::run(shop.clone(), stopping.clone())),
    ]
}

/// Leads sales that nobody else leads, until stopped.
async fn run(shop: Arc<Shop>, stopping: CancellationToken) {
    let token = format!("{:032x}", rand::random::<u128>());
    let mut led: HashMap<SaleId, (JoinHandle<()>, CancellationToken)> = HashMap::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            _ = look.tick() => {}
            () = shop.sale_made.notified() => {}
        }
        led.retain(|_, (task, _)| !task.is_finished());
        let sales = match shop.store.sales_to_lead().await {
            Ok(sales) => sales,
            Err(error) => {
                tracing::warn!(%error, "cannot look for sales to lead");
                continue;
            }
        };
        led.retain(|id, (_, stop)| {
            let stays = sales.iter().any(|sale| sale.id == *id);
            if !stays {
                stop.cancel();
            }
            stays
        });
        shop.retain(|id| sales.iter().any(|sale| sale.id == id));
        for sale in sales
            .iter()
            .filter(|sale| !led.contains_key(&sale.id))
            .collect::<Vec<_>>()
        {
            match shop.stock.lead(sale.id, &token, LEASE).await {
                Ok(true) => {
                    let stop = stopping.child_token();
                    // Without it the governor begins as on a new platform.
                    let carried = shop.stock.remembered_carried().await.unwrap_or_default();
                    let task = Led {
                        shop: shop.clone(),
                        id: sale.id,
                        token: token.clone(),
                        unpaid: AtomicU64::new(0),
                        entries: AtomicU64::new(0),
                        held_off: Mutex::default(),
                        freed: Notify::new(),
                        no_show: AtomicU64::new(0),
                        governor: Mutex::new(Governor::remembering(carried)),
                        journal: tokio::sync::Mutex::default(),
                        line: LineGuard::default(),
                        stopped: AtomicBool::new(true),
                        unsettled: AtomicBool::new(true),
                        apart: Mutex::default(),
                    };
                    led.insert(sale.id, (tokio::spawn(lead(Arc::new(task), stop.clone())), stop));
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(sale = %sale.id, %error, "cannot ask for a sale's lead"),
            }
        }
        metrics::gauge!(name::LEADING).set(led.len() as f64);
    }
    for (task, _) in led.into_values() {
        let _ = task.await;
    }
}

/// The workers of one sale. Ends when the lead is lost or when told to stop.
async fn lead(led: Arc<Led>, stop: CancellationToken) {
    tracing::info!(sale = %led.id, "leading");
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_lead(&led) => tracing::warn!(sale = %led.id, "the lead has gone to another worker"),
        () = life::run(&led) => {}
        () = tick::run(&led) => {}
        () = admit::run(&led) => {}
        () = draw::run(&led) => {}
        () = expire::run(&led) => {}
        () = reconcile::run(&led) => {}
        () = disaster::run(&led) => {}
        () = history::run(&led) => {}
        () = mend::run(&led) => {}
        () = tie::run(&led) => {}
    }
    telemetry::forget_sale(led.id);
    // Gives the lease up, so that the next leader need not wait for its end.
    let _ = led.shop.stock.lead(led.id, &led.token, Duration::ZERO).await;
}

async fn keep_lead(led: &Led) {
    let mut renew = tokio::time::interval(RENEW);
    loop {
        renew.tick().await;
        match led.shop.stock.lead(led.id, &led.token, LEASE).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(sale = %led.id, %error, "cannot renew the lead"),
        }
    }
}

/// Repeats a step forever. A failed step is logged and tried again a little later. The step returns how long to wait.
async fn repeat<F, Fut>(name: &'static str, sale: SaleId, mut step: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Duration>>,
{
    // While a store is away, every step fails in the same way: this is logged once.
    let mut failing = None;
    loop {
        let wait = match step().await {
            Ok(wait) => {
                failing = None;
                wait
            }
            Err(Error::NotLeader) => return,
            // Redis was started again: the step that mends lanes opens them anew, and says so once for each.
            Err(error @ (Error::LaneMissing | Error::LaneLost)) => {
                tracing::debug!(%sale, worker = name, %error, "a step waits for its lane");
                AFTER_FAILURE
            }
            Err(error) => {
                let text = error.to_string();
                if failing.as_ref() != Some(&text) {
                    tracing::warn!(%sale, worker = name, %error, "a step has failed; it is tried again");
                }
                failing = Some(text);
                AFTER_FAILURE
            }
        };
        tokio::time::sleep(wait).await;
    }
}

//! What happens without a shopper's command. One worker process leads each sale, by a lease in Redis; two at once do
//! no harm, because every step may be repeated. The list of a sale's workers is [`lead`]. Payments are nobody's lead: every
//! worker process takes of them what is due ([`pay`]).

pub mod admit;
pub mod disaster;
pub mod draw;
pub mod expire;
pub mod history;
pub mod life;
pub mod mend;
pub mod pace;
pub mod pay;
pub mod reconcile;
pub mod roll;
pub mod tick;
mod turns;

use crate::{
    error::{Error, Result},
    sale::{LaneRef, Sale},
    shop::Shop,
    stock::TickNumber,
    telemetry::{self, name},
};
use flashsale_protocol::SaleId;
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

/// How often this process looks for sales to lead, and how long a lease lasts when its worker dies.
const LOOK: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(3);
const RENEW: Duration = Duration::from_millis(700);
/// How long nobody is called and no hold ends after a lane's new life: gateways come first, who know whose place was lost
/// with it, and whose hold in it is an older one than they have given.
const HOLD_OFF: Duration = Duration::from_millis(700);
/// Looks, one a second, after which a lane that disagrees with Postgres is rebuilt.
const APART_TIMES: u32 = 4;
/// After a failed step: time for Redis or Postgres to come back.
const AFTER_FAILURE: Duration = Duration::from_millis(250);

/// One sale under this process' lead.
pub struct Led {
    pub shop: Arc<Shop>,
    pub id: SaleId,
    /// Names this leader in Redis.
    pub token: String,
    /// Units in unpaid orders, by Postgres' last word.
    unpaid: AtomicU64,
    /// Entries in the sale's draw.
    entries: AtomicU64,
    /// The lanes' epochs when they were last looked at, and until when their new lives are left alone.
    held_off: Mutex<(Vec<u32>, Option<Instant>)>,
    /// Units have come back: the next in line need not wait for the next step.
    pub freed: Notify,
    /// The share of turns that nobody used lately, in millionths.
    no_show: AtomicU64,
    /// Held by whoever writes the line's history and takes it out of Redis.
    journal: tokio::sync::Mutex<()>,
    /// What is known of the line, should Redis lose a part of it.
    line: LineGuard,
    /// Nothing is sold, ended or settled: Postgres is behind what Redis knows, or was not looked at yet.
    stopped: AtomicBool,
    /// Payments may be missing in Postgres that the provider knows: orders without one are not unpaid for sure.
    unsettled: AtomicBool,
    /// How often in a row each lane was found to disagree with Postgres.
    apart: Mutex<HashMap<u16, u32>>,
}

/// What a leader remembers of the line for `mend`.
#[derive(Default)]
struct LineGuard {
    is_guarded: AtomicBool,
    /// From when on the line is filled by its history.
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

    /// Redis may have lost places with a lane: nobody is called until the line is as its history says. Gateways come first, who
    /// know what was not written yet.
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

    /// Who is away is not known any more.
    fn call_roll(&self) {
        self.calls_roll.store(true, Ordering::Relaxed);
    }

    /// Whether the roll is to be called; asked, it is.
    fn is_roll_to_call(&self) -> bool {
        self.calls_roll.swap(false, Ordering::Relaxed)
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counted
            .lock()
            .map(|counted| counted.clone())
            .unwrap_or_default()
    }

    /// What the sale has counted. Less than before: it has lost that, and what was known stands.
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

    /// Whether Postgres is behind what Redis knows, by the last look.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether the provider's money is still to be looked through after a disaster.
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

    /// Whether a lane of this sale has begun a new life a moment ago, whoever has opened it.
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

    /// Whether a lane has disagreed with Postgres for so long that nothing in flight explains it.
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

    /// The share of turns that nobody used lately, 0 to 1.
    pub(crate) fn no_show(&self) -> f64 {
        self.no_show.load(Ordering::Relaxed) as f64 / 1e6
    }

    pub(crate) fn set_no_show(&self, share: f64) {
        self.no_show.store((share * 1e6) as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_unpaid(&self, units: u64) {
        self.unpaid.store(units, Ordering::Relaxed);
    }
}

/// Leads what nobody else leads, until stopped.
pub async fn run(shop: Arc<Shop>, stopping: CancellationToken) {
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
                    let task = Led {
                        shop: shop.clone(),
                        id: sale.id,
                        token: token.clone(),
                        unpaid: AtomicU64::new(0),
                        entries: AtomicU64::new(0),
                        held_off: Mutex::default(),
                        freed: Notify::new(),
                        no_show: AtomicU64::new(0),
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

/// The workers of one sale. Ends when the lead is lost, or when told to.
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
    }
    telemetry::forget_sale(led.id);
    // So that the next leader need not wait for the lease to run out.
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

/// Repeats a step for ever; a step that fails is logged and tried again a little later. The step says how long to wait.
async fn repeat<F, Fut>(name: &'static str, sale: SaleId, mut step: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Duration>>,
{
    // While a store is away, every step fails alike: that is said once.
    let mut failing = None;
    loop {
        let wait = match step().await {
            Ok(wait) => {
                failing = None;
                wait
            }
            Err(Error::NotLeader) => return,
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

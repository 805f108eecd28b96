//! Sales for people without a socket. Everybody asks for them at once, so one look serves all.
//!
//! A look at a sale (its row in Postgres, its numbers in Redis) is kept in this process and, for all processes, in Redis. It is
//! renewed at random a little before it is too old: the probability grows towards the end, so that no crowd finds it missing at
//! one moment (XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", PVLDB 8(8), 2015).
//! One task per process renews it, and among processes the one with a lease in Redis; meanwhile the old look is shown. While
//! Redis or Postgres is away, the last known look is shown, marked as stale.

use crate::{
    boxed,
    error::{Error, Result},
    kept::Kept,
    limits::COMMAND_DEADLINE,
    sale::{Sale, Shown},
    stock::{
        Stock,
        shown::{Look, SaleNumbers, Showing},
    },
    store::{Store, listing::Wanted},
    telemetry::name,
};
use flashsale_protocol::{Phase, SaleId};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A look is renewed when it is this old, or by chance a little earlier.
const LIFE: Duration = Duration::from_secs(1);
/// XFetch's β: above 1 renews earlier, below 1 later.
const EAGERNESS: f64 = 1.0;
/// Above this age a reader waits for a new look; a look that cannot be renewed is marked as stale.
const STALE_AFTER: Duration = Duration::from_secs(3);
/// How long a reader with an old look waits for a new one.
const PATIENCE: Duration = Duration::from_millis(300);
/// Older looks are not shown at all.
const LAST_KNOWN: Duration = Duration::from_secs(300);
/// How long others wait for a process that died while it looked. Shorter than `LIFE`, so ending the lease needs no call.
const LEASE: Duration = Duration::from_millis(500);
/// How often this process asks for the result while another one looks.
const ASK_AGAIN: Duration = Duration::from_millis(25);
/// Pause after a failed look.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Number of pages of lists that a process keeps.
const PAGES_KEPT: u64 = 1_000;
/// Number of sales for which a process keeps looks.
const KEPT: u64 = 10_000;

/// The look to show, and its state.
pub struct View {
    pub look: Arc<Look>,
    /// Redis' clock now.
    pub now: u64,
    /// This is the last known look; Redis or Postgres is away.
    pub stale: bool,
}

/// A page of a list of sales.
pub struct Listed {
    pub sales: Vec<Shown>,
    /// Where the list goes on, if it does.
    pub next: Option<String>,
    /// Redis' clock at that moment.
    pub now: u64,
}

pub struct Showcase {
    store: Arc<Store>,
    stock: Arc<Stock>,
    slots: Kept<Showing, Arc<Slot>>,
    pages: Kept<Wanted, Arc<Listed>>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Counts looks that have ended, successful or not.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    kept: Option<KeptLook>,
    /// A task is taking a look.
    looking: bool,
    /// The sale has changed since the look.
    outdated: bool,
    /// The failure of the last look, and its time.
    failed: Option<(Error, Instant)>,
}

#[derive(Clone)]
struct KeptLook {
    look: Arc<Look>,
    /// Redis' clock and ours, when this process got the look.
    now: u64,
    got: Instant,
}

impl KeptLook {
    fn now(&self) -> u64 {
        self.now + self.got.elapsed().as_millis() as u64
    }

    fn age(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.look.at))
    }

    /// XFetch: renews early by a random share of the time that renewing takes.
    fn is_due(&self, random: f64) -> bool {
        let early = self.look.took_ms as f64 * EAGERNESS * -random.max(f64::MIN_POSITIVE).ln();
        self.age().as_millis() as f64 + early >= LIFE.as_millis() as f64
    }

    fn view(&self) -> View {
        View {
            look: self.look.clone(),
            now: self.now(),
            stale: self.age() >= STALE_AFTER,
        }
    }
}

impl Showcase {
    pub fn new(store: Arc<Store>, stock: Arc<Stock>) -> Self {
        Self {
            store,
            stock,
            slots: Kept::while_used(KEPT, LAST_KNOWN),
            pages: Kept::new(PAGES_KEPT, LIFE),
        }
    }

    /// The sale has changed: the kept look is shown only if there is no newer one.
    #[boxed]
    pub async fn forget(&self, sale: SaleId) {
        for what in [Showing::Sale(sale), Showing::All] {
            if let Some(slot) = self.slots.get(&what).await {
                slot.state().outdated = true;
            }
        }
    }

    /// A page of a list, at most a second old: one look answers a crowd that asks for the same.
    #[boxed]
    pub async fn page(&self, wanted: &Wanted) -> Result<Arc<Listed>> {
        let page = async { self.page_now(wanted).await.map(Arc::new) };
        self.pages.get_or_read(wanted, page).await
    }

    /// A page of a list as it is in the stores now.
    #[boxed]
    pub async fn page_now(&self, wanted: &Wanted) -> Result<Listed> {
        let page = self.store.list_sales(wanted).await?;
        let (now, sales) = self.with_numbers(page.sales, true).await?;
        Ok(Listed {
            sales,
            next: page.next.map(|next| next.to_string()),
            now,
        })
    }

    /// The look to show now.
    pub async fn view(self: &Arc<Self>, what: Showing) -> Result<View> {
        let slot = self
            .slots
            .get_or_read(&what, async { Ok(Arc::default()) })
            .await?;
        let mut ended = slot.ended.subscribe();
        let patience = {
            let mut state = slot.state();
            let kept = state.kept.clone();
            let fresh = kept
                .as_ref()
                .filter(|kept| !state.outdated && kept.age() < STALE_AFTER);
            if fresh.is_none_or(|kept| kept.is_due(rand::random())) {
                self.start(what, &slot, &mut state);
            }
            if let Some(kept) = fresh {
                metrics::counter!(name::SALE_READS, "from" => "memory").increment(1);
                return Ok(kept.view());
            }
            match (kept, &state.failed) {
                // A store is away: readers do not wait again and again.
                (_, Some(_)) if !state.looking => Duration::ZERO,
                (Some(_), Some(_)) => Duration::ZERO,
                (Some(_), None) => PATIENCE,
                (None, _) => COMMAND_DEADLINE,
            }
        };
        let _ = tokio::time::timeout(patience, ended.changed()).await;
        let state = slot.state();
        match (&state.kept, &state.failed) {
            (Some(kept), _) if kept.age() < LAST_KNOWN => {
                metrics::counter!(name::SALE_READS, "from" => "memory").increment(1);
                Ok(kept.view())
            }
            (_, Some((error, _))) => Err(error.clone()),
            _ => Err(Error::Deadline(patience.as_millis() as u64)),
        }
    }

    /// Starts a task that renews the look, unless one is running or has just failed. No reader's end can end it.
    fn start(self: &Arc<Self>, what: Showing, slot: &Arc<Slot>, state: &mut State) {
        let failed_now = |(_, at): &(Error, Instant)| at.elapsed() < AFTER_FAILURE;
        if state.looking || state.failed.as_ref().is_some_and(failed_now) {
            return;
        }
        state.looking = true;
        let (showcase, slot) = (self.clone(), slot.clone());
        tokio::spawn(async move {
            let renewed = tokio::time::timeout(COMMAND_DEADLINE, showcase.renew(what, &slot)).await;
            let failure = match renewed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(Error::Deadline(COMMAND_DEADLINE.as_millis() as u64)),
            };
            if let Some(error) = &failure {
                tracing::warn!(?what, %error, "sales are shown as they were last known");
            }
            let mut state = slot.state();
            state.looking = false;
            state.failed = failure.map(|error| (error, Instant::now()));
            drop(state);
            slot.ended.send_modify(|ended| *ended += 1);
        });
    }

    /// Takes another process' look, or takes one, or waits for the process that does.
    async fn renew(&self, what: Showing, slot: &Slot) -> Result<()> {
        loop {
            let (now, last) = self.stock.last_look(what).await?;
            let got = Instant::now();
            let mut known = None;
            if let Some(look) = last {
                let found = KeptLook {
                    look: Arc::new(look),
                    now,
                    got,
                };
                let mut state = slot.state();
                let newer = |kept: &KeptLook| found.look.at > kept.look.at;
                if state.kept.as_ref().is_none_or(newer) || state.outdated {
                    let fresh = found.age() < LIFE;
                    if fresh {
                        metrics::counter!(name::SALE_READS, "from" => "redis").increment(1);
                        state.kept = Some(found);
                        state.outdated = false;
                        return Ok(());
                    }
                    known = Some(found);
                }
            }
            if !self.stock.may_look(what, LEASE).await? {
                tokio::time::sleep(ASK_AGAIN).await;
                continue;
            }
            match self.look(what).await {
                Ok(look) => {
                    let life = if look.sales.is_empty() { LIFE } else { LAST_KNOWN };
                    let kept = KeptLook {
                        now: look.at,
                        look: Arc::new(look),
                        got: Instant::now(),
                    };
                    {
                        let mut state = slot.state();
                        state.kept = Some(kept.clone());
                        state.outdated = false;
                    }
                    self.stock.keep_look(what, &kept.look, life).await?;
                    return Ok(());
                }
                Err(error) => {
                    // Too old, but better than nothing.
                    let mut state = slot.state();
                    if state.kept.is_none() {
                        state.kept = known;
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn look(&self, what: Showing) -> Result<Look> {
        let began = Instant::now();
        metrics::counter!(name::SALE_READS, "from" => "postgres").increment(1);
        let (sales, next) = match what {
            Showing::Sale(id) => (self.store.sale(id).await?.into_iter().collect(), None),
            Showing::All => {
                let page = self.store.list_sales(&Wanted::first()).await?;
                (page.sales, page.next.map(|next| next.to_string()))
            }
        };
        let (at, sales) = self.with_numbers(sales, what == Showing::All).await?;
        Ok(Look {
            at,
            took_ms: began.elapsed().as_millis() as u64,
            sales,
            next,
        })
    }

    /// Sales with their numbers, in one call, and Redis' clock. A sale that Redis does not know yet is left out of a list, so
    /// that it does not hide the others.
    #[boxed]
    pub async fn with_numbers(&self, sales: Vec<Sale>, leave_out: bool) -> Result<(u64, Vec<Shown>)> {
        let (at, numbers) = self.stock.numbers(&sales).await?;
        let mut shown = Vec::with_capacity(sales.len());
        for (sale, numbers) in sales.into_iter().zip(numbers) {
            let over = matches!(sale.phase_at(at), Phase::Ended | Phase::Cancelled);
            let numbers = match numbers {
                Some(numbers) => numbers,
                // Ended long ago and gone from Redis: Postgres has the final numbers.
                None if over => {
                    let left = |lane: &crate::sale::LaneInfo| u64::from(lane.supply - lane.allocated);
                    SaleNumbers {
                        free: sale.lanes.iter().map(left).sum(),
                        waiting: 0,
                        phase: None,
                    }
                }
                None if leave_out => {
                    tracing::warn!(sale = %sale.id, "a sale that Redis does not know is left out");
                    continue;
                }
                None => return Err(Error::LaneMissing),
            };
            shown.push(Shown {
                sale,
                free: numbers.free,
                waiting: numbers.waiting,
                phase: numbers.phase,
            });
        }
        Ok((at, shown))
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that could panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(age_ms: u64, took_ms: u64) -> KeptLook {
        KeptLook {
            look: Arc::new(Look {
                at: 1_000_000 - age_ms,
                took_ms,
                sales: vec![],
                next: None,
            }),
            now: 1_000_000,
            got: Instant::now(),
        }
    }

    /// The number of 1,000 readers at this age who would renew.
    fn renewers(age_ms: u64, took_ms: u64) -> usize {
        let randoms = (0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0);
        randoms
            .filter(|random| kept(age_ms, took_ms).is_due(*random))
            .count()
    }

    #[test]
    fn the_nearer_the_end_and_the_slower_the_look_the_more_likely_it_is_renewed_early() {
        assert_eq!(renewers(100, 20), 0, "young");
        // e^(-100/20) = 0.7 %, e^(-20/20) = 37 %.
        assert!((3..=12).contains(&renewers(900, 20)), "{}", renewers(900, 20));
        assert!((330..=400).contains(&renewers(980, 20)), "{}", renewers(980, 20));
        assert!(renewers(900, 100) > renewers(900, 20));
        assert_eq!(renewers(1000, 0), 1000, "at its end, everybody");
    }
}

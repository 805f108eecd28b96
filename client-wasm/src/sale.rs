//! The knowledge about one sale: the shared tick, and this shopper's entry and hold. It makes sure that news never goes back, in
//! whatever order it arrives. Knows nothing of connections.

use crate::{
    moves::{Moves, Watched},
    refusal::Refusal,
    steady::Steady,
};
use flashsale_protocol::{
    Entry, EntryState, Hold, HoldState, Nonce, Order, OrderStatus, Phase, SaleInfo, SaleState, ShopperId,
    Tick,
    draw::{Draw, Hash},
    wait,
};
use serde::Serialize;

/// Interval between exact looks at a place near the front; further back it is longer.
const NEAR_LOOK_MS: u64 = 30_000;
/// Most looks in a ms by all people in line together, after places are drawn and everybody wants to see theirs.
const LOOKS_PER_MS: u64 = 20;
const SHORTEST_SPREAD_MS: u64 = 300;
/// A tick is overdue after this time plus twice the gap between ticks: gateways under load tick less often.
const OVERDUE_MS: u64 = 3_000;

/// What this page heard of a draw while nobody could know its outcome.
#[derive(Debug, Clone, Copy)]
pub struct Noted {
    pub commitment: Hash,
    /// Heard before the seed was revealed.
    pub root: Option<Hash>,
}

#[derive(Debug, Default)]
pub struct Known {
    pub info: Option<SaleInfo>,
    pub tick: Option<Tick>,
    /// Time from the tick before to this one.
    tick_gap_ms: u64,
    pub entry: Option<Entry>,
    pub hold: Option<Hold>,
    /// The published data of the sale's draw, and what was heard of it first.
    pub draw: Option<Draw>,
    pub noted: Option<Noted>,
    /// Who the shopper is in this sale.
    pub shopper: Option<ShopperId>,
    /// The nonce in the shopper's name in the draw, as this page was told last.
    pub nonce: Option<Nonce>,
    /// The best position shown during the present stay in line.
    best_position: Option<u64>,
    /// How the line has moved.
    watched: Watched,
    /// The chance at the place that is shown, and that of somebody who would join now.
    chance: Option<Steady>,
    newcomers_chance: Option<Steady>,
    /// The refusal of the shopper's last command on this sale, until the next one.
    pub refusal: Option<Refusal>,
    /// The reason why the sale cannot be watched.
    pub trouble: Option<Refusal>,
    /// When to look at the exact place again.
    pub look_at: Option<u64>,
}

impl Known {
    /// Takes a whole state. `fresh`: it answers a hello, so nothing on this connection can be newer, and things that it does not
    /// mention do not exist.
    pub fn apply_state(&mut self, state: SaleState, fresh: bool) {
        let SaleState {
            sale,
            tick,
            entry,
            hold,
            orders: _,
            draw,
            shopper,
        } = state;
        let as_of = tick.now;
        let gone = |at: u64| fresh || at <= as_of;
        self.info = Some(sale);
        // The first one stays: it was told before anybody could know what a nonce makes of it.
        self.shopper = self.shopper.take().or(shopper);
        self.trouble = None;
        self.apply_tick(tick);
        match entry {
            Some(entry) => self.apply_entry(entry),
            None if self.entry.as_ref().is_some_and(|known| gone(known.at)) => {
                self.entry = None;
                self.nonce = None;
                self.best_position = None;
            }
            None => {}
        }
        if let Some(draw) = draw {
            self.note_draw(draw);
        }
        match hold {
            Some(hold) => self.apply_hold(hold),
            None if self.hold.as_ref().is_some_and(|known| gone(known.at)) => self.hold = None,
            None => {}
        }
    }

    /// Drops a tick that is not newer than the last one.
    pub fn apply_tick(&mut self, tick: Tick) {
        if self.tick.as_ref().is_none_or(|known| tick.seq > known.seq) {
            let before = self.tick.as_ref().map_or(tick.now, |known| known.now);
            self.tick_gap_ms = tick.now.saturating_sub(before);
            self.watched.saw(&tick);
            self.tick = Some(tick);
            self.note_position();
            self.note_chances();
        }
    }

    /// How long nothing was heard of the sale, if a tick is overdue: the page then shows old numbers.
    pub fn stale_ms(&self, now: u64) -> Option<u64> {
        let tick = self.tick.as_ref()?;
        let age = now.saturating_sub(tick.now);
        let is_over = matches!(tick.phase, Phase::Ended | Phase::Cancelled);
        (!is_over && age > OVERDUE_MS + 2 * self.tick_gap_ms).then_some(age)
    }

    pub fn apply_entry(&mut self, entry: Entry) {
        if let Some(known) = &self.entry {
            if is_older(
                (entry.at, entry_rank(entry.state)),
                (known.at, entry_rank(known.state)),
            ) {
                return;
            }
            let same_stay = known.state == EntryState::Waiting && entry.state == EntryState::Waiting;
            // A place gets worse only if the server gives a reason; then the shopper is told, not comforted.
            if !same_stay || entry.reason.is_some() {
                self.best_position = None;
            }
        }
        match entry.state {
            // The next entry may have another nonce.
            EntryState::Left | EntryState::Removed => self.nonce = None,
            _ => self.nonce = entry.nonce.or(self.nonce),
        }
        self.entry = Some(entry);
        self.serve();
        self.note_position();
        self.note_chances();
    }

    /// Whether a turn or a cart may have its time once more, as far as this page knows.
    pub fn may_extend(&self) -> bool {
        let is_allowed = self.info.as_ref().is_some_and(|info| info.extend_once);
        let is_quiet = |tick: &Tick| tick.phase == Phase::Live && tick.waiting == 0;
        is_allowed && self.tick.as_ref().is_some_and(is_quiet)
    }

    /// News of the draw. People in line when its entries closed are in it, because the remaining units are drawn among them.
    /// Winners have heard of it before, so somebody who is still only entered was not drawn.
    pub fn apply_draw(&mut self, draw: Draw) {
        if draw.root.is_some()
            && let Some(entry) = &mut self.entry
            && entry.state == EntryState::Waiting
        {
            entry.state = EntryState::Entered;
            entry.position = 0;
            self.best_position = None;
            self.look_at = None;
        }
        if draw.seed.is_some()
            && let Some(entry) = &mut self.entry
            && entry.state == EntryState::Entered
        {
            entry.state = EntryState::NotDrawn;
        }
        self.note_draw(draw);
    }

    /// Keeps what was heard first, to compare later data with it.
    fn note_draw(&mut self, draw: Draw) {
        let noted = self.noted.get_or_insert(Noted {
            commitment: draw.commitment,
            root: None,
        });
        if noted.root.is_none() && draw.seed.is_none() {
            noted.root = draw.root;
        }
        if self
            .draw
            .as_ref()
            .is_none_or(|known| stage(known) <= stage(&draw))
        {
            self.draw = Some(draw);
        }
    }

    pub fn apply_hold(&mut self, hold: Hold) {
        let newer = self.hold.as_ref().is_none_or(|known| {
            !is_older(
                (hold.at, hold_rank(hold.state)),
                (known.at, hold_rank(known.state)),
            )
        });
        if newer {
            self.hold = Some(hold);
            self.serve();
        }
    }

    /// A turn becomes a hold: a hold that is newer than the turn shows that the turn was used.
    fn serve(&mut self) {
        if let (Some(entry), Some(hold)) = (&mut self.entry, &self.hold)
            && entry.state == EntryState::Admitted
            && hold.at >= entry.at
        {
            entry.state = EntryState::Served;
            entry.claim_until = None;
        }
    }

    /// The shopper has left the line. This counts at once, whenever the entry's own news arrives.
    pub fn left(&mut self) {
        self.best_position = None;
        if let Some(entry) = &mut self.entry
            && matches!(
                entry.state,
                EntryState::Waiting | EntryState::Admitted | EntryState::Entered
            )
        {
            self.look_at = None;
            self.nonce = None;
            entry.state = EntryState::Left;
            entry.position = 0;
            entry.claim_until = None;
        }
    }

    /// Another shopper uses this page now.
    pub fn forget_shopper(&mut self) {
        self.entry = None;
        self.shopper = None;
        self.nonce = None;
        self.hold = None;
        self.best_position = None;
        self.refusal = None;
    }

    /// Plans a look at the state at a random moment within the shortest spread.
    pub fn look_soon(&mut self, now: u64, dice: u64) {
        let at = now + dice % SHORTEST_SPREAD_MS;
        self.look_at = Some(self.look_at.map_or(at, |planned| planned.min(at)));
    }

    /// Plans the next exact look at the place: soon after places are drawn, otherwise rarely, and more rarely further back.
    /// Random delays spread everybody's looks, to limit the server's load.
    pub fn plan_look(&mut self, now: u64, dice: u64) {
        let (Some(entry), Some(tick)) = (&self.entry, &self.tick) else {
            return;
        };
        if entry.state != EntryState::Waiting {
            self.look_at = None;
            return;
        }
        let position = entry.position_at(tick);
        if position == 0 {
            // There is nothing to see before the start.
            if tick.now >= tick.starts_at && self.look_at.is_none() {
                let spread = (tick.waiting / LOOKS_PER_MS).max(SHORTEST_SPREAD_MS);
                self.look_at = Some(now + dice % spread);
            }
            return;
        }
        if self.look_at.is_none() {
            let every = match position {
                0..1_000 => NEAR_LOOK_MS,
                1_000..100_000 => 4 * NEAR_LOOK_MS,
                _ => 20 * NEAR_LOOK_MS,
            };
            self.look_at = Some(now + every + dice % every);
        }
    }

    /// The place to show, never worse than the one shown before. `None` when not in line.
    #[cfg(test)]
    pub fn position(&self) -> Option<u64> {
        self.best_position
    }

    /// The entry as of the last tick, at the place that is shown. `None` when not in line.
    pub fn shown_entry(&self) -> Option<Entry> {
        let (entry, tick, position) = (self.entry.as_ref()?, self.tick.as_ref()?, self.best_position?);
        Some(Entry {
            position,
            admitted: if entry.priority {
                tick.priority_admitted
            } else {
                tick.admitted
            },
            ..entry.clone()
        })
    }

    pub fn chance(&self) -> Option<Steady> {
        self.chance
    }

    pub fn newcomers_chance(&self) -> Option<Steady> {
        self.newcomers_chance
    }

    /// How one of the two lines has moved.
    pub fn moves(&self, priority: bool, now: u64) -> Option<Moves> {
        self.watched.moves(priority, now)
    }

    fn note_chances(&mut self) {
        let Some(tick) = &self.tick else { return };
        let follow = |before, entry: Entry| {
            wait::of(&entry, tick).map(|wait| Steady::follow(before, wait.chance, tick.now))
        };
        self.chance = self.shown_entry().and_then(|entry| follow(self.chance, entry));
        self.newcomers_chance = follow(self.newcomers_chance, newcomer(tick));
    }

    fn note_position(&mut self) {
        self.best_position = match &self.entry {
            Some(entry) if entry.state == EntryState::Waiting => {
                let now = self
                    .tick
                    .as_ref()
                    .map_or(entry.position, |tick| entry.position_at(tick));
                // 0: places are not drawn yet.
                let best = self.best_position.filter(|best| *best > 0);
                Some(best.map_or(now, |best| if now == 0 { 0 } else { best.min(now) }))
            }
            _ => None,
        };
    }
}

/// The entry of somebody who would join everybody's line now.
fn newcomer(tick: &Tick) -> Entry {
    Entry {
        state: EntryState::Waiting,
        position: tick.waiting.saturating_sub(tick.priority_waiting) + 1,
        admitted: tick.admitted,
        ..Entry::settled(tick.sale, EntryState::Waiting, 1, tick.now)
    }
}

/// Takes one view of an order into the known one, unless it is older.
pub fn merge_order(known: &mut Order, order: Order) {
    if !is_older(
        (order.at, order_rank(order.status)),
        (known.at, order_rank(known.status)),
    ) {
        *known = order;
    }
}

/// The later of two pieces of news is true; in the same millisecond, the one that is further on.
fn is_older(news: (u64, u8), known: (u64, u8)) -> bool {
    news < known
}

fn entry_rank(state: EntryState) -> u8 {
    match state {
        EntryState::Waiting | EntryState::Entered | EntryState::NotDrawn => 0,
        EntryState::Admitted => 1,
        EntryState::Served | EntryState::Lapsed | EntryState::Left | EntryState::Removed => 2,
    }
}

/// The stage of a draw; later stages are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Entries come and go.
    Open,
    /// The entries are fixed.
    Closed,
    Drawn,
}

pub fn stage(draw: &Draw) -> Stage {
    match (draw.root, draw.seed) {
        (_, Some(_)) => Stage::Drawn,
        (Some(_), None) => Stage::Closed,
        (None, None) => Stage::Open,
    }
}

fn hold_rank(state: HoldState) -> u8 {
    match state {
        HoldState::Held => 0,
        HoldState::Ordering => 1,
        HoldState::Ordered | HoldState::Released | HoldState::Expired | HoldState::Revoked => 2,
    }
}

fn order_rank(status: OrderStatus) -> u8 {
    match status {
        OrderStatus::Pending => 0,
        OrderStatus::Confirmed | OrderStatus::Cancelled => 1,
    }
}

#[cfg(test)]
mod tests;

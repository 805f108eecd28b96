//! The knowledge about one sale: the shared tick, and this shopper's entry and hold. It makes sure that news never goes back, in
//! whatever order it arrives. Knows nothing of connections.

use crate::{check::Noted, refusal::Refusal};
use flashsale_protocol::{
    Entry, EntryState, Hold, HoldState, Nonce, Order, OrderStatus, Phase, SaleInfo, SaleState, ShopperId,
    Tick, draw::Draw,
};
use serde::Serialize;

/// Interval between exact looks at a place near the front; further back it is longer.
const NEAR_LOOK_MS: u64 = 30_000;
/// Most looks in a ms by all people in line together, after places are drawn and everybody wants to see theirs.
const LOOKS_PER_MS: u64 = 20;
const SHORTEST_SPREAD_MS: u64 = 300;
/// A tick is overdue after this time plus twice the gap between ticks: gateways under load tick less often.
const OVERDUE_MS: u64 = 3_000;

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
            self.tick = Some(tick);
            self.note_position();
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
    pub fn position(&self) -> Option<u64> {
        self.best_position
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
mod tests {
    use super::*;
    use crate::fixture::{entry, hold, sale, state, tick};
    use flashsale_protocol::{
        Reason,
        draw::{Format, Hash, Seed},
    };
    use proptest::prelude::*;

    #[test]
    fn an_entry_never_goes_back_in_time() {
        let mut known = Known::default();
        known.apply_entry(entry(EntryState::Admitted, 0, 20));
        known.apply_entry(entry(EntryState::Waiting, 5, 10));
        assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::Admitted));
    }

    #[test]
    fn of_two_holds_from_one_millisecond_the_one_further_on_is_true() {
        for order in [
            [HoldState::Held, HoldState::Ordered],
            [HoldState::Ordered, HoldState::Held],
        ] {
            let mut known = Known::default();
            for state in order {
                known.apply_hold(hold(state, 7));
            }
            assert_eq!(known.hold.map(|hold| hold.state), Some(HoldState::Ordered));
        }
    }

    #[test]
    fn a_worse_place_is_shown_only_when_the_server_says_why() {
        let mut known = Known::default();
        known.apply_entry(entry(EntryState::Waiting, 10, 1));
        known.apply_entry(entry(EntryState::Waiting, 15, 2));
        assert_eq!(known.position(), Some(10));
        known.apply_entry(Entry {
            reason: Some(Reason::LimitReached),
            ..entry(EntryState::Waiting, 15, 3)
        });
        assert_eq!(known.position(), Some(15));
    }

    #[test]
    fn a_new_stay_in_line_starts_at_its_own_place() {
        let mut known = Known::default();
        known.apply_entry(entry(EntryState::Waiting, 3, 1));
        known.left();
        assert_eq!(known.position(), None);
        known.apply_entry(entry(EntryState::Waiting, 90, 2));
        assert_eq!(known.position(), Some(90));
    }

    #[test]
    fn a_turn_is_used_up_by_its_hold_and_does_not_come_back_with_the_holds_end() {
        for order in [[true, false], [false, true]] {
            let mut known = Known::default();
            for is_entry in order {
                if is_entry {
                    known.apply_entry(entry(EntryState::Admitted, 0, 5));
                } else {
                    known.apply_hold(hold(HoldState::Held, 6));
                }
            }
            known.apply_hold(hold(HoldState::Expired, 9));
            assert_eq!(
                known.entry.as_ref().map(|entry| entry.state),
                Some(EntryState::Served)
            );
            known.apply_entry(entry(EntryState::Admitted, 0, 10));
            assert_eq!(
                known.entry.map(|entry| entry.state),
                Some(EntryState::Admitted),
                "the next turn counts"
            );
        }
    }

    #[test]
    fn what_a_fresh_state_does_not_mention_is_gone() {
        let mut known = Known::default();
        known.apply_entry(entry(EntryState::Waiting, 3, 900));
        known.apply_hold(hold(HoldState::Held, 900));
        known.apply_state(state(tick(1, 500)), true);
        assert!(known.entry.is_none() && known.hold.is_none() && known.position().is_none());
    }

    #[test]
    fn the_nonce_is_the_last_one_told_and_the_shopper_the_first_until_another_signs_in() {
        let nonces = [1, 2].map(|byte| Some(Nonce([byte; 16])));
        let with = |nonce, state, at| Entry {
            nonce,
            ..entry(state, 3, at)
        };
        let mut known = Known::default();
        known.apply_entry(with(nonces[0], EntryState::Waiting, 1));
        known.apply_entry(with(None, EntryState::Admitted, 2));
        assert_eq!(known.nonce, nonces[0], "news of a turn has none");
        known.left();
        assert_eq!(known.nonce, None);
        known.apply_entry(with(nonces[1], EntryState::Waiting, 3));
        known.apply_entry(with(nonces[0], EntryState::Waiting, 1));
        assert_eq!(known.nonce, nonces[1], "old news");
        for who in ["jo", "al"] {
            let state = SaleState {
                shopper: who.parse().ok(),
                ..state(tick(1, 1))
            };
            known.apply_state(state, false);
        }
        assert_eq!(known.shopper.as_ref().map(ShopperId::as_str), Some("jo"));
        known.forget_shopper();
        assert_eq!((known.shopper, known.nonce), (None, None));
    }

    #[test]
    fn a_state_that_was_read_before_the_news_does_not_undo_it() {
        let mut known = Known::default();
        known.apply_hold(hold(HoldState::Held, 900));
        known.apply_state(state(tick(1, 500)), false);
        assert!(known.hold.is_some());
    }

    #[test]
    fn what_was_heard_of_a_draw_before_it_was_held_is_kept_and_the_draw_does_not_go_back() {
        let draw = |root: Option<u8>, seed: Option<u8>| Draw {
            root: root.map(|byte| Hash([byte; 32])),
            seed: seed.map(|byte| Seed([byte; 32])),
            ..Draw::committed(Format::One, sale(), Hash([1; 32]))
        };
        let mut known = Known::default();
        known.apply_entry(entry(EntryState::Entered, 0, 5));
        known.apply_draw(draw(None, None));
        known.apply_draw(draw(Some(2), None));
        known.apply_draw(draw(None, None));
        let noted = known.noted.expect("heard");
        assert_eq!(noted.root, Some(Hash([2; 32])));
        assert_eq!(
            known.entry.as_ref().map(|entry| entry.state),
            Some(EntryState::Entered)
        );
        known.apply_draw(draw(Some(3), Some(4)));
        assert_eq!(known.noted.and_then(|noted| noted.root), Some(Hash([2; 32])));
        assert_eq!(known.draw.as_ref().map(stage), Some(Stage::Drawn));
        assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::NotDrawn));

        let mut late = Known::default();
        late.apply_draw(draw(Some(3), Some(4)));
        assert_eq!(
            late.noted.and_then(|noted| noted.root),
            None,
            "heard too late to count"
        );
    }

    #[test]
    fn whoever_is_in_line_when_the_rest_is_drawn_is_in_the_draw_without_news_of_their_own() {
        let draw = |seed: Option<u8>| Draw {
            root: Some(Hash([2; 32])),
            seed: seed.map(|byte| Seed([byte; 32])),
            ..Draw::committed(Format::One, sale(), Hash([1; 32]))
        };
        let mut known = Known::default();
        known.apply_entry(entry(EntryState::Waiting, 7, 5));
        known.apply_draw(draw(None));
        assert_eq!(
            (known.entry.as_ref().map(|entry| entry.state), known.position()),
            (Some(EntryState::Entered), None)
        );
        known.apply_draw(draw(Some(4)));
        assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::NotDrawn));
    }

    #[test]
    fn a_winner_is_not_told_that_they_were_not_drawn() {
        let won = entry(EntryState::Admitted, 0, 9);
        let drawn = Draw {
            seed: Some(Seed([4; 32])),
            ..Draw::committed(Format::One, sale(), Hash([1; 32]))
        };
        for order in [[true, false], [false, true]] {
            let mut known = Known::default();
            known.apply_entry(entry(EntryState::Entered, 0, 5));
            for is_entry in order {
                if is_entry {
                    known.apply_entry(won.clone());
                } else {
                    known.apply_draw(drawn.clone());
                }
            }
            assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::Admitted));
        }
    }

    proptest! {
        #[test]
        fn a_tick_never_goes_back(seqs in prop::collection::vec(0u64..50, 1..40)) {
            let mut known = Known::default();
            let mut shown = None;
            for seq in seqs {
                known.apply_tick(tick(seq, seq));
                let now = known.tick.as_ref().map(|tick| tick.seq);
                prop_assert!(now >= shown);
                shown = now;
            }
        }

        #[test]
        fn the_position_never_gets_worse_within_one_stay(
            news in prop::collection::vec((any::<bool>(), 1u64..1_000, 0u64..1_000), 1..60)
        ) {
            let mut known = Known::default();
            let mut shown = u64::MAX;
            for (at, (is_tick, position, admitted)) in (1u64..).zip(news) {
                if is_tick {
                    known.apply_tick(Tick { admitted, ..tick(at, at) });
                } else {
                    known.apply_entry(Entry { admitted, ..entry(EntryState::Waiting, position, at) });
                }
                if let Some(position) = known.position() {
                    prop_assert!(position <= shown && position >= 1);
                    shown = position;
                }
            }
        }

        #[test]
        fn news_may_arrive_in_any_order(order in Just((0..6u64).collect::<Vec<_>>()).prop_shuffle()) {
            let states = [HoldState::Held, HoldState::Released, HoldState::Held, HoldState::Ordering, HoldState::Held, HoldState::Ordered];
            let mut known = Known::default();
            for at in order {
                known.apply_hold(hold(states[usize::try_from(at).unwrap_or(0)], at));
            }
            prop_assert_eq!(known.hold.map(|hold| hold.state), Some(HoldState::Ordered));
        }
    }
}

//! The view of one sale: one phase of the shopper's journey and all its numbers, derived from the state and the time. Pages
//! decide nothing; they show this.

mod mine;

use crate::{
    moves::Moves,
    refusal::Refusal,
    sale::{Known, Stage, stage},
    state::{ConnectionView, State},
    steady::Chance,
};
use flashsale_protocol::{
    Entry, EntryState, HoldState, Order, OrderId, OrderStatus, Outlook, Phase, Reason, SaleId, SaleInfo,
    Tick,
    draw::{Draw, Hash},
    wait,
};
use mine::Mine;
use serde::Serialize;

/// How long news of an end may be on its way. After this time an expired hold is shown as ended.
pub const OVERDUE_GRACE_MS: u64 = 2_000;

/// The shopper's position in their journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Journey {
    /// Nothing is known yet.
    Loading,
    /// There is no such sale, or it cannot be watched; see `trouble`.
    Unknown,
    /// Before the waiting room opens.
    Countdown,
    /// The waiting room is open, before the start; the shopper may be in line or not.
    Lobby,
    /// Live, and the shopper has nothing yet.
    Open,
    /// In line.
    Waiting,
    /// In the draw, which is held when the entries have closed.
    Entered,
    /// Not drawn. While the sale is drawing, units that others leave may still come.
    NotDrawn,
    /// The entries have closed, and this shopper has no entry.
    Drawing,
    /// It is this shopper's turn.
    Admitted,
    /// Units are in the cart.
    Holding,
    CheckingOut,
    /// An order waits for its payment.
    Pay,
    /// The payment is under way; its outcome arrives by itself.
    Paying,
    Confirmed,
    SoldOut,
    Paused,
    Ended,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct View {
    pub sale: SaleId,
    pub journey: Journey,
    /// The server's time of this view.
    pub now: u64,
    pub connection: ConnectionView,
    pub info: Option<SaleInfo>,
    pub phase: Option<Phase>,
    pub outlook: Option<Outlook>,
    pub countdown: Option<Countdown>,
    pub stock: Option<Stock>,
    /// Age of the numbers, if it is too high: no tick has come for too long.
    pub stale_ms: Option<u64>,
    pub line: Option<Line>,
    pub draw: Option<DrawView>,
    pub turn: Option<Clocked>,
    pub hold: Option<Clocked>,
    pub order: Option<OrderView>,
    /// Units this shopper may still take, by the limit per person.
    pub may_take: u32,
    /// The last thing that ended, if nothing newer is to be told.
    pub note: Option<Note>,
    /// The refusal of the last command.
    pub refusal: Option<Refusal>,
    pub trouble: Option<Refusal>,
    /// The verbs under way.
    #[cfg_attr(test, ts(type = "Verb[]"))]
    pub under_way: Vec<&'static str>,
    /// Those of them that have certainly not left this device. Of the others nobody knows until they are answered.
    #[cfg_attr(test, ts(type = "Verb[]"))]
    pub unsent: Vec<&'static str>,
}

/// The next important time, and how long until then.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Countdown {
    #[cfg_attr(test, ts(type = r#""room" | "start" | "end""#))]
    pub to: &'static str,
    pub at: u64,
    pub left_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Stock {
    pub supply: u64,
    pub free: u64,
    /// Claimed, held, in a checkout or unpaid: not free, but not gone either.
    pub in_carts: u64,
    /// The part of `in_carts` that is this shopper's own.
    pub mine: u64,
    /// Paid.
    pub sold: u64,
    pub waiting: u64,
    pub admitted: u64,
    /// Entries called in a second; null until it is measured.
    pub pace: Option<f64>,
    /// The chance of somebody who joins the line now; null where there is none to join.
    pub newcomers_chance: Option<Chance>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Line {
    pub quantity: u32,
    /// 1 is next. Never worse than the one shown before. 0: places are not drawn yet.
    pub position: u64,
    /// In the shop's priority line: `position` is the place in that line.
    pub priority: bool,
    /// Everybody in line.
    pub waiting: u64,
    /// People behind this place, in the same line.
    pub behind: u64,
    /// What this page has seen of the line's calls; null before the first tick.
    pub moves: Option<Moves>,
    /// The time when places are drawn, before the start of a sale that opens in shuffled order.
    pub drawn_at: Option<u64>,
    /// The shortest and the longest wait, by the measured pace; null when the line does not move.
    pub soonest_ms: Option<u64>,
    pub latest_ms: Option<u64>,
    /// Null while there is no place yet. A word that does not flicker: it follows the numbers within seconds.
    pub chance: Option<Chance>,
    /// In percent, by the average of the last seconds.
    pub chance_percent: Option<u32>,
    /// The reason why it takes longer than before, or may lead to nothing.
    pub reason: Option<Reason>,
    /// Units that others have set aside or in carts, and the latest time at which the next one comes back.
    pub in_carts: u64,
    pub next_lapse_ms: Option<u64>,
}

/// A sale's draw.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Draw"))]
pub struct DrawView {
    pub stage: Stage,
    pub commitment: Hash,
    /// The source of the beacon's value, if there is one.
    pub awaits: Option<String>,
    /// Units of the shopper's entry; 0 without one.
    pub entered: u32,
    pub count: Option<u64>,
    pub root: Option<Hash>,
    pub units: Option<u64>,
    pub winners: Option<u64>,
    /// The reason for this shopper's turn: drawn, or passed on.
    pub reason: Option<Reason>,
}

/// Units that are the shopper's until a time: a turn, or a hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Clocked {
    /// It can have its time once more: nobody waits, and it has not had that yet.
    pub may_extend: bool,
    pub extended: bool,
    pub quantity: u32,
    pub until: u64,
    pub left_ms: u64,
    pub total_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Order"))]
pub struct OrderView {
    pub order: OrderId,
    pub sale: SaleId,
    pub quantity: u32,
    pub unit_price: i64,
    pub amount: i64,
    pub currency: String,
    pub status: OrderStatus,
    pub reason: Option<Reason>,
    /// A payment is under way: no other payment is accepted until its outcome is known.
    pub paying: bool,
    /// The part of `amount` that has gone back.
    pub refunded: i64,
    /// When money last went back.
    pub refunded_at: Option<u64>,
    /// The refusal of the last payment, in the provider's words; another one may be tried.
    pub declined: Option<String>,
    /// The shop's own checkout, after a payment that goes on there.
    pub handoff: Option<String>,
    pub created_at: u64,
    pub until: u64,
    pub left_ms: u64,
    pub total_ms: u64,
    /// Set if this page knows the sale.
    pub product_name: Option<String>,
    pub currency_exponent: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Note {
    #[cfg_attr(
        test,
        ts(
            type = r#""hold_expired" | "hold_released" | "hold_revoked" | "hold_restored" | "turn_lapsed" | "left" | "removed" | "order_cancelled""#
        )
    )]
    pub kind: &'static str,
    pub reason: Option<Reason>,
    pub at: u64,
}

impl State {
    /// One sale as a page should show it now.
    pub fn view(&self, sale: SaleId, at_ms: u64) -> View {
        let now = self.server_ms(at_ms);
        let unknown = Known::default();
        let known = self.known(sale).unwrap_or(&unknown);
        let under_way: Vec<_> = self.verbs_under_way(sale).collect();
        let mine = Mine::of(self, known, sale, now, &under_way);
        let order = mine
            .order
            .map(|order| OrderView::of(order, known.info.as_ref(), now));
        let journey = journey(known, &mine, &under_way);
        let outlook = known.tick.as_ref().map(Tick::outlook);
        View {
            sale,
            journey,
            now,
            connection: self.connection(at_ms),
            info: known.info.clone(),
            phase: known.tick.as_ref().map(|tick| tick.phase),
            outlook,
            countdown: known
                .tick
                .as_ref()
                .and_then(|tick| countdown(tick, known.info.as_ref(), now)),
            stock: known.tick.as_ref().map(|tick| Stock {
                mine: mine.reserved(),
                newcomers_chance: known.newcomers_chance().map(|chance| chance.word()),
                ..Stock::of(tick)
            }),
            stale_ms: known.stale_ms(now),
            line: mine
                .entry
                .filter(|entry| entry.state == EntryState::Waiting)
                .and_then(|entry| line(known, entry, mine.reserved(), now)),
            draw: known.draw.as_ref().map(|draw| DrawView::of(draw, mine.entry)),
            turn: mine.entry.and_then(|entry| turn(known, entry, now)),
            hold: mine.hold.map(|hold| Clocked {
                may_extend: hold.state == HoldState::Held && !hold.extended && known.may_extend(),
                extended: hold.extended,
                quantity: hold.quantity,
                until: hold.expires_at,
                left_ms: hold.expires_at.saturating_sub(now),
                total_ms: known.info.as_ref().map_or(0, |info| info.hold_ms),
            }),
            order,
            may_take: mine.may_take,
            note: note(known, &mine),
            refusal: known
                .refusal
                .clone()
                .filter(|refusal| still_matters(refusal, journey, outlook)),
            trouble: known.trouble.clone(),
            under_way,
            unsent: self.verbs_unsent(sale).collect(),
        }
    }

    /// This shopper's orders for a page's list, newest first.
    pub fn order_views(&self, at_ms: u64) -> Vec<OrderView> {
        let now = self.server_ms(at_ms);
        let info = |order: &Order| self.known(order.sale).and_then(|known| known.info.as_ref());
        self.orders()
            .map(|order| OrderView::of(order, info(order), now))
            .collect()
    }
}

fn journey(known: &Known, mine: &Mine<'_>, under_way: &[&str]) -> Journey {
    let Some(tick) = &known.tick else {
        return if known.trouble.is_some() {
            Journey::Unknown
        } else {
            Journey::Loading
        };
    };
    if let Some(hold) = mine.hold {
        let is_checking_out = hold.state == HoldState::Ordering || under_way.contains(&"checkout");
        return if is_checking_out {
            Journey::CheckingOut
        } else {
            Journey::Holding
        };
    }
    if let Some(order) = mine.order.filter(|order| order.status == OrderStatus::Pending) {
        return if order.paying {
            Journey::Paying
        } else {
            Journey::Pay
        };
    }
    let is_over = matches!(tick.phase, Phase::Ended | Phase::Cancelled);
    let is_sold_out = tick.supply > 0 && tick.outlook() == Outlook::SoldOut;
    if let Some(entry) = mine.entry {
        match (entry.state, tick.phase) {
            (EntryState::Admitted, _) => return Journey::Admitted,
            (EntryState::NotDrawn, _) => return Journey::NotDrawn,
            (EntryState::Entered, Phase::Cancelled) => {}
            (EntryState::Entered, Phase::Ended) => return Journey::NotDrawn,
            (EntryState::Entered, _) => return Journey::Entered,
            (_, Phase::Scheduled | Phase::Waiting) => return Journey::Lobby,
            (_, Phase::Live) if !is_sold_out => return Journey::Waiting,
            _ => {}
        }
    }
    if mine
        .order
        .is_some_and(|order| order.status == OrderStatus::Confirmed)
        && (mine.entry.is_none() || is_over)
    {
        return Journey::Confirmed;
    }
    match tick.phase {
        Phase::Scheduled => Journey::Countdown,
        Phase::Waiting => Journey::Lobby,
        Phase::Cancelled => Journey::Cancelled,
        Phase::Drawing => Journey::Drawing,
        Phase::Live | Phase::Paused | Phase::Ended if is_sold_out => Journey::SoldOut,
        Phase::Live => Journey::Open,
        Phase::Paused => Journey::Paused,
        Phase::Ended => Journey::Ended,
    }
}

fn countdown(tick: &Tick, info: Option<&SaleInfo>, now: u64) -> Option<Countdown> {
    let (to, at) = match (tick.phase, info) {
        (Phase::Scheduled, Some(info)) if info.room_opens_at < tick.starts_at && info.room_opens_at > now => {
            ("room", info.room_opens_at)
        }
        (Phase::Scheduled | Phase::Waiting, _) => ("start", tick.starts_at),
        (Phase::Live | Phase::Paused, _) => ("end", tick.ends_at),
        (Phase::Drawing | Phase::Ended | Phase::Cancelled, _) => return None,
    };
    Some(Countdown {
        to,
        at,
        left_ms: at.saturating_sub(now),
    })
}

/// `mine`: units that this shopper has reserved beside their place.
fn line(known: &Known, entry: &Entry, mine: u64, now: u64) -> Option<Line> {
    let tick = known.tick.as_ref()?;
    // The wait is computed for the place that is shown.
    let shown = known.shown_entry()?;
    let position = shown.position;
    let wait = wait::of(&shown, tick);
    let in_this_line = if entry.priority {
        tick.priority_waiting
    } else {
        tick.waiting.saturating_sub(tick.priority_waiting)
    };
    Some(Line {
        quantity: entry.quantity,
        position,
        priority: entry.priority,
        // The shopper is one of those who wait, even if the last tick did not count them.
        waiting: tick.waiting.max(position).max(1),
        behind: in_this_line.saturating_sub(position),
        moves: known.moves(entry.priority, now),
        drawn_at: (position == 0).then_some(tick.starts_at),
        soonest_ms: wait.and_then(|wait| wait.soonest_ms),
        latest_ms: wait.and_then(|wait| wait.latest_ms),
        chance: known.chance().map(|chance| chance.word()),
        chance_percent: known.chance().map(|chance| chance.percent()),
        reason: wait.and_then(|wait| wait.reason),
        in_carts: in_carts(tick).saturating_sub(mine),
        next_lapse_ms: tick.next_lapse_at.map(|at| at.saturating_sub(now)),
    })
}

fn turn(known: &Known, entry: &Entry, now: u64) -> Option<Clocked> {
    let until = entry
        .claim_until
        .filter(|_| entry.state == EntryState::Admitted)?;
    let total_ms = known.info.as_ref().map_or(0, |info| info.claim_ms);
    Some(Clocked {
        may_extend: !entry.extended && known.may_extend(),
        extended: entry.extended,
        quantity: entry.quantity,
        until,
        left_ms: until.saturating_sub(now),
        total_ms,
    })
}

/// A refusal for lack of units, or because of the time, is outdated once the shopper's journey has gone on, or once the stock
/// itself shows it.
fn still_matters(refusal: &Refusal, journey: Journey, outlook: Option<Outlook>) -> bool {
    let outside = matches!(journey, Journey::Countdown | Journey::Lobby | Journey::Open);
    match refusal.code.as_str() {
        "none_free" => outside && outlook == Some(Outlook::Free),
        "not_enough" | "sold_out" | "join_first" | "room_closed" | "sale_not_open" | "sale_ended" => outside,
        "sale_paused" => journey != Journey::Paused,
        _ => true,
    }
}

/// The newest end among the entry's, the hold's and the order's, unless something newer is under way.
fn note(known: &Known, mine: &Mine<'_>) -> Option<Note> {
    if let Some(hold) = mine.hold.filter(|hold| hold.reason == Some(Reason::Restored)) {
        return Some(Note {
            kind: "hold_restored",
            reason: hold.reason,
            at: hold.at,
        });
    }
    let entry = known.entry.as_ref().and_then(|entry| {
        let kind = match entry.state {
            EntryState::Lapsed => "turn_lapsed",
            EntryState::Admitted if mine.is_turn_overdue => "turn_lapsed",
            EntryState::Left => "left",
            EntryState::Removed => "removed",
            EntryState::Waiting
            | EntryState::Admitted
            | EntryState::Served
            | EntryState::Entered
            | EntryState::NotDrawn => return None,
        };
        Some(Note {
            kind,
            reason: entry.reason,
            at: entry.at,
        })
    });
    let hold = known.hold.as_ref().and_then(|hold| {
        let kind = match hold.state {
            HoldState::Expired => "hold_expired",
            HoldState::Held if mine.is_hold_overdue => "hold_expired",
            HoldState::Released => "hold_released",
            HoldState::Revoked => "hold_revoked",
            HoldState::Held | HoldState::Ordering | HoldState::Ordered => return None,
        };
        Some(Note {
            kind,
            reason: hold.reason,
            at: hold.at,
        })
    });
    let order = mine.order.filter(|order| order.status == OrderStatus::Cancelled);
    let order = order.map(|order| Note {
        kind: "order_cancelled",
        reason: order.reason,
        at: order.at,
    });
    let newest = [entry, hold, order]
        .into_iter()
        .flatten()
        .max_by_key(|note| note.at)?;
    let is_past = |order: &Order| match order.status {
        OrderStatus::Pending => false,
        OrderStatus::Confirmed => order.at < newest.at,
        OrderStatus::Cancelled => true,
    };
    let says_most = mine.entry.is_none() && mine.hold.is_none() && mine.order.is_none_or(is_past);
    says_most.then_some(newest)
}

impl DrawView {
    fn of(draw: &Draw, entry: Option<&Entry>) -> Self {
        Self {
            stage: stage(draw),
            commitment: draw.commitment,
            awaits: draw.awaits.clone(),
            entered: entry.map_or(0, |entry| entry.quantity),
            count: draw.count,
            root: draw.root,
            units: draw.units,
            winners: draw.winners,
            reason: entry.and_then(|entry| entry.reason),
        }
    }
}

impl Stock {
    fn of(tick: &Tick) -> Self {
        Self {
            supply: tick.supply,
            free: tick.available,
            in_carts: in_carts(tick),
            mine: 0,
            sold: tick.sold.saturating_sub(tick.unpaid),
            waiting: tick.waiting,
            admitted: tick.admitted,
            pace: tick.pace,
            newcomers_chance: None,
        }
    }
}

/// Units that are neither free nor paid for.
fn in_carts(tick: &Tick) -> u64 {
    tick.claimed + tick.held + tick.ordering + tick.unpaid
}

impl OrderView {
    fn of(order: &Order, info: Option<&SaleInfo>, now: u64) -> Self {
        Self {
            order: order.order,
            sale: order.sale,
            quantity: order.quantity,
            unit_price: order.unit_price,
            amount: order.amount,
            currency: order.currency.clone(),
            status: order.status,
            reason: order.reason,
            paying: order.paying,
            refunded: order.refunded,
            refunded_at: order.refunded_at,
            declined: order.declined.as_ref().map(|declined| declined.reason.clone()),
            handoff: order.handoff.as_ref().map(|handoff| handoff.url.clone()),
            created_at: order.created_at,
            until: order.expires_at,
            left_ms: order.expires_at.saturating_sub(now),
            total_ms: order.expires_at.saturating_sub(order.created_at),
            product_name: info.map(|info| info.product_name.clone()),
            currency_exponent: info.map(|info| info.currency_exponent),
        }
    }
}

#[cfg(test)]
mod tests;

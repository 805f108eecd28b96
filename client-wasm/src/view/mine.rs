//! What a shopper has in one sale now, without what has ended.

use super::OVERDUE_GRACE_MS;
use crate::{sale::Known, state::State};
use flashsale_protocol::{Entry, EntryState, Hold, HoldState, Order, OrderStatus, SaleId};

/// What this shopper has, without ended things.
pub(super) struct Mine<'a> {
    pub entry: Option<&'a Entry>,
    pub hold: Option<&'a Hold>,
    pub order: Option<&'a Order>,
    pub may_take: u32,
    /// Ended by the clock, though no news of it has arrived.
    pub is_hold_overdue: bool,
    pub is_turn_overdue: bool,
}

impl<'a> Mine<'a> {
    /// Units that are neither free nor paid for because this shopper has them.
    pub fn reserved(&self) -> u64 {
        let turn = self
            .entry
            .filter(|entry| entry.state == EntryState::Admitted)
            .map_or(0, |entry| entry.quantity);
        let hold = self.hold.map_or(0, |hold| hold.quantity);
        let order = self
            .order
            .filter(|order| order.status == OrderStatus::Pending)
            .map_or(0, |order| order.quantity);
        u64::from(turn) + u64::from(hold) + u64::from(order)
    }

    pub fn of(state: &'a State, known: &'a Known, sale: SaleId, now: u64, under_way: &[&str]) -> Self {
        let is_over = |until: u64| now > until + OVERDUE_GRACE_MS;
        let entry = known.entry.as_ref();
        let is_turn_overdue = entry.is_some_and(|entry| {
            entry.state == EntryState::Admitted
                && entry.claim_until.is_some_and(is_over)
                && under_way.is_empty()
        });
        let entry = entry.filter(|entry| match entry.state {
            EntryState::Waiting | EntryState::Entered | EntryState::NotDrawn => true,
            EntryState::Admitted => !is_turn_overdue,
            EntryState::Served | EntryState::Lapsed | EntryState::Left | EntryState::Removed => false,
        });
        let hold = known.hold.as_ref();
        let is_hold_overdue = hold.is_some_and(|hold| {
            hold.state == HoldState::Held && is_over(hold.expires_at) && !under_way.contains(&"checkout")
        });
        let hold = hold.filter(|hold| match hold.state {
            HoldState::Held => !is_hold_overdue,
            HoldState::Ordering => true,
            HoldState::Ordered | HoldState::Released | HoldState::Expired | HoldState::Revoked => false,
        });
        let orders: Vec<&Order> = state.orders().filter(|order| order.sale == sale).collect();
        let pending = orders
            .iter()
            .find(|order| order.status == OrderStatus::Pending)
            .copied();
        let order = pending.or(orders.first().copied());
        let ordered: u32 = orders
            .iter()
            .filter(|order| order.status != OrderStatus::Cancelled)
            .map(|order| order.quantity)
            .sum();
        let held = hold.map_or(0, |hold| hold.quantity);
        let limit = known.info.as_ref().map_or(1, |info| info.per_shopper_limit);
        Self {
            entry,
            hold,
            order,
            may_take: limit.saturating_sub(ordered + held),
            is_hold_overdue,
            is_turn_overdue,
        }
    }
}

//! The commands under way: they are sent, stored for a reload of the page, repeated, and settled by their answer. Also the
//! client's own questions.

use super::{
    Asked, COMMAND_DEADLINE_MS, Change, Effect, Link, MAX_PENDING, Pending, REPEAT_BASE_MS, Settled, State,
    Verb, turn::Turn,
};
use crate::refusal::Refusal;
use flashsale_protocol::{
    Code, Command, CommandId, ConnectionCommand, Outcome, Reject, Request, SaleId, ShopCommand,
    lean::{self, Value},
};

impl State {
    /// The verbs under way for one sale.
    pub fn verbs_under_way(&self, sale: SaleId) -> impl Iterator<Item = &'static str> {
        self.pending
            .iter()
            .filter(move |pending| pending.sale == Some(sale))
            .map(|pending| pending.verb.0)
    }

    /// Those of them that have not left this device.
    pub fn verbs_unsent(&self, sale: SaleId) -> impl Iterator<Item = &'static str> {
        self.pending
            .iter()
            .filter(move |pending| pending.sale == Some(sale) && !pending.may_have_left)
            .map(|pending| pending.verb.0)
    }

    pub(super) fn take(&mut self, turn: &mut Turn, command: ShopCommand) -> CommandId {
        let wish = lean::to_text(&command);
        if let Some(same) = self.pending.iter().find(|pending| pending.wish == wish) {
            return same.id;
        }
        let command = self.with_nonce(turn, command);
        let id = turn.id();
        let sale = self.sale_of(&command);
        if let Some(sale) = sale {
            if let Some(known) = self.sales.get_mut(&sale) {
                known.refusal = None;
            }
            turn.changed(Change::Sale(sale));
        }
        let pending = Pending {
            id,
            verb: Verb(command.verb()),
            sale,
            frame: Request::new(id, command).to_json(),
            wish,
            until: turn.now + COMMAND_DEADLINE_MS,
            shopper: self.shopper.clone(),
            is_sent: false,
            may_have_left: false,
            repeat_at: None,
            repeats: 0,
        };
        if self.pending.len() >= MAX_PENDING {
            let refusal = Refusal::too_many_pending(pending.verb.0);
            self.settle(turn, pending, Err(refusal));
            return id;
        }
        self.pending.push(pending);
        self.store(turn);
        if matches!(self.link, Link::Ready(_)) {
            self.send_pending(turn, self.pending.len() - 1);
        }
        id
    }

    pub(super) fn send_pending(&mut self, turn: &mut Turn, index: usize) {
        if let Some(pending) = self.pending.get_mut(index) {
            pending.is_sent = true;
            pending.may_have_left = true;
            pending.repeat_at = None;
            turn.push(Effect::Send(pending.frame.clone()));
        }
    }

    pub(super) fn settle(&mut self, turn: &mut Turn, pending: Pending, outcome: Result<(), Refusal>) {
        let verb = pending.verb.0;
        let sale = pending.sale;
        if let (Some(sale), Err(refusal)) = (sale, &outcome) {
            if let Some(known) = self.sales.get_mut(&sale) {
                known.refusal = Some(refusal.clone());
            }
            turn.changed(Change::Sale(sale));
        }
        turn.push(Effect::Settled(Settled {
            id: pending.id,
            verb,
            sale,
            outcome,
        }));
    }

    pub(super) fn answered(&mut self, turn: &mut Turn, index: usize, outcome: Outcome) {
        let Some(pending) = self.pending.get_mut(index) else {
            return;
        };
        if let Outcome::Error(reject) = &outcome
            && matches!(
                reject.code,
                Code::Busy | Code::Unavailable | Code::TooManyCommands
            )
        {
            let ceiling_ms = REPEAT_BASE_MS << pending.repeats.min(6);
            let repeat_at = turn.now + reject.retry_after_ms.unwrap_or(0) + turn.up_to(ceiling_ms);
            if repeat_at < pending.until {
                pending.is_sent = false;
                pending.repeats += 1;
                pending.repeat_at = Some(repeat_at);
                return;
            }
        }
        let pending = self.pending.remove(index);
        self.store(turn);
        let sale = pending.sale;
        match outcome {
            Outcome::Ok(done) => {
                self.apply_done(turn, &done);
                if let Some(sale) = sale {
                    turn.changed(Change::Sale(sale));
                }
                self.settle(turn, pending, Ok(()));
            }
            Outcome::Error(reject) => {
                if let Some(sale) = sale
                    && self.contradicts_us(&reject)
                {
                    self.ask(turn, Asked::State(sale));
                }
                let refusal = Refusal::from_reject(pending.verb.0, reject);
                self.settle(turn, pending, Err(refusal));
            }
        }
    }

    /// Takes the commands about sales away, as they are stored: they go another way.
    pub(super) fn give_away(&mut self, turn: &mut Turn) -> String {
        let (given, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.sale.is_some());
        self.pending = rest;
        if !given.is_empty() {
            self.store(turn);
        }
        for sale in given.iter().filter_map(|pending| pending.sale) {
            turn.changed(Change::Sale(sale));
        }
        lean::to_text(&given)
    }

    /// Whether the refusal means that the server knows something about this shopper that we do not.
    fn contradicts_us(&self, reject: &Reject) -> bool {
        matches!(
            reject.code,
            Code::NoHold
                | Code::HoldExpired
                | Code::HoldReleased
                | Code::NotInLine
                | Code::AlreadyInLine
                | Code::AlreadyHeld
                | Code::CheckoutRunning
                | Code::OrderUnknown
                | Code::OrderCancelled
                | Code::OrderConfirmed
                | Code::PaymentTooLate
                | Code::PaymentPending
        ) || reject
            .order
            .is_some_and(|order| self.orders.get(&order).is_none())
    }

    fn sale_of(&self, command: &ShopCommand) -> Option<SaleId> {
        match command {
            ShopCommand::Join { sale, .. }
            | ShopCommand::Leave { sale }
            | ShopCommand::Reserve { sale, .. }
            | ShopCommand::Release { sale }
            | ShopCommand::Extend { sale }
            | ShopCommand::Checkout { sale, .. }
            | ShopCommand::State { sale } => Some(*sale),
            ShopCommand::Pay { order, .. } | ShopCommand::Cancel { order } => {
                self.orders.get(order).map(|order| order.sale)
            }
            ShopCommand::Orders {} => None,
        }
    }

    /// Asks a question of the client's own; one at a time is enough.
    pub(super) fn ask(&mut self, turn: &mut Turn, asked: Asked) {
        let command: Command = match asked {
            Asked::Watch(sale) => ConnectionCommand::Watch { sale }.into(),
            Asked::State(sale) => ShopCommand::State { sale }.into(),
            Asked::Unwatch => return,
        };
        if !matches!(self.link, Link::Ready(_)) || self.asked.iter().any(|(_, same)| *same == asked) {
            return;
        }
        let id = turn.id();
        self.asked.push((id, asked));
        turn.send(id, command);
    }

    pub(super) fn store(&mut self, turn: &mut Turn) {
        turn.push(Effect::Store(lean::to_text(&self.pending)));
    }

    /// Takes up the commands that this page had under way before its reload.
    pub(super) fn load(&mut self, turn: &mut Turn, stored: Value) {
        let mut stored: Vec<Pending> = lean::from_value(stored).unwrap_or_default();
        // A deadline later than any possible one comes from a clock that has been set back since.
        stored.retain(|pending| pending.until <= turn.now + COMMAND_DEADLINE_MS);
        // Wishes that this page has sent already are under way under their own ids.
        stored.retain(|pending| self.pending.iter().all(|own| own.wish != pending.wish));
        stored.truncate(MAX_PENDING - self.pending.len());
        stored.append(&mut self.pending);
        self.pending = stored;
        if matches!(self.link, Link::Ready(_)) {
            for index in 0..self.pending.len() {
                if !self.pending[index].is_sent {
                    self.send_pending(turn, index);
                }
            }
        }
    }
}

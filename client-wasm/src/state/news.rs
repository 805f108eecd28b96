//! The server's messages: replies, ticks and events, and how they change the knowledge.

use super::{Asked, BACK_OFF_BASE_MS, Change, Effect, Link, MAX_ORDERS, State, turn::Turn};
use crate::{refusal::Refusal, sale};
use flashsale_protocol::{CommandId, Done, Order, Outcome, SaleId, ServerMessage, Tick};

impl State {
    fn tick(&mut self, turn: &mut Turn, tick: Tick) {
        self.clock.saw(turn.now, tick.now);
        if let Some(known) = self.sales.get_mut(&tick.sale) {
            turn.changed(Change::Sale(tick.sale));
            known.apply_tick(tick);
            let (now, dice) = (turn.now, turn.up_to(u64::MAX));
            known.plan_look(now, dice);
        }
    }

    pub(super) fn receive(&mut self, turn: &mut Turn, message: ServerMessage) {
        match message {
            ServerMessage::Reply { id, outcome } => self.reply(turn, id, outcome),
            ServerMessage::Tick(tick) => self.tick(turn, tick),
            ServerMessage::Change(change) => {
                let Some(known) = self.sales.get_mut(&change.sale) else {
                    return;
                };
                match known.tick.as_ref().and_then(|tick| change.apply(tick)) {
                    Some(tick) => self.tick(turn, tick),
                    // It was made for a tick that this client does not have; the state has a newer one.
                    None => known.look_soon(turn.now, turn.up_to(u64::MAX)),
                }
            }
            ServerMessage::Entry(entry) => {
                if let Some(known) = self.sales.get_mut(&entry.sale) {
                    turn.changed(Change::Sale(entry.sale));
                    known.apply_entry(entry);
                }
            }
            ServerMessage::Draw(draw) => {
                if let Some(known) = self.sales.get_mut(&draw.sale) {
                    turn.changed(Change::Sale(draw.sale));
                    known.apply_draw(draw);
                }
            }
            ServerMessage::Hold(hold) => {
                self.clock.saw(turn.now, hold.at);
                if let Some(known) = self.sales.get_mut(&hold.sale) {
                    turn.changed(Change::Sale(hold.sale));
                    known.apply_hold(hold);
                }
            }
            ServerMessage::Order(order) => self.apply_order(turn, order),
            ServerMessage::Notice { code, text, sale: _ } => turn.push(Effect::Notice { code, text }),
            ServerMessage::Bye {
                code: _,
                text: _,
                after_ms,
                window_ms,
            } => {
                let move_at = turn.now + after_ms + turn.up_to(window_ms);
                if let Link::Ready(ready) = &mut self.link {
                    ready.move_at = Some(ready.move_at.map_or(move_at, |known| known.min(move_at)));
                }
            }
        }
    }

    fn reply(&mut self, turn: &mut Turn, id: Option<CommandId>, outcome: Outcome) {
        let Some(id) = id else { return };
        match &mut self.link {
            Link::Greeting { hello, .. } if *hello == id => {
                match outcome {
                    Outcome::Ok(Done::Welcome(welcome)) => self.welcomed(turn, welcome),
                    Outcome::Error(reject) => self.hello_refused(turn, reject),
                    Outcome::Ok(_) => {}
                }
                return;
            }
            Link::Ready(ready) => {
                if let Some((ping, sent_at)) = ready.ping
                    && ping == id
                {
                    ready.ping = None;
                    if let Outcome::Ok(Done::Pong { t: _, now }) = outcome {
                        self.clock.sample(sent_at, turn.now, now);
                    }
                    return;
                }
            }
            _ => {}
        }
        if let Some(index) = self.pending.iter().position(|pending| pending.id == id) {
            return self.answered(turn, index, outcome);
        }
        if let Some(index) = self.asked.iter().position(|(asked, _)| *asked == id) {
            let (_, asked) = self.asked.remove(index);
            return self.told(turn, asked, outcome);
        }
        // Too late for the page that asked, but still true.
        if let Outcome::Ok(done) = outcome {
            self.apply_done(turn, &done);
        }
    }

    fn told(&mut self, turn: &mut Turn, asked: Asked, outcome: Outcome) {
        match (asked, outcome) {
            (_, Outcome::Ok(done)) => self.apply_done(turn, &done),
            (Asked::Watch(_) | Asked::State(_), Outcome::Error(reject)) if reject.retry => {
                let pause_ms = reject.retry_after_ms.unwrap_or(0) + turn.up_to(BACK_OFF_BASE_MS * 2);
                if let Link::Ready(ready) = &mut self.link {
                    ready.rewatch_at = Some(turn.now + pause_ms);
                }
            }
            (Asked::Watch(sale), Outcome::Error(reject)) => {
                self.set_trouble(turn, sale, Refusal::from_reject("watch", reject));
            }
            (Asked::State(_) | Asked::Unwatch, Outcome::Error(_)) => {}
        }
    }

    pub(super) fn apply_done(&mut self, turn: &mut Turn, done: &Done) {
        match done {
            Done::State(state) => self.apply_state(turn, (**state).clone(), false),
            Done::Joined {
                entry,
                queue_token: _,
            } => {
                if let Some(known) = self.sales.get_mut(&entry.sale) {
                    known.apply_entry(entry.clone());
                    turn.changed(Change::Sale(entry.sale));
                }
            }
            Done::Left { sale } => {
                if let Some(known) = self.sales.get_mut(sale) {
                    known.left();
                    turn.changed(Change::Sale(*sale));
                }
            }
            Done::Hold(hold) => {
                self.clock.saw(turn.now, hold.at);
                if let Some(known) = self.sales.get_mut(&hold.sale) {
                    known.apply_hold(hold.clone());
                    turn.changed(Change::Sale(hold.sale));
                }
            }
            Done::Order(order) => self.apply_order(turn, order.clone()),
            Done::Orders(orders) => {
                for order in orders {
                    self.apply_order(turn, order.clone());
                }
            }
            Done::Welcome(_) | Done::Unwatched { .. } | Done::Pong { .. } => {}
        }
    }

    pub(super) fn apply_state(&mut self, turn: &mut Turn, state: flashsale_protocol::SaleState, fresh: bool) {
        let sale = state.sale.sale;
        self.clock.saw(turn.now, state.tick.now);
        for order in &state.orders {
            self.apply_order(turn, order.clone());
        }
        if let Some(known) = self.sales.get_mut(&sale) {
            known.apply_state(state, fresh);
            turn.changed(Change::Sale(sale));
        }
    }

    fn apply_order(&mut self, turn: &mut Turn, order: Order) {
        turn.changed(Change::Sale(order.sale));
        turn.changed(Change::Orders);
        match self.orders.get_mut(&order.order) {
            Some(known) => sale::merge_order(known, order),
            None => {
                self.orders.insert(order.order, order);
            }
        }
        if self.orders.len() > MAX_ORDERS {
            let oldest = self
                .orders
                .values()
                .min_by_key(|order| order.created_at)
                .map(|order| order.order);
            oldest.and_then(|oldest| self.orders.remove(&oldest));
        }
    }

    pub(super) fn set_trouble(&mut self, turn: &mut Turn, sale: SaleId, trouble: Refusal) {
        if let Some(known) = self.sales.get_mut(&sale) {
            known.trouble = Some(trouble);
            turn.changed(Change::Sale(sale));
        }
    }
}

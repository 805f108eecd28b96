//! What happens with time: deadlines, pings, questions and repetitions, and when the next one is due.

use super::{Asked, Link, PONG_DEADLINE_MS, State, turn::Turn};
use crate::refusal::Refusal;
use flashsale_protocol::{ConnectionCommand, SaleId};

impl State {
    pub(super) fn act_on_what_is_due(&mut self, turn: &mut Turn) {
        self.give_up_on_overdue_commands(turn);
        let now = turn.now;
        match &mut self.link {
            Link::Idle | Link::Stopped { .. } => {}
            Link::BackingOff { until } if *until <= now => self.connect(turn),
            Link::FetchingToken { until } if *until <= now => self.back_off(turn, 0),
            Link::Opening { until } | Link::Greeting { until, .. } if *until <= now => {
                self.drop_link(turn);
                self.back_off(turn, 0);
            }
            Link::BackingOff { .. }
            | Link::FetchingToken { .. }
            | Link::Opening { .. }
            | Link::Greeting { .. } => {}
            Link::Ready(ready) => {
                if ready.move_at.is_some_and(|at| at <= now) {
                    // No random wait is needed here: the window has already spread the clients.
                    self.drop_link(turn);
                    self.connect(turn);
                } else if ready
                    .ping
                    .is_some_and(|(_, sent_at)| sent_at + PONG_DEADLINE_MS <= now)
                {
                    self.drop_link(turn);
                    self.back_off(turn, 0);
                } else {
                    if ready.ping.is_none() && ready.next_ping_at <= now {
                        let id = turn.id();
                        ready.ping = Some((id, now));
                        ready.next_ping_at = now + ready.ping_every_ms;
                        turn.send(id, ConnectionCommand::Ping { t: now });
                    }
                    self.repeat_what_is_due(turn);
                }
            }
        }
    }

    fn repeat_what_is_due(&mut self, turn: &mut Turn) {
        let now = turn.now;
        let Link::Ready(ready) = &mut self.link else {
            return;
        };
        if ready.rewatch_at.is_some_and(|at| at <= now) {
            ready.rewatch_at = None;
            let unseen = self
                .sales
                .iter()
                .filter(|(_, known)| known.info.is_none() && known.trouble.is_none());
            let unseen: Vec<SaleId> = unseen.map(|(sale, _)| sale).collect();
            for sale in unseen {
                self.ask(turn, Asked::Watch(sale));
            }
        }
        let looks: Vec<SaleId> = self
            .sales
            .iter_mut()
            .filter(|(_, known)| known.look_at.is_some_and(|at| at <= now))
            .map(|(sale, known)| {
                known.look_at = None;
                sale
            })
            .collect();
        for sale in looks {
            self.ask(turn, Asked::State(sale));
        }
        for index in 0..self.pending.len() {
            if self.pending[index].repeat_at.is_some_and(|at| at <= now) {
                self.send_pending(turn, index);
            }
        }
    }

    fn give_up_on_overdue_commands(&mut self, turn: &mut Turn) {
        let now = turn.now;
        if self.pending.iter().all(|pending| pending.until > now) {
            return;
        }
        let (overdue, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.until <= now);
        self.pending = rest;
        self.store(turn);
        for pending in overdue {
            // The server must say whether it happened.
            if let Some(sale) = pending.sale {
                self.ask(turn, Asked::State(sale));
            }
            let refusal = if pending.may_have_left {
                Refusal::no_answer(pending.verb.0)
            } else {
                Refusal::not_sent(pending.verb.0)
            };
            self.settle(turn, pending, Err(refusal));
        }
    }

    /// The next moment at which something is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        let link = match &self.link {
            Link::Idle | Link::Stopped { .. } => None,
            Link::BackingOff { until }
            | Link::FetchingToken { until }
            | Link::Opening { until }
            | Link::Greeting { until, .. } => Some(*until),
            Link::Ready(ready) => {
                let ping = match ready.ping {
                    Some((_, sent_at)) => sent_at + PONG_DEADLINE_MS,
                    None => ready.next_ping_at,
                };
                let looks = self.sales.values().filter_map(|known| known.look_at);
                [Some(ping), ready.move_at, ready.rewatch_at]
                    .into_iter()
                    .flatten()
                    .chain(looks)
                    .min()
            }
        };
        let is_ready = matches!(self.link, Link::Ready(_));
        let commands = self.pending.iter().map(|pending| match pending.repeat_at {
            Some(repeat_at) if is_ready => repeat_at.min(pending.until),
            _ => pending.until,
        });
        link.into_iter().chain(commands).min()
    }
}

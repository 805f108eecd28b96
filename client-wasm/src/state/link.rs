//! The connection's life: a token, a socket, hello and welcome, and back-off when it is lost.

use super::{
    Asked, BACK_OFF_BASE_MS, BACK_OFF_CAP_MS, CONNECT_DEADLINE_MS, Change, Effect, Link, Ready, STABLE_MS,
    State, TOKEN_DEADLINE_MS, turn::Turn,
};
use crate::refusal::Refusal;
use flashsale_protocol::{
    CloseCode, Code, ConnectionCommand, DeviceId, Reject, Role, SaleId, ShopperId, TICKET, Welcome,
    code::{AfterClose, after_close},
};
use serde::Serialize;

/// The connection, as pages show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Connection", optional_fields))]
pub struct ConnectionView {
    #[cfg_attr(
        test,
        ts(type = r#""idle" | "connecting" | "online" | "waiting" | "stopped""#)
    )]
    pub state: &'static str,
    /// Time until the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Time since the server's last message. Absent: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// The reason why the server does not want this client back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shopper: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

impl State {
    pub fn connection(&self, at_ms: u64) -> ConnectionView {
        let (state, retry_in_ms, code) = match &self.link {
            Link::Idle => ("idle", None, None),
            Link::FetchingToken { .. } | Link::Opening { .. } | Link::Greeting { .. } => {
                ("connecting", None, None)
            }
            Link::BackingOff { until } => ("waiting", Some(until.saturating_sub(at_ms)), None),
            Link::Ready(_) => ("online", None, None),
            Link::Stopped { word } => ("stopped", None, Some(word.clone())),
        };
        let shopper = self.shopper.as_ref().map(ToString::to_string);
        ConnectionView {
            state,
            retry_in_ms,
            silent_ms: self.heard_at.map(|at| at_ms.saturating_sub(at)),
            code,
            shopper,
            role: self.role,
        }
    }

    pub(super) fn connect(&mut self, turn: &mut Turn) {
        let link = if self.token.is_some() {
            turn.push(Effect::OpenSocket);
            Link::Opening {
                until: turn.now + CONNECT_DEADLINE_MS,
            }
        } else {
            turn.push(Effect::FetchToken {
                stale: self.stale_token.clone(),
            });
            Link::FetchingToken {
                until: turn.now + TOKEN_DEADLINE_MS,
            }
        };
        self.set_link(turn, link);
    }

    pub(super) fn token_refreshed(&mut self, turn: &mut Turn, token: String, device: Option<DeviceId>) {
        let is_new = self.token.as_ref() != Some(&token);
        self.token = Some(token);
        self.stale_token = None;
        if device.is_some() {
            self.device = device;
        }
        match self.link {
            Link::FetchingToken { .. } => self.connect(turn),
            // Somebody signed in on this page. A connection says hello only once, so a new one is needed.
            Link::Opening { .. } | Link::Greeting { .. } | Link::Ready(_) if is_new => {
                self.drop_link(turn);
                self.connect(turn);
            }
            Link::Stopped { .. } if is_new => {
                self.attempt = 0;
                self.connect(turn);
            }
            _ => {}
        }
    }

    pub(super) fn greet(&mut self, turn: &mut Turn) {
        let (Link::Opening { .. }, Some(token)) = (&self.link, self.token.clone()) else {
            return;
        };
        if token.starts_with(TICKET) {
            // It opens this socket only: the next one needs another.
            self.token = None;
        }
        let hello = turn.id();
        let resumed: Vec<SaleId> = self.sales.keys().collect();
        turn.send(
            hello,
            ConnectionCommand::Hello {
                token,
                device: self.device.clone(),
                resume: resumed.clone(),
                changes: true,
            },
        );
        let until = turn.now + CONNECT_DEADLINE_MS;
        self.set_link(
            turn,
            Link::Greeting {
                hello,
                sent_at: turn.now,
                until,
                resumed,
            },
        );
    }

    pub(super) fn welcomed(&mut self, turn: &mut Turn, welcome: Welcome) {
        let Link::Greeting { sent_at, resumed, .. } = std::mem::take(&mut self.link) else {
            return;
        };
        self.clock.sample(sent_at, turn.now, welcome.now);
        self.meet(turn, welcome.shopper, welcome.role);
        let ping_every_ms = welcome.ping_every_ms.max(1_000);
        let ready = Ready {
            since: turn.now,
            ping_every_ms,
            next_ping_at: turn.now,
            ping: None,
            move_at: None,
            rewatch_at: None,
        };
        self.set_link(turn, Link::Ready(ready));
        let shown: Vec<SaleId> = welcome.states.iter().map(|state| state.sale.sale).collect();
        for state in welcome.states {
            self.apply_state(turn, state, true);
        }
        for sale in resumed.iter().filter(|sale| !shown.contains(sale)) {
            // Servers of before left a sale out without a word.
            let told = welcome.refused.iter().find(|refused| refused.sale == *sale);
            let code = told.map_or(Code::SaleUnknown, |refused| refused.code);
            self.set_trouble(turn, *sale, Refusal::unwatched(code));
        }
        // Sales that were watched while the hello was on its way.
        let missed: Vec<SaleId> = self.sales.keys().filter(|sale| !resumed.contains(sale)).collect();
        for sale in missed {
            self.ask(turn, Asked::Watch(sale));
        }
        for index in 0..self.pending.len() {
            self.send_pending(turn, index);
        }
        self.act_on_what_is_due(turn);
    }

    /// Notes for whom this connection speaks. Another shopper's data and commands are forgotten.
    fn meet(&mut self, turn: &mut Turn, shopper: ShopperId, role: Role) {
        if self.shopper.as_ref().is_some_and(|known| *known != shopper) {
            self.orders.clear();
            for (sale, known) in self.sales.iter_mut() {
                known.forget_shopper();
                turn.changed(Change::Sale(sale));
            }
            turn.changed(Change::Orders);
        }
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.shopper.as_ref().is_none_or(|owner| *owner == shopper));
        self.pending = mine;
        for pending in &mut self.pending {
            pending.shopper = Some(shopper.clone());
        }
        self.own_nonces(turn, &shopper);
        self.shopper = Some(shopper);
        self.role = Some(role);
        for pending in others {
            let refusal = Refusal::no_answer(pending.verb.0);
            self.settle(turn, pending, Err(refusal));
        }
        if !self.pending.is_empty() {
            self.store(turn);
        }
    }

    pub(super) fn hello_refused(&mut self, turn: &mut Turn, reject: Reject) {
        match reject.code {
            Code::TokenMissing
            | Code::TokenInvalid
            | Code::TokenExpired
            | Code::DeviceMissing
            | Code::DeviceMismatch => {
                turn.push(Effect::CloseSocket);
                self.connect_with_fresh_token(turn, reject.code.word());
            }
            code if code.retry() || code == Code::Internal => {
                turn.push(Effect::CloseSocket);
                self.back_off(turn, reject.retry_after_ms.unwrap_or(0));
            }
            code => {
                turn.push(Effect::CloseSocket);
                self.set_link(
                    turn,
                    Link::Stopped {
                        word: code.word().to_owned(),
                    },
                );
            }
        }
    }

    pub(super) fn closed(&mut self, turn: &mut Turn, code: u16) {
        let move_at = match &self.link {
            Link::Opening { .. } | Link::Greeting { .. } => None,
            Link::Ready(ready) => ready.move_at,
            Link::Idle | Link::FetchingToken { .. } | Link::BackingOff { .. } | Link::Stopped { .. } => {
                return;
            }
        };
        self.leave_ready(turn.now);
        let word = CloseCode::from_number(code).map_or("closed", CloseCode::word);
        match after_close(code) {
            AfterClose::Reconnect => match move_at {
                Some(move_at) => self.set_link(
                    turn,
                    Link::BackingOff {
                        until: move_at.max(turn.now),
                    },
                ),
                None => self.back_off(turn, 0),
            },
            AfterClose::ReconnectWithFreshToken => self.connect_with_fresh_token(turn, word),
            AfterClose::Stay => self.set_link(
                turn,
                Link::Stopped {
                    word: word.to_owned(),
                },
            ),
        }
    }

    /// The first time it connects at once; if the server refuses the fresh token too, only with back-off.
    fn connect_with_fresh_token(&mut self, turn: &mut Turn, because: &'static str) {
        self.stale_because = Some(because);
        self.stale_token = self.token.take().or(self.stale_token.take());
        if self.attempt == 0 {
            self.attempt = 1;
            self.connect(turn);
        } else {
            self.back_off(turn, 0);
        }
    }

    pub(super) fn back_off(&mut self, turn: &mut Turn, at_least_ms: u64) {
        let until = turn.now + at_least_ms + turn.up_to(back_off_ceiling_ms(self.attempt));
        self.attempt = self.attempt.saturating_add(1);
        self.set_link(turn, Link::BackingOff { until });
    }

    /// Releases a socket that may still be open.
    pub(super) fn drop_link(&mut self, turn: &mut Turn) {
        if matches!(
            self.link,
            Link::Opening { .. } | Link::Greeting { .. } | Link::Ready(_)
        ) {
            turn.push(Effect::CloseSocket);
        }
        self.leave_ready(turn.now);
    }

    fn leave_ready(&mut self, now: u64) {
        if let Link::Ready(ready) = &self.link
            && now.saturating_sub(ready.since) >= STABLE_MS
        {
            self.attempt = 0;
        }
        self.asked.clear();
        for pending in &mut self.pending {
            pending.is_sent = false;
            pending.repeat_at = None;
        }
    }

    pub(super) fn set_link(&mut self, turn: &mut Turn, link: Link) {
        self.link = link;
        turn.changed(Change::Connection);
    }
}

/// The longest wait before the attempt with this number (from 0).
pub(super) fn back_off_ceiling_ms(attempt: u32) -> u64 {
    BACK_OFF_BASE_MS
        .saturating_mul(1u64.checked_shl(attempt).unwrap_or(u64::MAX))
        .min(BACK_OFF_CAP_MS)
}

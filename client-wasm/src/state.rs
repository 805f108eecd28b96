//! The client as a pure state machine: events and commands go in with the time and a
//! random number, effects come out. Owns the
//! connection's life, the commands under way, the clock, and what is known of every watched sale. Does no I/O, reads
//! no clock and rolls no dice, so that every one of its promises can be tested natively.

use crate::{
    check::{Checked, check},
    clock::Clock,
    frame,
    sale::{self, Known},
};
use flashsale_protocol::{
    CloseCode, Code, Command, CommandId, DeviceId, Done, Order, OrderId, Outcome, Reason, Reject, Request,
    Role, SaleId, ServerMessage, ShopperId, Tick, VERBS, Welcome,
    code::{AfterClose, after_close},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use std::collections::BTreeMap;

/// Reconnect after a random part (full jitter) of `base · 2^attempt`, at most of the cap.
pub const BACK_OFF_BASE_MS: u64 = 1_000;
pub const BACK_OFF_CAP_MS: u64 = 30_000;
/// A connection that lived this long was a good one: the next back-off starts from the base again.
pub const STABLE_MS: u64 = 10_000;
/// From asking for a socket to its opening, and from hello to welcome.
pub const CONNECT_DEADLINE_MS: u64 = 10_000;
/// From asking for a token to having it.
pub const TOKEN_DEADLINE_MS: u64 = 15_000;
/// A ping without an answer for so long means that the connection is dead, whatever the browser thinks of it.
pub const PONG_DEADLINE_MS: u64 = 8_000;
/// From a command to its answer, over all reconnects and repetitions.
pub const COMMAND_DEADLINE_MS: u64 = 20_000;
/// Commands under way at once.
pub const MAX_PENDING: usize = 16;
/// Orders remembered.
pub const MAX_ORDERS: usize = 200;
/// Repeat a command that the server was too busy for after a random part of this (doubled each time), unless it says.
pub const REPEAT_BASE_MS: u64 = 500;

/// When an event happened, and a random number for it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Milliseconds since 1970 by a local clock that never goes back while the page lives.
    pub at_ms: u64,
    pub random: u128,
}

#[derive(Debug, Clone)]
pub enum Event {
    ConnectRequested,
    StopRequested,
    /// A token for this shopper, first or fresh. `device` where the page knows it.
    TokenRefreshed {
        token: String,
        device: Option<DeviceId>,
    },
    /// No token could be had. `is_final` when asking again will not help, as with a merchant's own token.
    TokenFailed {
        is_final: bool,
    },
    StoredLoaded(String),
    SocketOpened,
    TextReceived(String),
    SocketClosed {
        code: u16,
    },
    TimerFired,
    Watch(SaleId),
    Unwatch(SaleId),
    /// The shopper has read a refusal.
    Dismiss(SaleId),
    /// The page is visible again or the network is back: look at once.
    Nudge,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    OpenSocket,
    CloseSocket,
    Send(String),
    /// Keep this text where a reload of this page finds it.
    Store(String),
    /// Get a token; `stale` is the one that was refused.
    FetchToken {
        stale: Option<String>,
    },
    /// Fire the timer at this local time; replaces the one before.
    WakeAt(u64),
    /// Something to draw has changed.
    Changed(Change),
    Settled(Settled),
    Notice {
        code: Reason,
        text: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Connection,
    Orders,
    Sale(SaleId),
}

/// A command's end, for the one who gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub id: CommandId,
    pub verb: &'static str,
    pub sale: Option<SaleId>,
    pub outcome: Result<(), Refusal>,
}

/// Why a command did nothing: the server's word, or one of the client's own (`no_answer`, `too_many_pending`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refusal {
    pub verb: &'static str,
    pub code: String,
    pub message: String,
    pub retry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
}

#[derive(Debug, Default)]
pub struct State {
    link: Link,
    attempt: u32,
    token: Option<String>,
    stale_token: Option<String>,
    /// Why the stale token was refused.
    stale_because: Option<&'static str>,
    device: Option<DeviceId>,
    shopper: Option<ShopperId>,
    role: Option<Role>,
    clock: Clock,
    sales: BTreeMap<SaleId, Known>,
    orders: BTreeMap<OrderId, Order>,
    pending: Vec<Pending>,
    asked: Vec<(CommandId, Asked)>,
    wake_at: Option<u64>,
}

/// The connection's life. Every state that waits for somebody has a deadline.
#[derive(Debug, Default)]
enum Link {
    #[default]
    Idle,
    FetchingToken {
        until: u64,
    },
    BackingOff {
        until: u64,
    },
    Opening {
        until: u64,
    },
    Greeting {
        hello: CommandId,
        sent_at: u64,
        until: u64,
        resumed: Vec<SaleId>,
    },
    Ready(Ready),
    /// The server does not want this client back; only the page's wish connects again.
    Stopped {
        word: String,
    },
}

#[derive(Debug)]
struct Ready {
    since: u64,
    ping_every_ms: u64,
    next_ping_at: u64,
    ping: Option<(CommandId, u64)>,
    /// The gateway goes away: move by then.
    move_at: Option<u64>,
    /// Watch again what the server was too busy to show.
    rewatch_at: Option<u64>,
}

/// A command that waits for its answer. Stored before it is sent, and sent with the same id until it is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pending {
    id: CommandId,
    verb: Verb,
    sale: Option<SaleId>,
    /// The whole text as it is sent.
    frame: String,
    /// The command alone, to know the same wish again.
    wish: String,
    until: u64,
    /// Whose command it is, once that is known: it must not be sent for somebody else.
    shopper: Option<ShopperId>,
    #[serde(skip)]
    is_sent: bool,
    #[serde(skip)]
    repeat_at: Option<u64>,
    #[serde(skip)]
    repeats: u32,
}

/// A command's word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
struct Verb(&'static str);

impl<'de> Deserialize<'de> for Verb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let verb = VERBS.iter().find(|verb| **verb == word).copied();
        verb.map(Verb)
            .ok_or_else(|| de::Error::custom("no command's word"))
    }
}

/// What the client asked on its own account. Not stored: a reconnect makes it superfluous.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Watch(SaleId),
    State(SaleId),
    Unwatch,
}

/// The connection, as pages show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectionView {
    /// idle | connecting | online | waiting | stopped
    pub state: &'static str,
    /// Until the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Why the server does not want this client back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shopper: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// One step's collected effects and its source of ids and jitter.
struct Turn {
    now: u64,
    dice: u128,
    effects: Vec<Effect>,
}

impl Turn {
    fn new(moment: Moment) -> Self {
        Self {
            now: moment.at_ms,
            dice: moment.random,
            effects: Vec::new(),
        }
    }

    fn id(&mut self) -> CommandId {
        self.dice = self.dice.wrapping_add(1);
        CommandId::from_parts(self.now, self.dice)
    }

    /// A whole number from 0 to `most`.
    fn up_to(&self, most: u64) -> u64 {
        // The ids count up from the lower bits; the higher ones are still fresh.
        let high = u64::try_from(self.dice >> 64).unwrap_or(0);
        if most == u64::MAX { high } else { high % (most + 1) }
    }

    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn changed(&mut self, change: Change) {
        let effect = Effect::Changed(change);
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }

    fn send(&mut self, id: CommandId, command: Command) {
        self.push(Effect::Send(Request { id, command }.to_json()));
    }
}

impl State {
    pub fn step(&mut self, moment: Moment, event: Event) -> Vec<Effect> {
        let mut turn = Turn::new(moment);
        match event {
            Event::ConnectRequested => {
                if matches!(self.link, Link::Idle | Link::Stopped { .. }) {
                    self.attempt = 0;
                    self.connect(&mut turn);
                }
            }
            Event::StopRequested => {
                self.drop_link(&mut turn);
                self.set_link(&mut turn, Link::Idle);
            }
            Event::TokenRefreshed { token, device } => self.token_refreshed(&mut turn, token, device),
            Event::TokenFailed { is_final } => {
                if matches!(self.link, Link::FetchingToken { .. }) {
                    if is_final {
                        let word = self.stale_because.unwrap_or(Code::TokenMissing.word()).to_owned();
                        self.set_link(&mut turn, Link::Stopped { word });
                    } else {
                        self.back_off(&mut turn, 0);
                    }
                }
            }
            Event::StoredLoaded(text) => self.load(&mut turn, &text),
            Event::SocketOpened => self.greet(&mut turn),
            Event::TextReceived(text) => {
                if let Some(message) = frame::read(&text) {
                    self.receive(&mut turn, message);
                }
            }
            Event::SocketClosed { code } => self.closed(&mut turn, code),
            Event::TimerFired => {
                self.wake_at = None;
                self.act_on_what_is_due(&mut turn);
            }
            Event::Watch(sale) => {
                self.sales.entry(sale).or_default();
                if matches!(self.link, Link::Ready(_)) {
                    self.ask(&mut turn, Asked::Watch(sale));
                }
            }
            Event::Unwatch(sale) => {
                if self.sales.remove(&sale).is_some() && matches!(self.link, Link::Ready(_)) {
                    self.asked.retain(|(_, asked)| *asked != Asked::Watch(sale));
                    let id = turn.id();
                    self.asked.push((id, Asked::Unwatch));
                    turn.send(id, Command::Unwatch { sale });
                }
            }
            Event::Dismiss(sale) => {
                if let Some(known) = self.sales.get_mut(&sale)
                    && known.refusal.take().is_some()
                {
                    turn.changed(Change::Sale(sale));
                }
            }
            Event::Nudge => match &mut self.link {
                Link::BackingOff { until } => *until = (*until).min(turn.now + turn.up_to(BACK_OFF_BASE_MS)),
                Link::Ready(ready) if ready.ping.is_none() => {
                    ready.next_ping_at = turn.now;
                    self.act_on_what_is_due(&mut turn);
                }
                _ => {}
            },
        }
        self.finish(turn)
    }

    /// A command from the page, and the id under which its outcome will be told. The same wish while the first is
    /// under way is the same command: a double click buys once.
    pub fn command(&mut self, moment: Moment, command: Command) -> (CommandId, Vec<Effect>) {
        let mut turn = Turn::new(moment);
        let id = self.take(&mut turn, command);
        (id, self.finish(turn))
    }

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
            code,
            shopper,
            role: self.role,
        }
    }

    pub fn known(&self, sale: SaleId) -> Option<&Known> {
        self.sales.get(&sale)
    }

    /// Checks a proof of this shopper's in a sale's draw.
    pub fn check_draw(&self, sale: SaleId, proof: &str) -> Checked {
        let noted = self.known(sale).and_then(|known| known.noted);
        check(proof, sale, self.shopper.as_ref(), noted)
    }

    /// This shopper's orders, newest first.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        let mut orders: Vec<_> = self.orders.values().collect();
        orders.sort_by_key(|order| std::cmp::Reverse((order.created_at, order.order)));
        orders.into_iter()
    }

    /// The verbs under way for one sale.
    pub fn verbs_under_way(&self, sale: SaleId) -> impl Iterator<Item = &'static str> {
        self.pending
            .iter()
            .filter(move |pending| pending.sale == Some(sale))
            .map(|pending| pending.verb.0)
    }

    pub fn server_ms(&self, at_ms: u64) -> u64 {
        self.clock.server_ms(at_ms)
    }

    // ------------------------------------------------------------------------------------------ the connection

    fn connect(&mut self, turn: &mut Turn) {
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

    fn token_refreshed(&mut self, turn: &mut Turn, token: String, device: Option<DeviceId>) {
        let is_new = self.token.as_ref() != Some(&token);
        self.token = Some(token);
        self.stale_token = None;
        if device.is_some() {
            self.device = device;
        }
        match self.link {
            Link::FetchingToken { .. } => self.connect(turn),
            // Somebody signed in on this page: a connection says hello once, so it takes a new one.
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

    fn greet(&mut self, turn: &mut Turn) {
        let (Link::Opening { .. }, Some(token)) = (&self.link, self.token.clone()) else {
            return;
        };
        let hello = turn.id();
        let resumed: Vec<SaleId> = self.sales.keys().copied().collect();
        turn.send(
            hello,
            Command::Hello {
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

    fn welcomed(&mut self, turn: &mut Turn, welcome: Welcome) {
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
            self.set_trouble(
                turn,
                *sale,
                Refusal::from_reject("watch", Code::SaleUnknown.into()),
            );
        }
        // Watched while the hello was on its way.
        let missed: Vec<SaleId> = self
            .sales
            .keys()
            .filter(|sale| !resumed.contains(sale))
            .copied()
            .collect();
        for sale in missed {
            self.ask(turn, Asked::Watch(sale));
        }
        for index in 0..self.pending.len() {
            self.send_pending(turn, index);
        }
        self.act_on_what_is_due(turn);
    }

    /// Notes who this connection speaks for. What belonged to somebody else is forgotten, and their commands with it.
    fn meet(&mut self, turn: &mut Turn, shopper: ShopperId, role: Role) {
        if self.shopper.as_ref().is_some_and(|known| *known != shopper) {
            self.orders.clear();
            for (sale, known) in &mut self.sales {
                known.forget_shopper();
                turn.changed(Change::Sale(*sale));
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

    fn hello_refused(&mut self, turn: &mut Turn, reject: Reject) {
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

    fn closed(&mut self, turn: &mut Turn, code: u16) {
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

    /// The first time at once; a server that refuses the fresh one too is asked again with back-off only.
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

    fn back_off(&mut self, turn: &mut Turn, at_least_ms: u64) {
        let until = turn.now + at_least_ms + turn.up_to(back_off_ceiling_ms(self.attempt));
        self.attempt = self.attempt.saturating_add(1);
        self.set_link(turn, Link::BackingOff { until });
    }

    /// Lets go of a socket that may still be open.
    fn drop_link(&mut self, turn: &mut Turn) {
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

    fn set_link(&mut self, turn: &mut Turn, link: Link) {
        self.link = link;
        turn.changed(Change::Connection);
    }

    // ------------------------------------------------------------------------------------------ commands

    fn take(&mut self, turn: &mut Turn, command: Command) -> CommandId {
        let wish = serde_json::to_value(&command).unwrap_or_default().to_string();
        if let Some(same) = self.pending.iter().find(|pending| pending.wish == wish) {
            return same.id;
        }
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
            frame: Request { id, command }.to_json(),
            wish,
            until: turn.now + COMMAND_DEADLINE_MS,
            shopper: self.shopper.clone(),
            is_sent: false,
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

    fn send_pending(&mut self, turn: &mut Turn, index: usize) {
        if let Some(pending) = self.pending.get_mut(index) {
            pending.is_sent = true;
            pending.repeat_at = None;
            turn.push(Effect::Send(pending.frame.clone()));
        }
    }

    fn settle(&mut self, turn: &mut Turn, pending: Pending, outcome: Result<(), Refusal>) {
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

    fn answered(&mut self, turn: &mut Turn, index: usize, outcome: Outcome) {
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

    /// The refusal means that the server knows something about this shopper which we do not.
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
            .is_some_and(|order| !self.orders.contains_key(&order))
    }

    fn sale_of(&self, command: &Command) -> Option<SaleId> {
        match command {
            Command::Watch { sale }
            | Command::Unwatch { sale }
            | Command::Join { sale, .. }
            | Command::Leave { sale }
            | Command::Reserve { sale, .. }
            | Command::Release { sale }
            | Command::Checkout { sale, .. }
            | Command::State { sale } => Some(*sale),
            Command::Pay { order, .. } | Command::Cancel { order } => {
                self.orders.get(order).map(|order| order.sale)
            }
            Command::Hello { .. } | Command::Orders {} | Command::Ping { .. } => None,
        }
    }

    /// Asks on the client's own account; once is enough.
    fn ask(&mut self, turn: &mut Turn, asked: Asked) {
        let command = match asked {
            Asked::Watch(sale) => Command::Watch { sale },
            Asked::State(sale) => Command::State { sale },
            Asked::Unwatch => return,
        };
        if !matches!(self.link, Link::Ready(_)) || self.asked.iter().any(|(_, same)| *same == asked) {
            return;
        }
        let id = turn.id();
        self.asked.push((id, asked));
        turn.send(id, command);
    }

    // ------------------------------------------------------------------------------------------ storage

    fn store(&mut self, turn: &mut Turn) {
        turn.push(Effect::Store(
            serde_json::to_value(&self.pending)
                .unwrap_or_default()
                .to_string(),
        ));
    }

    /// Takes up the commands that this page had under way before it was reloaded.
    fn load(&mut self, turn: &mut Turn, text: &str) {
        let stored: Value = serde_json::from_str(text).unwrap_or_default();
        let mut stored: Vec<Pending> = serde_json::from_value(stored).unwrap_or_default();
        stored.truncate(MAX_PENDING);
        // A deadline that is further away than any can be comes from a clock that has been set back since.
        stored.retain(|pending| pending.until <= turn.now + COMMAND_DEADLINE_MS);
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

    // ------------------------------------------------------------------------------------------ news

    fn tick(&mut self, turn: &mut Turn, tick: Tick) {
        self.clock.saw(turn.now, tick.now);
        if let Some(known) = self.sales.get_mut(&tick.sale) {
            turn.changed(Change::Sale(tick.sale));
            known.apply_tick(tick);
            let (now, dice) = (turn.now, turn.up_to(u64::MAX));
            known.plan_look(now, dice);
        }
    }

    fn receive(&mut self, turn: &mut Turn, message: ServerMessage) {
        match message {
            ServerMessage::Reply { id, outcome } => self.reply(turn, id, outcome),
            ServerMessage::Tick(tick) => self.tick(turn, tick),
            ServerMessage::Change(change) => {
                let Some(known) = self.sales.get_mut(&change.sale) else {
                    return;
                };
                match known.tick.as_ref().and_then(|tick| change.apply(tick)) {
                    Some(tick) => self.tick(turn, tick),
                    // It was made for a tick that this client does not have: the state has one that is newer.
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
        // Too late for the one who asked, but true all the same.
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

    fn apply_done(&mut self, turn: &mut Turn, done: &Done) {
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

    fn apply_state(&mut self, turn: &mut Turn, state: flashsale_protocol::SaleState, fresh: bool) {
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

    fn set_trouble(&mut self, turn: &mut Turn, sale: SaleId, trouble: Refusal) {
        if let Some(known) = self.sales.get_mut(&sale) {
            known.trouble = Some(trouble);
            turn.changed(Change::Sale(sale));
        }
    }

    // ------------------------------------------------------------------------------------------ time

    fn act_on_what_is_due(&mut self, turn: &mut Turn) {
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
                    // The random wait is behind us: the window has spread us already.
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
                        turn.send(id, Command::Ping { t: now });
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
            let unseen: Vec<SaleId> = unseen.map(|(sale, _)| *sale).collect();
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
                *sale
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
            // Whether it happened is for the server to say.
            if let Some(sale) = pending.sale {
                self.ask(turn, Asked::State(sale));
            }
            let refusal = Refusal::no_answer(pending.verb.0);
            self.settle(turn, pending, Err(refusal));
        }
    }

    /// The next moment at which something is due.
    fn next_due(&self) -> Option<u64> {
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

    fn finish(&mut self, mut turn: Turn) -> Vec<Effect> {
        let due = self.next_due();
        if let Some(due) = due
            && self.wake_at != Some(due)
        {
            self.wake_at = Some(due);
            turn.push(Effect::WakeAt(due));
        }
        turn.effects
    }
}

impl Refusal {
    pub fn from_reject(verb: &'static str, reject: Reject) -> Self {
        Self {
            verb,
            code: reject.code.word().to_owned(),
            message: reject.message,
            retry: reject.retry,
            retry_after_ms: reject.retry_after_ms,
            order: reject.order,
        }
    }

    fn no_answer(verb: &'static str) -> Self {
        Self::own(
            verb,
            "no_answer",
            "No answer came in time. What is shown here is what the server knows.",
        )
    }

    fn too_many_pending(verb: &'static str) -> Self {
        Self::own(
            verb,
            "too_many_pending",
            "Too many commands are under way already.",
        )
    }

    fn own(verb: &'static str, code: &str, message: &str) -> Self {
        Self {
            verb,
            code: code.to_owned(),
            message: message.to_owned(),
            retry: true,
            retry_after_ms: None,
            order: None,
        }
    }
}

/// The longest wait before the attempt with this number (from 0).
pub fn back_off_ceiling_ms(attempt: u32) -> u64 {
    BACK_OFF_BASE_MS
        .saturating_mul(1u64.checked_shl(attempt).unwrap_or(u64::MAX))
        .min(BACK_OFF_CAP_MS)
}

#[cfg(test)]
mod tests;

//! The client as a pure state machine: events and commands go in with the time and a random number, effects come out. Owns the
//! connection's life, the commands under way, the clock, and the knowledge about every watched sale. It does no I/O, reads no
//! clock and rolls no dice, so that each of its promises can be tested natively.

mod commands;
mod due;
mod link;
mod news;
mod nonces;
mod turn;

pub use link::ConnectionView;

use crate::{clock::Clock, frame, refusal::Refusal, sale::Known, table::Table};
use flashsale_protocol::{
    Code, CommandId, ConnectionCommand, DeviceId, Nonce, Order, OrderId, Reason, Role, SaleId, ShopCommand,
    ShopperId, draw::Heard, lean::Value,
};
use nonces::Made;
use serde::{Deserialize, Deserializer, Serialize, de};
use turn::Turn;

/// Reconnects after a random part (full jitter) of `base · 2^attempt`, at most of the cap.
pub const BACK_OFF_BASE_MS: u64 = 1_000;
pub const BACK_OFF_CAP_MS: u64 = 30_000;
/// A connection that lived this long was good: the next back-off starts from the base again.
pub const STABLE_MS: u64 = 10_000;
/// Time from asking for a socket to its opening, and from hello to welcome.
pub const CONNECT_DEADLINE_MS: u64 = 10_000;
/// Time from asking for a token to getting it.
pub const TOKEN_DEADLINE_MS: u64 = 15_000;
/// A ping without an answer for this long means that the connection is dead, whatever the browser says.
pub const PONG_DEADLINE_MS: u64 = 8_000;
/// Time from a command to its answer, over all reconnects and repetitions.
pub const COMMAND_DEADLINE_MS: u64 = 20_000;
/// Commands under way at once.
pub const MAX_PENDING: usize = 16;
/// Orders remembered.
pub const MAX_ORDERS: usize = 200;
/// A command refused as busy is repeated after a random part of this (doubled each time), unless the server gives a time.
pub const REPEAT_BASE_MS: u64 = 500;

/// When an event happened, and a random number for it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Milliseconds since 1970, by a local clock that never goes back while the page lives.
    pub at_ms: u64,
    pub random: u128,
    /// Random bits that nothing else uses, because ids are no secret. None: this browser has none.
    pub nonce: Option<Nonce>,
}

#[derive(Debug, Clone)]
pub enum Event {
    ConnectRequested,
    StopRequested,
    /// A token for this shopper, the first or a fresh one; `device` if the page knows it.
    TokenRefreshed {
        token: String,
        device: Option<DeviceId>,
    },
    /// No token is available. `is_final` if asking again will not help, as with a merchant's own token.
    TokenFailed {
        is_final: bool,
    },
    StoredLoaded(Value),
    NoncesLoaded(Value),
    SocketOpened,
    Received(Value),
    SocketClosed {
        code: u16,
    },
    TimerFired,
    Watch(SaleId),
    Unwatch(SaleId),
    /// The shopper has read the refusal.
    Dismiss(SaleId),
    /// The page is visible again, or the network is back: check at once.
    Nudge,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    OpenSocket,
    CloseSocket,
    Send(String),
    /// Store this text where a reload of this page finds it.
    Store(String),
    /// Like [`Effect::Store`], apart from the commands: an earlier release of this page can read those.
    StoreNonces(String),
    /// Get a token; `stale` is the refused one.
    FetchToken {
        stale: Option<String>,
    },
    /// Fire the timer at this local time; it replaces the earlier one.
    WakeAt(u64),
    /// Something on the page has changed.
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

/// The end of a command, for the page that sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub id: CommandId,
    pub verb: &'static str,
    pub sale: Option<SaleId>,
    pub outcome: Result<(), Refusal>,
}

#[derive(Debug, Default)]
pub struct State {
    link: Link,
    attempt: u32,
    token: Option<String>,
    stale_token: Option<String>,
    /// The reason why the stale token was refused.
    stale_because: Option<&'static str>,
    device: Option<DeviceId>,
    shopper: Option<ShopperId>,
    role: Option<Role>,
    clock: Clock,
    sales: Table<SaleId, Known>,
    orders: Table<OrderId, Order>,
    pending: Vec<Pending>,
    nonces: Vec<Made>,
    asked: Vec<(CommandId, Asked)>,
    wake_at: Option<u64>,
    /// When the last message came.
    heard_at: Option<u64>,
}

/// The connection's life. Every waiting state has a deadline.
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
    /// The server does not want this client back; only the page can ask to connect again.
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
    /// The gateway is leaving: move by this time.
    move_at: Option<u64>,
    /// When to watch again the sales that the server was too busy to show.
    rewatch_at: Option<u64>,
}

/// A command that waits for its answer. It is stored before it is sent, and sent with the same id until it is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pending {
    id: CommandId,
    verb: Verb,
    sale: Option<SaleId>,
    /// The whole text to send.
    frame: String,
    /// The command alone, to recognise the same wish.
    wish: String,
    until: u64,
    /// The command's shopper, once known: it must not be sent for somebody else.
    shopper: Option<ShopperId>,
    #[serde(skip)]
    is_sent: bool,
    /// It was given to a socket once. Whether it arrived, only its answer tells. One that was stored may have been sent since.
    #[serde(skip, default = "yes")]
    may_have_left: bool,
    #[serde(skip)]
    repeat_at: Option<u64>,
    #[serde(skip)]
    repeats: u32,
}

fn yes() -> bool {
    true
}

/// The word of a command.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
struct Verb(&'static str);

impl<'de> Deserialize<'de> for Verb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let verb = ShopCommand::VERBS.iter().find(|verb| **verb == word).copied();
        verb.map(Verb)
            .ok_or_else(|| de::Error::custom("no command's word"))
    }
}

/// A question of the client's own. Not stored, because a reconnect makes it useless.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Watch(SaleId),
    State(SaleId),
    Unwatch,
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
            Event::StoredLoaded(stored) => self.load(&mut turn, stored),
            Event::NoncesLoaded(stored) => self.load_nonces(stored),
            Event::SocketOpened => self.greet(&mut turn),
            Event::Received(message) => {
                self.heard_at = Some(turn.now);
                if let Some(message) = frame::read(message) {
                    self.receive(&mut turn, message);
                }
                // Browsers hold back the timers of a hidden page for a minute, but not its messages: pings still go in time.
                if self.wake_at.is_some_and(|at| at <= turn.now) {
                    self.wake_at = None;
                    self.act_on_what_is_due(&mut turn);
                }
            }
            Event::SocketClosed { code } => self.closed(&mut turn, code),
            Event::TimerFired => {
                self.wake_at = None;
                self.act_on_what_is_due(&mut turn);
            }
            Event::Watch(sale) => {
                if self.sales.get(&sale).is_none() {
                    self.sales.insert(sale, Known::default());
                }
                if matches!(self.link, Link::Ready(_)) {
                    self.ask(&mut turn, Asked::Watch(sale));
                }
            }
            Event::Unwatch(sale) => {
                if self.sales.remove(&sale).is_some() && matches!(self.link, Link::Ready(_)) {
                    self.asked.retain(|(_, asked)| *asked != Asked::Watch(sale));
                    let id = turn.id();
                    self.asked.push((id, Asked::Unwatch));
                    turn.send(id, ConnectionCommand::Unwatch { sale });
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

    /// Takes a command from the page; returns the id under which its outcome will be reported. The same wish while the first is
    /// under way is the same command: a double click buys once.
    pub fn command(&mut self, moment: Moment, command: ShopCommand) -> (CommandId, Vec<Effect>) {
        let mut turn = Turn::new(moment);
        let id = self.take(&mut turn, command);
        (id, self.finish(turn))
    }

    /// Takes away the commands that go another way, under their ids; see [`State::give_away`].
    pub fn hand_over(&mut self, moment: Moment) -> (String, Vec<Effect>) {
        let mut turn = Turn::new(moment);
        let given = self.give_away(&mut turn);
        (given, self.finish(turn))
    }

    pub fn known(&self, sale: SaleId) -> Option<&Known> {
        self.sales.get(&sale)
    }

    /// What a proof of this shopper's in the sale's draw can be held against.
    pub fn heard_of_draw(&self, sale: SaleId) -> Heard {
        let known = self.known(sale);
        let noted = known.and_then(|known| known.noted);
        Heard {
            sale,
            shopper: known
                .and_then(|known| known.shopper.as_ref())
                .or(self.shopper.as_ref())
                .cloned(),
            told: known.and_then(|known| known.nonce),
            made: self.made_for(sale).collect(),
            commitment: noted.map(|noted| noted.commitment),
            root: noted.and_then(|noted| noted.root),
        }
    }

    /// This shopper's orders, newest first.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        // Into its place one by one: they are few, and a general sort is some kilobytes.
        let mut orders: Vec<&Order> = Vec::new();
        for order in self.orders.values() {
            let is_newer = |other: &&Order| (other.created_at, other.order) > (order.created_at, order.order);
            orders.insert(orders.partition_point(is_newer), order);
        }
        orders.into_iter()
    }

    pub fn server_ms(&self, at_ms: u64) -> u64 {
        self.clock.server_ms(at_ms)
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

#[cfg(test)]
impl Event {
    /// As it comes from a socket.
    pub fn text(text: &str) -> Self {
        Self::Received(read_text(text))
    }
}

/// What JavaScript reads for the browser.
#[cfg(test)]
fn read_text(text: &str) -> Value {
    flashsale_protocol::lean::parse(text).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! Client and server messages, side by side. Every message is one JSON object in one text frame; `type` names it.
//!
//! Units: times are milliseconds since 1970 by the server's (Redis') clock; money is in minor units of the sale's
//! currency (cents for EUR, yen for JPY).

use crate::{Change, Code, CommandId, DeviceId, OrderId, Reason, SaleId, ShopperId, draw::Draw, json};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use std::fmt;

/// The most units that one command can ask for.
pub const MAX_QUANTITY: u32 = 100;

// ---------------------------------------------------------------------------------------------- client → server

/// A command with the id that makes its repetition harmless.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: CommandId,
    pub command: Command,
}

/// What a client can ask for. On the wire `type` names the command ([`Request`]); here it is the key of its fields, which
/// lets a refusal name the field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Who I am. First on every connection. `resume` names the sales to watch again at once; `changes`: I know how to apply a
    /// [`Change`], send me those where they will do.
    Hello {
        token: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        resume: Vec<SaleId>,
        #[serde(default, skip_serializing_if = "is_not")]
        changes: bool,
    },
    /// Send me this sale's ticks, and its state now.
    Watch { sale: SaleId },
    /// No more of this sale's ticks.
    Unwatch { sale: SaleId },
    /// Put me in line for so many units.
    Join {
        sale: SaleId,
        #[serde(default)]
        quantity: Quantity,
    },
    /// Take me out of the line (or give my claim back).
    Leave { sale: SaleId },
    /// Put units into my cart. `partial`: fewer will do.
    Reserve {
        sale: SaleId,
        #[serde(default)]
        quantity: Quantity,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    },
    /// Give my held units back.
    Release { sale: SaleId },
    /// Turn my hold into an order; with `payment`, pay it at once.
    Checkout {
        sale: SaleId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payment: Option<Payment>,
    },
    /// Pay a pending order.
    Pay { order: OrderId, payment: Payment },
    /// Cancel a pending order.
    Cancel { order: OrderId },
    /// My orders, newest first.
    Orders {},
    /// One sale's state now, without watching it.
    State { sale: SaleId },
    /// Clock and liveness: `t` comes back as it was sent.
    Ping { t: u64 },
}

impl Command {
    /// The command's word, as it stands in `type`.
    pub const fn verb(&self) -> &'static str {
        match self {
            Command::Hello { .. } => "hello",
            Command::Watch { .. } => "watch",
            Command::Unwatch { .. } => "unwatch",
            Command::Join { .. } => "join",
            Command::Leave { .. } => "leave",
            Command::Reserve { .. } => "reserve",
            Command::Release { .. } => "release",
            Command::Checkout { .. } => "checkout",
            Command::Pay { .. } => "pay",
            Command::Cancel { .. } => "cancel",
            Command::Orders {} => "orders",
            Command::State { .. } => "state",
            Command::Ping { .. } => "ping",
        }
    }
}

/// Every command's word.
pub const VERBS: &[&str] = &[
    "hello", "watch", "unwatch", "join", "leave", "reserve", "release", "checkout", "pay", "cancel",
    "orders", "state", "ping",
];

/// How a shopper pays: an opaque token from the payment provider's own form. Never a card number.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Payment {
    pub token: String,
}

impl<'de> Deserialize<'de> for Payment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            token: String,
        }
        let json::Object(Fields { token }) = json::Object::deserialize(deserializer)?;
        Ok(Payment { token })
    }
}

/// A payment token must not reach a log.
impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payment(…)")
    }
}

/// A number of units, 1 to [`MAX_QUANTITY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(minimum = 1, maximum = 100)
)]
#[serde(transparent)]
pub struct Quantity(u32);

impl Quantity {
    pub const ONE: Quantity = Quantity(1);

    pub const fn new(units: u32) -> Option<Quantity> {
        if units >= 1 && units <= MAX_QUANTITY {
            Some(Quantity(units))
        } else {
            None
        }
    }

    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ONE
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        value
            .as_u64()
            .and_then(|units| u32::try_from(units).ok())
            .and_then(Quantity::new)
            .ok_or_else(|| de::Error::custom(format_args!("must be a whole number from 1 to {MAX_QUANTITY}")))
    }
}

/// Why a frame is not a request. `id` is there where it could still be read, so that the client can match the refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Malformed {
    pub id: Option<CommandId>,
    pub code: Code,
    pub message: String,
}

impl Request {
    /// Reads one text frame.
    pub fn parse(text: &str) -> Result<Request, Malformed> {
        let value = json::parse(text.as_bytes()).map_err(|error| Malformed {
            id: None,
            code: Code::BadJson,
            message: format!("The message is not JSON: {error}"),
        })?;
        Self::from_value(value)
    }

    fn from_value(value: Value) -> Result<Request, Malformed> {
        let invalid = |id, message: String| Malformed {
            id,
            code: Code::InvalidField,
            message,
        };
        let Value::Object(mut fields) = value else {
            return Err(invalid(None, "A message is a JSON object.".into()));
        };
        let id = match fields.remove("id") {
            None => Err(invalid(
                None,
                "id: missing; every command carries an id (a ULID).".into(),
            )),
            Some(Value::String(text)) => text
                .parse::<CommandId>()
                .map_err(|error| invalid(None, format!("id: {error}."))),
            Some(_) => Err(invalid(None, "id: must be a string (a ULID).".into())),
        };
        let verb = match fields.remove("type") {
            Some(Value::String(verb)) if VERBS.contains(&verb.as_str()) => verb,
            Some(Value::String(verb)) => {
                let verb: String = verb.chars().take(40).collect();
                return Err(Malformed {
                    id: id.ok(),
                    code: Code::UnknownCommand,
                    message: format!("There is no command {verb:?}; there are: {}.", VERBS.join(", ")),
                });
            }
            Some(_) => return Err(invalid(id.ok(), "type: must be a string.".into())),
            None => return Err(invalid(id.ok(), "type: missing; it names the command.".into())),
        };
        let id = id?;
        let named = Value::Object([(verb.clone(), Value::Object(fields))].into_iter().collect());
        let command = json::read(named).map_err(|message| {
            let field = message.strip_prefix(&verb).unwrap_or(&message);
            invalid(Some(id), field.trim_start_matches(['.', ':', ' ']).into())
        })?;
        Ok(Request { id, command })
    }

    /// The request as one text frame.
    pub fn to_json(&self) -> String {
        let verb = self.command.verb();
        let mut command = serde_json::to_value(&self.command).unwrap_or_default();
        let mut fields = command[verb].take();
        fields["type"] = verb.into();
        fields["id"] = self.id.to_string().into();
        fields.to_string()
    }
}

// ---------------------------------------------------------------------------------------------- server → client

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to one command. `id` is null only where the frame's own id could not be read.
    Reply {
        id: Option<CommandId>,
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A sale's shared state, the same for every watcher.
    Tick(Tick),
    /// The same, as what is new in it, for whoever has said `changes` and has seen the tick before.
    Change(Change),
    /// Your place in line has changed its state.
    Entry(Entry),
    /// Your hold has changed its state.
    Hold(Hold),
    /// Your order has changed its state.
    Order(Order),
    /// A draw has gone on: its entries have closed, or it is over and can be checked. The same for every watcher.
    Draw(Draw),
    /// Something a person should read.
    Notice {
        code: Reason,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sale: Option<SaleId>,
    },
    /// Move to another gateway: wait `after_ms` plus a random part of `window_ms`, then reconnect.
    Bye {
        code: u16,
        text: String,
        after_ms: u64,
        window_ms: u64,
    },
}

impl ServerMessage {
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A command's answer: exactly one of `ok` and `error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    #[serde(rename = "ok")]
    Ok(Done),
    #[serde(rename = "error")]
    Error(Reject),
}

/// What a command has done. One key that names the kind: `{"hold":{…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// `hello`
    Welcome(Welcome),
    /// `watch`, `state`
    State(Box<SaleState>),
    /// `unwatch`
    Unwatched { sale: SaleId },
    /// `join`: the place, and a signed proof of it.
    Joined { entry: Entry, queue_token: String },
    /// `leave`
    Left { sale: SaleId },
    /// `reserve`, `release`
    Hold(Hold),
    /// `checkout`, `pay`, `cancel`
    Order(Order),
    /// `orders`
    Orders(Vec<Order>),
    /// `ping`
    Pong { t: u64, now: u64 },
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reject {
    pub code: Code,
    pub message: String,
    pub retry: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The order that the refusal is about: a declined payment leaves a pending order behind, for another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
}

impl Reject {
    pub fn new(code: Code) -> Self {
        Self::because(code, code.text())
    }

    /// A refusal with a more exact text than the table's.
    pub fn because(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry: code.retry(),
            retry_after_ms: None,
            order: None,
        }
    }

    pub fn after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }

    pub fn about(mut self, order: OrderId) -> Self {
        self.order = Some(order);
        self
    }
}

impl From<Code> for Reject {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Shopper,
    Merchant,
    Admin,
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Welcome {
    pub shopper: ShopperId,
    pub role: Role,
    pub now: u64,
    /// When the token ends, and with it this connection.
    pub token_expires_at: u64,
    /// The server hears from a healthy client at least this often; clients `ping` when they have nothing else to say.
    pub ping_every_ms: u64,
    /// One for each sale of `resume` that exists, in that order; these are being watched now.
    pub states: Vec<SaleState>,
}

/// All that a page needs to draw one sale for one shopper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaleState {
    pub sale: SaleInfo,
    pub tick: Tick,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    pub orders: Vec<Order>,
    /// What is published of the sale's draw by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<Draw>,
}

/// How a sale's units come to people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// First come, first served. What is left at the end is drawn among those who still wait.
    #[default]
    Queue,
    /// Everybody who enters until the end has the same chance; then it is drawn.
    Draw,
}

/// What an entry weighs in a sale's draw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DrawWeight {
    /// All the same.
    #[default]
    Equal,
    /// More the longer it has waited: 1 to 10.
    WaitingTime,
}

impl DrawWeight {
    pub fn is_equal(&self) -> bool {
        *self == Self::Equal
    }
}

/// What does not change from second to second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaleInfo {
    pub sale: SaleId,
    pub product_id: String,
    pub product_name: String,
    pub description: String,
    /// ISO 4217.
    pub currency: String,
    /// How many digits of an amount are behind the decimal point (2 for EUR, 0 for JPY).
    pub currency_exponent: u32,
    pub original_price: i64,
    pub sale_price: i64,
    pub total_stock: u32,
    pub room_opens_at: u64,
    pub starts_at: u64,
    pub ends_at: u64,
    pub per_shopper_limit: u32,
    pub hold_ms: u64,
    pub claim_ms: u64,
    pub payment_ms: u64,
    #[serde(default)]
    pub allocation: Allocation,
    #[serde(default, skip_serializing_if = "DrawWeight::is_equal")]
    pub draw_weight: DrawWeight,
    #[serde(default, skip_serializing_if = "OpeningOrder::is_fifo")]
    pub opening: OpeningOrder,
    /// Where the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening_seed_hash: Option<String>,
    /// The seed itself, after the start: each shopper can compute their place again ([`crate::draw::opening_place`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening_seed: Option<String>,
}

/// In which order those stand who have joined before the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OpeningOrder {
    /// As they have come.
    #[default]
    Fifo,
    /// As the sale's seed has it: coming early to the waiting room is no advantage. Nobody has a place before the start.
    Shuffle,
}

impl OpeningOrder {
    pub fn is_fifo(&self) -> bool {
        *self == Self::Fifo
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Published; the waiting room is not open yet.
    Scheduled,
    /// The waiting room is open, before the start.
    Waiting,
    Live,
    Paused,
    /// The entries of a draw have closed: units go to those drawn, and what they leave to the next ones. At the end of a
    /// first-come sale: units are left or may come back, and people wait.
    Drawing,
    Ended,
    Cancelled,
}

/// A sale's shared state. `seq` only grows: a client drops a tick that is not newer than its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tick {
    pub sale: SaleId,
    pub seq: u64,
    pub now: u64,
    pub phase: Phase,
    pub starts_at: u64,
    pub ends_at: u64,
    /// Units that may be sold; always available + claimed + held + ordering + sold.
    pub supply: u64,
    /// Free to take.
    #[serde(default, skip_serializing_if = "is_none")]
    pub available: u64,
    /// Set aside for shoppers whose turn it is.
    #[serde(default, skip_serializing_if = "is_none")]
    pub claimed: u64,
    /// In carts.
    #[serde(default, skip_serializing_if = "is_none")]
    pub held: u64,
    /// In a checkout that is running.
    #[serde(default, skip_serializing_if = "is_none")]
    pub ordering: u64,
    /// In orders, paid or not.
    #[serde(default, skip_serializing_if = "is_none")]
    pub sold: u64,
    /// Of those sold, in orders that wait for payment.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unpaid: u64,
    /// People in line.
    #[serde(default, skip_serializing_if = "is_none")]
    pub waiting: u64,
    /// Entries called since the sale began; subtract to follow a place (see [`Entry::position_at`]).
    #[serde(default, skip_serializing_if = "is_none")]
    pub admitted: u64,
    /// Entries called a second, measured over the last seconds.
    #[serde(default, skip_serializing_if = "is_still")]
    pub pace: f64,
    /// The range that the measured pace lies in.
    #[serde(default, skip_serializing_if = "is_still")]
    pub pace_low: f64,
    #[serde(default, skip_serializing_if = "is_still")]
    pub pace_high: f64,
    /// Units taken per turn, measured; less than one where some do not come at their turn.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub take: f64,
    /// The share of holds that comes back, measured.
    #[serde(default, skip_serializing_if = "is_still")]
    pub lapse: f64,
    /// When the next unit that somebody has set aside, or in a cart, comes back at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_lapse_at: Option<u64>,
    /// Why the line moves more slowly than it did, or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowed: Option<Reason>,
    /// Of those in line, people on the merchant's priority list; they have a line and a share of the turns of their own.
    #[serde(default, skip_serializing_if = "is_none")]
    pub priority_waiting: u64,
    /// As `admitted`, of the priority line.
    #[serde(default, skip_serializing_if = "is_none")]
    pub priority_admitted: u64,
    /// As `pace`, of the priority line.
    #[serde(default, skip_serializing_if = "is_still")]
    pub priority_pace: f64,
}

fn is_not(flag: &bool) -> bool {
    !*flag
}

fn one() -> f64 {
    1.0
}

fn is_one(share: &f64) -> bool {
    *share == 1.0
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

fn is_still(pace: &f64) -> bool {
    *pace == 0.0
}

/// What a sale's numbers mean for somebody who has nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// Units are free.
    Free,
    /// None is free, but some are in carts, in checkouts or unpaid, and may come back.
    MayComeBack,
    /// Every unit is sold and paid.
    SoldOut,
}

impl Tick {
    pub fn outlook(&self) -> Outlook {
        if self.available > 0 {
            Outlook::Free
        } else if self.claimed + self.held + self.ordering + self.unpaid > 0 {
            Outlook::MayComeBack
        } else {
            Outlook::SoldOut
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// In line.
    Waiting,
    /// It is your turn: units are set aside until `claim_until`.
    Admitted,
    /// The turn was used.
    Served,
    /// The turn was not used in time.
    Lapsed,
    /// Left by the shopper's own wish.
    Left,
    /// Taken out by the system; `reason` says why.
    Removed,
    /// In the draw, which is held when the entries have closed.
    Entered,
    /// Not drawn. While the phase is `drawing`, what others leave may still come.
    NotDrawn,
}

/// A shopper's place in line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entry {
    pub sale: SaleId,
    pub state: EntryState,
    pub quantity: u32,
    /// Exact position when this was written, 1 is next; 0 when not waiting, and while places are not drawn yet.
    pub position: u64,
    /// [`Tick::admitted`] (or [`Tick::priority_admitted`]) when `position` was written.
    pub admitted: u64,
    /// In the priority line: `position` is the place in that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub priority: bool,
    /// When the turn ends, if it is this shopper's turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_until: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When this was so. Of two entries the later is true.
    pub at: u64,
}

impl Entry {
    /// An entry that does not wait: no position, no reason.
    pub fn settled(sale: SaleId, state: EntryState, quantity: u32, at: u64) -> Self {
        Self {
            sale,
            state,
            quantity,
            position: 0,
            admitted: 0,
            priority: false,
            claim_until: None,
            reason: None,
            at,
        }
    }

    /// The position now, followed by the shared tick: nobody needs a frame of their own for it. Never worse than before.
    /// 0: it does not wait, or places are not drawn yet.
    pub fn position_at(&self, tick: &Tick) -> u64 {
        if self.state != EntryState::Waiting || self.position == 0 {
            return 0;
        }
        let admitted = if self.priority {
            tick.priority_admitted
        } else {
            tick.admitted
        };
        self.position
            .saturating_sub(admitted.saturating_sub(self.admitted))
            .max(1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    Held,
    /// A checkout is running; the hold cannot expire now.
    Ordering,
    Ordered,
    Released,
    Expired,
    Revoked,
}

/// Units in a shopper's cart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hold {
    pub sale: SaleId,
    pub state: HoldState,
    pub quantity: u32,
    /// When it ends by itself.
    pub expires_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When this was so. Of two holds the later is true.
    pub at: u64,
}

impl Hold {
    /// A hold that ended at `at`, without order or reason.
    pub fn ended(sale: SaleId, state: HoldState, quantity: u32, at: u64) -> Self {
        Self {
            sale,
            state,
            quantity,
            expires_at: at,
            order: None,
            reason: None,
            at,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Waits for payment until `expires_at`.
    Pending,
    Confirmed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Order {
    pub order: OrderId,
    pub sale: SaleId,
    pub quantity: u32,
    pub unit_price: i64,
    pub amount: i64,
    pub currency: String,
    pub status: OrderStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    pub created_at: u64,
    /// When an unpaid order is cancelled.
    pub expires_at: u64,
    /// A payment's outcome is not known yet; it comes as the next `order` event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paying: bool,
    /// What of `amount` has gone back to the shopper.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refunded: i64,
    /// When this was so. Of two views of one order the later is true.
    pub at: u64,
}

fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

#[cfg(test)]
mod tests;

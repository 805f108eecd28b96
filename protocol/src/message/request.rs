//! From client to server: the commands, and how to read a frame as one.

#[cfg(doc)]
use crate::Change;
use crate::{
    Code, CommandId, DeviceId, Nonce, OrderId, SaleId, json,
    lean::{self, Fields},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use std::fmt;

/// The most units that one command can request.
pub const MAX_QUANTITY: u32 = 100;

/// A command with the id that makes its repetition harmless.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: CommandId,
    pub command: Command,
}

/// A client's commands. On the wire `type` names the command ([`Request`]); here it is the key of its fields, so that a refusal
/// can name the field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Command {
    Connection(ConnectionCommand),
    Shop(ShopCommand),
}

/// A command about the connection itself, only on a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConnectionCommand {
    /// Says who I am; first on every connection. `resume` names the sales to watch again at once. `changes`: I can apply a
    /// [`Change`], so send me those if possible.
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
    /// Stop sending this sale's ticks.
    Unwatch { sale: SaleId },
    /// Clock and liveness: `t` comes back unchanged.
    Ping { t: u64 },
}

/// A command about a sale or an order, the same over a socket and over REST.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ShopCommand {
    /// Put me in line for this many units. `nonce`: 128 random bits that I made before my first join of the sale; they go into my
    /// name in its draw.
    Join {
        sale: SaleId,
        #[serde(default)]
        quantity: Quantity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<Nonce>,
    },
    /// Take me out of the line (or give my claim back).
    Leave { sale: SaleId },
    /// Put units into my cart. `partial`: fewer units are fine.
    Reserve {
        sale: SaleId,
        #[serde(default)]
        quantity: Quantity,
        #[serde(default, skip_serializing_if = "is_not")]
        partial: bool,
    },
    /// Give my held units back.
    Release { sale: SaleId },
    /// Give my turn, or what is in my cart, its time once more. Only while nobody waits, and if the sale allows it.
    Extend { sale: SaleId },
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
}

impl Command {
    /// The command's word, as in `type`.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Connection(command) => command.verb(),
            Self::Shop(command) => command.verb(),
        }
    }
}

impl From<ConnectionCommand> for Command {
    fn from(command: ConnectionCommand) -> Self {
        Self::Connection(command)
    }
}

impl From<ShopCommand> for Command {
    fn from(command: ShopCommand) -> Self {
        Self::Shop(command)
    }
}

impl ConnectionCommand {
    pub const VERBS: &[&str] = &["hello", "watch", "unwatch", "ping"];

    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Watch { .. } => "watch",
            Self::Unwatch { .. } => "unwatch",
            Self::Ping { .. } => "ping",
        }
    }
}

impl ShopCommand {
    pub const VERBS: &[&str] = &[
        "join", "leave", "reserve", "release", "extend", "checkout", "pay", "cancel", "orders", "state",
    ];

    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Reserve { .. } => "reserve",
            Self::Release { .. } => "release",
            Self::Extend { .. } => "extend",
            Self::Checkout { .. } => "checkout",
            Self::Pay { .. } => "pay",
            Self::Cancel { .. } => "cancel",
            Self::Orders {} => "orders",
            Self::State { .. } => "state",
        }
    }
}

impl ShopCommand {
    /// The sale that it names.
    pub const fn sale(&self) -> Option<SaleId> {
        match self {
            Self::Join { sale, .. }
            | Self::Leave { sale }
            | Self::Reserve { sale, .. }
            | Self::Release { sale }
            | Self::Extend { sale }
            | Self::Checkout { sale, .. }
            | Self::State { sale } => Some(*sale),
            Self::Pay { .. } | Self::Cancel { .. } | Self::Orders {} => None,
        }
    }

    /// Whether it asks for a place in line: so many come from one address.
    pub const fn asks_for_place(&self) -> bool {
        matches!(self, Self::Join { .. })
    }

    /// The order that it names.
    pub const fn order(&self) -> Option<OrderId> {
        match self {
            Self::Pay { order, .. } | Self::Cancel { order } => Some(*order),
            _ => None,
        }
    }
}

/// Every command's word.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    ConnectionCommand::VERBS.iter().chain(ShopCommand::VERBS).copied()
}

/// The shopper's means of payment: an opaque token from the payment provider's own form. Never a card number.
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

/// Why a frame is not a request. `id` is set if it could be read, so that the client can match the refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Malformed {
    pub id: Option<CommandId>,
    pub code: Code,
    pub message: String,
}

impl Request {
    pub fn new(id: CommandId, command: impl Into<Command>) -> Self {
        let command = command.into();
        Self { id, command }
    }

    /// Reads one text frame.
    pub fn parse(text: &str) -> Result<Request, Malformed> {
        let value = json::parse_message(text.as_bytes()).map_err(|error| Malformed {
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
            Some(Value::String(verb)) if verbs().any(|known| known == verb) => verb,
            Some(Value::String(verb)) => {
                let verb: String = verb.chars().take(40).collect();
                let known: Vec<_> = verbs().collect();
                return Err(Malformed {
                    id: id.ok(),
                    code: Code::UnknownCommand,
                    message: format!("There is no command {verb:?}; there are: {}.", known.join(", ")),
                });
            }
            Some(_) => return Err(invalid(id.ok(), "type: must be a string.".into())),
            None => return Err(invalid(id.ok(), "type: missing; it names the command.".into())),
        };
        let id = id?;
        let named = Value::Object([(verb.clone(), Value::Object(fields))].into_iter().collect());
        let command = if ConnectionCommand::VERBS.contains(&verb.as_str()) {
            json::read(named).map(Command::Connection)
        } else {
            json::read(named).map(Command::Shop)
        };
        let command = command.map_err(|message| {
            let field = message.strip_prefix(&verb).unwrap_or(&message);
            invalid(Some(id), field.trim_start_matches(['.', ':', ' ']).into())
        })?;
        Ok(Request { id, command })
    }

    /// The request as one text frame.
    pub fn to_json(&self) -> String {
        // `{"join":{…}}` becomes `{"type":"join","id":…,…}`.
        let mut frame = Fields::default();
        frame.insert("type", self.command.verb().into());
        frame.insert("id", self.id.to_string().as_str().into());
        if let lean::Value::Object(Fields(command)) = lean::to_value(&self.command)
            && let Some((_, lean::Value::Object(fields))) = command.into_iter().next()
        {
            frame.0.extend(fields.0);
        }
        lean::Value::Object(frame).to_text()
    }
}

fn is_not(flag: &bool) -> bool {
    !*flag
}

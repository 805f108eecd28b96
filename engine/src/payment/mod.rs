//! The payment provider: the one seam between us and whoever moves the money. A provider is a variant of [`Provider`];
//! built in is the [`sandbox`]. Every call names the payment's id and may be repeated under it. A call that gets no answer
//! says nothing about the money: the outcome is unknown, and is asked for again until it is known.
//!
//! Knows nothing of orders and stock: what an outcome means for them is [`state`]'s to say and `store/`'s to write.

pub mod sandbox;
pub mod signature;
pub mod state;

use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, OrderId, PaymentId, Reject, SaleId, ShopperId, json};
use sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{future::Future, net::SocketAddr, time::Duration};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// What is to be paid.
#[derive(Debug, Clone)]
pub struct Charge {
    pub payment: PaymentId,
    pub order: OrderId,
    /// Told to the provider, so that its list of payments says what they were for.
    pub sale: SaleId,
    pub shopper: ShopperId,
    /// Minor units.
    pub amount: i64,
    pub currency: String,
    /// How the shopper pays, from the provider's own form.
    pub token: String,
}

/// How a payment stands at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not decided yet.
    Processing,
    /// The money is set apart: to be captured or voided.
    Authorized { reference: String },
    /// Refused; also what becomes of an authorization that cannot be captured.
    Declined { reason: String },
    /// The money is ours.
    Captured { reference: String },
    /// Given up: nothing will be taken under this id any more.
    Voided,
    /// The provider has never heard of it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refunded {
    Done,
    Refused { reason: String },
}

/// A payment that the provider lists: money of it is ours, or may be soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub payment: PaymentId,
    pub order: OrderId,
    /// None: an earlier release has not told the provider.
    pub sale: Option<SaleId>,
    pub shopper: Option<ShopperId>,
    pub amount: i64,
    pub currency: String,
}

/// A page of the provider's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub payments: Vec<Listed>,
    /// Where the next page begins; None: this is the last one.
    pub next: Option<String>,
}

/// The provider did not answer; what was asked may or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no answer from the payment provider: {0}")]
pub struct Silence(pub String);

pub type ProviderAnswer<T> = std::result::Result<T, Silence>;

/// What a webhook tells.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub kind: EventKind,
    pub payment: PaymentId,
    pub order: OrderId,
    pub amount: i64,
    pub currency: String,
    pub fact: Fact,
    pub body: Value,
}

/// A webhook that is signed with our secret.
#[derive(Debug, Clone)]
pub enum Heard {
    Event(Box<Event>),
    /// It tells of something that is none of our business: there are more types of events than these, and more to come.
    Ignored,
}

/// Something that the provider has told, by an answer or by a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Payment(Standing),
    /// Money has gone back: under a refund's id of ours, or under one that the provider has made, where somebody has refunded it
    /// there.
    Refund {
        refund: String,
    },
    /// The shopper's bank asks for the money back.
    Dispute {
        dispute: String,
        reason: String,
        /// None: it has begun.
        outcome: Option<DisputeOutcome>,
    },
}

/// Whose the money is after a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeOutcome {
    /// The shop's.
    Won,
    /// The shopper's.
    Lost,
}

impl DisputeOutcome {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum EventKind {
    #[serde(rename = "payment.authorized")]
    Authorized,
    #[serde(rename = "payment.captured")]
    Captured,
    #[serde(rename = "payment.declined")]
    Declined,
    #[serde(rename = "payment.voided")]
    Voided,
    #[serde(rename = "refund.done")]
    RefundDone,
    #[serde(rename = "dispute.created")]
    DisputeCreated,
    #[serde(rename = "dispute.closed")]
    DisputeClosed,
}

impl EventKind {
    const ALL: [Self; 7] = [
        Self::Authorized,
        Self::Captured,
        Self::Declined,
        Self::Voided,
        Self::RefundDone,
        Self::DisputeCreated,
        Self::DisputeClosed,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Authorized => "payment.authorized",
            Self::Captured => "payment.captured",
            Self::Declined => "payment.declined",
            Self::Voided => "payment.voided",
            Self::RefundDone => "refund.done",
            Self::DisputeCreated => "dispute.created",
            Self::DisputeClosed => "dispute.closed",
        }
    }
}

/// A webhook's body. Providers add fields as they go; what is not named here says nothing to us.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventBody {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub payment: PaymentId,
    pub order: OrderId,
    pub amount: i64,
    pub currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The refund that is done, by our id or, where it was made at the provider, by the provider's; `amount` is then the refund's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<String>,
    /// The provider's id of the dispute; `amount` is then what is disputed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispute: Option<String>,
    /// How a dispute was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DisputeOutcome>,
}

/// The provider's ids are kept for ever: they have a limit.
const MAX_ID_CHARS: usize = 255;

/// Who moves the money.
pub enum Provider {
    Sandbox(Sandbox),
}

/// A provider, with the limits of talking to it.
pub struct PaymentProvider {
    pub provider: Provider,
    /// No call waits longer for its answer.
    pub timeout: Duration,
    pub webhook_secret: Vec<u8>,
}

impl PaymentProvider {
    pub fn new(provider: Provider, timeout: Duration, webhook_secret: String) -> Self {
        Self {
            provider,
            timeout,
            webhook_secret: webhook_secret.into_bytes(),
        }
    }

    pub const fn name(&self) -> &'static str {
        match &self.provider {
            Provider::Sandbox(_) => sandbox::NAME,
        }
    }

    /// Asks whether this may be paid. Takes nothing yet: the order is confirmed first.
    pub async fn authorize(&self, charge: Charge) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.authorize(charge)).await,
        }
    }

    /// Takes what was set apart: captured, or declined for good.
    pub async fn capture(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.capture(payment)).await,
        }
    }

    /// Gives up what was set apart, and, if the provider has never heard of this id, the id itself. The answer is how it
    /// stands now: also that it was captured meanwhile, or is still being processed and cannot be given up yet.
    pub async fn void(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.void(payment)).await,
        }
    }

    /// Sends money back. The refund's own id makes it happen once.
    pub async fn refund(&self, payment: PaymentId, refund: &str, amount: i64) -> ProviderAnswer<Refunded> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.refund(payment, refund, amount)).await,
        }
    }

    /// How a payment stands, by its id alone.
    pub async fn standing(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.standing(payment)).await,
        }
    }

    /// Payments since a time, a page at a time: captured ones of which not all has gone back, and those that may be captured yet.
    pub async fn list(&self, since: DateTime<Utc>, after: Option<String>) -> ProviderAnswer<Page> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.list(since, after)).await,
        }
    }

    /// Reads a webhook whose signature (the header's value) is right and fresh; `now_s` is in seconds since 1970.
    pub fn parse_webhook(&self, signature: Option<&str>, body: &[u8], now_s: u64) -> Result<Heard, Reject> {
        signature::verify(&self.webhook_secret, signature, body, now_s)?;
        match &self.provider {
            Provider::Sandbox(_) => read_event(body),
        }
    }

    /// Brings the built-in provider's webhooks to a gateway, until stopped.
    pub async fn deliver_webhooks(&self, gateway: SocketAddr, stopping: CancellationToken) {
        match &self.provider {
            Provider::Sandbox(sandbox) => sandbox.deliver(&self.webhook_secret, gateway, stopping).await,
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = ProviderAnswer<T>>) -> ProviderAnswer<T> {
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(Silence(format!("waited {} ms", self.timeout.as_millis()))))
    }
}

fn read_event(body: &[u8]) -> Result<Heard, Reject> {
    let value = json::parse_message(body)
        .map_err(|error| Reject::because(Code::BadJson, format!("The body is not JSON: {error}")))?;
    if let Some(kind) = value.get("type").and_then(Value::as_str)
        && EventKind::ALL.iter().all(|known| known.word() != kind)
    {
        return Ok(Heard::Ignored);
    }
    let read: EventBody =
        json::read(value.clone()).map_err(|error| Reject::because(Code::InvalidField, error))?;
    let invalid = |text: &str| Reject::because(Code::InvalidField, text);
    let an_id = |name: &str, id: String| match id.chars().count() {
        1..=MAX_ID_CHARS => Ok(id),
        _ => Err(invalid(&format!(
            "{name}: must have 1 to {MAX_ID_CHARS} characters."
        ))),
    };
    let id = an_id("id", read.id)?;
    let reference = read.reference.unwrap_or_default();
    let fact = match read.kind {
        EventKind::Authorized => Fact::Payment(Standing::Authorized { reference }),
        EventKind::Captured => Fact::Payment(Standing::Captured { reference }),
        EventKind::Declined => Fact::Payment(Standing::Declined {
            reason: read.reason.unwrap_or_else(|| "declined".into()),
        }),
        EventKind::Voided => Fact::Payment(Standing::Voided),
        EventKind::RefundDone => Fact::Refund {
            refund: an_id(
                "refund",
                read.refund
                    .ok_or_else(|| invalid("refund: missing; it names the refund."))?,
            )?,
        },
        EventKind::DisputeCreated | EventKind::DisputeClosed => Fact::Dispute {
            dispute: an_id(
                "dispute",
                read.dispute
                    .ok_or_else(|| invalid("dispute: missing; it names the dispute."))?,
            )?,
            reason: read.reason.unwrap_or_default(),
            outcome: match read.kind {
                EventKind::DisputeClosed => Some(
                    read.outcome
                        .ok_or_else(|| invalid("outcome: missing; it is won or lost."))?,
                ),
                _ => None,
            },
        },
    };
    Ok(Heard::Event(Box::new(Event {
        id,
        kind: read.kind,
        payment: read.payment,
        order: read.order,
        amount: read.amount,
        currency: read.currency,
        fact,
        body: value,
    })))
}

//! The payment provider: the one seam between us and whoever moves the money. A provider is a variant of [`Provider`];
//! built in is the [`sandbox`]. Every call names the payment's id and may be repeated under it. A call that gets no answer
//! says nothing about the money: the outcome is unknown, and is asked for again until it is known.
//!
//! Knows nothing of orders and stock: what an outcome means for them is [`state`]'s to say and `store/`'s to write.

pub mod sandbox;
pub mod signature;
pub mod state;

use crate::config::Payments;
use flashsale_protocol::{Code, OrderId, PaymentId, Reject};
use sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{future::Future, time::Duration};
use utoipa::ToSchema;

/// What is to be paid.
#[derive(Debug, Clone)]
pub struct Charge {
    pub payment: PaymentId,
    pub order: OrderId,
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

/// The provider did not answer; what was asked may or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no answer from the payment provider: {0}")]
pub struct Silence(pub String);

pub type Answer<T> = std::result::Result<T, Silence>;

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

/// Something that the provider has told, by an answer or by a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Payment(Standing),
    Refund { refund: String },
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
}

impl EventKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Authorized => "payment.authorized",
            Self::Captured => "payment.captured",
            Self::Declined => "payment.declined",
            Self::Voided => "payment.voided",
            Self::RefundDone => "refund.done",
        }
    }
}

/// A webhook's body.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventBody {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub payment: PaymentId,
    pub order: OrderId,
    pub amount: i64,
    pub currency: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The refund that is done; `amount` is then the refund's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<String>,
}

/// An id of an event is kept for ever: it has a limit.
const MAX_EVENT_ID_CHARS: usize = 255;

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
    pub fn new(provider: Provider, config: &Payments, webhook_secret: String) -> Self {
        Self {
            provider,
            timeout: Duration::from_millis(config.payment_timeout_ms),
            webhook_secret: webhook_secret.into_bytes(),
        }
    }

    pub const fn name(&self) -> &'static str {
        match &self.provider {
            Provider::Sandbox(_) => sandbox::NAME,
        }
    }

    /// Asks whether this may be paid. Takes nothing yet: the order is confirmed first.
    pub async fn authorize(&self, charge: Charge) -> Answer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.authorize(charge)).await,
        }
    }

    /// Takes what was set apart: captured, or declined for good.
    pub async fn capture(&self, payment: PaymentId) -> Answer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.capture(payment)).await,
        }
    }

    /// Gives up what was set apart, and, if the provider has never heard of this id, the id itself. The answer is how it
    /// stands now: also that it was captured meanwhile, or is still being processed and cannot be given up yet.
    pub async fn void(&self, payment: PaymentId) -> Answer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.void(payment)).await,
        }
    }

    /// Sends money back. The refund's own id makes it happen once.
    pub async fn refund(&self, payment: PaymentId, refund: &str, amount: i64) -> Answer<Refunded> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.refund(payment, refund, amount)).await,
        }
    }

    /// How a payment stands, by its id alone.
    pub async fn standing(&self, payment: PaymentId) -> Answer<Standing> {
        match &self.provider {
            Provider::Sandbox(sandbox) => self.in_time(sandbox.standing(payment)).await,
        }
    }

    /// Reads a webhook whose signature (the header's value) is right and fresh; `now_s` is in seconds since 1970.
    pub fn parse_webhook(&self, signature: Option<&str>, body: &[u8], now_s: u64) -> Result<Event, Reject> {
        signature::verify(&self.webhook_secret, signature, body, now_s)?;
        match &self.provider {
            Provider::Sandbox(_) => read_event(body),
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = Answer<T>>) -> Answer<T> {
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(Silence(format!("waited {} ms", self.timeout.as_millis()))))
    }
}

fn read_event(body: &[u8]) -> Result<Event, Reject> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Reject::because(Code::BadJson, format!("The body is not JSON: {error}.")))?;
    let read: EventBody = serde_path_to_error::deserialize(&value).map_err(|error| {
        let path = error.path().to_string();
        Reject::because(Code::InvalidField, format!("{path}: {}.", error.into_inner()))
    })?;
    if read.id.is_empty() || read.id.chars().count() > MAX_EVENT_ID_CHARS {
        return Err(Reject::because(
            Code::InvalidField,
            format!("id: must have 1 to {MAX_EVENT_ID_CHARS} characters."),
        ));
    }
    let reference = read.reference;
    let fact = match read.kind {
        EventKind::Authorized => Fact::Payment(Standing::Authorized { reference }),
        EventKind::Captured => Fact::Payment(Standing::Captured { reference }),
        EventKind::Declined => Fact::Payment(Standing::Declined {
            reason: read.reason.unwrap_or_else(|| "declined".into()),
        }),
        EventKind::Voided => Fact::Payment(Standing::Voided),
        EventKind::RefundDone => Fact::Refund {
            refund: read.refund.ok_or_else(|| {
                Reject::because(Code::InvalidField, "refund: missing; it names the refund.")
            })?,
        },
    };
    Ok(Event {
        id: read.id,
        kind: read.kind,
        payment: read.payment,
        order: read.order,
        amount: read.amount,
        currency: read.currency,
        fact,
        body: value,
    })
}

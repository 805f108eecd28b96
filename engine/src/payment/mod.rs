//! The payment provider: the one seam between us and the party that moves the money. A provider is a variant of [`Provider`]; the
//! [`sandbox`] is built in; with the [`handoff`] the shop takes the money itself, and nobody is called. Every call names the
//! payment's id and may be repeated under it. A call without an answer says nothing about the money: the outcome is unknown,
//! and is asked for until it is known.
//!
//! Knows nothing of orders and stock: [`state`] decides what an outcome means for them, and `store/` writes it.

pub mod handoff;
pub mod sandbox;
pub mod signature;
pub mod state;

use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, OrderId, PaymentId, PaymentsBy, Reject, SaleId, ShopperId, json};
use sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{future::Future, net::SocketAddr, time::Duration};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// A payment request.
#[derive(Debug, Clone)]
pub struct Charge {
    pub payment: PaymentId,
    pub order: OrderId,
    /// Told to the provider, so that its list says what the payments were for.
    pub sale: SaleId,
    pub shopper: ShopperId,
    /// Minor units.
    pub amount: i64,
    pub currency: String,
    /// The means of payment, from the provider's own form.
    pub token: String,
}

/// The state of a payment at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not decided yet.
    Processing,
    /// The money is set apart, to be captured or voided.
    Authorized { reference: String },
    /// Refused; also an authorization that cannot be captured.
    Declined { reason: String },
    /// The money is ours.
    Captured { reference: String },
    /// Given up: no money will be taken under this id any more.
    Voided,
    /// The provider has never heard of it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refunded {
    Done,
    Refused { reason: String },
}

/// A payment in the provider's list: its money is ours, or may soon be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub payment: PaymentId,
    pub order: OrderId,
    /// None: an earlier release did not tell the provider.
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

/// The provider did not answer; the request may or may not have been carried out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no answer from the payment provider: {0}")]
pub struct Silence(pub String);

pub type ProviderAnswer<T> = std::result::Result<T, Silence>;

/// The content of a webhook.
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

/// A webhook signed with our secret.
#[derive(Debug, Clone)]
pub enum Heard {
    Event(Box<Event>),
    /// An event that does not concern us: providers have more types of events than these.
    Ignored,
}

/// Something that the provider told us, in an answer or a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Payment(Standing),
    /// The shop's own checkout has the payment.
    Handoff(handoff::Told),
    /// Money has gone back: under our refund's id, or under the provider's if somebody refunded it there.
    Refund {
        refund: String,
    },
    /// The shopper's bank asks for the money back.
    Dispute {
        dispute: String,
        reason: String,
        /// None: the dispute has begun.
        outcome: Option<DisputeOutcome>,
    },
}

/// The owner of the money after a dispute.
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

/// A webhook's body. Providers add fields over time; fields that are not named here are ignored.
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
    /// The finished refund: our id, or the provider's if it was made there; `amount` is then the refund's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<String>,
    /// The provider's id of the dispute; `amount` is then the disputed amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispute: Option<String>,
    /// How a dispute was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DisputeOutcome>,
}

/// The provider's ids are kept for good, so their length has a limit.
const MAX_ID_CHARS: usize = 255;

/// The party that moves the money.
pub enum Provider {
    /// Nobody: nothing can be paid for. Payments of before keep their next step until there is a provider.
    None,
    Sandbox(Sandbox),
    /// The shop itself, at its own checkout. It is never called: its backend calls us.
    Merchant,
}

/// The name of the hand-off, as in a payment's row.
pub const MERCHANT: &str = PaymentsBy::Merchant.word();

/// A provider, with the limits for talking to it.
pub struct PaymentProvider {
    pub provider: Provider,
    /// Longest wait for the answer to a call.
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
        self.by().word()
    }

    /// What shoppers' pages are told of it.
    pub const fn by(&self) -> PaymentsBy {
        match &self.provider {
            Provider::None => PaymentsBy::None,
            Provider::Sandbox(_) => PaymentsBy::Sandbox,
            Provider::Merchant => PaymentsBy::Merchant,
        }
    }

    /// Whether something at this price (in minor units) can be sold.
    pub fn check(&self, price: i64) -> Result<(), Reject> {
        match &self.provider {
            Provider::None if price > 0 => Err(Code::PaymentsOff.into()),
            _ => Ok(()),
        }
    }

    /// Asks whether this may be paid. Takes no money yet: the order is confirmed first.
    pub async fn authorize(&self, charge: Charge) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::None | Provider::Merchant => Err(nobody()),
            Provider::Sandbox(sandbox) => self.in_time(sandbox.authorize(charge)).await,
        }
    }

    /// Takes the money that was set apart: captured, or declined for good.
    pub async fn capture(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::None | Provider::Merchant => Err(nobody()),
            Provider::Sandbox(sandbox) => self.in_time(sandbox.capture(payment)).await,
        }
    }

    /// Gives up money that was set apart and, if the provider does not know this id, the id itself. Returns the state now: it may
    /// have been captured meanwhile, or still be processing and not yet revocable.
    pub async fn void(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::None | Provider::Merchant => Err(nobody()),
            Provider::Sandbox(sandbox) => self.in_time(sandbox.void(payment)).await,
        }
    }

    /// Sends money back. The refund's own id makes sure that it happens once.
    pub async fn refund(&self, payment: PaymentId, refund: &str, amount: i64) -> ProviderAnswer<Refunded> {
        match &self.provider {
            Provider::None | Provider::Merchant => Err(nobody()),
            Provider::Sandbox(sandbox) => self.in_time(sandbox.refund(payment, refund, amount)).await,
        }
    }

    /// The state of a payment, by its id alone.
    pub async fn standing(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        match &self.provider {
            Provider::None | Provider::Merchant => Err(nobody()),
            Provider::Sandbox(sandbox) => self.in_time(sandbox.standing(payment)).await,
        }
    }

    /// Payments since a time, in pages: captured ones that are not fully refunded, and ones that may still be captured.
    pub async fn list(&self, since: DateTime<Utc>, after: Option<String>) -> ProviderAnswer<Page> {
        match &self.provider {
            Provider::None => Err(nobody()),
            // Shops find what we have lost in their own books: we do not know it any more.
            Provider::Merchant => Ok(Page::default()),
            Provider::Sandbox(sandbox) => self.in_time(sandbox.list(since, after)).await,
        }
    }

    /// Reads a webhook with a correct, fresh signature (the header's value); `now_s` is in seconds since 1970.
    pub fn parse_webhook(&self, signature: Option<&str>, body: &[u8], now_s: u64) -> Result<Heard, Reject> {
        if matches!(self.provider, Provider::None | Provider::Merchant) {
            return Err(Code::NotFound.into());
        }
        signature::verify(&self.webhook_secret, signature, body, now_s)?;
        read_event(body)
    }

    /// Sends the built-in provider's webhooks to a gateway of this process, until stopped. The scheme is http or https.
    pub async fn deliver_webhooks(&self, scheme: &str, gateway: SocketAddr, stopping: CancellationToken) {
        let secret = &self.webhook_secret;
        match &self.provider {
            Provider::None | Provider::Merchant => {}
            Provider::Sandbox(sandbox) => sandbox.deliver(secret, scheme, gateway, stopping).await,
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = ProviderAnswer<T>>) -> ProviderAnswer<T> {
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(Silence(format!("waited {} ms", self.timeout.as_millis()))))
    }
}

fn nobody() -> Silence {
    Silence("there is nobody to ask (--payments)".into())
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

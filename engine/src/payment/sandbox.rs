//! The built-in provider for development and tests. It behaves like a remote one: it keeps its own books, which survive restarts;
//! every call may be repeated under the payment's id; it can be slow, silent or gone; and it sends signed webhooks over HTTP. The
//! card decides what happens: [`CARDS`] is the table of docs/payments.md.

pub mod books;

use super::{
    Charge, DisputeOutcome, EventBody, EventKind, Page, ProviderAnswer, Refunded, Silence, Standing,
    signature,
};
use crate::{
    batcher::{Batch, BatchLimits, Batcher, subject},
    clock,
    error::Error,
    limits::COMMAND_DEADLINE,
};
use books::{Authorize, BookEntry, Books};
use chrono::{DateTime, Utc};
use flashsale_protocol::PaymentId;
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Calls in one statement.
const CALLS: BatchLimits = BatchLimits {
    items: 500,
    waiting: 20_000,
    deadline: COMMAND_DEADLINE,
    spacing: Duration::ZERO,
};

/// Payments on one page of the list.
const LISTED: i64 = 500;

/// The behaviour of a test card. "Slow" is `--sandbox-slow-ms`.
pub struct Card {
    pub token: &'static str,
    outcome: CardOutcome,
    reply: Reply,
    /// The capture call that succeeds; 0: the capture is refused.
    capture_at: i16,
    /// The refund call that succeeds; 0: refunds are refused.
    refund_at: i16,
    /// How many times each event is sent.
    webhooks: i16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CardOutcome {
    Authorized,
    Declined(&'static str),
    /// After the slow time the money is taken without asking, as with a bank transfer.
    Captured,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    AtOnce,
    /// After the slow time, with the decision made.
    Slow,
    /// After the webhook was delivered.
    AfterWebhook,
    /// "Processing" at once; the decision comes after the slow time.
    Processing,
    /// The decision is made, but the provider answers no call until the slow time is over.
    Lost,
    /// The provider never hears of it.
    NotReceived,
}

const APPROVE: Card = Card {
    token: "sandbox_approve",
    outcome: CardOutcome::Authorized,
    reply: Reply::AtOnce,
    capture_at: 1,
    refund_at: 1,
    webhooks: 0,
};

pub const CARDS: &[Card] = &[
    APPROVE,
    Card {
        token: "sandbox_decline",
        outcome: CardOutcome::Declined("the card was declined"),
        ..APPROVE
    },
    Card {
        token: "sandbox_insufficient_funds",
        outcome: CardOutcome::Declined("insufficient funds"),
        ..APPROVE
    },
    Card {
        token: "sandbox_slow",
        reply: Reply::Slow,
        webhooks: 1,
        ..APPROVE
    },
    Card {
        token: "sandbox_slow_decline",
        outcome: CardOutcome::Declined("the card was declined"),
        reply: Reply::Slow,
        webhooks: 1,
        ..APPROVE
    },
    Card {
        token: "sandbox_webhook_twice",
        webhooks: 2,
        ..APPROVE
    },
    Card {
        token: "sandbox_webhook_first",
        reply: Reply::AfterWebhook,
        webhooks: 1,
        ..APPROVE
    },
    Card {
        token: "sandbox_down",
        reply: Reply::Lost,
        ..APPROVE
    },
    Card {
        token: "sandbox_not_received",
        reply: Reply::NotReceived,
        ..APPROVE
    },
    Card {
        token: "sandbox_capture_fails",
        capture_at: 0,
        webhooks: 1,
        ..APPROVE
    },
    Card {
        token: "sandbox_capture_retry",
        capture_at: 3,
        refund_at: 3,
        ..APPROVE
    },
    Card {
        token: "sandbox_refund_refused",
        refund_at: 0,
        ..APPROVE
    },
    Card {
        token: "sandbox_late",
        outcome: CardOutcome::Captured,
        reply: Reply::Processing,
        webhooks: 1,
        ..APPROVE
    },
];

const UNKNOWN_CARD: Card = Card {
    token: "",
    outcome: CardOutcome::Declined("unknown test card"),
    ..APPROVE
};

/// Longest wait of a reply for its webhook, and the interval of its looks.
const WEBHOOK_FIRST_WAIT: Duration = Duration::from_secs(1);
const WEBHOOK_FIRST_LOOK: Duration = Duration::from_millis(10);

pub struct Sandbox {
    books: Arc<Books>,
    slow: Duration,
    authorize: Batcher<Authorize, BookEntry>,
    capture: Batcher<PaymentId, Option<BookEntry>>,
}

impl Sandbox {
    pub fn new(books: Books, slow_ms: u64) -> Self {
        let books = Arc::new(books);
        Self {
            slow: Duration::from_millis(slow_ms),
            authorize: Batcher::new(
                "sandbox_authorize",
                CALLS,
                |item| [subject(item.charge.payment)].into_iter().collect(),
                with(&books, Books::authorize),
            ),
            capture: Batcher::new(
                "sandbox_capture",
                CALLS,
                |payment| [subject(payment)].into_iter().collect(),
                with(&books, Books::capture),
            ),
            books,
        }
    }

    pub async fn authorize(&self, charge: Charge) -> ProviderAnswer<Standing> {
        let card = CARDS
            .iter()
            .find(|card| card.token == charge.token)
            .unwrap_or(&UNKNOWN_CARD);
        if card.reply == Reply::NotReceived {
            return std::future::pending().await;
        }
        let payment = charge.payment;
        let entry = self
            .authorize
            .submit(self.entry_of(card, charge))
            .await
            .map_err(silence)?;
        match card.reply {
            Reply::AtOnce | Reply::Processing | Reply::NotReceived => entry.standing(),
            Reply::Slow => {
                tokio::time::sleep(self.slow).await;
                self.standing(payment).await
            }
            Reply::AfterWebhook => {
                let told = self.webhook_told(payment);
                let _ = tokio::time::timeout(WEBHOOK_FIRST_WAIT, told).await;
                entry.standing()
            }
            Reply::Lost => std::future::pending().await,
        }
    }

    pub async fn capture(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        let before = self.capture.submit(payment).await.map_err(silence)?;
        match before.map_or(Ok(Standing::Unknown), |entry| entry.standing())? {
            // The call was counted, but went no further.
            Standing::Authorized { .. } => Err(Silence("the sandbox does not answer this capture".into())),
            standing => Ok(standing),
        }
    }

    pub async fn void(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        self.books.void(payment).await.map_err(silence)?.standing()
    }

    pub async fn refund(&self, payment: PaymentId, refund: &str, amount: i64) -> ProviderAnswer<Refunded> {
        let refunded = self
            .books
            .refund(payment, refund, amount)
            .await
            .map_err(silence)?;
        refunded.ok_or_else(|| Silence("the sandbox does not answer this refund".into()))
    }

    pub async fn standing(&self, payment: PaymentId) -> ProviderAnswer<Standing> {
        let entry = self.books.find(payment).await.map_err(silence)?;
        entry.map_or(Ok(Standing::Unknown), |entry| entry.standing())
    }

    pub async fn list(&self, since: DateTime<Utc>, after: Option<String>) -> ProviderAnswer<Page> {
        self.books
            .list(since, after.as_deref(), LISTED)
            .await
            .map_err(silence)
    }

    fn entry_of(&self, card: &Card, charge: Charge) -> Authorize {
        let slow_ms = self.slow.as_millis() as i64;
        let (status, event, reason) = match card.outcome {
            CardOutcome::Authorized => ("authorized", EventKind::Authorized, None),
            CardOutcome::Declined(reason) => ("declined", EventKind::Declined, Some(reason)),
            CardOutcome::Captured => ("captured", EventKind::Captured, None),
        };
        Authorize {
            status,
            reason,
            known_after_ms: match card.reply {
                Reply::Slow | Reply::Processing => slow_ms,
                _ => 0,
            },
            silent_for_ms: if card.reply == Reply::Lost { slow_ms } else { 0 },
            capture_at: card.capture_at,
            refund_at: card.refund_at,
            webhooks: card.webhooks,
            event: event_id(charge.payment, event),
            body: event_body(charge.payment, &charge, event, reason),
            card: card.token,
            charge,
        }
    }

    /// Somebody gives money back at the provider, under the provider's id; we hear of it by an event. False: there is no such
    /// money.
    pub async fn refund_there(&self, payment: PaymentId, refund: &str, amount: i64) -> Result<bool, Error> {
        self.books.refund_there(payment, refund, amount).await
    }

    /// The shopper's bank asks for the money back or (with an outcome) has decided. We hear of it by an event.
    pub async fn dispute(
        &self,
        payment: PaymentId,
        dispute: &str,
        outcome: Option<DisputeOutcome>,
    ) -> Result<(), Error> {
        self.books.dispute(payment, dispute, outcome).await
    }

    async fn webhook_told(&self, payment: PaymentId) {
        while !matches!(self.books.all_told(payment).await, Ok(true)) {
            tokio::time::sleep(WEBHOOK_FIRST_LOOK).await;
        }
    }
}

/// The id of a payment's event of this kind; each kind is sent as one event.
pub fn event_id(payment: PaymentId, kind: EventKind) -> String {
    format!("evt_{payment}_{}", kind.word())
}

fn event_body(payment: PaymentId, charge: &Charge, kind: EventKind, reason: Option<&str>) -> String {
    let body = EventBody {
        id: event_id(payment, kind),
        kind,
        payment,
        order: charge.order,
        amount: charge.amount,
        currency: charge.currency.clone(),
        reference: Some(reference(payment)),
        reason: reason.map(str::to_owned),
        refund: None,
        dispute: None,
        outcome: None,
    };
    serde_json::to_string(&body).unwrap_or_default()
}

/// The sandbox's own name for a payment.
pub fn reference(payment: PaymentId) -> String {
    format!("sandbox_{payment}")
}

/// Failures inside the provider are not our errors: to us it does not answer.
fn silence(error: Error) -> Silence {
    Silence(error.to_string())
}

/// A batch call on shared books.
fn with<I: Send + 'static, O: Send + 'static, Fut>(
    books: &Arc<Books>,
    call: fn(Arc<Books>, Batch<I>) -> Fut,
) -> impl Fn(Batch<I>) -> Fut + Send + Sync + 'static
where
    Fut: Future<Output = crate::error::Result<Vec<O>>> + Send + 'static,
{
    let books = books.clone();
    move |items| call(books.clone(), items)
}

/// Events sent in one step, pause between looks, and longest time of one delivery.
const DELIVERIES: i64 = 50;
const LOOK: Duration = Duration::from_millis(50);
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

impl Sandbox {
    /// Sends webhooks as a provider does: over HTTP, signed, repeated until accepted. Runs where there is a gateway to accept
    /// them.
    pub async fn deliver(
        &self,
        secret: &[u8],
        scheme: &str,
        gateway: SocketAddr,
        stopping: CancellationToken,
    ) {
        let host = if gateway.ip().is_unspecified() {
            SocketAddr::from(([127, 0, 0, 1], gateway.port()))
        } else {
            gateway
        };
        let url = format!("{scheme}://{host}/payments/webhook");
        let client = reqwest::Client::builder()
            .timeout(DELIVERY_TIMEOUT)
            // It is this very process; its certificate is for the name that shoppers know.
            .tls_danger_accept_invalid_certs(true)
            .build();
        let client = match client {
            Ok(client) => client,
            Err(error) => return tracing::error!(%error, "the sandbox cannot send webhooks"),
        };
        let step = async || -> Result<(), Error> {
            for (event, body) in self.books.due_events(DELIVERIES).await? {
                let now_s = clock::now_ms() / 1000;
                let sent = client
                    .post(&url)
                    .header(signature::HEADER, signature::sign(secret, body.as_bytes(), now_s))
                    .header("content-type", "application/json")
                    .body(body)
                    .send()
                    .await;
                match sent {
                    Ok(response) if response.status().is_success() => self.books.event_told(&event).await?,
                    Ok(response) => {
                        tracing::warn!(event, status = %response.status(), "a webhook was refused")
                    }
                    Err(error) => tracing::warn!(event, %error, "a webhook was not taken"),
                }
            }
            Ok(())
        };
        loop {
            if let Err(error) = step().await {
                tracing::warn!(%error, "the sandbox cannot read its books");
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

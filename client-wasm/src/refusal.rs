//! How a command ended, and why it did nothing.

use flashsale_protocol::{Code, OrderId, Reject, SaleId};
use serde::Serialize;

/// The server's word, or one of the client's own (`no_answer`, `not_sent`, `too_many_pending`).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Refusal {
    #[cfg_attr(test, ts(type = "Verb"))]
    pub verb: &'static str,
    pub code: String,
    pub message: String,
    pub retry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub order: Option<OrderId>,
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

    /// A sale that cannot be watched. The page has words for the code; the table of them all is not for the browser.
    pub fn unwatched(code: Code) -> Self {
        Self {
            retry: code.retry(),
            ..Self::own("watch", code.word(), "This sale cannot be watched.")
        }
    }

    pub fn no_answer(verb: &'static str) -> Self {
        Self::own(
            verb,
            "no_answer",
            "No answer came in time. What is shown here is what the server knows.",
        )
    }

    pub fn not_sent(verb: &'static str) -> Self {
        Self::own(verb, "not_sent", "It was not sent: there was no connection.")
    }

    pub fn too_many_pending(verb: &'static str) -> Self {
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

/// A command's end. What it has changed is in the view already.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Outcome {
    #[cfg_attr(test, ts(type = "Verb"))]
    pub verb: &'static str,
    pub sale: Option<SaleId>,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub error: Option<Refusal>,
}

impl Outcome {
    pub fn new(verb: &'static str, sale: Option<SaleId>, outcome: Result<(), Refusal>) -> Self {
        Self {
            verb,
            sale,
            ok: outcome.is_ok(),
            error: outcome.err(),
        }
    }
}

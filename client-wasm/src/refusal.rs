//! The reason why a command did nothing.

use flashsale_protocol::{OrderId, Reject};
use serde::Serialize;

/// The server's word, or one of the client's own (`no_answer`, `too_many_pending`).
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

    pub fn no_answer(verb: &'static str) -> Self {
        Self::own(
            verb,
            "no_answer",
            "No answer came in time. What is shown here is what the server knows.",
        )
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

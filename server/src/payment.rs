//! The built-in sandbox payment provider. It decides at once, from the token alone:
//!
//! | token | outcome |
//! |---|---|
//! | `sandbox_approve` | approved |
//! | `sandbox_decline` | declined: insufficient funds |
//! | anything else | declined: unknown test card |

use flashsale_protocol::Payment;

pub const PROVIDER: &str = "sandbox";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    Approved { reference: String },
    Declined { reason: &'static str },
}

/// Asks whether this payment may be taken. Takes nothing yet: the order is confirmed first.
pub fn authorize(payment: &Payment) -> Authorization {
    match payment.token.as_str() {
        "sandbox_approve" => Authorization::Approved {
            reference: format!("sandbox_{:016x}", rand::random::<u64>()),
        },
        "sandbox_decline" => Authorization::Declined {
            reason: "insufficient funds",
        },
        _ => Authorization::Declined {
            reason: "unknown test card",
        },
    }
}

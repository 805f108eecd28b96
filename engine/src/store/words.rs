//! The meaning of words stored in Postgres.

use crate::error::{Error, Result};
use flashsale_protocol::{Code, OrderStatus};

/// The code under which something was refused. An unknown word comes from a later release and counts as `Internal`.
pub(super) fn code_of(word: &str) -> Code {
    Code::ALL
        .iter()
        .copied()
        .find(|code| code.word() == word)
        .unwrap_or_else(|| {
            tracing::error!(
                word,
                "a refusal in Postgres has a code that this release does not know"
            );
            Code::Internal
        })
}

pub(super) fn order_status(word: &str) -> Result<OrderStatus> {
    Ok(match word {
        "pending" => OrderStatus::Pending,
        "confirmed" => OrderStatus::Confirmed,
        "cancelled" => OrderStatus::Cancelled,
        other => return Err(Error::unexpected(format!("an order in the state {other:?}"))),
    })
}

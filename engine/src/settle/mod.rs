//! What commands, workers and operators share: how one thing is settled, whoever has begun it.

pub mod checkout;
pub mod disaster;
pub mod ending;
pub mod history;
pub mod lanes;
pub mod paid;
pub mod supply;

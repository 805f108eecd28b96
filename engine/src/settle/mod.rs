//! Shared by commands, workers and operators: each thing is settled in one way, whoever began it.

pub mod capture;
pub mod checkout;
pub mod disaster;
pub mod ending;
pub mod history;
pub mod lanes;
pub mod paid;
pub mod supply;

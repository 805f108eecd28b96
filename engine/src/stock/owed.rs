//! What all processes together have let somebody ask for.

use super::{Stock, scripts::OWE};
use crate::{
    boxed,
    error::{Error, Result},
};
use std::time::Duration;

impl Stock {
    /// Adds what this process has let through (µs of its askers' time; below 0: given back). Returns for each how far its time is
    /// ahead of now. It is not for repeating: a call whose answer was lost may have counted.
    #[boxed]
    pub async fn owe(&self, costs: &[(String, i64)]) -> Result<Vec<Duration>> {
        let args = costs
            .iter()
            .flat_map(|(who, cost)| [who.clone(), cost.to_string()]);
        let answer = self.runner.on_all(&OWE, args.collect()).await?;
        let ahead = answer.iter().map(|us| us.parse().map(Duration::from_micros));
        let ahead: Result<Vec<Duration>, _> = ahead.collect();
        match ahead {
            Ok(ahead) if ahead.len() == costs.len() => Ok(ahead),
            _ => Err(Error::unexpected("owe: an answer that is none")),
        }
    }
}

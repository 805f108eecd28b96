//! Limits that hold over processes: each tells Redis what it has let through, and hears what all have.
//!
//! A process knows of the others half a second later. What they allowed too much until then is owed, and is waited for.

use crate::budget::Budget;
use flashsale_engine::stock::Stock;
use std::{hash::Hash, time::Duration};

/// How often a process tells.
pub(crate) const EVERY: Duration = Duration::from_millis(500);
/// Askers of one budget that are told of at once; others wait for the next time.
const MOST: usize = 2_000;

/// Tells of one budget, whose askers are written by `text`. Without Redis each process goes by what it knows, and what it lets through
/// meanwhile is forgotten.
pub(crate) async fn share<K: Hash + Eq + Clone>(
    stock: &Stock,
    name: &str,
    budget: &Budget<K>,
    text: impl Fn(&K) -> String,
) {
    let untold = budget.untold(MOST);
    if untold.is_empty() {
        return;
    }
    let costs: Vec<(String, i64)> = untold
        .iter()
        .map(|(key, cost)| (format!("{name}:{}", text(key)), *cost))
        .collect();
    match stock.owe(&costs).await {
        Ok(ahead) => {
            for ((key, _), ahead) in untold.iter().zip(ahead) {
                budget.hear(key, ahead);
            }
        }
        Err(error) => tracing::debug!(%error, name, "a limit could not be shared"),
    }
}

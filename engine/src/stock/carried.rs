//! What the shop can carry, as a sale's leader has found: kept for operators to see.

use super::Stock;
use crate::{boxed, error::Result};
use flashsale_protocol::SaleId;
use fred::prelude::*;
use std::time::Duration;

/// Longer than the time between two looks of the governor and than a change of leaders.
const KEPT_MS: i64 = 5_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carried {
    /// People a second at most.
    pub limit: f64,
    /// Mean time of the slowest step of a purchase.
    pub delay: Duration,
    /// It is less than the sale's inflow.
    pub is_limiting: bool,
}

impl Stock {
    pub(crate) async fn note_carried(&self, sale: SaleId, carried: Carried) -> Result<()> {
        let key = self.keys().sale("carried", sale);
        let (delay, limits) = (carried.delay.as_micros(), u8::from(carried.is_limiting));
        let note = format!("{} {delay} {limits}", carried.limit);
        let _: () = self
            .client()
            .set(key, note, Some(Expiration::PX(KEPT_MS)), None, false)
            .await?;
        Ok(())
    }

    /// None: nobody measures it now.
    #[boxed]
    pub async fn carried(&self, sale: SaleId) -> Result<Option<Carried>> {
        let note: Option<String> = self.client().get(self.keys().sale("carried", sale)).await?;
        Ok(note.as_deref().and_then(read))
    }
}

fn read(note: &str) -> Option<Carried> {
    let mut words = note.split(' ');
    Some(Carried {
        limit: words.next()?.parse().ok()?,
        delay: Duration::from_micros(words.next()?.parse().ok()?),
        is_limiting: words.next()? == "1",
    })
}

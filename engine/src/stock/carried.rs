//! What the shop can carry, as a sale's leader has found: kept for operators to see, and for the leaders after it.

use super::Stock;
use crate::{boxed, error::Result};
use flashsale_protocol::SaleId;
use fred::prelude::*;
use std::time::Duration;

/// Longer than the time between two looks of the governor and than a change of leaders.
const KEPT_MS: i64 = 5_000;
/// A shop's machines and habits change: older experience is no help.
const REMEMBERED_S: i64 = 30 * 24 * 3_600;

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

    /// Keeps what a gateway carries, in people a second, for the leaders after this one.
    pub(crate) async fn remember_carried(&self, carried: f64) -> Result<()> {
        let (key, kept) = (self.keys().all_sales("carried"), Expiration::EX(REMEMBERED_S));
        let _: () = self
            .client()
            .set(key, carried.to_string(), Some(kept), None, false)
            .await?;
        Ok(())
    }

    /// What a gateway carried when the stores were busy last.
    #[boxed]
    pub(crate) async fn remembered_carried(&self) -> Result<Option<f64>> {
        let note: Option<String> = self.client().get(self.keys().all_sales("carried")).await?;
        let carried = note.and_then(|note| note.parse().ok());
        Ok(carried.filter(|carried: &f64| carried.is_finite() && *carried > 0.0))
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

//! A sale as a whole: its settings in Redis, and who leads it.

use super::{
    Stock,
    scripts::{LEAD, OPEN_SALE},
};
use crate::{
    boxed,
    error::Result,
    sale::{Sale, ms, phase_word},
};
use flashsale_protocol::{Phase, SaleId};
use std::time::Duration;

impl Stock {
    /// Writes a sale's settings into Redis; its lanes are opened one by one.
    #[boxed]
    pub async fn open_sale(&self, sale: &Sale) -> Result<()> {
        let phase = match sale.status {
            Phase::Scheduled | Phase::Waiting => "open",
            other => phase_word(other),
        };
        let settings = vec![
            phase.to_owned(),
            ms(sale.room_opens_at).to_string(),
            ms(sale.start_time).to_string(),
            ms(sale.end_time).to_string(),
            sale.lanes.len().to_string(),
        ];
        self.runner.on_sale(&OPEN_SALE, sale.id, settings).await?;
        Ok(())
    }

    /// Whether this token leads the sale now. A lease of 0 steps down.
    pub async fn lead(&self, sale: SaleId, token: &str, lease: Duration) -> Result<bool> {
        let args = vec![token.to_owned(), lease.as_millis().to_string()];
        let answer = self.runner.on_sale(&LEAD, sale, args).await?;
        Ok(answer.first().is_some_and(|word| word == "yes"))
    }
}

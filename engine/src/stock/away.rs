//! People who are away from the line: they are marked, and in the end taken out.

use super::{
    BATCH, Stock,
    answer::{At, ScriptAnswer, timed},
    deadlines::EXPIRE_BATCH,
    scripts::{EXPIRE_ABSENT, GO_AWAY},
};
use crate::{
    batcher::{Batch, Batcher, nobody_s},
    error::Result,
};
use flashsale_protocol::{SaleId, ShopperId};

impl Stock {
    /// Marks shoppers whose last socket here has closed. Does not wait: an unmarked one is called in vain, no more.
    pub fn go_away(&self, sale: SaleId, shopper: ShopperId) -> Result<()> {
        self.go_away.post(&sale, shopper, || {
            let runner = self.runner.clone();
            Batcher::new("go_away", BATCH, nobody_s, move |shoppers: Batch<ShopperId>| {
                let runner = runner.clone();
                async move {
                    let args = shoppers.iter().map(ShopperId::to_string).collect();
                    runner.on_sale(&GO_AWAY, sale, args).await?;
                    Ok(vec![(); shoppers.len()])
                }
            })
        })
    }

    /// Marks many shoppers as away, and waits for it.
    pub async fn mark_away(&self, sale: SaleId, shoppers: &[ShopperId]) -> Result<()> {
        let args = shoppers.iter().map(ShopperId::to_string).collect();
        self.runner.on_sale(&GO_AWAY, sale, args).await?;
        Ok(())
    }

    /// Takes people out of the line who have been absent this long.
    pub async fn expire_absent(&self, sale: SaleId, absence_ms: u64) -> Result<At<Vec<ShopperId>>> {
        let args = vec![absence_ms.to_string(), EXPIRE_BATCH.to_string()];
        let answers = self.runner.on_sale(&EXPIRE_ABSENT, sale, args).await?;
        let (now, answers) = timed(&answers)?;
        let value = answers
            .iter()
            .map(|text| ScriptAnswer::of(text).parse(0))
            .collect::<Result<_>>()?;
        Ok(At { now, value })
    }
}

//! Payments. Each is written down before the provider is asked, and settled with its order in one group commit.
//! `payment/state.rs` decides what an outcome means.

mod ask_refund;
mod begin;
mod due;
mod events;
mod handoff;
mod late;
mod of_order;
mod refunds;
mod report;
mod rows;

pub use ask_refund::{AskRefund, RefundAsked};
pub use begin::{NewPayment, PaymentBegun};
pub use due::{Due, DueRefund, Unsettled};
pub use handoff::{AskedRefund, RefundOf};
pub use late::Revived;
pub use of_order::{DisputeRow, EventRow, OrderMoney};
pub use refunds::RefundRow;
pub use report::Reported;

use super::Store;
use crate::{
    boxed,
    error::{Error, Result},
    payment::{Event, Fact, state::State},
    store::audit::Actor,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{OrderId, PaymentId, SaleId};
use rows::load_payments;

#[derive(Debug, Clone)]
pub struct PaymentRow {
    pub payment: PaymentId,
    pub order: OrderId,
    /// Who moves its money, whatever provider is set now.
    pub provider: String,
    pub currency: String,
    pub answered_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub state: State,
}

/// A message of the provider about a payment.
#[derive(Debug, Clone)]
pub struct Report {
    pub payment: PaymentId,
    pub order: OrderId,
    pub fact: Fact,
    /// None: it was an answer to our own call, or told by the shop.
    pub event: Option<Event>,
    /// Who tells it for the shop; None: the provider, or the server itself.
    pub by: Option<Actor>,
    /// The reporter captures the money itself, if it is to be captured, and needs this long at most; only then a worker does.
    pub captures_within_ms: Option<u64>,
}

impl Store {
    #[boxed]
    pub async fn payment(&self, payment: PaymentId) -> Result<Option<PaymentRow>> {
        let mut rows = load_payments(
            &mut *self.pools.operations.acquire().await?,
            &[payment.to_string()],
        )
        .await?;
        Ok(rows.remove(&payment.to_string()))
    }

    /// Finds money and units of a sale that do not belong together although nothing is left to do: one line each. There must
    /// never be any (I6).
    pub async fn money_without_units(&self, sale: SaleId) -> Result<Vec<String>> {
        let rows = sqlx::query!(
            r#"SELECT o.order_id, o.status, o.amount - o.refunded AS "due!", count(*) FILTER (WHERE p.pays) AS "pays!",
                coalesce(sum(p.amount - p.refunded) FILTER (WHERE p.status IN ('captured', 'refunding', 'refunded')), 0)::bigint
                    AS "kept!"
               FROM flash_sale_orders o LEFT JOIN payments p USING (order_id)
               WHERE o.sale_id = $1
               GROUP BY o.order_id
               HAVING count(p.todo) = 0 AND (o.amount > 0 OR count(p.*) > 0)
                  AND NOT EXISTS (SELECT 1 FROM refunds r JOIN payments q USING (payment_id)
                                  WHERE q.order_id = o.order_id AND r.status IN ('wanted', 'refused'))
                  AND CASE o.status WHEN 'confirmed'
                      THEN count(*) FILTER (WHERE p.pays) <> 1
                        OR coalesce(sum(p.amount - p.refunded) FILTER (WHERE p.status IN ('captured', 'refunding', 'refunded')), 0)
                            <> o.amount - o.refunded
                      ELSE coalesce(sum(p.amount - p.refunded) FILTER (WHERE p.status IN ('captured', 'refunding', 'refunded')), 0)
                            <> 0 END"#,
            sale.to_string(),
        )
        .fetch_all(&self.pools.purchases)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                format!(
                    "the {} order {} with {} payments has {} of {}",
                    row.status, row.order_id, row.pays, row.kept, row.due
                )
            })
            .collect())
    }
}

fn bad(what: &str) -> Error {
    Error::unexpected(format!("a payment with a bad {what}"))
}

//! Refunds by operators: a new one, or another try for one that the provider has refused.

use super::{
    refunds::RefundRow,
    rows::{load_payments, save},
};
use crate::{
    boxed,
    error::Result,
    store::{
        Cancelled, OrderRow,
        audit::Kind,
        commands::{self, NewCommand},
        operators::OperatorChange,
        orders::{self, CancelledBy},
    },
};
use flashsale_protocol::{Code, CommandId, OrderId, OrderStatus, Reason};
use serde_json::json;
use std::collections::HashMap;

/// An operator's request for a refund.
#[derive(Debug, Clone)]
pub struct AskRefund {
    pub order: OrderId,
    pub command: CommandId,
    pub digest: Vec<u8>,
    /// None: the whole rest.
    pub amount: Option<i64>,
    pub reason: String,
}

#[derive(Debug, Clone)]
pub struct RefundAsked {
    pub order: OrderRow,
    /// None: the order cost nothing.
    pub refund: Option<RefundRow>,
    /// The refund has just ended the order: its units must be returned.
    pub cancelled: Option<Cancelled>,
}

impl OperatorChange {
    /// An operator lets a refused refund be tried again. A running or finished refund stays as it is. None: the order has no such
    /// refund.
    #[boxed]
    pub async fn retry_refund(&mut self, order: OrderId, refund: &str) -> Result<Option<RefundRow>> {
        let retried = sqlx::query!(
            "UPDATE refunds r SET status = 'wanted', refusals = 0, tries = 0, todo_at = clock_timestamp()
             FROM payments p
             WHERE r.refund_id = $1 AND r.status = 'refused' AND p.payment_id = r.payment_id AND p.order_id = $2",
            refund,
            order.to_string(),
        )
        .execute(self.connection())
        .await?
        .rows_affected();
        let row = sqlx::query_as!(
            RefundRow,
            "SELECT r.refund_id, r.amount, r.status, r.actor, r.reason, r.created_at, r.done_at, r.refusal
             FROM refunds r JOIN payments p USING (payment_id) WHERE r.refund_id = $1 AND p.order_id = $2",
            refund,
            order.to_string(),
        )
        .fetch_optional(self.connection())
        .await?;
        if let Some(row) = row.as_ref().filter(|_| retried > 0) {
            let lane = sqlx::query_scalar!(
                "SELECT lane FROM flash_sale_orders WHERE order_id = $1",
                order.to_string(),
            )
            .fetch_one(self.connection())
            .await?;
            let data = json!({ "order": order, "lane": lane, "refund": refund, "amount": row.amount });
            self.note(Kind::RefundRetried, data);
        }
        Ok(row)
    }

    /// An operator gives money back. If that is all of it, the order ends and its units are for sale again.
    #[boxed]
    pub async fn ask_refund(&mut self, ask: AskRefund) -> Result<std::result::Result<RefundAsked, Code>> {
        let (actor, subject) = (self.actor(), self.subject().to_owned());
        let ids = [ask.order.to_string()];
        let Some(mut order) = orders::lock(self.connection(), &ids).await?.remove(&ids[0]) else {
            return Ok(Err(Code::OrderUnknown));
        };
        let paying = sqlx::query_scalar!(
            "SELECT payment_id FROM payments WHERE order_id = $1 AND pays FOR UPDATE",
            &ids[0],
        )
        .fetch_optional(self.connection())
        .await?;
        let mut payment = match &paying {
            Some(id) => load_payments(self.connection(), std::slice::from_ref(id))
                .await?
                .remove(id),
            None => None,
        };
        let command = ask.command.to_string();
        let name = (subject.clone(), command.clone());
        if let Some(known) = commands::known(self.connection(), [name.clone()])
            .await?
            .get(&name)
        {
            if let Err(code) = known.answer(&ask.digest) {
                return Ok(Err(code));
            }
            let refund = sqlx::query_as!(
                RefundRow,
                "SELECT refund_id, amount, status, actor, reason, created_at, done_at, refusal FROM refunds
                 WHERE actor = $1 AND command_id = $2",
                &subject,
                &command,
            )
            .fetch_optional(self.connection())
            .await?;
            return Ok(Ok(RefundAsked {
                order,
                refund,
                cancelled: None,
            }));
        }
        let is_free = order.amount == 0 && order.status == OrderStatus::Confirmed;
        let asked = match &mut payment {
            _ if is_free => Ok(0),
            None => Err(Code::NotPaid),
            Some(payment) => payment.state.ask_refund(ask.amount),
        };
        let new = NewCommand {
            shopper: &subject,
            command: ask.command,
            digest: &ask.digest,
            order: ask.order,
            refusal: asked.err(),
        };
        if commands::note(self.connection(), vec![new]).await?.is_empty() {
            // Another order is using the same id at this moment.
            return Ok(Err(Code::CommandIdReused));
        }
        let amount = match asked {
            Ok(amount) => amount,
            Err(code) => {
                return Ok(Err(code));
            }
        };
        let mut refund = None;
        if let Some(payment) = payment.as_ref().filter(|_| amount > 0) {
            let row = sqlx::query_as!(
                RefundRow,
                "INSERT INTO refunds (refund_id, payment_id, amount, actor, command_id, reason)
                 SELECT $1 || '-' || (count(*) + 1), $1, $2, $3, $4, $5 FROM refunds WHERE payment_id = $1
                 RETURNING refund_id, amount, status, actor, reason, created_at, done_at, refusal",
                payment.payment.to_string(),
                amount,
                &subject,
                &command,
                &ask.reason,
            )
            .fetch_one(self.connection())
            .await?;
            save(self.connection(), &[payment], &HashMap::new()).await?;
            refund = Some(row);
        }
        let all_back = payment
            .as_ref()
            .is_none_or(|payment| payment.state.refund_asked == payment.state.amount);
        let mut cancelled = None;
        if order.status == OrderStatus::Confirmed && all_back {
            let orders = std::slice::from_ref(&order);
            let by = CancelledBy::One(actor);
            cancelled = orders::cancel_rows(self.connection(), orders, Reason::Refunded, by)
                .await?
                .pop();
        }
        if let Some(cancelled) = &cancelled {
            order = cancelled.order.clone();
        }
        let payment = payment.map(|payment| payment.payment);
        let data = json!({
            "order": order.order, "lane": order.lane, "payment": payment, "amount": amount, "reason": ask.reason,
        });
        self.note(Kind::RefundAsked, data);
        Ok(Ok(RefundAsked {
            order,
            refund,
            cancelled,
        }))
    }
}

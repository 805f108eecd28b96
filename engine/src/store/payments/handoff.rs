//! Hand-offs: what a shop's backend tells of its checkout, and the refunds that it is asked for.

use super::{PaymentRow, bad};
use crate::{
    error::Result,
    mutation::Mutation,
    payment::{
        MERCHANT,
        handoff::Told,
        state::{OrderNow, Step},
    },
    sale::ms,
    store::{
        OrderRow, Store,
        audit::{Actor, AuditRow, Kind},
    },
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, CommandId, OrderId, PaymentId, SaleId};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// How many tokens of one payment can be redeemed. Each stands for a visit of the shopper to the checkout.
const TOKENS_OF_PAYMENT: i64 = 100;

/// A refund that a shop is asked for.
#[derive(Debug, Clone)]
pub struct AskedRefund {
    pub refund: String,
    pub payment: PaymentId,
    pub order: OrderId,
    pub sale: SaleId,
    pub amount: i64,
    pub currency: String,
    /// The shop's own name for the payment.
    pub reference: String,
    pub reason: String,
    pub status: String,
    pub created_at: DateTime<Utc>,
}

/// Which refunds.
#[derive(Debug, Clone, Copy)]
pub enum RefundOf<'a> {
    /// Open ones of this merchant, or of all, after this id.
    Merchant(Option<&'a str>, &'a str, i64),
    One(&'a str),
}

impl Store {
    /// The open payment of an order at the shop's checkout.
    pub(crate) async fn open_handoff(&self, order: OrderId) -> Result<Option<PaymentRow>> {
        let id = sqlx::query_scalar!(
            "SELECT payment_id FROM payments WHERE order_id = $1 AND answer IS NULL AND provider = $2",
            order.to_string(),
            MERCHANT,
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        match id {
            Some(id) => self.payment(id.parse().map_err(|_| bad("id"))?).await,
            None => Ok(None),
        }
    }

    /// Refunds of hand-offs, in the order of their ids.
    pub async fn handoff_refunds(&self, of: RefundOf<'_>) -> Result<Vec<AskedRefund>> {
        let (one, merchant, after, limit) = match of {
            RefundOf::Merchant(merchant, after, limit) => (None, merchant, after, limit),
            RefundOf::One(refund) => (Some(refund), None, "", 1),
        };
        sqlx::query!(
            "SELECT r.refund_id, r.payment_id, p.order_id, o.sale_id, r.amount, p.currency, p.reference, r.reason, r.status,
                r.created_at
             FROM refunds r JOIN payments p USING (payment_id) JOIN flash_sale_orders o ON o.order_id = p.order_id
                JOIN flash_sales s USING (sale_id)
             WHERE p.provider = $1 AND ($2::text IS NULL OR s.merchant_id = $2) AND r.refund_id > $3
                AND CASE WHEN $4::text IS NULL THEN r.status = 'wanted' ELSE r.refund_id = $4 END
             ORDER BY r.refund_id LIMIT $5",
            MERCHANT,
            merchant,
            after,
            one,
            limit,
        )
        .fetch_all(&self.pools.operations)
        .await?
        .into_iter()
        .map(|row| {
            Ok(AskedRefund {
                payment: row.payment_id.parse().map_err(|_| bad("id"))?,
                order: row.order_id.parse().map_err(|_| bad("order"))?,
                sale: row.sale_id.parse().map_err(|_| bad("sale"))?,
                refund: row.refund_id,
                amount: row.amount,
                currency: row.currency,
                reference: row.reference.unwrap_or_default(),
                reason: row.reason,
                status: row.status,
                created_at: row.created_at,
            })
        })
        .collect()
    }
}

/// The effect of what was told.
#[derive(Default)]
pub(super) struct Heard {
    pub step: Option<Step>,
    pub refusal: Option<Code>,
    pub entry: Option<AuditRow>,
    /// The order waits longer: its shopper should see that.
    pub is_extended: bool,
}

/// Takes in what a shop tells of a locked payment and its locked order.
pub(super) async fn hear(
    connection: &mut PgConnection,
    told: &Told,
    row: &OrderRow,
    payment: &mut PaymentRow,
    now: OrderNow,
    by: &Actor,
) -> Result<Heard> {
    let entry = |kind: Kind, id: PaymentId, more: Value| {
        let mut data = json!({ "order": row.order, "lane": row.lane, "payment": id });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        Some(AuditRow {
            sale: row.sale,
            actor: by.clone(),
            kind,
            data,
        })
    };
    let id = payment.payment;
    let mut heard = Heard::default();
    match told {
        Told::Redeemed { token, key } => {
            let first = redeem(
                connection,
                id,
                *token,
                *key,
                by,
                payment.state.handoff_closed(now),
            )
            .await?;
            match first {
                Ok(true) => heard.entry = entry(Kind::HandoffRedeemed, id, json!({ "token": token })),
                Ok(false) => {}
                Err(code) => heard.refusal = Some(code),
            }
        }
        Told::Ready { amount, currency, .. }
            if *amount != payment.state.amount || *currency != payment.currency =>
        {
            heard.refusal = Some(Code::PaymentMismatch);
            let expected = json!({ "amount": payment.state.amount, "currency": payment.currency });
            let data = json!({ "expected": expected, "told": { "amount": amount, "currency": currency } });
            heard.entry = entry(Kind::PaymentMismatch, id, data);
        }
        Told::Ready { reference, .. } if payment.state.is_other_charge(reference) => {
            heard.refusal = Some(Code::PaymentMismatch);
            let expected = json!({ "reference": payment.state.reference });
            let data = json!({ "expected": expected, "told": { "reference": reference } });
            heard.entry = entry(Kind::PaymentMismatch, id, data);
        }
        Told::Ready { reference, .. } => {
            let was_open = payment.state.answer.is_none();
            heard.step = Some(payment.state.handoff_ready(now, reference));
            // The order's own row tells of a yes: the order is confirmed now.
            let now = OrderNow {
                status: match heard.step {
                    Some(Step::Confirm) => flashsale_protocol::OrderStatus::Confirmed,
                    _ => now.status,
                },
                ..now
            };
            let is_refused = !Mutation::CaptureAnyway.is_on();
            heard.refusal = payment.state.may_capture(now).err().filter(|_| is_refused);
            if let Some(code) = heard.refusal.filter(|_| was_open) {
                heard.entry = entry(Kind::HandoffRefused, id, json!({ "code": code }));
            }
        }
        Told::Failed { reason } => {
            let was = payment.state.status;
            match payment.state.handoff_failed(now, reason) {
                Ok(step) => heard.step = Some(step),
                Err(code) => heard.refusal = Some(code),
            }
            if payment.state.status != was {
                let data = json!({ "was": was.word(), "reason": reason });
                heard.entry = entry(Kind::HandoffFailed, id, data);
            }
        }
        Told::Extended { until } => match payment.state.handoff_closed(now) {
            Some(code) => heard.refusal = Some(code),
            // Never shorter: an old request may come again.
            None if *until <= row.expires_at => {}
            None => {
                extend(connection, row.order, id, *until).await?;
                heard.is_extended = true;
                let data = json!({ "from": ms(row.expires_at), "to": ms(*until) });
                heard.entry = entry(Kind::OrderExtended, id, data);
            }
        },
        Told::Over => payment.state.handoff_over(now),
    }
    Ok(heard)
}

/// Notes a token as used. True: this was its first use; false: the same request came again.
async fn redeem(
    connection: &mut PgConnection,
    payment: PaymentId,
    token: CommandId,
    key: Option<CommandId>,
    by: &Actor,
    closed: Option<Code>,
) -> Result<std::result::Result<bool, Code>> {
    let (payment, token) = (payment.to_string(), token.to_string());
    let key = key.map(|key| key.to_string());
    let known = sqlx::query!(
        "SELECT redeemed_by, command_id FROM handoff_tokens WHERE payment_id = $1 AND token_id = $2",
        payment,
        token,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(known) = known {
        let is_same = key.is_some() && known.command_id == key && known.redeemed_by == by.word();
        return Ok(if is_same {
            Ok(false)
        } else {
            Err(Code::HandoffUsed)
        });
    }
    if let Some(code) = closed {
        return Ok(Err(code));
    }
    let noted = sqlx::query!(
        "INSERT INTO handoff_tokens (payment_id, token_id, redeemed_by, command_id)
         SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM handoff_tokens WHERE payment_id = $1) < $5",
        payment,
        token,
        &*by.word(),
        key,
        TOKENS_OF_PAYMENT,
    )
    .execute(connection)
    .await?
    .rows_affected();
    Ok(if noted > 0 {
        Ok(true)
    } else {
        Err(Code::HandoffUsed)
    })
}

/// The order waits until then, and its payment is looked at when that is over.
async fn extend(
    connection: &mut PgConnection,
    order: OrderId,
    payment: PaymentId,
    until: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE flash_sale_orders SET expires_at = $2, changed_at = clock_timestamp() WHERE order_id = $1",
        order.to_string(),
        until,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE payments SET todo_at = $2 WHERE payment_id = $1 AND todo IS NOT NULL",
        payment.to_string(),
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

//! Late money: it came after the order's units had gone back. The order gets units again, or the money goes back.

use super::{
    refunds::refund_all,
    rows::{lock_payments, save},
};
use crate::{
    error::{Error, Result},
    payment::state::Todo,
    sale::LaneRef,
    store::{
        OrderRow, Store,
        audit::{self, Actor, AuditRow, Kind},
        orders::{self, load},
    },
};
use flashsale_protocol::{OrderId, OrderStatus, PaymentId, Reason};
use serde_json::json;
use std::collections::HashMap;

#[derive(Debug, Clone)]
pub enum Revived {
    Ok(Box<OrderRow>),
    /// Postgres has no unit for it.
    Refused,
    /// It was settled meanwhile.
    Settled,
}

impl Store {
    /// Gives units again to an order whose money came too late, if the guard allows it. Before this, the units were taken from
    /// the lane in Redis, under this epoch.
    pub async fn revive(&self, at: LaneRef, payment: PaymentId, order: OrderId) -> Result<Revived> {
        let mut tx = self.pools.purchases.begin().await?;
        let ids = [order.to_string()];
        let Some(row) = orders::lock(&mut tx, &ids).await?.remove(&ids[0]) else {
            return Ok(Revived::Settled);
        };
        let Some(mut payment) = lock_payments(&mut tx, &[payment.to_string()])
            .await?
            .into_values()
            .next()
            .filter(|payment| payment.state.todo == Some(Todo::Revive))
        else {
            return Ok(Revived::Settled);
        };
        if !is_unpaid(&row) {
            return Ok(Revived::Refused);
        }
        let guarded = sqlx::query!(
            "UPDATE sale_lanes SET allocated = allocated + $4, confirmed = confirmed + $4
             WHERE sale_id = $1 AND lane = $2 AND epoch = $3 AND allocated + $4 <= supply",
            at.sale.to_string(),
            at.lane as i16,
            at.epoch as i32,
            row.quantity as i32,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if guarded == 0 {
            return Ok(Revived::Refused);
        }
        sqlx::query!(
            "UPDATE flash_sale_orders SET status = 'confirmed', reason = NULL, changed_at = clock_timestamp()
             WHERE order_id = $1",
            &ids[0],
        )
        .execute(&mut *tx)
        .await?;
        payment.state.revived();
        save(&mut tx, &[&payment], &HashMap::new()).await?;
        let payment = json!({ "payment": payment.payment });
        let entry = AuditRow::of_order(Kind::OrderRevived, Actor::Worker, &row, payment);
        audit::write(&mut tx, &[entry]).await?;
        let row = load(&mut tx, &ids).await?.remove(&ids[0]);
        tx.commit().await?;
        row.map(|row| Revived::Ok(Box::new(row)))
            .ok_or_else(|| Error::unexpected("an order has vanished"))
    }

    /// No unit was found for late money, so it goes back. Returns the order, if something was left to do.
    pub(crate) async fn send_back(&self, payment: PaymentId, order: OrderId) -> Result<Option<OrderRow>> {
        let mut tx = self.pools.purchases.begin().await?;
        let ids = [order.to_string()];
        let row = orders::lock(&mut tx, &ids).await?.remove(&ids[0]);
        let payment = lock_payments(&mut tx, &[payment.to_string()])
            .await?
            .into_values()
            .next();
        let (Some(row), Some(mut payment)) = (row, payment) else {
            return Ok(None);
        };
        if payment.state.todo != Some(Todo::Revive) {
            return Ok(None);
        }
        payment.state.not_revived();
        save(&mut tx, &[&payment], &HashMap::new()).await?;
        let entries = refund_all(&mut tx, &[(&payment, &row)]).await?;
        audit::write(&mut tx, &entries).await?;
        tx.commit().await?;
        Ok(Some(row))
    }
}

/// Whether the order was cancelled because its time ran out, by nobody's wish.
pub(super) fn is_unpaid(row: &OrderRow) -> bool {
    row.status == OrderStatus::Cancelled && row.reason == Some(Reason::Unpaid)
}

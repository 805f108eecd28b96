//! An operator cancels an order that is not paid.

use super::{
    cancel::{Cancelled, CancelledBy, cancel_rows},
    rows::lock,
};
use crate::{boxed, error::Result, store::operators::OperatorChange};
use flashsale_protocol::{Code, OrderId, OrderStatus, Reason};

impl OperatorChange {
    /// Cancels a pending order: its units are for sale again. Money that comes for it later goes back.
    #[boxed]
    pub async fn cancel_order(&mut self, order: OrderId) -> Result<std::result::Result<Cancelled, Code>> {
        let actor = self.actor();
        let id = order.to_string();
        let row = lock(self.connection(), std::slice::from_ref(&id))
            .await?
            .remove(&id);
        let Some(row) = row.filter(|row| row.quantity > 0) else {
            return Ok(Err(Code::OrderUnknown));
        };
        match row.status {
            OrderStatus::Pending => {}
            // Its money must go back: a refund ends it.
            OrderStatus::Confirmed => return Ok(Err(Code::OrderConfirmed)),
            OrderStatus::Cancelled => return Ok(Err(Code::OrderCancelled)),
        }
        let by = CancelledBy::One(actor);
        let cancelled = cancel_rows(self.connection(), &[row], Reason::ByShop, by)
            .await?
            .pop();
        cancelled
            .map(Ok)
            .ok_or_else(|| crate::error::Error::unexpected("an order has vanished"))
    }
}

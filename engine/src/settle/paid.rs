//! What the payment provider has said, told to the shopper.

use crate::{shop::Shop, store::payments::Reported};
use flashsale_protocol::ServerMessage;

/// Tells the shopper what the provider's news has changed.
pub fn tell(shop: &Shop, reported: &Reported) {
    if reported.changed {
        let order = &reported.order;
        shop.live.tell(
            order.sale,
            order.shopper.clone(),
            ServerMessage::Order(order.view()),
        );
    }
}

//! Tells shoppers about news from the payment provider.

use crate::{shop::Shop, store::payments::Reported};
use flashsale_protocol::ServerMessage;

/// Tells the shopper if the provider's report changed their order.
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

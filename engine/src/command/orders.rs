//! `orders`: the caller's orders, newest first.

use super::Answer;
use crate::{caller::Caller, shop::Shop, store::OrderRow};
use flashsale_protocol::Done;

pub async fn run(shop: &Shop, caller: &Caller) -> Answer {
    let rows = shop.store.orders_of(&caller.account, None).await?;
    Ok(Done::Orders(rows.iter().map(OrderRow::view).collect()))
}

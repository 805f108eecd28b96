//! `orders`: the caller's orders, newest first.

use super::Answer;
use crate::{app::App, auth::Caller, store::OrderRow};
use flashsale_protocol::Done;

pub async fn run(app: &App, caller: &Caller) -> Answer {
    let rows = app.store.orders_of(&caller.shopper, None).await?;
    Ok(Done::Orders(rows.iter().map(OrderRow::view).collect()))
}

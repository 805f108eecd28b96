//! A person's own data: told to them, and forgotten when they ask for it.

use crate::{
    caller::Caller,
    error::Result,
    merchants::{Merchant, is_person},
    shop::Shop,
    store::privacy::Kept,
};
use flashsale_protocol::{Code, Reject, ShopperId};
use futures_util::future::try_join_all;
use std::sync::Arc;

/// Someone at one merchant, with what is stored of them.
pub struct Known {
    pub merchant: Arc<Merchant>,
    pub person: ShopperId,
    pub kept: Kept,
}

/// Merchants among which a session of the whole platform is looked for.
const MERCHANTS_MOST: usize = 10_000;

/// Who a caller is, at the merchants that know them.
pub async fn of_caller(shop: &Shop, caller: &Caller) -> Result<Vec<Known>> {
    let mut found = Vec::new();
    for merchant in shop.merchants.all().into_iter().take(MERCHANTS_MOST) {
        let person = match caller.customer() {
            Some(customer) if customer.merchant != merchant.row.id => continue,
            _ if is_person(&caller.account) => caller.account.clone(),
            _ => shop.merchants.visitor(&merchant, &caller.account)?,
        };
        let kept = shop.store.kept_of(&person).await?;
        if !kept.is_nothing() {
            found.push(Known {
                merchant,
                person,
                kept,
            });
        }
    }
    Ok(found)
}

/// Forgets a person, unless they take part in a sale that is not over: what is promised to them there would be nobody's.
pub async fn erase(shop: &Shop, merchant: &Merchant, person: &ShopperId) -> Result<(), Reject> {
    if shop.store.is_busy(person).await? || has_cart(shop, merchant, person).await? {
        return Err(Code::PersonBusy.into());
    }
    shop.store.erase(person).await?;
    shop.merchants.refresh().await?;
    Ok(())
}

/// Whether a person has a cart or a checkout, which Postgres does not know.
async fn has_cart(shop: &Shop, merchant: &Merchant, person: &ShopperId) -> Result<bool> {
    let sales = shop.sales_on().await?;
    let of_merchant = sales.iter().filter(|sale| sale.merchant == merchant.row.id);
    let asked: Vec<_> = of_merchant
        .clone()
        .map(|sale| (sale.lane_of(person), person.clone()))
        .collect();
    let places = of_merchant.map(|sale| shop.stock.place(sale.id, person.clone()));
    let stands = try_join_all(places).await?;
    let is_in_line = stands
        .iter()
        .any(|at| at.value.value != crate::stock::Stands::Nowhere);
    Ok(is_in_line || shop.stock.have_carts(&asked).await?.contains(&true))
}

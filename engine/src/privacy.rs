//! A person's own data: told to them, and forgotten when they ask for it.

use crate::{
    boxed,
    caller::Caller,
    error::Result,
    merchants::{LEAVING_MOST, Merchant, is_person},
    sale::Sale,
    shop::Shop,
    stock::Stands,
    store::privacy::Kept,
};
use flashsale_protocol::{Code, Reject, Role, ShopperId};
use futures_util::future::try_join_all;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Someone at one merchant, with what is stored of them.
pub struct Known {
    pub merchant: Arc<Merchant>,
    pub person: ShopperId,
    pub kept: Kept,
}

/// Merchants among which a session of the whole platform is looked for.
const MERCHANTS_MOST: usize = 10_000;
/// Sales in which somebody's place is looked up at the same time.
const PLACES_AT_A_TIME: usize = 64;

/// Who a caller is, at the merchants that know them.
#[boxed]
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

/// By then every process knows who is leaving, and what was on its way before is done.
const HEARD: Duration = Duration::from_millis(1_500);

/// Who is to be forgotten.
enum Whom<'a> {
    Person(&'a Merchant, &'a ShopperId),
    /// At every merchant.
    Caller(&'a Caller),
}

/// Forgets a person, unless they take part in a sale that is not over: what is promised to them there would be nobody's.
#[boxed]
pub async fn erase(shop: &Shop, merchant: &Merchant, person: &ShopperId) -> Result<(), Reject> {
    Whom::Person(merchant, person).forget(shop).await
}

/// Forgets a caller at every merchant, or at none.
#[boxed]
pub async fn forget(shop: &Shop, caller: &Caller) -> Result<(), Reject> {
    Whom::Caller(caller).forget(shop).await
}

impl Whom<'_> {
    fn id(&self) -> &ShopperId {
        match self {
            Self::Person(_, person) => person,
            Self::Caller(caller) => &caller.account,
        }
    }

    /// Looks twice. A command on its way at the first look may give them a place or units; before the second one they get nothing
    /// any more.
    async fn forget(&self, shop: &Shop) -> Result<(), Reject> {
        if self.is_busy(shop).await? {
            return Err(Code::PersonBusy.into());
        }
        let request = format!("{:032x}", rand::random::<u128>());
        shop.store.begin_leaving(self.id(), &request).await?;
        let done = self.forget_leaving(shop).await;
        shop.store.end_leaving(self.id(), &request).await?;
        shop.merchants.refresh().await?;
        done
    }

    async fn forget_leaving(&self, shop: &Shop) -> Result<(), Reject> {
        let began = Instant::now();
        shop.merchants.refresh().await?;
        tokio::time::sleep(HEARD).await;
        if self.is_busy(shop).await? {
            return Err(Code::PersonBusy.into());
        }
        // Whoever was held up for so long may be given something again.
        if began.elapsed() > LEAVING_MOST / 2 {
            return Err(Code::Busy.into());
        }
        match self {
            Self::Person(_, person) => shop.store.erase(person).await?,
            Self::Caller(caller) => {
                for known in of_caller(shop, caller).await? {
                    shop.store.erase(&known.person).await?;
                }
                if caller.customer().is_none() && caller.role == Role::Shopper {
                    shop.store.forget_guest(&caller.account).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether they take part in a sale that is not over, or an order waits for its payment.
    async fn is_busy(&self, shop: &Shop) -> Result<bool, Reject> {
        let mut at = Vec::new();
        match self {
            Self::Person(merchant, person) => {
                if shop.store.is_busy(person).await? {
                    return Ok(true);
                }
                let sales = shop.sales_on().await?;
                let theirs = sales.into_iter().filter(|sale| sale.merchant == merchant.row.id);
                at.extend(theirs.map(|sale| (sale, (*person).clone())));
            }
            Self::Caller(caller) => {
                for known in of_caller(shop, caller).await? {
                    if shop.store.is_busy(&known.person).await? {
                        return Ok(true);
                    }
                }
                // Also where nothing is stored of them yet: a cart is in Redis only, and so is a place that is a moment old.
                for sale in shop.sales_on().await? {
                    match caller.customer() {
                        Some(customer) if customer.merchant != sale.merchant => {}
                        Some(_) if sale.has_opaque_ids() => at.push((sale, caller.account.clone())),
                        Some(_) => at.push((sale, caller.plain_id())),
                        None => {
                            let person = shop.merchants.visitor_of(&sale, &caller.account).await?;
                            at.push((sale, person));
                        }
                    }
                }
            }
        }
        Ok(take_part(shop, at).await?)
    }
}

/// Whether somebody has a cart, a checkout or a place in one of these sales. Postgres does not know all of them.
async fn take_part(shop: &Shop, at: Vec<(Arc<Sale>, ShopperId)>) -> Result<bool> {
    let lanes: Vec<_> = at
        .iter()
        .map(|(sale, person)| (sale.lane_of(person), person.clone()))
        .collect();
    for some in at.chunks(PLACES_AT_A_TIME) {
        let places = some
            .iter()
            .map(|(sale, person)| shop.stock.place(sale.id, person.clone()));
        let places = try_join_all(places).await?;
        if places.iter().any(|at| at.value.value != Stands::Nowhere) {
            return Ok(true);
        }
    }
    Ok(shop.stock.have_carts(&lanes).await?.contains(&true))
}

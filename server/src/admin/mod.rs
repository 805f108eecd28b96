//! The doors for merchants and admins, over the same store and stock.

pub mod audit;
pub mod command;
pub mod entries;
pub(crate) mod fairness;
pub mod keys;
pub mod merchants;
pub mod metrics;
pub mod orders;
pub mod people;
pub mod recovery;
pub mod sales;

use crate::{
    app::App,
    rest::{Bearer, Problem},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use flashsale_engine::{caller::Caller, merchants::Merchant, sale::Sale};
use flashsale_protocol::{Code, Role, SaleId};
use std::sync::Arc;

/// A merchant or an admin.
pub struct Operator(pub Caller);

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Bearer(caller) = Bearer::from_request_parts(parts, app).await?;
        match caller.role {
            Role::Merchant | Role::Admin => Ok(Self(caller)),
            Role::Shopper => Err(Code::Forbidden.into()),
        }
    }
}

impl Operator {
    /// The id of the merchant whose sales they make: their own.
    pub fn own(&self) -> &str {
        match self.0.customer() {
            Some(customer) => &customer.merchant,
            None => self.0.account.as_str(),
        }
    }

    /// Admins see all sales, merchants their own.
    pub fn sees(&self) -> Option<&str> {
        (!self.0.is_admin()).then(|| self.own())
    }

    /// The merchant of this id or name in addresses, if this operator may manage it. Another's counts as unknown.
    pub async fn merchant(&self, app: &App, name: &str) -> Result<Arc<Merchant>, Problem> {
        app.shop.merchants.refresh().await?;
        let found = match app.shop.merchants.find(name) {
            // An operator's own, which nobody may have set up yet.
            _ if name == self.own() => app.shop.merchants.of_operator(name).await?,
            found => found.ok_or(Code::MerchantUnknown)?,
        };
        match self.sees() {
            Some(own) if own != found.row.id => Err(Code::MerchantUnknown.into()),
            _ => Ok(found),
        }
    }

    /// The sale as it is in Postgres now, if this operator may manage it.
    pub async fn sale(&self, app: &App, id: SaleId) -> Result<Sale, Problem> {
        let sale = app.shop.store.sale(id).await?.ok_or(Code::SaleUnknown)?;
        match self.sees() {
            Some(merchant) if sale.merchant != merchant => Err(Code::Forbidden.into()),
            _ => Ok(sale),
        }
    }
}

//! The doors for merchants and admins, over the same store and stock.

pub mod audit;
pub mod command;
pub mod entries;
pub(crate) mod fairness;
pub mod metrics;
pub mod orders;
pub mod recovery;
pub mod sales;

use crate::{
    app::App,
    rest::{Bearer, Problem},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use flashsale_engine::{caller::Caller, sale::Sale};
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
    /// Admins see all sales, merchants their own.
    pub fn sees(&self) -> Option<&str> {
        if self.0.is_admin() {
            None
        } else {
            Some(self.0.shopper.as_str())
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

//! The doors for merchants and admins, over the same store and stock.

pub mod api_keys;
pub mod audit;
pub mod codes;
pub mod command;
pub mod entries;
pub(crate) mod fairness;
pub mod handoffs;
pub mod keys;
pub mod merchants;
pub mod metrics;
pub mod operators;
pub mod order_list;
pub mod orders;
pub mod people;
pub mod pictures;
pub mod recovery;
pub mod sales;
pub mod session;

use crate::{
    accounts::{SignedIn, api_keys::PREFIX},
    app::App,
    rest::{Bearer, Problem, bearer, browser::Browser, meter},
};
use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{header, request::Parts},
};
use flashsale_engine::{
    caller::Caller,
    merchants::Merchant,
    operator::{OperatorRole, Scope},
    sale::Sale,
    store::{audit::Actor, events::By},
};
use flashsale_protocol::{Code, Reject, Role, SaleId};
use std::sync::Arc;

/// A session of the admin page.
pub struct Session {
    pub browser: Browser,
    pub signed_in: Arc<SignedIn>,
}

impl FromRequestParts<Arc<App>> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let browser = Browser::from_request_parts(parts, app).await?;
        let secret = browser.session.as_deref().ok_or(Code::TokenMissing)?;
        if !parts.method.is_safe() {
            browser.check_is_ours()?;
        }
        let signed_in = app.authority.accounts.session(secret, browser.address).await?;
        meter::allow(app, &parts.extensions, &signed_in.caller()?).map_err(Problem)?;
        Ok(Self { browser, signed_in })
    }
}

/// A merchant's operator or an admin: by a token, or by a session of the admin page.
pub struct Operator(pub Caller);

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let key = bearer(&parts.headers)?
            .filter(|token| token.starts_with(PREFIX))
            .map(str::to_owned);
        let operator = match (key, parts.headers.contains_key(header::AUTHORIZATION)) {
            (Some(key), _) => {
                let browser = Browser::from_request_parts(parts, app).await?;
                let caller = app.authority.api_keys.caller(&key, browser.address).await?;
                meter::allow(app, &parts.extensions, &caller).map_err(Problem)?;
                let operator = Self(caller);
                operator.check_scope(parts)?;
                operator
            }
            (None, true) => Self(Bearer::from_request_parts(parts, app).await?.0),
            (None, false) => Self(
                Session::from_request_parts(parts, app)
                    .await?
                    .signed_in
                    .caller()?,
            ),
        };
        match operator.0.role {
            Role::Merchant | Role::Admin if parts.method.is_safe() || operator.role().changes() => {
                Ok(operator)
            }
            Role::Merchant | Role::Admin => Err(Code::RoleRefused.into()),
            Role::Shopper => Err(Code::Forbidden.into()),
        }
    }
}

impl Operator {
    pub fn by<'a>(&'a self, address: &'a str) -> By<'a> {
        By {
            actor: self.0.account.as_str(),
            address: Some(address),
        }
    }

    /// The id of the merchant whose sales they make: their own.
    pub fn own(&self) -> &str {
        let seat = self.0.seat().and_then(|seat| seat.merchant.as_ref());
        match seat.or_else(|| self.0.customer().map(|customer| &customer.merchant)) {
            Some(merchant) => merchant,
            None => self.0.account.as_str(),
        }
    }

    /// What they may do. A token of a merchant's may do all that its owner may.
    pub fn role(&self) -> OperatorRole {
        match self.0.seat() {
            Some(seat) => seat.role,
            None if self.0.is_admin() => OperatorRole::Admin,
            None => OperatorRole::Owner,
        }
    }

    /// Whether it is a merchant's program, with a key.
    pub fn is_program(&self) -> bool {
        self.0.seat().is_some_and(|seat| seat.scopes.is_some())
    }

    /// Who they are in the audit log.
    pub fn actor(&self) -> Actor {
        let id = self.0.account.to_string();
        match self.is_program() {
            true => Actor::ApiKey(id),
            false => Actor::Operator(id),
        }
    }

    /// Refuses a key for what it was not made for.
    fn check_scope(&self, parts: &Parts) -> Result<(), Problem> {
        let route = parts
            .extensions
            .get::<MatchedPath>()
            .map_or("", MatchedPath::as_str);
        let scopes = self
            .0
            .seat()
            .and_then(|seat| seat.scopes.as_deref())
            .unwrap_or_default();
        let because = |code, why: String| Err(Problem(Reject::because(code, why)));
        match scope_of(parts.method.is_safe(), route) {
            Some(needed) if scopes.contains(&needed) => Ok(()),
            Some(needed) => because(
                Code::ScopeMissing,
                format!("The key lacks the scope {}.", needed.word()),
            ),
            None => because(
                Code::RoleRefused,
                "This is for operators: no API key may do it.".into(),
            ),
        }
    }

    /// Refuses those who may not decide who gets in: by keys, or as operators.
    pub fn check_manages_access(&self) -> Result<(), Problem> {
        match self.role().manages_access() {
            true => Ok(()),
            false => Err(Code::RoleRefused.into()),
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

    /// The sale as it is in Postgres now, if this operator may manage it. Another's counts as unknown.
    pub async fn sale(&self, app: &App, id: SaleId) -> Result<Sale, Problem> {
        let sale = app.shop.store.sale(id).await?.ok_or(Code::SaleUnknown)?;
        match self.sees() {
            Some(merchant) if sale.merchant != merchant => Err(Code::SaleUnknown.into()),
            _ => Ok(sale),
        }
    }
}

/// The scope that a key needs for a route; None: no key may. Routes that are new are for operators until they stand here.
fn scope_of(is_reading: bool, route: &str) -> Option<Scope> {
    let is_about_orders = ["/admin/orders/", "/admin/handoffs/", "/admin/refunds"]
        .iter()
        .any(|these| route.starts_with(these));
    match (route, is_reading) {
        ("/admin/sales/{sale_id}/entries.csv", _) => Some(Scope::Exports),
        ("/admin/sales/{sale_id}/orders", _) => Some(Scope::OrdersRead),
        (route, true) if route.starts_with("/admin/sales") => Some(Scope::SalesRead),
        (route, false) if route.starts_with("/admin/sales") => Some(Scope::SalesWrite),
        (_, true) if is_about_orders => Some(Scope::OrdersRead),
        (_, false) if is_about_orders => Some(Scope::OrdersWrite),
        _ => None,
    }
}

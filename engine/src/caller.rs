//! The caller of a command: who signed in, and who that is at a merchant.

use crate::{
    merchants::{Merchant, Merchants},
    operator::Seat,
    sale::Sale,
    store::merchants::Person,
};
use flashsale_protocol::{Code, DeviceId, Reject, Role, SaleId, ShopperId};
use std::sync::Arc;

/// A person whose token was verified. Each socket keeps one, so it is small.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// Who signed in: a merchant's customer, or a session of the whole platform (a guest, an operator). Sockets and limits of
    /// requests go by it.
    pub account: ShopperId,
    /// Who that is for the sale in question; without one, the same. A guest is somebody else at each merchant.
    pub shopper: ShopperId,
    pub role: Role,
    /// The device that the token is bound to, or that the client has named; in a sale, as its merchant knows it.
    pub device: Option<DeviceId>,
    /// The device was proven: by the token, or by its credential. A name that a client has made up counts for its session only.
    pub device_is_proven: bool,
    /// When the token ends, ms since 1970.
    pub expires_at: u64,
    /// The socket that asks; None over REST.
    pub socket: Option<u64>,
    /// The sale in which `shopper` and `device` are meant.
    pub(crate) at: Option<Box<SaleId>>,
    /// What most callers have not.
    rare: Option<Arc<Rare>>,
}

/// What a guest on our own page has nothing of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rare {
    /// A merchant's own token: good at its sales only.
    pub customer: Option<Customer>,
    /// Sales and merchants on whose priority list the token puts this shopper.
    pub priority: Box<[String]>,
    /// The origin of the page that asks, if it is another one than ours.
    pub page: Option<Arc<str>>,
    /// The operator who acts for this shopper.
    pub operator: Option<String>,
    /// An operator who has signed in with a password, not by a token.
    pub seat: Option<Seat>,
}

/// A person as their merchant's token names them.
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    pub merchant: String,
    /// The key that signed the token; None: one of the settings, which is read again on its own.
    pub key: Option<String>,
    pub subject: String,
}

impl Caller {
    /// Somebody who has signed in, without a device, and not in a sale.
    pub fn new(account: ShopperId, role: Role, expires_at: u64) -> Self {
        Self {
            shopper: account.clone(),
            account,
            role,
            device: None,
            device_is_proven: false,
            expires_at,
            socket: None,
            at: None,
            rare: None,
        }
    }

    /// Sets what most callers have not.
    pub fn set(&mut self, change: impl FnOnce(&mut Rare)) {
        let rare = Arc::make_mut(self.rare.get_or_insert_default());
        change(rare);
        if *rare == Rare::default() {
            self.rare = None;
        }
    }

    /// The caller as who they are in a sale.
    pub fn in_sale(mut self, sale: SaleId) -> Self {
        self.at = Some(Box::new(sale));
        self
    }

    /// The customer of a merchant, by the merchant's own token.
    pub fn customer(&self) -> Option<&Customer> {
        self.rare.as_ref()?.customer.as_ref()
    }

    /// The operator who acts for this shopper.
    pub fn operator(&self) -> Option<&String> {
        self.rare.as_ref()?.operator.as_ref()
    }

    /// Where an operator works who has signed in with a password.
    pub fn seat(&self) -> Option<&Seat> {
        self.rare.as_ref()?.seat.as_ref()
    }

    pub(crate) fn page(&self) -> Option<&str> {
        self.rare.as_ref()?.page.as_deref()
    }

    /// The device. Every command that takes stock needs it.
    pub fn device(&self) -> Result<&DeviceId, Reject> {
        self.device.as_ref().ok_or_else(|| Code::DeviceMissing.into())
    }

    /// Whether this shopper is on the sale's priority list.
    pub(crate) fn goes_first(&self, sale: &Sale) -> bool {
        let id = sale.id.to_string();
        let lists = self.rare.iter().flat_map(|rare| &rare.priority);
        lists.into_iter().any(|of| *of == id || *of == sale.merchant)
    }

    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether a customer may still act at this merchant with the token of before: it is asked again for each command of an open
    /// socket.
    pub(crate) fn check_customer(&self, merchant: &Merchant, merchants: &Merchants) -> Result<(), Reject> {
        let Some(customer) = self.customer() else {
            return Ok(());
        };
        if customer.merchant != merchant.row.id {
            return Err(Code::WrongMerchant.into());
        }
        if !merchant.row.is_active {
            return Err(Code::MerchantSuspended.into());
        }
        match &customer.key {
            Some(key) if !merchants.has_key(key) => Err(Reject::because(
                Code::TokenInvalid,
                "The shop has revoked the key that signed this token: sign in again.",
            )),
            _ => Ok(()),
        }
    }

    /// Who this is in sales of the first format: what the token says, if that can be an id.
    pub(crate) fn plain_id(&self) -> ShopperId {
        let said = self.customer().and_then(|customer| customer.subject.parse().ok());
        said.unwrap_or_else(|| self.account.clone())
    }

    /// Who this is, for the merchant's books; None: their id says it.
    pub(crate) fn person(&self, sale: &Sale) -> Option<Person> {
        let is_other = self.shopper != self.account;
        (is_other || self.customer().is_some()).then(|| Person {
            id: self.shopper.clone(),
            merchant: sale.merchant.clone(),
            subject: self.customer().map(|customer| customer.subject.clone()),
            account: is_other.then(|| self.account.clone()),
        })
    }

    /// Refuses a page that the merchant does not allow to show its sales. Programs that are no browser name no page.
    pub(crate) fn check_page(&self, merchant: &Merchant) -> Result<(), Reject> {
        let row = &merchant.row;
        let is_allowed = |page: &str| match page {
            _ if row.widget_origins.is_empty() => true,
            "null" => row.null_origin,
            page => row.widget_origins.iter().any(|origin| origin == page),
        };
        match self.page() {
            Some(page) if !is_allowed(page) => Err(Code::OriginRefused.into()),
            _ => Ok(()),
        }
    }
}

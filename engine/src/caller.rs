//! The caller of a command.

use crate::sale::Sale;
use flashsale_protocol::{Code, DeviceId, Reject, Role, ShopperId};

/// A person whose token was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    pub shopper: ShopperId,
    /// The operator who acts for this shopper.
    pub operator: Option<String>,
    pub role: Role,
    /// The device that the token is bound to, or that the client has named.
    pub device: Option<DeviceId>,
    /// When the token ends, ms since 1970.
    pub expires_at: u64,
    /// The socket that asks; None over REST.
    pub socket: Option<u64>,
    /// Sales and merchants on whose priority list the token puts this shopper.
    pub priority: Box<[String]>,
}

impl Caller {
    /// The device. Every command that takes stock needs it.
    pub fn device(&self) -> Result<&DeviceId, Reject> {
        self.device.as_ref().ok_or_else(|| Code::DeviceMissing.into())
    }

    /// Whether this shopper is on the sale's priority list.
    pub(crate) fn goes_first(&self, sale: &Sale) -> bool {
        let id = sale.id.to_string();
        self.priority.iter().any(|of| *of == id || *of == sale.merchant)
    }

    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

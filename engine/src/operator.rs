//! What operators and merchants' programs may do: their roles and scopes, and the seat that a session or a key gives them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

/// The SHA-256 of a secret: all that is stored of it.
pub type SecretHash = [u8; 32];

/// What somebody may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OperatorRole {
    /// Everything, at every merchant.
    Admin,
    /// Everything of one merchant.
    Owner,
    /// Everything of one merchant but its keys and operators.
    Staff,
    /// Looks at one merchant, and changes nothing.
    Viewer,
}

impl OperatorRole {
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// Whether it may change sales, orders and settings.
    pub fn changes(self) -> bool {
        self != Self::Viewer
    }

    /// Whether it may manage keys and operators: who gets in.
    pub fn manages_access(self) -> bool {
        matches!(self, Self::Admin | Self::Owner)
    }
}

/// What a merchant's program may do with its key.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, EnumString, IntoStaticStr,
)]
pub enum Scope {
    #[serde(rename = "sales:read")]
    #[strum(serialize = "sales:read")]
    SalesRead,
    #[serde(rename = "sales:write")]
    #[strum(serialize = "sales:write")]
    SalesWrite,
    #[serde(rename = "orders:read")]
    #[strum(serialize = "orders:read")]
    OrdersRead,
    #[serde(rename = "orders:write")]
    #[strum(serialize = "orders:write")]
    OrdersWrite,
    #[serde(rename = "exports")]
    #[strum(serialize = "exports")]
    Exports,
}

impl Scope {
    pub fn word(self) -> &'static str {
        self.into()
    }
}

/// Where an operator who has signed in works, or a merchant's program.
#[derive(Debug, Clone, PartialEq)]
pub struct Seat {
    /// Their merchant's id; None: an admin of the platform.
    pub merchant: Option<String>,
    pub role: OperatorRole,
    /// The session, which may end at any time; None: a program, by its key.
    pub session: Option<SecretHash>,
    /// What a key is limited to; None: an operator.
    pub scopes: Option<Arc<[Scope]>>,
}

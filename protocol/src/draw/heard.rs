//! What a page has heard of a draw while nobody could know its outcome. A proof is held against it.

use super::Hash;
use crate::{Nonce, SaleId, ShopperId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    pub sale: SaleId,
    /// Whose name the entry must have.
    pub shopper: Option<ShopperId>,
    /// The nonce in that name, as the server told it before the draw.
    pub told: Option<Nonce>,
    /// Nonces that this page has made.
    pub made: Vec<Nonce>,
    pub commitment: Option<Hash>,
    /// Heard before the seed was revealed.
    pub root: Option<Hash>,
}

impl Heard {
    pub fn nothing(sale: SaleId) -> Self {
        Self {
            sale,
            shopper: None,
            told: None,
            made: Vec::new(),
            commitment: None,
            root: None,
        }
    }
}

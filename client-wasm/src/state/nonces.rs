//! The nonces that this page has made: one for each sale that its shopper has joined. They go into the shopper's names in draws, so
//! the server must not choose them; they are kept for a reload, after which a draw can still be checked.

use super::{Effect, State, turn::Turn};
use flashsale_protocol::{
    Nonce, SaleId, ShopCommand, ShopperId,
    lean::{self, Value},
};
use serde::{Deserialize, Serialize};

/// Nonces remembered; the oldest are forgotten first.
pub const MAX_NONCES: usize = 32;
/// The first format of sales whose `join` takes a nonce. A server of an earlier release refuses the field.
const WITH_NONCES: u16 = 2;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    sale: SaleId,
    /// None: not known yet.
    shopper: Option<ShopperId>,
    nonce: Nonce,
}

impl State {
    /// Gives a join its nonce, the same one for every join of that sale.
    pub(super) fn with_nonce(&mut self, turn: &mut Turn, command: ShopCommand) -> ShopCommand {
        let ShopCommand::Join {
            sale,
            quantity,
            nonce: None,
        } = command
        else {
            return command;
        };
        let info = self.known(sale).and_then(|known| known.info.as_ref());
        let nonce = if info.is_some_and(|info| info.format < WITH_NONCES) {
            None
        } else {
            self.made_for(sale).last().or_else(|| self.make(turn, sale))
        };
        ShopCommand::Join {
            sale,
            quantity,
            nonce,
        }
    }

    /// The nonces that this page has made for its shopper in a sale, the newest last.
    pub(super) fn made_for(&self, sale: SaleId) -> impl Iterator<Item = Nonce> + '_ {
        self.nonces
            .iter()
            .filter(move |made| made.sale == sale && made.shopper == self.shopper)
            .map(|made| made.nonce)
    }

    fn make(&mut self, turn: &mut Turn, sale: SaleId) -> Option<Nonce> {
        let nonce = turn.nonce.take()?;
        let shopper = self.shopper.clone();
        self.nonces.push(Made { sale, shopper, nonce });
        self.store_nonces(turn);
        Some(nonce)
    }

    /// Nonces that were made before it was known for whom are this shopper's.
    pub(super) fn own_nonces(&mut self, turn: &mut Turn, shopper: &ShopperId) {
        let mut is_new = false;
        for made in self.nonces.iter_mut().filter(|made| made.shopper.is_none()) {
            made.shopper = Some(shopper.clone());
            is_new = true;
        }
        if is_new {
            self.store_nonces(turn);
        }
    }

    fn store_nonces(&mut self, turn: &mut Turn) {
        self.nonces.drain(..self.nonces.len().saturating_sub(MAX_NONCES));
        let text = lean::to_text(&self.nonces);
        turn.push(Effect::StoreNonces(text));
    }

    /// Takes up the nonces that this page had made before its reload.
    pub(super) fn load_nonces(&mut self, stored: Value) {
        let mut stored: Vec<Made> = lean::from_value(stored).unwrap_or_default();
        // A command that was under way without a known shopper brings its own.
        stored.retain(|made| made.shopper.is_some());
        stored.truncate(MAX_NONCES);
        stored.append(&mut self.nonces);
        self.nonces = stored;
    }
}

//! Names of what commands make: orders, payments, hand-offs, and holds in the audit log. Each follows from its command and from who
//! gave it, so a repetition names the same, in any process and after any restart.
//!
//! Shops see these names, and a command's id is the client's own: it may be the same at two shops. In sales with closed names nothing
//! of it shows. The time in an id is the sale's, and its other bits need a key of the merchant that is never shown or rotated.

use crate::{
    boxed,
    caller::Caller,
    merchants::{Merchant, is_person},
    seal::Seal,
    shop::Shop,
};
use flashsale_protocol::{CommandId, OrderId, PaymentId, Reject, SaleId};
use std::sync::Arc;

/// Names what a caller's commands make in the sale that they are in.
pub(super) struct Names<'a> {
    shop: &'a Shop,
    caller: &'a Caller,
    /// The sale and its merchant, if its names are closed.
    closed: Option<(SaleId, Arc<Merchant>)>,
}

impl<'a> Names<'a> {
    #[boxed]
    pub(super) async fn of(shop: &'a Shop, caller: &'a Caller) -> Result<Names<'a>, Reject> {
        let closed = match caller.at.as_deref() {
            Some(id) => {
                let sale = shop.sale(*id).await?;
                match sale.has_closed_names() {
                    true => Some((sale.id, shop.merchants.get(&sale.merchant).await?)),
                    false => None,
                }
            }
            None => None,
        };
        Ok(Self { shop, caller, closed })
    }

    /// `digest`: of the payload. Another command under the same id cannot touch the order.
    pub(super) fn order(&self, command: CommandId, digest: &[u8]) -> OrderId {
        let bits = self.bits(&[command.to_string().as_bytes(), digest]);
        OrderId::from_parts(self.time_ms(command), bits)
    }

    pub(super) fn payment(&self, command: CommandId, digest: &[u8]) -> PaymentId {
        let bits = self.bits(&[command.to_string().as_bytes(), digest, b"payment"]);
        PaymentId::from_parts(self.time_ms(command), bits)
    }

    /// The second command of a checkout that pays at once: its payment's.
    pub(super) fn payment_command(&self, checkout: CommandId) -> CommandId {
        let bits = self.bits(&[checkout.to_string().as_bytes(), b"pay"]);
        CommandId::from_parts(self.time_ms(checkout), bits)
    }

    /// A hand-off: the shop reads its name.
    pub(super) fn handoff(&self, pay: CommandId) -> CommandId {
        if self.closed.is_none() {
            return pay;
        }
        let bits = self.bits(&[pay.to_string().as_bytes(), b"handoff"]);
        CommandId::from_parts(self.time_ms(pay), bits)
    }

    /// A hold in the audit log, by the command that made it.
    pub(super) fn hold(&self, reserve: &str) -> String {
        match &self.closed {
            Some(_) => format!("{:020x}", self.bits(&[reserve.as_bytes(), b"hold"])),
            None => reserve.to_owned(),
        }
    }

    fn time_ms(&self, command: CommandId) -> u64 {
        match &self.closed {
            Some((sale, _)) => sale.0.timestamp_ms(),
            None => command.ulid().timestamp_ms(),
        }
    }

    fn bits(&self, parts: &[&[u8]]) -> u128 {
        let shopper = &self.caller.shopper;
        let all: Vec<&[u8]> = [shopper.as_str().as_bytes()]
            .into_iter()
            .chain(parts.iter().copied())
            .collect();
        match &self.closed {
            Some((_, merchant)) => merchant.bits(&all),
            None if is_person(shopper) => Seal::plain_bits(&all),
            None => self.shop.seal.bits(&all),
        }
    }
}

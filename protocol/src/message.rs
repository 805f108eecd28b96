//! Client and server messages, side by side. Every message is one JSON object in one text frame; `type` names it.
//!
//! Units: times are milliseconds since 1970 by the server's (Redis') clock; money is in minor units of the sale's
//! currency (cents for EUR, yen for JPY).

mod request;
mod sale;
mod server;
mod shopper;
mod tick;

pub use request::{
    Command, ConnectionCommand, MAX_QUANTITY, Malformed, Payment, Quantity, Request, ShopCommand, verbs,
};
pub use sale::{Allocation, DrawWeight, OpeningOrder, PaymentsBy, Phase, SaleInfo};
pub use server::{Done, Outcome, RefusedSale, Reject, Role, SaleState, ServerMessage, Welcome};
pub use shopper::{Declined, Entry, EntryState, Handoff, Hold, HoldState, Order, OrderStatus};
pub use tick::{Outlook, Tick};

#[cfg(test)]
mod tests;

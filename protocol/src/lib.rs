//! The wire of the flash-sale platform: the messages on the socket, as types. The server, the browser client and the load
//! generator share it. It knows nothing of sockets, clocks or stores: it is pure and builds for WASM.

pub mod change;
pub mod code;
pub mod draw;
pub mod id;
pub mod json;
pub mod lean;
pub mod message;
pub mod nonce;
pub mod wait;

pub use change::Change;
pub use code::{CloseCode, Code, Reason};
pub use id::{CommandId, DeviceId, OrderId, PaymentId, SaleId, ShopperId};
pub use message::*;
pub use nonce::Nonce;

/// How a ticket begins, which stands in place of a token in one `hello` of an operator's page.
pub const TICKET: &str = "fst_";
/// The WebSocket subprotocol that a client offers and the server selects.
pub const SUBPROTOCOL: &str = "flashsale.v1";

/// The largest frame that a client may send, in bytes.
pub const MAX_FRAME_BYTES: usize = 16 * 1024;

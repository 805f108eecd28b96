//! Orders: placed, cancelled, looked up, and as rows.

mod cancel;
mod place;
mod read;
mod rows;

pub use cancel::{Cancel, Cancelled, Cancelling};
pub(super) use cancel::{CancelledBy, cancel_rows};
pub use place::{NewOrder, Placed};
pub use rows::OrderRow;
pub(super) use rows::{LockedOrder, RawOrder, load, lock, lock_rows};

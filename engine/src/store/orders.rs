//! Orders: as rows, placed, cancelled, and looked up.

mod cancel;
mod place;
mod read;
mod rows;

pub(super) use cancel::{Actor, cancel_rows};
pub use cancel::{Cancel, Cancelled, Cancelling};
pub use place::{NewOrder, Placed};
pub use rows::OrderRow;
pub(super) use rows::{late, load, lock};

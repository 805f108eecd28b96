//! Orders: placed, cancelled, looked up, listed, and as rows.

mod by_operator;
mod cancel;
mod list;
mod place;
mod read;
mod rows;

pub use cancel::{Cancel, Cancelled, Cancelling};
pub(super) use cancel::{CancelledBy, cancel_rows};
pub use list::{ListedOrder, ORDERS_PAGE_MOST, OrdersPage, WantedOrders};
pub use place::{NewOrder, Placed};
pub use rows::OrderRow;
pub(super) use rows::{LockedOrder, RawOrder, load, lock, lock_rows};

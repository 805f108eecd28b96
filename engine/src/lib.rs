//! Everything that happens to a sale, whoever asks. There is no HTTP server and no socket here: `server/` is the doors.

pub mod batcher;
pub mod caller;
pub mod captures;
pub mod chain;
pub mod clock;
pub mod command;
pub mod elsewhere;
pub mod error;
pub mod fairness;
pub mod here;
pub mod kept;
mod known;
pub mod limits;
pub mod live;
pub mod load;
pub mod merchants;
pub mod mutation;
pub mod operator;
pub mod payment;
pub mod presence;
pub mod privacy;
pub mod restore;
pub mod sale;
pub mod seal;
pub mod settle;
pub mod shop;
pub mod showcase;
pub mod stock;
pub mod store;
pub mod telemetry;
pub mod worker;

/// Makes an async function return a boxed future. The body of an async function is compiled anew by each crate that calls it, with all
/// that it calls in turn; a boxed one is compiled here. So functions that the doors call are boxed: it halves the time of their build.
pub(crate) use async_recursion::async_recursion as boxed;

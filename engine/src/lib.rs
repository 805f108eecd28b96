//! Everything that happens to a sale, whoever asks. There is no HTTP server and no socket here: `server/` is the doors.

pub mod batcher;
pub mod caller;
pub mod chain;
pub mod clock;
pub mod command;
pub mod elsewhere;
pub mod error;
pub mod fairness;
pub mod here;
mod known;
pub mod limits;
pub mod live;
pub mod merchants;
pub mod mutation;
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

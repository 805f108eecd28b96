//! Tests through the doors: the real server, a real Redis and Postgres, real sockets.

mod bad_input;
mod harness;
mod payments;
mod purchase;

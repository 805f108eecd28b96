//! Tests through the doors: the real server, a real Redis and Postgres, real sockets.

mod alerts;
mod asyncapi;
mod bad_input;
mod harness;
mod openapi;
mod payments;
mod purchase;
mod schema;
mod tidy;

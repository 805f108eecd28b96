//! Tests through the doors: the real server, a real Redis and Postgres, real sockets.

mod alerts;
mod asyncapi;
mod bad_input;
mod harness;
mod model;
mod openapi;
mod purchase;
mod schema;
mod tidy;

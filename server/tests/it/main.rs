//! Tests through the doors: the real server, a real Redis and Postgres, real sockets.

mod alerts;
mod asyncapi;
mod audit;
mod bad_input;
mod changes;
mod draw;
mod draw_file;
mod gateways;
mod harness;
mod leftover;
mod line;
mod model;
mod openapi;
mod payments;
mod purchase;
mod reads;
mod recovery;
mod schema;
mod settle;
mod tidy;

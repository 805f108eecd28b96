//! The flash-sale server as a library: the binary, the tests and the load generator start it from here.

pub mod admin;
pub mod app;
pub mod auth;
pub mod batcher;
pub mod clock;
pub mod command;
pub mod config;
pub mod demo;
pub mod draw_file;
pub mod embedded;
pub mod ending;
pub mod error;
pub mod fairness;
pub mod gateway;
pub mod live;
pub mod mutation;
pub mod payment;
pub mod rest;
pub mod sale;
pub mod showcase;
pub mod stock;
pub mod store;
pub mod supply;
pub mod telemetry;
pub mod worker;

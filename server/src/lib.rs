//! The flash-sale server as a library, for the binary, the tests and the load generator.

pub mod accounts;
pub mod admin;
pub mod app;
pub mod auth;
mod budget;
pub mod config;
pub mod demo;
pub mod draw_file;
pub mod embedded;
pub mod gateway;
mod ladder;
pub mod markdown;
pub mod operator_cli;
mod origin;
pub mod pictures;
pub mod rest;
pub mod server;
mod sharing;
mod stamp;
pub mod telemetry;
pub mod tls;
#[cfg(test)]
mod types;

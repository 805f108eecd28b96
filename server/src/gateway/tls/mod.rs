//! TLS at the public address: the certificate ([`certificate`]), a connection's TLS without its socket ([`session`]), and both as
//! HTTP sees them ([`stream`]).
//!
//! The handshake, and HTTP with its upgrade, run here on the runtime. Then the bare socket goes to a shard, and its session with it.

pub mod certificate;
#[cfg(test)]
mod samples;
pub mod session;
pub mod stream;

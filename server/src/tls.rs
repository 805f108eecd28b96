//! Which cryptography TLS uses in this process.

/// Chooses it, unless that is done. HTTP clients that know TLS panic without it, so each program calls this before it makes one.
pub fn provide() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

//! Which cryptography TLS uses in this process.

/// An HTTP client.
pub fn client() -> reqwest::Client {
    provide();
    reqwest::Client::new()
}

/// Chooses it, unless that is done. HTTP clients that know TLS panic without it.
pub fn provide() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

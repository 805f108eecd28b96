//! Where a request comes from, and whether it came over TLS.

use super::address;
use crate::app::App;
use axum::{extract::FromRequestParts, http::request::Parts};
use std::{convert::Infallible, net::IpAddr, sync::Arc};

/// The client's address, for limits per address.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let peer = address::peer(parts.extensions.get());
        Ok(Self(address::client(&parts.headers, peer, &app.limits)))
    }
}

/// Whether the client's own connection is encrypted.
#[derive(Debug, Clone, Copy)]
pub struct OverTls(pub bool);

impl FromRequestParts<Arc<App>> for OverTls {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let here = parts.extensions.get();
        Ok(Self(address::is_over_tls(&parts.headers, here, &app.limits)))
    }
}

//! Where a connection comes from: the peer, or what trusted proxies in front of us say.

use crate::app::App;
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// The client's address, for limits per address.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
        Ok(Self(
            forwarded(&parts.headers, app.limits.trusted_proxy_hops).unwrap_or(peer),
        ))
    }
}

/// Each trusted proxy appends the address it saw; what stands further left was written by the client and proves nothing.
fn forwarded(headers: &HeaderMap, hops: usize) -> Option<IpAddr> {
    if hops == 0 {
        return None;
    }
    let seen: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    seen.get(seen.len().checked_sub(hops)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_choose_its_address_by_writing_the_header_itself() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "1.1.1.1, 2.2.2.2".parse().expect("valid"));
        headers.append("x-forwarded-for", "3.3.3.3".parse().expect("valid"));
        let at = |hops| forwarded(&headers, hops).map(|ip| ip.to_string());
        assert_eq!(at(0), None, "without trusted proxies the header is not read");
        assert_eq!(at(1).as_deref(), Some("3.3.3.3"));
        assert_eq!(at(2).as_deref(), Some("2.2.2.2"));
        assert_eq!(at(4), None, "fewer hops than there should be");
    }
}

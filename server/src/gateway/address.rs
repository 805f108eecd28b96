//! The address of a client: the peer's, or the one that trusted proxies in front of us report.

use crate::app::App;
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
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
        let address = forwarded(&parts.headers, app.limits.trusted_proxy_hops).unwrap_or(peer);
        Ok(Self(one_subscriber(address)))
    }
}

/// Each trusted proxy appends the address it saw; anything further left was written by the client and proves nothing.
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

/// A subscriber with one IPv6 address has 2⁶⁴ of them, so the network counts.
fn one_subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
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

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        let one = |text: &str| one_subscriber(text.parse().expect("valid")).to_string();
        assert_eq!(one("2001:db8:1:2:3:4:5:6"), one("2001:db8:1:2::9"));
        assert_ne!(one("2001:db8:1:2::1"), one("2001:db8:1:3::1"));
        assert_eq!(one("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(one("192.0.2.7"), one("192.0.2.8"));
    }
}

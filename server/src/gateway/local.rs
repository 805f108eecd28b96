//! Whether a request comes from this machine itself, without anything between.

use super::address::{is_forwarded, peer};
use super::page::{host, page_of};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use std::{convert::Infallible, net::IpAddr};

/// True: a program on this machine asks, or a page that this server has brought to a browser here. Not a page of another site, which
/// any developer's browser may show; not one whose name was turned to this machine (DNS rebinding); and nobody behind a proxy here.
pub struct Local(pub bool);

impl<S: Sync> FromRequestParts<S> for Local {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(is_local(&parts.headers, peer(parts.extensions.get()))))
    }
}

fn is_local(headers: &HeaderMap, peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
        && host(headers).is_some_and(is_this_machine)
        && page_of(headers, false).is_none()
        && !is_forwarded(headers)
}

/// Whether a Host header names this machine by a name that no DNS server is asked for.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_itself_is_local() {
        let local = |peer: &str, lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(*name, value.parse().expect("valid"));
            }
            is_local(&headers, peer.parse().expect("valid"))
        };
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "localhost",
            "[::1]:8080",
            "127.0.0.1",
        ] {
            assert!(local("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(local(
            "::ffff:127.0.0.1",
            &[("host", "localhost:80"), ("origin", "http://localhost:80")]
        ));
        assert!(!local("192.0.2.1", &[("host", "localhost")]));
        assert!(!local("127.0.0.1", &[]));
        assert!(!local("127.0.0.1", &[("host", "rebound.example:8080")]));
        assert!(!local("127.0.0.1", &[("host", "127.0.0.1.evil.example")]));
        assert!(!local(
            "127.0.0.1",
            &[("host", "localhost:80"), ("origin", "https://evil.example")]
        ));
        assert!(!local(
            "127.0.0.1",
            &[("host", "localhost:80"), ("x-forwarded-for", "192.0.2.1")]
        ));
        assert!(!local(
            "127.0.0.1",
            &[("host", "localhost:80"), ("forwarded", "for=192.0.2.1")]
        ));
    }
}

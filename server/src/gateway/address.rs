//! The address of a client, and whether its connection is encrypted: what the connection itself says, or what the trusted proxies in
//! front of us report.

use crate::{
    config::{ForwardedHeader, Limits},
    ladder::network,
};
use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, header},
};
use flashsale_engine::telemetry::name;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Warnings of a header that cannot be read: one for so many of them.
const WARN_EVERY: u64 = 10_000;

/// The other end of the connection.
pub(super) fn peer(info: Option<&ConnectInfo<SocketAddr>>) -> IpAddr {
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}

/// The address that limits go by.
pub(super) fn client(headers: &HeaderMap, peer: IpAddr, limits: &Limits) -> IpAddr {
    if limits.trusted_proxy_hops == 0 {
        warn_of_proxy(headers);
        return one_subscriber(peer);
    }
    let address = match forwarded(headers, limits) {
        Forwarded::Client(address) => address,
        Forwarded::Missing => peer,
        Forwarded::Unreadable => {
            warn_of_header(peer);
            peer
        }
    };
    one_subscriber(address)
}

/// The address of a connection of which nothing has been read. None: it is a trusted proxy's, and stands for many clients.
pub(super) fn at_accept(peer: IpAddr, limits: &Limits) -> Option<IpAddr> {
    (limits.trusted_proxy_hops == 0).then(|| one_subscriber(peer))
}

/// Goes with requests that came to this server over TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encrypted;

/// Whether the client's own connection is encrypted: what a trusted proxy says of it; without one, `here` says whether the
/// request came to this server over TLS.
pub(super) fn is_over_tls(headers: &HeaderMap, here: Option<&Encrypted>, limits: &Limits) -> bool {
    if limits.trusted_proxy_hops == 0 {
        return here.is_some();
    }
    let is_https = |proto: &str| proto.trim().trim_matches('"').eq_ignore_ascii_case("https");
    match limits.forwarded_header {
        ForwardedHeader::XForwardedFor => {
            let name = HeaderName::from_static("x-forwarded-proto");
            // Many proxies replace the header where they append to the other one.
            let proto = from_right(headers, &name, limits.trusted_proxy_hops)
                .or_else(|| texts(headers, &name).next());
            proto.is_some_and(is_https)
        }
        ForwardedHeader::Forwarded => element(headers, limits.trusted_proxy_hops)
            .and_then(|element| parameter(element, "proto"))
            .is_some_and(is_https),
    }
}

/// Whether proxies say that they have passed the request on.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED)
}

#[derive(Debug, PartialEq)]
enum Forwarded {
    Client(IpAddr),
    /// The request has no such header, or names fewer proxies than there are: it has come another way.
    Missing,
    Unreadable,
}

/// Each trusted proxy appends the address it saw; anything further left was written by the client and proves nothing.
fn forwarded(headers: &HeaderMap, limits: &Limits) -> Forwarded {
    let hops = limits.trusted_proxy_hops;
    let said = match limits.forwarded_header {
        ForwardedHeader::XForwardedFor => from_right(headers, &X_FORWARDED_FOR, hops),
        ForwardedHeader::Forwarded => match element(headers, hops) {
            Some(element) => match parameter(element, "for") {
                Some(node) => Some(node),
                None => return Forwarded::Unreadable,
            },
            None => None,
        },
    };
    match said.map(address_of) {
        Some(Some(address)) => Forwarded::Client(address),
        Some(None) => Forwarded::Unreadable,
        None => Forwarded::Missing,
    }
}

/// The parts of a header that is a list, which may stand in several lines.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    // A line that is no text counts as one part that says nothing: leaving it out would shift the others.
    lines.flat_map(|line| line.to_str().unwrap_or_default().split(','))
}

fn from_right<'a>(headers: &'a HeaderMap, name: &HeaderName, hops: usize) -> Option<&'a str> {
    let all: Vec<&str> = texts(headers, name).collect();
    all.get(all.len().checked_sub(hops)?).copied()
}

/// The element of `Forwarded` (RFC 7239) that the outermost trusted proxy has written.
fn element(headers: &HeaderMap, hops: usize) -> Option<&str> {
    from_right(headers, &header::FORWARDED, hops)
}

fn parameter<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?;
    Some(value)
}

/// An address as proxies write it: alone, with a port, in brackets, with a zone, in quotes.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let is_port = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return without_zone(inside)
            .parse()
            .ok()
            .map(IpAddr::V6)
            .filter(|_| is_port);
    }
    if let Ok(address) = without_zone(text).parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let host: Ipv4Addr = host.parse().ok()?;
    is_port(port).then_some(IpAddr::V4(host))
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

fn without_zone(text: &str) -> &str {
    text.split('%').next().unwrap_or(text)
}

/// A subscriber with one IPv6 address has 2⁶⁴ of them, so the network counts.
fn one_subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(network(v6, 64)),
        v4 => v4,
    }
}

/// Without a trusted proxy everybody behind one counts as a single address. That is right if clients write such headers themselves,
/// so it is only said once.
fn warn_of_proxy(headers: &HeaderMap) {
    static SAID: Once = Once::new();
    if is_forwarded(headers) {
        SAID.call_once(|| {
            tracing::warn!(
                "requests come through a proxy, but none is trusted: everybody behind it counts as one address. If the proxy is yours, set --trusted-proxy-hops"
            );
        });
    }
}

fn warn_of_header(peer: IpAddr) {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    metrics::counter!(name::FORWARDED_UNREADABLE).increment(1);
    if SEEN.fetch_add(1, Ordering::Relaxed).is_multiple_of(WARN_EVERY) {
        tracing::warn!(proxy = %peer, "a trusted proxy's header does not name the client's address in a form known here: the proxy's own counts instead");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: Limits,
    }

    fn limits(hops: usize, header: &str) -> Limits {
        let hops = hops.to_string();
        Program::parse_from([
            "program",
            "--trusted-proxy-hops",
            &hops,
            "--forwarded-header",
            header,
        ])
        .limits
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("valid"));
        }
        headers
    }

    const XFF: &str = "x-forwarded-for";

    fn seen(hops: usize, header: &str, lines: &[(&'static str, &str)]) -> String {
        let peer: IpAddr = "10.0.0.1".parse().expect("valid");
        client(&headers(lines), peer, &limits(hops, header)).to_string()
    }

    #[test]
    fn a_client_cannot_choose_its_address_by_writing_the_header_itself() {
        let lines = [(XFF, "1.1.1.1, 2.2.2.2"), (XFF, "3.3.3.3")];
        assert_eq!(
            seen(0, XFF, &lines),
            "10.0.0.1",
            "without trusted proxies the header is not read"
        );
        assert_eq!(seen(1, XFF, &lines), "3.3.3.3");
        assert_eq!(seen(2, XFF, &lines), "2.2.2.2");
        assert_eq!(
            seen(4, XFF, &lines),
            "10.0.0.1",
            "fewer hops than there should be"
        );
        // The proxy writes the one header, and passes the other on as the client wrote it.
        let both = [(XFF, "3.3.3.3"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(seen(1, XFF, &both), "3.3.3.3");
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (said, is) in [
            ("203.0.113.7:41234", "203.0.113.7"),
            ("  203.0.113.7 ", "203.0.113.7"),
            ("[2001:db8::1]", "2001:db8::"),
            ("[2001:db8::1]:443", "2001:db8::"),
            ("2001:db8::1", "2001:db8::"),
            ("fe80::1%eth0", "fe80::"),
            ("[fe80::1%25eth0]:80", "fe80::"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(seen(1, XFF, &[(XFF, said)]), is, "{said}");
        }
        for unreadable in [
            "unknown",
            "_hidden",
            "203.0.113.7:port",
            "[2001:db8::1",
            "",
            "1.2.3",
            "a:b:c",
            "[::1]x",
        ] {
            assert_eq!(seen(1, XFF, &[(XFF, unreadable)]), "10.0.0.1", "{unreadable}");
        }
    }

    #[test]
    fn the_standard_header_is_read_if_the_proxy_writes_that_one() {
        let lines = [(
            "forwarded",
            r#"for=1.1.1.1, For="[2001:db8::1]:4711";proto=https;by=x"#,
        )];
        assert_eq!(seen(1, "forwarded", &lines), "2001:db8::");
        assert_eq!(seen(2, "forwarded", &lines), "1.1.1.1");
        assert!(is_over_tls(&headers(&lines), None, &limits(1, "forwarded")));
        assert!(!is_over_tls(&headers(&lines), None, &limits(1, XFF)));
        assert_eq!(seen(1, "forwarded", &[("forwarded", "proto=https")]), "10.0.0.1");
    }

    #[test]
    fn a_line_that_is_no_text_hides_no_other() {
        let mut lines = headers(&[(XFF, "1.1.1.1")]);
        lines.append(XFF, axum::http::HeaderValue::from_bytes(b"\xff").expect("opaque"));
        assert_eq!(forwarded(&lines, &limits(1, XFF)), Forwarded::Unreadable);
        assert_eq!(
            forwarded(&lines, &limits(2, XFF)),
            Forwarded::Client("1.1.1.1".parse().expect("valid"))
        );
    }

    #[test]
    fn only_a_trusted_proxy_says_that_a_connection_is_encrypted() {
        let over_tls =
            |hops, said| is_over_tls(&headers(&[("x-forwarded-proto", said)]), None, &limits(hops, XFF));
        assert!(!over_tls(0, "https"));
        assert!(over_tls(1, "https"));
        assert!(over_tls(2, "https"), "the inner proxy passes the header on");
        assert!(over_tls(2, "https, http"), "or says how it was asked itself");
        assert!(
            !over_tls(1, "https, http"),
            "what the client has written proves nothing"
        );
    }

    #[test]
    fn tls_of_our_own_counts_unless_a_proxy_stands_before_it() {
        let said = headers(&[("x-forwarded-proto", "http")]);
        assert!(is_over_tls(&said, Some(&Encrypted), &limits(0, XFF)));
        assert!(
            !is_over_tls(&said, Some(&Encrypted), &limits(1, XFF)),
            "the client spoke http to the proxy"
        );
        let peer = "2001:db8:1:2:3::4".parse().expect("valid");
        let network = "2001:db8:1:2::".parse().ok();
        assert_eq!(at_accept(peer, &limits(0, XFF)), network);
        assert_eq!(at_accept(peer, &limits(1, XFF)), None);
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        let one = |text: &str| one_subscriber(text.parse().expect("valid")).to_string();
        assert_eq!(one("2001:db8:1:2:3:4:5:6"), one("2001:db8:1:2::9"));
        assert_ne!(one("2001:db8:1:2::1"), one("2001:db8:1:3::1"));
        assert_eq!(one("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(one("192.0.2.7"), one("192.0.2.8"));
    }

    #[test]
    fn neighbours_are_in_one_network_and_this_machine_is_in_none() {
        let of = |text: &str| crate::ladder::networks(one_subscriber(text.parse().expect("valid")));
        assert_eq!(of("192.0.2.7"), of("192.0.2.200"));
        assert_ne!(of("192.0.2.7"), of("192.0.3.7"));
        assert_eq!(of("2001:db8:1:200::1"), of("2001:db8:1:2ff::1"));
        assert_ne!(of("2001:db8:1:200::1")[0], of("2001:db8:1:300::1")[0]);
        assert_eq!(of("2001:db8:1:200::1")[1], of("2001:db8:1:ff00::1")[1]);
        assert_eq!(of("127.0.0.9"), [None, None]);
        assert_eq!(of("::1"), [None, None]);
    }
}

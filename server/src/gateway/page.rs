//! Which host a request goes to, and which page a browser asks from.

use crate::origin::Origin;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use std::sync::Arc;

/// The page of a request that names several.
const SEVERAL: &str = "several";

/// Lets a request name one host only, in its `Host` header: that of an absolute address counts above it (RFC 9112, §3.2.2). False: the
/// request names several, and each program on its way might take another one.
pub(super) fn settle_host<B>(request: &mut Request<B>) -> bool {
    let authority = request.uri().authority().map(|authority| {
        let text = authority.as_str();
        text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned()
    });
    if let Some(host) = authority {
        let Ok(host) = HeaderValue::try_from(host) else {
            return false;
        };
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers().get_all(header::HOST).iter().nth(1).is_none()
}

/// The host that a request goes to, as it says.
pub(super) fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether a request goes to the admin page's origin. Without an origin of its own the admin page is everywhere.
pub(super) fn is_at_admin(headers: &HeaderMap, admin: Option<&Origin>) -> bool {
    admin.is_none_or(|admin| host(headers).is_some_and(|host| host.eq_ignore_ascii_case(admin.host())))
}

/// The origin of the page that asks, if it is another one than ours. Only browsers name one. A page that came over plain http is not
/// ours for a request over TLS: anybody on the way may have written it. Without TLS here, a proxy may have taken it off.
pub(crate) fn page_of(headers: &HeaderMap, is_over_tls: bool) -> Option<Arc<str>> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next()?.to_str().ok()?;
    if origins.next().is_some() {
        // No browser sends two: whichever it is, it is not ours alone.
        return Some(SEVERAL.into());
    }
    let is_ours = origin.split_once("://").is_some_and(|(scheme, its)| {
        (scheme.eq_ignore_ascii_case("https") || !is_over_tls)
            && host(headers).is_some_and(|own| own.eq_ignore_ascii_case(its))
    });
    (!is_ours).then(|| origin.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn our_own_pages_and_programs_are_no_other_page() {
        let page = |host: &str, origin: Option<&str>| {
            let page = page_of(&headers(host, origin), false);
            page.map(|page| page.to_string())
        };
        assert_eq!(page("sale.example", None), None);
        assert_eq!(page("sale.example", Some("https://sale.example")), None);
        assert_eq!(page("127.0.0.1:8080", Some("http://127.0.0.1:8080")), None);
        for other in [
            "null",
            "sale.example",
            "https://sale.example.evil.example",
            "https://sale.example:8443",
            "https://evil.example",
        ] {
            assert_eq!(page("sale.example", Some(other)).as_deref(), Some(other));
        }
        assert_eq!(
            page("127.0.0.1:8080", Some("http://127.0.0.1:8081")).as_deref(),
            Some("http://127.0.0.1:8081")
        );
    }

    #[test]
    fn a_page_that_came_over_plain_http_is_not_ours_over_tls() {
        let page = |origin, over_tls| page_of(&headers("sale.example", Some(origin)), over_tls);
        assert_eq!(page("https://sale.example", true), None);
        assert_eq!(page("http://sale.example", false), None);
        assert_eq!(
            page("http://sale.example", true).as_deref(),
            Some("http://sale.example")
        );
    }

    #[test]
    fn an_absolute_address_counts_above_the_header_and_two_headers_count_for_nothing() {
        let settled = |uri: &str, hosts: &[&str]| {
            let mut request = Request::get(uri);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let mut request = request.body(()).expect("a request");
            settle_host(&mut request).then(|| host(request.headers()).map(str::to_owned))
        };
        let one = |host: &str| Some(Some(host.to_owned()));
        assert_eq!(settled("/a", &["shop.example"]), one("shop.example"));
        assert_eq!(
            settled("http://admin.example/a", &["shop.example"]),
            one("admin.example")
        );
        assert_eq!(settled("http://x@admin.example:1/a", &[]), one("admin.example:1"));
        assert_eq!(settled("/a", &["shop.example", "admin.example"]), None);
        assert_eq!(settled("/a", &[]), Some(None));
    }
}

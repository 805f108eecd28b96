//! Which page a browser asks from.

use axum::http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;

/// The origin of the page that asks, if it is another one than ours. Only browsers name one.
pub(crate) fn page_of(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let origin = text(header::ORIGIN)?;
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    match text(header::HOST) {
        Some(own) if own.eq_ignore_ascii_case(host) => None,
        _ => Some(origin.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_pages_and_programs_are_no_other_page() {
        let page = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().expect("a header"));
            }
            page_of(&headers).map(|page| page.to_string())
        };
        assert_eq!(page("sale.example", None), None);
        assert_eq!(page("sale.example", Some("https://sale.example")), None);
        assert_eq!(page("127.0.0.1:8080", Some("http://127.0.0.1:8080")), None);
        assert_eq!(page("sale.example", Some("null")).as_deref(), Some("null"));
        assert_eq!(
            page("sale.example", Some("https://sale.example.evil.example")).as_deref(),
            Some("https://sale.example.evil.example")
        );
        assert_eq!(
            page("127.0.0.1:8080", Some("http://127.0.0.1:8081")).as_deref(),
            Some("http://127.0.0.1:8081")
        );
    }
}

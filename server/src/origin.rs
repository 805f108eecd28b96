//! Origins of pages, as browsers send them.

use reqwest::Url;
use std::{fmt, str::FromStr};

/// A scheme, a host in small letters and, unless it is the scheme's own, a port. No path, no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// What a request's `Host` says that goes there.
    pub fn host(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, host)| host)
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "https" | "http")
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
                // Browsers send no stars: it would allow nothing.
                && !url.host_str().unwrap_or_default().contains('*')
        });
        url.map(|url| Self(url.origin().ascii_serialization())).ok_or(
            "must be an origin, such as https://shop.example: a scheme and a host, without a path or a star",
        )
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_become_what_browsers_send_and_addresses_of_pages_are_none() {
        for (text, origin, host) in [
            ("https://Shop.Example/", "https://shop.example", "shop.example"),
            ("https://shop.example:443", "https://shop.example", "shop.example"),
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081", "127.0.0.1:8081"),
        ] {
            let parsed: Origin = text.parse().expect(text);
            assert_eq!(parsed.to_string(), origin);
            assert_eq!(parsed.host(), host);
        }
        for wrong in [
            "shop.example",
            "https://shop.example/page",
            "ftp://a",
            "null",
            "*",
            "https://a@b",
            "https://a?b",
            "https://*.shop.example",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}

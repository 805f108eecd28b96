//! What our own pages may load and run in a browser.

use axum::http::HeaderValue;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest, Sha256};

/// Nothing that we have not built. `'wasm-unsafe-eval'` lets the client's WebAssembly run, and
/// nothing else; `data:` is the icon; the fonts are ours; `lit-html` is the policy of the library that draws the pages.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types lit-html";
/// The rule that lets a style in; that of a page itself is let in by its hash.
const STYLES: &str = "style-src 'self'";
/// Where a page's own style stands in what was built.
const STYLE: [&str; 2] = ["<style>", "</style>"];

/// What a page may load and run, by the file that was built: what is filled in later never counts. Its style stands in it, because
/// a file of its own would be one more round trip before anything can be seen.
pub(super) fn policy(built: &str) -> HeaderValue {
    let style = built
        .split_once(STYLE[0])
        .and_then(|(_, rest)| Some(rest.split_once(STYLE[1])?.0));
    let with_style = style.map(|style| {
        let hash = BASE64.encode(Sha256::digest(style));
        CONTENT_SECURITY_POLICY.replacen(STYLES, &format!("{STYLES} 'sha256-{hash}'"), 1)
    });
    with_style
        .and_then(|policy| HeaderValue::try_from(policy).ok())
        .unwrap_or(HeaderValue::from_static(CONTENT_SECURITY_POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_s_own_style_is_let_in_by_its_hash_and_nothing_else_is() {
        let page = "<head><style>body{margin:0}</style></head><body><style>b{}</style></body>";
        let allowed = policy(page);
        let hash = "'sha256-IAdwN3biDCQ3brrgp1m8kBEsPQYyqfREKOEfeoREopc='";
        assert_eq!(
            allowed,
            CONTENT_SECURITY_POLICY
                .replace("style-src 'self';", &format!("style-src 'self' {hash};"))
                .as_str()
        );
        for none in ["<head></head>", "<style>b{}", ""] {
            assert_eq!(policy(none), CONTENT_SECURITY_POLICY, "{none}");
        }
    }
}

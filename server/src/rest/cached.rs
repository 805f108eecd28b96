//! Answers that are the same for everybody: caches on the way may keep them for a second, and whoever has one already is told so.

use super::Problem;
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flashsale_engine::error::Error;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// What is shown is at most a second old, and a cache may add another.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// Bytes of the hash in an `ETag`: a shorter name than the whole, and still no two alike.
const TAG_BYTES: usize = 12;

/// The answer, or that the one which the asker has (`If-None-Match`) is still right.
pub(super) fn answer<T: Serialize>(headers: &HeaderMap, value: &T) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Error::unexpected(error.to_string()))?;
    // Weak, because a compressed answer has other bytes.
    let tag = format!("W/\"{}\"", hex::encode(&Sha256::digest(&body)[..TAG_BYTES]));
    let has_it = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == tag || known.trim() == "*");
    let mut response = match has_it {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, "application/json")], Bytes::from(body)).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_answer_is_told_so_and_gets_it_no_second_time() {
        let ask = |known: &[&str], value: &str| {
            let mut headers = HeaderMap::new();
            for known in known {
                headers.append(header::IF_NONE_MATCH, known.parse().expect("valid"));
            }
            answer(&headers, &value).expect("an answer")
        };
        let first = ask(&[], "a");
        let tag = first.headers()[header::ETAG].to_str().expect("text").to_owned();
        assert_eq!(first.status(), 200);
        assert_eq!(ask(&[&tag], "a").status(), 304);
        assert_eq!(ask(&[&format!("\"x\", {tag}")], "a").status(), 304);
        assert_eq!(ask(&["\"x\"", &tag], "a").status(), 304);
        assert_eq!(ask(&[&tag], "b").status(), 200, "it has changed");
        assert_eq!(ask(&[&tag], "a").headers()[header::ETAG], tag.as_str());
    }
}

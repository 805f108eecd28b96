//! A random number that a shopper's client makes before its first join of a sale. It goes into the shopper's name in the sale's
//! draw, so that nobody else can compute that name, and the server cannot choose it.

use crate::draw::from_hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// 128 random bits, written as 32 hex digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[0-9a-f]{32}$"))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
pub struct Nonce(pub [u8; 16]);

/// Why a text is not a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidNonce;

impl fmt::Display for InvalidNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a nonce is 32 hex digits in lower case")
    }
}

impl std::error::Error for InvalidNonce {}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Only its shopper is told a nonce, so it must not reach a log.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(…)")
    }
}

impl FromStr for Nonce {
    type Err = InvalidNonce;

    fn from_str(text: &str) -> Result<Self, InvalidNonce> {
        from_hex(text).map(Nonce).ok_or(InvalidNonce)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_has_one_text_and_does_not_reach_a_log() {
        let text = "00112233445566778899aabbccddeeff";
        let nonce: Nonce = text.parse().expect("a nonce");
        assert_eq!(nonce.to_string(), text);
        assert_eq!(serde_json::to_value(nonce).expect("JSON"), text);
        assert!(!format!("{nonce:?}").contains("0011"));
        let upper = text.to_uppercase();
        for bad in [
            "",
            &text[1..],
            &format!("{text}0"),
            &upper,
            &text.replace('f', "g"),
            &"ü".repeat(16),
        ] {
            assert_eq!(bad.parse::<Nonce>(), Err(InvalidNonce), "{bad}");
        }
        for bad in ["7", "[]", r#"" 0112233445566778899aabbccddeeff""#] {
            assert!(serde_json::from_str::<Nonce>(bad).is_err(), "{bad}");
        }
    }
}

//! Identifiers. Sales, orders and commands are ULIDs (26 characters of Crockford base 32, sortable by time); shoppers
//! and devices are short words, because shoppers come from the merchant's own tokens.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};
use ulid::Ulid;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId(pub &'static str);

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(
            value_type = String, pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        ))]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
        pub struct $name(pub Ulid);

        impl $name {
            /// An id from a time in ms since 1970 and 80 random bits (higher bits are dropped).
            pub fn from_parts(time_ms: u64, random: u128) -> Self {
                Self(Ulid::from_parts(time_ms, random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.write_str(self.0.array_to_str(&mut buffer))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_ulid(text).map(Self)
            }
        }

        serde_as_text!($name);
    };
}

// Shared, not copied: a gateway knows each of its shoppers in several places.
macro_rules! word_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(
            value_type = String, pattern = "^[A-Za-z0-9._:@-]{1,64}$", example = "u1",
        ))]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_word(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId("a shopper or device id is 1 to 64 of: letters, digits, . _ : @ -"))
                }
            }
        }

        serde_as_text!($name);
    };
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        deserialize_text!($name);
    };
}

macro_rules! deserialize_text {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id as a string")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

ulid_id!(
    /// A flash sale.
    SaleId
);
ulid_id!(
    /// An order. Made from the shopper and the command id, so that a repeated checkout names the same order.
    OrderId
);
/// A command. The client makes and stores it before sending, so that a repetition has one effect. Small and capital letters are
/// the same id, and its answer has it as it was sent.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(
    value_type = String, pattern = "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$", example = "01ARZ3NDEKTSV4RRFFQ69G5FAV",
))]
pub struct CommandId(Sent);

#[derive(Debug, Clone, Copy)]
struct Sent {
    ulid: Ulid,
    /// Marks the characters that came as small letters.
    small: u32,
}

impl CommandId {
    pub const fn new(ulid: Ulid) -> Self {
        Self(Sent { ulid, small: 0 })
    }

    /// An id from a time in ms since 1970 and 80 random bits (higher bits are dropped).
    pub fn from_parts(time_ms: u64, random: u128) -> Self {
        Self::new(Ulid::from_parts(time_ms, random))
    }

    pub const fn ulid(self) -> Ulid {
        self.0.ulid
    }
}

impl PartialEq for CommandId {
    fn eq(&self, other: &Self) -> bool {
        self.ulid() == other.ulid()
    }
}

impl Eq for CommandId {}

impl PartialOrd for CommandId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CommandId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.ulid().cmp(&other.ulid())
    }
}

impl std::hash::Hash for CommandId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.ulid().hash(state);
    }
}

/// In capital letters, as it is stored and used in the names of what it has made.
impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; ulid::ULID_LEN];
        f.write_str(self.ulid().array_to_str(&mut buffer))
    }
}

impl FromStr for CommandId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let ulid = parse_ulid(text)?;
        let small = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| byte.is_ascii_lowercase())
            .fold(0, |small, (at, _)| small | 1 << at);
        Ok(Self(Sent { ulid, small }))
    }
}

/// As it was sent.
impl Serialize for CommandId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = [0; ulid::ULID_LEN];
        self.ulid().array_to_str(&mut buffer);
        for (at, byte) in buffer.iter_mut().enumerate() {
            if self.0.small & 1 << at != 0 {
                byte.make_ascii_lowercase();
            }
        }
        serializer.serialize_str(std::str::from_utf8(&buffer).unwrap_or_default())
    }
}

deserialize_text!(CommandId);

ulid_id!(
    /// One attempt to pay an order. Made from the shopper and the command id; the payment provider knows it by this id.
    PaymentId
);
word_id!(
    /// A person, as the token's `sub` names them.
    ShopperId
);
word_id!(
    /// A device, as the client (or the signed guest cookie) names it.
    DeviceId
);

fn parse_ulid(text: &str) -> Result<Ulid, InvalidId> {
    const WRONG: InvalidId = InvalidId("an id is a ULID: 26 characters of Crockford base 32");
    // 26 characters are 130 bits. The decoder drops the first two bits, so two texts would be one id.
    if text.as_bytes().first().is_some_and(|first| *first > b'7') {
        return Err(WRONG);
    }
    Ulid::from_string(text).map_err(|_| WRONG)
}

/// Ids are stored in space-separated records and in Redis keys: no spaces, no braces, no control characters.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_id_refuses_what_would_break_a_record_or_a_key() {
        for bad in ["", "a b", "a{b}", "é", "a\nb", &"x".repeat(65)] {
            assert!(bad.parse::<ShopperId>().is_err(), "{bad:?} must be refused");
        }
        assert_eq!(
            "auth0.7:jo@shop-1".parse::<ShopperId>().map(|s| s.to_string()),
            Ok("auth0.7:jo@shop-1".into())
        );
    }

    #[test]
    fn a_command_id_is_one_in_either_case_and_goes_back_as_it_came() {
        let [sent, capital] = ["01arz3NDEKTSV4rrffq69g5fav", "01ARZ3NDEKTSV4RRFFQ69G5FAV"];
        let [id, same]: [CommandId; 2] = [sent, capital].map(|text| text.parse().expect("valid"));
        assert_eq!(id, same);
        assert_eq!(id.to_string(), capital);
        for (id, text) in [(id, sent), (same, capital)] {
            assert_eq!(serde_json::to_value(id).expect("JSON"), text);
        }
    }

    #[test]
    fn a_ulid_is_read_in_either_case_and_written_in_one() {
        let id: SaleId = "01arz3ndektsv4rrffq69g5fav".parse().expect("valid");
        assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert!("01ARZ3NDEKTSV4RRFFQ69G5FA".parse::<SaleId>().is_err());
        assert!(
            "81ARZ3NDEKTSV4RRFFQ69G5FAV".parse::<SaleId>().is_err(),
            "more than 128 bits"
        );
    }
}

//! The draw: who wins, and how anybody can check it. Pure, and only with integers, so that the server, the browser, `flashsale
//! verify` and a script in another language get the same digits. `docs/draw.md` explains it in words.
//!
//! - Before the entries close, the seed's hash is published ([`Seed::commitment`]); when they close, the Merkle root of
//!   all entries ([`Entry::leaf`], [`merkle`]). Then the seed.
//! - An entry's key is −ln(u) / weight, with u from HMAC-SHA256(seed, entry) ([`Drum::key`]). The smallest keys win:
//!   of any set of entries, each has the smallest key with the chance of its weight's share (Efraimidis and Spirakis,
//!   "Weighted random sampling with a reservoir", Information Processing Letters 97(5), 2006).
//! - Units are given in the order of the keys until there are none ([`Pick`]); the last winner is the cut-off.

mod heard;
mod logarithm;
pub mod merkle;
mod verify;
mod wrong;

pub use heard::Heard;
pub use verify::{Check, Draw, Proof, Published, Verdict};
pub use wrong::Wrong;

use crate::{MAX_QUANTITY, Nonce, SaleId, ShopperId};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::{collections::BinaryHeap, fmt, str::FromStr};

/// The largest weight of an entry, in units of the smallest.
pub(crate) const MAX_WEIGHT: u32 = 1000;
/// The longest name of an entry, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 64;
/// The longest value of a beacon, in bytes.
pub const MAX_BEACON_BYTES: usize = 1024;

// What the HMAC is of: no value of one purpose can stand for another's.
const DRAW: &[u8] = b"draw:";
const OPENING: &[u8] = b"opening:";
const BEACON: &[u8] = b"beacon:";
const NAME: &[u8] = b"flashsale entry:";
const PRIVATE_NAME: &[u8] = b"flashsale entry 2:";

/// Digits after the binary point of a [`Key`].
const KEY_BITS: u32 = 96;
const KEY_DIGITS: usize = 26;

// ------------------------------------------------------------------------------------------------------ seed and hash

/// A SHA-256, written as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
pub struct Hash(pub [u8; 32]);

/// The source of a draw's chance: 32 random bytes, secret until everything else is fixed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
pub struct Seed(pub [u8; 32]);

/// Why a text cannot be read as the expected value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Seed {
    /// Published in advance: it binds the server to the seed and reveals nothing of it.
    pub fn commitment(&self) -> Hash {
        Hash(Sha256::digest(self.0).into())
    }

    /// The seed as text: only to be stored, or to be published.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }
}

/// A seed must not reach a log.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl FromStr for Seed {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        from_hex(text)
            .map(Seed)
            .ok_or(Unreadable("must be 64 hex digits in lower case"))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl FromStr for Hash {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        from_hex(text)
            .map(Hash)
            .ok_or(Unreadable("must be 64 hex digits in lower case"))
    }
}

/// Lower case only, so that each value has one text.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    (!text.contains(|c: char| c.is_ascii_uppercase())).then_some(bytes)
}

macro_rules! read_as_text {
    ($($name:ident),+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}
read_as_text!(Seed, Hash, Key);

// -------------------------------------------------------------------------------------------------------------- entry

/// One chance in the draw. Its line is `name weight quantity`: the tree's leaf is made from that line, and a draw's file contains
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = DrawEntry))]
pub struct Entry {
    /// A pseudonym that the shopper can compute ([`Format::entry_name`]).
    pub name: String,
    /// 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// The units wanted, 1 to [`MAX_QUANTITY`].
    pub quantity: u32,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.weight, self.quantity)
    }
}

impl Entry {
    pub fn leaf(&self) -> Hash {
        merkle::leaf(self.to_string().as_bytes())
    }

    /// Finds what is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.name.is_empty()
            || self.name.len() > MAX_NAME_BYTES
            || !self.name.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(Wrong::Name(self.name.chars().take(MAX_NAME_BYTES).collect()));
        }
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            return Err(Wrong::Weight {
                entry: self.name.clone(),
                weight: self.weight,
            });
        }
        if !(1..=MAX_QUANTITY).contains(&self.quantity) {
            return Err(Wrong::Quantity {
                entry: self.name.clone(),
                quantity: self.quantity,
            });
        }
        Ok(())
    }

    /// Reads one line of a draw's file. None: it is not such a line.
    pub fn from_line(line: &str) -> Option<Entry> {
        let mut parts = line.split(' ');
        let (name, weight, quantity) = (parts.next()?, parts.next()?, parts.next()?);
        // "01" and "+1" would be other lines for the same entry.
        let number = |text: &str| text.parse().ok().filter(|n: &u32| n.to_string() == text);
        let entry = Entry {
            name: name.to_owned(),
            weight: number(weight)?,
            quantity: number(quantity)?,
        };
        parts.next().is_none().then_some(entry)
    }
}

/// How a draw's entries are named. A sale keeps its format to the end, and published draws of each are verified for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Anybody who knows the shopper's id can compute their name.
    One,
    /// A name needs the shopper's nonce too.
    Two,
}

impl Format {
    const ALL: [Self; 2] = [Self::One, Self::Two];

    /// The format of a sale's draw, by the sale's own format.
    pub const fn of_sale(format: u16) -> Self {
        match format {
            0 | 1 => Self::One,
            _ => Self::Two,
        }
    }

    /// The first line's `format` in a draw's file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::One => "flashsale draw 1",
            Self::Two => "flashsale draw 2",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == word)
    }

    /// A shopper's name in a sale's published entries: the first half of a SHA-256, as 32 hex digits. Nobody can reverse it, and
    /// it differs in every sale. Without a nonce, format 2 hashes an empty one: then anybody who knows the id can compute the name
    /// again, but still nobody can choose it.
    pub fn entry_name(self, sale: SaleId, shopper: &ShopperId, nonce: Option<Nonce>) -> String {
        let prefix = match self {
            Self::One => NAME,
            Self::Two => PRIVATE_NAME,
        };
        let mut hash = Sha256::new()
            .chain_update(prefix)
            .chain_update(sale.to_string())
            .chain_update(b":")
            .chain_update(shopper.as_str());
        if self == Self::Two {
            hash.update(b":");
            hash.update(nonce.map(|nonce| nonce.to_string()).unwrap_or_default());
        }
        hex::encode(&hash.finalize()[..16])
    }
}

// ---------------------------------------------------------------------------------------------------------------- key

/// −ln(u) / weight in units of 2^-96, written as 26 hex digits: texts sort as numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[0-9a-f]{26}$"))]
pub struct Key(pub u128);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = KEY_DIGITS)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Key {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        u128::from_str_radix(text, 16)
            .ok()
            .map(Key)
            .filter(|key| key.to_string() == text)
            .ok_or(Unreadable("must be 26 hex digits in lower case"))
    }
}

/// An entry's position in the order of a draw. The order is total, because names are different.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rank {
    pub key: Key,
    pub entry: String,
}

/// The drum from which keys are drawn: the seed, mixed with a beacon's value if there is one.
#[derive(Clone)]
pub struct Drum(Hmac<Sha256>);

impl Drum {
    pub fn new(seed: &Seed, beacon: Option<&str>) -> Drum {
        match beacon {
            None => Drum(mac(seed)),
            Some(value) => Drum(mac(&Seed(digest(mac(seed), BEACON, value)))),
        }
    }

    /// An entry's key. `weight` is at least 1.
    pub fn key(&self, name: &str, weight: u32) -> Key {
        let x = first_64_bits(&digest(self.0.clone(), DRAW, name));
        // u = (x + 1) / 2^64: above 0, which has no logarithm, and at most 1.
        let minus_ln = logarithm::minus_ln(u128::from(x) + 1);
        Key((minus_ln << (KEY_BITS - logarithm::BITS)) / u128::from(weight.max(1)))
    }

    pub fn rank(&self, entry: &Entry) -> Rank {
        Rank {
            key: self.key(&entry.name, entry.weight),
            entry: entry.name.clone(),
        }
    }
}

/// An entry's place in line if the opening order is shuffled: from HMAC-SHA256(seed, entry), 1 to 2^50. A place by time counts
/// the µs since 1970, which passed 2^50 in 2005, so later joiners stand behind all of these. Below 2^53, a Redis score (a double)
/// holds it exactly. Two entries may get the same place (one pair in 25 shuffles of ten million); Redis then sorts by the
/// member's name.
///
/// This seed is not the draw's: it is published when the sale starts.
pub fn opening_place(seed: &Seed, entry: &str) -> u64 {
    (first_64_bits(&digest(mac(seed), OPENING, entry)) >> 14) + 1
}

fn mac(seed: &Seed) -> Hmac<Sha256> {
    #[expect(
        clippy::expect_used,
        reason = "the type does not say that HMAC takes a key of any length (RFC 2104)"
    )]
    Hmac::new_from_slice(&seed.0).expect("any length")
}

fn digest(mut mac: Hmac<Sha256>, purpose: &[u8], text: &str) -> [u8; 32] {
    mac.update(purpose);
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn first_64_bits(digest: &[u8; 32]) -> u64 {
    digest
        .iter()
        .take(8)
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

// --------------------------------------------------------------------------------------------------------------- pick

/// A winner with their units: only the last one may get fewer than wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Winner {
    pub rank: Rank,
    pub units: u32,
    pub quantity: u32,
}

/// Finds the smallest keys of a stream of entries, and keeps only the winners in memory.
#[derive(Debug, Clone)]
pub struct Pick {
    units: u64,
    /// Entries up to this one in the order have had their turn already.
    after: Option<Rank>,
    best: BinaryHeap<(Rank, u32)>,
    wanted: u64,
}

impl Pick {
    /// `after`: only entries behind it, for units that earlier winners did not take.
    pub fn new(units: u64, after: Option<Rank>) -> Pick {
        Pick {
            units,
            after,
            best: BinaryHeap::new(),
            wanted: 0,
        }
    }

    pub fn add(&mut self, drum: &Drum, entry: &Entry) {
        self.add_keyed(drum.key(&entry.name, entry.weight), entry);
    }

    /// Adds an entry whose key is known.
    pub(crate) fn add_keyed(&mut self, key: Key, entry: &Entry) {
        // Most entries of a large draw stop here, so nothing is copied for them.
        let full = self.wanted >= self.units;
        if full && self.best.peek().is_none_or(|(worst, _)| key > worst.key) {
            return;
        }
        let rank = Rank {
            key,
            entry: entry.name.clone(),
        };
        if self.after.as_ref().is_some_and(|after| rank <= *after) {
            return;
        }
        self.wanted += u64::from(entry.quantity);
        self.best.push((rank, entry.quantity));
        while let Some((_, quantity)) = self.best.peek()
            && self.wanted - u64::from(*quantity) >= self.units
        {
            self.wanted -= u64::from(*quantity);
            self.best.pop();
        }
    }

    /// The winners, best first.
    pub fn winners(self) -> Vec<Winner> {
        let mut left = self.units;
        self.best
            .into_sorted_vec()
            .into_iter()
            .map(|(rank, quantity)| {
                let units = u64::from(quantity).min(left);
                left -= units;
                Winner {
                    rank,
                    units: units as u32,
                    quantity,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;

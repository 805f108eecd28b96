//! What a check of a draw can find wrong, in words.

use super::{Format, Hash, Key, MAX_BEACON_BYTES, MAX_WEIGHT, Rank};
use crate::MAX_QUANTITY;
use std::fmt;

/// What does not fit, named by the changed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    Format(String),
    /// The draw is not over, so this is not published yet.
    NotDrawn(&'static str),
    Beacon,
    Seed {
        commitment: Hash,
        computed: Hash,
    },
    Line {
        line: u64,
    },
    Name(String),
    Weight {
        entry: String,
        weight: u32,
    },
    Quantity {
        entry: String,
        quantity: u32,
    },
    /// Entries are in the order of their names, each once.
    Order {
        line: u64,
        entry: String,
    },
    Count {
        published: u64,
        found: u64,
    },
    Root {
        published: Hash,
        computed: Hash,
    },
    /// An entry's weight or quantity differs from the tree's.
    InTree {
        part: &'static str,
        entry: String,
        published: u32,
        in_tree: u32,
    },
    Entry {
        entry: String,
    },
    /// The entry has another name than this shopper's.
    NotTheirs {
        entry: String,
    },
    /// A proof of format 2 names its shopper, and only one of format 2 has a nonce.
    OfFormat(&'static str),
    Key {
        entry: String,
        published: Key,
        computed: Key,
    },
    Path {
        published: Hash,
        computed: Option<Hash>,
    },
    CutOff {
        published: Option<Rank>,
        computed: Option<Rank>,
    },
    Winners {
        published: u64,
        computed: u64,
    },
    /// `None`: the published last called entry is not among the entries.
    Called {
        published: Option<u64>,
        computed: Option<u64>,
    },
    Outcome {
        part: &'static str,
        entry: String,
        published: bool,
    },
}

impl Wrong {
    /// The wrong part, in one word.
    pub const fn part(&self) -> &'static str {
        match self {
            Wrong::Format(_) => "format",
            Wrong::NotDrawn(part) => part,
            Wrong::Beacon => "beacon",
            Wrong::Seed { .. } => "seed",
            Wrong::Line { .. } => "line",
            Wrong::Name(_) | Wrong::Order { .. } | Wrong::Entry { .. } | Wrong::NotTheirs { .. } => "entry",
            Wrong::OfFormat(part) => part,
            Wrong::Weight { .. } => "weight",
            Wrong::Quantity { .. } => "quantity",
            Wrong::Count { .. } => "count",
            Wrong::Root { .. } => "root",
            Wrong::InTree { part, .. } => part,
            Wrong::Key { .. } => "key",
            Wrong::Path { .. } => "path",
            Wrong::CutOff { .. } => "cut_off",
            Wrong::Winners { .. } => "winners",
            Wrong::Called { computed: None, .. } => "last_called",
            Wrong::Called { .. } => "called",
            Wrong::Outcome { part, .. } => part,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = |rank: &Option<Rank>| match rank {
            Some(rank) => format!("{} of the entry {}", rank.key, rank.entry),
            None => "nobody".into(),
        };
        write!(f, "{}: ", self.part())?;
        match self {
            Wrong::Format(found) => write!(
                f,
                "this is {found:?}; a draw's is {:?} or {:?}",
                Format::One.word(),
                Format::Two.word()
            ),
            Wrong::NotDrawn(_) => write!(f, "not published yet; the draw is not over"),
            Wrong::Beacon => write!(
                f,
                "a draw that awaits a beacon has its value, of 1 to {MAX_BEACON_BYTES} bytes, and no other draw has"
            ),
            Wrong::Seed { commitment, computed } => {
                write!(
                    f,
                    "SHA-256(seed) is {computed}, but {commitment} was committed to"
                )
            }
            Wrong::Line { line } => write!(f, "line {line} is not \"name weight quantity\""),
            Wrong::Name(name) => write!(f, "{name:?} is not an entry's name"),
            Wrong::Weight { entry, weight } => {
                write!(
                    f,
                    "the entry {entry} weighs {weight}; weights are 1 to {MAX_WEIGHT}"
                )
            }
            Wrong::Quantity { entry, quantity } => {
                write!(
                    f,
                    "the entry {entry} wants {quantity} units; 1 to {MAX_QUANTITY} are possible"
                )
            }
            Wrong::Order { line, entry } => write!(
                f,
                "line {line}: {entry} does not stand behind the one before it; entries are sorted, and each is there once"
            ),
            Wrong::Count { published, found } => {
                write!(f, "{published} entries were published, and there are {found}")
            }
            Wrong::Root { published, computed } => write!(
                f,
                "the entries have the root {computed}, but {published} was published: one of them or the root was changed"
            ),
            Wrong::InTree {
                part,
                entry,
                published,
                in_tree,
            } => write!(
                f,
                "the entry {entry} says {published}, but its {part} in the tree is {in_tree}"
            ),
            Wrong::Entry { entry } => write!(
                f,
                "{entry} is not the entry that was drawn: neither its key nor its path is right"
            ),
            Wrong::NotTheirs { entry } => write!(f, "{entry} is not this shopper's name"),
            Wrong::OfFormat("nonce") => write!(f, "a draw of format 1 has none"),
            Wrong::OfFormat(_) => write!(f, "a proof of format 2 has it, and no other proof"),
            Wrong::Key {
                entry,
                published,
                computed,
            } => write!(f, "the entry {entry} has the key {computed}, not {published}"),
            Wrong::Path { published, computed } => match computed {
                Some(computed) => write!(
                    f,
                    "the path leads to {computed}, but the root is {published}: path, place or root was changed"
                ),
                None => write!(f, "the path has not the length that this place in the tree needs"),
            },
            Wrong::CutOff { published, computed } => write!(
                f,
                "the last winner is {}, not {}",
                rank(computed),
                rank(published)
            ),
            Wrong::Winners { published, computed } => write!(f, "{computed} have won, not {published}"),
            Wrong::Called { published, computed } => {
                let said = published.map_or("nothing".into(), |published| published.to_string());
                match computed {
                    None => write!(f, "there is no such entry"),
                    Some(computed) => write!(f, "{computed} stand up to the last one called, not {said}"),
                }
            }
            Wrong::Outcome {
                part,
                entry,
                published,
            } => write!(
                f,
                "by its key the entry {entry} has {}{}",
                if *published { "not " } else { "" },
                if *part == "won" { "won" } else { "been called" }
            ),
        }
    }
}

impl std::error::Error for Wrong {}

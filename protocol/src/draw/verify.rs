//! Checks a draw from its published data alone: the whole draw ([`Check`]) or one shopper's part ([`Proof`]).

use super::{
    Drum, Entry, Format, Hash, Key, MAX_BEACON_BYTES, MAX_WEIGHT, Pick, Rank, Seed, Winner, Wrong, merkle,
};
use crate::{MAX_QUANTITY, Nonce, SaleId, ShopperId, json, lean};
use serde::{Deserialize, Serialize};

/// The published data of a draw: first the commitment, with the sale; root, count and units when its entries close; then the
/// rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Draw {
    /// `flashsale draw 1` or `flashsale draw 2`: how the entries are named.
    pub format: String,
    pub sale: SaleId,
    /// SHA-256 of the seed.
    pub commitment: Hash,
    /// The source of the beacon's value, if the draw has one: published before the entries close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<String>,
    /// The value mixed into the seed: nobody could know it before the entries closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon: Option<String>,
    /// The number of units drawn for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<u64>,
    /// The entries, and the root of their tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// The number of winners, and the last of them. None after the draw: there was no entry, or no unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winners: Option<u64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lean::maybe_object"
    )]
    pub cut_off: Option<Rank>,
    /// Untaken units pass on in the order of the keys: the number of entries that have had their turn by now, and the last of
    /// them. Every entry up to it has had one, including the winners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<u64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lean::maybe_object"
    )]
    pub last_called: Option<Rank>,
    /// Nobody is called any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

/// One entry's part of a draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Proof {
    #[serde(deserialize_with = "lean::object")]
    pub draw: Draw,
    #[serde(deserialize_with = "lean::object")]
    pub entry: Entry,
    /// In format 2: the shopper in the entry's name, as the sale knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopper: Option<ShopperId>,
    /// In format 2: the nonce in the entry's name. None: the name was made with an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
    /// The entry's position among all, from 0.
    pub index: u64,
    /// The hashes next to its way to the root, lowest first.
    pub path: Vec<Hash>,
    pub key: Key,
    pub won: bool,
    /// Whether its turn has come according to `draw`: it was drawn, or units have passed on to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub called: bool,
}

/// The verified result.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub count: u64,
    pub units: u64,
    /// The winners, best first; for a single proof only that entry, if it has won.
    pub winners: Vec<Winner>,
    /// The entries that have had their turn, as published.
    pub called: Option<u64>,
}

/// The published data of a draw that was held.
struct Held<'a> {
    format: Format,
    drum: Drum,
    units: u64,
    count: u64,
    root: Hash,
    winners: u64,
    cut_off: Option<&'a Rank>,
    called: Option<u64>,
    last_called: Option<&'a Rank>,
}

/// Published data, as in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Published {
    /// A draw's file begins with this.
    Draw(Box<Draw>),
    Proof(Box<Proof>),
}

impl Published {
    /// Reads one JSON object, strictly: a text that two programs could read differently is refused.
    pub fn read(text: &[u8]) -> Result<Published, String> {
        let value = json::parse(text)?;
        let has = |name: &str| value.get(name).is_some();
        match (has("format"), has("draw")) {
            (true, false) if !has("path") => json::read(value).map(|draw| Published::Draw(Box::new(draw))),
            (false, true) => json::read(value).map(|proof| Published::Proof(Box::new(proof))),
            _ => Err("It is neither a draw nor a proof.".into()),
        }
    }
}

impl Draw {
    /// A draw of which only the commitment is published.
    pub fn committed(format: Format, sale: SaleId, commitment: Hash) -> Draw {
        Draw {
            format: format.word().into(),
            sale,
            commitment,
            awaits: None,
            beacon: None,
            units: None,
            count: None,
            root: None,
            seed: None,
            winners: None,
            cut_off: None,
            called: None,
            last_called: None,
            over: false,
        }
    }

    fn held(&self) -> Result<Held<'_>, Wrong> {
        let format = Format::from_word(&self.format)
            .ok_or_else(|| Wrong::Format(self.format.chars().take(40).collect()))?;
        let root = self.root.ok_or(Wrong::NotDrawn("root"))?;
        let count = self.count.ok_or(Wrong::NotDrawn("count"))?;
        let units = self.units.ok_or(Wrong::NotDrawn("units"))?;
        let seed = self.seed.ok_or(Wrong::NotDrawn("seed"))?;
        let winners = self.winners.ok_or(Wrong::NotDrawn("winners"))?;
        let computed = seed.commitment();
        if computed != self.commitment {
            return Err(Wrong::Seed {
                commitment: self.commitment,
                computed,
            });
        }
        let beacon = self.beacon.as_deref();
        let misplaced = self.awaits.is_some() != beacon.is_some();
        if misplaced || beacon.is_some_and(|value| value.is_empty() || value.len() > MAX_BEACON_BYTES) {
            return Err(Wrong::Beacon);
        }
        Ok(Held {
            format,
            drum: Drum::new(&seed, beacon),
            units,
            count,
            root,
            winners,
            cut_off: self.cut_off.as_ref(),
            called: self.called,
            last_called: self.last_called.as_ref(),
        })
    }
}

/// Checks a whole draw, entry by entry, and keeps only the winners in memory.
pub struct Check<'a> {
    published: Held<'a>,
    tree: merkle::Tree,
    pick: Pick,
    last: Option<String>,
    /// Entries up to the last one called, and whether that one was found.
    called: u64,
    has_last_called: bool,
}

impl<'a> Check<'a> {
    pub fn new(draw: &'a Draw) -> Result<Check<'a>, Wrong> {
        let published = draw.held()?;
        Ok(Check {
            tree: merkle::Tree::default(),
            pick: Pick::new(published.units, None),
            last: None,
            called: 0,
            has_last_called: published.last_called.is_none(),
            published,
        })
    }

    /// Takes the next entry, as its line in the file (without the line's end).
    pub fn line(&mut self, line: &str) -> Result<(), Wrong> {
        let number = self.tree.count() + 1;
        let entry = Entry::from_line(line).ok_or(Wrong::Line { line: number })?;
        entry.check()?;
        if self.last.as_ref().is_some_and(|last| *last >= entry.name) {
            return Err(Wrong::Order {
                line: number,
                entry: entry.name,
            });
        }
        self.tree.push(merkle::leaf(line.as_bytes()));
        let key = self.published.drum.key(&entry.name, entry.weight);
        self.pick.add_keyed(key, &entry);
        if let Some(last) = self.published.last_called {
            let order = (key, &entry.name).cmp(&(last.key, &last.entry));
            self.called += u64::from(order.is_le());
            self.has_last_called |= order.is_eq();
        }
        self.last = Some(entry.name);
        Ok(())
    }

    pub fn finish(self) -> Result<Verdict, Wrong> {
        let (published, found) = (self.published, self.tree.count());
        if found != published.count {
            return Err(Wrong::Count {
                published: published.count,
                found,
            });
        }
        let computed = self.tree.root();
        if computed != published.root {
            return Err(Wrong::Root {
                published: published.root,
                computed,
            });
        }
        let winners = self.pick.winners();
        let last = winners.last().map(|winner| &winner.rank);
        if last != published.cut_off {
            return Err(Wrong::CutOff {
                published: published.cut_off.cloned(),
                computed: last.cloned(),
            });
        }
        if winners.len() as u64 != published.winners {
            return Err(Wrong::Winners {
                published: published.winners,
                computed: winners.len() as u64,
            });
        }
        if !self.has_last_called || published.called.unwrap_or(0) != self.called {
            return Err(Wrong::Called {
                published: published.called,
                computed: self.has_last_called.then_some(self.called),
            });
        }
        Ok(Verdict {
            count: found,
            units: published.units,
            winners,
            called: published.called,
        })
    }
}

impl Proof {
    /// Whether the entry has this shopper's name.
    pub fn is_of(&self, shopper: &ShopperId) -> bool {
        let format = Format::from_word(&self.draw.format);
        let is_named = self.shopper.as_ref().is_none_or(|named| named == shopper);
        is_named
            && format.is_some_and(|format| {
                format.entry_name(self.draw.sale, shopper, self.nonce) == self.entry.name
            })
    }

    /// Checks that this entry was among the closed ones, has this key, and has rightly won or not won.
    pub fn verify(&self) -> Result<Verdict, Wrong> {
        let published = self.draw.held()?;
        if published.format == Format::One && self.nonce.is_some() {
            return Err(Wrong::OfFormat("nonce"));
        }
        if self.shopper.is_some() != (published.format == Format::Two) {
            return Err(Wrong::OfFormat("shopper"));
        }
        self.entry.check()?;
        let entry = &self.entry;
        let rank = published.drum.rank(entry);
        let climb = |entry: &Entry| merkle::climb(entry.leaf(), self.index, published.count, &self.path);
        let led_to = climb(entry);
        let in_tree = led_to == Some(published.root);
        if !in_tree {
            self.find_change(led_to.is_some(), rank.key, |entry| {
                climb(entry) == Some(published.root)
            })?;
        }
        if rank.key != self.key {
            return Err(if in_tree {
                Wrong::Key {
                    entry: entry.name.clone(),
                    published: self.key,
                    computed: rank.key,
                }
            } else {
                Wrong::Entry {
                    entry: entry.name.clone(),
                }
            });
        }
        if !in_tree {
            return Err(Wrong::Path {
                published: published.root,
                computed: led_to,
            });
        }
        if self.shopper.as_ref().is_some_and(|shopper| !self.is_of(shopper)) {
            return Err(Wrong::NotTheirs {
                entry: entry.name.clone(),
            });
        }
        let is_within = |last: Option<&Rank>| last.is_some_and(|last| rank <= *last);
        let won = is_within(published.cut_off);
        let outcomes = [
            ("won", self.won, won),
            ("called", self.called, is_within(published.last_called)),
        ];
        for (part, published, computed) in outcomes {
            if published != computed {
                return Err(Wrong::Outcome {
                    part,
                    entry: entry.name.clone(),
                    published,
                });
            }
        }
        let winners = if won {
            // The last winner may get fewer units than wanted; a proof alone cannot tell.
            vec![Winner {
                rank,
                units: entry.quantity,
                quantity: entry.quantity,
            }]
        } else {
            Vec::new()
        };
        Ok(Verdict {
            count: published.count,
            units: published.units,
            winners,
            called: published.called,
        })
    }

    /// For an entry that does not fit the tree: names its weight or quantity if one of them was changed.
    fn find_change(
        &self,
        has_path: bool,
        key: Key,
        is_in_tree: impl Fn(&Entry) -> bool,
    ) -> Result<(), Wrong> {
        let entry = &self.entry;
        let quantities = (1..=MAX_QUANTITY).map(|quantity| ("quantity", quantity));
        // A changed weight changes the key too.
        let weights = (1..=MAX_WEIGHT).map(|weight| ("weight", weight));
        let weights = weights.take_while(|_| key != self.key);
        let found = quantities.chain(weights).find(|(part, value)| {
            let mut other = entry.clone();
            match *part {
                "quantity" => other.quantity = *value,
                _ => other.weight = *value,
            }
            has_path && is_in_tree(&other)
        });
        match found {
            None => Ok(()),
            Some((part, in_tree)) => Err(Wrong::InTree {
                part,
                entry: entry.name.clone(),
                published: if part == "quantity" {
                    entry.quantity
                } else {
                    entry.weight
                },
                in_tree,
            }),
        }
    }
}

//! The verify button: checks a shopper's proof of a draw in their own browser, against what this page heard before the draw.

use flashsale_protocol::{
    Nonce, SaleId, ShopperId,
    draw::{Draw, Hash, Key, Proof},
};
use serde::Serialize;
use serde_json::Value;

/// What the page heard of a draw while nobody could know its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    pub commitment: Hash,
    /// Heard before the seed was revealed.
    pub root: Option<Hash>,
}

/// Whose name an entry must have, and what this page knows of the nonce in it.
#[derive(Debug, Default)]
pub struct Named<'a> {
    pub shopper: Option<&'a ShopperId>,
    /// Told by the server, before the draw.
    pub told: Option<Nonce>,
    /// Made by this page.
    pub made: Vec<Nonce>,
}

/// What came of checking a proof.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Checked {
    pub ok: bool,
    /// The wrong part, in one word, and the fault.
    pub part: Option<&'static str>,
    pub wrong: Option<String>,
    pub won: bool,
    /// Whether its turn has come, according to the proof.
    pub called: bool,
    pub entry: Option<String>,
    pub key: Option<Key>,
    pub count: u64,
    pub units: u64,
    pub winners: u64,
    /// How many entries have had their turn, according to the proof: the winners, and those to whom units passed on.
    pub turns: u64,
    /// Nobody else will have a turn.
    pub over: bool,
    /// Whether commitment and root equal those that this page heard before the draw.
    pub knew_commitment: bool,
    pub knew_root: bool,
    /// The entry's name was made with a random number of this page, so nobody could choose it.
    pub made_here: bool,
}

/// Checks a proof in the server's format.
pub fn check(json: &str, sale: SaleId, named: &Named<'_>, noted: Option<Noted>) -> Checked {
    // Through one `Value`, like every frame: a second reader of the same types would cost every shopper its bytes.
    let proof = serde_json::from_str::<Value>(json).and_then(serde_json::from_value);
    let proof: Proof = match proof {
        Ok(proof) => proof,
        Err(error) => return bad(None, noted, "format", format!("this is no proof: {error}")),
    };
    let bad = |part, wrong: String| bad(Some(&proof), noted, part, wrong);
    let draw = &proof.draw;
    if draw.sale != sale {
        return bad("sale", "this is a proof of another sale".into());
    }
    if let Some(noted) = noted {
        if noted.commitment != draw.commitment {
            return bad(
                "commitment",
                "it is not the one that this page was told before".into(),
            );
        }
        if noted.root.is_some() && noted.root != draw.root {
            return bad(
                "root",
                "it is not the one that this page was told before the draw".into(),
            );
        }
    }
    if named.shopper.is_some_and(|shopper| !proof.is_of(shopper)) {
        return bad("entry", "this is somebody else's entry".into());
    }
    if named.told.is_some() && named.told != proof.nonce {
        return bad(
            "nonce",
            "it is not the one that this page was told before the draw".into(),
        );
    }
    match proof.verify() {
        Ok(_) => Checked {
            made_here: proof.nonce.is_some_and(|nonce| named.made.contains(&nonce)),
            ..checked(Some(&proof), noted)
        },
        Err(wrong) => bad(wrong.part(), wrong.to_string()),
    }
}

fn bad(proof: Option<&Proof>, noted: Option<Noted>, part: &'static str, wrong: String) -> Checked {
    Checked {
        ok: false,
        part: Some(part),
        wrong: Some(wrong),
        ..checked(proof, noted)
    }
}

fn checked(proof: Option<&Proof>, noted: Option<Noted>) -> Checked {
    let draw = proof.map(|proof| &proof.draw);
    let number = |of: fn(&Draw) -> Option<u64>| draw.and_then(of).unwrap_or(0);
    Checked {
        ok: true,
        part: None,
        wrong: None,
        won: proof.is_some_and(|proof| proof.won),
        called: proof.is_some_and(|proof| proof.called),
        entry: proof.map(|proof| proof.entry.name.clone()),
        key: proof.map(|proof| proof.key),
        count: number(|draw| draw.count),
        units: number(|draw| draw.units),
        winners: number(|draw| draw.winners),
        turns: number(|draw| draw.called),
        over: draw.is_some_and(|draw| draw.over),
        knew_commitment: noted.is_some(),
        knew_root: noted.is_some_and(|noted| noted.root.is_some()),
        made_here: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashsale_protocol::draw::{Drum, Entry, Format, Seed, merkle};

    const MINE: Nonce = Nonce([7; 16]);

    fn shopper() -> ShopperId {
        "jo".parse().expect("a shopper")
    }

    fn proof() -> Proof {
        let sale = crate::fixture::sale();
        let entry = Entry {
            name: Format::Two.entry_name(sale, &shopper(), Some(MINE)),
            weight: 1,
            quantity: 1,
        };
        let seed = Seed([3; 32]);
        let rank = Drum::new(&seed, None).rank(&entry);
        let other = merkle::leaf(b"other 1 1");
        Proof {
            draw: Draw {
                units: Some(1),
                count: Some(2),
                root: Some(merkle::node(&entry.leaf(), &other)),
                seed: Some(seed),
                winners: Some(1),
                cut_off: Some(rank.clone()),
                ..Draw::committed(Format::Two, sale, seed.commitment())
            },
            entry,
            shopper: Some(shopper()),
            nonce: Some(MINE),
            index: 0,
            path: vec![other],
            key: rank.key,
            won: true,
            called: false,
        }
    }

    fn run(proof: &Proof, noted: Option<Noted>) -> Checked {
        knowing(proof, None, &[], noted)
    }

    /// `told` and `made`: what this page knows of its nonce.
    fn knowing(proof: &Proof, told: Option<Nonce>, made: &[Nonce], noted: Option<Noted>) -> Checked {
        let json = serde_json::to_string(proof).expect("JSON");
        let named = Named {
            shopper: Some(&shopper()),
            told,
            made: made.to_vec(),
        };
        check(&json, crate::fixture::sale(), &named, noted)
    }

    #[test]
    fn a_right_proof_is_right_and_says_what_was_known_before() {
        let proof = proof();
        let noted = Noted {
            commitment: proof.draw.commitment,
            root: proof.draw.root,
        };
        let checked = run(&proof, Some(noted));
        assert!(
            checked.ok && checked.won && checked.knew_commitment && checked.knew_root,
            "{checked:?}"
        );
        let checked = run(&proof, None);
        assert!(checked.ok && !checked.knew_commitment && !checked.knew_root);
        assert!(!checked.made_here, "nothing is known of the nonce");
    }

    #[test]
    fn a_name_is_checked_with_its_nonce_and_with_what_this_page_knows_of_that() {
        let proof = proof();
        let other = Nonce([8; 16]);
        let checked = knowing(&proof, Some(MINE), &[other, MINE], None);
        assert!(checked.ok && checked.made_here, "{checked:?}");
        let checked = knowing(&proof, Some(MINE), &[other], None);
        assert!(checked.ok && !checked.made_here, "another page's");
        assert_eq!(knowing(&proof, Some(other), &[MINE], None).part, Some("nonce"));
        for nonce in [None, Some(other)] {
            let changed = Proof {
                nonce,
                ..proof.clone()
            };
            assert_eq!(
                run(&changed, None).part,
                Some("entry"),
                "the name is of another nonce"
            );
        }
    }

    #[test]
    fn a_draw_of_the_first_format_is_checked_without_a_nonce() {
        let mut first = proof();
        first.draw.format = Format::One.word().into();
        (first.shopper, first.nonce) = (None, None);
        first.entry.name = Format::One.entry_name(first.draw.sale, &shopper(), None);
        first.draw.root = Some(merkle::node(&first.entry.leaf(), &first.path[0]));
        let rank = Drum::new(&Seed([3; 32]), None).rank(&first.entry);
        (first.key, first.draw.cut_off) = (rank.key, Some(rank));
        let checked = run(&first, None);
        assert!(checked.ok && !checked.made_here, "{checked:?}");
    }

    #[test]
    fn what_was_changed_since_this_page_heard_of_it_is_named() {
        let proof = proof();
        let other = Hash([9; 32]);
        let noted = |commitment, root| Some(Noted { commitment, root });
        let part = |proof: &Proof, noted| run(proof, noted).part;
        assert_eq!(part(&proof, noted(other, None)), Some("commitment"));
        assert_eq!(
            part(&proof, noted(proof.draw.commitment, Some(other))),
            Some("root")
        );
        let mut changed = proof.clone();
        changed.entry.name = "somebody".into();
        assert_eq!(part(&changed, None), Some("entry"));
        let mut changed = proof.clone();
        changed.won = false;
        assert_eq!(part(&changed, None), Some("won"));
        let mut changed = proof.clone();
        changed.draw.seed = Some(Seed([4; 32]));
        assert_eq!(part(&changed, None), Some("seed"));
        assert_eq!(
            check("{}", crate::fixture::sale(), &Named::default(), None).part,
            Some("format")
        );
    }
}

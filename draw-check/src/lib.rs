//! The verify button: checks a shopper's proof of a draw in their own browser, against what this page heard before the draw. A
//! module of its own, which few people ever need.

use flashsale_protocol::{
    draw::{Draw, Heard, Key, Proof},
    lean,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// Checks a proof in the server's format, against what the page's client says it has heard (`heard_of_draw`). Both and the answer
/// are JSON; no answer: `heard` is not what a client says.
#[wasm_bindgen]
pub fn check_draw(proof: &str, heard: &str) -> Option<String> {
    let heard: Heard = lean::from_value(lean::parse(heard)?)?;
    Some(lean::to_text(&check(proof, &heard)))
}

/// What came of checking a proof.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
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
pub fn check(json: &str, heard: &Heard) -> Checked {
    let Some(proof) = lean::parse(json).and_then(lean::from_value::<Proof>) else {
        return bad(None, heard, "format", "this is no proof".into());
    };
    let bad = |part, wrong: &str| bad(Some(&proof), heard, part, wrong.to_owned());
    let draw = &proof.draw;
    if draw.sale != heard.sale {
        return bad("sale", "this is a proof of another sale");
    }
    if heard
        .commitment
        .is_some_and(|commitment| commitment != draw.commitment)
    {
        return bad("commitment", "it is not the one that this page was told before");
    }
    if heard.root.is_some() && heard.root != draw.root {
        return bad(
            "root",
            "it is not the one that this page was told before the draw",
        );
    }
    if heard
        .shopper
        .as_ref()
        .is_some_and(|shopper| !proof.is_of(shopper))
    {
        return bad("entry", "this is somebody else's entry");
    }
    if heard.told.is_some() && heard.told != proof.nonce {
        return bad(
            "nonce",
            "it is not the one that this page was told before the draw",
        );
    }
    match proof.verify() {
        Ok(_) => Checked {
            made_here: proof.nonce.is_some_and(|nonce| heard.made.contains(&nonce)),
            ..checked(Some(&proof), heard)
        },
        Err(wrong) => bad(wrong.part(), &wrong.to_string()),
    }
}

fn bad(proof: Option<&Proof>, heard: &Heard, part: &'static str, wrong: String) -> Checked {
    Checked {
        ok: false,
        part: Some(part),
        wrong: Some(wrong),
        ..checked(proof, heard)
    }
}

fn checked(proof: Option<&Proof>, heard: &Heard) -> Checked {
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
        knew_commitment: heard.commitment.is_some(),
        knew_root: heard.root.is_some(),
        made_here: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashsale_protocol::{
        Nonce, SaleId, ShopperId,
        draw::{Drum, Entry, Format, Hash, Seed, merkle},
    };

    const NOTHING: (Option<Hash>, Option<Hash>) = (None, None);
    const MINE: Nonce = Nonce([7; 16]);

    fn sale() -> SaleId {
        "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("a sale")
    }

    fn shopper() -> ShopperId {
        "jo".parse().expect("a shopper")
    }

    fn proof() -> Proof {
        let sale = sale();
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

    fn run(proof: &Proof, (commitment, root): (Option<Hash>, Option<Hash>)) -> Checked {
        checked_with(
            proof,
            &Heard {
                commitment,
                root,
                ..heard()
            },
        )
    }

    fn heard() -> Heard {
        Heard {
            shopper: Some(shopper()),
            ..Heard::nothing(sale())
        }
    }

    /// Through the door that the page uses.
    fn checked_with(proof: &Proof, heard: &Heard) -> Checked {
        let (json, said) = (serde_json::to_string(proof).expect("JSON"), lean::to_text(heard));
        let checked = check(&json, heard);
        assert_eq!(check_draw(&json, &said), Some(lean::to_text(&checked)));
        checked
    }

    /// `told` and `made`: what this page knows of its nonce.
    fn knowing(proof: &Proof, told: Option<Nonce>, made: &[Nonce]) -> Checked {
        checked_with(
            proof,
            &Heard {
                told,
                made: made.to_vec(),
                ..heard()
            },
        )
    }

    #[test]
    fn a_right_proof_is_right_and_says_what_was_known_before() {
        let proof = proof();
        let checked = run(&proof, (Some(proof.draw.commitment), proof.draw.root));
        assert!(
            checked.ok && checked.won && checked.knew_commitment && checked.knew_root,
            "{checked:?}"
        );
        let checked = run(&proof, NOTHING);
        assert!(checked.ok && !checked.knew_commitment && !checked.knew_root);
        assert!(!checked.made_here, "nothing is known of the nonce");
    }

    #[test]
    fn a_name_is_checked_with_its_nonce_and_with_what_this_page_knows_of_that() {
        let proof = proof();
        let other = Nonce([8; 16]);
        let checked = knowing(&proof, Some(MINE), &[other, MINE]);
        assert!(checked.ok && checked.made_here, "{checked:?}");
        let checked = knowing(&proof, Some(MINE), &[other]);
        assert!(checked.ok && !checked.made_here, "another page's");
        assert_eq!(knowing(&proof, Some(other), &[MINE]).part, Some("nonce"));
        for nonce in [None, Some(other)] {
            let changed = Proof {
                nonce,
                ..proof.clone()
            };
            assert_eq!(
                run(&changed, NOTHING).part,
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
        let checked = run(&first, NOTHING);
        assert!(checked.ok && !checked.made_here, "{checked:?}");
    }

    #[test]
    fn what_was_changed_since_this_page_heard_of_it_is_named() {
        let proof = proof();
        let other = Hash([9; 32]);
        let part = |proof: &Proof, heard| run(proof, heard).part;
        assert_eq!(part(&proof, (Some(other), None)), Some("commitment"));
        assert_eq!(
            part(&proof, (Some(proof.draw.commitment), Some(other))),
            Some("root")
        );
        let mut changed = proof.clone();
        changed.entry.name = "somebody".into();
        assert_eq!(part(&changed, NOTHING), Some("entry"));
        let mut changed = proof.clone();
        changed.won = false;
        assert_eq!(part(&changed, NOTHING), Some("won"));
        let mut changed = proof.clone();
        changed.draw.seed = Some(Seed([4; 32]));
        assert_eq!(part(&changed, NOTHING), Some("seed"));
        assert_eq!(check("{}", &heard()).part, Some("format"));
        assert_eq!(check_draw("{}", "{}"), None);
    }
}

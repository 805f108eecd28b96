use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;

const VECTORS: &str = include_str!("../../golden/draw.json");
const PRIVATE_VECTORS: &str = include_str!("../../golden/draw-2.json");

fn seed(n: u64) -> Seed {
    Seed(Sha256::digest(n.to_be_bytes()).into())
}

fn sale() -> SaleId {
    SaleId::from_parts(1_700_000_000_000, 7)
}

fn entry(name: impl Into<String>, weight: u32, quantity: u32) -> Entry {
    Entry {
        name: name.into(),
        weight,
        quantity,
    }
}

/// Entries in the order of their names.
fn entries(count: u32) -> Vec<Entry> {
    (0..count)
        .map(|i| entry(format!("e{i:06}"), 1 + i % 3, 1 + i % 2))
        .collect()
}

/// Draws as a server does.
fn draw(entries: &[Entry], units: u64, seed: Seed, beacon: Option<&str>) -> (Draw, Vec<Winner>) {
    let drum = Drum::new(&seed, beacon);
    let (mut tree, mut pick) = (merkle::Tree::default(), Pick::new(units, None));
    for entry in entries {
        tree.push(entry.leaf());
        pick.add(&drum, entry);
    }
    let winners = pick.winners();
    let draw = Draw {
        awaits: beacon.map(|_| "a beacon".to_owned()),
        beacon: beacon.map(str::to_owned),
        units: Some(units),
        count: Some(tree.count()),
        root: Some(tree.root()),
        seed: Some(seed),
        winners: Some(winners.len() as u64),
        cut_off: winners.last().map(|winner| winner.rank.clone()),
        ..Draw::committed(Format::One, sale(), seed.commitment())
    };
    (draw, winners)
}

fn check(draw: &Draw, entries: &[Entry]) -> Result<Verdict, Wrong> {
    let mut check = Check::new(draw)?;
    for entry in entries {
        check.line(&entry.to_string())?;
    }
    check.finish()
}

fn proof(entries: &[Entry], index: usize, draw: &Draw) -> Proof {
    let leaves: Vec<Hash> = entries.iter().map(Entry::leaf).collect();
    let rank = Drum::new(&draw.seed.expect("drawn"), draw.beacon.as_deref()).rank(&entries[index]);
    Proof {
        draw: draw.clone(),
        entry: entries[index].clone(),
        shopper: None,
        nonce: None,
        index: index as u64,
        path: merkle::path(&leaves, index).expect("an entry"),
        key: rank.key,
        won: draw.cut_off.as_ref().is_some_and(|last| rank <= *last),
        called: draw.last_called.as_ref().is_some_and(|last| rank <= *last),
    }
}

/// This many entries of a draw have had their turn.
fn pass_on(draw: &mut Draw, entries: &[Entry], called: usize) {
    let drum = Drum::new(&draw.seed.expect("drawn"), draw.beacon.as_deref());
    let mut ranks: Vec<Rank> = entries.iter().map(|entry| drum.rank(entry)).collect();
    ranks.sort();
    draw.called = Some(called as u64);
    draw.last_called = called.checked_sub(1).map(|last| ranks[last].clone());
}

fn vectors() -> Value {
    let keys: Vec<Value> = [
        ("a", 1),
        ("a", 2),
        ("a", 1000),
        ("e000001", 1),
        ("3f9c2a77d0e14b58a6c1f00d9be2735c", 3),
    ]
    .into_iter()
    .flat_map(|(name, weight)| [(name, weight, None), (name, weight, Some("round 4242 f00d"))])
    .map(|(name, weight, beacon)| {
        let key = Drum::new(&seed(1), beacon).key(name, weight);
        json!({ "seed": seed(1), "beacon": beacon, "entry": name, "weight": weight, "key": key })
    })
    .collect();
    let places: Vec<Value> = ["a", "b", "3f9c2a77d0e14b58a6c1f00d9be2735c"]
        .into_iter()
        .map(|name| json!({ "seed": seed(2), "entry": name, "place": opening_place(&seed(2), name) }))
        .collect();
    let logarithms: Vec<Value> = [
        1,
        2,
        3,
        1 << 32,
        (1 << 63) + 1,
        u64::MAX as u128 - 1,
        u64::MAX as u128,
        1 << 64,
    ]
    .into_iter()
    .map(|n: u128| json!({ "n": n.to_string(), "minus_ln": logarithm::minus_ln(n).to_string() }))
    .collect();
    let names: Vec<Value> = ["u1", "somebody@example.com"]
        .into_iter()
        .map(|shopper: &str| {
            let name = Format::One.entry_name(sale(), &shopper.parse().expect("a shopper"), None);
            json!({ "sale": sale(), "shopper": shopper, "entry": name })
        })
        .collect();
    let draws: Vec<Value> = [
        (0, 5, None),
        (1, 5, None),
        (7, 0, None),
        (7, 3, None),
        (7, 100, None),
        (10, 4, Some("tomorrow's weather")),
    ]
    .into_iter()
    .map(|(count, units, beacon)| {
        let entries = entries(count);
        let (draw, winners) = draw(&entries, units, seed(3), beacon);
        let proof = (count > 2).then(|| proof(&entries, 2, &draw));
        json!({
            "draw": draw,
            "entries": entries.iter().map(Entry::to_string).collect::<Vec<_>>(),
            "winners": winners.iter().map(|w| json!([w.rank.entry, w.units, w.rank.key])).collect::<Vec<_>>(),
            "proof_of_the_third": proof,
        })
    })
    .collect();
    let passed_on: Vec<Value> = [(7, 3, 5), (7, 0, 0), (7, 0, 2), (7, 3, 7)]
        .into_iter()
        .map(|(count, units, called)| {
            let entries = entries(count);
            let (mut draw, _) = draw(&entries, units, seed(3), None);
            pass_on(&mut draw, &entries, called);
            json!({
                "draw": draw,
                "entries": entries.iter().map(Entry::to_string).collect::<Vec<_>>(),
                "proofs": (0..entries.len()).map(|index| proof(&entries, index, &draw)).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "passed_on": passed_on,
        "commitments": [{ "seed": seed(1), "commitment": seed(1).commitment() }],
        "logarithms": logarithms, "keys": keys, "opening_places": places, "names": names, "draws": draws,
    })
}

/// The vectors are frozen, because past draws must stay verifiable. `docs/verify_draw.py` is tested with the same file.
#[test]
fn the_frozen_vectors_are_what_is_computed() {
    let frozen: Value = serde_json::from_str(VECTORS).expect("JSON");
    let computed = vectors();
    for part in [
        "commitments",
        "logarithms",
        "keys",
        "opening_places",
        "names",
        "draws",
        "passed_on",
    ] {
        assert_eq!(
            computed[part],
            frozen[part],
            "{part}:\n{}",
            serde_json::to_string_pretty(&computed).expect("JSON")
        );
    }
}

fn nonce(n: u64) -> Nonce {
    Nonce(
        Sha256::digest(n.to_be_bytes())[..16]
            .try_into()
            .expect("16 bytes"),
    )
}

struct PrivateDraw {
    draw: Draw,
    entries: Vec<Entry>,
    winners: Vec<Winner>,
    /// Everybody's, in the order of the names.
    proofs: Vec<(ShopperId, Proof)>,
}

/// A draw of format 2 among `count` shoppers, the third of whom has no nonce.
fn private_draw(count: u64, units: u64, called: usize) -> PrivateDraw {
    let mut people: Vec<(Entry, ShopperId, Option<Nonce>)> = (0..count)
        .map(|i| {
            let shopper: ShopperId = format!("u{i}").parse().expect("a shopper");
            let nonce = (i != 2).then(|| nonce(i));
            let name = Format::Two.entry_name(sale(), &shopper, nonce);
            (entry(name, 1, 1 + i as u32 % 2), shopper, nonce)
        })
        .collect();
    people.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let entries: Vec<Entry> = people.iter().map(|(entry, ..)| entry.clone()).collect();
    let (mut draw, winners) = draw(&entries, units, seed(3), None);
    draw.format = Format::Two.word().into();
    pass_on(&mut draw, &entries, called);
    let proofs = people.iter().enumerate().map(|(index, (_, shopper, nonce))| {
        let proof = Proof {
            shopper: Some(shopper.clone()),
            nonce: *nonce,
            ..proof(&entries, index, &draw)
        };
        (shopper.clone(), proof)
    });
    PrivateDraw {
        proofs: proofs.collect(),
        draw,
        entries,
        winners,
    }
}

/// Like [`vectors`], for names that need a nonce.
fn private_vectors() -> Value {
    let names: Vec<Value> = [
        ("u1", Some(nonce(1))),
        ("u1", Some(nonce(2))),
        ("u1", None),
        ("somebody@example.com", Some(nonce(1))),
        ("somebody@example.com", None),
    ]
    .into_iter()
    .map(|(shopper, nonce)| {
        let name = Format::Two.entry_name(sale(), &shopper.parse().expect("a shopper"), nonce);
        json!({ "sale": sale(), "shopper": shopper, "nonce": nonce, "entry": name })
    })
    .collect();
    let draws: Vec<Value> = [(1, 5, 1), (7, 3, 5)]
        .into_iter()
        .map(|(count, units, called)| {
            let PrivateDraw {
                draw,
                entries,
                winners,
                proofs,
            } = private_draw(count, units, called);
            json!({
                "draw": draw,
                "entries": entries.iter().map(Entry::to_string).collect::<Vec<_>>(),
                "winners": winners.iter().map(|w| json!([w.rank.entry, w.units, w.rank.key])).collect::<Vec<_>>(),
                "proofs": proofs.iter().map(|(shopper, proof)| json!({ "shopper": shopper, "proof": proof })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "private_names": names, "private_draws": draws })
}

#[test]
fn the_frozen_vectors_of_private_names_are_what_is_computed() {
    let frozen: Value = serde_json::from_str(PRIVATE_VECTORS).expect("JSON");
    let computed = private_vectors();
    assert_eq!(
        computed,
        frozen,
        "{}",
        serde_json::to_string_pretty(&computed).expect("JSON")
    );
}

#[test]
fn a_proof_of_a_private_name_is_its_shoppers_and_nobody_elses() {
    let PrivateDraw {
        draw,
        entries,
        proofs,
        ..
    } = private_draw(7, 3, 5);
    check(&draw, &entries).expect("right");
    for (shopper, proof) in &proofs {
        proof.verify().expect("right");
        for (other, _) in &proofs {
            assert_eq!(proof.is_of(other), shopper == other, "{shopper} {other}");
        }
    }
    let (shopper, proof) = &proofs[0];
    let other_nonce = Proof {
        nonce: Some(nonce(99)),
        ..proof.clone()
    };
    assert!(!other_nonce.is_of(shopper));
    assert_eq!(part(other_nonce.verify()), "entry", "the name shows it");
    let mut unnamed = proof.clone();
    unnamed.shopper = None;
    assert_eq!(part(unnamed.verify()), "shopper");
    let mut changed = proof.clone();
    changed.draw.format = Format::One.word().into();
    assert_eq!(part(changed.verify()), "nonce");
    changed.draw.format = "flashsale draw 3".into();
    assert_eq!(part(changed.verify()), "format");
    assert!(!changed.is_of(shopper));
}

#[test]
fn a_changed_name_in_a_draw_of_private_names_is_found() {
    let PrivateDraw {
        draw,
        entries,
        proofs,
        ..
    } = private_draw(7, 3, 5);
    let mut renamed = entries.clone();
    // The name that this shopper would have had with another nonce.
    renamed[3].name = Format::Two.entry_name(sale(), &proofs[3].0, Some(nonce(99)));
    renamed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(part(check(&draw, &renamed)), "root");
    let mut proof = proofs[3].1.clone();
    proof.entry.name = Format::Two.entry_name(sale(), &proofs[3].0, Some(nonce(99)));
    assert_eq!(part(proof.verify()), "entry");
}

#[test]
fn a_nonce_gives_each_shopper_and_sale_another_name() {
    let [jo, al]: [ShopperId; 2] = ["jo", "al"].map(|who| who.parse().expect("a shopper"));
    let name = |sale, who, nonce| Format::Two.entry_name(sale, who, nonce);
    let names = [
        name(sale(), &jo, Some(nonce(1))),
        name(sale(), &jo, Some(nonce(2))),
        name(sale(), &jo, None),
        // Somebody else's nonce is of no use.
        name(sale(), &al, Some(nonce(1))),
        name(SaleId::from_parts(2, 2), &jo, Some(nonce(1))),
        Format::One.entry_name(sale(), &jo, None),
    ];
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    let ignored = Format::One.entry_name(sale(), &jo, Some(nonce(1)));
    assert_eq!(ignored, names[5], "format 1 stays as it is");
}

#[test]
fn a_draw_is_verified_whole_and_entry_by_entry() {
    for (count, units) in [(0, 3), (1, 3), (6, 3), (50, 7), (50, 0), (50, 1000)] {
        let entries = entries(count);
        let (mut draw, winners) = draw(&entries, units, seed(4), Some("beacon"));
        let called = (winners.len() + 2).min(entries.len());
        pass_on(&mut draw, &entries, called);
        let verdict = check(&draw, &entries).expect("right");
        assert_eq!((verdict.count, &verdict.winners), (u64::from(count), &winners));
        assert_eq!(verdict.called, Some(called as u64));
        let mut with_turn = 0;
        for (index, entry) in entries.iter().enumerate() {
            let proof = proof(&entries, index, &draw);
            let read: Proof =
                serde_json::from_str(&serde_json::to_string(&proof).expect("JSON")).expect("reads back");
            read.verify().expect("right");
            assert_eq!(
                proof.won,
                winners.iter().any(|winner| winner.rank.entry == entry.name)
            );
            assert!(read.called || !proof.won);
            with_turn += usize::from(read.called);
        }
        assert_eq!(with_turn, called);
    }
}

/// The wrong part of a changed draw.
#[track_caller]
fn part(result: Result<Verdict, Wrong>) -> &'static str {
    result.expect_err("something was changed").part()
}

#[test]
fn what_was_changed_in_a_draw_is_named() {
    let entries = entries(50);
    let (mut good, _) = draw(&entries, 7, seed(4), None);
    pass_on(&mut good, &entries, 10);
    let changed = |change: &dyn Fn(&mut Draw, &mut Vec<Entry>)| {
        let (mut draw, mut entries) = (good.clone(), entries.clone());
        change(&mut draw, &mut entries);
        part(check(&draw, &entries))
    };
    let other = Hash([7; 32]);
    assert_eq!(changed(&|draw, _| draw.format = "else".into()), "format");
    assert_eq!(changed(&|draw, _| draw.seed = Some(seed(5))), "seed");
    assert_eq!(changed(&|draw, _| draw.commitment = other), "seed");
    assert_eq!(changed(&|draw, _| draw.seed = None), "seed");
    assert_eq!(changed(&|draw, _| draw.root = Some(other)), "root");
    assert_eq!(changed(&|draw, _| draw.count = Some(49)), "count");
    assert_eq!(changed(&|draw, _| draw.units = Some(20)), "cut_off");
    assert_eq!(changed(&|draw, _| draw.winners = Some(1)), "winners");
    assert_eq!(changed(&|draw, _| draw.called = Some(9)), "called");
    assert_eq!(changed(&|draw, _| draw.called = None), "called");
    assert_eq!(changed(&|draw, _| draw.last_called = None), "called");
    assert_eq!(
        changed(&|draw, _| draw.last_called = draw.cut_off.clone()),
        "called"
    );
    assert_eq!(
        changed(&|draw, _| draw.last_called.as_mut().expect("called").key.0 += 1),
        "last_called"
    );
    assert_eq!(changed(&|draw, _| draw.beacon = Some("late".into())), "beacon");
    let late =
        |draw: &mut Draw, value: &str| (draw.awaits, draw.beacon) = (Some("x".into()), Some(value.into()));
    assert_eq!(changed(&|draw, _| late(draw, "late")), "cut_off");
    assert_eq!(changed(&|draw, _| late(draw, "")), "beacon");
    assert_eq!(changed(&|draw, _| draw.awaits = Some("x".into())), "beacon");
    assert_eq!(
        changed(&|draw, _| draw.cut_off.as_mut().expect("won").key.0 += 1),
        "cut_off"
    );
    assert_eq!(changed(&|_, entries| entries[3].name += "x"), "root");
    assert_eq!(changed(&|_, entries| entries[3].weight = 100), "root");
    assert_eq!(
        changed(&|_, entries| entries[3].weight = MAX_WEIGHT + 1),
        "weight"
    );
    assert_eq!(changed(&|_, entries| entries[3].weight = 0), "weight");
    assert_eq!(changed(&|_, entries| entries[3].quantity = 101), "quantity");
    assert_eq!(changed(&|_, entries| entries.swap(3, 4)), "entry");
    assert_eq!(
        changed(&|_, entries| entries.insert(3, entries[3].clone())),
        "entry"
    );
    assert_eq!(changed(&|_, entries| drop(entries.pop())), "count");
    assert_eq!(changed(&|_, entries| entries[3].name += " 1"), "line");
    assert_eq!(changed(&|_, entries| entries[3].name = "ü".into()), "entry");
}

#[test]
fn what_was_changed_in_a_proof_is_named() {
    let entries = entries(50);
    let (mut draw, _) = draw(&entries, 7, seed(4), None);
    pass_on(&mut draw, &entries, 10);
    let good = proof(&entries, 20, &draw);
    let changed = |change: &dyn Fn(&mut Proof)| {
        let mut proof = good.clone();
        change(&mut proof);
        part(proof.verify())
    };
    let other = Hash([7; 32]);
    assert_eq!(changed(&|proof| proof.entry.name += "x"), "entry");
    assert_eq!(changed(&|proof| proof.entry.weight += 1), "weight");
    assert_eq!(changed(&|proof| proof.entry.quantity += 1), "quantity");
    assert_eq!(changed(&|proof| proof.entry.weight = 0), "weight");
    assert_eq!(changed(&|proof| proof.key.0 -= 1), "key");
    assert_eq!(changed(&|proof| proof.path[2] = other), "path");
    assert_eq!(changed(&|proof| proof.path.truncate(2)), "path");
    assert_eq!(changed(&|proof| proof.path = vec![other; 10_000]), "path");
    assert_eq!(changed(&|proof| proof.index += 1), "path");
    assert_eq!(changed(&|proof| proof.index = u64::MAX), "path");
    assert_eq!(changed(&|proof| proof.draw.root = Some(other)), "path");
    assert_eq!(changed(&|proof| proof.draw.seed = Some(seed(9))), "seed");
    assert_eq!(changed(&|proof| proof.draw.seed = None), "seed");
    assert_eq!(changed(&|proof| proof.draw.root = None), "root");
    assert_eq!(changed(&|proof| proof.won = !proof.won), "won");
    assert_eq!(changed(&|proof| proof.called = !proof.called), "called");
    assert_eq!(
        changed(&|proof| proof.draw.beacon = Some("late".into())),
        "beacon"
    );
}

#[test]
fn texts_are_read_strictly() {
    let hash = Hash([0xab; 32]).to_string();
    assert_eq!(hash.parse(), Ok(Hash([0xab; 32])));
    for bad in [
        hash.to_uppercase(),
        hash[1..].to_owned(),
        format!("{hash}0"),
        "ü".repeat(32),
    ] {
        assert!(bad.parse::<Hash>().is_err(), "{bad}");
        assert!(bad.parse::<Seed>().is_err(), "{bad}");
    }
    let key = Key(u128::from(u64::MAX) << 38).to_string();
    assert_eq!(key.len(), KEY_DIGITS);
    for bad in [
        format!("+{}", &key[1..]),
        key[1..].to_owned(),
        key.to_uppercase(),
        String::new(),
    ] {
        assert!(bad.parse::<Key>().is_err(), "{bad}");
    }
    for bad in [
        "a 1", "a 1 1 1", "a 01 1", "a +1 1", "a -1 1", "a  1 1", "", "a 1 1\r",
    ] {
        assert_eq!(Entry::from_line(bad), None, "{bad:?}");
    }
}

#[test]
fn an_opening_place_stands_before_every_place_by_time() {
    let year_2020_us = 1_577_836_800_000_000;
    let mut seen = HashSet::new();
    for i in 0..10_000 {
        let place = opening_place(&seed(1), &format!("e{i}"));
        assert!((1..=1 << 50).contains(&place) && place < year_2020_us);
        seen.insert(place);
    }
    assert_eq!(seen.len(), 10_000);
    assert_ne!(
        opening_place(&seed(1), "e1") << 14,
        first_64_bits(&digest(mac(&seed(1)), DRAW, "e1")) & !0x3fff,
        "the two purposes share nothing"
    );
}

#[test]
fn a_name_differs_in_every_sale_and_does_not_tell_whose_it_is() {
    let shopper: ShopperId = "somebody@example.com".parse().expect("a shopper");
    let name = Format::One.entry_name(sale(), &shopper, None);
    assert_eq!(name.len(), 32);
    assert_ne!(
        name,
        Format::One.entry_name(SaleId::from_parts(2, 2), &shopper, None)
    );
    assert_eq!(entry(&name, 1, 1).check(), Ok(()));
}

#[test]
fn a_seed_does_not_reach_a_log() {
    assert!(!format!("{:?}", seed(1)).contains(&seed(1).reveal()[..8]));
}

/// Over many seeds, each weight wins its share: chi-square, whose 99.9 % point for 2 degrees of freedom is 13.8.
#[test]
fn chances_are_as_the_weights_say() {
    let entries: Vec<Entry> = (0..30).map(|i| entry(format!("e{i:02}"), 1 + i % 3, 1)).collect();
    let mut wins = [0.0; 3];
    const DRAWS: u64 = 6000;
    for n in 0..DRAWS {
        let drum = Drum::new(&seed(n), None);
        let mut pick = Pick::new(1, None);
        entries.iter().for_each(|entry| pick.add(&drum, entry));
        let winners = pick.winners();
        let number: usize = winners[0].rank.entry[1..].parse().expect("a number");
        wins[number % 3] += 1.0;
    }
    let chi_square: f64 = (0..3)
        .map(|i| {
            let expected = DRAWS as f64 * (i + 1) as f64 / 6.0;
            (wins[i] - expected).powi(2) / expected
        })
        .sum();
    assert!(chi_square < 13.8, "{wins:?}: {chi_square}");
}

proptest! {
    /// In any order of arrival, the picked entries are the first in the order of keys, and no unit is lost or invented.
    #[test]
    fn a_pick_is_the_front_of_the_sorted_entries(
        wanted in proptest::collection::vec((1_u32..4, 1_u32..4), 0..40),
        units in 0_u64..30,
        passed in 0_usize..10,
        n in any::<u64>(),
    ) {
        let drum = Drum::new(&seed(n), None);
        let entries: Vec<Entry> = wanted.iter().enumerate().map(|(i, (w, q))| entry(format!("e{i}"), *w, *q)).collect();
        let mut sorted: Vec<(Rank, u32)> = entries.iter().map(|e| (drum.rank(e), e.quantity)).collect();
        sorted.sort();
        let after = sorted.get(passed).map(|(rank, _)| rank.clone());
        let mut left = units;
        let mut expected = Vec::new();
        for (rank, quantity) in sorted.into_iter().filter(|(rank, _)| after.as_ref().is_none_or(|after| rank > after)) {
            if left == 0 {
                break;
            }
            let given = u64::from(quantity).min(left);
            left -= given;
            expected.push(Winner { rank, units: given as u32, quantity });
        }
        let mut pick = Pick::new(units, after);
        entries.iter().for_each(|entry| pick.add(&drum, entry));
        prop_assert_eq!(pick.winners(), expected);
    }
}

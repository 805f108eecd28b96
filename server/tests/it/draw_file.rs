//! A draw is checked from its file by two programs in two languages: `flashsale verify`, and the script in docs/ that is written
//! from the description alone. Both name what was changed.

use flashsale_protocol::{
    SaleId,
    draw::{Draw, Drum, Entry, Format, Hash, Pick, Proof, Rank, Seed, merkle},
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// `make test` checks a draw of a million in the same way (scripts/test, draw).
const ENTRIES: u32 = 3_000;
const UNITS: u64 = 50;
const CALLED: usize = 70;

struct Drawn {
    draw: Draw,
    entries: Vec<Entry>,
    folder: tempfile::TempDir,
}

fn drawn() -> Drawn {
    let entries: Vec<Entry> = (0..ENTRIES)
        .map(|i| Entry {
            name: format!("e{i:06}"),
            weight: 1 + i % 7,
            quantity: 1 + i % 2,
        })
        .collect();
    let (seed, beacon) = (Seed([0xab; 32]), "round 7 ünpredictable");
    let drum = Drum::new(&seed, Some(beacon));
    let (mut tree, mut pick) = (merkle::Tree::default(), Pick::new(UNITS, None));
    for entry in &entries {
        tree.push(entry.leaf());
        pick.add(&drum, entry);
    }
    let winners = pick.winners();
    let mut ranks: Vec<Rank> = entries.iter().map(|entry| drum.rank(entry)).collect();
    ranks.sort();
    let draw = Draw {
        awaits: Some("a beacon".into()),
        beacon: Some(beacon.into()),
        units: Some(UNITS),
        count: Some(tree.count()),
        root: Some(tree.root()),
        seed: Some(seed),
        winners: Some(winners.len() as u64),
        cut_off: winners.last().map(|winner| winner.rank.clone()),
        called: Some(CALLED as u64),
        last_called: Some(ranks[CALLED - 1].clone()),
        ..Draw::committed(Format::One, SaleId::from_parts(1, 1), seed.commitment())
    };
    Drawn {
        draw,
        entries,
        folder: tempfile::tempdir().expect("a folder"),
    }
}

impl Drawn {
    fn write(&self, draw: &Draw, entries: &[Entry]) -> PathBuf {
        let mut text = serde_json::to_string(draw).expect("JSON") + "\n";
        entries.iter().for_each(|entry| text += &format!("{entry}\n"));
        self.write_text(&text)
    }

    fn write_text(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("draw.txt");
        std::fs::write(&path, text).expect("writes");
        path
    }

    fn proof(&self, index: usize) -> Proof {
        let leaves: Vec<Hash> = self.entries.iter().map(Entry::leaf).collect();
        let entry = self.entries[index].clone();
        let rank = Drum::new(&self.draw.seed.expect("drawn"), self.draw.beacon.as_deref()).rank(&entry);
        Proof {
            draw: self.draw.clone(),
            path: merkle::path(&leaves, index).expect("an entry"),
            index: index as u64,
            key: rank.key,
            won: self.draw.cut_off.as_ref().is_some_and(|last| rank <= *last),
            called: self.draw.last_called.as_ref().is_some_and(|last| rank <= *last),
            entry,
            shopper: None,
            nonce: None,
        }
    }
}

/// Whether it was right, and what was said.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("runs");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    (output.status.success(), text)
}

fn rust(arguments: &[&str], file: &Path) -> (bool, String) {
    run(Command::new(env!("CARGO_BIN_EXE_flashsale"))
        .arg("verify")
        .args(arguments)
        .arg(file))
}

fn python(arguments: &[&str], file: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify_draw.py");
    run(Command::new("python3").arg(script).args(arguments).arg(file))
}

#[test]
fn the_script_agrees_with_the_frozen_vectors() {
    for vectors in ["draw.json", "draw-2.json"] {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../protocol/golden")
            .join(vectors);
        let (right, text) = python(&["--vectors"], &vectors);
        assert!(right, "{text}");
    }
}

#[test]
fn rust_and_python_find_the_same_winners() {
    let drawn = drawn();
    let file = drawn.write(&drawn.draw, &drawn.entries);
    let (right, text) = rust(&["--winners"], &file);
    assert!(right, "{text}");
    assert_eq!(
        text.lines().count() as u64,
        1 + drawn.draw.winners.expect("drawn")
    );
    assert_eq!(python(&["--winners"], &file), (true, text));
}

#[test]
fn both_name_what_was_changed_in_a_draw() {
    let drawn = drawn();
    let changed = |change: &dyn Fn(&mut Draw, &mut Vec<Entry>), part: &str| {
        let (mut draw, mut entries) = (drawn.draw.clone(), drawn.entries.clone());
        change(&mut draw, &mut entries);
        let file = drawn.write(&draw, &entries);
        for (right, text) in [rust(&[], &file), python(&[], &file)] {
            assert!(!right && text.starts_with("bad "), "{part}: {text}");
            assert!(text.contains(&format!("{part}: ")), "{part}: {text}");
        }
    };
    changed(&|draw, _| draw.seed = Some(Seed([8; 32])), "seed");
    changed(&|draw, _| draw.seed = None, "seed");
    changed(&|draw, _| draw.root = Some(Hash([8; 32])), "root");
    changed(&|_, entries| entries[5].name += "x", "root");
    changed(&|_, entries| entries.swap(5, 6), "entry");
    changed(&|_, entries| entries[5].weight = 0, "weight");
    changed(&|_, entries| entries[5].quantity = 1000, "quantity");
    changed(&|_, entries| drop(entries.pop()), "count");
    changed(&|_, entries| entries[5].name += " 1", "line");
    changed(&|draw, _| draw.beacon = None, "beacon");
    changed(&|draw, _| draw.beacon = Some("another".into()), "cut_off");
    let earlier = |rank: &Option<Rank>| {
        rank.clone().map(|rank| Rank {
            entry: "a".into(),
            ..rank
        })
    };
    changed(&|draw, _| draw.cut_off = earlier(&draw.cut_off), "cut_off");
    changed(&|draw, _| draw.winners = Some(1), "winners");
    changed(&|draw, _| draw.called = Some(CALLED as u64 - 1), "called");
    changed(&|draw, _| draw.last_called = None, "called");
    changed(&|draw, _| draw.last_called = draw.cut_off.clone(), "called");
    changed(
        &|draw, _| draw.last_called = earlier(&draw.last_called),
        "last_called",
    );
}

#[test]
fn both_name_what_was_changed_in_a_proof() {
    let drawn = drawn();
    let index_of = |last: &Option<Rank>| {
        let last = last.as_ref().expect("somebody");
        let index = drawn.entries.iter().position(|entry| entry.name == last.entry);
        index.expect("an entry")
    };
    let (winner, passed_on) = (index_of(&drawn.draw.cut_off), index_of(&drawn.draw.last_called));
    for (index, outcome) in [
        (0, None),
        (1234, None),
        (winner, Some(" won\n")),
        (passed_on, Some(" not-won called\n")),
    ] {
        let proof = drawn.proof(index);
        let check = |proof: &Proof| {
            let file = drawn.write_text(&serde_json::to_string_pretty(proof).expect("JSON"));
            [rust(&[], &file), python(&[], &file)]
        };
        for (right, text) in check(&proof) {
            assert!(right && text.contains(&proof.entry.name), "{text}");
            assert!(outcome.is_none_or(|outcome| text.ends_with(outcome)), "{text}");
        }
        let changed = |change: &dyn Fn(&mut Proof), part: &str| {
            let mut proof = proof.clone();
            change(&mut proof);
            for (right, text) in check(&proof) {
                assert!(!right && text.contains(&format!("{part}: ")), "{part}: {text}");
            }
        };
        changed(&|proof| proof.entry.name += "x", "entry");
        changed(&|proof| proof.key.0 += 1, "key");
        changed(&|proof| proof.path[3] = Hash([1; 32]), "path");
        changed(&|proof| proof.index += 1, "path");
        changed(&|proof| proof.won = !proof.won, "won");
        changed(&|proof| proof.called = !proof.called, "called");
        changed(&|proof| proof.draw.seed = Some(Seed([1; 32])), "seed");
    }
}

/// A draw of format 2, from the frozen vectors: its first line, its entries, and a proof with its shopper.
fn private() -> (Value, String, Value, String) {
    let vectors = include_str!("../../../protocol/golden/draw-2.json");
    let mut vectors: Value = serde_json::from_str(vectors).expect("JSON");
    let mut draw = vectors["private_draws"][1].take();
    let entries = draw["entries"].as_array().expect("entries");
    let lines: String = entries
        .iter()
        .map(|line| format!("{}\n", line.as_str().expect("a line")))
        .collect();
    let mut of_first = draw["proofs"][0].take();
    let shopper = of_first["shopper"].as_str().expect("a shopper").to_owned();
    (draw["draw"].take(), lines, of_first["proof"].take(), shopper)
}

#[test]
fn both_check_a_draw_of_private_names_and_find_a_changed_name() {
    let drawn = drawn();
    let (draw, lines, ..) = private();
    let check = |draw: &Value, lines: &str| {
        let file = drawn.write_text(&format!("{draw}\n{lines}"));
        [rust(&["--winners"], &file), python(&["--winners"], &file)]
    };
    let [one, other] = check(&draw, &lines);
    assert!(one.0, "{one:?}");
    assert_eq!(one, other);
    let name = lines.split(' ').next().expect("a name");
    let changed = format!("{}0", &name[..31]);
    for (right, text) in check(&draw, &lines.replacen(name, &changed, 1)) {
        assert!(!right && text.contains("root: "), "{text}");
    }
    let mut unknown = draw.clone();
    unknown["format"] = "flashsale draw 3".into();
    for (right, text) in check(&unknown, &lines) {
        assert!(!right && text.contains("format: "), "{text}");
    }
}

#[test]
fn both_say_whose_an_entry_is_by_its_nonce() {
    let drawn = drawn();
    let (_, _, proof, shopper) = private();
    let check = |proof: &Value, who: &str| {
        let file = drawn.write_text(&proof.to_string());
        let of = format!("--shopper={who}");
        [rust(&[&of], &file), python(&[&of], &file)]
    };
    for (right, text) in check(&proof, &shopper) {
        assert!(right, "{text}");
    }
    let changed = |change: &dyn Fn(&mut Value), part: &str| {
        let mut proof = proof.clone();
        change(&mut proof);
        for (right, text) in check(&proof, &shopper) {
            assert!(!right && text.contains(&format!("{part}: ")), "{part}: {text}");
        }
    };
    changed(
        &|proof| proof["nonce"] = "00112233445566778899aabbccddeeff".into(),
        "entry",
    );
    changed(&|proof| proof["nonce"] = Value::Null, "entry");
    changed(&|proof| proof["nonce"] = "0011".into(), "nonce");
    changed(&|proof| proof["nonce"] = 7.into(), "nonce");
    changed(&|proof| proof["entry"]["name"] = "somebody".into(), "entry");
    changed(
        &|proof| proof["draw"]["format"] = "flashsale draw 1".into(),
        "nonce",
    );
    for (right, text) in check(&proof, "somebody-else") {
        assert!(!right && text.contains("entry: "), "{text}");
    }
    // Without a shopper's name, format 1 still has no nonces.
    let mut first = proof.clone();
    first["draw"]["format"] = "flashsale draw 1".into();
    let file = drawn.write_text(&first.to_string());
    for (right, text) in [rust(&[], &file), python(&[], &file)] {
        assert!(!right && text.contains("nonce: "), "{text}");
    }
    let whole = drawn.write(&drawn.draw, &drawn.entries);
    for (right, text) in [rust(&["--shopper=u1"], &whole), python(&["--shopper=u1"], &whole)] {
        assert!(!right && text.contains("only a proof"), "{text}");
    }
}

#[test]
fn a_file_is_held_against_what_was_noted_before() {
    let drawn = drawn();
    let file = drawn.write(&drawn.draw, &drawn.entries);
    let root = drawn.draw.root.expect("closed").to_string();
    let commitment = drawn.draw.commitment.to_string();
    let other = "0".repeat(64);
    assert!(rust(&["--root", &root, "--commitment", &commitment], &file).0);
    for part in ["root", "commitment"] {
        let (right, text) = rust(&[&format!("--{part}"), &other], &file);
        assert!(!right && text.starts_with(&format!("bad {part}: ")), "{text}");
    }
    let (right, text) = rust(&["--root", "abc"], &file);
    assert!(!right && text.contains("64 hex digits"), "{text}");
}

#[test]
fn what_is_no_draw_is_refused_with_its_reason() {
    let drawn = drawn();
    for (content, reason) in [
        ("", "empty"),
        ("hello\n", "neither"),
        ("{\"a\":1}\n", "neither"),
        ("[1]\n", "neither"),
        (
            "{\"format\":\"x\",\"seed\":\"AB\"}\n",
            "the draw in the first line",
        ),
        (&"x".repeat(70_000), "longer"),
        (&"[".repeat(50_000), "neither"),
    ] {
        let file = drawn.write_text(content);
        let (right, text) = rust(&[], &file);
        assert!(!right && text.contains(reason), "{text}");
        let (right, text) = python(&[], &file);
        assert!(!right && text.starts_with("bad format: "), "{text}");
    }
    for (right, text) in [rust(&[], Path::new("nowhere")), python(&[], Path::new("nowhere"))] {
        assert!(!right && text.contains("nowhere"), "{text}");
    }
}

/// A text that is read in two ways, or not at all, is refused by both.
#[test]
fn a_draw_that_is_not_written_as_described_is_refused_by_both() {
    let drawn = drawn();
    let draw = serde_json::to_string(&drawn.draw).expect("JSON");
    let proof = serde_json::to_string(&drawn.proof(7)).expect("JSON");
    let lines: String = drawn.entries.iter().map(|entry| format!("{entry}\n")).collect();
    let seed = drawn.draw.seed.expect("drawn").reveal();
    let last = drawn.draw.cut_off.as_ref().expect("won");
    let text = serde_json::to_string(last).expect("JSON");
    let list = serde_json::to_string(&(&last.key, &last.entry)).expect("JSON");
    // What is changed, into what, and the part that both name.
    let changes = [
        (seed.clone(), seed.to_uppercase(), "seed"),
        (seed.clone(), seed[1..].to_owned(), "seed"),
        (format!("\"{seed}\""), "7".into(), "seed"),
        ("\"count\":".into(), "\"count\":3000,\"count\":".into(), "count"),
        ("\"count\":3000".into(), "\"count\":3000.0".into(), "count"),
        ("\"count\":3000".into(), "\"count\":-3000".into(), "count"),
        ("\"units\":50".into(), "\"units\":true".into(), "units"),
        ("\"units\":50".into(), "\"units\":-0".into(), ""),
        (
            "\"units\":50".into(),
            "\"units\":18446744073709551616".into(),
            "units",
        ),
        (text.clone(), list, "cut_off"),
        (text, "{\"entry\":\"a\"}".into(), "key"),
        ("\"commitment\":".into(), "\"commitments\":".into(), "commitment"),
        ("\"sale\":\"0".into(), "\"sale\":\"8".into(), "sale"),
        ("a beacon".into(), "\\ud800".into(), ""),
        ("\"units\":".into(), "\"more\":NaN,\"units\":".into(), ""),
        (
            "\"units\":".into(),
            "\"more\":1,\"more\":2,\"units\":".into(),
            "more",
        ),
    ];
    let refused = |file: &Path, what: &str, part: &str| {
        for (right, text) in [rust(&[], file), python(&[], file)] {
            // Of a field in a field Rust names the outer one.
            let named = text.contains(part) || text.contains("draw: ");
            let named = named && !text.contains("Traceback");
            assert!(!right && named, "{what}: {part} in {text}");
        }
    };
    for (from, to, part) in &changes {
        for (text, rest) in [(&draw, lines.as_str()), (&proof, "")] {
            assert!(text.contains(from.as_str()), "{from} in {text}");
            let file = drawn.write_text(&format!("{}\n{rest}", text.replace(from, to)));
            refused(&file, to, part);
        }
    }
    for (from, to, part) in [
        ("\"index\":7", "\"index\":\"7\"", "index"),
        ("\"path\":[", "\"path\":[7,", "path"),
        ("\"path\":", "\"paths\":[],\"path\":7,\"x\":", "path"),
        ("\"won\":false", "\"won\":0", "won"),
        ("\"entry\":{", "\"entry\":{\"name\":\"x\",", "name"),
        ("{\"draw\":", "{\"format\":\"flashsale draw 1\",\"draw\":", ""),
    ] {
        assert!(proof.contains(from), "{from} in {proof}");
        refused(&drawn.write_text(&proof.replace(from, to)), to, part);
    }
    refused(
        &drawn.write_text(&format!("{proof}\nmore")),
        "behind a proof",
        "proof",
    );
    refused(
        &drawn.write_text(&format!("\u{feff}{draw}\n{lines}")),
        "a mark before it",
        "",
    );
    // A draw that is a proof of another one as well.
    let both = format!("{},{}", &draw[..draw.len() - 1], &proof[1..]);
    refused(&drawn.write_text(&format!("{both}\n{lines}")), "both", "");
    for text in [format!("{draw}\n{lines}"), format!("{proof}\n\n")] {
        let right = drawn.write_text(&text);
        assert!(rust(&[], &right).0 && python(&[], &right).0);
    }
}

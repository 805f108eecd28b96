//! Reads a draw's published data from a file and checks it: a draw's file (one line of JSON, then one line per entry) or one
//! shopper's proof (JSON). `docs/draw.md` describes both.

use anyhow::{Context, bail};
use flashsale_protocol::{
    ShopperId,
    draw::{Check, Draw, Hash, Proof, Published, Verdict, Wrong},
    json,
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// The longest line of a draw's file, and the longest proof, in bytes.
const MAX_BYTES: u64 = 64 * 1024;
const READ_BYTES: usize = 256 * 1024;

/// Values that somebody noted before the draw, to compare with the file.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    pub commitment: Option<Hash>,
    pub root: Option<Hash>,
    /// Whose entry a proof must be about.
    pub shopper: Option<ShopperId>,
}

/// The checked file, and the result.
#[derive(Debug)]
pub enum Checked {
    Draw(Box<Draw>, Result<Verdict, Wrong>),
    Proof(Box<Proof>, Result<Verdict, Wrong>),
    /// The file is of another draw than the noted one; names the part that differs.
    NotNoted {
        part: &'static str,
        noted: Hash,
        published: Option<Hash>,
    },
}

/// An error: the file cannot be read, or is neither a draw's file nor a proof.
pub fn check(path: &Path, noted: &Noted) -> anyhow::Result<Checked> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut lines = BufReader::with_capacity(READ_BYTES, file);
    let first = line(&mut lines)?.context("the file is empty")?;
    let whole_first = Published::read(first.as_bytes());
    if let Ok(Published::Draw(draw)) = whole_first {
        if let Some(other) = differs(&draw, noted) {
            return Ok(other);
        }
        if noted.shopper.is_some() {
            bail!("entry: only a proof shows whose an entry is");
        }
        let verdict = check_entries(&draw, lines)?;
        return Ok(Checked::Draw(draw, verdict));
    }
    if let Err(error) = whole_first
        && json::parse(first.as_bytes()).is_ok_and(|value| value.get("format").is_some())
    {
        bail!("the draw in the first line cannot be read: {error}");
    }
    // A proof may span several lines.
    let mut text = first + "\n";
    (&mut lines).take(MAX_BYTES).read_to_string(&mut text)?;
    let proof = match Published::read(text.as_bytes()) {
        Ok(Published::Proof(proof)) => proof,
        Ok(Published::Draw(_)) => bail!("a draw's file begins with one line of JSON"),
        Err(error) => bail!("neither a draw's file nor a proof: {error}"),
    };
    if let Some(other) = differs(&proof.draw, noted) {
        return Ok(other);
    }
    let is_theirs = noted.shopper.as_ref().is_none_or(|shopper| proof.is_of(shopper));
    let verdict = proof.verify().and_then(|verdict| {
        let entry = proof.entry.name.clone();
        is_theirs.then_some(verdict).ok_or(Wrong::NotTheirs { entry })
    });
    Ok(Checked::Proof(proof, verdict))
}

fn differs(draw: &Draw, noted: &Noted) -> Option<Checked> {
    let parts = [
        ("commitment", noted.commitment, Some(draw.commitment)),
        ("root", noted.root, draw.root),
    ];
    parts.into_iter().find_map(|(part, noted, published)| {
        let noted = noted.filter(|noted| Some(*noted) != published)?;
        Some(Checked::NotNoted {
            part,
            noted,
            published,
        })
    })
}

fn check_entries(draw: &Draw, mut lines: impl BufRead) -> anyhow::Result<Result<Verdict, Wrong>> {
    let mut check = match Check::new(draw) {
        Ok(check) => check,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let mut text = String::new();
    while read_line(&mut lines, &mut text)? {
        if let Err(wrong) = check.line(&text) {
            return Ok(Err(wrong));
        }
    }
    Ok(check.finish())
}

fn line(lines: &mut impl BufRead) -> anyhow::Result<Option<String>> {
    let mut text = String::new();
    Ok(read_line(lines, &mut text)?.then_some(text))
}

/// The next line without its end. False: there is none.
fn read_line(lines: &mut impl BufRead, text: &mut String) -> anyhow::Result<bool> {
    text.clear();
    let read = lines.take(MAX_BYTES).read_line(text)?;
    if read as u64 == MAX_BYTES {
        bail!("a line is longer than {MAX_BYTES} bytes");
    }
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(read > 0)
}

//! A draw over as many entries as a sale can have: the time of its one pass over them, and the memory. Then small draws with many
//! seeds, in which everybody must win about equally often.

use crate::bench::cpu;
use anyhow::{Context, Result, ensure};
use clap::Args;
use flashsale::draw_file::{self, Checked, Noted};
use flashsale_protocol::{
    SaleId,
    draw::{Draw, Drum, Entry, Format, Pick, Seed, merkle},
};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::json;
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Seek, Write},
    path::{Path, PathBuf},
    time::Instant,
};

/// Draws with different seeds, and the entries and units of each.
const SEEDS: u64 = 20;
const SMALL_ENTRIES: u64 = 1_000;
const SMALL_UNITS: u64 = 100;
/// Room for the first line, so that it can be written after the entries.
const HEAD_BYTES: usize = 1024;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 10_000_000)]
    entries: u64,
    #[arg(long, default_value_t = 100)]
    units: u64,
    /// Entries weigh 1 to this.
    #[arg(long, default_value_t = 3)]
    weights: u32,
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the draw's file here, and checks it as `flashsale verify` does.
    #[arg(long)]
    keep: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<bool> {
    let mut file = match &options.keep {
        Some(path) => File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?,
        None => tempfile::tempfile()?,
    };
    write_entries(&file, options)?;

    // From here on it does what a server does when its entries are closed: one pass, entry by entry, on one core.
    let (began, cpu_before) = (Instant::now(), cpu::of_this_process()?);
    let seed = Seed(rand::random());
    let draw = draw(&mut file, options.units, seed)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = (cpu::of_this_process()? - cpu_before).as_secs_f64();
    let peak_rss_bytes = getrusage(UsageWho::RUSAGE_SELF)?.max_rss() as u64 * 1024;

    if let Some(path) = &options.keep {
        write_head(&mut file, &draw)?;
        check(path)?;
    }
    let p = chi_square_p();
    let figures = json!({
        "entries": options.entries, "units": options.units, "winners": draw.winners, "seconds": seconds,
        "cpu_seconds": cpu_seconds, "peak_rss_bytes": peak_rss_bytes, "chi_square_p": p, "chi_square_seeds": SEEDS,
        "chi_square_entries": SMALL_ENTRIES,
    });
    println!("{:<34} {:>12}", "entries", options.entries);
    println!(
        "{:<34} {:>12.2} s   ≤ 30 at 10,000,000",
        "one pass: tree, keys, winners", seconds
    );
    println!(
        "{:<34} {:>12.1} MB  ≤ 500",
        "peak memory",
        peak_rss_bytes as f64 / 1e6
    );
    println!(
        "{:<34} {:>12.3}     ≥ 0.001",
        "chi-square p, 20 seeds, 1,000 entries", p
    );
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?)?;
    }
    Ok(p >= 0.001 && peak_rss_bytes <= 500_000_000)
}

/// Entries with names as the server makes them, in order.
fn write_entries(file: &File, options: &Options) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    writeln!(out, "{:HEAD_BYTES$}", "")?;
    let step = u128::MAX / u128::from(options.entries.max(1));
    for i in 0..options.entries {
        let name = u128::from(i) * step + rand::random::<u128>() % step;
        let weight = 1 + (i % u64::from(options.weights)) as u32;
        writeln!(out, "{name:032x} {weight} {}", 1 + i % 2)?;
    }
    Ok(out.flush()?)
}

fn draw(file: &mut File, units: u64, seed: Seed) -> Result<Draw> {
    file.rewind()?;
    let mut lines = BufReader::with_capacity(256 * 1024, file);
    let mut text = String::new();
    lines.read_line(&mut text)?;
    let drum = Drum::new(&seed, None);
    let (mut tree, mut pick) = (merkle::Tree::default(), Pick::new(units, None));
    loop {
        text.clear();
        if lines.read_line(&mut text)? == 0 {
            break;
        }
        let entry = Entry::from_line(text.trim_end()).context("a bad line")?;
        tree.push(entry.leaf());
        pick.add(&drum, &entry);
    }
    let winners = pick.winners();
    Ok(Draw {
        units: Some(units),
        count: Some(tree.count()),
        root: Some(tree.root()),
        seed: Some(seed),
        winners: Some(winners.len() as u64),
        cut_off: winners.last().map(|winner| winner.rank.clone()),
        ..Draw::committed(Format::Two, SaleId::from_parts(1, 1), seed.commitment())
    })
}

fn write_head(file: &mut File, draw: &Draw) -> Result<()> {
    file.rewind()?;
    let head = serde_json::to_string(draw)?;
    ensure!(head.len() <= HEAD_BYTES, "the head is too long");
    write!(file, "{head:HEAD_BYTES$}")?;
    Ok(())
}

fn check(path: &Path) -> Result<()> {
    let began = Instant::now();
    match draw_file::check(path, &Noted::default())? {
        Checked::Draw(_, Ok(_)) => println!("verified in {:.2} s", began.elapsed().as_secs_f64()),
        other => anyhow::bail!("the draw's own file does not verify: {other:?}"),
    }
    Ok(())
}

/// The probability of a result this uneven if all entries have the same chance.
fn chi_square_p() -> f64 {
    let entries: Vec<Entry> = (0..SMALL_ENTRIES)
        .map(|i| Entry {
            name: format!("{i:06}"),
            weight: 1,
            quantity: 1,
        })
        .collect();
    let mut wins = vec![0.0_f64; entries.len()];
    // The same seeds in every run give the same result, so a run never fails by bad luck.
    for n in 1..=SEEDS {
        let drum = Drum::new(&Seed([n as u8; 32]), None);
        let mut pick = Pick::new(SMALL_UNITS, None);
        entries.iter().for_each(|entry| pick.add(&drum, entry));
        for winner in pick.winners() {
            if let Some(wins) = winner
                .rank
                .entry
                .parse::<usize>()
                .ok()
                .and_then(|i| wins.get_mut(i))
            {
                *wins += 1.0;
            }
        }
    }
    // In each draw a fixed number of entries wins, so one entry's wins vary less, by the share of those that lose.
    let chance = SMALL_UNITS as f64 / SMALL_ENTRIES as f64;
    let expected = SEEDS as f64 * chance;
    let chi_square: f64 = wins
        .iter()
        .map(|n| (n - expected).powi(2) / (expected * (1.0 - chance)))
        .sum();
    upper_tail(chi_square, (SMALL_ENTRIES - 1) as f64)
}

/// The chance that a chi-square of `freedom` degrees is this large or larger (E. B. Wilson and M. M. Hilferty, "The Distribution
/// of Chi-Square", PNAS 17(12), 1931: its cube root is nearly normal).
fn upper_tail(chi_square: f64, freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    let z = ((chi_square / freedom).cbrt() - (1.0 - spread)) / spread.sqrt();
    // Abramowitz and Stegun, 26.2.17: within 7.5e-8.
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly;
    if z >= 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_tail_is_the_one_of_the_tables() {
        for (chi_square, freedom, p) in [(1106.97, 999.0, 0.01), (998.33, 999.0, 0.5), (18.307, 10.0, 0.05)] {
            assert!(
                (upper_tail(chi_square, freedom) - p).abs() < 0.005,
                "{chi_square}"
            );
        }
    }

    #[test]
    fn a_drawn_file_verifies() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            entries: 5_000,
            units: 10,
            weights: 3,
            json: Some(folder.path().join("draw.json")),
            keep: Some(folder.path().join("draw.txt")),
        };
        assert!(run(&options).expect("runs"));
    }
}

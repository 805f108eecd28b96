//! Latencies by command, and the report.

use anyhow::Result;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// Highest recorded latency, in µs.
pub const HIGHEST_US: u64 = 120_000_000;

/// One histogram per command, in µs.
#[derive(Default)]
pub struct Timings(Mutex<BTreeMap<&'static str, Histogram<u64>>>);

impl Timings {
    pub fn record(&self, verb: &'static str, took: Duration) {
        let Ok(mut by_verb) = self.0.lock() else { return };
        if let Some(histogram) = by_verb.get_mut(verb) {
            histogram.saturating_record(took.as_micros() as u64);
        } else if let Ok(mut histogram) = Histogram::new_with_bounds(1, HIGHEST_US, 3) {
            histogram.saturating_record(took.as_micros() as u64);
            by_verb.insert(verb, histogram);
        }
    }

    /// A quantile of one command, in ms; 0 without any.
    pub fn ms(&self, verb: &str, quantile: f64) -> f64 {
        let by_verb = self.0.lock();
        by_verb
            .ok()
            .and_then(|by_verb| {
                by_verb
                    .get(verb)
                    .map(|h| h.value_at_quantile(quantile) as f64 / 1000.0)
            })
            .unwrap_or(0.0)
    }

    pub fn print(&self) -> Result<()> {
        println!(
            "{:<10} {:>8} {:>9} {:>9} {:>9} {:>9}",
            "command", "count", "p50 ms", "p95 ms", "p99 ms", "max ms"
        );
        let Ok(by_verb) = self.0.lock() else { return Ok(()) };
        for (verb, h) in by_verb.iter() {
            let ms = |us: u64| us as f64 / 1000.0;
            println!(
                "{verb:<10} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                h.len(),
                ms(h.value_at_quantile(0.5)),
                ms(h.value_at_quantile(0.95)),
                ms(h.value_at_quantile(0.99)),
                ms(h.max())
            );
        }
        Ok(())
    }
}

pub fn progress(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<11} {bar:40} {pos}/{len} {elapsed}");
    let bar = ProgressBar::new(length).with_message(what);
    if let Ok(style) = style {
        bar.with_style(style)
    } else {
        bar
    }
}

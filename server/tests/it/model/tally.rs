//! How often what happened.

use std::{collections::BTreeMap, fmt};

/// How often what happened, over all cases: a model test that never gets anywhere proves nothing.
#[derive(Debug, Default)]
pub struct Seen {
    pub steps: u64,
    pub calls: u64,
    answers: BTreeMap<String, u64>,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        self.steps += other.steps;
        self.calls += other.calls;
        for (answer, count) in &other.answers {
            *self.answers.entry(answer.clone()).or_default() += count;
        }
    }

    /// Counts an answer by its variant's name.
    pub fn answer(&mut self, verb: &str, answer: &impl fmt::Debug) {
        let text = format!("{answer:?}");
        let word = text.split([' ', '{']).next().unwrap_or_default();
        *self.answers.entry(format!("{verb} {word}")).or_default() += 1;
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} steps, {} calls", self.steps, self.calls)?;
        for (answer, count) in &self.answers {
            writeln!(f, "{count:>8} {answer}")?;
        }
        Ok(())
    }
}

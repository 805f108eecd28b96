//! Reads a script's answer: the time at which it was true, and its words.

use crate::error::{Error, Result};
use std::str::FromStr;

/// An answer with the time (ms, Redis' clock) at which it was true.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    pub now: u64,
    pub value: T,
}

/// Whether a command was carried out now or before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    First,
    /// Carried out before, and nothing newer came since.
    Again,
    /// Carried out before, and its effect is no longer the shopper's latest.
    Over,
}

impl Repeat {
    /// From the word that a script adds to its answer.
    pub(super) fn of(word: Option<&str>) -> Self {
        match word {
            Some("again") => Self::Again,
            Some("over") => Self::Over,
            _ => Self::First,
        }
    }
}

pub(super) fn first_number(answers: &[String]) -> Result<u64> {
    timed(answers).map(|(number, _)| number)
}

/// Splits the leading number off a script's answer.
pub(super) fn timed(answers: &[String]) -> Result<(u64, &[String])> {
    let (first, rest) = answers
        .split_first()
        .ok_or_else(|| Error::unexpected("an empty answer"))?;
    Ok((ScriptAnswer::of(first).number(0)?, rest))
}

/// One item's answer: words separated by spaces.
pub(super) struct ScriptAnswer<'a> {
    words: Vec<&'a str>,
}

impl<'a> ScriptAnswer<'a> {
    pub fn of(text: &'a str) -> Self {
        Self {
            words: text.split(' ').collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn word(&self) -> &'a str {
        self.words.first().copied().unwrap_or_default()
    }

    pub fn text(&self, at: usize) -> Result<&'a str> {
        self.words.get(at).copied().ok_or_else(|| self.unexpected())
    }

    pub fn number<T: FromStr>(&self, at: usize) -> Result<T> {
        self.parse(at)
    }

    pub fn parse<T: FromStr>(&self, at: usize) -> Result<T> {
        self.text(at)?.parse().map_err(|_| self.unexpected())
    }

    pub fn unexpected(&self) -> Error {
        Error::unexpected(format!("a script answered {:?}", self.words.join(" ")))
    }
}

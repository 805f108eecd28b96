//! The line's history on its way to Postgres: the notes of its scripts.

use super::{Stock, answer::ScriptAnswer, line::read_device, scripts::DROP_JOURNAL};
use crate::{error::Result, sale::Note};
use flashsale_protocol::SaleId;
use fred::prelude::*;

/// Notes of the line's history read in one call.
pub(crate) const JOURNAL_BATCH: usize = 5_000;

/// The oldest notes of the line's history.
#[derive(Debug)]
pub struct Journal {
    pub notes: Vec<Note>,
    /// The first and the last note, as they were read.
    ends: Option<(String, String)>,
}

impl Stock {
    /// The oldest notes that the line's scripts keep for Postgres.
    pub async fn journal(&self, sale: SaleId) -> Result<Journal> {
        let key = self.runner.keys.sale("journal", sale);
        let lines: Vec<String> = self
            .runner
            .client()
            .lrange(key, 0, JOURNAL_BATCH as i64 - 1)
            .await?;
        let notes = lines.iter().map(|line| read_note(&ScriptAnswer::of(line)));
        Ok(Journal {
            notes: notes.collect::<Result<_>>()?,
            ends: lines.first().cloned().zip(lines.last().cloned()),
        })
    }

    /// Drops notes that were written, unless somebody else has dropped them: the notes there now were not read yet.
    pub async fn drop_journal(&self, sale: SaleId, read: Journal) -> Result<()> {
        if let Some((first, last)) = read.ends {
            let args = vec![read.notes.len().to_string(), first, last];
            self.runner.on_sale(&DROP_JOURNAL, sale, args).await?;
        }
        Ok(())
    }
}

fn read_note(answer: &ScriptAnswer<'_>) -> Result<Note> {
    Ok(match answer.word() {
        word @ ("joined" | "restored") => {
            let (device, nonce) = read_device(answer.text(2)?).ok_or_else(|| answer.unexpected())?;
            Note::Joined {
                shopper: answer.parse(1)?,
                device: device.to_owned(),
                quantity: answer.number(3)?,
                place: answer.number(4)?,
                at_us: answer.number(5)?,
                line: answer.text(6)?.parse()?,
                nonce,
                restored: word == "restored",
            }
        }
        status => Note::Ended {
            shopper: answer.parse(1)?,
            status: status.to_owned(),
            at_us: answer.number(2)?,
        },
    })
}

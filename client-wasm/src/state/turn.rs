//! One step of the machine while it runs.

use super::{Change, Effect, Moment};
use flashsale_protocol::{Command, CommandId, Nonce, Request};

/// One step's collected effects and its source of ids and jitter.
pub(super) struct Turn {
    pub now: u64,
    dice: u128,
    /// At most one step's nonce.
    pub nonce: Option<Nonce>,
    pub effects: Vec<Effect>,
}

impl Turn {
    pub fn new(moment: Moment) -> Self {
        Self {
            now: moment.at_ms,
            dice: moment.random,
            nonce: moment.nonce,
            effects: Vec::new(),
        }
    }

    pub fn id(&mut self) -> CommandId {
        self.dice = self.dice.wrapping_add(1);
        CommandId::from_parts(self.now, self.dice)
    }

    /// A whole number from 0 to `most`.
    pub fn up_to(&self, most: u64) -> u64 {
        // Ids use the lower bits; the higher ones are still fresh.
        let high = u64::try_from(self.dice >> 64).unwrap_or(0);
        if most == u64::MAX { high } else { high % (most + 1) }
    }

    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub fn changed(&mut self, change: Change) {
        let effect = Effect::Changed(change);
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }

    pub fn send(&mut self, id: CommandId, command: impl Into<Command>) {
        self.push(Effect::Send(Request::new(id, command).to_json()));
    }
}

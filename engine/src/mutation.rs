//! Deliberate defects, in debug builds only, to prove that the fault harness can fail. `FLASHSALE_MUTATION` names one; a release
//! build has none of this.

use flashsale_protocol::CommandId;
use strum::{IntoStaticStr, VariantArray};

/// The possible defects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Mutation {
    /// Orders are written without asking whether the lane may sell them.
    DropGuard,
    /// A lane is used although it was opened in another life of Redis.
    ForgetRun,
    /// An order is acknowledged before it is committed.
    AcknowledgeEarly,
    /// Cancelled units come back twice.
    ReturnTwice,
    /// A checkout has no lease: nobody finds it when its gateway dies.
    SkipLease,
    /// Holds end before their time.
    ExpireEarly,
    /// The limit per shopper is not checked.
    SkipLimit,
    /// A repeated command is carried out again.
    ForgetCommand,
    /// One bad item fails its batch.
    FailTogether,
    /// A shop is told to capture although the order is over.
    CaptureAnyway,
}

impl Mutation {
    pub fn all() -> &'static [Mutation] {
        Self::VARIANTS
    }

    pub fn word(self) -> &'static str {
        self.into()
    }

    /// Whether this process has this defect.
    #[cfg(debug_assertions)]
    pub(crate) fn is_on(self) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        CHOSEN
            .get_or_init(|| std::env::var("FLASHSALE_MUTATION").ok())
            .as_deref()
            == Some(self.word())
    }

    #[cfg(not(debug_assertions))]
    pub(crate) const fn is_on(self) -> bool {
        false
    }

    /// The changes that this defect makes in scripts: the right text, and its replacement.
    const fn in_lua(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Mutation::ForgetRun => &[("if values[2] ~= this_run() then", "if false then")],
            Mutation::ReturnTwice => &[(
                "if redis.call('SADD', returned, order) == 0 then",
                "if false then",
            )],
            // The hold's own bucket would find it at the hold's end, so it must not be due then.
            Mutation::SkipLease => &[(
                "local lease_till = whole(now + lease_ms)",
                "local lease_till = whole(now + 86400000)",
            )],
            Mutation::ExpireEarly => &[
                ("'-inf', whole(now), 'LIMIT'", "'-inf', whole(now + 700), 'LIMIT'"),
                (
                    "if tonumber(till) > now then",
                    "if tonumber(till) > now + 700 then",
                ),
            ],
            Mutation::SkipLimit => &[(
                "local left = lane.shopper_limit - bought",
                "local left = lane.shopper_limit",
            )],
            Mutation::ForgetCommand => &[("if part == '' then", "if true then")],
            _ => &[],
        }
    }

    /// A script with the chosen defect.
    pub fn change(source: &str) -> String {
        let chosen = Self::VARIANTS.iter().find(|mutation| mutation.is_on());
        let places = chosen.map_or(&[][..], |mutation| mutation.in_lua());
        places
            .iter()
            .fold(source.to_owned(), |source, (good, bad)| source.replace(good, bad))
    }
}

/// The id under which a command is known.
pub(crate) fn known_as(command: CommandId) -> CommandId {
    if Mutation::ForgetCommand.is_on() {
        return CommandId::from_parts(crate::clock::now_ms(), rand::random());
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stock::SCRIPTS;

    #[test]
    fn every_change_of_a_script_finds_its_place() {
        for mutation in Mutation::VARIANTS {
            for (good, _) in mutation.in_lua() {
                assert!(
                    SCRIPTS.iter().any(|script| script.source.contains(good)),
                    "{}",
                    mutation.word()
                );
            }
        }
    }
}

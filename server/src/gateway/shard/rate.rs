//! Limits the rate of one socket's commands. It needs one number per socket, where a general limiter would need ten. The generic
//! cell rate algorithm (ATM Forum, Traffic Management 4.0, section 4.4.2). Pure.

use crate::config::Limits;

/// Finer than ms, to tell thousands of commands a second apart.
const UNITS_A_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Rate {
    /// The time of the next command if all came evenly, in units of the shard's time.
    due: u64,
}

impl Rate {
    /// Checks a command at this time, in ms. Err: it is this many ms too early.
    pub fn check(&mut self, limits: &Limits, now: u64) -> Result<(), u64> {
        let now = now * UNITS_A_MS;
        let each = 1_000 * UNITS_A_MS / u64::from(limits.commands_per_s.max(1));
        let at_once = each * u64::from(limits.command_burst.max(1) - 1);
        let early = self.due.saturating_sub(now + at_once);
        if early > 0 {
            return Err(early.div_ceil(UNITS_A_MS));
        }
        self.due = self.due.max(now) + each;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use proptest::prelude::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        limits: Limits,
    }

    fn limits(per_s: u32, burst: u32) -> Limits {
        let flags = [
            format!("--commands-per-s={per_s}"),
            format!("--command-burst={burst}"),
        ];
        Cli::parse_from(std::iter::once("test".to_owned()).chain(flags)).limits
    }

    proptest! {
        /// In any period no more pass than the burst and the rate allow; a client that waits as told passes.
        #[test]
        fn no_more_pass_than_the_rate_and_the_burst(
            per_s in 1u32..3_000,
            burst in 1u32..50,
            pauses in prop::collection::vec(0u64..200, 1..300),
        ) {
            let limits = limits(per_s, burst);
            let (mut rate, mut now, mut passed) = (Rate::default(), 1_000u64, Vec::new());
            for pause in pauses {
                now += pause;
                if let Err(wait) = rate.check(&limits, now) {
                    prop_assert!(wait > 0);
                    now += wait;
                    prop_assert_eq!(rate.check(&limits, now), Ok(()));
                }
                passed.push(now);
            }
            for (i, from) in passed.iter().enumerate() {
                for (j, to) in passed.iter().enumerate().skip(i) {
                    let most = f64::from(burst) + (to - from) as f64 / 1000.0 * f64::from(per_s) * 1.001;
                    prop_assert!((j - i + 1) as f64 <= most + 1.0, "{} in {} ms", j - i + 1, to - from);
                }
            }
        }
    }
}

//! What shoppers do with what they have: they give it back, or ask for more time.

use super::{Checked, Run, all_told, command_id, in_batches, shopper};
use flashsale_engine::{sale::LaneRef, stock::What};
use futures_util::future::join_all;
use proptest::prelude::prop_assert_eq;

impl Run<'_> {
    pub(super) async fn release(&mut self, at: LaneRef, items: &[(u8, What, u8)]) -> Checked {
        let refusal = self.lane.refuses(at.epoch);
        let items = in_batches(items, |(n, ..)| *n);
        let calls = items.iter().map(|(n, what, command)| {
            let command = Some(command_id(*n, *command));
            self.stock.release(at, shopper(*n), *what, command)
        });
        let answers = all_told(join_all(calls).await, refusal)?.unwrap_or_default();
        for ((n, what, command), answer) in items.iter().zip(answers) {
            let expected =
                self.remembered
                    .release(&mut self.lane, command_id(*n, *command), &shopper(*n), *what);
            prop_assert_eq!(&answer.value, &expected, "s{} {}", n, command);
            self.seen.answer("release", &answer.value);
        }
        Ok(())
    }

    pub(super) async fn extend(&mut self, at: LaneRef, items: &[(u8, bool, u8)]) -> Checked {
        let refusal = self.lane.refuses(at.epoch);
        let items = in_batches(items, |(n, ..)| *n);
        let calls = items.iter().map(|(n, others_wait, command)| {
            let command = command_id(*n, *command);
            self.stock.extend(at, shopper(*n), *others_wait, command)
        });
        let answers = all_told(join_all(calls).await, refusal)?.unwrap_or_default();
        for ((n, others_wait, command), answer) in items.iter().zip(answers) {
            let expected = self.remembered.extend(
                &mut self.lane,
                answer.now,
                command_id(*n, *command),
                &shopper(*n),
                *others_wait,
            );
            prop_assert_eq!(&answer.value, &expected, "s{} {}", n, command);
            self.seen.answer("extend", &answer.value);
        }
        Ok(())
    }
}

//! How many steps of purchases this process asks of the stores, and how long they take: what the governor goes by
//! (`worker/governor.rs`).

use std::{
    future::Future,
    sync::Mutex,
    time::{Duration, Instant},
};

/// Time between two reports of a gateway, and between two looks of the governor.
pub const REPORTED_EVERY: Duration = Duration::from_millis(250);

/// A step of a purchase in a store. A payment provider's time is in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Reserve,
    Place,
    BeginPayment,
    SettlePayment,
}

const STEPS: usize = 4;
/// A step in Redis is to take a fifth of the time of one in Postgres: 100 ms to 500 ms in the brief.
const RESERVE_WEIGHT: u32 = 5;

/// What a process has seen since it looked last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Units put into carts or refused: people who came in their turn.
    pub reserves: u32,
    /// The mean time of the slowest step, as one in Postgres.
    pub delay: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfStep {
    done: u32,
    took: Duration,
    running: u32,
    /// Since when nothing has come back while something was asked.
    silent_since: Option<Instant>,
}

/// The steps of this process.
#[derive(Debug, Default)]
pub struct Load {
    steps: Mutex<[OfStep; STEPS]>,
}

impl Load {
    /// Carries out a step, and notes how long it takes.
    pub(crate) async fn of<T>(&self, step: Step, asked: impl Future<Output = T>) -> T {
        let running = Running::begin(self, step);
        let answer = asked.await;
        running.end();
        answer
    }

    /// What was seen since the last call. A step that gives no answer at all has taken the time since it was last heard of.
    pub fn take(&self) -> Seen {
        let now = Instant::now();
        let mut seen = Seen::default();
        let Ok(mut steps) = self.steps.lock() else {
            return seen;
        };
        for (number, step) in steps.iter_mut().enumerate() {
            let mean = step.took.checked_div(step.done).unwrap_or_default();
            let silence = step.silent_since.map_or(Duration::ZERO, |since| now - since);
            let delay = mean.max(silence);
            let is_reserve = number == Step::Reserve as usize;
            seen.delay = seen
                .delay
                .max(if is_reserve { delay * RESERVE_WEIGHT } else { delay });
            if is_reserve {
                seen.reserves = step.done;
            }
            (step.done, step.took) = (0, Duration::ZERO);
        }
        seen
    }

    fn note(&self, step: Step, change: impl FnOnce(&mut OfStep)) {
        if let Ok(mut steps) = self.steps.lock() {
            change(&mut steps[step as usize]);
        }
    }
}

/// A step that is being carried out. An asker who gives up drops it.
struct Running<'a> {
    load: &'a Load,
    step: Step,
    since: Instant,
}

impl<'a> Running<'a> {
    fn begin(load: &'a Load, step: Step) -> Self {
        let since = Instant::now();
        load.note(step, |of| {
            of.running += 1;
            of.silent_since.get_or_insert(since);
        });
        Self { load, step, since }
    }

    fn end(self) {
        let took = self.since.elapsed();
        self.load.note(self.step, |of| {
            of.done += 1;
            of.took += took;
            of.silent_since = None;
        });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.load.note(self.step, |of| {
            of.running -= 1;
            of.silent_since = (of.running > 0).then(|| of.silent_since.unwrap_or_else(Instant::now));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const TAKES: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn the_slowest_step_counts_and_each_look_begins_anew() {
        let load = Load::default();
        load.of(Step::Place, tokio::time::sleep(TAKES)).await;
        load.of(Step::Reserve, async {}).await;
        load.of(Step::Reserve, async {}).await;
        let seen = load.take();
        assert_eq!(seen.reserves, 2);
        assert!(seen.delay >= TAKES, "{seen:?}");
        assert_eq!(load.take(), Seen::default());
    }

    #[tokio::test]
    async fn a_reservation_is_to_be_five_times_as_fast_as_an_order() {
        let load = Load::default();
        load.of(Step::Reserve, tokio::time::sleep(TAKES)).await;
        assert!(load.take().delay >= TAKES * RESERVE_WEIGHT);
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_slow_until_nobody_asks_it() {
        let load = Load::default();
        let asked = tokio::time::timeout(TAKES, load.of(Step::Place, pending::<()>()));
        let look = async {
            tokio::time::sleep(TAKES / 2).await;
            load.take()
        };
        let (_, seen) = tokio::join!(asked, look);
        assert!(seen.delay >= TAKES / 2, "{seen:?}");
        assert_eq!(load.take().delay, Duration::ZERO, "the asker has given up");
    }
}

//! How much somebody may ask for: so much a second on average, and so much at once. This is the generic cell rate algorithm (ITU-T
//! I.371): of each asker only the time is kept at which all that was asked for would have been allowed one by one.
//!
//! Our own, because what was taken can be given back: a request that a wider limit refuses must not count against the narrower ones.
//! And because processes can share a budget: each decides by what it knows, and they tell each other what they have let through
//! ([`crate::sharing`]). So nobody waits for Redis, and whoever has taken a burst of each process owes them all.

use dashmap::DashMap;
use std::{hash::Hash, time::Duration};
use tokio::time::Instant;

/// Costs a second, and at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub per_minute: u64,
    pub burst: u64,
}

impl Rate {
    pub(crate) const fn per_second(rate: u32, burst: u32) -> Self {
        let per_minute = at_least_one(rate) * 60;
        Self {
            per_minute,
            burst: at_least_one(burst),
        }
    }

    pub(crate) const fn per_minute(rate: u32, burst: u32) -> Self {
        Self {
            per_minute: at_least_one(rate),
            burst: at_least_one(burst),
        }
    }

    pub(crate) fn times(self, factor: u64) -> Self {
        Self {
            per_minute: self.per_minute * factor,
            burst: self.burst * factor,
        }
    }

    /// After how many seconds a whole burst may come again.
    pub(crate) const fn whole_s(self) -> u64 {
        (self.burst * 60).div_ceil(self.per_minute)
    }

    fn ns(self, cost: u64) -> u64 {
        cost * 60_000_000_000 / self.per_minute
    }
}

const fn at_least_one(number: u32) -> u64 {
    if number == 0 { 1 } else { number as u64 }
}

/// What an asker may still ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub costs: u64,
    /// When it will be a whole burst again.
    pub whole_in: Duration,
}

impl Left {
    /// Of somebody whom nothing limits.
    pub(crate) const EVERYTHING: Self = Self {
        costs: u64::MAX,
        whole_in: Duration::ZERO,
    };

    pub(crate) fn or_less(self, other: Self) -> Self {
        if other.costs < self.costs { other } else { self }
    }
}

pub(crate) struct Budget<K> {
    rate: Rate,
    since: Instant,
    askers: DashMap<K, Asker>,
}

#[derive(Default)]
struct Asker {
    /// In ns since the budget's beginning.
    due: u64,
    /// What other processes have not been told of, in ns; below 0: given back.
    untold: i64,
}

/// Of askers who have taken less than this part of a burst here, other processes are not told: those are nearly all.
const NOTEWORTHY: u64 = 16;

impl<K: Hash + Eq + Clone> Budget<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            since: Instant::now(),
            askers: DashMap::new(),
        }
    }

    /// Takes this much, or says how long to wait for it. More than can ever come at once is taken as that.
    pub(crate) fn take(&self, key: &K, cost: u64) -> Result<Left, Duration> {
        let now = self.now();
        let asked = self.rate.ns(cost.min(self.rate.burst));
        let most = self.rate.ns(self.rate.burst);
        let mut asker = self.askers.entry(key.clone()).or_default();
        let then = asker.due.max(now) + asked;
        match then.checked_sub(now + most).filter(|over| *over > 0) {
            Some(over) => Err(Duration::from_nanos(over)),
            None => {
                asker.due = then;
                asker.untold = asker.untold.saturating_add_unsigned(asked);
                let used = then - now;
                Ok(Left {
                    costs: (most - used) / self.rate.ns(1).max(1),
                    whole_in: Duration::from_nanos(used),
                })
            }
        }
    }

    pub(crate) fn give_back(&self, key: &K, cost: u64) {
        if let Some(mut asker) = self.askers.get_mut(key) {
            let back = self.rate.ns(cost.min(self.rate.burst));
            asker.due = asker.due.saturating_sub(back);
            asker.untold = asker.untold.saturating_sub_unsigned(back);
        }
    }

    /// What other processes have not been told of, in µs, of at most so many askers; it counts as told. Those of whom there is no news
    /// come last: what others have let through is asked for as well.
    pub(crate) fn untold(&self, most: usize) -> Vec<(K, i64)> {
        let from = self.now() + self.rate.ns(self.rate.burst / NOTEWORTHY);
        let noteworthy = self.askers.iter().filter(|asker| asker.due > from);
        let (news, others): (Vec<_>, Vec<_>) = noteworthy
            .map(|asker| (asker.key().clone(), asker.untold != 0))
            .partition(|(_, is_news)| *is_news);
        let told = news.into_iter().chain(others).take(most);
        told.filter_map(|(key, _)| {
            let untold = std::mem::take(&mut self.askers.get_mut(&key)?.untold);
            Some((key, untold / 1_000))
        })
        .collect()
    }

    /// Takes note of how far all processes together have let an asker go.
    pub(crate) fn hear(&self, key: &K, ahead: Duration) {
        let due = self.now() + ahead.as_nanos() as u64;
        let mut asker = self.askers.entry(key.clone()).or_default();
        asker.due = asker.due.max(due);
    }

    /// Forgets those who may ask for everything again.
    pub(crate) fn forget_idle(&self) {
        let now = self.now();
        self.askers.retain(|_, asker| asker.due > now);
    }

    pub(crate) fn len(&self) -> usize {
        self.askers.len()
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_comes_at_once_and_then_so_much_a_second() {
        let budget = Budget::new(Rate::per_minute(60, 10));
        for _ in 0..10 {
            budget.take(&1, 1).expect("within the burst");
        }
        let wait = budget.take(&1, 1).expect_err("above the burst");
        assert!(
            wait > Duration::from_millis(900) && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        budget.take(&2, 10).expect("another one's budget");
        assert!(budget.take(&2, 1).is_err());
        budget.take(&3, 1_000).expect("no request is too large for ever");
    }

    #[test]
    fn what_is_left_is_told() {
        let budget = Budget::new(Rate::per_minute(60, 10));
        let left = budget.take(&1, 3).expect("within the burst");
        assert_eq!(left.costs, 7);
        assert_eq!(left.whole_in.as_millis().div_ceil(1_000), 3);
        assert_eq!(budget.take(&1, 7).expect("the rest").costs, 0);
    }

    #[test]
    fn a_refusal_costs_nothing_and_what_is_given_back_is_there_again() {
        let budget = Budget::new(Rate::per_minute(1, 5));
        budget.take(&1, 5).expect("all of it");
        for _ in 0..100 {
            assert!(budget.take(&1, 1).is_err());
        }
        budget.give_back(&1, 2);
        budget.take(&1, 2).expect("given back");
        assert!(budget.take(&1, 1).is_err());
    }

    #[test]
    fn nobody_saves_more_than_a_burst_by_giving_back() {
        let budget = Budget::new(Rate::per_minute(1, 5));
        budget.take(&1, 1).expect("one");
        budget.give_back(&1, 5);
        budget.take(&1, 5).expect("a burst");
        assert!(budget.take(&1, 1).is_err());
    }

    #[test]
    fn processes_that_tell_each_other_allow_together_what_one_allows() {
        let processes = [(); 4].map(|()| Budget::new(Rate::per_minute(60, 32)));
        let most = |budget: &Budget<u8>| (0..1_000).take_while(|_| budget.take(&1, 1).is_ok()).count();
        // At once, each knows only its own.
        assert_eq!(processes.iter().map(most).sum::<usize>(), 4 * 32);
        let untold = |budget: &Budget<u8>| budget.untold(10);
        let told: Vec<(u8, i64)> = processes.iter().flat_map(untold).collect();
        assert_eq!(told, [(1, 32_000_000); 4]);
        assert_eq!(processes[0].untold(10), [(1, 0)], "it goes on asking");
        let all: i64 = told.iter().map(|(_, us)| us).sum();
        for budget in &processes {
            budget.hear(&1, Duration::from_micros(all as u64));
            let wait = budget.take(&1, 1).expect_err("all owe for all");
            assert!(wait > Duration::from_secs(96), "{wait:?}");
        }
    }

    #[test]
    fn nobody_is_told_of_an_asker_who_asks_for_little() {
        let budget = Budget::new(Rate::per_minute(60, 160));
        budget.take(&1, 10).expect("a little");
        assert!(budget.untold(10).is_empty());
        budget.take(&1, 1).expect("one more");
        assert_eq!(budget.untold(10), [(1, 11_000_000)]);
        budget.give_back(&1, 1);
        assert!(budget.untold(10).is_empty(), "little again");
        budget.take(&1, 2).expect("more");
        assert_eq!(budget.untold(10), [(1, 1_000_000)]);
    }

    #[test]
    fn whoever_may_ask_for_everything_again_is_forgotten() {
        let budget = Budget::new(Rate::per_second(1_000_000, 10));
        budget.take(&1, 1).expect("one");
        std::thread::sleep(Duration::from_millis(2));
        budget.forget_idle();
        assert_eq!(budget.len(), 0);
    }
}

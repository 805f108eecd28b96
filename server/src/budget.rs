//! How much somebody may ask for: so much a second on average, and so much at once. This is the generic cell rate algorithm (ITU-T
//! I.371): of each asker only the time is kept at which all that was asked for would have been allowed one by one.
//!
//! Our own, because what was taken can be given back: a request that a wider limit refuses must not count against the narrower ones.

use dashmap::DashMap;
use std::{
    hash::Hash,
    time::{Duration, Instant},
};

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
    /// In ns since `since`.
    due: DashMap<K, u64>,
}

impl<K: Hash + Eq + Clone> Budget<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            since: Instant::now(),
            due: DashMap::new(),
        }
    }

    /// Takes this much, or says how long to wait for it. More than can ever come at once is taken as that.
    pub(crate) fn take(&self, key: &K, cost: u64) -> Result<Left, Duration> {
        let now = self.now();
        let asked = self.rate.ns(cost.min(self.rate.burst));
        let most = self.rate.ns(self.rate.burst);
        let mut due = self.due.entry(key.clone()).or_insert(now);
        let then = (*due).max(now) + asked;
        match then.checked_sub(now + most).filter(|over| *over > 0) {
            Some(over) => Err(Duration::from_nanos(over)),
            None => {
                *due = then;
                let used = then - now;
                Ok(Left {
                    costs: (most - used) / self.rate.ns(1).max(1),
                    whole_in: Duration::from_nanos(used),
                })
            }
        }
    }

    pub(crate) fn give_back(&self, key: &K, cost: u64) {
        if let Some(mut due) = self.due.get_mut(key) {
            *due = due.saturating_sub(self.rate.ns(cost.min(self.rate.burst)));
        }
    }

    /// Forgets those who may ask for everything again.
    pub(crate) fn forget_idle(&self) {
        let now = self.now();
        self.due.retain(|_, due| *due > now);
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
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
    fn whoever_may_ask_for_everything_again_is_forgotten() {
        let budget = Budget::new(Rate::per_second(1_000_000, 10));
        budget.take(&1, 1).expect("one");
        std::thread::sleep(Duration::from_millis(2));
        budget.forget_idle();
        assert_eq!(budget.len(), 0);
    }
}

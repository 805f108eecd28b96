//! How many people a second the shop can carry. A closed loop: gateways tell how long the stores take for purchases; while that is
//! below the target more people are let in, and fewer when it is above. Pure, except for the times it is given.
//!
//! While the stores are too slow they are at their limit, so the people who are served then are what the shop can carry: fewer are
//! let in until the others are served. After that the limit grows back quickly to what was carried, and beyond it slowly, the faster
//! the longer nothing was too slow (as TCP CUBIC does, RFC 9438). It does not count on what it has not seen: it goes to twice the
//! people who were served lately at most (congestion window validation, RFC 7661), because people take seconds between their turn
//! and their click, and a limit that grows without them would let a crowd in at once.

use crate::stock::Measured;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What one gateway is trusted with before anything is measured, in people a second. The limit grows from there.
const START: f64 = 500.0;
/// However slow the stores are, so many people a second are let in: without them nobody would see that they are fast again.
const LEAST: f64 = 20.0;
/// The least delay of so long is what the stores take whatever the crowd does, because the machine is slow or the stores are far:
/// letting fewer in would not make them faster.
const LEAST_WINDOW: Duration = Duration::from_secs(15);
/// The delay may be this many times as long as the least one, whatever the target.
const BEYOND_LEAST: f64 = 2.0;
/// But not so many times the target: then it is a queue that does not get shorter.
const BEYOND_TARGET: f64 = 6.0;
/// Growth in a second before anything was too slow, while the stores take no time at all.
const COLD: f64 = 0.5;
/// Growth in a second up to what was carried at the last cut.
const BACK: f64 = 0.2;
/// Growth in a second beyond it, and the time after a cut in which that doubles.
const BEYOND: f64 = 0.015;
const BEYOND_DOUBLES: f64 = 5.0;
/// Part of what was carried that is taken for safe.
const SAFE: f64 = 0.9;
/// Part of what is carried that is let in while others wait in the stores; the longer they wait, the less of it.
const DRAIN: f64 = 0.9;
const DRAIN_POWER: f64 = -0.2;
/// What is carried now is the most of so long: single reports swing.
const NOW: Duration = Duration::from_millis(1_500);
/// The people of so long are the measure for growth.
const SERVED_WINDOW: Duration = Duration::from_secs(10);
/// Growth over what was served lately, at most.
const BEYOND_SERVED: f64 = 2.0;
/// A gate that was shut because of the delay opens again below this part of the target.
const CALM: f64 = 0.7;

/// The limit of one sale's leader.
#[derive(Default)]
pub(crate) struct Governor {
    /// People a second; None: nothing is measured yet.
    limit: Option<f64>,
    served: VecDeque<(Instant, f64)>,
    delays: VecDeque<(Instant, Duration)>,
    stepped: Option<Instant>,
    /// When the limit was cut last, and what was carried then.
    cut: Option<(Instant, f64)>,
    trouble: Option<Trouble>,
    is_over: bool,
    delay: Duration,
}

/// The stores take longer than they should.
#[derive(Clone, Copy)]
struct Trouble {
    /// The limit when it began.
    before: f64,
    /// Nobody at all is served.
    is_still: bool,
}

/// What the governor says, for ticks and operators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    /// People a second at most.
    pub limit: f64,
    pub delay: Duration,
    /// The stores take longer than they should: nobody buys without a turn.
    pub is_over: bool,
}

impl Governor {
    /// Takes in what was measured until now.
    pub fn look(&mut self, measured: Measured, target: Duration, now: Instant) {
        let start = START * f64::from(measured.gateways.max(1));
        let elapsed = self.stepped.map_or(Duration::ZERO, |at| now - at);
        self.stepped = Some(now);
        self.delay = measured.delay;
        self.served.push_back((now, measured.served));
        while self
            .served
            .front()
            .is_some_and(|(at, _)| now - *at > SERVED_WINDOW)
        {
            self.served.pop_front();
        }
        let limit = self.limit.unwrap_or(start);
        let ratio = measured.delay.as_secs_f64() / self.most_delay(target.as_secs_f64().max(1e-3), now);
        self.is_over = ratio > if self.is_over { CALM } else { 1.0 };
        self.limit = Some(if ratio > 1.0 {
            let carried = self.most_served(now, NOW);
            let before = self.trouble.map_or(limit, |trouble| trouble.before);
            let is_still = carried < LEAST;
            self.trouble = Some(Trouble { before, is_still });
            if !is_still {
                self.cut = Some((now, carried));
            }
            limit.min(carried * DRAIN * ratio.powf(DRAIN_POWER)).max(LEAST)
        } else {
            // Stores that stood still have not shown what they carry: it begins as at the start, and not beyond what it was.
            let limit = match self.trouble.take() {
                Some(trouble) if trouble.is_still => limit.max(trouble.before.min(start)),
                _ => limit,
            };
            let rate = match self.cut {
                Some((at, carried)) if limit >= carried * SAFE => {
                    BEYOND * (1.0 + (now - at).as_secs_f64() / BEYOND_DOUBLES)
                }
                Some(_) => BACK,
                None => COLD,
            };
            let grown = limit * (1.0 + rate * (1.0 - ratio) * elapsed.as_secs_f64());
            // Beyond the ceiling the limit stays: what was carried a while ago may be carried again.
            let ceiling = start.max(self.most_served(now, SERVED_WINDOW) * BEYOND_SERVED);
            grown.min(ceiling.max(limit))
        });
    }

    /// The delay beyond which fewer are let in, in seconds.
    fn most_delay(&mut self, target: f64, now: Instant) -> f64 {
        self.delays.push_back((now, self.delay));
        // One look from before the window stays: it shows that the window is whole.
        let is_before = |at: &Instant| now - *at >= LEAST_WINDOW;
        while self.delays.get(1).is_some_and(|(at, _)| is_before(at)) {
            self.delays.pop_front();
        }
        let is_whole = self.delays.front().is_some_and(|(at, _)| is_before(at));
        let least = self.delays.iter().map(|(_, delay)| *delay).min();
        let usual = least.filter(|_| is_whole).unwrap_or_default().as_secs_f64();
        target.max((usual * BEYOND_LEAST).min(target * BEYOND_TARGET))
    }

    fn most_served(&self, now: Instant, within: Duration) -> f64 {
        let lately = self.served.iter().filter(|(at, _)| now - *at <= within);
        lately.map(|(_, served)| *served).fold(0.0, f64::max)
    }

    pub fn verdict(&self) -> Option<Verdict> {
        Some(Verdict {
            limit: self.limit?,
            delay: self.delay,
            is_over: self.is_over,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(125);
    const LOOK: Duration = Duration::from_millis(500);
    const QUICK: Duration = Duration::from_millis(5);
    /// Nobody waits longer for an answer.
    const DEADLINE_S: f64 = 5.0;

    /// A shop that carries so many people a second; the others wait. People come some time after they were let in.
    struct Shop {
        capacity: f64,
        /// Time that a step takes if nobody waits.
        quick: Duration,
        /// Looks between a turn and its click.
        click_after: usize,
        backlog: f64,
        let_in: VecDeque<f64>,
        governor: Governor,
        now: Instant,
    }

    impl Shop {
        fn new(capacity: f64, click_after: usize) -> Self {
            Self {
                capacity,
                quick: QUICK,
                click_after,
                backlog: 0.0,
                let_in: VecDeque::new(),
                governor: Governor::default(),
                now: Instant::now(),
            }
        }

        /// One look. Returns the limit, the people served in a second, and the delay.
        fn step(&mut self, inflow: f64) -> (f64, f64, Duration) {
            let limit = self.governor.verdict().map_or(START, |verdict| verdict.limit);
            self.let_in.push_back(limit.min(inflow) * LOOK.as_secs_f64());
            if self.let_in.len() > self.click_after {
                self.backlog += self.let_in.pop_front().unwrap_or_default();
            }
            let done = self.backlog.min(self.capacity * LOOK.as_secs_f64());
            self.backlog -= done;
            let delay = self.quick + Duration::from_secs_f64((self.backlog / self.capacity).min(DEADLINE_S));
            self.now += LOOK;
            let served = done / LOOK.as_secs_f64();
            let measured = Measured {
                gateways: 1,
                served,
                delay,
            };
            self.governor.look(measured, TARGET, self.now);
            (self.governor.verdict().expect("a verdict").limit, served, delay)
        }
    }

    /// The last `looks` of a run of twice as many.
    fn run(shop: &mut Shop, looks: usize) -> Vec<(f64, f64, Duration)> {
        let all: Vec<_> = (0..looks * 2).map(|_| shop.step(1e6)).collect();
        all[looks..].to_vec()
    }

    #[test]
    fn the_limit_finds_what_the_shop_can_carry_whatever_that_is() {
        for capacity in [50.0, 400.0, 2_000.0, 20_000.0] {
            for click_after in [0, 2, 6] {
                let mut shop = Shop::new(capacity, click_after);
                let looks = run(&mut shop, 120);
                let served: f64 = looks.iter().map(|(_, served, _)| served).sum::<f64>() / 120.0;
                let slow = looks.iter().filter(|(_, _, delay)| *delay > TARGET * 4).count();
                println!(
                    "{capacity} a second, clicks after {click_after} looks: {served:.0} served, {slow} of 120 slow"
                );
                assert!(served > 0.85 * capacity, "{capacity}/{click_after}: {served}");
                assert!(
                    slow < 20,
                    "{capacity}/{click_after}: {slow} of 120 looks were slow"
                );
            }
        }
    }

    #[test]
    fn a_cold_start_lets_no_crowd_in_and_grows_with_those_who_are_served() {
        let mut shop = Shop::new(10_000.0, 4);
        for _ in 0..4 {
            assert!(shop.step(1e6).0 <= START, "nobody has clicked yet");
        }
        let limits: Vec<f64> = (0..40).map(|_| shop.step(1e6).0).collect();
        let reached = limits
            .iter()
            .position(|limit| *limit > 8_000.0)
            .expect("the shop can carry that");
        assert!(
            limits[..reached].windows(2).all(|two| two[1] >= two[0]),
            "{limits:?}"
        );
        assert!(
            limits[reached..].iter().all(|limit| *limit > 3_000.0),
            "{limits:?}"
        );
    }

    #[test]
    fn a_shop_that_slows_down_tenfold_gets_fewer_people_within_two_seconds_and_all_of_them_again_after_it() {
        let mut shop = Shop::new(2_000.0, 0);
        run(&mut shop, 60);
        shop.capacity = 200.0;
        let limits: Vec<f64> = (0..4).map(|_| shop.step(1e6).0).collect();
        assert!(limits[3] < 400.0, "{limits:?}");
        shop.capacity = 2_000.0;
        let limit = (0..60).map(|_| shop.step(1e6).0).last().expect("a limit");
        assert!(limit > 1_500.0, "{limit}");
    }

    #[test]
    fn after_stores_that_stood_still_it_begins_as_at_the_start_and_not_beyond_what_it_was() {
        for (capacity, least, most) in [(2_000.0, START, 2_000.0), (100.0, 40.0, 150.0)] {
            let mut shop = Shop::new(capacity, 0);
            run(&mut shop, 60);
            shop.capacity = 1e-9;
            let stalled = (0..8).map(|_| shop.step(1e6).0).last().expect("a limit");
            assert_eq!(stalled, LEAST);
            // The askers have given up meanwhile.
            (shop.capacity, shop.backlog) = (capacity, 0.0);
            let limit = shop.step(1e6).0;
            assert!((least..=most).contains(&limit), "{capacity}: {limit}");
        }
    }

    #[test]
    fn stores_that_are_slow_whoever_asks_do_not_shut_the_shop() {
        let mut shop = Shop::new(2_000.0, 0);
        run(&mut shop, 60);
        shop.quick = TARGET * 5 / 2;
        let limits: Vec<f64> = (0..140).map(|_| shop.step(1e6).0).collect();
        assert!(limits.iter().all(|limit| *limit > 100.0), "{limits:?}");
        assert!(limits[139] > 1_500.0, "{limits:?}");
    }

    #[test]
    fn what_the_stores_always_take_is_known_at_every_look_however_uneven_they_are() {
        let mut governor = Governor::default();
        let mut now = Instant::now();
        for look in 0..200_u32 {
            now += LOOK / 2 + Duration::from_millis(u64::from(look * 7_919 % 500));
            let measured = Measured {
                gateways: 1,
                served: 100.0,
                delay: TARGET * 3 / 2,
            };
            governor.look(measured, TARGET, now);
            let is_over = governor.verdict().expect("a verdict").is_over;
            assert!(look < 60 || !is_over, "look {look}");
        }
    }

    #[test]
    fn a_low_inflow_is_never_held_back_by_a_shop_that_keeps_up() {
        let mut shop = Shop::new(2_000.0, 2);
        for _ in 0..100 {
            assert!(shop.step(100.0).0 >= START);
        }
    }

    #[test]
    fn a_shut_gate_opens_when_it_is_calm_again_not_at_the_first_good_look() {
        let mut governor = Governor::default();
        let mut now = Instant::now();
        let mut look = |part: f64| {
            now += LOOK;
            let measured = Measured {
                gateways: 1,
                served: 100.0,
                delay: TARGET.mul_f64(part),
            };
            governor.look(measured, TARGET, now);
            governor.verdict().expect("a verdict").is_over
        };
        assert_eq!(
            [0.9, 1.1, 0.9, 0.6, 0.9].map(&mut look),
            [false, true, true, false, false]
        );
    }
}

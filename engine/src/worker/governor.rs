//! How many people a second the shop can carry. A closed loop: gateways tell how long the stores take for purchases, and how many
//! people they serve. Pure, except for the times it is given.
//!
//! While the stores take little of the target, nobody knows what they could carry. The limit doubles quickly, and slowly beyond what
//! they carried when they were busy last; but only up to twice the people who were served lately (congestion window validation,
//! RFC 7661), because people take seconds between their turn and their click, and a limit that grows without them would let a crowd
//! in at once. Beyond that the stores are busy, and who is served then is what they carry: the limit is that, a little more while
//! the delay is below the aim and less while it is above (a gradient of delay, as in TCP Vegas and in Netflix' concurrency-limits).

use crate::stock::Measured;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What one gateway is trusted with before anything is measured, in people a second. Below the target it is never less.
const START: f64 = 500.0;
/// However slow the stores are, so many people a second are let in: without them nobody would see that they are fast again.
const LEAST: f64 = 20.0;
/// The least delay of so long, if it is above the target, is what the stores take whatever the crowd does, because the machine is slow
/// or the stores are far: letting fewer in would not make them faster.
const LEAST_WINDOW: Duration = Duration::from_secs(8);
/// Then the delay may be this many times as long.
const BEYOND_LEAST: f64 = 2.0;
/// But not so many times the target: then it is a queue that does not get shorter.
const BEYOND_TARGET: f64 = 6.0;
/// From this part of the target on the stores are busy, so that the people who are served are what they carry.
const BUSY: f64 = 0.4;
/// The part of the target that busy stores are kept at.
const AIM: f64 = 0.8;
/// So often fewer are let in for a while, as long as the delay is allowed beyond the target: a queue of ours would go, and the least
/// delay with it (as BBR does to find its round trip).
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(1);
/// The part of the limit that is let in meanwhile.
const PROBED: f64 = 0.5;
/// How much the limit follows the delay of busy stores: the power of (aim / delay). Beyond the target it follows more.
const GAIN: f64 = 0.2;
const GAIN_BEYOND: f64 = 0.35;
/// Over what is carried, at most, while the stores are busy.
const OVER_CARRIED: f64 = 1.1;
/// Growth of stores that take no time at all, in a second, as the power of e: the limit doubles each quarter of a second.
const GROWTH: f64 = 2.8;
/// Growth beyond what busy stores carried last, and the time since then in which it doubles (as TCP CUBIC grows, RFC 9438).
const BEYOND_CARRIED: f64 = 0.03;
const BEYOND_DOUBLES: f64 = 3.0;
/// Stores that are busy for the first time show what they carry when it lasts: a crowd that joins the line makes them busy as well, and
/// few buy meanwhile because few were let in.
const BELIEVED: Duration = Duration::from_millis(1_500);
/// The part of the limit that is left, at least, when they are seen to be busy for the first time.
const FIRST: f64 = 0.5;
/// What is carried now is the most of so long, each the mean of two reports: single ones swing.
const NOW: Duration = Duration::from_millis(1_000);
/// The people of so long are the measure for growth.
const SERVED_WINDOW: Duration = Duration::from_secs(10);
/// Growth over what was served lately, at most.
const BEYOND_SERVED: f64 = 2.0;
/// What was carried once is trusted again for this part, if that is more than [`START`]: stores that were slow with few people have not
/// shown what they carry.
const REMEMBERED: f64 = 0.9;
/// A gate that was shut because of the delay opens again below this part of the target.
const CALM: f64 = 0.7;
/// While fewer than [`LEAST`] people a second buy, a gate is shut only for a delay that lasts so long: one slow step of somebody who
/// buys alone is no crowd.
const LASTS: Duration = Duration::from_millis(500);

/// The limit of one sale's leader.
#[derive(Default)]
pub(crate) struct Governor {
    /// What a gateway of this platform carried before this leader, in people a second.
    remembered: Option<f64>,
    /// People a second; None: nothing is measured yet.
    limit: Option<f64>,
    served: VecDeque<(Instant, f64)>,
    delays: VecDeque<(Instant, Duration)>,
    stepped: Option<Instant>,
    /// When the last probe began, and the limit before it.
    probe: Option<(Instant, f64)>,
    is_over: bool,
    /// Since when the delay is beyond what it may be.
    beyond_since: Option<Instant>,
    /// Since when the stores are busy.
    busy_since: Option<Instant>,
    /// When the stores were busy last, and what they carried then.
    busy: Option<(Instant, f64)>,
    carried: Option<f64>,
    delay: Duration,
}

/// What the governor says, for ticks and operators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    /// People a second at most.
    pub limit: f64,
    pub delay: Duration,
    /// The stores take longer than they should: nobody buys without a turn.
    pub is_over: bool,
    /// What a gateway carries, in people a second, if the stores are busy and somebody is served.
    pub carried: Option<f64>,
}

impl Governor {
    /// Begins with what a gateway has carried before.
    pub fn remembering(remembered: Option<f64>) -> Self {
        Self {
            remembered,
            ..Self::default()
        }
    }

    /// Takes in what was measured until now.
    pub fn look(&mut self, measured: Measured, target: Duration, now: Instant) {
        let gateways = f64::from(measured.gateways.max(1));
        let elapsed = self.stepped.map_or(Duration::ZERO, |at| now - at);
        self.stepped = Some(now);
        self.delay = measured.delay;
        self.note_served(measured.served, now);
        let start = gateways
            * self
                .remembered
                .map_or(START, |carried| (carried * REMEMBERED).max(START));
        let limit = self.limit.unwrap_or(start);
        let target = target.as_secs_f64().max(1e-3);
        let most = self.most_delay(target, now);
        let ratio = measured.delay.as_secs_f64() / most;
        let carried = self.most_served(now, NOW);
        let is_beyond = ratio > if self.is_over { CALM } else { 1.0 };
        let since = self.beyond_since.unwrap_or(now);
        self.beyond_since = is_beyond.then_some(since);
        self.is_over = is_beyond && (carried > LEAST || now - since >= LASTS);
        let is_busy = ratio > BUSY;
        let busy_since = self.busy_since.unwrap_or(now);
        let is_first = self.busy.is_none() && busy_since == now;
        self.busy_since = is_busy.then_some(busy_since);
        let is_believed = self.busy.is_some() || now - busy_since >= BELIEVED;
        self.carried = (is_busy && carried > LEAST).then_some(carried / gateways);
        self.limit = Some(if let Some(probed) = self.probing(most > target, limit, now) {
            probed.max(LEAST)
        } else if is_busy {
            // Slow stores that serve few people are not at their limit as long as they keep the target.
            let (gain, least) = match ratio > 1.0 {
                true => (GAIN_BEYOND, LEAST),
                false => (GAIN, limit.min(start)),
            };
            // Stores that stand still show nothing.
            if carried > LEAST && is_believed {
                self.busy = Some((now, carried));
            }
            let followed = carried * (AIM / ratio).powf(gain).min(OVER_CARRIED);
            followed
                .max(least)
                .max(if is_first { limit * FIRST } else { 0.0 })
        } else {
            let rate = match self.busy {
                Some((at, carried)) if limit >= carried => {
                    BEYOND_CARRIED * (1.0 + (now - at).as_secs_f64() / BEYOND_DOUBLES)
                }
                _ => GROWTH,
            };
            let grown = limit * (rate * (1.0 - ratio / BUSY) * elapsed.as_secs_f64()).exp();
            // Beyond the ceiling the limit stays: what was carried a while ago may be carried again.
            let ceiling = start.max(self.most_served(now, SERVED_WINDOW) * BEYOND_SERVED);
            grown.min(ceiling.max(limit))
        });
    }

    fn note_served(&mut self, served: f64, now: Instant) {
        self.served.push_back((now, served));
        while self
            .served
            .front()
            .is_some_and(|(at, _)| now - *at > SERVED_WINDOW)
        {
            self.served.pop_front();
        }
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
        if usual <= target {
            return target;
        }
        (usual * BEYOND_LEAST).min(target * BEYOND_TARGET)
    }

    /// The limit of a probe that is under way. After it the limit is as before, until those let in then have been served.
    fn probing(&mut self, is_beyond: bool, limit: f64, now: Instant) -> Option<f64> {
        let since = |began: Instant| now - began;
        if is_beyond && self.probe.is_none_or(|(began, _)| since(began) >= PROBE_EVERY) {
            self.probe = Some((now, limit));
        }
        match self.probe? {
            (began, before) if since(began) < PROBE => Some(before * PROBED),
            (began, before) if since(began) < PROBE + NOW => Some(before),
            _ => None,
        }
    }

    /// The most people a second, over two reports each.
    fn most_served(&self, now: Instant, within: Duration) -> f64 {
        let lately = self.served.iter().filter(|(at, _)| now - *at <= within);
        let lately: Vec<f64> = lately.map(|(_, served)| *served).collect();
        let means = lately.windows(2).map(|two| (two[0] + two[1]) / 2.0);
        means.fold(0.0, f64::max)
    }

    pub fn verdict(&self) -> Option<Verdict> {
        Some(Verdict {
            limit: self.limit?,
            delay: self.delay,
            is_over: self.is_over,
            carried: self.carried,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(125);
    const LOOK: Duration = Duration::from_millis(250);
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

        fn limit(&self) -> f64 {
            let remembered = self.governor.remembered.unwrap_or(START);
            self.governor
                .verdict()
                .map_or(remembered, |verdict| verdict.limit)
        }

        /// One look. Returns the limit, the people served in a second, and the delay.
        fn step(&mut self, inflow: f64) -> (f64, f64, Duration) {
            self.let_in
                .push_back(self.limit().min(inflow) * LOOK.as_secs_f64());
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
        let limits: Vec<f64> = (0..8).map(|_| shop.step(1e6).0).collect();
        assert!(limits[7] < 400.0, "{limits:?}");
        shop.capacity = 2_000.0;
        let limit = (0..120).map(|_| shop.step(1e6).0).last().expect("a limit");
        assert!(limit > 1_500.0, "{limit}");
    }

    #[test]
    fn after_stores_that_stood_still_it_is_back_within_seconds_and_lets_no_crowd_in() {
        for (capacity, least, most) in [(2_000.0, START, 4_000.0), (100.0, 40.0, START)] {
            let mut shop = Shop::new(capacity, 0);
            run(&mut shop, 60);
            shop.capacity = 1e-9;
            let stalled = (0..8).map(|_| shop.step(1e6).0).last().expect("a limit");
            assert_eq!(stalled, LEAST);
            // The askers have given up meanwhile.
            (shop.capacity, shop.backlog) = (capacity, 0.0);
            let limits: Vec<f64> = (0..8).map(|_| shop.step(1e6).0).collect();
            assert!(limits[7] >= least, "{capacity}: {limits:?}");
            assert!(
                limits.iter().all(|limit| *limit <= most),
                "{capacity}: {limits:?}"
            );
        }
    }

    /// So many seconds of the shop's best, all there at once: the part of the best that it reaches, and how long 99 of 100 people
    /// wait at most.
    fn surge(shop: &mut Shop, seconds: f64) -> (f64, Duration) {
        let people = shop.capacity * seconds;
        let (mut bought, mut left, mut looks, mut waits) = (0.0, people, 0_u32, Vec::new());
        while bought < people - 1.0 {
            let inflow = left / LOOK.as_secs_f64();
            left -= shop.limit().min(inflow) * LOOK.as_secs_f64();
            let (_, served, delay) = shop.step(inflow);
            bought += served * LOOK.as_secs_f64();
            waits.push((delay, served));
            looks += 1;
            assert!(looks < 4_000, "{bought} of {people}");
        }
        waits.sort_by_key(|(delay, _)| *delay);
        let mut slow = 0.0;
        let p99 = waits.iter().rev().find(|(_, served)| {
            slow += served * LOOK.as_secs_f64();
            slow > people / 100.0
        });
        let best = seconds / (LOOK * looks).as_secs_f64();
        (best, p99.map_or(Duration::ZERO, |(delay, _)| *delay))
    }

    #[test]
    fn a_surge_is_served_nearly_as_fast_as_the_shop_can_and_nobody_let_in_waits_long() {
        for capacity in [400.0, 2_000.0, 20_000.0] {
            let mut shop = Shop::new(capacity, 0);
            let (best, p99) = surge(&mut shop, 60.0);
            assert!(best > 0.9 && p99 < TARGET * 3, "{capacity}: {best} {p99:?}");
            // The next leader knows what was carried, and needs no time to find it.
            let carried = shop.governor.verdict().expect("a verdict").carried;
            let mut next = Shop::new(capacity, 0);
            next.governor = Governor::remembering(Some(carried.unwrap_or(capacity)));
            let (best, p99) = surge(&mut next, 7.5);
            assert!(
                best > 0.85 && p99 < TARGET * 3,
                "{capacity}, again: {best} {p99:?}"
            );
        }
    }

    #[test]
    fn a_crowd_that_joins_at_the_start_holds_nobody_back_when_it_has_joined() {
        for joining in [1, 2, 4, 6] {
            let mut shop = Shop::new(2_000.0, 0);
            shop.quick = TARGET * 6;
            for _ in 0..joining {
                shop.step(1e6);
            }
            shop.quick = QUICK;
            let limits: Vec<f64> = (0..16).map(|_| shop.step(1e6).0).collect();
            let reached = limits.iter().position(|limit| *limit >= START);
            assert!(reached.is_some_and(|look| look < 6), "{joining}: {limits:?}");
        }
    }

    #[test]
    fn stores_that_are_slow_whoever_asks_do_not_shut_the_shop() {
        let mut shop = Shop::new(2_000.0, 0);
        run(&mut shop, 60);
        shop.quick = TARGET * 5 / 2;
        let limits: Vec<f64> = (0..140).map(|_| shop.step(1e6).0).collect();
        assert!(limits.iter().all(|limit| *limit > 50.0), "{limits:?}");
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
    fn what_was_carried_by_few_people_holds_nobody_back_later() {
        let mut shop = Shop::new(2_000.0, 2);
        shop.governor = Governor::remembering(Some(30.0));
        assert!(shop.step(1e6).0 >= START);
    }

    #[test]
    fn a_low_inflow_is_never_held_back_by_a_shop_that_keeps_up() {
        let mut shop = Shop::new(2_000.0, 2);
        for _ in 0..100 {
            assert!(shop.step(100.0).0 >= START);
        }
    }

    /// Looks that follow each other, each at a part of the target, while so many people are served: whether the gate is shut.
    fn looks_at(served: f64) -> impl FnMut(f64) -> bool {
        let (mut governor, mut now) = (Governor::default(), Instant::now());
        move |part| {
            now += LOOK;
            let measured = Measured {
                gateways: 1,
                served,
                delay: TARGET.mul_f64(part),
            };
            governor.look(measured, TARGET, now);
            governor.verdict().expect("a verdict").is_over
        }
    }

    #[test]
    fn one_slow_step_of_somebody_who_buys_alone_shuts_no_gate_and_stores_that_stay_slow_do() {
        let mut look = looks_at(4.0);
        assert_eq!([3.0, 0.1, 1.1, 0.1].map(&mut look), [false; 4]);
        assert_eq!([1.1, 1.1, 1.1, 1.1].map(&mut look), [false, false, true, true]);
    }

    #[test]
    fn a_shut_gate_opens_when_it_is_calm_again_not_at_the_first_good_look() {
        let mut look = looks_at(100.0);
        assert_eq!(
            [0.9, 1.1, 0.9, 0.6, 0.9].map(&mut look),
            [false, true, true, false, false]
        );
    }
}

//! Measures how fast a sale's lines move, and why they stand still. Pure, except for the times it is given.

use crate::stock::TickNumber;
use flashsale_protocol::{Outlook, Phase, Reason, Tick};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The pace is measured over this window; its range also over the longer one.
const WINDOW: Duration = Duration::from_secs(10);
const LONG_WINDOW: Duration = Duration::from_secs(60);
/// After a change of the inflow, the old pace in proportion is shown until this much is measured.
const SETTLING: Duration = Duration::from_secs(2);
/// Relative error assumed for a pace that is not measured yet.
const UNMEASURED_SPREAD: f64 = 0.5;
/// Calling steps in a second.
const STEPS_A_SECOND: f64 = 10.0;
/// Largest number of calls expected in a second, whatever the inflow.
const MOST_EXPECTED: f64 = 10_000.0;
/// How long a cut of the inflow is named as the reason for a longer wait.
const CUT_NAMED_MS: u64 = 60_000;
/// Interval between kept looks.
pub(crate) const KEEP_EVERY: Duration = Duration::from_secs(1);

struct PaceLook {
    at: Instant,
    queue: u64,
    priority: u64,
}

/// How many people may be called.
#[derive(Debug, Clone, Copy)]
pub struct Inflow {
    /// In 100 ms, as set by an operator.
    pub most: u32,
    /// In a second, if the shop cannot carry as many.
    pub carried: Option<f64>,
    /// When it was cut, if that was its last change; ms since 1970.
    pub cut_at: Option<u64>,
    /// Percent of these calls that go to the priority line while somebody stands there.
    pub priority_share: u32,
}

impl Inflow {
    /// The pace if only the inflow limits it.
    fn expected(self, has_priority: bool) -> Pace {
        let set = (f64::from(self.most) * STEPS_A_SECOND).min(MOST_EXPECTED);
        let all = self.carried.map_or(set, |carried| carried.min(set));
        let priority = all * f64::from(self.priority_share) / 100.0;
        Pace {
            queue: if has_priority { all - priority } else { all },
            priority,
        }
    }
}

/// Entries called in a second, in both lines.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    queue: f64,
    priority: f64,
}

impl Pace {
    fn map(self, change: impl Fn(f64) -> f64) -> Pace {
        Pace {
            queue: change(self.queue),
            priority: change(self.priority),
        }
    }
}

#[derive(Default)]
pub struct MeasuredPace {
    looks: VecDeque<PaceLook>,
    inflow: Option<u32>,
    /// The assumed pace until one is measured: the last one before a pause, from the last leader, or in proportion after a change
    /// of the inflow.
    carried: Option<Pace>,
    /// None: not measured.
    pace: Option<Pace>,
    /// The last pace measured while somebody waited.
    of_people: Option<Pace>,
    was_live: bool,
    queue: StandingSince,
    priority: StandingSince,
}

/// Since when the line has had people who could be called. Looks from before say nothing about their wait.
#[derive(Default)]
struct StandingSince(Option<Instant>);

impl StandingSince {
    fn look(&mut self, stands: bool, now: Instant) {
        self.0 = stands.then(|| self.0.unwrap_or(now));
    }

    fn lasts(&self, now: Instant) -> Duration {
        self.0.map_or(Duration::ZERO, |since| now - since)
    }
}

impl MeasuredPace {
    /// Continues from the last leader's tick.
    pub fn resume(&mut self, last: &Tick) {
        if last.phase == Phase::Live && last.waiting > 0 {
            self.of_people = last.pace.map(|queue| Pace {
                queue,
                priority: last.priority_pace,
            });
        }
    }

    /// Writes the measurements into a tick.
    pub fn write(&mut self, tick: &mut Tick, number: &TickNumber, inflow: Inflow, now: Instant) {
        let Inflow {
            most,
            cut_at,
            carried,
            ..
        } = inflow;
        let live = tick.phase == Phase::Live;
        match self.inflow.replace(most) {
            Some(before) if before != most => {
                let ratio = f64::from(most) / f64::from(before);
                self.begin_anew(|pace| pace * ratio);
            }
            _ => {}
        }
        // Looks during a pause say nothing about a moving line.
        if live && !self.was_live {
            self.begin_anew(|pace| pace);
        }
        // Looks from before this leader was held up say nothing either.
        if self.looks.back().is_some_and(|last| now - last.at > WINDOW) {
            self.begin_anew(|pace| pace);
        }
        self.was_live = live;
        self.queue.look(live && tick.waiting > tick.priority_waiting, now);
        self.priority.look(live && tick.priority_waiting > 0, now);
        if live {
            self.measure_pace(tick, number, inflow, now);
        }
        let is_cut = cut_at.is_some_and(|at| tick.now.saturating_sub(at) < CUT_NAMED_MS);
        tick.slowed = match tick.phase {
            Phase::Paused => Some(Reason::SalePaused),
            // When all is paid for, no unit comes back any more.
            Phase::Live if tick.waiting > 0 && tick.outlook() == Outlook::MayComeBack => {
                Some(Reason::StockLow)
            }
            Phase::Live if tick.waiting > 0 && carried.is_some() => Some(Reason::Capacity),
            Phase::Live if is_cut => Some(Reason::InflowCut),
            _ => None,
        };
    }

    /// Drops the looks: they do not predict the next pace. The best guess is the pace measured while people waited.
    fn begin_anew(&mut self, change: impl Fn(f64) -> f64) {
        self.carried = self.of_people.map(|pace| pace.map(change));
        self.looks.clear();
        self.queue = StandingSince::default();
        self.priority = StandingSince::default();
    }

    fn measure_pace(&mut self, tick: &mut Tick, number: &TickNumber, inflow: Inflow, now: Instant) {
        let look = PaceLook {
            at: now,
            queue: number.admitted.queue,
            priority: number.admitted.priority,
        };
        let measured_for = self.looks.front().map_or(Duration::ZERO, |first| now - first.at);
        let expected = inflow.expected(tick.priority_waiting > 0);
        let settled = measured_for >= SETTLING;
        self.pace = if settled {
            self.rate(&look, WINDOW)
        } else {
            self.carried
        };
        if self.queue.lasts(now).max(self.priority.lasts(now)) >= SETTLING {
            self.of_people = self.pace.or(self.of_people);
        }
        let unsettled = self.carried.filter(|_| !settled).unwrap_or(expected);
        // For one line: over both windows, but no longer than people have stood there.
        let line = |standing: &StandingSince, of: fn(Pace) -> f64| {
            let lasts = standing.lasts(now).min(measured_for);
            let within = |window: Duration| match self.rate(&look, window.min(lasts)) {
                Some(pace) if lasts >= SETTLING => of(pace),
                _ => of(unsettled),
            };
            (within(WINDOW), within(LONG_WINDOW), lasts)
        };
        let (fast, slow, lasts) = line(&self.queue, |pace| pace.queue);
        let (first, first_slow, _) = line(&self.priority, |pace| pace.priority);
        if self.looks.back().is_none_or(|last| now - last.at >= KEEP_EVERY) {
            self.looks.push_back(look);
        }
        while self.looks.len() > 1 && self.looks.get(1).is_some_and(|next| now - next.at > LONG_WINDOW) {
            self.looks.pop_front();
        }
        // The range covers both windows, and the spread by chance of the count in the shorter one.
        let spread = if lasts < SETTLING {
            UNMEASURED_SPREAD
        } else {
            1.0 / (fast * WINDOW.as_secs_f64()).max(1.0).sqrt()
        };
        // An expected pace is shown only as a range; a pace is always measured.
        let pace = self.pace.unwrap_or_default();
        tick.pace = self.pace.map(|pace| two_digits(pace.queue));
        tick.pace_low = two_digits(fast.min(slow) * (1.0 - spread).max(0.1));
        tick.pace_high = two_digits(fast.max(slow) * (1.0 + spread));
        tick.priority_pace = two_digits(match tick.priority_waiting {
            0 => pace.priority,
            // If nobody was called in the shorter window, the longer one counts, as in the other line's range.
            _ if first > 0.0 => first,
            _ => first_slow,
        });
    }

    /// The pace over a window, or over the part of it that was measured. None: nothing is known yet.
    fn rate(&self, now: &PaceLook, window: Duration) -> Option<Pace> {
        let then = self.looks.iter().find(|look| now.at - look.at <= window)?;
        let seconds = (now.at - then.at).as_secs_f64();
        if seconds < KEEP_EVERY.as_secs_f64() {
            return None;
        }
        let a_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Some(Pace {
            queue: a_second(now.queue, then.queue),
            priority: a_second(now.priority, then.priority),
        })
    }
}

/// Rounds to two digits: a measured pace is no more exact, and ticks stay short.
fn two_digits(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    // A single division or product with a whole number gives exactly the float that prints with two digits.
    let places = 1 - value.log10().floor() as i32;
    let scale = 10f64.powi(places.abs());
    if places >= 0 {
        (value * scale).round() / scale
    } else {
        (value / scale).round() * scale
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stock::{Served, Turns};

    pub fn tick(phase: Phase, available: u64) -> Tick {
        serde_json::from_value(serde_json::json!({
            "sale": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "seq": 1, "now": 1, "phase": phase, "starts_at": 0, "ends_at": 9,
            "supply": 100, "available": available, "claimed": 0, "held": 0, "ordering": 0, "sold": 0, "unpaid": 0,
            "waiting": 5, "admitted": 0, "pace": 0.0,
        }))
        .expect("a tick")
    }

    pub fn number(queue: u64, turns: Turns) -> TickNumber {
        TickNumber {
            now: 0,
            seq: 0,
            waiting: 5,
            priority_waiting: 0,
            parked: 0,
            admitted: Served { queue, priority: 0 },
            turns,
        }
    }

    fn inflow(most: u32) -> Inflow {
        Inflow {
            most,
            carried: None,
            cut_at: None,
            priority_share: 20,
        }
    }

    /// A line that moves `a_second` for so many seconds.
    fn run(
        measured: &mut MeasuredPace,
        from: Instant,
        seconds: u64,
        start: u64,
        a_second: u64,
        most: u32,
    ) -> Tick {
        let mut last = tick(Phase::Live, 50);
        for s in 0..=seconds {
            last = tick(Phase::Live, 50);
            let number = number(start + s * a_second, Turns::default());
            measured.write(&mut last, &number, inflow(most), from + Duration::from_secs(s));
        }
        last
    }

    #[test]
    fn a_pace_has_two_digits() {
        let cases = [
            (0.0, 0.0),
            (0.0449, 0.045),
            (0.996, 1.0),
            (9.14, 9.1),
            (38.24, 38.0),
            (12_345.0, 12_000.0),
        ];
        for (value, rounded) in cases {
            assert_eq!(two_digits(value), rounded);
        }
    }

    #[test]
    fn one_admission_with_a_large_inflow_is_no_pace() {
        let (now, mut measured) = (Instant::now(), MeasuredPace::default());
        for (ms, admitted, pace) in [
            (0, 0, None),
            (100, 1, None),
            (1_000, 1, None),
            (2_000, 1, Some(0.5)),
        ] {
            let mut next = tick(Phase::Live, 500);
            let at = now + Duration::from_millis(ms);
            measured.write(&mut next, &number(admitted, Turns::default()), inflow(1_000), at);
            assert_eq!(next.pace, pace, "after {ms} ms");
            let json = serde_json::to_value(&next).expect("JSON");
            assert_eq!(json["pace"].as_f64(), pace, "absent is null");
        }
    }

    #[test]
    fn a_steady_line_has_its_pace_within_the_range() {
        let now = Instant::now();
        let tick = run(&mut MeasuredPace::default(), now, 30, 0, 50, 5);
        assert_eq!(tick.pace, Some(50.0));
        assert!(tick.pace_low < 50.0 && tick.pace_high > 50.0, "{tick:?}");
        assert!(tick.pace_low > 40.0 && tick.pace_high < 60.0, "{tick:?}");
    }

    #[test]
    fn before_it_is_measured_there_is_no_pace_but_a_range_by_the_inflow_or_the_last_leaders() {
        let now = Instant::now();
        let start = run(&mut MeasuredPace::default(), now, 0, 0, 0, 5);
        assert_eq!((start.pace, start.pace_low, start.pace_high), (None, 25.0, 75.0));
        assert_eq!(start.priority_pace, 0.0, "nobody is there");
        let mut both = Tick {
            priority_waiting: 1,
            ..tick(Phase::Live, 50)
        };
        let line = number(0, Turns::default());
        MeasuredPace::default().write(&mut both, &line, inflow(5), now);
        assert_eq!(
            (both.pace, both.pace_low, both.priority_pace),
            (None, 20.0, 10.0),
            "a fifth is for the list"
        );
        // After a line that stood still, a new leader must not say that it moves.
        for pace in [20, 0] {
            let mut next = MeasuredPace::default();
            next.resume(&run(&mut MeasuredPace::default(), now, 70, 0, pace, 5));
            assert_eq!(run(&mut next, now, 1, 1_400, pace, 5).pace, Some(pace as f64));
        }
        let mut next = MeasuredPace::default();
        run(&mut next, now, 1, 0, 20, 5);
        let standing = run(&mut next, now + Duration::from_secs(2), 20, 20, 0, 5);
        assert_eq!(standing.pace, Some(0.0), "measured by then");
    }

    #[test]
    fn whoever_comes_to_an_empty_line_is_not_told_of_the_time_when_nobody_was_called() {
        let (now, mut measured) = (Instant::now(), MeasuredPace::default());
        let mut at = |s: u64, waiting: u64, admitted: u64| {
            let mut next = Tick {
                waiting,
                ..tick(Phase::Live, 500)
            };
            let number = number(admitted, Turns::default());
            let at = now + Duration::from_secs(s);
            measured.write(&mut next, &number, inflow(5), at);
            next
        };
        for s in 0..=20 {
            at(s, 0, s / 10);
        }
        let here = at(21, 100, 3);
        assert_eq!((here.pace_low, here.pace_high), (25.0, 75.0), "by the inflow");
        assert!(
            here.pace.is_some_and(|pace| pace < 1.0),
            "and the shop sees what was: {here:?}"
        );
        at(22, 60, 43);
        let measured = at(23, 20, 83);
        assert!(
            measured.pace_low > 25.0 && measured.pace_high < 55.0,
            "{measured:?}"
        );
    }

    #[test]
    fn each_line_is_measured_from_when_somebody_stands_there() {
        let (now, mut measured) = (Instant::now(), MeasuredPace::default());
        let mut at = |ms: u64, waiting: u64, priority_waiting: u64, (queue, priority): (u64, u64)| {
            let mut next = Tick {
                waiting: waiting + priority_waiting,
                priority_waiting,
                ..tick(Phase::Live, 500)
            };
            let number = TickNumber {
                admitted: Served { queue, priority },
                ..number(0, Turns::default())
            };
            let at = now + Duration::from_millis(ms);
            measured.write(&mut next, &number, inflow(5), at);
            next
        };
        for s in 0..=30 {
            at(s * 1000, 0, 500, (0, s * 50));
        }
        let mixed = at(31_000, 100, 450, (0, 1_550));
        assert_eq!(
            (mixed.pace_low, mixed.pace_high),
            (20.0, 60.0),
            "what the inflow leaves"
        );
        assert_eq!(mixed.priority_pace, 50.0);
        // The leader was held up: the line must appear neither still nor fast.
        at(31_100, 100, 450, (4, 1_551));
        let after = at(51_000, 90, 440, (14, 1_561));
        assert_eq!(after.priority_pace, 50.0);
    }

    #[test]
    fn a_cut_of_the_inflow_shows_at_once_with_its_reason() {
        let now = Instant::now();
        let mut measured = MeasuredPace::default();
        run(&mut measured, now, 30, 0, 50, 5);
        const CUT_AT: u64 = 1_000_000;
        let mut cut = Tick {
            now: CUT_AT + CUT_NAMED_MS - 1,
            ..tick(Phase::Live, 50)
        };
        let at = now + Duration::from_millis(30_100);
        measured.write(
            &mut cut,
            &number(1_500, Turns::default()),
            Inflow {
                cut_at: Some(CUT_AT),
                ..inflow(1)
            },
            at,
        );
        assert_eq!(cut.pace, Some(10.0), "a fifth of what it was");
        assert_eq!(cut.slowed, Some(Reason::InflowCut));
        let mut later = Tick {
            now: CUT_AT + CUT_NAMED_MS,
            ..tick(Phase::Live, 50)
        };
        // Another leader knows of the cut too, because the sale records it.
        let cut = Inflow {
            cut_at: Some(CUT_AT),
            ..inflow(1)
        };
        let line = number(1_500, Turns::default());
        MeasuredPace::default().write(&mut later, &line, cut, at);
        assert_eq!(later.slowed, None, "news is news for a minute");
        later.now -= 1;
        MeasuredPace::default().write(&mut later, &line, cut, at);
        assert_eq!(later.slowed, Some(Reason::InflowCut));
    }

    #[test]
    fn what_the_shop_cannot_carry_is_not_expected_and_has_its_reason() {
        let busy = Inflow {
            carried: Some(30.0),
            ..inflow(10)
        };
        let mut tick = tick(Phase::Live, 50);
        let number = number(0, Turns::default());
        MeasuredPace::default().write(&mut tick, &number, busy, Instant::now());
        assert_eq!(tick.slowed, Some(Reason::Capacity));
        assert!(tick.pace_high <= 45.0, "{}", tick.pace_high);
        tick.waiting = 0;
        MeasuredPace::default().write(&mut tick, &number, busy, Instant::now());
        assert_eq!(tick.slowed, None, "nobody waits");
    }

    #[test]
    fn a_pause_and_an_empty_shelf_have_their_reasons() {
        let mut measured = MeasuredPace::default();
        for (phase, available, held, reason) in [
            (Phase::Paused, 5, 0, Some(Reason::SalePaused)),
            (Phase::Live, 0, 1, Some(Reason::StockLow)),
            // No unit comes back any more.
            (Phase::Live, 0, 0, None),
            (Phase::Live, 5, 0, None),
            (Phase::Waiting, 0, 0, None),
        ] {
            let mut tick = Tick {
                held,
                ..tick(phase, available)
            };
            let number = number(0, Turns::default());
            measured.write(&mut tick, &number, inflow(1), Instant::now());
            assert_eq!(tick.slowed, reason, "{phase:?}");
        }
    }
}

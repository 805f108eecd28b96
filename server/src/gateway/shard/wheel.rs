//! One timer wheel for all sockets of a shard. Deadlines here are coarse and mostly never reached, because the client is heard in
//! time. So a socket is in one slot, and is asked for its true deadline when the slot comes.

/// The width of a slot: a deadline is noticed at most this late.
const SLOT_MS: u64 = 100;
/// Later deadlines go into the last slot, and are then armed again.
const SLOTS: usize = 1024;

#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<u32>>,
    /// The first slot that has not passed, counted from time 0.
    next: u64,
    armed: usize,
}

impl Wheel {
    pub fn new(now_ms: u64) -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS],
            next: now_ms / SLOT_MS,
            armed: 0,
        }
    }

    /// Puts a key into the slot for `at_ms`. Returns the slot.
    pub(crate) fn arm(&mut self, key: u32, at_ms: u64) -> u64 {
        let slot = self.slot_of(at_ms);
        self.slots[slot as usize % SLOTS].push(key);
        self.armed += 1;
        slot
    }

    /// The slot of a deadline.
    pub fn slot_of(&self, at_ms: u64) -> u64 {
        // Rounded up, so that nobody is called too early.
        at_ms
            .div_ceil(SLOT_MS)
            .clamp(self.next, self.next + SLOTS as u64 - 1)
    }

    /// Takes the keys of a slot that has passed, with its number; None if there is none.
    pub fn pass(&mut self, now_ms: u64) -> Option<(u64, Vec<u32>)> {
        while self.next * SLOT_MS <= now_ms {
            let slot = self.next;
            self.next += 1;
            let keys = std::mem::take(&mut self.slots[slot as usize % SLOTS]);
            if !keys.is_empty() {
                self.armed -= keys.len();
                return Some((slot, keys));
            }
        }
        None
    }

    /// Time until the next slot that is not empty.
    pub(crate) fn sleep_ms(&self, now_ms: u64) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let slot = (self.next..self.next + SLOTS as u64)
            .find(|slot| !self.slots[*slot as usize % SLOTS].is_empty())?;
        Some((slot * SLOT_MS).saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All calls from `now` on, with their times.
    fn calls(wheel: &mut Wheel, until_ms: u64, mut now: u64) -> Vec<(u64, u32)> {
        let mut called = Vec::new();
        while now <= until_ms {
            while let Some((_, keys)) = wheel.pass(now) {
                called.extend(keys.into_iter().map(|key| (now, key)));
            }
            now += wheel.sleep_ms(now).unwrap_or(u64::MAX / 2).max(1);
        }
        called
    }

    #[test]
    fn nobody_is_called_early_or_more_than_a_slot_late() {
        let mut wheel = Wheel::new(5_000);
        for key in 0..500 {
            wheel.arm(key, 5_000 + u64::from(key) * 37);
        }
        let called = calls(&mut wheel, 60_000, 5_000);
        assert_eq!(called.len(), 500);
        for (at, key) in called {
            let due = 5_000 + u64::from(key) * 37;
            assert!((due..=due + SLOT_MS).contains(&at), "due {due}, called {at}");
        }
    }

    #[test]
    fn what_is_too_far_away_is_called_at_the_horizon_and_an_empty_wheel_sleeps() {
        let mut wheel = Wheel::new(0);
        assert_eq!(wheel.sleep_ms(0), None);
        wheel.arm(7, u64::MAX / 2);
        let called = calls(&mut wheel, 1_000_000, 0);
        assert_eq!(called, [((SLOTS as u64 - 1) * SLOT_MS, 7)]);
        assert_eq!(wheel.sleep_ms(0), None);
    }
}

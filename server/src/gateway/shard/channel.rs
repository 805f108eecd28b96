//! A sale's watchers in one shard, as its ticks see them: sixteen bytes each, in one row. A round writes the newest tick to one
//! socket after the other, and touches a connection only if its socket does not take all of it.

use super::connection::{SEALED, frame_of};
use flashsale_engine::here::{Interest, LiveTick};
use flashsale_protocol::{Change, ServerMessage, Tick};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};
use std::{os::fd::RawFd, sync::Arc, time::Instant};
use tokio_tungstenite::tungstenite::Bytes;

/// Stands for a socket whose connection is owed something: nothing may leave before that.
const OWED: RawFd = -1;
/// A flag in a watcher's key: its client takes changes. It is far above the number of files that a process can open.
const TAKES_CHANGES: u32 = 1 << 31;

/// A flag in `seen`: a gateway made that state from the stores. Older ticks of the leader are not for this client, and it cannot
/// use a change either. It is far above the number of ms since 1970.
const MADE_HERE: u64 = 1 << 63;

struct Watcher {
    /// The number of the newest tick that this client has seen, in a state or alone, perhaps with [`MADE_HERE`].
    seen: u64,
    /// The socket for ticks, or [`OWED`], or [`SEALED`]. The connection closes it, after its watcher was taken out of here.
    socket: RawFd,
    /// The connection's key, with [`TAKES_CHANGES`].
    key: u32,
}

impl Watcher {
    fn key(&self) -> u32 {
        self.key & !TAKES_CHANGES
    }

    fn takes_changes(&self) -> bool {
        self.key & TAKES_CHANGES != 0
    }

    /// Whether the leader's tick with this number is news to the client.
    fn lacks(&self, seq: u64) -> bool {
        let seen = self.seen & !MADE_HERE;
        seen < seq || (seen == seq && self.seen != seen)
    }
}

pub struct Channel {
    newest: Option<Arc<LiveTick>>,
    /// The tick that the last round brought to everybody who keeps up.
    base: Option<Arc<Tick>>,
    /// The change from the base to the newest tick, made for this round: both numbers, and the frame.
    change: Option<(u64, u64, Bytes)>,
    watchers: Vec<Watcher>,
    /// The position of the round, and how many watchers it still has to pass.
    cursor: usize,
    left: usize,
    /// The round under way changes what watchers may do.
    urgent: bool,
    /// Arrival of the oldest tick that the round under way does not bring to everybody.
    due: Option<Instant>,
    /// The same for the round under way: arrival of the tick that caused it.
    due_before: Option<Instant>,
    _interest: Interest,
}

/// The result of a step of a round.
#[derive(Default)]
pub struct Passed {
    pub sent: u64,
    pub skipped: u64,
    /// Connections whose sockets did not take the whole tick, with the rest of it or the error.
    pub unsent: Vec<(u32, Result<Bytes, Errno>)>,
}

impl Channel {
    pub fn new(newest: Option<Arc<LiveTick>>, interest: Interest) -> Self {
        Self {
            newest,
            base: None,
            change: None,
            watchers: Vec::new(),
            cursor: 0,
            left: 0,
            urgent: false,
            due: None,
            due_before: None,
            _interest: interest,
        }
    }

    // -------------------------------------------------------------------------------------------------------- watchers

    /// Adds a watcher who has seen nothing. Returns its position.
    pub fn add(&mut self, key: u32, socket: Option<RawFd>, takes_changes: bool) -> u32 {
        if self.left > 0 {
            // Otherwise the round would miss somebody at its end.
            self.left += 1;
        }
        self.watchers.push(Watcher {
            seen: 0,
            socket: socket.unwrap_or(OWED),
            key: if takes_changes { key | TAKES_CHANGES } else { key },
        });
        self.watchers.len() as u32 - 1
    }

    /// Takes a watcher out. Returns the key of the one now in its place.
    pub fn remove(&mut self, at: u32) -> Option<u32> {
        self.watchers.swap_remove(at as usize);
        if self.left > 0 {
            // The watcher that moved here might be passed over otherwise.
            self.left = self.watchers.len();
        }
        self.watchers.get(at as usize).map(Watcher::key)
    }

    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        self.watchers.iter().map(Watcher::key)
    }

    /// Sets the socket for ticks; None while the connection is owed something.
    pub(crate) fn set_socket(&mut self, at: u32, socket: Option<RawFd>) {
        self.watchers[at as usize].socket = socket.unwrap_or(OWED);
    }

    /// Notes that a watcher has this tick, in a state or alone. It gets a change only if it has the very tick that is changed:
    /// not a tick made by a gateway, nor one older than the last round.
    pub(crate) fn note_seen(&mut self, at: u32, tick: &Tick) {
        let mut known = self.newest.iter().map(|live| &live.tick).chain(&self.base);
        let is_known = known.any(|known| **known == *tick);
        let watcher = &mut self.watchers[at as usize];
        if watcher.lacks(tick.seq) {
            watcher.seen = if is_known { tick.seq } else { tick.seq | MADE_HERE };
        }
    }

    /// The newest tick, if this watcher has not seen it.
    pub(crate) fn unseen(&self, at: u32) -> Option<&Arc<LiveTick>> {
        let watcher = &self.watchers[at as usize];
        self.newest.as_ref().filter(|live| watcher.lacks(live.tick.seq))
    }

    // ---------------------------------------------------------------------------------------------------------- rounds

    /// Takes a newer tick. If it changes what everybody may do, it goes to everybody at once, whatever the pace: a running round
    /// starts over, or a new one begins.
    pub fn take(&mut self, tick: Arc<LiveTick>, now: Instant) {
        let before = self.newest.as_ref().map(|newest| &newest.tick);
        // The hub's own tick, taken when the channel was opened, may be newer.
        if before.is_some_and(|before| before.seq >= tick.tick.seq) {
            return;
        }
        let urgent = before
            .is_none_or(|before| before.phase != tick.tick.phase || before.outlook() != tick.tick.outlook());
        self.newest = Some(tick);
        self.due.get_or_insert(now);
        if urgent {
            self.begin();
            self.urgent = true;
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    pub(crate) fn is_in_round(&self) -> bool {
        self.left > 0
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Watchers whom the round under way has not reached.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    pub fn begin(&mut self) {
        (self.left, self.urgent) = (self.watchers.len(), false);
        self.due_before = self.due_before.or(self.due);
        self.due = None;
    }

    /// The round is done. Returns when its tick arrived.
    pub fn end(&mut self) -> Option<Instant> {
        self.due_before.take()
    }

    /// Makes the change once for all watchers, and again if a newer tick came during the round.
    fn make_change(&mut self) {
        let (Some(live), Some(base)) = (&self.newest, &self.base) else {
            return;
        };
        let numbers = (base.seq, live.tick.seq);
        let is_made = |(before, seq, _): &(u64, u64, Bytes)| (*before, *seq) == numbers;
        if !self.change.as_ref().is_some_and(is_made) {
            let change = Change::between(base, &live.tick);
            let frame = frame_of(&ServerMessage::Change(change));
            self.change = Some((numbers.0, numbers.1, frame));
        }
    }

    /// Writes the newest tick to the next few watchers, as a change for those who have its base.
    pub fn pass(&mut self, most: usize) -> Passed {
        self.make_change();
        let mut passed = Passed::default();
        let Some(live) = &self.newest else {
            (self.left, self.urgent) = (0, false);
            return passed;
        };
        let seq = live.tick.seq;
        let (changed, change) = match &self.change {
            Some((before, _, frame)) => (*before, frame),
            None => (0, &live.frame),
        };
        while self.left > 0 && passed.sent < most as u64 {
            self.left -= 1;
            // Somebody further on may have left.
            self.cursor = if self.cursor + 1 < self.watchers.len() {
                self.cursor + 1
            } else {
                0
            };
            let watcher = &mut self.watchers[self.cursor];
            if !watcher.lacks(seq) {
                continue;
            }
            // It gets the newest tick once it has caught up.
            if watcher.socket == OWED {
                passed.skipped += 1;
                continue;
            }
            let frame = if watcher.takes_changes() && watcher.seen == changed {
                change
            } else {
                &live.frame
            };
            watcher.seen = seq;
            passed.sent += 1;
            match attempt(watcher.socket, frame) {
                Ok(taken) if taken == frame.len() => {}
                other => {
                    watcher.socket = OWED;
                    let rest = other.map(|taken| frame.slice(taken..));
                    passed.unsent.push((watcher.key(), rest));
                }
            }
        }
        if self.left == 0 {
            self.base = Some(live.tick.clone());
            self.urgent = false;
        }
        passed
    }
}

/// One write; 0 if the socket takes nothing now. Over TLS nothing is written here: the connection gets the whole frame.
fn attempt(socket: RawFd, frame: &[u8]) -> Result<usize, Errno> {
    if socket == SEALED {
        return Ok(0);
    }
    loop {
        match send(socket, frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EAGAIN) => return Ok(0),
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::shard::outbox::Outbox;
    use nix::sys::socket::{setsockopt, sockopt};
    use proptest::prelude::*;
    use std::{
        io::{ErrorKind, Read},
        os::{fd::AsRawFd, unix::net::UnixStream},
    };

    const WORD_BYTES: usize = 8;

    /// A tick with this number; its frame is a length in words, then the number that many times.
    fn tick(seq: u64, phase: &str, words: u64) -> Arc<LiveTick> {
        let tick = serde_json::from_value(serde_json::json!({
            "sale": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "seq": seq, "now": 1, "phase": phase, "starts_at": 0, "ends_at": 9,
            "supply": 100, "available": 100,
        }));
        Arc::new(LiveTick {
            tick: Arc::new(tick.expect("a tick")),
            frame: frame(seq, words),
        })
    }

    fn frame(number: u64, words: u64) -> Bytes {
        let words = std::iter::once(words).chain((0..words).map(|_| number));
        words.flat_map(u64::to_be_bytes).collect::<Vec<u8>>().into()
    }

    /// The numbers of the frames; each frame must be whole.
    fn numbers(bytes: &[u8]) -> Vec<u64> {
        let mut words = bytes
            .chunks(WORD_BYTES)
            .map(|word| u64::from_be_bytes(word.try_into().expect("a whole word")));
        let mut numbers = Vec::new();
        while let Some(length) = words.next() {
            let payload: Vec<u64> = words.by_ref().take(length as usize).collect();
            assert_eq!(payload.len() as u64, length, "the frame is whole");
            assert!(
                payload.iter().all(|word| *word == payload[0]),
                "and not mixed with another"
            );
            numbers.push(payload[0]);
        }
        numbers
    }

    fn channel() -> Channel {
        Channel::new(None, Interest::default())
    }

    /// A socket that takes little, and its other end.
    fn narrow() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        setsockopt(&ours, sockopt::SndBuf, &4_608).expect("an option");
        theirs.set_nonblocking(true).expect("an option");
        ours.set_nonblocking(true).expect("an option");
        (ours, theirs)
    }

    fn read(socket: &mut UnixStream, most: usize, into: &mut Vec<u8>) {
        let mut bytes = vec![0; most];
        match socket.read(&mut bytes) {
            Ok(read) => into.extend_from_slice(&bytes[..read]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Tick(u64),
        Pass,
        Reply(u64),
        Flush,
        Read(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u64..400).prop_map(Step::Tick),
            Just(Step::Pass),
            (1u64..200).prop_map(Step::Reply),
            Just(Step::Flush),
            (1usize..3_000).prop_map(Step::Read),
        ]
    }

    #[test]
    fn a_tick_from_before_a_state_is_not_for_those_who_have_the_state() {
        let mut channel = channel();
        let at = channel.add(7, None, true);
        let news = |channel: &Channel| channel.unseen(at).map(|live| live.tick.seq);
        channel.take(tick(5, "live", 1), Instant::now());
        assert_eq!(news(&channel), Some(5));
        channel.note_seen(at, &tick(7, "live", 1).tick);
        assert_eq!(news(&channel), None);
        channel.take(tick(6, "live", 1), Instant::now());
        assert_eq!(news(&channel), None);
        channel.take(tick(7, "live", 1), Instant::now());
        assert_eq!(news(&channel), Some(7), "the leader's of that moment");
        channel.note_seen(at, &tick(7, "live", 1).tick);
        assert_eq!(news(&channel), None);
        channel.take(tick(8, "live", 1), Instant::now());
        assert_eq!(news(&channel), Some(8));
    }

    proptest! {
        /// Rounds write directly to a socket that accepts bytes at random, and replies go to it too: frames arrive whole and
        /// unmixed, ticks in order, and in the end the newest.
        #[test]
        fn a_round_never_writes_into_a_frame_in_progress(steps in prop::collection::vec(step(), 1..120)) {
            const REPLY: u64 = 1 << 40;
            let (ours, mut theirs) = narrow();
            let (mut channel, mut outbox) = (channel(), Outbox::default());
            let at = channel.add(7, Some(ours.as_raw_fd()), false);
            let (mut got, mut seq) = (Vec::new(), 0);
            let pass = |channel: &mut Channel, outbox: &mut Outbox| {
                channel.begin();
                for (_, rest) in channel.pass(10).unsent {
                    outbox.owe(&rest.expect("the socket is open"));
                    outbox.flush(&mut &ours).expect("blocked is no error");
                    channel.set_socket(at, outbox.is_empty().then(|| ours.as_raw_fd()));
                }
            };
            let flush = |channel: &mut Channel, outbox: &mut Outbox| {
                outbox.flush(&mut &ours).expect("blocked is no error");
                channel.set_socket(at, outbox.is_empty().then(|| ours.as_raw_fd()));
            };
            for step in steps {
                match step {
                    Step::Tick(words) => {
                        seq += 1;
                        channel.take(tick(seq, "live", words), Instant::now());
                    }
                    Step::Pass => pass(&mut channel, &mut outbox),
                    Step::Reply(words) => {
                        outbox.send(&mut &ours, &[&frame(REPLY, words)]).expect("blocked is no error");
                        flush(&mut channel, &mut outbox);
                    }
                    Step::Flush => flush(&mut channel, &mut outbox),
                    Step::Read(most) => read(&mut theirs, most, &mut got),
                }
            }
            for _ in 0..500 {
                read(&mut theirs, 100_000, &mut got);
                flush(&mut channel, &mut outbox);
                pass(&mut channel, &mut outbox);
            }
            read(&mut theirs, 100_000, &mut got);
            let mut ticks = numbers(&got);
            ticks.retain(|number| *number != REPLY);
            prop_assert!(ticks.is_sorted_by(|a, b| a < b), "{ticks:?}");
            prop_assert_eq!(ticks.last().copied().unwrap_or(0), seq);
        }
    }

    #[test]
    fn a_tick_that_changes_what_one_may_do_begins_its_round_at_once() {
        let mut channel = channel();
        let sockets: Vec<_> = (0..4).map(|_| narrow()).collect();
        for (key, (ours, _)) in sockets.iter().enumerate() {
            channel.add(key as u32, Some(ours.as_raw_fd()), false);
        }
        channel.take(tick(1, "waiting", 1), Instant::now());
        assert!(channel.is_in_round(), "nothing was known before");
        assert!(channel.is_urgent(), "and it waits for nothing");
        assert_eq!(channel.pass(100).sent, 4);
        assert!(!channel.is_urgent());
        channel.take(tick(2, "waiting", 1), Instant::now());
        assert!(
            !channel.is_in_round() && channel.is_due(),
            "an ordinary one waits for the pace"
        );
        channel.begin();
        assert!(!channel.is_urgent());
        assert_eq!(channel.pass(3).sent, 3);
        channel.take(tick(3, "waiting", 1), Instant::now());
        assert_eq!(
            channel.pass(100).sent,
            1,
            "a newer one takes the round over, and does not prolong it"
        );
        assert!(channel.is_due(), "but the three others get it in the next");
        channel.begin();
        assert_eq!(channel.pass(2).sent, 2);
        channel.take(tick(4, "live", 1), Instant::now());
        assert_eq!(channel.pass(100).sent, 4, "an urgent one goes all the way round");
        assert!(!channel.is_due());
    }

    #[test]
    fn whoever_takes_changes_gets_one_of_the_tick_they_have_seen_and_else_a_whole_one() {
        let mut channel = channel();
        let (mut whole, mut keen, mut late) = (narrow(), narrow(), narrow());
        channel.add(0, Some(whole.0.as_raw_fd()), false);
        channel.add(1, Some(keen.0.as_raw_fd()), true);
        let at = channel.add(2, None, true);
        let caught_up = late.0.as_raw_fd();
        let heard = |other: &mut UnixStream| {
            let mut bytes = Vec::new();
            read(other, 10_000, &mut bytes);
            let is_change = bytes.get(2).is_some_and(|byte| *byte == b'{');
            (!bytes.is_empty(), is_change)
        };
        let mut expect = |channel: &mut Channel, number, expected| {
            channel.take(tick(number, "live", 1), Instant::now());
            channel.begin();
            channel.pass(10);
            let got = [&mut whole, &mut keen, &mut late].map(|(_, other)| heard(other));
            assert_eq!(got, expected, "tick {number}");
        };
        let (nothing, all, change) = ((false, false), (true, false), (true, true));
        expect(&mut channel, 1, [all, all, nothing]);
        expect(&mut channel, 2, [all, change, nothing]);
        channel.set_socket(at, Some(caught_up));
        expect(&mut channel, 3, [all, change, all]);
        expect(&mut channel, 4, [all, change, change]);
    }

    #[test]
    fn a_newcomer_in_the_middle_of_a_round_takes_nobody_s_place_in_it() {
        let mut channel = channel();
        let mut sockets: Vec<_> = (0..5).map(|_| narrow()).collect();
        for (key, (ours, _)) in sockets[..4].iter().enumerate() {
            channel.add(key as u32, Some(ours.as_raw_fd()), false);
        }
        channel.take(tick(1, "live", 1), Instant::now());
        // From the second one on: the first is now last in this round, after newcomers.
        assert_eq!(channel.pass(2).sent, 2);
        channel.add(4, Some(sockets[4].0.as_raw_fd()), false);
        assert_eq!(channel.pass(100).sent, 3);
        for (_, theirs) in &mut sockets {
            let mut bytes = Vec::new();
            read(theirs, 1_000, &mut bytes);
            assert_eq!(numbers(&bytes), [1]);
        }
    }

    #[test]
    fn nobody_is_passed_over_when_another_leaves_or_comes_in_the_middle_of_a_round() {
        let mut channel = channel();
        let mut sockets: Vec<_> = (0..5).map(|_| narrow()).collect();
        for (key, (ours, _)) in sockets.iter().enumerate() {
            channel.add(key as u32, Some(ours.as_raw_fd()), false);
        }
        channel.take(tick(1, "live", 1), Instant::now());
        assert_eq!(channel.pass(3).sent, 3);
        assert_eq!(channel.remove(1), Some(4), "the last one stands there now");
        while channel.is_in_round() {
            channel.pass(1);
        }
        let late = narrow();
        channel.take(tick(2, "live", 1), Instant::now());
        channel.begin();
        assert_eq!(channel.pass(2).sent, 2);
        channel.add(9, Some(late.0.as_raw_fd()), false);
        while channel.is_in_round() {
            channel.pass(1);
        }
        let mut got: Vec<usize> = Vec::new();
        for (_, theirs) in &mut sockets {
            let mut bytes = Vec::new();
            read(theirs, 1_000, &mut bytes);
            got.push(numbers(&bytes).len());
        }
        assert_eq!([got[0], got[2], got[3], got[4]], [2; 4], "each exactly once");
    }
}

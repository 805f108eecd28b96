//! Sends ticks to watchers: in rounds, a few sockets at a time, or together with a reply.

use super::{
    Shard,
    channel::Channel,
    connection::{Connection, End, Watched},
};
use flashsale_engine::{here::Interest, presence::mark_active};
use flashsale_protocol::SaleId;
use nix::errno::Errno;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::Bytes;

/// Sockets that get a tick before commands have their turn.
const TICKS_IN_A_TURN: usize = 128;

impl Shard {
    pub(super) fn watch(&mut self, key: u32, sale: SaleId, interest: Interest) {
        let connection = &mut self.connections[key as usize];
        if connection.watched.iter().any(|watched| watched.sale == sale) {
            return;
        }
        // From now on ticks come through the inbox; the hub has the earlier one.
        let channel = self
            .channels
            .entry(sale)
            .or_insert_with(|| Channel::new(self.backend.shop.here.last_live(sale), interest));
        let at = channel.add(key, connection.socket(), connection.takes_changes);
        connection.watched.push(Watched { sale, at });
    }

    pub(super) fn unwatch(&mut self, key: u32, sale: SaleId) {
        let connection = &mut self.connections[key as usize];
        let Some(index) = connection.watched.iter().position(|watched| watched.sale == sale) else {
            return;
        };
        let at = connection.watched.swap_remove(index).at;
        let Some(channel) = self.channels.get_mut(&sale) else {
            return;
        };
        if let Some(moved) = channel.remove(at)
            && let Some(connection) = self.connections.get_mut(moved as usize)
            && let Some(watched) = connection.watched.iter_mut().find(|watched| watched.sale == sale)
        {
            watched.at = at;
        }
        if channel.is_empty() {
            self.channels.remove(&sale);
        }
    }

    /// Sends each sale's newest tick to its next few watchers, or begins a round if one is due. While commands wait, it does so
    /// less often; what changes what shoppers may do goes out at once.
    pub(super) fn go_round(&mut self) {
        let now = Instant::now();
        let rests = !self.pace.rest(now, self.is_busy()).is_zero();
        if !self.pace.is_in_round() && !rests {
            let due = self.channels.values_mut().filter(|channel| channel.is_due());
            due.for_each(Channel::begin);
        }
        let goes_on = |channel: &Channel| channel.is_in_round() && (!rests || channel.is_urgent());
        let in_round = self.channels.iter().filter(|(_, channel)| goes_on(channel));
        let in_round = in_round.map(|(sale, _)| *sale).collect::<Vec<_>>();
        if in_round.is_empty() {
            return;
        }
        let left = self.channels.values().map(Channel::left).sum::<usize>();
        self.pace.begin(now, left.div_ceil(TICKS_IN_A_TURN));
        for sale in in_round {
            let Some(channel) = self.channels.get_mut(&sale) else {
                continue;
            };
            let passed = channel.pass(TICKS_IN_A_TURN);
            self.frames.increment(passed.sent);
            self.skipped.increment(passed.skipped);
            // This comes before the next sale's turn, which may have the same sockets.
            for (key, rest) in passed.unsent {
                self.finish(key, rest);
            }
        }
        self.pace.turned(now, Instant::now());
        if !self.channels.values().any(Channel::is_in_round) {
            self.end_round();
        }
    }

    /// Time until ticks go on; None: nothing is to be sent.
    pub(super) fn ticks_in(&self, now: Instant) -> Option<Duration> {
        let has_more = |channel: &Channel| channel.is_in_round() || channel.is_due();
        if self
            .channels
            .values()
            .any(|channel| channel.is_in_round() && channel.is_urgent())
        {
            return Some(Duration::ZERO);
        }
        let has_more = self.channels.values().any(has_more);
        has_more.then(|| self.pace.rest(now, self.is_busy()))
    }

    fn end_round(&mut self) {
        let now = Instant::now();
        let Some(took) = self.pace.end(now) else {
            return;
        };
        self.round.record(took);
        for due in self.channels.values_mut().filter_map(Channel::end) {
            self.lag.record(now - due);
        }
    }

    /// A round could not write the whole tick to a connection's socket.
    fn finish(&mut self, key: u32, rest: Result<Bytes, Errno>) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        connection.in_rounds = false;
        match rest
            .map_err(|_| End::Gone)
            .and_then(|rest| connection.finish(&rest, self.now))
        {
            Ok(()) => self.settle(key),
            Err(end) => self.end(key, end),
        }
    }

    /// Sends frames to a connection and, in the same write, the newest unseen tick of each sale.
    pub(super) fn send_ticks(&mut self, key: u32, frames: &[Bytes]) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        let mut due: Vec<Bytes> = frames.to_vec();
        if connection.keeps_up() {
            for watched in &connection.watched {
                if let Some(channel) = self.channels.get_mut(&watched.sale)
                    && let Some(live) = channel.unseen(watched.at).cloned()
                {
                    channel.note_seen(watched.at, &live.tick);
                    due.push(live.frame.clone());
                }
            }
        }
        if due.is_empty() {
            return;
        }
        let slices: Vec<&[u8]> = due.iter().map(|frame| &frame[..]).collect();
        match connection.send(&slices, self.now) {
            Ok(()) => {
                self.frames.increment(due.len() as u64);
                self.settle(key);
            }
            Err(end) => self.end(key, end),
        }
    }

    /// Tells Redis how many people look at which sale; operators see the sum.
    pub(super) fn count_active(&self) {
        for (sale, channel) in &self.channels {
            let connections = channel
                .keys()
                .filter_map(|key| self.connections.get(key as usize));
            let people: HashSet<_> = connections
                .filter_map(Connection::caller)
                .map(|caller| &caller.account)
                .collect();
            let (backend, sale, index, people) = (self.backend.clone(), *sale, self.index, people.len());
            self.runtime
                .spawn(async move { mark_active(&backend.shop, sale, index, people).await });
        }
    }
}

//! When a connection is looked at again, and when all must leave.

use super::{Shard, connection};
use flashsale_protocol::{CloseCode, ServerMessage};

impl Shard {
    /// After a connection was read or written: keeps rounds of ticks from writing past what it is owed, and arms its next
    /// deadline.
    pub(super) fn settle(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        let socket = connection.socket();
        if socket.is_some() != connection.in_rounds {
            connection.in_rounds = socket.is_some();
            for watched in &connection.watched {
                if let Some(channel) = self.channels.get_mut(&watched.sale) {
                    channel.set_socket(watched.at, socket);
                }
            }
        }
        let deadline = connection.deadline(
            &self.backend.limits,
            self.leaves_at,
            self.now,
            flashsale_engine::clock::now_ms(),
        );
        // If its slot is earlier, it is looked at then and moved to the right one.
        if connection.armed == 0 || self.wheel.slot_of(deadline) < connection.armed {
            connection.armed = self.wheel.arm(key, deadline);
        }
    }

    /// The connection's slot has passed.
    pub(super) fn look(&mut self, key: u32, slot: u64) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        // The slot was an earlier one of this connection, or of another one with this key.
        if connection.armed != slot {
            return;
        }
        connection.armed = 0;
        match connection.timed_out(
            &self.backend.limits,
            self.leaves_at,
            self.now,
            flashsale_engine::clock::now_ms(),
        ) {
            Some(end) => self.end(key, end),
            None => self.settle(key),
        }
    }

    pub(super) fn drain(&mut self, window_ms: u64) {
        self.leaves_at = Some(self.now + window_ms);
        let keys: Vec<u32> = self.connections.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.send_bye(key);
            self.settle(key);
        }
    }

    pub(super) fn send_bye(&mut self, key: u32) {
        let Some(leaves_at) = self.leaves_at else { return };
        let connection = &mut self.connections[key as usize];
        let bye = connection::frame_of(&ServerMessage::Bye {
            code: CloseCode::Draining.number(),
            text: CloseCode::Draining.text().into(),
            after_ms: 0,
            window_ms: leaves_at.saturating_sub(self.now),
        });
        if let Err(end) = connection.send(&[&bye], self.now) {
            self.end(key, end);
        }
    }
}

//! A shopper's knowledge of their own cart and place, from events and states; and the parts that must never occur.

use super::{CLOCK_MARGIN_MS, Person, now_ms};
use crate::shopper::command_id;
use flashsale_protocol::{Hold, HoldState, Reason, SaleState, ServerMessage};

impl Person {
    pub(super) fn learn(&mut self, message: &ServerMessage) {
        if let ServerMessage::Hold(hold) = message {
            self.note(format!("hold {:?} {:?}", hold.state, hold.reason));
            self.see_hold(hold);
        }
    }

    pub(super) fn look_at(&mut self, state: &SaleState) {
        self.note(format!(
            "state: entry {:?}, hold {:?}",
            state.entry.as_ref().map(|entry| entry.state),
            state.hold.as_ref().map(|hold| hold.state)
        ));
        match &state.hold {
            Some(hold) => self.see_hold(hold),
            // Openly gone: the page no longer shows a hold.
            None => self.hold = None,
        }
    }

    fn see_hold(&mut self, hold: &Hold) {
        if hold.state == HoldState::Held && hold.reason == Some(Reason::Restored) {
            self.hold = Some((command_id(), hold.clone()));
            self.in_line = false;
            return;
        }
        let Some((_, mine)) = &self.hold else { return };
        if hold.at < mine.at {
            return;
        }
        match hold.state {
            HoldState::Held | HoldState::Ordering => {}
            HoldState::Expired
                if now_ms() + CLOCK_MARGIN_MS < mine.expires_at && hold.at + CLOCK_MARGIN_MS >= mine.at =>
            {
                let text = format!(
                    "I11: a hold until {} was ended as expired at {}",
                    mine.expires_at, hold.at
                );
                self.violation(text);
                self.hold = None;
            }
            _ => self.hold = None,
        }
    }

    pub(super) fn note(&self, what: String) {
        self.street.history.note(&self.name, what);
    }

    pub(super) fn violation(&self, what: String) {
        self.street.history.violation(&self.name, what);
    }
}

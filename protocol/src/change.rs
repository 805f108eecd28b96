//! The new part of a sale's shared state, for clients that ask for it in `hello`: most bytes of a tick repeat the one before. A
//! change is a JSON merge patch (RFC 7396) of one tick, made for clients that have seen exactly that tick.

use crate::{
    SaleId, Tick,
    lean::{self, Fields, Value},
};
use serde::{Deserialize, Serialize};

/// Fields that a change has by itself, and `now`, which nearly always equals `seq`.
const SAID_OTHERWISE: [&str; 3] = ["sale", "seq", "now"];

/// Tick `seq` is tick `seq` − `step` with these fields set; fields set to null are absent from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    pub sale: SaleId,
    pub seq: u64,
    /// How far back the changed tick is, in numbers. A client that has another tick asks for the `state`.
    pub step: u64,
    /// Fields of the tick; `now` equals `seq` if it is not among them.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, serde_json::Value>))]
    pub set: Fields,
}

impl Change {
    /// The change from one tick of a sale to another.
    pub fn between(before: &Tick, tick: &Tick) -> Self {
        let (old, new) = (fields(before), fields(tick));
        let gone = old.0.iter().filter(|(name, _)| new.get(name).is_none());
        let mut set = Fields(gone.map(|(name, _)| (name.clone(), Value::Null)).collect());
        let news = new
            .0
            .iter()
            .filter(|(name, value)| old.get(name) != Some(value) && !SAID_OTHERWISE.contains(&name.as_str()));
        set.0.extend(news.cloned());
        if tick.now != tick.seq {
            set.insert("now", tick.now.into());
        }
        Self {
            sale: tick.sale,
            seq: tick.seq,
            // Numbers only grow. If one did not, nobody has the tick that this change names, and all ask for a state.
            step: tick.seq.saturating_sub(before.seq),
            set,
        }
    }

    /// Applies this change to a tick. None: it was made for a different tick.
    pub fn apply(&self, before: &Tick) -> Option<Tick> {
        if before.sale != self.sale || before.seq.checked_add(self.step) != Some(self.seq) {
            return None;
        }
        let mut tick = fields(before);
        tick.insert("seq", self.seq.into());
        tick.insert("now", self.seq.into());
        for (name, value) in &self.set.0 {
            if *value == Value::Null {
                tick.remove(name);
            } else {
                tick.insert(name, value.clone());
            }
        }
        lean::from_value(Value::Object(tick))
    }
}

fn fields(tick: &Tick) -> Fields {
    match lean::to_value(tick) {
        Value::Object(fields) => fields,
        // A tick is numbers, words and a few options, so it is always an object.
        _ => Fields::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Phase, Reason, ServerMessage};
    use proptest::prelude::*;

    /// A moving line of a hundred thousand, in a sale whose carts come and go.
    fn moving(second: u64) -> Tick {
        let now = 1_795_647_551_408 + 1_021 * second;
        Tick {
            sale: "01M8AEYC3WVM3489YDWPVBVK01".parse().expect("an id"),
            seq: now,
            now,
            phase: Phase::Live,
            starts_at: 1_795_647_548_538,
            ends_at: 1_795_651_148_538,
            supply: 5_000,
            available: 0,
            claimed: 120 + second,
            held: 731 - second,
            ordering: 3,
            sold: 1_400 + 4 * second,
            unpaid: 212 + second,
            waiting: 98_211 - 9 * second,
            admitted: 3_702 + 9 * second,
            pace: Some(9.1),
            pace_low: 6.4,
            pace_high: 12.0,
            take: 0.9,
            lapse: 0.12,
            next_lapse_at: Some(now + 11_004 + second),
            slowed: Some(Reason::StockLow),
            priority_waiting: 0,
            priority_admitted: 0,
            priority_pace: 0.0,
        }
    }

    fn any_tick() -> impl Strategy<Value = Tick> {
        let numbers = (0u64..3, 0u64..3, 0u64..3, 0u64..3, 0u64..4);
        (numbers, prop::option::of(0u64..3), any::<bool>(), 0u8..4).prop_map(
            |((available, held, waiting, admitted, now), next_lapse_at, slowed, quarters)| Tick {
                available,
                held,
                waiting,
                admitted,
                now,
                next_lapse_at,
                slowed: slowed.then_some(Reason::InflowCut),
                take: f64::from(quarters) / 4.0,
                pace: Some(f64::from(quarters)),
                ..moving(0)
            },
        )
    }

    proptest! {
        #[test]
        fn a_change_makes_the_one_tick_the_other(before in any_tick(), tick in any_tick(), step in 0u64..4) {
            let tick = Tick { seq: before.seq + step, ..tick };
            let change = Change::between(&before, &tick);
            let sent = ServerMessage::Change(change).to_json();
            let Ok(ServerMessage::Change(got)) = serde_json::from_str(&sent) else { panic!("{sent}") };
            prop_assert_eq!(got.apply(&before), Some(tick));
        }
    }

    #[test]
    fn whoever_has_another_tick_is_not_misled() {
        let change = Change::between(&moving(1), &moving(2));
        assert_eq!(change.apply(&moving(0)), None);
        assert_eq!(change.apply(&moving(2)), None);
    }

    #[test]
    fn a_waiting_shopper_of_a_moving_line_gets_few_bytes_a_second() {
        let bytes = |after: &Tick| {
            let change = Change::between(&moving(0), after);
            ServerMessage::Change(change).to_json().len()
        };
        // First everything that moves in a line at once, then a room before the start that people enter.
        assert!(bytes(&moving(1)) <= 200, "{}", bytes(&moving(1)));
        let room = Tick {
            waiting: 98_300,
            seq: moving(1).seq,
            now: moving(1).now,
            ..moving(0)
        };
        assert!(bytes(&room) <= 110, "{}", bytes(&room));
        assert!(ServerMessage::Tick(moving(1)).to_json().len() > 380);
    }
}

//! Reads one message of the server. It reads the same messages as the protocol crate's own `Deserialize`, but by the kind that the
//! message names: the derived code for tagged and flattened types is three times as large in WASM.

use flashsale_protocol::{
    Change, Code, Outcome, Reject, ServerMessage,
    lean::{self, Fields, Value},
};
use serde::de::DeserializeOwned;

/// The message. `None` if this version does not know its kind and so need not handle it.
pub fn read(message: Value) -> Option<ServerMessage> {
    let Value::Object(mut fields) = message else {
        return None;
    };
    let kind = fields.remove("type")?;
    Some(match kind.as_str()? {
        "reply" => {
            let id = match fields.remove("id") {
                None | Some(Value::Null) => None,
                Some(id) => Some(whole(id)?),
            };
            let outcome = match fields.remove("ok") {
                Some(ok) => Outcome::Ok(whole(ok)?),
                None => Outcome::Error(reject(fields.remove("error")?)?),
            };
            ServerMessage::Reply { id, outcome }
        }
        "tick" => ServerMessage::Tick(whole(Value::Object(fields))?),
        "change" => ServerMessage::Change(Change {
            sale: field(&mut fields, "sale")?,
            seq: field(&mut fields, "seq")?,
            step: field(&mut fields, "step")?,
            set: fields,
        }),
        "entry" => ServerMessage::Entry(whole(Value::Object(fields))?),
        "draw" => ServerMessage::Draw(whole(Value::Object(fields))?),
        "hold" => ServerMessage::Hold(whole(Value::Object(fields))?),
        "order" => ServerMessage::Order(whole(Value::Object(fields))?),
        "notice" => ServerMessage::Notice {
            code: field(&mut fields, "code")?,
            text: field(&mut fields, "text")?,
            sale: fields.remove("sale").and_then(whole),
        },
        "bye" => ServerMessage::Bye {
            code: field(&mut fields, "code")?,
            text: field(&mut fields, "text")?,
            after_ms: field(&mut fields, "after_ms")?,
            window_ms: field(&mut fields, "window_ms")?,
        },
        _ => return None,
    })
}

fn field<T: DeserializeOwned>(fields: &mut Fields, name: &str) -> Option<T> {
    whole(fields.remove(name)?)
}

fn whole<T: DeserializeOwned>(value: Value) -> Option<T> {
    lean::from_value(value)
}

/// A refusal. A code of a newer server is no reason to wait for ever: its sentence and what may be done about it still count.
fn reject(mut error: Value) -> Option<Reject> {
    if let Some(reject) = whole(error.clone()) {
        return Some(reject);
    }
    if let Value::Object(fields) = &mut error {
        fields.insert("code", Code::Internal.word().into());
    }
    whole(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Option<ServerMessage> {
        read(lean::parse(text)?)
    }
    use crate::fixture::{entry, hold, order, sale, sold_out, state, tick, welcome};
    use flashsale_protocol::{Done, EntryState, HoldState, OrderStatus, Reason};

    #[test]
    fn every_message_is_read_as_the_protocol_reads_it() {
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FB7".parse().ok();
        let full = || {
            let mut full = state(tick(1, 5));
            full.entry = Some(entry(EntryState::Admitted, 0, 3));
            full.hold = Some(hold(HoldState::Held, 4));
            full.orders = vec![order(OrderStatus::Pending, 2)];
            full
        };
        let done = [
            Done::Welcome(welcome(9, vec![full()])),
            Done::State(Box::new(full())),
            Done::Unwatched { sale: sale() },
            Done::Joined {
                entry: entry(EntryState::Waiting, 7, 1),
                queue_token: "q".into(),
            },
            Done::Left { sale: sale() },
            Done::Hold(hold(HoldState::Released, 1)),
            Done::Order(order(OrderStatus::Confirmed, 1)),
            Done::Orders(vec![order(OrderStatus::Cancelled, 1)]),
            Done::Pong { t: 1, now: 2 },
        ];
        let reject = Reject::new(Code::Busy)
            .after_ms(3)
            .about(crate::fixture::order_id());
        let mut messages: Vec<_> = done
            .into_iter()
            .map(|done| ServerMessage::Reply {
                id,
                outcome: Outcome::Ok(done),
            })
            .collect();
        messages.extend([
            ServerMessage::Reply {
                id,
                outcome: Outcome::Error(reject),
            },
            ServerMessage::Reply {
                id: None,
                outcome: Outcome::Error(Code::BadJson.into()),
            },
            ServerMessage::Tick(tick(3, 4)),
            ServerMessage::Change(Change::between(&tick(3, 4), &sold_out(5, 6))),
            ServerMessage::Entry(entry(EntryState::Lapsed, 0, 1)),
            ServerMessage::Hold(hold(HoldState::Revoked, 1)),
            ServerMessage::Order(order(OrderStatus::Pending, 1)),
            ServerMessage::Notice {
                code: Reason::LimitReached,
                text: "Back soon.".into(),
                sale: Some(sale()),
            },
            ServerMessage::Notice {
                code: Reason::Unknown,
                text: "All.".into(),
                sale: None,
            },
            ServerMessage::Bye {
                code: 4000,
                text: "Moving.".into(),
                after_ms: 1,
                window_ms: 2,
            },
        ]);
        for message in messages {
            let text = message.to_json();
            assert_eq!(
                serde_json::from_str::<ServerMessage>(&text).ok().as_ref(),
                Some(&message),
                "{text}"
            );
            assert_eq!(read_text(&text), Some(message), "{text}");
        }
    }

    #[test]
    fn golden_frames_are_read_as_the_protocol_reads_them() {
        for frame in include_str!("../../protocol/golden/server.jsonl").lines() {
            let message: ServerMessage = serde_json::from_str(frame).expect(frame);
            assert_eq!(read_text(frame), Some(message), "{frame}");
        }
    }

    #[test]
    fn a_refusal_of_a_newer_server_is_an_answer() {
        let frame = r#"{"type":"reply","id":null,"error":{"code":"from_tomorrow","message":"Not on Mondays.","retry":false}}"#;
        let Some(ServerMessage::Reply {
            outcome: Outcome::Error(reject),
            ..
        }) = read_text(frame)
        else {
            panic!("unread")
        };
        assert_eq!(
            (reject.code, reject.message.as_str(), reject.retry),
            (Code::Internal, "Not on Mondays.", false)
        );
        assert_eq!(read_text(r#"{"type":"reply","id":null,"error":7}"#), None);
    }

    #[test]
    fn what_is_no_message_is_none() {
        for text in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"fireworks"}"#,
            r#"{"type":"tick"}"#,
        ] {
            assert_eq!(read_text(text), None, "{text}");
        }
    }
}

//! It does what `serde_json` does.

use super::*;
use crate::{Command, ConnectionCommand, Request, ServerMessage};
use serde::Deserialize;
use std::collections::BTreeMap;

#[test]
fn frames_are_written_and_read_as_serde_json_does() {
    for frame in include_str!("../../golden/server.jsonl").lines() {
        let value = parse(frame).expect(frame);
        let message: ServerMessage = serde_json::from_str(frame).expect(frame);
        assert_eq!(
            from_value::<ServerMessage>(value).as_ref(),
            Some(&message),
            "{frame}"
        );
        assert_eq!(
            sorted(&to_text(&message)),
            serde_json::to_value(&message).expect("JSON"),
            "{frame}"
        );
    }
    for frame in include_str!("../../golden/commands.jsonl").lines() {
        let Ok(Request { command, .. }) = Request::parse(frame) else {
            continue;
        };
        assert_eq!(
            sorted(&to_text(&command)),
            serde_json::to_value(&command).expect("JSON"),
            "{frame}"
        );
        if let Command::Connection(command) = command {
            assert_eq!(
                from_value::<ConnectionCommand>(to_value(&command)),
                Some(command),
                "{frame}"
            );
        }
    }
}

/// As whoever compares objects reads it.
fn sorted(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect(text)
}

fn of<T: DeserializeOwned>(text: &str) -> Option<T> {
    from_value(parse(text)?)
}

#[test]
fn text_is_written_as_json_wants_it() {
    for text in ["", "a\"b\\c", "\u{0}\n\t\u{1f}ü€😀", "</script>"] {
        let value = Value::from(text);
        assert_eq!(sorted(&value.to_text()), serde_json::Value::from(text), "{text}");
    }
    for (number, text) in [
        (0.5, "0.500000"),
        (-2.25, "-2.250000"),
        (9.1, "9.100000"),
        (0.999_999_9, "1.000000"),
    ] {
        assert_eq!(Value::from(number).to_text(), text);
    }
    assert_eq!(
        Value::from(u64::MAX),
        Value::Fraction(18_446_744_073_709_551_615.0)
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Rest {
    text: char,
    tuple: (u8, i64, f32),
    map: BTreeMap<String, Option<bool>>,
    unit: (),
    variant: Kind,
    variants: Vec<Kind>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    One(u8),
    Many { a: i8 },
}

#[test]
fn what_no_frame_has_is_the_same_too() {
    let rest = Rest {
        text: 'ß',
        tuple: (1, -2, 0.5),
        map: [("a".to_owned(), Some(true)), ("b".to_owned(), None)].into(),
        unit: (),
        variant: Kind::Plain,
        variants: vec![Kind::One(3), Kind::Many { a: -4 }],
    };
    let value = serde_json::to_value(&rest).expect("JSON");
    assert_eq!(sorted(&to_text(&rest)), value);
    assert_eq!(serde_json::to_value(to_value(&rest)).expect("JSON"), value);
    assert_eq!(from_value(parse(&value.to_string()).expect("JSON")), Some(rest));
    assert_eq!(to_value(&f64::NAN), Value::Null);
}

#[test]
fn what_is_not_of_the_type_is_nothing() {
    for text in [
        r#"{"a":1}"#,
        "[1]",
        "7",
        r#""Strange""#,
        r#"{"One":1,"Many":{"a":1}}"#,
        r#"{"Plain":1}"#,
        "{}",
        "null",
    ] {
        assert_eq!(of::<Kind>(text), None, "{text}");
    }
    assert_eq!(of::<Vec<u8>>("[1,256]"), None);
    assert_eq!(of::<u64>("1.5"), None);
    assert_eq!(of::<u64>("{"), None);
}

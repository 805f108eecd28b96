//! Golden frames: other languages' clients were written to the frames in `golden/`.

use super::*;
use crate::Code;
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample::{Index, select},
};
use serde_json::Value;

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn parse(fields: &str) -> Result<Request, Malformed> {
    Request::parse(&format!(r#"{{"id":"{ID}",{fields}}}"#))
}

fn code(text: &str) -> Code {
    Request::parse(text).expect_err("must be refused").code
}

/// One frame of each command.
fn golden_requests() -> Vec<&'static str> {
    include_str!("../../golden/commands.jsonl").lines().collect()
}

#[test]
fn every_command_has_its_golden_frame() {
    let golden = golden_requests();
    assert_eq!(golden.len(), verbs().count(), "a verb without a golden frame");
    for (frame, verb) in golden.iter().zip(verbs()) {
        let request = Request::parse(frame).expect("golden frames parse");
        assert_eq!(request.command.verb(), verb);
        let again: Value = serde_json::from_str(&request.to_json()).expect("JSON");
        assert_eq!(again, serde_json::from_str::<Value>(frame).expect("JSON"));
    }
}

#[test]
fn server_messages_have_their_golden_frames_and_read_back() {
    for frame in include_str!("../../golden/server.jsonl").lines() {
        let message: ServerMessage = serde_json::from_str(frame).expect(frame);
        assert_eq!(message.to_json(), frame);
    }
}

#[test]
fn a_way_of_payment_that_is_not_known_or_not_told_makes_no_sale_unreadable() {
    let frame = include_str!("../../golden/server.jsonl")
        .lines()
        .nth(1)
        .expect("a state");
    let payments = |frame: String| match serde_json::from_str(&frame).expect("a message") {
        ServerMessage::Reply {
            outcome: Outcome::Ok(Done::State(state)),
            ..
        } => state.sale.payments,
        other => panic!("{other:?}"),
    };
    assert_eq!(payments(frame.into()), PaymentsBy::Sandbox);
    assert_eq!(
        payments(frame.replace(r#""sandbox""#, r#""none""#)),
        PaymentsBy::None
    );
    assert_eq!(
        payments(frame.replace(r#""sandbox""#, r#""a newer word""#)),
        PaymentsBy::Unknown
    );
    assert_eq!(
        payments(frame.replace(r#","payments":"sandbox""#, "")),
        PaymentsBy::Unknown
    );
}

#[test]
fn malformed_requests_get_one_code_each_and_keep_their_id_where_it_can_be_read() {
    assert_eq!(code("nonsense"), Code::BadJson);
    assert_eq!(code("[]"), Code::InvalidField);
    assert_eq!(code(r#"{"type":"ping","t":1}"#), Code::InvalidField);
    let unknown = parse(r#""type":"steal""#).expect_err("unknown");
    assert_eq!(
        (unknown.code, unknown.id.map(|id| id.to_string()).as_deref()),
        (Code::UnknownCommand, Some(ID))
    );
}

#[test]
fn a_missing_extra_or_wrong_field_is_refused_by_name() {
    for (fields, field) in [
        (r#""type":"watch""#, "missing field `sale`"),
        (r#""type":"watch","sale":"ID","extra":1"#, "extra: unknown field"),
        (r#""type":"orders","extra":1"#, "extra: unknown field"),
        (r#""type":"watch","sale":5"#, "sale: "),
        (r#""type":"watch","sale":"x""#, "sale: "),
        (r#""type":"watch","sale":null"#, "sale: "),
        (r#""type":"reserve","sale":"ID","partial":1"#, "partial: "),
        (
            r#""type":"join","sale":"ID","nonce":"00112233445566778899AABBCCDDEEFF""#,
            "nonce: a nonce is 32 hex digits in lower case",
        ),
        (r#""type":"join","sale":"ID","nonce":"0011""#, "nonce: "),
        (r#""type":"join","sale":"ID","nonce":7"#, "nonce: "),
        (
            r#""type":"leave","sale":"ID","nonce":"00112233445566778899aabbccddeeff""#,
            "nonce: unknown field",
        ),
        (r#""type":"ping","t":-1"#, "t: "),
        (r#""type":"ping","t":1.5"#, "t: "),
        (r#""type":"ping","t":18446744073709551616"#, "t: "),
        (r#""type":"hello","token":7"#, "token: "),
        (r#""type":"hello","token":"t","device":"a b""#, "device: "),
        (r#""type":"hello","token":"t","resume":["ID",1]"#, "resume[1]: "),
        (r#""type":"pay","order":"ID""#, "missing field `payment`"),
        (r#""type":"pay","order":"ID","payment":"x""#, "payment: "),
        (
            r#""type":"pay","order":"ID","payment":{}"#,
            "payment: missing field `token`",
        ),
        (r#""type":"pay","order":"ID","payment":["x"]"#, "payment: "),
        (
            r#""type":"pay","order":"ID","payment":{"token":"x","card":"4111"}"#,
            "payment: unknown field `card`",
        ),
        (
            r#""type":"checkout","sale":"ID","payment":{"token":null}"#,
            "payment: ",
        ),
    ] {
        let refusal = parse(&fields.replace("ID", ID)).expect_err(fields);
        assert_eq!(refusal.code, Code::InvalidField, "{fields}");
        assert!(refusal.id.is_some(), "{fields}");
        assert!(
            refusal.message.starts_with(field),
            "{fields}: {}",
            refusal.message
        );
    }
}

#[test]
fn a_whole_number_may_be_written_as_json_schema_lets_it() {
    for (text, quantity) in [("15.0", 15), ("1e1", 10), ("1.2E1", 12), ("100", 100)] {
        let request = parse(&format!(r#""type":"reserve","sale":"{ID}","quantity":{text}"#)).expect(text);
        let Command::Shop(ShopCommand::Reserve { quantity: read, .. }) = request.command else {
            panic!("{request:?}");
        };
        assert_eq!(read.get(), quantity, "{text}");
    }
    for (text, t) in [
        ("-0.0", Some(0)),
        ("1000000000001.0", Some(1_000_000_000_001)),
        ("1e300", None),
        ("1.0000001", None),
    ] {
        let t_read = parse(&format!(r#""type":"ping","t":{text}"#))
            .ok()
            .map(|request| request.command);
        assert_eq!(t_read, t.map(|t| ConnectionCommand::Ping { t }.into()), "{text}");
    }
}

#[test]
fn a_name_that_stands_twice_and_json_without_end_are_no_json() {
    let deep = "[".repeat(8_000);
    for text in [
        format!(r#"{{"id":"{ID}","type":"orders","type":"cancel"}}"#),
        format!(r#"{{"id":"{ID}","type":"pay","order":"{ID}","payment":{{"token":"a","token":"b"}}}}"#),
        format!(r#"{{"id":"{ID}","id":"{ID}","type":"orders"}}"#),
        format!(r#"{{"id":"{ID}","type":"orders"}} {{}}"#),
        format!(r#"{{"id":"{ID}","type":"ping","t":1e999}}"#),
        r#"{"type":"\ud800"}"#.to_owned(),
        "\u{feff}{}".to_owned(),
        deep,
        String::new(),
    ] {
        assert_eq!(code(&text), Code::BadJson, "{text:.80}");
    }
}

#[test]
fn a_refusal_quotes_no_more_than_a_line() {
    let long = "x".repeat(10_000);
    for fields in [
        format!(r#""type":"{long}""#),
        format!(r#""type":"orders","{long}":1"#),
        format!(r#""type":"watch","sale":"{long}""#),
        format!(r#""type":"orders","{long}":1,"{long}":2"#),
    ] {
        let message = parse(&fields).expect_err("refused").message;
        assert!(message.len() < 500, "{message}");
    }
}

#[test]
fn a_quantity_is_a_whole_number_in_range_and_the_refusal_names_the_field() {
    for bad in ["0", "-1", "1.5", "2147483648", "101", "\"1\"", "null"] {
        let refusal = parse(&format!(r#""type":"reserve","sale":"{ID}","quantity":{bad}"#)).expect_err(bad);
        assert_eq!(refusal.code, Code::InvalidField);
        assert!(
            refusal.message.starts_with("quantity: must be a whole number"),
            "{}",
            refusal.message
        );
    }
    assert!(parse(&format!(r#""type":"reserve","sale":"{ID}","quantity":100"#)).is_ok());
}

#[test]
fn a_place_follows_the_tick_and_never_gets_worse() {
    let entry: Entry = serde_json::from_str(&format!(
        r#"{{"sale":"{ID}","state":"waiting","quantity":1,"position":10,"admitted":5,"at":1}}"#
    ))
    .expect("an entry");
    let at = |entry: &Entry, admitted, priority_admitted| {
        entry.position_at(&Tick {
            admitted,
            priority_admitted,
            ..serde_json::from_str(&format!(
                r#"{{"sale":"{ID}","seq":1,"now":1,"phase":"live","starts_at":0,"ends_at":9,"supply":1,"available":1,
                    "claimed":0,"held":0,"ordering":0,"sold":0,"unpaid":0,"waiting":9,"admitted":0,"pace":1}}"#
            ))
            .expect("a tick")
        })
    };
    assert_eq!(at(&entry, 0, 0), 10, "an older tick changes nothing");
    assert_eq!(at(&entry, 8, 99), 7);
    assert_eq!(at(&entry, 500, 0), 1, "next, but never nobody");
    let priority = Entry {
        priority: true,
        ..entry.clone()
    };
    assert_eq!(at(&priority, 99, 8), 7, "each line has its own count");
    let undrawn = Entry { position: 0, ..entry };
    assert_eq!(at(&undrawn, 8, 0), 0, "no place before places are drawn");
}

/// A shopper in line gets only one tick a second. RFC 6455 puts 4 bytes before a frame of 126 bytes or more.
#[test]
fn a_shopper_in_line_costs_few_bytes_a_second() {
    let tick = |fields: &str| -> Tick {
        serde_json::from_str(&format!(
            r#"{{"sale":"{ID}","seq":1795539068180,"now":1795539068180,"starts_at":1795539068180,"ends_at":1795542668180,
                "supply":100,"waiting":9999990,{fields}}}"#
        ))
        .expect("a tick")
    };
    let bytes = |tick| ServerMessage::Tick(tick).to_json().len() + 4;
    let room = bytes(tick(r#""phase":"waiting","available":100"#));
    assert!(room <= 220, "in the waiting room: {room}");
    let line = bytes(tick(
        r#""phase":"live","claimed":12,"held":40,"sold":48,"unpaid":5,"admitted":131072,"pace":98.5,"pace_low":90.25,
            "pace_high":110.5,"take":0.93,"lapse":0.12,"next_lapse_at":1795539098180,"slowed":"stock_low""#,
    ));
    assert!(line <= 400, "in a line that moves: {line}");
    println!("{room} bytes in the waiting room, {line} in a line that moves");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The parser never panics and always answers: a frame is a request, or gets a refusal with one of three codes.
    #[test]
    fn any_mutation_of_a_frame_is_a_request_or_gets_a_code(
        mut frame in select(golden_requests()).prop_map(|frame| frame.as_bytes().to_vec()),
        cuts in vec((any::<Index>(), 0..3_u8, select(SPLINTERS)), 1..4),
    ) {
        for (at, how, splinter) in cuts {
            let at = at.index(frame.len() + 1);
            let end = (at + usize::from(how) * 4).min(frame.len());
            frame.splice(at..end, splinter.bytes());
        }
        let text = String::from_utf8_lossy(&frame);
        match Request::parse(&text) {
            Ok(request) => prop_assert_eq!(Request::parse(&request.to_json()), Ok(request)),
            Err(refusal) => {
                let codes = [Code::BadJson, Code::UnknownCommand, Code::InvalidField];
                prop_assert!(codes.contains(&refusal.code), "{:?}", refusal);
                prop_assert!(!refusal.message.is_empty() && refusal.message.len() < 2_000);
            }
        }
    }

    /// The same with JSON of any shape, which gets past the first check.
    #[test]
    fn any_json_is_a_request_or_gets_a_code(
        frame in select(golden_requests()),
        name in select(&["id", "type", "sale", "quantity", "partial", "payment", "order", "token", "device", "resume", "t", "x"][..]),
        put in any_json(),
    ) {
        let mut value: Value = serde_json::from_str(frame).expect("JSON");
        value[name] = put;
        if let Err(refusal) = Request::parse(&value.to_string()) {
            prop_assert!(matches!(refusal.code, Code::UnknownCommand | Code::InvalidField), "{:?}", refusal);
            prop_assert!(name == "id" || refusal.id.is_some(), "the id could be read: {:?}", refusal);
        }
    }
}

const SPLINTERS: &[&str] = &[
    "",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\",
    "\\u0000",
    "\\ud800",
    "0",
    "-1",
    "1.5",
    "2147483648",
    "1e400",
    "null",
    "true",
    "\u{0}",
    "\u{feff}",
    "é",
    "💥",
    "\"type\":",
    "\"id\":",
    "\"x\":1,",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
        Just(Value::from(ID)),
        select(verbs().collect::<Vec<_>>()).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("(token|sale|.{0,3})", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

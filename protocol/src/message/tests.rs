//! Golden frames: what stands in `golden/` is what other languages' clients were written to.

use super::*;

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn parse(fields: &str) -> Result<Request, Malformed> {
    Request::parse(&format!(r#"{{"id":"{ID}",{fields}}}"#))
}

fn code(text: &str) -> Code {
    Request::parse(text).expect_err("must be refused").code
}

#[test]
fn every_command_has_its_golden_frame() {
    let golden: Vec<&str> = include_str!("../../golden/commands.jsonl").lines().collect();
    assert_eq!(golden.len(), VERBS.len(), "a verb without a golden frame");
    for (frame, verb) in golden.iter().zip(VERBS) {
        let request = Request::parse(frame).expect("golden frames parse");
        assert_eq!(request.command.verb(), *verb);
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
fn malformed_requests_get_one_code_each_and_keep_their_id_where_it_can_be_read() {
    assert_eq!(code("nonsense"), Code::BadJson);
    assert_eq!(code("[]"), Code::InvalidField);
    assert_eq!(code(r#"{"type":"ping","t":1}"#), Code::InvalidField);
    let unknown = parse(r#""type":"steal""#).expect_err("unknown");
    assert_eq!(
        (unknown.code, unknown.id.map(|id| id.to_string()).as_deref()),
        (Code::UnknownCommand, Some(ID))
    );
    for fields in [
        r#""type":"watch""#.to_owned(),
        format!(r#""type":"watch","sale":"{ID}","extra":1"#),
        r#""type":"watch","sale":5"#.to_owned(),
        r#""type":"watch","sale":"x""#.to_owned(),
    ] {
        assert_eq!(
            parse(&fields).expect_err(&fields).code,
            Code::InvalidField,
            "{fields}"
        );
    }
}

#[test]
fn a_quantity_is_a_whole_number_in_range_and_the_refusal_names_the_field() {
    for bad in ["0", "-1", "1.5", "2147483648", "101", "\"1\"", "null"] {
        let refusal = parse(&format!(r#""type":"reserve","sale":"{ID}","quantity":{bad}"#)).expect_err(bad);
        assert_eq!(refusal.code, Code::InvalidField);
        assert!(
            refusal.message.starts_with("quantity must be a whole number"),
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
    assert_eq!(entry.position_at(0), 10, "an older tick changes nothing");
    assert_eq!(entry.position_at(8), 7);
    assert_eq!(entry.position_at(500), 1, "next, but never nobody");
}

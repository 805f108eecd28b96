//! Golden frames: what stands here is what other languages' clients were written to.

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
    let golden = [
        format!(r#"{{"device":"d1","id":"{ID}","resume":["{ID}"],"token":"t","type":"hello"}}"#),
        format!(r#"{{"id":"{ID}","sale":"{ID}","type":"watch"}}"#),
        format!(r#"{{"id":"{ID}","sale":"{ID}","type":"unwatch"}}"#),
        format!(r#"{{"id":"{ID}","quantity":2,"sale":"{ID}","type":"join"}}"#),
        format!(r#"{{"id":"{ID}","sale":"{ID}","type":"leave"}}"#),
        format!(r#"{{"id":"{ID}","partial":true,"quantity":2,"sale":"{ID}","type":"reserve"}}"#),
        format!(r#"{{"id":"{ID}","sale":"{ID}","type":"release"}}"#),
        format!(r#"{{"id":"{ID}","payment":{{"token":"sandbox_approve"}},"sale":"{ID}","type":"checkout"}}"#),
        format!(r#"{{"id":"{ID}","order":"{ID}","payment":{{"token":"sandbox_approve"}},"type":"pay"}}"#),
        format!(r#"{{"id":"{ID}","order":"{ID}","type":"cancel"}}"#),
        format!(r#"{{"id":"{ID}","type":"orders"}}"#),
        format!(r#"{{"id":"{ID}","sale":"{ID}","type":"state"}}"#),
        format!(r#"{{"id":"{ID}","t":7,"type":"ping"}}"#),
    ];
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
    let golden = [
        format!(r#"{{"type":"reply","id":"{ID}","ok":{{"pong":{{"t":7,"now":8}}}}}}"#),
        r#"{"type":"reply","id":null,"error":{"code":"sold_out","message":"Sold out.","retry":false}}"#
            .to_owned(),
        format!(
            r#"{{"type":"tick","sale":"{ID}","seq":1,"now":2,"phase":"live","starts_at":3,"ends_at":4,"supply":10,"available":5,"claimed":1,"held":1,"ordering":1,"sold":2,"unpaid":1,"waiting":6,"admitted":7,"pace":0.5}}"#
        ),
        format!(
            r#"{{"type":"entry","sale":"{ID}","state":"admitted","quantity":1,"position":0,"admitted":7,"claim_until":9,"at":8}}"#
        ),
        format!(r#"{{"type":"hold","sale":"{ID}","state":"held","quantity":1,"expires_at":9,"at":8}}"#),
        format!(
            r#"{{"type":"order","order":"{ID}","sale":"{ID}","quantity":1,"unit_price":8900,"amount":8900,"currency":"EUR","status":"pending","created_at":1,"expires_at":2,"at":1}}"#
        ),
        format!(
            r#"{{"type":"order","order":"{ID}","sale":"{ID}","quantity":1,"unit_price":8900,"amount":8900,"currency":"EUR","status":"pending","created_at":1,"expires_at":2,"paying":true,"at":1}}"#
        ),
        format!(
            r#"{{"type":"order","order":"{ID}","sale":"{ID}","quantity":1,"unit_price":8900,"amount":8900,"currency":"EUR","status":"cancelled","reason":"refunded","created_at":1,"expires_at":2,"refunded":8900,"at":3}}"#
        ),
        r#"{"type":"notice","code":"paused","text":"The sale is paused."}"#.to_owned(),
        r#"{"type":"bye","code":4000,"text":"moving","after_ms":0,"window_ms":1000}"#.to_owned(),
    ];
    for frame in &golden {
        let message: ServerMessage = serde_json::from_str(frame).expect(frame);
        assert_eq!(message.to_json(), *frame);
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

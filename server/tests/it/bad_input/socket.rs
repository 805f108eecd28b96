//! Frames.

use super::{NOTHING, PATIENT, busy_sale};
use crate::harness::{DEADLINE, NONCE, World, command_id};
use flashsale_protocol::{CloseCode, Code, Command, ConnectionCommand, MAX_FRAME_BYTES, ShopCommand};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode as WsCloseCode, Data, OpCode},
        },
    },
};

/// A frame, the code of its refusal, and how the refusal's text begins. `ID` stands for a new command id, `SALE` for a
/// sale in which `holder` holds units, `NONE` for an id of nothing.
const BAD: &[(&str, Code, &str)] = &[
    ("nonsense", Code::BadJson, ""),
    ("", Code::BadJson, ""),
    (r#"{"id":"ID","type":"orders"}}"#, Code::BadJson, ""),
    (
        r#"{"id":"ID","type":"cancel","type":"orders"}"#,
        Code::BadJson,
        "",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","quantity":1e999}"#,
        Code::BadJson,
        "",
    ),
    ("[]", Code::InvalidField, "A message is a JSON object"),
    ("null", Code::InvalidField, "A message is a JSON object"),
    (
        r#"{"id":"ID","type":"steal"}"#,
        Code::UnknownCommand,
        "There is no command \"steal\"",
    ),
    (r#"{"id":"ID","type":"Orders"}"#, Code::UnknownCommand, ""),
    (r#"{"id":"ID"}"#, Code::InvalidField, "type: "),
    (r#"{"id":"ID","type":7}"#, Code::InvalidField, "type: "),
    (r#"{"type":"orders"}"#, Code::InvalidField, "id: "),
    (r#"{"type":"orders","id":7}"#, Code::InvalidField, "id: "),
    (r#"{"type":"orders","id":"7"}"#, Code::InvalidField, "id: "),
    (
        r#"{"id":"ID","type":"reserve"}"#,
        Code::InvalidField,
        "missing field `sale`",
    ),
    (
        r#"{"id":"ID","type":"release","sale":"SALE","quantity":1}"#,
        Code::InvalidField,
        "quantity: unknown field",
    ),
    (
        r#"{"id":"ID","type":"orders","user":"buyer"}"#,
        Code::InvalidField,
        "user: unknown field",
    ),
    (
        r#"{"id":"ID","type":"release","sale":7}"#,
        Code::InvalidField,
        "sale: ",
    ),
    (
        r#"{"id":"ID","type":"release","sale":["SALE"]}"#,
        Code::InvalidField,
        "sale: ",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","quantity":0}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","quantity":-1}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","quantity":2147483648}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","quantity":1.5}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","quantity":"1"}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","quantity":null}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"SALE","partial":"yes"}"#,
        Code::InvalidField,
        "partial: ",
    ),
    (
        r#"{"id":"ID","type":"join","sale":"SALE","quantity":0}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"join","sale":"SALE","quantity":-1}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"join","sale":"SALE","quantity":2147483648}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"join","sale":"SALE","quantity":1.5}"#,
        Code::InvalidField,
        "quantity: ",
    ),
    (
        r#"{"id":"ID","type":"checkout","sale":"SALE","payment":"x"}"#,
        Code::InvalidField,
        "payment: ",
    ),
    (
        r#"{"id":"ID","type":"checkout","sale":"SALE","payment":["x"]}"#,
        Code::InvalidField,
        "payment: ",
    ),
    (
        r#"{"id":"ID","type":"checkout","sale":"SALE","payment":{}}"#,
        Code::InvalidField,
        "payment: ",
    ),
    (
        r#"{"id":"ID","type":"checkout","sale":"SALE","payment":{"token":"sandbox_approve","card":"4111"}}"#,
        Code::InvalidField,
        "payment: unknown field `card`",
    ),
    (r#"{"id":"ID","type":"ping","t":-1}"#, Code::InvalidField, "t: "),
    (
        r#"{"id":"ID","type":"watch","sale":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"state","sale":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"join","sale":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"leave","sale":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"reserve","sale":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"release","sale":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"checkout","sale":"NONE"}"#,
        Code::SaleUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"pay","order":"NONE","payment":{"token":"sandbox_approve"}}"#,
        Code::OrderUnknown,
        "",
    ),
    (
        r#"{"id":"ID","type":"cancel","order":"NONE"}"#,
        Code::OrderUnknown,
        "",
    ),
    (r#"{"id":"ID","type":"hello","token":"x"}"#, Code::HelloTwice, ""),
];

#[tokio::test]
async fn a_bad_frame_gets_its_code_and_changes_nothing_and_the_socket_lives() {
    let world = World::with(PATIENT).await;
    let sale = busy_sale(&world).await;
    let before = world.facts(sale).await;
    let mut socket = world.shopper("holder").await;
    for (frame, code, text) in BAD {
        let id = command_id();
        let frame = frame
            .replace("ID", &id.to_string())
            .replace("SALE", &sale.to_string())
            .replace("NONE", NOTHING);
        socket.send(&frame).await;
        let (replied, outcome) = socket.reply().await;
        let refusal = outcome.expect_err(&frame);
        assert_eq!(refusal.code, *code, "{frame}: {refusal:?}");
        assert!(refusal.message.starts_with(text), "{frame}: {}", refusal.message);
        let readable = *code != Code::BadJson && frame.contains(&id.to_string());
        assert_eq!(replied, readable.then_some(id), "{frame}");
    }
    socket
        .stream
        .send(Message::binary(r#"{"type":"orders"}"#))
        .await
        .expect("sends");
    let (_, outcome) = socket.reply().await;
    assert_eq!(outcome.expect_err("binary").code, Code::BinaryFrame);
    socket.ok(ShopCommand::Orders {}).await;
    assert_eq!(world.facts(sale).await, before);
    world.server.stop().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_its_socket_with_1009_and_no_other() {
    let world = World::start().await;
    let mut other = world.shopper("u2").await;
    let fragment = |op, last| {
        let half = vec![b' '; MAX_FRAME_BYTES / 2 + 1];
        Message::Frame(Frame::message(half, OpCode::Data(op), last))
    };
    for frames in [
        vec![Message::text(" ".repeat(MAX_FRAME_BYTES + 1))],
        vec![Message::text(" ".repeat(4_000_000))],
        vec![fragment(Data::Text, false), fragment(Data::Continue, true)],
    ] {
        let mut socket = world.shopper("u1").await;
        for frame in frames {
            socket.stream.send(frame).await.expect("sends");
        }
        assert_eq!(socket.closed().await, CloseCode::FrameTooLarge);
    }
    let mut socket = world.shopper("u1").await;
    socket.send(&" ".repeat(MAX_FRAME_BYTES)).await;
    let (_, outcome) = socket.reply().await;
    assert_eq!(
        outcome.expect_err("blank").code,
        Code::BadJson,
        "the limit itself is allowed"
    );
    other.ok(ShopCommand::Orders {}).await;
    world.server.stop().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_its_socket_with_1002() {
    let world = World::start().await;
    let mut socket = world.shopper("u1").await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    socket.stream.send(Message::Frame(frame)).await.expect("sends");
    assert_eq!(socket.closed().await, CloseCode::ProtocolError);
    world.server.stop().await;
}

#[tokio::test]
async fn before_hello_every_command_is_refused_and_a_refused_hello_may_be_said_again() {
    let world = World::with(&["--sales-per-socket", "1"]).await;
    let sales = vec![
        world.sale(serde_json::json!({})).await,
        world.sale(serde_json::json!({})).await,
    ];
    let mut socket = world.stranger().await;
    let hello = |resume| ConnectionCommand::Hello {
        token: world.token("u1", flashsale_protocol::Role::Shopper),
        device: None,
        resume,
        changes: false,
    };
    for command in [
        Command::from(ShopCommand::Orders {}),
        ConnectionCommand::Ping { t: 1 }.into(),
        ConnectionCommand::Watch { sale: sales[0] }.into(),
        ShopCommand::Join {
            sale: sales[0],
            quantity: Default::default(),
            nonce: Some(NONCE),
        }
        .into(),
        ShopCommand::Cancel {
            order: NOTHING.parse().expect("a ULID"),
        }
        .into(),
    ] {
        assert_eq!(
            socket.ask(command).await.expect_err("nobody").code,
            Code::HelloFirst
        );
    }
    assert_eq!(
        socket.ask(hello(sales.clone())).await.expect_err("two").code,
        Code::TooManySales
    );
    assert_eq!(
        socket.ask(ShopCommand::Orders {}).await.expect_err("nobody").code,
        Code::HelloFirst
    );
    socket.ok(hello(sales[..1].to_vec())).await;
    assert_eq!(
        socket.ask(hello(vec![])).await.expect_err("again").code,
        Code::HelloTwice
    );
    let second = ConnectionCommand::Watch { sale: sales[1] };
    assert_eq!(
        socket.ask(second).await.expect_err("two").code,
        Code::TooManySales
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_gets_its_close_answered() {
    let world = World::start().await;
    let mut shopper = world.shopper("u1").await;
    let going = CloseFrame {
        code: WsCloseCode::Normal,
        reason: "".into(),
    };
    shopper
        .stream
        .send(Message::Close(Some(going.clone())))
        .await
        .expect("sends");
    let answer = tokio::time::timeout(DEADLINE, shopper.stream.next())
        .await
        .expect("in time");
    assert_eq!(
        answer.expect("not just gone").expect("a frame"),
        Message::Close(Some(going))
    );
    world.server.stop().await;
}

//! Each kind of bad input gets one clear error with its code, and changes nothing.

use crate::harness::{DEADLINE, World};
use flashsale_protocol::{Code, Command, Done, Role};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

#[tokio::test]
async fn a_client_that_closes_gets_its_close_answered() {
    let world = World::start().await;
    let mut shopper = world.shopper("u1").await;
    let going = CloseFrame {
        code: CloseCode::Normal,
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

#[tokio::test]
async fn malformed_frames_are_refused_each_with_its_code_and_the_socket_lives() {
    let world = World::start().await;
    let mut socket = world.stranger().await;
    socket.send(&format!(r#"{{"id":"{ID}","type":"orders"}}"#)).await;
    assert_eq!(
        socket.reply().await.1.expect_err("no hello").code,
        Code::HelloFirst
    );
    let mut socket = world.shopper("u1").await;
    for (frame, code) in [
        ("nonsense".to_owned(), Code::BadJson),
        (format!(r#"{{"id":"{ID}","type":"steal"}}"#), Code::UnknownCommand),
        (r#"{"type":"orders"}"#.to_owned(), Code::InvalidField),
        (
            format!(r#"{{"id":"{ID}","type":"reserve","sale":"{ID}","quantity":0}}"#),
            Code::InvalidField,
        ),
        (
            format!(r#"{{"id":"{ID}","type":"reserve","sale":"{ID}","quantity":1.5}}"#),
            Code::InvalidField,
        ),
        (
            format!(r#"{{"id":"{ID}","type":"reserve","sale":"{ID}"}}"#),
            Code::SaleUnknown,
        ),
        (
            format!(r#"{{"id":"{ID}","type":"reserve","sale":"{ID}","quantity":2}}"#),
            Code::CommandIdReused,
        ),
    ] {
        socket.send(&frame).await;
        assert_eq!(socket.reply().await.1.expect_err(&frame).code, code, "{frame}");
    }
    socket
        .stream
        .send(Message::binary(vec![1, 2, 3]))
        .await
        .expect("sends");
    assert_eq!(
        socket.reply().await.1.expect_err("binary").code,
        Code::BinaryFrame
    );
    socket.ok(Command::Orders {}).await;
    world.server.stop().await;
}

#[tokio::test]
async fn commands_faster_than_the_limit_are_refused_with_the_time_to_wait() {
    let world = World::with(&["--commands-per-s", "1", "--command-burst", "3"]).await;
    let mut socket = world.shopper("u1").await;
    socket.ok(Command::Orders {}).await;
    socket.ok(Command::Orders {}).await;
    let refusal = socket.ask(Command::Orders {}).await.expect_err("too fast");
    assert_eq!(refusal.code, Code::TooManyCommands);
    assert!(refusal.retry_after_ms.is_some_and(|ms| ms > 0));
    world.server.stop().await;
}

#[tokio::test]
async fn wrong_sales_are_refused_by_field_and_only_operators_create() {
    let world = World::start().await;
    for (fields, field) in [
        (json!({ "end_time": "2020-01-01T00:00:00Z" }), "end_time"),
        (json!({ "sale_price": -1 }), "sale_price"),
        (json!({ "total_stock": 0 }), "total_stock"),
        (json!({ "total_stock": 2_147_483_648_u32 }), "total_stock"),
    ] {
        let (status, body) = world.create_sale(fields).await;
        assert_eq!((status, &body["code"]), (422, &json!("invalid_field")), "{body}");
        assert!(
            body["detail"]
                .as_str()
                .is_some_and(|text| text.starts_with(field)),
            "{body}"
        );
    }
    let shopper = world.token("u1", Role::Shopper);
    assert_eq!(
        world.post("/admin/sales", Some(&shopper), "{}").await.1["code"],
        "forbidden"
    );
    assert_eq!(
        world.post("/admin/sales", None, "{}").await.1["code"],
        "token_missing"
    );
    let item = format!(r#"{{"sale_id":"{ID}","quantity_requested":1}}"#);
    assert_eq!(
        world.post("/carts/u2/items", Some(&shopper), &item).await.1["code"],
        "forbidden"
    );
    assert_eq!(
        world.post("/carts/u1/items", Some(&shopper), &item).await.1["code"],
        "sale_unknown"
    );
    assert_eq!(
        world.post("/carts/u1/items", Some(&shopper), "{").await.1["code"],
        "bad_json"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_hello_that_is_refused_may_be_said_again() {
    let world = World::with(&["--sales-per-socket", "1"]).await;
    let sales = vec![world.sale(json!({})).await, world.sale(json!({})).await];
    let token = world.token("u1", Role::Shopper);
    let mut socket = world.stranger().await;
    let hello = |resume| Command::Hello {
        token: token.clone(),
        device: None,
        resume,
    };
    assert_eq!(
        socket.ask(hello(sales.clone())).await.expect_err("two").code,
        Code::TooManySales
    );
    assert_eq!(
        socket.ask(Command::Orders {}).await.expect_err("nobody").code,
        Code::HelloFirst
    );
    let done = socket.ok(hello(sales[..1].to_vec())).await;
    assert!(matches!(done, Done::Welcome(welcome) if welcome.states.len() == 1));
    world.server.stop().await;
}

//! Too much, too fast, too many, too slow.

use crate::harness::{Client, DEADLINE, World, close_code};
use flashsale_protocol::{CloseCode, Code, Role, ShopCommand};
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use tokio_tungstenite::tungstenite::Message;

/// A handshake over plain HTTP, which can be refused there.
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn commands_faster_than_the_limit_are_refused_with_the_time_to_wait() {
    let world = World::with(&["--commands-per-s", "1", "--command-burst", "3"]).await;
    let mut socket = world.shopper("u1").await;
    socket.ok(ShopCommand::Orders {}).await;
    socket.ok(ShopCommand::Orders {}).await;
    let refusal = socket.ask(ShopCommand::Orders {}).await.expect_err("too fast");
    assert_eq!(refusal.code, Code::TooManyCommands);
    assert!(refusal.retry && refusal.retry_after_ms.is_some_and(|ms| (1..=1001).contains(&ms)));
    let token = world.token("u1", Role::Shopper);
    let ask = async || world.rest(Method::GET, "/carts/u1", Some(&token), &[], "").await;
    for _ in 0..3 {
        assert_eq!(ask().await.status, 200);
    }
    let refused = ask().await;
    assert_eq!(refused.refusal(), Code::TooManyCommands);
    assert_eq!(refused.headers["retry-after"], "1");
    world.shopper("u2").await.ok(ShopCommand::Orders {}).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_socket_that_only_offends_is_closed_whatever_it_sends() {
    let world = World::with(&["--max-offences", "5"]).await;
    for message in [
        Message::text("x"),
        Message::binary("x"),
        Message::Ping("x".into()),
    ] {
        let mut socket = world.shopper("u1").await;
        // More than the burst and the offences together; the close may come before the last.
        for _ in 0..100 {
            let _ = socket.stream.send(message.clone()).await;
        }
        assert_eq!(socket.closed().await, CloseCode::Abuse, "{message:?}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_socket_that_never_says_hello_is_closed_in_time_even_while_it_pings() {
    let world = World::with(&[
        "--hello-timeout-ms",
        "300",
        "--command-burst",
        "1000000",
        "--max-offences",
        "1000000",
    ])
    .await;
    let mut silent = world.stranger().await;
    let started = std::time::Instant::now();
    assert_eq!(silent.closed().await, CloseCode::HelloTimeout);
    let waited = started.elapsed().as_millis();
    assert!((250..1500).contains(&waited), "{waited} ms");
    let (mut pings, mut frames) = world.stranger().await.stream.split();
    let flood = async {
        while pings.send(Message::Ping(vec![0; 100].into())).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = flood => {}
        code = close_code(&mut frames) => assert_eq!(code, CloseCode::HelloTimeout),
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_socket_from_which_nothing_comes_is_closed() {
    let world = World::with(&["--idle-timeout-ms", "300"]).await;
    assert_eq!(world.shopper("u1").await.closed().await, CloseCode::Idle);
    world.server.stop().await;
}

#[tokio::test]
async fn one_socket_too_many_of_a_shopper_closes_the_oldest() {
    let world = World::with(&["--sockets-per-shopper", "2"]).await;
    let mut oldest = world.shopper("u1").await;
    let mut other = world.shopper("u2").await;
    let mut kept: Vec<Client> = vec![world.shopper("u1").await, world.shopper("u1").await];
    assert_eq!(oldest.closed().await, CloseCode::TooManySockets);
    kept.push(world.shopper("u2").await);
    for socket in kept.iter_mut().chain([&mut other]) {
        socket.ok(ShopCommand::Orders {}).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn one_socket_too_many_of_an_address_is_refused_whatever_its_headers_say() {
    let world = World::with(&["--sockets-per-address", "2"]).await;
    let (first, mut second) = (world.stranger().await, world.shopper("u1").await);
    for claimed in ["203.0.113.1", "203.0.113.2, 203.0.113.3"] {
        let mut headers = HANDSHAKE.to_vec();
        headers.extend([
            ("x-forwarded-for", claimed),
            ("x-real-ip", claimed),
            ("forwarded", "for=203.0.113.4"),
        ]);
        let answer = world.rest(Method::GET, "/ws", None, &headers, "").await;
        assert_eq!(answer.refusal(), Code::TooManyFromAddress);
        assert_eq!(answer.headers["retry-after"], "2");
    }
    second.ok(ShopCommand::Orders {}).await;
    drop(first);
    // The place is given back as soon as the server has seen the end.
    let deadline = std::time::Instant::now() + DEADLINE;
    while world.rest(Method::GET, "/ws", None, &HANDSHAKE, "").await.status != 101 {
        assert!(
            std::time::Instant::now() < deadline,
            "the place is not given back"
        );
    }
    world.server.stop().await;
}

#[tokio::test]
async fn behind_a_proxy_the_address_that_it_saw_counts_and_not_what_the_client_wrote() {
    let world = World::with(&[
        "--guests-per-minute",
        "1",
        "--guest-burst",
        "1",
        "--trusted-proxy-hops",
        "1",
    ])
    .await;
    for (forwarded, allowed) in [
        ("203.0.113.1", true),
        ("203.0.113.1", false),
        ("198.51.100.7, 203.0.113.1", false),
        ("203.0.113.1, 203.0.113.2", true),
        ("2001:db8::1", true),
        ("2001:db8::2", false),
        ("2001:db8:0:1::1", true),
    ] {
        let answer = world
            .rest(
                Method::POST,
                "/session",
                None,
                &[("x-forwarded-for", forwarded)],
                "",
            )
            .await;
        if allowed {
            assert_eq!(answer.status, 200, "{forwarded}");
        } else {
            assert_eq!(answer.refusal(), Code::TooManyFromAddress, "{forwarded}");
        }
    }
    world.server.stop().await;
}

#[tokio::test]
async fn guest_sessions_of_an_address_are_limited_whatever_its_headers_say() {
    let world = World::with(&["--guests-per-minute", "2", "--guest-burst", "2"]).await;
    let ask = async |from: &str| {
        world
            .rest(Method::POST, "/session", None, &[("x-forwarded-for", from)], "")
            .await
    };
    for from in ["203.0.113.1", "203.0.113.2"] {
        assert_eq!(ask(from).await.status, 200);
    }
    let refused = ask("203.0.113.3").await;
    assert_eq!(refused.refusal(), Code::TooManyFromAddress);
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=30).contains(&wait), "{wait} s");
    world.server.stop().await;
}

//! Clients that begin and do not finish, that do not read, or that come all at once; and that others do not notice.

use crate::harness::{Client, DEADLINE, World};
use flashsale_protocol::{CloseCode, Code, SUBPROTOCOL, ServerMessage, ShopCommand};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A socket after its handshake, as bare bytes.
async fn bare(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.server.address).await.expect("connects");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("answers"));
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    stream
}

/// A masked frame with an all-zero mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// The code of the close frame that the bytes end with.
fn closed_with(bytes: &[u8]) -> Option<CloseCode> {
    let at = bytes.windows(2).rposition(|two| two[0] == 0x88 && two[1] >= 2)?;
    let code = bytes.get(at + 2..at + 4)?;
    CloseCode::from_number(u16::from_be_bytes([code[0], code[1]]))
}

async fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .expect("closed in time");
    bytes
}

#[tokio::test]
async fn a_message_that_is_begun_and_not_finished_closes_its_socket() {
    let world = World::with(&["--message-timeout-ms", "300"]).await;
    let mut other = world.shopper("u2").await;
    let text = frame(0x81, br#"{"type":"ping"}"#);
    for (what, begun) in [
        ("half a head", &text[..1]),
        ("half a mask", &text[..4]),
        ("half a payload", &text[..text.len() - 1]),
        ("one fragment", &frame(0x01, b"{")),
        (
            "a fragment, and a ping that is whole",
            &[frame(0x01, b"{"), frame(0x89, b"x")].concat(),
        ),
    ] {
        let mut stream = bare(&world).await;
        let started = Instant::now();
        stream.write_all(begun).await.expect("sends");
        let answer = rest_of(&mut stream).await;
        assert_eq!(
            closed_with(&answer),
            Some(CloseCode::MessageTimeout),
            "{what}: {answer:?}"
        );
        assert!(
            started.elapsed() >= Duration::from_millis(250),
            "{what}: too early"
        );
    }
    // Slow, but within the time: nobody is closed for that.
    let mut stream = bare(&world).await;
    for byte in &text {
        stream.write_all(&[*byte]).await.expect("sends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut answer = vec![0; 2];
    stream.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(answer[0], 0x81, "a reply");
    other.ok(ShopCommand::Orders {}).await;
    world.server.stop().await;
}

#[tokio::test]
async fn what_no_client_may_send_closes_its_socket_with_1002() {
    let world = World::start().await;
    let unmasked = [&[0x81, 2][..], b"{}"].concat();
    let too_long_a_ping = [&[0x89, 0xfe, 0, 200, 0, 0, 0, 0][..], &[0; 200]].concat();
    for (what, bytes) in [
        ("an unmasked frame", unmasked),
        ("a reserved bit", frame(0xc1, b"{}")),
        ("a reserved opcode", frame(0x83, b"{}")),
        ("a ping in fragments", frame(0x09, b"x")),
        ("a ping of 200 bytes", too_long_a_ping),
        ("a continuation of nothing", frame(0x80, b"{}")),
        (
            "a message within a message",
            [frame(0x01, b"{"), frame(0x81, b"{}")].concat(),
        ),
    ] {
        let mut stream = bare(&world).await;
        stream.write_all(&bytes).await.expect("sends");
        let answer = rest_of(&mut stream).await;
        assert_eq!(
            closed_with(&answer),
            Some(CloseCode::ProtocolError),
            "{what}: {answer:?}"
        );
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_others_do_not_notice() {
    let world = World::with(&[
        "--command-burst",
        "1000000",
        "--max-offences",
        "100000000",
        "--hello-timeout-ms",
        "60000",
        "--write-timeout-ms",
        "500",
    ])
    .await;
    let mut other = world.shopper("u2").await;
    let mut deaf = bare(&world).await;
    let (flood, mut slowest) = (frame(0x81, &[b'x'; 100]).repeat(200), Duration::ZERO);
    let closed = tokio::time::timeout(DEADLINE, async {
        loop {
            // When nothing fits any more, the server waits for us until its patience ends.
            let sent = tokio::time::timeout(Duration::from_millis(20), deaf.write_all(&flood));
            if let Ok(Err(_)) = sent.await {
                return;
            }
            let asked = Instant::now();
            other.ok(ShopCommand::Orders {}).await;
            slowest = slowest.max(asked.elapsed());
        }
    });
    closed.await.expect("closed in time");
    assert!(
        slowest < Duration::from_millis(500),
        "another socket waited for {slowest:?}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn more_handshakes_than_the_rate_are_asked_to_come_back() {
    let world = World::with(&["--handshakes-per-s", "2"]).await;
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let (_one, _two) = (bare(&world).await, bare(&world).await);
    let refused = world.rest(Method::GET, "/ws", None, &headers, "").await;
    assert_eq!((refused.status, refused.refusal()), (503, Code::Busy));
    assert_eq!(refused.headers["retry-after"], "1");
    tokio::time::sleep(Duration::from_millis(600)).await;
    bare(&world).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_answers_what_is_in_flight() {
    let world = World::with(&["--drain-window-ms", "400"]).await;
    let sale = world.sale(json!({})).await;
    let mut sockets: Vec<Client> = Vec::new();
    for who in ["u1", "u2", "u3"] {
        let mut socket = world.shopper(who).await;
        socket.watch(sale).await;
        sockets.push(socket);
    }
    let stop = tokio::spawn(world.server.stop());
    for socket in &mut sockets {
        let bye = socket.until(|message| match message {
            ServerMessage::Bye { code, window_ms, .. } => Some((*code, *window_ms)),
            _ => None,
        });
        let (code, window_ms) = bye.await;
        assert_eq!(code, CloseCode::Draining.number());
        assert!(window_ms <= 400);
        // Still served while it lasts.
        socket.ok(ShopCommand::Orders {}).await;
    }
    for mut socket in sockets {
        assert_eq!(socket.closed().await, CloseCode::Draining);
    }
    stop.await.expect("stops");
}

/// Bytes that the kernel keeps for a client of ours: sent or to be sent, and not taken.
fn kept_for(client: &TcpStream) -> u64 {
    let [server, client] =
        [client.peer_addr(), client.local_addr()].map(|address| address.expect("an address").port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let kept = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = port(fields.get(1)?) == Some(server) && port(fields.get(2)?) == Some(client);
        let (waiting, _) = fields.get(4)?.split_once(':')?;
        is_ours.then(|| u64::from_str_radix(waiting, 16).ok())?
    });
    kept.expect("a connection of ours")
}

#[tokio::test]
async fn whoever_does_not_take_a_large_answer_costs_the_kernel_little() {
    const REQUESTS: usize = 40;
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.server.address).await.expect("connects");
    let request = "GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n".repeat(REQUESTS);
    stream.write_all(request.as_bytes()).await.expect("sends");
    // Until the server can send no more.
    let mut kept = 0;
    let mut same = 0;
    let until = Instant::now() + DEADLINE;
    while same < 5 {
        assert!(Instant::now() < until, "it goes on sending");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = kept_for(&stream);
        same = if now == kept && now > 0 { same + 1 } else { 0 };
        kept = now;
    }
    assert!(kept < 300_000, "{kept} bytes");
    drop(stream);
    world.server.stop().await;
}

//! Bytes that no HTTP client would send.

use super::NOTHING;
use crate::harness::{DEADLINE, World};
use flashsale_protocol::Role;
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What is answered until the server closes.
async fn send(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.server.address).await.expect("connects");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .expect("closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder_of_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("pages");
    std::fs::create_dir_all(pages.join("assets")).expect("a folder");
    std::fs::write(pages.join("index.html"), "the shop").expect("written");
    std::fs::write(pages.join("assets/a.js"), "a script").expect("written");
    std::fs::write(folder.path().join("secret"), "the secret").expect("written");
    let world = World::with(&["--web-dir", &pages.display().to_string()]).await;
    let get = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        send(&world, request.as_bytes()).await
    };
    for path in [
        "/../secret",
        "/assets/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/assets/..%2f..%2fsecret",
        "/assets/%2e%2e/%2e%2e/secret",
        "/..%5csecret",
        "/....//secret",
        "//../secret",
        "/assets//../../secret",
        "/%00",
        "/secret%00.html",
        "/sale/../../secret",
        &folder.path().join("secret").display().to_string(),
        &format!("/{}", folder.path().join("secret").display()),
        // No file system has such names.
        &format!("/{}", "x".repeat(256)),
        "/assets/%00",
    ] {
        let answer = get(path).await;
        assert!(!answer.contains("the secret"), "{path}: {answer}");
        assert!(
            ["404", "400", "200"].contains(&status(&answer)),
            "{path}: {answer}"
        );
    }
    assert!(get("/").await.contains("the shop"), "the pages are there");
    let script = get("/assets/a.js").await;
    assert!(
        script.contains("a script") && script.contains("immutable"),
        "{script}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn broken_http_is_refused_and_the_server_goes_on() {
    let world = World::start().await;
    let token = world.token("u1", Role::Shopper);
    let order = |head: &str, body: &str| {
        format!(
            "POST /orders/{NOTHING}/cancel HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{head}\r\n{body}"
        )
    };
    let many = |count: usize| (0..count).map(|i| format!("X-{i}: y\r\n")).collect::<String>();
    for (name, request, expected) in [
        ("the same, unbroken", order("Idempotency-Key: a\r\n", ""), "404"),
        ("a folded key", order("Idempotency-Key: a\r\n b\r\n", ""), "400"),
        ("a key with CR", order("Idempotency-Key: a\rb\r\n", ""), "400"),
        ("a key with NUL", order("Idempotency-Key: a\0b\r\n", ""), "400"),
        (
            "a key and one more header",
            order("Idempotency-Key: a\r\nX-Role: admin\r\n", ""),
            "404",
        ),
        ("too many headers", order(&many(150), ""), "431"),
        (
            "a head too large",
            order(&format!("X-A: {}\r\n", "y".repeat(100_000)), ""),
            "431",
        ),
        (
            "two lengths",
            order("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"),
            "400",
        ),
        ("a negative length", order("Content-Length: -1\r\n", ""), "400"),
        ("a space before the colon", order("X-A : b\r\n", ""), "400"),
        (
            "a path too long",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000)),
            "431",
        ),
        (
            "HTTP/2 by surprise",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            "none",
        ),
        ("no HTTP at all", "\u{16}\u{3}\u{1}\0hello\r\n\r\n".into(), "400"),
    ] {
        let answer = send(&world, request.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
    }
    world.shopper("u1").await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_whole_request_is_closed_in_time() {
    let world = World::with(&["--head-timeout-ms", "300"]).await;
    let whole = "GET /flash-sales HTTP/1.1\r\nHost: x\r\n\r\n";
    for (start, expected) in [("", "none"), (&whole[..20], "none"), (whole, "200")] {
        let started = Instant::now();
        let answer = send(&world, start.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{start:?}");
        let waited = started.elapsed().as_millis();
        assert!((250..2000).contains(&waited), "{start:?}: {waited} ms");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_ends_its_request_does_not_hold_up_the_stop() {
    let world = World::start().await;
    let mut connections = Vec::new();
    for start in [
        "",
        "GET /flash-sales HTTP/1.1\r\nHost:",
        "POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(world.server.address).await.expect("connects");
        stream.write_all(start.as_bytes()).await.expect("sends");
        connections.push(stream);
    }
    // The server has taken them all: it accepts in order.
    world.stranger().await;
    let started = Instant::now();
    world.server.stop().await;
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    drop(connections);
}

//! TLS at the public address: pages, cookies, sockets, and what is no TLS.

use crate::harness::{Client, DEADLINE, World};
use flashsale_engine::here::LiveTick;
use flashsale_protocol::{
    CloseCode, Code, ConnectionCommand, Done, Quantity, SaleId, ServerMessage, ShopCommand,
};
use futures_util::{SinkExt, StreamExt, future::join_all};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;
use serde_json::json;
use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    process::Command,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
        pki_types::{CertificateDer, ServerName},
        version::{TLS12, TLS13},
    },
};
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

/// A certificate that has signed itself, for this machine.
struct Sample {
    cert: CertificateDer<'static>,
    cert_pem: String,
    key_pem: String,
}

impl Sample {
    fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            cert_pem: pem_of("CERTIFICATE", made.cert.der()),
            key_pem: pem_of("PRIVATE KEY", made.signing_key.serialized_der()),
            cert: made.cert.der().clone(),
        }
    }

    fn write(&self, folder: &Path) {
        std::fs::write(folder.join("cert.pem"), &self.cert_pem).expect("written");
        std::fs::write(folder.join("key.pem"), &self.key_pem).expect("written");
    }

    /// What clients trust that know only this certificate.
    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        flashsale::tls::provide();
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).expect("a certificate");
        ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    async fn greet(&self, world: &World) -> std::io::Result<TlsStream<TcpStream>> {
        greet(world, self.client(&[&TLS13])).await
    }

    async fn stranger(&self, world: &World) -> Client<TlsStream<TcpStream>> {
        Client::over(self.greet(world).await.expect("a handshake")).await
    }

    async fn shopper(&self, world: &World, who: &str) -> Client<TlsStream<TcpStream>> {
        let mut client = self.stranger(world).await;
        client.ok(hello(world, who, vec![])).await;
        client
    }
}

fn pem_of(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

async fn greet(world: &World, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(world.server.address).await?;
    over(stream, config).await
}

async fn over(stream: TcpStream, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn hello(world: &World, who: &str, resume: Vec<SaleId>) -> ConnectionCommand {
    ConnectionCommand::Hello {
        token: world.token_on(who, &format!("device-of-{who}")),
        device: None,
        resume,
        changes: false,
    }
}

/// A server with a certificate, whose HTTP client trusts that one only.
struct Secure {
    world: World,
    sample: Sample,
    folder: tempfile::TempDir,
}

async fn secure(flags: &[&str]) -> Secure {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::new();
    sample.write(folder.path());
    let files = ["cert.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let own = ["--tls-cert", &files[0], "--tls-key", &files[1]];
    let mut world = World::with(&[&own[..], flags].concat()).await;
    let trusted = reqwest::Certificate::from_der(&sample.cert).expect("a certificate");
    world.http = reqwest::Client::builder()
        .tls_certs_only([trusted])
        .build()
        .expect("a client");
    Secure {
        world,
        sample,
        folder,
    }
}

#[tokio::test]
async fn pages_and_cookies_over_tls_are_for_tls_only() {
    let pages = tempfile::tempdir().expect("a folder");
    for name in ["index.html", "admin.html", "widget.js"] {
        std::fs::write(pages.path().join(name), "x".repeat(300_000)).expect("written");
    }
    let dir = pages.path().display().to_string();
    let Secure {
        world,
        folder: _folder,
        ..
    } = secure(&["--web-dir", &dir]).await;
    assert!(world.server.origin.starts_with("https://"));
    let page = world.http.get(world.url("/")).send().await.expect("an answer");
    assert_eq!(page.status(), 200);
    let header = &page.headers()["strict-transport-security"];
    assert!(header.to_str().expect("text").starts_with("max-age="));
    assert_eq!(page.bytes().await.expect("all of it").len(), 300_000);

    let session = world.rest(Method::POST, "/session", None, &[], "").await;
    let cookie = session.headers["set-cookie"].to_str().expect("text");
    assert!(cookie.starts_with("__Host-flashsale_device="), "{cookie}");
    assert!(cookie.contains("; Secure"), "{cookie}");

    // Operators may sign in: the password is refused, and not the way that it came.
    let body = json!({ "email": "nobody@platform.example", "password": "wrong horse battery" }).to_string();
    let headers = [("flash-sale-operator", "1")];
    let refused = world
        .rest(Method::POST, "/admin/session", None, &headers, body)
        .await;
    assert_eq!(refused.refusal(), Code::SignInRefused);
    // Load balancers ask without TLS.
    let ready = world.rest(Method::GET, "/readyz", None, &[], "").await;
    assert_eq!(ready.status, 200);
    world.server.stop().await;
}

/// The sandbox tells the server over the same door, whose certificate is for another name than the one that it asks for.
#[tokio::test]
async fn webhooks_of_the_sandbox_come_over_tls() {
    let Secure {
        world,
        folder: _folder,
        ..
    } = secure(&[]).await;
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres answers");
    sqlx::query(
        r#"INSERT INTO sandbox_events (event_id, payment_id, body, due_at, times_left)
           VALUES ('e', 'p', '{"type":"of_no_concern"}', now(), 1)"#,
    )
    .execute(&pool)
    .await
    .expect("a table of events");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left: i16 = sqlx::query_scalar("SELECT times_left FROM sandbox_events")
            .fetch_one(&pool)
            .await
            .expect("the event");
        if left == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "it was not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pool.close().await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_proxy_s_word_counts_more_than_its_own_connection() {
    let Secure {
        world,
        folder: _folder,
        ..
    } = secure(&["--trusted-proxy-hops", "1"]).await;
    for (proto, name) in [
        ("http", "flashsale_device="),
        ("https", "__Host-flashsale_device="),
    ] {
        let headers = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", proto)];
        let session = world.rest(Method::POST, "/session", None, &headers, "").await;
        let cookie = session.headers["set-cookie"].to_str().expect("text");
        assert!(cookie.starts_with(name), "{proto}: {cookie}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_unit_is_bought_over_tls_and_everybody_sees_it() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&["--shards", "2"]).await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let names: Vec<String> = (0..8).map(|number| format!("u{number}")).collect();
    let mut shoppers = join_all(names.iter().map(async |who| {
        let mut client = sample.stranger(&world).await;
        client.ok(hello(&world, who, vec![sale])).await;
        client
    }))
    .await;
    // One of them with the older version.
    let older = greet(&world, sample.client(&[&TLS12]))
        .await
        .expect("a handshake");
    let mut older = Client::over(older).await;
    older.ok(hello(&world, "older", vec![sale])).await;
    let reserve = ShopCommand::Reserve {
        sale,
        quantity: Quantity::ONE,
        partial: false,
    };
    for shopper in shoppers.iter_mut().take(3).chain([&mut older]) {
        let held = shopper.insist(reserve.clone()).await;
        assert!(matches!(held, Done::Hold(_)), "{held:?}");
    }
    for shopper in shoppers.iter_mut().chain([&mut older]) {
        shopper
            .until(|message| match message {
                ServerMessage::Tick(tick) if tick.held == 4 => Some(()),
                _ => None,
            })
            .await;
    }
    // Who leaves gives their place at the door back.
    drop((shoppers, older));
    let deadline = Instant::now() + DEADLINE;
    while world.server.app.throttle.socket_count() > 0 {
        assert!(Instant::now() < deadline, "a socket is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.server.stop().await;
}

/// A tick above all of the server's own, in a frame of this size that begins with its number.
fn large_tick(sale: SaleId, number: u64, bytes: usize) -> Arc<LiveTick> {
    let tick = serde_json::from_value(json!({
        "sale": sale, "seq": (1_u64 << 52) + number, "now": 1, "phase": "live", "starts_at": 0, "ends_at": 9,
        "supply": 100, "available": 100,
    }));
    let text = format!("{number} {}", "x".repeat(bytes));
    let mut frame = Vec::new();
    let message = Frame::message(text, OpCode::Data(Data::Text), true);
    message.format(&mut frame).expect("memory takes everything");
    Arc::new(LiveTick {
        tick: Arc::new(tick.expect("a tick")),
        frame: Bytes::from(frame),
    })
}

#[tokio::test]
async fn frames_of_a_hundred_kilobytes_come_whole_or_are_refused() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&[]).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = sample.shopper(&world, "u1").await;
    shopper.watch(sale).await;
    world.server.app.shards.tick(&large_tick(sale, 7, 100_000));
    loop {
        let frame = tokio::time::timeout(DEADLINE, shopper.stream.next()).await;
        match frame.expect("in time").expect("open").expect("a frame") {
            Message::Text(text) if text.starts_with("7 x") => {
                assert_eq!(text.len(), 100_002);
                break;
            }
            _ => {}
        }
    }
    shopper.send(&"x".repeat(15_000)).await;
    let (_, refused) = shopper.reply().await;
    assert_eq!(refused.expect_err("no JSON").code, Code::BadJson);
    // More than the server takes: it says so, whatever is still on its way.
    let _ = shopper.stream.send(Message::text("x".repeat(100_000))).await;
    assert_eq!(shopper.closed().await, CloseCode::FrameTooLarge);
    world.server.stop().await;
}

/// They come in the record of the request, or in one behind it: HTTP has read some of them, and TLS has opened others.
#[tokio::test]
async fn frames_that_come_together_with_the_request_are_not_lost() {
    const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&[]).await;
    // Two frames of a byte each, with an all-zero mask.
    let frames: &[u8] = &[0x81, 0x81, 0, 0, 0, 0, b'x', 0x81, 0x81, 0, 0, 0, 0, b'y'];
    for (whole, rest) in [
        ([REQUEST, frames].concat(), &[][..]),
        ([REQUEST, &frames[..3]].concat(), &frames[3..]),
        (REQUEST.to_vec(), frames),
    ] {
        let mut stream = sample.greet(&world).await.expect("a handshake");
        stream.write_all(&whole).await.expect("sends");
        stream.write_all(rest).await.expect("sends");
        let mut answer = Vec::new();
        // Two replies: neither is JSON.
        while answer.windows(10).filter(|ten| ten == b"\"bad_json\"").count() < 2 {
            let byte = tokio::time::timeout(DEADLINE, stream.read_u8()).await;
            answer.push(byte.expect("in time").expect("open"));
        }
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_tick_and_not_all_of_the_old_ones() {
    const TICKS: u64 = 200;
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&[]).await;
    let sale = world.sale(json!({})).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8_192).expect("an option");
    let stream = socket.connect(world.server.address).await.expect("connects");
    let stream = over(stream, sample.client(&[&TLS13])).await.expect("a handshake");
    let mut slow = Client::over(stream).await;
    slow.ok(hello(&world, "slow", vec![])).await;
    slow.watch(sale).await;
    let mut quick = sample.shopper(&world, "quick").await;
    quick.watch(sale).await;
    // Nobody who keeps up waits for the slow one.
    for number in 1..=TICKS {
        world.server.app.shards.tick(&large_tick(sale, number, 50_000));
        assert_eq!(newest(&mut quick, number).await.last(), Some(&number));
    }
    let got = newest(&mut slow, TICKS).await;
    assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
    assert!(got.len() < TICKS as usize / 2, "{} ticks", got.len());
    slow.ok(ShopCommand::Orders {}).await;
    world.server.stop().await;
}

/// The numbers of the large ticks, up to this one.
async fn newest(client: &mut Client<TlsStream<TcpStream>>, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let frame = tokio::time::timeout(DEADLINE, client.stream.next()).await;
        if let Message::Text(text) = frame.expect("in time").expect("open").expect("a frame")
            && let Some((number, _)) = text.split_once(" x")
            && let Ok(number) = number.parse()
        {
            numbers.push(number);
        }
    }
    numbers
}

#[tokio::test]
async fn new_handshakes_see_a_new_certificate_and_old_sockets_live_on() {
    let Secure {
        world,
        sample,
        folder,
    } = secure(&[]).await;
    let mut before = sample.shopper(&world, "u1").await;
    let new = Sample::new();
    new.write(folder.path());
    let deadline = Instant::now() + DEADLINE;
    while new.greet(&world).await.is_err() {
        assert!(Instant::now() < deadline, "the new one is not shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(sample.greet(&world).await.is_err(), "the old one is not shown");
    before.ok(ShopCommand::Orders {}).await;
    let mut after = new.shopper(&world, "u2").await;

    // One that cannot be used: the last good one stays. When something is logged of it is tested where it is read.
    std::fs::write(folder.path().join("key.pem"), &sample.key_pem).expect("written");
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    new.shopper(&world, "u3").await;
    before.ok(ShopCommand::Orders {}).await;
    after.ok(ShopCommand::Orders {}).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_server_does_not_start_with_a_certificate_that_it_cannot_use() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (good, other) = (Sample::new(), Sample::new());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let start = async || {
        let started = world
            .try_another(&[("--tls-cert", &cert), ("--tls-key", &key)])
            .await;
        format!("{:#}", started.err().expect("it does not start"))
    };
    assert!(start().await.contains("cannot be read"));
    good.write(folder.path());
    std::fs::write(&key, &other.key_pem).expect("written");
    let said = start().await;
    assert!(said.starts_with("cannot use TLS: "), "{said}");
    assert!(said.contains("does not fit the key"), "{said}");
    std::fs::write(&cert, "garbage").expect("written");
    assert!(start().await.contains("has no certificate"));
    world.server.stop().await;
}

/// How long it took until the server closed, and what it said.
async fn until_closed(mut stream: TcpStream) -> (Duration, Vec<u8>) {
    let (started, mut bytes) = (Instant::now(), Vec::new());
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .expect("closed in time");
    (started.elapsed(), bytes)
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_in_time_and_others_do_not_notice() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&["--tls-handshake-timeout-ms", "400"]).await;
    // The beginning of a client's first message.
    for begun in [
        &[][..],
        &[0x16, 3, 1],
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 9, 9],
    ] {
        let mut stalling = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(world.server.address).await.expect("connects");
            stream.write_all(begun).await.expect("sends");
            stalling.push(stream);
        }
        sample.shopper(&world, "u1").await;
        for (waited, said) in join_all(stalling.into_iter().map(until_closed)).await {
            assert!(waited < Duration::from_secs(3), "{begun:?}: {waited:?}");
            assert!(said.is_empty(), "{begun:?}: {said:?}");
        }
    }
    // A client that does not end its handshake does not hold up the stop.
    let _stalling = TcpStream::connect(world.server.address).await.expect("connects");
    let started = Instant::now();
    world.server.stop().await;
    assert!(started.elapsed() < DEADLINE);
}

#[tokio::test]
async fn what_is_no_tls_is_closed_at_once() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&[]).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0; 100],
    ] {
        let mut stream = TcpStream::connect(world.server.address).await.expect("connects");
        stream.write_all(bytes).await.expect("sends");
        let (waited, said) = until_closed(stream).await;
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
    }
    sample.shopper(&world, "u1").await;
    world.server.stop().await;
}

/// A whole process: what it prints, and what it logs of strangers.
#[tokio::test]
async fn links_are_https_and_what_strangers_send_is_no_warning_in_the_log() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::new();
    sample.write(folder.path());
    std::fs::write(folder.path().join("index.html"), "x").expect("written");
    let redis = std::env::var("TEST_REDIS_URL");
    let redis = redis.unwrap_or_else(|_| flashsale::embedded::urls(folder.path()).expect("a folder").1);
    let mut child = Command::new(env!("CARGO_BIN_EXE_flashsale"))
        .args([
            "serve",
            "--demo",
            "--listen",
            "127.0.0.1:0",
            "--redis-prefix",
            "links:",
        ])
        .arg("--data-dir")
        .arg(folder.path())
        .arg("--web-dir")
        .arg(folder.path())
        .env("DATABASE_URL", &world.database_url)
        .env("REDIS_URL", redis)
        .env("FLASHSALE_TLS_CERT", folder.path().join("cert.pem"))
        .env("FLASHSALE_TLS_KEY", folder.path().join("key.pem"))
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("an output")).lines();
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.contains("/admin ")) {
        let line = tokio::time::timeout(DEADLINE * 3, lines.next_line())
            .await
            .expect("in time");
        said.push(line.expect("text").expect("a line"));
    }
    let address = said[0].strip_prefix("ready https://").expect("https").to_owned();
    assert!(
        said.iter()
            .any(|line| line.contains(&format!("Shop         https://{address}/"))),
        "{said:?}"
    );

    // A host name that is an address, as scanners send it; and plain http.
    let name = ServerName::try_from("127.0.0.x").expect("a name");
    let mut client = ClientConnection::new(Arc::new(sample.client(&[&TLS13])), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory takes everything");
    let at = hello
        .windows(9)
        .position(|nine| nine == b"127.0.0.x")
        .expect("its name");
    hello[at + 8] = b'1';
    for bytes in [&hello[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(&address).await.expect("connects");
        stream.write_all(bytes).await.expect("sends");
        stream.read_u8().await.expect("an answer");
    }
    let pid = Pid::from_raw(child.id().expect("it runs") as i32);
    kill(pid, Signal::SIGTERM).expect("ours");
    let output = child.wait_with_output().await.expect("it ends");
    let log = String::from_utf8_lossy(&output.stderr);
    let warnings: Vec<&str> = log
        .lines()
        // The doors' own: what the stores do meanwhile is not about strangers.
        .filter(|line| line.contains(" flashsale::") && (line.contains("WARN") || line.contains("ERROR")))
        .collect();
    assert!(
        warnings.iter().all(|line| line.contains("test mode")),
        "{warnings:?}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn the_metrics_tell_when_the_certificate_ends() {
    let Secure {
        world,
        folder: _folder,
        ..
    } = secure(&[]).await;
    let metrics = world
        .http
        .get(world.url("/metrics"))
        .send()
        .await
        .expect("an answer");
    let metrics = metrics.text().await.expect("a body");
    assert!(
        metrics.contains("\nflashsale_tls_certificate_ends_seconds "),
        "{metrics}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn http_2_is_not_offered() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&[]).await;
    let asking = |protocols: &[&str]| {
        let mut config = sample.client(&[&TLS12, &TLS13]);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        greet(&world, config)
    };
    let both = asking(&["h2", "http/1.1"]).await.expect("a handshake");
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let neither = asking(&[]).await.expect("a handshake");
    assert_eq!(neither.get_ref().1.alpn_protocol(), None);
    let refused = asking(&["h2"]).await.expect_err("no common protocol");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    world.server.stop().await;
}

#[tokio::test]
async fn a_session_is_resumed() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&[]).await;
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(sample.client(&[version]));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let stream = TcpStream::connect(world.server.address).await.expect("connects");
            let name = ServerName::try_from("localhost").expect("a name");
            let connector = TlsConnector::from(config.clone());
            let stream = connector.connect(name, stream).await.expect("a handshake");
            // An answer comes after the tickets.
            let mut client = Client::over(stream).await;
            client.ok(hello(&world, "u1", vec![])).await;
            kinds.push(format!(
                "{:?}",
                client.stream.get_ref().get_ref().1.handshake_kind()
            ));
        }
        assert_eq!(kinds, ["Some(Full)", "Some(Resumed)"]);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn handshakes_of_one_address_have_a_limit_from_the_first_byte() {
    let flags = [
        "--address-handshakes-per-s",
        "1",
        "--address-handshake-burst",
        "2",
    ];
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&flags).await;
    let greeted = join_all((0..40).map(|_| sample.greet(&world))).await;
    let through = greeted.iter().filter(|greeted| greeted.is_ok()).count();
    // Eight for each socket that an address may open.
    assert!((16..32).contains(&through), "{through} of 40");
    world.server.stop().await;
}

#[tokio::test]
async fn servers_that_share_a_port_and_stop_tell_their_sockets() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&["--share-port", "--drain-window-ms", "300"]).await;
    let other = world.another(&world.server.address.to_string()).await;
    let sale = world.sale(json!({})).await;
    let names: Vec<String> = (0..24).map(|number| format!("u{number}")).collect();
    let mut sockets = join_all(names.iter().map(async |who| {
        let mut client = sample.shopper(&world, who).await;
        client.watch(sale).await;
        client
    }))
    .await;
    let counts = [&world.server, &other].map(|server| server.app.throttle.socket_count());
    assert_eq!(counts.iter().sum::<usize>(), 24);
    assert!(!counts.contains(&0), "{counts:?}");
    let stop = tokio::spawn(async move { tokio::join!(world.server.stop(), other.stop()) });
    for socket in &mut sockets {
        socket
            .until(|message| matches!(message, ServerMessage::Bye { .. }).then_some(()))
            .await;
    }
    for mut socket in sockets {
        assert_eq!(socket.closed().await, CloseCode::Draining);
        // Their end is said, and not only cut off.
        let after = tokio::time::timeout(DEADLINE, socket.stream.next())
            .await
            .expect("in time");
        assert!(!matches!(after, Some(Ok(_))), "{after:?}");
    }
    stop.await.expect("stops");
}

#[tokio::test]
async fn a_client_that_only_reads_over_tls_is_asked_who_it_is() {
    let Secure {
        world,
        sample,
        folder: _folder,
    } = secure(&["--hello-timeout-ms", "300"]).await;
    let mut stranger = sample.stranger(&world).await;
    assert_eq!(stranger.closed().await, CloseCode::HelloTimeout);
    world.server.stop().await;
}

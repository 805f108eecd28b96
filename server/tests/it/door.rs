//! The door: who may ask how much before anything is known of them.

use crate::harness::{Answer, World, command_id};
use flashsale_protocol::{Code, Quantity, Reject, Role, SaleId, ShopCommand};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Until then a server knows what another one has let through.
const TOLD: Duration = Duration::from_millis(1_200);

fn join(sale: SaleId) -> ShopCommand {
    ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: None,
    }
}

#[tokio::test]
async fn one_address_gets_so_many_places_over_both_doors() {
    let world = World::with(&["--joins-per-minute", "6", "--join-burst", "3"]).await;
    let sale = world.sale(json!({ "total_stock": 1, "inflow": 1 })).await;
    let mut first = world.shopper("u1").await;
    first.ok(join(sale)).await;
    // The same again is the same place, but it is asked for again.
    first.ok(join(sale)).await;
    let path = format!("/flash-sales/{sale}/join-queue");
    let token = world.token("u2", Role::Shopper);
    let body = |who: &str| json!({ "user_id": who }).to_string();
    let joined = world
        .rest(Method::POST, &path, Some(&token), &[], body("u2"))
        .await;
    assert_eq!(joined.status, 200, "{joined:?}");
    let token = world.token("u3", Role::Shopper);
    let refused = world
        .rest(Method::POST, &path, Some(&token), &[], body("u3"))
        .await;
    assert_eq!(refused.refusal(), Code::TooManyFromAddress);
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=10).contains(&wait), "{wait} s");
    let mut other = world.shopper("u4").await;
    let Reject {
        code,
        retry,
        retry_after_ms,
        ..
    } = other.ask(join(sale)).await.expect_err("too many");
    assert_eq!((code, retry), (Code::TooManyFromAddress, true));
    assert!(
        retry_after_ms.is_some_and(|ms| ms <= 10_000),
        "{retry_after_ms:?}"
    );
    // Whoever has to wait sees the sale.
    assert_eq!(other.watch(sale).await.sale.sale, sale);
    world.server.stop().await;
}

/// Two servers let through a burst each, and then both wait for both.
#[tokio::test]
async fn an_address_gets_no_more_places_or_tries_from_several_servers_than_from_one() {
    let flags = [
        "--guests-per-minute",
        "60",
        "--guest-burst",
        "20",
        "--dev",
        "--storefront-listen",
        "127.0.0.1:0",
    ];
    let world = World::with(&flags).await;
    let other = world.another("127.0.0.1:0").await;
    let servers = [world.server.address, other.address];
    let guest = async |server| {
        let asked = world.http.post(format!("http://{server}/session")).send().await;
        asked.expect("an answer")
    };
    let at_once = servers.iter().flat_map(|server| std::iter::repeat_n(*server, 40));
    let answers = join_all(at_once.map(guest)).await;
    let made = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!((40..=44).contains(&made), "{made}");
    tokio::time::sleep(TOLD).await;
    for server in servers {
        let refused = guest(server).await;
        assert_eq!(refused.status(), 429);
        let wait = refused.headers()["retry-after"]
            .to_str()
            .expect("text")
            .parse::<u64>();
        assert!((15..=25).contains(&wait.expect("seconds")), "{refused:?}");
    }

    // Fifteen tries at one server, and one at the other, which had no reason to ask before.
    let sign_in = async |server| {
        let body = json!({ "email": "nobody@platform.example", "password": "wrong horse battery" });
        let asked = world.http.post(format!("http://{server}/admin/session"));
        let asked = asked.header("flash-sale-operator", "1").json(&body).send().await;
        asked.expect("an answer").status().as_u16()
    };
    for _ in 0..15 {
        assert_eq!(sign_in(servers[0]).await, 401);
    }
    assert_eq!(sign_in(servers[1]).await, 401);
    tokio::time::sleep(TOLD).await;
    assert_eq!([sign_in(servers[0]).await, sign_in(servers[1]).await], [429, 429]);
    other.stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_join_that_is_refused_leaves_the_address_its_places() {
    let world = World::with(&["--joins-per-minute", "1", "--join-burst", "1"]).await;
    let sale = world.sale(json!({})).await;
    let mut shopper = world.shopper("u1").await;
    let gone: SaleId = command_id().to_string().parse().expect("a ULID");
    for _ in 0..5 {
        let reject = shopper.ask(join(gone)).await.expect_err("there is none");
        assert_eq!(reject.code, Code::SaleUnknown);
    }
    shopper.ok(join(sale)).await;
    world.server.stop().await;
}

#[tokio::test]
async fn every_answer_says_what_is_left() {
    let world = World::with(&[
        "--requests-per-s",
        "10",
        "--request-burst",
        "20",
        "--command-burst",
        "40",
    ])
    .await;
    let told = |answer: &Answer, name: &str| {
        let value = answer
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {answer:?}"));
        value.to_str().expect("text").to_owned()
    };
    let list = world.get("/flash-sales", &[]).await;
    assert_eq!(told(&list, "ratelimit-policy"), "\"address\";q=20;w=2");
    assert_eq!(told(&list, "ratelimit"), "\"address\";r=19;t=1");
    let token = world.token("boss", Role::Admin);
    let sales = world
        .rest(Method::GET, "/admin/sales", Some(&token), &[], "")
        .await;
    assert_eq!(
        told(&sales, "ratelimit-policy"),
        "\"address\";q=20;w=2, \"caller\";q=40;w=2"
    );
    assert!(
        told(&sales, "ratelimit").ends_with("\"caller\";r=39;t=1"),
        "{sales:?}"
    );
    let asked = join_all((0..40).map(|_| world.get("/flash-sales", &[]))).await;
    let refused = asked
        .iter()
        .find(|answer| answer.status == 429)
        .expect("too many");
    assert_eq!(told(refused, "ratelimit"), "\"address\";r=0;t=1");
    // Pages of other origins may read it.
    let exposed = told(&list, "access-control-expose-headers");
    assert!(exposed.contains("ratelimit,ratelimit-policy"), "{exposed}");
    world.server.stop().await;
}

/// Two programs on the way must not each take another host: what is refused here, a proxy may have let through for the other.
#[tokio::test]
async fn a_request_names_one_host() {
    let world = World::with(&["--admin-origin", "https://admin.sale.example"]).await;
    let token = world.token("boss", Role::Admin);
    let status = async |head: &str| {
        let mut stream = TcpStream::connect(world.server.address).await.expect("connects");
        let request = format!("{head}Authorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer[..12].rsplit(' ').next().expect("a status").to_owned()
    };
    let (path, admin, shop) = (
        "/admin/sales",
        "Host: admin.sale.example\r\n",
        "Host: sale.example\r\n",
    );
    assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n{admin}")).await, "200");
    assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n{shop}")).await, "404");
    for both in [format!("{admin}{shop}"), format!("{shop}{admin}")] {
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n{both}")).await, "400");
        assert_eq!(status(&format!("GET /ws HTTP/1.1\r\n{both}")).await, "400");
    }
    // An absolute address counts above the header.
    for (host, header, answer) in [
        ("sale.example", admin, "404"),
        ("admin.sale.example", shop, "200"),
    ] {
        let head = format!("GET http://{host}{path} HTTP/1.1\r\n{header}");
        assert_eq!(status(&head).await, answer, "{host}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_flood_of_requests_is_refused_before_it_is_looked_at() {
    let world = World::with(&["--requests-per-s", "10", "--request-burst", "60"]).await;
    let asked = join_all((0..100).map(|_| world.get("/flash-sales", &[]))).await;
    let refused: Vec<&Answer> = asked.iter().filter(|answer| answer.status != 200).collect();
    assert!((30..=45).contains(&refused.len()), "{} refused", refused.len());
    for answer in refused {
        assert_eq!(answer.refusal(), Code::TooManyFromAddress);
        assert!(answer.headers.contains_key("retry-after"));
    }
    world.server.stop().await;
}

/// Asks once, over a connection of its own from this address. None: it was cut off.
async fn ask_from(world: &World, from: Ipv4Addr) -> Option<String> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(SocketAddr::from((from, 0))).expect("an address");
    let mut stream = socket.connect(world.server.address).await.ok()?;
    let request = b"GET /flash-sales HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    (!answer.is_empty()).then(|| answer[9..12].to_owned())
}

#[tokio::test]
async fn a_refusal_leaves_later_and_nobody_else_waits() {
    const PAUSE_MS: &str = "1500";
    let pause = Duration::from_millis(PAUSE_MS.parse().expect("a number"));
    let flags = [
        "--requests-per-s",
        "1",
        "--request-burst",
        "5",
        "--refusal-pause-ms",
        PAUSE_MS,
    ];
    let world = World::with(&flags).await;
    let (eager, patient) = (Ipv4Addr::new(127, 0, 0, 7), Ipv4Addr::new(127, 0, 0, 8));
    let began = Instant::now();
    let (asked, honest) = tokio::join!(join_all((0..20).map(|_| ask_from(&world, eager))), async {
        tokio::time::sleep(pause / 5).await;
        (ask_from(&world, patient).await, began.elapsed())
    },);
    let took = began.elapsed();
    let refused = asked.iter().filter(|status| status.as_deref() == Some("429"));
    assert!(refused.count() >= 13, "{asked:?}");
    assert!(took >= pause, "{took:?}");
    assert_eq!(honest.0.as_deref(), Some("200"));
    assert!(
        honest.1 < pause,
        "it was answered before the refusals: {:?}",
        honest.1
    );
    world.server.stop().await;
}

#[tokio::test]
async fn one_address_opens_so_many_connections_and_others_go_on() {
    let flags = [
        "--address-handshakes-per-s",
        "1",
        "--address-handshake-burst",
        "2",
    ];
    let world = World::with(&flags).await;
    let (flood, honest) = (Ipv4Addr::new(127, 0, 0, 7), Ipv4Addr::new(127, 0, 0, 8));
    let asked = join_all((0..200).map(|_| ask_from(&world, flood))).await;
    let answered = asked.iter().flatten().count();
    // 16 at once, and 8 more with each second.
    assert!((16..100).contains(&answered), "{answered} answered");
    assert_eq!(ask_from(&world, honest).await.as_deref(), Some("200"));
    world.server.stop().await;
}

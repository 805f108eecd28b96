//! The door: who may ask how much before anything is known of them, what is not public, and what browsers are told.

use crate::harness::{Answer, DEADLINE, World, command_id};
use chrono::{TimeDelta, Utc};
use flashsale_protocol::{Code, EntryState, Quantity, Reject, Role, SaleId, ServerMessage, ShopCommand};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Until then a server knows what another one has let through.
const TOLD: Duration = Duration::from_millis(1_200);

fn join(sale: SaleId) -> ShopCommand {
    ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: None,
    }
}

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> Answer {
    world.rest(Method::GET, path, None, headers, "").await
}

#[tokio::test]
async fn what_operators_ask_is_not_public() {
    let world = World::start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let address = world.server.address;
        let public = world.http.get(format!("http://{address}{path}")).send().await;
        assert_eq!(public.expect("an answer").status(), 404, "{path}");
        let own = world.http.get(world.url(path)).send().await;
        assert_eq!(own.expect("an answer").status(), 200, "{path}");
    }
    let ready = get(&world, "/readyz", &[]).await.body;
    assert_eq!(ready["ready"], true, "{ready}");
    assert_eq!(
        (&ready["redis"], &ready["postgres"]),
        (&"ok".into(), &"ok".into())
    );
    world.server.stop().await;
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
    let list = get(&world, "/flash-sales", &[]).await;
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
    let asked = join_all((0..40).map(|_| get(&world, "/flash-sales", &[]))).await;
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

#[tokio::test]
async fn the_admin_page_can_have_an_origin_of_its_own() {
    let pages = tempfile::tempdir().expect("a folder");
    for name in ["index.html", "admin.html", "widget.js"] {
        std::fs::write(pages.path().join(name), "x").expect("written");
    }
    let dir = pages.path().display().to_string();
    let world = World::with(&["--web-dir", &dir, "--admin-origin", "https://Admin.Sale.example"]).await;
    let (admin, shop) = ([("host", "admin.sale.example")], [("host", "sale.example")]);
    let token = world.token("boss", Role::Admin);
    let status = async |path: &str, host: &[(&str, &str)]| {
        let answer = world.rest(Method::GET, path, Some(&token), host, "").await;
        answer.status
    };
    for path in ["/admin", "/admin/", "/admin/sales"] {
        assert_eq!(status(path, &admin).await, 200, "{path}");
        assert_eq!(status(path, &shop).await, 404, "{path}");
    }
    // The page for people who have lost their way is one of the shop's.
    for (host, is_page) in [("admin.sale.example", false), ("sale.example", true)] {
        let browser = [("host", host), ("accept", "text/html,*/*;q=0.8")];
        for path in ["/salon", "/sale/1", "/m/shop"] {
            let lost = world.rest(Method::GET, path, None, &browser, "").await;
            let has_rules = lost.headers.contains_key("content-security-policy");
            assert_eq!((lost.status, has_rules), (404, is_page), "{host}{path}");
        }
    }
    assert_eq!(status("/", &shop).await, 200);
    for both in [&admin, &shop] {
        assert_eq!(status("/flash-sales", both).await, 200);
    }
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
    let asked = join_all((0..100).map(|_| get(&world, "/flash-sales", &[]))).await;
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

/// Made-up ids are answered from what is known; a sale that another process has made is known at once.
#[tokio::test]
async fn a_sale_is_known_at_once_everywhere_and_a_made_up_one_nowhere() {
    let world = World::start().await;
    let other = world.another("127.0.0.1:0").await;
    let made_up = |_| format!("/flash-sales/{}", command_id());
    let paths: Vec<String> = (0..200).map(made_up).collect();
    let asked = join_all(paths.iter().map(|path| get(&world, path, &[]))).await;
    for answer in asked {
        assert_eq!(answer.refusal(), Code::SaleUnknown);
    }
    for _ in 0..3 {
        let sale = world.sale(json!({})).await;
        for path in ["", "/draw"] {
            let url = format!("http://{}/flash-sales/{sale}{path}", other.address);
            let status = world.http.get(url).send().await.expect("an answer").status();
            assert_eq!(status, 200, "{path}");
        }
    }
    other.stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn operators_sign_in_over_http_on_this_machine_alone() {
    let world = World::with(&["--dev", "--storefront-listen", "127.0.0.1:0"]).await;
    let sign_in = async |headers: &[(&str, &str)]| {
        let body =
            json!({ "email": "nobody@platform.example", "password": "wrong horse battery" }).to_string();
        let headers = [&[("flash-sale-operator", "1")], headers].concat();
        let answer = world
            .rest(Method::POST, "/admin/session", None, &headers, body)
            .await;
        answer.refusal()
    };
    assert_eq!(sign_in(&[]).await, Code::SignInRefused);
    for (header, code) in [
        (("origin", "https://evil.example"), Code::OriginRefused),
        (("host", "rebound.example"), Code::TlsNeeded),
        (("x-forwarded-for", "203.0.113.7"), Code::TlsNeeded),
        (("forwarded", "for=203.0.113.7"), Code::TlsNeeded),
    ] {
        assert_eq!(sign_in(&[header]).await, code, "{header:?}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn browsers_are_told_what_our_pages_may_do() {
    let pages = tempfile::tempdir().expect("a folder");
    for name in ["index.html", "admin.html", "widget.js"] {
        std::fs::write(pages.path().join(name), "x").expect("written");
    }
    let dir = pages.path().display().to_string();
    let world = World::with(&["--web-dir", &dir, "--trusted-proxy-hops", "1"]).await;
    let sale = world.sale(json!({})).await;
    let text = |answer: &Answer, name: &str| {
        let value = answer
            .headers
            .get(name)
            .map(|value| value.to_str().expect("text"));
        value.unwrap_or_default().to_owned()
    };
    for path in [
        "/",
        "/admin",
        "/admin/",
        &format!("/sale/{sale}"),
        &format!("/sale/{sale}/"),
        "/m/boss/",
    ] {
        let page = get(&world, path, &[]).await;
        assert_eq!(page.status, 200, "{path}");
        let policy = text(&page, "content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "font-src 'self'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        for loose in ["'unsafe-inline'", "'unsafe-eval'", "https:", "*"] {
            assert!(!policy.contains(loose), "{path}: {policy}");
        }
        assert_eq!(text(&page, "strict-transport-security"), "", "no TLS here");
    }
    let over_tls = get(&world, "/", &[("x-forwarded-proto", "https")]).await;
    assert!(text(&over_tls, "strict-transport-security").starts_with("max-age="));
    // Widgets run in other sites' pages.
    let widget = get(&world, "/widget.js", &[]).await;
    assert_eq!(text(&widget, "cross-origin-resource-policy"), "cross-origin");
    assert_eq!(text(&widget, "content-security-policy"), "");
    let session = world.rest(Method::POST, "/session", None, &[], "").await;
    assert_eq!(text(&session, "cache-control"), "no-store");
    // A person who has lost their way gets a page with its rules; a program gets the refusal.
    let lost = get(&world, "/salon", &[("accept", "text/html,application/xhtml+xml")]).await;
    assert_eq!(lost.status, 404);
    assert!(text(&lost, "content-security-policy").contains("default-src 'none'"));
    assert!(text(&lost, "content-type").starts_with("text/html"));
    assert_eq!(get(&world, "/salon", &[]).await.refusal(), Code::NotFound);
    // A page comes with its rules, so it has no other address.
    for path in [
        "/storefront.html",
        "/admin.html",
        "/index.html",
        "/admin%2Ehtml",
        "/assets/../admin.html",
    ] {
        assert_eq!(get(&world, path, &[]).await.refusal(), Code::NotFound, "{path}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn what_was_compressed_when_it_was_built_is_sent_so_to_those_who_can_read_it() {
    let pages = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(pages.path().join("assets")).expect("a folder");
    let files = [
        ("index.html", "page"),
        ("widget.js", "plain"),
        ("widget.js.br", "as brotli"),
        ("assets/a.js", "plain"),
        ("assets/a.js.br", "as brotli"),
        ("assets/a.js.gz", "as gzip"),
    ];
    for (name, text) in files {
        std::fs::write(pages.path().join(name), text).expect("written");
    }
    let dir = pages.path().display().to_string();
    let world = World::with(&["--web-dir", &dir]).await;
    for (path, accepts, encoding, text) in [
        ("/assets/a.js", "gzip, deflate, br, zstd", Some("br"), "as brotli"),
        ("/assets/a.js", "gzip", Some("gzip"), "as gzip"),
        ("/assets/a.js", "identity", None, "plain"),
        ("/widget.js", "gzip, br", Some("br"), "as brotli"),
        ("/widget.js", "identity", None, "plain"),
    ] {
        let answer = world
            .http
            .get(world.url(path))
            .header("accept-encoding", accepts)
            .send()
            .await
            .expect("an answer");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("content-encoding"), encoding, "{path} for {accepts}");
        assert!(
            header("content-type").is_some_and(|kind| kind.starts_with("text/javascript")),
            "{path}"
        );
        if encoding.is_some() {
            assert!(
                header("vary").is_some_and(|vary| vary.contains("accept-encoding")),
                "{path} for {accepts}"
            );
        }
        if path.starts_with("/assets") {
            assert!(
                header("cache-control").is_some_and(|kept| kept.contains("immutable")),
                "{path}"
            );
        }
        assert_eq!(answer.text().await.expect("a body"), text, "{path} for {accepts}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_list_is_small_and_is_not_sent_to_whoever_has_it() {
    let world = World::start().await;
    let description = "a ".repeat(2_000);
    let sale = world.sale(json!({ "description": description })).await;
    for path in ["/flash-sales".to_owned(), format!("/flash-sales/{sale}")] {
        let mut tries = 0;
        loop {
            let first = get(&world, &path, &[]).await;
            let tag = first.headers["etag"].to_str().expect("text");
            assert_eq!(first.headers["cache-control"], "public, max-age=1");
            let again = get(&world, &path, &[("if-none-match", tag)]).await;
            if again.status == 304 {
                break;
            }
            // The remaining time has become another second in between.
            tries += 1;
            assert!(tries < 10, "{path}");
        }
    }
    let packed = get(&world, "/flash-sales", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    world.server.stop().await;
}

/// Over REST nobody closes a socket: whoever stops asking is absent, and back when they ask again.
#[tokio::test]
async fn who_waits_over_rest_is_absent_when_they_stop_asking_and_back_when_they_ask() {
    let world = World::with(&["--poll-lease-ms", "600"]).await;
    let now = Utc::now();
    let sale = world
        .sale(json!({
            "total_stock": 5, "inflow": 1,
            "room_opens_at": (now - TimeDelta::seconds(1)).to_rfc3339(),
            "start_time": (now + TimeDelta::seconds(3)).to_rfc3339(),
        }))
        .await;
    let token = world.token("poller", Role::Shopper);
    let path = |what: &str| format!("/flash-sales/{sale}/{what}");
    let body = json!({ "user_id": "poller" }).to_string();
    let joined = world
        .rest(Method::POST, &path("join-queue"), Some(&token), &[], body)
        .await;
    assert_eq!(
        (joined.status, &joined.body["position"]),
        (200, &json!(1)),
        "{joined:?}"
    );
    let mut second = world.shopper("second").await;
    second.watch(sale).await;
    second.ok(join(sale)).await;
    let position = async || {
        world
            .rest(Method::GET, &path("queue-position"), Some(&token), &[], "")
            .await
            .body
    };
    assert_eq!(position().await["status"], "waiting");
    // The one behind is called; the one in front has stopped asking, and has no turn that would lapse.
    second
        .until(|message| match message {
            ServerMessage::Entry(entry) if entry.state == EntryState::Admitted => Some(()),
            _ => None,
        })
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let back = position().await;
    assert!(
        back["status"] == "waiting" || back["status"] == "admitted",
        "{back}"
    );
    let deadline = Instant::now() + DEADLINE;
    while position().await["status"] != "admitted" {
        assert!(Instant::now() < deadline, "the place is gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.server.stop().await;
}

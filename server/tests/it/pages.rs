//! What browsers are told: pages, their rules, and what is not public.

use crate::harness::{Answer, Client, World};
use flashsale_protocol::{
    Code, Command, ConnectionCommand, Done, Quantity, RefusedSale, Role, SaleId, ShopCommand,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

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
    let ready = world.get("/readyz", &[]).await.body;
    assert_eq!(ready["ready"], true, "{ready}");
    assert_eq!(
        (&ready["redis"], &ready["postgres"]),
        (&"ok".into(), &"ok".into())
    );
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
        let page = world.get(path, &[]).await;
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
    let over_tls = world.get("/", &[("x-forwarded-proto", "https")]).await;
    assert!(text(&over_tls, "strict-transport-security").starts_with("max-age="));
    // Widgets run in other sites' pages.
    let widget = world.get("/widget.js", &[]).await;
    assert_eq!(text(&widget, "cross-origin-resource-policy"), "cross-origin");
    assert_eq!(text(&widget, "content-security-policy"), "");
    let session = world.rest(Method::POST, "/session", None, &[], "").await;
    assert_eq!(text(&session, "cache-control"), "no-store");
    // A person who has lost their way gets a page with its rules; a program gets the refusal.
    let lost = world
        .get("/salon", &[("accept", "text/html,application/xhtml+xml")])
        .await;
    assert_eq!(lost.status, 404);
    assert!(text(&lost, "content-security-policy").contains("default-src 'none'"));
    assert!(text(&lost, "content-type").starts_with("text/html"));
    assert_eq!(world.get("/salon", &[]).await.refusal(), Code::NotFound);
    // A page comes with its rules, so it has no other address.
    for path in [
        "/storefront.html",
        "/admin.html",
        "/index.html",
        "/admin%2Ehtml",
        "/assets/../admin.html",
    ] {
        assert_eq!(world.get(path, &[]).await.refusal(), Code::NotFound, "{path}");
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
async fn a_page_that_the_merchant_does_not_allow_shows_no_sale() {
    let world = World::start().await;
    world.merchant("a").await;
    let sale = world.sale(json!({ "merchant": "a", "total_stock": 5 })).await;
    let token = world.token_on("u1", "d1");
    let path = format!("/flash-sales/{sale}/join-queue");
    let join = async |origin: &str| {
        let headers = [("origin", origin), ("x-device-id", "d1")];
        let body = json!({ "user_id": "u1" }).to_string();
        let client = flashsale::tls::client();
        let request = client.post(world.url(&path)).bearer_auth(&token).body(body);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.expect("an answer");
        let allowed = answer.headers().get("access-control-allow-origin").cloned();
        assert_eq!(
            allowed.as_ref().and_then(|any| any.to_str().ok()),
            Some("*"),
            "it may read the refusal"
        );
        answer.status().as_u16()
    };
    assert_eq!(join("https://anywhere.example").await, 200, "no list: every page");
    let set = async |fields: Value| {
        let answer = world.admin(Method::PATCH, "/admin/merchants/a", fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    set(json!({ "widget_origins": ["https://Shop.example/"] })).await;
    assert_eq!(join("https://shop.example").await, 200);
    assert_eq!(join("https://shop.example.evil.example").await, 403);
    assert_eq!(join("null").await, 403);
    assert_eq!(join(&world.url("")).await, 200, "our own pages");
    // A socket of such a page: the refused sale keeps no other from it.
    world.merchant("b").await;
    let other = world.sale(json!({ "merchant": "b", "total_stock": 5 })).await;
    let refused: SaleId = sale.to_string().parse().expect("an id");
    let mut request = format!("ws://{}/ws", world.server.address)
        .into_client_request()
        .expect("a request");
    let origin = "https://evil.example".parse().expect("a header");
    request.headers_mut().insert("origin", origin);
    let (stream, _) = connect_async(request).await.expect("connects");
    let mut page = Client {
        stream,
        events: Vec::new(),
    };
    let hello = ConnectionCommand::Hello {
        token: token.clone(),
        device: None,
        resume: vec![refused, other],
        changes: false,
    };
    let Done::Welcome(welcome) = page.ok(hello).await else {
        panic!("a welcome")
    };
    assert_eq!(welcome.states.len(), 1);
    assert_eq!(
        welcome.refused,
        [RefusedSale {
            sale: refused,
            code: Code::OriginRefused
        }]
    );
    for command in [
        Command::from(ConnectionCommand::Watch { sale: refused }),
        Command::from(ShopCommand::Join {
            sale: refused,
            quantity: Quantity::ONE,
            nonce: None,
        }),
    ] {
        assert_eq!(
            page.ask(command).await.expect_err("refused").code,
            Code::OriginRefused
        );
    }
    set(json!({ "null_origin": true })).await;
    assert_eq!(join("null").await, 200);
    // A page's tracing adds headers of its own.
    let preflight = flashsale::tls::client()
        .request(Method::OPTIONS, world.url("/session"))
        .header("origin", "null")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "sentry-trace, baggage, traceparent",
        )
        .send()
        .await
        .expect("an answer");
    let allowed = preflight.headers()["access-control-allow-headers"]
        .to_str()
        .expect("text");
    for header in ["sentry-trace", "baggage", "traceparent"] {
        assert!(allowed.contains(header), "{allowed}");
    }
    world.server.stop().await;
}

//! Operators sign in: what lets them in, what keeps others out, and what ends it.

use crate::harness::{Answer, Client, QUICK, World};
use flashsale::accounts::SESSION_LIFE;
use flashsale_engine::{
    operator::OperatorRole,
    store::{audit, events::By},
};
use flashsale_protocol::{CloseCode, Code, ConnectionCommand, Done, Reject, Role, SaleId};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::{connect_async, tungstenite::client::IntoClientRequest};

pub const PASSWORD: &str = "correct horse battery";
/// How a trusted proxy says that the browser's connection is encrypted.
const TLS: (&str, &str) = ("x-forwarded-proto", "https");
const PROOF: (&str, &str) = ("flash-sale-operator", "1");
const CONSOLE: By = By {
    actor: "console",
    address: None,
};
/// As long as another process may believe what it has read of a session.
const FELT: Duration = Duration::from_secs(1);

/// A platform behind a proxy that ends TLS.
pub async fn world() -> World {
    World::with(&[QUICK, &["--trusted-proxy-hops", "1"]].concat()).await
}

/// A link's secret.
pub async fn link(world: &World, email: &str, merchant: Option<&str>, role: OperatorRole) -> String {
    let accounts = &world.server.app.authority.accounts;
    let link = accounts.invite(email, merchant, role, None, CONSOLE).await;
    let path = link.expect("Postgres").expect("invited").path();
    path.strip_prefix("/admin#invite=").expect("a secret").to_owned()
}

/// A browser with what it has kept of a session.
pub struct Browser<'a> {
    world: &'a World,
    cookie: String,
    /// The address that the proxy reports.
    address: String,
}

impl<'a> Browser<'a> {
    pub fn new(world: &'a World) -> Self {
        Self {
            world,
            cookie: String::new(),
            address: "192.0.2.1".into(),
        }
    }

    /// The same browser at another address.
    fn at(&self, address: &str) -> Self {
        Self {
            world: self.world,
            cookie: self.cookie.clone(),
            address: address.into(),
        }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let sent = [
            TLS,
            ("cookie", &self.cookie),
            ("x-forwarded-for", &self.address),
            ("content-type", "application/json"),
        ];
        let headers = [&sent[..], headers].concat();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.world.rest(method, path, None, &headers, body).await
    }

    /// A request as the admin page makes it.
    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(method, path, &[PROOF], body).await
    }

    pub fn keep(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.headers["set-cookie"].to_str().expect("readable");
        self.cookie = cookie.split(';').next().expect("a part").to_owned();
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.ask(Method::POST, "/admin/session", body).await
    }

    pub async fn set_password(&self, link: &str) -> Answer {
        let body = json!({ "invite": link, "password": PASSWORD });
        self.ask(Method::POST, "/admin/password", body).await
    }

    /// Somebody new who has signed in.
    pub async fn of(world: &'a World, email: &str, merchant: Option<&str>, role: OperatorRole) -> Self {
        let mut browser = Self::new(world);
        let answer = browser
            .set_password(&link(world, email, merchant, role).await)
            .await;
        browser.keep(&answer);
        browser
    }

    pub async fn who(&self) -> Answer {
        self.ask(Method::GET, "/admin/session", Value::Null).await
    }

    /// What everybody who is in may see.
    pub async fn sales(&self) -> Answer {
        self.ask(Method::GET, "/admin/sales", Value::Null).await
    }

    async fn ticket(&self) -> String {
        let answer = self.ask(Method::POST, "/admin/ticket", Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["ticket"].as_str().expect("a ticket").to_owned()
    }
}

/// A socket whose handshake names this origin, and its answer to a hello.
async fn hello(world: &World, origin: Option<&str>, token: &str) -> (Client, Result<Done, Reject>) {
    let headers: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
    hello_with(world, &headers, token).await
}

async fn hello_with(
    world: &World,
    headers: &[(&'static str, &str)],
    token: &str,
) -> (Client, Result<Done, Reject>) {
    let url = format!("ws://{}/ws", world.server.address);
    let mut request = url.into_client_request().expect("a request");
    for (name, value) in headers {
        let value = value.parse().expect("a header");
        request.headers_mut().insert(*name, value);
    }
    let (stream, _) = connect_async(request).await.expect("connects");
    let mut client = Client {
        stream,
        events: Vec::new(),
    };
    let hello = ConnectionCommand::Hello {
        token: token.to_owned(),
        device: None,
        resume: vec![],
        changes: false,
    };
    let answer = client.ask(hello).await;
    (client, answer)
}

#[tokio::test]
async fn a_link_sets_a_password_once_and_the_cookie_is_for_no_script_and_no_other_site() {
    let world = world().await;
    let link = link(&world, "Ann@Platform.example", None, OperatorRole::Admin).await;
    let mut ann = Browser::new(&world);
    let weak = json!({ "invite": link, "password": "short" });
    let answer = ann.ask(Method::POST, "/admin/password", weak).await;
    assert_eq!(answer.refusal(), Code::InvalidField);
    let answer = ann.set_password(&link).await;
    let cookie = answer.headers["set-cookie"]
        .to_str()
        .expect("readable")
        .to_owned();
    assert!(cookie.starts_with("__Host-flashsale_operator="), "{cookie}");
    let life = format!("Max-Age={}", SESSION_LIFE.as_secs());
    for part in ["Path=/", "HttpOnly", "SameSite=Strict", "Secure", life.as_str()] {
        assert!(cookie.contains(part), "{cookie}: {part}");
    }
    assert_eq!(answer.headers["cache-control"], "no-store");
    ann.keep(&answer);
    assert_eq!(ann.who().await.body["email"], "ann@platform.example");
    assert_eq!(
        ann.set_password(&link).await.refusal(),
        Code::InviteUnknown,
        "twice"
    );
    assert_eq!(ann.set_password("x").await.refusal(), Code::InviteUnknown);

    // A second link for the same address replaces the first, and ends the session when it is used.
    let first = self::link(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let second = self::link(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    assert_eq!(ann.set_password(&first).await.refusal(), Code::InviteUnknown);
    assert_eq!(ann.who().await.status, 200);
    let eight = futures_util::future::join_all((0..8).map(|_| ann.set_password(&second))).await;
    let set: Vec<u16> = eight.iter().map(|answer| answer.status).collect();
    assert_eq!(set.iter().filter(|status| **status == 200).count(), 1, "{set:?}");
    assert_eq!(ann.sales().await.refusal(), Code::TokenInvalid);
    world.server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_told_the_same_after_the_same_work() {
    let world = world().await;
    let ann = Browser::of(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    // Invited, without a password yet.
    link(&world, "bob@platform.example", None, OperatorRole::Admin).await;
    let mut took = Vec::new();
    let mut said = Vec::new();
    for email in [
        "ann@platform.example",
        "nobody@platform.example",
        "bob@platform.example",
        "'; --",
        "",
    ] {
        let began = Instant::now();
        let mut answer = ann.sign_in(email, "wrong horse battery").await;
        took.push(began.elapsed());
        assert_eq!(answer.refusal(), Code::SignInRefused, "{email}");
        answer.headers.remove("x-request-id");
        answer.headers.remove("date");
        said.push((answer.status, answer.headers.clone(), answer.body.clone()));
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{said:?}");
    // Without a hash to check it takes a hundredth of that.
    let (least, most) = (took.iter().min().expect("some"), took.iter().max().expect("some"));
    assert!(*most < *least * 8, "{took:?}");
    assert_eq!(ann.sign_in(" ANN@platform.example ", PASSWORD).await.status, 200);

    // Each try is noted: who, if there is such a person, and from where; what was typed is nowhere.
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres");
    let known: Vec<(String, bool, Option<String>)> = sqlx::query_as(
        "SELECT kind, operator_id IS NOT NULL, address FROM operator_events ORDER BY event_id",
    )
    .fetch_all(&pool)
    .await
    .expect("rows");
    let refused: Vec<bool> = known
        .iter()
        .filter(|row| row.0 == "refused")
        .map(|row| row.1)
        .collect();
    assert_eq!(refused, [true, false, true, false, false]);
    assert!(
        known
            .iter()
            .all(|row| row.0 == "invited" || row.2.as_deref() == Some("192.0.2.1")),
        "{known:?}"
    );
    let stored: String = sqlx::query_scalar("SELECT string_agg(o::text, ' ') FROM operators o")
        .fetch_one(&pool)
        .await
        .expect("a text");
    assert!(
        stored.contains("$argon2id$") && !stored.contains("horse"),
        "{stored}"
    );
    pool.close().await;
    world.server.stop().await;
}

#[tokio::test]
async fn eight_sign_ins_at_once_all_succeed_and_tries_without_end_are_told_to_wait() {
    let world = world().await;
    let mut ann = Browser::of(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let eight =
        futures_util::future::join_all((0..8).map(|_| ann.sign_in("ann@platform.example", PASSWORD))).await;
    for answer in &eight {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // From many addresses against one account: the account has a limit of its own, whether anybody has it or not.
    let mut refused = Vec::new();
    for email in ["ann@platform.example", "nobody@platform.example"] {
        let many: Vec<_> = (0..24).map(|n| ann.at(&format!("198.51.100.{n}"))).collect();
        let tries = many
            .iter()
            .map(|browser| browser.sign_in(email, "wrong horse battery"));
        let answers = futures_util::future::join_all(tries).await;
        refused.push(answers);
    }
    // From one address against many accounts.
    ann = ann.at("203.0.113.9");
    let emails: Vec<_> = (0..40).map(|n| format!("n{n}@platform.example")).collect();
    let tries = emails
        .iter()
        .map(|email| ann.sign_in(email, "wrong horse battery"));
    refused.push(futures_util::future::join_all(tries).await);
    for answers in refused {
        let codes: Vec<Code> = answers.iter().map(Answer::refusal).collect();
        assert!(codes.contains(&Code::SignInRefused), "{codes:?}");
        let last = answers
            .iter()
            .find(|answer| answer.refusal() == Code::TooManySignIns);
        assert!(
            last.expect("the limit").headers.contains_key("retry-after"),
            "{codes:?}"
        );
    }
    world.server.stop().await;
}

/// A password that nobody can have costs no hash, so that many tries take no time.
fn endless() -> String {
    "x".repeat(300)
}

#[tokio::test]
async fn nobody_elsewhere_can_keep_an_operator_out() {
    let world = world().await;
    let ann = Browser::of(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let other = ann.at("203.0.113.9");
    let mut heard = Vec::new();
    for _ in 0..25 {
        heard.push(other.sign_in("ann@platform.example", &endless()).await.refusal());
    }
    assert_eq!(heard.last(), Some(&Code::TooManySignIns), "{heard:?}");
    let answer = ann
        .at("198.51.100.7")
        .sign_in("ann@platform.example", PASSWORD)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.server.stop().await;
}

#[tokio::test]
async fn a_network_has_so_many_tries_whatever_addresses_it_has() {
    let world = world().await;
    let ann = Browser::new(&world);
    let try_from = async |address: String, n: usize| {
        let email = format!("n{n}@platform.example");
        ann.at(&address).sign_in(&email, &endless()).await.refusal()
    };
    let mut codes = Vec::new();
    for n in 0..200 {
        codes.push(try_from(format!("192.0.2.{n}"), n).await);
    }
    let tried = codes.iter().filter(|code| **code == Code::SignInRefused).count();
    assert!((120..=160).contains(&tried), "{tried}");
    assert_eq!(codes.last(), Some(&Code::TooManySignIns));
    assert_eq!(try_from("198.51.100.1".into(), 0).await, Code::SignInRefused);
    world.server.stop().await;
}

#[tokio::test]
async fn a_session_changes_nothing_without_its_proof_or_from_another_origin() {
    let world = world().await;
    let sale = world.sale(json!({})).await;
    let ann = Browser::of(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let before = world.facts(sale).await;
    let pause = format!("/admin/sales/{sale}/pause");
    let own = format!("https://{}", world.server.address);
    let post = Method::POST;
    for (headers, code) in [
        (&[][..], Code::ProofMissing),
        (&[("flash-sale-operator", "yes")][..], Code::ProofMissing),
        (
            &[PROOF, ("origin", "https://evil.example")][..],
            Code::OriginRefused,
        ),
        (&[PROOF, ("origin", "null")][..], Code::OriginRefused),
    ] {
        assert_eq!(
            ann.send(post.clone(), &pause, headers, json!({})).await.refusal(),
            code,
            "{headers:?}"
        );
        for path in ["/admin/ticket", "/admin/operators"] {
            assert_eq!(
                ann.send(post.clone(), path, headers, json!({})).await.refusal(),
                code,
                "{path}"
            );
        }
        let sign_out = ann
            .send(Method::DELETE, "/admin/session", headers, Value::Null)
            .await;
        assert_eq!(sign_out.refusal(), code);
        let sign_in = json!({ "email": "ann@platform.example", "password": PASSWORD });
        assert_eq!(
            ann.send(post.clone(), "/admin/session", headers, sign_in)
                .await
                .refusal(),
            code
        );
    }
    assert_eq!(world.facts(sale).await, before);
    // Other origins may ask, but browsers give them no answer to a request with a cookie.
    let asked = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "flash-sale-operator"),
    ];
    let preflight = ann.send(Method::OPTIONS, &pause, &asked, Value::Null).await;
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    assert!(!preflight.headers.contains_key("access-control-allow-credentials"));
    let done = ann
        .send(post, &pause, &[PROOF, ("origin", &own)], json!({}))
        .await;
    assert_eq!(done.body["status"], "paused", "{done:?}");
    // The operator stands in the log.
    let who = ann.who().await.body["operator"].clone();
    let log = ann
        .ask(Method::GET, &format!("/admin/sales/{sale}/audit"), Value::Null)
        .await;
    let rows = log.body["rows"].as_array().expect("rows");
    assert!(
        rows.iter().any(|row| row["kind"] == "sale_status"
            && row["actor"].to_string().contains(who.as_str().expect("an id"))),
        "{rows:?}"
    );
    let sound = audit::verify(&world.database_url, Some(sale), |_, found| assert!(found.is_ok())).await;
    sound.expect("a sound log");
    world.server.stop().await;
}

#[tokio::test]
async fn a_session_needs_tls_or_this_very_machine() {
    let world = World::with(&["--dev", "--storefront-listen", "127.0.0.1:0"]).await;
    let link = link(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let body = json!({ "invite": link, "password": PASSWORD }).to_string();
    let set = async |headers: &[(&str, &str)]| {
        let headers = [&[PROOF], headers].concat();
        world
            .rest(Method::POST, "/admin/password", None, &headers, body.clone())
            .await
    };
    for headers in [[("host", "evil.example")], [("x-forwarded-for", "192.0.2.7")]] {
        assert_eq!(set(&headers).await.refusal(), Code::TlsNeeded, "{headers:?}");
    }
    let answer = set(&[]).await;
    let cookie = answer.headers["set-cookie"].to_str().expect("readable");
    assert!(
        cookie.starts_with("flashsale_operator=") && !cookie.contains("Secure"),
        "{cookie}"
    );
    world.server.stop().await;

    let world = World::start().await;
    let body = json!({ "email": "ann@platform.example", "password": PASSWORD }).to_string();
    let answer = world
        .rest(Method::POST, "/admin/session", None, &[PROOF], body)
        .await;
    assert_eq!(answer.refusal(), Code::TlsNeeded);
    world.server.stop().await;
}

#[tokio::test]
async fn a_ticket_opens_one_socket_of_the_admin_page() {
    let world = world().await;
    let sale = world.sale(json!({})).await;
    let ann = Browser::of(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let own = format!("https://{}", world.server.address);
    let ticket = ann.ticket().await;
    let (mut socket, welcome) = hello(&world, Some(&own), &ticket).await;
    let Ok(Done::Welcome(welcome)) = welcome else {
        panic!("{welcome:?}")
    };
    assert_eq!(welcome.role, Role::Admin);
    assert_eq!(json!(welcome.shopper), ann.who().await.body["operator"]);
    socket.watch(sale).await;
    // Stolen, and used again.
    let (mut thief, refused) = hello(&world, Some(&own), &ticket).await;
    assert_eq!(refused.expect_err("used").code, Code::TokenInvalid);
    assert_eq!(thief.closed().await, CloseCode::TokenInvalid);
    for origin in ["https://evil.example", "null"] {
        let (_, refused) = hello(&world, Some(origin), &ann.ticket().await).await;
        assert_eq!(refused.expect_err("another page").code, Code::OriginRefused);
    }
    // A page that came over plain http may have been written by anybody on its way.
    let plain = format!("http://{}", world.server.address);
    let headers = [("origin", plain.as_str()), TLS, ("x-forwarded-for", "192.0.2.1")];
    let (_, refused) = hello_with(&world, &headers, &ann.ticket().await).await;
    assert_eq!(refused.expect_err("another page").code, Code::OriginRefused);
    // It is no token of the API.
    let bearer = ann.ticket().await;
    let answer = world
        .rest(Method::GET, "/admin/sales", Some(&bearer), &[], "")
        .await;
    assert_eq!(answer.refusal(), Code::TokenInvalid);
    // Eight sockets with one ticket.
    let ticket = ann.ticket().await;
    let eight = futures_util::future::join_all((0..8).map(|_| hello(&world, None, &ticket))).await;
    assert_eq!(eight.iter().filter(|(_, answer)| answer.is_ok()).count(), 1);
    world.server.stop().await;
}

#[tokio::test]
async fn who_is_removed_is_out_everywhere_within_a_second() {
    let world = world().await;
    let other = world.another("127.0.0.1:0").await;
    let sale = world.sale(json!({})).await;
    let boss = Browser::of(&world, "boss@platform.example", None, OperatorRole::Admin).await;
    let ann = Browser::of(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let (mut socket, welcome) = hello(&world, None, &ann.ticket().await).await;
    welcome.expect("welcome");
    socket.watch(sale).await;
    let elsewhere = async || {
        let url = format!("http://{}/admin/sales", other.address);
        let request = world
            .http
            .get(url)
            .header(TLS.0, TLS.1)
            .header("cookie", &ann.cookie);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(elsewhere().await, 200);
    let id = ann.who().await.body["operator"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/admin/operators/{id}");
    assert_eq!(boss.ask(Method::DELETE, &path, Value::Null).await.status, 204);
    assert_eq!(ann.sales().await.refusal(), Code::TokenInvalid, "here at once");
    let refused = socket.ask(ConnectionCommand::Ping { t: 1 }).await;
    assert_eq!(refused.expect_err("removed").code, Code::TokenInvalid);
    assert_eq!(socket.closed().await, CloseCode::TokenInvalid);
    assert_eq!(
        ann.sign_in("ann@platform.example", PASSWORD).await.refusal(),
        Code::SignInRefused
    );
    assert_eq!(
        boss.ask(Method::DELETE, &path, Value::Null).await.refusal(),
        Code::OperatorUnknown,
        "twice"
    );
    let began = Instant::now();
    while elsewhere().await != 401 {
        assert!(
            began.elapsed() < FELT + Duration::from_millis(500),
            "still in at another gateway"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Sign-out ends this session, sign-out everywhere all of one's own.
    let mut again = Browser::new(&world);
    let answer = again.sign_in("boss@platform.example", PASSWORD).await;
    again.keep(&answer);
    let gone = again.ask(Method::DELETE, "/admin/session", Value::Null).await;
    assert_eq!(gone.status, 204);
    assert!(
        gone.headers["set-cookie"]
            .to_str()
            .expect("readable")
            .contains("Max-Age=0")
    );
    assert_eq!(again.sales().await.refusal(), Code::TokenInvalid);
    assert_eq!(again.who().await.status, 204);
    assert_eq!(boss.who().await.status, 200);
    let answer = again.sign_in("boss@platform.example", PASSWORD).await;
    again.keep(&answer);
    assert_eq!(
        boss.ask(Method::DELETE, "/admin/sessions", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(again.sales().await.refusal(), Code::TokenInvalid);
    assert_eq!(boss.sales().await.refusal(), Code::TokenInvalid);
    other.stop().await;
    world.server.stop().await;
}

/// A fault of the shop's pages brings nobody into the admin page's socket.
#[tokio::test]
async fn a_ticket_is_good_where_the_admin_page_is() {
    let flags = [
        QUICK,
        &[
            "--trusted-proxy-hops",
            "1",
            "--admin-origin",
            "https://admin.sale.example",
        ],
    ];
    let world = World::with(&flags.concat()).await;
    let boss = link(&world, "boss@platform.example", None, OperatorRole::Admin).await;
    let at_admin = [("host", "admin.sale.example")];
    let mut browser = Browser::new(&world);
    let body = json!({ "invite": boss, "password": PASSWORD });
    let headers = [PROOF, at_admin[0]];
    browser.keep(
        &browser
            .send(Method::POST, "/admin/password", &headers, body)
            .await,
    );
    let ticket = async || {
        let answer = browser
            .send(Method::POST, "/admin/ticket", &headers, Value::Null)
            .await;
        answer.body["ticket"].as_str().expect("a ticket").to_owned()
    };
    let shop = [("host", "sale.example"), ("origin", "https://sale.example")];
    let (_, refused) = hello_with(&world, &shop, &ticket().await).await;
    assert_eq!(refused.expect_err("a shop page").code, Code::OriginRefused);
    let admin = [
        ("host", "admin.sale.example"),
        ("origin", "https://admin.sale.example"),
    ];
    let (_, welcome) = hello_with(&world, &admin, &ticket().await).await;
    assert!(welcome.is_ok(), "{welcome:?}");
    world.server.stop().await;
}

#[tokio::test]
async fn nobody_takes_their_own_role_away() {
    let world = world().await;
    let lamps = shop(&world, "Lamps").await;
    let owner = Browser::of(&world, "Owner@lamps.example", Some(&lamps), OperatorRole::Owner).await;
    let own = owner.who().await.body["operator"]
        .as_str()
        .expect("an id")
        .to_owned();
    let invite = async |role: &str| {
        let body = json!({ "email": " owner@Lamps.example ", "role": role });
        owner.ask(Method::POST, "/admin/operators", body).await
    };
    assert_eq!(invite("viewer").await.refusal(), Code::Forbidden);
    for name in [own.as_str(), "owner@lamps.example"] {
        let path = format!("/admin/operators/{name}");
        let answer = owner.ask(Method::DELETE, &path, Value::Null).await;
        assert_eq!(answer.refusal(), Code::Forbidden, "{name}");
    }
    assert_eq!(owner.who().await.body["role"], "owner");
    // A new link of the same role is another way to set a password.
    assert_eq!(invite("owner").await.status, 201);
    world.server.stop().await;
}

/// What operators do to a shop and its keys can be read afterwards: what, who, from where.
#[tokio::test]
async fn what_operators_do_to_a_shop_is_noted() {
    let world = world().await;
    let lamps = shop(&world, "Lamps").await;
    let owner = Browser::of(&world, "owner@lamps.example", Some(&lamps), OperatorRole::Owner).await;
    let who = owner.who().await.body["operator"]
        .as_str()
        .expect("an id")
        .to_owned();
    let shop = format!("/admin/merchants/{lamps}");
    let change = json!({ "name": "Lamps", "checkout_url": "https://lamps.example/pay" });
    assert_eq!(owner.ask(Method::PATCH, &shop, change).await.status, 200);
    let key = json!({ "issuer": "https://login.lamps.example", "audience": "shop" });
    for (what, body) in [
        ("keys", key),
        ("api-keys", json!({ "name": "till", "scopes": ["sales:read"] })),
    ] {
        let path = format!("{shop}/{what}");
        let made = owner.ask(Method::POST, &path, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.body["key_id"].as_str().expect("an id");
        let path = format!("{path}/{id}");
        assert_eq!(owner.ask(Method::DELETE, &path, Value::Null).await.status, 204);
        let again = owner.ask(Method::DELETE, &format!("{path}x"), Value::Null).await;
        assert_eq!(again.refusal(), Code::KeyUnknown);
    }
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres answers");
    type Noted = (String, Option<String>, Option<String>, Option<Value>);
    let noted: Vec<Noted> = sqlx::query_as(
        "SELECT kind, actor, address, changed FROM operator_events WHERE merchant_id = $1 ORDER BY event_id",
    )
    .bind(&lamps)
    .fetch_all(&pool)
    .await
    .expect("Postgres");
    let kinds: Vec<&str> = noted.iter().map(|(kind, ..)| kind.as_str()).collect();
    let expected = [
        "shop_made",
        "shop_changed",
        "key_added",
        "key_revoked",
        "api_key_made",
        "api_key_revoked",
    ];
    assert_eq!(kinds, expected);
    let changed = json!({ "checkout_url": [null, "https://lamps.example/pay"] });
    assert_eq!(noted[1].3, Some(changed));
    for (kind, actor, address, _) in &noted[1..] {
        assert_eq!(actor.as_deref(), Some(who.as_str()), "{kind}");
        assert_eq!(address.as_deref(), Some("192.0.2.1"), "{kind}");
    }
    pool.close().await;
    world.server.stop().await;
}

async fn shop(world: &World, name: &str) -> String {
    let body = json!({ "name": name }).to_string();
    let boss = world.token("boss", Role::Admin);
    let made = world
        .rest(Method::POST, "/admin/merchants", Some(&boss), &[], body)
        .await;
    made.body["merchant_id"].as_str().expect("an id").to_owned()
}

async fn sale_of(world: &World, merchant: &str) -> SaleId {
    world.sale(json!({ "merchant": merchant })).await
}

#[tokio::test]
async fn roles_reach_as_far_as_they_say_and_no_further_than_their_shop() {
    let world = world().await;
    let (lamps, chairs) = (shop(&world, "Lamps").await, shop(&world, "Chairs").await);
    let (own, others) = (sale_of(&world, &lamps).await, sale_of(&world, &chairs).await);
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let owner = Browser::of(&world, "owner@lamps.example", Some(&lamps), OperatorRole::Owner).await;
    let staff = Browser::of(&world, "staff@lamps.example", Some(&lamps), OperatorRole::Staff).await;
    let viewer = Browser::of(&world, "viewer@lamps.example", Some(&lamps), OperatorRole::Viewer).await;
    let pause = format!("/admin/sales/{own}/pause");
    let before = world.facts(own).await;
    for (method, path) in [
        (post.clone(), pause.clone()),
        (post.clone(), format!("/admin/sales/{own}/supply")),
        (post.clone(), "/admin/sales".into()),
        (Method::PATCH, format!("/admin/merchants/{lamps}")),
        (post.clone(), format!("/admin/merchants/{lamps}/keys")),
        (
            delete.clone(),
            format!("/admin/merchants/{lamps}/person?subject=x"),
        ),
        (post.clone(), "/admin/operators".into()),
        (delete.clone(), "/admin/operators/x".into()),
    ] {
        let answer = viewer.ask(method.clone(), &path, json!({ "name": "Dark" })).await;
        assert_eq!(answer.refusal(), Code::RoleRefused, "{method} {path}");
    }
    assert_eq!(world.facts(own).await, before);
    // Shoppers pay there: that is not for everybody who works at the shop.
    let checkout = json!({ "checkout_url": "https://evil.example/pay" });
    let merchant = format!("/admin/merchants/{lamps}");
    let answer = staff.ask(Method::PATCH, &merchant, checkout).await;
    assert_eq!(answer.refusal(), Code::RoleRefused);
    for browser in [&viewer, &staff, &owner] {
        assert_eq!(
            browser
                .ask(get.clone(), &format!("/admin/sales/{own}"), Value::Null)
                .await
                .status,
            200
        );
        for path in [
            format!("/admin/sales/{others}"),
            format!("/admin/sales/{others}/metrics"),
        ] {
            assert_eq!(
                browser.ask(get.clone(), &path, Value::Null).await.refusal(),
                Code::SaleUnknown
            );
        }
        let theirs = browser
            .ask(get.clone(), &format!("/admin/merchants/{chairs}"), Value::Null)
            .await;
        assert_eq!(theirs.refusal(), Code::MerchantUnknown);
        let list = browser
            .ask(get.clone(), "/admin/sales", Value::Null)
            .await
            .body
            .to_string();
        assert!(
            list.contains(&own.to_string()) && !list.contains(&others.to_string()),
            "{list}"
        );
    }
    let answer = owner
        .ask(post.clone(), &format!("/admin/sales/{others}/pause"), json!({}))
        .await;
    assert_eq!(answer.refusal(), Code::SaleUnknown);

    // Staff steer sales, but decide not who gets in.
    assert_eq!(
        staff.ask(post.clone(), &pause, json!({})).await.body["status"],
        "paused"
    );
    let key = json!({ "issuer": "https://login.lamps.example", "audience": "shop" });
    let keys = format!("/admin/merchants/{lamps}/keys");
    for (method, path, body) in [
        (get.clone(), "/admin/operators", Value::Null),
        (
            post.clone(),
            "/admin/operators",
            json!({ "email": "x@lamps.example", "role": "viewer" }),
        ),
        (post.clone(), keys.as_str(), key.clone()),
        (delete.clone(), "/admin/operators/x", Value::Null),
    ] {
        assert_eq!(
            staff.ask(method, path, body).await.refusal(),
            Code::RoleRefused,
            "{path}"
        );
    }
    assert_eq!(owner.ask(post.clone(), &keys, key).await.status, 201);

    // Owners invite for their shop only, and cannot take over others.
    let invite = async |body: Value| owner.ask(Method::POST, "/admin/operators", body).await;
    let made = invite(json!({ "email": "new@lamps.example", "role": "staff" })).await;
    assert_eq!(
        (made.status, &made.body["merchant"]),
        (201, &json!(lamps)),
        "{made:?}"
    );
    let secret = made.body["link"]
        .as_str()
        .expect("a link")
        .split_once('=')
        .expect("a secret")
        .1;
    let mut new = Browser::new(&world);
    let answer = new.set_password(secret).await;
    new.keep(&answer);
    assert_eq!(new.who().await.body["role"], "staff");
    Browser::of(&world, "owner@chairs.example", Some(&chairs), OperatorRole::Owner).await;
    Browser::of(&world, "root@platform.example", None, OperatorRole::Admin).await;
    for (body, code) in [
        (
            json!({ "email": "a@lamps.example", "role": "admin" }),
            Code::RoleRefused,
        ),
        (
            json!({ "email": "a@lamps.example", "role": "staff", "merchant": chairs }),
            Code::MerchantUnknown,
        ),
        (
            json!({ "email": "owner@chairs.example", "role": "staff" }),
            Code::OperatorTaken,
        ),
        (
            json!({ "email": "root@platform.example", "role": "staff" }),
            Code::OperatorTaken,
        ),
        (
            json!({ "email": "no address", "role": "staff" }),
            Code::InvalidField,
        ),
        (
            json!({ "email": "a@lamps.example", "role": "king" }),
            Code::InvalidField,
        ),
    ] {
        assert_eq!(invite(body.clone()).await.refusal(), code, "{body}");
    }
    let list = owner.ask(get.clone(), "/admin/operators", Value::Null).await.body;
    let seen: Vec<&str> = list["operators"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["email"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        seen,
        [
            "new@lamps.example",
            "owner@lamps.example",
            "staff@lamps.example",
            "viewer@lamps.example"
        ]
    );
    let removed = owner
        .ask(delete, "/admin/operators/owner@chairs.example", Value::Null)
        .await;
    assert_eq!(removed.refusal(), Code::OperatorUnknown);

    // Another role begins with another session.
    let made = invite(json!({ "email": "staff@lamps.example", "role": "viewer" })).await;
    assert_eq!(made.status, 201);
    assert_eq!(staff.sales().await.refusal(), Code::TokenInvalid);
    world.server.stop().await;
}

#[tokio::test]
async fn a_request_with_two_sessions_two_pages_or_two_proofs_is_nobody_s() {
    let world = world().await;
    let ann = Browser::of(&world, "ann@platform.example", None, OperatorRole::Admin).await;
    let bob = Browser::of(&world, "bob@platform.example", None, OperatorRole::Admin).await;
    let ask = async |cookies: &[&str], more: &[(&str, &str)]| {
        let mut browser = Browser::new(&world);
        browser.cookie = cookies.join("; ");
        browser
            .send(Method::POST, "/admin/ticket", more, Value::Null)
            .await
    };
    assert_eq!(ask(&[&ann.cookie, "other=1"], &[PROOF]).await.status, 200);
    assert_eq!(
        ask(&[&ann.cookie, &ann.cookie], &[PROOF]).await.status,
        200,
        "twice the same"
    );
    for both in [[&ann.cookie, &bob.cookie], [&bob.cookie, &ann.cookie]] {
        let answer = ask(&both.map(String::as_str), &[PROOF]).await;
        assert_eq!(answer.refusal(), Code::InvalidField);
        assert!(answer.detail().starts_with("Cookie: "), "{answer:?}");
    }
    let answer = ask(&[&ann.cookie], &[PROOF, PROOF]).await;
    assert_eq!(answer.refusal(), Code::InvalidField);
    let own = world.server.origin.replacen("http://", "https://", 1);
    for pages in [
        [own.as_str(), "https://evil.example"],
        ["https://evil.example", own.as_str()],
    ] {
        let pages = pages.map(|page| ("origin", page));
        let answer = ask(&[&ann.cookie], &[PROOF, pages[0], pages[1]]).await;
        assert_eq!(answer.refusal(), Code::OriginRefused);
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_viewer_reads_a_sale_s_orders_and_ends_none() {
    let world = world().await;
    let sale = world.sale(json!({ "merchant": "boss" })).await;
    let mut buyer = world.shopper("u1").await;
    buyer.insist(crate::purchase::reserve(sale)).await;
    let order = crate::purchase::checkout(&mut buyer, sale).await;
    let list = format!("/admin/sales/{sale}/orders");
    let cancel = format!("/admin/orders/{}/cancel", order.order);
    let viewer = Browser::of(&world, "eve@shop.example", Some("boss"), OperatorRole::Viewer).await;
    let seen = viewer.ask(Method::GET, &list, Value::Null).await;
    assert_eq!(
        seen.body["orders"][0]["order_id"],
        order.order.to_string(),
        "{seen:?}"
    );
    assert_eq!(
        viewer.ask(Method::POST, &cancel, Value::Null).await.refusal(),
        Code::RoleRefused
    );
    let staff = Browser::of(&world, "sam@shop.example", Some("boss"), OperatorRole::Staff).await;
    assert_eq!(staff.ask(Method::POST, &cancel, Value::Null).await.status, 200);
    world.server.stop().await;
}

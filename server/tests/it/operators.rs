//! Operators' commands: one effect and one answer per key, only under their condition, one after the other per sale. From two servers.

use crate::harness::{Answer, NONCE, QUICK, World};
use flashsale::server::Server;
use flashsale_engine::sale::Sale;
use flashsale_protocol::{Code, Done, OrderId, Payment, Phase, Quantity, Role, SaleId, ShopCommand};
use fred::prelude::HashesInterface;
use futures_util::future::join_all;
use reqwest::{Method, header::ETAG};
use serde_json::{Value, json};
use std::collections::HashSet;

const AT_ONCE: usize = 8;

/// Two servers on the same stores, and an operator.
struct Office {
    world: World,
    other: Server,
    token: String,
}

/// One command of an operator's, as it is sent.
#[derive(Clone)]
struct Sent<'a> {
    path: &'a str,
    body: &'a str,
    key: Option<&'a str>,
    version: Option<&'a str>,
}

fn sent<'a>(path: &'a str, body: &'a str) -> Sent<'a> {
    Sent {
        path,
        body,
        key: None,
        version: None,
    }
}

impl<'a> Sent<'a> {
    fn key(self, key: &'a str) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    fn version(self, version: &'a str) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }
}

impl Office {
    async fn open() -> Self {
        let world = World::with(QUICK).await;
        Self {
            other: world.another("127.0.0.1:0").await,
            token: world.token("boss", Role::Admin),
            world,
        }
    }

    /// What operators have done is in the logs of all their sales.
    async fn close(self) {
        crate::audit::verify_all(&self.world).await;
        self.other.stop().await;
        self.world.server.stop().await;
    }

    /// Through the first server (0) or the other (1).
    async fn send_to(&self, server: usize, sent: Sent<'_>) -> Answer {
        let address = [self.world.server.address, self.other.address][server % 2];
        let mut request = self
            .world
            .http
            .post(format!("http://{address}{}", sent.path))
            .bearer_auth(&self.token)
            .body(sent.body.to_owned());
        if let Some(key) = sent.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(version) = sent.version {
            request = request.header("if-match", version);
        }
        let response = request.send().await.expect("an answer");
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.json().await.unwrap_or(Value::Null),
        }
    }

    async fn send(&self, sent: Sent<'_>) -> Answer {
        self.send_to(0, sent).await
    }

    /// The same, eight times at once, through both servers in turn.
    async fn at_once(&self, sent: Sent<'_>) -> Vec<Answer> {
        join_all((0..AT_ONCE).map(|number| self.send_to(number, sent.clone()))).await
    }

    async fn ok(&self, sent: Sent<'_>) -> Answer {
        let path = sent.path.to_owned();
        let answer = self.send(sent).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        answer
    }

    async fn look(&self, sale: SaleId) -> Answer {
        let path = format!("/admin/sales/{sale}");
        self.world
            .rest(Method::GET, &path, Some(&self.token), &[], "")
            .await
    }

    /// How often the audit log has this.
    async fn count(&self, sale: SaleId, kind: &str) -> usize {
        // A change that stands in several chains is one.
        let rows = crate::audit::rows(&self.world, sale).await;
        let done: HashSet<String> = rows
            .iter()
            .filter(|row| row.kind == kind && row.actor["kind"] == "operator")
            .map(|row| {
                if row.data["move"].is_null() {
                    format!("{:?}", (row.lane, row.number))
                } else {
                    row.data.to_string()
                }
            })
            .collect();
        done.len()
    }

    /// A sale whose draw waits for its beacon.
    async fn awaiting_beacon(&self) -> SaleId {
        let sale = self
            .world
            .sale(json!({ "allocation": "draw", "beacon": "the weather" }))
            .await;
        let mut shopper = self.world.shopper("entrant").await;
        let quantity = Quantity::ONE;
        shopper
            .insist(ShopCommand::Join {
                sale,
                quantity,
                nonce: Some(NONCE),
            })
            .await;
        self.ok(sent(&format!("/admin/sales/{sale}/end"), "")).await;
        crate::draw::published(&self.world, sale, |draw| draw.root.is_some()).await;
        sale
    }

    /// A paid order of two units at 100 each.
    async fn paid(&self, who: &str) -> (SaleId, OrderId) {
        let fields = json!({ "total_stock": 2, "per_shopper_limit": 2 });
        let sale = self.world.sale(fields).await;
        let mut shopper = self.world.shopper(who).await;
        shopper.watch(sale).await;
        let quantity = Quantity::new(2).expect("in range");
        shopper
            .insist(ShopCommand::Reserve {
                sale,
                quantity,
                partial: false,
            })
            .await;
        let payment = Some(Payment {
            token: "sandbox_approve".into(),
        });
        match shopper.ok(ShopCommand::Checkout { sale, payment }).await {
            Done::Order(order) => (sale, order.order),
            other => panic!("{other:?}"),
        }
    }
}

/// All eight have heard the same, and it was a success.
fn same(answers: &[Answer]) -> &Answer {
    let first = &answers[0];
    assert!(first.status < 300, "{first:?}");
    for answer in answers {
        assert_eq!((answer.status, &answer.body), (first.status, &first.body));
        assert_eq!(answer.headers.get(ETAG), first.headers.get(ETAG));
    }
    first
}

/// The version that an answer tells, which its `ETag` tells as well.
fn version(answer: &Answer) -> i64 {
    let version = answer.body["version"]
        .as_i64()
        .unwrap_or_else(|| panic!("no version: {answer:?}"));
    let tag = answer
        .headers
        .get(ETAG)
        .map(|tag| tag.to_str().expect("readable"));
    assert_eq!(tag, Some(format!("\"{version}\"").as_str()), "{answer:?}");
    version
}

/// What each command needs before it, what it writes into the log, and another body for it. An empty one: it has none.
struct Case {
    name: &'static str,
    before: &'static str,
    body: &'static str,
    other: &'static str,
    kind: &'static str,
}

const SETTINGS: [Case; 6] = [
    Case {
        name: "supply",
        before: "",
        body: r#"{"total_stock":200}"#,
        other: r#"{"total_stock":201}"#,
        kind: "supply_changed",
    },
    Case {
        name: "inflow",
        before: "",
        body: r#"{"inflow":7}"#,
        other: r#"{"inflow":8}"#,
        kind: "inflow_changed",
    },
    Case {
        name: "pause",
        before: "",
        body: "",
        other: r#"{"other":1}"#,
        kind: "sale_status",
    },
    Case {
        name: "resume",
        before: "pause",
        body: "",
        other: r#"{"other":1}"#,
        kind: "sale_status",
    },
    Case {
        name: "end",
        before: "",
        body: "",
        other: r#"{"other":1}"#,
        kind: "sale_status",
    },
    Case {
        name: "beacon",
        before: "beacon",
        body: r#"{"value":"rain"}"#,
        other: r#"{"value":"sun"}"#,
        kind: "draw_beacon",
    },
];

impl Office {
    async fn sale_for(&self, case: &Case) -> SaleId {
        match case.before {
            "beacon" => self.awaiting_beacon().await,
            "" => self.world.sale(json!({})).await,
            before => {
                let sale = self.world.sale(json!({})).await;
                self.ok(sent(&format!("/admin/sales/{sale}/{before}"), "")).await;
                sale
            }
        }
    }
}

#[tokio::test]
async fn each_setting_sent_eight_times_under_one_key_has_one_effect_and_one_answer() {
    let office = Office::open().await;
    for case in &SETTINGS {
        let sale = office.sale_for(case).await;
        let path = format!("/admin/sales/{sale}/{}", case.name);
        let before = version(&office.look(sale).await);
        let noted = office.count(sale, case.kind).await;
        let key = format!("my {}!", case.name);
        let answers = office.at_once(sent(&path, case.body).key(&key)).await;
        let first = same(&answers);
        assert_eq!(version(first), before + 1, "{}", case.name);
        assert_eq!(office.count(sale, case.kind).await, noted + 1, "{}", case.name);
        // What comes in between does not change the answer.
        let between = office
            .send(sent(&format!("/admin/sales/{sale}/inflow"), r#"{"inflow":3}"#))
            .await;
        let late = office
            .send(sent(&path, case.body).key(&key).version("\"99\""))
            .await;
        assert_eq!(
            (late.status, &late.body),
            (first.status, &first.body),
            "{}",
            case.name
        );
        let now = version(&office.look(sale).await);
        assert_eq!(
            now,
            before + 1 + i64::from(between.status == 200),
            "{}",
            case.name
        );
        // Another body, and another path.
        let reused = office.send(sent(&path, case.other).key(&key)).await;
        assert_eq!(reused.refusal(), Code::CommandIdReused, "{}", case.name);
        let elsewhere = office.world.sale(json!({})).await;
        let elsewhere = format!("/admin/sales/{elsewhere}/{}", case.name);
        let reused = office.send(sent(&elsewhere, case.body).key(&key)).await;
        assert_eq!(reused.refusal(), Code::CommandIdReused, "{}", case.name);
        assert_eq!(version(&office.look(sale).await), now, "{}", case.name);
    }
    office.close().await;
}

#[tokio::test]
async fn each_setting_sent_eight_times_without_a_key_says_what_is_wanted_and_raises_the_version_once() {
    let office = Office::open().await;
    for case in &SETTINGS {
        let sale = office.sale_for(case).await;
        let path = format!("/admin/sales/{sale}/{}", case.name);
        let before = version(&office.look(sale).await);
        let noted = office.count(sale, case.kind).await;
        for answer in office.at_once(sent(&path, case.body)).await {
            assert_eq!(
                (answer.status, version(&answer)),
                (200, before + 1),
                "{}: {answer:?}",
                case.name
            );
        }
        assert_eq!(office.count(sale, case.kind).await, noted + 1, "{}", case.name);
        assert_eq!(version(&office.look(sale).await), before + 1, "{}", case.name);
    }
    office.close().await;
}

#[tokio::test]
async fn a_setting_under_a_version_that_has_moved_on_changes_nothing_and_of_two_at_once_one_wins() {
    let office = Office::open().await;
    for case in &SETTINGS {
        let sale = office.sale_for(case).await;
        let path = format!("/admin/sales/{sale}/{}", case.name);
        let key = format!("stale {}", case.name);
        let before = version(&office.look(sale).await);
        let old = format!("\"{}\"", before - 1);
        for stale in [old.as_str(), "\"abc\"", "W/\"1\"", "\"98\", \"99\""] {
            let answer = office.send(sent(&path, case.body).version(stale).key(&key)).await;
            assert_eq!(answer.refusal(), Code::VersionChanged, "{}: {stale}", case.name);
            let now = answer.headers.get(ETAG).expect("the newer version");
            assert_eq!(now.to_str().expect("readable"), format!("\"{before}\""));
        }
        for bad in ["3", "\"3", "", "\"1\" \"2\"", "*x"] {
            let answer = office.send(sent(&path, case.body).version(bad)).await;
            assert_eq!(answer.refusal(), Code::InvalidField, "{}: {bad}", case.name);
            assert!(answer.detail().starts_with("If-Match: "), "{}", answer.detail());
        }
        assert_eq!(version(&office.look(sale).await), before, "{}", case.name);
        // A refused condition leaves the key free, for the number that one has read since.
        let current = format!("\"7777\", \"{before}\"");
        let answer = office
            .send(sent(&path, case.body).version(&current).key(&key))
            .await;
        assert_eq!(
            (answer.status, version(&answer)),
            (200, before + 1),
            "{}",
            case.name
        );
        office.ok(sent(&path, case.body).version("*")).await;
    }

    // Eight operators with eight numbers, who have all looked at the same version.
    let sale = office.world.sale(json!({})).await;
    let path = format!("/admin/sales/{sale}/inflow");
    let bodies: Vec<String> = (0..AT_ONCE)
        .map(|number| format!(r#"{{"inflow":{}}}"#, number + 2))
        .collect();
    let all = bodies
        .iter()
        .enumerate()
        .map(|(number, body)| office.send_to(number, sent(&path, body).version("\"1\"")));
    let answers = join_all(all).await;
    let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.refusal(), Code::VersionChanged);
    }
    let now = office.look(sale).await;
    assert_eq!((version(&now), &now.body["inflow"]), (2, &won[0].body["inflow"]));
    office.close().await;
}

#[tokio::test]
async fn a_sale_created_eight_times_under_one_key_is_one_sale_with_open_lanes() {
    let office = Office::open().await;
    let now = chrono::Utc::now();
    let mut sale = json!({
        "product_name": "Thing", "currency": "EUR", "original_price": 200, "sale_price": 100, "total_stock": 10, "lanes": 4,
        "opening": "shuffle", "start_time": (now - chrono::TimeDelta::seconds(1)).to_rfc3339(),
        "end_time": (now + chrono::TimeDelta::hours(1)).to_rfc3339(),
    });
    let body = sale.to_string();
    let key = ulid();
    let create = sent("/admin/sales", &body).key(&key);
    let answers = office.at_once(create.clone()).await;
    let first = same(&answers);
    assert_eq!((first.status, version(first)), (201, 1));
    let list = office
        .world
        .rest(Method::GET, "/admin/sales", Some(&office.token), &[], "")
        .await;
    assert_eq!(list.body["sales"].as_array().map(Vec::len), Some(1), "{list:?}");
    let id: SaleId = first.body["sale_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a ULID");
    let facts = office.world.facts(id).await;
    assert_eq!((&facts["supply"], &facts["available"]), (&json!(10), &json!(10)));
    let look = office.look(id).await;
    assert_eq!(look.body["opening_seed_hash"], first.body["opening_seed_hash"]);
    // The same with other spaces is the same.
    let spaced = serde_json::to_string_pretty(&sale).expect("JSON");
    let again = office.send(sent("/admin/sales", &spaced).key(&key)).await;
    assert_eq!((again.status, &again.body), (201, &first.body));

    sale["total_stock"] = json!(11);
    let other = sale.to_string();
    let reused = office.send(sent("/admin/sales", &other).key(&key)).await;
    assert_eq!(reused.refusal(), Code::CommandIdReused);
    let conditional = office.send(create.version("\"1\"")).await;
    assert_eq!(conditional.refusal(), Code::InvalidField);
    for bad in ["", &"k".repeat(256), "é"] {
        let answer = office.send(sent("/admin/sales", &body).key(bad)).await;
        assert_eq!(answer.refusal(), Code::InvalidField, "{bad}");
    }
    // Without a key, each is a sale of its own.
    let two = office.at_once(sent("/admin/sales", &body)).await;
    let ids: std::collections::BTreeSet<String> =
        two.iter().map(|one| one.body["sale_id"].to_string()).collect();
    assert_eq!(ids.len(), AT_ONCE);
    office.close().await;
}

#[tokio::test]
async fn a_refund_asked_for_eight_times_under_one_key_is_one_and_under_eight_keys_never_too_much() {
    let office = Office::open().await;
    let (sale, order) = office.paid("u1").await;
    let path = format!("/admin/orders/{order}/refund");
    let part = sent(&path, r#"{"amount":40,"reason":"a scratch"}"#);
    let stale = office.send(part.clone().version("\"2\"")).await;
    assert_eq!(stale.refusal(), Code::VersionChanged);
    let answers = office.at_once(part.clone().key("R")).await;
    let first = same(&answers);
    assert_eq!(first.body["refund"]["amount"], 40);
    assert_eq!(version(first), 1, "a refund sets nothing of the sale");
    assert_eq!(office.count(sale, "refund_asked").await, 1);
    let reused = office.send(sent(&path, r#"{"amount":41}"#).key("R")).await;
    assert_eq!(reused.refusal(), Code::CommandIdReused);

    // 160 are left: four times 40.
    let keys: Vec<String> = (0..AT_ONCE).map(|number| format!("R{number}")).collect();
    let asked = keys
        .iter()
        .enumerate()
        .map(|(number, key)| office.send_to(number, sent(&path, r#"{"amount":40}"#).key(key)));
    let answers = join_all(asked).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        4,
        "{answers:?}"
    );
    for (key, answer) in keys.iter().zip(&answers) {
        if answer.status != 200 {
            let code = answer.refusal();
            assert!(
                matches!(code, Code::AlreadyRefunded | Code::RefundTooMuch | Code::NotPaid),
                "{answer:?}"
            );
        }
        // A refusal is an answer too: it stays.
        let again = office.send(sent(&path, r#"{"amount":40}"#).key(key)).await;
        assert_eq!(
            (again.status, &again.body["code"]),
            (answer.status, &answer.body["code"])
        );
        assert_eq!(again.body["refund"], answer.body["refund"]);
    }
    let money: i64 = {
        let pool = sqlx::PgPool::connect(&office.world.database_url)
            .await
            .expect("Postgres");
        sqlx::query_scalar("SELECT sum(amount)::bigint FROM refunds")
            .fetch_one(&pool)
            .await
            .expect("Postgres")
    };
    assert_eq!(money, 200);
    let refund = first.body["refund"]["refund_id"].as_str().expect("an id");
    let retry = format!("/admin/orders/{order}/refunds/{refund}/retry");
    let answers = office.at_once(sent(&retry, "").key("again")).await;
    assert_eq!(same(&answers).body["refund_id"], refund);
    let reused = office.send(sent(&retry, "{}").key("again")).await;
    assert_eq!(reused.refusal(), Code::CommandIdReused);
    let stale = office.send(sent(&retry, "").version("\"9\"")).await;
    assert_eq!(stale.refusal(), Code::VersionChanged);
    office.close().await;
}

#[tokio::test]
async fn a_refund_s_key_from_before_these_were_kept_with_their_answers_still_counts() {
    let office = Office::open().await;
    let (sale, order) = office.paid("u1").await;
    let path = format!("/admin/orders/{order}/refund");
    let key = ulid();
    let first = office.ok(sent(&path, r#"{"amount":40}"#).key(&key)).await;
    let pool = sqlx::PgPool::connect(&office.world.database_url)
        .await
        .expect("Postgres");
    // As a server of the previous release leaves it.
    sqlx::query("DELETE FROM operator_commands")
        .execute(&pool)
        .await
        .expect("Postgres");
    let reused = office.send(sent(&path, r#"{"amount":41}"#).key(&key)).await;
    assert_eq!(reused.refusal(), Code::CommandIdReused);
    let again = office.ok(sent(&path, r#"{"amount":40}"#).key(&key)).await;
    assert_eq!(
        again.body["refund"]["refund_id"],
        first.body["refund"]["refund_id"]
    );
    assert_eq!(office.count(sale, "refund_asked").await, 1);
    office.close().await;
}

#[tokio::test]
async fn workers_do_not_raise_the_version_and_what_the_clock_has_ended_hears_one_clear_answer() {
    let office = Office::open().await;
    let ends = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1_000);
    let sale = office.world.sale(json!({ "end_time": ends.to_rfc3339() })).await;
    crate::draw::phase(&office.world, sale, Phase::Live).await;
    // Operators end it in the moment in which its time is over.
    let path = format!("/admin/sales/{sale}/end");
    while chrono::Utc::now() < ends - chrono::TimeDelta::milliseconds(15) {
        assert_eq!(version(&office.look(sale).await), 1);
    }
    for answer in office.at_once(sent(&path, "")).await {
        assert_eq!(
            (answer.status, &answer.body["status"]),
            (200, &json!("ended")),
            "{answer:?}"
        );
        assert!([1, 2].contains(&version(&answer)));
    }
    crate::draw::phase(&office.world, sale, Phase::Ended).await;
    let ended = office.count(sale, "sale_status").await;
    assert!(ended <= 1);
    assert_eq!(version(&office.look(sale).await), 1 + ended as i64);
    for late in ["pause", "resume"] {
        let late = office
            .send(sent(&format!("/admin/sales/{sale}/{late}"), "").key(late))
            .await;
        assert_eq!(
            (late.refusal(), late.detail()),
            (Code::SaleWrongState, "The sale is ended.")
        );
    }
    let late = office
        .send(sent(&format!("/admin/sales/{sale}/inflow"), r#"{"inflow":5}"#).key("late"))
        .await;
    assert_eq!(late.refusal(), Code::SaleEnded);

    // By the clock alone.
    let now = chrono::Utc::now();
    let sale = office
        .world
        .sale(json!({ "end_time": (now + chrono::TimeDelta::milliseconds(300)).to_rfc3339() }))
        .await;
    crate::draw::phase(&office.world, sale, Phase::Ended).await;
    let answer = office
        .ok(sent(&format!("/admin/sales/{sale}/end"), "").key("end"))
        .await;
    assert_eq!((version(&answer), &answer.body["status"]), (1, &json!("ended")));
    office.close().await;
}

#[tokio::test]
async fn pauses_and_resumes_from_two_servers_leave_redis_as_postgres_says() {
    let office = Office::open().await;
    let sale = office.world.sale(json!({ "total_stock": 5 })).await;
    let (pause, resume) = (
        format!("/admin/sales/{sale}/pause"),
        format!("/admin/sales/{sale}/resume"),
    );
    for _ in 0..5 {
        let all = (0..AT_ONCE).map(|number| {
            let path = if number % 3 == 0 { &pause } else { &resume };
            office.send_to(number, sent(path, ""))
        });
        for answer in join_all(all).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    office.ok(sent(&resume, "")).await;
    let mut shopper = office.world.shopper("u1").await;
    shopper.watch(sale).await;
    shopper
        .insist(ShopCommand::Reserve {
            sale,
            quantity: Quantity::ONE,
            partial: false,
        })
        .await;
    office.close().await;
}

#[tokio::test]
async fn the_character_u_0000_is_refused_at_every_door_and_harms_nobody_else() {
    let office = Office::open().await;
    let (_, order) = office.paid("u1").await;
    let refund = format!("/admin/orders/{order}/refund");
    for body in [
        r#"{"reason":"a\u0000b"}"#,
        r#"{"rea\u0000son":"b"}"#,
        r#"{"a":["\u0000"]}"#,
    ] {
        let answer = office.send(sent(&refund, body)).await;
        assert_eq!(answer.refusal(), Code::InvalidField, "{body}");
        assert!(answer.detail().contains("U+0000"), "{}", answer.detail());
    }
    let retry = format!("/admin/orders/{order}/refunds/a%00b/retry");
    assert_eq!(office.send(sent(&retry, "")).await.refusal(), Code::NotFound);
    let mut socket = office.world.shopper("u2").await;
    socket
        .send(r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","type":"pay","order":"01ARZ3NDEKTSV4RRFFQ69G5FAV","payment":{"token":"\u0000"}}"#)
        .await;
    let (_, outcome) = socket.reply().await;
    assert_eq!(outcome.expect_err("refused").code, Code::InvalidField);

    let secret = &office.world.server.app.shop.payments.webhook_secret;
    let body = r#"{"id":"evt\u0000","type":"payment.captured"}"#;
    let signature = flashsale_engine::payment::signature::sign(
        secret,
        body.as_bytes(),
        chrono::Utc::now().timestamp() as u64,
    );
    let answer = office
        .world
        .rest(
            Method::POST,
            "/payments/webhook",
            None,
            &[(flashsale_engine::payment::signature::HEADER, &signature)],
            body,
        )
        .await;
    assert_eq!(answer.refusal(), Code::InvalidField);
    assert!(answer.detail().starts_with("id: ") && answer.detail().contains("U+0000"));
    office.close().await;
}

#[tokio::test]
async fn a_page_of_another_origin_may_send_the_key_and_the_version_and_read_the_version() {
    let office = Office::open().await;
    let url = office.world.url("/admin/sales");
    let asked = office
        .world
        .http
        .request(Method::OPTIONS, &url)
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "idempotency-key,if-match")
        .send()
        .await
        .expect("an answer");
    let allowed = asked.headers()["access-control-allow-headers"]
        .to_str()
        .expect("readable")
        .to_lowercase();
    assert!(
        allowed.contains("idempotency-key") && allowed.contains("if-match"),
        "{allowed}"
    );
    let read = office
        .world
        .http
        .get(&url)
        .bearer_auth(&office.token)
        .header("origin", "https://shop.example")
        .send()
        .await
        .expect("an answer");
    let exposed = read.headers()["access-control-expose-headers"]
        .to_str()
        .expect("readable")
        .to_lowercase();
    assert!(exposed.contains("etag"), "{exposed}");
    office.close().await;
}

fn ulid() -> String {
    crate::harness::command_id().to_string()
}

#[tokio::test]
async fn a_pause_is_not_undone_by_who_has_read_the_sale_before_it() {
    let world = World::with(&["--roles", "gateway"]).await;
    let id = world.sale(json!({})).await;
    let stock = &world.server.app.shop.stock;
    let before = world.server.app.shop.sale(id).await.expect("the sale");
    let paused = Sale {
        status: Phase::Paused,
        settings_version: before.settings_version + 1,
        ..(*before).clone()
    };
    let resumed = Sale {
        settings_version: before.settings_version + 2,
        ..(*before).clone()
    };
    let at = before.lane_refs().next().expect("a lane");
    let open = async |sale: &Sale| {
        let lane = sale.lanes[0];
        stock.open_lane(sale, lane, 0, 0).await.expect("Redis");
        let field: u8 = stock
            .client()
            .hget(stock.keys().lane("stock", at), "paused")
            .await
            .expect("Redis");
        field == 1
    };
    assert!(open(&paused).await);
    assert!(open(&before).await, "a leader that has not heard of the pause");
    assert!(!open(&resumed).await);
    assert!(
        !open(&paused).await,
        "one that has not heard of the end of the pause"
    );
    world.server.stop().await;
}

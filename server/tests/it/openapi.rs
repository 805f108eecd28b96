//! `/openapi.json` is what the routes really do.

use crate::{
    harness::{Client, World},
    schema::Schemas,
};
use chrono::{TimeDelta, Utc};
use flashsale_engine::{
    clock,
    payment::signature::{HEADER, sign},
};
use flashsale_protocol::{Code, EntryState, MAX_FRAME_BYTES, Role, ServerMessage};
use futures_util::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use totp_rs::Totp;

const ULID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// Requests of the sweep that wait for their answers at once.
const AT_ONCE: usize = 16;

async fn document(world: &World) -> Value {
    let response = world
        .http
        .get(world.url("/openapi.json"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.expect("JSON")
}

/// Method, path and description of every operation.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .expect("a path item")
            .iter()
            .map(move |(method, operation)| {
                let method = method.to_uppercase().parse().expect("a method");
                (method, path.clone(), operation.clone())
            })
    });
    operations.collect()
}

/// A shopper's requests, each held to the document.
struct Rest<'a> {
    world: &'a World,
    document: Value,
    schemas: Schemas,
    done: BTreeSet<String>,
    /// Sent with requests without a token.
    cookie: String,
}

impl Rest<'_> {
    async fn call(
        &mut self,
        method: Method,
        template: &str,
        ids: &[&str],
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let what = format!("{method} {template}");
        let operation = &self.document["paths"][template][method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{what} is not in the document");
        let mut path = template.to_owned();
        for id in ids {
            if id.starts_with('?') {
                path.push_str(id);
                continue;
            }
            let (from, to) = (path.find('{').expect("a name"), path.find('}').expect("a name"));
            path.replace_range(from..=to, id);
        }
        let mut request = self.world.http.request(method, self.world.url(&path));
        if let Some(token) = token {
            request = request.bearer_auth(token).header("x-device-id", "dev");
        } else {
            request = request
                .header("cookie", &self.cookie)
                .header("flash-sale-operator", "1");
        }
        if let Some(body) = body {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{what} takes no body");
            if !body["unknown"].is_boolean() {
                self.schemas.check(schema, &body, &what);
            }
            if template == "/payments/webhook" {
                let secret = &self.world.server.app.shop.payments.webhook_secret;
                let text = body.to_string();
                request = request.header(
                    HEADER,
                    sign(secret, text.as_bytes(), Utc::now().timestamp() as u64),
                );
            }
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        if let Some(cookie) = response
            .headers()
            .get("set-cookie")
            .filter(|_| template.starts_with("/admin/"))
        {
            let cookie = cookie.to_str().expect("readable");
            self.cookie = cookie.split(';').next().expect("a part").to_owned();
        }
        let responses = &operation["responses"];
        let told = &responses[status.as_str()];
        assert!(told.is_object(), "{what}: {status} is not in the document");
        let kind = response.headers().get("content-type").map(|kind| {
            kind.to_str()
                .expect("readable")
                .split(';')
                .next()
                .expect("a part")
                .to_owned()
        });
        let text = response.text().await.expect("a body");
        let Some(kind) = kind else {
            assert!(
                told["content"].is_null() && text.is_empty(),
                "{what}: an empty answer"
            );
            self.done.insert(what);
            return (status, Value::Null);
        };
        let schema = &told["content"][&kind]["schema"];
        assert!(
            schema.is_object(),
            "{what}: {status} with {kind} is not in the document: {text}"
        );
        let value = if kind.starts_with("text/") {
            Value::String(text)
        } else {
            serde_json::from_str(&text).expect("JSON")
        };
        self.schemas.check(schema, &value, &format!("{what}: {status}"));
        if status.is_success() {
            self.done.insert(what);
        } else {
            let codes = told["x-codes"].as_array().expect("codes");
            assert!(
                codes.contains(&value["code"]),
                "{what}: {value} is not among {codes:?}"
            );
        }
        (status, value)
    }

    /// The same for a file that is sent, or that is the answer.
    async fn file(&mut self, method: Method, template: &str, path: &str, token: Option<&str>, body: Vec<u8>) {
        let mut request = self
            .world
            .http
            .request(method.clone(), self.world.url(path))
            .body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("an answer");
        let told = &self.document["paths"][template][method.as_str().to_lowercase()]["responses"];
        let told = &told[response.status().as_str()];
        let kind = response.headers()["content-type"]
            .to_str()
            .expect("readable")
            .to_owned();
        assert!(told["content"][&kind].is_object(), "{template}: {kind}");
        assert!(response.status().is_success(), "{template}");
        self.done.insert(format!("{method} {template}"));
    }

    async fn ok(
        &mut self,
        method: Method,
        template: &str,
        ids: &[&str],
        token: Option<&str>,
        body: Option<Value>,
    ) -> Value {
        let (status, value) = self.call(method.clone(), template, ids, token, body).await;
        assert!(status.is_success(), "{method} {template}: {status} {value}");
        value
    }

    async fn refused(
        &mut self,
        code: &str,
        method: Method,
        template: &str,
        ids: &[&str],
        token: Option<&str>,
        body: Option<Value>,
    ) {
        let (_, value) = self.call(method.clone(), template, ids, token, body).await;
        assert_eq!(value["code"], code, "{method} {template}: {value}");
    }
}

fn png() -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    image::ImageEncoder::write_image(encoder, &[9; 12], 2, 2, image::ExtendedColorType::Rgb8)
        .expect("encodes");
    file
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

#[tokio::test]
async fn every_operation_is_a_route_and_says_whether_it_wants_a_token() {
    let world = World::with(&["--dev", "--storefront-listen", "127.0.0.1:0"]).await;
    let document = document(&world).await;
    let operations = operations(&document);
    assert!(operations.len() > 20);
    let ids: BTreeSet<&str> = operations
        .iter()
        .map(|(_, _, operation)| text(operation, "operationId"))
        .collect();
    assert_eq!(ids.len(), operations.len(), "an operation's id is its own");
    for (method, path, operation) in operations {
        let mut address = path.clone();
        for name in [
            "sale_id",
            "order_id",
            "user_id",
            "refund_id",
            "payment_id",
            "merchant",
            "key",
            "operator",
            "picture",
            "file",
        ] {
            address = address.replace(&format!("{{{name}}}"), ULID);
        }
        assert!(!address.contains('{'), "{path}");
        let response = world
            .http
            .request(method.clone(), world.url(&address))
            .send()
            .await
            .expect("an answer");
        let body = response.text().await.expect("a body");
        let code = serde_json::from_str::<Value>(&body).map_or(Value::Null, |body| body["code"].clone());
        // Of a picture that is not there, nothing else can be said.
        let is_file = path == "/pictures/{picture}/{file}";
        assert!(
            (code != "not_found" || is_file) && code != "method_not_allowed",
            "{method} {path} is no route"
        );
        let secured = operation["security"].is_array();
        assert_eq!(code == "token_missing", secured, "{method} {path}: {body}");
        // Whatever is changed can be repeated.
        let named = |name: &str| {
            operation["parameters"]
                .as_array()
                .is_some_and(|all| all.iter().any(|p| p["name"] == name))
        };
        let id = operation["operationId"].as_str().expect("an id");
        // These say what is to be, not what is to be done: again they change nothing more.
        let by_itself = [
            "changeMerchant",
            "revokeMerchantKey",
            "revokeApiKey",
            "forgetPerson",
            "forgetMe",
            "signOut",
            "signOutEverywhere",
            "makeTicket",
            "makePlaceLink",
            "inviteOperator",
            "removeOperator",
            "prepareCodes",
            "beginCodes",
            "endCodes",
            "confirmHandoff",
            "failHandoff",
            "extendHandoff",
            "refundDone",
        ]
        .contains(&id);
        let repeatable = secured && method != Method::GET && !by_itself;
        assert_eq!(named("Idempotency-Key"), repeatable, "{method} {path}");
        // What operators change is conditional; what is not there yet has no version, and a key's never changes.
        let is_new = ["createSale", "createMerchant", "addMerchantKey", "makeApiKey"].contains(&id);
        let is_no_setting = id == "redeemHandoff";
        let conditional =
            (repeatable && path.starts_with("/admin") && !is_new && !is_no_setting) || id == "changeMerchant";
        assert_eq!(named("If-Match"), conditional, "{method} {path}");
        let responses = &operation["responses"];
        assert_eq!(responses["412"].is_object(), conditional, "{method} {path}");
        let done = if is_new { "201" } else { "200" };
        let versioned = responses[done]["headers"]["ETag"].is_object();
        let shown = ["showOwnSale", "createSale", "showMerchant", "createMerchant"].contains(&id);
        assert_eq!(versioned, conditional || shown, "{method} {path}");
        let by_token = operation["security"]
            .as_array()
            .is_some_and(|ways| ways.iter().any(|way| way["token"].is_array()));
        assert_eq!(named("X-Device-Id"), by_token, "{method} {path}");
    }
    world.server.stop().await;
}

/// Status, and codes that may come with it.
fn named(operation: &Value, status: StatusCode) -> Vec<&str> {
    let codes = operation["responses"][status.as_str()]["x-codes"].as_array();
    codes
        .into_iter()
        .flatten()
        .map(|code| code.as_str().expect("a word"))
        .collect()
}

#[tokio::test]
async fn whatever_an_operation_is_sent_it_refuses_it_as_it_says() {
    let world = World::with(&["--commands-per-s", "100000", "--request-burst", "1000000"]).await;
    let document = document(&world).await;
    let sale = world.sale(json!({})).await.to_string();
    let large = format!(r#"{{"text":"{}"}}"#, " ".repeat(17 * 1024));
    let bodies = [
        "",
        "{",
        "[]",
        "{}",
        r#"{"unknown":1}"#,
        r#"{"user_id":"u1"}"#,
        &large,
    ];
    let tokens = [
        None,
        Some("nonsense".to_owned()),
        Some(world.token("u1", Role::Shopper)),
        Some(world.token("boss", Role::Admin)),
    ];
    let mut met = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        assert!(
            operation["responses"]["default"].is_null(),
            "{path}: each is named"
        );
        for known in [ULID, sale.as_str()] {
            let mut address = path.replace("{sale_id}", known).replace("{user_id}", "u1");
            for name in [
                "order_id",
                "refund_id",
                "merchant",
                "key",
                "operator",
                "picture",
                "file",
            ] {
                address = address.replace(&format!("{{{name}}}"), ULID);
            }
            // What ends the sale has no place here.
            if known == sale && path.starts_with("/admin") {
                continue;
            }
            let sent = tokens.iter().flat_map(|token| bodies.map(|body| (token, body)));
            let sent = sent.flat_map(|(token, body)| ["", "a key"].map(|key| (token, body, key)));
            let refusals = stream::iter(sent.map(|(token, body, key)| {
                let mut request = world.http.request(method.clone(), world.url(&address));
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                if method != Method::GET {
                    request = request.body(body.to_owned());
                }
                let answer = request.header("idempotency-key", key).send();
                async move { (body, answer.await.expect("an answer")) }
            }));
            let mut answers = refusals.buffer_unordered(AT_ONCE);
            while let Some((body, response)) = answers.next().await {
                let status = response.status();
                if status.is_success() {
                    continue;
                }
                let answer: Value = response.json().await.unwrap_or_default();
                let code = answer["code"].as_str().expect("a refusal has a code").to_owned();
                let named = named(&operation, status);
                assert!(
                    named.contains(&code.as_str()),
                    "{method} {address} {body:.40}: {status} {code} is not among {named:?}"
                );
                met.insert(code);
            }
        }
    }
    let all = [
        "bad_json",
        "device_missing",
        "forbidden",
        "frame_too_large",
        "invalid_field",
        "no_hold",
        "operator_unknown",
        "not_in_line",
        "order_unknown",
        "sale_unknown",
        "signature_invalid",
        "token_invalid",
        "token_missing",
    ];
    for code in all {
        assert!(met.contains(code), "{code} was not met: {met:?}");
    }
    world.server.stop().await;
}

/// Joins, waits for the turn, reserves.
async fn take(rest: &mut Rest<'_>, socket: &mut Client, sale: &str, token: &str) {
    let token = Some(token);
    socket.events.clear();
    let join = json!({ "user_id": "u1", "device_id": "dev" });
    rest.ok(
        Method::POST,
        "/flash-sales/{sale_id}/join-queue",
        &[sale],
        token,
        Some(join),
    )
    .await;
    socket
        .until(|m| matches!(m, ServerMessage::Entry(e) if e.state == EntryState::Admitted).then_some(()))
        .await;
    let place = rest
        .ok(
            Method::GET,
            "/flash-sales/{sale_id}/queue-position",
            &[sale],
            token,
            None,
        )
        .await;
    assert_eq!(place["status"], "admitted");
    let one = json!({ "sale_id": sale, "quantity_requested": 1 });
    rest.ok(Method::POST, "/carts/{user_id}/items", &["u1"], token, Some(one))
        .await;
}

/// An operator comes by a link, invites another, and signs out.
async fn operators_sign_in(rest: &mut Rest<'_>) {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let boss = rest.world.token("boss", Role::Admin);
    let ann = json!({ "email": "ann@platform.example", "role": "admin" });
    let invited = rest
        .ok(post.clone(), "/admin/operators", &[], Some(&boss), Some(ann))
        .await;
    let (_, secret) = text(&invited, "link").split_once("#invite=").expect("a secret");
    let password = json!({ "invite": secret, "password": "correct horse battery" });
    rest.ok(post.clone(), "/admin/password", &[], None, Some(password.clone()))
        .await;
    rest.refused(
        "invite_unknown",
        post.clone(),
        "/admin/password",
        &[],
        None,
        Some(password),
    )
    .await;
    rest.ok(get.clone(), "/admin/session", &[], None, None).await;
    rest.ok(post.clone(), "/admin/ticket", &[], None, None).await;
    let made = rest.ok(post.clone(), "/admin/codes", &[], None, None).await;
    let app = Totp::from_url(text(&made, "uri")).expect("an address as apps read it");
    // Each code is good once: the one before, then the present one.
    let code = |ago_s| app.generate(clock::now_ms() / 1_000 - ago_s).to_string();
    let mut body = json!({ "seed": made["seed"], "password": "correct horse battery", "code": code(30) });
    rest.ok(post.clone(), "/admin/codes/begin", &[], None, Some(body.clone()))
        .await;
    body["code"] = json!(code(0));
    rest.refused(
        "codes_there",
        post.clone(),
        "/admin/codes/begin",
        &[],
        None,
        Some(body),
    )
    .await;
    let body = json!({ "password": "correct horse battery", "code": code(0) });
    rest.ok(post.clone(), "/admin/codes/end", &[], None, Some(body.clone()))
        .await;
    rest.refused(
        "codes_not_there",
        post.clone(),
        "/admin/codes/end",
        &[],
        None,
        Some(body),
    )
    .await;
    rest.ok(get, "/admin/operators", &[], None, None).await;
    let bob = json!({ "email": "bob@platform.example", "role": "admin" });
    let bob = rest
        .ok(post.clone(), "/admin/operators", &[], None, Some(bob))
        .await;
    rest.ok(
        delete.clone(),
        "/admin/operators/{operator}",
        &[text(&bob, "operator")],
        None,
        None,
    )
    .await;
    rest.ok(delete.clone(), "/admin/sessions", &[], None, None).await;
    let mut ann = json!({ "email": "ann@platform.example", "password": "correct horse battery" });
    rest.ok(post.clone(), "/admin/session", &[], None, Some(ann.clone()))
        .await;
    rest.ok(delete, "/admin/session", &[], None, None).await;
    ann["password"] = json!("another one");
    rest.refused("sign_in_refused", post, "/admin/session", &[], None, Some(ann))
        .await;
    rest.cookie.clear();
}

#[tokio::test]
async fn real_answers_are_what_the_document_says() {
    let world = World::with(&["--dev", "--storefront-listen", "127.0.0.1:0"]).await;
    let document = document(&world).await;
    let mut rest = Rest {
        world: &world,
        schemas: Schemas::strict(&document),
        document,
        done: BTreeSet::new(),
        cookie: String::new(),
    };
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);

    for path in ["/healthz", "/readyz", "/metrics"] {
        rest.ok(get.clone(), path, &[], None, None).await;
    }
    operators_sign_in(&mut rest).await;
    let admin = world.token("boss", Role::Admin);
    let admin = Some(admin.as_str());
    let guest = rest
        .ok(post.clone(), "/session", &[], None, Some(json!({})))
        .await;
    assert!(guest["shopper"].is_string());
    // A guest's token is good on their device only, which `ok` does not name.
    for method in [post.clone(), get.clone()] {
        let request = rest
            .world
            .http
            .request(method.clone(), rest.world.url("/session/link"));
        let answer = request
            .bearer_auth(text(&guest, "token"))
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{method}: {}", answer.status());
        rest.done.insert(format!("{method} /session/link"));
    }

    let now = Utc::now();
    let body = json!({
        "product_name": "Thing", "currency": "EUR", "original_price": 200, "sale_price": 100, "total_stock": 2,
        "start_time": (now - TimeDelta::seconds(1)).to_rfc3339(), "end_time": (now + TimeDelta::hours(1)).to_rfc3339(),
        "room_opens_at": (now - TimeDelta::seconds(2)).to_rfc3339(), "per_device_limit": 2, "per_shopper_limit": 2,
    });
    let sale = rest
        .ok(post.clone(), "/admin/sales", &[], admin, Some(body.clone()))
        .await;
    let sale = text(&sale, "sale_id");
    let picture = "/admin/sales/{sale_id}/picture";
    let path = picture.replace("{sale_id}", sale);
    rest.file(post.clone(), picture, &path, admin, png()).await;
    let pictured = rest
        .ok(get.clone(), "/flash-sales/{sale_id}", &[sale], None, None)
        .await;
    let url = text(&pictured["picture"], "url").to_owned();
    rest.file(get.clone(), "/pictures/{picture}/{file}", &url, None, Vec::new())
        .await;
    rest.ok(delete.clone(), picture, &[sale], admin, None).await;
    rest.ok(get.clone(), "/admin/sales", &[], admin, None).await;
    rest.ok(get.clone(), "/admin/sales/{sale_id}", &[sale], admin, None)
        .await;
    rest.ok(get.clone(), "/flash-sales", &[], None, None).await;
    rest.ok(get.clone(), "/flash-sales/{sale_id}", &[sale], None, None)
        .await;

    let token = world.token("u1", Role::Shopper);
    let shopper = Some(token.as_str());
    let mut socket = world.shopper("u1").await;
    socket.watch(sale.parse().expect("an id")).await;
    let position = "/flash-sales/{sale_id}/queue-position";
    take(&mut rest, &mut socket, sale, &token).await;
    rest.refused("already_held", delete.clone(), position, &[sale], shopper, None)
        .await;
    let stranger = world.token("u2", Role::Shopper);
    rest.refused(
        "not_in_line",
        get.clone(),
        position,
        &[sale],
        Some(&stranger),
        None,
    )
    .await;
    let place = rest.ok(get.clone(), position, &[sale], shopper, None).await;
    assert_eq!(place["status"], "served");
    rest.ok(
        delete.clone(),
        "/carts/{user_id}/items/{sale_id}",
        &["u1", sale],
        shopper,
        None,
    )
    .await;
    rest.refused("not_in_line", delete.clone(), position, &[sale], shopper, None)
        .await;
    take(&mut rest, &mut socket, sale, &token).await;
    let extension = "/flash-sales/{sale_id}/extension";
    rest.ok(post.clone(), extension, &[sale], shopper, None).await;
    rest.refused("no_extension", post.clone(), extension, &[sale], shopper, None)
        .await;
    let cart = rest
        .ok(get.clone(), "/carts/{user_id}", &["u1"], shopper, None)
        .await;
    assert_eq!(cart["total"], 100);
    let checkout = json!({ "user_id": "u1", "cart_items": [{ "sale_id": sale, "quantity": 1 }] });
    let order = rest
        .ok(post.clone(), "/orders", &[], shopper, Some(checkout.clone()))
        .await;
    let order = text(&order, "order_id");
    rest.ok(get.clone(), "/orders/{order_id}", &[order], shopper, None)
        .await;
    rest.ok(post.clone(), "/orders/{order_id}/cancel", &[order], shopper, None)
        .await;
    take(&mut rest, &mut socket, sale, &token).await;
    let order = rest
        .ok(post.clone(), "/orders", &[], shopper, Some(checkout.clone()))
        .await;
    let order = text(&order, "order_id");
    let cancel = "/admin/orders/{order_id}/cancel";
    rest.ok(post.clone(), cancel, &[order], admin, None).await;
    let listed = rest
        .ok(get.clone(), "/admin/sales/{sale_id}/orders", &[sale], admin, None)
        .await;
    assert_eq!(listed["orders"][0]["reason"], "by_shop");
    take(&mut rest, &mut socket, sale, &token).await;
    let mut paid = checkout.clone();
    paid["payment"] = json!({ "token": "sandbox_decline" });
    let (status, declined) = rest.call(post.clone(), "/orders", &[], shopper, Some(paid)).await;
    assert_eq!(
        (status, &declined["code"]),
        (StatusCode::PAYMENT_REQUIRED, &json!("payment_declined"))
    );
    let payment = json!({ "payment": { "token": "sandbox_approve" } });
    let order = text(&declined, "order_id");
    rest.ok(
        post.clone(),
        "/orders/{order_id}/pay",
        &[order],
        shopper,
        Some(payment),
    )
    .await;
    let money = rest
        .ok(get.clone(), "/admin/orders/{order_id}", &[order], admin, None)
        .await;
    let paid = money["payments"]
        .as_array()
        .expect("payments")
        .iter()
        .find(|one| one["pays"] == true);
    let event = json!({
        "id": "evt", "type": "payment.authorized", "payment": paid.expect("a payment")["payment_id"], "order": order,
        "amount": 100, "currency": "EUR",
    });
    rest.ok(post.clone(), "/payments/webhook", &[], None, Some(event))
        .await;
    let metrics = rest
        .ok(
            get.clone(),
            "/admin/sales/{sale_id}/metrics",
            &[sale],
            admin,
            None,
        )
        .await;
    assert_eq!(metrics["orders_confirmed"], 1);
    let audit = rest
        .ok(get.clone(), "/admin/sales/{sale_id}/audit", &[sale], admin, None)
        .await;
    assert_eq!(audit["rows"][0]["kind"], "sale_created");
    let faster = Some(json!({ "inflow": 7 }));
    let sale_now = rest
        .ok(
            post.clone(),
            "/admin/sales/{sale_id}/inflow",
            &[sale],
            admin,
            faster,
        )
        .await;
    assert_eq!(sale_now["inflow"], 7);
    rest.ok(
        get.clone(),
        "/admin/sales/{sale_id}/entries.csv",
        &[sale],
        admin,
        None,
    )
    .await;
    let part = Some(json!({ "amount": 40, "reason": "a scratch" }));
    let refund = "/admin/orders/{order_id}/refund";
    let asked = rest.ok(post.clone(), refund, &[order], admin, part).await;
    let retry = "/admin/orders/{order_id}/refunds/{refund_id}/retry";
    let ids = [order, text(&asked["refund"], "refund_id")];
    rest.ok(post.clone(), retry, &ids, admin, None).await;
    let supply = "/admin/sales/{sale_id}/supply";
    let more = json!({ "total_stock": 3 });
    let sale_now = rest.ok(post.clone(), supply, &[sale], admin, Some(more)).await;
    assert_eq!(sale_now["total_stock"], 3);
    for action in ["pause", "resume", "end"] {
        rest.ok(
            post.clone(),
            &format!("/admin/sales/{{sale_id}}/{action}"),
            &[sale],
            admin,
            None,
        )
        .await;
    }

    let mut lottery = body.clone();
    lottery["allocation"] = json!("draw");
    lottery["beacon"] = json!("tomorrow's weather");
    let drawn = rest
        .ok(post.clone(), "/admin/sales", &[], admin, Some(lottery))
        .await;
    let drawn = text(&drawn, "sale_id");
    let join = json!({ "user_id": "u1" });
    let entered = rest
        .ok(
            post.clone(),
            "/flash-sales/{sale_id}/join-queue",
            &[drawn],
            shopper,
            Some(join),
        )
        .await;
    assert_eq!(entered["status"], "entered");
    rest.ok(delete, position, &[drawn], shopper, None).await;
    let join = json!({ "user_id": "u1" });
    rest.ok(
        post.clone(),
        "/flash-sales/{sale_id}/join-queue",
        &[drawn],
        shopper,
        Some(join),
    )
    .await;
    let path = "/flash-sales/{sale_id}/draw/proof";
    rest.refused("not_drawn_yet", get.clone(), path, &[drawn], shopper, None)
        .await;
    rest.ok(post.clone(), "/admin/sales/{sale_id}/end", &[drawn], admin, None)
        .await;
    until(&world, drawn, |draw| draw.root.is_some()).await;
    let beacon = Some(json!({ "value": "rain" }));
    rest.ok(
        post.clone(),
        "/admin/sales/{sale_id}/beacon",
        &[drawn],
        admin,
        beacon,
    )
    .await;
    until(&world, drawn, |draw| draw.seed.is_some()).await;
    // What everybody asks for may be a second old.
    let path = "/flash-sales/{sale_id}/draw";
    while rest.ok(get.clone(), path, &[drawn], None, None).await["seed"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rest.ok(
        get.clone(),
        "/flash-sales/{sale_id}/draw/file",
        &[drawn],
        None,
        None,
    )
    .await;
    let path = "/flash-sales/{sale_id}/draw/proof";
    rest.ok(get.clone(), path, &[drawn], shopper, None).await;

    rest.refused(
        "sale_unknown",
        get.clone(),
        "/flash-sales/{sale_id}",
        &[ULID],
        None,
        None,
    )
    .await;
    rest.refused("forbidden", get.clone(), "/admin/sales", &[], shopper, None)
        .await;
    rest.refused("no_hold", post.clone(), "/orders", &[], shopper, Some(checkout))
        .await;
    rest.refused(
        "invalid_field",
        post.clone(),
        "/orders",
        &[],
        shopper,
        Some(json!({ "unknown": true })),
    )
    .await;
    let large = json!({ "unknown": true, "text": " ".repeat(MAX_FRAME_BYTES) });
    rest.refused("frame_too_large", post, "/orders", &[], shopper, Some(large))
        .await;

    shops(&mut rest, drawn, admin, shopper).await;

    // Nothing is lost here; an operator may confirm it as well.
    let lost: flashsale_protocol::SaleId = drawn.parse().expect("a sale");
    let begun = world
        .server
        .app
        .shop
        .store
        .begin_disaster(lost, ULID, None, 2, 1)
        .await;
    assert!(begun.expect("Postgres").is_some());
    rest.ok(
        Method::POST,
        "/admin/sales/{sale_id}/recover",
        &[drawn],
        admin,
        None,
    )
    .await;

    rest.done.extend(handed_over(rest.document.clone()).await);
    let all: BTreeSet<String> = operations(&rest.document)
        .into_iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .filter(|operation| operation != "GET /ws")
        .collect();
    assert_eq!(rest.done, all, "every operation was called with success");
    world.server.stop().await;
}

/// The operations of a shop's own checkout, where it takes the money itself.
async fn handed_over(document: Value) -> BTreeSet<String> {
    let world = World::with(&["--payments", "merchant"]).await;
    let mut rest = Rest {
        world: &world,
        schemas: Schemas::strict(&document),
        document,
        done: BTreeSet::new(),
        cookie: String::new(),
    };
    let (get, post) = (Method::GET, Method::POST);
    let admin = world.token("boss", Role::Admin);
    let admin = Some(admin.as_str());
    let checkout = json!({ "checkout_url": "https://shop.example/checkout" });
    rest.ok(
        Method::PATCH,
        "/admin/merchants/{merchant}",
        &["boss"],
        admin,
        Some(checkout),
    )
    .await;
    let sale = world
        .sale(json!({ "total_stock": 2, "per_shopper_limit": 2 }))
        .await;
    let token = world.token("u1", Role::Shopper);
    let mut socket = world.shopper("u1").await;
    socket.watch(sale).await;
    let mut payments = Vec::new();
    for _ in 0..2 {
        socket.insist(crate::purchase::reserve(sale)).await;
        let order = crate::purchase::checkout(&mut socket, sale)
            .await
            .order
            .to_string();
        let pay = json!({ "payment": { "token": "handoff" } });
        let paying = rest
            .ok(
                post.clone(),
                "/orders/{order_id}/pay",
                &[&order],
                Some(&token),
                Some(pay),
            )
            .await;
        let handoff = json!({ "token": paying["handoff"]["token"] });
        let redeemed = rest
            .ok(
                post.clone(),
                "/admin/handoffs/redeem",
                &[],
                admin,
                Some(handoff.clone()),
            )
            .await;
        rest.refused(
            "handoff_used",
            post.clone(),
            "/admin/handoffs/redeem",
            &[],
            admin,
            Some(handoff),
        )
        .await;
        payments.push((order, text(&redeemed, "payment_id").to_owned(), redeemed));
    }
    let [(order, first, shown), (_, second, _)] = payments.as_slice() else {
        panic!("two")
    };
    let path = "/admin/handoffs/{payment_id}";
    rest.ok(get.clone(), path, &[first], admin, None).await;
    let until = json!({ "expires_at": shown["extendable_until"] });
    let path = "/admin/handoffs/{payment_id}/extend";
    rest.ok(post.clone(), path, &[first], admin, Some(until)).await;
    let beyond = json!({ "expires_at": "2999-01-01T00:00:00Z" });
    rest.refused(
        "extension_too_long",
        post.clone(),
        path,
        &[first],
        admin,
        Some(beyond),
    )
    .await;
    let path = "/admin/handoffs/{payment_id}/confirm";
    let other = json!({ "amount": 1, "currency": "EUR" });
    rest.refused(
        "payment_mismatch",
        post.clone(),
        path,
        &[first],
        admin,
        Some(other),
    )
    .await;
    let ready = json!({ "amount": 100, "currency": "EUR", "reference": "ch_1" });
    rest.ok(post.clone(), path, &[first], admin, Some(ready.clone()))
        .await;
    let fail = "/admin/handoffs/{payment_id}/fail";
    let why = json!({ "reason": "declined" });
    rest.ok(post.clone(), fail, &[second], admin, Some(why)).await;
    rest.refused("handoff_over", post.clone(), path, &[second], admin, Some(ready))
        .await;
    rest.ok(
        post.clone(),
        "/admin/orders/{order_id}/refund",
        &[order],
        admin,
        Some(json!({})),
    )
    .await;
    let asked = rest.ok(get, "/admin/refunds", &[], admin, None).await;
    let refund = text(&asked["refunds"][0], "refund_id").to_owned();
    rest.ok(post, "/admin/refunds/{refund_id}/done", &[&refund], admin, None)
        .await;
    let done = rest.done;
    world.server.stop().await;
    done
}

/// Merchants, their keys, and their people.
async fn shops(rest: &mut Rest<'_>, sale: &str, admin: Option<&str>, shopper: Option<&str>) {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let made = json!({ "name": "The Shop", "slug": "the-shop", "widget_origins": ["https://shop.example"] });
    let made = rest
        .ok(post.clone(), "/admin/merchants", &[], admin, Some(made))
        .await;
    assert_eq!(made["slug"], "the-shop");
    rest.ok(get.clone(), "/admin/merchants", &[], admin, None).await;
    let one = "/admin/merchants/{merchant}";
    rest.ok(get.clone(), one, &["the-shop"], admin, None).await;
    let changed = json!({ "name": "Our Shop" });
    let changed = rest
        .ok(Method::PATCH, one, &["the-shop"], admin, Some(changed))
        .await;
    assert_eq!(
        (&changed["name"], &changed["version"]),
        (&json!("Our Shop"), &json!(2))
    );
    let shop = rest
        .ok(get.clone(), "/merchants/{merchant}", &["the-shop"], None, None)
        .await;
    assert_eq!(shop["name"], "Our Shop");
    let api_keys = "/admin/merchants/{merchant}/api-keys";
    let wish = json!({ "name": "the warehouse", "scopes": ["sales:read", "exports"] });
    let key = rest
        .ok(post.clone(), api_keys, &["boss"], admin, Some(wish))
        .await;
    rest.ok(get.clone(), api_keys, &["boss"], admin, None).await;
    let secret = Some(text(&key, "secret"));
    rest.ok(get.clone(), "/admin/sales", &[], secret, None).await;
    rest.refused("scope_missing", post.clone(), "/admin/sales", &[], secret, None)
        .await;
    let revoked = "/admin/merchants/{merchant}/api-keys/{key}";
    rest.ok(
        delete.clone(),
        revoked,
        &["boss", text(&key, "key_id")],
        admin,
        None,
    )
    .await;
    let keys = "/admin/merchants/{merchant}/keys";
    let key = json!({ "issuer": "shop", "audience": "sale" });
    let key = rest.ok(post.clone(), keys, &["the-shop"], admin, Some(key)).await;
    rest.ok(get.clone(), keys, &["the-shop"], admin, None).await;
    let revoked = "/admin/merchants/{merchant}/keys/{key}";
    rest.ok(
        delete.clone(),
        revoked,
        &["the-shop", text(&key, "key_id")],
        admin,
        None,
    )
    .await;
    let person = rest.world.person(sale.parse().expect("an id"), "u1").await;
    let person = format!("?person={person}");
    let about = "/admin/merchants/{merchant}/person";
    let known = rest.ok(get.clone(), about, &["boss", &person], admin, None).await;
    let own = rest.ok(get.clone(), "/me", &[], shopper, None).await;
    assert_eq!(own["people"][0], known);
    let orders = known["orders"].as_array().expect("orders");
    let open = orders.iter().filter(|order| order["status"] == "pending");
    for order in open {
        rest.ok(
            post.clone(),
            "/orders/{order_id}/cancel",
            &[text(order, "order_id")],
            shopper,
            None,
        )
        .await;
    }
    // Their turn in the draw: given up, the sale is over.
    let sale = sale.parse().expect("an id");
    let mut socket = rest.world.shopper("u1").await;
    socket.ok(flashsale_protocol::ShopCommand::Leave { sale }).await;
    let began = std::time::Instant::now();
    while rest
        .call(delete.clone(), about, &["boss", &person], admin, None)
        .await
        .0
        != StatusCode::NO_CONTENT
    {
        assert!(began.elapsed() < crate::harness::DEADLINE, "the sale is over");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    rest.ok(delete, "/me", &[], shopper, None).await;
}

#[tokio::test]
async fn a_new_sale_s_limits_are_those_of_the_document() {
    let world = World::start().await;
    let document = document(&world).await;
    let fields = document["components"]["schemas"]["SaleBody"]["properties"]
        .as_object()
        .expect("fields");
    let by_default = world.create_sale(json!({})).await.body;
    let mut limits = 0;
    for (name, schema) in fields {
        if let Some(default) = schema.get("default") {
            assert_eq!(*default, by_default[name], "{name}");
        }
        for (limit, step) in [("minimum", -1), ("maximum", 1)] {
            let Some(limit) = schema[limit].as_i64() else {
                continue;
            };
            limits += 1;
            let beyond = world.create_sale(json!({ name: limit + step })).await;
            assert_eq!(beyond.refusal(), Code::InvalidField, "{name}: {}", limit + step);
            let detail = beyond.detail();
            // The price must not be above the original price either: both are at the limit together.
            let extremes = match name.as_str() {
                "original_price" | "sale_price" if step > 0 => {
                    json!({ "original_price": limit, "sale_price": limit })
                }
                "original_price" => json!({ "original_price": limit, "sale_price": limit }),
                "lanes" => json!({ "lanes": limit, "total_stock": 100 }),
                name => json!({ name: limit }),
            };
            assert!(
                detail.starts_with(name.as_str()) || name.ends_with("price"),
                "{name}: {detail}"
            );
            let answer = world.create_sale(extremes).await;
            assert_eq!(answer.status, 201, "{name}: {limit}: {answer:?}");
        }
    }
    assert!(limits >= 16, "{limits}");
    world.server.stop().await;
}

/// Waits until a sale's draw is so far.
async fn until(world: &World, sale: &str, is: impl Fn(&flashsale_protocol::draw::Draw) -> bool) {
    crate::draw::published(world, sale.parse().expect("an id"), is).await;
}

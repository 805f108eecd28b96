//! `docs/asyncapi.yaml` is made here, from the protocol's types and golden frames; what is committed must be what would
//! be made now (`UPDATE_DOCS=1` writes it), and what really goes over the socket must be what it says.

use crate::{
    harness::{Client, DEADLINE, World, command_id},
    schema::Schemas,
};
use flashsale_protocol::{
    CloseCode, Code, ConnectionCommand, Done, MAX_FRAME_BYTES, MAX_QUANTITY, Reason, Role, SUBPROTOCOL,
    ServerMessage, ShopCommand,
    code::{AfterClose, after_close},
    verbs,
};
use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use tokio_tungstenite::tungstenite::Message;
use utoipa::ToSchema;
use yaml_serde::{Mapping, Value};

const COMMANDS: &str = include_str!("../../../protocol/golden/commands.jsonl");
const SERVER: &str = include_str!("../../../protocol/golden/server.jsonl");

// ------------------------------------------------------------------------------------------------------- the document

fn document() -> String {
    let (commands, replies, events) = (commands(), replies(), events());
    let all: Vec<&(String, Value)> = commands.iter().chain(&replies).chain(&events).collect();
    let names = all
        .iter()
        .map(|(name, _)| (name.as_str(), link("components/messages", name)));
    let channel = map([
        ("address", text("/ws")),
        ("title", text("The socket")),
        ("description", text(&channel_text())),
        (
            "messages",
            Value::Mapping(names.map(|(name, link)| (text(name), link)).collect()),
        ),
        (
            "bindings",
            map([(
                "ws",
                map([("method", text("GET")), ("bindingVersion", text("0.1.0"))]),
            )]),
        ),
    ]);
    let document = map([
        ("asyncapi", text("3.0.0")),
        (
            "info",
            map([
                ("title", text("flashsale")),
                ("version", text(env!("CARGO_PKG_VERSION"))),
                ("description", text(INTRODUCTION)),
                ("license", map([("name", text("MIT OR Apache-2.0"))])),
            ]),
        ),
        ("defaultContentType", text("application/json")),
        ("channels", map([("socket", channel)])),
        ("operations", operations(&commands, &replies, &events)),
        (
            "components",
            map([
                (
                    "messages",
                    all.into_iter()
                        .map(|(name, message)| (text(name), message.clone()))
                        .collect::<Mapping>()
                        .into(),
                ),
                ("schemas", schemas()),
            ]),
        ),
        ("x-close-codes", close_codes()),
    ]);
    format!(
        "# Made from protocol/src by server/tests/it/asyncapi.rs: do not edit. UPDATE_DOCS=1 writes it anew.\n{}",
        yaml_serde::to_string(&document).expect("YAML")
    )
}

const INTRODUCTION: &str = "One WebSocket for a whole flash sale: countdown, live stock, the line, reservations, checkout and \
    payment. docs/protocol.md tells the same as prose, with the order of things. Times are ms since 1970 by the server's \
    clock; amounts are in minor units of their currency. A field that is not required is absent, never null.";

fn channel_text() -> String {
    let mut text = format!(
        "Subprotocol `{SUBPROTOCOL}`. JSON objects in text frames; a client's are at most {MAX_FRAME_BYTES} bytes. `hello` comes \
         first.\n\nClose codes:\n\n| number | word | then | meaning |\n|---|---|---|---|\n"
    );
    for code in CloseCode::ALL {
        text += &format!(
            "| {} | `{}` | {} | {} |\n",
            code.number(),
            code.word(),
            then(*code),
            code.text()
        );
    }
    text
}

fn then(code: CloseCode) -> &'static str {
    match after_close(code.number()) {
        AfterClose::Reconnect => "reconnect",
        AfterClose::ReconnectWithFreshToken => "reconnect with a fresh token",
        AfterClose::Stay => "do not reconnect by yourself",
    }
}

fn close_codes() -> Value {
    let codes = CloseCode::ALL.iter().map(|code| {
        map([
            ("number", code.number().into()),
            ("word", text(code.word())),
            ("then", text(then(*code))),
            ("text", text(code.text())),
        ])
    });
    Value::Sequence(codes.collect())
}

/// One message per command: the command's fields, and the id.
fn commands() -> Vec<(String, Value)> {
    let of_a_connection = variants::<ConnectionCommand>().into_iter();
    let named = of_a_connection.chain(variants::<ShopCommand>()).map(|variant| {
        // In Rust the verb is the key of the fields; on the wire it stands among them.
        let verb = string(&variant["required"][0]);
        let fields = &variant["properties"][verb.as_str()];
        let mut properties = map([
            ("type", map([("const", text(&verb))])),
            ("id", link("components/schemas", "CommandId")),
        ]);
        let mut required = vec![text("type"), text("id")];
        if let Some(own) = fields.get("properties") {
            merge(&mut properties, own);
        }
        if let Some(own) = fields.get("required") {
            required.extend_from_slice(list(own));
        }
        let payload = map([
            ("type", text("object")),
            ("required", Value::Sequence(required)),
            ("properties", properties),
            ("additionalProperties", false.into()),
        ]);
        let examples = examples(COMMANDS, |frame| frame["type"] == verb.as_str());
        let message = message(&verb, &string(&variant["description"]), payload, examples);
        (verb, message)
    });
    named.collect()
}

/// One message per kind of `ok`, and one for refusals. A kind's comment in the source names its commands.
fn replies() -> Vec<(String, Value)> {
    let frame = |id: Value, outcome: &str, of: Value| {
        map([
            ("type", text("object")),
            (
                "required",
                Value::Sequence(["type", "id", outcome].map(text).to_vec()),
            ),
            (
                "properties",
                map([
                    ("type", map([("const", text("reply"))])),
                    ("id", id),
                    (outcome, of),
                ]),
            ),
        ])
    };
    let id = link("components/schemas", "CommandId");
    let mut replies: Vec<(String, Value)> = variants::<Done>()
        .into_iter()
        .map(|mut variant| {
            let kind = string(&variant["required"][0]);
            let description = string(&variant["description"]);
            variant.as_mapping_mut().expect("an object").remove("description");
            variant["properties"][kind.as_str()]
                .as_mapping_mut()
                .expect("a schema")
                .remove("description");
            let examples = examples(SERVER, |frame| frame["ok"].get(&kind).is_some());
            let summary = format!("Answers {description}");
            let message = message("reply", &summary, frame(id.clone(), "ok", variant), examples);
            (format!("reply_{kind}"), message)
        })
        .collect();
    let nullable = map([("oneOf", Value::Sequence(vec![id, map([("type", text("null"))])]))]);
    let refused = frame(nullable, "error", link("components/schemas", "Reject"));
    let examples = examples(SERVER, |frame| frame.get("error").is_some());
    let summary = "Refuses any command. `id` is null only where the frame's own id could not be read.";
    replies.push((
        "reply_refused".into(),
        message("reply", summary, refused, examples),
    ));
    replies
}

fn events() -> Vec<(String, Value)> {
    let events = variants::<ServerMessage>().into_iter().filter_map(|mut variant| {
        let tag = match variant.get("allOf") {
            Some(parts) => list(parts).last().expect("a part")["properties"]["type"]["enum"][0].clone(),
            None => variant["properties"]["type"]["enum"][0].clone(),
        };
        let (word, description) = (string(&tag), string(&variant["description"]));
        variant.as_mapping_mut().expect("a schema").remove("description");
        let examples = examples(SERVER, |frame| frame["type"] == word.as_str());
        // Replies are told apart above.
        (word != "reply").then(|| (word.clone(), message(&word, &description, variant, examples)))
    });
    events.collect()
}

fn message(name: &str, summary: &str, payload: Value, examples: Vec<Value>) -> Value {
    map([
        ("name", text(name)),
        ("summary", text(summary)),
        ("payload", payload),
        ("examples", Value::Sequence(examples)),
    ])
}

fn examples(golden: &str, is: impl Fn(&Json) -> bool) -> Vec<Value> {
    let examples: Vec<Value> = golden
        .lines()
        .filter(|frame| is(&serde_json::from_str(frame).expect("JSON")))
        .map(|frame| map([("payload", yaml_serde::from_str(frame).expect("JSON is YAML"))]))
        .collect();
    assert!(!examples.is_empty(), "a message without a golden frame");
    examples
}

/// What a client sends and how it is answered, and what the server sends by itself. As AsyncAPI has it, from the
/// server's side.
fn operations(
    commands: &[(String, Value)],
    replies: &[(String, Value)],
    events: &[(String, Value)],
) -> Value {
    let channel = || link("channels", "socket");
    let of_channel = |name: &str| link("channels/socket/messages", name);
    let mut operations = Mapping::new();
    for (verb, _) in commands {
        let answers = replies.iter().filter(|(name, reply)| {
            let summary = string(&reply["summary"]);
            name == "reply_refused"
                || summary
                    .split(':')
                    .next()
                    .is_some_and(|verbs| verbs.contains(&format!("`{verb}`")))
        });
        let answers: Vec<Value> = answers.map(|(name, _)| of_channel(name)).collect();
        assert_eq!(answers.len(), 2, "{verb} has one answer and one refusal");
        operations.insert(
            text(verb),
            map([
                ("action", text("receive")),
                ("channel", channel()),
                ("messages", Value::Sequence(vec![of_channel(verb)])),
                (
                    "reply",
                    map([("channel", channel()), ("messages", Value::Sequence(answers))]),
                ),
            ]),
        );
    }
    for (word, _) in events {
        operations.insert(
            text(&format!("on_{word}")),
            map([
                ("action", text("send")),
                ("channel", channel()),
                ("messages", Value::Sequence(vec![of_channel(word)])),
            ]),
        );
    }
    operations.into()
}

fn schemas() -> Value {
    let mut found = Vec::new();
    ConnectionCommand::schemas(&mut found);
    ShopCommand::schemas(&mut found);
    ServerMessage::schemas(&mut found);
    let mut schemas = Mapping::new();
    for (name, schema) in found {
        // What commands and replies are made of stands in the messages.
        if name != Done::name() && name != "Outcome" && !schemas.contains_key(&name) {
            schemas.insert(text(&name), readable(yaml_serde::to_value(schema).expect("YAML")));
        }
    }
    name_what_changes(&mut schemas);
    schemas.into()
}

/// A change's other fields are those of a tick, or null: in Rust they are a map.
fn name_what_changes(schemas: &mut Mapping) {
    let tick = schemas["Tick"]["properties"]
        .as_mapping()
        .expect("fields")
        .clone();
    let change = schemas["Change"].as_mapping_mut().expect("a schema");
    change.remove("additionalProperties").expect("the map");
    let own = change["properties"].as_mapping_mut().expect("fields");
    for (name, schema) in tick {
        let null = map([("type", text("null"))]);
        own.entry(name)
            .or_insert_with(|| map([("oneOf", Value::Sequence(vec![schema, null]))]));
    }
}

fn variants<T: ToSchema>() -> Vec<Value> {
    let schema = readable(yaml_serde::to_value(T::schema()).expect("YAML"));
    list(&schema["oneOf"]).to_vec()
}

/// Optional fields are absent, not null; and comments link to items that the document does not have.
fn readable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("[`", "`").replace("`]", "`")),
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(readable).collect()),
        Value::Mapping(fields) => {
            let mut fields: Mapping = fields
                .into_iter()
                .map(|(name, inner)| (name, readable(inner)))
                .collect();
            let null = map([("type", text("null"))]);
            if let Some(choices) = fields.get("oneOf").map(list)
                && let [one, other] = choices
                && *other == null
            {
                return one.clone();
            }
            if let Some(Value::Sequence(types)) = fields.get("type") {
                let kind = types.first().expect("a type").clone();
                fields.insert(text("type"), kind);
            }
            fields.into()
        }
        other => other,
    }
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    fields
        .into_iter()
        .map(|(name, value)| (text(name), value))
        .collect::<Mapping>()
        .into()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn link(to: &str, name: &str) -> Value {
    map([("$ref", text(&format!("#/{to}/{name}")))])
}

fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("a text, not {value:?}"))
        .to_owned()
}

fn list(value: &Value) -> &[Value] {
    value
        .as_sequence()
        .unwrap_or_else(|| panic!("a list, not {value:?}"))
}

fn merge(fields: &mut Value, more: &Value) {
    let fields = fields.as_mapping_mut().expect("an object");
    for (name, value) in more.as_mapping().expect("an object") {
        if !fields.contains_key(name) {
            fields.insert(name.clone(), value.clone());
        }
    }
}

// ---------------------------------------------------------------------------------------------------------- the tests

fn read() -> Json {
    yaml_serde::from_str(&document()).expect("YAML")
}

#[test]
fn the_committed_file_is_what_the_protocol_says_today() {
    crate::tidy::is_up_to_date("docs/asyncapi.yaml", &document());
}

#[test]
fn golden_frames_and_nothing_less_or_more_fit_their_schemas() {
    let document = read();
    let schemas = Schemas::strict(&document);
    assert_eq!(
        document["components"]["schemas"]["Quantity"]["maximum"],
        MAX_QUANTITY
    );
    let mut unused: BTreeSet<&str> = names(&document).collect();
    for frame in COMMANDS.lines().chain(SERVER.lines()) {
        let frame: Json = serde_json::from_str(frame).expect("JSON");
        let name = name_of(&frame);
        let payload = &document["components"]["messages"][&name]["payload"];
        schemas.check(payload, &frame, &name);
        unused.remove(name.as_str());
        let mut more = frame.clone();
        more["surplus"] = json!(1);
        assert!(
            !schemas.errors(payload, &more).is_empty(),
            "{name} with a surplus field"
        );
        let mut wrong = frame.clone();
        for (field, value) in wrong.as_object_mut().expect("an object") {
            if field != "type" {
                *value = json!([true]);
                break;
            }
        }
        assert!(
            !schemas.errors(payload, &wrong).is_empty(),
            "{name} with a wrong field: {wrong}"
        );
    }
    assert_eq!(unused, BTreeSet::new(), "messages without a golden frame");
    let verbs: BTreeSet<&str> = verbs().collect();
    let operations = document["operations"].as_object().expect("operations");
    let received = operations
        .iter()
        .filter(|(_, operation)| operation["action"] == "receive");
    assert_eq!(
        received.map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(),
        verbs
    );
}

#[test]
fn the_page_for_writers_of_clients_names_everything() {
    let page = crate::tidy::read("docs/protocol.md");
    for code in Code::ALL {
        let (word, http, retry) = (
            code.word(),
            code.http_status(),
            if code.retry() { "yes" } else { "no" },
        );
        let row = format!(
            "| {} | `{word}` | {http} | {retry} | {} |",
            code.number(),
            code.text()
        );
        assert!(page.contains(&row), "no row {row}");
    }
    for code in CloseCode::ALL {
        let row = format!("| {} | `{}` | {} |", code.number(), code.word(), code.text());
        assert!(page.contains(&row), "no row {row}");
    }
    for reason in Reason::ALL {
        let row = format!("| `{}` | {} | {} |", reason.word(), reason.of(), reason.text());
        assert!(page.contains(&row), "no row {row}");
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let told: BTreeSet<&str> = page.split(|c| !is_word(c)).collect();
    let mut words = BTreeSet::new();
    collect(&read()["components"], &mut words);
    assert!(words.len() > 100);
    let untold: Vec<&String> = words
        .iter()
        .filter(|word| !told.contains(word.as_str()))
        .collect();
    assert!(untold.is_empty(), "docs/protocol.md does not name {untold:?}");
}

/// Every field's name and every word of an enumeration.
fn collect(schema: &Json, words: &mut BTreeSet<String>) {
    match schema {
        Json::Object(fields) => {
            for (name, inner) in fields {
                match (name.as_str(), inner) {
                    ("properties", Json::Object(properties)) => words.extend(properties.keys().cloned()),
                    ("enum", Json::Array(values)) => {
                        words.extend(values.iter().filter_map(Json::as_str).map(str::to_owned))
                    }
                    _ => {}
                }
                collect(inner, words);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, words)),
        _ => {}
    }
}

fn names(document: &Json) -> impl Iterator<Item = &str> {
    document["components"]["messages"]
        .as_object()
        .expect("messages")
        .keys()
        .map(String::as_str)
}

/// A frame's name among the messages.
fn name_of(frame: &Json) -> String {
    match frame["ok"].as_object().and_then(|ok| ok.keys().next()) {
        Some(kind) => format!("reply_{kind}"),
        None if frame["error"].is_object() => "reply_refused".into(),
        None => frame["type"].as_str().expect("a type").to_owned(),
    }
}

/// A socket on which every frame, either way, is held to the document.
struct Wire {
    client: Client,
    document: Json,
    schemas: Schemas,
    seen: BTreeSet<String>,
}

impl Wire {
    fn check(&mut self, frame: &Json) -> String {
        let name = name_of(frame);
        let payload = &self.document["components"]["messages"][&name]["payload"];
        self.schemas.check(payload, frame, &name);
        self.seen.insert(name.clone());
        name
    }

    /// None: closed, with that code.
    async fn next(&mut self) -> Result<Json, u16> {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.client.stream.next())
                .await
                .expect("in time");
            match message.expect("open").expect("a frame") {
                Message::Text(text) => {
                    let frame: Json = serde_json::from_str(&text).expect("JSON");
                    self.check(&frame);
                    return Ok(frame);
                }
                Message::Close(frame) => return Err(frame.expect("a code").code.into()),
                _ => {}
            }
        }
    }

    async fn ask(&mut self, mut frame: Json) -> Json {
        frame["id"] = json!(command_id());
        let verb = self.check(&frame);
        self.client.send(&frame.to_string()).await;
        loop {
            let answer = self.next().await.expect("open");
            if answer["id"] == frame["id"] {
                let link = json!({ "$ref": format!("#/channels/socket/messages/{}", name_of(&answer)) });
                let told = &self.document["operations"][&verb]["reply"]["messages"];
                assert!(
                    told.as_array().expect("a list").contains(&link),
                    "{verb} was answered with {answer}"
                );
                return answer;
            }
        }
    }

    async fn until(&mut self, is: impl Fn(&Json) -> bool) {
        while !is(&self.next().await.expect("open")) {}
    }

    /// Joins, waits for the turn, reserves.
    async fn take(&mut self, sale: &Json) {
        self.ask(json!({ "type": "join", "sale": sale })).await;
        self.until(|frame| frame["type"] == "entry" && frame["state"] == "admitted")
            .await;
        let held = self
            .ask(json!({ "type": "reserve", "sale": sale, "quantity": 1, "partial": true }))
            .await;
        assert_eq!(held["ok"]["hold"]["state"], "held", "{held}");
    }
}

#[tokio::test]
async fn every_command_and_whatever_comes_of_it_is_as_the_document_says() {
    let world = World::start().await;
    let document = read();
    let mut wire = Wire {
        client: world.stranger().await,
        schemas: Schemas::strict(&document),
        document,
        seen: BTreeSet::new(),
    };
    let sale = json!(world.sale(json!({ "total_stock": 3 })).await);
    let token = world.token("u1", Role::Shopper);
    wire.ask(json!({ "type": "hello", "token": token, "device": "d1", "resume": [sale], "changes": true }))
        .await;
    wire.ask(json!({ "type": "unwatch", "sale": sale })).await;
    wire.ask(json!({ "type": "watch", "sale": sale })).await;
    wire.take(&sale).await;
    wire.ask(json!({ "type": "extend", "sale": sale })).await;
    wire.ask(json!({ "type": "release", "sale": sale })).await;
    wire.ask(json!({ "type": "join", "sale": sale, "quantity": 1 }))
        .await;
    wire.until(|frame| frame["state"] == "admitted").await;
    wire.ask(json!({ "type": "leave", "sale": sale })).await;
    wire.take(&sale).await;
    let order = wire.ask(json!({ "type": "checkout", "sale": sale })).await;
    // Who asks has the reply; the shopper's other sockets are told.
    let order = &order["ok"]["order"]["order"];
    let mut other = world.shopper("u1").await;
    let cancel = ShopCommand::Cancel {
        order: serde_json::from_value(order.clone()).expect("an id"),
    };
    other.ok(cancel).await;
    wire.until(|frame| frame["type"] == "order").await;
    wire.ask(json!({ "type": "cancel", "order": order })).await;
    wire.take(&sale).await;
    let payment = json!({ "token": "sandbox_decline" });
    let declined = wire
        .ask(json!({ "type": "checkout", "sale": sale, "payment": payment }))
        .await;
    assert_eq!(declined["error"]["code"], "payment_declined");
    let payment = json!({ "token": "sandbox_approve" });
    wire.ask(json!({ "type": "pay", "order": declined["error"]["order"], "payment": payment }))
        .await;
    let orders = wire.ask(json!({ "type": "orders" })).await;
    assert_eq!(orders["ok"]["orders"].as_array().map(Vec::len), Some(2));
    wire.ask(json!({ "type": "state", "sale": sale })).await;
    wire.ask(json!({ "type": "ping", "t": 7 })).await;
    // The first is a whole tick.
    wire.until(|frame| frame["type"] == "change").await;
    wire.client.send("nonsense").await;
    wire.until(|frame| frame["error"]["code"] == "bad_json").await;
    let drawn = world.sale(json!({ "allocation": "draw" })).await;
    wire.ask(json!({ "type": "watch", "sale": drawn })).await;
    wire.ask(json!({ "type": "join", "sale": drawn })).await;
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{drawn}/end");
    let ended = world
        .rest(reqwest::Method::POST, &path, Some(&boss), &[], "")
        .await;
    assert_eq!(ended.status, 200, "{ended:?}");
    wire.until(|frame| frame["type"] == "draw" && frame["seed"].is_string())
        .await;

    let stopping = tokio::spawn(world.server.stop());
    wire.until(|frame| frame["type"] == "bye").await;
    let closed = loop {
        if let Err(code) = wire.next().await {
            break code;
        }
    };
    let codes = wire.document["x-close-codes"].as_array().expect("codes");
    assert!(
        codes
            .iter()
            .any(|code| code["number"] == closed && code["word"] == "draining")
    );
    stopping.await.expect("stops");

    let never: Vec<&str> = names(&wire.document)
        .filter(|name| !wire.seen.contains(*name))
        .collect();
    assert_eq!(never, ["notice"], "messages that never came");
}

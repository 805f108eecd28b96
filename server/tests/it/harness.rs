//! Boots the real server on a free port, with a database and a key prefix of its own.

use crate::databases::OwnDatabase;
use chrono::{TimeDelta, Utc};
use clap::Parser;
use flashsale::{auth::GUEST_LIFE, config::Serve, server::Server};
use flashsale_protocol::{
    CloseCode, Code, Command, CommandId, ConnectionCommand, Done, Nonce, Outcome, Reject, Request, Role,
    SaleId, SaleState, ServerMessage, ShopperId,
};
use futures_util::{SinkExt, Stream, StreamExt};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async,
    tungstenite::{Error, Message},
};

pub const DEADLINE: Duration = Duration::from_secs(10);
/// The nonce of most tests' shoppers. All may have the same, because a name contains its shopper as well.
pub const NONCE: Nonce = Nonce([0x5a; 16]);
/// Settings for a test that asks as fast as it can.
pub const QUICK: &[&str] = &[
    "--commands-per-s",
    "1000",
    "--command-burst",
    "1000",
    "--request-burst",
    "100000",
    // Tests of limits count what is refused, one after the other.
    "--refusal-pause-ms",
    "0",
];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
}

pub struct World {
    pub server: Server,
    pub http: reqwest::Client,
    pub database_url: String,
    /// What the server was started with, but for its address.
    args: Vec<String>,
    _database: Option<OwnDatabase>,
    _scratch: tempfile::TempDir,
}

async fn start(args: &[String], listen: &str) -> Server {
    try_start(args, listen).await.expect("the server starts")
}

async fn try_start(args: &[String], listen: &str) -> anyhow::Result<Server> {
    let listen = ["--listen".to_owned(), listen.to_owned()];
    let serve = Cli::parse_from(args.iter().chain(&listen)).serve;
    Server::start(serve).await
}

pub fn command_id() -> CommandId {
    CommandId::from_parts(Utc::now().timestamp_millis() as u64, rand::random())
}

impl World {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let name = format!("t_{:016x}", rand::random::<u64>());
        let mut args: Vec<String> = ["it", "--database-connections", "8"].map(String::from).into();
        if !flags.contains(&"--payments") {
            args.extend(["--payments", "sandbox"].map(String::from));
        }
        args.extend(["--data-dir".into(), scratch.path().display().to_string()]);
        args.extend(["--redis-prefix".into(), format!("{name}:")]);
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let stores = std::env::var("TEST_DATABASE_URL")
            .ok()
            .zip(std::env::var("TEST_REDIS_URL").ok());
        let (database_url, database) = if let Some((server, redis)) = stores {
            let own = OwnDatabase::make(&server, &name).await;
            args.extend(["--database-url".into(), own.url.clone()]);
            if !flags.contains(&"--redis-url") {
                args.extend(["--redis-url".into(), redis]);
            }
            (own.url.clone(), Some(own))
        } else {
            (
                flashsale::embedded::urls(scratch.path()).expect("a folder").0,
                None,
            )
        };
        Self {
            server: start(&args, "127.0.0.1:0").await,
            http: flashsale::tls::client(),
            database_url,
            args,
            _database: database,
            _scratch: scratch,
        }
    }

    /// Another server of the same platform.
    pub async fn another(&self, listen: &str) -> Server {
        start(&self.args, listen).await
    }

    /// A server with these settings instead; why it does not start.
    pub async fn try_another(&self, settings: &[(&str, &str)]) -> anyhow::Result<Server> {
        let mut args = self.args.clone();
        for (flag, value) in settings {
            match args.iter().position(|arg| arg == flag) {
                Some(at) => args[at + 1] = (*value).to_owned(),
                None => args.extend([(*flag).to_owned(), (*value).to_owned()]),
            }
        }
        try_start(&args, "127.0.0.1:0").await
    }

    pub fn token(&self, who: &str, role: Role) -> String {
        self.server
            .app
            .authority
            .signer
            .issue(who.parse().expect("an id"), role, None, GUEST_LIFE)
            .expect("signs")
    }

    /// A shopper's token that proves their device.
    pub fn token_on(&self, who: &str, device: &str) -> String {
        let (who, device) = (who.parse().expect("an id"), device.parse().expect("an id"));
        let signer = &self.server.app.authority.signer;
        signer
            .issue(who, Role::Shopper, Some(device), GUEST_LIFE)
            .expect("signs")
    }

    /// Who somebody with a token of the platform is in the sales of [`Self::sale`], which are those of one merchant.
    pub fn who(&self, account: &str) -> ShopperId {
        let merchants = &self.server.app.shop.merchants;
        let merchant = merchants.find("boss").expect("a sale was made");
        merchants
            .visitor(&merchant, &account.parse().expect("an id"))
            .expect("an id")
    }

    /// Who somebody with a token of the platform is in a sale.
    pub async fn person(&self, sale: SaleId, who: &str) -> ShopperId {
        let shop = &self.server.app.shop;
        let sale = shop.sale(sale).await.expect("a sale");
        let account = who.parse().expect("an id");
        shop.merchants.visitor_of(&sale, &account).await.expect("an id")
    }

    pub fn url(&self, path: &str) -> String {
        match path {
            "/healthz" | "/readyz" | "/metrics" => format!("http://{}{path}", self.server.operations),
            _ => format!("{}{path}", self.server.origin),
        }
    }

    /// A live sale; `fields` replace the defaults, null leaves one out.
    pub async fn sale(&self, fields: Value) -> SaleId {
        let answer = self.create_sale(fields).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["sale_id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("a ULID")
    }

    pub async fn create_sale(&self, fields: Value) -> Answer {
        let now = Utc::now();
        let mut sale = json!({
            "product_name": "Thing", "currency": "EUR", "original_price": 200, "sale_price": 100, "total_stock": 1,
            "start_time": (now - TimeDelta::seconds(1)).to_rfc3339(), "end_time": (now + TimeDelta::hours(1)).to_rfc3339(),
        });
        let sale = sale.as_object_mut().expect("an object");
        sale.extend(fields.as_object().expect("an object").clone());
        sale.retain(|_, value| !value.is_null());
        let body = serde_json::to_string(sale).expect("JSON");
        let boss = self.token("boss", Role::Admin);
        let started = Instant::now();
        let key = command_id().to_string();
        let headers = [("idempotency-key", key.as_str())];
        loop {
            let answer = self
                .rest(Method::POST, "/admin/sales", Some(&boss), &headers, body.clone())
                .await;
            // A test may make more sales at once than one person does, and more than a busy machine takes.
            if ![429, 503].contains(&answer.status) || started.elapsed() > DEADLINE {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Like `rest`, by somebody who is not signed in.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.rest(Method::GET, path, None, headers, "").await
    }

    /// A request on the device `dev`, unless a header names another one.
    pub async fn rest(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.http.request(method, self.url(path)).body(body);
        if !headers.iter().any(|(name, _)| *name == "x-device-id") {
            request = request.header("x-device-id", "dev");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("an answer");
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.json().await.unwrap_or(Value::Null),
        }
    }

    /// All that a refused command must leave as it is: the counters, and the orders.
    pub async fn facts(&self, sale: SaleId) -> Value {
        let path = format!("/admin/sales/{sale}/metrics");
        let boss = self.token("boss", Role::Admin);
        let mut facts = self.rest(Method::GET, &path, Some(&boss), &[], "").await.body;
        assert_eq!(facts["sale_id"], sale.to_string(), "{facts}");
        for moving in ["active_users", "pace", "priority_pace", "carried"] {
            facts.as_object_mut().expect("an object").remove(moving);
        }
        // The line's history comes a second later.
        let fairness = facts["fairness"].as_object_mut().expect("an object");
        fairness.retain(|name, _| {
            ["order_inversions", "no_show_rate", "top_devices_share"].contains(&name.as_str())
        });
        let orders = self
            .server
            .app
            .shop
            .store
            .orders_of_sale(sale)
            .await
            .expect("Postgres");
        facts["orders"] = format!("{orders:?}").into();
        facts
    }

    /// A socket that has said hello, on a device of its own.
    pub async fn shopper(&self, who: &str) -> Client {
        self.shopper_on(who, &format!("device-of-{who}")).await
    }

    /// The same on a device that others may have as well.
    pub async fn shopper_on(&self, who: &str, device: &str) -> Client {
        let mut client = self.stranger().await;
        let token = self.token_on(who, device);
        client
            .ok(ConnectionCommand::Hello {
                token,
                device: None,
                resume: vec![],
                changes: false,
            })
            .await;
        client
    }

    /// A socket that has said nothing yet.
    pub async fn stranger(&self) -> Client {
        Client::connect(self.server.address).await
    }
}

/// What REST has answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The code of a refusal, which is problem+json with the code's own status.
    pub fn refusal(&self) -> Code {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        let code: Code = serde_json::from_value(self.body["code"].clone()).expect("a code");
        assert_eq!(self.status, code.http_status(), "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        code
    }

    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().expect("a text")
    }
}

pub struct Client<S = MaybeTlsStream<TcpStream>> {
    pub stream: WebSocketStream<S>,
    pub events: Vec<ServerMessage>,
}

impl Client {
    pub async fn connect(server: SocketAddr) -> Self {
        let (stream, _) = connect_async(format!("ws://{server}/ws"))
            .await
            .expect("connects");
        Self {
            stream,
            events: Vec::new(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Over a connection that is there.
    pub async fn over(connection: S) -> Self {
        let (stream, _) = client_async("ws://localhost/ws", connection)
            .await
            .expect("connects");
        Self {
            stream,
            events: Vec::new(),
        }
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("sends");
    }

    pub async fn next(&mut self) -> ServerMessage {
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.stream.next())
                .await
                .expect("in time");
            match frame.expect("open").expect("a frame") {
                Message::Text(text) => return serde_json::from_str(&text).expect("a message"),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Waits for the close, whatever comes before it.
    pub async fn closed(&mut self) -> CloseCode {
        close_code(&mut self.stream).await
    }

    /// Repeats a command while it is refused with "try again".
    pub async fn insist(&mut self, command: impl Into<Command>) -> Done {
        let (command, started) = (command.into(), Instant::now());
        loop {
            match self.ask(command.clone()).await {
                Ok(done) => return done,
                Err(reject) if reject.retry && started.elapsed() < DEADLINE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(reject) => panic!("{}: {reject:?}", command.verb()),
            }
        }
    }

    pub async fn reply(&mut self) -> (Option<CommandId>, Result<Done, Reject>) {
        loop {
            match self.next().await {
                ServerMessage::Reply {
                    id,
                    outcome: Outcome::Ok(done),
                } => return (id, Ok(done)),
                ServerMessage::Reply {
                    id,
                    outcome: Outcome::Error(reject),
                } => return (id, Err(reject)),
                event => self.events.push(event),
            }
        }
    }

    pub async fn ask_as(&mut self, id: CommandId, command: impl Into<Command>) -> Result<Done, Reject> {
        self.send(&Request::new(id, command).to_json()).await;
        let (replied, outcome) = self.reply().await;
        assert_eq!(replied, Some(id));
        outcome
    }

    pub async fn ask(&mut self, command: impl Into<Command>) -> Result<Done, Reject> {
        self.ask_as(command_id(), command).await
    }

    pub async fn ok(&mut self, command: impl Into<Command>) -> Done {
        let command = command.into();
        let verb = command.verb();
        self.ask(command)
            .await
            .unwrap_or_else(|reject| panic!("{verb}: {reject:?}"))
    }

    pub async fn watch(&mut self, sale: SaleId) -> SaleState {
        match self.ok(ConnectionCommand::Watch { sale }).await {
            Done::State(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for an event, among those that have come already and those to come.
    pub async fn until<T>(&mut self, find: impl Fn(&ServerMessage) -> Option<T>) -> T {
        if let Some(found) = self.events.iter().find_map(&find) {
            return found;
        }
        loop {
            let message = self.next().await;
            if let Some(found) = find(&message) {
                return found;
            }
        }
    }
}

/// Waits for the close of a socket.
pub async fn close_code(frames: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) -> CloseCode {
    loop {
        let frame = tokio::time::timeout(DEADLINE, frames.next())
            .await
            .expect("in time");
        if let Message::Close(frame) = frame.expect("a close first").expect("a frame") {
            let frame = frame.expect("a close with its code");
            let code = CloseCode::from_number(frame.code.into()).expect("a close code of ours");
            assert_eq!(frame.reason.as_str(), code.word());
            return code;
        }
    }
}

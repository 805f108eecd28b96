//! Boots the real server on a free port, with a database and a key prefix of its own.

use chrono::{TimeDelta, Utc};
use clap::Parser;
use flashsale::{app::Server, auth::GUEST_LIFE, config::Serve};
use flashsale_protocol::{
    Command, CommandId, Done, Outcome, Reject, Request, Role, SaleId, SaleState, ServerMessage,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

pub const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
}

pub struct World {
    pub server: Server,
    pub http: reqwest::Client,
    pub database_url: String,
    _scratch: tempfile::TempDir,
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
        let mut args: Vec<String> = ["it", "--listen", "127.0.0.1:0", "--database-connections", "4"]
            .map(String::from)
            .into();
        args.extend(["--data-dir".into(), scratch.path().display().to_string()]);
        args.extend(["--redis-prefix".into(), format!("{name}:")]);
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let stores = std::env::var("TEST_DATABASE_URL")
            .ok()
            .zip(std::env::var("TEST_REDIS_URL").ok());
        let database_url = if let Some((database, redis)) = stores {
            let pool = sqlx::PgPool::connect(&database).await.expect("Postgres answers");
            sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
                .execute(&pool)
                .await
                .expect("a database");
            let own = database.replacen("/flashsale?", &format!("/{name}?"), 1);
            args.extend(["--database-url".into(), own.clone(), "--redis-url".into(), redis]);
            own
        } else {
            flashsale::embedded::urls(scratch.path()).expect("a folder").0
        };
        let serve = Cli::parse_from(args).serve;
        let server = Server::start(serve).await.expect("the server starts");
        Self {
            server,
            http: reqwest::Client::new(),
            database_url,
            _scratch: scratch,
        }
    }

    pub fn token(&self, who: &str, role: Role) -> String {
        self.server
            .app
            .authority
            .issue(who.parse().expect("an id"), role, None, GUEST_LIFE)
            .expect("signs")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    /// A live sale; `fields` replace the defaults.
    pub async fn sale(&self, fields: Value) -> SaleId {
        let (status, body) = self.create_sale(fields).await;
        assert_eq!(status, 201, "{body}");
        body["sale_id"].as_str().expect("an id").parse().expect("a ULID")
    }

    pub async fn create_sale(&self, fields: Value) -> (u16, Value) {
        let now = Utc::now();
        let mut sale = json!({
            "product_name": "Thing", "currency": "EUR", "original_price": 200, "sale_price": 100, "total_stock": 1,
            "start_time": (now - TimeDelta::seconds(1)).to_rfc3339(), "end_time": (now + TimeDelta::hours(1)).to_rfc3339(),
        });
        for (name, value) in fields.as_object().expect("an object") {
            sale[name] = value.clone();
        }
        self.post(
            "/admin/sales",
            Some(&self.token("boss", Role::Admin)),
            &sale.to_string(),
        )
        .await
    }

    pub async fn post(&self, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
        let mut request = self
            .http
            .post(self.url(path))
            .body(body.to_owned())
            .header("x-device-id", "dev");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("an answer");
        (
            response.status().as_u16(),
            response.json().await.unwrap_or(Value::Null),
        )
    }

    /// A socket that has said hello, on a device of its own.
    pub async fn shopper(&self, who: &str) -> Client {
        let mut client = self.stranger().await;
        let token = self.token(who, Role::Shopper);
        let device = Some(format!("device-of-{who}").parse().expect("an id"));
        client
            .ok(Command::Hello {
                token,
                device,
                resume: vec![],
            })
            .await;
        client
    }

    /// A socket that has said nothing yet.
    pub async fn stranger(&self) -> Client {
        let (stream, _) = connect_async(format!("ws://{}/ws", self.server.address))
            .await
            .expect("connects");
        Client {
            stream,
            events: Vec::new(),
        }
    }
}

pub struct Client {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub events: Vec<ServerMessage>,
}

impl Client {
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

    pub async fn ask_as(&mut self, id: CommandId, command: Command) -> Result<Done, Reject> {
        self.send(&Request { id, command }.to_json()).await;
        let (replied, outcome) = self.reply().await;
        assert_eq!(replied, Some(id));
        outcome
    }

    pub async fn ask(&mut self, command: Command) -> Result<Done, Reject> {
        self.ask_as(command_id(), command).await
    }

    pub async fn ok(&mut self, command: Command) -> Done {
        let verb = command.verb();
        self.ask(command)
            .await
            .unwrap_or_else(|reject| panic!("{verb}: {reject:?}"))
    }

    pub async fn watch(&mut self, sale: SaleId) -> SaleState {
        match self.ok(Command::Watch { sale }).await {
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

//! One shopper: connects from an address of their own, and buys as a browser would.

use crate::report::Timings;
use anyhow::{Context, Result, bail};
use flashsale_protocol::{
    Code, Command, CommandId, Done, EntryState, Order, Outcome, Outlook, Payment, Phase, Quantity, Reject,
    Request, SUBPROTOCOL, SaleId, ServerMessage, Tick,
};
use futures_util::{SinkExt, StreamExt};
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

/// An answer that takes longer counts as none.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const MAX_TRIES: usize = 20;

pub struct Shopper {
    stream: WebSocketStream<TcpStream>,
    events: VecDeque<ServerMessage>,
    sale: SaleId,
}

/// How a shopper's rush ended, as they saw it.
#[derive(Debug)]
pub enum Ending {
    /// The acknowledged order.
    Bought(Order),
    SoldOut,
    GaveUp(String),
}

impl Shopper {
    pub async fn connect(server: SocketAddr, from: Ipv4Addr, sale: SaleId) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(server).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{server}/ws").into_client_request()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0);
        let (stream, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self {
            stream,
            events: VecDeque::new(),
            sale,
        })
    }

    /// Sends a command and waits for its own answer; what comes in between is kept.
    pub async fn ask(&mut self, id: CommandId, command: Command) -> Result<Result<Done, Reject>> {
        self.stream
            .send(Message::text(Request { id, command }.to_json()))
            .await?;
        loop {
            match self.next().await? {
                ServerMessage::Reply { id: replied, outcome } if replied == Some(id) => {
                    return Ok(match outcome {
                        Outcome::Ok(done) => Ok(done),
                        Outcome::Error(reject) => Err(reject),
                    });
                }
                ServerMessage::Reply { .. } => {}
                event => self.events.push_back(event),
            }
        }
    }

    async fn next(&mut self) -> Result<ServerMessage> {
        loop {
            let frame = tokio::time::timeout(ANSWER_DEADLINE, self.stream.next())
                .await
                .context("no answer")?;
            match frame.context("the server has closed")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    async fn event(&mut self) -> Result<ServerMessage> {
        match self.events.pop_front() {
            Some(event) => Ok(event),
            None => self.next().await,
        }
    }

    /// hello and watch: ready before the start.
    pub async fn enter(&mut self, token: String, device: String) -> Result<Tick> {
        let device = Some(device.parse().map_err(|error| anyhow::anyhow!("{error}"))?);
        let hello = Command::Hello {
            token,
            device,
            resume: vec![self.sale],
        };
        match self.ask(command_id(), hello).await? {
            Ok(Done::Welcome(welcome)) => welcome
                .states
                .into_iter()
                .next()
                .map(|state| state.tick)
                .context("the sale is not there"),
            other => bail!("hello: {other:?}"),
        }
    }

    /// join → (the turn) → reserve → checkout → pay.
    pub async fn buy(&mut self, timings: &Timings) -> Result<Ending> {
        let sale = self.sale;
        for _ in 0..MAX_TRIES {
            let joined = timed(
                timings,
                "join",
                self.ask(
                    command_id(),
                    Command::Join {
                        sale,
                        quantity: Quantity::ONE,
                    },
                ),
            );
            let admitted = match joined.await? {
                Ok(Done::Joined { entry, .. }) => entry.state == EntryState::Admitted,
                Err(reject) if reject.code == Code::SoldOut => return Ok(Ending::SoldOut),
                Err(reject) if reject.retry => {
                    pause(&reject).await;
                    continue;
                }
                other => return Ok(Ending::GaveUp(format!("join: {other:?}"))),
            };
            if !admitted && !self.my_turn().await? {
                return Ok(Ending::SoldOut);
            }
            let reserve = Command::Reserve {
                sale,
                quantity: Quantity::ONE,
                partial: false,
            };
            match timed(timings, "reserve", self.ask(command_id(), reserve)).await? {
                Ok(_) => return self.check_out(timings).await,
                Err(reject) if reject.retry => pause(&reject).await,
                Err(reject) if reject.code == Code::SoldOut => return Ok(Ending::SoldOut),
                Err(reject) => return Ok(Ending::GaveUp(format!("reserve: {reject:?}"))),
            }
        }
        Ok(Ending::GaveUp("too many tries".into()))
    }

    async fn check_out(&mut self, timings: &Timings) -> Result<Ending> {
        let checkout = command_id();
        let command = Command::Checkout {
            sale: self.sale,
            payment: None,
        };
        let order = match timed(timings, "checkout", self.ask(checkout, command.clone())).await? {
            Ok(Done::Order(order)) => order,
            other => return Ok(Ending::GaveUp(format!("checkout: {other:?}"))),
        };
        // I4: the same id again is the same answer.
        match self.ask(checkout, command).await? {
            Ok(Done::Order(again)) if again == order => {}
            other => {
                return Ok(Ending::GaveUp(format!(
                    "I4: a repeated checkout answered {other:?}"
                )));
            }
        }
        let pay = Command::Pay {
            order: order.order,
            payment: Payment {
                token: "sandbox_approve".into(),
            },
        };
        match timed(timings, "pay", self.ask(command_id(), pay)).await? {
            Ok(Done::Order(order)) => Ok(Ending::Bought(order)),
            other => Ok(Ending::GaveUp(format!("pay: {other:?}"))),
        }
    }

    /// Waits for the turn. False: the sale is over for those who wait.
    async fn my_turn(&mut self) -> Result<bool> {
        loop {
            match self.event().await? {
                ServerMessage::Entry(entry) if entry.sale == self.sale => match entry.state {
                    EntryState::Admitted => return Ok(true),
                    EntryState::Waiting => {}
                    other => bail!("the place in line ended: {other:?}"),
                },
                ServerMessage::Tick(tick) if tick.sale == self.sale => {
                    let started = !matches!(tick.phase, Phase::Scheduled | Phase::Waiting);
                    if tick.phase == Phase::Ended || (started && tick.outlook() == Outlook::SoldOut) {
                        return Ok(false);
                    }
                }
                _ => {}
            }
        }
    }
}

pub fn command_id() -> CommandId {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    CommandId::from_parts(now.as_millis() as u64, rand::random())
}

async fn pause(reject: &Reject) {
    tokio::time::sleep(Duration::from_millis(
        reject.retry_after_ms.unwrap_or(100).clamp(20, 2_000),
    ))
    .await;
}

async fn timed<T>(timings: &Timings, verb: &'static str, future: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = future.await;
    timings.record(verb, start.elapsed());
    result
}

//! One shopper: connects from their own address, and buys like a browser.

use crate::{
    patience::{self, connect_once},
    report::{Timings, progress},
};
use anyhow::{Context, Result, bail};
use flashsale::auth::Signer;
use flashsale_protocol::{
    Code, Command, CommandId, ConnectionCommand, Done, EntryState, Nonce, Order, OrderId, OrderStatus,
    Outcome, Outlook, Payment, Phase, Quantity, Reject, Request, Role, SaleId, SaleState, ServerMessage,
    ShopCommand,
};
use futures_util::{SinkExt, StreamExt, stream};
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, Utf8Bytes},
};

/// A later answer counts as none.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const MAX_TRIES: usize = 20;
/// A place is counted while others are called: people called in one step count as called, and also as waiting until they have
/// their claims.
pub const CALLED_AT_ONCE: u64 = 50;
/// How long a shopper tries to reach a lost server again, and the longest pause between two attempts.
const RECONNECT_DEADLINE: Duration = Duration::from_secs(90);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// A process may open 20,000 files here and there.
pub const MOST_IN_A_PROCESS: usize = 19_000;
/// Connections opened at the same time.
const CONNECTS_AT_ONCE: usize = 200;
/// Source addresses (127.0.n.2 and on) in this many networks, so that no limit per address or network applies that real shoppers
/// would not meet.
const NETWORKS: usize = 8;
const ADDRESSES: usize = 198;
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// A shopper's identity and source address.
pub struct Identity {
    pub name: String,
    pub device: String,
    pub token: String,
    pub from: Ipv4Addr,
}

pub struct Shopper {
    pub identity: Identity,
    server: SocketAddr,
    sale: SaleId,
    stream: WebSocketStream<TcpStream>,
    events: VecDeque<ServerMessage>,
    /// The newest tick, unread, because only the last one counts.
    tick: Option<Utf8Bytes>,
    /// Every acknowledged order, as it was then.
    pub acknowledged: Vec<Order>,
    pub reconnects: u32,
    /// For sales whose format takes one; a server of an earlier release refuses the field.
    nonce: Option<Nonce>,
    /// The promise that is still open.
    promised: Option<Promise>,
    /// The server is stopping: a new connection is due.
    must_move: bool,
    /// Bytes of messages on the wire, with their frames' headers.
    pub traffic: Traffic,
    /// Broken promises, and answers that nobody waits for.
    pub broken: Vec<String>,
}

/// Bytes of the messages of one shopper.
#[derive(Debug, Default, Clone, Copy)]
pub struct Traffic {
    pub sent: usize,
    /// Answers and events of their own.
    pub received: usize,
    pub ticks: usize,
}

/// Something that must still exist after a reconnect.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Promise {
    /// A place in line, with this many before it, counted from the first one ever.
    Place(u64),
    Hold,
}

/// How a shopper's rush ended, as they saw it.
#[derive(Debug)]
pub enum Ending {
    Bought,
    SoldOut,
    GaveUp(String),
}

pub enum Turn {
    Mine,
    /// The sale has ended for those who wait.
    Over,
    /// The connection was lost: ask for the present state.
    Unknown,
}

impl Shopper {
    /// Connected, greeted and watching: ready before the start.
    pub async fn enter(server: SocketAddr, sale: SaleId, identity: Identity) -> Result<Self> {
        let stream = patience::connect(server, identity.from).await?;
        let mut shopper = Self {
            identity,
            server,
            sale,
            stream,
            events: VecDeque::new(),
            tick: None,
            acknowledged: Vec::new(),
            reconnects: 0,
            nonce: None,
            promised: None,
            must_move: false,
            traffic: Traffic::default(),
            broken: Vec::new(),
        };
        let state = shopper.greet().await?;
        shopper.nonce = (state.sale.format >= 2).then(|| Nonce(rand::random()));
        Ok(shopper)
    }

    async fn greet(&mut self) -> Result<SaleState> {
        let device = self.identity.device.parse();
        let hello = ConnectionCommand::Hello {
            token: self.identity.token.clone(),
            device: Some(device.map_err(|error| anyhow::anyhow!("{error}"))?),
            resume: vec![self.sale],
            changes: false,
        };
        match self.ask_once(command_id(), hello).await? {
            Ok(Done::Welcome(mut welcome)) if welcome.states.len() == 1 => Ok(welcome.states.remove(0)),
            other => bail!("hello: {other:?}"),
        }
    }

    /// Checks that the promise is kept.
    fn check_promise(&mut self, state: &SaleState) {
        let entry = state.entry.as_ref();
        let has_units = state.hold.is_some()
            || !state.orders.is_empty()
            || entry.is_some_and(|entry| entry.state == EntryState::Admitted);
        let kept = match self.promised {
            None => true,
            Some(_) if has_units => true,
            Some(Promise::Hold) => false,
            Some(Promise::Place(before)) => entry.is_some_and(|entry| {
                entry.state == EntryState::Waiting
                    && entry.position + entry.admitted <= before + CALLED_AT_ONCE
            }),
        };
        if !kept {
            self.broken.push(format!(
                "{:?} is gone: {:?}, {:?}",
                self.promised, state.entry, state.hold
            ));
        }
    }

    /// Comes back after a lost connection like a browser: with growing, jittered pauses.
    async fn reconnect(&mut self) -> Result<()> {
        let (lost, mut pause) = (Instant::now(), RECONNECT_PAUSE / 8);
        loop {
            tokio::time::sleep(pause.mul_f64(rand::random())).await;
            pause = (pause * 2).min(RECONNECT_PAUSE);
            let attempt = async {
                self.stream = connect_once(self.server, self.identity.from).await?;
                self.events.clear();
                (self.tick, self.must_move) = (None, false);
                self.greet().await
            };
            match attempt.await {
                Ok(state) => break self.check_promise(&state),
                Err(error) if lost.elapsed() > RECONNECT_DEADLINE => return Err(error),
                Err(_) => {}
            }
        }
        self.reconnects += 1;
        Ok(())
    }

    /// For a place in line, if the sale takes a nonce for one.
    pub fn join(&self) -> ShopCommand {
        ShopCommand::Join {
            sale: self.sale,
            quantity: Quantity::ONE,
            nonce: self.nonce,
        }
    }

    pub fn reserve(&self) -> ShopCommand {
        ShopCommand::Reserve {
            sale: self.sale,
            quantity: Quantity::ONE,
            partial: false,
        }
    }

    pub fn checkout(&self) -> ShopCommand {
        ShopCommand::Checkout {
            sale: self.sale,
            payment: None,
        }
    }

    /// Watches the sale, as everybody does, until something else has happened.
    pub async fn watch_until<T>(&mut self, happens: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(happens);
        loop {
            tokio::select! {
                biased;
                happened = &mut happens => return Ok(happened),
                message = self.next() => match message? {
                    None => {}
                    Some(ServerMessage::Bye { .. }) => bail!("the server is stopping"),
                    Some(event) => self.events.push_back(event),
                },
            }
        }
    }

    /// A command with its answer. After a lost connection, and while the server asks for another try, it is repeated under the
    /// same id, so it has only one effect.
    async fn ask(&mut self, id: CommandId, command: ShopCommand) -> Result<Result<Done, Reject>> {
        let mut tries = 0;
        loop {
            if self.must_move {
                self.reconnect().await?;
            }
            match self.ask_once(id, command.clone()).await {
                Ok(Err(reject)) if reject.code == Code::Unavailable && tries < MAX_TRIES => {
                    tries += 1;
                    pause(&reject).await;
                }
                Ok(answer) => return Ok(answer),
                Err(_) => self.reconnect().await?,
            }
        }
    }

    /// Sends a command and waits for its own answer; other messages are kept.
    pub async fn ask_once(
        &mut self,
        id: CommandId,
        command: impl Into<Command>,
    ) -> Result<Result<Done, Reject>> {
        let text = Request::new(id, command).to_json();
        self.traffic.sent += framed(text.len()) + MASK_BYTES;
        self.stream.send(Message::text(text)).await?;
        loop {
            match self.next().await? {
                Some(ServerMessage::Reply { id: replied, outcome }) if replied == Some(id) => {
                    return Ok(match outcome {
                        Outcome::Ok(done) => Ok(done),
                        Outcome::Error(reject) => Err(reject),
                    });
                }
                // Only one command is under way at a time, so this one was answered before.
                Some(ServerMessage::Reply { id: other, .. }) => {
                    self.broken
                        .push(format!("{other:?} was answered again, {id} is asked"));
                }
                None => {}
                Some(ServerMessage::Bye { .. }) => self.must_move = true,
                Some(event) => self.events.push_back(event),
            }
        }
    }

    /// The next message that is not a tick; None: it was a tick.
    async fn next(&mut self) -> Result<Option<ServerMessage>> {
        loop {
            let frame = tokio::time::timeout(ANSWER_DEADLINE, self.stream.next())
                .await
                .context("no answer")?;
            match frame.context("the server has closed")?? {
                // Ticks are parsed only when needed, because thousands of shoppers share this process.
                Message::Text(text) if text.starts_with(r#"{"type":"tick""#) => {
                    self.traffic.ticks += framed(text.len());
                    self.tick = Some(text);
                    return Ok(None);
                }
                Message::Text(text) => {
                    self.traffic.received += framed(text.len());
                    return Ok(Some(serde_json::from_str(&text)?));
                }
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// join → (the turn) → reserve → checkout → pay.
    pub async fn buy(&mut self, timings: &Timings) -> Result<Ending> {
        for _ in 0..MAX_TRIES {
            let join = self.join();
            let admitted = match timed(timings, "join", self.ask(command_id(), join)).await? {
                Ok(Done::Joined { entry, .. }) => {
                    self.promised = Some(Promise::Place(entry.position + entry.admitted));
                    entry.state == EntryState::Admitted
                }
                Err(reject) if reject.code == Code::AlreadyHeld => return self.check_out(timings).await,
                Err(reject) if reject.code == Code::SoldOut => return Ok(Ending::SoldOut),
                Err(reject) if reject.retry => {
                    pause(&reject).await;
                    continue;
                }
                other => return Ok(Ending::GaveUp(format!("join: {other:?}"))),
            };
            if !admitted {
                match self.my_turn().await? {
                    Turn::Mine => {}
                    Turn::Over => return Ok(Ending::SoldOut),
                    Turn::Unknown => continue,
                }
            }
            let reserve = self.reserve();
            match timed(timings, "reserve", self.ask(command_id(), reserve)).await? {
                Ok(_) => {
                    self.promised = Some(Promise::Hold);
                    return self.check_out(timings).await;
                }
                Err(reject) if reject.retry => pause(&reject).await,
                Err(reject) if reject.code == Code::SoldOut => return Ok(Ending::SoldOut),
                Err(reject) => return Ok(Ending::GaveUp(format!("reserve: {reject:?}"))),
            }
        }
        Ok(Ending::GaveUp("too many tries".into()))
    }

    /// Puts a unit into the cart, in a sale without a line.
    pub async fn hold(&mut self) -> Result<()> {
        let reserve = self.reserve();
        for _ in 0..MAX_TRIES {
            match self.ask(command_id(), reserve.clone()).await? {
                Ok(_) => return Ok(()),
                Err(reject) if reject.retry => pause(&reject).await,
                Err(reject) => bail!("reserve: {reject:?}"),
            }
        }
        bail!("too many tries")
    }

    /// Buys the units in the cart.
    pub async fn check_out(&mut self, timings: &Timings) -> Result<Ending> {
        let checkout = command_id();
        let command = self.checkout();
        let order = match timed(timings, "checkout", self.ask(checkout, command.clone())).await? {
            Ok(Done::Order(order)) => order,
            other => return Ok(Ending::GaveUp(format!("checkout: {other:?}"))),
        };
        self.acknowledged.push(order.clone());
        // I4: the same id gets the same answer.
        match self.ask(checkout, command).await? {
            Ok(Done::Order(again)) if again == order => {}
            other => {
                return Ok(Ending::GaveUp(format!(
                    "I4: a repeated checkout answered {other:?}"
                )));
            }
        }
        // A payment under way when the server died may not have reached the provider; then it is declined, and made anew.
        for _ in 0..MAX_TRIES {
            let pay = pay(order.order);
            match timed(timings, "pay", self.ask(command_id(), pay)).await? {
                Ok(Done::Order(order)) if order.status == OrderStatus::Confirmed => {
                    self.acknowledged.push(order);
                    return Ok(Ending::Bought);
                }
                Ok(Done::Order(_)) => tokio::time::sleep(RECONNECT_PAUSE).await,
                Err(reject) if reject.code == Code::OrderConfirmed => return Ok(Ending::Bought),
                Err(reject) if reject.code == Code::PaymentDeclined || reject.retry => pause(&reject).await,
                other => return Ok(Ending::GaveUp(format!("pay: {other:?}"))),
            }
        }
        Ok(Ending::GaveUp("the payment does not succeed".into()))
    }

    /// Waits for the turn.
    pub async fn my_turn(&mut self) -> Result<Turn> {
        loop {
            let message = match self.events.pop_front() {
                Some(event) => Some(event),
                None => match self.next().await {
                    Ok(message) => message,
                    Err(_) => {
                        self.reconnect().await?;
                        return Ok(Turn::Unknown);
                    }
                },
            };
            match message {
                Some(ServerMessage::Entry(entry)) if entry.sale == self.sale => match entry.state {
                    EntryState::Admitted => return Ok(Turn::Mine),
                    EntryState::Waiting => {}
                    other => bail!("the place in line ended: {other:?}"),
                },
                Some(ServerMessage::Bye { .. }) => {
                    self.reconnect().await?;
                    return Ok(Turn::Unknown);
                }
                Some(_) => {}
                None if self.sale_is_over()? => return Ok(Turn::Over),
                None => {}
            }
        }
    }

    fn sale_is_over(&mut self) -> Result<bool> {
        let Some(text) = self.tick.take() else {
            return Ok(false);
        };
        let ServerMessage::Tick(tick) = serde_json::from_str(&text)? else {
            return Ok(false);
        };
        let started = !matches!(tick.phase, Phase::Scheduled | Phase::Waiting);
        let sold_out = started && tick.outlook() == Outlook::SoldOut;
        Ok(tick.sale == self.sale && (sold_out || tick.phase == Phase::Ended))
    }
}

/// With a test card that the sandbox approves.
pub fn pay(order: OrderId) -> ShopCommand {
    ShopCommand::Pay {
        order,
        payment: Payment {
            token: "sandbox_approve".into(),
        },
    }
}

/// Lets a crowd in before the start, each shopper from one of many addresses.
pub async fn enter_all(
    server: SocketAddr,
    sale: SaleId,
    signer: &Signer,
    crowd: &str,
    count: usize,
) -> Result<Vec<Shopper>> {
    let bar = progress(count as u64, "connecting");
    let mut ready = Vec::with_capacity(count);
    let mut connecting = stream::iter(0..count)
        .map(|i| {
            let name = format!("{crowd}-{i:05}");
            async move {
                let who = name.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
                let identity = Identity {
                    token: signer.issue(who, Role::Shopper, None, TOKEN_LIFE)?,
                    name,
                    device: format!("device-{i:05}"),
                    from: address_of(i),
                };
                Shopper::enter(server, sale, identity).await
            }
        })
        .buffer_unordered(CONNECTS_AT_ONCE);
    while let Some(shopper) = connecting.next().await {
        ready.push(shopper.context("a shopper could not enter")?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    drop(connecting);
    Ok(ready)
}

fn address_of(shopper: usize) -> Ipv4Addr {
    let (network, host) = (shopper % NETWORKS, shopper / NETWORKS % ADDRESSES);
    Ipv4Addr::new(127, 0, network as u8, 2 + host as u8)
}

/// The size of a text frame without a mask: the header has 2 bytes, or 4 from 126 bytes on.
pub fn framed(bytes: usize) -> usize {
    bytes + if bytes < 126 { 2 } else { 4 }
}

/// A client's frames have a mask as well.
const MASK_BYTES: usize = 4;

pub fn command_id() -> CommandId {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    CommandId::from_parts(now.as_millis() as u64, rand::random())
}

pub async fn pause(reject: &Reject) {
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

//! The life of one connection: hello, then commands in and replies, events and ticks out. Knows the connection's own
//! commands (`hello`, `watch`, `unwatch`, `ping`); all others are [`command::run`]'s.

use super::hub::{Event, Hub, LiveTick, Place, Registration, at_least_one, too_many};
use crate::{app::App, auth::Caller, command, telemetry::name};
use flashsale_protocol::{
    CloseCode, Code, Command, CommandId, DeviceId, Done, Malformed, Outcome, Reject, Request, SaleId,
    SaleState, ServerMessage, Welcome,
};
use futures_util::{FutureExt, SinkExt, Stream, StreamExt, future::BoxFuture};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::{StreamMap, wrappers::WatchStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message, Utf8Bytes,
        error::{CapacityError, ProtocolError},
        protocol::{CloseFrame, frame::coding::CloseCode as WsCloseCode},
    },
};

/// Command ids that a connection remembers, to refuse one that comes back with other contents.
const REMEMBERED_COMMANDS: usize = 32;
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A command in flight, with its outcome and what it leaves for the connection.
type Running = BoxFuture<'static, (Option<CommandId>, Result<Done, Reject>)>;

struct Connection<S> {
    app: Arc<App>,
    stream: WebSocketStream<S>,
    session: Option<Session>,
    running: Option<Running>,
    ticks: StreamMap<SaleId, WatchStream<Option<Arc<LiveTick>>>>,
    /// The newest tick that this client has seen, by sale: in a state or by itself.
    seen: HashMap<SaleId, u64>,
    rate: DefaultDirectRateLimiter,
    offences: u32,
    remembered: VecDeque<(CommandId, u64)>,
    opened: Instant,
    last_heard: Instant,
    _place: Place,
}

struct Session {
    caller: Arc<Caller>,
    registration: Registration,
}

/// Runs a connection to its end.
pub async fn run<S>(app: Arc<App>, stream: WebSocketStream<S>, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let quota = Quota::per_second(at_least_one(app.limits.commands_per_s))
        .allow_burst(at_least_one(app.limits.command_burst));
    let mut connection = Connection {
        app,
        stream,
        session: None,
        running: None,
        ticks: StreamMap::new(),
        seen: HashMap::new(),
        rate: RateLimiter::direct(quota),
        offences: 0,
        remembered: VecDeque::new(),
        opened: Instant::now(),
        last_heard: Instant::now(),
        _place: place,
    };
    let end = connection.serve().await;
    let word = match end {
        End::Close(code) => {
            connection.close(code).await;
            code.word()
        }
        End::Gone => "client_left",
    };
    metrics::counter!(name::SOCKETS_CLOSED, "reason" => word).increment(1);
}

/// How a connection ends.
enum End {
    /// We close it, and say why.
    Close(CloseCode),
    /// The client is gone.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<S> {
    async fn serve(&mut self) -> End {
        let draining = self.app.draining.clone();
        let mut drained = None;
        loop {
            let deadline = self.deadline();
            let step = tokio::select! {
                biased;
                () = draining.cancelled(), if drained.is_none() => {
                    let window = Duration::from_millis(self.app.limits.drain_window_ms);
                    drained = Some(tokio::time::Instant::now() + window);
                    self.say_bye().await
                }
                () = tokio::time::sleep_until(drained.unwrap_or_else(tokio::time::Instant::now)),
                    if drained.is_some() && self.running.is_none() => Err(End::Close(CloseCode::Draining)),
                // Before what a client sends, which may never end.
                () = tokio::time::sleep_until(deadline.into()) => self.timed_out(),
                (id, outcome) = running(&mut self.running) => {
                    self.running = None;
                    self.reply(id, outcome).await
                }
                event = next_event(&mut self.session) => match event {
                    Some(Event::Frame(frame)) => self.send(frame).await,
                    Some(Event::Close(code)) => Err(End::Close(code)),
                    None => Err(End::Close(CloseCode::TooSlow)),
                },
                frame = self.stream.next(), if self.running.is_none() => self.receive(frame).await,
                Some((sale, tick)) = next_tick(&mut self.ticks) => match tick {
                    Some(tick) if self.is_news(sale, tick.tick.seq) => self.send(tick.frame.clone()).await,
                    _ => Ok(()),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    // -------------------------------------------------------------------------------------------------------- coming in

    async fn receive(&mut self, frame: Option<Result<Message, WsError>>) -> Result<(), End> {
        self.last_heard = Instant::now();
        match frame {
            Some(Ok(Message::Text(text))) => self.request(&text).await,
            Some(Ok(Message::Binary(_))) => self.offence(None, Code::BinaryFrame.into()).await,
            // Pings are answered by the protocol engine; they count as commands do.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => match self.rate.check() {
                Ok(()) => Ok(()),
                Err(_) => self.count_offence(),
            },
            Some(Ok(Message::Close(_))) => {
                // The protocol engine has the answer ready; it leaves with the next flush.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.stream.flush()).await;
                Err(End::Gone)
            }
            None => Err(End::Gone),
            Some(Err(WsError::Capacity(CapacityError::MessageTooLong { .. }))) => {
                Err(End::Close(CloseCode::FrameTooLarge))
            }
            Some(Err(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err(End::Gone),
            Some(Err(WsError::Protocol(_) | WsError::Utf8(_) | WsError::Capacity(_))) => {
                Err(End::Close(CloseCode::ProtocolError))
            }
            Some(Err(_)) => Err(End::Gone),
        }
    }

    async fn request(&mut self, text: &str) -> Result<(), End> {
        if let Err(not_until) = self.rate.check() {
            let id = Request::parse(text).ok().map(|request| request.id);
            return self
                .offence(id, too_many(Code::TooManyCommands, &not_until))
                .await;
        }
        let request = match Request::parse(text) {
            Ok(request) => request,
            Err(Malformed { id, code, message }) => {
                return self.offence(id, Reject::because(code, message)).await;
            }
        };
        let id = request.id;
        if self.reused(&request) {
            return self.offence(Some(id), Code::CommandIdReused.into()).await;
        }
        match (&self.session, request.command) {
            (
                None,
                Command::Hello {
                    token,
                    device,
                    resume,
                },
            ) => self.hello(id, &token, device, resume).await,
            (None, _) => self.offence(Some(id), Code::HelloFirst.into()).await,
            (Some(_), Command::Hello { .. }) => self.offence(Some(id), Code::HelloTwice.into()).await,
            (Some(_), Command::Ping { t }) => {
                let pong = match self.app.stock.clock().await {
                    Ok(now) => Ok(Done::Pong { t, now }),
                    Err(error) => Err(error.into()),
                };
                self.reply(Some(id), pong).await
            }
            (Some(_), Command::Unwatch { sale }) => {
                self.ticks.remove(&sale);
                self.seen.remove(&sale);
                self.note_watching();
                self.reply(Some(id), Ok(Done::Unwatched { sale })).await
            }
            (Some(session), Command::Watch { sale }) => {
                let caller = session.caller.clone();
                let watched = self
                    .watch(&caller, sale)
                    .await
                    .map(|state| Done::State(Box::new(state)));
                self.reply(Some(id), watched).await
            }
            (Some(session), command) => {
                let (app, caller) = (self.app.clone(), session.caller.clone());
                self.running = Some(
                    async move {
                        let request = Request { id, command };
                        (Some(id), command::run(&app, &caller, request).await)
                    }
                    .boxed(),
                );
                Ok(())
            }
        }
    }

    /// Whether this id has come before with other contents. What it had then is remembered as a digest.
    fn reused(&mut self, request: &Request) -> bool {
        let mut hasher = DefaultHasher::new();
        request.command.hash(&mut hasher);
        let digest = hasher.finish();
        if let Some((_, known)) = self.remembered.iter().find(|(id, _)| *id == request.id) {
            return *known != digest;
        }
        if self.remembered.len() == REMEMBERED_COMMANDS {
            self.remembered.pop_front();
        }
        self.remembered.push_back((request.id, digest));
        false
    }

    async fn hello(
        &mut self,
        id: CommandId,
        token: &str,
        device: Option<DeviceId>,
        resume: Vec<SaleId>,
    ) -> Result<(), End> {
        let mut caller = match self.app.authority.verify(token, device) {
            Ok(caller) => caller,
            Err(reject) => {
                let close = match reject.code {
                    Code::TokenExpired => Some(CloseCode::TokenExpired),
                    Code::TokenInvalid => Some(CloseCode::TokenInvalid),
                    _ => None,
                };
                self.offence(Some(id), reject).await?;
                return close.map_or(Ok(()), |code| Err(End::Close(code)));
            }
        };
        if resume.len() > self.app.limits.sales_per_socket {
            return self.offence(Some(id), Code::TooManySales.into()).await;
        }
        let registration = Hub::register(&self.app, &caller);
        caller.socket = Some(registration.id);
        let caller = Arc::new(caller);
        self.session = Some(Session {
            caller: caller.clone(),
            registration,
        });
        let resumed = self.resume(&caller, resume).await;
        let (states, now) = match resumed {
            Ok(resumed) => resumed,
            Err(reject) => {
                // As if it had not been said: the client may say it again.
                self.session = None;
                self.ticks.clear();
                self.seen.clear();
                return self.reply(Some(id), Err(reject)).await;
            }
        };
        let welcome = Welcome {
            shopper: caller.shopper.clone(),
            role: caller.role,
            now,
            token_expires_at: caller.expires_at,
            // Two may be lost before the connection counts as idle.
            ping_every_ms: self.app.limits.idle_timeout_ms / 3,
            states,
        };
        self.reply(Some(id), Ok(Done::Welcome(welcome))).await
    }

    /// Watches the sales again, and tells the time. A sale that is not there any more is left out.
    async fn resume(&mut self, caller: &Caller, sales: Vec<SaleId>) -> Result<(Vec<SaleState>, u64), Reject> {
        let mut states = Vec::new();
        for sale in sales {
            match self.watch(caller, sale).await {
                Ok(state) => states.push(state),
                Err(reject) if reject.code == Code::SaleUnknown => {}
                Err(reject) => return Err(reject),
            }
        }
        Ok((states, self.app.stock.clock().await?))
    }

    async fn watch(&mut self, caller: &Caller, sale: SaleId) -> Result<SaleState, Reject> {
        let info = self.app.sale(sale).await?;
        if !self.ticks.contains_key(&sale) {
            if self.ticks.len() >= self.app.limits.sales_per_socket {
                return Err(Code::TooManySales.into());
            }
            // Subscribed before the state is read, so that no change falls between the two.
            let ticks = self.app.hub.watch(sale).await;
            self.ticks.insert(sale, WatchStream::from_changes(ticks));
            self.note_watching();
        }
        command::sale_state(&self.app, caller, &info).await
    }

    fn note_watching(&self) {
        if let Some(session) = &self.session {
            session
                .registration
                .watching(self.ticks.keys().copied().collect());
        }
    }

    // -------------------------------------------------------------------------------------------------------- going out

    /// Whether a tick is newer than what the client has: a state may overtake the ticks before it.
    fn is_news(&mut self, sale: SaleId, seq: u64) -> bool {
        let seen = self.seen.entry(sale).or_default();
        let newer = seq > *seen;
        *seen = seq.max(*seen);
        newer
    }

    async fn reply(&mut self, id: Option<CommandId>, outcome: Result<Done, Reject>) -> Result<(), End> {
        let states = match &outcome {
            Ok(Done::Welcome(welcome)) => welcome.states.as_slice(),
            Ok(Done::State(state)) => std::slice::from_ref(&**state),
            _ => &[],
        };
        for tick in states.iter().map(|state| &state.tick) {
            if self.ticks.contains_key(&tick.sale) {
                self.is_news(tick.sale, tick.seq);
            }
        }
        let outcome = match outcome {
            Ok(done) => Outcome::Ok(done),
            Err(reject) => Outcome::Error(reject),
        };
        self.send(ServerMessage::Reply { id, outcome }.to_json().into())
            .await
    }

    /// A refusal that a well-behaved client does not cause. Too many of them end the connection.
    async fn offence(&mut self, id: Option<CommandId>, reject: Reject) -> Result<(), End> {
        metrics::counter!(name::COMMANDS, "command" => "refused", "outcome" => reject.code.word())
            .increment(1);
        self.reply(id, Err(reject)).await?;
        self.count_offence()
    }

    fn count_offence(&mut self) -> Result<(), End> {
        self.offences += 1;
        if self.offences > self.app.limits.max_offences {
            Err(End::Close(CloseCode::Abuse))
        } else {
            Ok(())
        }
    }

    async fn say_bye(&mut self) -> Result<(), End> {
        let bye = ServerMessage::Bye {
            code: CloseCode::Draining.number(),
            text: CloseCode::Draining.text().into(),
            after_ms: 0,
            window_ms: self.app.limits.drain_window_ms,
        };
        self.send(bye.to_json().into()).await
    }

    async fn send(&mut self, frame: Utf8Bytes) -> Result<(), End> {
        let deadline = Duration::from_millis(self.app.limits.write_timeout_ms);
        match tokio::time::timeout(deadline, self.stream.send(Message::Text(frame))).await {
            Ok(Ok(())) => {
                metrics::counter!(name::FRAMES).increment(1);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(CloseCode::TooSlow)),
        }
    }

    async fn close(&mut self, code: CloseCode) {
        let frame = CloseFrame {
            code: WsCloseCode::from(code.number()),
            reason: code.word().into(),
        };
        let closing = async {
            // Then read until the client has answered, or the close might be lost behind unread data; after a frame that
            // was not read to its end, these are bytes without meaning.
            if self.stream.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
                let _ = tokio::io::copy(self.stream.get_mut(), &mut tokio::io::sink()).await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }

    // ---------------------------------------------------------------------------------------------------------- timing

    /// The next time at which the connection has to be looked at.
    fn deadline(&self) -> Instant {
        let limits = &self.app.limits;
        match &self.session {
            None => self.opened + Duration::from_millis(limits.hello_timeout_ms),
            Some(session) => {
                let idle = self.last_heard + Duration::from_millis(limits.idle_timeout_ms);
                let now_ms = crate::clock::now_ms();
                let left = Duration::from_millis(session.caller.expires_at.saturating_sub(now_ms));
                idle.min(Instant::now() + left)
            }
        }
    }

    fn timed_out(&self) -> Result<(), End> {
        let limits = &self.app.limits;
        let Some(session) = &self.session else {
            return Err(End::Close(CloseCode::HelloTimeout));
        };
        if session.caller.expires_at <= crate::clock::now_ms() {
            Err(End::Close(CloseCode::TokenExpired))
        } else if self.last_heard.elapsed() >= Duration::from_millis(limits.idle_timeout_ms) {
            Err(End::Close(CloseCode::Idle))
        } else {
            Ok(())
        }
    }
}

async fn running(running: &mut Option<Running>) -> (Option<CommandId>, Result<Done, Reject>) {
    match running {
        Some(command) => command.await,
        None => std::future::pending().await,
    }
}

/// None: the socket has fallen behind its events.
async fn next_event(session: &mut Option<Session>) -> Option<Event> {
    match session {
        None => std::future::pending().await,
        Some(session) => tokio::select! {
            biased;
            event = session.registration.events.recv() => event,
            () = session.registration.close.cancelled() => None,
        },
    }
}

async fn next_tick<T: Stream<Item = (SaleId, Option<Arc<LiveTick>>)> + Unpin>(
    ticks: &mut T,
) -> Option<(SaleId, Option<Arc<LiveTick>>)> {
    match ticks.next().await {
        Some(tick) => Some(tick),
        // Nothing is watched.
        None => std::future::pending().await,
    }
}

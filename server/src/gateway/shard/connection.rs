//! One connection: its messages, the bytes it is owed, and its limits. It never waits: it is asked for its next request when
//! there may be one, and is given what to send.

use super::{
    inbound::{Heard, Inbound, ReadingTurn},
    outbox::Outbox,
    rate::Rate,
};
use crate::{
    config::Limits,
    gateway::{
        throttle::{Page, Place},
        tls::session::Session,
    },
};
use flashsale_engine::presence::Registration;
use flashsale_engine::{caller::Caller, telemetry::name};
use flashsale_protocol::{
    CloseCode, Code, CommandId, Malformed, Outcome, Reject, Request, SaleId, ServerMessage,
};
use smallvec::SmallVec;
use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    net::{Shutdown, TcpStream},
    num::NonZeroU64,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
};
use tokio_tungstenite::tungstenite::{
    Bytes, Error as WsError, Message,
    error::{CapacityError, ProtocolError},
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode as WsCloseCode, Data, OpCode},
        },
    },
};

/// Command ids that a connection remembers, to refuse a repetition with other contents.
const REMEMBERED_COMMANDS: usize = 32;
/// Offences counted for a ping (or pong) above the rate.
const PING_OFFENCES: u32 = 10;
/// Bytes that may wait for a slow client; one more closes its socket.
const MAX_OWED_BYTES: usize = 256 * 1024;
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT_MS: u64 = 2_000;

/// Stands for a socket over TLS: only its connection can seal what it sends.
pub const SEALED: RawFd = -2;

/// A socket after its handshake.
pub struct Arrival {
    pub stream: TcpStream,
    /// Its TLS, if there is any.
    pub tls: Option<Box<Session>>,
    /// What came together with the handshake.
    pub read: Vec<u8>,
}

/// Times are ms since the shard's start, which was at 1.
pub struct Connection {
    pub id: u64,
    stream: TcpStream,
    /// What is owed is sealed already.
    tls: Option<Box<Session>>,
    /// A command is running: the next one waits.
    pub running: bool,
    /// The client said in hello that it takes changes.
    pub takes_changes: bool,
    /// Whether rounds of ticks write to its socket; the shard keeps it equal to [`Connection::keeps_up`].
    pub in_rounds: bool,
    pub standing: Identity,
    /// Usually one.
    pub watched: SmallVec<[Watched; 1]>,
    /// The connection's slot in the wheel.
    pub armed: u64,
    inbound: Inbound,
    outbox: Outbox,
    rate: Rate,
    offences: u32,
    /// Digests of command ids, and of the commands under them.
    remembered: VecDeque<(u64, u64)>,
    heard: u64,
    /// Since when a message has been unfinished.
    unfinished: Option<NonZeroU64>,
    /// Since when the client has taken nothing of what it is owed.
    blocked: Option<NonZeroU64>,
    /// Since when the connection has been closing.
    closing: Option<NonZeroU64>,
    place: Place,
}

/// The client's progress: unknown, or known after hello.
pub enum Identity {
    /// Has not said hello, or is being closed.
    Stranger {
        opened: u64,
        /// Events that came before the welcome was sent.
        early: Vec<Bytes>,
    },
    Known(Registration),
}

/// A sale that a connection watches.
pub struct Watched {
    pub sale: SaleId,
    /// The connection's position among the sale's watchers in this shard.
    pub at: u32,
}

/// How a connection ends.
#[derive(Debug)]
pub enum End {
    /// We close it, with a reason.
    Close(CloseCode),
    /// The client has closed it, and has our answer.
    Closed,
    /// The client is gone.
    Gone,
}

/// The result of a turn of reading.
pub enum Next {
    Request(Request),
    /// Nothing now; the socket reports when there is more.
    Nothing,
    /// The turn is over, and there may be more.
    Later,
}

impl Connection {
    pub fn new(id: u64, arrival: Arrival, place: Place, now: u64) -> Self {
        let Arrival { stream, tls, read } = arrival;
        Self {
            id,
            stream,
            tls,
            running: false,
            takes_changes: false,
            in_rounds: true,
            standing: Identity::Stranger {
                opened: now,
                early: Vec::new(),
            },
            watched: SmallVec::new(),
            armed: 0,
            inbound: Inbound::new(read),
            outbox: Outbox::default(),
            rate: Rate::default(),
            offences: 0,
            remembered: VecDeque::new(),
            heard: now,
            unfinished: None,
            blocked: None,
            closing: None,
            place,
        }
    }

    /// The page that opened the socket.
    pub fn page(&self) -> Page {
        self.place.page.clone()
    }

    /// The client's address.
    pub fn address(&self) -> std::net::IpAddr {
        self.place.address
    }

    /// Who it is; None before hello.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        match &self.standing {
            Identity::Stranger { .. } => None,
            Identity::Known(registration) => Some(registration.caller()),
        }
    }

    // -------------------------------------------------------------------------------------------------------- coming in

    /// Reads up to the next request to carry out. Malformed or too fast ones are refused here.
    pub fn next(&mut self, limits: &Limits, turn: &mut ReadingTurn, now: u64) -> Result<Next, End> {
        if self.closing.is_some() {
            return self.discard();
        }
        loop {
            let mut answers = Vec::new();
            let heard = self.hear(turn, &mut answers);
            if !answers.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.has_answers()) {
                self.send(&[&answers], now)?;
            }
            let next = match heard {
                Heard::Message(message) => {
                    self.heard = now;
                    self.message(message, limits, now)?.map(Next::Request)
                }
                Heard::Nothing => Some(Next::Nothing),
                Heard::Later => Some(Next::Later),
                Heard::Failed(error) => return Err(end_of(&error)),
            };
            self.unfinished = since(self.inbound.is_busy(), self.unfinished, now);
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    fn hear(&mut self, turn: &mut ReadingTurn, answers: &mut Vec<u8>) -> Heard {
        let socket = &mut &self.stream;
        let Some(tls) = &mut self.tls else {
            return self.inbound.read(socket, turn, answers);
        };
        match self.inbound.read(&mut tls.opened(socket), turn, answers) {
            Heard::Nothing if tls.has_more() => Heard::Later,
            heard => heard,
        }
    }

    fn message(&mut self, message: Message, limits: &Limits, now: u64) -> Result<Option<Request>, End> {
        self.unfinished = None;
        match message {
            Message::Text(text) => self.request(&text, limits, now),
            Message::Binary(_) => self
                .offence(None, Code::BinaryFrame.into(), limits, now)
                .map(|()| None),
            // The protocol engine answers pings. They count like commands, and more if there are too many, because nobody needs
            // one more often than every few seconds.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => match self.rate.check(limits, now) {
                Ok(()) => Ok(None),
                Err(_) => self.count_offence(PING_OFFENCES, limits).map(|()| None),
            },
            Message::Close(_) => Err(End::Closed),
        }
    }

    fn request(&mut self, text: &str, limits: &Limits, now: u64) -> Result<Option<Request>, End> {
        let refused = if let Err(wait_ms) = self.rate.check(limits, now) {
            let id = Request::parse(text).ok().map(|request| request.id);
            (id, Reject::new(Code::TooManyCommands).after_ms(wait_ms))
        } else {
            match Request::parse(text) {
                Ok(request) if self.reused(&request) => (Some(request.id), Code::CommandIdReused.into()),
                Ok(request) => return Ok(Some(request)),
                Err(Malformed { id, code, message }) => (id, Reject::because(code, message)),
            }
        };
        self.offence(refused.0, refused.1, limits, now)?;
        Ok(None)
    }

    /// Whether this id came before with other contents, which are remembered as a digest.
    fn reused(&mut self, request: &Request) -> bool {
        let (id, command) = (digest(&request.id), digest(&request.command));
        if let Some((_, known)) = self.remembered.iter().find(|(known, _)| *known == id) {
            return *known != command;
        }
        if self.remembered.len() == REMEMBERED_COMMANDS {
            self.remembered.pop_front();
        }
        // Most shoppers send two or three commands in all.
        self.remembered.reserve_exact(1);
        self.remembered.push_back((id, command));
        false
    }

    /// While closing, incoming bytes have no meaning; they are dropped until the client's end.
    fn discard(&mut self) -> Result<Next, End> {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(End::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(Next::Nothing),
                Err(_) => return Err(End::Gone),
            }
        }
    }

    // -------------------------------------------------------------------------------------------------------- going out

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether nothing is owed, so that a tick may leave now.
    pub(crate) fn keeps_up(&self) -> bool {
        self.outbox.is_empty() && self.closing.is_none()
    }

    pub fn send(&mut self, frames: &[&[u8]], now: u64) -> Result<(), End> {
        if self.closing.is_some() {
            return Ok(());
        }
        self.put(frames)?;
        self.note_blocked(now);
        if self.outbox.len() > MAX_OWED_BYTES {
            return Err(End::Close(CloseCode::TooSlow));
        }
        Ok(())
    }

    /// Sends frames after what is owed. Over TLS, none may be just what TLS itself has to say.
    fn put(&mut self, frames: &[&[u8]]) -> Result<(), End> {
        let socket = &mut &self.stream;
        let put = match &mut self.tls {
            None => self.outbox.send(socket, frames),
            Some(tls) => match tls.seal(frames).map_err(|_| End::Gone)? {
                nothing if nothing.is_empty() => Ok(()),
                sealed => self.outbox.send(socket, &[&sealed]),
            },
        };
        put.map_err(|_| End::Gone)
    }

    /// A round has written the beginning of a tick directly to the socket: the rest now goes first. Over TLS the rest is all of it.
    pub fn finish(&mut self, rest: &[u8], now: u64) -> Result<(), End> {
        if self.tls.is_some() {
            return self.send(&[rest], now);
        }
        self.outbox.owe(rest);
        self.flush(now)
    }

    /// The socket for ticks, while nothing is owed.
    pub fn socket(&self) -> Option<RawFd> {
        let socket = || match self.tls {
            None => self.stream.as_raw_fd(),
            Some(_) => SEALED,
        };
        self.keeps_up().then(socket)
    }

    /// The socket accepts bytes again.
    pub fn flush(&mut self, now: u64) -> Result<(), End> {
        let before = self.outbox.len();
        if before == 0 {
            return Ok(());
        }
        self.outbox.flush(&mut &self.stream).map_err(|_| End::Gone)?;
        if self.outbox.len() < before {
            self.blocked = None;
        }
        self.note_blocked(now);
        if self.closing.is_some() {
            self.finish_sending();
        }
        Ok(())
    }

    fn note_blocked(&mut self, now: u64) {
        self.blocked = since(!self.outbox.is_empty(), self.blocked, now);
    }

    pub fn reply(&mut self, id: Option<CommandId>, reject: Reject, now: u64) -> Result<(), End> {
        let reply = ServerMessage::Reply {
            id,
            outcome: Outcome::Error(reject),
        };
        self.send(&[&frame_of(&reply)], now)
    }

    /// A refusal that a well-behaved client never causes. Too many of them end the connection.
    pub(crate) fn offence(
        &mut self,
        id: Option<CommandId>,
        reject: Reject,
        limits: &Limits,
        now: u64,
    ) -> Result<(), End> {
        metrics::counter!(name::COMMANDS, "command" => "refused", "outcome" => reject.code.word())
            .increment(1);
        self.reply(id, reject, now)?;
        self.count_offence(1, limits)
    }

    fn count_offence(&mut self, weight: u32, limits: &Limits) -> Result<(), End> {
        self.offences = self.offences.saturating_add(weight);
        if self.offences > limits.max_offences {
            Err(End::Close(CloseCode::Abuse))
        } else {
            Ok(())
        }
    }

    /// Sends our close code, if there is one, and waits for the client's answer. False: waiting is useless.
    pub fn close(&mut self, code: Option<CloseCode>, now: u64) -> bool {
        if let Some(code) = code {
            let frame = Frame::close(Some(CloseFrame {
                code: WsCloseCode::from(code.number()),
                reason: code.word().into(),
            }));
            if self.put(&[&bytes_of(frame)]).is_err() {
                return false;
            }
        }
        if let Some(tls) = &mut self.tls {
            tls.end();
            if self.put(&[]).is_err() {
                return false;
            }
        }
        self.standing = Identity::Stranger {
            opened: now,
            early: Vec::new(),
        };
        self.inbound = Inbound::default();
        self.closing = NonZeroU64::new(now);
        self.finish_sending();
        true
    }

    fn finish_sending(&mut self) {
        if self.outbox.is_empty() {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    // ---------------------------------------------------------------------------------------------------------- timing

    /// The next time at which the connection must be looked at. `leaves_at`: the time by which everybody leaves; `wall`: the
    /// tokens' clock.
    pub fn deadline(&self, limits: &Limits, leaves_at: Option<u64>, now: u64, wall: u64) -> u64 {
        if let Some(since) = self.closing {
            return since.get() + CLOSE_TIMEOUT_MS;
        }
        let first = match &self.standing {
            Identity::Stranger { opened, .. } => opened + limits.hello_timeout_ms,
            Identity::Known(registration) => {
                let token_left = registration.caller().expires_at.saturating_sub(wall);
                (self.heard + limits.idle_timeout_ms).min(now + token_left)
            }
        };
        let blocked = self.blocked.map(|since| since.get() + limits.write_timeout_ms);
        let unfinished = self
            .unfinished
            .map(|since| since.get() + limits.message_timeout_ms);
        let leaves = leaves_at.filter(|_| !self.running);
        [blocked, unfinished, leaves]
            .into_iter()
            .flatten()
            .fold(first, u64::min)
    }

    /// Whether a deadline has passed.
    pub(crate) fn timed_out(
        &self,
        limits: &Limits,
        leaves_at: Option<u64>,
        now: u64,
        wall: u64,
    ) -> Option<End> {
        let over = |since: u64, ms: u64| now >= since + ms;
        let too_long = |since: Option<NonZeroU64>, ms| since.is_some_and(|since| over(since.get(), ms));
        if self.closing.is_some() {
            return too_long(self.closing, CLOSE_TIMEOUT_MS).then_some(End::Gone);
        }
        let code = match &self.standing {
            Identity::Stranger { opened, .. } if over(*opened, limits.hello_timeout_ms) => {
                Some(CloseCode::HelloTimeout)
            }
            Identity::Known(registration) if registration.caller().expires_at <= wall => {
                Some(CloseCode::TokenExpired)
            }
            Identity::Known(_) if over(self.heard, limits.idle_timeout_ms) => Some(CloseCode::Idle),
            _ if too_long(self.blocked, limits.write_timeout_ms) => Some(CloseCode::TooSlow),
            _ if too_long(self.unfinished, limits.message_timeout_ms) => Some(CloseCode::MessageTimeout),
            _ if leaves_at.is_some_and(|at| now >= at) && !self.running => Some(CloseCode::Draining),
            _ => None,
        };
        code.map(End::Close)
    }
}

/// The start of a state: now, unless it began earlier.
fn since(is_so: bool, before: Option<NonZeroU64>, now: u64) -> Option<NonZeroU64> {
    before.or(NonZeroU64::new(now)).filter(|_| is_so)
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn end_of(error: &WsError) -> End {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => End::Close(CloseCode::FrameTooLarge),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        WsError::Protocol(_) | WsError::Utf8(_) | WsError::Capacity(_) => {
            End::Close(CloseCode::ProtocolError)
        }
        _ => End::Gone,
    }
}

/// A text frame, ready to be sent to any number of sockets.
pub(crate) fn text_frame(text: impl Into<Bytes>) -> Bytes {
    bytes_of(Frame::message(text, OpCode::Data(Data::Text), true))
}

pub(crate) fn frame_of(message: &ServerMessage) -> Bytes {
    text_frame(message.to_json())
}

fn bytes_of(frame: Frame) -> Bytes {
    let mut bytes = Vec::with_capacity(frame.len());
    // Writing to memory cannot fail.
    let _ = frame.format(&mut bytes);
    bytes.into()
}

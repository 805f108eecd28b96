//! The threads that own the sockets. Each has an epoll instance, a timer wheel and the sockets that were given to it, and
//! does nothing but move bytes: what needs a store is carried out elsewhere ([`task`]) and comes back by the inbox.
//!
//! A tick is one frame for all watchers. It is written straight to each socket in turn ([`channel`]); a socket that is still
//! owed something is passed over, and gets the newest tick when it has caught up. A tick that comes while another is going
//! round replaces it, and the next round waits for the shard's [`pace`]: under any load a shard sends the newest state that
//! it knows, less often rather than late.

mod channel;
mod connection;
mod inbound;
mod outbox;
mod pace;
mod rate;
mod task;
mod wheel;

use super::hub::{Interest, LiveTick, Place, mark_active};
use crate::{app::App, telemetry::name};
use channel::Channel;
pub use connection::text_frame;
use connection::{Connection, End, Next, Standing, Watched};
use flashsale_protocol::{
    CloseCode, Code, Command, CommandId, Done, Outcome, Reject, Request, SaleId, ServerMessage,
};
use inbound::Turn;
use metrics::{Counter, Histogram};
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
    },
};
use pace::Pace;
use slab::Slab;
use std::{
    collections::{HashMap, HashSet},
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::Bytes;
use wheel::Wheel;

/// Sockets that get a tick before commands have their turn.
const TICKS_IN_A_TURN: usize = 128;
/// Events taken from the kernel at once.
const EVENTS: usize = 1_024;
/// The same while a round of ticks is under way, before each turn of it: a crowd at the door, or a flood, may hold a round up by a
/// tenth or so, and waits for its end otherwise.
const EVENTS_IN_A_ROUND: usize = 8;
/// Events that a socket can have before its welcome was sent.
const EARLY_EVENTS: usize = 64;
/// The inbox among the epoll events.
const INBOX: u64 = u64::MAX;

/// Where a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketRef {
    /// Names it among the sockets of all gateways.
    pub id: u64,
    shard: u32,
    key: u32,
}

/// What other threads have for a shard.
pub enum Mail {
    /// A new socket, with the bytes that came together with its handshake.
    Open(TcpStream, Vec<u8>, Place),
    Answer(SocketRef, Box<task::Answer>),
    /// A frame for one socket.
    Event(SocketRef, Bytes),
    /// A frame for everybody who watches a sale.
    Announce(SaleId, Bytes),
    Close(SocketRef, CloseCode),
    Tick(Arc<LiveTick>),
    /// Tell Redis how many look at what.
    CountActive,
    /// Tell everybody to move within this many ms.
    Drain(u64),
    Stop,
}

/// The way into a shard.
struct Inbox {
    mail: Mutex<Vec<Mail>>,
    /// The shard has been woken already.
    woken: AtomicBool,
    bell: EventFd,
}

impl Inbox {
    fn open() -> nix::Result<Self> {
        Ok(Self {
            mail: Mutex::default(),
            woken: AtomicBool::new(false),
            bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }

    fn post(&self, mail: Mail) {
        self.mail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mail);
        if !self.woken.swap(true, Ordering::AcqRel) {
            // Fails only when it is rung already.
            let _ = self.bell.write(1);
        }
    }

    fn take(&self) -> Vec<Mail> {
        if !self.woken.load(Ordering::Acquire) {
            return Vec::new();
        }
        let _ = self.bell.read();
        self.woken.store(false, Ordering::Release);
        std::mem::take(&mut self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All shards, as the rest of the gateway sees them.
pub struct Shards {
    inboxes: Arc<[Inbox]>,
    next_shard: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shards {
    pub fn open(count: usize) -> nix::Result<Self> {
        let inboxes: Vec<Inbox> = (0..count.max(1))
            .map(|_| Inbox::open())
            .collect::<nix::Result<_>>()?;
        Ok(Self {
            inboxes: inboxes.into(),
            next_shard: AtomicUsize::new(0),
            threads: Mutex::default(),
        })
    }

    /// Starts the threads; commands are carried out by the runtime that this is called in.
    pub fn start(&self, app: &Arc<App>) -> std::io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..self.inboxes.len() {
            let (app, inboxes, runtime) = (app.clone(), self.inboxes.clone(), Handle::current());
            threads.push(
                std::thread::Builder::new()
                    .name(format!("shard-{index}"))
                    .spawn(move || run(&app, &inboxes, index, &runtime))?,
            );
        }
        Ok(())
    }

    /// Gives a socket to the next shard in turn.
    pub fn adopt(&self, stream: TcpStream, read: Vec<u8>, place: Place) {
        let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.inboxes[shard].post(Mail::Open(stream, read, place));
    }

    pub fn event(&self, socket: SocketRef, frame: Bytes) {
        self.inboxes[socket.shard as usize].post(Mail::Event(socket, frame));
    }

    pub fn announce(&self, sale: SaleId, frame: &Bytes) {
        self.post_all(|| Mail::Announce(sale, frame.clone()));
    }

    pub fn close(&self, socket: SocketRef, code: CloseCode) {
        self.inboxes[socket.shard as usize].post(Mail::Close(socket, code));
    }

    pub fn tick(&self, tick: &Arc<LiveTick>) {
        self.post_all(|| Mail::Tick(tick.clone()));
    }

    pub fn count_active(&self) {
        self.post_all(|| Mail::CountActive);
    }

    pub fn drain(&self, window_ms: u64) {
        self.post_all(|| Mail::Drain(window_ms));
    }

    /// Ends the threads, and whatever sockets they still have.
    pub fn stop(&self) {
        self.post_all(|| Mail::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn post_all(&self, mail: impl Fn() -> Mail) {
        for inbox in self.inboxes.iter() {
            inbox.post(mail());
        }
    }
}

/// A shard's thread. Should it ever panic, its sockets are closed and their clients come back to a new one.
fn run(app: &Arc<App>, inboxes: &Arc<[Inbox]>, index: usize, runtime: &Handle) {
    loop {
        let mut shard = match Shard::new(app.clone(), inboxes.clone(), index, runtime.clone()) {
            Ok(shard) => shard,
            Err(error) => return tracing::error!(%error, index, "cannot start a shard"),
        };
        match catch_unwind(AssertUnwindSafe(|| shard.run())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return tracing::error!(%error, index, "a shard has ended"),
            Err(_) => tracing::error!(index, "a shard has panicked, and begins anew"),
        }
    }
}

struct Shard {
    app: Arc<App>,
    inboxes: Arc<[Inbox]>,
    index: usize,
    runtime: Handle,
    epoll: Epoll,
    connections: Slab<Connection>,
    channels: HashMap<SaleId, Channel>,
    pace: Pace,
    wheel: Wheel,
    /// Connections whose turn of reading ended before their bytes did.
    again: Vec<u32>,
    started: Instant,
    /// ms since the start, which was at 1, as of this turn.
    now: u64,
    /// Sockets leave at this time at the latest.
    leaves_at: Option<u64>,
    stopping: bool,
    frames: Counter,
    skipped: Counter,
    round: Histogram,
    lag: Histogram,
}

/// Socket ids begin anywhere, so that those of several gateways differ.
fn next_id() -> u64 {
    static FIRST: std::sync::OnceLock<AtomicU64> = std::sync::OnceLock::new();
    FIRST
        .get_or_init(|| AtomicU64::new(rand::random()))
        .fetch_add(1, Ordering::Relaxed)
}

impl Shard {
    fn new(app: Arc<App>, inboxes: Arc<[Inbox]>, index: usize, runtime: Handle) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&inboxes[index].bell, EpollEvent::new(EpollFlags::EPOLLIN, INBOX))?;
        let pace = Pace::new(app.limits.tick_percent, Instant::now());
        Ok(Self {
            app,
            inboxes,
            index,
            runtime,
            epoll,
            connections: Slab::new(),
            channels: HashMap::new(),
            pace,
            wheel: Wheel::new(0),
            again: Vec::new(),
            started: Instant::now(),
            now: 1,
            leaves_at: None,
            stopping: false,
            frames: metrics::counter!(name::FRAMES),
            skipped: metrics::counter!(name::TICKS_SKIPPED),
            round: metrics::histogram!(name::TICK_ROUND),
            lag: metrics::histogram!(name::TICK_LAG),
        })
    }

    fn run(&mut self) -> nix::Result<()> {
        let mut events = vec![EpollEvent::empty(); EVENTS];
        while !self.stopping {
            let most = if self.pace.is_in_round() {
                EVENTS_IN_A_ROUND
            } else {
                EVENTS
            };
            let ready = match self.epoll.wait(&mut events[..most], self.sleep()) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error),
            };
            self.now = self.ms_at(Instant::now());
            for event in &events[..ready] {
                if event.data() != INBOX {
                    self.ready(event.data() as u32, event.events());
                }
            }
            for key in std::mem::take(&mut self.again) {
                self.pump(key);
            }
            for mail in self.inboxes[self.index].take() {
                self.handle(mail);
            }
            while let Some((slot, keys)) = self.wheel.pass(self.now) {
                for key in keys {
                    self.look(key, slot);
                }
            }
            self.go_round();
        }
        Ok(())
    }

    fn ms_at(&self, now: Instant) -> u64 {
        1 + (now - self.started).as_millis() as u64
    }

    fn sleep(&self) -> EpollTimeout {
        if !self.again.is_empty() || self.pace.is_in_round() {
            return EpollTimeout::ZERO;
        }
        let now = Instant::now();
        let wheel = self.wheel.sleep_ms(self.ms_at(now));
        let due = self.channels.values().any(Channel::is_due);
        let round = due.then(|| self.pace.rest(now).as_millis() as u64);
        match wheel.into_iter().chain(round).min() {
            // Rounded up: to wake before the slot has passed would be to wake twice.
            Some(ms) => EpollTimeout::try_from(ms + 1).unwrap_or(EpollTimeout::MAX),
            None => EpollTimeout::NONE,
        }
    }

    fn handle(&mut self, mail: Mail) {
        match mail {
            Mail::Open(stream, read, place) => self.open(stream, read, place),
            Mail::Answer(socket, answer) => {
                if self.has(socket) {
                    self.answer(socket.key, *answer);
                }
            }
            Mail::Event(socket, frame) => {
                if self.has(socket) {
                    self.event(socket.key, frame);
                }
            }
            Mail::Announce(sale, frame) => {
                let watchers: Option<Vec<u32>> =
                    self.channels.get(&sale).map(|channel| channel.keys().collect());
                for key in watchers.unwrap_or_default() {
                    self.event(key, frame.clone());
                }
            }
            Mail::Close(socket, code) => {
                if self.has(socket) {
                    self.end(socket.key, End::Close(code));
                }
            }
            Mail::Tick(tick) => {
                if let Some(channel) = self.channels.get_mut(&tick.tick.sale) {
                    channel.take(tick, Instant::now());
                }
            }
            Mail::CountActive => self.count_active(),
            Mail::Drain(window_ms) => self.drain(window_ms),
            Mail::Stop => self.stopping = true,
        }
    }

    /// Whether a socket is still the one that was meant.
    fn has(&self, socket: SocketRef) -> bool {
        self.connections
            .get(socket.key as usize)
            .is_some_and(|connection| connection.id == socket.id)
    }

    // --------------------------------------------------------------------------------------------- a connection's life

    fn open(&mut self, stream: TcpStream, read: Vec<u8>, place: Place) {
        let entry = self.connections.vacant_entry();
        let key = entry.key() as u32;
        // Edges, of both kinds, once: no system call when a socket blocks, or when its command runs.
        let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        if let Err(error) = self.epoll.add(&stream, EpollEvent::new(edges, u64::from(key))) {
            return tracing::warn!(%error, "cannot watch a socket");
        }
        entry.insert(Connection::new(next_id(), stream, read, place, self.now));
        if self.leaves_at.is_some() {
            self.send_bye(key);
        }
        self.settle(key);
        self.pump(key);
    }

    fn ready(&mut self, key: u32, events: EpollFlags) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        if events.contains(EpollFlags::EPOLLOUT)
            && let Err(end) = connection.flush(self.now)
        {
            return self.end(key, end);
        }
        self.send_ticks(key, &[]);
        self.pump(key);
    }

    /// Reads what the client has sent, up to a request that takes time.
    fn pump(&mut self, key: u32) {
        let mut turn = Turn::begin();
        while let Some(connection) = self.connections.get_mut(key as usize) {
            if connection.running && !connection.is_closing() {
                break;
            }
            match connection.next(&self.app.limits, &mut turn, self.now) {
                Ok(Next::Request(request)) => self.request(key, request),
                Ok(Next::Nothing) => break,
                Ok(Next::Later) => {
                    self.again.push(key);
                    break;
                }
                Err(end) => return self.end(key, end),
            }
        }
        self.settle(key);
    }

    fn request(&mut self, key: u32, request: Request) {
        let (limits, now) = (&self.app.limits, self.now);
        let connection = &mut self.connections[key as usize];
        let id = request.id;
        let socket = SocketRef {
            id: connection.id,
            shard: self.index as u32,
            key,
        };
        let refused = match (connection.caller(), &request.command) {
            (None, Command::Hello { .. }) => None,
            (None, _) => Some(Code::HelloFirst),
            (Some(_), Command::Hello { .. }) => Some(Code::HelloTwice),
            (Some(_), _) => None,
        };
        if let Some(code) = refused {
            if let Err(end) = connection.offence(Some(id), code.into(), limits, now) {
                self.end(key, end);
            }
            return;
        }
        match request.command {
            Command::Unwatch { sale } => {
                self.unwatch(key, sale);
                return self.reply(key, id, Ok(Done::Unwatched { sale }));
            }
            Command::Watch { sale }
                if connection.watched.len() >= limits.sales_per_socket
                    && connection.watched.iter().all(|watched| watched.sale != sale) =>
            {
                return self.reply(key, id, Err(Code::TooManySales.into()));
            }
            _ => {}
        }
        connection.running = true;
        if let Command::Hello { changes, .. } = &request.command {
            connection.takes_changes = *changes;
        }
        let caller = connection.caller().cloned();
        let (app, inboxes, index) = (self.app.clone(), self.inboxes.clone(), self.index);
        self.runtime.spawn(async move {
            let answer = match (caller, request.command) {
                (
                    None,
                    Command::Hello {
                        token,
                        device,
                        resume,
                        changes: _,
                    },
                ) => task::hello(&app, socket, id, &token, device, resume).await,
                (Some(caller), command) => task::run(&app, &caller, Request { id, command }).await,
                (None, _) => return,
            };
            inboxes[index].post(Mail::Answer(socket, Box::new(answer)));
        });
    }

    fn answer(&mut self, key: u32, answer: task::Answer) {
        let (limits, now) = (&self.app.limits, self.now);
        let connection = &mut self.connections[key as usize];
        connection.running = false;
        if connection.is_closing() {
            return;
        }
        let mut came_early = Vec::new();
        if let Some(registration) = answer.registration
            && let Standing::Stranger { early, .. } =
                std::mem::replace(&mut connection.standing, Standing::Known(registration))
        {
            came_early = early;
        }
        if answer.offence {
            if let Err(reject) = answer.outcome
                && let Err(end) = connection.offence(Some(answer.id), reject, limits, now)
            {
                return self.end(key, end);
            }
        } else {
            for (sale, interest) in answer.watched {
                self.watch(key, sale, interest);
            }
            self.reply(key, answer.id, answer.outcome);
        }
        if let Some(code) = answer.close {
            return self.end(key, End::Close(code));
        }
        for frame in came_early {
            self.event(key, frame);
        }
        self.pump(key);
    }

    fn event(&mut self, key: u32, frame: Bytes) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        if let Standing::Stranger { early, .. } = &mut connection.standing {
            if early.len() == EARLY_EVENTS {
                return self.end(key, End::Close(CloseCode::TooSlow));
            }
            return early.push(frame);
        }
        match connection.send(&[&frame], self.now) {
            Ok(()) => {
                self.frames.increment(1);
                self.settle(key);
            }
            Err(end) => self.end(key, end),
        }
    }

    fn reply(&mut self, key: u32, id: CommandId, outcome: Result<Done, Reject>) {
        let states = match &outcome {
            Ok(Done::Welcome(welcome)) => welcome.states.as_slice(),
            Ok(Done::State(state)) => std::slice::from_ref(&**state),
            _ => &[],
        };
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        for tick in states.iter().map(|state| &state.tick) {
            // A state may overtake the ticks before it.
            let mut watched = connection.watched.iter();
            if let Some(watched) = watched.find(|watched| watched.sale == tick.sale)
                && let Some(channel) = self.channels.get_mut(&tick.sale)
            {
                channel.note_seen(watched.at, tick.seq);
            }
        }
        let outcome = match outcome {
            Ok(done) => Outcome::Ok(done),
            Err(reject) => Outcome::Error(reject),
        };
        let reply = connection::frame_of(&ServerMessage::Reply {
            id: Some(id),
            outcome,
        });
        self.send_ticks(key, &[reply]);
    }

    fn end(&mut self, key: u32, end: End) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        let (word, code) = match end {
            End::Close(code) => (Some(code.word()), Some(code)),
            End::Closed => (Some("client_left"), None),
            End::Gone => (None, None),
        };
        let first = !connection.is_closing();
        if first {
            let word = word.unwrap_or("client_left");
            metrics::counter!(name::SOCKETS_CLOSED, "reason" => word).increment(1);
            let sales: Vec<SaleId> = connection.watched.iter().map(|watched| watched.sale).collect();
            for sale in sales {
                self.unwatch(key, sale);
            }
        }
        let connection = &mut self.connections[key as usize];
        if first && word.is_some() && connection.close(code, self.now) {
            self.settle(key);
            // What has come already will not be announced again.
            self.again.push(key);
        } else {
            // Dropped, and with that closed and out of the epoll set.
            self.connections.remove(key as usize);
        }
    }

    // ---------------------------------------------------------------------------------------------------------- timing

    /// After a connection was given something to read or to send: sees to it that rounds of ticks do not write past what it
    /// is owed, and that it is looked at in time.
    fn settle(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        let socket = connection.socket();
        if socket.is_some() != connection.in_rounds {
            connection.in_rounds = socket.is_some();
            for watched in &connection.watched {
                if let Some(channel) = self.channels.get_mut(&watched.sale) {
                    channel.set_socket(watched.at, socket);
                }
            }
        }
        let deadline =
            connection.deadline(&self.app.limits, self.leaves_at, self.now, crate::clock::now_ms());
        // One that stands earlier is asked then, and put where it belongs.
        if connection.armed == 0 || self.wheel.slot_of(deadline) < connection.armed {
            connection.armed = self.wheel.arm(key, deadline);
        }
    }

    /// The connection's slot has passed.
    fn look(&mut self, key: u32, slot: u64) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        // Somebody who stood here before it, or an earlier place of its own.
        if connection.armed != slot {
            return;
        }
        connection.armed = 0;
        match connection.timed_out(&self.app.limits, self.leaves_at, self.now, crate::clock::now_ms()) {
            Some(end) => self.end(key, end),
            None => self.settle(key),
        }
    }

    fn drain(&mut self, window_ms: u64) {
        self.leaves_at = Some(self.now + window_ms);
        let keys: Vec<u32> = self.connections.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.send_bye(key);
            self.settle(key);
        }
    }

    fn send_bye(&mut self, key: u32) {
        let Some(leaves_at) = self.leaves_at else { return };
        let connection = &mut self.connections[key as usize];
        let bye = connection::frame_of(&ServerMessage::Bye {
            code: CloseCode::Draining.number(),
            text: CloseCode::Draining.text().into(),
            after_ms: 0,
            window_ms: leaves_at.saturating_sub(self.now),
        });
        if let Err(end) = connection.send(&[&bye], self.now) {
            self.end(key, end);
        }
    }

    // ----------------------------------------------------------------------------------------------------------- ticks

    fn watch(&mut self, key: u32, sale: SaleId, interest: Interest) {
        let connection = &mut self.connections[key as usize];
        if connection.watched.iter().any(|watched| watched.sale == sale) {
            return;
        }
        // From now on ticks come by the inbox; what came before is the hub's.
        let channel = self
            .channels
            .entry(sale)
            .or_insert_with(|| Channel::new(self.app.hub.last_live(sale), interest));
        let at = channel.add(key, connection.socket(), connection.takes_changes);
        connection.watched.push(Watched { sale, at });
    }

    fn unwatch(&mut self, key: u32, sale: SaleId) {
        let connection = &mut self.connections[key as usize];
        let Some(index) = connection.watched.iter().position(|watched| watched.sale == sale) else {
            return;
        };
        let at = connection.watched.swap_remove(index).at;
        let Some(channel) = self.channels.get_mut(&sale) else {
            return;
        };
        if let Some(moved) = channel.remove(at)
            && let Some(connection) = self.connections.get_mut(moved as usize)
            && let Some(watched) = connection.watched.iter_mut().find(|watched| watched.sale == sale)
        {
            watched.at = at;
        }
        if channel.is_empty() {
            self.channels.remove(&sale);
        }
    }

    /// Gives the next few watchers of each sale its newest tick, or begins a round if one is due.
    fn go_round(&mut self) {
        let now = Instant::now();
        if !self.pace.is_in_round() && self.pace.rest(now).is_zero() {
            let due = self.channels.values_mut().filter(|channel| channel.is_due());
            due.for_each(Channel::begin);
        }
        let in_round = self.channels.iter().filter(|(_, channel)| channel.is_in_round());
        for sale in in_round.map(|(sale, _)| *sale).collect::<Vec<_>>() {
            let Some(channel) = self.channels.get_mut(&sale) else {
                continue;
            };
            self.pace.begin(now);
            let passed = channel.pass(TICKS_IN_A_TURN);
            self.frames.increment(passed.sent);
            self.skipped.increment(passed.skipped);
            // Before the next sale's turn: it may have the same sockets.
            for (key, rest) in passed.unsent {
                self.finish(key, rest);
            }
        }
        if !self.channels.values().any(Channel::is_in_round) {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        let now = Instant::now();
        let Some(took) = self.pace.end(now) else {
            return;
        };
        self.round.record(took);
        for due in self.channels.values_mut().filter_map(Channel::end) {
            self.lag.record(now - due);
        }
    }

    /// A round could not write all of a tick to a connection's socket.
    fn finish(&mut self, key: u32, rest: Result<Bytes, Errno>) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        connection.in_rounds = false;
        match rest
            .map_err(|_| End::Gone)
            .and_then(|rest| connection.finish(&rest, self.now))
        {
            Ok(()) => self.settle(key),
            Err(end) => self.end(key, end),
        }
    }

    /// Sends frames to a connection, and with them, in one write, the newest tick of each sale that it has not seen.
    fn send_ticks(&mut self, key: u32, frames: &[Bytes]) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        let mut due: Vec<Bytes> = frames.to_vec();
        if connection.keeps_up() {
            for watched in &connection.watched {
                if let Some(channel) = self.channels.get_mut(&watched.sale)
                    && let Some(live) = channel.unseen(watched.at).cloned()
                {
                    channel.note_seen(watched.at, live.tick.seq);
                    due.push(live.frame.clone());
                }
            }
        }
        if due.is_empty() {
            return;
        }
        let slices: Vec<&[u8]> = due.iter().map(|frame| &frame[..]).collect();
        match connection.send(&slices, self.now) {
            Ok(()) => {
                self.frames.increment(due.len() as u64);
                self.settle(key);
            }
            Err(end) => self.end(key, end),
        }
    }

    /// Tells Redis how many look at what, for the operator's number of people looking.
    fn count_active(&self) {
        for (sale, channel) in &self.channels {
            let connections = channel
                .keys()
                .filter_map(|key| self.connections.get(key as usize));
            let people: HashSet<_> = connections
                .filter_map(Connection::caller)
                .map(|caller| &caller.shopper)
                .collect();
            let (app, sale, index, people) = (self.app.clone(), *sale, self.index, people.len());
            self.runtime
                .spawn(async move { mark_active(&app, sale, index, people).await });
        }
    }
}

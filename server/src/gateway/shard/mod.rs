//! The threads that own the sockets. Each has an epoll instance, a timer wheel and its own sockets, and only moves bytes:
//! requests that need a store are carried out elsewhere ([`task`]) and come back through the inbox.
//!
//! A tick is one frame for all watchers. It is written directly to each socket in turn ([`channel`]); a socket that is still owed
//! something is skipped, and gets the newest tick when it has caught up. A tick that arrives during a round replaces it, and the
//! next round waits for the shard's [`pace`]: under any load a shard sends its newest state, less often rather than late.

mod channel;
mod connection;
mod deadlines;
mod inbound;
mod inbox;
mod life;
mod outbox;
mod pace;
mod rate;
mod rounds;
mod shards;
mod task;
mod wheel;

pub(crate) use connection::{Arrival, text_frame};
pub use shards::Shards;
pub use task::Backend;

use channel::Channel;
use connection::{Connection, End};
use flashsale_engine::{here::SocketRef, telemetry::name};
use flashsale_protocol::SaleId;
use inbox::{Inbox, Mail};
use metrics::{Counter, Histogram};
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use pace::{Pace, Shares};
use slab::Slab;
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use wheel::Wheel;

/// Events taken from the kernel at once.
const EVENTS: usize = 1_024;
/// Events taken before each turn of a round of ticks: a crowd of newcomers, or a flood, may delay a round by about a tenth; the
/// rest waits for its end. While commands are carried out, the round waits for more.
const EVENTS_IN_A_ROUND: usize = 8;
const EVENTS_WHILE_BUSY: usize = 64;
/// The inbox among the epoll events.
const INBOX: u64 = u64::MAX;

/// A shard's thread. If it panics, its sockets close and the clients come back to a new shard.
fn run(backend: &Arc<Backend>, inboxes: &Arc<[Inbox]>, index: usize, runtime: &Handle) {
    loop {
        let mut shard = match Shard::new(backend.clone(), inboxes.clone(), index, runtime.clone()) {
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
    backend: Arc<Backend>,
    inboxes: Arc<[Inbox]>,
    index: usize,
    runtime: Handle,
    epoll: Epoll,
    connections: Slab<Connection>,
    channels: HashMap<SaleId, Channel>,
    pace: Pace,
    /// Shoppers' commands that this process is carrying out, in all shards.
    commands: Arc<AtomicUsize>,
    wheel: Wheel,
    /// Connections whose turn of reading ended before their bytes.
    again: Vec<u32>,
    started: Instant,
    /// ms since the start, which was 1, as of this turn.
    now: u64,
    /// The time by which all sockets leave.
    leaves_at: Option<u64>,
    stopping: bool,
    frames: Counter,
    skipped: Counter,
    round: Histogram,
    lag: Histogram,
}

impl Shard {
    fn new(backend: Arc<Backend>, inboxes: Arc<[Inbox]>, index: usize, runtime: Handle) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&inboxes[index].bell, EpollEvent::new(EpollFlags::EPOLLIN, INBOX))?;
        let shares = Shares {
            quiet: backend.limits.tick_percent,
            busy: backend.limits.tick_percent_busy,
        };
        let pace = Pace::new(shares, Instant::now());
        let commands = backend.commands.clone();
        Ok(Self {
            backend,
            inboxes,
            index,
            runtime,
            epoll,
            connections: Slab::new(),
            channels: HashMap::new(),
            pace,
            commands,
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
            let most = match (self.pace.is_in_round(), self.is_busy()) {
                (false, _) => EVENTS,
                (true, true) => EVENTS_WHILE_BUSY,
                (true, false) => EVENTS_IN_A_ROUND,
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
        if !self.again.is_empty() {
            return EpollTimeout::ZERO;
        }
        let now = Instant::now();
        let ticks = match self.ticks_in(now) {
            Some(Duration::ZERO) => return EpollTimeout::ZERO,
            ticks => ticks.map(|rest| rest.as_millis() as u64),
        };
        let wheel = self.wheel.sleep_ms(self.ms_at(now));
        match wheel.into_iter().chain(ticks).min() {
            // Rounded up, because a wake-up before the slot has passed would need a second one.
            Some(ms) => EpollTimeout::try_from(ms + 1).unwrap_or(EpollTimeout::MAX),
            None => EpollTimeout::NONE,
        }
    }

    fn handle(&mut self, mail: Mail) {
        match mail {
            Mail::Open(arrival, place) => self.open(arrival, place),
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

    /// Whether shoppers wait for commands of this process: their answers come before ticks.
    fn is_busy(&self) -> bool {
        self.commands.load(Ordering::Relaxed) > 0
    }

    /// Whether this socket is still the one that was meant.
    fn has(&self, socket: SocketRef) -> bool {
        self.connections
            .get(socket.key as usize)
            .is_some_and(|connection| connection.id == socket.id)
    }
}

//! The gateway's way to its shards: one of them gets a new socket, and all of them get announcements.

use super::{
    connection::Arrival,
    inbox::{Inbox, Mail},
    run,
    task::Backend,
};
use crate::gateway::throttle::Place;
use flashsale_engine::here::{LiveTick, SocketRef};
use flashsale_protocol::{CloseCode, SaleId};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::Bytes;

/// All shards, for the rest of the gateway.
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

    /// Starts the threads; the current runtime carries out commands.
    pub fn start(self: &Arc<Self>, backend: Backend) -> std::io::Result<()> {
        let backend = Arc::new(backend);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..self.inboxes.len() {
            let (backend, inboxes, runtime) = (backend.clone(), self.inboxes.clone(), Handle::current());
            threads.push(
                std::thread::Builder::new()
                    .name(format!("shard-{index}"))
                    .spawn(move || run(&backend, &inboxes, index, &runtime))?,
            );
        }
        Ok(())
    }

    /// Gives a socket to the next shard in turn.
    pub(crate) fn adopt(&self, arrival: Arrival, place: Place) {
        let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.inboxes[shard].post(Mail::Open(arrival, place));
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

    pub(crate) fn count_active(&self) {
        self.post_all(|| Mail::CountActive);
    }

    pub fn drain(&self, window_ms: u64) {
        self.post_all(|| Mail::Drain(window_ms));
    }

    /// Ends the threads and their remaining sockets.
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

//! Other threads' way into a shard: mail, and the bell that wakes it.

use super::{connection::Arrival, task};
use crate::gateway::throttle::Place;
use flashsale_engine::here::{LiveTick, SocketRef};
use flashsale_protocol::{CloseCode, SaleId};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio_tungstenite::tungstenite::Bytes;

/// Messages of other threads to a shard.
pub enum Mail {
    /// A new socket.
    Open(Arrival, Place),
    Answer(SocketRef, Box<task::RequestAnswer>),
    /// A frame for one socket.
    Event(SocketRef, Bytes),
    /// A frame for everybody who watches a sale.
    Announce(SaleId, Bytes),
    Close(SocketRef, CloseCode),
    Tick(Arc<LiveTick>),
    /// Tell Redis how many people look at which sale.
    CountActive,
    /// Tell everybody to move within this many ms.
    Drain(u64),
    Stop,
}

/// The way into a shard.
pub(super) struct Inbox {
    mail: Mutex<Vec<Mail>>,
    /// The shard has already been woken.
    woken: AtomicBool,
    pub bell: EventFd,
}

impl Inbox {
    pub fn open() -> nix::Result<Self> {
        Ok(Self {
            mail: Mutex::default(),
            woken: AtomicBool::new(false),
            bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }

    pub fn post(&self, mail: Mail) {
        self.mail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mail);
        if !self.woken.swap(true, Ordering::AcqRel) {
            // It fails only if the bell has rung already.
            let _ = self.bell.write(1);
        }
    }

    pub fn take(&self) -> Vec<Mail> {
        if !self.woken.load(Ordering::Acquire) {
            return Vec::new();
        }
        let _ = self.bell.read();
        self.woken.store(false, Ordering::Release);
        std::mem::take(&mut self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

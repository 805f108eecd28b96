//! A connection's life: opened, read and answered, closed.

use super::{
    Shard,
    connection::{self, Arrival, Connection, End, Identity, Next},
    inbound::ReadingTurn,
    inbox::Mail,
    task::{self, RequestAnswer, UnderWay},
};
use crate::gateway::throttle::Place;
use flashsale_engine::{command, here::SocketRef, telemetry::name};
use flashsale_protocol::{
    CloseCode, Code, Command, CommandId, ConnectionCommand, Done, Outcome, Reject, Request, SaleId,
    ServerMessage,
};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_tungstenite::tungstenite::Bytes;

/// Events that a socket may have before its welcome is sent.
const EARLY_EVENTS: usize = 64;

/// Socket ids start at a random number, so that those of several gateways differ.
fn next_id() -> u64 {
    static FIRST: std::sync::OnceLock<AtomicU64> = std::sync::OnceLock::new();
    FIRST
        .get_or_init(|| AtomicU64::new(rand::random()))
        .fetch_add(1, Ordering::Relaxed)
}

impl Shard {
    pub(super) fn open(&mut self, arrival: Arrival, place: Place) {
        let entry = self.connections.vacant_entry();
        let key = entry.key() as u32;
        // Both kinds of edges, registered once: no system call when a socket blocks or its command runs.
        let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        if let Err(error) = self
            .epoll
            .add(&arrival.stream, EpollEvent::new(edges, u64::from(key)))
        {
            return tracing::warn!(%error, "cannot watch a socket");
        }
        entry.insert(Connection::new(next_id(), arrival, place, self.now));
        if self.leaves_at.is_some() {
            self.send_bye(key);
        }
        self.settle(key);
        self.pump(key);
    }

    pub(super) fn ready(&mut self, key: u32, events: EpollFlags) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        if events.contains(EpollFlags::EPOLLOUT)
            && let Err(end) = connection.flush(self.now)
        {
            return self.end(key, end);
        }
        self.pump(key);
        // A command's answer brings the newest tick in the same write.
        let is_answered = |connection: &Connection| connection.running;
        if !self.connections.get(key as usize).is_some_and(is_answered) {
            self.send_ticks(key, &[]);
        }
    }

    /// Reads the client's bytes, up to a request that takes time.
    pub(super) fn pump(&mut self, key: u32) {
        let mut turn = ReadingTurn::begin();
        while let Some(connection) = self.connections.get_mut(key as usize) {
            if connection.running && !connection.is_closing() {
                break;
            }
            match connection.next(&self.backend.limits, &mut turn, self.now) {
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

    fn request(&mut self, key: u32, Request { id, command }: Request) {
        let connection = &mut self.connections[key as usize];
        let caller = connection.caller().cloned();
        let backend = self.backend.clone();
        match (caller, command) {
            (
                None,
                Command::Connection(ConnectionCommand::Hello {
                    token,
                    device,
                    resume,
                    changes,
                }),
            ) => {
                connection.takes_changes = changes;
                let page = connection.page();
                let socket = self.socket(key);
                self.carry_out(key, id, async move {
                    let client = task::Client { socket, page, device };
                    task::hello(&backend, client, id, &token, resume).await
                });
            }
            (None, _) => self.offence(key, id, Code::HelloFirst),
            (Some(_), Command::Connection(ConnectionCommand::Hello { .. })) => {
                self.offence(key, id, Code::HelloTwice);
            }
            (Some(_), Command::Connection(ConnectionCommand::Unwatch { sale })) => {
                self.unwatch(key, sale);
                self.reply(key, id, Ok(Done::Unwatched { sale }));
            }
            (Some(caller), Command::Connection(ConnectionCommand::Watch { sale })) => {
                let (limits, watched) = (&self.backend.limits, &connection.watched);
                if watched.len() >= limits.sales_per_socket
                    && watched.iter().all(|watched| watched.sale != sale)
                {
                    return self.reply(key, id, Err(Code::TooManySales.into()));
                }
                self.carry_out(
                    key,
                    id,
                    async move { task::watch(&backend, &caller, id, sale).await },
                );
            }
            (Some(_), Command::Connection(ConnectionCommand::Ping { t })) => {
                self.carry_out(key, id, async move { task::ping(&backend, id, t).await });
            }
            (Some(caller), Command::Shop(command)) => {
                let address = command.asks_for_place().then(|| connection.address());
                if let Some(Err(reject)) = address.map(|address| backend.throttle.allow_join(address)) {
                    return self.reply(key, id, Err(reject));
                }
                let under_way = UnderWay::new(&backend.commands);
                self.carry_out(key, id, async move {
                    let _under_way = under_way;
                    let answer = command::run(&backend.shop, &caller, id, command).await;
                    if let (Some(address), Err(_)) = (address, &answer) {
                        backend.throttle.give_join_back(address);
                    }
                    RequestAnswer::new(id, answer)
                });
            }
        }
    }

    /// Carries a request out away from this thread. The connection reads no more until the answer is here.
    fn carry_out(
        &mut self,
        key: u32,
        id: CommandId,
        request: impl Future<Output = RequestAnswer> + Send + 'static,
    ) {
        let connection = &mut self.connections[key as usize];
        connection.running = true;
        // An operator's session may have ended; others have a token, which says when it ends.
        let operator = connection.caller().filter(|caller| caller.seat().is_some());
        let operator = operator.cloned().map(|caller| (self.backend.clone(), caller));
        let socket = self.socket(key);
        let (inboxes, index) = (self.inboxes.clone(), self.index);
        self.runtime.spawn(async move {
            let ended = match operator {
                Some((backend, caller)) => Box::pin(task::session_ended(&backend, &caller, id)).await,
                None => None,
            };
            let answer = match ended {
                Some(answer) => answer,
                None => request.await,
            };
            for oldest in &answer.too_many {
                inboxes[oldest.shard as usize].post(Mail::Close(*oldest, CloseCode::TooManySockets));
            }
            inboxes[index].post(Mail::Answer(socket, Box::new(answer)));
        });
    }

    fn socket(&self, key: u32) -> SocketRef {
        SocketRef {
            id: self.connections[key as usize].id,
            shard: self.index as u32,
            key,
        }
    }

    fn offence(&mut self, key: u32, id: CommandId, code: Code) {
        let (limits, now) = (&self.backend.limits, self.now);
        let connection = &mut self.connections[key as usize];
        if let Err(end) = connection.offence(Some(id), code.into(), limits, now) {
            self.end(key, end);
        }
    }

    pub(super) fn answer(&mut self, key: u32, answer: RequestAnswer) {
        let (limits, now) = (&self.backend.limits, self.now);
        let connection = &mut self.connections[key as usize];
        connection.running = false;
        if connection.is_closing() {
            return;
        }
        let mut came_early = Vec::new();
        if let Some(registration) = answer.registration
            && let Identity::Stranger { early, .. } =
                std::mem::replace(&mut connection.standing, Identity::Known(registration))
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

    pub(super) fn event(&mut self, key: u32, frame: Bytes) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        if let Identity::Stranger { early, .. } = &mut connection.standing {
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
            // A state may overtake earlier ticks.
            let mut watched = connection.watched.iter();
            if let Some(watched) = watched.find(|watched| watched.sale == tick.sale)
                && let Some(channel) = self.channels.get_mut(&tick.sale)
            {
                channel.note_seen(watched.at, tick);
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

    pub(super) fn end(&mut self, key: u32, end: End) {
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
            // Bytes that are already here are not announced again.
            self.again.push(key);
        } else {
            // Dropping it closes it and takes it out of the epoll set.
            self.connections.remove(key as usize);
        }
    }
}

//! Comparisons for the gateway, over the same sockets in the same run: a bare loop that writes ready frames, and the way of
//! axum's own examples (one task per socket, and a broadcast channel).

use super::{now_us, tick_of};
use anyhow::Result;
use axum::{
    Router,
    extract::{State, WebSocketUpgrade, ws},
    response::IntoResponse,
    routing::any,
};
use clap::{Args, ValueEnum};
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::frame::Utf8Bytes};

#[derive(Args)]
pub struct Options {
    #[arg(long, value_enum)]
    kind: Kind,
    /// Ticks a second.
    #[arg(long)]
    rate: f64,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    Floor,
    /// The bare loop with frames as short as binary ones could be: the cost of the bytes alone.
    Short,
    Axum,
}

pub async fn run(options: Options) -> Result<bool> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready http://{}", listener.local_addr()?);
    let every = Duration::from_secs_f64(1.0 / options.rate);
    match options.kind {
        Kind::Floor => tokio::task::block_in_place(|| floor(&listener, every, tick_of)),
        Kind::Short => tokio::task::block_in_place(|| floor(&listener, every, short)),
        Kind::Axum => axum_broadcast(listener, every).await,
    }
}

/// About as many bytes as the numbers of a change alone need.
fn short(seq: u64) -> String {
    format!(r#"{{"type":"tick","seq":{seq}}}"#)
}

/// Accepts, does the handshake, and writes each tick to every socket in turn. Ends with its parent.
fn floor(listener: &TcpListener, every: Duration, tick: fn(u64) -> String) -> Result<bool> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX))?;
    let mut sockets: Vec<Option<TcpStream>> = Vec::new();
    let mut upgraded: Vec<usize> = Vec::new();
    let mut due = Instant::now() + every;
    let mut events = [EpollEvent::empty(); 512];
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let timeout = EpollTimeout::try_from(left.as_millis()).unwrap_or(EpollTimeout::ZERO);
        let ready = match epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..ready] {
            if event.data() == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                    epoll.add(&stream, EpollEvent::new(edges, sockets.len() as u64))?;
                    sockets.push(Some(stream));
                }
                continue;
            }
            let index = event.data() as usize;
            let Some(stream) = &mut sockets[index] else {
                continue;
            };
            let mut bytes = [0; 2048];
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => sockets[index] = None,
                Ok(read) => {
                    if let Some(answer) = accepted(&bytes[..read]) {
                        stream.write_all(answer.as_bytes())?;
                        upgraded.push(index);
                    }
                }
            }
        }
        if Instant::now() >= due {
            due += every;
            let frame = crate::watch::framed(&tick(now_us()));
            for index in &upgraded {
                if let Some(stream) = &mut sockets[*index] {
                    // A full socket misses this tick.
                    let _ = stream.write(&frame);
                }
            }
        }
    }
}

fn accepted(request: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(request).ok()?;
    let key = text.split("Sec-WebSocket-Key: ").nth(1)?.split("\r\n").next()?;
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    ))
}

type Ticks = broadcast::Sender<Utf8Bytes>;

async fn axum_broadcast(listener: TcpListener, every: Duration) -> Result<bool> {
    listener.set_nonblocking(true)?;
    let (ticks, _) = broadcast::channel(16);
    let app = Router::new().route("/ws", any(upgrade)).with_state(ticks.clone());
    let listener = axum::serve::ListenerExt::tap_io(tokio::net::TcpListener::from_std(listener)?, |stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut clock = tokio::time::interval(every);
    loop {
        clock.tick().await;
        let _ = ticks.send(tick_of(now_us()).into());
    }
}

async fn upgrade(State(ticks): State<Ticks>, upgrade: WebSocketUpgrade) -> impl IntoResponse {
    upgrade.on_upgrade(|mut socket| async move {
        let mut ticks = ticks.subscribe();
        loop {
            tokio::select! {
                tick = ticks.recv() => match tick {
                    Ok(tick) => {
                        let text = ws::Message::Text(tick.as_str().into());
                        if socket.send(text).await.is_err() { return }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                heard = socket.recv() => if !matches!(heard, Some(Ok(_))) { return },
            }
        }
    })
}

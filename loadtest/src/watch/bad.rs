//! Neighbours that misbehave: they read nothing, begin and do not finish, or send too much, and come again when they are
//! thrown out. The crowd beside them must not notice.

use super::reading::on_core;
use crate::shopper::{command_id, connect};
use anyhow::Result;
use flashsale_protocol::{Command, Request, SaleId};
use futures_util::{SinkExt, StreamExt};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    runtime::{Builder, Runtime},
};
use tokio_tungstenite::tungstenite::Message;

/// Of each kind.
const NEIGHBOURS: u8 = 100;
const PAUSE: Duration = Duration::from_secs(1);
/// Between two pings of somebody who floods: far more than a client may send.
const FLOOD: Duration = Duration::from_millis(4);
/// So that whoever does not read is full soon.
const SMALL_BUFFER_BYTES: u32 = 4_096;

#[derive(Clone, Copy)]
enum Habit {
    /// Watches the sale, and reads nothing.
    Deaf,
    HalfHandshake,
    HalfFrame,
    Flood,
}

/// They go on until this is dropped.
pub struct Neighbours(Option<Runtime>);

impl Drop for Neighbours {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Neighbours {
    /// On the core of the other shoppers: what they cost the server is what they make it do.
    pub fn start(server: SocketAddr, sale: SaleId, token: &str, core: usize) -> Result<Self> {
        let runtime = on_core(core, || {
            Builder::new_multi_thread().worker_threads(1).enable_all().build()
        })??;
        for (kind, habit) in [Habit::Deaf, Habit::HalfHandshake, Habit::HalfFrame, Habit::Flood]
            .into_iter()
            .enumerate()
        {
            for number in 0..NEIGHBOURS {
                let (token, from) = (token.to_owned(), Ipv4Addr::new(127, 1, kind as u8, 2 + number));
                runtime.spawn(async move {
                    loop {
                        // However it ended, they come again.
                        let _ = visit(habit, server, from, sale, &token).await;
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        Ok(Self(Some(runtime)))
    }
}

/// Comes, misbehaves, and stays until it is closed.
async fn visit(habit: Habit, server: SocketAddr, from: Ipv4Addr, sale: SaleId, token: &str) -> Result<()> {
    match habit {
        Habit::HalfHandshake | Habit::Deaf => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((from, 0)))?;
            socket.set_recv_buffer_size(SMALL_BUFFER_BYTES)?;
            let mut stream = socket.connect(server).await?;
            if matches!(habit, Habit::HalfHandshake) {
                stream.write_all(b"GET /ws HTTP/1.1\r\nHost: he").await?;
                stream.read_to_end(&mut Vec::new()).await?;
                return Ok(());
            }
            let request = format!("ws://{server}/ws");
            let (mut stream, _) = tokio_tungstenite::client_async(request, stream).await?;
            stream.send(hello(token, sale)).await?;
            // Nothing is read; how long it is borne is the server's business.
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        Habit::HalfFrame => {
            let mut stream = connect(server, from).await?.into_inner();
            stream.write_all(&[0x81, 0xff]).await?;
            stream.read_to_end(&mut Vec::new()).await?;
        }
        Habit::Flood => {
            let mut stream = connect(server, from).await?;
            stream.send(hello(token, sale)).await?;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(FLOOD) => stream.send(Message::Ping(vec![7; 64].into())).await?,
                    heard = stream.next() => if !matches!(heard, Some(Ok(_))) { return Ok(()) },
                }
            }
        }
    }
    Ok(())
}

fn hello(token: &str, sale: SaleId) -> Message {
    let command = Command::Hello {
        token: token.to_owned(),
        device: None,
        resume: vec![sale],
        changes: false,
    };
    Message::text(
        Request {
            id: command_id(),
            command,
        }
        .to_json(),
    )
}

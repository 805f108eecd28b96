//! Neighbours that misbehave: they read nothing, begin and do not finish, or send too much, and come back when they are thrown
//! out. The crowd next to them must not notice.

use super::{TOKEN_LIFE, reading::on_core};
use crate::{patience::connect_once, shopper::command_id};
use anyhow::Result;
use clap::Args;
use flashsale::auth::Signer;
use flashsale_protocol::{ConnectionCommand, Request, Role, SaleId};
use futures_util::{SinkExt, StreamExt};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    process::{Child, Command},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

/// Number of neighbours of each kind.
const NEIGHBOURS: u8 = 100;
const PAUSE: Duration = Duration::from_secs(1);
/// Interval of a flooder's pings: far more than a client may send.
const FLOOD: Duration = Duration::from_millis(4);
/// Small, so that a neighbour who does not read is full soon.
const SMALL_BUFFER_BYTES: u32 = 4_096;

#[derive(Clone, Copy)]
enum Habit {
    /// Watches the sale, and reads nothing.
    Deaf,
    HalfHandshake,
    HalfFrame,
    Flood,
}

#[derive(Args)]
pub struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    sale: SaleId,
    #[arg(long)]
    data_dir: PathBuf,
}

/// A process of neighbours, which runs until this is dropped.
pub struct Neighbours(#[expect(dead_code, reason = "held, not used")] Child);

impl Neighbours {
    /// They run on the core of the other shoppers, and only in idle time: the measurement is about their effect on the server,
    /// not about their own use of the machine.
    pub fn start(address: SocketAddr, sale: SaleId, data_dir: &Path, core: usize) -> Result<Self> {
        let mut command = Command::new("nice");
        command
            .args(["-n", "19"])
            .arg(std::env::current_exe()?)
            .args(["watch-bad", "--address", &address.to_string()])
            .args(["--sale", &sale.to_string(), "--data-dir"])
            .arg(data_dir)
            .kill_on_drop(true);
        Ok(Self(on_core(core, || command.spawn())??))
    }
}

/// They misbehave until they are killed.
pub async fn run(options: Options) -> Result<bool> {
    let signer = Signer::open(&crate::target::identity(), &options.data_dir)?;
    let mut tasks = JoinSet::new();
    for (kind, habit) in [Habit::Deaf, Habit::HalfHandshake, Habit::HalfFrame, Habit::Flood]
        .into_iter()
        .enumerate()
    {
        for number in 0..NEIGHBOURS {
            let from = Ipv4Addr::new(127, 1, kind as u8, 2 + number);
            // Each is another shopper, so that the limit per shopper does not stop them.
            let who = format!("bad-{kind}-{number}").parse();
            let who = who.map_err(|error| anyhow::anyhow!("{error}"))?;
            let token = signer.issue(who, Role::Shopper, None, TOKEN_LIFE)?;
            let (server, sale) = (options.address, options.sale);
            tasks.spawn(async move {
                loop {
                    // They come again, however it ended.
                    let _ = visit(habit, server, from, sale, &token).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(true)
}

/// Connects, misbehaves, and stays until it is closed.
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
            // Nothing is read; the server decides how long it tolerates this.
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        Habit::HalfFrame => {
            let mut stream = connect_once(server, from).await?.into_inner();
            stream.write_all(&[0x81, 0xff]).await?;
            stream.read_to_end(&mut Vec::new()).await?;
        }
        Habit::Flood => {
            let mut stream = connect_once(server, from).await?;
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
    let command = ConnectionCommand::Hello {
        token: token.to_owned(),
        device: None,
        resume: vec![sale],
        changes: false,
    };
    Message::text(Request::new(command_id(), command).to_json())
}

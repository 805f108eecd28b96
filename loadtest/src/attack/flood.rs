//! The flooding process: one address asks for the same again and again, on many connections.

use super::asking::{Answered, ask, connect};
use anyhow::{Result, bail};
use chrono::Utc;
use clap::{Args, ValueEnum};
use flashsale_protocol::CommandId;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Pause between the bytes of a slow upload, and between the reads of a slow download.
const SLOW: Duration = Duration::from_millis(200);
/// Tries to sign in, of all connections together.
const SIGN_INS_PER_S: u32 = 100;
/// Time that a connection is given to be accepted and read before it is left; the kernel forgets those that are left at once.
const LEAVES_AFTER: Duration = Duration::from_millis(5);
/// What a slow download reads at once, and what the kernel keeps for it.
const SLOW_BYTES: usize = 1_024;
const SLOW_BUFFER: u32 = 4_096;

/// What is asked for, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flood {
    /// New sockets.
    Handshakes,
    /// Sales that do not exist.
    Ids,
    /// Guest sessions.
    Sessions,
    /// The list of sales.
    Lists,
    /// Places in line, of guests.
    Joins,
    /// A large draw's file, read slowly.
    Draws,
    /// Wrong passwords of operators, a hundred a second from as many networks, as a proxy would report them.
    SignIns,
    /// Bodies that come a byte at a time.
    Uploads,
    /// A new connection for each request, whose answer nobody waits for.
    Connections,
}

/// The flooding process.
#[derive(Args)]
pub struct FloodOptions {
    #[arg(value_enum)]
    kind: Flood,
    server: SocketAddr,
    /// A sale whose waiting room is open.
    #[arg(long)]
    sale: String,
    /// A sale that is drawn.
    #[arg(long)]
    drawn: String,
    #[arg(long)]
    seconds: u64,
    #[arg(long)]
    connections: u64,
}

/// The flooding process: prints how many answers it got.
pub async fn flood(options: FloodOptions) -> Result<bool> {
    if !options.server.ip().is_loopback() {
        bail!(
            "a flood goes to this machine only: {} is not a loopback address",
            options.server
        );
    }
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let options = Arc::new(options);
    let mut all = JoinSet::new();
    for _ in 0..options.connections {
        let options = options.clone();
        all.spawn(async move {
            let mut answers = 0_u64;
            while Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                let _ = tokio::time::timeout(left, ask_on(&options, &mut answers)).await;
            }
            answers
        });
    }
    println!("{}", all.join_all().await.iter().sum::<u64>());
    Ok(true)
}

/// Asks on one connection until the server ends it.
async fn ask_on(options: &FloodOptions, answers: &mut u64) -> Result<()> {
    let takes = (options.kind == Flood::Draws).then_some(SLOW_BUFFER);
    let mut stream = connect(options.server, FLOODER, takes).await?;
    let head = "HTTP/1.1\r\nHost: x\r\n";
    match options.kind {
        Flood::Handshakes => {
            let request = format!(
                "GET /ws {head}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            // An open socket takes no further handshake.
            while ask(&mut stream, &request).await?.status != 101 {
                *answers += 1;
            }
            *answers += 1;
            Ok(())
        }
        Flood::Ids => loop {
            let id = CommandId::from_parts(Utc::now().timestamp_millis() as u64, rand::random());
            ask(&mut stream, &format!("GET /flash-sales/{id} {head}\r\n")).await?;
            *answers += 1;
        },
        Flood::Lists => loop {
            ask(&mut stream, &format!("GET /flash-sales {head}\r\n")).await?;
            *answers += 1;
        },
        Flood::Sessions => loop {
            begin_session(&mut stream).await?;
            *answers += 1;
        },
        Flood::Joins => loop {
            join(&mut stream, &options.sale).await?;
            *answers += 1;
        },
        Flood::Draws => {
            let request = format!("GET /flash-sales/{}/draw/file {head}\r\n", options.drawn);
            stream.write_all(request.as_bytes()).await?;
            *answers += 1;
            let mut part = [0; SLOW_BYTES];
            while stream.read(&mut part).await? > 0 {
                tokio::time::sleep(SLOW).await;
            }
            Ok(())
        }
        Flood::SignIns => loop {
            let began = Instant::now();
            let [a, b, c, who]: [u8; 4] = rand::random();
            let body =
                json!({ "email": format!("{who}@shop.example"), "password": "a wrong password" }).to_string();
            let request = format!(
                "POST /admin/session {head}X-Forwarded-For: 11.{a}.{b}.{c}\r\nX-Forwarded-Proto: https\r\nFlash-Sale-Operator: 1\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            ask(&mut stream, &request).await?;
            *answers += 1;
            let pause = Duration::from_secs(options.connections) / SIGN_INS_PER_S;
            tokio::time::sleep(pause.saturating_sub(began.elapsed())).await;
        },
        Flood::Connections => {
            let request = format!("GET /flash-sales {head}\r\n");
            stream.write_all(request.as_bytes()).await?;
            *answers += 1;
            tokio::time::sleep(LEAVES_AFTER).await;
            Ok(())
        }
        Flood::Uploads => {
            let request = format!("POST /session {head}Content-Length: 10000\r\n\r\n{{");
            stream.write_all(request.as_bytes()).await?;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(SLOW).await;
            }
            Ok(())
        }
    }
}

async fn begin_session(stream: &mut TcpStream) -> Result<Answered> {
    ask(
        stream,
        "POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    )
    .await
}

/// A new guest joins. Where none can be made, the same request is sent without one.
async fn join(stream: &mut TcpStream, sale: &str) -> Result<()> {
    let session = begin_session(stream).await?;
    let session: Value = serde_json::from_slice(&session.body).unwrap_or_default();
    let text = |name: &str| session[name].as_str().unwrap_or("nobody").to_owned();
    let body = json!({ "user_id": text("shopper") }).to_string();
    let request = format!(
        "POST /flash-sales/{sale}/join-queue HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        text("token"),
        body.len()
    );
    ask(stream, &request).await.map(drop)
}

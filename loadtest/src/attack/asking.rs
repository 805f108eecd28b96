//! One request over a plain connection, without a client library: a flood must be cheap for whoever makes it.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// What came back.
pub(super) struct Answered {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A connection from one of this machine's addresses. `takes`: bytes that the kernel keeps for a reader, if it is a slow one.
pub(super) async fn connect(server: SocketAddr, from: Ipv4Addr, takes: Option<u32>) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = takes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    // A flood leaves no closed connections behind that would use up the ports.
    stream.set_zero_linger()?;
    Ok(stream)
}

/// Asks, and reads the answer.
pub(super) async fn ask(stream: &mut TcpStream, request: &str) -> Result<Answered> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("closed");
        }
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    while answer.len() < end + length {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("closed");
        }
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answered {
        status: status.context("no status")?,
        body: answer.split_off(end),
    })
}

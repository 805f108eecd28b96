//! Sockets that only watch, one at each gateway: they check whether ticks come, and from which moment (I10).

use super::history::History;
use crate::{patience::connect_once, shopper::command_id};
use anyhow::{Context, Result};
use flashsale_protocol::{ConnectionCommand, Done, Outcome, Request, SaleId, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio_tungstenite::tungstenite::Message;

const AGAIN: Duration = Duration::from_millis(100);
/// After this silence a gateway may have forgotten the socket, so another one is opened.
const SILENCE: Duration = Duration::from_secs(10);

/// Watches through one gateway for ever.
pub async fn watch(gateway: usize, address: SocketAddr, sale: SaleId, token: String, history: Arc<History>) {
    loop {
        let _ = watch_once(gateway, address, sale, &token, &history).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn watch_once(
    gateway: usize,
    address: SocketAddr,
    sale: SaleId,
    token: &str,
    history: &History,
) -> Result<()> {
    let mut stream = connect_once(address, Ipv4Addr::new(127, 2, 0, 1)).await?;
    let command = ConnectionCommand::Hello {
        token: token.to_owned(),
        device: None,
        resume: vec![sale],
        changes: false,
    };
    let id = command_id();
    stream
        .send(Message::text(Request::new(id, command).to_json()))
        .await?;
    let mut newest = 0;
    loop {
        let frame = tokio::time::timeout(SILENCE, stream.next()).await?;
        let Message::Text(text) = frame.context("closed")?? else {
            continue;
        };
        let tick = match serde_json::from_str(&text)? {
            ServerMessage::Tick(tick) => tick,
            ServerMessage::Reply {
                outcome: Outcome::Ok(Done::Welcome(welcome)),
                ..
            } => match welcome.states.into_iter().next() {
                Some(state) => {
                    newest = state.tick.seq;
                    continue;
                }
                None => continue,
            },
            _ => continue,
        };
        if tick.seq < newest {
            history.violation(
                "ticks",
                format!("I10: a tick {} came after {newest} on one socket", tick.seq),
            );
        }
        newest = tick.seq;
        history.ticked(gateway, tick.now);
    }
}

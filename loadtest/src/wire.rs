//! The bytes that a waiting shopper gets over the wire: one socket that takes changes, next to all the others.

use crate::{
    patience,
    shopper::{Identity, framed},
};
use anyhow::{Result, bail};
use flashsale_protocol::{
    Change, ConnectionCommand, Done, Outcome, Phase, Request, SaleId, ServerMessage, Tick,
};
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

/// Least time between two compared ticks: the figure is for one tick a second, however many there are.
const APART_MS: u64 = 1_000;
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// In bytes, with frame headers: ticks a second apart, while people wait in line and the line moves.
#[derive(Debug, Default, Serialize)]
pub struct Wire {
    seconds: usize,
    change_mean: f64,
    change_max: usize,
    tick_mean: f64,
}

impl Wire {
    pub fn print(&self) {
        if self.seconds > 0 {
            println!(
                "in line, at one tick a second: {:.0} bytes on average, {} at most over {} s; {:.0} as whole ticks",
                self.change_mean, self.change_max, self.seconds, self.tick_mean
            );
        }
    }
}

/// Watches until the rush has ended; returns the cost of each second of the moving line.
pub async fn listen(
    server: SocketAddr,
    sale: SaleId,
    identity: Identity,
    mut over: oneshot::Receiver<()>,
) -> Result<Wire> {
    let mut stream = patience::connect(server, identity.from).await?;
    let id = crate::shopper::command_id();
    let command = ConnectionCommand::Hello {
        token: identity.token,
        device: identity.device.parse().ok(),
        resume: vec![sale],
        changes: true,
    };
    stream
        .send(Message::text(Request::new(id, command).to_json()))
        .await?;
    let mut known: Option<Tick> = None;
    let mut seconds: Vec<(usize, usize)> = Vec::new();
    let mut last: Option<Tick> = None;
    loop {
        let frame = tokio::select! {
            _ = &mut over => return Ok(sum_up(&seconds)),
            frame = tokio::time::timeout(ANSWER_DEADLINE, stream.next()) => frame?,
        };
        let Some(frame) = frame else {
            bail!("the server has closed")
        };
        let Message::Text(text) = frame? else { continue };
        let tick = match serde_json::from_str(&text)? {
            ServerMessage::Reply {
                outcome: Outcome::Ok(Done::Welcome(mut welcome)),
                ..
            } => welcome.states.pop().map(|state| state.tick),
            ServerMessage::Tick(tick) => Some(tick),
            ServerMessage::Change(change) => match known.as_ref().and_then(|known| change.apply(known)) {
                Some(tick) => Some(tick),
                None => bail!("{change:?} is made for another tick than {known:?}"),
            },
            _ => None,
        };
        let Some(tick) = tick else { continue };
        known = Some(tick.clone());
        match &last {
            Some(before) if tick.seq < before.seq + APART_MS => {}
            before => {
                if let Some(before) = before
                    && before.phase == Phase::Live
                    && tick.admitted > before.admitted
                {
                    let change = Change::between(before, &tick);
                    seconds.push((
                        framed(ServerMessage::Change(change).to_json().len()),
                        framed(ServerMessage::Tick(tick.clone()).to_json().len()),
                    ));
                }
                last = Some(tick);
            }
        }
    }
}

fn sum_up(seconds: &[(usize, usize)]) -> Wire {
    let mean = |sum: usize| sum as f64 / seconds.len().max(1) as f64;
    Wire {
        seconds: seconds.len(),
        change_mean: mean(seconds.iter().map(|(change, _)| change).sum()),
        change_max: seconds.iter().map(|(change, _)| *change).max().unwrap_or(0),
        tick_mean: mean(seconds.iter().map(|(_, tick)| tick).sum()),
    }
}

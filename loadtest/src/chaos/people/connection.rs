//! A shopper's connection: commands are repeated under the same id, on new connections, until there is an answer.

use super::{CLOCK_MARGIN_MS, Person, now_ms};
use crate::{patience::connect_once, shopper::command_id};
use anyhow::{Context, Result, bail};
use flashsale_protocol::{
    Code, Command, CommandId, ConnectionCommand, Done, HoldState, Outcome, Reject, Request, Role, SaleState,
    ServerMessage, ShopCommand,
};
use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::Message;

/// After this time without an answer, the connection is given up and the command repeated on a new one.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);
/// After this time without an answer, a command is given up; its outcome is unknown.
const COMMAND_DEADLINE: Duration = Duration::from_secs(45);
/// The longest wait before the first attempt to reconnect: the browser client's `BACK_OFF_BASE_MS`.
const RECONNECT_JITTER_MS: u64 = 1_000;
/// Later tries come more often than a browser's, to show faults.
const RECONNECT_PAUSE_MS: u64 = 600;
const TOKEN_LIFE: Duration = Duration::from_secs(7200);

impl Person {
    /// A command with its answer: repeated under the same id, on new connections, until there is one.
    pub(super) async fn ask(&mut self, id: CommandId, command: ShopCommand) -> Result<Result<Done, Reject>> {
        self.asking = true;
        let answer = self.insist(id, command).await;
        self.asking = false;
        answer
    }

    async fn insist(&mut self, id: CommandId, command: ShopCommand) -> Result<Result<Done, Reject>> {
        let since = Instant::now();
        let verb = command.verb();
        loop {
            if since.elapsed() > COMMAND_DEADLINE {
                bail!("{verb} {id}: no answer");
            }
            if self.stream.is_none() {
                self.reconnect().await?;
            }
            match self.ask_once(id, command.clone()).await {
                Ok(Err(reject))
                    if matches!(
                        reject.code,
                        Code::Unavailable | Code::Busy | Code::CheckoutRunning | Code::SaleStopped
                    ) =>
                {
                    self.sleep(reject.retry_after_ms.unwrap_or(200).min(1_000)).await;
                }
                Ok(answer) => {
                    self.street.history.acknowledged();
                    match &answer {
                        Ok(done) => self.note(format!("{verb} {id}: ok {}", short(done))),
                        Err(reject) => {
                            self.note(format!("{verb} {id}: {}", reject.code.word()));
                            if reject.code == Code::Internal {
                                self.violation(format!("{verb} failed inside: {}", reject.message));
                            }
                        }
                    }
                    return Ok(answer);
                }
                Err(_) => self.stream = None,
            }
        }
    }

    async fn ask_once(&mut self, id: CommandId, command: impl Into<Command>) -> Result<Result<Done, Reject>> {
        let text = Request::new(id, command).to_json();
        let stream = self.stream.as_mut().context("no connection")?;
        tokio::time::timeout(ANSWER_DEADLINE, stream.send(Message::text(text))).await??;
        let until = Instant::now() + ANSWER_DEADLINE;
        loop {
            match self
                .receive(until.saturating_duration_since(Instant::now()))
                .await?
            {
                ServerMessage::Reply { id: replied, outcome } if replied == Some(id) => {
                    return Ok(match outcome {
                        Outcome::Ok(done) => Ok(done),
                        Outcome::Error(reject) => Err(reject),
                    });
                }
                ServerMessage::Reply { .. } | ServerMessage::Tick(_) => {}
                event => {
                    self.learn(&event);
                    self.events.push_back(event);
                }
            }
        }
    }

    async fn receive(&mut self, within: Duration) -> Result<ServerMessage> {
        let stream = self.stream.as_mut().context("no connection")?;
        loop {
            let frame = tokio::time::timeout(within, stream.next())
                .await
                .context("no answer")?;
            match frame.context("closed")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next event, or none within the time. An error: the connection is lost.
    pub(super) async fn next_event(&mut self, within: Duration) -> Result<Option<ServerMessage>> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        self.read(within).await
    }

    async fn read(&mut self, within: Duration) -> Result<Option<ServerMessage>> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let stream = self.stream.as_mut().context("no connection")?;
            let Ok(frame) = tokio::time::timeout(left, stream.next()).await else {
                return Ok(None);
            };
            match frame.context("closed")?? {
                Message::Text(text) => {
                    let message: ServerMessage = serde_json::from_str(&text)?;
                    if !matches!(message, ServerMessage::Tick(_)) {
                        self.learn(&message);
                        return Ok(Some(message));
                    }
                    if until < Instant::now() {
                        return Ok(None);
                    }
                }
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    pub(super) async fn reconnect(&mut self) -> Result<()> {
        let since = Instant::now();
        if self.gateway.is_some() {
            let pause = self.rng.random_range(0..RECONNECT_JITTER_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        loop {
            if since.elapsed() > COMMAND_DEADLINE {
                bail!("no gateway takes me");
            }
            if let Ok(state) = self.enter().await {
                self.look_at(&state);
                return Ok(());
            }
            self.stream = None;
            let pause = self.rng.random_range(20..RECONNECT_PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Enters by a random door; a gateway that takes no connection is skipped, as by a load balancer.
    async fn enter(&mut self) -> Result<Box<SaleState>> {
        let doors = self.street.doors.len();
        let first = self.rng.random_range(0..doors);
        let mut gateway = first;
        let stream = loop {
            let connected = tokio::time::timeout(
                ANSWER_DEADLINE,
                connect_once(self.street.doors[gateway], self.address()),
            )
            .await?;
            match connected {
                Err(_) if (gateway + 1) % doors != first => gateway = (gateway + 1) % doors,
                connected => break connected?,
            }
        };
        self.events.clear();
        self.stream = Some(stream);
        let since = self.street.history.now();
        let state = self.hello().await?;
        self.shopper = state.shopper.clone();
        if let Some((lost, stood_since)) = self.gateway.replace((gateway, since))
            && self.street.history.came_back(lost, stood_since)
            && !self.asking
            && (self.in_line || self.hold.is_some())
        {
            self.street.history.compared();
            self.compare(&state);
        }
        Ok(state)
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 1, (self.number / 200) as u8, (self.number % 200 + 1) as u8)
    }

    /// After a gateway's death everything must be shown as before.
    fn compare(&self, state: &SaleState) {
        if let Some((_, mine)) = &self.hold
            && mine.expires_at > now_ms() + CLOCK_MARGIN_MS
        {
            let shown = state.hold.as_ref();
            if !shown.is_some_and(|hold| hold.state == HoldState::Held && hold.expires_at == mine.expires_at)
            {
                self.violation(format!(
                    "I5: a gateway died, and a hold until {} is shown as {shown:?}",
                    mine.expires_at
                ));
            }
        }
        // If their turn came, there is a hold, even if its reply was lost.
        if self.in_line && state.entry.is_none() && state.hold.is_none() {
            self.violation("I8: a gateway died, and a place in line is not shown".into());
        }
    }

    async fn hello(&mut self) -> Result<Box<SaleState>> {
        let who = self.name.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let device = format!("device-of-{}", self.name)
            .parse()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let hello = ConnectionCommand::Hello {
            // The device is in the token, so it counts as proven.
            token: self
                .street
                .signer
                .issue(who, Role::Shopper, Some(device), TOKEN_LIFE)?,
            device: None,
            resume: vec![self.street.sale],
            changes: false,
        };
        match self.ask_once(command_id(), hello).await? {
            Ok(Done::Welcome(welcome)) => welcome.states.into_iter().next().map(Box::new).context("no sale"),
            other => bail!("hello: {other:?}"),
        }
    }

    /// Does nothing for a while. Like a page, it receives events, and reconnects when the connection is lost.
    pub(super) async fn sleep(&mut self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        while self.stream.is_some() && Instant::now() < until {
            match self.read(until.saturating_duration_since(Instant::now())).await {
                Ok(event) => self.events.extend(event),
                Err(_) => {
                    self.stream = None;
                    // If no gateway accepts it, the next command finds out.
                    let _ = self.reconnect().await;
                }
            }
        }
        tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    }
}

fn short(done: &Done) -> String {
    match done {
        Done::Hold(hold) => format!("hold {:?} until {}", hold.state, hold.expires_at),
        Done::Order(order) => format!("order {} {:?}", order.order, order.status),
        Done::Joined { entry, .. } => format!("entry {:?} {}", entry.state, entry.position),
        Done::State(state) => format!("hold {:?}", state.hold.as_ref().map(|hold| hold.state)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shoppers_reconnect_as_the_browser_does() {
        let client = include_str!("../../../../client-wasm/src/state.rs").replace('_', "");
        assert!(client.contains(&format!("BACKOFFBASEMS: u64 = {RECONNECT_JITTER_MS};")));
    }
}

//! Shoppers who buy, dither and cheat a little, for as long as the run lasts. Each notes what it saw; what must never be
//! seen by one shopper alone is noted as a violation at once.

use super::history::{Acknowledged, History};
use crate::shopper::{command_id, connect};
use anyhow::{Context, Result, bail};
use flashsale::auth::Authority;
use flashsale_protocol::{
    Code, Command, CommandId, Done, EntryState, Hold, HoldState, Order, OrderStatus, Outcome, Payment,
    Quantity, Reason, Reject, Request, Role, SaleId, SaleState, ServerMessage,
};
use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpStream, sync::watch};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

/// An answer that takes longer: the connection is given up, and the command said again on a new one.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);
/// A command that finds no answer for so long is given up; nothing is known of its outcome.
const COMMAND_DEADLINE: Duration = Duration::from_secs(45);
const TURN_DEADLINE: Duration = Duration::from_secs(6);
/// The longest wait before the first attempt to reconnect: the browser client's `BACK_OFF_BASE_MS`.
const RECONNECT_JITTER_MS: u64 = 1_000;
/// Then they try more often than a browser does: what goes wrong is to be seen.
const RECONNECT_PAUSE_MS: u64 = 600;
/// How much the clocks of one machine may seem to differ.
const CLOCK_MARGIN_MS: u64 = 60;
/// How long after a refusal the news of a lost hold may come.
const NEWS_DEADLINE: Duration = Duration::from_secs(3);
const TOKEN_LIFE: Duration = Duration::from_secs(7200);

/// Cards, by how often they are used: webhooks come twice, early, late; the provider is slow, down, or changes its mind.
const CARDS: &[(&str, u32)] = &[
    ("sandbox_approve", 60),
    ("sandbox_webhook_twice", 8),
    ("sandbox_webhook_first", 8),
    ("sandbox_slow", 5),
    ("sandbox_decline", 5),
    ("sandbox_capture_fails", 4),
    ("sandbox_capture_retry", 4),
    ("sandbox_late", 4),
    ("sandbox_down", 2),
];

/// What all shoppers of a run share.
pub struct Street {
    pub sale: SaleId,
    pub doors: Vec<SocketAddr>,
    pub authority: Authority,
    pub history: Arc<History>,
    pub stop: watch::Receiver<bool>,
    /// Only buy, until nothing is left: the last check.
    pub sell_out: bool,
}

pub struct Person {
    street: Arc<Street>,
    rng: StdRng,
    number: usize,
    lives: u32,
    name: String,
    stream: Option<WebSocketStream<TcpStream>>,
    /// The gateway of the connection, or of the one that was lost, and since when it stood.
    gateway: Option<(usize, Duration)>,
    events: VecDeque<ServerMessage>,
    /// What this shopper believes to hold.
    hold: Option<(CommandId, Hold)>,
    /// Whether this shopper believes to stand in line.
    in_line: bool,
    /// A command has no answer yet: what a state shows may be before or after it.
    asking: bool,
}

impl Person {
    pub fn new(street: Arc<Street>, seed: u64, number: usize) -> Self {
        let mut person = Self {
            street,
            rng: StdRng::seed_from_u64(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            number,
            lives: 0,
            name: String::new(),
            stream: None,
            gateway: None,
            events: VecDeque::new(),
            hold: None,
            in_line: false,
            asking: false,
        };
        person.begin_anew();
        person
    }

    /// Another shopper on another device: the limits are per person.
    fn begin_anew(&mut self) {
        self.lives += 1;
        let run = if self.street.sell_out { "last" } else { "chaos" };
        self.name = format!("{run}-{}-{}", self.number, self.lives);
        self.drop_connection();
        self.events.clear();
        self.hold = None;
        self.in_line = false;
    }

    /// Of one's own accord.
    fn drop_connection(&mut self) {
        (self.stream, self.gateway) = (None, None);
    }

    pub async fn live(mut self) {
        while !*self.street.stop.borrow() {
            if let Err(error) = self.shop().await {
                self.note(format!("gives up: {error:#}"));
                self.begin_anew();
            }
        }
    }

    /// One visit: join, wait, take, decide.
    async fn shop(&mut self) -> Result<()> {
        let sale = self.street.sale;
        let join = Command::Join {
            sale,
            quantity: Quantity::ONE,
        };
        match self.ask(command_id(), join).await? {
            Ok(Done::Joined { entry, .. }) if entry.state == EntryState::Admitted => {}
            Ok(_) => {
                if !self.my_turn().await? {
                    return Ok(());
                }
            }
            Err(reject) if reject.code == Code::AlreadyHeld => {}
            Err(reject) => return self.refused(&reject).await,
        }
        let command = command_id();
        let reserve = Command::Reserve {
            sale,
            quantity: Quantity::ONE,
            partial: false,
        };
        match self.ask(command, reserve).await? {
            Ok(Done::Hold(hold)) if hold.state == HoldState::Held => {
                self.street.history.reserved();
                self.hold = Some((command, hold));
            }
            Ok(_) => return Ok(()),
            Err(reject) if reject.code == Code::AlreadyHeld && self.hold.is_some() => {}
            Err(reject) => return self.refused(&reject).await,
        }
        match self.rng.random_range(0..100) {
            _ if self.street.sell_out => self.buy(true).await,
            0..4 => self.close_the_page().await,
            4..20 => self.release().await,
            20..35 => self.let_expire().await,
            35..65 => self.buy(false).await,
            _ => self.buy(true).await,
        }
    }

    async fn refused(&mut self, reject: &Reject) -> Result<()> {
        match reject.code {
            Code::LimitReached | Code::DeviceLimitReached => self.begin_anew(),
            Code::SoldOut | Code::SaleEnded => self.sleep(300).await,
            code if code.retry() => self.sleep(reject.retry_after_ms.unwrap_or(200).min(1_000)).await,
            _ => self.sleep(100).await,
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        let pause = self.rng.random_range(0..200);
        self.sleep(pause).await;
        let sale = self.street.sale;
        match self.ask(command_id(), Command::Release { sale }).await? {
            Ok(_) => self.hold = None,
            Err(reject) => self.hold_is_gone(&reject).await?,
        }
        Ok(())
    }

    /// Asks to check out, and is gone before there is an answer: nobody will ask again.
    async fn close_the_page(&mut self) -> Result<()> {
        let command = Command::Checkout {
            sale: self.street.sale,
            payment: None,
        };
        let id = command_id();
        if let Some(stream) = &mut self.stream {
            let _ = stream
                .send(Message::text(Request { id, command }.to_json()))
                .await;
        }
        let pause = self.rng.random_range(0..8);
        self.sleep(pause).await;
        self.note(format!("closes the page in mid-checkout {id}"));
        self.begin_anew();
        Ok(())
    }

    async fn let_expire(&mut self) -> Result<()> {
        let Some((_, hold)) = self.hold.clone() else {
            return Ok(());
        };
        let since = Instant::now();
        while self.hold.is_some()
            && since.elapsed() < Duration::from_millis(hold.expires_at.saturating_sub(now_ms()) + 2_000)
        {
            if self.next_event(Duration::from_millis(500)).await.is_err() {
                self.reconnect().await?;
            }
        }
        self.hold = None;
        Ok(())
    }

    /// Checks out, and pays, cancels or forgets to.
    async fn buy(&mut self, pay: bool) -> Result<()> {
        let Some((_, hold)) = self.hold.clone() else {
            return Ok(());
        };
        let sale = self.street.sale;
        let checkout = command_id();
        let command = Command::Checkout { sale, payment: None };
        let order = match self.ask(checkout, command.clone()).await? {
            Ok(Done::Order(order)) => order,
            Ok(other) => bail!("checkout answered {other:?}"),
            Err(reject) => return self.hold_is_gone(&reject).await,
        };
        self.hold = None;
        self.acknowledge(checkout, &order);
        if order.quantity != hold.quantity {
            self.violation(format!(
                "I3: a hold of {} became an order of {}",
                hold.quantity, order.quantity
            ));
        }
        if self.rng.random_bool(0.3) {
            // The same command again, perhaps at the other gateway.
            if self.rng.random_bool(0.5) {
                self.drop_connection();
            }
            match self.ask(checkout, command).await? {
                Ok(Done::Order(again)) if again == order => {}
                other => self.violation(format!("I4: {order:?} was answered, and then {other:?}")),
            }
        }
        if !pay {
            return if self.rng.random_bool(0.5) {
                self.cancel(&order).await
            } else {
                Ok(())
            };
        }
        let token = if self.street.sell_out {
            CARDS[0].0
        } else {
            let mut at = self
                .rng
                .random_range(0..CARDS.iter().map(|(_, weight)| weight).sum());
            CARDS
                .iter()
                .find(|(_, weight)| {
                    let found = at < *weight;
                    at = at.saturating_sub(*weight);
                    found
                })
                .map_or(CARDS[0].0, |(token, _)| token)
        };
        let pay = Command::Pay {
            order: order.order,
            payment: Payment { token: token.into() },
        };
        let id = command_id();
        match self.ask(id, pay.clone()).await? {
            Ok(Done::Order(paid)) => {
                // With this card a confirmed order ends later: the money cannot be taken.
                if token != "sandbox_capture_fails" {
                    self.acknowledge(id, &paid);
                }
                if self.rng.random_bool(0.2) {
                    match self.ask(id, pay).await? {
                        // While its outcome is unknown, the order as it is.
                        _ if paid.paying || token == "sandbox_capture_fails" => {}
                        Ok(Done::Order(again)) if again.status == paid.status => {}
                        other => self.violation(format!("I4: {paid:?} was answered, and then {other:?}")),
                    }
                }
            }
            Ok(other) => bail!("pay answered {other:?}"),
            Err(_) => {}
        }
        Ok(())
    }

    async fn cancel(&mut self, order: &Order) -> Result<()> {
        let id = command_id();
        if let Ok(Done::Order(cancelled)) = self.ask(id, Command::Cancel { order: order.order }).await? {
            self.acknowledge(id, &cancelled);
            if cancelled.status != OrderStatus::Cancelled {
                self.violation(format!("a cancelled order is {:?}", cancelled.status));
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, command: CommandId, order: &Order) {
        self.street.history.order(Acknowledged {
            shopper: self.name.clone(),
            command,
            order: order.clone(),
        });
    }

    /// A command about the hold was refused. If the hold should stand, its loss must be said openly.
    async fn hold_is_gone(&mut self, reject: &Reject) -> Result<()> {
        if !matches!(
            reject.code,
            Code::NoHold | Code::HoldExpired | Code::HoldReleased | Code::SoldOut
        ) {
            return Ok(());
        }
        let Some((_, hold)) = self.hold.clone() else {
            return Ok(());
        };
        let early = now_ms() + CLOCK_MARGIN_MS < hold.expires_at;
        if reject.code == Code::HoldExpired && early {
            self.violation(format!(
                "I11: a hold until {} has expired at {}",
                hold.expires_at,
                now_ms()
            ));
        }
        if early && reject.code != Code::SoldOut {
            // News may be lost with a connection; the state tells it too.
            let since = Instant::now();
            while self.hold.is_some() && since.elapsed() < NEWS_DEADLINE {
                if self.next_event(Duration::from_millis(300)).await.is_err() {
                    self.reconnect().await?;
                }
            }
            let sale = self.street.sale;
            if self.hold.is_some()
                && let Ok(Done::State(state)) = self.ask(command_id(), Command::State { sale }).await?
            {
                self.look_at(&state);
            }
            if self.hold.is_some() {
                self.violation(format!(
                    "I5: a hold until {} was neither honoured nor revoked",
                    hold.expires_at
                ));
            }
        }
        self.hold = None;
        Ok(())
    }

    async fn my_turn(&mut self) -> Result<bool> {
        self.in_line = true;
        let turn = self.wait_in_line().await;
        self.in_line = false;
        turn
    }

    async fn wait_in_line(&mut self) -> Result<bool> {
        let since = Instant::now();
        while since.elapsed() < TURN_DEADLINE && !*self.street.stop.borrow() {
            match self.next_event(Duration::from_millis(500)).await {
                Ok(Some(ServerMessage::Entry(entry))) if entry.sale == self.street.sale => {
                    match entry.state {
                        EntryState::Admitted => return Ok(true),
                        EntryState::Waiting => {}
                        _ => return Ok(false),
                    }
                }
                Ok(_) => {}
                Err(_) => {
                    self.reconnect().await?;
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    // ------------------------------------------------------------------------------------------------ the connection

    /// A command with its answer: repeated under the same id, on new connections, until there is one.
    async fn ask(&mut self, id: CommandId, command: Command) -> Result<Result<Done, Reject>> {
        self.asking = true;
        let answer = self.insist(id, command).await;
        self.asking = false;
        answer
    }

    async fn insist(&mut self, id: CommandId, command: Command) -> Result<Result<Done, Reject>> {
        let since = Instant::now();
        let verb = command.verb();
        loop {
            if since.elapsed() > COMMAND_DEADLINE {
                bail!("{verb} {id}: no answer");
            }
            if self.stream.is_none() {
                self.reconnect().await?;
            }
            match self.ask_once(id, &command).await {
                Ok(Err(reject))
                    if matches!(
                        reject.code,
                        Code::Unavailable | Code::Busy | Code::CheckoutRunning
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

    async fn ask_once(&mut self, id: CommandId, command: &Command) -> Result<Result<Done, Reject>> {
        let text = Request {
            id,
            command: command.clone(),
        }
        .to_json();
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
    async fn next_event(&mut self, within: Duration) -> Result<Option<ServerMessage>> {
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

    async fn reconnect(&mut self) -> Result<()> {
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

    /// By a door at random; a gateway that takes no connection is passed over, as a load balancer does it.
    async fn enter(&mut self) -> Result<Box<SaleState>> {
        let doors = self.street.doors.len();
        let first = self.rng.random_range(0..doors);
        let mut gateway = first;
        let stream = loop {
            let connected = tokio::time::timeout(
                ANSWER_DEADLINE,
                connect(self.street.doors[gateway], self.address()),
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

    /// After the death of a gateway everything is shown as it was.
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
        // Their turn may have come: then there is a hold, though its reply was lost.
        if self.in_line && state.entry.is_none() && state.hold.is_none() {
            self.violation("I8: a gateway died, and a place in line is not shown".into());
        }
    }

    async fn hello(&mut self) -> Result<Box<SaleState>> {
        let who = self.name.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let hello = Command::Hello {
            token: self
                .street
                .authority
                .issue(who, Role::Shopper, None, TOKEN_LIFE)?,
            device: Some(
                format!("device-of-{}", self.name)
                    .parse()
                    .map_err(|error| anyhow::anyhow!("{error}"))?,
            ),
            resume: vec![self.street.sale],
            changes: false,
        };
        match self.ask_once(command_id(), &hello).await? {
            Ok(Done::Welcome(welcome)) => welcome.states.into_iter().next().map(Box::new).context("no sale"),
            other => bail!("hello: {other:?}"),
        }
    }

    // ------------------------------------------------------------------------------------------------ what is known

    fn learn(&mut self, message: &ServerMessage) {
        if let ServerMessage::Hold(hold) = message {
            self.note(format!("hold {:?} {:?}", hold.state, hold.reason));
            self.see_hold(hold);
        }
    }

    fn look_at(&mut self, state: &SaleState) {
        self.note(format!(
            "state: entry {:?}, hold {:?}",
            state.entry.as_ref().map(|entry| entry.state),
            state.hold.as_ref().map(|hold| hold.state)
        ));
        match &state.hold {
            Some(hold) => self.see_hold(hold),
            // Openly gone: the page shows no hold any more.
            None => self.hold = None,
        }
    }

    fn see_hold(&mut self, hold: &Hold) {
        if hold.state == HoldState::Held && hold.reason == Some(Reason::Restored) {
            self.hold = Some((command_id(), hold.clone()));
            self.in_line = false;
            return;
        }
        let Some((_, mine)) = &self.hold else { return };
        if hold.at < mine.at {
            return;
        }
        match hold.state {
            HoldState::Held | HoldState::Ordering => {}
            HoldState::Expired
                if now_ms() + CLOCK_MARGIN_MS < mine.expires_at && hold.at + CLOCK_MARGIN_MS >= mine.at =>
            {
                let text = format!(
                    "I11: a hold until {} was ended as expired at {}",
                    mine.expires_at, hold.at
                );
                self.violation(text);
                self.hold = None;
            }
            _ => self.hold = None,
        }
    }

    fn note(&self, what: String) {
        self.street.history.note(&self.name, what);
    }

    fn violation(&self, what: String) {
        self.street.history.violation(&self.name, what);
    }

    /// Does nothing for a while. As a page does, it hears what comes, and reconnects when the connection is lost.
    async fn sleep(&mut self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        while self.stream.is_some() && Instant::now() < until {
            match self.read(until.saturating_duration_since(Instant::now())).await {
                Ok(event) => self.events.extend(event),
                Err(_) => {
                    self.stream = None;
                    // If nobody takes it, the next command finds that out.
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

pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shoppers_reconnect_as_the_browser_does() {
        let client = include_str!("../../../client-wasm/src/state.rs").replace('_', "");
        assert!(client.contains(&format!("BACKOFFBASEMS: u64 = {RECONNECT_JITTER_MS};")));
    }
}

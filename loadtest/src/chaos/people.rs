//! Shoppers who buy, hesitate and cheat a little during the whole run. Each notes what it saw; something that no shopper may ever
//! see is noted as a violation at once.

mod connection;
mod known;

use super::{
    history::{Acknowledged, History},
    shop::Shop,
};
use crate::shopper::command_id;
use anyhow::{Result, bail};
use flashsale::auth::Signer;
use flashsale_engine::sale::Sale;
use flashsale_protocol::{
    Code, CommandId, Done, EntryState, Hold, HoldState, Nonce, Order, OrderStatus, Payment, Quantity, Reject,
    Request, SaleId, ServerMessage, ShopCommand, ShopperId,
};
use futures_util::SinkExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpStream, sync::watch};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

const TURN_DEADLINE: Duration = Duration::from_secs(6);
/// How long somebody stays at a shop's checkout.
const CHECKOUT_DEADLINE: Duration = Duration::from_secs(6);
/// Largest apparent difference between the clocks of one machine.
const CLOCK_MARGIN_MS: u64 = 60;
/// How long after a refusal the news of a lost hold may arrive.
const NEWS_DEADLINE: Duration = Duration::from_secs(3);

/// Cards, with their frequency: webhooks come twice, early or late; the provider is slow, down, or changes its mind.
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

/// Shared by all shoppers of a run.
pub struct Street {
    pub sale: SaleId,
    /// The sale as it was created; a shopper's lane does not change.
    pub row: Arc<Sale>,
    pub doors: Vec<SocketAddr>,
    pub signer: Signer,
    pub history: Arc<History>,
    pub stop: watch::Receiver<bool>,
    /// Where orders are paid, if not by a test card.
    pub shop: Option<Arc<Shop>>,
    /// Only buys until nothing is left: the last check.
    pub sell_out: bool,
}

pub struct Person {
    street: Arc<Street>,
    rng: StdRng,
    number: usize,
    lives: u32,
    name: String,
    /// Who that is in the sale, as the last `state` said.
    shopper: Option<ShopperId>,
    stream: Option<WebSocketStream<TcpStream>>,
    /// The gateway of the present or the lost connection, and since when it stood.
    gateway: Option<(usize, Duration)>,
    events: VecDeque<ServerMessage>,
    /// The hold that this shopper believes to have.
    hold: Option<(CommandId, Hold)>,
    /// Whether this shopper believes to be in line.
    in_line: bool,
    /// A command has no answer yet: a state may be from before or after it.
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
            shopper: None,
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

    /// Becomes another shopper on another device, because limits are per person.
    fn begin_anew(&mut self) {
        self.lives += 1;
        let run = if self.street.sell_out { "last" } else { "chaos" };
        self.name = format!("{run}-{}-{}", self.number, self.lives);
        self.drop_connection();
        self.events.clear();
        self.hold = None;
        self.in_line = false;
    }

    /// The shopper's own wish.
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
        let join = ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: Some(Nonce(self.rng.random())),
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
        let reserve = ShopCommand::Reserve {
            sale,
            quantity: Quantity::ONE,
            partial: false,
        };
        match self.ask(command, reserve).await? {
            Ok(Done::Hold(hold)) if hold.state == HoldState::Held => {
                if let Some(shopper) = &self.shopper {
                    self.street
                        .history
                        .reserved(self.street.row.lane_of(shopper).lane);
                }
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
        match self.ask(command_id(), ShopCommand::Release { sale }).await? {
            Ok(_) => self.hold = None,
            Err(reject) => self.hold_is_gone(&reject).await?,
        }
        Ok(())
    }

    /// Starts a checkout and leaves before the answer: nobody will ask again.
    async fn close_the_page(&mut self) -> Result<()> {
        let command = ShopCommand::Checkout {
            sale: self.street.sale,
            payment: None,
        };
        let id = command_id();
        if let Some(stream) = &mut self.stream {
            let _ = stream
                .send(Message::text(Request::new(id, command).to_json()))
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
        let command = ShopCommand::Checkout { sale, payment: None };
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
                // Postgres has lost it: the server says so, or makes it once more before the loss is noticed.
                Err(reject) if reject.code == Code::OrderLost && self.street.history.may_orders_be_lost() => {
                    return Ok(());
                }
                Ok(Done::Order(again))
                    if again.order == order.order && self.street.history.may_orders_be_lost() => {}
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
        let pay = ShopCommand::Pay {
            order: order.order,
            payment: Payment { token: token.into() },
        };
        let id = command_id();
        match self.ask(id, pay.clone()).await? {
            Ok(Done::Order(paid)) if self.street.shop.is_some() => {
                self.acknowledge(id, &paid);
                self.go_to_the_shop(&paid);
                // Changes their mind while the shop is at it.
                if !self.street.sell_out && self.rng.random_bool(0.1) {
                    let pause = self.rng.random_range(0..400);
                    self.sleep(pause).await;
                    self.cancel(&order).await?;
                } else {
                    self.wait_for_the_shop(&order).await?;
                }
            }
            Ok(Done::Order(paid)) => {
                // With this card a confirmed order ends later, because the money cannot be taken.
                if token != "sandbox_capture_fails" {
                    self.acknowledge(id, &paid);
                }
                if self.rng.random_bool(0.2) {
                    match self.ask(id, pay).await? {
                        // While the outcome is unknown, the answer is the order as it is.
                        _ if paid.paying || token == "sandbox_capture_fails" => {}
                        Ok(Done::Order(again)) if again.status == paid.status => {}
                        Ok(_) | Err(_) if self.street.history.may_orders_be_lost() => {}
                        other => self.violation(format!("I4: {paid:?} was answered, and then {other:?}")),
                    }
                }
            }
            Ok(other) => bail!("pay answered {other:?}"),
            Err(_) => {}
        }
        Ok(())
    }

    fn go_to_the_shop(&mut self, order: &Order) {
        let (Some(shop), Some(handoff)) = (&self.street.shop, &order.handoff) else {
            return;
        };
        shop.visit(handoff.token.clone(), self.rng.random(), self.street.sell_out);
    }

    async fn wait_for_the_shop(&mut self, order: &Order) -> Result<()> {
        let since = Instant::now();
        while since.elapsed() < CHECKOUT_DEADLINE && !*self.street.stop.borrow() {
            match self.next_event(Duration::from_millis(500)).await {
                Ok(Some(ServerMessage::Order(seen))) if seen.order == order.order && !is_open(&seen) => break,
                Ok(_) => {}
                Err(_) => return self.reconnect().await,
            }
        }
        Ok(())
    }

    async fn cancel(&mut self, order: &Order) -> Result<()> {
        let id = command_id();
        if let Ok(Done::Order(cancelled)) = self.ask(id, ShopCommand::Cancel { order: order.order }).await? {
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

    /// A command about the hold was refused. If the hold should exist, its loss must be told openly.
    async fn hold_is_gone(&mut self, reject: &Reject) -> Result<()> {
        if reject.code == Code::OrderLost {
            self.hold = None;
        }
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
            // News may be lost with a connection; the state shows it too.
            let since = Instant::now();
            while self.hold.is_some() && since.elapsed() < NEWS_DEADLINE {
                if self.next_event(Duration::from_millis(300)).await.is_err() {
                    self.reconnect().await?;
                }
            }
            let sale = self.street.sale;
            if self.hold.is_some()
                && let Ok(Done::State(state)) = self.ask(command_id(), ShopCommand::State { sale }).await?
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
}

fn is_open(order: &Order) -> bool {
    order.status == OrderStatus::Pending
}

pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

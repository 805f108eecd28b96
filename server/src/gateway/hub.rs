//! Who watches what: the sockets of this process, by sale, by shopper and by address, and the one subscription per sale
//! that feeds them. Knows nothing of commands.

use super::{
    elsewhere::Elsewhere,
    shard::{Shards, SocketRef, text_frame},
};
use crate::{
    app::App,
    auth::Caller,
    config::Limits,
    live::{self, LiveMessage, News},
    sale::{Sale, Stake},
    stock::{self, GatewayId, Keys},
    telemetry::name,
};
use dashmap::DashMap;
use flashsale_protocol::{
    CloseCode, Code, DeviceId, EntryState, HoldState, Reject, SaleId, ServerMessage, ShopperId, Tick,
};
use fred::{clients::SubscriberClient, prelude::*};
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use smallvec::SmallVec;
use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::sync::CancellationToken;

/// Pub/sub messages that may wait for this process before the oldest are lost.
const BACKLOG: usize = 4_096;
/// How often unwatched sales are unsubscribed, and people looking are counted.
const SWEEP: Duration = Duration::from_secs(20);

/// A tick, with the frame that is the same for every watcher.
#[derive(Debug)]
pub struct LiveTick {
    pub tick: Arc<Tick>,
    pub frame: Bytes,
}

/// Held for as long as somebody here watches the sale.
pub type Interest = Arc<()>;

/// A watched sale.
#[derive(Default)]
struct Channel {
    newest: Mutex<Option<Arc<LiveTick>>>,
    /// The life of the sale in which shoppers here were looked after.
    life: AtomicU64,
    interest: Interest,
}

impl Channel {
    fn watched(&self) -> bool {
        Arc::strong_count(&self.interest) > 1
    }
}

/// A shopper with a socket here.
#[derive(Default)]
struct Present {
    /// Mostly one.
    sockets: SmallVec<[SocketRef; 1]>,
    /// The device that the newest socket has named.
    device: Option<DeviceId>,
    stakes: Vec<(SaleId, Stake)>,
}

/// A sale to subscribe to, and who waits for it.
type Wanted = (SaleId, oneshot::Sender<()>);

pub struct Hub {
    pub id: GatewayId,
    pub elsewhere: Elsewhere,
    subscriber: SubscriberClient,
    keys: Keys,
    sales: DashMap<SaleId, Channel>,
    shoppers: DashMap<ShopperId, Present>,
    addresses: Arc<DashMap<IpAddr, usize>>,
    sockets: Arc<watch::Sender<usize>>,
    pub shards: Shards,
    wanted: mpsc::UnboundedSender<Wanted>,
    wanted_rx: Mutex<Option<mpsc::UnboundedReceiver<Wanted>>>,
    per_shopper: usize,
    per_address: usize,
    handshakes: DefaultDirectRateLimiter,
    /// REST requests by shopper, and guest sessions by address.
    requests: DefaultKeyedRateLimiter<ShopperId>,
    guests: DefaultKeyedRateLimiter<IpAddr>,
}

/// A socket's share of its address's limit; given back when dropped.
pub struct Place {
    pub address: IpAddr,
    addresses: Arc<DashMap<IpAddr, usize>>,
    sockets: Arc<watch::Sender<usize>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut count) = self.addresses.get_mut(&self.address) {
            *count -= 1;
        }
        self.addresses.remove_if(&self.address, |_, count| *count == 0);
        self.sockets.send_modify(|count| *count -= 1);
        metrics::gauge!(name::SOCKETS).decrement(1);
    }
}

/// A socket's entry among its shopper's; taken out when dropped.
pub struct Registration {
    app: Arc<App>,
    caller: Arc<Caller>,
    socket: SocketRef,
}

impl Registration {
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let (shoppers, shopper) = (&self.app.hub.shoppers, &self.caller.shopper);
        if let Some(mut present) = shoppers.get_mut(shopper) {
            present.sockets.retain(|socket| *socket != self.socket);
        }
        let gone = shoppers.remove_if(shopper, |_, present| present.sockets.is_empty());
        if gone.is_some() {
            self.app.hub.elsewhere.forget(shopper);
        }
        // Whoever stands in line is away now, unless another gateway has a socket of theirs (see LiveMessage::Parked).
        let stakes = gone.map(|(_, present)| present.stakes).unwrap_or_default();
        for (sale, _) in stakes.into_iter().filter(|(_, stake)| stake.place.is_some()) {
            if let Err(error) = self.app.stock.go_away(sale, shopper.clone()) {
                tracing::debug!(%sale, %error, "an absent shopper is not marked");
            }
        }
    }
}

impl Hub {
    pub async fn connect(redis_url: &str, keys: Keys, limits: &Limits) -> anyhow::Result<Self> {
        let mut builder = stock::builder(redis_url)?;
        builder.with_performance_config(|performance| performance.broadcast_channel_capacity = BACKLOG);
        let subscriber = builder.build_subscriber_client()?;
        subscriber.init().await?;
        // Subscribes again after a lost connection.
        subscriber.manage_subscriptions();
        let id = GatewayId(rand::random_range(1..i64::MAX));
        live::subscribe(&subscriber, keys.gateway(id)).await?;
        let (wanted, wanted_rx) = mpsc::unbounded_channel();
        Ok(Self {
            id,
            elsewhere: Elsewhere::default(),
            subscriber,
            keys,
            sales: DashMap::new(),
            shoppers: DashMap::new(),
            addresses: Arc::default(),
            sockets: Arc::new(watch::Sender::new(0)),
            shards: Shards::open(limits.shards_or_cores())?,
            wanted,
            wanted_rx: Mutex::new(Some(wanted_rx)),
            per_shopper: limits.sockets_per_shopper,
            per_address: limits.sockets_per_address,
            handshakes: RateLimiter::direct(Quota::per_second(at_least_one(limits.handshakes_per_s))),
            requests: RateLimiter::keyed(
                Quota::per_second(at_least_one(limits.commands_per_s))
                    .allow_burst(at_least_one(limits.command_burst)),
            ),
            guests: RateLimiter::keyed(Quota::per_minute(at_least_one(limits.guests_per_minute))),
        })
    }

    pub async fn quit(&self) {
        let _ = self.subscriber.quit().await;
    }

    /// A place among the sockets of an address; None where it has too many.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut count = self.addresses.entry(address).or_insert(0);
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        drop(count);
        self.sockets.send_modify(|count| *count += 1);
        metrics::gauge!(name::SOCKETS).increment(1);
        Some(Place {
            address,
            addresses: self.addresses.clone(),
            sockets: self.sockets.clone(),
        })
    }

    /// Whether another socket may be opened now.
    pub fn allow_handshake(&self) -> Result<(), Reject> {
        self.handshakes
            .check()
            .map_err(|not_until| too_many(Code::Busy, &not_until))
    }

    /// How many sockets are open.
    pub fn socket_count(&self) -> usize {
        *self.sockets.borrow()
    }

    /// Whether this shopper may make another REST request now.
    pub fn allow(&self, shopper: &ShopperId) -> Result<(), Reject> {
        self.requests
            .check_key(shopper)
            .map_err(|not_until| too_many(Code::TooManyCommands, &not_until))
    }

    /// Whether another guest session may be made from this address now.
    pub fn allow_guest(&self, address: IpAddr) -> Result<(), Reject> {
        self.guests
            .check_key(&address)
            .map_err(|not_until| too_many(Code::TooManyFromAddress, &not_until))
    }

    /// Waits until no socket is open.
    pub async fn no_sockets(&self) {
        let mut sockets = self.sockets.subscribe();
        let _ = sockets.wait_for(|count| *count == 0).await;
    }

    pub fn device_of(&self, shopper: &ShopperId) -> Option<DeviceId> {
        self.shoppers.get(shopper)?.device.clone()
    }

    /// Puts a socket among its shopper's. If there are too many, the oldest is closed: the newest is the one in use.
    pub fn register(app: &Arc<App>, caller: &Arc<Caller>, socket: SocketRef) -> Registration {
        let hub = &app.hub;
        let mut present = hub.shoppers.entry(caller.shopper.clone()).or_default();
        present.device = caller.device.clone().or(present.device.take());
        present.sockets.push(socket);
        while present.sockets.len() > hub.per_shopper {
            let oldest = present.sockets.remove(0);
            hub.shards.close(oldest, CloseCode::TooManySockets);
        }
        drop(present);
        Registration {
            app: app.clone(),
            caller: caller.clone(),
            socket,
        }
    }

    /// Sees to it that a sale's ticks come here. Returns when the subscription stands, so that nothing after it is missed.
    pub async fn watch(&self, sale: &Sale) -> Interest {
        let life = sale.life();
        let sale = sale.id;
        let known = self.sales.get(&sale).map(|channel| channel.interest.clone());
        if let Some(interest) = known {
            return interest;
        }
        let channel = self.sales.entry(sale).or_default();
        channel.life.fetch_max(life, Ordering::AcqRel);
        let interest = channel.interest.clone();
        drop(channel);
        let (done, subscribed) = oneshot::channel();
        if self.wanted.send((sale, done)).is_ok() {
            let _ = subscribed.await;
        }
        interest
    }

    /// The newest tick of a sale that somebody here watches.
    pub fn last_tick(&self, sale: SaleId) -> Option<Arc<Tick>> {
        self.last_live(sale).map(|live| live.tick.clone())
    }

    pub fn last_live(&self, sale: SaleId) -> Option<Arc<LiveTick>> {
        self.sales.get(&sale)?.newest.lock().ok()?.clone()
    }

    /// Notes what a shopper has in a sale, if they have a socket here.
    pub fn stake(&self, shopper: &ShopperId, sale: SaleId, change: impl FnOnce(&mut Stake)) {
        let Some(mut present) = self.shoppers.get_mut(shopper) else {
            return;
        };
        let stakes = &mut present.stakes;
        let at = stakes.iter().position(|(of, _)| *of == sale);
        let at = at.unwrap_or_else(|| {
            // Nearly everybody has one: a vector that grows by itself would begin with room for four.
            stakes.reserve_exact(1);
            stakes.push((sale, Stake::default()));
            stakes.len() - 1
        });
        change(&mut stakes[at].1);
        if stakes[at].1 == Stake::default() {
            stakes.swap_remove(at);
        }
    }

    /// Whether a shopper with a socket here was given a hold that runs still. If Redis knows another end, that is an earlier
    /// hold's: this one was lost, which its shopper is told openly.
    pub fn is_holding(&self, shopper: &ShopperId, sale: SaleId, now: u64) -> bool {
        let stake = self.stake_of(shopper, sale);
        stake
            .and_then(|stake| stake.hold)
            .is_some_and(|hold| hold.until > now)
    }

    pub fn stake_of(&self, shopper: &ShopperId, sale: SaleId) -> Option<Stake> {
        let present = self.shoppers.get(shopper)?;
        let mut stakes = present.stakes.iter();
        Some(stakes.find(|(of, _)| *of == sale)?.1.clone())
    }

    fn note_end_of_place(&self, shopper: &ShopperId, news: &ServerMessage) {
        let (sale, at) = match news {
            ServerMessage::Entry(entry)
                if !matches!(entry.state, EntryState::Waiting | EntryState::Admitted) =>
            {
                (entry.sale, entry.at)
            }
            ServerMessage::Hold(hold) if hold.state == HoldState::Held => (hold.sale, hold.at),
            _ => return,
        };
        self.stake(shopper, sale, |stake| {
            stake.place = stake.place.filter(|place| place.at > at);
        });
    }

    /// Whether a sale is in a later life than the one in which shoppers here were looked after; asked, it is noted.
    fn begins_life(&self, sale: SaleId, life: u64) -> bool {
        let channel = self.sales.get(&sale);
        channel.is_some_and(|channel| channel.life.fetch_max(life, Ordering::AcqRel) < life)
    }

    /// Who has what in a sale, the first in line first.
    pub fn stakes(&self, sale: SaleId) -> Vec<(ShopperId, Stake)> {
        let mut found: Vec<_> = self
            .shoppers
            .iter()
            .filter_map(|present| {
                let (_, stake) = present.stakes.iter().find(|(of, _)| *of == sale)?;
                Some((present.key().clone(), stake.clone()))
            })
            .collect();
        found.sort_by_key(|(_, stake)| stake.place);
        found
    }

    fn deliver_tick(&self, tick: Tick, frame: String) {
        let Some(channel) = self.sales.get(&tick.sale) else {
            return;
        };
        let live = Arc::new(LiveTick {
            tick: Arc::new(tick),
            frame: text_frame(frame),
        });
        let Ok(mut newest) = channel.newest.lock() else {
            return;
        };
        if newest
            .as_ref()
            .is_none_or(|newest| newest.tick.seq < live.tick.seq)
        {
            *newest = Some(live.clone());
            self.shards.tick(&live);
        }
    }

    /// Whether a shopper has a socket here.
    pub fn has_shopper(&self, shopper: &str) -> bool {
        self.shoppers.contains_key(shopper)
    }

    pub fn deliver_news(&self, news: &News<'_>) {
        let Some(present) = self.shoppers.get(news.shopper) else {
            return;
        };
        let frame = text_frame(news.frame.to_owned());
        for socket in present
            .sockets
            .iter()
            .filter(|socket| news.origin != Some(socket.id))
        {
            self.shards.event(*socket, frame.clone());
        }
    }
}

/// The news itself, where it may be about a place in line or a hold: most needs no second look.
fn look_into(frame: &str) -> Option<ServerMessage> {
    let worth = frame.starts_with(r#"{"type":"entry""#) || frame.starts_with(r#"{"type":"hold""#);
    worth.then(|| serde_json::from_str(frame).ok()).flatten()
}

/// News for one shopper, which every gateway gets: most of them have no socket of theirs, and look no further.
fn receive_news(app: &Arc<App>, news: &News<'_>) {
    let Some(shopper) = app
        .hub
        .shoppers
        .get(news.shopper)
        .map(|present| present.key().clone())
    else {
        return;
    };
    if let Some(message) = look_into(news.frame) {
        app.hub.note_end_of_place(&shopper, &message);
        // The end of a hold from before a loss, and its shopper was given a later one, which is lost: that is said instead.
        if let ServerMessage::Hold(hold) = &message
            && hold.state == HoldState::Expired
            && app.hub.is_holding(&shopper, hold.sale, hold.at)
        {
            let (app, sale, origin, frame) = (app.clone(), hold.sale, news.origin, news.frame.to_owned());
            tokio::spawn(async move {
                if super::restore::of_shopper(&app, sale, &shopper).await {
                    app.hub.deliver_news(&News {
                        shopper: shopper.as_str(),
                        origin,
                        frame: &frame,
                    });
                }
            });
            return;
        }
    }
    app.hub.deliver_news(news);
}

/// Looks after those who have lost something, once for each life of a sale.
async fn look_after(app: &Arc<App>, sale: SaleId, life: u64) {
    if app.hub.begins_life(sale, life) {
        app.forget_sale(sale).await;
        tokio::spawn(super::restore::run(app.clone(), sale));
    }
}

/// The refusal of a limiter, with the time until it would let the asker pass.
pub fn too_many(code: Code, not_until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Reject {
    let wait = not_until.wait_time_from(DefaultClock::default().now());
    Reject::new(code).after_ms(wait.as_millis() as u64 + 1)
}

pub fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// Receives what is published, keeps the subscriptions as the sockets need them, and counts people looking.
pub async fn run(app: Arc<App>, stopping: CancellationToken) {
    let hub = &app.hub;
    let Some(mut wanted) = hub.wanted_rx.lock().ok().and_then(|mut rx| rx.take()) else {
        return;
    };
    let mut messages = hub.subscriber.message_rx();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            Some((sale, done)) = wanted.recv() => {
                if let Err(error) = live::subscribe(&hub.subscriber, hub.keys.live(sale)).await {
                    tracing::warn!(%sale, %error, "cannot subscribe; it is tried again on reconnect");
                }
                let _ = done.send(());
            }
            message = messages.recv() => match message {
                Ok(message) => receive(&app, message).await,
                Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "this gateway is behind its subscriptions");
                    hub.elsewhere.doubt();
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
            _ = sweep.tick() => {
                hub.requests.retain_recent();
                hub.guests.retain_recent();
                unsubscribe_unwatched(hub).await;
                hub.shards.count_active();
            }
        }
    }
}

async fn receive(app: &Arc<App>, message: fred::types::Message) {
    let Some(text) = message.value.as_str() else {
        return;
    };
    match LiveMessage::parse(&text) {
        Some(LiveMessage::Tick(tick, frame, life)) => {
            look_after(app, tick.sale, life).await;
            note_lag(app, &tick);
            app.hub.deliver_tick(tick, frame);
        }
        Some(LiveMessage::News(news)) => news.iter().for_each(|item| receive_news(app, item)),
        Some(LiveMessage::Draw(sale, frame)) => {
            app.store.forget_draw(sale).await;
            app.hub.shards.announce(sale, &text_frame(frame));
        }
        Some(LiveMessage::AlsoAt(gateway, shopper)) => {
            if app.hub.has_shopper(shopper.as_str()) {
                app.hub.elsewhere.add(&shopper, gateway);
            }
        }
        Some(LiveMessage::Changed(sale)) => app.forget_sale(sale).await,
        Some(LiveMessage::Parked(sale, shoppers)) => {
            for shopper in shoppers {
                if app.hub.shoppers.contains_key(&shopper) {
                    let app = app.clone();
                    tokio::spawn(async move {
                        // Looking is being here. If it fails, the client's own next look does the same.
                        if let Err(error) = app.stock.place(sale, shopper).await {
                            tracing::debug!(%sale, %error, "a shopper who is here stays parked for now");
                        }
                    });
                }
            }
        }
        Some(LiveMessage::Reopened(sale, life)) => {
            app.hub.elsewhere.doubt();
            app.forget_sale(sale).await;
            look_after(app, sale, life).await;
        }
        None => tracing::warn!(channel = %message.channel, "not a message of ours"),
    }
}

/// How long a tick was on its way, by Redis' clock as far as it is known here.
fn note_lag(app: &App, tick: &Tick) {
    // Without a call to Redis: ticks are behind this one.
    if let Some(now) = app.stock.known_clock() {
        let lag = Duration::from_millis(now.saturating_sub(tick.now));
        metrics::histogram!(name::TICK_RECEIVED).record(lag);
    }
}

async fn unsubscribe_unwatched(hub: &Hub) {
    let idle: Vec<SaleId> = hub
        .sales
        .iter()
        .filter(|channel| !channel.watched())
        .map(|channel| *channel.key())
        .collect();
    for sale in idle {
        // Somebody may have come meanwhile.
        if hub
            .sales
            .remove_if(&sale, |_, channel| !channel.watched())
            .is_some()
            && let Err(error) = live::unsubscribe(&hub.subscriber, hub.keys.live(sale)).await
        {
            tracing::debug!(%sale, %error, "cannot unsubscribe");
        }
    }
}

/// Tells Redis how many look at a sale through a shard of this gateway, for the operator's number of people looking.
pub async fn mark_active(app: &App, sale: SaleId, shard: usize, people: usize) {
    let part = format!("{:x}.{shard}", app.hub.id.0);
    let marked = async {
        let minute = app.stock.now().await? / 60_000;
        app.stock.mark_active(sale, minute, part, people as u64).await
    };
    if let Err(error) = marked.await {
        tracing::debug!(%error, "cannot count people looking");
    }
}

//! Brings ticks, news and announcements from Redis to the people here. Knows nothing of commands.

use super::{
    shard::{Shards, text_frame},
    subscriptions::Wanted,
};
use flashsale_engine::{
    here::{Deliver, ELECTION, LiveTick, SocketRef},
    live::{self, LiveMessage, News},
    restore,
    shop::Shop,
    stock::{self, GatewayId, Keys, link},
    telemetry::name,
};
use flashsale_protocol::{HoldState, SaleId, ServerMessage, Tick};
use fred::{clients::SubscriberClient, prelude::*};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Pub/sub messages that may wait for this process; beyond that the oldest are lost.
const BACKLOG: usize = 4_096;
/// How often subscriptions are renewed in a cluster. When a slot moves, its new master does not know the listeners at the old
/// one; they only get a farewell, which the client library drops.
const RESUBSCRIBE: Duration = Duration::from_millis(250);
/// Channels renewed in one look; the next look takes the next ones.
const RESUBSCRIBE_MOST: usize = 200;
/// Longest time to connect to another part of the cluster.
const MOVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often unwatched sales are unsubscribed and people looking are counted.
const SWEEP: Duration = Duration::from_secs(20);

pub struct Hub {
    redis_url: String,
    /// Replaced after a part of the cluster was cut off.
    subscriber: RwLock<SubscriberClient>,
    subscribers: watch::Sender<()>,
    keys: Keys,
    id: GatewayId,
    shards: Arc<Shards>,
}

impl Deliver for Shards {
    fn deliver(&self, sockets: &[SocketRef], frame: &str) {
        let frame = text_frame(frame.to_owned());
        for socket in sockets {
            self.event(*socket, frame.clone());
        }
    }
}

impl Hub {
    pub async fn connect(
        redis_url: &str,
        keys: Keys,
        id: GatewayId,
        shards: Arc<Shards>,
    ) -> anyhow::Result<Self> {
        let subscriber = subscriber(stock::builder(redis_url)?).await?;
        // It subscribes again after a lost connection; in a cluster `keep_subscribed` does that.
        if !subscriber.is_clustered() {
            subscriber.manage_subscriptions();
        }
        live::subscribe(&subscriber, keys.gateway(id)).await?;
        Ok(Self {
            redis_url: redis_url.to_owned(),
            subscriber: RwLock::new(subscriber),
            subscribers: watch::Sender::new(()),
            keys,
            id,
            shards,
        })
    }

    fn subscriber(&self) -> SubscriberClient {
        let now = self.subscriber.read();
        now.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn quit(&self) {
        let _ = self.subscriber().quit().await;
    }
}

/// The parsed news, if it may be about a place in line or a hold; most news is not parsed.
fn look_into(frame: &str) -> Option<ServerMessage> {
    let worth = frame.starts_with(r#"{"type":"entry""#) || frame.starts_with(r#"{"type":"hold""#);
    worth.then(|| serde_json::from_str(frame).ok()).flatten()
}

/// News for one shopper. Every gateway gets it; most have no socket of that shopper and stop here.
fn receive_news(shop: &Arc<Shop>, news: &News<'_>) {
    if !shop.here.has_shopper(news.shopper) {
        return;
    }
    if let Some(message) = look_into(news.frame) {
        shop.here.note_end_of_place(news.shopper, &message);
        // A hold from before a loss has ended, but the shopper's later hold is lost: they are told about that instead.
        if let ServerMessage::Hold(hold) = &message
            && hold.state == HoldState::Expired
            && let Some(shopper) = shop.here.staked(news.shopper, hold.sale)
            && shop.here.is_holding(&shopper, hold.sale, hold.at)
        {
            let (shop, sale, origin, frame) = (shop.clone(), hold.sale, news.origin, news.frame.to_owned());
            tokio::spawn(async move {
                if restore::of_shopper(&shop, sale, &shopper).await {
                    shop.here.deliver(&News {
                        shopper: shopper.as_str(),
                        known_as: None,
                        origin,
                        frame: &frame,
                    });
                }
            });
            return;
        }
    }
    shop.here.deliver(news);
}

/// Looks after shoppers who have lost something, once for each life of a sale.
async fn look_after(shop: &Arc<Shop>, sale: SaleId, life: u64) {
    if shop.here.begins_life(sale, life) {
        shop.forget_sale(sale).await;
        restore::spawn(shop.clone(), sale);
    }
}

/// Receives published messages, keeps the subscriptions that sockets need, and counts people looking.
pub async fn run(
    hub: Arc<Hub>,
    shop: Arc<Shop>,
    wanted: mpsc::UnboundedReceiver<Wanted>,
    stopping: CancellationToken,
) {
    tokio::join!(
        receive_all(&hub, &shop, wanted, &stopping),
        keep_subscribed(&hub, &shop, &stopping)
    );
}

/// Repeats this process' subscriptions, wherever their slots are by now.
async fn keep_subscribed(hub: &Hub, shop: &Shop, stopping: &CancellationToken) {
    if !hub.subscriber().is_clustered() {
        return;
    }
    let mut look = tokio::time::interval(RESUBSCRIBE);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut done: Option<SaleId> = None;
    let mut astray = shop.stock.link().astray();
    let mut doubted_at: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = look.tick() => {}
        }
        if astray.has_changed().unwrap_or(false) {
            astray.mark_unchanged();
            doubted_at = Some(Instant::now());
        }
        let is_silent = shop.here.is_any_silent();
        // A node that was cut off still accepts subscriptions.
        if (is_silent || doubted_at.is_some_and(|at| at.elapsed() < ELECTION))
            && let Err(error) = move_subscriber(hub).await
        {
            tracing::debug!(%error, "cannot subscribe elsewhere in the cluster");
        }
        let mut sales = shop.here.watched();
        sales.sort_unstable();
        let next = sales.partition_point(|sale| done.is_some_and(|done| *sale <= done));
        sales.rotate_left(next);
        sales.truncate(RESUBSCRIBE_MOST);
        done = sales.last().copied();
        let own = std::iter::once(hub.keys.gateway(hub.id));
        for channel in own.chain(sales.into_iter().map(|sale| hub.keys.live(sale))) {
            if let Err(error) = live::subscribe(&hub.subscriber(), channel).await {
                tracing::debug!(%error, "cannot make sure of a subscription; the next look tries again");
                // Its node may be silent, or have lost the slot: nobody else would tell us.
                if let Err(error) = move_subscriber(hub).await {
                    tracing::debug!(%error, "cannot subscribe elsewhere in the cluster");
                }
                done = None;
                break;
            }
        }
    }
}

async fn subscriber(mut builder: Builder) -> anyhow::Result<SubscriberClient> {
    builder.with_performance_config(|performance| performance.broadcast_channel_capacity = BACKLOG);
    let subscriber = builder.build_subscriber_client()?;
    subscriber.init().await?;
    Ok(subscriber)
}

/// Follows the cluster's slots; with a new connection if this one believes a node that was cut off.
async fn move_subscriber(hub: &Hub) -> anyhow::Result<()> {
    let old = hub.subscriber();
    let Some(servers) = link::moved(&old).await else {
        return Ok(());
    };
    let new = subscriber(link::builder_at(&hub.redis_url, servers)?);
    let new = tokio::time::timeout(MOVE_TIMEOUT, new).await??;
    *hub.subscriber.write().unwrap_or_else(PoisonError::into_inner) = new;
    hub.subscribers.send_replace(());
    tokio::spawn(async move { tokio::time::timeout(MOVE_TIMEOUT, old.quit()).await });
    Ok(())
}

async fn receive_all(
    hub: &Hub,
    shop: &Arc<Shop>,
    mut wanted: mpsc::UnboundedReceiver<Wanted>,
    stopping: &CancellationToken,
) {
    let mut others = hub.subscribers.subscribe();
    let mut messages = hub.subscriber().message_rx();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            Some((sale, done)) = wanted.recv() => {
                if let Err(error) = live::subscribe(&hub.subscriber(), hub.keys.live(sale)).await {
                    tracing::warn!(%sale, %error, "cannot subscribe; it is tried again on reconnect");
                }
                let _ = done.send(());
            }
            Ok(()) = others.changed() => {
                messages = hub.subscriber().message_rx();
                shop.here.elsewhere.doubt();
            }
            message = messages.recv() => match message {
                Ok(message) => receive(hub, shop, message).await,
                Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "this gateway is behind its subscriptions");
                    shop.here.elsewhere.doubt();
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
            _ = sweep.tick() => {
                unsubscribe_unwatched(hub, shop).await;
                hub.shards.count_active();
            }
        }
    }
}

async fn receive(hub: &Hub, shop: &Arc<Shop>, message: fred::types::Message) {
    let Some(text) = message.value.as_str() else {
        return;
    };
    match LiveMessage::parse(&text) {
        Some(LiveMessage::Tick(tick, frame, life)) => {
            look_after(shop, tick.sale, life).await;
            note_lag(shop, &tick);
            let live = Arc::new(LiveTick {
                tick: Arc::new(tick),
                frame: text_frame(frame),
            });
            if shop.here.note_tick(&live) {
                hub.shards.tick(&live);
            }
        }
        Some(LiveMessage::News(news)) => news.iter().for_each(|item| receive_news(shop, item)),
        Some(LiveMessage::Draw(sale, frame)) => {
            shop.store.forget_draw(sale).await;
            hub.shards.announce(sale, &text_frame(frame));
        }
        Some(LiveMessage::AlsoAt(gateway, shopper)) => {
            if shop.here.has_shopper(shopper.as_str()) {
                shop.here.elsewhere.add(&shopper, gateway);
            }
        }
        Some(LiveMessage::Changed(sale)) => shop.forget_sale(sale).await,
        Some(LiveMessage::Parked(sale, shoppers)) => {
            for shopper in shoppers {
                if shop.here.has_shopper(shopper.as_str()) {
                    let shop = shop.clone();
                    tokio::spawn(async move {
                        // A look marks the shopper as here. If it fails, the client's own next look does the same.
                        if let Err(error) = shop.stock.place(sale, shopper).await {
                            tracing::debug!(%sale, %error, "a shopper who is here stays parked for now");
                        }
                    });
                }
            }
        }
        Some(LiveMessage::Reopened(sale, life)) => {
            shop.here.elsewhere.doubt();
            shop.forget_sale(sale).await;
            look_after(shop, sale, life).await;
        }
        Some(LiveMessage::NotesLost(sale)) => restore::spawn_notes(shop.clone(), sale),
        Some(LiveMessage::Refilled(sale)) => restore::spawn_places(shop.clone(), sale),
        None => tracing::warn!(channel = %message.channel, "not a message of ours"),
    }
}

/// Records how long a tick was on its way, by Redis' clock as known here.
fn note_lag(shop: &Shop, tick: &Tick) {
    // This makes no call to Redis, because other ticks wait behind this one.
    if let Some(now) = shop.stock.known_clock() {
        let lag = Duration::from_millis(now.saturating_sub(tick.now));
        metrics::histogram!(name::TICK_RECEIVED).record(lag);
    }
}

async fn unsubscribe_unwatched(hub: &Hub, shop: &Shop) {
    for sale in shop.here.forget_unwatched() {
        if let Err(error) = live::unsubscribe(&hub.subscriber(), hub.keys.live(sale)).await {
            tracing::debug!(%sale, %error, "cannot unsubscribe");
        }
    }
}

//! What is told to all gateways over Redis pub/sub, one channel a sale: the shared tick, and news for single shoppers
//! in batches. A message may be lost; the next tick or the next look at the state tells the same.

use crate::{
    auth::Caller,
    batcher::{BatchLimits, Batcher, Batchers},
    config::COMMAND_DEADLINE,
    error::Result,
    stock::Keys,
};
use flashsale_protocol::{SaleId, ServerMessage, ShopperId, Tick, draw::Draw};
use fred::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// News in one message.
const NEWS: BatchLimits = BatchLimits {
    items: 500,
    waiting: 50_000,
    deadline: COMMAND_DEADLINE,
};

/// An event for one shopper, already as the frame that their sockets get.
#[derive(Debug, Serialize, Deserialize)]
pub struct News {
    #[serde(rename = "s")]
    pub shopper: ShopperId,
    #[serde(rename = "f")]
    pub frame: Box<RawValue>,
    /// The socket that has caused it, and has it in its reply.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<u64>,
}

/// One pub/sub message: a letter that says which, then JSON.
#[derive(Debug)]
pub enum LiveMessage {
    /// The tick, the very frame that sockets get, and the sale's life (see [`crate::sale::Sale::life`]): should
    /// `Reopened` be lost, as it easily is while Redis comes back, this tells the same.
    Tick(Tick, String, u64),
    News(Vec<News>),
    /// A draw has gone on: the frame for everybody who watches the sale.
    Draw(SaleId, String),
    /// A sale's settings have changed: whoever keeps a copy forgets it.
    Changed(SaleId),
    /// Absent at their turn, as it seems: a gateway that has a socket of theirs says that they are here.
    Parked(SaleId, Vec<ShopperId>),
    /// A lane has begun a new life: as above, and what shoppers had in it is looked after.
    Reopened(SaleId, u64),
}

const TICK: char = 'T';
const NEWS_LETTER: char = 'N';
const DRAW: char = 'D';
const CHANGED: char = 'C';
const REOPENED: char = 'R';
const PARKED: char = 'P';

impl LiveMessage {
    pub fn parse(text: &str) -> Option<LiveMessage> {
        let mut letters = text.chars();
        let letter = letters.next()?;
        let json = letters.as_str();
        match letter {
            TICK => {
                let (life, json) = json.split_once(' ')?;
                match serde_json::from_str(json).ok()? {
                    ServerMessage::Tick(tick) => {
                        Some(LiveMessage::Tick(tick, json.to_owned(), life.parse().ok()?))
                    }
                    _ => None,
                }
            }
            NEWS_LETTER => Some(LiveMessage::News(serde_json::from_str(json).ok()?)),
            DRAW => match serde_json::from_str(json).ok()? {
                ServerMessage::Draw(draw) => Some(LiveMessage::Draw(draw.sale, json.to_owned())),
                _ => None,
            },
            CHANGED => Some(LiveMessage::Changed(json.parse().ok()?)),
            PARKED => {
                let (sale, shoppers) = serde_json::from_str(json).ok()?;
                Some(LiveMessage::Parked(sale, shoppers))
            }
            REOPENED => {
                let (sale, life) = json.split_once(' ')?;
                Some(LiveMessage::Reopened(sale.parse().ok()?, life.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// Who is told what, and the socket that need not be told.
type Telling = (ShopperId, ServerMessage, Option<u64>);

/// Publishes to gateways.
pub struct Live {
    client: Client,
    keys: Keys,
    news: Batchers<SaleId, Telling, ()>,
}

impl Live {
    pub fn new(client: Client, keys: Keys) -> Self {
        Self {
            client,
            keys,
            news: Batchers::default(),
        }
    }

    /// How many gateways have got it.
    pub async fn tick(&self, tick: Tick, life: u64) -> Result<u64> {
        let sale = tick.sale;
        let payload = format!("{TICK}{life} {}", ServerMessage::Tick(tick).to_json());
        Ok(self.client.publish(self.keys.live(sale), payload).await?)
    }

    /// Tells everybody who watches the sale what is published of its draw now.
    pub async fn draw(&self, draw: &Draw) -> Result<()> {
        let json = ServerMessage::Draw(draw.clone()).to_json();
        self.announce(draw.sale, format!("{DRAW}{json}")).await
    }

    pub async fn changed(&self, sale: SaleId) -> Result<()> {
        self.announce(sale, format!("{CHANGED}{sale}")).await
    }

    pub async fn reopened(&self, sale: SaleId, life: u64) -> Result<()> {
        self.announce(sale, format!("{REOPENED}{sale} {life}")).await
    }

    pub async fn parked(&self, sale: SaleId, shoppers: &[ShopperId]) -> Result<()> {
        let json = serde_json::to_string(&(sale, shoppers)).unwrap_or_default();
        self.announce(sale, format!("{PARKED}{json}")).await
    }

    async fn announce(&self, sale: SaleId, payload: String) -> Result<()> {
        let _: u64 = self.client.publish(self.keys.live(sale), payload).await?;
        Ok(())
    }

    /// Tells one shopper, on all their sockets. Does not wait and never fails the caller: the state itself is in Redis
    /// and Postgres.
    pub fn tell(&self, sale: SaleId, shopper: ShopperId, message: ServerMessage) {
        self.post(sale, (shopper, message, None));
    }

    /// The same, but for the socket that has caused it: its reply says as much.
    pub fn tell_others(&self, sale: SaleId, caller: &Caller, message: ServerMessage) {
        self.post(sale, (caller.shopper.clone(), message, caller.socket));
    }

    fn post(&self, sale: SaleId, telling: Telling) {
        let told = self.news.post(&sale, telling, || {
            let (client, channel) = (self.client.clone(), self.keys.live(sale));
            Batcher::new("news", NEWS, move |items: Vec<Telling>| {
                let (client, channel) = (client.clone(), channel.clone());
                async move {
                    let told = vec![(); items.len()];
                    let news: Vec<News> = items
                        .into_iter()
                        .filter_map(|(shopper, message, origin)| {
                            Some(News {
                                shopper,
                                origin,
                                frame: serde_json::value::to_raw_value(&message).ok()?,
                            })
                        })
                        .collect();
                    let json = serde_json::to_string(&news).unwrap_or_default();
                    let _: u64 = client.publish(channel, format!("{NEWS_LETTER}{json}")).await?;
                    Ok(told)
                }
            })
        });
        if let Err(error) = told {
            tracing::warn!(%sale, %error, "a shopper was not told");
        }
    }

    /// Forgets the batchers of sales that are over.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.news.retain(|sale| keep(*sale));
    }
}

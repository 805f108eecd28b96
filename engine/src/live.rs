//! Messages to all gateways over Redis pub/sub, one channel per sale: the shared tick, and news for single shoppers in batches. A
//! message may be lost; the next tick, or the next look at the state, says the same.

use crate::{
    batcher::{Batch, BatchLimits, Batcher, Batchers, nobody_s},
    boxed,
    caller::Caller,
    error::{Error, Result},
    limits::COMMAND_DEADLINE,
    stock::{GatewayId, Keys, link::Link, redirected},
};
use flashsale_protocol::{SaleId, ServerMessage, ShopperId, Tick, draw::Draw};
use fred::{clients::SubscriberClient, prelude::*};
use std::{sync::Arc, time::Duration};

/// The least time between two messages of news: nobody sees the difference.
const NEWS_SPACING: Duration = Duration::from_millis(5);

/// News sent in one message.
const NEWS: BatchLimits = BatchLimits {
    items: 500,
    waiting: 50_000,
    deadline: COMMAND_DEADLINE,
    spacing: NEWS_SPACING,
};

/// An event for one shopper, as a line with the frame for their sockets. Every gateway reads all lines and has a socket for few,
/// so lines are cut, not parsed.
#[derive(Debug, PartialEq)]
pub struct News<'a> {
    /// The person, or the account of a session of the whole platform.
    pub shopper: &'a str,
    /// Who the account is at the sale's merchant, and their device there: gateways with sockets of it bring later news of the person
    /// to them.
    pub known_as: Option<(&'a str, Option<&'a str>)>,
    /// The socket that caused it and has it in its reply already.
    pub origin: Option<u64>,
    pub frame: &'a str,
}

impl<'a> News<'a> {
    /// None: the line is not in our format.
    fn parse(line: &'a str) -> Option<Self> {
        let (whom, rest) = line.split_once(' ')?;
        let mut names = whom.split(KNOWN_AS);
        let shopper = names.next()?;
        let known_as = names.next().map(|person| (person, names.next()));
        let (origin, frame) = rest.split_once(' ')?;
        let origin = match origin {
            NOBODY => None,
            number => Some(number.parse().ok()?),
        };
        Some(Self {
            shopper,
            known_as,
            origin,
            frame,
        })
    }

    fn line(shopper: &str, origin: Option<u64>, message: &ServerMessage) -> String {
        let origin = origin.map_or_else(|| NOBODY.to_owned(), |origin| origin.to_string());
        // A frame is JSON without line breaks.
        format!("{shopper} {origin} {}\n", message.to_json())
    }
}

/// One pub/sub message: a letter for its kind, then JSON or lines.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most messages are ticks, and none is kept"
)]
pub enum LiveMessage<'a> {
    /// The tick, its frame for sockets, and the sale's life (see [`crate::sale::Sale::life`]): `Reopened` is easily lost while
    /// Redis comes back, and the life tells the same.
    Tick(Tick, String, u64),
    News(Vec<News<'a>>),
    /// A draw has moved on: the frame for everybody who watches the sale.
    Draw(SaleId, String),
    /// A shopper has a socket at that gateway too.
    AlsoAt(GatewayId, ShopperId),
    /// A sale's settings have changed: forget copies of it.
    Changed(SaleId),
    /// These shoppers seem absent at their turn: a gateway where they have a socket reports that they are here.
    Parked(SaleId, Vec<ShopperId>),
    /// A lane has begun a new life: forget copies of the sale, and look after what shoppers had in that lane.
    Reopened(SaleId, u64),
    /// Notes of the line's history were lost: gateways write down the nonces that they know.
    NotesLost(SaleId),
    /// A line that was lost is whole again: gateways tell those who wait the places that they have in it.
    Refilled(SaleId),
}

const TICK: char = 'T';
const NEWS_LETTER: char = 'N';
/// Stands for the socket when no socket caused the news.
const NOBODY: &str = "-";
/// Stands between an account and who it is; no id has it.
const KNOWN_AS: char = '=';
const DRAW: char = 'D';
const CHANGED: char = 'C';
const ALSO_AT: char = 'A';
const REOPENED: char = 'R';
const PARKED: char = 'P';
const NOTES_LOST: char = 'L';
const REFILLED: char = 'F';

impl<'a> LiveMessage<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
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
            NEWS_LETTER => Some(LiveMessage::News(json.lines().filter_map(News::parse).collect())),
            DRAW => match serde_json::from_str(json).ok()? {
                ServerMessage::Draw(draw) => Some(LiveMessage::Draw(draw.sale, json.to_owned())),
                _ => None,
            },
            ALSO_AT => {
                let (gateway, shopper) = json.split_once(' ')?;
                Some(LiveMessage::AlsoAt(
                    GatewayId(gateway.parse().ok()?),
                    shopper.parse().ok()?,
                ))
            }
            CHANGED => Some(LiveMessage::Changed(json.parse().ok()?)),
            PARKED => {
                let (sale, shoppers) = serde_json::from_str(json).ok()?;
                Some(LiveMessage::Parked(sale, shoppers))
            }
            REOPENED => {
                let (sale, life) = json.split_once(' ')?;
                Some(LiveMessage::Reopened(sale.parse().ok()?, life.parse().ok()?))
            }
            NOTES_LOST => Some(LiveMessage::NotesLost(json.parse().ok()?)),
            REFILLED => Some(LiveMessage::Refilled(json.parse().ok()?)),
            _ => None,
        }
    }
}

/// Returns how many gateways got it. In a cluster a sale's messages stay in its shard; otherwise every node would get them all.
async fn publish(client: &Client, channel: String, payload: String) -> Result<u64> {
    Ok(if client.is_clustered() {
        redirected(|| client.spublish(channel.clone(), payload.clone())).await?
    } else {
        client.publish(channel, payload).await?
    })
}

/// Listens to a channel of [`Live`]. May be repeated.
#[boxed]
pub async fn subscribe(subscriber: &SubscriberClient, channel: String) -> Result<()> {
    if subscriber.is_clustered() {
        redirected(|| subscriber.ssubscribe(channel.clone())).await?;
    } else {
        subscriber.subscribe(channel).await?;
    }
    Ok(())
}

pub async fn unsubscribe(subscriber: &SubscriberClient, channel: String) -> Result<()> {
    if subscriber.is_clustered() {
        subscriber.sunsubscribe(channel).await?;
    } else {
        subscriber.unsubscribe(channel).await?;
    }
    Ok(())
}

/// Whom, the news, and the socket that already knows it.
type Telling = (Arc<str>, ServerMessage, Option<u64>);

/// An account with who it is in the sale that the news is about.
fn known_as(caller: &Caller) -> Arc<str> {
    let Caller {
        account,
        shopper,
        device,
        ..
    } = caller;
    match device {
        _ if shopper == account => account.as_str().into(),
        Some(device) => format!("{account}{KNOWN_AS}{shopper}{KNOWN_AS}{device}").into(),
        None => format!("{account}{KNOWN_AS}{shopper}").into(),
    }
}

/// Publishes to gateways.
pub struct Live {
    link: Link,
    keys: Keys,
    /// By channel.
    news: Batchers<To, Telling, ()>,
}

/// The receivers of news.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum To {
    /// Every gateway where somebody watches the sale.
    Watchers(SaleId),
    Gateway(GatewayId),
}

impl Live {
    pub fn new(link: Link, keys: Keys) -> Self {
        Self {
            link,
            keys,
            news: Batchers::default(),
        }
    }

    /// Returns how many gateways got it.
    pub async fn tick(&self, tick: Tick, life: u64) -> Result<u64> {
        let sale = tick.sale;
        let payload = format!("{TICK}{life} {}", ServerMessage::Tick(tick).to_json());
        publish(&self.link.now(), self.keys.live(sale), payload).await
    }

    /// Sends the published state of the sale's draw to everybody who watches it.
    pub async fn draw(&self, draw: &Draw) -> Result<()> {
        let json = ServerMessage::Draw(draw.clone()).to_json();
        self.announce(draw.sale, format!("{DRAW}{json}")).await
    }

    pub async fn changed(&self, sale: SaleId) -> Result<()> {
        self.announce(sale, format!("{CHANGED}{sale}")).await
    }

    pub(crate) async fn reopened(&self, sale: SaleId, life: u64) -> Result<()> {
        self.announce(sale, format!("{REOPENED}{sale} {life}")).await
    }

    pub(crate) async fn notes_lost(&self, sale: SaleId) -> Result<()> {
        self.announce(sale, format!("{NOTES_LOST}{sale}")).await
    }

    pub(crate) async fn refilled(&self, sale: SaleId) -> Result<()> {
        self.announce(sale, format!("{REFILLED}{sale}")).await
    }

    pub async fn parked(&self, sale: SaleId, shoppers: &[ShopperId]) -> Result<()> {
        let json = serde_json::to_string(&(sale, shoppers))
            .map_err(|error| Error::unexpected(format!("an announcement has no JSON: {error}")))?;
        self.announce(sale, format!("{PARKED}{json}")).await
    }

    async fn announce(&self, sale: SaleId, payload: String) -> Result<()> {
        publish(&self.link.now(), self.keys.live(sale), payload).await?;
        Ok(())
    }

    /// Tells one shopper, on all their sockets. It does not wait and never fails the caller, because the state itself is in Redis
    /// and Postgres.
    pub fn tell(&self, sale: SaleId, shopper: ShopperId, message: ServerMessage) {
        self.post(To::Watchers(sale), (shopper.as_str().into(), message, None));
    }

    /// Tells all of the shopper's sockets except the one that caused it, whose reply says the same.
    pub(crate) fn tell_others(&self, sale: SaleId, caller: &Caller, message: ServerMessage) {
        self.post(To::Watchers(sale), (known_as(caller), message, caller.socket));
    }

    /// Tells the shopper's sockets at one other gateway.
    pub(crate) fn tell_at(&self, gateway: GatewayId, caller: &Caller, message: ServerMessage) {
        self.post(To::Gateway(gateway), (known_as(caller), message, caller.socket));
    }

    /// Tells a gateway that a shopper has a socket here as well. False: nobody listens there.
    pub(crate) async fn also_here(
        &self,
        gateway: GatewayId,
        here: GatewayId,
        shopper: &ShopperId,
    ) -> Result<bool> {
        let payload = format!("{ALSO_AT}{} {shopper}", here.0);
        Ok(publish(&self.link.now(), self.keys.gateway(gateway), payload).await? > 0)
    }

    fn post(&self, to: To, telling: Telling) {
        let told = self.news.post(&to, telling, || {
            let channel = match to {
                To::Watchers(sale) => self.keys.live(sale),
                To::Gateway(gateway) => self.keys.gateway(gateway),
            };
            let link = self.link.clone();
            Batcher::new("news", NEWS, nobody_s, move |items: Batch<Telling>| {
                let (client, channel) = (link.now(), channel.clone());
                async move {
                    let told = vec![(); items.len()];
                    let lines = items
                        .iter()
                        .map(|(shopper, message, origin)| News::line(shopper, *origin, message));
                    let lines: String = lines.collect();
                    publish(&client, channel, format!("{NEWS_LETTER}{lines}")).await?;
                    Ok(told)
                }
            })
        });
        if let Err(error) = told {
            tracing::warn!(?to, %error, "a shopper was not told");
        }
    }

    /// Forgets the batchers of sales that have ended, and those towards gateways, which come and go.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.news.retain(|to| match to {
            To::Watchers(sale) => keep(*sale),
            To::Gateway(_) => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashsale_protocol::{Entry, EntryState, Role};

    #[test]
    fn news_arrive_as_they_were_told() {
        let shopper: ShopperId = "a.b:c@d-e".parse().expect("an id");
        let sale = SaleId::from_parts(1, 1);
        let message = ServerMessage::Entry(Entry::settled(sale, EntryState::Left, 1, 1));
        let text = format!(
            "{NEWS_LETTER}{}{}not a line\n",
            News::line(shopper.as_str(), Some(7), &message),
            News::line(shopper.as_str(), None, &message)
        );
        let frame = message.to_json();
        let told = |origin| News {
            shopper: shopper.as_str(),
            known_as: None,
            origin,
            frame: &frame,
        };
        match LiveMessage::parse(&text) {
            Some(LiveMessage::News(news)) => assert_eq!(news, [told(Some(7)), told(None)]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn news_of_an_account_say_who_it_is_there() {
        let [account, person]: [ShopperId; 2] = ["g_1", "p_2"].map(|id| id.parse().expect("an id"));
        let mut caller = Caller::new(account, Role::Shopper, 0);
        (caller.shopper, caller.device) = (person, Some("d_3".parse().expect("an id")));
        let read = |caller: &Caller| {
            let line = format!("{} - {{}}", known_as(caller));
            let news = News::parse(&line).expect("a line");
            (news.shopper.to_owned(), format!("{:?}", news.known_as))
        };
        assert_eq!(
            read(&caller),
            ("g_1".into(), r#"Some(("p_2", Some("d_3")))"#.into())
        );
        caller.device = None;
        assert_eq!(read(&caller), ("g_1".into(), r#"Some(("p_2", None))"#.into()));
        caller.shopper = caller.account.clone();
        assert_eq!(read(&caller), ("g_1".into(), "None".into()));
    }
}

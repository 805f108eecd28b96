//! The only place with Redis keys and scripts: one method per script. Knows nothing of sockets and of Postgres.
//!
//! What shoppers cause (reserve, join, …) goes through a [`Batcher`] per lane or sale; what workers cause is called
//! directly. Every script may be repeated: a lost reply costs nothing but another call.

mod answer;
pub mod rebuild;
mod scripts;
pub mod shown;

use crate::{
    batcher::{BatchLimits, Batcher, Batchers},
    config::{CHECKOUT_LEASE, COMMAND_DEADLINE},
    error::{Error, Result},
    sale::{LaneOrder, LaneRef, LineName, Sale, ms, phase_word},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_protocol::{DeviceId, OrderId, Phase, SaleId, ShopperId, Tick};
use fred::{
    prelude::*,
    types::{ClusterHash, CustomCommand},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

pub use answer::*;
use scripts::*;
pub use scripts::{GatewayId, Keys, SCRIPTS, ScriptFile};

/// Items in one script call: enough to share the call's cost, few enough that no other script waits long.
const BATCH: BatchLimits = BatchLimits {
    items: 256,
    waiting: 20_000,
    deadline: COMMAND_DEADLINE,
};

/// Overdue claims and holds that one call ends, but for the last ones of its last buckets.
pub const EXPIRE_BATCH: usize = 500;
/// Buckets of deadlines that one look at the next one goes through.
const LAPSE_BUCKETS: usize = 16;
/// Entries that one round of an admission step calls, at most: so few that no other script waits long for its scripts.
pub const ADMIT_BATCH: usize = 250;
/// Notes of the line's history that are taken at once.
pub const JOURNAL_BATCH: usize = 5_000;

/// Longer than the leader is silent, which says something every second, and than it takes until there is another one.
const TICK_KEPT_MS: i64 = 15_000;

/// A gateway that has not said anything for so long is dead.
pub const GATEWAY_SILENCE: Duration = Duration::from_secs(5);

const RECONNECT_MIN_MS: u32 = 50;
const RECONNECT_MAX_MS: u32 = 1_000;
/// How long a measured difference between Redis' clock and ours is good.
const CLOCK_LIFE: Duration = Duration::from_secs(5);
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// One verb's batchers, each for one lane (or for one sale: then the lane is 0).
type LaneBatchers<I, O> = Batchers<LaneRef, I, At<O>>;
type SaleBatchers<I, O> = Batchers<SaleId, I, At<InLine<O>>>;

/// The stock and the line in Redis.
pub struct Stock {
    runner: Runner,
    /// Redis' clock minus this machine's, in ms, and when that was measured.
    clock: Mutex<Option<(i64, Instant)>>,
    reserve: LaneBatchers<Reserve, Reserved>,
    release: LaneBatchers<(ShopperId, What), Released>,
    begin: LaneBatchers<(ShopperId, OrderId), Begun>,
    finish: LaneBatchers<(ShopperId, OrderId, Finish), bool>,
    person: LaneBatchers<ShopperId, Person>,
    device_units: Batchers<LaneRef, DeviceId, u32>,
    join: SaleBatchers<Join, Joined>,
    place: SaleBatchers<ShopperId, Stands>,
    close_gate: Batchers<LaneRef, u64, ()>,
    go_away: Batchers<SaleId, ShopperId, ()>,
}

impl Stock {
    /// Connects; later losses of the connection heal by themselves, and calls fail within their time-out meanwhile.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self> {
        let client = builder(url)?.build()?;
        client.init().await?;
        let runner = Runner::new(
            client,
            Keys {
                prefix: prefix.into(),
            },
        );
        Ok(Self {
            runner,
            clock: Mutex::new(None),
            reserve: Default::default(),
            release: Default::default(),
            begin: Default::default(),
            finish: Default::default(),
            person: Default::default(),
            device_units: Default::default(),
            join: Default::default(),
            place: Default::default(),
            close_gate: Default::default(),
            go_away: Default::default(),
        })
    }

    pub fn client(&self) -> &Client {
        &self.runner.client
    }

    pub fn keys(&self) -> &Keys {
        &self.runner.keys
    }

    pub async fn quit(&self) {
        let _ = self.runner.client.quit().await;
    }

    pub async fn ping(&self) -> Result<()> {
        let _: String = self.runner.client.ping(None).await?;
        Ok(())
    }

    /// Redis' clock, ms since 1970.
    pub async fn now(&self) -> Result<u64> {
        let time = CustomCommand::new_static("TIME", ClusterHash::Random, false);
        let (seconds, micros): (u64, u64) = self.runner.client.custom(time, Vec::<String>::new()).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Redis' clock, from a recent measurement: many may ask without a call each.
    pub async fn clock(&self) -> Result<u64> {
        if let Some(now) = self.known_clock() {
            return Ok(now);
        }
        let before = crate::clock::now().timestamp_millis();
        let redis = self.now().await? as i64;
        let offset = redis - (before + crate::clock::now().timestamp_millis()) / 2;
        if let Ok(mut clock) = self.clock.lock() {
            *clock = Some((offset, Instant::now()));
        }
        Ok(by_redis(offset))
    }

    /// The same, if it was measured lately.
    pub fn known_clock(&self) -> Option<u64> {
        let known = self.clock.lock().ok().and_then(|clock| *clock);
        let (offset, _) = known.filter(|(_, measured)| measured.elapsed() < CLOCK_LIFE)?;
        Some(by_redis(offset))
    }

    /// Forgets the batchers of sales that are over.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.reserve.retain(|at| keep(at.sale));
        self.release.retain(|at| keep(at.sale));
        self.begin.retain(|at| keep(at.sale));
        self.finish.retain(|at| keep(at.sale));
        self.person.retain(|at| keep(at.sale));
        self.device_units.retain(|at| keep(at.sale));
        self.join.retain(|sale| keep(*sale));
        self.place.retain(|sale| keep(*sale));
        self.close_gate.retain(|at| keep(at.sale));
        self.go_away.retain(|sale| keep(*sale));
    }

    // ------------------------------------------------------------------------------- what shoppers cause, in batches

    pub async fn reserve(&self, at: LaneRef, item: Reserve) -> Result<At<Reserved>> {
        self.reserve
            .submit(&at, item, || {
                self.lane_batcher(
                    "reserve",
                    &RESERVE,
                    at,
                    vec![],
                    |item: &Reserve, args| {
                        args.extend([
                            item.shopper.to_string(),
                            item.quantity.to_string(),
                            match item.how {
                                How::All => "all",
                                How::Partial => "partial",
                                How::Regain => "regain",
                            }
                            .to_owned(),
                            item.command.to_string(),
                            item.device.to_string(),
                        ]);
                    },
                    read_reserved,
                )
            })
            .await
    }

    pub async fn release(&self, at: LaneRef, shopper: ShopperId, what: What) -> Result<At<Released>> {
        self.release
            .submit(&at, (shopper, what), || {
                self.lane_batcher(
                    "release",
                    &RELEASE,
                    at,
                    vec![],
                    |(shopper, what): &(ShopperId, What), args| {
                        let what = if *what == What::Held { "held" } else { "claim" };
                        args.extend([shopper.to_string(), what.to_owned()]);
                    },
                    |answer| {
                        Ok(match answer.word() {
                            "ok" => Released::Ok {
                                quantity: answer.number(1)?,
                            },
                            "none" => Released::None,
                            state => Released::Is(state.parse()?),
                        })
                    },
                )
            })
            .await
    }

    pub async fn begin_checkout(&self, at: LaneRef, shopper: ShopperId, order: OrderId) -> Result<At<Begun>> {
        self.begin
            .submit(&at, (shopper, order), || {
                self.lane_batcher(
                    "begin_checkout",
                    &BEGIN_CHECKOUT,
                    at,
                    vec![CHECKOUT_LEASE.as_millis().to_string()],
                    |(shopper, order): &(ShopperId, OrderId), args| {
                        args.extend([shopper.to_string(), order.to_string()]);
                    },
                    |answer| {
                        Ok(match answer.word() {
                            "ordered" if answer.len() > 1 => Begun::Ordered {
                                quantity: answer.number(1)?,
                                device: answer.parse(6)?,
                                hold: answer.parse(5)?,
                            },
                            _ if answer.len() > 1 => Begun::Ok {
                                quantity: answer.number(1)?,
                                device: answer.parse(6)?,
                                hold: answer.parse(5)?,
                            },
                            "checkout_running" => Begun::CheckoutRunning,
                            "none" => Begun::None,
                            state => Begun::Is(state.parse()?),
                        })
                    },
                )
            })
            .await
    }

    /// False: the shopper's record is about something else by now.
    pub async fn finish_checkout(
        &self,
        at: LaneRef,
        shopper: ShopperId,
        order: OrderId,
        outcome: Finish,
    ) -> Result<bool> {
        let answer = self
            .finish
            .submit(&at, (shopper, order, outcome), || {
                self.lane_batcher(
                    "finish_checkout",
                    &FINISH_CHECKOUT,
                    at,
                    vec![],
                    |(shopper, order, outcome): &(ShopperId, OrderId, Finish), args| {
                        let (outcome, hold) = match outcome {
                            Finish::Committed { hold } => ("committed", hold.as_str()),
                            Finish::Refused => ("refused", "-"),
                            Finish::Undone => ("undone", "-"),
                        };
                        args.extend([
                            shopper.to_string(),
                            order.to_string(),
                            outcome.to_owned(),
                            hold.to_owned(),
                        ]);
                    },
                    |answer| Ok(answer.word() == "ok"),
                )
            })
            .await?;
        Ok(answer.value)
    }

    pub async fn person(&self, at: LaneRef, shopper: ShopperId) -> Result<At<Person>> {
        self.person
            .submit(&at, shopper, || {
                self.lane_batcher(
                    "person",
                    &PERSON,
                    at,
                    vec![],
                    |shopper: &ShopperId, args| args.push(shopper.to_string()),
                    |answer| {
                        let record = match answer.text(1)? {
                            "none" => None,
                            state => Some(Record {
                                state: state.parse()?,
                                quantity: answer.number(2)?,
                                until: answer.number(3)?,
                                order: answer.text(5)?.parse().ok(),
                                command: answer.text(6)?.parse().ok(),
                            }),
                        };
                        Ok(Person {
                            bought: answer.number(4)?,
                            limit: answer.number(0)?,
                            record,
                        })
                    },
                )
            })
            .await
    }

    /// Whether a shopper has had their turn of the draw, as far as the lane remembers.
    pub async fn had_turn_of_draw(&self, at: LaneRef, shopper: &ShopperId) -> Result<bool> {
        let key = self.runner.keys.lane("drawn", at);
        Ok(self.runner.client.sismember(key, shopper.as_str()).await?)
    }

    /// Units in carts and orders that were taken from a device, on its shopper's lane.
    pub async fn device_units(&self, at: LaneRef, device: DeviceId) -> Result<u32> {
        self.device_units
            .submit(&at, device, || {
                let (client, key) = (
                    self.runner.client.clone(),
                    self.runner.keys.lane("device_units", at),
                );
                Batcher::new("device_units", BATCH, move |devices: Vec<DeviceId>| {
                    let (client, key) = (client.clone(), key.clone());
                    async move {
                        let devices: Vec<String> = devices.iter().map(DeviceId::to_string).collect();
                        let units: Vec<Option<u32>> = client.hmget(key, devices).await?;
                        Ok(units.into_iter().map(Option::unwrap_or_default).collect())
                    }
                })
            })
            .await
    }

    pub async fn join(&self, sale: SaleId, item: Join) -> Result<At<InLine<Joined>>> {
        self.join
            .submit(&sale, item, || {
                self.sale_batcher(
                    "join",
                    &JOIN,
                    sale,
                    |item: &Join, args| {
                        args.extend([
                            item.shopper.to_string(),
                            item.device.to_string(),
                            device_mark(&item.device),
                            item.quantity.to_string(),
                            item.old_place.unwrap_or(0).to_string(),
                            item.opening_place.unwrap_or(0).to_string(),
                            item.line.word().to_owned(),
                        ]);
                    },
                    |answer| {
                        Ok(match answer.word() {
                            "ok" => Joined::Waiting {
                                position: answer.number(1)?,
                                place: answer.number(2)?,
                                line: answer.text(3)?.parse()?,
                                stamp: answer.number(4)?,
                            },
                            "admitting" => Joined::Admitting,
                            "other_quantity" => Joined::OtherQuantity {
                                quantity: answer.number(1)?,
                            },
                            "device_in_line" => Joined::DeviceInLine,
                            "busy" => Joined::Busy,
                            "ended" => Joined::Ended,
                            "room_closed" => Joined::RoomClosed {
                                room_opens_at: answer.number(1)?,
                            },
                            "missing" => Joined::SaleMissing,
                            _ => return Err(answer.unexpected()),
                        })
                    },
                )
            })
            .await
    }

    pub async fn place(&self, sale: SaleId, shopper: ShopperId) -> Result<At<InLine<Stands>>> {
        self.place
            .submit(&sale, shopper, || {
                self.sale_batcher(
                    "place",
                    &PLACE,
                    sale,
                    |shopper: &ShopperId, args| args.push(shopper.to_string()),
                    |answer| {
                        Ok(match answer.word() {
                            "waiting" => Stands::Waiting {
                                position: answer.number(1)?,
                                quantity: answer.number(2)?,
                                place: answer.number(3)?,
                                line: answer.text(4)?.parse()?,
                            },
                            "admitting" => Stands::Admitting {
                                quantity: answer.number(2)?,
                            },
                            "none" => Stands::Nowhere,
                            _ => return Err(answer.unexpected()),
                        })
                    },
                )
            })
            .await
    }

    pub async fn leave(&self, sale: SaleId, shopper: &ShopperId) -> Result<Left> {
        let answer = self
            .runner
            .on_sale(&LEAVE, sale, vec![shopper.to_string()])
            .await?;
        Ok(match answer.get(1).map(String::as_str) {
            Some("ok") => Left::Ok,
            Some("admitting") => Left::Admitting,
            _ => Left::None,
        })
    }

    // --------------------------------------------------------------------------------------------- what workers cause

    /// Writes a sale's settings into Redis; its lanes are opened one by one.
    pub async fn open_sale(&self, sale: &Sale) -> Result<()> {
        let phase = match sale.status {
            Phase::Scheduled | Phase::Waiting => "open",
            other => phase_word(other),
        };
        let settings = vec![
            phase.to_owned(),
            ms(sale.room_opens_at).to_string(),
            ms(sale.start_time).to_string(),
            ms(sale.end_time).to_string(),
            sale.lanes.len().to_string(),
        ];
        self.runner.on_sale(&OPEN_SALE, sale.id, settings).await?;
        Ok(())
    }

    /// Brings a lane's supply to this, as far as units are free to be taken away. The supply that it has now.
    pub async fn set_supply(&self, at: LaneRef, supply: u64) -> Result<u64> {
        let args = vec![at.epoch.to_string(), supply.to_string()];
        first_number(&self.runner.on_lane(&SET_SUPPLY, at, args).await?)
    }

    /// From now on nobody reserves past this place without a claim. Many joiners share one call: the last place of them
    /// closes the gate for all.
    pub async fn close_gate(&self, at: LaneRef, place: u64) -> Result<()> {
        self.close_gate
            .submit(&at, place, || {
                let runner = self.runner.clone();
                Batcher::new("close_gate", BATCH, move |places: Vec<u64>| {
                    let runner = runner.clone();
                    async move {
                        set_gate(&runner, at, "line", places.iter().copied().max().unwrap_or(0)).await?;
                        Ok(vec![(); places.len()])
                    }
                })
            })
            .await
    }

    /// Lets everybody reserve, unless somebody has joined after `place`, the last one given when the line was seen empty.
    pub async fn open_gate(&self, at: LaneRef, place: u64) -> Result<()> {
        set_gate(&self.runner, at, "open", place).await
    }

    pub async fn counters(&self, at: LaneRef) -> Result<Counters> {
        const FIELDS: [&str; 8] = [
            "supply",
            "available",
            "claimed",
            "held",
            "ordering",
            "sold",
            "reservations",
            "expired",
        ];
        let key = self.runner.keys.lane("stock", at);
        let values: Vec<Option<i64>> = self.runner.client.hmget(key, FIELDS.to_vec()).await?;
        let [
            supply,
            available,
            claimed,
            held,
            ordering,
            sold,
            reservations,
            expired,
        ] = values.as_slice()
        else {
            return Err(Error::unexpected("HMGET has lost a field"));
        };
        if supply.is_none() {
            return Err(Error::LaneMissing);
        }
        let count = |value: &Option<i64>| u64::try_from(value.unwrap_or(0)).unwrap_or(0);
        Ok(Counters {
            supply: count(supply),
            available: count(available),
            claimed: count(claimed),
            held: count(held),
            ordering: count(ordering),
            sold: count(sold),
            reservations: count(reservations),
            expired: count(expired),
        })
    }

    /// All lanes together.
    pub async fn sale_counters(&self, sale: &Sale) -> Result<Counters> {
        let mut sum = Counters::default();
        for at in sale.lane_refs() {
            sum.add(self.counters(at).await?);
        }
        Ok(sum)
    }

    /// How many people wait.
    pub async fn queue_length(&self, sale: SaleId) -> Result<u64> {
        let (client, keys) = (&self.runner.client, &self.runner.keys);
        let (all, first): (u64, u64) = tokio::try_join!(
            client.zcard(keys.sale("queue", sale)),
            client.zcard(keys.sale("priority", sale))
        )?;
        Ok(all + first)
    }

    /// Everybody who stands in line: waiting, being called, or absent at their turn.
    pub async fn standing(&self, sale: SaleId) -> Result<u64> {
        let (client, keys) = (&self.runner.client, &self.runner.keys);
        let mut standing = 0;
        for place in ["queue", "priority", "admitting", "parked"] {
            let people: u64 = client.zcard(keys.sale(place, sale)).await?;
            standing += people;
        }
        Ok(standing)
    }

    /// Keeps the leader's last tick for those who have none of their own.
    pub async fn keep_tick(&self, tick: &Tick) -> Result<()> {
        let json = serde_json::to_string(tick).map_err(|error| Error::unexpected(error.to_string()))?;
        let key = self.runner.keys.sale("last_tick", tick.sale);
        let kept_for = Some(Expiration::PX(TICK_KEPT_MS));
        let () = self.runner.client.set(key, json, kept_for, None, false).await?;
        Ok(())
    }

    /// The leader's last tick, if there was one lately.
    pub async fn kept_tick(&self, sale: SaleId) -> Result<Option<Tick>> {
        let key = self.runner.keys.sale("last_tick", sale);
        let json: Option<String> = self.runner.client.get(key).await?;
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }

    /// Ends a line that nobody may join any more. Its history is kept.
    pub async fn drop_line(&self, sale: SaleId) -> Result<()> {
        const LINE: [&str; 7] = [
            "queue",
            "priority",
            "admitting",
            "parked",
            "absent",
            "wants",
            "devices",
        ];
        let keys: Vec<String> = LINE.map(|name| self.runner.keys.sale(name, sale)).into();
        // Freed by another thread of Redis: ten million places take seconds.
        let _: u64 = self.runner.client.unlink(keys).await?;
        Ok(())
    }

    /// The front of the line. `share`: percent of the step for the priority line.
    pub async fn admit(&self, sale: SaleId, most: usize, share: u32) -> Result<Called> {
        let args = vec![most.min(ADMIT_BATCH).to_string(), share.to_string()];
        let answers = self.runner.on_sale(&ADMIT, sale, args).await?;
        let (last_stamp, answers) = timed(&answers)?;
        let (waiting, answers) = timed(answers)?;
        let mut all = Called {
            last_stamp,
            waiting,
            ..Called::default()
        };
        for text in answers {
            let answer = Answer::of(text);
            match answer.number(1)? {
                0 => all.parked.push(answer.parse(0)?),
                quantity => all.called.push((answer.parse(0)?, quantity)),
            }
        }
        Ok(all)
    }

    /// Shoppers whose last socket here has closed. Does not wait: one who is not marked is called, and does not come.
    pub fn go_away(&self, sale: SaleId, shopper: ShopperId) -> Result<()> {
        self.go_away.post(&sale, shopper, || {
            let runner = self.runner.clone();
            Batcher::new("go_away", BATCH, move |shoppers: Vec<ShopperId>| {
                let runner = runner.clone();
                async move {
                    let args = shoppers.iter().map(ShopperId::to_string).collect();
                    runner.on_sale(&GO_AWAY, sale, args).await?;
                    Ok(vec![(); shoppers.len()])
                }
            })
        })
    }

    /// The same for many, and waits.
    pub async fn mark_away(&self, sale: SaleId, shoppers: &[ShopperId]) -> Result<()> {
        let args = shoppers.iter().map(ShopperId::to_string).collect();
        self.runner.on_sale(&GO_AWAY, sale, args).await?;
        Ok(())
    }

    /// How many stand in a line up to this place.
    pub async fn standing_up_to(&self, sale: SaleId, line: LineName, place: u64) -> Result<u64> {
        let key = self.runner.keys.sale(line.word(), sale);
        Ok(self.runner.client.zcount(key, 0.0, place as f64).await?)
    }

    /// The first of those who stand in a line behind one place and before another, with their places.
    pub async fn behind(
        &self,
        sale: SaleId,
        line: LineName,
        place: u64,
        before: u64,
        most: usize,
    ) -> Result<Vec<(ShopperId, u64)>> {
        let key = self.runner.keys.sale(line.word(), sale);
        let limit = Some((0, most as i64));
        let found: Vec<(String, f64)> = self
            .runner
            .client
            .zrangebyscore(
                key,
                (place + 1) as f64,
                before.saturating_sub(1) as f64,
                true,
                limit,
            )
            .await?;
        found
            .into_iter()
            .map(|(name, place)| {
                let shopper = name
                    .parse()
                    .map_err(|_| Error::unexpected("a bad shopper in line"))?;
                Ok((shopper, place as u64))
            })
            .collect()
    }

    /// A gateway is alive.
    pub async fn beat(&self, gateway: GatewayId) -> Result<()> {
        let now = self.clock().await? as f64;
        let key = self.runner.keys.all_sales("gateways");
        let _: u64 = self
            .runner
            .client
            .zadd(key, None, None, false, false, (now, gateway.0))
            .await?;
        Ok(())
    }

    /// A gateway ends as it should.
    pub async fn sign_off(&self, gateway: GatewayId) -> Result<()> {
        let key = self.runner.keys.all_sales("gateways");
        let _: u64 = self.runner.client.zrem(key, gateway.0).await?;
        Ok(())
    }

    /// Whether a gateway has said so lately.
    pub async fn is_alive(&self, gateway: GatewayId) -> Result<bool> {
        let key = self.runner.keys.all_sales("gateways");
        let beat: Option<f64> = self.runner.client.zscore(key, gateway.0).await?;
        let since = self
            .clock()
            .await?
            .saturating_sub(GATEWAY_SILENCE.as_millis() as u64);
        Ok(beat.is_some_and(|beat| beat as u64 >= since))
    }

    /// When the gateway that died last was last alive, in ms; of those silent for too long, and not yet forgotten.
    pub async fn last_death(&self, remembered: Duration) -> Result<Option<u64>> {
        let key = self.runner.keys.all_sales("gateways");
        let now = self.clock().await?;
        let before = |ago: Duration| now.saturating_sub(ago.as_millis() as u64) as f64;
        let client = &self.runner.client;
        let _: u64 = client.zremrangebyscore(&key, 0.0, before(remembered)).await?;
        let last: Vec<(String, f64)> = client
            .zrevrangebyscore(&key, before(GATEWAY_SILENCE), 0.0, true, Some((0, 1)))
            .await?;
        Ok(last.first().map(|(_, beat)| *beat as u64))
    }

    /// Takes those out of the line who have been absent for so long.
    pub async fn expire_absent(&self, sale: SaleId, absence_ms: u64) -> Result<At<Vec<ShopperId>>> {
        let args = vec![absence_ms.to_string(), EXPIRE_BATCH.to_string()];
        let answers = self.runner.on_sale(&EXPIRE_ABSENT, sale, args).await?;
        let (now, answers) = timed(&answers)?;
        let value = answers
            .iter()
            .map(|text| Answer::of(text).parse(0))
            .collect::<Result<_>>()?;
        Ok(At { now, value })
    }

    pub async fn claim(
        &self,
        at: LaneRef,
        by: CalledBy,
        wanted: &[(ShopperId, u32)],
    ) -> Result<At<Vec<Claimed>>> {
        let mut args = vec![at.epoch.to_string(), by.word().to_owned()];
        args.extend(
            wanted
                .iter()
                .flat_map(|(shopper, quantity)| [shopper.to_string(), quantity.to_string()]),
        );
        let answers = self.runner.on_lane(&CLAIM, at, args).await?;
        let (now, answers) = timed(&answers)?;
        let value = answers
            .iter()
            .map(|text| {
                let answer = Answer::of(text);
                Ok(match answer.word() {
                    "ok" => Claimed::Ok {
                        quantity: answer.number(1)?,
                        until: answer.number(2)?,
                    },
                    "has_hold" => Claimed::HasHold,
                    "had_turn" => Claimed::HadTurn,
                    "limit" => Claimed::Limit,
                    "short" => Claimed::Short,
                    "shut" => Claimed::Shut,
                    _ => return Err(answer.unexpected()),
                })
            })
            .collect::<Result<_>>()?;
        Ok(At { now, value })
    }

    /// The numbers admitted so far.
    pub async fn settle_admission(&self, sale: SaleId, verdicts: &[(ShopperId, Verdict)]) -> Result<Served> {
        let args = verdicts
            .iter()
            .flat_map(|(shopper, verdict)| [shopper.to_string(), verdict.word().to_owned()])
            .collect();
        Ok(served(&self.runner.on_sale(&SETTLE_ADMISSION, sale, args).await?)?.0)
    }

    /// Ends what is overdue, some hundreds of items at most; true: there may be more.
    pub async fn expire(&self, at: LaneRef) -> Result<At<(Vec<Overdue>, bool)>> {
        let args = vec![
            at.epoch.to_string(),
            EXPIRE_BATCH.to_string(),
            CHECKOUT_LEASE.as_millis().to_string(),
        ];
        let answers = self.runner.on_lane(&EXPIRE, at, args).await?;
        let (now, answers) = timed(&answers)?;
        let (more, answers) = answers
            .split_first()
            .ok_or_else(|| Error::unexpected("a short answer"))?;
        let ended = answers
            .iter()
            .map(|text| {
                let answer = Answer::of(text);
                let (shopper, quantity) = (answer.parse(1)?, answer.number(2)?);
                Ok(match answer.word() {
                    "lapsed" => Overdue::Lapsed { shopper, quantity },
                    "expired" => Overdue::Expired { shopper, quantity },
                    "overdue" => Overdue::Checkout {
                        shopper,
                        quantity,
                        device: answer.parse(3)?,
                        order: answer.parse(4)?,
                    },
                    _ => return Err(answer.unexpected()),
                })
            })
            .collect::<Result<_>>()?;
        Ok(At {
            now,
            value: (ended, more == "more"),
        })
    }

    /// Units of cancelled orders. Exactly once each, however often this is repeated.
    pub async fn return_units(&self, at: LaneRef, orders: &[LaneOrder]) -> Result<()> {
        let mut args = vec![at.epoch.to_string()];
        args.extend(orders.iter().flat_map(|order| {
            [
                order.shopper.to_string(),
                order.order.to_string(),
                order.quantity.to_string(),
                order.device.to_string(),
                order.hold_command.clone(),
            ]
        }));
        self.runner.on_lane(&RETURN_UNITS, at, args).await?;
        Ok(())
    }

    /// Takes units again for a cancelled order, or gives them back. False: there are none for it. May be repeated.
    pub async fn revive(
        &self,
        at: LaneRef,
        verb: Revive,
        (shopper, order, quantity, device): &(ShopperId, OrderId, u32, DeviceId),
    ) -> Result<bool> {
        let args = vec![
            at.epoch.to_string(),
            if verb == Revive::Take { "take" } else { "give" }.to_owned(),
            shopper.to_string(),
            order.to_string(),
            quantity.to_string(),
            device.to_string(),
        ];
        let answers = self.runner.on_lane(&REVIVE, at, args).await?;
        Ok(answers.get(1).is_some_and(|word| word == "ok"))
    }

    pub async fn number_tick(&self, sale: SaleId, token: &str) -> Result<TickNumber> {
        let answer = self
            .runner
            .on_sale(&NUMBER_TICK, sale, vec![token.to_owned()])
            .await?;
        let at = |i: usize| {
            answer
                .get(i)
                .map_or(Err(Error::unexpected("a short answer")), |t| {
                    Answer::of(t).number(0)
                })
        };
        Ok(TickNumber {
            now: at(0)?,
            seq: at(1)?,
            waiting: at(2)?,
            priority_waiting: at(4)?,
            parked: at(6)?,
            admitted: Served {
                queue: at(3)?,
                priority: at(5)?,
            },
            turns: Turns {
                granted: at(7)?,
                granted_units: at(8)?,
                lapsed: at(9)?,
                lapsed_units: at(10)?,
            },
        })
    }

    /// What the line has counted.
    pub async fn line_counts(&self, sale: SaleId) -> Result<LineCounts> {
        const FIELDS: [&str; 7] = [
            "admitted",
            "priority_admitted",
            "inversions",
            "granted",
            "granted_units",
            "lapsed",
            "lapsed_units",
        ];
        let (client, keys) = (&self.runner.client, &self.runner.keys);
        let values: Vec<Option<u64>> = client.hmget(keys.sale("sale", sale), FIELDS.to_vec()).await?;
        let at = |i: usize| values.get(i).copied().flatten().unwrap_or(0);
        let (priority_waiting, parked, absent) = tokio::try_join!(
            client.zcard(keys.sale("priority", sale)),
            client.zcard(keys.sale("parked", sale)),
            client.zcard(keys.sale("absent", sale))
        )?;
        Ok(LineCounts {
            served: Served {
                queue: at(0),
                priority: at(1),
            },
            priority_waiting,
            parked,
            absent,
            inversions: at(2),
            turns: Turns {
                granted: at(3),
                granted_units: at(4),
                lapsed: at(5),
                lapsed_units: at(6),
            },
        })
    }

    /// The oldest of what the line's scripts have noted down for Postgres.
    pub async fn journal(&self, sale: SaleId) -> Result<Journal> {
        let key = self.runner.keys.sale("journal", sale);
        let lines: Vec<String> = self
            .runner
            .client
            .lrange(key, 0, JOURNAL_BATCH as i64 - 1)
            .await?;
        let notes = lines.iter().map(|line| read_note(&Answer::of(line)));
        Ok(Journal {
            notes: notes.collect::<Result<_>>()?,
            ends: lines.first().cloned().zip(lines.last().cloned()),
        })
    }

    /// What was written may go, unless somebody else has taken it away: what stands there since, nobody has read.
    pub async fn drop_journal(&self, sale: SaleId, read: Journal) -> Result<()> {
        if let Some((first, last)) = read.ends {
            let args = vec![read.notes.len().to_string(), first, last];
            self.runner.on_sale(&DROP_JOURNAL, sale, args).await?;
        }
        Ok(())
    }

    /// Counts claims that were granted, or not used.
    pub async fn count_turns(&self, sale: SaleId, more: Turns) -> Result<()> {
        if more == Turns::default() {
            return Ok(());
        }
        let key = self.runner.keys.sale("sale", sale);
        let pipeline = self.runner.client.pipeline();
        for (field, by) in [
            ("granted", more.granted),
            ("granted_units", more.granted_units),
            ("lapsed", more.lapsed),
            ("lapsed_units", more.lapsed_units),
        ] {
            if by > 0 {
                let _: () = pipeline.hincrby(&key, field, by as i64).await?;
            }
        }
        let _: Vec<u64> = pipeline.all().await?;
        Ok(())
    }

    /// When the next claim, hold or checkout of a lane ends by itself.
    pub async fn next_deadline(&self, at: LaneRef) -> Result<Option<u64>> {
        let args = vec![at.epoch.to_string(), LAPSE_BUCKETS.to_string()];
        let answers = self.runner.on_lane(&NEXT_LAPSE, at, args).await?;
        let (_, answers) = timed(&answers)?;
        let till = answers.first().and_then(|till| till.parse().ok()).unwrap_or(0);
        Ok((till > 0).then_some(till))
    }

    /// Whether this token leads the sale now. A lease of 0 steps down.
    pub async fn lead(&self, sale: SaleId, token: &str, lease: Duration) -> Result<bool> {
        let args = vec![token.to_owned(), lease.as_millis().to_string()];
        let answer = self.runner.on_sale(&LEAD, sale, args).await?;
        Ok(answer.first().is_some_and(|word| word == "yes"))
    }

    /// Notes that a shopper is at a gateway; at which others they have been, within a day.
    pub async fn arrive(&self, shopper: &ShopperId, gateway: GatewayId) -> Result<Vec<GatewayId>> {
        const LIFE_S: i64 = 24 * 3600;
        let key = self.runner.keys.arrivals(shopper);
        let together = self.runner.client.pipeline();
        let _: () = together.sadd(&key, gateway.0).await?;
        let _: () = together.expire(&key, LIFE_S, None).await?;
        let _: () = together.smembers(&key).await?;
        let (_, _, all): (u64, u64, Vec<i64>) = together.all().await?;
        let others = all.into_iter().filter(|other| *other != gateway.0);
        Ok(others.map(GatewayId).collect())
    }

    /// A gateway is gone, and a shopper's arrival there with it.
    pub async fn forget_arrival(&self, shopper: &ShopperId, gateway: GatewayId) -> Result<()> {
        let key = self.runner.keys.arrivals(shopper);
        let _: u64 = self.runner.client.srem(&key, gateway.0).await?;
        Ok(())
    }

    /// Notes how many look at a sale in this minute through one part of a gateway. One number, whatever it is: people are
    /// not named, so whoever looks through two gateways is counted twice.
    pub async fn mark_active(&self, sale: SaleId, minute: u64, part: String, people: u64) -> Result<()> {
        const LIFE_S: i64 = 180;
        let (client, key) = (&self.runner.client, self.active_key(sale, minute));
        let _: () = client.hset(&key, (part, people)).await?;
        let _: () = client.expire(&key, LIFE_S, None).await?;
        Ok(())
    }

    /// People who looked at a sale in this minute or the one before.
    pub async fn active_users(&self, sale: SaleId, minute: u64) -> Result<u64> {
        let client = &self.runner.client;
        let (before, now) = (minute.saturating_sub(1), minute);
        let (before, now): (HashMap<String, u64>, HashMap<String, u64>) = tokio::try_join!(
            client.hgetall(self.active_key(sale, before)),
            client.hgetall(self.active_key(sale, now)),
        )?;
        let mut parts = before;
        for (part, people) in now {
            let most = parts.entry(part).or_default();
            *most = people.max(*most);
        }
        Ok(parts.values().sum())
    }

    fn active_key(&self, sale: SaleId, minute: u64) -> String {
        self.runner.keys.sale("active_users", sale) + &format!(":{minute}")
    }

    // ------------------------------------------------------------------------------------------------------- batchers

    fn lane_batcher<I, O>(
        &self,
        name: &'static str,
        file: &'static ScriptFile,
        at: LaneRef,
        head: Vec<String>,
        write: fn(&I, &mut Vec<String>),
        read: fn(&Answer<'_>) -> Result<O>,
    ) -> Batcher<I, At<O>>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
    {
        let runner = self.runner.clone();
        Batcher::new(name, BATCH, move |items: Vec<I>| {
            let (runner, mut args) = (runner.clone(), vec![at.epoch.to_string()]);
            args.extend(head.iter().cloned());
            items.iter().for_each(|item| write(item, &mut args));
            async move {
                let answers = runner.on_lane(file, at, args).await?;
                let (now, answers) = timed(&answers)?;
                answers
                    .iter()
                    .map(|text| {
                        Ok(At {
                            now,
                            value: read(&Answer::of(text))?,
                        })
                    })
                    .collect()
            }
        })
    }

    fn sale_batcher<I, O>(
        &self,
        name: &'static str,
        file: &'static ScriptFile,
        sale: SaleId,
        write: fn(&I, &mut Vec<String>),
        read: fn(&Answer<'_>) -> Result<O>,
    ) -> Batcher<I, At<InLine<O>>>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
    {
        let runner = self.runner.clone();
        Batcher::new(name, BATCH, move |items: Vec<I>| {
            let (runner, mut args) = (runner.clone(), vec![]);
            items.iter().for_each(|item| write(item, &mut args));
            async move {
                let answers = runner.on_sale(file, sale, args).await?;
                let (now, answers) = timed(&answers)?;
                let (admitted, answers) = served(answers)?;
                answers
                    .iter()
                    .map(|text| {
                        Ok(At {
                            now,
                            value: InLine {
                                admitted,
                                value: read(&Answer::of(text))?,
                            },
                        })
                    })
                    .collect()
            }
        })
    }
}

/// A device as the line knows it: 72 bits of SHA-256, because a name of 50 letters would take a quarter of all memory that a
/// long line needs. Two of ten million devices are taken for one with a chance of 1 : 10^8.
pub fn device_mark(device: &DeviceId) -> String {
    const BYTES: usize = 9;
    BASE64.encode(&Sha256::digest(device.as_str().as_bytes())[..BYTES])
}

async fn set_gate(runner: &Runner, at: LaneRef, gate: &str, place: u64) -> Result<()> {
    runner
        .on_lane(
            &SET_GATE,
            at,
            vec![at.epoch.to_string(), gate.into(), place.to_string()],
        )
        .await?;
    Ok(())
}

/// How every connection to Redis is set up.
pub fn builder(url: &str) -> Result<Builder> {
    let mut builder = Builder::from_config(Config::from_url(url)?);
    builder
        .with_performance_config(|performance| performance.default_command_timeout = REDIS_TIMEOUT)
        .with_connection_config(|connection| {
            connection.connection_timeout = REDIS_TIMEOUT;
            connection.internal_command_timeout = REDIS_TIMEOUT;
        })
        .set_policy(ReconnectPolicy::new_exponential(
            0,
            RECONNECT_MIN_MS,
            RECONNECT_MAX_MS,
            2,
        ));
    Ok(builder)
}

/// Redis' clock now, so many ms ahead of this host's.
fn by_redis(offset: i64) -> u64 {
    u64::try_from(crate::clock::now().timestamp_millis() + offset).unwrap_or(0)
}

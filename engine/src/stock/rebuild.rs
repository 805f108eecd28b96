//! A lost lane begins a new life: its records are read, settled with Postgres, and written back under a new epoch. The decisions
//! are pure ([`settle`]); the leader's worker carries them out.

use super::{Stock, answer::ScriptAnswer, record::RecordState, scripts::*};
use crate::{
    boxed,
    error::{Error, Result},
    sale::{LaneInfo, LaneOrder, LaneRef, LaneSnapshot, Sale, Unsettled, ms, phase_word},
};
use flashsale_protocol::{Allocation, OrderStatus, Phase, ShopperId};
use fred::types::scan::Scanner;
use futures_util::TryStreamExt;
use std::{collections::HashMap, pin::pin};

/// Items written, and records read, in one call.
const CHUNK: usize = 500;

/// A closing time that never comes; a double holds it exactly.
const NEVER: u64 = 1 << 52;

/// The state of a lane in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneLife {
    Open,
    /// Missing, opened in another life of Redis, or missing one of its keys.
    Lost,
    /// Redis has it under another epoch.
    OtherEpoch(u32),
}

/// A shopper's record as it stands in Redis; see `lua/lib/lane.lua`.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptRecord {
    pub shopper: ShopperId,
    pub state: RecordState,
    pub quantity: u32,
    pub until: u64,
    /// Units in orders.
    pub bought: u64,
    pub order: String,
    pub command: String,
    pub device: String,
    pub asked: String,
    pub held_until: u64,
}

/// The content with which a lane's new life starts.
#[derive(Debug, Default, PartialEq)]
pub struct Settled {
    /// Records that have changed, and all running ones.
    pub records: Vec<KeptRecord>,
    /// Running claims and holds for which no unit is left.
    pub revoked: Vec<KeptRecord>,
    pub claimed: u64,
    pub held: u64,
    pub devices: HashMap<String, u64>,
}

/// The records whose outcome only their orders tell.
pub fn unsettled(records: &[KeptRecord]) -> Vec<Unsettled> {
    let open = |record: &&KeptRecord| {
        matches!(
            record.state,
            RecordState::Held | RecordState::Ordering | RecordState::Ordered
        )
    };
    records
        .iter()
        .filter(open)
        .map(|record| Unsettled {
            shopper: record.shopper.to_string(),
            hold: record.command.clone(),
            order: record.order.clone(),
        })
        .collect()
}

/// Settles the records in Redis with the orders in Postgres: an order replaces the hold it came from; a checkout without an order
/// is a hold again; claims and holds without units are revoked, the latest first. Also revoked is a hold whose shopper or device
/// has reached the limit without it: it had ended, and Redis has forgotten that.
pub fn settle(records: Vec<KeptRecord>, snapshot: &LaneSnapshot, sale: &Sale) -> Settled {
    let mut settled = Settled::default();
    let mut bought: HashMap<ShopperId, u64> = HashMap::new();
    for order in snapshot
        .orders
        .iter()
        .filter(|o| o.status != OrderStatus::Cancelled)
    {
        let units = u64::from(order.quantity);
        *bought.entry(order.shopper.clone()).or_default() += units;
        *settled.devices.entry(order.device.to_string()).or_default() += units;
    }
    let by_id: HashMap<String, &LaneOrder> = snapshot
        .orders
        .iter()
        .map(|order| (order.order.to_string(), order))
        .collect();
    let by_hold: HashMap<(&str, &str), &LaneOrder> = snapshot
        .orders
        .iter()
        .map(|order| ((order.shopper.as_str(), order.hold_command.as_str()), order))
        .collect();

    let mut running = Vec::new();
    for mut record in records {
        let before = record.clone();
        record.bought = bought.remove(&record.shopper).unwrap_or(0);
        let order = by_id
            .get(&record.order)
            .filter(|order| order.hold_command == "-" || order.hold_command == record.command)
            .or_else(|| by_hold.get(&(record.shopper.as_str(), record.command.as_str())));
        match (record.state, order) {
            (RecordState::Ordering | RecordState::Held | RecordState::Ordered, Some(order)) => {
                record.order = order.order.to_string();
                record.state = if order.status == OrderStatus::Cancelled {
                    RecordState::Cancelled
                } else {
                    RecordState::Ordered
                };
            }
            // Commits of the old epoch are refused, so this order will never exist and the hold stands as before.
            (RecordState::Ordering, None) => {
                record.state = RecordState::Held;
                record.until = record.held_until;
                record.order = "-".into();
            }
            (RecordState::Ordered, None) => record.state = RecordState::Released,
            _ => {}
        }
        match record.state {
            RecordState::Held | RecordState::Claim => running.push(record),
            _ if record != before => settled.records.push(record),
            _ => {}
        }
    }
    let without_record = bought.into_iter().map(|(shopper, units)| KeptRecord {
        shopper,
        state: RecordState::None,
        quantity: 0,
        until: 0,
        bought: units,
        order: "-".into(),
        command: "-".into(),
        device: "-".into(),
        asked: "-".into(),
        held_until: 0,
    });
    settled.records.extend(without_record);

    let free = u64::from(snapshot.info.supply.saturating_sub(snapshot.info.allocated));
    // Holds before claims, and in each group the oldest first.
    running.sort_by_key(|record| (record.state == RecordState::Claim, record.until));
    let mut used = 0;
    for mut record in running {
        let units = u64::from(record.quantity);
        let is_hold = record.state == RecordState::Held;
        let on_device = settled.devices.get(&record.device).copied().unwrap_or(0);
        let beyond_limits = record.bought + units > u64::from(sale.per_shopper_limit)
            || on_device + units > u64::from(sale.per_device_limit);
        if used + units > free || (is_hold && beyond_limits) {
            record.state = if is_hold {
                RecordState::Released
            } else {
                RecordState::Lapsed
            };
            settled.records.push(record.clone());
            settled.revoked.push(record);
            continue;
        }
        used += units;
        if is_hold {
            settled.held += units;
            *settled.devices.entry(record.device.clone()).or_default() += units;
        } else {
            settled.claimed += units;
        }
        settled.records.push(record);
    }
    settled
}

impl KeptRecord {
    pub fn parse(shopper: &str, text: &str) -> Result<Self> {
        let answer = ScriptAnswer::of(text);
        Ok(Self {
            shopper: shopper.parse().map_err(|_| answer.unexpected())?,
            state: answer.text(0)?.parse()?,
            quantity: answer.number(1)?,
            until: answer.number(2)?,
            bought: answer.number(3)?,
            order: answer.text(4)?.to_owned(),
            command: answer.text(5)?.to_owned(),
            device: answer.text(6)?.to_owned(),
            asked: answer.text(7)?.to_owned(),
            held_until: answer.number(8)?,
        })
    }

    pub fn text(&self) -> String {
        let Self {
            state,
            quantity,
            until,
            bought,
            order,
            command,
            device,
            asked,
            held_until,
            ..
        } = self;
        format!(
            "{} {quantity} {until} {bought} {order} {command} {device} {asked} {held_until}",
            state.word()
        )
    }

    fn runs(&self) -> bool {
        matches!(
            self.state,
            RecordState::Claim | RecordState::Held | RecordState::Ordering
        )
    }
}

impl Stock {
    pub async fn probe_lane(&self, at: LaneRef) -> Result<LaneLife> {
        let answer = self
            .runner
            .on_lane(&PROBE_LANE, at, vec![at.epoch.to_string()])
            .await?;
        Ok(match answer.first().map_or("", String::as_str) {
            "open" => LaneLife::Open,
            "lost" => LaneLife::Lost,
            epoch => LaneLife::OtherEpoch(
                epoch
                    .parse()
                    .map_err(|_| Error::unexpected(format!("a lane in epoch {epoch:?}")))?,
            ),
        })
    }

    /// Closes the lane under its new epoch, and reads the remaining records.
    pub async fn lock_lane(&self, at: LaneRef) -> Result<Vec<KeptRecord>> {
        self.runner
            .on_lane(&LOCK_LANE, at, vec![at.epoch.to_string()])
            .await?;
        let key = self.runner.keys.lane("holds", at);
        let mut records: HashMap<String, KeptRecord> = HashMap::new();
        let mut pages = pin!(self.runner.client().hscan(key, "*", Some(CHUNK as u32)));
        while let Some(mut page) = pages.try_next().await? {
            for (shopper, text) in page.take_results().map(|map| map.inner()).unwrap_or_default() {
                let (shopper, text) = (
                    shopper.into_string().unwrap_or_default(),
                    text.into_string().unwrap_or_default(),
                );
                if shopper == KEPT {
                    continue;
                }
                // A scan may return a field twice.
                records.insert(shopper.clone(), KeptRecord::parse(&shopper, &text)?);
            }
            page.next();
        }
        Ok(records.into_values().collect())
    }

    /// Writes the content of the lane's new life.
    pub async fn refill_lane(&self, at: LaneRef, settled: &Settled, snapshot: &LaneSnapshot) -> Result<()> {
        let item = |kind: &str, name: String, value: String, until: u64| {
            [kind.to_owned(), name, value, until.to_string()]
        };
        let records = settled.records.iter().map(|record| {
            let until = if record.runs() { record.until } else { 0 };
            item("record", record.shopper.to_string(), record.text(), until)
        });
        let devices = settled
            .devices
            .iter()
            .map(|(what, n)| item("device", what.clone(), n.to_string(), 0));
        let returned = snapshot
            .returned
            .iter()
            .map(|order| item("returned", order.clone(), "0".into(), 0));
        let items: Vec<[String; 4]> = records.chain(devices).chain(returned).collect();
        for chunk in items.chunks(CHUNK) {
            let mut args = vec![at.epoch.to_string()];
            args.extend(chunk.iter().flatten().cloned());
            self.runner.on_lane(&REFILL_LANE, at, args).await?;
        }
        Ok(())
    }

    /// Opens the lane of a new sale. Nobody can stand in its line yet.
    #[boxed]
    pub async fn new_lane(&self, sale: &Sale, info: LaneInfo) -> Result<()> {
        let at = LaneRef {
            sale: sale.id,
            lane: info.lane,
            epoch: info.epoch,
        };
        self.lock_lane(at).await?;
        let gate = if sale.may_open_gate() { "open" } else { "line" };
        self.write_lane(sale, info, 0, 0, gate).await
    }

    /// Opens a lane that was locked for its rebuild, or updates a living lane's settings. A rebuilt lane starts with `claimed`
    /// and `held`. Its gate is the line's: people who waited may be on their way back to their places.
    pub async fn open_lane(&self, sale: &Sale, info: LaneInfo, claimed: u64, held: u64) -> Result<()> {
        self.write_lane(sale, info, claimed, held, "line").await
    }

    async fn write_lane(
        &self,
        sale: &Sale,
        info: LaneInfo,
        claimed: u64,
        held: u64,
        gate: &str,
    ) -> Result<()> {
        let over = matches!(sale.status, Phase::Ended | Phase::Cancelled);
        let args = [
            u64::from(info.epoch),
            u64::from(info.supply),
            u64::from(info.allocated),
            claimed,
            held,
            ms(sale.start_time),
            match (over, sale.allocation, sale.status) {
                (true, _, _) => 0,
                // There are only claims, and these come after the entries have closed; the draw ends by itself.
                (false, Allocation::Draw, _) | (false, _, Phase::Drawing) => NEVER,
                (false, Allocation::Queue, _) => ms(sale.end_time),
            },
            u64::from(sale.is_paused()),
            u64::from(sale.per_shopper_limit),
            u64::from(sale.per_device_limit),
            sale.hold_ms,
            sale.claim_ms,
        ];
        let at = LaneRef {
            sale: sale.id,
            lane: info.lane,
            epoch: info.epoch,
        };
        let mut args: Vec<String> = args.iter().map(u64::to_string).collect();
        args.extend([
            gate.to_owned(),
            phase_word(sale.status).to_owned(),
            info.supply_version.to_string(),
            sale.settings_version.to_string(),
        ]);
        self.runner.on_lane(&OPEN_LANE, at, args).await?;
        Ok(())
    }
}

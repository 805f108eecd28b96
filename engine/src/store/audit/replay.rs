//! Computes a sale's totals from its audit log alone. Pure.

use super::row::{Kind, Place};
use serde_json::Value;
use std::collections::BTreeMap;

/// A lane's totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lane {
    pub epoch: i64,
    pub supply: i64,
    pub allocated: i64,
    pub confirmed: i64,
}

/// A sale's totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub status: String,
    pub stock: i64,
    pub price: i64,
    pub lanes: BTreeMap<i64, Lane>,
    /// Orders by state.
    pub pending: i64,
    pub confirmed: i64,
    pub cancelled: i64,
    /// Checkouts that ended without an order.
    pub abandoned: i64,
    pub revenue: i64,
}

impl Totals {
    /// Takes the next row. An error says what is wrong with it.
    pub fn apply(&mut self, kind: &str, data: &Value) -> Result<(), String> {
        self.take(known(kind)?, data)
    }

    fn take(&mut self, kind: Kind, data: &Value) -> Result<(), String> {
        let first = matches!(kind, Kind::SaleCreated | Kind::LogBegun);
        if first == self.begun() {
            return Err(if first {
                "the sale begins a second time".into()
            } else {
                "the sale has not begun yet".into()
            });
        }
        match kind {
            Kind::SaleCreated => {
                self.status = text(data, "status")?;
                self.stock = number(data, "stock")?;
                self.price = number(data, "price")?;
                self.lanes = numbers(data, "supply")?
                    .into_iter()
                    .zip(0..)
                    .map(|(supply, lane)| {
                        let new = Lane {
                            epoch: 1,
                            supply,
                            ..Lane::default()
                        };
                        (lane, new)
                    })
                    .collect();
            }
            Kind::LogBegun => self.begin(data)?,
            Kind::SaleStatus => self.status = text(data, "to")?,
            Kind::SupplyMoved => {
                let units = number(data, "units")?;
                self.lane(number(data, "from")?)?.supply -= units;
                self.lane(number(data, "to")?)?.supply += units;
            }
            Kind::SupplyChanged => {
                for (lane, units) in numbers(data, "lanes")?.into_iter().zip(numbers(data, "units")?) {
                    self.lane(lane)?.supply += units;
                    self.stock += units;
                }
            }
            Kind::LaneReopened => {
                let (supply, allocated) = (number(data, "supply")?, number(data, "allocated")?);
                let lane = self.lane(number(data, "lane")?)?;
                if (lane.supply, lane.allocated) != (supply, allocated) {
                    return Err(format!(
                        "it tells of {allocated} units allocated of {supply}, the rows before it come to {} of {}",
                        lane.allocated, lane.supply
                    ));
                }
                lane.epoch = number(data, "epoch")?;
            }
            Kind::OrderAbandoned => self.abandoned += 1,
            // Postgres had forgotten it: it returns as a cancelled order, and this log never counted its units.
            Kind::OrderLost => self.cancelled += 1,
            Kind::OrderPlaced => {
                self.pending += 1;
                self.order_lane(data, 1, 0)?;
            }
            Kind::OrderConfirmed => {
                self.pending -= 1;
                self.confirmed += 1;
                self.revenue += number(data, "amount")?;
                self.order_lane(data, 0, 1)?;
            }
            Kind::OrderCancelled => {
                self.cancelled += 1;
                match text(data, "was")?.as_str() {
                    "pending" => {
                        self.pending -= 1;
                        self.order_lane(data, -1, 0)?;
                    }
                    "confirmed" => {
                        self.confirmed -= 1;
                        self.revenue -= number(data, "amount")?;
                        self.order_lane(data, -1, -1)?;
                    }
                    was => return Err(format!("an order that was {was:?} cannot be cancelled")),
                }
            }
            // Money came too late for an order, and the order got units once more.
            Kind::OrderRevived => {
                self.cancelled -= 1;
                self.confirmed += 1;
                self.revenue += number(data, "amount")?;
                self.order_lane(data, 1, 1)?;
            }
            // An operator confirmed that Postgres has lost rows of this log: the later rows are numbered anew.
            Kind::Recovered => {}
            // The log itself is compared with it.
            Kind::HeadsTied => {}
            // These change who gets units and when, not how many there are.
            Kind::InflowChanged | Kind::TargetDelayChanged | Kind::PictureChanged => {}
            Kind::DrawClosed | Kind::DrawBeacon | Kind::DrawHeld | Kind::DrawOver => {}
            // Money on its way changes no total here.
            Kind::RefundAsked
            | Kind::RefundDone
            | Kind::RefundRefused
            | Kind::RefundRetried
            | Kind::PaymentMismatch
            | Kind::DisputeOpened
            | Kind::DisputeClosed => {}
            // Steps at the shop's checkout: what they do to the order has a row of its own.
            Kind::HandoffRedeemed | Kind::HandoffRefused | Kind::HandoffFailed | Kind::OrderExtended => {}
        }
        self.check()
    }

    /// Takes the next row of one of a sale's chains of format 2. The sale's own chain (None) comes first, then each lane's: lanes'
    /// totals depend on their own chain alone. Returns the row's kind.
    pub fn apply_in(&mut self, lane: Option<i64>, kind: &str, data: &Value) -> Result<Kind, String> {
        let kind = known(kind)?;
        let units = match (kind.place(), lane) {
            (Place::Sale, None) => {
                self.take(kind, data)?;
                return Ok(kind);
            }
            (Place::Lane, Some(lane)) => {
                let about = number(data, "lane")?;
                if about != lane {
                    return Err(format!(
                        "it is about lane {about} and stands in the chain of lane {lane}"
                    ));
                }
                self.take(kind, data)?;
                return Ok(kind);
            }
            (Place::BothLanes, Some(lane)) => {
                let (from, to) = (number(data, "from")?, number(data, "to")?);
                let units = number(data, "units")?;
                match (from == lane, to == lane) {
                    (true, false) => -units,
                    (false, true) => units,
                    _ => return Err(format!("it does not move units between lane {lane} and another")),
                }
            }
            (Place::LanesAndSale, lane) => {
                let all = numbers(data, "lanes")?.into_iter().zip(numbers(data, "units")?);
                let here: Vec<i64> = all
                    .filter(|(of, _)| lane.is_none_or(|lane| *of == lane))
                    .map(|(_, units)| units)
                    .collect();
                if here.is_empty() {
                    return Err("it does not change units of this chain".into());
                }
                here.into_iter().sum()
            }
            (Place::Sale, Some(_)) | (Place::Lane | Place::BothLanes, None) => {
                return Err(format!(
                    "rows of the kind {:?} do not stand in this chain",
                    <&str>::from(kind)
                ));
            }
        };
        if !self.begun() {
            return Err("the sale has not begun yet".into());
        }
        match lane {
            Some(lane) => self.lane(lane)?.supply += units,
            None => self.stock += units,
        }
        self.check()?;
        Ok(kind)
    }

    fn begun(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// Begins with a log that starts in the middle of a sale's life.
    fn begin(&mut self, data: &Value) -> Result<(), String> {
        self.status = text(data, "status")?;
        self.stock = number(data, "stock")?;
        self.price = number(data, "price")?;
        self.pending = number(data, "pending")?;
        self.confirmed = number(data, "confirmed")?;
        self.cancelled = number(data, "cancelled")?;
        self.abandoned = number(data, "abandoned")?;
        self.revenue = number(data, "revenue")?;
        for lane in list(data, "lanes")? {
            let totals = Lane {
                epoch: number(lane, "epoch")?,
                supply: number(lane, "supply")?,
                allocated: number(lane, "allocated")?,
                confirmed: number(lane, "confirmed")?,
            };
            self.lanes.insert(number(lane, "lane")?, totals);
        }
        Ok(())
    }

    fn lane(&mut self, lane: i64) -> Result<&mut Lane, String> {
        self.lanes
            .get_mut(&lane)
            .ok_or_else(|| format!("there is no lane {lane}"))
    }

    /// Adds an order's units, this many times, to its lane's allocated and confirmed units.
    fn order_lane(&mut self, data: &Value, allocated: i64, confirmed: i64) -> Result<(), String> {
        let units = number(data, "units")?;
        let lane = self.lane(number(data, "lane")?)?;
        lane.allocated += allocated * units;
        lane.confirmed += confirmed * units;
        Ok(())
    }

    /// Checks the rules that hold after every row.
    fn check(&self) -> Result<(), String> {
        for (number, lane) in &self.lanes {
            if !(0 <= lane.confirmed && lane.confirmed <= lane.allocated && lane.allocated <= lane.supply) {
                return Err(format!("lane {number} comes to {lane:?} by it"));
            }
        }
        if self.pending < 0 || self.confirmed < 0 || self.cancelled < 0 {
            return Err("fewer than no orders are left by it".into());
        }
        Ok(())
    }
}

fn known(kind: &str) -> Result<Kind, String> {
    let unknown = |_| format!("rows of the kind {kind:?} cannot be replayed");
    kind.parse().map_err(unknown)
}

fn number(data: &Value, name: &str) -> Result<i64, String> {
    data[name]
        .as_i64()
        .ok_or_else(|| format!("{name:?} is missing or no whole number"))
}

fn text(data: &Value, name: &str) -> Result<String, String> {
    data[name]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{name:?} is missing or no text"))
}

fn list<'a>(data: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    data[name]
        .as_array()
        .ok_or_else(|| format!("{name:?} is missing or no list"))
}

fn numbers(data: &Value, name: &str) -> Result<Vec<i64>, String> {
    list(data, name)?
        .iter()
        .map(|item| {
            item.as_i64()
                .ok_or_else(|| format!("{name:?} is no list of whole numbers"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn replay(rows: &[(&str, Value)]) -> Result<Totals, String> {
        let mut totals = Totals::default();
        for (kind, data) in rows {
            totals.apply(kind, data)?;
        }
        Ok(totals)
    }

    fn created() -> (&'static str, Value) {
        let data = json!({ "status": "scheduled", "stock": 5, "price": 100, "supply": [3, 2] });
        ("sale_created", data)
    }

    fn order(kind: &'static str, units: i64) -> (&'static str, Value) {
        let data = json!({ "lane": 0, "units": units, "amount": 100 * units, "was": "pending" });
        (kind, data)
    }

    #[test]
    fn every_kind_of_row_changes_the_totals_that_it_tells_of() {
        let mut confirmed_then_cancelled = order("order_cancelled", 1);
        confirmed_then_cancelled.1["was"] = json!("confirmed");
        let totals = replay(&[
            created(),
            ("sale_status", json!({ "to": "live" })),
            ("supply_moved", json!({ "from": 1, "to": 0, "units": 2 })),
            ("supply_changed", json!({ "lanes": [0, 1], "units": [-1, 4] })),
            order("order_placed", 3),
            order("order_placed", 1),
            (
                "lane_reopened",
                json!({ "lane": 0, "epoch": 7, "supply": 4, "allocated": 4 }),
            ),
            order("order_confirmed", 3),
            order("order_cancelled", 1),
            order("order_revived", 1),
            confirmed_then_cancelled,
            ("order_abandoned", json!({})),
            ("recovered", json!({})),
            ("order_lost", json!({})),
            ("refund_asked", json!({})),
        ])
        .expect("a sound log");
        let lane = Lane {
            epoch: 7,
            supply: 4,
            allocated: 3,
            confirmed: 3,
        };
        assert_eq!(
            (totals.status.as_str(), totals.stock, totals.lanes[&0]),
            ("live", 8, lane)
        );
        assert_eq!(totals.lanes[&1].supply, 4);
        let orders = (
            totals.pending,
            totals.confirmed,
            totals.cancelled,
            totals.abandoned,
        );
        assert_eq!((orders, totals.revenue), ((0, 1, 2, 1), 300));
    }

    #[test]
    fn chains_of_lanes_come_to_the_same_totals_as_one_chain() {
        let moved = ("supply_moved", json!({ "from": 1, "to": 0, "units": 2 }));
        let changed = ("supply_changed", json!({ "lanes": [0, 1], "units": [-1, 4] }));
        let whole = [
            created(),
            moved.clone(),
            changed.clone(),
            order("order_placed", 3),
        ];
        let of_lanes = [
            (None, created()),
            (None, changed.clone()),
            (None, ("heads_tied", json!({}))),
            (Some(0), moved.clone()),
            (Some(0), changed.clone()),
            (Some(0), order("order_placed", 3)),
            (Some(1), moved),
            (Some(1), changed),
        ];
        let mut totals = Totals::default();
        for (lane, (kind, data)) in &of_lanes {
            totals.apply_in(*lane, kind, data).expect("a sound log");
        }
        assert_eq!(Ok(totals), replay(&whole));
    }

    #[test]
    fn a_row_in_another_chain_than_its_own_is_refused() {
        for (lane, (kind, data), word) in [
            (Some(1), order("order_placed", 1), "about lane 0"),
            (None, order("order_placed", 1), "do not stand"),
            (Some(0), ("sale_status", json!({ "to": "live" })), "do not stand"),
            (Some(0), ("heads_tied", json!({})), "do not stand"),
            (
                None,
                ("supply_moved", json!({ "from": 1, "to": 0, "units": 2 })),
                "do not stand",
            ),
            (Some(0), ("gift", json!({})), "cannot be replayed"),
            (
                Some(0),
                ("supply_moved", json!({ "from": 1, "to": 2, "units": 1 })),
                "lane 0 and another",
            ),
            (
                Some(0),
                ("supply_changed", json!({ "lanes": [1], "units": [1] })),
                "this chain",
            ),
            (
                Some(0),
                ("supply_moved", json!({ "from": 0, "to": 1, "units": 4 })),
                "lane 0",
            ),
        ] {
            let mut totals = Totals::default();
            let (first, begun) = created();
            totals.apply_in(None, first, &begun).expect("a sound log");
            let refusal = totals.apply_in(lane, kind, &data).expect_err(word);
            assert!(refusal.contains(word), "{refusal}");
        }
        let refusal = Totals::default().apply_in(
            Some(0),
            "supply_moved",
            &json!({ "from": 1, "to": 0, "units": 2 }),
        );
        assert!(refusal.expect_err("early").contains("not begun"));
    }

    #[test]
    fn a_row_that_cannot_be_is_refused() {
        for (rows, word) in [
            (vec![order("order_placed", 1)], "not begun"),
            (vec![created(), created()], "second time"),
            (vec![created(), ("gift", json!({}))], "cannot be replayed"),
            (vec![created(), order("order_placed", 4)], "lane 0"),
            (vec![created(), order("order_confirmed", 1)], "lane 0"),
            (vec![created(), ("sale_status", json!({ "to": 1 }))], "\"to\""),
            (
                vec![
                    created(),
                    ("supply_moved", json!({ "from": 9, "to": 0, "units": 1 })),
                ],
                "no lane 9",
            ),
            (
                vec![
                    created(),
                    (
                        "lane_reopened",
                        json!({ "lane": 0, "epoch": 2, "supply": 3, "allocated": 1 }),
                    ),
                ],
                "come to 0 of 3",
            ),
        ] {
            let refusal = replay(&rows).expect_err(word);
            assert!(refusal.contains(word), "{refusal}");
        }
    }
}

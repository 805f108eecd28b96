//! Sales and their lanes.

use super::draws::{self, NewDraw};
use super::orders::order_status;
use super::{LOOK, Store, audit};
use crate::{
    batcher::Batcher,
    error::{Error, Result},
    sale::{LaneInfo, LaneOrder, LaneRef, LaneSnapshot, Sale, allocation_word, draw_weight_word, phase_word},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Allocation, DrawWeight, Phase, SaleId};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use std::collections::HashMap;

/// How many sales a list shows.
const LIST_LIMIT: i64 = 100;

struct SaleRow {
    sale_id: String,
    merchant_id: String,
    product_id: String,
    product_name: String,
    description: String,
    currency: String,
    original_price: i64,
    sale_price: i64,
    total_stock: i32,
    room_opens_at: DateTime<Utc>,
    start_time: DateTime<Utc>,
    end_time: DateTime<Utc>,
    per_shopper_limit: i32,
    per_device_limit: i32,
    hold_ms: i64,
    claim_ms: i64,
    payment_ms: i64,
    inflow: i32,
    inflow_cut_at: Option<DateTime<Utc>>,
    allocation: String,
    draw_weight: String,
    opening_seed: Option<String>,
    priority_share: i32,
    absence_ms: i64,
    status: String,
    created_at: DateTime<Utc>,
}

/// Orders of a sale by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrderCounts {
    pub pending: u64,
    pub confirmed: u64,
    pub cancelled: u64,
    pub revenue: i64,
}

impl Store {
    /// Writes a sale, its lanes, the seed of its draw and the audit row.
    pub async fn create_sale(&self, sale: &Sale, draw: Option<&NewDraw>) -> Result<()> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "INSERT INTO flash_sales (sale_id, merchant_id, product_id, product_name, description, currency,
                original_price, sale_price, total_stock, lanes, room_opens_at, start_time, end_time,
                per_shopper_limit, per_device_limit, hold_ms, claim_ms, payment_ms, inflow, status, created_at,
                allocation, opening_seed, priority_share, absence_ms, draw_weight)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                $22, $23, $24, $25, $26)",
            sale.id.to_string(),
            sale.merchant,
            sale.product_id,
            sale.product_name,
            sale.description,
            sale.currency,
            sale.original_price,
            sale.sale_price,
            sale.total_stock as i32,
            sale.lanes.len() as i16,
            sale.room_opens_at,
            sale.start_time,
            sale.end_time,
            sale.per_shopper_limit as i32,
            sale.per_device_limit as i32,
            sale.hold_ms as i64,
            sale.claim_ms as i64,
            sale.payment_ms as i64,
            sale.inflow as i32,
            phase_word(sale.status),
            sale.created_at,
            allocation_word(sale.allocation),
            sale.opening_seed.map(|seed| seed.reveal()),
            sale.priority_share as i32,
            sale.absence_ms as i64,
            draw_weight_word(sale.draw_weight),
        )
        .execute(&mut *tx)
        .await?;
        if let Some(draw) = draw {
            draws::create(&mut tx, sale.id, draw).await?;
        }
        for lane in &sale.lanes {
            sqlx::query!(
                "INSERT INTO sale_lanes (sale_id, lane, epoch, supply) VALUES ($1, $2, $3, $4)",
                sale.id.to_string(),
                lane.lane as i16,
                lane.epoch as i32,
                lane.supply as i32,
            )
            .execute(&mut *tx)
            .await?;
        }
        let supply: Vec<u32> = sale.lanes.iter().map(|lane| lane.supply).collect();
        let entry = audit::Entry {
            sale: sale.id.to_string(),
            actor: sale.merchant.clone(),
            kind: "sale_created",
            data: json!({
                "stock": sale.total_stock, "supply": supply, "price": sale.sale_price, "currency": sale.currency,
                "status": phase_word(sale.status), "draw_commitment": draw.map(|draw| draw.seed.commitment()),
                "opening_seed_hash": sale.opening_seed_hash(),
            }),
        };
        audit::begin(&mut tx, sale.id).await?;
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn sale(&self, id: SaleId) -> Result<Option<Sale>> {
        let rows = sqlx::query_as!(
            SaleRow,
            "SELECT sale_id, merchant_id, product_id, product_name, description, currency, original_price, sale_price,
                total_stock, room_opens_at, start_time, end_time, per_shopper_limit, per_device_limit, hold_ms,
                claim_ms, payment_ms, inflow, inflow_cut_at, allocation, draw_weight, opening_seed, priority_share, absence_ms,
                status, created_at
             FROM flash_sales WHERE sale_id = $1",
            id.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(self.with_lanes(rows).await?.pop())
    }

    /// The latest sales by start, of one merchant or of all.
    pub async fn list_sales(&self, merchant: Option<&str>) -> Result<Vec<Sale>> {
        let rows = sqlx::query_as!(
            SaleRow,
            "SELECT sale_id, merchant_id, product_id, product_name, description, currency, original_price, sale_price,
                total_stock, room_opens_at, start_time, end_time, per_shopper_limit, per_device_limit, hold_ms,
                claim_ms, payment_ms, inflow, inflow_cut_at, allocation, draw_weight, opening_seed, priority_share, absence_ms,
                status, created_at
             FROM flash_sales WHERE $1::text IS NULL OR merchant_id = $1
             ORDER BY start_time DESC LIMIT $2",
            merchant,
            LIST_LIMIT,
        )
        .fetch_all(&self.pool)
        .await?;
        self.with_lanes(rows).await
    }

    /// What workers look after: every sale that is not over, and those over that still have something to settle.
    pub async fn sales_to_lead(&self) -> Result<Vec<Sale>> {
        let rows = sqlx::query_as!(
            SaleRow,
            "SELECT sale_id, merchant_id, product_id, product_name, description, currency, original_price, sale_price,
                total_stock, room_opens_at, start_time, end_time, per_shopper_limit, per_device_limit, hold_ms,
                claim_ms, payment_ms, inflow, inflow_cut_at, allocation, draw_weight, opening_seed, priority_share, absence_ms,
                status, created_at
             FROM flash_sales s
             WHERE status NOT IN ('ended', 'cancelled')
                OR end_time > now() - interval '10 minutes'
                -- Its draw was over later, and the entries of its line are to be closed.
                OR EXISTS (SELECT 1 FROM draws d WHERE d.sale_id = s.sale_id AND d.over_at > now() - interval '10 minutes')
                OR EXISTS (SELECT 1 FROM flash_sale_orders o
                           WHERE o.sale_id = s.sale_id AND (o.status = 'pending' OR NOT o.units_returned))
             ORDER BY start_time",
        )
        .fetch_all(&self.pool)
        .await?;
        self.with_lanes(rows).await
    }

    async fn with_lanes(&self, rows: Vec<SaleRow>) -> Result<Vec<Sale>> {
        let ids: Vec<String> = rows.iter().map(|row| row.sale_id.clone()).collect();
        let mut lanes: HashMap<String, Vec<LaneInfo>> = HashMap::new();
        let lane_rows = sqlx::query!(
            "SELECT sale_id, lane, epoch, supply, allocated, confirmed FROM sale_lanes
             WHERE sale_id = ANY($1) ORDER BY sale_id, lane",
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        for row in lane_rows {
            lanes.entry(row.sale_id).or_default().push(LaneInfo {
                lane: row.lane as u16,
                epoch: row.epoch as u32,
                supply: row.supply as u32,
                allocated: row.allocated as u32,
                confirmed: row.confirmed as u32,
            });
        }
        rows.into_iter()
            .map(|row| {
                let lanes = lanes.remove(&row.sale_id).unwrap_or_default();
                sale_from(row, lanes)
            })
            .collect()
    }

    /// The lanes as they are now. One query for all who ask at once, in a task of its own: an asker who leaves does not
    /// break off a connection that is being made.
    pub async fn lanes(&self, sale: SaleId) -> Result<Vec<LaneInfo>> {
        self.lanes
            .submit(&sale, (), || {
                let pool = self.pool.clone();
                Batcher::new("lanes", LOOK, move |askers: Vec<()>| {
                    let pool = pool.clone();
                    async move { Ok(vec![lanes_of(&pool, sale).await?; askers.len()]) }
                })
            })
            .await
    }

    /// Begins a new life of a lane, in an epoch above its own and above `above`, which is returned: orders that name an
    /// old epoch are refused from now on.
    pub async fn raise_epoch(&self, sale: SaleId, lane: u16, above: u32) -> Result<u32> {
        let mut tx = self.pool.begin().await?;
        let sale = sale.to_string();
        let row = sqlx::query!(
            "UPDATE sale_lanes SET epoch = greatest(epoch, $3) + 1 WHERE sale_id = $1 AND lane = $2
             RETURNING epoch, supply, allocated",
            sale,
            lane as i16,
            above as i32,
        )
        .fetch_one(&mut *tx)
        .await?;
        let entry = audit::Entry {
            sale,
            actor: "worker".into(),
            kind: "lane_reopened",
            data: json!({ "lane": lane, "epoch": row.epoch, "supply": row.supply, "allocated": row.allocated }),
        };
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(row.epoch as u32)
    }

    /// What a lane has sold by now, for its new life in Redis: its cancelled units are free with that. To be asked while
    /// the lane is locked there, so that no units come back on the old way in between. An error if a later life has begun.
    pub async fn lane_snapshot(&self, at: LaneRef) -> Result<LaneSnapshot> {
        let mut tx = self.pool.begin().await?;
        let (sale, lane_number) = (at.sale.to_string(), at.lane as i16);
        // Orders before lanes, as everywhere.
        sqlx::query!(
            "SELECT order_id FROM flash_sale_orders
             WHERE sale_id = $1 AND lane = $2 AND NOT units_returned ORDER BY order_id FOR UPDATE",
            sale,
            lane_number,
        )
        .fetch_all(&mut *tx)
        .await?;
        // Locked, so that the totals and the orders below are of one moment.
        let row = sqlx::query!(
            "SELECT supply, allocated, confirmed FROM sale_lanes
             WHERE sale_id = $1 AND lane = $2 AND epoch = $3 FOR UPDATE",
            sale,
            lane_number,
            at.epoch as i32,
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| Error::LaneFenced("the lane begins a later one".into()))?;
        // Cancelled units that were still to come back are free with the new life.
        sqlx::query!(
            "UPDATE flash_sale_orders SET units_returned = TRUE
             WHERE sale_id = $1 AND lane = $2 AND NOT units_returned",
            sale,
            lane_number,
        )
        .execute(&mut *tx)
        .await?;
        let orders = sqlx::query!(
            "SELECT order_id, user_id, device_id, quantity_allocated, status, hold_command FROM flash_sale_orders
             WHERE sale_id = $1 AND lane = $2 AND quantity_allocated > 0",
            sale,
            lane_number,
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let bad = |what: &str| Error::unexpected(format!("an order with a bad {what}"));
        Ok(LaneSnapshot {
            info: LaneInfo {
                lane: at.lane,
                epoch: at.epoch,
                supply: row.supply as u32,
                allocated: row.allocated as u32,
                confirmed: row.confirmed as u32,
            },
            orders: orders
                .into_iter()
                .map(|row| {
                    Ok(LaneOrder {
                        order: row.order_id.parse().map_err(|_| bad("id"))?,
                        shopper: row.user_id.parse().map_err(|_| bad("user"))?,
                        device: row.device_id.parse().map_err(|_| bad("device"))?,
                        quantity: row.quantity_allocated as u32,
                        status: order_status(&row.status)?,
                        hold_command: row.hold_command,
                    })
                })
                .collect::<Result<_>>()?,
        })
    }

    /// How often lanes of a sale have begun a new life.
    pub async fn rebuilds(&self, sale: SaleId) -> Result<i64> {
        Ok(sqlx::query_scalar!(
            r#"SELECT count(*) AS "rebuilds!" FROM audit_log WHERE sale_id = $1 AND kind = 'lane_reopened'"#,
            sale.to_string(),
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Moves free units from one lane to another. False: the giving lane has sold them meanwhile, nothing was changed.
    pub async fn move_supply(&self, sale: SaleId, from: u16, to: u16, units: u32) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        // Both rows in one statement, in the order of the lanes, so that two moves cannot block each other.
        sqlx::query!(
            "SELECT lane FROM sale_lanes WHERE sale_id = $1 AND lane IN ($2, $3) ORDER BY lane FOR UPDATE",
            sale.to_string(),
            from as i16,
            to as i16,
        )
        .fetch_all(&mut *tx)
        .await?;
        let given = sqlx::query!(
            "UPDATE sale_lanes SET supply = supply - $3
             WHERE sale_id = $1 AND lane = $2 AND supply - $3 >= allocated",
            sale.to_string(),
            from as i16,
            units as i32,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if given == 0 {
            return Ok(false);
        }
        sqlx::query!(
            "UPDATE sale_lanes SET supply = supply + $3 WHERE sale_id = $1 AND lane = $2",
            sale.to_string(),
            to as i16,
            units as i32,
        )
        .execute(&mut *tx)
        .await?;
        let entry = audit::Entry {
            sale: sale.to_string(),
            actor: "worker".into(),
            kind: "supply_moved",
            data: json!({ "from": from, "to": to, "units": units }),
        };
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Changes what lanes may sell, and the sale's total with them. False: a lane would have sold more than it may then;
    /// nothing was changed.
    pub async fn change_supply(&self, sale: SaleId, changes: &[(u16, i32)], actor: &str) -> Result<bool> {
        let lanes: Vec<i16> = changes.iter().map(|(lane, _)| *lane as i16).collect();
        let units: Vec<i32> = changes.iter().map(|(_, units)| *units).collect();
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "SELECT lane FROM sale_lanes WHERE sale_id = $1 ORDER BY lane FOR UPDATE",
            sale.to_string(),
        )
        .fetch_all(&mut *tx)
        .await?;
        let changed = sqlx::query!(
            "UPDATE sale_lanes l SET supply = l.supply + c.units
             FROM unnest($2::smallint[], $3::int[]) AS c (lane, units)
             WHERE l.sale_id = $1 AND l.lane = c.lane AND l.supply + c.units >= l.allocated",
            sale.to_string(),
            &lanes,
            &units,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed != changes.len() as u64 {
            return Ok(false);
        }
        sqlx::query!(
            "UPDATE flash_sales SET total_stock = (SELECT sum(supply) FROM sale_lanes WHERE sale_id = $1)
             WHERE sale_id = $1",
            sale.to_string(),
        )
        .execute(&mut *tx)
        .await?;
        let entry = audit::Entry {
            sale: sale.to_string(),
            actor: actor.to_owned(),
            kind: "supply_changed",
            data: json!({ "lanes": lanes, "units": units }),
        };
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Moves a sale from one of `from` to `to`, with its audit row. False: it was in none of them.
    pub async fn set_status(&self, sale: SaleId, from: &[Phase], to: Phase, actor: &str) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        let moved = move_status(&mut tx, sale, from, to, actor).await?;
        tx.commit().await?;
        Ok(moved)
    }

    /// Sets how many entries are called per 100 ms. False: it was so already.
    pub async fn set_inflow(&self, sale: SaleId, inflow: u32, actor: &str) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        let before = sqlx::query_scalar!(
            "SELECT inflow FROM flash_sales WHERE sale_id = $1 FOR UPDATE",
            sale.to_string()
        )
        .fetch_one(&mut *tx)
        .await?;
        if before == inflow as i32 {
            return Ok(false);
        }
        sqlx::query!(
            "UPDATE flash_sales SET inflow = $2, inflow_cut_at = CASE WHEN $2 < inflow THEN now() END WHERE sale_id = $1",
            sale.to_string(),
            inflow as i32,
        )
        .execute(&mut *tx)
        .await?;
        let entry = audit::Entry {
            sale: sale.to_string(),
            actor: actor.to_owned(),
            kind: "inflow_changed",
            data: json!({ "from": before, "to": inflow }),
        };
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub async fn order_counts(&self, sale: SaleId) -> Result<OrderCounts> {
        let row = sqlx::query!(
            r#"SELECT count(*) FILTER (WHERE status = 'pending') AS "pending!",
                count(*) FILTER (WHERE status = 'confirmed') AS "confirmed!",
                count(*) FILTER (WHERE status = 'cancelled' AND quantity_allocated > 0) AS "cancelled!",
                coalesce(sum(amount - refunded) FILTER (WHERE status = 'confirmed'), 0)::bigint AS "revenue!"
             FROM flash_sale_orders WHERE sale_id = $1"#,
            sale.to_string(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(OrderCounts {
            pending: row.pending as u64,
            confirmed: row.confirmed as u64,
            cancelled: row.cancelled as u64,
            revenue: row.revenue,
        })
    }
}

async fn lanes_of(pool: &PgPool, sale: SaleId) -> Result<Vec<LaneInfo>> {
    let rows = sqlx::query!(
        "SELECT lane, epoch, supply, allocated, confirmed FROM sale_lanes WHERE sale_id = $1 ORDER BY lane",
        sale.to_string(),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LaneInfo {
            lane: row.lane as u16,
            epoch: row.epoch as u32,
            supply: row.supply as u32,
            allocated: row.allocated as u32,
            confirmed: row.confirmed as u32,
        })
        .collect())
}

fn sale_from(row: SaleRow, lanes: Vec<LaneInfo>) -> Result<Sale> {
    let status = match row.status.as_str() {
        "scheduled" => Phase::Scheduled,
        "waiting" => Phase::Waiting,
        "live" => Phase::Live,
        "paused" => Phase::Paused,
        "drawing" => Phase::Drawing,
        "ended" => Phase::Ended,
        "cancelled" => Phase::Cancelled,
        other => return Err(Error::unexpected(format!("a sale in the state {other:?}"))),
    };
    let allocation = match row.allocation.as_str() {
        "queue" => Allocation::Queue,
        "draw" => Allocation::Draw,
        other => return Err(Error::unexpected(format!("a sale with the allocation {other:?}"))),
    };
    let draw_weight = match row.draw_weight.as_str() {
        "equal" => DrawWeight::Equal,
        "waiting_time" => DrawWeight::WaitingTime,
        other => return Err(Error::unexpected(format!("a sale with the weight {other:?}"))),
    };
    Ok(Sale {
        id: row
            .sale_id
            .parse()
            .map_err(|_| Error::unexpected("a sale id that is no ULID"))?,
        merchant: row.merchant_id,
        product_id: row.product_id,
        product_name: row.product_name,
        description: row.description,
        currency: row.currency,
        original_price: row.original_price,
        sale_price: row.sale_price,
        total_stock: row.total_stock as u32,
        room_opens_at: row.room_opens_at,
        start_time: row.start_time,
        end_time: row.end_time,
        per_shopper_limit: row.per_shopper_limit as u32,
        per_device_limit: row.per_device_limit as u32,
        hold_ms: row.hold_ms as u64,
        claim_ms: row.claim_ms as u64,
        payment_ms: row.payment_ms as u64,
        inflow: row.inflow as u32,
        allocation,
        draw_weight,
        inflow_cut_at: row.inflow_cut_at,
        opening_seed: row
            .opening_seed
            .map(|seed| seed.parse())
            .transpose()
            .map_err(|_| Error::unexpected("an opening seed that is none"))?,
        priority_share: row.priority_share as u32,
        absence_ms: row.absence_ms as u64,
        status,
        created_at: row.created_at,
        lanes,
    })
}

/// Moves a sale's status as [`Store::set_status`] does, in a transaction of more.
pub(super) async fn move_status(
    connection: &mut PgConnection,
    sale: SaleId,
    from: &[Phase],
    to: Phase,
    actor: &str,
) -> Result<bool> {
    let from: Vec<String> = from.iter().map(|phase| phase_word(*phase).to_owned()).collect();
    let moved = sqlx::query!(
        "UPDATE flash_sales SET status = $3 WHERE sale_id = $1 AND status = ANY($2)",
        sale.to_string(),
        &from,
        phase_word(to),
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if moved == 0 {
        return Ok(false);
    }
    let entry = audit::Entry {
        sale: sale.to_string(),
        actor: actor.to_owned(),
        kind: "sale_status",
        data: json!({ "to": phase_word(to) }),
    };
    audit::write(connection, &[entry]).await?;
    Ok(true)
}

//! Sales and their lanes.

use super::draws::{self, NewDraw};
use super::{
    LOOK, Store,
    audit::{self, Actor, AuditRow, Kind},
    phase::move_status,
    words::order_status,
};
use crate::{
    batcher::{Batch, Batcher, nobody_s},
    boxed,
    error::{Error, Result},
    sale::{
        LaneInfo, LaneOrder, LaneRef, LaneSnapshot, Picture, Sale, Terms, Unsettled, allocation_word,
        draw_weight_word, phase_word,
    },
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Allocation, DrawWeight, OrderId, Phase, SaleId};
use serde_json::json;
use sqlx::{PgConnection, PgPool, types::Json};
use std::collections::{HashMap, HashSet};

/// Rows of counts that a sale may have before they are joined, and sales whose rows are joined by one statement.
const COUNTS_MOST: i64 = 100;
const SALES_AT_ONCE: i64 = 100;
/// Records of a lane for which one query looks for orders.
const UNSETTLED_AT_ONCE: usize = 10_000;

pub(super) struct SaleRow {
    pub sale_id: String,
    pub merchant_id: String,
    pub product_id: String,
    pub product_name: String,
    pub description: String,
    pub currency: String,
    pub original_price: i64,
    pub sale_price: i64,
    pub total_stock: i32,
    pub room_opens_at: DateTime<Utc>,
    pub start_time: DateTime<Utc>,
    pub end_time: DateTime<Utc>,
    pub per_shopper_limit: i32,
    pub per_device_limit: i32,
    pub hold_ms: i64,
    pub claim_ms: i64,
    pub payment_ms: i64,
    pub inflow: i32,
    pub inflow_cut_at: Option<DateTime<Utc>>,
    pub target_delay_ms: i32,
    pub allocation: String,
    pub draw_weight: String,
    pub opening_seed: Option<String>,
    pub priority_share: i32,
    pub absence_ms: i64,
    pub cancel_limit: i32,
    pub extend_once: bool,
    pub status: String,
    pub created_at: DateTime<Utc>,
    pub settings_version: i64,
    pub format: i16,
    pub picture: Option<Json<Picture>>,
    pub terms_url: Option<String>,
    pub terms_version: Option<String>,
    pub is_suspended: bool,
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
    /// Creates a sale without an operator's command.
    #[boxed]
    pub async fn create_sale(&self, sale: &Sale, draw: Option<&NewDraw>) -> Result<()> {
        let mut tx = self.pools.purchases.begin().await?;
        let entry = insert(&mut tx, sale, draw).await?;
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(())
    }

    #[boxed]
    pub async fn sale(&self, id: SaleId) -> Result<Option<Sale>> {
        load(&mut *self.pools.purchases.acquire().await?, id).await
    }

    /// The ids of the sales made since then, with the time.
    pub(crate) async fn sales_since(&self, since: DateTime<Utc>) -> Result<Vec<(SaleId, DateTime<Utc>)>> {
        let rows = sqlx::query!(
            "SELECT sale_id, created_at FROM flash_sales WHERE created_at >= $1",
            since
        )
        .fetch_all(&self.pools.purchases)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok((
                    row.sale_id
                        .parse()
                        .map_err(|_| Error::unexpected("a sale with an id that is none"))?,
                    row.created_at,
                ))
            })
            .collect()
    }

    /// The sales that workers look after: those that have not ended, and ended ones with something left to settle.
    pub(crate) async fn sales_to_lead(&self) -> Result<Vec<Sale>> {
        let rows = sqlx::query_as!(
            SaleRow,
            r#"SELECT sale_id, merchant_id, product_id, product_name, description, currency, original_price, sale_price,
                total_stock, room_opens_at, start_time, end_time, per_shopper_limit, per_device_limit, hold_ms,
                claim_ms, payment_ms, inflow, inflow_cut_at, target_delay_ms, allocation, draw_weight, opening_seed, priority_share, absence_ms,
                cancel_limit, extend_once, status, created_at, settings_version, format, picture AS "picture: Json<Picture>", terms_url, terms_version,
                (SELECT m.status = 'suspended' FROM merchants m WHERE m.merchant_id = s.merchant_id) AS "is_suspended!"
             FROM flash_sales s
             WHERE status NOT IN ('ended', 'cancelled')
                OR end_time > now() - interval '10 minutes'
                -- Its draw was over later, and the entries of its line are to be closed.
                OR EXISTS (SELECT 1 FROM draws d WHERE d.sale_id = s.sale_id AND d.over_at > now() - interval '10 minutes')
                OR EXISTS (SELECT 1 FROM flash_sale_orders o
                           WHERE o.sale_id = s.sale_id AND (o.status = 'pending' OR NOT o.units_returned))
                -- Its lanes have audit rows that are not tied yet, by a late refund for example.
                OR sale_id IN (SELECT sale_id FROM audit_chains GROUP BY sale_id
                               HAVING sum(number) FILTER (WHERE lane >= 0) > max(tied))
             ORDER BY start_time"#,
        )
        .fetch_all(&self.pools.purchases)
        .await?;
        with_lanes(&mut *self.pools.purchases.acquire().await?, rows).await
    }

    /// The lanes as they are now. One query answers all who ask at once, in a task of its own: an asker who leaves does not
    /// interrupt a new connection.
    pub async fn lanes(&self, sale: SaleId) -> Result<Vec<LaneInfo>> {
        self.lanes
            .submit(&sale, (), || {
                let pool = self.pools.purchases.clone();
                Batcher::new("lanes", LOOK, nobody_s, move |askers: Batch<()>| {
                    let pool = pool.clone();
                    async move { Ok(vec![lanes_of(&pool, sale).await?; askers.len()]) }
                })
            })
            .await
    }

    /// Begins a new life of a lane, in an epoch above its own and above `above`. Returns the epoch: orders with an older one are
    /// refused from now on.
    pub async fn raise_epoch(&self, sale: SaleId, lane: u16, above: u32) -> Result<u32> {
        let mut tx = self.pools.purchases.begin().await?;
        let row = sqlx::query!(
            "UPDATE sale_lanes SET epoch = greatest(epoch, $3) + 1 WHERE sale_id = $1 AND lane = $2
             RETURNING epoch, supply, allocated",
            sale.to_string(),
            lane as i16,
            above as i32,
        )
        .fetch_one(&mut *tx)
        .await?;
        let entry = AuditRow {
            sale,
            actor: Actor::Worker,
            kind: Kind::LaneReopened,
            data: json!({ "lane": lane, "epoch": row.epoch, "supply": row.supply, "allocated": row.allocated }),
        };
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(row.epoch as u32)
    }

    /// A lane's sales until now, for its new life in Redis; cancelled units are free there. Call it while the lane is locked in
    /// Redis, so that no units return in the old way meanwhile. Of cancelled orders it reads only those that may belong to
    /// `unsettled` records, and those whose units were on their way. Fails if a later life has begun.
    pub(crate) async fn lane_snapshot(&self, at: LaneRef, unsettled: &[Unsettled]) -> Result<LaneSnapshot> {
        let mut tx = self.pools.purchases.begin().await?;
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
        // Locked, so that the totals and the orders below belong to one moment.
        let row = sqlx::query!(
            "SELECT supply, supply_version, allocated, confirmed FROM sale_lanes
             WHERE sale_id = $1 AND lane = $2 AND epoch = $3 FOR UPDATE",
            sale,
            lane_number,
            at.epoch as i32,
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| Error::LaneFenced("the lane begins a later one".into()))?;
        // Cancelled units on their way back are free in the new life; marked, so that a late return notices it.
        let returned = sqlx::query_scalar!(
            "UPDATE flash_sale_orders SET units_returned = TRUE
             WHERE sale_id = $1 AND lane = $2 AND NOT units_returned RETURNING order_id",
            sale,
            lane_number,
        )
        .fetch_all(&mut *tx)
        .await?;
        let alive = sqlx::query_as!(
            RawLaneOrder,
            "SELECT order_id, user_id, device_id, quantity_allocated, status, hold_command FROM flash_sale_orders
             WHERE sale_id = $1 AND lane = $2 AND status IN ('pending', 'confirmed')",
            sale,
            lane_number,
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut orders: Vec<LaneOrder> = alive.into_iter().map(RawLaneOrder::read).collect::<Result<_>>()?;
        let known: HashSet<(String, String)> = orders
            .iter()
            .map(|order| (order.shopper.to_string(), order.hold_command.clone()))
            .collect();
        let open: Vec<&Unsettled> = unsettled
            .iter()
            .filter(|record| !known.contains(&(record.shopper.clone(), record.hold.clone())))
            .collect();
        let mut cancelled: HashMap<OrderId, LaneOrder> = HashMap::new();
        for some in open.chunks(UNSETTLED_AT_ONCE) {
            let column =
                |text: fn(&Unsettled) -> &String| some.iter().map(|u| text(u).clone()).collect::<Vec<_>>();
            let found = sqlx::query_as!(
                RawLaneOrder,
                "SELECT o.order_id, o.user_id, o.device_id, o.quantity_allocated, o.status, o.hold_command
                 FROM unnest($3::text[], $4::text[]) AS i (user_id, hold_command)
                 JOIN flash_sale_orders o USING (user_id)
                 WHERE o.sale_id = $1 AND o.lane = $2 AND o.status = 'cancelled' AND o.quantity_allocated > 0
                    AND o.hold_command = i.hold_command
                 UNION
                 SELECT order_id, user_id, device_id, quantity_allocated, status, hold_command
                 FROM flash_sale_orders WHERE order_id = ANY($5) AND status = 'cancelled' AND quantity_allocated > 0",
                sale,
                lane_number,
                &column(|record| &record.shopper),
                &column(|record| &record.hold),
                &column(|record| &record.order),
            )
            .fetch_all(&mut *tx)
            .await?;
            for order in found {
                let order = order.read()?;
                cancelled.insert(order.order, order);
            }
        }
        tx.commit().await?;
        orders.extend(cancelled.into_values());
        Ok(LaneSnapshot {
            info: LaneInfo {
                lane: at.lane,
                epoch: at.epoch,
                supply: row.supply as u32,
                supply_version: row.supply_version as u64,
                allocated: row.allocated as u32,
                confirmed: row.confirmed as u32,
            },
            orders,
            returned,
        })
    }

    /// Number of times that lanes of a sale began a new life.
    pub async fn rebuilds(&self, sale: SaleId) -> Result<i64> {
        Ok(sqlx::query_scalar!(
            r#"SELECT (SELECT count(*) FROM audit_log WHERE sale_id = $1 AND kind = 'lane_reopened')
                + (SELECT count(*) FROM audit_rows WHERE sale_id = $1 AND kind = 'lane_reopened') AS "rebuilds!""#,
            sale.to_string(),
        )
        .fetch_one(&self.pools.purchases)
        .await?)
    }

    /// Moves a sale from one of `from` to `to`, with its audit row. False: it was in none of them.
    #[boxed]
    pub async fn set_status(&self, sale: SaleId, from: &[Phase], to: Phase, actor: Actor) -> Result<bool> {
        let mut tx = self.pools.purchases.begin().await?;
        let moved = move_status(&mut tx, sale, from, to, actor).await?;
        tx.commit().await?;
        Ok(moved)
    }

    /// Joins the counts of sales that have many. May be repeated, and done by several at once.
    pub(crate) async fn join_order_counts(&self) -> Result<()> {
        sqlx::query!(
            "WITH many AS (SELECT sale_id FROM order_counts GROUP BY sale_id HAVING count(*) > $1 LIMIT $2),
             joined AS (DELETE FROM order_counts WHERE sale_id IN (SELECT sale_id FROM many) RETURNING *)
             INSERT INTO order_counts SELECT sale_id, sum(pending), sum(confirmed), sum(cancelled), sum(revenue)
             FROM joined GROUP BY sale_id",
            COUNTS_MOST,
            SALES_AT_ONCE,
        )
        .execute(&self.pools.purchases)
        .await?;
        Ok(())
    }

    /// Counted while orders are written: this reads a few rows, however many orders there are.
    #[boxed]
    pub async fn order_counts(&self, sale: SaleId) -> Result<OrderCounts> {
        let row = sqlx::query!(
            r#"SELECT coalesce(sum(pending), 0)::bigint AS "pending!", coalesce(sum(confirmed), 0)::bigint AS "confirmed!",
                coalesce(sum(cancelled), 0)::bigint AS "cancelled!", coalesce(sum(revenue), 0)::bigint AS "revenue!"
             FROM order_counts WHERE sale_id = $1"#,
            sale.to_string(),
        )
        .fetch_one(&self.pools.purchases)
        .await?;
        Ok(OrderCounts {
            pending: row.pending as u64,
            confirmed: row.confirmed as u64,
            cancelled: row.cancelled as u64,
            revenue: row.revenue,
        })
    }
}

struct RawLaneOrder {
    order_id: Option<String>,
    user_id: Option<String>,
    device_id: Option<String>,
    quantity_allocated: Option<i32>,
    status: Option<String>,
    hold_command: Option<String>,
}

impl RawLaneOrder {
    fn read(self) -> Result<LaneOrder> {
        let bad = |what: &str| Error::unexpected(format!("an order with a bad {what}"));
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(LaneOrder {
            order: text(self.order_id).parse().map_err(|_| bad("id"))?,
            shopper: text(self.user_id).parse().map_err(|_| bad("user"))?,
            device: text(self.device_id).parse().map_err(|_| bad("device"))?,
            quantity: self.quantity_allocated.unwrap_or(0) as u32,
            status: order_status(&text(self.status))?,
            hold_command: text(self.hold_command),
        })
    }
}

/// Writes a sale, its lanes, its draw's seed and the start of its log. Returns the content of the log's first row.
pub(super) async fn insert(
    connection: &mut PgConnection,
    sale: &Sale,
    draw: Option<&NewDraw>,
) -> Result<AuditRow> {
    sqlx::query!(
        "INSERT INTO flash_sales (sale_id, merchant_id, product_id, product_name, description, currency,
            original_price, sale_price, total_stock, lanes, room_opens_at, start_time, end_time,
            per_shopper_limit, per_device_limit, hold_ms, claim_ms, payment_ms, inflow, status, created_at,
            allocation, opening_seed, priority_share, absence_ms, draw_weight, cancel_limit, format, target_delay_ms,
            extend_once, terms_url, terms_version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
            $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)",
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
        sale.cancel_limit as i32,
        sale.format as i16,
        sale.target_delay_ms as i32,
        sale.extend_once,
        sale.terms.as_ref().map(|terms| &terms.url),
        sale.terms.as_ref().map(|terms| &terms.version),
    )
    .execute(&mut *connection)
    .await?;
    if let Some(draw) = draw {
        draws::create(connection, sale.id, draw).await?;
    }
    for lane in &sale.lanes {
        sqlx::query!(
            "INSERT INTO sale_lanes (sale_id, lane, epoch, supply) VALUES ($1, $2, $3, $4)",
            sale.id.to_string(),
            lane.lane as i16,
            lane.epoch as i32,
            lane.supply as i32,
        )
        .execute(&mut *connection)
        .await?;
    }
    let supply: Vec<u32> = sale.lanes.iter().map(|lane| lane.supply).collect();
    audit::begin(connection, sale).await?;
    Ok(AuditRow {
        sale: sale.id,
        actor: Actor::Operator(sale.merchant.clone()),
        kind: Kind::SaleCreated,
        data: json!({
            "stock": sale.total_stock, "supply": supply, "price": sale.sale_price, "currency": sale.currency,
            "status": phase_word(sale.status), "draw_commitment": draw.map(|draw| draw.seed.commitment()),
            "opening_seed_hash": sale.opening_seed_hash(),
        }),
    })
}

/// Terms as two columns have them.
pub(super) fn terms_of(url: Option<String>, version: Option<String>) -> Option<Terms> {
    Some(Terms {
        url: url?,
        version: version?,
    })
}

/// A sale as this transaction sees it.
pub(super) async fn load(connection: &mut PgConnection, id: SaleId) -> Result<Option<Sale>> {
    let rows = sqlx::query_as!(
        SaleRow,
        r#"SELECT sale_id, merchant_id, product_id, product_name, description, currency, original_price, sale_price,
            total_stock, room_opens_at, start_time, end_time, per_shopper_limit, per_device_limit, hold_ms,
            claim_ms, payment_ms, inflow, inflow_cut_at, target_delay_ms, allocation, draw_weight, opening_seed, priority_share, absence_ms,
            cancel_limit, extend_once, status, created_at, settings_version, format, picture AS "picture: Json<Picture>", terms_url, terms_version,
            (SELECT m.status = 'suspended' FROM merchants m WHERE m.merchant_id = flash_sales.merchant_id) AS "is_suspended!"
         FROM flash_sales WHERE sale_id = $1"#,
        id.to_string(),
    )
    .fetch_all(&mut *connection)
    .await?;
    Ok(with_lanes(connection, rows).await?.pop())
}

pub(super) async fn with_lanes(connection: &mut PgConnection, rows: Vec<SaleRow>) -> Result<Vec<Sale>> {
    let ids: Vec<String> = rows.iter().map(|row| row.sale_id.clone()).collect();
    let mut lanes: HashMap<String, Vec<LaneInfo>> = HashMap::new();
    let lane_rows = sqlx::query!(
        "SELECT sale_id, lane, epoch, supply, supply_version, allocated, confirmed FROM sale_lanes
         WHERE sale_id = ANY($1) ORDER BY sale_id, lane",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    for row in lane_rows {
        lanes.entry(row.sale_id).or_default().push(LaneInfo {
            lane: row.lane as u16,
            epoch: row.epoch as u32,
            supply: row.supply as u32,
            supply_version: row.supply_version as u64,
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

async fn lanes_of(pool: &PgPool, sale: SaleId) -> Result<Vec<LaneInfo>> {
    let rows = sqlx::query!(
        "SELECT lane, epoch, supply, supply_version, allocated, confirmed FROM sale_lanes WHERE sale_id = $1 ORDER BY lane",
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
            supply_version: row.supply_version as u64,
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
        target_delay_ms: row.target_delay_ms as u64,
        opening_seed: row
            .opening_seed
            .map(|seed| seed.parse())
            .transpose()
            .map_err(|_| Error::unexpected("an opening seed that is none"))?,
        priority_share: row.priority_share as u32,
        absence_ms: row.absence_ms as u64,
        cancel_limit: row.cancel_limit as u32,
        extend_once: row.extend_once,
        status,
        created_at: row.created_at,
        settings_version: row.settings_version,
        format: row.format as u16,
        picture: row.picture.map(|Json(picture)| picture),
        terms: terms_of(row.terms_url, row.terms_version),
        is_suspended: row.is_suspended,
        lanes,
    })
}

//! Places orders in a group commit: one transaction for all that came in while the last one ran. Also ends checkouts that were
//! left half-way.

use super::rows::{OrderRow, RawOrder, load};
use crate::{
    batcher::{Batch, Batcher, Verdict, subject},
    chain::Chains,
    error::{Error, Result},
    mutation::Mutation,
    sale::{LaneRef, Terms},
    store::{
        COMMIT, Store,
        audit::{self, Actor, AuditRow, Kind},
        commands::{self, NewCommand},
        merchants::{Person, note_people},
    },
};
use flashsale_protocol::{Code, CommandId, DeviceId, OrderId, Reason, ShopperId};
use serde_json::json;
use sqlx::{PgPool, PgTransaction};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// Limit for cutting a batch of orders to what its lane may still sell; only others' orders change that meanwhile.
const FITTINGS_MOST: usize = 8;
/// Time for which an order that is acknowledged too early, by a defect, is not committed.
const EARLY: Duration = Duration::from_millis(300);

/// An order to be placed.
#[derive(Debug, Clone)]
pub struct NewOrder {
    pub at: LaneRef,
    pub order: OrderId,
    pub shopper: ShopperId,
    /// The operator who acts for the shopper.
    pub operator: Option<String>,
    pub device: DeviceId,
    pub command: CommandId,
    /// The command that made the hold.
    pub hold_command: String,
    /// The hold in the audit log.
    pub hold_name: String,
    /// SHA-256 of verb and payload.
    pub digest: Vec<u8>,
    pub quantity: u32,
    pub unit_price: i64,
    pub amount: i64,
    pub currency: String,
    pub payment_ms: u64,
    /// A shopper with this many cancelled orders gets no more.
    pub cancel_limit: u32,
    /// What the shopper was shown, if the sale names terms: the same for all orders of a sale.
    pub terms: Option<Terms>,
    /// Who the shopper is, for their merchant; None: their id says it.
    pub person: Option<Person>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Placed {
    /// The order exists, now or from an earlier try.
    Ok(Box<OrderRow>),
    /// Postgres has no supply left for it, or the lane has begun another life.
    Refused,
    /// The command was refused under this code, now or earlier, or its id belongs to another command.
    Told(Code),
}

impl Store {
    /// Places an order in the lane's group commit. After an error the outcome is unknown: ask again by the same id.
    pub async fn place(&self, order: NewOrder) -> Result<Placed> {
        let at = order.at;
        self.place
            .submit(&at, order, || {
                let (pool, chains) = (self.pools.purchases.clone(), self.chains.clone());
                let subjects = |order: &NewOrder| {
                    [subject(&order.shopper), subject(order.order)]
                        .into_iter()
                        .collect()
                };
                Batcher::with_verdicts("place_order", COMMIT, subjects, move |orders: Batch<NewOrder>| {
                    let (pool, chains) = (pool.clone(), chains.clone());
                    async move { place_batch(&pool, &chains, at, &orders).await }
                })
            })
            .await
    }

    /// Settles a checkout that its gateway left: if the order does not exist, it never will.
    pub async fn settle_abandoned(
        &self,
        at: LaneRef,
        order: OrderId,
        shopper: &ShopperId,
        device: &DeviceId,
    ) -> Result<OrderRow> {
        let mut tx = self.pools.purchases.begin().await?;
        // This row takes the order's id, so a late commit of the same order finds it and adds nothing.
        let settled = sqlx::query!(
            "INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested,
                quantity_allocated, unit_price, amount, currency, status, reason, expires_at)
             VALUES ($1, $2, $3, $4, $5, 1, 0, 0, 0, '', 'cancelled', $6, now())
             ON CONFLICT (order_id) DO NOTHING",
            order.to_string(),
            at.sale.to_string(),
            at.lane as i16,
            shopper.as_str(),
            device.as_str(),
            Reason::CheckoutFailed.word(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let row = load(&mut tx, &[order.to_string()])
            .await?
            .remove(&order.to_string())
            .ok_or_else(|| Error::unexpected("an order has vanished"))?;
        if settled > 0 {
            let entry = AuditRow::of_order(Kind::OrderAbandoned, Actor::Worker, &row, json!({}));
            audit::write(&mut tx, &[entry]).await?;
        }
        tx.commit().await?;
        Ok(row)
    }
}

/// The group commit; no two orders share a shopper or an id. Orders that the lane cannot sell are left out, and the others are
/// placed.
async fn place_batch(
    pool: &PgPool,
    chains: &Chains,
    at: LaneRef,
    orders: &[NewOrder],
) -> Result<Vec<Verdict<Placed>>> {
    let mut left: Vec<&NewOrder> = orders.iter().collect();
    let mut refused: HashSet<OrderId> = HashSet::new();
    for _ in 0..FITTINGS_MOST {
        match place_all(pool, chains, at, &left).await? {
            PlacedAll::Ok(mut placed) => {
                let answer = |order: &NewOrder| match placed.remove(&order.order) {
                    Some(answer) => Verdict::Done(answer),
                    None if refused.contains(&order.order) => Verdict::Done(Placed::Refused),
                    None => Verdict::Failed(Error::unexpected("an order got no answer")),
                };
                return Ok(orders.iter().map(answer).collect());
            }
            PlacedAll::Guarded { fresh, mut free } => {
                // In the order of arrival, as far as the units go; orders that existed before need none.
                left.retain(|order| {
                    if !fresh.contains(&order.order) {
                        return true;
                    }
                    let fits = order.quantity <= free;
                    if fits {
                        free -= order.quantity;
                    } else {
                        refused.insert(order.order);
                    }
                    fits
                });
            }
        }
    }
    // Each time, other orders took the free units: a later batch sees what is left.
    let answer = |order: &NewOrder| match refused.contains(&order.order) {
        true => Verdict::Done(Placed::Refused),
        false => Verdict::Again,
    };
    Ok(orders.iter().map(answer).collect())
}

enum PlacedAll {
    Ok(HashMap<OrderId, Placed>),
    /// The guard refused, and nothing was changed. These orders would have been new; the lane has this many units for them.
    Guarded {
        fresh: HashSet<OrderId>,
        free: u32,
    },
}

/// One transaction for all.
async fn place_all(pool: &PgPool, chains: &Chains, at: LaneRef, orders: &[&NewOrder]) -> Result<PlacedAll> {
    // Everywhere in the same order, so that two gateways with the same commands cannot block each other.
    let mut sorted: Vec<&NewOrder> = orders.to_vec();
    sorted.sort_by_key(|order| order.order);
    let column =
        |text: fn(&NewOrder) -> String| sorted.iter().map(|order| text(order)).collect::<Vec<String>>();
    let ids = column(|o| o.order.to_string());
    let shoppers = column(|o| o.shopper.to_string());
    let devices = column(|o| o.device.to_string());
    let holds = column(|o| o.hold_command.clone());
    let currencies = column(|o| o.currency.clone());
    let quantities: Vec<i32> = sorted.iter().map(|order| order.quantity as i32).collect();
    let amounts: Vec<i64> = sorted.iter().map(|order| order.amount).collect();
    let prices: Vec<i64> = sorted.iter().map(|order| order.unit_price).collect();
    let terms = sorted.first().and_then(|order| order.terms.as_ref());
    let payment_ms: Vec<i64> = sorted.iter().map(|order| order.payment_ms as i64).collect();

    let mut tx = pool.begin().await?;
    let new = sorted.iter().map(|order| {
        let command = NewCommand {
            shopper: order.shopper.as_str(),
            command: order.command,
            digest: &order.digest,
            order: order.order,
            refusal: None,
        };
        (command, order.cancel_limit)
    });
    let new = commands::note_checkouts(&mut tx, at.sale, &new.collect::<Vec<_>>()).await?;
    // Only repeated commands are looked up, and they are few.
    let name = |order: &NewOrder| (order.shopper.to_string(), order.command.to_string());
    let repeated = sorted.iter().filter(|order| !new.contains_key(&order.order));
    let known = commands::known(&mut tx, repeated.map(|order| name(order))).await?;
    let told = |order: &NewOrder| match (new.get(&order.order), known.get(&name(order))) {
        (Some(refusal), _) => refusal.map_or(Ok(()), Err),
        (None, Some(known)) => known.answer(&order.digest),
        (None, None) => Err(Code::CommandIdReused),
    };
    let fits: Vec<bool> = sorted.iter().map(|order| told(order).is_ok()).collect();

    let mut rows: HashMap<String, OrderRow> = sqlx::query_as!(
        RawOrder,
        r#"INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested,
            quantity_allocated, unit_price, amount, currency, status, expires_at, hold_command, terms_url, terms_version)
         SELECT i.order_id, $1, $2, i.user_id, i.device_id, i.quantity, i.quantity, i.unit_price,
            i.amount, i.currency, CASE i.amount WHEN 0 THEN 'confirmed' ELSE 'pending' END, now() + i.payment_ms * interval '1 millisecond',
            i.hold_command, $13, $14
         FROM unnest($3::text[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::text[], $9::bigint[], $10::bool[],
            $11::text[], $12::bigint[])
            AS i (order_id, user_id, device_id, quantity, unit_price, currency, payment_ms, fits, hold_command, amount)
         WHERE i.fits
         ON CONFLICT (order_id) DO NOTHING
         RETURNING order_id, sale_id, lane, user_id, device_id, quantity_allocated, unit_price, amount, currency,
            status, reason, created_at, expires_at, changed_at, refunded, hold_command,
            NULL::timestamptz AS "paying_since?", NULL::timestamptz AS "refunded_at?", NULL::text[] AS "declined?""#,
        at.sale.to_string(),
        at.lane as i16,
        &ids,
        &shoppers,
        &devices,
        &quantities,
        &prices,
        &currencies,
        &payment_ms,
        &fits,
        &holds,
        &amounts,
        terms.map(|terms| &terms.url),
        terms.map(|terms| &terms.version),
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|raw| Ok((raw.order_id.clone(), raw.read()?)))
    .collect::<Result<_>>()?;
    let fresh: Vec<&NewOrder> = sorted
        .iter()
        .copied()
        .filter(|order| rows.contains_key(&order.order.to_string()))
        .collect();

    let units = |orders: &mut dyn Iterator<Item = &&NewOrder>| -> i32 {
        orders.map(|order| order.quantity as i32).sum()
    };
    let new_units = units(&mut fresh.iter());
    // Orders that cost nothing are confirmed at once.
    let confirmed = units(&mut fresh.iter().filter(|order| order.amount == 0));
    if new_units > 0 && !Mutation::DropGuard.is_on() {
        let guarded = sqlx::query!(
            "UPDATE sale_lanes SET allocated = allocated + $4, confirmed = confirmed + $5
             WHERE sale_id = $1 AND lane = $2 AND epoch = $3 AND allocated + $4 <= supply",
            at.sale.to_string(),
            at.lane as i16,
            at.epoch as i32,
            new_units,
            confirmed,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if guarded == 0 {
            let fresh = fresh.iter().map(|order| order.order).collect();
            tx.rollback().await?;
            return Ok(PlacedAll::Guarded {
                fresh,
                free: free_units(pool, at).await?,
            });
        }
    }
    let mut entries: Vec<AuditRow> = Vec::with_capacity(fresh.len());
    for order in &fresh {
        let actor = Actor::of(&order.shopper, order.operator.as_deref());
        entries.push(AuditRow {
            sale: at.sale,
            actor: actor.clone(),
            kind: Kind::OrderPlaced,
            data: json!({
                "order": order.order, "lane": at.lane, "units": order.quantity,
                "amount": order.unit_price * i64::from(order.quantity), "hold": order.hold_name,
            }),
        });
        if let Some(row) = rows.get(&order.order.to_string()).filter(|_| order.amount == 0) {
            entries.push(AuditRow::of_order(Kind::OrderConfirmed, actor, row, json!({})));
        }
    }
    let people: Vec<&Person> = fresh.iter().filter_map(|order| order.person.as_ref()).collect();
    note_people(&mut tx, &people).await?;
    let ends = audit::write(&mut tx, &entries).await?;
    let before: Vec<String> = ids.iter().filter(|id| !rows.contains_key(*id)).cloned().collect();
    if !before.is_empty() {
        rows.extend(load(&mut tx, &before).await?);
    }
    commit(tx).await?;
    if let Some(end) = ends.of(at.sale, at.lane) {
        chains.note(at, end);
    }

    Ok(PlacedAll::Ok(
        orders
            .iter()
            .map(|order| {
                let placed = match (told(order), rows.remove(&order.order.to_string())) {
                    (Err(code), _) => Placed::Told(code),
                    // An abandoned order: the reconciler has returned its units.
                    (Ok(()), Some(row)) if row.quantity == 0 => Placed::Refused,
                    (Ok(()), Some(row)) => Placed::Ok(Box::new(row)),
                    (Ok(()), None) => Placed::Told(Code::CommandIdReused),
                };
                (order.order, placed)
            })
            .collect(),
    ))
}

async fn commit(tx: PgTransaction<'static>) -> Result<()> {
    if Mutation::AcknowledgeEarly.is_on() {
        tokio::spawn(async move {
            tokio::time::sleep(EARLY).await;
            tx.commit().await
        });
        return Ok(());
    }
    Ok(tx.commit().await?)
}

/// Units that a lane may still sell in this epoch; 0 in another epoch.
async fn free_units(pool: &PgPool, at: LaneRef) -> Result<u32> {
    let free = sqlx::query_scalar!(
        r#"SELECT supply - allocated AS "free!" FROM sale_lanes WHERE sale_id = $1 AND lane = $2 AND epoch = $3"#,
        at.sale.to_string(),
        at.lane as i16,
        at.epoch as i32,
    )
    .fetch_optional(pool)
    .await?;
    Ok(free.unwrap_or(0) as u32)
}

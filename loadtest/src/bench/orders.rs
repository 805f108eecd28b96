//! Durable orders: the group commit compared with the same work row by row, in turns, on the same Postgres.

use super::{Buyer, buyer, cpu, median, sale};
use crate::figure::{Figure, Target};
use anyhow::{Result, bail};
use flashsale_engine::{
    sale::{LaneRef, Sale},
    store::{
        NewOrder, Placed, Store,
        audit::{self, Actor, AuditRow, Kind},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgPool, Row, postgres::PgPoolOptions};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A server's default.
const CONNECTIONS: u32 = 16;
const STOCK: u32 = 1_000_000_000;
const PRICE: i64 = 5_000;
/// Checkouts under way at once: in the rush, and on the way to it.
const RUSH: usize = 2_000;
const FEWER: [usize; 4] = [16, 64, 256, 1_000];

#[derive(Serialize, Deserialize)]
pub struct Orders {
    /// Medians over the rounds; then the group commit with fewer checkouts under way.
    pub row_by_row_1: Rate,
    pub row_by_row_16: Rate,
    pub group: Rate,
    pub group_with_fewer: Vec<Rate>,
    /// Medians of each round's own ratios, because its three measurements are close in time.
    pub ratio_to_1: f64,
    pub ratio_to_16: f64,
    /// The group commit with one order in each batch that Postgres refuses: always the same shopper's, or each time another's.
    /// Also the share of the orders per second that remains, compared with a round without it in the same minute.
    #[serde(default)]
    pub poisoned: Vec<(String, Rate, f64)>,
    pub rounds: Vec<[Rate; 3]>,
}

#[derive(Serialize, Deserialize, Clone)]
pub struct Rate {
    /// Checkouts under way at once, or connections that place an order each.
    pub at_once: usize,
    pub orders: u64,
    pub seconds: f64,
    pub orders_per_s: f64,
    pub orders_per_commit: f64,
    pub postgres_cpu_us_per_order: f64,
    pub client_cpu_us_per_order: f64,
}

impl Orders {
    pub fn figures(&self) -> Vec<Figure> {
        let least = Target::AtLeast(20.0);
        let mut figures = vec![
            Figure::new(
                "Durable orders/s: group commit ÷ row by row on one connection",
                self.ratio_to_1,
                "×",
                least,
            ),
            Figure::new(
                "Durable orders/s: group commit ÷ row by row on 16 connections",
                self.ratio_to_16,
                "×",
                least,
            ),
        ];
        // The figure is for one shopper who does this again and again; the case of different shoppers is shown next to it.
        figures.extend(self.poisoned.iter().take(1).map(|(whose, _, stays)| {
            let name = format!("Durable orders/s beside a bad order {whose} in each batch");
            Figure::new(name, 100.0 * stays, "%", Target::AtLeast(80.0))
        }));
        figures
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Poison {
    OfOne,
    OfAll,
}

pub async fn measure(database_url: &str, rounds: usize, round: Duration) -> Result<Orders> {
    let bench = Bench {
        store: Arc::new(Store::connect(database_url, CONNECTIONS).await?),
        pool: PgPoolOptions::new()
            .min_connections(CONNECTIONS)
            .max_connections(CONNECTIONS)
            .connect(database_url)
            .await?,
        round,
    };
    // A warm-up for connections, statements and caches.
    bench.rows(CONNECTIONS as usize).await?;
    bench.group(RUSH).await?;
    let mut measured = Vec::new();
    for number in 1..=rounds {
        let round = [
            bench.rows(1).await?,
            bench.rows(CONNECTIONS as usize).await?,
            bench.group(RUSH).await?,
        ];
        println!(
            "orders/s, round {number}: row by row {:.0} on one connection, {:.0} on {CONNECTIONS}; group commit {:.0}",
            round[0].orders_per_s, round[1].orders_per_s, round[2].orders_per_s
        );
        measured.push(round);
    }
    let mut group_with_fewer = Vec::new();
    for at_once in FEWER {
        group_with_fewer.push(bench.group(at_once).await?);
    }
    let mut poisoned = Vec::new();
    for (whose, poison) in [
        ("of one shopper", Poison::OfOne),
        ("of a new shopper each time", Poison::OfAll),
    ] {
        let mut stays = Vec::new();
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let well = bench.group(RUSH).await?;
            let ill = bench.poisoned(RUSH, poison).await?;
            stays.push(ill.orders_per_s / well.orders_per_s);
            rates.push(ill);
        }
        let stays = median(stays);
        println!("orders/s with a bad order in each batch, {whose}: {stays:.2} of those without");
        if let Some(rate) = rates.pop() {
            poisoned.push((whose.to_owned(), rate, stays));
        }
    }
    let ratio = |to: usize| {
        median(
            measured
                .iter()
                .map(|round| round[2].orders_per_s / round[to].orders_per_s)
                .collect(),
        )
    };
    bench.store.close().await;
    bench.pool.close().await;
    Ok(Orders {
        row_by_row_1: middle(&measured, 0),
        row_by_row_16: middle(&measured, 1),
        group: middle(&measured, 2),
        group_with_fewer,
        ratio_to_1: ratio(0),
        ratio_to_16: ratio(1),
        poisoned,
        rounds: measured,
    })
}

/// The middle round, by orders per second.
fn middle(rounds: &[[Rate; 3]], which: usize) -> Rate {
    let mut rates: Vec<&Rate> = rounds.iter().map(|round| &round[which]).collect();
    rates.sort_by(|a, b| a.orders_per_s.total_cmp(&b.orders_per_s));
    rates[rates.len() / 2].clone()
}

struct Bench {
    store: Arc<Store>,
    pool: PgPool,
    round: Duration,
}

impl Bench {
    /// `at_once` shoppers, each with one checkout after the other, through the server's own group commit.
    async fn group(&self, at_once: usize) -> Result<Rate> {
        let store = self.store.clone();
        self.run(at_once, move |at, buyer| {
            let store = store.clone();
            async move {
                match store.place(new_order(at, &buyer)).await {
                    Ok(Placed::Ok(_)) => Ok(()),
                    other => bail!("the group commit answered {other:?}"),
                }
            }
        })
        .await
    }

    /// The same, while Postgres refuses somebody's orders (their currency has a NUL), one at any time.
    async fn poisoned(&self, at_once: usize, whose: Poison) -> Result<Rate> {
        let (tell, mut told) = tokio::sync::watch::channel(None::<LaneRef>);
        let store = self.store.clone();
        let poisoner = tokio::spawn(async move {
            let at = told.wait_for(Option::is_some).await.ok().and_then(|at| *at);
            let mut who = buyer()?;
            while let (Some(at), false) = (at, told.has_changed().is_err()) {
                let next = buyer()?;
                who = match whose {
                    Poison::OfOne => Buyer {
                        shopper: who.shopper,
                        ..next
                    },
                    Poison::OfAll => next,
                };
                let order = NewOrder {
                    currency: "\0".into(),
                    ..new_order(at, &who)
                };
                if store.place(order).await.is_ok() {
                    bail!("Postgres has taken a NUL");
                }
            }
            Ok(())
        });
        let store = self.store.clone();
        let sender = Arc::new(tell);
        let kept = sender.clone();
        let rate = self
            .run(at_once, move |at, buyer| {
                let (store, sender) = (store.clone(), kept.clone());
                async move {
                    sender.send_if_modified(|known| known.replace(at).is_none());
                    match store.place(new_order(at, &buyer)).await {
                        Ok(Placed::Ok(_)) => Ok(()),
                        other => bail!("beside a bad order the group commit answered {other:?}"),
                    }
                }
            })
            .await;
        drop(sender);
        poisoner.await??;
        rate
    }

    /// The same work as one would write it first, with a transaction for each order.
    async fn rows(&self, at_once: usize) -> Result<Rate> {
        let pool = self.pool.clone();
        self.run(at_once, move |at, buyer| {
            let pool = pool.clone();
            async move { place_alone(&pool, new_order(at, &buyer)).await }
        })
        .await
    }

    async fn run<F, Fut>(&self, at_once: usize, place: F) -> Result<Rate>
    where
        F: Fn(LaneRef, Buyer) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send,
    {
        let sale: Sale = sale(STOCK);
        self.store.create_sale(&sale, None).await?;
        let at = LaneRef {
            sale: sale.id,
            lane: 0,
            epoch: 1,
        };
        // Writes left over from the measurement before must not count here.
        sqlx::query("CHECKPOINT").execute(&self.pool).await?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&self.pool)
            .await?;
        let postgres = cpu::parent_of(backend as u32)?;

        let cpu_before = (cpu::of_tree(postgres)?, cpu::of_this_process()?);
        let began = Instant::now();
        let until = began + self.round;
        let mut tasks = JoinSet::new();
        for _ in 0..at_once {
            let place = place.clone();
            tasks.spawn(async move {
                let mut orders = 0;
                while Instant::now() < until {
                    place(at, buyer()?).await?;
                    orders += 1;
                }
                Ok::<u64, anyhow::Error>(orders)
            });
        }
        let mut orders = 0;
        while let Some(task) = tasks.join_next().await {
            orders += task??;
        }
        let seconds = began.elapsed().as_secs_f64();
        let postgres_cpu = cpu::of_tree(postgres)? - cpu_before.0;
        let client_cpu = cpu::of_this_process()? - cpu_before.1;

        // An order's time is its transaction's.
        let row = sqlx::query(
            "SELECT count(*), count(DISTINCT created_at),
                (SELECT allocated FROM sale_lanes WHERE sale_id = $1), (SELECT count(*) FROM audit_rows WHERE sale_id = $1 AND lane >= 0)
             FROM flash_sale_orders WHERE sale_id = $1",
        )
        .bind(sale.id.to_string())
        .fetch_one(&self.pool)
        .await?;
        let (rows, commits): (i64, i64) = (row.get(0), row.get(1));
        let (allocated, audited): (i32, i64) = (row.get(2), row.get(3));
        if [rows, i64::from(allocated), audited] != [orders as i64; 3] {
            bail!(
                "{orders} orders were placed; there are {rows}, {allocated} are allocated, {audited} audited"
            );
        }
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / orders as f64;
        Ok(Rate {
            at_once,
            orders,
            seconds,
            orders_per_s: orders as f64 / seconds,
            orders_per_commit: orders as f64 / commits as f64,
            postgres_cpu_us_per_order: each(postgres_cpu),
            client_cpu_us_per_order: each(client_cpu),
        })
    }
}

fn new_order(at: LaneRef, buyer: &Buyer) -> NewOrder {
    NewOrder {
        at,
        order: buyer.order,
        shopper: buyer.shopper.clone(),
        operator: None,
        device: buyer.device.clone(),
        command: buyer.command,
        hold_command: buyer.command.to_string(),
        hold_name: buyer.command.to_string(),
        digest: vec![7; 32],
        quantity: 1,
        unit_price: PRICE,
        amount: PRICE,
        currency: "EUR".into(),
        payment_ms: 300_000,
        cancel_limit: 1_000_000,
        terms: None,
        person: None,
    }
}

/// One order in one transaction: the command, the order, the lane under its guard, the audit row, as in `store/orders/place.rs`.
async fn place_alone(pool: &PgPool, order: NewOrder) -> Result<()> {
    let (sale, id, shopper) = (
        order.at.sale.to_string(),
        order.order.to_string(),
        order.shopper.to_string(),
    );
    let mut tx = pool.begin().await?;
    let new = sqlx::query(
        "INSERT INTO commands (user_id, command_id, digest, order_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(&shopper)
    .bind(order.command.to_string())
    .bind(&order.digest)
    .bind(&id)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    sqlx::query(
        "INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested,
            quantity_allocated, unit_price, amount, currency, status, expires_at, hold_command)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9, 'pending', now() + $10 * interval '1 millisecond', $11)
         RETURNING created_at, expires_at",
    )
    .bind(&id)
    .bind(&sale)
    .bind(order.at.lane as i16)
    .bind(&shopper)
    .bind(order.device.as_str())
    .bind(order.quantity as i32)
    .bind(order.unit_price)
    .bind(order.amount)
    .bind(&order.currency)
    .bind(order.payment_ms as i64)
    .bind(&order.hold_command)
    .fetch_one(&mut *tx)
    .await?;
    let guarded = sqlx::query(
        "UPDATE sale_lanes SET allocated = allocated + $4
         WHERE sale_id = $1 AND lane = $2 AND epoch = $3 AND allocated + $4 <= supply",
    )
    .bind(&sale)
    .bind(order.at.lane as i16)
    .bind(order.at.epoch as i32)
    .bind(order.quantity as i32)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if (new, guarded) != (1, 1) {
        bail!("an order was refused");
    }
    let entry = AuditRow {
        sale: order.at.sale,
        actor: Actor::from(&order.shopper),
        kind: Kind::OrderPlaced,
        data: json!({
            "order": id, "lane": order.at.lane, "units": order.quantity, "amount": order.amount, "hold": order.hold_name,
        }),
    };
    audit::write(&mut tx, &[entry]).await?;
    tx.commit().await?;
    Ok(())
}

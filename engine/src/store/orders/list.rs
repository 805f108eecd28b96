//! A sale's orders page by page, newest first, for its operators.

use super::rows::{OrderRow, RawOrder};
use crate::{boxed, error::Result, sale::ms, store::Store};
use chrono::{DateTime, Utc};
use flashsale_protocol::{OrderId, OrderStatus, SaleId, ShopperId};
use sqlx::PgConnection;
use std::{collections::HashMap, fmt, str::FromStr};
use strum::{EnumString, IntoStaticStr};

/// Orders in one page, at most.
pub const ORDERS_PAGE_MOST: i64 = 200;
/// Orders among which one page looks for those that are wanted.
const LOOKED_AT: i64 = 20_000;

/// Which of a sale's orders are wanted.
#[derive(Debug, Clone)]
pub struct WantedOrders {
    pub sale: SaleId,
    /// The merchant whose sale it is.
    pub merchant: String,
    /// None: all of them.
    pub which: Option<WhichOrders>,
    /// The end of the order's number, as receipts show it.
    pub code: Option<String>,
    pub after: Option<OrdersCursor>,
    /// 1 to [`ORDERS_PAGE_MOST`].
    pub limit: i64,
}

/// A part of the orders. The words are those of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum WhichOrders {
    Pending,
    Confirmed,
    Cancelled,
    /// Of whose money something has gone back.
    Refunded,
}

impl WhichOrders {
    /// Whether an order is one of these.
    pub fn has(self, order: &OrderRow) -> bool {
        match self {
            Self::Pending => order.status == OrderStatus::Pending,
            Self::Confirmed => order.status == OrderStatus::Confirmed,
            Self::Cancelled => order.status == OrderStatus::Cancelled,
            Self::Refunded => order.refunded > 0,
        }
    }
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdersCursor {
    at: DateTime<Utc>,
    order: OrderId,
}

impl fmt::Display for OrdersCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.at.timestamp_micros(), self.order)
    }
}

impl FromStr for OrdersCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be the `next` of a list";
        let (at, order) = text.split_once('_').ok_or(WRONG)?;
        let at = at.parse().map_err(|_| WRONG)?;
        let cursor = Self {
            at: DateTime::from_timestamp_micros(at).ok_or(WRONG)?,
            order: order.parse().map_err(|_| WRONG)?,
        };
        // Postgres knows no later or earlier times.
        match cursor.to_string() == text && ms(cursor.at) > 0 {
            true => Ok(cursor),
            false => Err(WRONG),
        }
    }
}

/// An order with the name of its buyer.
#[derive(Debug)]
pub struct ListedOrder {
    pub order: OrderRow,
    /// What the shop's own sign-in calls them.
    pub customer: Option<String>,
}

#[derive(Debug)]
pub struct OrdersPage {
    pub orders: Vec<ListedOrder>,
    /// None: this was the last page.
    pub next: Option<OrdersCursor>,
}

impl Store {
    /// A page of a sale's orders. One that looks for few among many may be short, and still have a next one.
    #[boxed]
    pub async fn list_orders(&self, wanted: &WantedOrders) -> Result<OrdersPage> {
        let mut connection = self.pools.operations.acquire().await?;
        let (limit, sale) = (wanted.limit.clamp(1, ORDERS_PAGE_MOST), wanted.sale.to_string());
        let (at, order) = match &wanted.after {
            Some(after) => (Some(after.at), Some(after.order.to_string())),
            None => (None, None),
        };
        let which: Option<&str> = wanted.which.map(WhichOrders::into);
        let rows = sqlx::query_as!(
            RawOrder,
            r#"SELECT o.order_id AS "order_id!", o.sale_id AS "sale_id!", o.lane AS "lane!", o.user_id AS "user_id!",
                o.device_id AS "device_id!", o.quantity_allocated AS "quantity_allocated!", o.unit_price AS "unit_price!",
                o.amount AS "amount!", o.currency AS "currency!", o.status AS "status!", o.reason,
                o.created_at AS "created_at!", o.expires_at AS "expires_at!", o.changed_at AS "changed_at!",
                o.refunded AS "refunded!", o.hold_command AS "hold_command!",
                CASE WHEN o.refunded > 0 THEN (SELECT max(r.done_at) FROM refunds r JOIN payments p USING (payment_id)
                    WHERE p.order_id = o.order_id) END AS refunded_at,
                CASE o.status WHEN 'pending' THEN (SELECT max(p.created_at) FROM payments p
                    WHERE p.order_id = o.order_id AND p.answer IS NULL) END AS paying_since,
                NULL::text[] AS "declined?"
               FROM (SELECT * FROM flash_sale_orders
                     WHERE sale_id = $1 AND created_at <= coalesce($2, 'infinity'::timestamptz)
                        AND ($3::text IS NULL OR (created_at, order_id) < ($2, $3))
                     ORDER BY created_at DESC, order_id DESC LIMIT $4) o
               WHERE o.quantity_allocated > 0
                  AND ($5::text IS NULL OR o.status = $5 OR ($5 = 'refunded' AND o.refunded > 0))
                  AND ($7::text IS NULL OR right(o.order_id, length($7)) = $7)
               ORDER BY o.created_at DESC, o.order_id DESC LIMIT $6"#,
            &sale,
            at,
            order,
            LOOKED_AT,
            which,
            limit,
            wanted.code.as_deref(),
        )
        .fetch_all(&mut *connection)
        .await?;
        let rows: Vec<OrderRow> = rows.into_iter().map(RawOrder::read).collect::<Result<_>>()?;
        let next = match rows.last() {
            Some(last) if rows.len() as i64 == limit => Some(OrdersCursor {
                at: last.created_at,
                order: last.order,
            }),
            _ => last_looked_at(&mut connection, &sale, at, order.as_deref()).await?,
        };
        let orders = with_names(&mut connection, &wanted.merchant, rows).await?;
        Ok(OrdersPage { orders, next })
    }

    /// A person's orders in a sale, newest first.
    #[boxed]
    pub async fn list_orders_of(&self, sale: SaleId, merchant: &str, who: &ShopperId) -> Result<OrdersPage> {
        let rows = self.orders_of(who, Some(sale)).await?;
        let mut connection = self.pools.operations.acquire().await?;
        let orders = with_names(&mut connection, merchant, rows).await?;
        Ok(OrdersPage { orders, next: None })
    }
}

/// The last order among which a page has looked; None: there are no more.
async fn last_looked_at(
    connection: &mut PgConnection,
    sale: &str,
    at: Option<DateTime<Utc>>,
    order: Option<&str>,
) -> Result<Option<OrdersCursor>> {
    let last = sqlx::query!(
        "SELECT created_at, order_id FROM flash_sale_orders
         WHERE sale_id = $1 AND created_at <= coalesce($2, 'infinity'::timestamptz)
            AND ($3::text IS NULL OR (created_at, order_id) < ($2, $3))
         ORDER BY created_at DESC, order_id DESC OFFSET $4 LIMIT 1",
        sale,
        at,
        order,
        LOOKED_AT - 1,
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.and_then(|row| {
        Some(OrdersCursor {
            at: row.created_at,
            order: row.order_id.parse().ok()?,
        })
    }))
}

/// Orders with what the merchant's sign-in calls their buyers.
async fn with_names(
    connection: &mut PgConnection,
    merchant: &str,
    rows: Vec<OrderRow>,
) -> Result<Vec<ListedOrder>> {
    let people: Vec<String> = rows.iter().map(|row| row.shopper.to_string()).collect();
    let names = sqlx::query!(
        "SELECT person_id, subject FROM people WHERE person_id = ANY($1) AND merchant_id = $2",
        &people,
        merchant,
    )
    .fetch_all(connection)
    .await?;
    let names: HashMap<String, Option<String>> = names
        .into_iter()
        .map(|row| (row.person_id, row.subject))
        .collect();
    let named = rows.into_iter().map(|order| ListedOrder {
        customer: names.get(order.shopper.as_str()).and_then(Clone::clone),
        order,
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else() {
        let written = OrdersCursor {
            at: DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time"),
            order: OrderId::from_parts(1, u128::MAX),
        };
        let text = written.to_string();
        assert_eq!(text.parse(), Ok(written));
        let order = text.split('_').nth(1).expect("an order");
        for other in [
            "",
            "_",
            "1",
            &format!("0_{order}"),
            &format!("-1_{order}"),
            &format!("{text} "),
            &text.to_lowercase(),
        ] {
            assert!(other.parse::<OrdersCursor>().is_err(), "{other}");
        }
    }
}

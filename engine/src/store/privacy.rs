//! What is kept of a person, as one answer; and how it is forgotten. `docs/privacy.md` lists it for people.

use super::Store;
use crate::{boxed, error::Result};
use chrono::{DateTime, Utc};
use flashsale_protocol::{SaleId, ShopperId};
use sqlx::PgConnection;

/// Rows of each kind in one answer.
const EXPORT_MOST: i64 = 1_000;
/// Rows that one statement of a bulk job changes.
const AT_ONCE: i64 = 5_000;
/// Statements of a bulk job in one step: others go on in between.
const STEPS: usize = 20;
/// Time after a sale's end in which Redis still has it: for late commands, and for people who look.
const IN_REDIS: &str = "1 day";
/// Time after a sale's end in which its workers still look at it.
const SETTLING: &str = "1 hour";

/// Everything that is stored of one person at a merchant.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    pub subject: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub orders: Vec<KeptOrder>,
    pub places: Vec<KeptPlace>,
    pub draws: Vec<KeptDraw>,
}

#[derive(Debug, PartialEq)]
pub struct KeptOrder {
    pub order: String,
    pub sale: String,
    pub quantity: i32,
    pub amount: i64,
    pub refunded: i64,
    pub currency: String,
    pub status: String,
    pub reason: Option<String>,
    pub device: String,
    pub created_at: DateTime<Utc>,
    pub terms_url: Option<String>,
    pub terms_version: Option<String>,
}

#[derive(Debug, PartialEq)]
pub struct KeptPlace {
    pub sale: String,
    pub quantity: i32,
    pub priority: bool,
    pub status: String,
    pub device: String,
    pub joined_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Debug, PartialEq)]
pub struct KeptDraw {
    pub sale: String,
    pub entry: String,
    pub quantity: i32,
    pub weight: i32,
    pub device: String,
    pub entered_at: DateTime<Utc>,
}

impl Kept {
    pub fn is_nothing(&self) -> bool {
        self.since.is_none() && self.orders.is_empty() && self.places.is_empty() && self.draws.is_empty()
    }
}

impl Store {
    /// What is stored of a person; of each kind at most the newest 1,000.
    #[boxed]
    pub async fn kept_of(&self, person: &ShopperId) -> Result<Kept> {
        let who = person.as_str();
        let known = sqlx::query!("SELECT subject, since FROM people WHERE person_id = $1", who)
            .fetch_optional(&self.pools.shoppers)
            .await?;
        let orders = sqlx::query_as!(
            KeptOrder,
            r#"SELECT order_id AS "order", sale_id AS sale, quantity_allocated AS quantity, amount, refunded, currency, status,
                reason, device_id AS device, created_at, terms_url, terms_version
               FROM flash_sale_orders WHERE user_id = $1 ORDER BY created_at DESC LIMIT $2"#,
            who,
            EXPORT_MOST,
        )
        .fetch_all(&self.pools.shoppers)
        .await?;
        // By sale, because that is how these tables are found.
        let sales = self.sales_of(person).await?;
        let places = sqlx::query_as!(
            KeptPlace,
            "SELECT sale_id AS sale, quantity, priority, status, device_id AS device, joined_at, ended_at FROM queue_entries
             WHERE sale_id = ANY($1) AND user_id = $2 ORDER BY joined_at DESC LIMIT $3",
            &sales,
            who,
            EXPORT_MOST,
        )
        .fetch_all(&self.pools.shoppers)
        .await?;
        let draws = sqlx::query_as!(
            KeptDraw,
            "SELECT sale_id AS sale, entry, quantity, weight, device_id AS device, entered_at FROM draw_entries
             WHERE sale_id = ANY($1) AND shopper_id = $2 ORDER BY entered_at DESC LIMIT $3",
            &sales,
            who,
            EXPORT_MOST,
        )
        .fetch_all(&self.pools.shoppers)
        .await?;
        Ok(Kept {
            subject: known.as_ref().and_then(|known| known.subject.clone()),
            since: known.map(|known| known.since),
            orders,
            places,
            draws,
        })
    }

    /// The sales whose lines and draws may know a person: those of opaque ids that are not forgotten.
    async fn sales_of(&self, person: &ShopperId) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar!(
            "SELECT s.sale_id FROM flash_sales s WHERE s.forgotten_at IS NULL AND (
                EXISTS (SELECT 1 FROM queue_entries e WHERE e.sale_id = s.sale_id AND e.user_id = $1)
                OR EXISTS (SELECT 1 FROM draw_entries d WHERE d.sale_id = s.sale_id AND d.shopper_id = $1))",
            person.as_str(),
        )
        .fetch_all(&self.pools.shoppers)
        .await?)
    }

    /// Whether what is stored of a person is this merchant's.
    #[boxed]
    pub async fn is_of(&self, person: &ShopperId, merchant: &str) -> Result<bool> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM people WHERE person_id = $1 AND merchant_id = $2)
               OR EXISTS (SELECT 1 FROM flash_sales s WHERE s.merchant_id = $2 AND s.forgotten_at IS NULL AND (
                   EXISTS (SELECT 1 FROM queue_entries e WHERE e.sale_id = s.sale_id AND e.user_id = $1)
                   OR EXISTS (SELECT 1 FROM draw_entries d WHERE d.sale_id = s.sale_id AND d.shopper_id = $1)
                   OR EXISTS (SELECT 1 FROM flash_sale_orders o WHERE o.sale_id = s.sale_id AND o.user_id = $1))) AS "is!""#,
            person.as_str(),
            merchant,
        )
        .fetch_one(&self.pools.shoppers)
        .await?)
    }

    /// Whether a person has something in a sale that is not over.
    #[boxed]
    pub async fn is_busy(&self, person: &ShopperId) -> Result<bool> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM flash_sales s WHERE s.status NOT IN ('ended', 'cancelled') AND (
                   EXISTS (SELECT 1 FROM flash_sale_orders o WHERE o.sale_id = s.sale_id AND o.user_id = $1)
                   OR EXISTS (SELECT 1 FROM queue_entries e WHERE e.sale_id = s.sale_id AND e.user_id = $1)
                   OR EXISTS (SELECT 1 FROM draw_entries d WHERE d.sale_id = s.sale_id AND d.shopper_id = $1)))
               OR EXISTS (SELECT 1 FROM flash_sale_orders o WHERE o.user_id = $1 AND o.status = 'pending') AS "busy!""#,
            person.as_str(),
        )
        .fetch_one(&self.pools.shoppers)
        .await?)
    }

    /// People of a session of the whole platform who have ordered somewhere.
    pub async fn people_of(&self, account: &ShopperId) -> Result<Vec<ShopperId>> {
        let ids = sqlx::query_scalar!(
            "SELECT person_id FROM people WHERE account_id = $1",
            account.as_str()
        )
        .fetch_all(&self.pools.operations)
        .await?;
        Ok(ids.into_iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Notes that somebody (an account, or a person) is about to be forgotten, by this request.
    #[boxed]
    pub(crate) async fn begin_leaving(&self, who: &ShopperId, request: &str) -> Result<()> {
        sqlx::query!(
            "INSERT INTO leaving_people (person_id, request) VALUES ($1, $2)
             ON CONFLICT (person_id) DO UPDATE SET request = excluded.request, since = clock_timestamp()",
            who.as_str(),
            request,
        )
        .execute(&self.pools.shoppers)
        .await?;
        Ok(())
    }

    /// They are forgotten, or cannot be. A later request's note stays.
    #[boxed]
    pub(crate) async fn end_leaving(&self, who: &ShopperId, request: &str) -> Result<()> {
        sqlx::query!(
            "DELETE FROM leaving_people WHERE person_id = $1 AND request = $2",
            who.as_str(),
            request,
        )
        .execute(&self.pools.shoppers)
        .await?;
        Ok(())
    }

    /// Forgets a person: what stays (orders and places, as numbers) is nobody's, and whoever comes back is somebody new. May be
    /// repeated.
    #[boxed]
    pub async fn erase(&self, person: &ShopperId) -> Result<()> {
        let (who, nobody) = (person.as_str(), format!("x_{:032x}", rand::random::<u128>()));
        let sales = self.sales_of(person).await?;
        let mut tx = self.pools.shoppers.begin().await?;
        sqlx::query!(
            "INSERT INTO erased_people (person_id) VALUES ($1) ON CONFLICT DO NOTHING",
            who
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("DELETE FROM people WHERE person_id = $1", who)
            .execute(&mut *tx)
            .await?;
        // Found by their orders, as long as these say whose they are.
        sqlx::query!(
            "UPDATE payments SET user_id = $2 WHERE order_id IN (SELECT order_id FROM flash_sale_orders WHERE user_id = $1)",
            who,
            nobody
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE flash_sale_orders SET user_id = $2, device_id = $2 WHERE user_id = $1",
            who,
            nobody
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("UPDATE commands SET user_id = $2 WHERE user_id = $1", who, nobody)
            .execute(&mut *tx)
            .await?;
        sqlx::query!(
            "UPDATE queue_entries SET user_id = $3, device_id = $3, nonce = NULL WHERE sale_id = ANY($1) AND user_id = $2",
            &sales,
            who,
            nobody,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE draw_entries SET shopper_id = $3, device_id = $3, nonce = NULL WHERE sale_id = ANY($1) AND shopper_id = $2",
            &sales,
            who,
            nobody,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE draw_turns SET shopper_id = $3 WHERE sale_id = ANY($1) AND shopper_id = $2",
            &sales,
            who,
            nobody,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE cancelled_orders SET user_id = $2 WHERE user_id = $1",
            who,
            nobody
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A sale that Redis need not have any more, with its number of lanes.
    pub(crate) async fn sale_to_clear(&self) -> Result<Option<(SaleId, u16)>> {
        let found = sqlx::query!(
            "SELECT sale_id, lanes FROM flash_sales s
             WHERE left_redis_at IS NULL AND status IN ('ended', 'cancelled') AND end_time < now() - $1::text::interval
                AND NOT EXISTS (SELECT 1 FROM flash_sale_orders o
                    WHERE o.sale_id = s.sale_id AND (o.status = 'pending' OR NOT o.units_returned))
                AND NOT EXISTS (SELECT 1 FROM draws d WHERE d.sale_id = s.sale_id AND d.over_at > now() - $1::text::interval)
             ORDER BY end_time LIMIT 1",
            IN_REDIS,
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        Ok(found.and_then(|row| Some((row.sale_id.parse().ok()?, row.lanes as u16))))
    }

    /// Notes that Redis does not have a sale any more.
    pub(crate) async fn note_cleared(&self, sale: SaleId) -> Result<()> {
        sqlx::query!(
            "UPDATE flash_sales SET left_redis_at = now() WHERE sale_id = $1",
            sale.to_string()
        )
        .execute(&self.pools.operations)
        .await?;
        Ok(())
    }

    /// A sale whose people are to be forgotten: its merchant's time is up.
    pub(crate) async fn sale_to_forget(&self) -> Result<Option<SaleId>> {
        let found = sqlx::query_scalar!(
            "SELECT s.sale_id FROM flash_sales s JOIN merchants m USING (merchant_id)
             WHERE s.forgotten_at IS NULL AND s.status IN ('ended', 'cancelled')
                AND s.end_time < now() - make_interval(days => m.retention_days)
                AND NOT EXISTS (SELECT 1 FROM flash_sale_orders o WHERE o.sale_id = s.sale_id AND o.status = 'pending')
             ORDER BY s.end_time LIMIT 1"
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        Ok(found.and_then(|id| id.parse().ok()))
    }

    /// Forgets a part of a sale's people. True: all of them.
    pub(crate) async fn forget_people(&self, sale: SaleId) -> Result<bool> {
        let sale = sale.to_string();
        for _ in 0..STEPS {
            let mut tx = self.pools.operations.begin().await?;
            if forget_some(&mut tx, &sale).await? == 0 {
                // The audit log's names of shoppers are nobody's without it.
                sqlx::query!("DELETE FROM sale_salts WHERE sale_id = $1", sale)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query!(
                    "UPDATE flash_sales SET forgotten_at = now() WHERE sale_id = $1",
                    sale
                )
                .execute(&mut *tx)
                .await?;
                tx.commit().await?;
                return Ok(true);
            }
            tx.commit().await?;
        }
        Ok(false)
    }

    /// A sale in which credentials of devices stand as older releases wrote them, after its end.
    pub(crate) async fn sale_to_hide(&self) -> Result<Option<SaleId>> {
        let found = sqlx::query_scalar!(
            "SELECT sale_id FROM flash_sales
             WHERE devices_hidden_at IS NULL AND format = 1 AND status IN ('ended', 'cancelled')
                AND end_time < now() - $1::text::interval LIMIT 1",
            SETTLING,
        )
        .fetch_optional(&self.pools.operations)
        .await?;
        Ok(found.and_then(|id| id.parse().ok()))
    }

    /// Hides credentials of devices in a sale.
    pub(crate) async fn hide_devices(&self, sale: SaleId) -> Result<()> {
        let sale = sale.to_string();
        let mut tx = self.pools.operations.begin().await?;
        sqlx::query!(
            "UPDATE flash_sale_orders SET device_id = hidden_device(device_id) WHERE sale_id = $1 AND device_id LIKE 'd\\_%.%'",
            sale
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE queue_entries SET device_id = hidden_device(device_id) WHERE sale_id = $1 AND device_id LIKE 'd\\_%.%'",
            sale
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE draw_entries SET device_id = hidden_device(device_id) WHERE sale_id = $1 AND device_id LIKE 'd\\_%.%'",
            sale
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE flash_sales SET devices_hidden_at = now() WHERE sale_id = $1",
            sale
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Forgets some people of a sale: first their names, at last the commands. Returns the number of rows that were changed.
async fn forget_some(tx: &mut PgConnection, sale: &str) -> Result<u64> {
    // Who has no order left but in sales like this one is not known any more.
    let people = sqlx::query!(
        "DELETE FROM people WHERE person_id IN (
             SELECT p.person_id FROM people p
             JOIN (SELECT DISTINCT user_id FROM flash_sale_orders WHERE sale_id = $1 AND user_id NOT LIKE 'x\\_%') o
                ON o.user_id = p.person_id
             WHERE NOT EXISTS (SELECT 1 FROM flash_sale_orders other
                WHERE other.user_id = p.person_id AND other.sale_id <> $1) LIMIT $2)",
        sale,
        AT_ONCE,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if people > 0 {
        return Ok(people);
    }
    let commands = sqlx::query!(
        "DELETE FROM commands WHERE (user_id, command_id) IN (
             SELECT c.user_id, c.command_id FROM commands c JOIN flash_sale_orders o ON o.user_id = c.user_id AND o.order_id = c.order_id
             WHERE o.sale_id = $1 LIMIT $2)",
        sale,
        AT_ONCE,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if commands > 0 {
        return Ok(commands);
    }
    let payments = sqlx::query!(
        "UPDATE payments SET user_id = 'x_' || order_id WHERE payment_id IN (
             SELECT p.payment_id FROM payments p JOIN flash_sale_orders o USING (order_id)
             WHERE o.sale_id = $1 AND p.user_id NOT LIKE 'x\\_%' LIMIT $2)",
        sale,
        AT_ONCE,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if payments > 0 {
        return Ok(payments);
    }
    let orders = sqlx::query!(
        "UPDATE flash_sale_orders SET user_id = 'x_' || order_id, device_id = 'x_' || order_id WHERE order_id IN (
             SELECT order_id FROM flash_sale_orders WHERE sale_id = $1 AND user_id NOT LIKE 'x\\_%' LIMIT $2)",
        sale,
        AT_ONCE,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if orders > 0 {
        return Ok(orders);
    }
    let places = sqlx::query!(
        "UPDATE queue_entries SET user_id = 'x_' || queue_id, device_id = 'x_' || queue_id, nonce = NULL WHERE sale_id = $1 AND queue_id IN (
             SELECT queue_id FROM queue_entries WHERE sale_id = $1 AND user_id NOT LIKE 'x\\_%' LIMIT $2)",
        sale,
        AT_ONCE,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if places > 0 {
        return Ok(places);
    }
    let turns = sqlx::query!(
        "UPDATE draw_turns SET shopper_id = 'x_' || entry WHERE sale_id = $1 AND rank IN (
             SELECT rank FROM draw_turns WHERE sale_id = $1 AND shopper_id NOT LIKE 'x\\_%' LIMIT $2)",
        sale,
        AT_ONCE,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if turns > 0 {
        return Ok(turns);
    }
    let draws = sqlx::query!(
        "UPDATE draw_entries SET shopper_id = 'x_' || entry, device_id = 'x_' || entry, nonce = NULL WHERE sale_id = $1 AND entry IN (
             SELECT entry FROM draw_entries WHERE sale_id = $1 AND shopper_id NOT LIKE 'x\\_%' LIMIT $2)",
        sale,
        AT_ONCE,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if draws > 0 {
        return Ok(draws);
    }
    let counts = sqlx::query!("UPDATE cancelled_orders SET user_id = 'x_' || md5(random()::text) WHERE sale_id = $1 AND user_id NOT LIKE 'x\\_%'", sale)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if counts > 0 {
        return Ok(counts);
    }
    let bodies = sqlx::query!(
        "UPDATE payment_events SET body = '{}' WHERE body <> '{}' AND payment_id IN (
             SELECT p.payment_id FROM payments p JOIN flash_sale_orders o USING (order_id) WHERE o.sale_id = $1)",
        sale
    )
    .execute(tx)
    .await?;
    Ok(bodies.rows_affected())
}

//! Commands that Postgres has carried out or refused for good. Each has one effect and one answer under its shopper and id, until
//! the sale's retention ends. Operators' commands are elsewhere ([`super::operators`]): they keep a whole answer.

use super::words::code_of;
use crate::error::Result;
use flashsale_protocol::{Code, CommandId, OrderId, SaleId};
use sqlx::PgConnection;
use std::collections::{HashMap, HashSet};

/// A shopper and the id of one of their commands.
pub(super) type Name = (String, String);

/// A command that was noted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    digest: Vec<u8>,
    refusal: Option<Code>,
}

impl Known {
    pub(super) fn new(digest: Vec<u8>, refusal: Option<&str>) -> Self {
        Self {
            digest,
            refusal: refusal.map(code_of),
        }
    }

    /// The answer to a command with this id. Err: its first refusal, or that the id belongs to another command.
    pub fn answer(&self, digest: &[u8]) -> std::result::Result<(), Code> {
        if self.digest != digest {
            return Err(Code::CommandIdReused);
        }
        self.refusal.map_or(Ok(()), Err)
    }
}

/// A command that is being carried out, or refused for good.
pub(super) struct NewCommand<'a> {
    pub shopper: &'a str,
    pub command: CommandId,
    /// SHA-256 of verb and payload: the same id with another digest is another command.
    pub digest: &'a [u8],
    pub order: OrderId,
    pub refusal: Option<Code>,
}

/// Finds those of these commands that were noted before.
pub(super) async fn known(
    connection: &mut PgConnection,
    names: impl IntoIterator<Item = Name>,
) -> Result<HashMap<Name, Known>> {
    let (shoppers, commands): (Vec<String>, Vec<String>) = names.into_iter().unzip();
    if commands.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "SELECT c.user_id, c.command_id, c.digest, c.refusal FROM commands c
         JOIN unnest($1::text[], $2::text[]) AS i (user_id, command_id) USING (user_id, command_id)",
        &shoppers,
        &commands,
    )
    .fetch_all(connection)
    .await?;
    let known = rows.into_iter().map(|row| {
        let known = Known::new(row.digest, row.refusal.as_deref());
        ((row.user_id, row.command_id), known)
    });
    Ok(known.collect())
}

/// Notes commands. Returns the orders of the new ones; the ids of the others are in use.
pub(super) async fn note(
    connection: &mut PgConnection,
    mut new: Vec<NewCommand<'_>>,
) -> Result<HashSet<OrderId>> {
    if new.is_empty() {
        return Ok(HashSet::new());
    }
    // Everywhere in the same order, so that two gateways with the same commands cannot block each other.
    new.sort_by_key(|item| (item.shopper, item.command));
    let column = |text: fn(&NewCommand) -> String| new.iter().map(text).collect::<Vec<String>>();
    let digests: Vec<&[u8]> = new.iter().map(|item| item.digest).collect();
    let refusals: Vec<Option<&str>> = new.iter().map(|item| item.refusal.map(Code::word)).collect();
    let noted: HashSet<String> = sqlx::query_scalar!(
        "INSERT INTO commands (user_id, command_id, digest, order_id, refusal)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[])
         ON CONFLICT DO NOTHING RETURNING order_id",
        &column(|item| item.shopper.to_owned()),
        &column(|item| item.command.to_string()),
        digests.as_slice() as &[&[u8]],
        &column(|item| item.order.to_string()),
        refusals.as_slice() as &[Option<&str>],
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .collect();
    let orders = new.iter().map(|item| item.order);
    Ok(orders
        .filter(|order| noted.contains(&order.to_string()))
        .collect())
}

/// Notes checkouts; a shopper with too many cancelled orders is refused. Returns the new ones' refusals, by order.
pub(super) async fn note_checkouts(
    connection: &mut PgConnection,
    sale: SaleId,
    new: &[(NewCommand<'_>, u32)],
) -> Result<HashMap<OrderId, Option<Code>>> {
    let column =
        |text: fn(&NewCommand) -> String| new.iter().map(|(item, _)| text(item)).collect::<Vec<String>>();
    let digests: Vec<&[u8]> = new.iter().map(|(item, _)| item.digest).collect();
    let cancel_limits: Vec<i32> = new.iter().map(|(_, limit)| *limit as i32).collect();
    let rows = sqlx::query!(
        "INSERT INTO commands (user_id, command_id, digest, order_id, refusal)
         SELECT i.user_id, i.command_id, i.digest, i.order_id, CASE WHEN c.orders >= i.cancel_limit THEN $7 END
         FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::int[])
            AS i (user_id, command_id, digest, order_id, cancel_limit)
         LEFT JOIN cancelled_orders c ON c.sale_id = $6 AND c.user_id = i.user_id
         ON CONFLICT DO NOTHING
         RETURNING order_id, refusal",
        &column(|item| item.shopper.to_owned()),
        &column(|item| item.command.to_string()),
        digests.as_slice() as &[&[u8]],
        &column(|item| item.order.to_string()),
        &cancel_limits,
        sale.to_string(),
        Code::CancelLimitReached.word(),
    )
    .fetch_all(connection)
    .await?;
    let noted: HashMap<String, Option<String>> =
        rows.into_iter().map(|row| (row.order_id, row.refusal)).collect();
    let orders = new.iter().filter_map(|(item, _)| {
        let refusal = noted.get(&item.order.to_string())?;
        Some((item.order, refusal.as_deref().map(code_of)))
    });
    Ok(orders.collect())
}

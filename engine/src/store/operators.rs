//! Changes by operators, all made in one way. Commands on one sale follow each other, because each locks the sale's row. A
//! command with a key has one effect and one answer; the answer is written in the effect's transaction. A condition is checked
//! against the settings that operators have made until then.
//!
//! Order of locks: the key, the sale, then as everywhere orders, lanes and audit log. The sale's row is locked FOR NO KEY UPDATE:
//! orders refer to it and are not blocked.

use super::{
    Store,
    audit::{self, Actor, AuditRow, Kind},
    draws::{self, DrawRow, NewDraw},
    sales,
};
use crate::{
    boxed,
    error::{Error, Result},
    sale::{Sale, phase_word},
};
use flashsale_protocol::{CommandId, Phase, SaleId};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};

/// The version of a newly created sale.
const FIRST_VERSION: i64 = 1;

/// An operator's request, without its effect.
#[derive(Debug, Clone)]
pub struct Asked {
    pub actor: String,
    /// The actor is a merchant's program, by the id of its key.
    pub is_program: bool,
    /// None: each request is a command of its own, and no answer is kept.
    pub key: Option<CommandId>,
    /// SHA-256 of the whole request: the same key with another digest is another command.
    pub digest: Vec<u8>,
    pub condition: Condition,
}

/// The versions of the sale's settings that the operator may have looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    None,
    /// Any of these entity tags, without quotes.
    OneOf(Vec<String>),
}

impl Condition {
    fn allows(&self, version: i64) -> bool {
        match self {
            Self::None => true,
            Self::OneOf(tags) => tags.contains(&version.to_string()),
        }
    }
}

/// The answer to an operator. The store keeps it unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorAnswer {
    pub status: u16,
    /// The version of the sale's settings after the effect.
    pub version: i64,
    pub body: Value,
}

pub enum CommandBegun {
    /// The command had its effect before.
    Known(OperatorAnswer),
    /// The key belongs to another command.
    Reused,
    /// The condition does not hold; this is the current version.
    Moved(i64),
    New(OperatorChange),
}

/// A command on its way, in its transaction. If it is dropped, it has no effect.
pub struct OperatorChange {
    once: Once,
    sale: SaleId,
    version: i64,
    has_changed: bool,
    audit: Vec<AuditRow>,
}

/// A command on its way that is about no sale, in its transaction. If it is dropped, it has no effect.
pub struct Once {
    tx: Transaction<'static, Postgres>,
    actor: String,
    is_program: bool,
    key: Option<CommandId>,
}

pub enum OnceBegun {
    /// The command had its effect before.
    Known(OperatorAnswer),
    /// The key belongs to another command.
    Reused,
    New(Once),
}

impl Store {
    /// Begins a command about anything: waits for earlier ones of the same key to end.
    #[boxed]
    pub async fn begin_once(&self, asked: &Asked, about: &str) -> Result<OnceBegun> {
        let mut tx = self.pools.purchases.begin().await?;
        if let Some(key) = asked.key {
            let key = key.to_string();
            let inserted = sqlx::query!(
                "INSERT INTO operator_commands (actor, command_id, digest, sale_id) VALUES ($1, $2, $3, $4)
                 ON CONFLICT DO NOTHING",
                asked.actor,
                key,
                asked.digest,
                about,
            )
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if inserted == 0 {
                let known = sqlx::query!(
                    r#"SELECT digest, status AS "status!", version AS "version!", answer AS "answer!" FROM operator_commands
                       WHERE actor = $1 AND command_id = $2"#,
                    asked.actor,
                    key,
                )
                .fetch_one(&mut *tx)
                .await?;
                return Ok(if known.digest == asked.digest {
                    OnceBegun::Known(OperatorAnswer {
                        status: known.status as u16,
                        version: known.version,
                        body: known.answer,
                    })
                } else {
                    OnceBegun::Reused
                });
            }
        }
        Ok(OnceBegun::New(Once {
            tx,
            actor: asked.actor.clone(),
            is_program: asked.is_program,
            key: asked.key,
        }))
    }

    /// Begins a command: waits for earlier ones of the same key or sale to end. The sale need not exist yet.
    #[boxed]
    pub async fn begin_change(&self, asked: &Asked, sale: SaleId) -> Result<CommandBegun> {
        let mut once = match self.begin_once(asked, &sale.to_string()).await? {
            OnceBegun::New(once) => once,
            OnceBegun::Known(answer) => return Ok(CommandBegun::Known(answer)),
            OnceBegun::Reused => return Ok(CommandBegun::Reused),
        };
        let version = sqlx::query_scalar!(
            "SELECT settings_version FROM flash_sales WHERE sale_id = $1 FOR NO KEY UPDATE",
            sale.to_string(),
        )
        .fetch_optional(once.connection())
        .await?
        .unwrap_or(FIRST_VERSION);
        if !asked.condition.allows(version) {
            return Ok(CommandBegun::Moved(version));
        }
        Ok(CommandBegun::New(OperatorChange {
            once,
            sale,
            version,
            has_changed: false,
            audit: Vec::new(),
        }))
    }
}

impl Once {
    /// The connection for the effect's own statements.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Keeps the answer for the key, in the effect's transaction.
    async fn keep(&mut self, answer: &OperatorAnswer) -> Result<()> {
        if let Some(key) = self.key {
            sqlx::query!(
                "UPDATE operator_commands SET status = $3, version = $4, answer = $5 WHERE actor = $1 AND command_id = $2",
                self.actor,
                key.to_string(),
                answer.status as i16,
                answer.version,
                answer.body,
            )
            .execute(&mut *self.tx)
            .await?;
        }
        Ok(())
    }

    /// Keeps the answer, and commits it with the effect. Without this call neither takes place.
    #[boxed]
    pub async fn finish(mut self, answer: &OperatorAnswer) -> Result<()> {
        self.keep(answer).await?;
        self.tx.commit().await?;
        Ok(())
    }
}

impl OperatorChange {
    /// The connection for the effect's own statements.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.once.tx
    }

    /// The `sub` of the operator's token.
    pub fn subject(&self) -> &str {
        &self.once.actor
    }

    pub fn actor(&self) -> Actor {
        let actor = self.once.actor.clone();
        match self.once.is_program {
            true => Actor::ApiKey(actor),
            false => Actor::Operator(actor),
        }
    }

    pub fn sale_id(&self) -> SaleId {
        self.sale
    }

    /// The version of the sale's settings in this transaction.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Whether the settings that operators make have changed.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The sale as this transaction sees it.
    #[boxed]
    pub async fn sale(&mut self) -> Result<Sale> {
        sales::load(&mut self.once.tx, self.sale)
            .await?
            .ok_or_else(|| Error::unexpected("a sale has vanished"))
    }

    /// The effect has changed a setting of the sale: this makes a newer version.
    pub(super) async fn set(&mut self, kind: Kind, data: Value) -> Result<()> {
        self.raise_version().await?;
        self.note(kind, data);
        Ok(())
    }

    /// Raises the version for an effect that has its own row in the audit log.
    #[boxed]
    pub async fn raise_version(&mut self) -> Result<()> {
        if !self.has_changed {
            self.version = sqlx::query_scalar!(
                "UPDATE flash_sales SET settings_version = settings_version + 1 WHERE sale_id = $1
                 RETURNING settings_version",
                self.sale.to_string(),
            )
            .fetch_one(&mut *self.once.tx)
            .await?;
            self.has_changed = true;
        }
        Ok(())
    }

    /// The effect has done something that is not a setting.
    pub(super) fn note(&mut self, kind: Kind, data: Value) {
        self.audit.push(AuditRow {
            sale: self.sale,
            actor: self.actor(),
            kind,
            data,
        });
    }

    /// Whether the sale's merchant has fewer than `most` sales that are not over. Others of the merchant wait until this transaction
    /// ends, so that eight at once do not pass the limit.
    #[boxed]
    pub async fn has_room_for(&mut self, sale: &Sale, most: i32) -> Result<bool> {
        sqlx::query!(
            "SELECT merchant_id FROM merchants WHERE merchant_id = $1 FOR NO KEY UPDATE",
            sale.merchant
        )
        .fetch_optional(&mut *self.once.tx)
        .await?;
        let open = sqlx::query_scalar!(
            r#"SELECT count(*) AS "open!" FROM flash_sales
               WHERE merchant_id = $1 AND status NOT IN ('ended', 'cancelled')"#,
            sale.merchant
        )
        .fetch_one(&mut *self.once.tx)
        .await?;
        Ok(open < i64::from(most))
    }

    /// Creates the sale.
    #[boxed]
    pub async fn create(&mut self, sale: &Sale, draw: &NewDraw) -> Result<()> {
        let entry = sales::insert(&mut self.once.tx, sale, Some(draw)).await?;
        self.audit.push(entry);
        self.has_changed = true;
        Ok(())
    }

    /// Sets the sale's status, which was read in this transaction.
    #[boxed]
    pub async fn set_status(&mut self, to: Phase) -> Result<()> {
        sqlx::query!(
            "UPDATE flash_sales SET status = $2 WHERE sale_id = $1",
            self.sale.to_string(),
            phase_word(to),
        )
        .execute(&mut *self.once.tx)
        .await?;
        self.set(Kind::SaleStatus, json!({ "to": phase_word(to) })).await
    }

    /// Sets how many entries are called per 100 ms.
    #[boxed]
    pub async fn set_inflow(&mut self, before: u32, inflow: u32) -> Result<()> {
        sqlx::query!(
            "UPDATE flash_sales SET inflow = $2, inflow_cut_at = CASE WHEN $2 < inflow THEN now() END WHERE sale_id = $1",
            self.sale.to_string(),
            inflow as i32,
        )
        .execute(&mut *self.once.tx)
        .await?;
        self.set(Kind::InflowChanged, json!({ "from": before, "to": inflow }))
            .await
    }

    /// Sets how long a purchase's slowest step may take before fewer people are let in.
    #[boxed]
    pub async fn set_target_delay(&mut self, before_ms: u64, ms: u64) -> Result<()> {
        sqlx::query!(
            "UPDATE flash_sales SET target_delay_ms = $2 WHERE sale_id = $1",
            self.sale.to_string(),
            ms as i32,
        )
        .execute(&mut *self.once.tx)
        .await?;
        self.set(
            Kind::TargetDelayChanged,
            json!({ "from_ms": before_ms, "to_ms": ms }),
        )
        .await
    }

    /// Mixes in a value that nobody knew when the entries closed. False: not now, or another value is set already.
    #[boxed]
    pub async fn set_beacon(&mut self, value: &str) -> Result<bool> {
        let changed = sqlx::query!(
            "UPDATE draws SET beacon = $2
             WHERE sale_id = $1 AND beacon_source IS NOT NULL AND beacon IS NULL AND root IS NOT NULL",
            self.sale.to_string(),
            value,
        )
        .execute(&mut *self.once.tx)
        .await?
        .rows_affected();
        if changed == 0 {
            let known = self.draw().await?;
            return Ok(known.is_some_and(|known| known.public.beacon.as_deref() == Some(value)));
        }
        self.set(Kind::DrawBeacon, json!({ "value": value })).await?;
        Ok(true)
    }

    /// The sale's draw as this transaction sees it.
    #[boxed]
    pub async fn draw(&mut self) -> Result<Option<DrawRow>> {
        draws::draw_row(&mut *self.once.tx, self.sale).await
    }

    /// Keeps the answer for the key, and commits it with the effect. Without this call neither takes place.
    #[boxed]
    pub async fn finish(mut self, answer: &OperatorAnswer) -> Result<()> {
        self.once.keep(answer).await?;
        audit::write(&mut self.once.tx, &self.audit).await?;
        self.once.tx.commit().await?;
        Ok(())
    }
}

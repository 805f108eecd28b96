//! A row of the audit log: who did what. `docs/audit.md` lists the kinds with their data.

use crate::store::OrderRow;
use flashsale_protocol::{SaleId, ShopperId};
use serde_json::{Value, json};
use std::borrow::Cow;
use strum::{EnumString, IntoStaticStr, VariantNames};

/// One thing that happened in a sale.
pub struct AuditRow {
    pub sale: SaleId,
    pub actor: Actor,
    pub kind: Kind,
    pub data: Value,
}

impl AuditRow {
    /// A row about an order: `more` is added to the data that the replay needs from every such row.
    pub fn of_order(kind: Kind, actor: Actor, row: &OrderRow, more: Value) -> Self {
        let mut data =
            json!({ "order": row.order, "lane": row.lane, "units": row.quantity, "amount": row.amount });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        Self {
            sale: row.sale,
            actor,
            kind,
            data,
        }
    }
}

/// The kinds of events. The words stay in the log for good, so a kind is never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    SaleCreated,
    /// Written by a migration, for sales older than the log.
    LogBegun,
    SaleStatus,
    InflowChanged,
    SupplyChanged,
    SupplyMoved,
    LaneReopened,
    OrderPlaced,
    OrderConfirmed,
    OrderCancelled,
    OrderAbandoned,
    OrderRevived,
    OrderLost,
    RefundAsked,
    RefundRetried,
    RefundRefused,
    RefundDone,
    PaymentMismatch,
    DisputeOpened,
    DisputeClosed,
    DrawClosed,
    DrawBeacon,
    DrawHeld,
    DrawOver,
    Recovered,
}

/// The one who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The server, without anybody's command.
    Worker,
    /// The payment provider, through an event.
    Provider,
    /// A shopper or an operator, named by the `sub` of their token.
    Person(String),
}

const WORKER: &str = "worker";
const PROVIDER: &str = "provider";
/// Prefix for people whose name is one of the server's own words, or starts like this prefix.
const PERSON: &str = "person:";

impl Actor {
    /// The word in the log. A person's word is never the worker's or the provider's.
    pub fn word(&self) -> Cow<'_, str> {
        match self {
            Self::Worker => WORKER.into(),
            Self::Provider => PROVIDER.into(),
            Self::Person(name) if [WORKER, PROVIDER].contains(&name.as_str()) || name.starts_with(PERSON) => {
                format!("{PERSON}{name}").into()
            }
            Self::Person(name) => name.into(),
        }
    }
}

impl From<&ShopperId> for Actor {
    fn from(shopper: &ShopperId) -> Self {
        Self::Person(shopper.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_document_lists_every_kind() {
        let document = include_str!("../../../../docs/audit.md");
        for kind in Kind::VARIANTS {
            assert!(document.contains(&format!("`{kind}`")), "{kind}");
        }
    }

    #[test]
    fn nobody_passes_for_the_worker_or_the_provider() {
        let person = |name: &str| Actor::Person(name.into());
        let actors = [
            Actor::Worker,
            Actor::Provider,
            person("worker"),
            person("provider"),
            person("person:worker"),
            person("person:"),
            person("ann"),
        ];
        let words: HashSet<_> = actors.iter().map(Actor::word).collect();
        assert_eq!(words.len(), actors.len(), "{words:?}");
        assert_eq!(person("ann").word(), "ann");
        assert_eq!(Actor::Worker.word(), "worker");
    }
}

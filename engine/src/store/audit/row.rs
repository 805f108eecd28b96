//! A row of the audit log: who did what. `docs/audit.md` lists the kinds with their data.

use super::canonical;
use crate::{
    error::{Error, Result},
    store::OrderRow,
};
use flashsale_protocol::{SaleId, ShopperId};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::borrow::Cow;
use strum::{EnumString, IntoStaticStr, VariantNames};

/// Bytes of a pseudonym: enough that no two shoppers of a sale share one.
const PSEUDONYM_BYTES: usize = 16;

/// One thing that happened in a sale.
pub struct AuditRow {
    pub sale: SaleId,
    pub actor: Actor,
    pub kind: Kind,
    /// Names the lane, if it is about one.
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

    /// The chains of format 2 in which it stands; None is the sale's own.
    pub(super) fn chains(&self) -> Result<Vec<Option<u16>>> {
        let lane = |value: &Value| value.as_u64().and_then(|lane| u16::try_from(lane).ok());
        let chains: Option<Vec<Option<u16>>> = match self.kind.place() {
            Place::Sale => Some(vec![None]),
            Place::Lane => lane(&self.data["lane"]).map(|lane| vec![Some(lane)]),
            Place::BothLanes => match (lane(&self.data["from"]), lane(&self.data["to"])) {
                (Some(from), Some(to)) => Some(vec![Some(from), Some(to)]),
                _ => None,
            },
            Place::LanesAndSale => self.data["lanes"].as_array().and_then(|lanes| {
                let lanes: Option<Vec<u16>> = lanes.iter().map(lane).collect();
                lanes.map(|lanes| lanes.into_iter().map(Some).chain([None]).collect())
            }),
        };
        chains.ok_or_else(|| Error::unexpected(format!("an audit row without its lane: {:?}", self.kind)))
    }
}

/// Where rows of a kind stand in format 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Sale,
    /// In the chain of the lane that `lane` names.
    Lane,
    /// Units that leave one lane for another.
    BothLanes,
    /// A change of the sale's stock, lane by lane.
    LanesAndSale,
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
    TargetDelayChanged,
    PictureChanged,
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
    HandoffRedeemed,
    HandoffRefused,
    HandoffFailed,
    OrderExtended,
    DrawClosed,
    DrawBeacon,
    DrawHeld,
    DrawOver,
    Recovered,
    /// The last rows of all lanes' chains, written in the sale's own.
    HeadsTied,
}

impl Kind {
    pub(super) fn place(self) -> Place {
        match self {
            Self::SaleCreated
            | Self::LogBegun
            | Self::SaleStatus
            | Self::InflowChanged
            | Self::TargetDelayChanged
            | Self::PictureChanged
            | Self::DrawClosed
            | Self::DrawBeacon
            | Self::DrawHeld
            | Self::DrawOver
            | Self::Recovered
            | Self::HeadsTied => Place::Sale,
            Self::SupplyMoved => Place::BothLanes,
            Self::SupplyChanged => Place::LanesAndSale,
            Self::LaneReopened
            | Self::OrderPlaced
            | Self::OrderConfirmed
            | Self::OrderCancelled
            | Self::OrderAbandoned
            | Self::OrderRevived
            | Self::OrderLost
            | Self::RefundAsked
            | Self::RefundRetried
            | Self::RefundRefused
            | Self::RefundDone
            | Self::PaymentMismatch
            | Self::DisputeOpened
            | Self::DisputeClosed
            | Self::HandoffRedeemed
            | Self::HandoffRefused
            | Self::HandoffFailed
            | Self::OrderExtended => Place::Lane,
        }
    }
}

/// The one who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The server, without anybody's command.
    Worker,
    /// The payment provider, through an event.
    Provider,
    /// A migration of the schema.
    Migration,
    /// A merchant or an admin, by the name in their token.
    Operator(String),
    /// A merchant's system, by the id of its key.
    ApiKey(String),
    Shopper(ShopperId),
    /// An operator who acted for a shopper.
    OnBehalfOf {
        operator: String,
        shopper: ShopperId,
    },
}

const WORKER: &str = "worker";
const PROVIDER: &str = "provider";
/// Prefix for people whose name is one of the server's own words, or starts like this prefix.
const PERSON: &str = "person:";

impl Actor {
    /// The one who gave a shopper's command: the shopper, or an operator who acts for them.
    pub fn of(shopper: &ShopperId, operator: Option<&str>) -> Self {
        match operator {
            Some(operator) => Self::OnBehalfOf {
                operator: operator.to_owned(),
                shopper: shopper.clone(),
            },
            None => Self::from(shopper),
        }
    }

    /// The word in a log of format 1. A person's word is never the worker's or the provider's. An operator who acted for a shopper
    /// does not appear.
    pub fn word(&self) -> Cow<'_, str> {
        let name = match self {
            Self::Worker => return WORKER.into(),
            Self::Provider => return PROVIDER.into(),
            Self::Migration => return "migration".into(),
            Self::Operator(name) | Self::ApiKey(name) => name.as_str(),
            Self::Shopper(shopper) | Self::OnBehalfOf { shopper, .. } => shopper.as_str(),
        };
        if [WORKER, PROVIDER].contains(&name) || name.starts_with(PERSON) {
            format!("{PERSON}{name}").into()
        } else {
            name.into()
        }
    }

    /// The object in a row of format 2. Without the sale's salt a shopper has no id.
    pub(super) fn object(&self, salt: Option<&[u8]>) -> Value {
        let pseudonym = |shopper: &ShopperId| salt.map(|salt| pseudonym(salt, shopper));
        let shopper_s = |kind: &str, name: &str, shopper: &ShopperId| match pseudonym(shopper) {
            Some(id) => json!({ "kind": kind, name: id }),
            None => json!({ "kind": kind }),
        };
        match self {
            Self::Worker => json!({ "kind": "worker" }),
            Self::Provider => json!({ "kind": "provider" }),
            Self::Migration => json!({ "kind": "migration" }),
            Self::Operator(name) => json!({ "kind": "operator", "id": name }),
            Self::ApiKey(key) => json!({ "kind": "api_key", "id": key }),
            Self::Shopper(shopper) => shopper_s("shopper", "id", shopper),
            Self::OnBehalfOf { operator, shopper } => {
                let mut actor = shopper_s("operator", "on_behalf_of", shopper);
                actor["id"] = Value::from(operator.as_str());
                actor
            }
        }
    }

    /// The same as text, as it goes into the hash.
    pub(super) fn text(&self, salt: Option<&[u8]>) -> String {
        canonical(&self.object(salt))
    }
}

impl From<&ShopperId> for Actor {
    fn from(shopper: &ShopperId) -> Self {
        Self::Shopper(shopper.clone())
    }
}

/// A shopper's name in the audit rows of one sale: the first bytes of HMAC-SHA256, in hex. With another salt it is another one.
pub fn pseudonym(salt: &[u8], shopper: &ShopperId) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("any key length");
    mac.update(shopper.as_str().as_bytes());
    let tag = mac.finalize().into_bytes();
    hex::encode(tag.get(..PSEUDONYM_BYTES).unwrap_or(&tag))
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
        let person = |name: &str| Actor::Shopper(name.parse().expect("an id"));
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
        let salt = [7; 32];
        let objects: HashSet<_> = actors.iter().map(|actor| actor.text(Some(&salt))).collect();
        assert_eq!(objects.len(), actors.len(), "{objects:?}");
    }

    #[test]
    fn an_actor_has_a_kind_and_a_shopper_only_a_pseudonym() {
        let (salt, ann): ([u8; 32], ShopperId) = ([7; 32], "ann".parse().expect("an id"));
        // Computed by the Python program in docs/audit.md.
        let name = "b86f6e0b902d4113864ea164a4f64730";
        assert_eq!(pseudonym(&salt, &ann), name);
        assert_ne!(pseudonym(&[8; 32], &ann), name);
        let acting = Actor::OnBehalfOf {
            operator: "boss".into(),
            shopper: ann.clone(),
        };
        for (actor, with, without) in [
            (
                Actor::Worker,
                json!({ "kind": "worker" }),
                json!({ "kind": "worker" }),
            ),
            (
                Actor::Operator("worker".into()),
                json!({ "kind": "operator", "id": "worker" }),
                json!({ "kind": "operator", "id": "worker" }),
            ),
            (
                Actor::Shopper(ann),
                json!({ "kind": "shopper", "id": name }),
                json!({ "kind": "shopper" }),
            ),
            (
                acting,
                json!({ "kind": "operator", "id": "boss", "on_behalf_of": name }),
                json!({ "kind": "operator", "id": "boss" }),
            ),
        ] {
            assert_eq!(actor.object(Some(&salt)), with);
            assert_eq!(actor.object(None), without);
        }
    }

    #[test]
    fn a_row_stands_in_the_chains_of_what_it_is_about() {
        let chains = |kind: Kind, data: Value| {
            let row = AuditRow {
                sale: SaleId::from_parts(1, 1),
                actor: Actor::Worker,
                kind,
                data,
            };
            row.chains().ok()
        };
        assert_eq!(chains(Kind::SaleStatus, json!({})), Some(vec![None]));
        assert_eq!(
            chains(Kind::OrderPlaced, json!({ "lane": 3 })),
            Some(vec![Some(3)])
        );
        let moved = json!({ "from": 1, "to": 0, "units": 2 });
        assert_eq!(chains(Kind::SupplyMoved, moved), Some(vec![Some(1), Some(0)]));
        let changed = json!({ "lanes": [0, 2], "units": [1, 1] });
        assert_eq!(
            chains(Kind::SupplyChanged, changed),
            Some(vec![Some(0), Some(2), None])
        );
        for data in [json!({}), json!({ "lane": -1 }), json!({ "lane": 70_000 })] {
            assert_eq!(chains(Kind::RefundAsked, data), None);
        }
    }
}

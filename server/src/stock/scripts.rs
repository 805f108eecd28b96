//! Keys and scripts: the names of both, and the one function that runs them all.

use crate::{
    error::{Error, Result},
    mutation::Mutation,
    sale::LaneRef,
};
use flashsale_protocol::{SaleId, ShopperId};
use fred::{prelude::*, types::scripts::Script};
use std::sync::Arc;

/// Names a gateway among all; what Redis keeps small sets of numbers in has room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GatewayId(pub i64);

/// Every key's name. `{…}` is the cluster's hash tag: one script, one slot.
#[derive(Debug, Clone)]
pub struct Keys {
    pub(super) prefix: Arc<str>,
}

impl Keys {
    pub fn lane(&self, name: &str, at: LaneRef) -> String {
        format!("{}{name}:{{{}.{}}}", self.prefix, at.sale, at.lane)
    }

    pub fn sale(&self, name: &str, sale: SaleId) -> String {
        format!("{}{name}:{{{sale}}}", self.prefix)
    }

    /// About all sales together.
    pub fn all_sales(&self, name: &str) -> String {
        format!("{}{name}:{{all}}", self.prefix)
    }

    /// The gateways that a shopper has said hello to.
    pub fn arrivals(&self, shopper: &ShopperId) -> String {
        format!("{}at:{{{shopper}}}", self.prefix)
    }

    /// The channel of what one gateway alone is to hear.
    pub fn gateway(&self, gateway: GatewayId) -> String {
        format!("{}gateway:{{{:x}}}", self.prefix, gateway.0)
    }

    /// The channel of a sale's ticks and news.
    pub fn live(&self, sale: SaleId) -> String {
        self.sale("live", sale)
    }
}

/// A script with the names of its keys, in the order of its header. Held to the Lua files by a test.
pub struct ScriptFile {
    pub name: &'static str,
    pub keys: &'static [&'static str],
    pub source: &'static str,
}

macro_rules! script {
    ($name:ident, $file:literal, [$($lib:literal),*], [$($key:literal),*]) => {
        pub(super) static $name: ScriptFile = ScriptFile {
            name: $file,
            keys: &[$($key),*],
            source: concat!(
                $(include_str!(concat!("../../../lua/lib/", $lib, ".lua")),)*
                include_str!(concat!("../../../lua/", $file, ".lua"))
            ),
        };
    };
}

script!(OPEN_LANE, "open_lane", ["clock", "run", "phase"], ["stock"]);
script!(SET_SUPPLY, "set_supply", ["clock", "run", "lane"], ["stock"]);
script!(
    PROBE_LANE,
    "probe_lane",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines"]
);
script!(
    LOCK_LANE,
    "lock_lane",
    ["clock", "run"],
    ["stock", "deadlines", "device_units", "returned", "drawn"]
);
script!(
    REFILL_LANE,
    "refill_lane",
    ["clock", "run"],
    ["stock", "holds", "deadlines", "device_units", "returned"]
);
script!(
    NEXT_LAPSE,
    "next_lapse",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines"]
);
script!(SET_GATE, "set_gate", ["clock", "run", "lane"], ["stock"]);
script!(
    RESERVE,
    "reserve",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "device_units"]
);
script!(
    RELEASE,
    "release",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "device_units"]
);
script!(
    BEGIN_CHECKOUT,
    "begin_checkout",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines"]
);
script!(
    FINISH_CHECKOUT,
    "finish_checkout",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "device_units"]
);
script!(
    RETURN_UNITS,
    "return_units",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "device_units", "returned"]
);
script!(
    REVIVE,
    "revive",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "device_units", "returned"]
);
script!(
    EXPIRE,
    "expire",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "device_units"]
);
script!(
    CLAIM,
    "claim",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "drawn"]
);
script!(PERSON, "person", ["clock", "run", "lane"], ["stock", "holds"]);
script!(OPEN_SALE, "open_sale", ["clock", "phase"], ["sale"]);
script!(
    JOIN,
    "join",
    ["clock", "line"],
    [
        "sale",
        "queue",
        "admitting",
        "devices",
        "wants",
        "priority",
        "parked",
        "absent",
        "journal"
    ]
);
script!(
    LEAVE,
    "leave",
    ["clock", "line"],
    [
        "queue",
        "admitting",
        "wants",
        "priority",
        "parked",
        "absent",
        "journal"
    ]
);
script!(
    PLACE,
    "place",
    ["clock", "line"],
    [
        "sale",
        "queue",
        "admitting",
        "wants",
        "priority",
        "parked",
        "absent"
    ]
);
script!(
    ADMIT,
    "admit",
    ["clock", "line"],
    [
        "sale",
        "queue",
        "admitting",
        "wants",
        "priority",
        "parked",
        "absent"
    ]
);
script!(
    SETTLE_ADMISSION,
    "settle_admission",
    ["clock", "line"],
    ["sale", "queue", "admitting", "wants", "priority", "journal"]
);
script!(
    GO_AWAY,
    "go_away",
    ["clock", "line"],
    ["queue", "priority", "parked", "absent"]
);
script!(
    EXPIRE_ABSENT,
    "expire_absent",
    ["clock", "line"],
    ["queue", "wants", "priority", "parked", "absent", "journal"]
);
script!(
    NUMBER_TICK,
    "number_tick",
    ["clock"],
    ["sale", "queue", "leader", "priority", "parked"]
);
script!(DROP_JOURNAL, "drop_journal", [], ["journal"]);
script!(LEAD, "lead", ["clock"], ["leader"]);

/// All scripts, for the test that compares them with their files.
pub static SCRIPTS: &[&ScriptFile] = &[
    &OPEN_LANE,
    &SET_SUPPLY,
    &PROBE_LANE,
    &NEXT_LAPSE,
    &LOCK_LANE,
    &REFILL_LANE,
    &SET_GATE,
    &RESERVE,
    &RELEASE,
    &BEGIN_CHECKOUT,
    &FINISH_CHECKOUT,
    &RETURN_UNITS,
    &REVIVE,
    &EXPIRE,
    &CLAIM,
    &PERSON,
    &OPEN_SALE,
    &JOIN,
    &LEAVE,
    &PLACE,
    &ADMIT,
    &SETTLE_ADMISSION,
    &GO_AWAY,
    &EXPIRE_ABSENT,
    &NUMBER_TICK,
    &DROP_JOURNAL,
    &LEAD,
];

/// Scripts by file, with their SHA computed once.
#[derive(Clone)]
pub(super) struct Runner {
    pub client: Client,
    pub keys: Keys,
    scripts: Arc<Vec<Script>>,
}

impl Runner {
    pub fn new(client: Client, keys: Keys) -> Self {
        let scripts = SCRIPTS
            .iter()
            .map(|file| Script::from_lua(Mutation::change(file.source)))
            .collect();
        Self {
            client,
            keys,
            scripts: Arc::new(scripts),
        }
    }

    async fn call(
        &self,
        file: &'static ScriptFile,
        keys: Vec<String>,
        args: Vec<String>,
    ) -> Result<Vec<String>> {
        let at = SCRIPTS.iter().position(|known| std::ptr::eq(*known, file));
        let script = at
            .and_then(|at| self.scripts.get(at))
            .ok_or_else(|| Error::unexpected("unknown script"))?;
        Ok(script.evalsha_with_reload(&self.client, keys, args).await?)
    }

    pub async fn on_lane(
        &self,
        file: &'static ScriptFile,
        at: LaneRef,
        args: Vec<String>,
    ) -> Result<Vec<String>> {
        let keys = file.keys.iter().map(|name| self.keys.lane(name, at)).collect();
        self.call(file, keys, args).await
    }

    pub async fn on_sale(
        &self,
        file: &'static ScriptFile,
        sale: SaleId,
        args: Vec<String>,
    ) -> Result<Vec<String>> {
        let keys = file.keys.iter().map(|name| self.keys.sale(name, sale)).collect();
        self.call(file, keys, args).await
    }
}

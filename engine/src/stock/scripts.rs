//! Names of keys and scripts, and the one function that runs all scripts.

use super::link::Link;
use crate::{
    error::{Error, Result},
    mutation::Mutation,
    sale::LaneRef,
};
use flashsale_protocol::{SaleId, ShopperId};
use fred::{
    prelude::*,
    types::{MultipleKeys, MultipleValues, scripts::Script},
};
use std::{sync::Arc, time::Duration};

/// A gateway's name. It fits into Redis' compact sets of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GatewayId(pub i64);

/// The names of all keys. `{…}` is the cluster's hash tag: one script, one slot.
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

    /// A key about all sales together.
    pub fn all_sales(&self, name: &str) -> String {
        format!("{}{name}:{{all}}", self.prefix)
    }

    /// The gateways that a shopper has said hello to.
    pub fn arrivals(&self, shopper: &ShopperId) -> String {
        format!("{}at:{{{shopper}}}", self.prefix)
    }

    /// The channel that one gateway alone listens to.
    pub fn gateway(&self, gateway: GatewayId) -> String {
        format!("{}gateway:{{{:x}}}", self.prefix, gateway.0)
    }

    /// The channel of a sale's ticks and news.
    pub fn live(&self, sale: SaleId) -> String {
        self.sale("live", sale)
    }
}

/// A script with the names of its keys, in the order of its header. A test compares it with the Lua file.
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

/// A member that every key of a lane except the stock always has, so that a missing key was lost; see `lua/lib/kept.lua`.
pub const KEPT: &str = "-kept-";

script!(
    OPEN_LANE,
    "open_lane",
    ["clock", "run", "phase", "kept"],
    ["stock", "holds", "deadlines", "device_units", "returned", "drawn"]
);
script!(
    TAKE_SUPPLY,
    "take_supply",
    ["clock", "run", "lane", "leaving"],
    ["stock"]
);
script!(
    UNTAKE_SUPPLY,
    "untake_supply",
    ["clock", "run", "lane", "leaving"],
    ["stock"]
);
script!(
    APPLY_SUPPLY,
    "apply_supply",
    ["clock", "run", "lane", "leaving"],
    ["stock"]
);
script!(
    PROBE_LANE,
    "probe_lane",
    ["clock", "run", "lane"],
    ["stock", "holds", "deadlines", "device_units", "returned", "drawn"]
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
    ["clock", "run", "kept", "lane"],
    ["stock", "holds", "deadlines"]
);
script!(SET_GATE, "set_gate", ["clock", "run", "lane"], ["stock"]);
script!(
    RESERVE,
    "reserve",
    ["clock", "run", "lane", "seen", "lane_seen"],
    ["stock", "holds", "deadlines", "device_units", "seen"]
);
script!(
    EXTEND,
    "extend",
    ["clock", "run", "lane", "seen", "lane_seen"],
    ["stock", "holds", "deadlines", "seen"]
);
script!(
    RELEASE,
    "release",
    ["clock", "run", "lane", "seen", "lane_seen"],
    ["stock", "holds", "deadlines", "device_units", "seen"]
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
    ["clock", "run", "lane", "chain"],
    ["stock", "holds", "deadlines", "device_units"]
);
script!(
    RETURN_UNITS,
    "return_units",
    ["clock", "run", "lane", "chain"],
    ["stock", "holds", "deadlines", "device_units", "returned"]
);
script!(
    NOTE_CHAIN,
    "note_chain",
    ["clock", "run", "lane", "chain"],
    ["stock"]
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
    ["clock", "run", "lane", "seen", "lane_seen"],
    ["stock", "holds", "deadlines", "drawn", "seen"]
);
script!(PERSON, "person", ["clock", "run", "lane"], ["stock", "holds"]);
script!(OPEN_SALE, "open_sale", ["clock", "phase"], ["sale"]);
script!(
    JOIN,
    "join",
    ["clock", "line", "seen", "line_seen"],
    [
        "sale",
        "queue",
        "admitting",
        "devices",
        "wants",
        "priority",
        "parked",
        "absent",
        "journal",
        "seen"
    ]
);
script!(
    LEAVE,
    "leave",
    ["clock", "line", "seen", "line_seen"],
    [
        "sale",
        "queue",
        "admitting",
        "wants",
        "priority",
        "parked",
        "absent",
        "journal",
        "seen"
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
    ["sale", "queue", "priority", "parked", "absent"]
);
script!(
    EXPIRE_ABSENT,
    "expire_absent",
    ["clock", "line"],
    [
        "sale", "queue", "wants", "priority", "parked", "absent", "journal"
    ]
);
script!(
    NUMBER_TICK,
    "number_tick",
    ["clock"],
    ["sale", "queue", "leader", "priority", "parked"]
);
script!(OWE, "owe", ["clock"], ["owed"]);
script!(DROP_JOURNAL, "drop_journal", [], ["sale", "journal"]);
script!(
    PROBE_LINE,
    "probe_line",
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
    TRUST_LINE,
    "trust_line",
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
    REFILL_LINE,
    "refill_line",
    ["clock", "line"],
    ["queue", "admitting", "devices", "wants", "priority", "parked"]
);
script!(LEAD, "lead", ["clock"], ["leader"]);

/// All scripts, for the test that compares them with their files.
pub static SCRIPTS: &[&ScriptFile] = &[
    &OPEN_LANE,
    &TAKE_SUPPLY,
    &UNTAKE_SUPPLY,
    &APPLY_SUPPLY,
    &PROBE_LANE,
    &NEXT_LAPSE,
    &LOCK_LANE,
    &REFILL_LANE,
    &SET_GATE,
    &RESERVE,
    &RELEASE,
    &EXTEND,
    &BEGIN_CHECKOUT,
    &FINISH_CHECKOUT,
    &RETURN_UNITS,
    &NOTE_CHAIN,
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
    &PROBE_LINE,
    &TRUST_LINE,
    &REFILL_LINE,
    &LEAD,
    &OWE,
];

/// Scripts by file, with their SHA computed once.
#[derive(Clone)]
pub(super) struct Runner {
    pub link: Link,
    pub keys: Keys,
    scripts: Arc<Vec<Script>>,
}

impl Runner {
    pub fn new(link: Link, keys: Keys) -> Self {
        let scripts = SCRIPTS
            .iter()
            .map(|file| Script::from_lua(Mutation::change(file.source)))
            .collect();
        Self {
            link,
            keys,
            scripts: Arc::new(scripts),
        }
    }

    pub fn client(&self) -> Client {
        self.link.now()
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
        let (keys, args) = (MultipleKeys::from(keys), MultipleValues::try_from(args)?);
        if self.client().is_clustered() {
            redirected(|| self.run(script, keys.clone(), args.clone())).await
        } else {
            Ok(self.run(script, keys, args).await?)
        }
    }

    /// A Redis that does not know the script gets its whole text once, and its hash from then on. (Loading it first would cost
    /// another call, and in a cluster fred would load it everywhere and wait until every node has answered everything.)
    async fn run(
        &self,
        script: &Script,
        keys: MultipleKeys,
        args: MultipleValues,
    ) -> FredResult<Vec<String>> {
        let client = self.client();
        let known = client.evalsha(script.sha1().clone(), keys.clone(), args.clone());
        match (known.await, script.lua()) {
            (Err(error), Some(source)) if error.details().starts_with("NOSCRIPT") => {
                client.eval(source.clone(), keys, args).await
            }
            (answer, _) => answer.inspect_err(|error| self.link.note(error)),
        }
    }

    pub(crate) async fn on_lane(
        &self,
        file: &'static ScriptFile,
        at: LaneRef,
        args: Vec<String>,
    ) -> Result<Vec<String>> {
        let keys = file.keys.iter().map(|name| self.keys.lane(name, at)).collect();
        self.call(file, keys, args).await
    }

    /// A script about all sales together.
    pub(crate) async fn on_all(&self, file: &'static ScriptFile, args: Vec<String>) -> Result<Vec<String>> {
        let keys = file.keys.iter().map(|name| self.keys.all_sales(name)).collect();
        self.call(file, keys, args).await
    }

    pub(crate) async fn on_sale(
        &self,
        file: &'static ScriptFile,
        sale: SaleId,
        args: Vec<String>,
    ) -> Result<Vec<String>> {
        let keys = file.keys.iter().map(|name| self.keys.sale(name, sale)).collect();
        self.call(file, keys, args).await
    }
}

/// Number of tries for a call whose slot is elsewhere (fred then knows where), or on its way there.
const REDIRECTED_TRIES: usize = 5;
const REDIRECTED_PAUSE: Duration = Duration::from_millis(25);

/// Repeats a call to a Redis Cluster while its slot moves. None of these refusals has had an effect.
pub(crate) async fn redirected<T, Fut>(call: impl Fn() -> Fut) -> Result<T>
where
    Fut: Future<Output = FredResult<T>>,
{
    for _ in 1..REDIRECTED_TRIES {
        match call().await {
            Err(error) if is_redirection(&error) => tokio::time::sleep(REDIRECTED_PAUSE).await,
            answer => return Ok(answer?),
        }
    }
    Ok(call().await?)
}

fn is_redirection(error: &fred::error::Error) -> bool {
    let words = ["MOVED", "ASK", "TRYAGAIN", "Too many redirections"];
    words.iter().any(|word| error.details().starts_with(word))
}

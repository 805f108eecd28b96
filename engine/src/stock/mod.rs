//! The only place with Redis keys and scripts: one method per script, next to the types of its question and answer. Knows nothing
//! of sockets or of Postgres.
//!
//! Shoppers' calls (reserve, join, …) go through a [`Batcher`] per lane or sale; workers' calls go directly. Every script may be
//! repeated: a lost reply costs only another call.

mod answer;
mod away;
mod carried;
mod cart;
mod checkout;
mod clock;
mod counters;
mod deadlines;
mod fitness;
mod gate;
mod gateways;
mod journal;
mod line;
mod line_counts;
pub mod link;
mod mend;
mod owed;
pub mod rebuild;
mod record;
mod sale;
mod scripts;
mod seen;
pub mod shown;
mod stopped;
mod supply;
mod tick;
mod turns;
mod versions;

use crate::{
    batcher::{BatchLimits, Batcher, Batchers, Subjects},
    boxed,
    chain::Chains,
    error::Result,
    limits::COMMAND_DEADLINE,
    sale::{LaneOrder, LaneRef},
};
use answer::{ScriptAnswer, timed};
use flashsale_protocol::{CommandId, DeviceId, OrderId, SaleId, ShopperId};
use fred::prelude::*;
use line::served;
use link::Link;
use scripts::Runner;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub use answer::{At, Repeat};
pub use carried::Carried;
pub use cart::{Extended, How, Released, Reserve, Reserved, What};
pub use checkout::{CheckoutBegun, Finish, Revive};
pub use counters::Counters;
pub(crate) use deadlines::EXPIRE_BATCH;
pub use deadlines::Overdue;
pub(crate) use gateways::{GATEWAY_SILENCE, Measured};
pub(crate) use journal::JOURNAL_BATCH;
pub use journal::Journal;
pub use line::{InLine, Join, JoinHow, Joined, Kept, Left, Served, Stands, device_mark};
pub use line_counts::LineCounts;
pub use link::builder;
pub use mend::{LineLife, LineStanding, Waiter};
pub use record::{EXTENDED, Person, Record, RecordState};
pub(crate) use scripts::redirected;
pub use scripts::{GatewayId, KEPT, Keys, SCRIPTS, ScriptFile};
pub use stopped::{LaneChain, Witness};
pub use tick::TickNumber;
pub use turns::{ADMIT_BATCH, Called, CalledBy, Claimed, TurnVerdict, Turns};
pub use versions::Process;

/// The least time between two calls of a script in one place: a call costs as much as several items.
const CALLS_SPACING: Duration = Duration::from_millis(3);

/// Items in one script call: enough to share its cost, few enough that no other script waits long.
const BATCH: BatchLimits = BatchLimits {
    items: 256,
    waiting: 20_000,
    deadline: COMMAND_DEADLINE,
    spacing: CALLS_SPACING,
};

/// One verb's batchers, each for one lane (or for one sale, as lane 0).
type LaneBatchers<I, O> = Batchers<LaneRef, I, At<O>>;
type SaleBatchers<I, O> = Batchers<SaleId, I, At<InLine<O>>>;

/// The stock and the line in Redis.
pub struct Stock {
    runner: Runner,
    /// How far this process' commits have come in the audit logs.
    chains: Arc<Chains>,
    /// Redis' clock minus this machine's, in ms, and when that was measured.
    clock: Mutex<Option<(i64, Instant)>>,
    /// How the stores did when a leader looked last.
    load: tokio::sync::Mutex<Option<(Instant, gateways::Measured)>>,
    reserve: LaneBatchers<Reserve, Reserved>,
    release: LaneBatchers<(ShopperId, What, Option<CommandId>), Released>,
    extend: LaneBatchers<(ShopperId, bool, CommandId), Extended>,
    begin: LaneBatchers<(ShopperId, OrderId), CheckoutBegun>,
    finish: LaneBatchers<(ShopperId, OrderId, Finish), bool>,
    return_units: LaneBatchers<LaneOrder, ()>,
    person: LaneBatchers<ShopperId, Person>,
    device_units: Batchers<LaneRef, DeviceId, u32>,
    join: SaleBatchers<(Join, JoinHow, Option<CommandId>), Joined>,
    leave: Batchers<SaleId, (ShopperId, Option<CommandId>), At<Left>>,
    place: SaleBatchers<ShopperId, Stands>,
    close_gate: Batchers<LaneRef, u64, ()>,
    go_away: Batchers<SaleId, ShopperId, ()>,
}

impl Stock {
    /// Connects. Later losses of the connection heal by themselves; until then calls fail within their time-out.
    #[boxed]
    pub async fn connect(url: &str, prefix: &str) -> Result<Self> {
        let client = builder(url)?.build()?;
        client.init().await?;
        let runner = Runner::new(
            Link::of(client, url),
            Keys {
                prefix: prefix.into(),
            },
        );
        let stock = Self {
            runner,
            chains: Arc::default(),
            clock: Mutex::new(None),
            load: Default::default(),
            reserve: Default::default(),
            release: Default::default(),
            extend: Default::default(),
            begin: Default::default(),
            finish: Default::default(),
            return_units: Default::default(),
            person: Default::default(),
            device_units: Default::default(),
            join: Default::default(),
            leave: Default::default(),
            place: Default::default(),
            close_gate: Default::default(),
            go_away: Default::default(),
        };
        stock.check_servers().await?;
        fitness::check_later_servers(&stock.client());
        Ok(stock)
    }

    /// The connection of now. Do not keep it.
    pub fn client(&self) -> Client {
        self.runner.client()
    }

    pub fn link(&self) -> &Link {
        &self.runner.link
    }

    /// Passes on to Redis what these chains know.
    pub fn with_chains(self, chains: Arc<Chains>) -> Self {
        Self { chains, ..self }
    }

    pub fn keys(&self) -> &Keys {
        &self.runner.keys
    }

    #[boxed]
    pub async fn quit(&self) {
        let _ = self.runner.client().quit().await;
    }

    #[boxed]
    pub async fn ping(&self) -> Result<()> {
        let _: String = self.runner.client().ping(None).await?;
        Ok(())
    }

    /// Forgets the batchers of sales that have ended.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.reserve.retain(|at| keep(at.sale));
        self.release.retain(|at| keep(at.sale));
        self.extend.retain(|at| keep(at.sale));
        self.begin.retain(|at| keep(at.sale));
        self.finish.retain(|at| keep(at.sale));
        self.return_units.retain(|at| keep(at.sale));
        self.person.retain(|at| keep(at.sale));
        self.device_units.retain(|at| keep(at.sale));
        self.join.retain(|sale| keep(*sale));
        self.leave.retain(|sale| keep(*sale));
        self.place.retain(|sale| keep(*sale));
        self.close_gate.retain(|at| keep(at.sale));
        self.go_away.retain(|sale| keep(*sale));
    }

    /// `head`: the script's arguments between the epoch and the items.
    fn lane_batcher<I, O>(
        &self,
        file: &'static ScriptFile,
        at: LaneRef,
        head: impl Fn() -> Vec<String> + Send + Sync + 'static,
        subjects: fn(&I) -> Subjects,
        write: fn(&I, &mut Vec<String>),
        read: fn(&ScriptAnswer<'_>) -> Result<O>,
    ) -> Batcher<I, At<O>>
    where
        I: Clone + Send + Sync + 'static,
        O: Send + 'static,
    {
        let runner = self.runner.clone();
        Batcher::new(file.name, BATCH, subjects, move |items| {
            let (runner, mut args) = (runner.clone(), vec![at.epoch.to_string()]);
            args.extend(head());
            items.iter().for_each(|item| write(item, &mut args));
            async move {
                let answers = runner.on_lane(file, at, args).await?;
                let (now, answers) = timed(&answers)?;
                answers
                    .iter()
                    .map(|text| {
                        Ok(At {
                            now,
                            value: read(&ScriptAnswer::of(text))?,
                        })
                    })
                    .collect()
            }
        })
    }

    fn sale_batcher<I, O>(
        &self,
        file: &'static ScriptFile,
        sale: SaleId,
        subjects: fn(&I) -> Subjects,
        write: fn(&I, &mut Vec<String>),
        read: fn(&ScriptAnswer<'_>) -> Result<O>,
    ) -> Batcher<I, At<InLine<O>>>
    where
        I: Clone + Send + Sync + 'static,
        O: Send + 'static,
    {
        let runner = self.runner.clone();
        Batcher::new(file.name, BATCH, subjects, move |items| {
            let (runner, mut args) = (runner.clone(), vec![]);
            items.iter().for_each(|item| write(item, &mut args));
            async move {
                let answers = runner.on_sale(file, sale, args).await?;
                let (now, answers) = timed(&answers)?;
                let (admitted, answers) = served(answers)?;
                answers
                    .iter()
                    .map(|text| {
                        Ok(At {
                            now,
                            value: InLine {
                                admitted,
                                value: read(&ScriptAnswer::of(text))?,
                            },
                        })
                    })
                    .collect()
            }
        })
    }
}

/// Empty for anything that is not a shopper's own command: nothing is remembered of it.
fn trace(shopper: &ShopperId, command: Option<CommandId>, request: seen::Request) -> String {
    command.map_or_else(String::new, |command| seen::trace(shopper, command, request))
}

//! The possible faults, their order, and what is known of one afterwards.

use anyhow::{Result, bail};
use rand::{RngExt, rngs::StdRng, seq::SliceRandom};
use std::{sync::Mutex, time::Duration};

macro_rules! faults {
    ($($variant:ident = $word:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($variant,)+ }

        impl Fault {
            pub const ALL: &[Fault] = &[$(Fault::$variant,)+];

            pub const fn word(self) -> &'static str {
                match self { $(Fault::$variant => $word,)+ }
            }
        }
    };
}

faults! {
    KillGateway = "kill_gateway";
    KillWorker = "kill_worker";
    StopGateway = "stop_gateway";
    StopWorker = "stop_worker";
    StopRedis = "stop_redis";
    StopPostgres = "stop_postgres";
    RedisRestart = "redis_restarted_with_its_file";
    RedisEmpty = "redis_restarted_empty";
    RedisOlder = "redis_restarted_with_an_older_file";
    RedisPromote = "replica_promoted_with_a_lost_tail";
    ScriptFlush = "script_flush";
    FlushAll = "redis_emptied";
    RedisFull = "redis_memory_full";
    PostgresKill = "postgres_killed";
    PostgresCut = "postgres_connections_cut";
    PostgresFull = "postgres_connections_exhausted";
    PostgresReadOnly = "postgres_takes_no_changes";
    PostgresRestored = "postgres_restored_to_an_earlier_moment";
    LaneKeyLost = "a_key_of_a_lane_lost";
    LineKeyLost = "a_key_of_the_line_lost";
    LinkNoRequests = "link_cut_towards_store";
    LinkNoAnswers = "link_cut_from_store";
    LinkDelay = "link_delayed";
    LinkHalfOpen = "link_half_open";
    DoorHalfOpen = "shoppers_link_half_open";
    ReconnectStorm = "reconnect_storm";
    ClockStep = "clock_step";
    SupplyChange = "supply_changed";
    PauseResume = "sale_paused";
    MasterKilled = "cluster_master_killed";
    MasterFrozen = "cluster_master_frozen";
    MasterRestarted = "cluster_master_restarted_with_its_file";
    MasterEmpty = "cluster_master_restarted_empty";
    Failover = "cluster_failover";
    LaneMoved = "cluster_lane_moved";
    LineMoved = "cluster_line_moved";
    NodeCutOff = "cluster_node_cut_off";
    TailLost = "cluster_replica_promoted_without_its_tail";
}

/// The injected fault.
pub struct Done {
    pub what: String,
    /// For a master's death: the time until the cluster had another one, as the cluster says.
    pub election: Option<Duration>,
    /// The lane that was hit.
    pub lane: Option<u16>,
}

impl From<String> for Done {
    fn from(what: String) -> Self {
        Self {
            what,
            election: None,
            lane: None,
        }
    }
}

impl Fault {
    /// Whether Redis is killed and started again by it.
    pub const fn kills_redis(self) -> bool {
        matches!(self, Fault::RedisRestart | Fault::RedisEmpty | Fault::RedisOlder)
    }

    /// Whether it can only happen to a Redis Cluster.
    pub const fn is_of_cluster(self) -> bool {
        matches!(
            self,
            Fault::MasterKilled
                | Fault::MasterFrozen
                | Fault::MasterRestarted
                | Fault::MasterEmpty
                | Fault::Failover
                | Fault::LaneMoved
                | Fault::LineMoved
                | Fault::NodeCutOff
                | Fault::TailLost
        )
    }

    /// Whether a master is lost for good, so that a replica is elected.
    pub const fn elects(self) -> bool {
        matches!(
            self,
            Fault::MasterKilled | Fault::MasterFrozen | Fault::NodeCutOff
        )
    }

    /// Whether it happens only if requested by its word, because it loses acknowledged orders.
    pub const fn loses_orders(self) -> bool {
        matches!(self, Fault::PostgresRestored)
    }

    /// Whether it can happen to this kind of Redis.
    const fn fits(self, cluster: bool) -> bool {
        let of_one = matches!(
            self,
            Fault::StopRedis
                | Fault::RedisOlder
                | Fault::RedisPromote
                | Fault::LaneKeyLost
                | Fault::LineKeyLost
        ) || self.kills_redis();
        if cluster { !of_one } else { !self.is_of_cluster() }
    }

    /// Whether it loses a lane, which is then rebuilt.
    pub const fn loses_lanes(self) -> bool {
        if self.is_of_cluster() {
            return true;
        }
        matches!(
            self,
            Fault::RedisRestart
                | Fault::RedisEmpty
                | Fault::RedisOlder
                | Fault::RedisPromote
                | Fault::FlushAll
                | Fault::LaneKeyLost
                | Fault::PostgresRestored
        )
    }
}

/// Every kind once in a random order, then again: a long run has all of them.
pub struct Bag {
    kinds: Vec<Fault>,
    rest: Vec<Fault>,
}

impl Bag {
    /// `only`: the words of the wanted kinds; empty: all that this kind of Redis can have.
    pub fn new(cluster: bool, only: &[String]) -> Result<Self> {
        let wanted = |fault: &Fault| match only {
            [] => !fault.loses_orders(),
            only => only.iter().any(|word| word == fault.word()),
        };
        let kinds: Vec<Fault> = Fault::ALL
            .iter()
            .copied()
            .filter(|fault| fault.fits(cluster) && wanted(fault))
            .collect();
        if kinds.is_empty() {
            bail!("there is no such fault here: {}", only.join(", "));
        }
        Ok(Self { kinds, rest: vec![] })
    }

    pub fn loses_orders(&self) -> bool {
        self.kinds.iter().any(|fault| fault.loses_orders())
    }

    pub fn next(&mut self, rng: &mut StdRng) -> Fault {
        if self.rest.is_empty() {
            self.rest = self.kinds.clone();
            self.rest.shuffle(rng);
        }
        self.rest.pop().unwrap_or(Fault::ScriptFlush)
    }
}

/// An operator's access to the sale.
pub struct Operator {
    pub token: String,
    pub sale: String,
    pub lanes: u32,
    pub http: reqwest::Client,
    /// Disasters that are settled.
    pub disasters: Mutex<Vec<String>>,
}

pub fn ms(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..to))
}

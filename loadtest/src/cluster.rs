//! Our own Redis Cluster: three masters (or as many as are asked for) with a replica each, from the same redis-server, on loopback ports.
//!
//! Every node has its own address to connect *from* (127.0.1.n). It may be behind two proxies, whose addresses it announces: one
//! for commands and replication, one for the cluster's bus. So a node can be cut off from the others but not from us, or a
//! replica from its master, without a firewall.

mod table;

use crate::{
    proxy::{Link, Proxy, Upstream},
    resp::{Reply, ask},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use table::{Row, SLOTS};
use tokio::process::{Child, Command};

pub use table::slot_of;

pub const MASTERS: usize = 3;
pub const NODES: usize = 2 * MASTERS;
/// Redis' own default of 15 s would hide a dead master for too long.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(2);
const START_DEADLINE: Duration = Duration::from_secs(60);
/// An election needs the node timeout twice, and a second or two; more if processor time is short.
const ELECTION_DEADLINE: Duration = Duration::from_secs(30);
/// A requested failover: Redis' own limit for it, and a second.
const FAILOVER_DEADLINE: Duration = Duration::from_secs(6);
const FAILOVER_TRIES: usize = 5;
const WHOLE_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Longest time of one MIGRATE.
const MIGRATE_TIMEOUT_MS: u64 = 5_000;
/// Most steps to move a slot's keys; new keys already go to the new master.
const MOVE_STEPS: usize = 2_000;

pub struct Node {
    /// Its own address.
    own: SocketAddr,
    own_bus: u16,
    dir: PathBuf,
    /// The source address of its connections to other nodes.
    from: IpAddr,
    /// The addresses that it announces, if it is behind proxies.
    fronts: Option<Fronts>,
    id: String,
    child: Option<Child>,
}

struct Fronts {
    commands: Proxy,
    bus: Proxy,
}

pub struct Cluster {
    /// The masters at the start, and then their replicas.
    nodes: Vec<Node>,
}

/// The holders of a slot, as most nodes see it: positions in the list of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holders {
    pub master: usize,
    pub replica: Option<usize>,
}

impl Cluster {
    /// Starts six nodes under `dir` and waits until they are one cluster. `fronted`: behind proxies, so that they can be cut off.
    pub async fn start(dir: &Path, fronted: bool) -> Result<Self> {
        Self::of_masters(MASTERS, dir, fronted).await
    }

    /// As [`Self::start`], with this many masters.
    pub async fn of_masters(masters: usize, dir: &Path, fronted: bool) -> Result<Self> {
        let mut nodes = Vec::new();
        for i in 0..2 * masters {
            nodes.push(Node::start(&dir.join(format!("node-{i}")), i, fronted).await?);
        }
        let cluster = Self { nodes };
        cluster.join().await?;
        Ok(cluster)
    }

    fn masters_at_start(&self) -> usize {
        self.nodes.len() / 2
    }

    async fn join(&self) -> Result<()> {
        let (masters, all) = (self.masters_at_start(), self.nodes.len());
        let share = SLOTS.div_ceil(masters);
        for (i, node) in self.nodes.iter().enumerate() {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()])
                .await?;
            if i < masters {
                let (first, last) = (i * share, ((i + 1) * share).min(SLOTS) - 1);
                let range = [first.to_string(), last.to_string()];
                node.ask(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]])
                    .await?;
            }
            let (first, bus) = (self.nodes[0].address(), self.nodes[0].bus().to_string());
            if i > 0 {
                let (ip, port) = (first.ip().to_string(), first.port().to_string());
                node.ask(&["CLUSTER", "MEET", &ip, &port, &bus]).await?;
            }
        }
        for node in &self.nodes {
            within(START_DEADLINE, "the nodes do not meet", || async move {
                Ok(node.table().await?.len() == all)
            })
            .await?;
        }
        for i in masters..all {
            let master = &self.nodes[i - masters].id;
            self.nodes[i].ask(&["CLUSTER", "REPLICATE", master]).await?;
        }
        self.whole().await
    }

    /// The address for fred.
    pub fn url(&self) -> String {
        let mut addresses = self.nodes.iter().map(|node| node.address().to_string());
        let first = addresses.next().unwrap_or_default();
        let others: Vec<String> = addresses.map(|address| format!("node={address}")).collect();
        format!("redis-cluster://{first}?{}", others.join("&"))
    }

    pub fn node(&self, i: usize) -> &Node {
        &self.nodes[i]
    }

    /// Every node's address and process.
    pub fn processes(&self) -> impl Iterator<Item = (SocketAddr, u32)> {
        self.nodes.iter().filter_map(|node| Some((node.own, node.pid()?)))
    }

    /// The holders of a key's slot, by the nodes that answer.
    pub async fn holders(&self, key: &str) -> Result<Holders> {
        let slot = slot_of(key);
        let mut said: BTreeMap<usize, usize> = BTreeMap::new();
        let mut replica_of = BTreeMap::new();
        for node in &self.nodes {
            let Ok(table) = node.table().await else { continue };
            for row in &table {
                let Some(at) = self.nodes.iter().position(|node| node.id == row.id) else {
                    continue;
                };
                if row.is_master() && !row.is_failed() && row.holds(slot) {
                    *said.entry(at).or_default() += 1;
                }
                if let Some(master) = self.nodes.iter().position(|node| node.id == row.master)
                    && self.nodes[at].child.is_some()
                {
                    replica_of.insert(master, at);
                }
            }
        }
        let (master, _) = said
            .into_iter()
            .max_by_key(|(_, votes)| *votes)
            .context("no node knows of the slot's master")?;
        Ok(Holders {
            master,
            replica: replica_of.get(&master).copied(),
        })
    }

    /// Waits until every running, connected node sees a living master for every slot, and one other than `gone` for this key.
    /// Returns how long that took.
    pub async fn elected(&self, key: &str, gone: usize) -> Result<Duration> {
        self.elected_within(ELECTION_DEADLINE, key, gone).await
    }

    /// A replica takes its living master's place. Redis gives that up after 5 s, for example on a busy machine; then it is
    /// requested again.
    pub async fn fail_over(&self, key: &str, master: usize, replica: usize) -> Result<()> {
        let mut tries = 1;
        loop {
            if !self.node(replica).is_master().await? {
                self.node(replica).ask(&["CLUSTER", "FAILOVER"]).await?;
            }
            match self.elected_within(FAILOVER_DEADLINE, key, master).await {
                Ok(_) => return Ok(()),
                Err(_) if tries < FAILOVER_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    async fn elected_within(&self, deadline: Duration, key: &str, gone: usize) -> Result<Duration> {
        let since = Instant::now();
        let slot = slot_of(key);
        let wait = within(deadline, "no replica is elected", || async move {
            for (i, node) in self.nodes.iter().enumerate() {
                if i == gone || node.child.is_none() {
                    continue;
                }
                let table = node.table().await?;
                let holder = table.iter().find(|row| row.is_master() && row.holds(slot));
                let elected = holder.is_some_and(|row| row.id != self.nodes[gone].id && !row.is_failed());
                if !elected || !node.state_is_ok().await? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        wait.await?;
        Ok(since.elapsed())
    }

    /// Starts dead nodes, and waits until every node sees every other one, and each master has a replica that follows.
    pub async fn heal(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(fronts) = &node.fronts {
                fronts.commands.heal();
                fronts.bus.heal();
            }
            match node.pid() {
                Some(pid) => signal(pid, "CONT").await,
                None => node.spawn().await?,
            }
        }
        self.whole().await
    }

    async fn whole(&self) -> Result<()> {
        within(
            WHOLE_DEADLINE,
            "the cluster does not become whole",
            || async move {
                let mut masters = 0;
                for node in &self.nodes {
                    let table = node.table().await?;
                    if !node.state_is_ok().await? || table.len() != self.nodes.len() {
                        return Ok(false);
                    }
                    if table.iter().any(|row| row.is_failed() || !row.linked) {
                        return Ok(false);
                    }
                    let replication = node.ask(&["INFO", "replication"]).await?.text();
                    if replication.contains("role:master") {
                        masters += 1;
                        if !replication.contains("state=online") {
                            return Ok(false);
                        }
                    } else if !replication.contains("master_link_status:up") {
                        return Ok(false);
                    }
                }
                Ok(masters == self.masters_at_start())
            },
        )
        .await
    }

    /// The node falls silent, but its connections stay.
    pub async fn freeze(&self, i: usize) {
        if let Some(pid) = self.nodes[i].pid() {
            signal(pid, "STOP").await;
        }
    }

    pub async fn kill(&mut self, i: usize) -> Result<()> {
        if let Some(mut child) = self.nodes[i].child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Starts a node again with its remaining files, or without its data.
    pub async fn start_again(&mut self, i: usize, empty: bool) -> Result<()> {
        if empty {
            let _ = fs::remove_dir_all(self.nodes[i].dir.join("appendonlydir"));
        }
        self.nodes[i].spawn().await
    }

    /// Nothing passes between this node and the others in either direction, neither bus nor replication. We still reach it.
    pub fn cut_off(&self, i: usize) {
        let alone = self.nodes[i].from;
        for (j, node) in self.nodes.iter().enumerate() {
            let Some(fronts) = &node.fronts else { continue };
            for proxy in [&fronts.commands, &fronts.bus] {
                if j == i {
                    let others = self.nodes.iter().enumerate().filter(|(j, _)| *j != i);
                    others.for_each(|(_, other)| proxy.set_from(other.from, Link::HalfOpen));
                } else {
                    proxy.set_from(alone, Link::HalfOpen);
                }
            }
        }
    }

    /// A replica gets nothing more from its master, and neither of them knows.
    pub fn cut_replica(&self, holders: Holders) {
        let (Some(replica), Some(fronts)) = (holders.replica, &self.nodes[holders.master].fronts) else {
            return;
        };
        fronts.commands.set_from(self.nodes[replica].from, Link::HalfOpen);
    }

    /// The link for the servers' commands to one node; the other nodes reach it as before.
    pub fn link(&self, i: usize, link: Link) {
        if let Some(fronts) = &self.nodes[i].fronts {
            fronts.commands.set_from(Ipv4Addr::LOCALHOST.into(), link);
        }
    }

    /// Cuts a node's present connections.
    pub fn drop_connections(&self, i: usize) {
        if let Some(fronts) = &self.nodes[i].fronts {
            fronts.commands.cut();
        }
    }

    /// Moves a key's slot to another master, key by key with pauses, as one would by hand. Returns how many keys were moved.
    pub async fn move_slot(&self, key: &str, from: usize, to: usize, pause: Duration) -> Result<usize> {
        let slot = slot_of(key).to_string();
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        target
            .ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source.id])
            .await?;
        source
            .ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target.id])
            .await?;
        let (ip, port) = (target.own.ip().to_string(), target.own.port().to_string());
        let (timeout, mut moved) = (MIGRATE_TIMEOUT_MS.to_string(), 0);
        for _ in 0..MOVE_STEPS {
            let keys = source
                .ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"])
                .await?
                .texts();
            let Some(key) = keys.first() else { break };
            source
                .ask(&["MIGRATE", &ip, &port, key, "0", &timeout, "REPLACE"])
                .await?;
            moved += 1;
            tokio::time::sleep(pause).await;
        }
        // The new master comes first: if it were told last, no node would take commands for a moment.
        for i in std::iter::once(to).chain((0..self.nodes.len()).filter(|i| *i != to)) {
            if self.nodes[i].is_master().await? {
                self.nodes[i]
                    .ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &target.id])
                    .await?;
            }
        }
        Ok(moved)
    }

    /// A master that does not hold this slot.
    pub async fn other_master(&self, not: usize) -> Result<usize> {
        for i in (0..self.nodes.len()).filter(|i| *i != not) {
            if self.nodes[i].is_master().await? {
                return Ok(i);
            }
        }
        bail!("there is no other master")
    }

    /// Sends the same command to every master.
    pub async fn masters_command(&self, parts: &[&str]) -> Result<()> {
        for node in &self.nodes {
            if node.is_master().await? {
                node.ask(parts).await?;
            }
        }
        Ok(())
    }

    pub async fn stop(&mut self) -> Result<()> {
        for i in 0..self.nodes.len() {
            self.kill(i).await?;
        }
        Ok(())
    }
}

impl Node {
    async fn start(dir: &Path, i: usize, fronted: bool) -> Result<Self> {
        let (own, bus) = (free_port()?, free_port()?);
        let fronts = if fronted {
            let front = |address| Proxy::start(Arc::new(Mutex::new(Upstream::Tcp(address))));
            Some(Fronts {
                commands: front(own).await?,
                bus: front(bus).await?,
            })
        } else {
            None
        };
        let mut node = Self {
            own,
            own_bus: bus.port(),
            dir: dir.to_owned(),
            from: Ipv4Addr::new(127, 0, 1, i as u8 + 1).into(),
            fronts,
            id: String::new(),
            child: None,
        };
        node.spawn().await?;
        node.id = node.ask(&["CLUSTER", "MYID"]).await?.text();
        Ok(node)
    }

    async fn spawn(&mut self) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let announced = self.address().port().to_string();
        let settings = [
            ["--bind", "127.0.0.1"],
            // Otherwise it would treat 127.0.1.n as strangers.
            ["--protected-mode", "no"],
            ["--port", &self.own.port().to_string()],
            ["--cluster-port", &self.own_bus.to_string()],
            ["--bind-source-addr", &self.from.to_string()],
            ["--cluster-enabled", "yes"],
            ["--cluster-announce-ip", "127.0.0.1"],
            ["--cluster-announce-port", &announced],
            ["--cluster-announce-bus-port", &self.bus().to_string()],
            ["--cluster-node-timeout", &NODE_TIMEOUT.as_millis().to_string()],
            ["--cluster-require-full-coverage", "no"],
            ["--appendonly", "yes"],
            ["--appendfsync", "everysec"],
            ["--save", ""],
            ["--maxmemory-policy", "noeviction"],
            ["--repl-diskless-sync-delay", "0"],
        ];
        let child = Command::new("redis-server")
            .args(settings.concat())
            .arg("--dir")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start redis-server")?;
        self.child = Some(child);
        within(
            START_DEADLINE,
            "a node of the cluster does not answer",
            || async { Ok(self.ask(&["PING"]).await.is_ok()) },
        )
        .await
    }

    /// The address for others.
    pub fn address(&self) -> SocketAddr {
        self.fronts
            .as_ref()
            .map_or(self.own, |fronts| fronts.commands.address)
    }

    fn bus(&self) -> u16 {
        let fronts = self.fronts.as_ref();
        fronts.map_or(self.own_bus, |fronts| fronts.bus.address.port())
    }

    fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// A command of ours, which bypasses the proxies.
    pub async fn ask(&self, parts: &[&str]) -> Result<Reply> {
        let answer = ask(self.own, parts).await;
        answer.with_context(|| parts.join(" "))
    }

    async fn is_master(&self) -> Result<bool> {
        if self.child.is_none() {
            return Ok(false);
        }
        let role = self.ask(&["ROLE"]).await?.texts();
        Ok(role.first().is_some_and(|role| role == "master"))
    }

    async fn state_is_ok(&self) -> Result<bool> {
        let info = self.ask(&["CLUSTER", "INFO"]).await?.text();
        Ok(info.contains("cluster_state:ok"))
    }

    async fn table(&self) -> Result<Vec<Row>> {
        let text = self.ask(&["CLUSTER", "NODES"]).await?.text();
        Ok(text.lines().filter_map(Row::parse).collect())
    }
}

async fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .await;
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Looks again and again until it is true. A failed look counts as "not yet".
async fn within<F, Fut>(deadline: Duration, what: &str, mut look: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<bool>>,
{
    let since = Instant::now();
    loop {
        let last = look().await;
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if since.elapsed() > deadline {
            bail!("{what} within {} s: {last:?}", deadline.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_elects_a_replica_and_moves_a_slot() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut cluster = Cluster::start(dir.path(), true).await.expect("a cluster");
        let at = cluster.holders("{foo}").await.expect("a master");
        let (master, to) = (at.master, cluster.other_master(at.master).await.expect("another"));
        cluster
            .node(master)
            .ask(&["SET", "a{foo}", "1"])
            .await
            .expect("set");
        let moved = cluster.move_slot("{foo}", master, to, Duration::ZERO).await;
        assert_eq!(moved.expect("moves"), 1);
        assert_eq!(
            cluster
                .node(to)
                .ask(&["GET", "a{foo}"])
                .await
                .expect("get")
                .text(),
            "1"
        );

        let at = cluster.holders("{foo}").await.expect("a master");
        assert_eq!(at.master, to);
        cluster.cut_off(to);
        cluster.elected("{foo}", to).await.expect("the others elect");
        cluster.heal().await.expect("whole again");
        let after = cluster.holders("{foo}").await.expect("a master");
        assert_eq!(Some(after.master), at.replica);
        assert_eq!(after.replica, Some(to));
        cluster.stop().await.expect("stops");
    }
}

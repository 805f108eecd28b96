//! The connection to Redis. In a cluster it moves away from nodes that have lost the others, or that stopped answering without
//! closing their connections. The cluster elects another node by itself, but does not tell us.
//!
//! fred checks silent connections too, but every write postpones its check, so that on a busy connection it never ends. And fred
//! believes the first node it reaches about who serves which slot, even a node that was cut off.

use super::fitness;
use crate::error::Result;
use fred::{
    clients::Client,
    error::{Error as Fault, ErrorKind},
    interfaces::{ClientLike, ClusterInterface},
    types::{
        Builder, Value,
        config::{ClusterDiscoveryPolicy, Config, ReconnectPolicy, Server, ServerConfig},
    },
};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

/// Pause between two looks at who serves which slot, while calls go unanswered.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest time for one node to say what it sees.
const VIEW_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest time for fred to ask for the slots, or to open a new connection.
const MOVE_TIMEOUT: Duration = Duration::from_secs(3);

const RECONNECT_MIN_MS: u32 = 50;
/// Longest pause between tries: kind to a Redis that is gone for long, and soon enough after an election of some seconds.
const RECONNECT_MAX_MS: u32 = 300;
/// Longest time to open a connection, up to its greeting. In a cluster one node after the other is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    now: RwLock<Client>,
    /// None: there is no cluster.
    unanswered: Option<mpsc::Sender<()>>,
    astray: watch::Sender<()>,
}

impl Link {
    /// The task ends with the last clone.
    pub(super) fn of(client: Client, url: &str) -> Self {
        let (unanswered, calls) = mpsc::channel(1);
        let is_clustered = client.is_clustered();
        let link = Self(Arc::new(Inner {
            now: RwLock::new(client),
            unanswered: is_clustered.then_some(unanswered),
            astray: watch::Sender::new(()),
        }));
        if is_clustered {
            tokio::spawn(look(Arc::downgrade(&link.0), url.to_owned(), calls));
        }
        link
    }

    /// The client of now. Do not keep it: a later one may replace it.
    pub fn now(&self) -> Client {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the error of a call.
    pub(super) fn note(&self, error: &Fault) {
        if let (Some(unanswered), true) = (&self.0.unanswered, is_astray(error)) {
            // The channel is full: a look is due already.
            let _ = unanswered.try_send(());
            self.0.astray.send_replace(());
        }
    }

    /// Changes with each call that a cluster node did not answer properly: other users of that node may not have noticed.
    pub fn astray(&self) -> watch::Receiver<()> {
        self.0.astray.subscribe()
    }
}

/// The node did not answer, or has lost the others.
fn is_astray(error: &Fault) -> bool {
    matches!(error.kind(), ErrorKind::Timeout) || error.details().starts_with("CLUSTERDOWN")
}

async fn look(link: Weak<Inner>, url: String, mut unanswered: mpsc::Receiver<()>) {
    while unanswered.recv().await.is_some() {
        let Some(link) = link.upgrade().map(Link) else {
            return;
        };
        let client = link.now();
        if let Some(servers) = moved(&client).await {
            match timeout(MOVE_TIMEOUT, connect(&url, servers)).await {
                Ok(Ok(other)) => {
                    tracing::warn!("a part of the Redis Cluster was cut off: connected anew to the rest");
                    fitness::check_later_servers(&other);
                    *link.0.now.write().unwrap_or_else(PoisonError::into_inner) = other;
                    tokio::spawn(async move { timeout(MOVE_TIMEOUT, client.quit()).await });
                }
                Ok(Err(error)) => tracing::debug!(%error, "cannot connect to the rest of the cluster"),
                Err(_) => tracing::debug!("the rest of the cluster takes too long to connect to"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn connect(url: &str, servers: Vec<Server>) -> Result<Client> {
    let client = builder_at(url, servers)?.build()?;
    client.init().await?;
    Ok(client)
}

/// How every connection to Redis is set up.
pub fn builder(url: &str) -> Result<Builder> {
    let mut builder = Builder::from_config(Config::from_url(url)?);
    builder
        .with_performance_config(|performance| performance.default_command_timeout = REDIS_TIMEOUT)
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            // We follow redirections ourselves (`scripts::redirected`). fred follows an ASK by reading the next answer on a
            // connection that has other commands in flight, so commands get their neighbours' answers. After a MOVED it still
            // learns the new slots.
            connection.max_redirections = 0;
        })
        .set_policy(ReconnectPolicy::new_exponential(
            0,
            RECONNECT_MIN_MS,
            RECONNECT_MAX_MS,
            2,
        ));
    Ok(builder)
}

/// Like [`builder`], but for the given nodes of the same cluster.
pub fn builder_at(url: &str, servers: Vec<Server>) -> Result<Builder> {
    let mut builder = builder(url)?;
    if let Some(config) = builder.get_config().cloned() {
        builder.set_config(Config {
            server: ServerConfig::Clustered {
                hosts: servers,
                policy: ClusterDiscoveryPolicy::ConfigEndpoint,
            },
            ..config
        });
    }
    Ok(builder)
}

/// Lets fred ask who serves which slot: it then leaves nodes that serve none and repeats their calls elsewhere. If fred asked a
/// node that was cut off, returns the other nodes, for a new connection.
pub async fn moved<C: ClientLike + ClusterInterface>(client: &C) -> Option<Vec<Server>> {
    match timeout(MOVE_TIMEOUT, client.sync_cluster()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "cannot look at the cluster's slots"),
        Err(_) => tracing::debug!("the cluster does not say who serves its slots"),
    }
    let believed: BTreeSet<Server> = client
        .cached_cluster_state()?
        .unique_primary_nodes()
        .into_iter()
        .collect();
    let config = client.client_config();
    let mut known = believed.clone();
    known.extend(config.server.hosts());
    let views = known.into_iter().map(|server| view(&config, server));
    let whole: Vec<(Server, BTreeSet<Server>)> = join_all(views).await.into_iter().flatten().collect();
    if whole.is_empty() || whole.iter().any(|(_, masters)| *masters == believed) {
        return None;
    }
    Some(whole.into_iter().map(|(server, _)| server).collect())
}

/// The nodes that serve slots, as this node sees them. None: it does not answer, or has lost most of the others.
async fn view(config: &Config, server: Server) -> Option<(Server, BTreeSet<Server>)> {
    let config = Config {
        server: ServerConfig::Centralized {
            server: server.clone(),
        },
        ..config.clone()
    };
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| connection.connection_timeout = VIEW_TIMEOUT);
    let client = builder.build().ok()?;
    let asked = timeout(VIEW_TIMEOUT, async {
        client.init().await?;
        let info: String = client.cluster_info().await?;
        let slots: Value = client.cluster_slots().await?;
        Ok::<_, Fault>((info, slots))
    });
    let answer = asked.await;
    tokio::spawn(async move { timeout(VIEW_TIMEOUT, client.quit()).await });
    let (info, slots) = answer.ok()?.ok()?;
    if !info.contains("cluster_state:ok") {
        return None;
    }
    let masters = slots.into_array().into_iter().filter_map(|range| {
        let master = range.into_array().into_iter().nth(2)?.into_array();
        let (host, port) = (master.first()?.as_string(), master.get(1)?.as_u64()?);
        // A node without a name is the one that was asked.
        let host = host
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| server.host.to_string());
        Some(Server::new(host, u16::try_from(port).ok()?))
    });
    let masters = masters.collect();
    Some((server, masters))
}

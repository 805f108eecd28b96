//! Checks that a Redis can be trusted with the stock and the line: at the start, and every server that a connection reaches
//! later.

use super::Stock;
use crate::error::{Error, Result};
use fred::{
    clients::Client,
    error::{Error as Fault, ErrorKind},
    interfaces::{ClientLike, EventInterface},
    types::{ClusterHash, CustomCommand, config::Server},
};
use std::sync::Once;

/// The only policy under which Redis refuses to write when its memory is full, instead of dropping places and holds.
const POLICY: &str = "noeviction";
/// The name of Redis' life, as the lanes' scripts read it.
const RUN: &str = include_str!("../../../lua/lib/run.lua");
static WARNED: Once = Once::new();

impl Stock {
    /// An error says in one sentence why a server cannot be used.
    pub(super) async fn check_servers(&self) -> Result<()> {
        let client = self.client();
        if !client.is_clustered() {
            return check(&client, "Redis").await;
        }
        for server in client.active_connections() {
            check(&client.with_cluster_node(&server), &format!("Redis at {server}")).await?;
        }
        Ok(())
    }
}

/// Checks every server that a lost connection reaches instead. Faults are only logged and the sale goes on, because this server
/// may be all that is left.
pub(super) fn check_later_servers(client: &Client) {
    let again = client.clone();
    client.on_reconnect(move |server: Server| {
        let client = again.clone();
        async move {
            let name = format!("Redis at {server}");
            let checked = if client.is_clustered() {
                check(&client.with_cluster_node(&server), &name).await
            } else {
                check(&client, &name).await
            };
            if let Err(error) = checked {
                tracing::error!(%error, "a Redis that was found later is not fit for use");
            }
            Ok(())
        }
    });
}

async fn check(client: &impl ClientLike, name: &str) -> Result<()> {
    let script = format!("{RUN}return this_run()");
    let eval = CustomCommand::new_static("EVAL", ClusterHash::Random, false);
    let run: Result<String, Fault> = client.custom(eval, vec![script, "0".to_owned()]).await;
    let get = CustomCommand::new_static("CONFIG", ClusterHash::Random, false);
    let policy: Result<Vec<String>, Fault> = client.custom(get, vec!["GET", "maxmemory-policy"]).await;
    if let Some(refused) = run.as_ref().err().filter(|error| is_refusal(error)) {
        return Err(Error::unexpected(format!(
            "{name} does not let scripts call INFO, by which they notice that it has lost something: allow it, or choose another ({})",
            refused.details()
        )));
    }
    match policy.as_deref() {
        Ok([_, policy]) if policy == POLICY => {}
        Ok([_, policy]) => {
            return Err(Error::unexpected(format!(
                "{name} may drop places in line and holds when its memory is full (maxmemory-policy {policy}): set it to {POLICY}"
            )));
        }
        Err(error) if !is_refusal(error) => tracing::warn!(%error, "{name} cannot be checked now"),
        _ => WARNED.call_once(|| {
            tracing::warn!(
                "{name}: cannot read maxmemory-policy; with any other than {POLICY} it may drop places in line and holds"
            );
        }),
    }
    Ok(())
}

/// Redis has answered that it will not do it: for this user, within a script, or at all.
fn is_refusal(error: &Fault) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Auth
            | ErrorKind::Cluster
            | ErrorKind::Sentinel
    ) && !error.details().starts_with("LOADING")
}

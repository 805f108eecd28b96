//! A deploy: gateways that share a port are stopped (SIGTERM) and started again, one after the other, while shoppers shop.

use crate::{
    target::{Target, server_binary},
    watch::crowd::RemoteEnd,
};
use anyhow::{Result, bail};
use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};
use tokio::process::Command;

const GATEWAYS: usize = 2;
/// How long a stopping gateway may take in all.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Between two restarts: what came over has settled.
const BETWEEN: Duration = Duration::from_millis(500);

pub struct Gateways(Vec<RemoteEnd>);

impl Gateways {
    pub async fn start(target: &Target) -> Result<Self> {
        let mut gateways = vec![RemoteEnd::start(gateway(target, None).await?, None).await?];
        while gateways.len() < GATEWAYS {
            let shared = gateways[0].address;
            gateways.push(RemoteEnd::start(gateway(target, Some(shared)).await?, None).await?);
        }
        Ok(Self(gateways))
    }

    pub fn address(&self) -> SocketAddrV4 {
        self.0[0].address
    }

    /// Stops each in turn, and starts another in its place. How long each took to stop.
    pub async fn restart_in_turn(&mut self, target: &Target) -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        for place in &mut self.0 {
            let began = Instant::now();
            let status = tokio::time::timeout(STOP_DEADLINE, place.terminate()).await??;
            if !status.success() {
                bail!("a gateway ended with {status}");
            }
            took.push(began.elapsed());
            *place = RemoteEnd::start(gateway(target, Some(place.address)).await?, None).await?;
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(took)
    }

    pub async fn stop(self) -> Result<()> {
        for mut gateway in self.0 {
            gateway.terminate().await?;
        }
        Ok(())
    }
}

async fn gateway(target: &Target, shared: Option<SocketAddrV4>) -> Result<Command> {
    let (database, redis) = target.stores()?;
    let listen = shared.map_or("127.0.0.1:0".to_owned(), |address| address.to_string());
    let mut command = Command::new(server_binary().await?);
    command
        .args([
            "serve",
            "--roles",
            "gateway",
            "--listen",
            &listen,
            "--share-port",
            "--data-dir",
        ])
        .arg(&target.data_dir)
        .env("DATABASE_URL", database)
        .env("REDIS_URL", redis);
    Ok(command)
}

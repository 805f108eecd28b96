//! A deploy: processes are stopped (SIGTERM) and replaced one after the other, while shoppers shop. Gateways share a port. The
//! new ones may be of another version: forwards, and some of them back again.

use crate::{
    target::{TEST_MONEY, Target, server_binary},
    watch::crowd::RemoteEnd,
};
use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddrV4,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::process::Command;

const GATEWAYS: usize = 2;
/// Longest time for a process to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two replacements, until everything has settled.
const BETWEEN: Duration = Duration::from_millis(500);

/// The process to replace.
#[derive(Debug, Clone, Copy)]
enum Place {
    Gateway(usize),
    Worker,
}

/// One step of a deploy.
struct Step {
    place: Place,
    binary: PathBuf,
    /// The name of the version in the report.
    version: &'static str,
    /// A step back to the old version, which may not know the schema of the new one.
    back: bool,
}

pub struct Fleet {
    gateways: Vec<RemoteEnd>,
    /// None: another process works.
    worker: Option<RemoteEnd>,
    plan: Vec<Step>,
}

/// The result of a deploy.
pub struct Rolled {
    /// How long each process took to stop.
    pub stopped_in: Vec<Duration>,
    /// One line per step.
    pub steps: Vec<String>,
}

impl Fleet {
    /// Two gateways next to a server that works; they are restarted in turn.
    pub async fn restarting(target: &Target) -> Result<Self> {
        let binary = server_binary().await?;
        let step = |gateway| Step {
            place: Place::Gateway(gateway),
            binary: binary.clone(),
            version: "the same",
            back: false,
        };
        let plan = (0..GATEWAYS).map(step).collect();
        Self::start(target, &binary, false, plan).await
    }

    /// Two gateways and a worker of an earlier version, replaced by today's. Then one gateway and the worker go back to the
    /// earlier one (a rollback), and forwards once more.
    pub async fn of_versions(target: &Target, before: &Path) -> Result<Self> {
        let now = server_binary().await?;
        let step = |place, forwards: bool, back| Step {
            place,
            binary: if forwards { now.clone() } else { before.to_owned() },
            version: if forwards { "now" } else { "before" },
            back,
        };
        let plan = vec![
            step(Place::Gateway(0), true, false),
            step(Place::Worker, true, false),
            step(Place::Gateway(1), true, false),
            step(Place::Gateway(0), false, true),
            step(Place::Worker, false, true),
            step(Place::Gateway(0), true, false),
            step(Place::Worker, true, false),
        ];
        Self::start(target, before, true, plan).await
    }

    async fn start(target: &Target, binary: &Path, works: bool, plan: Vec<Step>) -> Result<Self> {
        let worker = match works {
            true => Some(RemoteEnd::start(process(target, binary, "worker", None)?, None).await?),
            false => None,
        };
        let mut gateways: Vec<RemoteEnd> = Vec::new();
        while gateways.len() < GATEWAYS {
            let shared = gateways.first().map(|gateway| gateway.address);
            let command = process(target, binary, "gateway", shared)?;
            gateways.push(RemoteEnd::start(command, None).await?);
        }
        Ok(Self {
            gateways,
            worker,
            plan,
        })
    }

    pub fn address(&self) -> SocketAddrV4 {
        self.gateways[0].address
    }

    /// Carries the plan out. `may_not_go_back`: an earlier version that refuses the newer schema is reported, but is no failure.
    pub async fn roll(&mut self, target: &Target, may_not_go_back: bool) -> Result<Rolled> {
        let mut rolled = Rolled {
            stopped_in: vec![],
            steps: vec![],
        };
        let address = self.address();
        for step in &self.plan {
            let (role, shared, place) = match step.place {
                Place::Gateway(i) => ("gateway", Some(address), &mut self.gateways[i]),
                Place::Worker => {
                    let worker = self.worker.as_mut().context("there is no worker")?;
                    ("worker", None, worker)
                }
            };
            // The new process is ready before the old one stops, as in a deploy that watches /readyz.
            let command = process(target, &step.binary, role, shared)?;
            let next = match RemoteEnd::start(command, None).await {
                Err(error) if step.back && may_not_go_back => {
                    rolled.steps.push(format!("{:?} stays: {error:#}", step.place));
                    continue;
                }
                next => next.with_context(|| format!("{:?} of {}", step.place, step.version))?,
            };
            let began = Instant::now();
            let status = tokio::time::timeout(STOP_DEADLINE, place.terminate()).await??;
            if !status.success() {
                bail!("{:?} ended with {status}", step.place);
            }
            rolled.stopped_in.push(began.elapsed());
            rolled.steps.push(format!("{:?} is {}", step.place, step.version));
            *place = next;
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(rolled)
    }

    pub async fn stop(self) -> Result<()> {
        for mut process in self.gateways.into_iter().chain(self.worker) {
            process.terminate().await?;
        }
        Ok(())
    }
}

fn process(target: &Target, binary: &Path, role: &str, shared: Option<SocketAddrV4>) -> Result<Command> {
    let (database, redis) = target.stores()?;
    let listen = shared.map_or("127.0.0.1:0".to_owned(), |address| address.to_string());
    let mut command = Command::new(binary);
    command
        .args(["serve", "--roles", role, "--listen", &listen, "--data-dir"])
        .arg(&target.data_dir)
        .env(TEST_MONEY.0, TEST_MONEY.1)
        .env("DATABASE_URL", database)
        .env("REDIS_URL", redis);
    if role == "gateway" {
        command.arg("--share-port");
    }
    Ok(command)
}

//! The load generator: shoppers by the thousand over real WebSockets, and a check of the invariants afterwards.

mod attack;
mod bench;
mod chaos;
mod check;
mod cluster;
mod draw;
mod figure;
mod patience;
mod proxy;
mod purchases;
mod queue;
mod rebuild;
mod report;
mod resp;
mod rolling;
mod rush;
mod shopper;
mod target;
mod watch;
mod wire;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Loads a flash-sale server on this machine and checks that it kept its promises.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Everybody wants one unit at once: watch, join, reserve, check out, pay.
    Rush(rush::Options),
    /// What a purchase costs each process, and how long it takes: as fast as it goes, or at a given rate.
    Purchases(purchases::Options),
    /// All kinds of faults: processes die, stores forget, links break; then every invariant is checked.
    Chaos(chaos::Options),
    /// Everybody watches: the cost of a delivered tick and of an idle socket, compared with a bare loop and axum's broadcast.
    Watch(watch::Options),
    /// One address floods the server: what an honest one gets meanwhile, beside the same flood against a bare loop.
    Attack(attack::Options),
    #[command(hide = true)]
    AttackFlood(attack::FloodOptions),
    #[command(hide = true)]
    AttackFloor,
    /// A million shoppers on this machine, both ends: gateways that share a port, until the last unit is sold.
    Million(watch::million::Options),
    #[command(hide = true)]
    WatchClient(watch::client::Options),
    #[command(hide = true)]
    WatchBad(watch::bad::Options),
    #[command(hide = true)]
    WatchServer(watch::floor::Options),
    /// The figures: orders per second, and each script's cost in Redis; with a page that shows them.
    Bench(bench::Options),
    /// A draw over ten million entries, and small ones with many seeds.
    Draw(draw::Options),
    /// A line of millions in one Redis: the cost of an entry, and whether an admission step becomes slower.
    Queue(queue::Options),
    /// A lane that Redis has lost, in a sale with a million cancelled orders: the time until it sells again.
    Rebuild(rebuild::Options),
    /// Servers with one deliberate defect each: the check of the invariants must notice every one (debug builds only).
    Mutants(chaos::mutants::MutantOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    flashsale::tls::provide();
    let passed = match Cli::parse().scenario {
        Scenario::Rush(options) => unless_stopped(rush::run(options)).await,
        Scenario::Purchases(options) => unless_stopped(purchases::run(options)).await,
        Scenario::Chaos(options) => unless_stopped(chaos::run(options)).await,
        Scenario::Watch(options) => unless_stopped(watch::run(options)).await,
        Scenario::Attack(options) => unless_stopped(attack::run(options)).await,
        Scenario::AttackFlood(options) => attack::flood(options).await,
        Scenario::AttackFloor => attack::floor().await,
        Scenario::Million(options) => unless_stopped(watch::million::run(options)).await,
        Scenario::Bench(options) => unless_stopped(bench::run(options)).await,
        Scenario::Queue(options) => unless_stopped(queue::run(options)).await,
        Scenario::Rebuild(options) => unless_stopped(rebuild::run(options)).await,
        Scenario::Mutants(options) => unless_stopped(chaos::mutants::run(options)).await,
        // These start nothing, so a signal ends them in the usual way.
        Scenario::WatchClient(options) => tokio::task::block_in_place(|| watch::client::run(options)),
        Scenario::WatchBad(options) => watch::bad::run(options).await,
        Scenario::WatchServer(options) => watch::floor::run(options).await,
        Scenario::Draw(options) => draw::run(&options),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Servers end when the run that holds them is dropped, so that a signal does not leave them behind.
async fn unless_stopped(run: impl Future<Output = Result<bool>>) -> Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        passed = run => passed,
        _ = terminate.recv() => bail!("stopped by a signal"),
        stopped = tokio::signal::ctrl_c() => {
            stopped?;
            bail!("stopped by a signal")
        }
    }
}

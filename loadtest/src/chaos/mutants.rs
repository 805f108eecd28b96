//! Proves that the checker can fail: servers with one deliberate defect each, which a run has to notice.

use super::{Options, history::History};
use anyhow::{Result, bail};
use flashsale_engine::mutation::Mutation;
use std::sync::Arc;

/// The faults under which a defect shows; none if it shows by itself.
fn faults(mutation: Mutation) -> &'static [&'static str] {
    match mutation {
        Mutation::ForgetRun => &[
            "redis_restarted_with_an_older_file",
            "replica_promoted_with_a_lost_tail",
        ],
        Mutation::AcknowledgeEarly | Mutation::SkipLease => &["kill_gateway"],
        Mutation::DropGuard
        | Mutation::ReturnTwice
        | Mutation::ExpireEarly
        | Mutation::SkipLimit
        | Mutation::ForgetCommand
        | Mutation::FailTogether
        | Mutation::CaptureAnyway => &[],
    }
}

#[derive(clap::Args)]
pub struct MutantOptions {
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these defects, by their words.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// True: every defect was noticed.
pub async fn run(options: MutantOptions) -> Result<bool> {
    if !cfg!(debug_assertions) {
        bail!("a release build has no defects to choose from: use `cargo run -p loadtest -- mutants`");
    }
    let mut all = true;
    for mutation in Mutation::all() {
        // Its batches need two payments of one order at the same moment: `tests/it/batches.rs` has them.
        if *mutation == Mutation::FailTogether {
            continue;
        }
        let word = mutation.word();
        if !options.only.is_empty() && !options.only.iter().any(|only| only == word) {
            continue;
        }
        let faults = faults(*mutation);
        let run = Options {
            seed: options.seed,
            minutes: if faults.is_empty() { 0.2 } else { 0.6 },
            shoppers: 80,
            stock: 1_500,
            lanes: 1,
            cluster: false,
            shop: *mutation == Mutation::CaptureAnyway,
            calm: faults.is_empty(),
            only: faults.iter().map(|word| (*word).to_owned()).collect(),
            json: None,
            log: None,
            until_broken: true,
        };
        let history = Arc::new(History::new());
        super::world(&run, Some(word), &history).await?;
        match history.violations().first() {
            Some((_, what)) => println!(
                "caught      {word:<18} after {:5.1} s: {what}",
                history.now().as_secs_f64()
            ),
            None => println!("NOT CAUGHT  {word:<18} in {:5.1} s", history.now().as_secs_f64()),
        }
        all &= !history.violations().is_empty();
    }
    Ok(all)
}

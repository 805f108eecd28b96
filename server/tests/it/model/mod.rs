//! All stock scripts against a small model of them, on a real Redis: any order of calls, in batches, repeated, too late,
//! under old epochs, with losses and rebuilds between. After each step every answer, every key and every counter is what
//! the model says, and what must always hold holds.
//!
//! Plain proptest, without its state machines: those run the model ahead of the system, and ours is told the time by
//! Redis, whose clock decides every deadline. A step is therefore possible in any state; what it names by number is
//! picked from what there is.
//!
//! `PROPTEST_CASES` says how many cases (each of up to [`STEPS`] steps), beyond the few that every test run has time for.

mod lane;
mod line;
mod run;
mod seen;
mod step;
mod tally;

use flashsale::embedded::Services;
use flashsale_engine::stock::Stock;
use proptest::test_runner::{Config, TestRunner};
use run::Run;
use std::sync::Mutex;
use tally::Seen;

const CASES: u32 = 100;
const STEPS: usize = 100;
const SHRINKING_MS: u32 = 120_000;

#[test]
fn every_script_answers_as_the_model_does_and_no_unit_is_lost_or_sold_twice() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let (url, services) = match std::env::var("TEST_REDIS_URL") {
        Ok(url) => (url, None),
        Err(_) => {
            let services = runtime
                .block_on(Services::start(scratch.path()))
                .expect("Redis starts");
            (services.redis_url.clone(), Some(services))
        }
    };
    // One thread and one batcher per verb: what is asked at once is one call.
    let prefix = format!("m_{:016x}:", rand::random::<u64>());
    let stock = runtime.block_on(Stock::connect(&url, &prefix)).expect("connects");

    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: u32::MAX,
        max_shrink_time: SHRINKING_MS,
        ..Config::default()
    };
    if std::env::var("PROPTEST_CASES").is_err() {
        config.cases = CASES;
    }
    let seen = Mutex::new(Seen::default());
    let result = TestRunner::new(config).run(&(step::terms(), step::turns(STEPS)), |(terms, turns)| {
        runtime.block_on(async {
            let mut run = Run::start(&stock, &terms).await?;
            let outcome = run.all(&turns).await;
            if let Ok(mut seen) = seen.lock() {
                seen.add(run.seen());
            }
            run.clean_up().await;
            outcome
        })
    });
    println!("{}", seen.into_inner().expect("not poisoned"));
    runtime.block_on(async {
        stock.quit().await;
        if let Some(services) = services {
            services.stop().await;
        }
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

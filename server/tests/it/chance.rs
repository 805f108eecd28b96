//! How the tests by chance run: a few cases each time, and as many as `PROPTEST_CASES` says by request.

use proptest::test_runner::Config;

/// Less than the test runner's limit for one test, so that a failure is shrunk and told, and not cut off.
const SHRINKING_MS: u32 = 20_000;

/// With this many cases, unless `PROPTEST_CASES` says otherwise.
pub fn config(cases: u32) -> Config {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: u32::MAX,
        max_shrink_time: SHRINKING_MS,
        ..Config::default()
    };
    if std::env::var("PROPTEST_CASES").is_err() {
        config.cases = cases;
    }
    config
}

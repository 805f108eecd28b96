//! What the project says of itself is so: the files that are made from the code, and the house rules that a machine
//! can check.

use std::{fs, path::Path};

/// Compares a file that is made from the code with what would be made now; UPDATE_DOCS=1 writes it.
pub fn is_up_to_date(path: &Path, now: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, now).expect("writes");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let differs = committed
        .lines()
        .zip(now.lines())
        .find(|(before, now)| before != now);
    assert!(
        committed == now,
        "{} is out of date: run the tests once with UPDATE_DOCS=1. First difference: {differs:?}",
        path.display()
    );
}

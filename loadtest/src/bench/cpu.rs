//! The CPU time that processes have used, from /proc.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, time::Duration};

/// The unit of /proc/*/stat is fixed at 1/100 s for programs, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

struct Stat {
    parent: u32,
    own: u32,
    /// CPU of children that have ended.
    ended: u32,
}

/// A process with all its children, including those that have ended.
pub fn of_tree(root: u32) -> Result<Duration> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // A process may end while we look.
        if let Some(pid) = pid
            && let Some(stat) = stat(pid)
            && (pid == root || stat.parent == root)
        {
            ticks += stat.own + stat.ended;
        }
    }
    Ok(TICK * ticks)
}

pub fn of_this_process() -> Result<Duration> {
    of_process(std::process::id())
}

/// Without its children.
pub fn of_process(pid: u32) -> Result<Duration> {
    let stat = stat(pid).with_context(|| format!("process {pid} has ended"))?;
    Ok(TICK * stat.own)
}

/// A process and its children by what they call themselves: its own command line, and each child's. What ended children have used
/// counts as the process' own.
pub fn by_name(root: u32) -> Result<BTreeMap<String, Duration>> {
    let mut used: BTreeMap<String, Duration> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && let Some(stat) = stat(pid)
            && (pid == root || stat.parent == root)
            && let Ok(name) = fs::read_to_string(format!("/proc/{pid}/cmdline"))
        {
            *used.entry(name).or_default() += TICK * (stat.own + stat.ended);
        }
    }
    Ok(used)
}

pub fn parent_of(pid: u32) -> Result<u32> {
    Ok(stat(pid)
        .with_context(|| format!("process {pid} is not on this machine"))?
        .parent)
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the bracket may hold anything; after it come numbers, with the state (field 3) first.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
    Some(Stat {
        parent: field(4)?,
        own: field(14)? + field(15)?,
        ended: field(16)? + field(17)?,
    })
}

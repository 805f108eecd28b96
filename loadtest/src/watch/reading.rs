//! The kernel's numbers for processes and sockets: CPU time, memory, and the core they run on.

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use std::{fs, time::Duration};

/// A process' CPU time so far, from the scheduler's own count: /proc/*/stat has steps of 10 ms.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns = text
            .split_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok())
            .unwrap_or(0);
        total += Duration::from_nanos(ns);
    }
    Ok(total)
}

/// A process's resident memory, in bytes.
pub fn rss_of(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kb = field(&text, "VmRSS:").context("no VmRSS")?;
    Ok(kb * 1024)
}

/// The kernel's memory for sockets: its slabs and TCP's own pages, in bytes.
pub fn kernel_bytes() -> Result<u64> {
    let slab = field(&fs::read_to_string("/proc/meminfo")?, "Slab:").context("no Slab")? * 1024;
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let pages = sockets
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .and_then(|line| line.split("mem ").nth(1)?.trim().parse::<u64>().ok());
    Ok(slab + pages.unwrap_or(0) * 4096)
}

/// Memory still available to programs, in bytes.
pub fn available_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(field(&text, "MemAvailable:").context("no MemAvailable")? * 1024)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Starts something on a core, or on the last one if there are fewer. It sees only that core, and makes as many threads as fit
/// one.
pub fn on_core<T>(core: usize, start: impl FnOnce() -> T) -> Result<T> {
    let here = Pid::from_raw(0);
    let before = sched_getaffinity(here)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut one = CpuSet::new();
    one.set(core.min(cores - 1))?;
    // A process inherits this from the thread that starts it.
    sched_setaffinity(here, &one)?;
    let started = start();
    sched_setaffinity(here, &before)?;
    Ok(started)
}

//! The kernel's settings for a million connections with both ends on one machine: raised for a run, and restored after it.

use std::{fs, path::PathBuf};

/// Settings, and the least value of each. A setting of several numbers has a least value for each; "-" leaves one unchanged.
const SETTINGS: &[(&str, &str)] = &[
    // A million connections from two hundred addresses need five thousand ports of each.
    ("net/ipv4/ip_local_port_range", "- 65000"),
    // Connections that wait to be accepted.
    ("net/core/somaxconn", "65535"),
    ("net/ipv4/tcp_max_syn_backlog", "65535"),
    // Packets on loopback that wait for their receiver.
    ("net/core/netdev_max_backlog", "100000"),
    // Pages for all data on its way: a tick for a million.
    ("net/ipv4/tcp_mem", "800000 1200000 1600000"),
    ("net/ipv4/tcp_max_orphans", "2000000"),
    ("net/netfilter/nf_conntrack_max", "3000000"),
    ("fs/file-max", "4000000"),
];

/// Puts the settings back when dropped.
pub struct Settings(Vec<(PathBuf, String)>);

impl Settings {
    /// Raises the settings it may raise, and reports the others.
    pub fn raise() -> Self {
        let mut before = Vec::new();
        for (name, least) in SETTINGS {
            let path = PathBuf::from("/proc/sys").join(name);
            // A setting that this kernel does not have limits nothing.
            let Ok(known) = fs::read_to_string(&path) else {
                continue;
            };
            let wanted = raised(&known, least);
            if wanted == known.split_whitespace().collect::<Vec<_>>().join(" ") {
                continue;
            }
            match fs::write(&path, &wanted) {
                Ok(()) => before.push((path, known)),
                Err(error) => println!("{name} stays at {}: {error}", known.trim()),
            }
        }
        Self(before)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (path, before) in &self.0 {
            if let Err(error) = fs::write(path, before) {
                println!("{} was {}: {error}", path.display(), before.trim());
            }
        }
    }
}

/// Each number, or its least value if that is larger.
fn raised(known: &str, least: &str) -> String {
    let known = known.split_whitespace().zip(least.split_whitespace());
    let raised = known.map(
        |(known, least)| match (known.parse::<u64>(), least.parse::<u64>()) {
            (Ok(now), Ok(least)) => now.max(least).to_string(),
            _ => known.to_owned(),
        },
    );
    raised.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::raised;

    #[test]
    fn nothing_is_lowered() {
        assert_eq!(raised("32768\t60999\n", "- 65000"), "32768 65000");
        assert_eq!(raised("4096\n", "65535"), "65535");
        assert_eq!(
            raised("100 5000000 7\n", "800000 1200000 1600000"),
            "800000 5000000 1600000"
        );
    }
}

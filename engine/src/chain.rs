//! How far a sale's audit log has come by this process' commits. Redis is told, so that a Postgres that has lost something is
//! noticed. Pure, except for the time.

use crate::{error::Error, sale::LaneRef};
use flashsale_protocol::SaleId;
use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::Mutex,
    time::{Duration, Instant},
};

/// How long the end left by an earlier life of Postgres is told: longer than any command is on its way.
const TOLD_FOR: Duration = Duration::from_secs(5);
/// Bytes of a row's hash that identify it.
const HASH_BYTES: usize = 8;

/// The last row of a sale's audit log, after one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainEnd {
    /// One run of Postgres, by its start in µs since 1970. A promoted standby or a restored server is another one.
    pub life: i64,
    pub number: i64,
    /// The first bytes of the row's hash. Another row under the same number has another hash.
    pub hash: u64,
}

impl ChainEnd {
    pub fn new(life: i64, number: i64, hash: &[u8]) -> Self {
        let mut first = [0; HASH_BYTES];
        for (to, from) in first.iter_mut().zip(hash) {
            *to = *from;
        }
        let hash = u64::from_be_bytes(first);
        Self { life, number, hash }
    }
}

/// As Redis keeps it: `lua/lib/chain.lua`.
impl fmt::Display for ChainEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:016x}", self.life, self.number, self.hash)
    }
}

impl FromStr for ChainEnd {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::unexpected(format!("an end of an audit log that is none: {text:?}"));
        let mut parts = text.split(' ');
        let mut part = || parts.next().ok_or_else(bad);
        Ok(Self {
            life: part()?.parse().map_err(|_| bad())?,
            number: part()?.parse().map_err(|_| bad())?,
            hash: u64::from_str_radix(part()?, 16).map_err(|_| bad())?,
        })
    }
}

/// The log's ends after this process' commits, by lane and epoch: a lane's new life starts without the old one's knowledge.
#[derive(Default)]
pub struct Chains(Mutex<HashMap<LaneRef, Ends>>);

struct Ends {
    last: ChainEnd,
    /// The end left by the life of Postgres before, and the time when another life began.
    before: Option<(ChainEnd, Instant)>,
}

impl Chains {
    /// Call this after a commit, never before.
    pub fn note(&self, at: LaneRef, end: ChainEnd) {
        let Ok(mut lanes) = self.0.lock() else { return };
        let ends = lanes.entry(at).or_insert(Ends {
            last: end,
            before: None,
        });
        if ends.last.life != end.life {
            *ends = Ends {
                before: Some((ends.last, Instant::now())),
                last: end,
            };
        } else if ends.last.number < end.number {
            ends.last = end;
        }
    }

    /// The text for a script; "-": nothing is known.
    pub fn told(&self, at: LaneRef) -> String {
        let lanes = self.0.lock().ok();
        let Some(ends) = lanes.as_ref().and_then(|lanes| lanes.get(&at)) else {
            return "-".into();
        };
        match ends.before {
            Some((before, since)) if since.elapsed() < TOLD_FOR => format!("{before},{}", ends.last),
            _ => ends.last.to_string(),
        }
    }

    /// Forgets sales that have ended.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        if let Ok(mut lanes) = self.0.lock() {
            lanes.retain(|at, _| keep(at.sale));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(life: i64, number: i64) -> ChainEnd {
        ChainEnd::new(life, number, &[1, 2, 3, 4, 5, 6, 7, 8, 9])
    }

    #[test]
    fn an_end_reads_as_it_is_written() {
        let one = end(1_764_432_000_000_000, 12);
        assert_eq!(one.to_string(), "1764432000000000 12 0102030405060708");
        assert_eq!(one.to_string().parse::<ChainEnd>().expect("an end"), one);
        for bad in ["", "1 2", "1 b 3", "x 1 3"] {
            assert!(bad.parse::<ChainEnd>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_furthest_end_of_each_life_of_postgres_is_told() {
        let chains = Chains::default();
        let at = LaneRef {
            sale: SaleId::from_parts(1, 1),
            lane: 0,
            epoch: 1,
        };
        assert_eq!(chains.told(at), "-");
        for number in [2, 5, 3] {
            chains.note(at, end(1, number));
        }
        assert_eq!(chains.told(at), end(1, 5).to_string());
        // Postgres has lost its tail, so it uses row numbers again.
        chains.note(at, end(2, 4));
        assert_eq!(chains.told(at), format!("{},{}", end(1, 5), end(2, 4)));
        assert_eq!(chains.told(LaneRef { epoch: 2, ..at }), "-");
        chains.retain(|_| false);
        assert_eq!(chains.told(at), "-");
    }
}

//! The shoppers' observations, in order: the basis of the checker.

use flashsale_protocol::{CommandId, Order, OrderId};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Most lines of a violation's trace.
const TRACE_LINES: usize = 40;
/// Faults this long after a shopper's last observation may still matter.
const TRACE_AFTER: Duration = Duration::from_secs(3);

/// How long gateways may take to report a lost lane.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Line {
    pub at: Duration,
    /// A shopper, or "fault".
    pub who: String,
    pub what: String,
}

/// An acknowledged order, and how it was acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub shopper: String,
    pub command: CommandId,
    pub order: Order,
}

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<Line>,
    orders: Vec<Acknowledged>,
    violations: Vec<(String, String)>,
    /// Gateways that were killed, and when.
    kills: Vec<(usize, Duration)>,
    lanes_lost: Option<Duration>,
    reconnected: Reconnected,
}

/// Shoppers whose socket died with a gateway and who got another answer to hello.
#[derive(Debug, Default, Clone, Copy)]
pub struct Reconnected {
    pub shoppers: u64,
    /// Those of them whose place or hold was compared with the earlier one.
    pub compared: u64,
    /// From the kill to the last of them.
    pub within: Duration,
}

/// Shared by all shoppers of a run.
pub struct History {
    began: Instant,
    seen: Mutex<Seen>,
    commands: AtomicU64,
    /// Postgres was put back to an earlier moment.
    restored: AtomicBool,
    /// When units were last taken, in ms since the beginning, from any lane and from each lane. Recovery is measured by this sign
    /// of life.
    last_reserve_ms: AtomicU64,
    of_lane_ms: Mutex<BTreeMap<u16, u64>>,
    /// The time in each gateway's newest tick, in ms since 1970.
    ticks: Mutex<BTreeMap<usize, u64>>,
}

impl History {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            seen: Mutex::default(),
            commands: AtomicU64::new(0),
            restored: AtomicBool::new(false),
            last_reserve_ms: AtomicU64::new(0),
            of_lane_ms: Mutex::default(),
            ticks: Mutex::default(),
        }
    }

    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn note(&self, who: &str, what: String) {
        let line = Line {
            at: self.began.elapsed(),
            who: who.to_owned(),
            what,
        };
        if let Ok(mut seen) = self.seen.lock() {
            seen.lines.push(line);
        }
    }

    pub fn orders_may_be_lost(&self) {
        self.restored.store(true, Ordering::Relaxed);
    }

    pub fn may_orders_be_lost(&self) -> bool {
        self.restored.load(Ordering::Relaxed)
    }

    pub fn acknowledged(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    pub fn reserved(&self, lane: u16) {
        let now = self.began.elapsed().as_millis() as u64;
        self.last_reserve_ms.fetch_max(now, Ordering::Relaxed);
        if let Ok(mut lanes) = self.of_lane_ms.lock() {
            lanes.insert(lane, now);
        }
    }

    /// None: from any lane.
    pub fn last_reserve(&self, lane: Option<u16>) -> Duration {
        let last_ms = match lane {
            Some(lane) => self
                .of_lane_ms
                .lock()
                .ok()
                .and_then(|lanes| lanes.get(&lane).copied())
                .unwrap_or(0),
            None => self.last_reserve_ms.load(Ordering::Relaxed),
        };
        Duration::from_millis(last_ms)
    }

    /// A gateway has sent a tick of this moment.
    pub fn ticked(&self, gateway: usize, now_ms: u64) {
        if let Ok(mut ticks) = self.ticks.lock() {
            ticks.insert(gateway, now_ms);
        }
    }

    /// Whether every gateway has sent a tick of this moment or a later one.
    pub fn ticks_since(&self, gateways: usize, now_ms: u64) -> bool {
        let Ok(ticks) = self.ticks.lock() else {
            return false;
        };
        (0..gateways).all(|gateway| ticks.get(&gateway).is_some_and(|at| *at >= now_ms))
    }

    pub fn killed(&self, gateway: usize) {
        let now = self.now();
        if let Ok(mut seen) = self.seen.lock() {
            seen.kills.push((gateway, now));
        }
    }

    /// Lanes are lost now, or were just before: shoppers who are not connected learn it only from the state.
    pub fn lanes_lost(&self) {
        let now = self.now();
        if let Ok(mut seen) = self.seen.lock() {
            seen.lanes_lost = Some(now);
        }
    }

    /// A shopper whose connection to this gateway stood since then has a new one. True: the gateway was killed, and every loss
    /// with a lane had been told before.
    pub fn came_back(&self, gateway: usize, since: Duration) -> bool {
        let now = self.now();
        let Ok(mut seen) = self.seen.lock() else {
            return false;
        };
        let mut kills = seen.kills.iter();
        let Some(&(_, killed)) = kills.find(|(which, at)| *which == gateway && *at >= since) else {
            return false;
        };
        let took = now.saturating_sub(killed);
        seen.reconnected.shoppers += 1;
        seen.reconnected.within = seen.reconnected.within.max(took);
        seen.lanes_lost.is_none_or(|lost| lost + TOLD_WITHIN < killed)
    }

    pub fn compared(&self) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.reconnected.compared += 1;
        }
    }

    pub fn reconnected(&self) -> Reconnected {
        self.seen.lock().map(|seen| seen.reconnected).unwrap_or_default()
    }

    pub fn order(&self, acknowledged: Acknowledged) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.orders.push(acknowledged);
        }
    }

    /// Notes something that must never happen; the trace of shopper `who` shows it.
    pub fn violation(&self, who: &str, what: String) {
        self.note(who, format!("BROKEN {what}"));
        if let Ok(mut seen) = self.seen.lock() {
            seen.violations.push((who.to_owned(), what));
        }
    }

    pub fn violations(&self) -> Vec<(String, String)> {
        self.seen
            .lock()
            .map(|seen| seen.violations.clone())
            .unwrap_or_default()
    }

    pub fn orders(&self) -> Vec<Acknowledged> {
        self.seen
            .lock()
            .map(|seen| seen.orders.clone())
            .unwrap_or_default()
    }

    /// The last acknowledged state of each order.
    pub fn latest(&self) -> BTreeMap<OrderId, Acknowledged> {
        let mut latest: BTreeMap<OrderId, Acknowledged> = BTreeMap::new();
        for seen in self.orders() {
            match latest.get(&seen.order.order) {
                Some(known) if known.order.at >= seen.order.at => {}
                _ => drop(latest.insert(seen.order.order, seen)),
            }
        }
        latest
    }

    /// One shopper's observations, with the faults in between: the shortest trace that shows the fault.
    pub fn trace(&self, who: &str) -> Vec<String> {
        let Ok(seen) = self.seen.lock() else {
            return Vec::new();
        };
        let mine: Vec<&Line> = seen.lines.iter().filter(|line| line.who == who).collect();
        let mine = &mine[mine.len().saturating_sub(TRACE_LINES)..];
        let from = mine.first().map(|line| line.at).unwrap_or_default();
        // A finding at the end was caused before.
        let last = mine.iter().rev().find(|line| !line.what.starts_with("BROKEN"));
        let to = last.map(|line| line.at).unwrap_or_default() + TRACE_AFTER;
        let fault = |line: &&Line| line.who == "fault" && (from..=to).contains(&line.at);
        seen.lines
            .iter()
            .filter(|line| line.who == who && line.at >= from || fault(line))
            .map(|line| format!("{:8.3} s  {:<12} {}", line.at.as_secs_f64(), line.who, line.what))
            .collect()
    }
}

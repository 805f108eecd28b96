//! Limits at the door: sockets per address, handshakes, REST requests, guest sessions.

use crate::config::Limits;
use dashmap::DashMap;
use flashsale_engine::telemetry::name;
use flashsale_protocol::{Code, Reject, ShopperId};
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often limiters forget people who have not asked for a while.
pub(crate) const SWEEP: Duration = Duration::from_secs(20);

pub struct Throttle {
    addresses: Arc<DashMap<IpAddr, usize>>,
    sockets: Arc<watch::Sender<usize>>,
    per_address: usize,
    handshakes: DefaultDirectRateLimiter,
    /// REST requests by shopper, and guest sessions by address.
    requests: DefaultKeyedRateLimiter<ShopperId>,
    guests: DefaultKeyedRateLimiter<IpAddr>,
}

/// One socket's share of its address's limit; given back when dropped.
pub struct Place {
    pub address: IpAddr,
    /// The origin of the page that opened the socket, if it is another one than ours.
    pub page: Option<Arc<str>>,
    addresses: Arc<DashMap<IpAddr, usize>>,
    sockets: Arc<watch::Sender<usize>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut count) = self.addresses.get_mut(&self.address) {
            *count -= 1;
        }
        self.addresses.remove_if(&self.address, |_, count| *count == 0);
        self.sockets.send_modify(|count| *count -= 1);
        metrics::gauge!(name::SOCKETS).decrement(1);
    }
}

impl Throttle {
    pub fn new(limits: &Limits) -> Self {
        Self {
            addresses: Arc::default(),
            sockets: Arc::new(watch::Sender::new(0)),
            per_address: limits.sockets_per_address,
            handshakes: RateLimiter::direct(Quota::per_second(at_least_one(limits.handshakes_per_s))),
            requests: RateLimiter::keyed(
                Quota::per_second(at_least_one(limits.commands_per_s))
                    .allow_burst(at_least_one(limits.command_burst)),
            ),
            guests: RateLimiter::keyed(Quota::per_minute(at_least_one(limits.guests_per_minute))),
        }
    }

    /// Takes a place among the sockets of an address; None if it has too many.
    pub fn enter(&self, address: IpAddr, page: Option<Arc<str>>) -> Option<Place> {
        let mut count = self.addresses.entry(address).or_insert(0);
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        drop(count);
        self.sockets.send_modify(|count| *count += 1);
        metrics::gauge!(name::SOCKETS).increment(1);
        Some(Place {
            address,
            page,
            addresses: self.addresses.clone(),
            sockets: self.sockets.clone(),
        })
    }

    /// Whether another socket may be opened now.
    pub(crate) fn allow_handshake(&self) -> Result<(), Reject> {
        self.handshakes
            .check()
            .map_err(|not_until| too_many(Code::Busy, &not_until))
    }

    /// Number of open sockets.
    pub fn socket_count(&self) -> usize {
        *self.sockets.borrow()
    }

    /// Whether this shopper may make another REST request now.
    pub fn allow(&self, shopper: &ShopperId) -> Result<(), Reject> {
        self.requests
            .check_key(shopper)
            .map_err(|not_until| too_many(Code::TooManyCommands, &not_until))
    }

    /// Whether another guest session may be made from this address now.
    pub(crate) fn allow_guest(&self, address: IpAddr) -> Result<(), Reject> {
        self.guests
            .check_key(&address)
            .map_err(|not_until| too_many(Code::TooManyFromAddress, &not_until))
    }

    /// Waits until no socket is open.
    pub(crate) async fn no_sockets(&self) {
        let mut sockets = self.sockets.subscribe();
        let _ = sockets.wait_for(|count| *count == 0).await;
    }

    /// Forgets people who have not asked for a while, again and again.
    pub(crate) async fn keep_small(self: Arc<Self>, every: Duration, stopping: CancellationToken) {
        let mut sweep = tokio::time::interval(every);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = sweep.tick() => {}
            }
            self.requests.retain_recent();
            self.guests.retain_recent();
        }
    }
}

/// The refusal of a limiter, with the time until it lets the asker pass.
pub(crate) fn too_many(code: Code, not_until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Reject {
    let wait = not_until.wait_time_from(DefaultClock::default().now());
    Reject::new(code).after_ms(wait.as_millis() as u64 + 1)
}

pub(crate) fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: Limits,
    }

    #[tokio::test]
    async fn those_who_have_not_asked_for_a_while_are_forgotten() {
        let limits = Program::parse_from(["program", "--commands-per-s", "1000"]).limits;
        let throttle = Arc::new(Throttle::new(&limits));
        let shopper: ShopperId = "once".parse().expect("an id");
        throttle.allow(&shopper).expect("the first request");
        assert_eq!(throttle.requests.len(), 1);
        let stopping = CancellationToken::new();
        let kept = tokio::spawn(
            throttle
                .clone()
                .keep_small(Duration::from_millis(5), stopping.clone()),
        );
        let forgotten = async {
            while !throttle.requests.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), forgotten).await;
        in_time.expect("it is forgotten");
        stopping.cancel();
        kept.await.expect("it ends");
    }
}

//! The limits at the door: what is limited, and by how much. How a limit goes from an address to the process, `ladder.rs` says.

use crate::{
    budget::{Budget, Left, Rate},
    config::Limits,
    ladder::{Around, Ladder, NETWORK_SHARES, around, wait_for},
};
use dashmap::DashMap;
use flashsale_engine::{stock::Stock, telemetry::name};
use flashsale_protocol::{Code, Reject, ShopperId};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often limiters forget people who have not asked for a while.
pub(crate) const SWEEP: Duration = Duration::from_secs(20);
/// Connections for each socket that an address may open: a browser has six for its page and one for the socket.
const CONNECTIONS_A_SOCKET: u64 = 8;
/// When to try again if nobody knows when there will be room.
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub struct Throttle {
    open: Arc<DashMap<Around, usize>>,
    sockets: Arc<watch::Sender<usize>>,
    per_address: usize,
    handshakes: Ladder,
    /// New connections, of which nothing has been read. Over TLS they cost more than most requests.
    connections: Ladder,
    guests: Ladder,
    joins: Ladder,
    requests: Ladder,
    /// REST requests with a token.
    of_shopper: Budget<ShopperId>,
    /// Requests with an API key, by its id.
    of_key: Budget<ShopperId>,
}

/// One socket's share of its address's limit; given back when dropped.
pub struct Place {
    pub address: IpAddr,
    pub page: Page,
    open: Arc<DashMap<Around, usize>>,
    sockets: Arc<watch::Sender<usize>>,
}

/// What is known of the page that opened a socket.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Its origin, if it is another one than ours.
    pub other: Option<Arc<str>>,
    /// Whether the socket goes to where the admin page is.
    pub is_at_admin: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        close(&self.open, around(self.address));
        self.sockets.send_modify(|count| *count -= 1);
        metrics::gauge!(name::SOCKETS).decrement(1);
    }
}

fn close(open: &DashMap<Around, usize>, places: impl Iterator<Item = Around>) {
    for place in places {
        if let Some(mut count) = open.get_mut(&place) {
            *count -= 1;
        }
        open.remove_if(&place, |_, count| *count == 0);
    }
}

impl Throttle {
    pub fn new(limits: &Limits) -> Self {
        let handshakes = Rate::per_second(limits.address_handshakes_per_s, limits.address_handshake_burst);
        let all_handshakes = Rate::per_second(limits.handshakes_per_s, limits.handshakes_per_s);
        Self {
            open: Arc::default(),
            sockets: Arc::new(watch::Sender::new(0)),
            per_address: limits.sockets_per_address,
            connections: Ladder::new("connections", handshakes.times(CONNECTIONS_A_SOCKET), None),
            handshakes: Ladder::new("handshakes", handshakes, Some(all_handshakes)),
            guests: Ladder::new(
                "guests",
                Rate::per_minute(limits.guests_per_minute, limits.guest_burst),
                None,
            ),
            joins: Ladder::new(
                "joins",
                Rate::per_minute(limits.joins_per_minute, limits.join_burst),
                None,
            ),
            requests: Ladder::new(
                "requests",
                Rate::per_second(limits.requests_per_s, limits.request_burst),
                None,
            ),
            of_shopper: Budget::new(Rate::per_second(limits.commands_per_s, limits.command_burst)),
            of_key: Budget::new(Rate::per_second(limits.key_requests_per_s, limits.key_burst)),
        }
    }

    /// Takes a place for a new socket of an address.
    pub fn enter(&self, address: IpAddr, page: Page) -> Result<Place, Reject> {
        self.handshakes.take(address, 1)?;
        for (width, place) in around(address) {
            let share = match width {
                0 => 1,
                width => NETWORK_SHARES[usize::from(width) - 1],
            };
            let mut count = self.open.entry((width, place)).or_insert(0);
            if *count as u64 >= self.per_address as u64 * share {
                drop(count);
                close(
                    &self.open,
                    around(address).take_while(|(narrower, _)| *narrower < width),
                );
                self.handshakes.give_back(address, 1);
                return Err(wait_for(Code::TooManyFromAddress, RETRY_AFTER));
            }
            *count += 1;
        }
        self.sockets.send_modify(|count| *count += 1);
        metrics::gauge!(name::SOCKETS).increment(1);
        Ok(Place {
            address,
            page,
            open: self.open.clone(),
            sockets: self.sockets.clone(),
        })
    }

    /// Whether this address may begin another connection now.
    pub(super) fn allow_connection(&self, address: IpAddr) -> Result<(), Reject> {
        self.connections.take(address, 1).map(drop)
    }

    /// Number of open sockets.
    pub fn socket_count(&self) -> usize {
        *self.sockets.borrow()
    }

    /// Whether this caller may make another REST request now: a program with an API key, or a person.
    pub(crate) fn allow(&self, caller: &ShopperId, is_program: bool) -> Result<Left, Reject> {
        let taken = self.of_caller(is_program).take(caller, 1);
        taken.map_err(|wait| wait_for(Code::TooManyCommands, wait))
    }

    /// The rate of [`Self::allow`].
    pub(crate) fn caller_rate(&self, is_program: bool) -> Rate {
        self.of_caller(is_program).rate()
    }

    fn of_caller(&self, is_program: bool) -> &Budget<ShopperId> {
        match is_program {
            true => &self.of_key,
            false => &self.of_shopper,
        }
    }

    /// Whether this address may make another request of this cost now; asked before anything is known of who asks.
    pub(crate) fn allow_request(&self, address: IpAddr, cost: u64) -> Result<Left, Reject> {
        self.requests.take(address, cost)
    }

    /// The rate of [`Self::allow_request`] for one address.
    pub(crate) fn address_rate(&self) -> Rate {
        self.requests.rate()
    }

    /// Whether another guest session may be made from this address now.
    pub(crate) fn allow_guest(&self, address: IpAddr) -> Result<(), Reject> {
        self.guests.take(address, 1).map(drop)
    }

    /// The session was not made.
    pub(crate) fn give_guest_back(&self, address: IpAddr) {
        self.guests.give_back(address, 1);
    }

    /// Whether another place may be asked for from this address now.
    pub(crate) fn allow_join(&self, address: IpAddr) -> Result<(), Reject> {
        self.joins.take(address, 1).map(drop)
    }

    /// The place was not given.
    pub(crate) fn give_join_back(&self, address: IpAddr) {
        self.joins.give_back(address, 1);
    }

    /// Shares the limits that hold over processes: of what an address gets, not of what it costs one process.
    pub(crate) async fn share(&self, stock: &Stock) {
        self.guests.share(stock).await;
        self.joins.share(stock).await;
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
            self.of_shopper.forget_idle();
            self.of_key.forget_idle();
            for ladder in [
                &self.connections,
                &self.handshakes,
                &self.guests,
                &self.joins,
                &self.requests,
            ] {
                ladder.forget_idle();
            }
        }
    }
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

    fn throttle(flags: &[&str]) -> Throttle {
        let args = ["program"].iter().chain(flags);
        Throttle::new(&Program::parse_from(args).limits)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    fn code<T>(answer: Result<T, Reject>) -> Option<Code> {
        answer.err().map(|reject| {
            assert!(reject.retry_after_ms.is_some_and(|ms| ms > 0), "{reject:?}");
            reject.code
        })
    }

    #[test]
    fn a_shops_program_asks_more_often_than_a_shopper_and_not_without_end() {
        let throttle = throttle(&[
            "--command-burst",
            "5",
            "--key-burst",
            "50",
            "--key-requests-per-s",
            "1",
        ]);
        let id: ShopperId = "k1".parse().expect("an id");
        let taken = |allow: &dyn Fn() -> Result<(), Reject>| {
            let taken = (0..100).filter(|_| code(allow()).is_none());
            taken.count()
        };
        assert_eq!(taken(&|| throttle.allow(&id, true).map(drop)), 50);
        assert_eq!(taken(&|| throttle.allow(&id, false).map(drop)), 5);
    }

    #[test]
    fn one_address_cannot_close_the_door_for_others() {
        let flags = [
            "--handshakes-per-s",
            "100",
            "--address-handshakes-per-s",
            "1",
            "--address-handshake-burst",
            "10",
        ];
        let throttle = throttle(&flags);
        let flood: Vec<_> = (0..10_000)
            .filter_map(|_| throttle.enter(ip("192.0.2.1"), Page::default()).ok())
            .collect();
        assert!(flood.len() <= 11, "{}", flood.len());
        for i in 0..80 {
            assert_eq!(
                code(throttle.enter(ip(&format!("198.51.{i}.1")), Page::default())),
                None,
                "the {i}th neighbour"
            );
        }
    }

    #[test]
    fn a_network_has_a_few_times_what_one_address_has() {
        let throttle = throttle(&["--sockets-per-address", "2"]);
        let enter = |address: &str| throttle.enter(ip(address), Page::default());
        let open: Vec<Place> = (1..=100)
            .flat_map(|i| [enter(&format!("192.0.2.{i}")), enter(&format!("192.0.2.{i}"))])
            .filter_map(Result::ok)
            .collect();
        assert_eq!(open.len() as u64, 2 * NETWORK_SHARES[0]);
        assert_eq!(code(enter("192.0.2.250")), Some(Code::TooManyFromAddress));
        assert_eq!(code(enter("192.0.3.250")), None);
        drop(open);
        assert!(throttle.open.is_empty(), "all is given back");
        assert_eq!(code(enter("192.0.2.250")), None);
    }

    #[test]
    fn a_rented_ipv6_network_is_no_crowd() {
        let throttle = throttle(&["--guests-per-minute", "1", "--guest-burst", "10"]);
        let guests = (0..0x1_0000u32)
            .filter(|i| throttle.allow_guest(ip(&format!("2001:db8:1:{i:x}::"))).is_ok())
            .count();
        assert!(guests as u64 <= 11 * NETWORK_SHARES[1], "{guests}");
    }

    #[test]
    fn what_the_process_refuses_does_not_count_against_the_address() {
        let flags = [
            "--handshakes-per-s",
            "1",
            "--address-handshakes-per-s",
            "1",
            "--address-handshake-burst",
            "50",
        ];
        let throttle = throttle(&flags);
        let _first = throttle
            .enter(ip("192.0.2.1"), Page::default())
            .expect("the first");
        for _ in 0..1_000 {
            assert_eq!(
                code(throttle.enter(ip("192.0.2.2"), Page::default())),
                Some(Code::Busy)
            );
        }
        assert_eq!(throttle.open.len(), 2, "an address and its network");
    }

    #[test]
    fn a_campus_behind_one_address_gets_in() {
        let throttle = throttle(&[]);
        let campus: Vec<_> = (0..2_000)
            .map(|_| throttle.enter(ip("192.0.2.1"), Page::default()))
            .collect();
        assert!(campus.iter().all(Result::is_ok));
        let guests = (0..2_000)
            .filter(|_| throttle.allow_guest(ip("192.0.2.1")).is_ok())
            .count();
        assert!(guests >= 1_000, "{guests}");
        assert_eq!(
            code(throttle.allow_guest(ip("192.0.2.1"))),
            Some(Code::TooManyFromAddress)
        );
        for _ in 0..2_000 {
            throttle.allow_join(ip("192.0.2.1")).expect("a place for each");
        }
    }

    /// The table of docs/deploy.md: what somebody gets who asks again and again for a quarter of an hour.
    #[tokio::test(start_paused = true)]
    async fn so_many_places_can_be_had_in_a_quarter_of_an_hour() {
        const EVERY: Duration = Duration::from_secs(5);
        let v4 = |network: u32, host: u32| ip(&format!("198.{}.{}.{host}", network / 256, network % 256));
        let v6 = |subnet: u32| ip(&format!("2001:db8:1:{subnet:x}::1"));
        let four_networks = (0..1_000).map(|i| v4(i % 4, i / 4)).collect();
        let own_networks: Vec<IpAddr> = (0..20).map(|i| v4(i, 1)).collect();
        let v6_site = (0..1_000).map(v6).collect();
        for (addresses, most) in [
            (vec![v4(0, 1)], 5_500),
            (four_networks, 4 * 22_000),
            (own_networks, 20 * 5_500),
            (v6_site, 88_000),
        ] {
            let throttle = throttle(&[]);
            let mut places = 0;
            for _ in 0..=(15 * 60 / EVERY.as_secs()) {
                for address in &addresses {
                    while throttle.allow_guest(*address).is_ok() {
                        if throttle.allow_join(*address).is_err() {
                            throttle.give_guest_back(*address);
                            break;
                        }
                        places += 1;
                    }
                }
                tokio::time::advance(EVERY).await;
            }
            assert_eq!(places, most, "{} addresses", addresses.len());
        }
    }

    #[test]
    fn a_place_that_was_not_given_can_be_asked_for_again() {
        let throttle = throttle(&["--joins-per-minute", "1", "--join-burst", "1"]);
        for _ in 0..10 {
            throttle.allow_join(ip("192.0.2.1")).expect("it was given back");
            throttle.give_join_back(ip("192.0.2.1"));
        }
    }

    #[tokio::test]
    async fn those_who_have_not_asked_for_a_while_are_forgotten() {
        let throttle = Arc::new(throttle(&["--commands-per-s", "1000"]));
        let shopper: ShopperId = "once".parse().expect("an id");
        throttle.allow(&shopper, false).expect("the first request");
        assert_eq!(throttle.of_shopper.len(), 1);
        let stopping = CancellationToken::new();
        let kept = tokio::spawn(
            throttle
                .clone()
                .keep_small(Duration::from_millis(5), stopping.clone()),
        );
        let forgotten = async {
            while throttle.of_shopper.len() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), forgotten).await;
        in_time.expect("it is forgotten");
        stopping.cancel();
        kept.await.expect("it ends");
    }
}

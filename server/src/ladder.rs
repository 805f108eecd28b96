//! Limits from the narrow to the wide: of an address, of the networks around it, of this process. The narrow ones come first, so that one
//! address cannot use up what is there for all; and what a wider one refuses is given back to the narrower ones.

use crate::{
    budget::{Budget, Left, Rate},
    sharing::share,
};
use flashsale_engine::{stock::Stock, telemetry::name};
use flashsale_protocol::{Code, Reject};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// How many times as much as one address the networks around it may have: an IPv4 /24 or an IPv6 /56, and an IPv6 /48.
pub(crate) const NETWORK_SHARES: [u64; 2] = [4, 16];
/// An address, or one of the networks around it, by how wide it is.
pub(crate) type Around = (u8, IpAddr);

/// An address and the networks around it, from the narrow to the wide.
pub(crate) fn around(address: IpAddr) -> impl Iterator<Item = Around> {
    let networks = networks(address).into_iter().flatten();
    (0..).zip(std::iter::once(address).chain(networks))
}

/// One budget for each address and network, and one for the process, if there is one.
pub(crate) struct Ladder {
    what: &'static str,
    address: Budget<IpAddr>,
    networks: [Budget<IpAddr>; 2],
    process: Option<Budget<()>>,
}

impl Ladder {
    pub(crate) fn new(what: &'static str, rate: Rate, process: Option<Rate>) -> Self {
        Self {
            what,
            address: Budget::new(rate),
            networks: NETWORK_SHARES.map(|share| Budget::new(rate.times(share))),
            process: process.map(Budget::new),
        }
    }

    /// Of one address.
    pub(crate) fn rate(&self) -> Rate {
        self.address.rate()
    }

    fn rung(&self, width: u8) -> &Budget<IpAddr> {
        match width {
            0 => &self.address,
            width => &self.networks[usize::from(width) - 1],
        }
    }

    /// Returns the least that is left on any rung of the ladder.
    pub(crate) fn take(&self, address: IpAddr, cost: u64) -> Result<Left, Reject> {
        let mut least = Left::EVERYTHING;
        for (width, place) in around(address) {
            match self.rung(width).take(&place, cost) {
                Ok(left) => least = least.or_less(left),
                Err(wait) => {
                    self.give_back_below(address, width, cost);
                    let level = if width == 0 { "address" } else { "network" };
                    return Err(self.refused(level, Code::TooManyFromAddress, wait));
                }
            }
        }
        if let Some(process) = &self.process
            && let Err(wait) = process.take(&(), cost)
        {
            self.give_back_below(address, u8::MAX, cost);
            return Err(self.refused("process", Code::Busy, wait));
        }
        Ok(least)
    }

    pub(crate) fn give_back(&self, address: IpAddr, cost: u64) {
        self.give_back_below(address, u8::MAX, cost);
        if let Some(process) = &self.process {
            process.give_back(&(), cost);
        }
    }

    fn give_back_below(&self, address: IpAddr, width: u8, cost: u64) {
        for (narrower, place) in around(address).take_while(|(narrower, _)| *narrower < width) {
            self.rung(narrower).give_back(&place, cost);
        }
    }

    /// Tells other processes what was let through here, and hears of them. The process' own limit is its own.
    pub(crate) async fn share(&self, stock: &Stock) {
        for width in 0..=self.networks.len() as u8 {
            let name = format!("{}.{width}", self.what);
            share(stock, &name, self.rung(width), |address: &IpAddr| {
                address.to_string()
            })
            .await;
        }
    }

    fn refused(&self, level: &'static str, code: Code, wait: Duration) -> Reject {
        metrics::counter!(name::THROTTLED, "limit" => self.what, "level" => level).increment(1);
        wait_for(code, wait)
    }

    pub(crate) fn forget_idle(&self) {
        self.address.forget_idle();
        self.networks.iter().for_each(Budget::forget_idle);
    }
}

pub(crate) fn wait_for(code: Code, wait: Duration) -> Reject {
    Reject::new(code).after_ms(wait.as_nanos().div_ceil(1_000_000) as u64)
}

/// The networks around an address, from the narrow to the wide: what one customer of a provider may have. On this machine there is
/// nobody else.
pub(crate) fn networks(address: IpAddr) -> [Option<IpAddr>; 2] {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() => [None, None],
        IpAddr::V6(v6) if network(Ipv6Addr::LOCALHOST, 64) == v6 => [None, None],
        IpAddr::V4(v4) => [Some(Ipv4Addr::from_bits(v4.to_bits() & !0xff).into()), None],
        IpAddr::V6(v6) => [Some(network(v6, 56).into()), Some(network(v6, 48).into())],
    }
}

/// The narrowest network around an address; on this machine the address itself.
pub(crate) fn narrow_network(address: IpAddr) -> IpAddr {
    networks(address)[0].unwrap_or(address)
}

pub(crate) fn network(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits)))
}

//! Which addresses a provider may have: only those of the public internet. Whoever registers a shop chooses the address, and
//! must not reach by it what only this server can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that are not the public internet (IANA's registries of special-purpose addresses): first address, length of prefix.
const NOT_PUBLIC_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),        // this host
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // carriers' NAT; some clouds' own services
    ([127, 0, 0, 0], 8),      // loopback
    ([169, 254, 0, 0], 16),   // link-local; clouds' metadata
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments; a cloud's metadata
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 88, 99, 0], 24),   // 6to4 relays
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarks
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([168, 63, 129, 16], 32), // a cloud's host agent, at a public address
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved; broadcast
];
/// Everything public is in here.
const GLOBAL_V6: ([u16; 8], u32) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// Parts of it that are not: protocol assignments with Teredo, documentation twice, 6to4.
const NOT_PUBLIC_V6: [([u16; 8], u32); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];
/// NAT64: an IPv4 address in the last 32 bits.
const NAT64: ([u16; 8], u32) = ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4
            .iter()
            .any(|(network, length)| shares(address.to_bits() ^ Ipv4Addr::from(*network).to_bits(), *length)),
        IpAddr::V6(address) => {
            let within = |(network, length): &([u16; 8], u32)| {
                let differs = address.to_bits() ^ Ipv6Addr::from(*network).to_bits();
                differs.leading_zeros() >= *length
            };
            if within(&NAT64) {
                let [.., a, b, c, d] = address.octets();
                return is_public(Ipv4Addr::new(a, b, c, d).into());
            }
            // IPv4 in other forms (mapped, compatible), loopback, unique-local, link-local and multicast are outside.
            within(&GLOBAL_V6) && !NOT_PUBLIC_V6.iter().any(within)
        }
    }
}

/// Says whether addresses that differ in these bits have the same prefix.
fn shares(differs: u32, length: u32) -> bool {
    differs.leading_zeros() >= length
}

//! The holders of slots, from CLUSTER NODES, and the slot of a key. Pure.

pub(super) const SLOTS: usize = 16_384;

/// A line of CLUSTER NODES.
pub(super) struct Row {
    pub(super) id: String,
    flags: String,
    pub(super) master: String,
    pub(super) linked: bool,
    slots: Vec<(u16, u16)>,
}

impl Row {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let id = words.next()?.to_owned();
        let flags = words.nth(1)?.to_owned();
        let master = words.next()?.to_owned();
        let linked = words.nth(3)? == "connected" || flags.contains("myself");
        let slots = words.filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        Some(Self {
            id,
            flags,
            master,
            linked,
            slots: slots.collect(),
        })
    }

    pub(super) fn is_master(&self) -> bool {
        self.flags.split(',').any(|flag| flag == "master")
    }

    pub(super) fn is_failed(&self) -> bool {
        self.flags.contains("fail") || self.flags.contains("handshake") || self.flags.contains("noaddr")
    }

    pub(super) fn holds(&self, slot: u16) -> bool {
        self.slots
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// Computed as in Redis: CRC16 (XMODEM) of the text between the first braces.
pub fn slot_of(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty())
        .unwrap_or(key);
    let crc = tag.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    crc % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From the specification of Redis Cluster.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("stock:{foo}"), slot_of("foo"));
        assert_eq!(slot_of("foo"), 12_182);
    }
}

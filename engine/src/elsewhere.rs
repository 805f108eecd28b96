//! Where else a shopper has sockets: known for the few who have some at several gateways. What everybody does once (join a
//! line) is told to their other sockets without a word to any other gateway: with dozens of them each would hear of a million
//! joins, and have a socket for few.
//!
//! A gateway notes its own name with each shopper who says hello (`Stock::arrive`), before it reads what they have; whoever
//! stood there already is told, and from then on both tell each other.

use crate::stock::GatewayId;
use dashmap::DashMap;
use flashsale_protocol::ShopperId;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU32, Ordering};

pub type Gateways = SmallVec<[GatewayId; 1]>;

#[derive(Default)]
pub struct Elsewhere {
    /// Nobody who is nowhere else, as long as there is no doubt.
    places: DashMap<ShopperId, Places>,
    /// How often Redis may have lost what was noted there, or a message that said it was lost here.
    doubts: AtomicU32,
}

#[derive(Default)]
struct Places {
    gateways: Gateways,
    /// How many doubts there had been when these were all; None: these are not known to be all.
    all_as_of: Option<u32>,
}

impl Elsewhere {
    /// What is known by now may be wrong.
    pub fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// How many doubts there have been so far.
    pub(crate) fn doubts(&self) -> u32 {
        self.doubts.load(Ordering::Acquire)
    }

    /// Another gateway says that a shopper is there as well.
    pub fn add(&self, shopper: &ShopperId, gateway: GatewayId) {
        let all_as_of = (self.doubts.load(Ordering::Acquire) == 0).then_some(0);
        let mut places = self.places.entry(shopper.clone()).or_insert_with(|| Places {
            all_as_of,
            ..Places::default()
        });
        if !places.gateways.contains(&gateway) {
            places.gateways.push(gateway);
        }
    }

    /// Their last socket here has closed.
    pub fn forget(&self, shopper: &ShopperId) {
        self.places.remove(shopper);
    }

    /// Where they are as well, if that is known.
    pub fn known(&self, shopper: &ShopperId) -> Option<Gateways> {
        let doubts = self.doubts.load(Ordering::Acquire);
        match self.places.get(shopper) {
            Some(places) if places.all_as_of == Some(doubts) => Some(places.gateways.clone()),
            None if doubts == 0 => Some(Gateways::new()),
            _ => None,
        }
    }

    /// They have arrived here; `all_as_of`: as in [`Places`].
    pub fn note(&self, shopper: &ShopperId, gateways: Gateways, all_as_of: Option<u32>) {
        if gateways.is_empty() && all_as_of == Some(0) {
            return;
        }
        for gateway in gateways {
            self.add(shopper, gateway);
        }
        self.places.entry(shopper.clone()).or_default().all_as_of = all_as_of;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_doubt_only_what_was_asked_anew_is_known() {
        let elsewhere = Elsewhere::default();
        let [one, two, three]: [ShopperId; 3] = ["one", "two", "three"].map(|id| id.parse().expect("an id"));
        let gateways = |ids: &[i64]| ids.iter().copied().map(GatewayId).collect::<Gateways>();
        elsewhere.note(&one, gateways(&[7]), Some(0));
        assert_eq!(elsewhere.known(&one), Some(gateways(&[7])));
        assert_eq!(elsewhere.known(&two), Some(gateways(&[])), "nowhere else");
        elsewhere.note(&two, gateways(&[7]), None);
        assert_eq!(elsewhere.known(&two), None, "one of them could not be told");

        elsewhere.doubt();
        assert_eq!(
            [&one, &two, &three].map(|who| elsewhere.known(who)),
            [None, None, None]
        );
        elsewhere.add(&three, GatewayId(8));
        assert_eq!(elsewhere.known(&three), None, "there may be others");
        elsewhere.note(&two, gateways(&[]), Some(1));
        assert_eq!(elsewhere.known(&two), Some(gateways(&[7])), "asked anew");
    }
}

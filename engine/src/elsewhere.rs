//! Knows the other gateways of the few shoppers who have sockets at several. So a common act (joining a line) needs no message to
//! other gateways: with dozens of them, each would hear of a million joins and have a socket for few.
//!
//! A gateway notes its name with each shopper who says hello (`Stock::arrive`), before it reads what they have. It tells the
//! gateways noted there before; from then on each tells the others.

use crate::stock::GatewayId;
use dashmap::DashMap;
use flashsale_protocol::ShopperId;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU32, Ordering};

pub type Gateways = SmallVec<[GatewayId; 1]>;

#[derive(Default)]
pub struct Elsewhere {
    /// Until [`Self::doubt`], a shopper without an entry is connected only here.
    places: DashMap<ShopperId, Places>,
    /// Number of times that Redis may have lost notes of arrivals, or that this process may have missed a message.
    doubts: AtomicU32,
}

#[derive(Default)]
struct Places {
    gateways: Gateways,
    /// The number of doubts when this list was complete; None: it may be incomplete.
    all_as_of: Option<u32>,
}

impl Elsewhere {
    /// The knowledge of until now may be wrong.
    pub fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of doubts so far.
    pub(crate) fn doubts(&self) -> u32 {
        self.doubts.load(Ordering::Acquire)
    }

    /// Another gateway reports that a shopper is there as well.
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

    /// The shopper's last socket here has closed.
    pub fn forget(&self, shopper: &ShopperId) {
        self.places.remove(shopper);
    }

    /// The shopper's other gateways, if they are known.
    pub fn known(&self, shopper: &ShopperId) -> Option<Gateways> {
        let doubts = self.doubts.load(Ordering::Acquire);
        match self.places.get(shopper) {
            Some(places) if places.all_as_of == Some(doubts) => Some(places.gateways.clone()),
            None if doubts == 0 => Some(Gateways::new()),
            _ => None,
        }
    }

    /// Notes where a shopper who arrived here is as well; `all_as_of`: as in [`Places`].
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

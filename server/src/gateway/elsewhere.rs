//! Where else a shopper has sockets: known for the few who have some at several gateways. What everybody does once (join a
//! line) is told to their other sockets without a word to any other gateway: with dozens of them each would hear of a million
//! joins, and have a socket for few.
//!
//! A gateway notes its own name with each shopper who says hello (`Stock::arrive`), before it reads what they have; whoever
//! stood there already is told, and from then on both tell each other.

use super::hub::Hub;
use crate::{
    app::App,
    auth::Caller,
    live::{Live, News},
    sale::Sale,
    stock::GatewayId,
};
use dashmap::DashMap;
use flashsale_protocol::{ServerMessage, ShopperId};
use smallvec::SmallVec;

#[derive(Default)]
pub struct Elsewhere(DashMap<ShopperId, Places>);

#[derive(Debug, Clone, PartialEq)]
enum Places {
    At(SmallVec<[GatewayId; 1]>),
    /// Redis could not say.
    Unknown,
}

impl Elsewhere {
    pub fn add(&self, shopper: &ShopperId, gateway: GatewayId) {
        let mut places = self
            .0
            .entry(shopper.clone())
            .or_insert_with(|| Places::At(SmallVec::new()));
        if let Places::At(gateways) = &mut *places
            && !gateways.contains(&gateway)
        {
            gateways.push(gateway);
        }
    }

    /// Their last socket here has closed.
    pub fn forget(&self, shopper: &ShopperId) {
        self.0.remove(shopper);
    }
}

/// Notes that somebody is here, and tells those gateways where they are as well.
pub async fn arrive(app: &App, shopper: &ShopperId) {
    let hub = &app.hub;
    let others = match app.stock.arrive(shopper, hub.id).await {
        Ok(others) => others,
        Err(error) => {
            tracing::debug!(%shopper, %error, "where else a shopper is cannot be known");
            hub.elsewhere.0.insert(shopper.clone(), Places::Unknown);
            return;
        }
    };
    for other in others {
        match app.live.also_here(other, hub.id, shopper).await {
            Ok(true) => hub.elsewhere.add(shopper, other),
            // Nobody listens: that gateway is gone.
            Ok(false) => {
                if let Err(error) = app.stock.forget_arrival(shopper, other).await {
                    tracing::debug!(%shopper, %error, "a gateway that is gone stays noted");
                }
            }
            Err(error) => {
                tracing::debug!(%shopper, %error, "another gateway is not told");
                hub.elsewhere.0.insert(shopper.clone(), Places::Unknown);
            }
        }
    }
}

impl Hub {
    /// Tells a shopper's other sockets what one of theirs has done.
    pub fn tell_others(&self, live: &Live, sale: &Sale, caller: &Caller, message: ServerMessage) {
        let shopper = &caller.shopper;
        let places = self.elsewhere.0.get(shopper).map(|places| places.clone());
        // Without a socket here nothing is known; and what was noted in Redis may be lost, if a lane of it was.
        let is_known =
            caller.socket.is_some() && self.has_shopper(shopper.as_str()) && !sale.has_lost_a_lane();
        let gateways = match places {
            Some(Places::At(gateways)) if is_known => gateways,
            None if is_known => SmallVec::new(),
            _ => return live.tell_others(sale.id, caller, message),
        };
        for gateway in gateways {
            live.tell_at(gateway, caller, message.clone());
        }
        self.deliver_news(&News {
            shopper: shopper.as_str(),
            origin: caller.socket,
            frame: &message.to_json(),
        });
    }
}

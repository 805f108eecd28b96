//! Subscriptions to the sales whose ticks this process needs.

use flashsale_engine::{
    here::{Here, Interest},
    sale::Sale,
};
use flashsale_protocol::SaleId;
use tokio::sync::{mpsc, oneshot};

/// A sale to subscribe to, and the one who waits for it.
pub type Wanted = (SaleId, oneshot::Sender<()>);

/// Asks the hub for subscriptions.
#[derive(Clone)]
pub struct Subscriptions(mpsc::UnboundedSender<Wanted>);

impl Subscriptions {
    pub fn open() -> (Self, mpsc::UnboundedReceiver<Wanted>) {
        let (wanted, wanted_rx) = mpsc::unbounded_channel();
        (Self(wanted), wanted_rx)
    }

    /// Makes a sale's ticks come here. Returns when the subscription is active, so that no later tick is missed.
    pub async fn watch(&self, here: &Here, sale: &Sale) -> Interest {
        let (interest, is_first) = here.watch(sale);
        if is_first {
            let (done, subscribed) = oneshot::channel();
            if self.0.send((sale.id, done)).is_ok() {
                let _ = subscribed.await;
            }
        }
        interest
    }
}

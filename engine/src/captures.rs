//! Payments whose money this process will capture itself, because it has just confirmed their orders (`settle/capture.rs`).

use flashsale_protocol::{OrderId, PaymentId, SaleId};
use std::{sync::Mutex, time::Duration};
use tokio::sync::mpsc;

/// Captures that may wait in this process; beyond that workers do them.
const WAITING_MOST: usize = 10_000;
/// Time for the wait and for the commit, besides the provider's own.
const MARGIN: Duration = Duration::from_secs(2);

/// A payment whose money is to be captured.
#[derive(Debug, Clone, Copy)]
pub struct ToCapture {
    pub payment: PaymentId,
    pub order: OrderId,
    pub sale: SaleId,
    pub lane: u16,
}

/// The captures that wait in this process.
pub struct Captures {
    queue: mpsc::Sender<ToCapture>,
    waiting: Mutex<Option<mpsc::Receiver<ToCapture>>>,
}

impl Default for Captures {
    fn default() -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MOST);
        Self {
            queue,
            waiting: Mutex::new(Some(waiting)),
        }
    }
}

impl Captures {
    /// How long this process needs at most; None: workers do it, because nobody here does, or not now.
    pub(crate) fn within_ms(&self, timeout: Duration) -> Option<u64> {
        let is_taken = self.waiting.lock().is_ok_and(|waiting| waiting.is_none());
        let has_room = !self.queue.is_closed() && self.queue.capacity() > 0;
        (is_taken && has_room).then(|| (timeout + MARGIN).as_millis() as u64)
    }

    /// Without room, a worker does it later.
    pub(crate) fn add(&self, payment: ToCapture) {
        let _ = self.queue.try_send(payment);
    }

    /// For the one who captures them. None: somebody does already.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<ToCapture>> {
        self.waiting.lock().ok()?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(1_500);

    #[test]
    fn a_payment_waits_for_this_process_only_while_somebody_here_captures() {
        let captures = Captures::default();
        assert_eq!(captures.within_ms(TIMEOUT), None, "nobody captures here yet");
        let waiting = captures.take();
        assert!(captures.take().is_none(), "only one does");
        assert_eq!(captures.within_ms(TIMEOUT), Some(3_500));
        drop(waiting);
        assert_eq!(captures.within_ms(TIMEOUT), None, "it has stopped");
    }

    #[test]
    fn what_has_no_room_is_left_to_workers() {
        let captures = Captures::default();
        let mut waiting = captures.take().expect("the first");
        let payment = ToCapture {
            payment: PaymentId::from_parts(1, 1),
            order: OrderId::from_parts(1, 2),
            sale: SaleId::from_parts(1, 3),
            lane: 0,
        };
        (0..=WAITING_MOST).for_each(|_| captures.add(payment));
        assert_eq!(captures.within_ms(TIMEOUT), None);
        assert!(waiting.try_recv().is_ok());
        assert!(captures.within_ms(TIMEOUT).is_some());
    }
}

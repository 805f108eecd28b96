//! The hand-off, the provider `merchant`: the shop's own checkout takes the money. Nobody is asked; the shop's backend tells what it
//! does, and asks before it captures. From our yes on the money counts as taken, because the shop captures it then. So a payment
//! is either open, or confirmed together with its order, or over.

use super::{
    Standing,
    state::{OrderNow, Outcome, PaymentStatus, State, Step, Todo, refusal},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, CommandId};

/// The name in the query of a shop's checkout that has the token.
pub const HANDOFF: &str = "handoff";

/// What is told of a payment that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The shopper has come to the shop's checkout, with the token of this id.
    Redeemed {
        token: CommandId,
        /// The request's idempotency key.
        key: Option<CommandId>,
    },
    /// The shop is ready to capture this.
    Ready {
        amount: i64,
        currency: String,
        /// The shop's own name for it.
        reference: String,
    },
    /// No money comes; or the capture has failed.
    Failed { reason: String },
    /// The shopper needs time until then.
    Extended { until: DateTime<Utc> },
    /// The time to pay may be over: the server looks.
    Over,
}

impl State {
    /// The shop may capture, if the order can be paid now. The first answer stays.
    pub fn handoff_ready(&mut self, order: OrderNow, reference: &str) -> Step {
        if self.status != PaymentStatus::Created {
            return Step::None;
        }
        let reference = reference.to_owned();
        let step = self.learn(
            order,
            &Standing::Authorized {
                reference: reference.clone(),
            },
        );
        // Nothing is left to do with the shop: after a yes it captures, after a no it does not.
        match self.todo {
            Some(Todo::Capture) => self.learn(order, &Standing::Captured { reference }),
            _ => self.learn(order, &Standing::Voided),
        };
        step
    }

    /// The shop gets no money. After a confirmation this ends the order, unless money has gone back: then there was some.
    pub fn handoff_failed(&mut self, order: OrderNow, reason: &str) -> Result<Step, Code> {
        use PaymentStatus::*;
        match self.status {
            Created => {
                let reason = reason.to_owned();
                Ok(self.learn(order, &Standing::Declined { reason }))
            }
            Captured | Refunding if self.refunded == 0 => Ok(self.lost(Declined, reason, order)),
            Declined | Voided => Ok(Step::None),
            _ => Err(Code::AlreadyRefunded),
        }
    }

    /// Ends an open payment whose order nobody can pay any more.
    pub fn handoff_over(&mut self, order: OrderNow) {
        if self.status == PaymentStatus::Created
            && let Some(code) = refusal(order)
        {
            self.status = PaymentStatus::Voided;
            self.refuse(code, None);
        }
    }

    /// Whether the shop may capture. An answer of yes stays, but for a capture that has failed, for then there is no order, and for
    /// money that has gone back whole: who lost the answer and asks again must not take it once more.
    pub fn may_capture(&self, order: OrderNow) -> Result<(), Code> {
        match self.pays && self.status.taken() {
            true if self.amount > 0 && self.refunded >= self.amount => Err(Code::AlreadyRefunded),
            true => Ok(()),
            false => Err(self.handoff_closed(order).unwrap_or(Code::HandoffOver)),
        }
    }

    /// Whether this is another charge than the one that was confirmed: two tabs may both have got to the end of a checkout.
    pub fn is_other_charge(&self, reference: &str) -> bool {
        let known = self.reference.as_deref().unwrap_or_default();
        self.pays && ![known, reference].contains(&"") && known != reference
    }

    /// Why the shop's checkout cannot go on with it.
    pub fn handoff_closed(&self, order: OrderNow) -> Option<Code> {
        match (self.status, self.answer) {
            (PaymentStatus::Created, _) => refusal(order),
            _ if self.pays => Some(Code::OrderConfirmed),
            (_, Some(Outcome::Refused(code))) if code != Code::PaymentDeclined => Some(code),
            _ => Some(Code::HandoffOver),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashsale_protocol::OrderStatus;
    use proptest::prelude::*;

    fn order(status: OrderStatus) -> OrderNow {
        OrderNow {
            status,
            is_late: false,
            is_unpaid: false,
        }
    }

    const PENDING: OrderStatus = OrderStatus::Pending;

    #[test]
    fn a_yes_takes_the_money_at_once_and_is_the_answer_from_then_on() {
        let mut state = State::created(100);
        assert_eq!(state.handoff_ready(order(PENDING), "r"), Step::Confirm);
        assert_eq!((state.status, state.todo), (PaymentStatus::Captured, None));
        assert_eq!(state.reference.as_deref(), Some("r"));
        let before = state.clone();
        let cancelled = order(OrderStatus::Cancelled);
        assert_eq!(state.handoff_ready(cancelled, "s"), Step::None);
        assert_eq!((state.may_capture(cancelled), &state), (Ok(()), &before));
        assert!(state.is_other_charge("s") && !state.is_other_charge("r") && !state.is_other_charge(""));
        state.refunded = 99;
        assert_eq!(state.may_capture(cancelled), Ok(()), "a part is still the shop's");
        state.refunded = 100;
        assert_eq!(state.may_capture(cancelled), Err(Code::AlreadyRefunded));
        state = before;
        assert_eq!(state.handoff_closed(cancelled), Some(Code::OrderConfirmed));
    }

    #[test]
    fn a_no_is_for_good_and_takes_no_money() {
        let late = OrderNow {
            is_late: true,
            ..order(PENDING)
        };
        for (now, code) in [
            (order(OrderStatus::Cancelled), Code::OrderCancelled),
            (late, Code::PaymentTooLate),
        ] {
            let mut state = State::created(100);
            assert_eq!(state.handoff_ready(now, "r"), Step::None);
            assert_eq!((state.status, state.todo), (PaymentStatus::Voided, None));
            // Also if the order could be paid now.
            assert_eq!(state.handoff_ready(order(PENDING), "r"), Step::None);
            assert_eq!(state.may_capture(order(PENDING)), Err(code));
        }
    }

    #[test]
    fn a_capture_that_failed_ends_the_order_and_no_old_request_confirms_it_again() {
        let mut state = State::created(100);
        state.handoff_ready(order(PENDING), "r");
        let confirmed = order(OrderStatus::Confirmed);
        assert_eq!(state.handoff_failed(confirmed, "no money"), Ok(Step::Cancel));
        let cancelled = order(OrderStatus::Cancelled);
        assert_eq!(state.handoff_failed(cancelled, "no money"), Ok(Step::None));
        assert_eq!(state.handoff_ready(cancelled, "r"), Step::None);
        assert_eq!(state.may_capture(cancelled), Err(Code::HandoffOver));
    }

    #[test]
    fn money_that_went_back_was_there_so_its_capture_cannot_have_failed() {
        let mut state = State::created(100);
        state.handoff_ready(order(PENDING), "r");
        assert_eq!(state.ask_refund(None), Ok(100));
        let mut asked = state.clone();
        // Asked for, but not done: there is none to give back.
        let cancelled = order(OrderStatus::Cancelled);
        assert_eq!(asked.handoff_failed(cancelled, "no money"), Ok(Step::None));
        assert_eq!((asked.status, asked.refund_asked), (PaymentStatus::Declined, 0));
        state.refund_done(100);
        assert_eq!(
            state.handoff_failed(cancelled, "no money"),
            Err(Code::AlreadyRefunded)
        );
    }

    #[test]
    fn an_open_payment_is_over_when_its_order_is_and_not_before() {
        let mut state = State::created(100);
        state.handoff_over(order(PENDING));
        assert_eq!((state.status, state.answer), (PaymentStatus::Created, None));
        state.handoff_over(order(OrderStatus::Cancelled));
        assert_eq!(state.status, PaymentStatus::Voided);
        assert_eq!(state.answer, Some(Outcome::Refused(Code::OrderCancelled)));
        assert_eq!(state.todo, None);
        let mut failed = State::created(100);
        assert_eq!(failed.handoff_failed(order(PENDING), "no"), Ok(Step::None));
        assert_eq!(failed.answer, Some(Outcome::Refused(Code::PaymentDeclined)));
        assert_eq!(failed.may_capture(order(PENDING)), Err(Code::HandoffOver));
    }

    /// What can happen to one order with one payment.
    #[derive(Debug, Clone, Copy)]
    enum Happens {
        Ready,
        Failed,
        Over,
        Late,
        Cancelled,
        Refund,
        RefundDone,
    }

    fn happens() -> impl Strategy<Value = Happens> {
        use Happens::*;
        proptest::sample::select(vec![Ready, Failed, Over, Late, Cancelled, Refund, RefundDone])
    }

    proptest! {
        /// The shop captures on a yes, unless it says that this fails. Then its money is that of one confirmed order, or goes back.
        #[test]
        fn whatever_happens_captured_money_has_its_order_or_goes_back(
            all in proptest::collection::vec(happens(), 1..12)
        ) {
            let mut state = State::created(100);
            let (mut now, mut captured) = (order(PENDING), false);
            for one in all {
                let step = match one {
                    Happens::Ready => {
                        let step = state.handoff_ready(now, "r");
                        captured |= state.may_capture(now).is_ok();
                        step
                    }
                    Happens::Failed => match state.handoff_failed(now, "no") {
                        Ok(step) => {
                            captured = false;
                            step
                        }
                        Err(_) => Step::None,
                    },
                    Happens::Over => {
                        state.handoff_over(now);
                        Step::None
                    }
                    Happens::Late => {
                        now.is_late = true;
                        Step::None
                    }
                    Happens::Cancelled => {
                        if now.status == PENDING {
                            now.status = OrderStatus::Cancelled;
                        }
                        Step::None
                    }
                    Happens::Refund => {
                        if state.pays && state.ask_refund(None).is_ok() {
                            now.status = OrderStatus::Cancelled;
                        }
                        Step::None
                    }
                    Happens::RefundDone => {
                        let left = state.refund_asked - state.refunded;
                        if state.status == PaymentStatus::Refunding && captured {
                            state.refund_done(left);
                        }
                        Step::None
                    }
                };
                match step {
                    Step::Confirm => {
                        prop_assert!(now.status == PENDING && !now.is_late);
                        now.status = OrderStatus::Confirmed;
                    }
                    Step::Cancel => now.status = OrderStatus::Cancelled,
                    Step::None => {}
                }
                let kept = if captured { 100 - state.refund_asked } else { 0 };
                let due = if now.status == OrderStatus::Confirmed { 100 } else { 0 };
                prop_assert!(kept == due, "{one:?} {state:?} {now:?} {captured}");
            }
        }
    }
}

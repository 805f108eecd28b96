//! What the provider's news does to a payment and its order. Pure: rows in, changed rows and steps out.
//!
//! created → authorized → captured → refunding → refunded (captured again while part of the money stays); created → declined |
//! voided; authorized → declined | voided. In whatever order news comes, captured money belongs to one confirmed order or is on
//! its way back (I6).

use super::Standing;
use flashsale_protocol::{Code, OrderStatus};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// The provider is asked, or soon will be.
    Created,
    Authorized,
    Captured,
    Declined,
    Voided,
    /// Money is on its way back.
    Refunding,
    /// All of it is back.
    Refunded,
}

impl PaymentStatus {
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Authorized,
        Self::Captured,
        Self::Declined,
        Self::Voided,
        Self::Refunding,
        Self::Refunded,
    ];

    /// The word in Postgres and on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Voided => "voided",
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
        }
    }

    /// The money is, or was, ours.
    pub const fn taken(self) -> bool {
        matches!(self, Self::Captured | Self::Refunding | Self::Refunded)
    }
}

/// The next step of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Ask the provider for its state.
    Ask,
    Capture,
    Void,
    /// Money came for an order whose time was up: find units for the order again, or send the money back.
    Revive,
}

impl Todo {
    pub const ALL: [Self; 4] = [Self::Ask, Self::Capture, Self::Void, Self::Revive];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Revive => "revive",
        }
    }
}

/// The answer to the pay command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Confirmed,
    Refused(Code),
}

/// The part of a payment that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub status: PaymentStatus,
    /// This payment has confirmed its order.
    pub pays: bool,
    /// None: not known yet.
    pub answer: Option<Outcome>,
    pub reason: Option<String>,
    pub reference: Option<String>,
    pub todo: Option<Todo>,
    pub amount: i64,
    pub refund_asked: i64,
    pub refunded: i64,
}

/// The part of the order that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderNow {
    pub status: OrderStatus,
    /// Its time to pay is over, but it is not cancelled yet.
    pub is_late: bool,
    /// It was cancelled because its time ran out, by nobody's wish.
    pub is_unpaid: bool,
}

/// The change to make to the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    None,
    Confirm,
    /// Its money cannot be had, so its units are for sale again.
    Cancel,
}

impl State {
    pub fn created(amount: i64) -> Self {
        Self {
            status: PaymentStatus::Created,
            pays: false,
            answer: None,
            reason: None,
            reference: None,
            todo: Some(Todo::Ask),
            amount,
            refund_asked: 0,
            refunded: 0,
        }
    }

    /// Takes in the payment's state at the provider. Known or outdated news changes nothing. Money without an order is asked
    /// back: `refund_asked` is then the whole amount.
    pub fn learn(&mut self, order: OrderNow, standing: &Standing) -> Step {
        use PaymentStatus::*;
        match (standing, self.status) {
            // The provider does not have it, but it may be on its way. Giving up is written down before it is voided, so that a
            // confirmed order cannot lose its money to that.
            (Standing::Unknown, Created) => self.set_todo(Todo::Void),
            (Standing::Authorized { reference }, Created) if self.todo == Some(Todo::Void) => {
                (self.status, self.reference) = (Authorized, Some(reference.clone()));
                self.refuse(Code::PaymentDeclined, Some(Todo::Void))
            }
            (Standing::Authorized { reference }, Created) => {
                (self.status, self.reference) = (Authorized, Some(reference.clone()));
                match refusal(order) {
                    None => self.confirm(Some(Todo::Capture)),
                    Some(code) => self.refuse(code, Some(Todo::Void)),
                }
            }
            // The provider has set money apart for a payment that we gave up.
            (Standing::Authorized { .. }, Declined | Voided) => self.set_todo(Todo::Void),
            (Standing::Captured { .. }, Authorized) if self.pays => {
                self.todo = None;
                self.taken()
            }
            (Standing::Captured { reference }, Created | Authorized | Declined | Voided) => {
                self.reference = Some(reference.clone());
                match order {
                    // Even if its time is up: its units are still there.
                    OrderNow {
                        status: OrderStatus::Pending,
                        ..
                    } => {
                        let step = self.confirm(None);
                        self.taken();
                        step
                    }
                    OrderNow { is_unpaid: true, .. } => {
                        self.todo = Some(Todo::Revive);
                        self.taken()
                    }
                    _ => self.send_back(refusal(order).unwrap_or(Code::OrderCancelled)),
                }
            }
            (Standing::Declined { reason }, Created) => {
                (self.status, self.reason) = (Declined, Some(reason.clone()));
                self.refuse(Code::PaymentDeclined, None)
            }
            (Standing::Declined { reason }, Authorized) => self.lost(Declined, reason, order),
            (Standing::Voided, Created) => {
                (self.status, self.reason) = (Voided, Some("it did not reach the provider".into()));
                self.refuse(Code::PaymentDeclined, None)
            }
            (Standing::Voided, Authorized) => self.lost(Voided, "voided", order),
            (Standing::Voided | Standing::Declined { .. }, _) if self.todo == Some(Todo::Void) => {
                self.todo = None;
                Step::None
            }
            _ => Step::None,
        }
    }

    /// Late money found its order's units again.
    pub fn revived(&mut self) -> Step {
        self.confirm(None)
    }

    /// Late money found no unit.
    pub(crate) fn not_revived(&mut self) -> Step {
        self.send_back(Code::PaymentTooLate)
    }

    /// The amount that a refund of `wanted` gives back (None: the whole rest).
    pub fn ask_refund(&mut self, wanted: Option<i64>) -> Result<i64, Code> {
        let left = self.amount - self.refund_asked;
        let amount = match wanted {
            _ if left == 0 => return Err(Code::AlreadyRefunded),
            None => left,
            Some(amount) if amount > left => return Err(Code::RefundTooMuch),
            Some(amount) => amount,
        };
        self.refund_asked += amount;
        if self.status == PaymentStatus::Captured {
            self.status = PaymentStatus::Refunding;
        }
        Ok(amount)
    }

    /// A requested refund has arrived.
    pub fn refund_done(&mut self, amount: i64) {
        self.refunded += amount;
        self.taken();
    }

    /// Money went back that nobody requested here. Returns how much of the refunds on their way has no money left.
    pub(crate) fn refunded_elsewhere(&mut self, amount: i64) -> i64 {
        self.refunded += amount;
        let asked = self.refund_asked + amount;
        self.refund_asked = asked.min(self.amount);
        if self.todo == Some(Todo::Revive) && self.refunded == self.amount {
            self.refuse(Code::PaymentTooLate, None);
        }
        self.taken();
        asked - self.refund_asked
    }

    fn confirm(&mut self, todo: Option<Todo>) -> Step {
        (self.pays, self.todo) = (true, todo);
        self.answer.get_or_insert(Outcome::Confirmed);
        Step::Confirm
    }

    pub(super) fn refuse(&mut self, code: Code, todo: Option<Todo>) -> Step {
        self.todo = todo;
        self.answer.get_or_insert(Outcome::Refused(code));
        Step::None
    }

    fn set_todo(&mut self, todo: Todo) -> Step {
        self.todo = Some(todo);
        Step::None
    }

    /// Sets the status of captured money, by how much of it is back.
    fn taken(&mut self) -> Step {
        self.status = if self.refund_asked > 0 && self.refunded == self.amount {
            PaymentStatus::Refunded
        } else if self.refund_asked > self.refunded {
            PaymentStatus::Refunding
        } else {
            PaymentStatus::Captured
        };
        Step::None
    }

    fn send_back(&mut self, code: Code) -> Step {
        self.refund_asked = self.amount;
        self.refuse(code, None);
        self.taken();
        if self.amount == 0 {
            self.status = PaymentStatus::Refunded;
        }
        Step::None
    }

    /// An authorization failed; there is nothing to send back of it.
    pub(super) fn lost(&mut self, status: PaymentStatus, reason: &str, order: OrderNow) -> Step {
        let paid = std::mem::take(&mut self.pays);
        (self.status, self.todo, self.refund_asked) = (status, None, 0);
        self.reason.get_or_insert_with(|| reason.to_owned());
        if paid && order.status == OrderStatus::Confirmed {
            Step::Cancel
        } else {
            Step::None
        }
    }
}

/// The reason why an order cannot take a payment now.
pub(super) fn refusal(order: OrderNow) -> Option<Code> {
    match order.status {
        OrderStatus::Cancelled => Some(Code::OrderCancelled),
        OrderStatus::Confirmed => Some(Code::OrderConfirmed),
        OrderStatus::Pending => order.is_late.then_some(Code::PaymentTooLate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn authorized() -> Standing {
        Standing::Authorized {
            reference: "r".into(),
        }
    }

    fn captured() -> Standing {
        Standing::Captured {
            reference: "r".into(),
        }
    }

    fn declined() -> Standing {
        Standing::Declined { reason: "no".into() }
    }

    fn order(status: OrderStatus) -> OrderNow {
        OrderNow {
            status,
            is_late: false,
            is_unpaid: false,
        }
    }

    #[test]
    fn an_authorization_confirms_a_pending_order_and_is_captured_after_that() {
        let mut payment = State::created(100);
        assert_eq!(
            payment.learn(order(OrderStatus::Pending), &authorized()),
            Step::Confirm
        );
        assert_eq!((payment.pays, payment.todo), (true, Some(Todo::Capture)));
        assert_eq!(
            payment.learn(order(OrderStatus::Confirmed), &captured()),
            Step::None
        );
        assert_eq!((payment.status, payment.todo), (PaymentStatus::Captured, None));
    }

    #[test]
    fn an_authorization_that_comes_after_it_was_given_up_confirms_nothing() {
        let mut payment = State::created(100);
        let pending = order(OrderStatus::Pending);
        assert_eq!(payment.learn(pending, &Standing::Unknown), Step::None);
        assert_eq!((payment.answer, payment.todo), (None, Some(Todo::Void)));
        assert_eq!(payment.learn(pending, &authorized()), Step::None);
        let given_up = Some(Outcome::Refused(Code::PaymentDeclined));
        assert_eq!((payment.answer, payment.todo), (given_up, Some(Todo::Void)));
        assert_eq!(payment.learn(pending, &Standing::Voided), Step::None);
        assert_eq!((payment.status, payment.todo), (PaymentStatus::Voided, None));
    }

    #[test]
    fn an_authorization_that_is_known_is_not_given_up_by_an_older_look() {
        let mut payment = State::created(100);
        payment.learn(order(OrderStatus::Pending), &authorized());
        payment.learn(order(OrderStatus::Confirmed), &Standing::Unknown);
        assert_eq!((payment.pays, payment.todo), (true, Some(Todo::Capture)));
    }

    #[test]
    fn an_authorization_without_a_pending_order_is_given_up() {
        let late = OrderNow {
            is_late: true,
            ..order(OrderStatus::Pending)
        };
        for (order, code) in [
            (late, Code::PaymentTooLate),
            (order(OrderStatus::Cancelled), Code::OrderCancelled),
            (order(OrderStatus::Confirmed), Code::OrderConfirmed),
        ] {
            let mut payment = State::created(100);
            assert_eq!(payment.learn(order, &authorized()), Step::None);
            assert_eq!(payment.answer, Some(Outcome::Refused(code)));
            assert_eq!(payment.todo, Some(Todo::Void));
        }
    }

    #[test]
    fn a_capture_that_fails_cancels_the_order_and_drops_what_was_to_go_back() {
        let mut payment = State::created(100);
        payment.learn(order(OrderStatus::Pending), &authorized());
        payment.ask_refund(Some(30)).expect("a part");
        assert_eq!(
            payment.learn(order(OrderStatus::Confirmed), &declined()),
            Step::Cancel
        );
        assert_eq!(
            (payment.pays, payment.refund_asked, payment.todo),
            (false, 0, None)
        );
        assert_eq!(
            payment.answer,
            Some(Outcome::Confirmed),
            "that was the answer, and stays it"
        );
    }

    #[test]
    fn late_money_goes_back_unless_its_order_only_ran_out_of_time() {
        let mut payment = State::created(100);
        payment.learn(order(OrderStatus::Cancelled), &captured());
        assert_eq!(
            (payment.status, payment.refund_asked),
            (PaymentStatus::Refunding, 100)
        );
        let unpaid = OrderNow {
            is_unpaid: true,
            ..order(OrderStatus::Cancelled)
        };
        let mut payment = State::created(100);
        payment.learn(unpaid, &captured());
        assert_eq!(
            (payment.status, payment.todo),
            (PaymentStatus::Captured, Some(Todo::Revive))
        );
        assert_eq!(payment.answer, None, "not known before a unit is found or not");
    }

    fn standings() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Processing),
            Just(Standing::Unknown),
            Just(Standing::Voided),
            Just(authorized()),
            Just(captured()),
            Just(declined()),
        ]
    }

    /// Other events of an order.
    #[derive(Debug, Clone)]
    enum Happens {
        News(usize, Standing),
        ByShopper,
        TimeIsUp,
        Cancelled,
        Refund(usize, Option<i64>),
        RefundArrives(usize),
        Revives(usize, bool),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            6 => (0..2_usize, standings()).prop_map(|(at, standing)| Happens::News(at, standing)),
            1 => Just(Happens::ByShopper),
            1 => Just(Happens::TimeIsUp),
            1 => Just(Happens::Cancelled),
            1 => (0..2_usize, proptest::option::of(1..120_i64)).prop_map(|(at, wanted)| Happens::Refund(at, wanted)),
            2 => (0..2_usize).prop_map(Happens::RefundArrives),
            2 => (0..2_usize, any::<bool>()).prop_map(|(at, found)| Happens::Revives(at, found)),
        ]
    }

    proptest! {
        /// I6 at every step: captured money has its confirmed order, or is fully on its way back, or waits for a unit.
        #[test]
        fn whatever_the_order_of_news_no_money_is_kept_without_a_unit(steps in proptest::collection::vec(happens(), 0..40)) {
            let mut payments = [State::created(100), State::created(100)];
            let mut now = order(OrderStatus::Pending);
            for step in steps {
                match step {
                    Happens::News(at, standing) => match payments[at].learn(now, &standing) {
                        Step::Confirm => now = order(OrderStatus::Confirmed),
                        Step::Cancel => now = order(OrderStatus::Cancelled),
                        Step::None => {}
                    },
                    Happens::ByShopper if now.status == OrderStatus::Pending => now = order(OrderStatus::Cancelled),
                    Happens::TimeIsUp if now.status == OrderStatus::Pending => now.is_late = true,
                    Happens::Cancelled if now.is_late => {
                        now = OrderNow { is_unpaid: true, ..order(OrderStatus::Cancelled) };
                    }
                    Happens::Refund(at, wanted) if payments[at].pays => {
                        let _ = payments[at].ask_refund(wanted);
                        if payments[at].refund_asked == 100 && now.status == OrderStatus::Confirmed {
                            now = order(OrderStatus::Cancelled);
                        }
                    }
                    Happens::RefundArrives(at) if payments[at].status.taken() => {
                        let due = payments[at].refund_asked - payments[at].refunded;
                        payments[at].refund_done(due);
                    }
                    Happens::Revives(at, found) if payments[at].todo == Some(Todo::Revive) => {
                        if found && now.is_unpaid {
                            payments[at].revived();
                            now = order(OrderStatus::Confirmed);
                        } else {
                            payments[at].not_revived();
                        }
                    }
                    _ => {}
                }
                let mut paying = 0;
                for payment in &payments {
                    prop_assert!(0 <= payment.refunded && payment.refunded <= payment.refund_asked && payment.refund_asked <= payment.amount);
                    let holds_unit = payment.pays && now.status == OrderStatus::Confirmed;
                    paying += usize::from(holds_unit);
                    if payment.status.taken() {
                        prop_assert!(
                            holds_unit || payment.refund_asked == payment.amount || payment.todo == Some(Todo::Revive),
                            "{payment:?} {now:?}"
                        );
                    }
                }
                prop_assert_eq!(paying, usize::from(now.status == OrderStatus::Confirmed));
            }
        }

        #[test]
        fn refunds_of_any_sizes_add_up_to_what_was_paid_and_not_one_unit_more(
            amount in 1..1_000_000_000_000_i64,
            wanted in proptest::collection::vec(1..1_000_000_000_000_i64, 0..20),
        ) {
            let mut payment = State::created(amount);
            payment.learn(order(OrderStatus::Pending), &captured());
            let mut given: i64 = wanted.into_iter().filter_map(|part| payment.ask_refund(Some(part)).ok()).sum();
            prop_assert!(given <= amount);
            if let Ok(rest) = payment.ask_refund(None) {
                given += rest;
            }
            prop_assert_eq!(given, amount);
            prop_assert_eq!(payment.ask_refund(None), Err(Code::AlreadyRefunded));
            prop_assert_eq!(payment.ask_refund(Some(1)), Err(Code::AlreadyRefunded));
        }
    }
}

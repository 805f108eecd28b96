//! A checkout in Redis: a hold becomes an order, and ends as Postgres decides. A cancelled order gives its units back, and may
//! get units again.

use super::{
    Stock,
    answer::At,
    record::RecordState,
    scripts::{BEGIN_CHECKOUT, FINISH_CHECKOUT, RETURN_UNITS, REVIVE},
};
use crate::{
    batcher::of_shopper,
    error::Result,
    limits::CHECKOUT_LEASE,
    sale::{LaneOrder, LaneRef},
};
use flashsale_protocol::{DeviceId, OrderId, ShopperId};

#[derive(Debug, Clone, PartialEq)]
pub enum CheckoutBegun {
    /// The units now belong to the order; repeatable with the same order. `hold` is the command that made the hold.
    Ok {
        quantity: u32,
        device: DeviceId,
        hold: String,
    },
    /// This same order is finished already.
    Ordered {
        quantity: u32,
        device: DeviceId,
        hold: String,
    },
    /// Another order of this shopper is running.
    CheckoutRunning,
    /// Postgres is behind Redis.
    Stopped,
    Is(RecordState),
    None,
}

/// How a checkout ends in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// Postgres has the order, made from this command's hold. A checkout of any other hold is undone.
    Committed { hold: String },
    /// Postgres has no units for it, so they are free again.
    Refused,
    /// The command was no checkout, so the hold is as it was before.
    Undone,
}

/// Units of a cancelled order whose money came late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revive {
    Take,
    /// Gives back units that were taken in vain.
    Give,
}

impl Stock {
    pub async fn begin_checkout(
        &self,
        at: LaneRef,
        shopper: ShopperId,
        order: OrderId,
    ) -> Result<At<CheckoutBegun>> {
        self.begin
            .submit(&at, (shopper, order), || {
                self.lane_batcher(
                    &BEGIN_CHECKOUT,
                    at,
                    || vec![CHECKOUT_LEASE.as_millis().to_string()],
                    |(shopper, _)| of_shopper(shopper),
                    |(shopper, order): &(ShopperId, OrderId), args| {
                        args.extend([shopper.to_string(), order.to_string()]);
                    },
                    |answer| {
                        Ok(match answer.word() {
                            "ordered" if answer.len() > 1 => CheckoutBegun::Ordered {
                                quantity: answer.number(1)?,
                                device: answer.parse(6)?,
                                hold: answer.parse(5)?,
                            },
                            _ if answer.len() > 1 => CheckoutBegun::Ok {
                                quantity: answer.number(1)?,
                                device: answer.parse(6)?,
                                hold: answer.parse(5)?,
                            },
                            "checkout_running" => CheckoutBegun::CheckoutRunning,
                            "stopped" => CheckoutBegun::Stopped,
                            "none" => CheckoutBegun::None,
                            state => CheckoutBegun::Is(state.parse()?),
                        })
                    },
                )
            })
            .await
    }

    /// False: the shopper's record is about something newer by now.
    pub async fn finish_checkout(
        &self,
        at: LaneRef,
        shopper: ShopperId,
        order: OrderId,
        outcome: Finish,
    ) -> Result<bool> {
        let answer = self
            .finish
            .submit(&at, (shopper, order, outcome), || {
                self.lane_batcher(
                    &FINISH_CHECKOUT,
                    at,
                    self.how_far(at),
                    |(shopper, ..)| of_shopper(shopper),
                    |(shopper, order, outcome): &(ShopperId, OrderId, Finish), args| {
                        let (outcome, hold) = match outcome {
                            Finish::Committed { hold } => ("committed", hold.as_str()),
                            Finish::Refused => ("refused", "-"),
                            Finish::Undone => ("undone", "-"),
                        };
                        args.extend([
                            shopper.to_string(),
                            order.to_string(),
                            outcome.to_owned(),
                            hold.to_owned(),
                        ]);
                    },
                    |answer| Ok(answer.word() == "ok"),
                )
            })
            .await?;
        Ok(answer.value)
    }

    /// Returns the units of a cancelled order. It happens exactly once, however often this is repeated.
    pub async fn return_units(&self, at: LaneRef, order: LaneOrder) -> Result<()> {
        self.return_units
            .submit(&at, order, || {
                self.lane_batcher(
                    &RETURN_UNITS,
                    at,
                    self.how_far(at),
                    |order| of_shopper(&order.shopper),
                    |order: &LaneOrder, args| {
                        args.extend([
                            order.shopper.to_string(),
                            order.order.to_string(),
                            order.quantity.to_string(),
                            order.device.to_string(),
                            order.hold_command.clone(),
                        ]);
                    },
                    |_| Ok(()),
                )
            })
            .await?;
        Ok(())
    }

    /// Takes units again for a cancelled order, or gives them back. False: none are free. May be repeated.
    pub async fn revive(
        &self,
        at: LaneRef,
        verb: Revive,
        (shopper, order, quantity, device): &(ShopperId, OrderId, u32, DeviceId),
    ) -> Result<bool> {
        let args = vec![
            at.epoch.to_string(),
            if verb == Revive::Take { "take" } else { "give" }.to_owned(),
            shopper.to_string(),
            order.to_string(),
            quantity.to_string(),
            device.to_string(),
        ];
        let answers = self.runner.on_lane(&REVIVE, at, args).await?;
        Ok(answers.get(1).is_some_and(|word| word == "ok"))
    }

    /// Tells a script that follows a commit how far the audit log has come, once a call.
    fn how_far(&self, at: LaneRef) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let chains = self.chains.clone();
        move || vec![chains.told(at)]
    }
}

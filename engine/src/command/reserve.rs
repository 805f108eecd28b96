//! `reserve`: puts units into the cart, from one's turn in line or, while nobody waits, freely.

use super::Answer;
use crate::{
    caller::Caller,
    error::Error,
    load::Step,
    sale::{HeldStake, Stake},
    shop::Shop,
    stock::{How, RecordState, Reserve, Reserved, shown::Showing},
};
use flashsale_protocol::{
    Allocation, Code, CommandId, Done, Hold, Outlook, Phase, Quantity, Reject, SaleId, ServerMessage,
};

pub async fn run(
    shop: &Shop,
    caller: &Caller,
    command: CommandId,
    sale: SaleId,
    quantity: Quantity,
    partial: bool,
) -> Answer {
    let sale = shop.sale(sale).await?;
    let item = Reserve {
        shopper: caller.shopper.clone(),
        quantity: quantity.get(),
        how: if partial { How::Partial } else { How::All },
        command,
        device: caller.device()?.clone(),
    };
    let asked = shop.stock.reserve(sale.lane_of(&caller.shopper), item);
    let answer = shop.load.of(Step::Reserve, asked).await?;
    let now = answer.now;
    let reject = match answer.value {
        Reserved::Ok {
            quantity,
            until,
            state,
        } => {
            let is_over = !matches!(state, RecordState::Held | RecordState::Ordering);
            let hold = Hold {
                sale: sale.id,
                state: super::hold_state(state).ok_or_else(|| Reject::from(Error::unexpected("no hold")))?,
                quantity,
                expires_at: until,
                extended: false,
                order: None,
                reason: None,
                at: if is_over {
                    super::made_at(command, now)
                } else {
                    now
                },
            };
            if state == RecordState::Held {
                shop.here.stake(&caller.shopper, sale.id, |stake| {
                    *stake = Stake {
                        place: None,
                        hold: Some(Box::new(HeldStake {
                            command,
                            quantity,
                            until,
                        })),
                    };
                });
                shop.live
                    .tell_others(sale.id, caller, ServerMessage::Hold(hold.clone()));
            }
            return Ok(Done::Hold(hold));
        }
        Reserved::CommandReused => Code::CommandIdReused.into(),
        Reserved::Superseded => Code::CommandSuperseded.into(),
        Reserved::TooManyChanges => Code::TooManyChanges.into(),
        Reserved::AlreadyHeld { quantity } => Reject::because(
            Code::AlreadyHeld,
            format!("You hold {quantity} already: check out, or release them to take another quantity."),
        ),
        Reserved::CheckoutRunning => Code::CheckoutRunning.into(),
        Reserved::Stopped => super::stopped(),
        Reserved::Paused if sale.is_suspended => Code::MerchantSuspended.into(),
        Reserved::Paused => Code::SalePaused.into(),
        Reserved::NotOpen { opens_at } => {
            Reject::new(Code::SaleNotOpen).after_ms(opens_at.saturating_sub(now))
        }
        Reserved::Ended => Code::SaleEnded.into(),
        // The remaining units go to those who were drawn; nobody can join them any more.
        Reserved::JoinFirst if sale.status == Phase::Drawing => Code::EntriesClosed.into(),
        Reserved::JoinFirst if sale.allocation == Allocation::Draw => Reject::because(
            Code::JoinFirst,
            "The units of this sale are drawn: join, and wait for the draw.",
        ),
        Reserved::JoinFirst => Code::JoinFirst.into(),
        Reserved::Limit { left } => {
            let limit = sale.per_shopper_limit;
            Reject::because(
                Code::LimitReached,
                format!("The limit is {limit} per person; {left} are left for you."),
            )
        }
        Reserved::DeviceLimit { .. } => Code::DeviceLimitReached.into(),
        Reserved::Short { available, .. } if available > 0 => {
            Reject::because(Code::NotEnough, format!("Only {available} are free now."))
        }
        Reserved::Short { in_carts, .. } => {
            if in_carts > 0 || !is_all_paid(shop, sale.id).await? {
                Code::NoneFree.into()
            } else {
                Code::SoldOut.into()
            }
        }
    };
    Err(reject)
}

/// Whether no unit can come back: units in unpaid orders may, and the lanes in Redis do not know of them. Answered from the shared
/// tick, or else from the look that one process takes for all: a crowd that finds nothing must not ask the stores one by one.
async fn is_all_paid(shop: &Shop, sale: SaleId) -> Result<bool, Reject> {
    if let Some(tick) = shop.here.last_tick(sale) {
        return Ok(tick.outlook() == Outlook::SoldOut);
    }
    let view = shop.showcase.view(Showing::Sale(sale)).await?;
    let mut lanes = view.look.sales.iter().flat_map(|shown| &shown.sale.lanes);
    Ok(lanes.all(|lane| lane.confirmed >= lane.supply))
}

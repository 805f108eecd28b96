//! `pay`: writes the payment down, asks the provider, and settles its answer with the order. A repeated command gets the same
//! answer, or the order with `paying` while the answer is not known. If the shop takes the money itself, the answer says where.

use super::{Answer, digest, names::Names};
use crate::{
    caller::Caller,
    captures::ToCapture,
    load::Step,
    payment::{
        Charge, Fact, MERCHANT, Provider, Standing,
        handoff::HANDOFF,
        state::{Outcome, Todo},
    },
    sale::ms,
    seal::HandedOver,
    shop::Shop,
    store::{
        OrderRow,
        payments::{NewPayment, PaymentRow, Report},
    },
};
use flashsale_protocol::{
    Code, CommandId, Done, Handoff, Order, OrderId, OrderStatus, Payment, PaymentId, Reason, Reject,
    ServerMessage,
};

/// Time after the provider's deadline at which the worker asks for a missing outcome.
const ASK_AFTER_MS: i64 = 1_000;

pub async fn run(
    shop: &Shop,
    caller: &Caller,
    command: CommandId,
    order: OrderId,
    payment: Payment,
) -> Answer {
    let digest = digest("pay", &[&order.to_string(), &payment.token]);
    let names = Names::of(shop, caller).await?;
    let id = names.payment(command, &digest);
    if matches!(shop.payments.provider, Provider::None) {
        return without_provider(shop, caller, order, id).await;
    }
    let new = NewPayment {
        payment: id,
        order,
        shopper: caller.shopper.clone(),
        command,
        digest,
        provider: shop.payments.name(),
        ask_after_ms: shop.payments.timeout.as_millis() as i64 + ASK_AFTER_MS,
    };
    let asked = shop.store.begin_payment(new);
    let (row, begun) = match shop.load.of(Step::BeginPayment, asked).await? {
        Ok(begun) => begun,
        // The shopper has come back from the shop's checkout.
        Err(code @ Code::PaymentPending) => match reopened(shop, order).await? {
            Some(begun) => begun,
            None => return Err(Reject::new(code).about(order)),
        },
        Err(Code::OrderUnknown) => return Err(super::unknown_order(shop, order).await),
        Err(code) => return Err(Reject::new(code).about(order)),
    };
    if begun.state.answer.is_some() {
        return answer(&row, &begun);
    }
    if begun.provider == MERCHANT {
        return hand_off(shop, caller, names.handoff(command), &row, &begun).await;
    }
    if begun.provider != shop.payments.name() {
        return answer(&row, &begun);
    }
    let charge = Charge {
        payment: begun.payment,
        order,
        sale: row.sale,
        shopper: row.shopper.clone(),
        amount: begun.state.amount,
        currency: begun.currency.clone(),
        token: payment.token,
    };
    match shop.payments.authorize(charge).await {
        // Undecided, or no answer in time. Nothing is guessed: a webhook or the worker brings the outcome.
        Ok(Standing::Processing | Standing::Unknown) | Err(_) => {
            // The outcome may have come while we waited; the later of the two views is true.
            shop.live
                .tell_others(row.sale, caller, ServerMessage::Order(row.view()));
            answer(&row, &begun)
        }
        Ok(standing) => {
            let report = Report {
                payment: begun.payment,
                order,
                fact: Fact::Payment(standing),
                event: None,
                by: None,
                captures_within_ms: shop.captures.within_ms(shop.payments.timeout),
            };
            let asked = shop.store.report(row.sale, row.lane, report);
            let reported = shop.load.of(Step::SettlePayment, asked).await?;
            if reported.payment.state.todo == Some(Todo::Capture) {
                shop.captures.add(ToCapture {
                    payment: begun.payment,
                    order,
                    sale: row.sale,
                    lane: row.lane,
                });
            }
            if reported.changed {
                shop.live
                    .tell_others(row.sale, caller, ServerMessage::Order(reported.order.view()));
            }
            answer(&reported.order, &reported.payment)
        }
    }
}

/// The order with its open payment at the shop's checkout.
async fn reopened(shop: &Shop, order: OrderId) -> Result<Option<(OrderRow, PaymentRow)>, Reject> {
    let Some(payment) = shop.store.open_handoff(order).await? else {
        return Ok(None);
    };
    Ok(shop.store.order(order).await?.map(|row| (row, payment)))
}

/// Sends the shopper to the shop's own checkout. Each command gets a token of its own, and a repeated one the same.
async fn hand_off(
    shop: &Shop,
    caller: &Caller,
    name: CommandId,
    row: &OrderRow,
    payment: &PaymentRow,
) -> Answer {
    if row.status != OrderStatus::Pending {
        return answer(row, payment);
    }
    let sale = shop.sale(row.sale).await?;
    let checkout = shop
        .checkout_of(&sale)
        .await
        .map_err(|reject| reject.about(row.order))?;
    let expires_at = ms(row.expires_at);
    let token = shop.seal.handoff(HandedOver {
        name,
        payment: payment.payment,
        order: row.order,
        sale: row.sale,
        merchant: &sale.merchant,
        amount: payment.state.amount,
        currency: &payment.currency,
        expires_at_ms: expires_at,
    })?;
    shop.live
        .tell_others(row.sale, caller, ServerMessage::Order(row.view()));
    let joint = if checkout.contains('?') { '&' } else { '?' };
    let handoff = Handoff {
        url: format!("{checkout}{joint}{HANDOFF}={token}"),
        token,
        expires_at,
    };
    Ok(Done::Order(Order {
        handoff: Some(Box::new(handoff)),
        ..row.view()
    }))
}

/// No payment is begun and nothing is noted, so the same command may pay later. One that was begun before keeps its answer.
async fn without_provider(shop: &Shop, caller: &Caller, order: OrderId, payment: PaymentId) -> Answer {
    let row = shop.store.order(order).await?;
    let Some(row) = row.filter(|row| row.shopper == caller.shopper && row.quantity > 0) else {
        return Err(super::unknown_order(shop, order).await);
    };
    if let Some(begun) = shop.store.payment(payment).await? {
        return answer(&row, &begun);
    }
    let code = match row.status {
        OrderStatus::Pending => Code::PaymentsOff,
        OrderStatus::Confirmed => Code::OrderConfirmed,
        OrderStatus::Cancelled if row.reason == Some(Reason::OrderLost) => Code::OrderLost,
        OrderStatus::Cancelled => Code::OrderCancelled,
    };
    Err(Reject::new(code).about(order))
}

/// Every repetition gets the first answer, whatever happened to the order since.
fn answer(row: &OrderRow, payment: &PaymentRow) -> Answer {
    match payment.state.answer {
        None => Ok(Done::Order(row.view())),
        Some(Outcome::Confirmed) => Ok(Done::Order(Order {
            status: OrderStatus::Confirmed,
            reason: None,
            paying: false,
            refunded: 0,
            refunded_at: None,
            declined: None,
            at: ms(payment.answered_at.unwrap_or(row.changed_at)),
            ..row.view()
        })),
        Some(Outcome::Refused(code)) => {
            let reject = match &payment.state.reason {
                Some(reason) if code == Code::PaymentDeclined => {
                    Reject::because(code, format!("The payment was declined: {reason}."))
                }
                _ => Reject::new(code),
            };
            Err(reject.about(row.order))
        }
    }
}

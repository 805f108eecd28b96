//! The commands: one function each, the same for the socket and for REST. This file is the list.
//!
//! A function answers `Ok` with what was done or `Err` with the refusal; our own failures become refusals too
//! (`unavailable`, `internal`), logged once on the way.

mod cancel;
mod checkout;
mod draw;
mod extend;
mod join;
mod leave;
mod names;
mod nonce;
mod orders;
mod pay;
mod release;
mod reserve;
mod state;

pub use state::{sale_state, tick_now};

use crate::{
    boxed,
    caller::Caller,
    error::Error,
    sale::{LineName, Sale},
    shop::Shop,
    stock::{RecordState, Served},
    telemetry::name,
};
use flashsale_protocol::{Code, CommandId, Done, Entry, EntryState, HoldState, OrderId, Reject, ShopCommand};
use sha2::{Digest, Sha256};
use std::{future::Future, pin::Pin, time::Instant};

/// Time after which a shopper should ask again when selling has stopped.
const STOPPED_RETRY_MS: u64 = 5_000;

/// Time after which it is known whether somebody was forgotten.
const LEAVING_RETRY_MS: u64 = 2_000;

pub type Answer = Result<Done, Reject>;

/// Carries out a command of a caller whose token was verified.
#[boxed]
pub async fn run(shop: &Shop, caller: &Caller, id: CommandId, command: ShopCommand) -> Answer {
    let (verb, started) = (command.verb(), Instant::now());
    let answer = match meet(shop, caller, id, &command).await {
        Ok(caller) => dispatch(shop, &caller, id, command).await,
        Err(reject) => Err(reject),
    };
    let outcome = answer.as_ref().map_or_else(|reject| reject.code.word(), |_| "ok");
    metrics::counter!(name::COMMANDS, "command" => verb, "outcome" => outcome).increment(1);
    metrics::histogram!(name::COMMAND_SECONDS, "command" => verb).record(started.elapsed().as_secs_f64());
    answer
}

/// The caller as who they are for what the command is about. News of it reaches their sockets from now on. What is rarely waited for
/// is boxed here and in what it calls, as commands are: each running command would carry the room for it.
async fn meet(shop: &Shop, caller: &Caller, id: CommandId, command: &ShopCommand) -> Result<Caller, Reject> {
    let met = match (command.sale(), command.order()) {
        (Some(sale), _) => {
            let sale = shop.sale(sale).await?;
            let takes_part = matches!(command, ShopCommand::Join { .. } | ShopCommand::Reserve { .. });
            if takes_part {
                shop.check_page(caller, &sale).await?;
            }
            let met = shop.meet(caller, &sale).await?;
            if takes_part && shop.is_leaving(&met) {
                return Err(Reject::new(Code::Busy).after_ms(LEAVING_RETRY_MS));
            }
            Some(met)
        }
        (None, Some(order)) => Box::pin(meet_buyer(shop, caller, id, order)).await?,
        (None, None) => None,
    };
    let Some(met) = met else {
        return Ok(caller.clone());
    };
    if !matches!(command, ShopCommand::State { .. }) {
        shop.here.know(&met);
    }
    Ok(met)
}

async fn meet_buyer(
    shop: &Shop,
    caller: &Caller,
    id: CommandId,
    order: OrderId,
) -> Result<Option<Caller>, Reject> {
    let met = shop.meet_buyer(caller, order).await?;
    if met.is_none() && is_known(shop, caller, id).await? {
        return Err(Code::CommandIdReused.into());
    }
    Ok(met)
}

/// Whether a command with this id was noted before, at any merchant.
async fn is_known(shop: &Shop, caller: &Caller, id: CommandId) -> Result<bool, Reject> {
    for person in shop.store.people_of(&caller.account).await? {
        if shop.store.command(&person, id).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Boxed, so that a socket's task does not grow to the size of the largest command.
fn dispatch<'a>(
    shop: &'a Shop,
    caller: &'a Caller,
    id: CommandId,
    command: ShopCommand,
) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
    match command {
        ShopCommand::Join {
            sale,
            quantity,
            nonce,
        } => Box::pin(join::run(shop, caller, id, sale, quantity, nonce)),
        ShopCommand::Leave { sale } => Box::pin(leave::run(shop, caller, id, sale)),
        ShopCommand::Reserve {
            sale,
            quantity,
            partial,
        } => Box::pin(reserve::run(shop, caller, id, sale, quantity, partial)),
        ShopCommand::Release { sale } => Box::pin(release::run(shop, caller, id, sale)),
        ShopCommand::Extend { sale } => Box::pin(extend::run(shop, caller, id, sale)),
        ShopCommand::Checkout { sale, payment } => Box::pin(checkout::run(shop, caller, id, sale, payment)),
        ShopCommand::Pay { order, payment } => Box::pin(pay::run(shop, caller, id, order, payment)),
        ShopCommand::Cancel { order } => Box::pin(cancel::run(shop, caller, id, order)),
        ShopCommand::Orders {} => Box::pin(orders::run(shop, caller)),
        ShopCommand::State { sale } => Box::pin(state::run(shop, caller, sale)),
    }
}

/// The refusal while nothing is sold, until an operator has looked at the sale.
pub fn stopped() -> Reject {
    Reject::new(Code::SaleStopped).after_ms(STOPPED_RETRY_MS)
}

/// The refusal of an unknown order. It differs if a stop is not settled yet, or if Postgres may have lost this order.
#[boxed]
pub async fn unknown_order(shop: &Shop, order: OrderId) -> Reject {
    let found = async {
        Ok::<_, Error>((
            shop.store.is_any_stopped().await?,
            shop.store.may_be_lost(order).await?,
        ))
    };
    match found.await {
        Ok((true, _)) => stopped(),
        Ok((false, true)) => Code::OrderLost.into(),
        Ok((false, false)) => Code::OrderUnknown.into(),
        Err(error) => error.into(),
    }
}

/// SHA-256 of what a command asks for: the same id with another digest is another command.
pub fn digest(verb: &str, parts: &[&str]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    for part in std::iter::once(&verb).chain(parts) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_vec()
}

/// A shopper's place, as far as they may know it: no position is told before places are drawn.
pub fn waiting(
    sale: &Sale,
    quantity: u32,
    position: u64,
    line: LineName,
    admitted: Served,
    now: u64,
) -> Entry {
    let hidden = sale.hides_places_at(now);
    Entry {
        position: if hidden { 0 } else { position },
        admitted: if hidden { 0 } else { admitted.of(line) },
        priority: line == LineName::Priority,
        ..Entry::settled(sale.id, EntryState::Waiting, quantity, now)
    }
}

/// The time of an answer about a hold or a place that has ended since its command: that of the command. So a client that goes by
/// the later time keeps what the shopper has got since.
fn made_at(command: CommandId, now: u64) -> u64 {
    command.ulid().timestamp_ms().min(now)
}

/// A record's state, as shoppers see it; claims are entries, not holds.
pub fn hold_state(state: RecordState) -> Option<HoldState> {
    match state {
        RecordState::Held => Some(HoldState::Held),
        RecordState::Ordering => Some(HoldState::Ordering),
        RecordState::Ordered => Some(HoldState::Ordered),
        RecordState::Released => Some(HoldState::Released),
        RecordState::Expired => Some(HoldState::Expired),
        // Its order was cancelled: the units are gone; the hold itself ended as an order.
        RecordState::Cancelled => Some(HoldState::Ordered),
        RecordState::Claim | RecordState::Lapsed | RecordState::Left | RecordState::None => None,
    }
}

/// A command id made by the server, for what it does on a shopper's behalf.
pub fn command_id_now() -> CommandId {
    let now = crate::clock::now_ms();
    CommandId::from_parts(now, rand::random())
}

/// A command id from a REST client's Idempotency-Key: a ULID stays as it is, any other key is hashed.
pub fn command_id(key: &str) -> CommandId {
    key.parse().unwrap_or_else(|_| {
        let digest = Sha256::digest(key.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        CommandId::new(ulid::Ulid::from_bytes(bytes))
    })
}

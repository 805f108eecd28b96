//! Detects that Postgres knows less of a sale than Redis does, and finds the orders that it has lost.

use crate::{
    chain::ChainEnd,
    clock,
    error::Result,
    sale::{LaneRef, Sale},
    shop::Shop,
    stock::{RecordState, Witness, rebuild::KeptRecord},
    store::{
        OrderRow,
        disasters::{Disaster, LostOrder, Testimony},
    },
    telemetry::name,
};
use flashsale_protocol::ServerMessage;
use ulid::Ulid;

/// Whether selling is stopped, or must be.
pub(crate) async fn is_stopped(shop: &Shop, sale: &Sale) -> Result<bool> {
    Ok(look(shop, sale).await?.is_some())
}

/// Compares Redis with Postgres, and stops selling if Postgres is behind. Returns the open disaster.
pub async fn look(shop: &Shop, sale: &Sale) -> Result<Option<Disaster>> {
    // Redis first: everything it knows of was committed before Postgres is asked.
    let witness = shop.stock.witness(sale).await?;
    let ends: Vec<ChainEnd> = witness.lanes.iter().flat_map(|lane| lane.ends.clone()).collect();
    let Some(testimony) = shop.store.testify(sale.id, &ends).await? else {
        return Ok(None);
    };
    if testimony.is_read_only {
        // A standby may catch up in a moment; a promoted one would take changes.
        return Ok(testimony.open);
    }
    let open = match &testimony.open {
        Some(open) => Some(open.clone()),
        None => {
            let id = match (&witness.disaster, what_is_behind(&witness, &testimony)) {
                (None, Some(known)) => Some((disaster_id(), known)),
                // Selling is stopped, and Postgres has lost the note of it as well.
                (Some(id), Some(known)) => Some((id.clone(), known)),
                // A newer copy of Postgres has everything, or the stop was not fully lifted.
                (Some(_), None) if is_whole(&witness) => None,
                (Some(id), None) => Some((id.clone(), testimony.end.number)),
                (None, None) => None,
            };
            match id {
                None => None,
                Some((id, known)) => begin(shop, sale, &id, known, &testimony).await?,
            }
        }
    };
    let is_marked = |id: &str| {
        witness.disaster.as_deref() == Some(id) && witness.lanes.iter().all(|lane| lane.is_stopped)
    };
    match &open {
        Some(open) if !is_marked(&open.disaster_id) => {
            shop.stock.stop_selling(sale, &open.disaster_id).await?
        }
        Some(_) => {}
        None => {
            if witness.disaster.is_some() || witness.lanes.iter().any(|lane| lane.is_stopped) {
                shop.stock.end_stop(sale).await?;
            }
            note_end(shop, sale, &witness, &testimony).await;
        }
    }
    Ok(open)
}

/// Whether Redis still knows what Postgres should have.
fn is_whole(witness: &Witness) -> bool {
    let lanes = &witness.lanes;
    lanes.iter().all(|lane| lane.epoch > 0) && lanes.iter().any(|lane| !lane.ends.is_empty())
}

/// If Postgres is behind: the highest audit row that it should have and lacks, or for a missing epoch the log's end.
fn what_is_behind(witness: &Witness, testimony: &Testimony) -> Option<i64> {
    let missing = witness
        .lanes
        .iter()
        .flat_map(|lane| &lane.ends)
        .filter(|end| !testimony.found.contains(end))
        .map(|end| end.number);
    // An epoch is raised in Postgres first.
    let ahead = witness
        .lanes
        .iter()
        .filter(|lane| {
            testimony
                .epochs
                .get(&lane.lane)
                .is_some_and(|epoch| lane.epoch > *epoch)
        })
        .map(|_| testimony.end.number);
    missing.chain(ahead).max()
}

async fn begin(
    shop: &Shop,
    sale: &Sale,
    id: &str,
    known: i64,
    testimony: &Testimony,
) -> Result<Option<Disaster>> {
    let found = testimony.end.number;
    let open = shop.store.begin_disaster(sale.id, id, known, found).await?;
    if open.as_ref().is_some_and(|open| open.disaster_id == id) {
        tracing::error!(
            sale = %sale.id, disaster = id, known, found,
            "Postgres has lost what was committed: selling has stopped until an operator confirms it (docs/disaster.md)"
        );
    }
    Ok(open)
}

/// Tells Redis how far the audit log has come, because payments and operators' commands do not tell any lane.
async fn note_end(shop: &Shop, sale: &Sale, witness: &Witness, testimony: &Testimony) {
    for (lane, info) in witness.lanes.iter().zip(&sale.lanes) {
        let is_first = lane.lane == sale.lanes.first().map_or(0, |first| first.lane);
        let older = lane.ends.iter().find(|end| end.life != testimony.end.life);
        let is_news = is_first && !lane.ends.contains(&testimony.end);
        let epoch = testimony.epochs.get(&lane.lane).copied().unwrap_or(info.epoch);
        let at = LaneRef {
            sale: sale.id,
            lane: lane.lane,
            epoch,
        };
        if (is_news || older.is_some())
            && let Err(error) = shop.stock.note_chain(at, testimony.end, older.copied()).await
        {
            // The lane is lost or begins another life; the reconciler handles that.
            tracing::debug!(%error, "a lane does not take the end of the audit log");
        }
    }
}

fn disaster_id() -> String {
    Ulid::from_parts(clock::now_ms(), rand::random()).to_string()
}

/// Finds orders that a locked lane's records mention and Postgres does not know. Writes them down as lost and tells their
/// shoppers.
pub(crate) async fn write_down(
    shop: &Shop,
    sale: &Sale,
    at: LaneRef,
    disaster: &str,
    records: &[KeptRecord],
) -> Result<()> {
    shop.stock.forget_chain(at).await?;
    let told = |record: &&KeptRecord| matches!(record.state, RecordState::Ordering | RecordState::Ordered);
    let lost: Vec<LostOrder> = records
        .iter()
        .filter(told)
        .filter_map(|record| {
            Some(LostOrder {
                order: record.order.parse().ok()?,
                shopper: record.shopper.clone(),
                device: record.device.clone(),
                quantity: record.quantity,
                amount: sale.line_total(record.quantity)?,
                hold_command: record.command.clone(),
            })
        })
        .collect();
    let written = shop.store.lose_orders(sale, disaster, &lost).await?;
    tell_lost(shop, sale, written);
    Ok(())
}

pub(crate) fn tell_lost(shop: &Shop, sale: &Sale, lost: Vec<OrderRow>) {
    if lost.is_empty() {
        return;
    }
    metrics::counter!(name::ORDERS_LOST, "sale" => sale.id.to_string()).increment(lost.len() as u64);
    for row in lost {
        shop.live
            .tell(sale.id, row.shopper.clone(), ServerMessage::Order(row.view()));
    }
}

//! Detects that Postgres knows less of a sale than Redis does, and finds the orders that it has lost.

use crate::{
    boxed, clock,
    error::Result,
    sale::{LaneRef, Sale},
    shop::Shop,
    stock::{RecordState, Witness, rebuild::KeptRecord},
    store::{
        OrderRow, audit,
        disasters::{Disaster, EndOf, LostOrder, Testimony},
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
#[boxed]
pub async fn look(shop: &Shop, sale: &Sale) -> Result<Option<Disaster>> {
    // Redis first: everything it knows of was committed before Postgres is asked.
    let witness = shop.stock.witness(sale).await?;
    let ends = ends_of(sale, &witness);
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
            let id = match (&witness.disaster, what_is_behind(&witness, &ends, &testimony)) {
                (None, Some(known)) => Some((disaster_id(), known)),
                // Selling is stopped, and Postgres has lost the note of it as well.
                (Some(id), Some(known)) => Some((id.clone(), known)),
                // A newer copy of Postgres has everything, or the stop was not fully lifted.
                (Some(_), None) if is_whole(&witness) => None,
                (Some(id), None) => Some((id.clone(), (None, testimony.end.number))),
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

/// All ends that Redis knows. In format 1 every lane tells of the sale's only chain.
fn ends_of(sale: &Sale, witness: &Witness) -> Vec<EndOf> {
    let has_lanes = sale.format >= audit::FORMAT_WITH_LANES;
    let lanes = witness.lanes.iter().flat_map(|lane| {
        let name = has_lanes.then_some(lane.lane);
        let own = lane.ends.iter().map(move |end| (name, *end));
        own.chain(lane.sale_ends.iter().map(|end| (None, *end)))
    });
    lanes.collect()
}

/// If Postgres is behind: a chain, and the highest row of it that Postgres should have and lacks, or for a missing epoch the chain's
/// end. Of several chains it is the one that has lost most.
fn what_is_behind(witness: &Witness, ends: &[EndOf], testimony: &Testimony) -> Option<(Option<u16>, i64)> {
    let missing = ends
        .iter()
        .filter(|end| !testimony.found.contains(*end))
        .map(|(lane, end)| (*lane, end.number));
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
        .map(|lane| {
            let (of, end) = testimony.end_of(lane.lane);
            (of, end.number)
        });
    let lost = |(lane, known): &(Option<u16>, i64)| known - found_of(testimony, *lane);
    missing.chain(ahead).max_by_key(|behind| (lost(behind), behind.1))
}

/// The last row of a chain that Postgres has.
fn found_of(testimony: &Testimony, lane: Option<u16>) -> i64 {
    lane.map_or(testimony.end.number, |lane| testimony.end_of(lane).1.number)
}

async fn begin(
    shop: &Shop,
    sale: &Sale,
    id: &str,
    (lane, known): (Option<u16>, i64),
    testimony: &Testimony,
) -> Result<Option<Disaster>> {
    let found = found_of(testimony, lane);
    let open = shop.store.begin_disaster(sale.id, id, lane, known, found).await?;
    if open.as_ref().is_some_and(|open| open.disaster_id == id) {
        tracing::error!(
            sale = %sale.id, disaster = id, lane, known, found,
            "Postgres has lost what was committed: selling has stopped until an operator confirms it (docs/disaster.md)"
        );
    }
    Ok(open)
}

/// Tells Redis how far the audit chains have come, because payments and operators' commands do not tell any lane. A chain of all
/// lanes, and the sale's own, is told to the first lane only.
async fn note_end(shop: &Shop, sale: &Sale, witness: &Witness, testimony: &Testimony) {
    for (lane, info) in witness.lanes.iter().zip(&sale.lanes) {
        let is_first = lane.lane == sale.lanes.first().map_or(0, |first| first.lane);
        let epoch = testimony.epochs.get(&lane.lane).copied().unwrap_or(info.epoch);
        let at = LaneRef {
            sale: sale.id,
            lane: lane.lane,
            epoch,
        };
        let (of, end) = testimony.end_of(lane.lane);
        let mut chains = vec![(of.is_some() || is_first, false, &lane.ends, end)];
        if of.is_some() && is_first {
            chains.push((true, true, &lane.sale_ends, testimony.end));
        }
        for (is_told, is_sale_s, known, end) in chains {
            let older = known.iter().find(|known| known.life != end.life).copied();
            let is_news = is_told && !known.contains(&end);
            // A chain without a row has no end that could be missed.
            if end.number == 0 || (!is_news && older.is_none()) {
                continue;
            }
            let told = match is_sale_s {
                true => shop.stock.note_sale_chain(at, end, older).await,
                false => shop.stock.note_chain(at, end, older).await,
            };
            if let Err(error) = told {
                // The lane is lost or begins another life; the reconciler handles that.
                tracing::debug!(%error, "a lane does not take the end of the audit log");
            }
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

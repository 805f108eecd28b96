//! Exports the history of a line or of a draw for the operator: every entry.

use super::Operator;
use crate::{
    app::App,
    rest::{Problem, SalePath},
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use flashsale_engine::{
    error::Result,
    merchants::shown_device,
    store::{EntryRow, PAGE},
};
use flashsale_protocol::{Allocation, Code, Reject, SaleId};
use futures_util::stream;
use std::sync::Arc;

const COLUMNS: &str = "queue_id,user_id,device_id,quantity,place,priority,joined_at,status,ended_at\n";

/// Every entry of a sale's line, or of its draw, as CSV.
///
/// A line's entries are in the order of joining, about a second behind the line itself. A draw's entries are in the order of
/// their published names (`queue_id`): `place` is the rank by key, empty for entries that were not looked up for units, and
/// `served` means that the turn has come. The file is sent while it is read, however long it is. If the opening order is
/// shuffled, the file has no places before the start.
#[utoipa::path(
    get,
    path = "/admin/sales/{sale_id}/entries.csv",
    operation_id = "exportEntries",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The entries.", body = String, content_type = "text/csv")),
    security(("token" = [])),
)]
pub async fn export(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
) -> Result<Response, Problem> {
    let sale = operator.sale(&app, id).await?;
    let most = app.shop.merchants.get(&sale.merchant).await?.row.exports;
    let export = Export::begin(&app, &sale.merchant, most)?;
    // A person who saw places could enter under many names and keep the best ones.
    let is_secret = sale.hides_places_at(app.shop.stock.clock().await?);
    // The first page is read before the headers are sent, so that a failure can still be answered as one.
    let allocation = sale.allocation;
    let first = page(&app, id, allocation, String::new()).await?;
    let pages = stream::unfold(Some((first, true)), move |known| {
        // It counts until it is sent, or given up.
        let (app, _export) = (app.clone(), &export);
        async move {
            let (rows, is_first) = known?;
            let mut text = String::from(if is_first { COLUMNS } else { "" });
            rows.iter().for_each(|row| line(&mut text, row, is_secret));
            let next = match rows.last() {
                Some(last) if rows.len() as i64 == PAGE => {
                    match page(&app, id, allocation, last.queue_id.clone()).await {
                        Ok(rows) => Some((rows, false)),
                        // The connection is cut, because a file that ends early must not look complete.
                        Err(error) => return Some((Err(error), None)),
                    }
                }
                _ => None,
            };
            Some((Ok(Bytes::from(text)), next))
        }
    });
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"entries-{id}.csv\""),
        ),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// One export of a merchant, as long as it is sent: nobody's many exports keep others waiting.
struct Export {
    app: Arc<App>,
    merchant: String,
}

impl Export {
    fn begin(app: &Arc<App>, merchant: &str, most: i32) -> Result<Self, Problem> {
        let mut running = app.exports.entry(merchant.to_owned()).or_insert(0);
        if *running >= most {
            return Err(Problem(Reject::because(
                Code::QuotaReached,
                format!("The shop's exports are limited to {most} at a time: wait for one to end."),
            )));
        }
        *running += 1;
        Ok(Self {
            app: app.clone(),
            merchant: merchant.to_owned(),
        })
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Some(mut running) = self.app.exports.get_mut(&self.merchant) {
            *running -= 1;
        }
        self.app
            .exports
            .remove_if(&self.merchant, |_, running| *running == 0);
    }
}

async fn page(app: &App, sale: SaleId, allocation: Allocation, after: String) -> Result<Vec<EntryRow>> {
    match allocation {
        Allocation::Queue => app.shop.store.entries_page(sale, &after).await,
        Allocation::Draw => app.shop.store.draw_entries_page(sale, &after).await,
    }
}

/// Names of shoppers and devices have neither commas nor quotes. But they may begin like a formula, which a spreadsheet must not
/// compute.
fn line(text: &mut String, row: &EntryRow, is_place_secret: bool) {
    use std::fmt::Write;
    let plain = |name: &str| {
        if name.starts_with(['=', '+', '-', '@']) {
            format!("'{name}")
        } else {
            name.to_owned()
        }
    };
    let place = row.place.filter(|_| !is_place_secret);
    let place = place.map_or(String::new(), |place| place.to_string());
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let _ = writeln!(
        text,
        "{},{},{},{},{},{},{},{},{}",
        row.queue_id,
        plain(&row.user_id),
        plain(&shown_device(&row.device_id)),
        row.quantity,
        place,
        row.priority,
        time(row.joined_at),
        row.status,
        row.ended_at.map(time).unwrap_or_default(),
    );
}

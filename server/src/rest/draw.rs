//! A draw's published data (docs/draw.md).

use super::{Bearer, Problem, SalePath};
use crate::app::App;
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use flashsale_engine::{error::Error, sale::Sale, store::draws::ProofOf};
use flashsale_protocol::{
    Code, Phase, SaleId,
    draw::{Draw, Proof},
};
use futures_util::stream;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Parts of draws' files that one process reads at a time.
static FILES: Semaphore = Semaphore::const_new(4);

/// The published data of a sale's draw.
///
/// The commitment from the beginning; the root of the entries' tree once they have closed; the seed and the last winner's key
/// after the draw; and, as units pass on, how far turns have come.
#[utoipa::path(
    get,
    path = "/flash-sales/{sale_id}/draw",
    operation_id = "showDraw",
    tag = "draw",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "What is published.", body = Draw)),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
) -> Result<axum::Json<Draw>, Problem> {
    Ok(axum::Json(published(&app, sale).await?))
}

/// A whole draw, for everybody who wants to check it.
///
/// One line of JSON, as above, then one line per entry: `name weight quantity`. Check it with `flashsale verify` or
/// `docs/verify_draw.py`.
#[utoipa::path(
    get,
    path = "/flash-sales/{sale_id}/draw/file",
    operation_id = "downloadDraw",
    tag = "draw",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The draw's file.", content_type = "text/plain", body = String)),
)]
pub async fn file(State(app): State<Arc<App>>, SalePath(sale): SalePath) -> Result<Response, Problem> {
    let known = app.shop.sale(sale).await?;
    let draw = app.shop.store.draw(sale).await?.ok_or(Code::NoDraw)?.public;
    if draw.seed.is_none() {
        return Err(not_drawn(&known).into());
    }
    let head = serde_json::to_string(&draw).map_err(|error| Error::unexpected(error.to_string()))?;
    let lines = stream::try_unfold((app, String::new()), move |(app, after)| async move {
        // Held while a store is asked, and not while a client reads.
        let permit = FILES.acquire().await;
        let part = app.shop.store.draw_part(sale, &after).await?;
        drop(permit);
        Ok::<_, Error>(part.map(|part| (part.text.clone(), (app, part.last.clone()))))
    });
    let head = stream::once(async { Ok(Bytes::from(head + "\n")) });
    let name = format!("attachment; filename=\"draw-{sale}.txt\"");
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    let body = Body::from_stream(futures_util::StreamExt::chain(head, lines));
    Ok((headers, body).into_response())
}

/// The caller's own part of a draw: entry, key, and the path to the root.
#[utoipa::path(
    get,
    path = "/flash-sales/{sale_id}/draw/proof",
    operation_id = "proveDraw",
    tag = "draw",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The proof.", body = Proof)),
    security(("token" = [])),
)]
pub async fn proof(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
    Bearer(caller): Bearer,
) -> Result<axum::Json<Proof>, Problem> {
    let known = app.shop.sale(sale).await?;
    let caller = app.shop.meet(&caller, &*app.shop.sale(sale).await?).await?;
    match app.shop.store.draw_proof(sale, &caller.shopper).await? {
        ProofOf::Entry(proof) => Ok(axum::Json(*proof)),
        ProofOf::NoDraw => Err(Code::NoDraw.into()),
        ProofOf::NotDrawnYet => Err(not_drawn(&known).into()),
        ProofOf::NotInDraw => Err(Code::NotInDraw.into()),
    }
}

/// A first-come sale that ended with no units left, or with nobody in line, has no draw.
fn not_drawn(sale: &Sale) -> Code {
    match sale.status {
        Phase::Ended | Phase::Cancelled => Code::NoDraw,
        _ => Code::NotDrawnYet,
    }
}

async fn published(app: &App, sale: SaleId) -> Result<Draw, Problem> {
    app.shop.sale(sale).await?;
    let row = app.shop.store.recent_draw(sale).await?;
    Ok(row.ok_or(Code::NoDraw)?.public.clone())
}

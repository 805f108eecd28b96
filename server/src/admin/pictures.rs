//! The picture of a sale: an operator uploads it, or takes it away.

use super::command::{self, Done, Head, IfMatch, Instruction, Numbers, Versioned};
use crate::{
    app::App,
    pictures::Wrong,
    rest::{Body, IdempotencyKey, Problem, SalePath, field, sales::SaleView},
};
use axum::{
    extract::{FromRequest, FromRequestParts, Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
};
use flashsale_engine::{
    merchants::Merchant,
    store::pictures::{NewPicture, Pictured},
};
use flashsale_protocol::{Code, Reject, SaleId};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

const MAX_ALT_CHARS: usize = 300;

/// What a picture shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Alt {
    /// For those who do not see it; by default the product's name.
    #[serde(default)]
    #[param(max_length = 300)]
    alt: String,
}

/// An upload that has a place in memory until it is stored. Who sends it is known before its bytes are read.
pub struct Upload {
    instruction: Instruction,
    _place: OwnedSemaphorePermit,
}

impl FromRequest<Arc<App>> for Upload {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let head = Head::from_request_parts(&mut parts, app).await?;
        let place = app.pictures.place()?;
        let body = Body::from_request(Request::from_parts(parts, body), app).await;
        let body = body.map_err(|Problem(reject)| match reject.code {
            Code::FrameTooLarge => Problem(Wrong::Bytes.into()),
            _ => Problem(reject),
        })?;
        Ok(Self {
            instruction: head.with(body),
            _place: place,
        })
    }
}

/// Give a sale its picture.
///
/// The body is a PNG, JPEG or WebP file of at most 5 MB and 25 million pixels. Files of several widths are made from its pixels alone;
/// what else it carries is dropped, and what lets something through stands on white. A picture that was there before is replaced.
///
/// Refusals: `picture_refused` for more than that, and for what is no picture; `quota_reached` if the shop's pictures would be more
/// than it may have.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/picture",
    operation_id = "setPicture",
    tag = "admin",
    params(("sale_id" = SaleId, Path), Alt, IdempotencyKey, IfMatch),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file."),
    responses((status = 200, description = "The sale with its picture.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn set(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    alt: Result<Query<Alt>, QueryRejection>,
    upload: Upload,
) -> Result<Done, Problem> {
    let Query(Alt { alt }) = alt.map_err(|rejection| field("query", &rejection.body_text()))?;
    let instruction = &upload.instruction;
    let sale = instruction.operator.sale(&app, id).await?;
    let alt = match alt.trim() {
        "" => sale.product_name.chars().take(MAX_ALT_CHARS).collect(),
        alt if alt.chars().count() > MAX_ALT_CHARS => {
            return Err(field(
                "alt",
                &format!("must have at most {MAX_ALT_CHARS} characters"),
            ));
        }
        alt => alt.to_owned(),
    };
    let shop = app
        .shop
        .merchants
        .by_id(&sale.merchant)
        .ok_or(Code::MerchantUnknown)?;
    let read = app.pictures.read(&sale.merchant, alt, instruction.bytes());
    let new = read.await?;
    show(&app, instruction, id, Some(new), &shop).await
}

/// Take a sale's picture away.
///
/// A sale without one stays as it is.
#[utoipa::path(
    delete,
    path = "/admin/sales/{sale_id}/picture",
    operation_id = "removePicture",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    responses((status = 200, description = "The sale without a picture.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn remove(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let sale = instruction.operator.sale(&app, id).await?;
    let shop = app
        .shop
        .merchants
        .by_id(&sale.merchant)
        .ok_or(Code::MerchantUnknown)?;
    show(&app, &instruction, id, None, &shop).await
}

async fn show(
    app: &App,
    instruction: &Instruction,
    id: SaleId,
    new: Option<NewPicture>,
    shop: &Merchant,
) -> Result<Done, Problem> {
    let numbers = Numbers::of(app, instruction.operator.sale(app, id).await?).await?;
    let most_mb = shop.row.picture_mb;
    let done = command::run(app, instruction, id, StatusCode::OK, move |change| {
        Box::pin(async move {
            let sale = change.sale().await?;
            match change.set_picture(&sale, new.as_ref(), most_mb).await? {
                Pictured::Ok => numbers.view(change).await,
                Pictured::Full => Err(Problem(Reject::because(
                    Code::QuotaReached,
                    format!(
                        "The shop may have {most_mb} MB of pictures. Remove those of sales that are over."
                    ),
                ))),
            }
        })
    })
    .await?;
    command::spread(app, &done, id).await?;
    Ok(done)
}

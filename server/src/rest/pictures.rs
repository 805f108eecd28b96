//! Pictures of products, as pages load them: each file under an address that is of its bytes, so that it may be kept for good.

use super::{Path, Problem};
use crate::app::App;
use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use flashsale_engine::sale::Picture;
use flashsale_protocol::Code;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

const ID_CHARS: usize = 32;
const SUFFIX: &str = ".jpg";

/// A picture of the product. Addresses are of this server.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Picture"))]
pub struct PictureView {
    /// The largest file.
    pub url: String,
    pub width: u32,
    pub height: u32,
    /// What it shows.
    pub alt: String,
    /// All files, from the smallest on. Of the same proportions, as good as rounding allows.
    pub files: Vec<PictureFile>,
}

#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PictureFile {
    pub url: String,
    pub width: u32,
}

impl From<&Picture> for PictureView {
    fn from(picture: &Picture) -> Self {
        let url = |width: u32| format!("/pictures/{}/{width}{SUFFIX}", picture.id);
        Self {
            url: url(picture.width),
            width: picture.width,
            height: picture.height,
            alt: picture.alt.clone(),
            files: picture
                .widths
                .iter()
                .map(|width| PictureFile {
                    url: url(*width),
                    width: *width,
                })
                .collect(),
        }
    }
}

/// A file of a picture.
///
/// `picture` in a sale has the addresses. The bytes behind one never change: it may be kept for good.
#[utoipa::path(
    get,
    path = "/pictures/{picture}/{file}",
    operation_id = "showPicture",
    tag = "sales",
    params(
        ("picture" = String, Path, description = "The picture's id."),
        ("file" = String, Path, description = "The width in pixels, and `.jpg`.", example = "640.jpg"),
    ),
    responses((status = 200, description = "The file.", content_type = "image/jpeg", body = Vec<u8>)),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path((picture, file)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let is_id = picture.len() == ID_CHARS
        && picture
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let width = file
        .strip_suffix(SUFFIX)
        .filter(|width| !width.starts_with(['0', '+']));
    let width = width
        .and_then(|width| width.parse::<u16>().ok())
        .filter(|_| is_id);
    let width = width.ok_or(Code::NotFound)?;
    let found = app.pictures.file(&app.shop.store, &picture, width.into()).await?;
    let file = found.ok_or(Code::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
        // Widgets show it in pages of others, whatever these ask of what they load.
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
    ];
    Ok((headers, file).into_response())
}

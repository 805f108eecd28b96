//! Links with which a guest takes their place along to another browser.

use super::{Bearer, Problem, rfc3339};
use crate::app::App;
use axum::{extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_engine::{caller::Caller, sale::ms};
use flashsale_protocol::{Code, DeviceId, Reject, Role};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use utoipa::ToSchema;

const CODE_BYTES: usize = 16;
const CODE_CHARS: usize = 22;

#[derive(Debug, Serialize, ToSchema)]
pub struct PlaceLinkMade {
    /// For `POST /session` in the other browser, once. Put it behind a `#`: what stands there is sent to no server.
    code: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PlaceLinkView {
    #[schema(format = DateTime)]
    expires_at: String,
    /// When another browser took it; null: none has.
    #[schema(format = DateTime)]
    taken_at: Option<String>,
}

/// The hash under which a code is stored. None: it is no code.
pub(super) fn hash(code: &str) -> Option<[u8; 32]> {
    let bytes = BASE64
        .decode(code)
        .ok()
        .filter(|bytes| code.len() == CODE_CHARS && bytes.len() == CODE_BYTES)?;
    Some(Sha256::digest(bytes).into())
}

/// The guest's own device. Others sign in at their shop, in whatever browser.
fn guest(caller: &Caller) -> Result<&DeviceId, Problem> {
    let is_guest = caller.role == Role::Shopper && caller.customer().is_none() && caller.device_is_proven;
    match &caller.device {
        Some(device) if is_guest => Ok(device),
        _ => Err(Problem(Reject::because(
            Code::Forbidden,
            "Only guests take their place along by a link: sign in there.",
        ))),
    }
}

/// Make a link to another browser.
///
/// Its code begins a session of the same guest there (`POST /session`), with places, carts and orders; the session here goes on. It is
/// good once, for five minutes, and ends the link that was made before.
#[utoipa::path(
    post,
    path = "/session/link",
    operation_id = "makePlaceLink",
    tag = "session",
    responses((status = 201, description = "The link's code.", body = PlaceLinkMade)),
    security(("token" = [])),
)]
pub async fn make(
    State(app): State<Arc<App>>,
    Bearer(caller): Bearer,
) -> Result<(StatusCode, axum::Json<PlaceLinkMade>), Problem> {
    let device = guest(&caller)?;
    let code = rand::random::<[u8; CODE_BYTES]>();
    let store = &app.shop.store;
    let link = store
        .make_place_link(&caller.account, device, Sha256::digest(code).into())
        .await?;
    let made = PlaceLinkMade {
        code: BASE64.encode(code),
        expires_at: rfc3339(ms(link.expires_at)),
    };
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// What became of the last link.
///
/// Refusal: `link_unknown` if there was none in the last hour.
#[utoipa::path(
    get,
    path = "/session/link",
    operation_id = "showPlaceLink",
    tag = "session",
    responses((status = 200, description = "The link, without its code.", body = PlaceLinkView)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Bearer(caller): Bearer,
) -> Result<axum::Json<PlaceLinkView>, Problem> {
    guest(&caller)?;
    let link = app.shop.store.place_link(&caller.account).await?;
    let link = link.ok_or(Code::LinkUnknown)?;
    Ok(axum::Json(PlaceLinkView {
        expires_at: rfc3339(ms(link.expires_at)),
        taken_at: link.taken_at.map(|at| rfc3339(ms(at))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_code_is_looked_up() {
        let code = BASE64.encode([7; CODE_BYTES]);
        assert_eq!(hash(&code), Some(Sha256::digest([7; CODE_BYTES]).into()));
        for wrong in [
            "",
            "x",
            &code[1..],
            &format!("{code}="),
            &format!("{code}A"),
            &"\u{e9}".repeat(11),
        ] {
            assert_eq!(hash(wrong), None, "{wrong}");
        }
    }
}

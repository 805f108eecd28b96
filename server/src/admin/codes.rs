//! Operators set up an authenticator app, whose codes they then sign in with.

use super::Session;
use crate::{
    accounts::codes::Enrolment,
    app::App,
    rest::{Json, Problem, field},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_engine::store::accounts::CodeSeed;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What an authenticator app is set up with.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct NewCodes {
    /// Goes into the request that begins the codes.
    seed: String,
    /// For typing into the app, in base32.
    secret: String,
    /// For a QR code: `otpauth://totp/…`.
    uri: String,
}

impl From<Enrolment> for NewCodes {
    fn from(enrolment: Enrolment) -> Self {
        Self {
            seed: BASE64.encode(enrolment.seed),
            secret: enrolment.secret,
            uri: enrolment.uri,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginCodesBody {
    #[schema(min_length = 22, max_length = 22)]
    seed: String,
    #[schema(max_length = 256)]
    password: String,
    /// What the app shows now.
    #[schema(max_length = 20, example = "123456")]
    code: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndCodesBody {
    #[schema(max_length = 256)]
    password: String,
    /// What the app shows now.
    #[schema(max_length = 20, example = "123456")]
    code: String,
}

/// Get a secret for an authenticator app.
///
/// It changes nothing: codes are asked for once `beginCodes` has seen one.
#[utoipa::path(
    post,
    path = "/admin/codes",
    operation_id = "prepareCodes",
    tag = "operators",
    responses((status = 200, description = "The secret.", body = NewCodes)),
    security(("session" = [])),
)]
pub async fn prepare(State(app): State<Arc<App>>, session: Session) -> Result<impl IntoResponse, Problem> {
    let enrolment = app.authority.accounts.enrol(&session.signed_in)?;
    let kept_nowhere = [(header::CACHE_CONTROL, "no-store")];
    Ok((kept_nowhere, axum::Json(NewCodes::from(enrolment))))
}

/// Sign in with codes from now on.
///
/// RFC 6238: SHA-1, six digits, 30 seconds. A code works once. The operator's other sessions end. A new link (`inviteOperator`) sets
/// another password, and asks for no code: that is for an operator who has lost the app.
#[utoipa::path(
    post,
    path = "/admin/codes/begin",
    operation_id = "beginCodes",
    tag = "operators",
    request_body = BeginCodesBody,
    responses((status = 204, description = "Codes are asked for.")),
    security(("session" = [])),
)]
pub async fn begin(
    State(app): State<Arc<App>>,
    session: Session,
    Json(body): Json<BeginCodesBody>,
) -> Result<StatusCode, Problem> {
    let seed = BASE64.decode(&body.seed).ok();
    let seed = seed.and_then(|seed| CodeSeed::try_from(seed).ok());
    let seed = seed.ok_or_else(|| field("seed", "must be the one of prepareCodes"))?;
    let Session { browser, signed_in } = session;
    let accounts = &app.authority.accounts;
    accounts
        .begin_codes(&signed_in, seed, body.password, &body.code, browser.address)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sign in without codes from now on.
///
/// The operator's other sessions end.
#[utoipa::path(
    post,
    path = "/admin/codes/end",
    operation_id = "endCodes",
    tag = "operators",
    request_body = EndCodesBody,
    responses((status = 204, description = "No code is asked for.")),
    security(("session" = [])),
)]
pub async fn end(
    State(app): State<Arc<App>>,
    session: Session,
    Json(body): Json<EndCodesBody>,
) -> Result<StatusCode, Problem> {
    let Session { browser, signed_in } = session;
    let accounts = &app.authority.accounts;
    accounts
        .end_codes(&signed_in, body.password, &body.code, browser.address)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

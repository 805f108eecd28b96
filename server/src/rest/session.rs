//! Guest sessions: a signed token bound to a device; and the development sign-in.

use super::{Body, Json, Problem, rfc3339};
use crate::{
    app::App,
    auth::{Authority, GUEST_LIFE, ISSUED_LIFE},
    gateway::ClientAddress,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse},
};
use flashsale_engine::error::Error;
use flashsale_protocol::{Code, DeviceId, Role, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

const COOKIE: &str = "flashsale_device";
const COOKIE_LIFE_S: u64 = 365 * 24 * 3600;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The device of an earlier session, for pages that cannot keep cookies.
    #[serde(default)]
    device: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// A bearer token, valid only with `device`.
    token: String,
    shopper: ShopperId,
    device: DeviceId,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Begin a guest session.
///
/// The same device is the same guest; a device is known by its cookie or its id.
#[utoipa::path(
    post,
    path = "/session",
    operation_id = "beginSession",
    tag = "session",
    request_body = Option<SessionBody>,
    responses((
        status = 200,
        description = "The session.",
        body = Session,
        headers(("Set-Cookie" = String, description = "The device, for the next session.")),
    )),
)]
pub async fn create(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    app.throttle.allow_guest(address).map_err(Problem)?;
    let body: SessionBody = if body.is_empty() {
        SessionBody::default()
    } else {
        body.json()?
    };
    let failed = |error: anyhow::Error| Problem::from(Error::unexpected(error.to_string()));
    let known = body
        .device
        .and_then(|device| app.authority.known_device(&device))
        .or_else(|| device_of(&headers, &app.authority));
    let device = match known {
        Some(device) => device,
        None => app.authority.new_device().map_err(failed)?,
    };
    let shopper = app.authority.guest(&device).map_err(failed)?;
    let token = app
        .authority
        .issue(shopper.clone(), Role::Shopper, Some(device.clone()), GUEST_LIFE)
        .map_err(failed)?;
    let cookie = format!("{COOKIE}={device}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_LIFE_S}");
    let now = flashsale_engine::clock::now_ms();
    let session = Session {
        token,
        shopper,
        device,
        expires_at: rfc3339(now + GUEST_LIFE.as_millis() as u64),
    };
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), axum::Json(session)))
}

/// The device that the request's cookie proves.
pub(crate) fn device_of(headers: &HeaderMap, authority: &Authority) -> Option<DeviceId> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .and_then(|(_, value)| authority.known_device(value))
}

/// Whether the development sign-in is available.
#[utoipa::path(
    get,
    path = "/dev",
    operation_id = "hasDevelopmentSignIn",
    tag = "development",
    responses((status = 204, description = "The server runs with `--dev`.")),
)]
pub async fn dev(State(app): State<Arc<App>>) -> Result<StatusCode, Problem> {
    if app.dev {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Code::NotFound.into())
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    role: Role,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SignedIn {
    token: String,
    shopper: ShopperId,
    role: Role,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Sign in without a password.
///
/// Only with `--dev`, and then only on a loopback address.
#[utoipa::path(
    post,
    path = "/dev/sign-in",
    operation_id = "developmentSignIn",
    tag = "development",
    responses((status = 200, description = "A token of that role.", body = SignedIn)),
)]
pub(crate) async fn dev_sign_in(
    State(app): State<Arc<App>>,
    Json(body): Json<SignIn>,
) -> Result<axum::Json<SignedIn>, Problem> {
    if !app.dev {
        return Err(Code::NotFound.into());
    }
    let role = body.role;
    let shopper: ShopperId = super::parse(
        "role",
        match role {
            Role::Admin => "dev-admin",
            Role::Merchant => "dev-merchant",
            Role::Shopper => "dev-shopper",
        },
    )?;
    let token = app
        .authority
        .issue(shopper.clone(), role, None, ISSUED_LIFE)
        .map_err(|error| Problem::from(Error::unexpected(error.to_string())))?;
    let now = flashsale_engine::clock::now_ms();
    Ok(axum::Json(SignedIn {
        token,
        shopper,
        role,
        expires_at: rfc3339(now + ISSUED_LIFE.as_millis() as u64),
    }))
}

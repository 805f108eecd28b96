//! Guest sessions: a signed token bound to a device; and the development sign-in.

use super::{Body, Json, Problem, rfc3339};
use crate::{
    app::App,
    auth::{Authority, GUEST_LIFE, ISSUED_LIFE},
    error::Error,
    gateway::ClientAddress,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse},
};
use flashsale_protocol::{Code, DeviceId, Role, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const COOKIE: &str = "flashsale_device";
const COOKIE_LIFE_S: u64 = 365 * 24 * 3600;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The device of an earlier session, for pages that cannot keep cookies.
    #[serde(default)]
    device: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Session {
    token: String,
    shopper: String,
    device: String,
    expires_at: String,
}

/// `POST /session`: a guest. The same device is the same guest; a device is known by its cookie or its id.
pub async fn create(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    app.hub.allow_guest(address).map_err(Problem)?;
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
    let now = chrono::Utc::now().timestamp_millis().max(0) as u64;
    let session = Session {
        token,
        shopper: shopper.to_string(),
        device: device.to_string(),
        expires_at: rfc3339(now + GUEST_LIFE.as_millis() as u64),
    };
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), axum::Json(session)))
}

/// The device that the request's cookie proves.
pub fn device_of(headers: &HeaderMap, authority: &Authority) -> Option<DeviceId> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .and_then(|(_, value)| authority.known_device(value))
}

/// `GET /dev`: whether the development sign-in is there.
pub async fn dev(State(app): State<Arc<App>>) -> Result<StatusCode, Problem> {
    if app.dev {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Code::NotFound.into())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    role: Role,
}

#[derive(Debug, Serialize)]
pub struct SignedIn {
    token: String,
    shopper: String,
    role: Role,
    expires_at: String,
}

/// `POST /dev/sign-in`: any role without a password. Only with `--dev`, and then only on a loopback address.
pub async fn dev_sign_in(
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
    let now = chrono::Utc::now().timestamp_millis().max(0) as u64;
    Ok(axum::Json(SignedIn {
        token,
        shopper: shopper.to_string(),
        role,
        expires_at: rfc3339(now + ISSUED_LIFE.as_millis() as u64),
    }))
}

//! Guest sessions: a signed token bound to a device.

use super::{Body, Problem, links, rfc3339};
use crate::{
    app::App,
    auth::{
        GUEST_LIFE,
        devices::{Device, Devices, Shown},
    },
    gateway::{
        client::{ClientAddress, OverTls},
        page::page_of,
    },
};
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{AppendHeaders, IntoResponse},
};
use flashsale_engine::error::Error;
use flashsale_protocol::{Code, DeviceId, Role, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

const COOKIE: &str = "flashsale_device";
/// The prefix makes browsers refuse one that another host has set.
const COOKIE_OVER_TLS: &str = "__Host-flashsale_device";
/// The format since which processes know credentials that are rotated.
const ROTATES: u16 = 2;
const COOKIE_LIFE_S: u64 = 365 * 24 * 3600;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The credential of an earlier session's device, for pages that cannot keep cookies.
    #[serde(default)]
    device: Option<String>,
    /// The code of a link from another browser (`POST /session/link`): this one becomes the same guest. It is good once.
    #[serde(default)]
    #[schema(max_length = 22)]
    link: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// A bearer token, valid only on this device.
    token: String,
    /// The guest. At each merchant they are another person, with an id that is known there only.
    shopper: ShopperId,
    /// The device's credential: keep it secret, and show it at the next session. It may change with each session, and the one of
    /// before is good for another day. If a cookie proved the device, only its id.
    device: String,
    /// The device's id, which stays the same.
    device_id: DeviceId,
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
    over_tls: OverTls,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    app.throttle.allow_guest(address).map_err(Problem)?;
    let made = begin(&app, over_tls, &headers, &body).await;
    if made.is_err() {
        app.throttle.give_guest_back(address);
    }
    made
}

async fn begin(
    app: &App,
    OverTls(over_tls): OverTls,
    headers: &HeaderMap,
    body: &Body,
) -> Result<impl IntoResponse + use<>, Problem> {
    let body: SessionBody = if body.is_empty() {
        SessionBody::default()
    } else {
        body.json()?
    };
    let (device, kept_by_cookie) = match &body.link {
        Some(code) => (along(app, code).await?, false),
        None => shown(app, headers, &body).await?,
    };
    let token = app
        .authority
        .signer
        .issue(
            device.guest.clone(),
            Role::Shopper,
            Some(device.id.clone()),
            GUEST_LIFE,
        )
        .map_err(|error| Problem::from(Error::unexpected(error.to_string())))?;
    // Another site's page could make this browser somebody else by a form with a link of its own.
    let is_elsewhere = body.link.is_some() && page_of(headers, over_tls).is_some();
    let cookie = (!is_elsewhere).then(|| (header::SET_COOKIE, cookie_of(&device, over_tls)));
    let now = flashsale_engine::clock::now_ms();
    let session = Session {
        token,
        shopper: device.guest,
        // Whoever showed a cookie has the secret there, where no script reads it.
        device: match kept_by_cookie {
            true => device.id.to_string(),
            false => device.credential,
        },
        device_id: device.id,
        expires_at: rfc3339(now + GUEST_LIFE.as_millis() as u64),
    };
    Ok((AppendHeaders(cookie), axum::Json(session)))
}

/// The device that a link comes from. Whatever this browser was before, it is not asked: a new credential replaces its own.
async fn along(app: &App, code: &str) -> Result<Device, Problem> {
    let code = links::hash(code).ok_or(Code::LinkUnknown)?;
    let taken = app.shop.store.take_place_link(code).await?;
    let (guest, id) = taken.ok_or(Code::LinkUnknown)?;
    let device = app.authority.devices.again(&app.shop.store, &id, guest).await?;
    match app.shop.merchants.is_erased(&device.guest) {
        true => Err(Code::LinkUnknown.into()),
        false => Ok(device),
    }
}

/// The device of the cookie or of the body, or a new one; and whether a cookie has proved it.
async fn shown(app: &App, headers: &HeaderMap, body: &SessionBody) -> Result<(Device, bool), Problem> {
    let cookie = device_of(headers, &app.authority.devices);
    let named = body.device.as_deref();
    // The cookie's own page may know the device's id, and not its secret.
    let by_cookie = cookie.filter(|shown| named.is_none_or(|named| named == shown.id()));
    let kept_by_cookie = by_cookie.is_some();
    let shown = match (by_cookie, named) {
        (Some(shown), _) => Some(shown),
        (None, Some(named)) => Some(app.authority.devices.check(named).ok_or(Code::DeviceUnknown)?),
        (None, None) => None,
    };
    Ok((device(app, shown, kept_by_cookie).await?, kept_by_cookie))
}

/// The device that was shown, or a new one.
async fn device(app: &App, shown: Option<Shown>, by_cookie: bool) -> Result<Device, Problem> {
    let devices = &app.authority.devices;
    // A process of an older release would not know new credentials.
    let is_mixed = app.shop.new_format().await? < ROTATES;
    let Some(shown) = shown else {
        let made = devices.make()?;
        return Ok(match is_mixed {
            true => devices.old_style(made.id.as_str())?,
            false => made,
        });
    };
    if is_mixed && shown.is_old() {
        return Ok(devices.old_style(shown.id())?);
    }
    let since = app.shop.merchants.since().timestamp_millis().max(0) as u64;
    match devices.present(&app.shop.store, since, shown).await? {
        Some(device) if !app.shop.merchants.is_erased(&device.guest) => Ok(device),
        // A page cannot do anything about its cookie.
        _ if by_cookie => Ok(devices.make()?),
        _ => Err(Code::DeviceUnknown.into()),
    }
}

fn cookie_of(device: &Device, over_tls: bool) -> String {
    let (name, secure) = match over_tls {
        true => (COOKIE_OVER_TLS, "; Secure"),
        false => (COOKIE, ""),
    };
    let credential = &device.credential;
    format!("{name}={credential}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_LIFE_S}{secure}")
}

/// Takes the cookies away.
pub(super) fn forgotten_cookies() -> [String; 2] {
    [
        format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"),
        format!("{COOKIE_OVER_TLS}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure"),
    ]
}

/// The device whose credential is in the request's cookie.
pub(crate) fn device_of(headers: &HeaderMap, devices: &Devices) -> Option<Shown> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let cookies: Vec<_> = cookies.collect();
    let by_name = |wanted: &str| {
        let values = cookies.iter().filter(|(name, _)| *name == wanted);
        let mut shown = values.filter_map(|(_, value)| devices.check(value));
        let first = shown.next()?;
        // Of two devices under one name, another page may have set either: neither counts.
        Some(shown.all(|other| other.id() == first.id()).then_some(first))
    };
    // A sibling domain could set the plain one.
    by_name(COOKIE_OVER_TLS).or_else(|| by_name(COOKIE)).flatten()
}

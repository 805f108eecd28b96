//! Operators sign in and out, set their passwords, and get tickets for the admin page's socket.

use super::Session;
use crate::{
    accounts::{self, Begun, SESSION_LIFE, SignedIn, TICKET_LIFE},
    app::App,
    rest::{Json, Problem, browser::Browser, field, rfc3339},
};
use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{AppendHeaders, IntoResponse},
};
use flashsale_engine::{clock, operator::OperatorRole};
use flashsale_protocol::Code;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    #[schema(max_length = 254, example = "ann@shop.example")]
    email: String,
    #[schema(max_length = 256)]
    password: String,
    /// What the authenticator app shows, for an operator who has set one up: without it the refusal is `code_needed`.
    #[serde(default)]
    #[schema(max_length = 20, example = "123456")]
    code: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    /// The secret of the link, which stands behind `#invite=`.
    #[schema(max_length = 100)]
    invite: String,
    #[schema(min_length = 12, max_length = 256)]
    password: String,
}

/// The operator who has signed in.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OperatorSession {
    operator: String,
    email: String,
    #[cfg_attr(test, ts(type = "\"admin\" | \"owner\" | \"staff\" | \"viewer\""))]
    role: OperatorRole,
    /// The id of their merchant; null: an admin of the platform.
    merchant: Option<String>,
    /// They sign in with the code of an authenticator app as well.
    has_codes: bool,
    /// The shop's pages are at this origin too, so that links can lead to them.
    has_shop_pages: bool,
    /// When the session ends at the latest. It ends earlier if it is not used.
    #[schema(format = DateTime)]
    expires_at: String,
}

impl OperatorSession {
    fn new(app: &App, signed_in: &SignedIn) -> Self {
        let account = &signed_in.account;
        Self {
            operator: account.id.clone(),
            email: account.email.clone(),
            role: account.role,
            merchant: account.merchant.clone(),
            has_codes: account.has_codes,
            has_shop_pages: app.admin_origin.is_none(),
            expires_at: rfc3339(signed_in.expires_at),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Ticket {
    /// Stands in place of a token in one `hello`.
    ticket: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Answers with a session's cookie are kept nowhere.
const KEPT_NOWHERE: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

fn begun(app: &App, browser: &Browser, begun: Begun) -> impl IntoResponse + use<> {
    let cookie = browser.cookie(Some(&begun.secret), SESSION_LIFE.as_secs());
    let headers = AppendHeaders([(header::SET_COOKIE, cookie)]);
    (
        headers,
        [KEPT_NOWHERE],
        axum::Json(OperatorSession::new(app, &begun.signed_in)),
    )
}

/// Sign an operator in.
///
/// The session is in a cookie that no script reads. An address that nobody has gets the same answer as a wrong password. Needs the
/// header `Flash-Sale-Operator: 1`, as every request with that cookie that changes something.
#[utoipa::path(
    post,
    path = "/admin/session",
    operation_id = "signIn",
    tag = "operators",
    params(("Flash-Sale-Operator" = String, Header, description = "`1`: no other site can send it.")),
    request_body = SignInBody,
    responses((
        status = 200,
        description = "The operator.",
        body = OperatorSession,
        headers(("Set-Cookie" = String, description = "The session.")),
    )),
)]
pub async fn sign_in(
    State(app): State<Arc<App>>,
    browser: Browser,
    body: Json<SignInBody>,
) -> Result<impl IntoResponse, Problem> {
    browser.check_is_ours()?;
    browser.check_is_safe()?;
    let Json(SignInBody {
        email,
        password,
        code,
    }) = body;
    let made = app
        .authority
        .accounts
        .sign_in(&email, password, code.as_deref(), browser.address)
        .await?;
    Ok(begun(&app, &browser, made))
}

/// Set a password by a link, and sign in with it.
///
/// A link works once, and ends the sessions of before.
#[utoipa::path(
    post,
    path = "/admin/password",
    operation_id = "setPassword",
    tag = "operators",
    params(("Flash-Sale-Operator" = String, Header, description = "`1`: no other site can send it.")),
    request_body = PasswordBody,
    responses((
        status = 200,
        description = "The operator.",
        body = OperatorSession,
        headers(("Set-Cookie" = String, description = "The session.")),
    )),
)]
pub async fn set_password(
    State(app): State<Arc<App>>,
    browser: Browser,
    body: Json<PasswordBody>,
) -> Result<impl IntoResponse, Problem> {
    browser.check_is_ours()?;
    browser.check_is_safe()?;
    let Json(PasswordBody { invite, password }) = body;
    if let Some(wrong) = accounts::wrong_password(&password) {
        return Err(field("password", &wrong));
    }
    let made = app
        .authority
        .accounts
        .set_password(&invite, password, browser.address)
        .await?;
    Ok(begun(&app, &browser, made))
}

/// The operator who has signed in here.
///
/// That nobody has is an answer too: a page asks this first, and can do nothing about it.
#[utoipa::path(
    get,
    path = "/admin/session",
    operation_id = "showOperatorSession",
    tag = "operators",
    responses(
        (status = 200, description = "The operator.", body = OperatorSession),
        (status = 204, description = "Nobody has signed in, or the session has ended."),
    ),
)]
pub async fn show(State(app): State<Arc<App>>, browser: Browser) -> Result<impl IntoResponse, Problem> {
    let Some(secret) = browser.session.as_deref() else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    match app.authority.accounts.session(secret, browser.address).await {
        Ok(signed_in) => {
            let session = axum::Json(OperatorSession::new(&app, &signed_in));
            Ok(([KEPT_NOWHERE], session).into_response())
        }
        Err(reject) if reject.code == Code::TokenInvalid => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(reject) => Err(Problem(reject)),
    }
}

/// Sign out here.
#[utoipa::path(
    delete,
    path = "/admin/session",
    operation_id = "signOut",
    tag = "operators",
    responses((status = 204, description = "The session has ended.")),
    security(("session" = [])),
)]
pub async fn sign_out(State(app): State<Arc<App>>, session: Session) -> Result<impl IntoResponse, Problem> {
    let Session { browser, signed_in } = session;
    app.authority
        .accounts
        .sign_out(&signed_in, browser.address)
        .await?;
    let gone = AppendHeaders([(header::SET_COOKIE, browser.cookie(None, 0))]);
    Ok((StatusCode::NO_CONTENT, gone))
}

/// Sign out everywhere.
///
/// All sessions of this operator end, this one too.
#[utoipa::path(
    delete,
    path = "/admin/sessions",
    operation_id = "signOutEverywhere",
    tag = "operators",
    responses((status = 204, description = "The sessions have ended.")),
    security(("session" = [])),
)]
pub async fn sign_out_everywhere(
    State(app): State<Arc<App>>,
    session: Session,
) -> Result<impl IntoResponse, Problem> {
    let Session { browser, signed_in } = session;
    app.authority
        .accounts
        .sign_out_everywhere(&signed_in, browser.address)
        .await?;
    let gone = AppendHeaders([(header::SET_COOKIE, browser.cookie(None, 0))]);
    Ok((StatusCode::NO_CONTENT, gone))
}

/// Get a ticket for a socket.
///
/// It opens one socket of the admin page, within 30 seconds: it stands in `hello` where others have a token. What the socket may do
/// ends with the session.
#[utoipa::path(
    post,
    path = "/admin/ticket",
    operation_id = "makeTicket",
    tag = "operators",
    responses((status = 200, description = "The ticket.", body = Ticket)),
    security(("session" = [])),
)]
pub async fn ticket(State(app): State<Arc<App>>, session: Session) -> Result<impl IntoResponse, Problem> {
    let ticket = app.authority.accounts.ticket(&session.signed_in).await?;
    let expires_at = rfc3339(clock::now_ms() + TICKET_LIFE.as_millis() as u64);
    Ok(([KEPT_NOWHERE], axum::Json(Ticket { ticket, expires_at })))
}

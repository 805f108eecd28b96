//! REST: a second door to the same command functions, with the brief's paths and fields. Errors are problem+json
//! (RFC 9457) with the same codes as on the socket.

pub mod browser;
mod cached;
pub mod carts;
pub mod draw;
pub mod links;
pub mod me;
pub mod merchants;
pub(crate) mod meter;
pub mod orders;
pub mod payments;
pub mod pictures;
pub mod polling;
pub mod queue;
pub mod sales;
pub mod session;

use crate::{
    app::App,
    gateway::{client::OverTls, page::page_of},
};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use flashsale_engine::{caller::Caller, command, store::audit};
use flashsale_protocol::{Code, CommandId, DeviceId, OrderId, Reject, ShopCommand, ShopperId, json};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{any::Any, str::FromStr, sync::Arc};
use utoipa::{IntoParams, ToSchema};

/// A refusal as problem+json.
#[derive(Debug)]
pub struct Problem(pub Reject);

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        Self(reject)
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self(code.into())
    }
}

impl From<flashsale_engine::error::Error> for Problem {
    fn from(error: flashsale_engine::error::Error) -> Self {
        Self(error.into())
    }
}

/// A refusal (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `urn:flashsale:problem:` and the code.
    r#type: String,
    title: &'static str,
    status: u16,
    code: Code,
    /// The exact refusal, for a person.
    detail: String,
    /// Whether the same request may succeed later, unchanged.
    retry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// A declined payment leaves this order pending, for another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
}

/// The header that makes a repetition harmless.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the document's words for what `run` reads")]
pub struct IdempotencyKey {
    /// Made by the client, 1 to 255 visible characters. A ULID is the command's id itself, as on the socket; any other text is
    /// turned into one. Repeat a request with the same key: it has its effect once, and the same answer.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        value_type = String,
        required = false
    )]
    idempotency_key: Option<String>,
}

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

impl From<Reject> for ProblemBody {
    fn from(reject: Reject) -> Self {
        let Reject {
            code,
            message,
            retry,
            retry_after_ms,
            order,
        } = reject;
        Self {
            r#type: format!("urn:flashsale:problem:{}", code.word()),
            title: code.text(),
            status: code.http_status(),
            code,
            detail: message,
            retry,
            retry_after_ms,
            order_id: order,
        }
    }
}

impl ProblemBody {
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody::from(self.0);
        let retry_after_ms = body.retry_after_ms;
        let status = StatusCode::from_u16(body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(ms) = retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub async fn not_found() -> Problem {
    Code::NotFound.into()
}

pub async fn method_not_allowed() -> Problem {
    Code::MethodNotAllowed.into()
}

/// A defect of ours ends one request, not the process.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::from(Code::Internal).into_response()
}

/// The caller of a REST request: `Authorization: Bearer …`, with the device from `X-Device-Id` or the device cookie.
pub struct Bearer(pub Caller);

/// What `Authorization: Bearer …` says.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = once(headers, "Authorization")? else {
        return Ok(None);
    };
    let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Ok(bearer.map(|(_, token)| token.trim()))
}

/// A header that says who asks, or for what. Of two, each program on the way might take another one.
pub(crate) fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(field(name, "must be given once")),
    }
}

impl FromRequestParts<Arc<App>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?.ok_or(Code::TokenMissing)?;
        let named = match once(&parts.headers, "X-Device-Id")?.map(HeaderValue::to_str) {
            Some(Ok(text)) => Some(parse::<DeviceId>("X-Device-Id", text)?),
            Some(Err(_)) => return Err(field("X-Device-Id", "is not readable")),
            // A cookie says nothing against a token of another device: it belongs to the page, not to the request.
            None => None,
        };
        let mut caller = app.authority.verify(token, named.as_ref()).await?;
        if caller.device.is_none()
            && let Some(shown) = session::device_of(&parts.headers, &app.authority.devices)
        {
            caller.device = Some(parse("device", shown.id())?);
            caller.device_is_proven = true;
        }
        let Ok(OverTls(over_tls)) = OverTls::from_request_parts(parts, app).await;
        if let Some(page) = page_of(&parts.headers, over_tls) {
            caller.set(|rare| rare.page = Some(page));
        }
        meter::allow(app, &parts.extensions, &caller).map_err(Problem)?;
        Ok(Self(caller))
    }
}

impl Bearer {
    /// The path's `{user_id}` must be the token's subject, or the id that its session has here, unless the token is an admin's.
    pub(crate) fn acting_for(mut self, user: &str) -> Result<Caller, Problem> {
        let subject = self.0.customer().map(|customer| customer.subject.as_str());
        if self.0.account.as_str() == user || subject == Some(user) {
            return Ok(self.0);
        }
        if !self.0.is_admin() {
            return Err(Problem(Reject::because(
                Code::Forbidden,
                "The token belongs to another user.",
            )));
        }
        let user: ShopperId = parse("user_id", user)?;
        let operator = self.0.account.to_string();
        self.0.set(|rare| rare.operator = Some(operator));
        (self.0.account, self.0.shopper) = (user.clone(), user);
        Ok(self.0)
    }
}

/// A JSON body: malformed JSON and wrong fields get the same codes as on the socket.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        Body::from_request(request, app).await?.json().map(Json)
    }
}

/// An unread body, which may be empty.
pub struct Body(Bytes);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        Bytes::from_request(request, app)
            .await
            .map(Self)
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Code::FrameTooLarge.into(),
                _ => Code::BadJson.into(),
            })
    }
}

impl Body {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn whole(&self) -> Bytes {
        self.0.clone()
    }

    /// What the body says: JSON texts that differ only in spaces say the same.
    pub(crate) fn sense(&self) -> String {
        match self.value() {
            Ok(value) => audit::canonical(&value),
            Err(_) if self.is_empty() => String::new(),
            Err(_) => hex::encode(Sha256::digest(&self.0)),
        }
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let value = self.value()?;
        Ok(json::read(value).map_err(|error| Reject::because(Code::InvalidField, error))?)
    }

    pub fn value(&self) -> Result<Value, Problem> {
        json::parse_message(&self.0)
            .map_err(|error| Reject::because(Code::BadJson, format!("The body is not JSON: {error}")).into())
    }
}

/// Segments of a path; a segment that is not text names nothing.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        // No text of ours has this character, and Postgres does not accept it.
        if parts.uri.path().contains("%00") {
            return Err(Code::NotFound.into());
        }
        let path = axum::extract::Path::from_request_parts(parts, app).await;
        path.map(|axum::extract::Path(segments)| Self(segments))
            .map_err(|_| Code::NotFound.into())
    }
}

/// A path segment or header that is an id.
pub fn parse<T: FromStr<Err = flashsale_protocol::id::InvalidId>>(
    name: &str,
    text: &str,
) -> Result<T, Problem> {
    text.parse().map_err(|error| field(name, &format!("{error}")))
}

/// A sale's id in a path. A malformed id counts as unknown.
pub struct SalePath(pub flashsale_protocol::SaleId);

impl FromRequestParts<Arc<App>> for SalePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Path(sale) = Path::<String>::from_request_parts(parts, app).await?;
        sale.parse().map(Self).map_err(|_| Code::SaleUnknown.into())
    }
}

pub fn field(name: &str, what: &str) -> Problem {
    Problem(Reject::because(Code::InvalidField, format!("{name}: {what}.")))
}

/// Runs a command for a REST caller. `Idempotency-Key` is the command's id; without it every request is a new command.
pub async fn run(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    command: ShopCommand,
) -> Result<flashsale_protocol::Done, Problem> {
    let id = command_id(headers)?;
    Ok(command::run(&app.shop, caller, id, command).await?)
}

/// The id of a request's command: its `Idempotency-Key`, or a new one.
pub fn command_id(headers: &HeaderMap) -> Result<CommandId, Problem> {
    Ok(idempotency_key(headers)?.unwrap_or_else(command::command_id_now))
}

/// The command's id from a request's `Idempotency-Key`.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<CommandId>, Problem> {
    const MAX_KEY_CHARS: usize = 255;
    let mut keys = headers.get_all("idempotency-key").iter();
    Ok(match (keys.next().map(|key| key.to_str()), keys.next()) {
        (None, _) => None,
        (Some(Ok(key)), None) if (1..=MAX_KEY_CHARS).contains(&key.len()) => Some(command::command_id(key)),
        _ => {
            return Err(field(
                "Idempotency-Key",
                "must be given once, as 1 to 255 visible ASCII characters",
            ));
        }
    })
}

/// A time in ms since 1970, as RFC 3339.
pub(crate) fn rfc3339(ms: u64) -> String {
    chrono::DateTime::from_timestamp_millis(ms as i64)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

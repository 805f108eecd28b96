//! Receives, carries out once and answers operators' commands, all in one way. A command brings its effect, which runs in the
//! transaction of [`OperatorChange`].

use super::Operator;
use crate::{
    app::App,
    rest::{self, Body, Problem, ProblemBody, browser::Browser, field, sales::SaleView},
};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use flashsale_engine::{
    clock, command,
    error::{Error, Result},
    merchants::Merchants,
    sale::{Sale, Shown},
    settle::lanes,
    store::{
        Connection,
        events::By,
        operators::{Asked, CommandBegun, Condition, OnceBegun, OperatorAnswer, OperatorChange},
    },
};
use flashsale_protocol::{Code, CommandId, Phase, Reject, SaleId};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Largest number of times that settings are sent to Redis again because they changed meanwhile.
const SPREAD_TRIES: usize = 8;

/// The header that makes a command conditional.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the document's words for what `condition` reads")]
pub struct IfMatch {
    /// The `ETag` of the sale that the operator looked at, such as `"3"`. If operators have changed the sale's settings since,
    /// nothing is changed, and the refusal is `version_changed`.
    #[param(rename = "If-Match", value_type = String, required = false)]
    if_match: Option<String>,
}

/// An answer about a sale, or about something in it, with the version of the sale's settings. The same as the `ETag`.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Versioned<T> {
    #[serde(flatten)]
    pub of: T,
    /// Raised by each change of an operator; used in `If-Match`.
    #[schema(minimum = 1)]
    pub version: i64,
}

impl<T: Serialize> Versioned<T> {
    /// The answer, with the version as this transaction sees it.
    pub(crate) fn in_change(of: T, change: &OperatorChange) -> Result<Value, Problem> {
        let version = change.version();
        serde_json::to_value(Self { of, version })
            .map_err(|error| Error::unexpected(format!("an answer that is no JSON: {error}")).into())
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let tag = tag(self.version);
        ([(header::ETAG, tag)], axum::Json(self)).into_response()
    }
}

/// An operator's request to change something.
pub struct Instruction {
    pub operator: Operator,
    /// The client's address.
    address: String,
    asked: Asked,
    body: Body,
}

impl FromRequest<Arc<App>> for Instruction {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let head = Head::from_request_parts(&mut parts, app).await?;
        let body = Body::from_request(Request::from_parts(parts, body), app).await?;
        Ok(head.with(body))
    }
}

/// An instruction whose body is still to be read: who gives it is known, and that they may.
pub(super) struct Head {
    operator: Operator,
    address: String,
    key: Option<CommandId>,
    condition: Condition,
    /// Method, path and query.
    what: [String; 2],
}

impl FromRequestParts<Arc<App>> for Head {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let operator = Operator::from_request_parts(parts, app).await?;
        let browser = Browser::from_request_parts(parts, app).await?;
        let address = parts.uri.path_and_query();
        Ok(Self {
            operator,
            address: browser.address.to_string(),
            key: rest::idempotency_key(&parts.headers)?,
            condition: condition(&parts.headers)?,
            what: [
                parts.method.to_string(),
                address.map_or_else(String::new, |address| address.as_str().to_owned()),
            ],
        })
    }
}

impl Head {
    pub(super) fn with(self, body: Body) -> Instruction {
        let [method, address] = &self.what;
        let Operator(caller) = &self.operator;
        let asked = Asked {
            actor: caller.account.to_string(),
            is_program: self.operator.is_program(),
            key: self.key,
            digest: command::digest("operator", &[method, address, &body.sense()]),
            condition: self.condition,
        };
        Instruction {
            operator: self.operator,
            address: self.address,
            asked,
            body,
        }
    }
}

impl Instruction {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.body.json()
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.body.whole()
    }

    /// The body of a command that needs none.
    pub fn json_or_nothing<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        match self.body.is_empty() {
            true => Ok(T::default()),
            false => self.json(),
        }
    }

    /// Who asks, and from where.
    pub fn by(&self) -> By<'_> {
        self.operator.by(&self.address)
    }

    /// The key as a command's id, or a new one.
    pub fn command(&self) -> CommandId {
        self.asked.key.unwrap_or_else(command::command_id_now)
    }

    pub(crate) fn is_conditional(&self) -> bool {
        self.asked.condition != Condition::None
    }
}

/// The outcome of a command.
pub struct Done {
    answer: OperatorAnswer,
    /// Something was set by this request, or by an earlier one with its key that may have died before it told others.
    has_changed: bool,
}

impl Done {
    pub(crate) fn is_refused(&self) -> bool {
        self.answer.status >= StatusCode::BAD_REQUEST.as_u16()
    }

    pub(crate) fn body(&mut self) -> &mut Value {
        &mut self.answer.body
    }

    /// The sale that the answer is about, if it is about one.
    pub fn sale(&self) -> Option<SaleId> {
        self.answer.body["sale_id"].as_str()?.parse().ok()
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let kind = if self.is_refused() {
            rest::PROBLEM_JSON
        } else {
            "application/json"
        };
        let OperatorAnswer {
            status,
            version,
            body,
        } = self.answer;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::ETAG, tag(version)),
        ];
        (status, headers, body.to_string()).into_response()
    }
}

/// Carries a command out: one after the other per sale, once per key, and only under its condition. `effect` checks everything,
/// then writes, and returns the answer. Refusals that depend on the sale's state are kept for the key. Not kept are our own
/// failures, and refusals that the same request always gets.
pub async fn run<F>(
    app: &App,
    instruction: &Instruction,
    sale: SaleId,
    status: StatusCode,
    effect: F,
) -> Result<Done, Problem>
where
    F: for<'c> FnOnce(&'c mut OperatorChange) -> BoxFuture<'c, Result<Value, Problem>>,
{
    let mut change = match app.shop.store.begin_change(&instruction.asked, sale).await? {
        CommandBegun::New(change) => change,
        CommandBegun::Known(answer) => {
            return Ok(Done {
                answer,
                has_changed: true,
            });
        }
        CommandBegun::Reused => return Err(Code::CommandIdReused.into()),
        CommandBegun::Moved(version) => {
            let answer = refusal(Code::VersionChanged.into(), version);
            return Ok(Done {
                answer,
                has_changed: false,
            });
        }
    };
    let answer = match effect(&mut change).await {
        Ok(body) => OperatorAnswer {
            status: status.as_u16(),
            version: change.version(),
            body,
        },
        Err(Problem(reject)) if is_kept(reject.code) => refusal(reject, change.version()),
        Err(problem) => return Err(problem),
    };
    let has_changed = change.has_changed();
    change.finish(&answer).await?;
    Ok(Done { answer, has_changed })
}

/// The same for a command that is about no sale: once per key. Its version is that of the answer.
pub async fn once<F>(
    app: &App,
    instruction: &Instruction,
    about: &str,
    status: StatusCode,
    effect: F,
) -> Result<Done, Problem>
where
    F: for<'c> FnOnce(&'c mut Connection, By<'c>) -> BoxFuture<'c, Result<Value, Problem>>,
{
    let mut once = match app.shop.store.begin_once(&instruction.asked, about).await? {
        OnceBegun::New(once) => once,
        OnceBegun::Known(answer) => {
            return Ok(Done {
                answer,
                has_changed: true,
            });
        }
        OnceBegun::Reused => return Err(Code::CommandIdReused.into()),
    };
    let body = effect(once.connection(), instruction.by()).await?;
    let answer = OperatorAnswer {
        status: status.as_u16(),
        version: body["version"].as_i64().unwrap_or(1),
        body,
    };
    once.finish(&answer).await?;
    Ok(Done {
        answer,
        has_changed: true,
    })
}

fn is_kept(code: Code) -> bool {
    code != Code::CommandIdReused && code.http_status() < StatusCode::INTERNAL_SERVER_ERROR.as_u16()
}

fn refusal(reject: Reject, version: i64) -> OperatorAnswer {
    let body = ProblemBody::from(reject);
    OperatorAnswer {
        status: body.status(),
        version,
        body: serde_json::to_value(body).unwrap_or_default(),
    }
}

/// A sale's numbers in Redis, read before the transaction, so that nobody waits for Redis with a sale's row locked.
pub struct Numbers {
    pub now: u64,
    free: u64,
    waiting: u64,
    phase: Option<Phase>,
    merchants: Arc<Merchants>,
}

impl Numbers {
    pub async fn of(app: &App, sale: Sale) -> Result<Self> {
        let (now, mut shown) = app.shop.showcase.with_numbers(vec![sale], false).await?;
        let shown = shown.pop().ok_or(Error::LaneMissing)?;
        Ok(Self {
            now,
            free: shown.free,
            waiting: shown.waiting,
            phase: shown.phase,
            merchants: app.shop.merchants.clone(),
        })
    }

    /// The numbers of a sale that is being created.
    pub(crate) fn of_new(app: &App, sale: &Sale) -> Self {
        Self {
            now: clock::now_ms(),
            free: sale.total_stock.into(),
            waiting: 0,
            phase: None,
            merchants: app.shop.merchants.clone(),
        }
    }

    /// The numbers with this many more free units; fewer if negative.
    pub(crate) fn with_more(self, units: i64) -> Self {
        Self {
            free: self.free.saturating_add_signed(units),
            ..self
        }
    }

    /// The answer about the sale, as this transaction sees it.
    pub async fn view(&self, change: &mut OperatorChange) -> Result<Value, Problem> {
        let shown = Shown {
            sale: change.sale().await?,
            free: self.free,
            waiting: self.waiting,
            phase: self.phase,
        };
        Versioned::in_change(SaleView::new(&self.merchants, &shown, self.now, false), change)
    }
}

/// Tells Redis and all processes the new settings. May be repeated; workers also do it, at most a second later.
pub async fn spread(app: &App, done: &Done, id: SaleId) -> Result<()> {
    match done.is_refused() || !done.has_changed {
        true => Ok(()),
        false => spread_settings(app, id).await,
    }
}

pub(super) async fn spread_settings(app: &App, id: SaleId) -> Result<()> {
    // Repeated until nothing has changed meanwhile: of two requests at once, the last one to write has read the newest settings.
    let mut told = None;
    for _ in 0..SPREAD_TRIES {
        let Some(sale) = app.shop.store.sale(id).await? else {
            break;
        };
        if told == Some(sale.settings_version) {
            break;
        }
        lanes::open(&app.shop, &sale).await?;
        told = Some(sale.settings_version);
    }
    app.shop.sale_changed(id).await
}

/// The versions of which one must be the present one; None: any will do.
pub(super) fn version_wanted(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    Ok(match condition(headers)? {
        Condition::None => None,
        Condition::OneOf(tags) => Some(tags),
    })
}

/// The versions in `If-Match`. A weak tag matches nothing (RFC 9110).
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let mut tags = Vec::new();
    let mut any = false;
    let wrong = || field("If-Match", r#"must be the ETag of the sale, such as "3", or *"#);
    for value in headers.get_all(header::IF_MATCH) {
        for part in value.to_str().map_err(|_| wrong())?.split(',') {
            let part = part.trim();
            let strong = part.strip_prefix("W/").unwrap_or(part);
            let opaque = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            match opaque {
                _ if part == "*" => any = true,
                Some(_) if strong.len() != part.len() => {}
                Some(tag) if !tag.contains('"') => tags.push(tag.to_owned()),
                _ => return Err(wrong()),
            }
        }
    }
    Ok(if any || !headers.contains_key(header::IF_MATCH) {
        Condition::None
    } else {
        Condition::OneOf(tags)
    })
}

fn tag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

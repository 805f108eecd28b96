//! The keys of a merchant's own programs: made, listed, revoked; and the scope that each request needs.

use super::{
    Operator,
    command::{self, Done, Instruction},
};
use crate::{
    accounts::api_keys,
    app::App,
    rest::{IdempotencyKey, Path, Problem, browser::Browser, field, rfc3339},
};
use axum::{extract::State, http::StatusCode};
use flashsale_engine::{
    clock,
    error::Error,
    operator::Scope,
    sale::ms,
    store::api_keys::{self as stored, ApiKeyRow},
};
use flashsale_protocol::{Code, Reject};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use ulid::Ulid;
use utoipa::ToSchema;

/// Keys of a merchant that are not revoked, at most; and keys in a list.
const MAX_KEYS: i64 = 20;
const LIST_MOST: i64 = 200;
const MAX_NAME_CHARS: usize = 100;

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyBody {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100, example = "the warehouse")]
    name: String,
    /// What it may do.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyView {
    key_id: String,
    name: String,
    scopes: Vec<Scope>,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: String,
    /// Its last use, a minute late at most; null: never.
    #[schema(format = DateTime)]
    used_at: Option<String>,
    /// Since when it is refused; null: it is good.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

impl From<ApiKeyRow> for ApiKeyView {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            key_id: row.id,
            name: row.name,
            scopes: row.scopes,
            created_at: rfc3339(ms(row.created_at)),
            created_by: row.created_by,
            used_at: row.used_at.map(|at| rfc3339(ms(at))),
            revoked_at: row.revoked_at.map(|at| rfc3339(ms(at))),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NewApiKey {
    #[serde(flatten)]
    key: ApiKeyView,
    /// The key itself, for `Authorization: Bearer`. It is shown this once.
    secret: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyList {
    keys: Vec<ApiKeyView>,
}

/// Make an API key.
///
/// It is for a program of the merchant's, and does what its scopes say. Refusal: `quota_reached` with 20 keys that are not revoked.
#[utoipa::path(
    post,
    path = "/admin/merchants/{merchant}/api-keys",
    operation_id = "makeApiKey",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses."), IdempotencyKey),
    request_body = ApiKeyBody,
    responses((status = 201, description = "The key.", body = NewApiKey)),
    security(("token" = [])),
)]
pub async fn make(
    State(app): State<Arc<App>>,
    Path(merchant): Path<String>,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let operator = &instruction.operator;
    operator.check_manages_access()?;
    let merchant = operator.merchant(&app, &merchant).await?;
    let body: ApiKeyBody = instruction.json()?;
    let name = body.name.trim();
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || name.contains(char::is_control) {
        return Err(field(
            "name",
            &format!("must have 1 to {MAX_NAME_CHARS} characters, and no control characters"),
        ));
    }
    let mut scopes = body.scopes.clone();
    scopes.sort_by_key(|scope| scope.word());
    scopes.dedup();
    if scopes.is_empty() {
        return Err(field("scopes", "must name one at least"));
    }
    let row = ApiKeyRow {
        id: format!("key_{}", Ulid::from_parts(clock::now_ms(), rand::random())),
        merchant: merchant.row.id.clone(),
        name: name.to_owned(),
        scopes,
        created_at: clock::now(),
        created_by: operator.0.account.to_string(),
        used_at: None,
        revoked_at: None,
    };
    let secret = app.authority.signer.api_key(&row.id);
    let hash = api_keys::hash_of(&secret);
    let mut done = command::once(
        &app,
        &instruction,
        &merchant.row.id,
        StatusCode::CREATED,
        move |connection, by| {
            Box::pin(async move {
                if !stored::add(connection, &row, &hash, MAX_KEYS, by).await? {
                    return Err(Problem(Reject::because(
                        Code::QuotaReached,
                        format!("The shop has {MAX_KEYS} API keys: revoke one first."),
                    )));
                }
                Ok(serde_json::to_value(ApiKeyView::from(row))
                    .map_err(|error| Error::unexpected(error.to_string()))?)
            })
        },
    )
    .await?;
    // The answer that is kept has no secret: it follows from the key's id.
    if let Some(id) = done.body()["key_id"].as_str() {
        let secret = app.authority.signer.api_key(id);
        done.body()["secret"] = secret.into();
    }
    Ok(done)
}

/// A merchant's API keys, newest first, with those that are revoked.
#[utoipa::path(
    get,
    path = "/admin/merchants/{merchant}/api-keys",
    operation_id = "listApiKeys",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses.")),
    responses((status = 200, description = "The keys, at most 200.", body = ApiKeyList)),
    security(("token" = [])),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(merchant): Path<String>,
) -> Result<axum::Json<ApiKeyList>, Problem> {
    let merchant = operator.merchant(&app, &merchant).await?;
    let keys = app.shop.store.api_keys(&merchant.row.id, LIST_MOST).await?;
    Ok(axum::Json(ApiKeyList {
        keys: keys.into_iter().map(ApiKeyView::from).collect(),
    }))
}

/// Revoke an API key.
///
/// Within a second it is refused at every gateway. A key that is revoked stays so.
#[utoipa::path(
    delete,
    path = "/admin/merchants/{merchant}/api-keys/{key}",
    operation_id = "revokeApiKey",
    tag = "admin",
    params(
        ("merchant" = String, Path, description = "Its id, or its name in addresses."),
        ("key" = String, Path, description = "The key's id."),
    ),
    responses((status = 204, description = "The key is revoked.")),
    security(("token" = [])),
)]
pub async fn revoke(
    State(app): State<Arc<App>>,
    operator: Operator,
    browser: Browser,
    Path((merchant, key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    operator.check_manages_access()?;
    let merchant = operator.merchant(&app, &merchant).await?;
    let address = browser.address.to_string();
    let by = operator.by(&address);
    if !app.shop.store.revoke_api_key(&merchant.row.id, &key, by).await? {
        return Err(Code::KeyUnknown.into());
    }
    app.authority.api_keys.forget();
    Ok(StatusCode::NO_CONTENT)
}

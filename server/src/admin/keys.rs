//! The keys with which a merchant's shop signs in its customers.

use super::{
    Operator,
    command::{self, Done, Instruction},
};
use crate::{
    app::App,
    auth::{
        keys::{KeySet, MAX_DOCUMENT_BYTES},
        proof::{Claim, Unproven},
    },
    rest::{IdempotencyKey, Path, Problem, browser::Browser, field, rfc3339},
};
use axum::{extract::State, http::StatusCode};
use flashsale_engine::{
    clock,
    error::Error,
    sale::ms,
    store::merchants::{self, KeyAdded, KeyRow},
};
use flashsale_protocol::{Code, Reject};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use ulid::Ulid;
use utoipa::ToSchema;

/// Keys of a merchant that are not revoked, at most; and keys in a list.
const MAX_KEYS: i64 = 20;
const LIST_MOST: i64 = 200;
const MAX_NAME_CHARS: usize = 500;

/// A key to add. Without `keys` and `jwks_uri`, we make a secret for HS256.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// The `iss` of the tokens.
    #[schema(min_length = 1, max_length = 500, example = "https://shop.eu.auth0.com/")]
    issuer: String,
    /// The `aud` of the tokens, or one of them.
    #[schema(min_length = 1, max_length = 500)]
    audience: String,
    /// The claim that names the customer. It must never be given to another person.
    #[serde(default = "sub")]
    #[schema(min_length = 1, max_length = 100, default = "sub")]
    subject_claim: String,
    /// Public keys: PEM with one or several, or a JWKS document as text.
    #[serde(default)]
    #[schema(max_length = 65_536)]
    keys: Option<String>,
    /// Where the provider publishes its JWKS document. It is fetched now, and again for a key that is not known yet.
    #[serde(default)]
    #[schema(max_length = 500, example = "https://shop.eu.auth0.com/.well-known/jwks.json")]
    jwks_uri: Option<String>,
    /// With `jwks_uri`: a token of this issuer for this audience with the claim `flashsale_shop`, which is the shop's id. It proves that
    /// both are yours (docs/sign-in.md), and takes them from shops that have not proven it.
    #[serde(default)]
    #[schema(max_length = 16_384)]
    proof: Option<String>,
}

fn sub() -> String {
    "sub".into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    Secret,
    PublicKeys,
    JwksUri,
}

impl KeyKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::PublicKeys => "public_keys",
            Self::JwksUri => "jwks_uri",
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    key_id: String,
    kind: KeyKind,
    issuer: String,
    audience: String,
    subject_claim: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: String,
    /// Since when it is proven that issuer and audience are the shop's; null: it is not.
    #[schema(format = DateTime)]
    proven_at: Option<String>,
    /// Since when it signs nobody in any more; null: it does.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

impl From<KeyRow> for KeyView {
    fn from(row: KeyRow) -> Self {
        Self {
            kind: match row.kind.as_str() {
                "public_keys" => KeyKind::PublicKeys,
                "jwks_uri" => KeyKind::JwksUri,
                _ => KeyKind::Secret,
            },
            key_id: row.id,
            issuer: row.issuer,
            audience: row.audience,
            subject_claim: row.subject_claim,
            keys: row.keys,
            jwks_uri: row.jwks_uri,
            created_at: rfc3339(ms(row.created_at)),
            created_by: row.created_by,
            proven_at: row.proven_at.map(|at| rfc3339(ms(at))),
            revoked_at: row.revoked_at.map(|at| rfc3339(ms(at))),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NewKey {
    #[serde(flatten)]
    key: KeyView,
    /// The secret, if we made one: it is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Public keys that are not used, and why.
    skipped: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    keys: Vec<KeyView>,
}

/// Add a key.
///
/// It signs in customers of this merchant and nobody else. Keys of before stay good until they are revoked. Refusal:
/// `quota_reached` with 20 keys that are not revoked; `issuer_taken` if another shop has public keys for this issuer and audience, unless
/// a `proof` says that they are yours and the other shop has none.
#[utoipa::path(
    post,
    path = "/admin/merchants/{merchant}/keys",
    operation_id = "addMerchantKey",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses."), IdempotencyKey),
    request_body = KeyBody,
    responses((status = 201, description = "The key.", body = NewKey)),
    security(("token" = [])),
)]
pub async fn add(
    State(app): State<Arc<App>>,
    Path(merchant): Path<String>,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let operator = &instruction.operator;
    operator.check_manages_access()?;
    let merchant = operator.merchant(&app, &merchant).await?;
    let body: KeyBody = instruction.json()?;
    let text = |name: &str, text: &str, most: usize| match text.chars().count() {
        count if (1..=most).contains(&count) && !text.contains('\0') => Ok(()),
        _ => Err(field(name, &format!("must have 1 to {most} characters"))),
    };
    for (name, line, most) in [
        ("issuer", &body.issuer, MAX_NAME_CHARS),
        ("audience", &body.audience, MAX_NAME_CHARS),
        ("subject_claim", &body.subject_claim, 100),
    ] {
        text(name, line, most)?;
        if line.contains(char::is_control) {
            return Err(field(name, "must have no control characters"));
        }
    }
    let (kind, set) = match (&body.keys, &body.jwks_uri) {
        (Some(_), Some(_)) => return Err(field("jwks_uri", "cannot be given together with keys")),
        (Some(keys), None) => {
            text("keys", keys, MAX_DOCUMENT_BYTES)?;
            let set = KeySet::read(keys.as_bytes()).map_err(|error| said("keys", &error.to_string()))?;
            (KeyKind::PublicKeys, Some(set))
        }
        (None, Some(uri)) => {
            text("jwks_uri", uri, MAX_NAME_CHARS)?;
            let set = app.authority.try_keys(uri).await;
            (
                KeyKind::JwksUri,
                Some(set.map_err(|error| said("jwks_uri", &error.to_string()))?),
            )
        }
        (None, None) => (KeyKind::Secret, None),
    };
    if let Some(token) = &body.proof {
        let Some(uri) = &body.jwks_uri else {
            return Err(field("proof", "is for keys at an address (jwks_uri)"));
        };
        let claim = Claim {
            merchant: &merchant.row.id,
            issuer: &body.issuer,
            audience: &body.audience,
            jwks_uri: uri,
        };
        let proven = app.authority.prove(&claim, token).await;
        proven.map_err(|error| match error {
            Unproven::Keys(why) => said("proof", &why),
            Unproven::Token(reject) => said("proof", &reject.message),
        })?;
    }
    let row = KeyRow {
        id: Ulid::from_parts(clock::now_ms(), rand::random()).to_string(),
        merchant: merchant.row.id.clone(),
        kind: kind.word().into(),
        issuer: body.issuer,
        audience: body.audience,
        subject_claim: body.subject_claim,
        keys: body.keys,
        jwks_uri: body.jwks_uri,
        created_at: clock::now(),
        created_by: operator.0.account.to_string(),
        proven_at: body.proof.map(|_| clock::now()),
        revoked_at: None,
    };
    let skipped = set.map_or(Vec::new(), |set| set.skipped().to_vec());
    let mut done = command::once(
        &app,
        &instruction,
        &merchant.row.id,
        StatusCode::CREATED,
        move |connection, by| {
            Box::pin(async move {
                match merchants::add_key(connection, &row, MAX_KEYS, by).await? {
                    KeyAdded::Ok => {}
                    KeyAdded::IssuerTaken => return Err(Code::IssuerTaken.into()),
                    KeyAdded::TooMany => {
                        return Err(Problem(Reject::because(
                            Code::QuotaReached,
                            format!("The shop has {MAX_KEYS} keys: revoke one first."),
                        )));
                    }
                }
                let made = NewKey {
                    key: row.into(),
                    secret: None,
                    skipped,
                };
                Ok(serde_json::to_value(made).map_err(|error| Error::unexpected(error.to_string()))?)
            })
        },
    )
    .await?;
    app.shop.merchants.refresh().await?;
    // The answer that is kept has no secret: it follows from the key's id.
    if done.body()["kind"] == KeyKind::Secret.word() {
        let id = done.body()["key_id"].as_str().unwrap_or_default().to_owned();
        done.body()["secret"] = app.authority.signer.merchant_secret(&id).into();
    }
    Ok(done)
}

/// A merchant's keys, newest first, with those that are revoked.
#[utoipa::path(
    get,
    path = "/admin/merchants/{merchant}/keys",
    operation_id = "listMerchantKeys",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses.")),
    responses((status = 200, description = "The keys, at most 200.", body = KeyList)),
    security(("token" = [])),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(merchant): Path<String>,
) -> Result<axum::Json<KeyList>, Problem> {
    let merchant = operator.merchant(&app, &merchant).await?;
    let keys = app.shop.store.merchant_keys(&merchant.row.id, LIST_MOST).await?;
    Ok(axum::Json(KeyList {
        keys: keys.into_iter().map(KeyView::from).collect(),
    }))
}

/// Revoke a key.
///
/// Within a second it signs nobody in any more, at any gateway. A key that is revoked stays so.
#[utoipa::path(
    delete,
    path = "/admin/merchants/{merchant}/keys/{key}",
    operation_id = "revokeMerchantKey",
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
    if !app
        .shop
        .store
        .revoke_merchant_key(&merchant.row.id, &key, by)
        .await?
    {
        return Err(Code::KeyUnknown.into());
    }
    app.shop.merchants.refresh().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A refusal whose sentence comes from the reader of keys.
fn said(name: &str, sentence: &str) -> Problem {
    Problem(Reject::because(Code::InvalidField, format!("{name}: {sentence}")))
}

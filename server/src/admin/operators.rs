//! Who operates the platform or a merchant: owners decide for their merchant, admins for all.

use super::Operator;
use crate::{
    accounts::{self, Link},
    app::App,
    rest::{Json, Path, Problem, browser::Browser, field, rfc3339},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use flashsale_engine::{operator::OperatorRole, sale::ms, store::accounts::Account};
use flashsale_protocol::{Code, Reject};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Somebody to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteBody {
    #[schema(max_length = 254, example = "ann@shop.example")]
    email: String,
    role: OperatorRole,
    /// The merchant's id, or its name in addresses. By default the operator's own; admins of the platform have none.
    #[serde(default)]
    merchant: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OperatorView {
    operator: String,
    email: String,
    #[cfg_attr(test, ts(type = "\"admin\" | \"owner\" | \"staff\" | \"viewer\""))]
    role: OperatorRole,
    /// The id of their merchant; null: an admin of the platform.
    merchant: Option<String>,
    /// They have set a password.
    has_password: bool,
    /// They sign in with the code of an authenticator app as well.
    has_codes: bool,
    /// Until when their link works, if one is open.
    #[schema(format = DateTime)]
    invited_until: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<Account> for OperatorView {
    fn from(account: Account) -> Self {
        Self {
            operator: account.id,
            email: account.email,
            role: account.role,
            merchant: account.merchant,
            has_password: account.has_password,
            has_codes: account.has_codes,
            invited_until: account.invited_until.map(|at| rfc3339(ms(at))),
            created_at: rfc3339(ms(account.created_at)),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OperatorList {
    operators: Vec<OperatorView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Invited {
    #[serde(flatten)]
    operator: OperatorView,
    /// The path of the page that sets the password, with a secret: it is shown this once.
    link: String,
}

/// The operators whom the caller may manage.
///
/// Admins see all, owners those of their merchant.
#[utoipa::path(
    get,
    path = "/admin/operators",
    operation_id = "listOperators",
    tag = "admin",
    responses((status = 200, description = "The operators by address, at most 500.", body = OperatorList)),
    security(("token" = [])),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<axum::Json<OperatorList>, Problem> {
    operator.check_manages_access()?;
    let found = app.authority.accounts.list(operator.sees()).await?;
    Ok(axum::Json(OperatorList {
        operators: found.into_iter().map(OperatorView::from).collect(),
    }))
}

/// Invite an operator.
///
/// For an address that is there already this makes a new link, and gives the role anew; nobody gives themselves another one. Links of before work no more. Whoever follows
/// the link sets a password and is asked for no code of an authenticator app any more. Owners invite for their merchant only. Refusal: `operator_taken` if an operator of another merchant has the address.
#[utoipa::path(
    post,
    path = "/admin/operators",
    operation_id = "inviteOperator",
    tag = "admin",
    request_body = InviteBody,
    responses((status = 201, description = "The operator, and the link for them.", body = Invited)),
    security(("token" = [])),
)]
pub async fn invite(
    State(app): State<Arc<App>>,
    operator: Operator,
    browser: Browser,
    Json(body): Json<InviteBody>,
) -> Result<impl IntoResponse, Problem> {
    operator.check_manages_access()?;
    let email = accounts::email_of(&body.email);
    if let Some(wrong) = accounts::wrong_email(&email) {
        return Err(field("email", wrong));
    }
    check_is_other(&app, &operator, &email, Some(body.role)).await?;
    let merchant = match (body.role, &body.merchant, operator.sees()) {
        (OperatorRole::Admin, _, Some(_)) => return Err(Code::RoleRefused.into()),
        (OperatorRole::Admin, Some(_), None) => {
            return Err(field("merchant", "must be left out for an admin of the platform"));
        }
        (OperatorRole::Admin, None, None) => None,
        (_, None, None) => return Err(field("merchant", "is missing")),
        (_, None, Some(own)) => Some(operator.merchant(&app, own).await?),
        (_, Some(name), _) => Some(operator.merchant(&app, name).await?),
    };
    let merchant = merchant.as_ref().map(|merchant| merchant.row.id.as_str());
    let address = browser.address.to_string();
    let by = operator.by(&address);
    let within = operator.sees();
    let accounts = &app.authority.accounts;
    let link: Link = accounts
        .invite(&email, merchant, body.role, within, by)
        .await?
        .ok_or(Code::OperatorTaken)?;
    let path = link.path();
    let made = Invited {
        operator: link.account.into(),
        link: path,
    };
    let kept_nowhere = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, kept_nowhere, axum::Json(made)))
}

/// Refuses operators who take their own role from themselves: the last one would lock everybody out. A new link of the same role is fine.
async fn check_is_other(
    app: &App,
    operator: &Operator,
    name: &str,
    role: Option<OperatorRole>,
) -> Result<(), Problem> {
    let own = operator.0.account.as_str();
    let is_own = role != Some(operator.role()) && app.authority.accounts.is_called(own, name).await?;
    match is_own {
        true => Err(Problem(Reject::because(
            Code::Forbidden,
            "Nobody takes their own role away: ask another owner, or an admin.",
        ))),
        false => Ok(()),
    }
}

/// Remove an operator.
///
/// Within a second their sessions end everywhere. Nobody removes themselves.
#[utoipa::path(
    delete,
    path = "/admin/operators/{operator}",
    operation_id = "removeOperator",
    tag = "admin",
    params(("operator" = String, Path, description = "Their id.")),
    responses((status = 204, description = "The operator is removed.")),
    security(("token" = [])),
)]
pub async fn remove(
    State(app): State<Arc<App>>,
    operator: Operator,
    browser: Browser,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    operator.check_manages_access()?;
    check_is_other(&app, &operator, &name, None).await?;
    let address = browser.address.to_string();
    let by = operator.by(&address);
    match app.authority.accounts.remove(&name, operator.sees(), by).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Code::OperatorUnknown.into()),
    }
}

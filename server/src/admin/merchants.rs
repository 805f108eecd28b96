//! Merchants: admins make them; a merchant's own operators see theirs and change what is theirs to decide.

use super::{
    Operator,
    command::{self, Done, IfMatch, Instruction, Versioned, version_wanted},
};
use crate::{
    app::App,
    origin::Origin,
    rest::{IdempotencyKey, Json, Path, Problem, browser::Browser, field, rfc3339},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use flashsale_engine::{
    error::Error,
    payment::handoff::HANDOFF,
    sale::{currency_exponent, ms},
    store::merchants::{self, MerchantRow, Written},
};
use flashsale_protocol::Code;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{net::IpAddr, sync::Arc};
use ulid::Ulid;
use utoipa::ToSchema;

const MAX_NAME_CHARS: usize = 200;
/// Sales of a shop whose settings are sent to Redis at the same time.
const SALES_AT_ONCE: usize = 8;
const MAX_SLUG_CHARS: usize = 64;
const MAX_ORIGINS: usize = 50;
const MAX_CHECKOUT_CHARS: usize = 2_000;
/// A week: the longest time for which a shop may let an order wait.
const MOST_CHECKOUT_S: i64 = 604_800;
/// The most that a quota can be set to.
const MOST: i64 = 1_000_000;

/// What is set of a merchant. Absent: stays as it is, or as a new merchant has it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MerchantBody {
    /// The shop's name for people.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Its name in addresses, `/m/{slug}`: small letters, digits and single hyphens. Only admins change it.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$")]
    slug: Option<String>,
    /// The shop's time zone, by the name of the IANA database.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// ISO 4217: what its sales are priced in unless they say otherwise.
    #[schema(example = "EUR")]
    currency: Option<String>,
    /// Origins of the pages that may show its sales; an empty list: every page may.
    #[schema(max_items = 50, example = json!(["https://shop.example"]))]
    widget_origins: Option<Vec<String>>,
    /// Whether a sandboxed frame, whose origin is `null`, may show them as well when there is a list.
    null_origin: Option<bool>,
    /// How many days after a sale its people are still known.
    #[schema(minimum = 1, maximum = 1_000_000)]
    retention_days: Option<i64>,
    /// Only for admins: most sales that are not over.
    #[schema(minimum = 0, maximum = 1_000_000)]
    open_sales: Option<i64>,
    /// Only for admins: how many days ahead a sale may start.
    #[schema(minimum = 1, maximum = 1_000_000)]
    days_ahead: Option<i64>,
    /// Only for admins: most characters in each text of a sale.
    #[schema(minimum = 1, maximum = 1_000_000)]
    text_chars: Option<i64>,
    /// Only for admins: exports at a time.
    #[schema(minimum = 1, maximum = 1_000_000)]
    exports: Option<i64>,
    /// Only for admins: megabytes of pictures.
    #[schema(minimum = 0, maximum = 1_000_000)]
    picture_mb: Option<i64>,
    /// Only for admins: the keys of a suspended shop sign nobody in, and it can make no sales. Sales that it has go on for
    /// guests: end them if they should not.
    active: Option<bool>,
    /// Only for admins: the claim of its customers' tokens that may say `merchant`, which makes an operator of this shop; an empty
    /// text: none, as for a new merchant.
    #[schema(max_length = 100)]
    role_claim: Option<String>,
    /// The shop's own checkout, to which shoppers are sent with a token (`--payments merchant`): https only; with --dev also http on
    /// this machine. An empty text: none.
    #[schema(max_length = 2000, example = "https://shop.example/checkout")]
    checkout_url: Option<String>,
    /// How many seconds after it was made an order may wait for its payment at most, if the shop asks for more time.
    #[schema(minimum = 0, maximum = 604_800)]
    checkout_max_s: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MerchantView {
    merchant_id: String,
    slug: String,
    name: String,
    time_zone: String,
    currency: String,
    widget_origins: Vec<String>,
    null_origin: bool,
    retention_days: i32,
    open_sales: i32,
    days_ahead: i32,
    text_chars: i32,
    exports: i32,
    picture_mb: i32,
    active: bool,
    role_claim: Option<String>,
    checkout_url: Option<String>,
    checkout_max_s: i32,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<&MerchantRow> for MerchantView {
    fn from(row: &MerchantRow) -> Self {
        Self {
            merchant_id: row.id.clone(),
            slug: row.slug.clone(),
            name: row.name.clone(),
            time_zone: row.time_zone.clone(),
            currency: row.currency.clone(),
            widget_origins: row.widget_origins.clone(),
            null_origin: row.null_origin,
            retention_days: row.retention_days,
            open_sales: row.open_sales,
            days_ahead: row.days_ahead,
            text_chars: row.text_chars,
            exports: row.exports,
            picture_mb: row.picture_mb,
            active: row.is_active,
            role_claim: row.role_claim.clone(),
            checkout_url: row.checkout_url.clone(),
            checkout_max_s: row.checkout_max_s,
            created_at: rfc3339(ms(row.created_at)),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MerchantList {
    merchants: Vec<MerchantView>,
}

/// Make a merchant.
///
/// Only for admins. Refusal: `merchant_taken` if another one has this `slug`.
#[utoipa::path(
    post,
    path = "/admin/merchants",
    operation_id = "createMerchant",
    tag = "admin",
    params(IdempotencyKey),
    request_body = MerchantBody,
    responses((status = 201, description = "The merchant.", body = Versioned<MerchantView>)),
    security(("token" = [])),
)]
pub async fn create(State(app): State<Arc<App>>, instruction: Instruction) -> Result<Done, Problem> {
    if !instruction.operator.0.is_admin() {
        return Err(Code::Forbidden.into());
    }
    let body: MerchantBody = instruction.json()?;
    let name = body.name.clone().ok_or_else(|| field("name", "is missing"))?;
    let id = Ulid::from_parts(flashsale_engine::clock::now_ms(), rand::random());
    let new = MerchantRow {
        slug: slug_of(&name),
        name: String::new(),
        ..MerchantRow::new(&format!("m_{id}"))
    };
    let new = apply(&app, new, body).await?;
    let about = new.id.clone();
    let done =
        command::once(
            &app,
            &instruction,
            &about,
            StatusCode::CREATED,
            move |connection, by| {
                Box::pin(async move {
                    let made = written(merchants::create(connection, &new, by).await?)?;
                    Ok(serde_json::to_value(view(&made))
                        .map_err(|error| Error::unexpected(error.to_string()))?)
                })
            },
        )
        .await?;
    app.shop.merchants.refresh().await?;
    Ok(done)
}

/// The merchants that the caller may manage.
///
/// Admins see all, others their own.
#[utoipa::path(
    get,
    path = "/admin/merchants",
    operation_id = "listMerchants",
    tag = "admin",
    responses((status = 200, description = "The merchants, by their name in addresses.", body = MerchantList)),
    security(("token" = [])),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<axum::Json<MerchantList>, Problem> {
    app.shop.merchants.refresh().await?;
    let mut found = app.shop.merchants.all();
    found.retain(|merchant| operator.sees().is_none_or(|own| own == merchant.row.id));
    found.sort_by(|a, b| a.row.slug.cmp(&b.row.slug));
    Ok(axum::Json(MerchantList {
        merchants: found.iter().map(|merchant| (&merchant.row).into()).collect(),
    }))
}

/// One merchant.
#[utoipa::path(
    get,
    path = "/admin/merchants/{merchant}",
    operation_id = "showMerchant",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses.")),
    responses((status = 200, description = "The merchant.", body = Versioned<MerchantView>)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(name): Path<String>,
) -> Result<Versioned<MerchantView>, Problem> {
    let merchant = operator.merchant(&app, &name).await?;
    Ok(view(&merchant.row))
}

/// Change a merchant.
///
/// What the body does not name stays. Refusals: `version_changed` if somebody else changed it since the version in `If-Match`;
/// `forbidden` for what only admins change.
#[utoipa::path(
    patch,
    path = "/admin/merchants/{merchant}",
    operation_id = "changeMerchant",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses."), IfMatch),
    responses((status = 200, description = "The merchant.", body = Versioned<MerchantView>)),
    security(("token" = [])),
)]
pub async fn change(
    State(app): State<Arc<App>>,
    operator: Operator,
    browser: Browser,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(body): Json<MerchantBody>,
) -> Result<Versioned<MerchantView>, Problem> {
    let merchant = operator.merchant(&app, &name).await?;
    let is_for_admins = body.slug.is_some()
        || [
            body.open_sales,
            body.days_ahead,
            body.text_chars,
            body.exports,
            body.picture_mb,
        ]
        .iter()
        .any(Option::is_some)
        || body.active.is_some()
        || body.role_claim.is_some();
    if is_for_admins && !operator.0.is_admin() {
        return Err(Code::Forbidden.into());
    }
    // Shoppers pay there.
    if body.checkout_url.is_some() || body.checkout_max_s.is_some() {
        operator.check_manages_access()?;
    }
    let (before, is_about_sales) = (&merchant.row, body.active.is_some());
    if version_wanted(&headers)?.is_some_and(|wanted| !wanted.contains(&before.version.to_string())) {
        return Err(Code::VersionChanged.into());
    }
    let new = apply(&app, before.clone(), body).await?;
    let address = browser.address.to_string();
    let changed = changed(before, &new)?;
    let by = operator.by(&address);
    let made = written(app.shop.store.change_merchant(&new, changed, by).await?)?;
    app.shop.merchants.refresh().await?;
    if is_about_sales {
        tell_sales(&app, &made.id).await?;
    }
    Ok(view(&made))
}

/// Tells Redis and all processes whether the shop's sales go on. May be repeated; workers also do it, at most a second later.
async fn tell_sales(app: &App, merchant: &str) -> Result<(), Problem> {
    let sales = app.shop.store.running_sales(merchant).await?;
    let told = sales.into_iter().map(|sale| command::spread_settings(app, sale));
    stream::iter(told)
        .buffer_unordered(SALES_AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// What differs: each field with its values before and now.
fn changed(before: &MerchantRow, new: &MerchantRow) -> Result<Value, Problem> {
    let fields = |row: &MerchantRow| {
        serde_json::to_value(MerchantView::from(row)).map_err(|error| Error::unexpected(error.to_string()))
    };
    let (before, new) = (fields(before)?, fields(new)?);
    let pairs = before.as_object().into_iter().flatten().map(|(name, was)| {
        let now = new[name].clone();
        (name.clone(), was.clone(), now)
    });
    let differing = pairs.filter(|(_, was, now)| was != now);
    Ok(differing
        .map(|(name, was, now)| (name, json!([was, now])))
        .collect::<Map<_, _>>()
        .into())
}

fn view(row: &MerchantRow) -> Versioned<MerchantView> {
    Versioned {
        version: row.version,
        of: row.into(),
    }
}

fn written(written: Written) -> Result<MerchantRow, Problem> {
    match written {
        Written::Ok(row) => Ok(*row),
        Written::Taken => Err(Code::MerchantTaken.into()),
        Written::Unknown => Err(Code::MerchantUnknown.into()),
        Written::Changed => Err(Code::VersionChanged.into()),
    }
}

/// A name for addresses, made from one for people.
fn slug_of(name: &str) -> String {
    let words = name.to_lowercase();
    let words = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug: String = words.collect::<Vec<_>>().join("-").chars().take(40).collect();
    match slug.trim_end_matches('-') {
        "" => format!("shop-{:08x}", rand::random::<u32>()),
        slug => slug.to_owned(),
    }
}

/// The merchant with what the body names; everything is checked.
async fn apply(app: &App, before: MerchantRow, body: MerchantBody) -> Result<MerchantRow, Problem> {
    let quota = |name: &str, value: Option<i64>, before: i32, least: i64| match value {
        Some(value) if (least..=MOST).contains(&value) => Ok(value as i32),
        Some(_) => Err(field(
            name,
            &format!("must be a whole number from {least} to {MOST}"),
        )),
        None => Ok(before),
    };
    let name = body.name.map_or(before.name, |name| name.trim().to_owned());
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || name.contains(char::is_control) {
        return Err(field(
            "name",
            &format!("must have 1 to {MAX_NAME_CHARS} characters, none of them a control character"),
        ));
    }
    let slug = body.slug.unwrap_or(before.slug);
    let is_slug = |slug: &str| {
        slug.len() <= MAX_SLUG_CHARS
            && slug.split('-').all(|word| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            })
    };
    if !is_slug(&slug) {
        return Err(field(
            "slug",
            "must be small letters and digits, with single hyphens between them",
        ));
    }
    let currency = body.currency.unwrap_or(before.currency);
    if currency_exponent(&currency).is_none() {
        return Err(field(
            "currency",
            "must be an ISO 4217 code that we know, such as EUR",
        ));
    }
    if let Some(zone) = &body.time_zone
        && !app.shop.store.knows_time_zone(zone).await?
    {
        return Err(field(
            "time_zone",
            "must be a name of the IANA database, such as Europe/Berlin",
        ));
    }
    let role_claim = match body.role_claim {
        Some(claim) if claim.is_empty() => None,
        Some(claim) if claim.chars().count() > 100 => {
            return Err(field("role_claim", "must have at most 100 characters"));
        }
        Some(claim) => Some(claim),
        None => before.role_claim,
    };
    let checkout_max_s = match body.checkout_max_s {
        Some(seconds) if (0..=MOST_CHECKOUT_S).contains(&seconds) => seconds as i32,
        Some(_) => {
            return Err(field(
                "checkout_max_s",
                &format!("must be a whole number of seconds from 0 to {MOST_CHECKOUT_S}"),
            ));
        }
        None => before.checkout_max_s,
    };
    Ok(MerchantRow {
        name,
        slug,
        currency,
        time_zone: body.time_zone.unwrap_or(before.time_zone),
        widget_origins: match body.widget_origins {
            Some(origins) => checked_origins(&origins)?,
            None => before.widget_origins,
        },
        null_origin: body.null_origin.unwrap_or(before.null_origin),
        retention_days: quota("retention_days", body.retention_days, before.retention_days, 1)?,
        open_sales: quota("open_sales", body.open_sales, before.open_sales, 0)?,
        days_ahead: quota("days_ahead", body.days_ahead, before.days_ahead, 1)?,
        text_chars: quota("text_chars", body.text_chars, before.text_chars, 1)?,
        exports: quota("exports", body.exports, before.exports, 1)?,
        picture_mb: quota("picture_mb", body.picture_mb, before.picture_mb, 0)?,
        is_active: body.active.unwrap_or(before.is_active),
        role_claim,
        checkout_url: match body.checkout_url {
            Some(url) if url.is_empty() => None,
            Some(url) => Some(checked_checkout(&url, app.dev)?),
            None => before.checkout_url,
        },
        checkout_max_s,
        id: before.id,
        version: before.version,
        created_at: before.created_at,
    })
}

/// The address of a checkout, to which a query can be added. Tokens go there, so nobody on the way may read them.
fn checked_checkout(text: &str, is_dev: bool) -> Result<String, Problem> {
    let is_this_machine = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    let url = Url::parse(text).ok().filter(|url| {
        let is_private = url.scheme() == "https" || is_dev && url.scheme() == "http" && is_this_machine(url);
        is_private
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            // Ours is added.
            && !url.query_pairs().any(|(name, _)| name == HANDOFF)
            && url.as_str().len() <= MAX_CHECKOUT_CHARS
    });
    url.map(|url| url.to_string()).ok_or_else(|| {
        field(
            "checkout_url",
            "must be an address that begins with https://, without a name, a password, a part after # or a query `handoff`",
        )
    })
}

fn checked_origins(origins: &[String]) -> Result<Vec<String>, Problem> {
    if origins.len() > MAX_ORIGINS {
        return Err(field(
            "widget_origins",
            &format!("may have at most {MAX_ORIGINS} origins"),
        ));
    }
    let checked = origins.iter().map(|text| {
        let origin: Origin = text.parse().map_err(|wrong| field("widget_origins", wrong))?;
        Ok(origin.to_string())
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_not_too_many_origins() {
        let of = |count| checked_origins(&vec!["https://a".into(); count]);
        assert_eq!(
            of(MAX_ORIGINS).expect("as many as there may be").len(),
            MAX_ORIGINS
        );
        assert!(of(MAX_ORIGINS + 1).is_err());
    }

    #[test]
    fn a_checkout_is_reached_over_https_or_in_development_on_this_machine() {
        for (text, dev, plain) in [
            ("https://Shop.example/pay?lang=de", true, true),
            ("http://127.0.0.1:9000/checkout", true, false),
            ("http://localhost:9000", true, false),
            ("http://shop.example/pay", false, false),
            ("https://shop.example/pay#top", false, false),
            ("https://me:secret@shop.example", false, false),
            ("javascript:alert(1)", false, false),
            ("/checkout", false, false),
            ("https://shop.example/pay?a=1&handoff=x", false, false),
        ] {
            assert_eq!(checked_checkout(text, true).is_ok(), dev, "{text}");
            assert_eq!(checked_checkout(text, false).is_ok(), plain, "{text}");
        }
        let long = format!("https://shop.example/{}", "a".repeat(MAX_CHECKOUT_CHARS));
        assert!(checked_checkout(&long, true).is_err());
    }

    #[test]
    fn a_name_for_addresses_is_made_of_what_a_name_has() {
        assert_eq!(slug_of("Müller & Söhne"), "m-ller-s-hne");
        assert_eq!(slug_of("  Shop 42!"), "shop-42");
        assert!(slug_of("商店").starts_with("shop-"));
    }
}

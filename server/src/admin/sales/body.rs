//! A sale as its operator describes it: every setting with its limits, and the sale made from them.

use crate::rest::{Problem, field};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use flashsale_engine::{
    clock,
    sale::{FORMATS, LaneInfo, Sale, TARGET_DELAY_MS, Terms, currency_exponent},
    store::merchants::MerchantRow,
};
use flashsale_protocol::{Allocation, DrawWeight, MAX_QUANTITY, OpeningOrder, Phase, SaleId, draw::Seed};
use reqwest::Url;
use serde::Deserialize;
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// Limits of a sale's settings.
pub(super) const MAX_STOCK: u32 = 100_000_000;
const MAX_LANES: u16 = 64;
const MAX_PRICE: i64 = 1_000_000_000_000;
const MIN_TIME_MS: u64 = 200;
const MAX_TIME_MS: u64 = 24 * 3600 * 1000;
pub(super) const MAX_INFLOW: u32 = 100_000;
const MAX_CANCEL_LIMIT: i64 = 1_000;
const MAX_TERMS_URL_CHARS: usize = 2_000;
const MAX_TERMS_VERSION_CHARS: usize = 100;
/// Years that every clock involved can represent.
const YEARS: RangeInclusive<i32> = 2000..=2999;
/// How long before the start the waiting room opens, unless the sale says otherwise.
const ROOM_BEFORE_START: TimeDelta = TimeDelta::minutes(15);

/// A sale to create. Numbers are signed and wide here, so that a wrong one is refused clearly, by name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SaleBody {
    /// Whose sale it is, by the shop's name in addresses or its id; if missing, the operator's own.
    #[serde(default)]
    #[schema(max_length = 64)]
    pub merchant: Option<String>,
    #[schema(min_length = 1, max_length = 5_000)]
    pub product_name: String,
    #[serde(default)]
    #[schema(max_length = 5_000)]
    pub description: String,
    /// If missing, it is made from the name.
    #[serde(default)]
    pub product_id: Option<String>,
    /// ISO 4217; by default the merchant's.
    #[serde(default)]
    #[schema(example = "EUR")]
    pub currency: Option<String>,
    /// Minor units of `currency`.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub original_price: i64,
    /// Minor units of `currency`; not above `original_price`.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub sale_price: i64,
    #[schema(minimum = 1, maximum = 100_000_000)]
    pub total_stock: i64,
    pub start_time: DateTime<Utc>,
    pub end_time: DateTime<Utc>,
    /// When the waiting room opens; by default 15 minutes before the start.
    #[serde(default)]
    pub room_opens_at: Option<DateTime<Utc>>,
    /// Independent shares of the stock; not more than there are units.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 64, default = 1)]
    pub lanes: i64,
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 100, default = 1)]
    pub per_shopper_limit: i64,
    /// If missing, the same as per shopper.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    pub per_device_limit: Option<i64>,
    /// How long reserved units stay in a cart.
    #[serde(default = "five_minutes")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 300_000)]
    pub hold_ms: i64,
    /// How long a turn in line lasts.
    #[serde(default = "two_minutes")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 120_000)]
    pub claim_ms: i64,
    /// How long an order waits for its payment.
    #[serde(default = "five_minutes")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 300_000)]
    pub payment_ms: i64,
    /// Most entries called per 100 ms.
    #[serde(default = "thousand")]
    #[schema(minimum = 1, maximum = 100_000, default = 1_000)]
    pub inflow: i64,
    /// Fewer people are let in while the slowest step of a purchase takes longer than this on average, in ms.
    #[serde(default = "usual_delay_ms")]
    #[schema(minimum = 10, maximum = 10_000)]
    pub target_delay_ms: i64,
    /// `queue`: first come, first served; the remaining units are drawn at the end among those who still wait. `draw`: everybody
    /// who enters before the end has a chance.
    #[serde(default)]
    pub allocation: Allocation,
    /// The weight of an entry in the draw. `waiting_time`: 1, plus one for each ninth of the time from the room's opening to the
    /// close that the entry was there, so at most 10.
    #[serde(default)]
    pub draw_weight: DrawWeight,
    /// Only for a draw: the source of a value that nobody knows before the entries close, to be mixed in. The draw waits for it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 5_000)]
    pub beacon: Option<String>,
    /// The order of those who join before the start.
    #[serde(default)]
    pub opening: OpeningOrder,
    /// Percent of the turns for the merchant's priority list while somebody on it waits.
    #[serde(default = "half")]
    #[schema(minimum = 0, maximum = 100, default = 50)]
    pub priority_share: i64,
    /// A shopper who is away from the line for this long loses their place.
    #[serde(default = "hour")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 3_600_000)]
    pub absence_ms: i64,
    /// A shopper who cancelled or did not pay this many orders gets no more in this sale.
    #[serde(default = "twenty")]
    #[schema(minimum = 1, maximum = 1_000, default = 20)]
    pub cancel_limit: i64,
    /// Whether shoppers may extend their turn or their cart, once, while nobody waits. In a draw others always wait.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub extend_once: bool,
    /// Where the terms of the sale are: an address that begins with https://. The order button links them. They stay as they are.
    #[serde(default)]
    #[schema(max_length = 2_000, example = "https://shop.example/terms")]
    pub terms_url: Option<String>,
    /// Their version, such as a date: it is stored with each order.
    #[serde(default)]
    #[schema(max_length = 100, example = "2026-11-01")]
    pub terms_version: Option<String>,
}

fn yes() -> bool {
    true
}

fn half() -> i64 {
    50
}

fn hour() -> i64 {
    3_600_000
}

fn one() -> i64 {
    1
}

fn twenty() -> i64 {
    20
}

fn five_minutes() -> i64 {
    300_000
}

fn two_minutes() -> i64 {
    120_000
}

fn thousand() -> i64 {
    1_000
}

fn usual_delay_ms() -> i64 {
    TARGET_DELAY_MS as i64
}

impl SaleBody {
    /// Checks every setting and makes the sale from them.
    pub fn check(self, merchant: &MerchantRow) -> Result<Sale, Problem> {
        let most = merchant.text_chars.max(1) as usize;
        let text = |name: &str, text: &str, least: usize| {
            if !(least..=most).contains(&text.chars().count()) {
                let length = format!("must have {least} to {most} characters");
                return Err(field(name, &length));
            }
            Ok(())
        };
        text("product_name", self.product_name.trim(), 1)?;
        text("description", &self.description, 0)?;
        let product_id = self
            .product_id
            .unwrap_or_else(|| self.product_name.trim().to_lowercase().replace(' ', "-"));
        text("product_id", &product_id, 1)?;
        let currency = self.currency.unwrap_or_else(|| merchant.currency.clone());
        if currency_exponent(&currency).is_none() {
            return Err(field(
                "currency",
                "must be an ISO 4217 code that we know, such as EUR",
            ));
        }
        let original_price = range("original_price", self.original_price, 0, MAX_PRICE)?;
        let sale_price = range("sale_price", self.sale_price, 0, MAX_PRICE)?;
        if sale_price > original_price {
            return Err(field("sale_price", "must not be above original_price"));
        }
        let times = [
            ("start_time", Some(self.start_time)),
            ("end_time", Some(self.end_time)),
            ("room_opens_at", self.room_opens_at),
        ];
        for (name, time) in times {
            if time.is_some_and(|time| !YEARS.contains(&time.year())) {
                let years = format!("must be in the years {} to {}", YEARS.start(), YEARS.end());
                return Err(field(name, &years));
            }
        }
        if self.end_time <= self.start_time {
            return Err(field("end_time", "must be after start_time"));
        }
        if self.start_time > clock::now() + TimeDelta::days(i64::from(merchant.days_ahead)) {
            let days = merchant.days_ahead;
            return Err(field(
                "start_time",
                &format!("must be within {days} days from now"),
            ));
        }
        let room_opens_at = self.room_opens_at.unwrap_or(self.start_time - ROOM_BEFORE_START);
        if room_opens_at > self.start_time {
            return Err(field("room_opens_at", "must not be after start_time"));
        }
        let total_stock = range("total_stock", self.total_stock, 1, i64::from(MAX_STOCK))? as u32;
        // The value of the whole sale must be countable, and so is every order of it.
        if sale_price.checked_mul(i64::from(total_stock)).is_none() {
            return Err(field(
                "sale_price",
                "times total_stock is more than can be counted",
            ));
        }
        let lanes = range(
            "lanes",
            self.lanes,
            1,
            i64::from(MAX_LANES).min(i64::from(total_stock)),
        )? as u32;
        let most_units = i64::from(MAX_QUANTITY);
        let per_shopper_limit = range("per_shopper_limit", self.per_shopper_limit, 1, most_units)?;
        let per_device_limit = match self.per_device_limit {
            Some(limit) => range("per_device_limit", limit, 1, most_units)?,
            None => per_shopper_limit,
        };
        if let Some(beacon) = &self.beacon {
            text("beacon", beacon.trim(), 1)?;
            if self.allocation != Allocation::Draw {
                return Err(field("beacon", "is for sales with the allocation draw"));
            }
        }
        let terms = terms(self.terms_url, self.terms_version)?;
        let time = |name: &str, ms: i64| {
            Ok::<u64, Problem>(range(name, ms, MIN_TIME_MS as i64, MAX_TIME_MS as i64)? as u64)
        };
        let now = clock::now();
        Ok(Sale {
            id: SaleId::from_parts(now.timestamp_millis().max(0) as u64, rand::random()),
            merchant: merchant.id.clone(),
            product_id,
            product_name: self.product_name.trim().to_owned(),
            description: self.description,
            currency,
            original_price,
            sale_price,
            total_stock,
            room_opens_at,
            start_time: self.start_time,
            end_time: self.end_time,
            per_shopper_limit: per_shopper_limit as u32,
            per_device_limit: per_device_limit as u32,
            hold_ms: time("hold_ms", self.hold_ms)?,
            claim_ms: time("claim_ms", self.claim_ms)?,
            payment_ms: time("payment_ms", self.payment_ms)?,
            inflow: range("inflow", self.inflow, 1, i64::from(MAX_INFLOW))? as u32,
            allocation: self.allocation,
            draw_weight: self.draw_weight,
            inflow_cut_at: None,
            target_delay_ms: target_delay(self.target_delay_ms)?,
            opening_seed: match self.opening {
                OpeningOrder::Fifo => None,
                OpeningOrder::Shuffle => Some(Seed(rand::random())),
            },
            priority_share: range("priority_share", self.priority_share, 0, 100)? as u32,
            absence_ms: time("absence_ms", self.absence_ms)?,
            cancel_limit: range("cancel_limit", self.cancel_limit, 1, MAX_CANCEL_LIMIT)? as u32,
            extend_once: self.extend_once,
            status: Phase::Scheduled,
            created_at: now,
            settings_version: 1,
            format: FORMATS,
            picture: None,
            terms,
            is_suspended: false,
            lanes: split(total_stock, lanes),
        })
    }
}

/// The terms of a sale: both, or neither.
fn terms(url: Option<String>, version: Option<String>) -> Result<Option<Terms>, Problem> {
    let given = |text: Option<String>| {
        text.map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    match (given(url), given(version)) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(field(
            "terms_version",
            "is missing: orders store which version was shown",
        )),
        (None, Some(_)) => Err(field(
            "terms_url",
            "is missing: the version belongs to an address",
        )),
        (Some(url), Some(version)) => {
            if version.chars().count() > MAX_TERMS_VERSION_CHARS || version.contains(char::is_control) {
                let length = format!(
                    "must have at most {MAX_TERMS_VERSION_CHARS} characters, none of them a control character"
                );
                return Err(field("terms_version", &length));
            }
            let address = Url::parse(&url).ok().filter(|url| {
                url.scheme() == "https"
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.as_str().len() <= MAX_TERMS_URL_CHARS
            });
            match address {
                Some(url) => Ok(Some(Terms {
                    url: url.to_string(),
                    version,
                })),
                None => Err(field(
                    "terms_url",
                    &format!(
                        "must be an address that begins with https://, of at most {MAX_TERMS_URL_CHARS} characters"
                    ),
                )),
            }
        }
    }
}

/// The target of the governor, in ms.
pub(super) fn target_delay(ms: i64) -> Result<u64, Problem> {
    Ok(range("target_delay_ms", ms, 10, 10_000)? as u64)
}

pub(super) fn range(name: &str, value: i64, least: i64, most: i64) -> Result<i64, Problem> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(field(
            name,
            &format!("must be a whole number from {least} to {most}"),
        ))
    }
}

/// Shares the stock between the lanes; the first lanes take the rest of the division.
fn split(stock: u32, lanes: u32) -> Vec<LaneInfo> {
    (0..lanes)
        .map(|lane| LaneInfo {
            lane: lane as u16,
            epoch: 1,
            supply: stock / lanes + u32::from(lane < stock % lanes),
            supply_version: 0,
            allocated: 0,
            confirmed: 0,
        })
        .collect()
}

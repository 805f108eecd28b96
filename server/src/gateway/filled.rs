//! The shop's pages with what they are about in them: a title and a preview for whoever shares the link, facts for search engines, and
//! what can be read before the script runs, or without it. The script takes over from there.

mod words;

use super::{client::OverTls, page, policy::policy};
use crate::{
    app::App,
    markdown::{escape, plain},
    rest::{
        self,
        sales::{SaleView, whole},
    },
};
use axum::{
    extract::{FromRequestParts, RawPathParams, Request},
    http::{HeaderValue, StatusCode, header, uri::Authority},
    response::{IntoResponse, Response},
};
use flashsale_engine::{
    merchants::Merchant,
    sale::Shown,
    stock::shown::Showing,
    store::listing::{PAGE_MOST, Wanted},
};
use flashsale_protocol::{Code, PaymentsBy, Phase, SaleId};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};
use words::Words;

/// Characters of a description or a list that a preview shows.
const PREVIEW_CHARS: usize = 200;
/// Sales of a list that a preview names: more would not fit.
const PREVIEW_SALES: usize = 10;
/// Where the parts go in the built page.
const TITLE: [&str; 2] = ["<title>", "</title>"];
const BODY: [&str; 2] = ["<shop-page>", "</shop-page>"];
const NO_SCRIPT: [&str; 2] = ["<noscript>", "</noscript>"];
const LANGUAGE: &str = "<html lang=\"en\">";

/// What a page is about.
enum About {
    Sale(Box<SaleView>, PaymentsBy),
    /// The sales of a shop, or of all shops.
    Sales {
        shop: Option<Arc<Merchant>>,
        sales: Vec<SaleView>,
    },
    /// Something of the reader's own, which is nobody else's business.
    Own,
    Nothing,
}

/// A page of the shop, filled in. Whatever cannot be had of it is left to the script, which tries again.
pub(super) async fn page(app: Arc<App>, file: Arc<Path>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let Ok(template) = tokio::fs::read_to_string(file).await else {
        return rest::not_found().await.into_response();
    };
    let Ok(OverTls(over_tls)) = OverTls::from_request_parts(&mut parts, &app).await;
    let scheme = if over_tls { "https" } else { "http" };
    let host = page::host(&parts.headers).filter(|host| host.parse::<Authority>().is_ok());
    let origin = host.map(|host| format!("{scheme}://{host}"));
    let words = words::wanted(&parts.headers);
    let named = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
    let name = named
        .as_ref()
        .and_then(|params| params.iter().next())
        .map(|(_, name)| name.to_owned());
    let about = match parts.uri.query() {
        Some(query) if query.split('&').any(|part| part.starts_with("order=")) => About::Own,
        _ => about(&app, parts.uri.path(), name.as_deref()).await,
    };
    let status = match about {
        About::Nothing => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::VARY, HeaderValue::from_static("accept-language")),
        (header::CONTENT_SECURITY_POLICY, policy(&template)),
    ];
    (status, headers, fill(&template, &about, words, origin.as_deref())).into_response()
}

async fn about(app: &App, path: &str, name: Option<&str>) -> About {
    let views = |sales: &[Shown], now, stale| -> Vec<SaleView> {
        let view = |shown| SaleView::new(&app.shop.merchants, shown, now, stale);
        sales.iter().map(view).collect()
    };
    let later = || About::Sales {
        shop: None,
        sales: Vec::new(),
    };
    if let Some(id) = name.filter(|_| path.starts_with("/sale/")) {
        let Ok(id) = id.parse::<SaleId>() else {
            return About::Nothing;
        };
        return match app.shop.shown(id).await {
            Ok(view) => match view.look.sales.first() {
                Some(shown) => About::Sale(
                    Box::new(whole(app, shown, view.now, view.stale).await),
                    app.shop.payments.by(),
                ),
                None => About::Nothing,
            },
            Err(reject) if reject.code == Code::SaleUnknown => About::Nothing,
            Err(_) => later(),
        };
    }
    if let Some(name) = name {
        let Some(shop) = app.shop.merchants.find(name) else {
            return About::Nothing;
        };
        let wanted = Wanted {
            merchant: Some(shop.row.id.clone()),
            limit: PAGE_MOST,
            ..Wanted::first()
        };
        let page = app.shop.showcase.page(&wanted).await;
        return About::Sales {
            shop: Some(shop),
            sales: page.map_or_else(|_| Vec::new(), |page| views(&page.sales, page.now, false)),
        };
    }
    match app.shop.showcase.view(Showing::All).await {
        Ok(view) => About::Sales {
            shop: None,
            sales: views(&view.look.sales, view.now, view.stale),
        },
        Err(_) => later(),
    }
}

fn fill(template: &str, about: &About, words: &Words, origin: Option<&str>) -> String {
    let (title, head, body) = match about {
        About::Sale(sale, payments) => (
            format!("{} · {}", sale.product_name, sale.merchant_name),
            sale_head(sale, *payments, origin),
            sale_body(sale, words),
        ),
        About::Sales { shop, sales } => {
            let name = shop.as_ref().map_or(words.site, |shop| shop.row.name.as_str());
            let at = shop
                .as_ref()
                .map_or_else(|| "/".into(), |shop| format!("/m/{}", shop.row.slug));
            let mut head = meta("name", "description", &list_preview(name, sales))
                + &meta("property", "og:title", name)
                + &meta("property", "og:type", "website");
            head += &canonical(origin, &at);
            (name.to_owned(), head, list_body(name, sales, words))
        }
        About::Own | About::Nothing => (
            words.site.to_owned(),
            meta("name", "robots", "noindex"),
            String::new(),
        ),
    };
    let page = template.replacen(
        LANGUAGE,
        &format!("<html lang=\"{}\" dir=\"{}\">", words.code, words.dir),
        1,
    );
    let page = between(&page, TITLE, &text(&title), &head);
    let page = between(&page, BODY, &body, "");
    between(&page, NO_SCRIPT, &text(words.needs_script), "")
}

/// The page with something else between two marks, and something behind them.
fn between(page: &str, [from, to]: [&str; 2], inside: &str, behind: &str) -> String {
    let found = page
        .split_once(from)
        .and_then(|(before, rest)| Some((before, rest.split_once(to)?.1)));
    match found {
        Some((before, after)) => [before, from, inside, to, behind, after].concat(),
        None => page.to_owned(),
    }
}

fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(text, &mut out);
    out
}

fn meta(kind: &str, name: &str, content: &str) -> String {
    format!("<meta {kind}=\"{name}\" content=\"{}\">", text(content))
}

fn canonical(origin: Option<&str>, path: &str) -> String {
    let Some(origin) = origin else {
        return String::new();
    };
    let address = text(&format!("{origin}{path}"));
    format!("<link rel=\"canonical\" href=\"{address}\"><meta property=\"og:url\" content=\"{address}\">")
}

/// JSON in a page: nothing in it can end its element.
fn data(attributes: &str, value: &Value) -> String {
    format!(
        "<script {attributes}>{}</script>",
        value.to_string().replace('<', "\\u003c")
    )
}

fn sale_head(sale: &SaleView, payments: PaymentsBy, origin: Option<&str>) -> String {
    let at = format!("/sale/{}", sale.sale_id);
    let price = amount(sale.sale_price, sale.currency_exponent);
    let when = match is_over(sale) {
        true => String::new(),
        false => format!(" · {} – {}", minute(&sale.start_time), minute(&sale.end_time)),
    };
    let preview = shortened(plain(&sale.description));
    let preview = format!(
        "{} {price}{when}{}{preview}",
        sale.currency,
        if preview.is_empty() { "" } else { " · " }
    );
    let mut head = [
        meta("name", "description", &preview),
        meta("property", "og:type", "product"),
        meta("property", "og:title", &sale.product_name),
        meta("property", "og:site_name", &sale.merchant_name),
        meta("property", "og:description", &preview),
        meta("property", "product:price:amount", &price),
        meta("property", "product:price:currency", &sale.currency),
        canonical(origin, &at),
    ]
    .concat();
    if let (Some(picture), Some(origin)) = (&sale.picture, origin) {
        head += &[
            meta("property", "og:image", &format!("{origin}{}", picture.url)),
            meta("property", "og:image:type", "image/jpeg"),
            meta("property", "og:image:width", &picture.width.to_string()),
            meta("property", "og:image:height", &picture.height.to_string()),
            meta("property", "og:image:alt", &picture.alt),
            meta("name", "twitter:card", "summary_large_image"),
        ]
        .concat();
    }
    head += &data("type=\"application/ld+json\"", &facts(sale, origin, &at, &price));
    // The whole sale: the script draws it at once, and asks for nothing.
    let mut about = json!(sale);
    about["payments"] = json!(payments);
    head + &data(
        &format!("type=\"application/json\" data-sale=\"{}\"", sale.sale_id),
        &about,
    )
}

/// What a preview shows of a list: whose it is, and what is in it.
fn list_preview(name: &str, sales: &[SaleView]) -> String {
    let mut preview = name.to_owned();
    for sale in sales.iter().take(PREVIEW_SALES) {
        let price = amount(sale.sale_price, sale.currency_exponent);
        preview += &format!(" · {}, {} {price}", sale.product_name, sale.currency);
    }
    shortened(preview)
}

fn shortened(mut preview: String) -> String {
    if let Some((end, _)) = preview.char_indices().nth(PREVIEW_CHARS) {
        preview.truncate(end);
        preview.push('…');
    }
    preview
}

/// The sale in the words of schema.org.
fn facts(sale: &SaleView, origin: Option<&str>, at: &str, price: &str) -> Value {
    let availability = match sale.status {
        Phase::Scheduled | Phase::Waiting => "PreSale",
        Phase::Live if sale.stock > 0 => "InStock",
        Phase::Live | Phase::Paused | Phase::Drawing => "OutOfStock",
        Phase::Ended | Phase::Cancelled => "Discontinued",
    };
    let mut facts = json!({
        "@context": "https://schema.org",
        "@type": "Product",
        "name": sale.product_name,
        "sku": sale.product_id,
        "description": plain(&sale.description),
        "offers": {
            "@type": "Offer",
            "price": price,
            "priceCurrency": sale.currency,
            "availability": format!("https://schema.org/{availability}"),
            "validFrom": sale.start_time,
            "availabilityStarts": sale.start_time,
            "availabilityEnds": sale.end_time,
            "priceValidUntil": sale.end_time,
            "seller": { "@type": "Organization", "name": sale.merchant_name },
        },
    });
    if let Some(origin) = origin {
        facts["offers"]["url"] = format!("{origin}{at}").into();
        if let Some(picture) = &sale.picture {
            facts["image"] = format!("{origin}{}", picture.url).into();
        }
    }
    facts
}

fn sale_body(sale: &SaleView, words: &Words) -> String {
    let picture = sale.picture.as_ref().map_or_else(String::new, |picture| {
        let files: Vec<String> = picture
            .files
            .iter()
            .map(|file| format!("{} {}w", file.url, file.width))
            .collect();
        format!(
            "<img src=\"{}\" srcset=\"{}\" sizes=\"27em\" width=\"{}\" height=\"{}\" alt=\"{}\">",
            picture.url,
            files.join(", "),
            picture.width,
            picture.height,
            text(&picture.alt)
        )
    });
    format!(
        "<article class=\"first\"><h1 dir=\"auto\">{}</h1>{picture}{}{}</article>",
        text(&sale.product_name),
        price_and_time(sale, words, &clock(sale)),
        sale.description_html
            .as_deref()
            .map_or_else(String::new, |html| format!("<div dir=\"auto\">{html}</div>")),
    )
}

fn list_body(name: &str, sales: &[SaleView], words: &Words) -> String {
    let items: String = sales
        .iter()
        .map(|sale| {
            let name = text(&sale.product_name);
            format!(
                "<li><a href=\"/sale/{}\" dir=\"auto\">{name}</a>{}</li>",
                sale.sale_id,
                price_and_time(sale, words, "")
            )
        })
        .collect();
    format!(
        "<article class=\"first\"><h1 dir=\"auto\">{}</h1><ul>{items}</ul></article>",
        text(name)
    )
}

/// The time that is left as the page is sent. The script lets it run; without one it is not shown.
fn clock(sale: &SaleView) -> String {
    if is_over(sale) || sale.remaining_time == 0 {
        return String::new();
    }
    let left = sale.remaining_time;
    let (hours, minutes, seconds) = (left / 3_600, left / 60 % 60, left % 60);
    let text = match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    };
    format!("<br><span class=\"clock\" role=\"timer\" dir=\"ltr\" data-left=\"{left}\">{text}</span>")
}

fn price_and_time(sale: &SaleView, words: &Words, clock: &str) -> String {
    let price = |minor| {
        format!(
            "{} {}",
            text(&sale.currency),
            amount(minor, sale.currency_exponent)
        )
    };
    let before = match sale.original_price > sale.sale_price {
        true => format!(" <s>{}</s>", price(sale.original_price)),
        false => String::new(),
    };
    let time = |word: &str, time: &str| format!("{word} <time datetime=\"{time}\">{}</time>", minute(time));
    let when = match sale.status {
        _ if is_over(sale) => words.over.to_owned(),
        Phase::Scheduled | Phase::Waiting => time(words.starts, &sale.start_time),
        _ => time(words.ends, &sale.end_time),
    };
    format!(
        "<p><strong>{}</strong>{before}</p><p>{when}{clock}</p>",
        price(sale.sale_price)
    )
}

fn is_over(sale: &SaleView) -> bool {
    matches!(sale.status, Phase::Drawing | Phase::Ended | Phase::Cancelled)
}

/// "2026-12-03 06:53 UTC", which every language reads.
fn minute(rfc3339: &str) -> String {
    let (date, time) = rfc3339.split_once('T').unwrap_or((rfc3339, ""));
    format!("{date} {} UTC", time.get(..5).unwrap_or_default())
}

/// Minor units as a number with a point.
fn amount(minor: i64, exponent: u32) -> String {
    let unit = 10_u64.pow(exponent.min(9));
    let (whole, rest) = (minor.unsigned_abs() / unit, minor.unsigned_abs() % unit);
    match exponent {
        0 => whole.to_string(),
        digits => format!("{whole}.{rest:0width$}", width = digits as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<!doctype html><html lang=\"en\"><head><title>Flash sales</title></head><body><shop-page></shop-page>\
        <noscript>This page needs JavaScript.</noscript></body></html>";

    #[test]
    fn amounts_and_times_are_read_in_every_language() {
        for (minor, exponent, text) in [
            (8_900, 2, "89.00"),
            (5, 2, "0.05"),
            (500, 0, "500"),
            (1_234, 3, "1.234"),
            (0, 2, "0.00"),
        ] {
            assert_eq!(amount(minor, exponent), text);
        }
        assert_eq!(minute("2026-12-03T06:53:00.000Z"), "2026-12-03 06:53 UTC");
    }

    #[test]
    fn what_a_shop_has_written_ends_no_element() {
        let value = json!({ "name": "</script><script>alert(1)</script><!--" });
        let element = data("type=\"application/json\"", &value);
        assert_eq!(element.matches('<').count(), 2, "{element}");
        let inside = element
            .split_once('>')
            .and_then(|(_, rest)| rest.strip_suffix("</script>"))
            .expect("an element");
        assert_eq!(serde_json::from_str::<Value>(inside).expect("JSON"), value);
        assert_eq!(
            meta("name", "x", "\"><b>"),
            "<meta name=\"x\" content=\"&quot;&gt;&lt;b&gt;\">"
        );
    }

    #[test]
    fn a_page_of_an_earlier_build_without_the_marks_is_left_as_it_is() {
        let words = words::wanted(&Default::default());
        assert_eq!(fill("<p>old</p>", &About::Nothing, words, None), "<p>old</p>");
        let filled = fill(PAGE, &About::Nothing, words, Some("https://a.example"));
        assert!(
            filled.contains("<title>Flash sales</title><meta name=\"robots\" content=\"noindex\">"),
            "{filled}"
        );
        assert!(!filled.contains("canonical"), "{filled}");
        let sales = About::Sales {
            shop: None,
            sales: Vec::new(),
        };
        let filled = fill(PAGE, &sales, words, Some("https://a.example"));
        assert!(
            filled.contains("<link rel=\"canonical\" href=\"https://a.example/\">"),
            "{filled}"
        );
        assert!(
            filled.contains("<shop-page><article class=\"first\"><h1 dir=\"auto\">Flash sales</h1>"),
            "{filled}"
        );
    }
}

//! The shop's pages before their script runs: what link previews, search engines and people without JavaScript read.

use crate::harness::{QUICK, World};
use flashsale_protocol::Role;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use reqwest::{Method, header::ACCEPT_LANGUAGE};
use serde_json::{Value, json};

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><title>Flash sales</title></head><body><shop-page></shop-page>\
    <noscript>This page needs JavaScript.</noscript></body></html>";

/// A server whose pages are built, as far as this matters here.
async fn world(folder: &tempfile::TempDir) -> World {
    std::fs::create_dir(folder.path().join("assets")).expect("a folder");
    for (name, text) in [
        ("index.html", PAGE),
        ("admin.html", "<title>Admin</title>"),
        ("robots.txt", "User-agent: *"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("writes");
    }
    let web_dir = folder.path().display().to_string();
    let flags: Vec<&str> = QUICK.iter().copied().chain(["--web-dir", &web_dir]).collect();
    World::with(&flags).await
}

async fn get(world: &World, path: &str, language: &str) -> (u16, String) {
    let request = world.http.get(world.url(path)).header(ACCEPT_LANGUAGE, language);
    let response = request.send().await.expect("an answer");
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8", "{path}");
    assert_eq!(headers["cache-control"], "no-cache", "{path}");
    assert!(headers.contains_key("content-security-policy"), "{path}");
    (response.status().as_u16(), response.text().await.expect("text"))
}

/// What stands in a meta element.
fn meta<'a>(page: &'a str, name: &str) -> &'a str {
    let mark = format!("\"{name}\" content=\"");
    let (_, rest) = page
        .split_once(&mark)
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split_once('"').expect("an end").0
}

#[tokio::test]
async fn a_sale_s_page_has_a_title_a_preview_and_facts_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder).await;
    let sale = world
        .sale(json!({
            "product_name": "Lamp \"Harbour\" <b>", "description": "Made of **oak**.\n\n<script>alert(1)</script>",
            "original_price": 12_900, "sale_price": 5_900, "start_time": "2099-12-03T06:53:00Z", "end_time": "2099-12-03T08:00:00Z",
        }))
        .await;
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&[200; 700 * 400 * 3], 700, 400, ExtendedColorType::Rgb8)
        .expect("encodes");
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/picture?alt=An%20%22oak%22%20lamp");
    let sent = world.rest(Method::POST, &path, Some(&boss), &[], png).await;
    assert_eq!(sent.status, 200, "{sent:?}");

    let (status, page) = get(&world, &format!("/sale/{sale}"), "").await;
    assert_eq!(status, 200);
    assert!(
        page.contains("<title>Lamp &quot;Harbour&quot; &lt;b&gt; · boss</title>"),
        "{page}"
    );
    let here = format!("{}/sale/{sale}", world.server.origin);
    assert!(
        page.contains(&format!("<link rel=\"canonical\" href=\"{here}\">")),
        "{page}"
    );
    assert_eq!(meta(&page, "og:url"), here);
    assert_eq!(meta(&page, "og:title"), "Lamp &quot;Harbour&quot; &lt;b&gt;");
    assert_eq!(meta(&page, "og:site_name"), "boss");
    assert!(
        meta(&page, "og:description")
            .starts_with("EUR 59.00 · 2099-12-03 06:53 UTC – 2099-12-03 08:00 UTC · Made of oak.")
    );
    let url = sent.body["picture"]["url"].as_str().expect("an address");
    assert_eq!(meta(&page, "og:image"), format!("{}{url}", world.server.origin));
    assert_eq!(
        (meta(&page, "og:image:width"), meta(&page, "og:image:height")),
        ("700", "400")
    );
    assert_eq!(meta(&page, "og:image:alt"), "An &quot;oak&quot; lamp");

    let (_, facts) = page
        .split_once("<script type=\"application/ld+json\">")
        .expect("facts");
    let facts: Value = serde_json::from_str(facts.split_once("</script>").expect("an end").0).expect("JSON");
    assert_eq!(
        (&facts["@type"], &facts["name"]),
        (&json!("Product"), &json!("Lamp \"Harbour\" <b>"))
    );
    let offer = &facts["offers"];
    assert_eq!(
        (&offer["price"], &offer["priceCurrency"]),
        (&json!("59.00"), &json!("EUR"))
    );
    assert_eq!(offer["availability"], "https://schema.org/PreSale");
    assert_eq!(offer["url"], here);

    // Readable without a script; what the shop wrote is text.
    assert!(
        page.contains("<h1 dir=\"auto\">Lamp &quot;Harbour&quot; &lt;b&gt;</h1>"),
        "{page}"
    );
    assert!(
        page.contains("<strong>EUR 59.00</strong> <s>EUR 129.00</s>"),
        "{page}"
    );
    assert!(
        page.contains("Starts <time datetime=\"2099-12-03T06:53:00.000Z\">2099-12-03 06:53 UTC</time>"),
        "{page}"
    );
    assert!(
        page.contains("<br><span class=\"clock\" role=\"timer\" dir=\"ltr\" data-left=\""),
        "{page}"
    );
    assert!(page.contains("<p>Made of <strong>oak</strong>.</p>"), "{page}");

    // The whole sale, so that the script need not ask for it.
    let mark = format!("<script type=\"application/json\" data-sale=\"{sale}\">");
    let (_, whole) = page.split_once(&mark).expect("the sale");
    let whole: Value = serde_json::from_str(whole.split_once("</script>").expect("an end").0).expect("JSON");
    assert_eq!(whole["sale_id"], json!(sale));
    assert_eq!(
        (&whole["sale_price"], &whole["payments"]),
        (&json!(5_900), &json!("sandbox"))
    );
    assert!(whole["remaining_time"].is_u64(), "{whole}");
    assert!(!page.contains("<script>alert"), "{page}");

    // In the reader's language, with one address for all.
    let (_, page) = get(&world, &format!("/sale/{sale}/"), "ar;q=0.9, pl").await;
    assert!(
        page.contains("<html lang=\"ar\" dir=\"rtl\">") && page.contains("يبدأ <time"),
        "{page}"
    );
    assert_eq!(meta(&page, "og:url"), here);
    let (_, page) = get(
        &world,
        &format!("/sale/{sale}?order=01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        "",
    )
    .await;
    assert_eq!(meta(&page, "robots"), "noindex");
    world.server.stop().await;
}

#[tokio::test]
async fn lists_lead_to_their_sales_and_what_is_not_there_is_said_to_be_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder).await;
    let sale = world.sale(json!({ "product_name": "Lamp" })).await;
    for path in ["/", "/m/boss", "/m/boss/"] {
        let (status, page) = get(&world, path, "de").await;
        assert_eq!(status, 200);
        assert!(meta(&page, "description").contains(" · Lamp, "), "{path}: {page}");
        assert!(
            page.contains(&format!("<a href=\"/sale/{sale}\" dir=\"auto\">Lamp</a>")),
            "{path}: {page}"
        );
        assert!(page.contains("Ende <time"), "{path}: {page}");
        let at = path.trim_end_matches('/');
        assert_eq!(
            meta(&page, "og:url"),
            format!("{}{}", world.server.origin, if at.is_empty() { "/" } else { at })
        );
    }
    for path in [
        "/m/nobody",
        "/sale/nonsense",
        "/sale/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "/m/%00",
        "/m/%22%3E%3Cb%3E",
    ] {
        let (status, page) = get(&world, path, "").await;
        assert_eq!(status, 404, "{path}");
        assert_eq!(meta(&page, "robots"), "noindex");
        assert!(
            page.contains("<shop-page></shop-page>"),
            "{path}: the script says what may have happened"
        );
    }
    // A host that is none names no address.
    let request = world.http.get(world.url("/")).header("host", "\"><script>");
    if let Ok(response) = request.send().await {
        assert!(!response.text().await.expect("text").contains("<script>\""));
    }
    let robots = world
        .http
        .get(world.url("/robots.txt"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(robots.status(), 200);
    world.server.stop().await;
}

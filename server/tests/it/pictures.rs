//! A product's picture: uploaded, shown, replaced, taken away; and what bad ones get.

use crate::harness::{Answer, QUICK, World, command_id};
use flashsale_protocol::{Code, Role, SaleId};
use futures_util::future::join_all;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

/// A PNG of one colour.
fn png(width: u32, height: u32, colour: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let pixels = vec![colour; (width * height * 3) as usize];
    PngEncoder::new(&mut file)
        .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
        .expect("encodes");
    file
}

/// A PNG that does not compress.
fn noise(side: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut pixels = vec![0; (side * side * 3) as usize];
    pixels.iter_mut().for_each(|value| *value = rand::random());
    PngEncoder::new(&mut file)
        .write_image(&pixels, side, side, ExtendedColorType::Rgb8)
        .expect("encodes");
    file
}

struct Shop {
    world: World,
    boss: String,
}

impl Shop {
    async fn open() -> Self {
        let world = World::with(QUICK).await;
        let boss = world.token("boss", Role::Admin);
        Self { world, boss }
    }

    async fn upload(&self, sale: SaleId, query: &str, key: &str, file: Vec<u8>) -> Answer {
        let path = format!("/admin/sales/{sale}/picture{query}");
        let headers = [("idempotency-key", key)];
        self.world
            .rest(Method::POST, &path, Some(&self.boss), &headers, file)
            .await
    }

    /// With a key of its own.
    async fn send(&self, sale: SaleId, file: Vec<u8>) -> Answer {
        self.upload(sale, "", &command_id().to_string(), file).await
    }

    async fn remove(&self, sale: SaleId) -> Answer {
        let path = format!("/admin/sales/{sale}/picture");
        self.world
            .rest(Method::DELETE, &path, Some(&self.boss), &[], "")
            .await
    }

    async fn stored(&self) -> i64 {
        let pool = PgPool::connect(&self.world.database_url).await.expect("Postgres");
        let count = sqlx::query_scalar("SELECT count(*) FROM pictures")
            .fetch_one(&pool)
            .await;
        count.expect("a count")
    }

    async fn file(&self, url: &str) -> reqwest::Response {
        self.world
            .http
            .get(self.world.url(url))
            .send()
            .await
            .expect("an answer")
    }
}

fn url(answer: &Answer) -> String {
    answer.body["picture"]["url"]
        .as_str()
        .expect("an address")
        .to_owned()
}

#[tokio::test]
async fn a_picture_is_shown_in_files_of_its_own_under_addresses_that_never_change() {
    let shop = Shop::open().await;
    let sale = shop.world.sale(json!({ "product_name": "Lamp" })).await;
    let sent = shop.send(sale, png(1_000, 500, 90)).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let picture = &sent.body["picture"];
    assert_eq!(
        (&picture["width"], &picture["height"], &picture["alt"]),
        (&json!(1_000), &json!(500), &json!("Lamp"))
    );
    let widths: Vec<&Value> = picture["files"]
        .as_array()
        .expect("files")
        .iter()
        .map(|file| &file["width"])
        .collect();
    assert_eq!(widths, [320, 640, 960, 1_000]);
    for file in picture["files"].as_array().expect("files") {
        let response = shop.file(file["url"].as_str().expect("an address")).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "image/jpeg");
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
        assert_eq!(headers["access-control-allow-origin"], "*");
        let image = image::load_from_memory(&response.bytes().await.expect("bytes")).expect("a picture");
        assert_eq!(json!(image.width()), file["width"]);
    }
    // Everybody sees it, in the sale and in lists.
    let path = format!("/flash-sales/{sale}");
    let read = shop.world.rest(Method::GET, &path, None, &[], "").await.body;
    assert_eq!(read["picture"], *picture);
    for wrong in [
        "0000",
        "x/640.jpg",
        "00000000000000000000000000000000/640.jpg",
        "00000000000000000000000000000000/640.png",
    ] {
        let response = shop.file(&format!("/pictures/{wrong}")).await;
        assert_eq!(response.status(), 404, "{wrong}");
        assert_ne!(
            response.headers()["cache-control"],
            "public, max-age=31536000, immutable"
        );
    }
    shop.world.server.stop().await;
}

#[tokio::test]
async fn a_picture_is_replaced_and_taken_away_and_stays_for_the_sales_that_show_it() {
    let shop = Shop::open().await;
    let (one, other) = (shop.world.sale(json!({})).await, shop.world.sale(json!({})).await);
    let first = shop.send(one, png(40, 30, 1)).await;
    // The same twice, and for another sale of the shop: stored once.
    let again = shop.send(one, png(40, 30, 1)).await;
    assert_eq!(url(&first), url(&again));
    assert_eq!(
        first.body["version"], again.body["version"],
        "nothing has changed"
    );
    assert_eq!(url(&shop.send(other, png(40, 30, 1)).await), url(&first));
    assert_eq!(shop.stored().await, 1);
    let second = shop.send(one, png(40, 30, 2)).await;
    assert_ne!(url(&second), url(&first));
    assert_eq!(shop.stored().await, 2);
    assert_eq!(shop.remove(other).await.status, 200);
    assert_eq!(shop.stored().await, 1, "no sale shows the first any more");
    let removed = shop.remove(one).await;
    assert_eq!(removed.body["picture"], Value::Null);
    assert_eq!(shop.remove(one).await.body["version"], removed.body["version"]);
    assert_eq!(shop.stored().await, 0);
    // What it shows can be said anew.
    shop.send(one, png(40, 30, 1)).await;
    let said = shop
        .upload(
            one,
            "?alt=A%20lamp%20of%20oak",
            &command_id().to_string(),
            png(40, 30, 1),
        )
        .await;
    assert_eq!(said.body["picture"]["alt"], "A lamp of oak");
    let long = format!("?alt={}", "x".repeat(301));
    let long = shop
        .upload(one, &long, &command_id().to_string(), png(40, 30, 1))
        .await;
    assert_eq!(long.refusal(), Code::InvalidField);
    shop.world.server.stop().await;
}

#[tokio::test]
async fn a_repeated_upload_has_one_effect_and_its_key_is_for_no_other_picture() {
    let shop = Shop::open().await;
    let sale = shop.world.sale(json!({})).await;
    let key = command_id().to_string();
    let first = shop.upload(sale, "", &key, png(8, 8, 1)).await;
    let repeated = shop.upload(sale, "", &key, png(8, 8, 1)).await;
    assert_eq!((repeated.status, &repeated.body), (200, &first.body));
    assert_eq!(
        shop.upload(sale, "", &key, png(8, 8, 2)).await.refusal(),
        Code::CommandIdReused
    );
    assert_eq!(
        shop.upload(sale, "?alt=x", &key, png(8, 8, 1)).await.refusal(),
        Code::CommandIdReused
    );
    // Eight at once, to two sales: each shows one of them, and nothing else is left.
    let other = shop.world.sale(json!({})).await;
    let uploads = (0..8).map(|n| shop.send(if n % 2 == 0 { sale } else { other }, png(8, 8, 10 + n / 2)));
    for answer in join_all(uploads).await {
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    assert!((1..=2).contains(&shop.stored().await));
    shop.world.server.stop().await;
}

#[tokio::test]
async fn what_is_no_picture_or_too_large_a_one_is_refused_in_one_sentence() {
    let shop = Shop::open().await;
    let sale = shop.world.sale(json!({})).await;
    // 40 megapixels of one colour are a small file.
    let bomb = png(8_000, 5_000, 0);
    assert!(bomb.len() < 2_000_000, "{}", bomb.len());
    for (file, sentence) in [
        (vec![0; 5_000_001], "A picture may have at most 5 MB."),
        (
            bomb,
            "A picture may have at most 25 million pixels, and 10,000 on a side. Make it smaller, please.",
        ),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
            "This is no picture that we can read. It must be a PNG, JPEG or WebP file.",
        ),
        (
            png(50, 50, 1)[..80].to_vec(),
            "This is no picture that we can read. It must be a PNG, JPEG or WebP file.",
        ),
        (
            Vec::new(),
            "This is no picture that we can read. It must be a PNG, JPEG or WebP file.",
        ),
    ] {
        let answer = shop.send(sale, file).await;
        assert_eq!(answer.refusal(), Code::PictureRefused);
        assert_eq!(answer.detail(), sentence);
    }
    assert_eq!(shop.stored().await, 0);
    let guest = shop.world.token("u1", Role::Shopper);
    let path = format!("/admin/sales/{sale}/picture");
    let refused = shop
        .world
        .rest(Method::POST, &path, Some(&guest), &[], png(8, 8, 1))
        .await;
    assert_eq!(refused.refusal(), Code::Forbidden);
    let other = shop.world.token("other", Role::Merchant);
    let refused = shop
        .world
        .rest(Method::POST, &path, Some(&other), &[], png(8, 8, 1))
        .await;
    assert_eq!(refused.refusal(), Code::SaleUnknown);
    shop.world.server.stop().await;
}

#[tokio::test]
async fn a_shop_has_as_many_megabytes_of_pictures_as_it_may_have_also_with_eight_uploads_at_once() {
    let shop = Shop::open().await;
    let sales = join_all((0..8).map(|_| shop.world.sale(json!({})))).await;
    let (boss, quota) = (Some(shop.boss.as_str()), json!({ "picture_mb": 1 }).to_string());
    let set = shop
        .world
        .rest(Method::PATCH, "/admin/merchants/boss", boss, &[], quota)
        .await;
    assert_eq!(set.status, 200, "{set:?}");
    // Each is about a third of a megabyte in all its files.
    let sent = join_all(sales.iter().map(|sale| shop.send(*sale, noise(400)))).await;
    let count = |status| sent.iter().filter(|answer| answer.status == status).count();
    assert!(
        count(200) >= 1 && count(200) <= 4,
        "{:?}",
        sent.iter().map(|answer| answer.status).collect::<Vec<_>>()
    );
    let full = sent
        .iter()
        .find(|answer| answer.status == 409)
        .expect("one too many");
    assert_eq!(full.refusal(), Code::QuotaReached);
    assert_eq!(shop.stored().await, count(200) as i64);
    // Room is made by taking one away, and a sale's own picture counts once when it is replaced.
    let shown = sales
        .iter()
        .zip(&sent)
        .find(|(_, answer)| answer.status == 200)
        .map(|(sale, _)| *sale);
    let shown = shown.expect("one is shown");
    assert_eq!(shop.send(shown, png(8, 8, 1)).await.status, 200);
    assert_eq!(shop.send(shown, noise(300)).await.status, 200);
    shop.world.server.stop().await;
}

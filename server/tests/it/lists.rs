//! Lists of sales, and whose name a sale bears.

use crate::harness::{Answer, QUICK, World, command_id};
use flashsale_protocol::{Code, Role};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// Made-up ids are answered from what is known; a sale that another process has made is known at once.
#[tokio::test]
async fn a_sale_is_known_at_once_everywhere_and_a_made_up_one_nowhere() {
    let world = World::start().await;
    let other = world.another("127.0.0.1:0").await;
    let made_up = |_| format!("/flash-sales/{}", command_id());
    let paths: Vec<String> = (0..200).map(made_up).collect();
    let asked = join_all(paths.iter().map(|path| world.get(path, &[]))).await;
    for answer in asked {
        assert_eq!(answer.refusal(), Code::SaleUnknown);
    }
    for _ in 0..3 {
        let sale = world.sale(json!({})).await;
        for path in ["", "/draw"] {
            let url = format!("http://{}/flash-sales/{sale}{path}", other.address);
            let status = world.http.get(url).send().await.expect("an answer").status();
            assert_eq!(status, 200, "{path}");
        }
    }
    other.stop().await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_list_is_small_and_is_not_sent_to_whoever_has_it() {
    let world = World::start().await;
    let description = "a ".repeat(2_000);
    let sale = world.sale(json!({ "description": description })).await;
    for path in ["/flash-sales".to_owned(), format!("/flash-sales/{sale}")] {
        let mut tries = 0;
        loop {
            let first = world.get(&path, &[]).await;
            let tag = first.headers["etag"].to_str().expect("text");
            assert_eq!(first.headers["cache-control"], "public, max-age=1");
            let again = world.get(&path, &[("if-none-match", tag)]).await;
            if again.status == 304 {
                break;
            }
            // The remaining time has become another second in between.
            tries += 1;
            assert!(tries < 10, "{path}");
        }
    }
    let packed = world.get("/flash-sales", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    world.server.stop().await;
}

#[tokio::test]
async fn nobody_hides_another_s_sale_and_the_list_goes_on_behind_its_cursor() {
    let world = World::with(QUICK).await;
    for merchant in ["loud", "quiet"] {
        world.merchant(merchant).await;
    }
    let in_days = |days: i64| (chrono::Utc::now() + chrono::TimeDelta::days(days)).to_rfc3339();
    let made = async |merchant: &str, fields: Value| {
        let mut body = json!({ "merchant": merchant, "total_stock": 1 });
        body.as_object_mut()
            .expect("an object")
            .extend(fields.as_object().expect("an object").clone());
        let answer = world.create_sale(body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["sale_id"].as_str().expect("an id").to_owned()
    };
    let later = json!({ "start_time": in_days(500), "end_time": in_days(501) });
    let mut all = Vec::new();
    for _ in 0..12 {
        all.push(made("loud", later.clone()).await);
        all.push(made("loud", json!({})).await);
    }
    let quiet = made("quiet", json!({})).await;
    all.push(quiet.clone());
    let list = async |query: &str| {
        world
            .rest(Method::GET, &format!("/flash-sales?{query}"), None, &[], "")
            .await
    };
    let ids = |answer: &Answer| -> Vec<String> {
        let sales = answer.body["sales"].as_array().expect("a list");
        sales
            .iter()
            .map(|sale| sale["sale_id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let first = list("limit=2").await;
    assert!(
        ids(&first).contains(&quiet),
        "each shop's first sale comes before anybody's second"
    );
    let (mut found, mut next) = (ids(&first), first.body["next"].clone());
    while let Some(after) = next.as_str() {
        let page = list(&format!("limit=7&after={after}")).await;
        found.extend(ids(&page));
        next = page.body["next"].clone();
    }
    assert_eq!(found.len(), all.len(), "each once");
    found.sort();
    all.sort();
    assert_eq!(found, all);
    assert_eq!(ids(&list("merchant=quiet").await), [quiet.as_str()]);
    assert_eq!(
        ids(&list("group=coming&merchant=quiet").await),
        Vec::<String>::new()
    );
    assert_eq!(ids(&list("group=coming").await).len(), 12);
    assert_eq!(list("merchant=nobody").await.refusal(), Code::MerchantUnknown);
    for wrong in ["group=dead", "limit=0", "limit=101", "after=x", "page=2"] {
        assert_eq!(list(wrong).await.refusal(), Code::InvalidField, "{wrong}");
    }
    // Quotas: none of eight at once passes them.
    let set = world
        .admin(
            Method::PATCH,
            "/admin/merchants/quiet",
            json!({ "open_sales": 3, "days_ahead": 30, "text_chars": 10 }),
        )
        .await;
    assert_eq!(set.status, 200, "{set:?}");
    let body = || json!({ "merchant": "quiet" });
    let many = futures_util::future::join_all((0..8).map(|_| world.create_sale(body()))).await;
    assert_eq!(many.iter().filter(|answer| answer.status == 201).count(), 2);
    assert!(
        many.iter()
            .filter(|answer| answer.status != 201)
            .all(|answer| answer.refusal() == Code::QuotaReached)
    );
    for wrong in [
        json!({ "merchant": "quiet", "start_time": in_days(31), "end_time": in_days(32) }),
        json!({ "merchant": "quiet", "description": "x".repeat(11) }),
    ] {
        assert_eq!(world.create_sale(wrong).await.refusal(), Code::InvalidField);
    }
    assert_eq!(
        world.create_sale(json!({ "merchant": "nobody" })).await.refusal(),
        Code::MerchantUnknown
    );
    // An operator of one shop knows nothing of the other.
    let operator = world.token("m1", Role::Merchant);
    for path in [
        "/admin/merchants/quiet",
        "/admin/merchants/quiet/keys",
        "/admin/sales?merchant=quiet",
    ] {
        let answer = world.rest(Method::GET, path, Some(&operator), &[], "").await;
        assert_eq!(answer.refusal(), Code::MerchantUnknown, "{path}");
    }
    // Two operators whose names make one name for addresses are two shops.
    for name in ["Two", "two", "TWO"] {
        let token = world.token(name, Role::Merchant);
        let now = chrono::Utc::now();
        let body = json!({
            "product_name": name, "currency": "EUR", "original_price": 1, "sale_price": 1, "total_stock": 1,
            "start_time": now.to_rfc3339(), "end_time": in_days(1),
        });
        let made = world
            .rest(Method::POST, "/admin/sales", Some(&token), &[], body.to_string())
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let own = world
            .rest(Method::GET, "/admin/sales", Some(&token), &[], "")
            .await;
        let names: Vec<&str> = own.body["sales"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|sale| sale["product_name"].as_str().expect("a name"))
            .collect();
        assert_eq!(names, [name]);
        let shop = world
            .rest(
                Method::GET,
                &format!("/admin/merchants/{name}"),
                Some(&token),
                &[],
                "",
            )
            .await;
        assert_eq!(shop.body["merchant_id"], name);
    }
    let twice = world
        .admin(
            Method::POST,
            "/admin/merchants",
            json!({ "name": "Quiet", "slug": "quiet" }),
        )
        .await;
    assert_eq!(twice.refusal(), Code::MerchantTaken);
    world.server.stop().await;
}

#[tokio::test]
async fn an_operator_s_sale_never_bears_the_name_of_another_shop() {
    let world = World::with(QUICK).await;
    world.merchant("nordlicht").await;
    // The id that this operator's token names is the other shop's name in addresses.
    let operator = world.token("nordlicht", Role::Merchant);
    let own = json!({ "currency": "USD" }).to_string();
    let changed = world
        .rest(
            Method::PATCH,
            "/admin/merchants/nordlicht",
            Some(&operator),
            &[],
            own,
        )
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let (start, end) = (
        chrono::Utc::now(),
        chrono::Utc::now() + chrono::TimeDelta::hours(1),
    );
    let body = json!({
        "product_name": "Fake", "original_price": 200, "sale_price": 100, "total_stock": 1,
        "start_time": start.to_rfc3339(), "end_time": end.to_rfc3339(),
    });
    let made = world
        .rest(
            Method::POST,
            "/admin/sales",
            Some(&operator),
            &[],
            body.to_string(),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let fake = made.body["sale_id"].as_str().expect("an id");
    let seen = world
        .rest(Method::GET, &format!("/flash-sales/{fake}"), None, &[], "")
        .await;
    assert_ne!(seen.body["merchant"], "nordlicht", "{seen:?}");
    assert_eq!(seen.body["currency"], "USD", "the shop's own by default");
    world.server.stop().await;
}

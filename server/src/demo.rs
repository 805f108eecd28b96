//! The demo sales of `make run`: one that opens in 30 s, one with a long line that moves, that of the example storefront, one tomorrow.

pub mod people;

use crate::{
    admin::sales::{SaleBody, open},
    app::App,
};
use anyhow::anyhow;
use chrono::{DateTime, TimeDelta, Utc};
use flashsale_engine::store::{events::By, listing::Wanted, merchants::MerchantRow};
use flashsale_engine::{clock, sale::Sale};
use flashsale_protocol::{Allocation, DrawWeight, OpeningOrder, Phase};
use people::Crowd;
use serde_json::json;

const MERCHANT: &str = "demo";
/// What people read instead.
const SHOP_NAME: &str = "Harbour Lane";
/// People in the long line, and the units they wait for.
const CROWD: usize = 3_000;
const CROWD_STOCK: i64 = 2_000;
/// What the example storefront sells (`web/src/storefront/storefront.ts`).
const STOREFRONT_PRODUCT: &str = "demo-harbour-lamp";

/// Makes missing sales; the one that opens soon is made anew with each start. Returns the crowd in the long line.
pub async fn create(app: &App) -> anyhow::Result<Crowd> {
    let now = clock::now();
    let merchant = app.shop.merchants.named(MERCHANT).await?;
    if merchant.row.name == MERCHANT {
        let named = MerchantRow {
            name: SHOP_NAME.into(),
            ..merchant.row.clone()
        };
        let changed = json!({ "name": [merchant.row.name, SHOP_NAME] });
        app.shop
            .store
            .change_merchant(&named, changed, By::SERVER)
            .await?;
        app.shop.merchants.refresh().await?;
    }
    let wanted = Wanted {
        merchant: Some(merchant.row.id.clone()),
        ..Wanted::first()
    };
    let existing = app.shop.store.list_sales(&wanted).await?.sales;
    let running = |product: &str| {
        existing.iter().find(|sale| {
            sale.product_id == product
                && sale.end_time > now
                && !matches!(sale.status, Phase::Ended | Phase::Cancelled)
        })
    };

    let sneakers = body(
        "demo-sneakers",
        "Aurora Runner, first edition",
        100,
        19_900,
        8_900,
        now + TimeDelta::seconds(30),
    );
    make(
        app,
        SaleBody {
            description: "Opens **thirty seconds** after the server's start.\n\n- One pair per person\n- Sizes 36 to 47\n- Made of recycled \
                          yarn, [here is how](https://example.com/yarn)"
                .into(),
            terms_url: Some("https://example.com/terms".into()),
            terms_version: Some("2026-11-01".into()),
            ..sneakers
        },
    )
    .await?;
    let crowd = match running("demo-console") {
        Some(sale) => Crowd::new(sale.id, CROWD),
        None => {
            let line = body(
                "demo-console",
                "Nimbus One console",
                CROWD_STOCK,
                49_900,
                29_900,
                now + TimeDelta::seconds(5),
            );
            let description = format!(
                "{CROWD} people wait for {CROWD_STOCK} units. Ten a second are called at most; most of them buy, some do not."
            );
            let sale = make(
                app,
                SaleBody {
                    description,
                    inflow: 1,
                    claim_ms: 20_000,
                    room_opens_at: Some(now),
                    ..line
                },
            )
            .await?;
            let crowd = Crowd::new(sale.id, CROWD);
            crowd.join(app).await?;
            crowd
        }
    };
    if running(STOREFRONT_PRODUCT).is_none() {
        let lamp = body(
            STOREFRONT_PRODUCT,
            "The Harbour Lamp",
            300,
            12_900,
            5_900,
            now + TimeDelta::minutes(2),
        );
        make(
            app,
            SaleBody {
                description: "Turned oak from the valley, a linen shade sewn next door.".into(),
                per_shopper_limit: 2,
                ..lamp
            },
        )
        .await?;
    }
    if running("demo-lamp").is_none() {
        let lamp = body(
            "demo-lamp",
            "Meridian desk lamp",
            500,
            12_900,
            5_900,
            now + TimeDelta::days(1),
        );
        make(
            app,
            SaleBody {
                description: "Starts tomorrow at this time.".into(),
                per_shopper_limit: 2,
                ..lamp
            },
        )
        .await?;
    }
    Ok(crowd)
}

fn body(
    product: &str,
    name: &str,
    stock: i64,
    original_price: i64,
    sale_price: i64,
    start_time: DateTime<Utc>,
) -> SaleBody {
    SaleBody {
        merchant: None,
        product_name: name.into(),
        description: String::new(),
        product_id: Some(product.into()),
        currency: Some("EUR".into()),
        original_price,
        sale_price,
        total_stock: stock,
        start_time,
        end_time: start_time + TimeDelta::hours(2),
        room_opens_at: None,
        lanes: 1,
        per_shopper_limit: 1,
        per_device_limit: None,
        hold_ms: 300_000,
        claim_ms: 120_000,
        payment_ms: 300_000,
        inflow: 1_000,
        target_delay_ms: 125,
        allocation: Allocation::Queue,
        beacon: None,
        opening: OpeningOrder::Fifo,
        draw_weight: DrawWeight::Equal,
        priority_share: 50,
        absence_ms: 3_600_000,
        cancel_limit: 20,
        extend_once: true,
        terms_url: None,
        terms_version: None,
    }
}

async fn make(app: &App, body: SaleBody) -> anyhow::Result<Sale> {
    let mut sale = body
        .check(&app.shop.merchants.named(MERCHANT).await?.row)
        .map_err(|problem| anyhow!("the demo sale is wrong: {}", problem.0.message))?;
    sale.format = app.shop.new_format().await?;
    open(app, &sale, None).await?;
    Ok(sale)
}

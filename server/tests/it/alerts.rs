//! The alert rules ask for metrics that there are, and that are set.

use crate::{
    harness::{DEADLINE, World},
    tidy::{read, sources},
};
use flashsale_protocol::{Done, ShopCommand};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TELEMETRY: &str = include_str!("../../../engine/src/telemetry.rs");

/// Name and expression of every alert.
fn alerts() -> Vec<(String, String)> {
    let rules: Value = yaml_serde::from_str(&read("deploy/alerts.yml")).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    let text = |rule: &Value, field: &str| {
        rule[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field} in {rule}"))
            .to_owned()
    };
    rules
        .map(|rule| (text(rule, "alert"), text(rule, "expr")))
        .collect()
}

/// The metrics that the alerts ask for, as they stand in the exposition.
fn asked() -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let alerts = alerts();
    let words = alerts.iter().flat_map(|(_, expr)| expr.split(word));
    words
        .filter(|word| word.starts_with("flashsale_"))
        .map(str::to_owned)
        .collect()
}

/// Constant and value of every metric in the source.
fn declared() -> Vec<(&'static str, &'static str)> {
    let lines = TELEMETRY
        .lines()
        .filter_map(|line| line.trim().split_once("const "))
        .map(|(_, declaration)| declaration);
    lines
        .filter_map(|line| {
            let (constant, value) = line.split_once(": &str = \"")?;
            Some((constant, value.strip_suffix("\";")?))
        })
        .collect()
}

#[test]
fn every_alert_of_the_brief_is_there_and_asks_for_metrics_that_are_declared() {
    let names: Vec<String> = alerts().into_iter().map(|(name, _)| name).collect();
    for name in [
        "StockHistoryDivergence",
        "OversellDetected",
        "QueueBacklogTooLarge",
        "CheckoutLatencyHigh",
        "ReservationExpiredRate",
        "BotTrafficDetected",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    let declared = declared();
    assert!(declared.len() > 15);
    for name in asked() {
        let plain = name.strip_suffix("_bucket").unwrap_or(&name);
        assert!(
            declared.iter().any(|(_, value)| *value == plain),
            "{name} is no metric"
        );
    }
    let code: String = sources("engine/src")
        .into_iter()
        .chain(sources("server/src"))
        .map(|(_, text)| text)
        .collect();
    for (constant, value) in declared {
        assert!(
            code.contains(&format!("name::{constant}")),
            "{value} is never set"
        );
    }
}

/// Only servers that speak TLS have it: the tests of TLS look for it.
const OF_TLS: &str = "flashsale_tls_certificate_ends_seconds";

#[tokio::test]
async fn a_server_that_sells_shows_every_metric_that_the_alerts_ask_for() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "total_stock": 3, "per_device_limit": 1 }))
        .await;
    let mut shopper = world.shopper("u1").await;
    for _ in 0..2 {
        crate::purchase::join_and_reserve(&mut shopper, sale).await;
        let order = crate::purchase::checkout(&mut shopper, sale).await.order;
        assert!(matches!(
            shopper.ok(ShopCommand::Cancel { order }).await,
            Done::Order(_)
        ));
        shopper.events.clear();
    }
    let store = &world.server.app.shop.store;
    assert_eq!(store.same_device_orders(sale, 1).await.expect("Postgres"), 2);
    assert_eq!(store.same_device_orders(sale, 2).await.expect("Postgres"), 0);

    let shown = |text: &str, name: &str| text.lines().any(|line| line.starts_with(name));
    let all_shown = async {
        loop {
            let text = world
                .http
                .get(world.url("/metrics"))
                .send()
                .await
                .expect("an answer");
            let text = text.text().await.expect("a body");
            let asked = asked().into_iter().filter(|name| name != OF_TLS);
            let missing: Vec<String> = asked.filter(|name| !shown(&text, name)).collect();
            let two_reservations = format!("flashsale_reservations{{sale=\"{sale}\"}} 2");
            if missing.is_empty() && shown(&text, &two_reservations) {
                return;
            }
            // Set once a second: with the next tick there may be more.
            shopper.next().await;
        }
    };
    tokio::time::timeout(DEADLINE, all_shown)
        .await
        .expect("every metric in time");
    world.server.stop().await;
}

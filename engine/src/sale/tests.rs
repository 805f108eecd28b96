use super::*;
use proptest::prelude::*;

fn sale() -> Sale {
    let time = |s| DateTime::from_timestamp(s, 0).expect("in range");
    Sale {
        id: SaleId::from_parts(1, 1),
        merchant: "m".into(),
        product_id: "p".into(),
        product_name: "Product".into(),
        description: String::new(),
        currency: "EUR".into(),
        original_price: 2,
        sale_price: 1,
        total_stock: 10,
        room_opens_at: time(100),
        start_time: time(200),
        end_time: time(300),
        per_shopper_limit: 1,
        per_device_limit: 1,
        hold_ms: 1,
        claim_ms: 1,
        payment_ms: 1,
        inflow: 1,
        allocation: Allocation::Queue,
        draw_weight: DrawWeight::Equal,
        inflow_cut_at: None,
        target_delay_ms: TARGET_DELAY_MS,
        opening_seed: None,
        priority_share: 50,
        absence_ms: 1,
        cancel_limit: 1,
        extend_once: true,
        status: Phase::Scheduled,
        created_at: time(0),
        settings_version: 1,
        format: FORMATS,
        picture: None,
        terms: None,
        is_suspended: false,
        lanes: (0..4)
            .map(|lane| LaneInfo {
                lane,
                epoch: 1,
                supply: 1,
                supply_version: 0,
                allocated: 0,
                confirmed: 0,
            })
            .collect(),
    }
}

#[test]
fn the_phase_follows_the_clock_and_a_pause_does_not_outlive_the_end() {
    let mut sale = sale();
    let at = |sale: &Sale, s: u64| sale.phase_at(s * 1000);
    assert_eq!(at(&sale, 99), Phase::Scheduled);
    assert_eq!(at(&sale, 100), Phase::Waiting);
    assert_eq!(at(&sale, 200), Phase::Live);
    assert_eq!(at(&sale, 300), Phase::Ended);
    sale.status = Phase::Paused;
    assert_eq!(at(&sale, 250), Phase::Paused);
    assert_eq!(at(&sale, 300), Phase::Ended);
    sale.status = Phase::Ended;
    assert_eq!(at(&sale, 250), Phase::Ended, "ended early stays ended");
    sale.allocation = Allocation::Draw;
    for status in [Phase::Live, Phase::Paused, Phase::Scheduled] {
        sale.status = status;
        assert_eq!(at(&sale, 300), Phase::Drawing);
    }
    sale.status = Phase::Drawing;
    assert_eq!(at(&sale, 250), Phase::Drawing, "closed early stays closed");
}

/// Everybody in line has one, in every gateway where they are.
#[test]
fn what_a_gateway_knows_of_a_place_stays_small() {
    assert!(size_of::<(SaleId, Stake)>() <= 64);
}

#[test]
fn currencies_have_the_digits_that_iso_4217_gives_them() {
    for (currency, exponent) in [
        ("EUR", Some(2)),
        ("JPY", Some(0)),
        ("ISK", Some(0)),
        ("HUF", Some(2)),
        ("KWD", Some(3)),
        ("CLF", Some(4)),
        ("UYW", Some(4)),
        ("ZWG", Some(2)),
        ("XAU", None),
        ("XXX", None),
        ("BGN", None),
        ("eur", None),
        ("", None),
    ] {
        assert_eq!(currency_exponent(currency), exponent, "{currency}");
    }
}

proptest! {
    #[test]
    fn line_totals_add_up_exactly_or_are_refused(
        price in 0..=i64::MAX,
        parts in proptest::collection::vec(1..100_u32, 1..20),
    ) {
        let sale = Sale { sale_price: price, ..sale() };
        let exact: i128 = parts.iter().map(|part| i128::from(price) * i128::from(*part)).sum();
        match sale.line_total(parts.iter().sum()) {
            // If the whole can be counted, so can its parts, and they add up to it.
            Some(total) => {
                let sum: Option<i64> = parts.iter().map(|part| sale.line_total(*part)).sum();
                prop_assert_eq!(sum, Some(total));
                prop_assert_eq!(i128::from(total), exact);
            }
            None => prop_assert!(exact > i128::from(i64::MAX)),
        }
    }
}

#[test]
fn a_shopper_has_one_lane_and_shoppers_spread_over_all() {
    let sale = sale();
    let mut counts = [0; 4];
    for i in 0..4000 {
        let shopper: ShopperId = format!("shopper-{i}").parse().expect("valid");
        assert_eq!(sale.lane_of(&shopper), sale.lane_of(&shopper));
        counts[sale.lane_of(&shopper).lane as usize] += 1;
    }
    assert!(counts.iter().all(|n| (800..1200).contains(n)), "{counts:?}");
}

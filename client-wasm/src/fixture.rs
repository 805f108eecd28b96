//! Messages for tests: whole and valid, so that each test names only its own subject.

use flashsale_protocol::{
    Allocation, DrawWeight, Entry, EntryState, Hold, HoldState, Order, OrderId, OrderStatus, Phase, Role,
    SaleId, SaleInfo, SaleState, Tick, Welcome,
};

pub const SALE: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
pub const ORDER: &str = "01ARZ3NDEKTSV4RRFFQ69G5FB0";

pub fn sale() -> SaleId {
    SALE.parse().expect("a valid id")
}

pub fn order_id() -> OrderId {
    ORDER.parse().expect("a valid id")
}

pub fn tick(seq: u64, now: u64) -> Tick {
    Tick {
        sale: sale(),
        seq,
        now,
        phase: Phase::Live,
        starts_at: 0,
        ends_at: 10_000_000,
        supply: 10,
        available: 4,
        claimed: 1,
        held: 1,
        ordering: 1,
        sold: 3,
        unpaid: 1,
        waiting: 20,
        admitted: 0,
        pace: Some(2.0),
        pace_low: 1.0,
        pace_high: 4.0,
        take: 1.0,
        lapse: 0.1,
        next_lapse_at: None,
        slowed: None,
        priority_waiting: 0,
        priority_admitted: 0,
        priority_pace: 0.0,
    }
}

pub fn sold_out(seq: u64, now: u64) -> Tick {
    Tick {
        available: 0,
        claimed: 0,
        held: 0,
        ordering: 0,
        sold: 10,
        unpaid: 0,
        ..tick(seq, now)
    }
}

pub fn info() -> SaleInfo {
    SaleInfo {
        sale: sale(),
        product_id: "p1".into(),
        product_name: "Lamp".into(),
        description: String::new(),
        currency: "EUR".into(),
        currency_exponent: 2,
        original_price: 20_000,
        sale_price: 9_900,
        total_stock: 10,
        room_opens_at: 0,
        starts_at: 0,
        ends_at: 10_000_000,
        per_shopper_limit: 2,
        hold_ms: 300_000,
        claim_ms: 120_000,
        payment_ms: 300_000,
        allocation: Allocation::Queue,
        draw_weight: DrawWeight::Equal,
        opening: flashsale_protocol::OpeningOrder::Fifo,
        opening_seed_hash: None,
        opening_seed: None,
        format: 2,
        payments: flashsale_protocol::PaymentsBy::Sandbox,
        extend_once: true,
        terms_url: None,
        terms_version: None,
    }
}

pub fn state(tick: Tick) -> SaleState {
    SaleState {
        sale: info(),
        tick,
        entry: None,
        hold: None,
        orders: Vec::new(),
        draw: None,
        shopper: None,
    }
}

pub fn entry(state: EntryState, position: u64, at: u64) -> Entry {
    let claim_until = (state == EntryState::Admitted).then_some(at + 120_000);
    Entry {
        sale: sale(),
        state,
        quantity: 1,
        position,
        admitted: 0,
        priority: false,
        claim_until,
        extended: false,
        reason: None,
        nonce: None,
        at,
    }
}

pub fn hold(state: HoldState, at: u64) -> Hold {
    Hold {
        sale: sale(),
        state,
        quantity: 1,
        expires_at: at + 300_000,
        extended: false,
        order: None,
        reason: None,
        at,
    }
}

pub fn order(status: OrderStatus, at: u64) -> Order {
    Order {
        order: order_id(),
        sale: sale(),
        quantity: 1,
        unit_price: 9_900,
        amount: 9_900,
        currency: "EUR".into(),
        status,
        reason: None,
        created_at: 1,
        expires_at: 300_001,
        paying: false,
        refunded: 0,
        refunded_at: None,
        declined: None,
        handoff: None,
        at,
    }
}

pub fn welcome(now: u64, states: Vec<SaleState>) -> Welcome {
    Welcome {
        shopper: "jo".parse().expect("a valid id"),
        role: Role::Shopper,
        now,
        token_expires_at: now + 3_600_000,
        ping_every_ms: 15_000,
        states,
        refused: Vec::new(),
    }
}

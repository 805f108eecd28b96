//! Each kind of bad input gets one clear error with its code and changes nothing, and the process lives.

mod limits;
mod raw;
mod repeated;
mod requests;
mod sales;
mod slow;
mod socket;
mod tokens;

use crate::harness::World;
use flashsale_protocol::{Quantity, SaleId, ShopCommand};
use serde_json::{Value, json};

/// A ULID that names nothing.
const NOTHING: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// Nobody here is too fast.
const PATIENT: &[&str] = &["--command-burst", "10000", "--max-offences", "10000"];

/// A live sale in which nobody waits, so that units can be reserved without a turn.
async fn free_sale(world: &World, fields: Value) -> SaleId {
    let sale = world.sale(fields).await;
    let mut opener = world.shopper("opener").await;
    opener.insist(reserve(sale, 1)).await;
    opener.ok(ShopCommand::Release { sale }).await;
    sale
}

/// A sale with something of everything: units free, units held by `holder`, an order of `buyer`.
async fn busy_sale(world: &World) -> SaleId {
    let sale = free_sale(world, json!({ "total_stock": 9, "per_shopper_limit": 4 })).await;
    world.shopper("holder").await.ok(reserve(sale, 2)).await;
    let mut buyer = world.shopper("buyer").await;
    buyer.ok(reserve(sale, 2)).await;
    buyer.ok(ShopCommand::Checkout { sale, payment: None }).await;
    sale
}

fn reserve(sale: SaleId, quantity: u32) -> ShopCommand {
    ShopCommand::Reserve {
        sale,
        quantity: Quantity::new(quantity).expect("in range"),
        partial: false,
    }
}

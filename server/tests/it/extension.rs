//! A turn or a cart gets its time once more, where nobody waits and the sale allows it: once, whichever way it is asked for.

use crate::{
    draw::state,
    harness::{Answer, Client, NONCE, World, command_id},
    purchase::{join_and_reserve, reserve},
};
use flashsale_protocol::{
    Code, Done, EntryState, Hold, HoldState, Quantity, Reject, Role, SaleId, ServerMessage, ShopCommand,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

const CLAIM_MS: u64 = 60_000;
const HOLD_MS: u64 = 50_000;

fn join(sale: SaleId) -> ShopCommand {
    ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: Some(NONCE),
    }
}

fn code(answer: Result<Done, Reject>) -> Code {
    answer.expect_err("refused").code
}

async fn held(client: &mut Client, sale: SaleId) -> Hold {
    state(client, sale).await.hold.expect("a hold")
}

async fn by_rest(world: &World, who: &str, sale: SaleId, key: &str) -> Answer {
    let token = world.token(who, Role::Shopper);
    let path = format!("/flash-sales/{sale}/extension");
    world
        .rest(Method::POST, &path, Some(&token), &[("idempotency-key", key)], "")
        .await
}

#[tokio::test]
async fn a_cart_gets_its_time_once_more_and_the_same_command_the_same_answer() {
    let world = World::start().await;
    let sale = world
        .sale(json!({ "total_stock": 5, "hold_ms": HOLD_MS, "per_shopper_limit": 3, "per_device_limit": 3 }))
        .await;
    let mut client = world.shopper("u").await;
    let mut other_tab = world.shopper("u").await;
    other_tab.watch(sale).await;
    let early = command_id();
    assert_eq!(
        code(client.ask_as(early, ShopCommand::Extend { sale }).await),
        Code::NoHold
    );
    join_and_reserve(&mut client, sale).await;
    let before = held(&mut client, sale).await;
    assert!(!before.extended);
    assert_eq!(
        code(client.ask_as(early, ShopCommand::Extend { sale }).await),
        Code::NoHold,
        "an old command is not carried out"
    );

    // Eight at once, over both doors, are one.
    let id = command_id();
    let key = id.to_string();
    let answers = join_all((0..8).map(|_| by_rest(&world, "u", sale, &key))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let after = held(&mut client, sale).await;
    assert_eq!(
        (after.state, after.expires_at, after.extended),
        (HoldState::Held, before.expires_at + HOLD_MS, true)
    );
    let told = |m: &ServerMessage| matches!(m, ServerMessage::Hold(h) if h.extended).then_some(());
    other_tab.until(told).await;
    let token = world.token("u", Role::Shopper);
    let cart = world.rest(Method::GET, "/carts/u", Some(&token), &[], "").await;
    assert_eq!(cart.body["items"][0]["extended"], true);

    // By others, and by another command, it is not extended again.
    assert_eq!(
        code(client.ask(ShopCommand::Extend { sale }).await),
        Code::NoExtension
    );
    assert_eq!(
        code(world.shopper("v").await.ask(ShopCommand::Extend { sale }).await),
        Code::NoHold
    );
    let mut waits = world.shopper("w").await;
    let again = client
        .ask_as(id, ShopCommand::Extend { sale })
        .await
        .expect("the same answer");
    assert!(
        matches!(again, Done::Hold(hold) if hold.expires_at == after.expires_at),
        "{after:?}"
    );

    // A later hold is another one: the old command does not move it.
    client.ok(ShopCommand::Release { sale }).await;
    client.insist(reserve(sale)).await;
    let next = held(&mut client, sale).await;
    assert!(!next.extended && next.expires_at < after.expires_at);
    assert_eq!(
        code(waits.ask_as(id, ShopCommand::Extend { sale }).await),
        Code::NoHold,
        "an id is a shopper's own"
    );
    assert_eq!(
        code(client.ask_as(id, ShopCommand::Extend { sale }).await),
        Code::CommandSuperseded
    );
    assert_eq!(held(&mut client, sale).await.expires_at, next.expires_at);
    assert_eq!(by_rest(&world, "u", sale, "once more").await.status, 200);
    let last = held(&mut client, sale).await;
    assert_eq!(last.expires_at, next.expires_at + HOLD_MS);
    client.ok(ShopCommand::Checkout { sale, payment: None }).await;
    world.server.stop().await;
}

#[tokio::test]
async fn a_turn_gets_its_time_once_more() {
    let world = World::start().await;
    let sale = world.sale(json!({ "claim_ms": CLAIM_MS })).await;
    let mut client = world.shopper("u").await;
    client.watch(sale).await;
    client.ok(join(sale)).await;
    let until = client
        .until(|m| match m {
            ServerMessage::Entry(entry) if entry.state == EntryState::Admitted => entry.claim_until,
            _ => None,
        })
        .await;
    let Done::Joined { entry, .. } = client.ok(ShopCommand::Extend { sale }).await else {
        panic!("a turn")
    };
    assert_eq!(
        (entry.state, entry.claim_until, entry.extended),
        (EntryState::Admitted, Some(until + CLAIM_MS), true)
    );
    let shown = state(&mut client, sale).await.entry.expect("a turn");
    assert_eq!((shown.claim_until, shown.extended), (entry.claim_until, true));
    assert_eq!(
        code(client.ask(ShopCommand::Extend { sale }).await),
        Code::NoExtension
    );
    // The cart that comes of it has a time of its own.
    client.ok(reserve(sale)).await;
    assert!(!held(&mut client, sale).await.extended);
    client.ok(ShopCommand::Extend { sale }).await;
    world.server.stop().await;
}

#[tokio::test]
async fn nothing_is_extended_while_others_wait_nor_where_the_sale_does_not_allow_it() {
    let world = World::start().await;
    let sale = world.sale(json!({ "hold_ms": HOLD_MS })).await;
    let mut client = world.shopper("u").await;
    join_and_reserve(&mut client, sale).await;
    let before = held(&mut client, sale).await;
    let mut waits = world.shopper("w").await;
    waits.ok(join(sale)).await;
    let id = command_id();
    assert_eq!(
        code(client.ask_as(id, ShopCommand::Extend { sale }).await),
        Code::NoExtension
    );
    assert_eq!(held(&mut client, sale).await.expires_at, before.expires_at);
    // A refusal because of the sale is not kept: nobody waits any more.
    waits.ok(ShopCommand::Leave { sale }).await;
    let extended = client.ask_as(id, ShopCommand::Extend { sale }).await;
    extended.expect("nobody waits");
    // Whoever comes later has to wait, and the same command has the same answer.
    waits.ok(join(sale)).await;
    let again = client.ask_as(id, ShopCommand::Extend { sale }).await;
    assert!(
        matches!(&again, Ok(Done::Hold(hold)) if hold.expires_at == before.expires_at + HOLD_MS),
        "{again:?}"
    );

    let strict = world.sale(json!({ "extend_once": false })).await;
    join_and_reserve(&mut client, strict).await;
    let refused = client.ask(ShopCommand::Extend { sale: strict }).await;
    assert_eq!(code(refused), Code::NoExtension);
    assert!(!state(&mut client, strict).await.sale.extend_once);
    assert!(state(&mut client, sale).await.sale.extend_once);
    let drawn = world.sale(json!({ "allocation": "draw" })).await;
    let refused = client.ask(ShopCommand::Extend { sale: drawn }).await;
    assert_eq!(code(refused), Code::NoExtension);
    world.server.stop().await;
}

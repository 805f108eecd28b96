//! Nothing that leaves a shop can be joined with what leaves another one by the ids of a client's commands: not orders, payments,
//! hand-offs or the audit log.

use crate::{
    audit::{execute, verify_all},
    harness::{Client, DEADLINE, QUICK, World},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use flashsale_engine::sale::FORMATS;
use flashsale_protocol::{
    CommandId, ConnectionCommand, Done, Order, OrderId, Payment, Quantity, Role, SaleId, ShopCommand,
};
use fred::interfaces::SortedSetsInterface;
use reqwest::Method;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Instant};

/// A clock that no other machine has.
const CLIENT_MS: u64 = 1_234_567_890;

/// The same commands at every shop, as a client might send them.
#[derive(Clone, Copy)]
struct Commands {
    reserve: CommandId,
    checkout: CommandId,
    pay: CommandId,
}

impl Commands {
    fn new() -> Self {
        let id = || CommandId::from_parts(CLIENT_MS, rand::random());
        Self {
            reserve: id(),
            checkout: id(),
            pay: id(),
        }
    }

    fn all(&self) -> [CommandId; 3] {
        [self.reserve, self.checkout, self.pay]
    }
}

struct Bought {
    order: OrderId,
    token: String,
}

fn order_of(done: Done) -> Order {
    match done {
        Done::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

async fn admin(world: &World, method: Method, path: &str, body: Value) -> Value {
    let boss = world.token("boss", Role::Admin);
    let answer = world.rest(method, path, Some(&boss), &[], body.to_string()).await;
    assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    answer.body
}

async fn shop(world: &World, name: &str) {
    let body = json!({ "name": name, "slug": name });
    admin(world, Method::POST, "/admin/merchants", body).await;
    let body = json!({ "checkout_url": "https://shop.example/checkout" });
    admin(world, Method::PATCH, &format!("/admin/merchants/{name}"), body).await;
}

async fn guest(address: SocketAddr, session: &Value) -> Client {
    let mut client = Client::connect(address).await;
    let hello = ConnectionCommand::Hello {
        token: session["token"].as_str().expect("a token").to_owned(),
        device: serde_json::from_value(session["device"].clone()).expect("an id"),
        resume: vec![],
        changes: false,
    };
    client.ok(hello).await;
    client
}

async fn buy(client: &mut Client, sale: SaleId, commands: Commands) -> Bought {
    let reserve = ShopCommand::Reserve {
        sale,
        quantity: Quantity::ONE,
        partial: false,
    };
    let started = Instant::now();
    while let Err(reject) = client.ask_as(commands.reserve, reserve.clone()).await {
        assert!(reject.retry && started.elapsed() < DEADLINE, "{reject:?}");
    }
    again(client, sale, commands).await
}

/// Checkout and payment, for the first time or once more.
async fn again(client: &mut Client, sale: SaleId, commands: Commands) -> Bought {
    let checkout = ShopCommand::Checkout { sale, payment: None };
    let done = client
        .ask_as(commands.checkout, checkout)
        .await
        .expect("an order");
    let order = order_of(done).order;
    let pay = ShopCommand::Pay {
        order,
        payment: Payment { token: "x".into() },
    };
    let paid = order_of(client.ask_as(commands.pay, pay).await.expect("a hand-off"));
    Bought {
        order,
        token: paid.handoff.expect("a hand-off").token,
    }
}

/// All that a shop can get of a sale and an order.
async fn leaving(world: &World, sale: SaleId, bought: &Bought) -> String {
    let boss = world.token("boss", Role::Admin);
    let mut text = bought.token.clone();
    let claims = bought.token.split('.').nth(1).expect("claims");
    text += &String::from_utf8(BASE64.decode(claims).expect("base64")).expect("UTF-8");
    admin(
        world,
        Method::POST,
        "/admin/handoffs/redeem",
        json!({ "token": bought.token }),
    )
    .await;
    for path in [
        format!("/admin/orders/{}", bought.order),
        format!("/admin/sales/{sale}/audit"),
        format!("/admin/sales/{sale}/audit?lane=0"),
        format!("/admin/sales/{sale}/entries.csv"),
    ] {
        let response = world.http.get(world.url(&path)).bearer_auth(&boss).send();
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        text += &response.text().await.expect("text");
    }
    assert!(
        text.contains("order_placed") && text.contains("handoff_redeemed"),
        "{text}"
    );
    text
}

/// The data of the row that tells of the order.
async fn placed(world: &World, sale: SaleId) -> Value {
    let rows = crate::audit::rows(world, sale).await;
    let row = rows.iter().find(|row| row.kind == "order_placed");
    row.expect("an order").data.clone()
}

#[tokio::test]
async fn the_same_commands_at_two_shops_leave_nothing_in_common() {
    let world = World::with(&[QUICK, &["--payments", "merchant"]].concat()).await;
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let commands = Commands::new();
    let mut seen = Vec::new();
    for name in ["lamps", "chairs"] {
        shop(&world, name).await;
        let sale = world.sale(json!({ "merchant": name, "total_stock": 5 })).await;
        let mut client = guest(world.server.address, &session).await;
        let bought = buy(&mut client, sale, commands).await;
        let text = leaving(&world, sale, &bought).await;
        for id in commands.all().map(|id| id.to_string()) {
            assert!(!text.contains(&id), "{id} in {text}");
            assert!(!text.contains(&id[..10]), "the client's clock in {text}");
        }
        let hold = placed(&world, sale).await["hold"]
            .as_str()
            .expect("a name")
            .to_owned();
        seen.push((sale, bought, hold));
    }
    let [(one, bought, hold), (_, other, other_hold)] = seen.as_slice() else {
        panic!("two shops");
    };
    assert_ne!(bought.order.0.random(), other.order.0.random());
    assert_ne!(hold, other_hold);

    // The names stay: again here, in another process, and after all have ended.
    let elsewhere = world.another("127.0.0.1:0").await;
    for address in [world.server.address, elsewhere.address] {
        let mut client = guest(address, &session).await;
        let repeated = again(&mut client, *one, commands).await;
        assert_eq!((repeated.order, &repeated.token), (bought.order, &bought.token));
    }
    elsewhere.stop().await;
    verify_all(&world).await;
    let later = world.another("127.0.0.1:0").await;
    world.server.stop().await;
    let mut client = guest(later.address, &session).await;
    let repeated = again(&mut client, *one, commands).await;
    assert_eq!(repeated.order, bought.order);
    later.stop().await;
}

#[tokio::test]
async fn a_text_as_key_names_other_orders_at_every_shop_and_one_at_each() {
    let world = World::with(QUICK).await;
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let token = session["token"].as_str().expect("a token").to_owned();
    let device = session["device"].as_str().expect("a device").to_owned();
    let mut orders = Vec::new();
    for name in ["lamps", "chairs"] {
        shop(&world, name).await;
        let sale = world.sale(json!({ "merchant": name, "total_stock": 5 })).await;
        let mut client = guest(world.server.address, &session).await;
        client
            .insist(ShopCommand::Reserve {
                sale,
                quantity: Quantity::ONE,
                partial: false,
            })
            .await;
        let order = async || {
            let request = world
                .http
                .post(world.url("/orders"))
                .bearer_auth(&token)
                .header("x-device-id", &device)
                .header("idempotency-key", "my cart of today")
                .body(
                    json!({ "user_id": session["shopper"], "cart_items": [{ "sale_id": sale }] }).to_string(),
                );
            let answer = request.send().await.expect("an answer");
            let status = answer.status();
            let body: Value = answer.json().await.expect("JSON");
            assert!(status.is_success(), "{body}");
            body["order_id"].as_str().expect("an id").to_owned()
        };
        // Eight at once.
        let all = futures_util::future::join_all((0..8).map(|_| order())).await;
        assert!(all.iter().all(|id| *id == all[0]), "{all:?}");
        assert_eq!(all[0][..10], sale.to_string()[..10], "the sale's time");
        orders.push(all[0].clone());
    }
    assert_ne!(orders[0][10..], orders[1][10..]);
    world.server.stop().await;
}

/// A sale as a process of an earlier release made it.
async fn of_format(world: &World, format: u16) -> SaleId {
    let sale = world.sale(json!({ "merchant": "lamps", "total_stock": 5 })).await;
    let sql = format!("UPDATE flash_sales SET format = {format} WHERE sale_id = '{sale}'");
    execute(world, &sql).await;
    world.server.app.shop.forget_sale(sale).await;
    sale
}

#[tokio::test]
async fn a_sale_of_before_keeps_its_names_and_a_mixed_fleet_makes_only_such_sales() {
    let world = World::with(&[QUICK, &["--payments", "merchant"]].concat()).await;
    shop(&world, "lamps").await;
    let before = of_format(&world, 2).await;
    let session = world.rest(Method::POST, "/session", None, &[], "").await.body;
    let commands = Commands::new();
    let mut client = guest(world.server.address, &session).await;
    let bought = buy(&mut client, before, commands).await;
    assert_eq!(
        bought.order.0.timestamp_ms(),
        CLIENT_MS,
        "as that release names it"
    );
    let data = placed(&world, before).await;
    assert_eq!(data["hold"], commands.reserve.to_string());
    verify_all(&world).await;

    // A process of the release before runs beside: both must name the same.
    let stock = &world.server.app.shop.stock;
    let old = (stock.clock().await.expect("Redis") as f64, "1 2 0.1.0");
    let key = stock.keys().all_sales("versions");
    let _: u64 = stock
        .client()
        .zadd(key, None, None, false, false, old)
        .await
        .expect("Redis");
    let started = Instant::now();
    loop {
        let sale = world.sale(json!({ "merchant": "lamps" })).await;
        let made = world.server.app.shop.store.sale(sale).await.expect("Postgres");
        let format = made.expect("a sale").format;
        if format == 2 {
            break;
        }
        assert_eq!(format, FORMATS);
        assert!(started.elapsed() < DEADLINE, "the old process is not seen");
    }
    world.server.stop().await;
}

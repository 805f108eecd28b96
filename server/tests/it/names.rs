//! Names in a draw that nobody can guess or choose: where a nonce comes from, who is told it, and that it stays with its entry.

use crate::{
    draw::{enter, get, published, state},
    harness::{Answer, Client, NONCE, World},
    line::until,
    recovery::forget_everything,
};
use flashsale_engine::{
    restore,
    sale::FORMATS,
    settle::history,
    store::{
        Store,
        draws::{Entered, NewEntry},
    },
};
use flashsale_protocol::{
    Code, Done, Entry, EntryState, Nonce, Quantity, Reason, Role, SaleId, ServerMessage, ShopCommand,
    ShopperId,
    draw::{Format, Proof, Seed, opening_place},
};
use fred::prelude::KeysInterface;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const OTHER: Nonce = Nonce([0xa5; 16]);

fn id(who: &str) -> ShopperId {
    who.parse().expect("an id")
}

fn name(world: &World, sale: SaleId, who: &str, nonce: Option<Nonce>) -> String {
    Format::Two.entry_name(sale, &world.who(who), nonce)
}

async fn join_with(client: &mut Client, sale: SaleId, nonce: Option<Nonce>) -> Result<Entry, Code> {
    let join = ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce,
    };
    match client.ask(join).await {
        Ok(Done::Joined { entry, .. }) => Ok(entry),
        Ok(other) => panic!("{other:?}"),
        Err(reject) => Err(reject.code),
    }
}

async fn nonce_told(client: &mut Client, sale: SaleId, nonce: Option<Nonce>) -> Option<Nonce> {
    join_with(client, sale, nonce).await.expect("joined").nonce
}

async fn rest_join(world: &World, sale: SaleId, who: &str, nonce: Option<&str>) -> Answer {
    let token = world.token(who, Role::Shopper);
    let mut body = json!({ "user_id": who });
    if let Some(nonce) = nonce {
        body["nonce"] = nonce.into();
    }
    let path = format!("/flash-sales/{sale}/join-queue");
    let body = body.to_string();
    world.rest(Method::POST, &path, Some(&token), &[], body).await
}

async fn act(world: &World, sale: SaleId, action: &str, body: Value) {
    let boss = world.token("boss", Role::Admin);
    let path = format!("/admin/sales/{sale}/{action}");
    let answer = world
        .rest(Method::POST, &path, Some(&boss), &[], body.to_string())
        .await;
    assert_eq!(answer.status, 200, "{action}: {answer:?}");
}

async fn proof(world: &World, sale: SaleId, who: &str) -> Proof {
    let answer = get(world, &format!("/flash-sales/{sale}/draw/proof"), Some(who)).await;
    let proof: Proof = serde_json::from_value(answer.body).expect("a proof");
    proof.verify().expect("right");
    let is_private = proof.draw.format == Format::Two.word();
    let shopper = if is_private { world.who(who) } else { id(who) };
    assert!(proof.is_of(&shopper), "{who}");
    assert_eq!(proof.shopper, is_private.then_some(shopper));
    proof
}

async fn public_texts(world: &World, sale: SaleId) -> String {
    let mut texts = String::new();
    for path in ["draw", "draw/file"] {
        let url = world.url(&format!("/flash-sales/{sale}/{path}"));
        let answer = world.http.get(url).send().await.expect("answers");
        texts += &answer.text().await.expect("a text");
    }
    texts
}

#[tokio::test]
async fn an_entry_of_a_draw_keeps_its_first_nonce_and_only_its_shopper_is_told() {
    let world = World::start().await;
    let sale = world.sale(json!({ "allocation": "draw" })).await;
    let mut client = world.shopper("u1").await;
    let state_before = client.watch(sale).await;
    assert!(
        state_before.sale.format >= 2,
        "which tells clients to send a nonce"
    );
    assert_eq!(state_before.shopper, Some(world.who("u1")));
    let mut tab = world.shopper("u1").await;
    tab.watch(sale).await;
    assert_eq!(nonce_told(&mut client, sale, Some(OTHER)).await, Some(OTHER));
    let news = tab
        .until(|message| match message {
            ServerMessage::Entry(entry) => Some(entry.clone()),
            _ => None,
        })
        .await;
    assert_eq!(news.nonce, Some(OTHER), "the shopper's other page");
    // Again with another nonce, and without one; over both doors.
    assert_eq!(nonce_told(&mut tab, sale, Some(NONCE)).await, Some(OTHER));
    assert_eq!(nonce_told(&mut tab, sale, None).await, Some(OTHER));
    let again = rest_join(&world, sale, "u1", Some(&NONCE.to_string())).await;
    assert_eq!(again.body["nonce"], OTHER.to_string(), "{again:?}");
    let entry = state(&mut client, sale).await.entry.expect("an entry");
    assert_eq!((entry.state, entry.nonce), (EntryState::Entered, Some(OTHER)));
    // A new entry may have a new one, also that of somebody else: the names differ all the same.
    client.ok(ShopCommand::Leave { sale }).await;
    assert_eq!(nonce_told(&mut client, sale, Some(NONCE)).await, Some(NONCE));
    let mut second = world.shopper("u2").await;
    assert_eq!(nonce_told(&mut second, sale, Some(NONCE)).await, Some(NONCE));

    act(&world, sale, "end", json!({})).await;
    let draw = published(&world, sale, |draw| draw.seed.is_some()).await;
    assert_eq!((draw.format.as_str(), draw.count), ("flashsale draw 2", Some(2)));
    for who in ["u1", "u2"] {
        let proof = proof(&world, sale, who).await;
        assert_eq!(
            (proof.nonce, proof.entry.name),
            (Some(NONCE), name(&world, sale, who, Some(NONCE)))
        );
    }
    let texts = public_texts(&world, sale).await;
    assert!(texts.contains(&name(&world, sale, "u1", Some(NONCE))), "{texts}");
    assert!(
        !texts.contains(&NONCE.to_string()) && !texts.contains("nonce"),
        "{texts}"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_draw_without_a_beacon_needs_a_nonce_and_one_with_a_beacon_makes_one() {
    let world = World::start().await;
    let sale = world.sale(json!({ "allocation": "draw" })).await;
    let mut client = world.shopper("u1").await;
    client.watch(sale).await;
    for _ in 0..2 {
        assert_eq!(join_with(&mut client, sale, None).await, Err(Code::NonceMissing));
    }
    let refused = rest_join(&world, sale, "u1", None).await;
    assert_eq!((refused.status, refused.refusal()), (400, Code::NonceMissing));
    assert_eq!(state(&mut client, sale).await.entry, None, "nothing has changed");
    for bad in ["", "00", &NONCE.to_string().to_uppercase(), &format!("{NONCE}0")] {
        let refused = rest_join(&world, sale, "u1", Some(bad)).await;
        assert_eq!(refused.refusal(), Code::InvalidField, "{bad}");
        assert!(refused.detail().contains("nonce"), "{refused:?}");
    }
    enter(&mut client, sale, 1).await.expect("enters");

    let sale = world
        .sale(json!({ "allocation": "draw", "beacon": "drand" }))
        .await;
    client.watch(sale).await;
    let made = nonce_told(&mut client, sale, None)
        .await
        .expect("made by the server");
    assert_eq!(nonce_told(&mut client, sale, None).await, Some(made));
    assert_eq!(nonce_told(&mut client, sale, Some(NONCE)).await, Some(made));
    let mut other = world.shopper("u2").await;
    assert_eq!(
        nonce_told(&mut other, sale, Some(NONCE)).await,
        Some(NONCE),
        "their own"
    );
    let mut third = world.shopper("u3").await;
    assert_ne!(nonce_told(&mut third, sale, None).await, Some(made));
    act(&world, sale, "end", json!({})).await;
    published(&world, sale, |draw| draw.root.is_some()).await;
    act(&world, sale, "beacon", json!({ "value": "f00d" })).await;
    published(&world, sale, |draw| draw.seed.is_some()).await;
    assert_eq!(proof(&world, sale, "u1").await.nonce, Some(made));
    world.server.stop().await;
}

#[tokio::test]
async fn the_rest_of_a_first_come_sale_is_drawn_by_the_nonces_of_its_line() {
    let world = World::start().await;
    let sale = world.sale(json!({ "claim_ms": 60_000 })).await;
    act(&world, sale, "pause", json!({})).await;
    let mut client = world.shopper("u1").await;
    client.watch(sale).await;
    assert_eq!(nonce_told(&mut client, sale, Some(OTHER)).await, Some(OTHER));
    assert_eq!(
        nonce_told(&mut client, sale, Some(NONCE)).await,
        Some(OTHER),
        "the first one"
    );
    client.ok(ShopCommand::Leave { sale }).await;
    assert_eq!(
        nonce_told(&mut client, sale, Some(NONCE)).await,
        Some(NONCE),
        "a new place"
    );
    assert_eq!(nonce_told(&mut client, sale, None).await, Some(NONCE));
    let mut plain = world.shopper("u2").await;
    plain.watch(sale).await;
    let entry = join_with(&mut plain, sale, None).await.expect("in line");
    assert_eq!((entry.state, entry.nonce), (EntryState::Waiting, None));
    // Somebody who comes anew, to a gateway that does not know the place yet: the line's history does.
    drop(client);
    let again = until(async || {
        let mut again = world.shopper("u1").await;
        let entry = again.watch(sale).await.entry.expect("in line");
        entry.nonce.is_some().then_some(entry)
    })
    .await;
    assert_eq!(again.nonce, Some(NONCE));

    act(&world, sale, "end", json!({})).await;
    let draw = published(&world, sale, |draw| draw.seed.is_some()).await;
    assert_eq!((draw.format.as_str(), draw.count), ("flashsale draw 2", Some(2)));
    for (who, nonce) in [("u1", Some(NONCE)), ("u2", None)] {
        let proof = proof(&world, sale, who).await;
        assert_eq!(
            (proof.nonce, proof.entry.name),
            (nonce, name(&world, sale, who, nonce))
        );
    }
    let mine = state(&mut plain, sale).await.entry.expect("an entry");
    assert_eq!(mine.nonce, None);
    world.server.stop().await;
}

#[tokio::test]
async fn an_opening_place_comes_from_the_name_with_its_nonce() {
    let world = World::start().await;
    let start = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
    let sale = world
        .sale(json!({ "opening": "shuffle", "start_time": start.to_rfc3339() }))
        .await;
    let people = [("u1", Some(NONCE)), ("u2", Some(OTHER)), ("u3", None)];
    let mut clients = Vec::new();
    for (who, nonce) in people {
        let mut client = world.shopper(who).await;
        client.watch(sale).await;
        assert_eq!(nonce_told(&mut client, sale, nonce).await, nonce);
        // Another nonce gets no other place.
        assert_eq!(
            nonce_told(&mut client, sale, Some(Nonce([1; 16]))).await,
            nonce,
            "{who}"
        );
        clients.push(client);
    }
    let seed = until(async || {
        let answer = get(&world, &format!("/flash-sales/{sale}"), None).await;
        answer.body["opening_seed"].as_str().map(str::to_owned)
    })
    .await;
    let seed: Seed = seed.parse().expect("a seed");
    let rows = until(async || {
        let store = &world.server.app.shop.store;
        let rows = store.entries_page(sale, "").await.expect("Postgres");
        (rows.len() == people.len()).then_some(rows)
    })
    .await;
    for (who, nonce) in people {
        let row = rows
            .iter()
            .find(|row| row.user_id == world.who(who).as_str())
            .expect("in line");
        let place = opening_place(&seed, &name(&world, sale, who, nonce));
        assert_eq!(row.place, Some(place as i64), "{who}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_place_that_is_given_back_keeps_its_nonce_also_if_its_note_was_lost() {
    let world = World::with(&["--roles", "gateway"]).await;
    let id_of_sale = world.sale(json!({})).await;
    let shop = &world.server.app.shop;
    let sale = shop.sale(id_of_sale).await.expect("the sale");
    let mut client = world.shopper("u1").await;
    client.watch(id_of_sale).await;
    nonce_told(&mut client, id_of_sale, Some(OTHER)).await;
    // No worker has written the note down when line and notes are lost.
    let journal = shop.stock.keys().sale("journal", id_of_sale);
    let lost: i64 = shop.stock.client().del(journal).await.expect("Redis");
    assert_eq!(lost, 1, "there were notes");
    shop.stock.drop_line(id_of_sale).await.expect("Redis");
    restore::of_shopper(shop, id_of_sale, &world.who("u1")).await;
    let restored = client
        .until(|message| match message {
            ServerMessage::Entry(entry) if entry.reason == Some(Reason::Restored) => Some(entry.nonce),
            _ => None,
        })
        .await;
    assert_eq!(restored, Some(OTHER));
    history::write_all(shop, &sale).await.expect("both stores");
    let last = shop.store.enter_waiting(&sale, "").await.expect("Postgres");
    assert!(last.is_some());
    let lines = shop.store.draw_lines(id_of_sale, "").await.expect("Postgres");
    let names: Vec<String> = lines.into_iter().map(|line| line.name).collect();
    assert_eq!(names, [name(&world, id_of_sale, "u1", Some(OTHER))]);
    world.server.stop().await;
}

#[tokio::test]
async fn a_redis_that_has_forgotten_a_line_changes_no_name_in_the_draw_of_the_rest() {
    let world = World::start().await;
    let sale = world.sale(json!({ "claim_ms": 60_000 })).await;
    act(&world, sale, "pause", json!({})).await;
    let mut here = world.shopper("here").await;
    here.watch(sale).await;
    let mut away = world.shopper("away").await;
    nonce_told(&mut away, sale, Some(OTHER)).await;
    let store = &world.server.app.shop.store;
    until(async || (!store.entries_page(sale, "").await.expect("Postgres").is_empty()).then_some(())).await;
    drop(away);
    nonce_told(&mut here, sale, Some(OTHER)).await;
    forget_everything(&world).await;
    here.until(|message| match message {
        ServerMessage::Entry(entry) if entry.reason == Some(Reason::Restored) => Some(()),
        _ => None,
    })
    .await;
    // Whoever is not here gets their place back from the history.
    let stock = &world.server.app.shop.stock;
    until(async || (stock.queue_length(sale).await.expect("Redis") == 2).then_some(())).await;
    act(&world, sale, "end", json!({})).await;
    published(&world, sale, |draw| draw.seed.is_some()).await;
    for who in ["here", "away"] {
        assert_eq!(proof(&world, sale, who).await.nonce, Some(OTHER), "{who}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_shopper_who_enters_with_two_nonces_at_once_has_one_entry() {
    let world = World::with(&["--roles", "gateway"]).await;
    let sale = world.sale(json!({ "allocation": "draw" })).await;
    let here = &world.server.app.shop.store;
    let elsewhere = Store::connect(&world.database_url, 4).await.expect("Postgres");
    let people: Vec<String> = (0..400).map(|n| format!("u{n}")).collect();
    let world_ref = &world;
    let entering = |store, nonce| {
        let entry = move |who: &String| NewEntry {
            shopper: world_ref.who(who),
            device: format!("device-of-{who}").parse().expect("an id"),
            quantity: 1,
            nonce: Some(nonce),
            name: name(world_ref, sale, who, Some(nonce)),
        };
        join_all(
            people
                .iter()
                .map(move |who| Store::enter_draw(store, sale, entry(who))),
        )
    };
    let (one, other) = tokio::join!(entering(here, NONCE), entering(&elsewhere, OTHER));
    for (who, (one, other)) in people.iter().zip(one.into_iter().zip(other)) {
        let (one, other) = (one.expect("Postgres"), other.expect("Postgres"));
        assert_eq!(one, other, "{who}: the first nonce for both");
        assert!(matches!(one, Entered::Ok { nonce: Some(_), .. }), "{one:?}");
    }
    let lines = here.draw_lines(sale, "").await.expect("Postgres");
    assert_eq!(lines.len(), people.len());
    elsewhere.close().await;
    world.server.stop().await;
}

/// A sale that was created before the last update of every process.
async fn of_first_format(world: &World, fields: Value) -> SaleId {
    let sale = world.sale(fields).await;
    let pool = sqlx::PgPool::connect(&world.database_url)
        .await
        .expect("Postgres");
    sqlx::query("UPDATE flash_sales SET format = 1 WHERE sale_id = $1")
        .bind(sale.to_string())
        .execute(&pool)
        .await
        .expect("Postgres");
    pool.close().await;
    world.server.app.shop.forget_sale(sale).await;
    sale
}

#[tokio::test]
async fn a_sale_of_the_first_format_names_its_entries_as_before_beside_one_of_the_second() {
    let world = World::start().await;
    let first = of_first_format(&world, json!({ "allocation": "draw" })).await;
    let second = world.sale(json!({ "allocation": "draw" })).await;
    let mut client = world.shopper("u1").await;
    for (sale, nonce) in [(first, None), (second, Some(NONCE))] {
        let info = client.watch(sale).await.sale;
        assert_eq!(info.format, if sale == first { 1 } else { FORMATS });
        assert_eq!(nonce_told(&mut client, sale, Some(NONCE)).await, nonce);
    }
    let mut older = world.shopper("u2").await;
    assert_eq!(nonce_told(&mut older, first, None).await, None, "an older client");
    for sale in [first, second] {
        act(&world, sale, "end", json!({})).await;
        published(&world, sale, |draw| draw.seed.is_some()).await;
    }
    let proof_of_first = proof(&world, first, "u1").await;
    assert_eq!(proof_of_first.draw.format, "flashsale draw 1");
    assert_eq!(proof_of_first.nonce, None);
    assert_eq!(
        proof_of_first.entry.name,
        Format::One.entry_name(first, &id("u1"), None)
    );
    assert_eq!(proof(&world, second, "u1").await.draw.format, "flashsale draw 2");
    world.server.stop().await;
}

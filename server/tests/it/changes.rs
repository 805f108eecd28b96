//! Ticks as what is new in them: whoever follows the changes sees what everybody else sees.

use crate::harness::{Client, World};
use crate::purchase::{checkout, join_and_reserve};
use flashsale_protocol::{Change, ConnectionCommand, Done, Role, ServerMessage, Tick};
use serde_json::json;
use std::collections::BTreeMap;

#[tokio::test]
async fn whoever_follows_the_changes_sees_the_ticks_that_others_get_whole() {
    let world = World::start().await;
    let sale = world.sale(json!({ "total_stock": 3 })).await;
    let hello = |name: &str, changes| ConnectionCommand::Hello {
        token: world.token(name, Role::Shopper),
        device: Some(name.parse().expect("an id")),
        resume: vec![sale],
        changes,
    };
    let mut keen = Client::connect(world.server.address).await;
    let mut plain = Client::connect(world.server.address).await;
    plain.ok(hello("plain", false)).await;
    let Done::Welcome(welcome) = keen.ok(hello("keen", true)).await else {
        panic!("a welcome");
    };
    let mut known: Tick = welcome.states[0].tick.clone();

    let mut buyer = world.shopper("buyer").await;
    join_and_reserve(&mut buyer, sale).await;
    checkout(&mut buyer, sale).await;

    let (mut rebuilt, mut changes) = (BTreeMap::new(), 0);
    while known.sold == 0 || changes < 2 {
        match keen.next().await {
            ServerMessage::Tick(tick) => known = tick,
            ServerMessage::Change(change) => {
                let tick = change.apply(&known);
                known = tick.unwrap_or_else(|| panic!("{change:?} is made for another tick than {known:?}"));
                changes += 1;
            }
            _ => continue,
        }
        rebuilt.insert(known.seq, known.clone());
    }
    let mut compared = 0;
    while compared < 2 {
        let tick = plain
            .until(|message| match message {
                ServerMessage::Tick(tick) => Some(tick.clone()),
                ServerMessage::Change(Change { seq, .. }) => panic!("nobody has asked for change {seq}"),
                _ => None,
            })
            .await;
        plain.events.clear();
        if let Some(same) = rebuilt.get(&tick.seq) {
            assert_eq!(*same, tick);
            compared += 1;
        }
    }
    world.server.stop().await;
}

//! Several gateways of one platform.

use crate::harness::{Client, World};
use flashsale_protocol::{Command, Role, ServerMessage};
use serde_json::json;

/// Sockets that the kernel spreads: that all of them come to one of two servers does not happen.
const SOCKETS: usize = 64;

#[tokio::test]
async fn two_servers_on_one_port_share_its_shoppers_and_one_takes_all_when_the_other_stops() {
    let world = World::with(&["--share-port", "--drain-window-ms", "100"]).await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let address = world.server.address;
    let other = world.another(&address.to_string()).await;
    assert_eq!(other.address, address);

    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        let mut socket = Client::connect(address).await;
        let hello = Command::Hello {
            token: world.token(&format!("u{number}"), Role::Shopper),
            device: Some(format!("d{number}").parse().expect("an id")),
            resume: vec![sale],
        };
        socket.ok(hello).await;
        sockets.push(socket);
    }
    let shares = [&world.server, &other].map(|server| server.app.hub.socket_count());
    assert_eq!(shares.iter().sum::<usize>(), SOCKETS);
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    for socket in &mut sockets {
        let tick = socket.until(|message| match message {
            ServerMessage::Tick(tick) => Some(tick.sale),
            _ => None,
        });
        assert_eq!(
            tick.await,
            sale,
            "each is told of the sale by whichever server it has come to"
        );
    }

    other.stop().await;
    for number in 0..8 {
        let mut socket = Client::connect(address).await;
        let hello = Command::Hello {
            token: world.token(&format!("u{number}"), Role::Shopper),
            device: None,
            resume: vec![],
        };
        socket.ok(hello).await;
    }
    world.server.stop().await;
}

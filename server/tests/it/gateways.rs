//! Several gateways of one platform.

use crate::harness::{Client, DEADLINE, NONCE, World};
use flashsale_protocol::{ConnectionCommand, EntryState, Quantity, Role, ServerMessage, ShopCommand};
use fred::prelude::*;
use serde_json::json;
use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command as Process, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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
        let hello = ConnectionCommand::Hello {
            token: world.token(&format!("u{number}"), Role::Shopper),
            device: Some(format!("d{number}").parse().expect("an id")),
            resume: vec![sale],
            changes: false,
        };
        socket.ok(hello).await;
        sockets.push(socket);
    }
    let shares = [&world.server, &other].map(|server| server.app.throttle.socket_count());
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
        let hello = ConnectionCommand::Hello {
            token: world.token(&format!("u{number}"), Role::Shopper),
            device: None,
            resume: vec![],
            changes: false,
        };
        socket.ok(hello).await;
    }
    world.server.stop().await;
}

#[tokio::test]
async fn a_join_is_told_to_its_shopper_s_sockets_at_another_gateway_and_to_no_gateway_else() {
    let world = World::start().await;
    let other = world.another("127.0.0.1:0").await;
    let sale = world
        .sale(
            json!({ "start_time": "2100-01-01T00:00:00Z", "end_time": "2100-01-02T00:00:00Z",
        "room_opens_at": "2020-01-01T00:00:00Z" }),
        )
        .await;
    let mut sockets = Vec::new();
    for (who, server) in [
        ("alone", world.server.address),
        ("both", world.server.address),
        ("both", other.address),
    ] {
        let mut socket = Client::connect(server).await;
        let hello = ConnectionCommand::Hello {
            token: world.token(who, Role::Shopper),
            device: Some(format!("device-of-{who}").parse().expect("an id")),
            resume: vec![sale],
            changes: false,
        };
        socket.ok(hello).await;
        sockets.push(socket);
    }
    let redis = std::env::var("TEST_REDIS_URL").expect("a Redis");
    let listener = Builder::from_config(Config::from_url(&redis).expect("an address"))
        .build_subscriber_client()
        .expect("a client");
    listener.init().await.expect("Redis answers");
    let mut heard = listener.message_rx();
    let channel = world.server.app.shop.stock.keys().live(sale);
    listener.subscribe(&channel).await.expect("subscribes");

    let join = ShopCommand::Join {
        sale,
        quantity: Quantity::ONE,
        nonce: Some(NONCE),
    };
    let entry = |message: &ServerMessage| match message {
        ServerMessage::Entry(entry) => Some(entry.state),
        _ => None,
    };
    sockets[0].insist(join.clone()).await;
    sockets[1].insist(join).await;
    assert_eq!(sockets[2].until(entry).await, EntryState::Waiting);
    // What leaves the line is told on the sale's channel: nothing was before it.
    sockets[0].ok(ShopCommand::Leave { sale }).await;
    let news = loop {
        let message = tokio::time::timeout(DEADLINE, heard.recv())
            .await
            .expect("in time");
        let text = message.expect("a message").value.as_string().expect("a text");
        if text.starts_with('N') {
            break text;
        }
    };
    assert!(news.contains(r#""left""#) && !news.contains("waiting"), "{news}");
    other.stop().await;
    world.server.stop().await;
}

/// A Redis cluster of one node.
struct Cluster {
    node: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let (address, bus) = (free().expect("a port"), free().expect("a port"));
        let node = Process::new("redis-server")
            .args(["--port", &address.port().to_string(), "--cluster-enabled", "yes"])
            .args(["--cluster-announce-ip", "127.0.0.1"])
            .args([
                "--cluster-port",
                &bus.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is there");
        let cluster = Self {
            node,
            address,
            _folder: folder,
        };
        cluster.until("PING", "PONG").await;
        cluster.ask("CLUSTER ADDSLOTSRANGE 0 16383").await;
        cluster.until("CLUSTER INFO", "cluster_state:ok").await;
        cluster
    }

    async fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        let mut answer = vec![0; 4_096];
        let read = stream.read(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer[..read]).into_owned())
    }

    async fn until(&self, command: &str, said: &str) {
        let began = Instant::now();
        loop {
            let answer = self.ask(command).await;
            if answer.as_ref().is_some_and(|answer| answer.contains(said)) {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{command}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

#[tokio::test]
async fn on_a_cluster_a_sale_is_told_in_its_own_shard_once_a_server_whatever_the_number_of_sockets() {
    let cluster = Cluster::start().await;
    let url = format!("redis-cluster://{}", cluster.address);
    let world = World::with(&["--redis-url", &url]).await;
    let other = world.another("127.0.0.1:0").await;
    let sale = world.sale(json!({ "total_stock": 5 })).await;
    let mut sockets = Vec::new();
    for server in [world.server.address, other.address] {
        for number in 0..10 {
            let mut socket = Client::connect(server).await;
            let token = world.token(&format!("u{number}"), Role::Shopper);
            let hello = ConnectionCommand::Hello {
                token,
                device: Some(format!("d{number}").parse().expect("an id")),
                resume: vec![sale],
                changes: false,
            };
            socket.ok(hello).await;
            sockets.push(socket);
        }
    }
    let channel = world.server.app.shop.stock.keys().live(sale);
    cluster
        .until(&format!("PUBSUB SHARDNUMSUB {channel}"), ":2\r\n")
        .await;
    // Said at one gateway, news to the same shopper at the other.
    let (here, there) = sockets.split_at_mut(10);
    let reserve = ShopCommand::Reserve {
        sale,
        quantity: Quantity::ONE,
        partial: false,
    };
    here[3].insist(reserve).await;
    there[3]
        .until(|message| matches!(message, ServerMessage::Hold(_)).then_some(()))
        .await;
    for socket in here.iter_mut().chain(there) {
        let tick = socket.until(|message| match message {
            ServerMessage::Tick(tick) if tick.held == 1 => Some(tick.sale),
            _ => None,
        });
        assert_eq!(tick.await, sale);
    }
    other.stop().await;
    world.server.stop().await;
}

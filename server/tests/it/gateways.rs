//! Several gateways of one platform.

use crate::harness::{Client, DEADLINE, World};
use flashsale_protocol::{Command, Quantity, Role, ServerMessage};
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
            let hello = Command::Hello {
                token,
                device: Some(format!("d{number}").parse().expect("an id")),
                resume: vec![sale],
            };
            socket.ok(hello).await;
            sockets.push(socket);
        }
    }
    let channel = world.server.app.stock.keys().live(sale);
    cluster
        .until(&format!("PUBSUB SHARDNUMSUB {channel}"), ":2\r\n")
        .await;
    // Said at one gateway, news to the same shopper at the other.
    let (here, there) = sockets.split_at_mut(10);
    let reserve = Command::Reserve {
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

//! A link that can be broken: a small TCP proxy in front of a gateway, a Redis or a Postgres.

use anyhow::Result;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

/// Bytes that are passed on at a time.
const CHUNK: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How a link treats the passing bytes. Connections stay open in all cases: nobody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Pass,
    Delay(Duration),
    /// Nothing passes from the client.
    NoRequests,
    /// Nothing passes back to the client.
    NoAnswers,
    /// Nothing passes at all.
    HalfOpen,
}

/// The rule for everybody, and exceptions for some addresses.
#[derive(Debug, Clone)]
struct Rules {
    everybody: Link,
    from: BTreeMap<IpAddr, Link>,
}

impl Rules {
    fn of(&self, client: IpAddr) -> Link {
        *self.from.get(&client).unwrap_or(&self.everybody)
    }
}

/// The target of a link; several links may share it, and it may change.
pub type Target = Arc<Mutex<Upstream>>;

pub struct Proxy {
    pub address: SocketAddr,
    rules: watch::Sender<Rules>,
    /// Connections of an older generation are cut.
    generation: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(target: Target) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let everybody = Rules {
            everybody: Link::Pass,
            from: BTreeMap::new(),
        };
        let (rules, generation) = (watch::Sender::new(everybody), watch::Sender::new(0));
        let (seen, cuts) = (rules.subscribe(), generation.subscribe());
        tokio::spawn(async move {
            while let Ok((client, from)) = listener.accept().await {
                let target = target.lock().ok().map(|target| target.clone());
                let (links, mut cuts) = (Links(seen.clone(), from.ip()), cuts.clone());
                tokio::spawn(async move {
                    cuts.borrow_and_update();
                    let _ = client.set_nodelay(true);
                    tokio::select! {
                        _ = connect(client, target, links) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            rules,
            generation,
        })
    }

    pub fn set(&self, link: Link) {
        self.rules.send_modify(|rules| rules.everybody = link);
    }

    /// The same, for connections from one address only.
    pub fn set_from(&self, client: IpAddr, link: Link) {
        self.rules.send_modify(|rules| {
            rules.from.insert(client, link);
        });
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.rules.send_modify(|rules| {
            rules.everybody = Link::Pass;
            rules.from.clear();
        });
    }

    /// Cuts all present connections.
    pub fn cut(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// The rules for the client of one connection.
#[derive(Clone)]
struct Links(watch::Receiver<Rules>, IpAddr);

impl Links {
    /// The link, as soon as it is none of these.
    async fn passes(&mut self, stalls: &[Link]) -> Option<Link> {
        let Self(rules, client) = self;
        let rules = rules.wait_for(|rules| !stalls.contains(&rules.of(*client))).await;
        rules.ok().map(|rules| rules.of(*client))
    }
}

async fn connect(client: TcpStream, target: Option<Upstream>, links: Links) -> std::io::Result<()> {
    match target {
        Some(Upstream::Tcp(address)) => {
            let server = TcpStream::connect(address).await?;
            server.set_nodelay(true)?;
            both(client, server, links).await
        }
        Some(Upstream::Unix(path)) => both(client, UnixStream::connect(path).await?, links).await,
        None => Ok(()),
    }
}

async fn both(client: TcpStream, server: impl AsyncRead + AsyncWrite, links: Links) -> std::io::Result<()> {
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = tokio::io::split(server);
    let up = pump(
        client_in,
        server_out,
        links.clone(),
        &[Link::NoRequests, Link::HalfOpen],
    );
    let down = pump(server_in, client_out, links, &[Link::NoAnswers, Link::HalfOpen]);
    // When one side has closed, the other is closed too.
    tokio::select! { end = up => end, end = down => end }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut links: Links,
    stalls: &[Link],
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        if let Some(Link::Delay(delay)) = links.passes(stalls).await {
            tokio::time::sleep(delay).await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}

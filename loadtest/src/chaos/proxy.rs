//! A link that can be broken: a small TCP proxy before a gateway, a Redis or a Postgres.

use anyhow::Result;
use std::{
    net::SocketAddr,
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

/// What a link does to what passes. Connections stay open in all of them: nobody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Pass,
    Delay(Duration),
    /// Nothing passes from the client on.
    NoRequests,
    /// Nothing passes back to the client.
    NoAnswers,
    /// Nothing passes at all.
    HalfOpen,
}

/// Where a link leads; several links may share it, and it may change.
pub type Target = Arc<Mutex<Upstream>>;

pub struct Proxy {
    pub address: SocketAddr,
    link: watch::Sender<Link>,
    /// Connections of an older generation are cut.
    generation: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(target: Target) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (link, generation) = (watch::Sender::new(Link::Pass), watch::Sender::new(0));
        let (links, cuts) = (link.subscribe(), generation.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = target.lock().ok().map(|target| target.clone());
                let (links, mut cuts) = (links.clone(), cuts.clone());
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
            link,
            generation,
        })
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Cuts every connection that is there now.
    pub fn cut(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

async fn connect(
    client: TcpStream,
    target: Option<Upstream>,
    links: watch::Receiver<Link>,
) -> std::io::Result<()> {
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

async fn both(
    client: TcpStream,
    server: impl AsyncRead + AsyncWrite,
    links: watch::Receiver<Link>,
) -> std::io::Result<()> {
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
    mut links: watch::Receiver<Link>,
    stalls: &[Link],
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let link = links
            .wait_for(|link| !stalls.contains(link))
            .await
            .map(|link| *link);
        if let Ok(Link::Delay(delay)) = link {
            tokio::time::sleep(delay).await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}

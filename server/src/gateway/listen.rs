//! The listener: accepts connections and speaks HTTP on each, over TLS if it has a certificate, within limits of time and size.
//! Knows nothing of routes.

use super::{
    address::{self, Encrypted},
    page::settle_host,
    throttle::Throttle,
    tls::{certificate::Certificate, stream::TlsStream},
};
use crate::{config::Limits, rest::Problem};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use flashsale_protocol::Code;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Most connections that wait to be accepted; the system may allow fewer (net.core.somaxconn).
const BACKLOG: u32 = 4_096;
/// Largest size of a request's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// A connection whose client has not taken what was sent for this long is dropped.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that the kernel keeps beyond what is on its way. Without a limit it takes megabytes for each of those who
/// download slowly, and many who begin together take the time of the cores for it.
const UNSENT_MOST: u32 = 64 * 1024;
/// Most refusals that wait until they leave; beyond it they leave at once.
const REFUSALS_WAITING: usize = 10_000;
/// Pause after a failed accept (no file is left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long requests in progress may take when the server stops, so that no client can hold it up.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Opens the door. Several processes may share it; the kernel then spreads new connections over them.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// What a public listener asks of a connection.
pub struct Door {
    /// None: plain http.
    pub certificate: Option<Arc<Certificate>>,
    pub throttle: Arc<Throttle>,
}

/// TLS at a listener.
struct Tls {
    certificate: Arc<Certificate>,
    timeout: Duration,
}

/// Serves until the server drains.
pub async fn run(
    router: Router,
    listener: StdListener,
    door: Option<Door>,
    limits: &Limits,
    draining: CancellationToken,
) {
    // Registered here, on the threads that serve it.
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot serve the listener"),
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_timeout_ms))
        .max_buf_size(MAX_HEAD_BYTES);
    let refusals = Refusals {
        pause: Duration::from_millis(limits.refusal_pause_ms),
        waiting: Arc::new(Semaphore::new(REFUSALS_WAITING)),
    };
    let (throttle, certificate) = match door {
        Some(door) => (Some(door.throttle), door.certificate),
        None => (None, None),
    };
    let tls = certificate.map(|certificate| {
        Arc::new(Tls {
            certificate,
            timeout: Duration::from_millis(limits.tls_handshake_timeout_ms),
        })
    });
    let connections = TaskTracker::new();
    while let Some(accepted) = draining.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Some(throttle) = &throttle
            && let Some(address) = address::at_accept(peer.ip(), limits)
            && throttle.allow_connection(address).is_err()
        {
            cut_off(&stream);
            continue;
        }
        prepare(&stream);
        let served = Served {
            http: http.clone(),
            router: router.clone(),
            refusals: refusals.clone(),
            peer,
            draining: draining.clone(),
        };
        // The end of a connection is its client's business.
        match &tls {
            None => connections.spawn(served.speak(stream, None)),
            Some(tls) => connections.spawn(served.speak_over(tls.clone(), stream)),
        };
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// A connection, without its stream.
struct Served {
    http: http1::Builder,
    router: Router,
    refusals: Refusals,
    peer: SocketAddr,
    draining: CancellationToken,
}

/// Refusals for asking too often leave later. A flood of requests on open connections, each of which waits for its answer, so becomes
/// a trickle; and nobody else waits.
#[derive(Clone)]
struct Refusals {
    pause: Duration,
    waiting: Arc<Semaphore>,
}

impl Refusals {
    async fn pass(&self, response: Response) -> Response {
        if response.status() == StatusCode::TOO_MANY_REQUESTS
            && let Ok(_waiting) = self.waiting.try_acquire()
        {
            tokio::time::sleep(self.pause).await;
        }
        response
    }
}

impl Served {
    /// Speaks HTTP until the connection ends, or goes over to a shard.
    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        encrypted: Option<Encrypted>,
    ) {
        let Self {
            http,
            router,
            refusals,
            peer,
            draining,
        } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (router, refusals) = (router.clone(), refusals.clone());
            async move {
                if !settle_host(&mut request) {
                    return Ok(Problem::from(Code::BadHost).into_response());
                }
                request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer));
                if let Some(encrypted) = encrypted {
                    request.extensions_mut().insert(encrypted);
                }
                let Ok(response) = router.oneshot(request.map(Body::new)).await;
                Ok::<_, Infallible>(refusals.pass(response).await)
            }
        });
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        drop(http);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = tokio::time::timeout(STOP_GRACE, connection).await;
    }

    async fn speak_over(self, tls: Arc<Tls>, stream: TcpStream) {
        let handshake = tls.handshake(stream);
        match self.draining.run_until_cancelled(handshake).await {
            Some(Ok(stream)) => self.speak(stream, Some(Encrypted)).await,
            // Clients that speak plain http here, scanners, and those that do not trust the certificate.
            Some(Err(why)) => tracing::debug!(peer = %self.peer, why, "no TLS handshake"),
            None => {}
        }
    }
}

impl Tls {
    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream, String> {
        let most = self.timeout;
        match tokio::time::timeout(most, TlsStream::accept(self.certificate.config(), stream)).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it took more than {} ms", most.as_millis())),
        }
    }
}

/// Ends a connection without an answer, and leaves nothing of it in the kernel.
fn cut_off(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "cannot set a connection's options");
    }
}

fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // Small frames must leave at once.
    let prepared = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(SEND_TIMEOUT)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_MOST));
    if let Err(error) = prepared {
        tracing::debug!(%error, "cannot set a connection's options");
    }
}

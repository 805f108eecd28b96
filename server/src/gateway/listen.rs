//! The listener: accepts connections and speaks HTTP on each, within limits of time and size. Knows nothing of routes.

use crate::config::Limits;
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceBuilder;

/// Most connections that wait to be accepted; the system may allow fewer (net.core.somaxconn).
const BACKLOG: u32 = 4_096;
/// Largest size of a request's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// A connection whose client has not taken what was sent for this long is dropped.
const SEND_TIMEOUT_MS: u32 = 30_000;
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

/// Serves until the server drains.
pub async fn run(router: Router, listener: StdListener, limits: &Limits, draining: CancellationToken) {
    // Registered here, on the threads that serve it.
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot serve the listener"),
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_timeout_ms))
        .max_buf_size(MAX_HEAD_BYTES);
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
        prepare(&stream);
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer));
                request.map(Body::new)
            })
            .service(router.clone());
        let connection = http
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades();
        let draining = draining.clone();
        // The end of a connection is its client's business.
        connections.spawn(async move {
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = tokio::time::timeout(STOP_GRACE, connection).await;
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn prepare(stream: &TcpStream) {
    // Small frames must leave at once.
    let prepared = stream.set_nodelay(true).map_err(|error| error.to_string());
    let prepared = prepared.and_then(|()| {
        setsockopt(stream, sockopt::TcpUserTimeout, &SEND_TIMEOUT_MS).map_err(|error| error.to_string())
    });
    if let Err(error) = prepared {
        tracing::debug!(%error, "cannot set a connection's options");
    }
}

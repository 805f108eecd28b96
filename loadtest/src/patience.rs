//! A busy server says when to come again (503 or 429 with Retry-After). Clients here do exactly that, a limited number of times.

use anyhow::{Context, Result, bail};
use flashsale_protocol::SUBPROTOCOL;
use reqwest::{RequestBuilder, Response, StatusCode};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

/// How often one request is put off before it counts as refused, and the longest and shortest pause.
const MAX_PUT_OFF: usize = 30;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause if the server names none.
const USUAL_PAUSE: Duration = Duration::from_secs(1);

/// A handshake.
pub async fn connect(server: SocketAddr, from: Ipv4Addr) -> Result<WebSocketStream<TcpStream>> {
    for _ in 0..MAX_PUT_OFF {
        let error = match connect_once(server, from).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let put_off = match error.downcast_ref::<tungstenite::Error>() {
            Some(tungstenite::Error::Http(response)) => {
                let header = response.headers().get("retry-after");
                pause(
                    response.status().as_u16(),
                    header.and_then(|value| value.to_str().ok()),
                )
            }
            _ => None,
        };
        match put_off {
            Some(pause) => tokio::time::sleep(spread(pause)).await,
            None => return Err(error),
        }
    }
    bail!("the server has put off this handshake {MAX_PUT_OFF} times")
}

/// A handshake from a chosen address, whatever the answer.
pub async fn connect_once(server: SocketAddr, from: Ipv4Addr) -> Result<WebSocketStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(server).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{server}/ws").into_client_request()?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0);
    let (stream, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(stream)
}

/// A request whose body can be sent again.
pub async fn send(request: RequestBuilder) -> Result<Response> {
    for _ in 0..MAX_PUT_OFF {
        let Some(again) = request.try_clone() else {
            bail!("a request that cannot be sent again")
        };
        let response = again.send().await?;
        let header = response.headers().get("retry-after");
        let said = header.and_then(|value| value.to_str().ok());
        match pause(response.status().as_u16(), said) {
            Some(pause) => tokio::time::sleep(spread(pause)).await,
            None => return Ok(response),
        }
    }
    bail!("the server has put off this request {MAX_PUT_OFF} times")
}

/// The pause before the next try. None: this is the final answer.
fn pause(status: u16, retry_after: Option<&str>) -> Option<Duration> {
    let busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    if !busy.iter().any(|code| code.as_u16() == status) {
        return None;
    }
    let said = retry_after.and_then(|seconds| seconds.trim().parse().ok());
    Some(said.map_or(USUAL_PAUSE, Duration::from_secs).min(LONGEST_PAUSE))
}

/// Between the given pause and twice that, so that clients put off together do not come back together.
fn spread(pause: Duration) -> Duration {
    pause.max(SHORTEST_PAUSE).mul_f64(1.0 + rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        Router,
        extract::ws::WebSocketUpgrade,
        http::HeaderMap,
        response::{IntoResponse, Response as Answer},
        routing::{get, post},
    };
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    /// A door that refuses this many clients and then lets them in.
    async fn door(put_off: usize) -> SocketAddr {
        let left = Arc::new(AtomicUsize::new(put_off));
        let busy = move || {
            let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            taken.is_ok()
        };
        let refused = || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response();
        let (ask, make) = (busy.clone(), busy);
        let routes = Router::new()
            .route(
                "/ws",
                get(move |headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
                    assert!(headers.contains_key("sec-websocket-protocol"));
                    if ask() {
                        return refused();
                    }
                    upgrade.protocols(["flashsale.v1"]).on_upgrade(|_| async {})
                }),
            )
            .route(
                "/admin/sales",
                post(move || async move {
                    let answer: Answer = if make() {
                        refused()
                    } else {
                        StatusCode::CREATED.into_response()
                    };
                    answer
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    #[tokio::test]
    async fn who_is_put_off_comes_again() {
        let address = door(2).await;
        connect(address, Ipv4Addr::LOCALHOST).await.expect("is let in");

        let address = door(2).await;
        let request = flashsale::tls::client().post(format!("http://{address}/admin/sales"));
        let answer = send(request.body("{}")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
    }

    #[test]
    fn a_pause_is_what_the_server_says_within_bounds() {
        assert_eq!(pause(503, Some("3")), Some(Duration::from_secs(3)));
        assert_eq!(pause(429, Some("9999")), Some(LONGEST_PAUSE));
        assert_eq!(
            pause(503, Some("Tue, 01 Jan 2030 00:00:00 GMT")),
            Some(USUAL_PAUSE)
        );
        assert_eq!(pause(500, Some("3")), None);
        assert_eq!(pause(201, None), None);
    }
}

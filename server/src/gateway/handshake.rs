//! From an HTTP request to a WebSocket: checks the handshake, takes the connection over from HTTP, and gives it to a shard.

use super::{
    client::{ClientAddress, OverTls},
    page::{is_at_admin, page_of},
    shard::Arrival,
    throttle::Page,
    tls::stream::TlsStream,
};
use crate::{app::App, rest::Problem};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use flashsale_engine::telemetry::name;
use flashsale_protocol::{Code, Reject, SUBPROTOCOL};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// When to come back to a gateway that stops.
const RETRY_AFTER_MS: u64 = 2_000;

/// The WebSocket; docs/asyncapi.yaml describes its messages.
#[utoipa::path(
    get,
    path = "/ws",
    operation_id = "socket",
    tag = "socket",
    params(("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`flashsale.v1`")),
    responses((status = 101, description = "From here on the connection is a WebSocket.")),
)]
pub async fn upgrade(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    OverTls(over_tls): OverTls,
    mut request: Request,
) -> Result<Response<Body>, Problem> {
    let headers = request.headers();
    let key = check(headers)?;
    let subprotocol = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    if app.draining.is_cancelled() {
        return Err(refusal(Reject::new(Code::Unavailable).after_ms(RETRY_AFTER_MS)));
    }
    let page = Page {
        is_at_admin: is_at_admin(headers, app.admin_origin.as_ref()),
        other: page_of(headers, over_tls),
    };
    let place = app.throttle.enter(address, page).map_err(refusal)?;

    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await.map(socket_of) {
            Ok(Ok(arrival)) => app.shards.adopt(arrival, place),
            Ok(Err(error)) => tracing::warn!(%error, "cannot take a connection over from HTTP"),
            Err(error) => tracing::debug!(%error, "a client left during the handshake"),
        }
    });

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = derive_accept_key(key.as_bytes());
    answer.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        accept.parse().map_err(|_| bad("The key is malformed."))?,
    );
    if subprotocol {
        answer.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    Ok(response)
}

/// The bare socket, its TLS, and the bytes that already arrived on it.
fn socket_of(upgraded: Upgraded) -> Result<Arrival, String> {
    let sentence = |error: std::io::Error| error.to_string();
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Ok(Arrival {
            stream: parts.io.into_inner().into_std().map_err(sentence)?,
            tls: None,
            read: parts.read_buf.into(),
        }),
        Err(upgraded) => {
            let parts = upgraded
                .downcast::<TokioIo<TlsStream>>()
                .map_err(|_| "not a TCP connection".to_owned())?;
            let (stream, tls) = parts.io.into_inner().into_parts().map_err(sentence)?;
            Ok(Arrival {
                stream,
                tls: Some(tls),
                read: parts.read_buf.into(),
            })
        }
    }
}

/// The client's key, if the request is a handshake that we can answer.
fn check(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let has = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(bad("This address speaks WebSocket: send an upgrade request."));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(bad("The WebSocket version must be 13."));
    }
    if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL)
        && !has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
    {
        return Err(bad("The subprotocol must be flashsale.v1."));
    }
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .cloned()
        .ok_or_else(|| bad("The WebSocket key is missing."))
}

fn bad(detail: &str) -> Problem {
    metrics::counter!(name::SOCKETS_REFUSED, "code" => Code::BadHandshake.word()).increment(1);
    Problem(Reject::because(Code::BadHandshake, detail))
}

fn refusal(reject: Reject) -> Problem {
    metrics::counter!(name::SOCKETS_REFUSED, "code" => reject.code.word()).increment(1);
    Problem(reject)
}

//! The doors: every route in one list.

mod address;
mod handshake;
pub mod hub;
mod listen;
mod socket;

use crate::{admin, app::App, rest, telemetry};
pub use address::ClientAddress;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    handler::HandlerWithoutStateExt,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, get_service, post},
};
use flashsale_protocol::{Code, MAX_FRAME_BYTES};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    services::{ServeDir, ServeFile, fs::ServeFileSystemResponseBody},
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};

/// How long a REST request may take in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, after the drain window, sockets may take to close.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// Every route.
fn routes(web_dir: PathBuf) -> Router<Arc<App>> {
    let api = Router::new()
        .route("/session", post(rest::session::create))
        .route("/flash-sales", get(rest::sales::list))
        .route("/flash-sales/{sale}", get(rest::sales::show))
        .route("/flash-sales/{sale}/queue-position", get(rest::queue::position))
        .route("/flash-sales/{sale}/join-queue", post(rest::queue::join))
        .route("/carts/{user}", get(rest::carts::show))
        .route("/carts/{user}/items", post(rest::carts::add))
        .route(
            "/carts/{user}/items/{sale}",
            axum::routing::delete(rest::carts::remove),
        )
        .route("/orders", post(rest::orders::create))
        .route("/orders/{order}", get(rest::orders::show))
        .route("/orders/{order}/pay", post(rest::orders::pay))
        .route("/orders/{order}/cancel", post(rest::orders::cancel))
        .route("/admin/sales", post(admin::sales::create).get(admin::sales::list))
        .route("/admin/sales/{sale}", get(admin::sales::show))
        .route("/admin/sales/{sale}/pause", post(admin::sales::pause))
        .route("/admin/sales/{sale}/resume", post(admin::sales::resume))
        .route("/admin/sales/{sale}/end", post(admin::sales::end))
        .route("/admin/sales/{sale}/metrics", get(admin::metrics::show))
        .route("/dev", get(rest::session::dev))
        .route("/dev/sign-in", post(rest::session::dev_sign_in))
        .layer(DefaultBodyLimit::max(MAX_FRAME_BYTES))
        .layer(middleware::from_fn(in_time));
    let socket = Router::new().route("/ws", get(handshake::upgrade));
    Router::new()
        .merge(api)
        .merge(socket)
        .merge(operations())
        .merge(pages(web_dir))
}

/// A client that sends its body too slowly, and a store that does not answer, end the same way.
async fn in_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| rest::Problem::from(Code::Unavailable).into_response())
}

/// What an operator and a load balancer ask; also there in a process without the gateway role.
fn operations() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(async || telemetry::metrics_text()))
}

/// The built pages.
fn pages(web_dir: PathBuf) -> Router<Arc<App>> {
    let page = |name: &str| get_service(ServeFile::new(web_dir.join(name)));
    let files = |dir: PathBuf| {
        ServeDir::new(dir)
            .call_fallback_on_method_not_allowed(true)
            .fallback(rest::not_found.into_service())
    };
    let revalidate =
        SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // What is not there (yet: gateways are replaced one by one) must not be kept.
    let kept = SetResponseHeaderLayer::overriding(
        header::CACHE_CONTROL,
        |response: &axum::http::Response<ServeFileSystemResponseBody>| {
            let there = response.status().as_u16() < 400;
            there.then(|| HeaderValue::from_static("public, max-age=31536000, immutable"))
        },
    );
    Router::new()
        .nest_service(
            "/assets",
            ServiceBuilder::new()
                .layer(kept)
                .service(files(web_dir.join("assets"))),
        )
        .route("/", page("index.html"))
        .route("/sale/{sale}", page("index.html"))
        .route("/admin", page("admin.html"))
        .route("/widget.js", page("widget.js"))
        .fallback_service(files(web_dir))
        .layer(revalidate)
        .layer(CompressionLayer::new())
}

/// Around every route: a request id, a log line per failure, and the browser's rules.
fn common() -> impl tower::Layer<
    axum::routing::Route,
    Service: tower::Service<
        axum::extract::Request,
        Response: axum::response::IntoResponse,
        Error: Into<std::convert::Infallible>,
        Future: Send,
    > + Clone
                 + Send
                 + Sync
                 + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    // The widget lives on other origins. Tokens are in headers, never in cookies, so that any origin may ask.
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_methods([
            axum::http::Method::GET,
            axum::http::Method::POST,
            axum::http::Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-device-id"),
            HeaderName::from_static("queue-token"),
        ])
        .max_age(Duration::from_secs(600));
    ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(TraceLayer::new_for_http())
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(cors)
        .layer(CatchPanicLayer::custom(rest::panicked))
}

/// Ready: both stores answer, and the server is not stopping.
async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if app.stock.ping().await.is_err() {
        (StatusCode::SERVICE_UNAVAILABLE, "redis does not answer\n")
    } else if app.store.ping().await.is_err() {
        (StatusCode::SERVICE_UNAVAILABLE, "postgres does not answer\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// Serves until the server drains. Without the gateway role: only what operators ask.
pub async fn serve(app: Arc<App>, listener: TcpListener, web_dir: PathBuf, gateway: bool) {
    let router = if gateway {
        routes(web_dir)
    } else {
        operations().fallback(rest::not_found)
    };
    let router = router
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(common())
        .with_state(app.clone());
    listen::run(router, listener, &app.limits, app.draining.clone()).await;
}

/// Development: the page of a shop that embeds the widget, on an origin of its own.
pub async fn serve_storefront(app: Arc<App>, listener: TcpListener, web_dir: PathBuf) {
    let router = Router::new()
        .route_service("/", ServeFile::new(web_dir.join("storefront.html")))
        .nest_service("/assets", ServeDir::new(web_dir.join("assets")));
    listen::run(router, listener, &app.limits, app.draining.clone()).await;
}

/// Waits until every socket has moved away, or the drain window is over.
pub async fn drained(app: &App) {
    let most = Duration::from_millis(app.limits.drain_window_ms) + DRAIN_GRACE;
    let _ = tokio::time::timeout(most, app.hub.no_sockets()).await;
}

//! The doors: every route in one list, and the listener behind them.

mod address;
mod handshake;
pub mod hub;
mod socket;

use crate::{admin, app::App, rest, telemetry};
pub use address::ClientAddress;
use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    routing::{get, post},
    serve::ListenerExt,
};
use flashsale_protocol::MAX_FRAME_BYTES;
use std::{
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

/// How long a REST request may take in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, after the drain window, sockets may take to close.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// Every route.
fn routes(app: Arc<App>, web_dir: PathBuf) -> Router {
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
        .route("/payments/webhook", post(rest::payments::webhook))
        .route("/admin/orders/{order}", get(admin::orders::show))
        .route("/admin/orders/{order}/refund", post(admin::orders::refund))
        .route("/admin/sales", post(admin::sales::create).get(admin::sales::list))
        .route("/admin/sales/{sale}", get(admin::sales::show))
        .route("/admin/sales/{sale}/pause", post(admin::sales::pause))
        .route("/admin/sales/{sale}/resume", post(admin::sales::resume))
        .route("/admin/sales/{sale}/end", post(admin::sales::end))
        .route("/admin/sales/{sale}/metrics", get(admin::metrics::show))
        .route("/dev", get(rest::session::dev))
        .route("/dev/sign-in", post(rest::session::dev_sign_in))
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_FRAME_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ));
    let socket = Router::new().route("/ws", get(handshake::upgrade));
    Router::new()
        .merge(api)
        .merge(socket)
        .merge(operations())
        .merge(pages(web_dir))
        .layer(common())
        .with_state(app)
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
    let page = |name: &str| ServeFile::new(web_dir.join(name));
    let revalidate =
        SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let kept = SetResponseHeaderLayer::overriding(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    Router::new()
        .nest_service(
            "/assets",
            ServiceBuilder::new()
                .layer(kept)
                .service(ServeDir::new(web_dir.join("assets"))),
        )
        .route_service("/", page("index.html"))
        .route_service("/sale/{sale}", page("index.html"))
        .route_service("/admin", page("admin.html"))
        .route_service("/widget.js", page("widget.js"))
        .fallback_service(ServeDir::new(web_dir).fallback(
            axum::handler::HandlerWithoutStateExt::into_service(rest::not_found),
        ))
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

/// The threads of the sockets, apart from those of stores and workers: a call to Redis never waits in line with
/// thousands of sockets that have a tick to send.
pub struct Threads(Option<Runtime>);

impl Threads {
    pub fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("gateway")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<JoinHandle<()>> {
        self.0.as_ref().map(|runtime| runtime.spawn(task))
    }
}

impl Drop for Threads {
    /// Does not wait: the last sockets were waited for by [`drained`].
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves until the server drains. Without the gateway role: only what operators ask.
pub async fn serve(app: Arc<App>, listener: StdListener, web_dir: PathBuf, gateway: bool) {
    let draining = app.draining.clone();
    let router = if gateway {
        routes(app, web_dir)
    } else {
        operations().layer(common()).with_state(app)
    };
    listen(router, listener, draining).await;
}

/// Development: the page of a shop that embeds the widget, on an origin of its own.
pub async fn serve_storefront(app: Arc<App>, listener: StdListener, web_dir: PathBuf) {
    let router = Router::new()
        .route_service("/", ServeFile::new(web_dir.join("storefront.html")))
        .nest_service("/assets", ServeDir::new(web_dir.join("assets")));
    listen(router, listener, app.draining.clone()).await;
}

async fn listen(router: Router, listener: StdListener, draining: tokio_util::sync::CancellationToken) {
    // Registered here, with the threads that serve it.
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot serve the listener"),
    };
    // Small frames must leave at once.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(draining.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the listener has failed");
    }
}

/// Waits until every socket has moved away, or the drain window is over.
pub async fn drained(app: &App) {
    let most = Duration::from_millis(app.limits.drain_window_ms) + DRAIN_GRACE;
    let _ = tokio::time::timeout(most, app.hub.no_sockets()).await;
}

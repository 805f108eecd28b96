//! The doors: every route in one list.

pub(crate) mod address;
mod apart;
pub(crate) mod client;
mod door;
mod filled;
mod handshake;
pub mod hub;
mod listen;
pub(crate) mod local;
mod openapi;
mod operations;
pub(crate) mod page;
mod pages;
mod policy;
pub mod presence;
mod refusals;
pub mod shard;
pub(crate) mod stores;
pub mod subscriptions;
pub mod throttle;
pub mod tls;

use crate::{accounts::api_keys, admin, app::App, pictures, rest, rest::meter};
use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use flashsale_protocol::{Code, MAX_FRAME_BYTES};
use listen::Door;
pub use listen::bind;
use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};
use tls::certificate::Certificate;
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    classify::ServerErrorsFailureClass,
    compression::CompressionLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

/// Longest time of a REST request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a request that brings a file: 5 MB over a slow line, and its turn to be read.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long sockets may take to close after the drain window.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// Every route except the pages; the OpenAPI document is built from the same list.
fn api() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(rest::session::create))
        .routes(routes!(rest::links::make, rest::links::show))
        .routes(routes!(rest::sales::list).layer(CompressionLayer::new().quality(CompressionLevel::Fastest)))
        .routes(routes!(rest::sales::show))
        .routes(routes!(rest::pictures::show))
        .routes(routes!(rest::queue::position, rest::queue::leave))
        .routes(routes!(rest::queue::join))
        .routes(routes!(rest::draw::show))
        .routes(routes!(rest::draw::file))
        .routes(routes!(rest::draw::proof))
        .routes(routes!(rest::merchants::show))
        .routes(routes!(rest::me::show, rest::me::forget))
        .routes(routes!(rest::carts::show))
        .routes(routes!(rest::carts::add))
        .routes(routes!(rest::carts::remove))
        .routes(routes!(rest::carts::extend))
        .routes(routes!(rest::orders::create))
        .routes(routes!(rest::orders::show))
        .routes(routes!(rest::orders::pay))
        .routes(routes!(rest::orders::cancel))
        .routes(routes!(admin::sales::list, admin::sales::create))
        .routes(routes!(admin::merchants::list, admin::merchants::create))
        .routes(routes!(admin::merchants::show, admin::merchants::change))
        .routes(routes!(admin::keys::list, admin::keys::add))
        .routes(routes!(admin::keys::revoke))
        .routes(routes!(admin::api_keys::list, admin::api_keys::make))
        .routes(routes!(admin::api_keys::revoke))
        .routes(routes!(admin::people::show, admin::people::forget))
        .routes(routes!(admin::sales::show))
        .routes(routes!(admin::sales::pause))
        .routes(routes!(admin::sales::resume))
        .routes(routes!(admin::sales::end))
        .routes(routes!(admin::sales::change_supply))
        .routes(routes!(admin::sales::set_beacon))
        .routes(routes!(admin::sales::change_inflow))
        .routes(routes!(admin::pictures::remove))
        .routes(routes!(admin::recovery::recover))
        .routes(routes!(admin::entries::export))
        .routes(routes!(admin::metrics::show))
        .routes(routes!(admin::audit::list))
        .routes(routes!(admin::order_list::list))
        .routes(routes!(admin::order_list::cancel))
        .routes(routes!(admin::orders::show))
        .routes(routes!(admin::orders::refund))
        .routes(routes!(admin::orders::retry_refund))
        .routes(routes!(admin::handoffs::redeem))
        .routes(routes!(admin::handoffs::show))
        .routes(routes!(admin::handoffs::confirm))
        .routes(routes!(admin::handoffs::fail))
        .routes(routes!(admin::handoffs::extend))
        .routes(routes!(admin::handoffs::refunds))
        .routes(routes!(admin::handoffs::refund_done))
        .routes(
            routes!(rest::payments::webhook).layer(DefaultBodyLimit::max(rest::payments::MAX_EVENT_BYTES)),
        )
        .routes(routes!(
            admin::session::show,
            admin::session::sign_in,
            admin::session::sign_out
        ))
        .routes(routes!(admin::session::sign_out_everywhere))
        .routes(routes!(admin::session::set_password))
        .routes(routes!(admin::session::ticket))
        .routes(routes!(admin::codes::prepare))
        .routes(routes!(admin::codes::begin))
        .routes(routes!(admin::codes::end))
        .routes(routes!(admin::operators::list, admin::operators::invite))
        .routes(routes!(admin::operators::remove))
}

/// Routes that take files: larger than what others take, and longer on their way.
fn uploads() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(admin::pictures::set))
}

/// Routes for operators and load balancers, on an address of their own.
fn operations() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(operations::alive))
        .routes(routes!(operations::ready))
        .routes(routes!(operations::metrics))
}

fn socket() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(handshake::upgrade))
}

fn routes(web_dir: PathBuf, app: &Arc<App>) -> Router<Arc<App>> {
    let (api, uploads) = (api(), uploads());
    let document = openapi::document([&api, &uploads, &operations(), &socket()]);
    let uploads = Router::from(uploads)
        .layer(DefaultBodyLimit::max(pictures::MAX_BYTES))
        .layer(middleware::from_fn(|request, next| {
            in_time(UPLOAD_TIMEOUT, request, next)
        }));
    let api = Router::from(api)
        .merge(document)
        .layer(DefaultBodyLimit::max(MAX_FRAME_BYTES))
        .layer(middleware::from_fn(|request, next| {
            in_time(REQUEST_TIMEOUT, request, next)
        }))
        .merge(uploads)
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(middleware::from_fn(without_key))
        .layer(middleware::from_fn_with_state(app.clone(), door::tell_budget));
    Router::new()
        .merge(api)
        .merge(pages::routes(web_dir, app.clone()))
        .layer(middleware::from_fn_with_state(app.clone(), apart::keep_apart))
        .layer(middleware::from_fn_with_state(app.clone(), door::within_budget))
}

/// Ends a request after its time, whether the client sends its body too slowly or a store does not answer.
async fn in_time(most: Duration, request: Request, next: Next) -> Response {
    tokio::time::timeout(most, next.run(request))
        .await
        .unwrap_or_else(|_| rest::Problem::from(Code::Unavailable).into_response())
}

/// Refuses an address with an API key in it: addresses stand in logs and histories.
async fn without_key(request: Request, next: Next) -> Response {
    let address = request.uri().path_and_query();
    if address.is_some_and(|address| address.as_str().contains(api_keys::PREFIX)) {
        return rest::Problem::from(Code::KeyInAddress).into_response();
    }
    next.run(request).await
}

/// A request in the log: by its route, because paths and queries may name people.
fn span(request: &Request) -> tracing::Span {
    let route = request.extensions().get::<MatchedPath>();
    tracing::debug_span!(
        "request",
        method = %request.method(),
        route = route.map_or("none", MatchedPath::as_str),
    )
}

/// Logs what failed on our side. `busy` and `unavailable` are answers: in a surge, or while a store is away, each request has one.
fn log_failure(failure: ServerErrorsFailureClass, latency: Duration, _: &tracing::Span) {
    match failure {
        ServerErrorsFailureClass::StatusCode(StatusCode::SERVICE_UNAVAILABLE) => {
            tracing::debug!(?latency, "a request was refused for now");
        }
        failure => tracing::error!(%failure, ?latency, "a request has failed"),
    }
}

/// Layers around every route except the socket's: a request id, a log line per failure, and the browser's rules.
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
    // The widget lives on other origins, so any origin may ask; but never with credentials: operators have a cookie.
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_methods([
            axum::http::Method::GET,
            axum::http::Method::POST,
            axum::http::Method::PATCH,
            axum::http::Method::DELETE,
        ])
        // A page's tracing adds headers of its own to every request; they are refused nowhere.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            meter::RATE_LIMIT,
            meter::RATE_LIMIT_POLICY,
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(Duration::from_secs(600));
    ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_failure(log_failure),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(cors)
        .layer(CatchPanicLayer::custom(rest::panicked))
}

/// The threads of handshakes and REST, apart from those of stores and workers, so that a call to Redis never waits behind
/// thousands of handshakes.
pub struct Threads(Option<Runtime>);

impl Threads {
    pub fn start(count: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(count)
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
    /// Does not wait: [`drained`] has waited for the last sockets.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves operators and load balancers until the server has drained: while it drains, they are told so.
pub async fn serve_operations(app: Arc<App>, listener: TcpListener, stopping: CancellationToken) {
    let router = Router::from(operations())
        .fallback(rest::not_found)
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(common())
        .with_state(app.clone());
    listen::run(router, listener, None, &app.limits, stopping).await;
}

/// Serves until the server drains. Without the gateway role there is nothing here.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    web_dir: PathBuf,
    gateway: bool,
) {
    let router = match gateway {
        true => routes(web_dir, &app),
        false => Router::new().fallback(rest::not_found),
    };
    let finished = |router: Router<Arc<App>>| router.method_not_allowed_fallback(rest::method_not_allowed);
    let mut router = finished(router).layer(common());
    if gateway {
        // A crowd arrives as handshakes, so they have no layers that they do not need.
        router = router.merge(finished(Router::from(socket())));
    }
    let router = router.with_state(app.clone());
    let door = Door {
        certificate,
        throttle: app.throttle.clone(),
    };
    listen::run(router, listener, Some(door), &app.limits, app.draining.clone()).await;
}

/// For development: the page of a shop that embeds the widget, on its own origin. It asks where this platform is.
pub(crate) async fn serve_storefront(
    app: Arc<App>,
    platform: String,
    listener: TcpListener,
    web_dir: PathBuf,
) {
    let router = Router::new()
        .route_service("/platform", get(async move || platform))
        .route_service("/", ServeFile::new(web_dir.join("storefront.html")))
        .nest_service("/assets", ServeDir::new(web_dir.join("assets")));
    listen::run(router, listener, None, &app.limits, app.draining.clone()).await;
}

/// Tells every socket to move, and waits until they have, or until the window is over.
pub async fn drain(app: &App) {
    // Long enough if the other gateways accept as many sockets in a second as this process would.
    let sockets = app.throttle.socket_count() as u64;
    let needed_ms = sockets * 1000 / u64::from(app.limits.handshakes_per_s.max(1));
    let window_ms = app.limits.drain_window_ms.max(needed_ms);
    app.shards.drain(window_ms);
    let most = Duration::from_millis(window_ms) + DRAIN_GRACE;
    let _ = tokio::time::timeout(most, app.throttle.no_sockets()).await;
}

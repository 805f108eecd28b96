//! The built pages, and what they may do in a browser.

use super::{
    address::is_over_tls,
    filled,
    page::is_at_admin,
    policy::{self, policy},
};
use crate::{app::App, rest};
use axum::{
    Router,
    extract::{Request, State},
    handler::HandlerWithoutStateExt,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, get_service},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tower::ServiceBuilder;
use tower_http::{
    compression::CompressionLayer,
    services::{ServeDir, ServeFile, fs::ServeFileSystemResponseBody},
    set_header::SetResponseHeaderLayer,
};

/// The longest name of a file on common file systems, in bytes.
const FILE_NAME_MAX: usize = 255;

const PERMISSIONS_POLICY: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), usb=()";
/// Two years, as the browsers' preload lists ask for. Only over TLS, where browsers heed it.
const STRICT_TRANSPORT_SECURITY: &str = "max-age=63072000";

/// The pages, and the files that they and widgets elsewhere load.
pub(super) fn routes(web_dir: PathBuf, app: Arc<App>) -> Router<Arc<App>> {
    // What was compressed when it was built is sent as it is; the rest is compressed for each that asks.
    let page = |name: &str| {
        let file = ServeFile::new(web_dir.join(name));
        get_service(file.precompressed_br().precompressed_gzip()).fallback(rest::method_not_allowed)
    };
    let files = |dir: PathBuf| {
        ServeDir::new(dir)
            .precompressed_br()
            .precompressed_gzip()
            .call_fallback_on_method_not_allowed(true)
            .fallback(rest::not_found.into_service())
    };
    let revalidate =
        SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A missing file must not be cached: it may appear soon, because gateways are replaced one by one.
    let kept = SetResponseHeaderLayer::overriding(
        header::CACHE_CONTROL,
        |response: &axum::http::Response<ServeFileSystemResponseBody>| {
            let there = response.status().as_u16() < 400;
            there.then(|| HeaderValue::from_static("public, max-age=31536000, immutable"))
        },
    );
    // Load balancers and links put a slash at the end; it is the same page.
    let index: Arc<Path> = web_dir.join("index.html").into();
    let filled = || {
        let (app, index) = (app.clone(), index.clone());
        get(move |request| filled::page(app.clone(), index.clone(), request))
            .fallback(rest::method_not_allowed)
    };
    let of_shops = [
        "/",
        "/sale/{sale}",
        "/sale/{sale}/",
        "/m/{merchant}",
        "/m/{merchant}/",
    ];
    let pages = of_shops
        .into_iter()
        .fold(Router::new(), |router, path| router.route_service(path, filled()))
        .route_service("/admin", page("admin.html"))
        .route_service("/admin/", page("admin.html"));
    let pages = pages.layer(middleware::from_fn(page_headers));
    Router::new()
        .nest_service(
            "/assets",
            ServiceBuilder::new()
                .layer(kept)
                .service(files(web_dir.join("assets"))),
        )
        .merge(pages)
        .route_service("/widget.js", page("widget.js"))
        .fallback_service(
            ServiceBuilder::new()
                .layer(middleware::from_fn_with_state(
                    (app.clone(), index),
                    with_page_for_people,
                ))
                .layer(middleware::from_fn(without_pages))
                .service(files(web_dir)),
        )
        .layer(middleware::from_fn(with_possible_name))
        .layer(middleware::from_fn_with_state(app, file_headers))
        .layer(revalidate)
        .layer(CompressionLayer::new())
}

/// A name that no file can have is a page that is not there, and no failure of the disk.
async fn with_possible_name(request: Request, next: Next) -> Response {
    let mut names = request.uri().path().split('/');
    if names.any(|name| name.len() > FILE_NAME_MAX) {
        return rest::not_found().await.into_response();
    }
    next.run(request).await
}

/// Pages have addresses of their own, where their rules come with them. Under the name of its file there is none.
async fn without_pages(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        true => rest::not_found().await.into_response(),
        false => response,
    }
}

/// A person whose address leads nowhere gets a page that says so and leads on; a program gets the refusal.
async fn with_page_for_people(
    State((app, page)): State<(Arc<App>, Arc<Path>)>,
    request: Request,
    next: Next,
) -> Response {
    let is_person = request.method() == Method::GET
        && !(app.admin_origin.is_some() && is_at_admin(request.headers(), app.admin_origin.as_ref()))
        && request
            .headers()
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
    let response = next.run(request).await;
    if !is_person || response.status() != StatusCode::NOT_FOUND {
        return response;
    }
    let Ok(html) = tokio::fs::read_to_string(page).await else {
        return response;
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, policy(&html)),
    ];
    let mut response = (StatusCode::NOT_FOUND, headers, html).into_response();
    set_page_headers(response.headers_mut());
    response
}

/// The rules for our own pages.
async fn page_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    set_page_headers(response.headers_mut());
    response
}

fn set_page_headers(headers: &mut HeaderMap) {
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(policy::CONTENT_SECURITY_POLICY));
    set(headers, header::REFERRER_POLICY, "same-origin");
    set(
        headers,
        HeaderName::from_static("permissions-policy"),
        PERMISSIONS_POLICY,
    );
    set(
        headers,
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    set(
        headers,
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
}

/// The rules for every file: widgets in other sites' pages load the script and its parts, whatever those pages ask of what they load.
async fn file_headers(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let over_tls = is_over_tls(request.headers(), request.extensions().get(), &app.limits);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    if !headers.contains_key(&policy) {
        set(headers, policy, "cross-origin");
    }
    if over_tls {
        set(
            headers,
            header::STRICT_TRANSPORT_SECURITY,
            STRICT_TRANSPORT_SECURITY,
        );
    }
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

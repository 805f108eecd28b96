//! The admin page on an origin of its own: a fault of the shop's pages then reaches no operator's session.

use super::page::is_at_admin;
use crate::{app::App, rest};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use std::sync::Arc;

/// Lets a request go on where it belongs: what is the admin page's to its origin, the shop's pages to any other. Without an origin of
/// its own (`--admin-origin`) everything is everywhere.
pub(super) async fn keep_apart(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.admin_origin.is_none() {
        return next.run(request).await;
    }
    let is_there = is_at_admin(request.headers(), app.admin_origin.as_ref());
    let path = request.uri().path();
    match (is_there, is_of_admin(path), is_shop_page(path)) {
        (true, _, _) if path == "/" => Redirect::to("/admin").into_response(),
        (true, _, true) | (false, true, _) => rest::not_found().await.into_response(),
        _ => next.run(request).await,
    }
}

fn is_of_admin(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

fn is_shop_page(path: &str) -> bool {
    path == "/" || path.starts_with("/sale/") || path.starts_with("/m/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_operators_is_the_admin_page_s() {
        let router = crate::gateway::api().merge(crate::gateway::uploads());
        for (path, item) in &router.get_openapi().paths.paths {
            assert!(!is_shop_page(path), "{path}");
            let operations = [&item.get, &item.post, &item.patch, &item.delete];
            let mut tags = operations
                .into_iter()
                .flatten()
                .flat_map(|one| one.tags.iter().flatten());
            let is_of_operators = tags.any(|tag| tag == "admin" || tag == "operators");
            assert_eq!(is_of_admin(path), is_of_operators, "{path}");
        }
        assert!(is_of_admin("/admin") && is_of_admin("/admin/") && is_of_admin("/admin/session"));
        assert!(!is_of_admin("/administrator") && !is_of_admin("/flash-sales/admin"));
    }
}

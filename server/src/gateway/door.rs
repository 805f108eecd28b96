//! What a request costs the address that it comes from, before anything is known of who asks.

use super::client::ClientAddress;
use crate::{
    accounts::api_keys,
    app::App,
    rest::{Problem, bearer, meter::Meter},
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// Routes that read much, or hold something while they are read. All others cost 1, or [`CHANGE`].
const DEAR: [(&str, u64); 10] = [
    ("/admin/sales/{sale_id}/entries.csv", 100),
    ("/flash-sales/{sale_id}/draw/file", 50),
    ("/admin/sales/{sale_id}/picture", 20),
    ("/admin/sales/{sale_id}/audit", 10),
    ("/admin/sales/{sale_id}/metrics", 10),
    ("/admin/sales/{sale_id}/orders", 10),
    ("/flash-sales/{sale_id}/draw/proof", 5),
    ("/me", 5),
    ("/session", 3),
    ("/session/link", 3),
];
/// A request that may change something.
const CHANGE: u64 = 2;

fn cost(method: &Method, route: Option<&str>) -> u64 {
    let dear = DEAR.iter().find(|(of, _)| route == Some(*of));
    match dear {
        Some((_, cost)) => *cost,
        None if method.is_safe() => 1,
        None => CHANGE,
    }
}

/// Refuses what is too much for one address. A program whose key is good has a budget of its own: a shop's backend sends all that its
/// customers cause from one address.
pub(super) async fn within_budget(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    mut request: Request,
    next: Next,
) -> Response {
    // A request with two keys has the budget of its address; it is refused later.
    let key = bearer(request.headers()).ok().flatten();
    let key = key.filter(|token| token.starts_with(api_keys::PREFIX));
    if let Some(key) = key
        && app.authority.api_keys.was_good(key)
    {
        request.extensions_mut().insert(Meter::new(None));
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>();
    let cost = cost(request.method(), route.map(MatchedPath::as_str));
    match app.throttle.allow_request(address, cost) {
        Ok(left) => {
            request.extensions_mut().insert(Meter::new(Some(left)));
            next.run(request).await
        }
        Err(reject) => {
            let meter = Meter::refused(&reject);
            let mut response = Problem(reject).into_response();
            meter.tell(&app, response.headers_mut());
            response
        }
    }
}

/// Tells in an answer's headers what is left.
pub(super) async fn tell_budget(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let meter = request.extensions().get::<Meter>().cloned();
    let mut response = next.run(request).await;
    if let Some(meter) = meter {
        meter.tell(&app, response.headers_mut());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dear_is_a_route_that_there_is() {
        let router = crate::gateway::api();
        for (route, _) in DEAR {
            assert!(router.get_openapi().paths.paths.contains_key(route), "{route}");
        }
        assert_eq!(cost(&Method::GET, Some("/flash-sales")), 1);
        assert_eq!(cost(&Method::POST, Some("/orders/{order_id}/pay")), CHANGE);
        assert_eq!(cost(&Method::GET, None), 1);
    }
}

//! Where a request comes from, and what it costs that address, before anything is known of who asks.

use super::{address, throttle::Throttle};
use crate::{
    app::App,
    budget::{Left, Rate},
    rest::Problem,
};
use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use flashsale_engine::caller::Caller;
use flashsale_protocol::Reject;
use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// The client's address, for limits per address.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let peer = address::peer(parts.extensions.get());
        Ok(Self(address::client(&parts.headers, peer, &app.limits)))
    }
}

/// Routes that read much, or hold something while they are read. All others cost 1, or [`CHANGE`].
const DEAR: [(&str, u64); 7] = [
    ("/admin/sales/{sale_id}/entries.csv", 100),
    ("/flash-sales/{sale_id}/draw/file", 50),
    ("/admin/sales/{sale_id}/audit", 10),
    ("/admin/sales/{sale_id}/metrics", 10),
    ("/flash-sales/{sale_id}/draw/proof", 5),
    ("/me", 5),
    ("/session", 3),
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

/// What is left of a request's budgets, for the headers of its answer.
struct Meter {
    address: Left,
    /// Known once it is known who asks.
    caller: OnceLock<Left>,
}

/// Refuses what is too much for one address.
pub(super) async fn within_budget(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let cost = cost(request.method(), route.map(MatchedPath::as_str));
    match app.throttle.allow_request(address, cost) {
        Ok(address) => {
            let caller = OnceLock::new();
            request
                .extensions_mut()
                .insert(Arc::new(Meter { address, caller }));
            next.run(request).await
        }
        Err(reject) => {
            let left = nothing_left(&reject);
            let mut response = Problem(reject).into_response();
            tell(response.headers_mut(), &app.throttle, left, None);
            response
        }
    }
}

/// Refuses what is too much for one caller.
pub(crate) fn allow(app: &App, extensions: &Extensions, caller: &Caller) -> Result<(), Problem> {
    let answer = app.throttle.allow(&caller.account);
    if let Some(meter) = extensions.get::<Arc<Meter>>() {
        let left = match &answer {
            Ok(left) => *left,
            Err(reject) => nothing_left(reject),
        };
        let _ = meter.caller.set(left);
    }
    answer.map(drop).map_err(Problem)
}

fn nothing_left(reject: &Reject) -> Left {
    Left {
        costs: 0,
        whole_in: Duration::from_millis(reject.retry_after_ms.unwrap_or_default()),
    }
}

/// Tells programs how much they may still ask for (draft-ietf-httpapi-ratelimit-headers-10).
pub(super) async fn tell_budget(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let meter = request.extensions().get::<Arc<Meter>>().cloned();
    let mut response = next.run(request).await;
    if let Some(meter) = meter {
        let caller = meter.caller.get().copied();
        tell(response.headers_mut(), &app.throttle, meter.address, caller);
    }
    response
}

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

fn tell(headers: &mut HeaderMap, throttle: &Throttle, address: Left, caller: Option<Left>) {
    let [of_address, of_caller] = throttle.request_rates();
    let policy = |name, rate: Rate| format!("\"{name}\";q={};w={}", rate.burst, rate.whole_s());
    let state = |name, left: Left| {
        format!(
            "\"{name}\";r={};t={}",
            left.costs,
            left.whole_in.as_millis().div_ceil(1_000)
        )
    };
    let (mut policies, mut states) = (policy("address", of_address), state("address", address));
    if let Some(caller) = caller {
        policies += &format!(", {}", policy("caller", of_caller));
        states += &format!(", {}", state("caller", caller));
    }
    for (name, text) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, states)] {
        // They consist of ASCII.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
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

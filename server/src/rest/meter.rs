//! Tells programs how much they may still ask for (draft-ietf-httpapi-ratelimit-headers-10).

use crate::{
    app::App,
    budget::{Left, Rate},
};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use flashsale_engine::caller::Caller;
use flashsale_protocol::Reject;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is left of a request's budgets, for the headers of its answer. It travels with the request.
#[derive(Clone)]
pub(crate) struct Meter {
    /// None: the caller's own budget takes its place.
    address: Option<Left>,
    /// Known once it is known who asks.
    caller: Arc<OnceLock<(Rate, Left)>>,
}

impl Meter {
    pub(crate) fn new(address: Option<Left>) -> Self {
        Self {
            address,
            caller: Arc::default(),
        }
    }

    /// Of somebody who was refused.
    pub(crate) fn refused(reject: &Reject) -> Self {
        Self::new(Some(nothing(reject)))
    }

    pub(crate) fn tell(&self, app: &App, headers: &mut HeaderMap) {
        let policy = |name, rate: Rate| format!("\"{name}\";q={};w={}", rate.burst, rate.whole_s());
        let state = |name, left: Left| {
            let whole_s = left.whole_in.as_millis().div_ceil(1_000);
            format!("\"{name}\";r={};t={whole_s}", left.costs)
        };
        let address = self
            .address
            .map(|left| ("address", app.throttle.address_rate(), left));
        let caller = self.caller.get().map(|(rate, left)| ("caller", *rate, *left));
        let (policies, states): (Vec<_>, Vec<_>) = [address, caller]
            .into_iter()
            .flatten()
            .map(|(name, rate, left)| (policy(name, rate), state(name, left)))
            .unzip();
        if policies.is_empty() {
            return;
        }
        for (name, parts) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, states)] {
            // They consist of ASCII.
            if let Ok(value) = HeaderValue::try_from(parts.join(", ")) {
                headers.insert(name, value);
            }
        }
    }
}

/// Refuses what is too much for one caller; a request's meter takes note.
pub(crate) fn allow(app: &App, request: &Extensions, caller: &Caller) -> Result<(), Reject> {
    let is_program = caller.seat().is_some_and(|seat| seat.scopes.is_some());
    let answer = app.throttle.allow(&caller.account, is_program);
    if let Some(meter) = request.get::<Meter>() {
        let left = answer.as_ref().map_or_else(nothing, |left| *left);
        // Known already, if two parts of a request ask: the first answer is the stricter one.
        let _ = meter.caller.set((app.throttle.caller_rate(is_program), left));
    }
    answer.map(drop)
}

fn nothing(reject: &Reject) -> Left {
    Left {
        costs: 0,
        whole_in: Duration::from_millis(reject.retry_after_ms.unwrap_or_default()),
    }
}

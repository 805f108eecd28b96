//! What a request says of the browser that sends it: which page asks, from where, and whether its way here is safe for a session.

use super::{Problem, field, once};
use crate::{
    app::App,
    gateway::{
        client::{ClientAddress, OverTls},
        local::Local,
        page::page_of,
    },
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use flashsale_protocol::{Code, Reject};
use std::{net::IpAddr, sync::Arc};

/// The header that other sites cannot make a browser send without asking us first, and then not with cookies.
pub(crate) const PROOF: &str = "flash-sale-operator";
const COOKIE: &str = "flashsale_operator";
/// The prefix makes browsers refuse one that another host, or plain http, has set.
const COOKIE_OVER_TLS: &str = "__Host-flashsale_operator";

pub struct Browser {
    pub address: IpAddr,
    /// None: over http from somewhere else, which is no way for a session.
    way: Option<Way>,
    /// The session's secret.
    pub session: Option<String>,
    is_our_page: bool,
    has_proof: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tls,
    /// Over http on this machine, with `--dev`.
    Loopback,
}

impl Way {
    fn cookie(self) -> &'static str {
        match self {
            Self::Tls => COOKIE_OVER_TLS,
            Self::Loopback => COOKIE,
        }
    }
}

impl FromRequestParts<Arc<App>> for Browser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Ok(ClientAddress(address)) = ClientAddress::from_request_parts(parts, app).await;
        let Ok(Local(is_local)) = Local::from_request_parts(parts, app).await;
        let Ok(OverTls(over_tls)) = OverTls::from_request_parts(parts, app).await;
        let headers = &parts.headers;
        let way = match over_tls {
            true => Some(Way::Tls),
            false => (app.dev && is_local).then_some(Way::Loopback),
        };
        Ok(Self {
            address,
            way,
            session: match way {
                Some(way) => cookie(headers, way.cookie())?,
                None => None,
            },
            is_our_page: page_of(headers, over_tls).is_none(),
            has_proof: once(headers, PROOF)?.is_some_and(|value| value == "1"),
        })
    }
}

impl Browser {
    /// Refuses what another site may have made this browser send.
    pub fn check_is_ours(&self) -> Result<(), Problem> {
        if !self.is_our_page {
            return Err(Problem(Reject::because(
                Code::OriginRefused,
                "Operators work on the admin page only: the Origin is another one.",
            )));
        }
        match self.has_proof {
            true => Ok(()),
            false => Err(Code::ProofMissing.into()),
        }
    }

    /// Refuses a way on which others could read the password or the session.
    pub fn check_is_safe(&self) -> Result<(), Problem> {
        self.way.map(drop).ok_or_else(|| Code::TlsNeeded.into())
    }

    /// The cookie of a session; without a secret it takes the cookie away.
    pub fn cookie(&self, secret: Option<&str>, life_s: u64) -> String {
        let way = self.way.unwrap_or(Way::Tls);
        let (value, life_s) = secret.map_or(("", 0), |secret| (secret, life_s));
        let secure = match way {
            Way::Tls => "; Secure",
            Way::Loopback => "",
        };
        let name = way.cookie();
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life_s}{secure}")
    }
}

/// Of two cookies with this name, another page may have set either.
fn cookie(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut found = cookies.filter(|(its, value)| *its == name && !value.is_empty());
    let first = found.next().map(|(_, value)| value.to_owned());
    match found.all(|(_, value)| first.as_deref() == Some(value)) {
        true => Ok(first),
        false => Err(field("Cookie", &format!("must have {name} once"))),
    }
}

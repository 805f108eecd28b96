//! Fetches a provider's keys. The address comes from outside, so everything has a bound, and only the public internet is asked.

use super::{KeyError, KeySet, MAX_DOCUMENT_BYTES, address::is_public};
use reqwest::{
    Client, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, LOCATION},
    redirect::Policy,
};
use std::{
    error::Error,
    fmt::Display,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Within this time the whole document is here, redirects included.
pub const TOTAL: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
const MAX_REDIRECTS: usize = 3;
const USER_AGENT: &str = concat!("flashsale/", env!("CARGO_PKG_VERSION"));

/// Where keys may be fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Over TLS, from the public internet.
    Public,
    /// From this machine too, without TLS: for development and tests.
    Loopback,
}

/// Fetches key sets. It is cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    reach: Reach,
}

impl Fetcher {
    /// Makes the client, with the machine's list of certificate authorities.
    pub fn new(reach: Reach) -> Result<Self, KeyError> {
        crate::tls::provide();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .redirect(Policy::none())
            // A proxy would resolve the name itself, and connect to what we did not check.
            .no_proxy()
            .dns_resolver(Checked(reach))
            .https_only(reach == Reach::Public)
            // The next fetch is minutes away.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| KeyError::NoTls(root_cause(&error)))?;
        Ok(Self { client, reach })
    }

    /// Fetches the JWKS document at an address.
    pub async fn fetch(&self, url: &str) -> Result<KeySet, KeyError> {
        KeySet::from_jwks(&self.document(url, MAX_REDIRECTS).await?)
    }

    /// Fetches a document that is at this very address.
    pub async fn exact(&self, url: &str) -> Result<Vec<u8>, KeyError> {
        self.document(url, 0).await
    }

    async fn document(&self, url: &str, redirects: usize) -> Result<Vec<u8>, KeyError> {
        let url = Url::parse(url).map_err(bad_url)?;
        tokio::time::timeout(TOTAL, self.follow(url, redirects))
            .await
            .unwrap_or(Err(KeyError::TooSlow(TOTAL.as_secs())))
    }

    /// Follows redirects itself, so that what is checked is what is asked: the client reads a redirect's address by other rules.
    async fn follow(&self, mut url: Url, redirects: usize) -> Result<Vec<u8>, KeyError> {
        for _ in 0..=redirects {
            check(&url, self.reach)?;
            let request = self.client.get(url.clone());
            let request = request.header(ACCEPT, "application/jwk-set+json, application/json");
            let response = request.send().await.map_err(told)?;
            match redirected(&url, &response)? {
                Some(target) => url = target,
                None => return body_of(response).await,
            }
        }
        Err(KeyError::Redirected(redirects))
    }
}

fn redirected(from: &Url, response: &Response) -> Result<Option<Url>, KeyError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let target = response
        .headers()
        .get(LOCATION)
        .and_then(|text| text.to_str().ok());
    target
        .map(|target| from.join(target).map_err(bad_url))
        .transpose()
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, KeyError> {
    if response.status() != StatusCode::OK {
        return Err(KeyError::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    // The announced length may be a lie.
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
            return Err(KeyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn bad_url(error: impl Display) -> KeyError {
    KeyError::BadUrl(error.to_string())
}

/// Checks an address before it is asked, and that of every redirect. What its name resolves to, [`Checked`] checks.
fn check(url: &Url, reach: Reach) -> Result<(), KeyError> {
    // Every address with one of our schemes has a host.
    let host = url.host_str().unwrap_or_default();
    if !url.username().is_empty() || url.password().is_some() {
        return Err(KeyError::BadUrl("it contains a name or a password".to_owned()));
    }
    if url.fragment().is_some() {
        return Err(KeyError::BadUrl("it has a part after \"#\"".to_owned()));
    }
    // The client connects to a literal address without asking the resolver.
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let is_local = host == "localhost" || literal.is_some_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if reach == Reach::Loopback && is_local => {}
        _ => return Err(KeyError::NotHttps),
    }
    match literal {
        Some(address) if !is_allowed(address, reach) => Err(KeyError::PrivateAddress(host.to_owned())),
        _ => Ok(()),
    }
}

fn is_allowed(address: IpAddr, reach: Reach) -> bool {
    is_public(address) || (reach == Reach::Loopback && address.is_loopback())
}

/// Resolves names, and refuses one with any address that is not public. The client connects to what was checked here, so a name
/// that changes its address in between gains nothing.
#[derive(Debug, Clone, Copy)]
struct Checked(Reach);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let name = name.as_str();
            // The client puts in the port.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            if found.iter().any(|address| !is_allowed(address.ip(), reach)) {
                return Err(KeyError::PrivateAddress(name.to_owned()).into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Our own error, which the client wraps, or else what went wrong at the bottom.
fn told(error: reqwest::Error) -> KeyError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if let Some(own) = this.downcast_ref::<KeyError>() {
            return own.clone();
        }
        cause = this.source();
    }
    if error.is_timeout() && error.is_connect() {
        return KeyError::Unreachable(format!("no connection within {} seconds", CONNECT.as_secs()));
    }
    KeyError::Unreachable(root_cause(&error))
}

fn root_cause(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

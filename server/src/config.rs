//! Every setting, as a flag and as an environment variable. Nothing else reads the environment.

use crate::origin::Origin;
use clap::{Args, ValueEnum};
use flashsale_engine::store::MigrateAtStart;
use flashsale_protocol::{SaleId, ShopperId, draw::Hash};
use std::{ffi::OsStr, net::SocketAddr, path::PathBuf};

/// The roles of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServerRole {
    /// Holds sockets and answers commands.
    Gateway,
    /// Ticks, admission, expiry, reconciliation.
    Worker,
}

/// `--migrate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Migrate {
    /// Yes, if it is older than this release.
    Auto,
    /// No, only `flashsale migrate` does: with an older schema the server does not start.
    Never,
}

impl From<Migrate> for MigrateAtStart {
    fn from(migrate: Migrate) -> Self {
        match migrate {
            Migrate::Auto => MigrateAtStart::Auto,
            Migrate::Never => MigrateAtStart::Never,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// How log lines look. What is logged follows RUST_LOG.
    #[arg(long, env = "FLASHSALE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged, in tracing's filter syntax.
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,fred=warn,sqlx=warn,tower_http=warn,rustls=error"
    )]
    pub log_filter: String,
}

/// Place of a development server's private services and secrets.
#[derive(Debug, Clone, Args)]
pub struct DataDir {
    /// Folder for the signing secret, for a private Postgres (without DATABASE_URL) and for a private Redis (without REDIS_URL).
    #[arg(long, env = "FLASHSALE_DATA_DIR", default_value = ".data")]
    pub data_dir: PathBuf,
}

/// How tokens are checked.
#[derive(Clone, Args)]
pub struct Identity {
    /// Secret of HS256 tokens, at least 32 characters. Without it one is made and kept in the data folder.
    #[arg(long, env = "FLASHSALE_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// Public keys of the identity provider of one merchant: a PEM file (RSA, EC or Ed25519) or a JWKS file, read again when it
    /// changes. May be given several times. Other merchants get their keys by the API.
    #[arg(long, env = "FLASHSALE_JWT_PUBLIC_KEY_FILE", value_delimiter = ',')]
    pub jwt_public_key_file: Vec<PathBuf>,
    /// The merchant (its id, or its name in addresses) whose customers these keys sign in. It is made if it is not there.
    #[arg(long, env = "FLASHSALE_JWT_MERCHANT")]
    pub jwt_merchant: Option<String>,
    /// The issuer (`iss`) of the tokens that these keys sign.
    #[arg(long, env = "FLASHSALE_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// The audience (`aud`) of the tokens that these keys sign.
    #[arg(long, env = "FLASHSALE_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// The claim of these tokens that names the customer. It must never be given to another person.
    #[arg(long, env = "FLASHSALE_JWT_SUBJECT_CLAIM", default_value = "sub")]
    pub jwt_subject_claim: String,
    /// The longest time to a token's end (`exp`), in days: one that is good for longer is refused.
    #[arg(long, env = "FLASHSALE_TOKEN_DAYS", default_value_t = TOKEN_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub token_days: u32,
    /// Where merchants' keys may be fetched from.
    #[arg(long, env = "FLASHSALE_JWKS_REACH", value_enum, default_value = "public")]
    pub jwks_reach: JwksReach,
    #[command(flatten)]
    pub secrets: Secrets,
}

/// `--jwks-reach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JwksReach {
    /// From the public internet, over TLS.
    Public,
    /// Also from this machine, without TLS: for development and tests.
    Loopback,
}

/// A bit more than a year, for tokens that are made once a year.
const TOKEN_DAYS: u32 = 400;

/// The platform's own secrets, one for each purpose: the present one and, after a comma, those of before, which are still good for
/// what they made. Without one, it comes from FLASHSALE_JWT_SECRET.
#[derive(Clone, Default, Args)]
pub struct Secrets {
    /// Signs the tokens of guests and operators.
    #[arg(long, env = "FLASHSALE_TOKENS_SECRET", hide_env_values = true)]
    pub tokens_secret: Option<String>,
    /// Signs the credentials of devices.
    #[arg(long, env = "FLASHSALE_DEVICES_SECRET", hide_env_values = true)]
    pub devices_secret: Option<String>,
    /// Makes the ids of orders and payments from their commands.
    #[arg(long, env = "FLASHSALE_ORDERS_SECRET", hide_env_values = true)]
    pub orders_secret: Option<String>,
    /// Signs proofs of a place in line.
    #[arg(long, env = "FLASHSALE_PROOFS_SECRET", hide_env_values = true)]
    pub proofs_secret: Option<String>,
    /// Makes the secrets that merchants sign their customers' tokens with.
    #[arg(long, env = "FLASHSALE_MERCHANT_KEYS_SECRET", hide_env_values = true)]
    pub merchant_keys_secret: Option<String>,
    /// Makes the codes that operators sign in with.
    #[arg(long, env = "FLASHSALE_OPERATOR_CODES_SECRET", hide_env_values = true)]
    pub operator_codes_secret: Option<String>,
}

impl Identity {
    /// The platform's own secret alone.
    pub fn of_secret(jwt_secret: Option<String>) -> Self {
        Self {
            jwt_secret,
            jwt_public_key_file: Vec::new(),
            jwt_merchant: None,
            jwt_issuer: None,
            jwt_audience: None,
            jwt_subject_claim: "sub".into(),
            token_days: TOKEN_DAYS,
            jwks_reach: JwksReach::Public,
            secrets: Secrets::default(),
        }
    }
}

/// `--payments`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PaymentsFrom {
    /// No provider: only what costs nothing can be bought.
    None,
    /// Test cards of the built-in sandbox: no money is taken.
    Sandbox,
    /// The shops' own checkouts: a shopper is handed over to one, and its backend confirms.
    Merchant,
}

/// How payments are made.
#[derive(Clone, Args)]
pub struct Payments {
    /// The payment provider, the same for all processes. Without one, a sale that costs something cannot be opened. With merchant the
    /// shops take the money at their own checkouts. The sandbox takes test cards and no money; --dev and --demo take it if nothing
    /// else is said.
    #[arg(long = "payments", env = "FLASHSALE_PAYMENTS", value_enum)]
    pub from: Option<PaymentsFrom>,
    /// Secret of the payment provider's webhooks, at least 32 characters. Without it one is made and kept in the data folder.
    #[arg(long, env = "FLASHSALE_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// How long the payment provider may take to answer, in ms; after that the outcome is unknown and asked for again.
    #[arg(long, env = "FLASHSALE_PAYMENT_TIMEOUT_MS", default_value_t = 1_500)]
    pub payment_timeout_ms: u64,
    /// How slow the sandbox's slow test cards are, in ms.
    #[arg(long, env = "FLASHSALE_SANDBOX_SLOW_MS", default_value_t = 8_000)]
    pub sandbox_slow_ms: u64,
    /// A separate Postgres for the sandbox's books, as with a real provider. Without it they are in DATABASE_URL's, or in a database
    /// of their own if the server brings its Postgres.
    #[arg(long, env = "FLASHSALE_SANDBOX_DATABASE_URL", hide_env_values = true)]
    pub sandbox_database_url: Option<String>,
}

/// TLS at the public address. Without it a proxy in front brings TLS.
#[derive(Debug, Clone, Default, Args)]
pub struct Tls {
    /// The certificate, and those between it and its authority (PEM). With it the public address speaks https and wss only. It is
    /// read again when it or its key changes.
    #[arg(long = "tls-cert", env = "FLASHSALE_TLS_CERT", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The certificate's private key (PEM, not encrypted).
    #[arg(long = "tls-key", env = "FLASHSALE_TLS_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
}

#[derive(Clone, Args)]
pub struct Serve {
    /// Address to listen on. Port 0 takes a free one; the ready line says which.
    #[arg(long, env = "FLASHSALE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address for operators and load balancers: /healthz, /readyz, /metrics. The public one does not have them. Port 0 takes a
    /// free one; the log says which.
    #[arg(long, env = "FLASHSALE_OPERATIONS_LISTEN", default_value = "127.0.0.1:0")]
    pub operations_listen: SocketAddr,
    /// Listen together with other processes on the same address (SO_REUSEPORT): new connections are spread over them.
    #[arg(long, env = "FLASHSALE_SHARE_PORT")]
    pub share_port: bool,
    #[command(flatten)]
    pub tls: Tls,
    /// Threads for stores and workers, and as many again for handshakes and REST; 0: one for each core.
    #[arg(long, env = "FLASHSALE_THREADS", default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub data: DataDir,
    /// The roles of this process.
    #[arg(
        long,
        env = "FLASHSALE_ROLES",
        value_enum,
        value_delimiter = ',',
        default_value = "gateway,worker"
    )]
    pub roles: Vec<ServerRole>,
    /// Folder with the built pages.
    #[arg(long, env = "FLASHSALE_WEB_DIR", default_value = "web/dist")]
    pub web_dir: PathBuf,
    /// An origin for the admin page alone, such as https://admin.sale.example: it and what it asks are there only, and the shop's pages
    /// are not. Without it they share one.
    #[arg(long, env = "FLASHSALE_ADMIN_ORIGIN")]
    pub admin_origin: Option<Origin>,
    /// Postgres to use instead of a private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Redis to use instead of a private one: redis://, redis-cluster://, redis-sentinel:// or redis+unix://.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// Prefix of every Redis key, so that several platforms can share one Redis.
    #[arg(long, env = "FLASHSALE_REDIS_PREFIX", default_value = "")]
    pub redis_prefix: String,
    /// Most Postgres connections of this process. Three eighths are for orders, payments and stock; a quarter for what shoppers look at; an
    /// eighth each for the line's history and draws, for what anybody may ask and for operators. With fewer than 4, all share them.
    #[arg(long, env = "FLASHSALE_DATABASE_CONNECTIONS", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub database_connections: u32,
    /// Bring the schema up to date at the start, or leave that to `flashsale migrate`.
    #[arg(long, env = "FLASHSALE_MIGRATE", value_enum, default_value = "auto")]
    pub migrate: Migrate,
    #[command(flatten)]
    pub identity: Identity,
    #[command(flatten)]
    pub payments: Payments,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub logging: Logging,
    /// Development: operators sign in over http, and the storefront page is on a second address. Loopback addresses only.
    #[arg(long, env = "FLASHSALE_DEV")]
    pub dev: bool,
    /// Create the demo sales and print their links.
    #[arg(long, env = "FLASHSALE_DEMO")]
    pub demo: bool,
    /// For the fault harness: how wrong this host's clock pretends to be, in ms.
    #[arg(long, hide = true, default_value_t = 0, allow_hyphen_values = true)]
    pub clock_offset_ms: i64,
    /// Folder with the built page of the development storefront.
    #[arg(long, env = "FLASHSALE_STOREFRONT_DIR", default_value = "web/dist-storefront")]
    pub storefront_dir: PathBuf,
    /// Where the development storefront listens (another origin than the shop).
    #[arg(long, env = "FLASHSALE_STOREFRONT_LISTEN", default_value = "127.0.0.1:8081")]
    pub storefront_listen: SocketAddr,
}

/// `flashsale migrate`
#[derive(Clone, Args)]
pub struct MigrateSchema {
    #[command(flatten)]
    pub data: DataDir,
    /// Postgres to bring up to date instead of the private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A Postgres role that servers connect as: it gets the rights that they need, and no more.
    #[arg(long)]
    pub grant_to: Option<String>,
}

/// `flashsale operator create`
#[derive(Clone, Args)]
pub struct CreateOperator {
    /// Their e-mail address. Again for the same one: a new link, to set another password.
    #[arg(long)]
    pub email: String,
    /// An admin of the platform: everything, at every merchant.
    #[arg(long, conflicts_with_all = ["merchant", "role"], required_unless_present = "merchant")]
    pub admin: bool,
    /// The merchant that they work for: its id, or its name in addresses.
    #[arg(long, requires = "role")]
    pub merchant: Option<String>,
    /// What they may do there.
    #[arg(long, value_enum)]
    pub role: Option<MerchantRole>,
    /// Where the admin page is, such as https://sale.example; printed in front of the link.
    #[arg(long, env = "FLASHSALE_ADMIN_ORIGIN")]
    pub origin: Option<Origin>,
    #[command(flatten)]
    pub at: OperatorsAt,
}

/// `flashsale operator remove`
#[derive(Clone, Args)]
pub struct RemoveOperator {
    /// Their e-mail address.
    #[arg(long)]
    pub email: String,
    #[command(flatten)]
    pub at: OperatorsAt,
}

/// Where operators are kept.
#[derive(Clone, Args)]
pub struct OperatorsAt {
    #[command(flatten)]
    pub data: DataDir,
    /// Postgres to use instead of the private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

/// `--role` of an operator at a merchant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MerchantRole {
    /// Everything.
    Owner,
    /// Everything but keys and operators.
    Staff,
    /// Looks, and changes nothing.
    Viewer,
}

/// `flashsale audit verify`
#[derive(Clone, Args)]
pub struct VerifyAudit {
    /// Only this sale; without it, all.
    #[arg(long)]
    pub sale: Option<SaleId>,
    #[command(flatten)]
    pub data: DataDir,
    /// Postgres to look at instead of the private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

/// `flashsale verify`
#[derive(Clone, Args)]
pub struct VerifyDraw {
    /// A draw's file, or one shopper's proof.
    pub file: PathBuf,
    /// The commitment as you saw it before the entries closed: the file must have the same.
    #[arg(long)]
    pub commitment: Option<Hash>,
    /// The root of the entries as you saw it before the seed was revealed.
    #[arg(long)]
    pub root: Option<Hash>,
    /// The shopper whose entry a proof must be about.
    #[arg(long)]
    pub shopper: Option<ShopperId>,
    /// Prints the winners, best first: entry, units, key.
    #[arg(long)]
    pub winners: bool,
}

/// The command without the environment's names whose values are empty.
pub fn without_empty_settings(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env().is_some_and(is_empty) {
            true => arg.env(None::<&'static str>),
            false => arg,
        })
        .mut_subcommands(without_empty_settings)
}

impl Serve {
    pub fn is(&self, role: ServerRole) -> bool {
        self.roles.contains(&role)
    }

    pub fn payments_from(&self) -> PaymentsFrom {
        let by_default = match self.dev || self.demo {
            true => PaymentsFrom::Sandbox,
            false => PaymentsFrom::None,
        };
        self.payments.from.unwrap_or(by_default)
    }
}

/// `--forwarded-header`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ForwardedHeader {
    /// What nearly all proxies write.
    XForwardedFor,
    /// The standard one (RFC 7239).
    Forwarded,
}

/// The limits of a gateway. Each has a default for one machine, and a code or close code that reports it.
#[derive(Debug, Clone, Args)]
pub struct Limits {
    /// Commands a second of one socket (or, over REST, of one shopper), on average.
    #[arg(long, env = "FLASHSALE_COMMANDS_PER_S", default_value_t = 20)]
    pub commands_per_s: u32,
    /// Commands that may come at once, above the average.
    #[arg(long, env = "FLASHSALE_COMMAND_BURST", default_value_t = 40)]
    pub command_burst: u32,
    /// Requests a second of one API key, on average: a shop's backend asks for many shoppers.
    #[arg(long, env = "FLASHSALE_KEY_REQUESTS_PER_S", default_value_t = 300)]
    pub key_requests_per_s: u32,
    /// Requests of one API key that may come at once, above the average.
    #[arg(long, env = "FLASHSALE_KEY_BURST", default_value_t = 3_000)]
    pub key_burst: u32,
    /// Refusals of malformed or too fast commands after which a socket is closed.
    #[arg(long, env = "FLASHSALE_MAX_OFFENCES", default_value_t = 100)]
    pub max_offences: u32,
    /// Sockets of one shopper; one more closes the oldest.
    #[arg(long, env = "FLASHSALE_SOCKETS_PER_SHOPPER", default_value_t = 8)]
    pub sockets_per_shopper: usize,
    /// Sockets from one address: many people may share one. The networks around it may have 4 or 16 times as many, as with the
    /// other limits of an address.
    #[arg(long, env = "FLASHSALE_SOCKETS_PER_ADDRESS", default_value_t = 4_096)]
    pub sockets_per_address: usize,
    /// Guest sessions a minute from one address, on average.
    #[arg(long, env = "FLASHSALE_GUESTS_PER_MINUTE", default_value_t = 300)]
    pub guests_per_minute: u32,
    /// Guest sessions that may be made at once from one address.
    #[arg(long, env = "FLASHSALE_GUEST_BURST", default_value_t = 1_000)]
    pub guest_burst: u32,
    /// Joins a minute from one address, on average.
    #[arg(long, env = "FLASHSALE_JOINS_PER_MINUTE", default_value_t = 300)]
    pub joins_per_minute: u32,
    /// Joins that may come at once from one address, above the average.
    #[arg(long, env = "FLASHSALE_JOIN_BURST", default_value_t = 2_500)]
    pub join_burst: u32,
    /// REST requests a second from one address, on average, by cost: 1 for most, more for what is expensive.
    #[arg(long, env = "FLASHSALE_REQUESTS_PER_S", default_value_t = 300)]
    pub requests_per_s: u32,
    /// Requests that may come at once from one address, above the average, by cost.
    #[arg(long, env = "FLASHSALE_REQUEST_BURST", default_value_t = 6_000)]
    pub request_burst: u32,
    /// New sockets a second from one address, on average.
    #[arg(long, env = "FLASHSALE_ADDRESS_HANDSHAKES_PER_S", default_value_t = 200)]
    pub address_handshakes_per_s: u32,
    /// New sockets that may come at once from one address, above the average.
    #[arg(long, env = "FLASHSALE_ADDRESS_HANDSHAKE_BURST", default_value_t = 2_500)]
    pub address_handshake_burst: u32,
    /// Sales that one socket can watch.
    #[arg(long, env = "FLASHSALE_SALES_PER_SOCKET", default_value_t = 8)]
    pub sales_per_socket: usize,
    /// How long somebody in line may go without asking over REST, in ms, until they count as absent. People with a socket are
    /// absent when it closes.
    #[arg(long, env = "FLASHSALE_POLL_LEASE_MS", default_value_t = 60_000)]
    pub poll_lease_ms: u64,
    /// How much later a refusal for asking too often leaves, in ms: whoever asks again at once takes that much less of the server.
    #[arg(long, env = "FLASHSALE_REFUSAL_PAUSE_MS", default_value_t = 250)]
    pub refusal_pause_ms: u64,
    /// How long a connection may take for a request's head, or stay without a request, in ms.
    #[arg(long, env = "FLASHSALE_HEAD_TIMEOUT_MS", default_value_t = 15_000)]
    pub head_timeout_ms: u64,
    /// How long a connection may take for its TLS handshake, in ms.
    #[arg(long, env = "FLASHSALE_TLS_HANDSHAKE_TIMEOUT_MS", default_value_t = 10_000)]
    pub tls_handshake_timeout_ms: u64,
    /// How long a new socket may take to say hello, in ms.
    #[arg(long, env = "FLASHSALE_HELLO_TIMEOUT_MS", default_value_t = 10_000)]
    pub hello_timeout_ms: u64,
    /// A socket from which nothing came for this long is closed, in ms.
    #[arg(long, env = "FLASHSALE_IDLE_TIMEOUT_MS", default_value_t = 60_000)]
    pub idle_timeout_ms: u64,
    /// A write that takes longer than this closes the socket, in ms.
    #[arg(long, env = "FLASHSALE_WRITE_TIMEOUT_MS", default_value_t = 10_000)]
    pub write_timeout_ms: u64,
    /// A message that stays unfinished for this long closes the socket, in ms.
    #[arg(long, env = "FLASHSALE_MESSAGE_TIMEOUT_MS", default_value_t = 10_000)]
    pub message_timeout_ms: u64,
    /// New sockets a second in this process, on average; more are asked to come back later.
    #[arg(long, env = "FLASHSALE_HANDSHAKES_PER_S", default_value_t = 5_000)]
    pub handshakes_per_s: u32,
    /// Threads that own sockets; 0: one for each core.
    #[arg(long, env = "FLASHSALE_SHARDS", default_value_t = 0)]
    pub shards: usize,
    /// Largest share of a shard's time (percent) spent sending ticks; beyond it ticks are sent less often. Use less if several
    /// processes share a core.
    #[arg(long, env = "FLASHSALE_TICK_PERCENT", default_value_t = 80,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub tick_percent: u32,
    /// The same while shoppers' commands are being carried out: their answers come first. What changes what shoppers may do (a start,
    /// the last unit sold) waits for nothing.
    #[arg(long, env = "FLASHSALE_TICK_PERCENT_BUSY", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub tick_percent_busy: u32,
    /// Proxies in front of the server that may be trusted to append the address they saw; 0: believe the socket only.
    #[arg(long, env = "FLASHSALE_TRUSTED_PROXY_HOPS", default_value_t = 0)]
    pub trusted_proxy_hops: usize,
    /// The header to which they append it. The other one is not read: a proxy passes it on as a client wrote it.
    #[arg(
        long,
        env = "FLASHSALE_FORWARDED_HEADER",
        value_enum,
        default_value = "x-forwarded-for"
    )]
    pub forwarded_header: ForwardedHeader,
    /// When stopping: clients are told to move within this many ms.
    #[arg(long, env = "FLASHSALE_DRAIN_WINDOW_MS", default_value_t = 1_000)]
    pub drain_window_ms: u64,
}

impl Limits {
    pub(crate) fn shards_or_cores(&self) -> usize {
        or_cores(self.shards)
    }
}

/// This number, or one for each core if it is 0.
pub fn or_cores(count: usize) -> usize {
    match count {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn test_money_is_said_or_comes_with_development_and_the_demo() {
        let from = |flags: &[&str]| {
            let flags = ["serve"].iter().chain(flags);
            Cli::parse_from(flags).serve.payments_from()
        };
        assert_eq!(from(&[]), PaymentsFrom::None);
        assert_eq!(from(&["--payments", "sandbox"]), PaymentsFrom::Sandbox);
        assert_eq!(from(&["--dev"]), PaymentsFrom::Sandbox);
        assert_eq!(from(&["--demo"]), PaymentsFrom::Sandbox);
        assert_eq!(
            from(&["--dev", "--demo", "--payments", "none"]),
            PaymentsFrom::None
        );
    }

    #[test]
    fn a_certificate_has_a_key() {
        let parse = |flags: &[&str]| Cli::try_parse_from(["serve"].iter().chain(flags));
        assert!(parse(&["--tls-cert", "a", "--tls-key", "b"]).is_ok());
        for half in ["--tls-cert", "--tls-key"] {
            let error = parse(&[half, "a"]).err().expect("half of it").to_string();
            assert!(error.contains("--tls-"), "{error}");
        }
    }
}

//! A server: its start and its stop.

use crate::{
    app::App,
    auth::{self, Authority, Signer, keys::Reach},
    config::{JwksReach, PaymentsFrom, Serve, ServerRole, or_cores},
    demo, embedded, gateway,
    gateway::{
        hub::{self, Hub},
        shard::{Backend, Shards},
        stores::Looked,
        subscriptions::Subscriptions,
        throttle::{SWEEP, Throttle},
        tls::certificate::Certificate,
    },
    markdown::Described,
    pictures::Pictures,
    rest::polling::Polling,
    telemetry,
};
use anyhow::Context;
use dashmap::DashMap;
use flashsale_engine::{
    clock,
    here::Here,
    payment::{
        PaymentProvider, Provider,
        sandbox::{self, books::Books},
    },
    settle::capture,
    shop::Shop,
    stock::Stock,
    store::Store,
    worker,
};
use futures_util::future::BoxFuture;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A started server.
pub struct Server {
    pub address: SocketAddr,
    /// Where people ask: `http://` or `https://`, and the address.
    pub origin: String,
    /// Where operators and load balancers ask.
    pub operations: SocketAddr,
    pub storefront: Option<SocketAddr>,
    pub app: Arc<App>,
    services: Option<embedded::Services>,
    tasks: Vec<JoinHandle<()>>,
    _threads: gateway::Threads,
    stopping: CancellationToken,
}

impl Server {
    /// Connects to (or starts) the services, brings the schema up to date, and listens. Boxed, as [`Self::stop`]: so the whole
    /// server is compiled here, and not once more in each program that starts one.
    pub fn start(config: Serve) -> BoxFuture<'static, anyhow::Result<Self>> {
        Box::pin(Self::begin(config))
    }

    async fn begin(config: Serve) -> anyhow::Result<Self> {
        telemetry::start_metrics();
        clock::step(config.clock_offset_ms);
        if config.dev && !config.listen.ip().is_loopback() {
            anyhow::bail!("--dev lets operators sign in without TLS: it listens on a loopback address only");
        }
        if !config.web_dir.join("index.html").is_file() {
            tracing::warn!(
                web_dir = %config.web_dir.display(),
                "there are no pages here: `scripts/build-web` builds them, and --web-dir says where they are"
            );
        }
        // These come before the slow parts, so that a bad certificate or a taken port is reported first.
        let certificate = Certificate::open(&config.tls).context("cannot use TLS")?;
        let listener = gateway::bind(config.listen, config.share_port).with_context(|| {
            format!(
                "cannot listen on {}: is another server running there?",
                config.listen
            )
        })?;
        let operations_listener = gateway::bind(config.operations_listen, config.share_port)
            .with_context(|| format!("cannot listen on {} for operators", config.operations_listen))?;
        let signer = Signer::open(&config.identity, &config.data.data_dir)?;
        let webhook_secret =
            auth::webhook_secret(config.payments.webhook_secret.as_deref(), &config.data.data_dir)?;
        let private = embedded::Private {
            postgres: config.database_url.is_none(),
            redis: config.redis_url.is_none(),
        };
        let services = match private.postgres || private.redis {
            true => Some(embedded::Services::start_only(&config.data.data_dir, private).await?),
            false => None,
        };
        let url = |given: &Option<String>, private: fn(&embedded::Services) -> &String| {
            given
                .clone()
                .or_else(|| services.as_ref().map(|s| private(s).clone()))
                .unwrap_or_default()
        };
        let database_url = url(&config.database_url, |s| &s.database_url);
        let redis_url = url(&config.redis_url, |s| &s.redis_url);

        let store = Store::open(&database_url, config.database_connections, config.migrate.into())
            .await
            .context("cannot use Postgres")?;
        let stock = Stock::connect(&redis_url, &config.redis_prefix)
            .await
            .context("cannot use Redis")?
            .with_chains(store.chains.clone());
        let provider = match config.payments_from() {
            PaymentsFrom::None => {
                tracing::info!(
                    "no payment provider is set (--payments): only what costs nothing can be sold"
                );
                Provider::None
            }
            PaymentsFrom::Merchant => Provider::Merchant,
            PaymentsFrom::Sandbox => {
                tracing::warn!(
                    "payments are in test mode: orders are paid with test cards, and no money is taken"
                );
                let private = services.as_ref().filter(|_| private.postgres);
                let books = sandbox_books(&config, &store, private).await?;
                Provider::Sandbox(sandbox::Sandbox::new(books, config.payments.sandbox_slow_ms))
            }
        };
        let timeout = Duration::from_millis(config.payments.payment_timeout_ms);
        let payments = PaymentProvider::new(provider, timeout, webhook_secret);
        let shards = Arc::new(Shards::open(config.limits.shards_or_cores())?);
        let here = Here::new(shards.clone());
        let keys = stock.keys().clone();
        let hub = Arc::new(Hub::connect(&redis_url, keys, here.id, shards.clone()).await?);
        let shop = Arc::new(Shop::open(store, stock, here, payments, signer.seal()).await?);
        let reach = match config.identity.jwks_reach {
            JwksReach::Public => Reach::Public,
            JwksReach::Loopback => Reach::Loopback,
        };
        let (store, merchants) = (shop.store.clone(), shop.merchants.clone());
        let authority = Arc::new(Authority::open(&config.identity, signer, store, merchants, reach).await?);
        let (subscriptions, wanted) = Subscriptions::open();
        let throttle = Arc::new(Throttle::new(&config.limits));
        let polling = Arc::new(Polling::new(Duration::from_millis(config.limits.poll_lease_ms)));
        let app = Arc::new(App {
            shop: shop.clone(),
            hub: hub.clone(),
            shards: shards.clone(),
            throttle: throttle.clone(),
            authority: authority.clone(),
            limits: config.limits.clone(),
            polling: polling.clone(),
            pictures: Pictures::default(),
            described: Described::default(),
            exports: DashMap::new(),
            looked: Looked::default(),
            admin_origin: config.admin_origin.clone(),
            dev: config.dev,
            draining: CancellationToken::new(),
        });
        let backend = Backend {
            shop: shop.clone(),
            subscriptions,
            authority,
            throttle: throttle.clone(),
            limits: config.limits.clone(),
            commands: Arc::default(),
        };
        shards
            .start(backend)
            .context("cannot start the threads of the sockets")?;
        let stopping = CancellationToken::new();
        let mut tasks = vec![tokio::spawn(hub::run(
            hub,
            shop.clone(),
            wanted,
            stopping.clone(),
        ))];
        tasks.push(tokio::spawn(throttle.keep_small(SWEEP, stopping.clone())));
        tasks.push(tokio::spawn(app.clone().share_limits(stopping.clone())));
        tasks.push(tokio::spawn(polling.watch(shop.clone(), stopping.clone())));
        tasks.push(tokio::spawn(shop.merchants.clone().follow(stopping.clone())));
        let address = listener.local_addr()?;
        let scheme = match &certificate {
            Some(certificate) => {
                tasks.push(tokio::spawn(certificate.clone().follow(stopping.clone())));
                "https"
            }
            None => "http",
        };
        let origin = format!("{scheme}://{address}");
        let operations = operations_listener.local_addr()?;
        tracing::info!(address = %operations, "operations");
        let gateway = config.is(ServerRole::Gateway);
        let threads = gateway::Threads::start(or_cores(config.threads))
            .context("cannot start the gateway's threads")?;
        tasks.extend(threads.spawn(gateway::serve(
            app.clone(),
            listener,
            certificate,
            config.web_dir.clone(),
            gateway,
        )));
        tasks.extend(threads.spawn(gateway::serve_operations(
            app.clone(),
            operations_listener,
            stopping.clone(),
        )));
        let mut storefront = None;
        if config.dev && gateway {
            let listener = TcpListener::bind(config.storefront_listen)
                .await
                .with_context(|| {
                    format!(
                        "cannot listen on {} for the storefront page",
                        config.storefront_listen
                    )
                })?;
            storefront = Some(listener.local_addr()?);
            tasks.extend(threads.spawn(gateway::serve_storefront(
                app.clone(),
                origin.clone(),
                listener.into_std()?,
                config.storefront_dir.clone(),
            )));
        }
        if config.is(ServerRole::Worker) {
            tasks.extend(worker::spawn(&shop, &stopping));
        }
        tasks.push(tokio::spawn(gateway::presence::run(
            shop.clone(),
            gateway,
            stopping.clone(),
        )));
        if gateway {
            tasks.push(tokio::spawn(capture::run(shop.clone(), stopping.clone())));
            let (shop, stopping) = (shop.clone(), stopping.clone());
            tasks.push(tokio::spawn(async move {
                shop.payments.deliver_webhooks(scheme, address, stopping).await;
            }));
        }
        if config.demo {
            let crowd = demo::create(&app).await?;
            tasks.push(tokio::spawn(crowd.stay(app.clone(), stopping.clone())));
        }
        Ok(Self {
            address,
            origin,
            operations,
            storefront,
            app,
            services,
            tasks,
            _threads: threads,
            stopping,
        })
    }

    /// Stops in order: sockets move away and commands in flight are answered, workers step down, services end.
    pub fn stop(self) -> BoxFuture<'static, ()> {
        Box::pin(self.end())
    }

    async fn end(self) {
        self.app.draining.cancel();
        gateway::drain(&self.app).await;
        self.stopping.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.app.shards.stop();
        self.app.hub.quit().await;
        self.app.shop.stock.quit().await;
        self.app.shop.store.close().await;
        if let Some(services) = self.services {
            services.stop().await;
        }
    }
}

/// The sandbox's books: in the given Postgres, or in a database of their own in a private one. Books that an earlier release began
/// in the platform's own database stay there, so that what they know is found.
async fn sandbox_books(
    config: &Serve,
    store: &Store,
    private: Option<&embedded::Services>,
) -> anyhow::Result<Books> {
    let url = match (&config.payments.sandbox_database_url, private) {
        (Some(url), _) => url.clone(),
        (None, Some(services)) if store.sandbox_books().are_empty().await? => {
            services.database(embedded::SANDBOX_DATABASE).await?
        }
        _ => return Ok(store.sandbox_books()),
    };
    let store = Store::open(&url, config.database_connections, config.migrate.into()).await;
    Ok(store
        .context("cannot use the sandbox's Postgres")?
        .sandbox_books())
}

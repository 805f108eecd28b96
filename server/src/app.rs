//! The running server: what every part shares, and how it starts and stops.

use crate::{
    auth::{self, Authority},
    clock,
    config::{Limits, Serve, ServerRole, or_cores},
    demo, embedded,
    error::Result,
    gateway,
    gateway::hub::Hub,
    live::Live,
    payment::{PaymentProvider, Provider, sandbox},
    sale::Sale,
    showcase::Showcase,
    stock::Stock,
    store::Store,
    telemetry, worker,
};
use anyhow::Context;
use flashsale_protocol::{Code, Reject, SaleId};
use moka::future::Cache;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Sales that a process keeps in memory, and for how long. Changes are also announced over pub/sub.
const SALES_KEPT: u64 = 10_000;
const SALE_LIFE: Duration = Duration::from_secs(2);

/// What all parts of a process share.
pub struct App {
    pub store: Store,
    pub stock: Stock,
    pub live: Live,
    pub hub: Hub,
    pub showcase: Showcase,
    pub authority: Authority,
    pub payments: PaymentProvider,
    pub limits: Limits,
    pub dev: bool,
    /// Cancelled when the server begins to stop: no new connections, sockets are told to move.
    pub draining: CancellationToken,
    /// A sale was made in this process: its worker need not wait for its next look to lead it.
    pub sale_made: Notify,
    sales: Cache<SaleId, Option<Arc<Sale>>>,
}

impl App {
    /// A sale from memory, or else from Postgres; many askers at once cause one query.
    pub async fn find_sale(&self, id: SaleId) -> Result<Option<Arc<Sale>>> {
        self.sales
            .try_get_with(id, async { Ok(self.store.sale(id).await?.map(Arc::new)) })
            .await
            .map_err(|error: Arc<crate::error::Error>| (*error).clone())
    }

    /// The sale, or the refusal that it is not there.
    pub async fn sale(&self, id: SaleId) -> Result<Arc<Sale>, Reject> {
        self.find_sale(id).await?.ok_or_else(|| Code::SaleUnknown.into())
    }

    /// Forgets what is kept for sales that are over.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.stock.retain(&keep);
        self.store.retain(&keep);
        self.live.retain(&keep);
    }

    /// The sale has changed in Postgres.
    pub async fn forget_sale(&self, id: SaleId) {
        self.sales.invalidate(&id).await;
        self.showcase.forget(id).await;
    }

    /// This process has changed the sale in Postgres: all processes look anew.
    pub async fn sale_changed(&self, id: SaleId) -> Result<()> {
        self.stock.forget_looks(id).await?;
        self.forget_sale(id).await;
        self.live.changed(id).await
    }
}

/// A started server.
pub struct Server {
    pub address: SocketAddr,
    pub storefront: Option<SocketAddr>,
    pub app: Arc<App>,
    services: Option<embedded::Services>,
    tasks: Vec<JoinHandle<()>>,
    _threads: gateway::Threads,
    stopping: CancellationToken,
}

impl Server {
    /// Connects to (or starts) the services, brings the schema up to date, and listens.
    pub async fn start(config: Serve) -> anyhow::Result<Self> {
        telemetry::start_metrics();
        clock::step(config.clock_offset_ms);
        if config.dev && !config.listen.ip().is_loopback() {
            anyhow::bail!("--dev lets anybody sign in as an admin: it listens on a loopback address only");
        }
        // Before the slow parts, so that a taken port is the first thing that one hears of.
        let listener = gateway::bind(config.listen, config.share_port).with_context(|| {
            format!(
                "cannot listen on {}: is another server running there?",
                config.listen
            )
        })?;
        let authority = Authority::open(&config.identity, &config.data.data_dir)?;
        let webhook_secret =
            auth::webhook_secret(config.payments.webhook_secret.as_deref(), &config.data.data_dir)?;
        let services = match (&config.database_url, &config.redis_url) {
            (Some(_), Some(_)) => None,
            _ => Some(embedded::Services::start(&config.data.data_dir).await?),
        };
        let url = |given: &Option<String>, private: fn(&embedded::Services) -> &String| {
            given
                .clone()
                .or_else(|| services.as_ref().map(|s| private(s).clone()))
                .unwrap_or_default()
        };
        let database_url = url(&config.database_url, |s| &s.database_url);
        let redis_url = url(&config.redis_url, |s| &s.redis_url);

        let store = Store::connect(&database_url, config.database_connections)
            .await
            .context("cannot use Postgres")?;
        let stock = Stock::connect(&redis_url, &config.redis_prefix)
            .await
            .context("cannot use Redis")?;
        let hub = Hub::connect(&redis_url, stock.keys().clone(), &config.limits).await?;
        let sandbox = sandbox::Sandbox::new(store.sandbox_books(), config.payments.sandbox_slow_ms);
        let app = Arc::new(App {
            payments: PaymentProvider::new(Provider::Sandbox(sandbox), &config.payments, webhook_secret),
            live: Live::new(stock.client().clone(), stock.keys().clone()),
            store,
            stock,
            hub,
            showcase: Showcase::default(),
            authority,
            limits: config.limits.clone(),
            dev: config.dev,
            draining: CancellationToken::new(),
            sale_made: Notify::new(),
            sales: Cache::builder()
                .max_capacity(SALES_KEPT)
                .time_to_live(SALE_LIFE)
                .build(),
        });

        app.hub
            .shards
            .start(&app)
            .context("cannot start the threads of the sockets")?;
        let stopping = CancellationToken::new();
        let mut tasks = vec![tokio::spawn(gateway::hub::run(app.clone(), stopping.clone()))];
        let address = listener.local_addr()?;
        let gateway = config.is(ServerRole::Gateway);
        let threads = gateway::Threads::start(or_cores(config.threads))
            .context("cannot start the gateway's threads")?;
        tasks.extend(threads.spawn(gateway::serve(
            app.clone(),
            listener,
            config.web_dir.clone(),
            gateway,
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
                address,
                listener.into_std()?,
                config.web_dir.clone(),
            )));
        }
        if config.is(ServerRole::Worker) {
            tasks.push(tokio::spawn(worker::run(app.clone(), stopping.clone())));
            tasks.push(tokio::spawn(worker::pay::run(app.clone(), stopping.clone())));
        }
        if gateway {
            tasks.push(tokio::spawn(gateway::presence::run(
                app.clone(),
                stopping.clone(),
            )));
            tasks.push(tokio::spawn(sandbox::deliver(
                app.clone(),
                address,
                stopping.clone(),
            )));
        }
        if config.demo {
            demo::create(&app).await?;
        }
        Ok(Self {
            address,
            storefront,
            app,
            services,
            tasks,
            _threads: threads,
            stopping,
        })
    }

    /// Stops in order: sockets move away and commands in flight are answered, workers step down, services end.
    pub async fn stop(self) {
        self.app.draining.cancel();
        gateway::drain(&self.app).await;
        self.stopping.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.app.hub.shards.stop();
        self.app.hub.quit().await;
        self.app.stock.quit().await;
        self.app.store.close().await;
        if let Some(services) = self.services {
            services.stop().await;
        }
    }
}

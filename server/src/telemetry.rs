//! Logs and metrics, set up once.

use crate::config::{LogFormat, Logging};
use flashsale_engine::telemetry::name;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{io::IsTerminal, sync::OnceLock};
use tracing_subscriber::EnvFilter;

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts logging to stderr. A second call (tests in one process) changes nothing.
pub fn start_logging(logging: &Logging) {
    let filter = EnvFilter::try_new(&logging.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let _ = match logging.log_format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
}

/// The process's metrics, in Prometheus' text format.
pub(crate) fn metrics_text() -> String {
    start_metrics()
        .as_ref()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Installs the recorder once; later calls return the same.
pub(crate) fn start_metrics() -> &'static Option<PrometheusHandle> {
    const COMMAND_BUCKETS: &[f64] = &[
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    ];
    const TICK_BUCKETS: &[f64] = &[
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0,
    ];
    const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
    METRICS.get_or_init(|| {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(name::COMMAND_SECONDS.into()), COMMAND_BUCKETS)
            .and_then(|b| b.set_buckets_for_metric(Matcher::Prefix(name::OF_TICKS.into()), TICK_BUCKETS))
            .and_then(|b| b.set_buckets_for_metric(Matcher::Full(name::BATCH_ITEMS.into()), BATCH_BUCKETS))
            .ok()
            .and_then(|builder| builder.install_recorder().ok())
    })
}

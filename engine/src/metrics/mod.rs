//! All counters of a migration for Prometheus, over HTTP.
//!
//! ```no_run
//! use pageferry_engine::metrics::Metrics;
//! use pageferry_engine::migration::Migration;
//!
//! fn show(migration: &Migration) -> Result<(), Box<dyn std::error::Error>> {
//!     let server = Metrics::serve("127.0.0.1:9464".parse()?, migration.watch())?;
//!     println!("http://{}/metrics", server.address());
//!     // ... until the server is dropped.
//!     Ok(())
//! }
//! ```
//!
//! The answer is OpenMetrics text, made by `prometheus-client`: every metric begins with `pageferry_`, says its unit in its
//! name, and has a label `end` that is `source` or `destination`. Whoever reaches the address may read it, and learns how much
//! the guest writes: let it be the loopback interface, or a network of the operator's own.

mod exposition;
mod families;
mod http;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use server::{MetricsError, MetricsServer};

use crate::migration::Snapshot;
use exposition::Exposition;

/// What there is to tell of a migration at any time.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// Tells what `snapshot` says whenever it is asked, as [`Migration::watch`](crate::migration::Migration::watch) does.
    #[must_use]
    pub fn new(snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        let mut registry = Registry::with_prefix("pageferry");
        registry.register_collector(Box::new(Watch(snapshot)));
        Self(registry)
    }

    /// The metrics as OpenMetrics text, for a VMM that has an HTTP server of its own. Its type is [`Metrics::CONTENT_TYPE`].
    ///
    /// # Errors
    /// Never in practice: only if a number cannot be written as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }

    /// Answers `GET /metrics` at `address`, one request at a time, on a thread of its own, until the server is dropped.
    ///
    /// # Errors
    /// [`MetricsError`] if the address cannot be listened at, or the system has no thread to give.
    pub fn serve(
        address: SocketAddr,
        snapshot: impl Fn() -> Snapshot + Send + Sync + 'static,
    ) -> Result<MetricsServer, MetricsError> {
        MetricsServer::start(address, Self::new(snapshot))
    }

    /// What HTTP calls the text's format.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

struct Watch<S>(S);

impl<S: Fn() -> Snapshot + Send + Sync + 'static> Collector for Watch<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = (self.0)();
        families::all(&snapshot, &mut Exposition::new(encoder, snapshot.end))
    }
}

impl<S> fmt::Debug for Watch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

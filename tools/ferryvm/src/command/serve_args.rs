//! What a process that has a guest serves: control and metrics.

use std::net::{SocketAddr, ToSocketAddrs};

use clap::Args;
use pageferry_engine::frame::End;
use pageferry_engine::metrics::{Metrics, MetricsServer};
use pageferry_tools::console;

use crate::control::address::ControlAddress;
use crate::control::desk::Desk;
use crate::control::server::Server;
use crate::error::Error;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where this process is told what to do, as by ferryvm migrate: unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) control: Option<ControlAddress>,
    /// Where all counters of a migration are served for Prometheus, at /metrics; port 0 picks one
    #[arg(long, value_name = "HOST:PORT", value_parser = socket_address)]
    metrics: Option<SocketAddr>,
}

/// What is served for as long as this value lives.
pub(crate) struct Served {
    _control: Option<Server>,
    _metrics: Option<MetricsServer>,
}

impl ServeArgs {
    /// Serves what was asked for. `end` is what a guest's first migration finds here.
    ///
    /// # Errors
    /// [`Error`] if an address cannot be had.
    pub(crate) fn start(&self, desk: &Desk, end: End) -> Result<Served, Error> {
        let control = self.control.as_ref().map(|address| Server::start(address, desk.clone()));
        let counters = desk.clone();
        let metrics = self
            .metrics
            .map(|address| Metrics::serve(address, move || counters.snapshot(end)))
            .transpose()?;
        if let Some(server) = &metrics {
            console::say(format_args!("serving http://{}/metrics", server.address()));
        }
        Ok(Served { _control: control.transpose()?, _metrics: metrics })
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("`{text}` is no HOST:PORT: {error}"))?;
    found.into_iter().next().ok_or_else(|| format!("`{text}` has no address"))
}

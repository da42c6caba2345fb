//! What the two ends of a migration are told.

use std::sync::Arc;
use std::time::Duration;

use super::arbiter::Arbiter;
use super::convergence::ConvergenceConfig;
use crate::sender::SenderConfig;

/// How long either end waits for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection to be made, and for all connections of a migration to come.
    pub connect: Duration,
    /// For a connection that broke to be made anew. Zero: not at all. Breaks that follow upon each other sooner than this are
    /// borne for so long together.
    pub recovery: Duration,
    /// For the other end to do its part in the switchover, and to say so, once the pages are there: the source's to send the
    /// device state, the destination's to load it, and to run the guest. It may be busy for so long, but not longer.
    pub handover: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            recovery: Duration::from_secs(30),
            handover: Duration::from_secs(60),
        }
    }
}

/// What the source is told.
#[derive(Clone)]
pub struct SourceConfig {
    /// Which migration this is, and how pages are encoded.
    pub sender: SenderConfig,
    /// How many connections it takes: 1 to 64.
    pub connections: u16,
    /// When to switch over, and what to do about a guest that writes faster than the link carries.
    pub convergence: ConvergenceConfig,
    /// How long to wait.
    pub patience: Patience,
    /// Who decides where the guest runs, should the ends lose each other in the middle of the switchover.
    pub arbiter: Option<Arc<dyn Arbiter>>,
}

impl SourceConfig {
    /// One connection, a downtime of 300 ms, and no arbiter.
    #[must_use]
    pub fn new(sender: SenderConfig) -> Self {
        Self {
            sender,
            connections: 1,
            convergence: ConvergenceConfig::default(),
            patience: Patience::default(),
            arbiter: None,
        }
    }
}

/// What the destination is told.
#[derive(Clone)]
pub struct DestinationConfig {
    /// How long to wait.
    pub patience: Patience,
    /// The most bytes of device state to take.
    pub max_state_bytes: u32,
    /// As at the source; both ends must ask the same one.
    pub arbiter: Option<Arc<dyn Arbiter>>,
}

impl Default for DestinationConfig {
    fn default() -> Self {
        Self { patience: Patience::default(), max_state_bytes: 64 << 20, arbiter: None }
    }
}

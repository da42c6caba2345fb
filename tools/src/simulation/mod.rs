//! The sender, the link and the destination in virtual time: what a migration would do with hardware that is not here.
//!
//! A discrete-event simulation of the very pipeline in `engine/`: a migration thread composes requests (`composer`,
//! `migration_thread`), queues of workers and devices encode them (`lanes`), a poller frames and writes them (`poller`), the
//! link carries them (`link`), and a reader, queues and a poller at the other end make pages of them (`destination`). Threads
//! share the CPUs of their host (`cores`). Rounds and the switchover are the engine's, judgement included (`course`).
//!
//! It is pure: no clock, no thread, no randomness but by a seed. The same input gives the same output, to the bit. What goes in
//! is what a page costs ([`crate::page_costs`]), what the host's own threads cost ([`HostCosts`]), and what devices are said to do
//! ([`crate::profile`]). What comes out is calculated, and reports must call it `modelled`.

mod adaptive;
mod chooser;
mod composer;
mod cores;
mod course;
mod destination;
mod guest;
mod job;
mod lanes;
mod ledger;
mod link;
mod migration_thread;
mod outcome;
mod poller;
mod search;
mod setup;
#[cfg(test)]
mod tests;
mod time;
mod world;

use pageferry_accel::method::Method;

pub use adaptive::Adapting;
pub use chooser::{Choice, Chooser, Fixed, InTurn, LinkWindow, Observed, Piece};
pub use course::{Switchover, migration, transfer};
pub use guest::{Pattern, Writes};
pub use outcome::{
    DestinationCpu, LaneFigures, Latency, MethodShare, RoundFigures, Sample, Simulated, SourceCpu,
};
pub use search::{Effort, LargestRate, largest_dirty_rate};
pub use setup::{CpuLane, DeviceLane, DeviceMethod, Host, HostCosts, Lane, Link, Setup};
pub use time::Nanos;

/// A simulation that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// A way leads to no accelerator.
    #[error("no accelerator from number {lane} on encodes {method}: name another one, or the CPU behind it")]
    CannotEncode {
        /// The method.
        method: Method,
        /// The accelerator of the way.
        lane: usize,
    },
    /// Nothing decodes what is sent.
    #[error("no accelerator of the destination decodes {method}: give it the CPU")]
    CannotDecode {
        /// The method.
        method: Method,
    },
    /// The input's costs do not say what a page costs.
    #[error(
        "what page {page} costs by {method} in round {round} is not known: measure that method's costs too"
    )]
    UnknownCost {
        /// The method.
        method: Method,
        /// The round.
        round: u32,
        /// The page.
        page: u32,
    },
    /// A count or a rate of the set-up is 0, negative or no number.
    #[error("every number of CPUs, pages a request and bytes a second must be positive")]
    Setup,
    /// Nothing happens any more, and the round is not over.
    #[error("round {round} does not end: this is a defect of the simulation, report it with the set-up")]
    Stuck {
        /// The round.
        round: u32,
    },
}

/// The whole number next to one that is not negative.
fn whole(number: f64) -> u64 {
    std::time::Duration::try_from_secs_f64((number + 0.5).max(0.0)).map_or(0, |seconds| seconds.as_secs())
}

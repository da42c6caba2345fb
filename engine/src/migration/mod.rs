//! The data path becomes a migration: a running guest moves to another host with a bounded stop, or stays where it is.
//!
//! A VMM implements [`Vm`](crate::vm::Vm) for a handle on its guest, and makes connections with what is in
//! [`transport`](crate::transport), or with its own. At the source it starts a [`Migration`]; at the destination it waits for an
//! [`Arrival`], makes a guest to match, and accepts. Either way it watches the [`Migration`], may cancel it, and waits for its end.
//! Each runs on a thread of its own; no runtime is needed.
//!
//! What a migration goes through is a [`State`]. Every change, and every round, is an [`Event`]; all counters are in a
//! [`Snapshot`] at any time.
//!
//! # Who has the guest
//!
//! The source pauses the guest, sends what is left and the device state, and waits until the destination has it all, verified and
//! loaded, and says *ready*. Until then, whatever happens, the guest runs on at the source. Then the source gives it up, for good, and
//! says *go*; the destination runs it and says *running*. Should the two lose each other between, both try to meet again. If
//! they do not, an [`Arbiter`] that both can reach gives the guest to whoever asks first; without one the source keeps the
//! guest paused and says so ([`MigrationError::InDoubt`]), and a destination that never heard *go* does not run it.

mod arbiter;
mod config;
pub mod convergence;
mod course;
mod destination;
mod error;
mod handle;
mod handover;
mod snapshot;
mod source;
mod state;

pub use arbiter::{Arbiter, ArbiterError, FileArbiter, Switchover};
pub use config::{DestinationConfig, Patience, SourceConfig};
pub use convergence::{ConvergenceConfig, Estimate, OnStall};
pub use destination::Arrival;
pub use error::MigrationError;
pub use handle::{Completed, Ended, Migration, Whereabouts};
pub use handover::HandoverError;
pub use snapshot::Snapshot;
pub use state::{Event, Happening, Observer, State};

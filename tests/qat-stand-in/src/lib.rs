//! A stand-in for the vendor's `libqat` and `libusdm`, by pageferry: a shared library with their functions, which does in
//! software what the device would, by the vendor's rules, and is as strict as the silicon.
//!
//! The shared library is what `exports` holds. The rest of this crate is for tests in Rust: a [`StandIn`] is one loaded
//! copy of it with a state of its own, told by a [`Config`] what it is and by a [`FaultPlan`](fault::FaultPlan) when to
//! misbehave. A process that knows nothing of that loads the file as it would the vendor's, and may set
//! [`PAGEFERRY_STAND_IN`](config::VARIABLE).
//!
//! A misuse that would be corruption, a crash or an IOMMU fault with the vendor's library is a violation: it is printed,
//! and ends the process, unless the configuration says that it is to be recorded.
//!
//! Behaviour is that of qatlib 26.08 with a part of the fourth generation, of which nothing but stateless deflate is
//! offered. Nothing is offloaded, and every instance says so.

mod allocator;
mod check;
mod codec;
pub mod config;
mod dma;
mod engine;
mod events;
mod exports;
pub mod fault;
mod fixed;
mod inflate;
mod inflight;
mod instant;
mod list;
mod pagemap;
mod poll;
pub mod report;
mod session;
mod stand_in;
mod state;
mod submit;
mod world;

pub use config::Config;
pub use report::Report;
pub use stand_in::StandIn;

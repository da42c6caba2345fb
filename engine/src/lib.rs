//! The engine of pageferry: dirty pages of a guest, through accelerators, over connections, into another host's memory.
//!
//! A page travels through these modules in the order of the list: its bit in a [`dirty`] bitmap makes a run, the
//! batcher puts runs into a request, the [`selector`] gives it a method, the dispatcher hands it to a queue of an
//! accelerator, as fast as a CPU [`budget`] allows; the poller of the [`sender`] collects it and sends a [`frame`] over
//! a [`connection`]; a reader of the [`receiver`] checks the frame against what the [`handshake`] agreed on and hands it
//! to a queue that decodes it, verifies it and writes the page.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

mod batcher;
pub mod budget;
pub mod connection;
mod deadline;
mod digest;
pub mod dirty;
mod dispatcher;
pub mod fallbacks;
pub mod frame;
pub mod handshake;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod migration;
mod poll;
mod rate;
pub mod receiver;
pub mod regions;
pub mod selector;
pub mod sender;
mod sync;
mod text;
pub mod transport;
pub mod vm;
pub mod work;

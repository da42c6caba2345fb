//! DSA and IAA without a kernel driver: a whole function, reached through VFIO, brought up and driven by this process.
//!
//! [`VfioDevice`] brings up any [`Function`](super::function::Function): a PCI function of a VFIO group or an iommufd
//! ([`pci`]), a model in another process that speaks vfio-user ([`user`]), or a model in this one.

mod bound;
mod bring_up;
mod command;
mod config;
mod connection;
mod control;
mod device;
mod error;
mod event;
mod facts;
pub mod pci;
mod plan;
mod registers;
mod reset;
mod session;
pub mod user;

pub use device::{Settings, VfioDevice};
pub use error::{Cause, FunctionError};
pub use facts::FunctionFacts;

#[cfg(test)]
mod tests;

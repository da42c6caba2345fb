//! `ferryvm`: a small virtual machine whose guest can prove that a migration lost nothing.
//!
//! The guest writes pages of its memory at a set rate and in a set pattern, and keeps account: a table says how often each
//! page was written (its generation), from which all that the page holds follows; a running checksum and a counter say
//! the same of all pages together, and are kept in registers as well as in memory. Asked for its proof, the guest makes
//! every page anew from the table, compares it with what is there, word by word, and holds the table against the
//! checksum and the counter in its registers. So a page that is a generation old, zero, or half of one and half of another
//! is not what the table says; where the table's own page is old too, its sum is not the checksum; and where memory is old as
//! a whole, it is not what the registers say. A guest whose memory and registers are old together is whole, and has no way to
//! know: who has watched it at the source compares its counter there with the one here.
//!
//! A guest can be moved while it runs: `run` or `receive` has it and serves requests (`control`), `migrate` is one that asks.
//!
//! What runs it is KVM ([`GuestKind::Kvm`]), or, where there is none, threads of this process with the same work and the same
//! proof ([`GuestKind::Process`]).
//!
//! A guest moves within this process; between two, a migration carries memory and state:
//!
//! ```
//! use std::{error::Error, time::Duration};
//! use ferryvm::{FerryVm, Fill, GuestChoice, Layout, Pattern, Rate, Workload, regions_of};
//! use pageferry_accel::units::PageIndex;
//! use pageferry_engine::vm::Vm;
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let workload = Workload {
//!         pattern: Pattern::Sparse,
//!         rate: Rate::PagesPerSecond(5000),
//!         seed: 1,
//!         fill: Fill::Zero,
//!         working_set_pages: None,
//!     };
//!     let mut here = FerryVm::source(Layout::of_size(64 << 20)?, 1, &workload, GuestChoice::Auto)?;
//!     here.resume()?;
//!     here.watch().prove(Duration::from_secs(60))?;
//!     here.pause()?;
//!
//!     let (from, kind) = (here.memory(), here.kind());
//!     let mut there = FerryVm::destination(Layout::of_regions(&regions_of(from.ranges()))?, kind)?;
//!     let mut page = [0; 4096];
//!     for index in from.ranges().flat_map(|range| range.first.0..range.end().0).map(PageIndex) {
//!         from.copy_out(index, &mut page);
//!         there.memory().copy_in(index, &page);
//!     }
//!     there.load_state(&here.save_state()?)?;
//!     there.resume()?;
//!     assert!(there.watch().prove(Duration::from_secs(60))?.held);
//!     let heartbeat = there.watch().heartbeat().ok_or("no guest")?;
//!     println!("the guest felt {:?} of downtime", heartbeat.gap_of_move);
//!     Ok(())
//! }
//! ```
#![deny(unsafe_code)]

mod block;
mod command;
mod control;
mod cpu;
mod dirty;
mod doorbell;
mod error;
mod gate;
mod guest;
mod host;
mod journey;
mod keeper;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod layout;
mod memory;
mod outcome;
mod pace;
mod process;
mod proof;
mod pulse;
mod state;
mod vm;
mod workload;

pub use command::ferryvm;
pub use dirty::{DirtyChoice, DirtyChoiceError, DirtyKind, UnknownDirty};
pub use gate::StillRunning;
pub use host::{GuestChoice, HostChoice, HostError, UnknownGuest};
#[cfg(target_arch = "x86_64")]
pub use kvm::KvmError;
pub use layout::{Layout, LayoutError, MAX_VCPUS, PAGE_SIZE, regions_of};
pub use memory::MemoryError;
pub use proof::{Heartbeat, Proof};
pub use state::{GuestKind, StateError};
pub use vm::{FerryError, FerryVm, ProveError, Watch};
pub use workload::{Fill, Pattern, Rate, UnknownFill, UnknownPattern, UnknownRate, Workload};

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
//!
//! # A complete example
//!
//! A VMM whose guest is a thread that counts in its memory, and that tracks by itself what it writes. Both ends are in this process,
//! joined by a Unix socket.
//!
//! ```
//! use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
//! use std::sync::{Arc, Mutex};
//! use std::time::Duration;
//! use std::{error::Error, thread};
//!
//! use pageferry_accel::{cpu::Cpu, guest::*, method::Method, queue::Accelerator, units::*};
//! use pageferry_engine::dirty::{DirtySource, WrittenPages, WrittenSource};
//! use pageferry_engine::handshake::MigrationId;
//! use pageferry_engine::migration::*;
//! use pageferry_engine::receiver::Host;
//! use pageferry_engine::selector::Selector;
//! use pageferry_engine::sender::SenderConfig;
//! use pageferry_engine::transport::{Address, Dialer, Listener, PeerLimits, Security};
//! use pageferry_engine::vm::{Machine, Vm, VmError};
//!
//! /// The VMM's own: what its threads share.
//! struct Counting { ram: Arc<GuestRam>, written: Arc<WrittenPages>, runs: AtomicBool, count: Mutex<u64>, rest: AtomicU64 }
//!
//! impl Counting {
//!     fn new() -> Result<Arc<Self>, Box<dyn Error>> {
//!         let memory = Arc::new(AnonymousMemory::new(&[(Gpa(0), 16 << 20)])?);
//!         let ram = Arc::new(GuestRam::new(memory, PageSize::Kib4)?);
//!         let (written, rest) = (Arc::new(WrittenPages::new(&ram)), AtomicU64::new(1));
//!         let vmm = Arc::new(Self { ram, written, runs: AtomicBool::new(false), count: Mutex::new(0), rest });
//!         let cpu = Arc::clone(&vmm);
//!         thread::spawn(move || loop { cpu.step() });
//!         Ok(vmm)
//!     }
//!
//!     /// The guest's CPU: writes a page with the next number in it, and says so.
//!     fn step(&self) {
//!         thread::sleep(Duration::from_millis(self.rest.load(SeqCst)));
//!         let mut count = self.count.lock().unwrap();
//!         if self.runs.load(SeqCst) {
//!             *count += 1;
//!             let page = PageIndex(*count % 100);
//!             let [low, high] = [*count as u8, (*count >> 8) as u8];
//!             self.ram.copy_in(page, &[low, high].repeat(2048));
//!             self.written.mark_page(page);
//!         }
//!     }
//! }
//!
//! /// The handle that the migration gets.
//! struct Handle { vmm: Arc<Counting>, dirty: WrittenSource }
//!
//! impl Handle {
//!     fn on(vmm: &Arc<Counting>) -> Box<Self> {
//!         Box::new(Self { vmm: Arc::clone(vmm), dirty: WrittenSource::new(Arc::clone(&vmm.written)) })
//!     }
//! }
//!
//! impl Vm for Handle {
//!     fn memory(&self) -> Arc<GuestRam> { Arc::clone(&self.vmm.ram) }
//!     fn machine(&self) -> Machine { Machine::of_this_host().expect("Linux has /proc/cpuinfo") }
//!     fn dirty(&mut self) -> &mut dyn DirtySource { &mut self.dirty }
//!     fn pause(&mut self) -> Result<(), VmError> {
//!         self.vmm.runs.store(false, SeqCst);
//!         drop(self.vmm.count.lock()); // the step that was on has ended
//!         Ok(())
//!     }
//!     fn resume(&mut self) -> Result<(), VmError> { self.vmm.runs.store(true, SeqCst); Ok(()) }
//!     fn throttle(&mut self, percent: u8) -> Result<(), VmError> {
//!         self.vmm.rest.store(100 / u64::from(100 - percent), SeqCst);
//!         Ok(())
//!     }
//!     fn save_state(&mut self) -> Result<Vec<u8>, VmError> {
//!         Ok(self.vmm.count.lock().unwrap().to_le_bytes().to_vec())
//!     }
//!     fn load_state(&mut self, state: &[u8]) -> Result<(), VmError> {
//!         *self.vmm.count.lock().unwrap() = u64::from_le_bytes(state.try_into().map_err(VmError::new)?);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let folder = tempfile::tempdir()?;
//!     let address = Address::Unix(folder.path().join("destination"));
//!     let timeout = Some(Duration::from_secs(10));
//!     let cpu = || vec![Arc::new(Cpu::default()) as Arc<dyn Accelerator>];
//!
//!     let listener = Listener::bind(&address, Security::Plain, timeout, PeerLimits::default())?;
//!     let destination = thread::spawn(move || {
//!         let observer = Arc::new(|event: &Event| println!("destination: {event:?}"));
//!         let arrival = Arrival::wait(Box::new(listener), DestinationConfig::default(), None, observer).unwrap().unwrap();
//!         let vmm = Counting::new().unwrap(); // of the memory that arrival.offer() states
//!         (arrival.accept(Handle::on(&vmm), Host::default(), cpu()).unwrap().wait().result, vmm)
//!     });
//!
//!     let vmm = Counting::new()?;
//!     vmm.runs.store(true, SeqCst);
//!     let sender = SenderConfig::new(MigrationId::random()?, Selector::fixed(Method::Zstd));
//!     let config = SourceConfig { connections: 2, ..SourceConfig::new(sender) };
//!     let dialer = Box::new(Dialer::new(address, Security::Plain, timeout)?);
//!     let observer = Arc::new(|event: &Event| println!("source: {event:?}"));
//!     let migration = Migration::start(Handle::on(&vmm), dialer, cpu(), config, observer)?;
//!     println!("{} of it so far", migration.snapshot().sent.pages); // and migration.cancel(), if need be
//!     let ended = migration.wait();
//!     assert_eq!(ended.guest, Whereabouts::There);
//!     println!("it stood still for {:?}", ended.result?.downtime);
//!
//!     let (arrived, there) = destination.join().unwrap();
//!     arrived?;
//!     assert!(there.runs.load(SeqCst) && !vmm.runs.load(SeqCst));
//!     assert!(*there.count.lock().unwrap() >= *vmm.count.lock().unwrap());
//!     Ok(())
//! }
//! ```

mod arbiter;
mod config;
pub mod convergence;
mod course;
mod destination;
mod error;
mod handle;
mod handover;
mod outages;
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
#[cfg(fuzzing)]
pub use handover::written_again;
pub use snapshot::Snapshot;
pub use state::{Event, Happening, Observer, State};

//! What the tests across crates share: guests and who writes to them, both ends of a migration, devices and peers that
//! misbehave.

pub mod bench;
pub mod certificates;
pub mod counting;
pub mod flaky;
pub mod guest;
pub mod hammer;
pub mod handover;
pub mod hostile;
pub mod known_pages;
pub mod models;
pub mod packages;
pub mod peers;
pub mod proxy;
pub mod puppet;
pub mod qat;
pub mod qatzip;
pub mod rendezvous;
pub mod single;
pub mod throttle;
#[cfg(target_arch = "x86_64")]
pub mod tiny_vm;
pub mod watchdog;

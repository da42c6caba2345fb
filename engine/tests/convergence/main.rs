//! When a migration stops its guest, throttles it or gives up, shown on guests and links that are simulated in virtual time.

mod against_qemu;
mod decisions;
mod laws;
mod simulation;

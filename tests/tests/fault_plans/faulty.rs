//! A device that misbehaves, of whatever kind, as the plans see it.

use std::sync::Arc;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::queue::Accelerator;

/// Which end of a migration has a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// One device and what it does wrong.
pub trait Faulty: Send + Sync {
    fn accelerator(&self) -> Arc<dyn Accelerator>;

    /// What it did wrong so far.
    fn misdeeds(&self) -> Misdeeds;

    /// What it is, and its plan.
    fn describe(&self) -> String;

    fn is_qat(&self) -> bool;
}

/// How often a device did something wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Misdeeds {
    /// Requests that it called failed.
    pub errors: u64,
    pub page_faults: u64,
    /// Requests that it never completed.
    pub never: u64,
    pub total: u64,
}

/// Devices, and the CPU behind them.
pub fn with_cpu(faulty: &[Box<dyn Faulty>]) -> Vec<Arc<dyn Accelerator>> {
    let cpu: Arc<dyn Accelerator> =
        Arc::new(Cpu::new(CpuConfig { workers: 1, depth: 2, ..CpuConfig::default() }));
    faulty.iter().map(|one| one.accelerator()).chain([cpu]).collect()
}

//! Which accelerators there are, by the names that users type.

use std::sync::Arc;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::queue::Accelerator;

use crate::codecs::Codecs;
use crate::plan::DevicePlan;

/// An accelerator that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AcceleratorError {
    #[error("`{0}` is no accelerator: `accelbench list` shows their names")]
    Unknown(String),
    #[error(
        "this version of accelbench does not drive {0}: go on with --accelerator cpu; `accelbench list` shows what \
         this machine has of it"
    )]
    NotDriven(&'static str),
}

/// Devices that the project is made for and this version does not drive.
pub(crate) const NOT_DRIVEN: [&str; 3] = ["dsa", "iaa", "qat"];

/// The accelerators of one end, the one asked for first.
///
/// # Errors
/// [`AcceleratorError`] if there is none of this name, or none that can be driven.
pub(crate) fn choose(
    device: &DevicePlan,
    codecs: Codecs,
) -> Result<Vec<Arc<dyn Accelerator>>, AcceleratorError> {
    let available = discover(device.workers, device.queue_depth, codecs);
    let chosen = available.into_iter().find(|accelerator| accelerator.name() == device.accelerator);
    match chosen {
        Some(accelerator) => Ok(vec![accelerator]),
        None => Err(match NOT_DRIVEN.into_iter().find(|&name| name == device.accelerator) {
            Some(name) => AcceleratorError::NotDriven(name),
            None => AcceleratorError::Unknown(device.accelerator.clone()),
        }),
    }
}

/// Every accelerator that this machine has and this version drives.
pub(crate) fn discover(workers: usize, depth: usize, codecs: Codecs) -> Vec<Arc<dyn Accelerator>> {
    let cpu = Cpu::new(CpuConfig {
        workers,
        depth,
        deflate_level: codecs.levels.deflate,
        deflate_window: codecs.window,
        zstd_level: codecs.levels.zstd,
        detect_zero: codecs.zero_detection,
    });
    vec![Arc::new(cpu)]
}

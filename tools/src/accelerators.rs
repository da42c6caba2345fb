//! Which accelerators there are, by the names that users type.

use std::sync::Arc;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::queue::Accelerator;

use crate::methods::Levels;
use crate::plan::DevicePlan;

/// How the codecs of an accelerator are set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codecs {
    pub(crate) levels: Levels,
    pub(crate) window: Window,
    pub(crate) zero_detection: bool,
}

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

impl Default for Codecs {
    /// As a destination has them, which follows what the frames say.
    fn default() -> Self {
        let CpuConfig { deflate_level, zstd_level, deflate_window, detect_zero, .. } = CpuConfig::default();
        let levels = Levels { deflate: deflate_level, zstd: zstd_level };
        Self { levels, window: deflate_window, zero_detection: detect_zero }
    }
}

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

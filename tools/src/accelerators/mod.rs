//! The accelerators of one end of a migration, by the names that users type.

mod idxd;
mod narrowed;
mod optional;
mod qat;
mod qatzip;

use std::sync::Arc;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::queue::{Accelerator, Provenance};

use crate::accelerator_name::AcceleratorName;
use crate::codecs::Codecs;
use crate::device::DevicePlan;
use crate::host;
use narrowed::Narrowed;
use optional::Optional;

/// An accelerator that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}; add cpu to the list to go on without it")]
pub struct AcceleratorError {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// The accelerators that the plan names, in their order, and the CPU behind them unless the plan forbids it.
///
/// # Errors
/// [`AcceleratorError`] for the first that cannot be had; with the CPU in the list it is left out, and `warn` is told.
pub fn choose(
    plan: &DevicePlan,
    codecs: Codecs,
    warn: &dyn Fn(&str),
) -> Result<Vec<Arc<dyn Accelerator>>, AcceleratorError> {
    let dispensable = plan.accelerators.has_cpu();
    let requests =
        Requests { workers: plan.workers, depth: plan.queue_depth, codecs, half_of_qat: plan.halves };
    let mut chosen: Vec<Arc<dyn Accelerator>> = Vec::new();
    for name in plan.accelerators.iter() {
        let queues = plan.queues.filter(|_| name.has_queues());
        match requests.find(name).map(|found| Narrowed::wrap(found, queues)) {
            Ok(found) if dispensable => chosen.push(Optional::wrap(found)),
            Ok(found) => chosen.push(found),
            Err(AcceleratorError { name, reason }) if dispensable => {
                warn(&format!("going on without {name}: {reason}"));
            }
            Err(error) => return Err(error),
        }
    }
    if plan.fallback && !dispensable {
        chosen.push(requests.cpu());
    }
    Ok(chosen)
}

/// How figures of these accelerators together must be labelled: as those of the first that is no CPU.
pub(crate) fn provenance(accelerators: &[Arc<dyn Accelerator>]) -> Provenance {
    let provenances = accelerators.iter().map(|accelerator| accelerator.provenance());
    provenances.into_iter().find(|&provenance| provenance != Provenance::Cpu).unwrap_or(Provenance::Cpu)
}

/// Whether it has queues of its own, and not workers.
pub(crate) fn is_a_device(accelerator: &dyn Accelerator) -> bool {
    !matches!(accelerator.provenance(), Provenance::Cpu | Provenance::SoftwareBackup)
}

/// What this machine can run now: the CPU, devices, and models. `has_qat`: QAT's library is worth starting.
pub(crate) fn available(has_qat: bool) -> Vec<(String, Arc<dyn Accelerator>)> {
    let names = ["cpu", "dsa", "iaa", "qat", "qatzip", "dsa-model", "dsa-full-model", "iaa-model"];
    let names = names.into_iter().filter(|name| has_qat || *name != "qat");
    let names = names.filter_map(|name| name.parse().ok());
    let requests =
        Requests { workers: host::cores(), depth: None, codecs: Codecs::default(), half_of_qat: false };
    let found = |name: AcceleratorName| Some((name.to_string(), requests.find(&name).ok()?));
    names.filter_map(found).collect()
}

/// How requests are given to accelerators.
#[derive(Clone, Copy, Debug)]
struct Requests {
    /// Threads of the CPU.
    workers: usize,
    /// Requests a queue, if it is not to be the accelerator's own number.
    depth: Option<usize>,
    codecs: Codecs,
    /// Whether someone else in this process needs as many of QAT's instances.
    half_of_qat: bool,
}

impl Requests {
    fn find(self, name: &AcceleratorName) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        match name {
            AcceleratorName::Cpu => Ok(self.cpu()),
            AcceleratorName::Idxd(kind) => self.of_the_kernel(*kind),
            AcceleratorName::Qat(library) => self.qat(library.as_deref()),
            AcceleratorName::Qatzip(library) => self.qatzip(library.as_deref()),
            AcceleratorName::Model(name) => self.modelled(*name),
            AcceleratorName::Vfio(address) => self.vfio(address),
            AcceleratorName::VfioUser(socket) => self.vfio_user(socket),
        }
    }

    fn cpu(self) -> Arc<dyn Accelerator> {
        let (config, codecs) = (CpuConfig::default(), self.codecs);
        Arc::new(Cpu::new(CpuConfig {
            workers: self.workers,
            depth: self.depth.unwrap_or(config.depth),
            deflate_level: codecs.levels.deflate,
            deflate_window: codecs.window,
            zstd_level: codecs.levels.zstd,
            detect_zero: codecs.zero_detection,
        }))
    }
}

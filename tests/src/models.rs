//! Modelled devices as accelerators.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::idxd::device::{Device, Kind};
use pageferry_accel::idxd::dsa::{Dsa, DsaConfig};
use pageferry_accel::idxd::function::Function;
use pageferry_accel::idxd::iaa::{Iaa, IaaConfig};
use pageferry_accel::idxd::vfio::{Settings, VfioDevice};
use pageferry_accel::model::fault::FaultPlan;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::model::{Model, Timing};
use pageferry_accel::queue::Accelerator;

use crate::flaky::Completing;

/// How long a modelled device has: what is late in a test is to be late soon, and what is not must not be.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a request.
    pub deadline: Duration,
    /// For a command.
    pub command: Duration,
    /// For a queue that is to be quiet, before it is aborted.
    pub linger: Duration,
}

impl Default for Patience {
    /// As good as for ever.
    fn default() -> Self {
        let long = Duration::from_secs(60);
        Self { deadline: long, command: long, linger: long }
    }
}

/// A model in this process.
///
/// # Panics
/// If its thread cannot be started.
#[must_use]
pub fn model(profile: Profile, plan: FaultPlan) -> Arc<Model> {
    Model::new(profile, Timing::at_once(), plan).expect("a thread for the model")
}

/// Whatever a function is, as an accelerator.
///
/// # Panics
/// If the function is not a DSA or IAA that can be used.
#[must_use]
pub fn accelerator(
    function: Arc<dyn Function>,
    patience: Patience,
    completing: Completing,
) -> Arc<dyn Accelerator> {
    let Patience { deadline, command, linger } = patience;
    let interrupts = completing == Completing::Ringing;
    let settings = Settings { interrupts, patience: command, linger, ..Settings::default() };
    let device = VfioDevice::new(function, settings).expect("a function that can be brought up");
    let kind = device.kind();
    over(Arc::new(device), kind, deadline)
}

/// A device as an accelerator.
///
/// # Panics
/// If it lacks an operation.
#[must_use]
pub fn over(device: Arc<dyn Device>, kind: Kind, deadline: Duration) -> Arc<dyn Accelerator> {
    match kind {
        Kind::Dsa => {
            Arc::new(Dsa::new(device, DsaConfig { deadline, ..DsaConfig::default() }).expect("a DSA"))
        }
        Kind::Iaa => {
            Arc::new(Iaa::new(device, IaaConfig { deadline, ..IaaConfig::default() }).expect("an IAA"))
        }
    }
}

//! DSA and IAA as accelerators: of the kernel's driver, through VFIO, or modelled.

use std::path::Path;
use std::sync::Arc;

use pageferry_accel::fleet::Fleet;
use pageferry_accel::idxd::device::{Device, Kind};
use pageferry_accel::idxd::dsa::{Dsa, DsaConfig};
use pageferry_accel::idxd::function::Function;
use pageferry_accel::idxd::iaa::{Iaa, IaaConfig};
use pageferry_accel::idxd::kernel::{self, Host};
use pageferry_accel::idxd::vfio::pci::PciFunction;
use pageferry_accel::idxd::vfio::user::UserFunction;
use pageferry_accel::idxd::vfio::{Settings, VfioDevice};
use pageferry_accel::model::fault::FaultPlan;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::model::{Model, Timing};
use pageferry_accel::queue::Accelerator;

use super::{AcceleratorError, Requests};
use crate::accelerator_name::{AcceleratorName, ModelName};

/// Where Linux shows PCI functions.
const PCI: &str = "/sys/bus/pci/devices";

impl Requests {
    /// All devices of this kind that the kernel's driver has work queues for.
    pub(super) fn of_the_kernel(self, kind: Kind) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let name = AcceleratorName::Idxd(kind).to_string();
        let unusable = |reason: String| AcceleratorError { name: name.clone(), reason };
        let found = kernel::find(&Host::default(), kind, &[]).map_err(|error| unusable(error.to_string()))?;
        if found.devices.is_empty() {
            let reasons: Vec<_> = found.passed_over.iter().map(ToString::to_string).collect();
            let none = "the kernel's driver has no such device; `accelbench list` shows what is missing";
            return Err(unusable(if reasons.is_empty() { none.to_owned() } else { reasons.join("; ") }));
        }
        let devices = found.devices.into_iter().map(|device| self.of(kind, Arc::new(device)));
        let fleet = Fleet::new(name.clone(), devices.collect::<Result<_, _>>()?);
        Ok(Arc::new(fleet.ok_or_else(|| unusable("there is no such device".to_owned()))?))
    }

    /// A model in this process.
    pub(super) fn modelled(self, name: ModelName) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let profile = match name {
            ModelName::Dsa => Profile::spr_dsa(),
            ModelName::DsaFull => Profile::dsa_full(),
            ModelName::Iaa => Profile::spr_iaa(),
        };
        let shown = AcceleratorName::Model(name).to_string();
        let unusable = |reason: String| AcceleratorError { name: shown.clone(), reason };
        let model = Model::new(profile, Timing::at_once(), FaultPlan::default());
        let model = model.map_err(|error| unusable(format!("its thread could not be started: {error}")))?;
        self.brought_up(&shown, Arc::new(model.function()))
    }

    /// A PCI function, through VFIO.
    pub(super) fn vfio(self, address: &str) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let name = format!("vfio:{address}");
        let function = PciFunction::open(Path::new(PCI), address)
            .map_err(|error| AcceleratorError { name: name.clone(), reason: error.to_string() })?;
        self.brought_up(&name, Arc::new(function))
    }

    /// Whatever answers on this socket.
    pub(super) fn vfio_user(self, socket: &Path) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let name = format!("vfio-user:{}", socket.display());
        let function = UserFunction::connect(socket).map_err(|error| {
            let reason = format!("{error}; start idxd-model --socket {}", socket.display());
            AcceleratorError { name: name.clone(), reason }
        })?;
        self.brought_up(&name, Arc::new(function))
    }

    fn brought_up(
        self,
        name: &str,
        function: Arc<dyn Function>,
    ) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let device = VfioDevice::new(function, Settings::default())
            .map_err(|error| AcceleratorError { name: name.to_owned(), reason: error.to_string() })?;
        self.of(device.kind(), Arc::new(device))
    }

    fn of(self, kind: Kind, device: Arc<dyn Device>) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let name = device.name().to_owned();
        let detect_zero = self.codecs.zero_detection;
        let made: Result<Arc<dyn Accelerator>, _> = match kind {
            Kind::Dsa => {
                let config = DsaConfig { detect_zero, ..DsaConfig::default() };
                let requests = self.depth.unwrap_or(config.requests);
                Dsa::new(device, DsaConfig { requests, ..config }).map(|dsa| Arc::new(dsa) as _)
            }
            Kind::Iaa => {
                let config = IaaConfig { detect_zero, ..IaaConfig::default() };
                let requests = self.depth.unwrap_or(config.requests);
                Iaa::new(device, IaaConfig { requests, ..config }).map(|iaa| Arc::new(iaa) as _)
            }
        };
        made.map_err(|error| AcceleratorError { name, reason: error.to_string() })
    }
}

//! QAT by the vendor's library, `libqat`, or by what stands in for it.

use std::path::Path;
use std::sync::Arc;

use pageferry_accel::qat::service::Service;
use pageferry_accel::qat::{self, Qat, QatConfig};
use pageferry_accel::queue::{Accelerator, OpenError};
use pageferry_bindings::qat::library::Libqat;

use super::{AcceleratorError, Requests};
use crate::accelerator_name::AcceleratorName;
use crate::console;

impl Requests {
    /// The instances that the library of this file has for this process, or the library that the dynamic linker finds.
    pub(super) fn qat(self, library: Option<&Path>) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let name = AcceleratorName::Qat(library.map(Path::to_owned)).to_string();
        let unusable = |reason: String| AcceleratorError { name: name.clone(), reason };
        console::keep_libraries_apart();
        let loaded = library.map_or_else(Libqat::load, |file| Libqat::load_from(file.as_os_str()));
        let library = loaded.map_err(|error| unusable(error.to_string()))?;
        // Its own name is in front of it already.
        let refused = |error: OpenError| {
            let said = error.to_string();
            unusable(said.strip_prefix("qat: ").unwrap_or(&said).to_owned())
        };
        let service = Service::start(library, &qat::section()).map_err(refused)?;
        let config = QatConfig::default();
        let instances = self.half_of_qat.then(|| (service.instances().len() / 2).max(1));
        let (requests, detect_zero) = (self.depth.unwrap_or(config.requests), self.codecs.zero_detection);
        let qat = Qat::of(service, QatConfig { instances, requests, detect_zero, ..config });
        Ok(Arc::new(qat.map_err(refused)?))
    }
}

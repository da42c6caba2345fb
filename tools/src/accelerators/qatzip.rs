//! QAT by the vendor's QATzip, or its software backup where there is no device.

use std::path::Path;
use std::sync::Arc;

use pageferry_accel::qatzip::{Qatzip, QatzipConfig};
use pageferry_accel::queue::{Accelerator, Attachment, Capabilities, OpenError, Provenance, Queue};
use pageferry_bindings::qatzip::library::Libqatzip;

use super::{AcceleratorError, Requests};
use crate::accelerator_name::AcceleratorName;
use crate::console;

impl Requests {
    /// QATzip by the library of this file, or the one that the dynamic linker finds.
    pub(super) fn qatzip(self, library: Option<&Path>) -> Result<Arc<dyn Accelerator>, AcceleratorError> {
        let name = AcceleratorName::Qatzip(library.map(Path::to_owned)).to_string();
        let unusable = |reason: String| AcceleratorError { name: name.clone(), reason };
        console::keep_libraries_apart();
        let loaded = library.map_or_else(Libqatzip::load, |file| Libqatzip::load_from(file.as_os_str()));
        let library = loaded.map_err(|error| unusable(error.to_string()))?;
        let config = QatzipConfig::default();
        let config = QatzipConfig {
            workers: self.workers,
            depth: self.depth.unwrap_or(config.depth),
            detect_zero: self.codecs.zero_detection,
            ..config
        };
        let qatzip = Qatzip::new(library, config).map_err(|error| unusable(error.to_string()))?;
        if qatzip.provenance() == Provenance::SoftwareBackup {
            // It looks for a device again at every call, and qatlib says each time that there is none.
            console::silence_libraries();
        }
        Ok(Arc::new(Accountable(qatzip)))
    }
}

/// QATzip with a device, which says in the end how much it did without.
struct Accountable(Qatzip);

impl Accelerator for Accountable {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn provenance(&self) -> Provenance {
        self.0.provenance()
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        self.0.open(attachment)
    }
}

impl Drop for Accountable {
    fn drop(&mut self) {
        let (by_hardware, by_software) = (self.0.work_by_hardware(), self.0.work_by_software());
        if self.provenance() != Provenance::SoftwareBackup && by_software > 0 {
            console::warn(format_args!(
                "{} did {by_software} of {} requests in software, on the CPU: its figures are not the device's alone",
                self.name(),
                by_hardware + by_software
            ));
        }
    }
}

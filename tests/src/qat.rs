//! QAT on the stand-in for the vendor's library.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pageferry_accel::qat::service::Service;
use pageferry_accel::qat::{Qat, QatConfig, section};
use pageferry_accel::queue::Accelerator;
use pageferry_qat_stand_in::{Config, Report, StandIn};
use tempfile::TempDir;

/// A library of its own, and accelerators on its instances.
pub struct QatStandIn {
    stand_in: StandIn,
    /// The service, while it is up.
    used: Mutex<Weak<Service>>,
    _folder: TempDir,
}

impl QatStandIn {
    /// A copy of the stand-in that is as `config` says.
    ///
    /// # Panics
    /// If it cannot be copied or loaded.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the library");
        Self { stand_in: StandIn::load(folder.path(), config), used: Mutex::default(), _folder: folder }
    }

    /// Makes it another one, with nothing in use.
    pub fn configure(&self, config: Config) {
        self.stand_in.configure(config);
    }

    /// Has a device that restarts not be closed yet, or has it be closed.
    pub fn hold_restarts(&self, hold: bool) {
        self.stand_in.hold_restarts(hold);
    }

    /// Whether anybody holds its service in this process.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
    }

    /// Its service in this process.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn service(&self) -> Arc<Service> {
        let service = Service::start(self.stand_in.library(), &section()).expect("a stand-in starts");
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&service);
        service
    }

    /// Instances of it that nobody uses, as many as `config` says.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn accelerator(&self, config: QatConfig) -> Arc<dyn Accelerator> {
        Arc::new(Qat::of(self.service(), config).expect("instances of the stand-in"))
    }

    /// One instance of it, that is not late.
    #[must_use]
    pub fn one(&self) -> Arc<dyn Accelerator> {
        self.accelerator(QatConfig { instances: Some(1), ..patient() })
    }

    /// What it did, and what was done to it.
    #[must_use]
    pub fn report(&self) -> Report {
        self.stand_in.report()
    }
}

/// With a deadline that nothing meets on a busy machine.
#[must_use]
pub fn patient() -> QatConfig {
    QatConfig { deadline: std::time::Duration::from_secs(60), ..QatConfig::default() }
}

/// Whether devices without an IOMMU can be stood in for: this process sees physical addresses, and locked memory, which the
/// stand-in's own is, stays where it is.
///
/// # Errors
/// Why not.
pub fn physical_addresses() -> Result<(), String> {
    let mut entry = [0; 8];
    let page = &raw const entry as u64 >> 12;
    let read = File::open("/proc/self/pagemap").and_then(|map| map.read_exact_at(&mut entry, page * 8));
    if read.is_err() || u64::from_le_bytes(entry) & ((1 << 55) - 1) == 0 {
        return Err("this process may not read physical addresses".to_owned());
    }
    match fs::read_to_string("/proc/sys/vm/compact_unevictable_allowed") {
        Ok(text) if text.trim() == "0" => Ok(()),
        _ => Err("the system may move locked memory (vm.compact_unevictable_allowed)".to_owned()),
    }
}

//! The vendor's libraries for QAT, as far as this machine has them: loaded, and brought up where that is asked for.

use std::fs;
use std::path::Path;

use pageferry_accel::qat::section;
use pageferry_accel::qat::service::{Instance, Service};
use pageferry_accel::qatzip::{Qatzip, QatzipConfig};
use pageferry_bindings::qat::library::Libqat;
use pageferry_bindings::qatzip::library::Libqatzip;

use super::super::name;

/// Each of the two, or why it cannot be loaded.
pub(crate) struct Libraries {
    pub(super) qat: Result<Library<Instances>, String>,
    /// What does its work, once it is brought up.
    pub(super) qatzip: Result<Library<String>, String>,
}

/// A library that is loaded.
pub(crate) struct Library<T> {
    pub(super) file: String,
    /// What it calls itself, if it is no vendor's.
    pub(super) stand_in: Option<String>,
    /// Brings it up, and says what there is, or what it refused.
    pub(super) start: Box<dyn Fn() -> Result<T, String>>,
}

/// What the data-compression library has for this process.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    pub(super) version: Option<String>,
    /// A line each.
    pub(super) fit: Vec<String>,
    /// Those that cannot be used, and why.
    pub(super) passed_over: Vec<String>,
}

impl Libraries {
    /// Those that the dynamic linker finds.
    pub(crate) fn load() -> Self {
        let qat = Libqat::load().map_err(|error| error.to_string()).map(|library| Library {
            file: file_of(library.name()),
            stand_in: library.stand_in().map(str::to_owned),
            start: Box::new(move || {
                let service = Service::start(library.clone(), &section());
                service.map(|service| Instances::of(&service)).map_err(|error| error.to_string())
            }),
        });
        let qatzip = Libqatzip::load().map_err(|error| error.to_string()).map(|library| Library {
            file: file_of(library.name()),
            stand_in: library.stand_in().map(str::to_owned),
            start: Box::new(move || {
                let qatzip = Qatzip::new(library.clone(), QatzipConfig::default());
                qatzip.map(|qatzip| qatzip.description()).map_err(|error| error.to_string())
            }),
        });
        Self { qat, qatzip }
    }

    /// A machine without any.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { qat: Err("no libqat".to_owned()), qatzip: Err("no libqatzip".to_owned()) }
    }
}

impl Instances {
    fn of(service: &Service) -> Self {
        let line = |one: &Instance| {
            let Instance { name, part, address, node, offloaded, shared_memory, .. } = one;
            let software = if *offloaded { "" } else { ", in software" };
            let shared = if *shared_memory { ", shared virtual memory" } else { "" };
            format!("{name}: {part} at {address}, node {node}{software}{shared}")
        };
        let version = service.instances().first().map(|one| one.version.trim_start_matches("Version "));
        Self {
            version: version.filter(|version| !version.is_empty()).map(str::to_owned),
            fit: service.instances().iter().map(line).collect(),
            passed_over: service.passed_over().to_vec(),
        }
    }
}

/// The file that a library was loaded from by this name; the name, if that cannot be told.
fn file_of(library: &str) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mapped = |line: &str| {
        let file = &line[line.find('/')?..];
        name(Path::new(file)).starts_with(name(Path::new(library))).then(|| file.to_owned())
    };
    maps.lines().find_map(mapped).unwrap_or_else(|| library.to_owned())
}

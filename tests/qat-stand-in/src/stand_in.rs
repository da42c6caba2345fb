//! One loaded copy of the library, for tests.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::Library;
use pageferry_bindings::qat::cpa::CpaStatus;
use pageferry_bindings::qat::library::Libqat;

use crate::config::Config;
use crate::report::Report;

const BUILT: &str = "libpageferry_qat_stand_in.so";

/// One loaded copy of the library, with a state of its own.
#[derive(Debug)]
pub struct StandIn {
    path: PathBuf,
    library: Arc<Libqat>,
    configure: unsafe extern "C" fn(*const u8, usize) -> CpaStatus,
    report: unsafe extern "C" fn(*mut u8, usize) -> usize,
    ticks: unsafe extern "C" fn() -> u64,
    hold: unsafe extern "C" fn(bool),
}

impl StandIn {
    /// Copies the library to `folder`, as `libqat.so.4`, loads it from there, and configures it. Every folder gives a copy
    /// of its own; it stays loaded until the process ends, and the file may go.
    ///
    /// # Panics
    /// If the library is not beside the executable, or cannot be copied or loaded.
    #[must_use]
    pub fn load(folder: &Path, config: Config) -> Self {
        Self::open(Self::copy_to(folder), config)
    }

    /// Loads a copy that was made before, or finds it loaded, and configures it.
    ///
    /// # Panics
    /// If it cannot be loaded.
    #[must_use]
    pub fn open(path: PathBuf, config: Config) -> Self {
        let library = Libqat::load_from(path.as_os_str()).expect("the stand-in that was copied");
        // SAFETY: the file is loaded already, so that nothing is initialised; it exports the functions with these types, and
        // stays loaded, as this handle to it does.
        let (configure, report, ticks, hold) = unsafe {
            let own = ManuallyDrop::new(Library::new(&path).expect("the stand-in that was loaded"));
            let of_this_version = "a stand-in of this version";
            (
                *own.get("pageferry_stand_in_configure").expect(of_this_version),
                *own.get("pageferry_stand_in_report").expect(of_this_version),
                *own.get("pageferry_stand_in_ticks").expect(of_this_version),
                *own.get("pageferry_stand_in_hold").expect(of_this_version),
            )
        };
        let stand_in = Self { path, library, configure, report, ticks, hold };
        stand_in.configure(config);
        stand_in
    }

    /// Copies the library to `folder`, as `libqat.so.4`, for another process to load.
    ///
    /// # Panics
    /// If the library is not beside the executable, or cannot be copied.
    #[must_use]
    pub fn copy_to(folder: &Path) -> PathBuf {
        let path = folder.join("libqat.so.4");
        let built = built();
        std::fs::copy(&built, &path)
            .unwrap_or_else(|error| panic!("cannot copy {} to {}: {error}", built.display(), path.display()));
        path
    }

    /// Where it was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It, as its callers know it.
    #[must_use]
    pub fn library(&self) -> Arc<Libqat> {
        Arc::clone(&self.library)
    }

    /// Makes it another one, with nothing of what it was: it forgets memory that was allocated. A violation if it is started.
    ///
    /// # Panics
    /// If the library does not understand it, or is started and records violations.
    pub fn configure(&self, config: Config) {
        let json = serde_json::to_vec(&config).expect("a configuration can be written");
        // SAFETY: so many bytes are there, and the function keeps none of them.
        let status = unsafe { (self.configure)(json.as_ptr(), json.len()) };
        assert_eq!(status, CpaStatus::SUCCESS, "the stand-in cannot be configured: {config:?}");
    }

    /// Has a device that restarts not be closed once its callers were told of that, as the vendor's library takes its time over
    /// it, or has it be closed.
    pub fn hold_restarts(&self, hold: bool) {
        // SAFETY: the function takes nothing else.
        unsafe { (self.hold)(hold) };
    }

    /// Ticks that instant operations were in the library until now, as [`Report::ticks_inside`] has them, without the report.
    #[must_use]
    pub fn ticks_inside(&self) -> u64 {
        // SAFETY: the function takes nothing.
        unsafe { (self.ticks)() }
    }

    /// What it did, and what was done to it, since it was configured.
    ///
    /// # Panics
    /// If the library writes what nobody understands.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut json = Vec::new();
        loop {
            // SAFETY: so much room is there.
            let bytes = unsafe { (self.report)(json.as_mut_ptr(), json.len()) };
            if bytes <= json.len() {
                return serde_json::from_slice(&json[..bytes]).expect("a report");
            }
            // It may get longer until it is asked for again.
            json = vec![0; bytes + 1024];
        }
    }
}

/// The library as cargo built it: beside a test, or below a program.
fn built() -> PathBuf {
    let executable = std::env::current_exe().expect("a process knows its executable");
    let folder = executable.parent().expect("an executable is in a folder");
    // Beside a program there may be one that was built for itself, and is older than the program's own.
    let places = [folder.join("deps").join(BUILT), folder.join(BUILT)];
    let found = places.iter().find(|place| place.is_file());
    found.cloned().unwrap_or_else(|| {
        panic!(
            "the stand-in for libqat is neither {} nor {}: build it with `cargo build -p pageferry-qat-stand-in`, with the \
             same profile, target and target folder; cargo does so by itself for a crate that depends on it",
            places[0].display(),
            places[1].display()
        )
    })
}

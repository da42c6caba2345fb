//! QATzip's device path: the vendor's QATzip on the stand-in for the library below it.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pageferry_bindings::qatzip::library::{Libqatzip, NAMES};
use pageferry_qat_stand_in::{Config, Report, StandIn};

use crate::packages;
use crate::watchdog::Watchdog;

/// Set in a process that has the stand-in where the dynamic linker looks first: the folder that it is in.
const FOLDER: &str = "PAGEFERRY_QATZIP_DEVICE";

/// Where the dynamic linker looks first, as the process was started with it.
const LINKER: &str = "LD_LIBRARY_PATH";

/// The name of the vendor's library of pinned memory, whose functions the stand-in has too.
const MEMORY: &str = "libusdm.so.0";

/// QATzip, and what it takes for its device.
pub struct Device {
    /// QATzip itself, which is the vendor's.
    pub library: Arc<Libqatzip>,
    stand_in: StandIn,
}

impl Device {
    fn new(folder: &Path, config: Config) -> Result<Self, String> {
        let stand_in = StandIn::open(folder.join("libqat.so.4"), config);
        let beside = folder.join(NAMES[0]);
        let library =
            if beside.exists() { Libqatzip::load_from(beside.as_os_str()) } else { Libqatzip::load() };
        Ok(Self { library: library.map_err(|error| error.to_string())?, stand_in })
    }

    /// What the stand-in did, and what was done to it.
    #[must_use]
    pub fn report(&self) -> Report {
        self.stand_in.report()
    }
}

/// Runs `body` in a process of its own, since QATzip keeps to the device that it first saw, and since the dynamic linker is
/// told of the stand-in when a process starts. `test` is the calling test, by its name in its binary; it is run again there.
///
/// Without QATzip it says so, and nothing is tested.
///
/// # Panics
/// If that process fails: in `body`, or by a violation of the rules of the device.
pub fn with_device(test: &str, config: Config, body: impl FnOnce(&Device)) {
    if let Some(folder) = env::var_os(FOLDER) {
        let _watchdog = Watchdog::over(test);
        match Device::new(Path::new(&folder), config) {
            Ok(device) => body(&device),
            Err(reason) => println!("skipped: {reason}"),
        }
        return;
    }
    let beside = env::var_os(packages::ROOT).map(|root| packages::qatzip_in(Path::new(&root))).transpose();
    match beside {
        Ok(beside) => run_again(test, beside.as_deref()),
        Err(reason) => println!("skipped: {reason}"),
    }
}

fn run_again(test: &str, qatzip: Option<&Path>) {
    let folder = tempfile::tempdir().expect("a folder for the libraries");
    let stand_in = StandIn::copy_to(folder.path());
    // One file by two names is one library: the dynamic linker knows it by its inode.
    symlink(&stand_in, folder.path().join(MEMORY)).expect("a link to the stand-in");
    if let Some(qatzip) = qatzip {
        // Not beside the vendor's libraries of the same folder.
        let real = fs::canonicalize(qatzip).expect("a file that was found");
        symlink(real, folder.path().join(NAMES[0])).expect("a link to QATzip");
    }
    let before = env::var_os(LINKER).unwrap_or_default();
    let mut places = vec![PathBuf::from(folder.path())];
    places.extend(env::split_paths(&before).filter(|place| !place.as_os_str().is_empty()));
    let output = Command::new(env::current_exe().expect("a process knows its executable"))
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder.path())
        .env(LINKER, env::join_paths(places).expect("folders without a colon"))
        .output()
        .expect("this test again");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    println!("{}", said.concat());
    assert!(output.status.success(), "{test}: {}", output.status);
    assert!(said[0].contains("1 passed"), "{test} was not run again: {}", said[0]);
}

//! The vendor's packaged libraries, where a machine has them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use pageferry_bindings::qatzip::library::{Libqatzip, NAMES};

/// The folder that `.ci/qat-packages` unpacked the packages into.
pub const ROOT: &str = "PAGEFERRY_QAT_PACKAGES";

/// The real QATzip: that of the folder that [`ROOT`] names, else the system's.
///
/// # Errors
/// Why there is none.
pub fn qatzip() -> Result<Arc<Libqatzip>, String> {
    static LIBRARY: OnceLock<Result<Arc<Libqatzip>, String>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            let loaded = match env::var_os(ROOT) {
                Some(root) => Libqatzip::load_from(qatzip_in(Path::new(&root))?.as_os_str()),
                None => Libqatzip::load(),
            };
            loaded.map_err(|error| error.to_string())
        })
        .clone()
}

/// The library's file in a folder that packages were unpacked into.
///
/// # Errors
/// If there is none.
pub fn qatzip_in(root: &Path) -> Result<PathBuf, String> {
    // The folder below is named by the machine's architecture.
    let folders =
        fs::read_dir(root.join("usr/lib")).map_err(|error| format!("{}: {error}", root.display()))?;
    let files = folders.flatten().map(|folder| folder.path().join(NAMES[0]));
    files
        .into_iter()
        .find(|file| file.exists())
        .ok_or_else(|| format!("{} has no {}", root.display(), NAMES[0]))
}

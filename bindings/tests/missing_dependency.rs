//! QATzip without what it needs; in a process of its own, since a library that is loaded once is found by all.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use pageferry_bindings::qat::library::NAMES as LIBQAT_NAMES;
use pageferry_bindings::qatzip::library::{Libqatzip, NAMES};
use pageferry_bindings::vendor::LoadError;

/// QATzip in the folder that packages were unpacked into.
fn unpacked() -> Option<PathBuf> {
    let root = env::var_os("PAGEFERRY_QAT_PACKAGES")?;
    let folders = fs::read_dir(Path::new(&root).join("usr/lib")).ok()?.flatten();
    folders.map(|folder| folder.path().join(NAMES[0])).find(|file| file.exists())
}

#[test]
fn a_library_that_is_missing_is_named_with_its_package_and_found_in_the_same_folder() {
    let Some(file) = unpacked() else {
        println!("skipped: PAGEFERRY_QAT_PACKAGES names no folder with {}", NAMES[0]);
        return;
    };
    // SAFETY: loading the vendor's library has no precondition.
    if unsafe { libloading::Library::new(LIBQAT_NAMES[0]) }.is_ok() {
        println!("skipped: {} is installed", LIBQAT_NAMES[0]);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join(NAMES[0]);
    fs::copy(&file, &alone).unwrap();
    let error = Libqatzip::load_from(alone.as_os_str()).unwrap_err();
    let text = error.to_string();
    let LoadError::MissingDependency { package, .. } = error else { panic!("{text}") };
    assert!(["libqat4", "libusdm0"].contains(&package), "{text}");
    assert!(text.contains(&*alone.to_string_lossy()) && text.contains(package), "{text}");
    // With its dependencies beside it, it loads, and says where from.
    let library = Libqatzip::load_from(file.as_os_str()).unwrap();
    assert_eq!(OsStr::new(library.name()), file.as_os_str());
    assert_eq!(library.stand_in(), None);
}

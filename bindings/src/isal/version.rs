//! Which release of ISA-L was loaded, for reports.

use std::ffi::{CStr, OsStr, c_char};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libloading::Library;

use super::DeflateFn;

/// The release: what the library says of itself (from 2.32 on), else what the name of its file says.
pub(super) fn version_of(library: &Library, deflate: DeflateFn) -> Option<String> {
    type VersionFn = unsafe extern "C" fn() -> *const c_char;
    // SAFETY: isal_api.h declares the function with this type; it returns a string that is never freed.
    let said = unsafe {
        library
            .get::<VersionFn>("isal_get_version_str")
            .ok()
            .map(|version| version())
            .filter(|text| !text.is_null())
            .map(|text| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    said.or_else(|| version_of_file(&std::fs::canonicalize(file_of(deflate)?).ok()?))
}

/// The file from which a function was loaded.
fn file_of(function: DeflateFn) -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr only compares the address; on success it fills info, and dli_fname is a string of the
    // dynamic linker that lives as long as the library is loaded, which it is: the caller holds it.
    unsafe {
        if libc::dladdr(function as *const libc::c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = info.assume_init().dli_fname;
        (!name.is_null()).then(|| PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes())))
    }
}

/// `libisal.so.2.0.30` is release 2.30: the build numbers its file so.
fn version_of_file(path: &Path) -> Option<String> {
    let minor = path.file_name()?.to_str()?.strip_prefix("libisal.so.2.0.")?;
    minor.parse::<u32>().ok().map(|minor| format!("2.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_tells_the_release() {
        let of = |name: &str| version_of_file(Path::new(name));
        assert_eq!(of("/usr/lib/libisal.so.2.0.30").as_deref(), Some("2.30"));
        assert_eq!(of("/usr/lib/libisal.so.2"), None);
        assert_eq!(of("/usr/lib/libisal.so.2.0.x"), None);
    }
}

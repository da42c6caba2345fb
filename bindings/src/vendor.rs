//! How the vendor's QAT libraries are loaded, `libqat` and `libqatzip` alike: found, bound, and never unloaded.

use std::error::Error;
use std::ffi::{CStr, OsStr, OsString, c_char};
use std::mem::ManuallyDrop;
use std::path::Path;

use libloading::Library;
use libloading::os::unix;

/// What the libraries need of each other, in the order in which it is to be loaded where it lies in the same folder.
const OWN: [&str; 2] = ["libusdm.so.0", "libqat.so.4"];

/// What a library that cannot be loaded may lack, and the Debian package that has it.
const DEPENDENCIES: [(&str, &str); 6] = [
    ("libqat.so", "libqat4"),
    ("libusdm.so", "libusdm0"),
    ("liblz4.so", "liblz4-1"),
    ("libnuma.so", "libnuma1"),
    ("libz.so", "zlib1g"),
    ("libcrypto.so", "libssl3"),
];

/// A library of the vendor's, in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendors {
    /// What it is called.
    pub name: &'static str,
    /// The packages that have it.
    pub packages: &'static str,
    /// What a file is that lacks one of its functions.
    pub otherwise: &'static str,
}

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic linker did not find or accept any of the files.
    #[error("{} cannot be loaded ({detail}): install the vendor's {} ({})", names.join(", "), library.name, library.packages)]
    NotFound {
        /// Which library it is.
        library: Vendors,
        /// The names or paths that were tried.
        names: Vec<String>,
        /// What the dynamic linker said of the first.
        detail: String,
        /// Its error.
        source: libloading::Error,
    },
    /// The file is there, but not one that it needs.
    #[error("{name} cannot be loaded ({detail}): install the package that has it (Debian: {package})")]
    MissingDependency {
        /// The name or path that was tried.
        name: String,
        /// What the dynamic linker said.
        detail: String,
        /// The package that has what is missing.
        package: &'static str,
        /// The dynamic linker's error.
        source: libloading::Error,
    },
    /// The file is a library, but not this one.
    #[error("{name} has no function {symbol}: it is not the vendor's {}, or {}", library.name, library.otherwise)]
    MissingSymbol {
        /// Which library was looked for.
        library: Vendors,
        /// The name or path that was loaded.
        name: String,
        /// The function that was looked for.
        symbol: &'static str,
        /// What the dynamic linker said.
        source: libloading::Error,
    },
}

/// A library that is loaded until the process ends: it has threads and handlers of its own, and devices write to memory that
/// is its.
#[derive(Debug)]
pub(crate) struct Loaded {
    library: Vendors,
    file: ManuallyDrop<Library>,
    name: String,
}

impl Loaded {
    /// Loads the first of `names` that there is. Of a path, what the library needs of the vendor's is taken from the same
    /// folder if it is there.
    pub(crate) fn first(library: Vendors, names: &[OsString]) -> Result<Self, LoadError> {
        let mut first = None;
        for name in names {
            load_dependencies(name);
            let shown = name.to_string_lossy().into_owned();
            // SAFETY: the vendor's initialisers have no precondition. That the name stands for the vendor's library is the
            // caller's, and the system's, word.
            let source = match unsafe { Library::new(name) } {
                Ok(file) => return Ok(Self { library, file: ManuallyDrop::new(file), name: shown }),
                Err(source) => source,
            };
            let detail = source.source().unwrap_or(&source).to_string();
            // The linker's words begin with the file that it did not find.
            let lacks = |file: &&str| detail.starts_with(*file) && !shown.starts_with(*file);
            if let Some((_, package)) = DEPENDENCIES.iter().find(|(file, _)| lacks(file)) {
                return Err(LoadError::MissingDependency { name: shown, detail, package, source });
            }
            first = first.or(Some((detail, source)));
        }
        let names = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let (detail, source) =
            first.unwrap_or_else(|| (String::from("no name"), libloading::Error::DlOpenUnknown));
        Err(LoadError::NotFound { library, names, detail, source })
    }

    /// The name or path that was loaded.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A function that the library must have.
    pub(crate) fn required<T: Copy>(&self, symbol: &'static str) -> Result<T, LoadError> {
        // SAFETY: the vendor's header declares the function with the type of the field it is kept in.
        let found = unsafe { self.file.get::<T>(symbol) };
        found.map(|function| *function).map_err(|source| LoadError::MissingSymbol {
            library: self.library,
            name: self.name.clone(),
            symbol,
            source,
        })
    }

    /// A function that it may have.
    pub(crate) fn optional<T: Copy>(&self, symbol: &str) -> Option<T> {
        // SAFETY: as in `required`.
        unsafe { self.file.get::<T>(symbol) }.ok().map(|function| *function)
    }

    /// What the library, or one below it, calls itself, if it is no vendor's but takes its place: it then exports
    /// `pageferry_stand_in`, a function that returns its name.
    pub(crate) fn stand_in(&self) -> Option<String> {
        let name: unsafe extern "C" fn() -> *const c_char = self.optional("pageferry_stand_in")?;
        // SAFETY: a stand-in is pageferry's own, and returns a string that is never freed.
        let name = unsafe { CStr::from_ptr(name()) };
        Some(name.to_string_lossy().into_owned())
    }
}

/// Loads what lies beside a file of [`OWN`], for the linker to find it by its name; it stays. What cannot be loaded, the
/// library itself will miss.
fn load_dependencies(name: &OsStr) {
    let folder = Path::new(name).parent().filter(|folder| !folder.as_os_str().is_empty());
    let files = folder.into_iter().flat_map(|folder| OWN.map(|own| folder.join(own)));
    for path in files.filter(|path| path.exists() && path.as_os_str() != name) {
        let flags = unix::RTLD_NOW | unix::RTLD_GLOBAL;
        // SAFETY: as for the library itself, in `first`.
        if let Ok(library) = unsafe { unix::Library::open(Some(path), flags) } {
            let _stays = ManuallyDrop::new(library);
        }
    }
}

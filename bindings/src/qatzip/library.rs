//! The loaded library: its functions, as `qatzip.h` declares them.

use std::error::Error;
use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;

use libloading::Library;
use libloading::os::unix;

use super::layout::{CommonParameters, DeflateParameters, ExtendedDeflateParameters, RawSession, log};
use super::status::QzStatus;

/// The names by which the dynamic linker may find the library.
pub const NAMES: [&str; 2] = ["libqatzip.so.3", "libqatzip.so"];

/// What the library needs, in the order in which it is to be loaded where it lies in the same folder.
const VENDORS_OWN: [&str; 2] = ["libusdm.so.0", "libqat.so.4"];

/// What a library that cannot be loaded may lack, and the Debian package that has it.
const DEPENDENCIES: [(&str, &str); 6] = [
    ("libqat.so", "libqat4"),
    ("libusdm.so", "libusdm0"),
    ("liblz4.so", "liblz4-1"),
    ("libnuma.so", "libnuma1"),
    ("libz.so", "zlib1g"),
    ("libcrypto.so", "libssl3"),
];

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic linker did not find or accept any of the files.
    #[error(
        "{} cannot be loaded ({detail}): install the vendor's QATzip (Debian from trixie on: libqatzip3)",
        names.join(", ")
    )]
    NotFound {
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
    #[error("{name} has no function {symbol}: it is not QATzip, or older than 1.1")]
    MissingSymbol {
        /// The name or path that was loaded.
        name: String,
        /// The function that was looked for.
        symbol: &'static str,
        /// What the dynamic linker said.
        source: libloading::Error,
    },
}

/// Declares the functions of the library, and how they are found in it.
macro_rules! functions {
    (
        required { $($(#[$doc:meta])* $name:ident = $symbol:ident: fn($($argument:ty),* $(,)?) $(-> $result:ty)?;)* }
        optional { $($(#[$odoc:meta])* $oname:ident = $osymbol:ident: fn($($oargument:ty),* $(,)?) -> $oresult:ty;)* }
    ) => {
        /// The loaded library: one field a function, to be called as its header says.
        ///
        /// It stays loaded until the process ends: it has threads and handlers of its own, and devices write to memory
        /// that is its.
        #[derive(Debug)]
        pub struct Libqatzip {
            $($(#[$doc])* pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            $($(#[$odoc])* pub $oname: Option<unsafe extern "C" fn($($oargument),*) -> $oresult>,)*
            name: String,
            stand_in: Option<String>,
            _library: ManuallyDrop<Library>,
        }

        fn bind(library: Library, name: String) -> Result<Libqatzip, LoadError> {
            Ok(Libqatzip {
                $($name: required(&library, &name, stringify!($symbol))?,)*
                $($oname: optional(&library, stringify!($osymbol)),)*
                stand_in: stand_in(&library),
                name,
                _library: ManuallyDrop::new(library),
            })
        }
    };
}

functions! {
    required {
        /// Brings up the process's part, and says whether software is allowed. Any number of times.
        init = qzInit: fn(*mut RawSession, u8) -> QzStatus;
        /// Makes a session of deflate, of a zeroed structure. The parameters are only read.
        set_up_deflate = qzSetupSessionDeflate: fn(*mut RawSession, *mut DeflateParameters) -> QzStatus;
        /// Ends a session; the structure may then be set up anew.
        tear_down = qzTeardownSession: fn(*mut RawSession) -> QzStatus;
        /// Compresses: source and its length (then: what was read), destination and its length (then: what was
        /// written), 1 if the stream ends with it, more about the result.
        compress = qzCompressExt:
            fn(*mut RawSession, *const u8, *mut u32, *mut u8, *mut u32, u32, *mut u64) -> QzStatus;
        /// Decompresses, likewise.
        decompress = qzDecompressExt:
            fn(*mut RawSession, *const u8, *mut u32, *mut u8, *mut u32, *mut u64) -> QzStatus;
        /// Memory, on a node, pinned or not.
        allocate = qzMalloc: fn(usize, c_int, c_int) -> *mut c_void;
        /// Whether a byte is in pinned memory: 1, or 0.
        is_pinned = qzMemFindAddr: fn(*mut u8) -> c_int;
    }
    optional {
        /// Makes a session of deflate that can stop where a stream ends. From 1.3 on.
        set_up_extended_deflate = qzSetupSessionDeflateExt:
            fn(*mut RawSession, *mut ExtendedDeflateParameters) -> QzStatus;
        /// Whether the last decompression of such a session met a stream's end. From 1.3 on.
        end_of_stream = qzGetDeflateEndOfStream: fn(*mut RawSession, *mut u8) -> QzStatus;
        /// Makes a session of LZ4.
        set_up_lz4 = qzSetupSessionLZ4: fn(*mut RawSession, *mut CommonParameters) -> QzStatus;
        /// How much it writes to the process's own streams. From 1.3 on.
        set_log_level = qzSetLogLevel: fn(c_int) -> c_int;
    }
}

impl Libqatzip {
    /// Loads the library from where the dynamic linker finds it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load() -> Result<Arc<Self>, LoadError> {
        Self::load_first(&NAMES.map(OsString::from))
    }

    /// Loads the library by a name or path. Of a path, what the library needs of the vendor's is taken from the same
    /// folder if it is there.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_from(name: &OsStr) -> Result<Arc<Self>, LoadError> {
        if let Some(folder) = Path::new(name).parent().filter(|folder| !folder.as_os_str().is_empty()) {
            load_dependencies(folder);
        }
        Self::load_first(&[name.to_owned()])
    }

    fn load_first(names: &[OsString]) -> Result<Arc<Self>, LoadError> {
        let mut first = None;
        for name in names {
            let shown = name.to_string_lossy().into_owned();
            // SAFETY: the vendor's initialisers have no precondition. That the name stands for the vendor's library is the
            // caller's, and the system's, word.
            let source = match unsafe { Library::new(name) } {
                Ok(library) => return bind(library, shown).map(quiet).map(Arc::new),
                Err(source) => source,
            };
            let detail = source.source().unwrap_or(&source).to_string();
            // The linker's words begin with the file that it did not find.
            if let Some((_, package)) = DEPENDENCIES.iter().find(|(file, _)| detail.starts_with(file)) {
                return Err(LoadError::MissingDependency { name: shown, detail, package, source });
            }
            first = first.or(Some((detail, source)));
        }
        let names = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let (detail, source) =
            first.unwrap_or_else(|| (String::from("no name"), libloading::Error::DlOpenUnknown));
        Err(LoadError::NotFound { names, detail, source })
    }

    /// The name or path that was loaded.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the library below this one calls itself, if it is no vendor's but takes its place: it then exports
    /// `pageferry_stand_in`, a function that returns its name.
    #[must_use]
    pub fn stand_in(&self) -> Option<&str> {
        self.stand_in.as_deref()
    }
}

/// Loads what lies there of [`VENDORS_OWN`], for the linker to find it by its name; it stays. What cannot be loaded, the
/// library itself will miss.
fn load_dependencies(folder: &Path) {
    for path in VENDORS_OWN.map(|name| folder.join(name)).iter().filter(|path| path.exists()) {
        let flags = unix::RTLD_NOW | unix::RTLD_GLOBAL;
        // SAFETY: as for the library itself, in `load_first`.
        if let Ok(library) = unsafe { unix::Library::open(Some(path), flags) } {
            let _stays = ManuallyDrop::new(library);
        }
    }
}

/// Has the library write nothing to the process's own streams.
fn quiet(library: Libqatzip) -> Libqatzip {
    if let Some(set_log_level) = library.set_log_level {
        // SAFETY: the function sets a number.
        unsafe { set_log_level(log::NONE) };
    }
    library
}

fn required<T: Copy>(library: &Library, name: &str, symbol: &'static str) -> Result<T, LoadError> {
    // SAFETY: the vendor's header declares the function with the type of the field it is kept in.
    let found = unsafe { library.get::<T>(symbol) };
    found.map(|function| *function).map_err(|source| LoadError::MissingSymbol {
        name: name.to_owned(),
        symbol,
        source,
    })
}

fn optional<T: Copy>(library: &Library, symbol: &str) -> Option<T> {
    // SAFETY: as in `required`.
    unsafe { library.get::<T>(symbol) }.ok().map(|function| *function)
}

fn stand_in(library: &Library) -> Option<String> {
    // Looked for in what the library needs, too.
    let name: unsafe extern "C" fn() -> *const c_char = optional(library, "pageferry_stand_in")?;
    // SAFETY: a stand-in is pageferry's own, and returns a string that is never freed.
    let name = unsafe { CStr::from_ptr(name()) };
    Some(name.to_string_lossy().into_owned())
}

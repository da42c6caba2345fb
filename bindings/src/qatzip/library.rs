//! The loaded library: its functions, as `qatzip.h` declares them.

use std::ffi::{OsStr, OsString, c_int, c_void};
use std::sync::Arc;

use super::layout::{CommonParameters, DeflateParameters, ExtendedDeflateParameters, RawSession, log};
use super::status::QzStatus;
use crate::vendor::{LoadError, Loaded, Vendors};

/// The names by which the dynamic linker may find the library.
pub const NAMES: [&str; 2] = ["libqatzip.so.3", "libqatzip.so"];

/// In messages.
const VENDORS: Vendors = Vendors {
    name: "QATzip",
    packages: "Debian from trixie on: libqatzip3, Fedora: qatzip-libs",
    otherwise: "older than 1.1",
};

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
        }

        fn bind(loaded: &Loaded) -> Result<Libqatzip, LoadError> {
            Ok(Libqatzip {
                $($name: loaded.required(stringify!($symbol))?,)*
                $($oname: loaded.optional(stringify!($osymbol)),)*
                stand_in: loaded.stand_in(),
                name: loaded.name().to_owned(),
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
        Self::load_first(&[name.to_owned()])
    }

    fn load_first(names: &[OsString]) -> Result<Arc<Self>, LoadError> {
        bind(&Loaded::first(VENDORS, names)?).map(quiet).map(Arc::new)
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

/// Has the library write nothing to the process's own streams.
fn quiet(library: Libqatzip) -> Libqatzip {
    if let Some(set_log_level) = library.set_log_level {
        // SAFETY: the function sets a number.
        unsafe { set_log_level(log::NONE) };
    }
    library
}

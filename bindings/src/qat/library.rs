//! The loaded library: its functions, as `cpa_dc.h`, `icp_sal_user.h`, `icp_sal_poll.h` and `qae_mem.h` declare them.

use std::ffi::{OsStr, OsString, c_char, c_int, c_void};
use std::sync::Arc;

use super::cpa::{BufferList, CpaStatus, InstanceHandle, InstanceInfo, NotifyFn, TranslateFn};
use super::dc::{CallbackFn, Capabilities, OpData, Results, SessionHandle, SessionSetup};
use crate::vendor::{LoadError, Loaded, Vendors};

/// The names by which the dynamic linker may find the library, newest first: that of qatlib from 23.08 on, those before,
/// and that of the out-of-tree driver's package.
pub const NAMES: [&str; 4] = ["libqat.so.4", "libqat.so.3", "libqat.so.2", "libqat_s.so"];

/// In messages.
const VENDORS: Vendors = Vendors {
    name: "libqat",
    packages: "Debian from trixie on: libqat4 and libusdm0, Fedora: qatlib",
    otherwise: "one without data compression",
};

/// Declares the functions of the library, and how they are found in it.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident: fn($($argument:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        /// The loaded library: one field a function, to be called as its header says.
        ///
        /// It stays loaded until the process ends: it has threads and handlers of its own, and devices write to memory
        /// that is its.
        #[derive(Debug)]
        pub struct Libqat {
            $($(#[$doc])* pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Makes memory of the caller's reachable for the device: the I/O address of its first byte, or 0. Its bytes
            /// begin and end at 4 KiB and are 2 GiB at most. From qatlib 26.02 on (`qaeMemMapContiguousIova`).
            pub map_memory: Option<unsafe extern "C" fn(*mut c_void, usize) -> u64>,
            /// Undoes that (`qaeMemUnmapContiguousIova`).
            pub unmap_memory: Option<unsafe extern "C" fn(*mut c_void, usize) -> c_int>,
            name: String,
            stand_in: Option<String>,
        }

        fn bind(loaded: &Loaded) -> Result<Libqat, LoadError> {
            Ok(Libqat {
                $($name: loaded.required(stringify!($symbol))?,)*
                map_memory: loaded.optional("qaeMemMapContiguousIova"),
                unmap_memory: loaded.optional("qaeMemUnmapContiguousIova"),
                stand_in: loaded.stand_in(),
                name: loaded.name().to_owned(),
            })
        }
    };
}

functions! {
    /// Brings up the process's part of the service, under the name of a section of its configuration. Counted.
    user_start = icp_sal_userStart: fn(*const c_char) -> CpaStatus;
    /// Gives it back.
    user_stop = icp_sal_userStop: fn() -> CpaStatus;
    /// Looks for what happened to devices, and tells those whom it concerns. Not to be called by two threads at once.
    poll_device_events = icp_sal_poll_device_events: fn() -> CpaStatus;
    /// How many instances of data compression this process has.
    instance_count = cpaDcGetNumInstances: fn(*mut u16) -> CpaStatus;
    /// They.
    instances = cpaDcGetInstances: fn(u16, *mut InstanceHandle) -> CpaStatus;
    /// What one says of itself.
    instance_info = cpaDcInstanceGetInfo2: fn(InstanceHandle, *mut InstanceInfo) -> CpaStatus;
    /// What one can do.
    capabilities = cpaDcQueryCapabilities: fn(InstanceHandle, *mut Capabilities) -> CpaStatus;
    /// How many intermediate buffers dynamic codes need: none from the fourth generation on.
    intermediate_buffer_count = cpaDcGetNumIntermediateBuffers: fn(InstanceHandle, *mut u16) -> CpaStatus;
    /// Starts an instance, with as many intermediate buffers.
    start_instance = cpaDcStartInstance: fn(InstanceHandle, u16, *mut *mut BufferList) -> CpaStatus;
    /// Stops it.
    stop_instance = cpaDcStopInstance: fn(InstanceHandle) -> CpaStatus;
    /// By what it translates addresses; before any session.
    set_address_translation = cpaDcSetAddressTranslation: fn(InstanceHandle, TranslateFn) -> CpaStatus;
    /// Whom it tells of events, nobody if there is no function.
    set_notification = cpaDcInstanceSetNotificationCb: fn(InstanceHandle, Option<NotifyFn>, *mut c_void) -> CpaStatus;
    /// How much pinned memory a session takes, and a context.
    session_size = cpaDcGetSessionSize: fn(InstanceHandle, *mut SessionSetup, *mut u32, *mut u32) -> CpaStatus;
    /// Makes a session in such memory; without a callback, operations are waited for.
    init_session = cpaDcInitSession:
        fn(InstanceHandle, SessionHandle, *mut SessionSetup, *mut BufferList, Option<CallbackFn>) -> CpaStatus;
    /// Ends a session; `RETRY` while it has operations in flight.
    remove_session = cpaDcRemoveSession: fn(InstanceHandle, SessionHandle) -> CpaStatus;
    /// How much pinned memory a list of so many buffers takes.
    list_metadata_size = cpaDcBufferListGetMetaSize: fn(InstanceHandle, u32, *mut u32) -> CpaStatus;
    /// Compresses: source, destination, how, the results, the callback's tag. Lists, results and tag stay until the callback.
    compress = cpaDcCompressData2: fn(
        InstanceHandle, SessionHandle, *mut BufferList, *mut BufferList, *mut OpData, *mut Results, *mut c_void,
    ) -> CpaStatus;
    /// Decompresses, likewise.
    decompress = cpaDcDecompressData2: fn(
        InstanceHandle, SessionHandle, *mut BufferList, *mut BufferList, *mut OpData, *mut Results, *mut c_void,
    ) -> CpaStatus;
    /// Calls the callbacks of what is done, of as many as are asked for (0: of all); `RETRY` if of none. By one thread of an
    /// instance's at a time.
    poll_instance = icp_sal_DcPollInstance: fn(InstanceHandle, u32) -> CpaStatus;
    /// Pinned memory on a node, aligned; 64 MiB at most.
    allocate = qaeMemAllocNUMA: fn(usize, c_int, usize) -> *mut c_void;
    /// Gives it back, and makes the pointer null.
    free = qaeMemFreeNUMA: fn(*mut *mut c_void);
    /// The device's address of a byte of such memory or, from 26.02 on, of memory that was mapped; 0 if it has none.
    translate = qaeVirtToPhysNUMA: fn(*mut c_void) -> u64;
}

impl Libqat {
    /// Loads the library from where the dynamic linker finds it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load() -> Result<Arc<Self>, LoadError> {
        Self::load_first(&NAMES.map(OsString::from))
    }

    /// Loads the library by a name or path. Of a path, `libusdm` is taken from the same folder if it is there.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_from(name: &OsStr) -> Result<Arc<Self>, LoadError> {
        Self::load_first(&[name.to_owned()])
    }

    fn load_first(names: &[OsString]) -> Result<Arc<Self>, LoadError> {
        bind(&Loaded::first(VENDORS, names)?).map(Arc::new)
    }

    /// The name or path that was loaded.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it calls itself, if it is no vendor's library but takes its place: it then exports
    /// `pageferry_stand_in`, a function that returns its name.
    #[must_use]
    pub fn stand_in(&self) -> Option<&str> {
        self.stand_in.as_deref()
    }
}

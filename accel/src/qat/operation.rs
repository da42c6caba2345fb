//! One operation of a device: its scatter lists, what it came to, and whether it is answered.

use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering::Acquire, Ordering::Release};

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, InstanceHandle};
use pageferry_bindings::qat::dc::{OpData, ReqStatus, Results};
use pageferry_bindings::qat::library::Libqat;

use super::refusal::check;
use crate::queue::OpenError;

/// An operation, in pinned memory, where it stays until it is over.
#[repr(C)]
pub(super) struct Operation {
    pub(super) source: BufferList,
    pub(super) destination: BufferList,
    pub(super) how: OpData,
    pub(super) results: Results,
    /// The status of its callback, [`PENDING`] until then.
    answer: AtomicI32,
}

/// No status of the library's.
const PENDING: i32 = i32::MAX;

/// What the results say until the device's have come. An operation that is answered with this was ended by the library, not
/// by the device.
const NO_RESULTS: i32 = i32::MIN;

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is not over.
    Pending,
    /// The device is done with it.
    Done {
        /// What the callback was told.
        status: CpaStatus,
        /// What came of it.
        results: Results,
    },
    /// The library says that it is over, without a word of the device's.
    Abandoned,
}

impl Operation {
    /// An operation to be handed over, with these lists.
    pub(super) fn new(source: BufferList, destination: BufferList, how: OpData) -> Self {
        let results = Results { status: NO_RESULTS, ..Results::default() };
        Self { source, destination, how, results, answer: AtomicI32::new(PENDING) }
    }

    /// What became of it by now.
    ///
    /// # Safety
    /// `operation` was made by [`new`](Self::new).
    pub(super) unsafe fn answer(operation: *const Self) -> Answer {
        // SAFETY: the caller vouches for it; the library writes results before it calls back, and not after.
        let status = unsafe { &(*operation).answer }.load(Acquire);
        if status == PENDING {
            return Answer::Pending;
        }
        // SAFETY: as above.
        let results = unsafe { (&raw const (*operation).results).read() };
        match results.status {
            NO_RESULTS => Answer::Abandoned,
            _ => Answer::Done { status: CpaStatus(status), results },
        }
    }
}

/// Called by the library as an operation ends, in the thread that polls the instance.
pub(super) extern "C" fn answered(operation: *mut c_void, status: CpaStatus) {
    // SAFETY: the tag is an operation that was handed over and stays until it is over.
    unsafe { &(*operation.cast::<Operation>()).answer }.store(status.0, Release);
}

/// How much memory the library needs for a list of so many buffers.
///
/// # Errors
/// [`OpenError::Device`] with what it says.
pub(super) fn metadata_bytes(
    library: &Libqat,
    name: &str,
    handle: InstanceHandle,
    buffers: u32,
) -> Result<usize, OpenError> {
    let mut bytes = 0;
    // SAFETY: the library writes one number.
    let status = unsafe { (library.list_metadata_size)(handle, buffers, &raw mut bytes) };
    check(name, "ask for the size of a list's metadata", status)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    status: CpaStatus,
    pub(super) said: ReqStatus,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.said {
            ReqStatus::OK => self.status.fmt(f),
            said => said.fmt(f),
        }
    }
}

/// What a finished operation has, or why it failed.
pub(super) fn outcome(status: CpaStatus, results: Results) -> Result<Results, Failed> {
    let said = ReqStatus(results.status);
    if status == CpaStatus::SUCCESS && said == ReqStatus::OK {
        Ok(results)
    } else {
        Err(Failed { status, said })
    }
}

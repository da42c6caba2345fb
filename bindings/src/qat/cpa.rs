//! What all of the vendor's API shares (`cpa.h`): statuses, buffer lists, what an instance says of itself.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

/// What a call answers (`CpaStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct CpaStatus(pub i32);

impl CpaStatus {
    /// It did what was asked.
    pub const SUCCESS: Self = Self(0);
    /// An error without a name.
    pub const FAIL: Self = Self(-1);
    /// The ring is full, or a poll found nothing.
    pub const RETRY: Self = Self(-2);
    /// A resource that is needed is not there.
    pub const RESOURCE: Self = Self(-3);
    /// A parameter is wrong.
    pub const INVALID_PARAM: Self = Self(-4);
    /// A serious error.
    pub const FATAL: Self = Self(-5);
    /// Not supported.
    pub const UNSUPPORTED: Self = Self(-6);
    /// The device restarts: to be submitted again later.
    pub const RESTARTING: Self = Self(-7);
}

impl fmt::Display for CpaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::SUCCESS => "success",
            Self::FAIL => "fail",
            Self::RETRY => "retry",
            Self::RESOURCE => "resource missing",
            Self::INVALID_PARAM => "invalid parameter",
            Self::FATAL => "fatal",
            Self::UNSUPPORTED => "unsupported",
            Self::RESTARTING => "restarting",
            _ => "unknown",
        };
        write!(f, "{name} ({})", self.0)
    }
}

/// `CpaBoolean`.
pub type CpaBoolean = u32;

/// `CPA_TRUE`.
pub const TRUE: CpaBoolean = 1;

/// `CPA_FALSE`.
pub const FALSE: CpaBoolean = 0;

/// An instance: a ring pair of a device that this process may use (`CpaInstanceHandle`).
pub type InstanceHandle = *mut c_void;

/// Memory that is contiguous for the device (`CpaFlatBuffer`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FlatBuffer {
    /// How many bytes.
    pub bytes: u32,
    /// The first of them, in this process.
    pub data: *mut u8,
}

/// A scatter list (`CpaBufferList`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BufferList {
    /// How many buffers, at least 1 and less than [`MAX_BUFFERS`].
    pub count: u32,
    /// They, one behind the other.
    pub buffers: *mut FlatBuffer,
    /// The caller's own.
    pub user: *mut c_void,
    /// Pinned memory for what the device reads of this list, as much as `cpaDcBufferListGetMetaSize` says.
    pub metadata: *mut c_void,
}

/// A list has fewer buffers than this (qatlib `lac_buffer_desc.c`).
pub const MAX_BUFFERS: u32 = 256;

impl Default for FlatBuffer {
    fn default() -> Self {
        Self { bytes: 0, data: ptr::null_mut() }
    }
}

impl Default for BufferList {
    fn default() -> Self {
        Self { count: 0, buffers: ptr::null_mut(), user: ptr::null_mut(), metadata: ptr::null_mut() }
    }
}

/// Translates an address of this process to the device's, 0 if it cannot (`CpaVirtualToPhysical`).
pub type TranslateFn = unsafe extern "C" fn(*mut c_void) -> u64;

/// Told of a change in an instance's state, with what was registered (`CpaDcInstanceNotificationCbFunc`).
pub type NotifyFn = extern "C" fn(InstanceHandle, *mut c_void, InstanceEvent);

/// What happened to an instance (`CpaInstanceEvent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct InstanceEvent(pub u32);

impl InstanceEvent {
    /// Its device is about to restart.
    pub const RESTARTING: Self = Self(0);
    /// Its device has restarted.
    pub const RESTARTED: Self = Self(1);
    /// Its device must be reset.
    pub const FATAL_ERROR: Self = Self(2);
}

/// What an instance says of itself (`CpaInstanceInfo2`).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct InstanceInfo {
    /// One of [`service`].
    pub service: u32,
    /// Who made it.
    pub vendor: [u8; 64],
    /// Which part it is on: `4xxx`.
    pub part: [u8; 64],
    /// The library's version.
    pub software_version: [u8; 64],
    /// Its name in the configuration.
    pub name: [u8; 64],
    /// Its name among all of the machine.
    pub id: [u8; 128],
    /// Where it is.
    pub location: PhysicalInstance,
    /// The cores that its interrupts go to, a bit each.
    pub cores: [u32; 128],
    /// Its NUMA node.
    pub node: u32,
    /// 1 if it is up.
    pub state: u32,
    /// Whether the device needs physical (or I/O) addresses; if not, it takes those of this process.
    pub needs_contiguous_memory: CpaBoolean,
    /// Whether completions are found by polling.
    pub polled: CpaBoolean,
    /// Whether a device does the work.
    pub offloaded: CpaBoolean,
}

/// Which part of which device an instance is (`CpaPhysicalInstanceId`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PhysicalInstance {
    /// The package.
    pub package: u16,
    /// The device among those that this process has.
    pub accelerator: u16,
    /// The engine.
    pub engine: u16,
    /// Bus, device and function in one number: 8, 5 and 3 bits.
    pub bus_address: u16,
    /// Of key protection.
    pub key_handle: u32,
}

/// What an instance is for (`CpaAccelerationServiceType`).
pub mod service {
    /// Compression, and decompression where the part does both.
    pub const COMPRESSION: u32 = 1;
}

impl InstanceInfo {
    /// All zero, as before it is asked for.
    #[must_use]
    pub const fn zeroed() -> Self {
        // SAFETY: every field is made of integers.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> String {
        text(&self.name)
    }

    /// The part it is on.
    #[must_use]
    pub fn part(&self) -> String {
        text(&self.part)
    }

    /// Who made it.
    #[must_use]
    pub fn vendor(&self) -> String {
        text(&self.vendor)
    }

    /// The library's version.
    #[must_use]
    pub fn software_version(&self) -> String {
        text(&self.software_version)
    }
}

impl fmt::Display for PhysicalInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bus_address, .. } = self;
        write!(f, "{:02x}:{:02x}.{}", bus_address >> 8, bus_address >> 3 & 0x1f, bus_address & 7)
    }
}

/// The text of a field that a zero ends.
fn text(field: &[u8]) -> String {
    CStr::from_bytes_until_nul(field).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

//! Which pages of a guest were written, by what the page tables of this process say: userfaultfd's asynchronous write
//! protection, read with `PAGEMAP_SCAN` (Linux 6.7 and later).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use pageferry_bindings::linux::pagemap::{Categories, PAGEMAP_SCAN, PageRegion, ScanArguments, ScanFlags};
use pageferry_bindings::linux::userfaultfd::{
    self, API_VERSION, Api, Features, Range, Register, RegisterMode, UNREGISTER, WriteProtect,
    WriteProtectMode,
};

use super::GuestRam;
use super::tracking::{TrackingError, kernel_release};
use crate::units::Gpa;

/// Guest memory whose pages the kernel protects against writing, and opens at the first write to each without asking anybody.
///
/// Writes through this process's mapping are noticed: those of its threads, of the kernel on their behalf (`read` into guest
/// memory), and of vCPUs of KVM. Writes that do not pass its page tables are not: those of another process that maps
/// the same file, and of a device's DMA into pages that are pinned for it. Memory that is given back to the system
/// (`MADV_DONTNEED`) is not written by that.
pub struct WriteProtection {
    regions: Vec<Protected>,
    userfaultfd: OwnedFd,
    pagemap: File,
    /// What one scan found; as long as it can be.
    found: Box<[PageRegion]>,
    /// Keeps the mappings alive.
    _ram: Arc<GuestRam>,
}

/// A region of guest memory in this process.
#[derive(Clone, Copy)]
struct Protected {
    gpa: Gpa,
    range: Range,
    /// Whether it is our userfaultfd that watches it. What another one watches is not ours to let go.
    watched: bool,
}

/// The features that it takes.
const FEATURES: Features =
    Features::WP_ASYNC.union(Features::WP_UNPOPULATED).union(Features::WP_HUGETLBFS_SHMEM);
/// How many regions a scan finds at most. The kernel itself gathers 512 at a time.
const FOUND_AT_MOST: usize = 4096;
/// How much is protected or scanned in one call, so that none keeps the process's mappings locked for long.
const STEP_BYTES: u64 = 1 << 30;
const INSTEAD: &str = "use KVM's dirty log, or have whoever writes mark the pages";

impl WriteProtection {
    /// Asks the kernel for what it takes, and protects nothing yet.
    ///
    /// # Errors
    /// [`TrackingError::Unsupported`] where the kernel is older than Linux 6.7 or was built without userfaultfd, and
    /// [`TrackingError::Io`] where the process may not use it.
    pub fn new(ram: Arc<GuestRam>) -> Result<Self, TrackingError> {
        let userfaultfd = with_features(FEATURES)?;
        let pagemap = File::open("/proc/self/pagemap").map_err(|source| TrackingError::Io {
            attempt: String::from("open /proc/self/pagemap, which only a process that may be traced can"),
            source,
        })?;
        let shift = ram.page_size().shift();
        let region = |(pages, dma): (super::PageRange, crate::dma::DmaRange)| Protected {
            gpa: Gpa(pages.first.0 << shift),
            range: Range { start: dma.host.0, len: dma.bytes as u64 },
            watched: false,
        };
        let regions = ram.ranges().zip(ram.dma_ranges()).map(region).collect();
        let found = vec![PageRegion::default(); FOUND_AT_MOST].into_boxed_slice();
        Ok(Self { regions, userfaultfd, pagemap, found, _ram: ram })
    }

    /// Protects every page anew; what was written before is forgotten.
    ///
    /// Pages that were never touched are protected too, for which the kernel makes page tables: 2 MiB a GiB of guest memory. Huge
    /// pages stay whole until they are written.
    ///
    /// # Errors
    /// [`TrackingError::Io`] most often because another userfaultfd has the memory, such as one that is to serve its missing pages.
    pub fn protect(&mut self) -> Result<(), TrackingError> {
        let protected = (0..self.regions.len()).try_for_each(|index| self.protect_region(index));
        if protected.is_err() {
            // The first failure says more than one of the cleaning up.
            let _ = self.release();
        }
        protected
    }

    fn protect_region(&mut self, index: usize) -> Result<(), TrackingError> {
        let region = self.regions[index];
        let mut register = Register { range: region.range, mode: RegisterMode::WP, ioctls: 0 };
        // SAFETY: the kernel reads and writes this structure alone. What it does to the range changes no byte of it, and the
        // range is a mapping that `_ram` keeps.
        let answer =
            unsafe { libc::ioctl(self.userfaultfd.as_raw_fd(), userfaultfd::REGISTER, &raw mut register) };
        if answer != 0 {
            return Err(TrackingError::last(format!(
                "have userfaultfd watch the {} bytes of guest memory at {} (EBUSY: another one does; EINVAL: they are no whole \
                 pages of this host)",
                region.range.len, region.gpa
            )));
        }
        self.regions[index].watched = true;
        steps(region.range).try_for_each(|range| self.protect_step(region, range))
    }

    fn protect_step(&self, region: Protected, range: Range) -> Result<(), TrackingError> {
        let mut protect = WriteProtect { range, mode: WriteProtectMode::WP };
        loop {
            // SAFETY: the kernel reads this structure alone; protecting changes no byte of the range, and no thread notices but by
            // the time of its next write. The range is a mapping that `_ram` keeps.
            let answer = unsafe {
                libc::ioctl(self.userfaultfd.as_raw_fd(), userfaultfd::WRITEPROTECT, &raw mut protect)
            };
            if answer == 0 {
                return Ok(());
            }
            // While mappings change it asks to be called again.
            let again = [Some(libc::EAGAIN), Some(libc::EINTR)];
            if !again.contains(&io::Error::last_os_error().raw_os_error()) {
                return Err(TrackingError::last(format!(
                    "protect guest memory at {} against writing",
                    region.gpa
                )));
            }
        }
    }

    /// Hands on the guest addresses and lengths in bytes of what was written since it was protected or last taken, in whole pages of
    /// this host, and protects that again. A write that comes meanwhile is handed on now or the next time.
    ///
    /// # Errors
    /// [`TrackingError::Io`] if something was handed on that was not all, such as where memory is no longer watched (`EPERM`).
    pub fn take_written(&mut self, mut written: impl FnMut(Gpa, u64)) -> Result<(), TrackingError> {
        for index in 0..self.regions.len() {
            let region = self.regions[index];
            for range in steps(region.range) {
                self.scan(region, range, &mut written)?;
            }
        }
        Ok(())
    }

    fn scan(
        &mut self,
        region: Protected,
        range: Range,
        written: &mut impl FnMut(Gpa, u64),
    ) -> Result<(), TrackingError> {
        let end = range.start + range.len;
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            flags: ScanFlags::WP_MATCHING | ScanFlags::CHECK_WPASYNC,
            start: range.start,
            end,
            vec: self.found.as_mut_ptr().addr() as u64,
            vec_len: self.found.len() as u64,
            category_mask: Categories::WRITTEN,
            return_mask: Categories::WRITTEN,
            ..ScanArguments::default()
        };
        while arguments.start < end {
            // SAFETY: the kernel writes to this structure, and at most `vec_len` regions to `found`, which nobody else has now. What
            // it does to the range is to protect it, as in `protect_step`.
            let found = unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
            let Ok(found) = usize::try_from(found) else {
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => continue,
                    _ => {
                        return Err(TrackingError::last(format!(
                            "find the written pages of the {} bytes of guest memory at {}",
                            region.range.len, region.gpa
                        )));
                    }
                }
            };
            for pages in self.found.iter().take(found) {
                let gpa = Gpa(region.gpa.0 + (pages.start - region.range.start));
                written(gpa, pages.end - pages.start);
            }
            arguments.start = arguments.walk_end;
        }
        Ok(())
    }

    /// No longer watches; the guest writes at full speed. Releasing what is not protected is no error.
    ///
    /// # Errors
    /// [`TrackingError::Io`] if the kernel does not let go.
    pub fn release(&mut self) -> Result<(), TrackingError> {
        let mut all = Ok(());
        for region in self.regions.iter_mut().filter(|region| region.watched) {
            all = all.and(release(&self.userfaultfd, region));
        }
        all
    }
}

fn release(userfaultfd: &OwnedFd, region: &mut Protected) -> Result<(), TrackingError> {
    let mut range = region.range;
    // SAFETY: the kernel reads this structure alone, and lifts the protection that the same userfaultfd set up.
    let answer = unsafe { libc::ioctl(userfaultfd.as_raw_fd(), UNREGISTER, &raw mut range) };
    if answer != 0 {
        return Err(TrackingError::last(format!("stop watching guest memory at {}", region.gpa)));
    }
    region.watched = false;
    Ok(())
}

/// A range in parts of [`STEP_BYTES`] at most.
fn steps(range: Range) -> impl Iterator<Item = Range> {
    let end = range.start + range.len;
    (0..range.len.div_ceil(STEP_BYTES)).map(move |step| {
        let start = range.start + step * STEP_BYTES;
        Range { start, len: STEP_BYTES.min(end - start) }
    })
}

/// A userfaultfd of this process with these features.
fn with_features(features: Features) -> Result<OwnedFd, TrackingError> {
    let userfaultfd = open()?;
    if ask(&userfaultfd, features).is_ok() {
        return Ok(userfaultfd);
    }
    // A kernel that lacks one of them says so of none; asked for nothing, it lists those it has.
    let has = ask(&open()?, Features::empty()).map_err(|source| TrackingError::Io {
        attempt: String::from("ask userfaultfd for its features"),
        source,
    })?;
    let lacks = features.difference(has);
    Err(TrackingError::Unsupported {
        what: format!(
            "userfaultfd's asynchronous write protection, which came with Linux 6.7 (this is Linux {}, without {lacks:?}),",
            kernel_release()
        ),
        remedy: INSTEAD,
    })
}

/// Asks for features, and answers with all that the kernel has.
fn ask(userfaultfd: &OwnedFd, features: Features) -> io::Result<Features> {
    let mut api = Api { api: API_VERSION, features, ioctls: 0 };
    // SAFETY: the kernel reads and writes this structure alone.
    if unsafe { libc::ioctl(userfaultfd.as_raw_fd(), userfaultfd::API, &raw mut api) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(api.features)
}

/// A new userfaultfd: by the system call, or by the device where a filter of system calls refuses that.
///
/// Asynchronous write protection has no events, for faults of the kernel neither, so that [`userfaultfd::USER_MODE_ONLY`] is
/// enough and no privilege is needed.
fn open() -> Result<OwnedFd, TrackingError> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | userfaultfd::USER_MODE_ONLY;
    // SAFETY: it makes a file descriptor and touches no memory.
    let answer = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if let Some(opened) = owned(answer) {
        return Ok(opened);
    }
    let refused = io::Error::last_os_error();
    let device = match OpenOptions::new().read(true).write(true).open(userfaultfd::DEVICE) {
        Ok(device) => device,
        Err(device) => return Err(not_opened(refused, &device)),
    };
    // SAFETY: as above.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), userfaultfd::NEW, flags) };
    owned(answer.into()).ok_or_else(|| not_opened(refused, &io::Error::last_os_error()))
}

/// The file descriptor that a system call has just made, unless it failed.
fn owned(answer: libc::c_long) -> Option<OwnedFd> {
    let fd = i32::try_from(answer).ok().filter(|&fd| fd >= 0)?;
    // SAFETY: the caller's system call has made it, and nobody else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Why there is no userfaultfd: what the system call said, and what the device.
fn not_opened(refused: io::Error, device: &io::Error) -> TrackingError {
    match refused.raw_os_error() {
        // A filter of system calls may say the same; the device then tells that the kernel has it.
        Some(libc::ENOSYS) if device.kind() == io::ErrorKind::NotFound => TrackingError::Unsupported {
            what: format!("userfaultfd (this is Linux {}, built without it)", kernel_release()),
            remedy: INSTEAD,
        },
        Some(libc::EINVAL) => TrackingError::Unsupported {
            what: format!(
                "userfaultfd's asynchronous write protection, which came with Linux 6.7 (this is Linux {}),",
                kernel_release()
            ),
            remedy: INSTEAD,
        },
        _ => TrackingError::Io {
            attempt: format!(
                "make a userfaultfd: it takes no privilege, but a container's seccomp profile must allow the system call, or {} \
                 be there and readable and writable by this user ({device})",
                userfaultfd::DEVICE
            ),
            source: refused,
        },
    }
}

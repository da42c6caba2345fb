//! Memory that devices read and write: what there is to map, and the arenas that buffers are cut from.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory of this process that a device is to reach.
///
/// Devices are given the addresses of this process: with shared virtual memory they translate them themselves, and
/// with VFIO every range is mapped at an I/O address that equals its host address.
#[derive(Clone, Debug)]
pub struct DmaRange {
    /// The first byte's address in this process.
    pub host: HostAddress,
    /// How many bytes.
    pub bytes: usize,
    /// The file that is mapped there, if it is one: what a device model in another process maps too.
    pub file: Option<BackingFile>,
}

/// An address of this process, and the device's name for the same byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostAddress(pub u64);

/// A file that a range of memory maps.
#[derive(Clone, Debug)]
pub struct BackingFile {
    /// The file.
    pub file: Arc<File>,
    /// Where in the file the range begins.
    pub offset: u64,
}

impl HostAddress {
    /// Where `pointer` points.
    #[must_use]
    pub fn of<T>(pointer: *const T) -> Self {
        Self(pointer.addr() as u64)
    }

    /// The address `bytes` further on.
    #[must_use]
    pub const fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// One mapping of zeroed memory, from which blocks are cut until it is used up.
///
/// It is backed by a memory file, so that a device in another process can map it. Memory is allocated as it is touched.
#[derive(Debug)]
pub struct Arena {
    mapping: Arc<Mapping>,
    /// Where the next block begins.
    next: Mutex<usize>,
}

/// Bytes of an arena that belong to whoever holds this, and to the device that was given their address.
#[derive(Debug)]
pub struct Block {
    mapping: Arc<Mapping>,
    start: NonNull<u8>,
    bytes: usize,
}

#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    file: Option<Arc<File>>,
}

// SAFETY: a mapping is an address range; whoever touches its bytes holds the block that they are in.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}
// SAFETY: a block is the only one that has its bytes, as a `Box` is.
unsafe impl Send for Block {}
// SAFETY: as above; a shared block is only read.
unsafe impl Sync for Block {}

/// Blocks begin at multiples of this: whole pages, which mapping and batch lists need.
const ALIGNMENT: usize = 4096;

impl Arena {
    /// Room for `blocks` blocks of `bytes` bytes.
    ///
    /// # Errors
    /// What `memfd_create`, `ftruncate` or `mmap` says.
    pub fn new(blocks: usize, bytes: usize) -> io::Result<Self> {
        Self::of(Mapping::new, blocks, bytes)
    }

    /// The same in memory of this process alone, which no device in another process reaches. The system may back it by huge pages:
    /// to touch a page of it for the first time takes a fraction of what it takes in a file's memory.
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn private(blocks: usize, bytes: usize) -> io::Result<Self> {
        Self::of(Mapping::private, blocks, bytes)
    }

    fn of(map: fn(usize) -> io::Result<Mapping>, blocks: usize, bytes: usize) -> io::Result<Self> {
        let whole =
            blocks.checked_mul(bytes.next_multiple_of(ALIGNMENT)).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { mapping: Arc::new(map(whole.max(ALIGNMENT))?), next: Mutex::new(0) })
    }

    /// The next `bytes` zeroed bytes, if there are as many left.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Block> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let end = next.checked_add(bytes.next_multiple_of(ALIGNMENT))?;
        if end > self.mapping.bytes {
            return None;
        }
        // SAFETY: `next` is within the mapping.
        let start = unsafe { self.mapping.start.add(*next) };
        *next = end;
        Some(Block { mapping: Arc::clone(&self.mapping), start, bytes })
    }

    /// All of it, to be mapped for a device.
    #[must_use]
    pub fn range(&self) -> DmaRange {
        let Mapping { start, bytes, ref file } = *self.mapping;
        let file = file.as_ref().map(|file| BackingFile { file: Arc::clone(file), offset: 0 });
        DmaRange { host: HostAddress::of(start.as_ptr()), bytes, file }
    }
}

impl Block {
    /// A block in an arena of its own, which no device has mapped.
    ///
    /// # Errors
    /// As [`Arena::new`].
    pub fn alone(bytes: usize) -> io::Result<Self> {
        let arena = Arena::new(1, bytes)?;
        arena.take(bytes).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Two blocks: the first `bytes` bytes, and the rest.
    ///
    /// # Panics
    /// If there are not as many.
    #[must_use]
    pub fn split(self, bytes: usize) -> (Self, Self) {
        assert!(bytes <= self.bytes, "{bytes} bytes of a block of {}", self.bytes);
        let first = Self { mapping: Arc::clone(&self.mapping), start: self.start, bytes };
        // SAFETY: `bytes` is within the block.
        let start = unsafe { self.start.add(bytes) };
        let rest = Self { start, bytes: self.bytes - bytes, mapping: self.mapping };
        (first, rest)
    }

    /// Where it is, for a device. What the device then writes, nobody else may touch meanwhile.
    #[must_use]
    pub fn address(&self) -> HostAddress {
        HostAddress::of(self.start.as_ptr())
    }

    /// The first byte, for those who share it with a device.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl std::ops::Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are mapped for as long as the mapping, and only this block has them. Drivers see to it that no
        // device writes to them while there is a reference: they look at a block after its completion.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl std::ops::DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

/// Keeps what a device may still write to, now that nobody can stop it, where it is until the process ends.
pub(crate) fn keep_for_ever(memory: impl Send + 'static) {
    static KEPT: Mutex<Vec<Box<dyn Send>>> = Mutex::new(Vec::new());
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(memory));
}

impl Mapping {
    /// Of a memory file; without one where the system has none, and then other processes cannot map it.
    fn new(bytes: usize) -> io::Result<Self> {
        let file = if cfg!(miri) { None } else { memory_file(bytes)? };
        let start = match &file {
            Some(file) => map_shared(file, 0, bytes)?,
            None => return Self::private(bytes),
        };
        Ok(Self { start, bytes, file: file.map(Arc::new) })
    }

    fn private(bytes: usize) -> io::Result<Self> {
        let start = map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        if !cfg!(miri) {
            // SAFETY: mapped just above. That it gets no huge pages is no failure.
            unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        Ok(Self { start, bytes, file: None })
    }
}

fn memory_file(bytes: usize) -> io::Result<Option<File>> {
    // SAFETY: the name is a C string, and nothing else is passed.
    let fd = unsafe { libc::memfd_create(c"pageferry".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ENOSYS) { Ok(None) } else { Err(error) };
    }
    // SAFETY: the descriptor was opened just above and is nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(bytes as u64)?;
    Ok(Some(file))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this, and blocks keep the mapping alive.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Maps `bytes` of a file, shared, to be read and written.
pub(crate) fn map_shared(file: &impl AsFd, offset: u64, bytes: usize) -> io::Result<NonNull<u8>> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    map(bytes, libc::MAP_SHARED, file.as_fd().as_raw_fd(), offset)
}

fn map(bytes: usize, flags: libc::c_int, fd: RawFd, offset: libc::off_t) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping touches nothing that exists.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, fd, offset) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zero_apart_and_outlive_their_arena() {
        let arena = Arena::new(2, 100).unwrap();
        let (mut first, mut second) = (arena.take(100).unwrap(), arena.take(100).unwrap());
        assert!(arena.take(1).is_none(), "room for two was asked for");
        let range = arena.range();
        drop(arena);
        first.fill(1);
        second.fill(2);
        assert!(first.iter().all(|&byte| byte == 1) && second.iter().all(|&byte| byte == 2));
        for block in [&first, &second] {
            assert!(
                block.address() >= range.host
                    && block.address().offset(100) <= range.host.offset(range.bytes)
            );
            assert_eq!(block.address().0 % 4096, 0);
        }
    }

    #[test]
    fn private_memory_has_no_file_behind_it() {
        let arena = Arena::private(2, 100).unwrap();
        assert!(arena.range().file.is_none());
        let mut block = arena.take(100).unwrap();
        assert!(block.iter().all(|&byte| byte == 0));
        block.fill(3);
        assert_eq!(arena.take(100).unwrap().address(), block.address().offset(4096));
    }

    #[test]
    fn the_file_behind_an_arena_is_the_same_memory() {
        let arena = Arena::new(1, 4096).unwrap();
        let mut block = arena.take(4096).unwrap();
        let BackingFile { file, offset } = arena.range().file.unwrap();
        let elsewhere = map_shared(&*file, offset, 4096).unwrap();
        block[7] = 42;
        // SAFETY: mapped just above, for 4096 bytes.
        let seen = unsafe {
            let seen = elsewhere.as_ptr().add(7).read_volatile();
            libc::munmap(elsewhere.as_ptr().cast(), 4096);
            seen
        };
        assert_eq!(seen, 42);
    }
}

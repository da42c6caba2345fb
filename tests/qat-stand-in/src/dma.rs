//! How a device reads and writes memory of the process, which others may read and write at that time.

/// Memory of the process that a device reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub address: usize,
    pub bytes: usize,
}

impl Piece {
    pub(crate) const fn end(self) -> usize {
        self.address + self.bytes
    }
}

/// Bytes of all pieces.
pub(crate) fn total(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.bytes).sum()
}

/// Reads all pieces, one behind the other.
///
/// # Safety
/// The pieces are memory of the process that is readable; others may write to it.
pub(crate) unsafe fn gather(pieces: &[Piece], into: &mut Vec<u8>) {
    into.clear();
    into.reserve(total(pieces));
    for piece in pieces {
        let end = into.len();
        // SAFETY: there is room for all pieces; the caller vouches for what is read.
        unsafe {
            copy(piece.address as *const u8, into.as_mut_ptr().add(end), piece.bytes);
            into.set_len(end + piece.bytes);
        }
    }
}

/// Writes bytes to the pieces, one behind the other, as far as they go.
///
/// # Safety
/// The pieces are memory of the process that is writable; others may read and write it.
pub(crate) unsafe fn scatter(mut bytes: &[u8], pieces: &[Piece]) {
    for piece in pieces {
        let (now, later) = bytes.split_at(piece.bytes.min(bytes.len()));
        // SAFETY: not more is written than the piece has; the caller vouches for that.
        unsafe { copy(now.as_ptr(), piece.address as *mut u8, now.len()) };
        bytes = later;
    }
}

/// One instruction, which no compiler reads twice or reorders, whoever writes to the memory meanwhile.
#[cfg(target_arch = "x86_64")]
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the callers above vouch for both ranges; the direction flag is clear by the calling convention.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    for offset in 0..bytes {
        // SAFETY: the callers above vouch for both ranges.
        unsafe { to.add(offset).write_volatile(from.add(offset).read_volatile()) };
    }
}

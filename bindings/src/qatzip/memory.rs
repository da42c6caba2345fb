//! Memory of the library's allocator, which devices reach without a copy.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use super::layout::memory::{ANY_NODE, PINNED};
use super::library::Libqatzip;

/// Zeroed bytes of pinned memory, owned as a `Box` owns its own.
///
/// They are never given back to the library: it remembers the addresses of what was pinned and does not forget them, so
/// that it would have devices use whatever the system puts there next. What is dropped here is taken again later.
#[derive(Debug)]
pub struct Pinned {
    whole: Piece,
    bytes: usize,
}

/// What the allocator gave at once.
#[derive(Debug)]
struct Piece {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory is nobody else's, and of no thread.
unsafe impl Send for Piece {}
// SAFETY: as above; shared, it is only read.
unsafe impl Sync for Piece {}

/// What was dropped.
static SPARE: Mutex<Vec<Piece>> = Mutex::new(Vec::new());

impl Pinned {
    /// `bytes` bytes, or nothing if the allocator has none that devices reach.
    #[must_use]
    pub fn new(library: &Arc<Libqatzip>, bytes: usize) -> Option<Self> {
        let whole = spare(bytes).or_else(|| allocate(library, bytes))?;
        let mut pinned = Self { whole, bytes };
        pinned.fill(0);
        Some(pinned)
    }
}

fn spare(bytes: usize) -> Option<Piece> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    // Not one so long that it is missed elsewhere.
    let fits = |piece: &Piece| (bytes..=2 * bytes).contains(&piece.bytes);
    spare.iter().position(fits).map(|index| spare.swap_remove(index))
}

fn allocate(library: &Libqatzip, bytes: usize) -> Option<Piece> {
    // SAFETY: the allocator takes any size, and answers null if it does not.
    let start = NonNull::new(unsafe { (library.allocate)(bytes, ANY_NODE, PINNED) })?.cast::<u8>();
    // SAFETY: the function looks the address up in a table and does not follow it.
    let pinned = unsafe { (library.is_pinned)(start.as_ptr()) };
    // What is not pinned was not asked for, and is of no use here; the library has no such answer to this question.
    (pinned == PINNED).then(|| {
        // SAFETY: the allocator gave `bytes` bytes, which nobody else has.
        unsafe { start.write_bytes(0, bytes) };
        Piece { start, bytes }
    })
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let Piece { start, bytes } = self.whole;
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).push(Piece { start, bytes });
    }
}

impl Deref for Pinned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the piece is as long or longer, initialised when it was allocated, and this one's alone until it is
        // dropped. Devices write to it during a call that has it mutably borrowed, only.
        unsafe { slice::from_raw_parts(self.whole.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`.
        unsafe { slice::from_raw_parts_mut(self.whole.start.as_ptr(), self.bytes) }
    }
}

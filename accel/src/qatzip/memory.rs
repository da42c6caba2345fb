//! Buffers that the library need not copy, where it has any.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use pageferry_bindings::qatzip::library::Libqatzip;
use pageferry_bindings::qatzip::memory::Pinned;

use crate::dma::Block;
use crate::private_copies::CopyMemory;
use crate::request::Payload;

/// Bytes that the library reads and writes.
pub(super) enum Memory {
    /// Its own, which devices reach.
    Pinned(Pinned),
    /// Ordinary memory, where it has none: it copies to and from its own for a device.
    Ordinary(Block),
}

impl Memory {
    /// `bytes` bytes of the library's, or else what `otherwise` gives.
    pub(super) fn new(
        library: &Arc<Libqatzip>,
        bytes: usize,
        otherwise: impl FnOnce() -> io::Result<Block>,
    ) -> io::Result<Self> {
        Pinned::new(library, bytes)
            .map_or_else(|| otherwise().map(Self::Ordinary), |own| Ok(Self::Pinned(own)))
    }

    pub(super) fn is_pinned(&self) -> bool {
        matches!(self, Self::Pinned(_))
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Pinned(memory) => memory,
            Self::Ordinary(memory) => memory,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Pinned(memory) => memory,
            Self::Ordinary(memory) => memory,
        }
    }
}

impl CopyMemory for Memory {
    fn become_payload(&mut self, payload: &mut Payload, bytes: usize) {
        match self {
            Self::Pinned(memory) => {
                payload.buffer()[..bytes].copy_from_slice(&memory[..bytes]);
                payload.set_filled(bytes);
            }
            Self::Ordinary(memory) => memory.become_payload(payload, bytes),
        }
    }
}

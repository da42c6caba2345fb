//! The two ways into a kernel work queue: its portal mapped into this process, and `write(2)`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::instruction::{Handover, Instruction};

use crate::dma::map_shared;
use crate::idxd::portal::{Portal, PortalRefusal};

/// One page of portal addresses, mapped. A child process after a fork does not have it.
#[derive(Debug)]
pub struct MappedPortal {
    page: NonNull<u8>,
    /// How many descriptors went through: they take turns at the page's addresses.
    turn: AtomicUsize,
    instruction: Instruction,
    /// Dropped after the page is unmapped: closing is what has the kernel drain the queue.
    _file: File,
}

/// The bytes that are mapped, as much as the kernel allows (`drivers/dma/idxd/cdev.c`).
const PAGE: usize = 4096;
/// The portal addresses of a page.
const ADDRESSES: usize = PAGE / Descriptor::BYTES;

// SAFETY: the page stays mapped until the drop, wherever that is, and is written through portal stores alone.
unsafe impl Send for MappedPortal {}
// SAFETY: as above; a portal takes descriptors from any number of threads, each store of 64 bytes being one. Where plain
// stores stand in, each of 64 threads at once has an address of its own.
unsafe impl Sync for MappedPortal {}

impl MappedPortal {
    /// Maps the page of `file` that begins at `offset`, to be written to by `instruction`. A kernel work queue has its
    /// portal at 0; a function that is reached through VFIO has those of dedicated queues where its BAR 2 is.
    ///
    /// # Errors
    /// What `mmap` says: `EPERM` where the kernel keeps portals to the privileged. [`io::ErrorKind::Unsupported`] if this
    /// CPU does not have the instruction.
    ///
    /// # Safety
    /// The page is of portals that take descriptors by `instruction`, or of memory that a model reads and nobody else
    /// writes; [`Instruction::PlainStores`] only there.
    pub unsafe fn map(file: File, offset: u64, instruction: Instruction) -> io::Result<Self> {
        if !instruction.is_available() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let page = map_shared(&file, offset, PAGE)?;
        Ok(Self { page, turn: AtomicUsize::new(0), instruction, _file: file })
    }
}

impl Portal for MappedPortal {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % ADDRESSES;
        // SAFETY: within the page, which is mapped until the drop.
        let address = unsafe { self.page.cast::<Descriptor>().add(turn) };
        // SAFETY: `map` asked whether the CPU has the instruction, and its caller said that the page takes it; the address
        // is aligned, as pages are. Linux gives a thread its PASID at the first ENQCMD, the queue being open. What
        // the device does to memory is the business of our caller.
        match unsafe { self.instruction.hand_over(address, descriptor) } {
            Handover::Done => Ok(()),
            Handover::Retry => Err(PortalRefusal::Retry),
        }
    }
}

impl Drop for MappedPortal {
    fn drop(&mut self) {
        // SAFETY: `map` mapped exactly this, and nobody has its address any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

/// A work queue that is written to: the kernel looks at each descriptor and hands it on. Batches it refuses.
#[derive(Debug)]
pub struct WrittenPortal {
    file: File,
}

impl WrittenPortal {
    /// A work queue's file that is open for writing.
    ///
    /// # Errors
    /// What a write of nothing says: `EINVAL` from kernels that take no descriptors this way.
    pub fn new(file: File) -> io::Result<Self> {
        write(&file, &[])?;
        Ok(Self { file })
    }
}

impl Portal for WrittenPortal {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        use zerocopy::IntoBytes;
        loop {
            match write(&self.file, descriptor.as_bytes()) {
                Ok(Descriptor::BYTES) => return Ok(()),
                Ok(_) => return Err(PortalRefusal::Retry),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Err(PortalRefusal::Retry),
                    _ => return Err(PortalRefusal::Gone),
                },
            }
        }
    }

    fn takes_batches(&self) -> bool {
        false
    }
}

/// `write(2)` as it is: a write of nothing is made too.
fn write(file: &File, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: as many bytes as the slice has are read from it.
    let written = unsafe { libc::write(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use pageferry_bindings::idxd::flags::DescriptorFlags;
    use pageferry_bindings::idxd::opcode::Opcode;
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;
    use crate::idxd::kernel::fixture::Tree;

    fn descriptor(index: u32) -> Descriptor {
        Descriptor { bytes: index, ..Descriptor::new(Opcode::NOOP, DescriptorFlags::REQUEST_COMPLETION) }
    }

    fn submit(portal: &dyn Portal, index: u32) -> Result<(), PortalRefusal> {
        // SAFETY: a descriptor without addresses; nobody acts on it.
        unsafe { portal.submit(&descriptor(index)) }
    }

    fn arrive_at_rotating_offsets(instruction: Instruction) {
        let tree = Tree::new();
        let path = tree.node("dsa/wq0.0");
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // SAFETY: a file of one page that nobody else writes.
        let portal = unsafe { MappedPortal::map(file, 0, instruction) }.unwrap();
        assert!(portal.takes_batches());
        for index in 0..70 {
            submit(&portal, index).unwrap();
        }
        drop(portal);
        let bytes = std::fs::read(&path).unwrap();
        // The page's 64 addresses took a turn each, and the first six of them another.
        let expected: Vec<u8> = (0..64)
            .map(|at| if at < 6 { 64 + at } else { at })
            .flat_map(|index| descriptor(index).as_bytes().to_vec())
            .collect();
        assert!(bytes == expected, "descriptors are not where they should be");
    }

    #[test]
    fn descriptors_arrive_whole_at_rotating_addresses_by_plain_stores() {
        arrive_at_rotating_offsets(Instruction::PlainStores);
    }

    #[test]
    fn descriptors_arrive_whole_at_rotating_addresses_by_movdir64b() {
        if Instruction::Movdir64b.is_available() {
            arrive_at_rotating_offsets(Instruction::Movdir64b);
        } else {
            println!("skipped: this CPU has no MOVDIR64B");
        }
    }

    #[test]
    fn written_descriptors_arrive_whole_and_in_order() {
        let tree = Tree::new();
        let path = tree.empty_node("dsa/wq0.0");
        let portal = WrittenPortal::new(OpenOptions::new().write(true).open(&path).unwrap()).unwrap();
        assert!(!portal.takes_batches());
        for index in 0..3 {
            submit(&portal, index).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        let seen: Vec<_> =
            bytes.chunks(64).map(|bytes| Descriptor::read_from_bytes(bytes).unwrap()).collect();
        assert_eq!(seen, [descriptor(0), descriptor(1), descriptor(2)]);
    }

    #[test]
    fn a_full_queue_is_retried_and_a_vanished_one_is_gone() {
        use std::os::fd::{FromRawFd, OwnedFd};
        let mut ends = [0; 2];
        // SAFETY: two descriptors are written to where there is room for them.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) }, 0);
        // SAFETY: they were opened just above, and are nobody else's.
        let [reader, writer] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let portal = WrittenPortal::new(writer.into()).unwrap();
        let refusal = (0..1 << 20).find_map(|index| submit(&portal, index).err());
        assert_eq!(refusal, Some(PortalRefusal::Retry), "a full pipe answers EAGAIN");
        drop(reader);
        assert_eq!(submit(&portal, 0), Err(PortalRefusal::Gone), "a pipe without reader answers EPIPE");
    }

    #[test]
    fn a_file_that_takes_no_writes_is_found_out_before_the_first_descriptor() {
        let tree = Tree::new();
        let file = File::open(tree.empty_node("dsa/wq0.0")).unwrap();
        assert_eq!(WrittenPortal::new(file).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}

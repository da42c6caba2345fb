//! A model behind a vfio-user server, for drivers in other processes.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pageferry_bindings::idxd::descriptor::Descriptor;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_BAR2_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};
use zerocopy::FromBytes;

use super::{Instruction, Model};

/// A socket at which a model waits for one client. It is removed when this is dropped.
pub struct ModelServer {
    server: Server,
    listener: UnixListener,
    model: Arc<Model>,
    _socket: Socket,
}

/// Ends the wait for a client, from any thread. One that is there is served until it leaves.
pub struct Stop {
    listener: UnixListener,
}

/// A server that could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Something is at the socket's place.
    #[error(
        "{socket} is there already: if no model listens there any more, remove it, or choose another place"
    )]
    Taken {
        /// Where.
        socket: PathBuf,
    },
    /// The socket could not be made.
    #[error(
        "cannot listen at {socket}: {source}; choose a place that this user can write to, of at most 107 bytes"
    )]
    Bind {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection to the client broke.
    #[error("the connection to the client broke: {0}; start the model and its client again")]
    Connection(vfio_user::Error),
    /// What came is no vfio-user.
    #[error("the client sent what is not vfio-user; start the model again, and a client that speaks it")]
    Nonsense,
}

struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Who removed it before us wanted the same.
        drop(fs::remove_file(&self.0));
    }
}

impl Stop {
    /// Ends the wait, now or before it begins.
    pub fn stop(&self) {
        // SAFETY: the listener is open, and is not closed by this.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
    }
}

impl ModelServer {
    /// Listens at `socket`, which must not be there yet.
    ///
    /// # Errors
    /// [`ServeError`], if there is something, or nothing can be.
    pub fn bind(model: Arc<Model>, socket: &Path) -> Result<Self, ServeError> {
        let refused = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => ServeError::Taken { socket: socket.to_owned() },
            _ => ServeError::Bind { socket: socket.to_owned(), source },
        };
        let listener = UnixListener::bind(socket).map_err(refused)?;
        let _socket = Socket(socket.to_owned());
        let theirs = OwnedFd::from(listener.try_clone().map_err(refused)?);
        let server = Server::from_owned_fd(theirs, true, interrupts(&model), regions(&model));
        Ok(Self { server, listener, model, _socket })
    }

    /// Something that ends the wait for a client.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn stop(&self) -> io::Result<Stop> {
        Ok(Stop { listener: self.listener.try_clone()? })
    }

    /// Waits for a client and serves it until it leaves; afterwards the model is reset and reaches no memory of it.
    ///
    /// `complain` is told what was refused to the client, which learns no more than that it was.
    ///
    /// # Errors
    /// [`ServeError`], if the client does not end as it should.
    pub fn serve(self, complain: &mut dyn FnMut(&str)) -> Result<(), ServeError> {
        let mut backend = Backend { model: &self.model, command: [0; 2], complain };
        // The crate takes some of what clients send for granted, and panics where it is otherwise.
        let run = panic::catch_unwind(AssertUnwindSafe(|| self.server.run(&mut backend)));
        // A model that is gone has nothing left to reset.
        drop(self.model.reset());
        self.model.memory().unmap_all();
        for vector in 0..self.model.profile().vectors {
            drop(self.model.set_interrupt(vector, None));
        }
        match run {
            Ok(Ok(())) => Ok(()),
            // So says a listener that was shut down.
            Ok(Err(vfio_user::Error::SocketAccept(error))) if error.kind() == ErrorKind::InvalidInput => {
                Ok(())
            }
            Ok(Err(error)) => Err(ServeError::Connection(error)),
            Err(_) => Err(ServeError::Nonsense),
        }
    }
}

/// What the crate asks of a device.
struct Backend<'a> {
    model: &'a Model,
    /// The command register of configuration space.
    command: [u8; 2],
    complain: &'a mut dyn FnMut(&str),
}

/// Where in configuration space the command register is.
const COMMAND: usize = 4;
/// Configuration space as far as it is modelled: vendor, device, command, class.
const CONFIGURATION_BYTES: usize = 256;

impl Backend<'_> {
    /// Tells of an error on its way to the client.
    fn told<T>(&mut self, attempted: &str, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| (self.complain)(&format!("cannot {attempted}: {error}")))
    }

    fn configuration(&self) -> [u8; CONFIGURATION_BYTES] {
        let mut space = [0; CONFIGURATION_BYTES];
        let (vendor, device) = self.model.profile().id;
        space[..2].copy_from_slice(&vendor.to_le_bytes());
        space[2..4].copy_from_slice(&device.to_le_bytes());
        space[COMMAND..COMMAND + 2].copy_from_slice(&self.command);
        // Revision 0, interface 0, subclass 0x80 (other) of class 0x08 (system peripheral).
        space[8..12].copy_from_slice(&[0, 0, 0x80, 0x08]);
        space
    }

    fn read(&self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => self.model.read_register(offset, data),
            VFIO_PCI_CONFIG_REGION_INDEX => {
                let range = within(offset, data.len(), CONFIGURATION_BYTES)?;
                data.copy_from_slice(&self.configuration()[range]);
                Ok(())
            }
            // Portals cannot be read.
            VFIO_PCI_BAR2_REGION_INDEX => {
                data.fill(0xff);
                Ok(())
            }
            _ => Err(refusal("the device has no such region")),
        }
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => self.model.write_register(offset, data),
            VFIO_PCI_CONFIG_REGION_INDEX => {
                let range = within(offset, data.len(), CONFIGURATION_BYTES)?;
                for (at, byte) in range.zip(data) {
                    if let Some(command) = at.checked_sub(COMMAND).and_then(|at| self.command.get_mut(at)) {
                        *command = *byte;
                    }
                }
                Ok(())
            }
            VFIO_PCI_BAR2_REGION_INDEX => self.submit(offset, data),
            _ => Err(refusal("the device has no such region")),
        }
    }

    fn submit(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let descriptor = Descriptor::read_from_bytes(data)
            .map_err(|_| refusal("a portal takes 64 bytes at once, and nothing else"))?;
        if offset >= self.model.portal_bytes() || !offset.is_multiple_of(Descriptor::BYTES as u64) {
            return Err(refusal("there is no portal at this offset of BAR 2"));
        }
        // SAFETY: what the model reaches are mappings of its own, of files that the client shares. What it does to the bytes
        // in them is the client's business, whose descriptor it is.
        unsafe { self.model.submit(offset, Instruction::Movdir64b, &descriptor) };
        Ok(())
    }

    fn map(
        &self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        bytes: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        let file = file.ok_or_else(|| refusal("memory without a file cannot be reached from here"))?;
        if !flags.contains(DmaMapFlags::READ_WRITE) {
            return Err(refusal("memory must be mapped to be read and written"));
        }
        self.model.memory().map_file(address, bytes, &file, offset)
    }

    fn unmap(&self, flags: DmaUnmapFlags, address: u64, bytes: u64) -> io::Result<()> {
        if flags.contains(DmaUnmapFlags::GET_DIRTY_PAGE_INFO) {
            return Err(refusal("dirty pages are not tracked"));
        }
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.model.memory().unmap_all();
            return Ok(());
        }
        self.model.memory().unmap(address, bytes)
    }

    fn set_vectors(
        &self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        files: Vec<File>,
    ) -> io::Result<()> {
        const EVENTS: u32 = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
        const NONE: u32 = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
        let vectors = u32::from(self.model.profile().vectors);
        let end = start.checked_add(count).filter(|&end| end <= vectors);
        let (VFIO_PCI_MSIX_IRQ_INDEX, Some(end)) = (index, end) else {
            return Err(refusal("the device has no such interrupt"));
        };
        let mut events = match (flags, count) {
            (EVENTS, _) if files.len() as u64 == u64::from(count) => files.into_iter(),
            // None at all: all off.
            (NONE, 0) => {
                return (0..self.model.profile().vectors)
                    .try_for_each(|at| self.model.set_interrupt(at, None));
            }
            _ => return Err(refusal("interrupts are set up by an eventfd each")),
        };
        for vector in start..end {
            let vector = u16::try_from(vector).map_err(|_| ErrorKind::InvalidInput)?;
            self.model.set_interrupt(vector, events.next().map(OwnedFd::from))?;
        }
        Ok(())
    }
}

impl ServerBackend for Backend<'_> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let outcome = self.read(region, offset, data);
        self.told(&format!("read {} bytes at {offset:#x} of region {region}", data.len()), outcome)
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let outcome = self.write(region, offset, data);
        self.told(&format!("write {} bytes at {offset:#x} of region {region}", data.len()), outcome)
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        let outcome = self.map(flags, offset, address, size, fd);
        self.told(&format!("map {size} bytes at {address:#x}"), outcome)
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        let outcome = self.unmap(flags, address, size);
        self.told(&format!("unmap {size} bytes at {address:#x}"), outcome)
    }

    fn reset(&mut self) -> io::Result<()> {
        let outcome = self.model.reset();
        self.told("reset", outcome)
    }

    fn set_irqs(&mut self, index: u32, flags: u32, start: u32, count: u32, fds: Vec<File>) -> io::Result<()> {
        let outcome = self.set_vectors(index, flags, start, count, fds);
        self.told(&format!("set up {count} interrupts from {start} of index {index}"), outcome)
    }
}

/// The regions of a PCI function: those that it does not have are empty.
fn regions(model: &Model) -> Vec<ServerRegion> {
    let region = |index| {
        let size = match index {
            VFIO_PCI_BAR0_REGION_INDEX => model.register_bytes(),
            VFIO_PCI_BAR2_REGION_INDEX => model.portal_bytes(),
            VFIO_PCI_CONFIG_REGION_INDEX => CONFIGURATION_BYTES as u64,
            _ => 0,
        };
        let flags = if size > 0 { VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE } else { 0 };
        let region_info = vfio_region_info { argsz: INFO_BYTES, flags, index, size, ..Default::default() };
        ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
    };
    (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
}

/// The length of [`vfio_region_info`] as it states it.
const INFO_BYTES: u32 = 32;
const _: () = assert!(size_of::<vfio_region_info>() == 32);

/// The interrupts of a PCI function, of which only MSI-X has any.
fn interrupts(model: &Model) -> Vec<IrqInfo> {
    let interrupt = |index| {
        let count = if index == VFIO_PCI_MSIX_IRQ_INDEX { model.profile().vectors.into() } else { 0 };
        IrqInfo { index, flags: VFIO_IRQ_INFO_EVENTFD, count }
    };
    (0..VFIO_PCI_NUM_IRQS).map(interrupt).collect()
}

fn within(offset: u64, bytes: usize, size: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
    match start.checked_add(bytes) {
        Some(end) if end <= size => Ok(start..end),
        _ => Err(refusal("the region ends before")),
    }
}

fn refusal(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

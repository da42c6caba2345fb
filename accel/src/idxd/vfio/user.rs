//! A function in another process, reached by vfio-user over a Unix socket: a device model.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pageferry_bindings::idxd::descriptor::Descriptor;
use vfio_bindings::bindings::vfio::{
    VFIO_DEVICE_FLAGS_PCI, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_BAR2_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::config;
use super::connection::{Access, Connection, Message};
use super::event::eventfd;
use crate::dma::DmaRange;
use crate::idxd::function::Function;
use crate::idxd::portal::{Portal, PortalRefusal};
use crate::queue::Provenance;

/// A function whose vfio-user server listens at a socket. Figures that come from it are a model's.
pub struct UserFunction {
    name: String,
    connection: Arc<Connection>,
    id: (u16, u16),
    bars: (u64, u64),
}

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The reply about a region, `struct vfio_region_info` of `include/uapi/linux/vfio.h`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RegionInfo {
    argument_bytes: u32,
    flags: u32,
    index: u32,
    capability_offset: u32,
    bytes: u64,
    offset: u64,
}

/// The reply about the device.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DeviceInfo {
    argument_bytes: u32,
    flags: u32,
    regions: u32,
    interrupts: u32,
}

#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
struct DmaMap {
    argument_bytes: u32,
    flags: u32,
    offset: u64,
    address: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
struct DmaUnmap {
    argument_bytes: u32,
    flags: u32,
    address: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
struct SetIrqs {
    argument_bytes: u32,
    flags: u32,
    index: u32,
    start: u32,
    count: u32,
}

/// The length that a request states of itself.
#[expect(clippy::cast_possible_truncation, reason = "some dozens of bytes")]
const fn length_of<T>() -> u32 {
    size_of::<T>() as u32
}

/// The device may read and write what is mapped.
const READ_AND_WRITE: u32 = 3;

impl UserFunction {
    /// Connects to the server at `socket` and lets the function master the bus.
    ///
    /// # Errors
    /// What the connection, or the server, says.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        Self::connect_for(socket, PATIENCE)
    }

    pub(super) fn connect_for(socket: &Path, patience: Duration) -> io::Result<Self> {
        let told = |error: io::Error| {
            let kind = error.kind();
            let hint = "is a device model listening there?";
            io::Error::new(
                kind,
                format!("cannot reach a vfio-user device at {}: {error}; {hint}", socket.display()),
            )
        };
        Self::new(socket, patience).map_err(told)
    }

    fn new(socket: &Path, patience: Duration) -> io::Result<Self> {
        let connection = Arc::new(Connection::new(socket, patience)?);
        let asked = DeviceInfo { argument_bytes: length_of::<DeviceInfo>(), ..Default::default() };
        let device: DeviceInfo =
            answer(&connection.exchange(Message::DeviceInfo, &[asked.as_bytes()], None)?)?;
        if device.flags & VFIO_DEVICE_FLAGS_PCI == 0 || device.regions <= VFIO_PCI_CONFIG_REGION_INDEX {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is no PCI device"));
        }
        let bytes = |index| -> io::Result<u64> {
            let asked = RegionInfo { argument_bytes: length_of::<RegionInfo>(), index, ..Default::default() };
            let reply = connection.exchange(Message::RegionInfo, &[asked.as_bytes()], None)?;
            answer::<RegionInfo>(&reply).map(|info| info.bytes)
        };
        let bars = (bytes(VFIO_PCI_BAR0_REGION_INDEX)?, bytes(VFIO_PCI_BAR2_REGION_INDEX)?);
        let name = socket.display().to_string();
        let mut function = Self { name, connection, id: (0, 0), bars };
        function.id =
            config::id(|offset, bytes| function.read_region(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes))?;
        config::master_the_bus(
            |offset, bytes| function.read_region(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes),
            |offset, bytes| function.write_region(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes),
        )?;
        Ok(function)
    }

    /// Ends the connection, as a server does that dies.
    #[cfg(test)]
    pub(super) fn cut(&self) {
        self.connection.cut();
    }

    fn read_region(&self, region: u32, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let access = access(region, offset, bytes)?;
        let reply = self.connection.exchange(Message::RegionRead, &[access.as_bytes()], None)?;
        match reply.get(size_of::<Access>()..) {
            Some(read) if read.len() == bytes.len() => bytes.copy_from_slice(read),
            _ => return Err(short(reply.len())),
        }
        Ok(())
    }

    fn write_region(&self, region: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let access = access(region, offset, bytes)?;
        self.connection.exchange(Message::RegionWrite, &[access.as_bytes(), bytes], None).map(drop)
    }
}

impl Function for UserFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn id(&self) -> (u16, u16) {
        self.id
    }

    fn numa_node(&self) -> Option<u32> {
        None
    }

    fn bar_bytes(&self) -> (u64, u64) {
        self.bars
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_region(VFIO_PCI_BAR0_REGION_INDEX, offset, bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_region(VFIO_PCI_BAR0_REGION_INDEX, offset, bytes)
    }

    fn portal(&self, offset: u64) -> io::Result<Box<dyn Portal>> {
        Ok(Box::new(UserPortal { connection: Arc::clone(&self.connection), offset }))
    }

    fn map(&self, range: &DmaRange) -> io::Result<()> {
        let Some(backing) = &range.file else {
            let told = "it is private to this process, and a device in another one can only map files: have guest \
                        memory backed by a memory file";
            return Err(io::Error::new(ErrorKind::InvalidInput, told));
        };
        let asked = DmaMap {
            argument_bytes: length_of::<DmaMap>(),
            flags: READ_AND_WRITE,
            offset: backing.offset,
            address: range.host.0,
            bytes: range.bytes as u64,
        };
        let file = Some(backing.file.as_fd());
        self.connection.exchange(Message::DmaMap, &[asked.as_bytes()], file).map(drop)
    }

    fn unmap(&self, range: &DmaRange) -> io::Result<()> {
        let asked = DmaUnmap {
            argument_bytes: length_of::<DmaUnmap>(),
            flags: 0,
            address: range.host.0,
            bytes: range.bytes as u64,
        };
        match self.connection.exchange(Message::DmaUnmap, &[asked.as_bytes()], None) {
            // A process that is not there any more has nothing mapped.
            Err(_) if self.connection.is_closed() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    fn reset(&self) -> io::Result<()> {
        self.connection.exchange(Message::Reset, &[], None).map(drop)
    }

    fn interrupt(&self, vector: u16) -> io::Result<OwnedFd> {
        let event = eventfd()?;
        let asked = SetIrqs {
            argument_bytes: length_of::<SetIrqs>(),
            flags: VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
            index: VFIO_PCI_MSIX_IRQ_INDEX,
            start: vector.into(),
            count: 1,
        };
        self.connection.exchange(Message::SetIrqs, &[asked.as_bytes()], Some(event.as_fd()))?;
        Ok(event)
    }
}

/// A portal at the other end of the connection: 64 bytes written to BAR 2, for which nobody waits, as on the bus.
struct UserPortal {
    connection: Arc<Connection>,
    offset: u64,
}

impl Portal for UserPortal {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        let access = Access {
            offset: self.offset,
            region: VFIO_PCI_BAR2_REGION_INDEX,
            bytes: length_of::<Descriptor>(),
        };
        // The system call orders what was written to memory before.
        self.connection.post(access, zerocopy::transmute_ref!(descriptor)).map_err(|error| {
            match error.kind() {
                ErrorKind::WouldBlock => PortalRefusal::Retry,
                _ => PortalRefusal::Gone,
            }
        })
    }
}

fn access(region: u32, offset: u64, bytes: &[u8]) -> io::Result<Access> {
    let bytes = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
    Ok(Access { offset, region, bytes })
}

fn answer<T: FromBytes>(reply: &[u8]) -> io::Result<T> {
    T::read_from_prefix(reply).map(|(answer, _)| answer).map_err(|_| short(reply.len()))
}

fn short(bytes: usize) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("the server's reply has {bytes} bytes, which is not what was asked for"),
    )
}

//! A PCI function that is bound to vfio-pci: through its IOMMU group, or through iommufd.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, ptr};

use iommufd_ioctls::{IommuFd, IommufdError};
use pageferry_bindings::idxd::instruction::Instruction;
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_BAR2_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioIommufd, VfioOps};

use super::bound::{Bound, link};
use super::config;
use super::event::eventfd;
use crate::dma::DmaRange;
use crate::idxd::function::Function;
use crate::idxd::kernel::MappedPortal;
use crate::idxd::portal::Portal;
use crate::queue::Provenance;

pub use super::bound::PciError;

/// A function of a real device.
pub struct PciFunction {
    address: String,
    numa_node: Option<u32>,
    id: (u16, u16),
    /// The eventfds of all MSI-X vectors, once one was asked for: they are set up together.
    vectors: Mutex<Vec<OwnedFd>>,
    /// The device's file, for regions. Closed before the device gives its group back.
    file: File,
    device: Held,
    operations: Arc<dyn VfioOps>,
}

/// A device that is closed only if sysfs still has it: the crate panics as it closes one that was removed.
struct Held {
    device: ManuallyDrop<VfioDevice>,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        if link(&self.path, "iommu_group").is_some() {
            // SAFETY: nobody uses the device after this.
            unsafe { ManuallyDrop::drop(&mut self.device) };
        }
    }
}

impl PciFunction {
    /// The function at `address` (`0000:6a:01.0`) among those of the folder `devices` (`/sys/bus/pci/devices`). It may master the
    /// bus afterwards.
    ///
    /// # Errors
    /// [`PciError`] names what is missing, and the next step.
    pub fn open(devices: &Path, address: &str) -> Result<Self, PciError> {
        let bound = Bound::find(devices, address)?;
        let refused = |source: VfioError| {
            let remedy = remedy(&source, &bound);
            PciError::Vfio { address: address.to_owned(), source, remedy }
        };
        let (device, operations) = bound.open().map_err(refused)?;
        let configuration = |source| PciError::Configuration { address: address.to_owned(), source };
        let device = Held { device: ManuallyDrop::new(device), path: bound.path };
        let file = duplicate(&device.device).map_err(configuration)?;
        let mut function = Self {
            address: address.to_owned(),
            numa_node: bound.numa_node,
            id: (0, 0),
            vectors: Mutex::default(),
            file,
            device,
            operations,
        };
        let read =
            |offset, bytes: &mut [u8]| function.read_region(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
        let write = |offset, bytes: &[u8]| function.write_region(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
        let id = config::id(read).map_err(configuration)?;
        config::master_the_bus(read, write).map_err(configuration)?;
        function.id = id;
        Ok(function)
    }

    /// Where in the device's file so many bytes of a region are. The crate's own access to regions tells of no error.
    fn position(&self, region: u32, offset: u64, bytes: usize) -> io::Result<u64> {
        let device = &self.device.device;
        match offset.checked_add(bytes as u64) {
            Some(end) if end <= device.get_region_size(region) => {
                Ok(device.get_region_offset(region) + offset)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn read_region(&self, region: u32, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, self.position(region, offset, bytes.len())?)
    }

    fn write_region(&self, region: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.position(region, offset, bytes.len())?)
    }

    /// Sets all vectors up, each with an eventfd.
    fn set_vectors_up(&self) -> io::Result<Vec<OwnedFd>> {
        let device = &self.device.device;
        let count = device.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).map_or(0, |irq| irq.count);
        let vectors = (0..count).map(|_| eventfd()).collect::<io::Result<Vec<_>>>()?;
        // The crate takes its own type of eventfd, by reference: duplicates, of which the kernel keeps what it needs.
        let events = vectors.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        // SAFETY: each is a file descriptor that is owned by nobody else.
        let events: Vec<_> =
            events.into_iter().map(|event| unsafe { FromRawFd::from_raw_fd(event.into_raw_fd()) }).collect();
        device
            .enable_irq(VFIO_PCI_MSIX_IRQ_INDEX, events.iter().collect())
            .map_err(|error| io::Error::other(format!("{error}; open it without interrupts")))?;
        Ok(vectors)
    }
}

impl Function for PciFunction {
    fn name(&self) -> &str {
        &self.address
    }

    fn provenance(&self) -> Provenance {
        Provenance::Hardware
    }

    fn id(&self) -> (u16, u16) {
        self.id
    }

    fn numa_node(&self) -> Option<u32> {
        self.numa_node
    }

    fn bar_bytes(&self) -> (u64, u64) {
        let device = &self.device.device;
        (
            device.get_region_size(VFIO_PCI_BAR0_REGION_INDEX),
            device.get_region_size(VFIO_PCI_BAR2_REGION_INDEX),
        )
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_region(VFIO_PCI_BAR0_REGION_INDEX, offset, bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_region(VFIO_PCI_BAR0_REGION_INDEX, offset, bytes)
    }

    fn portal(&self, offset: u64) -> io::Result<Box<dyn Portal>> {
        let instruction = Instruction::Movdir64b;
        if !instruction.is_available() {
            let told = "this CPU has no MOVDIR64B, without which nothing can be handed to the device";
            return Err(io::Error::new(io::ErrorKind::Unsupported, told));
        }
        let offset = self.position(VFIO_PCI_BAR2_REGION_INDEX, offset, 4096)?;
        // SAFETY: the pages of BAR 2 are portals, and those of dedicated queues take MOVDIR64B.
        let portal = unsafe { MappedPortal::map(self.file.try_clone()?, offset, instruction) };
        Ok(Box::new(portal?))
    }

    fn map(&self, range: &DmaRange) -> io::Result<()> {
        let start = ptr::with_exposed_provenance_mut(usize::try_from(range.host.0).unwrap_or_default());
        // SAFETY: whoever opens a device keeps the range mapped until it was unmapped, and shares it with the device as
        // `Portal::submit` and `dma` have it: a device is given only addresses that nobody has a reference to.
        let mapped = unsafe { self.operations.vfio_dma_map(range.host.0, range.bytes, start) };
        mapped.map_err(|error| refused_mapping(error, range))
    }

    fn unmap(&self, range: &DmaRange) -> io::Result<()> {
        self.operations.vfio_dma_unmap(range.host.0, range.bytes).map_err(io::Error::other)
    }

    fn reset(&self) -> io::Result<()> {
        /// `VFIO_DEVICE_RESET` of `include/uapi/linux/vfio.h`: number 111 of type `;`, without an argument.
        const RESET: libc::Ioctl = 0x3b << 8 | 111;
        // SAFETY: it has no argument, and touches no memory of this process.
        if unsafe { libc::ioctl(self.file.as_raw_fd(), RESET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn interrupt(&self, vector: u16) -> io::Result<OwnedFd> {
        let mut vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        if vectors.is_empty() {
            *vectors = self.set_vectors_up()?;
        }
        let there = vectors.len();
        let Some(event) = vectors.get(usize::from(vector)) else {
            let told = format!(
                "the function has {there} interrupt vectors; open fewer queues, or without interrupts"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        };
        event.try_clone()
    }
}

impl Bound {
    /// Opens the device: through iommufd where the kernel has it, else through its group.
    fn open(&self) -> Result<(VfioDevice, Arc<dyn VfioOps>), VfioError> {
        let operations: Arc<dyn VfioOps> = if self.has_node && Path::new(IOMMUFD).exists() {
            let iommufd = IommuFd::new().map_err(VfioError::NewVfioIommufd)?;
            Arc::new(VfioIommufd::new(Arc::new(iommufd), None, None)?)
        } else {
            Arc::new(VfioContainer::new(None)?)
        };
        let device = VfioDevice::new(&self.path, Arc::clone(&operations), true)?;
        Ok((device, operations))
    }
}

const IOMMUFD: &str = "/dev/iommu";

fn remedy(error: &VfioError, bound: &Bound) -> String {
    let group = &bound.group;
    match error {
        VfioError::OpenContainer(source) if source.kind() == io::ErrorKind::NotFound => {
            "load the module: modprobe vfio-pci".to_owned()
        }
        VfioError::OpenContainer(_) | VfioError::OpenGroup(..) => {
            format!(
                "allow this user to open /dev/vfio/vfio and /dev/vfio/{group}, and see that nobody else has them open"
            )
        }
        VfioError::NewVfioIommufd(_) | VfioError::OpenDeviceCdev(_) | VfioError::InvalidVfioDev => {
            format!(
                "allow this user to open {IOMMUFD} and the node in /dev/vfio/devices, and see that nobody else has it open"
            )
        }
        VfioError::GroupViable => {
            format!("bind all of /sys/kernel/iommu_groups/{group}/devices to vfio-pci")
        }
        VfioError::VfioExtension | VfioError::ContainerSetIOMMU(_) => {
            "load the module vfio_iommu_type1 and boot with intel_iommu=on".to_owned()
        }
        _ => "see that no other process has the device, and look at dmesg".to_owned(),
    }
}

/// Why a range could not be mapped, in words.
fn refused_mapping(error: VfioError, range: &DmaRange) -> io::Error {
    let code = match &error {
        VfioError::IommuDmaMap(error) | VfioError::IommufdIoctlError(IommufdError::IommuIoasMap(error)) => {
            error.errno()
        }
        _ => return io::Error::other(error),
    };
    let source = io::Error::from_raw_os_error(code);
    let told = match code {
        libc::ENOMEM => format!(
            "{source}: this process may not lock as much memory: raise the limit (ulimit -l, LimitMEMLOCK=) by {} KiB",
            range.bytes.div_ceil(1024)
        ),
        libc::EINVAL | libc::EADDRINUSE | libc::ERANGE => format!(
            "{source}: the IOMMU does not have the addresses up to {:#x}, or keeps some of them for itself, or they are \
             not whole pages: map the memory at lower addresses (the kernel's log has the IOMMU's width)",
            range.host.0.saturating_add(range.bytes as u64)
        ),
        libc::EEXIST => format!("{source}: some of it is mapped already: state each region once"),
        libc::ENOSPC => {
            format!("{source}: too many mappings: raise dma_entry_limit of the module vfio_iommu_type1")
        }
        _ => source.to_string(),
    };
    io::Error::new(source.kind(), told)
}

fn duplicate(device: &VfioDevice) -> io::Result<File> {
    // SAFETY: the device keeps its file open during this call.
    let file = unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) };
    file.try_clone_to_owned().map(File::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dma::HostAddress;

    #[test]
    fn a_mapping_that_is_refused_says_what_to_do() {
        let range = DmaRange { host: HostAddress(0x7fff_0000_0000), bytes: 1 << 20, file: None };
        let told = |code| {
            let refusal = IommufdError::IommuIoasMap(io::Error::from_raw_os_error(code).into());
            refused_mapping(VfioError::IommufdIoctlError(refusal), &range).to_string()
        };
        assert!(
            told(libc::ENOMEM).contains("ulimit -l, LimitMEMLOCK=) by 1024 KiB"),
            "{}",
            told(libc::ENOMEM)
        );
        assert!(told(libc::EINVAL).contains("up to 0x7fff00100000"), "{}", told(libc::EINVAL));
        assert!(told(libc::EEXIST).contains("mapped already"));
    }

    #[test]
    fn a_real_function_is_brought_up_where_there_is_one() {
        let devices = Path::new("/sys/bus/pci/devices");
        let folder = fs::read_dir("/sys/bus/pci/drivers/vfio-pci");
        let names =
            folder.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut functions = names.filter_map(|name| PciFunction::open(devices, &name).ok());
        let device = functions
            .find_map(|function| super::super::VfioDevice::new(Arc::new(function), Default::default()).ok());
        let Some(device) = device else {
            println!("skipped: no VFIO group with a DSA or IAA on this machine");
            return;
        };
        super::super::tests::trial::moves_memory(&device);
    }
}

//! What sysfs says of devices and work queues (`Documentation/ABI/stable/sysfs-driver-dma-idxd`).

mod attribute;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pageferry_bindings::idxd::opcode::OpcodeSet;
use pageferry_bindings::idxd::registers::GeneralCapabilities;

use crate::idxd::device::Kind;
use attribute::Folder;

/// The folder of a real host.
pub const ROOT: &str = "/sys/bus/dsa/devices";

/// Whether a device or a work queue works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes work.
    Enabled,
    /// It does not.
    Disabled,
    /// It stopped for an error.
    Halted,
}

/// Whom a work queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    /// Nobody yet.
    None,
    /// The kernel itself.
    Kernel,
    /// Programs.
    User,
}

/// How a work queue is submitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueMode {
    /// By one submitter, who counts.
    Dedicated,
    /// By many, whom the device answers.
    Shared,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysfsDevice {
    /// Its name: `dsa0`, `iax1`.
    pub name: String,
    /// The number in its name and in those of its queues.
    pub id: u32,
    /// Which device it is.
    pub kind: Kind,
    /// 0x100, 0x200 or 0x300.
    pub version: u32,
    /// Whether it works.
    pub state: State,
    /// Its operations. Kernels that do not trust user submission leave out [`BATCH`], whatever the device has.
    ///
    /// [`BATCH`]: pageferry_bindings::idxd::opcode::Opcode::BATCH
    pub opcodes: OpcodeSet,
    /// What else it can do.
    pub capabilities: GeneralCapabilities,
    /// The largest transfer in bytes.
    pub max_transfer_bytes: u64,
    /// The most descriptors of a batch, if it has batches.
    pub max_batch: Option<u32>,
    /// Whether it can translate the addresses of programs.
    pub pasid_enabled: bool,
    /// Its NUMA node.
    pub numa_node: Option<u32>,
    /// How the driver's last command ended: 0 well, else an error of the device, or above 0x80000000 one of the driver.
    pub command_status: u32,
    /// Its work queues, in the order of their numbers.
    pub queues: Vec<SysfsQueue>,
}

/// A work queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysfsQueue {
    /// Its name: `wq0.1`.
    pub name: String,
    /// Its number in the device.
    pub number: u32,
    /// Whom it is for.
    pub queue_type: QueueType,
    /// How it is submitted to.
    pub mode: QueueMode,
    /// Whether it works.
    pub state: State,
    /// How many descriptors it holds.
    pub size: u32,
    /// Of a shared queue: how many it takes from programs.
    pub threshold: Option<u32>,
    /// The largest transfer in bytes.
    pub max_transfer_bytes: u64,
    /// The most descriptors of a batch, if it has batches.
    pub max_batch: Option<u32>,
    /// Whether descriptors may ask to wait for page faults.
    pub block_on_fault: bool,
    /// Which driver it is for, where the kernel says so: `user`, `dmaengine`, `crypto`.
    pub driver_name: Option<String>,
    /// What the operator called it.
    pub label: String,
    /// How often it is open.
    pub clients: u32,
    /// Its group, if it is in one.
    pub group: Option<u32>,
    /// How many engines its group has.
    pub engines: usize,
    /// The operations that it is limited to, where they can be limited.
    pub opcodes: Option<OpcodeSet>,
}

/// What there is in sysfs.
#[derive(Debug, Default)]
pub struct Findings {
    /// The devices, in the order of their numbers.
    pub devices: Vec<SysfsDevice>,
    /// What could not be made sense of; the device or the queue is left out.
    pub errors: Vec<SysfsError>,
}

/// Something in sysfs that is not there, or not as it is documented.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysfsError {
    /// The kernel has no such driver.
    #[error(
        "there is no {}: the idxd driver is not loaded; run modprobe idxd (CONFIG_INTEL_IDXD, CONFIG_INTEL_IDXD_SVM), \
         or reach the device through VFIO", .0.display()
    )]
    NoDriver(PathBuf),
    /// A file or a folder could not be read.
    #[error("{} cannot be read: {source}; look whether the device is still there", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An attribute has another form than it is documented to have.
    #[error(
        "{} says {text:?}, which is not {expected}; this kernel is of a kind that is not known here",
        .path.display()
    )]
    Unparsable {
        /// Which.
        path: PathBuf,
        /// What it says.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Reads all devices in `root`. Nothing is changed.
///
/// # Errors
/// [`SysfsError`] if `root` cannot be listed. What is wrong with one device is in the findings.
pub fn read(root: &Path) -> Result<Findings, SysfsError> {
    let entries = fs::read_dir(root).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SysfsError::NoDriver(root.to_owned()),
        _ => SysfsError::Unreadable { path: root.to_owned(), source },
    })?;
    let names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let mut devices: Vec<(u32, Kind)> = names.iter().filter_map(|name| device_id(name)).collect();
    devices.sort_by_key(|&(id, _)| id);

    let mut findings = Findings::default();
    for (id, kind) in devices {
        let engines = read_engines(root, &names, id, &mut findings.errors);
        let queues = read_queues(root, &names, id, &engines, &mut findings.errors);
        match read_device(root, id, kind) {
            Ok(device) => findings.devices.push(SysfsDevice { queues, ..device }),
            Err(error) => findings.errors.push(error),
        }
    }
    Ok(findings)
}

/// Number and kind, if it is the name of a device: `dsa0`, `iax1`.
fn device_id(name: &str) -> Option<(u32, Kind)> {
    [Kind::Dsa, Kind::Iaa]
        .into_iter()
        .find_map(|kind| Some((number(name.strip_prefix(kind.prefix())?)?, kind)))
}

/// The two numbers, if it is the name of a part of a device: `wq0.1`, `engine0.3`.
pub(super) fn part_id(name: &str, prefix: &str) -> Option<(u32, u32)> {
    let (device, part) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((number(device)?, number(part)?))
}

/// A number of digits alone.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The numbers of the parts of device `id` whose names begin with `prefix`.
fn parts(names: &[String], id: u32, prefix: &str) -> Vec<u32> {
    let parts = names.iter().filter_map(|name| part_id(name, prefix));
    let mut parts: Vec<u32> = parts.filter_map(|(device, part)| (device == id).then_some(part)).collect();
    parts.sort_unstable();
    parts
}

fn read_device(root: &Path, id: u32, kind: Kind) -> Result<SysfsDevice, SysfsError> {
    let name = format!("{}{id}", kind.prefix());
    let folder = Folder::new(root, &name);
    Ok(SysfsDevice {
        id,
        kind,
        version: folder.number("version")?,
        state: folder.word("state", STATES)?,
        opcodes: folder.opcodes("op_cap")?,
        capabilities: GeneralCapabilities(folder.number("gen_cap")?),
        max_transfer_bytes: folder.number("max_transfer_size")?,
        max_batch: folder.optional(|| folder.number("max_batch_size"))?,
        pasid_enabled: folder.flag("pasid_enabled")?,
        numa_node: folder.index("numa_node")?,
        command_status: folder.number("cmd_status")?,
        queues: Vec::new(),
        name,
    })
}

fn read_queues(
    root: &Path,
    names: &[String],
    id: u32,
    engines: &[Option<u32>],
    errors: &mut Vec<SysfsError>,
) -> Vec<SysfsQueue> {
    let queues = parts(names, id, "wq").into_iter().map(|number| read_queue(root, id, number, engines));
    queues.filter_map(|queue| queue.map_err(|error| errors.push(error)).ok()).collect()
}

fn read_queue(root: &Path, id: u32, number: u32, engines: &[Option<u32>]) -> Result<SysfsQueue, SysfsError> {
    let name = format!("wq{id}.{number}");
    let folder = Folder::new(root, &name);
    let group = folder.index("group_id")?;
    Ok(SysfsQueue {
        number,
        queue_type: folder.word("type", QUEUE_TYPES)?,
        mode: folder.word("mode", QUEUE_MODES)?,
        state: folder.word("state", STATES)?,
        size: folder.number("size")?,
        threshold: folder.optional(|| folder.number("threshold"))?,
        max_transfer_bytes: folder.number("max_transfer_size")?,
        max_batch: folder.optional(|| folder.number("max_batch_size"))?,
        block_on_fault: folder.optional(|| folder.flag("block_on_fault"))?.unwrap_or(false),
        driver_name: folder.optional(|| folder.text("driver_name"))?,
        label: folder.text("name")?,
        clients: folder.optional(|| folder.number("clients"))?.unwrap_or(0),
        engines: engines.iter().filter(|&&engine| engine.is_some() && engine == group).count(),
        opcodes: folder.optional(|| folder.opcodes("op_config"))?,
        group,
        name,
    })
}

/// The group of each engine.
fn read_engines(root: &Path, names: &[String], id: u32, errors: &mut Vec<SysfsError>) -> Vec<Option<u32>> {
    let engines = parts(names, id, "engine").into_iter();
    let groups = engines.map(|number| Folder::new(root, &format!("engine{id}.{number}")).index("group_id"));
    groups.filter_map(|group| group.map_err(|error| errors.push(error)).ok()).collect()
}

const STATES: &[(&str, State)] =
    &[("enabled", State::Enabled), ("disabled", State::Disabled), ("halted", State::Halted)];
const QUEUE_TYPES: &[(&str, QueueType)] =
    &[("none", QueueType::None), ("kernel", QueueType::Kernel), ("user", QueueType::User)];
const QUEUE_MODES: &[(&str, QueueMode)] =
    &[("dedicated", QueueMode::Dedicated), ("shared", QueueMode::Shared)];

#[cfg(test)]
mod tests;

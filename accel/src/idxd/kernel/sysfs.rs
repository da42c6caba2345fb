//! What sysfs says of devices and work queues (`Documentation/ABI/stable/sysfs-driver-dma-idxd`).

mod attribute;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pageferry_bindings::idxd::opcode::OpcodeSet;
use pageferry_bindings::idxd::registers::GeneralCapabilities;

use attribute::Folder;

/// The folder of a real host.
pub const ROOT: &str = "/sys/bus/dsa/devices";

/// Which of the two devices, as the names of the driver say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The data streaming accelerator: `dsaD`.
    Dsa,
    /// The analytics accelerator: `iaxD`.
    Iaa,
}

impl Kind {
    /// What the driver begins its names with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Dsa => "dsa",
            Self::Iaa => "iax",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dsa => "DSA",
            Self::Iaa => "IAA",
        })
    }
}

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
mod tests {
    use pageferry_bindings::idxd::opcode::Opcode;

    use super::*;
    use crate::idxd::kernel::fixture::Tree;

    #[test]
    fn devices_and_their_queues_are_found_in_the_order_of_their_numbers() {
        let tree = Tree::new();
        tree.iaa(1).user_queue("wq1.0");
        tree.dsa(10);
        tree.dsa(0).user_queue("wq0.1").user_queue("wq0.0");
        // What else the bus has: groups, open files, a node.
        for other in ["group0.0", "file3", "dsa!wq0.0", "dsa", "wq7", "wq7.0"] {
            tree.set(other, "group_id", "0");
        }
        let Findings { devices, errors } = read(&tree.host().sysfs).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["dsa0", "iax1", "dsa10"]);
        let queues: Vec<_> = devices[0].queues.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(queues, ["wq0.0", "wq0.1"]);
        assert_eq!((devices[1].kind, devices[1].queues.len()), (Kind::Iaa, 1));
        assert!(devices[2].queues.is_empty());
    }

    #[test]
    fn attributes_are_understood() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.1");
        for (file, attribute, text) in [
            ("dsa0", "numa_node", "1"),
            ("dsa0", "cmd_status", "0x80110000"),
            ("wq0.1", "mode", "shared"),
            ("wq0.1", "threshold", "6"),
            ("wq0.1", "clients", "2"),
            ("engine0.0", "group_id", "1"),
        ] {
            tree.set(file, attribute, text);
        }
        let device = read(&tree.host().sysfs).unwrap().devices.remove(0);
        let expected = SysfsQueue {
            name: "wq0.1".into(),
            number: 1,
            queue_type: QueueType::User,
            mode: QueueMode::Shared,
            state: State::Enabled,
            size: 16,
            threshold: Some(6),
            max_transfer_bytes: 2 << 20,
            max_batch: Some(32),
            block_on_fault: true,
            driver_name: Some("user".into()),
            label: "pageferry".into(),
            clients: 2,
            group: Some(0),
            engines: 3,
            opcodes: None,
        };
        assert_eq!(device.queues, [expected]);
        assert_eq!(device.opcodes, OpcodeSet([0x1_003f_027d, 0, 0, 0]));
        assert_eq!(device.capabilities, GeneralCapabilities(0x40_915f_0107));
        assert_eq!((device.version, device.state, device.numa_node), (0x100, State::Enabled, Some(1)));
        assert_eq!((device.max_transfer_bytes, device.max_batch), (1 << 31, Some(1024)));
        assert_eq!((device.pasid_enabled, device.command_status), (true, 0x8011_0000));
    }

    #[test]
    fn what_an_older_kernel_does_not_say_is_not_missed() {
        let tree = Tree::new();
        tree.iaa(3).user_queue("wq3.0");
        for attribute in ["driver_name", "clients", "block_on_fault"] {
            tree.remove("wq3.0", attribute);
        }
        tree.set("iax3", "op_cap", "0xd 0x7f331c 0 0");
        let Findings { devices, errors } = read(&tree.host().sysfs).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(devices[0].opcodes.has(Opcode::COMPRESS) && devices[0].opcodes.has(Opcode::DRAIN));
        assert_eq!((devices[0].max_batch, devices[0].numa_node), (None, None));
        let queue = &devices[0].queues[0];
        assert_eq!((queue.clients, queue.block_on_fault, &queue.driver_name), (0, false, &None));
    }

    #[test]
    fn what_makes_no_sense_is_told_by_file_and_spoils_nothing_else() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.0").user_queue("wq0.1").user_queue("wq0.2");
        tree.dsa(2);
        tree.set("wq0.1", "size", "sixteen");
        tree.set("wq0.2", "mode", "borrowed");
        tree.remove("dsa2", "op_cap");
        let Findings { devices, errors } = read(&tree.host().sysfs).unwrap();
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["dsa0"]);
        let queues: Vec<_> = devices[0].queues.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(queues, ["wq0.0"]);
        let [size, mode, op_cap] = &errors[..] else { panic!("{errors:?}") };
        assert!(size.to_string().contains("wq0.1/size says \"sixteen\", which is not a number"), "{size}");
        assert!(mode.to_string().contains("wq0.2/mode says \"borrowed\""), "{mode}");
        assert!(op_cap.to_string().contains("dsa2/op_cap cannot be read"), "{op_cap}");
    }

    #[test]
    fn a_kernel_without_the_driver_is_told_to_load_it() {
        let error = read(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(matches!(&error, SysfsError::NoDriver(_)), "{error:?}");
        assert!(error.to_string().contains("modprobe idxd"), "{error}");
    }
}

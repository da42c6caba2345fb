//! A device of the kernel's driver: which of its work queues can be used, and what they are once they are open.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};
use pageferry_bindings::idxd::registers::GeneralCapabilities;

use super::error::{KernelError, Unusable, UnusableQueue};
use super::line::Line;
use super::node::Node;
use super::sysfs::{self, Kind, QueueMode, QueueType, State, SysfsDevice, SysfsQueue};
use super::{Behind, Host};
use crate::dma::DmaRange;
use crate::idxd::device::{Device, QueueFacts, WorkQueue};
use crate::queue::{MemoryAccess, OpenError, Provenance};

/// How long the kernel may take to drain a queue, until nobody waits for it any more. What is in flight is done in
/// milliseconds; a device that takes longer has stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// A device and its work queues for programs.
#[derive(Debug)]
pub struct KernelDevice {
    name: String,
    behind: Behind,
    queues: Vec<(QueueFacts, Node)>,
    unusable: Vec<UnusableQueue>,
}

/// The devices that there are.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that can be used, in the order of their numbers.
    pub devices: Vec<KernelDevice>,
    /// Why others cannot, each with what to do about it.
    pub passed_over: Vec<KernelError>,
}

/// Looks for devices of this kind that have all these operations. Nothing is opened.
///
/// # Errors
/// [`KernelError::Sysfs`] if there is no such driver.
pub fn find(host: &Host, kind: Kind, needed: &[Opcode]) -> Result<Found, KernelError> {
    let findings = sysfs::read(&host.sysfs)?;
    let mut found = Found {
        devices: Vec::new(),
        passed_over: findings.errors.into_iter().map(KernelError::from).collect(),
    };
    for device in findings.devices.iter().filter(|device| device.kind == kind) {
        match KernelDevice::new(host, device, &device.queues, needed) {
            Ok(device) => found.devices.push(device),
            Err(error) => found.passed_over.push(error),
        }
    }
    Ok(found)
}

/// The device of one work queue, which is named by its node, with that queue alone.
///
/// # Errors
/// [`KernelError`], if it is no work queue, or not one that can be used for this.
pub fn at(host: &Host, node: &Path, kind: Kind, needed: &[Opcode]) -> Result<KernelDevice, KernelError> {
    let not_a_queue = || KernelError::NotAQueue(node.to_owned());
    let name = node.file_name().and_then(OsStr::to_str).ok_or_else(not_a_queue)?;
    let (id, number) = sysfs::part_id(name, "wq").ok_or_else(not_a_queue)?;
    let folder = node.parent().and_then(Path::file_name).and_then(OsStr::to_str).ok_or_else(not_a_queue)?;
    let is =
        [Kind::Dsa, Kind::Iaa].into_iter().find(|kind| kind.prefix() == folder).ok_or_else(not_a_queue)?;
    if is != kind {
        return Err(KernelError::OtherKind { queue: node.display().to_string(), wanted: kind, is });
    }
    let findings = sysfs::read(&host.sysfs)?;
    let device = findings.devices.into_iter().find(|device| device.id == id && device.kind == kind);
    let queue = device.as_ref().and_then(|device| device.queues.iter().find(|queue| queue.number == number));
    let (Some(device), Some(queue)) = (&device, queue) else {
        // A queue that could not be made sense of says more than one that is not there.
        let said = findings.errors.into_iter().next().map(KernelError::from);
        let (queue, sysfs) = (name.to_owned(), host.sysfs.clone());
        return Err(said.unwrap_or(KernelError::NoSuchQueue { queue, kind, sysfs }));
    };
    KernelDevice::new(host, device, std::slice::from_ref(queue), needed).map_err(|error| match error {
        KernelError::NoQueue { mut unusable, .. } if unusable.len() == 1 => {
            KernelError::Queue(unusable.remove(0))
        }
        error => error,
    })
}

impl KernelDevice {
    fn new(
        host: &Host,
        device: &SysfsDevice,
        queues: &[SysfsQueue],
        needed: &[Opcode],
    ) -> Result<Self, KernelError> {
        let name = device.name.clone();
        if device.state != State::Enabled {
            let (state, command_status) = (device.state, device.command_status);
            return Err(KernelError::DeviceState { device: name, state, command_status });
        }
        if !device.pasid_enabled {
            return Err(KernelError::NoSharedMemory { device: name });
        }
        let missing = missing(&device.opcodes, needed);
        if !missing.is_empty() {
            return Err(KernelError::Operations { device: name, missing });
        }
        let (mut usable, mut unusable) = (Vec::new(), Vec::new());
        for queue in queues {
            let facts = facts(device, queue);
            let path = host.nodes.join(device.kind.prefix()).join(&queue.name);
            let node = Node { path, mode: queue.mode, behind: host.behind };
            match check(queue, &facts, &node, needed) {
                Ok(()) => usable.push((facts, node)),
                Err(cause) => unusable.push(UnusableQueue { queue: facts.name, cause }),
            }
        }
        if usable.is_empty() {
            return Err(KernelError::NoQueue { device: name, unusable });
        }
        Ok(Self { name, behind: host.behind, queues: usable, unusable })
    }

    /// Its other work queues, and why they are left alone.
    #[must_use]
    pub fn unusable(&self) -> &[UnusableQueue] {
        &self.unusable
    }

    /// The nodes of its work queues.
    pub fn nodes(&self) -> impl Iterator<Item = &PathBuf> {
        self.queues.iter().map(|(_, node)| &node.path)
    }
}

fn missing(has: &OpcodeSet, needed: &[Opcode]) -> Vec<Opcode> {
    needed.iter().copied().filter(|&opcode| !has.has(opcode)).collect()
}

fn check(queue: &SysfsQueue, facts: &QueueFacts, node: &Node, needed: &[Opcode]) -> Result<(), Unusable> {
    if queue.queue_type != QueueType::User {
        return Err(Unusable::Type(queue.queue_type));
    }
    if queue.state != State::Enabled {
        return Err(Unusable::Disabled);
    }
    if facts.size == 0 {
        return Err(Unusable::NoSize);
    }
    if queue.engines == 0 {
        return Err(Unusable::NoEngine);
    }
    if queue.mode == QueueMode::Dedicated && queue.clients > 0 {
        return Err(Unusable::InUse { clients: queue.clients });
    }
    let missing = missing(&facts.opcodes, needed);
    if !missing.is_empty() {
        return Err(Unusable::Operations(missing));
    }
    Ok(node.check()?)
}

fn facts(device: &SysfsDevice, queue: &SysfsQueue) -> QueueFacts {
    let mut opcodes = device.opcodes;
    if let Some(allowed) = queue.opcodes {
        for (word, allowed) in opcodes.0.iter_mut().zip(allowed.0) {
            *word &= allowed;
        }
    }
    let max_batch = match device.kind {
        Kind::Dsa => device.max_batch.unwrap_or(1).min(queue.max_batch.unwrap_or(1)).max(1),
        Kind::Iaa => 1,
    };
    if max_batch > 1 {
        // Sysfs leaves it out where the kernel does not trust user submission; how many a batch has, it says all the same.
        opcodes = opcodes.with(Opcode::BATCH);
    }
    // The portal of a shared queue takes descriptors up to the threshold.
    let size = match queue.mode {
        QueueMode::Shared => queue.threshold.unwrap_or(queue.size).min(queue.size),
        QueueMode::Dedicated => queue.size,
    };
    let block = queue.block_on_fault && device.capabilities.contains(GeneralCapabilities::BLOCK_ON_FAULT);
    let cache = device.capabilities.contains(GeneralCapabilities::CACHE_CONTROL_MEMORY);
    let mut flags = DescriptorFlags::empty();
    flags.set(DescriptorFlags::BLOCK_ON_FAULT, block);
    flags.set(DescriptorFlags::CACHE_CONTROL, cache);
    QueueFacts {
        name: format!("{}/{}", device.name, queue.name),
        size: usize::try_from(size).unwrap_or(usize::MAX),
        max_transfer_bytes: queue.max_transfer_bytes.min(device.max_transfer_bytes),
        max_batch: usize::try_from(max_batch).unwrap_or(usize::MAX),
        opcodes,
        flags,
        engines: queue.engines,
        numa_node: device.numa_node,
    }
}

impl Device for KernelDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn provenance(&self) -> Provenance {
        match self.behind {
            Behind::Device => Provenance::Hardware,
            Behind::MappedModel | Behind::WrittenModel => Provenance::Model,
        }
    }

    fn memory(&self) -> MemoryAccess {
        MemoryAccess::Shared
    }

    fn queues(&self) -> Vec<QueueFacts> {
        self.queues.iter().map(|(facts, _)| facts.clone()).collect()
    }

    /// Queues through `write(2)` come back with batches of 1. Nothing is done about `memory`: the device translates the
    /// addresses of this process.
    fn open(&self, _memory: &[DmaRange]) -> Result<Vec<WorkQueue>, OpenError> {
        self.queues.iter().map(|(facts, node)| open(facts, node)).collect()
    }
}

fn open(facts: &QueueFacts, node: &Node) -> Result<WorkQueue, OpenError> {
    let refused = |error| UnusableQueue { queue: facts.name.clone(), cause: Unusable::Node(error) }.refusal();
    let portal = node.open().map_err(refused)?;
    let mut facts = facts.clone();
    if !portal.takes_batches() {
        facts.max_batch = 1;
    }
    let again = node.clone();
    let line = Line::new(portal, Box::new(move || again.open().ok()), PATIENCE);
    Ok(WorkQueue { facts, portal: Box::new(line.clone()), control: Box::new(line), interrupt: None })
}

#[cfg(test)]
mod tests {
    use pageferry_bindings::idxd::descriptor::Descriptor;
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;
    use crate::idxd::device::Quiet;
    use crate::idxd::kernel::NodeError;
    use crate::idxd::kernel::fixture::Tree;

    const COMPARE: &[Opcode] = &[Opcode::COMPARE];
    const DEFLATE: &[Opcode] = &[Opcode::COMPRESS, Opcode::DECOMPRESS];

    fn refused(host: &Host, node: &str) -> KernelError {
        at(host, &host.nodes.join(node), Kind::Dsa, COMPARE).unwrap_err()
    }

    #[test]
    fn what_a_queue_can_do_is_the_least_of_what_is_said() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.0").user_queue("wq0.1");
        tree.iaa(1).user_queue("wq1.0");
        tree.set("wq0.1", "mode", "shared");
        tree.set("wq0.1", "threshold", "6");
        tree.set("wq0.1", "block_on_fault", "0");
        tree.set("wq0.1", "op_config", "00000020");
        tree.set("wq1.0", "max_batch_size", "32");
        let host = tree.host();
        let found = find(&host, Kind::Dsa, COMPARE).unwrap();
        assert!(found.passed_over.is_empty(), "{:?}", found.passed_over);
        let [dedicated, shared] = &found.devices[0].queues()[..] else { panic!("{found:?}") };
        let expected = QueueFacts {
            name: "dsa0/wq0.0".into(),
            size: 16,
            max_transfer_bytes: 2 << 20,
            max_batch: 32,
            opcodes: OpcodeSet([0x1_003f_027f, 0, 0, 0]),
            flags: DescriptorFlags::BLOCK_ON_FAULT | DescriptorFlags::CACHE_CONTROL,
            engines: 4,
            numa_node: None,
        };
        assert_eq!(*dedicated, expected);
        assert_eq!((shared.size, shared.flags), (6, DescriptorFlags::CACHE_CONTROL));
        assert_eq!(shared.opcodes, OpcodeSet::of(&[Opcode::COMPARE, Opcode::BATCH]));
        let iaa = find(&host, Kind::Iaa, DEFLATE).unwrap().devices.remove(0);
        assert_eq!(iaa.queues()[0].max_batch, 1, "an IAA has no batches, whatever is said");
        assert!(!iaa.queues()[0].opcodes.has(Opcode::BATCH));
        assert_eq!(
            (iaa.name(), iaa.memory(), iaa.provenance()),
            ("iax1", MemoryAccess::Shared, Provenance::Model)
        );
    }

    #[test]
    fn queues_that_cannot_be_used_are_left_alone_with_the_reason() {
        let tree = Tree::new();
        let device = tree.dsa(0);
        for number in 0..8 {
            device.user_queue(&format!("wq0.{number}"));
        }
        tree.set("wq0.1", "type", "kernel");
        tree.set("wq0.2", "state", "disabled");
        tree.set("wq0.3", "clients", "1");
        tree.set("wq0.4", "group_id", "-1");
        tree.set("wq0.5", "op_config", "0000007b");
        tree.set("wq0.6", "size", "0");
        std::fs::remove_file(tree.host().nodes.join("dsa/wq0.7")).unwrap();
        let found = find(&tree.host(), Kind::Dsa, &[Opcode::COMPARE, Opcode::CRC_GENERATION]).unwrap();
        let device = &found.devices[0];
        assert_eq!(device.nodes().collect::<Vec<_>>(), [&tree.host().nodes.join("dsa/wq0.0")]);
        let reasons: Vec<_> = device.unusable().iter().map(ToString::to_string).collect();
        for (number, part) in [
            (1, "is of type kernel"),
            (2, "is not enabled"),
            (3, "is dedicated and open already (1 clients)"),
            (4, "is in no group"),
            (5, "may not do operation 0x10"),
            (6, "has size 0"),
            (7, "cannot be opened: there is no "),
        ] {
            let reason = &reasons[number - 1];
            assert!(reason.starts_with(&format!("dsa0/wq0.{number} {part}")), "{reason}");
            assert!(reason.contains("; "), "no next step: {reason}");
        }
        assert_eq!(reasons.len(), 7);
    }

    #[test]
    fn devices_that_cannot_be_used_are_passed_over_with_the_reason() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.0");
        tree.set("dsa0", "state", "disabled");
        tree.dsa(2).user_queue("wq2.0");
        tree.set("dsa2", "pasid_enabled", "0");
        tree.dsa(4).user_queue("wq4.0");
        tree.set("dsa4", "op_cap", "00000001");
        tree.dsa(6);
        tree.dsa(8).user_queue("wq8.0");
        tree.set("wq8.0", "type", "none");
        tree.iaa(9).user_queue("wq9.0");
        let found = find(&tree.host(), Kind::Dsa, COMPARE).unwrap();
        assert!(found.devices.is_empty(), "{:?}", found.devices);
        let reasons: Vec<_> = found.passed_over.iter().map(ToString::to_string).collect();
        let parts = [
            "dsa0 is not enabled but Disabled (cmd_status 0x0); configure a work queue, then: accel-config enable-device dsa0",
            "dsa2 has no shared virtual memory",
            "dsa4 has no operation 0x05",
            "dsa6 has no work queue for programs; configure one: accel-config config-wq dsa6/wq6.0 ",
            "dsa8 has no work queue for programs (dsa8/wq8.0 is of type none; disable it and set --type=user); configure",
        ];
        assert_eq!(reasons.len(), parts.len(), "{reasons:#?}");
        for (reason, part) in reasons.iter().zip(parts) {
            assert!(reason.starts_with(part), "{reason}");
        }
    }

    #[test]
    fn one_queue_is_found_by_its_node_or_said_why_not() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.0").user_queue("wq0.1").user_queue("wq0.2");
        tree.iaa(1).user_queue("wq1.0");
        tree.set("wq0.2", "type", "kernel");
        let host = tree.host();
        let device = at(&host, &host.nodes.join("dsa/wq0.1"), Kind::Dsa, COMPARE).unwrap();
        assert_eq!(device.queues().len(), 1);
        assert_eq!(device.queues()[0].name, "dsa0/wq0.1");
        for path in ["dsa/wq0", "dsa/card0", "dsa", "null", "other/wq0.1", "dsa/wq0.1x"] {
            assert!(matches!(refused(&host, path), KernelError::NotAQueue(_)), "{path}");
        }
        assert!(matches!(refused(&host, "iax/wq1.0"), KernelError::OtherKind { is: Kind::Iaa, .. }));
        assert!(matches!(refused(&host, "dsa/wq0.7"), KernelError::NoSuchQueue { .. }));
        assert!(matches!(refused(&host, "dsa/wq1.0"), KernelError::NoSuchQueue { .. }));
        let kernel = refused(&host, "dsa/wq0.2");
        assert_eq!(kernel.to_string(), "dsa0/wq0.2 is of type kernel; disable it and set --type=user");
        let real = Host { behind: Behind::Device, ..host };
        let KernelError::Queue(UnusableQueue { cause, .. }) = refused(&real, "dsa/wq0.0") else { panic!() };
        assert!(matches!(cause, Unusable::Node(NodeError::NotADevice(_))), "{cause}");
    }

    fn descriptor(index: u32) -> Descriptor {
        Descriptor { bytes: index, ..Descriptor::new(Opcode::NOOP, DescriptorFlags::empty()) }
    }

    /// Submits one descriptor, makes the queue quiet, submits another.
    fn used_and_reopened(host: &Host) -> WorkQueue {
        let device = find(host, Kind::Dsa, COMPARE).unwrap().devices.remove(0);
        let queue = device.open(&[]).unwrap().remove(0);
        // SAFETY: descriptors without addresses, which nobody acts on.
        unsafe { queue.portal.submit(&descriptor(1)) }.unwrap();
        let quiet = loop {
            match queue.control.quiesce() {
                Quiet::Pending => std::thread::yield_now(),
                quiet => break quiet,
            }
        };
        assert_eq!(quiet, Quiet::Ready);
        // SAFETY: as above.
        unsafe { queue.portal.submit(&descriptor(2)) }.unwrap();
        queue
    }

    #[test]
    fn an_open_queue_takes_descriptors_through_its_mapped_node_and_again_after_it_was_quiet() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.0");
        let queue = used_and_reopened(&tree.host());
        assert_eq!((queue.facts.max_batch, queue.portal.takes_batches()), (32, true));
        // The new mapping begins at its first address again.
        let bytes = std::fs::read(tree.host().nodes.join("dsa/wq0.0")).unwrap();
        assert_eq!(&bytes[..64], descriptor(2).as_bytes());
        assert!(bytes[64..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_queue_that_must_be_written_to_has_no_batches() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.0");
        let host = Host { behind: Behind::WrittenModel, ..tree.host() };
        tree.empty_node("dsa/wq0.0");
        let queue = used_and_reopened(&host);
        assert_eq!((queue.facts.max_batch, queue.portal.takes_batches()), (1, false));
        let bytes = std::fs::read(host.nodes.join("dsa/wq0.0")).unwrap();
        assert_eq!(Descriptor::read_from_bytes(&bytes), Ok(descriptor(2)), "the file was opened anew");
    }

    #[test]
    fn a_node_that_went_away_since_is_told_with_the_next_step() {
        let tree = Tree::new();
        tree.dsa(0).user_queue("wq0.0");
        let device = find(&tree.host(), Kind::Dsa, COMPARE).unwrap().devices.remove(0);
        std::fs::remove_file(tree.host().nodes.join("dsa/wq0.0")).unwrap();
        let error = device.open(&[]).err().unwrap();
        let OpenError::Device { device, reason, remedy, .. } = &error else { panic!("{error}") };
        assert_eq!(device, "dsa0/wq0.0");
        assert!(reason.starts_with("there is no ") && remedy.contains("devtmpfs"), "{error}");
    }
}

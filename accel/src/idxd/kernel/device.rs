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
use super::sysfs::{self, QueueMode, QueueType, State, SysfsDevice, SysfsQueue};
use super::{Behind, Host};
use crate::dma::DmaRange;
use crate::idxd::device::{Device, Kind, QueueFacts, WorkQueue};
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
mod tests;

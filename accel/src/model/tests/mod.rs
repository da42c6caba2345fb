//! A model driven through registers and portals, as a driver would.

mod batches;
mod checks;
mod commands;
mod faults;
mod timing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use pageferry_bindings::idxd::command::{Command, CommandError, CommandNumber, CommandStatus};
use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::instruction::Instruction;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::registers as at;
use pageferry_bindings::idxd::tables::{
    GroupConfiguration, GroupFlags, QueueConfiguration, QueueControl, QueueLimits, QueueState, QueueStatus,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::fault::FaultPlan;
use super::profile::Profile;
use super::{Model, Submission, Timing};
use crate::dma::{Arena, Block};
use crate::idxd::function::Function;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Record and flags as descriptors usually have them.
pub(super) const USUAL: DescriptorFlags =
    DescriptorFlags::COMPLETION_ADDRESS_VALID.union(DescriptorFlags::REQUEST_COMPLETION);

/// A model with queue 0 enabled, and memory that it reaches.
pub(super) struct Rig {
    pub model: Arc<Model>,
    arena: Arena,
    /// Where completion records go, 64 bytes each.
    pub records: Block,
}

/// A queue as most tests want it.
pub(super) fn dedicated(size: u16) -> QueueConfiguration {
    QueueConfiguration {
        size,
        control: (QueueControl::DEDICATED | QueueControl::BLOCK_ON_FAULT).with_priority(1),
        limits: QueueLimits::new(21, 5),
        ..QueueConfiguration::default()
    }
}

impl Rig {
    /// A model that does everything at once and nothing wrong.
    pub fn of(profile: Profile) -> Self {
        Self::new(profile, Timing::at_once(), FaultPlan::none())
    }

    pub fn new(profile: Profile, timing: Timing, plan: FaultPlan) -> Self {
        let limits = QueueLimits::new(21, profile.general.max_batch_shift().min(5));
        let rig = Self::off(profile, timing, plan);
        rig.enable(&[QueueConfiguration { limits, ..dedicated(16) }]);
        rig
    }

    /// A model that nobody configured.
    pub fn off(profile: Profile, timing: Timing, plan: FaultPlan) -> Self {
        let model = Model::new(profile, timing, plan).unwrap();
        let arena = Arena::new(16, 2 << 20).unwrap();
        model.function().map(&arena.range()).unwrap();
        let records = arena.take(4096).unwrap();
        Self { model, arena, records }
    }

    /// Resets the device, configures it with these queues in one group with all engines, and enables all.
    pub fn enable(&self, queues: &[QueueConfiguration]) {
        assert_eq!(self.command(CommandNumber::RESET_DEVICE, 0), CommandError::NONE);
        self.configure(queues);
        assert_eq!(self.command(CommandNumber::ENABLE_DEVICE, 0), CommandError::NONE);
        for queue in 0..u32::try_from(queues.len()).unwrap() {
            assert_eq!(self.command(CommandNumber::ENABLE_QUEUE, queue), CommandError::NONE, "queue {queue}");
            assert_eq!(self.queue_status(queue.into()).state(), QueueState::Enabled);
        }
    }

    pub fn configure(&self, queues: &[QueueConfiguration]) {
        let all = (1 << queues.len()) - 1;
        let engines = (1 << self.model.profile().engines) - 1;
        let flags = GroupFlags::CLASSES_1;
        let group =
            GroupConfiguration { queues: [all, 0, 0, 0], engines, flags, ..GroupConfiguration::default() };
        self.write(self.group_table(), group.as_bytes());
        for (index, queue) in (0..).zip(queues) {
            self.configure_queue(index, queue);
        }
    }

    pub fn configure_queue(&self, index: u64, queue: &QueueConfiguration) {
        self.write(self.queue_table() + 32 * index, queue.as_bytes());
    }

    pub fn group_table(&self) -> u64 {
        self.tables().groups()
    }

    pub fn queue_table(&self) -> u64 {
        self.tables().queues()
    }

    fn tables(&self) -> at::TableOffsets {
        at::TableOffsets([self.read(at::TABLE_OFFSETS), self.read(at::TABLE_OFFSETS + 8)])
    }

    pub fn queue_status(&self, queue: u64) -> QueueStatus {
        let mut word = [0; 4];
        let offset = self.queue_table() + 32 * queue + QueueConfiguration::STATUS_OFFSET;
        self.model.read_register(offset, &mut word).unwrap();
        QueueStatus(u32::from_le_bytes(word))
    }

    pub fn read(&self, offset: u64) -> u64 {
        let mut word = [0; 8];
        self.model.read_register(offset, &mut word).unwrap();
        u64::from_le_bytes(word)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) {
        for (offset, word) in (offset..).step_by(8).zip(bytes.chunks(8)) {
            self.model.write_register(offset, word).unwrap();
        }
    }

    /// Gives a command and waits for its end.
    pub fn command(&self, number: CommandNumber, operand: u32) -> CommandError {
        self.start(number, operand);
        wait_for("the command", || self.command_status().filter(|status| !status.is_active())).error()
    }

    pub fn start(&self, number: CommandNumber, operand: u32) {
        self.write(at::CMD, &Command::new(number, operand).0.to_le_bytes());
    }

    pub fn command_status(&self) -> Option<CommandStatus> {
        let mut word = [0; 4];
        self.model.read_register(at::CMDSTATUS, &mut word).unwrap();
        Some(CommandStatus(u32::from_le_bytes(word)))
    }

    pub fn software_error(&self) -> at::SoftwareError {
        let words: [u64; 4] = std::array::from_fn(|index| self.read(at::SWERR + 8 * index as u64));
        at::SoftwareError::read_from_bytes(words.as_bytes()).unwrap()
    }

    /// A block of memory that the model reaches.
    pub fn block(&self, bytes: usize) -> Block {
        self.arena.take(bytes).unwrap()
    }

    /// The address of record `index`.
    pub fn record_address(&self, index: usize) -> u64 {
        self.records.address().0 + 64 * index as u64
    }

    /// Submits to queue 0 what has its record at `index`.
    pub fn submit(&self, index: usize, mut descriptor: Descriptor) -> Submission {
        descriptor.completion_address = self.record_address(index);
        self.submit_as_is(&descriptor)
    }

    pub fn submit_as_is(&self, descriptor: &Descriptor) -> Submission {
        // SAFETY: tests name memory of the arena, or none that is mapped, and look at it when the record is there.
        unsafe { self.model.submit(0, Instruction::Movdir64b, descriptor) }
    }

    /// The status byte of record `index` now.
    pub fn status(&self, index: usize) -> u8 {
        // SAFETY: the byte is in the block of records, and both sides touch it atomically.
        unsafe { AtomicU8::from_ptr(self.records.as_ptr().add(64 * index)) }.load(Ordering::Acquire)
    }

    /// Waits for record `index` and takes it.
    pub fn record(&self, index: usize) -> DsaCompletion {
        wait_for("a completion record", || Some(self.status(index)).filter(|&status| status != 0));
        DsaCompletion::read_from_bytes(&self.records[64 * index..][..32]).unwrap()
    }

    /// Carries out a descriptor and gives its record.
    pub fn run(&mut self, descriptor: Descriptor) -> DsaCompletion {
        self.records[..64].zero();
        assert_eq!(self.submit(0, descriptor), Submission::Taken);
        self.record(0)
    }
}

/// Waits for something that must come soon.
pub(super) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// A descriptor of two addresses and a size.
pub(super) fn descriptor(opcode: Opcode, source: u64, destination: u64, bytes: usize) -> Descriptor {
    let bytes = u32::try_from(bytes).unwrap();
    Descriptor { source, destination, bytes, ..Descriptor::new(opcode, USUAL) }
}

/// Bytes that no two places have in common for long.
pub(super) fn pattern(seed: u64, bytes: &mut [u8]) {
    let plan = FaultPlan { seed, rules: Vec::new() };
    for (index, byte) in (0..).zip(bytes) {
        *byte = plan.draw(index, 0).to_le_bytes()[0];
    }
}

#[test]
fn a_configured_model_moves_memory() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let (mut source, destination) = (rig.block(10_000), rig.block(10_000));
    pattern(1, &mut source);
    let record =
        rig.run(descriptor(Opcode::MEMORY_MOVE, source.address().0, destination.address().0, 10_000));
    assert_eq!(record, DsaCompletion { status: 1, bytes_completed: 10_000, ..record });
    assert_eq!(destination[..], source[..]);
    assert_eq!(rig.model.tally().descriptors, 1);
}

#[test]
fn registers_read_as_dumps_of_real_parts_show_them() {
    for (profile, general, operations, engines) in [
        (Profile::spr_dsa(), 0x0040_915f_0107, 0x0001_003f_027f, 4),
        (Profile::spr_iaa(), 0x0007_1f10_901f_0105, 0xd, 8),
    ] {
        let rig = Rig::off(profile, Timing::at_once(), FaultPlan::none());
        assert_eq!(rig.read(at::VERSION), 0x100);
        assert_eq!(rig.read(at::GENCAP), general);
        assert_eq!(rig.read(at::OPCAP), operations);
        let queues = at::QueueCapabilities(rig.read(at::WQCAP));
        assert_eq!((queues.total_size(), queues.queues(), queues.configuration_stride()), (128, 8, 32));
        let groups = at::GroupCapabilities(rig.read(at::GRPCAP));
        assert_eq!((groups.groups(), groups.read_buffers()), (4, 96));
        assert_eq!(at::EngineCapabilities(rig.read(at::ENGCAP)).engines(), engines);
        assert_eq!(rig.queue_table(), 0x400);
        assert_eq!(
            at::GeneralStatus(u32::try_from(rig.read(at::GENSTATUS)).unwrap()).state(),
            at::DeviceState::Disabled
        );
    }
}

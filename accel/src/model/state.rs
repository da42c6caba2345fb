//! What a model knows at any time: registers, the descriptors in its queues, and the command that is pending.

use std::collections::VecDeque;
use std::time::Instant;

use pageferry_bindings::idxd::command::Command;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::instruction::Instruction;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::registers::{DeviceState, InterruptCause, SoftwareErrorWord};
use pageferry_bindings::idxd::tables::{QueueControl, QueueState};

use super::Submission;
use super::fault::{Fault, FaultPlan};
use super::profile::Profile;
use super::registers::Registers;

/// All that the threads of a model share under one lock.
pub(super) struct State {
    pub registers: Registers,
    /// Descriptors that were taken and are not done, as they arrived. Each holds a place in its queue until it is done.
    pub entries: VecDeque<Entry>,
    pub occupancy: Vec<u16>,
    /// Entries taken so far.
    pub arrived: u64,
    /// Descriptors numbered so far, members of batches too.
    pub numbered: u64,
    /// Descriptors offered to portals so far.
    pub offered: u64,
    pub command: Option<Pending>,
    /// When each engine is free again, as far as timing goes.
    pub engines: Vec<Instant>,
    /// How often all work was dropped by a reset of the function: what is carried out meanwhile no longer counts.
    pub epoch: u64,
    /// Whether a descriptor is being carried out.
    pub busy: bool,
    /// Whether the worker sleeps.
    pub asleep: bool,
    pub stop: bool,
    /// Whether the device is not there any more.
    pub gone: bool,
    /// Descriptors that found no place.
    pub dropped: u64,
    /// Commands that were written while another was being carried out.
    pub commands_ignored: u64,
}

/// A descriptor in a queue.
pub(super) struct Entry {
    pub queue: usize,
    pub descriptor: Descriptor,
    /// Its place in the order of arrival.
    pub arrival: u64,
    /// Its number, and the first of its members' if it is a batch, which follow.
    pub number: u64,
    pub submitted: Option<Instant>,
    pub due: Due,
}

/// A command that is being carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub command: Command,
    /// How many descriptors had arrived when it was given: it waits for those.
    pub arrived: u64,
    /// The queues that it waits for, once it has begun.
    pub queues: Option<u64>,
}

impl Pending {
    pub(super) const fn new(command: Command, arrived: u64) -> Self {
        Self { command, arrived, queues: None }
    }
}

/// When a descriptor is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nobody has looked yet.
    Unknown,
    AtOnce,
    At(Instant),
    Never,
}

impl State {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            registers: Registers::new(profile),
            entries: VecDeque::with_capacity(profile.total_size.into()),
            occupancy: vec![0; profile.queues.into()],
            arrived: 0,
            numbered: 0,
            offered: 0,
            command: None,
            engines: vec![Instant::now(); profile.engines.into()],
            epoch: 0,
            busy: false,
            asleep: false,
            stop: false,
            gone: false,
            dropped: 0,
            commands_ignored: 0,
        }
    }

    /// Takes a descriptor into a queue, if it may.
    pub(super) fn submit(
        &mut self,
        profile: &Profile,
        queue: usize,
        limited: bool,
        instruction: Instruction,
        descriptor: &Descriptor,
    ) -> Submission {
        let refused = |state: &mut Self, error: u8| match instruction {
            Instruction::Enqcmd => Submission::Retry,
            Instruction::Movdir64b | Instruction::PlainStores => {
                state.dropped += 1;
                state.complain(Complaint {
                    error,
                    queue,
                    descriptor: Some(*descriptor),
                    ..Complaint::default()
                });
                Submission::Dropped
            }
        };
        let quirks = &profile.quirks;
        let enabled = self.registers.state == DeviceState::Enabled
            && queue < self.registers.queues.len()
            && self.registers.queue_state(queue) == QueueState::Enabled;
        if !enabled {
            return refused(self, quirks.disabled_error);
        }
        let configuration = &self.registers.queues[queue];
        let dedicated = configuration.control.contains(QueueControl::DEDICATED);
        let right = match instruction {
            Instruction::Enqcmd => !dedicated || quirks.enqcmd_to_dedicated,
            Instruction::Movdir64b | Instruction::PlainStores => dedicated || quirks.movdir64b_to_shared,
        };
        if !right {
            return refused(self, quirks.disabled_error);
        }
        let room = if limited && !dedicated { configuration.threshold } else { configuration.size };
        if self.occupancy[queue] >= room {
            return refused(self, quirks.full_error);
        }
        self.occupancy[queue] += 1;
        let members = super::batch::members(descriptor, configuration);
        let (arrival, number) = (self.arrived, self.numbered);
        self.arrived += 1;
        self.numbered += 1 + u64::from(members);
        let due = Due::Unknown;
        self.entries.push_back(Entry {
            queue,
            descriptor: *descriptor,
            arrival,
            number,
            submitted: None,
            due,
        });
        Submission::Taken
    }

    /// Drops all work of these queues.
    pub(super) fn drop_work(&mut self, queues: u64) {
        let Self { entries, occupancy, .. } = self;
        entries.retain(|entry| {
            let keep = queues >> entry.queue & 1 == 0;
            if !keep {
                occupancy[entry.queue] -= 1;
            }
            keep
        });
    }

    /// All as after power-on, but for what counts through.
    pub(super) fn reset(&mut self, profile: &Profile) {
        self.registers = Registers::new(profile);
        self.entries.clear();
        self.occupancy.fill(0);
        self.command = None;
        self.epoch += 1;
    }

    /// Tells software of an error that no completion record can tell of.
    pub(super) fn complain(&mut self, complaint: Complaint) {
        type Word = SoftwareErrorWord;
        let error = &mut self.registers.error;
        if error.what.contains(Word::VALID) {
            error.what |= Word::OVERFLOW;
            return;
        }
        let mut what = Word::VALID | Word::QUEUE_VALID;
        if let Some(descriptor) = complaint.descriptor {
            what |= Word::DESCRIPTOR_VALID;
            what.0 |= u64::from(descriptor.opcode().0) << 32;
        }
        if complaint.write_fault {
            what |= Word::WRITE_FAULT;
        }
        if let Some(member) = complaint.member {
            what |= Word::BATCH;
            error.batch_index = member;
        }
        what.0 |= u64::from(complaint.error) << 8 | (complaint.queue as u64 & 0xff) << 16;
        error.what = what;
        error.invalid_flags = complaint.invalid_flags;
        error.fault_address = complaint.fault_address;
        self.registers.interrupt_cause |= InterruptCause::SOFTWARE_ERROR.bits();
    }

    /// Whether an entry may be carried out now: a drain waits for all that came before it in its queue.
    pub(super) fn is_ready(&self, entry: &Entry) -> bool {
        let before = |other: &Entry| other.queue == entry.queue && other.arrival < entry.arrival;
        entry.descriptor.opcode() != Opcode::DRAIN || !self.entries.iter().any(before)
    }
}

/// What SWERR is to say.
#[derive(Clone, Copy, Default)]
pub(super) struct Complaint {
    pub error: u8,
    pub queue: usize,
    pub descriptor: Option<Descriptor>,
    pub member: Option<u16>,
    pub invalid_flags: u32,
    pub fault_address: u64,
    pub write_fault: bool,
}

/// What a plan has for an entry and all its members together.
pub(super) fn fate(plan: &FaultPlan, entry: &Entry, members: u32) -> Option<Fault> {
    if plan.rules.is_empty() {
        return None;
    }
    let whole = |fault: &Fault| matches!(fault, Fault::Late(_) | Fault::Never | Fault::Reset | Fault::Gone);
    (entry.number..=entry.number + u64::from(members)).find_map(|number| plan.of(number).find(whole))
}

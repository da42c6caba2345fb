//! A phase that did not go through: page faults, and members of a batch that never ran.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pageferry_bindings::idxd::completion::{DsaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::CreateDeltaOperands;
use pageferry_bindings::idxd::status::DsaStatus;

use super::fault::{Faulted, Stray};
use super::resume::{self, Progress};
use super::{OVERFLOW, finish};
use crate::codec::delta::WORD_BYTES;
use crate::idxd::choice::{Choice, Way};
use crate::idxd::work::Outbox;
use crate::request::Detours;

/// The descriptors of a phase until each of them has its final record.
pub(super) struct Mend {
    items: Vec<Item>,
    records: Vec<DsaCompletion>,
    /// Which item each posted descriptor is of.
    posted: Vec<usize>,
    /// Rounds in a row in which nothing ran.
    idle_rounds: u32,
    /// A page for what the CPU works on.
    scratch: Box<[u8]>,
}

struct Item {
    whole: Descriptor,
    /// What is left of it, as it is posted.
    part: Descriptor,
    progress: Progress,
    done: bool,
    resumed: u32,
    /// When the device was seen to have stopped, if it is to go on.
    stopped: Option<Instant>,
}

/// What cannot be mended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// A status that says no.
    #[error("operation {:#04x} ended with {status}", opcode.0)]
    Status { opcode: Opcode, status: DsaStatus },
    /// A page fault that is none of ours.
    #[error("operation {:#04x} stopped: {stray}", opcode.0)]
    Stray { opcode: Opcode, stray: Stray },
    /// The device completes batches without running them.
    #[error("descriptors of a batch never ran")]
    NeverRan,
}

/// How often a descriptor is resumed before the CPU does the rest of it.
const RESUMES: u32 = 16;
/// How many rounds may pass in which no descriptor runs.
const IDLE_ROUNDS: u32 = 3;

impl Mend {
    /// For phases of at most `descriptors`, on pages of `page_bytes`.
    pub(super) fn new(descriptors: usize, page_bytes: usize) -> Self {
        Self {
            items: Vec::with_capacity(descriptors),
            records: Vec::with_capacity(descriptors),
            posted: Vec::with_capacity(descriptors),
            idle_rounds: 0,
            scratch: vec![0; page_bytes].into_boxed_slice(),
        }
    }

    /// Whether the phase that runs is one of this.
    pub(super) fn is_active(&self) -> bool {
        !self.items.is_empty()
    }

    /// Ends with this phase.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.records.clear();
        self.posted.clear();
        self.idle_rounds = 0;
    }

    /// The final records of the phase as it was first posted, to be given back by [`give_back`](Self::give_back).
    pub(super) fn take_records(&mut self) -> Vec<DsaCompletion> {
        std::mem::take(&mut self.records)
    }

    /// Gives their room back, and ends with this phase.
    pub(super) fn give_back(&mut self, records: Vec<DsaCompletion>) {
        self.records = records;
        self.clear();
    }

    /// Looks at what ran, and posts what has to run yet. Says whether the phase is complete.
    ///
    /// No descriptor behind the first `barrier` runs before those have.
    ///
    /// # Errors
    /// [`Trouble`], and the request fails.
    ///
    /// # Safety
    /// The device is done with what is in the outbox, all of it composed by us, and what it names is still there.
    pub(super) unsafe fn go_on(
        &mut self,
        outbox: &mut Outbox<DsaCompletion>,
        barrier: usize,
        choice: &Mutex<Choice>,
        detours: &mut Detours,
    ) -> Result<bool, Trouble> {
        if !self.is_active() {
            self.begin(outbox, barrier);
        }
        let (mut ran, mut all_ran) = (false, true);
        let before = *detours;
        for at in 0..self.posted.len() {
            let record = outbox.record(at);
            ran |= record.status != 0;
            all_ran &= record.status != 0;
            // SAFETY: the caller's word.
            unsafe { self.look(self.posted[at], &record, choice, detours) }?;
        }
        if !all_ran && *detours == before {
            // No member stopped the batch: the fault was on its list.
            detours.page_faults_resumed += 1;
        }
        self.idle_rounds = if ran { 0 } else { self.idle_rounds + 1 };
        if self.idle_rounds == IDLE_ROUNDS {
            return Err(Trouble::NeverRan);
        }
        self.post(outbox, barrier);
        Ok(self.posted.is_empty())
    }

    fn begin(&mut self, outbox: &Outbox<DsaCompletion>, barrier: usize) {
        for index in 0..outbox.len() {
            self.items.push(Item::new(outbox.descriptor(index)));
            self.records.push(DsaCompletion::default());
        }
        let succeeded = |index| outbox.record(index).status == DsaStatus::SUCCESS.0;
        // Whatever ran behind a barrier that did not hold read what was not there yet.
        let valid = if (0..barrier).all(succeeded) { outbox.len() } else { barrier };
        self.posted.extend(0..valid);
    }

    fn post(&mut self, outbox: &mut Outbox<DsaCompletion>, barrier: usize) {
        let (before, behind) = self.items.split_at(barrier);
        let open = |(index, item): (usize, &Item)| (!item.done).then_some(index);
        self.posted.clear();
        self.posted.extend(before.iter().enumerate().filter_map(open));
        if self.posted.is_empty() {
            let behind = behind.iter().enumerate().filter_map(open);
            self.posted.extend(behind.map(|index| barrier + index));
        }
        outbox.clear();
        self.posted.iter().for_each(|&index| outbox.post(self.items[index].part));
    }

    /// # Safety
    /// As [`go_on`](Self::go_on).
    unsafe fn look(
        &mut self,
        index: usize,
        record: &DsaCompletion,
        choice: &Mutex<Choice>,
        detours: &mut Detours,
    ) -> Result<(), Trouble> {
        let item = &mut self.items[index];
        let took = |way, since: Instant| {
            choice.lock().unwrap_or_else(PoisonError::into_inner).took(way, since.elapsed());
        };
        let status = DsaStatus(record.status & !WRITE_FAULT);
        if status != DsaStatus::NONE
            && let Some(stopped) = item.stopped.take()
        {
            took(Way::Resume, stopped);
        }
        match status {
            // It never ran, and is posted again.
            DsaStatus::NONE => {}
            DsaStatus::SUCCESS => {
                item.done = true;
                // SAFETY: the caller's word.
                self.records[index] = unsafe { item.conclude(record, &mut self.scratch) };
            }
            DsaStatus::PAGE_FAULT | DsaStatus::PAGE_REQUEST_INVALID => {
                let seen = Instant::now();
                let opcode = item.whole.opcode();
                let faulted =
                    Faulted::of(&item.part, record).map_err(|stray| Trouble::Stray { opcode, stray })?;
                // SAFETY: the caller's word.
                unsafe { item.stop(record) };
                let way = || choice.lock().unwrap_or_else(PoisonError::into_inner).way();
                match faulted.filter(|_| item.resumed < RESUMES && way() == Way::Resume) {
                    Some(faulted) => {
                        // SAFETY: the caller's word.
                        unsafe { faulted.touch() };
                        item.resumed += 1;
                        item.stopped = Some(seen);
                        detours.page_faults_resumed += 1;
                    }
                    None => {
                        item.done = true;
                        // SAFETY: the caller's word.
                        let record = unsafe { item.finish(&mut self.scratch) };
                        if record.status != DsaStatus::SUCCESS.0 {
                            return Err(Trouble::Status { opcode, status: DsaStatus(record.status) });
                        }
                        self.records[index] = record;
                        detours.page_faults_on_cpu += 1;
                        took(Way::Finish, seen);
                    }
                }
            }
            status => return Err(Trouble::Status { opcode: item.whole.opcode(), status }),
        }
        Ok(())
    }
}

impl Item {
    fn new(mut whole: Descriptor) -> Self {
        // It may run alone, and waits for what it needs by not being posted.
        whole.flags_and_opcode &= !DescriptorFlags::FENCE.bits();
        let progress = Progress::default();
        Self { whole, part: whole, progress, done: false, resumed: 0, stopped: None }
    }

    /// Takes over what was done before a page fault, and has the rest as its next part.
    ///
    /// # Safety
    /// As [`Mend::go_on`].
    unsafe fn stop(&mut self, record: &DsaCompletion) {
        let progress = self.progress.and(&self.part, record);
        let rest = progress.and_then(|progress| progress.rest(&self.whole));
        (self.progress, self.part) = match progress.zip(rest) {
            Some(next) => {
                // SAFETY: the caller's word.
                unsafe { self.join(record.value) };
                next
            }
            None => (Progress::default(), self.whole),
        };
    }

    /// The record of the whole, given that of its last part.
    ///
    /// # Safety
    /// As [`Mend::go_on`].
    unsafe fn conclude(&mut self, record: &DsaCompletion, scratch: &mut [u8]) -> DsaCompletion {
        if self.whole.opcode() != Opcode::CREATE_DELTA || self.progress == Progress::default() {
            return *record;
        }
        let fits = record.value <= self.part.operands::<CreateDeltaOperands>().max_delta_bytes;
        if record.result == OVERFLOW || !fits {
            // The parts had less room than the whole has, by the alignment between them.
            // SAFETY: the caller's word.
            return unsafe { finish::run(&self.whole, scratch) };
        }
        // SAFETY: the caller's word.
        unsafe { self.join(record.value) };
        let value = self.progress.delta_bytes + record.value;
        DsaCompletion { result: u8::from(value > 0), value, ..*record }
    }

    /// Does what is left on the CPU.
    ///
    /// # Safety
    /// As [`Mend::go_on`].
    unsafe fn finish(&mut self, scratch: &mut [u8]) -> DsaCompletion {
        // A delta is made anew: all of it is private, and parts are not worth their joining.
        let descriptor = if self.whole.opcode() == Opcode::CREATE_DELTA { &self.whole } else { &self.part };
        // SAFETY: the caller's word.
        unsafe { finish::run(descriptor, scratch) }
    }

    /// Moves the part of a delta record that was just made up to the part before it.
    ///
    /// # Safety
    /// As [`Mend::go_on`].
    unsafe fn join(&self, part_bytes: u32) {
        if self.whole.opcode() != Opcode::CREATE_DELTA || self.progress.front == 0 {
            return;
        }
        let whole = self.whole.operands::<CreateDeltaOperands>();
        let part = self.part.operands::<CreateDeltaOperands>();
        let at = usize::try_from(part.delta_address - whole.delta_address).unwrap_or_default();
        let words_before = u16::try_from(self.progress.front as usize / WORD_BYTES).unwrap_or_default();
        // SAFETY: the room of a delta is private to its request by the caller's word, and the device is done with it.
        let room = unsafe { finish::private_mut(whole.delta_address, whole.max_delta_bytes as usize) };
        resume::join(room, self.progress.delta_bytes as usize, at, part_bytes as usize, words_before);
    }
}

//! The thread that does a model's work: commands, schedules, descriptors, records.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pageferry_bindings::idxd::completion::WRITE_FAULT;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::registers::GeneralControl;
use pageferry_bindings::idxd::status::DsaStatus;

use super::fault::{Counters, Fault, FaultPlan, count};
use super::memory::DeviceMemory;
use super::perform::{Done, Performer};
use super::profile::Profile;
use super::state::{Complaint, Due, Entry, State, fate};
use super::{Counts, Timing, batch};

/// How often a worker without work looks again before it sleeps, so that waking it seldom costs a submitter anything.
const LOOKS_BEFORE_SLEEP: u32 = 50;

/// Waits shorter than this are spent yielding: a sleep would end too late.
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);

/// What the threads of a model share.
pub(super) struct Shared {
    pub profile: Profile,
    pub timing: Timing,
    pub plan: FaultPlan,
    pub memory: DeviceMemory,
    pub misdeeds: Counters,
    pub counts: Counts,
    /// What each interrupt vector rings.
    pub interrupts: Mutex<Vec<Option<OwnedFd>>>,
    state: Mutex<State>,
    /// The worker waits here for work.
    work: Condvar,
    /// Whoever resets the function waits here for the worker.
    idle: Condvar,
}

/// What the worker does next.
enum Step {
    Run(Entry),
    WaitUntil(Instant),
    Sleep,
}

impl Shared {
    pub(super) fn new(profile: Profile, timing: Timing, plan: FaultPlan) -> Self {
        let state = Mutex::new(State::new(&profile));
        let interrupts = Mutex::new((0..profile.vectors).map(|_| None).collect());
        Self {
            profile,
            timing,
            plan,
            memory: DeviceMemory::new(),
            misdeeds: Counters::default(),
            counts: Counts::default(),
            interrupts,
            state,
            work: Condvar::new(),
            idle: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the worker look at what changed.
    pub(super) fn wake(&self, state: &mut State) {
        if std::mem::take(&mut state.asleep) {
            self.work.notify_one();
        }
    }

    /// Drops everything, and returns when nothing is being carried out any more.
    pub(super) fn reset_function(&self) {
        let mut state = self.lock();
        if !state.gone {
            state.reset(&self.profile);
        }
        while state.busy {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does the work until the model is dropped.
    pub(super) fn run(&self) {
        let mut state = self.lock();
        let mut looks = 0;
        while !state.stop {
            if state.carry_out(&self.profile) {
                self.ring(0);
            }
            self.schedule(&mut state);
            match self.next(&mut state) {
                Step::Run(entry) => {
                    looks = 0;
                    state = self.perform(state, entry);
                }
                Step::WaitUntil(due) if due.saturating_duration_since(Instant::now()) > SHORTEST_SLEEP => {
                    state.asleep = true;
                    let wait =
                        due.saturating_duration_since(Instant::now()).saturating_sub(SHORTEST_SLEEP / 2);
                    state = self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                    state.asleep = false;
                }
                Step::Sleep if looks >= LOOKS_BEFORE_SLEEP => {
                    looks = 0;
                    state.asleep = true;
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.asleep = false;
                }
                Step::WaitUntil(_) | Step::Sleep => {
                    looks += 1;
                    drop(state);
                    std::thread::yield_now();
                    state = self.lock();
                }
            }
        }
    }

    /// Says of each descriptor that arrived when it is done.
    fn schedule(&self, state: &mut State) {
        while let Some(index) = state.entries.iter().position(|entry| entry.due == Due::Unknown) {
            let entry = &state.entries[index];
            let queue = &state.registers.queues[entry.queue];
            let members = batch::members(&entry.descriptor, queue);
            let fate = fate(&self.plan, entry, members);
            let mut due = self.due(state, index);
            match fate {
                Some(Fault::Reset) => {
                    count(&self.misdeeds.resets);
                    state.reset(&self.profile);
                    return;
                }
                Some(Fault::Gone) => {
                    count(&self.misdeeds.gone);
                    state.reset(&self.profile);
                    state.gone = true;
                    return;
                }
                Some(Fault::Never) => {
                    count(&self.misdeeds.never);
                    due = Due::Never;
                }
                Some(Fault::Late(delay)) => {
                    count(&self.misdeeds.late);
                    due = match due {
                        Due::At(at) => Due::At(at + delay),
                        _ => Due::At(Instant::now() + delay),
                    };
                }
                _ => {}
            }
            state.entries[index].due = due;
        }
    }

    /// When a descriptor is done, by the timing: it waits for an engine of its queue's group, has it for as long as its bytes
    /// take, and its record comes a latency later.
    fn due(&self, state: &mut State, index: usize) -> Due {
        let entry = &state.entries[index];
        let Some(submitted) = entry.submitted else { return Due::AtOnce };
        let has_queue = |group: &&pageferry_bindings::idxd::tables::GroupConfiguration| {
            group.queues[0] >> entry.queue & 1 == 1
        };
        let engines = state.registers.groups.iter().find(has_queue).map_or(1, |group| group.engines);
        let service = self.timing.bytes_per_s.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(self.bytes(&entry.descriptor) as f64 / rate.get() as f64)
        });
        let of_group = state.engines.iter_mut().enumerate().filter(|(index, _)| engines >> index & 1 == 1);
        let free = of_group.map(|(_, free)| free).min();
        let begins = free.as_ref().map_or(submitted, |free| submitted.max(**free));
        if let Some(free) = free {
            *free = begins + service;
        }
        Due::At(begins + service + self.timing.latency)
    }

    /// How many bytes a descriptor is about, with all its members.
    fn bytes(&self, descriptor: &Descriptor) -> u64 {
        match descriptor.opcode() {
            Opcode::BATCH => (0..descriptor.bytes.min(1 << 15))
                .map_while(|index| batch::member(descriptor, &self.memory, index).ok())
                .map(|member| u64::from(member.bytes))
                .sum(),
            _ => descriptor.bytes.into(),
        }
    }

    fn next(&self, state: &mut State) -> Step {
        let mut best: Option<(usize, Due)> = None;
        for (index, entry) in state.entries.iter().enumerate() {
            let earlier = match (entry.due, best) {
                (Due::Unknown | Due::Never, _) => false,
                (_, None) | (Due::AtOnce, Some((_, Due::At(_)))) => true,
                (Due::At(due), Some((_, Due::At(best)))) => due < best,
                _ => false,
            };
            if earlier && state.is_ready(entry) {
                best = Some((index, entry.due));
                if entry.due == Due::AtOnce {
                    break;
                }
            }
        }
        let Some((index, due)) = best else { return Step::Sleep };
        if let Due::At(due) = due
            && due > Instant::now()
        {
            return Step::WaitUntil(due);
        }
        state.entries.remove(index).map_or(Step::Sleep, Step::Run)
    }

    /// Carries out a descriptor without holding the lock. Its place is free before its record can be seen, so that who sees the
    /// record can submit again.
    fn perform<'a>(&'a self, mut state: MutexGuard<'a, State>, entry: Entry) -> MutexGuard<'a, State> {
        let (epoch, queue) = (state.epoch, state.registers.queues[entry.queue]);
        state.busy = true;
        drop(state);
        let mut last = None;
        let mut complaints = Vec::new();
        let mut done = |done: Done| {
            if done.member.is_some() {
                complaints.extend(self.publish(entry.queue, &done));
            } else {
                last = Some(done);
            }
        };
        let mut performer = Performer {
            profile: &self.profile,
            memory: &self.memory,
            plan: &self.plan,
            misdeeds: &self.misdeeds,
            queue,
            done: &mut done,
        };
        performer.perform(entry.number, &entry.descriptor);
        let mut state = self.lock();
        state.busy = false;
        if state.epoch == epoch {
            state.occupancy[entry.queue] -= 1;
            complaints.extend(last.and_then(|done| self.publish(entry.queue, &done)));
            for complaint in complaints {
                state.complain(complaint);
                self.ring_for_error(&state);
            }
        }
        self.idle.notify_all();
        state
    }

    /// Writes the completion record of a descriptor, if it is to have one, and rings. Gives what no record could tell.
    fn publish(&self, queue: usize, done: &Done) -> Option<Complaint> {
        let Done { descriptor, record, member } = done;
        let (flags, status) = (descriptor.flags(), record.status());
        self.counts.descriptors.fetch_add(1, Relaxed);
        self.counts.bytes.fetch_add(bytes_of(descriptor), Relaxed);
        let complaint =
            Complaint { queue, descriptor: Some(*descriptor), member: *member, ..Complaint::default() };
        let has_address = flags.contains(DescriptorFlags::COMPLETION_ADDRESS_VALID);
        if !has_address || status == DsaStatus::COMPLETION_MISALIGNED.0 {
            let failed = status > DsaStatus::PREDICATE_FALSE.0;
            let invalid_flags = record.invalid_flags();
            return failed.then_some(Complaint { error: status, invalid_flags, ..complaint });
        }
        if flags.contains(DescriptorFlags::REQUEST_COMPLETION) || status != DsaStatus::SUCCESS.0 {
            let address = descriptor.completion_address;
            if let Err(fault) = self.memory.publish(address, record.as_bytes()) {
                let error = DsaStatus::COMPLETION_PAGE_FAULT.0;
                return Some(Complaint {
                    error,
                    fault_address: fault.address,
                    write_fault: true,
                    ..complaint
                });
            }
        }
        let rings = flags.contains(DescriptorFlags::REQUEST_INTERRUPT)
            && status & !WRITE_FAULT != DsaStatus::BAD_INTERRUPT.0;
        if rings {
            self.ring(descriptor.interrupt_handle);
        }
        None
    }

    /// Raises the interrupt of errors, if software wants it.
    pub(super) fn ring_for_error(&self, state: &State) {
        let control = GeneralControl::from_bits_retain(state.registers.general_control);
        if control.contains(GeneralControl::SOFTWARE_ERROR) {
            self.ring(0);
        }
    }

    /// Raises an interrupt, if its vector is enabled.
    pub(super) fn ring(&self, vector: u16) {
        let interrupts = self.interrupts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = interrupts.get(usize::from(vector)).and_then(Option::as_ref) {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: `one` is 8 bytes long, and the descriptor is open. An eventfd that is full has been rung enough.
            unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// Ends the worker.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        state.asleep = false;
        self.work.notify_all();
    }
}

/// How many bytes a descriptor is about, its members not counted.
fn bytes_of(descriptor: &Descriptor) -> u64 {
    if descriptor.opcode() == Opcode::BATCH { 0 } else { descriptor.bytes.into() }
}

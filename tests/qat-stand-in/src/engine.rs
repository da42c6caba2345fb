//! The threads of a device: each takes an operation, reads its source, works, and writes its destination.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use pageferry_bindings::qat::cpa::CpaStatus;
use pageferry_bindings::qat::dc::ReqStatus;

use crate::codec::{Codec, Job, Outcome};
use crate::dma::{gather, scatter};
use crate::fault::Misdeeds;
use crate::state::{Device, Phase, Plan, Stage, State};
use crate::world::World;

/// What a device that failed leaves where it still writes.
const DEBRIS: [u8; 4096] = [0xa5; 4096];

/// What an engine finds to do.
enum Next {
    Operation(u64),
    LateWrite(Arc<Plan>),
    Wait(Option<Instant>),
}

/// Works until the library is stopped.
pub(crate) fn run(world: &World, device: usize) {
    let mut codec = Codec::new();
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut state = world.lock();
    while !state.stopping {
        match next(&mut state.devices[device], Instant::now()) {
            Next::Wait(until) => state = wait(world, device, state, until),
            Next::LateWrite(plan) => {
                // SAFETY: what failed lately is still in flight, and its memory with it: `State::expire` ends that, and
                // needs the lock that is held here.
                unsafe { scatter(&DEBRIS, &plan.destination) };
                state.report.misdeeds.late_writes += 1;
            }
            Next::Operation(number) => {
                let Some(operation) = state.operations.get(&number) else { continue };
                let plan = Arc::clone(&operation.plan);
                state.devices[device].working += 1;
                drop(state);
                // SAFETY: memory of an operation in flight is there: freeing it is refused, and a restart and a fatal error
                // wait for the engines that work.
                unsafe { gather(&plan.source, &mut input) };
                let outcome = codec.perform(&plan.job, &input, &mut output);
                state = world.lock();
                state.report.bytes_read += input.len() as u64;
                state = write(world, device, state, number, &plan, &output);
                complete(&mut state, number, &plan.job, outcome);
                state.devices[device].working -= 1;
                // A notification is a system call, whether anybody waits or not.
                if state.devices[device].awaited {
                    world.settled.notify_all();
                }
            }
        }
    }
}

fn next(device: &mut Device, now: Instant) -> Next {
    if device.phase == Phase::Failed {
        // Half of the time that it has at most, so that an engine that was kept from running does nothing instead.
        let due = device.late_writes.iter().position(|(at, _)| *at <= now);
        return match due {
            Some(place) => {
                let (_, plan) = device.late_writes.swap_remove(place);
                if device.lingers.is_some_and(|until| now < until) {
                    Next::LateWrite(plan)
                } else {
                    Next::Wait(None)
                }
            }
            None => Next::Wait(device.late_writes.iter().map(|(at, _)| *at).min()),
        };
    }
    if device.phase != Phase::Running || device.stopped.is_some() {
        return Next::Wait(None);
    }
    if let Some(place) = device.delayed.iter().position(|(at, _)| *at <= now) {
        return Next::Operation(device.delayed.swap_remove(place).1);
    }
    match device.queue.pop_front() {
        Some(number) => Next::Operation(number),
        None => Next::Wait(device.delayed.iter().map(|(at, _)| *at).min()),
    }
}

fn wait<'a>(
    world: &'a World,
    device: usize,
    mut state: MutexGuard<'a, State>,
    until: Option<Instant>,
) -> MutexGuard<'a, State> {
    let work = &world.work[device];
    state.devices[device].idle += 1;
    let mut state = match until {
        None => work.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
        }
    };
    state.devices[device].idle -= 1;
    state
}

/// Writes what an operation came to, unless its device is being restarted.
fn write<'a>(
    world: &'a World,
    device: usize,
    state: MutexGuard<'a, State>,
    number: u64,
    plan: &Plan,
    output: &[u8],
) -> MutexGuard<'a, State> {
    let waits =
        state.operations.get(&number).is_some_and(|operation| matches!(operation.stage, Stage::Waiting));
    if !waits || state.devices[device].phase != Phase::Running {
        return state;
    }
    drop(state);
    // SAFETY: as for reading.
    unsafe { scatter(output, &plan.destination) };
    let mut state = world.lock();
    state.report.bytes_written += output.len() as u64;
    state
}

fn complete(state: &mut State, number: u64, job: &Job, outcome: Outcome) {
    let Some(operation) = state.operations.get_mut(&number) else { return };
    if matches!(operation.stage, Stage::Waiting) {
        operation.stage = Stage::Done(outcome);
        state.instances[operation.instance].done.push_back(number);
        count(&mut state.report.misdeeds, job, &outcome);
    }
}

/// Counts what went wrong on purpose, and not what was meant to and could not.
fn count(misdeeds: &mut Misdeeds, job: &Job, outcome: &Outcome) {
    let twist = job.twist;
    let good = outcome.callback == CpaStatus::SUCCESS.0;
    let status = ReqStatus(outcome.status);
    misdeeds.unsupported += u64::from(twist.unsupported);
    misdeeds.statuses += u64::from(twist.status.is_some() && !twist.unsupported);
    misdeeds.overflows += u64::from(twist.overflow && status == ReqStatus::OVERFLOW);
    misdeeds.verifications +=
        u64::from(twist.verify && (status == ReqStatus::VERIFY || outcome.stored == Some(true)));
    misdeeds.wrong_checksums += u64::from(twist.wrong_checksum && good && outcome.checksum.is_some());
    misdeeds.wrong_counts += u64::from(twist.wrong_produced && good);
    misdeeds.corrupt_outputs += u64::from(twist.corrupt && good);
}

//! Restarts and fatal errors, which a process sees when it looks for them, and no earlier.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pageferry_bindings::qat::cpa::{CpaStatus, InstanceEvent};

use crate::state::{Phase, Stage, State, Trouble};
use crate::world::World;

/// When after a fatal error a device writes to the destinations of what it had in flight, if it does.
const WRITES_AFTER: Duration = Duration::from_micros(200);

/// Looks at every device once.
pub(crate) fn poll(world: &World) -> CpaStatus {
    if world.eventful.swap(true, Ordering::AcqRel) {
        return world.violation("two calls of icp_sal_poll_device_events at once");
    }
    let started = world.lock().starts > 0;
    if started {
        for device in 0..world.config.devices() {
            look_at(world, device);
        }
    }
    world.eventful.store(false, Ordering::Release);
    if started { CpaStatus::SUCCESS } else { CpaStatus::FAIL }
}

fn look_at(world: &World, device: usize) {
    let mut state = world.lock();
    state.expire(&world.config);
    let now = Instant::now();
    let target = &state.devices[device];
    let is_due = target.until.is_some_and(|until| until <= now);
    match (target.phase, target.stopped) {
        (Phase::Running, Some(Trouble::Restart { down })) => restart(world, device, state, down),
        (Phase::Running, Some(Trouble::Fatal { down })) => fail(world, device, state, down),
        (Phase::Failed, _) if is_due => restart(world, device, state, Duration::ZERO),
        (Phase::Restarting, _) if is_due => {
            let target = &mut state.devices[device];
            target.phase = Phase::Running;
            target.stopped = None;
            target.until = None;
            drop(state);
            notify(world, device, InstanceEvent::RESTARTED);
        }
        _ => {}
    }
}

/// Takes a device down. As the vendor's library does, it tells of that before it happens; when this returns, all that was
/// in flight is gone, and the device touches no memory any more.
fn restart(world: &World, device: usize, state: MutexGuard<'_, State>, down: Duration) {
    drop(state);
    notify(world, device, InstanceEvent::RESTARTING);
    world.close(device, || clear(world, device, down));
}

/// Takes away all that was in flight, once no engine works.
fn clear(world: &World, device: usize, down: Duration) {
    let mut state = world.lock();
    state.devices[device].phase = Phase::Restarting;
    let mut state = settled(world, device, state);
    let on_device = |instance: usize| world.config.device_of(instance) == device;
    let lost = state.operations.iter().filter(|(_, operation)| on_device(operation.instance));
    for number in lost.map(|(number, _)| *number).collect::<Vec<_>>() {
        state.remove(number);
    }
    for (_, instance) in state.instances.iter_mut().enumerate().filter(|(index, _)| on_device(*index)) {
        instance.done.clear();
        instance.in_flight = 0;
    }
    for session in state.sessions.values_mut().filter(|session| on_device(session.instance)) {
        session.in_flight = 0;
    }
    let target = &mut state.devices[device];
    target.queue.clear();
    target.delayed.clear();
    target.late_writes.clear();
    target.lingers = None;
    target.epoch += 1;
    target.until = Some(Instant::now() + down);
}

/// Has a device fail. What it had begun it may finish for a moment, as far as its memory is concerned.
fn fail(world: &World, device: usize, state: MutexGuard<'_, State>, down: Option<Duration>) {
    let mut state = settled(world, device, state);
    let now = Instant::now();
    let mut begun: Vec<u64> = state
        .operations
        .iter()
        .filter(|(_, operation)| {
            world.config.device_of(operation.instance) == device && matches!(operation.stage, Stage::Waiting)
        })
        .map(|(number, _)| *number)
        .collect();
    begun.sort_unstable();
    begun.truncate(world.config.engines);
    let plans: Vec<_> =
        begun.iter().map(|number| (now + WRITES_AFTER, Arc::clone(&state.operations[number].plan))).collect();
    let target = &mut state.devices[device];
    target.phase = Phase::Failed;
    target.late_writes = plans;
    target.lingers = Some(now + world.config.lingers);
    target.until = down.map(|down| now + down);
    drop(state);
    world.work[device].notify_all();
    notify(world, device, InstanceEvent::FATAL_ERROR);
}

/// Waits until none of a device's engines works.
fn settled<'a>(world: &World, device: usize, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    state.devices[device].awaited = true;
    while state.devices[device].working > 0 {
        state = world.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    state.devices[device].awaited = false;
    state
}

fn notify(world: &World, device: usize, event: InstanceEvent) {
    for instance in (0..usize::from(world.config.instances)).filter(|i| world.config.device_of(*i) == device)
    {
        let told = world.lock().instances[instance].notify;
        if let Some((told, tag)) = told {
            told(world.handle(instance), std::ptr::with_exposed_provenance_mut(tag), event);
        }
    }
}

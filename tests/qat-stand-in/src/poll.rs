//! Completions: they come to who polls, and to nobody else.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::MutexGuard;
use std::time::Instant;

use pageferry_bindings::qat::cpa::{CpaStatus, InstanceHandle};
use pageferry_bindings::qat::dc::CallbackFn;

use crate::state::{Phase, Stage, State};
use crate::world::World;

thread_local! {
    /// Whether this thread is in a callback.
    static CALLED_BACK: Cell<bool> = const { Cell::new(false) };
}

/// A callback to be called.
struct Callback {
    function: CallbackFn,
    tag: usize,
    status: CpaStatus,
}

impl Callback {
    fn call(&self) {
        let tag: *mut c_void = std::ptr::with_exposed_provenance_mut(self.tag);
        in_callback(|| (self.function)(tag, self.status));
    }
}

/// Calls something of the caller's, from where it may not poll.
pub(crate) fn in_callback(call: impl FnOnce()) {
    let before = CALLED_BACK.replace(true);
    call();
    CALLED_BACK.set(before);
}

/// Calls the callbacks of what is done, of as many as `quota` says, or of all if it is 0.
pub(crate) fn poll(world: &World, handle: InstanceHandle, quota: u32) -> CpaStatus {
    match enter(world, handle) {
        Ok((instance, state)) => {
            let _inside = world.enter(instance);
            let status = deliver(world, instance, quota, state);
            world.lock().instances[instance].polled = false;
            status
        }
        Err(status) => status,
    }
}

/// Checks that an instance may be polled, and holds others off.
fn enter(world: &World, handle: InstanceHandle) -> Result<(usize, MutexGuard<'_, State>), CpaStatus> {
    if CALLED_BACK.get() {
        return Err(world.violation("an instance is polled from inside a callback"));
    }
    let instance = world.instance(handle)?;
    let mut state = world.lock();
    if !state.instances[instance].started {
        return Err(world.violation(format_args!("instance {instance} is polled, but is not started")));
    }
    if std::mem::replace(&mut state.instances[instance].polled, true) {
        return Err(world.violation(format_args!("instance {instance} is polled by two threads at once")));
    }
    Ok((instance, state))
}

fn deliver<'a>(world: &'a World, instance: usize, quota: u32, mut state: MutexGuard<'a, State>) -> CpaStatus {
    let device = world.config.device_of(instance);
    let most = if quota == 0 { u32::MAX } else { quota };
    let mut delivered = 0;
    while delivered < most {
        state.expire(&world.config);
        let callback = match state.devices[device].phase {
            Phase::Running => completion(world, &mut state, instance),
            Phase::Failed => {
                // All at once, whatever the quota: the vendor's library does not look at it here.
                let callbacks = failures(world, &mut state, instance);
                drop(state);
                callbacks.iter().for_each(Callback::call);
                let any = delivered > 0 || !callbacks.is_empty();
                return if any { CpaStatus::SUCCESS } else { CpaStatus::RETRY };
            }
            Phase::Restarting if delivered == 0 => return CpaStatus::RESTARTING,
            Phase::Restarting => break,
        };
        let Some(callback) = callback else { break };
        delivered += 1;
        drop(state);
        callback.call();
        state = world.lock();
    }
    if delivered > 0 { CpaStatus::SUCCESS } else { CpaStatus::RETRY }
}

/// The next completion, its results written.
fn completion(world: &World, state: &mut State, instance: usize) -> Option<Callback> {
    let place = if world.config.latency.is_zero() {
        0
    } else {
        let now = Instant::now();
        let is_seen = |number: &u64| {
            let operation = state.operations.get(number);
            operation.is_none_or(|operation| operation.ready.is_none_or(|ready| ready <= now))
        };
        state.instances[instance].done.iter().position(is_seen)?
    };
    let number = state.instances[instance].done.remove(place)?;
    let operation = state.remove(number)?;
    let Stage::Done(outcome) = operation.stage else { return None };
    for list in &operation.lists {
        // SAFETY: the caller leaves its lists where they are until its callback was called.
        if !unsafe { list.is_unchanged() } {
            world.violation(format_args!("a list at {:#x} was changed while it was in flight", list.address));
        }
    }
    // SAFETY: the results are the caller's, which leaves them alone until its callback was called.
    unsafe { outcome.write(std::ptr::with_exposed_provenance_mut(operation.results)) };
    state.count_out(instance, operation.session);
    let furthest = &mut state.instances[instance].furthest;
    if furthest.is_some_and(|furthest| furthest > number) {
        state.report.out_of_order += 1;
    } else {
        *furthest = Some(number);
    }
    Some(Callback { function: operation.callback, tag: operation.tag, status: CpaStatus(outcome.callback) })
}

/// A failure for everything in flight, its results not touched.
fn failures(world: &World, state: &mut State, instance: usize) -> Vec<Callback> {
    let lingers = state.devices[world.config.device_of(instance)].lingers.is_some();
    let mut callbacks = Vec::new();
    for number in state.unanswered(instance) {
        let Some(operation) = state.operations.get_mut(&number) else { continue };
        operation.stage = Stage::Answered;
        let (function, tag, session) = (operation.callback, operation.tag, operation.session);
        if !lingers {
            state.remove(number);
        }
        state.count_out(instance, session);
        callbacks.push(Callback { function, tag, status: CpaStatus::FAIL });
    }
    state.instances[instance].done.clear();
    callbacks
}

impl State {
    fn count_out(&mut self, instance: usize, session: usize) {
        self.report.completions += 1;
        self.instances[instance].in_flight -= 1;
        if let Some(session) = self.sessions.get_mut(&session) {
            session.pending = session.pending.saturating_sub(1);
            session.in_flight = session.in_flight.saturating_sub(1);
        }
    }
}

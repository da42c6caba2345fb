//! All that one loaded copy of the library is: what it was configured to be, and its state.

use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pageferry_bindings::qat::cpa::{CpaStatus, InstanceHandle};

use crate::allocator::PinnedMemory;
use crate::config::{Config, Violations};
use crate::dma::Piece;
use crate::engine;
use crate::instant::{Clock, Ring};
use crate::report::Report;
use crate::state::State;

/// How many violations are kept.
const KEPT: usize = 1000;

/// A handle's lower half is the instance; the upper is how often the library was started before.
const HALF: u32 = 16;

#[derive(Debug)]
pub(crate) struct World {
    pub config: Config,
    pub memory: PinnedMemory,
    state: Mutex<State>,
    /// Where the engines of each device wait for work.
    pub work: Vec<Condvar>,
    /// Where it is waited for that engines let go.
    pub settled: Condvar,
    /// Whether somebody polls for events.
    pub eventful: AtomicBool,
    /// How many threads submit to each device, or poll it.
    inside: Vec<AtomicU32>,
    /// Which devices are being closed, once their callers were told.
    closing: Vec<AtomicBool>,
    /// Whether a device that restarts is not closed yet.
    pub held: AtomicBool,
    /// What instances have in flight whose operations are done at once.
    pub rings: Vec<Ring>,
    clock: Clock,
    generation: AtomicUsize,
    violations: Mutex<Vec<String>>,
    /// What this copy was before it was configured anew: threads of the caller's may still be in it.
    _before: Option<&'static World>,
}

/// A thread that submits to an instance, or polls it.
pub(crate) struct Inside<'a> {
    threads: &'a AtomicU32,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.threads.fetch_sub(1, Ordering::SeqCst);
    }
}

static WORLD: AtomicPtr<World> = AtomicPtr::new(std::ptr::null_mut());
static CONFIGURING: Mutex<()> = Mutex::new(());

/// What this copy is: as it was configured, or else as the environment says.
pub(crate) fn world() -> &'static World {
    if let Some(world) = configured() {
        return world;
    }
    let _configuring = CONFIGURING.lock().unwrap_or_else(PoisonError::into_inner);
    configured().unwrap_or_else(|| match Config::from_environment() {
        Ok(config) => World::install(config, None),
        Err(error) => {
            eprintln!("stand-in: {error}");
            std::process::abort()
        }
    })
}

fn configured() -> Option<&'static World> {
    // SAFETY: the pointer is null, or `World::install` leaked the world and never takes it back.
    unsafe { WORLD.load(Ordering::Acquire).as_ref() }
}

/// Makes this copy another one, if nothing of it is started.
pub(crate) fn configure(config: Config) -> CpaStatus {
    let _configuring = CONFIGURING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = configured();
    if let Some(world) = before
        && world.lock().starts > 0
    {
        return world.violation("configured while it is started");
    }
    World::install(config, before);
    CpaStatus::SUCCESS
}

impl World {
    fn install(config: Config, before: Option<&'static Self>) -> &'static Self {
        let world: &'static Self = Box::leak(Box::new(Self {
            memory: PinnedMemory::new(config.memory, config.map),
            state: Mutex::new(State::new(&config)),
            work: std::iter::repeat_with(Condvar::new).take(config.devices()).collect(),
            settled: Condvar::new(),
            eventful: AtomicBool::new(false),
            inside: std::iter::repeat_with(AtomicU32::default).take(config.devices()).collect(),
            closing: std::iter::repeat_with(AtomicBool::default).take(config.devices()).collect(),
            held: AtomicBool::new(false),
            rings: (0..config.instances).map(|_| Ring::new(&config)).collect(),
            clock: Clock::start(),
            generation: AtomicUsize::new(before.map_or(1, |world| world.generation() + 1)),
            violations: Mutex::new(Vec::new()),
            _before: before,
            config,
        }));
        WORLD.store(std::ptr::from_ref(world).cast_mut(), Ordering::Release);
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> usize {
        self.generation.load(Ordering::Acquire)
    }

    /// A misuse: the end of the process, or a line in the report and the status of the call.
    pub(crate) fn violation(&self, what: impl fmt::Display) -> CpaStatus {
        eprintln!("stand-in: VIOLATION: {what}");
        if self.config.violations == Violations::Abort {
            std::process::abort();
        }
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if violations.len() < KEPT {
            violations.push(what.to_string());
        }
        CpaStatus::FATAL
    }

    /// The handle of an instance, until the library is stopped.
    pub(crate) fn handle(&self, instance: usize) -> InstanceHandle {
        std::ptr::without_provenance_mut::<c_void>(self.generation() << HALF | (instance + 1))
    }

    /// Which instance a handle stands for.
    pub(crate) fn instance(&self, handle: InstanceHandle) -> Result<usize, CpaStatus> {
        if handle.is_null() {
            return Err(CpaStatus::INVALID_PARAM);
        }
        let (generation, instance) = (handle.addr() >> HALF, handle.addr() & ((1 << HALF) - 1));
        if generation == self.generation() && (1..=usize::from(self.config.instances)).contains(&instance) {
            return Ok(instance - 1);
        }
        Err(self.violation(format_args!(
            "{handle:?} is no instance: it was never handed out, or the library was stopped since"
        )))
    }

    /// Counts a start, the first of which begins the engines.
    pub(crate) fn start(&'static self) -> CpaStatus {
        let mut state = self.lock();
        if state.starts == 0 && !self.config.instant {
            for device in 0..self.config.devices() {
                for _ in 0..self.config.engines {
                    let thread = std::thread::Builder::new().name(format!("stand-in {device}"));
                    match thread.spawn(move || engine::run(self, device)) {
                        Ok(engine) => state.engines.push(engine),
                        Err(_) => return CpaStatus::RESOURCE,
                    }
                }
            }
        }
        state.starts += 1;
        CpaStatus::SUCCESS
    }

    /// Counts a stop, the last of which ends the engines and all that was handed out but memory.
    pub(crate) fn stop(&self) -> CpaStatus {
        let mut state = self.lock();
        match state.starts {
            0 => return CpaStatus::FAIL,
            1 => {}
            _ => {
                state.starts -= 1;
                return CpaStatus::SUCCESS;
            }
        }
        if let Some(instance) = (0..state.instances.len()).find(|instance| self.is_busy(&state, *instance)) {
            return self
                .violation(format_args!("stopped while instance {instance} has operations in flight"));
        }
        state.starts = 0;
        state.stopping = true;
        let engines = std::mem::take(&mut state.engines);
        drop(state);
        for work in &self.work {
            work.notify_all();
        }
        for engine in engines {
            // An engine that panicked has said so.
            let _ = engine.join();
        }
        let mut state = self.lock();
        let fresh = State::new(&self.config);
        state.devices = fresh.devices;
        state.instances = fresh.instances;
        state.sessions.clear();
        state.operations.clear();
        state.memory = fresh.memory;
        state.stopping = false;
        self.generation.fetch_add(1, Ordering::Release);
        CpaStatus::SUCCESS
    }

    /// Counts a thread that submits to an instance, or polls it, until the result is dropped.
    pub(crate) fn enter(&self, instance: usize) -> Inside<'_> {
        let device = self.config.device_of(instance);
        let threads = &self.inside[device];
        threads.fetch_add(1, Ordering::SeqCst);
        if self.closing[device].load(Ordering::SeqCst) {
            self.is_used_while_closed(device);
        }
        Inside { threads }
    }

    /// Closes a device, whose callers were told of that: what they still call may use what is not there any more.
    pub(crate) fn close(&self, device: usize, what: impl FnOnce()) {
        self.closing[device].store(true, Ordering::SeqCst);
        if self.inside[device].load(Ordering::SeqCst) > 0 {
            self.is_used_while_closed(device);
        }
        // The vendor's library sleeps for a second here.
        while self.held.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        what();
        self.closing[device].store(false, Ordering::SeqCst);
    }

    fn is_used_while_closed(&self, device: usize) {
        self.violation(format_args!("device {device} is closed while a thread submits to it, or polls it"));
    }

    /// Whether an instance has operations whose callback was not called.
    pub(crate) fn is_busy(&self, state: &State, instance: usize) -> bool {
        state.instances[instance].in_flight > 0 || !self.rings[instance].is_empty()
    }

    /// Gives memory back that was allocated.
    pub(crate) fn free(&self, address: usize) {
        let Some(bytes) = self.memory.allocated(address) else {
            self.violation(format_args!("{address:#x} was freed, but never allocated, or freed before"));
            return;
        };
        let mut state = self.lock();
        state.expire(&self.config);
        let piece = Piece { address, bytes };
        if let Some(user) = state.user(piece) {
            self.violation(format_args!("memory was freed that is in use: {user}"));
            return;
        }
        state.sessions.retain(|session, _| !(address..piece.end()).contains(session));
        self.memory.free(address);
    }

    /// Undoes a mapping: 0, or 1 if there is none.
    pub(crate) fn unmap(&self, address: usize, bytes: usize) -> i32 {
        if !self.memory.is_mapped(address, bytes) {
            return 1;
        }
        let mut state = self.lock();
        state.expire(&self.config);
        if let Some(user) = state.user(Piece { address, bytes }) {
            self.violation(format_args!("memory was unmapped that is in use: {user}"));
            return 1;
        }
        self.memory.unmap(address);
        0
    }

    pub(crate) fn ticks_inside(&self) -> u64 {
        self.rings.iter().map(Ring::ticks_inside).sum()
    }

    pub(crate) fn report(&self) -> Report {
        let mut report = self.lock().report.clone();
        report.allocated = self.memory.allocations();
        report.violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (instance, ring) in self.rings.iter().enumerate() {
            ring.add_to(&mut report, instance);
        }
        report.ticks_per_s = self.clock.ticks_per_s();
        report
    }
}

//! Operations that are done when they are submitted: what they cost is the caller's, and the library's share is measured.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, FALSE, InstanceHandle, TRUE, TranslateFn};
use pageferry_bindings::qat::dc::{CallbackFn, Results, SessionHandle};

use crate::config::Config;
use crate::poll::in_callback;
use crate::report::Report;
use crate::session::Header;
use crate::submit::Call;
use crate::world::World;

/// Bytes that an output is said to have, if there is room.
const PRODUCED: u32 = 1024;

/// Completions that are taken at a time.
const BATCH: usize = 64;

/// What an instance has in flight.
#[derive(Debug)]
pub(crate) struct Ring {
    depth: usize,
    entries: Mutex<Entries>,
    submitting: Ticks,
    polling: Ticks,
}

#[derive(Debug)]
struct Entries {
    translate: Option<TranslateFn>,
    waiting: VecDeque<Entry>,
    submitted: u64,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    session: SessionHandle,
    callback: CallbackFn,
    tag: *mut c_void,
    results: *mut Results,
    produced: u32,
    consumed: u32,
}

// SAFETY: the pointers are handed back to the caller, whose threads share what they point to, or written to in a poll, as
// the vendor's header says.
unsafe impl Send for Entry {}

/// Time spent by one kind of call, alone in its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Ticks {
    inside: AtomicU64,
    translating: AtomicU64,
}

/// How long a tick is.
#[derive(Debug)]
pub(crate) struct Clock {
    ticks: u64,
    time: Instant,
}

impl Ring {
    pub(crate) fn new(config: &Config) -> Self {
        let depth = config.depth as usize;
        let waiting = VecDeque::with_capacity(if config.instant { depth } else { 0 });
        let entries = Mutex::new(Entries { translate: None, waiting, submitted: 0, most: 0 });
        Self { depth, entries, submitting: Ticks::default(), polling: Ticks::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_translation(&self, translate: TranslateFn) {
        self.lock().translate = Some(translate);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Whether operations of a session wait here.
    pub(crate) fn has(&self, session: SessionHandle) -> bool {
        self.lock().waiting.iter().any(|entry| entry.session == session)
    }

    pub(crate) fn ticks_inside(&self) -> u64 {
        self.submitting.inside.load(Relaxed) + self.polling.inside.load(Relaxed)
    }

    pub(crate) fn add_to(&self, report: &mut Report, instance: usize) {
        let entries = self.lock();
        report.submissions += entries.submitted;
        report.completions += entries.submitted - entries.waiting.len() as u64;
        let most = u32::try_from(entries.most).unwrap_or(u32::MAX);
        report.most_in_flight[instance] = report.most_in_flight[instance].max(most);
        for ticks in [&self.submitting, &self.polling] {
            report.ticks_inside += ticks.inside.load(Relaxed);
            report.ticks_translating += ticks.translating.load(Relaxed);
        }
    }
}

impl Ticks {
    fn add(&self, inside: u64, translating: u64) {
        self.inside.fetch_add(inside.wrapping_sub(translating), Relaxed);
        self.translating.fetch_add(translating, Relaxed);
    }
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { ticks: ticks(), time: Instant::now() }
    }

    pub(crate) fn ticks_per_s(&self) -> f64 {
        ticks().wrapping_sub(self.ticks) as f64 / self.time.elapsed().as_secs_f64().max(1e-9)
    }
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(FIRST.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Takes an operation, and has it done. Addresses are translated by the caller, as its library would have it do.
///
/// # Safety
/// That of [`submit`](crate::submit::submit).
pub(crate) unsafe fn submit(world: &World, call: Call) -> Result<(), CpaStatus> {
    let begun = ticks();
    let instance = world.instance(call.instance)?;
    if call.source.is_null() || call.destination.is_null() || call.results.is_null() {
        return Err(CpaStatus::INVALID_PARAM);
    }
    // SAFETY: the caller's word.
    let Some(header) = (unsafe { Header::read(call.session, call.instance) }) else {
        return Err(
            world.violation(format_args!("{:?} is used, but no session of this instance", call.session))
        );
    };
    let ring = &world.rings[instance];
    let translate = {
        let entries = ring.lock();
        if entries.waiting.len() >= ring.depth {
            return Err(CpaStatus::RETRY);
        }
        entries.translate.ok_or(CpaStatus::FAIL)?
    };
    let translating = ticks();
    // SAFETY: the caller's word.
    let (consumed, room) =
        unsafe { (translated(call.source, translate)?, translated(call.destination, translate)?) };
    let translating = ticks().wrapping_sub(translating);
    {
        let mut entries = ring.lock();
        entries.waiting.push_back(Entry {
            session: call.session,
            callback: header.callback,
            tag: call.tag,
            results: call.results,
            produced: PRODUCED.min(room),
            consumed,
        });
        entries.submitted += 1;
        entries.most = entries.most.max(entries.waiting.len());
    }
    ring.submitting.add(ticks().wrapping_sub(begun), translating);
    Ok(())
}

/// Has the caller translate its addresses, and counts the bytes.
///
/// # Safety
/// The list and its buffers are the caller's to read.
unsafe fn translated(list: *const BufferList, translate: TranslateFn) -> Result<u32, CpaStatus> {
    // SAFETY: the caller's word.
    let list = unsafe { list.read() };
    // SAFETY: the caller's translation answers for any address.
    let device = |address| unsafe { translate(address) };
    if list.buffers.is_null() || device(list.metadata) == 0 {
        return Err(CpaStatus::FAIL);
    }
    // SAFETY: the caller's word, for as many as the list states.
    let buffers = unsafe { std::slice::from_raw_parts(list.buffers, list.count as usize) };
    let mut bytes = 0_u32;
    for buffer in buffers {
        if device(buffer.data.cast()) == 0 {
            return Err(CpaStatus::FAIL);
        }
        bytes = bytes.saturating_add(buffer.bytes);
    }
    Ok(bytes)
}

/// Calls the callbacks of what is done.
pub(crate) fn poll(world: &World, handle: InstanceHandle, quota: u32) -> Result<(), CpaStatus> {
    let mut begun = ticks();
    let ring = &world.rings[world.instance(handle)?];
    let mut left = if quota == 0 { usize::MAX } else { quota as usize };
    let mut batch: [Option<Entry>; BATCH] = [None; BATCH];
    let mut delivered = 0;
    loop {
        let taken = {
            let mut entries = ring.lock();
            let taken = entries.waiting.len().min(left).min(BATCH);
            for (place, entry) in batch.iter_mut().zip(entries.waiting.drain(..taken)) {
                *place = Some(entry);
            }
            taken
        };
        let batch = batch[..taken].iter().flatten();
        for entry in batch.clone() {
            // SAFETY: the results are the caller's, which leaves them alone until its callback was called.
            let results = unsafe { &mut *entry.results };
            let Entry { produced, consumed, .. } = *entry;
            *results = Results {
                status: 0,
                produced,
                consumed,
                checksum: 0,
                end_of_last_block: TRUE,
                stored: FALSE,
            };
        }
        ring.polling.add(ticks().wrapping_sub(begun), 0);
        if taken == 0 {
            break;
        }
        in_callback(|| batch.for_each(|entry| (entry.callback)(entry.tag, CpaStatus::SUCCESS)));
        begun = ticks();
        delivered += taken;
        left -= taken;
    }
    if delivered > 0 { Ok(()) } else { Err(CpaStatus::RETRY) }
}

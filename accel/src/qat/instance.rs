//! An instance at work: started, with a session for each direction, and told of what happens to its device.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, InstanceHandle};
use pageferry_bindings::qat::dc::{
    CallbackFn, SessionSetup, algorithm, checksum, direction, huffman, state, window,
};
use pageferry_bindings::qat::library::Libqat;

use super::config::{Huffman, QatConfig};
use super::events::{Events, Seen, notified};
use super::intermediate::intermediate_buffers;
use super::operation::{self, Operation};
use super::physical::Registered;
use super::pinned::Pinned;
use super::reach::Reach;
use super::refusal::check;
use super::service::Claim;
use super::slot::SlotMemory;
use crate::queue::OpenError;
use crate::request::Direction;

/// An instance that is started. It is stopped when this is dropped, with nothing in flight.
pub(super) struct Started {
    name: Arc<str>,
    claim: Claim,
    compress: Session,
    decompress: Session,
    /// What dynamic codes of older parts need.
    _intermediate: Vec<Pinned>,
    events: *const Events,
    reach: Arc<Reach>,
    /// Keeps what the device is given known to the translation of addresses.
    _registered: Option<Registered>,
}

// SAFETY: `events` is an `Arc`'s, which any thread may share; the library takes its handles from any thread.
unsafe impl Send for Started {}
// SAFETY: as above; operations are submitted under the queue's lock.
unsafe impl Sync for Started {}

/// A session, in pinned memory.
struct Session {
    setup: SessionSetup,
    memory: Pinned,
    /// Whether the library has something in the memory, which it then looks for there.
    made: AtomicBool,
}

impl Started {
    /// Starts an instance for requests of up to `request_bytes` bytes of pages; `memory` is what its operations lie in.
    ///
    /// # Errors
    /// [`OpenError::Device`] says what the library refused.
    pub(super) fn new(
        claim: Claim,
        name: Arc<str>,
        config: &QatConfig,
        reach: &Arc<Reach>,
        memory: &[SlotMemory],
        request_bytes: usize,
    ) -> Result<Self, OpenError> {
        let instance = claim.instance();
        let (handle, node) = (instance.handle.0, instance.node);
        let library = Arc::clone(claim.service().library());
        let translation = reach.translation(&library);
        // SAFETY: the function answers for any address, and stays.
        let status = unsafe { (library.set_address_translation)(handle, translation) };
        check(&name, "have addresses translated", status)?;
        let setup = |direction| setup(config, instance.dynamic_huffman, direction);
        let compress = Session::new(&library, &name, handle, node, setup(direction::COMPRESS))?;
        let decompress = Session::new(&library, &name, handle, node, setup(direction::DECOMPRESS))?;
        let intermediate = intermediate_buffers(&library, &name, handle, node, request_bytes)?;
        let slots = memory.iter().flat_map(SlotMemory::parts);
        let pinned: Vec<&Pinned> =
            slots.chain([&compress.memory, &decompress.memory]).chain(&intermediate).collect();
        let registered = reach.register(&pinned);
        start(&library, &name, handle, &intermediate)?;
        let events = Arc::into_raw(Arc::new(Events::new()));
        let reach = Arc::clone(reach);
        let started = Self {
            name,
            claim,
            compress,
            decompress,
            _intermediate: intermediate,
            events,
            reach,
            _registered: registered,
        };
        // SAFETY: the cell lives until the notification is taken back, in `drop`.
        let status = unsafe { (library.set_notification)(handle, Some(notified), events as *mut c_void) };
        check(&started.name, "be told of events", status)?;
        let status = started.init_sessions(Seen::default());
        check(&started.name, "open its sessions", status)?;
        Ok(started)
    }

    /// Its name, in messages.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The NUMA node of its device.
    pub(super) fn node(&self) -> u32 {
        self.claim.instance().node
    }

    /// What its device reaches.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    fn library(&self) -> &Libqat {
        self.claim.service().library()
    }

    fn handle(&self) -> InstanceHandle {
        self.claim.instance().handle.0
    }

    /// Calls the library, unless the device restarts, or did so since `seen`.
    fn while_up(&self, seen: Seen, call: impl FnOnce() -> CpaStatus) -> CpaStatus {
        let events = self.cell();
        events.while_up(|| {
            let restarted = events.now().restarting != seen.restarting;
            if restarted { CpaStatus::RESTARTING } else { call() }
        })
    }

    /// Makes both sessions anew, as after a restart that was `seen`, with nothing in flight.
    pub(super) fn init_sessions(&self, seen: Seen) -> CpaStatus {
        let init = |session: &Session| {
            let mut setup = session.setup;
            let callback: Option<CallbackFn> = Some(operation::answered);
            // SAFETY: the memory is the driver's own, as long as was asked for, and stays until the instance is stopped.
            let status = unsafe {
                let memory = session.memory.at(0).cast();
                (self.library().init_session)(
                    self.handle(),
                    memory,
                    &raw mut setup,
                    ptr::null_mut(),
                    callback,
                )
            };
            session.made.fetch_or(status == CpaStatus::SUCCESS, Relaxed);
            status
        };
        self.while_up(seen, || match init(&self.compress) {
            CpaStatus::SUCCESS => init(&self.decompress),
            refused => refused,
        })
    }

    /// Hands an operation over, unless the device restarted since `seen`, of which its sessions are.
    ///
    /// # Safety
    /// The operation, and all that its lists name, stays where it is, and nobody else's, until it is answered or known to be
    /// over. No other thread hands one to this instance at the same time.
    pub(super) unsafe fn submit(
        &self,
        seen: Seen,
        direction: Direction,
        operation: *mut Operation,
    ) -> CpaStatus {
        let library = self.library();
        let (call, session) = match direction {
            Direction::Encode => (library.compress, &self.compress),
            Direction::Decode => (library.decompress, &self.decompress),
        };
        // SAFETY: the caller vouches for the operation; the session is open.
        self.while_up(seen, || unsafe {
            call(
                self.handle(),
                session.memory.at(0).cast(),
                &raw mut (*operation).source,
                &raw mut (*operation).destination,
                &raw mut (*operation).how,
                &raw mut (*operation).results,
                operation.cast(),
            )
        })
    }

    /// Has operations answered that are done. By one thread at a time.
    ///
    /// # Safety
    /// Every operation in flight is still where it was handed over.
    pub(super) unsafe fn poll(&self) -> CpaStatus {
        // SAFETY: the caller vouches for the operations.
        self.cell().while_up(|| unsafe { (self.library().poll_instance)(self.handle(), 0) })
    }

    /// Has events of any device looked for.
    pub(super) fn look_for_events(&self) {
        self.claim.service().watch().look();
    }

    fn cell(&self) -> &Events {
        // SAFETY: the cell lives as long as `self`.
        unsafe { &*self.events }
    }

    /// What happened to this instance's device so far, which was `seen` up to there.
    ///
    /// An event is told of while the library still deals with it. One that is new is only shown once that is over, and nothing
    /// until then: a device that restarts has been closed after it, and writes nowhere.
    pub(super) fn events(&self, seen: Seen) -> Option<Seen> {
        let events = self.cell();
        if events.now() == seen {
            return Some(seen);
        }
        self.claim.service().watch().try_between(|| events.now())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let (library, handle) = (self.library(), self.handle());
        self.claim.service().watch().between(|| {
            // SAFETY: nothing is in flight, or the queue would have kept this for ever. What is refused here is refused since
            // the device restarts, which ends sessions too.
            unsafe {
                (library.set_notification)(handle, None, ptr::null_mut());
                for session in [&self.compress, &self.decompress] {
                    if session.made.load(Relaxed) {
                        (library.remove_session)(handle, session.memory.at(0).cast());
                    }
                }
                (library.stop_instance)(handle);
                // Nobody is told by it any more.
                drop(Arc::from_raw(self.events));
            }
        });
    }
}

impl Session {
    fn new(
        library: &Arc<Libqat>,
        name: &str,
        handle: InstanceHandle,
        node: u32,
        mut setup: SessionSetup,
    ) -> Result<Self, OpenError> {
        let (mut bytes, mut context) = (0, 0);
        // SAFETY: the library reads the setup and writes two numbers.
        let status =
            unsafe { (library.session_size)(handle, &raw mut setup, &raw mut bytes, &raw mut context) };
        check(name, "ask for a session's size", status)?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(Self { setup, memory: Pinned::new(library, name, bytes, node)?, made: AtomicBool::new(false) })
    }
}

fn setup(config: &QatConfig, has_dynamic: bool, direction: u32) -> SessionSetup {
    let huffman = match config.huffman {
        Huffman::Dynamic if has_dynamic => huffman::FULL_DYNAMIC,
        _ => huffman::STATIC,
    };
    SessionSetup {
        level: config.level,
        algorithm: algorithm::DEFLATE,
        huffman,
        direction,
        state: state::STATELESS,
        window: window::KIB_32,
        checksum: checksum::CRC32,
        ..SessionSetup::default()
    }
}

fn start(
    library: &Libqat,
    name: &str,
    handle: InstanceHandle,
    intermediate: &[Pinned],
) -> Result<(), OpenError> {
    let mut lists: Vec<*mut BufferList> = intermediate.iter().map(|pinned| pinned.at(0).cast()).collect();
    let count = u16::try_from(lists.len()).unwrap_or(u16::MAX);
    // SAFETY: there are as many lists, and they stay until the instance is stopped; the array is read by the call alone.
    check(name, "start", unsafe { (library.start_instance)(handle, count, lists.as_mut_ptr()) })
}

//! Sessions: what they may be, and the memory that they are in.

use pageferry_bindings::qat::cpa::{CpaStatus, InstanceHandle};
use pageferry_bindings::qat::dc::{
    CallbackFn, SessionHandle, SessionSetup, algorithm, checksum, direction, huffman, state, window,
};

use crate::dma::Piece;
use crate::world::World;

/// How much pinned memory a session takes.
pub(crate) const BYTES: u32 = 600;

const ALIGNMENT: usize = 64;

/// The number of a window of 32 KiB before the windows had names. The vendor's library takes either, and QATzip states it.
const OLD_KIB_32: u32 = 7;
const MAGIC: u64 = u64::from_le_bytes(*b"session!");

/// What is known of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub instance: usize,
    /// How often its device had restarted when it was initialised.
    pub epoch: u32,
    /// One of [`direction`].
    direction: u32,
    pub dynamic: bool,
    pub level: u32,
    pub checksum: bool,
    pub callback: CallbackFn,
    /// Operations without a callback. A restart of the device does not change it.
    pub pending: u64,
    /// Those of them that a device has.
    pub in_flight: u64,
}

impl Session {
    /// Whether operations of such a kind are its.
    pub(crate) fn does(&self, compresses: bool) -> bool {
        self.direction != if compresses { direction::DECOMPRESS } else { direction::COMPRESS }
    }
}

/// What is in a session's memory, for operations that have no time to look it up elsewhere.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Header {
    magic: u64,
    instance: InstanceHandle,
    pub callback: CallbackFn,
}

impl Header {
    /// What an instance's session has in its memory.
    ///
    /// # Safety
    /// The handle is null or the address of memory that once was large enough for a session.
    pub(crate) unsafe fn read(session: SessionHandle, instance: InstanceHandle) -> Option<Self> {
        let header = header(session);
        // SAFETY: within what the caller vouches for, and whatever bytes are there are a number; a callback is looked at
        // only behind the right number.
        let is_session = !session.is_null() && unsafe { (*header).magic } == MAGIC;
        // SAFETY: the memory holds what `init` wrote.
        is_session.then(|| unsafe { header.read() }).filter(|header| header.instance == instance)
    }
}

fn header(session: SessionHandle) -> *mut Header {
    session.map_addr(|address| address.next_multiple_of(ALIGNMENT)).cast()
}

/// Whether such sessions can be had.
pub(crate) fn check(world: &World, setup: &SessionSetup) -> Result<(), CpaStatus> {
    let known = (1..=12).contains(&setup.level)
        && setup.auto_select_best <= 4
        && [huffman::STATIC, huffman::FULL_DYNAMIC].contains(&setup.huffman)
        && setup.direction <= 2
        && setup.state <= 1
        && setup.checksum <= 5;
    if !known {
        return Err(CpaStatus::INVALID_PARAM);
    }
    let dynamic = setup.huffman == huffman::FULL_DYNAMIC;
    let compresses = setup.direction != direction::DECOMPRESS;
    // With dynamic codes the best is what is chosen anyway; fixed ones would not stay fixed.
    let chosen = setup.auto_select_best == 0 || dynamic;
    let offered = setup.algorithm == algorithm::DEFLATE
        && setup.state == state::STATELESS
        && chosen
        && setup.checksum <= checksum::CRC32
        && (world.config.dynamic || !dynamic)
        && (!compresses || [window::KIB_32, OLD_KIB_32].contains(&setup.window));
    if offered { Ok(()) } else { Err(CpaStatus::UNSUPPORTED) }
}

/// Makes a session in memory of the caller's.
///
/// # Safety
/// The setup is null or the caller's to read. In shared memory, nobody but the caller knows how much is at the handle.
pub(crate) unsafe fn init(
    world: &World,
    handle: InstanceHandle,
    session: SessionHandle,
    setup: *const SessionSetup,
    callback: Option<CallbackFn>,
) -> Result<(), CpaStatus> {
    let instance = world.instance(handle)?;
    let device = world.config.device_of(instance);
    let mut state = world.lock();
    if state.instances[instance].translate.is_none() {
        return Err(CpaStatus::FAIL);
    }
    state.check_running(device)?;
    // SAFETY: the caller's word.
    let setup = unsafe { setup.as_ref() }.ok_or(CpaStatus::INVALID_PARAM)?;
    if session.is_null() {
        return Err(CpaStatus::INVALID_PARAM);
    }
    check(world, setup)?;
    let dynamic = setup.huffman == huffman::FULL_DYNAMIC;
    if dynamic && lacks_buffers(world, &state.instances[instance].intermediate) {
        return Err(CpaStatus::RESOURCE);
    }
    let Some(callback) = callback else {
        return Err(world.violation("a session without a callback: its operations would be waited for"));
    };
    let memory = Piece { address: session.addr(), bytes: BYTES as usize };
    if world.memory.must_be_own() && world.memory.left(memory.address).is_none_or(|left| left < memory.bytes)
    {
        return Err(world.violation(format_args!(
            "session memory at {session:?} was not allocated by the library, or is shorter than {BYTES} bytes"
        )));
    }
    state.expire(&world.config);
    if let Some(user) = state.user(memory) {
        return Err(world.violation(format_args!("a session is initialised in memory in use: {user}")));
    }
    // SAFETY: the header is within the session's bytes, which were allocated, and nobody uses them.
    unsafe { header(session).write(Header { magic: MAGIC, instance: handle, callback }) };
    let session = Session {
        instance,
        epoch: state.devices[device].epoch,
        direction: setup.direction,
        dynamic,
        level: setup.level,
        checksum: setup.checksum == checksum::CRC32,
        callback,
        pending: 0,
        in_flight: 0,
    };
    state.sessions.insert(memory.address, session);
    Ok(())
}

/// Whether dynamic codes need buffers that an instance was not started with.
pub(crate) fn lacks_buffers(world: &World, intermediate: &[Piece]) -> bool {
    world.config.intermediate_buffers > 0 && intermediate.is_empty()
}

/// Ends a session.
///
/// # Safety
/// The memory of a session that is not ended is there.
pub(crate) unsafe fn remove(
    world: &World,
    handle: InstanceHandle,
    session: SessionHandle,
) -> Result<(), CpaStatus> {
    if session.is_null() {
        return Err(CpaStatus::INVALID_PARAM);
    }
    let instance = world.instance(handle)?;
    let mut state = world.lock();
    let known = state.sessions.get(&session.addr()).filter(|session| session.instance == instance);
    let Some(pending) = known.map(|session| session.pending) else {
        return Err(
            world.violation(format_args!("{session:?} is removed, but no session of instance {instance}"))
        );
    };
    state.check_running(world.config.device_of(instance))?;
    if pending > 0 || world.rings[instance].has(session) {
        return Err(CpaStatus::RETRY);
    }
    state.sessions.remove(&session.addr());
    // SAFETY: the header is within the session's memory, by the caller's word.
    unsafe { (*header(session)).magic = 0 };
    Ok(())
}

//! The functions of the library, by the names and with the parameters of the vendor's headers, and what this one has beside
//! them: its name, and how it is configured and asked what it did.
//!
//! None of them calls another: a process may have more than one copy of them.

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::Ordering;

use pageferry_bindings::qat::cpa::{
    BufferList, CpaStatus, FALSE, InstanceHandle, InstanceInfo, NotifyFn, PhysicalInstance, TRUE, TranslateFn,
};
use pageferry_bindings::qat::dc::{CallbackFn, Capabilities, OpData, Results, SessionHandle, SessionSetup};

use crate::config::{Config, Memory};
use crate::dma::Piece;
use crate::events;
use crate::instant;
use crate::list::{List, metadata_bytes};
use crate::poll;
use crate::session;
use crate::submit::{self, Call};
use crate::world::{self, World, world};

/// `CPA_ACC_SVC_TYPE_DATA_COMPRESSION`, as `cpa.h` numbers it.
const DATA_COMPRESSION: u32 = 1;

/// Most of what can be configured, in bytes of JSON.
const LONGEST: usize = 1 << 24;

fn status(result: Result<(), CpaStatus>) -> CpaStatus {
    result.err().unwrap_or(CpaStatus::SUCCESS)
}

/// The copy, if it is started.
fn started() -> Result<&'static World, CpaStatus> {
    let world = world();
    if world.lock().starts == 0 { Err(CpaStatus::FAIL) } else { Ok(world) }
}

/// Writes a result.
///
/// # Safety
/// The place is null or the caller's to be written.
unsafe fn put<T>(place: *mut T, value: T) -> Result<(), CpaStatus> {
    if place.is_null() {
        return Err(CpaStatus::INVALID_PARAM);
    }
    // SAFETY: the caller's word.
    unsafe { place.write(value) };
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn pageferry_stand_in() -> *const c_char {
    c"stand-in for libqat, by pageferry".as_ptr()
}

/// Takes a configuration as JSON: 0, or why not.
#[unsafe(no_mangle)]
unsafe extern "C" fn pageferry_stand_in_configure(json: *const u8, bytes: usize) -> CpaStatus {
    if json.is_null() || bytes > LONGEST {
        return CpaStatus::INVALID_PARAM;
    }
    // SAFETY: the caller has so many bytes there.
    let json = unsafe { std::slice::from_raw_parts(json, bytes) };
    serde_json::from_slice::<Config>(json).map_or(CpaStatus::INVALID_PARAM, world::configure)
}

/// Writes the report as JSON, if there is room for it, and returns how many bytes it has.
#[unsafe(no_mangle)]
unsafe extern "C" fn pageferry_stand_in_report(json: *mut u8, room: usize) -> usize {
    let report = serde_json::to_vec(&world().report()).expect("a report can be written");
    if report.len() <= room && !json.is_null() {
        // SAFETY: the caller has so much room there.
        unsafe { json.copy_from_nonoverlapping(report.as_ptr(), report.len()) };
    }
    report.len()
}

/// The ticks that instant operations were in here until now, the caller's callbacks and translation not counted; cheap.
#[unsafe(no_mangle)]
extern "C" fn pageferry_stand_in_ticks() -> u64 {
    world().ticks_inside()
}

/// Keeps a device that restarts from being closed, once its callers were told, or no longer does.
#[unsafe(no_mangle)]
extern "C" fn pageferry_stand_in_hold(hold: bool) {
    world().held.store(hold, Ordering::Release);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn icp_sal_userStart(section: *const c_char) -> CpaStatus {
    if section.is_null() { CpaStatus::INVALID_PARAM } else { world().start() }
}

#[unsafe(no_mangle)]
extern "C" fn icp_sal_userStop() -> CpaStatus {
    world().stop()
}

#[unsafe(no_mangle)]
extern "C" fn icp_sal_poll_device_events() -> CpaStatus {
    events::poll(world())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcGetNumInstances(count: *mut u16) -> CpaStatus {
    // SAFETY: the caller's word.
    status(started().and_then(|world| unsafe { put(count, world.config.instances) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcGetInstances(count: u16, instances: *mut InstanceHandle) -> CpaStatus {
    status(started().and_then(|world| {
        if instances.is_null() || count == 0 || count > world.config.instances {
            return Err(CpaStatus::INVALID_PARAM);
        }
        for instance in 0..usize::from(count) {
            // SAFETY: the caller has room for as many handles as it says.
            unsafe { instances.add(instance).write(world.handle(instance)) };
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcInstanceGetInfo2(handle: InstanceHandle, info: *mut InstanceInfo) -> CpaStatus {
    let about = |world: &World, instance: usize| {
        let device = world.config.device_of(instance);
        let mut about = InstanceInfo::zeroed();
        let texts = [
            (&mut about.vendor, "pageferry".to_owned()),
            (&mut about.part, "stand-in".to_owned()),
            (&mut about.software_version, format!("Version {}", env!("CARGO_PKG_VERSION"))),
            (&mut about.name, format!("SSL_INT_{instance}")),
        ];
        for (field, text) in texts {
            field[..text.len()].copy_from_slice(text.as_bytes());
        }
        let id = format!("stand-in dev{device} instance {instance}");
        about.id[..id.len()].copy_from_slice(id.as_bytes());
        let number = u16::try_from(device).unwrap_or(u16::MAX);
        about.service = DATA_COMPRESSION;
        about.location = PhysicalInstance {
            package: number,
            accelerator: number,
            engine: 0,
            bus_address: number.saturating_add(1).saturating_mul(8),
            key_handle: 0,
        };
        about.cores[0] = 1;
        let nodes = &world.config.nodes;
        about.node = if nodes.is_empty() { 0 } else { nodes[device % nodes.len()] };
        about.state = u32::from(world.lock().instances[instance].started);
        about.needs_contiguous_memory = if world.config.memory == Memory::Shared { FALSE } else { TRUE };
        about.polled = TRUE;
        about.offloaded = FALSE;
        about
    };
    status(started().and_then(|world| {
        let instance = world.instance(handle)?;
        // SAFETY: the caller's word.
        unsafe { put(info, about(world, instance)) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcQueryCapabilities(
    handle: InstanceHandle,
    capabilities: *mut Capabilities,
) -> CpaStatus {
    status(started().and_then(|world| {
        world.instance(handle)?;
        let boolean = |value: bool| if value { TRUE } else { FALSE };
        let offered = Capabilities {
            stateless_deflate_compression: TRUE,
            stateless_deflate_decompression: TRUE,
            crc32: TRUE,
            dynamic_huffman: boolean(world.config.dynamic),
            dynamic_huffman_needs_buffers: boolean(world.config.intermediate_buffers > 0),
            window_mask_compression: 1 << 7,
            window_mask_decompression: 1 << 7,
            end_of_last_block: TRUE,
            verify: TRUE,
            verify_strict: TRUE,
            recover: TRUE,
            ..Capabilities::default()
        };
        // SAFETY: the caller's word.
        unsafe { put(capabilities, offered) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcGetNumIntermediateBuffers(handle: InstanceHandle, count: *mut u16) -> CpaStatus {
    status(started().and_then(|world| {
        world.instance(handle)?;
        // SAFETY: the caller's word.
        unsafe { put(count, world.config.intermediate_buffers) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcStartInstance(
    handle: InstanceHandle,
    count: u16,
    lists: *mut *mut BufferList,
) -> CpaStatus {
    status(started().and_then(|world| {
        let instance = world.instance(handle)?;
        let mut intermediate = Vec::new();
        if count > 0 && !lists.is_null() {
            if count != world.config.intermediate_buffers {
                return Err(CpaStatus::INVALID_PARAM);
            }
            // SAFETY: the caller has as many lists as it says, and their buffers.
            intermediate =
                unsafe { intermediate_buffers(world, std::slice::from_raw_parts(lists, count.into()))? };
        }
        let mut state = world.lock();
        state.instances[instance].started = true;
        state.instances[instance].intermediate = intermediate;
        Ok(())
    }))
}

/// Checks lists of buffers that the device is to have until its instance is stopped: all of the same size, and pinned.
///
/// # Safety
/// Those that are not null are the caller's to read.
unsafe fn intermediate_buffers(world: &World, lists: &[*mut BufferList]) -> Result<Vec<Piece>, CpaStatus> {
    let mut pieces = Vec::new();
    let mut sizes = Vec::new();
    for list in lists {
        // SAFETY: the caller's word.
        let list = unsafe { List::read(*list, false) }?;
        sizes.push(list.bytes);
        pieces.push(Piece { address: list.metadata, bytes: list.metadata_bytes() });
        pieces.extend(
            list.flats.iter().map(|flat| Piece { address: flat.address, bytes: flat.bytes as usize }),
        );
    }
    if sizes.iter().any(|size| *size != sizes[0]) {
        return Err(CpaStatus::INVALID_PARAM);
    }
    let lacks = |piece: &&Piece| world.memory.left(piece.address).is_none_or(|left| left < piece.bytes);
    match pieces.iter().find(lacks) {
        Some(Piece { address, bytes }) if world.memory.must_be_own() => Err(world.violation(format_args!(
            "an intermediate buffer at {address:#x} was not allocated by the library, or is shorter than {bytes} bytes"
        ))),
        _ => Ok(pieces),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cpaDcStopInstance(handle: InstanceHandle) -> CpaStatus {
    status(started().and_then(|world| {
        let instance = world.instance(handle)?;
        let mut state = world.lock();
        if world.is_busy(&state, instance) {
            return Err(
                world.violation(format_args!("instance {instance} is stopped with operations in flight"))
            );
        }
        state.instances[instance].started = false;
        state.instances[instance].intermediate.clear();
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cpaDcSetAddressTranslation(
    handle: InstanceHandle,
    translate: Option<TranslateFn>,
) -> CpaStatus {
    status(started().and_then(|world| {
        let instance = world.instance(handle)?;
        let translate = translate.ok_or(CpaStatus::INVALID_PARAM)?;
        world.lock().instances[instance].translate = Some(translate);
        world.rings[instance].set_translation(translate);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cpaDcInstanceSetNotificationCb(
    handle: InstanceHandle,
    notify: Option<NotifyFn>,
    tag: *mut c_void,
) -> CpaStatus {
    status(started().and_then(|world| {
        let instance = world.instance(handle)?;
        world.lock().instances[instance].notify = notify.map(|notify| (notify, tag.expose_provenance()));
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcGetSessionSize(
    handle: InstanceHandle,
    setup: *mut SessionSetup,
    bytes: *mut u32,
    context: *mut u32,
) -> CpaStatus {
    status(started().and_then(|world| {
        world.instance(handle)?;
        // SAFETY: the caller's word.
        let setup = unsafe { setup.as_ref() }.ok_or(CpaStatus::INVALID_PARAM)?;
        session::check(world, setup)?;
        // SAFETY: the caller's word.
        unsafe { put(bytes, session::BYTES).and(put(context, 0)) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcInitSession(
    handle: InstanceHandle,
    session: SessionHandle,
    setup: *mut SessionSetup,
    _context: *mut BufferList,
    callback: Option<CallbackFn>,
) -> CpaStatus {
    // SAFETY: the caller's word.
    status(started().and_then(|world| unsafe { session::init(world, handle, session, setup, callback) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcRemoveSession(handle: InstanceHandle, session: SessionHandle) -> CpaStatus {
    // SAFETY: the caller's word.
    status(started().and_then(|world| unsafe { session::remove(world, handle, session) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcBufferListGetMetaSize(
    handle: InstanceHandle,
    buffers: u32,
    bytes: *mut u32,
) -> CpaStatus {
    status(started().and_then(|world| {
        world.instance(handle)?;
        if buffers == 0 {
            return Err(CpaStatus::INVALID_PARAM);
        }
        let size = u32::try_from(metadata_bytes(buffers as usize)).map_err(|_| CpaStatus::INVALID_PARAM)?;
        // SAFETY: the caller's word.
        unsafe { put(bytes, size) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcCompressData2(
    instance: InstanceHandle,
    session: SessionHandle,
    source: *mut BufferList,
    destination: *mut BufferList,
    options: *mut OpData,
    results: *mut Results,
    tag: *mut c_void,
) -> CpaStatus {
    // SAFETY: the caller's word.
    unsafe {
        submit(Call { compresses: true, instance, session, source, destination, options, results, tag })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcDecompressData2(
    instance: InstanceHandle,
    session: SessionHandle,
    source: *mut BufferList,
    destination: *mut BufferList,
    options: *mut OpData,
    results: *mut Results,
    tag: *mut c_void,
) -> CpaStatus {
    // SAFETY: the caller's word.
    unsafe {
        submit(Call { compresses: false, instance, session, source, destination, options, results, tag })
    }
}

/// # Safety
/// That of [`submit::submit`].
unsafe fn submit(call: Call) -> CpaStatus {
    let world = world();
    // SAFETY: the caller's word.
    status(unsafe {
        if world.config.instant { instant::submit(world, call) } else { submit::submit(world, call) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn icp_sal_DcPollInstance(handle: InstanceHandle, quota: u32) -> CpaStatus {
    let world = world();
    if world.config.instant {
        status(instant::poll(world, handle, quota))
    } else {
        poll::poll(world, handle, quota)
    }
}

#[unsafe(no_mangle)]
extern "C" fn qaeMemAllocNUMA(bytes: usize, _node: c_int, alignment: usize) -> *mut c_void {
    let allocated = started().map_or(0, |world| world.memory.allocate(bytes, alignment));
    std::ptr::with_exposed_provenance_mut(allocated)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn qaeMemFreeNUMA(memory: *mut *mut c_void) {
    // SAFETY: the caller's word.
    let Some(memory) = (unsafe { memory.as_mut() }) else { return };
    if !memory.is_null() {
        world().free(memory.addr());
        *memory = std::ptr::null_mut();
    }
}

#[unsafe(no_mangle)]
extern "C" fn qaeVirtToPhysNUMA(memory: *mut c_void) -> u64 {
    world().memory.translate(memory.addr())
}

#[unsafe(no_mangle)]
extern "C" fn qaeMemMapContiguousIova(memory: *mut c_void, bytes: usize) -> u64 {
    started().map_or(0, |world| world.memory.map(memory.addr(), bytes))
}

#[unsafe(no_mangle)]
extern "C" fn qaeMemUnmapContiguousIova(memory: *mut c_void, bytes: usize) -> c_int {
    world().unmap(memory.addr(), bytes)
}

//! Instances: how many there are, what each is and can do, and from when to when it works.

use std::ffi::c_void;

use pageferry_bindings::qat::cpa::{
    BufferList, CpaStatus, FALSE, InstanceHandle, InstanceInfo, NotifyFn, PhysicalInstance, TRUE, TranslateFn,
};
use pageferry_bindings::qat::dc::Capabilities;

use super::{put, started, status};
use crate::config::Memory;
use crate::dma::Piece;
use crate::list::List;
use crate::world::World;

/// `CPA_ACC_SVC_TYPE_DATA_COMPRESSION`, as `cpa.h` numbers it.
const DATA_COMPRESSION: u32 = 1;

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

//! A submission's way to its device.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, InstanceHandle, TranslateFn};
use pageferry_bindings::qat::dc::{OpData, Results, SessionHandle};

use crate::check;
use crate::codec::{Job, Task, Twist};
use crate::dma::{Piece, total};
use crate::fault::Fault;
use crate::inflight::{adjoined, joined};
use crate::list::List;
use crate::session::Session;
use crate::state::{Operation, Plan, Stage, State, Trouble};
use crate::world::World;

/// What is handed over by a call.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub compresses: bool,
    pub instance: InstanceHandle,
    pub session: SessionHandle,
    pub source: *mut BufferList,
    pub destination: *mut BufferList,
    pub options: *mut OpData,
    pub results: *mut Results,
    pub tag: *mut c_void,
}

/// A list and the device addresses of its metadata and its buffers.
struct Translated {
    list: List,
    metadata: u64,
    buffers: Vec<u64>,
}

/// When a device does an operation.
enum Schedule {
    InTurn,
    Late(Duration),
    Never,
}

/// Submits an operation.
///
/// # Safety
/// What the call hands over and is not null is the caller's, as the vendor's header says, until the callback was called.
pub(crate) unsafe fn submit(world: &World, call: Call) -> Result<(), CpaStatus> {
    // SAFETY: the caller's word.
    let recover = unsafe { check::options(call.compresses, call.options) }?;
    let instance = world.instance(call.instance)?;
    let _inside = world.enter(instance);
    if call.session.is_null() || call.results.is_null() {
        return Err(CpaStatus::INVALID_PARAM);
    }
    let (session, translate) = {
        let state = world.lock();
        check::instance(world, &state, instance)?;
        let session = check::session(world, &state, instance, call.session, call.compresses)?;
        (session, state.instances[instance].translate.ok_or(CpaStatus::FAIL)?)
    };
    // SAFETY: the caller's word.
    let (source, destination) =
        unsafe { (List::read(call.source, true)?, List::read(call.destination, false)?) };
    check::lists(call.compresses, &session, &source, &destination)?;
    check::metadata(world, &source)?;
    check::metadata(world, &destination)?;
    // The caller's function may call the library: no lock is held.
    let source = translated(source, translate)?;
    let destination = translated(destination, translate)?;
    let task = if call.compresses {
        Task::Compress { dynamic: session.dynamic, level: session.level, recover }
    } else {
        Task::Decompress
    };
    // SAFETY: the caller's word.
    unsafe { place(world, instance, &call, task, &session, source, destination) }
}

fn translated(list: List, translate: TranslateFn) -> Result<Translated, CpaStatus> {
    // SAFETY: the caller's translation answers for any address.
    let device = |address: usize| match unsafe { translate(address as *mut c_void) } {
        0 => Err(CpaStatus::FAIL),
        device => Ok(device),
    };
    let metadata = device(list.metadata)?;
    let buffers = list.flats.iter().map(|flat| device(flat.address)).collect::<Result<_, _>>()?;
    Ok(Translated { list, metadata, buffers })
}

/// # Safety
/// That of [`submit`].
unsafe fn place(
    world: &World,
    instance: usize,
    call: &Call,
    task: Task,
    session: &Session,
    source: Translated,
    destination: Translated,
) -> Result<(), CpaStatus> {
    let device = world.config.device_of(instance);
    let mut state = world.lock();
    state.expire(&world.config);
    check::instance(world, &state, instance)?;
    if state.instances[instance].in_flight >= world.config.depth {
        return Err(CpaStatus::RETRY);
    }
    let read_by_device = pieces(world, &source)?;
    let written_by_device = pieces(world, &destination)?;
    let (twist, schedule, trouble) = faults(world, &mut state)?;

    let mut written = written_by_device.clone();
    for list in [&source.list, &destination.list] {
        written.push(Piece { address: list.metadata, bytes: list.metadata_bytes() });
    }
    written.push(Piece { address: call.results.addr(), bytes: size_of::<Results>() });
    // SAFETY: the results are the caller's, and no operation in flight has them, which is seen below.
    let seed = session.checksum.then(|| unsafe { (*call.results).checksum });
    let plan = Arc::new(Plan {
        job: Job { task, room: total(&written_by_device), seed, twist },
        read: joined(read_by_device.clone()),
        written: adjoined(written),
        source: read_by_device,
        destination: written_by_device,
    });
    let number = state.next;
    if let Err(taken) = state.memory.take(number, &plan.read, &plan.written) {
        return Err(
            world.violation(format_args!("an operation is submitted that needs memory in use: {taken}"))
        );
    }
    // SAFETY: the metadata were checked to be long enough, and are now this operation's.
    unsafe {
        source.list.write_metadata(&source.buffers);
        destination.list.write_metadata(&destination.buffers);
    }
    state.next += 1;
    let submitted = Instant::now();
    let buffers = (source.list.flats.len() as u64, destination.list.flats.len() as u64);
    let places = [&plan.source, &plan.destination]
        .map(|pieces| pieces.first().map_or(0, |piece| piece.address as u64));
    let operation = Operation {
        instance,
        session: call.session.addr(),
        callback: session.callback,
        tag: call.tag.expose_provenance(),
        results: call.results.expose_provenance(),
        lists: [source.list, destination.list],
        plan,
        stage: Stage::Waiting,
        ready: (!world.config.latency.is_zero()).then(|| submitted + world.config.latency),
    };
    state.operations.insert(number, operation);
    state.count_in(instance, call.session.addr());
    state.report.last_places = places;
    state.report.source_buffers += buffers.0;
    state.report.destination_buffers += buffers.1;
    let target = &mut state.devices[device];
    match schedule {
        Schedule::InTurn => target.queue.push_back(number),
        Schedule::Late(by) => target.delayed.push((submitted + by, number)),
        Schedule::Never => {}
    }
    if target.stopped.is_none()
        && let Some(trouble) = trouble
    {
        target.stopped = Some(trouble);
        match trouble {
            Trouble::Restart { .. } => state.report.misdeeds.restarts += 1,
            Trouble::Fatal { .. } => state.report.misdeeds.fatal_errors += 1,
        }
    }
    let target = &state.devices[device];
    let wake = target.idle > 0;
    drop(state);
    if wake {
        world.work[device].notify_one();
    }
    Ok(())
}

/// What the plan has for this submission, which is numbered by that.
fn faults(world: &World, state: &mut State) -> Result<(Twist, Schedule, Option<Trouble>), CpaStatus> {
    let number = state.numbered;
    state.numbered += 1;
    let mut twist = Twist::default();
    let mut schedule = Schedule::InTurn;
    let mut trouble = None;
    let plan = &world.config.plan;
    if let Some(Fault::Retry(count)) = plan.of(number).find(|fault| matches!(fault, Fault::Retry(_))) {
        state.refused_below = state.refused_below.max(number + u64::from(count));
    }
    if number < state.refused_below {
        state.report.misdeeds.retries += 1;
        return Err(CpaStatus::RETRY);
    }
    for fault in plan.of(number) {
        match fault {
            Fault::Retry(_) => {}
            Fault::Overflow => twist.overflow = true,
            Fault::Verify => twist.verify = true,
            Fault::Status(status) => twist.status = Some(status),
            Fault::Unsupported => twist.unsupported = true,
            Fault::WrongChecksum => twist.wrong_checksum = true,
            Fault::WrongProduced => twist.wrong_produced = true,
            Fault::CorruptOutput => twist.corrupt = true,
            Fault::Late(by) => schedule = Schedule::Late(by),
            Fault::Never => schedule = Schedule::Never,
            Fault::Restart { down } => trouble = Some(Trouble::Restart { down }),
            Fault::Fatal { down } => trouble = Some(Trouble::Fatal { down }),
        }
    }
    let misdeeds = &mut state.report.misdeeds;
    match schedule {
        Schedule::InTurn => {}
        Schedule::Late(_) => misdeeds.late += 1,
        Schedule::Never => misdeeds.never += 1,
    }
    Ok((twist, schedule, trouble))
}

/// Where in the process a device reads or writes. Its list must be within its reach as well.
fn pieces(world: &World, translated: &Translated) -> Result<Vec<Piece>, CpaStatus> {
    let Translated { list, metadata, buffers } = translated;
    let mut iommu = world.memory.iommu();
    let mut reach = |device: u64, address: usize, bytes: usize| {
        let reached = iommu.reach(device, address, bytes);
        reached.map_err(|error| world.violation(format_args!("{error}: the IOMMU has it as a fault")))
    };
    reach(*metadata, list.metadata, list.metadata_bytes())?;
    let mut pieces = Vec::with_capacity(buffers.len());
    for (flat, device) in list.flats.iter().zip(buffers) {
        let bytes = flat.bytes as usize;
        if bytes > 0 {
            pieces.push(Piece { address: reach(*device, flat.address, bytes)?, bytes });
        }
    }
    Ok(pieces)
}

impl State {
    fn count_in(&mut self, instance: usize, session: usize) {
        self.report.submissions += 1;
        let target = &mut self.instances[instance];
        target.in_flight += 1;
        let most = &mut self.report.most_in_flight[instance];
        *most = target.in_flight.max(*most);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.pending += 1;
            session.in_flight += 1;
        }
    }
}

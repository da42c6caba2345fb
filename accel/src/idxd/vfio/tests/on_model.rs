//! The driver against the device model: in this process, and behind a vfio-user server.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pageferry_bindings::idxd::descriptor::Descriptor;
use vfio_bindings::bindings::vfio::{VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX};

use super::trial::{Move, moves_memory, quiet, wait_for};
use crate::dma::{Arena, DmaRange};
use crate::idxd::device::{Device, Quiet};
use crate::idxd::function::Function;
use crate::idxd::portal::PortalRefusal;
use crate::idxd::vfio::user::UserFunction;
use crate::idxd::vfio::{Settings, VfioDevice};
use crate::model::fault::{Fault, FaultPlan, When};
use crate::model::memory::DeviceMemory;
use crate::model::profile::Profile;
use crate::model::server::{ModelServer, ServeError};
use crate::model::{Model, Timing};
use crate::queue::Provenance;

fn model(profile: Profile, plan: FaultPlan) -> Arc<Model> {
    Model::new(profile, Timing::at_once(), plan).unwrap()
}

/// A server in a thread of its own, and the socket that it listens at.
struct Served {
    socket: PathBuf,
    server: Option<JoinHandle<Result<(), ServeError>>>,
}

fn socket() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("pageferry-vfio-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(name)
}

impl Served {
    fn new(model: &Arc<Model>) -> Self {
        let socket = socket();
        let server = ModelServer::bind(Arc::clone(model), &socket).unwrap();
        let server = thread::spawn(move || server.serve(&mut |_| ()));
        Self { socket, server: Some(server) }
    }

    fn function(&self) -> UserFunction {
        UserFunction::connect(&self.socket).unwrap()
    }

    /// The client has left, or never comes.
    fn end(mut self) -> Result<(), ServeError> {
        self.server.take().unwrap().join().unwrap()
    }
}

fn device(function: impl Function + 'static, settings: Settings) -> VfioDevice {
    VfioDevice::new(Arc::new(function), settings).unwrap()
}

/// Whether nothing of a range is in a model's memory.
fn is_unmapped(memory: &DeviceMemory, range: &DmaRange) -> bool {
    memory.check(range.host.0, 1, false).is_err()
}

fn profiles() -> [Profile; 3] {
    [Profile::spr_dsa(), Profile::dsa_full(), Profile::spr_iaa()]
}

#[test]
fn every_profile_is_brought_up_and_moves_memory_in_this_process() {
    for profile in profiles() {
        for queues in [None, Some(1), Some(8)] {
            let model = model(profile.clone(), FaultPlan::none());
            moves_memory(&device(model.function(), Settings { queues, ..Settings::default() }));
        }
    }
}

#[test]
fn every_profile_is_brought_up_and_moves_memory_over_vfio_user() {
    for profile in profiles() {
        let model = model(profile, FaultPlan::none());
        let served = Served::new(&model);
        let device = device(served.function(), Settings::default());
        assert_eq!(device.provenance(), Provenance::Model);
        moves_memory(&device);
        moves_memory(&device);
        drop(device);
        served.end().unwrap();
    }
}

#[test]
fn nothing_is_mapped_once_the_last_queue_is_gone() {
    let model = model(Profile::spr_dsa(), FaultPlan::none());
    let served = Served::new(&model);
    let device = device(served.function(), Settings::default());
    let (first, second) = (Arena::new(1, 1 << 16).unwrap(), Arena::new(3, 4096).unwrap());
    let ranges = [first.range(), second.range()];
    let mut queues = device.open(&ranges).unwrap();
    assert!(ranges.iter().all(|range| model.memory().check(range.host.0, range.bytes, true).is_ok()));
    queues.truncate(1);
    assert!(!is_unmapped(model.memory(), &ranges[0]));
    drop(queues);
    assert!(ranges.iter().all(|range| is_unmapped(model.memory(), range)));
}

#[test]
fn memory_without_a_file_is_refused_and_what_was_mapped_before_is_taken_back() {
    let model = model(Profile::spr_dsa(), FaultPlan::none());
    let served = Served::new(&model);
    let device = device(served.function(), Settings::default());
    let arena = Arena::new(2, 4096).unwrap();
    let private = DmaRange { file: None, ..arena.range() };
    let told = device.open(&[arena.range(), private]).map(drop).unwrap_err().to_string();
    assert!(told.contains("private to this process") && told.contains("memory file"), "{told}");
    assert!(is_unmapped(model.memory(), &arena.range()));
}

#[test]
fn a_range_that_the_server_refuses_is_an_error() {
    let model = model(Profile::spr_dsa(), FaultPlan::none());
    let served = Served::new(&model);
    let device = device(served.function(), Settings::default());
    let arena = Arena::new(2, 4096).unwrap();
    let told = device.open(&[arena.range(), arena.range()]).map(drop).unwrap_err().to_string();
    assert!(told.contains("server refuses"), "{told}");
    assert!(is_unmapped(model.memory(), &arena.range()));
    moves_memory(&device);
}

#[test]
fn completions_raise_the_interrupt_of_their_queue() {
    let model = model(Profile::spr_dsa(), FaultPlan::none());
    let served = Served::new(&model);
    let settings = Settings { interrupts: true, ..Settings::default() };
    for device in [device(model.function(), settings.clone()), device(served.function(), settings)] {
        let arena = Arena::new(1, Move::BLOCK_BYTES).unwrap();
        let queues = device.open(&[arena.range()]).unwrap();
        let work = Move::new(&arena, 1);
        work.submit(&queues[2]);
        let mut wait = libc::pollfd {
            fd: queues[2].interrupt.as_ref().unwrap().event.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one `pollfd`, which is ours.
        assert_eq!(unsafe { libc::poll(&raw mut wait, 1, 20_000) }, 1, "{}", device.name());
        assert_eq!(work.wait(), 1);
    }
}

#[test]
fn a_descriptor_that_never_completes_is_aborted_and_its_queue_goes_on() {
    let plan = FaultPlan::one(When::At(0), Fault::Never);
    let model = model(Profile::spr_dsa(), plan);
    let served = Served::new(&model);
    let device = device(served.function(), Settings::default());
    let arena = Arena::new(2, Move::BLOCK_BYTES).unwrap();
    let queues = device.open(&[arena.range()]).unwrap();
    let (never, next) = (Move::new(&arena, 1), Move::new(&arena, 2));
    never.submit(&queues[0]);
    assert_eq!(quiet(&queues[0]), Quiet::Ready);
    assert_eq!((never.status(), model.misdeeds().never), (0, 1));
    next.submit(&queues[0]);
    assert_eq!(next.wait(), 1);
    assert!(next.has_arrived() && !never.has_arrived());
}

#[test]
fn queues_that_are_dropped_with_work_that_never_ends_leave_nothing_mapped() {
    let plan = FaultPlan::one(When::From(0), Fault::Never);
    let model = model(Profile::spr_dsa(), plan);
    let patience = Duration::from_millis(500);
    let device = device(model.function(), Settings { patience, ..Settings::default() });
    let arena = Arena::new(1, Move::BLOCK_BYTES).unwrap();
    let queues = device.open(&[arena.range()]).unwrap();
    let never = Move::new(&arena, 1);
    never.submit(&queues[0]);
    drop(queues);
    assert!(is_unmapped(model.memory(), &arena.range()));
    assert_eq!(never.status(), 0);
}

#[test]
fn a_device_that_was_reset_by_itself_is_brought_up_again() {
    let model = model(Profile::spr_dsa(), FaultPlan::one(When::At(0), Fault::Reset));
    let device = device(model.function(), Settings::default());
    let arena = Arena::new(3, Move::BLOCK_BYTES).unwrap();
    let queues = device.open(&[arena.range()]).unwrap();
    Move::new(&arena, 1).submit(&queues[0]);
    wait_for("the fault", || (model.misdeeds().resets > 0).then_some(()));
    assert_eq!(quiet(&queues[0]), Quiet::Ready);
    for (queue, seed) in [(&queues[0], 2), (&queues[3], 3)] {
        let work = Move::new(&arena, seed);
        work.submit(queue);
        assert_eq!(work.wait(), 1, "{}", queue.facts.name);
    }
}

#[test]
fn a_device_that_is_gone_loses_its_memory() {
    let model = model(Profile::spr_iaa(), FaultPlan::one(When::At(0), Fault::Gone));
    let served = Served::new(&model);
    let device = device(served.function(), Settings::default());
    let arena = Arena::new(1, Move::BLOCK_BYTES).unwrap();
    let queues = device.open(&[arena.range()]).unwrap();
    Move::new(&arena, 1).submit(&queues[0]);
    wait_for("the fault", || (model.misdeeds().gone > 0).then_some(()));
    assert_eq!(quiet(&queues[0]), Quiet::Gone);
    assert_eq!(quiet(&queues[1]), Quiet::Gone);
    assert!(is_unmapped(model.memory(), &arena.range()));
    let told = VfioDevice::new(Arc::new(model.function()), Settings::default()).map(drop);
    assert!(told.unwrap_err().to_string().contains("all ones"));
}

#[test]
fn a_client_that_leaves_takes_its_memory_with_it_and_the_socket_goes() {
    let model = model(Profile::spr_dsa(), FaultPlan::none());
    let served = Served::new(&model);
    let function = served.function();
    let arena = Arena::new(1, 4096).unwrap();
    function.map(&arena.range()).unwrap();
    assert!(!is_unmapped(model.memory(), &arena.range()));
    drop(function);
    let socket = served.socket.clone();
    served.end().unwrap();
    assert!(is_unmapped(model.memory(), &arena.range()));
    assert!(!socket.exists());
}

#[test]
fn a_server_that_waits_for_a_client_can_be_stopped() {
    let model = model(Profile::spr_dsa(), FaultPlan::none());
    let socket = socket();
    let server = ModelServer::bind(Arc::clone(&model), &socket).unwrap();
    let stop = server.stop().unwrap();
    let server = thread::spawn(move || server.serve(&mut |_| ()));
    let taken = ModelServer::bind(model, &socket).map(drop).unwrap_err().to_string();
    assert!(taken.contains("is there already"), "{taken}");
    stop.stop();
    server.join().unwrap().unwrap();
    assert!(!socket.exists());
}

/// A peer that answers the first messages as it should, and then as `after` has it.
fn false_server(
    after: impl FnOnce(std::os::unix::net::UnixStream) + Send + 'static,
) -> (PathBuf, JoinHandle<()>) {
    let socket = socket();
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = thread::spawn(move || after(listener.accept().unwrap().0));
    (socket, thread)
}

#[test]
fn a_server_that_does_not_answer_or_answers_nonsense_is_told_of_and_not_waited_for() {
    use std::io::{Read, Write};
    let version = |flags: u8, bytes: u32, error: u32| {
        let mut reply = vec![1, 0, 1, 0];
        reply.extend(bytes.to_le_bytes());
        reply.extend([flags, 0, 0, 0]);
        reply.extend(error.to_le_bytes());
        reply.extend([0; 4]);
        reply
    };
    let (huge, refusal) = (version(1, u32::MAX, 0), version(0x21, 16, 22));
    let (tiny, command, other) = (version(1, 3, 0), version(0, 20, 0), vec![7; 64]);
    let strange = [1, 0, 1, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0].to_vec();
    let cases: [(Vec<u8>, &str); 8] = [
        (Vec::new(), "does not answer"),
        (huge, "message of 4294967295 bytes"),
        (tiny, "message of 3 bytes"),
        (refusal, "Invalid argument"),
        (command, "answers message 1 (Version) with message 1 of kind 0"),
        (other, "message of 117901063 bytes"),
        (strange, "speaks version Some(9)"),
        (vec![1, 0], "has gone"),
    ];
    for (reply, words) in cases {
        let patience = Duration::from_millis(if reply.is_empty() { 50 } else { 20_000 });
        let closes = words == "has gone";
        let (socket, server) = false_server(move |mut stream| {
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(&reply).unwrap();
            if !closes {
                // Until the other end has left.
                let _ = stream.read_to_end(&mut Vec::new());
            } else {
                let _ = stream.read(&mut [0; 4096]);
            }
        });
        let told = UserFunction::connect_for(&socket, patience).map(drop).unwrap_err().to_string();
        server.join().unwrap();
        fs::remove_file(socket).unwrap();
        assert!(told.contains(words), "{told}");
    }
    let nobody = UserFunction::connect(&socket()).map(drop).unwrap_err().to_string();
    assert!(nobody.contains("is a device model listening there?"), "{nobody}");
}

#[test]
fn a_connection_that_ends_leaves_its_queues_gone() {
    let model = model(Profile::spr_dsa(), FaultPlan::none());
    let real = Served::new(&model);
    let function = Arc::new(real.function());
    let device = VfioDevice::new(Arc::clone(&function) as Arc<dyn Function>, Settings::default()).unwrap();
    let arena = Arena::new(1, 4096).unwrap();
    let queues = device.open(&[arena.range()]).unwrap();
    function.cut();
    assert_eq!(quiet(&queues[0]), Quiet::Gone, "who closed the connection holds no memory of ours");
    // SAFETY: an empty descriptor names no memory.
    let refused = unsafe { queues[0].portal.submit(&Descriptor::default()) };
    assert_eq!(refused, Err(PortalRefusal::Gone));
    real.end().unwrap();
}

/// The `vfio_user` crate's own client understands the server: ours is not the only one that does.
#[test]
fn the_client_of_the_vfio_user_crate_reads_registers_and_maps_memory() {
    let model = model(Profile::spr_iaa(), FaultPlan::none());
    let served = Served::new(&model);
    let mut client = vfio_user::Client::new(&served.socket).unwrap();
    let mut id = [0; 4];
    client.region_read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &mut id).unwrap();
    assert_eq!(id, [0x86, 0x80, 0xfe, 0x0c]);
    let mut version = [0; 4];
    client.region_read(VFIO_PCI_BAR0_REGION_INDEX, 0, &mut version).unwrap();
    assert_eq!(u32::from_le_bytes(version), 0x100);
    assert_eq!(client.region(2).map(|region| region.size), Some(0x20000));
    let arena = Arena::new(1, 4096).unwrap();
    let range = arena.range();
    let file = range.file.as_ref().unwrap().file.as_raw_fd();
    client.dma_map(0, 0x10_0000, 4096, file).unwrap();
    assert!(model.memory().check(0x10_0000, 4096, true).is_ok());
    client.dma_unmap(0x10_0000, 4096).unwrap();
    assert!(model.memory().check(0x10_0000, 1, false).is_err());
    client.reset().unwrap();
    drop(client);
    served.end().unwrap();
}

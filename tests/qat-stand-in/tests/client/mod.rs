//! A caller of the vendor's library that keeps to its rules, as far as a test wants it to.

#![allow(dead_code, reason = "every test uses its part of it")]

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, FlatBuffer, InstanceEvent, InstanceHandle, TRUE};
use pageferry_bindings::qat::dc::{
    OpData, Results, SessionHandle, SessionSetup, algorithm, checksum, direction, huffman, state, window,
};
use pageferry_bindings::qat::library::Libqat;
use pageferry_qat_stand_in::config::Violations;
use pageferry_qat_stand_in::{Config, Report, StandIn};
use tempfile::TempDir;

/// As good as for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stand-in that records violations, has one instance with as many engines as are asked for, and nothing else special.
pub fn config() -> Config {
    Config { instances: 1, violations: Violations::Record, ..Config::default() }
}

pub struct Client {
    pub stand_in: StandIn,
    pub library: Arc<Libqat>,
    pub instances: Vec<InstanceHandle>,
    _folder: TempDir,
}

/// An operation: its lists with their memory, its results, and what became of it.
pub struct Operation {
    pub source: Box<BufferList>,
    pub destination: Box<BufferList>,
    pub source_buffers: Vec<FlatBuffer>,
    pub destination_buffers: Vec<FlatBuffer>,
    pub options: OpData,
    pub results: Box<Results>,
    pub answers: Box<Cell<Option<CpaStatus>>>,
}

extern "C" fn answered(tag: *mut c_void, status: CpaStatus) {
    // SAFETY: the tag is an operation's cell, which its test keeps, and polls in its own thread.
    let answer = unsafe { &*tag.cast::<Cell<Option<CpaStatus>>>() };
    assert_eq!(answer.replace(Some(status)), None, "an operation has one callback");
}

extern "C" fn told(_: InstanceHandle, tag: *mut c_void, event: InstanceEvent) {
    // SAFETY: the tag is a cell that the test keeps, which looks for events in its own thread.
    unsafe { &*tag.cast::<RefCell<Vec<InstanceEvent>>>() }.borrow_mut().push(event);
}

impl Client {
    /// A client of a library that is not started.
    pub fn outside(config: Config) -> Self {
        let folder = TempDir::new().expect("a folder");
        let stand_in = StandIn::load(folder.path(), config);
        let library = stand_in.library();
        Self { stand_in, library, instances: Vec::new(), _folder: folder }
    }

    /// A client that has all instances started.
    pub fn new(config: Config) -> Self {
        let mut client = Self::outside(config);
        client.start();
        client
    }

    pub fn start(&mut self) {
        let library = &self.library;
        let mut count = 0;
        // SAFETY: all that is handed over is there, and stays as long as it must.
        unsafe {
            assert_eq!((library.user_start)(c"SSL".as_ptr()), CpaStatus::SUCCESS);
            assert_eq!((library.instance_count)(&raw mut count), CpaStatus::SUCCESS);
            self.instances = vec![null_mut(); count.into()];
            assert_eq!((library.instances)(count, self.instances.as_mut_ptr()), CpaStatus::SUCCESS);
            for instance in &self.instances {
                assert_eq!((library.start_instance)(*instance, 0, null_mut()), CpaStatus::SUCCESS);
                let translate = library.translate;
                assert_eq!((library.set_address_translation)(*instance, translate), CpaStatus::SUCCESS);
            }
        }
    }

    pub fn handle(&self) -> InstanceHandle {
        self.instances[0]
    }

    pub fn report(&self) -> Report {
        self.stand_in.report()
    }

    /// The one violation that was recorded.
    pub fn violation(&self) -> String {
        let violations = self.report().violations;
        assert_eq!(violations.len(), 1, "{violations:#?}");
        violations[0].clone()
    }

    pub fn allocate(&self, bytes: usize) -> *mut u8 {
        // SAFETY: any size and alignment may be asked for.
        let memory = unsafe { (self.library.allocate)(bytes, 0, 64) };
        assert!(!memory.is_null(), "{bytes} bytes of pinned memory");
        memory.cast()
    }

    pub fn free(&self, memory: *mut u8) {
        let mut memory = memory.cast();
        // SAFETY: it is the test's word, or its point, that it may go.
        unsafe { (self.library.free)(&raw mut memory) };
        assert!(memory.is_null());
    }

    /// Pinned memory with some bytes in it.
    pub fn pinned(&self, bytes: &[u8]) -> FlatBuffer {
        let memory = self.allocate(bytes.len());
        // SAFETY: the memory is new, and as long.
        unsafe { memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        FlatBuffer { bytes: u32::try_from(bytes.len()).expect("less than 4 GiB"), data: memory }
    }

    pub fn setup(direction: u32, huffman: u32) -> SessionSetup {
        SessionSetup {
            level: 1,
            algorithm: algorithm::DEFLATE,
            huffman,
            direction,
            state: state::STATELESS,
            window: window::KIB_32,
            checksum: checksum::CRC32,
            ..SessionSetup::default()
        }
    }

    pub fn init(&self, session: SessionHandle, mut setup: SessionSetup) -> CpaStatus {
        // SAFETY: the setup is there during the call; the memory is the test's word, or its point.
        unsafe {
            (self.library.init_session)(self.handle(), session, &raw mut setup, null_mut(), Some(answered))
        }
    }

    /// A session of the first instance.
    pub fn session(&self, direction: u32, huffman: u32) -> SessionHandle {
        let session = self.allocate(600).cast();
        assert_eq!(self.init(session, Self::setup(direction, huffman)), CpaStatus::SUCCESS);
        session
    }

    pub fn compression(&self) -> SessionHandle {
        self.session(direction::COMPRESS, huffman::FULL_DYNAMIC)
    }

    pub fn decompression(&self) -> SessionHandle {
        self.session(direction::DECOMPRESS, huffman::FULL_DYNAMIC)
    }

    /// An operation with pinned memory of its own.
    pub fn operation(&self, source: &[&[u8]], room: &[usize]) -> Operation {
        let source = source.iter().map(|bytes| self.pinned(bytes)).collect();
        let destination = room.iter().map(|bytes| self.pinned(&vec![0xee; *bytes])).collect();
        self.over(source, destination)
    }

    /// An operation with memory of the test's.
    pub fn over(&self, mut source: Vec<FlatBuffer>, mut destination: Vec<FlatBuffer>) -> Operation {
        let list = |buffers: &mut Vec<FlatBuffer>| {
            let mut bytes = 0;
            let count = u32::try_from(buffers.len()).expect("few buffers");
            // SAFETY: the place for the size is there.
            let status =
                unsafe { (self.library.list_metadata_size)(self.handle(), count.max(1), &raw mut bytes) };
            assert_eq!(status, CpaStatus::SUCCESS);
            let metadata = self.allocate(bytes as usize).cast();
            Box::new(BufferList { count, buffers: buffers.as_mut_ptr(), user: null_mut(), metadata })
        };
        Operation {
            source: list(&mut source),
            destination: list(&mut destination),
            source_buffers: source,
            destination_buffers: destination,
            options: OpData::whole(TRUE),
            results: Box::default(),
            answers: Box::default(),
        }
    }

    fn submit(&self, compresses: bool, session: SessionHandle, operation: &mut Operation) -> CpaStatus {
        let function = if compresses { self.library.compress } else { self.library.decompress };
        let tag: *mut Cell<_> = &raw mut *operation.answers;
        // SAFETY: the test keeps the operation until it was answered, or forgets it.
        unsafe {
            function(
                self.handle(),
                session,
                &raw mut *operation.source,
                &raw mut *operation.destination,
                &raw mut operation.options,
                &raw mut *operation.results,
                tag.cast(),
            )
        }
    }

    pub fn compress(&self, session: SessionHandle, operation: &mut Operation) -> CpaStatus {
        self.submit(true, session, operation)
    }

    pub fn decompress(&self, session: SessionHandle, operation: &mut Operation) -> CpaStatus {
        self.submit(false, session, operation)
    }

    pub fn poll(&self) -> CpaStatus {
        // SAFETY: any handle may be handed over.
        unsafe { (self.library.poll_instance)(self.handle(), 0) }
    }

    /// Looks for events once.
    pub fn events(&self) -> CpaStatus {
        // SAFETY: the function has no precondition but that nobody else is in it, which is a test's point.
        unsafe { (self.library.poll_device_events)() }
    }

    /// Polls until an operation is answered.
    pub fn wait(&self, operation: &Operation) -> CpaStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = operation.answers.get() {
                return answer;
            }
            let status = self.poll();
            assert!([CpaStatus::SUCCESS, CpaStatus::RETRY].contains(&status), "{status}");
            assert!(Instant::now() < until, "an operation was not answered");
            std::thread::yield_now();
        }
    }

    /// Submits and waits for success.
    pub fn run(&self, compresses: bool, session: SessionHandle, operation: &mut Operation) -> Results {
        assert_eq!(self.submit(compresses, session, operation), CpaStatus::SUCCESS);
        assert_eq!(self.wait(operation), CpaStatus::SUCCESS, "{:?}", operation.results);
        *operation.results
    }

    /// Has the events of the first instance written down.
    pub fn listen(&self, events: &RefCell<Vec<InstanceEvent>>) {
        let tag = std::ptr::from_ref(events).cast_mut().cast();
        // SAFETY: the test keeps the cell.
        let status = unsafe { (self.library.set_notification)(self.handle(), Some(told), tag) };
        assert_eq!(status, CpaStatus::SUCCESS);
    }

    /// Looks for events until something is so.
    pub fn until(&self, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert_eq!(self.events(), CpaStatus::SUCCESS);
            assert!(Instant::now() < until, "an event did not come");
            std::thread::yield_now();
        }
    }

    pub fn remove(&self, session: SessionHandle) -> CpaStatus {
        // SAFETY: it is the test's word, or its point, that it is a session.
        unsafe { (self.library.remove_session)(self.handle(), session) }
    }

    pub fn stop_instance(&self) -> CpaStatus {
        // SAFETY: any handle may be handed over.
        unsafe { (self.library.stop_instance)(self.handle()) }
    }

    pub fn stop(&self) -> CpaStatus {
        // SAFETY: the function has no precondition.
        unsafe { (self.library.user_stop)() }
    }
}

impl Operation {
    /// What is in the destination.
    pub fn output(&self, bytes: u32) -> Vec<u8> {
        let mut output = Vec::new();
        for buffer in &self.destination_buffers {
            // SAFETY: the buffer is the test's, and nothing in flight writes to it.
            output
                .extend_from_slice(unsafe { std::slice::from_raw_parts(buffer.data, buffer.bytes as usize) });
        }
        output.truncate(bytes as usize);
        output
    }
}

/// Bytes that compress by some, the same for the same seed.
pub fn data(bytes: usize, seed: u32) -> Vec<u8> {
    let words = ["migration ", "page ", "dirty ", "guest ", "baseline ", "queue ", "delta "];
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let mut data = Vec::with_capacity(bytes + 16);
    while data.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        data.extend_from_slice(words[(state >> 24) as usize % words.len()].as_bytes());
        data.push(state.to_le_bytes()[2]);
    }
    data.truncate(bytes);
    data
}

/// Bytes that do not compress.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(byte).take(bytes).collect()
}

/// A raw deflate stream of libdeflate's.
pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::default();
    let mut stream = vec![0; compressor.deflate_compress_bound(bytes.len())];
    let produced = compressor.deflate_compress(bytes, &mut stream).expect("there is room");
    stream.truncate(produced);
    stream
}

/// What libdeflate makes of a raw stream.
pub fn inflated(stream: &[u8], bytes: usize) -> Vec<u8> {
    let mut output = vec![0; bytes];
    let produced = libdeflater::Decompressor::new().deflate_decompress(stream, &mut output);
    assert_eq!(produced.expect("a good stream"), bytes);
    output
}

pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = libdeflater::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A pointer of the process that nobody has.
pub fn pointer<T>(address: usize) -> *mut T {
    with_exposed_provenance_mut(address)
}

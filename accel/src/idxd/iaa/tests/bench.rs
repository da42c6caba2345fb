//! A device that executes every descriptor at once, as the model of an IAA does, unless the test wants otherwise.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::{CompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};
use zerocopy::IntoBytes;

use crate::baseline::Baseline;
use crate::codec::deflate::Window;
use crate::cpu::{Cpu, CpuConfig};
use crate::dma::{Arena, DmaRange};
use crate::doorbell::Doorbell;
use crate::guest::{AnonymousMemory, GuestRam};
use crate::idxd::device::{Control, Device, QueueFacts, Quiet, WorkQueue};
use crate::idxd::iaa::{Iaa, IaaConfig};
use crate::idxd::portal::{Portal, PortalRefusal};
use crate::method::Method;
use crate::model::iaa;
use crate::model::memory::DeviceMemory;
use crate::queue::{Accelerator, Attachment, Failure, MemoryAccess, OpenError, Provenance, Queue};
use crate::request::{Direction, Request};
use crate::run::Run;
use crate::units::{Gpa, PageCount, PageIndex, PageSize};

/// What the device does with a descriptor: sees its number, itself, and the means to execute it.
pub(super) type Conduct =
    dyn Fn(usize, &Descriptor, &dyn Fn() -> IaaCompletion) -> IaaCompletion + Send + Sync;

#[derive(Clone)]
pub(super) struct Silicon {
    facts: Vec<QueueFacts>,
    memory: DeviceMemory,
    state: Arc<Mutex<State>>,
}

struct State {
    conduct: Arc<Conduct>,
    taken: Vec<Descriptor>,
}

pub(super) fn facts() -> QueueFacts {
    QueueFacts {
        name: "iax1/wq1.0".into(),
        size: 16,
        max_transfer_bytes: 1 << 21,
        max_batch: 1,
        opcodes: OpcodeSet::of(&[Opcode::COMPRESS, Opcode::DECOMPRESS]),
        flags: DescriptorFlags::CACHE_CONTROL | DescriptorFlags::BLOCK_ON_FAULT,
        engines: 4,
        numa_node: Some(0),
    }
}

impl Silicon {
    pub(super) fn new(facts: &[QueueFacts]) -> Self {
        let conduct: Arc<Conduct> = Arc::new(|_, _, execute| execute());
        let state = Arc::new(Mutex::new(State { conduct, taken: Vec::new() }));
        Self { facts: facts.to_vec(), memory: DeviceMemory::new(), state }
    }

    pub(super) fn obey(
        &self,
        conduct: impl Fn(usize, &Descriptor, &dyn Fn() -> IaaCompletion) -> IaaCompletion + Send + Sync + 'static,
    ) {
        *self.state() = State { conduct: Arc::new(conduct), taken: Vec::new() };
    }

    /// The descriptors that were taken since the last time.
    pub(super) fn taken(&self) -> Vec<Descriptor> {
        std::mem::take(&mut self.state().taken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

pub(super) fn counts(descriptor: &Descriptor) -> bool {
    descriptor.opcode() == Opcode::COMPRESS && descriptor.operation_flags == CompressFlags::STATISTICS.bits()
}

impl Device for Silicon {
    fn name(&self) -> &str {
        "iax1"
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn memory(&self) -> MemoryAccess {
        MemoryAccess::Pinned
    }

    fn queues(&self) -> Vec<QueueFacts> {
        self.facts.clone()
    }

    fn open(&self, memory: &[DmaRange]) -> Result<Vec<WorkQueue>, OpenError> {
        self.memory.unmap_all();
        for range in memory {
            let start =
                NonNull::new(std::ptr::with_exposed_provenance_mut(usize::try_from(range.host.0).unwrap()));
            // SAFETY: the queue keeps this memory while it is open, and the tests submit nothing after it.
            unsafe { self.memory.map(range.host.0, start.unwrap(), range.bytes as u64) }.unwrap();
        }
        let open = |facts: &QueueFacts| WorkQueue {
            facts: facts.clone(),
            portal: Box::new(self.clone()),
            control: Box::new(self.clone()),
            interrupt: None,
        };
        Ok(self.facts.iter().map(open).collect())
    }
}

impl Portal for Silicon {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        let (number, conduct) = {
            let mut state = self.state();
            state.taken.push(*descriptor);
            (state.taken.len() - 1, Arc::clone(&state.conduct))
        };
        let record = conduct(number, descriptor, &|| iaa::execute(descriptor, &self.memory));
        self.memory.write(descriptor.completion_address, record.as_bytes()).unwrap();
        Ok(())
    }
}

impl Control for Silicon {
    fn quiesce(&self) -> Quiet {
        Quiet::Ready
    }
}

/// Guest memory with pages of several sorts, and the queues of an accelerator on it.
pub(super) struct Bench {
    pub(super) attachment: Attachment,
    pub(super) queue: Box<dyn Queue>,
}

/// Pages of the guest: two regions with a hole between them.
pub(super) const PAGES: u64 = 64;
pub(super) const SECOND_REGION: u64 = 1024;
const MAX_PAGES: PageCount = PageCount(63);

pub(super) fn attachment(page_size: PageSize) -> Attachment {
    let (half, second) = ((PAGES / 2) << page_size.shift(), SECOND_REGION << page_size.shift());
    let memory = AnonymousMemory::new(&[(Gpa(0), half), (Gpa(second), half)]).unwrap();
    Attachment {
        ram: Arc::new(GuestRam::new(Arc::new(memory), page_size).unwrap()),
        doorbell: Arc::new(Doorbell::default()),
        max_pages: MAX_PAGES,
        payloads: Arc::new(Arena::new(8, page_size.bytes_of(MAX_PAGES)).unwrap()),
        baselines: None,
        deflate_window: crate::codec::deflate::Window::Kib32,
    }
}

pub(super) fn config() -> IaaConfig {
    IaaConfig { requests: 4, deadline: Duration::from_secs(3600), ..IaaConfig::default() }
}

impl Bench {
    pub(super) fn iaa(silicon: &Silicon, config: IaaConfig, page_size: PageSize) -> Self {
        Self::on(Arc::new(silicon.clone()), config, page_size)
    }

    pub(super) fn on(device: Arc<dyn Device>, config: IaaConfig, page_size: PageSize) -> Self {
        let attachment = attachment(page_size);
        let iaa = Iaa::new(device, config).unwrap();
        Self { queue: iaa.open(&attachment).unwrap().remove(0), attachment }
    }

    pub(super) fn cpu(window: Window, page_size: PageSize) -> Self {
        let attachment = Attachment { deflate_window: window, ..attachment(page_size) };
        let cpu = Cpu::new(CpuConfig { workers: 1, deflate_window: window, ..CpuConfig::default() });
        Self { queue: cpu.open(&attachment).unwrap().remove(0), attachment }
    }

    /// Pages that exist, ascending.
    pub(super) fn pages() -> impl Iterator<Item = PageIndex> {
        (0..PAGES / 2).chain(SECOND_REGION..SECOND_REGION + PAGES / 2).map(PageIndex)
    }

    pub(super) fn write(&self, page: PageIndex, mut byte: impl FnMut(usize) -> u8) {
        let bytes: Vec<u8> = (0..self.attachment.ram.page_size().bytes()).map(&mut byte).collect();
        self.attachment.ram.copy_in(page, &bytes);
    }

    /// Text, tables, zeros and, where `noise` says so, pages that do not shrink.
    pub(super) fn fill(&self, noise: impl Fn(u64) -> bool) {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random.to_be_bytes()[0]
        };
        for page in Self::pages() {
            match page.0 % 5 {
                _ if noise(page.0) => self.write(page, |_| next()),
                0 | 1 => self.write(page, |byte| b"the pages that dirt has got on "[(byte * byte / 7) % 31]),
                2 => self.write(page, |byte| if byte % 8 == 0 { next() } else { u8::from(byte % 8 == 5) }),
                3 => self.write(page, |byte| next() & if byte % 3 == 0 { 0x0f } else { 0x03 }),
                _ => self.write(page, |_| 0),
            }
        }
    }

    /// A request from the arena that the device has mapped.
    pub(super) fn request(&self, runs: &[Run]) -> Box<Request> {
        let buffer = self.attachment.buffer().unwrap();
        let mut request = Box::new(Request::new(MAX_PAGES, buffer));
        request.method = Method::Deflate;
        request.runs.extend(runs);
        request
    }

    pub(super) fn encode(&self, runs: &[Run]) -> Box<Request> {
        let (request, result) = self.run(self.request(runs));
        result.unwrap();
        request
    }

    pub(super) fn run(&self, request: Box<Request>) -> (Box<Request>, Result<(), Failure>) {
        self.queue.submit(request).unwrap();
        let mut completions = Vec::new();
        while completions.is_empty() {
            self.queue.poll(&mut completions);
            std::thread::yield_now();
        }
        let completion = completions.remove(0);
        (completion.request, completion.result)
    }

    /// As if it had crossed a network: decoded there, of a payload in one piece.
    pub(super) fn arrived(&self, sent: &Request) -> Box<Request> {
        let mut request = self.request(&sent.runs);
        request.direction = Direction::Decode;
        request.method = sent.method;
        request.segments.extend(&sent.segments);
        (request.checksum_kind, request.checksum) = (sent.checksum_kind, sent.checksum);
        let payload: Vec<u8> = sent.payload.slices().flatten().copied().collect();
        request.payload.buffer()[..payload.len()].copy_from_slice(&payload);
        request.payload.set_filled(payload.len());
        request
    }

    pub(super) fn decode(&self, sent: &Request) -> Result<Box<Request>, Failure> {
        let (request, result) = self.run(self.arrived(sent));
        result.map(|()| request)
    }

    pub(super) fn assert_same(&self, other: &Self, runs: &[Run]) {
        let bytes = self.attachment.ram.page_size().bytes();
        let (mut here, mut there) = (vec![0; bytes], vec![0; bytes]);
        for page in runs.iter().flat_map(|run| run.pages()) {
            self.attachment.ram.copy_out(page, &mut here);
            other.attachment.ram.copy_out(page, &mut there);
            assert!(here == there, "page {page} differs");
        }
    }
}

/// Runs of several lengths, in both regions.
pub(super) fn some_runs() -> Vec<Run> {
    [(0, 1), (2, 19), (22, 1), (25, 7), (SECOND_REGION, 8), (SECOND_REGION + 10, 22)]
        .map(|(first, count)| Run::data(PageIndex(first), PageCount(count)))
        .to_vec()
}

/// What is known of every page's baseline.
pub(super) fn known(baselines: &[Option<Baseline>]) -> Vec<crate::baseline::Known> {
    baselines.iter().flatten().map(Baseline::known).collect()
}

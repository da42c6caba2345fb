//! The DSA work against a device of a few lines, with the CPU's encoder and decoder as the oracle.

mod decoding;
mod encoding;
mod engine;
mod faults;
mod model;
mod opening;

use std::sync::Arc;

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};

use super::DsaConfig;
use super::slot::Slot;
use super::work::{self, DsaWork};
use crate::baseline::{Baseline, BaselineCache};
use crate::checksum::ChecksumKind;
use crate::cpu::{Cpu, CpuConfig};
use crate::dma::{Arena, Block};
use crate::doorbell::Doorbell;
use crate::guest::{AnonymousMemory, GuestRam};
use crate::idxd::device::QueueFacts;
use crate::idxd::work::{Outbox, Progress, Work};
use crate::method::Method;
use crate::queue::{Accelerator, Attachment, Failure, Queue};
use crate::request::{Detours, Request};
use crate::run::{Run, Segment};
use crate::units::{Gpa, PageCount, PageIndex, PageSize};
use engine::{Ends, Engine, Mishap};
use pageferry_bindings::idxd::descriptor::Descriptor;

const PAGES: PageCount = PageCount(24);

/// What shipping parts have, and what the documents have.
fn opcodes(deltas: bool) -> OpcodeSet {
    let common = [
        Opcode::NOOP,
        Opcode::BATCH,
        Opcode::MEMORY_MOVE,
        Opcode::COMPARE,
        Opcode::COMPARE_PATTERN,
        Opcode::CRC_GENERATION,
        Opcode::COPY_WITH_CRC,
    ];
    let set = OpcodeSet::of(&common);
    if deltas { set.with(Opcode::CREATE_DELTA).with(Opcode::APPLY_DELTA) } else { set }
}

fn facts(deltas: bool, max_batch: usize) -> QueueFacts {
    QueueFacts {
        name: "dsa0/wq0.0".into(),
        size: 16,
        max_transfer_bytes: 1 << 31,
        max_batch,
        opcodes: opcodes(deltas),
        flags: DescriptorFlags::CACHE_CONTROL,
        engines: 1,
        numa_node: None,
    }
}

fn attachment(page_size: PageSize) -> Attachment {
    // Two regions with a hole, so that runs are not all in one piece of memory.
    let half = u64::from(PAGES.0 / 2) << page_size.shift();
    let memory = AnonymousMemory::new(&[(Gpa(0), half), (Gpa(4 * half), half)]).unwrap();
    Attachment {
        ram: Arc::new(GuestRam::new(Arc::new(memory), page_size).unwrap()),
        doorbell: Arc::new(Doorbell::default()),
        max_pages: PAGES,
        payloads: Arc::new(Arena::new(4, page_size.bytes_of(PAGES)).unwrap()),
        baselines: None,
        deflate_window: crate::codec::deflate::Window::Kib32,
    }
}

/// All pages of guest memory.
fn runs() -> [Run; 2] {
    let half = PageCount(PAGES.0 / 2);
    [Run::data(PageIndex(0), half), Run::data(PageIndex(4 * u64::from(half.0)), half)]
}

fn pages() -> impl Iterator<Item = PageIndex> {
    runs().into_iter().flat_map(Run::pages)
}

/// The DSA work, its slot, and an engine in the device's place.
struct Desk<'a> {
    work: DsaWork,
    slot: Slot,
    outbox: Outbox<DsaCompletion>,
    engine: Engine<'a>,
    /// How many phases ran.
    phases: usize,
}

impl Desk<'_> {
    fn new(facts: &QueueFacts, attachment: &Attachment, config: DsaConfig) -> Self {
        let private = work::private_pages(attachment, 1).unwrap();
        let work = DsaWork::new(facts, attachment, config, private);
        let descriptors = work.max_descriptors();
        Self {
            slot: work.slot(Block::alone(work.slot_bytes()).unwrap()),
            outbox: Outbox::new(
                Block::alone(Outbox::<DsaCompletion>::bytes(descriptors)).unwrap(),
                descriptors,
            ),
            work,
            engine: Engine::new(facts.opcodes),
            phases: 0,
        }
    }

    fn run(&mut self, request: &mut Request) -> Result<(), Failure> {
        self.work.begin(request, &mut self.slot, &mut self.outbox);
        loop {
            self.engine.run(&self.outbox);
            self.phases += 1;
            if let Progress::Done(result) = self.work.advance(request, &mut self.slot, &mut self.outbox) {
                return result;
            }
            assert!(self.phases < 1000, "a request goes on for ever");
        }
    }
}

/// Guest memory whose pages are encoded by a desk and by the CPU, each with its own baselines.
struct Pair<'a> {
    attachment: Attachment,
    desk: Desk<'a>,
    baselines: BaselineCache,
    cpu: Box<dyn Queue>,
    cpu_baselines: BaselineCache,
}

/// All that an encoding leaves.
#[derive(Debug, PartialEq)]
struct Encoded {
    method: Method,
    runs: Vec<Run>,
    segments: Vec<Segment>,
    payload: Vec<u8>,
    checksum: (ChecksumKind, u32),
    detours: Detours,
    baselines: Vec<Option<Vec<u8>>>,
}

impl Encoded {
    fn of(request: &Request) -> Self {
        let exact = |baseline: &Option<Baseline>| baseline.as_ref()?.exact().map(<[u8]>::to_vec);
        Self {
            method: request.method,
            runs: request.runs.clone(),
            segments: request.segments.clone(),
            payload: request.payload.slices().flatten().copied().collect(),
            checksum: (request.checksum_kind, request.checksum),
            detours: request.detours,
            baselines: request.baselines.iter().map(exact).collect(),
        }
    }
}

impl Pair<'_> {
    /// With room for `kept` baselines.
    fn new(facts: &QueueFacts, page_size: PageSize, kept: usize, detect_zero: bool) -> Self {
        let attachment = attachment(page_size);
        let cache = || BaselineCache::new(&attachment.ram, kept * page_size.bytes()).unwrap();
        let cpu = Cpu::new(CpuConfig { workers: 1, detect_zero, ..CpuConfig::default() });
        let config = DsaConfig { detect_zero, ..DsaConfig::default() };
        Self {
            desk: Desk::new(facts, &attachment, config),
            baselines: cache(),
            cpu: cpu.open(&attachment).unwrap().remove(0),
            cpu_baselines: cache(),
            attachment,
        }
    }

    fn page_bytes(&self) -> usize {
        self.attachment.ram.page_size().bytes()
    }

    fn write(&self, page: PageIndex, byte: impl FnMut(usize) -> u8) {
        self.attachment.ram.copy_in(page, &(0..self.page_bytes()).map(byte).collect::<Vec<_>>());
    }

    /// Changes `words` words of a page, from one of them on.
    fn change(&self, page: PageIndex, first: usize, words: usize) {
        let mut bytes = vec![0; self.page_bytes()];
        self.attachment.ram.copy_out(page, &mut bytes);
        let total = bytes.len() / 8;
        for word in (first..first + words).map(|word| word % total) {
            bytes[word * 8 + word % 8] ^= 0x5a;
        }
        self.attachment.ram.copy_in(page, &bytes);
    }

    /// Encodes by the desk, and on the CPU.
    fn encode(&mut self, method: Method) -> (Result<(), Failure>, Encoded, Encoded) {
        let page_size = self.attachment.ram.page_size();
        let mut request = request(page_size, method, &mut self.baselines);
        let result = self.desk.run(&mut request);
        let encoded = Encoded::of(&request);
        request.baselines.drain(..).flatten().for_each(|baseline| self.baselines.give_back(baseline));
        let mut expected = Box::new(self::request(page_size, method, &mut self.cpu_baselines));
        let seen = self.attachment.doorbell.count();
        self.cpu.submit(expected).unwrap();
        self.attachment.doorbell.wait(seen);
        let mut completions = Vec::new();
        self.cpu.poll(&mut completions);
        expected = completions.remove(0).request;
        let cpu = Encoded::of(&expected);
        expected.baselines.drain(..).flatten().for_each(|baseline| self.cpu_baselines.give_back(baseline));
        (result, encoded, cpu)
    }

    /// Encodes both ways, which must agree but for the page faults, and says how many there were each way.
    #[track_caller]
    fn assert_same(&mut self, method: Method) -> (u32, u32) {
        let (result, mut encoded, expected) = self.encode(method);
        assert_eq!(result, Ok(()));
        let Detours { page_faults_resumed, page_faults_on_cpu, .. } = encoded.detours;
        (encoded.detours.page_faults_resumed, encoded.detours.page_faults_on_cpu) = (0, 0);
        assert_eq!(encoded.segments, expected.segments);
        assert!(encoded.payload == expected.payload, "the payloads differ");
        assert!(encoded == expected, "{:?}\nis not\n{:?}", encoded.detours, expected.detours);
        (page_faults_resumed, page_faults_on_cpu)
    }

    /// Pages of every kind, and what became of them by the next round.
    fn fill(&self) {
        for (index, page) in pages().enumerate() {
            match index % 4 {
                0 => self.write(page, |_| 0),
                1 => self.write(page, |byte| b"dirty pages "[byte % 12]),
                _ => self.write(page, |byte| u8::try_from((byte * 31 + index * 7) % 251).unwrap()),
            }
        }
    }

    /// Changes from no word to all, at the limit of what pays, to zero and from zero.
    fn age(&self) {
        let words = self.page_bytes() / 8;
        let longest = (self.page_bytes() - 1) / 10;
        let changes = [0, 1, 2, 9, 100, longest - 1, longest, longest + 1, words];
        for (index, page) in pages().enumerate() {
            match index {
                20 => self.write(page, |_| 0),
                _ => self.change(page, index * 17, changes[index % changes.len()]),
            }
        }
    }
}

fn request(page_size: PageSize, method: Method, baselines: &mut BaselineCache) -> Request {
    let mut request = Request::with_capacity(PAGES, page_size);
    request.method = method;
    request.runs.extend(runs());
    if baselines.capacity() > 0 {
        request.baselines.extend(pages().map(|page| baselines.take(page)));
    }
    request
}

//! The CPU as an accelerator: worker threads as its queues. Always there.

mod decode;
mod encode;

use crate::codec::deflate::{self, Window};
use crate::codec::zstd;
use crate::method::MethodSet;
use crate::queue::{Accelerator, Attachment, Capabilities, MemoryAccess, OpenError, Provenance, Queue};
use crate::request::{Direction, Request};
use crate::worker::Worker;
use decode::Decoder;
use encode::Encoder;

const NAME: &str = "cpu";

/// What the CPU workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuConfig {
    /// How many threads work, each of them a queue.
    pub workers: usize,
    /// How many requests each may hold, the one it works on included.
    pub depth: usize,
    /// The level of deflate, 0 (fastest) to 3 with ISA-L, to 9 without.
    pub deflate_level: u32,
    /// The largest distance that deflate refers back to.
    pub deflate_window: Window,
    /// The level of zstd, negative for faster ones.
    pub zstd_level: i32,
    /// Whether zero pages are looked for before anything else is done to them.
    pub detect_zero: bool,
}

impl Default for CpuConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            depth: 4,
            deflate_level: deflate::DEFAULT_LEVEL,
            deflate_window: Window::Kib32,
            zstd_level: zstd::DEFAULT_LEVEL,
            detect_zero: true,
        }
    }
}

/// A pool of CPU workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    config: CpuConfig,
}

impl Cpu {
    /// An accelerator of `config.workers` threads, which start when it is opened.
    #[must_use]
    pub fn new(config: CpuConfig) -> Self {
        Self { config: CpuConfig { workers: config.workers.max(1), depth: config.depth.max(1), ..config } }
    }

    fn start(&self, index: usize, attachment: &Attachment) -> Result<Box<dyn Queue>, OpenError> {
        let no_memory = |source| OpenError::Memory { accelerator: NAME.into(), source };
        let mut encoder = Encoder::new(self.config, attachment, attachment.buffer().map_err(no_memory)?)
            .map_err(|reason| OpenError::Codec { accelerator: NAME.into(), reason })?;
        let mut decoder = Decoder::new(&attachment.ram, attachment.buffer().map_err(no_memory)?);
        let work = move |request: &mut Request| match request.direction {
            Direction::Encode => encoder.encode(request),
            Direction::Decode => decoder.decode(request),
        };
        let worker = Worker::start(NAME, index, self.config.depth, &attachment.doorbell, Box::new(work))?;
        Ok(Box::new(worker))
    }
}

impl Accelerator for Cpu {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            encode: MethodSet::all(),
            decode: MethodSet::all(),
            deflate_window_bits: Window::Kib32.bits(),
            encode_window_bits: Window::Kib4.bits(),
            queues: self.config.workers,
            depth: self.config.depth,
            memory: MemoryAccess::Copied,
        }
    }

    fn provenance(&self) -> Provenance {
        Provenance::Cpu
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        (0..self.config.workers).map(|index| self.start(index, attachment)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::baseline::BaselineCache;
    use crate::checksum::ChecksumKind;
    use crate::dma::Arena;
    use crate::doorbell::Doorbell;
    use crate::guest::{AnonymousMemory, GuestRam};
    use crate::method::Method;
    use crate::queue::{Completion, Failure};
    use crate::run::{Content, Run, Segment};
    use crate::units::{Gpa, PageCount, PageIndex, PageSize};

    const PAGES: PageCount = PageCount(16);

    /// A source, a destination and a worker for each.
    struct Ferry {
        source: Attachment,
        destination: Attachment,
        encoder: Box<dyn Queue>,
        decoder: Box<dyn Queue>,
        baselines: BaselineCache,
    }

    impl Ferry {
        fn new() -> Self {
            let cpu = Cpu::new(CpuConfig { workers: 1, ..CpuConfig::default() });
            let (source, destination) = (attachment(), attachment());
            let open = |attachment| cpu.open(attachment).unwrap().remove(0);
            let baselines = BaselineCache::new(&source.ram, 1 << 20).unwrap();
            Self { encoder: open(&source), decoder: open(&destination), source, destination, baselines }
        }

        fn encode(&mut self, method: Method) -> Request {
            let mut request = Box::new(Request::with_capacity(PAGES, PageSize::Kib4));
            request.method = method;
            request.runs.push(Run::data(PageIndex(0), PAGES));
            request
                .baselines
                .extend((0..u64::from(PAGES.0)).map(|page| self.baselines.take(PageIndex(page))));
            let mut request = run(&*self.encoder, &self.source.doorbell, request).0;
            request.baselines.drain(..).flatten().for_each(|baseline| self.baselines.give_back(baseline));
            *request
        }

        fn decode(&self, mut request: Request) -> Result<(), Failure> {
            request.direction = Direction::Decode;
            run(&*self.decoder, &self.destination.doorbell, Box::new(request)).1
        }

        fn write(&self, page: u64, bytes: impl FnMut(usize) -> u8) {
            self.source.ram.copy_in(PageIndex(page), &(0..4096).map(bytes).collect::<Vec<_>>());
        }

        fn assert_same(&self, method: Method) {
            let (mut here, mut there) = (vec![0; 4096], vec![0; 4096]);
            for page in (0..u64::from(PAGES.0)).map(PageIndex) {
                self.source.ram.copy_out(page, &mut here);
                self.destination.ram.copy_out(page, &mut there);
                assert!(here == there, "page {page} differs after {method}");
            }
        }
    }

    fn attachment() -> Attachment {
        let memory = AnonymousMemory::new(&[(Gpa(0), u64::from(PAGES.0) << 12)]).unwrap();
        let ram = Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap());
        let payloads = Arc::new(Arena::new(4, 4096 * PAGES.as_usize()).unwrap());
        Attachment {
            ram,
            doorbell: Arc::new(Doorbell::default()),
            max_pages: PAGES,
            payloads,
            baselines: None,
            deflate_window: crate::codec::deflate::Window::Kib32,
        }
    }

    fn run(
        queue: &dyn Queue,
        doorbell: &Doorbell,
        request: Box<Request>,
    ) -> (Box<Request>, Result<(), Failure>) {
        let seen = doorbell.count();
        queue.submit(request).expect("an idle queue has room");
        doorbell.wait(seen);
        let mut completions = Vec::new();
        queue.poll(&mut completions);
        let Completion { request, result } = completions.pop().expect("the doorbell rang for it");
        (request, result)
    }

    /// Some pages of text, some zero, some that no codec can shrink.
    fn fill(ferry: &Ferry) {
        let mut noise = 0x9e37_79b9_u32;
        for page in 0..u64::from(PAGES.0) {
            match page % 4 {
                0 => ferry.write(page, |byte| b"dirty pages "[byte % 12]),
                1 => ferry.write(page, |_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    noise.to_le_bytes()[3]
                }),
                2 => ferry.write(page, |byte| u8::from(byte % 97 == 0)),
                _ => ferry.write(page, |_| 0),
            }
        }
    }

    #[test]
    fn every_method_carries_pages_to_the_other_side() {
        for method in Method::ALL {
            let mut ferry = Ferry::new();
            fill(&ferry);
            let request = ferry.encode(method);
            assert_eq!(request.data_pages(), PageCount(12));
            ferry.decode(request).unwrap();
            ferry.assert_same(method);
        }
    }

    #[test]
    fn a_delta_method_sends_what_changed_since_the_last_time() {
        for method in [Method::Xbzrle, Method::Delta] {
            let mut ferry = Ferry::new();
            fill(&ferry);
            let first = ferry.encode(method);
            assert_eq!(first.detours.no_baseline, 12);
            ferry.decode(first).unwrap();
            ferry.write(4, |byte| if byte == 77 { 1 } else { b"dirty pages "[byte % 12] });
            ferry.write(3, |byte| u8::from(byte == 9));
            ferry.write(8, |_| 0);
            let second = ferry.encode(method);
            assert_eq!(second.detours.no_baseline, 0, "page 3 was zero before, which is a baseline");
            assert!(second.payload.bytes().len() < 64, "{} bytes", second.payload.bytes().len());
            ferry.decode(second).unwrap();
            ferry.assert_same(method);
            // Page 8 went to zero and comes back: its baseline is the zero page.
            ferry.write(8, |byte| u8::from(byte == 5));
            let third = ferry.encode(method);
            assert_eq!(third.detours.no_baseline, 0);
            ferry.decode(third).unwrap();
            ferry.assert_same(method);
        }
    }

    #[test]
    fn pages_that_do_not_shrink_travel_raw_and_are_counted() {
        let mut ferry = Ferry::new();
        let mut noise = 1_u64;
        for page in 0..u64::from(PAGES.0) {
            ferry.write(page, |_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                noise.to_be_bytes()[0]
            });
        }
        for method in [Method::Deflate, Method::Zstd, Method::Lz4] {
            let request = ferry.encode(method);
            assert_eq!(request.detours.did_not_shrink, PAGES.0);
            assert_eq!(
                request.segments,
                [Segment { method: Method::Raw, pages: PAGES, bytes: PAGES.0 << 12 }]
            );
            ferry.decode(request).unwrap();
            ferry.assert_same(method);
        }
    }

    #[test]
    fn a_zero_page_is_never_sent_as_data() {
        let mut ferry = Ferry::new();
        let request = ferry.encode(Method::Deflate);
        assert_eq!(request.method, Method::Zero);
        assert_eq!(request.checksum_kind, ChecksumKind::None);
        assert!(request.payload.bytes().is_empty() && request.segments.is_empty());
        assert!(request.runs.iter().all(|run| run.content == Content::Zero));
        ferry.destination.ram.copy_in(PageIndex(5), &[1; 4096]);
        ferry.decode(request).unwrap();
        ferry.assert_same(Method::Zero);
    }

    #[test]
    fn pages_that_fail_their_checksum_do_not_reach_guest_memory_and_leave_the_payload_as_it_came() {
        for method in [Method::Zstd, Method::Raw] {
            let mut ferry = Ferry::new();
            fill(&ferry);
            let mut request = ferry.encode(method);
            request.checksum ^= 1;
            request.direction = Direction::Decode;
            let (mut request, result) = run(&*ferry.decoder, &ferry.destination.doorbell, Box::new(request));
            assert!(matches!(result, Err(Failure::ChecksumMismatch { .. })), "{result:?}");
            assert!(ferry.destination.ram.is_zero(PageIndex(0)));
            request.checksum ^= 1;
            ferry.decode(*request).unwrap();
            ferry.assert_same(method);
        }
    }
}

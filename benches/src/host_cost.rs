//! What the host pays for a request of an IAA or a DSA, from composing it to recycling it, with a device that takes no
//! time.

use std::sync::Arc;

use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::codec::deflate::Window;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::idxd::dsa::{Dsa, DsaConfig};
use pageferry_accel::idxd::iaa::{Iaa, IaaConfig};
use pageferry_accel::method::Method;
use pageferry_accel::pool::{Pool, PoolSize};
use pageferry_accel::queue::{Accelerator, Attachment, Completion, Queue};
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::frame::PagesHead;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::SenderConfig;

use crate::clock::{ticks, ticks_to_seconds};
use crate::instant::{InstantDevice, InstantKind};
use crate::stages::host_cpu;

/// The pages of a request: those of Intel's work on QEMU (KVM Forum 2020).
const PAGES: PageCount = PageCount(63);

/// Requests in flight: those of the four queues that a device has, in one.
const REQUESTS: usize = 32;

/// Microseconds of one request, by what they are spent on.
#[derive(Clone, Copy, Debug)]
pub struct HostCost {
    /// From taking the request out of the pool to its being back, on one thread: the stages below.
    pub stages: Stages,
    /// CPU time of a whole sender: of two threads, which find the runs, wake each other, and poll for what is not there yet.
    pub sender: f64,
}

/// What a request costs, stage by stage, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Stages {
    /// Taking it out of the pool, with its runs and baselines.
    pub compose: f64,
    /// Composing descriptors and handing them over, but for the device's own part.
    pub submit: f64,
    /// Looking for completions, composing further phases, and making a payload of what came.
    pub poll: f64,
    /// Building the frame's head.
    pub frame: f64,
    /// Giving baselines and request back.
    pub recycle: f64,
}

impl Stages {
    /// All of them.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.compose + self.submit + self.poll + self.frame + self.recycle
    }
}

/// An accelerator on a device of this kind, and how long the CPU has been that device.
fn accelerator(kind: InstantKind) -> (Arc<dyn Accelerator>, InstantDevice) {
    let device = InstantDevice::new(kind);
    let accelerator: Arc<dyn Accelerator> = match kind {
        InstantKind::Dsa => Arc::new(
            Dsa::new(Arc::new(device.clone()), DsaConfig { requests: REQUESTS, ..DsaConfig::default() })
                .expect("a DSA"),
        ),
        InstantKind::Iaa => Arc::new(
            Iaa::new(Arc::new(device.clone()), IaaConfig { requests: REQUESTS, ..IaaConfig::default() })
                .expect("an IAA"),
        ),
    };
    (accelerator, device)
}

const fn method(kind: InstantKind) -> Method {
    match kind {
        InstantKind::Dsa => Method::Delta,
        InstantKind::Iaa => Method::Deflate,
    }
}

/// What one request costs; `guest` has no zero page.
///
/// # Panics
/// If the accelerator does not do what it is made for.
#[must_use]
pub fn host_cost(guest: &Arc<GuestRam>, kind: InstantKind) -> HostCost {
    let (device_of_sender, device) = accelerator(kind);
    let config = SenderConfig::new(MigrationId([0; 16]), Selector::fixed(method(kind)));
    let baseline_bytes =
        if kind == InstantKind::Dsa { usize::try_from(guest.bytes()).unwrap_or(0) } else { 0 };
    let config = SenderConfig { max_pages: PAGES, baseline_bytes, ..config };
    let sender = host_cpu(guest, device_of_sender, config, || device.seconds()) * f64::from(PAGES.0);
    HostCost { stages: stages(guest, kind), sender }
}

/// The stages of one request, which goes through one queue again and again, alone: medians of five.
fn stages(guest: &Arc<GuestRam>, kind: InstantKind) -> Stages {
    const TURNS: u32 = 20_000;
    let mut bench = Bench::new(guest, kind);
    let runs = [(); 5].map(|()| {
        let mut spent = [0; 5];
        (0..TURNS).for_each(|_| bench.turn(&mut spent));
        spent.map(|ticks| ticks_to_seconds(ticks) * 1e6 / f64::from(TURNS))
    });
    let median = |stage: usize| {
        let mut values = runs.map(|run| run[stage]);
        values.sort_by(f64::total_cmp);
        values[2]
    };
    Stages { compose: median(0), submit: median(1), poll: median(2), frame: median(3), recycle: median(4) }
}

/// One queue, one request, and what it needs.
struct Bench {
    kind: InstantKind,
    device: InstantDevice,
    pool: Pool,
    baselines: BaselineCache,
    queue: Box<dyn Queue>,
    completions: Vec<Completion>,
    head: Vec<u8>,
}

impl Bench {
    fn new(guest: &Arc<GuestRam>, kind: InstantKind) -> Self {
        let (accelerator, device) = accelerator(kind);
        let pool = PoolSize { max_pages: PAGES, page_size: PageSize::Kib4, initial: 1, bound: 1, spare: 2 };
        let pool = Pool::new(pool).expect("memory for a request");
        let room = PageSize::Kib4.bytes_of(PAGES);
        let baselines = BaselineCache::new(guest, room).expect("memory for baselines");
        let attachment = Attachment {
            ram: Arc::clone(guest),
            doorbell: Arc::new(Doorbell::default()),
            max_pages: PAGES,
            payloads: Arc::clone(pool.arena()),
            baselines: Some(Arc::clone(baselines.arena())),
            deflate_window: Window::Kib32,
        };
        let queue = accelerator.open(&attachment).expect("queues").remove(0);
        let (completions, head) = (Vec::with_capacity(1), Vec::with_capacity(4096));
        Self { kind, device, pool, baselines, queue, completions, head }
    }

    /// Sends a request through, and adds what its stages took, without the device's own part.
    fn turn(&mut self, spent: &mut [u64; 5]) {
        let mut times = [0; 6];
        let now = |device: &InstantDevice| ticks() - device.ticks();
        times[0] = now(&self.device);
        let request = self.request();
        times[1] = now(&self.device);
        self.queue.submit(request).expect("an idle queue");
        times[2] = now(&self.device);
        while self.completions.is_empty() {
            self.queue.poll(&mut self.completions);
        }
        times[3] = now(&self.device);
        let Completion { mut request, result } = self.completions.remove(0);
        result.expect("a device that does all it is asked");
        self.head.clear();
        frame(&request, &mut self.head);
        times[4] = now(&self.device);
        request.baselines.drain(..).flatten().for_each(|baseline| self.baselines.give_back(baseline));
        self.pool.put(request);
        times[5] = now(&self.device);
        for (sum, pair) in spent.iter_mut().zip(times.windows(2)) {
            *sum += pair[1] - pair[0];
        }
    }

    /// A few runs, as a guest's dirty pages lie.
    fn request(&mut self) -> Box<Request> {
        let mut request = self.pool.take().expect("the only request");
        request.reset(Direction::Encode);
        request.method = method(self.kind);
        let runs = [(0, 20), (40, 1), (50, 30), (100, 12)];
        request.runs.extend(runs.map(|(first, count)| Run::data(PageIndex(first), PageCount(count))));
        if self.kind == InstantKind::Dsa {
            let pages = runs.iter().flat_map(|&(first, count)| first..first + u64::from(count));
            request.baselines.extend(pages.map(|page| self.baselines.take(PageIndex(page))));
        }
        request
    }
}

fn frame(request: &Request, out: &mut Vec<u8>) {
    let head = PagesHead {
        method: request.method,
        round: request.round,
        sequence: request.sequence,
        checksum_kind: request.checksum_kind,
        checksum: request.checksum,
    };
    head.encode(PageSize::Kib4, &request.runs, &request.segments, out).expect("a small frame");
}

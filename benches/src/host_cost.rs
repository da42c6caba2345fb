//! What the host pays for a request of a device, from composing it to recycling it, with a device that takes no time.

use std::sync::Arc;

use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::codec::deflate::Window;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::idxd::dsa::{Dsa, DsaConfig};
use pageferry_accel::idxd::iaa::{Iaa, IaaConfig};
use pageferry_accel::method::Method;
use pageferry_accel::pool::{Pool, PoolSize};
use pageferry_accel::qat::{Qat, QatConfig, section};
use pageferry_accel::queue::{Accelerator, Attachment, Completion, Queue};
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::frame::PagesHead;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::SenderConfig;
use pageferry_qat_stand_in::config::Memory;
use pageferry_qat_stand_in::{Config, StandIn};

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

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Deltas by a device that has create-delta.
    Dsa,
    /// Deflate in pieces, each verified.
    Iaa,
    /// Deflate of all runs at once, by the vendor's library. What is left of it is the driver's own part: the stand-in for
    /// the library counts as the device.
    Qat,
}

/// An accelerator whose device takes no time, and how many ticks the CPU has been the device, or its library.
struct Rig {
    accelerator: Arc<dyn Accelerator>,
    ticks: Box<dyn Fn() -> u64>,
}

impl Kind {
    fn rig(self) -> Rig {
        match self {
            Self::Dsa | Self::Iaa => {
                let kind = if self == Self::Dsa { InstantKind::Dsa } else { InstantKind::Iaa };
                let device = InstantDevice::new(kind);
                let served = device.clone();
                Rig { accelerator: idxd(kind, device), ticks: Box::new(move || served.ticks()) }
            }
            Self::Qat => {
                let stand_in = instant_stand_in();
                let config = QatConfig { requests: REQUESTS, ..QatConfig::default() };
                let qat = Qat::new(stand_in.library(), &section(), config).expect("an instance");
                Rig { accelerator: Arc::new(qat), ticks: Box::new(move || stand_in.ticks_inside()) }
            }
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Dsa => Method::Delta,
            Self::Iaa | Self::Qat => Method::Deflate,
        }
    }

    fn keeps_baselines(self) -> bool {
        self.method().needs_baseline()
    }
}

fn idxd(kind: InstantKind, device: InstantDevice) -> Arc<dyn Accelerator> {
    match kind {
        InstantKind::Dsa => Arc::new(
            Dsa::new(Arc::new(device), DsaConfig { requests: REQUESTS, ..DsaConfig::default() })
                .expect("a DSA"),
        ),
        InstantKind::Iaa => Arc::new(
            Iaa::new(Arc::new(device), IaaConfig { requests: REQUESTS, ..IaaConfig::default() })
                .expect("an IAA"),
        ),
    }
}

/// A stand-in whose operations are done when they are submitted, and which takes addresses of this process.
fn instant_stand_in() -> StandIn {
    let folder = tempfile::tempdir().expect("a folder for the library");
    let config = Config { instances: 1, instant: true, memory: Memory::Shared, ..Config::default() };
    StandIn::load(folder.path(), config)
}

/// What one request costs; `guest` has no zero page.
///
/// # Panics
/// If the accelerator does not do what it is made for.
#[must_use]
pub fn host_cost(guest: &Arc<GuestRam>, kind: Kind) -> HostCost {
    let Rig { accelerator, ticks } = kind.rig();
    let config = SenderConfig::new(MigrationId([0; 16]), Selector::fixed(kind.method()));
    let baseline_bytes = if kind.keeps_baselines() { usize::try_from(guest.bytes()).unwrap_or(0) } else { 0 };
    let config = SenderConfig { max_pages: PAGES, baseline_bytes, ..config };
    let sender = host_cpu(guest, accelerator, config, || ticks_to_seconds(ticks())) * f64::from(PAGES.0);
    HostCost { stages: stages(guest, kind), sender }
}

/// The stages of one request, which goes through one queue again and again, alone: medians of five.
fn stages(guest: &Arc<GuestRam>, kind: Kind) -> Stages {
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
    kind: Kind,
    device_ticks: Box<dyn Fn() -> u64>,
    pool: Pool,
    baselines: BaselineCache,
    queue: Box<dyn Queue>,
    completions: Vec<Completion>,
    head: Vec<u8>,
}

impl Bench {
    fn new(guest: &Arc<GuestRam>, kind: Kind) -> Self {
        let Rig { accelerator, ticks } = kind.rig();
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
        Self { kind, device_ticks: ticks, pool, baselines, queue, completions, head }
    }

    /// Sends a request through, and adds what its stages took, without the device's own part.
    fn turn(&mut self, spent: &mut [u64; 5]) {
        let mut times = [0; 6];
        let now = |device_ticks: &dyn Fn() -> u64| ticks() - device_ticks();
        times[0] = now(&self.device_ticks);
        let request = self.request();
        times[1] = now(&self.device_ticks);
        self.queue.submit(request).expect("an idle queue");
        times[2] = now(&self.device_ticks);
        while self.completions.is_empty() {
            self.queue.poll(&mut self.completions);
        }
        times[3] = now(&self.device_ticks);
        let Completion { mut request, result } = self.completions.remove(0);
        result.expect("a device that does all it is asked");
        self.head.clear();
        frame(&request, &mut self.head);
        times[4] = now(&self.device_ticks);
        request.baselines.drain(..).flatten().for_each(|baseline| self.baselines.give_back(baseline));
        self.pool.put(request);
        times[5] = now(&self.device_ticks);
        for (sum, pair) in spent.iter_mut().zip(times.windows(2)) {
            *sum += pair[1] - pair[0];
        }
    }

    /// A few runs, as a guest's dirty pages lie.
    fn request(&mut self) -> Box<Request> {
        let mut request = self.pool.take().expect("the only request");
        request.reset(Direction::Encode);
        request.method = self.kind.method();
        let runs = [(0, 20), (40, 1), (50, 30), (100, 12)];
        request.runs.extend(runs.map(|(first, count)| Run::data(PageIndex(first), PageCount(count))));
        if self.kind.keeps_baselines() {
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

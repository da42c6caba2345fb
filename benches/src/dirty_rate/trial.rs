//! One migration of a guest that writes at a set rate, over a link that is held to a rate of its own.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ferryvm::{FerryVm, Fill, GuestChoice, GuestKind, Layout, Pattern, Rate, Watch, Workload};
use pageferry_accel::method::Method;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::migration::{
    Arrival, Completed, ConvergenceConfig, DestinationConfig, Ended, Event, Happening, Migration,
    MigrationError, OnStall, SourceConfig, State, Whereabouts,
};
use pageferry_engine::receiver::Host;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::SenderConfig;
use pageferry_engine::transport::{Address, Dialer, Listener, PeerLimits, Security};
use pageferry_engine::vm::Vm;
use pageferry_tests::peers;
use pageferry_tests::proxy::{Address as ProxyAddress, Plan, Proxy};
use serde::Serialize;

use crate::clock::{Others, cpus, process_cpu};

/// What is migrated, and over what.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What runs the guest.
    pub guest: GuestChoice,
    /// What it writes.
    pub pattern: Pattern,
    /// How its pages are encoded.
    pub method: Method,
    /// How many pages it writes to.
    pub working_set_pages: u64,
    /// What the link carries each way, all connections together.
    pub link_bytes_per_s: u64,
    /// How long the guest may stand still.
    pub downtime_limit: Duration,
}

/// What came of one migration.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// What ran the guest.
    pub guest: GuestKind,
    /// How many pages a second it was to write.
    pub asked_pages_per_s: u64,
    /// How many it wrote, from the first round to the switchover, or to the end of a migration that stalled.
    pub written_pages_per_s: f64,
    /// How many different pages a second were found dirty after the last round before the switchover.
    pub dirty_pages_per_s: f64,
    /// How many a second were sent, as the migration last saw it.
    pub sent_pages_per_s: f64,
    /// How many it writes to.
    pub working_set_pages: u64,
    /// What the guest's stop was like, if it moved.
    pub downtime: Option<Downtime>,
    /// How long it was expected to stand still, had it been stopped after the last round, in milliseconds.
    pub expected_ms: f64,
    /// Why it did not move.
    pub stayed: Option<String>,
    /// Rounds before the switchover.
    pub rounds: u32,
    /// How long the migration took, until it stalled or switched over.
    pub seconds: f64,
    /// After the first round: bytes on the wire a page.
    pub wire_bytes_per_page: f64,
    /// After the first round: the share of the link that was used.
    pub link_share: f64,
    /// After the first round: the share of this machine's CPUs that both ends, the guest and the link took.
    pub cpu_share: f64,
    /// The share of this machine's CPUs that others took during the migration, if that is known.
    pub others_cpu_share: Option<f64>,
}

/// The guest's stop, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Downtime {
    /// What the source expected when it decided.
    pub expected_ms: f64,
    /// As the source reports it.
    pub reported_ms: f64,
    /// As the guest felt it: from its last heartbeat at the source to its first one at the destination.
    pub felt_ms: f64,
}

impl Trial {
    /// Whether the guest wrote nine tenths of what it was to. One that has no CPU to write with shows nothing at that rate.
    #[must_use]
    pub fn wrote_as_asked(&self) -> bool {
        self.written_pages_per_s >= 0.9 * self.asked_pages_per_s as f64
    }
}

impl Downtime {
    /// How far the guest and the source are apart.
    #[must_use]
    pub fn deviation_ms(&self) -> f64 {
        (self.felt_ms - self.reported_ms).abs()
    }

    /// Whether they are within 10% or 10 ms.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.deviation_ms() <= (self.reported_ms / 10.0).max(10.0)
    }
}

/// A migration that should have moved the guest or left it, and did neither, or lost something.
pub type Broken = String;

/// Connections at once, and CPU workers at each end.
pub const CONNECTIONS: u16 = 2;
/// A migration that takes longer is ended, and has not worked.
const LONGEST: Duration = Duration::from_secs(120);
/// How long a guest may take to write all its pages once, or to prove them.
const PATIENCE: Duration = Duration::from_secs(120);
const PAGE_BYTES: u64 = 4096;

/// Migrates a guest that writes `rate` pages a second. Whether it moves within the downtime limit is in what comes of it.
///
/// # Errors
/// If anything but the rate keeps it from moving, or if what moved is not whole.
pub fn migrate(setting: &Setting, rate: u64) -> Result<Trial, Broken> {
    let folder = tempfile::tempdir().map_err(words)?;
    let link = Link::open(folder.path(), setting.link_bytes_per_s)?;
    let layout = layout(setting.working_set_pages)?;
    let mut source = source(setting, &layout)?;
    let kind = source.kind();
    source.set_rate(Rate::PagesPerSecond(rate));
    let before = source.watch();
    let receiving = receive(link.listener, &layout, kind)?;
    let log = Arc::new(Log::new(before.clone()));
    let others = Others::watch();
    let migration = begin(setting, source, link.dialer, &layout, &log)?;
    while !migration.state().is_end() && !log.is_over() {
        thread::sleep(Duration::from_millis(5));
    }
    if log.is_late() {
        migration.cancel();
    }
    let here = migration.wait();
    let others_cpu_share = others.share();
    let (there, after) = receiving.join().map_err(|_| "the destination's thread panicked".to_owned())??;
    drop(link.proxy);
    let outcome = outcome(&here, there, &before, &after)?;
    let (downtime, stayed) = match outcome {
        Ok(downtime) => (Some(downtime), None),
        Err(reason) => (None, Some(reason)),
    };
    let seen = log.seen(setting.link_bytes_per_s);
    Ok(Trial {
        guest: kind,
        asked_pages_per_s: rate,
        written_pages_per_s: seen.written_pages_per_s,
        dirty_pages_per_s: seen.dirty_pages_per_s,
        sent_pages_per_s: seen.sent_pages_per_s,
        working_set_pages: setting.working_set_pages,
        downtime,
        expected_ms: seen.expected_ms,
        stayed,
        rounds: seen.rounds,
        seconds: seen.seconds,
        wire_bytes_per_page: seen.wire_bytes_per_page,
        link_share: seen.link_share,
        cpu_share: seen.cpu_share,
        others_cpu_share,
    })
}

/// How many pages a second a guest writes that nobody migrates, as fast as it can.
///
/// # Errors
/// If there is no such guest here.
pub fn own_speed(setting: &Setting) -> Result<f64, Broken> {
    const FOR: Duration = Duration::from_secs(1);
    let layout = layout(setting.working_set_pages)?;
    let mut vm = source(setting, &layout)?;
    vm.set_rate(Rate::Unlimited);
    let watch = vm.watch();
    let (begun, before) = (Instant::now(), written(&watch));
    thread::sleep(FOR);
    Ok((written(&watch) - before) as f64 / begun.elapsed().as_secs_f64())
}

/// The way between the two ends. All bytes of all connections pass through one proxy, which has one account for each way.
struct Link {
    dialer: Dialer,
    listener: Listener,
    proxy: Proxy,
}

impl Link {
    /// Over Unix sockets, which hold little: what lies in a socket has not passed the link yet.
    fn open(folder: &Path, bytes_per_s: u64) -> Result<Self, Broken> {
        let (near, far) = (folder.join("near"), folder.join("far"));
        let listener =
            Listener::bind(&Address::Unix(far.clone()), Security::Plain, None, PeerLimits::default())
                .map_err(words)?;
        let plan = Plan::limited(bytes_per_s);
        let proxy = Proxy::start(&ProxyAddress::Unix(near.clone()), &ProxyAddress::Unix(far), plan);
        let dialer = Dialer::new(Address::Unix(near), Security::Plain, None).map_err(words)?;
        Ok(Self { dialer, listener, proxy: proxy.map_err(words)? })
    }
}

/// Memory for so many pages to write, for the guest's account of them, and for its program.
fn layout(working_set_pages: u64) -> Result<Layout, Broken> {
    const LARGE_PAGE: u64 = 2 << 20;
    let bytes = working_set_pages * (PAGE_BYTES + 8) + 2 * LARGE_PAGE;
    Layout::of_size(bytes.next_multiple_of(LARGE_PAGE).max(64 << 20)).map_err(words)
}

/// A guest that runs, and all of whose pages hold what they are to hold for a migration to be like any other.
fn source(setting: &Setting, layout: &Layout) -> Result<FerryVm, Broken> {
    let workload = Workload {
        pattern: setting.pattern,
        rate: Rate::Unlimited,
        seed: 43,
        // What a sparse write leaves of a page is nothing that compression could shrink.
        fill: Fill::Random,
        working_set_pages: Some(setting.working_set_pages),
    };
    let mut vm = FerryVm::source(layout.clone(), 1, &workload, setting.guest).map_err(words)?;
    vm.resume().map_err(words)?;
    // A pattern that overwrites whole pages has to have overwritten them all.
    let wanted = if setting.pattern == Pattern::Sparse { 1 } else { setting.working_set_pages };
    let until = Instant::now() + PATIENCE;
    while written(&vm.watch()) < wanted {
        if Instant::now() > until {
            return Err(format!("the guest did not write its {wanted} pages within {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(vm)
}

fn written(watch: &Watch) -> u64 {
    watch.heartbeat().map_or(0, |heartbeat| heartbeat.pages_written)
}

/// Brings how the destination ended, and its guest's watch.
type Receiving = JoinHandle<Result<(Ended, Watch), Broken>>;

/// The destination's end, on a thread of its own.
fn receive(listener: Listener, layout: &Layout, kind: GuestKind) -> Result<Receiving, Broken> {
    let choice = match kind {
        GuestKind::Kvm => GuestChoice::Kvm,
        GuestKind::Process => GuestChoice::Process,
    };
    let vm = FerryVm::destination(layout.clone(), choice).map_err(words)?;
    let accept = move || {
        let until = Instant::now() + PATIENCE;
        let config = DestinationConfig::default();
        let arrival = Arrival::wait(Box::new(listener), config, Some(until), Arc::new(|_| {}));
        let arrival = arrival.map_err(words)?.ok_or("no migration arrived")?;
        let watch = vm.watch();
        let migration = arrival.accept(Box::new(vm), Host::default(), peers::cpu()).map_err(words)?;
        Ok((migration.wait(), watch))
    };
    thread::Builder::new().name("destination".to_owned()).spawn(accept).map_err(words)
}

fn begin(
    setting: &Setting,
    source: FerryVm,
    dialer: Dialer,
    layout: &Layout,
    log: &Arc<Log>,
) -> Result<Migration, Broken> {
    let mut sender = SenderConfig::new(MigrationId(*b"dirty rate limit"), Selector::fixed(setting.method));
    if setting.method.needs_baseline() {
        sender.baseline_bytes = usize::try_from(layout.bytes()).map_err(words)?;
    }
    let mut config = SourceConfig::new(sender);
    config.connections = CONNECTIONS;
    config.convergence = ConvergenceConfig {
        downtime_limit: setting.downtime_limit,
        on_stall: OnStall::GiveUp,
        max_rounds: None,
    };
    let log = Arc::clone(log);
    let observer = Arc::new(move |event: &Event| log.note(event));
    Migration::start(Box::new(source), Box::new(dialer), peers::cpu(), config, observer).map_err(words)
}

/// The guest's stop, or why it was not stopped; an error if it is not where it should be, or not whole.
fn outcome(
    here: &Ended,
    there: Ended,
    before: &Watch,
    after: &Watch,
) -> Result<Result<Downtime, String>, Broken> {
    let completed = match &here.result {
        Ok(completed) => completed,
        Err(error @ (MigrationError::Stalled(_) | MigrationError::Cancelled)) => {
            if here.guest != Whereabouts::Here {
                return Err(format!("{error}, and the guest is {:?}", here.guest));
            }
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error.to_string()),
    };
    there.result.map_err(|error| format!("the destination says: {error}"))?;
    let felt = felt(after)?;
    let proof = after.prove(PATIENCE).map_err(words)?;
    if !proof.held || proof.pages_written < written(before) {
        return Err(format!("the guest's proof {proof}; it had written {} pages", written(before)));
    }
    let Completed { downtime, expected_downtime, .. } = completed;
    Ok(Ok(Downtime { expected_ms: ms(*expected_downtime), reported_ms: ms(*downtime), felt_ms: ms(felt) }))
}

fn felt(after: &Watch) -> Result<Duration, Broken> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(gap) = after.heartbeat().and_then(|heartbeat| heartbeat.gap_of_move) {
            return Ok(gap);
        }
        if Instant::now() > until {
            return Err(format!("no heartbeat at the destination within {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What the source's events say, and the clocks at the time.
struct Log {
    guest: Watch,
    marks: Mutex<Marks>,
    begun: Instant,
}

#[derive(Default)]
struct Marks {
    /// The begin of the first round, its end, and the ends of the last two.
    first: Option<Mark>,
    second: Option<Mark>,
    last_but_one: Option<Mark>,
    last: Option<Mark>,
    rounds: u32,
    over: bool,
}

#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    cpu: Duration,
    written: u64,
    /// That were not zero.
    pages: u64,
    wire_bytes: u64,
    left_pages: u64,
    sent_pages_per_s: f64,
    expected_ms: f64,
}

/// What the marks come to.
#[derive(Default)]
struct Seen {
    written_pages_per_s: f64,
    dirty_pages_per_s: f64,
    sent_pages_per_s: f64,
    expected_ms: f64,
    rounds: u32,
    seconds: f64,
    wire_bytes_per_page: f64,
    link_share: f64,
    cpu_share: f64,
}

impl Log {
    fn new(guest: Watch) -> Self {
        Self { guest, marks: Mutex::default(), begun: Instant::now() }
    }

    fn note(&self, event: &Event) {
        let mark = Mark {
            at: Instant::now(),
            cpu: process_cpu(),
            written: written(&self.guest),
            pages: event.pages,
            wire_bytes: event.wire_bytes,
            left_pages: event.left_pages,
            sent_pages_per_s: event.sent_pages_per_s,
            expected_ms: event.expected_downtime_ms.unwrap_or(f64::INFINITY),
        };
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        match (&event.what, event.state) {
            (Happening::State, State::Rounds) => marks.first = Some(mark),
            (Happening::Round, _) => {
                marks.second.get_or_insert(mark);
                marks.last_but_one = marks.last.or(marks.first);
                marks.last = Some(mark);
                marks.rounds += 1;
            }
            _ => {}
        }
        marks.over |= event.state.is_end();
    }

    fn is_late(&self) -> bool {
        self.begun.elapsed() > LONGEST
    }

    /// Whether there is nothing more to wait for.
    fn is_over(&self) -> bool {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).over || self.is_late()
    }

    fn seen(&self, link_bytes_per_s: u64) -> Seen {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let Marks {
            first: Some(first),
            second: Some(second),
            last_but_one: Some(before),
            last: Some(last),
            rounds,
            ..
        } = *marks
        else {
            return Seen::default();
        };
        let seconds = (last.at - first.at).as_secs_f64();
        // Where the first round was the only one, it is all there is to look at.
        let from = if rounds > 1 { second } else { first };
        let took = (last.at - from.at).as_secs_f64();
        let wire_bytes = (last.wire_bytes - from.wire_bytes) as f64;
        Seen {
            written_pages_per_s: (last.written - first.written) as f64 / seconds,
            dirty_pages_per_s: last.left_pages as f64 / (last.at - before.at).as_secs_f64(),
            sent_pages_per_s: last.sent_pages_per_s,
            expected_ms: last.expected_ms,
            rounds,
            seconds,
            wire_bytes_per_page: wire_bytes / (last.pages - from.pages).max(1) as f64,
            link_share: wire_bytes / took / link_bytes_per_s as f64,
            cpu_share: (last.cpu - from.cpu).as_secs_f64() / took / cpus(),
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

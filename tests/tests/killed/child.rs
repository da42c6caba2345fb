//! One end, in a process of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferryvm::{FerryVm, Fill, GuestChoice, Layout, Pattern, Rate, Watch, Workload};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_engine::dirty::DirtySource;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::migration::{
    Arbiter, Arrival, DestinationConfig, Ended, Event, FileArbiter, Happening, Migration, Observer, Patience,
    SourceConfig, State, Whereabouts,
};
use pageferry_engine::receiver::Host;
use pageferry_engine::transport::{Address, Dialer, Listener, PeerLimits, Security};
use pageferry_engine::vm::{Machine, Vm, VmError};
use pageferry_tests::peers;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{Moment, Role, claims};

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    recovery: Duration::from_secs(1),
    handover: Duration::from_secs(30),
};

/// Who is killed closes its connections: nobody waits so long.
const TIMEOUT: Duration = Duration::from_secs(10);

const MEMORY: u64 = 64 << 20;

/// A machine may be busy.
const PROOF: Duration = Duration::from_secs(60);

/// What an end is told by its environment.
#[derive(Clone)]
struct Orders {
    role: Role,
    folder: PathBuf,
    at: String,
}

/// Not a test, but what the tests start; by itself it does nothing.
#[test]
fn an_end() {
    let Ok(role) = env::var("PAGEFERRY_KILLED_ROLE") else { return };
    let role = if role == "source" { Role::Source } else { Role::Destination };
    let folder = env::var_os("PAGEFERRY_KILLED_FOLDER").expect("a folder").into();
    let orders = Orders { role, folder, at: env::var("PAGEFERRY_KILLED_AT").expect("a moment") };
    match role {
        Role::Source => source(&orders),
        Role::Destination => destination(&orders),
    }
}

/// Tells the test.
fn say(words: impl std::fmt::Display) {
    println!("> {words}");
}

impl Orders {
    /// Stands still if it is the moment, until the test says otherwise.
    fn pass(&self, moment: Moment) {
        if moment.role() == self.role && self.at == format!("{moment:?}") {
            say(format_args!("at {moment:?}"));
            std::io::stdin().read_line(&mut String::new()).expect("a pipe");
        }
    }

    fn observer(&self) -> Observer {
        let orders = self.clone();
        let seen = std::sync::atomic::AtomicBool::new(false);
        Arc::new(move |event: &Event| match event.what {
            Happening::State if event.state == State::Handshake => orders.pass(Moment::Handshake),
            Happening::Agreed { .. } => orders.pass(Moment::Agreed),
            Happening::Round if !seen.swap(true, std::sync::atomic::Ordering::SeqCst) => {
                orders.pass(Moment::Round);
            }
            Happening::Completed { .. } => {
                orders.pass(if orders.role == Role::Source { Moment::Heard } else { Moment::Runs });
            }
            _ => {}
        })
    }

    fn address(&self) -> Address {
        Address::Unix(self.folder.join("destination"))
    }
}

fn arbiter(folder: &Path) -> Option<Arc<dyn Arbiter>> {
    FileArbiter::new(claims(folder)).ok().map(|arbiter| Arc::new(arbiter) as _)
}

fn source(orders: &Orders) {
    let workload = Workload {
        pattern: Pattern::Random,
        rate: Rate::PagesPerSecond(2000),
        seed: 1,
        fill: Fill::Zero,
        working_set_pages: Some(500),
    };
    let mut vm =
        FerryVm::source(Layout::of_size(MEMORY).unwrap(), 2, &workload, GuestChoice::Process).unwrap();
    vm.resume().unwrap();
    let watch = vm.watch();
    let dialer = Dialer::new(orders.address(), Security::Plain, Some(TIMEOUT)).unwrap();
    let mut config = SourceConfig::new(peers::config(&[Method::Zstd, Method::Raw]));
    config.sender.migration = MigrationId([6; 16]);
    config.sender.max_bytes_per_s = Some(20_000_000);
    config.patience = PATIENCE;
    config.arbiter = arbiter(&orders.folder);
    let vm = Box::new(Watched { vm, orders: orders.clone() });
    say("begins");
    let migration = Migration::start(vm, Box::new(dialer), peers::cpu(), config, orders.observer()).unwrap();
    let ended = migration.wait();
    report(&ended, &watch);
}

fn destination(orders: &Orders) {
    let listener =
        Listener::bind(&orders.address(), Security::Plain, Some(TIMEOUT), PeerLimits::default()).unwrap();
    let config = DestinationConfig {
        patience: PATIENCE,
        arbiter: arbiter(&orders.folder),
        ..DestinationConfig::default()
    };
    say("listening");
    // A source that was killed before it came does not come.
    let until = Instant::now() + Duration::from_secs(if orders.at == "Handshake" { 3 } else { 30 });
    let arrival = Arrival::wait(Box::new(listener), config, Some(until), orders.observer()).unwrap();
    let Some(arrival) = arrival else { return say("fate never arrived") };
    starve("PAGEFERRY_KILLED_ROOM");
    let vm = match FerryVm::destination(Layout::of_size(MEMORY).unwrap(), GuestChoice::Process) {
        Ok(vm) => vm,
        Err(error) => {
            arrival.refuse(&error.to_string());
            say(error);
            return say("fate elsewhere");
        }
    };
    starve("PAGEFERRY_KILLED_ROOM_BESIDE");
    let watch = vm.watch();
    let vm = Box::new(Watched { vm, orders: orders.clone() });
    let ended = arrival.accept(vm, Host::default(), peers::cpu()).unwrap().wait();
    report(&ended, &watch);
}

/// Lets this process have so many MiB more than it has, if it is told so.
fn starve(by: &str) {
    let Ok(room) = env::var(by) else { return };
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 =
        status.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
    let room: u64 = room.parse().expect("a number of MiB");
    let bytes = Some(pages * u64::try_from(rustix::param::page_size()).expect("it is small") + (room << 20));
    setrlimit(Resource::As, Rlimit { current: bytes, maximum: bytes }).expect("less is always allowed");
}

/// Says what has become of the guest, which proves itself if it is here.
fn report(ended: &Ended, watch: &Watch) {
    match &ended.result {
        Ok(_) => say("it went well"),
        Err(error) => say(error),
    }
    match ended.guest {
        Whereabouts::There => say("fate elsewhere"),
        Whereabouts::InDoubt => say("fate in doubt"),
        Whereabouts::Here => {
            let before = watch.heartbeat().map_or(0, |heart| heart.pages_written);
            let proof = watch.prove(PROOF);
            let went_on = proof.as_ref().is_ok_and(|proof| proof.held && proof.pages_written >= before);
            let until = Instant::now() + PROOF;
            while watch.heartbeat().is_none_or(|heart| heart.pages_written <= before)
                && Instant::now() < until
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            let heart = watch.heartbeat();
            say(format_args!("{proof:?} {heart:?}"));
            let lives = heart.is_some_and(|heart| heart.counter_went_on && heart.pages_written > before);
            say(if went_on && lives { "fate proven" } else { "fate broken" });
        }
    }
    // What the test has not heard yet it has to hear from the pipe, not from a process that is gone.
    std::io::stdin().read_line(&mut String::new()).expect("a pipe");
}

/// A guest that stands still where a test wants it to.
struct Watched {
    vm: FerryVm,
    orders: Orders,
}

impl Vm for Watched {
    fn memory(&self) -> Arc<GuestRam> {
        self.vm.memory()
    }

    fn machine(&self) -> Machine {
        self.vm.machine()
    }

    fn dirty(&mut self) -> &mut dyn DirtySource {
        self.vm.dirty()
    }

    fn pause(&mut self) -> Result<(), VmError> {
        self.orders.pass(Moment::Pause);
        self.vm.pause()
    }

    fn resume(&mut self) -> Result<(), VmError> {
        self.orders.pass(Moment::Resume);
        self.vm.resume()
    }

    fn throttle(&mut self, percent: u8) -> Result<(), VmError> {
        self.vm.throttle(percent)
    }

    fn save_state(&mut self) -> Result<Vec<u8>, VmError> {
        self.orders.pass(Moment::Save);
        self.vm.save_state()
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), VmError> {
        self.orders.pass(Moment::Load);
        self.vm.load_state(state)
    }
}

//! One migration of one guest, and what must hold after it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ferryvm::{
    FerryVm, Fill, GuestChoice, GuestKind, Heartbeat, HostChoice, Layout, Pattern, Rate, Watch, Workload,
};
use pageferry_accel::method::Method;
use pageferry_accel::queue::Accelerator;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::migration::{
    Arrival, Completed, DestinationConfig, Ended, Event, Migration, Observer, SourceConfig, Whereabouts,
};
use pageferry_engine::receiver::Host;
use pageferry_engine::transport::{Address, Dialer, Listener, PeerLimits, Security};
use pageferry_engine::vm::Vm;
use pageferry_tests::certificates::{Authority, security};
use pageferry_tests::peers;
use pageferry_tests::watchdog::Watchdog;

/// What the connections run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Unix,
    Tcp,
    Tls,
}

impl Over {
    pub const ALL: [Self; 3] = [Self::Unix, Self::Tcp, Self::Tls];
}

/// How a guest is migrated.
pub struct Trip {
    pub over: Over,
    pub connections: u16,
    pub methods: Vec<Method>,
    /// At the source.
    pub encoders: Vec<Arc<dyn Accelerator>>,
    /// At the destination.
    pub decoders: Vec<Arc<dyn Accelerator>>,
}

impl Trip {
    pub fn by(methods: &[Method]) -> Self {
        let methods = methods.to_vec();
        Self { over: Over::Unix, connections: 1, methods, encoders: peers::cpu(), decoders: peers::cpu() }
    }

    fn name(&self) -> String {
        let Self { over, connections, methods, .. } = self;
        format!("a migration by {methods:?} over {connections} connections of {over:?}")
    }
}

/// Downtimes that differ by more are not of the same thing. How near they are is for the benchmark to say.
const GROSS: Duration = Duration::from_secs(1);

pub const MEMORY: u64 = 64 << 20;

/// A wait of more than this is a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn kind_of(choice: GuestChoice) -> GuestKind {
    FerryVm::destination(Layout::of_size(MEMORY).unwrap(), choice).unwrap().kind()
}

/// A guest in the hands of a migration, and what the test sees of it.
pub struct Ferried {
    pub vm: Box<dyn Vm>,
    pub watch: Watch,
}

/// A guest that runs, writes 2000 pages a second, and has written some.
pub fn guest(choice: impl Into<HostChoice>, pattern: Pattern) -> Ferried {
    let workload = Workload {
        pattern,
        rate: Rate::PagesPerSecond(2000),
        seed: 1,
        fill: Fill::Random,
        working_set_pages: Some(1000),
    };
    let mut vm = FerryVm::source(Layout::of_size(MEMORY).unwrap(), 2, &workload, choice).unwrap();
    vm.resume().unwrap();
    let watch = vm.watch();
    wait_for("a guest at its beginning", &watch, |heart| heart.pages_written >= 50);
    Ferried { vm: Box::new(vm), watch }
}

/// Migrates the guest, and holds it to its own proof. Returns the destination's guest, and what the source says.
///
/// # Panics
/// If anything is not as it must be.
pub fn travel(trip: &Trip, ferried: Ferried, choice: impl Into<HostChoice>) -> (Ferried, Completed) {
    let choice = choice.into();
    let name = format!("{}, {choice:?}", trip.name());
    let _watchdog = Watchdog::over(name.clone());
    let Ferried { vm, watch: before } = ferried;
    let Ends { here, there, after } = carry(trip, vm, choice);
    let completed = here.result.unwrap_or_else(|error| panic!("{name}: the source says: {error}"));
    assert!(there.result.is_ok(), "{name}: the destination says: {:?}", there.result.err());
    assert_eq!((here.guest, there.guest), (Whereabouts::There, Whereabouts::Here), "{name}");

    let proof = after.prove(PATIENCE).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(proof.held, "{name}: {proof}");
    let left = before.heartbeat().unwrap();
    let felt = wait_for(&name, &after, |heart| heart.pages_written > left.pages_written);
    assert!(felt.counter_went_on, "{name}: {left:?}, then {felt:?}");
    let (reported, felt) = (completed.downtime, felt.gap_of_move.expect("hosts with a common clock"));
    println!("{name}: downtime reported {reported:?}, felt {felt:?}");
    assert!(reported.abs_diff(felt) < GROSS, "{name}: downtime reported {reported:?}, felt {felt:?}");
    let vm = there.vm.expect("the destination's thread has not died");
    (Ferried { vm, watch: after }, completed)
}

/// What both ends of a migration say.
pub struct Ends {
    pub here: Ended,
    pub there: Ended,
    /// Of the guest at the destination.
    pub after: Watch,
}

/// Migrates a guest to a machine as chosen.
pub fn carry(trip: &Trip, vm: Box<dyn Vm>, choice: HostChoice) -> Ends {
    let folder = tempfile::tempdir().unwrap();
    let (dialer, listener) = ends(trip.over, folder.path());
    let decoders = trip.decoders.clone();
    let there = thread::spawn(move || {
        let arrival =
            Arrival::wait(Box::new(listener), DestinationConfig::default(), None, nobody()).unwrap().unwrap();
        let regions: Vec<_> =
            arrival.offer().regions.as_slice().iter().map(|region| (region.gpa, region.bytes)).collect();
        let vm = FerryVm::destination(Layout::of_regions(&regions).unwrap(), choice).unwrap();
        let after = vm.watch();
        let host = Host { machine: Some(vm.machine()), available_bytes: Some(1 << 30) };
        (arrival.accept(Box::new(vm), host, decoders).unwrap().wait(), after)
    });
    let mut config = SourceConfig::new(peers::config(&trip.methods));
    config.sender.migration = MigrationId::random().unwrap();
    config.connections = trip.connections;
    let migration = Migration::start(vm, Box::new(dialer), trip.encoders.clone(), config, nobody()).unwrap();
    let here = migration.wait();
    let (there, after) = there.join().unwrap();
    Ends { here, there, after }
}

/// The guest's heart when it is as it should be.
fn wait_for(name: &str, watch: &Watch, is_so: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
    loop {
        assert!(watch.crash().is_none(), "{name}: the guest crashed: {:?}", watch.crash());
        match watch.heartbeat() {
            Some(heart) if is_so(&heart) => return heart,
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn ends(over: Over, folder: &std::path::Path) -> (Dialer, Listener) {
    let (dials, listens) = match over {
        Over::Unix | Over::Tcp => (Security::Plain, Security::Plain),
        Over::Tls => {
            let authority = Authority::new();
            (security(authority.dials("source"), None), security(authority.listens("127.0.0.1"), None))
        }
    };
    let address = match over {
        Over::Unix => Address::Unix(folder.join("destination.sock")),
        Over::Tcp | Over::Tls => Address::Tcp("127.0.0.1:0".to_owned()),
    };
    let listener = Listener::bind(&address, listens, Some(PATIENCE), PeerLimits::default()).unwrap();
    let dialer = Dialer::new(listener.address().clone(), dials, Some(PATIENCE)).unwrap();
    (dialer, listener)
}

fn nobody() -> Observer {
    Arc::new(|_: &Event| {})
}

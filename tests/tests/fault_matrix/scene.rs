//! One case: two ends, the network between them, and what goes wrong with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_accel::method::Method;
use pageferry_engine::connection::Connection;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::migration::{
    Arrival, DestinationConfig, Ended, Event, FileArbiter, Migration, Observer, Patience, SourceConfig,
};
use pageferry_engine::receiver::Host;
use pageferry_engine::transport::{Address, Dialer, Listen, Listener, PeerLimits, Security, TransportError};
use pageferry_tests::certificates::{Authority, security};
use pageferry_tests::peers;
use pageferry_tests::proxy::{self, Plan, Proxy};
use pageferry_tests::puppet::{Puppet, Refuses};
use pageferry_tests::watchdog::Watchdog;
use tempfile::TempDir;

use crate::moments::Trap;

/// Pages of each of the guest's two regions.
pub const PAGES: u64 = 150;

/// Short, so that a case ends soon whatever is lost.
pub const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(1000),
    recovery: Duration::from_millis(1000),
    handover: Duration::from_millis(2000),
};
pub const TIMEOUT: Duration = Duration::from_millis(600);

/// How long a destination waits for the migration to begin.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

/// What connections run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Tcp,
    Unix,
    Tls,
}

/// A case.
#[derive(Debug)]
pub struct Scene {
    /// What a failure is known by.
    pub name: String,
    pub wire: Wire,
    pub connections: u16,
    pub methods: Vec<Method>,
    pub has_arbiter: bool,
    /// How many pages of each region the guest writes to.
    pub hot_pages: u64,
    /// How long it rests between two writes.
    pub rest: Duration,
    pub max_bytes_per_s: Option<u64>,
    /// What the destination's VMM cannot do.
    pub refuses: Refuses,
    pub plan: Plan,
    /// What is done while the migration runs.
    pub trap: Option<Trap>,
}

/// How it went.
pub struct Over {
    pub scene: Scene,
    pub source: Puppet,
    pub destination: Puppet,
    pub here: Ended,
    /// None if no migration arrived.
    pub there: Option<Ended>,
    pub took: Duration,
    pub proxy: Arc<Proxy>,
    /// While it is there, the guest's CPU runs.
    pub _power: pageferry_tests::puppet::Power,
    _folder: TempDir,
}

impl Scene {
    /// Nothing goes wrong with an idle guest that has no arbiter.
    pub fn plain(name: impl Into<String>, wire: Wire) -> Self {
        Self {
            name: name.into(),
            wire,
            connections: 1,
            methods: vec![Method::Zstd, Method::Raw],
            has_arbiter: false,
            hot_pages: 0,
            rest: Duration::from_micros(200),
            max_bytes_per_s: None,
            refuses: Refuses::Nothing,
            plan: Plan::clean(),
            trap: None,
        }
    }

    /// Runs both ends until they have ended.
    pub fn play(self) -> Over {
        self.play_watched(|_, _| {})
    }

    /// The same; `watch` sees what the source does.
    pub fn play_watched(self, watch: impl Fn(&Proxy, &Event) + Send + Sync + 'static) -> Over {
        let _watchdog = Watchdog::over(format!("{self:?}"));
        let folder = tempfile::tempdir().unwrap();
        let source = Puppet::running(PAGES, self.hot_pages, self.rest);
        let destination = Puppet::waiting(PAGES);
        destination.refuse(self.refuses);
        let power = source.power();
        let (dialer, listener, proxy) = self.network(&folder);
        let proxy = Arc::new(proxy);
        let (on_source, on_destination) = match &self.trap {
            Some(trap) => trap.set(&proxy, &destination),
            None => (nobody(), nobody()),
        };
        let network = Arc::clone(&proxy);
        let on_source: Observer = Arc::new(move |event: &Event| {
            watch(&network, event);
            on_source(event);
        });
        let (config, there) = self.configs(&folder);
        let begun = Instant::now();
        let source_ended = Arc::new(AtomicBool::new(false));
        let receiving = {
            let (waiting, source_ended) = (destination.clone(), Arc::clone(&source_ended));
            thread::spawn(move || receive(waiting, listener, there, on_destination, source_ended))
        };
        let handle = Box::new(source.clone());
        let migration = Migration::start(handle, Box::new(dialer), peers::cpu(), config, on_source);
        let here = migration.unwrap().wait();
        source_ended.store(true, SeqCst);
        let there = receiving.join().expect("the destination's thread ends");
        let took = begun.elapsed();
        Over { scene: self, source, destination, here, there, took, proxy, _power: power, _folder: folder }
    }

    fn configs(&self, folder: &TempDir) -> (SourceConfig, DestinationConfig) {
        let mut config = SourceConfig::new(peers::config(&self.methods));
        config.sender.migration = MigrationId([5; 16]);
        config.sender.max_bytes_per_s = self.max_bytes_per_s;
        config.connections = self.connections;
        config.patience = PATIENCE;
        let mut there = DestinationConfig { patience: PATIENCE, ..DestinationConfig::default() };
        if self.has_arbiter {
            let arbiter = Arc::new(FileArbiter::new(folder.path()).unwrap());
            config.arbiter = Some(arbiter.clone());
            there.arbiter = Some(arbiter);
        }
        (config, there)
    }

    /// A listener, a proxy before it, and a dialer to the proxy.
    fn network(&self, folder: &TempDir) -> (Dialer, Listener, Proxy) {
        let (listens, dials) = match self.wire {
            Wire::Tcp | Wire::Unix => (Security::Plain, Security::Plain),
            Wire::Tls => {
                let authority = Authority::new();
                (
                    security(authority.listens("127.0.0.1"), Some("source")),
                    security(authority.dials("source"), None),
                )
            }
        };
        let path = |name| folder.path().join(name);
        let (at, behind) = match self.wire {
            Wire::Unix => (proxy::Address::Unix(path("proxy")), Address::Unix(path("destination"))),
            Wire::Tcp | Wire::Tls => (proxy::Address::loopback(), Address::Tcp("127.0.0.1:0".to_owned())),
        };
        let limits = PeerLimits { handshake: Duration::from_secs(1), ..PeerLimits::default() };
        let listener = Listener::bind(&behind, listens, Some(TIMEOUT), limits).unwrap();
        let behind = listener.address().to_string().parse().unwrap();
        let proxy = Proxy::start(&at, &behind, self.plan.clone()).unwrap();
        let at = proxy.address().to_string().parse().unwrap();
        (Dialer::new(at, dials, Some(TIMEOUT)).unwrap(), listener, proxy)
    }
}

/// The destination's end.
fn receive(
    vm: Puppet,
    listener: Listener,
    config: DestinationConfig,
    observer: Observer,
    source_ended: Arc<AtomicBool>,
) -> Option<Ended> {
    let until = Instant::now() + ARRIVES_WITHIN;
    let arrived = Arc::new(AtomicBool::new(false));
    let door = Door { listener, arrived: Arc::clone(&arrived), source_ended };
    let arrival = Arrival::wait(Box::new(door), config, Some(until), observer).ok().flatten()?;
    arrived.store(true, SeqCst);
    Some(arrival.accept(Box::new(vm), Host::default(), peers::cpu()).unwrap().wait())
}

/// A listener before which nobody waits for a source that is known to have ended before it arrived.
struct Door {
    listener: Listener,
    arrived: Arc<AtomicBool>,
    source_ended: Arc<AtomicBool>,
}

impl Listen for Door {
    fn accept(&mut self, within: Duration) -> Result<Option<Connection>, TransportError> {
        if self.source_ended.load(SeqCst) && !self.arrived.load(SeqCst) {
            return Err(TransportError::new("the source has ended"));
        }
        self.listener.accept(within)
    }
}

pub fn nobody() -> Observer {
    Arc::new(|_| {})
}

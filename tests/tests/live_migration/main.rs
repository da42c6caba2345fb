//! Live migration of a guest without a hypervisor, in one process: what happens to the guest whatever happens.

mod broken;
mod outcome;
mod switchover;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pageferry_accel::method::Method;
use pageferry_engine::migration::{
    Arrival, DestinationConfig, Ended, Event, Happening, Migration, MigrationError, Observer, Patience,
    SourceConfig, State, Whereabouts,
};
use pageferry_engine::receiver::Host;
use pageferry_tests::peers;
use pageferry_tests::puppet::Puppet;
use pageferry_tests::rendezvous::{Dialling, Line, Listening, rendezvous};
use pageferry_tests::watchdog::Watchdog;

/// Pages of each of the guest's two regions.
const PAGES: u64 = 1000;

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    recovery: Duration::from_secs(2),
    handover: Duration::from_secs(10),
};

/// Both ends of a migration that is about to begin.
struct Scene {
    source: Puppet,
    destination: Puppet,
    config: SourceConfig,
    there: DestinationConfig,
    dial: Dialling,
    listen: Listening,
    line: Line,
    _watchdog: Watchdog,
}

impl Scene {
    /// A guest that writes a page every 0.2 ms.
    fn new(what: &str) -> Self {
        let source = Puppet::running(PAGES, 200, Duration::from_micros(200));
        let (dial, listen, line) = rendezvous();
        let mut config = SourceConfig::new(peers::config(&[Method::Zstd, Method::Raw, Method::Xbzrle]));
        config.connections = 2;
        config.patience = PATIENCE;
        let there = DestinationConfig { patience: PATIENCE, ..DestinationConfig::default() };
        let destination = Puppet::waiting(PAGES);
        Self { source, destination, config, there, dial, listen, line, _watchdog: Watchdog::over(what) }
    }

    /// Begins; `on_source` and `on_destination` are told of events.
    fn begin(self, on_source: Observer, on_destination: Observer) -> Going {
        let Self { source, destination, config, there, dial, listen, line, _watchdog } = self;
        let waiting = destination.clone();
        let (accepted, cancel) = channel();
        let receiving = thread::spawn(move || {
            let until = Instant::now() + Duration::from_secs(5);
            let arrived = Arrival::wait(Box::new(listen), there, Some(until), on_destination).unwrap();
            let Some(arrival) = arrived else {
                return Ended { vm: None, guest: Whereabouts::There, result: Err(MigrationError::Cancelled) };
            };
            let migration = arrival.accept(Box::new(waiting), Host::default(), peers::cpu()).unwrap();
            // A test that does not ask for it has dropped its end.
            let _ = accepted.send(Box::new(migration.canceller()) as Box<dyn Fn() -> bool + Send>);
            migration.wait()
        });
        let handle = Box::new(source.clone());
        let migration = Migration::start(handle, Box::new(dial), peers::cpu(), config, on_source).unwrap();
        Going { source, destination, migration, receiving, cancel, line, _watchdog }
    }
}

/// A migration that is under way.
struct Going {
    source: Puppet,
    destination: Puppet,
    migration: Migration,
    receiving: JoinHandle<Ended>,
    cancel: Receiver<Box<dyn Fn() -> bool + Send>>,
    line: Line,
    _watchdog: Watchdog,
}

/// How both ends ended.
struct Over {
    source: Puppet,
    destination: Puppet,
    here: Ended,
    there: Ended,
    line: Line,
}

impl Going {
    /// Cancels the migration at the destination.
    fn cancel_destination(&self) {
        assert!(self.cancel.recv().expect("a migration arrives")());
    }

    fn wait(self) -> Over {
        let here = self.migration.wait();
        let there = self.receiving.join().expect("the destination's thread ends");
        Over { source: self.source, destination: self.destination, here, there, line: self.line }
    }
}

fn nobody() -> Observer {
    Arc::new(|_: &Event| {})
}

/// Does something the first time that the migration enters a state.
fn when(state: State, act: impl Fn() + Send + Sync + 'static) -> Observer {
    let done = std::sync::Once::new();
    Arc::new(move |event: &Event| {
        if event.state == state && matches!(event.what, Happening::State) {
            done.call_once(&act);
        }
    })
}

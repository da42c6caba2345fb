//! A network between the two ends of a migration that fails by a plan.
//!
//! A [`Proxy`] listens at an address of its own, dials the real one for each connection that it takes, and forwards both
//! ways. What its [`Plan`] says happens to the bytes on their way, at places that are counted in bytes and so are the
//! same in every run; a test can also cut and stall while it runs.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpListener;
//! use pageferry_tests::proxy::{Address, Proxy};
//!
//! let destination = TcpListener::bind("127.0.0.1:0")?;
//! let plan = "seed=1 corrupt c0 up @2 xor=20".parse()?;
//! let proxy = Proxy::start(&Address::loopback(), &Address::Tcp(destination.local_addr()?), plan)?;
//!
//! let Address::Tcp(address) = proxy.address() else { unreachable!() };
//! std::net::TcpStream::connect(address)?.write_all(b"abcde")?;
//! let mut arrived = String::new();
//! destination.accept()?.0.read_to_string(&mut arrived)?;
//! assert_eq!(arrived, "abCde");
//! assert_eq!(proxy.not_fired(), []);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod bucket;
mod connection;
mod entrance;
mod intake;
mod plan;
mod pump;
mod random;
mod script;
mod shared;
mod socket;
mod text;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

pub use address::{Address, AddressError};
pub use bucket::Bucket;
pub use connection::Flow;
pub use plan::{Close, Cut, Direction, Fault, Lasting, Link, Plan, Reorder, Scope, Stall, Stream, What};
pub use shared::{Cause, Fired};
pub use text::PlanError;

use shared::Shared;
use socket::{Listener, Wake};

/// A running proxy. When it is dropped, all its connections are reset and its threads have ended.
#[derive(Debug)]
pub struct Proxy {
    address: Address,
    shared: Arc<Shared>,
    entrance: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens at `at` and forwards to `target`, which needs to listen only when the first connection comes.
    ///
    /// # Errors
    /// What the system says of the address to listen at.
    pub fn start(at: &Address, target: &Address, plan: Plan) -> io::Result<Self> {
        let listener = Listener::open(at, receive_buffer(plan.link))?;
        let address = listener.address().clone();
        let shared = Arc::new(Shared::new(plan, target.clone(), Wake::new()?));
        let for_thread = Arc::clone(&shared);
        let entrance = thread::Builder::new()
            .name("proxy-entrance".into())
            .spawn(move || entrance::serve(&for_thread, listener))?;
        Ok(Self { address, shared, entrance: Some(entrance) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it does; its text is worth printing where a test fails.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// Cuts all connections, whatever the scope, and refuses new ones for as long as the cut says.
    pub fn cut_now(&self, cut: Cut) {
        self.shared.record(Cause::Asked(What::Cut(cut)));
        self.shared.cut(None, &cut);
    }

    /// Stalls all connections, whatever the scope, and those that come while it lasts.
    pub fn stall_now(&self, stall: Stall) {
        self.shared.record(Cause::Asked(What::Stall(stall)));
        self.shared.stall(None, &stall);
    }

    /// Ends all stalls, and takes new connections again.
    pub fn restore(&self) {
        self.shared.gate.open();
        let mut registry = self.shared.registry();
        registry.connections.iter().for_each(|connection| connection.gate.open());
        // Otherwise nobody waits for it, and a connection that is being dialled would be given up.
        if registry.down.take().is_some() {
            self.shared.wake.ring();
        }
    }

    /// What took effect until now, in order.
    #[must_use]
    pub fn fired(&self) -> Vec<Fired> {
        self.shared.log().clone()
    }

    /// What the plan has and has not taken effect until now.
    #[must_use]
    pub fn not_fired(&self) -> Vec<Fault> {
        let fired = self.fired();
        let has_fired =
            |fault: &Fault| fired.iter().any(|fired| fired.cause == Cause::Planned(fault.clone()));
        self.shared.plan.faults.iter().filter(|fault| !has_fired(fault)).cloned().collect()
    }

    /// How many connections it took until now; those that it refused, or for which nobody listened, do not count.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.registry().connections.len()
    }

    /// How many of them are still open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.registry().connections.iter().filter(|connection| connection.is_open()).count()
    }

    /// How many bytes of a stream passed until now.
    #[must_use]
    pub fn flow(&self, stream: Stream) -> Flow {
        let registry = self.shared.registry();
        let connection = registry.connections.get(stream.connection);
        connection.map_or(Flow::default(), |connection| connection.flow(stream.direction))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.end();
        self.entrance.take().into_iter().for_each(join);
        // One after the other, as a thread may leave another one behind.
        loop {
            let Some(thread) = self.shared.registry().threads.pop() else { return };
            join(thread);
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join()
        && !thread::panicking()
    {
        std::panic::resume_unwind(panic);
    }
}

/// A slow link's queue is short: what lies in it would look to the sender as if it had arrived.
fn receive_buffer(link: Link) -> Option<usize> {
    const TEN_MILLISECONDS: u64 = 100;
    let bytes = link.bytes_per_s? / TEN_MILLISECONDS;
    Some(usize::try_from(bytes).unwrap_or(usize::MAX).clamp(64 << 10, 1 << 20))
}

//! The destination's end: a reader a channel, the queues that decode, and a poller that verifies and recycles.

mod crossing;
mod error;
mod gate;
mod incoming;
mod reader;
mod seen;
mod watch;

use std::io;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::pool::{Pool, PoolSize};
use pageferry_accel::queue::{Accelerator, Attachment, requests_and_buffers};
use pageferry_accel::units::PageCount;

pub use crossing::ReceiveReport;
pub use error::ReceiveError;
pub use incoming::{Host, Incoming};
pub use watch::{Confirmed, ReceiveWatch};

use crate::connection::{Connection, Interrupt, Reader};
use crate::dispatcher::Dispatcher;
use crate::frame::Report;
use crate::handshake::Agreement;
use crate::poll;
use crossing::{Crossing, Recycler};
use reader::ChannelReader;

/// The destination's end of a migration's data path, made by [`Incoming::accept`].
pub struct Receiver {
    agreement: Agreement,
    crossing: Arc<Crossing>,
    connections: Vec<Connection>,
}

impl Receiver {
    fn open(
        ram: Arc<GuestRam>,
        accelerators: &[Arc<dyn Accelerator>],
        agreement: Agreement,
        interrupts: Vec<Interrupt>,
    ) -> Result<Self, ReceiveError> {
        let doorbell = Arc::new(Doorbell::default());
        let max_pages = PageCount(agreement.limits().max_pages);
        let (requests, spare) = requests_and_buffers(accelerators);
        // Every channel holds one request while it reads, and while the queues are full.
        let bound = requests + usize::from(agreement.channels);
        let pool = PoolSize { max_pages, page_size: ram.page_size(), initial: bound, bound, spare };
        let pool = Pool::new(pool).map_err(ReceiveError::Memory)?;
        let attachment = Attachment {
            ram,
            doorbell: Arc::clone(&doorbell),
            max_pages,
            payloads: Arc::clone(pool.arena()),
            baselines: None,
            deflate_window: agreement.deflate_window(),
        };
        let dispatcher = Dispatcher::open(accelerators, &attachment)?;
        let crossing = Crossing::new(&agreement, pool, dispatcher, doorbell, interrupts);
        Ok(Self { agreement, crossing: Arc::new(crossing), connections: Vec::new() })
    }

    fn over(self, connections: Vec<Connection>) -> Self {
        Self { connections, ..self }
    }

    /// What the two ends agreed on.
    #[must_use]
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// A look at what it does, from another thread, also after it has ended.
    #[must_use]
    pub fn watch(&self) -> ReceiveWatch {
        ReceiveWatch(Arc::clone(&self.crossing))
    }

    /// Connection 0, for what is said on it before the first frame.
    pub(crate) fn first_connection(&mut self) -> &mut Connection {
        &mut self.connections[0]
    }

    /// Receives until the source has finished, and hands the connections back.
    ///
    /// # Errors
    /// [`ReceiveError`] names the first thing that went wrong; the source was told. Guest memory then holds pages
    /// that were verified, but not all of them.
    pub fn run(self) -> Result<(ReceiveReport, Vec<Connection>), ReceiveError> {
        self.run_and_tell(&|_| {})
    }

    /// The same; `on_round` is told of every round that ended, by the thread that ended it.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_and_tell(
        self,
        on_round: &(dyn Fn(&Report) + Sync),
    ) -> Result<(ReceiveReport, Vec<Connection>), ReceiveError> {
        let Self { crossing, connections, .. } = self;
        let (mut readers, mut rest) = (Vec::new(), Vec::new());
        for Connection { reader, writer, interrupt, peer } in connections {
            readers.push(reader);
            rest.push((writer, interrupt, peer));
        }
        let (answers, interrupt, peer) = rest.remove(0);
        crossing.answer_on(answers);
        let readers = scope(|scope| receive(scope, &crossing, readers, on_round));
        let (report, answers) = crossing.land()?;
        rest.insert(0, (answers, interrupt, peer));
        let halves = readers.into_iter().zip(rest);
        let connections =
            halves.map(|(reader, (writer, interrupt, peer))| Connection { reader, writer, interrupt, peer });
        Ok((report, connections.collect()))
    }
}

/// Runs a thread a channel and the poller until all channels have ended, and hands the readers back.
fn receive<'scope>(
    scope: &'scope Scope<'scope, '_>,
    crossing: &'scope Crossing,
    readers: Vec<Reader>,
    on_round: &'scope (dyn Fn(&Report) + Sync),
) -> Vec<Reader> {
    let poller = spawn(scope, crossing, "poller".into(), move || {
        poll::run(&crossing.dispatcher, &crossing.doorbell, &mut Recycler::new(crossing));
    });
    let channels: Vec<_> = readers
        .into_iter()
        .enumerate()
        .map(|(channel, reader)| {
            let reader = ChannelReader::new(crossing, channel, reader, on_round);
            spawn(scope, crossing, format!("channel-{channel}"), move || reader.run())
        })
        .collect();
    let readers = channels.into_iter().flatten().filter_map(|thread| thread.join().ok()).collect();
    crossing.stop_poller();
    // A thread that panicked has failed the crossing before it ended.
    poller.into_iter().for_each(|thread| drop(thread.join()));
    readers
}

/// A thread that fails the crossing if it cannot start, or panics.
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    crossing: &'scope Crossing,
    name: String,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    let watched = move || {
        let _watch = Watch(crossing);
        body()
    };
    let spawned = Builder::new().name(name.clone()).spawn_scoped(scope, watched);
    spawned.map_err(|source: io::Error| crossing.fail(ReceiveError::Thread { name, source })).ok()
}

/// Lets the other threads go when this one panics.
struct Watch<'a>(&'a Crossing);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(ReceiveError::Panicked);
        }
    }
}

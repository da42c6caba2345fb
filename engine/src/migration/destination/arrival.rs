//! A migration that has arrived at the door: what it is, and whether it may come in.

use std::sync::Arc;
use std::time::Instant;

use pageferry_accel::queue::Accelerator;

use super::gather::{Wanted, gather};
use super::{Destination, Standing};
use crate::frame::End;
use crate::handshake::Offer;
use crate::migration::config::DestinationConfig;
use crate::migration::course::Course;
use crate::migration::error::MigrationError;
use crate::migration::handle::Migration;
use crate::migration::outages::Outages;
use crate::migration::state::{Happening, Observer, State};
use crate::receiver::{Confirmed, Host, Incoming};
use crate::transport::Listen;
use crate::vm::Vm;

/// A migration whose connections have all come, and that waits for the answer.
pub struct Arrival {
    incoming: Incoming,
    listen: Box<dyn Listen>,
    config: DestinationConfig,
    course: Arc<Course>,
}

impl Arrival {
    /// Waits for a migration to arrive, for ever or until `until`; `None` if none came.
    ///
    /// `listen` is kept for as long as the migration takes: connections that break are made anew. `observer` is told of
    /// connections that were turned away, and later of every event of the migration.
    ///
    /// # Errors
    /// [`MigrationError`] if no connection will ever come any more.
    pub fn wait(
        mut listen: Box<dyn Listen>,
        config: DestinationConfig,
        until: Option<Instant>,
        observer: Observer,
    ) -> Result<Option<Self>, MigrationError> {
        let course = Arc::new(Course::new(End::Destination, observer));
        let incoming = gather(&mut *listen, Wanted::First, until, config.patience.connect, &course)?;
        Ok(incoming.map(|incoming| Self { incoming, listen, config, course }))
    }

    /// What the source offers: the guest's memory, its CPU, and how pages will come.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        self.incoming.offer()
    }

    /// Refuses it, in words that the source's operator can act on.
    pub fn refuse(self, reason: &str) {
        self.incoming.refuse(reason);
        self.course.end(State::Failed, Happening::Failed { reason: format!("it was refused: {reason}") });
    }

    /// Lets it in, into `vm`, whose memory has the regions of the [`offer`](Self::offer) and is zero, or about to be. `host` is what
    /// the handshake holds the guest's needs against.
    ///
    /// `accelerators` are tried in their order; the last one, most often the CPU, is the one to fall back on.
    ///
    /// # Errors
    /// [`MigrationError::Thread`]. Whether the offer fits is found out on the way, and said by [`Migration::wait`].
    pub fn accept(
        self,
        vm: Box<dyn Vm>,
        host: Host,
        accelerators: Vec<Arc<dyn Accelerator>>,
    ) -> Result<Migration, MigrationError> {
        let Self { incoming, listen, config, course } = self;
        let destination = Destination {
            ram: vm.memory(),
            vm,
            host,
            listen,
            accelerators,
            outages: Outages::new(config.patience.recovery),
            has_claimed: false,
            config,
            migration: incoming.offer().migration,
            peer: incoming.peer().cloned(),
            attempt: incoming.offer().attempt,
            handover: 0,
            standing: Standing::Receiving { attempt: 0, confirmed: Confirmed::default() },
            still_since: Instant::now(),
        };
        Migration::spawn(course, "arrival", move |course| destination.run(course, incoming))
    }
}

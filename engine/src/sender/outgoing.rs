//! A migration that knocks at the destination: its offer, and what follows from the answer.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::queue::Accelerator;

use super::{SendError, Sender, SenderConfig};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::frame::{ChecksumSet, MAX_PAGES};
use crate::handshake::{self, Agreement, Answer, Offer, Versions, agree};
use crate::regions::Regions;

/// A migration that the destination has accepted, before anything of it is sent.
pub struct Outgoing {
    pub(super) agreement: Agreement,
    pub(super) connections: Vec<Connection>,
}

impl Outgoing {
    /// Makes the same offer on every connection, and agrees on what the destination answers.
    ///
    /// # Errors
    /// [`SendError`] if the two ends do not fit, or a connection fails.
    pub fn offer(
        ram: &GuestRam,
        accelerators: &[Arc<dyn Accelerator>],
        connections: Vec<Connection>,
        config: &SenderConfig,
    ) -> Result<Self, SendError> {
        Self::offer_within(Duration::MAX, ram, accelerators, connections, config)
    }

    /// The same to a destination that has so much time to answer, however little it sends at a time.
    pub(crate) fn offer_within(
        within: Duration,
        ram: &GuestRam,
        accelerators: &[Arc<dyn Accelerator>],
        mut connections: Vec<Connection>,
        config: &SenderConfig,
    ) -> Result<Self, SendError> {
        let count = connections.len();
        let channels = u16::try_from(count).map_err(|_| SendError::Connections(count))?;
        let mut offer = offer(ram, accelerators, channels, config)?;
        for (channel, connection) in (0..channels).zip(&mut connections) {
            offer.channel = channel;
            offer.write(connection)?;
        }
        let mut agreement = None;
        for connection in &mut connections {
            let answer = Answer::read(&mut Deadline::after(within, connection))?;
            agreement = Some(agree(&offer, &answer)?);
        }
        let agreement = agreement.ok_or(SendError::Connections(count))?;
        Ok(Self { agreement, connections })
    }

    /// What the two ends agreed on.
    #[must_use]
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Connection 0, for what is said on it before the first frame.
    pub(crate) fn first_connection(&mut self) -> &mut Connection {
        &mut self.connections[0]
    }

    /// Gets everything ready to send.
    ///
    /// # Errors
    /// [`SendError`] if an accelerator cannot be opened, or a method of the selector cannot be encoded here or decoded
    /// there.
    pub fn open(
        self,
        ram: Arc<GuestRam>,
        accelerators: &[Arc<dyn Accelerator>],
        config: SenderConfig,
    ) -> Result<Sender, SendError> {
        Sender::open(self, ram, accelerators, config)
    }
}

fn offer(
    ram: &GuestRam,
    accelerators: &[Arc<dyn Accelerator>],
    channels: u16,
    config: &SenderConfig,
) -> Result<Offer, SendError> {
    let max_pages = config.max_pages.0;
    if !(1..=MAX_PAGES).contains(&max_pages) {
        return Err(SendError::MaxPages(max_pages));
    }
    Ok(Offer {
        versions: Versions::SPOKEN,
        deflate_window_bits: config.deflate_window_bits,
        migration: config.migration,
        channel: 0,
        channels,
        max_pages,
        max_payload_bytes: max_pages << ram.page_size().shift(),
        methods: MethodSet::of(config.selector.methods()).with(Method::Zero).with(Method::Raw),
        checksums: ChecksumSet::all(),
        regions: Regions::of(ram)?,
        attempt: config.attempt,
        machine: config.machine.clone(),
        accelerators: handshake::in_words(accelerators),
    })
}

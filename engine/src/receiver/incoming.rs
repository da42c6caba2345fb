//! A migration that knocks: its offer, and the answer to it.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::MethodSet;
use pageferry_accel::queue::Accelerator;

use super::{ReceiveError, Receiver};
use crate::connection::{Connection, PeerIdentity};
use crate::deadline::Deadline;
use crate::frame::{ChecksumSet, MAX_PAGES};
use crate::handshake::{
    self, Answer, Capabilities, Channels, HandshakeError, Mismatch, Offer, Refusal, agree,
};
use crate::regions::Regions;
use crate::vm::Machine;

/// A migration that has made its offer and waits for the answer.
///
/// The first connection says how many there are; the others [`join`](Self::join) it. Then the destination looks at the
/// [`offer`](Self::offer), has memory of that layout ready, and accepts, or refuses.
pub struct Incoming {
    channels: Channels,
    /// In the order in which they came, with the channel each claims to be.
    connections: Vec<(u16, Connection)>,
    host: Host,
}

/// What the destination can give a guest beside the memory it receives into. What is not stated is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The processor that the guest will run on.
    pub machine: Option<Machine>,
    /// How much memory there is for the guest, what has been set aside for it included.
    pub available_bytes: Option<u64>,
}

impl Incoming {
    /// Reads the offer on the connection that came first.
    ///
    /// # Errors
    /// [`HandshakeError`] if it is none; the peer is told, and the connection is dropped.
    pub fn begin(connection: Connection) -> Result<Self, HandshakeError> {
        Self::begin_within(Duration::MAX, connection)
    }

    /// The same of a peer that has so much time for its offer, however little it sends at a time.
    pub(crate) fn begin_within(within: Duration, mut connection: Connection) -> Result<Self, HandshakeError> {
        let offer = read_offer(within, &mut connection)?;
        let channel = offer.channel;
        Ok(Self {
            channels: Channels::new(offer)?,
            connections: vec![(channel, connection)],
            host: Host::default(),
        })
    }

    /// How many connections are still to come.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.channels.missing().count()
    }

    /// Adds another connection of the same migration.
    ///
    /// # Errors
    /// [`HandshakeError`] if it is of another migration or of none, or if its peer is another than the first one's; the
    /// peer is told, that connection is dropped, and the others stay.
    pub fn join(&mut self, connection: Connection) -> Result<(), HandshakeError> {
        self.absorb(Self::begin(connection)?)
    }

    /// Adds the connections of another one that knocked.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub(crate) fn absorb(&mut self, newcomer: Self) -> Result<(), HandshakeError> {
        for (channel, mut connection) in newcomer.connections {
            let offer = Offer { channel, ..newcomer.channels.offer().clone() };
            let joined = self.check_peer(channel, &connection).and_then(|()| self.channels.join(&offer));
            if let Err(error) = joined {
                tell(&mut connection, &Answer::reject(Refusal::Channels, &error));
                return Err(error);
            }
            self.connections.push((channel, connection));
        }
        Ok(())
    }

    /// What the source offers.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        self.channels.offer()
    }

    /// Who makes it, if that was proven.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.connections.first().and_then(|(_, connection)| connection.peer())
    }

    /// Says what the guest finds here, for [`accept`](Self::accept) to hold against what it needs.
    #[must_use]
    pub fn on(self, host: Host) -> Self {
        Self { host, ..self }
    }

    /// Refuses the migration, in words that the source's operator can act on.
    pub fn refuse(mut self, reason: &str) {
        self.answer(&Answer::reject(Refusal::Unexpected, reason));
    }

    /// Accepts the migration into `ram` and gets everything ready to receive.
    ///
    /// `accelerators` are tried in their order; the last one, most often the CPU, is the one to fall back on.
    ///
    /// # Errors
    /// [`ReceiveError`] if connections are missing or the offer does not fit, in which case the source is told all of
    /// why, or if an accelerator cannot be opened.
    pub fn accept(
        mut self,
        ram: Arc<GuestRam>,
        accelerators: &[Arc<dyn Accelerator>],
    ) -> Result<Receiver, ReceiveError> {
        let missing = self.missing();
        if missing > 0 {
            let error = ReceiveError::Missing(missing);
            self.answer(&Answer::reject(Refusal::Channels, &error));
            return Err(error);
        }
        let local = capabilities(&ram, accelerators, self.offer().channels, &self.host)?;
        let answer = match self.offer().check(&local) {
            Ok(answer) => answer,
            Err(mismatches) => return Err(self.reject(&mismatches)),
        };
        let agreement = agree(self.offer(), &answer)?;
        self.connections.sort_by_key(|&(channel, _)| channel);
        let interrupts = self.connections.iter().map(|(_, connection)| Arc::clone(&connection.interrupt));
        match Receiver::open(ram, accelerators, agreement, interrupts.collect()) {
            Ok(receiver) => {
                self.answer(&answer);
                Ok(receiver.over(self.connections.into_iter().map(|(_, connection)| connection).collect()))
            }
            Err(error) => {
                self.answer(&Answer::reject(Refusal::Memory, &error));
                Err(error)
            }
        }
    }

    /// Whoever knows the migration's id but has another certificate, or none, is not part of it.
    fn check_peer(&self, channel: u16, connection: &Connection) -> Result<(), HandshakeError> {
        let first = self.peer();
        let found = connection.peer();
        if first == found {
            return Ok(());
        }
        let name = |peer: Option<&PeerIdentity>| {
            peer.map_or_else(|| "a peer that is not authenticated".to_owned(), ToString::to_string)
        };
        Err(HandshakeError::OtherPeer { channel, first: name(first), found: name(found) })
    }

    fn reject(&mut self, mismatches: &[Mismatch]) -> ReceiveError {
        let answer = Answer::reject_mismatches(mismatches);
        self.answer(&answer);
        match answer {
            Answer::Refused { refusal, text } => ReceiveError::Refused { refusal, text },
            Answer::Accepted(_) => unreachable!("a rejection is a refusal"),
        }
    }

    fn answer(&mut self, answer: &Answer) {
        self.connections.iter_mut().for_each(|(_, connection)| tell(connection, answer));
    }
}

fn read_offer(within: Duration, connection: &mut Connection) -> Result<Offer, HandshakeError> {
    let offer = Offer::read(&mut Deadline::after(within, &mut *connection));
    if let Err(error) = &offer {
        tell(connection, &Answer::reject(Refusal::Malformed, error));
    }
    offer
}

/// A connection that does not take the answer will be found broken by whoever reads from it next.
fn tell(connection: &mut Connection, answer: &Answer) {
    let _ = answer.write(connection);
}

/// The most memory that requests take, whatever the source asks for: channels, queues and large pages multiply.
const MAX_REQUEST_BYTES: usize = 512 << 20;

fn capabilities(
    ram: &GuestRam,
    accelerators: &[Arc<dyn Accelerator>],
    channels: u16,
    host: &Host,
) -> Result<Capabilities, ReceiveError> {
    let all: Vec<_> = accelerators.iter().map(|accelerator| accelerator.capabilities()).collect();
    let methods = all.iter().flat_map(|one| one.decode.iter()).fold(MethodSet::default(), MethodSet::with);
    let requests = all.iter().map(|one| one.queues * one.depth).sum::<usize>() + usize::from(channels);
    let pages = MAX_REQUEST_BYTES / requests.max(1) / ram.page_size().bytes();
    let max_pages = u32::try_from(pages).unwrap_or(MAX_PAGES).clamp(1, MAX_PAGES);
    Ok(Capabilities {
        deflate_window_bits: all.iter().map(|one| one.deflate_window_bits).max().unwrap_or(12),
        max_pages,
        max_payload_bytes: max_pages << ram.page_size().shift(),
        methods,
        checksums: ChecksumSet::all(),
        regions: Regions::of(ram)?,
        machine: host.machine.clone(),
        available_bytes: host.available_bytes,
        accelerators: handshake::in_words(accelerators),
    })
}

#[cfg(test)]
mod tests {
    use pageferry_accel::cpu::{Cpu, CpuConfig};
    use pageferry_accel::guest::AnonymousMemory;
    use pageferry_accel::units::{Gpa, PageSize};

    use super::*;

    #[test]
    fn the_largest_requests_on_the_most_channels_stay_within_the_memory_for_them() {
        let cpu: Vec<Arc<dyn Accelerator>> =
            vec![Arc::new(Cpu::new(CpuConfig { workers: 4, depth: 4, ..CpuConfig::default() }))];
        for (page_size, channels, max_pages) in [
            (PageSize::Kib4, 1, MAX_PAGES),
            (PageSize::Kib4, 64, MAX_PAGES),
            (PageSize::Kib64, 1, 481),
            (PageSize::Kib64, 64, 102),
        ] {
            let memory = AnonymousMemory::new(&[(Gpa(0), 1 << 20)]).unwrap();
            let ram = GuestRam::new(Arc::new(memory), page_size).unwrap();
            let capabilities = capabilities(&ram, &cpu, channels, &Host::default()).unwrap();
            assert_eq!(capabilities.max_pages, max_pages);
            let requests = 16 + usize::from(channels);
            assert!(requests * capabilities.max_payload_bytes as usize <= MAX_REQUEST_BYTES);
        }
    }
}

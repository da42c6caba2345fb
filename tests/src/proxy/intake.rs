//! Where a stream's bytes come from: its sender's socket, and the link behind it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Pair};
use super::plan::{Direction, Link};
use super::shared::Shared;
use super::socket::Broken;

/// The bytes of a stream at the far end of the link.
pub(super) enum Intake {
    /// As they are read.
    Direct(Tap),
    /// Read by another thread, and under way for a while.
    Delayed { arriving: Receiver<Arrival>, chunk: Vec<u8>, connection: Arc<Connection> },
}

/// Reads as fast as the link takes it.
pub(super) struct Tap {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    pair: Arc<Pair>,
    direction: Direction,
    buffer: Vec<u8>,
}

/// What arrives, and when.
pub(super) struct Arrival {
    due: Instant,
    bytes: Result<Vec<u8>, Broken>,
}

/// How many chunks are under way at once.
const UNDER_WAY: usize = 256;

/// Nobody sleeps for less: a few bytes too early are made up for by those that follow.
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);

impl Intake {
    pub(super) fn start(
        shared: &Arc<Shared>,
        connection: &Arc<Connection>,
        pair: &Arc<Pair>,
        direction: Direction,
    ) -> std::io::Result<Self> {
        let tap = Tap {
            shared: Arc::clone(shared),
            connection: Arc::clone(connection),
            pair: Arc::clone(pair),
            direction,
            buffer: vec![0; chunk_bytes(shared.plan.link)],
        };
        let latency = shared.plan.link.latency(direction);
        if latency.is_zero() {
            return Ok(Self::Direct(tap));
        }
        let (sending, arriving) = sync_channel(UNDER_WAY);
        let thread =
            thread::Builder::new().name("proxy-link".into()).spawn(move || tap.send(latency, &sending))?;
        shared.registry().threads.push(thread);
        Ok(Self::Delayed { arriving, chunk: Vec::new(), connection: Arc::clone(connection) })
    }

    /// The next bytes; none at the stream's end.
    pub(super) fn next(&mut self) -> Result<&mut [u8], Broken> {
        match self {
            Self::Direct(tap) => tap.next(),
            Self::Delayed { arriving, chunk, connection } => {
                let arrival = arriving.recv().map_err(|_| Broken::Woken)?;
                if connection.wake.wait_until(arrival.due) {
                    return Err(Broken::Woken);
                }
                *chunk = arrival.bytes?;
                Ok(chunk)
            }
        }
    }
}

impl Tap {
    fn next(&mut self) -> Result<&mut [u8], Broken> {
        let count = self.pair.sender(self.direction).read(&mut self.buffer, &self.connection.wake)?;
        self.connection.count_read(self.direction, count);
        if let Some(gone) = self.shared.take(self.direction, count)
            && gone > Instant::now() + SHORTEST_SLEEP
            && self.connection.wake.wait_until(gone)
        {
            return Err(Broken::Woken);
        }
        Ok(&mut self.buffer[..count])
    }

    /// Until the stream ends, or nobody waits for it any more.
    fn send(mut self, latency: Duration, sending: &SyncSender<Arrival>) {
        loop {
            let bytes = self.next().map(|bytes| bytes.to_vec());
            let last = bytes.as_ref().map_or(true, Vec::is_empty);
            let arrival = Arrival { due: Instant::now() + latency, bytes };
            if sending.send(arrival).is_err() || last {
                return;
            }
        }
    }
}

/// As much as passes in two milliseconds, so that connections take turns and nobody wakes up too often.
fn chunk_bytes(link: Link) -> usize {
    const MOST: usize = 256 << 10;
    let bytes = link.bytes_per_s.map_or(MOST, |rate| usize::try_from(rate / 500).unwrap_or(MOST));
    bytes.clamp(1 << 10, MOST)
}

//! The two ends of a migration, over real sockets.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::queue::Accelerator;
use pageferry_engine::connection::Connection;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::receiver::{Incoming, ReceiveError, ReceiveReport};
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::{SendError, Sender, SenderConfig};

use crate::certificates;
use crate::guest::{self, Noise};

/// Every method that can be asked for.
pub const METHODS: [Method; 6] =
    [Method::Raw, Method::Deflate, Method::Zstd, Method::Lz4, Method::Xbzrle, Method::Delta];

/// What connections run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A pair of Unix sockets.
    Unix,
    /// TCP over the loopback interface.
    Tcp,
    /// TLS over TCP, both sides authenticated.
    Tls,
}

/// One end of a connected pair, in the hands of somebody who does not play by the rules.
#[derive(Debug)]
pub enum Stream {
    /// Of a pair of Unix sockets.
    Unix(UnixStream),
    /// Of a TCP connection.
    Tcp(TcpStream),
}

/// A wait of more than a minute is a hang.
const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

impl Transport {
    /// Those whose bytes are what the two ends wrote.
    pub const ALL: [Self; 2] = [Self::Unix, Self::Tcp];

    /// Two connected ends, below TLS where there is any.
    ///
    /// # Panics
    /// If the system has no sockets to give.
    #[must_use]
    pub fn pair(self) -> (Stream, Stream) {
        match self {
            Self::Unix => {
                let (one, other) = UnixStream::pair().expect("a pair of sockets");
                (Stream::Unix(one), Stream::Unix(other))
            }
            Self::Tcp | Self::Tls => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
                let address = listener.local_addr().expect("a bound socket has an address");
                let one = TcpStream::connect(address).expect("somebody listens");
                let (other, _) = listener.accept().expect("somebody has connected");
                (Stream::Tcp(one), Stream::Tcp(other))
            }
        }
    }

    /// So many connections, by their ends.
    #[must_use]
    pub fn connections(self, count: usize) -> (Vec<Connection>, Vec<Connection>) {
        if self == Self::Tls {
            return certificates::connections(count);
        }
        let pair = || {
            let (source, destination) = self.pair();
            (source.connection(), destination.connection())
        };
        std::iter::repeat_with(pair).take(count).unzip()
    }
}

impl Stream {
    /// The end as the data path has it.
    ///
    /// # Panics
    /// If the socket takes no timeout.
    #[must_use]
    pub fn connection(self) -> Connection {
        match self {
            Self::Unix(stream) => Connection::unix(stream, TIMEOUT),
            Self::Tcp(stream) => Connection::tcp(stream, TIMEOUT),
        }
        .expect("a connected socket")
    }

    /// Says nothing more, and still listens.
    ///
    /// # Panics
    /// If the peer is gone already.
    pub fn shutdown_write(&self) {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
        .expect("a connected socket");
    }

    /// Another handle on the same end.
    ///
    /// # Panics
    /// If the process has no more handles.
    #[must_use]
    pub fn handle(&self) -> Self {
        match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone().expect("a handle")),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().expect("a handle")),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// So many connected pairs of Unix sockets.
#[must_use]
pub fn connections(count: usize) -> (Vec<Connection>, Vec<Connection>) {
    Transport::Unix.connections(count)
}

/// How many threads the CPU has at either end.
pub const WORKERS: u16 = 2;

/// The CPU with two workers, as a list of accelerators.
#[must_use]
pub fn cpu() -> Vec<Arc<dyn Accelerator>> {
    vec![Arc::new(Cpu::new(CpuConfig { workers: WORKERS.into(), ..CpuConfig::default() }))]
}

/// What a sender of these methods, in turn, is told.
///
/// # Panics
/// If there is no method.
#[must_use]
pub fn config(methods: &[Method]) -> SenderConfig {
    let selector = Selector::in_turn(methods.to_vec()).expect("a method");
    SenderConfig::new(MigrationId([7; 16]), selector)
}

/// A receiver that runs on a thread, and what comes of it.
pub type Receiving = thread::JoinHandle<Result<(ReceiveReport, Vec<Connection>), ReceiveError>>;

/// Runs a receiver into `ram` on a thread, on the CPU.
pub fn receive(ram: Arc<GuestRam>, connections: Vec<Connection>) -> Receiving {
    receive_by(cpu(), ram, connections)
}

/// Runs a receiver into `ram` on a thread.
pub fn receive_by(
    accelerators: Vec<Arc<dyn Accelerator>>,
    ram: Arc<GuestRam>,
    connections: Vec<Connection>,
) -> Receiving {
    thread::spawn(move || {
        let mut connections = connections.into_iter();
        let first = connections.next().ok_or(ReceiveError::Connections(0))?;
        let mut incoming = Incoming::begin(first)?;
        for connection in connections {
            incoming.join(connection)?;
        }
        incoming.accept(ram, &accelerators)?.run()
    })
}

/// A sender from `ram` over `connections`, on the CPU.
///
/// # Errors
/// What the sender says.
pub fn send(
    ram: &Arc<GuestRam>,
    connections: Vec<Connection>,
    config: SenderConfig,
) -> Result<Sender, SendError> {
    Sender::new(Arc::clone(ram), &cpu(), connections, config)
}

/// Sends all of `source`, then twice what its guest wrote since, which is two pages of three; compares the guests after each
/// round. Returns the pages that were written after the last.
///
/// # Panics
/// If a round fails, or the guests differ after it.
pub fn send_busy_rounds(sender: &mut Sender, source: &GuestRam, destination: &GuestRam) -> DirtyBitmap {
    let mut dirty = DirtyBitmap::all(source);
    let mut noise = Noise(5);
    for round in 0..3 {
        sender.send_round(&dirty).expect("a round is sent");
        assert_eq!(guest::first_difference(source, destination), None, "after round {round}");
        dirty.clear();
        for page in guest::pages(source).filter(|page| page.0 % 3 != 1) {
            guest::scribble(source, page, &mut noise);
            dirty.set(page);
        }
    }
    dirty
}

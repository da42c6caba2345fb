//! A proxy, and both ends of the connections that lead through it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_tests::guest::Noise;
use pageferry_tests::proxy::{Address, Direction, Proxy, Stream};
use pageferry_tests::watchdog::Watchdog;

pub const UP: Stream = Stream { connection: 0, direction: Direction::Up };
pub const DOWN: Stream = Stream { connection: 0, direction: Direction::Down };

/// Longer than anything here takes; who waits so long waits in vain.
pub const LONG: Duration = Duration::from_secs(60);
/// Long enough to see that nothing comes; too short for a machine's mood to matter, as nothing must come ever.
pub const MOMENT: Duration = Duration::from_millis(100);

/// The socket of either end.
pub trait Socket: Read + Write + Send {
    /// Nothing more will be written; of a connection that was cut, nothing is anyway.
    fn end(&self);
    fn wait_at_most(&self, time: Duration);
}

impl Socket for TcpStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("a time that is not 0");
        self.set_write_timeout(Some(time)).expect("a time that is not 0");
    }
}

impl Socket for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("a time that is not 0");
        self.set_write_timeout(Some(time)).expect("a time that is not 0");
    }
}

pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A proxy and what is around it.
pub struct Network {
    pub proxy: Proxy,
    pub listener: Listener,
    pub _folder: tempfile::TempDir,
    pub _watchdog: Watchdog,
}

impl Network {
    /// Over TCP, and over Unix sockets.
    pub fn both(plan: &str) -> [Self; 2] {
        [Self::new(plan, true), Self::new(plan, false)]
    }

    pub fn new(plan: &str, is_tcp: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (listener, at, target) = if is_tcp {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let target = Address::Tcp(listener.local_addr().expect("it is bound"));
            (Listener::Tcp(listener), Address::loopback(), target)
        } else {
            let target = folder.path().join("destination");
            let listener = UnixListener::bind(&target).expect("a new path");
            let at = Address::Unix(folder.path().join("proxy"));
            (Listener::Unix(listener), at, Address::Unix(target))
        };
        let proxy = Proxy::start(&at, &target, plan.parse().expect(plan)).expect("a proxy");
        let watchdog = Watchdog::over(format!("{plan} over {target}"));
        Self { proxy, listener, _folder: folder, _watchdog: watchdog }
    }

    pub fn dial(&self) -> io::Result<Box<dyn Socket>> {
        let socket: Box<dyn Socket> = match self.proxy.address() {
            Address::Tcp(address) => Box::new(TcpStream::connect(address)?),
            Address::Unix(path) => Box::new(UnixStream::connect(path)?),
        };
        socket.wait_at_most(LONG);
        Ok(socket)
    }

    pub fn accept(&self) -> Box<dyn Socket> {
        let socket: Box<dyn Socket> = match &self.listener {
            Listener::Tcp(listener) => Box::new(listener.accept().expect("the proxy dials").0),
            Listener::Unix(listener) => Box::new(listener.accept().expect("the proxy dials").0),
        };
        socket.wait_at_most(LONG);
        socket
    }

    /// Source and destination of a new connection.
    pub fn connect(&self) -> (Box<dyn Socket>, Box<dyn Socket>) {
        let before = self.proxy.connections();
        let pair = (self.dial().expect("the proxy listens"), self.accept());
        // Until then, a cut does not find it.
        wait_until("the proxy has taken it", || self.proxy.connections() > before);
        pair
    }

    /// Everything in the plan has happened, once each.
    pub fn assert_all_fired(&self) {
        assert_eq!(self.proxy.not_fired(), []);
        let fired = self.proxy.fired();
        assert_eq!(fired.len(), self.proxy.plan().faults.len(), "{fired:?}");
    }

    pub fn assert_that_all_is_closed(&self) {
        wait_until("all sockets are closed", || self.proxy.open_connections() == 0);
    }
}

pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}: not after {LONG:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A pattern without repetition that is seen anywhere.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut noise = Noise(u64::try_from(length).expect("no more than memory"));
    (0..length).map(|_| noise.byte()).collect()
}

/// Everything until the stream's end, or until it breaks.
pub fn read_all(socket: &mut dyn Read) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let error = socket.read_to_end(&mut bytes).err().map(|error| error.kind());
    (bytes, error)
}

pub fn read_exactly(socket: &mut dyn Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).expect("so many bytes");
    bytes
}

pub fn assert_nothing_comes(socket: &mut dyn Socket) {
    socket.wait_at_most(MOMENT);
    let outcome = socket.read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(outcome, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{outcome:?}");
    socket.wait_at_most(LONG);
}

/// What arrives of a pattern that is sent up, after which the stream ends.
pub fn send_up(network: &Network, sent: &[u8]) -> (Vec<u8>, Option<ErrorKind>) {
    let (mut source, mut destination) = network.connect();
    thread::scope(|threads| {
        threads.spawn(move || {
            // A cut makes it fail.
            let _ = source.write_all(sent);
            source.end();
            read_all(&mut *source)
        });
        let arrived = read_all(&mut *destination);
        drop(destination);
        arrived
    })
}

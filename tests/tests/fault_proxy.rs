//! The proxy does what its plan says, and nothing more: otherwise a migration that survives it has survived nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_tests::guest::Noise;
use pageferry_tests::proxy::{
    Address, Cause, Close, Cut, Direction, Flow, Lasting, Plan, Proxy, Scope, Stall, Stream, What,
};
use pageferry_tests::watchdog::Watchdog;

const UP: Stream = Stream { connection: 0, direction: Direction::Up };
const DOWN: Stream = Stream { connection: 0, direction: Direction::Down };

/// Longer than anything here takes; who waits so long waits in vain.
const LONG: Duration = Duration::from_secs(60);
/// Long enough to see that nothing comes; too short for a machine's mood to matter, as nothing must come ever.
const MOMENT: Duration = Duration::from_millis(100);

/// The socket of either end.
trait Socket: Read + Write + Send {
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

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A proxy and what is around it.
struct Network {
    proxy: Proxy,
    listener: Listener,
    _folder: tempfile::TempDir,
    _watchdog: Watchdog,
}

impl Network {
    /// Over TCP, and over Unix sockets.
    fn both(plan: &str) -> [Self; 2] {
        [Self::new(plan, true), Self::new(plan, false)]
    }

    fn new(plan: &str, is_tcp: bool) -> Self {
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

    fn dial(&self) -> io::Result<Box<dyn Socket>> {
        let socket: Box<dyn Socket> = match self.proxy.address() {
            Address::Tcp(address) => Box::new(TcpStream::connect(address)?),
            Address::Unix(path) => Box::new(UnixStream::connect(path)?),
        };
        socket.wait_at_most(LONG);
        Ok(socket)
    }

    fn accept(&self) -> Box<dyn Socket> {
        let socket: Box<dyn Socket> = match &self.listener {
            Listener::Tcp(listener) => Box::new(listener.accept().expect("the proxy dials").0),
            Listener::Unix(listener) => Box::new(listener.accept().expect("the proxy dials").0),
        };
        socket.wait_at_most(LONG);
        socket
    }

    /// Source and destination of a new connection.
    fn connect(&self) -> (Box<dyn Socket>, Box<dyn Socket>) {
        (self.dial().expect("the proxy listens"), self.accept())
    }

    /// Everything in the plan has happened, once each.
    fn assert_all_fired(&self) {
        assert_eq!(self.proxy.not_fired(), []);
        let fired = self.proxy.fired();
        assert_eq!(fired.len(), self.proxy.plan().faults.len(), "{fired:?}");
    }

    fn assert_that_all_is_closed(&self) {
        wait_until("all sockets are closed", || self.proxy.open_connections() == 0);
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}: not after {LONG:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A pattern without repetition that is seen anywhere.
fn pattern(length: usize) -> Vec<u8> {
    let mut noise = Noise(u64::try_from(length).expect("no more than memory"));
    (0..length).map(|_| noise.byte()).collect()
}

/// Everything until the stream's end, or until it breaks.
fn read_all(socket: &mut dyn Read) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let error = socket.read_to_end(&mut bytes).err().map(|error| error.kind());
    (bytes, error)
}

fn read_exactly(socket: &mut dyn Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).expect("so many bytes");
    bytes
}

fn assert_nothing_comes(socket: &mut dyn Socket) {
    socket.wait_at_most(MOMENT);
    let outcome = socket.read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(outcome, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{outcome:?}");
    socket.wait_at_most(LONG);
}

/// What arrives of a pattern that is sent up, after which the stream ends.
fn send_up(network: &Network, sent: &[u8]) -> (Vec<u8>, Option<ErrorKind>) {
    let (mut source, mut destination) = network.connect();
    thread::scope(|threads| {
        threads.spawn(move || {
            // A cut makes it fail.
            let _ = source.write_all(sent);
            source.end();
            read_all(&mut *source)
        });
        read_all(&mut *destination)
    })
}

#[test]
fn without_faults_all_bytes_of_many_connections_pass_untouched_both_ways() {
    for plan in ["", "link latency-up=3ms latency-down=1ms", "link bytes-per-s=400000000"] {
        for network in Network::both(plan) {
            let pairs: Vec<_> = (0..4).map(|_| network.connect()).collect();
            let (up, down) = (&pattern(8 << 20), &pattern(3 << 20));
            thread::scope(|threads| {
                for pair in pairs {
                    let (source, destination) = pair;
                    for (mut socket, sent, expected) in [(source, up, down), (destination, down, up)] {
                        threads.spawn(move || both_ways(&mut *socket, sent, expected));
                    }
                }
            });
            for connection in 0..4 {
                let flow = |direction| network.proxy.flow(Stream { connection, direction });
                let all = |bytes: &[u8]| {
                    let bytes = u64::try_from(bytes.len()).unwrap();
                    Flow { read: bytes, forwarded: bytes }
                };
                assert_eq!((flow(Direction::Up), flow(Direction::Down)), (all(up), all(down)));
            }
            assert_eq!(network.proxy.fired(), []);
            network.assert_that_all_is_closed();
        }
    }
}

/// Sends and receives at once, in turns that no side waits in, and ends in good order.
fn both_ways(socket: &mut dyn Socket, sent: &[u8], expected: &[u8]) {
    let chunk = 32 << 10;
    let (mut sending, mut arrived) = (sent.chunks(chunk), Vec::new());
    while let Some(bytes) = sending.next() {
        socket.write_all(bytes).expect("nothing cuts it");
        if arrived.len() < expected.len() {
            arrived.extend(read_exactly(socket, chunk.min(expected.len() - arrived.len())));
        }
    }
    socket.end();
    let (rest, error) = read_all(socket);
    arrived.extend(rest);
    assert_eq!(error, None);
    assert!(arrived == expected, "{} bytes arrived, not the {} sent", arrived.len(), expected.len());
}

#[test]
fn an_orderly_cut_delivers_all_bytes_before_it_and_none_after() {
    for network in Network::both("cut c0 up @123456 fin") {
        let sent = pattern(1 << 20);
        let (arrived, error) = send_up(&network, &sent);
        assert_eq!(error, None);
        assert!(arrived == sent[..123_456], "{} bytes arrived", arrived.len());
        network.assert_all_fired();
        network.assert_that_all_is_closed();
        assert_eq!(network.proxy.flow(UP).forwarded, 123_456);
    }
}

#[test]
fn a_reset_delivers_no_byte_after_it_and_both_sides_learn_of_it() {
    for (network, is_tcp) in Network::both("cut c0 up @1000").into_iter().zip([true, false]) {
        let (mut source, mut destination) = network.connect();
        let sent = pattern(1001);
        source.write_all(&sent[..999]).unwrap();
        assert!(read_exactly(&mut *destination, 999) == sent[..999]);
        assert_eq!(network.proxy.fired(), [], "one byte is missing yet");
        source.write_all(&sent[999..]).unwrap();
        let reset = is_tcp.then_some(ErrorKind::ConnectionReset);
        let (arrived, error) = read_all(&mut *destination);
        assert!(sent[999..1000].starts_with(&arrived), "{arrived:?} arrived");
        assert_eq!(error, reset, "destination");
        assert_eq!(read_all(&mut *source), (vec![], reset), "source");
        network.assert_all_fired();
        network.assert_that_all_is_closed();
    }
}

#[test]
fn a_cut_before_the_first_byte_needs_none() {
    for network in Network::both("cut c0 down @0 fin") {
        let (mut source, mut destination) = network.connect();
        assert_eq!(read_all(&mut *source), (vec![], None));
        assert_eq!(read_all(&mut *destination), (vec![], None));
        network.assert_all_fired();
    }
}

#[test]
fn a_cut_falls_on_its_own_connection_alone_unless_it_falls_on_all() {
    for (plan, others_live) in [("cut c1 up @1 fin", true), ("cut c1 up @1 fin all", false)] {
        for network in Network::both(plan) {
            let (mut first, mut second) = (network.connect(), network.connect());
            second.0.write_all(b"x").unwrap();
            assert_eq!(read_all(&mut *second.1), (b"x".to_vec(), None));
            first.0.write_all(b"y").unwrap();
            if others_live {
                assert_eq!(read_exactly(&mut *first.1, 1), b"y");
            } else {
                assert_eq!(read_all(&mut *first.1).0, b"");
            }
        }
    }
}

#[test]
fn after_an_outage_connections_are_refused_for_its_time_and_then_taken_again() {
    for network in Network::both("cut c0 up @5 all down=300ms, corrupt c1 up @0 xor=20") {
        let (mut source, mut destination) = network.connect();
        let begun = Instant::now();
        source.write_all(b"hello").unwrap();
        read_all(&mut *destination);
        let mut refused = 0;
        let mut again = loop {
            // The first ones may still be taken by a door that is about to close, and are reset.
            match network.dial().map(|mut socket| {
                let works = socket.write_all(b"again").is_ok();
                (works && network.proxy.connections() == 2).then_some(socket)
            }) {
                Ok(Some(socket)) => break socket,
                Ok(None) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                    refused += 1;
                }
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert!(begun.elapsed() >= Duration::from_millis(300), "taken after {:?}", begun.elapsed());
        assert!(refused > 0, "none of the dials during the outage was refused");
        let mut destination = network.accept();
        again.end();
        assert_eq!(read_all(&mut *destination), (b"Again".to_vec(), None));
        assert_eq!(read_all(&mut *again).0, b"");
        drop(again);
        network.assert_all_fired();
    }
}

#[test]
fn a_cut_at_run_time_falls_on_all_and_lasts_until_all_is_restored() {
    for network in Network::both("") {
        let mut pairs: Vec<_> = (0..3).map(|_| network.connect()).collect();
        let cut = Cut { close: Close::Orderly, scope: Scope::All, down: Lasting::Ever };
        network.proxy.cut_now(cut);
        for (source, destination) in &mut pairs {
            assert_eq!(
                (read_all(&mut **source), read_all(&mut **destination)),
                ((vec![], None), (vec![], None))
            );
        }
        wait_until("connections are refused", || network.dial().is_err());
        network.proxy.restore();
        let mut source = None;
        wait_until("connections are taken", || network.dial().is_ok());
        while network.proxy.connections() == 3 {
            source = network.dial().ok();
        }
        drop(source);
        let causes: Vec<Cause> = network.proxy.fired().into_iter().map(|fired| fired.cause).collect();
        assert_eq!(causes, [Cause::Asked(What::Cut(cut))]);
    }
}

#[test]
fn a_stall_holds_one_way_for_its_time_and_then_lets_all_pass() {
    for network in Network::both("stall c0 up @3 for=200ms") {
        let (mut source, mut destination) = network.connect();
        let begun = Instant::now();
        source.write_all(b"abcdef").unwrap();
        assert_eq!(read_exactly(&mut *destination, 3), b"abc");
        destination.write_all(b"answer").unwrap();
        assert_eq!(read_exactly(&mut *source, 6), b"answer", "the other way goes on");
        assert_eq!(read_exactly(&mut *destination, 3), b"def");
        assert!(begun.elapsed() >= Duration::from_millis(200), "after {:?}", begun.elapsed());
        network.assert_all_fired();
    }
}

#[test]
fn a_stall_for_ever_holds_both_ways_of_all_connections_and_closes_none() {
    for network in Network::both("stall c0 down @1 both all") {
        let (mut first, mut second) = (network.connect(), network.connect());
        first.1.write_all(b"ab").unwrap();
        assert_eq!(read_exactly(&mut *first.0, 1), b"a");
        second.0.write_all(b"c").unwrap();
        second.1.write_all(b"d").unwrap();
        assert_nothing_comes(&mut *first.0);
        assert_nothing_comes(&mut *second.0);
        assert_nothing_comes(&mut *second.1);
        network.assert_all_fired();
        network.proxy.restore();
        assert_eq!(read_exactly(&mut *first.0, 1), b"b");
        assert_eq!(read_exactly(&mut *second.1, 1), b"c");
        assert_eq!(read_exactly(&mut *second.0, 1), b"d");
    }
}

#[test]
fn a_stall_at_run_time_holds_the_way_that_it_says() {
    for network in Network::both("") {
        let (mut source, mut destination) = network.connect();
        let stall = Stall { direction: Some(Direction::Up), scope: Scope::All, lasting: Lasting::Ever };
        network.proxy.stall_now(stall);
        source.write_all(b"up").unwrap();
        destination.write_all(b"down").unwrap();
        assert_eq!(read_exactly(&mut *source, 4), b"down");
        assert_nothing_comes(&mut *destination);
        network.proxy.restore();
        assert_eq!(read_exactly(&mut *destination, 2), b"up");
    }
}

#[test]
fn a_truncated_stream_ends_while_its_sender_is_read_to_the_end_and_answered() {
    for network in Network::both("truncate c0 up @70000") {
        let (mut source, mut destination) = network.connect();
        let sent = pattern(4 << 20);
        thread::scope(|threads| {
            threads.spawn(|| {
                source.write_all(&sent).expect("more than all buffers hold is taken");
                source.end();
            });
            let (arrived, error) = read_all(&mut *destination);
            assert_eq!(error, None);
            assert!(arrived == sent[..70_000], "{} bytes arrived", arrived.len());
        });
        destination.write_all(b"answer").unwrap();
        destination.end();
        assert_eq!(read_all(&mut *source), (b"answer".to_vec(), None));
        let flow = network.proxy.flow(UP);
        assert_eq!(flow, Flow { read: 4 << 20, forwarded: 70_000 });
        network.assert_all_fired();
    }
}

#[test]
fn bytes_are_corrupted_dropped_and_repeated_where_the_plan_says_and_nowhere_else() {
    let sent = pattern(1 << 20);
    let (at, length) = (300_000, 5_000);
    let (before, those, after) = (&sent[..at], &sent[at..at + length], &sent[at + length..]);
    let changed: Vec<u8> =
        those.iter().enumerate().map(|(i, byte)| byte ^ [1, 0x80].get(i).unwrap_or(&0)).collect();
    for (plan, expected) in [
        ("corrupt c0 up @300000 xor=0180", [before, &changed, after].concat()),
        ("drop c0 up @300000 bytes=5000", [before, after].concat()),
        ("duplicate c0 up @300000 bytes=5000", [before, those, those, after].concat()),
    ] {
        for network in Network::both(plan) {
            let (arrived, error) = send_up(&network, &sent);
            assert_eq!(error, None, "{plan}");
            let differs = arrived.iter().zip(&expected).position(|(arrived, expected)| arrived != expected);
            assert_eq!((arrived.len(), differs), (expected.len(), None), "{plan}");
            network.assert_all_fired();
        }
    }
}

#[test]
fn a_stream_waits_until_another_has_overtaken_it() {
    for network in Network::both("reorder c0 up @3 after=c1 bytes=4 within=60s") {
        let (mut first, mut second) = (network.connect(), network.connect());
        first.0.write_all(b"abcdef").unwrap();
        assert_eq!(read_exactly(&mut *first.1, 3), b"abc");
        second.0.write_all(b"123").unwrap();
        assert_eq!(read_exactly(&mut *second.1, 3), b"123");
        assert_nothing_comes(&mut *first.1);
        assert_eq!(network.proxy.fired(), [], "it has not been overtaken yet");
        second.0.write_all(b"4").unwrap();
        assert_eq!(read_exactly(&mut *first.1, 3), b"def");
        network.assert_all_fired();
    }
}

#[test]
fn a_stream_that_nobody_overtakes_goes_on_after_a_while_and_says_that_it_was_not_overtaken() {
    for network in Network::both("reorder c0 up @3 after=c1 bytes=4 within=50ms") {
        assert_eq!(send_up(&network, b"abcdef"), (b"abcdef".to_vec(), None));
        assert_eq!(network.proxy.not_fired(), network.proxy.plan().faults);
    }
}

#[test]
fn a_link_lets_no_more_pass_than_its_rate_and_holds_each_byte_for_its_latency() {
    let plan = "link bytes-per-s=2000000 latency-up=50ms latency-down=20ms";
    for network in Network::both(plan) {
        let pairs = [network.connect(), network.connect()];
        let sent = &pattern(300_000);
        let begun = Instant::now();
        thread::scope(|threads| {
            for (mut source, mut destination) in pairs {
                threads.spawn(move || {
                    source.write_all(sent).unwrap();
                    source.end();
                    assert_eq!(read_all(&mut *source), (b"answer".to_vec(), None));
                });
                threads.spawn(move || {
                    assert!(read_all(&mut *destination) == (sent.clone(), None));
                    destination.write_all(b"answer").unwrap();
                });
            }
        });
        // Both together, less what is forgiven to who comes late; and once there and back.
        let at_least = Duration::from_millis(300 - 10 + 50 + 20);
        assert!(begun.elapsed() >= at_least, "{:?} is too fast for {plan}", begun.elapsed());
    }
}

#[test]
fn what_either_side_does_to_its_socket_the_other_side_learns() {
    let network = Network::new("", true);
    let (mut source, mut destination) = network.connect();
    source.write_all(b"unread").unwrap();
    wait_until("it has arrived", || network.proxy.flow(UP).forwarded == 6);
    destination.write_all(b"last words").unwrap();
    // Closed with bytes unread: a reset. What was said before is heard all the same.
    drop(destination);
    assert_eq!(read_all(&mut *source).0, b"last words");
    network.assert_that_all_is_closed();
}

#[test]
fn a_sender_is_not_kept_waiting_by_a_receiver_that_is_gone() {
    for network in Network::both("") {
        let (mut source, destination) = network.connect();
        drop(destination);
        let error = loop {
            if let Err(error) = source.write_all(&[0; 64 << 10]) {
                break error.kind();
            }
        };
        assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
        network.assert_that_all_is_closed();
    }
}

#[test]
fn who_dials_when_nobody_listens_behind_the_proxy_is_sent_away() {
    for network in Network::both("") {
        let Network { proxy, listener, _folder, _watchdog } = network;
        drop(listener);
        let mut socket: Box<dyn Socket> = match proxy.address() {
            Address::Tcp(address) => Box::new(TcpStream::connect(address).unwrap()),
            Address::Unix(path) => {
                std::fs::remove_file(_folder.path().join("destination")).unwrap();
                Box::new(UnixStream::connect(path).unwrap())
            }
        };
        socket.wait_at_most(LONG);
        assert_eq!(read_all(&mut *socket).0, b"");
        assert_eq!(proxy.connections(), 0);
    }
}

#[test]
fn a_dropped_proxy_leaves_no_connection_no_thread_and_no_address() {
    for plan in
        ["", "stall c0 up @0 both", "reorder c0 up @0 after=c9 bytes=1 within=999s", "link bytes-per-s=0"]
    {
        for latency in ["", " link latency-up=999s"] {
            let plan = if plan.starts_with("link") { plan.into() } else { format!("{plan}{latency}") };
            for network in Network::both(&plan) {
                let pairs: Vec<_> = (0..3).map(|_| network.connect()).collect();
                // Everything is stuck somewhere: on the way in, in the proxy, or on the way out, where nobody reads.
                thread::scope(|threads| {
                    for (mut source, destination) in pairs {
                        threads.spawn(move || {
                            while source.write_all(&[1; 1 << 20]).is_ok() {}
                            drop(destination);
                        });
                    }
                    let Network { proxy, listener, _folder, _watchdog } = network;
                    wait_until("something has come", || plan.contains("both") || proxy.flow(UP).read > 0);
                    let address = proxy.address().clone();
                    let begun = Instant::now();
                    drop(proxy);
                    assert!(begun.elapsed() < LONG, "{plan}: {:?}", begun.elapsed());
                    let left = match &address {
                        Address::Tcp(address) => TcpStream::connect(address).is_ok(),
                        Address::Unix(path) => path.exists(),
                    };
                    assert!(!left, "{plan}: {address} is still there");
                    drop(listener);
                });
            }
        }
    }
}

#[test]
fn streams_are_counted_apart() {
    let network = Network::new("", true);
    let (mut source, mut destination) = network.connect();
    source.write_all(b"four").unwrap();
    destination.write_all(b"sixsix").unwrap();
    read_exactly(&mut *destination, 4);
    read_exactly(&mut *source, 6);
    wait_until("all is counted", || network.proxy.flow(DOWN).forwarded == 6);
    wait_until("all is counted", || network.proxy.flow(UP).forwarded == 4);
    assert_eq!(network.proxy.flow(Stream { connection: 9, ..UP }), Flow::default());
}

#[test]
fn every_random_plan_ends_in_bytes_or_in_an_end() {
    for seed in 0..20 {
        let plan = Plan::random(seed, 2, 1 << 20);
        for network in Network::both(&plan.to_string()) {
            let pairs = [network.connect(), network.connect()];
            let sent = &pattern(1 << 20);
            thread::scope(|threads| {
                for (mut source, mut destination) in pairs {
                    // What is stalled for ever is given up; nothing depends on how soon.
                    source.wait_at_most(3 * MOMENT);
                    destination.wait_at_most(3 * MOMENT);
                    threads.spawn(move || {
                        let _ = source.write_all(sent);
                        source.end();
                        read_all(&mut *source)
                    });
                    threads.spawn(move || read_all(&mut *destination));
                }
            });
            assert!(network.proxy.fired().len() <= network.proxy.plan().faults.len(), "{plan}");
        }
    }
}

//! What the tests across crates share: guests, pairs of connections, and a migration from one to the other.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::queue::Accelerator;
use pageferry_accel::units::{Gpa, PageIndex, PageSize};
use pageferry_engine::connection::Connection;
use pageferry_engine::receiver::{Incoming, ReceiveError, ReceiveReport};
use pageferry_engine::sender::{SendError, Sender, SenderConfig};

/// A guest of two regions with a hole between, `pages` pages each.
#[must_use]
pub fn guest(pages: u64, page_size: PageSize) -> Arc<GuestRam> {
    let bytes = pages << page_size.shift();
    let memory = AnonymousMemory::new(&[(Gpa(0), bytes), (Gpa(1 << 32), bytes)]).expect("a small guest fits");
    Arc::new(GuestRam::new(Arc::new(memory), page_size).expect("whole pages"))
}

/// Every page of a guest, in order.
pub fn pages(ram: &GuestRam) -> impl Iterator<Item = PageIndex> {
    ram.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex))
}

/// Pages of text, zeros, noise and few set bytes in turn, from a seed.
pub fn fill(ram: &GuestRam, seed: u64) {
    let mut noise = Noise(seed | 1);
    let mut page_bytes = vec![0; ram.page_size().bytes()];
    for (number, page) in pages(ram).enumerate() {
        page_bytes.fill(0);
        match number % 4 {
            0 => page_bytes
                .iter_mut()
                .zip(b"a busy guest writes ".iter().cycle())
                .for_each(|(to, from)| *to = *from),
            1 => page_bytes.iter_mut().for_each(|byte| *byte = noise.byte()),
            2 => page_bytes.iter_mut().step_by(97).for_each(|byte| *byte = noise.byte()),
            _ => {}
        }
        ram.copy_in(page, &page_bytes);
    }
}

/// A small generator of repeatable noise (the multiplier of PCG's LCG).
#[derive(Clone, Debug)]
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.next_u64().to_be_bytes()[0]
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next_u64() >> 11) % end
    }
}

/// The first page in which two guests differ.
#[must_use]
pub fn first_difference(one: &GuestRam, other: &GuestRam) -> Option<PageIndex> {
    let (mut here, mut there) = (vec![0; one.page_size().bytes()], vec![0; one.page_size().bytes()]);
    pages(one).find(|&page| {
        one.copy_out(page, &mut here);
        other.copy_out(page, &mut there);
        here != there
    })
}

/// So many connected pairs of Unix sockets; a wait of more than half a minute is a hang.
#[must_use]
pub fn connections(count: usize) -> (Vec<Connection>, Vec<Connection>) {
    let timeout = Some(Duration::from_secs(30));
    let pair = || {
        let (source, destination) = UnixStream::pair().expect("a pair of sockets");
        let connection = |stream| Connection::unix(stream, timeout).expect("a connected socket");
        (connection(source), connection(destination))
    };
    std::iter::repeat_with(pair).take(count).unzip()
}

/// The CPU with two workers, as a list of accelerators.
#[must_use]
pub fn cpu() -> Vec<Arc<dyn Accelerator>> {
    vec![Arc::new(Cpu::new(CpuConfig { workers: 2, ..CpuConfig::default() }))]
}

/// Runs a receiver into `ram` on a thread.
pub fn receive(
    ram: Arc<GuestRam>,
    connections: Vec<Connection>,
) -> thread::JoinHandle<Result<(ReceiveReport, Vec<Connection>), ReceiveError>> {
    thread::spawn(move || {
        let mut connections = connections.into_iter();
        let first = connections.next().ok_or(ReceiveError::Connections(0))?;
        let mut incoming = Incoming::begin(first)?;
        for connection in connections {
            incoming.join(connection)?;
        }
        incoming.accept(ram, &cpu())?.run()
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

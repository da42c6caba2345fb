//! What goes wrong, and where.

use std::time::Duration;

/// Everything that a proxy does to what passes through it.
///
/// A plan has a text form, by which a test that failed can be run again:
///
/// ```
/// use pageferry_tests::proxy::Plan;
///
/// let plan: Plan = "seed=7 cut c1 up @123456 all down=500ms, noise c0 up @0 one-in=100000".parse()?;
/// assert_eq!(plan.faults.len(), 2);
/// assert_eq!(plan.to_string().parse(), Ok(plan));
/// # Ok::<(), pageferry_tests::proxy::PlanError>(())
/// ```
///
/// The forms are (`text.rs` has the grammar): `cut`, `stall`, `truncate`, `corrupt`, `noise`, `duplicate`, `drop`,
/// `reorder`, and `link` for how fast it all goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What noise comes from, and by what a random plan is known.
    pub seed: u64,
    /// How fast bytes pass.
    pub link: Link,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From who dialled, a migration's source.
    Up,
    /// From who listens, a migration's destination.
    Down,
}

/// The bytes of one connection that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// Which connection: they are numbered from 0, as the proxy took them.
    pub connection: usize,
    /// Which way.
    pub direction: Direction,
}

/// Something that goes wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose bytes are counted.
    pub stream: Stream,
    /// After how many bytes since the connection's start; 0 is before the first.
    pub offset: u64,
    /// What happens then.
    pub what: What,
}

/// What happens at a place in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Both sides lose their connection.
    Cut(Cut),
    /// Nothing is forwarded for a while, and nothing is closed.
    Stall(Stall),
    /// The receiver finds the stream's end; what the sender goes on to send is read and thrown away.
    Truncate,
    /// The bytes from here on are changed: each is combined by exclusive or with one of these.
    Corrupt(Vec<u8>),
    /// From here on, one byte in so many has one bit flipped, where the plan's seed says.
    Noise(u64),
    /// So many bytes are forwarded, and then once more.
    Duplicate(u64),
    /// So many bytes are not forwarded.
    Drop(u64),
    /// The stream waits until it was overtaken by another connection.
    Reorder(Reorder),
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How both sides learn of it.
    pub close: Close,
    /// Which connections.
    pub scope: Scope,
    /// How long new connections are refused afterwards.
    pub down: Lasting,
}

/// How both sides of a connection learn that it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// By a reset: what is still on its way may be lost. A Unix socket is closed, whatever is unread.
    Reset,
    /// By the stream's end, after all that was forwarded; who sends more is told a moment later that nobody reads it.
    Orderly,
}

/// Which connections a fault falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one whose bytes were counted.
    One,
    /// All that are open; of a stall, those too that come while it lasts.
    All,
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lasting {
    /// So long.
    For(Duration),
    /// As long as the proxy, or until it is told otherwise.
    Ever,
}

/// How bytes stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which way; both, if there is none.
    pub direction: Option<Direction>,
    /// Which connections.
    pub scope: Scope,
    /// How long.
    pub lasting: Lasting,
}

/// How a stream is overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorder {
    /// The connection that overtakes, the same way.
    pub after: usize,
    /// How many bytes it has forwarded by then, since its own start. If it already has, the stream does not wait.
    pub past: u64,
    /// How long it is waited for: a sender may have nothing more to send before the stream goes on.
    pub within: Duration,
}

/// How fast bytes pass, all connections together, each way for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How many bytes per second; none for as many as will.
    pub bytes_per_s: Option<u64>,
    /// How long they are under way to the one who listens.
    pub latency_up: Duration,
    /// How long they are under way to the one who dialled.
    pub latency_down: Duration,
}

impl Plan {
    /// Without faults.
    #[must_use]
    pub fn clean() -> Self {
        Self::default()
    }

    /// Without faults, over a link of so many bytes per second.
    #[must_use]
    pub fn limited(bytes_per_s: u64) -> Self {
        Self { link: Link { bytes_per_s: Some(bytes_per_s), ..Link::default() }, ..Self::default() }
    }

    /// With one more fault, after `offset` bytes of that connection.
    #[must_use]
    pub fn with(mut self, connection: usize, direction: Direction, offset: u64, what: What) -> Self {
        self.faults.push(Fault { stream: Stream { connection, direction }, offset, what });
        self
    }

    /// What happens to one stream, in order.
    pub(super) fn of(&self, stream: Stream) -> Vec<Fault> {
        let mut faults: Vec<_> = self.faults.iter().filter(|fault| fault.stream == stream).cloned().collect();
        faults.sort_by_key(|fault| fault.offset);
        faults
    }
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }
}

impl Cut {
    /// A reset of one connection, which can be made anew at once.
    pub const RESET: Self =
        Self { close: Close::Reset, scope: Scope::One, down: Lasting::For(Duration::ZERO) };

    /// As a network fails that comes back: all connections are reset, and none is to be had for a time.
    #[must_use]
    pub const fn outage(down: Duration) -> Self {
        Self { scope: Scope::All, down: Lasting::For(down), ..Self::RESET }
    }
}

impl Link {
    /// How long bytes are under way.
    #[must_use]
    pub const fn latency(&self, direction: Direction) -> Duration {
        match direction {
            Direction::Up => self.latency_up,
            Direction::Down => self.latency_down,
        }
    }
}

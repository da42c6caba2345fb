//! Faults in every state: the network fails at the moment at which an end enters it.

use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_accel::method::Method;
use pageferry_engine::migration::{Event, Happening, Observer, State};
use pageferry_tests::proxy::{Close, Cut, Direction, Lasting, Proxy, Scope, Stall, Stream};
use pageferry_tests::puppet::Puppet;

use crate::law::Outcome;
use crate::scene::{Scene, Wire, nobody};
use crate::{Tally, try_all};

/// When the network fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The source is about to dial.
    Dialling,
    /// Both ends have agreed.
    Agreed,
    /// A round has ended.
    Round,
    /// The guest is about to be paused.
    Switchover,
    /// The destination loads the state.
    Loading,
    /// The destination has said that it is ready, and the source's answer is under way.
    Ready,
    /// The destination has been given the guest, and runs it.
    Resuming,
    /// The destination has said that it runs the guest.
    Running,
    /// The source has heard so.
    Heard,
}

impl Moment {
    pub const ALL: [Self; 9] = [
        Self::Dialling,
        Self::Agreed,
        Self::Round,
        Self::Switchover,
        Self::Loading,
        Self::Ready,
        Self::Resuming,
        Self::Running,
        Self::Heard,
    ];
}

/// What the network does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Cut(Cut),
    Stall(Stall),
}

/// What is done when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    pub moment: Moment,
    pub act: Act,
}

/// How long the source's word is held up at most, so that it is lost when the network fails.
const HELD_UP: Duration = Duration::from_secs(5);

impl Act {
    /// All that a network does to whole connections.
    pub fn all() -> Vec<Self> {
        let cut = |close, down| Self::Cut(Cut { close, scope: Scope::All, down });
        let stall = |direction, lasting| Self::Stall(Stall { direction, scope: Scope::All, lasting });
        let short = Lasting::For(Duration::from_millis(200));
        vec![
            cut(Close::Reset, Lasting::For(Duration::ZERO)),
            cut(Close::Orderly, Lasting::For(Duration::ZERO)),
            cut(Close::Reset, short),
            cut(Close::Reset, Lasting::Ever),
            stall(None, short),
            stall(None, Lasting::For(Duration::from_millis(900))),
            stall(Some(Direction::Up), Lasting::Ever),
            stall(Some(Direction::Down), Lasting::Ever),
            stall(None, Lasting::Ever),
        ]
    }

    fn now(self, proxy: &Proxy) {
        match self {
            Self::Cut(cut) => proxy.cut_now(cut),
            Self::Stall(stall) => proxy.stall_now(stall),
        }
    }
}

impl Trap {
    /// Has it happen, at the first such moment; the observers are for both ends.
    pub fn set(self, proxy: &Arc<Proxy>, destination: &Puppet) -> (Observer, Observer) {
        let Self { moment, act } = self;
        let network = Arc::clone(proxy);
        let spring = move || act.now(&network);
        match moment {
            Moment::Dialling => (on(|event| in_state(event, State::Handshake), spring), nobody()),
            Moment::Agreed => (on(|event| matches!(event.what, Happening::Agreed { .. }), spring), nobody()),
            Moment::Round => (on(|event| event.what == Happening::Round, spring), nobody()),
            Moment::Switchover => (on(|event| in_state(event, State::Switchover), spring), nobody()),
            Moment::Running => (nobody(), on(has_completed, spring)),
            Moment::Heard => (on(has_completed, spring), nobody()),
            Moment::Loading => {
                destination.on_load(spring);
                (nobody(), nobody())
            }
            Moment::Resuming => {
                destination.on_resume(spring);
                (nobody(), nobody())
            }
            Moment::Ready => {
                let network = Arc::clone(proxy);
                destination.on_load(move || drop(thread::spawn(hold_up(network, spring))));
                (nobody(), nobody())
            }
        }
    }
}

/// Holds the source's word up, and has the network fail once it has been said.
fn hold_up(proxy: Arc<Proxy>, spring: impl FnOnce()) -> impl FnOnce() {
    let (direction, scope, lasting) = (Some(Direction::Up), Scope::All, Lasting::For(HELD_UP));
    proxy.stall_now(Stall { direction, scope, lasting });
    let before = said(&proxy);
    move || {
        let until = Instant::now() + HELD_UP;
        while said(&proxy) == before && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        // What comes next is to last as long as it says, and no longer. It is there before a stalled stream looks again.
        proxy.restore();
        spring();
    }
}

/// How much the source has said, whether or not it got through.
fn said(proxy: &Proxy) -> u64 {
    let up = |connection| Stream { connection, direction: Direction::Up };
    (0..proxy.connections()).map(|connection| proxy.flow(up(connection)).read).sum()
}

fn on(
    is_it: impl Fn(&Event) -> bool + Send + Sync + 'static,
    act: impl Fn() + Send + Sync + 'static,
) -> Observer {
    let once = Once::new();
    Arc::new(move |event: &Event| {
        if is_it(event) {
            once.call_once(&act);
        }
    })
}

fn in_state(event: &Event, state: State) -> bool {
    event.state == state && event.what == Happening::State
}

fn has_completed(event: &Event) -> bool {
    matches!(event.what, Happening::Completed { .. })
}

/// Every fault in every state, with a guest that writes.
fn try_every_moment(has_arbiter: bool) -> Tally {
    let traps: Vec<Trap> = Moment::ALL
        .into_iter()
        .flat_map(|moment| Act::all().into_iter().map(move |act| Trap { moment, act }))
        .collect();
    try_all(traps.len(), |number| {
        let trap = traps[number];
        let wire = [Wire::Tcp, Wire::Unix, Wire::Tls][number % 3];
        Scene {
            connections: if number % 2 == 0 { 1 } else { 4 },
            methods: vec![Method::Zstd, Method::Raw, Method::Xbzrle],
            has_arbiter,
            hot_pages: 30,
            // So that rounds take some time.
            max_bytes_per_s: Some(10_000_000),
            trap: Some(trap),
            ..Scene::plain(format!("moment {number}: {trap:?}"), wire)
        }
    })
}

#[test]
fn a_network_that_fails_in_any_state_leaves_one_guest_whole_or_says_who_must_look() {
    let tally = try_every_moment(false);
    println!("without an arbiter: {tally:?}");
    assert_eq!(tally.len(), 3, "every outcome is met: {tally:?}");
}

#[test]
fn with_an_arbiter_a_network_that_fails_in_any_state_leaves_exactly_one_guest() {
    let tally = try_every_moment(true);
    println!("with an arbiter: {tally:?}");
    assert!(tally.contains_key(&Outcome::Moved) && tally.contains_key(&Outcome::Stayed), "{tally:?}");
}

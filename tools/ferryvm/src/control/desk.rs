//! Where requests meet whoever has the guest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pageferry_engine::frame::End;
use pageferry_engine::migration::{Estimate, Snapshot, State};
use pageferry_engine::receiver::ReceiveReport;
use pageferry_engine::sender::SendReport;

use super::{Kind, Refused, Status};
use crate::command::move_args::MoveArgs;
use crate::journey::Journey;
use crate::layout::PAGE_BYTES;
use crate::proof::Proof;
use crate::state::GuestKind;
use crate::vm::Watch;

/// Where requests meet whoever has the guest. Clones are the same desk.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Shared>);

struct Shared {
    orders: Sender<Order>,
    at: Mutex<At>,
    quit: AtomicBool,
}

struct At {
    standing: Standing,
    guest: Option<(GuestKind, Watch)>,
    /// The migration that is on, or was last.
    latest: Option<Arc<Journey>>,
}

/// How it stands with the guest.
#[derive(Clone)]
pub(crate) enum Standing {
    /// It has not come yet.
    Awaited,
    /// It comes.
    Arriving(Arc<Journey>),
    /// It runs here.
    Here,
    /// It runs here, and is on its way.
    Leaving(Arc<Journey>),
    /// It is paused here, and may run at the other end.
    InDoubt,
    /// It runs elsewhere.
    Gone,
}

/// What is for the one to do who has the guest.
pub(crate) enum Order {
    Migrate(Box<MoveArgs>, Sender<Result<Begun, Refused>>),
    Resume(Sender<Result<(), Refused>>),
    Quit(Sender<Result<(), Refused>>),
    /// The migration has told its last event.
    Ended,
}

/// A migration that has begun.
pub(crate) struct Begun {
    pub(crate) journey: Arc<Journey>,
    pub(crate) warnings: Vec<String>,
}

/// Whoever has the guest looks up as often as this at least.
const PATIENCE: Duration = Duration::from_secs(60);

impl Desk {
    /// A desk, and where its orders come.
    pub(crate) fn new() -> (Self, Receiver<Order>) {
        let (orders, receiver) = channel();
        let at = Mutex::new(At { standing: Standing::Awaited, guest: None, latest: None });
        (Self(Arc::new(Shared { orders, at, quit: AtomicBool::new(false) })), receiver)
    }

    /// A guest has this desk from now on.
    pub(crate) fn seat(&self, kind: GuestKind, watch: Watch) {
        self.at().guest = Some((kind, watch));
    }

    pub(crate) fn stand(&self, standing: Standing) {
        let mut at = self.at();
        if let Some(journey) = standing.journey() {
            at.latest = Some(Arc::clone(journey));
        }
        at.standing = standing;
    }

    /// Whether somebody who cannot read orders is to end.
    pub(crate) fn is_to_quit(&self) -> bool {
        self.0.quit.load(Ordering::Relaxed)
    }

    /// Says that the migration has ended.
    pub(crate) fn ended(&self) {
        // Whoever is not there any more needs not be told.
        let _ = self.0.orders.send(Order::Ended);
    }

    pub(crate) fn status(&self) -> Status {
        let (standing, guest) = {
            let at = self.at();
            (at.standing.clone(), at.guest.clone())
        };
        let watch = guest.as_ref().map(|(_, watch)| watch);
        Status {
            standing: standing.word(),
            heartbeat: watch.and_then(Watch::heartbeat),
            crash: watch.and_then(Watch::crash),
            guest: guest.as_ref().map(|&(kind, _)| kind),
            migration: standing.journey().and_then(|journey| journey.glance()),
        }
    }

    /// All counters of the migration that is on or was last; of one at this end that has not begun if there was none.
    pub(crate) fn snapshot(&self, end: End) -> Snapshot {
        let latest = self.at().latest.clone();
        latest.and_then(|journey| journey.snapshot()).unwrap_or_else(|| nothing_yet(end))
    }

    /// What the guest says of its own memory. It has to run here.
    pub(crate) fn prove(&self) -> Result<Proof, Refused> {
        self.await_guest()?;
        let guest = self.at().guest.clone();
        let (_, watch) = guest.ok_or_else(|| Refused::new(Kind::Busy, "there is no guest"))?;
        watch.prove(PATIENCE).map_err(|error| Refused::new(Kind::Busy, error))
    }

    /// The migration that is on.
    pub(crate) fn journey(&self) -> Result<Arc<Journey>, Refused> {
        let standing = self.at().standing.clone();
        let journey = standing.journey().cloned();
        journey.ok_or_else(|| Refused::new(Kind::Busy, "no migration is on"))
    }

    pub(crate) fn cancel(&self) -> Result<bool, Refused> {
        Ok(self.journey()?.cancel())
    }

    pub(crate) fn migrate(&self, args: MoveArgs) -> Result<Begun, Refused> {
        self.await_guest()?;
        self.order(|answer| Order::Migrate(Box::new(args), answer))
    }

    pub(crate) fn resume(&self) -> Result<(), Refused> {
        self.await_guest()?;
        self.order(Order::Resume)
    }

    pub(crate) fn quit(&self) -> Result<(), Refused> {
        if matches!(self.at().standing, Standing::Awaited) {
            self.0.quit.store(true, Ordering::Relaxed);
            return Ok(());
        }
        self.await_guest()?;
        self.order(Order::Quit)
    }

    /// While a guest has not come, nobody reads orders.
    fn await_guest(&self) -> Result<(), Refused> {
        match self.at().standing {
            Standing::Awaited => Err(Refused::new(Kind::Busy, "the guest has not come yet")),
            Standing::Arriving(_) => {
                Err(Refused::new(Kind::Busy, "the guest is on its way to here; wait, or cancel that"))
            }
            _ => Ok(()),
        }
    }

    fn order<T>(&self, order: impl FnOnce(Sender<Result<T, Refused>>) -> Order) -> Result<T, Refused> {
        let ending =
            || Refused::new(Kind::Busy, "the guest ends or has left: nothing more is done with it here");
        let (answer, answered) = channel();
        self.0.orders.send(order(answer)).map_err(|_| ending())?;
        answered.recv_timeout(PATIENCE).map_err(|_| ending())?
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.0.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nothing_yet(end: End) -> Snapshot {
    Snapshot {
        end,
        state: State::Setup,
        elapsed: Duration::ZERO,
        round: 0,
        reconnections: 0,
        guest_pages: 0,
        page_bytes: PAGE_BYTES,
        left_pages: 0,
        throttle_percent: 0,
        estimate: Estimate::default(),
        downtime: None,
        sent: SendReport::default(),
        received: ReceiveReport::default(),
    }
}

impl Standing {
    fn word(&self) -> &'static str {
        match self {
            Self::Awaited => "awaited",
            Self::Arriving(_) => "arriving",
            Self::Here => "here",
            Self::Leaving(_) => "leaving",
            Self::InDoubt => "in-doubt",
            Self::Gone => "gone",
        }
    }

    fn journey(&self) -> Option<&Arc<Journey>> {
        match self {
            Self::Arriving(journey) | Self::Leaving(journey) => Some(journey),
            Self::Awaited | Self::Here | Self::InDoubt | Self::Gone => None,
        }
    }
}

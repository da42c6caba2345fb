//! Who has a guest: lets it run, and moves it, resumes it or ends it when told to.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use pageferry_engine::migration::{Ended, Migration, Whereabouts};
use pageferry_engine::transport::Address;
use pageferry_engine::vm::Vm;

use crate::command::move_args::{Departure, MoveArgs, PlanError};
use crate::control::desk::{Begun, Desk, Order, Standing};
use crate::control::{Kind, Refused};
use crate::error::Error;
use crate::journey::Journey;
use crate::outcome::Outcome;
use crate::vm::{ProveError, Watch};

/// Who has a guest.
pub(crate) struct Keeper {
    guest: Guest,
    watch: Watch,
    desk: Desk,
    orders: Receiver<Order>,
}

/// How it stands with the guest.
enum Guest {
    Here(Box<dyn Vm>),
    Leaving {
        migration: Migration,
        journey: Arc<Journey>,
        to: Address,
    },
    /// Paused, and perhaps running at the other end.
    InDoubt {
        vm: Box<dyn Vm>,
        reason: String,
    },
}

/// How the keeping of a guest ends.
pub(crate) enum Kept {
    /// It is to end here, and runs until it is paused.
    Here(Box<dyn Vm>),
    /// It runs elsewhere.
    Gone { to: Address, outcome: Arc<Outcome> },
}

/// How often a guest is looked at.
const LOOK: Duration = Duration::from_millis(200);

impl Keeper {
    /// Of a guest that runs.
    pub(crate) fn new(vm: Box<dyn Vm>, watch: Watch, (desk, orders): (Desk, Receiver<Order>)) -> Self {
        desk.stand(Standing::Here);
        Self { guest: Guest::Here(vm), watch, desk, orders }
    }

    /// Of a guest that came here, is paused, and may run where it came from.
    pub(crate) fn in_doubt(
        vm: Box<dyn Vm>,
        reason: String,
        watch: Watch,
        (desk, orders): (Desk, Receiver<Order>),
    ) -> Self {
        desk.stand(Standing::InDoubt);
        Self { guest: Guest::InDoubt { vm, reason }, watch, desk, orders }
    }

    /// Keeps the guest until it has left, somebody says that it is to end, or `until`; not in the middle of a migration.
    ///
    /// # Errors
    /// [`Error`] if it has crashed, or ends while nobody knows where it is.
    pub(crate) fn keep(mut self, until: Option<Instant>) -> Result<Kept, Error> {
        loop {
            if let Some(reason) = self.watch.crash() {
                return Err(ProveError::Crashed(reason).into());
            }
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                self = match self.guest {
                    Guest::Here(vm) => return Ok(Kept::Here(vm)),
                    guest => Self { guest, ..self },
                };
            }
            let order = match self.orders.recv_timeout(left.clamp(Duration::from_millis(1), LOOK)) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => continue,
                // It has the desk itself, and so is never alone.
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Abandoned),
            };
            self = match self.follow(order)? {
                Next::Keep(keeper) => keeper,
                Next::End(kept) => return Ok(kept),
            };
        }
    }

    fn follow(self, order: Order) -> Result<Next, Error> {
        match order {
            Order::Migrate(args, answer) => self.migrate(*args, &answer).map(Next::Keep),
            Order::Resume(answer) => self.resume(&answer).map(Next::Keep),
            Order::Quit(answer) => self.quit(&answer),
            Order::Ended => self.ended(),
        }
    }

    fn migrate(mut self, args: MoveArgs, answer: &Sender<Result<Begun, Refused>>) -> Result<Self, Error> {
        let vm = match self.guest {
            Guest::Here(vm) => vm,
            guest => {
                let reason = match &guest {
                    Guest::Leaving { to, .. } => {
                        format!("the guest is on its way to {to}; cancel that first")
                    }
                    _ => "the guest is paused, and may run at the other end; resume it first".to_owned(),
                };
                refuse(answer, Refused::new(Kind::Busy, reason));
                return Ok(Self { guest, ..self });
            }
        };
        let departure = match args.resolve() {
            Ok(departure) => departure,
            Err(error) => {
                refuse(answer, Refused::new(kind(&error), error));
                return Ok(Self { guest: Guest::Here(vm), ..self });
            }
        };
        let Departure { to, dialer, accelerators, config, warnings } = departure;
        let journey = Arc::new(Journey::default());
        let desk = self.desk.clone();
        let observer = journey.observer(move || desk.ended());
        let migration = Migration::start(vm, Box::new(dialer), accelerators, config, observer)?;
        journey.begun(&migration);
        self.desk.stand(Standing::Leaving(Arc::clone(&journey)));
        let begun = Begun { journey: Arc::clone(&journey), warnings };
        // Who has gone meanwhile wanted it nevertheless.
        let _ = answer.send(Ok(begun));
        self.guest = Guest::Leaving { migration, journey, to };
        Ok(self)
    }

    fn ended(mut self) -> Result<Next, Error> {
        let Guest::Leaving { migration, journey, to } = self.guest else { return Ok(Next::Keep(self)) };
        let last = migration.watch();
        let ended = migration.wait();
        let outcome = journey.ended(Outcome::of(&ended, &last()));
        let Ended { vm, guest, result } = ended;
        let reason = result.err().map(|error| error.to_string()).unwrap_or_default();
        let vm = vm.ok_or_else(|| Error::Lost(reason.clone()));
        self.guest = match guest {
            Whereabouts::There => {
                self.desk.stand(Standing::Gone);
                return Ok(Next::End(Kept::Gone { to, outcome }));
            }
            Whereabouts::Here => {
                self.desk.stand(Standing::Here);
                Guest::Here(vm?)
            }
            Whereabouts::InDoubt => {
                self.desk.stand(Standing::InDoubt);
                Guest::InDoubt { vm: vm?, reason }
            }
        };
        Ok(Next::Keep(self))
    }

    fn resume(mut self, answer: &Sender<Result<(), Refused>>) -> Result<Self, Error> {
        self.guest = match self.guest {
            Guest::InDoubt { mut vm, .. } => {
                vm.resume()?;
                self.desk.stand(Standing::Here);
                let _ = answer.send(Ok(()));
                Guest::Here(vm)
            }
            guest => {
                refuse(answer, Refused::new(Kind::Busy, "the guest runs"));
                guest
            }
        };
        Ok(self)
    }

    fn quit(self, answer: &Sender<Result<(), Refused>>) -> Result<Next, Error> {
        match self.guest {
            Guest::Leaving { ref to, .. } => {
                let reason = format!("the guest is on its way to {to}; cancel that first");
                refuse(answer, Refused::new(Kind::Busy, reason));
                Ok(Next::Keep(self))
            }
            Guest::Here(vm) => {
                let _ = answer.send(Ok(()));
                Ok(Next::End(Kept::Here(vm)))
            }
            Guest::InDoubt { reason, .. } => {
                let _ = answer.send(Ok(()));
                Err(Error::InDoubt(reason))
            }
        }
    }
}

enum Next {
    Keep(Keeper),
    End(Kept),
}

/// Who does not wait any more needs no answer.
fn refuse<T>(answer: &Sender<Result<T, Refused>>, refused: Refused) {
    let _ = answer.send(Err(refused));
}

fn kind(error: &PlanError) -> Kind {
    match error {
        PlanError::Accelerator(_) => Kind::Accelerator,
        _ => Kind::Usage,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::error::Exit;
    use crate::host::{GuestChoice, HostChoice};
    use crate::layout::{Layout, SMALLEST};
    use crate::vm::FerryVm;
    use crate::workload::{Fill, Pattern, Rate, Workload};

    /// A guest that has not run yet, and may run elsewhere.
    fn in_doubt() -> (Keeper, Desk, Watch) {
        let layout = Layout::of_size(SMALLEST).unwrap();
        let rate = Rate::PagesPerSecond(1000);
        let workload =
            Workload { pattern: Pattern::Random, rate, seed: 1, fill: Fill::Zero, working_set_pages: None };
        let choice = HostChoice { guest: GuestChoice::Process, ..HostChoice::default() };
        let vm = FerryVm::source(layout, 1, &workload, choice).unwrap();
        let (watch, (desk, orders)) = (vm.watch(), Desk::new());
        desk.seat(vm.kind(), watch.clone());
        let at = (desk.clone(), orders);
        (Keeper::in_doubt(Box::new(vm), "it was cut off".to_owned(), watch.clone(), at), desk, watch)
    }

    #[test]
    fn a_guest_in_doubt_runs_once_somebody_says_so_and_not_before() {
        let (keeper, desk, watch) = in_doubt();
        let keeping = thread::spawn(move || keeper.keep(Some(Instant::now())));
        let refused = desk.migrate(MoveArgs::parse(["--to=unix:x".to_owned()]).unwrap());
        let reason = refused.err().map(|refused| refused.reason).unwrap_or_default();
        assert!(reason.contains("may run at the other end"), "{reason}");
        assert_eq!(desk.status().standing, "in-doubt");
        assert_eq!(watch.heartbeat().map(|heartbeat| heartbeat.beats), Some(0));
        desk.resume().unwrap();
        // The time that it was to run for is over by then.
        assert!(matches!(keeping.join().unwrap(), Ok(Kept::Here(_))));
    }

    #[test]
    fn a_guest_that_ends_in_doubt_has_an_exit_code_of_its_own() {
        let (keeper, desk, _) = in_doubt();
        let keeping = thread::spawn(move || keeper.keep(None));
        desk.quit().unwrap();
        let ended = keeping.join().unwrap();
        let error = ended.err().expect("nobody knows where it is");
        assert_eq!(error.exit(), Exit::InDoubt, "{error}");
        assert!(error.to_string().contains("it was cut off"), "{error}");
    }
}

//! The line to a work queue: a portal that is closed and opened again to make the queue quiet.
//!
//! Closing a work queue's file has the kernel wait for all that this process submitted: it drains the PASID of a shared
//! queue, and disables a dedicated one (`idxd_file_dev_release` of `drivers/dma/idxd/cdev.c`). That takes its time, so a
//! thread does it.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use pageferry_bindings::idxd::descriptor::Descriptor;

use crate::idxd::device::{Control, Quiet};
use crate::idxd::portal::{Portal, PortalRefusal};

/// Opens a portal; nothing, if the queue is not to be had any more.
type Open = Box<dyn Fn() -> Option<Box<dyn Portal>> + Send + Sync>;

/// A work queue that can be closed and opened again.
#[derive(Clone)]
pub(super) struct Line {
    shared: Arc<Shared>,
}

struct Shared {
    open: Open,
    takes_batches: bool,
    patience: Duration,
    state: Mutex<State>,
}

enum State {
    Open {
        portal: Box<dyn Portal>,
        /// Whether it was given a descriptor; until then it is quiet.
        used: bool,
    },
    Closing {
        since: Instant,
        /// What is to be closed, until somebody does.
        portal: Option<Box<dyn Portal>>,
    },
    /// It is closed, and could not be opened again.
    Gone,
}

impl Line {
    /// A line through `portal`, and then through those that `open` opens. A queue whose closing takes longer than
    /// `patience` counts as never quiet.
    pub(super) fn new(portal: Box<dyn Portal>, open: Open, patience: Duration) -> Self {
        let takes_batches = portal.takes_batches();
        let state = Mutex::new(State::Open { portal, used: false });
        Self { shared: Arc::new(Shared { open, takes_batches, patience, state }) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the portal, which takes until the queue is quiet, and opens it again. One of the other kind is of no use
    /// then: what requests are made of was chosen for the kind that it was.
    fn reopen(&self) {
        let portal = match &mut *self.lock() {
            State::Closing { portal, .. } => portal.take(),
            State::Open { .. } | State::Gone => None,
        };
        drop(portal);
        let portal = (self.open)().filter(|portal| portal.takes_batches() == self.takes_batches);
        *self.lock() = match portal {
            Some(portal) => State::Open { portal, used: false },
            None => State::Gone,
        };
    }
}

impl Portal for Line {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        match &mut *self.shared.lock() {
            State::Open { portal, used } => {
                *used = true;
                // SAFETY: what this asks of its caller is what our own caller is asked for; the portal stays what `quiesce`
                // drains until it is quiet.
                unsafe { portal.submit(descriptor) }
            }
            State::Closing { .. } => Err(PortalRefusal::Retry),
            State::Gone => Err(PortalRefusal::Gone),
        }
    }

    fn takes_batches(&self) -> bool {
        self.shared.takes_batches
    }
}

impl Control for Line {
    fn quiesce(&self) -> Quiet {
        let mut state = self.shared.lock();
        *state = match mem::replace(&mut *state, State::Gone) {
            State::Open { portal, used: true } => {
                State::Closing { since: Instant::now(), portal: Some(portal) }
            }
            other => {
                let quiet = match &other {
                    State::Open { .. } => Quiet::Ready,
                    State::Closing { since, .. } if since.elapsed() > self.shared.patience => Quiet::Never,
                    State::Closing { .. } => Quiet::Pending,
                    State::Gone => Quiet::Gone,
                };
                *state = other;
                return quiet;
            }
        };
        drop(state);
        let shared = Arc::clone(&self.shared);
        if Builder::new().name("reopening".into()).spawn(move || shared.reopen()).is_err() {
            // There is no thread to be had. To hold the poller up is better than to leave its requests for ever.
            self.shared.reopen();
        }
        Quiet::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::yield_now;

    use super::*;

    /// A portal whose closing ends when it is told to.
    struct Slow {
        closing: Mutex<Receiver<()>>,
        batches: bool,
    }

    impl Portal for Slow {
        unsafe fn submit(&self, _descriptor: &Descriptor) -> Result<(), PortalRefusal> {
            Ok(())
        }

        fn takes_batches(&self) -> bool {
            self.batches
        }
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            // An end that hung up has the same effect.
            let _ = self.closing.get_mut().unwrap().recv();
        }
    }

    fn slow(batches: bool) -> (Box<dyn Portal>, Sender<()>) {
        let (drained, closing) = channel();
        (Box::new(Slow { closing: Mutex::new(closing), batches }), drained)
    }

    /// A line whose second portal is of this kind, if there is one.
    fn line(second: Option<bool>, patience: Duration) -> (Line, Sender<()>) {
        let (first, drained) = slow(true);
        let open = move || second.map(|batches| slow(batches).0);
        (Line::new(first, Box::new(open), patience), drained)
    }

    fn submit(line: &Line) -> Result<(), PortalRefusal> {
        // SAFETY: nobody acts on it.
        unsafe { line.submit(&Descriptor::default()) }
    }

    fn after_pending(line: &Line) -> Quiet {
        loop {
            match line.quiesce() {
                Quiet::Pending => yield_now(),
                quiet => return quiet,
            }
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_queue_is_quiet_once_it_was_drained_and_takes_work_again() {
        let (line, drained) = line(Some(true), LONG);
        submit(&line).unwrap();
        for _ in 0..3 {
            assert_eq!(line.quiesce(), Quiet::Pending);
            assert_eq!(submit(&line), Err(PortalRefusal::Retry));
        }
        drained.send(()).unwrap();
        assert_eq!(after_pending(&line), Quiet::Ready);
        submit(&line).unwrap();
        assert_eq!(line.quiesce(), Quiet::Pending, "there is work again, which has to be waited for");
    }

    #[test]
    fn a_queue_that_was_given_nothing_is_quiet_as_often_as_it_is_asked() {
        let (line, _drained) = line(Some(true), LONG);
        for _ in 0..3 {
            assert_eq!(line.quiesce(), Quiet::Ready);
        }
        submit(&line).unwrap();
    }

    #[test]
    fn a_queue_that_cannot_be_opened_again_is_gone() {
        let (line, drained) = line(None, LONG);
        submit(&line).unwrap();
        drop(drained);
        assert_eq!(after_pending(&line), Quiet::Gone);
        assert_eq!(line.quiesce(), Quiet::Gone);
        assert_eq!(submit(&line), Err(PortalRefusal::Gone));
    }

    #[test]
    fn a_queue_that_takes_no_batches_any_more_is_gone() {
        let (line, drained) = line(Some(false), LONG);
        submit(&line).unwrap();
        drop(drained);
        assert_eq!(after_pending(&line), Quiet::Gone);
        assert!(line.takes_batches(), "what was made of requests was made for batches");
    }

    #[test]
    fn a_queue_that_is_never_drained_is_never_quiet() {
        let (line, drained) = line(Some(true), Duration::ZERO);
        submit(&line).unwrap();
        assert_eq!(after_pending(&line), Quiet::Never);
        assert_eq!(submit(&line), Err(PortalRefusal::Retry));
        drop(drained);
    }
}

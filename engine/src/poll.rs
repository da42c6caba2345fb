//! The loop of a poller thread, the same at both ends.

use std::hint;
use std::time::Duration;

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::queue::Completion;

use crate::dispatcher::Dispatcher;
use crate::sync::thread;

/// What a poller does with what it finds.
pub(crate) trait Collect {
    /// Takes a completion.
    fn collect(&mut self, completion: Completion);

    /// Looks for anything else to do, after the completions of one turn. Says whether to go on.
    fn turn(&mut self) -> Turn;

    /// How long it may rest at most, before it wants another turn though nothing rang.
    fn patience(&self) -> Duration {
        Duration::MAX
    }
}

/// What a poller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Sleep, if nothing completed, until the doorbell rings.
    Rest,
    /// Look again at once.
    Again,
    /// Look again when other threads have had a chance: nothing will ring.
    Yield,
    /// End the thread.
    Stop,
}

/// How often devices that do not ring are asked in a row before the poller takes a nap. Loom counts every step.
const SPINS: u32 = if cfg!(loom) { 0 } else { 64 };

/// A nap is as long as devices take for a few requests, with many of them in flight: a poller that never slept would cost a
/// core, and one that is woken for each request as much. (The kernel adds its timer slack, 50 microseconds by default.)
const NAP: Duration = Duration::from_micros(10);

/// Polls all queues until told to stop. Blocks while nothing is in flight, and while all that is will ring.
pub(crate) fn run(dispatcher: &Dispatcher, doorbell: &Doorbell, collector: &mut impl Collect) {
    let mut completions = Vec::with_capacity(dispatcher.depth());
    let mut spins = 0;
    loop {
        let seen = doorbell.count();
        dispatcher.poll(&mut completions);
        let found = !completions.is_empty();
        completions.drain(..).for_each(|completion| collector.collect(completion));
        match collector.turn() {
            Turn::Stop => return,
            Turn::Rest if found => spins = 0,
            Turn::Rest if dispatcher.must_poll() => spins = spin(spins),
            Turn::Rest => drop(doorbell.wait_for(seen, collector.patience())),
            Turn::Again => {}
            Turn::Yield => thread::yield_now(),
        }
    }
}

fn spin(spins: u32) -> u32 {
    if spins < SPINS {
        hint::spin_loop();
        return spins + 1;
    }
    nap();
    0
}

#[cfg(not(loom))]
fn nap() {
    thread::sleep(NAP);
}

#[cfg(loom)]
fn nap() {
    thread::yield_now();
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::sync::Mutex;
    use pageferry_accel::guest::{AnonymousMemory, GuestRam};
    use pageferry_accel::method::{Method, MethodSet};
    use pageferry_accel::queue::{
        Accelerator, Attachment, Capabilities, MemoryAccess, OpenError, Provenance, Queue, RefusalReason,
        Refused,
    };
    use pageferry_accel::request::Request;
    use pageferry_accel::units::{Gpa, PageCount, PageSize};

    use pageferry_accel::codec::deflate::Window;

    use super::*;

    /// A device of one queue, which refuses some requests first and completes others only when it is asked again.
    #[derive(Clone, Copy)]
    struct Device {
        rings: bool,
        refusals: usize,
    }

    struct Held {
        refusals: usize,
        requests: Vec<(usize, Box<Request>)>,
    }

    struct LateQueue {
        device: Device,
        doorbell: Arc<Doorbell>,
        held: Mutex<Held>,
    }

    impl Accelerator for Device {
        fn name(&self) -> &str {
            "late"
        }

        fn capabilities(&self) -> Capabilities {
            let methods = MethodSet::all();
            let memory = MemoryAccess::Copied;
            Capabilities {
                encode: methods,
                decode: methods,
                deflate_window_bits: 15,
                encode_window_bits: 12,
                queues: 1,
                depth: 4,
                memory,
            }
        }

        fn provenance(&self) -> Provenance {
            Provenance::StandIn
        }

        fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
            let held = Mutex::new(Held { refusals: self.refusals, requests: Vec::new() });
            Ok(vec![Box::new(LateQueue { device: *self, doorbell: Arc::clone(&attachment.doorbell), held })])
        }
    }

    impl Queue for LateQueue {
        fn submit(&self, request: Box<Request>) -> Result<(), Refused> {
            let mut held = self.held.lock().unwrap();
            if let Some(left) = held.refusals.checked_sub(1) {
                held.refusals = left;
                return Err(Refused { request, reason: RefusalReason::Full });
            }
            held.requests.push((usize::from(!self.device.rings), request));
            drop(held);
            if self.device.rings {
                self.doorbell.ring();
            }
            Ok(())
        }

        fn poll(&self, completions: &mut Vec<Completion>) {
            let mut held = self.held.lock().unwrap();
            for (looks, request) in std::mem::take(&mut held.requests) {
                match looks.checked_sub(1) {
                    Some(looks) => held.requests.push((looks, request)),
                    None => completions.push(Completion { request, result: Ok(()) }),
                }
            }
        }

        fn depth(&self) -> usize {
            4
        }

        fn rings(&self) -> bool {
            self.device.rings
        }
    }

    fn open(devices: &[Device]) -> (Arc<Dispatcher>, Arc<Doorbell>) {
        let memory = AnonymousMemory::new(&[(Gpa(0), 4096)]).unwrap();
        let ram = Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap());
        let doorbell = Arc::new(Doorbell::default());
        let payloads = Arc::new(pageferry_accel::dma::Arena::new(1, 4096).unwrap());
        let (max_pages, baselines) = (PageCount(1), None);
        let attachment = Attachment {
            ram,
            doorbell: Arc::clone(&doorbell),
            max_pages,
            payloads,
            baselines,
            deflate_window: Window::Kib32,
        };
        let devices: Vec<_> =
            devices.iter().map(|&device| Arc::new(device) as Arc<dyn Accelerator>).collect();
        (Arc::new(Dispatcher::open(&devices, &attachment).unwrap()), doorbell)
    }

    fn request(method: Method) -> Box<Request> {
        Box::new(Request { method, ..Request::with_capacity(PageCount(1), PageSize::Kib4) })
    }

    /// Ends the poller when so many have come.
    struct Countdown(usize);

    impl Collect for Countdown {
        fn collect(&mut self, _: Completion) {
            self.0 -= 1;
        }

        fn turn(&mut self) -> Turn {
            if self.0 == 0 { Turn::Stop } else { Turn::Rest }
        }
    }

    /// Loom would find the poller asleep for ever.
    #[test]
    fn a_poller_never_sleeps_over_what_will_not_ring() {
        for rings in [false, true] {
            let mut model = loom::model::Builder::new();
            model.preemption_bound = Some(3);
            model.check(move || {
                let (dispatcher, doorbell) = open(&[Device { rings, refusals: 0 }]);
                let submitter = {
                    let dispatcher = Arc::clone(&dispatcher);
                    loom::thread::spawn(move || {
                        for _ in 0..2 {
                            dispatcher.submit(request(Method::Raw)).unwrap();
                        }
                    })
                };
                run(&dispatcher, &doorbell, &mut Countdown(2));
                submitter.join().unwrap();
                assert!(dispatcher.is_idle() && !dispatcher.must_poll());
            });
        }
    }

    /// A submitter that was refused sleeps until something comes back; where nothing will, somebody stays awake.
    #[test]
    fn of_two_that_were_refused_by_an_empty_queue_one_asks_again() {
        loom::model(|| {
            let (dispatcher, _) = open(&[Device { rings: true, refusals: 2 }]);
            let submit = |dispatcher: Arc<Dispatcher>| {
                let mut waiting = request(Method::Raw);
                loop {
                    match dispatcher.submit(waiting) {
                        Ok(()) => return true,
                        Err(_) if !dispatcher.is_idle() => return false,
                        Err(refused) => waiting = refused.request,
                    }
                    loom::thread::yield_now();
                }
            };
            let other = Arc::clone(&dispatcher);
            let other = loom::thread::spawn(move || submit(other));
            let one_was_taken = submit(dispatcher);
            assert!(other.join().unwrap() || one_was_taken);
        });
    }
}

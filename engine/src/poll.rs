//! The loop of a poller thread, the same at both ends.

use std::hint;
use std::thread;

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::queue::Completion;

use crate::dispatcher::Dispatcher;

/// What a poller does with what it finds.
pub(crate) trait Collect {
    /// Takes a completion.
    fn collect(&mut self, completion: Completion);

    /// Looks for anything else to do, after the completions of one turn. Says whether to go on.
    fn turn(&mut self) -> Turn;
}

/// What a poller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Sleep, if nothing completed, until the doorbell rings.
    Rest,
    /// Look again at once.
    Again,
    /// End the thread.
    Stop,
}

/// How often a device is asked in a row before other threads get a chance.
const SPINS: u32 = 64;

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
            Turn::Rest => doorbell.wait(seen),
            Turn::Again => {}
        }
    }
}

fn spin(spins: u32) -> u32 {
    if spins < SPINS {
        hint::spin_loop();
        spins + 1
    } else {
        thread::yield_now();
        0
    }
}

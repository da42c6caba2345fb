//! Ends of a migration that say the wrong thing, at the wrong time, too much or nothing, to a real end: it never hangs, takes
//! no more than it is allowed, says what was wrong, and the guest runs where it must.

mod destination;
mod source;

use std::thread;
use std::time::Duration;

use pageferry_engine::migration::Patience;

/// Short, as most of the peers here are waited for in vain.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(500),
    recovery: Duration::from_millis(800),
    handover: Duration::from_millis(1000),
};

const TIMEOUT: Duration = Duration::from_secs(1);

/// Far more than any wait here, as a machine may be busy with other things.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// How long lies a byte from the next, when they come one by one.
const TRICKLE: Duration = Duration::from_millis(100);

/// All cases at once, as each of them waits most of the time.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, try_one: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            let try_one = &try_one;
            scope.spawn(move || try_one(case));
        }
    });
}

//! A request through a queue, and to the other end, with what the submitting thread allocates for it.

use pageferry_accel::queue::Queue;
use pageferry_accel::request::{Direction, Request};

use crate::counting::ALLOCATIONS;

/// Runs a request, and says what this thread allocated meanwhile.
pub fn run(queue: &dyn Queue, mut request: Box<Request>) -> (Box<Request>, usize) {
    let mut completions = Vec::with_capacity(1);
    let before = ALLOCATIONS.get();
    loop {
        match queue.submit(request) {
            Ok(()) => break,
            Err(refused) => request = refused.request,
        }
        queue.poll(&mut completions);
    }
    while completions.is_empty() {
        queue.poll(&mut completions);
    }
    let allocated = ALLOCATIONS.get() - before;
    let completion = completions.remove(0);
    completion.result.expect("nothing is wrong but page faults");
    (completion.request, allocated)
}

/// Has a request be what arrives of another: its payload in one piece.
pub fn arrive(sent: &Request, arrived: &mut Request) {
    arrived.reset(Direction::Decode);
    arrived.method = sent.method;
    arrived.runs.extend(&sent.runs);
    arrived.segments.extend(&sent.segments);
    let mut filled = 0;
    for slice in sent.payload.slices() {
        arrived.payload.buffer()[filled..filled + slice.len()].copy_from_slice(slice);
        filled += slice.len();
    }
    arrived.payload.set_filled(filled);
    (arrived.checksum_kind, arrived.checksum) = (sent.checksum_kind, sent.checksum);
}

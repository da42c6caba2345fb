//! A request through a queue, and to the other end, for which the submitting thread allocates nothing.

use pageferry_accel::queue::{Attachment, Queue};
use pageferry_accel::request::{Direction, Request};

use crate::counting::ALLOCATIONS;

/// An empty request of as many pages as may be, with a payload of the attachment's.
pub fn empty(attachment: &Attachment) -> Box<Request> {
    Box::new(Request::new(attachment.max_pages, attachment.buffer().expect("room in the arena")))
}

/// Runs a request, for which this thread may allocate nothing, save in round 0: then whatever is made at its first use is
/// made, by the standard library and the model. `what` is being done is said if it allocates after all.
pub fn run(queue: &dyn Queue, mut request: Box<Request>, round: u8, what: &str) -> Box<Request> {
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
    assert!(allocated == 0 || round == 0, "{what} allocates {allocated} times in round {round}");
    let completion = completions.remove(0);
    completion.result.expect("nothing is wrong but page faults");
    completion.request
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

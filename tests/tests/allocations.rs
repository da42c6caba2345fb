//! In steady state the data path allocates nothing.

use pageferry_accel::method::Method;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::sender::{Sender, SenderConfig};
use pageferry_tests::counting::{Counting, allocations};
use pageferry_tests::guest::{Noise, fill, guest, pages, scribble};
use pageferry_tests::peers::{METHODS, config, connections, receive, send};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST_PAGES: u64 = 8;
/// Requests of a short round.
const REQUESTS: u64 = 50;
/// What a round may allocate, whatever its size: the report's frame at one end and its payload at the other.
const PER_ROUND: u64 = 8;

/// The fewest allocations that both ends together made in one of several rounds.
fn fewest(sender: &mut Sender, dirty: &DirtyBitmap, mut before: impl FnMut()) -> u64 {
    let round = |_| {
        before();
        let mark = allocations();
        sender.send_round(dirty).unwrap();
        allocations() - mark
    };
    // The pool may still grow in some of them, up to its bound.
    (0..6).map(round).min().unwrap_or_default()
}

fn first_pages(
    everything: &DirtyBitmap,
    ram: &pageferry_accel::guest::GuestRam,
    requests: u64,
) -> DirtyBitmap {
    let mut dirty = everything.clone();
    dirty.clear();
    let count = usize::try_from(requests * REQUEST_PAGES).unwrap();
    pages(ram).take(count).for_each(|page| dirty.set(page));
    dirty
}

fn check(methods: &[Method]) {
    let (source, destination) = (
        guest(2 * REQUESTS * REQUEST_PAGES, PageSize::Kib4),
        guest(2 * REQUESTS * REQUEST_PAGES, PageSize::Kib4),
    );
    fill(&source, 11);
    let (ours, theirs) = connections(2);
    let receiver = receive(destination, theirs);
    let max_pages = PageCount(u32::try_from(REQUEST_PAGES).unwrap());
    let mut sender = send(&source, ours, SenderConfig { max_pages, ..config(methods) }).unwrap();
    let everything = DirtyBitmap::all(&source);
    let short = first_pages(&everything, &source, REQUESTS);
    for _ in 0..3 {
        sender.send_round(&everything).unwrap();
    }
    let mut noise = Noise(1);
    let mut write = || pages(&source).for_each(|page| scribble(&source, page, &mut noise));
    let few = fewest(&mut sender, &short, &mut write);
    let many = fewest(&mut sender, &everything, &mut write);
    let requests = (REQUESTS, 4 * REQUESTS);
    assert!(
        few <= PER_ROUND && many <= PER_ROUND,
        "{methods:?}: {few} and {many} allocations in rounds of {requests:?} requests"
    );
    let (sent, _) = sender.finish().unwrap();
    receiver.join().unwrap().unwrap();
    assert_eq!(sent.frames, 3 * 4 * REQUESTS + 6 * REQUESTS + 6 * 4 * REQUESTS);
    assert!(methods.iter().all(|&method| sent.methods.of(method).pages > 0), "{methods:?}: {sent:?}");
}

/// One test, since the count is the whole process's.
#[test]
fn a_round_allocates_no_more_for_four_times_as_many_requests() {
    METHODS.into_iter().for_each(|method| check(&[method]));
    check(&METHODS);
    let mark = allocations();
    drop(Vec::<u8>::with_capacity(100));
    assert_ne!(allocations(), mark, "nothing is counted at all");
}

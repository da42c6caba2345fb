//! Every source of dirty pages that needs no virtual machine, held against a reference that writes known pages.

use std::sync::Arc;

use pageferry_accel::guest::{AnonymousMemory, GuestMemory, GuestRam, Region, SharedMemory};
use pageferry_accel::units::{Gpa, PageIndex, PageSize};
use pageferry_engine::dirty::{
    DirtyBitmap, DirtyError, DirtySource, MergedSources, Userfaultfd, WrittenPages, WrittenSource,
};
use pageferry_tests::known_pages::{Threads, hold};

const SIZES: [PageSize; 3] = [PageSize::Kib4, PageSize::Kib16, PageSize::Kib64];
/// Two regions with a hole between, each with room for a huge page wherever it is mapped.
const LAYOUT: [(Gpa, u64); 2] = [(Gpa(0), 5 << 20), (Gpa(1 << 32), 5 << 20)];

/// The source, or `None` and a word about it where the kernel has none.
fn userfaultfd(ram: &Arc<GuestRam>) -> Option<Userfaultfd> {
    match Userfaultfd::new(Arc::clone(ram)) {
        Ok(source) => Some(source),
        Err(reason @ DirtyError::Tracking(_)) => {
            println!("skipped: {reason}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn hold_userfaultfd<M: GuestMemory + 'static>(memory: &Arc<M>, size: PageSize, seed: u64) {
    let ram = Arc::new(GuestRam::new(Arc::clone(memory) as Arc<dyn GuestMemory>, size).unwrap());
    if let Some(mut source) = userfaultfd(&ram) {
        let writer = Threads { memory: &**memory, shift: size.shift(), say: |_| () };
        hold(&mut source, &ram, &writer, seed);
    }
}

#[test]
fn marked_pages_are_those_that_the_reference_wrote() {
    for (seed, size) in (1..).zip(SIZES) {
        let memory = Arc::new(AnonymousMemory::new(&LAYOUT).unwrap());
        let ram = GuestRam::new(Arc::clone(&memory) as Arc<dyn GuestMemory>, size).unwrap();
        let pages = Arc::new(WrittenPages::new(&ram));
        let mut source = WrittenSource::new(Arc::clone(&pages));
        let writer = Threads { memory: &*memory, shift: size.shift(), say: |page| pages.mark_page(page) };
        hold(&mut source, &ram, &writer, seed);
    }
}

#[test]
fn userfaultfd_finds_what_was_written_to_memory_that_was_there_before() {
    for (seed, size) in (10..).zip(SIZES) {
        let memory = Arc::new(AnonymousMemory::new(&LAYOUT).unwrap());
        memory.populate().unwrap();
        hold_userfaultfd(&memory, size, seed);
    }
}

#[test]
fn userfaultfd_finds_what_was_written_to_memory_that_comes_by_being_written() {
    for (seed, size) in (20..).zip(SIZES) {
        hold_userfaultfd(&Arc::new(AnonymousMemory::new(&LAYOUT).unwrap()), size, seed);
    }
}

#[test]
fn userfaultfd_finds_what_was_written_to_shared_memory() {
    for (seed, size) in (30..).zip(SIZES) {
        hold_userfaultfd(&Arc::new(SharedMemory::new(&LAYOUT).unwrap()), size, seed);
        let memory = Arc::new(SharedMemory::new(&LAYOUT).unwrap());
        memory.populate().unwrap();
        hold_userfaultfd(&memory, size, seed);
    }
}

#[test]
fn what_is_read_and_never_written_is_not_reported() {
    for populated in [false, true] {
        let memory = Arc::new(AnonymousMemory::new(&LAYOUT).unwrap());
        if populated {
            memory.populate().unwrap();
        }
        let ram = Arc::new(GuestRam::new(memory, PageSize::Kib4).unwrap());
        let Some(mut source) = userfaultfd(&ram) else { return };
        source.start().unwrap();
        for range in ram.ranges() {
            assert!((range.first.0..range.end().0).all(|page| ram.is_zero(PageIndex(page))));
        }
        let mut dirty = DirtyBitmap::clean(&ram);
        source.collect(&mut dirty).unwrap();
        assert_eq!(dirty.count(), 0, "populated: {populated}");
    }
}

#[test]
fn a_write_of_the_kernel_on_behalf_of_a_thread_is_noticed() {
    let memory = Arc::new(AnonymousMemory::new(&LAYOUT).unwrap());
    let ram = Arc::new(GuestRam::new(Arc::clone(&memory) as Arc<dyn GuestMemory>, PageSize::Kib4).unwrap());
    let Some(mut source) = userfaultfd(&ram) else { return };
    source.start().unwrap();
    let Region { host, .. } = memory.regions()[0];
    let zero = std::fs::File::open("/dev/zero").unwrap();
    // SAFETY: the bytes are in a region that `memory` keeps mapped, and nobody has a reference to them.
    let read = unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&zero), host.add(4096 - 1).cast(), 2) };
    assert_eq!(read, 2);
    let mut dirty = DirtyBitmap::clean(&ram);
    source.collect(&mut dirty).unwrap();
    let found: Vec<_> = dirty.runs().map(|run| (run.first.0, run.pages)).collect();
    assert_eq!(found, [(0, 2)]);
}

#[test]
fn memory_that_another_userfaultfd_has_is_left_to_it() {
    let ram =
        Arc::new(GuestRam::new(Arc::new(AnonymousMemory::new(&LAYOUT).unwrap()), PageSize::Kib4).unwrap());
    let (Some(mut one), Some(mut other)) = (userfaultfd(&ram), userfaultfd(&ram)) else { return };
    one.start().unwrap();
    let refused = other.start().expect_err("one userfaultfd has it");
    assert!(refused.to_string().contains("EBUSY: another one does"), "{refused}");
    ram.copy_in(PageIndex(5), &[1; 4096]);
    let mut dirty = DirtyBitmap::clean(&ram);
    one.collect(&mut dirty).unwrap();
    assert_eq!(dirty.count(), 1, "the first one still watches");
    let early = other.collect(&mut dirty);
    assert!(matches!(early, Err(DirtyError::NotStarted)), "{early:?}");
    one.stop().unwrap();
    other.start().unwrap();
}

#[test]
fn guest_and_device_writes_are_found_by_two_sources_as_one() {
    let memory = Arc::new(AnonymousMemory::new(&LAYOUT).unwrap());
    let ram = Arc::new(GuestRam::new(Arc::clone(&memory) as Arc<dyn GuestMemory>, PageSize::Kib4).unwrap());
    let Some(guest) = userfaultfd(&ram) else { return };
    let device = Arc::new(WrittenPages::new(&ram));
    let mut both =
        MergedSources::new(vec![Box::new(guest), Box::new(WrittenSource::new(Arc::clone(&device)))]);
    // Each page is written by both, so that it is found by both.
    let writer = Threads { memory: &*memory, shift: 12, say: |page| device.mark_page(page) };
    hold(&mut both, &ram, &writer, 40);
    both.start().unwrap();
    ram.copy_in(PageIndex(1), &[1; 4096]);
    device.mark(Gpa((1 << 32) + 4096), 1);
    let mut dirty = DirtyBitmap::clean(&ram);
    both.collect(&mut dirty).unwrap();
    let found: Vec<_> = dirty.runs().map(|run| (run.first.0, run.pages)).collect();
    assert_eq!(found, [(1, 1), ((1 << 20) + 1, 1)]);
}

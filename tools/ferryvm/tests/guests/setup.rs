//! Guests as the tests want them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferryvm::{
    DirtyChoice, DirtyChoiceError, FerryError, FerryVm, Fill, GuestChoice, GuestKind, HostChoice, HostError,
    Layout, Pattern, Rate, Workload, regions_of,
};
use pageferry_accel::units::PageIndex;
use pageferry_engine::vm::Vm;

pub(crate) const MIB: u64 = 1 << 20;
/// Long enough for any proof; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A workload that is easy to prove: few pages, all written often.
pub(crate) fn workload(pattern: Pattern) -> Workload {
    Workload {
        pattern,
        rate: Rate::PagesPerSecond(20_000),
        seed: 43,
        fill: Fill::Random,
        working_set_pages: Some(512),
    }
}

/// The kinds of guest that can be tested here; says so if one cannot.
pub(crate) fn kinds() -> impl Iterator<Item = GuestChoice> {
    [GuestChoice::Kvm, GuestChoice::Process].into_iter().filter(|&choice| is_here(choice))
}

/// The same, each with every source of dirty pages that can be had for it here; says so of those that cannot.
pub(crate) fn tracked_kinds() -> impl Iterator<Item = HostChoice> {
    kinds().flat_map(|guest| {
        DirtyChoice::of(kind_of(guest))
            .iter()
            .map(move |&dirty| HostChoice { guest, dirty })
            .filter(|&choice| can_be_tracked(choice))
    })
}

fn kind_of(choice: GuestChoice) -> GuestKind {
    if choice == GuestChoice::Kvm { GuestKind::Kvm } else { GuestKind::Process }
}

fn can_be_tracked(choice: HostChoice) -> bool {
    match FerryVm::destination(small(), choice) {
        Ok(_) => true,
        Err(FerryError::Host(HostError::Dirty(reason @ DirtyChoiceError::NotHere { .. }))) => {
            println!("skipped: {reason}");
            false
        }
        Err(other) => panic!("{choice:?}: {other}"),
    }
}

fn is_here(choice: GuestChoice) -> bool {
    let here = choice != GuestChoice::Kvm
        || std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !here {
        println!("skipped: no /dev/kvm");
    }
    here
}

pub(crate) fn small() -> Layout {
    Layout::of_size(64 * MIB).unwrap()
}

/// A guest that has not begun.
pub(crate) fn source(choice: impl Into<HostChoice>, vcpus: u32, workload: &Workload) -> FerryVm {
    let choice = choice.into();
    let vm = FerryVm::source(small(), vcpus, workload, choice).unwrap();
    assert_eq!(vm.kind(), kind_of(choice.guest));
    vm
}

/// Lets the guest run until it has written so many pages more.
pub(crate) fn run_for(vm: &mut FerryVm, pages: u64) {
    let begun = Instant::now();
    let before = written(vm);
    vm.resume().unwrap();
    while written(vm) < before + pages {
        assert_eq!(vm.watch().crash(), None);
        assert!(begun.elapsed() < PATIENCE, "{} pages of {pages} after {PATIENCE:?}", written(vm) - before);
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn written(vm: &FerryVm) -> u64 {
    vm.watch().heartbeat().map_or(0, |heartbeat| heartbeat.pages_written)
}

/// Has a running guest write no more, and stand between two pages.
pub(crate) fn settle(vm: &mut FerryVm) {
    vm.set_rate(Rate::PagesPerSecond(0));
    let begun = Instant::now();
    let heartbeat = || vm.watch().heartbeat().unwrap();
    let mut last = heartbeat();
    // A vCPU that beats with the same count has not written between; eight beats each are enough for all.
    while heartbeat().beats < last.beats + 32 {
        if heartbeat().pages_written != last.pages_written {
            last = heartbeat();
        }
        assert!(begun.elapsed() < PATIENCE, "{last:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    vm.pause().unwrap();
}

/// Guest memory, page by page.
pub(crate) fn snapshot(vm: &FerryVm) -> BTreeMap<PageIndex, Vec<u8>> {
    let ram = vm.memory();
    let pages = ram.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex));
    pages.map(|page| (page, page_of(vm, page))).collect()
}

pub(crate) fn page_of(vm: &FerryVm, page: PageIndex) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    vm.memory().copy_out(page, &mut bytes);
    bytes
}

/// A machine with the same memory, as a migration leaves it before the state comes.
pub(crate) fn copy_of(vm: &FerryVm, choice: GuestChoice) -> FerryVm {
    let layout = Layout::of_regions(&regions_of(vm.memory().ranges())).unwrap();
    let there = FerryVm::destination(layout, choice).unwrap();
    let ram = there.memory();
    snapshot(vm).iter().for_each(|(&page, bytes)| ram.copy_in(page, bytes));
    there
}

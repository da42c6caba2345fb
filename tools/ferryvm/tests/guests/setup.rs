//! Guests as the tests want them.

use std::time::{Duration, Instant};

use ferryvm::{FerryVm, Fill, GuestChoice, GuestKind, Layout, Pattern, Rate, Workload};
use pageferry_engine::vm::Vm;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const BOTH: [GuestChoice; 2] = [GuestChoice::Kvm, GuestChoice::Process];
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

/// Whether guests of this kind are to be tested here; says so if they are not.
pub(crate) fn is_here(choice: GuestChoice) -> bool {
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
pub(crate) fn source(choice: GuestChoice, vcpus: u32, workload: &Workload) -> FerryVm {
    let vm = FerryVm::source(small(), vcpus, workload, choice).unwrap();
    let kind = if choice == GuestChoice::Kvm { GuestKind::Kvm } else { GuestKind::Process };
    assert_eq!(vm.kind(), kind);
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

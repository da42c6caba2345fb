//! Guests that run where they were made.

use std::collections::BTreeSet;
use std::time::Duration;

use ferryvm::{DirtyChoice, FerryVm, HostChoice, Layout, Pattern, ProveError, Rate, Workload};
use pageferry_accel::units::PageIndex;
use pageferry_engine::dirty::{DirtyBitmap, DirtyError};
use pageferry_engine::vm::Vm;

use crate::setup::{
    MIB, PATIENCE, kinds, page_of, run_for, small, snapshot, source, tracked_kinds, workload, written,
};

#[test]
fn a_guest_of_every_pattern_proves_what_it_wrote() {
    for choice in kinds() {
        for (pattern, name) in Pattern::ALL {
            let mut vm = source(choice, 1, &workload(pattern));
            run_for(&mut vm, if pattern == Pattern::Idle { 0 } else { 2000 });
            let proof = vm.watch().prove(PATIENCE).unwrap();
            assert!(proof.held, "{choice:?}, {name}: {proof}");
            let wrote = proof.pages_written >= 2000;
            assert_eq!(wrote, pattern != Pattern::Idle, "{choice:?}, {name}: {proof}");
            vm.pause().unwrap();
        }
    }
}

#[test]
fn vcpus_share_the_rate_and_each_proves_its_pages() {
    for choice in kinds() {
        let unlimited = Workload { rate: Rate::Unlimited, ..workload(Pattern::Random) };
        let mut vm = source(choice, 3, &unlimited);
        run_for(&mut vm, 5000);
        let proof = vm.watch().prove(PATIENCE).unwrap();
        assert!(proof.held && proof.pages_written >= 5000, "{choice:?}: {proof}");
    }
}

#[test]
fn nothing_changes_while_a_guest_is_paused_and_it_goes_on_afterwards() {
    for choice in kinds() {
        let unlimited = Workload { rate: Rate::Unlimited, ..workload(Pattern::Random) };
        let mut vm = source(choice, 2, &unlimited);
        for round in 1..=5 {
            run_for(&mut vm, 1000);
            vm.pause().unwrap();
            let (before, counted) = (snapshot(&vm), written(&vm));
            std::thread::sleep(Duration::from_millis(20));
            assert!(
                snapshot(&vm) == before,
                "{choice:?}, round {round}: memory changed while the guest was paused"
            );
            assert_eq!(written(&vm), counted, "{choice:?}, round {round}");
        }
        vm.resume().unwrap();
        let proof = vm.watch().prove(PATIENCE).unwrap();
        assert!(proof.held && proof.pages_written >= 5000, "{choice:?}: {proof}");
    }
}

#[test]
fn a_guest_that_is_not_there_or_paused_gives_no_proof() {
    for choice in kinds() {
        let vm = source(choice, 1, &workload(Pattern::Ones));
        let refusal = vm.watch().prove(PATIENCE);
        assert!(matches!(refusal, Err(ProveError::Paused)), "{choice:?}: {refusal:?}");
        let mut empty = FerryVm::destination(small(), choice).unwrap();
        let refusal = empty.watch().prove(PATIENCE);
        assert!(matches!(refusal, Err(ProveError::NotThere)), "{choice:?}: {refusal:?}");
        assert!(empty.resume().is_err(), "{choice:?}: a guest that is not there was resumed");
        assert!(empty.save_state().is_err(), "{choice:?}: a guest that is not there was saved");
    }
}

#[test]
fn every_page_that_changes_is_reported_dirty() {
    for choice in tracked_kinds() {
        let mut vm = source(choice, 2, &workload(Pattern::Sparse));
        let ram = vm.memory();
        let mut dirty = DirtyBitmap::clean(&ram);
        let early = vm.dirty().collect(&mut dirty);
        assert!(matches!(early, Err(DirtyError::NotStarted)), "{choice:?}: {early:?}");
        vm.dirty().start().unwrap();
        for round in 0..4 {
            dirty.clear();
            vm.dirty().collect(&mut dirty).unwrap();
            let before = snapshot(&vm);
            // More than two vCPUs can have written before the pause without saying so yet.
            run_for(&mut vm, 600);
            vm.pause().unwrap();
            dirty.clear();
            vm.dirty().collect(&mut dirty).unwrap();
            let reported: BTreeSet<_> =
                dirty.runs().flat_map(|run| (run.first.0..run.first.0 + run.pages).map(PageIndex)).collect();
            let changed: BTreeSet<_> = before
                .into_iter()
                .filter(|(page, bytes)| page_of(&vm, *page) != *bytes)
                .map(|(page, _)| page)
                .collect();
            assert!(changed.len() > 50, "{choice:?}, round {round}: only {} pages changed", changed.len());
            let missed: Vec<_> = changed.difference(&reported).collect();
            assert!(missed.is_empty(), "{choice:?}, round {round}: {missed:?} changed and were not reported");
            assert!(reported.len() < 2000, "{choice:?}, round {round}: {} pages reported", reported.len());
        }
        vm.dirty().stop().unwrap();
        vm.dirty().stop().unwrap();
    }
}

#[test]
fn a_vcpu_whose_ring_is_full_runs_on_and_no_page_is_missed() {
    let by_ring = |choice: &HostChoice| choice.dirty == DirtyChoice::Ring;
    let Some(choice) = tracked_kinds().find(by_ring) else { return };
    // More pages than a ring has entries, each written many times.
    let much = Workload { rate: Rate::Unlimited, working_set_pages: None, ..workload(Pattern::Sequence) };
    let layout = Layout::of_size(128 * MIB).unwrap();
    let mut vm = FerryVm::source(layout, 1, &much, choice).unwrap();
    vm.dirty().start().unwrap();
    run_for(&mut vm, 40_000);
    vm.pause().unwrap();
    let mut dirty = DirtyBitmap::clean(&vm.memory());
    vm.dirty().collect(&mut dirty).unwrap();
    let reported = dirty.count();
    let reachable = (0..).map_while(|page| vm.page(0, page)).count() as u64;
    assert!(reachable > 1 << 14, "{reachable} pages");
    assert!(reported >= reachable, "{reported} of {reachable} pages");
    vm.dirty().stop().unwrap();
}

#[test]
fn a_throttled_guest_writes_less() {
    for choice in kinds() {
        let mut vm = source(choice, 2, &workload(Pattern::Random));
        run_for(&mut vm, 10);
        let wrote = |vm: &FerryVm| {
            let before = written(vm);
            std::thread::sleep(Duration::from_millis(400));
            written(vm) - before
        };
        // A machine that is busy with something else takes time from the guest too: not every comparison is a fair one.
        let mut seen = Vec::new();
        let shows = (0..20).any(|_| {
            let free = wrote(&vm);
            vm.throttle(90).unwrap();
            let throttled = wrote(&vm);
            vm.throttle(0).unwrap();
            let freed = wrote(&vm);
            seen.push((free, throttled, freed));
            throttled > 0 && throttled * 3 < free && throttled * 3 < freed
        });
        assert!(shows, "{choice:?}: pages written free, throttled and freed: {seen:?}");
    }
}

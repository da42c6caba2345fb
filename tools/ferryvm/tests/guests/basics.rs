//! Guests that run where they were made.

use ferryvm::{Pattern, Rate, Workload};
use pageferry_engine::vm::Vm;

use crate::setup::{BOTH, PATIENCE, is_here, run_for, source, workload};

#[test]
fn a_guest_of_every_pattern_proves_what_it_wrote() {
    for choice in BOTH.into_iter().filter(|&choice| is_here(choice)) {
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
    for choice in BOTH.into_iter().filter(|&choice| is_here(choice)) {
        let unlimited = Workload { rate: Rate::Unlimited, ..workload(Pattern::Random) };
        let mut vm = source(choice, 3, &unlimited);
        run_for(&mut vm, 5000);
        let proof = vm.watch().prove(PATIENCE).unwrap();
        assert!(proof.held && proof.pages_written >= 5000, "{choice:?}: {proof}");
    }
}

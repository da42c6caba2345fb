//! Guests that go from one machine to another in one process.

use ferryvm::{FerryVm, GuestChoice, GuestKind, Layout, Pattern, Rate, Workload};
use pageferry_accel::units::Gpa;
use pageferry_engine::vm::{Architecture, Vm};

use crate::setup::{MIB, PATIENCE, copy_of, kinds, run_for, small, source, workload, written};

#[test]
fn a_guest_goes_on_where_it_was_saved_and_its_proof_holds_there() {
    for choice in kinds() {
        let unlimited = Workload { rate: Rate::Unlimited, ..workload(Pattern::Random) };
        let mut here = source(choice, 2, &unlimited);
        for hop in 1..=3 {
            run_for(&mut here, 1000);
            here.pause().unwrap();
            let state = here.save_state().unwrap();
            let mut there = copy_of(&here, choice);
            there.load_state(&state).unwrap();
            let counted = written(&here);
            assert_eq!(written(&there), counted, "{choice:?}, hop {hop}: the last heartbeat came along");
            run_for(&mut there, 1000);
            let proof = there.watch().prove(PATIENCE).unwrap();
            assert!(proof.held && proof.pages_written >= counted + 1000, "{choice:?}, hop {hop}: {proof}");
            // Every vCPU has been felt now.
            let heartbeat = there.watch().heartbeat().unwrap();
            assert!(heartbeat.counter_went_on, "{choice:?}, hop {hop}: {heartbeat:?}");
            let gap = heartbeat.gap_of_move;
            assert!(
                gap.is_some_and(|gap| gap <= heartbeat.longest_gap),
                "{choice:?}, hop {hop}: {heartbeat:?}"
            );
            here = there;
        }
    }
}

#[test]
fn a_guest_in_two_regions_moves_as_well() {
    for choice in kinds() {
        let layout = Layout::of_regions(&[(Gpa(0), 32 * MIB), (Gpa(4096 * MIB), 32 * MIB)]).unwrap();
        let everywhere =
            Workload { working_set_pages: None, rate: Rate::Unlimited, ..workload(Pattern::Sparse) };
        let mut here = FerryVm::source(layout, 1, &everywhere, choice).unwrap();
        run_for(&mut here, 20_000);
        here.pause().unwrap();
        let state = here.save_state().unwrap();
        let mut there = copy_of(&here, choice);
        there.load_state(&state).unwrap();
        there.resume().unwrap();
        let proof = there.watch().prove(PATIENCE).unwrap();
        assert!(proof.held && proof.pages_written >= 20_000, "{choice:?}: {proof}");
    }
}

#[test]
fn a_source_whose_state_was_saved_can_run_on() {
    for choice in kinds() {
        let mut vm = source(choice, 2, &workload(Pattern::HotCold));
        for _ in 0..3 {
            run_for(&mut vm, 500);
            vm.pause().unwrap();
            vm.save_state().unwrap();
        }
        run_for(&mut vm, 500);
        let proof = vm.watch().prove(PATIENCE).unwrap();
        assert!(proof.held, "{choice:?}: {proof}");
    }
}

#[test]
fn state_is_taken_again_where_the_switchover_is_repeated() {
    for choice in kinds() {
        let mut here = source(choice, 1, &workload(Pattern::Random));
        run_for(&mut here, 500);
        here.pause().unwrap();
        let first = here.save_state().unwrap();
        let mut there = copy_of(&here, choice);
        there.load_state(&first).unwrap();
        run_for(&mut here, 500);
        here.pause().unwrap();
        let ram = there.memory();
        crate::setup::snapshot(&here).iter().for_each(|(&page, bytes)| ram.copy_in(page, bytes));
        there.load_state(&here.save_state().unwrap()).unwrap();
        there.resume().unwrap();
        let proof = there.watch().prove(PATIENCE).unwrap();
        assert!(proof.held && proof.pages_written >= 1000, "{choice:?}: {proof}");
    }
}

#[test]
fn memory_that_is_older_than_the_state_fails_the_proof() {
    for choice in kinds() {
        let mut here = source(choice, 1, &workload(Pattern::Random));
        run_for(&mut here, 500);
        here.pause().unwrap();
        let mut there = copy_of(&here, choice);
        run_for(&mut here, 500);
        here.pause().unwrap();
        there.load_state(&here.save_state().unwrap()).unwrap();
        there.resume().unwrap();
        let proof = there.watch().prove(PATIENCE).unwrap();
        assert!(!proof.held, "{choice:?}: {proof}");
    }
}

#[test]
fn state_that_is_not_this_guests_is_refused() {
    for choice in kinds() {
        let mut here = source(choice, 1, &workload(Pattern::Ones));
        run_for(&mut here, 10);
        here.pause().unwrap();
        let state = here.save_state().unwrap();
        let refusal = |state: &[u8]| {
            let refused = copy_of(&here, choice).load_state(state);
            refused.expect_err("state that is wrong was taken").to_string()
        };
        assert!(refusal(b"").contains("not that of a ferryvm"));
        assert!(refusal(&state[..state.len() - 1]).contains("damaged"));
        let mut changed = state.clone();
        changed[100] ^= 1;
        assert!(refusal(&changed).contains("damaged"));
        let mut newer = state.clone();
        newer[8] = 9;
        assert!(refusal(&newer).contains("version 9"));
        let words =
            FerryVm::destination(small(), choice).unwrap().load_state(&state).unwrap_err().to_string();
        assert!(words.contains("memory has to be complete"), "{choice:?}: {words}");
        let mut more = source(choice, 2, &workload(Pattern::Ones));
        let words = more.load_state(&state).unwrap_err().to_string();
        assert!(words.contains("has 1 vCPUs") || words.contains("1 vCPUs, and"), "{choice:?}: {words}");
    }
}

#[test]
fn a_guest_of_another_kind_is_refused_with_the_option_that_helps() {
    if kinds().count() < 2 {
        return;
    }
    let mut here = source(GuestChoice::Process, 1, &workload(Pattern::Ones));
    let state = here.save_state().unwrap();
    let words = copy_of(&here, GuestChoice::Kvm).load_state(&state).unwrap_err().to_string();
    assert!(words.contains("--guest process"), "{words}");
}

#[test]
fn a_machine_says_what_its_guest_was_shown() {
    for choice in kinds() {
        let vm = source(choice, 1, &workload(Pattern::Idle));
        let machine = vm.machine();
        assert_eq!(machine.architecture, Architecture::of_this_build());
        if vm.kind() == GuestKind::Kvm {
            for feature in ["sse2", "lm", "fpu"] {
                assert!(machine.cpu_features.contains(feature), "{feature} is missing from {machine:?}");
            }
        }
    }
}

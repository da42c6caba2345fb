//! Memory that was changed behind the guest's back, which it must notice.

use ferryvm::{FerryVm, GuestChoice, Pattern};
use pageferry_accel::units::PageIndex;
use pageferry_engine::vm::Vm;

use crate::setup::{PATIENCE, kinds, page_of, run_for, settle, snapshot, source, workload};

/// Patterns that write whole pages and one that does not.
const PATTERNS: [Pattern; 5] =
    [Pattern::Ones, Pattern::Sequence, Pattern::Random, Pattern::Sparse, Pattern::HotCold];

/// Damages a guest and asks it for its proof: memory at one time and, some writes of every page later, at another.
fn proof_after(
    choice: GuestChoice,
    pattern: Pattern,
    damage: impl Fn(&FerryVm, PageIndex, &[u8], Vec<u8>),
) -> String {
    let mut vm = source(choice, 1, &workload(pattern));
    run_for(&mut vm, 2000);
    settle(&mut vm);
    let page = vm.page(0, 77).unwrap();
    let old = page_of(&vm, page);
    // Until the page has been written once more, and once only wherever its writes can be seen one by one.
    while page_of(&vm, page) == old {
        vm.set_rate(ferryvm::Rate::PagesPerSecond(20_000));
        run_for(&mut vm, 100);
        settle(&mut vm);
    }
    let new = page_of(&vm, page);
    damage(&vm, page, &old, new);
    vm.resume().unwrap();
    let proof = vm.watch().prove(PATIENCE).unwrap();
    assert!(!proof.held, "{choice:?}, {pattern}: {proof}");
    proof.to_string()
}

fn assert_names_page_77(proof: &str) {
    assert!(proof.contains("1 pages of vCPU 0") && proof.contains("its page 77,"), "{proof}");
}

#[test]
fn a_page_of_which_one_bit_changed_fails_the_proof() {
    for choice in kinds() {
        for pattern in PATTERNS {
            let proof = proof_after(choice, pattern, |vm, page, _, mut new| {
                new[4095] ^= 1;
                vm.memory().copy_in(page, &new);
            });
            assert_names_page_77(&proof);
        }
    }
}

#[test]
fn a_page_that_was_zeroed_fails_the_proof() {
    for choice in kinds() {
        for pattern in PATTERNS {
            assert_names_page_77(&proof_after(choice, pattern, |vm, page, _, _| vm.memory().clear(page)));
        }
    }
}

#[test]
fn a_page_that_is_a_generation_old_fails_the_proof() {
    for choice in kinds() {
        for pattern in PATTERNS {
            let proof = proof_after(choice, pattern, |vm, page, old, _| vm.memory().copy_in(page, old));
            assert_names_page_77(&proof);
        }
    }
}

#[test]
fn a_page_that_is_half_old_fails_the_proof() {
    for choice in kinds() {
        // What others write of a page twice is the same, or all in one half.
        for pattern in [Pattern::Sequence, Pattern::Random, Pattern::HotCold] {
            let proof = proof_after(choice, pattern, |vm, page, old, mut new| {
                new[2048..].copy_from_slice(&old[2048..]);
                vm.memory().copy_in(page, &new);
            });
            assert_names_page_77(&proof);
        }
    }
}

#[test]
fn a_page_that_was_never_written_is_proved_too() {
    for choice in kinds() {
        let mut vm = source(choice, 1, &workload(Pattern::Idle));
        let page = vm.page(0, 500).unwrap();
        vm.memory().clear(page);
        vm.resume().unwrap();
        let proof = vm.watch().prove(PATIENCE).unwrap();
        assert!(proof.to_string().contains("its page 500,"), "{choice:?}: {proof}");
    }
}

/// Runs a guest, makes the pages from `first` on what they were in between, and asks for the proof.
fn proof_after_going_back(choice: GuestChoice, first: PageIndex) -> String {
    let mut vm = source(choice, 1, &workload(Pattern::Random));
    run_for(&mut vm, 1000);
    settle(&mut vm);
    let before = snapshot(&vm);
    vm.set_rate(ferryvm::Rate::PagesPerSecond(20_000));
    run_for(&mut vm, 10);
    settle(&mut vm);
    let ram = vm.memory();
    before.iter().filter(|(page, _)| **page >= first).for_each(|(page, bytes)| ram.copy_in(*page, bytes));
    vm.resume().unwrap();
    let proof = vm.watch().prove(PATIENCE).unwrap();
    assert!(!proof.held, "{choice:?}: {proof}");
    proof.to_string()
}

#[test]
fn pages_that_are_old_together_with_their_table_do_not_fit_the_checksum_and_the_counter() {
    for choice in kinds() {
        // Tables and pages are behind the first MiB, where the account is.
        let proof = proof_after_going_back(choice, PageIndex(256));
        assert!(proof.contains("the running checksum of vCPU 0"), "{choice:?}: {proof}");
        assert!(proof.contains("the counter of vCPU 0"), "{choice:?}: {proof}");
    }
}

#[test]
fn memory_that_is_old_as_a_whole_does_not_fit_the_registers() {
    for choice in kinds() {
        let proof = proof_after_going_back(choice, PageIndex(0));
        assert!(proof.contains("a register of vCPU 0 was lost"), "{choice:?}: {proof}");
    }
}

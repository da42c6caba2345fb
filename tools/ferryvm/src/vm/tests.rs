//! The guest's program held to its twin in Rust, and to the registers that it must not lose.

use std::collections::BTreeMap;
use std::time::Duration;

use zerocopy::IntoBytes;

use super::*;
use crate::host::GuestChoice;
use crate::workload::{Generation, PAGE_WORDS};

const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

fn workload(pattern: Pattern, fill: Fill) -> Workload {
    Workload { pattern, rate: Rate::PagesPerSecond(50_000), seed: 7, fill, working_set_pages: Some(1000) }
}

fn kinds() -> impl Iterator<Item = GuestChoice> {
    let has_kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !has_kvm {
        println!("skipped: no /dev/kvm");
    }
    [GuestChoice::Kvm, GuestChoice::Process].into_iter().skip(usize::from(!has_kvm))
}

/// A guest that has written so many pages, and stands between two of them.
fn written(choice: GuestChoice, workload: &Workload, pages: u64) -> FerryVm {
    let layout = Layout::of_regions(&[(pageferry_accel::units::Gpa(0), 64 * MIB)]).unwrap();
    let mut vm = FerryVm::source(layout, 2, workload, choice).unwrap();
    vm.resume().unwrap();
    wait(&vm, |heartbeat| heartbeat.pages_written >= pages);
    vm.set_rate(Rate::PagesPerSecond(0));
    let last = std::cell::Cell::new((0, 0));
    wait(&vm, |now| {
        let (pages, beats) = last.get();
        if pages != now.pages_written {
            last.set((now.pages_written, now.beats));
        }
        pages == now.pages_written && now.beats > beats + 8
    });
    vm.pause().unwrap();
    vm
}

fn wait(vm: &FerryVm, until: impl Fn(Heartbeat) -> bool) {
    let begun = Instant::now();
    while !vm.watch().heartbeat().is_some_and(&until) {
        assert_eq!(vm.watch().crash(), None);
        assert!(begun.elapsed() < PATIENCE, "{:?}", vm.watch().heartbeat());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How often each page was written, by replaying all writes.
fn replayed(work: Work, counter: u64) -> BTreeMap<u64, Generation> {
    let mut generations = BTreeMap::new();
    (0..counter).for_each(|write| *generations.entry(work.choose(write)).or_default() += 1);
    generations
}

#[test]
fn memory_and_account_are_what_the_same_work_in_rust_makes_them() {
    for choice in kinds() {
        for fill in [Fill::Zero, Fill::Random] {
            for (pattern, name) in Pattern::ALL {
                let pages = if pattern == Pattern::Idle { 0 } else { 3000 };
                let vm = written(choice, &workload(pattern, fill), pages);
                for vcpu in 0..2 {
                    hold_to_oracle(&vm, vcpu, &format!("{choice:?}, {name}, {fill:?}, vCPU {vcpu}"));
                }
            }
        }
    }
}

fn hold_to_oracle(vm: &FerryVm, vcpu: u32, which: &str) {
    let block = vm.memory.block(vcpu).unwrap();
    let (work, share) = (block.work().unwrap(), block.share());
    let generations = replayed(work, block.counter);
    let mut sum = 0_u64;
    for page in 0..share.pages {
        let generation = generations.get(&page).copied().unwrap_or_default();
        let table = vm.memory.read_words(Linear(share.table.0 + page / PAGE_WORDS as u64 * PAGE_BYTES));
        let entry = usize::try_from(page).unwrap() % PAGE_WORDS;
        assert_eq!(table[entry], generation, "{which}: page {page} in the table");
        let found = vm.memory.read_words(share.page(page));
        assert!(found == work.content(page, generation), "{which}: page {page} of generation {generation}");
        sum = sum.wrapping_add(work.share_of_sum(page, generation));
    }
    assert_eq!(block.sum, sum, "{which}");
    assert_eq!(block.broken, 0, "{which}");
}

/// The state with one bit of every occurrence of a word changed, and a checksum that holds. It has to occur.
fn with_word_changed(vm: &FerryVm, state: &[u8], word: u64) -> Vec<u8> {
    let reader = Reader::new(state).unwrap();
    let mut writer = Writer::new(reader.kind(), reader.vcpus());
    let mut body = reader.rest().to_vec();
    let places: Vec<_> = (0..body.len() - 8).filter(|&at| body[at..at + 8] == *word.as_bytes()).collect();
    assert!(!places.is_empty(), "{:?}: {word:#x} is not in the state", vm.kind());
    places.into_iter().for_each(|at| body[at + 3] ^= 4);
    writer.put(&body[..]);
    writer.finish()
}

/// A second machine with the memory of the first.
fn twin(vm: &FerryVm, choice: GuestChoice) -> FerryVm {
    let there = FerryVm::destination(vm.memory.layout().clone(), choice).unwrap();
    for range in vm.memory.ram().ranges() {
        for page in range.first.0..range.end().0 {
            let mut bytes = [0; 4096];
            vm.memory.ram().copy_out(PageIndex(page), &mut bytes);
            there.memory.ram().copy_in(PageIndex(page), &bytes);
        }
    }
    there
}

#[test]
fn a_register_that_is_lost_on_the_way_is_noticed() {
    for choice in kinds() {
        let mut vm = written(choice, &workload(Pattern::Sequence, Fill::Zero), 1000);
        let state = vm.save_state().unwrap();
        let block = vm.memory.block(1).unwrap();
        let mut words = vec![block.sum, block.seed, block.witness];
        if vm.kind() == GuestKind::Kvm {
            words.extend(block.vector);
        }
        for word in words {
            let state = with_word_changed(&vm, &state, word);
            let mut there = twin(&vm, choice);
            there.load_state(&state).unwrap();
            there.resume().unwrap();
            let proof = there.watch().prove(PATIENCE).unwrap();
            assert!(
                proof.to_string().contains("a register of vCPU 1 was lost"),
                "{choice:?}, {word:#x}: {proof}"
            );
        }
    }
}

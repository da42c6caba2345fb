use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use super::decoding::Ferry;
use super::*;
use crate::idxd::choice::{Choice, Way};

/// Has one way look so much cheaper that it is taken but for a rare try of the other.
fn prefer(desk: &Desk<'_>, way: Way) {
    let mut choice = Choice::default();
    for one in [Way::Resume, Way::Finish] {
        for _ in 0..4 {
            choice.took(one, if one == way { Duration::ZERO } else { Duration::from_secs(1 << 20) });
        }
    }
    desk.work.prefer(choice);
}

/// Where a descriptor stops: at words, lines and pages, and where nothing can be built on.
const STOPS: [u32; 8] = [0, 4, 8, 40, 1000, 2048, 4080, 4088];

/// Every descriptor faults once, as it is first posted.
fn once(mishap: Mishap) -> impl FnMut(usize, &Descriptor) -> Option<Mishap> {
    let mut seen = HashSet::new();
    move |_, descriptor| {
        let kind = (descriptor.opcode().0, descriptor.source, descriptor.destination);
        (descriptor.bytes == 4096 && seen.insert(kind)).then_some(mishap)
    }
}

#[test]
fn a_page_fault_at_any_byte_changes_nothing_of_an_encoding() {
    for (deltas, max_batch) in [(true, 1024), (true, 1), (false, 1024)] {
        for way in [Way::Resume, Way::Finish] {
            for (after, write) in STOPS.into_iter().flat_map(|after| [(after, false), (after, true)]) {
                let mut pair = Pair::new(&facts(deltas, max_batch), PageSize::Kib4, 20, true);
                prefer(&pair.desk, way);
                pair.fill();
                pair.desk.engine.mishap = Box::new(once(Mishap::Fault { after, write }));
                let (mut resumed, mut finished) = (0, 0);
                for method in [Method::Delta, Method::Delta, Method::Raw] {
                    let faults = pair.assert_same(method);
                    (resumed, finished) = (resumed + faults.0, finished + faults.1);
                    pair.age();
                }
                let (taken, other) =
                    if way == Way::Resume { (resumed, finished) } else { (finished, resumed) };
                assert!(taken > 60 && other <= taken / 30, "{way:?}: {taken} to {other}");
            }
        }
    }
}

#[test]
fn a_page_fault_at_any_byte_changes_nothing_of_a_decoding() {
    for max_batch in [1024, 1] {
        for way in [Way::Resume, Way::Finish] {
            for (after, write) in STOPS.into_iter().flat_map(|after| [(after, false), (after, true)]) {
                let mut ferry = Ferry::new(&facts(true, max_batch), PageSize::Kib4);
                prefer(&ferry.desk, way);
                ferry.source.fill();
                ferry.desk.engine.mishap =
                    Box::new(move |at, _| (at % 3 == 0).then_some(Mishap::Fault { after, write }));
                let mut detours = Detours::default();
                for method in [Method::Raw, Method::Delta, Method::Delta, Method::Raw] {
                    let mut request = ferry.arriving(method, ChecksumKind::Crc32c);
                    ferry.desk.run(&mut request).unwrap();
                    ferry.assert_arrived();
                    detours.page_faults_resumed += request.detours.page_faults_resumed;
                    detours.page_faults_on_cpu += request.detours.page_faults_on_cpu;
                    ferry.source.age();
                }
                let (taken, other) = match way {
                    Way::Resume => (detours.page_faults_resumed, detours.page_faults_on_cpu),
                    Way::Finish => (detours.page_faults_on_cpu, detours.page_faults_resumed),
                };
                assert!(taken > 10 && other <= taken / 10, "{way:?}: {taken} to {other}");
            }
        }
    }
}

#[test]
fn a_bad_record_is_seen_on_the_cpu_too() {
    let mut ferry = Ferry::new(&facts(true, 1024), PageSize::Kib4);
    prefer(&ferry.desk, Way::Finish);
    ferry.source.fill();
    ferry.carry(Method::Raw, ChecksumKind::Crc32c).unwrap();
    pages().for_each(|page| ferry.source.change(page, 3, 20));
    let mut request = ferry.arriving(Method::Delta, ChecksumKind::Crc32c);
    request.payload.buffer()[11] = 0xff;
    ferry.desk.engine.mishap = Box::new(|_, descriptor| {
        let record = DsaCompletion { status: 3, fault_address: descriptor.source, ..Default::default() };
        (descriptor.opcode() == Opcode::APPLY_DELTA).then_some(Mishap::Answer(record))
    });
    let failure = ferry.desk.run(&mut request).unwrap_err().to_string();
    assert!(failure.contains("beyond the transfer size"), "{failure}");
}

#[test]
fn a_page_that_faults_again_and_again_arrives_in_parts() {
    for deltas in [true, false] {
        for after in [8, 264, 1000, 2000] {
            let mut pair = Pair::new(&facts(deltas, 1024), PageSize::Kib4, 20, true);
            prefer(&pair.desk, Way::Resume);
            pair.fill();
            pair.desk.engine.mishap =
                Box::new(move |at, _| Some(Mishap::Fault { after, write: at % 2 == 0 }));
            for method in [Method::Delta, Method::Delta, Method::Raw] {
                let (resumed, _) = pair.assert_same(method);
                assert!(resumed > 0);
                pair.age();
            }
        }
    }
}

#[test]
fn a_fault_whose_address_is_hidden_is_finished_on_the_cpu() {
    let mut pair = Pair::new(&facts(true, 1024), PageSize::Kib4, 64, true);
    prefer(&pair.desk, Way::Resume);
    pair.fill();
    pair.desk.engine.mishap = Box::new(once(Mishap::HiddenFault { after: 1024 }));
    let (resumed, finished) = pair.assert_same(Method::Delta);
    assert_eq!((resumed, finished > 40), (0, true));
}

#[test]
fn a_fault_where_the_descriptor_has_nothing_fails_the_request() {
    for way in [Way::Resume, Way::Finish] {
        let mut pair = Pair::new(&facts(true, 1024), PageSize::Kib4, 64, true);
        prefer(&pair.desk, way);
        pair.fill();
        pair.desk.engine.mishap = Box::new(|at, _| (at == 5).then_some(Mishap::Stray));
        let (result, ..) = pair.encode(Method::Delta);
        let failure = result.unwrap_err().to_string();
        assert!(failure.contains("page fault at 0x8"), "{failure}");
    }
}

#[test]
fn members_that_a_failed_batch_left_out_run_later_and_once() {
    let mut pair = Pair::new(&facts(true, 1024), PageSize::Kib4, 64, false);
    prefer(&pair.desk, Way::Resume);
    pair.fill();
    pair.desk.engine.failure_ends = Ends::AtOnce;
    pair.desk.engine.mishap =
        Box::new(|at, _| (at % 9 == 8).then_some(Mishap::Fault { after: 512, write: false }));
    let (resumed, _) = pair.assert_same(Method::Delta);
    let log = &pair.desk.engine.log;
    let whole = log.iter().filter(|descriptor| descriptor.bytes == 4096).count();
    assert_eq!(whole, 2 * PAGES.as_usize(), "every page is copied and made something of once");
    assert_eq!(log.len() - whole, resumed as usize);
}

#[test]
fn what_is_made_of_copies_waits_until_all_of_them_are_there() {
    let copies = Cell::new(0);
    let pages = PAGES.as_usize();
    let mut pair = Pair::new(&facts(true, 1024), PageSize::Kib4, 64, false);
    prefer(&pair.desk, Way::Resume);
    pair.fill();
    pair.desk.engine.mishap = Box::new(|at, descriptor| {
        if at == 3 {
            return Some(Mishap::Fault { after: 512, write: false });
        }
        if descriptor.opcode() == Opcode::COPY_WITH_CRC {
            copies.set(copies.get() + 1);
        } else {
            assert_eq!(copies.get(), pages, "a copy is made something of before all are there");
        }
        None
    });
    pair.assert_same(Method::Delta);
    let fenced = |descriptor: &&Descriptor| descriptor.flags().contains(DescriptorFlags::FENCE);
    let fences = pair.desk.engine.log.iter().filter(fenced).count();
    assert_eq!(fences, 0, "what is posted alone or later needs no fence, and the first one did not run");
}

#[test]
fn what_was_made_of_copies_that_were_not_there_is_made_again() {
    for deltas in [true, false] {
        let mut pair = Pair::new(&facts(deltas, 1024), PageSize::Kib4, 64, true);
        prefer(&pair.desk, Way::Resume);
        pair.fill();
        pair.assert_same(Method::Delta);
        pair.age();
        pair.desk.engine.failure_ends = Ends::Nothing;
        pair.desk.engine.mishap = Box::new(|_, descriptor| {
            let copies = descriptor.opcode() == Opcode::COPY_WITH_CRC && descriptor.bytes == 4096;
            copies.then_some(Mishap::Fault { after: 8, write: false })
        });
        pair.assert_same(Method::Delta);
    }
}

#[test]
fn a_batch_that_never_runs_fails_the_request() {
    let mut pair = Pair::new(&facts(true, 1024), PageSize::Kib4, 64, true);
    pair.fill();
    pair.desk.engine.mishap = Box::new(|_, _| Some(Mishap::Answer(DsaCompletion::default())));
    let (result, ..) = pair.encode(Method::Delta);
    assert!(result.unwrap_err().to_string().contains("never ran"));
    assert!(pair.desk.phases < 10, "{} phases", pair.desk.phases);
}

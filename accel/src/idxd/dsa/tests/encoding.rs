use super::*;
use crate::request::Direction;
use crate::run::Content;

#[test]
fn a_payload_is_the_one_that_the_cpu_makes() {
    for deltas in [false, true] {
        for (max_batch, kept) in [(1024, 64), (40, 64), (1, 64), (1024, 9), (1024, 0)] {
            for (page_size, detect_zero) in
                [(PageSize::Kib4, true), (PageSize::Kib4, false), (PageSize::Kib64, true)]
            {
                let mut pair = Pair::new(&facts(deltas, max_batch), page_size, kept, detect_zero);
                pair.fill();
                for method in [Method::Delta, Method::Delta, Method::Raw, Method::Delta, Method::Delta] {
                    pair.assert_same(method);
                    pair.age();
                }
            }
        }
    }
}

#[test]
fn both_parts_share_a_batch_where_they_fit() {
    for (max_batch, phases) in [(1024, 2), (2 * 24, 2), (2 * 24 - 1, 3), (1, 3)] {
        let mut pair = Pair::new(&facts(true, max_batch), PageSize::Kib4, 64, true);
        pages().for_each(|page| pair.write(page, |byte| b"dirty pages"[byte % 11]));
        pair.assert_same(Method::Delta);
        assert_eq!(pair.desk.phases, phases, "with batches of {max_batch}");
        let fences = |descriptor: &&Descriptor| descriptor.flags().contains(DescriptorFlags::FENCE);
        let fenced: Vec<_> = pair.desk.engine.log.iter().filter(fences).map(Descriptor::opcode).collect();
        let expected: &[_] = if phases == 2 { &[Opcode::MEMORY_MOVE] } else { &[] };
        assert_eq!(fenced, expected);
    }
}

#[test]
fn a_page_without_a_baseline_is_copied_once_and_straight_into_the_payload() {
    let mut pair = Pair::new(&facts(true, 1024), PageSize::Kib4, 0, false);
    pair.fill();
    pair.assert_same(Method::Raw);
    let opcodes: Vec<_> = pair.desk.engine.log.iter().map(Descriptor::opcode).collect();
    assert_eq!(opcodes, [Opcode::COPY_WITH_CRC; PAGES.as_usize()]);
}

#[test]
fn flags_are_those_that_the_queue_and_the_operation_take() {
    let mut facts = facts(true, 1024);
    facts.flags = DescriptorFlags::CACHE_CONTROL | DescriptorFlags::BLOCK_ON_FAULT;
    let written = [Opcode::COPY_WITH_CRC, Opcode::MEMORY_MOVE, Opcode::CREATE_DELTA];
    for block_on_fault in [false, true] {
        let mut pair = Pair::new(&facts, PageSize::Kib4, 64, true);
        let config = DsaConfig { block_on_fault, ..DsaConfig::default() };
        pair.desk = Desk::new(&facts, &pair.attachment, config);
        pair.fill();
        pair.assert_same(Method::Delta);
        pair.age();
        pair.assert_same(Method::Delta);
        for descriptor in &pair.desk.engine.log {
            let mut expected =
                DescriptorFlags::COMPLETION_ADDRESS_VALID | DescriptorFlags::REQUEST_COMPLETION;
            expected.set(DescriptorFlags::BLOCK_ON_FAULT, block_on_fault);
            expected.set(DescriptorFlags::CACHE_CONTROL, written.contains(&descriptor.opcode()));
            let flags = descriptor.flags() - DescriptorFlags::FENCE;
            assert_eq!(flags, expected, "of {:?}", descriptor.opcode());
        }
    }
}

/// A request whose pages are not all zero, after a round that left baselines, and a mishap to the `nth` descriptor.
fn fail(deltas: bool, mishap: impl FnMut(usize, &Descriptor) -> Option<Mishap>) -> (Failure, usize) {
    let mut pair = Pair::new(&facts(deltas, 1024), PageSize::Kib4, 64, true);
    pair.fill();
    pair.assert_same(Method::Delta);
    pair.age();
    pair.desk.engine.log.clear();
    pair.desk.engine.mishap = Box::new(mishap);
    let mut request = request(PageSize::Kib4, Method::Delta, &mut pair.baselines);
    let before = Encoded::of(&request);
    let failure = pair.desk.run(&mut request).unwrap_err();
    assert_eq!(Encoded::of(&request), before, "a request that failed is as it was");
    let ran = pair.desk.engine.log.len();
    // The slot is as new: the same request goes through.
    pair.desk.engine.mishap = Box::new(|_, _| None);
    pair.desk.run(&mut request).unwrap();
    assert_eq!(request.direction, Direction::Encode);
    assert!(request.runs.iter().any(|run| run.content == Content::Zero));
    (failure, ran)
}

#[test]
fn a_bad_status_fails_the_request_and_leaves_it_as_it_was() {
    for (opcode, status, words) in [
        (Opcode::COMPARE_PATTERN, 0x10, "operation not supported"),
        (Opcode::COPY_WITH_CRC, 0x20, "hardware error"),
        (Opcode::CREATE_DELTA, 0x22, "address translation error"),
        (Opcode::CREATE_DELTA, 0x02, "not the expected one"),
    ] {
        let mut seen = 0;
        let (failure, _) = fail(true, |_, descriptor| {
            seen += usize::from(descriptor.opcode() == opcode);
            (descriptor.opcode() == opcode && seen == 7)
                .then_some(Mishap::Answer(DsaCompletion { status, ..Default::default() }))
        });
        let message = failure.to_string();
        assert!(message.starts_with("dsa0/wq0.0: ") && message.contains(words), "{message}");
        assert!(message.contains(&format!("operation {:#04x}", opcode.0)), "{message}");
    }
}

#[test]
fn a_delta_that_cannot_be_one_fails_the_request() {
    for (result, value) in [(0, 10), (1, 0), (1, 15), (1, 4100), (3, 0)] {
        let (failure, _) = fail(true, |_, descriptor| {
            let record = DsaCompletion { status: 1, result, value, ..Default::default() };
            (descriptor.opcode() == Opcode::CREATE_DELTA).then_some(Mishap::Answer(record))
        });
        assert!(failure.to_string().contains("delta of a page"), "{failure}");
    }
}

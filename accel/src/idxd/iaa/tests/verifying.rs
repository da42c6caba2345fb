//! What a device did wrong does not leave the driver.

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DecompressFlags;
use pageferry_bindings::idxd::opcode::Opcode;

use super::bench::{Bench, Silicon, config, facts, some_runs};
use super::modelled::modelled;
use crate::codec::deflate::Window;
use crate::idxd::iaa::{Huffman, IaaConfig};
use crate::method::Method;
use crate::model::fault::{Fault, FaultPlan, When};
use crate::queue::Failure;
use crate::run::Run;
use crate::units::{PageCount, PageIndex, PageSize};

/// Four pieces, one of which does not shrink.
fn few_runs() -> Vec<Run> {
    [(0, 3), (5, 4), (10, 2), (22, 1)]
        .map(|(first, count)| Run::data(PageIndex(first), PageCount(count)))
        .to_vec()
}

fn cpu() -> Bench {
    Bench::cpu(Window::Kib4, PageSize::Kib4)
}

#[test]
fn no_wrong_record_of_a_compression_leaves_the_driver() {
    let cpu = cpu();
    for huffman in [Huffman::Fixed, Huffman::Dynamic] {
        let counted = if huffman == Huffman::Dynamic { 4 } else { 0 };
        for fault in [Fault::WrongCount, Fault::WrongChecksum] {
            for number in 0..counted + 4 + 6 {
                let config = IaaConfig { huffman, detect_zero: false, ..config() };
                let (source, model) = modelled(config, FaultPlan::one(When::At(number), fault));
                source.fill(|page| page == 22);
                let (request, result) = source.run(source.request(&few_runs()));
                let misdeeds = model.misdeeds().total();
                match result {
                    Ok(()) => {
                        cpu.decode(&request).unwrap();
                        cpu.assert_same(&source, &few_runs());
                        assert!(
                            misdeeds == 0 || !(counted..counted + 4).contains(&number),
                            "{fault:?} at {number}"
                        );
                    }
                    Err(Failure::Device { status, .. }) => {
                        assert_eq!(misdeeds, 1);
                        assert!(status.contains("pages from"), "{fault:?} at {number}: {status}");
                    }
                    Err(failure) => panic!("{fault:?} at {number}: {failure}"),
                }
            }
        }
    }
}

#[test]
fn whatever_a_plan_spoils_what_is_sent_decodes_to_the_pages() {
    let cpu = cpu();
    let (mut sent, mut failed, mut spoiled) = (0, 0, 0);
    for seed in 0..10 {
        let plan = FaultPlan { seed, ..FaultPlan::none() }
            .and(When::PerMillion(30_000), Fault::WrongCount)
            // One alone: the same wrong checksum of a piece twice would be one that nobody can see.
            .and(When::At(5 + 3 * seed), Fault::WrongChecksum)
            .and(When::PerMillion(20_000), Fault::PageFault { operand: None, byte: None });
        let (source, model) = modelled(config(), plan);
        source.fill(|page| page == 22);
        for _ in 0..4 {
            let (request, result) = source.run(source.request(&some_runs()));
            match result {
                Ok(()) => {
                    sent += 1;
                    cpu.decode(&request).unwrap();
                    cpu.assert_same(&source, &some_runs());
                }
                Err(Failure::Device { .. }) => {
                    failed += 1;
                    assert!(request.segments.is_empty() && request.payload.is_empty());
                }
                Err(failure) => panic!("seed {seed}: {failure}"),
            }
        }
        let misdeeds = model.misdeeds();
        spoiled += misdeeds.wrong_counts + misdeeds.wrong_checksums;
    }
    assert!(
        sent > 8 && failed > 8 && spoiled > 16,
        "{sent} sent, {failed} failed, {spoiled} records spoiled"
    );
}

/// Changes a byte of what a device of the test wrote.
///
/// # Safety
/// It is in memory that the test's queue keeps, and nobody else uses it while the device executes the descriptor.
unsafe fn change(descriptor: &Descriptor, at: usize, byte: impl FnOnce(u8) -> u8) {
    let start: *mut u8 =
        std::ptr::with_exposed_provenance_mut(usize::try_from(descriptor.destination).unwrap());
    // SAFETY: the caller's word.
    unsafe { start.add(at).write(byte(start.add(at).read())) };
}

/// What a request fails with if the device does this to the first piece that it compresses.
fn status_after(spoil: impl Fn(&Descriptor, &mut IaaCompletion) + Send + Sync + 'static) -> String {
    let silicon = Silicon::new(&[facts()]);
    let source = Bench::iaa(&silicon, IaaConfig { huffman: Huffman::Fixed, ..config() }, PageSize::Kib4);
    source.fill(|_| false);
    silicon.obey(move |number, descriptor, execute| {
        let mut record = execute();
        if number == 0 {
            spoil(descriptor, &mut record);
        }
        record
    });
    let (request, result) = source.run(source.request(&[Run::data(PageIndex(0), PageCount(8))]));
    assert!(request.segments.is_empty() && request.payload.is_empty());
    match result {
        Err(Failure::Device { status, .. }) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_that_is_not_the_pages_fails_and_says_which_and_why() {
    let status = status_after(|_, record| record.crc = 0x1234_5678);
    assert!(
        status.contains("pages from 0x0 on has the checksum") && status.contains("not 12345678"),
        "{status}"
    );
    let status = status_after(|_, record| record.output_bytes -= 1);
    assert!(status.contains("could not be decoded"), "{status}");
    for more in [1, 2, 7, 100] {
        let status = status_after(move |descriptor, record| {
            let bytes = record.output_bytes as usize;
            for at in bytes..bytes + more {
                // SAFETY: a piece is shorter than its pages, whose length its part of the payload has.
                unsafe { change(descriptor, at, |_| 0) };
            }
            record.output_bytes += u32::try_from(more).unwrap();
        });
        assert!(status.contains("ends before"), "{more} bytes more: {status}");
    }
    for at in [0, 3, 50] {
        let status = status_after(move |descriptor, _| {
            // SAFETY: as above.
            unsafe { change(descriptor, at, |byte| byte ^ 0x10) };
        });
        assert!(status.contains("pages from 0x0 on"), "{at}: {status}");
    }
}

#[test]
fn a_device_that_cannot_verify_fails_the_request() {
    for number in [0, 1] {
        let silicon = Silicon::new(&[facts()]);
        let source = Bench::iaa(&silicon, IaaConfig { huffman: Huffman::Fixed, ..config() }, PageSize::Kib4);
        source.fill(|_| false);
        silicon.obey(move |taken, _, execute| {
            if taken == 1 + number {
                IaaCompletion { status: 0x20, ..IaaCompletion::default() }
            } else {
                execute()
            }
        });
        let (_, result) = source.run(source.request(&[Run::data(PageIndex(0), PageCount(4))]));
        assert!(
            matches!(&result, Err(Failure::Device { status, .. }) if status.contains("hardware error")),
            "{result:?}"
        );
    }
}

#[test]
fn a_device_may_count_what_it_does_not_keep_but_not_otherwise_than_it_is() {
    for (counted, holds) in [(0, true), (4 * 4096, true), (4 * 4096 - 1, false), (1, false)] {
        let silicon = Silicon::new(&[facts()]);
        let source = Bench::iaa(&silicon, IaaConfig { huffman: Huffman::Fixed, ..config() }, PageSize::Kib4);
        source.fill(|_| false);
        silicon.obey(move |_, descriptor, execute| match descriptor.opcode() {
            Opcode::DECOMPRESS => IaaCompletion { output_bytes: counted, ..execute() },
            _ => execute(),
        });
        let (_, result) = source.run(source.request(&[Run::data(PageIndex(0), PageCount(4))]));
        assert_eq!(result.is_ok(), holds, "{counted}: {result:?}");
    }
}

#[test]
fn only_what_was_compressed_is_verified_and_only_if_that_is_asked_for() {
    for verify in [true, false] {
        let silicon = Silicon::new(&[facts()]);
        let config = IaaConfig { verify, huffman: Huffman::Fixed, detect_zero: false, ..config() };
        let source = Bench::iaa(&silicon, config, PageSize::Kib4);
        source.fill(|page| page == 22);
        let sent = source.encode(&few_runs());
        assert_eq!(sent.segments.iter().filter(|segment| segment.method == Method::Deflate).count(), 3);
        let taken = silicon.taken();
        assert_eq!(taken.len(), if verify { 4 + 3 * 2 } else { 4 });
        let suppressed = DecompressFlags::SUPPRESS_OUTPUT.bits();
        assert!(taken[4..].iter().all(|taken| taken.operation_flags & suppressed != 0));
    }
}

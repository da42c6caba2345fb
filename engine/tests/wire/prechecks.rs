//! What is known of the two hosts before a page is sent: CPUs, free memory, accelerators.

use std::collections::BTreeSet;

use pageferry_accel::checksum::crc32c;
use pageferry_engine::handshake::{Answer, Capabilities, HandshakeError, Mismatch, Offer, Refusal};
use pageferry_engine::vm::{Architecture, Machine};

use crate::handshakes::{local, machine, offer};

fn written(offer: &Offer) -> Vec<u8> {
    let mut bytes = Vec::new();
    offer.write(&mut bytes).unwrap();
    bytes
}

/// An offer of these features, with `from` in its bytes replaced by as many of `to`.
fn reworded(features: &[&str], from: &str, to: &[u8]) -> Result<Offer, HandshakeError> {
    let mut bytes = written(&Offer { machine: Some(machine(features)), ..offer() });
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is there");
    bytes[at..at + to.len()].copy_from_slice(to);
    let checked = bytes.len() - 4;
    let checksum = crc32c(&bytes[..checked]).to_le_bytes();
    bytes[checked..].copy_from_slice(&checksum);
    Offer::read(&mut &bytes[..])
}

/// What keeps a guest on `source` from a host that has `destination`, alone.
fn mismatch(source: Option<Machine>, destination: Option<Machine>) -> Option<Mismatch> {
    let offer = Offer { machine: source, ..offer() };
    let found = offer.check(&Capabilities { machine: destination, ..local() });
    let mismatches = found.err()?;
    assert_eq!(mismatches.len(), 1, "{mismatches:?}");
    mismatches.into_iter().next()
}

#[test]
fn a_guest_goes_to_a_cpu_that_has_more_and_not_back() {
    let (less, more) = (machine(&["avx2", "fpu"]), machine(&["avx2", "avx512f", "fpu"]));
    assert_eq!(mismatch(Some(less.clone()), Some(more.clone())), None);
    let found = mismatch(Some(more), Some(less)).unwrap();
    assert_eq!(found.refusal(), Refusal::Machine);
    let text = found.to_string();
    assert!(text.contains("lacks: avx512f (source: A CPU; destination: A CPU)"), "{text}");
}

#[test]
fn a_guest_stays_within_its_architecture_whatever_the_features() {
    let arm = Machine { architecture: Architecture::AARCH64, cpu_model: String::new(), ..machine(&[]) };
    let found = mismatch(Some(machine(&["avx2"])), Some(arm)).unwrap();
    assert_eq!(found.refusal(), Refusal::Machine);
    let text = found.to_string();
    assert!(text.contains("x86-64 (A CPU)") && text.contains("AArch64 (a CPU without a name)"), "{text}");
}

#[test]
fn what_either_end_does_not_state_is_not_checked() {
    let arm = Machine { architecture: Architecture::AARCH64, ..machine(&["sve2"]) };
    let unknown = Machine { architecture: Architecture::UNKNOWN, ..arm.clone() };
    assert_eq!(mismatch(None, Some(arm.clone())), None);
    assert_eq!(mismatch(Some(arm.clone()), None), None);
    assert_eq!(mismatch(Some(arm), Some(unknown)), None);
    assert!(offer().check(&Capabilities { available_bytes: None, ..local() }).is_ok());
}

#[test]
fn a_guest_needs_as_much_free_memory_as_it_has_regions() {
    let with = |available_bytes| offer().check(&Capabilities { available_bytes, ..local() });
    assert!(with(Some(32 << 20)).is_ok());
    let found = with(Some((32 << 20) - 1)).unwrap_err();
    let expected = Mismatch::FreeMemory { needed_bytes: 32 << 20, available_bytes: (32 << 20) - 1 };
    assert_eq!(found, [expected]);
    let answer = Answer::reject_mismatches(&found);
    assert!(matches!(answer, Answer::Refused { refusal: Refusal::FreeMemory, .. }), "{answer:?}");
}

#[test]
fn a_list_of_features_that_is_none_is_refused_at_the_name_that_is_wrong() {
    for (from, to, wrong) in [
        ("avx2 fpu", &b"avx2  pu"[..], ""),
        ("avx2 fpu", b"fpu avx2", "avx2"),
        ("avx2 fpu", b"avx avx ", "avx"),
        ("avx2 fpu", b" avx2fpu", ""),
        ("avx2 fpu", b"avx2 fp\x1b", "fp\u{fffd}"),
        ("avx2 fpu", b"avx2 fp\xff", "fp\u{fffd}"),
    ] {
        let found = reworded(&["avx2", "fpu"], from, to);
        let named = matches!(&found, Err(HandshakeError::CpuFeatures { found }) if found == wrong);
        assert!(named, "{:?}: {found:?}", String::from_utf8_lossy(to));
    }
}

#[test]
fn texts_for_people_arrive_harmless_and_stay_as_they_arrived() {
    let read = reworded(&["fpu"], "A CPU", b"\x1b\x1b\x1b\x1b\xff").unwrap();
    assert_eq!(read.machine.as_ref().unwrap().cpu_model, "\u{fffd}".repeat(5));
    assert_eq!(Offer::read(&mut &written(&read)[..]).unwrap(), read);
    let read = reworded(&["fpu"], "cpu", b"\nx\x07").unwrap();
    assert_eq!(read.accelerators, "iaa-model (model),  x\u{fffd}");
}

#[test]
fn a_model_and_accelerators_of_many_words_are_cut() {
    let many = Offer {
        machine: Some(Machine { cpu_model: "M".repeat(500), ..machine(&[]) }),
        accelerators: "a".repeat(5000),
        ..offer()
    };
    let read = Offer::read(&mut &written(&many)[..]).unwrap();
    assert_eq!((read.machine.unwrap().cpu_model.len(), read.accelerators.len()), (128, 512));
}

#[test]
fn the_longest_offer_that_is_read_is_as_long_as_it_may_be() {
    let feature = |number: usize| format!("f{number:02}{}", "x".repeat(if number == 63 { 125 } else { 124 }));
    let cpu_features: BTreeSet<_> = (0..64).map(feature).collect();
    let machine = Machine { cpu_model: "M".repeat(128), cpu_features, ..machine(&[]) };
    let long = Offer { machine: Some(machine), accelerators: "a".repeat(512), ..offer() };
    let bytes = written(&long);
    assert_eq!(bytes.len(), Offer::MAX_BYTES - 1022 * 16);
    assert_eq!(Offer::read(&mut &bytes[..]).unwrap(), long);
}

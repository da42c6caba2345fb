//! Laws of the handshake.

use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::units::{Gpa, PageSize};
use pageferry_engine::frame::ChecksumSet;
use pageferry_engine::handshake::{
    Acceptance, Answer, Capabilities, HandshakeError, MigrationId, Mismatch, MissingFeatures, Offer, Refusal,
    Versions, agree,
};
use pageferry_engine::regions::{Region, Regions};
use pageferry_engine::vm::{Architecture, Machine};
use proptest::prelude::*;

use crate::samples::regions;

/// A source with every method, four channels and frames of 63 pages.
pub fn offer() -> Offer {
    Offer {
        versions: Versions::SPOKEN,
        deflate_window_bits: 15,
        migration: MigrationId(*b"migration-no-001"),
        channel: 0,
        channels: 4,
        max_pages: 63,
        max_payload_bytes: 63 << 12,
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: regions(),
        attempt: 2,
        machine: Some(machine(&["avx2", "fpu"])),
        accelerators: "iaa-model (model), cpu".to_owned(),
    }
}

/// A processor with these features.
pub fn machine(features: &[&str]) -> Machine {
    Machine {
        architecture: Architecture::X86_64,
        cpu_model: "A CPU".to_owned(),
        cpu_features: features.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// A destination of the same memory that can do less, and takes more pages of less payload.
pub fn local() -> Capabilities {
    Capabilities {
        deflate_window_bits: 12,
        max_pages: 128,
        max_payload_bytes: 100_000,
        methods: MethodSet::of(&[Method::Zero, Method::Raw, Method::Deflate]),
        checksums: ChecksumSet::from_bits(4),
        regions: regions(),
        machine: Some(machine(&["avx2", "fpu", "sse2"])),
        available_bytes: Some(32 << 20),
        accelerators: "cpu".to_owned(),
    }
}

fn written(write: impl Fn(&mut Vec<u8>) -> Result<(), HandshakeError>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    out
}

fn offers() -> impl Strategy<Value = Offer> {
    let sizes = prop::sample::select(vec![PageSize::Kib4, PageSize::Kib16, PageSize::Kib64]);
    let steps = prop::collection::vec((0u64..3, 1u64..1 << 20), 1..40);
    let numbers = (1u8..=255, 0u8..=255, any::<[u8; 16]>(), 1u16..=64, any::<u16>(), 1u32..=1024);
    let abilities = (any::<bool>(), any::<u32>(), any::<u32>(), any::<u32>());
    let state = (any::<u32>(), machines(), "[a-z0-9 (),äß€]{0,128}");
    (sizes, steps, numbers, abilities, state).prop_map(|(size, steps, numbers, abilities, state)| {
        let mut page = 0;
        let region = |(gap, pages)| {
            let first = page + gap;
            page = first + pages;
            Region { gpa: Gpa(first << size.shift()), bytes: pages << size.shift() }
        };
        let regions = Regions::new(size, steps.into_iter().map(region).collect()).unwrap();
        let (version, more, migration, channels, channel, max_pages) = numbers;
        let (narrow, payload, methods, checksums) = abilities;
        let page_bytes = 1 << size.shift();
        Offer {
            versions: Versions { min: version, max: version.saturating_add(more) },
            deflate_window_bits: if narrow { 12 } else { 15 },
            migration: MigrationId(migration),
            channel: channel % channels,
            channels,
            max_pages,
            max_payload_bytes: page_bytes + payload % ((max_pages - 1) * page_bytes + 1),
            methods: MethodSet::from_bits(methods),
            checksums: ChecksumSet::from_bits(checksums),
            regions,
            attempt: state.0,
            machine: state.1,
            accelerators: state.2,
        }
    })
}

fn machines() -> impl Strategy<Value = Option<Machine>> {
    let features = prop::collection::btree_set("[!-~]{1,16}", 0..200);
    let machine = (1u16.., "[a-zA-Z0-9 ()@.äß€]{0,32}", features);
    prop::option::of(machine.prop_map(|(architecture, cpu_model, cpu_features)| Machine {
        architecture: Architecture(architecture),
        cpu_model,
        cpu_features,
    }))
}

fn answers() -> impl Strategy<Value = Answer> {
    let accepted = offers().prop_map(|offer| {
        Answer::Accepted(Acceptance {
            version: offer.versions.max,
            page_size: offer.page_size(),
            deflate_window_bits: offer.deflate_window_bits,
            methods: offer.methods,
            max_pages: offer.max_pages,
            max_payload_bytes: offer.max_payload_bytes,
            checksums: offer.checksums,
            accelerators: offer.accelerators,
        })
    });
    let refusals = prop::sample::select(vec![
        Refusal::Malformed,
        Refusal::Version,
        Refusal::PageSize,
        Refusal::Memory,
        Refusal::Methods,
        Refusal::Checksums,
        Refusal::Channels,
        Refusal::Unexpected,
        Refusal::Several,
        Refusal::Machine,
        Refusal::FreeMemory,
        Refusal::Unknown(200),
    ]);
    let refused = (refusals, "[a-zA-Z0-9 äß€;:]{0,256}");
    prop_oneof![accepted, refused.prop_map(|(refusal, text)| Answer::Refused { refusal, text })]
}

proptest! {
    #[test]
    fn an_offer_arrives_as_it_was_sent(offer in offers()) {
        let bytes = written(|out| offer.write(out));
        prop_assert!(bytes.len() <= Offer::MAX_BYTES);
        prop_assert_eq!(Offer::read(&mut &bytes[..]).unwrap(), offer);
    }

    #[test]
    fn an_answer_arrives_as_it_was_sent(answer in answers()) {
        let bytes = written(|out| answer.write(out));
        prop_assert!(bytes.len() <= Answer::MAX_BYTES);
        prop_assert_eq!(Answer::read(&mut &bytes[..]).unwrap(), answer);
    }

    #[test]
    fn a_flipped_bit_is_refused(offer in offers(), answer in answers(), bit in any::<prop::sample::Index>()) {
        let flipped = |mut bytes: Vec<u8>| {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        prop_assert!(Offer::read(&mut &flipped(written(|out| offer.write(out)))[..]).is_err());
        prop_assert!(Answer::read(&mut &flipped(written(|out| answer.write(out)))[..]).is_err());
    }

    #[test]
    fn a_message_that_ends_early_is_refused(offer in offers(), cut in any::<prop::sample::Index>()) {
        let bytes = written(|out| offer.write(out));
        let found = Offer::read(&mut &bytes[..cut.index(bytes.len())]);
        prop_assert!(matches!(found, Err(HandshakeError::Io { .. })), "{:?}", found);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 4..200)) {
        bytes[..4].copy_from_slice(b"PFRH");
        let _ = Offer::read(&mut &bytes[..]);
        bytes[..4].copy_from_slice(b"PFRA");
        let _ = Answer::read(&mut &bytes[..]);
    }

    #[test]
    fn an_agreement_asks_neither_end_for_more_than_it_stated(
        offer in offers(), mut local in offers(), same in any::<bool>(),
    ) {
        if same {
            local.regions = offer.regions.clone();
            local.max_payload_bytes = offer.max_payload_bytes;
            local.max_pages = offer.max_pages;
            local.machine = offer.machine.clone();
        }
        let local = Capabilities {
            deflate_window_bits: local.deflate_window_bits,
            max_pages: local.max_pages,
            max_payload_bytes: local.max_payload_bytes,
            methods: local.methods,
            checksums: local.checksums,
            regions: local.regions,
            machine: local.machine,
            available_bytes: None,
            accelerators: local.accelerators,
        };
        if let Ok(answer) = offer.check(&local) {
            let agreement = agree(&offer, &answer).unwrap();
            let limits = agreement.limits();
            prop_assert!(limits.max_pages <= offer.max_pages.min(local.max_pages));
            prop_assert!(limits.max_payload_bytes <= offer.max_payload_bytes.min(local.max_payload_bytes));
            prop_assert!(limits.max_payload_bytes <= limits.max_pages << offer.page_size().shift());
            prop_assert!(limits.max_payload_bytes >= 1 << offer.page_size().shift());
            prop_assert_eq!(limits.methods, offer.methods.intersection(local.methods));
            prop_assert!(limits.methods.contains(Method::Raw) && limits.methods.contains(Method::Zero));
            prop_assert!(!limits.checksums.is_empty());
        }
    }
}

#[test]
fn both_ends_agree_on_the_least_of_each() {
    let (offer, local) = (offer(), local());
    let answer = offer.check(&local).unwrap();
    let bytes = written(|out| answer.write(out));
    let arrived = Answer::read(&mut &bytes[..]).unwrap();
    let (here, there) = (agree(&offer, &answer).unwrap(), agree(&offer, &arrived).unwrap());
    assert_eq!(here, there);
    assert_eq!((here.version, here.deflate_window_bits, here.channels), (2, 12, 4));
    let limits = here.limits();
    assert_eq!((limits.max_pages, limits.max_payload_bytes), (63, 100_000));
    assert_eq!((limits.methods, limits.checksums), (local.methods, local.checksums));
    assert_eq!(limits.regions, offer.regions);
    assert_eq!(here.attempt, 2);
    let accelerators = (&here.source_accelerators[..], &here.destination_accelerators[..]);
    assert_eq!(accelerators, ("iaa-model (model), cpu", "cpu"));
}

#[test]
fn a_frame_has_no_more_than_both_ends_take() {
    let local = Capabilities { max_pages: 2, max_payload_bytes: 8192, ..local() };
    let offer = Offer { max_pages: 63, max_payload_bytes: 63 << 12, ..offer() };
    let agreement = agree(&offer, &offer.check(&local).unwrap()).unwrap();
    assert_eq!((agreement.limits().max_pages, agreement.limits().max_payload_bytes), (2, 8192));
    let wide = Capabilities { max_pages: 1024, max_payload_bytes: 1 << 22, ..local };
    let narrow = Offer { max_pages: 1, max_payload_bytes: 4096, ..offer };
    let agreement = agree(&narrow, &narrow.check(&wide).unwrap()).unwrap();
    assert_eq!((agreement.limits().max_pages, agreement.limits().max_payload_bytes), (1, 4096));
}

#[test]
fn everything_that_does_not_fit_is_said_at_once() {
    let at = |gpa| Region { gpa: Gpa(gpa), bytes: 1 << 20 };
    let local = Capabilities {
        methods: MethodSet::of(&[Method::Zero]),
        checksums: ChecksumSet::default(),
        regions: Regions::new(PageSize::Kib16, vec![at(0)]).unwrap(),
        machine: Some(machine(&["fpu"])),
        available_bytes: Some(0),
        ..local()
    };
    let offer = Offer {
        versions: Versions { min: 3, max: 4 },
        methods: MethodSet::of(&[Method::Raw]),
        regions: Regions::new(PageSize::Kib4, vec![at(1 << 20)]).unwrap(),
        ..offer()
    };
    let mismatches = offer.check(&local).unwrap_err();
    let expected = [
        Mismatch::Version { source_speaks: offer.versions, destination_speaks: Versions { min: 2, max: 2 } },
        Mismatch::PageSize { source_has: PageSize::Kib4, destination_has: PageSize::Kib16 },
        Mismatch::Method { end: "source", method: Method::Zero },
        Mismatch::Method { end: "destination", method: Method::Raw },
        Mismatch::Checksums { source_has: offer.checksums, destination_has: local.checksums },
        Mismatch::CpuFeatures {
            missing: MissingFeatures(["avx2".to_owned()].into()),
            source_cpu: "A CPU".to_owned(),
            destination_cpu: "A CPU".to_owned(),
        },
        Mismatch::FreeMemory { needed_bytes: 1 << 20, available_bytes: 0 },
        Mismatch::OnlyAtSource(at(1 << 20)),
        Mismatch::OnlyAtDestination(at(0)),
    ];
    assert_eq!(mismatches, expected);
    let bytes = written(|out| Answer::reject_mismatches(&mismatches).write(out));
    let error = agree(&offer, &Answer::read(&mut &bytes[..]).unwrap()).unwrap_err();
    let HandshakeError::Refused { refusal, text } = error else { panic!("{error}") };
    assert_eq!(refusal, Refusal::Several);
    assert!(text.len() <= 1024 && text.contains("version 3 to 4") && text.contains("16 KiB"), "{text}");
    assert!(text.contains("lacks: avx2 (") && text.contains("has 1 MiB"), "{text}");
}

#[test]
fn one_reason_alone_is_named_as_such() {
    let offer = Offer { versions: Versions { min: 3, max: 3 }, ..offer() };
    let answer = Answer::reject_mismatches(&offer.check(&local()).unwrap_err());
    assert!(matches!(answer, Answer::Refused { refusal: Refusal::Version, .. }), "{answer:?}");
}

#[test]
fn a_destination_that_accepts_what_does_not_fit_is_not_believed() {
    let offer = offer();
    let Answer::Accepted(good) = offer.check(&local()).unwrap() else { panic!("it fits") };
    for bad in [
        Acceptance { version: 3, ..good.clone() },
        Acceptance { version: 1, ..good.clone() },
        Acceptance { version: 0, ..good.clone() },
        Acceptance { page_size: PageSize::Kib16, ..good.clone() },
        Acceptance { methods: MethodSet::of(&[Method::Raw]), ..good.clone() },
        Acceptance { checksums: ChecksumSet::default(), ..good },
    ] {
        let found = agree(&offer, &Answer::Accepted(bad.clone()));
        assert!(matches!(found, Err(HandshakeError::Disagreement(_))), "{bad:?}: {found:?}");
    }
}

#[test]
fn a_source_of_later_versions_too_is_spoken_to_in_this_one() {
    let offer = Offer { versions: Versions { min: 1, max: 9 }, ..offer() };
    let agreement = agree(&offer, &offer.check(&local()).unwrap()).unwrap();
    assert_eq!(agreement.version, 2);
    let Answer::Accepted(good) = offer.check(&local()).unwrap() else { panic!("it fits") };
    let found = agree(&offer, &Answer::Accepted(Acceptance { version: 3, ..good }));
    assert!(matches!(found, Err(HandshakeError::Disagreement(_))), "{found:?}");
}

#[test]
fn an_agreement_on_the_impossible_is_none() {
    let offer = offer();
    let Answer::Accepted(good) = offer.check(&local()).unwrap() else { panic!("it fits") };
    let found = agree(&offer, &Answer::Accepted(Acceptance { max_pages: 2000, ..good.clone() }));
    assert!(matches!(found, Err(HandshakeError::MaxPages { pages: 2000, .. })), "{found:?}");
    let found = agree(&Offer { max_payload_bytes: 1, ..offer }, &Answer::Accepted(good));
    assert!(matches!(found, Err(HandshakeError::MaxPayload { bytes: 1, .. })), "{found:?}");
}

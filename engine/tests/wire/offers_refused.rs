//! Every reason to refuse an offer, an answer, or a connection.

use std::io::{self, Read};

use pageferry_accel::checksum::crc32c;
use pageferry_accel::method::MethodSet;
use pageferry_accel::units::PageSize;
use pageferry_engine::handshake::{Answer, Channels, HandshakeError, MigrationId, Offer, Refusal, Versions};
use pageferry_engine::regions::{Regions, RegionsError};

use crate::handshakes::{local, machine, offer};

/// The offer's bytes with some overwritten and the checksum made right again.
fn patched_offer(patches: &[(usize, &[u8])]) -> Result<Offer, HandshakeError> {
    let mut bytes = Vec::new();
    offer().write(&mut bytes).unwrap();
    Offer::read(&mut &patched(bytes, patches)[..])
}

fn patched_answer(answer: &Answer, patches: &[(usize, &[u8])]) -> Result<Answer, HandshakeError> {
    let mut bytes = Vec::new();
    answer.write(&mut bytes).unwrap();
    Answer::read(&mut &patched(bytes, patches)[..])
}

fn patched(mut bytes: Vec<u8>, patches: &[(usize, &[u8])]) -> Vec<u8> {
    for &(offset, patch) in patches {
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
    }
    let end = bytes.len() - 4;
    let checksum = crc32c(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    bytes
}

/// A peer that goes on sending for as long as it is read.
struct Endless(u64);

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        into.fill(0x20);
        self.0 += into.len() as u64;
        Ok(into.len())
    }
}

#[test]
fn an_offer_with_an_impossible_number_is_refused_by_name() {
    type Error = HandshakeError;
    assert!(patched_offer(&[]).is_ok());
    let refused = |patch| patched_offer(&[patch]).unwrap_err();
    assert!(matches!(refused((0, b"PFRA")), Error::Magic { found, .. } if found == *b"PFRA"));
    assert!(matches!(refused((4, &[0])), Error::Versions { min: 0, max: 2 }));
    assert!(matches!(refused((4, &[3, 2])), Error::Versions { min: 3, max: 2 }));
    assert!(matches!(refused((6, &[13])), Error::PageSize { source, .. } if source.shift == 13));
    assert!(matches!(refused((7, &[13])), Error::DeflateWindow { bits: 13, .. }));
    assert!(matches!(refused((24, &[4, 0])), Error::Channel { channel: 4, channels: 4 }));
    assert!(matches!(refused((26, &[0, 0])), Error::Channel { channels: 0, .. }));
    assert!(matches!(refused((26, &[65, 0])), Error::Channel { channels: 65, .. }));
    assert!(matches!(refused((28, &[0, 0, 0, 0])), Error::MaxPages { pages: 0, .. }));
    assert!(matches!(refused((28, &[1, 4, 0, 0])), Error::MaxPages { pages: 1025, .. }));
    assert!(matches!(refused((32, &[0xff, 0xf, 0, 0])), Error::MaxPayload { bytes: 4095, min: 4096, .. }));
    assert!(matches!(refused((32, &[0xff; 4])), Error::MaxPayload { bytes: u32::MAX, max: 258_048, .. }));
    assert!(matches!(refused((44, &[1, 4, 0, 0])), Error::TooManyRegions { regions: 1025 }));
    assert!(matches!(refused((44, &[0xff; 4])), Error::TooManyRegions { regions: u32::MAX }));
    assert!(matches!(refused((54, &[0, 1])), Error::Reserved { message: "offer", found: 256 }));
    for (at, max) in [(56, 128), (58, 8192), (60, 512)] {
        let stated = u16::try_from(max + 1).unwrap().to_le_bytes();
        let error = patched_offer(&[(at, &stated)]).unwrap_err();
        let expected =
            matches!(error, Error::TextLength { bytes, max: most, .. } if (bytes, most) == (max + 1, max));
        assert!(expected, "the text whose length is at {at}: {error}");
    }
    assert!(matches!(refused((62, &[1])), Error::Regions(RegionsError::Alignment { index: 0, .. })));
}

#[test]
fn an_offer_without_regions_is_refused() {
    let mut bytes = Vec::new();
    offer().write(&mut bytes).unwrap();
    bytes.truncate(62 + 4);
    let found = Offer::read(&mut &patched(bytes, &[(44, &[0]), (56, &[0; 6])])[..]);
    assert!(matches!(found, Err(HandshakeError::Regions(RegionsError::Count { found: 0 }))), "{found:?}");
}

#[test]
fn damage_is_told_from_nonsense() {
    let mut bytes = Vec::new();
    offer().write(&mut bytes).unwrap();
    bytes[9] ^= 0x10;
    let found = Offer::read(&mut &bytes[..]);
    assert!(matches!(found, Err(HandshakeError::Checksum { message: "offer", .. })), "{found:?}");
}

#[test]
fn an_offer_that_no_destination_would_read_is_not_written() {
    let mut out = Vec::new();
    for bad in [
        Offer { versions: Versions { min: 2, max: 1 }, ..offer() },
        Offer { channel: 4, ..offer() },
        Offer { max_pages: 2000, ..offer() },
        Offer { deflate_window_bits: 9, ..offer() },
        Offer { machine: Some(machine(&["two words"])), ..offer() },
        Offer { machine: Some(machine(&[""])), ..offer() },
        Offer { machine: Some(machine(&["größe"])), ..offer() },
        Offer { machine: Some(machine(&[&"f".repeat(8193)])), ..offer() },
    ] {
        assert!(bad.write(&mut out).is_err(), "{bad:?}");
    }
    assert!(out.is_empty());
}

#[test]
fn an_answer_with_an_impossible_number_is_refused_by_name() {
    type Error = HandshakeError;
    let accepted = offer().check(&local()).unwrap();
    assert!(patched_answer(&accepted, &[]).is_ok());
    let refused = |patch| patched_answer(&accepted, &[patch]).unwrap_err();
    assert!(matches!(refused((0, b"PFRH")), Error::Magic { found, .. } if found == *b"PFRH"));
    assert!(matches!(refused((6, &[11])), Error::PageSize { source, .. } if source.shift == 11));
    assert!(matches!(refused((7, &[16])), Error::DeflateWindow { bits: 16, .. }));
    assert!(matches!(refused((12, &[0; 4])), Error::MaxPages { pages: 0, .. }));
    assert!(matches!(refused((16, &[0; 4])), Error::MaxPayload { bytes: 0, .. }));
    assert!(matches!(refused((24, &[1, 4])), Error::TextLength { bytes: 1025, max: 512, .. }));
    assert!(matches!(refused((24, &[1, 2])), Error::TextLength { bytes: 513, max: 512, .. }));
    assert!(matches!(refused((26, &[1, 0])), Error::Reserved { message: "answer", found: 1 }));
    let refusal = Answer::reject(Refusal::Memory, "");
    let found = patched_answer(&refusal, &[(24, &[1, 4])]);
    assert!(matches!(found, Err(Error::TextLength { bytes: 1025, max: 1024, .. })), "{found:?}");
}

#[test]
fn a_refusal_of_the_future_is_still_a_refusal_and_its_text_harmless() {
    let answer = Answer::reject(Refusal::Unexpected, "wrong \x1b[5mhost\n");
    let found = patched_answer(&answer, &[(4, &[77])]).unwrap();
    let text = "wrong \u{fffd}[5mhost ".to_owned();
    assert_eq!(found, Answer::Refused { refusal: Refusal::Unknown(77), text });
}

#[test]
fn a_peer_that_never_stops_sending_is_read_no_further_than_its_magic() {
    let mut peer = Endless(0);
    assert!(matches!(Offer::read(&mut peer), Err(HandshakeError::Magic { .. })));
    assert_eq!(peer.0, 4);
}

#[test]
fn connections_of_one_migration_come_in_any_order_and_once() {
    let channel = |channel| Offer { channel, ..offer() };
    let mut channels = Channels::new(channel(2)).unwrap();
    for number in [0, 3] {
        channels.join(&channel(number)).unwrap();
    }
    assert_eq!(channels.missing().collect::<Vec<_>>(), [1]);
    assert!(!channels.are_complete());
    let twice = channels.join(&channel(3));
    assert!(matches!(twice, Err(HandshakeError::ChannelTwice { channel: 3 })), "{twice:?}");
    let beyond = channels.join(&channel(4));
    assert!(matches!(beyond, Err(HandshakeError::Channel { channel: 4, channels: 4 })), "{beyond:?}");
    channels.join(&channel(1)).unwrap();
    assert!(channels.are_complete());
}

#[test]
fn a_connection_that_differs_in_anything_else_is_refused() {
    let mut channels = Channels::new(offer()).unwrap();
    let other = Offer { channel: 1, ..offer() };
    let methods = MethodSet::of(&[]);
    let regions = Regions::new(PageSize::Kib4, other.regions.as_slice()[..1].to_vec()).unwrap();
    for (differs, what) in [
        (Offer { migration: MigrationId([0; 16]), ..other.clone() }, "migration id"),
        (Offer { channels: 5, ..other.clone() }, "number of channels"),
        (Offer { versions: Versions { min: 1, max: 2 }, ..other.clone() }, "versions"),
        (Offer { deflate_window_bits: 12, ..other.clone() }, "deflate window"),
        (Offer { max_pages: 64, ..other.clone() }, "pages a frame"),
        (Offer { max_payload_bytes: 4096, ..other.clone() }, "payload a frame"),
        (Offer { methods, ..other.clone() }, "methods"),
        (Offer { checksums: local().checksums, ..other.clone() }, "checksums"),
        (Offer { regions, ..other.clone() }, "guest memory"),
        (Offer { attempt: 3, ..other.clone() }, "attempt"),
        (Offer { machine: None, ..other.clone() }, "CPU"),
        (Offer { accelerators: String::new(), ..other.clone() }, "accelerators"),
    ] {
        let found = channels.join(&differs);
        let named = matches!(found, Err(HandshakeError::OfferDiffers { channel: 1, difference }) if difference == what);
        assert!(named, "{what}: {found:?}");
    }
    assert!(channels.join(&other).is_ok());
}

#[test]
fn sixty_four_channels_are_the_most() {
    let channel = |channel| Offer { channel, channels: 64, ..offer() };
    let mut channels = Channels::new(channel(0)).unwrap();
    for number in 1..64 {
        channels.join(&channel(number)).unwrap();
    }
    assert!(channels.are_complete());
    assert!(Channels::new(Offer { channels: 65, ..offer() }).is_err());
}

//! Offers that are none, that do not fit, and that belong to somebody else.

use std::io::Write;

use pageferry_accel::checksum::crc32c;
use pageferry_accel::units::{Gpa, PageSize};
use pageferry_engine::frame::ChecksumSet;
use pageferry_engine::handshake::{Answer, HandshakeError, MigrationId, Offer, Refusal, Versions};
use pageferry_engine::receiver::{Host, Incoming, ReceiveError};
use pageferry_engine::regions::{Region, Regions};
use pageferry_engine::vm::{Architecture, Machine};
use pageferry_tests::guest::guest;
use pageferry_tests::hostile::{PAGES, numbered_guest, offer, offer_bytes, push};
use pageferry_tests::peers::{Stream, Transport, cpu, receive};
use pageferry_tests::watchdog::Watchdog;

/// The answer to these bytes, and what the destination makes of them.
fn answer_to(transport: Transport, bytes: &[u8]) -> (Answer, ReceiveError) {
    let (mut ours, theirs) = transport.pair();
    let receiver = receive(numbered_guest(), vec![theirs.connection()]);
    push(&mut ours, bytes);
    ours.shutdown_write();
    let answer = Answer::read(&mut ours).unwrap();
    (answer, receiver.join().unwrap().map(|(report, _)| report).unwrap_err())
}

/// An offer with some bytes overwritten and its checksum right again.
fn patched(offset: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = offer_bytes(&offer(0, 1));
    bytes[offset..offset + patch.len()].copy_from_slice(patch);
    let checked = bytes.len() - 4;
    let checksum = crc32c(&bytes[..checked]).to_le_bytes();
    bytes[checked..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn what_is_no_offer_is_refused_in_words() {
    type Rubbish = (&'static str, Vec<u8>, fn(&HandshakeError) -> bool);
    let valid = offer_bytes(&offer(0, 1));
    let mut damaged = valid.clone();
    damaged[20] ^= 1;
    let cases: Vec<Rubbish> = vec![
        ("nothing", Vec::new(), |error| matches!(error, HandshakeError::Io { .. })),
        ("three bytes", valid[..3].to_vec(), |error| matches!(error, HandshakeError::Io { .. })),
        ("half an offer", valid[..40].to_vec(), |error| matches!(error, HandshakeError::Io { .. })),
        ("no checksum", valid[..valid.len() - 4].to_vec(), |error| {
            matches!(error, HandshakeError::Io { .. })
        }),
        ("a request for a page", b"GET / HTTP/1.1\r\n\r\n".to_vec(), |error| {
            matches!(error, HandshakeError::Magic { .. })
        }),
        ("a damaged offer", damaged, |error| matches!(error, HandshakeError::Checksum { .. })),
        ("2^32 regions", patched(44, &[0xff; 4]), |error| {
            matches!(error, HandshakeError::TooManyRegions { regions: u32::MAX })
        }),
        ("65 channels", patched(26, &[65, 0]), |error| matches!(error, HandshakeError::Channel { .. })),
        ("channel 1 of 1", patched(24, &[1, 0]), |error| matches!(error, HandshakeError::Channel { .. })),
        ("no channels", patched(26, &[0, 0]), |error| matches!(error, HandshakeError::Channel { .. })),
        ("2^32 pages a frame", patched(28, &[0xff; 4]), |error| {
            matches!(error, HandshakeError::MaxPages { .. })
        }),
        ("4 GiB a frame", patched(32, &[0xff; 4]), |error| {
            matches!(error, HandshakeError::MaxPayload { .. })
        }),
        ("64 KiB of CPU model", patched(56, &[0xff; 2]), |error| {
            matches!(error, HandshakeError::TextLength { text: "CPU model", bytes: 65535, .. })
        }),
        ("64 KiB of CPU features", patched(58, &[0xff; 2]), |error| {
            matches!(error, HandshakeError::TextLength { text: "CPU features", .. })
        }),
        ("64 KiB of accelerators", patched(60, &[0xff; 2]), |error| {
            matches!(error, HandshakeError::TextLength { text: "accelerators", .. })
        }),
        ("reserved bytes in use", patched(54, &[1]), |error| {
            matches!(error, HandshakeError::Reserved { .. })
        }),
        ("pages of 2 GiB", patched(6, &[31]), |error| matches!(error, HandshakeError::PageSize { .. })),
        ("a region of 2^64 bytes", patched(70, &[0xff; 8]), |error| {
            matches!(error, HandshakeError::Regions(_))
        }),
    ];
    for transport in Transport::ALL {
        for (name, bytes, expected) in &cases {
            let _watchdog = Watchdog::over(format!("an offer that is {name}"));
            let (answer, error) = answer_to(transport, bytes);
            let ReceiveError::Handshake(error) = error else { panic!("{name}: {error}") };
            assert!(expected(&error), "{name}: {error}");
            let told = Answer::Refused { refusal: Refusal::Malformed, text: error.to_string() };
            assert_eq!(answer, told, "{name}");
        }
    }
}

#[test]
fn an_offer_that_does_not_fit_is_refused_with_all_that_does_not() {
    let region = |gpa, bytes| Region { gpa: Gpa(gpa), bytes };
    let regions = |page_size, list| Regions::new(page_size, list).unwrap();
    let pages_bytes = PAGES << 12;
    let sound = offer(0, 1);
    let elsewhere = vec![region(0, pages_bytes), region(1 << 33, pages_bytes)];
    let in_16_kib = Regions::of(&guest(PAGES / 4, PageSize::Kib16)).unwrap();
    let cases = [
        (Refusal::Version, Offer { versions: Versions { min: 9, max: 12 }, ..sound.clone() }),
        (Refusal::Memory, Offer { regions: regions(PageSize::Kib4, elsewhere), ..sound.clone() }),
        (Refusal::Memory, Offer { regions: regions(PageSize::Kib4, vec![region(0, 4096)]), ..sound.clone() }),
        (Refusal::PageSize, Offer { regions: in_16_kib, max_payload_bytes: 63 << 14, ..sound.clone() }),
        (Refusal::Methods, Offer { methods: Default::default(), ..sound.clone() }),
        (Refusal::Checksums, Offer { checksums: ChecksumSet::from_bits(0), ..sound }),
    ];
    for transport in Transport::ALL {
        for (expected, offer) in &cases {
            let _watchdog = Watchdog::over(format!("an offer that does not fit: {expected:?}"));
            let (answer, error) = answer_to(transport, &offer_bytes(offer));
            let (Answer::Refused { refusal, text: told }, ReceiveError::Refused { refusal: found, text }) =
                (&answer, &error)
            else {
                panic!("{expected:?}: {answer:?}, {error}");
            };
            assert_eq!((refusal, found, told), (expected, expected, text));
        }
    }
}

#[test]
fn a_host_that_cannot_run_the_guest_says_all_of_why() {
    let machine = |feature: &str| Machine {
        architecture: Architecture::X86_64,
        cpu_model: format!("CPU with {feature}"),
        cpu_features: [feature.to_owned()].into(),
    };
    let _watchdog = Watchdog::over("a host that cannot run the guest");
    let (mut ours, theirs) = Transport::Unix.pair();
    let offer = Offer { machine: Some(machine("avx512f")), ..offer(0, 1) };
    ours.write_all(&offer_bytes(&offer)).unwrap();
    let host = Host { machine: Some(machine("avx2")), available_bytes: Some(4096) };
    let incoming = Incoming::begin(theirs.connection()).unwrap().on(host);
    let error = incoming.accept(numbered_guest(), &cpu()).err().unwrap();
    assert!(matches!(error, ReceiveError::Refused { refusal: Refusal::Several, .. }), "{error}");
    let Answer::Refused { refusal: Refusal::Several, text } = Answer::read(&mut ours).unwrap() else {
        panic!("accepted");
    };
    for part in ["lacks: avx512f", "CPU with avx512f", "CPU with avx2", "can give it 0 MiB"] {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}

/// Knocks as `offer` says on a destination that has begun, and says what both ends make of it.
fn knock(incoming: &mut Incoming, transport: Transport, offer: &Offer) -> (Answer, HandshakeError) {
    let (mut ours, theirs) = transport.pair();
    ours.write_all(&offer_bytes(offer)).unwrap();
    let error = incoming.join(theirs.connection()).unwrap_err();
    (Answer::read(&mut ours).unwrap(), error)
}

#[test]
fn a_connection_of_another_migration_is_turned_away_and_the_others_stay() {
    for transport in Transport::ALL {
        let _watchdog = Watchdog::over("connections of two migrations");
        let (mut streams, theirs): (Vec<Stream>, Vec<Stream>) = (0..2).map(|_| transport.pair()).unzip();
        let mut theirs = theirs.into_iter();
        streams[0].write_all(&offer_bytes(&offer(0, 2))).unwrap();
        let mut incoming = Incoming::begin(theirs.next().unwrap().connection()).unwrap();
        let other = Offer { migration: MigrationId([9; 16]), ..offer(1, 2) };
        let wider = offer(1, 3);
        let again = offer(0, 2);
        for (offer, differs) in [(&other, true), (&wider, true), (&again, false)] {
            let (answer, error) = knock(&mut incoming, transport, offer);
            let expected = if differs {
                matches!(error, HandshakeError::OfferDiffers { channel: 1, .. })
            } else {
                matches!(error, HandshakeError::ChannelTwice { channel: 0 })
            };
            assert!(expected, "{error}");
            assert_eq!(answer, Answer::Refused { refusal: Refusal::Channels, text: error.to_string() });
        }
        assert_eq!(incoming.missing(), 1);
        streams[1].write_all(&offer_bytes(&offer(1, 2))).unwrap();
        incoming.join(theirs.next().unwrap().connection()).unwrap();
        incoming.accept(numbered_guest(), &cpu()).unwrap();
        assert!(streams.iter_mut().all(|stream| matches!(Answer::read(stream), Ok(Answer::Accepted(_)))));
    }
}

#[test]
fn a_migration_is_not_accepted_before_all_its_connections_have_come() {
    let (mut ours, theirs) = Transport::Unix.pair();
    ours.write_all(&offer_bytes(&offer(0, 3))).unwrap();
    let incoming = Incoming::begin(theirs.connection()).unwrap();
    let error = incoming.accept(numbered_guest(), &cpu()).err().unwrap();
    assert!(matches!(error, ReceiveError::Missing(2)), "{error}");
    let Answer::Refused { refusal: Refusal::Channels, text } = Answer::read(&mut ours).unwrap() else {
        panic!("accepted");
    };
    assert_eq!(text, error.to_string());
}

#[test]
fn a_destination_that_does_not_want_it_says_so() {
    let (mut ours, theirs) = Transport::Unix.pair();
    ours.write_all(&offer_bytes(&offer(0, 1))).unwrap();
    Incoming::begin(theirs.connection()).unwrap().refuse("no guest of that name is expected");
    let text = "no guest of that name is expected".to_owned();
    assert_eq!(Answer::read(&mut ours).unwrap(), Answer::Refused { refusal: Refusal::Unexpected, text });
}
